#include "core/history.h"

#include <errno.h>

#include "support.h"

static struct history history;

static void setup(void)
{
    history = (struct history){ 0 };
}

static void teardown(void)
{
    history_done(&history);
}

static struct message *make(uint64_t seq)
{
    struct message *m = message_new("t", 1, &seq, sizeof seq);
    m->seq = seq;
    return m;
}

/* Returns the seq of the message that had to go, or 0. */
static uint64_t put(uint64_t seq, uint32_t max)
{
    struct message *out = NULL;
    HOLDS(history_put(&history, make(seq), max, &out) == 0);
    uint64_t gone = out != NULL ? out->seq : 0;
    message_unref(out);
    return gone;
}

START_TEST(an_empty_history_has_no_mark_and_nothing_to_take)
{
    ck_assert_uint_eq(history.mark, 0);
    ck_assert_ptr_null(history_take_oldest(&history));
    ck_assert_uint_eq(history_find_after(&history, 0), 0);
    ck_assert_uint_eq(history.mark, 0);
}
END_TEST

START_TEST(a_full_history_gives_its_oldest_and_the_mark_moves_to_it)
{
    for (uint64_t seq = 1; seq <= 3; seq++)
        ck_assert_uint_eq(put(seq * 10, 3), 0);
    ck_assert_uint_eq(history.mark, 0);
    ck_assert_uint_eq(put(40, 3), 10);
    ck_assert_uint_eq(history.mark, 10);
    ck_assert_uint_eq(put(50, 3), 20);
    ck_assert_uint_eq(history.mark, 20);
    ck_assert_uint_eq(history.count, 3);
    for (uint32_t i = 0; i < 3; i++)
        ck_assert_uint_eq(history_at(&history, i)->seq, 30 + i * 10);
}
END_TEST

START_TEST(a_history_of_one_keeps_the_newest)
{
    for (uint64_t seq = 1; seq <= 5; seq++) {
        ck_assert_uint_eq(put(seq, 1), seq - 1);
        ck_assert_uint_eq(history.count, 1);
        ck_assert_uint_eq(history_at(&history, 0)->seq, seq);
        ck_assert_uint_eq(history.mark, seq - 1);
    }
}
END_TEST

START_TEST(what_is_given_out_is_a_reference)
{
    struct message *m = make(1), *out;
    message_ref(m);
    ck_assert_int_eq(history_put(&history, m, 1, &out), 0);
    ck_assert_ptr_null(out);
    ck_assert_uint_eq(m->refs, 2);
    ck_assert_int_eq(history_put(&history, make(2), 1, &out), 0);
    ck_assert_ptr_eq(out, m);
    ck_assert_uint_eq(m->refs, 2);
    message_unref(out);
    message_unref(m);
    out = history_take_oldest(&history);
    ck_assert_uint_eq(out->refs, 1);
    message_unref(out);
}
END_TEST

START_TEST(a_history_that_fell_quiet_has_no_ring)
{
    for (uint64_t seq = 1; seq <= 100; seq++)
        put(seq, 100);
    for (uint64_t seq = 1; seq <= 100; seq++)
        message_unref(history_take_oldest(&history));
    ck_assert_ptr_null(history.ring);
    ck_assert_uint_eq(history.mark, 100);
    ck_assert_uint_eq(put(101, 100), 0);
    ck_assert_uint_eq(history_at(&history, 0)->seq, 101);
}
END_TEST

START_TEST(a_ring_grows_with_what_is_kept_not_with_what_is_allowed)
{
    put(1, 1000000);
    ck_assert_uint_le(history.cap, 16);
    for (uint64_t seq = 2; seq <= 100; seq++)
        put(seq, 1000000);
    ck_assert_uint_le(history.cap, 256);
    history_done(&history);
    for (uint64_t seq = 1; seq <= 100; seq++)
        put(seq, 7);
    ck_assert_uint_le(history.cap, 7);
}
END_TEST

START_TEST(the_mark_never_goes_back)
{
    history_set_mark(&history, 50);
    history_set_mark(&history, 20);
    ck_assert_uint_eq(history.mark, 50);
    put(60, 2);
    message_unref(history_take_oldest(&history));
    ck_assert_uint_eq(history.mark, 60);
}
END_TEST

START_TEST(the_mark_outlives_the_messages)
{
    put(1, 2);
    put(2, 2);
    put(3, 2);
    history_done(&history);
    ck_assert_uint_eq(history.count, 0);
    ck_assert_uint_eq(history.mark, 1);
}
END_TEST

START_TEST(any_sequence_of_puts_and_takes_is_as_in_a_plain_queue)
{
    static uint64_t queue[100000];
    seed_random();
    for (int round = 0; round < 40; round++) {
        uint32_t max = 1 + below(round % 4 == 0 ? 3 : 40);
        size_t head = 0, tail = 0;
        uint64_t seq = 0, mark = 0;
        for (int step = 0; step < 2000; step++) {
            if (below(3) > 0) {
                seq += 1 + below(5);
                uint64_t gone = put(seq, max);
                HOLDS(gone == (tail - head == max ? queue[head] : 0));
                queue[tail++] = seq;
                mark = gone != 0 ? queue[head++] : mark;
            } else {
                HLY_CLEANUP(message_unrefp) struct message *m = history_take_oldest(&history);
                HOLDS((m != NULL) == (head < tail));
                HOLDS(m == NULL || m->seq == queue[head]);
                mark = m != NULL ? queue[head++] : mark;
            }
            HOLDS(history.count == tail - head && history.count <= max && history.mark == mark);
            uint64_t after = below((uint32_t)seq + 2);
            uint32_t want = 0;
            while (head + want < tail && queue[head + want] <= after)
                want++;
            HOLDS(history_find_after(&history, after) == want);
        }
        for (size_t i = 0; i < tail - head; i++)
            HOLDS(history_at(&history, (uint32_t)i)->seq == queue[head + i]);
        history_done(&history);
        history = (struct history){ 0 };
    }
}
END_TEST

START_TEST(a_message_without_room_comes_back_and_the_mark_says_so)
{
    struct message *m = make(1), *out = NULL;
    int r = 0;
    if (!limit_memory(64 << 20)) {
        message_unref(m);
        return;
    }
    uint32_t kept = 0;
    for (; r == 0; kept++)
        r = history_put(&history, message_ref(m), UINT32_MAX / 2, &out);
    ck_assert_int_eq(r, -ENOMEM);
    ck_assert_ptr_eq(out, m);
    ck_assert_uint_eq(history.count, --kept);
    ck_assert_uint_eq(history.mark, 1);
    message_unref(out);
    message_unref(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("history");
    TCase *t = tcase_create("history");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_empty_history_has_no_mark_and_nothing_to_take);
    tcase_add_test(t, a_full_history_gives_its_oldest_and_the_mark_moves_to_it);
    tcase_add_test(t, a_history_of_one_keeps_the_newest);
    tcase_add_test(t, what_is_given_out_is_a_reference);
    tcase_add_test(t, a_history_that_fell_quiet_has_no_ring);
    tcase_add_test(t, a_ring_grows_with_what_is_kept_not_with_what_is_allowed);
    tcase_add_test(t, the_mark_never_goes_back);
    tcase_add_test(t, the_mark_outlives_the_messages);
    tcase_add_test(t, any_sequence_of_puts_and_takes_is_as_in_a_plain_queue);
    tcase_add_test(t, a_message_without_room_comes_back_and_the_mark_says_so);
    suite_add_tcase(s, t);
    return run_suite(s);
}
