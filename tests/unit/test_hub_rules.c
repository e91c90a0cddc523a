#include "core/hub.h"

#include <errno.h>

#include "base/slice.h"
#include "core/hub_internal.h"
#include "core/topic_name.h"
#include "support.h"

#define EPOCH "k3f9abcd"
#define TOPICS 24
#define MESSAGES 60000
#define NAMES_MAX 4

static const struct hub_limits plenty = {
    .topics = 100000, .patterns = 1000, .history_bytes = 1u << 30, .inbox_bytes = 1u << 30
};
static const struct hub_limits tight = { /* histories are evicted all the time */
    .topics = 100000, .patterns = 1000, .history_bytes = 6000, .inbox_bytes = 1u << 30
};

static struct hub *hub;

static struct rules *make_rules(const struct rule *list, size_t count)
{
    struct rules *r = rules_new(list, count);
    ck_assert_ptr_nonnull(r);
    return r;
}

static struct rules *one_rule(const char *pattern, uint32_t history)
{
    return make_rules(&(struct rule){ .pattern = TEXT(pattern), .subscribe = RULE_ANYONE, .history = history }, 1);
}

static void start(struct rules *r, const struct hub_limits *limits)
{
    hub = hub_new(limits, r, 1, EPOCH);
    ck_assert_ptr_nonnull(hub);
    rules_unref(r);
}

static void swap(struct rules *r)
{
    ck_assert_int_eq(hub_set_rules(hub, r), 0);
    rules_unref(r);
}

static uint64_t publish(const char *topic)
{
    HLY_CLEANUP(message_unrefp) struct message *m = message_new(topic, strlen(topic), "x", 1);
    struct hub_receipt r;
    HOLDS(hub_publish(hub, m, SLICE_LIT(""), 0, &r) == 0);
    return r.seq;
}

static void expire_all(void)
{
    while (hub_expire(hub, 0))
        continue;
}

static void move_all(void)
{
    while (hub_rules_step(hub))
        continue;
}

/* Read all of one name from a cursor. Returns the messages; *ret_gap: one was told. */
static size_t read_all(const char *name, uint64_t after, bool *ret_gap)
{
    struct hub_name n = { .name = TEXT(name), .is_pattern = strchr(name, '*') != NULL };
    struct hub_reader reader = { .pos = after };
    struct hub_read read;
    size_t count = 0;
    *ret_gap = false;
    do {
        hub_read(hub, &n, 1, &reader, &read);
        *ret_gap |= read.gap != HUB_GAP_NONE;
        count += read.count;
        for (size_t i = 0; i < read.count; i++)
            message_unref(read.messages[i]);
    } while (!read.is_level);
    return count;
}

static void teardown(void)
{
    hub_free(hub);
    hub = NULL;
}

/* ---- one thing at a time */

START_TEST(a_shorter_history_is_cut_and_the_cut_is_told)
{
    bool gap;
    start(one_rule("**", 10), &plenty);
    uint64_t first = publish("a");
    for (int i = 0; i < 9; i++)
        publish("a");
    swap(one_rule("**", 3));
    expire_all();
    ck_assert_uint_eq(hub_topic_history(hub, "a", 1), 3);
    ck_assert_uint_eq(read_all("a", first, &gap), 3);
    ck_assert(gap);
    ck_assert_uint_eq(read_all("**", first, &gap), 3);
    ck_assert(gap);
    ck_assert_uint_eq(read_all("**", first + 6, &gap), 3);
    ck_assert(!gap);
}
END_TEST

START_TEST(a_history_that_is_no_more_kept_goes)
{
    bool gap;
    start(one_rule("**", 10), &plenty);
    uint64_t first = publish("a");
    publish("a");
    swap(one_rule("**", 0));
    expire_all();
    ck_assert_uint_eq(hub_topic_history(hub, "a", 1), 0);
    ck_assert_uint_eq(read_all("a", first, &gap), 0);
    ck_assert(gap);
}
END_TEST

