/* The end of a server that others depend on: it accepts no more, says so (/healthz 503), and tells its clients one by one, over drain_time, to come back, each at a
 * time of its own, so that not more than drain_rate of them a second do. Backends stay until the end, and what they publish reaches those who are still
 * here. When nobody is left, or all have been told, the reactors end. Main thread. */
#ifndef HALLEY_SERVER_DRAIN_H
#define HALLEY_SERVER_DRAIN_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

struct drain_part;
struct server;

struct drain {
    struct server *server;
    struct drain_part *parts; /* one for each reactor */
    unsigned waiting;         /* reactors that have not told all of theirs */
    uint64_t began_ms;
    uint64_t clients;         /* at the beginning */
    uint64_t told_before;     /* when the log was told last */
    ev_timer report;
    bool is_on;               /* begun, and not at its end */
    void (*on_end)(struct server *s); /* all have been told: end the reactors */
};

/* Begin, unless it has begun; on_end() is called once, during the call when there is nobody to tell or drain_time is 0. is_served: a successor has the
 * listeners, and serves. */
void drain_begin(struct drain *d, struct server *s, bool is_served, void (*on_end)(struct server *s));

/* End it now: those who have not been told are told together. Nothing if it is not on. */
void drain_hasten(struct drain *d);

/* The loops have ended. */
void drain_done(struct drain *d);

#endif
