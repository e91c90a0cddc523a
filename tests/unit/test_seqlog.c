#include "core/seqlog.h"

#include "support.h"

#define MAX_MESSAGES 6000

static struct seqlog log_;
static struct message *all[MAX_MESSAGES]; /* of the model, in order */
static size_t count;
static uint64_t head;

static void setup(void)
{
    seed_random();
    log_ = (struct seqlog){ 0 };
    head = count = 0;
}

static void teardown(void)
{
    seqlog_done(&log_);
    for (size_t i = 0; i < count; i++)
        message_unref(all[i]);
    count = 0;
}

static void append(uint64_t seq)
{
    struct message *m = message_new("t", 1, NULL, 0);
    m->seq = head = seq;
    HOLDS(count < MAX_MESSAGES && seqlog_append(&log_, m) == 0);
    all[count++] = m;
}

static void remove_at(size_t i)
{
    seqlog_remove(&log_, all[i]);
    message_unref(all[i]);
    memmove(&all[i], &all[i + 1], (--count - i) * sizeof all[0]);
}

/* ---- walking */

struct visited {
    size_t count;
    size_t max; /* visit takes so many */
    struct message *messages[MAX_MESSAGES];
};

static struct visited seen;

static bool visit(struct message *m, void *ctx)
{
    struct visited *v = ctx;
    if (v->count == v->max)
        return false;
    v->messages[v->count++] = m;
    return true;
}

static size_t first_above(uint64_t seq) /* index in the model */
{
    size_t i = 0;
    while (i < count && all[i]->seq <= seq)
        i++;
    return i;
}

/* Walk from `after` in slices of so many steps, of which visit takes `max` messages: as the model says, each once. */
static void check_walk(uint64_t after, size_t steps, size_t max)
{
    size_t next = first_above(after), slices = 0;
    for (uint64_t at = after; at != UINT64_MAX; slices++) {
        uint64_t before = at;
        seen.count = 0;
        seen.max = max;
        seqlog_walk(&log_, before, steps, visit, &seen, &at);
        HOLDS(at >= before && seen.count <= steps);
        for (size_t i = 0; i < seen.count; i++)
            HOLDS(next < count && seen.messages[i] == all[next++]);
        HOLDS(at == UINT64_MAX ? next == count : next == first_above(at));
        HOLDS(at != before || at == UINT64_MAX); /* each slice gets on */
        HOLDS(slices <= head + 2);
    }
}

static void check_walk_back(uint64_t from, size_t steps, size_t max)
{
    size_t next = from == 0 ? 0 : first_above(from - 1), slices = 0;
    for (uint64_t at = from; at != 0; slices++) {
        uint64_t before = at;
        seen.count = 0;
        seen.max = max;
        seqlog_walk_back(&log_, before, steps, visit, &seen, &at);
        HOLDS(at <= before && seen.count <= steps);
        for (size_t i = 0; i < seen.count; i++)
            HOLDS(next > 0 && seen.messages[i] == all[--next]);
        HOLDS(at == 0 ? next == 0 : next == first_above(at - 1));
        HOLDS(at != before || at == 0);
        HOLDS(slices <= head + 2);
    }
}

static void check_all(void)
{
    HOLDS(log_.live == count);
    HOLDS(seqlog_oldest(&log_) == (count == 0 ? NULL : all[0]));
    HOLDS((log_.count == 0) == (count == 0)); /* a segment without messages is never kept */
    check_walk(0, SIZE_MAX, SIZE_MAX);
    check_walk_back(UINT64_MAX, SIZE_MAX, SIZE_MAX);
}

static uint64_t somewhere(void)
{
    switch (below(6)) {
    case 0:
        return 0;
    case 1:
        return head + below(3);
    case 2:
        return UINT64_MAX - below(2);
    case 3:
        return count == 0 ? 0 : all[below((uint32_t)count)]->seq; /* one that is there */
    default:
        return below((uint32_t)head + 1);
    }
}

START_TEST(an_empty_log_has_nothing_to_walk)
{
    uint64_t at = 7;
    ck_assert_ptr_null(seqlog_oldest(&log_));
    seqlog_walk(&log_, 0, 1, visit, &seen, &at);
    ck_assert_uint_eq(at, UINT64_MAX);
    seqlog_walk_back(&log_, UINT64_MAX, 1, visit, &seen, &at);
    ck_assert_uint_eq(at, 0);
    append(1);
    remove_at(0);
    check_all();
}
END_TEST

START_TEST(a_walk_gives_the_same_for_every_budget_of_steps)
{
    for (uint64_t seq = 1; seq <= 1500; seq++)
        append(seq * 2);
    for (size_t i = 0; i < 700; i++)
        remove_at(below((uint32_t)count));
    for (size_t steps = 1; steps <= 1600; steps += steps < 20 || (steps > 250 && steps < 262) ? 1 : 37) {
        check_walk(0, steps, SIZE_MAX);
        check_walk_back(UINT64_MAX, steps, SIZE_MAX);
        check_walk(somewhere(), steps, 1 + below(10));
        check_walk_back(somewhere(), steps, 1 + below(10));
    }
    check_all();
}
END_TEST

