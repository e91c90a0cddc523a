#include "transport/query.h"

#include <errno.h>

#include "support.h"

#define NONE NULL

static const struct {
    const char *name;
    const char *query;
    int want;
    const char *a; /* NONE: it is not there */
    const char *b;
} cases[] = {
    { "nothing", "", 0, NONE, NONE },
    { "both", "a=1&b=2", 0, "1", "2" },
    { "the other way round, among others", "x=0&b=2&y&a=1&z=", 0, "1", "2" },
    { "one alone", "b=2", 0, NONE, "2" },
    { "of several the first", "a=1&a=2&b=3&a=", 0, "1", "3" },
    { "an empty first is the first", "a=&a=2", 0, "", NONE },
    { "no value is an empty one", "a&b", 0, "", "" },
    { "no value, last", "b=2&a", 0, "", "2" },
    { "an empty name", "=1&a=2", 0, "2", NONE },
    { "a name that is longer", "aa=1&ab=2&b=3", 0, NONE, "3" },
    { "names in another case", "A=1&B=2", 0, NONE, NONE },
    { "escapes", "%61=%26%3D&b=a+b%2B", 0, "&=", "a b+" },
    { "empty pairs", "&&a=1&&&b=2&", 0, "1", "2" },
    { "a second =", "a=1=2&b==", 0, "1=2", "=" },
    { "a broken escape in a value", "a=%4", -EINVAL, NONE, NONE },
    { "a broken escape in a name", "a=1&%zz=1", -EINVAL, NONE, NONE },
    { "a broken escape of another parameter", "a=1&x=%", -EINVAL, NONE, NONE },
};

static bool is_value(struct slice got, const char *want, size_t len)
{
    if (want == NONE || got.ptr == NULL)
        return want == NONE && got.ptr == NULL;
    return got.len == len && memcmp(got.ptr, want, len) == 0 && got.ptr[len] == '\0';
}

START_TEST(fields_are_found_by_their_names)
{
    struct query_field f[] = { { .key = "a" }, { .key = "b" } };
    size_t len = strlen(cases[_i].query);
    char *exact = malloc(len + 1), *memory; /* a sanitizer sees a read beyond */
    memcpy(exact, cases[_i].query, len);
    struct http1_request rq = { .query = { exact, len } };
    int got = query_read(&rq, f, 2, &memory);
    ck_assert_msg(got == cases[_i].want, "%s: got %d", cases[_i].name, got);
    ck_assert_msg((got == 0) == (memory != NULL), "%s: memory", cases[_i].name);
    if (got == 0) {
        ck_assert_msg(is_value(f[0].value, cases[_i].a, cases[_i].a == NONE ? 0 : strlen(cases[_i].a)), "%s: a", cases[_i].name);
        ck_assert_msg(is_value(f[1].value, cases[_i].b, cases[_i].b == NONE ? 0 : strlen(cases[_i].b)), "%s: b", cases[_i].name);
    }
    query_freep(&memory);
    free(exact);
}
END_TEST

START_TEST(a_nul_is_part_of_a_value)
{
    struct query_field f = { .key = "a" };
    struct http1_request rq = { .query = SLICE_LIT("a=x%00y") };
    char *memory;
    ck_assert_int_eq(query_read(&rq, &f, 1, &memory), 0);
    ck_assert(is_value(f.value, "x\0y", 3));
    query_freep(&memory);
}
END_TEST

/* What is kept needs its room behind what was kept before, however short the rest is. */
START_TEST(any_query_fits_the_memory_that_is_taken_for_it)
{
    static const char letters[] = "abc=&&%41+";
    char text[24];
    seed_random();
    for (int n = 0; n < 100000; n++) {
        struct query_field f[] = { { .key = "a" }, { .key = "b" }, { .key = "" }, { .key = "ab" } };
        size_t len = below(sizeof text);
        for (size_t i = 0; i < len; i++)
            text[i] = letters[below(sizeof letters - 1)];
        struct http1_request rq = { .query = { text, len } };
        char *memory;
        int got = query_read(&rq, f, HLY_ARRAY_LEN(f), &memory);
        HOLDS(got == 0 || got == -EINVAL);
        for (size_t i = 0; got == 0 && i < HLY_ARRAY_LEN(f); i++)
            HOLDS(f[i].value.ptr == NULL || f[i].value.ptr[f[i].value.len] == '\0');
        query_freep(&memory);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("query");
    TCase *t = tcase_create("query");
    tcase_add_loop_test(t, fields_are_found_by_their_names, 0, HLY_ARRAY_LEN(cases));
    tcase_add_test(t, a_nul_is_part_of_a_value);
    tcase_add_test(t, any_query_fits_the_memory_that_is_taken_for_it);
    suite_add_tcase(s, t);
    return run_suite(s);
}
