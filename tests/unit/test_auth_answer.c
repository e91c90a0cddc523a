#include "auth/auth_answer.h"

#include "support.h"

#define NOW_S 1800000000
#define LEEWAY_S 30

static const struct auth_answer_times times = { .asked_ms = (NOW_S - 1) * 1000ull, .now_ms = NOW_S * 1000ull, .leeway_ms = LEEWAY_S * 1000 };

static const struct {
    const char *name;
    const char *body;
    enum jwt_error want;
    const char *sub; /* NULL: no token */
} cases[] = {
    { "nothing: nobody in particular", "", JWT_OK, NULL },
    { "white space", " \r\n\t ", JWT_OK, NULL },
    { "no claims", "{}", JWT_OK, "" },
    { "a subject", "{\"sub\":\"ann\"}", JWT_OK, "ann" },
    { "white space around", "\n {\"sub\":\"ann\"} \n", JWT_OK, "ann" },
    { "unknown claims are not looked at", "{\"sub\":\"ann\",\"iss\":5,\"aud\":[{}],\"x\":null}", JWT_OK, "ann" },
    { "all of it", "{\"sub\":\"a\",\"halley\":{\"subscribe\":[\"x/**\"],\"publish\":[\"y\"],\"auto\":[\"z\"],\"info\":{\"n\":1}}}", JWT_OK, "a" },
    { "no JSON", "ok", JWT_PAYLOAD, NULL },
    { "HTML", "<html></html>", JWT_PAYLOAD, NULL },
    { "null", "null", JWT_PAYLOAD, NULL },
    { "true", "true", JWT_PAYLOAD, NULL },
    { "a string", "\"ann\"", JWT_PAYLOAD, NULL },
    { "a list", "[{\"sub\":\"ann\"}]", JWT_PAYLOAD, NULL },
    { "two objects", "{}{}", JWT_PAYLOAD, NULL },
    { "cut", "{\"sub\":\"ann\"", JWT_PAYLOAD, NULL },
    { "a member twice", "{\"sub\":\"ann\",\"sub\":\"bob\"}", JWT_PAYLOAD, NULL },
    { "not UTF-8", "{\"sub\":\"\xff\"}", JWT_PAYLOAD, NULL },
    { "a byte order mark", "\xef\xbb\xbf{}", JWT_PAYLOAD, NULL },
    { "too deep", "{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", JWT_PAYLOAD, NULL },
    { "a number that is too large", "{\"exp\":1e999}", JWT_PAYLOAD, NULL },
    { "sub is a number", "{\"sub\":5}", JWT_SUB, NULL },
    { "sub is null", "{\"sub\":null}", JWT_SUB, NULL },
    { "sub with NUL", "{\"sub\":\"a\\u0000b\"}", JWT_SUB, NULL },
    { "jti is a list", "{\"jti\":[]}", JWT_JTI, NULL },
    { "halley is a string", "{\"halley\":\"all\"}", JWT_HALLEY, NULL },
    { "subscribe is a string", "{\"halley\":{\"subscribe\":\"**\"}}", JWT_SUBSCRIBE, NULL },
    { "a pattern that is none", "{\"halley\":{\"subscribe\":[\"a*b\"]}}", JWT_SUBSCRIBE, NULL },
    { "a pattern that is a number", "{\"halley\":{\"publish\":[1]}}", JWT_PUBLISH, NULL },
    { "auto is an object", "{\"halley\":{\"auto\":{}}}", JWT_AUTO, NULL },
    { "info is a string", "{\"halley\":{\"info\":\"x\"}}", JWT_INFO, NULL },
    { "exp is a string", "{\"exp\":\"1800000100\"}", JWT_EXP, NULL },
    { "exp is in milliseconds", "{\"exp\":1800000100000}", JWT_EXP, NULL },
    { "nbf is a boolean", "{\"nbf\":true}", JWT_NBF, NULL },
    { "iat is null", "{\"iat\":null}", JWT_IAT, NULL },
    { "exp is now, and within the leeway", "{\"exp\":1800000000}", JWT_OK, "" },
    { "exp is just within it", "{\"exp\":1799999971}", JWT_OK, "" },
    { "exp is over", "{\"exp\":1799999970}", JWT_EXPIRED, NULL },
    { "exp is long over", "{\"exp\":-5}", JWT_EXPIRED, NULL },
    { "nbf is within the leeway", "{\"nbf\":1800000030}", JWT_OK, "" },
    { "nbf is to come", "{\"nbf\":1800000031}", JWT_NOT_YET, NULL },
    { "iat is to come", "{\"iat\":1800000031}", JWT_FUTURE, NULL },
};

