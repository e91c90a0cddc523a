#include "core/topic_name.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

/* ---- what is a name */

#define X15 "xxxxxxxxxxxxxxx"
#define X240 X15 X15 X15 X15 X15 X15 X15 X15 X15 X15 X15 X15 X15 X15 X15 X15
#define L8 "a/b/c/d/e/f/g/h"
#define L31 L8 "/" L8 "/" L8 "/a/b/c/d/e/f/g"
#define LITERAL_AND_LEN(s) s, sizeof(s) - 1

static const struct {
    const char *name;
    const char *bytes;
    size_t len;
    bool is_topic;
    bool is_pattern;
} names[] = {
    { "one level", LITERAL_AND_LEN("news"), true, true },
    { "several levels", LITERAL_AND_LEN("sport/f1/lap"), true, true },
    { "a colon is a letter", LITERAL_AND_LEN("chat:42"), true, true },
    { "a URL", LITERAL_AND_LEN("https://example.com/books/1?a=b#c"), true, true },
    { "a space", LITERAL_AND_LEN("two words"), true, true },
    { "Halley's own", LITERAL_AND_LEN("$halley/connect"), true, true },
    { "a $ elsewhere", LITERAL_AND_LEN("a$/$b"), true, true },
    { "two empty levels", LITERAL_AND_LEN("/"), true, true },
    { "an empty level within", LITERAL_AND_LEN("a//b"), true, true },
    { "braces are letters", LITERAL_AND_LEN("user/{sub}"), true, true },

    { "empty", LITERAL_AND_LEN(""), false, false },
    { "255 bytes", LITERAL_AND_LEN(X240 X15), true, true },
    { "256 bytes", LITERAL_AND_LEN(X240 X15 "x"), false, false },
    { "32 levels", LITERAL_AND_LEN(L31 "/z"), true, true },
    { "32 levels, the last empty", LITERAL_AND_LEN(L31 "/"), true, true },
    { "33 levels", LITERAL_AND_LEN(L31 "/y/z"), false, false },
    { "33 levels, the last empty", LITERAL_AND_LEN(L31 "/y/"), false, false },

    { "UTF-8 of 2, 3 and 4 bytes", LITERAL_AND_LEN("\xc3\xa9/\xe2\x82\xac/\xf0\x9f\x98\x80"), true, true },
    { "U+00A0 is no control character", LITERAL_AND_LEN("a\xc2\xa0"), true, true },
    { "a lone continuation byte", LITERAL_AND_LEN("a\x80"), false, false },
    { "an overlong '/'", LITERAL_AND_LEN("a\xc0\xaf"), false, false },
    { "a surrogate", LITERAL_AND_LEN("\xed\xa0\x80"), false, false },
    { "beyond U+10FFFF", LITERAL_AND_LEN("\xf4\x90\x80\x80"), false, false },
    { "cut off within a code point", LITERAL_AND_LEN("a\xc2"), false, false },
    { "U+0000", LITERAL_AND_LEN("a\0b"), false, false },
    { "U+0001", LITERAL_AND_LEN("\1"), false, false },
    { "U+000A", LITERAL_AND_LEN("a\n"), false, false },
    { "U+001F", LITERAL_AND_LEN("a\x1f"), false, false },
    { "U+007F", LITERAL_AND_LEN("a\x7f"), false, false },
    { "U+0080", LITERAL_AND_LEN("a\xc2\x80"), false, false },
    { "U+009F", LITERAL_AND_LEN("\xc2\x9f/b"), false, false },
    { "a control character in a pattern", LITERAL_AND_LEN("\n*"), false, false },

    { "any level", LITERAL_AND_LEN("*"), false, true },
    { "any levels", LITERAL_AND_LEN("**"), false, true },
    { "a prefix", LITERAL_AND_LEN("chat:*"), false, true },
    { "a wildcard in each place", LITERAL_AND_LEN("*/a*/*/**"), false, true },
    { "a prefix that is no first level may begin with $", LITERAL_AND_LEN("a/$*"), false, true },
    { "below a name of Halley's own", LITERAL_AND_LEN("$halley/*"), false, true },
    { "all below a name of Halley's own", LITERAL_AND_LEN("$halley/**"), false, true },
    { "** as the 32nd level", LITERAL_AND_LEN(L31 "/**"), false, true },
    { "255 bytes with a wildcard", LITERAL_AND_LEN(X240 "xxxxxxxxxxxxxx*"), false, true },
    { "a wildcard for Halley's own", LITERAL_AND_LEN("$*"), false, false },
    { "a prefix for Halley's own", LITERAL_AND_LEN("$hal*"), false, false },
    { "a prefix for Halley's own, and more", LITERAL_AND_LEN("$hal*/a"), false, false },
    { "* before the end of a level", LITERAL_AND_LEN("a*b"), false, false },
    { "* before a letter", LITERAL_AND_LEN("*a"), false, false },
    { "* on both sides", LITERAL_AND_LEN("*a*"), false, false },
    { "** before the last level", LITERAL_AND_LEN("**/a"), false, false },
    { "** before an empty level", LITERAL_AND_LEN("a/**/"), false, false },
    { "** after a prefix", LITERAL_AND_LEN("a**"), false, false },
    { "** before a letter", LITERAL_AND_LEN("**a"), false, false },
    { "***", LITERAL_AND_LEN("***"), false, false },
    { "***, not first", LITERAL_AND_LEN("a/***"), false, false },
};

