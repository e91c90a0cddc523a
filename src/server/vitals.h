/* What the service manager hears of a running server: that it serves, that it lives, and how it fares. Main thread. */
#ifndef HALLEY_SERVER_VITALS_H
#define HALLEY_SERVER_VITALS_H

#include <ev.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct server;

struct vitals {
    struct server *server;
    ev_timer watchdog;
    ev_timer status;
    uint64_t stuck_ms;   /* a reactor that made no turn for so long is stuck */
    bool is_stuck;
    uint64_t told_ms;    /* when STATUS= was told last, and what there was then */
    uint64_t published;
    uint64_t delivered;
    uint64_t evicted, keys_evicted; /* the last told */
    _Atomic unsigned not_yet; /* reactors that have made no turn */
};

/* Call on_ready(), on the main thread, when every reactor runs, and so accepts on its listeners; then begin to tell. The threads run, or are to. */
void vitals_start(struct vitals *v, struct server *s, void (*on_ready)(struct server *s));
/* Say which of the hub's limits have been met since the last time. To be called now and then. */
void vitals_tell_limits(struct vitals *v);
void vitals_stop(struct vitals *v);

#endif
