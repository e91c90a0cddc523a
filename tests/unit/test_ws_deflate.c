#include "proto/ws_deflate.h"

#include <zlib.h>

#include "base/deflate.h"
#include "base/slice.h"
#include "proto/ws_extension.h"
#include "proto/ws_frame.h"
#include "support.h"

#define MAX_HEADERS 8

/* ---- helpers */

struct made_request {
    struct http1_request rq;
    struct http1_header headers[MAX_HEADERS];
};

/* A handshake with these values of Sec-WebSocket-Extensions, one a line, between other headers. */
static void make_request(struct made_request *m, const char *lines)
{
    m->rq = (struct http1_request){ .headers = m->headers };
    m->headers[m->rq.header_count++] = (struct http1_header){ SLICE_LIT("Host"), SLICE_LIT("a, b; c=") };
    for (const char *end; *lines != '\0'; lines = end + (*end == '\n')) {
        end = lines + strcspn(lines, "\n");
        m->headers[m->rq.header_count++] = (struct http1_header){ SLICE_LIT("sec-websocket-EXTENSIONS"), { lines, (size_t)(end - lines) } };
    }
}

/* ---- offers: what is answered, NULL for nothing, "400" for a list that is none */

#define PD "permessage-deflate"
#define ALL PD "; server_no_context_takeover; client_no_context_takeover"

static const struct {
    const char *name;
    const char *lines;
    const char *want; /* before it is decided what is kept: what the offer itself asks for */
} offers[] = {
    { "no parameters (7.1.1)", PD, PD },
    { "names in any letters (RFC 6455 9.1)", "PerMessage-Deflate; Server_No_Context_Takeover", PD "; server_no_context_takeover" },
    { "nothing is offered", "", NULL },
    { "another extension", "x-webkit-deflate-frame", NULL },
    { "a longer name", PD "s", NULL },
    { "one of several extensions", "foo; bar=1, " PD ", baz", PD },
    { "server_no_context_takeover (7.1.1.1)", PD "; server_no_context_takeover", PD "; server_no_context_takeover" },
    { "server_no_context_takeover with a value", PD "; server_no_context_takeover=1", NULL },
    { "server_no_context_takeover twice (7.1)", PD "; server_no_context_takeover; server_no_context_takeover", NULL },
    { "client_no_context_takeover (7.1.1.2)", PD "; client_no_context_takeover", PD "; client_no_context_takeover" },
    { "client_no_context_takeover with a value", PD "; client_no_context_takeover=\"true\"", NULL },
    { "both", PD ";client_no_context_takeover;server_no_context_takeover", ALL },
    { "server_max_window_bits=8 (7.1.2.1)", PD "; server_max_window_bits=8", PD "; server_max_window_bits=8" },
    { "server_max_window_bits=9", PD "; server_max_window_bits=9", PD "; server_max_window_bits=9" },
    { "server_max_window_bits=15", PD "; server_max_window_bits=15", PD "; server_max_window_bits=15" },
    { "quoted (RFC 6455 9.1)", PD "; server_max_window_bits=\"10\"", PD "; server_max_window_bits=10" },
    { "quoted with a backslash", PD "; server_max_window_bits=\"1\\2\"", PD "; server_max_window_bits=12" },
    { "server_max_window_bits=7", PD "; server_max_window_bits=7", NULL },
    { "server_max_window_bits=16", PD "; server_max_window_bits=16", NULL },
    { "server_max_window_bits=0", PD "; server_max_window_bits=0", NULL },
    { "a leading zero", PD "; server_max_window_bits=08", NULL },
    { "a sign", PD "; server_max_window_bits=+9", NULL },
    { "a number that overflows", PD "; server_max_window_bits=4294967305", NULL },
    { "no number", PD "; server_max_window_bits=ten", NULL },
    { "a longer number, quoted", PD "; server_max_window_bits=\"10000000000000000000000000000000000000\"", NULL },
    { "server_max_window_bits without a value", PD "; server_max_window_bits", NULL },
    { "server_max_window_bits twice", PD "; server_max_window_bits=10; server_max_window_bits=10", NULL },
    { "client_max_window_bits without a value (7.1.2.2)", PD "; client_max_window_bits", PD },
    { "client_max_window_bits=8", PD "; client_max_window_bits=8", PD },
    { "client_max_window_bits=15", PD "; client_max_window_bits=\"15\"", PD },
    { "client_max_window_bits=7", PD "; client_max_window_bits=7", NULL },
    { "client_max_window_bits=16", PD "; client_max_window_bits=16", NULL },
    { "client_max_window_bits twice", PD "; client_max_window_bits; client_max_window_bits=10", NULL },
    { "an unknown parameter (7.1)", PD "; foo", NULL },
    { "an unknown parameter among known ones", PD "; server_max_window_bits=10; foo=bar; client_no_context_takeover", NULL },
    { "all parameters (7.1.3)", PD "; client_max_window_bits; server_max_window_bits=11; client_no_context_takeover; server_no_context_takeover",
      ALL "; server_max_window_bits=11" },
    { "the first that fits (5)", PD "; server_max_window_bits=10, " PD, PD "; server_max_window_bits=10" },
    { "the second, as the first does not", PD "; server_max_window_bits=1, " PD "; client_no_context_takeover", PD "; client_no_context_takeover" },
    { "what a declined offer says is forgotten", PD "; client_no_context_takeover; server_max_window_bits=9; foo, " PD, PD },
    { "over several headers", "foo\n" PD "; bar\n" PD "; server_max_window_bits=12", PD "; server_max_window_bits=12" },
    { "a parameter does not go on in the next header", PD "\nserver_no_context_takeover", PD },
    { "spaces and tabs around everything", " \t" PD " ;\tserver_max_window_bits = 10 \t, foo", PD "; server_max_window_bits=10" },
    { "empty elements (RFC 9110 5.6.1.2)", ",, " PD " , ,", PD },
    { "a header that is empty beside one that is not", "\n" PD, PD },

    { "an empty list", " ", "400" },
    { "commas alone", ", ,", "400" },
    { "a parameter without a name", PD ";", "400" },
    { "a parameter without a name, and another", PD ";; client_max_window_bits", "400" },
    { "an equals sign alone", PD "; =1", "400" },
    { "no value after it", PD "; server_max_window_bits=", "400" },
    { "an empty quoted value", PD "; foo=\"\"", "400" },
    { "a quote that is not closed", PD "; foo=\"bar", "400" },
    { "a quote with a backslash at its end", PD "; foo=\"bar\\", "400" },
    { "a quoted value that is no token", PD "; foo=\"b ar\"", "400" },
    { "a quoted comma", "foo; a=\"b,c\", " PD, "400" },
    { "two words", PD " foo", "400" },
    { "two values", PD "; foo=a b", "400" },
    { "something behind a quoted value", PD "; foo=\"a\"b", "400" },
    { "a name that is no token", "perm(essage", "400" },
    { "an extension that is a quoted string", "\"" PD "\"", "400" },
    { "a semicolon first", "; " PD, "400" },
    { "broken behind what fits", PD ", foo; =", "400" },
    { "broken in another header", PD "\n;", "400" },
    { "a byte over 127", PD "; foo=\xc3\xa4", "400" },
};