static bool is_sentence(const char *error) /* for a person, to go between "topic: " and "\n" */
{
    return error == NULL || (strlen(error) > 10 && strchr(error, '\n') == NULL && error[strlen(error) - 1] != '.');
}

START_TEST(names_are_told_from_others)
{
    const char *topic_error = topic_name_error(names[_i].bytes, names[_i].len);
    const char *error = pattern_error(names[_i].bytes, names[_i].len);
    ck_assert_msg((topic_error == NULL) == names[_i].is_topic, "%s as a topic: %s", names[_i].name, topic_error);
    ck_assert_msg((error == NULL) == names[_i].is_pattern, "%s as a pattern: %s", names[_i].name, error);
    ck_assert(is_sentence(topic_error) && is_sentence(error));
    ck_assert_int_eq(topic_name_is_pattern(names[_i].bytes, names[_i].len),
                     memchr(names[_i].bytes, '*', names[_i].len) != NULL);
    char *exact = malloc(names[_i].len + (names[_i].len == 0)); /* ASan sees a look past the end */
    memcpy(exact, names[_i].bytes, names[_i].len);
    ck_assert_ptr_eq(topic_name_error(exact, names[_i].len), topic_error);
    ck_assert_ptr_eq(pattern_error(exact, names[_i].len), error);
    free(exact);
}
END_TEST

/* A name of up to 4 levels, cut, in the words of the definition rather than in those of the code under test. */
struct cut {
    size_t count;
    char levels[8][8];
};

static void cut_name(struct cut *c, const char *name)
{
    *c = (struct cut){ .count = 1 };
    for (size_t n = 0; *name != '\0'; name++) {
        if (*name == '/') {
            c->count++;
            n = 0;
        } else {
            c->levels[c->count - 1][n++] = *name;
        }
    }
}

static bool is_pattern_by_definition(const char *name)
{
    struct cut c;
    cut_name(&c, name);
    for (size_t i = 0; i < c.count; i++) {
        const char *level = c.levels[i];
        size_t len = strlen(level), stars = 0;
        for (size_t k = 0; k < len; k++)
            stars += level[k] == '*';
        bool rest = strcmp(level, "**") == 0 && i == c.count - 1;
        bool prefix = stars == 1 && level[len - 1] == '*' && !(i == 0 && *level == '$');
        if (stars > 0 && !rest && !prefix)
            return false;
    }
    return *name != '\0';
}

