#include "proto/ws_reader.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/buf.h"
#include "proto/ws_deflate.h"

#define MAX_MESSAGE 1000
#define MAX_FRAGMENTS 100

static struct ws_reader reader;
static struct ws_inflater inflater; /* of what was compressed, if that is allowed */
static bool allows_deflate;
static struct buf transcript; /* what the reader said, as text: "text(Hello) ping() fail 1002" */

static void reader_setup(void)
{
    ws_reader_init(&reader, MAX_MESSAGE, MAX_FRAGMENTS);
    transcript = (struct buf){ 0 };
}

static void reader_teardown(void)
{
    ws_reader_done(&reader);
    ws_inflater_done(&inflater);
    buf_done(&transcript);
}

/* ---- helpers: frames in, a transcript out */

static void put_header(struct buf *out, uint8_t first, uint64_t payload_len, const uint8_t key[4])
{
    uint8_t header[WS_FRAME_HEADER_OUT_MAX];
    size_t len = ws_frame_write_header(header, 0, 0, payload_len);
    header[0] = first;
    header[1] |= 0x80;
    buf_append(out, header, len);
    buf_append(out, key, 4);
}

static void put_frame(struct buf *out, uint8_t first, const void *payload, size_t len)
{
    static const uint8_t keys[][4] = { { 0x37, 0xfa, 0x21, 0x3d }, { 0, 0, 0, 0 }, { 0xff, 0x00, 0x80, 0x01 } };
    const uint8_t *key = keys[out->len % HLY_ARRAY_LEN(keys)];
    put_header(out, first, len, key);
    size_t at = out->len;
    buf_append(out, payload, len);
    ws_frame_mask(out->data + at, len, key, 0);
}

static void transcribe(const struct ws_event *e)
{
    static const char *const names[] = {
        [WS_EVENT_MESSAGE] = "binary", [WS_EVENT_PING] = "ping", [WS_EVENT_PONG] = "pong", [WS_EVENT_CLOSE] = "close"
    };
    buf_str(&transcript, transcript.len > 0 ? " " : "");
    buf_str(&transcript, e->is_text ? "text" : names[e->type]);
    if (e->type == WS_EVENT_CLOSE)
        buf_printf(&transcript, " %u", e->close_code);
    else
        ck_assert_uint_eq(e->close_code, 0);
    ck_assert_ptr_nonnull(e->payload);
    buf_str(&transcript, "(");
    buf_append(&transcript, e->payload, e->len);
    buf_str(&transcript, ")");
}

/* Feed a copy in memory of just its size, gone afterwards: whoever reads past it or keeps it is found by ASan. */
static int feed(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, bytes, len);
    size_t at = 0, used;
    struct ws_event e;
    int rc;
    while ((rc = ws_reader_next(&reader, copy + at, len - at, &used, &e)) == 1) {
        at += used;
        ck_assert(at <= len);
        transcribe(&e);
    }
    ck_assert(rc < 0 || used == len - at);
    if (rc < 0)
        buf_printf(&transcript, "%sfail %d", transcript.len > 0 ? " " : "", -rc);
    free(copy);
    return rc;
}

/* Feed in two pieces, cut there; each longer than `piece` again in pieces of that many bytes. */
static void feed_cut(const struct buf *in, size_t cut, size_t piece)
{
    for (size_t at = 0, len; at < in->len; at += len) {
        size_t end = at < cut ? cut : in->len;
        len = end - at < piece ? end - at : piece;
        if (feed(in->data + at, len) < 0)
            return;
    }
}

static void restart(uint64_t max_message, uint32_t max_fragments)
{
    ws_reader_done(&reader);
    buf_reset(&transcript);
    ws_reader_init(&reader, max_message, max_fragments);
    if (allows_deflate)
        ws_reader_allow_deflate(&reader, &inflater);
}

static bool transcript_is(const char *want)
{
    return transcript.len == strlen(want) &&
           (transcript.len == 0 || memcmp(transcript.data, want, transcript.len) == 0);
}

static void check_transcript(const char *name, const char *how, size_t at, const char *want)
{
    ck_assert_msg(transcript_is(want), "%s, %s %zu: got '%.*s', want '%s'", name, how, at, (int)transcript.len,
                  (const char *)transcript.data, want);
}

static void check_every_way(const char *name, const struct buf *in, const char *want, uint64_t max_message,
                            uint32_t max_fragments)
{
    for (size_t cut = 0; cut <= in->len; cut++) {
        restart(max_message, max_fragments);
        feed_cut(in, cut, SIZE_MAX);
        check_transcript(name, "cut at", cut, want);
    }
    for (size_t piece = 1; piece <= 9; piece++) {
        restart(max_message, max_fragments);
        feed_cut(in, 0, piece);
        check_transcript(name, "in pieces of", piece, want);
    }
}

