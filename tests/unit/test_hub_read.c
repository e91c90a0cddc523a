#include "core/hub.h"

#include "base/slice.h"
#include "core/hub_internal.h"
#include "core/topic_name.h"
#include "support.h"

#define EPOCH "k3f9abcd"
#define MAX_SEQ 5000
#define MAX_NAMES 24

enum { R_MANY, R_THREE, R_TTL, R_NONE, R_SUB, RULES };

static const struct rule rule_list[RULES] = {
    [R_MANY] = { .pattern = { "many/**", 7 }, .subscribe = RULE_ANYONE, .history = 1000000 },
    [R_THREE] = { .pattern = { "three/**", 8 }, .subscribe = RULE_ANYONE, .history = 3 },
    [R_TTL] = { .pattern = { "ttl/**", 6 }, .subscribe = RULE_ANYONE, .history = 1000000, .history_ttl_ms = 1000 },
    [R_NONE] = { .pattern = { "none/**", 7 }, .subscribe = RULE_ANYONE },
    [R_SUB] = { .pattern = { "user/{sub}/**", 13 }, .subscribe = RULE_TOKEN, .history = 3 },
};

static struct rules *rules;
static struct hub *hub;
static const struct hub_limits plenty = {
    .topics = 100000, .patterns = 1000, .history_bytes = 1u << 30, .inbox_bytes = 1u << 30
};

static void restart(struct hub_limits limits)
{
    hub_free(hub);
    hub = hub_new(&limits, rules, 1, EPOCH);
    ck_assert_ptr_nonnull(hub);
}

static void setup(void)
{
    rules = rules_new(rule_list, RULES);
    restart(plenty);
}

static void teardown(void)
{
    hub_free(hub);
    hub = NULL;
    rules_unref(rules);
}

/* ---- short ways to say things */

static uint64_t publish_as(const char *topic, uint32_t payload_len, uint64_t now_ms)
{
    HLY_CLEANUP(message_unrefp) struct message *m = message_new(topic, strlen(topic), NULL, payload_len);
    struct hub_receipt r;
    memset(message_payload(m), 'x', payload_len);
    m->born_ms = now_ms;
    HOLDS(hub_publish(hub, m, SLICE_LIT(""), 0, &r) == 0);
    return r.seq;
}

static uint64_t publish(const char *topic)
{
    return publish_as(topic, 8, 0);
}

static void publish_times(const char *topic, int n)
{
    while (n-- > 0)
        publish(topic);
}

static void expire_all(uint64_t now_ms)
{
    while (hub_expire(hub, now_ms))
        ;
}

/* Names are patterns if they have a wildcard; "=name" is a pattern without one. NULL ends them. */
struct want {
    struct hub_name names[MAX_NAMES];
    size_t count;
};

static struct want want(const char *const *names)
{
    struct want w = { 0 };
    for (; names[w.count] != NULL; w.count++) {
        const char *n = names[w.count];
        bool is_pattern = n[0] == '=' || topic_name_is_pattern(n, strlen(n));
        w.names[w.count] = (struct hub_name){ TEXT(n + (n[0] == '=')), is_pattern, 0 };
    }
    return w;
}

#define WANT(...) want((const char *const[]){ __VA_ARGS__, NULL })

static bool is_wanted(const struct want *w, const char *topic)
{
    for (size_t i = 0; i < w->count; i++) {
        struct slice n = w->names[i].name;
        if (w->names[i].is_pattern ? pattern_matches(n.ptr, n.len, topic, strlen(topic)) : slice_equals(n, topic))
            return true;
    }
    return false;
}

struct all { /* what a reader got until it was level */
    uint64_t seqs[MAX_SEQ];
    size_t count;
    unsigned gaps;
    unsigned slices;
};

static struct all all;

/* One slice; what it must be whatever is read is checked here. */
static bool read_slice(struct want *w, struct hub_reader *r)
{
    struct hub_read ret;
    uint64_t before = r->pos, last = before, bytes = 0;
    hub_read(hub, w->names, w->count, r, &ret);
    HOLDS(ret.count <= HUB_READ_MAX && (ret.is_level || r->pos >= before));
    HOLDS(!ret.is_level || r->pos == hub_head(hub));
    for (size_t i = 0; i < ret.count; i++) {
        struct message *m = ret.messages[i];
        HOLDS(m->seq > last && m->seq <= r->pos);
        HOLDS(bytes < HUB_READ_BYTES); /* the one before it did not fill the slice */
        last = m->seq;
        bytes += m->payload_len;
        all.seqs[all.count++] = m->seq;
        message_unref(m);
    }
    HOLDS(ret.bytes == bytes);
    HOLDS(ret.is_level || r->pos > before); /* each slice gets on */
    all.gaps += ret.gap != HUB_GAP_NONE;
    all.slices++;
    return !ret.is_level;
}