START_TEST(patterns_of_a_few_letters_are_as_defined)
{
    static const char letters[] = { 'a', '*', '/', '$' };
    unsigned long patterns = 0;
    for (size_t len = 0; len <= 7; len++) {
        for (unsigned n = 0; n < 1u << (2 * len); n++) {
            char name[8] = "";
            for (size_t i = 0; i < len; i++)
                name[i] = letters[n >> (2 * i) & 3];
            bool want = is_pattern_by_definition(name);
            if ((pattern_error(name, len) == NULL) != want)
                ck_abort_msg("'%s' is %s pattern", name, want ? "a" : "no");
            patterns += want;
        }
    }
    ck_assert_uint_gt(patterns, 1000);
}
END_TEST

/* ---- what matches what */

/* Small worlds: all patterns of these levels, up to 3, against all topics of those, up to 4. For every way in which
 * patterns differ there is a topic that tells: a letter that no pattern uses (z), by itself and after each prefix, and
 * one level more than any pattern has. */
static const char *const pattern_levels[] = { "", "a", "$", "aa", "a$", "*", "a*", "aa*", "$*" };
static const char *const topic_levels[] = { "", "a", "$", "z", "aa", "a$", "az", "$z", "aaz" };

#define MAX_PATTERNS 1000
#define MAX_TOPICS 7600
#define WORDS ((MAX_TOPICS + 63) / 64)

static struct world_name {
    char text[24];
    size_t len;
    struct cut cut;
} patterns[MAX_PATTERNS], topics[MAX_TOPICS];
static size_t pattern_count, topic_count;
static uint64_t sets[MAX_PATTERNS][WORDS]; /* bit t of sets[p]: pattern p matches topic t */

static bool level_matches_by_definition(const char *level, const char *topic_level, bool first)
{
    size_t len = strlen(level);
    if (len == 0 || level[len - 1] != '*')
        return strcmp(level, topic_level) == 0;
    if (first && *topic_level == '$')
        return false;
    return strncmp(level, topic_level, len - 1) == 0;
}

static bool matches_by_definition(const struct cut *p, const struct cut *t)
{
    bool rest = strcmp(p->levels[p->count - 1], "**") == 0;
    size_t plain = rest ? p->count - 1 : p->count;
    if (rest ? t->count <= plain : t->count != plain)
        return false;
    for (size_t i = 0; i < plain; i++)
        if (!level_matches_by_definition(p->levels[i], t->levels[i], i == 0))
            return false;
    return !(rest && plain == 0 && t->levels[0][0] == '$');
}

static void add_name(struct world_name *names_, size_t *count, size_t max, const char *text)
{
    ck_assert_uint_lt(*count, max);
    struct world_name *w = &names_[(*count)++];
    ck_assert_uint_lt(strlen(text), sizeof w->text);
    strcpy(w->text, text);
    w->len = strlen(text);
    cut_name(&w->cut, text);
}

static void add_patterns(const char *before, size_t levels)
{
    char text[64];
    strcat(strcpy(text, before), "**");
    add_name(patterns, &pattern_count, MAX_PATTERNS, text);
    for (size_t i = 0; i < HLY_ARRAY_LEN(pattern_levels); i++) {
        strcat(strcpy(text, before), pattern_levels[i]);
        if (strcmp(text, "$*") == 0)
            continue;
        if (*text != '\0')
            add_name(patterns, &pattern_count, MAX_PATTERNS, text);
        if (levels > 1)
            add_patterns(strcat(text, "/"), levels - 1);
    }
}

static void add_topics(const char *before, size_t levels)
{
    char text[64];
    for (size_t i = 0; i < HLY_ARRAY_LEN(topic_levels); i++) {
        strcat(strcpy(text, before), topic_levels[i]);
        if (*text != '\0')
            add_name(topics, &topic_count, MAX_TOPICS, text);
        if (levels > 1)
            add_topics(strcat(text, "/"), levels - 1);
    }
}

