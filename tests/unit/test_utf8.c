#include "base/utf8.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#define COMPLETE -1 /* fails at: no byte, and the text may end where it ends */
#define OPEN -2     /* fails at: no byte, but the last code point lacks some */

#define L(text) text, sizeof(text) - 1 /* and its length */

/* Columns: rule, text, the index of the byte that must be refused. */
static const struct {
    const char *name;
    const char *text;
    size_t len;
    int fails_at;
} cases[] = {
    { "empty", L(""), COMPLETE },
    { "ASCII with NUL", L("a\0z\x7f"), COMPLETE },
    { "ASCII over the word size", L("the quick brown fox jumps"), COMPLETE },
    { "every length (RFC 3629 3)", L("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"), COMPLETE },
    { "Greek, two and three bytes mixed", L("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"), COMPLETE },
    { "U+0080, first of two bytes", L("\xc2\x80"), COMPLETE },
    { "U+07FF, last of two bytes", L("\xdf\xbf"), COMPLETE },
    { "U+0800, first of three bytes", L("\xe0\xa0\x80"), COMPLETE },
    { "U+FFFF, last of three bytes", L("\xef\xbf\xbf"), COMPLETE },
    { "U+10000, first of four bytes", L("\xf0\x90\x80\x80"), COMPLETE },
    { "U+10FFFF, last of all", L("\xf4\x8f\xbf\xbf"), COMPLETE },
    { "U+D7FF, before the surrogates", L("\xed\x9f\xbf"), COMPLETE },
    { "U+E000, after the surrogates", L("\xee\x80\x80"), COMPLETE },
    { "byte order mark is text", L("\xef\xbb\xbf"), COMPLETE },
    { "open after one of two", L("a\xc3"), OPEN },
    { "open after one of three", L("a\xe2"), OPEN },
    { "open after two of three", L("a\xe2\x82"), OPEN },
    { "open after one of four", L("a\xf0"), OPEN },
    { "open after three of four", L("a\xf0\x9f\x98"), OPEN },
    { "lone continuation byte", L("a\x80"), 1 },
    { "continuation byte too many", L("\xc3\xa9\xa9"), 2 },
    { "missing continuation, then ASCII", L("\xc3 a"), 1 },
    { "missing continuation in the middle", L("\xe2\x82 a"), 2 },
    { "missing continuation, then a new code point", L("\xf0\x9f\xc3\xa9"), 2 },
    { "C0, always overlong", L("\xc0\xaf"), 0 },
    { "C1, always overlong", L("\xc1\xbf"), 0 },
    { "overlong in three bytes", L("\xe0\x9f\xbf"), 1 },
    { "overlong in four bytes", L("\xf0\x8f\xbf\xbf"), 1 },
    { "overlong NUL", L("\xe0\x80\x80"), 1 },
    { "U+D800, a surrogate", L("\xed\xa0\x80"), 1 },
    { "U+DFFF, a surrogate", L("\xed\xbf\xbf"), 1 },
    { "surrogate pair (CESU-8)", L("\xed\xa0\xbd\xed\xb8\x80"), 1 },
    { "U+110000, over the last", L("\xf4\x90\x80\x80"), 1 },
    { "lone F5", L("\xf5"), 0 },
    { "five bytes", L("\xf8\x88\x80\x80\x80"), 0 },
    { "FE", L("a\xfe"), 1 },
    { "FF", L("a\xff"), 1 },
    { "bad after good text", L("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80zzzzzz"), 12 },
    { "bad byte at the end of a word", L("abcdefg\xffhijklmno"), 7 },
    { "bad byte at the start of a word", L("abcdefgh\xffijklmno"), 8 },
};

static const uint8_t *case_text(int i)
{
    return (const uint8_t *)cases[i].text;
}

START_TEST(a_text_is_judged_whole)
{
    ck_assert_msg(utf8_is_valid(cases[_i].text, cases[_i].len) == (cases[_i].fails_at == COMPLETE), "%s",
                  cases[_i].name);
}
END_TEST

START_TEST(a_text_is_refused_with_the_first_byte_that_cannot_be)
{
    struct utf8_state s = { 0 };
    for (size_t at = 0; at < cases[_i].len; at++) {
        int want = (int)at == cases[_i].fails_at ? -EILSEQ : 0;
        ck_assert_msg(utf8_feed(&s, case_text(_i) + at, 1) == want, "%s, byte %zu", cases[_i].name, at);
        if (want < 0)
            return;
    }
    ck_assert_msg(utf8_is_complete(&s) == (cases[_i].fails_at == COMPLETE), "%s", cases[_i].name);
}
END_TEST