static void read_all(struct want w, struct hub_reader *r)
{
    all.count = all.gaps = all.slices = 0;
    while (read_slice(&w, r))
        HOLDS(all.slices < 2 * MAX_SEQ);
}

static void read_after(struct want w, uint64_t after)
{
    struct hub_reader r = { .pos = after };
    read_all(w, &r);
}

static void assert_read(const char *what, unsigned gaps, const uint64_t *seqs, size_t count)
{
    ck_assert_msg(all.gaps == gaps, "%s: %u gaps", what, all.gaps);
    ck_assert_msg(all.count == count, "%s: %zu messages, not %zu", what, all.count, count);
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(all.seqs[i] == seqs[i], "%s: [%zu] is %" PRIu64, what, i, all.seqs[i]);
}

#define SEQS(...) (const uint64_t[]){ __VA_ARGS__ }, sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t)
#define NONE NULL, 0

/* ---- what is read */

START_TEST(names_of_every_kind_are_merged_in_order_each_message_once)
{
    static const char *const order[] = { "many/a", "many/b",  "none/x",   "many/c",
                                         "many/a", "three/a", "many/a/b", "many/b" };
    for (size_t i = 0; i < HLY_ARRAY_LEN(order); i++)
        publish(order[i]);
    read_after(WANT("many/a"), 0);
    assert_read("one topic", 0, SEQS(1, 5));
    read_after(WANT("many/b", "many/a", "many/none", "three/a"), 0);
    assert_read("topics", 0, SEQS(1, 2, 5, 6, 8));
    read_after(WANT("many/a", "many/b", "many/a"), 0);
    assert_read("a topic that is named twice", 0, SEQS(1, 2, 5, 8));
    read_after(WANT("many/*"), 0);
    assert_read("a pattern", 0, SEQS(1, 2, 4, 5, 8));
    read_after(WANT("many/**", "many/*"), 0);
    assert_read("patterns that overlap", 0, SEQS(1, 2, 4, 5, 7, 8));
    read_after(WANT("many/a", "many/*", "=many/a"), 0);
    assert_read("a topic in a pattern, and as a pattern", 0, SEQS(1, 2, 4, 5, 8));
    read_after(WANT("=many/a"), 0);
    assert_read("a plain name as a pattern", 0, SEQS(1, 5));
    read_after(WANT("three/a", "many/b*"), 1);
    assert_read("both, from a place", 0, SEQS(2, 6, 8));
    read_after(WANT("many/zzz", "three/z*"), 0);
    assert_read("nothing of the kind", 0, NONE);
}
END_TEST

START_TEST(names_that_begin_with_a_dollar_match_no_wildcard)
{
    publish("many/a");
    publish("$halley/x");
    read_after(WANT("many/**"), 0);
    assert_read("many/**", 0, SEQS(1));
    read_after(WANT("**"), 0);
    ck_assert_uint_eq(all.count, 1);
    read_after(WANT("=$halley/x"), 0);
    assert_read("it was not kept", 1, NONE);
}
END_TEST

START_TEST(no_names_are_level_at_once)
{
    publish("many/a");
    read_after((struct want){ 0 }, 0);
    assert_read("nobody", 0, NONE);
    ck_assert_uint_eq(all.slices, 1);
}
END_TEST

START_TEST(a_slice_is_bounded_in_messages)
{
    publish_times("many/a", 3 * HUB_READ_MAX);
    static const char *const names[] = { "many/a", "many/*" };
    for (size_t i = 0; i < 2; i++) {
        struct hub_reader r = { 0 };
        struct want w = WANT(names[i]);
        all.count = 0;
        HOLDS(read_slice(&w, &r));
        ck_assert_uint_eq(all.count, HUB_READ_MAX);
        ck_assert_uint_eq(r.pos, HUB_READ_MAX);
        read_after(w, 0);
        ck_assert_uint_eq(all.count, 3 * HUB_READ_MAX);
        ck_assert_uint_le(all.slices, 4);
    }
}
END_TEST

