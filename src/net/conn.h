/* One connection: a non-blocking socket, what waits to be written, and a coarse timer. No protocol.
 *
 * Idle it is this struct and nothing else: it reads into the loop's buffer, its queue exists only while something waits, its
 * timer is a node in the wheel. Bytes that many connections share are queued as references to their chunks, never copied. Closing only marks a
 * connection; it ends, and is freed, at the end of the loop's turn, so callbacks higher on the stack may go on using it. */
#ifndef HALLEY_NET_CONN_H
#define HALLEY_NET_CONN_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/list.h"
#include "net/loop.h"
#include "net/wheel.h"

struct conn;
struct client_info;
struct kick;
struct tls_conn;
struct tls_context;

struct conn_ops { /* filled in by transport/; an owner may change during a connection's life */
    void (*on_read)(struct conn *c, uint8_t *data, size_t len); /* data is the loop's: borrowed, may be changed in place */
    void (*on_eof)(struct conn *c);    /* the peer has finished sending; NULL: write what waits, then close */
    void (*on_drained)(struct conn *c); /* what waited has been written; may be NULL */
    void (*on_timer)(struct conn *c);  /* may be NULL */
    void (*on_cut)(struct conn *c);    /* all queues together are over their limit: take conn_cut()'s messages back; NULL: it has none */
    /* The TLS handshake has ended: error is NULL, or what was wrong, and then nothing but an alert can be written. For the owner who called conn_secure(). */
    void (*on_secure)(struct conn *c, const char *error);
    void (*on_stop)(struct conn *c);   /* the loop is to end: say goodbye and finish; NULL: close */
    /* What is to be told of it in a list of clients (transport/client_info.h). False, or NULL: it is not listed. */
    bool (*describe)(struct conn *c, struct client_info *ret);
    /* A backend ends it, or some of its subscriptions (transport/kick.h). Returns whether there was anything to end; NULL: there never is. */
    bool (*kick)(struct conn *c, const struct kick *k);
    /* Rules or keys are others now: end what is no longer allowed. NULL: there is nothing to look at. */
    void (*recheck)(struct conn *c);
    void (*on_end)(struct conn *c);    /* the last call: let go of the owner's memory */
};

struct outq;

enum conn_pause { /* why a connection is not read */
    CONN_PAUSE_BUSY = 1,    /* its last request is being worked on */
    CONN_PAUSE_HUB = 2,     /* it publishes, and the hub is congested */
    CONN_PAUSE_REPLIES = 4, /* too many of its answers wait */
    CONN_PAUSE_EOF = 8,     /* there is no more to read, and something still to write */
    CONN_PAUSE_TURN = 32,   /* what it has sent is handled in another turn */
    CONN_PAUSE_RATE = 16,   /* it has published more than its rate for now */
    CONN_PAUSE_TLS = 64,    /* the next step of its handshake waits for its turn */
};

struct conn {
    ev_io io; /* io.fd is the socket; -1 when closed */
    struct loop *loop;
    const struct conn_ops *ops;
    void *owner;
    struct outq *outq;        /* NULL: nothing waits */
    struct tls_conn *tls;     /* NULL: plain */
    void *peer;               /* transport/peer.h: whom it is counted with */
    struct wheel_timer timer;
    uint32_t heard_tick;      /* wheel tick of the last byte received */
    uint32_t born_tick;       /* and of its beginning */
    struct list node;         /* in loop->dirty or loop->closing */
    struct list all;          /* in loop->conns */
    bool closed;
    uint8_t paused; /* enum conn_pause: not read while any bit is set */
    bool finishing; /* conn_finish() was called: input is discarded */
    bool ending;    /* conn_end() was called: close when all is written */
    bool shut;      /* our direction is shut down */
    bool is_dirty;
    bool is_backend;          /* a drain leaves it until the end */
    uint8_t peer_kind;        /* transport/peer.h: what peer is */
    uint32_t number; /* of the loop's connections: loop->conns is in this order */
    int error;      /* errno that ended it, 0 if the owner or the peer did */
};

/* Take over a connected non-blocking socket. NULL when out of memory (then fd is still the caller's). */
struct conn *conn_new(struct loop *l, int fd, const struct conn_ops *ops, void *owner);

