#include "proto/resp.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct resp_limits limits = { .max_args = 4, .max_bulk = 20, .max_bytes = 80, .max_inline = 24 };

static struct resp_parser parser;

static void parser_setup(void)
{
    resp_parser_init(&parser, &limits);
}

static void parser_teardown(void)
{
    resp_parser_done(&parser);
}

/* Give the parser the first len bytes, at an address of their own, so that ASan sees who reads past them or keeps them.
 * A command comes out as [a][b], one pair of brackets for each argument, what cannot be printed as \xHH; an error as its
 * text; nothing yet as "". */
static int parse(const char *in, size_t len, size_t *ret_used, struct buf *ret_text)
{
    uint8_t *data = malloc(len > 0 ? len : 1);
    memcpy(data, in, len);
    struct resp_command command;
    buf_reset(ret_text);
    int r = resp_parse(&parser, data, len, ret_used, &command);
    if (r == -EPROTO)
        buf_str(ret_text, resp_parser_error(&parser));
    for (size_t i = 0; r == 1 && i < command.argc; i++) {
        buf_str(ret_text, "[");
        for (size_t j = 0; j < command.argv[i].len; j++) {
            uint8_t c = (uint8_t)command.argv[i].ptr[j];
            buf_printf(ret_text, c > ' ' && c < 0x7f ? "%c" : "\\x%02x", c);
        }
        buf_str(ret_text, "]");
    }
    if (r == 1)
        buf_printf(ret_text, "%zu", command.argc);
    buf_append(ret_text, "", 1);
    free(data);
    return r;
}

/* ---- verdicts */

#define ROW(name, in, want, text) \
    { \
        name, in, sizeof(in) - 1, want, text \
    }
#define E "Protocol error: "

