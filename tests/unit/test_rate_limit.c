#include "auth/rate_limit.h"

#include "support.h"

static struct rate_limit limit;
static uint64_t retry_ms;

static bool take(uint64_t now_ms, uint32_t n)
{
    retry_ms = 0;
    bool taken = rate_limit_take(&limit, now_ms, n, &retry_ms);
    HOLDS(taken == (retry_ms == 0));
    return taken;
}

START_TEST(a_burst_passes_at_once_and_then_the_rate)
{
    rate_limit_init(&limit, 10, 3, 1000);
    ck_assert(take(1000, 1) && take(1000, 1) && take(1000, 1));
    ck_assert(!take(1000, 1));
    ck_assert_uint_eq(retry_ms, 100);
    ck_assert(!take(1099, 1));
    ck_assert_uint_eq(retry_ms, 1);
    ck_assert(take(1100, 1));
    ck_assert(!take(1100, 1));
    ck_assert(take(1200, 1));
}
END_TEST

START_TEST(a_refusal_takes_nothing)
{
    rate_limit_init(&limit, 10, 5, 0);
    ck_assert(take(0, 3));
    for (int i = 0; i < 100; i++)
        ck_assert(!take(0, 3));
    ck_assert(take(0, 2));
}
END_TEST

START_TEST(a_pause_saves_up_no_more_than_the_burst)
{
    rate_limit_init(&limit, 1000, 5, 0);
    ck_assert(take(0, 5));
    ck_assert(take(UINT64_MAX, 5)); /* no overflow */
    ck_assert(!take(UINT64_MAX, 1));
    rate_limit_init(&limit, 8, 5, 0);
    ck_assert(take(0, 5));
    ck_assert(take(UINT64_C(1) << 61, 5)); /* so long that 8 a second are 0 modulo 2^64 */
}
END_TEST

START_TEST(what_is_larger_than_the_burst_passes_when_it_is_full_and_is_owed)
{
    rate_limit_init(&limit, 10, 5, 0);
    ck_assert(take(0, 25));
    ck_assert(!take(0, 1));
    ck_assert_uint_eq(retry_ms, 2100);
    ck_assert(!take(2099, 1));
    ck_assert(take(2100, 1));
    ck_assert(!take(2100, 100)); /* not before it is full again */
    ck_assert_uint_eq(retry_ms, 500);
    ck_assert(take(2600, 100));
    ck_assert(!take(2600 + 9599, 1));
    ck_assert(take(2600 + 9600, 1));
}
END_TEST

START_TEST(the_time_to_retry_is_exact)
{
    static const uint32_t rates[] = { 1, 3, 7, 999, 1000, 1001, 65536, UINT32_MAX };
    rate_limit_init(&limit, rates[_i], 10, 0);
    uint64_t now = 0;
    for (int i = 0; i < 1000; i++) {
        if (take(now, 1 + below(20)))
            continue;
        uint64_t wait = retry_ms;
        struct rate_limit before = limit;
        uint32_t n = 10;
        if (!take(now, n)) {
            wait = retry_ms;
            if (wait > 1)
                ck_assert(!take(now + wait - 1, n));
            limit = before;
            ck_assert(take(now + wait, n));
        }
        now += wait;
    }
}
END_TEST

/* However it is asked: in any stretch of time no more than burst + rate * time passes. */
START_TEST(no_more_than_the_rate_passes_however_often_it_is_asked)
{
    seed_random();
    for (int round = 0; round < 50; round++) {
        uint32_t rate = 1 + below(5000), burst = 1 + below(100);
        uint64_t now = 0, passed = 0;
        rate_limit_init(&limit, rate, burst, 0);
        for (int i = 0; i < 2000; i++) {
            uint32_t n = 1 + below(burst);
            now += below(3) == 0 ? below(50) : 0;
            passed += take(now, n) ? n : 0;
            HOLDS(passed * 1000 <= burst * UINT64_C(1000) + rate * now);
        }
        for (int i = 0; i < 5000; i++) /* asked each millisecond for one, nothing is lost */
            passed += take(++now, 1) ? 1 : 0;
        HOLDS(rate > 1000 || burst == 1 || passed * 1000 + burst * UINT64_C(1000) >= rate * UINT64_C(5000));
    }
}
END_TEST

START_TEST(time_that_goes_back_stands_still)
{
    rate_limit_init(&limit, 10, 1, 5000);
    ck_assert(take(5000, 1));
    ck_assert(!take(0, 1));
    ck_assert(!take(4999, 1));
    ck_assert(!take(5099, 1));
    ck_assert(take(5100, 1));
}
END_TEST

START_TEST(nothing_set_limits_nothing)
{
    limit = (struct rate_limit){ 0 };
    for (uint64_t i = 0; i < 100; i++)
        ck_assert(take(i, UINT32_MAX));
    rate_limit_init(&limit, 0, 5, 0);
    ck_assert(take(0, 100) && take(0, 100));
    rate_limit_init(&limit, 10, 0, 0); /* a burst of 0 would let nothing pass */
    ck_assert(take(0, 1));
    ck_assert(!take(0, 1));
}
END_TEST

START_TEST(taking_nothing_waits_only_for_a_debt)
{
    rate_limit_init(&limit, 10, 1, 0);
    ck_assert(take(0, 1) && take(0, 0));
    ck_assert(!take(0, 1));
    ck_assert(take(100, 3));
    ck_assert(!take(100, 0));
    ck_assert_uint_eq(retry_ms, 200);
}
END_TEST

START_TEST(a_change_keeps_what_was_taken)
{
    rate_limit_init(&limit, 10, 10, 0);
    ck_assert(take(0, 8));
    rate_limit_change(&limit, 1, 5, 0);
    ck_assert(take(0, 2));
    ck_assert(!take(0, 1));
    ck_assert_uint_eq(retry_ms, 1000);
    rate_limit_change(&limit, 1000, 1000, 500); /* half a token was earned before */
    ck_assert(!take(500, 1));
    ck_assert_uint_eq(retry_ms, 1);
    rate_limit_init(&limit, 10, 10, 0);
    rate_limit_change(&limit, 10, 3, 0);
    ck_assert(take(0, 3));
    ck_assert(!take(0, 1));
    rate_limit_change(&limit, 0, 3, 0);
    ck_assert(take(0, 1000));
    rate_limit_change(&limit, 10, 3, 7000);
    ck_assert(take(7000, 3));
    ck_assert(!take(7000, 1));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rate_limit");
    TCase *t = tcase_create("rate_limit");
    rng = 1;
    tcase_add_test(t, a_burst_passes_at_once_and_then_the_rate);
    tcase_add_test(t, a_refusal_takes_nothing);
    tcase_add_test(t, a_pause_saves_up_no_more_than_the_burst);
    tcase_add_test(t, what_is_larger_than_the_burst_passes_when_it_is_full_and_is_owed);
    tcase_add_loop_test(t, the_time_to_retry_is_exact, 0, 8);
    tcase_add_test(t, no_more_than_the_rate_passes_however_often_it_is_asked);
    tcase_add_test(t, time_that_goes_back_stands_still);
    tcase_add_test(t, nothing_set_limits_nothing);
    tcase_add_test(t, taking_nothing_waits_only_for_a_debt);
    tcase_add_test(t, a_change_keeps_what_was_taken);
    suite_add_tcase(s, t);
    return run_suite(s);
}
