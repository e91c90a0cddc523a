/* The slow consumer: a subscriber that cannot take more reads on from history when it can (core/catchup.h). One place decides it for
 * every door, counts it and logs it. */
#ifndef HALLEY_TRANSPORT_SLOW_H
#define HALLEY_TRANSPORT_SLOW_H

#include "core/subscription.h"
#include "net/conn.h"
#include "transport/client.h"
#include "transport/reactor.h"

struct slow_client { /* a subscriber as this file needs to see it; borrowed for the call */
    struct reactor *reactor;
    struct subscriber *sub;
    struct conn *conn;
    const struct client *client; /* NULL: it has no id */
    const char *what;            /* "websocket", "sse", ... */
};

#define SLOW_BURST_BYTES 65536 /* of one turn's writing, after which history is not read on until it has been sent */

/* subscriber_ops.is_full: what the kernel did not take waits. What has been written in this turn has not been offered to it yet: nobody is slow. */
static inline bool slow_is_full(const struct conn *c)
{
    return c->outq != NULL && (!c->is_dirty || conn_waiting(c) >= SLOW_BURST_BYTES);
}

/* What becomes of a subscriber that has no room. */
enum slow_verdict {
    SLOW_BEHIND,     /* it reads on from history when it can */
    SLOW_DISCONNECT, /* the rule of a message says on_slow = disconnect: close it (1013) */
    SLOW_LOST,       /* memory ran out: the messages are lost to it, and its door says so */
};

/* Has the connection no room for the delivery: is it over limits.outq? Memory that ran out (count 0) counts as no room. A connection for which nothing waits always
 * has room: the kernel is asked first. limits.outq_total is kept by slow_cut(), so that those who are stuck pay for it, and not whoever is sent to next. */
static inline bool slow_has_no_room(const struct reactor *r, const struct conn *c, const struct delivery *d)
{
    if (HLY_LIKELY(c->outq == NULL && d->count > 0))
        return false;
    return d->count == 0 || conn_waiting(c) + d->bytes > r->settings->max_outq;
}

/* It cannot take the delivery: it falls behind from just before d->first_seq, or whatever else the rules of its messages say. Counted, logged, and told on
 * $halley/slow where the rule has events. */
enum slow_verdict slow_fall_behind(const struct slow_client *c, const struct delivery *d);

/* conn_ops.on_cut: all queues together are over limits.outq_total, and this connection is among the slowest. What waits for it is dropped, but for a frame already
 * begun and for replies, and it falls behind from there. */
enum slow_verdict slow_cut(const struct slow_client *c);

#endif
