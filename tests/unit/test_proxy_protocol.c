#include "proto/proxy_protocol.h"

#include <errno.h>

#include "support.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x67\x00\x50" /* 192.0.2.1:4711 to 192.0.2.2:80 */
#define V6 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x12\x67\x01\xbb"
#define ROW(text) text, sizeof(text) - 1

static const struct {
    const char *name, *in;
    size_t len;
    int want;         /* 1: a header, the whole of in; 0: not yet; -EPROTO */
    const char *says; /* "SOURCE:PORT DESTINATION:PORT" in hex, "none", or what the refusal says */
} cases[] = {
    { "TCP4 (2.1)", ROW("PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n"), 1, "c0000201:4711 c0000202:80" },
    { "the longest TCP4", ROW("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), 1,
      "ffffffff:65535 ffffffff:65535" },
    { "port 0", ROW("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), 1, "00000000:0 00000000:0" },
    { "TCP6", ROW("PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n"), 1,
      "20010db8000000000000000000000001:4711 20010db8000000000000000000000002:443" },
    { "the longest TCP6",
      ROW("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
      1, "ffffffffffffffffffffffffffffffff:65535 ffffffffffffffffffffffffffffffff:65535" },
    { "UNKNOWN, short", ROW("PROXY UNKNOWN\r\n"), 1, "none" },
    { "UNKNOWN, whatever follows is skipped", ROW("PROXY UNKNOWN ffff::1 x y z\r\n"), 1, "none" },
    { "no family", ROW("PROXY \r\n"), -EPROTO, "family" },
    { "another family", ROW("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"), -EPROTO, "family" },
    { "a family in small letters", ROW("PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n"), -EPROTO, "family" },
    { "a family with more behind it", ROW("PROXY TCP44 192.0.2.1 192.0.2.2 1 2\r\n"), -EPROTO, "family" },
    { "an address of the other family", ROW("PROXY TCP4 ::1 ::1 1 2\r\n"), -EPROTO, "address" },
    { "an address that is none", ROW("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n"), -EPROTO, "address" },
    { "an address too long to be one", ROW("PROXY TCP6 0000000000000000000000000000000000000000000000001 ::1 1 2\r\n"),
      -EPROTO, "address" },
    { "two spaces", ROW("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n"), -EPROTO, "address" },
    { "a tab", ROW("PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n"), -EPROTO, "other bytes" },
    { "one address", ROW("PROXY TCP4 192.0.2.1\r\n"), -EPROTO, "address" },
    { "no ports", ROW("PROXY TCP4 192.0.2.1 192.0.2.2\r\n"), -EPROTO, "ports" },
    { "one port", ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"), -EPROTO, "ports" },
    { "three ports", ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"), -EPROTO, "ports" },
    { "a space at the end", ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n"), -EPROTO, "ports" },
    { "a port too large", ROW("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n"), -EPROTO, "ports" },
    { "a port with a zero before it", ROW("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n"), -EPROTO, "ports" },
    { "a negative port", ROW("PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n"), -EPROTO, "ports" },
    { "a line that LF alone ends", ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"), -EPROTO, "CR LF" },
    { "CR alone", ROW("PROXY TCP4 192.0.2.1\r192.0.2.2 1 2\r\n"), -EPROTO, "CR LF" },
    { "two CRs", ROW("PROXY UNKNOWN\r\r\n"), -EPROTO, "CR LF" },
    { "a NUL", ROW("PROXY UNKNOWN \0\r\n"), -EPROTO, "other bytes" },
    { "bytes beyond ASCII", ROW("PROXY UNKNOWN \xc3\xa9\r\n"), -EPROTO, "other bytes" },
    { "107 bytes without an end (2.1)",
      ROW("PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"),
      -EPROTO, "107" },
    { "PROXY in small letters", ROW("proxy UNKNOWN\r\n"), -EPROTO, "no PROXY header" },
    { "plain HTTP", ROW("GET / HTTP/1.1\r\n"), -EPROTO, "no PROXY header" },
    { "HTTP that begins with a P", ROW("POST / HTTP/1.1\r\n"), -EPROTO, "no PROXY header" },
    { "TLS", ROW("\x16\x03\x01\x02\x00"), -EPROTO, "no PROXY header" },
    { "empty lines, as the binary form begins", ROW("\r\n\r\nGET /"), -EPROTO, "no PROXY header" },
    { "not yet", ROW("PROXY TCP4 192.0.2.1 19"), 0, "" },

    { "binary TCP4 (2.2)", ROW(SIG "\x21\x11\0\x0c" V4), 1, "c0000201:4711 c0000202:80" },
    { "binary TCP6", ROW(SIG "\x21\x21\0\x24" V6), 1,
      "20010db8000000000000000000000001:4711 20010db8000000000000000000000002:443" },
    { "LOCAL", ROW(SIG "\x20\0\0\0"), 1, "none" },
    { "LOCAL, with addresses that are skipped", ROW(SIG "\x20\x11\0\x0c" V4), 1, "none" },
    { "LOCAL, its family and the rest unseen", ROW(SIG "\x20\xff\0\x02\xff\xff"), 1, "none" },
    { "UNSPEC", ROW(SIG "\x21\0\0\0"), 1, "none" },
    { "UNSPEC, the rest unseen", ROW(SIG "\x21\0\0\x02\xff\xff"), 1, "none" },
    { "extensions (2.2.1)", ROW(SIG "\x21\x11\0\x14" V4 "\x04\0\0\x05\0\x02xy"), 1, "c0000201:4711 c0000202:80" },
    { "a checksum (2.2.3)", ROW(SIG "\x21\x11\0\x13" V4 "\x03\0\x04\xa6\xcb\x74\x88"), 1, "c0000201:4711 c0000202:80" },
    { "a wrong checksum", ROW(SIG "\x21\x11\0\x13" V4 "\x03\0\x04\xa6\xcb\x74\x89"), -EPROTO, "checksum" },
    { "a checksum of three bytes", ROW(SIG "\x21\x11\0\x12" V4 "\x03\0\x03\0\0\0"), -EPROTO, "checksum" },
    { "an extension of two bytes", ROW(SIG "\x21\x11\0\x0e" V4 "\x04\0"), -EPROTO, "extension" },
    { "an extension that goes beyond", ROW(SIG "\x21\x11\0\x10" V4 "\x04\0\x02x"), -EPROTO, "extension" },
    { "version 1", ROW(SIG "\x11\x11\0\x0c" V4), -EPROTO, "version" },
    { "version 3", ROW(SIG "\x31\x11\0\x0c" V4), -EPROTO, "version" },
    { "an unknown command", ROW(SIG "\x22\x11\0\x0c" V4), -EPROTO, "command" },
    { "UDP4: this is a stream", ROW(SIG "\x21\x12\0\x0c" V4), -EPROTO, "family" },
    { "an unknown family", ROW(SIG "\x21\x41\0\x0c" V4), -EPROTO, "family" },
    { "an unknown transport", ROW(SIG "\x21\x13\0\x0c" V4), -EPROTO, "family" },
    { "shorter than its addresses", ROW(SIG "\x21\x11\0\x0b" V4), -EPROTO, "shorter" },
    { "shorter than its IPv6 addresses", ROW(SIG "\x21\x21\0\x0c" V4), -EPROTO, "shorter" },
    { "longer than we take", ROW(SIG "\x21\x11\x0f\xf1"), -EPROTO, "longer than 4096" },
    { "the longest that we take, not yet there", ROW(SIG "\x21\x11\x0f\xf0"), 0, "" },
    { "another signature", ROW("\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0c" V4), -EPROTO, "no PROXY header" },
    { "not yet, binary", ROW(SIG "\x21\x11\0\x0c\xc0"), 0, "" },
    { "nothing", ROW(""), 0, "" },
};

/* Parse so many bytes, at their exact length on the heap, so that a sanitizer sees a look behind them. */
static int parse(const char *in, size_t len, size_t *ret_used, struct proxy_header *ret_header, const char **ret_why)
{
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, in, len);
    int r = proxy_header_parse(copy, len, ret_used, ret_header, ret_why);
    free(copy);
    return r;
}

static char *put_hex(char *out, const uint8_t *bytes, size_t len, unsigned port)
{
    for (size_t i = 0; i < len; i++)
        out += sprintf(out, "%02x", bytes[i]);
    return out + sprintf(out, ":%u", port);
}

static void describe(const struct proxy_header *h, char *out)
{
    size_t len = h->is_v6 ? 16 : 4;
    if (!h->has_addresses) {
        strcpy(out, "none");
        return;
    }
    out = put_hex(out, h->source, len, h->source_port);
    *out++ = ' ';
    put_hex(out, h->destination, len, h->destination_port);
}

START_TEST(a_header_is_read_or_refused)
{
    struct proxy_header h;
    const char *why = "";
    char got[128] = "";
    size_t used = 0;
    int r = parse(cases[_i].in, cases[_i].len, &used, &h, &why);
    ck_assert_msg(r == cases[_i].want, "%s: got %d: %s", cases[_i].name, r, why);
    if (r == 1) {
        describe(&h, got);
        ck_assert_msg(used == cases[_i].len && strcmp(got, cases[_i].says) == 0, "%s: %zu: %s", cases[_i].name, used,
                      got);
        ck_assert_uint_eq(h.version, cases[_i].in[0] == 'P' ? 1 : 2);
    } else {
        ck_assert_msg(strstr(why, cases[_i].says) != NULL, "%s: %s", cases[_i].name, why);
    }
}
END_TEST

/* Fewer bytes give the same verdict, or none yet; more give the same. */
START_TEST(a_header_means_the_same_wherever_it_is_cut)
{
    struct proxy_header whole, h;
    const char *why;
    size_t used, used_whole = 0, decided = cases[_i].len + 1;
    int want = parse(cases[_i].in, cases[_i].len, &used_whole, &whole, &why);
    for (size_t cut = 0; cut <= cases[_i].len; cut++) {
        int r = parse(cases[_i].in, cut, &used, &h, &why);
        ck_assert_msg(r == 0 || r == want, "%s, cut at %zu: got %d", cases[_i].name, cut, r);
        ck_assert_msg(r != 0 || decided > cases[_i].len, "%s: undecided at %zu, decided at %zu", cases[_i].name, cut,
                      decided);
        ck_assert_msg(r != 1 || cut == cases[_i].len, "%s: complete at %zu", cases[_i].name, cut);
        if (r != 0 && decided > cases[_i].len)
            decided = cut;
    }
    char more[2000];
    memcpy(more, cases[_i].in, cases[_i].len);
    memcpy(more + cases[_i].len, "GET / HTTP/1.1\r\n", 16);
    int r = parse(more, cases[_i].len + 16, &used, &h, &why);
    if (want == 1)
        ck_assert_msg(r == 1 && used == used_whole && memcmp(&h, &whole, sizeof h) == 0, "%s, with more behind it",
                      cases[_i].name);
    if (want < 0)
        ck_assert_int_eq(r, want);
}
END_TEST

START_TEST(a_unix_socket_has_addresses_that_say_nothing_here)
{
    char in[16 + 216] = SIG "\x21\x31\0\xd8/run/proxy.sock";
    struct proxy_header h;
    size_t used;
    const char *why;
    ck_assert_int_eq(proxy_header_parse(in, sizeof in - 1, &used, &h, &why), 0);
    ck_assert_int_eq(proxy_header_parse(in, sizeof in, &used, &h, &why), 1);
    ck_assert_uint_eq(used, sizeof in);
    ck_assert(!h.has_addresses);
}
END_TEST

START_TEST(the_longest_header_is_read_and_a_refusal_writes_nothing)
{
    static char in[PROXY_HEADER_MAX] =
        SIG "\x21\x11\x0f\xf0" V4 "\x04\x0f\xe1"; /* 12 of addresses, 3, and 4065 of padding */
    struct proxy_header h, before;
    size_t used = 7;
    const char *why;
    memset(&h, 0x55, sizeof h);
    before = h;
    ck_assert_int_eq(proxy_header_parse(in, sizeof in - 1, &used, &h, &why), 0);
    ck_assert_int_eq(proxy_header_parse("GET ", 4, &used, &h, &why), -EPROTO);
    ck_assert(used == 7 && memcmp(&h, &before, sizeof h) == 0);
    ck_assert_int_eq(proxy_header_parse(in, sizeof in, &used, &h, &why), 1);
    ck_assert_uint_eq(used, PROXY_HEADER_MAX);
}
END_TEST

/* A refusal comes with the byte that decides it, so that a stranger is not waited for. */
START_TEST(a_refusal_comes_from_the_byte_that_decides)
{
    static const struct {
        const char *in;
        size_t at;
    } rows[] = { { "G", 1 },
                 { "PO", 2 },
                 { "PROXY\t", 6 },
                 { "\r\nG", 3 },
                 { "\r\n\r\n\0\r\nQUIT\n\x22", 13 },
                 { "\r\n\r\n\0\r\nQUIT\n\x21\x12", 14 },
                 { "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0b", 16 },
                 { "PROXY TCP4 \x01", 12 } };
    for (size_t i = 0; i < HLY_ARRAY_LEN(rows); i++) {
        struct proxy_header h;
        size_t used;
        const char *why;
        ck_assert_int_eq(proxy_header_parse(rows[i].in, rows[i].at - 1, &used, &h, &why), 0);
        ck_assert_int_eq(proxy_header_parse(rows[i].in, rows[i].at, &used, &h, &why), -EPROTO);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proxy_protocol");
    TCase *t = tcase_create("proxy_protocol");
    tcase_add_loop_test(t, a_header_is_read_or_refused, 0, HLY_ARRAY_LEN(cases));
    tcase_add_loop_test(t, a_header_means_the_same_wherever_it_is_cut, 0, HLY_ARRAY_LEN(cases));
    tcase_add_test(t, a_unix_socket_has_addresses_that_say_nothing_here);
    tcase_add_test(t, the_longest_header_is_read_and_a_refusal_writes_nothing);
    tcase_add_test(t, a_refusal_comes_from_the_byte_that_decides);
    suite_add_tcase(s, t);
    return run_suite(s);
}