/* ---- tables */

#define FIN_TEXT 0x81
#define FIN_BINARY 0x82
#define FIN_MORE 0x80 /* the last fragment */
#define TEXT 0x01     /* a first fragment */
#define BINARY 0x02
#define MORE 0x00 /* a middle fragment */
#define CLOSE 0x88
#define PING 0x89
#define PONG 0x8a

#define BYTES_123 \
    "123456789-123456789-123456789-123456789-123456789-123456789-" \
    "123456789-123456789-123456789-123456789-123456789-123456789-123"
#define BYTES_125 BYTES_123 "45"

#define L(payload) payload, sizeof(payload) - 1 /* and its length */

struct frame {
    uint8_t first;
    const char *payload;
    size_t len;
};

/* Columns: rule, frames (masked on the way), transcript. The limits are 1000 bytes and 100 fragments. */
static const struct {
    const char *name;
    struct frame frames[9];
    const char *want;
} cases[] = {
    { "text (5.6)", { { FIN_TEXT, L("Hello") } }, "text(Hello)" },
    { "binary, any bytes (5.6)", { { FIN_BINARY, L("\xff\xfe\x80") } }, "binary(\xff\xfe\x80)" },
    { "empty text", { { FIN_TEXT, L("") } }, "text()" },
    { "empty binary", { { FIN_BINARY, L("") } }, "binary()" },
    { "messages in a row",
      { { FIN_TEXT, L("a") }, { FIN_BINARY, L("b") }, { FIN_TEXT, L("") } },
      "text(a) binary(b) text()" },
    { "16-bit length", { { FIN_BINARY, L(BYTES_125 BYTES_125) } }, "binary(" BYTES_125 BYTES_125 ")" },
    { "two fragments (5.4)", { { TEXT, L("Hel") }, { FIN_MORE, L("lo") } }, "text(Hello)" },
    { "many fragments (5.4)",
      { { BINARY, L("a") }, { MORE, L("b") }, { MORE, L("c") }, { FIN_MORE, L("d") }, { FIN_TEXT, L("e") } },
      "binary(abcd) text(e)" },
    { "empty fragments (5.4)", { { TEXT, L("") }, { MORE, L("") }, { FIN_MORE, L("") } }, "text()" },
    { "empty first fragment", { { TEXT, L("") }, { FIN_MORE, L("abc") } }, "text(abc)" },
    { "empty last fragment", { { TEXT, L("abc") }, { FIN_MORE, L("") } }, "text(abc)" },
    { "empty middle fragments",
      { { TEXT, L("a") }, { MORE, L("") }, { MORE, L("b") }, { FIN_MORE, L("c") } },
      "text(abc)" },
    { "fragmented messages in a row",
      { { TEXT, L("a") }, { FIN_MORE, L("b") }, { BINARY, L("c") }, { FIN_MORE, L("d") } },
      "text(ab) binary(cd)" },

    { "ping (5.5.2)", { { PING, L("are you there") } }, "ping(are you there)" },
    { "empty ping", { { PING, L("") } }, "ping()" },
    { "ping of 125 bytes (5.5)", { { PING, L(BYTES_125) } }, "ping(" BYTES_125 ")" },
    { "ping of any bytes", { { PING, L("\xff\xfe") } }, "ping(\xff\xfe)" },
    { "pong (5.5.3)", { { PONG, L("unasked") } }, "pong(unasked)" },
    { "pings in a row",
      { { PING, L("a") }, { PING, L("b") }, { PONG, L("c") }, { PING, L("d") } },
      "ping(a) ping(b) pong(c) ping(d)" },
    { "control frames between fragments (5.4)",
      { { TEXT, L("Hel") },
        { PING, L("p") },
        { MORE, L("") },
        { PONG, L("q") },
        { PING, L("") },
        { FIN_MORE, L("lo") },
        { PING, L("r") } },
      "ping(p) pong(q) ping() text(Hello) ping(r)" },
    { "control frame after an empty fragment",
      { { BINARY, L("") }, { PING, L("p") }, { FIN_MORE, L("") } },
      "ping(p) binary()" },
    { "control frame within a code point",
      { { TEXT, L("\xe2\x82") }, { PING, L("\xff") }, { FIN_MORE, L("\xac") } },
      "ping(\xff) text(\xe2\x82\xac)" },

    { "continuation of nothing (5.4)", { { FIN_MORE, L("x") } }, "fail 1002" },
    { "unfinished continuation of nothing (5.4)", { { MORE, L("x") } }, "fail 1002" },
    { "continuation after a whole message (5.4)", { { FIN_TEXT, L("a") }, { FIN_MORE, L("x") } }, "text(a) fail 1002" },
    { "continuation after the last fragment (5.4)",
      { { TEXT, L("a") }, { FIN_MORE, L("b") }, { FIN_MORE, L("x") } },
      "text(ab) fail 1002" },
    { "a message within a message (5.4)", { { TEXT, L("a") }, { FIN_TEXT, L("x") } }, "fail 1002" },
    { "a first fragment within a message (5.4)", { { TEXT, L("a") }, { BINARY, L("x") } }, "fail 1002" },
    { "a message after empty fragments (5.4)",
      { { TEXT, L("") }, { MORE, L("") }, { FIN_TEXT, L("x") } },
      "fail 1002" },
    { "RSV1 (5.2)", { { FIN_TEXT | 0x40, L("x") } }, "fail 1002" },
    { "RSV2 (5.2)", { { FIN_TEXT | 0x20, L("x") } }, "fail 1002" },
    { "RSV3 on a ping (5.2)", { { PING | 0x10, L("x") } }, "fail 1002" },
    { "reserved data opcode (5.2)", { { 0x83, L("x") } }, "fail 1002" },
    { "reserved control opcode (5.2)", { { 0x8b, L("x") } }, "fail 1002" },
    { "fragmented ping (5.5)", { { 0x09, L("x") }, { FIN_MORE, L("y") } }, "fail 1002" },
    { "ping of 126 bytes (5.5)", { { PING, L(BYTES_125 "6") } }, "fail 1002" },
    { "good messages before the bad one count",
      { { FIN_TEXT, L("a") }, { PING, L("b") }, { 0x83, L("") } },
      "text(a) ping(b) fail 1002" },

    { "close without a code (5.5.1)", { { CLOSE, L("") } }, "close 1005()" },
    { "close with a code (5.5.1)", { { CLOSE, L("\x03\xe8") } }, "close 1000()" },
    { "close with a reason (5.5.1)", { { CLOSE, L("\x03\xe9leaving") } }, "close 1001(leaving)" },
    { "close with the longest reason", { { CLOSE, L("\x03\xe8" BYTES_123) } }, "close 1000(" BYTES_123 ")" },
    { "close, UTF-8 reason", { { CLOSE, L("\x0f\xa0\xe2\x82\xac") } }, "close 4000(\xe2\x82\xac)" },
    { "close of 1 byte (5.5.1)", { { CLOSE, L("\x03") } }, "fail 1002" },
    { "close of 126 bytes (5.5)", { { CLOSE, L("\x03\xe8" BYTES_123 "4") } }, "fail 1002" },
    { "close, reason not UTF-8 (5.5.1, 8.1)", { { CLOSE, L("\x03\xe8\xff") } }, "fail 1007" },
    { "close, reason ends within a code point (8.1)", { { CLOSE, L("\x03\xe8z\xe2\x82") } }, "fail 1007" },
    { "close 999 (7.4.2)", { { CLOSE, L("\x03\xe7") } }, "fail 1002" },
    { "close 1004 (7.4.1)", { { CLOSE, L("\x03\xec") } }, "fail 1002" },
    { "close 1005 (7.4.1)", { { CLOSE, L("\x03\xed") } }, "fail 1002" },
    { "close 1006 (7.4.1)", { { CLOSE, L("\x03\xee") } }, "fail 1002" },
    { "close 1015 (7.4.1)", { { CLOSE, L("\x03\xf7") } }, "fail 1002" },
    { "close 2999 (7.4.2)", { { CLOSE, L("\x0b\xb7") } }, "fail 1002" },
    { "close 3000 (7.4.2)", { { CLOSE, L("\x0b\xb8") } }, "close 3000()" },
    { "close 5000 (7.4.2)", { { CLOSE, L("\x13\x88") } }, "fail 1002" },
    { "close between fragments", { { TEXT, L("a") }, { CLOSE, L("\x03\xe8") }, { FIN_MORE, L("b") } }, "close 1000()" },
    { "data after close is discarded (5.5.1)",
      { { CLOSE, L("") }, { FIN_TEXT, L("late") }, { PING, L("late") }, { CLOSE, L("") }, { 0xff, L("\xff") } },
      "close 1005()" },

    { "every length of code point (8.1)",
      { { FIN_TEXT, L("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80") } },
      "text(a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80)" },
    { "fragments cut within code points (5.6, 8.1)",
      { { TEXT, L("\xf0") }, { MORE, L("\x9f") }, { MORE, L("") }, { MORE, L("\x98") }, { FIN_MORE, L("\x80") } },
      "text(\xf0\x9f\x98\x80)" },
    { "text not UTF-8 (8.1)", { { FIN_TEXT, L("a\xffz") } }, "fail 1007" },
    { "text with a surrogate (8.1)", { { FIN_TEXT, L("\xed\xa0\x80") } }, "fail 1007" },
    { "text overlong (8.1)", { { FIN_TEXT, L("\xc0\xaf") } }, "fail 1007" },
    { "text over U+10FFFF (8.1)", { { FIN_TEXT, L("\xf4\x90\x80\x80") } }, "fail 1007" },
    { "text ends within a code point (8.1)", { { FIN_TEXT, L("a\xe2\x82") } }, "fail 1007" },
    { "fragmented text ends within a code point (8.1)", { { TEXT, L("\xe2") }, { FIN_MORE, L("\x82") } }, "fail 1007" },
    { "empty last fragment within a code point (8.1)", { { TEXT, L("\xe2\x82") }, { FIN_MORE, L("") } }, "fail 1007" },
    { "code points do not reach over messages (8.1)",
      { { FIN_TEXT, L("\xe2\x82") }, { FIN_TEXT, L("\xac") } },
      "fail 1007" },
    { "a fragment that breaks a code point (8.1)", { { TEXT, L("\xe2\x82") }, { FIN_MORE, L("a") } }, "fail 1007" },
    { "binary fragments are not checked", { { BINARY, L("\xff") }, { FIN_MORE, L("\xe2") } }, "binary(\xff\xe2)" },
};

