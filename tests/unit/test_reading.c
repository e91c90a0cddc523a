#include "core/reading.h"

#include "core/topic_name.h"
#include "support.h"

#define EPOCH "k3f9abcd"
#define MESSAGES 600

static const struct rule rule_list[] = {
    { .pattern = { "keep/**", 7 }, .subscribe = RULE_ANYONE, .history = 1000 },
    { .pattern = { "few/**", 6 }, .subscribe = RULE_ANYONE, .history = 5 },
};
static const char *const topics[] = { "keep/a", "keep/b", "few/a", "none/a" };

static struct rules *rules;
static struct hub *hub;
static struct sub_table table;
static struct chunk_pool pool;
static const struct wire_encoder encoders[WIRE_FORMS];
static uint8_t topic_of[MESSAGES + 200];

struct reader {
    struct reading reading;
    uint64_t seqs[MESSAGES + 200];
    size_t count;
    unsigned gaps;
    enum gap_reason reason;
    unsigned ends;
    unsigned full; /* so many times it can take no more */
    size_t stop_after;
};

static bool is_full(struct reading *r)
{
    struct reader *x = HLY_CONTAINER_OF(r, struct reader, reading);
    return x->full > 0 && x->full-- > 0;
}

static bool on_read(struct reading *r, struct message *const *messages, size_t count, bool is_gap, uint64_t from, enum gap_reason reason)
{
    struct reader *x = HLY_CONTAINER_OF(r, struct reader, reading);
    HOLDS(reading_is_on(r) && (count > 0 || is_gap));
    HOLDS(count == 0 || from < messages[0]->seq);
    if (is_gap) {
        x->gaps++;
        x->reason = reason;
    }
    for (size_t i = 0; i < count; i++)
        x->seqs[x->count++] = messages[i]->seq;
    if (x->stop_after == 0 || x->count < x->stop_after)
        return true;
    reading_stop(r);
    return false;
}

static void on_end(struct reading *r)
{
    struct reader *x = HLY_CONTAINER_OF(r, struct reader, reading);
    HOLDS(!reading_is_on(r));
    x->ends++;
}

static const struct reading_ops ops = { .is_full = is_full, .on_read = on_read, .on_end = on_end };

static void publish(uint64_t seq)
{
    size_t t = seq % HLY_ARRAY_LEN(topics);
    struct hub_receipt receipt;
    HLY_CLEANUP(message_unrefp) struct message *m = message_new(topics[t], strlen(topics[t]), "x", 1);
    topic_of[seq] = (uint8_t)t;
    HOLDS(hub_publish(hub, m, SLICE_LIT(""), 0, &receipt) == 0 && receipt.seq == seq);
}

static void setup(void)
{
    struct hub_limits limits = { .topics = 100, .patterns = 100, .history_bytes = 1u << 30, .inbox_bytes = 1u << 30 };
    rules = rules_new(rule_list, HLY_ARRAY_LEN(rule_list));
    hub = hub_new(&limits, rules, 1, EPOCH);
    HOLDS(hub != NULL && sub_table_init(&table, hub, 0, encoders, &pool) == 0);
    for (uint64_t seq = 1; seq <= MESSAGES; seq++)
        publish(seq);
}

static void teardown(void)
{
    sub_table_done(&table);
    hub_free(hub);
    rules_unref(rules);
}

static void start(struct reader *x, const char *name, struct reading_from from)
{
    struct hub_name n = { { name, strlen(name) }, topic_name_is_pattern(name, strlen(name)), 0 };
    ck_assert_int_eq(reading_start(&x->reading, &table, &ops, &n, 1, &from), 0);
}

static void run(void)
{
    for (int n = 0; reading_run(&table, 3); n++)
        HOLDS(n < 10000);
}

static struct cursor at(uint64_t seq)
{
    return (struct cursor){ EPOCH, seq };
}

START_TEST(what_a_cursor_and_last_mean)
{
    struct cursor good = at(100), head = at(200), beyond = at(201), all = { "", 0 }, other = { "zzzz", 100 };
    const struct {
        const char *name;
        const struct cursor *after;
        uint64_t last;
        uint64_t want_after, want_promise;
        bool want_lost, want_empty;
    } cases[] = {
        { "nothing asked for: from now on", NULL, READING_LAST_NONE, 200, 200, false, true },
        { "a cursor", &good, READING_LAST_NONE, 100, 100, false, false },
        { "the newest cursor", &head, READING_LAST_NONE, 200, 200, false, true },
        { "beyond the head", &beyond, READING_LAST_NONE, 0, UINT64_MAX, true, false },
        { "of another epoch", &other, READING_LAST_NONE, 0, UINT64_MAX, true, false },
        { "all there is", &all, READING_LAST_NONE, 0, 0, false, false },
        { "the newest few", NULL, 5, 0, UINT64_MAX, false, false },
        { "a cursor wins over last", &good, 5, 100, 100, false, false },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(cases); i++) {
        struct reading_from f = reading_from(hub, cases[i].after, cases[i].last, 200);
        ck_assert_msg(f.after == cases[i].want_after && f.until == 200 && f.is_lost == cases[i].want_lost &&
                          reading_from_is_empty(&f) == cases[i].want_empty && reading_from_promise(&f) == cases[i].want_promise,
                      "%s", cases[i].name);
    }
}
END_TEST

