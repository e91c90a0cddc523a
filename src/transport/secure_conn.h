/* A connection on a listener that speaks TLS, from its first byte to the end of the handshake: counting, bounds, and what people are told.
 *
 * Handshakes in flight have a bound (limits.tls_handshakes), as each takes tens of kilobytes. Who comes when it is reached waits, unread, until one
 * has ended, or until the oldest has kept its place for two seconds and is itself what is waited for: that one is closed. So connections that begin a
 * handshake and fall silent do not keep others out, and a rush of honest ones is served in the order in which they came. */
#ifndef HALLEY_TRANSPORT_SECURE_CONN_H
#define HALLEY_TRANSPORT_SECURE_CONN_H

#include "net/conn.h"
#include "net/tls_context.h"
#include "transport/reactor.h"

/* What a client is told that cannot be let in, instead of a handshake: a fatal alert, internal_error (RFC 8446 6). */
#define SECURE_CONN_REFUSAL "\x15\x03\x03\x00\x02\x02\x50"

struct secure_guest { /* whom the connection belongs to after the handshake */
    int (*on_ready)(struct reactor *r, struct conn *c, void *owner); /* takes the connection over: sets its owner and ops. 0 or -errno */
    void (*on_gone)(struct reactor *r, struct conn *c, void *owner); /* it ended before that */
    void *owner;
};

/* Returns 0 or -ENOMEM. */
int secure_conn_start(struct reactor *r, struct conn *c, struct tls_slot *slot, const struct secure_guest *guest);

/* Once a turn: begin what waited for a place. */
void secure_conns_run(struct reactor *r);

#endif