START_TEST(an_offer_is_taken_or_declined_as_the_rules_say)
{
    struct made_request m;
    struct ws_deflate d;
    struct buf got = { 0 };
    make_request(&m, offers[_i].lines);
    if (!ws_extensions_are_valid(&m.rq))
        buf_str(&got, "400");
    else if (ws_deflate_find_offer(&m.rq, &d))
        ws_deflate_write_answer(&got, &d);
    struct slice text = buf_slice(&got), name = SLICE_LIT("Sec-WebSocket-Extensions: ");
    if (text.len > name.len) {
        ck_assert(memcmp(text.ptr, name.ptr, name.len) == 0 && memcmp(text.ptr + text.len - 2, "\r\n", 2) == 0);
        text = (struct slice){ text.ptr + name.len, text.len - name.len - 2 };
    }
    const char *want = offers[_i].want == NULL ? "" : offers[_i].want;
    ck_assert_msg(slice_equals(text, want), "%s: got '%.*s', want '%s'", offers[_i].name, (int)text.len, text.ptr, want);
    buf_done(&got);
}
END_TEST

START_TEST(the_bits_of_an_offer_are_told)
{
    struct made_request m;
    struct ws_deflate d;
    make_request(&m, PD "; server_max_window_bits=9; client_max_window_bits=11");
    ck_assert(ws_deflate_find_offer(&m.rq, &d));
    ck_assert_int_eq(d.server_bits, 9);
    ck_assert_int_eq(d.client_bits, 11);
    make_request(&m, PD "; client_max_window_bits");
    ck_assert(ws_deflate_find_offer(&m.rq, &d));
    ck_assert_int_eq(d.server_bits, 15);
    ck_assert_int_eq(d.client_bits, 15);
}
END_TEST

