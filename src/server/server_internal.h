/* What the files of the running server share. Main thread, unless said otherwise. */
#ifndef HALLEY_SERVER_SERVER_INTERNAL_H
#define HALLEY_SERVER_SERVER_INTERNAL_H

#include <ev.h>
#include <pthread.h>

#include "server/live_settings.h"
#include "server/server.h"
#include "server/sockets.h"
#include "server/tls_slots.h"
#include "server/upgrade.h"
#include "server/vitals.h"
#include "transport/backend_door.h"
#include "transport/reactor.h"

struct listener;

struct door { /* what a listener's callbacks need */
    struct server *server;
    struct reactor *reactor;
    struct listener *listener;
    bool is_shared;
    bool is_backend;
    bool is_proxied; /* proxy_protocol = on */
    struct tls_slot *tls; /* NULL: plain */
    struct backend_peers peers;
};

struct server {
    const struct config *config;
    struct live_settings *live;
    struct hub *hub;
    struct engine *engine;
    struct server_view view;
    struct reactor *reactors;
    struct reactor **reactor_list;
    unsigned reactor_count;
    struct socket_set sockets;
    struct tls_slots *tls;
    struct door *doors;
    size_t door_count;
    unsigned next_reactor; /* whose turn it is to get a connection of a shared listener */
    pthread_t *threads;
    ev_signal on_term, on_int, on_hup;
    ev_timer expire;
    struct vitals vitals;
    struct succession *succession; /* NULL: there was no predecessor */
    struct upgrade upgrade;
    ev_signal on_usr2;
    bool leaving;
};

/* A successor serves now: accept no more, and end with the clients that are still here. Main thread. */
void server_hand_over(struct server *s);

/* Accept on every socket of s->sockets. Returns 0 or -ENOMEM. */
int doors_open(struct server *s);
/* A reactor accepts no more. Its own thread. */
void doors_close(struct server *s, unsigned reactor);

#endif
