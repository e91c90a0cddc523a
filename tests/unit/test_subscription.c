#include "core/subscription.h"

#include <errno.h>

#include "core/pattern_index.h"
#include "support.h"

#define REACTOR 3

static struct rules *rules;
static struct hub *hub;
static struct sub_table table;

static void on_deliver(struct subscriber *s, const struct delivery *d)
{
    (void)s;
    (void)d;
    ck_abort_msg("nothing is delivered here");
}

static const struct subscriber_ops ops = { .deliver = on_deliver };
static const struct wire_encoder encoders[WIRE_FORMS];

static void start(uint64_t max_topics, uint64_t max_patterns)
{
    static const struct rule everything = { .pattern = { "**", 2 }, .subscribe = RULE_ANYONE };
    struct hub_limits limits = {
        .topics = max_topics, .patterns = max_patterns, .history_bytes = 1000000, .inbox_bytes = 1u << 30
    };
    rules = rules_new(&everything, 1);
    hub = hub_new(&limits, rules, REACTOR + 1, "k3f9abcd");
    ck_assert_int_eq(sub_table_init(&table, hub, REACTOR, encoders, NULL), 0);
}

static void stop(void)
{
    sub_table_done(&table);
    hub_free(hub);
    rules_unref(rules);
}

static void setup(void)
{
    start(1000, 1000);
}

static uint64_t publish(const char *topic)
{
    HLY_CLEANUP(message_unrefp) struct message *m = message_new(topic, strlen(topic), "x", 1);
    struct hub_receipt r;
    HOLDS(hub_publish(hub, m, SLICE_LIT(""), 0, &r) == 0);
    return r.subscribers;
}

static size_t mail(void)
{
    struct message *out[256];
    size_t n = hub_take(hub, REACTOR, out, 256);
    for (size_t i = 0; i < n; i++)
        message_unref(out[i]);
    return n;
}

static struct hub_stats stats(void)
{
    struct hub_stats s;
    hub_get_stats(hub, &s);
    return s;
}

static void assert_nothing_is_left(void)
{
    ck_assert_uint_eq(table.subscriptions, 0);
    ck_assert_uint_eq(map_count(&table.topics), 0);
    ck_assert_uint_eq(map_count(&table.pairs), 0);
    ck_assert_uint_eq(pattern_index_count(table.patterns), 0);
    ck_assert_uint_eq(stats().subscriptions, 0);
    ck_assert_uint_eq(stats().topics, 0);
    ck_assert_uint_eq(stats().patterns, 0);
}

static int sub(struct subscriber *s, const char *name, bool is_pattern)
{
    uint64_t seq;
    return subscribe(s, TEXT(name), is_pattern, &seq);
}

static bool unsub(struct subscriber *s, const char *name, bool is_pattern)
{
    return unsubscribe(s, TEXT(name), is_pattern);
}

static struct subscription *find(struct subscriber *s, const char *name, bool is_pattern)
{
    return subscription_find(s, TEXT(name), is_pattern);
}

START_TEST(a_subscription_is_there_until_it_is_ended)
{
    struct subscriber s;
    subscriber_init(&s, &table, &ops, WIRE_WS_PLAIN);
    ck_assert_ptr_null(find(&s, "a", false));
    ck_assert_int_eq(sub(&s, "a", false), 1);
    struct subscription *one = find(&s, "a", false);
    ck_assert_ptr_nonnull(one);
    ck_assert_ptr_eq(one->subscriber, &s);
    ck_assert_uint_eq(feed_name(one->feed).len, 1);
    ck_assert_uint_eq(s.count, 1);
    ck_assert_uint_eq(table.subscriptions, 1);
    ck_assert_uint_eq(hub_topic_subscribers(hub, "a", 1), 1);
    ck_assert(unsub(&s, "a", false));
    ck_assert_ptr_null(find(&s, "a", false));
    ck_assert_uint_eq(s.count, 0);
    assert_nothing_is_left();
}
END_TEST