START_TEST(a_slice_is_bounded_in_bytes_but_has_one_message_of_any_size)
{
    static const uint32_t sizes[] = { 1, HUB_READ_BYTES - 1, 1, HUB_READ_BYTES, 5, 3 * HUB_READ_BYTES, 1 };
    static const size_t counts[] = { 2, 2, 2, 1 }; /* of messages in each slice */
    for (size_t i = 0; i < HLY_ARRAY_LEN(sizes); i++)
        publish_as("many/a", sizes[i], 0);
    static const char *const names[] = { "many/a", "many/*" };
    for (size_t i = 0; i < 2; i++) {
        struct hub_reader r = { 0 };
        struct want w = WANT(names[i]);
        for (size_t slice = 0; slice < HLY_ARRAY_LEN(counts); slice++) {
            all.count = 0;
            read_slice(&w, &r);
            ck_assert_msg(all.count == counts[slice], "%s, slice %zu: %zu", names[i], slice, all.count);
        }
        HOLDS(all.seqs[0] == HLY_ARRAY_LEN(sizes));
    }
}
END_TEST

START_TEST(a_pattern_that_matches_nothing_gets_on_in_slices_of_bounded_work)
{
    publish_times("many/a", 4000);
    struct hub_reader r = { 0 };
    read_all(WANT("many/zzz*"), &r);
    ck_assert_uint_eq(all.count, 0);
    ck_assert_uint_ge(all.slices, 4);
    ck_assert_uint_le(all.slices, 12);
    ck_assert_uint_eq(r.pos, 4000);
}
END_TEST

START_TEST(a_reader_at_the_head_or_beyond_it_is_level)
{
    publish_times("many/a", 5);
    static const uint64_t from[] = { 5, 6, 1000, UINT64_MAX - 1, UINT64_MAX };
    for (size_t i = 0; i < HLY_ARRAY_LEN(from); i++) {
        struct hub_reader r = { .pos = from[i] };
        read_all(WANT("many/a"), &r);
        assert_read("topic", 0, NONE);
        ck_assert_uint_eq(r.pos, 5);
        r = (struct hub_reader){ .pos = from[i] };
        read_all(WANT("many/*"), &r);
        assert_read("pattern", 0, NONE);
        ck_assert_uint_eq(r.pos, 5);
    }
    publish("many/a");
    struct hub_reader r = { .pos = 5 };
    read_all(WANT("many/*"), &r);
    assert_read("one more", 0, SEQS(6));
}
END_TEST

/* ---- gaps */

START_TEST(a_mark_above_the_place_is_a_gap_and_one_below_it_is_none)
{
    publish_times("three/a", 5); /* 1 and 2 have gone */
    for (uint64_t after = 0; after <= 5; after++) {
        read_after(WANT("three/a"), after);
        ck_assert_msg(all.gaps == (after < 2), "topic after %" PRIu64, after);
        read_after(WANT("three/*"), after);
        ck_assert_msg(all.gaps == (after < 2), "pattern after %" PRIu64, after);
        read_after(WANT("many/a", "three/a", "many/*"), after);
        ck_assert_msg(all.gaps == (after < 2), "among others after %" PRIu64, after);
    }
}
END_TEST

START_TEST(what_others_lose_is_no_gap)
{
    publish_times("many/a", 2);
    publish_times("three/a", 10);
    publish_times("none/x", 2); /* dead: its rule remembers */
    publish("no rule");
    static const char *const fine[] = { "many/a", "many/*", "many/**", "three/b", "three/b*", "many/none", "user/*/x" };
    for (size_t i = 0; i < HLY_ARRAY_LEN(fine); i++) {
        read_after(WANT(fine[i]), 0);
        ck_assert_msg(all.gaps == 0, "%s: a gap that is none", fine[i]);
    }
    static const char *const lossy[] = { "three/*", "three/a", "three/a*", "none/*", "none/x",
                                         "**",      "*/a",     "no rule",  "no*" };
    for (size_t i = 0; i < HLY_ARRAY_LEN(lossy); i++) {
        read_after(WANT(lossy[i]), 0);
        ck_assert_msg(all.gaps > 0, "%s: no gap", lossy[i]);
        read_after(WANT("many/a", lossy[i]), 0);
        ck_assert_msg(all.gaps > 0, "many/a and %s: no gap", lossy[i]);
        read_after(WANT(lossy[i]), hub_head(hub));
        ck_assert_msg(all.gaps == 0, "%s: a gap at the head", lossy[i]);
    }
}
END_TEST

