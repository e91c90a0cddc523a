#include "base/log.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

/* stderr goes to a file while a test runs */
static int saved_fd;
static FILE *file;
static char text[200000];

static void setup(void)
{
    file = tmpfile();
    ck_assert_ptr_nonnull(file);
    saved_fd = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    log_setup(LOG_LEVEL_DEBUG, false);
}

static void teardown(void)
{
    dup2(saved_fd, STDERR_FILENO);
    close(saved_fd);
    fclose(file);
}

/* What was logged since the last call. */
static const char *logged(void)
{
    ssize_t len = pread(fileno(file), text, sizeof text - 1, 0);
    ck_assert_int_ge(len, 0);
    text[len] = '\0';
    ck_assert_int_eq(ftruncate(fileno(file), 0), 0);
    ck_assert_int_eq(lseek(STDERR_FILENO, 0, SEEK_SET), 0);
    return text;
}

static size_t count_of(const char *in, const char *what)
{
    size_t n = 0;
    for (const char *at = strstr(in, what); at != NULL; at = strstr(at + 1, what))
        n++;
    return n;
}

START_TEST(a_line_has_time_level_event_and_text)
{
    unsigned year, month, day, hour, min, sec, ms;
    char rest[100];
    log_warn("sub_slow", "sub=%d topic='%s'", 812, "news");
    ck_assert_int_eq(sscanf(logged(), "%4u-%2u-%2uT%2u:%2u:%2u.%3uZ %99[^\n]", &year, &month, &day, &hour, &min, &sec,
                            &ms, rest),
                     8);
    ck_assert_str_eq(rest, "level=warn ev=sub_slow sub=812 topic='news'");
    ck_assert_uint_ge(year, 2024);
}
END_TEST

START_TEST(lines_above_the_level_are_left_out)
{
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
        struct log_gate gate = { 0 };
        log_setup((enum log_level)level, false);
        log_error("e", "x");
        log_warn("w", "x");
        log_info("i", "x");
        log_debug("d", "x");
        log_limited(&gate, LOG_LEVEL_DEBUG, "d", "x");
        ck_assert_uint_eq(count_of(logged(), "\n"), (size_t)(level == LOG_LEVEL_DEBUG ? 5 : level + 1));
        ck_assert(log_is_on(LOG_LEVEL_ERROR));
        ck_assert_int_eq(log_is_on(LOG_LEVEL_DEBUG), level == LOG_LEVEL_DEBUG);
    }
}
END_TEST

static const struct {
    const char *name, *text, *want;
} json_rows[] = {
    { "plain", "all is well", "\"msg\":\"all is well\"}\n" },
    { "quotes and backslashes", "say \"hi\" \\", "\"msg\":\"say \\\"hi\\\" \\\\\"}\n" },
    { "control characters", "a\nb\tc\001", "\"msg\":\"a\\u000ab\\u0009c\\u0001\"}\n" },
    { "UTF-8 of 2, 3 and 4 bytes", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
      "\"msg\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}\n" },
    { "not UTF-8: a lone continuation byte", "a\x80z", "\"msg\":\"a\\ufffdz\"}\n" },
    { "not UTF-8: no such lead byte", "a\xffz", "\"msg\":\"a\\ufffdz\"}\n" },
    { "not UTF-8: a surrogate", "\xed\xa0\x80", "\"msg\":\"\\ufffd\\ufffd\\ufffd\"}\n" },
    { "not UTF-8: cut off", "a\xe2\x82", "\"msg\":\"a\\ufffd\\ufffd\"}\n" },
};

START_TEST(a_json_line_is_one_object)
{
    log_setup(LOG_LEVEL_INFO, true);
    log_info("start", "%s", json_rows[_i].text);
    const char *got = logged();
    ck_assert_msg(strncmp(got, "{\"time\":\"", 9) == 0, "%s: %s", json_rows[_i].name, got);
    ck_assert_ptr_nonnull(strstr(got, "Z\",\"level\":\"info\",\"ev\":\"start\",\"msg\":\""));
    const char *msg = strstr(got, "\"msg\"");
    ck_assert_msg(strcmp(msg, json_rows[_i].want) == 0, "%s: %s", json_rows[_i].name, msg);
}
END_TEST

START_TEST(an_event_is_one_line_whatever_its_text)
{
    log_info("tls", "first\nsecond\r\nlevel=error ev=forged\x1b[1m\x7f");
    const char *got = logged();
    ck_assert_uint_eq(count_of(got, "\n"), 1);
    ck_assert_ptr_null(strpbrk(got, "\r\x1b\x7f"));
    ck_assert_ptr_nonnull(strstr(got, "first second"));
}
END_TEST

START_TEST(a_long_text_is_cut_and_still_one_valid_line)
{
    static const char *const fillers[] = { "x", "\"", "\x01", "\xe2\x82\xac", "\xff" };
    static char longer[12001];
    for (size_t i = 0; i < HLY_ARRAY_LEN(fillers) * 2; i++) {
        log_setup(LOG_LEVEL_INFO, i % 2 == 0);
        for (size_t at = 0; at + 4 < sizeof longer; at += strlen(fillers[i / 2]))
            strcpy(longer + at, fillers[i / 2]);
        log_info("long", "%s", longer);
        const char *got = logged();
        size_t len = strlen(got);
        ck_assert_uint_gt(len, 1500);
        ck_assert_uint_le(len, 4096);
        ck_assert_uint_eq(count_of(got, "\n"), 1);
        ck_assert_int_eq(got[len - 1], '\n');
        if (i % 2 == 0) {
            ck_assert_str_eq(got + len - 3, "\"}\n");
            ck_assert(utf8_is_valid(got, len));
        }
    }
}
END_TEST

