#include "proto/ws_reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "proto/ws_deflate.h"

/* All that survives a short read. It begins on the stack of ws_reader_next(), and goes to the heap only if, when the
 * call ends, there is something in it that the next call needs. */
struct ws_partial {
    struct ws_frame_parser parser; /* has the bytes of an unfinished header */
    struct ws_frame_header frame;  /* if in_payload: the frame whose payload is arriving */
    uint64_t frame_got;            /* payload bytes of it so far */
    bool in_payload;
    bool in_message; /* a data message has begun and is not finished */
    bool is_text;
    bool is_deflated; /* RSV1 stands in its first frame (RFC 7692 6) */
    struct utf8_state utf8;
    uint32_t fragments; /* frames of the message so far */
    struct buf message; /* payload of the message so far, if it has to be kept */
    struct buf control; /* the same for a control frame, which may come in the middle of a message (RFC 6455 5.4) */
};

/* ---- the life of a partial */

static void partial_done(struct ws_partial *p)
{
    buf_done(&p->message);
    buf_done(&p->control);
}

static bool partial_is_needed(const struct ws_partial *p)
{
    return p->parser.have > 0 || p->in_payload || p->in_message || p->message.data != NULL || p->control.data != NULL;
}

/* Give back what the last event was made of: what is kept and belongs to nothing unfinished. */
static void partial_reclaim(struct ws_partial *p)
{
    if (!p->in_message)
        buf_done(&p->message);
    if (!p->in_payload || !ws_opcode_is_control(p->frame.opcode))
        buf_done(&p->control);
}

/* Put p where the next call finds it, or let it go. */
static int reader_keep(struct ws_reader *r, const struct ws_partial *p)
{
    if (!partial_is_needed(p)) {
        free(r->partial);
        r->partial = NULL;
        return 0;
    }
    if (p == r->partial)
        return 0;
    r->partial = malloc(sizeof *p);
    if (r->partial == NULL)
        return -WS_CLOSE_INTERNAL;
    *r->partial = *p;
    return 0;
}

static int reader_fail(struct ws_reader *r, struct ws_partial *p, int verdict)
{
    partial_done(p);
    free(r->partial);
    r->partial = NULL;
    r->failed = (uint16_t)-verdict;
    return verdict;
}

/* ---- a frame begins */

/* The most bytes that a message may have as it comes. */
static uint64_t input_max(const struct ws_reader *r, const struct ws_partial *p)
{
    return p->is_deflated ? ws_inflate_input_max(r->max_message) : r->max_message;
}

static int begin_data_frame(const struct ws_reader *r, struct ws_partial *p)
{
    const struct ws_frame_header *h = &p->frame;
    if ((h->opcode == WS_OP_CONTINUATION) != p->in_message) /* 5.4: messages do not interleave */
        return -WS_CLOSE_PROTOCOL_ERROR;
    if (!p->in_message) {
        p->in_message = true;
        p->is_text = h->opcode == WS_OP_TEXT;
        p->is_deflated = h->rsv != 0;
        p->utf8 = (struct utf8_state){ 0 };
        p->fragments = 0;
    }
    if (h->payload_len > input_max(r, p) - p->message.len) /* message.len is within it: it was checked here */
        return -WS_CLOSE_TOO_BIG;
    if (p->fragments >= r->max_fragments)
        return -WS_CLOSE_POLICY;
    p->fragments++;
    return 0;
}

static int begin_frame(const struct ws_reader *r, struct ws_partial *p)
{
    p->in_payload = true;
    p->frame_got = 0;
    if (!ws_opcode_is_control(p->frame.opcode))
        return begin_data_frame(r, p);
    if (p->frame.opcode == WS_OP_CLOSE && p->frame.payload_len == 1) /* 5.5.1: a code has two bytes */
        return -WS_CLOSE_PROTOCOL_ERROR;
    return 0;
}

/* ---- an event is complete: each returns 1, or the verdict on what was completed */

static int inflate_message(struct ws_reader *r, const struct ws_partial *p, struct ws_event *ret_event)
{
    struct slice payload;
    int rc = ws_inflate(r->inflater, ret_event->payload, ret_event->len, r->max_message, p->is_text, &payload);
    if (rc < 0)
        return rc;
    ret_event->was_deflated = true;
    ret_event->payload = (const uint8_t *)payload.ptr;
    ret_event->len = payload.len;
    return 1;
}

static int message_event(struct ws_reader *r, struct ws_partial *p, struct ws_event *ret_event)
{
    p->in_message = false;
    ret_event->type = WS_EVENT_MESSAGE;
    ret_event->is_text = p->is_text;
    if (p->is_deflated)
        return inflate_message(r, p, ret_event);
    return p->is_text && !utf8_is_complete(&p->utf8) ? -WS_CLOSE_BAD_DATA : 1;
}