static void put_case(struct buf *in, int i)
{
    for (const struct frame *f = cases[i].frames; f->payload != NULL; f++)
        put_frame(in, f->first, f->payload, f->len);
}

START_TEST(frames_make_the_same_events_for_every_split)
{
    struct buf in = { 0 };
    put_case(&in, _i);
    check_every_way(cases[_i].name, &in, cases[_i].want, MAX_MESSAGE, MAX_FRAGMENTS);
    buf_done(&in);
}
END_TEST

/* Bytes that end where the verdict is due: nothing later is needed for it. Masked with zeros. */
static const struct {
    const char *name;
    uint8_t in[24];
    size_t len;
    const char *want;
} early[] = {
    { "not masked (5.1)", { 0x81, 0x05 }, 2, "fail 1002" },
    { "16 bits for 125 (5.2)", { 0x82, 0xfe, 0, 0x7d }, 4, "fail 1002" },
    { "64 bits for 65535 (5.2)", { 0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff }, 8, "fail 1002" },
    { "64 bits, the highest set (5.2)", { 0x82, 0xff, 0x80 }, 3, "fail 1002" },
    { "the limit", { 0x82, 0xfe, 0x03, 0xe8, 0, 0, 0, 0 }, 8, "" },
    { "one over the limit", { 0x82, 0xfe, 0x03, 0xe9, 0, 0, 0, 0 }, 8, "fail 1009" },
    { "2^63-1 bytes", { 0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0 }, 14, "fail 1009" },
    { "2^32 bytes", { 0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0 }, 14, "fail 1009" },
    { "the limit in a first fragment", { 0x02, 0xfe, 0x03, 0xe9, 0, 0, 0, 0 }, 8, "fail 1009" },
    { "up to the limit in two", { 0x02, 0x81, 0, 0, 0, 0, 'a', 0x80, 0xfe, 0x03, 0xe7, 0, 0, 0, 0 }, 15, "" },
    { "over the limit in two", { 0x02, 0x81, 0, 0, 0, 0, 'a', 0x80, 0xfe, 0x03, 0xe8, 0, 0, 0, 0 }, 15, "fail 1009" },
    { "2^63-1 bytes more",
      { 0x02, 0x81, 0, 0, 0, 0, 'a', 0x80, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0 },
      21,
      "fail 1009" },
    { "continuation of nothing, announced", { 0x80, 0x85, 0, 0, 0, 0 }, 6, "fail 1002" },
    { "close of 1 byte, announced", { 0x88, 0x81, 0, 0, 0, 0 }, 6, "fail 1002" },
    { "byte that can begin no code point (8.1)", { 0x81, 0x8a, 0, 0, 0, 0, 'a', 0xf5 }, 8, "fail 1007" },
    { "surrogate, at its second byte (8.1)", { 0x81, 0x8a, 0, 0, 0, 0, 0xed, 0xa0 }, 8, "fail 1007" },
    { "over U+10FFFF, at its second byte (8.1)", { 0x81, 0x8a, 0, 0, 0, 0, 0xf4, 0x90 }, 8, "fail 1007" },
    { "overlong, at its second byte (8.1)", { 0x81, 0x8a, 0, 0, 0, 0, 0xe0, 0x80 }, 8, "fail 1007" },
    { "missing continuation byte (8.1)", { 0x01, 0x8a, 0, 0, 0, 0, 0xe2, 0x82, 'a' }, 9, "fail 1007" },
};

