/* halley.v1 over WebSocket: each of its objects is a text frame. */
#ifndef HALLEY_TRANSPORT_V1_WS_H
#define HALLEY_TRANSPORT_V1_WS_H

#include "transport/http_server.h"

/* Answer a handshake that offers halley.v1 and has passed all checks but those of its topics, of which it needs none; or refuse it with a status and a
 * sentence. */
void v1_ws_open(struct http_client *h, const struct http1_request *rq);

#endif