static int close_event(struct ws_reader *r, struct ws_partial *p, struct ws_event *ret_event)
{
    ret_event->type = WS_EVENT_CLOSE;
    ret_event->close_code = WS_CLOSE_NO_STATUS;
    if (ret_event->len > 0) {
        unsigned code = (unsigned)ret_event->payload[0] << 8 | ret_event->payload[1];
        if (!ws_close_code_is_valid(code))
            return -WS_CLOSE_PROTOCOL_ERROR;
        ret_event->close_code = (uint16_t)code;
        ret_event->payload += 2;
        ret_event->len -= 2;
    }
    if (!utf8_is_valid(ret_event->payload, ret_event->len))
        return -WS_CLOSE_BAD_DATA;
    r->closed = true;
    p->in_message = false; /* nothing can finish it any more */
    return 1;
}

static int complete_event(struct ws_reader *r, struct ws_partial *p, const uint8_t *payload, size_t len,
                          struct ws_event *ret_event)
{
    struct ws_event e = { .payload = payload, .len = len };
    int rc = 1;
    if (!ws_opcode_is_control(p->frame.opcode))
        rc = message_event(r, p, &e);
    else if (p->frame.opcode == WS_OP_CLOSE)
        rc = close_event(r, p, &e);
    else
        e.type = p->frame.opcode == WS_OP_PING ? WS_EVENT_PING : WS_EVENT_PONG;
    if (rc > 0)
        *ret_event = e;
    return rc;
}

/* ---- input */

/* Take the next len bytes of the frame's payload, or all 0 of them. Returns 1 with an event, 0 without, or a verdict.
 * */
static int take_payload(struct ws_reader *r, struct ws_partial *p, uint8_t *bytes, size_t len,
                        struct ws_event *ret_event)
{
    const struct ws_frame_header *h = &p->frame;
    bool is_data = !ws_opcode_is_control(h->opcode);
    ws_frame_mask(bytes, len, h->masking_key, p->frame_got);
    if (is_data && p->is_text && !p->is_deflated && utf8_feed(&p->utf8, bytes, len) < 0)
        return -WS_CLOSE_BAD_DATA;
    p->frame_got += len;
    p->in_payload = p->frame_got < h->payload_len;

    struct buf *kept = is_data ? &p->message : &p->control;
    bool ends = h->fin && !p->in_payload;
    if (ends && kept->len == 0) /* all there is lies in the input: hand it out from there */
        return complete_event(r, p, bytes, len, ret_event);
    if (len > 0 && buf_append(kept, bytes, len) < 0)
        return -WS_CLOSE_INTERNAL;
    return ends ? complete_event(r, p, kept->data, kept->len, ret_event) : 0;
}

static int take_frames(struct ws_reader *r, struct ws_partial *p, uint8_t *data, size_t len, size_t *ret_used,
                       struct ws_event *ret_event)
{
    size_t used = 0;
    int rc = 0;
    while (rc == 0 && used < len) {
        if (!p->in_payload) {
            size_t n;
            rc = ws_frame_parse_header(&p->parser, data + used, len - used, &n, &p->frame);
            if (rc < 0)
                return rc;
            used += n;
            if (rc == 0)
                break;
            rc = begin_frame(r, p);
            if (rc < 0)
                return rc;
        }
        uint64_t missing = p->frame.payload_len - p->frame_got;
        size_t n = missing < len - used ? (size_t)missing : len - used;
        rc = take_payload(r, p, data + used, n, ret_event);
        used += n;
    }
    *ret_used = used;
    return rc;
}

/* ---- the reader */

void ws_reader_init(struct ws_reader *r, uint64_t max_message, uint32_t max_fragments)
{
    *r = (struct ws_reader){ .max_message = max_message, .max_fragments = max_fragments };
}

void ws_reader_allow_deflate(struct ws_reader *r, struct ws_inflater *inflater)
{
    r->inflater = inflater;
}

void ws_reader_done(struct ws_reader *r)
{
    if (r->partial != NULL)
        partial_done(r->partial);
    free(r->partial);
    r->partial = NULL;
}

size_t ws_reader_memory(const struct ws_reader *r)
{
    const struct ws_partial *p = r->partial;
    return p != NULL ? sizeof *p + p->message.cap + p->control.cap : 0;
}

size_t ws_reader_received(const struct ws_reader *r)
{
    return r->partial != NULL ? r->partial->message.len : 0;
}

int ws_reader_next(struct ws_reader *r, uint8_t *data, size_t len, size_t *ret_used, struct ws_event *ret_event)
{
    if (r->failed != 0)
        return -(int)r->failed;
    struct ws_partial fresh = { 0 }, *p = &fresh;
    if (r->partial != NULL)
        p = r->partial;
    else
        ws_frame_parser_init(&fresh.parser);
    p->parser.allow_rsv1 = r->inflater != NULL;
    partial_reclaim(p);
    if (r->inflater != NULL)
        ws_inflate_reclaim(r->inflater);
    size_t used = len; /* of a closed one: discarded */
    int rc = r->closed ? 0 : take_frames(r, p, data, len, &used, ret_event);
    if (rc >= 0 && reader_keep(r, p) < 0)
        rc = -WS_CLOSE_INTERNAL;
    if (rc < 0)
        return reader_fail(r, p, rc);
    *ret_used = used;
    return rc;
}
