/* A connection on a listener with proxy_protocol = on: before its client's first byte a trusted proxy says for whom it is. */
#ifndef HALLEY_TRANSPORT_PROXIED_CONN_H
#define HALLEY_TRANSPORT_PROXIED_CONN_H

#include "net/conn.h"
#include "transport/reactor.h"

struct tls_slot;

/* Read the PROXY header, in limits.handshake_timeout, count the client that it names, and call on_ready(r, c, tls): it gives the connection another
 * owner and returns 0, or -errno. tls: behind the header the client speaks TLS; NULL: it does not. What came behind the header goes to that owner. Without a whole header the connection is closed: whoever
 * is not known is not let in. on_gone(r): it ended here. Returns 0 or -ENOMEM. */
int proxied_conn_start(struct reactor *r, struct conn *c, int (*on_ready)(struct reactor *r, struct conn *c, struct tls_slot *tls), struct tls_slot *tls,
                       void (*on_gone)(struct reactor *r, struct conn *c));

#endif