static const struct {
    const char *name;
    const char *in;
    size_t len;
    int want; /* for all of `in`, which ends where the verdict falls or the command ends */
    const char *text;
} cases[] = {
    /* arrays */
    ROW("one argument", "*1\r\n$4\r\nPING\r\n", 1, "[PING]1"),
    ROW("several arguments", "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$10\r\n0123456789\r\n", 1, "[SET][a][0123456789]3"),
    ROW("an empty argument", "*2\r\n$0\r\n\r\n$1\r\na\r\n", 1, "[][a]2"),
    ROW("CRLF, NUL and * are data", "*1\r\n$8\r\n\r\n\0*1\r\n$\r\n", 1, "[\\x0d\\x0a\\x00*1\\x0d\\x0a$]1"),
    ROW("an empty array", "*0\r\n", 1, "0"),
    ROW("a null array", "*-1\r\n", 1, "0"),
    ROW("as many arguments as may be", "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n", 1, "[a][b][c][d]4"),
    ROW("an argument as long as may be", "*1\r\n$20\r\n01234567890123456789\r\n", 1, "[01234567890123456789]1"),
    ROW("not complete", "*2\r\n$4\r\nPING\r\n$1\r\na\r", 0, ""),

    ROW("too many arguments", "*5\r\n", -EPROTO, E "invalid multibulk length"),
    ROW("a count over 2^64", "*18446744073709551617\r\n", -EPROTO, E "invalid multibulk length"),
    ROW("no count", "*\r\n", -EPROTO, E "invalid multibulk length"),
    ROW("a count that is none", "*a\r\n", -EPROTO, E "invalid multibulk length"),
    ROW("a count with more after it", "*1a\r\n", -EPROTO, E "invalid multibulk length"),
    ROW("a count with a plus", "*+1\r\n", -EPROTO, E "invalid multibulk length"),
    ROW("a negative count", "*-2\r\n", -EPROTO, E "invalid multibulk length"),
    ROW("a negative zero", "*-0\r\n", -EPROTO, E "invalid multibulk length"),
    ROW("a count with a zero in front", "*01\r\n", -EPROTO, E "invalid multibulk length"),
    ROW("a count with a space in front", "* 1\r\n", -EPROTO, E "invalid multibulk length"),
    ROW("a count with a space behind", "*1 \r\n", -EPROTO, E "invalid multibulk length"),
    ROW("a count without LF", "*1\r$", -EPROTO, E "invalid multibulk length"),
    ROW("a count that does not end", "*1111111111111111111111111111111", -EPROTO, E "too big mbulk count string"),
    ROW("a count with LF alone does not end", "*1\n$4\nPING\n$4\nPING\n$4\nPING\n$4\nPI", -EPROTO,
        E "too big mbulk count string"),

    ROW("an argument that is no bulk", "*1\r\n:", -EPROTO, E "expected '$', got ':'"),
    ROW("an array in an array", "*1\r\n*", -EPROTO, E "expected '$', got '*'"),
    ROW("no bulk, but CR", "*1\r\n\r", -EPROTO, E "expected '$', got '\\x0d'"),
    ROW("no bulk, but NUL", "*1\r\n\0", -EPROTO, E "expected '$', got '\\x00'"),
    ROW("a second argument that is no bulk", "*2\r\n$1\r\na\r\nb", -EPROTO, E "expected '$', got 'b'"),
    ROW("an argument that is too long", "*1\r\n$21\r\n", -EPROTO, E "invalid bulk length"),
    ROW("a length over 2^64", "*1\r\n$18446744073709551617\r\n", -EPROTO, E "invalid bulk length"),
    ROW("a null bulk", "*1\r\n$-1\r\n", -EPROTO, E "invalid bulk length"),
    ROW("no length", "*1\r\n$\r\n", -EPROTO, E "invalid bulk length"),
    ROW("a length that is none", "*1\r\n$a\r\n", -EPROTO, E "invalid bulk length"),
    ROW("a length with a plus", "*1\r\n$+1\r\n", -EPROTO, E "invalid bulk length"),
    ROW("a length with a zero in front", "*1\r\n$01\r\n", -EPROTO, E "invalid bulk length"),
    ROW("a length without LF", "*1\r\n$1\ra", -EPROTO, E "invalid bulk length"),
    ROW("a length that does not end", "*1\r\n$1111111111111111111111111111111", -EPROTO, E "too big bulk count string"),
    ROW("a bulk that is longer than its length", "*1\r\n$1\r\nab\r", -EPROTO, E "expected CRLF after a bulk"),
    ROW("a bulk with LF alone after it", "*1\r\n$1\r\na\n\n", -EPROTO, E "expected CRLF after a bulk"),
    ROW("a bulk with CR alone after it", "*1\r\n$1\r\na\r$", -EPROTO, E "expected CRLF after a bulk"),
    ROW("a command as long as may be",
        "*4\r\n$20\r\n01234567890123456789\r\n$20\r\n01234567890123456789\r\n$8\r\nabcdefgh\r\n$2\r\nef\r\n", 1,
        "[01234567890123456789][01234567890123456789][abcdefgh][ef]4"),
    ROW("a command that is too long",
        "*4\r\n$20\r\n01234567890123456789\r\n$20\r\n01234567890123456789\r\n$9\r\nabcdefghi\r\n$2\r\n", -EPROTO,
        E "too big request"),

    /* inline commands */
    ROW("an inline command", "PING\r\n", 1, "[PING]1"),
    ROW("LF alone", "PING\n", 1, "[PING]1"),
    ROW("an inline command with arguments", "SET a \t b\r\n", 1, "[SET][a][b]3"),
    ROW("white space around", "  \tPING \t\r\n", 1, "[PING]1"),
    ROW("an empty line", "\r\n", 1, "0"),
    ROW("an empty line, LF alone", "\n", 1, "0"),
    ROW("a blank line", " \t \r\n", 1, "0"),
    ROW("CR within a line parts words", "a\rb\r\n", 1, "[a][b]2"),
    ROW("a line as long as may be", "012345678901234567890 23\r\n", -EPROTO, E "invalid bulk length"),
    ROW("a line as long as may be, in words", "01234567890123456789 123\r\n", 1, "[01234567890123456789][123]2"),
    ROW("a line that is too long", "01234567890123456789 1234\r", -EPROTO, E "too big inline request"),
    ROW("a line that is too long, LF alone", "01234567890123456789 1234\n", -EPROTO, E "too big inline request"),
    ROW("a line that does not end", "01234567890123456789012345", -EPROTO, E "too big inline request"),
    ROW("too many words", "a b c d e\n", -EPROTO, E "too many arguments"),
    ROW("NUL in a line", "a\0b\n", -EPROTO, E "NUL byte in inline request"),

    ROW("double quotes", "a \"b c\" d\n", 1, "[a][b\\x20c][d]3"),
    ROW("single quotes", "a 'b c' d\n", 1, "[a][b\\x20c][d]3"),
    ROW("empty quotes", "\"\" ''\n", 1, "[][]2"),
    ROW("quotes that begin within a word", "a\"b c\"\n", 1, "[ab\\x20c]1"),
    ROW("single in double, double in single", "\"'\" '\"'\n", 1, "['][\"]2"),
    ROW("escapes for control characters", "\"\\n\\r\\t\\b\\a\"\n", 1, "[\\x0a\\x0d\\x09\\x08\\x07]1"),
    ROW("escapes for quotes and backslash", "\"\\\"\\\\\\q\"\n", 1, "[\"\\q]1"),
    ROW("escapes in hexadecimal", "\"\\x00\\xfF\\x4\"\n", 1, "[\\x00\\xffx4]1"),
    ROW("in single quotes only the quote is escaped", "'\\'\\n\\x'\n", 1, "['\\n\\x]1"),
    ROW("outside of quotes nothing is escaped", "\\n\\x41\n", 1, "[\\n\\x41]1"),
    ROW("double quotes that do not end", "\"a\n", -EPROTO, E "unbalanced quotes in request"),
    ROW("single quotes that do not end", "'a\n", -EPROTO, E "unbalanced quotes in request"),
    ROW("double quotes that end in an escape", "\"a\\\"\n", -EPROTO, E "unbalanced quotes in request"),
    ROW("single quotes that end in an escape", "'a\\'\n", -EPROTO, E "unbalanced quotes in request"),
    ROW("a backslash at the end", "\"a\\\n", -EPROTO, E "unbalanced quotes in request"),
    ROW("double quotes with more after them", "\"a\"b\n", -EPROTO, E "unbalanced quotes in request"),
    ROW("single quotes with more after them", "'a''b'\n", -EPROTO, E "unbalanced quotes in request"),
    ROW("a reply instead of a command", "+OK\r\n", 1, "[+OK]1"),
};

