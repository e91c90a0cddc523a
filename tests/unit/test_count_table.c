#include "auth/count_table.h"

#include <errno.h>
#include <pthread.h>

#include "support.h"

static const struct publish_limits ten_a_second = { .messages_per_s = 10, .burst = 5 };
static struct count_table *table;
static bool is_first;

static void make_plain(void)
{
    ck_assert_ptr_nonnull(table = count_table_new(NULL));
}

static void make_rated(void)
{
    ck_assert_ptr_nonnull(table = count_table_new(&ten_a_second));
}

static void done(void)
{
    count_table_free(table);
}

static struct count *take(const char *key, uint64_t max, uint64_t now_ms)
{
    struct count *c = NULL;
    int r = count_take(table, key, strlen(key), max, now_ms, &c, &is_first);
    HOLDS(r == 0 ? c != NULL : r == -EDQUOT && c == NULL);
    return c;
}

START_TEST(a_key_is_refused_while_that_many_have_it)
{
    struct count *a = take("a", 2, 0);
    ck_assert(is_first);
    struct count *b = take("a", 2, 0);
    ck_assert(!is_first && a == b);
    ck_assert_ptr_null(take("a", 2, 0));
    ck_assert_ptr_null(take("a", 1, 0)); /* lowered by a reload */
    struct count *other = take("b", 2, 0);
    ck_assert(is_first);
    ck_assert(!count_give(table, a, 0));
    b = take("a", 2, 0);
    ck_assert(!is_first);
    ck_assert(!count_give(table, b, 0));
    ck_assert(count_give(table, b, 0));
    ck_assert(count_give(table, other, 0));
    ck_assert_uint_eq(count_table_size(table), 0);
}
END_TEST

START_TEST(no_limit_counts_all_the_same)
{
    struct count *c = NULL;
    for (int i = 0; i < 10000; i++)
        c = take("a", 0, 0);
    ck_assert_uint_eq(count_table_size(table), 1);
    ck_assert_ptr_null(take("a", 10000, 0));
    for (int i = 0; i < 10000; i++)
        HOLDS(count_give(table, c, 0) == (i == 9999));
    ck_assert_uint_eq(count_table_size(table), 0);
}
END_TEST

/* Keys are bytes: one may hold a NUL, or be the beginning of another. */
static const struct {
    const char *name;
    const char *a, *b;
    size_t a_len, b_len;
} different[] = {
    { "another last byte", "aa", "ab", 2, 2 },
    { "one is the beginning of the other", "a", "aa", 1, 2 },
    { "with a NUL behind it", "a", "a\0", 1, 2 },
    { "another byte behind a NUL", "a\0a", "a\0b", 3, 3 },
};

START_TEST(keys_are_told_apart)
{
    struct count *a, *b;
    ck_assert_int_eq(count_take(table, different[_i].a, different[_i].a_len, 1, 0, &a, &is_first), 0);
    ck_assert_msg(count_take(table, different[_i].b, different[_i].b_len, 1, 0, &b, &is_first) == 0, "%s", different[_i].name);
    ck_assert(count_has_key(table, a, different[_i].a, different[_i].a_len));
    ck_assert(!count_has_key(table, a, different[_i].b, different[_i].b_len));
    count_give(table, a, 0);
    count_give(table, b, 0);
}
END_TEST

#define KEYS 50
#define MAX 7

/* Against an array of counts: takes and gives in any order. */
START_TEST(it_counts_as_a_list_would)
{
    unsigned counts[KEYS] = { 0 };
    struct count *entries[KEYS] = { NULL };
    seed_random();
    for (int step = 0; step < 200000; step++) {
        uint32_t k = below(KEYS);
        char key[16];
        snprintf(key, sizeof key, "key %u", k);
        if (below(2) == 0) {
            struct count *c = take(key, MAX, (uint64_t)step);
            HOLDS((c != NULL) == (counts[k] < MAX));
            HOLDS(c == NULL || is_first == (counts[k] == 0));
            HOLDS(c == NULL || counts[k] == 0 || c == entries[k]);
            counts[k] += c != NULL;
            entries[k] = c != NULL ? c : entries[k];
        } else if (counts[k] > 0) {
            counts[k]--;
            HOLDS(count_give(table, entries[k], (uint64_t)step) == (counts[k] == 0));
        }
    }
    size_t living = 0;
    for (unsigned k = 0; k < KEYS; k++)
        living += counts[k] > 0;
    ck_assert_uint_eq(count_table_size(table), living); /* nobody has published: none is idle */
    for (unsigned k = 0; k < KEYS; k++)
        while (counts[k]-- > 0)
            count_give(table, entries[k], 200000);
    ck_assert_uint_eq(count_table_size(table), 0);
}
END_TEST

#define THREADS 4

static void *come_and_go(void *arg)
{
    unsigned taken[KEYS] = { 0 };
    struct count *entries[KEYS];
    uint32_t state = (uint32_t)(uintptr_t)arg;
    bool first;
    for (int step = 0; step < 50000; step++) {
        state = state * 1664525 + 1013904223;
        uint32_t k = (state >> 16) % KEYS;
        uint64_t retry_ms;
        if ((state >> 8 & 1) == 0 && count_take(table, &k, sizeof k, 0, 0, &entries[k], &first) == 0)
            taken[k]++;
        else if (taken[k] > 0 && count_rate_take(table, entries[k], (uint64_t)step, 1, &retry_ms) && taken[k]-- > 0)
            count_give(table, entries[k], (uint64_t)step);
    }
    for (unsigned k = 0; k < KEYS; k++)
        while (taken[k] > 0 && taken[k]-- > 0)
            count_give(table, entries[k], 1000000);
    return NULL;
}

