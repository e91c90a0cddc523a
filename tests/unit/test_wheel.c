#include "net/wheel.h"

#include "support.h"

static struct wheel wheel;

static void setup(void)
{
    wheel_init(&wheel);
}

/* Has it fired? Takes it off the list of those that are due. */
static bool fires(struct wheel_timer *t, uint64_t now_ms)
{
    wheel_advance(&wheel, now_ms);
    struct wheel_timer *due = wheel_next_due(&wheel);
    HOLDS(due == NULL || due == t);
    HOLDS(due == NULL || wheel_next_due(&wheel) == NULL);
    return due != NULL;
}

#define ROUND_MS (WHEEL_TICK_MS * WHEEL_SLOTS)

static const struct {
    const char *name;
    uint64_t after_ms;
    uint64_t fires_ms; /* started at 0 */
} cases[] = {
    { "at once is the next tick", 0, 50 },
    { "less than a tick is one", 1, 50 },
    { "nearly a tick", 49, 50 },
    { "a tick", 50, 50 },
    { "more than a tick is rounded up", 51, 100 },
    { "a second", 1000, 1000 },
    { "nearly a round of the wheel", ROUND_MS - 50, ROUND_MS - 50 },
    { "a round", ROUND_MS, ROUND_MS },
    { "a round and a tick", ROUND_MS + 50, ROUND_MS + 50 },
    { "several rounds", 5 * ROUND_MS + 170, 5 * ROUND_MS + 200 },
    { "a day", 86400000, 86400000 },
};

START_TEST(a_timer_fires_at_its_tick_and_once)
{
    struct wheel_timer t;
    wheel_timer_init(&t);
    wheel_start(&wheel, &t, cases[_i].after_ms);
    uint64_t fires_ms = cases[_i].fires_ms;
    uint64_t step = fires_ms > 10 * ROUND_MS ? 49000 : 10;
    for (uint64_t now = 0; now < fires_ms; now += step)
        if (fires(&t, now))
            ck_abort_msg("%s: fired at %" PRIu64, cases[_i].name, now);
    ck_assert(!fires(&t, fires_ms - 1));
    ck_assert_msg(fires(&t, fires_ms), "%s: has not fired at %" PRIu64, cases[_i].name, fires_ms);
    ck_assert(list_is_empty(&t.node));
    for (uint64_t now = fires_ms; now < fires_ms + 3 * ROUND_MS; now += 40)
        HOLDS(!fires(&t, now));
}
END_TEST

START_TEST(a_timer_started_later_counts_from_then)
{
    struct wheel_timer t;
    wheel_timer_init(&t);
    wheel_advance(&wheel, 123456);
    wheel_start(&wheel, &t, 200);
    ck_assert(!fires(&t, 123655));
    ck_assert(!fires(&t, 123699));
    ck_assert(fires(&t, 123700));
}
END_TEST

START_TEST(a_timer_is_never_early_wherever_in_a_tick_it_is_started)
{
    for (uint64_t into = 0; into < WHEEL_TICK_MS; into++)
        for (uint64_t after = 1; after <= 3 * WHEEL_TICK_MS; after++) {
            struct wheel_timer t;
            uint64_t now = 1000 * WHEEL_TICK_MS + into, end = now + after;
            wheel_init(&wheel);
            wheel_timer_init(&t);
            wheel_advance(&wheel, now);
            wheel_start(&wheel, &t, after);
            while (!fires(&t, now))
                now++;
            if (now < end || now >= end + WHEEL_TICK_MS)
                ck_abort_msg("%" PRIu64 " ms from %" PRIu64 " ms into a tick: %" PRId64 " ms late", after, into, (int64_t)(now - end));
        }
}
END_TEST

START_TEST(forever_is_years_not_at_once)
{
    struct wheel_timer t;
    wheel_timer_init(&t);
    static const uint64_t times[] = { UINT64_MAX, UINT64_MAX - 48, UINT64_MAX / 2,
                                      (uint64_t)INT32_MAX * WHEEL_TICK_MS };
    for (size_t i = 0; i < HLY_ARRAY_LEN(times); i++) {
        wheel_start(&wheel, &t, times[i]);
        HOLDS(!fires(&t, (uint64_t)wheel.tick * WHEEL_TICK_MS + 86400000));
    }
}
END_TEST

START_TEST(a_stopped_timer_does_not_fire)
{
    struct wheel_timer t, other;
    wheel_timer_init(&t);
    wheel_timer_init(&other);
    wheel_stop(&t); /* it was not running */
    wheel_start(&wheel, &t, 100);
    wheel_start(&wheel, &other, 100);
    wheel_stop(&t);
    wheel_stop(&t);
    ck_assert(fires(&other, 100));
    wheel_start(&wheel, &t, 100);
    wheel_start(&wheel, &other, 100);
    wheel_advance(&wheel, 1000);
    wheel_stop(&t); /* it was due, and not handed out yet */
    ck_assert_ptr_eq(wheel_next_due(&wheel), &other);
    ck_assert_ptr_null(wheel_next_due(&wheel));
}
END_TEST

START_TEST(a_timer_that_is_started_again_moves)
{
    struct wheel_timer t;
    wheel_timer_init(&t);
    wheel_start(&wheel, &t, 100);
    wheel_advance(&wheel, 50);
    wheel_start(&wheel, &t, 500);
    ck_assert(!fires(&t, 549));
    ck_assert(fires(&t, 550));
    wheel_start(&wheel, &t, 100);
    wheel_advance(&wheel, 1000);
    wheel_start(&wheel, &t, 100); /* it was due, and not handed out yet */
    ck_assert_ptr_null(wheel_next_due(&wheel));
    ck_assert(fires(&t, 1100));
}
END_TEST