/* ---- compressed messages (RFC 7692) */

#define DEFLATED 0x40 /* RSV1 */
#define HELLO "\xf2\x48\xcd\xc9\xc9\x07\x00"

/* Columns as above; the limits are 100 bytes and 6 fragments. */
static const struct {
    const char *name;
    struct frame frames[9];
    const char *want;
} deflated[] = {
    { "text (7.2.3.1)", { { FIN_TEXT | DEFLATED, L(HELLO) } }, "text(Hello)" },
    { "binary", { { FIN_BINARY | DEFLATED, L(HELLO) } }, "binary(Hello)" },
    { "empty (7.2.3.6)", { { FIN_TEXT | DEFLATED, L("\x00") } }, "text()" },
    { "without a byte", { { FIN_TEXT | DEFLATED, L("") } }, "text()" },
    { "among others",
      { { FIN_TEXT, L("a") }, { FIN_TEXT | DEFLATED, L(HELLO) }, { FIN_BINARY, L("b") }, { FIN_BINARY | DEFLATED, L(HELLO) } },
      "text(a) text(Hello) binary(b) binary(Hello)" },
    { "two fragments (6.1)", { { TEXT | DEFLATED, L("\xf2\x48\xcd") }, { FIN_MORE, L("\xc9\xc9\x07\x00") } }, "text(Hello)" },
    { "empty fragments, and control frames between them",
      { { TEXT | DEFLATED, L("") }, { PING, L("p") }, { MORE, L("\xf2\x48\xcd\xc9\xc9\x07") }, { PONG, L("q") }, { MORE, L("\x00") }, { FIN_MORE, L("") } },
      "ping(p) pong(q) text(Hello)" },
    { "what was before is forgotten", { { FIN_TEXT | DEFLATED, L(HELLO) }, { FIN_TEXT | DEFLATED, L("\xf2\x00\x11\x00\x00") } }, "text(Hello) fail 1007" },
    { "RSV1 on a continuation (6.1)", { { TEXT, L("a") }, { FIN_MORE | DEFLATED, L("b") } }, "fail 1002" },
    { "RSV1 on a continuation of a compressed message", { { TEXT | DEFLATED, L("\xf2") }, { FIN_MORE | DEFLATED, L("b") } }, "fail 1002" },
    { "RSV1 on a ping (6.1)", { { PING | DEFLATED, L("a") } }, "fail 1002" },
    { "RSV1 on a close frame", { { CLOSE | DEFLATED, L("\x03\xe8") } }, "fail 1002" },
    { "RSV2", { { FIN_TEXT | 0x20, L("a") } }, "fail 1002" },
    { "RSV1 and RSV2", { { FIN_TEXT | 0x60, L("a") } }, "fail 1002" },
    { "broken data", { { FIN_TEXT, L("ok") }, { FIN_BINARY | DEFLATED, L("\xff\xff\xff") } }, "text(ok) fail 1007" },
    { "a compressed message that is cut", { { FIN_BINARY | DEFLATED, L("\xf2\x48\xcd") } }, "fail 1007" },
    { "text that is not UTF-8", { { FIN_TEXT | DEFLATED, L("\x00\x01\x00\xfe\xff\xc3\x00") } }, "fail 1007" },
    { "too many fragments",
      { { TEXT | DEFLATED, L("") }, { MORE, L("") }, { MORE, L("") }, { MORE, L("") }, { MORE, L("") }, { MORE, L("") }, { FIN_MORE, L(HELLO) } },
      "fail 1008" },
    { "a hundred bytes", { { FIN_BINARY | DEFLATED, L("\x4a\x4c\xa4\x3d\x00\x00") } },
      "binary(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa)" },
    { "and one more", { { FIN_BINARY | DEFLATED, L("\x4a\x4c\xa4\x3d\x00\x00") }, { FIN_BINARY | DEFLATED, L("\x4a\x4c\xa4\x03\x00\x00") } },
      "binary(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) fail 1009" },
};

