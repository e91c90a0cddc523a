#include "core/hub.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "core/reading.h"
#include "core/topic_name.h"
#include "support.h"

#define EPOCH "k3f9abcd"
#define REACTORS 8

enum { R_NONE, R_ONE, R_THREE, R_TTL, R_MANY, R_FIVE, R_LAST, RULES };

static const struct rule rule_list[RULES] = {
    [R_NONE] = { .pattern = { "none/**", 7 }, .subscribe = RULE_ANYONE },
    [R_ONE] = { .pattern = { "one/**", 6 }, .subscribe = RULE_ANYONE, .history = 1 },
    [R_THREE] = { .pattern = { "three/**", 8 }, .subscribe = RULE_ANYONE, .history = 3 },
    [R_TTL] = { .pattern = { "ttl/**", 6 }, .subscribe = RULE_ANYONE, .history = 5000, .history_ttl_ms = 1000 },
    [R_MANY] = { .pattern = { "many/**", 7 }, .subscribe = RULE_ANYONE, .history = 1000000 },
    [R_FIVE] = { .pattern = { "five/**", 7 }, .subscribe = RULE_ANYONE, .history = 5 },
    [R_LAST] = { .pattern = { "last/**", 7 }, .subscribe = RULE_ANYONE, .history = 2 },
};

static struct rules *rules;
static struct hub *hub;

static const struct hub_limits plenty = {
    .topics = 100000,
    .patterns = 1000,
    .history_bytes = 1u << 30,
    .inbox_bytes = 1u << 30,
    .keys = 1000,
    .key_window_ms = 1000,
};

static void restart(struct hub_limits limits)
{
    hub_free(hub);
    hub = hub_new(&limits, rules, REACTORS, EPOCH);
    ck_assert_ptr_nonnull(hub);
}

static void setup(void)
{
    rules = rules_new(rule_list, RULES);
    hub = hub_new(&plenty, rules, REACTORS, EPOCH);
    ck_assert_ptr_nonnull(hub);
}

static void teardown(void)
{
    hub_free(hub);
    rules_unref(rules);
}

/* ---- short ways to say things */

static int publish_as(const char *topic, const char *key, uint32_t payload_len, uint64_t now_ms, unsigned from,
                      struct hub_receipt *ret)
{
    HLY_CLEANUP(message_unrefp) struct message *m = message_new(topic, strlen(topic), NULL, payload_len);
    memset(message_payload(m), 'x', payload_len);
    m->time_ms = m->born_ms = now_ms;
    return hub_publish(hub, m, TEXT(key), from, ret);
}

static uint64_t publish_at(const char *topic, uint64_t now_ms)
{
    struct hub_receipt r = { 0 };
    HOLDS(publish_as(topic, "", 8, now_ms, 0, &r) == 0);
    return r.seq;
}

static uint64_t publish(const char *topic)
{
    return publish_at(topic, 0);
}

static uint64_t publish_sized(const char *topic, uint32_t payload_len)
{
    struct hub_receipt r = { 0 };
    HOLDS(publish_as(topic, "", payload_len, 0, 0, &r) == 0);
    return r.seq;
}

static uint64_t subscribe_to(const char *name, bool is_pattern, unsigned reactor, bool is_first)
{
    uint64_t seq = UINT64_MAX;
    HOLDS(hub_subscribe(hub, TEXT(name), is_pattern, reactor, is_first, &seq) == 0);
    return seq;
}

static void unsubscribe_from(const char *name, bool is_pattern, unsigned reactor, bool is_last)
{
    hub_unsubscribe(hub, TEXT(name), is_pattern, reactor, is_last);
}

/* One slice of a topic's history, and whether it begins with a gap. */
static bool read_slice(const char *topic, struct hub_reader *r, struct hub_read *ret)
{
    struct hub_name name = { .name = TEXT(topic) };
    hub_read(hub, &name, 1, r, ret);
    return ret->gap != HUB_GAP_NONE;
}

/* Can a client of the topic go on from the cursor, and misses nothing? */
static bool cursor_is_good(const char *topic, const struct cursor *c)
{
    struct reading_from from = reading_from(hub, c, READING_LAST_NONE, hub_head(hub));
    struct hub_reader r = { .pos = from.after, .forgiven = from.forgiven };
    struct hub_read read;
    bool has_gap = read_slice(topic, &r, &read);
    for (size_t i = 0; i < read.count; i++)
        message_unref(read.messages[i]);
    return !from.is_lost && !has_gap;
}

static bool is_good(const char *topic, uint64_t seq)
{
    struct cursor c = { EPOCH, seq };
    return cursor_is_good(topic, &c);
}

/* The topic's messages with a seq above `after`: references, max at most. */
static size_t read_all(const char *topic, uint64_t after, struct message **out, size_t max)
{
    struct hub_reader r = { .pos = after };
    struct hub_read read = { 0 };
    size_t n = 0;
    while (!read.is_level && n < max) {
        read_slice(topic, &r, &read);
        for (size_t i = 0; i < read.count; i++) {
            if (n < max)
                out[n++] = read.messages[i];
            else
                message_unref(read.messages[i]);
        }
    }
    return n;
}

/* Is a cursor good from the mark on, and no earlier? */
static void assert_mark(const char *topic, uint64_t mark)
{
    ck_assert_msg(is_good(topic, mark), "%s: a cursor at the mark %" PRIu64 " must be good", topic, mark);
    if (mark > 0)
        ck_assert_msg(!is_good(topic, mark - 1), "%s: a cursor before the mark %" PRIu64 " must be bad", topic, mark);
}

static size_t history_of(const char *topic, uint64_t after, uint64_t *seqs, size_t max)
{
    struct message *out[64];
    size_t n = read_all(topic, after, out, max);
    HOLDS(n <= max);
    for (size_t i = 0; i < n; i++) {
        HOLDS(message_topic(out[i]).len == strlen(topic) && memcmp(out[i]->bytes, topic, strlen(topic)) == 0);
        seqs[i] = out[i]->seq;
        message_unref(out[i]);
    }
    return n;
}

static size_t kept(const char *topic)
{
    uint64_t seqs[64];
    return history_of(topic, 0, seqs, 64);
}

static size_t drain(unsigned reactor, uint64_t *seqs, size_t max)
{
    struct message *out[256];
    size_t total = 0;
    for (size_t n; (n = hub_take(hub, reactor, out, 256)) > 0;) {
        for (size_t i = 0; i < n; i++) {
            if (total < max)
                seqs[total++] = out[i]->seq;
            message_unref(out[i]);
        }
    }
    return total;
}

static size_t mail(unsigned reactor)
{
    uint64_t seqs[256];
    return drain(reactor, seqs, 256);
}

static struct hub_stats stats(void)
{
    struct hub_stats s;
    hub_get_stats(hub, &s);
    return s;
}

static unsigned expire_all(uint64_t now_ms)
{
    unsigned slices = 1;
    while (hub_expire(hub, now_ms))
        HOLDS(++slices < 100000);
    return slices;
}

/* ---- order and history */

START_TEST(seqs_are_one_order_over_all_topics)
{
    seed_random();
    ck_assert_uint_eq(hub_head(hub), 0);
    for (uint64_t n = 1; n <= 500; n++) {
        char topic[32];
        snprintf(topic, sizeof topic, "%s/%u", below(2) ? "three" : "none", below(10));
        HOLDS(publish(topic) == n);
        HOLDS(hub_head(hub) == n);
    }
}
END_TEST

START_TEST(a_message_is_in_history_when_its_receipt_is_had)
{
    uint64_t seqs[8];
    for (int i = 0; i < 10; i++) {
        uint64_t seq = publish("three/a");
        ck_assert_uint_eq(history_of("three/a", seq - 1, seqs, 8), 1);
        ck_assert_uint_eq(seqs[0], seq);
    }
}
END_TEST