/* ---- inflating: the verdict, for each limit */

#define HELLO "\xf2\x48\xcd\xc9\xc9\x07\x00"

static const struct {
    const char *name;
    const char *data;
    size_t len;
    uint64_t max;
    const char *want; /* NULL: the verdict */
    int verdict;
    bool is_binary;
} messages[] = {
#define M(data) data, sizeof(data) - 1
    { "one block (7.2.3.1)", M(HELLO), 100, "Hello", 0, false },
    { "no more than the limit", M(HELLO), 5, "Hello", 0, false },
    { "one byte over it", M(HELLO), 4, NULL, -1009, false },
    { "a limit of nothing", M(HELLO), 0, NULL, -1009, false },
    { "nothing, within a limit of nothing", M("\x00"), 0, "", 0, false },
    { "a block that is stored (7.2.3.3)", M("\x00\x05\x00\xfa\xffHello\x00"), 100, "Hello", 0, false },
    { "a final block (7.2.3.4)", M("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), 100, "Hello", 0, false },
    { "a final block alone", M("\xf3\x48\xcd\xc9\xc9\x07\x00"), 100, "Hello", 0, false },
    { "a final block that the tail completes", M("\x00\x05\x00\xfa\xffHello\x01"), 100, "Hello", 0, false },
    { "two blocks (7.2.3.5)", M("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), 100, "Hello", 0, false },
    { "an empty message (7.2.3.6)", M("\x00"), 100, "", 0, false },
    { "an empty message of no byte", M(""), 100, "", 0, false },
    { "a block type that there is not", M("\x06"), 100, NULL, -1007, false },
    { "a stored block with a wrong length", M("\x00\x05\x00\xfa\xfeHello"), 100, NULL, -1007, false },
    { "a stored block that is cut", M("\x00\x50\x00\xaf\xffHello"), 100, NULL, -1007, false },
    { "half of a block", M("\xf2\x48\xcd"), 100, NULL, -1007, true },
    { "a distance beyond the beginning", M("\x4b\x04\x12\x00\x00"), 100, NULL, -1007, true },
    { "text that is not UTF-8", M("\x00\x02\x00\xfd\xff\xc3\x28\x00"), 100, NULL, -1007, false },
    { "text that ends within a code point", M("\x00\x01\x00\xfe\xff\xc3\x00"), 100, NULL, -1007, false },
    { "the same is binary", M("\x00\x01\x00\xfe\xff\xc3\x00"), 100, "\xc3", 0, true },
};

START_TEST(a_message_is_inflated_or_refused)
{
    struct ws_inflater i = { .keeps_context = _i >= (int)HLY_ARRAY_LEN(messages) };
    size_t row = (size_t)_i % HLY_ARRAY_LEN(messages);
    struct slice got = { 0 };
    for (int again = 0; again < 2; again++) { /* what was before does not count */
        uint8_t *data = malloc(messages[row].len + 1);
        memcpy(data, messages[row].data, messages[row].len);
        int rc = ws_inflate(&i, data, messages[row].len, messages[row].max, !messages[row].is_binary, &got);
        free(data);
        ck_assert_msg(rc == messages[row].verdict, "%s: got %d, want %d", messages[row].name, rc, messages[row].verdict);
        if (rc < 0)
            break;
        ck_assert_msg(slice_equals(got, messages[row].want), "%s: got '%.*s'", messages[row].name, (int)got.len, got.ptr);
        ck_assert_ptr_nonnull(got.ptr);
    }
    ws_inflater_done(&i);
}
END_TEST

static size_t deflate_with(z_stream *z, const uint8_t *in, size_t len, uint8_t *out, size_t room)
{
    z->next_in = (Bytef *)(uintptr_t)in;
    z->avail_in = (uInt)len;
    z->next_out = out;
    z->avail_out = (uInt)room;
    HOLDS(deflate(z, Z_SYNC_FLUSH) == Z_OK && z->avail_out > 0);
    return room - z->avail_out - DEFLATE_TAIL_BYTES;
}

START_TEST(what_any_encoder_writes_is_read_with_and_without_a_context)
{
    enum { MOST = 100000 };
    uint8_t *in = malloc(MOST), *out = malloc(2 * MOST);
    seed_random();
    for (int round = 0; round < 60; round++) {
        bool keeps = round % 2 == 0;
        struct ws_inflater i = { .keeps_context = keeps };
        struct slice got;
        z_stream z = { 0 };
        HOLDS(deflateInit2(&z, (int)below(10), Z_DEFLATED, -9 - (int)below(7), 1 + (int)below(9), (int)below(5)) == Z_OK);
        for (int n = 0; n < 10; n++) {
            size_t len = 1 + below(n % 5 == 0 ? MOST : 500);
            for (size_t b = 0; b < len; b++)
                in[b] = below(3) > 0 && b > 20 ? in[b - 17] : (uint8_t)below(256);
            size_t deflated = deflate_with(&z, in, len, out, 2 * MOST);
            HOLDS(deflated <= ws_inflate_input_max(len));
            HOLDS(ws_inflate(&i, out, deflated, len, false, &got) == 0);
            HOLDS(got.len == len && memcmp(got.ptr, in, len) == 0);
            if (!keeps)
                deflateReset(&z);
        }
        HOLDS(i.messages == 10);
        deflateEnd(&z);
        ws_inflater_done(&i);
    }
    free(in);
    free(out);
}
END_TEST

START_TEST(a_final_block_ends_no_context)
{
    static uint8_t in[500], out[2000];
    struct ws_inflater i = { .keeps_context = true };
    struct slice got;
    z_stream z = { 0 };
    seed_random();
    for (size_t b = 0; b < sizeof in; b++)
        in[b] = (uint8_t)below(256);
    ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, 0), Z_OK);
    size_t n = deflate_with(&z, in, sizeof in, out, sizeof out);
    ck_assert_int_eq(ws_inflate(&i, out, n, 1000, false, &got), 0);
    memcpy(out, "\x03\x00", 2); /* final, and empty */
    ck_assert_int_eq(ws_inflate(&i, out, 2, 1000, false, &got), 0);
    n = deflate_with(&z, in, sizeof in, out, sizeof out);
    ck_assert_uint_lt(n, 40); /* all of it is a reference */
    memmove(out + 2, out, n);
    memcpy(out, "\x03\x00", 2); /* and one within the message */
    ck_assert_int_eq(ws_inflate(&i, out, n + 2, 1000, false, &got), 0);
    ck_assert(got.len == sizeof in && memcmp(got.ptr, in, sizeof in) == 0);
    deflateEnd(&z);
    ws_inflater_done(&i);
}
END_TEST

START_TEST(a_bomb_takes_no_more_memory_than_the_limit)
{
    enum { MAX = 100000 };
    uint8_t *zeros = calloc(1, 50 << 20), *out = malloc(1 << 20);
    struct ws_inflater i = { 0 };
    struct slice got;
    z_stream z = { 0 };
    ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, 0), Z_OK);
    size_t n = deflate_with(&z, zeros, 50 << 20, out, 1 << 20);
    ck_assert_uint_lt(n, 60000);
    for (int again = 0; again < 3; again++) {
        ck_assert_int_eq(ws_inflate(&i, out, n, MAX, false, &got), -1009);
        ck_assert_uint_le(i.out.cap, MAX);
    }
    ck_assert_uint_eq(i.cut, 3);
    ws_inflate_reclaim(&i);
    ck_assert_uint_le(i.out.cap, 65536);
    deflateEnd(&z);
    ws_inflater_done(&i);
    free(zeros);
    free(out);
}
END_TEST