START_TEST(compressed_messages_make_the_same_events_for_every_split)
{
    struct buf in = { 0 };
    allows_deflate = true;
    for (const struct frame *f = deflated[_i].frames; f->payload != NULL; f++)
        put_frame(&in, f->first, f->payload, f->len);
    check_every_way(deflated[_i].name, &in, deflated[_i].want, 100, 6);
    buf_done(&in);
}
END_TEST

START_TEST(the_verdict_comes_with_the_byte_that_decides)
{
    struct buf in = { 0 };
    buf_append(&in, early[_i].in, early[_i].len);
    check_every_way(early[_i].name, &in, early[_i].want, MAX_MESSAGE, MAX_FRAGMENTS);
    restart(MAX_MESSAGE, MAX_FRAGMENTS);
    in.len--;
    feed_cut(&in, 0, SIZE_MAX);
    check_transcript(early[_i].name, "without the last of", early[_i].len, "");
    buf_done(&in);
}
END_TEST

START_TEST(text_is_one_message_wherever_its_two_fragments_meet)
{
    static const char text[] = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5 \xf0\x9f\x98\x80 \xe2\x82\xac";
    const char *want = "text(\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5 \xf0\x9f\x98\x80 \xe2\x82\xac)";
    for (size_t meet = 0; meet < sizeof text; meet++) {
        struct buf in = { 0 };
        put_frame(&in, TEXT, text, meet);
        put_frame(&in, FIN_MORE, text + meet, sizeof text - 1 - meet);
        check_every_way("fragments", &in, want, MAX_MESSAGE, MAX_FRAGMENTS);
        buf_done(&in);
    }
}
END_TEST

