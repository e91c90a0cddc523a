#include "core/cursor.h"

#include <errno.h>

#include "support.h"

/* ---- epochs */

static const struct {
    const char *name;
    uint8_t random[5];
    const char *want;
} epochs[] = {
    { "no bit", { 0 }, "00000000" },
    { "every bit", { 0xff, 0xff, 0xff, 0xff, 0xff }, "zzzzzzzz" },
    { "the last bit", { 0, 0, 0, 0, 1 }, "00000001" },
    { "the first bit", { 0x80, 0, 0, 0, 0 }, "g0000000" },
    { "digits that lie across bytes", { 0x00, 0x44, 0x32, 0x14, 0xc7 }, "01234567" },
    { "the letters: no i, l, o, u", { 0x8c, 0xa7, 0x4a, 0xdb, 0x5b }, "hjkmnptv" },
};

START_TEST(an_epoch_is_its_random_bits_in_base_32)
{
    char got[EPOCH_LEN + 1];
    cursor_make_epoch(epochs[_i].random, got);
    ck_assert_uint_eq(strlen(got), EPOCH_LEN);
    ck_assert_msg(strcmp(got, epochs[_i].want) == 0, "%s: got %s", epochs[_i].name, got);
}
END_TEST

START_TEST(each_random_bit_changes_the_epoch)
{
    char base[EPOCH_LEN + 1], other[EPOCH_LEN + 1];
    uint8_t random[5] = { 0x12, 0x34, 0x56, 0x78, 0x9a };
    cursor_make_epoch(random, base);
    for (int bit = 0; bit < 40; bit++) {
        random[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cursor_make_epoch(random, other);
        random[bit / 8] ^= (uint8_t)(1 << bit % 8);
        int changed = 0;
        for (int i = 0; i < EPOCH_LEN; i++)
            changed += base[i] != other[i];
        ck_assert_int_eq(changed, 1);
    }
}
END_TEST

START_TEST(every_epoch_can_be_read_in_a_cursor)
{
    for (unsigned n = 0; n < 256; n++) {
        uint8_t random[5] = { (uint8_t)n, (uint8_t)(n * 7), (uint8_t)(n * 31), (uint8_t)(n ^ 0x55), (uint8_t)~n };
        char epoch[EPOCH_LEN + 1], text[CURSOR_MAX_BYTES + 1];
        struct cursor c;
        cursor_make_epoch(random, epoch);
        size_t len = cursor_format(text, epoch, n);
        HOLDS(cursor_parse(text, len, &c) == 0);
        HOLDS(strcmp(c.epoch, epoch) == 0 && c.seq == n);
    }
}
END_TEST

/* ---- writing */

static const struct {
    const char *epoch;
    uint64_t seq;
    const char *want;
} written[] = {
    { "k3f9", 1041, "k3f9-1041" },
    { "k3f9abcd", 0, "k3f9abcd-0" },
    { "k3f9abcd", 10, "k3f9abcd-10" },
    { "k3f9abcd", UINT64_MAX, "k3f9abcd-18446744073709551615" },
};

START_TEST(a_cursor_is_written_as_epoch_and_seq)
{
    char got[CURSOR_MAX_BYTES + 2];
    memset(got, '!', sizeof got);
    size_t len = cursor_format(got, written[_i].epoch, written[_i].seq);
    ck_assert_str_eq(got, written[_i].want);
    ck_assert_uint_eq(len, strlen(written[_i].want));
    ck_assert_uint_le(len, CURSOR_MAX_BYTES);
    ck_assert_int_eq(got[CURSOR_MAX_BYTES + 1], '!');
}
END_TEST

/* ---- reading */

#define BAD NULL

static const struct {
    const char *name;
    const char *text;
    const char *epoch; /* BAD: refused */
    uint64_t seq;
} cases[] = {
    { "all history that there is", "0", "", 0 },
    { "the usual", "k3f9-1041", "k3f9", 1041 },
    { "seq 0", "k3f9-0", "k3f9", 0 },
    { "one letter, one digit", "a-1", "a", 1 },
    { "capitals: well-formed, not ours", "ABCDEFGH-7", "ABCDEFGH", 7 },
    { "an epoch of digits", "00000000-1", "00000000", 1 },
    { "an epoch that is 0", "0-1", "0", 1 },
    { "the greatest seq", "abcdefgh-18446744073709551615", "abcdefgh", UINT64_MAX },
    { "a seq over 64 bits", "abcdefgh-18446744073709551616", BAD, 0 },
    { "a seq far over 64 bits", "a-99999999999999999999", BAD, 0 },
    { "a seq of 21 digits", "a-100000000000000000000", BAD, 0 },
    { "nothing", "", BAD, 0 },
    { "no epoch", "-5", BAD, 0 },
    { "no seq", "abc-", BAD, 0 },
    { "no dash", "abc", BAD, 0 },
    { "a dash alone", "-", BAD, 0 },
    { "two dashes", "abc--1", BAD, 0 },
    { "a number alone", "1", BAD, 0 },
    { "two zeros", "00", BAD, 0 },
    { "an epoch that is too long", "abcdefghi-1", BAD, 0 },
    { "a leading zero", "abc-01", BAD, 0 },
    { "zeros for 0", "abc-00", BAD, 0 },
    { "a sign", "abc-+1", BAD, 0 },
    { "a letter in the seq", "abc-1x", BAD, 0 },
    { "a space before", " abc-1", BAD, 0 },
    { "a space after", "abc-1 ", BAD, 0 },
    { "another sign in the epoch", "ab_c-1", BAD, 0 },
    { "an accent in the epoch (UTF-8)", "\xc3\xa9-1", BAD, 0 },
    { "the byte after 9", "abc-1:", BAD, 0 },
    { "the byte before 0", "abc-1/", BAD, 0 },
};

/* At its exact length on the heap, so that a sanitizer sees a look behind it. */
static int parse(const char *text, size_t len, struct cursor *ret)
{
    char *copy = malloc(len > 0 ? len : 1);
    if (len > 0)
        memcpy(copy, text, len);
    int r = cursor_parse(copy, len, ret);
    free(copy);
    return r;
}

START_TEST(a_cursor_is_read_or_refused)
{
    struct cursor c = { "before", 77 };
    int want = cases[_i].epoch != BAD ? 0 : -EINVAL;
    int got = parse(cases[_i].text, strlen(cases[_i].text), &c);
    ck_assert_msg(got == want, "%s: got %d", cases[_i].name, got);
    ck_assert_str_eq(c.epoch, want == 0 ? cases[_i].epoch : "before");
    ck_assert_uint_eq(c.seq, want == 0 ? cases[_i].seq : 77);
}
END_TEST

START_TEST(a_cursor_that_was_cut_off_is_refused_or_another)
{
    const char *text = "k3f9abcd-120";
    for (size_t len = 0; len < strlen(text); len++) {
        struct cursor c = { "", 0 };
        ck_assert_int_eq(parse(text, len, &c), len < 10 ? -EINVAL : 0);
        ck_assert_uint_eq(c.seq, len == 11 ? 12 : len == 10 ? 1 : 0);
    }
}
END_TEST

START_TEST(a_nul_byte_is_no_part_of_a_cursor)
{
    struct cursor c;
    ck_assert_int_eq(parse("ab\0c-1", 6, &c), -EINVAL);
    ck_assert_int_eq(parse("abc-1\0", 6, &c), -EINVAL);
    ck_assert_int_eq(parse("0\0", 2, &c), -EINVAL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cursor");
    TCase *t = tcase_create("cursor");
    tcase_add_loop_test(t, an_epoch_is_its_random_bits_in_base_32, 0, HLY_ARRAY_LEN(epochs));
    tcase_add_test(t, each_random_bit_changes_the_epoch);
    tcase_add_test(t, every_epoch_can_be_read_in_a_cursor);
    tcase_add_loop_test(t, a_cursor_is_written_as_epoch_and_seq, 0, HLY_ARRAY_LEN(written));
    tcase_add_loop_test(t, a_cursor_is_read_or_refused, 0, HLY_ARRAY_LEN(cases));
    tcase_add_test(t, a_cursor_that_was_cut_off_is_refused_or_another);
    tcase_add_test(t, a_nul_byte_is_no_part_of_a_cursor);
    suite_add_tcase(s, t);
    return run_suite(s);
}
