#include "proto/http1.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct http1_limits limits = { .request_line = 128, .headers = 384, .header_count = 8, .body = 32 };

static struct http1_parser *parser;

static void parser_setup(void)
{
    parser = http1_parser_new(&limits);
    ck_assert_ptr_nonnull(parser);
}

static void parser_teardown(void)
{
    http1_parser_free(parser);
}

/* Feed input cut into [0, a), [a, b), [b, len), and stop at the first verdict. */
static int parse_cut(struct http1_parser *p, const char *in, size_t len, size_t a, size_t b, size_t *ret_used)
{
    const size_t ends[] = { a, b, len };
    size_t at = 0;
    for (size_t i = 0; i < HLY_ARRAY_LEN(ends); i++) {
        char *piece = malloc(ends[i] - at + 1); /* of its own, so that ASan sees who reads past it or keeps it */
        memcpy(piece, in + at, ends[i] - at);
        size_t used = 0;
        int r = http1_parse(p, piece, ends[i] - at, &used);
        free(piece);
        at += used;
        *ret_used = at;
        if (r != 0)
            return r;
        ck_assert_uint_eq(at, ends[i]);
    }
    return 0;
}

/* ---- verdicts */

#define H "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\n" H
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define ROW(name, in, want) \
    { \
        name, in, sizeof(in) - 1, want \
    }