/* ---- limits */

START_TEST(a_message_may_be_as_long_as_the_limit_and_no_longer)
{
    static const uint8_t payload[64];
    for (size_t fragments = 1; fragments <= 3; fragments++) {
        for (size_t over = 0; over <= 1; over++) {
            struct buf in = { 0 };
            for (size_t i = 1; i <= fragments; i++)
                put_frame(&in, (uint8_t)((i == 1 ? BINARY : MORE) | (i == fragments ? 0x80 : 0)), payload,
                          i == fragments ? 20 + over : 20);
            restart(20 * fragments, MAX_FRAGMENTS);
            ck_assert_int_eq(feed(in.data, in.len), over ? -WS_CLOSE_TOO_BIG : 0);
            buf_done(&in);
        }
    }
}
END_TEST

START_TEST(a_limit_of_nothing_lets_empty_messages_pass)
{
    struct buf in = { 0 };
    put_frame(&in, FIN_TEXT, "", 0);
    put_frame(&in, PING, "control frames have their own limit", 35);
    put_frame(&in, FIN_TEXT, "x", 1);
    check_every_way("no bytes", &in, "text() ping(control frames have their own limit) fail 1009", 0, MAX_FRAGMENTS);
    buf_done(&in);
}
END_TEST

START_TEST(a_limit_of_all_does_not_overflow)
{
    static const uint8_t huge[] = { 0x02, 0x81, 0,    0,    0,    0,    'a', 0x80, 0xff, 0x7f, 0xff,
                                    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,   0,    0,    0,    'b' };
    restart(UINT64_MAX, UINT32_MAX);
    ck_assert_int_eq(feed(huge, sizeof huge), 0);
    ck_assert(ws_reader_memory(&reader) < 1024);
}
END_TEST

START_TEST(a_message_may_have_as_many_fragments_as_the_limit_and_no_more)
{
    struct buf in = { 0 };
    put_frame(&in, TEXT, "", 0);
    put_frame(&in, PING, "", 0);
    put_frame(&in, MORE, "a", 1);
    put_frame(&in, FIN_MORE, "b", 1);
    put_frame(&in, FIN_TEXT, "c", 1);
    check_every_way("three of three", &in, "ping() text(ab) text(c)", MAX_MESSAGE, 3);
    check_every_way("three of two", &in, "ping() fail 1008", MAX_MESSAGE, 2);
    check_every_way("three of one", &in, "ping() fail 1008", MAX_MESSAGE, 1);
    buf_done(&in);
}
END_TEST

START_TEST(fragments_are_refused_at_the_header)
{
    static const uint8_t two[] = { 0x02, 0x80, 0, 0, 0, 0, 0x00, 0x85, 0, 0, 0, 0 };
    restart(MAX_MESSAGE, 1);
    ck_assert_int_eq(feed(two, sizeof two), -WS_CLOSE_POLICY);
}
END_TEST

/* ---- memory */

#define BIG (16u << 20)