static void make_world(void)
{
    add_patterns("", 3);
    add_topics("", 4);
    for (size_t p = 0; p < pattern_count; p++) {
        ck_assert_msg(pattern_error(patterns[p].text, patterns[p].len) == NULL, "%s", patterns[p].text);
        for (size_t t = 0; t < topic_count; t++)
            if (matches_by_definition(&patterns[p].cut, &topics[t].cut))
                sets[p][t / 64] |= (uint64_t)1 << t % 64;
    }
}

START_TEST(a_match_is_as_defined)
{
    unsigned long matches = 0;
    for (size_t p = 0; p < pattern_count; p++) {
        for (size_t t = 0; t < topic_count; t++) {
            bool want = sets[p][t / 64] >> t % 64 & 1;
            if (pattern_matches(patterns[p].text, patterns[p].len, topics[t].text, topics[t].len) != want)
                ck_abort_msg("%s should %s %s", patterns[p].text, want ? "match" : "not match", topics[t].text);
            matches += want;
        }
    }
    ck_assert_uint_gt(matches, 50000);
}
END_TEST

START_TEST(intersections_are_those_of_the_sets)
{
    for (size_t a = 0; a < pattern_count; a++) {
        for (size_t b = 0; b < pattern_count; b++) {
            bool want = false;
            for (size_t w = 0; w < WORDS && !want; w++)
                want = (sets[a][w] & sets[b][w]) != 0;
            if (pattern_intersects(patterns[a].text, patterns[a].len, patterns[b].text, patterns[b].len) != want)
                ck_abort_msg("%s and %s should %s", patterns[a].text, patterns[b].text, want ? "meet" : "not meet");
        }
    }
}
END_TEST

START_TEST(a_pattern_covers_its_subsets_and_no_others)
{
    for (size_t o = 0; o < pattern_count; o++) {
        for (size_t i = 0; i < pattern_count; i++) {
            bool want = true;
            for (size_t w = 0; w < WORDS && want; w++)
                want = (sets[i][w] & ~sets[o][w]) == 0;
            if (pattern_covers(patterns[o].text, patterns[o].len, patterns[i].text, patterns[i].len) != want)
                ck_abort_msg("%s should %s %s", patterns[o].text, want ? "cover" : "not cover", patterns[i].text);
        }
    }
}
END_TEST

START_TEST(a_topic_is_a_pattern_that_only_it_matches)
{
    for (size_t t = 0; t < topic_count; t += 7) {
        const struct world_name *x = &topics[t], *y = &topics[(t * 31 + 5) % topic_count];
        bool same = strcmp(x->text, y->text) == 0;
        if (!pattern_matches(x->text, x->len, x->text, x->len) || !pattern_covers(x->text, x->len, x->text, x->len) ||
            !pattern_intersects(x->text, x->len, x->text, x->len))
            ck_abort_msg("%s is not itself", x->text);
        if (pattern_matches(x->text, x->len, y->text, y->len) != same ||
            pattern_covers(x->text, x->len, y->text, y->len) != same ||
            pattern_intersects(x->text, x->len, y->text, y->len) != same)
            ck_abort_msg("%s and %s are taken for the same", x->text, y->text);
    }
}
END_TEST

/* What a small world does not have: names as long as they may be. */
#define X120 X15 X15 X15 X15 X15 X15 X15 X15
#define Y15 "yyyyyyyyyyyyyyy"
#define Y120 Y15 Y15 Y15 Y15 Y15 Y15 Y15 Y15
#define S8 "*/*/*/*/*/*/*/*"
#define S31 S8 "/" S8 "/" S8 "/*/*/*/*/*/*/*"