START_TEST(history_is_given_from_the_oldest_and_after_a_seq)
{
    uint64_t seqs[8];
    for (int i = 0; i < 7; i++)
        publish(i % 2 == 0 ? "five/a" : "five/b"); /* five/a: 1 3 5 7 */
    ck_assert_uint_eq(history_of("five/a", 0, seqs, 8), 4);
    ck_assert_uint_eq(seqs[0], 1);
    ck_assert_uint_eq(seqs[3], 7);
    ck_assert_uint_eq(history_of("five/a", 3, seqs, 8), 2);
    ck_assert_uint_eq(seqs[0], 5);
    ck_assert_uint_eq(history_of("five/a", 4, seqs, 1), 1);
    ck_assert_uint_eq(seqs[0], 5);
    ck_assert_uint_eq(history_of("five/a", 7, seqs, 8), 0);
    ck_assert_uint_eq(history_of("five/none", 0, seqs, 8), 0);
}
END_TEST

START_TEST(history_keeps_as_many_as_its_rule_says)
{
    static const struct {
        const char *topic;
        size_t want;
    } cases[] = { { "none/a", 0 }, { "one/a", 1 },  { "three/a", 3 }, { "many/a", 20 },
                  { "five/a", 5 }, { "last/a", 2 }, { "no rule", 0 } };
    for (size_t c = 0; c < HLY_ARRAY_LEN(cases); c++) {
        for (int i = 0; i < 20; i++)
            publish(cases[c].topic);
        ck_assert_msg(kept(cases[c].topic) == cases[c].want, "%s", cases[c].topic);
    }
    ck_assert_uint_eq(stats().history_messages, 31);
}
END_TEST

/* ---- cursors: loss is never silent */

START_TEST(a_cursor_is_good_within_its_epoch_up_to_the_head)
{
    for (int i = 0; i < 3; i++)
        publish("many/a");
    static const struct {
        const char *name;
        struct cursor cursor;
        bool want;
    } cases[] = {
        { "nothing seen yet", { EPOCH, 0 }, true },
        { "somewhere in it", { EPOCH, 2 }, true },
        { "the head", { EPOCH, 3 }, true },
        { "beyond the head", { EPOCH, 4 }, false },
        { "far beyond", { EPOCH, UINT64_MAX }, false },
        { "another epoch", { "00000000", 2 }, false },
        { "another epoch, seq 0", { "00000000", 0 }, false },
        { "a part of the epoch", { "k3f9", 2 }, false },
        { "another case", { "K3F9ABCD", 2 }, false },
        { "all that there is", { "", 0 }, true },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(cases); i++) {
        ck_assert_msg(cursor_is_good("many/a", &cases[i].cursor) == cases[i].want, "%s", cases[i].name);
        ck_assert_msg(cursor_is_good("many/dead", &cases[i].cursor) == cases[i].want, "dead: %s", cases[i].name);
    }
}
END_TEST

START_TEST(all_that_there_is_is_always_a_good_cursor)
{
    struct cursor zero = { "", 0 };
    for (int i = 0; i < 10; i++) {
        publish("one/a");
        publish("none/a");
    }
    ck_assert(cursor_is_good("one/a", &zero));
    ck_assert(cursor_is_good("none/a", &zero));
    ck_assert(!is_good("one/a", 0));
}
END_TEST

START_TEST(a_topic_knows_how_many_messages_it_keeps)
{
    ck_assert_uint_eq(hub_topic_history(hub, "many/a", 6), 0);
    for (uint64_t n = 1; n <= 3; n++) {
        publish("many/a");
        publish("many/ab");
        publish("one/a");
        publish("none/a");
        ck_assert_uint_eq(hub_topic_history(hub, "many/a", 6), n);
    }
    ck_assert_uint_eq(hub_topic_history(hub, "one/a", 5), 1);
    ck_assert_uint_eq(hub_topic_history(hub, "none/a", 6), 0);
}
END_TEST

START_TEST(what_falls_out_of_a_full_history_moves_the_mark)
{
    publish("many/x");
    for (uint64_t seq = 2; seq <= 4; seq++)
        publish("three/a");
    assert_mark("three/a", 0);
    publish("three/a"); /* 2 has to go */
    assert_mark("three/a", 2);
    publish("many/x");
    publish("three/a");
    assert_mark("three/a", 3);
    assert_mark("three/other", 0);
    assert_mark("many/x", 0);
}
END_TEST

START_TEST(a_topic_that_keeps_nothing_loses_each_message)
{
    assert_mark("none/a", 0);
    publish("none/a"); /* the topic is not alive */
    assert_mark("none/a", 1);
    subscribe_to("none/a", false, 0, true);
    assert_mark("none/a", 1);
    publish("none/a"); /* it is */
    assert_mark("none/a", 2);
    publish("many/a");
    assert_mark("none/a", 2);
    unsubscribe_from("none/a", false, 0, true);
    assert_mark("none/a", 2);
    mail(0);
}
END_TEST

/* One for each rule: what is lost under one must not be looked for under another. */
START_TEST(a_topic_that_died_and_came_back_remembers_what_it_lost)
{
    static const char *const names[RULES] = {
        [R_NONE] = "none/a", [R_ONE] = "one/a",   [R_THREE] = "three/a", [R_TTL] = "ttl/a",
        [R_MANY] = "many/a", [R_FIVE] = "five/a", [R_LAST] = "last/a"
    };
    const char *name = names[_i];
    restart((struct hub_limits){ .topics = 10, .patterns = 10, .history_bytes = 1000, .inbox_bytes = 1000000 });
    uint64_t lost = publish(name);
    publish(_i == R_ONE ? "five/evicts" : "one/evicts");
    HOLDS(publish_sized(_i == R_ONE ? "five/evicts" : "one/evicts", 1000 - sizeof(struct message) - 12) > 0);
    ck_assert_uint_eq(kept(name), 0);
    assert_mark(name, lost); /* dead */
    uint64_t before = hub_head(hub);
    subscribe_to(name, false, 0, true);
    assert_mark(name, lost); /* alive through a subscriber */
    ck_assert(is_good(name, before));
    unsubscribe_from(name, false, 0, true);
    assert_mark(name, lost); /* dead again */
    for (int i = 0; i < RULES; i++)
        if (i != _i && i != R_ONE && i != R_FIVE)
            assert_mark(names[i], 0);
    assert_mark("no rule", 0);
    publish(name); /* alive through a message */
    ck_assert(!is_good(name, lost - 1));
    ck_assert(_i == R_NONE || is_good(name, lost));
    mail(0);
}
END_TEST

START_TEST(a_new_topic_does_not_know_what_others_under_its_rule_lost_later)
{
    publish("three/new");                      /* 1 */
    publish("none/x");                         /* 2 */
    subscribe_to("none/live", false, 0, true); /* begins at the horizon of its rule */
    assert_mark("none/live", 2);
    publish("none/x"); /* 3: lost to the rule, not to the living topic */
    assert_mark("none/live", 2);
    assert_mark("none/dead", 3);
    unsubscribe_from("none/live", false, 0, true);
    assert_mark("none/live", 3);
    assert_mark("three/new", 0);
}
END_TEST

START_TEST(a_topic_without_a_rule_keeps_nothing_and_says_so)
{
    publish("many/a");
    publish("no rule");
    assert_mark("no rule", 2);
    assert_mark("nor here", 2);
    assert_mark("many/a", 0);
    for (int i = R_NONE; i < RULES; i++)
        ck_assert(is_good("last/x", 0) && is_good("five/x", 0) && is_good("none/x", 0));
}
END_TEST

