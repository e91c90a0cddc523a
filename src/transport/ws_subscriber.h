/* The plain WebSocket door: each message's payload is one frame and nothing else, so `new WebSocket(url)` with onmessage is a
 * full client. A frame from the client is published to the one topic that its URL names, if the rule lets it. */
#ifndef HALLEY_TRANSPORT_WS_SUBSCRIBER_H
#define HALLEY_TRANSPORT_WS_SUBSCRIBER_H

#include "transport/http_server.h"

/* Open a WebSocket for a handshake that ws_handshake_check() accepted: check topics and rights, subscribe, write the 101 once every
 * subscription is in force, and take the connection over; or answer with an HTTP status and a sentence that says why not.
 * is_bare: no topic is needed (the root path, where pages that know nothing of topics connect). */
void ws_subscriber_open(struct http_client *h, const struct http1_request *rq, bool is_bare);

#endif