static const struct {
    const char *name;
    const char *a, *b;
    bool intersects;
    bool a_covers_b;
    bool b_covers_a;
} pairs[] = {
    { "no topic has 33 levels: a 32nd ** is a *", S31 "/**", S31 "/*", true, true, true },
    { "a 31st ** is more than a *", S31 "/*", S8 "/" S8 "/" S8 "/*/*/*/*/*/*/**", true, false, true },
    { "a 31st ** is more than a *, of 31 levels", S31, S8 "/" S8 "/" S8 "/*/*/*/*/*/*/**", true, false, true },
    { "** covers 32 levels", "**", S31 "/**", true, true, false },
    { "a 32nd ** is held against a literal", L31 "/**", L31 "/z", true, true, false },
    { "a 32nd ** is held against 31 levels", L31 "/**", L31, false, false, false },
    { "the shortest common topic has 255 bytes", X120 "xxxxxxxxxxxxxx*/*", "*/" Y120 "*", true, false, false },
    { "the shortest common topic has 256 bytes", X120 X15 "*/*", "*/" Y120 "*", false, false, false },
    { "254 bytes and **, within", X120 "*/**", "*/" Y120 "xxxxxxxxxxxxx/**", true, false, false },
    { "255 bytes and **, within", X120 "*/**", "*/" Y120 "xxxxxxxxxxxxxx*", true, false, false },
    { "256 bytes and **, beyond", X120 "*/**", "*/" Y120 "xxxxxxxxxxxxxxx*", false, false, false },
    { "255 bytes behind a **", X120 "*/**", "*/*/" Y120 "xxxxxxxxxxxxx*", true, false, false },
    { "256 bytes behind a **", X120 "*/**", "*/*/" Y120 "xxxxxxxxxxxxxx*", false, false, false },
    { "room for one byte tells a prefix from a literal", X240 "xxxxxxxxxxxxxx*", X240 "xxxxxxxxxxxxxx", true, true,
      false },
    { "room for one byte tells two prefixes apart", X240 "xxxxxxxxxxxxx*", X240 "xxxxxxxxxxxxxx*", true, true, false },
    { "room for two bytes tells ** from *", X240 "xxxxxxxxxxxx/*", X240 "xxxxxxxxxxxx/**", true, false, true },
};

START_TEST(the_limits_of_names_count)
{
    const char *a = pairs[_i].a, *b = pairs[_i].b;
    size_t a_len = strlen(a), b_len = strlen(b);
    ck_assert_msg(pattern_error(a, a_len) == NULL && pattern_error(b, b_len) == NULL, "%s", pairs[_i].name);
    ck_assert_msg(pattern_intersects(a, a_len, b, b_len) == pairs[_i].intersects, "%s", pairs[_i].name);
    ck_assert_msg(pattern_intersects(b, b_len, a, a_len) == pairs[_i].intersects, "%s, the other way", pairs[_i].name);
    ck_assert_msg(pattern_covers(a, a_len, b, b_len) == pairs[_i].a_covers_b, "%s: a covers b", pairs[_i].name);
    ck_assert_msg(pattern_covers(b, b_len, a, a_len) == pairs[_i].b_covers_a, "%s: b covers a", pairs[_i].name);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("topic_name");
    TCase *t = tcase_create("names");
    tcase_add_loop_test(t, names_are_told_from_others, 0, HLY_ARRAY_LEN(names));
    tcase_add_test(t, patterns_of_a_few_letters_are_as_defined);
    tcase_add_loop_test(t, the_limits_of_names_count, 0, HLY_ARRAY_LEN(pairs));
    suite_add_tcase(s, t);
    t = tcase_create("worlds");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, make_world, NULL);
    tcase_add_test(t, a_match_is_as_defined);
    tcase_add_test(t, intersections_are_those_of_the_sets);
    tcase_add_test(t, a_pattern_covers_its_subsets_and_no_others);
    tcase_add_test(t, a_topic_is_a_pattern_that_only_it_matches);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
