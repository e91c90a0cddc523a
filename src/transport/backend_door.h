/* The backend door: trusted publishers and listeners. RESP and HTTP on one socket, told apart by the first byte. */
#ifndef HALLEY_TRANSPORT_BACKEND_DOOR_H
#define HALLEY_TRANSPORT_BACKEND_DOOR_H

#include "transport/backend_access.h"
#include "transport/http_server.h"
#include "transport/reactor.h"

struct tls_slot;

/* Take over a connection that was accepted on a backend listener: takes a reference of its own on peers. tls: it speaks TLS; NULL: it does not. On the
 * reactor's thread. */
void backend_door_accept(struct reactor *r, int fd, struct backend_peers *peers, struct tls_slot *tls);

/* Answer a connection that there is no room for, and close it. Takes fd. */
void backend_door_turn_away(struct reactor *r, int fd, bool is_tls);

/* ---- backend_http.c. A client's context is its struct backend_access */
void backend_http_request(struct http_client *h, const struct http1_request *rq);
bool backend_http_wants_body(struct http_client *h, const struct http1_request *head);

#endif
