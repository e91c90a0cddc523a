#include "core/reading.h"
#include "transport/wish.h"

#include <stdio.h>
#include <string.h>

#include "core/catchup.h"
#include "support.h"
#include "transport/encoders.h"

#define EPOCH "k3f9abcd"

static struct rules *rules;
static struct hub *hub;
static struct sub_table table;
static struct subscriber subscriber;
static struct opening_seqs seqs;

static void deliver(struct subscriber *s, const struct delivery *d)
{
    (void)s;
    (void)d;
}

static const struct subscriber_ops ops = { .deliver = deliver };

static uint64_t publish(const char *topic)
{
    struct hub_receipt receipt;
    struct message *m = message_new(topic, strlen(topic), "x", 1);
    ck_assert_int_eq(hub_publish(hub, m, (struct slice){ 0 }, 0, &receipt), 0);
    message_unref(m);
    return receipt.seq;
}

static uint64_t subscribe_to(const char *topic)
{
    uint64_t seq;
    ck_assert_int_eq(subscribe(&subscriber, (struct slice){ topic, strlen(topic) }, false, &seq), 1);
    return seq;
}

/* Two subscriptions, and a publish to the first in between, as another reactor may make one. */
static void setup(void)
{
    static const struct rule rule = { .pattern = { "**", 2 }, .subscribe = RULE_ANYONE, .history = 10 };
    const struct hub_limits limits = { .topics = 10, .patterns = 10, .history_bytes = 1u << 20, .inbox_bytes = 1u << 20 };
    rules = rules_new(&rule, 1);
    hub = hub_new(&limits, rules, 1, EPOCH);
    ck_assert_int_eq(sub_table_init(&table, hub, 0, transport_encoders, NULL), 0);
    subscriber_init(&subscriber, &table, &ops, WIRE_SSE);
    publish("a");
    seqs.first = subscribe_to("a");
    publish("a");
    seqs.last = subscribe_to("b");
    ck_assert_uint_lt(seqs.first, seqs.last);
}

static void teardown(void)
{
    subscriber_done(&subscriber);
    sub_table_done(&table);
    hub_free(hub);
    rules_unref(rules);
}

static uint64_t begin(const char *epoch, uint64_t after, struct opening_seqs at)
{
    struct wish w = { .last = READING_LAST_NONE, .has_after = true };
    uint64_t seq = 0;
    snprintf(w.after.epoch, sizeof w.after.epoch, "%s", epoch);
    w.after.seq = after;
    ck_assert_int_eq(wish_begin(&w, &subscriber, at, &seq), 0);
    return seq;
}

START_TEST(from_now_on_is_from_the_first_subscription) /* what the first has waiting must come after what it is promised */
{
    struct wish w = { .last = READING_LAST_NONE };
    uint64_t seq = 0;
    ck_assert_int_eq(wish_begin(&w, &subscriber, seqs, &seq), 0);
    ck_assert_uint_eq(seq, seqs.first);
    ck_assert_ptr_null(subscriber.catchup);
}
END_TEST

START_TEST(a_cursor_among_the_subscriptions_is_read_on_from)
{
    for (uint64_t after = seqs.first; after <= seqs.last; after++) {
        ck_assert_uint_eq(begin(EPOCH, after, seqs), after);
        ck_assert_ptr_nonnull(subscriber.catchup);
        catchup_end(&subscriber);
    }
}
END_TEST

START_TEST(a_cursor_where_all_of_them_begin_is_live_at_once)
{
    struct opening_seqs same = { seqs.last, seqs.last };
    ck_assert_uint_eq(begin(EPOCH, seqs.last, same), seqs.last);
    ck_assert_ptr_null(subscriber.catchup);
}
END_TEST

START_TEST(a_cursor_that_is_not_known_here_promises_nothing_before_the_gap)
{
    ck_assert_uint_eq(begin(EPOCH, seqs.last + 1, seqs), UINT64_MAX);
    ck_assert_ptr_nonnull(subscriber.catchup);
    catchup_end(&subscriber);
    ck_assert_uint_eq(begin("zzzz", seqs.first, seqs), UINT64_MAX);
    ck_assert_ptr_nonnull(subscriber.catchup);
}
END_TEST

START_TEST(all_there_is_begins_at_nothing)
{
    ck_assert_uint_eq(begin("", 0, seqs), 0);
    ck_assert_ptr_nonnull(subscriber.catchup);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wish");
    TCase *tc = tcase_create("begin");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, from_now_on_is_from_the_first_subscription);
    tcase_add_test(tc, a_cursor_among_the_subscriptions_is_read_on_from);
    tcase_add_test(tc, a_cursor_where_all_of_them_begin_is_live_at_once);
    tcase_add_test(tc, a_cursor_that_is_not_known_here_promises_nothing_before_the_gap);
    tcase_add_test(tc, all_there_is_begins_at_nothing);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