START_TEST(a_topic_that_died_leaves_its_loss_to_its_rule)
{
    publish_as("ttl/a", 1, 0);
    publish_as("ttl/a", 1, 0);
    expire_all(5000);
    publish_as("ttl/b", 1, 5000); /* 3: alive, and begins at its rule's horizon */
    static const char *const names[] = { "ttl/a", "ttl/*", "ttl/b",
                                         "ttl/c" }; /* the last two are false: which one died is not known */
    for (size_t i = 0; i < HLY_ARRAY_LEN(names); i++) {
        for (uint64_t after = 0; after <= 3; after++) {
            read_after(WANT(names[i]), after);
            ck_assert_msg(all.gaps == (after < 2), "%s after %" PRIu64, names[i], after);
        }
    }
    publish_as("ttl/a", 1, 5000); /* 4: it comes back */
    read_after(WANT("ttl/a"), 1);
    assert_read("back, from before", 1, SEQS(4));
    read_after(WANT("ttl/a"), 2);
    assert_read("back, from the mark", 0, SEQS(4));
}
END_TEST

START_TEST(a_gap_is_told_once)
{
    static const char *const names[] = { "three/a", "three/*" };
    publish_times("three/a", 5);
    publish_times("three/b", 200);
    publish("three/a");
    for (size_t i = 0; i < 2; i++) {
        struct hub_reader r = { 0 };
        struct want w = WANT(names[i]);
        read_all(w, &r);
        ck_assert_uint_eq(all.gaps, 1);
        read_all(w, &r);
        assert_read("again", 0, NONE);
    }
}
END_TEST

/* Between two slices a message is lost that the reader has not had: by a full history, by age, by its topic's death. */
START_TEST(a_loss_between_two_slices_is_told)
{
    static const char *const readers[] = { "ttl/late", "ttl/*", "*/late", "ttl/late*" };
    for (size_t i = 0; i < HLY_ARRAY_LEN(readers); i++) {
        for (int other = 0; other < 3; other++) {
            struct want w = WANT(readers[i], "many/a");
            struct hub_reader r = { 0 };
            restart(plenty);
            publish_times("many/a", 100);
            publish_as("ttl/late", 1, 1000);
            if (other == 1) { /* the rule's horizon is above it already, from a topic that died before */
                publish_as("ttl/early", 1, 0);
                expire_all(1500);
            }
            publish_times("many/a", 100);
            all.count = all.gaps = 0;
            HOLDS(read_slice(&w, &r));
            ck_assert_msg(all.gaps == (i > 0 && other == 1), "%s, way %d: %u gaps before there is one", readers[i],
                          other, all.gaps);
            ck_assert_uint_lt(r.pos, 101);
            expire_all(5000); /* ttl/late dies */
            if (other == 2)
                publish_as("ttl/late", 1, 5000);
            all.gaps = 0;
            while (read_slice(&w, &r))
                ;
            ck_assert_msg(all.gaps == 1, "%s, way %d: %u gaps", readers[i], other, all.gaps);
        }
    }
}
END_TEST

START_TEST(a_loss_of_what_was_read_is_none)
{
    struct hub_reader r = { 0 };
    struct want w = WANT("three/a", "many/a");
    publish_times("three/a", 3);
    publish_times("many/a", 100);
    all.count = all.gaps = 0;
    HOLDS(read_slice(&w, &r)); /* the three and some of the others */
    publish_times("three/a", 3);
    while (read_slice(&w, &r))
        ;
    ck_assert_uint_eq(all.gaps, 0);
    ck_assert_uint_eq(all.count, 106);
}
END_TEST

START_TEST(what_is_forgiven_is_not_missed_but_what_came_later_is)
{
    static const char *const names[] = { "three/a", "three/*" };
    for (size_t i = 0; i < 2; i++) {
        restart(plenty);
        publish_times("three/a", 10);
        struct hub_reader r = { .forgiven = 10 };
        read_all(WANT(names[i]), &r);
        assert_read("all was there before", 0, SEQS(8, 9, 10));
        ck_assert_uint_eq(r.forgiven, 0);
        publish_times("three/a", 3);
        r = (struct hub_reader){ .forgiven = 10 };
        read_all(WANT(names[i]), &r);
        assert_read("10 was the last to go", 0, SEQS(11, 12, 13));
        publish("three/a");
        r = (struct hub_reader){ .forgiven = 10 };
        read_all(WANT(names[i]), &r);
        assert_read("11 has gone", 1, SEQS(12, 13, 14));
    }
}
END_TEST