START_TEST(a_command_gets_its_verdict)
{
    struct buf text = { 0 };
    size_t used = 0;
    int got = parse(cases[_i].in, cases[_i].len, &used, &text);
    ck_assert_msg(got == cases[_i].want && strcmp((char *)text.data, cases[_i].text) == 0, "%s: got %d, %s",
                  cases[_i].name, got, (char *)text.data);
    if (got == 1)
        ck_assert_msg(used == cases[_i].len, "%s: %zu bytes were used", cases[_i].name, used);
    buf_done(&text);
}
END_TEST

START_TEST(a_command_gets_the_same_verdict_for_every_split)
{
    struct buf text = { 0 };
    for (size_t cut = 0; cut < cases[_i].len; cut++) {
        size_t used = 0, third = cut + (cases[_i].len - cut) / 2;
        resp_parser_done(&parser);
        resp_parser_init(&parser, &limits);
        int got = parse(cases[_i].in, cut, &used, &text);
        if (got == 0)
            got = parse(cases[_i].in, third, &used, &text);
        if (got == 0)
            got = parse(cases[_i].in, cases[_i].len, &used, &text);
        ck_assert_msg(got == cases[_i].want && strcmp((char *)text.data, cases[_i].text) == 0,
                      "%s, cut at %zu and %zu: got %d, %s", cases[_i].name, cut, third, got, (char *)text.data);
    }
    buf_done(&text);
}
END_TEST

START_TEST(a_command_gets_its_verdict_from_the_byte_that_decides)
{
    struct buf text = { 0 };
    int got = 0;
    for (size_t n = 0; n <= cases[_i].len && got == 0; n++) {
        size_t used = 0;
        got = parse(cases[_i].in, n, &used, &text);
        ck_assert_msg(got == 0 || n == cases[_i].len, "%s: got %d at %zu", cases[_i].name, got, n);
    }
    ck_assert_msg(got == cases[_i].want && strcmp((char *)text.data, cases[_i].text) == 0, "%s: got %d, %s",
                  cases[_i].name, got, (char *)text.data);
    buf_done(&text);
}
END_TEST

START_TEST(an_error_is_for_good)
{
    struct buf text = { 0 };
    size_t used;
    ck_assert_int_eq(parse("*a\r\n", 4, &used, &text), -EPROTO);
    ck_assert_int_eq(parse("PING\r\n", 6, &used, &text), -EPROTO);
    ck_assert_str_eq((char *)text.data, E "invalid multibulk length");
    buf_done(&text);
}
END_TEST

/* ---- pipelines */