/* ---- limits.history */

static uint64_t memory_of(const char *topic, uint32_t payload_len)
{
    return sizeof(struct message) + strlen(topic) + payload_len;
}

START_TEST(over_the_limit_the_oldest_of_all_topics_go)
{
    struct hub_limits limits = plenty;
    limits.history_bytes = 10 * memory_of("many/a", 100);
    restart(limits);
    for (int i = 0; i < 10; i++)
        publish_sized(i % 3 == 0 ? "many/a" : "many/b", 100); /* many/a: 1 4 7 10 */
    ck_assert_uint_eq(stats().evicted, 0);
    ck_assert_uint_eq(stats().history_bytes, limits.history_bytes);
    publish_sized("many/c", 100);
    ck_assert_uint_eq(stats().evicted, 1);
    assert_mark("many/a", 1);
    assert_mark("many/b", 0);
    publish_sized("many/c", 101); /* one byte more: two have to go */
    ck_assert_uint_eq(stats().evicted, 3);
    assert_mark("many/b", 3);
    assert_mark("many/a", 1);
    assert_mark("many/c", 0);
    ck_assert_uint_eq(stats().history_messages, 9);
    ck_assert_uint_le(stats().history_bytes, limits.history_bytes);
    ck_assert_uint_eq(kept("many/a"), 3);
    ck_assert_uint_eq(kept("many/b"), 4);
}
END_TEST

START_TEST(a_topic_whose_last_message_was_evicted_ends)
{
    struct hub_limits limits = plenty;
    limits.history_bytes = 3 * memory_of("many/a", 100);
    restart(limits);
    publish_sized("many/a", 100);
    publish_sized("many/b", 100);
    publish_sized("many/c", 100);
    ck_assert_uint_eq(stats().topics, 3);
    publish_sized("many/b", 100);
    ck_assert_uint_eq(stats().topics, 2);
    assert_mark("many/a", 1);
    publish_sized("many/b", 100);
    ck_assert_uint_eq(stats().topics, 2);
    assert_mark("many/b", 2);
}
END_TEST

START_TEST(a_message_over_the_whole_limit_is_lost_with_what_was_before_it)
{
    struct hub_limits limits = plenty;
    limits.history_bytes = 5000;
    restart(limits);
    publish_sized("many/a", 100);
    publish_sized("many/b", 100);
    publish_sized("many/a", 5000);
    ck_assert_uint_eq(kept("many/a"), 0);
    assert_mark("many/a", 3);
    assert_mark("many/b", 0);
    publish_sized("many/a", 100);
    ck_assert_uint_eq(kept("many/a"), 1);
    assert_mark("many/a", 3);
}
END_TEST

/* DESIGN: a topic lives while it has a subscriber or history. */
START_TEST(a_topic_that_could_keep_nothing_does_not_live)
{
    struct hub_limits limits = plenty;
    limits.history_bytes = 5000;
    limits.topics = 3;
    restart(limits);
    char topic[32];
    for (int i = 0; i < 10; i++) {
        snprintf(topic, sizeof topic, "many/%d", i);
        publish_sized(topic, 6000);
        ck_assert_uint_eq(stats().topics, 0);
        assert_mark(topic, hub_head(hub));
    }
    publish_sized("many/a", 100);
    publish_sized("many/a", 6000);
    ck_assert_uint_eq(stats().topics, 0);
    ck_assert_uint_eq(stats().history_bytes, 0);
}
END_TEST

START_TEST(a_great_message_makes_room_for_itself_among_many_small_ones)
{
    struct hub_limits limits = plenty;
    limits.history_bytes = 20000 * memory_of("many/1", 8);
    restart(limits);
    for (int i = 0; i < 20000; i++)
        publish("many/1");
    publish_sized("three/a", (uint32_t)(limits.history_bytes - 1000));
    ck_assert_uint_le(stats().history_bytes, limits.history_bytes);
    ck_assert_uint_eq(kept("three/a"), 1);
    publish_sized("three/a", (uint32_t)(limits.history_bytes - 1000));
    ck_assert_uint_le(stats().history_bytes, limits.history_bytes);
    ck_assert_uint_eq(kept("three/a"), 1);
    ck_assert_uint_eq(stats().topics, 1);
    assert_mark("many/1", 20000);
}
END_TEST

START_TEST(figures_of_history_are_exact_whatever_happens)
{
    struct hub_limits limits = plenty;
    limits.history_bytes = 20000;
    restart(limits);
    seed_random();
    char topic[32];
    static const char *const kinds[] = { "none", "one", "three", "ttl", "many", "five" };
    uint64_t now = 0, published = 0;
    for (int step = 0; step < 5000; step++) {
        snprintf(topic, sizeof topic, "%s/%u", kinds[below(6)], below(20));
        struct hub_receipt r;
        now += below(5);
        HOLDS(publish_as(topic, "", below(50) == 0 ? 25000 : below(500), now, 0, &r) == 0);
        HOLDS(r.seq == ++published);
        if (below(100) == 0)
            expire_all(now);
        HOLDS(stats().history_bytes <= limits.history_bytes);
    }
    uint64_t messages = 0, bytes = 0, topics = 0;
    for (size_t k = 0; k < HLY_ARRAY_LEN(kinds); k++) {
        for (int i = 0; i < 20; i++) {
            struct message *out[2000];
            snprintf(topic, sizeof topic, "%s/%d", kinds[k], i);
            size_t n = read_all(topic, 0, out, HLY_ARRAY_LEN(out));
            topics += n > 0;
            messages += n;
            for (size_t m = 0; m < n; m++) {
                bytes += message_memory(out[m]);
                message_unref(out[m]);
            }
        }
    }
    ck_assert_uint_eq(stats().history_messages, messages);
    ck_assert_uint_eq(stats().history_bytes, bytes);
    ck_assert_uint_eq(stats().topics, topics);
    ck_assert_uint_eq(stats().published, published);
}
END_TEST

/* ---- age */

START_TEST(a_message_goes_when_it_is_older_than_its_rule_allows)
{
    publish_at("ttl/a", 5000);
    publish_at("ttl/a", 5500);
    publish_at("many/a", 5000);
    expire_all(6000); /* 1,000 ms old is not older than 1,000 ms */
    ck_assert_uint_eq(kept("ttl/a"), 2);
    expire_all(6001);
    ck_assert_uint_eq(kept("ttl/a"), 1);
    assert_mark("ttl/a", 1);
    ck_assert_uint_eq(stats().expired, 1);
    expire_all(6501);
    ck_assert_uint_eq(kept("ttl/a"), 0);
    assert_mark("ttl/a", 2);
    expire_all(1000000);
    ck_assert_uint_eq(kept("many/a"), 1);
    ck_assert_uint_eq(stats().expired, 2);
    ck_assert_uint_eq(stats().history_messages, 1);
}
END_TEST

START_TEST(a_topic_ends_with_its_last_message_and_the_horizon_moves)
{
    char topic[32];
    for (int i = 0; i < 500; i++) {
        snprintf(topic, sizeof topic, "ttl/%d", i);
        publish_at(topic, 0);
    }
    subscribe_to("ttl/7", false, 0, true);
    publish_at("many/a", 0);
    ck_assert_uint_eq(stats().topics, 501);
    expire_all(500);
    ck_assert_uint_eq(stats().topics, 501);
    for (int n = 0; n < 20; n++) /* each walk ends some: a slice has a bound for the dead */
        expire_all(5000);
    ck_assert_uint_eq(stats().topics, 2);
    ck_assert_uint_eq(stats().expired, 500);
    assert_mark("ttl/499", 500);
    assert_mark("ttl/1", 500); /* one horizon for the rule: a false gap is allowed */
    assert_mark("ttl/7", 8);
    assert_mark("many/a", 0);
    unsubscribe_from("ttl/7", false, 0, true);
    ck_assert_uint_eq(stats().topics, 1);
}
END_TEST

