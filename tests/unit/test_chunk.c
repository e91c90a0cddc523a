#include "base/chunk.h"

#include <check.h>
#include <string.h>

static struct chunk_pool pool;

static void setup(void)
{
    pool = (struct chunk_pool){ 0 };
}

static void teardown(void)
{
    chunk_pool_done(&pool);
    ck_assert_uint_eq(pool.live_bytes, 0);
}

START_TEST(a_new_chunk_is_empty_and_has_room)
{
    static const uint32_t caps[] = {
        0, 1, 100, CHUNK_STANDARD_BYTES - 1, CHUNK_STANDARD_BYTES, CHUNK_STANDARD_BYTES + 1, 1000000
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(caps); i++) {
        struct chunk *c = chunk_new(&pool, caps[i]);
        ck_assert_ptr_nonnull(c);
        ck_assert_uint_eq(c->refs, 1);
        ck_assert_uint_eq(c->len, 0);
        ck_assert_uint_ge(chunk_room(c), caps[i]);
        memset(c->data, 'c', caps[i]);
        c->len = caps[i];
        ck_assert_uint_eq(chunk_room(c), c->cap - caps[i]);
        chunk_unref(c);
    }
}
END_TEST

START_TEST(a_chunk_lives_until_the_last_reference_goes)
{
    struct chunk *c = chunk_new(&pool, 10);
    memcpy(c->data, "0123456789", 10);
    ck_assert_ptr_eq(chunk_ref(c), c);
    chunk_ref(c);
    chunk_unref(c);
    chunk_unref(c);
    ck_assert_int_eq(memcmp(c->data, "0123456789", 10), 0);
    ck_assert_uint_eq(pool.live_bytes, 10);
    chunk_unref(c);
    ck_assert_uint_eq(pool.live_bytes, 0);
}
END_TEST

START_TEST(live_bytes_counts_living_chunks_and_no_spares)
{
    struct chunk *a = chunk_new(&pool, CHUNK_STANDARD_BYTES);
    struct chunk *b = chunk_new(&pool, 500);
    ck_assert_uint_eq(pool.live_bytes, CHUNK_STANDARD_BYTES + 500);
    chunk_unref(a);
    ck_assert_uint_eq(pool.live_bytes, 500);
    a = chunk_new(&pool, CHUNK_STANDARD_BYTES);
    ck_assert_uint_eq(pool.live_bytes, CHUNK_STANDARD_BYTES + 500);
    chunk_unref(b);
    chunk_unref(a);
    ck_assert_uint_eq(pool.live_bytes, 0);
}
END_TEST

START_TEST(a_standard_chunk_is_used_again_as_new)
{
    struct chunk *a = chunk_new(&pool, CHUNK_STANDARD_BYTES);
    chunk_ref(a);
    a->len = 77;
    chunk_unref(a);
    chunk_unref(a);
    struct chunk *b = chunk_new(&pool, CHUNK_STANDARD_BYTES);
    ck_assert_ptr_eq(b, a);
    ck_assert_uint_eq(b->refs, 1);
    ck_assert_uint_eq(b->len, 0);
    ck_assert_uint_eq(b->cap, CHUNK_STANDARD_BYTES);
    ck_assert_uint_eq(pool.spares, 0);
    chunk_unref(b);
}
END_TEST

START_TEST(spares_are_few_and_each_is_given_out_once)
{
    struct chunk *chunks[40];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 40; i++) {
            chunks[i] = chunk_new(&pool, CHUNK_STANDARD_BYTES);
            for (size_t j = 0; j < i; j++)
                ck_assert(chunks[i] != chunks[j]);
        }
        ck_assert_uint_eq(pool.live_bytes, 40u * CHUNK_STANDARD_BYTES);
        for (size_t i = 0; i < 40; i++)
            chunk_unref(chunks[i]);
        ck_assert_uint_ge(pool.spares, 1);
        ck_assert_uint_le(pool.spares, 32);
    }
    chunk_pool_done(&pool);
    ck_assert_uint_eq(pool.spares, 0);
    ck_assert_ptr_null(pool.spare);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chunk");
    TCase *t = tcase_create("chunk");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_new_chunk_is_empty_and_has_room);
    tcase_add_test(t, a_chunk_lives_until_the_last_reference_goes);
    tcase_add_test(t, live_bytes_counts_living_chunks_and_no_spares);
    tcase_add_test(t, a_standard_chunk_is_used_again_as_new);
    tcase_add_test(t, spares_are_few_and_each_is_given_out_once);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
