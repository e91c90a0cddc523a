#include "transport/encoders.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#include "core/cursor.h"
#include "proto/resp.h"
#include "proto/ws_frame.h"

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

static uint32_t sse_bound(struct message *m, const struct feed *f)
{
    (void)f;
    if (m->payload_kind == RULE_BINARY)
        return 4 + CURSOR_MAX_BYTES + 2 + 8 + (m->payload_len + 2) / 3 * 4 + 1;
    const char *p = message_payload(m);
    uint32_t lines = 1;
    for (uint32_t i = 0; i < m->payload_len; i++)
        lines += p[i] == '\n' || p[i] == '\r';
    return 4 + CURSOR_MAX_BYTES + 2 + lines * 7 + m->payload_len;
}

static uint32_t sse_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)f;
    const char *p = message_payload(m);
    size_t left = m->payload_len, used;
    uint8_t *at = out;
    memcpy(at, "id: ", 4);
    at += 4;
    at += cursor_format((char *)at, epoch, m->seq);
    *at++ = '\n';
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

/* ---- RESP: message (topic, payload), pmessage (pattern, topic, payload) */

#define RESP_HEADER_MAX 24

static uint32_t resp_bound(struct message *m, const struct feed *f)
{
    return 4 * RESP_HEADER_MAX + 32u + f->name_len + m->topic_len + m->payload_len;
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

static uint32_t resp_encode_named(struct message *m, struct slice pattern, char type, uint8_t *out)
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
    p = put_bulk(p, message_payload(m), m->payload_len);
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
    (void)epoch;
    return resp_encode_named(m, resp_pattern(f), '*', out);
}

static uint32_t resp3_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)epoch;
    return resp_encode_named(m, resp_pattern(f), '>', out);
}

static uint32_t resp2_star_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)epoch;
    return resp_encode_named(m, resp_pattern_star(f), '*', out);
}

static uint32_t resp3_star_encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)epoch;
    return resp_encode_named(m, resp_pattern_star(f), '>', out);
}

const struct wire_encoder transport_encoders[WIRE_FORMS] = {
    [WIRE_WS_PLAIN] = { .bound = ws_bound, .encode = ws_encode },
    [WIRE_SSE] = { .bound = sse_bound, .encode = sse_encode },
    [WIRE_RESP2] = { .bound = resp_bound, .encode = resp2_encode, .per_feed = true },
    [WIRE_RESP3] = { .bound = resp_bound, .encode = resp3_encode, .per_feed = true },
    [WIRE_RESP2_STAR] = { .bound = resp_bound, .encode = resp2_star_encode, .per_feed = true },
    [WIRE_RESP3_STAR] = { .bound = resp_bound, .encode = resp3_star_encode, .per_feed = true },
};
