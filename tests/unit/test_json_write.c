#include "proto/json_write.h"

#include <jansson.h>

#include "base/utf8.h"
#include "support.h"

#define L(text) (text), sizeof(text) - 1 /* with what follows a NUL */

/* Into memory of exactly the size that was announced, so that a sanitizer sees more. The caller frees *ret_out. */
static size_t write_string(struct slice s, bool for_script, char **ret_out)
{
    size_t size = json_string_size(s, for_script);
    uint8_t *out = malloc(size);
    HOLDS(json_put_string(out, s, for_script) == out + size);
    *ret_out = (char *)out;
    return size;
}

static size_t write_value(struct slice s, bool for_script, char **ret_out)
{
    size_t size = json_value_size(s, for_script);
    uint8_t *out = malloc(size + 1); /* + 1: malloc(0) may be NULL */
    out[size] = 0xa5;
    HOLDS(json_put_value(out, s, for_script) == out + size);
    HOLDS(out[size] == 0xa5);
    *ret_out = (char *)out;
    return size;
}

static bool is_script_safe(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] == '<' || text[i] == '>' || text[i] == '&' || text[i] == '\n' || text[i] == '\r')
            return false;
    return memmem(text, len, "\xe2\x80\xa8", 3) == NULL && memmem(text, len, "\xe2\x80\xa9", 3) == NULL;
}

