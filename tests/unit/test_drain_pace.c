#include "server/drain_pace.h"

#include "support.h"

static struct drain_pace pace = { .count = 1000, .total = 4000, .time_ms = 10000, .rate = 1000 };

START_TEST(clients_are_told_evenly_over_the_time)
{
    static const uint64_t counts[] = { 0, 1, 2, 3, 7, 1000, 1000000 };
    for (size_t i = 0; i < HLY_ARRAY_LEN(counts); i++) {
        struct drain_pace p = pace;
        p.count = counts[i];
        uint64_t before = 0;
        for (uint64_t ms = 0; ms <= 10000; ms++) {
            uint64_t due = drain_pace_due(&p, ms), even = p.count * ms / p.time_ms;
            HOLDS(due >= before && due <= p.count);
            HOLDS(due + 1 >= even && due <= even + 2);
            before = due;
        }
        ck_assert_uint_eq(drain_pace_due(&p, 10000), p.count);
        ck_assert_uint_eq(drain_pace_due(&p, 99999999), p.count);
    }
}
END_TEST

START_TEST(without_a_time_all_are_told_at_once)
{
    struct drain_pace p = pace;
    p.time_ms = 0;
    ck_assert_uint_eq(drain_pace_due(&p, 0), 1000);
}
END_TEST

/* Four reactors, each with its clients: in every half second of the return not more come than the rate, and a tenth. */
static void count_returns(struct drain_pace p, unsigned reactors, uint64_t *ret_first_ms, uint64_t *ret_last_ms)
{
    enum { SLOTS = 400, SLOT_MS = 500 };
    uint64_t slots[SLOTS] = { 0 };
    *ret_first_ms = UINT64_MAX;
    *ret_last_ms = 0;
    for (unsigned r = 0; r < reactors; r++) {
        uint64_t told = 0;
        for (uint64_t ms = 0; told < p.count; ms += 20) {
            for (uint64_t due = drain_pace_due(&p, ms); told < due; told++) {
                uint64_t at = ms + drain_pace_return_ms(&p, told, ms, below(1000000));
                HOLDS(at / SLOT_MS < SLOTS);
                slots[at / SLOT_MS]++;
                *ret_first_ms = at < *ret_first_ms ? at : *ret_first_ms;
                *ret_last_ms = at > *ret_last_ms ? at : *ret_last_ms;
            }
        }
    }
    for (size_t i = 0; i < SLOTS; i++)
        ck_assert_msg(slots[i] <= p.rate * SLOT_MS / 1000 * 11 / 10 + reactors, "%" PRIu64 " return in half a second", slots[i]);
}

START_TEST(returns_keep_to_the_rate)
{
    static const uint64_t totals[] = { 4, 400, 4000, 20000, 100000 };
    uint64_t first, last;
    seed_random();
    for (size_t i = 0; i < HLY_ARRAY_LEN(totals); i++) {
        struct drain_pace p = pace;
        p.total = totals[i];
        p.count = totals[i] / 4;
        count_returns(p, 4, &first, &last);
        ck_assert_uint_ge(first, 10000); /* when the process has ended */
        ck_assert_uint_le(last, 10000 + 1000 + totals[i] + 1000);
        p.is_served = true;
        count_returns(p, 4, &first, &last);
        ck_assert_uint_lt(first, 1000);
        ck_assert_uint_le(last, (totals[i] > 10000 ? totals[i] : 10000) + 1000);
    }
}
END_TEST

START_TEST(nobody_waits_longer_than_an_hour)
{
    struct drain_pace p = { .count = 100000000, .total = 100000000, .time_ms = 3600000, .rate = 1 };
    ck_assert_uint_le(drain_pace_return_ms(&p, 99999999, 0, 999), 3600000);
    p.count = p.total = 0;
    ck_assert_uint_le(drain_pace_return_ms(&p, 0, 0, 0), 3601000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("drain_pace");
    TCase *t = tcase_create("drain_pace");
    tcase_add_test(t, clients_are_told_evenly_over_the_time);
    tcase_add_test(t, without_a_time_all_are_told_at_once);
    tcase_add_test(t, returns_keep_to_the_rate);
    tcase_add_test(t, nobody_waits_longer_than_an_hour);
    suite_add_tcase(s, t);
    return run_suite(s);
}
