#include "core/idempotency.h"

#include "support.h"

#define WINDOW 1000

static struct key_table table;

static void setup(void)
{
    key_table_init(&table, 100, WINDOW);
}

static void teardown(void)
{
    key_table_done(&table);
}

static struct key_entry *find(const char *topic, const char *key, uint64_t now_ms)
{
    return key_table_find(&table, TEXT(topic), TEXT(key), now_ms);
}

static void add(const char *topic, const char *key, uint64_t now_ms, uint64_t seq)
{
    struct key_entry *e = key_table_add(&table, TEXT(topic), TEXT(key), now_ms);
    HOLDS(e != NULL);
    e->seq = seq;
}

static const struct {
    const char *name;
    uint64_t used_ms;
    uint64_t now_ms;
    bool want;
} ages[] = {
    { "at once", 5000, 5000, true },
    { "within the window", 5000, 5000 + WINDOW / 2, true },
    { "its last moment", 5000, 5000 + WINDOW - 1, true },
    { "the window is over", 5000, 5000 + WINDOW, false },
    { "long over", 5000, 5000 + 100 * WINDOW, false },
    { "used when the clock began", 0, WINDOW - 1, true },
    { "looked for by a thread that read the clock before the one that used it", 5000, 4999, true },
    { "the same, long before", 5000, 3000, true },
};

START_TEST(a_key_is_known_for_the_window)
{
    add("topic", "key", ages[_i].used_ms, 42);
    struct key_entry *e = find("topic", "key", ages[_i].now_ms);
    ck_assert_msg((e != NULL) == ages[_i].want, "%s", ages[_i].name);
    ck_assert(e == NULL || e->seq == 42);
    ck_assert_uint_eq(map_count(&table.map), ages[_i].want);
}
END_TEST

START_TEST(a_key_that_ran_out_can_be_used_anew)
{
    add("t", "k", 0, 1);
    ck_assert_ptr_null(find("t", "k", WINDOW));
    add("t", "k", WINDOW, 2);
    ck_assert_uint_eq(find("t", "k", 2 * WINDOW - 1)->seq, 2);
    ck_assert_ptr_null(find("t", "k", 2 * WINDOW));
}
END_TEST

static const struct {
    const char *name;
    struct slice topic;
    struct slice key;
} others[] = {
    { "another key", { "topic", 5 }, { "kez", 3 } },
    { "another topic", { "topid", 5 }, { "key", 3 } },
    { "the same bytes, cut elsewhere", { "topi", 4 }, { "ckey", 4 } },
    { "the same bytes, cut elsewhere, the other way", { "topick", 6 }, { "ey", 2 } },
    { "a longer key", { "topic", 5 }, { "key ", 4 } },
    { "a shorter key", { "topic", 5 }, { "ke", 2 } },
    { "another case", { "topic", 5 }, { "Key", 3 } },
    { "a key with a NUL", { "topic", 5 }, { "key\0", 4 } },
};

START_TEST(a_key_is_one_of_its_topic_and_exact)
{
    add("topic", "key", 0, 1);
    ck_assert_msg(key_table_find(&table, others[_i].topic, others[_i].key, 0) == NULL, "%s", others[_i].name);
    struct key_entry *e = key_table_add(&table, others[_i].topic, others[_i].key, 0);
    e->seq = 2;
    ck_assert_uint_eq(find("topic", "key", 0)->seq, 1);
    ck_assert_uint_eq(key_table_find(&table, others[_i].topic, others[_i].key, 0)->seq, 2);
}
END_TEST

START_TEST(at_the_limit_the_oldest_keys_go)
{
    char key[16];
    for (unsigned n = 0; n < 250; n++) {
        snprintf(key, sizeof key, "%u", n);
        add("t", key, 10, n);
        ck_assert_uint_le(map_count(&table.map), 100);
    }
    for (unsigned n = 0; n < 250; n++) {
        snprintf(key, sizeof key, "%u", n);
        struct key_entry *e = find("t", key, 10);
        HOLDS((e != NULL) == (n >= 150));
        HOLDS(e == NULL || e->seq == n);
    }
}
END_TEST

