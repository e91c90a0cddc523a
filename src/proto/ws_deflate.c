#include "proto/ws_deflate.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/deflate.h"
#include "base/slice.h"
#include "base/utf8.h"
#include "proto/ws_extension.h"
#include "proto/ws_frame.h"

#define BITS_MIN 8
#define BITS_MAX 15
#define RSV1 4
#define WINDOW_BYTES 32768
#define STEP_BYTES 4096       /* the first room for a message; then half as much again each time */
#define KEEP_BYTES 65536      /* of memory for messages, from one to the next */
#define FINAL_BLOCKS_MAX 64   /* of one message: each costs a copy of the window, and two bytes of input */

/* ---- offers (RFC 7692 7.1) */

enum parameter { SERVER_NO_CONTEXT, CLIENT_NO_CONTEXT, SERVER_BITS, CLIENT_BITS, PARAMETERS };
static const char *const parameter_names[PARAMETERS] = {
    [SERVER_NO_CONTEXT] = "server_no_context_takeover",
    [CLIENT_NO_CONTEXT] = "client_no_context_takeover",
    [SERVER_BITS] = "server_max_window_bits",
    [CLIENT_BITS] = "client_max_window_bits",
};

struct offer {
    struct ws_deflate deflate;
    bool is_ours;     /* permessage-deflate, and nothing speaks against it so far */
    uint8_t has_seen; /* bit n: enum parameter n */
};

/* 7.1.2.1: a decimal integer from 8 to 15 without leading zeroes. */
static bool parse_bits(struct slice value, uint8_t *ret)
{
    unsigned bits = 0;
    for (size_t i = 0; i < value.len; i++) {
        unsigned digit = (unsigned)(value.ptr[i] - '0');
        if (digit > 9 || (digit == 0 && i == 0) || i >= 2)
            return false;
        bits = bits * 10 + digit;
    }
    *ret = (uint8_t)bits;
    return bits >= BITS_MIN && bits <= BITS_MAX;
}

static bool value_is_valid(struct ws_deflate *d, enum parameter p, struct slice value)
{
    switch (p) {
    case SERVER_NO_CONTEXT: /* 7.1.1.1 */
        d->server_no_context = true;
        return value.ptr == NULL;
    case CLIENT_NO_CONTEXT: /* 7.1.1.2 */
        d->client_no_context = true;
        return value.ptr == NULL;
    case SERVER_BITS: /* 7.1.2.1: always with a value */
        d->has_server_bits = true;
        return value.ptr != NULL && parse_bits(value, &d->server_bits);
    case CLIENT_BITS: /* 7.1.2.2: without one it says that we might ask for less than 15 */
        return value.ptr == NULL || parse_bits(value, &d->client_bits);
    case PARAMETERS:
        break;
    }
    return false;
}

static void take_parameter(struct offer *o, struct slice name, struct slice value)
{
    enum parameter p = 0;
    while (p < PARAMETERS && !slice_equals_nocase(name, parameter_names[p]))
        p++;
    if (p == PARAMETERS || (o->has_seen & 1u << p) != 0 || !value_is_valid(&o->deflate, p, value))
        o->is_ours = false;
    else
        o->has_seen |= (uint8_t)(1u << p);
}

bool ws_deflate_find_offer(const struct http1_request *rq, struct ws_deflate *ret)
{
    struct offer o = { 0 };
    struct ws_extension_reader x;
    struct slice name, value;
    int part;
    ws_extension_begin(&x, rq);
    while ((part = ws_extension_next(&x, &name, &value)) > WS_EXTENSION_END) {
        if (part == WS_EXTENSION_PARAMETER) {
            take_parameter(&o, name, value);
            continue;
        }
        if (o.is_ours)
            break; /* in order of preference (RFC 7692 5) */
        o = (struct offer){ .deflate = { .server_bits = BITS_MAX, .client_bits = BITS_MAX } };
        o.is_ours = slice_equals_nocase(name, "permessage-deflate");
    }
    if (!o.is_ours || part < 0)
        return false;
    *ret = o.deflate;
    return true;
}

