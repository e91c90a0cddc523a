/* From a listening socket to the reactor that gets the connection, and the door that it speaks at.
 *
 * The list of doors is the main thread's; the listener of each belongs to its reactor, and so does what is done with what it accepts. */
#ifndef HALLEY_SERVER_DOORS_H
#define HALLEY_SERVER_DOORS_H

#include "base/list.h"
#include "server/live_settings.h"
#include "server/sockets.h"
#include "transport/backend_door.h"

struct listener;
struct reactor;
struct server;
struct tls_slot;

struct door { /* one listening socket */
    struct list node; /* in server->doors */
    struct server *server;
    struct reactor *reactor;
    struct listener *listener; /* NULL: it is closed */
    bool is_shared;
    bool is_backend;
    bool is_borrowed; /* a predecessor has not handed it over yet: the file is not ours to remove */
    bool is_held; /* by systemd */
    bool is_proxied; /* proxy_protocol = on */
    struct tls_slot *tls; /* NULL: plain */
    struct backend_peers *peers; /* of a backend's */
    /* of a reload on its way (reload.c): what is to become of it */
    bool is_new;
    bool is_wanted;
    bool next_is_proxied;
    struct tls_slot *next_tls;
    struct backend_peers *next_peers;
    char path[108]; /* of a Unix socket, to be unlinked at the end; else empty */
    char address[]; /* of its section in the config */
};

/* Make the doors of these sockets, and add them to the list; they do not accept yet. Takes the sockets, on failure too. Returns 0 or -ENOMEM. */
int doors_make(struct server *s, struct socket_set *sockets, struct live_settings *live, struct list *ret);
void doors_free(struct list *doors); /* closes what is open: no reactor runs, or they have never begun */

void door_begin(struct door *d); /* accept. The reactor's own thread, or before it runs */
void door_close(struct door *d); /* empty the accept queue, and accept no more. The reactor's own thread */
void door_unlink(struct door *d);

/* Who may connect to a backend section: a reference. NULL when out of memory. */
struct backend_peers *doors_peers_new(struct live_settings *live, const struct config_backend *b);

/* A reactor accepts no more clients; backends may come yet, unless a successor has the listeners. Its own thread. */
void doors_close_public(struct server *s, unsigned reactor);

/* A reactor accepts no more. Its own thread. */
void doors_close(struct server *s, unsigned reactor);

#endif
