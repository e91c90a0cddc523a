#include "cli/terminal.h"

#include <check.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

static const struct {
    uint64_t n;
    const char *want;
} numbers[] = {
    { 0, "0" },
    { 999, "999" },
    { 1000, "1,000" },
    { 123456, "123,456" },
    { 1234567, "1,234,567" },
    { UINT64_MAX, "18,446,744,073,709,551,615" },
};

START_TEST(number_has_a_comma_before_every_three_digits)
{
    char out[TERMINAL_NUMBER];
    ck_assert_str_eq(terminal_number(numbers[_i].n, out), numbers[_i].want);
}
END_TEST

static const struct {
    uint64_t seconds;
    const char *want;
} durations[] = {
    { 0, "0 s" },          { 59, "59 s" },       { 60, "1 min 0 s" }, { 3599, "59 min 59 s" },
    { 3600, "1 h 0 min" }, { 93784, "1 d 2 h" },
};

START_TEST(duration_has_two_units_at_most)
{
    char out[64];
    ck_assert_str_eq(terminal_duration(durations[_i].seconds, out, sizeof out), durations[_i].want);
}
END_TEST

static const struct {
    uint64_t bytes;
    const char *want;
} sizes[] = {
    { 0, "0 B" }, { 1023, "1023 B" }, { 1024, "1.0 KB" }, { 1536, "1.5 KB" }, { 5ull << 30, "5.0 GB" },
};

START_TEST(size_counts_in_powers_of_1024)
{
    char out[64];
    ck_assert_str_eq(terminal_size(sizes[_i].bytes, out, sizeof out), sizes[_i].want);
}
END_TEST

static const struct {
    const char *why, *in, *want;
} printed[] = {
    { "text stays", "grüße\t€ \U0001f680", "grüße\t€ \U0001f680" },
    { "an escape sequence is harmless", "a\033[31mred", "a\\x1b[31mred" },
    { "lines stay one line", "a\nb\r", "a\\nb\\r" },
    { "C1 is a control too",
      "\xc2\x9b"
      "31m",
      "\\x9b31m" },
    { "DEL and BEL", "\x7f\a", "\\x7f\\x07" },
};

static size_t print_to_terminal(const char *text, char *out, size_t out_size)
{
    int master, slave;
    ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
    FILE *f = fdopen(slave, "w");
    terminal_write(f, text, strlen(text));
    fflush(f);
    ssize_t n = read(master, out, out_size);
    ck_assert_int_gt(n, 0);
    fclose(f);
    close(master);
    return (size_t)n;
}

START_TEST(strangers_cannot_control_the_terminal)
{
    char out[256];
    size_t n = print_to_terminal(printed[_i].in, out, sizeof out);
    ck_assert_msg(n == strlen(printed[_i].want) && memcmp(out, printed[_i].want, n) == 0, "%s: got %.*s",
                  printed[_i].why, (int)n, out);
}
END_TEST

START_TEST(file_gets_the_bytes_as_they_are)
{
    char out[16];
    FILE *f = tmpfile();
    terminal_write(f, "a\033\0\xff", 4);
    ck_assert_str_eq(terminal_style(f, TERMINAL_BOLD), "");
    rewind(f);
    ck_assert_uint_eq(fread(out, 1, sizeof out, f), 4);
    ck_assert_int_eq(memcmp(out, "a\033\0\xff", 4), 0);
    fclose(f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("terminal");
    TCase *tc = tcase_create("terminal");
    tcase_add_loop_test(tc, number_has_a_comma_before_every_three_digits, 0, (int)HLY_ARRAY_LEN(numbers));
    tcase_add_loop_test(tc, duration_has_two_units_at_most, 0, (int)HLY_ARRAY_LEN(durations));
    tcase_add_loop_test(tc, size_counts_in_powers_of_1024, 0, (int)HLY_ARRAY_LEN(sizes));
    tcase_add_loop_test(tc, strangers_cannot_control_the_terminal, 0, (int)HLY_ARRAY_LEN(printed));
    tcase_add_test(tc, file_gets_the_bytes_as_they_are);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
