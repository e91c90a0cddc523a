/* The public door: what browsers connect to. Routes HTTP requests to the doors behind it. */
#ifndef HALLEY_TRANSPORT_PUBLIC_DOOR_H
#define HALLEY_TRANSPORT_PUBLIC_DOOR_H

#include "auth/addresses.h"
#include "transport/reactor.h"

/* What a connection is told that is not let in because its address has too many. */
void public_door_write_address_full(struct buf *out, uint64_t wall_ms);

/* Take over a connection that was accepted on a public listener. from: its peer. is_proxied: the listener has proxy_protocol = on. On the reactor's
 * thread. */
void public_door_accept(struct reactor *r, int fd, const struct address *from, bool is_proxied);

/* A public connection has ended, whatever it spoke. */
void public_door_gone(struct reactor *r);

#endif
