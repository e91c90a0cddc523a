#include "transport/encoders.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/deflate.h"
#include "core/cursor.h"
#include "proto/resp.h"
#include "proto/ws_frame.h"
#include "transport/v1_message.h"

#define PAYLOAD_MAX (256u << 20) /* the most that limits.message can be */
#define FRAMING_MAX 4096u        /* far more than names, cursors and all else around a payload, escaped, ever take */

/* Bounds have 32 bits. The longest: an event of line ends alone, each a `data:` line of 7 bytes and counted as payload too,
 * and a JSON string of control characters alone, 6 bytes each. */
static_assert(PAYLOAD_MAX * 7ull + PAYLOAD_MAX + FRAMING_MAX <= UINT32_MAX, "the longest event fits in 32 bits");
static_assert(PAYLOAD_MAX * 6ull + FRAMING_MAX <= UINT32_MAX, "the longest halley.v1 object fits in 32 bits");

static uint8_t *put_text(uint8_t *out, struct slice text)
{
    memcpy(out, text.ptr, text.len);
    return out + text.len;
}

/* ---- plain WebSocket: the payload is one frame and nothing else */

static uint32_t ws_bound(struct message *m, const struct feed *f)
{
    (void)f;
    return WS_FRAME_HEADER_OUT_MAX + m->payload_len;
}

static uint32_t ws_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)epoch;
    (void)f;
    uint8_t opcode = m->payload_kind == RULE_BINARY ? WS_OP_BINARY : WS_OP_TEXT;
    size_t n = ws_frame_write_header(out, opcode, 0, m->payload_len);
    memcpy(out + n, message_payload(m), m->payload_len);
    return (uint32_t)n + m->payload_len;
}

/* ---- Server-Sent Events (WHATWG HTML 9.2): an id line, a data line for each line of the payload, an empty line */

/* Every kind of line ending ends a line: CR LF, LF, CR (9.2.5, "lines"). Returns the length of the first line; *ret_used with its end. */
static size_t sse_line(const char *p, size_t len, size_t *ret_used)
{
    size_t n = 0;
    while (n < len && p[n] != '\n' && p[n] != '\r')
        n++;
    *ret_used = n == len ? n : n + (p[n] == '\r' && n + 1 < len && p[n + 1] == '\n' ? 2 : 1);
    return n;
}

#define SSE_ID_MAX (4 + CURSOR_MAX_BYTES + 1)

static uint32_t sse_bound(struct message *m, const struct feed *f)
{
    (void)f;
    if (m->payload_kind == RULE_BINARY)
        return SSE_ID_MAX + 6 + (m->payload_len + 2) / 3 * 4 + 2;
    const char *p = message_payload(m);
    uint32_t lines = 1;
    for (uint32_t i = 0; i < m->payload_len; i++)
        lines += p[i] == '\n' || p[i] == '\r';
    return SSE_ID_MAX + lines * 7 + m->payload_len + 1;
}

static uint8_t *sse_put_id(uint8_t *out, const struct message *m, const char *epoch)
{
    out = put_text(out, SLICE_LIT("id: "));
    out += cursor_format((char *)out, epoch, m->seq);
    *out++ = '\n';
    return out;
}

static uint32_t sse_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)f;
    const char *p = message_payload(m);
    size_t left = m->payload_len, used;
    uint8_t *at = sse_put_id(out, m, epoch);
    if (m->payload_kind == RULE_BINARY) { /* a stream of events is text: base64, as in JSON */
        memcpy(at, "data: ", 6);
        at += 6 + EVP_EncodeBlock(at + 6, (const uint8_t *)p, (int)left);
        memcpy(at, "\n\n", 2);
        return (uint32_t)(at + 2 - out);
    }
    do {
        size_t len = sse_line(p, left, &used);
        memcpy(at, "data: ", 6);
        memcpy(at + 6, p, len);
        at += 6 + len;
        *at++ = '\n';
        bool ended = used > len; /* a line end at the very end begins one more, empty line */
        p += used;
        left -= used;
        if (left == 0 && ended) {
            memcpy(at, "data: \n", 7);
            at += 7;
        }
    } while (left > 0);
    *at++ = '\n';
    return (uint32_t)(at - out);
}

