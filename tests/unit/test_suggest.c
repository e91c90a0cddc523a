#include "cli/suggest.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

static const char *const names[] = { "pub", "sub", "topics", "stats", "help" };

static const struct {
    const char *why, *word, *want;
} cases[] = {
    { "a letter too many", "pubb", "pub" },
    { "a letter left out", "topcs", "topics" },
    { "a letter mistyped", "stars", "stats" },
    { "two letters swapped", "tpoics", "topics" },
    { "swapped in a short name", "sbu", "sub" },
    { "a beginning", "to", "topics" },
    { "a longer beginning", "stat", "stats" },
    { "itself", "help", "help" },
    { "two errors in a short word are too many", "xyb", NULL },
    { "nothing alike", "xyzzy", NULL },
    { "a single letter begins too many names", "s", NULL },
    { "nothing", "", NULL },
    { "far too long", "topicstopicstopicstopicstopicstopicstopicstopics", NULL },
};

START_TEST(nearest_name_is_the_one_that_was_meant)
{
    const char *got = suggest_nearest(cases[_i].word, names, HLY_ARRAY_LEN(names));
    bool same = got == cases[_i].want || (got != NULL && cases[_i].want != NULL && strcmp(got, cases[_i].want) == 0);
    ck_assert_msg(same, "%s: '%s' gave %s", cases[_i].why, cases[_i].word, got != NULL ? got : "nothing");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("suggest");
    TCase *tc = tcase_create("nearest");
    tcase_add_loop_test(tc, nearest_name_is_the_one_that_was_meant, 0, (int)HLY_ARRAY_LEN(cases));
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
