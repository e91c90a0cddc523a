/* A reactor: one thread, one loop, the connections that it accepted, and its own view of who gets what.
 *
 * The doors of this layer find everything they need here. All members belong to the reactor's thread, but for stats, which anyone may
 * read, and hub and engine, which have their own locks. */
#ifndef HALLEY_TRANSPORT_REACTOR_H
#define HALLEY_TRANSPORT_REACTOR_H

#include "core/fanout.h"
#include "core/rules.h"
#include "engine/engine.h"
#include "net/loop.h"
#include "proto/ws_deflate.h"
#include "transport/settings.h"
#include "transport/stats.h"

struct auth_callback;
struct control_order;
struct count_table;
struct kick;
struct packer;
struct presence;
struct reactor;
struct revocations;

struct server_control { /* what backends may ask of the server as a whole (transport/control.h) */
    void (*run)(struct server_control *control, struct control_order *o); /* any thread */
};

struct server_view { /* what doors may know of the whole server; constant after the start */
    struct reactor **reactors;
    unsigned reactor_count;
    uint64_t started_ms; /* monotonic */
    char node[EPOCH_LEN + 1]; /* letters and digits, made at the start: in the ids of clients */
    _Atomic uint64_t next_client_id;
    _Atomic uint64_t connections; /* public, now, all reactors */
    _Atomic uint64_t backends;    /* now, all reactors */
    _Atomic uint64_t deflate_bytes; /* of compression contexts, all reactors: limits.deflate */
    _Atomic bool draining;
    struct count_table *addresses; /* connections by address (transport/peer.h) */
    struct count_table *users;     /* and by the subject of their tokens, with what those may publish */
    struct presence *presence;     /* who is on which topic; has a lock of its own */
    pthread_mutex_t presence_lock; /* who comes and goes is told in the order in which it happens: sub_table.change_lock, taken before the hub's */
    struct revocations *revocations; /* tokens that hold no longer; has a lock of its own */
    void (*_Atomic on_kick)(struct server_view *view, const struct kick *k); /* another process is to hear of it; NULL: there is none. Any thread */
    struct server_control *control; /* NULL: it takes no orders */
};

struct paused { /* a publishing connection that is not read while the hub is congested */
    struct list node;
    void (*resume)(struct paused *p);
};

struct reactor {
    unsigned index;
    struct loop loop;
    struct hub *hub;
    struct engine *engine;
    struct rules *rules;
    const struct settings *settings;
    struct server_view *server;
    struct sub_table table;
    struct fanout *fanout;
    struct packer *packer;
    struct ws_inflater inflater; /* for all WebSockets without a context of their own */
    struct stats stats;
    void (*tap)(void *ctx, struct message *const *messages, size_t count); /* sees each batch before its subscribers; NULL: nobody looks */
    void *tap_ctx;
    struct list paused;       /* struct paused */
    struct list unread;       /* struct unread */
    struct list tls_shaking;  /* struct secure_conn: handshakes in flight, the oldest first */
    struct list tls_waiting;  /* and those that wait until there are fewer */
    size_t tls_shaking_count;
    uint32_t return_ms;       /* while a connection is told to go (conn_ops.on_stop): when it is to come back; 0: not said */
    bool has_events;          /* a rule does: what becomes of clients is told to backends */
    uint64_t gap_events_since_ms; /* $halley/gap: the second in which so many were told, */
    unsigned gap_events;
    uint64_t gap_events_untold;   /* and how many were not since the last one */
    struct map sessions;      /* struct v1_session by client id */
    struct list strangers;    /* struct backend_access: backend connections that have not said their key, the longest first */
    size_t stranger_count;
    struct list spare_slots;  /* RESP replies to come: kept for the next ones */
    unsigned spare_slot_count;
    struct auth_callback *auth_callback; /* NULL until somebody is asked about */
    uint64_t random;          /* state of reactor_random() */
};

/* Set up a reactor and its loop; everything is borrowed. The thread that runs it comes later. Returns 0 or -errno. */
int reactor_init(struct reactor *r, unsigned index, struct hub *hub, struct engine *engine, struct rules *rules,
                 const struct settings *settings, struct server_view *server);
void reactor_done(struct reactor *r);

/* Other rules and settings from now on: borrowed, both live until the next. What follows for living connections is recheck_start()'s. Own thread. */
void reactor_apply(struct reactor *r, struct rules *rules, const struct settings *settings);

/* A cheap random number for jitter; not for secrets. */
uint32_t reactor_random(struct reactor *r, uint32_t below);

/* Do not read this publisher until the hub's inboxes have drained; resume() is called then. */
void reactor_pause_publisher(struct reactor *r, struct paused *p);

/* Sum a counter or gauge over all reactors: fills STATS_COUNT values. */
void server_sum_stats(const struct server_view *v, struct stat_value ret[STATS_COUNT]);

#endif