/* ---- halley.v1: the object in a text frame, in an event, on a line, in a script block */

static const struct slice no_replay = { 0 }; /* those who replay have their own bytes: only the live flow is shared */

static uint32_t v1_bound(struct message *m, size_t around, bool for_script)
{
    size_t bound = around + v1_message_bound(m, no_replay, for_script);
    assert(bound <= UINT32_MAX);
    return (uint32_t)bound;
}

static uint32_t ws_v1_bound(struct message *m, const struct feed *f)
{
    (void)f;
    return v1_bound(m, WS_FRAME_HEADER_OUT_MAX, false);
}

/* The header says how long the object is, which is known when it is written: it is put where it will most likely stay. */
static uint32_t ws_v1_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)f;
    size_t room = m->payload_len > UINT16_MAX ? 10 : 4;
    size_t len = (size_t)(v1_message_put(out + room, m, epoch, no_replay, false) - (out + room));
    size_t header = ws_frame_header_size(len);
    if (header != room)
        memmove(out + header, out + room, len);
    ws_frame_write_header(out, WS_OP_TEXT, 0, len);
    return (uint32_t)(header + len);
}

static uint32_t sse_v1_bound(struct message *m, const struct feed *f)
{
    (void)f;
    return v1_bound(m, SSE_ID_MAX + 6 + 2, false);
}

static uint32_t sse_v1_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)f;
    uint8_t *p = sse_put_id(out, m, epoch);
    p = put_text(p, SLICE_LIT("data: "));
    p = v1_message_put(p, m, epoch, no_replay, false);
    p = put_text(p, SLICE_LIT("\n\n"));
    return (uint32_t)(p - out);
}

static uint32_t ndjson_bound(struct message *m, const struct feed *f)
{
    (void)f;
    return v1_bound(m, 1, false);
}

static uint32_t ndjson_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)f;
    uint8_t *p = v1_message_put(out, m, epoch, no_replay, false);
    *p++ = '\n';
    return (uint32_t)(p - out);
}

#define SCRIPT_BEGIN "<script>h(" /* the page's head defines h() */
#define SCRIPT_END ")</script>\n"

static uint32_t iframe_bound(struct message *m, const struct feed *f)
{
    (void)f;
    return v1_bound(m, sizeof(SCRIPT_BEGIN SCRIPT_END) - 1, true);
}

static uint32_t iframe_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)f;
    uint8_t *p = put_text(out, SLICE_LIT(SCRIPT_BEGIN));
    p = v1_message_put(p, m, epoch, no_replay, true);
    p = put_text(p, SLICE_LIT(SCRIPT_END));
    return (uint32_t)(p - out);
}

/* ---- RESP: message (topic, payload), pmessage (pattern, topic, payload) */

#define RESP_HEADER_MAX 24

static uint32_t resp_bound(struct message *m, const struct feed *f)
{
    uint32_t around = 4 * RESP_HEADER_MAX + 32u + f->name_len + m->topic_len;
    return m->stamps != 0 ? v1_bound(m, around, false) : around + m->payload_len;
}

static uint8_t *put_bulk(uint8_t *p, const void *bytes, size_t len)
{
    p += resp_put_header(p, '$', len);
    memcpy(p, bytes, len);
    p += len;
    *p++ = '\r';
    *p++ = '\n';
    return p;
}

/* The halley.v1 object as a bulk string: its length is known when it is written. */
static uint8_t *put_object(uint8_t *p, struct message *m, const char *epoch)
{
    size_t len = (size_t)(v1_message_put(p + RESP_HEADER_MAX, m, epoch, no_replay, false) - (p + RESP_HEADER_MAX));
    uint8_t *object = p + RESP_HEADER_MAX;
    p += resp_put_header(p, '$', len);
    memmove(p, object, len);
    memcpy(p + len, "\r\n", 2);
    return p + len + 2;
}