START_TEST(subscribing_twice_is_once)
{
    struct subscriber s;
    uint64_t first, again = 0;
    subscriber_init(&s, &table, &ops, WIRE_WS_PLAIN);
    publish("x");
    ck_assert_int_eq(subscribe(&s, TEXT("a"), false, &first), 1);
    ck_assert_uint_eq(first, 1);
    publish("a");
    ck_assert_int_eq(subscribe(&s, TEXT("a"), false, &again), 0);
    ck_assert_uint_eq(again, 1); /* it goes on from where it began: the message in between is not lost */
    ck_assert_uint_eq(s.count, 1);
    ck_assert_uint_eq(publish("a"), 1);
    ck_assert_int_eq(sub(&s, "a*", true), 1);
    ck_assert_int_eq(sub(&s, "a*", true), 0);
    ck_assert_uint_eq(publish("a"), 2);
    ck_assert(unsub(&s, "a", false));
    ck_assert(!unsub(&s, "a", false));
    ck_assert(unsub(&s, "a*", true));
    ck_assert(!unsub(&s, "a*", true));
    assert_nothing_is_left();
}
END_TEST

START_TEST(unsubscribing_from_what_is_not_there_does_nothing)
{
    struct subscriber s, other;
    subscriber_init(&s, &table, &ops, WIRE_WS_PLAIN);
    subscriber_init(&other, &table, &ops, WIRE_WS_PLAIN);
    ck_assert(!unsub(&s, "a", false));
    ck_assert(!unsub(&s, "a/*", true));
    sub(&other, "a", false);
    sub(&other, "a/*", true);
    ck_assert(!unsub(&s, "a", false)); /* another's */
    ck_assert(!unsub(&s, "a/*", true));
    ck_assert_uint_eq(table.subscriptions, 2);
    ck_assert_uint_eq(publish("a"), 1);
    subscriber_done(&other);
    subscriber_done(&s);
    assert_nothing_is_left();
}
END_TEST

START_TEST(a_plain_name_as_a_topic_and_as_a_pattern_are_two)
{
    struct subscriber s;
    subscriber_init(&s, &table, &ops, WIRE_RESP2);
    ck_assert_int_eq(sub(&s, "news", false), 1);
    ck_assert(!unsub(&s, "news", true));
    ck_assert_int_eq(sub(&s, "news", true), 1);
    ck_assert_ptr_ne(find(&s, "news", false), find(&s, "news", true));
    ck_assert_uint_eq(publish("news"), 2);
    ck_assert_uint_eq(hub_topic_subscribers(hub, "news", 4), 1);
    ck_assert_uint_eq(hub_pattern_count(hub), 1);
    ck_assert(unsub(&s, "news", false));
    ck_assert_ptr_nonnull(find(&s, "news", true));
    ck_assert_uint_eq(publish("news"), 1);
    ck_assert(unsub(&s, "news", true));
    ck_assert_uint_eq(publish("news"), 0);
    assert_nothing_is_left();
}
END_TEST

START_TEST(the_hub_hears_of_the_first_and_the_last_subscription_of_a_name)
{
    struct subscriber s[3];
    for (unsigned i = 0; i < 3; i++) {
        subscriber_init(&s[i], &table, &ops, WIRE_WS_PLAIN);
        sub(&s[i], "a", false);
        sub(&s[i], "b*", true);
    }
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(publish("a"), 3 - i);
        ck_assert_uint_eq(publish("b"), 3 - i);
        ck_assert_uint_eq(mail(), 2);
        subscriber_done(&s[i]);
    }
    publish("a");
    publish("b");
    ck_assert_uint_eq(mail(), 0);
    assert_nothing_is_left();
}
END_TEST

START_TEST(what_only_other_reactors_want_does_not_come_any_more)
{
    struct subscriber s;
    uint64_t seq;
    hub_subscribe(hub, TEXT("a"), false, 0, true, &seq);
    hub_subscribe(hub, TEXT("b*"), true, 0, true, &seq);
    subscriber_init(&s, &table, &ops, WIRE_WS_PLAIN);
    sub(&s, "a", false);
    sub(&s, "b*", true);
    subscriber_done(&s);
    ck_assert_uint_eq(publish("a"), 1);
    ck_assert_uint_eq(publish("b"), 1);
    ck_assert_uint_eq(mail(), 0);
    hub_unsubscribe(hub, TEXT("a"), false, 0, true);
    hub_unsubscribe(hub, TEXT("b*"), true, 0, true);
    assert_nothing_is_left();
}
END_TEST

START_TEST(the_first_subscription_is_inline_and_used_again)
{
    struct subscriber s;
    subscriber_init(&s, &table, &ops, WIRE_WS_PLAIN);
    sub(&s, "a", false);
    ck_assert_ptr_eq(find(&s, "a", false), &s.first);
    sub(&s, "b", false);
    ck_assert_ptr_ne(find(&s, "b", false), &s.first);
    unsub(&s, "a", false);
    sub(&s, "c", false);
    ck_assert_ptr_eq(find(&s, "c", false), &s.first);
    ck_assert_uint_eq(publish("b"), 1);
    subscriber_done(&s);
    assert_nothing_is_left();
}
END_TEST