START_TEST(a_walk_ends_what_is_over_however_many_there_are)
{
    char topic[32];
    for (int i = 0; i < 3000; i++) {
        snprintf(topic, sizeof topic, "ttl/%d", i);
        publish_at(topic, 0);
    }
    for (int n = 0; n < 3; n++)
        expire_all(5000);
    ck_assert_uint_eq(stats().topics, 0);
}
END_TEST

/* DESIGN: lock holds are bounded, at most 1,000 steps. */
START_TEST(one_slice_of_expiry_lets_go_of_about_a_thousand)
{
    char topic[32];
    for (int i = 0; i < 5200; i++) {
        snprintf(topic, sizeof topic, "ttl/%d", i < 5000 ? 0 : i); /* a long history, and many short ones */
        publish_at(topic, 0);
    }
    uint64_t before = 0;
    for (bool more = true; more;) {
        more = hub_expire(hub, 5000);
        ck_assert_uint_le(stats().expired - before, 2000);
        before = stats().expired;
    }
    ck_assert_uint_eq(before, 5200); /* in one walk: the long one was not left for the next */
    ck_assert_uint_eq(stats().history_messages, 0);
    expire_all(5000);
    ck_assert_uint_eq(stats().topics, 0);
    assert_mark("ttl/0", 5200);
}
END_TEST

/* ---- limits.topics, limits.patterns */

START_TEST(over_limits_topics_new_topics_are_refused_without_a_trace)
{
    struct hub_limits limits = plenty;
    limits.topics = 2;
    restart(limits);
    struct hub_receipt r = { .seq = 77 };
    uint64_t seq;
    publish("one/a");
    subscribe_to("none/b", false, 0, true);
    ck_assert_int_eq(publish_as("one/c", "", 8, 0, 0, &r), -EDQUOT);
    ck_assert_int_eq(publish_as("one/c", "key", 8, 0, 0, &r), -EDQUOT);
    ck_assert_int_eq(hub_subscribe(hub, TEXT("none/c"), false, 0, true, &seq), -EDQUOT);
    ck_assert_uint_eq(r.seq, 77);
    ck_assert_uint_eq(hub_head(hub), 1);
    struct hub_stats s = stats();
    ck_assert_uint_eq(s.topics, 2);
    ck_assert_uint_eq(s.subscriptions, 1);
    ck_assert_uint_eq(s.published, 1);
    ck_assert_uint_eq(s.keys, 0);
    ck_assert_uint_eq(s.refused_topics, 3);
    ck_assert_uint_eq(s.history_messages, 1);
    assert_mark("one/c", 0);
    ck_assert_uint_eq(publish("one/a"), 2);  /* those that live go on */
    ck_assert_uint_eq(publish("none/c"), 3); /* and what is not kept needs no topic */
    subscribe_to("none/b", false, 1, true);
    unsubscribe_from("none/b", false, 0, true);
    unsubscribe_from("none/b", false, 1, true);
    ck_assert_int_eq(publish_as("one/c", "key", 8, 0, 0, &r), 0); /* there is room again, and the key is as new */
    ck_assert_uint_eq(r.seq, 4);
    ck_assert(!r.repeated);
    ck_assert_uint_eq(mail(0), 0);
}
END_TEST

START_TEST(over_limits_patterns_new_patterns_are_refused_without_a_trace)
{
    struct hub_limits limits = plenty;
    limits.patterns = 2;
    restart(limits);
    uint64_t seq;
    subscribe_to("a/*", true, 0, true);
    subscribe_to("b/*", true, 0, true);
    subscribe_to("a/*", true, 1, true); /* it is there already */
    ck_assert_int_eq(hub_subscribe(hub, TEXT("c/*"), true, 0, true, &seq), -EDQUOT);
    ck_assert_uint_eq(hub_pattern_count(hub), 2);
    ck_assert_uint_eq(stats().subscriptions, 3);
    ck_assert_uint_eq(stats().refused_topics, 1);
    publish("c/x");
    ck_assert_uint_eq(mail(0), 0);
    unsubscribe_from("b/*", true, 0, true);
    subscribe_to("c/*", true, 0, true);
    publish("c/x");
    ck_assert_uint_eq(mail(0), 1);
    unsubscribe_from("a/*", true, 0, true);
    unsubscribe_from("a/*", true, 1, true);
    unsubscribe_from("c/*", true, 0, true);
    ck_assert_uint_eq(hub_pattern_count(hub), 0);
}
END_TEST

/* ---- keys */

START_TEST(a_key_makes_a_publish_happen_once)
{
    struct hub_receipt first, again;
    subscribe_to("three/a", false, 1, true);
    subscribe_to("three/*", true, 1, true);
    publish("three/a");
    ck_assert_int_eq(publish_as("three/a", "once", 8, 100, 0, &first), 0);
    ck_assert_uint_eq(first.seq, 2);
    ck_assert_uint_eq(first.subscribers, 2);
    ck_assert(!first.repeated);
    ck_assert_uint_eq(mail(1), 2);
    unsubscribe_from("three/*", true, 1, true);
    publish("three/b");
    ck_assert_int_eq(publish_as("three/a", "once", 9, 1099, 0, &again), 0);
    ck_assert_uint_eq(again.seq, first.seq);
    ck_assert_uint_eq(again.subscribers, first.subscribers);
    ck_assert(again.repeated);
    ck_assert_uint_eq(hub_head(hub), 3);
    ck_assert_uint_eq(mail(1), 0);
    ck_assert_uint_eq(kept("three/a"), 2);
    ck_assert_uint_eq(stats().repeated, 1);
    ck_assert_uint_eq(stats().published, 3);
    unsubscribe_from("three/a", false, 1, true);
}
END_TEST

START_TEST(after_the_window_a_key_is_new)
{
    struct hub_receipt r;
    publish_as("three/a", "once", 8, 100, 0, &r);
    ck_assert_int_eq(publish_as("three/a", "once", 8, 1100, 0, &r), 0);
    ck_assert(!r.repeated);
    ck_assert_uint_eq(r.seq, 2);
    ck_assert_uint_eq(kept("three/a"), 2);
}
END_TEST

START_TEST(a_key_is_one_of_its_topic)
{
    struct hub_receipt r;
    publish_as("three/a", "once", 8, 0, 0, &r);
    publish_as("three/b", "once", 8, 0, 0, &r);
    ck_assert(!r.repeated);
    publish_as("three/a", "twice", 8, 0, 0, &r);
    ck_assert(!r.repeated);
    ck_assert_uint_eq(r.seq, 3);
    ck_assert_uint_eq(stats().keys, 3);
}
END_TEST

START_TEST(keys_are_no_more_than_limits_keys)
{
    struct hub_limits limits = plenty;
    limits.keys = 10;
    restart(limits);
    struct hub_receipt r;
    char key[16];
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "%d", i);
        publish_as("one/a", key, 8, 0, 0, &r);
        ck_assert_uint_le(stats().keys, 10);
    }
    publish_as("one/a", "95", 8, 0, 0, &r);
    ck_assert(r.repeated);
    publish_as("one/a", "5", 8, 0, 0, &r);
    ck_assert(!r.repeated);
    limits.keys = 0; /* none are to be remembered: each publish is new */
    restart(limits);
    publish_as("one/a", "k", 8, 0, 0, &r);
    ck_assert_int_eq(publish_as("one/a", "k", 8, 0, 0, &r), 0);
    ck_assert_uint_eq(r.seq, 2);
}
END_TEST

