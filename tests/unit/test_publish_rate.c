#include "auth/publish_rate.h"

#include "support.h"

static struct publish_rate rate;
static uint64_t retry_ms;

static void begin(uint32_t messages_per_s, uint32_t burst, uint32_t bytes_per_s)
{
    struct publish_limits limits = { messages_per_s, burst, bytes_per_s };
    publish_rate_init(&rate, &limits, 0);
}

static bool take(uint64_t now_ms, uint32_t bytes)
{
    retry_ms = 0;
    bool taken = publish_rate_take(&rate, now_ms, bytes, &retry_ms);
    HOLDS(taken == (retry_ms == 0));
    return taken;
}

START_TEST(messages_are_limited)
{
    begin(50, 3, 0);
    ck_assert(take(0, 1000000) && take(0, 0) && take(0, 1));
    ck_assert(!take(0, 0));
    ck_assert_uint_eq(retry_ms, 20);
    ck_assert(take(20, 0));
}
END_TEST

START_TEST(bytes_are_limited)
{
    begin(0, 1, 1000);
    ck_assert(take(0, 600) && take(0, 400));
    ck_assert(!take(0, 500));
    ck_assert_uint_eq(retry_ms, 500);
    ck_assert(!take(499, 500));
    ck_assert(take(500, 500));
}
END_TEST

START_TEST(a_message_refused_for_its_bytes_is_not_counted_as_a_message)
{
    begin(1, 2, 1000);
    ck_assert(take(0, 900));
    for (int i = 0; i < 100; i++)
        ck_assert(!take(0, 200));
    ck_assert(take(0, 100));
    ck_assert(!take(0, 0)); /* the second message of two */
}
END_TEST

START_TEST(a_message_larger_than_a_second_allows_passes_alone)
{
    begin(0, 1, 1000);
    ck_assert(take(0, 5000));
    ck_assert(!take(0, 1));
    ck_assert_uint_eq(retry_ms, 4001);
    ck_assert(take(5000, 5000));
}
END_TEST

START_TEST(what_is_spent_beyond_it_is_waited_for)
{
    begin(10, 2, 1000);
    ck_assert_uint_eq(publish_rate_spend(&rate, 0, 1, 0), 0);
    ck_assert_uint_eq(publish_rate_spend(&rate, 0, 1, 0), 100);
    ck_assert_uint_eq(publish_rate_spend(&rate, 0, 1, 0), 200);
    ck_assert_uint_eq(publish_rate_spend(&rate, 0, 0, 0), 200); /* asked only */
    ck_assert_uint_eq(publish_rate_spend(&rate, 150, 0, 0), 50);
    ck_assert_uint_eq(publish_rate_spend(&rate, 200, 0, 0), 0);
    begin(10, 2, 1000);
    ck_assert_uint_eq(publish_rate_spend(&rate, 0, 1, 3000), 2001);
    ck_assert_uint_eq(publish_rate_spend(&rate, 2001, 0, 0), 0);
}
END_TEST

START_TEST(it_is_as_good_as_new_when_all_has_come_back)
{
    begin(10, 2, 1000);
    ck_assert(publish_rate_is_full(&rate, 0));
    ck_assert(take(0, 500));
    ck_assert(!publish_rate_is_full(&rate, 100));
    ck_assert(!publish_rate_is_full(&rate, 499));
    ck_assert(publish_rate_is_full(&rate, 500));
}
END_TEST

START_TEST(nothing_set_limits_nothing)
{
    begin(0, 0, 0);
    for (int i = 0; i < 1000; i++)
        HOLDS(take(0, UINT32_MAX) && publish_rate_spend(&rate, 0, 1000, UINT32_MAX) == 0 && publish_rate_is_full(&rate, 0));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("publish_rate");
    TCase *t = tcase_create("publish_rate");
    tcase_add_test(t, messages_are_limited);
    tcase_add_test(t, bytes_are_limited);
    tcase_add_test(t, a_message_refused_for_its_bytes_is_not_counted_as_a_message);
    tcase_add_test(t, a_message_larger_than_a_second_allows_passes_alone);
    tcase_add_test(t, what_is_spent_beyond_it_is_waited_for);
    tcase_add_test(t, it_is_as_good_as_new_when_all_has_come_back);
    tcase_add_test(t, nothing_set_limits_nothing);
    suite_add_tcase(s, t);
    return run_suite(s);
}
