/* After a reload: every connection of a reactor is looked at again, in bounded slices, and what is no longer allowed ends (conn_ops.recheck). */
#ifndef HALLEY_TRANSPORT_RECHECK_H
#define HALLEY_TRANSPORT_RECHECK_H

#include "net/conn.h"
#include "transport/reactor.h"

struct recheck {
    struct loop_task task;
    struct conn_walk walk;
    struct reactor *reactor;
    void (*on_done)(struct recheck *rc); /* on the reactor's thread: all have been looked at, or the reactor ends */
};

/* Begin, after reactor_apply(). Own thread. */
void recheck_start(struct recheck *rc, struct reactor *r, void (*on_done)(struct recheck *rc));

#endif