/* ---- who gets it */

START_TEST(subscribers_are_exact_and_matching_patterns_of_all_reactors)
{
    struct hub_receipt r;
    subscribe_to("none/a", false, 0, true);
    subscribe_to("none/a", false, 0, false);
    subscribe_to("none/a", false, 3, true);
    subscribe_to("none/b", false, 3, true);
    subscribe_to("none/*", true, 3, true);
    subscribe_to("**", true, 7, true);
    subscribe_to("none/a", true, 7, true); /* a pattern without a wildcard */
    subscribe_to("none/*", true, 4, true);
    publish_as("none/a", "", 8, 0, 0, &r);
    ck_assert_uint_eq(r.subscribers, 7);
    unsubscribe_from("none/*", true, 4, true);
    ck_assert_uint_eq(hub_topic_subscribers(hub, "none/a", 6), 3);
    publish_as("none/b", "", 8, 0, 0, &r);
    ck_assert_uint_eq(r.subscribers, 3);
    publish_as("none/c", "", 8, 0, 0, &r); /* nobody named it: no topic */
    ck_assert_uint_eq(r.subscribers, 2);
    publish_as("five/c", "", 8, 0, 0, &r); /* a topic by its history */
    ck_assert_uint_eq(r.subscribers, 1);
    publish_as("$halley/x", "", 8, 0, 0, &r); /* wildcards do not match it */
    ck_assert_uint_eq(r.subscribers, 0);
    ck_assert_uint_eq(hub_topic_subscribers(hub, "none/c", 6), 0);
    ck_assert_uint_eq(hub_pattern_count(hub), 3);
    ck_assert_uint_eq(stats().subscriptions, 7);
    unsubscribe_from("none/*", true, 3, true);
    unsubscribe_from("none/a", false, 0, false);
    publish_as("none/a", "", 8, 0, 0, &r); /* the topic lived through it: its patterns were known, and are known anew */
    ck_assert_uint_eq(r.subscribers, 4);
    unsubscribe_from("none/a", false, 0, true);
    unsubscribe_from("none/a", false, 3, true);
    unsubscribe_from("none/b", false, 3, true);
    unsubscribe_from("**", true, 7, true);
    unsubscribe_from("none/a", true, 7, true);
    publish_as("none/a", "", 8, 0, 0, &r);
    ck_assert_uint_eq(r.subscribers, 0);
    ck_assert_uint_eq(stats().subscriptions, 0);
    ck_assert_uint_eq(stats().topics, 1); /* five/c */
}
END_TEST

START_TEST(only_reactors_that_want_a_message_get_it_and_once)
{
    uint64_t seqs[8];
    subscribe_to("none/a", false, 1, true);
    subscribe_to("none/a", false, 2, true);
    subscribe_to("none/*", true, 2, true);
    subscribe_to("one/**", true, 5, true);
    publish("none/a"); /* 1: to 1 and 2 */
    publish("none/b"); /* 2: to 2 */
    publish("one/x");  /* 3: to 5 */
    publish("many/x"); /* 4: to nobody */
    ck_assert(hub_has_mail(hub, 1) && hub_has_mail(hub, 2) && hub_has_mail(hub, 5));
    ck_assert(!hub_has_mail(hub, 0) && !hub_has_mail(hub, 7));
    ck_assert_uint_eq(drain(1, seqs, 8), 1);
    ck_assert_uint_eq(seqs[0], 1);
    ck_assert_uint_eq(drain(2, seqs, 8), 2);
    ck_assert_uint_eq(seqs[0], 1);
    ck_assert_uint_eq(seqs[1], 2);
    ck_assert_uint_eq(drain(5, seqs, 8), 1);
    ck_assert_uint_eq(seqs[0], 3);
    unsubscribe_from("none/a", false, 2, true);
    publish("none/a"); /* 5: to 1, and to 2 by its pattern */
    ck_assert_uint_eq(mail(1), 1);
    ck_assert_uint_eq(mail(2), 1);
    unsubscribe_from("none/*", true, 2, true);
    publish("none/a");
    ck_assert_uint_eq(mail(1), 1);
    ck_assert_uint_eq(mail(2), 0);
    unsubscribe_from("none/a", false, 1, true);
    unsubscribe_from("one/**", true, 5, true);
}
END_TEST

START_TEST(a_reactor_hears_a_topic_until_its_last_subscription)
{
    subscribe_to("none/a", false, 1, true);
    subscribe_to("none/a", false, 1, false);
    subscribe_to("x/*", true, 1, true);
    subscribe_to("x/*", true, 1, false);
    unsubscribe_from("none/a", false, 1, false);
    unsubscribe_from("x/*", true, 1, false);
    publish("none/a");
    publish("x/y");
    ck_assert_uint_eq(mail(1), 2);
    unsubscribe_from("none/a", false, 1, true);
    unsubscribe_from("x/*", true, 1, true);
    publish("none/a");
    publish("x/y");
    ck_assert_uint_eq(mail(1), 0);
}
END_TEST

START_TEST(a_pattern_that_comes_or_goes_counts_for_topics_that_live)
{
    subscribe_to("none/a", false, 0, true);
    publish("none/a");
    subscribe_to("none/**", true, 1, true);
    publish("none/a");
    ck_assert_uint_eq(mail(1), 1);
    unsubscribe_from("none/**", true, 1, true);
    publish("none/a");
    subscribe_to("*/a", true, 1, true);
    publish("none/a");
    ck_assert_uint_eq(mail(1), 1);
    ck_assert_uint_eq(mail(0), 4);
    unsubscribe_from("*/a", true, 1, true);
    unsubscribe_from("none/a", false, 0, true);
}
END_TEST

START_TEST(a_subscription_begins_after_the_head)
{
    uint64_t seqs[4];
    ck_assert_uint_eq(subscribe_to("none/a", false, 0, true), 0);
    publish("none/a");
    ck_assert_uint_eq(subscribe_to("none/*", true, 1, true), 1);
    publish("none/a");
    ck_assert_uint_eq(drain(1, seqs, 4), 1);
    ck_assert_uint_eq(seqs[0], 2);
    ck_assert_uint_eq(mail(0), 2);
    unsubscribe_from("none/a", false, 0, true);
    unsubscribe_from("none/*", true, 1, true);
}
END_TEST

/* ---- waking */

static struct {
    struct hub *hub;
    unsigned count;
} woken[REACTORS];

static void on_wake(void *ctx)
{
    unsigned i = (unsigned)(uintptr_t)ctx;
    hub_head(hub); /* takes the lock: a hub that calls with it stands still here */
    woken[i].count++;
}

static void watch_wakes(void)
{
    for (unsigned i = 0; i < REACTORS; i++) {
        woken[i].count = 0;
        hub_set_wake(hub, i, on_wake, (void *)(uintptr_t)i);
    }
}

static void publish_from(const char *topic, unsigned from)
{
    struct hub_receipt r;
    HOLDS(publish_as(topic, "", 8, 0, from, &r) == 0);
}

START_TEST(a_reactor_is_woken_by_others_when_its_inbox_was_empty)
{
    watch_wakes();
    for (unsigned i = 1; i <= 3; i++)
        subscribe_to("none/a", false, i, true);
    publish_from("none/a", 1);
    ck_assert_uint_eq(woken[0].count, 0); /* not interested */
    ck_assert_uint_eq(woken[1].count, 0); /* it is awake: it publishes */
    ck_assert_uint_eq(woken[2].count, 1);
    ck_assert_uint_eq(woken[3].count, 1);
    ck_assert_uint_eq(mail(3), 1);
    publish_from("none/a", 0);
    ck_assert_uint_eq(woken[1].count, 0); /* it has mail, and looks before it sleeps */
    ck_assert_uint_eq(woken[2].count, 1); /* it was woken, and has not come yet */
    ck_assert_uint_eq(woken[3].count, 2);
    ck_assert_uint_eq(mail(1), 2);
    publish_from("none/a", 0);
    ck_assert_uint_eq(woken[1].count, 1);
    for (unsigned i = 1; i <= 3; i++) {
        mail(i);
        unsubscribe_from("none/a", false, i, true);
    }
}
END_TEST