START_TEST(a_refused_subscription_leaves_nothing_behind)
{
    struct subscriber s;
    stop();
    start(2, 1);
    subscriber_init(&s, &table, &ops, WIRE_WS_PLAIN);
    sub(&s, "a", false);
    sub(&s, "b", false);
    sub(&s, "p*", true);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(sub(&s, "c", false), -EDQUOT);
        ck_assert_int_eq(sub(&s, "q*", true), -EDQUOT);
        ck_assert_ptr_null(find(&s, "c", false));
        ck_assert_ptr_null(find(&s, "q*", true));
    }
    ck_assert_uint_eq(s.count, 3);
    ck_assert_uint_eq(table.subscriptions, 3);
    ck_assert_uint_eq(map_count(&table.topics), 2);
    ck_assert_uint_eq(pattern_index_count(table.patterns), 1);
    ck_assert_int_eq(sub(&s, "a", true), -EDQUOT); /* as a pattern it would be another */
    unsub(&s, "a", false);
    ck_assert_int_eq(sub(&s, "c", false), 1);
    subscriber_done(&s);
    ck_assert_uint_eq(map_count(&table.topics), 0);
    ck_assert_uint_eq(stats().topics, 0);
}
END_TEST

START_TEST(a_refusal_at_any_number_of_subscriptions_is_harmless)
{
    char name[16];
    stop();
    start(40, 10);
    struct subscriber s, other;
    subscriber_init(&s, &table, &ops, WIRE_WS_PLAIN);
    subscriber_init(&other, &table, &ops, WIRE_WS_PLAIN);
    for (unsigned n = 0; n < 40; n++) {
        for (unsigned i = 0; i < 39 - n; i++) { /* somebody else takes what is left, but one */
            snprintf(name, sizeof name, "o%u", i);
            HOLDS(sub(&other, name, false) == 1);
        }
        snprintf(name, sizeof name, "t%u", n);
        HOLDS(sub(&s, name, false) == 1);
        HOLDS(sub(&s, "one too many", false) == -EDQUOT);
        HOLDS(find(&s, "one too many", false) == NULL);
        for (unsigned i = 0; i <= n; i++) {
            snprintf(name, sizeof name, "t%u", i);
            HOLDS(find(&s, name, false) != NULL);
        }
        subscriber_done(&other);
    }
    for (unsigned n = 40; n-- > 0;) {
        snprintf(name, sizeof name, "t%u", n);
        HOLDS(unsub(&s, name, false));
        HOLDS(find(&s, name, false) == NULL);
    }
    assert_nothing_is_left();
}
END_TEST

START_TEST(a_feed_shrinks_when_its_crowd_leaves)
{
    static struct subscriber crowd[5000];
    struct subscriber stays;
    subscriber_init(&stays, &table, &ops, WIRE_WS_PLAIN);
    for (unsigned i = 0; i < 5000; i++) {
        subscriber_init(&crowd[i], &table, &ops, WIRE_WS_PLAIN);
        HOLDS(sub(&crowd[i], "a", false) == 1);
    }
    sub(&stays, "a", false);
    const struct feed *f = find(&stays, "a", false)->feed;
    ck_assert_uint_eq(f->count, 5001);
    ck_assert_uint_lt(f->cap, 10000);
    seed_random();
    for (unsigned left = 5000; left > 0; left--) { /* they leave in any order */
        unsigned i = below(left);
        subscriber_done(&crowd[i]);
        if (i != left - 1) { /* the last takes the free place, with a subscription of its own */
            subscriber_done(&crowd[left - 1]);
            subscriber_init(&crowd[i], &table, &ops, WIRE_WS_PLAIN);
            HOLDS(sub(&crowd[i], "a", false) == 1);
        }
        HOLDS(f->count == left && (f->cap <= 64 || f->cap <= 4 * f->count + 4));
        for (uint32_t k = 0; k < f->count; k += 1 + f->count / 10)
            HOLDS(f->subs[k]->index == k && f->subs[k]->feed == f);
    }
    ck_assert_ptr_eq(f->subs[0]->subscriber, &stays);
    subscriber_done(&stays);
    assert_nothing_is_left();
}
END_TEST

/* ---- against a naive model: who has what is a table of flags */

#define SUBSCRIBERS 4
#define NAMES 60 /* 40 topics, 20 patterns; some plain names are both */