/* Speak TLS from here on, as the server: nothing has been written yet. data: what has been read already, the beginning of the handshake. on_secure() tells
 * its end; until then nothing is read or written. Returns 0 or -ENOMEM. */
int conn_secure(struct conn *c, struct tls_context *context, const uint8_t *data, size_t len);

/* Of the TLS that it speaks: "TLSv1.3", and whether a session was resumed. NULL: it is plain, or the handshake has not ended. */
const char *conn_tls_version(const struct conn *c, bool *ret_resumed);

/* Write shared bytes: at once as far as the kernel takes them, the rest is queued by reference. Does nothing on a closed
 * connection. When memory for the queue cannot be had the connection is closed: a hole in its stream cannot be repaired. */
void conn_send(struct conn *c, const struct chunk_slice *slices, uint32_t count, uint32_t bytes);

/* Write bytes of one's own, which are copied if they have to wait. */
void conn_write(struct conn *c, const void *bytes, size_t len);

/* Queue bytes of one's own for the end of the turn: several replies become one send. */
void conn_write_later(struct conn *c, const void *bytes, size_t len);

/* Drop the messages that wait, but for one that has been begun, and for what was written with conn_write(). Returns the seq of the first of them, 0: there was
 * none. If nothing is left on_drained() still comes when the kernel takes bytes again. */
uint64_t conn_cut(struct conn *c);

/* Call on_drained() at the end of the turn, or when what waits has been written. */
void conn_call_drained(struct conn *c);

/* Do messages wait, which conn_cut() may drop? A cursor that stands behind them may not be told: it would hide their loss. */
bool conn_has_messages(const struct conn *c);

/* Bytes that wait. */
uint64_t conn_waiting(const struct conn *c);

/* Stop reading for a reason, and go on when the last reason has gone. */
void conn_pause(struct conn *c, enum conn_pause why);
void conn_resume(struct conn *c, enum conn_pause why);

/* Call on_timer() once, when after_ms have passed on the loop's clock, up to a tick late (net/wheel.h); a new call moves it. 0 stops it. */
void conn_set_timer(struct conn *c, uint64_t after_ms);

/* Milliseconds since the last byte was received, to the wheel's tick. */
uint64_t conn_quiet_ms(const struct conn *c);

/* Bytes that have been received and not read: of a TLS record that is not whole yet. On a slow line one of 16 KB takes many seconds. */
uint32_t conn_unread(const struct conn *c);

uint64_t conn_age_ms(const struct conn *c); /* since its beginning, to the wheel's tick */

/* A walk over a loop's connections, in slices: between them connections may come and go. Own thread. */
struct conn_walk {
    struct list node;  /* in loop->walks */
    struct list *next; /* in loop->conns */
};
void conn_walk_begin(struct conn_walk *w, struct loop *l);
struct conn *conn_walk_next(struct conn_walk *w, struct loop *l); /* NULL: that was the last */
void conn_walk_end(struct conn_walk *w);

/* Write what waits, then shut down our direction, discard what still comes, and close when the peer has closed, or after linger_ms at
 * most. So the peer reads our last bytes before it can see a reset (RFC 9112 9.6). */
void conn_finish(struct conn *c, uint64_t linger_ms);

/* Write what waits, then close without waiting for the peer: for a peer that said it is done. linger_ms bounds the writing. */
void conn_end(struct conn *c, uint64_t linger_ms);

/* Close now; what waits is dropped. Safe at any time, any number of times. */
void conn_close(struct conn *c);
void conn_fail(struct conn *c, int error); /* the same, noting why */

/* Close and free a connection that got no owner. */
void conn_abandon(struct conn *c);

/* ---- for loop.c */
void conn_flush(struct conn *c);
void conn_reap(struct conn *c);
void conn_on_timer(struct conn *c);
void conn_stop(struct conn *c);

/* ---- for tls.c */
void conn_secured(struct conn *c, const char *error);
void conn_watch_secured(struct conn *c); /* its handshake goes on */
void conn_read_on(struct conn *c);       /* there may be more to read, whatever the kernel says */

#endif