START_TEST(sixty_four_reactors_are_all_served)
{
    hub_free(hub);
    hub = hub_new(&plenty, rules, HUB_MAX_REACTORS, EPOCH);
    for (unsigned i = 0; i < HUB_MAX_REACTORS; i++)
        subscribe_to(i % 2 == 0 ? "none/a" : "none/*", i % 2 == 1, i, true);
    publish_from("none/a", 63);
    for (unsigned i = 0; i < HUB_MAX_REACTORS; i++) {
        ck_assert_uint_eq(mail(i), 1);
        unsubscribe_from(i % 2 == 0 ? "none/a" : "none/*", i % 2 == 1, i, true);
    }
}
END_TEST

START_TEST(an_inbox_over_its_limit_is_congestion_until_half_of_it_is_taken)
{
    struct hub_limits limits = plenty;
    limits.inbox_bytes = 10 * memory_of("none/a", 8);
    restart(limits);
    watch_wakes();
    subscribe_to("none/a", false, 2, true);
    for (int i = 0; i < 10; i++)
        publish("none/a");
    ck_assert(!hub_is_congested(hub));
    publish("none/a");
    ck_assert(hub_is_congested(hub));
    watch_wakes();
    struct message *out[16];
    for (int left = 11; left > 0; left--) {
        ck_assert_int_eq(hub_is_congested(hub), left > 5);
        for (unsigned i = 0; i < REACTORS; i++) /* all of them, for any may have stopped reading publishers */
            ck_assert_uint_eq(woken[i].count, left > 5 ? 0 : 1);
        ck_assert_uint_eq(hub_take(hub, 2, out, 1), 1);
        message_unref(out[0]);
    }
    unsubscribe_from("none/a", false, 2, true);
}
END_TEST

START_TEST(congestion_ends_with_the_last_inbox_that_is_over)
{
    struct hub_limits limits = plenty;
    limits.inbox_bytes = 100;
    restart(limits);
    subscribe_to("none/a", false, 2, true);
    subscribe_to("none/a", false, 3, true);
    publish("none/a");
    publish("none/a");
    watch_wakes();
    ck_assert(hub_is_congested(hub));
    mail(3);
    ck_assert(hub_is_congested(hub));
    ck_assert_uint_eq(woken[0].count, 0);
    mail(2);
    ck_assert(!hub_is_congested(hub));
    ck_assert_uint_eq(woken[0].count, 1);
    unsubscribe_from("none/a", false, 2, true);
    unsubscribe_from("none/a", false, 3, true);
}
END_TEST

/* ---- looking */

struct seen {
    unsigned count[500];
    unsigned in_slice;
    struct hub_topic_info last;
};

static void on_topic(const struct hub_topic_info *info, void *ctx)
{
    struct seen *seen = ctx;
    HOLDS(strlen(info->name) == info->name_len);
    seen->count[atoi(strchr(info->name, '/') + 1)]++;
    seen->in_slice++;
    seen->last = *info;
}

START_TEST(every_living_topic_is_seen_in_bounded_slices)
{
    static struct seen seen;
    uint64_t cursor = 0;
    char topic[32];
    for (int i = 0; i < 500; i++) {
        snprintf(topic, sizeof topic, "five/%d", i);
        publish(topic);
    }
    for (bool more = true; more;) {
        seen.in_slice = 0;
        more = hub_scan_topics(hub, &cursor, on_topic, &seen);
        ck_assert_uint_le(seen.in_slice, 400);
    }
    for (int i = 0; i < 500; i++)
        HOLDS(seen.count[i] == 1);
}
END_TEST

START_TEST(a_topic_tells_its_subscribers_history_and_newest_seq)
{
    struct seen seen = { .count = { 0 } };
    uint64_t cursor = 0;
    publish("none/x");
    subscribe_to("three/1", false, 0, true);
    while (hub_scan_topics(hub, &cursor, on_topic, &seen))
        continue;
    ck_assert_str_eq(seen.last.name, "three/1");
    ck_assert_uint_eq(seen.last.subscribers, 1);
    ck_assert_uint_eq(seen.last.history, 0);
    ck_assert_uint_eq(seen.last.seq, 0);
    for (int i = 0; i < 5; i++)
        publish("three/1");
    publish("none/x");
    subscribe_to("three/1", false, 3, true);
    cursor = 0;
    while (hub_scan_topics(hub, &cursor, on_topic, &seen))
        continue;
    ck_assert_uint_eq(seen.last.subscribers, 2);
    ck_assert_uint_eq(seen.last.history, 3);
    ck_assert_uint_eq(seen.last.seq, 6);
    unsubscribe_from("three/1", false, 0, true);
    unsubscribe_from("three/1", false, 3, true);
}
END_TEST

START_TEST(the_hub_has_its_rules_and_epoch)
{
    struct rules *r = hub_rules(hub);
    ck_assert_ptr_eq(r, rules);
    rules_unref(r);
    ck_assert_str_eq(hub_epoch(hub), EPOCH);
    hub_free(NULL);
}
END_TEST

START_TEST(a_hub_that_ends_lets_go_of_everything) /* a sanitizer looks after it */
{
    subscribe_to("none/*", true, 0, true);
    publish("none/a");
    publish("five/a");
    struct hub_receipt r;
    publish_as("five/b", "key", 8, 0, 0, &r);
    unsubscribe_from("none/*", true, 0, true);
}
END_TEST

/* ---- many threads
 *
 * Publishers on reactors of their own; takers that subscribe and unsubscribe at random, and sleep until they are woken.
 * What a taker has to see follows from what the publishers were told: each message with a seq above the S of a
 * subscription and up to the head before its end. */

#define PUBLISHERS 4
#define TAKERS 4
#define TOPICS 6
#define RUN_MS 400
#define MAX_MESSAGES 60000 /* of one publisher */
#define MAX_SPANS 20000    /* subscriptions of one taker */

static const char *const names[] = { /* topics, then patterns */
                                     "none/0", "none/1", "five/2",  "five/3", "last/4",
                                     "own/5",  "none/*", "five/**", "*/4",    "**"
};
#define NAMES HLY_ARRAY_LEN(names)

struct span {
    unsigned name;
    uint64_t from_seq; /* S */
    uint64_t sure;     /* the head before it ended */
    uint64_t at_most;  /* the head after it */
};

struct taker {
    pthread_t thread;
    unsigned reactor;
    sem_t wake;
    uint64_t random;
    struct span *spans;
    size_t span_count;
    uint64_t *seqs;
    size_t seq_count;
    unsigned subscribed[NAMES]; /* index of the open span + 1 */
};

struct publisher {
    pthread_t thread;
    unsigned reactor;
    uint64_t random;
    struct {
        uint64_t seq;
        uint8_t topic;
    } * log;
    size_t count;
};

static _Atomic bool stop_publishing, stop_taking;
static _Atomic unsigned next_key;
static _Atomic uint64_t once_seqs[10000];  /* of each key's first receipt */
static _Atomic unsigned once_count[10000]; /* and how often it was a first */

static uint32_t random_below(uint64_t *state, uint32_t n)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 33) % n;
}

