/* permessage-deflate on one WebSocket: what is agreed with it, and, where the config asks for that, a compression context of its own.
 *
 * Without, which is the default, both sides begin anew with each message: messages are deflated once for all (transport/packer), incoming ones are inflated with what the
 * reactor has for that, and the connection itself has nothing. With, each message is deflated for it alone; limits.deflate bounds the memory of all of these together. */
#ifndef HALLEY_TRANSPORT_WS_CONTEXT_H
#define HALLEY_TRANSPORT_WS_CONTEXT_H

#include "proto/http1.h"
#include "proto/ws_deflate.h"
#include "transport/reactor.h"

struct deflater;

struct ws_context {
    struct reactor *reactor;
    struct deflater *deflater;   /* NULL: none in this direction */
    struct ws_inflater inflater; /* keeps_context: it has one in that direction */
    size_t bytes;                /* what it counts for in limits.deflate */
};

struct ws_agreement {
    bool is_agreed;
    struct ws_deflate deflate;
    struct ws_context *context; /* NULL: none. ws_conn_set_deflate() takes it */
    char header[160];           /* for the 101; empty if nothing is agreed */
};

/* Answer the offers of an opening handshake. */
void ws_agree(struct ws_agreement *ret, struct reactor *r, const struct http1_request *rq);
void ws_agreement_done(struct ws_agreement *a); /* of one that nothing came of, too */

void ws_context_free(struct ws_context *x); /* NULL is accepted */

/* Deflate the frames of a delivery in the connection's context; small and large ones stay as they are. Returns a chunk with all of them, or NULL when out of memory: then they
 * may go as they are. */
struct chunk *ws_context_pack(struct ws_context *x, const struct delivery *d);

/* The same for one frame. out has room for ws_deflate_bound(len). Returns 0 if it is to go as it is. */
uint32_t ws_context_deflate_frame(struct ws_context *x, const uint8_t *frame, uint32_t len, uint8_t *out);

#endif