void ws_deflate_write_answer(struct buf *out, const struct ws_deflate *agreed)
{
    buf_str(out, "Sec-WebSocket-Extensions: permessage-deflate");
    if (agreed->server_no_context)
        buf_str(out, "; server_no_context_takeover");
    if (agreed->client_no_context)
        buf_str(out, "; client_no_context_takeover");
    if (agreed->has_server_bits)
        buf_printf(out, "; server_max_window_bits=%u", agreed->server_bits);
    buf_str(out, "\r\n");
}

/* ---- sending (RFC 7692 7.2.1) */

static size_t header_size(const uint8_t *frame) /* of a server's: without a masking key */
{
    return frame[1] < 126 ? 2 : frame[1] == 126 ? 4 : 10;
}

size_t ws_deflate_frame_size(const uint8_t *frame)
{
    size_t header = header_size(frame);
    uint64_t len = header == 2 ? frame[1] : 0;
    for (size_t i = 2; i < header; i++)
        len = len << 8 | frame[i];
    return header + (size_t)len;
}

size_t ws_deflate_bound(size_t frame_len)
{
    return WS_FRAME_HEADER_OUT_MAX + deflater_bound(frame_len);
}

size_t ws_deflate_frame(struct deflater *d, const uint8_t *frame, size_t frame_len, uint8_t *out, size_t room)
{
    size_t header = header_size(frame), len = frame_len - header;
    if (ws_opcode_is_control(frame[0] & 0xf) || len == 0 || room <= header)
        return 0;
    size_t deflated = deflater_run(d, frame + header, len, out + header, room - header);
    if (deflated < DEFLATE_TAIL_BYTES)
        return 0;
    deflated -= DEFLATE_TAIL_BYTES;
    size_t new_header = ws_frame_header_size(deflated);
    if (new_header + deflated > room)
        return 0;
    if (new_header != header)
        memmove(out + new_header, out + header, deflated);
    ws_frame_write_header(out, frame[0] & 0xf, RSV1, deflated);
    return new_header + deflated;
}

/* ---- receiving (RFC 7692 7.2.2) */

struct ws_inflate_state {
    z_stream z;
    struct utf8_state utf8;
    unsigned final_blocks;
    bool has_ended; /* with a final block, and nothing after it so far */
};

void ws_inflater_done(struct ws_inflater *i)
{
    if (i->state != NULL)
        inflateEnd(&i->state->z);
    free(i->state);
    i->state = NULL;
    buf_done(&i->out);
}

void ws_inflate_reclaim(struct ws_inflater *i)
{
    if (i->out.cap > KEEP_BYTES)
        buf_done(&i->out);
}

uint64_t ws_inflate_input_max(uint64_t max) /* what does not shrink is stored in blocks, of 127 bytes or more, with a header each */
{
    return max > UINT64_MAX - max / 16 - 1024 ? UINT64_MAX : max + max / 16 + 1024;
}

static bool is_ready(struct ws_inflater *i)
{
    if (i->state == NULL) {
        i->state = calloc(1, sizeof *i->state);
        if (i->state == NULL)
            return false;
        if (inflateInit2(&i->state->z, -BITS_MAX) != Z_OK) {
            free(i->state);
            i->state = NULL;
            return false;
        }
    } else if (!i->keeps_context) {
        inflateReset(&i->state->z);
    }
    i->state->utf8 = (struct utf8_state){ 0 };
    i->state->final_blocks = 0;
    i->state->has_ended = false;
    return true;
}

/* Room for more of the message: up to max bytes in all, and not much more than what it has by now. NULL: there may be no more, or no memory. */
static bool make_room(struct buf *out, uint64_t max, size_t input)
{
    if (out->cap > out->len)
        return true;
    uint64_t cap = out->cap + out->cap / 2;
    if (cap < STEP_BYTES)
        cap = STEP_BYTES;
    if (out->cap == 0 && cap < input * 3)
        cap = input * 3;
    if (cap > max)
        cap = max;
    uint8_t *data = realloc(out->data, (size_t)cap);
    if (data == NULL)
        return false;
    out->data = data;
    out->cap = (size_t)cap;
    return true;
}