static void on_taker_wake(void *ctx)
{
    sem_post(ctx);
}

static void publish_once(struct publisher *p)
{
    char key[16];
    struct hub_receipt r;
    unsigned k = atomic_fetch_add(&next_key, 1) / PUBLISHERS; /* each key goes to about as many publishers */
    if (k >= HLY_ARRAY_LEN(once_seqs))
        return;
    snprintf(key, sizeof key, "%u", k);
    HOLDS(publish_as("$once", key, 0, clock_mono_ms(), p->reactor, &r) == 0);
    uint64_t none = 0;
    HOLDS(atomic_compare_exchange_strong(&once_seqs[k], &none, r.seq) || none == r.seq);
    HOLDS(r.repeated || atomic_fetch_add(&once_count[k], 1) == 0);
}

static void publish_own(struct publisher *p)
{
    char topic[16];
    uint64_t seqs[4];
    struct hub_receipt r;
    snprintf(topic, sizeof topic, "$own/%u", p->reactor);
    HOLDS(publish_as(topic, "", 4, clock_mono_ms(), p->reactor, &r) == 0);
    HOLDS(history_of(topic, r.seq - 1, seqs, 4) == 1 && seqs[0] == r.seq);
}

static void *publish_all(void *ctx)
{
    struct publisher *p = ctx;
    uint64_t last = 0;
    while (p->count < MAX_MESSAGES && !atomic_load(&stop_publishing)) {
        if (hub_is_congested(hub)) {
            sched_yield();
            continue;
        }
        uint32_t topic = random_below(&p->random, TOPICS);
        struct hub_receipt r;
        HOLDS(publish_as(names[topic], "", random_below(&p->random, 40), clock_mono_ms(), p->reactor, &r) == 0);
        HOLDS(r.seq > last);
        last = r.seq;
        p->log[p->count].topic = (uint8_t)topic;
        p->log[p->count++].seq = r.seq;
        if (p->count % 16 == 0) {
            publish_once(p);
            publish_own(p);
        }
    }
    return NULL;
}

static void taker_begin(struct taker *t, unsigned name)
{
    if (t->span_count == MAX_SPANS)
        return;
    struct span *s = &t->spans[t->span_count++];
    *s = (struct span){ .name = name };
    HOLDS(hub_subscribe(hub, TEXT(names[name]), name >= TOPICS, t->reactor, true, &s->from_seq) == 0);
    t->subscribed[name] = (unsigned)t->span_count;
}

static void taker_end(struct taker *t, unsigned name)
{
    struct span *s = &t->spans[t->subscribed[name] - 1];
    t->subscribed[name] = 0;
    s->sure = hub_head(hub);
    hub_unsubscribe(hub, TEXT(names[name]), name >= TOPICS, t->reactor, true);
    s->at_most = hub_head(hub);
}

static size_t taker_take(struct taker *t)
{
    struct message *out[64];
    size_t n = hub_take(hub, t->reactor, out, 1 + random_below(&t->random, 64));
    for (size_t i = 0; i < n; i++) {
        HOLDS(t->seq_count == 0 || t->seqs[t->seq_count - 1] < out[i]->seq);
        HOLDS(t->seq_count < PUBLISHERS * MAX_MESSAGES);
        t->seqs[t->seq_count++] = out[i]->seq;
        message_unref(out[i]);
    }
    return n;
}

static void *take_all(void *ctx)
{
    struct taker *t = ctx;
    while (!atomic_load(&stop_taking)) {
        unsigned name = random_below(&t->random, NAMES);
        if (t->subscribed[name] == 0)
            taker_begin(t, name);
        else if (random_below(&t->random, 3) == 0)
            taker_end(t, name);
        for (unsigned n = random_below(&t->random, 4); n > 0; n--)
            taker_take(t);
        if (!hub_has_mail(hub, t->reactor)) {
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += 2000000; /* it must not wait for a message to subscribe again */
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            sem_timedwait(&t->wake, &until);
        }
    }
    for (unsigned name = 0; name < NAMES; name++)
        if (t->subscribed[name] != 0)
            taker_end(t, name);
    while (taker_take(t) > 0)
        continue;
    return NULL;
}

static uint8_t *topic_of; /* by seq: topic + 1; 0: none of these */
static uint64_t last_seq;

static void map_seqs(struct publisher *publishers)
{
    last_seq = hub_head(hub);
    topic_of = calloc(last_seq + 1, 1);
    for (int i = 0; i < PUBLISHERS; i++) {
        for (size_t n = 0; n < publishers[i].count; n++) {
            uint64_t seq = publishers[i].log[n].seq;
            HOLDS(seq <= last_seq && topic_of[seq] == 0); /* no seq is given twice */
            topic_of[seq] = (uint8_t)(publishers[i].log[n].topic + 1);
        }
    }
}

static bool span_matches(const struct span *s, uint64_t seq)
{
    if (topic_of[seq] == 0)
        return false;
    const char *topic = names[topic_of[seq] - 1];
    return pattern_matches(names[s->name], strlen(names[s->name]), topic, strlen(topic));
}

static size_t check_taker(const struct taker *t)
{
    uint8_t *due = calloc(last_seq + 1, 1); /* 1: may be had, 2: must be had */
    size_t sure = 0;
    for (size_t i = 0; i < t->span_count; i++) {
        const struct span *s = &t->spans[i];
        for (uint64_t seq = s->from_seq + 1; seq <= s->at_most; seq++)
            if (span_matches(s, seq))
                due[seq] |= seq <= s->sure ? 3 : 1;
    }
    size_t at = 0;
    for (uint64_t seq = 1; seq <= last_seq; seq++) {
        bool had = at < t->seq_count && t->seqs[at] == seq;
        at += had;
        if ((due[seq] & 2) != 0 && !had)
            ck_abort_msg("reactor %u: message %" PRIu64 " to %s is missing", t->reactor, seq, names[topic_of[seq] - 1]);
        if (had && due[seq] == 0)
            ck_abort_msg("reactor %u: message %" PRIu64 " is not for it", t->reactor, seq);
        sure += (due[seq] & 2) != 0;
    }
    HOLDS(at == t->seq_count);
    free(due);
    return sure;
}

static void look_on(uint64_t until_ms) /* meanwhile, what else goes on in a server */
{
    uint64_t cursor = 0;
    struct cursor c = { EPOCH, 1 };
    while (clock_mono_ms() < until_ms) {
        struct timespec pause = { 0, 1000000 };
        nanosleep(&pause, NULL);
        static struct seen seen;
        hub_expire(hub, clock_mono_ms());
        hub_scan_topics(hub, &cursor, on_topic, &seen);
        cursor_is_good("five/2", &c);
        kept("five/2");
        kept("own/5");
        stats();
    }
}