START_TEST(every_split_of_a_pipeline_gives_the_same_commands)
{
    static const char in[] = "*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\nPING\r\n\r\n*0\r\n*1\r\n$4\r\nQUIT\r\nSET 'a b' c\n";
    static const char want[] = "[ECHO][a\\x0d\\x0a]2 [PING]1 0 0 [QUIT]1 [SET][a\\x20b][c]3 ";
    struct buf text = { 0 }, all = { 0 };
    for (size_t a = 0; a < sizeof(in); a++) {
        for (size_t b = a; b < sizeof(in); b++) {
            const size_t ends[] = { a, b, sizeof(in) - 1 };
            size_t at = 0;
            buf_reset(&all);
            for (size_t i = 0; i < HLY_ARRAY_LEN(ends); i++) {
                size_t used;
                while (parse(in + at, ends[i] - at, &used, &text) == 1) {
                    at += used;
                    buf_printf(&all, "%s ", (char *)text.data);
                }
            }
            ck_assert_msg(all.len == sizeof(want) - 1 && memcmp(all.data, want, all.len) == 0, "cut at %zu and %zu", a,
                          b);
        }
    }
    buf_done(&text);
    buf_done(&all);
}
END_TEST

START_TEST(what_is_understood_is_not_scanned_again)
{
    static const struct {
        const char *in;
        size_t scanned;
    } rows[] = { { "*2\r\n$4\r\nECHO\r\n", 14 }, { "*2\r\n$4\r\nECHO\r\n$5\r\nabc", 18 }, { "ECHO abc", 8 } };
    struct buf text = { 0 };
    for (size_t i = 0; i < HLY_ARRAY_LEN(rows); i++) {
        size_t used;
        resp_parser_done(&parser);
        ck_assert_int_eq(parse(rows[i].in, strlen(rows[i].in), &used, &text), 0);
        ck_assert_uint_eq(parser.scanned, rows[i].scanned);
    }
    buf_done(&text);
}
END_TEST

START_TEST(limits_may_change_between_commands)
{
    struct buf text = { 0 };
    size_t used;
    parser.limits.max_args = 1;
    ck_assert_int_eq(parse("*1\r\n$4\r\nAUTH\r\n", 14, &used, &text), 1);
    parser.limits.max_args = 5;
    ck_assert_int_eq(parse("*5\r\n", 4, &used, &text), 0);
    buf_done(&text);
}
END_TEST

/* ---- memory */

START_TEST(an_announced_count_allocates_nothing)
{
    struct buf text = { 0 };
    size_t used;
    parser.limits.max_args = UINT32_MAX;
    ck_assert_int_eq(parse("*4294967295\r\n$1\r\na\r\n", 20, &used, &text), 0);
    ck_assert_uint_le(parser.parts_cap, 8);
    ck_assert_uint_eq(parser.argv_cap, 0);
    buf_done(&text);
}
END_TEST

START_TEST(the_memory_of_a_big_command_is_given_back)
{
    struct buf in = { 0 }, text = { 0 };
    size_t used;
    parser.limits = (struct resp_limits){ .max_args = 10000, .max_bulk = 10, .max_bytes = 100000, .max_inline = 10 };
    buf_str(&in, "*10000\r\n");
    for (int i = 0; i < 10000; i++)
        buf_str(&in, "$1\r\na\r\n");
    ck_assert_int_eq(parse((char *)in.data, in.len, &used, &text), 1);
    ck_assert_uint_eq(used, in.len);
    ck_assert_uint_ge(parser.argv_cap, 10000);
    ck_assert_int_eq(parse("", 0, &used, &text), 0);
    ck_assert_uint_eq(parser.argv_cap + parser.parts_cap, 0);
    buf_done(&in);
    buf_done(&text);
}
END_TEST

START_TEST(the_parser_knows_what_is_missing_of_a_bulk)
{
    static const struct {
        const char *in;
        size_t want;
    } missing[] = { { "", 0 },
                    { "*1\r\n", 0 },
                    { "*1\r\n$5\r", 0 },
                    { "*1\r\n$5\r\n", 7 },
                    { "*1\r\n$5\r\nab", 5 },
                    { "*1\r\n$5\r\nabcde\r", 1 },
                    { "*2\r\n$1\r\na\r\n", 0 },
                    { "PING", 0 } };
    struct buf text = { 0 };
    for (size_t i = 0; i < HLY_ARRAY_LEN(missing); i++) {
        size_t used, len = strlen(missing[i].in);
        resp_parser_done(&parser);
        ck_assert_int_eq(parse(missing[i].in, len, &used, &text), 0);
        ck_assert_msg(resp_parser_missing(&parser, len) == missing[i].want, "%s", missing[i].in);
        ck_assert_uint_eq(resp_parser_missing(&parser, len + 100), 0);
    }
    buf_done(&text);
}
END_TEST

/* ---- replies */

static void write_simple(struct buf *out, int proto)
{
    (void)proto;
    resp_write_simple(out, "OK\r\n+fake");
    resp_write_error(out, "ERR no\nsuch");
}

