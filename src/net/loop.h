/* A reactor's event loop: libev with what every connection of a thread shares.
 *
 * One turn: wait, handle the ready connections, then, before the next wait, on_turn() (the fan-out), the connections with output
 * to flush, and the end of those that were closed. Everything but loop_post() and loop_wake() is for the loop's own thread. */
#ifndef HALLEY_NET_LOOP_H
#define HALLEY_NET_LOOP_H

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/list.h"
#include "net/tls.h"
#include "net/wheel.h"

#define LOOP_READ_BYTES 65536 /* what one connection may read in one turn: a busy peer delays the others by this much work */

struct loop_task { /* work for a loop, from any thread; owned by whoever posts it until run() */
    struct list node;
    void (*run)(struct loop_task *t);
};

struct loop {
    struct ev_loop *ev;
    struct chunk_pool chunks;
    struct wheel wheel;
    uint8_t *read_buf;   /* LOOP_READ_BYTES, shared by all connections of the thread */
    uint64_t now_ms;     /* monotonic, at the beginning of the turn */
    uint64_t wall_ms;
    _Atomic uint64_t turned_ms; /* now_ms, for other threads: that of a loop that is stuck stays behind */
    uint64_t started_ms;
    struct list dirty;   /* connections with output to flush at the end of the turn */
    struct list closing; /* connections that end at the end of the turn */
    struct list conns;   /* every connection, in the order they came */
    struct list walks;   /* struct conn_walk: those who are on their way through conns */
    uint32_t conn_number; /* of the connection that came last */
    struct list waiting; /* outqs of those for which something waits, those that have not got on for the longest time first */
    struct tls_loop tls;
    bool (*on_turn)(void *ctx); /* returns true when it has more to do: then the loop does not sleep */
    void *ctx;
    bool is_leaving;     /* loop_leave() was called */
    bool is_kept;        /* it does not end yet, even without connections */
    bool stopping;
    uint64_t leave_by_ms;
    ev_timer tick;
    ev_async async;
    ev_prepare prepare;
    ev_check check;
    ev_idle busy;
    pthread_mutex_t post_lock;
    struct list posted;  /* under post_lock, and so is has_ended */
    bool has_ended;
};

int loop_init(struct loop *l); /* 0 or -errno */
void loop_done(struct loop *l); /* after loop_run(), with no connection left */
void loop_run(struct loop *l);  /* until loop_leave() is complete */

/* End: every connection is told (conn_ops.on_stop), and loop_run() returns when the last has gone, or closes what is left after grace_ms.
 * Own thread. */
void loop_leave(struct loop *l, uint64_t grace_ms);

bool loop_has_ended(struct loop *l); /* any thread: loop_run() returns, or has returned */

/* While the loop's chunks take more than max_bytes: ask those that have not got on for the longest time to take messages back (conn_ops.on_cut), 256
 * of them at most. */
void loop_cut(struct loop *l, uint64_t max_bytes);

/* Any thread: run the task on the loop's thread, soon. What is posted while the loop ends runs when no connection is left. Returns false after that: the
 * task is not run, and still the caller's. */
bool loop_post(struct loop *l, struct loop_task *t);
void loop_again(struct loop *l); /* own thread: there is more to do, so do not sleep before the next turn */
void loop_wake(struct loop *l);                      /* any thread: make a turn */

#endif
