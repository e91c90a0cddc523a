/* Input that has been read and is not handled yet: one read may hold thousands of small messages, and others want their turn too; or a message in the middle has
 * made its connection pause. The rest waits here, and goes to conn_ops.on_read() in another turn, as if it had been read then. */
#ifndef HALLEY_TRANSPORT_UNREAD_H
#define HALLEY_TRANSPORT_UNREAD_H

#include "base/buf.h"
#include "base/clock.h"
#include "net/conn.h"
#include "transport/reactor.h"

#define UNREAD_AFTER 512   /* messages, commands or requests of one connection that are handled in one turn */
#define UNREAD_AFTER_US 500 /* and the time that they may take: a token's signature alone takes up to a fifth of it */
#define UNREAD_LOOK 4      /* so many between two looks at the clock */

struct turn { /* one connection's share of a turn */
    uint64_t ends_us;
    unsigned handled;
};

static inline struct turn turn_begin(void)
{
    return (struct turn){ .ends_us = clock_mono_us() + UNREAD_AFTER_US };
}

/* One more has been handled. Is that enough for now? */
static inline bool turn_is_over(struct turn *t)
{
    t->handled++;
    return t->handled >= UNREAD_AFTER || (t->handled % UNREAD_LOOK == 0 && clock_mono_us() >= t->ends_us);
}

struct unread;

/* Keep a copy of what is left, at most one read; the connection is not read meanwhile (CONN_PAUSE_TURN). *slot is the owner's, NULL before, and is NULL again when
 * the rest goes to on_read(). len 0: the owner keeps the rest himself, and on_read() is called with nothing. */
void unread_keep(struct reactor *r, struct conn *c, struct unread **slot, const uint8_t *data, size_t len);
void unread_drop(struct unread **slot); /* the connection ends; *slot may be NULL */

/* Hand on what waits, but for connections that are paused for another reason. Returns whether there is more to do. */
bool unread_run(struct reactor *r);

#endif