START_TEST(sixteen_mebibytes_in_65536_fragments_are_one_message)
{
    uint8_t payload[256];
    struct buf in = { 0 };
    restart(BIG, 65536);
    size_t grown = 0;
    for (size_t i = 0; i < 65536; i++) {
        memset(payload, (int)(i & 0x7f), sizeof payload);
        buf_reset(&in);
        put_frame(&in, i == 0 ? TEXT : i == 65535 ? FIN_MORE : MORE, payload, sizeof payload);
        size_t before = ws_reader_memory(&reader), used;
        struct ws_event e;
        int rc = ws_reader_next(&reader, in.data, in.len, &used, &e);
        grown += ws_reader_memory(&reader) != before;
        ck_assert_int_eq(rc, i == 65535);
        if (rc == 0)
            continue;
        ck_assert(e.type == WS_EVENT_MESSAGE && e.is_text);
        ck_assert_uint_eq(e.len, BIG);
        for (size_t k = 0; k < BIG; k += 128)
            if (e.payload[k] != (k / 256 & 0x7f))
                ck_abort_msg("byte %zu", k);
    }
    ck_assert_msg(grown < 64, "memory was moved %zu times", grown);
    buf_done(&in);
}
END_TEST

START_TEST(memory_grows_with_what_arrives_not_with_what_is_announced)
{
    static const uint8_t key[4] = { 1, 2, 3, 4 };
    static const uint8_t piece[4096];
    struct buf in = { 0 };
    restart(BIG, 1);
    put_header(&in, FIN_BINARY, BIG, key);
    ck_assert_int_eq(feed(in.data, in.len), 0);
    ck_assert(ws_reader_memory(&reader) < 512);
    for (size_t got = sizeof piece; got <= 64 * sizeof piece; got += sizeof piece) {
        ck_assert_int_eq(feed(piece, sizeof piece), 0);
        ck_assert(ws_reader_memory(&reader) >= got && ws_reader_memory(&reader) < 512 + got + got / 2);
    }
    buf_done(&in);
}
END_TEST

START_TEST(an_idle_reader_holds_no_memory)
{
    struct buf in = { 0 };
    put_case(&in, 0);
    ck_assert(sizeof reader <= 72);
    ck_assert_uint_eq(ws_reader_memory(&reader), 0);
    feed_cut(&in, 0, SIZE_MAX);
    ck_assert_uint_eq(ws_reader_memory(&reader), 0);
    for (size_t cut = 1; cut < in.len; cut++) {
        ck_assert_int_eq(feed(in.data, cut), 0);
        ck_assert_uint_gt(ws_reader_memory(&reader), 0);
        ck_assert_int_eq(feed(in.data + cut, in.len - cut), 0);
        ck_assert_uint_eq(ws_reader_memory(&reader), 0);
    }
    buf_done(&in);
}
END_TEST

START_TEST(a_control_frame_does_not_give_back_the_message_around_it)
{
    struct buf in = { 0 };
    put_frame(&in, TEXT, "Hel", 3);
    put_frame(&in, PING, "ping", 4);
    feed_cut(&in, 0, 1);
    ck_assert_uint_gt(ws_reader_memory(&reader), 0);
    in.len = 0;
    put_frame(&in, FIN_MORE, "lo", 2);
    feed_cut(&in, 0, 1);
    ck_assert(transcript_is("ping(ping) text(Hello)"));
    ck_assert_uint_eq(ws_reader_memory(&reader), 0);
    buf_done(&in);
}
END_TEST

START_TEST(a_failed_or_closed_reader_holds_no_memory)
{
    static const uint8_t ends[] = { 0x83, CLOSE };
    for (size_t i = 0; i < HLY_ARRAY_LEN(ends); i++) {
        struct buf in = { 0 };
        put_frame(&in, TEXT, "the beginning of something", 26);
        put_frame(&in, ends[i], "", 0);
        restart(MAX_MESSAGE, MAX_FRAGMENTS);
        feed_cut(&in, 3, SIZE_MAX);
        ck_assert_uint_eq(ws_reader_memory(&reader), 0);
        buf_done(&in);
    }
}
END_TEST

START_TEST(what_lies_whole_in_the_input_is_not_copied)
{
    static const uint8_t firsts[] = { FIN_TEXT, FIN_BINARY, PING, PONG, CLOSE };
    for (size_t i = 0; i < HLY_ARRAY_LEN(firsts); i++) {
        struct buf in = { 0 };
        struct ws_event e;
        size_t used;
        put_frame(&in, firsts[i], "\x03\xe8", firsts[i] == FIN_TEXT ? 1 : 2);
        restart(MAX_MESSAGE, MAX_FRAGMENTS);
        ck_assert_int_eq(ws_reader_next(&reader, in.data, in.len, &used, &e), 1);
        ck_assert_uint_eq(used, in.len);
        ck_assert_ptr_eq(e.payload, in.data + (firsts[i] == CLOSE ? 8 : 6));
        ck_assert_uint_eq(ws_reader_memory(&reader), 0);
        buf_done(&in);
    }
}
END_TEST

