#include "auth/revocation.h"

#include <errno.h>

#include "support.h"

#define DAY_MS 86400000u
#define NOW 1700000000000u

static struct revocations *list;

static void make(void)
{
    list = revocations_new(100);
    ck_assert_ptr_nonnull(list);
}

static void drop(void)
{
    revocations_free(list);
}

static int revoke(enum revocation_kind kind, const char *name, uint64_t until_ms, uint64_t now_ms)
{
    return revocations_add(list, kind, TEXT(name), until_ms, now_ms);
}

static bool has(const char *id, const char *subject, uint64_t issued_ms, uint64_t now_ms)
{
    struct token t = { .id = id, .subject = subject, .issued_ms = issued_ms };
    return revocations_has(list, &t, now_ms);
}

static const struct {
    const char *name;
    enum revocation_kind kind;
    const char *revoked;
    const char *id, *subject;
    int64_t issued_s; /* against the second of the revocation; INT64_MIN: no iat */
    bool want;
} cases[] = {
    { "the token of that id", REVOKED_TOKEN, "t1", "t1", "alice", 0, true },
    { "whoever issued it when", REVOKED_TOKEN, "t1", "t1", "", 1000, true },
    { "another id", REVOKED_TOKEN, "t1", "t2", "alice", 0, false },
    { "an id that begins so", REVOKED_TOKEN, "t1", "t10", "alice", 0, false },
    { "no id", REVOKED_TOKEN, "t1", "", "alice", 0, false },
    { "a subject that reads as the id", REVOKED_TOKEN, "t1", "", "t1", INT64_MIN, false },
    { "the user's, issued before", REVOKED_USER, "alice", "", "alice", -1, true },
    { "the user's, issued in that second", REVOKED_USER, "alice", "", "alice", 0, true },
    { "the user's, issued after", REVOKED_USER, "alice", "", "alice", 1, false },
    { "the user's, without iat", REVOKED_USER, "alice", "", "alice", INT64_MIN, true },
    { "another user's", REVOKED_USER, "alice", "", "bob", INT64_MIN, false },
    { "case counts", REVOKED_USER, "alice", "", "Alice", INT64_MIN, false },
    { "nobody's", REVOKED_USER, "alice", "", "", INT64_MIN, false },
    { "an id that reads as the user", REVOKED_USER, "alice", "alice", "bob", INT64_MIN, false },
};

START_TEST(what_was_revoked_is_refused_and_nothing_else)
{
    ck_assert(!has(cases[_i].id, cases[_i].subject, 0, NOW));
    ck_assert_int_eq(revoke(cases[_i].kind, cases[_i].revoked, NOW + DAY_MS, NOW + 500), 0);
    uint64_t issued = cases[_i].issued_s == INT64_MIN ? 0 : NOW + (uint64_t)(cases[_i].issued_s * 1000);
    ck_assert_msg(has(cases[_i].id, cases[_i].subject, issued, NOW + 600) == cases[_i].want, "%s", cases[_i].name);
    ck_assert_msg(!has(cases[_i].id, cases[_i].subject, issued, NOW + DAY_MS), "%s: its time is over", cases[_i].name);
}
END_TEST

START_TEST(without_a_list_or_a_token_nothing_is_revoked)
{
    struct token t = { .id = "t1", .subject = "alice" };
    ck_assert(!revocations_has(NULL, &t, NOW));
    ck_assert_int_eq(revoke(REVOKED_TOKEN, "t1", NOW + 1, NOW), 0);
    ck_assert(!revocations_has(list, NULL, NOW));
    ck_assert(revocations_has(list, &t, NOW));
}
END_TEST

START_TEST(of_two_times_the_later_counts)
{
    revoke(REVOKED_TOKEN, "t1", NOW + 2000, NOW);
    revoke(REVOKED_TOKEN, "t1", NOW + 1000, NOW);
    ck_assert(has("t1", "", 0, NOW + 1999));
    revoke(REVOKED_TOKEN, "t1", NOW + 3000, NOW);
    ck_assert(has("t1", "", 0, NOW + 2999));
    ck_assert_uint_eq(revocations_count(list, NOW + 2999), 1);
    ck_assert(!has("t1", "", 0, NOW + 3000));
    ck_assert_uint_eq(revocations_count(list, NOW + 3000), 0);
    revoke(REVOKED_USER, "alice", NOW + 9000, NOW);
    ck_assert(!has("", "alice", NOW + 1000, NOW + 1000));
    revoke(REVOKED_USER, "alice", NOW + 8000, NOW + 2000); /* once more: what was issued since is refused as well */
    ck_assert(has("", "alice", NOW + 1000, NOW + 8999));
}
END_TEST

