#include "base/buf.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct buf b;

static void setup(void)
{
    b = (struct buf){ 0 };
}

static void teardown(void)
{
    buf_done(&b);
}

static void assert_content(const char *want)
{
    ck_assert_uint_eq(b.len, strlen(want));
    ck_assert_int_eq(memcmp(b.data, want, b.len), 0);
}

START_TEST(all_zero_is_an_empty_buffer)
{
    struct slice s = buf_slice(&b);
    ck_assert_uint_eq(s.len, 0);
    buf_consume(&b, 0);
    buf_reset(&b);
    buf_done(&b);
    buf_done(&b);
    ck_assert_int_eq(buf_append(&b, NULL, 0), 0);
    ck_assert_uint_eq(b.len, 0);
}
END_TEST

START_TEST(appends_follow_each_other)
{
    ck_assert_int_eq(buf_str(&b, "topic="), 0);
    ck_assert_int_eq(buf_append(&b, "news\0", 4), 0);
    ck_assert_int_eq(buf_printf(&b, " seq=%d %s", 42, "ok"), 0);
    ck_assert_int_eq(buf_printf(&b, "%s", ""), 0);
    assert_content("topic=news seq=42 ok");
    struct slice s = buf_slice(&b);
    ck_assert_ptr_eq(s.ptr, b.data);
    ck_assert_uint_eq(s.len, b.len);
    ck_assert(!b.failed);
}
END_TEST

START_TEST(printf_needs_room_for_its_nul_at_every_fill)
{
    for (size_t fill = 0; fill < 200; fill++) {
        buf_done(&b);
        while (b.len < fill)
            ck_assert_int_eq(buf_append(&b, "x", 1), 0);
        ck_assert_int_eq(buf_printf(&b, "%s", "0123456789"), 0);
        ck_assert_uint_eq(b.len, fill + 10);
        ck_assert_int_eq(memcmp(b.data + fill, "0123456789", 10), 0);
    }
}
END_TEST

START_TEST(reserved_room_is_writable_and_not_content)
{
    for (size_t more = 0; more < 300; more += 7) {
        size_t len = b.len;
        uint8_t *to = buf_reserve(&b, more);
        ck_assert_ptr_nonnull(to);
        ck_assert_ptr_eq(to, b.data + len);
        ck_assert_uint_ge(b.cap - b.len, more);
        memset(to, 'r', more);
        ck_assert_uint_eq(b.len, len);
        b.len += more / 2;
    }
}
END_TEST

START_TEST(a_failed_append_leaves_the_content_and_says_so_until_reset)
{
    ck_assert_int_eq(buf_str(&b, "kept"), 0);
    ck_assert_ptr_null(buf_reserve(&b, SIZE_MAX));
    ck_assert(b.failed);
    b.failed = false;
    ck_assert_int_eq(buf_append(&b, "x", SIZE_MAX / 2), -ENOMEM);
    ck_assert(b.failed);
    assert_content("kept");
    ck_assert_int_eq(buf_str(&b, " and more"), 0);
    assert_content("kept and more");
    ck_assert_msg(b.failed, "a writer of many parts checks once, at the end");
    buf_reset(&b);
    ck_assert(!b.failed);
    ck_assert_uint_eq(b.len, 0);
}
END_TEST

START_TEST(consuming_drops_the_front)
{
    buf_str(&b, "one two three");
    buf_consume(&b, 4);
    assert_content("two three");
    buf_consume(&b, 0);
    assert_content("two three");
    buf_str(&b, " four");
    buf_consume(&b, 10);
    assert_content("four");
    buf_consume(&b, 4);
    assert_content("");
    buf_str(&b, "again");
    assert_content("again");
}
END_TEST

START_TEST(a_reset_keeps_the_memory)
{
    buf_reserve(&b, 1000);
    uint8_t *data = b.data;
    buf_str(&b, "text");
    buf_reset(&b);
    ck_assert_ptr_eq(buf_reserve(&b, 1000), data);
}
END_TEST

START_TEST(any_mix_of_appends_and_consumes_is_a_byte_queue)
{
    const char *env = getenv("HALLEY_TEST_SEED");
    unsigned seed = env != NULL ? (unsigned)strtoul(env, NULL, 0) : (unsigned)time(NULL);
    printf("HALLEY_TEST_SEED=%u\n", seed);
    fflush(stdout);
    uint8_t in = 0, out = 0, bytes[500];
    for (int step = 0; step < 5000; step++) {
        size_t n = (size_t)rand_r(&seed) % sizeof bytes;
        for (size_t i = 0; i < n; i++)
            bytes[i] = in++;
        ck_assert_int_eq(buf_append(&b, bytes, n), 0);
        n = (size_t)rand_r(&seed) % (b.len + 1);
        for (size_t i = 0; i < n; i++)
            if (b.data[i] != out++)
                ck_abort_msg("byte %zu is wrong", i);
        buf_consume(&b, n);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("buf");
    TCase *t = tcase_create("buf");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, all_zero_is_an_empty_buffer);
    tcase_add_test(t, appends_follow_each_other);
    tcase_add_test(t, printf_needs_room_for_its_nul_at_every_fill);
    tcase_add_test(t, reserved_room_is_writable_and_not_content);
    tcase_add_test(t, a_failed_append_leaves_the_content_and_says_so_until_reset);
    tcase_add_test(t, consuming_drops_the_front);
    tcase_add_test(t, a_reset_keeps_the_memory);
    tcase_add_test(t, any_mix_of_appends_and_consumes_is_a_byte_queue);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