static const struct {
    const char *name;
    const char *in;
    size_t len;
    int want; /* for all of `in`, which ends where the verdict falls or the request ends */
} cases[] = {
    /* the request line */
    ROW("a GET (RFC 9112 3)", GET H "\r\n", 1),
    ROW("HTTP/1.0 needs no Host (RFC 9112 3.2)", "GET / HTTP/1.0\r\n\r\n", 1),
    ROW("one empty line first (RFC 9112 2.2)", "\r\n" GET H "\r\n", 1),
    ROW("four empty lines first (RFC 9112 2.2)", "\r\n\r\n\r\n\r\n" GET H "\r\n", 1),
    ROW("five empty lines first", "\r\n\r\n\r\n\r\n\r\n", -400),
    ROW("an LF alone first (RFC 9112 2.2)", "\n", -400),
    ROW("TRACE", "TRACE / HTTP/1.1\r\n" H "\r\n", 1),
    ROW("PATCH", "PATCH / HTTP/1.1\r\n" H "\r\n", 1),
    ROW("CONNECT (RFC 9110 9.3.6)", "CONNECT a:443 HTTP/1.1\r\n", -405),
    ROW("a method nobody knows (RFC 9110 9.1)", "BREW / HTTP/1.1\r\n" H "\r\n", -501),
    ROW("methods have case (RFC 9110 9.1)", "get / HTTP/1.1\r\n" H "\r\n", -501),
    ROW("a method that is no token (RFC 9110 9.1)", "GE(T / HTTP/1.1\r\n", -400),
    ROW("an empty method", " / HTTP/1.1\r\n", -400),
    ROW("a method of RTSP", "SETUP / HTTP/1.1\r\n" H "\r\n", -400),
    ROW("a method of RTSP, another", "DESCRIBE / HTTP/1.1\r\n" H "\r\n", -400),
    ROW("the method of ICE", "SOURCE / HTTP/1.1\r\n" H "\r\n", -400),
    ROW("the version of RTSP", "OPTIONS / RTSP/1.0\r\n", -400),
    ROW("the version of ICE", "SOURCE / ICE/1.0\r\n", -400),
    ROW("HTTP/0.9 without a version (RFC 1945 4.1)", "GET /\r\n", -400),
    ROW("HTTP/0.9 with a version", "GET / HTTP/0.9\r\n", -400),
    ROW("HTTP/1.2 (RFC 9110 15.6.6)", "GET / HTTP/1.2\r\n", -505),
    ROW("HTTP/2.0 (RFC 9110 15.6.6)", "GET / HTTP/2.0\r\n", -505),
    ROW("the preface of HTTP/2 (RFC 9113 3.4)", "PRI * HTTP/2.0\r\n", -505),
    ROW("PRI with HTTP/1.1", "PRI * HTTP/1.1\r\n", -400),
    ROW("HTTP/3.0", "GET / HTTP/3.0\r\n", -505),
    ROW("a version of two digits (RFC 9112 2.3)", "GET / HTTP/1.10\r\n", -400),
    ROW("a version without a dot", "GET / HTTP/11\r\n", -400),
    ROW("a version with something else for the dot", "GET / HTTP/1,1\r\n", -400),
    ROW("the protocol's name has case (RFC 9112 2.3)", "GET / http/1.1\r\n", -400),
    ROW("two spaces after the method (RFC 9112 3)", "GET  / HTTP/1.1\r\n", -400),
    ROW("two spaces before the version (RFC 9112 3)", "GET /  HTTP/1.1\r\n", -400),
    ROW("a space at the end (RFC 9112 3)", "GET / HTTP/1.1 \r\n", -400),
    ROW("a tab for a space (RFC 9112 3)", "GET\t", -400),
    ROW("LF alone after the request line (RFC 9112 2.2)", "GET / HTTP/1.1\n", -400),
    ROW("CR alone in the request line (RFC 9112 2.2)", "GET /\r ", -400),
    ROW("NUL in the request line", "GET /\0", -400),
    ROW("TLS on a plain port (RFC 8446 5.1)", "\x16", -400),

    /* the target */
    ROW("a space in the target (RFC 9112 3.2)", "GET /a b HTTP/1.1\r\n", -400),
    ROW("a byte over 0x7f in the target (RFC 3986 2)", "GET /\xc3", -400),
    ROW("DEL in the target (RFC 3986 2)", "GET /\x7f", -400),
    ROW("a fragment (RFC 9112 3.2)", "GET /a#b HTTP/1.1\r\n", -400),
    ROW("a fragment after the query", "GET /a?b#c HTTP/1.1\r\n", -400),
    ROW("what browsers leave as it is in a query", "GET /?a=\"[{|}]^`' HTTP/1.1\r\n" H "\r\n", 1),
    ROW("* with OPTIONS (RFC 9112 3.2.4)", "OPTIONS * HTTP/1.1\r\n" H "\r\n", 1),
    ROW("* with GET (RFC 9112 3.2.4)", "GET * HTTP/1.1\r\n", -400),
    ROW("* and more", "OPTIONS *a HTTP/1.1\r\n", -400),
    ROW("a path without / (RFC 9112 3.2.1)", "GET a HTTP/1.1\r\n", -400),
    ROW("a query without a path", "GET ?a HTTP/1.1\r\n", -400),
    ROW("absolute-form (RFC 9112 3.2.2)", "GET http://b/ HTTP/1.1\r\n" H "\r\n", 1),
    ROW("absolute-form needs Host as well (RFC 9112 3.2)", "GET http://b/ HTTP/1.1\r\n\r\n", -400),
    ROW("absolute-form of another scheme", "GET ftp://b/ HTTP/1.1\r\n", -400),
    ROW("absolute-form without a host (RFC 9110 4.2.1)", "GET http:///a HTTP/1.1\r\n", -400),
    ROW("absolute-form with a password (RFC 9110 4.2.4)", "GET http://u:p@b/ HTTP/1.1\r\n", -400),
    ROW("authority-form without CONNECT (RFC 9112 3.2.3)", "GET a:80 HTTP/1.1\r\n", -400),

    /* header lines */
    ROW("an empty value (RFC 9110 5.5)", GET H "A:\r\nB: \t\r\n\r\n", 1),
    ROW("bytes over 0x7f in a value (RFC 9110 5.5)", GET H "A: \xc3\xa4\r\n\r\n", 1),
    ROW("a tab in a value (RFC 9110 5.5)", GET H "A: b\tc\r\n\r\n", 1),
    ROW("an empty name (RFC 9110 5.1)", GET H ":", -400),
    ROW("a space before the colon (RFC 9112 5.1)", GET H "A : b\r\n\r\n", -400),
    ROW("a tab before the colon (RFC 9112 5.1)", GET H "A\t: b\r\n\r\n", -400),
    ROW("a space before the colon of Content-Length", POST "Content-Length : 1\r\n\r\n", -400),
    ROW("a name that is no token (RFC 9110 5.1)", GET H "A(b: c\r\n\r\n", -400),
    ROW("a name outside of ASCII (RFC 9110 5.1)", GET H "\xc3\xa4: b\r\n\r\n", -400),
    ROW("no colon (RFC 9112 5)", GET H "A\r\n\r\n", -400),
    ROW("obs-fold with a space (RFC 9112 5.2)", GET H "A: b\r\n ", -400),
    ROW("obs-fold with a tab (RFC 9112 5.2)", GET H "A: b\r\n\t", -400),
    ROW("obs-fold of an empty value (RFC 9112 5.2)", GET H "A:\r\n ", -400),
    ROW("white space before the first header (RFC 9112 2.2)", GET " ", -400),
    ROW("CR alone in a value (RFC 9112 2.2)", GET H "A: b\rc", -400),
    ROW("CR CR LF (RFC 9112 2.2)", GET H "A: b\r\r", -400),
    ROW("LF alone after a value (RFC 9112 2.2)", GET H "A: b\n", -400),
    ROW("LF alone for the empty line (RFC 9112 2.2)", GET H "\n", -400),
    ROW("NUL in a value (RFC 9110 5.5)", GET H "A: b\0", -400),
    ROW("a control byte in a value (RFC 9110 5.5)", GET H "A: b\x01", -400),
    ROW("DEL in a value (RFC 9110 5.5)", GET H "A: b\x7f", -400),
    ROW("NUL in a name", GET H "A\0", -400),
    ROW("as many headers as may be", GET H "B:\r\nB:\r\nB:\r\nB:\r\nB:\r\nB:\r\nB:\r\n\r\n", 1),
    ROW("too many headers (RFC 6585 5)", GET H "B:\r\nB:\r\nB:\r\nB:\r\nB:\r\nB:\r\nB:\r\nB:\r\n", -431),

    /* Host */
    ROW("no Host (RFC 9112 3.2)", GET "\r\n", -400),
    ROW("two Hosts (RFC 9112 3.2)", GET H H "\r\n", -400),
    ROW("two Hosts of different case", GET H "HOST: b\r\n\r\n", -400),
    ROW("two Hosts with HTTP/1.0", "GET / HTTP/1.0\r\n" H H "\r\n", -400),
    ROW("two Origins (RFC 6454 7.3)", GET H "Origin: http://a\r\norigin: http://b\r\n\r\n", -400),
    ROW("one Origin", GET H "Origin: http://a\r\n\r\n", 1),
    ROW("an empty Host (RFC 9110 4.2.1)", GET "Host:\r\n\r\n", -400),
    ROW("a bad Host with HTTP/1.0", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", -400),
    ROW("an empty Host with HTTP/1.0", "GET / HTTP/1.0\r\nHost:\r\n\r\n", 1),
    ROW("a Host with a port (RFC 9110 7.2)", GET "Host: a.b-c_d.example:8080\r\n\r\n", 1),
    ROW("a Host with an empty port (RFC 3986 3.2.3)", GET "Host: a:\r\n\r\n", 1),
    ROW("an IPv6 Host (RFC 3986 3.2.2)", GET "Host: [::1]\r\n\r\n", 1),
    ROW("an IPv6 Host with a port", GET "Host: [fe80::1:2]:80\r\n\r\n", 1),
    ROW("an IPv6 Host that is none", GET "Host: [::1::]\r\n\r\n", -400),
    ROW("an IPv6 Host that is too long", GET "Host: [0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]\r\n\r\n",
        -400),
    ROW("an IPv6 Host without its end", GET "Host: [::1\r\n\r\n", -400),
    ROW("an IPv6 Host without brackets", GET "Host: ::1\r\n\r\n", -400),
    ROW("an empty IPv6 Host", GET "Host: []\r\n\r\n", -400),
    ROW("more after an IPv6 Host", GET "Host: [::1]a\r\n\r\n", -400),
    ROW("a Host that is a port only", GET "Host: :80\r\n\r\n", -400),
    ROW("a Host with a port that is none", GET "Host: a:b\r\n\r\n", -400),
    ROW("a Host with a path", GET "Host: a/b\r\n\r\n", -400),
    ROW("a Host with a user", GET "Host: u@a\r\n\r\n", -400),
    ROW("a Host with a space", GET "Host: a b\r\n\r\n", -400),
    ROW("a Host outside of ASCII", GET "Host: \xc3\xa4\r\n\r\n", -400),

    /* the body's length */
    ROW("Content-Length (RFC 9112 6.2)", POST "Content-Length: 3\r\n\r\nabc", 1),
    ROW("a body that is not there yet", POST "Content-Length: 3\r\n\r\nab", 0),
    ROW("Content-Length 0", POST "Content-Length: 0\r\n\r\n", 1),
    ROW("Content-Length with zeros in front", POST "Content-Length: 003\r\n\r\nabc", 1),
    ROW("white space around Content-Length (RFC 9112 5.1)", POST "Content-Length: \t 3 \t \r\n\r\nabc", 1),
    ROW("white space around Transfer-Encoding (RFC 9112 5.1)", POST "Transfer-Encoding:\tchunked\t\r\n\r\n0\r\n\r\n", 1),
    ROW("a body as long as may be", POST "Content-Length: 32\r\n\r\n01234567890123456789012345678901", 1),
    ROW("a body that is too long (RFC 9110 15.5.14)", POST "Content-Length: 33\r\n\r\n", -413),
    ROW("GET may have a body (RFC 9110 9.3.1)", GET H "Content-Length: 1\r\n\r\na", 1),
    ROW("two Content-Lengths that differ (RFC 9112 6.3)", POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", -400),
    ROW("two Content-Lengths alike (RFC 9110 8.6)", POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", -400),
    ROW("a list of Content-Lengths (RFC 9110 8.6)", POST "Content-Length: 1, 1\r\n\r\n", -400),
    ROW("Content-Length with a plus (RFC 9110 8.6)", POST "Content-Length: +1\r\n\r\n", -400),
    ROW("Content-Length with a minus (RFC 9110 8.6)", POST "Content-Length: -1\r\n\r\n", -400),
    ROW("Content-Length in hexadecimal (RFC 9110 8.6)", POST "Content-Length: 0x1\r\n\r\n", -400),
    ROW("Content-Length with a space in it", POST "Content-Length: 1 1\r\n\r\n", -400),
    ROW("an empty Content-Length (RFC 9110 8.6)", POST "Content-Length:\r\n\r\n", -400),
    ROW("Content-Length over 2^64 (RFC 9110 8.6)", POST "Content-Length: 18446744073709551617\r\n\r\n", -400),
    ROW("Content-Length and Transfer-Encoding (RFC 9112 6.1)",
        POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", -400),
    ROW("Transfer-Encoding and Content-Length (RFC 9112 6.1)",
        POST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", -400),

    /* Transfer-Encoding */
    ROW("chunked in any case (RFC 9112 7)", POST "Transfer-Encoding: ChunKed\r\n\r\n0\r\n\r\n", 1),
    ROW("another coding (RFC 9112 6.1)", POST "Transfer-Encoding: gzip\r\n\r\n", -501),
    ROW("identity (RFC 9112 6.1)", POST "Transfer-Encoding: identity\r\n\r\n", -501),
    ROW("another coding, then chunked (RFC 9112 6.1)", POST "Transfer-Encoding: gzip, chunked\r\n\r\n", -501),
    ROW("another coding and chunked, in two lines",
        POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", -501),
    ROW("chunked, but longer", POST "Transfer-Encoding: chunkedd\r\n\r\n", -501),
    ROW("chunked with a parameter", POST "Transfer-Encoding: chunked;q=1\r\n\r\n", -501),
    ROW("chunked, but not last (RFC 9112 6.3)", POST "Transfer-Encoding: chunked, gzip\r\n\r\n", -400),
    ROW("chunked twice (RFC 9112 6.1)", POST "Transfer-Encoding: chunked, chunked\r\n\r\n", -400),
    ROW("chunked twice, in two lines", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", -400),
    ROW("an empty Transfer-Encoding", POST "Transfer-Encoding:\r\n\r\n", -400),
    ROW("chunked with HTTP/1.0 (RFC 9112 6.1)", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", -400),

    /* chunks */
    ROW("chunks (RFC 9112 7.1)", CHUNKED "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", 1),
    ROW("no chunk but the last", CHUNKED "0\r\n\r\n", 1),
    ROW("zeros in front of a size (RFC 9112 7.1)", CHUNKED "0003\r\nabc\r\n000\r\n\r\n", 1),
    ROW("extensions (RFC 9112 7.1.1)", CHUNKED "3;a;b=c;d=\"e f\";g\r\nabc\r\n0;h\r\n\r\n", 1),
    ROW("trailers (RFC 9112 7.1.2)", CHUNKED "3\r\nabc\r\n0\r\nA: b\r\nC:\r\n\r\n", 1),
    ROW("a body that adds up to what may be", CHUNKED "10\r\n0123456789abcdef\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
        1),
    ROW("a body that adds up to too much (RFC 9110 15.5.14)",
        CHUNKED "10\r\n0123456789abcdef\r\n10\r\n0123456789abcdef\r\n1\r\n", -413),
    ROW("a chunk that is too long (RFC 9110 15.5.14)", CHUNKED "21\r\n", -413),
    ROW("a chunk of nearly 2^64", CHUNKED "fffffffffffffffe\r\n", -413),
    ROW("a chunk over 2^64 (RFC 9112 7.1)", CHUNKED "10000000000000000\r\n", -400),
    ROW("a size that is none", CHUNKED "g\r\n", -400),
    ROW("a size with a sign", CHUNKED "-1\r\n", -400),
    ROW("a size with 0x", CHUNKED "0x1\r\n", -400),
    ROW("no size", CHUNKED "\r\n", -400),
    ROW("no size, but an extension", CHUNKED ";a\r\n", -400),
    ROW("LF alone after a size (RFC 9112 2.2)", CHUNKED "3\n", -400),
    ROW("LF alone in an extension", CHUNKED "3;a\n", -400),
    ROW("CR alone in an extension", CHUNKED "3;a\rb", -400),
    ROW("NUL in an extension", CHUNKED "3;\0", -400),
    ROW("a chunk longer than its size (RFC 9112 7.1)", CHUNKED "3\r\nabcd", -400),
    ROW("obs-fold in the trailers (RFC 9112 5.2)", CHUNKED "0\r\nA: b\r\n ", -400),
    ROW("a trailer without a name", CHUNKED "0\r\n:", -400),
    ROW("a trailer without a colon", CHUNKED "0\r\nA\r\n", -400),
    ROW("LF alone after the trailers", CHUNKED "0\r\n\n", -400),

    /* Expect and Upgrade */
    ROW("Expect: 100-continue (RFC 9110 10.1.1)", POST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\na", 1),
    ROW("Expect: something else (RFC 9110 10.1.1)", POST "Expect: a\r\nContent-Length: 1\r\n\r\n", -417),
    ROW("Expect: 100-continue and something else", POST "Expect: 100-continue, a\r\n\r\n", -417),
    ROW("a WebSocket handshake (RFC 6455 4.1)", GET H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 1),
    ROW("a WebSocket handshake with Content-Length 0",
        GET H "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", 1),
    ROW("a WebSocket handshake with a body",
        GET H "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n", -400),
    ROW("a WebSocket handshake with chunks",
        GET H "Connection: Upgrade\r\nUpgrade: WebSocket\r\nTransfer-Encoding: chunked\r\n\r\n", -400),
    ROW("an Upgrade to something else (RFC 9110 7.8)", GET H "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 1),
    ROW("an Upgrade to something else, with a body (RFC 9110 7.8)",
        POST "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", 1),
    ROW("an Upgrade to something else, with chunks (RFC 9110 7.8)",
        POST "Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 1),
};

START_TEST(a_request_gets_its_verdict_from_the_byte_that_decides)
{
    size_t used = 0, len = cases[_i].len;
    int got = http1_parse(parser, cases[_i].in, len - 1, &used);
    ck_assert_msg(got == 0 && used == len - 1, "%s: got %d already", cases[_i].name, got);
    got = http1_parse(parser, cases[_i].in + len - 1, 1, &used);
    const char *why = http1_parser_error(parser);
    ck_assert_msg(got == cases[_i].want, "%s: got %d (%s)", cases[_i].name, got, why);
    if (got < 0)
        ck_assert_msg(why[strlen(why) - 1] == '.' && strlen(why) < 100, "%s: %s", cases[_i].name, why);
    else
        ck_assert_msg(used == 1 && why[0] == '\0', "%s: %zu used, %s", cases[_i].name, used, why);
}
END_TEST

START_TEST(a_request_gets_the_same_verdict_for_every_split)
{
    for (size_t cut = 0; cut <= cases[_i].len; cut++) {
        size_t used = 0, third = cut + (cases[_i].len - cut) / 2;
        http1_parser_next(parser);
        int got = parse_cut(parser, cases[_i].in, cases[_i].len, cut, third, &used);
        ck_assert_msg(got == cases[_i].want, "%s, cut at %zu and %zu: got %d (%s)", cases[_i].name, cut, third, got,
                      http1_parser_error(parser));
        if (got >= 0)
            ck_assert_msg(used == cases[_i].len, "%s, cut at %zu and %zu: %zu used", cases[_i].name, cut, third, used);
    }
}
END_TEST

START_TEST(a_refusal_is_for_good)
{
    size_t used = 0;
    ck_assert_int_eq(http1_parse(parser, "\n", 1, &used), -400);
    ck_assert_int_eq(http1_parse(parser, GET H "\r\n", sizeof(GET H "\r\n") - 1, &used), -400);
    ck_assert(!http1_parser_is_midway(parser));
}
END_TEST

START_TEST(who_speaks_tls_on_a_plain_port_is_told_so)
{
    size_t used;
    ck_assert_int_eq(http1_parse(parser, "\x16\x03\x01", 3, &used), -400);
    ck_assert_ptr_nonnull(strstr(http1_parser_error(parser), "TLS"));
}
END_TEST

/* ---- limits */

START_TEST(a_request_line_may_be_as_long_as_its_limit)
{
    char in[256];
    size_t used, len = (size_t)snprintf(in, sizeof(in), "GET /%0*d HTTP/1.1\r\n", 112, 0);
    ck_assert_uint_eq(len, limits.request_line);
    ck_assert_int_eq(http1_parse(parser, in, len, &used), 0);
    ck_assert_int_eq(http1_parse(parser, H "\r\n", sizeof(H "\r\n") - 1, &used), 1);
}
END_TEST

START_TEST(a_request_line_without_an_end_is_refused_as_soon_as_it_is_too_long)
{
    char in[256];
    size_t used;
    memset(in, 'A', sizeof(in));
    ck_assert_int_eq(http1_parse(parser, in, limits.request_line, &used), 0);
    ck_assert_int_eq(http1_parse(parser, in, 1, &used), -414);
}
END_TEST

START_TEST(a_bad_byte_after_the_limit_does_not_change_the_verdict)
{
    char in[256];
    size_t used;
    memset(in, 'A', sizeof(in));
    in[limits.request_line + 1] = '\0';
    ck_assert_int_eq(http1_parse(parser, in, sizeof(in), &used), -414);
}
END_TEST

/* Header lines of `bytes` bytes altogether, the empty one included. */
static size_t long_headers(char *out, size_t bytes)
{
    size_t len = (size_t)sprintf(out, GET);
    return len + (size_t)sprintf(out + len, H "A: %0*d\r\n\r\n", (int)(bytes - 16), 0);
}

START_TEST(headers_may_be_as_long_as_their_limit)
{
    char in[1024];
    size_t used, len = long_headers(in, limits.headers);
    ck_assert_uint_eq(len, sizeof(GET) - 1 + limits.headers);
    ck_assert_int_eq(http1_parse(parser, in, len, &used), 1);
}
END_TEST

START_TEST(headers_over_their_limit_are_refused)
{
    char in[1024];
    size_t used, len = long_headers(in, limits.headers + 1);
    ck_assert_int_eq(http1_parse(parser, in, len - 1, &used), 0);
    ck_assert_int_eq(http1_parse(parser, in + len - 1, 1, &used), -431);
}
END_TEST

static const struct {
    const char *name;
    const char *start;
    char fill;
    int more; /* bytes of fill that fit, beside limits.headers */
} framings[] = {
    { "a chunk extension (RFC 9112 7.1.1)", "1;", 'a', 16 },
    { "a trailer (RFC 9112 7.1.2)", "0\r\nA: ", 'a', -3 },
    { "zeros in front of a chunk size (RFC 9112 7.1)", "", '0', 18 },
};

START_TEST(extensions_and_trailers_have_the_allowance_of_headers)
{
    char fill[512];
    size_t used, n = (size_t)((int)limits.headers + framings[_i].more);
    memset(fill, framings[_i].fill, sizeof(fill));
    for (size_t piece = 1; piece <= n; piece += n - 1) {
        http1_parser_next(parser);
        ck_assert_int_eq(http1_parse(parser, CHUNKED, sizeof(CHUNKED) - 1, &used), 0);
        ck_assert_int_eq(http1_parse(parser, framings[_i].start, strlen(framings[_i].start), &used), 0);
        for (size_t i = 0; i < n; i += piece)
            ck_assert_msg(http1_parse(parser, fill, piece, &used) == 0, "%s, byte %zu", framings[_i].name, i);
        ck_assert_msg(http1_parse(parser, fill, 1, &used) == -431, "%s", framings[_i].name);
    }
}
END_TEST

START_TEST(extensions_of_many_chunks_add_up)
{
    static const char chunk[] = "1;0123456789012345678901\r\na\r\n"; /* 8 bytes over what a size may take */
    struct http1_limits large = limits;
    size_t used, chunks = 0;
    large.body = 1000;
    struct http1_parser *p = http1_parser_new(&large);
    ck_assert_int_eq(http1_parse(p, CHUNKED, sizeof(CHUNKED) - 1, &used), 0);
    while (http1_parse(p, chunk, sizeof(chunk) - 1, &used) == 0)
        chunks++;
    ck_assert_uint_eq(chunks, limits.headers / 8);
    ck_assert_int_eq(http1_parse(p, "", 0, &used), -431);
    http1_parser_free(p);
}
END_TEST

/* ---- requests */

static const struct {
    const char *in;
    const char *method_name, *target, *path, *query, *host, *body;
    enum http1_method method;
    unsigned minor;
    bool keep_alive, has_body;
} requests[] = {
    { GET H "\r\n", "GET", "/", "/", "", "a", "", HTTP1_GET, 1, true, false },
    { "HEAD /a%20b?c=d&e HTTP/1.1\r\nHost: a:1\r\n\r\n", "HEAD", "/a%20b?c=d&e", "/a%20b", "c=d&e", "a:1", "",
      HTTP1_HEAD, 1, true, false },
    { POST "Content-Length: 3\r\n\r\na\r\n", "POST", "/", "/", "", "a", "a\r\n", HTTP1_POST, 1, true, true },
    { CHUNKED "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nHost: b\r\nConnection: close\r\n\r\n", "POST", "/", "/", "", "a",
      "abcde", HTTP1_POST, 1, true, true },
    { CHUNKED "0\r\n\r\n", "POST", "/", "/", "", "a", "", HTTP1_POST, 1, true, true },
    { "PUT /a? HTTP/1.1\r\nHOST:a\t\r\n\r\n", "PUT", "/a?", "/a", "", "a", "", HTTP1_PUT, 1, true, false },
    { "DELETE /a??b=/ HTTP/1.1\r\n" H "\r\n", "DELETE", "/a??b=/", "/a", "?b=/", "a", "", HTTP1_DELETE, 1, true,
      false },
    { "OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS", "*", "*", "", "a", "", HTTP1_OPTIONS, 1, true, false },
    { "TRACE //x HTTP/1.1\r\n" H "\r\n", "TRACE", "//x", "//x", "", "a", "", HTTP1_OTHER, 1, true, false },
    { "GET http://b:80/c?d HTTP/1.1\r\n" H "\r\n", "GET", "/c?d", "/c", "d", "b:80", "", HTTP1_GET, 1, true, false },
    { "GET HTTPS://b HTTP/1.1\r\n" H "\r\n", "GET", "/", "/", "", "b", "", HTTP1_GET, 1, true, false },
    { "GET http://bc:8?d=e HTTP/1.1\r\n" H "\r\n", "GET", "/?d=e", "/", "d=e", "bc:8", "", HTTP1_GET, 1, true, false },
    { GET H "Connection: close\r\n\r\n", "GET", "/", "/", "", "a", "", HTTP1_GET, 1, false, false },
    { GET H "Connection: x , CLOSE,\r\n\r\n", "GET", "/", "/", "", "a", "", HTTP1_GET, 1, false, false },
    { GET H "Connection: closer\r\n\r\n", "GET", "/", "/", "", "a", "", HTTP1_GET, 1, true, false },
    { GET H "Proxy-Connection: close\r\n\r\n", "GET", "/", "/", "", "a", "", HTTP1_GET, 1, true, false },
    { "GET / HTTP/1.0\r\n\r\n", "GET", "/", "/", "", "", "", HTTP1_GET, 0, false, false },
    { "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET", "/", "/", "", "", "", HTTP1_GET, 0, true, false },
    { "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", "GET", "/", "/", "", "", "", HTTP1_GET,
      0, false, false },
    { GET H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET", "/", "/", "", "a", "", HTTP1_GET, 1, false,
      false },
    { GET H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", "GET", "/", "/", "", "a", "", HTTP1_GET, 1,
      true, false },
};

START_TEST(a_request_says_what_it_holds)
{
    const struct http1_request *rq = http1_parser_request(parser);
    size_t used = 0, len = strlen(requests[_i].in);
    for (size_t cut = 0; cut <= len; cut++) {
        http1_parser_next(parser);
        ck_assert_int_eq(parse_cut(parser, requests[_i].in, len, cut, cut, &used), 1);
        ck_assert_uint_eq(used, len);
        ck_assert_int_eq(rq->method, requests[_i].method);
        ck_assert(slice_equals(rq->method_name, requests[_i].method_name));
        ck_assert_msg(slice_equals(rq->target, requests[_i].target), "%.*s", (int)rq->target.len, rq->target.ptr);
        ck_assert(slice_equals(rq->path, requests[_i].path));
        ck_assert(slice_equals(rq->query, requests[_i].query));
        ck_assert_uint_eq(rq->minor, requests[_i].minor);
        ck_assert(rq->keep_alive == requests[_i].keep_alive);
        ck_assert(rq->has_body == requests[_i].has_body);
        ck_assert(slice_equals(rq->host, requests[_i].host));
        ck_assert(slice_equals(rq->body, requests[_i].body));
    }
}
END_TEST

START_TEST(headers_are_handed_out_as_sent_and_trimmed)
{
    static const char in[] = GET "hOST: \t a \t\r\nX-Empty:\r\nX-Blank: \r\nX-A:b: c,\td\r\n\r\n";
    static const char *const want[][2] = {
        { "hOST", "a" }, { "X-Empty", "" }, { "X-Blank", "" }, { "X-A", "b: c,\td" }
    };
    const struct http1_request *rq = http1_parser_request(parser);
    for (size_t cut = 0; cut < sizeof(in); cut++) {
        size_t used;
        http1_parser_next(parser);
        ck_assert_int_eq(parse_cut(parser, in, sizeof(in) - 1, cut, cut, &used), 1);
        ck_assert_uint_eq(rq->header_count, HLY_ARRAY_LEN(want));
        for (size_t i = 0; i < rq->header_count; i++) {
            ck_assert(slice_equals(rq->headers[i].name, want[i][0]));
            ck_assert(slice_equals(rq->headers[i].value, want[i][1]));
        }
    }
    ck_assert(slice_equals(http1_header_get(rq, "host"), "a"));
    ck_assert(slice_equals(http1_header_get(rq, "x-EMPTY"), ""));
    ck_assert_ptr_nonnull(http1_header_get(rq, "X-Empty").ptr);
    ck_assert_ptr_null(http1_header_get(rq, "X-Empt").ptr);
    ck_assert_ptr_null(http1_header_get(rq, "").ptr);
}
END_TEST

/* ---- pipelines */

static const char pipeline[] = GET H "\r\n" CHUNKED "3\r\nabc\r\n0\r\nT: u\r\n\r\n"
                                     "\r\n"
                                     "GET http://b?c HTTP/1.1\r\n" H "\r\n" POST "Content-Length: 2\r\n\r\nGE" GET H
                                     "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                                     "\x81\x80";

#define FRAME_BYTES 2 /* what follows the handshake at the end of the pipeline */

/* Take requests out of one piece until all of it is used, or the handshake has come. */
static bool take_requests(struct http1_parser *p, const char *piece, size_t len, struct buf *log, size_t *total)
{
    const struct http1_request *rq = http1_parser_request(p);
    while (len > 0) {
        size_t used = 0;
        int r = http1_parse(p, piece, len, &used);
        ck_assert_int_ge(r, 0);
        piece += used;
        len -= used;
        *total += used;
        if (r == 0) {
            ck_assert_uint_eq(len, 0);
            return true;
        }
        buf_printf(log, "%.*s %.*s host=%.*s headers=%zu body=%.*s\n", (int)rq->method_name.len, rq->method_name.ptr,
                   (int)rq->target.len, rq->target.ptr, (int)rq->host.len, rq->host.ptr, rq->header_count,
                   (int)rq->body.len, rq->body.len > 0 ? rq->body.ptr : "");
        if (http1_header_has_token(rq, "Upgrade", "websocket"))
            return false;
        http1_parser_next(p);
    }
    return true;
}

START_TEST(every_split_of_a_pipeline_gives_the_same_requests)
{
    static const char want[] = "GET / host=a headers=1 body=\n"
                               "POST / host=a headers=2 body=abc\n"
                               "GET /?c host=b headers=1 body=\n"
                               "POST / host=a headers=2 body=GE\n"
                               "GET / host=a headers=3 body=\n";
    size_t len = sizeof(pipeline) - 1;
    for (size_t a = 0; a < len; a++) {
        for (size_t b = a; b < len; b++) {
            struct buf log = { 0 };
            size_t total = 0;
            bool more = take_requests(parser, pipeline, a, &log, &total) &&
                        take_requests(parser, pipeline + a, b - a, &log, &total) &&
                        take_requests(parser, pipeline + b, len - b, &log, &total);
            ck_assert_msg(!more && total == len - FRAME_BYTES, "cut at %zu and %zu: %zu bytes used", a, b, total);
            ck_assert_msg(log.len == sizeof(want) - 1 && memcmp(log.data, want, log.len) == 0,
                          "cut at %zu and %zu:\n%.*s", a, b, (int)log.len, (char *)log.data);
            buf_done(&log);
            http1_parser_next(parser);
        }
    }
}
END_TEST

START_TEST(a_pipeline_can_come_byte_by_byte)
{
    struct buf log = { 0 };
    size_t total = 0;
    for (size_t i = 0; i < sizeof(pipeline) - 1 - FRAME_BYTES; i++)
        ck_assert(take_requests(parser, pipeline + i, 1, &log, &total) || i == sizeof(pipeline) - 2 - FRAME_BYTES);
    size_t lines = 0;
    for (size_t i = 0; i < log.len; i++)
        lines += log.data[i] == '\n';
    ck_assert_uint_eq(lines, 5);
    buf_done(&log);
}
END_TEST

START_TEST(a_parser_is_midway_between_the_first_and_the_last_byte)
{
    static const char in[] = POST "Content-Length: 2\r\n\r\nab";
    size_t used;
    ck_assert(!http1_parser_is_midway(parser));
    ck_assert_int_eq(http1_parse(parser, "\r\n\r", 3, &used), 0);
    ck_assert(!http1_parser_is_midway(parser));
    ck_assert_int_eq(http1_parse(parser, "\n", 1, &used), 0);
    ck_assert(!http1_parser_is_midway(parser));
    for (size_t i = 0; i < sizeof(in) - 2; i++) {
        ck_assert_int_eq(http1_parse(parser, in + i, 1, &used), 0);
        ck_assert(http1_parser_is_midway(parser));
    }
    ck_assert_int_eq(http1_parse(parser, "b", 1, &used), 1);
    ck_assert(!http1_parser_is_midway(parser));
    http1_parser_next(parser);
    ck_assert(!http1_parser_is_midway(parser));
}
END_TEST

/* ---- 100-continue */

#define EXPECT "Expect: 100-continue\r\n"

static const struct {
    const char *name;
    const char *in;
    bool want;
} continues[] = {
    { "a body with Content-Length", POST EXPECT "Content-Length: 2\r\n\r\n", true },
    { "a chunked body", POST EXPECT "Transfer-Encoding: chunked\r\n\r\n", true },
    { "the headers are not complete", POST EXPECT "Content-Length: 2\r\n\r", false },
    { "the body has begun", POST EXPECT "Content-Length: 2\r\n\r\na", false },
    { "the body is there", POST EXPECT "Content-Length: 2\r\n\r\nab", false },
    { "the first chunk has begun", POST EXPECT "Transfer-Encoding: chunked\r\n\r\n1", false },
    { "nobody waits", POST "Content-Length: 2\r\n\r\n", false },
    { "there is no body", POST EXPECT "\r\n", false },
    { "HTTP/1.0 (RFC 9110 10.1.1)", "POST / HTTP/1.0\r\n" EXPECT "Content-Length: 2\r\n\r\n", false },
};

START_TEST(a_client_waits_for_100_once_and_before_its_body)
{
    size_t used;
    ck_assert_int_ge(http1_parse(parser, continues[_i].in, strlen(continues[_i].in), &used), 0);
    ck_assert_msg(http1_parser_wants_continue(parser) == continues[_i].want, "%s", continues[_i].name);
    ck_assert_msg(!http1_parser_wants_continue(parser), "%s, asked again", continues[_i].name);
}
END_TEST

/* ---- lists */

static const struct {
    const char *name;
    const char *headers;
    const char *token;
    bool want;
} lists[] = {
    { "alone", "L: a\r\n", "a", true },
    { "in upper case (RFC 9110 5.6.1)", "L: A\r\n", "a", true },
    { "asked for in upper case", "L: a\r\n", "A", true },
    { "the beginning of an element", "L: ab\r\n", "a", false },
    { "longer than the element", "L: a\r\n", "ab", false },
    { "the last element", "L: b, a\r\n", "a", true },
    { "between others, with white space (RFC 9110 5.6.3)", "L: b ,\ta , c\r\n", "a", true },
    { "after empty elements (RFC 9110 5.6.1.2)", "L: ,,a\r\n", "a", true },
    { "in another header", "L: b\r\nM: a\r\n", "a", false },
    { "in a second header of the name (RFC 9110 5.3)", "L: b\r\nl: c,a\r\n", "a", true },
    { "in an empty list", "L:\r\n", "a", false },
    { "empty elements are none (RFC 9110 5.6.1.2)", "L: ,\r\n", "", false },
    { "a word of an element", "L: a b\r\n", "a", false },
    { "in quotes", "L: \"a\"\r\n", "a", false },
    { "no such header", "", "a", false },
};

START_TEST(a_token_is_found_in_a_list)
{
    char in[128];
    size_t used, len = (size_t)snprintf(in, sizeof(in), GET H "%s\r\n", lists[_i].headers);
    ck_assert_int_eq(http1_parse(parser, in, len, &used), 1);
    ck_assert_msg(http1_header_has_token(http1_parser_request(parser), "L", lists[_i].token) == lists[_i].want, "%s",
                  lists[_i].name);
}
END_TEST

/* ---- Accept-Encoding (RFC 9110 12.5.3) */

static const struct {
    const char *name;
    const char *headers;
    bool want;
} codings[] = {
    { "not said", "", false },
    { "alone", "Accept-Encoding: gzip\r\n", true },
    { "among others", "Accept-Encoding: br, gzip , zstd\r\n", true },
    { "in any letters (8.4.1)", "accept-encoding: GZIP\r\n", true },
    { "x-gzip is the same (8.4.1.3)", "Accept-Encoding: x-gzip\r\n", true },
    { "in a second header (5.3)", "Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", true },
    { "an empty list", "Accept-Encoding:\r\n", false },
    { "empty elements (5.6.1.2)", "Accept-Encoding: ,, gzip,\r\n", true },
    { "another one", "Accept-Encoding: deflate\r\n", false },
    { "a longer word", "Accept-Encoding: gzipped\r\n", false },
    { "everything", "Accept-Encoding: *\r\n", true },
    { "everything else", "Accept-Encoding: gzip;q=0, *\r\n", false },
    { "nothing else", "Accept-Encoding: gzip, *;q=0\r\n", true },
    { "everything, refused", "Accept-Encoding: *;q=0\r\n", false },
    { "a weight of one (12.4.2)", "Accept-Encoding: gzip;q=1\r\n", true },
    { "with decimals", "Accept-Encoding: gzip;q=1.000\r\n", true },
    { "with a point alone", "Accept-Encoding: gzip;q=1.\r\n", true },
    { "the least", "Accept-Encoding: gzip;q=0.001\r\n", true },
    { "refused", "Accept-Encoding: gzip;q=0\r\n", false },
    { "refused with decimals", "Accept-Encoding: gzip;q=0.000\r\n", false },
    { "Q, and white space", "Accept-Encoding: gzip ; Q = 0\r\n", false },
    { "more than one", "Accept-Encoding: gzip;q=1.1\r\n", false },
    { "two", "Accept-Encoding: gzip;q=2\r\n", false },
    { "four decimals", "Accept-Encoding: gzip;q=0.0001\r\n", false },
    { "no number", "Accept-Encoding: gzip;q=x\r\n", false },
    { "no value", "Accept-Encoding: gzip;q=\r\n", false },
    { "another parameter", "Accept-Encoding: gzip;level=9\r\n", false },
    { "plain is liked better", "Accept-Encoding: gzip;q=0.5, identity\r\n", false },
    { "plain is liked as much", "Accept-Encoding: gzip, identity\r\n", true },
    { "plain is refused", "Accept-Encoding: gzip;q=0.5, identity;q=0\r\n", true },
};

START_TEST(gzip_is_taken_or_not_as_the_weights_say)
{
    char in[160];
    size_t used, len = (size_t)snprintf(in, sizeof(in), GET H "%s\r\n", codings[_i].headers);
    ck_assert_int_eq(http1_parse(parser, in, len, &used), 1);
    ck_assert_msg(http1_accepts_gzip(http1_parser_request(parser)) == codings[_i].want, "%s", codings[_i].name);
}
END_TEST

/* ---- the query */

static const struct {
    const char *query;
    const char *want; /* key=value; and so on, in brackets what cannot be printed */
    int last;
} queries[] = {
    { "", "", 0 },
    { "a=b", "a=b;", 0 },
    { "a=b&c=d", "a=b;c=d;", 0 },
    { "&&a=b&&c=d&", "a=b;c=d;", 0 },
    { "topic=a&topic=b&topic=", "topic=a;topic=b;topic=;", 0 },
    { "a", "a=;", 0 },
    { "a&b", "a=;b=;", 0 },
    { "=a", "=a;", 0 },
    { "=", "=;", 0 },
    { "a=b=c", "a=b=c;", 0 },
    { "a+b=c+d", "a b=c d;", 0 },
    { "a%20b=c%2Bd", "a b=c+d;", 0 },
    { "%61=%c3%A4%26%3d", "a=\xc3\xa4&=;", 0 },
    { "a=b;c=d", "a=b;c=d;", 0 },
    { "a=%", "", -EINVAL },
    { "a=%4", "", -EINVAL },
    { "a=%4&b=c", "", -EINVAL },
    { "a=%g0", "", -EINVAL },
    { "a=%0g", "", -EINVAL },
    { "%zz=a", "", -EINVAL },
    { "a=b&c=%4", "a=b;", -EINVAL },
};

START_TEST(a_query_is_walked_pair_by_pair)
{
    size_t len = strlen(queries[_i].query), pos = 0;
    char *query = malloc(len + 1), *scratch = malloc(len + 2);
    memcpy(query, queries[_i].query, len); /* without its NUL, so that ASan sees who reads past the end */
    query = realloc(query, len > 0 ? len : 1);
    struct slice key, value;
    struct buf got = { 0 };
    int r;
    while ((r = http1_query_next((struct slice){ query, len }, &pos, scratch, &key, &value)) == 1) {
        ck_assert_int_eq(key.ptr[key.len], '\0');
        ck_assert_int_eq(value.ptr[value.len], '\0');
        buf_printf(&got, "%s=%s;", key.ptr, value.ptr);
    }
    buf_append(&got, "", 1);
    ck_assert_int_eq(r, queries[_i].last);
    ck_assert_str_eq((char *)got.data, queries[_i].want);
    buf_done(&got);
    free(query);
    free(scratch);
}
END_TEST

START_TEST(pairs_can_be_kept_in_the_same_scratch)
{
    static const char query[] = "a=%62&cc=ddd&e&f=%00x&&g";
    char *scratch = malloc(sizeof(query) - 1 + 2),
         *to = scratch; /* not a byte more, so that ASan sees who writes one */
    struct slice keys[5], values[5];
    size_t pos = 0, n = 0;
    for (; http1_query_next(SLICE_LIT(query), &pos, to, &keys[n], &values[n]) == 1; n++)
        to = scratch + (values[n].ptr + values[n].len - scratch);
    ck_assert_uint_eq(n, 5);
    ck_assert(slice_equals(keys[0], "a") && slice_equals(values[0], "b"));
    ck_assert(slice_equals(keys[1], "cc") && slice_equals(values[1], "ddd"));
    ck_assert(slice_equals(keys[2], "e") && slice_equals(values[2], ""));
    ck_assert(slice_equals(keys[3], "f") && values[3].len == 2 && memcmp(values[3].ptr, "\0x", 2) == 0);
    ck_assert(slice_equals(keys[4], "g") && slice_equals(values[4], ""));
    free(scratch);
}
END_TEST

START_TEST(a_query_without_values_can_be_kept_too)
{
    char query[64], *scratch = malloc(sizeof(query) + 2), *to = scratch;
    struct slice key, value;
    size_t pos = 0, n = 0;
    for (size_t i = 0; i < sizeof(query); i++) /* x&x&x&...: each pair is as short as can be */
        query[i] = i % 2 == 0 ? 'x' : '&';
    for (; http1_query_next((struct slice){ query, sizeof(query) }, &pos, to, &key, &value) == 1; n++)
        to = scratch + (value.ptr + value.len - scratch);
    ck_assert_uint_eq(n, sizeof(query) / 2);
    free(scratch);
}
END_TEST

/* ---- answers */

#define DATE "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" /* RFC 9110 5.6.7 */

static const struct {
    unsigned status;
    bool keep_alive;
    const char *content_type;
    size_t body_len;
    const char *extra;
    const char *want;
} answers[] = {
    { 200, true, "text/plain", 5, NULL,
      "HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/plain\r\nContent-Length: 5\r\nConnection: keep-alive\r\n"
      "X-Content-Type-Options: nosniff\r\n\r\n" },
    { 404, false, NULL, 0, "A: b\r\nC: d\r\n",
      "HTTP/1.1 404 Not Found\r\n" DATE "Content-Length: 0\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n"
      "A: b\r\nC: d\r\n\r\n" },
    { 200, true, "text/event-stream", SIZE_MAX, NULL, /* RFC 9112 6.3: the body ends with the connection */
      "HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/event-stream\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n"
      "\r\n" },
    { 204, true, NULL, 0, NULL, /* RFC 9110 8.6: no Content-Length */
      "HTTP/1.1 204 No Content\r\n" DATE "Connection: keep-alive\r\nX-Content-Type-Options: nosniff\r\n\r\n" },
    { 304, true, NULL, SIZE_MAX, NULL,
      "HTTP/1.1 304 Not Modified\r\n" DATE "Connection: keep-alive\r\nX-Content-Type-Options: nosniff\r\n\r\n" },
};

START_TEST(an_answer_has_the_headers_that_each_answer_has)
{
    struct buf out = { 0 };
    http1_write_head(&out, 784111777000, answers[_i].status, answers[_i].keep_alive, answers[_i].content_type, answers[_i].body_len,
                     answers[_i].extra);
    ck_assert(!out.failed);
    buf_append(&out, "", 1);
    ck_assert_str_eq((char *)out.data, answers[_i].want);
    buf_done(&out);
}
END_TEST

START_TEST(a_status_has_its_reason)
{
    ck_assert_str_eq(http1_reason(200), "OK");
    ck_assert_str_eq(http1_reason(426), "Upgrade Required");
    ck_assert_str_eq(http1_reason(431), "Request Header Fields Too Large");
    ck_assert_str_eq(http1_reason(999), "Unknown");
    for (size_t i = 0; i < HLY_ARRAY_LEN(cases); i++) /* each refusal can be answered by name */
        if (cases[i].want < 0)
            ck_assert_str_ne(http1_reason((unsigned)-cases[i].want), "Unknown");
}
END_TEST

/* ---- */

static TCase *add_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, parser_setup, parser_teardown);
    suite_add_tcase(suite, tcase);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("http1");

    TCase *verdict = add_case(suite, "verdict");
    tcase_add_loop_test(verdict, a_request_gets_its_verdict_from_the_byte_that_decides, 0, HLY_ARRAY_LEN(cases));
    tcase_add_loop_test(verdict, a_request_gets_the_same_verdict_for_every_split, 0, HLY_ARRAY_LEN(cases));
    tcase_add_test(verdict, a_refusal_is_for_good);
    tcase_add_test(verdict, who_speaks_tls_on_a_plain_port_is_told_so);

    TCase *limit = add_case(suite, "limits");
    tcase_add_test(limit, a_request_line_may_be_as_long_as_its_limit);
    tcase_add_test(limit, a_request_line_without_an_end_is_refused_as_soon_as_it_is_too_long);
    tcase_add_test(limit, a_bad_byte_after_the_limit_does_not_change_the_verdict);
    tcase_add_test(limit, headers_may_be_as_long_as_their_limit);
    tcase_add_test(limit, headers_over_their_limit_are_refused);
    tcase_add_loop_test(limit, extensions_and_trailers_have_the_allowance_of_headers, 0, HLY_ARRAY_LEN(framings));
    tcase_add_test(limit, extensions_of_many_chunks_add_up);

    TCase *request = add_case(suite, "request");
    tcase_add_loop_test(request, a_request_says_what_it_holds, 0, HLY_ARRAY_LEN(requests));
    tcase_add_test(request, headers_are_handed_out_as_sent_and_trimmed);
    tcase_add_loop_test(request, a_token_is_found_in_a_list, 0, HLY_ARRAY_LEN(lists));
    tcase_add_loop_test(request, gzip_is_taken_or_not_as_the_weights_say, 0, HLY_ARRAY_LEN(codings));
    tcase_add_loop_test(request, a_client_waits_for_100_once_and_before_its_body, 0, HLY_ARRAY_LEN(continues));

    TCase *pipelines = add_case(suite, "pipeline");
    tcase_add_test(pipelines, every_split_of_a_pipeline_gives_the_same_requests);
    tcase_add_test(pipelines, a_pipeline_can_come_byte_by_byte);
    tcase_add_test(pipelines, a_parser_is_midway_between_the_first_and_the_last_byte);

    TCase *query = add_case(suite, "query");
    tcase_add_loop_test(query, a_query_is_walked_pair_by_pair, 0, HLY_ARRAY_LEN(queries));
    tcase_add_test(query, pairs_can_be_kept_in_the_same_scratch);
    tcase_add_test(query, a_query_without_values_can_be_kept_too);

    TCase *answer = add_case(suite, "answer");
    tcase_add_loop_test(answer, an_answer_has_the_headers_that_each_answer_has, 0, HLY_ARRAY_LEN(answers));
    tcase_add_test(answer, a_status_has_its_reason);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