START_TEST(final_blocks_without_end_are_refused)
{
    static uint8_t data[60000];
    struct ws_inflater i = { 0 };
    struct slice got;
    for (size_t at = 0; at < sizeof data; at += 2)
        memcpy(data + at, "\x03\x00", 2);
    ck_assert_int_eq(ws_inflate(&i, data, 20, 1000, false, &got), 0);
    ck_assert_int_eq(ws_inflate(&i, data, sizeof data, 1000, false, &got), -1007);
    ws_inflater_done(&i);
}
END_TEST

/* ---- deflating a frame */

static size_t make_frame(uint8_t *out, uint8_t opcode, size_t len, bool is_noise)
{
    size_t n = ws_frame_write_header(out, opcode, 0, len);
    for (size_t b = 0; b < len; b++)
        out[n + b] = is_noise ? (uint8_t)below(256) : (uint8_t)"the quick brown fox "[b % 20];
    return n + len;
}

START_TEST(a_frame_is_deflated_or_left)
{
    static const size_t lengths[] = { 1, 125, 126, 127, 200, 1000, 65535, 65536, 70000, 1000000 };
    static uint8_t frame[1000020], out[1000020];
    struct ws_inflater i = { 0 };
    struct slice got;
    seed_random();
    for (unsigned bits = 8; bits <= 15; bits++) {
        struct deflater *d = deflater_new(bits, false);
        for (size_t row = 0; row < HLY_ARRAY_LEN(lengths); row++) {
            size_t len = make_frame(frame, WS_OP_TEXT, lengths[row], false), header = ws_frame_header_size(lengths[row]);
            ck_assert_uint_eq(ws_deflate_frame_size(frame), len);
            size_t n = ws_deflate_frame(d, frame, len, out, len - 1);
            ck_assert(lengths[row] < 100 || n > 0);
            if (n == 0)
                continue;
            ck_assert_uint_lt(n, len);
            ck_assert_uint_eq(ws_deflate_frame_size(out), n);
            ck_assert_uint_eq(out[0], 0x80 | 0x40 | WS_OP_TEXT);
            size_t from = out[1] < 126 ? 2 : out[1] == 126 ? 4 : 10;
            ck_assert_int_eq(ws_inflate(&i, out + from, n - from, lengths[row], true, &got), 0);
            ck_assert(got.len == lengths[row] && memcmp(got.ptr, frame + header, got.len) == 0);
        }
        size_t len = make_frame(frame, WS_OP_BINARY, 5000, true);
        ck_assert_uint_eq(ws_deflate_frame(d, frame, len, out, len - 1), 0); /* noise does not shrink */
        len = make_frame(frame, WS_OP_PING, 100, false);
        ck_assert_uint_eq(ws_deflate_frame(d, frame, len, out, sizeof out), 0); /* RFC 7692 6.1: data frames alone */
        len = make_frame(frame, WS_OP_TEXT, 0, false);
        ck_assert_uint_eq(ws_deflate_frame(d, frame, len, out, sizeof out), 0);
        deflater_free(d);
    }
    ws_inflater_done(&i);
}
END_TEST