START_TEST(the_verdict_is_the_same_for_every_split)
{
    for (size_t cut = 0; cut <= cases[_i].len; cut++) {
        struct utf8_state s = { 0 };
        int first = utf8_feed(&s, case_text(_i), cut);
        bool fails_first = cases[_i].fails_at >= 0 && (size_t)cases[_i].fails_at < cut;
        ck_assert_msg(first == (fails_first ? -EILSEQ : 0), "%s, cut at %zu", cases[_i].name, cut);
        if (first < 0)
            continue;
        int second = utf8_feed(&s, case_text(_i) + cut, cases[_i].len - cut);
        ck_assert_msg(second == (cases[_i].fails_at >= 0 ? -EILSEQ : 0), "%s, cut at %zu", cases[_i].name, cut);
        if (second == 0)
            ck_assert(utf8_is_complete(&s) == (cases[_i].fails_at == COMPLETE));
    }
}
END_TEST

/* What RFC 3629 says, by arithmetic instead of ranges: the length of the code point at p, or 0 if there is none. */
static size_t decode(const uint8_t *p, size_t len)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 0x6 ? 2 : p[0] >> 4 == 0xe ? 3 : p[0] >> 3 == 0x1e ? 4 : 0;
    if (n == 0 || n > len)
        return 0;
    uint32_t value = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (p[i] >> 6 != 0x2)
            return 0;
        value = value << 6 | (p[i] & 0x3fu);
    }
    bool is_surrogate = value >= 0xd800 && value <= 0xdfff;
    return value >= least[n] && value <= 0x10ffff && !is_surrogate ? n : 0;
}

static bool is_valid_by_decoding(const uint8_t *p, size_t len)
{
    for (size_t n; len > 0; p += n, len -= n) {
        n = decode(p, len);
        if (n == 0)
            return false;
    }
    return true;
}

START_TEST(four_bytes_are_judged_as_decoding_them_does)
{
    static const uint8_t edges[] = {
        0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf4, 0xff
    };
    for (unsigned pair = 0; pair <= 0xffff; pair++) {
        uint8_t text[4] = { (uint8_t)(pair >> 8), (uint8_t)pair };
        for (size_t i = 0; i < HLY_ARRAY_LEN(edges) * HLY_ARRAY_LEN(edges); i++) {
            text[2] = edges[i / HLY_ARRAY_LEN(edges)];
            text[3] = edges[i % HLY_ARRAY_LEN(edges)];
            for (size_t len = i == 0 ? 1 : 3; len <= 4; len++)
                if (utf8_is_valid(text, len) != is_valid_by_decoding(text, len))
                    ck_abort_msg("%02x %02x %02x %02x, length %zu", text[0], text[1], text[2], text[3], len);
        }
    }
}
END_TEST

static size_t encode(uint32_t c, uint8_t *out)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (uint8_t)(0x80 | (c & 0x3f));
    out[0] = (uint8_t)((0xf00u >> n & 0xffu) | c);
    return n;
}

START_TEST(every_code_point_is_valid_but_the_surrogates)
{
    for (uint32_t c = 0; c <= 0x110000; c++) {
        uint8_t text[4];
        size_t len = encode(c, text);
        bool want = c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);
        if (utf8_is_valid(text, len) != want)
            ck_abort_msg("U+%04X", c);
    }
}
END_TEST

START_TEST(a_bad_byte_is_found_anywhere_at_any_alignment)
{
    _Alignas(8) uint8_t bytes[48];
    for (size_t align = 0; align < 8; align++) {
        for (size_t len = 1; len <= 40; len++) {
            memset(bytes, 'a', sizeof bytes);
            ck_assert(utf8_is_valid(bytes + align, len));
            for (size_t at = 0; at < len; at++) {
                bytes[align + at] = 0x80;
                ck_assert_msg(!utf8_is_valid(bytes + align, len), "align %zu, len %zu, at %zu", align, len, at);
                bytes[align + at] = 'a';
            }
        }
    }
}
END_TEST

START_TEST(nothing_at_all_may_be_fed)
{
    struct utf8_state s = { 0 };
    ck_assert_int_eq(utf8_feed(&s, NULL, 0), 0);
    ck_assert(utf8_is_complete(&s));
    ck_assert(utf8_is_valid(NULL, 0));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("utf8");
    TCase *table = tcase_create("table");
    tcase_add_loop_test(table, a_text_is_judged_whole, 0, HLY_ARRAY_LEN(cases));
    tcase_add_loop_test(table, a_text_is_refused_with_the_first_byte_that_cannot_be, 0, HLY_ARRAY_LEN(cases));
    tcase_add_loop_test(table, the_verdict_is_the_same_for_every_split, 0, HLY_ARRAY_LEN(cases));
    suite_add_tcase(suite, table);

    TCase *all = tcase_create("exhaustive");
    tcase_set_timeout(all, 30);
    tcase_add_test(all, four_bytes_are_judged_as_decoding_them_does);
    tcase_add_test(all, every_code_point_is_valid_but_the_surrogates);
    tcase_add_test(all, a_bad_byte_is_found_anywhere_at_any_alignment);
    tcase_add_test(all, nothing_at_all_may_be_fed);
    suite_add_tcase(suite, all);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
