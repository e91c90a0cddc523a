#include "core/pattern_index.h"

#include <check.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "core/topic_name.h"

/* For inner loops: Check writes to a pipe for each ck_assert, passed or not. */
#define HOLDS(cond) \
    do { \
        if (!(cond)) \
            ck_abort_msg("does not hold: %s", #cond); \
    } while (0)

static struct pattern_index *ix;
static uint64_t rng;

static uint32_t below(uint32_t n) /* xorshift64* */
{
    rng ^= rng >> 12;
    rng ^= rng << 25;
    rng ^= rng >> 27;
    return (uint32_t)((rng * 0x2545f4914f6cdd1du) >> 33) % n;
}

static void setup(void)
{
    const char *seed = getenv("HALLEY_TEST_SEED");
    rng = (seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000 + (uint64_t)clock()) | 1;
    printf("HALLEY_TEST_SEED=%" PRIu64 "\n", rng);
    fflush(stdout);
    ix = pattern_index_new();
    ck_assert_ptr_nonnull(ix);
}

static void teardown(void)
{
    pattern_index_free(ix);
}

/* A pattern is its own value: visits are counted in it. */
struct item {
    char text[TOPIC_MAX_BYTES + 1];
    size_t len;
    bool in_index;
    unsigned visits;
};

static void item_name(struct item *it, const char *text)
{
    *it = (struct item){ .len = strlen(text) };
    strcpy(it->text, text);
}

static void item_add(struct item *it)
{
    HOLDS(pattern_error(it->text, it->len) == NULL);
    HOLDS(pattern_index_add(ix, it->text, it->len, it) == 0);
    it->in_index = true;
}

static void item_remove(struct item *it)
{
    HOLDS(pattern_index_remove(ix, it->text, it->len) == it);
    it->in_index = false;
}

static void on_match(void *value, void *ctx)
{
    struct item *it = value;
    it->visits++;
    ++*(size_t *)ctx;
}

static size_t match(const char *topic)
{
    size_t visits = 0;
    pattern_index_match(ix, topic, strlen(topic), on_match, &visits);
    return visits;
}

static void assert_match_is_that_of_pattern_matches(struct item *items, size_t count, const char *topic)
{
    size_t want = 0;
    for (size_t i = 0; i < count; i++)
        items[i].visits = 0;
    size_t got = match(topic);
    for (size_t i = 0; i < count; i++) {
        bool matches = items[i].in_index && pattern_matches(items[i].text, items[i].len, topic, strlen(topic));
        if (items[i].visits != matches)
            ck_abort_msg("%s visited %s %u times", topic, items[i].text, items[i].visits);
        want += matches;
    }
    HOLDS(got == want);
    HOLDS(pattern_index_match_steps(ix, topic, strlen(topic)) <= pattern_index_nodes(ix));
}

static void assert_empty(void)
{
    ck_assert_uint_eq(pattern_index_count(ix), 0);
    ck_assert_msg(pattern_index_nodes(ix) == 1, "the root is left, and no node beside it");
}

START_TEST(an_empty_index_matches_nothing)
{
    assert_empty();
    ck_assert_uint_eq(match("news"), 0);
    ck_assert_uint_eq(match("$halley"), 0);
    ck_assert_ptr_null(pattern_index_get(ix, "news", 4));
    ck_assert_ptr_null(pattern_index_get(ix, "**", 2));
    pattern_index_free(NULL);
}
END_TEST

START_TEST(a_pattern_is_there_from_add_to_remove)
{
    static const char *const names[] = { "a/*", "a/**",    "a*",    "*",   "**",        "a",
                                         "a/",  "abc/def", "abc/*", "abd", "$halley/**" };
    struct item items[HLY_ARRAY_LEN(names)];
    for (size_t i = 0; i < HLY_ARRAY_LEN(names); i++) {
        item_name(&items[i], names[i]);
        ck_assert_ptr_null(pattern_index_get(ix, names[i], items[i].len));
        item_add(&items[i]);
        for (size_t j = 0; j <= i; j++)
            ck_assert_ptr_eq(pattern_index_get(ix, names[j], items[j].len), &items[j]);
        ck_assert_uint_eq(pattern_index_count(ix), i + 1);
    }
    ck_assert_ptr_null(pattern_index_get(ix, "ab", 2)); /* the beginning of one, where two others part */
    ck_assert_ptr_null(pattern_index_get(ix, "abc/d", 5));
    ck_assert_ptr_null(pattern_index_get(ix, "abc/defg", 8));
    for (size_t i = 0; i < HLY_ARRAY_LEN(names); i++) {
        item_remove(&items[i]);
        for (size_t j = 0; j < HLY_ARRAY_LEN(names); j++)
            ck_assert_ptr_eq(pattern_index_get(ix, names[j], items[j].len), j > i ? &items[j] : NULL);
    }
    assert_empty();
}
END_TEST

/* ---- all patterns of a small world */

static const char *const pattern_levels[] = { "", "a", "$", "aa", "a$", "*", "a*", "aa*", "$*" };
static const char *const topic_levels[] = { "", "a", "$", "z", "aa", "a$", "az", "aaz" };

static struct item world[1000];
static size_t world_count;

static void add_to_world(const char *text)
{
    if (pattern_error(text, strlen(text)) == NULL)
        item_name(&world[world_count++], text);
}

static void make_world(const char *before, size_t levels)
{
    char text[64];
    add_to_world(strcat(strcpy(text, before), "**"));
    for (size_t i = 0; i < HLY_ARRAY_LEN(pattern_levels); i++) {
        add_to_world(strcat(strcpy(text, before), pattern_levels[i]));
        if (levels > 1)
            make_world(strcat(text, "/"), levels - 1);
    }
}

static void each_topic(const char *before, size_t levels, void (*check)(const char *topic))
{
    char text[64];
    for (size_t i = 0; i < HLY_ARRAY_LEN(topic_levels); i++) {
        strcat(strcpy(text, before), topic_levels[i]);
        if (*text != '\0')
            check(text);
        if (levels > 1)
            each_topic(strcat(text, "/"), levels - 1, check);
    }
}

static void check_world(const char *topic)
{
    assert_match_is_that_of_pattern_matches(world, world_count, topic);
}

START_TEST(an_index_of_all_small_patterns_matches_as_they_do)
{
    world_count = 0;
    make_world("", 3);
    ck_assert_uint_gt(world_count, 700);
    for (size_t i = 0; i < world_count; i++)
        item_add(&world[i]);
    each_topic("", 4, check_world);
}
END_TEST

START_TEST(any_adding_and_removing_leaves_the_index_as_one_built_anew)
{
    size_t most = 0;
    world_count = 0;
    make_world("", 3);
    for (int step = 0; step < 20000; step++) {
        bool growing = step / 4000 % 2 == 0;
        struct item *it = &world[below((uint32_t)world_count)];
        if (it->in_index && (!growing || below(4) == 0))
            item_remove(it);
        else if (!it->in_index && (growing || below(16) == 0))
            item_add(it);
        if (step % 50 == 0) {
            char topic[64] = "";
            for (uint32_t levels = 1 + below(4), i = 0; i < levels; i++)
                strcat(strcat(topic, i > 0 ? "/" : ""), topic_levels[below(HLY_ARRAY_LEN(topic_levels))]);
            if (*topic != '\0')
                check_world(topic);
        }
        size_t count = pattern_index_count(ix);
        HOLDS(pattern_index_nodes(ix) <= 2 * count + 1);
        HOLDS(pattern_index_get(ix, it->text, it->len) == (it->in_index ? it : NULL));
        most = count > most ? count : most;
    }
    ck_assert_uint_gt(most, world_count / 3);
    for (size_t i = 0; i < world_count; i++)
        if (world[i].in_index)
            item_remove(&world[i]);
    assert_empty();
}
END_TEST

/* ---- large and hostile */

START_TEST(a_hundred_thousand_patterns_cost_a_topic_no_more_than_its_own_levels)
{
    enum { COUNT = 100000 };
    struct item *items = calloc(COUNT, sizeof *items);
    static const char *const forms[] = { "user/%u/**", "room/%u", "chat:%u*", "*/%u/score", "%x/*/%x" };
    for (uint32_t i = 0; i < COUNT; i++) {
        char text[64];
        snprintf(text, sizeof text, forms[i % 5], i * 7919, i);
        item_name(&items[i], text);
        item_add(&items[i]);
    }
    ck_assert_uint_eq(pattern_index_count(ix), COUNT);
    ck_assert_uint_le(pattern_index_nodes(ix), 2 * COUNT + 1);
    for (int n = 0; n < 30; n++) {
        char topic[64];
        uint32_t i = below(COUNT);
        static const char *const topics[] = { "user/%u/inbox/1", "room/%u", "chat:%u", "any/%u/score", "%x/any/%x" };
        snprintf(topic, sizeof topic, topics[i % 5], i * 7919, i);
        assert_match_is_that_of_pattern_matches(items, COUNT, topic);
        ck_assert_msg(items[i].visits == 1, "%s: %s", topic, items[i].text);
        size_t steps = pattern_index_match_steps(ix, topic, strlen(topic));
        ck_assert_msg(steps < 100, "%s took %zu steps", topic, steps);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        item_remove(&items[i]);
    assert_empty();
    free(items);
}
END_TEST

/* Each pattern of `*` and `a` at 16 levels: a topic of as many a is at every node of a tree of 2^16 leaves. */
START_TEST(wildcards_at_many_levels_cost_no_more_than_the_nodes_there_are)
{
    enum { LEVELS = 16, COUNT = 1 << LEVELS };
    static struct item one;
    char text[80], topic[80] = "";
    for (uint32_t n = 0; n < COUNT; n++) {
        *text = '\0';
        for (uint32_t i = 0; i < LEVELS; i++)
            strcat(strcat(text, i > 0 ? "/" : ""), n >> i & 1 ? "a" : "*");
        strcat(text, "/end"); /* seen only when all the way was gone */
        HOLDS(pattern_index_add(ix, text, strlen(text), &one) == 0);
    }
    for (uint32_t i = 0; i < LEVELS; i++)
        strcat(topic, "a/");
    size_t nodes = pattern_index_nodes(ix);
    ck_assert_uint_le(nodes, 2 * COUNT + 1);
    ck_assert_uint_eq(match(topic), 0);
    size_t steps = pattern_index_match_steps(ix, topic, strlen(topic));
    ck_assert_uint_gt(steps, COUNT);
    ck_assert_uint_le(steps, nodes);
    strcat(topic, "end");
    ck_assert_uint_eq(match(topic), COUNT);
    ck_assert_uint_le(pattern_index_match_steps(ix, topic, strlen(topic)), nodes);
    const char *wide = "a/b/c"; /* a topic of few levels does not go far into it */
    ck_assert_uint_lt(pattern_index_match_steps(ix, wide, strlen(wide)), 20);
}
END_TEST

START_TEST(thirty_two_levels_of_wildcards_are_one_way)
{
    struct item items[3];
    char topic[80] = "a", stars[80] = "*", rest[80] = "*";
    for (int i = 1; i < TOPIC_MAX_LEVELS; i++) {
        strcat(topic, "/a");
        strcat(stars, "/*");
        strcat(rest, i < TOPIC_MAX_LEVELS - 1 ? "/*" : "/**");
    }
    item_name(&items[0], stars);
    item_name(&items[1], rest);
    item_name(&items[2], "**");
    for (size_t i = 0; i < 3; i++)
        item_add(&items[i]);
    assert_match_is_that_of_pattern_matches(items, 3, topic);
    ck_assert_uint_eq(match(topic), 3);
    ck_assert_uint_le(pattern_index_match_steps(ix, topic, strlen(topic)), 7);
}
END_TEST

START_TEST(every_prefix_of_a_long_level_is_found)
{
    static struct item items[2 * (TOPIC_MAX_BYTES - 1)];
    char topic[TOPIC_MAX_BYTES + 1];
    memset(topic, 'a', TOPIC_MAX_BYTES);
    topic[TOPIC_MAX_BYTES] = '\0';
    for (size_t len = 0; len < TOPIC_MAX_BYTES - 1; len++) {
        snprintf(items[2 * len].text, sizeof items->text, "%.*s*", (int)len, topic);
        snprintf(items[2 * len + 1].text, sizeof items->text, "%.*sb*", (int)len, topic); /* parts from it everywhere */
        items[2 * len].len = len + 1;
        items[2 * len + 1].len = len + 2;
        item_add(&items[2 * len]);
        item_add(&items[2 * len + 1]);
    }
    assert_match_is_that_of_pattern_matches(items, HLY_ARRAY_LEN(items), topic);
    ck_assert_uint_eq(match(topic), TOPIC_MAX_BYTES - 1);
    for (size_t i = 0; i < HLY_ARRAY_LEN(items); i++)
        item_remove(&items[i]);
    assert_empty();
}
END_TEST

START_TEST(a_node_may_part_into_many_bytes)
{
    static struct item items[256];
    size_t count = 0;
    for (unsigned c = 0x20; c < 0x800; c++) {
        char text[8];
        if (c < 0x7f)
            snprintf(text, sizeof text, "a/%c*", (char)c);
        else
            snprintf(text, sizeof text, "a/%c%c*", (char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f)));
        bool is_next_lead_byte = c < 0x7f || (c >= 0xa0 && (c - 0xa0) % 0x40 == 0);
        if (is_next_lead_byte && c != '/' && pattern_error(text, strlen(text)) == NULL)
            item_name(&items[count++], text);
    }
    ck_assert_uint_gt(count, 120);
    for (size_t i = 0; i < count; i++)
        item_add(&items[i]);
    for (size_t i = 0; i < count; i++) {
        char topic[8];
        snprintf(topic, sizeof topic, "%.*sz", (int)items[i].len - 1, items[i].text);
        assert_match_is_that_of_pattern_matches(items, count, topic);
        ck_assert_uint_eq(items[i].visits, 1);
    }
    for (size_t i = count; i > 0; i--)
        item_remove(&items[(i * 37) % count]);
    assert_empty();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pattern_index");
    TCase *t = tcase_create("pattern_index");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_empty_index_matches_nothing);
    tcase_add_test(t, a_pattern_is_there_from_add_to_remove);
    tcase_add_test(t, an_index_of_all_small_patterns_matches_as_they_do);
    tcase_add_test(t, any_adding_and_removing_leaves_the_index_as_one_built_anew);
    tcase_add_test(t, a_hundred_thousand_patterns_cost_a_topic_no_more_than_its_own_levels);
    tcase_add_test(t, wildcards_at_many_levels_cost_no_more_than_the_nodes_there_are);
    tcase_add_test(t, thirty_two_levels_of_wildcards_are_one_way);
    tcase_add_test(t, every_prefix_of_a_long_level_is_found);
    tcase_add_test(t, a_node_may_part_into_many_bytes);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
