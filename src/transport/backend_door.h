/* The backend door: trusted publishers and listeners. RESP and HTTP on one socket, told apart by the first byte. */
#ifndef HALLEY_TRANSPORT_BACKEND_DOOR_H
#define HALLEY_TRANSPORT_BACKEND_DOOR_H

#include "transport/http_server.h"
#include "transport/reactor.h"

struct backend_peers { /* who may connect to a Unix listener, beside the file's mode */
    const uid_t *uids; /* borrowed */
    size_t count;      /* 0: whoever the mode lets in */
};

/* Take over a connection that was accepted on a backend listener. On the reactor's thread. */
void backend_door_accept(struct reactor *r, int fd, const struct backend_peers *peers);

/* ---- backend_http.c */
void backend_http_request(struct http_client *h, const struct http1_request *rq);

#endif