START_TEST(with_a_context_a_frame_may_grow_within_its_bound)
{
    static uint8_t frame[70000], out[80000];
    struct ws_inflater i = { .keeps_context = true };
    struct deflater *d = deflater_new(15, true);
    struct slice got;
    seed_random();
    for (int round = 0; round < 200; round++) {
        size_t payload = 1 + below(round % 10 == 0 ? 69000 : 300), len = make_frame(frame, WS_OP_BINARY, payload, below(2) == 0), header = len - payload;
        size_t n = ws_deflate_frame(d, frame, len, out, ws_deflate_bound(len));
        HOLDS(n > 0 && n <= ws_deflate_bound(len) && ws_deflate_frame_size(out) == n);
        size_t from = out[1] < 126 ? 2 : out[1] == 126 ? 4 : 10;
        HOLDS(ws_inflate(&i, out + from, n - from, payload, false, &got) == 0);
        HOLDS(got.len == payload && memcmp(got.ptr, frame + header, payload) == 0);
    }
    ws_inflater_done(&i);
    deflater_free(d);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ws_deflate");
    TCase *t = tcase_create("ws_deflate");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, an_offer_is_taken_or_declined_as_the_rules_say, 0, HLY_ARRAY_LEN(offers));
    tcase_add_test(t, the_bits_of_an_offer_are_told);
    tcase_add_loop_test(t, a_message_is_inflated_or_refused, 0, 2 * HLY_ARRAY_LEN(messages));
    tcase_add_test(t, what_any_encoder_writes_is_read_with_and_without_a_context);
    tcase_add_test(t, a_final_block_ends_no_context);
    tcase_add_test(t, a_bomb_takes_no_more_memory_than_the_limit);
    tcase_add_test(t, final_blocks_without_end_are_refused);
    tcase_add_test(t, a_frame_is_deflated_or_left);
    tcase_add_test(t, with_a_context_a_frame_may_grow_within_its_bound);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