START_TEST(timers_are_handed_out_one_at_a_time_and_may_start_again)
{
    struct wheel_timer t[1000];
    for (size_t i = 0; i < 1000; i++) {
        wheel_timer_init(&t[i]);
        wheel_start(&wheel, &t[i], 100);
    }
    wheel_advance(&wheel, 100);
    unsigned seen = 0;
    for (struct wheel_timer *due; (due = wheel_next_due(&wheel)) != NULL; seen++)
        wheel_start(&wheel, due, 0); /* the next tick, not now */
    ck_assert_uint_eq(seen, 1000);
    wheel_advance(&wheel, 150);
    for (seen = 0; wheel_next_due(&wheel) != NULL;)
        seen++;
    ck_assert_uint_eq(seen, 1000);
}
END_TEST

START_TEST(timers_come_in_the_order_of_their_ticks)
{
    struct wheel_timer t[20];
    for (uint64_t i = 0; i < 20; i++) {
        wheel_timer_init(&t[i]);
        wheel_start(&wheel, &t[i], (20 - i) * WHEEL_TICK_MS);
    }
    wheel_advance(&wheel, 20 * WHEEL_TICK_MS);
    for (int i = 19; i >= 0; i--)
        ck_assert_ptr_eq(wheel_next_due(&wheel), &t[i]);
}
END_TEST

START_TEST(after_a_long_stop_everything_that_is_due_fires)
{
    static struct wheel_timer t[3000];
    for (uint64_t i = 0; i < 3000; i++) {
        wheel_timer_init(&t[i]);
        wheel_start(&wheel, &t[i], (i + 1) * WHEEL_TICK_MS);
    }
    wheel_advance(&wheel, 2500 * WHEEL_TICK_MS);
    bool fired[3000] = { false };
    size_t seen = 0;
    for (struct wheel_timer *due; (due = wheel_next_due(&wheel)) != NULL; seen++)
        fired[due - t] = true;
    ck_assert_uint_eq(seen, 2500);
    for (size_t i = 0; i < 2500; i++)
        HOLDS(fired[i]);
    ck_assert(fires(&t[2500], 2501 * WHEEL_TICK_MS));
    for (size_t i = 2501; i < 3000; i++)
        wheel_stop(&t[i]);
}
END_TEST

START_TEST(ticks_may_wrap_around)
{
    struct wheel_timer t;
    const uint64_t end = (uint64_t)WHEEL_TICK_MS << 32; /* 6.8 years */
    wheel_timer_init(&t);
    wheel_advance(&wheel, end / 2);
    wheel_advance(&wheel, end - 1000);
    wheel_start(&wheel, &t, 3000);
    ck_assert(!fires(&t, end - 10));
    ck_assert(!fires(&t, end + 1999));
    ck_assert(fires(&t, end + 2000));
    wheel_init(&wheel);
    wheel_advance(&wheel, end / 2);
    wheel_advance(&wheel, end - ROUND_MS);
    wheel_start(&wheel, &t, 2 * ROUND_MS - 100);
    ck_assert(!fires(&t, end - 10));
    ck_assert(!fires(&t, end + ROUND_MS - 101));
    ck_assert(fires(&t, end + ROUND_MS - 100));
}
END_TEST

#define TIMERS 200

START_TEST(any_sequence_is_as_in_a_plain_list_of_times)
{
    static struct wheel_timer t[TIMERS];
    static uint64_t due[TIMERS]; /* tick; 0: not running */
    uint64_t now = 0;
    seed_random();
    for (int i = 0; i < TIMERS; i++)
        wheel_timer_init(&t[i]);
    for (int step = 0; step < 20000; step++) {
        unsigned i = below(TIMERS);
        if (below(4) == 0) {
            wheel_stop(&t[i]);
            due[i] = 0;
        } else {
            uint64_t after = below(10) == 0 ? below(4 * ROUND_MS) : below(5000);
            wheel_start(&wheel, &t[i], after);
            due[i] = (now + (after > 0 ? after : 1) + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
        }
        now += below(100) == 0 ? below(3 * ROUND_MS) : below(30);
        wheel_advance(&wheel, now);
        for (struct wheel_timer *f; (f = wheel_next_due(&wheel)) != NULL;) {
            HOLDS(due[f - t] != 0 && due[f - t] <= now / WHEEL_TICK_MS);
            due[f - t] = 0;
        }
        for (int k = 0; k < TIMERS; k++)
            HOLDS(due[k] == 0 || due[k] > now / WHEEL_TICK_MS);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wheel");
    TCase *t = tcase_create("wheel");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_loop_test(t, a_timer_fires_at_its_tick_and_once, 0, HLY_ARRAY_LEN(cases));
    tcase_add_test(t, a_timer_started_later_counts_from_then);
    tcase_add_test(t, a_timer_is_never_early_wherever_in_a_tick_it_is_started);
    tcase_add_test(t, forever_is_years_not_at_once);
    tcase_add_test(t, a_stopped_timer_does_not_fire);
    tcase_add_test(t, a_timer_that_is_started_again_moves);
    tcase_add_test(t, timers_are_handed_out_one_at_a_time_and_may_start_again);
    tcase_add_test(t, timers_come_in_the_order_of_their_ticks);
    tcase_add_test(t, after_a_long_stop_everything_that_is_due_fires);
    tcase_add_test(t, ticks_may_wrap_around);
    tcase_add_test(t, any_sequence_is_as_in_a_plain_list_of_times);
    suite_add_tcase(s, t);
    return run_suite(s);
}