START_TEST(a_payload_that_follows_its_header_late_is_not_copied)
{
    struct buf in = { 0 };
    struct ws_event e;
    size_t used;
    put_frame(&in, FIN_TEXT, "Hello", 5);
    ck_assert_int_eq(ws_reader_next(&reader, in.data, 6, &used, &e), 0);
    ck_assert_int_eq(ws_reader_next(&reader, in.data + 6, 5, &used, &e), 1);
    ck_assert_ptr_eq(e.payload, in.data + 6);
    ck_assert_uint_eq(ws_reader_memory(&reader), 0);
    buf_done(&in);
}
END_TEST

/* ---- after the end */

START_TEST(a_failed_reader_stays_failed)
{
    struct buf in = { 0 };
    struct ws_event e;
    size_t used;
    put_frame(&in, FIN_TEXT, "fine", 4);
    ck_assert_int_eq(feed((const uint8_t *)"\x83", 1), -WS_CLOSE_PROTOCOL_ERROR);
    ck_assert_int_eq(ws_reader_next(&reader, in.data, in.len, &used, &e), -WS_CLOSE_PROTOCOL_ERROR);
    ck_assert_int_eq(ws_reader_next(&reader, NULL, 0, &used, &e), -WS_CLOSE_PROTOCOL_ERROR);
    buf_done(&in);
}
END_TEST

START_TEST(nothing_at_all_may_be_fed)
{
    struct ws_event e;
    size_t used = 1;
    ck_assert_int_eq(ws_reader_next(&reader, NULL, 0, &used, &e), 0);
    ck_assert_uint_eq(used, 0);
    ck_assert_int_eq(feed((const uint8_t *)"\x81", 1), 0);
    used = 1;
    ck_assert_int_eq(ws_reader_next(&reader, NULL, 0, &used, &e), 0);
    ck_assert_uint_eq(used, 0);
}
END_TEST

START_TEST(an_unfinished_message_is_freed_with_its_reader)
{
    struct buf in = { 0 };
    put_frame(&in, TEXT, "Hello", 5);
    put_frame(&in, PING, "ping", 4);
    ck_assert_int_eq(feed(in.data, in.len - 1), 0);
    ck_assert_uint_gt(ws_reader_memory(&reader), 0);
    ws_reader_done(&reader);
    ck_assert_uint_eq(ws_reader_memory(&reader), 0);
    buf_done(&in);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
    TCase *tc = tcase_create(name);
    tcase_add_checked_fixture(tc, reader_setup, reader_teardown);
    tcase_set_timeout(tc, 30);
    suite_add_tcase(suite, tc);
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("ws_reader");
    TCase *table = add_case(suite, "table");
    tcase_add_loop_test(table, frames_make_the_same_events_for_every_split, 0, HLY_ARRAY_LEN(cases));
    tcase_add_loop_test(table, compressed_messages_make_the_same_events_for_every_split, 0, HLY_ARRAY_LEN(deflated));
    tcase_add_loop_test(table, the_verdict_comes_with_the_byte_that_decides, 0, HLY_ARRAY_LEN(early));
    tcase_add_test(table, text_is_one_message_wherever_its_two_fragments_meet);

    TCase *limits = add_case(suite, "limits");
    tcase_add_test(limits, a_message_may_be_as_long_as_the_limit_and_no_longer);
    tcase_add_test(limits, a_limit_of_nothing_lets_empty_messages_pass);
    tcase_add_test(limits, a_limit_of_all_does_not_overflow);
    tcase_add_test(limits, a_message_may_have_as_many_fragments_as_the_limit_and_no_more);
    tcase_add_test(limits, fragments_are_refused_at_the_header);

    TCase *memory = add_case(suite, "memory");
    tcase_add_test(memory, sixteen_mebibytes_in_65536_fragments_are_one_message);
    tcase_add_test(memory, memory_grows_with_what_arrives_not_with_what_is_announced);
    tcase_add_test(memory, an_idle_reader_holds_no_memory);
    tcase_add_test(memory, a_control_frame_does_not_give_back_the_message_around_it);
    tcase_add_test(memory, a_failed_or_closed_reader_holds_no_memory);
    tcase_add_test(memory, what_lies_whole_in_the_input_is_not_copied);
    tcase_add_test(memory, a_payload_that_follows_its_header_late_is_not_copied);

    TCase *ends = add_case(suite, "ends");
    tcase_add_test(ends, a_failed_reader_stays_failed);
    tcase_add_test(ends, nothing_at_all_may_be_fed);
    tcase_add_test(ends, an_unfinished_message_is_freed_with_its_reader);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
