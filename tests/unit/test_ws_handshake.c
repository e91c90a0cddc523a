#include "proto/ws_handshake.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/slice.h"

#define MAX_HEADERS 24

/* ---- helpers */

struct made_request {
    struct http1_request rq;
    struct http1_header headers[MAX_HEADERS];
};

static const char *method_names[] = { [HTTP1_GET] = "GET", [HTTP1_HEAD] = "HEAD", [HTTP1_POST] = "POST" };

/* A request as the HTTP parser hands it out, from "Name: value\n" lines. Borrows the text. */
static void make_request(struct made_request *m, enum http1_method method, unsigned minor, const char *lines)
{
    m->rq = (struct http1_request){
        .method = method,
        .method_name = { method_names[method], strlen(method_names[method]) },
        .target = SLICE_LIT("/ws"),
        .path = SLICE_LIT("/ws"),
        .query = SLICE_LIT(""),
        .minor = minor,
        .host = SLICE_LIT(""),
        .headers = m->headers,
        .body = SLICE_LIT(""),
    };
    while (*lines != '\0') {
        ck_assert(m->rq.header_count < MAX_HEADERS);
        struct http1_header *h = &m->headers[m->rq.header_count++];
        const char *colon = strchr(lines, ':'), *end = strchr(lines, '\n');
        const char *value = colon + 1 + strspn(colon + 1, " ");
        h->name = (struct slice){ lines, (size_t)(colon - lines) };
        h->value = (struct slice){ value < end ? value : end, value < end ? (size_t)(end - value) : 0 };
        if (slice_equals_nocase(h->name, "Host"))
            m->rq.host = h->value;
        lines = end + 1;
    }
}

#define HOST "Host: example.com\n"
#define UPGRADE "Upgrade: websocket\n"
#define CONNECTION "Connection: Upgrade\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
#define VERSION "Sec-WebSocket-Version: 13\n"
#define GOOD HOST UPGRADE CONNECTION KEY VERSION
#define WITH_KEY(key) HOST UPGRADE CONNECTION VERSION "Sec-WebSocket-Key: " key "\n"
#define WITH_UPGRADE(value) HOST CONNECTION KEY VERSION "Upgrade: " value "\n"
#define WITH_CONNECTION(value) HOST UPGRADE KEY VERSION "Connection: " value "\n"
#define WITH_VERSION(value) HOST UPGRADE CONNECTION KEY "Sec-WebSocket-Version: " value "\n"
#define WITH_PROTOCOL(value) GOOD "Sec-WebSocket-Protocol: " value "\n"

/* ---- checking */

