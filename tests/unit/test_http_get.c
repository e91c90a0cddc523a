#include "cli/http_get.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An answer as a whole and its verdict once the connection has ended; status and body where it is complete. */
static const struct {
    const char *name, *in;
    int want;
    unsigned status;
    const char *body;
} cases[] = {
    { "Content-Length (RFC 9112 6.3)", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 1, 200, "{}" },
    { "name in any case (RFC 9110 5.1)", "HTTP/1.1 200 OK\r\ncONTENT-lENGTH:2 \r\n\r\n{}", 1, 200, "{}" },
    { "an empty body", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 1, 503, "" },
    { "what follows the body is not its", "HTTP/1.1 400 Bad\r\nA: b\r\nContent-Length: 3\r\n\r\nnopeX", 1, 400, "nop" },
    { "no length: the body ends with the connection (RFC 9112 6.3)", "HTTP/1.0 200 OK\r\n\r\n{\"a\":1}", 1, 200,
      "{\"a\":1}" },
    { "no reason phrase (RFC 9112 4)", "HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx", 1, 200, "x" },
    { "body cut short", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", -EPIPE, 0, NULL },
    { "head cut short", "HTTP/1.1 200 OK\r\nContent-Le", -EPIPE, 0, NULL },
    { "nothing at all", "", -EPIPE, 0, NULL },
    { "a Redis error", "-ERR wrong number of arguments for 'get' command\r\n", -EPROTO, 0, NULL },
    { "a status that is no number", "HTTP/1.1 2x0 OK\r\n\r\n", -EPROTO, 0, NULL },
};

START_TEST(verdict_is_the_same_however_the_answer_is_cut)
{
    size_t len = strlen(cases[_i].in);
    struct http_answer answer = { 0 };
    for (size_t cut = 0; cut < len; cut++) {
        int early = http_answer_parse(cases[_i].in, cut, false, &answer);
        ck_assert_msg(early == 0 || early == cases[_i].want, "%s, cut at %zu: got %d", cases[_i].name, cut, early);
    }
    int got = http_answer_parse(cases[_i].in, len, true, &answer);
    ck_assert_msg(got == cases[_i].want, "%s: got %d", cases[_i].name, got);
    if (got != 1)
        return;
    ck_assert_uint_eq(answer.status, cases[_i].status);
    ck_assert_uint_eq(answer.body.len, strlen(cases[_i].body));
    ck_assert_int_eq(memcmp(answer.body.ptr, cases[_i].body, answer.body.len), 0);
}
END_TEST

START_TEST(answer_with_a_length_is_complete_before_the_connection_ends)
{
    static const char in[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    struct http_answer answer;
    for (size_t cut = 0; cut < sizeof in - 1; cut++)
        ck_assert_int_eq(http_answer_parse(in, cut, false, &answer), 0);
    ck_assert_int_eq(http_answer_parse(in, sizeof in - 1, false, &answer), 1);
}
END_TEST

START_TEST(only_unreserved_bytes_stay_as_they_are)
{
    struct buf out = { 0 };
    http_escape(&out, "chat:4/*&x=ü -._~09azAZ");
    buf_append(&out, "", 1);
    ck_assert_str_eq((const char *)out.data, "chat%3A4%2F%2A%26x%3D%C3%BC%20-._~09azAZ");
    buf_done(&out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http_get");
    TCase *tc = tcase_create("answer");
    tcase_add_loop_test(tc, verdict_is_the_same_however_the_answer_is_cut, 0, (int)HLY_ARRAY_LEN(cases));
    tcase_add_test(tc, answer_with_a_length_is_complete_before_the_connection_ends);
    tcase_add_test(tc, only_unreserved_bytes_stay_as_they_are);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