static void write_ints(struct buf *out, int proto)
{
    (void)proto;
    resp_write_int(out, 0);
    resp_write_int(out, -42);
    resp_write_int(out, INT64_MAX);
    resp_write_int(out, INT64_MIN);
}

static void write_bulks(struct buf *out, int proto)
{
    (void)proto;
    resp_write_bulk(out, "a\r\nb", 4);
    resp_write_bulk(out, NULL, 0);
    resp_write_str(out, "hello");
}

static void write_nulls(struct buf *out, int proto)
{
    resp_write_null(out, proto);
    resp_write_null_array(out, proto);
}

static void write_aggregates(struct buf *out, int proto)
{
    resp_write_array(out, 12);
    resp_write_map(out, proto, 3);
    resp_write_push(out, proto, 2);
}

static void write_verbatim(struct buf *out, int proto)
{
    resp_write_verbatim(out, proto, "a:b\r\n", 5);
}

static const struct {
    void (*write)(struct buf *out, int proto);
    const char *want[2]; /* RESP2, RESP3 */
} replies[] = {
    { write_simple, { "+OK  +fake\r\n-ERR no such\r\n", "+OK  +fake\r\n-ERR no such\r\n" } },
    { write_ints,
      { ":0\r\n:-42\r\n:9223372036854775807\r\n:-9223372036854775808\r\n",
        ":0\r\n:-42\r\n:9223372036854775807\r\n:-9223372036854775808\r\n" } },
    { write_bulks, { "$4\r\na\r\nb\r\n$0\r\n\r\n$5\r\nhello\r\n", "$4\r\na\r\nb\r\n$0\r\n\r\n$5\r\nhello\r\n" } },
    { write_nulls, { "$-1\r\n*-1\r\n", "_\r\n_\r\n" } },
    { write_aggregates, { "*12\r\n*6\r\n*2\r\n", "*12\r\n%3\r\n>2\r\n" } },
    { write_verbatim, { "$5\r\na:b\r\n\r\n", "=9\r\ntxt:a:b\r\n\r\n" } },
};

START_TEST(a_reply_is_written_in_both_protocols)
{
    for (int proto = 2; proto <= 3; proto++) {
        struct buf out = { 0 };
        replies[_i].write(&out, proto);
        ck_assert(!out.failed);
        buf_append(&out, "", 1);
        ck_assert_str_eq((char *)out.data, replies[_i].want[proto - 2]);
        buf_done(&out);
    }
}
END_TEST

START_TEST(a_header_of_any_size_fits_in_24_bytes)
{
    uint8_t out[24];
    ck_assert_uint_eq(resp_put_header(out, '$', UINT64_MAX), 23);
    ck_assert_mem_eq(out, "$18446744073709551615\r\n", 23);
    ck_assert_uint_eq(resp_put_header(out, '*', 0), 4);
    ck_assert_mem_eq(out, "*0\r\n", 4);
}
END_TEST

/* ---- */

int main(void)
{
    Suite *suite = suite_create("resp");

    TCase *verdict = tcase_create("verdict");
    tcase_add_checked_fixture(verdict, parser_setup, parser_teardown);
    tcase_add_loop_test(verdict, a_command_gets_its_verdict, 0, HLY_ARRAY_LEN(cases));
    tcase_add_loop_test(verdict, a_command_gets_the_same_verdict_for_every_split, 0, HLY_ARRAY_LEN(cases));
    tcase_add_loop_test(verdict, a_command_gets_its_verdict_from_the_byte_that_decides, 0, HLY_ARRAY_LEN(cases));
    tcase_add_test(verdict, an_error_is_for_good);
    tcase_add_test(verdict, every_split_of_a_pipeline_gives_the_same_commands);
    tcase_add_test(verdict, what_is_understood_is_not_scanned_again);
    tcase_add_test(verdict, limits_may_change_between_commands);
    suite_add_tcase(suite, verdict);

    TCase *memory = tcase_create("memory");
    tcase_add_checked_fixture(memory, parser_setup, parser_teardown);
    tcase_add_test(memory, an_announced_count_allocates_nothing);
    tcase_add_test(memory, the_memory_of_a_big_command_is_given_back);
    tcase_add_test(memory, the_parser_knows_what_is_missing_of_a_bulk);
    suite_add_tcase(suite, memory);

    TCase *reply = tcase_create("replies");
    tcase_add_loop_test(reply, a_reply_is_written_in_both_protocols, 0, HLY_ARRAY_LEN(replies));
    tcase_add_test(reply, a_header_of_any_size_fits_in_24_bytes);
    suite_add_tcase(suite, reply);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
