#include "auth/answer_cache.h"

#include "auth/auth_answer.h"
#include "support.h"

static struct answer_cache *cache;
static struct cached_answer got;

static void setup(void)
{
    cache = answer_cache_new();
    ck_assert_ptr_nonnull(cache);
}

static void teardown(void)
{
    answer_cache_free(cache);
}

static const uint8_t *key_of(uint32_t n)
{
    static uint8_t key[ANSWER_KEY_BYTES];
    memset(key, 0, sizeof key);
    memcpy(key + (n % 2) * 20, &n, sizeof n); /* keys that differ in what is hashed, and keys that do not */
    return key;
}

static void put(uint32_t n, unsigned status, uint64_t until_ms, uint64_t max_bytes)
{
    struct cached_answer answer = { .status = status };
    answer_cache_put(cache, key_of(n), &answer, 0, until_ms, max_bytes);
}

START_TEST(an_answer_is_there_until_its_time_is_over)
{
    ck_assert(!answer_cache_get(cache, key_of(1), 0, &got));
    put(1, 401, 1000, 10000);
    put(2, 200, 2000, 10000);
    ck_assert(answer_cache_get(cache, key_of(1), 999, &got) && got.status == 401);
    ck_assert(answer_cache_get(cache, key_of(2), 999, &got) && got.status == 200 && got.token == NULL);
    ck_assert(!answer_cache_get(cache, key_of(1), 1000, &got));
    ck_assert_uint_eq(answer_cache_count(cache), 1);
    ck_assert(!answer_cache_get(cache, key_of(1), 0, &got)); /* it has gone */
}
END_TEST

START_TEST(a_newer_answer_takes_the_place_of_the_older)
{
    put(1, 200, 1000, 10000);
    put(1, 403, 5000, 10000);
    ck_assert_uint_eq(answer_cache_count(cache), 1);
    ck_assert(answer_cache_get(cache, key_of(1), 4999, &got) && got.status == 403);
}
END_TEST

START_TEST(over_the_limit_those_go_that_were_not_used_for_the_longest)
{
    size_t fit = 0;
    for (uint32_t n = 0; n < 1000 && answer_cache_count(cache) == fit; n++, fit++) /* how many are there room for? */
        put(n, 200, 1000, 4096);
    fit--;
    ck_assert(fit > 10 && fit < 100);
    answer_cache_clear(cache);
    ck_assert_uint_eq(answer_cache_count(cache), 0);
    for (uint32_t n = 0; n < fit; n++)
        put(n, 200, 1000, 4096);
    ck_assert(answer_cache_get(cache, key_of(0), 0, &got));
    put(1000, 200, 1000, 4096);
    ck_assert(answer_cache_get(cache, key_of(0), 0, &got));
    ck_assert(!answer_cache_get(cache, key_of(1), 0, &got));
    ck_assert(answer_cache_get(cache, key_of(2), 0, &got));
    put(1001, 200, 1000, 1000); /* a smaller limit holds for all that is there */
    ck_assert(answer_cache_count(cache) < 20);
    put(1002, 200, 1000, 10);
    ck_assert(!answer_cache_get(cache, key_of(1002), 0, &got));
}
END_TEST

START_TEST(a_token_is_counted_with_its_text_and_let_go)
{
    struct token *t = NULL;
    struct auth_answer_times times = { .now_ms = 1000 };
    ck_assert_int_eq(auth_answer_read(TEXT("{\"sub\":\"ann\"}"), &times, &t), JWT_OK);
    struct cached_answer answer = { .status = 200, .token = t };
    answer_cache_put(cache, key_of(1), &answer, 13, 1000, 10000);
    answer_cache_put(cache, key_of(2), &answer, 65536, 1000, 65536);
    token_unref(t);
    ck_assert(!answer_cache_get(cache, key_of(2), 0, &got));
    ck_assert(answer_cache_get(cache, key_of(1), 0, &got));
    ck_assert_str_eq(got.token->subject, "ann");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("answer_cache");
    TCase *t = tcase_create("answer_cache");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_answer_is_there_until_its_time_is_over);
    tcase_add_test(t, a_newer_answer_takes_the_place_of_the_older);
    tcase_add_test(t, over_the_limit_those_go_that_were_not_used_for_the_longest);
    tcase_add_test(t, a_token_is_counted_with_its_text_and_let_go);
    suite_add_tcase(s, t);
    return run_suite(s);
}
