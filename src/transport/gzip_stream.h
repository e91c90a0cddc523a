/* An endless answer with `Content-Encoding: gzip` (RFC 1952), without a compressor of its own.
 *
 * After the header, which each connection gets once, everything is a piece that refers to nothing before it and ends on a byte's boundary: live messages as the fan-out has
 * deflated them for all (transport/packer), whatever is for this connection alone in stored blocks. So each message is there for the client as soon as it has arrived. There
 * is no trailer, as there is no end: such a stream ends with its connection, and clients take what they have. */
#ifndef HALLEY_TRANSPORT_GZIP_STREAM_H
#define HALLEY_TRANSPORT_GZIP_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/http1.h"
#include "transport/reactor.h"

struct conn;

/* Is the answer to be compressed: does the client take gzip, and the config allow it? */
bool gzip_is_wanted(const struct reactor *r, const struct http1_request *rq);

/* Header lines for an answer that could be compressed: Vary, and Content-Encoding if it is. "" if the config has it switched off. */
const char *gzip_headers(const struct reactor *r, bool is_gzip);

/* The head has been written: begin the stream. */
void gzip_stream_begin(struct conn *c);

/* Queue bytes of one's own for the end of the turn, as conn_write_later() does. */
void gzip_stream_write(struct conn *c, const void *bytes, size_t len);

#endif