/* Columns: rule, method, HTTP/1.minor, headers, verdict, and a word that its sentence must have. */
static const struct {
    const char *name;
    enum http1_method method;
    unsigned minor;
    const char *lines;
    int want;
    const char *why;
} cases[] = {
    { "the RFC's own (1.2)", HTTP1_GET, 1, GOOD "Origin: http://example.com\nSec-WebSocket-Protocol: chat, superchat\n",
      0, NULL },
    { "no more than is required (4.2.1)", HTTP1_GET, 1, GOOD, 0, NULL },
    { "any order (4.2.1)", HTTP1_GET, 1, VERSION KEY CONNECTION UPGRADE HOST, 0, NULL },
    { "names in any case (RFC 9110 5.1)", HTTP1_GET, 1,
      "host: a\nUPGRADE: websocket\nconnection: upgrade\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n"
      "SEC-WEBSOCKET-VERSION: 13\n",
      0, NULL },
    { "values in any case (4.2.1 3, 4)", HTTP1_GET, 1, HOST KEY VERSION "Upgrade: WebSocket\nConnection: uPGRADE\n", 0,
      NULL },
    { "Firefox's Connection (4.2.1 4)", HTTP1_GET, 1, WITH_CONNECTION("keep-alive, Upgrade"), 0, NULL },
    { "Connection in two headers", HTTP1_GET, 1, WITH_CONNECTION("keep-alive\nConnection: Upgrade"), 0, NULL },
    { "Upgrade offers more (4.2.1 3)", HTTP1_GET, 1, WITH_UPGRADE("h2c, websocket"), 0, NULL },
    { "headers that we do not know (4.2.1)", HTTP1_GET, 1,
      GOOD "Sec-WebSocket-Extensions: permessage-deflate\nCookie: a=b\nSec-WebSocket-Accept: x\n", 0, NULL },

    { "POST (4.2.1 1)", HTTP1_POST, 1, GOOD, -405, "GET" },
    { "HEAD (4.2.1 1)", HTTP1_HEAD, 1, GOOD, -405, "GET" },
    { "HTTP/1.0 (4.2.1 1)", HTTP1_GET, 0, GOOD, -505, "HTTP/1.1" },
    { "no Host (4.2.1 2)", HTTP1_GET, 1, UPGRADE CONNECTION KEY VERSION, -400, "Host" },
    { "no Upgrade (4.2.1 3)", HTTP1_GET, 1, HOST CONNECTION KEY VERSION, -400, "Upgrade" },
    { "another Upgrade (4.2.1 3)", HTTP1_GET, 1, WITH_UPGRADE("h2c"), -400, "Upgrade" },
    { "websocket with a version is another protocol", HTTP1_GET, 1, WITH_UPGRADE("websocket/13"), -400, "Upgrade" },
    { "websocket within a word", HTTP1_GET, 1, WITH_UPGRADE("xwebsocket, websockets"), -400, "Upgrade" },
    { "no Connection (4.2.1 4)", HTTP1_GET, 1, HOST UPGRADE KEY VERSION, -400, "Connection" },
    { "Connection without upgrade (4.2.1 4)", HTTP1_GET, 1, WITH_CONNECTION("keep-alive"), -400, "Connection" },
    { "upgrade within a word", HTTP1_GET, 1, WITH_CONNECTION("upgrades, no-upgrade"), -400, "Connection" },

    { "no version (4.2.1 6)", HTTP1_GET, 1, HOST UPGRADE CONNECTION KEY, -400, "Sec-WebSocket-Version" },
    { "version 8 (4.4)", HTTP1_GET, 1, WITH_VERSION("8"), -426, "13" },
    { "version 14 (4.4)", HTTP1_GET, 1, WITH_VERSION("14"), -426, "13" },
    { "version 0 (4.4)", HTTP1_GET, 1, WITH_VERSION("0"), -426, "13" },
    { "version 013 (4.3: no leading zero)", HTTP1_GET, 1, WITH_VERSION("013"), -426, "13" },
    { "version 13.0", HTTP1_GET, 1, WITH_VERSION("13.0"), -426, "13" },
    { "version 1", HTTP1_GET, 1, WITH_VERSION("1"), -426, "13" },
    { "empty version", HTTP1_GET, 1, WITH_VERSION(""), -426, "13" },
    { "a list of versions is for servers (4.3)", HTTP1_GET, 1, WITH_VERSION("13, 8"), -426, "13" },
    { "two versions (11.3.5)", HTTP1_GET, 1, WITH_VERSION("13\nSec-WebSocket-Version: 8"), -400, "more than one" },
    { "the same version twice (11.3.5)", HTTP1_GET, 1, GOOD VERSION, -400, "more than one" },
    { "another version goes before a bad key (4.4)", HTTP1_GET, 1,
      HOST UPGRADE CONNECTION "Sec-WebSocket-Version: 7\nSec-WebSocket-Key: x\n", -426, "13" },

    { "key of zeros", HTTP1_GET, 1, WITH_KEY("AAAAAAAAAAAAAAAAAAAAAA=="), 0, NULL },
    { "key of ones", HTTP1_GET, 1, WITH_KEY("/////////////////////w=="), 0, NULL },
    { "key with all kinds of characters", HTTP1_GET, 1, WITH_KEY("09azAZ+/09azAZ+/09azAQ=="), 0, NULL },
    { "last character g", HTTP1_GET, 1, WITH_KEY("AAAAAAAAAAAAAAAAAAAAAg=="), 0, NULL },
    { "no key (4.2.1 5)", HTTP1_GET, 1, HOST UPGRADE CONNECTION VERSION, -400, "no Sec-WebSocket-Key" },
    { "two keys (11.3.1)", HTTP1_GET, 1, GOOD KEY, -400, "more than one" },
    { "two different keys (11.3.1)", HTTP1_GET, 1, GOOD "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n", -400,
      "more than one" },
    { "empty key", HTTP1_GET, 1, WITH_KEY(""), -400, "16 bytes" },
    { "key of 15 bytes (4.2.1 5)", HTTP1_GET, 1, WITH_KEY("AAAAAAAAAAAAAAAAAAAA"), -400, "16 bytes" },
    { "key of 17 bytes (4.2.1 5)", HTTP1_GET, 1, WITH_KEY("AAAAAAAAAAAAAAAAAAAAAAA="), -400, "16 bytes" },
    { "key of 18 bytes (4.2.1 5)", HTTP1_GET, 1, WITH_KEY("AAAAAAAAAAAAAAAAAAAAAAAA"), -400, "16 bytes" },
    { "key of 19 bytes (4.2.1 5)", HTTP1_GET, 1, WITH_KEY("AAAAAAAAAAAAAAAAAAAAAAAAAA=="), -400, "16 bytes" },
    { "key with something after it", HTTP1_GET, 1, WITH_KEY("AAAAAAAAAAAAAAAAAAAAAA==A"), -400, "16 bytes" },
    { "key without padding (RFC 4648 3.2)", HTTP1_GET, 1, WITH_KEY("AAAAAAAAAAAAAAAAAAAAAA"), -400, "16 bytes" },
    { "key with padding in it (RFC 4648 3.3)", HTTP1_GET, 1, WITH_KEY("AAAA=AAAAAAAAAAAAAAAAA=="), -400, "16 bytes" },
    { "key with three padding characters", HTTP1_GET, 1, WITH_KEY("AAAAAAAAAAAAAAAAAAAAA==="), -400, "16 bytes" },
    { "the key that 4.1 prints, with its trailing bits", HTTP1_GET, 1, WITH_KEY("AQIDBAUGBwgJCgsMDQ4PEC=="), 0, NULL },
    { "key in the URL alphabet (RFC 4648 5)", HTTP1_GET, 1, WITH_KEY("AAAAAAA-AAAAAA_AAAAAAA=="), -400, "16 bytes" },
    { "key with white space in it", HTTP1_GET, 1, WITH_KEY("AAAA AAAAAAAAAAAAAAAAA=="), -400, "16 bytes" },
    { "key with a byte over ASCII", HTTP1_GET, 1, WITH_KEY("ZZZZ\xc1ZZZZAAAAAAAAAAAAA=="), -400, "16 bytes" },

    { "one subprotocol (4.2.1 8)", HTTP1_GET, 1, WITH_PROTOCOL("halley.v1"), 0, NULL },
    { "empty list elements do not count (RFC 9110 5.6.1.2)", HTTP1_GET, 1, WITH_PROTOCOL(", a,,b ,"), 0, NULL },
    { "subprotocol with a space (4.1)", HTTP1_GET, 1, WITH_PROTOCOL("a b"), -400, "Protocol" },
    { "subprotocol with a separator (4.1)", HTTP1_GET, 1, WITH_PROTOCOL("good, b/1"), -400, "Protocol" },
    { "subprotocol with quotes (4.1)", HTTP1_GET, 1, WITH_PROTOCOL("\"a\""), -400, "Protocol" },
    { "subprotocol over ASCII (4.1)", HTTP1_GET, 1, WITH_PROTOCOL("\xc3\xa9"), -400, "Protocol" },
    { "bad subprotocol in a second header", HTTP1_GET, 1, WITH_PROTOCOL("a\nSec-WebSocket-Protocol: b;c"), -400,
      "Protocol" },
    { "subprotocol header without any (4.3)", HTTP1_GET, 1, WITH_PROTOCOL(""), -400, "Protocol" },
    { "subprotocol header of commas (4.3)", HTTP1_GET, 1, WITH_PROTOCOL(", ,"), -400, "Protocol" },
};