START_TEST(a_reading_ends_at_its_bound_whatever_is_published_meanwhile)
{
    static const char *const names[] = { "keep/a", "keep/*", "keep/b" };
    seed_random();
    for (int round = 0; round < 300; round++) {
        struct reader *x = calloc(1, sizeof *x);
        const char *name = names[below(3)];
        uint64_t after = below(MESSAGES), until = after + below((uint32_t)(MESSAGES - after) + 1), due = 0;
        struct cursor cursor = at(after);
        struct reading_from from = reading_from(hub, &cursor, READING_LAST_NONE, until);
        start(x, name, from);
        run();
        HOLDS(x->ends == 1 && x->gaps == 0 && x->reading.reader.pos == until);
        for (uint64_t seq = after + 1; seq <= until; seq++) {
            const char *t = topics[topic_of[seq]];
            if (!pattern_matches(name, strlen(name), t, strlen(t)))
                continue;
            HOLDS(due < x->count && x->seqs[due] == seq);
            due++;
        }
        HOLDS(due == x->count);
        free(x);
    }
}
END_TEST

START_TEST(the_newest_few_are_counted_back_from_the_bound)
{
    for (uint64_t last = 0; last < 200; last += 7) {
        struct reader *x = calloc(1, sizeof *x);
        struct reading_from from = reading_from(hub, NULL, last, MESSAGES - 100);
        start(x, "keep/*", from);
        run();
        ck_assert_uint_eq(x->count, last);
        ck_assert(x->ends == 1 && x->gaps == 0);
        ck_assert(last == 0 || x->seqs[last - 1] <= MESSAGES - 100);
        free(x);
    }
}
END_TEST

START_TEST(what_is_gone_is_told_before_the_next_message)
{
    static const struct {
        const char *name;
        struct cursor after;
        unsigned gaps;
        enum gap_reason reason;
        size_t count;
    } cases[] = {
        { "few/a", { EPOCH, 10 }, 1, GAP_EVICTED, 5 },
        { "few/a", { EPOCH, MESSAGES - 20 }, 0, 0, 5 },
        { "few/*", { EPOCH, 10 }, 1, GAP_EVICTED, 5 },
        { "few/a", { "", 0 }, 0, 0, 5 },
        { "few/a", { "other", 10 }, 1, GAP_UNKNOWN, 5 },
        { "none/a", { EPOCH, 10 }, 1, GAP_EVICTED, 0 },
        { "none/a", { "", 0 }, 0, 0, 0 },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(cases); i++) {
        struct reader *x = calloc(1, sizeof *x);
        struct reading_from from = reading_from(hub, &cases[i].after, READING_LAST_NONE, MESSAGES);
        start(x, cases[i].name, from);
        run();
        ck_assert_msg(x->gaps == cases[i].gaps && x->reason == cases[i].reason && x->count == cases[i].count && x->ends == 1,
                      "%s after %s-%" PRIu64 ": %u gaps, reason %d, %zu messages, %u ends", cases[i].name, cases[i].after.epoch,
                      cases[i].after.seq, x->gaps, x->reason, x->count, x->ends);
        free(x);
    }
}
END_TEST

START_TEST(one_that_is_full_waits_until_it_is_woken)
{
    struct reader *x = calloc(1, sizeof *x);
    struct cursor cursor = at(0);
    x->full = 1;
    start(x, "keep/*", reading_from(hub, &cursor, READING_LAST_NONE, MESSAGES));
    run();
    ck_assert(x->count == 0 && x->ends == 0 && reading_is_on(&x->reading));
    reading_wake(&x->reading);
    reading_wake(&x->reading);
    run();
    ck_assert(x->count == MESSAGES / 2 && x->ends == 1);
    free(x);
}
END_TEST

START_TEST(it_can_be_stopped_from_within_and_started_anew)
{
    struct reader *x = calloc(1, sizeof *x);
    struct cursor cursor = at(0);
    reading_stop(&x->reading); /* it was never started */
    x->stop_after = 1;
    for (int i = 0; i < 3; i++) {
        x->count = 0;
        start(x, "keep/*", reading_from(hub, &cursor, READING_LAST_NONE, MESSAGES));
        run();
        ck_assert(x->count > 0 && x->count < MESSAGES / 2 && x->ends == 0 && !reading_is_on(&x->reading));
    }
    reading_stop(&x->reading);
    free(x);
}
END_TEST

START_TEST(a_name_begins_where_it_says)
{
    struct reader *x = calloc(1, sizeof *x);
    struct hub_name names[] = { { SLICE_LIT("keep/a"), false, 0 }, { SLICE_LIT("keep/b"), false, 300 }, { SLICE_LIT("keep/b"), false, 500 } };
    struct cursor cursor = at(100);
    struct reading_from from = reading_from(hub, &cursor, READING_LAST_NONE, MESSAGES);
    for (int with_pattern = 0; with_pattern < 2; with_pattern++) {
        x->count = 0;
        names[1].is_pattern = with_pattern; /* then the log is walked */
        ck_assert_int_eq(reading_start(&x->reading, &table, &ops, names, 3, &from), 0);
        run();
        size_t n = 0;
        for (uint64_t seq = 101; seq <= MESSAGES; seq++)
            if (topic_of[seq] == 0 || (topic_of[seq] == 1 && seq > 300))
                ck_assert_uint_eq(x->seqs[n++], seq);
        ck_assert_uint_eq(x->count, n);
    }
    free(x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("reading");
    TCase *tc = tcase_create("reading");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_a_cursor_and_last_mean);
    tcase_add_test(tc, a_reading_ends_at_its_bound_whatever_is_published_meanwhile);
    tcase_add_test(tc, the_newest_few_are_counted_back_from_the_bound);
    tcase_add_test(tc, what_is_gone_is_told_before_the_next_message);
    tcase_add_test(tc, one_that_is_full_waits_until_it_is_woken);
    tcase_add_test(tc, it_can_be_stopped_from_within_and_started_anew);
    tcase_add_test(tc, a_name_begins_where_it_says);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