START_TEST(a_longer_history_keeps_more_from_then_on)
{
    bool gap;
    start(one_rule("**", 2), &plenty);
    for (int i = 0; i < 5; i++)
        publish("a");
    uint64_t last = publish("a");
    swap(one_rule("**", 100));
    for (int i = 0; i < 5; i++)
        publish("a");
    ck_assert_uint_eq(read_all("a", last - 2, &gap), 7);
    ck_assert(!gap);
    ck_assert_uint_eq(read_all("a", last - 3, &gap), 7);
    ck_assert(gap);
}
END_TEST

START_TEST(what_a_dead_topic_lost_under_another_rule_is_told)
{
    bool gap;
    start(one_rule("a/*", 0), &plenty);
    uint64_t before = publish("other/x");
    publish("a/b"); /* nobody keeps it */
    swap(one_rule("a/**", 10));
    publish("a/b");
    ck_assert_uint_eq(read_all("a/b", before, &gap), 1);
    ck_assert(gap);
    ck_assert_uint_eq(read_all("a/*", before, &gap), 1);
    ck_assert(gap);
}
END_TEST

START_TEST(the_same_patterns_again_tell_no_gap_that_was_none)
{
    bool gap;
    const struct rule list[] = {
        { .pattern = { "none/**", 7 }, .subscribe = RULE_ANYONE },
        { .pattern = { "kept/**", 7 }, .subscribe = RULE_ANYONE, .history = 10 },
        { .pattern = { "**", 2 }, .subscribe = RULE_ANYONE, .history = 10 },
    };
    start(make_rules(list, 3), &plenty);
    uint64_t before = publish("kept/a");
    publish("none/a");
    publish("kept/b");
    struct rule changed[] = { list[0], list[1], list[2] };
    changed[1].history = 20;
    swap(make_rules(changed, 3));
    for (int i = 0; i < 2; i++, move_all()) {
        ck_assert_uint_eq(read_all("kept/*", before, &gap), 1);
        ck_assert(!gap);
        ck_assert_uint_eq(read_all("new", before, &gap), 0);
        ck_assert(!gap);
        read_all("none/*", before, &gap);
        ck_assert(gap);
    }
}
END_TEST

START_TEST(another_swap_waits_until_the_last_is_through)
{
    start(one_rule("**", 1), &plenty);
    for (int i = 0; i < 3000; i++) {
        char topic[16];
        snprintf(topic, sizeof topic, "t/%d", i);
        publish(topic);
        publish(topic); /* each loses one */
    }
    swap(one_rule("t/**", 1));
    struct rules *next = one_rule("**", 1);
    ck_assert_int_eq(hub_set_rules(hub, next), -EBUSY);
    ck_assert(hub_rules_step(hub));
    ck_assert_int_eq(hub_set_rules(hub, next), -EBUSY);
    move_all();
    ck_assert_int_eq(hub_set_rules(hub, next), 0);
    rules_unref(next);
}
END_TEST

START_TEST(limits_that_shrink_evict_at_once)
{
    start(one_rule("**", 100000), &plenty);
    for (int i = 0; i < 5000; i++)
        publish("a");
    struct hub_limits less = plenty;
    struct hub_stats stats;
    less.history_bytes = 10000;
    less.topics = 1;
    hub_set_limits(hub, &less);
    hub_get_stats(hub, &stats);
    ck_assert_uint_le(stats.history_bytes, 10000);
    ck_assert_uint_gt(stats.evicted, 4000);
    publish("a");
    struct hub_receipt r;
    HLY_CLEANUP(message_unrefp) struct message *m = message_new("b", 1, "x", 1);
    ck_assert_int_eq(hub_publish(hub, m, SLICE_LIT(""), 0, &r), -EDQUOT);
}
END_TEST

/* ---- at random: whatever rules come and go, what is missing is told */

