/* Input that has been read and is not handled yet: one read may hold thousands of small messages, and others want their turn too; or a message in the middle has
 * made its connection pause. The rest waits here, and goes to conn_ops.on_read() in another turn, as if it had been read then. */
#ifndef HALLEY_TRANSPORT_UNREAD_H
#define HALLEY_TRANSPORT_UNREAD_H

#include "base/buf.h"
#include "net/conn.h"
#include "transport/reactor.h"

#define UNREAD_AFTER 128 /* messages of one connection that are handled in one turn */

struct unread;

/* Keep a copy of what is left, at most one read; the connection is not read meanwhile (CONN_PAUSE_TURN). *slot is the owner's, NULL before, and is NULL again when
 * the rest goes to on_read(). */
void unread_keep(struct reactor *r, struct conn *c, struct unread **slot, const uint8_t *data, size_t len);
void unread_drop(struct unread **slot); /* the connection ends; *slot may be NULL */

/* Hand on what waits, but for connections that are paused for another reason. Returns whether there is more to do. */
bool unread_run(struct reactor *r);

#endif