START_TEST(a_handshake_is_accepted_or_refused_by_its_rule)
{
    struct made_request m;
    const char *why = NULL;
    make_request(&m, cases[_i].method, cases[_i].minor, cases[_i].lines);
    int got = ws_handshake_check(&m.rq, &why);
    ck_assert_msg(got == cases[_i].want, "%s: got %d (%s)", cases[_i].name, got, why != NULL ? why : "");
    if (got == 0) {
        ck_assert_ptr_null(why);
        return;
    }
    ck_assert_msg(strstr(why, cases[_i].why) != NULL, "%s: %s", cases[_i].name, why);
    ck_assert_msg(why[strlen(why) - 1] == '.', "%s: not a sentence: %s", cases[_i].name, why);
}
END_TEST

START_TEST(any_base64_character_may_be_the_last_of_a_key)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t value = 0; value < 64; value++) {
        char lines[] = WITH_KEY("AAAAAAAAAAAAAAAAAAAAA?==");
        *strchr(lines, '?') = alphabet[value];
        struct made_request m;
        const char *why;
        make_request(&m, HTTP1_GET, 1, lines);
        ck_assert_msg(ws_handshake_check(&m.rq, &why) == 0, "%c", alphabet[value]);
    }
}
END_TEST

START_TEST(each_character_of_a_key_is_checked)
{
    for (size_t at = 0; at < 24; at++) {
        char lines[] = WITH_KEY("dGhlIHNhbXBsZSBub25jZQ==");
        strstr(lines, "dGhl")[at] = '.';
        struct made_request m;
        const char *why;
        make_request(&m, HTTP1_GET, 1, lines);
        ck_assert_msg(ws_handshake_check(&m.rq, &why) == -400, "character %zu", at);
    }
}
END_TEST

