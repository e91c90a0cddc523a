/* A coarse timer wheel: a timeout costs 24 bytes in its owner and no heap operation, however many connections have one.
 *
 * Ticks of WHEEL_TICK_MS: a timer fires at the first one by which its time has passed, up to a tick late and never early.
 * Timers that are due are handed out in slices, so that a million of them do not stall a loop turn. Reactor-local. */
#ifndef HALLEY_NET_WHEEL_H
#define HALLEY_NET_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

#define WHEEL_TICK_MS 50
#define WHEEL_SLOTS 1024

struct wheel_timer {
    struct list node; /* unlinked: not running */
    uint32_t due;     /* tick */
};

struct wheel {
    struct list slots[WHEEL_SLOTS];
    struct list due; /* fired, not yet handed out */
    uint32_t tick;   /* now */
    uint32_t into_tick_ms; /* so much of it has passed */
};

void wheel_init(struct wheel *w);

static inline void wheel_timer_init(struct wheel_timer *t)
{
    list_init(&t->node);
    t->due = 0;
}

void wheel_start(struct wheel *w, struct wheel_timer *t, uint64_t after_ms); /* restarts a running one */
void wheel_stop(struct wheel_timer *t);

/* Move on to the tick of now_ms (since the wheel's beginning). */
void wheel_advance(struct wheel *w, uint64_t now_ms);

/* The next timer that is due, no longer running, or NULL. */
struct wheel_timer *wheel_next_due(struct wheel *w);

#endif