static struct {
    char name[8];
    bool is_pattern;
} names[NAMES];
static bool has[SUBSCRIBERS][NAMES];

static void name_all(void)
{
    for (unsigned i = 0; i < NAMES; i++) {
        names[i].is_pattern = i >= 40;
        snprintf(names[i].name, sizeof names[i].name, i < 50 ? "n%u" : "n%u*", i % 40);
    }
}

static void assert_as_modelled(struct subscriber *subscribers)
{
    uint64_t total = 0;
    for (unsigned s = 0; s < SUBSCRIBERS; s++) {
        uint32_t count = 0;
        for (unsigned n = 0; n < NAMES; n++) {
            const struct subscription *found = find(&subscribers[s], names[n].name, names[n].is_pattern);
            HOLDS((found != NULL) == has[s][n]);
            HOLDS(found == NULL ||
                  (found->subscriber == &subscribers[s] && found->feed->is_pattern == names[n].is_pattern));
            HOLDS(found == NULL || found->feed->subs[found->index] == found);
            count += has[s][n];
        }
        HOLDS(subscribers[s].count == count);
        total += count;
    }
    HOLDS(table.subscriptions == total && stats().subscriptions == total);
    uint64_t topics = 0, patterns = 0;
    for (unsigned n = 0; n < NAMES; n++) {
        uint64_t count = 0;
        for (unsigned s = 0; s < SUBSCRIBERS; s++)
            count += has[s][n];
        HOLDS(names[n].is_pattern || hub_topic_subscribers(hub, names[n].name, strlen(names[n].name)) == count);
        *(names[n].is_pattern ? &patterns : &topics) += count > 0;
    }
    HOLDS(map_count(&table.topics) == topics && pattern_index_count(table.patterns) == patterns);
    HOLDS(stats().topics == topics && stats().patterns == patterns);
}

START_TEST(any_sequence_of_changes_is_as_in_a_table_of_flags)
{
    struct subscriber subscribers[SUBSCRIBERS];
    uint64_t seq, head = 0;
    name_all();
    seed_random();
    for (unsigned s = 0; s < SUBSCRIBERS; s++)
        subscriber_init(&subscribers[s], &table, &ops, WIRE_WS_PLAIN);
    for (int step = 0; step < 20000; step++) {
        bool growing = step / 700 % 2 == 0; /* across the number from which subscriptions are hashed, up and down */
        unsigned s = below(SUBSCRIBERS), n = below(NAMES);
        if (below(8) < (growing ? 6 : 2)) {
            int r = subscribe(&subscribers[s], TEXT(names[n].name), names[n].is_pattern, &seq);
            HOLDS(r == (has[s][n] ? 0 : 1));
            HOLDS(r == 0 || seq == head);
            has[s][n] = true;
        } else {
            HOLDS(unsub(&subscribers[s], names[n].name, names[n].is_pattern) == has[s][n]);
            has[s][n] = false;
        }
        if (below(500) == 0) {
            subscriber_done(&subscribers[s]);
            memset(has[s], 0, sizeof has[s]);
        }
        if (below(10) == 0) {
            publish("elsewhere");
            head++;
        }
        if (step % 50 == 0)
            assert_as_modelled(subscribers);
    }
    for (unsigned s = 0; s < SUBSCRIBERS; s++)
        subscriber_done(&subscribers[s]);
    assert_nothing_is_left();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("subscription");
    TCase *t = tcase_create("subscription");
    tcase_add_checked_fixture(t, setup, stop);
    tcase_add_test(t, a_subscription_is_there_until_it_is_ended);
    tcase_add_test(t, subscribing_twice_is_once);
    tcase_add_test(t, unsubscribing_from_what_is_not_there_does_nothing);
    tcase_add_test(t, a_plain_name_as_a_topic_and_as_a_pattern_are_two);
    tcase_add_test(t, the_hub_hears_of_the_first_and_the_last_subscription_of_a_name);
    tcase_add_test(t, what_only_other_reactors_want_does_not_come_any_more);
    tcase_add_test(t, the_first_subscription_is_inline_and_used_again);
    tcase_add_test(t, a_refused_subscription_leaves_nothing_behind);
    tcase_add_test(t, a_refusal_at_any_number_of_subscriptions_is_harmless);
    tcase_add_test(t, a_feed_shrinks_when_its_crowd_leaves);
    tcase_add_test(t, any_sequence_of_changes_is_as_in_a_table_of_flags);
    suite_add_tcase(s, t);
    return run_suite(s);
}
