/* The slow consumer: a subscriber that cannot take more reads on from history when it can (core/catchup.h). One place decides it for
 * every door, counts it and logs it. */
#ifndef HALLEY_TRANSPORT_SLOW_H
#define HALLEY_TRANSPORT_SLOW_H

#include "net/conn.h"
#include "transport/reactor.h"

/* Has the connection no room for `bytes` more: over limits.outq, or over limits.outq_total while something waits for it already? count 0 (memory
 * ran out) counts as none. A connection for which nothing waits always has room: the kernel is asked first. */
static inline bool slow_has_no_room(const struct reactor *r, const struct conn *c, uint32_t count, uint32_t bytes)
{
    if (HLY_LIKELY(c->outq == NULL && count > 0))
        return false;
    return count == 0 || conn_waiting(c) + bytes > r->settings->max_outq || r->loop.chunks.live_bytes > r->settings->max_outq_total;
}

/* It falls behind, from just before first_seq. `what` names it for the log. Returns 0, or -ENOMEM: then the messages are lost to it, and its door says so. */
int slow_fall_behind(struct reactor *r, struct subscriber *s, const struct conn *c, uint64_t first_seq, const char *what);

#endif
