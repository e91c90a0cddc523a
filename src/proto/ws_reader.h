/* The receiving side of one WebSocket: bytes in, whole messages and control frames out (RFC 6455 5 and 6).
 *
 * A message that lies whole and unfragmented in the input is handed out where it lies (unmasked in place, nothing is
 * copied or allocated); only an unfinished one is kept, in memory that is given back when the message is complete. Text
 * is checked as it arrives, and fails on the first byte that cannot be UTF-8 (RFC 6455 8.1). A compressed message (RFC 7692)
 * is kept as it is until it is complete, and then inflated and checked in one go. Idle, a reader is 32 bytes without any
 * memory of its own: all that is known of something unfinished is allocated with it. */
#ifndef HALLEY_PROTO_WS_READER_H
#define HALLEY_PROTO_WS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/ws_frame.h"

enum ws_event_type { WS_EVENT_MESSAGE, WS_EVENT_PING, WS_EVENT_PONG, WS_EVENT_CLOSE };

struct ws_event {
    enum ws_event_type type;
    bool is_text;           /* MESSAGE: opcode text, not binary */
    uint16_t close_code;    /* CLOSE: WS_CLOSE_NO_STATUS when the frame had none */
    bool was_deflated;      /* MESSAGE: payload is what it was inflated to */
    const uint8_t *payload; /* CLOSE: the reason. In the input, or in the reader's or inflater's until the next call; never NULL */
    size_t len;
};

struct ws_inflater;
struct ws_partial;

struct ws_reader {
    struct ws_partial *partial; /* what is known of an unfinished header, frame or message; NULL most of the time */
    struct ws_inflater *inflater; /* borrowed; NULL: permessage-deflate was not agreed */
    uint64_t max_message;       /* bytes */
    uint32_t max_fragments;
    uint16_t failed; /* the close code of the failure; 0 while there was none */
    bool closed;     /* a close frame was handed out: everything after it is discarded (RFC 6455 5.5.1) */
};

/* max_message in bytes; max_fragments: frames that one message may have, empty ones too. Owns what it allocates until
 * ws_reader_done(). */
void ws_reader_init(struct ws_reader *r, uint64_t max_message, uint32_t max_fragments);
void ws_reader_done(struct ws_reader *r);

/* permessage-deflate was agreed: take compressed messages, and inflate them with this one, which other readers may share if it keeps no context. max_message holds for
 * what they are inflated to. */
void ws_reader_allow_deflate(struct ws_reader *r, struct ws_inflater *inflater);

/* Bytes of memory held for what is unfinished, or was handed out by the last call. It grows with what has arrived, by
 * half at a time, never with what a header announces. */
size_t ws_reader_memory(const struct ws_reader *r);

/* Payload bytes of the message that is arriving, so far; 0 if none is, or only a control frame. */
size_t ws_reader_received(const struct ws_reader *r);
static inline bool ws_reader_is_midway(const struct ws_reader *r) /* has a frame or message begun, and not ended? */
{
    return r->partial != NULL;
}

/* Take input, which is borrowed and is unmasked in place, until one event is complete.
 * *ret_used is set on 1 and 0: on 1, call again with the rest, even if it is empty: that call gives back the memory of
 * what was handed out.
 * Returns 1 (*ret_event is set), 0 when all of data is used and more is needed, or minus the close code to fail the
 * connection with: 1002 protocol error, 1007 not UTF-8, or not deflated as it says, 1009 over max_message (as soon as a
 * header announces it, or when so much has been inflated), 1008 over max_fragments, 1011 out of memory. After a failure the reader holds no memory, takes no more input and gives the
 * same verdict again. */
int ws_reader_next(struct ws_reader *r, uint8_t *data, size_t len, size_t *ret_used, struct ws_event *ret_event);

#endif