/* A final block ends what zlib sees as one stream; the message may go on, and refer to what was before (7.2.3.5). */
static int begin_again(struct ws_inflate_state *s)
{
    uint8_t window[WINDOW_BYTES];
    uInt len = 0;
    if (++s->final_blocks > FINAL_BLOCKS_MAX)
        return -WS_CLOSE_BAD_DATA;
    inflateGetDictionary(&s->z, window, &len);
    inflateReset(&s->z);
    inflateSetDictionary(&s->z, window, len);
    return 0;
}

/* Inflate as much as there is room for. Returns 1 when the input is used up, 0 if there is more to do, or a verdict. */
static int step(struct ws_inflater *i, uint64_t max, bool is_text)
{
    struct ws_inflate_state *s = i->state;
    uint8_t one_more;
    bool is_full = i->out.len >= max;
    if (!is_full && !make_room(&i->out, max, s->z.avail_in))
        return -WS_CLOSE_INTERNAL;
    uint64_t room = is_full ? 1 : (i->out.cap < max ? i->out.cap : max) - i->out.len;
    s->z.next_out = is_full ? &one_more : i->out.data + i->out.len;
    s->z.avail_out = room > UINT32_MAX ? UINT32_MAX : (uInt)room;
    room = s->z.avail_out;
    s->has_ended = false;
    int rc = inflate(&s->z, Z_SYNC_FLUSH);
    size_t made = (size_t)room - s->z.avail_out;
    if (is_full && made > 0) {
        i->cut++;
        return -WS_CLOSE_TOO_BIG;
    }
    if (is_text && made > 0 && utf8_feed(&s->utf8, i->out.data + i->out.len, made) < 0)
        return -WS_CLOSE_BAD_DATA;
    i->out.len += made;
    if (rc == Z_MEM_ERROR)
        return -WS_CLOSE_INTERNAL;
    if (rc == Z_STREAM_END) {
        s->has_ended = true;
        return begin_again(s) < 0 ? -WS_CLOSE_BAD_DATA : s->z.avail_in == 0;
    }
    if (rc != Z_OK && rc != Z_BUF_ERROR)
        return -WS_CLOSE_BAD_DATA;
    return s->z.avail_in == 0 && s->z.avail_out > 0;
}

static int inflate_piece(struct ws_inflater *i, const void *data, size_t len, uint64_t max, bool is_text)
{
    int rc = len == 0;
    i->state->z.next_in = (Bytef *)(uintptr_t)data;
    i->state->z.avail_in = (uInt)len;
    while (rc == 0)
        rc = step(i, max, is_text);
    return rc;
}

int ws_inflate(struct ws_inflater *i, const uint8_t *data, size_t len, uint64_t max, bool is_text, struct slice *ret_payload)
{
    buf_reset(&i->out);
    if (i->out.cap > max)
        buf_done(&i->out);
    if (len > UINT32_MAX)
        return -WS_CLOSE_TOO_BIG;
    if (!is_ready(i))
        return -WS_CLOSE_INTERNAL;
    int rc = inflate_piece(i, data, len, max, is_text);
    /* The sender has taken the tail away. One whose message is empty may have sent nothing at all, and one who ends with a final block may have forgotten what
     * belongs behind it. */
    if (rc > 0 && len > 0 && !i->state->has_ended) {
        rc = inflate_piece(i, DEFLATE_TAIL, DEFLATE_TAIL_BYTES, max, is_text);
        if (rc > 0 && !i->state->has_ended && (i->state->z.data_type & 128) == 0) /* in the middle of a block */
            rc = -WS_CLOSE_BAD_DATA;
    }
    if (rc > 0 && is_text && !utf8_is_complete(&i->state->utf8))
        rc = -WS_CLOSE_BAD_DATA;
    if (rc < 0)
        return rc;
    i->messages++;
    i->bytes_in += len;
    i->bytes_out += i->out.len;
    *ret_payload = i->out.len > 0 ? buf_slice(&i->out) : SLICE_LIT("");
    return 0;
}
