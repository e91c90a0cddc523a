/* The public door: what browsers connect to. Routes HTTP requests to the doors behind it. */
#ifndef HALLEY_TRANSPORT_PUBLIC_DOOR_H
#define HALLEY_TRANSPORT_PUBLIC_DOOR_H

#include "auth/addresses.h"
#include "transport/reactor.h"

struct tls_slot;

/* What a connection is told that is not let in because its address has too many; over TLS, an alert. */
void public_door_write_address_full(struct buf *out, uint64_t wall_ms, bool is_tls);

/* Take over a connection that was accepted on a public listener. from: its peer. is_proxied: the listener has proxy_protocol = on. tls: it
 * speaks TLS; NULL: it does not. On the reactor's thread. */
void public_door_accept(struct reactor *r, int fd, const struct address *from, bool is_proxied, struct tls_slot *tls);

/* Answer a connection that there is no room for, and close it (503 with Retry-After; over TLS an alert). Takes fd. */
void public_door_turn_away(struct reactor *r, int fd, bool is_tls);

/* A public connection has ended, whatever it spoke. */
void public_door_gone(struct reactor *r);

#endif
