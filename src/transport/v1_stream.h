/* halley.v1 on an endless answer: the server's objects as events (GET /sse?protocol=halley.v1), as lines (GET /stream), or as calls of a function in the
 * page around an iframe (GET /stream?format=iframe&callback=NAME). What the client has to say it says with POST /command (transport/command).
 *
 * The first object is hello, with the connection's id. A stream has no close frame: where a WebSocket would be closed with a code, the last object is
 * {"close":{"code":1013,"reason":"…"}}. */
#ifndef HALLEY_TRANSPORT_V1_STREAM_H
#define HALLEY_TRANSPORT_V1_STREAM_H

#include "transport/http_server.h"

enum v1_stream_kind { V1_STREAM_SSE, V1_STREAM_NDJSON, V1_STREAM_IFRAME };

/* Answer GET or HEAD, and take the connection over; or answer with a status and a sentence that says why not. Topics are optional: /command can subscribe
 * later. origin: the request's, if it has one and it is allowed; it may then read the answer (CORS). */
void v1_stream_open(struct http_client *h, const struct http1_request *rq, struct slice origin, enum v1_stream_kind kind);

#endif