START_TEST(what_has_had_its_time_already_takes_no_place)
{
    ck_assert_int_eq(revoke(REVOKED_TOKEN, "t1", NOW, NOW), 0);
    ck_assert_int_eq(revoke(REVOKED_TOKEN, "t2", 0, NOW), 0);
    ck_assert_uint_eq(revocations_count(list, 0), 0);
}
END_TEST

START_TEST(a_full_list_refuses_and_forgets_nothing)
{
    char name[16];
    for (unsigned i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "t%u", i);
        ck_assert_int_eq(revoke(REVOKED_TOKEN, name, NOW + 1000 + i, NOW), 0);
    }
    ck_assert_int_eq(revoke(REVOKED_TOKEN, "one more", NOW + DAY_MS, NOW), -EDQUOT);
    ck_assert_int_eq(revoke(REVOKED_TOKEN, "t7", NOW + DAY_MS, NOW), 0); /* it has its place */
    ck_assert(!has("one more", "", 0, NOW));
    for (unsigned i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "t%u", i);
        ck_assert(has(name, "", 0, NOW + 999));
    }
    ck_assert_int_eq(revoke(REVOKED_TOKEN, "one more", NOW + DAY_MS, NOW + 999), -EDQUOT);
    ck_assert_int_eq(revoke(REVOKED_TOKEN, "one more", NOW + DAY_MS, NOW + 1000), 0); /* the first has had its time */
    ck_assert(has("one more", "", 0, NOW + 1000));
}
END_TEST

START_TEST(a_name_may_have_255_bytes_of_any_kind)
{
    char name[256];
    memset(name, 0xff, 255);
    name[255] = '\0';
    ck_assert_int_eq(revoke(REVOKED_TOKEN, name, NOW + 1000, NOW), 0);
    ck_assert(has(name, "", 0, NOW));
    name[254] = '\0';
    ck_assert(!has(name, "", 0, NOW));
}
END_TEST

/* Held against an array: what is refused when, for times in any order. */
START_TEST(anything_that_happens_is_as_in_a_plain_table)
{
    uint64_t until[200] = { 0 }, now = NOW;
    seed_random();
    for (int n = 0; n < 200000; n++) {
        char name[8];
        uint32_t i = below(200);
        snprintf(name, sizeof name, "%u", i);
        now += below(10);
        if (below(3) == 0) {
            size_t count = 0;
            for (size_t k = 0; k < 200; k++)
                count += until[k] > now;
            HOLDS(revocations_count(list, now) == count);
            uint64_t wanted = now + below(2000);
            bool is_there = until[i] > now, is_full = count >= 100;
            int r = revoke(REVOKED_TOKEN, name, wanted, now);
            HOLDS(r == (!is_there && is_full && wanted > now ? -EDQUOT : 0));
            if (r == 0 && wanted > until[i])
                until[i] = wanted;
        } else {
            HOLDS(has(name, "", 0, now) == (until[i] > now));
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("revocation");
    TCase *c = tcase_create("revocation");
    tcase_add_checked_fixture(c, make, drop);
    tcase_add_loop_test(c, what_was_revoked_is_refused_and_nothing_else, 0, (int)HLY_ARRAY_LEN(cases));
    tcase_add_test(c, without_a_list_or_a_token_nothing_is_revoked);
    tcase_add_test(c, of_two_times_the_later_counts);
    tcase_add_test(c, what_has_had_its_time_already_takes_no_place);
    tcase_add_test(c, a_full_list_refuses_and_forgets_nothing);
    tcase_add_test(c, a_name_may_have_255_bytes_of_any_kind);
    tcase_add_test(c, anything_that_happens_is_as_in_a_plain_table);
    suite_add_tcase(s, c);
    return run_suite(s);
}