static struct { uint8_t topic; } sent[MESSAGES + 1]; /* by seq */
static char topics[TOPICS][16];
static uint64_t head;

static const char *const patterns[] = { "**", "a/**", "b/**", "a/*/x", "*/1/*", "b/1*", "{sub}/2/**", "a/0/x", "*/*/y" };

static struct rules *random_rules(void)
{
    struct rule list[6];
    size_t count = below(HLY_ARRAY_LEN(list) + 1);
    for (size_t i = 0; i < count; i++) {
        const char *pattern = patterns[below(HLY_ARRAY_LEN(patterns))];
        list[i] = (struct rule){ .pattern = TEXT(pattern), .subscribe = RULE_ANYONE };
        list[i].history = below(3) == 0 ? 0 : below(6);
        list[i].on_slow = below(4) == 0 ? RULE_CONFLATE : RULE_CATCH_UP;
    }
    return make_rules(list, count);
}

static bool wants(const struct hub_name *n, const char *topic)
{
    size_t len = strlen(topic);
    return n->is_pattern ? pattern_matches(n->name.ptr, n->name.len, topic, len)
                         : n->name.len == len && memcmp(n->name.ptr, topic, len) == 0;
}

static bool any_wants(const struct hub_name *names, size_t count, const char *topic)
{
    for (size_t i = 0; i < count; i++)
        if (wants(&names[i], topic))
            return true;
    return false;
}

struct living { /* who reads, in slices, while rules change */
    struct hub_name names[NAMES_MAX];
    size_t count;
    struct hub_reader reader;
    uint64_t told_at; /* the head when it was last told of a gap; what was kept then is not covered by that */
    uint64_t kept[512];
    size_t kept_count;
};

static uint64_t reads, gaps;

static void note_gap(struct living *l)
{
    struct hub_name all = { .name = SLICE_LIT("**"), .is_pattern = true };
    struct hub_reader reader = { 0 };
    struct hub_read read;
    l->told_at = head;
    l->kept_count = 0;
    do {
        hub_read(hub, &all, 1, &reader, &read);
        for (size_t i = 0; i < read.count; i++) {
            HOLDS(l->kept_count < HLY_ARRAY_LEN(l->kept));
            l->kept[l->kept_count++] = read.messages[i]->seq;
            message_unref(read.messages[i]);
        }
    } while (!read.is_level);
    gaps++;
}

/* Was it gone already when a gap was told? */
static bool is_told(const struct living *l, uint64_t seq)
{
    for (size_t i = 0; i < l->kept_count; i++)
        if (l->kept[i] == seq)
            return false;
    return seq <= l->told_at;
}

/* One slice: what matches and lies between the two places is there, or a gap was told when it had gone. Returns whether there is more. */
static bool read_on(struct living *l)
{
    struct hub_read read;
    uint64_t from = l->reader.pos;
    size_t at = 0;
    hub_read(hub, l->names, l->count, &l->reader, &read);
    reads++;
    if (read.gap != HUB_GAP_NONE)
        note_gap(l);
    for (uint64_t seq = from + 1; seq <= l->reader.pos; seq++) {
        const char *topic = topics[sent[seq].topic];
        bool is_there = at < read.count && read.messages[at]->seq == seq;
        bool is_wanted = any_wants(l->names, l->count, topic);
        HOLDS(!is_there || is_wanted);
        if (is_wanted && !is_there && !is_told(l, seq))
            ck_abort_msg("seq %" PRIu64 " of %s is missing in silence", seq, topic);
        at += is_there;
    }
    HOLDS(at == read.count);
    for (size_t i = 0; i < read.count; i++)
        message_unref(read.messages[i]);
    return !read.is_level;
}

