/* The public door: what browsers connect to. Routes HTTP requests to the doors behind it. */
#ifndef HALLEY_TRANSPORT_PUBLIC_DOOR_H
#define HALLEY_TRANSPORT_PUBLIC_DOOR_H

#include "auth/addresses.h"
#include "transport/reactor.h"

/* What a connection is told that is not let in because its address has too many. */
#define PUBLIC_DOOR_ADDRESS_FULL \
    "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 10\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 73\r\n\r\n" \
    "Too many connections from your address (limits.per_address): close some.\n"

/* Take over a connection that was accepted on a public listener. from: its peer. is_proxied: the listener has proxy_protocol = on. On the reactor's
 * thread. */
void public_door_accept(struct reactor *r, int fd, const struct address *from, bool is_proxied);

/* A public connection has ended, whatever it spoke. */
void public_door_gone(struct reactor *r);

#endif