START_TEST(a_walk_without_steps_stays_where_it_is)
{
    uint64_t at;
    for (uint64_t seq = 1; seq <= 300; seq++)
        append(seq);
    seqlog_walk(&log_, 7, 0, visit, &seen, &at);
    ck_assert_uint_eq(at, 7);
    seqlog_walk_back(&log_, 7, 0, visit, &seen, &at);
    ck_assert_uint_eq(at, 7);
    seqlog_walk(&log_, 300, 0, visit, &seen, &at); /* nothing is there: no step is needed to know */
    ck_assert_uint_eq(at, UINT64_MAX);
    seqlog_walk_back(&log_, 1, 0, visit, &seen, &at);
    ck_assert_uint_eq(at, 0);
}
END_TEST

/* How messages leave: from the oldest, from the newest, anywhere, all but a few, one neighbourhood. */
static size_t some_victim(unsigned way)
{
    uint32_t n = (uint32_t)count;
    switch (way) {
    case 0:
        return 0;
    case 1:
        return n - 1;
    case 2:
        return n > 300 ? n / 2 + below(150) : below(n);
    default:
        return below(n);
    }
}

START_TEST(whatever_comes_and_leaves_it_is_as_a_naive_list_says)
{
    for (int round = 0; round < 400; round++) {
        unsigned way = below(5);
        for (uint32_t n = below(400); n > 0 && count < MAX_MESSAGES; n--)
            append(head + 1 + (below(4) == 0 ? below(1000) : 0));
        for (uint32_t n = below(below(5) == 0 ? MAX_MESSAGES : 600); n > 0 && count > 0; n--)
            remove_at(some_victim(way));
        check_all();
        check_walk(somewhere(), 1 + below(600), below(3) ? SIZE_MAX : 1 + below(40));
        check_walk_back(somewhere(), 1 + below(600), below(3) ? SIZE_MAX : 1 + below(40));
    }
}
END_TEST

/* ---- memory */

/* No more than so many slots per message, however the messages before it left, and a segment or two. */
static void check_memory(size_t slots_per_message)
{
    ck_assert_msg(log_.count * 256 <= count * slots_per_message + 3 * 256, "%zu segments for %zu messages", log_.count,
                  count);
}

START_TEST(a_few_that_stay_among_many_that_go_at_once_take_little_memory)
{
    /* A segment that is empty but for one when it is full: nobody leaves it after that. */
    for (uint64_t seq = 1; seq <= 256 * 2000; seq++) {
        append(seq);
        if (seq % 256 != 0)
            remove_at(count - 1);
    }
    ck_assert_uint_eq(count, 2000);
    check_memory(3);
    check_all();
}
END_TEST

START_TEST(a_ticker_beside_a_quiet_topic_takes_little_memory)
{
    size_t ticker = SIZE_MAX; /* its one message; the quiet ones are before it */
    for (uint64_t seq = 1; seq <= 300000; seq++) {
        if (seq % 257 == 0) {
            append(seq);
            continue;
        }
        if (ticker != SIZE_MAX)
            remove_at(ticker);
        append(seq);
        ticker = count - 1;
    }
    check_memory(8);
    check_all();
}
END_TEST

START_TEST(memory_follows_the_messages_when_they_leave_at_random)
{
    for (uint64_t seq = 1; seq <= MAX_MESSAGES; seq++)
        append(seq);
    while (count > 100) {
        remove_at(below((uint32_t)count));
        if (count % 100 == 0)
            check_memory(9); /* from a quarter on, neighbours are joined: 32 to 64 of 256 slots are used at the least */
    }
    check_all();
}
END_TEST

START_TEST(nothing_is_left_when_all_have_left)
{
    for (uint64_t seq = 1; seq <= 3000; seq++)
        append(seq);
    while (count > 0)
        remove_at(below((uint32_t)count));
    ck_assert_uint_eq(log_.count, 0);
    ck_assert_uint_eq(log_.live, 0);
    check_all();
    append(MAX_MESSAGES);
    check_all();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("seqlog");
    TCase *c = tcase_create("seqlog");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, an_empty_log_has_nothing_to_walk);
    tcase_add_test(c, a_walk_gives_the_same_for_every_budget_of_steps);
    tcase_add_test(c, a_walk_without_steps_stays_where_it_is);
    tcase_add_test(c, whatever_comes_and_leaves_it_is_as_a_naive_list_says);
    tcase_add_test(c, a_few_that_stay_among_many_that_go_at_once_take_little_memory);
    tcase_add_test(c, a_ticker_beside_a_quiet_topic_takes_little_memory);
    tcase_add_test(c, memory_follows_the_messages_when_they_leave_at_random);
    tcase_add_test(c, nothing_is_left_when_all_have_left);
    suite_add_tcase(s, c);
    return run_suite(s);
}