static void choose_names(struct living *l)
{
    l->count = 1 + below(NAMES_MAX);
    for (size_t i = 0; i < l->count; i++) {
        bool is_pattern = below(2) == 0;
        const char *name = is_pattern ? patterns[below(6)] : topics[below(TOPICS)];
        l->names[i] = (struct hub_name){ .name = TEXT(name), .is_pattern = is_pattern };
    }
}

static void come_back(void)
{
    struct living l = { 0 };
    uint64_t back = below(60);
    choose_names(&l);
    l.reader.pos = back < head ? head - back : 0;
    while (read_on(&l))
        continue;
}

static void change_subscription(bool *is_subscribed, const char *topic)
{
    uint64_t seq;
    if (*is_subscribed)
        hub_unsubscribe(hub, TEXT(topic), false, 0, true);
    else
        HOLDS(hub_subscribe(hub, TEXT(topic), false, 0, true, &seq) == 0);
    *is_subscribed = !*is_subscribed;
}

static bool swap_at_random(void)
{
    HLY_CLEANUP(rules_unrefp) struct rules *r = random_rules();
    return hub_set_rules(hub, r) == 0;
}

static void run(const struct hub_limits *limits)
{
    uint64_t swaps = 0;
    bool is_subscribed[TOPICS] = { false };
    struct living living[4] = { 0 };
    struct message *batch[64];
    for (size_t i = 0; i < HLY_ARRAY_LEN(living); i++)
        choose_names(&living[i]);
    head = reads = gaps = 0;
    start(random_rules(), limits);
    while (head < MESSAGES) {
        uint32_t t = below(TOPICS), choice = below(128);
        if (choice == 0) {
            swaps += swap_at_random();
        } else if (choice < 4) {
            hub_rules_step(hub);
        } else if (choice < 8) {
            hub_expire(hub, 0);
        } else if (choice < 16) {
            change_subscription(&is_subscribed[t], topics[t]);
        } else if (choice < 24) {
            come_back();
        } else if (choice < 48) {
            read_on(&living[below(HLY_ARRAY_LEN(living))]);
        } else {
            sent[++head].topic = (uint8_t)t;
            HOLDS(publish(topics[t]) == head);
        }
        for (size_t n = hub_take(hub, 0, batch, 64); n > 0; n--)
            message_unref(batch[n - 1]);
    }
    for (uint32_t t = 0; t < TOPICS; t++)
        if (is_subscribed[t])
            change_subscription(&is_subscribed[t], topics[t]);
    printf("%" PRIu64 " swaps, %" PRIu64 " reads, %" PRIu64 " of them with a gap\n", swaps, reads, gaps);
    ck_assert_uint_gt(swaps, 50);
    ck_assert_uint_lt(gaps, reads / 10 * 9); /* a gap each time would be no lie, and no use */
}

static void name_topics(void)
{
    for (int i = 0; i < TOPICS; i++)
        snprintf(topics[i], sizeof topics[i], "%c/%d/%c", "ab"[i & 1], (i >> 1) % 4, "xyz"[i >> 3]);
}

START_TEST(no_swap_of_rules_loses_anything_in_silence)
{
    seed_random();
    name_topics();
    run(_i == 0 ? &plenty : &tight);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_rules");
    TCase *t = tcase_create("one by one");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_shorter_history_is_cut_and_the_cut_is_told);
    tcase_add_test(t, a_history_that_is_no_more_kept_goes);
    tcase_add_test(t, a_longer_history_keeps_more_from_then_on);
    tcase_add_test(t, what_a_dead_topic_lost_under_another_rule_is_told);
    tcase_add_test(t, the_same_patterns_again_tell_no_gap_that_was_none);
    tcase_add_test(t, another_swap_waits_until_the_last_is_through);
    tcase_add_test(t, limits_that_shrink_evict_at_once);
    suite_add_tcase(s, t);
    t = tcase_create("at random");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_loop_test(t, no_swap_of_rules_loses_anything_in_silence, 0, 2);
    suite_add_tcase(s, t);
    return run_suite(s);
}