/* Who comes back soon after is not told of a gap because of what a crowd of other topics lost long before. */
START_TEST(a_crowd_that_lost_before_the_place_is_no_gap)
{
    char topic[32];
    for (int i = 0; i < 3000; i++) {
        snprintf(topic, sizeof topic, "three/crowd/%d", i);
        publish_times(topic, 4);
    }
    uint64_t after = publish("three/mine");
    publish_times("three/busy", 5);
    publish("three/mine");
    read_after(WANT("three/m*"), after);
    ck_assert_uint_eq(all.gaps, 0);
    ck_assert_uint_eq(all.count, 1);
    read_after(WANT("three/b*"), after);
    ck_assert_uint_eq(all.gaps, 1);
    read_after(WANT("three/mine"), 0);
    ck_assert_uint_eq(all.gaps, 0);
    read_after(WANT("three/m*"), 0); /* more than a slice's number: it is only likely */
    ck_assert_uint_eq(all.gaps, 1);
}
END_TEST

/* A rule is asked only for topics that no rule before it has taken. */
START_TEST(a_rule_behind_one_that_covers_the_pattern_is_not_asked)
{
    publish("no rule");
    publish("$halley/x");
    publish_times("many/a", 2);
    read_after(WANT("many/*"), 0);
    assert_read("many/*", 0, SEQS(3, 4));
    read_after(WANT("user/*/inbox"), 0);
    assert_read("user/*/inbox", 0, NONE);
    read_after(WANT("m*/a"), 0); /* no rule covers it: it may have lost what has none */
    assert_read("m*/a", 1, SEQS(3, 4));
}
END_TEST

/* ---- the newest few */

/* Looks at the ring itself: what hub_read() is held against. */
static bool history_has(const char *topic, uint64_t seq)
{
    const struct topic *t = hub_topic_find(hub, topic, strlen(topic), hash_bytes(topic, strlen(topic)));
    if (t == NULL)
        return false;
    uint32_t i = history_find_after(&t->history, seq - 1);
    return i < t->history.count && history_at(&t->history, i)->seq == seq;
}

static uint64_t seek(struct want w, uint64_t before, uint64_t last, uint64_t *ret_found)
{
    uint64_t pos = before;
    int slices = 1;
    *ret_found = 0;
    while (!hub_seek_last(hub, w.names, w.count, last, &pos, ret_found))
        HOLDS(++slices < 10000);
    return pos;
}

START_TEST(the_newest_few_begin_where_they_say)
{
    for (int i = 0; i < 1200; i++)
        publish(i % 3 == 0 ? "many/a" : "many/b"); /* many/a: 1 4 7 ... 1198 */
    static const struct {
        const char *name;
        uint64_t before, last, want_pos, want_found;
    } cases[] = {
        { "many/a", UINT64_MAX, 0, 1200, 0 },
        { "many/a", UINT64_MAX, 1, 1197, 1 },
        { "many/a", UINT64_MAX, 2, 1194, 2 },
        { "many/a", UINT64_MAX, 400, 0, 400 },
        { "many/a", UINT64_MAX, 401, 0, 400 },
        { "many/a", UINT64_MAX, UINT64_MAX - 1, 0, 400 },
        { "many/*", UINT64_MAX, 1, 1199, 1 },
        { "many/*", UINT64_MAX, 1200, 0, 1200 },
        { "many/*", UINT64_MAX, 999, 201, 999 },
        { "many/none", UINT64_MAX, 5, 0, 0 },
        { "many/none", UINT64_MAX, 0, 1200, 0 },
        { "many/a", 11, 2, 6, 2 }, /* from a place: 10 and 7 */
        { "many/a", 10, 2, 3, 2 },
        { "many/a", 11, 0, 10, 0 },
        { "many/a", 1, 5, 0, 0 },
        { "many/a", 1, 0, 0, 0 },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(cases); i++) {
        uint64_t found, pos = seek(WANT(cases[i].name), cases[i].before, cases[i].last, &found);
        ck_assert_msg(pos == cases[i].want_pos && found == cases[i].want_found,
                      "last %" PRIu64 " of %s before %" PRIu64 ": %" PRIu64 ", %" PRIu64 " found", cases[i].last,
                      cases[i].name, cases[i].before, pos, found);
    }
    restart(plenty);
    uint64_t found;
    ck_assert_uint_eq(seek(WANT("many/a"), UINT64_MAX, 5, &found), 0);
    ck_assert_uint_eq(seek(WANT("many/a"), UINT64_MAX, 0, &found), 0);
}
END_TEST