static bool reads_back(const char *json, size_t len, struct slice want)
{
    json_t *value = json_loadb(json, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool same = json_is_string(value) && json_string_length(value) == want.len &&
                (want.len == 0 || memcmp(json_string_value(value), want.ptr, want.len) == 0);
    json_decref(value);
    return same;
}

/* ---- strings (RFC 8259 7); wants are without their quotes, script NULL: the same in a script */

static const struct {
    const char *name;
    struct slice in;
    const char *want;
    const char *script;
} strings[] = {
    { "empty", { L("") }, "", NULL },
    { "quotation mark", { L("\"") }, "\\\"", NULL },
    { "backslash", { L("\\") }, "\\\\", NULL },
    { "solidus may stay", { L("/") }, "/", NULL },
    { "U+0000", { L("\0") }, "\\u0000", NULL },
    { "U+0001", { L("\x01") }, "\\u0001", NULL },
    { "U+0002", { L("\x02") }, "\\u0002", NULL },
    { "U+0003", { L("\x03") }, "\\u0003", NULL },
    { "U+0004", { L("\x04") }, "\\u0004", NULL },
    { "U+0005", { L("\x05") }, "\\u0005", NULL },
    { "U+0006", { L("\x06") }, "\\u0006", NULL },
    { "U+0007", { L("\x07") }, "\\u0007", NULL },
    { "backspace", { L("\b") }, "\\b", NULL },
    { "tab", { L("\t") }, "\\t", NULL },
    { "line feed", { L("\n") }, "\\n", NULL },
    { "U+000B", { L("\x0b") }, "\\u000b", NULL },
    { "form feed", { L("\f") }, "\\f", NULL },
    { "carriage return", { L("\r") }, "\\r", NULL },
    { "U+000E", { L("\x0e") }, "\\u000e", NULL },
    { "U+000F", { L("\x0f") }, "\\u000f", NULL },
    { "U+0010", { L("\x10") }, "\\u0010", NULL },
    { "U+0011", { L("\x11") }, "\\u0011", NULL },
    { "U+0012", { L("\x12") }, "\\u0012", NULL },
    { "U+0013", { L("\x13") }, "\\u0013", NULL },
    { "U+0014", { L("\x14") }, "\\u0014", NULL },
    { "U+0015", { L("\x15") }, "\\u0015", NULL },
    { "U+0016", { L("\x16") }, "\\u0016", NULL },
    { "U+0017", { L("\x17") }, "\\u0017", NULL },
    { "U+0018", { L("\x18") }, "\\u0018", NULL },
    { "U+0019", { L("\x19") }, "\\u0019", NULL },
    { "U+001A", { L("\x1a") }, "\\u001a", NULL },
    { "U+001B", { L("\x1b") }, "\\u001b", NULL },
    { "U+001C", { L("\x1c") }, "\\u001c", NULL },
    { "U+001D", { L("\x1d") }, "\\u001d", NULL },
    { "U+001E", { L("\x1e") }, "\\u001e", NULL },
    { "U+001F, the last that must be escaped", { L("\x1f") }, "\\u001f", NULL },
    { "space", { L(" ") }, " ", NULL },
    { "neighbours of what is special", { L("!#%';=?[]") }, "!#%';=?[]", NULL },
    { "DEL may stay", { L("\x7f") }, "\x7f", NULL },
    { "U+0080, a control character that may stay", { L("\xc2\x80") }, "\xc2\x80", NULL },
    { "two bytes", { L("\xc3\xa9") }, "\xc3\xa9", NULL },
    { "three bytes that begin as U+2028 does", { L("\xe2\x82\xac") }, "\xe2\x82\xac", NULL },
    { "U+2027, before the separators", { L("\xe2\x80\xa7") }, "\xe2\x80\xa7", NULL },
    { "U+2028", { L("\xe2\x80\xa8") }, "\xe2\x80\xa8", "\\u2028" },
    { "U+2029", { L("\xe2\x80\xa9") }, "\xe2\x80\xa9", "\\u2029" },
    { "U+202A, after the separators", { L("\xe2\x80\xaa") }, "\xe2\x80\xaa", NULL },
    { "U+20A8, with the last byte of U+2028", { L("\xe2\x82\xa8") }, "\xe2\x82\xa8", NULL },
    { "U+3028, with the others", { L("\xe3\x80\xa8") }, "\xe3\x80\xa8", NULL },
    { "four bytes", { L("\xf0\x9f\x98\x80") }, "\xf0\x9f\x98\x80", NULL },
    { "the last code point", { L("\xf4\x8f\xbf\xbf") }, "\xf4\x8f\xbf\xbf", NULL },
    { "byte order mark", { L("\xef\xbb\xbf") }, "\xef\xbb\xbf", NULL },
    { "the end of a script", { L("</script>") }, "</script>", "\\u003c/script\\u003e" },
    { "a comment, in which scripts end elsewhere", { L("<!--") }, "<!--", "\\u003c!--" },
    { "the end of CDATA", { L("]]>") }, "]]>", "]]\\u003e" },
    { "a character reference", { L("&quot;") }, "&quot;", "\\u0026quot;" },
    { "an escape is text", { L("\\u003c\\n") }, "\\\\u003c\\\\n", NULL },
    { "all at once",
      { L("\"\\\x01<\xe2\x80\xa8>&\0\n") },
      "\\\"\\\\\\u0001<\xe2\x80\xa8>&\\u0000\\n",
      "\\\"\\\\\\u0001\\u003c\\u2028\\u003e\\u0026\\u0000\\n" },
};

/* The row's input with so many plain bytes before and after it: words of eight begin anywhere in it. */
static void check_string(int row, size_t before, size_t after, bool for_script)
{
    char in[128], want[256], *out;
    const char *form = for_script && strings[row].script != NULL ? strings[row].script : strings[row].want;
    struct slice s = { in, before + strings[row].in.len + after };
    memset(in, 'b', before);
    if (strings[row].in.len > 0)
        memcpy(in + before, strings[row].in.ptr, strings[row].in.len);
    memset(in + before + strings[row].in.len, 'a', after);
    int want_len = snprintf(want, sizeof want, "\"%.*s%s%.*s\"", (int)before, "bbbbbbbbbbbbbbbbbbbb", form, (int)after,
                            "aaaaaaaaaaaaaaaaaaaa");
    size_t len = write_string(s, for_script, &out);
    if (len != (size_t)want_len || memcmp(out, want, len) != 0)
        ck_abort_msg("%s, script %d, after %zu bytes: got %.*s, not %s", strings[row].name, for_script, before,
                     (int)len, out, want);
    HOLDS(reads_back(out, len, s));
    HOLDS(!for_script || is_script_safe(out, len));
    free(out);
}

START_TEST(a_string_is_escaped_wherever_it_needs_it_in_a_word)
{
    for (size_t before = 0; before <= 17; before++)
        for (size_t after = 0; after <= 17; after++) {
            check_string(_i, before, after, false);
            check_string(_i, before, after, true);
        }
}
END_TEST

START_TEST(a_string_without_memory_is_empty)
{
    char *out;
    ck_assert_uint_eq(write_string((struct slice){ NULL, 0 }, true, &out), 2);
    ck_assert_mem_eq(out, "\"\"", 2);
    free(out);
}
END_TEST

/* The contract is UTF-8; what is not may come out as it is, but nothing beyond it is looked at. */
START_TEST(a_separator_that_is_cut_is_not_read_past_its_end)
{
    static const char separator[] = "\xe2\x80\xa8";
    for (size_t len = 1; len <= 2; len++) {
        char *in = malloc(len), *out;
        memcpy(in, separator, len);
        ck_assert_uint_eq(write_string((struct slice){ in, len }, true, &out), len + 2);
        ck_assert_mem_eq(out + 1, separator, len);
        free(out);
        free(in);
    }
}
END_TEST

static size_t random_text(char *out, size_t max) /* of much that is special and some that only looks so */
{
    static const struct slice pieces[] = { { L("\"") },
                                           { L("\\") },
                                           { L("\0") },
                                           { L("\x1f") },
                                           { L("\n") },
                                           { L("<") },
                                           { L(">") },
                                           { L("&") },
                                           { L("\xe2\x80\xa8") },
                                           { L("\xe2\x80\xa9") },
                                           { L("\xe2\x80\xaa") },
                                           { L("\xe2\x82\xa8") },
                                           { L("=") },
                                           { L("\xc3\xa9") },
                                           { L("\xf0\x9f\x98\x80") },
                                           { L("\x7f") },
                                           { L("!") } };
    size_t len = 0, plain = 1 + below(30);
    while (len + 4 <= max) {
        struct slice piece = below((uint32_t)plain) > 0 ? SLICE_LIT("x") : pieces[below(HLY_ARRAY_LEN(pieces))];
        memcpy(out + len, piece.ptr, piece.len);
        len += piece.len;
    }
    return len;
}

START_TEST(any_text_reads_back_as_it_was)
{
    seed_random();
    for (int step = 0; step < 20000; step++) {
        char in[100], *out;
        struct slice s = { in, random_text(in, below(sizeof in)) };
        HOLDS(utf8_is_valid(s.ptr, s.len));
        for (int for_script = 0; for_script <= 1; for_script++) {
            size_t len = write_string(s, for_script, &out);
            HOLDS(reads_back(out, len, s));
            HOLDS(!for_script || is_script_safe(out, len));
            free(out);
        }
    }
}
END_TEST

/* ---- values */

static const struct {
    const char *name;
    struct slice in;
    const char *want;
    const char *script; /* NULL: the same */
} values[] = {
    { "a number", { L("-1.5e+3") }, "-1.5e+3", NULL },
    { "a number that no double holds stays as it is", { L("12345678901234567890") }, "12345678901234567890", NULL },
    { "a literal", { L("null") }, "null", NULL },
    { "a string", { L("\"a\\n\\u0000\"") }, "\"a\\n\\u0000\"", NULL },
    { "LF between tokens", { L("[1,\n2]") }, "[1, 2]", NULL },
    { "CR LF between tokens", { L("[1,\r\n2]") }, "[1,  2]", NULL },
    { "CR between tokens", { L("{\r\"a\"\r:\r1\r}") }, "{ \"a\" : 1 }", NULL },
    { "line ends around", { L("\n\r1\r\n") }, "  1  ", NULL },
    { "tabs end no line", { L("[\t1\t]") }, "[\t1\t]", NULL },
    { "line ends in a whole word, and after it", { L("[\n\n\n\n\n\n\n\n\n\n1,\n2 ]") }, "[          1, 2 ]", NULL },
    { "the end of a script", { L("[\"</script>\"]") }, "[\"</script>\"]", "[\"\\u003c/script\\u003e\"]" },
    { "in a name", { L("{\"<!--\":1}") }, "{\"<!--\":1}", "{\"\\u003c!--\":1}" },
    { "after an escaped backslash", { L("\"\\\\<\"") }, "\"\\\\<\"", "\"\\\\\\u003c\"" },
    { "a separator", { L("\"\xe2\x80\xa8\xe2\x80\xa9\"") }, "\"\xe2\x80\xa8\xe2\x80\xa9\"", "\"\\u2028\\u2029\"" },
    { "an ampersand", { L("\"a&b\"") }, "\"a&b\"", "\"a\\u0026b\"" },
    { "DEL, and text that begins as a separator", { L("\"\x7f\xe2\x82\xac\"") }, "\"\x7f\xe2\x82\xac\"", NULL },
};

START_TEST(a_value_stays_as_it_is_but_on_one_line)
{
    for (int for_script = 0; for_script <= 1; for_script++) {
        const char *want = for_script && values[_i].script != NULL ? values[_i].script : values[_i].want;
        char *out;
        size_t len = write_value(values[_i].in, for_script, &out);
        ck_assert_msg(len == strlen(want) && memcmp(out, want, len) == 0, "%s, script %d: got %.*s", values[_i].name,
                      for_script, (int)len, out);
        json_t *before = json_loadb(values[_i].in.ptr, values[_i].in.len,
                                    JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
        json_t *after = json_loadb(out, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
        ck_assert_ptr_nonnull(before);
        ck_assert_msg(json_equal(before, after), "%s: another value", values[_i].name);
        ck_assert(!for_script || is_script_safe(out, len));
        json_decref(before);
        json_decref(after);
        free(out);
    }
}
END_TEST

START_TEST(a_line_end_is_found_wherever_it_is_in_a_word)
{
    for (size_t at = 0; at < 24; at++)
        for (int cr = 0; cr <= 1; cr++) {
            char in[24], *out;
            memset(in, '1', sizeof in);
            in[at] = cr ? '\r' : '\n';
            HOLDS(write_value((struct slice){ in, sizeof in }, cr, &out) == sizeof in);
            in[at] = ' ';
            HOLDS(memcmp(in, out, sizeof in) == 0);
            free(out);
        }
}
END_TEST

/* ---- base64 */

static const struct {
    struct slice in;
    const char *want;
} base64s[] = {
    { { L("") }, "\"\"" }, /* RFC 4648 10, from here */
    { { L("f") }, "\"Zg==\"" },
    { { L("fo") }, "\"Zm8=\"" },
    { { L("foo") }, "\"Zm9v\"" },
    { { L("foob") }, "\"Zm9vYg==\"" },
    { { L("fooba") }, "\"Zm9vYmE=\"" },
    { { L("foobar") }, "\"Zm9vYmFy\"" },
    { { L("foobarf") }, "\"Zm9vYmFyZg==\"" }, /* and on in the same way */
    { { L("foobarfo") }, "\"Zm9vYmFyZm8=\"" },
    { { L("foobarfoo") }, "\"Zm9vYmFyZm9v\"" },
    { { L("\xfb\xff\xbf\0\0\0") }, "\"+/+/AAAA\"" }, /* the alphabet of RFC 4648 4, not that of 5 */
};

START_TEST(bytes_are_base64_with_padding)
{
    size_t size = json_base64_size(base64s[_i].in.len);
    ck_assert_uint_eq(size, strlen(base64s[_i].want));
    uint8_t *out = malloc(size);
    ck_assert_ptr_eq(json_put_base64(out, base64s[_i].in), out + size);
    ck_assert_msg(memcmp(out, base64s[_i].want, size) == 0, "got %.*s, not %s", (int)size, out, base64s[_i].want);
    free(out);
}
END_TEST

START_TEST(base64_of_millions_of_bytes_has_no_seam)
{
    static const size_t around = 3 << 20; /* where one piece ends and the next begins */
    for (size_t len = around - 1; len <= around + 4; len++) {
        char *in = calloc(1, len); /* each group of three is AAAA */
        uint8_t *out = malloc(json_base64_size(len));
        in[len - 1] = (char)0xff;
        size_t size = (size_t)(json_put_base64(out, (struct slice){ in, len }) - out);
        HOLDS(size == json_base64_size(len));
        size_t whole = (len - 1) / 3 * 4;
        const char *tail = len % 3 == 0 ? "AAD/\"" : len % 3 == 1 ? "/w==\"" : "AP8=\"";
        HOLDS(out[0] == '"' && memcmp(out + 1 + whole, tail, 5) == 0 && size == 1 + whole + 5);
        for (size_t i = 0; i < whole; i++)
            HOLDS(out[1 + i] == 'A');
        free(out);
        free(in);
    }
}
END_TEST

START_TEST(the_size_of_base64_does_not_wrap)
{
    ck_assert_uint_eq(json_base64_size(UINT32_MAX), 2 + (UINT32_MAX / 3ul) * 4);
    ck_assert_uint_eq(json_base64_size(SIZE_MAX / 4 * 3 - 6), SIZE_MAX / 4 * 4 - 8 + 2); /* the next groups would */
}
END_TEST

START_TEST(a_string_goes_to_the_end_of_a_buf)
{
    struct buf b = { 0 };
    buf_str(&b, "{\"a\":");
    json_buf_string(&b, SLICE_LIT("\"</"));
    json_buf_string(&b, (struct slice){ NULL, 0 });
    ck_assert_uint_eq(b.len, strlen("{\"a\":\"\\\"</\"\"\""));
    ck_assert_mem_eq(b.data, "{\"a\":\"\\\"</\"\"\"", b.len);
    buf_done(&b);
}
END_TEST

START_TEST(a_buf_without_memory_stays_as_it_was)
{
    struct buf b = { 0 };
    size_t len = 100u << 20;
    char *in = malloc(len);
    memset(in, 1, len);
    buf_str(&b, "before");
    if (!limit_memory(400u << 20))
        goto out;
    json_buf_string(&b, (struct slice){ in, len });
    ck_assert(b.failed);
    ck_assert_uint_eq(b.len, 6);
    ck_assert_mem_eq(b.data, "before", 6);
out:
    free(in);
    buf_done(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("json_write");
    TCase *t = tcase_create("json_write");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_string_is_escaped_wherever_it_needs_it_in_a_word, 0, HLY_ARRAY_LEN(strings));
    tcase_add_test(t, a_string_without_memory_is_empty);
    tcase_add_test(t, a_separator_that_is_cut_is_not_read_past_its_end);
    tcase_add_test(t, any_text_reads_back_as_it_was);
    tcase_add_loop_test(t, a_value_stays_as_it_is_but_on_one_line, 0, HLY_ARRAY_LEN(values));
    tcase_add_test(t, a_line_end_is_found_wherever_it_is_in_a_word);
    tcase_add_loop_test(t, bytes_are_base64_with_padding, 0, HLY_ARRAY_LEN(base64s));
    tcase_add_test(t, base64_of_millions_of_bytes_has_no_seam);
    tcase_add_test(t, the_size_of_base64_does_not_wrap);
    tcase_add_test(t, a_string_goes_to_the_end_of_a_buf);
    tcase_add_test(t, a_buf_without_memory_stays_as_it_was);
    suite_add_tcase(s, t);
    return run_suite(s);
}