/* A message with stamps is told as an object: Redis' form has no place for them beside the payload. */
static uint32_t resp_encode_named(struct message *m, struct slice pattern, char type, const char *epoch, uint8_t *out)
{
    uint8_t *p = out;
    if (pattern.ptr != NULL) {
        p += resp_put_header(p, type, 4);
        p = put_bulk(p, "pmessage", 8);
        p = put_bulk(p, pattern.ptr, pattern.len);
    } else {
        p += resp_put_header(p, type, 3);
        p = put_bulk(p, "message", 7);
    }
    p = put_bulk(p, m->bytes, m->topic_len);
    p = m->stamps != 0 ? put_object(p, m, epoch) : put_bulk(p, message_payload(m), m->payload_len);
    return (uint32_t)(p - out);
}

static struct slice resp_pattern(const struct feed *f)
{
    return f->is_pattern ? feed_name(f) : (struct slice){ 0 };
}

/* A backend that said `*` gets its messages under the name `*`, although that means `**` here. */
static struct slice resp_pattern_star(const struct feed *f)
{
    return f->is_pattern && f->name_len == 2 && memcmp(f->name, "**", 2) == 0 ? SLICE_LIT("*") : resp_pattern(f);
}

static uint32_t resp2_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    return resp_encode_named(m, resp_pattern(f), '*', epoch, out);
}

static uint32_t resp3_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    return resp_encode_named(m, resp_pattern(f), '>', epoch, out);
}

static uint32_t resp2_star_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    return resp_encode_named(m, resp_pattern_star(f), '*', epoch, out);
}

static uint32_t resp3_star_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    return resp_encode_named(m, resp_pattern_star(f), '>', epoch, out);
}

/* ---- an entry of a stream (XREAD): [cursor, [data, payload]], the same in RESP2 and RESP3. More fields: topic, from, time */

#define TIME_DIGITS 20

static uint32_t entry_bound(struct message *m, const struct feed *f)
{
    (void)f;
    return 11 * RESP_HEADER_MAX + 64u + CURSOR_MAX_BYTES + TIME_DIGITS + m->topic_len + m->payload_len + m->from_len;
}

static unsigned entry_fields(const struct message *m, bool with_topic)
{
    return 1u + with_topic + (m->from_len > 0) + ((m->stamps & MESSAGE_STAMP_TIME) != 0);
}

static uint32_t entry_put(struct message *m, const char *epoch, bool with_topic, uint8_t *out)
{
    char cursor[CURSOR_MAX_BYTES + 1], time_ms[TIME_DIGITS + 1];
    size_t len = cursor_format(cursor, epoch, m->seq);
    uint8_t *p = out;
    p += resp_put_header(p, '*', 2);
    p = put_bulk(p, cursor, len);
    p += resp_put_header(p, '*', 2 * entry_fields(m, with_topic));
    p = put_bulk(p, "data", 4);
    p = put_bulk(p, message_payload(m), m->payload_len);
    if (with_topic) {
        p = put_bulk(p, "topic", 5);
        p = put_bulk(p, m->bytes, m->topic_len);
    }
    if (m->from_len > 0) {
        p = put_bulk(p, "from", 4);
        p = put_bulk(p, message_from(m).ptr, m->from_len);
    }
    if (m->stamps & MESSAGE_STAMP_TIME) {
        p = put_bulk(p, "time", 4);
        p = put_bulk(p, time_ms, (size_t)snprintf(time_ms, sizeof time_ms, "%" PRIu64, m->time_ms));
    }
    return (uint32_t)(p - out);
}

static uint32_t entry_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)f;
    return entry_put(m, epoch, false, out);
}

static uint32_t entry_topic_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)f;
    return entry_put(m, epoch, true, out);
}

/* ---- packed forms, as they are read from history: for one client alone. Nothing is deflated there, as it would be once for each who comes back, and they come back
 * together. A WebSocket takes it as it is; in a gzip stream it is stored. */

static size_t stored_headers(uint32_t bound)
{
    return deflate_stored_size(bound) - bound;
}

static uint32_t stored_bound(uint32_t bound)
{
    assert(bound <= UINT32_MAX - stored_headers(bound));
    return bound + (uint32_t)stored_headers(bound);
}