START_TEST(a_sweep_takes_what_ran_out_and_no_more)
{
    char key[16];
    for (int i = 0; i < 100; i++) { /* as many as there may be */
        snprintf(key, sizeof key, "%d", i);
        add("t", key, (uint64_t)i, 1);
    }
    key_table_expire(&table, 100, 0, 1000);
    ck_assert_uint_eq(map_count(&table.map), 100);
    ck_assert_uint_eq(table.evicted, 0);
    key_table_expire(&table, WINDOW + 39, 0, 1000); /* the first forty are over */
    ck_assert_uint_eq(map_count(&table.map), 60);
    ck_assert_uint_eq(table.evicted, 0);
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "new %d", i);
        add("t", key, WINDOW + 39, 1);
    }
    ck_assert_uint_eq(map_count(&table.map), 100);
    ck_assert_uint_eq(table.evicted, 10);
}
END_TEST

START_TEST(a_table_for_one_key_has_the_last)
{
    key_table_done(&table);
    key_table_init(&table, 1, WINDOW);
    add("t", "a", 0, 1);
    add("t", "b", 0, 2);
    ck_assert_ptr_null(find("t", "a", 0));
    ck_assert_uint_eq(find("t", "b", 0)->seq, 2);
}
END_TEST

START_TEST(a_table_for_no_keys_has_none)
{
    key_table_done(&table);
    key_table_init(&table, 0, WINDOW);
    ck_assert_ptr_null(key_table_add(&table, TEXT("t"), TEXT("k"), 0));
    ck_assert_ptr_null(find("t", "k", 0));
}
END_TEST

START_TEST(without_a_window_a_key_is_added_and_already_over)
{
    key_table_done(&table);
    key_table_init(&table, 100, 0);
    for (unsigned n = 0; n < 20; n++) {
        add("t", "k", n, n);
        ck_assert_ptr_null(find("t", "k", n));
    }
    ck_assert_uint_eq(map_count(&table.map), 0);
}
END_TEST

START_TEST(keys_that_ran_out_go_as_new_ones_come)
{
    char key[16];
    for (unsigned n = 0; n < 100; n++) {
        snprintf(key, sizeof key, "old%u", n);
        add("t", key, 0, n);
    }
    for (unsigned n = 0; n < 20; n++) {
        snprintf(key, sizeof key, "new%u", n);
        add("t", key, 5 * WINDOW, n);
    }
    ck_assert_uint_eq(map_count(&table.map), 20);
}
END_TEST

START_TEST(a_removed_key_is_forgotten)
{
    add("t", "a", 0, 1);
    add("t", "b", 0, 2);
    key_table_remove(&table, find("t", "a", 0));
    ck_assert_ptr_null(find("t", "a", 0));
    ck_assert_uint_eq(find("t", "b", 0)->seq, 2);
}
END_TEST

START_TEST(any_sequence_of_uses_is_as_in_a_plain_list)
{
    static struct {
        uint64_t used_ms; /* 0: never */
        uint64_t order;
    } model[300];
    uint64_t now = 1, order = 1, known = 0;
    char key[16];
    seed_random();
    for (int step = 0; step < 30000; step++) {
        now += below(20);
        unsigned n = below(300), live = 0;
        snprintf(key, sizeof key, "%u", n);
        struct key_entry *e = find("t", key, now);
        for (unsigned i = 0; i < 300; i++) /* those used after it, which push it out at the limit */
            live += model[i].order > model[n].order;
        bool want = model[n].used_ms != 0 && now - model[n].used_ms < WINDOW && live < 100;
        HOLDS((e != NULL) == want);
        if (e != NULL) {
            HOLDS(e->seq == model[n].order);
            known++;
            continue;
        }
        model[n].used_ms = now;
        model[n].order = ++order;
        add("t", key, now, order);
        HOLDS(map_count(&table.map) <= 100);
    }
    ck_assert_uint_gt(known, 1000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("idempotency");
    TCase *t = tcase_create("idempotency");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, a_key_is_known_for_the_window, 0, HLY_ARRAY_LEN(ages));
    tcase_add_test(t, a_key_that_ran_out_can_be_used_anew);
    tcase_add_loop_test(t, a_key_is_one_of_its_topic_and_exact, 0, HLY_ARRAY_LEN(others));
    tcase_add_test(t, at_the_limit_the_oldest_keys_go);
    tcase_add_test(t, a_sweep_takes_what_ran_out_and_no_more);
    tcase_add_test(t, a_table_for_one_key_has_the_last);
    tcase_add_test(t, a_table_for_no_keys_has_none);
    tcase_add_test(t, without_a_window_a_key_is_added_and_already_over);
    tcase_add_test(t, keys_that_ran_out_go_as_new_ones_come);
    tcase_add_test(t, a_removed_key_is_forgotten);
    tcase_add_test(t, any_sequence_of_uses_is_as_in_a_plain_list);
    suite_add_tcase(s, t);
    return run_suite(s);
}
