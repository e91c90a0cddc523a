/* What the files of the running server share. Main thread, unless said otherwise. */
#ifndef HALLEY_SERVER_SERVER_INTERNAL_H
#define HALLEY_SERVER_SERVER_INTERNAL_H

#include <ev.h>
#include <pthread.h>

#include "server/doors.h"
#include "server/drain.h"
#include "server/live_settings.h"
#include "server/reload.h"
#include "server/server.h"
#include "server/sockets.h"
#include "server/tls_slots.h"
#include "server/upgrade.h"
#include "server/vitals.h"
#include "transport/backend_door.h"
#include "transport/reactor.h"

struct server {
    const struct server_source *source; /* where the config comes from; NULL: it cannot be loaded again */
    struct live_settings *start; /* of the start: what only a restart changes is as it says */
    struct live_settings *live;
    struct hub *hub;
    struct engine *engine;
    struct server_view view;
    struct reactor *reactors;
    struct reactor **reactor_list;
    unsigned reactor_count;
    struct socket_set sockets;
    struct tls_slots *tls;
    struct list doors; /* struct door */
    struct reload reload;
    struct drain drain;
    struct server_control control;
    unsigned next_reactor; /* whose turn it is to get a connection of a shared listener */
    pthread_t *threads;
    ev_signal on_term, on_int, on_hup;
    ev_timer expire;
    struct vitals vitals;
    struct succession *succession; /* NULL: there was no predecessor */
    struct upgrade upgrade;
    struct pump *link; /* to the other process of an upgrade; NULL: there is none */
    ev_signal on_usr2;
    bool leaving;
    bool is_handed_over; /* the listeners' queues are a successor's */
};

/* A successor serves now: accept no more, and end with the clients that are still here. Main thread. */
void server_hand_over(struct server *s);

/* The limits of the hub, from a config. */
struct hub_limits server_hub_limits(const struct config *c);

#endif