static enum jwt_error read_exact(const char *text, size_t len, struct token **ret)
{
    char *exact = malloc(len); /* a sanitizer sees a read beyond */
    memcpy(exact, text, len);
    enum jwt_error e = auth_answer_read((struct slice){ exact, len }, &times, ret);
    free(exact);
    return e;
}

START_TEST(an_answer_is_worth_what_its_claims_say)
{
    struct token *t = NULL;
    enum jwt_error e = read_exact(cases[_i].body, strlen(cases[_i].body), &t);
    ck_assert_msg(e == cases[_i].want, "%s: got %s", cases[_i].name, jwt_error_name(e));
    ck_assert_msg((t != NULL) == (cases[_i].sub != NULL), "%s: a token", cases[_i].name);
    if (t != NULL)
        ck_assert_str_eq(t->subject, cases[_i].sub);
    token_unref(t);
}
END_TEST

START_TEST(an_answer_that_is_cut_is_none)
{
    const char *body = cases[_i].body;
    for (size_t len = 1; cases[_i].sub != NULL && len < strlen(body) && body[len] != ' ' && body[len] != '\n'; len++) {
        struct token *t = NULL;
        enum jwt_error e = read_exact(body, len, &t);
        ck_assert_msg(e == JWT_PAYLOAD || (e == JWT_OK && t == NULL), "%s, cut at %zu: %s", cases[_i].name, len, jwt_error_name(e)); /* OK: white space alone */
    }
}
END_TEST

START_TEST(rights_and_times_are_those_of_the_claims)
{
    struct token *t = NULL;
    const char *body = "{\"sub\":\"ann\",\"jti\":\"7\",\"exp\":1800000100,\"iat\":1799999000,\"halley\":{\"subscribe\":[\"x/**\",\"y\"],\"publish\":[\"z\"],"
                       "\"auto\":[\"x/1\"],\"info\":{\"n\":1}}}";
    ck_assert_int_eq(read_exact(body, strlen(body), &t), JWT_OK);
    ck_assert_uint_eq(t->expires_ms, (1800000100 + LEEWAY_S) * 1000ull);
    ck_assert_uint_eq(t->issued_ms, 1799999000 * 1000ull);
    ck_assert_str_eq(t->id, "7");
    ck_assert_uint_eq(t->subscribe.count, 2);
    ck_assert_uint_eq(t->publish.count, 1);
    ck_assert_uint_eq(t->auto_names.count, 1);
    ck_assert(t->info.len == 7 && memcmp(t->info.ptr, "{\"n\":1}", 7) == 0);
    token_unref(t);
}
END_TEST

START_TEST(without_iat_it_was_issued_when_it_was_asked_for_and_without_exp_it_never_ends)
{
    struct token *t = NULL;
    ck_assert_int_eq(read_exact("{}", 2, &t), JWT_OK);
    ck_assert_uint_eq(t->issued_ms, times.asked_ms);
    ck_assert_uint_eq(t->expires_ms, 0);
    token_unref(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("auth_answer");
    TCase *t = tcase_create("auth_answer");
    tcase_add_loop_test(t, an_answer_is_worth_what_its_claims_say, 0, HLY_ARRAY_LEN(cases));
    tcase_add_loop_test(t, an_answer_that_is_cut_is_none, 0, HLY_ARRAY_LEN(cases));
    tcase_add_test(t, rights_and_times_are_those_of_the_claims);
    tcase_add_test(t, without_iat_it_was_issued_when_it_was_asked_for_and_without_exp_it_never_ends);
    suite_add_tcase(s, t);
    return run_suite(s);
}
