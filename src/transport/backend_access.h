/* The standing of one backend connection, from accept to end: what it may do, and whether it still has to say its key.
 *
 * Connections that have not said a key wait in a room of their reactor's, at most a quarter of limits.backends in all
 * reactors together. One that comes when the room or the whole limit is full takes the place of the one that has waited
 * longest: a backend says its key in its first packet, so strangers who connect and stay silent lose their places first,
 * and never take those of backends that have come in. */
#ifndef HALLEY_TRANSPORT_BACKEND_ACCESS_H
#define HALLEY_TRANSPORT_BACKEND_ACCESS_H

#include "auth/backend_key.h"
#include "net/conn.h"
#include "transport/reactor.h"

#define BACKEND_MAX_FAILURES 3 /* wrong keys of one connection; then it is closed */

struct backend_peers { /* who may connect to a listener. Counted: a reload makes others, and connections that came before know these */
    _Atomic unsigned refs;
    void (*free)(struct backend_peers *p); /* the last reference has gone; NULL: nobody counts */
    void *owner;                           /* for free() */
    struct backend_peers *next; /* a reference: those who may connect now; NULL: these. Set before any reactor is told to look again */
    const uid_t *uids;               /* of a Unix socket, beside the file's mode; borrowed */
    size_t count;                    /* 0: whoever the mode lets in */
    const struct backend_keys *keys; /* NULL: whoever can connect may do all */
    bool is_tcp;
};

struct backend_peers *backend_peers_ref(struct backend_peers *p);
void backend_peers_unref(struct backend_peers *p); /* any thread; NULL is accepted */

struct backend_access {
    struct reactor *reactor;
    struct conn *conn;
    struct backend_peers *peers;  /* a reference */
    struct backend_peers *before; /* and one to those before, whose rights may be in use until the end of this turn */
    uid_t uid;
    const struct backend_rights *rights;  /* NULL: it has to say its key first */
    const struct backend_rights *without; /* what it may do without a key; NULL: nothing */
    struct list node;                     /* while it waits, in reactor->strangers: the longest first */
    unsigned failures;                    /* wrong keys since the last right one */
    bool is_waiting;
    bool is_counted; /* in server->backends */
};

/* A connection was accepted, whose peer's uid is this (Unix). Returns NULL when limits.backends is reached (*ret_full) or memory is out. The caller
 * sets its conn. */
struct backend_access *backend_access_new(struct reactor *r, struct backend_peers *peers, uid_t uid, bool *ret_full);
/* The connection has ended. */
void backend_access_free(struct backend_access *a);

/* It says a key. Returns whether it is right, and then that is who it is; if not, that is counted and logged. */
bool backend_access_check(struct backend_access *a, struct slice user, struct slice key);
/* The same answer for a request that is still on its way: with a right key it is no stranger any more, and a wrong one is looked at when all is here. */
bool backend_access_would_check(struct backend_access *a, struct slice user, struct slice key);
/* It has said the wrong key so often that it is to be closed. */
bool backend_access_is_over(const struct backend_access *a);
/* Who may connect is another list now, perhaps: look whether it still may, and what. Returns false if it may not: its key, or its uid, has gone. */
bool backend_access_renew(struct backend_access *a);
bool backend_peers_let_in(const struct backend_peers *p, uid_t uid); /* allow_uid */
/* Forget the key that it said. */
void backend_access_reset(struct backend_access *a);

#endif