START_TEST(reactors_share_it)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_le(count_table_size(table), KEYS); /* all that is left is idle, for what it owes: count_table_free() asserts it */
}
END_TEST

/* ---- what a user may publish */

START_TEST(a_users_connections_share_what_it_may_publish)
{
    uint64_t retry_ms = 0;
    struct count *one = take("alice", 0, 0), *two = take("alice", 0, 0), *other = take("bob", 0, 0);
    for (int i = 0; i < 5; i++)
        ck_assert(count_rate_take(table, i % 2 ? one : two, 0, 1, &retry_ms));
    ck_assert(!count_rate_take(table, one, 0, 1, &retry_ms));
    ck_assert_uint_eq(retry_ms, 100);
    ck_assert(count_rate_take(table, other, 0, 1, &retry_ms));
    ck_assert_uint_eq(count_rate_spend(table, two, 0, 1, 1), 200); /* one owed, and one to come */
    ck_assert_uint_eq(count_rate_spend(table, one, 100, 0, 0), 100);
    ck_assert_uint_eq(count_rate_spend(table, one, 200, 0, 0), 0);
    count_give(table, one, 200);
    count_give(table, two, 200);
    count_give(table, other, 200);
}
END_TEST

START_TEST(who_comes_anew_for_each_message_is_limited_all_the_same)
{
    int passed = 0;
    uint64_t retry_ms;
    for (uint64_t now_ms = 0; now_ms < 1000; now_ms++) {
        struct count *c = take("alice", 1, now_ms);
        ck_assert(is_first);
        passed += count_rate_take(table, c, now_ms, 1, &retry_ms);
        HOLDS(count_give(table, c, now_ms));
    }
    ck_assert_int_eq(passed, 5 + 9);
    ck_assert_uint_eq(count_table_size(table), 1); /* it owes */
}
END_TEST

START_TEST(an_entry_goes_when_nothing_is_owed_any_more)
{
    uint64_t retry_ms;
    struct count *c = take("alice", 0, 0);
    count_rate_take(table, c, 0, 1, &retry_ms);
    count_give(table, c, 50);
    ck_assert_uint_eq(count_table_size(table), 1);
    for (int i = 0; i < 200; i++) { /* others come and go, in every shard */
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        count_give(table, take(key, 0, 100), 100);
    }
    ck_assert_uint_eq(count_table_size(table), 0);
}
END_TEST

START_TEST(many_who_owe_take_no_more_than_their_share)
{
    uint64_t retry_ms;
    for (unsigned i = 0; i < 4 * COUNT_IDLE_MAX; i++) {
        char key[16];
        snprintf(key, sizeof key, "%u", i);
        struct count *c = take(key, 0, 0);
        count_rate_take(table, c, 0, 1, &retry_ms);
        count_give(table, c, 0);
    }
    ck_assert_uint_gt(count_table_size(table), COUNT_IDLE_MAX / 2);
    ck_assert_uint_le(count_table_size(table), COUNT_IDLE_MAX + 16);
}
END_TEST

START_TEST(without_rates_all_may_publish)
{
    uint64_t retry_ms;
    struct count *c = take("alice", 0, 0);
    for (int i = 0; i < 1000; i++)
        HOLDS(count_rate_take(table, c, 0, 1000000, &retry_ms) && count_rate_spend(table, c, 0, 1, 1) == 0);
    ck_assert(count_give(table, c, 0));
    ck_assert_uint_eq(count_table_size(table), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("count_table");
    TCase *plain = tcase_create("addresses"), *rated = tcase_create("users");
    tcase_add_checked_fixture(plain, make_plain, done);
    tcase_add_test(plain, a_key_is_refused_while_that_many_have_it);
    tcase_add_test(plain, no_limit_counts_all_the_same);
    tcase_add_loop_test(plain, keys_are_told_apart, 0, (int)HLY_ARRAY_LEN(different));
    tcase_add_test(plain, it_counts_as_a_list_would);
    tcase_add_test(plain, reactors_share_it);
    tcase_add_test(plain, without_rates_all_may_publish);
    suite_add_tcase(s, plain);
    tcase_add_checked_fixture(rated, make_rated, done);
    tcase_add_test(rated, a_key_is_refused_while_that_many_have_it);
    tcase_add_loop_test(rated, keys_are_told_apart, 0, (int)HLY_ARRAY_LEN(different));
    tcase_add_test(rated, it_counts_as_a_list_would);
    tcase_add_test(rated, reactors_share_it);
    tcase_add_test(rated, a_users_connections_share_what_it_may_publish);
    tcase_add_test(rated, who_comes_anew_for_each_message_is_limited_all_the_same);
    tcase_add_test(rated, an_entry_goes_when_nothing_is_owed_any_more);
    tcase_add_test(rated, many_who_owe_take_no_more_than_their_share);
    suite_add_tcase(s, rated);
    return run_suite(s);
}