START_TEST(takers_see_in_order_all_that_came_while_they_were_subscribed)
{
    static struct publisher publishers[PUBLISHERS];
    static struct taker takers[TAKERS];
    struct rule more[RULES + 2];
    memcpy(more, rule_list, sizeof rule_list);
    more[RULES] = (struct rule){ .pattern = { "$own/*", 6 }, .history = 4 };
    more[RULES + 1] = (struct rule){ .pattern = { "own/*", 5 }, .history = 100, .history_ttl_ms = 20 };
    rules_unref(rules);
    rules = rules_new(more, RULES + 2);
    struct hub_limits limits = plenty;
    limits.inbox_bytes = 20000;
    limits.history_bytes = 30000;
    limits.keys = 100000;
    limits.key_window_ms = 60000;
    restart(limits);
    seed_random();
    for (unsigned i = 0; i < TAKERS; i++) {
        struct taker *t = &takers[i];
        *t = (struct taker){ .reactor = i, .random = rng + i + 1 };
        t->spans = malloc(MAX_SPANS * sizeof *t->spans);
        t->seqs = malloc(PUBLISHERS * MAX_MESSAGES * sizeof *t->seqs);
        sem_init(&t->wake, 0, 0);
        hub_set_wake(hub, i, on_taker_wake, &t->wake);
    }
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        publishers[i] = (struct publisher){ .reactor = TAKERS + i, .random = rng + 100 + i };
        publishers[i].log = malloc(MAX_MESSAGES * sizeof *publishers[i].log);
    }
    uint64_t until = clock_mono_ms() + RUN_MS;
    for (int i = 0; i < TAKERS; i++)
        HOLDS(pthread_create(&takers[i].thread, NULL, take_all, &takers[i]) == 0);
    for (int i = 0; i < PUBLISHERS; i++)
        HOLDS(pthread_create(&publishers[i].thread, NULL, publish_all, &publishers[i]) == 0);
    look_on(until);
    atomic_store(&stop_publishing, true);
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_join(publishers[i].thread, NULL);
    atomic_store(&stop_taking, true);
    size_t sure = 0, spans = 0;
    for (int i = 0; i < TAKERS; i++)
        pthread_join(takers[i].thread, NULL);
    map_seqs(publishers);
    for (int i = 0; i < TAKERS; i++) {
        sure += check_taker(&takers[i]);
        spans += takers[i].span_count;
        free(takers[i].spans);
        free(takers[i].seqs);
        sem_destroy(&takers[i].wake);
    }
    printf("%" PRIu64 " messages, %zu subscriptions, %zu deliveries that had to be\n", last_seq, spans, sure);
    ck_assert_uint_gt(last_seq, 200); /* else it has tested nothing */
    ck_assert_uint_gt(sure, 100);
    ck_assert(!hub_is_congested(hub));
    for (int i = 0; i < PUBLISHERS; i++)
        free(publishers[i].log);
    free(topic_of);
}
END_TEST

/* A wake that is forgotten leaves a message lying until somebody publishes again. */
static void *take_until_stopped(void *ctx)
{
    struct taker *t = ctx;
    while (!atomic_load(&stop_taking)) {
        struct message *out[8];
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 10;
        if (sem_timedwait(&t->wake, &until) < 0)
            break;
        for (size_t n; (n = hub_take(hub, t->reactor, out, 8)) > 0; t->seq_count += n)
            for (size_t i = 0; i < n; i++)
                message_unref(out[i]);
        sem_post((sem_t *)t->seqs);
    }
    return NULL;
}

START_TEST(a_sleeping_reactor_is_woken_for_every_message)
{
    sem_t answered;
    struct taker t = { .reactor = 3, .seqs = (uint64_t *)&answered };
    sem_init(&t.wake, 0, 0);
    sem_init(&answered, 0, 0);
    atomic_store(&stop_taking, false);
    hub_set_wake(hub, 3, on_taker_wake, &t.wake);
    subscribe_to("none/a", false, 3, true);
    HOLDS(pthread_create(&t.thread, NULL, take_until_stopped, &t) == 0);
    for (int i = 0; i < 2000; i++) {
        publish("none/a");
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 5;
        HOLDS(sem_timedwait(&answered, &until) == 0);
    }
    atomic_store(&stop_taking, true);
    sem_post(&t.wake);
    pthread_join(t.thread, NULL);
    ck_assert_uint_eq(t.seq_count, 2000);
    unsubscribe_from("none/a", false, 3, true);
    sem_destroy(&t.wake);
    sem_destroy(&answered);
}
END_TEST

static void add_history_tests(TCase *t)
{
    tcase_add_test(t, seqs_are_one_order_over_all_topics);
    tcase_add_test(t, a_message_is_in_history_when_its_receipt_is_had);
    tcase_add_test(t, history_is_given_from_the_oldest_and_after_a_seq);
    tcase_add_test(t, history_keeps_as_many_as_its_rule_says);
    tcase_add_test(t, a_cursor_is_good_within_its_epoch_up_to_the_head);
    tcase_add_test(t, all_that_there_is_is_always_a_good_cursor);
    tcase_add_test(t, a_topic_knows_how_many_messages_it_keeps);
    tcase_add_test(t, what_falls_out_of_a_full_history_moves_the_mark);
    tcase_add_test(t, a_topic_that_keeps_nothing_loses_each_message);
    tcase_add_loop_test(t, a_topic_that_died_and_came_back_remembers_what_it_lost, 0, RULES);
    tcase_add_test(t, a_new_topic_does_not_know_what_others_under_its_rule_lost_later);
    tcase_add_test(t, a_topic_without_a_rule_keeps_nothing_and_says_so);
    tcase_add_test(t, over_the_limit_the_oldest_of_all_topics_go);
    tcase_add_test(t, a_topic_whose_last_message_was_evicted_ends);
    tcase_add_test(t, a_message_over_the_whole_limit_is_lost_with_what_was_before_it);
    tcase_add_test(t, a_topic_that_could_keep_nothing_does_not_live);
    tcase_add_test(t, a_great_message_makes_room_for_itself_among_many_small_ones);
    tcase_add_test(t, figures_of_history_are_exact_whatever_happens);
    tcase_add_test(t, a_message_goes_when_it_is_older_than_its_rule_allows);
    tcase_add_test(t, a_topic_ends_with_its_last_message_and_the_horizon_moves);
    tcase_add_test(t, a_walk_ends_what_is_over_however_many_there_are);
    tcase_add_test(t, one_slice_of_expiry_lets_go_of_about_a_thousand);
}

static void add_subscribing_tests(TCase *t)
{
    tcase_add_test(t, over_limits_topics_new_topics_are_refused_without_a_trace);
    tcase_add_test(t, over_limits_patterns_new_patterns_are_refused_without_a_trace);
    tcase_add_test(t, a_key_makes_a_publish_happen_once);
    tcase_add_test(t, after_the_window_a_key_is_new);
    tcase_add_test(t, a_key_is_one_of_its_topic);
    tcase_add_test(t, keys_are_no_more_than_limits_keys);
    tcase_add_test(t, subscribers_are_exact_and_matching_patterns_of_all_reactors);
    tcase_add_test(t, only_reactors_that_want_a_message_get_it_and_once);
    tcase_add_test(t, a_reactor_hears_a_topic_until_its_last_subscription);
    tcase_add_test(t, a_pattern_that_comes_or_goes_counts_for_topics_that_live);
    tcase_add_test(t, a_subscription_begins_after_the_head);
    tcase_add_test(t, a_reactor_is_woken_by_others_when_its_inbox_was_empty);
    tcase_add_test(t, sixty_four_reactors_are_all_served);
    tcase_add_test(t, an_inbox_over_its_limit_is_congestion_until_half_of_it_is_taken);
    tcase_add_test(t, congestion_ends_with_the_last_inbox_that_is_over);
    tcase_add_test(t, every_living_topic_is_seen_in_bounded_slices);
    tcase_add_test(t, a_topic_tells_its_subscribers_history_and_newest_seq);
    tcase_add_test(t, the_hub_has_its_rules_and_epoch);
    tcase_add_test(t, a_hub_that_ends_lets_go_of_everything);
    tcase_add_test(t, takers_see_in_order_all_that_came_while_they_were_subscribed);
    tcase_add_test(t, a_sleeping_reactor_is_woken_for_every_message);
}

int main(void)
{
    Suite *s = suite_create("hub");
    TCase *t = tcase_create("hub");
    tcase_add_checked_fixture(t, setup, teardown);
    add_history_tests(t);
    add_subscribing_tests(t);
    suite_add_tcase(s, t);
    return run_suite(s);
}