START_TEST(a_gate_lets_one_line_a_second_through_and_counts_the_others)
{
    struct log_gate gate = { 0 }, other = { 0 };
    for (int i = 0; i < 100; i++)
        log_limited(&gate, LOG_LEVEL_WARN, "flood", "n=%d", i);
    const char *got = logged();
    ck_assert_uint_eq(count_of(got, "\n"), 1);
    ck_assert_ptr_nonnull(strstr(got, "level=warn ev=flood n=0\n"));
    log_limited(&other, LOG_LEVEL_WARN, "other", "has a gate of its own");
    ck_assert_uint_eq(count_of(logged(), "\n"), 1);
    atomic_store(&gate.next_ms, clock_mono_ms()); /* a second later */
    log_limited(&gate, LOG_LEVEL_WARN, "flood", "n=%d", 100);
    ck_assert_ptr_nonnull(strstr(logged(), "n=100 (and 99 more like it)\n"));
    atomic_store(&gate.next_ms, 0);
    log_limited(&gate, LOG_LEVEL_WARN, "flood", "n=%d", 101);
    ck_assert_ptr_nonnull(strstr(logged(), "n=101\n"));
}
END_TEST

START_TEST(the_count_of_a_gate_is_not_cut_off)
{
    struct log_gate gate = { .swallowed = UINT64_MAX };
    char longer[5000];
    memset(longer, 'x', sizeof longer);
    log_limited(&gate, LOG_LEVEL_WARN, "flood", "%.*s", (int)sizeof longer, longer);
    ck_assert_ptr_nonnull(strstr(logged(), "x (and 18446744073709551615 more like it)\n"));
}
END_TEST

static struct log_gate shared_gate;

static void *log_some(void *arg)
{
    for (int i = 0; i < 200; i++) {
        log_info("thread", "name=%s end", (const char *)arg);
        log_limited(&shared_gate, LOG_LEVEL_INFO, "gated", "end");
    }
    return NULL;
}

START_TEST(lines_of_several_threads_do_not_mix)
{
    pthread_t threads[4];
    static char names[4][2] = { "a", "b", "c", "d" };
    shared_gate = (struct log_gate){ 0 };
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, log_some, names[i]), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    const char *got = logged();
    size_t gated = count_of(got, " ev=gated end");
    ck_assert_uint_ge(gated, 1);
    ck_assert_uint_le(gated, 60); /* one a second */
    ck_assert_uint_eq(count_of(got, "\n"), 800 + gated);
    for (size_t i = 0; i < 4; i++) {
        char want[] = "Z level=info ev=thread name=? end\n";
        *strchr(want, '?') = names[i][0];
        ck_assert_uint_eq(count_of(got, want), 200);
    }
}
END_TEST

static const struct {
    const char *name, *bytes;
    size_t len, size;
    const char *want;
} quotes[] = {
    { "nothing", "", 0, 20, "" },
    { "plain", "news/f1", 7, 20, "news/f1" },
    { "quote and backslash", "it's\\", 5, 20, "it\\'s\\\\" },
    { "control characters and NUL", "a\n\0\x7f", 4, 40, "a\\x0a\\x00\\x7f" },
    { "beyond ASCII", "\xc3\xa9\xff", 3, 40, "\\xc3\\xa9\\xff" },
    { "cut", "0123456789", 10, 12, "01234..." },
    { "cut between escapes", "\1\2\3\4\5", 5, 16, "\\x01\\x02\\x03..." },
    { "no room for more than the dots", "0123456789", 10, 4, "..." },
    { "not even for those", "0123456789", 10, 2, "." },
    { "a single byte of room", "0123456789", 10, 1, "" },
};

START_TEST(peer_bytes_are_printable_and_cut)
{
    char *out = malloc(quotes[_i].size); /* not a byte more: ASan sees an overrun */
    const char *got = log_quote(out, quotes[_i].size, quotes[_i].bytes, quotes[_i].len);
    ck_assert_ptr_eq(got, out);
    ck_assert_msg(strcmp(got, quotes[_i].want) == 0, "%s: got %s", quotes[_i].name, got);
    free(out);
}
END_TEST

START_TEST(a_quote_fits_every_size)
{
    char bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    for (size_t size = 1; size < 1200; size++) {
        char *out = malloc(size);
        size_t len = strlen(log_quote(out, size, bytes, sizeof bytes));
        ck_assert_uint_lt(len, size);
        for (size_t i = 0; i < len; i++)
            if (out[i] < 0x20 || out[i] == 0x7f)
                ck_abort_msg("size %zu: not printable at %zu", size, i);
        free(out);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log");
    TCase *t = tcase_create("lines");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_line_has_time_level_event_and_text);
    tcase_add_test(t, lines_above_the_level_are_left_out);
    tcase_add_loop_test(t, a_json_line_is_one_object, 0, HLY_ARRAY_LEN(json_rows));
    tcase_add_test(t, an_event_is_one_line_whatever_its_text);
    tcase_add_test(t, a_long_text_is_cut_and_still_one_valid_line);
    tcase_add_test(t, a_gate_lets_one_line_a_second_through_and_counts_the_others);
    tcase_add_test(t, the_count_of_a_gate_is_not_cut_off);
    tcase_add_test(t, lines_of_several_threads_do_not_mix);
    suite_add_tcase(s, t);
    t = tcase_create("quote");
    tcase_add_loop_test(t, peer_bytes_are_printable_and_cut, 0, HLY_ARRAY_LEN(quotes));
    tcase_add_test(t, a_quote_fits_every_size);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
