/* The echo door: a WebSocket that says back what it is told, for standard test suites. Off unless the config names a path for it. */
#ifndef HALLEY_TRANSPORT_ECHO_H
#define HALLEY_TRANSPORT_ECHO_H

#include "transport/http_server.h"

/* Open an echo WebSocket for a handshake that ws_handshake_check() accepted; takes the connection over. */
void echo_open(struct http_client *h, const struct http1_request *rq);

#endif
