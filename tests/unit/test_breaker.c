#include "auth/breaker.h"

#include "support.h"

static const struct breaker_limits limits = { .failures = 3, .pause_ms = 1000 };
static struct breaker b;

static void open_at(uint64_t now_ms)
{
    b = (struct breaker){ 0 };
    for (uint32_t i = 0; i < limits.failures; i++)
        HOLDS(breaker_failed(&b, &limits, false, now_ms) == (i + 1 == limits.failures));
    HOLDS(b.state == BREAKER_OPEN);
}

START_TEST(failures_in_a_row_open_it_and_a_success_between_begins_anew)
{
    b = (struct breaker){ 0 };
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(breaker_ask(&b, 5), BREAKER_PASSES);
        ck_assert(!breaker_failed(&b, &limits, false, 5));
        ck_assert(!breaker_failed(&b, &limits, false, 5));
        ck_assert(!breaker_succeeded(&b, false));
    }
    ck_assert(!breaker_failed(&b, &limits, false, 5));
    ck_assert(!breaker_failed(&b, &limits, false, 5));
    ck_assert_int_eq(breaker_ask(&b, 5), BREAKER_PASSES);
    ck_assert(breaker_failed(&b, &limits, false, 5));
    ck_assert_int_eq(breaker_ask(&b, 5), BREAKER_REFUSES);
}
END_TEST

START_TEST(while_it_is_open_nothing_passes_and_after_the_pause_one_does)
{
    open_at(5000);
    ck_assert_uint_eq(breaker_retry_ms(&b, 5000), 1000);
    ck_assert_int_eq(breaker_ask(&b, 5000), BREAKER_REFUSES);
    ck_assert_int_eq(breaker_ask(&b, 5999), BREAKER_REFUSES);
    ck_assert_uint_eq(breaker_retry_ms(&b, 5999), 1);
    ck_assert_uint_eq(breaker_retry_ms(&b, 6000), 0);
    ck_assert_int_eq(breaker_ask(&b, 6000), BREAKER_PROBES);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(breaker_ask(&b, 9000000), BREAKER_REFUSES);
}
END_TEST

START_TEST(the_probe_decides)
{
    open_at(0);
    ck_assert_int_eq(breaker_ask(&b, 1000), BREAKER_PROBES);
    ck_assert(breaker_failed(&b, &limits, true, 1500));
    ck_assert_int_eq(breaker_ask(&b, 2499), BREAKER_REFUSES);
    ck_assert_int_eq(breaker_ask(&b, 2500), BREAKER_PROBES);
    ck_assert(breaker_succeeded(&b, true));
    ck_assert_int_eq(breaker_ask(&b, 2500), BREAKER_PASSES);
    ck_assert(!breaker_failed(&b, &limits, false, 2500)); /* what it had counted before is forgotten */
    ck_assert(!breaker_failed(&b, &limits, false, 2500));
    ck_assert(breaker_failed(&b, &limits, false, 2500));
}
END_TEST

START_TEST(what_was_on_its_way_when_it_opened_does_not_count)
{
    open_at(0);
    ck_assert(!breaker_failed(&b, &limits, false, 900)); /* it does not open it for longer */
    ck_assert(!breaker_succeeded(&b, false));
    ck_assert_int_eq(b.state, BREAKER_OPEN);
    ck_assert_int_eq(breaker_ask(&b, 1000), BREAKER_PROBES);
    ck_assert(!breaker_failed(&b, &limits, false, 1000));
    ck_assert(!breaker_succeeded(&b, false));
    ck_assert_int_eq(b.state, BREAKER_HALF_OPEN);
    ck_assert(breaker_succeeded(&b, true));
}
END_TEST

START_TEST(a_probe_without_an_outcome_makes_room_for_the_next)
{
    open_at(0);
    ck_assert_int_eq(breaker_ask(&b, 1000), BREAKER_PROBES);
    breaker_abandoned(&b, false, 1000); /* another one than the probe */
    ck_assert_int_eq(breaker_ask(&b, 1000), BREAKER_REFUSES);
    breaker_abandoned(&b, true, 1000);
    ck_assert_int_eq(breaker_ask(&b, 1000), BREAKER_PROBES);
    ck_assert(breaker_succeeded(&b, true));
    breaker_abandoned(&b, true, 1000); /* too late: it is closed */
    ck_assert_int_eq(breaker_ask(&b, 1000), BREAKER_PASSES);
}
END_TEST

START_TEST(whatever_comes_never_more_than_one_probe_is_on_its_way_and_it_closes_by_a_probe_alone)
{
    bool has_probe = false;
    seed_random();
    b = (struct breaker){ 0 };
    for (uint64_t now = 0; now < 300000; now += below(100)) {
        enum breaker_state before = b.state;
        bool is_probe = has_probe && below(2) == 0;
        switch (below(4)) {
        case 0: {
            enum breaker_pass pass = breaker_ask(&b, now);
            HOLDS(pass != BREAKER_PROBES || !has_probe);
            HOLDS((pass == BREAKER_PASSES) == (before == BREAKER_CLOSED));
            has_probe |= pass == BREAKER_PROBES;
            break;
        }
        case 1:
            HOLDS(breaker_succeeded(&b, is_probe) == (before != b.state));
            HOLDS(before == b.state || (is_probe && b.state == BREAKER_CLOSED));
            has_probe &= !is_probe;
            break;
        case 2:
            HOLDS(breaker_failed(&b, &limits, is_probe, now) == (before != b.state));
            HOLDS(before == b.state || b.state == BREAKER_OPEN);
            has_probe &= !is_probe;
            break;
        case 3:
            breaker_abandoned(&b, is_probe, now);
            has_probe &= !is_probe;
            break;
        }
        HOLDS(has_probe == (b.state == BREAKER_HALF_OPEN));
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("breaker");
    TCase *t = tcase_create("breaker");
    tcase_add_test(t, failures_in_a_row_open_it_and_a_success_between_begins_anew);
    tcase_add_test(t, while_it_is_open_nothing_passes_and_after_the_pause_one_does);
    tcase_add_test(t, the_probe_decides);
    tcase_add_test(t, what_was_on_its_way_when_it_opened_does_not_count);
    tcase_add_test(t, a_probe_without_an_outcome_makes_room_for_the_next);
    tcase_add_test(t, whatever_comes_never_more_than_one_probe_is_on_its_way_and_it_closes_by_a_probe_alone);
    suite_add_tcase(s, t);
    return run_suite(s);
}
