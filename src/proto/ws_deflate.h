/* permessage-deflate (RFC 7692): what is agreed in the opening handshake, deflating one frame, inflating one message. */
#ifndef HALLEY_PROTO_WS_DEFLATE_H
#define HALLEY_PROTO_WS_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "proto/http1.h"

struct deflater;

struct ws_deflate { /* one offer, or what was agreed */
    uint8_t server_bits;    /* 8 to 15: the window that our messages may use */
    uint8_t client_bits;    /* the same for the client's, which we take with any */
    bool has_server_bits;   /* the offer says so; then the answer has to */
    bool server_no_context; /* each of our messages is deflated by itself */
    bool client_no_context; /* each of the client's */
};

/* Find the first offer of permessage-deflate that we accept: with every parameter known, with a value of the form it has, and there once (RFC 7692 7.1). Others are
 * declined as if they were not there. Returns whether there is one. */
bool ws_deflate_find_offer(const struct http1_request *rq, struct ws_deflate *ret);

/* Append the header line that accepts it: `Sec-WebSocket-Extensions: permessage-deflate; …`, with CRLF. */
void ws_deflate_write_answer(struct buf *out, const struct ws_deflate *agreed);

/* Deflate the payload of one whole, final data frame, of frame_len bytes in all. out has room for as many. Returns the bytes of the new frame, or 0 when it does not get
 * smaller, or is no data frame with a payload. With a deflater that keeps its context it may get larger by a few bytes: then room is what ws_deflate_bound() says. */
size_t ws_deflate_frame(struct deflater *d, const uint8_t *frame, size_t frame_len, uint8_t *out, size_t room);
size_t ws_deflate_bound(size_t frame_len);

/* The bytes of the frame that begins here, of a server's, whole. */
size_t ws_deflate_frame_size(const uint8_t *frame);

/* ---- receiving */

struct ws_inflater { /* all zero, but for keeps_context, is ready. One serves all connections of a reactor whose messages each stand for themselves */
    struct ws_inflate_state *state; /* zlib's, from the first message on */
    struct buf out;                 /* the last message */
    bool keeps_context;             /* a message may refer to those before it: for one connection alone */
    uint64_t messages;              /* inflated, their bytes before and after, and those that were cut off at their limit */
    uint64_t bytes_in, bytes_out;
    uint64_t cut;
};

void ws_inflater_done(struct ws_inflater *i);

/* Bytes of memory that one takes, beside the last message. */
#define WS_INFLATER_BYTES (32768 + 9600)

/* The most that a message of max bytes can have, deflated by whatever encoder that means well. */
uint64_t ws_inflate_input_max(uint64_t max);

/* Inflate one whole message; is_text: it is checked as UTF-8 as well. *ret_payload lies in the inflater until the next call. Not more than max bytes are made, whatever
 * the input says. Returns 0, or minus the close code to fail the connection with: 1007 broken data or not UTF-8, 1009 over max, 1011 out of memory. */
int ws_inflate(struct ws_inflater *i, const uint8_t *data, size_t len, uint64_t max, bool is_text, struct slice *ret_payload);

/* The last message has been handled: give back its memory, if it is much. */
void ws_inflate_reclaim(struct ws_inflater *i);

#endif
