/* The opening handshake of a WebSocket, the server's part (RFC 6455 4.2). */
#ifndef HALLEY_PROTO_WS_HANDSHAKE_H
#define HALLEY_PROTO_WS_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "proto/http1.h"

/* Does the request ask for a WebSocket at all: `websocket` in Upgrade (RFC 6455 4.2.1)? Else it is plain HTTP. */
bool ws_handshake_is_asked(const struct http1_request *rq);

/* Check the client's handshake. Returns 0, or minus the HTTP status to answer with: 405 (method: the answer carries
 * `Allow: GET`), 505 (HTTP/1.0), 426 (version other than 13: the answer carries `Sec-WebSocket-Version: 13`, RFC 6455
 * 4.4, and `Upgrade: websocket`, RFC 9110 15.5.22), 400 for the rest. *ret_why is then one plain sentence, static. */
int ws_handshake_check(const struct http1_request *rq, const char **ret_why);

/* Sec-WebSocket-Accept for a Sec-WebSocket-Key of at most 24 bytes, as ws_handshake_check() lets pass: base64 of 20
 * bytes and a NUL (RFC 6455 4.2.2). An empty string when OpenSSL is out of memory. */
void ws_handshake_accept(struct slice key, char ret_accept[29]);

/* Walk the client's offered subprotocols in its order of preference, over all Sec-WebSocket-Protocol headers. Start
 * with *pos = 0; its other values mean nothing to the caller. Returns false at the end, and for an element that is not
 * a token (RFC 6455 4.1), of which a request that ws_handshake_check() accepted has none. */
bool ws_handshake_next_protocol(const struct http1_request *rq, size_t *pos, struct slice *ret_protocol);

/* Append the whole 101 answer for a request that ws_handshake_check() accepted. protocol.ptr NULL: none is named.
 * `extra` as in http1_write_head(). Out of memory shows in out->failed; nothing of it may be sent then. */
void ws_handshake_write(struct buf *out, const struct http1_request *rq, struct slice protocol, const char *extra);

#endif