/* ---- any history, any reader */

static char topic_of[MAX_SEQ][16];

START_TEST(any_read_is_as_a_naive_model_says)
{
    static const char *const topics[] = { "many/a", "many/b", "many/c", "three/a", "three/b",
                                          "ttl/a",  "ttl/b",  "none/a", "no rule" };
    static const char *const names[] = { "many/a", "many/b", "three/a", "ttl/a",  "none/a",  "many/*", "three/*",
                                         "ttl/*",  "**",     "*/a",     "=ttl/b", "many/zz", "no*" };
    seed_random();
    for (int round = 0; round < 200; round++) {
        struct hub_limits limits = plenty;
        uint64_t now_ms = 0, head = 0;
        if (below(2))
            limits.history_bytes = 5000 + below(100000);
        restart(limits);
        for (uint32_t n = below(below(4) ? 300 : 3000); n > 0; n--) {
            const char *topic = topics[below(below(2) ? 3 : HLY_ARRAY_LEN(topics))];
            head = publish_as(topic, below(50) ? below(30) : below(40000), now_ms);
            snprintf(topic_of[head], sizeof topic_of[0], "%s", topic);
            now_ms += below(20);
            if (below(100) == 0)
                expire_all(now_ms);
        }
        for (int reader = 0; reader < 10; reader++) {
            struct want w = { 0 };
            for (uint32_t n = 1 + below(below(5) ? 3 : MAX_NAMES); n > 0; n--) {
                struct want one = WANT(names[below(HLY_ARRAY_LEN(names))]);
                w.names[w.count++] = one.names[0];
            }
            uint64_t after = below((uint32_t)head + 2);
            read_after(w, after);
            size_t next = 0;
            bool is_missing = false;
            for (uint64_t seq = after + 1; seq <= head; seq++) {
                if (!is_wanted(&w, topic_of[seq]))
                    continue;
                bool is_kept = history_has(topic_of[seq], seq);
                if (is_kept)
                    HOLDS(next < all.count && all.seqs[next++] == seq);
                is_missing |= !is_kept;
            }
            HOLDS(next == all.count);
            HOLDS(!is_missing || all.gaps > 0);
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_read");
    TCase *c = tcase_create("hub_read");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, names_of_every_kind_are_merged_in_order_each_message_once);
    tcase_add_test(c, names_that_begin_with_a_dollar_match_no_wildcard);
    tcase_add_test(c, no_names_are_level_at_once);
    tcase_add_test(c, a_slice_is_bounded_in_messages);
    tcase_add_test(c, a_slice_is_bounded_in_bytes_but_has_one_message_of_any_size);
    tcase_add_test(c, a_pattern_that_matches_nothing_gets_on_in_slices_of_bounded_work);
    tcase_add_test(c, a_reader_at_the_head_or_beyond_it_is_level);
    tcase_add_test(c, a_mark_above_the_place_is_a_gap_and_one_below_it_is_none);
    tcase_add_test(c, what_others_lose_is_no_gap);
    tcase_add_test(c, a_topic_that_died_leaves_its_loss_to_its_rule);
    tcase_add_test(c, a_gap_is_told_once);
    tcase_add_test(c, a_loss_between_two_slices_is_told);
    tcase_add_test(c, a_loss_of_what_was_read_is_none);
    tcase_add_test(c, what_is_forgiven_is_not_missed_but_what_came_later_is);
    tcase_add_test(c, a_crowd_that_lost_before_the_place_is_no_gap);
    tcase_add_test(c, a_rule_behind_one_that_covers_the_pattern_is_not_asked);
    tcase_add_test(c, the_newest_few_begin_where_they_say);
    tcase_add_test(c, any_read_is_as_a_naive_model_says);
    suite_add_tcase(s, c);
    return run_suite(s);
}
