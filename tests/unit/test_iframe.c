#include "transport/iframe.h"

#include "support.h"

/* ---- the callback: the one thing of the URL that stands in a script */

static const struct {
    const char *name;
    const char *callback;
    bool is_good;
} callbacks[] = {
    { "empty", "", false },
    { "a letter", "f", true },
    { "$ and _ are letters", "$_", true },
    { "digits behind a letter", "f09", true },
    { "a digit first", "0f", false },
    { "a path", "window.app.on_message", true },
    { "a digit first in a later part", "a.b.0c", false },
    { "a dot first", ".f", false },
    { "a dot last", "f.", false },
    { "two dots", "a..b", false },
    { "a reserved word, which behind a dot is a name", "new.function", true },
    { "a call", "f()", false },
    { "an index", "a[0]", false },
    { "a template", "f`x`", false },
    { "a quote", "f\"", false },
    { "a statement", "f;g", false },
    { "a comma", "f,g", false },
    { "a comment", "f/**/", false },
    { "white space", "f g", false },
    { "a tab first", "\tf", false },
    { "a line end", "f\n", false },
    { "a tag", "f</script>", false },
    { "an escape", "\\u0066", false },
    { "a hyphen, which is a minus", "a-b", false },
    { "beyond ASCII", "f\xc3\xa9", false },
    { "U+2028", "f\xe2\x80\xa8", false },
    { "the byte behind Z", "f[", false },
    { "the byte before A", "f@", false },
    { "the byte behind z", "f{", false },
    { "the byte before 0", "f/", false },
    { "the byte behind 9", "f:", false },
};

START_TEST(a_callback_is_a_path_of_identifiers)
{
    size_t len = strlen(callbacks[_i].callback);
    char *exact = malloc(len + 1);
    memcpy(exact, callbacks[_i].callback, len);
    const char *why = iframe_callback_error((struct slice){ exact, len });
    ck_assert_msg((why == NULL) == callbacks[_i].is_good, "%s: %s", callbacks[_i].name, why == NULL ? "taken" : why);
    free(exact);
}
END_TEST

START_TEST(no_other_byte_is_taken_anywhere)
{
    for (int c = 0; c < 256; c++) {
        char text[] = { 'f', (char)c, 'g' };
        bool is_name = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '$' || c == '.';
        ck_assert_msg((iframe_callback_error((struct slice){ text, 3 }) == NULL) == is_name, "byte %d", c);
    }
}
END_TEST

START_TEST(a_callback_has_128_bytes_at_most_and_must_be_there)
{
    char text[IFRAME_CALLBACK_MAX + 1];
    memset(text, 'f', sizeof text);
    ck_assert_ptr_null(iframe_callback_error((struct slice){ text, IFRAME_CALLBACK_MAX }));
    ck_assert_ptr_nonnull(iframe_callback_error((struct slice){ text, IFRAME_CALLBACK_MAX + 1 }));
    ck_assert_str_eq(iframe_callback_error((struct slice){ NULL, 0 }), "is missing");
}
END_TEST

/* ---- who may frame it */

static const struct slice some[] = { { "https://a.example", 17 }, { "null", 4 }, { "https://*.b.example", 19 } };
static const struct slice any[] = { { "https://a.example", 17 }, { "*", 1 } };

static const struct {
    const char *name;
    const struct slice *origins;
    size_t count;
    const char *want;    /* in the headers */
    const char *unwanted;
} ancestors[] = {
    { "without origins our own pages alone", NULL, 0, "frame-ancestors 'self'\r\n", "*" },
    { "and browsers that do not know CSP are told, too", NULL, 0, "X-Frame-Options: SAMEORIGIN\r\n", "DENY" },
    { "with origins those as well", some, 3, "frame-ancestors 'self' https://a.example https://*.b.example\r\n", "null" },
    { "for which X-Frame-Options has no word", some, 3, "frame-ancestors", "X-Frame-Options" },
    { "a star is everyone", any, 2, "frame-ancestors *\r\n", "'self'" },
};

START_TEST(the_policy_says_who_may_frame_it)
{
    struct settings set = { .origins = ancestors[_i].origins, .origin_count = ancestors[_i].count };
    struct buf out = { 0 };
    iframe_write_headers(&out, &set);
    buf_append(&out, "", 1);
    const char *text = (const char *)out.data;
    ck_assert_msg(strstr(text, ancestors[_i].want) != NULL, "%s: %s", ancestors[_i].name, text);
    ck_assert_msg(strstr(text, ancestors[_i].unwanted) == NULL, "%s: %s", ancestors[_i].name, text);
    buf_done(&out);
}
END_TEST

START_TEST(the_page_is_padded_before_its_first_block)
{
    struct buf out = { 0 };
    iframe_write_opening(&out, SLICE_LIT("app.f"));
    buf_append(&out, "", 1);
    const char *text = (const char *)out.data;
    ck_assert_ptr_nonnull(strstr(text, "<script>var h=function(m){parent.app.f(m)}</script>"));
    ck_assert_uint_gt(out.len, 2048);
    ck_assert_str_eq(text + out.len - 1 - strlen("<body>\n"), "<body>\n");
    buf_done(&out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("iframe");
    TCase *t = tcase_create("iframe");
    tcase_add_loop_test(t, a_callback_is_a_path_of_identifiers, 0, HLY_ARRAY_LEN(callbacks));
    tcase_add_test(t, no_other_byte_is_taken_anywhere);
    tcase_add_test(t, a_callback_has_128_bytes_at_most_and_must_be_there);
    tcase_add_loop_test(t, the_policy_says_who_may_frame_it, 0, HLY_ARRAY_LEN(ancestors));
    tcase_add_test(t, the_page_is_padded_before_its_first_block);
    suite_add_tcase(s, t);
    return run_suite(s);
}
