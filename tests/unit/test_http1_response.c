#include "proto/http1_response.h"

#include <errno.h>

#include "support.h"

static const struct http1_response_limits limits = { .head = 200, .header_count = 4, .body = 32 };

enum end { KEEPS, ENDS }; /* of a complete response: may the connection go on? */

static const struct {
    const char *name;
    const char *in;
    int want;        /* of all input; 0: only the end of the connection completes it, or shows that it is cut */
    int at_end;      /* then */
    unsigned status;
    const char *body;
    enum end end;
} cases[] = {
    { "204", "HTTP/1.1 204 No Content\r\n\r\n", 1, 1, 204, "", KEEPS },
    { "no reason (RFC 9112 4)", "HTTP/1.1 204 \r\n\r\n", 1, 1, 204, "", KEEPS },
    { "not even the space", "HTTP/1.1 204\r\n\r\n", 1, 1, 204, "", KEEPS },
    { "a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 1, 1, 200, "hello", KEEPS },
    { "length 0", "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", 1, 1, 401, "", KEEPS },
    { "close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", 1, 1, 200, "{}", ENDS },
    { "close among others", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\n{}", 1, 1, 200, "{}", ENDS },
    { "HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 1, 1, 200, "{}", ENDS },
    { "HTTP/1.0, kept alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", 1, 1, 200, "{}", KEEPS },
    { "chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 1, 1, 200, "hello", KEEPS },
    { "chunked, with trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\n\r\n", 1, 1, 200, "{}", KEEPS },
    { "the end is the end of the body", "HTTP/1.1 200 OK\r\n\r\nhello", 0, 1, 200, "hello", ENDS },
    { "the same, empty", "HTTP/1.0 200 OK\r\n\r\n", 0, 1, 200, "", ENDS },
    { "a length with 204 (RFC 9112 6.3)", "HTTP/1.1 204 X\r\nContent-Length: 99\r\n\r\n", 1, 1, 204, "", KEEPS },
    { "304", "HTTP/1.1 304 X\r\nContent-Length: 99\r\n\r\n", 1, 1, 304, "", KEEPS },
    { "100 before it", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 X\r\n\r\n", 1, 1, 204, "", KEEPS },
    { "103 with headers before it", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 X\r\n\r\n", 1, 1, 204, "", KEEPS },
    { "bytes behind it", "HTTP/1.1 204 X\r\n\r\nHTTP/1.1 200", 1, 1, 204, "", ENDS },
    { "bytes behind a body", "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}}", 1, 1, 200, "{}", ENDS },
    { "bytes above ASCII in a value", "HTTP/1.1 204 \xc3\xa9\r\nA: \xff\r\n\r\n", 1, 1, 204, "", KEEPS },
    { "an upgrade that is none", "HTTP/1.1 200 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\n{}", 1, 1, 200, "{}", KEEPS },
    { "nothing", "", 0, -EBADMSG, 0, NULL, ENDS },
    { "half a head", "HTTP/1.1 204 X\r\nA: b", 0, -EBADMSG, 0, NULL, ENDS },
    { "half a body", "HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nhel", 0, -EBADMSG, 0, NULL, ENDS },
    { "half a chunk", "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", 0, -EBADMSG, 0, NULL, ENDS },
    { "no last chunk", "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", 0, -EBADMSG, 0, NULL, ENDS },
    { "only an interim one", "HTTP/1.1 100 X\r\n\r\n", 0, -EBADMSG, 0, NULL, ENDS },
    { "no HTTP", "SSH-2.0-x", -EBADMSG, 0, 0, NULL, ENDS },
    { "an empty line first", "\r\nHTTP/1.1 204 X\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "a space first", " HTTP/1.1 204 X\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "http/1.1", "http/1.1 204 X\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "HTTP/2.0", "HTTP/2.0 204 X\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "HTTP/1.2", "HTTP/1.2 204 X\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "HTTP/1.10", "HTTP/1.10 204 X\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "no status", "HTTP/1.1 \r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "a status with a letter", "HTTP/1.1 2O0 OK\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "two spaces before it", "HTTP/1.1  200 OK\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "status 99", "HTTP/1.1 099 X\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "status 600", "HTTP/1.1 600 X\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "101", "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "LF alone (RFC 9112 2.2)", "HTTP/1.1 204 X\n\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "CR alone", "HTTP/1.1 204 X\rA: b\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "a NUL is a control character", "HTTP/1.1 204 X\r\nA: \x01\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "a folded header (RFC 9112 5.2)", "HTTP/1.1 204 X\r\nA: b\r\n c\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "no name", "HTTP/1.1 204 X\r\n: b\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "a space in a name (RFC 9112 5.1)", "HTTP/1.1 204 X\r\nA : b\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "no colon", "HTTP/1.1 204 X\r\nAb\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "two lengths (RFC 9112 6.3)", "HTTP/1.1 200 X\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", -EBADMSG, 0, 0, NULL, ENDS },
    { "two lengths that are one", "HTTP/1.1 200 X\r\nContent-Length: 2, 2\r\n\r\n{}", -EBADMSG, 0, 0, NULL, ENDS },
    { "a signed length", "HTTP/1.1 200 X\r\nContent-Length: +2\r\n\r\n{}", -EBADMSG, 0, 0, NULL, ENDS },
    { "a negative length", "HTTP/1.1 200 X\r\nContent-Length: -2\r\n\r\n{}", -EBADMSG, 0, 0, NULL, ENDS },
    { "a length beyond 64 bits", "HTTP/1.1 200 X\r\nContent-Length: 99999999999999999999999\r\n\r\n{}", -EBADMSG, 0, 0, NULL, ENDS },
    { "a length and chunks (RFC 9112 6.3)", "HTTP/1.1 200 X\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "gzip", "HTTP/1.1 200 X\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "chunked twice", "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "chunked in HTTP/1.0", "HTTP/1.0 200 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "a size that is none", "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "a chunk that is longer than its size", "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n", -EBADMSG, 0, 0, NULL, ENDS },
    { "announced too long", "HTTP/1.1 200 X\r\nContent-Length: 33\r\n\r\n", -EMSGSIZE, 0, 0, NULL, ENDS },
    { "as long as it may be", "HTTP/1.1 200 X\r\nContent-Length: 32\r\n\r\n01234567890123456789012345678901", 1, 1, 200, "01234567890123456789012345678901", KEEPS },
    { "too long until its end", "HTTP/1.1 200 X\r\n\r\n012345678901234567890123456789012", -EMSGSIZE, 0, 0, NULL, ENDS },
    { "too long in chunks", "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n01234567890123456789012345678901\r\n1\r\nx\r\n", -EMSGSIZE, 0, 0, NULL, ENDS },
    { "too many headers", "HTTP/1.1 204 X\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n\r\n", -EMSGSIZE, 0, 0, NULL, ENDS },
    { "as many as there may be", "HTTP/1.1 204 X\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n", 1, 1, 204, "", KEEPS },
    { "a head without an end",
      "HTTP/1.1 204 X\r\nA: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
      "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
      -EMSGSIZE, 0, 0, NULL, ENDS },
    { "interim ones without an end",
      "HTTP/1.1 100 X\r\n\r\nHTTP/1.1 100 X\r\n\r\nHTTP/1.1 100 X\r\n\r\nHTTP/1.1 100 X\r\n\r\nHTTP/1.1 100 X\r\n\r\nHTTP/1.1 100 X\r\n\r\n"
      "HTTP/1.1 100 X\r\n\r\nHTTP/1.1 100 X\r\n\r\nHTTP/1.1 100 X\r\n\r\n",
      -EBADMSG, 0, 0, NULL, ENDS },
};

static struct http1_response_parser *p;

static void setup(void)
{
    p = http1_response_parser_new(&limits);
    ck_assert_ptr_nonnull(p);
}

static void teardown(void)
{
    http1_response_parser_free(p);
}

static int feed(const char *bytes, size_t len) /* from memory that is gone afterwards */
{
    uint8_t *copy = malloc(len);
    memcpy(copy, bytes, len);
    int r = http1_response_parse(p, copy, len);
    free(copy);
    return r;
}


/* got: of everything but the end of the connection. */
static void check(int row, size_t cut, int got)
{
    const char *name = cases[row].name;
    HOLDS(got >= 0 || http1_response_error(p)[0] != '\0');
    ck_assert_msg(got == cases[row].want, "%s, cut at %zu: got %d (%s)", name, cut, got, http1_response_error(p));
    if (got == 0) {
        got = http1_response_end(p);
        ck_assert_msg(got == cases[row].at_end, "%s, cut at %zu: at its end got %d", name, cut, got);
    }
    if (got < 0) {
        HOLDS(http1_response_parse(p, "x", 1) == got && http1_response_end(p) == got);
        return;
    }
    const struct http1_response *r = http1_response_get(p);
    ck_assert_msg(r->status == cases[row].status, "%s, cut at %zu: status %u", name, cut, r->status);
    ck_assert_msg(slice_equals(r->body, cases[row].body), "%s, cut at %zu: body %.*s", name, cut, (int)r->body.len, r->body.ptr);
    ck_assert_msg(r->keep_alive == (cases[row].end == KEEPS), "%s, cut at %zu: keep_alive %d", name, cut, r->keep_alive);
}

START_TEST(a_response_means_the_same_for_every_split)
{
    const char *in = cases[_i].in;
    size_t len = strlen(in);
    for (size_t cut = 0; cut <= len; cut++) {
        int got = feed(in, cut);
        if (got >= 0 && cut < len)
            got = feed(in + cut, len - cut);
        check(_i, cut, got);
        http1_response_next(p);
    }
    int got = 0;
    for (size_t i = 0; i < len && got >= 0; i++)
        got = feed(in + i, 1);
    check(_i, 1, got);
}
END_TEST

START_TEST(a_verdict_comes_with_the_byte_that_decides_it)
{
    static const struct {
        const char *in; /* with its last byte it is decided */
    } decided[] = { { "HTP" }, { "HTTP/2" }, { "HTTP/1.1 204 X\n" }, { "HTTP/1.1 204 X\r\n " }, { "HTTP/1.1 999 X\r\n" }, { "HTTP/1.1 204 X\r\n:" } };
    for (size_t i = 0; i < HLY_ARRAY_LEN(decided); i++) {
        size_t len = strlen(decided[i].in);
        ck_assert_msg(feed(decided[i].in, len - 1) == 0, "%s: too early", decided[i].in);
        ck_assert_msg(feed(decided[i].in + len - 1, 1) == -EBADMSG, "%s: not yet", decided[i].in);
        http1_response_next(p);
    }
}
END_TEST

START_TEST(responses_follow_each_other)
{
    for (int n = 0; n < 3; n++) {
        HOLDS(!http1_response_has_begun(p));
        HOLDS(feed("H", 1) == 0 && http1_response_has_begun(p));
        const char *rest = "TTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}";
        HOLDS(feed(rest, strlen(rest)) == 1);
        http1_response_next(p);
    }
}
END_TEST

START_TEST(a_body_in_tiny_chunks_is_bounded_too)
{
    const char *head = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", *chunk = "000000000000001\r\nx\r\n";
    int got = feed(head, strlen(head));
    for (int n = 0; n < 1000 && got == 0; n++)
        got = feed(chunk, strlen(chunk));
    ck_assert_int_eq(got, -EMSGSIZE);
    http1_response_next(p);
    const char *end = "0\r\n", *trailer = "A: bbbbbbbbbbbbbbbbbbbbbb\r\n";
    HOLDS(feed(head, strlen(head)) == 0 && feed(end, strlen(end)) == 0);
    for (int n = 0; n < 1000 && got <= 0 && got != -EBADMSG; n++)
        if ((got = feed(trailer, strlen(trailer))) < 0)
            break;
    ck_assert_int_eq(got, -EMSGSIZE);
}
END_TEST

static const struct {
    const char *headers;
    uint32_t want_s;
} ages[] = {
    { "", 0 },
    { "Cache-Control: max-age=60\r\n", 60 },
    { "cache-control: private, MAX-AGE=60\r\n", 60 },
    { "Cache-Control: max-age=\"60\"\r\n", 60 },
    { "Cache-Control: max-age=60\r\nCache-Control: max-age=5\r\n", 5 },
    { "Cache-Control: max-age=0\r\n", 0 },
    { "Cache-Control: max-age=60, no-store\r\n", 0 },
    { "Cache-Control: no-cache\r\nCache-Control: max-age=60\r\n", 0 },
    { "Cache-Control: max-age=60\r\nVary: Cookie\r\n", 60 },
    { "Cache-Control: max-age=60\r\nVary: Cookie, *\r\n", 0 },
    { "Cache-Control: max-age\r\n", 0 },
    { "Cache-Control: max-age=\r\n", 0 },
    { "Cache-Control: max-age=\"\"\r\n", 0 },
    { "Cache-Control: max-age=-1\r\n", 0 },
    { "Cache-Control: max-age=1.5\r\n", 0 },
    { "Cache-Control: max-age=60s\r\n", 0 },
    { "Cache-Control: s-maxage=60\r\n", 0 },
    { "Expires: Thu, 01 Jan 2099 00:00:00 GMT\r\n", 0 },
    { "X: max-age=60\r\n", 0 },
};

START_TEST(a_response_is_kept_for_as_long_as_it_says)
{
    char text[256];
    snprintf(text, sizeof text, "HTTP/1.1 204 X\r\n%s\r\n", ages[_i].headers);
    ck_assert_int_eq(feed(text, strlen(text)), 1);
    uint32_t got = http1_response_max_age_s(http1_response_get(p));
    ck_assert_msg(got == ages[_i].want_s, "%s: %u", ages[_i].headers, got);
}
END_TEST

START_TEST(a_number_without_an_end_is_a_long_time)
{
    const char *text = "HTTP/1.1 204 X\r\nCache-Control: max-age=99999999999999999999999999999999\r\n\r\n";
    ck_assert_int_eq(feed(text, strlen(text)), 1);
    ck_assert_uint_ge(http1_response_max_age_s(http1_response_get(p)), 9999999);
}
END_TEST

START_TEST(headers_are_found_without_case)
{
    const char *text = "HTTP/1.1 204 X\r\nA: \t 1 \r\na: 2\r\nLong:\r\n\r\n";
    ck_assert_int_eq(feed(text, strlen(text)), 1);
    const struct http1_response *r = http1_response_get(p);
    ck_assert(slice_equals(http1_response_header(r, "a"), "1") && slice_equals(http1_response_header(r, "LONG"), ""));
    ck_assert_ptr_null(http1_response_header(r, "b").ptr);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http1_response");
    TCase *t = tcase_create("http1_response");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, a_response_means_the_same_for_every_split, 0, HLY_ARRAY_LEN(cases));
    tcase_add_test(t, a_verdict_comes_with_the_byte_that_decides_it);
    tcase_add_test(t, responses_follow_each_other);
    tcase_add_test(t, a_body_in_tiny_chunks_is_bounded_too);
    tcase_add_loop_test(t, a_response_is_kept_for_as_long_as_it_says, 0, HLY_ARRAY_LEN(ages));
    tcase_add_test(t, a_number_without_an_end_is_a_long_time);
    tcase_add_test(t, headers_are_found_without_case);
    suite_add_tcase(s, t);
    return run_suite(s);
}