START_TEST(a_plain_request_does_not_ask_for_a_websocket)
{
    static const struct {
        const char *lines;
        bool asked;
    } rows[] = {
        { HOST, false },
        { HOST CONNECTION, false },
        { HOST "Upgrade: h2c\n", false },
        { HOST "Upgrade: websocket\n", true },
        { HOST "Upgrade: h2c\nUpgrade: x , WEBSOCKET\n", true },
        { HOST "Upgrade: websocket/13\n", false },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(rows); i++) {
        struct made_request m;
        make_request(&m, HTTP1_GET, 1, rows[i].lines);
        ck_assert_msg(ws_handshake_is_asked(&m.rq) == rows[i].asked, "row %zu", i);
    }
}
END_TEST

/* ---- accepting */

START_TEST(the_accept_value_is_that_of_the_rfc)
{
    static const struct {
        const char *key, *want;
    } rows[] = {
        { "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }, /* RFC 6455 1.3 */
        { "x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk=" },
        { "AQIDBAUGBwgJCgsMDQ4PEA==", "C/0nmHhBztSRGR1CwL6Tf4ZjwpY=" }, /* bytes 1 to 16, as in 4.1 */
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(rows); i++) {
        char accept[29];
        ws_handshake_accept((struct slice){ rows[i].key, strlen(rows[i].key) }, accept);
        ck_assert_str_eq(accept, rows[i].want);
    }
}
END_TEST

static void check_answer(const char *lines, struct slice protocol, const char *extra, const char *want)
{
    struct made_request m;
    struct buf out = { 0 };
    make_request(&m, HTTP1_GET, 1, lines);
    ws_handshake_write(&out, &m.rq, protocol, extra);
    ck_assert(!out.failed);
    ck_assert_msg(out.len == strlen(want) && memcmp(out.data, want, out.len) == 0, "got:\n%.*s", (int)out.len,
                  (const char *)out.data);
    buf_done(&out);
}

#define ANSWER \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

START_TEST(the_answer_switches_protocols)
{
    struct slice none = { NULL, 0 };
    check_answer(GOOD, none, NULL, ANSWER "\r\n");
    check_answer(GOOD, SLICE_LIT("halley.v1"), NULL, ANSWER "Sec-WebSocket-Protocol: halley.v1\r\n\r\n");
    check_answer(GOOD, none, "Server: x\r\n", ANSWER "Server: x\r\n\r\n");
    check_answer(GOOD, SLICE_LIT("a"), "B: c\r\nD: e\r\n", ANSWER "Sec-WebSocket-Protocol: a\r\nB: c\r\nD: e\r\n\r\n");
}
END_TEST

START_TEST(the_answer_is_appended_to_what_waits)
{
    struct made_request m;
    struct buf out = { 0 };
    make_request(&m, HTTP1_GET, 1, GOOD);
    buf_str(&out, "before ");
    ws_handshake_write(&out, &m.rq, (struct slice){ NULL, 0 }, NULL);
    ck_assert_mem_eq(out.data, "before HTTP/1.1 101 ", 20);
    buf_done(&out);
}
END_TEST

/* ---- subprotocols */

static const struct {
    const char *name;
    const char *lines;
    const char *want; /* the walk, each element followed by a dot and a space */
} walks[] = {
    { "no headers at all", "", "" },
    { "no such header", GOOD, "" },
    { "one", GOOD "Sec-WebSocket-Protocol: a\n", "a. " },
    { "order of preference (4.1)", GOOD "Sec-WebSocket-Protocol: b, a,c\n", "b. a. c. " },
    { "white space (RFC 9110 5.6.1)", GOOD "Sec-WebSocket-Protocol: \t a \t,\t b\t\n", "a. b. " },
    { "several headers are one list (11.3.4)",
      "Sec-WebSocket-Protocol: a\n" GOOD "sec-websocket-protocol: b,c\nX: y\nSEC-WEBSOCKET-PROTOCOL: d\n",
      "a. b. c. d. " },
    { "empty elements (RFC 9110 5.6.1.2)", GOOD "Sec-WebSocket-Protocol: ,,a, ,b,,\nSec-WebSocket-Protocol: ,c\n",
      "a. b. c. " },
    { "an empty header between", "Sec-WebSocket-Protocol: a\nSec-WebSocket-Protocol:\nSec-WebSocket-Protocol: b\n",
      "a. b. " },
    { "every token character (RFC 9110 5.6.2)", "Sec-WebSocket-Protocol: !#$%&'*+-.^_`|~09azAZ\n",
      "!#$%&'*+-.^_`|~09azAZ. " },
    { "the walk ends at what is no token", GOOD "Sec-WebSocket-Protocol: a, b c, d\n", "a. " },
    { "an unknown header before", "X: a,b,c,d\nSec-WebSocket-Protocol: e,f\n", "e. f. " },
};

START_TEST(subprotocols_come_in_order_of_preference)
{
    struct made_request m;
    struct buf got = { 0 };
    struct slice protocol;
    make_request(&m, HTTP1_GET, 1, walks[_i].lines);
    for (size_t pos = 0; ws_handshake_next_protocol(&m.rq, &pos, &protocol);)
        buf_printf(&got, "%.*s. ", (int)protocol.len, protocol.ptr);
    ck_assert_msg(got.len == strlen(walks[_i].want) && (got.len == 0 || memcmp(got.data, walks[_i].want, got.len) == 0),
                  "%s: got '%.*s'", walks[_i].name, (int)got.len, (const char *)got.data);
    buf_done(&got);
}
END_TEST

START_TEST(each_character_that_is_no_token_is_refused)
{
    for (int c = 1; c < 256; c++) {
        char lines[] = "Sec-WebSocket-Protocol: a?b\n";
        struct made_request m;
        struct slice protocol;
        size_t pos = 0;
        if (c == '\n')
            continue;
        *strchr(lines, '?') = (char)c;
        make_request(&m, HTTP1_GET, 1, lines);
        bool want = c > ' ' && c < 0x7f && strchr("\"(),/:;<=>?@[\\]{}", c) == NULL;
        if (c == ',')
            want = true; /* two elements */
        ck_assert_msg(ws_handshake_next_protocol(&m.rq, &pos, &protocol) == want, "character %02x", (unsigned)c);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ws_handshake");
    TCase *check = tcase_create("check");
    tcase_add_loop_test(check, a_handshake_is_accepted_or_refused_by_its_rule, 0, HLY_ARRAY_LEN(cases));
    tcase_add_test(check, any_base64_character_may_be_the_last_of_a_key);
    tcase_add_test(check, each_character_of_a_key_is_checked);
    tcase_add_test(check, a_plain_request_does_not_ask_for_a_websocket);
    suite_add_tcase(suite, check);

    TCase *answer = tcase_create("answer");
    tcase_add_test(answer, the_accept_value_is_that_of_the_rfc);
    tcase_add_test(answer, the_answer_switches_protocols);
    tcase_add_test(answer, the_answer_is_appended_to_what_waits);
    suite_add_tcase(suite, answer);

    TCase *protocols = tcase_create("subprotocols");
    tcase_add_loop_test(protocols, subprotocols_come_in_order_of_preference, 0, HLY_ARRAY_LEN(walks));
    tcase_add_test(protocols, each_character_that_is_no_token_is_refused);
    suite_add_tcase(suite, protocols);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