/* The text is written so far behind that the headers of its blocks fit in front of them. */
#define STORED(form) \
    static uint32_t form##_stored_bound(struct message *m, const struct feed *f) \
    { \
        return stored_bound(form##_bound(m, f)); \
    } \
    static uint32_t form##_stored_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out) \
    { \
        uint8_t *text = out + stored_headers(form##_bound(m, f)); \
        return (uint32_t)deflate_stored(out, text, form##_encode(m, f, epoch, text)); \
    }
STORED(sse)
STORED(sse_v1)
STORED(ndjson)
STORED(iframe)

#define DEFLATED(form, plain, ...) \
    [form] = { .is_packed = true, .packs = plain, __VA_ARGS__ }, [form + 1] = { .is_packed = true, .packs = plain, __VA_ARGS__ }, \
    [form + 2] = { .is_packed = true, .packs = plain, __VA_ARGS__ }, [form + 3] = { .is_packed = true, .packs = plain, __VA_ARGS__ }, \
    [form + 4] = { .is_packed = true, .packs = plain, __VA_ARGS__ }, [form + 5] = { .is_packed = true, .packs = plain, __VA_ARGS__ }, \
    [form + 6] = { .is_packed = true, .packs = plain, __VA_ARGS__ }

const struct wire_encoder transport_encoders[WIRE_FORMS] = {
    [WIRE_WS_PLAIN] = { .bound = ws_bound, .encode = ws_encode },
    [WIRE_WS_V1] = { .bound = ws_v1_bound, .encode = ws_v1_encode, .carries_presence = true },
    [WIRE_SSE] = { .bound = sse_bound, .encode = sse_encode },
    [WIRE_SSE_JSON] = { .bound = sse_v1_bound, .encode = sse_v1_encode },
    [WIRE_SSE_V1] = { .bound = sse_v1_bound, .encode = sse_v1_encode, .carries_presence = true },
    [WIRE_NDJSON] = { .bound = ndjson_bound, .encode = ndjson_encode, .carries_presence = true },
    [WIRE_POLL] = { .bound = ndjson_bound, .encode = ndjson_encode },
    [WIRE_IFRAME] = { .bound = iframe_bound, .encode = iframe_encode, .carries_presence = true },
    [WIRE_RESP2] = { .bound = resp_bound, .encode = resp2_encode, .per_feed = true },
    [WIRE_RESP3] = { .bound = resp_bound, .encode = resp3_encode, .per_feed = true },
    [WIRE_RESP2_STAR] = { .bound = resp_bound, .encode = resp2_star_encode, .per_feed = true },
    [WIRE_RESP3_STAR] = { .bound = resp_bound, .encode = resp3_star_encode, .per_feed = true },
    [WIRE_RESP_ENTRY] = { .bound = entry_bound, .encode = entry_encode },
    [WIRE_RESP_ENTRY_TOPIC] = { .bound = entry_bound, .encode = entry_topic_encode },
    DEFLATED(WIRE_WS_PLAIN_DEFLATED, WIRE_WS_PLAIN, .bound = ws_bound, .encode = ws_encode),
    DEFLATED(WIRE_WS_V1_DEFLATED, WIRE_WS_V1, .bound = ws_v1_bound, .encode = ws_v1_encode, .carries_presence = true),
    [WIRE_SSE_GZIP] = { .bound = sse_stored_bound, .encode = sse_stored_encode, .is_packed = true, .packs = WIRE_SSE },
    [WIRE_SSE_JSON_GZIP] = { .bound = sse_v1_stored_bound, .encode = sse_v1_stored_encode, .is_packed = true, .packs = WIRE_SSE_JSON },
    [WIRE_SSE_V1_GZIP] = { .bound = sse_v1_stored_bound, .encode = sse_v1_stored_encode, .is_packed = true, .packs = WIRE_SSE_V1,
                           .carries_presence = true },
    [WIRE_NDJSON_GZIP] = { .bound = ndjson_stored_bound, .encode = ndjson_stored_encode, .is_packed = true, .packs = WIRE_NDJSON,
                           .carries_presence = true },
    [WIRE_IFRAME_GZIP] = { .bound = iframe_stored_bound, .encode = iframe_stored_encode, .is_packed = true, .packs = WIRE_IFRAME,
                           .carries_presence = true },
};
