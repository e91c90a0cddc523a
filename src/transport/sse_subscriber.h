/* The Server-Sent Events door (WHATWG HTML 9.2): `new EventSource(url)` is a full client, which misses nothing when it reconnects.
 *
 * Each message is an event whose id is its cursor; the browser sends the last one back as Last-Event-ID. The stream opens with `retry:` and
 * an event of `id:` alone, so that a client that is cut before its first message resumes as well; the same event is its sign of life, and keeps its
 * cursor young. Where messages are gone, an event `halley.gap` comes before the next message. */
#ifndef HALLEY_TRANSPORT_SSE_SUBSCRIBER_H
#define HALLEY_TRANSPORT_SSE_SUBSCRIBER_H

#include "transport/http_server.h"

/* Answer GET or HEAD /sse with an endless event stream, and take the connection over; or answer with a status and a sentence that says why not. origin: the
 * request's, if it has one and it is allowed; it may then read the answer (CORS). is_json: an event's data is the halley.v1 object of the message, which names its
 * topic, not the payload alone. */
void sse_subscriber_open(struct http_client *h, const struct http1_request *rq, struct slice origin, bool is_json);

#endif
