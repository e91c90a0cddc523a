/* What backends do to connections that others have opened: end them, or end subscriptions of theirs.
 *
 * A kick is a task that travels: on each reactor's thread it looks at some of that reactor's connections in a turn, asks
 * those that it is meant for to go (conn_ops.kick), goes on to the next reactor, and comes home with how many did. It
 * belongs to the thread that runs it. Connections that come meanwhile are looked at too, if they come before it has passed. */
#ifndef HALLEY_TRANSPORT_KICK_H
#define HALLEY_TRANSPORT_KICK_H

#include "auth/revocation.h"
#include "core/topic_name.h"
#include "net/conn.h"
#include "transport/client.h"

#define KICK_REASON_MAX 123 /* bytes: what a close frame can carry (RFC 6455 5.5) */

enum kick_target { KICK_USER, KICK_CONNECTION, KICK_TOKEN }; /* by subject, by its id or name, by the token's id */

struct kick {
    struct loop_task task;
    struct reactor *home;
    unsigned at;           /* the reactor that it is on, or goes to */
    bool is_walking;
    struct conn_walk walk;
    uint64_t count;        /* connections that were told */
    uint8_t target;        /* enum kick_target */
    bool is_revocation;    /* only those whose token has been revoked */
    bool is_relayed;       /* another process told it: it is not told back */
    uint64_t until_ms;     /* of a revocation */
    bool is_refused;       /* kick_revoke() could not, for reasons of our own */
    struct client_place connection;
    bool is_gone;          /* the connection was of another run */
    uint16_t code;         /* of the close frame */
    uint8_t topic_len;     /* 0: connections end. Else only their subscriptions to names that this pattern covers */
    char name[TOKEN_NAME_MAX + 1];
    char topic[TOPIC_MAX_BYTES];
    char reason[KICK_REASON_MAX + 1]; /* what people read */
    void (*on_home)(struct kick *k);  /* on home's thread: the answer; frees what embeds it */
    void (*on_lost)(struct kick *k);  /* home has ended, and whoever asked before it: frees what embeds it */
};

/* Fill in what it is meant for. All return NULL, or the sentence that says what is wrong. target's name, pattern and
 * reason are copied. */
const char *kick_set_target(struct kick *k, const struct server_view *server, enum kick_target target, struct slice name);
const char *kick_set_topic(struct kick *k, struct slice pattern);
const char *kick_set_reason(struct kick *k, struct slice reason);

/* Set out, from home's thread. on_home() or on_lost() comes later, never during the call. */
void kick_start(struct kick *k, struct reactor *home);

/* Revoke what the kick is meant for, a user or a token; then kick_start() closes those who have it. Returns NULL, or why it
 * cannot be: then nothing has changed. */
const char *kick_revoke(struct kick *k, struct reactor *home, uint64_t until_ms);

#define KICK_REVOKED_S (24 * 3600) /* where nobody says until when */

/* Until when: so many seconds from now, or a time in seconds since 1970. Returns NULL, or what is wrong with it. */
const char *kick_until(const struct reactor *r, uint64_t seconds, bool is_time, uint64_t *ret_until_ms);

/* ---- for conn_ops.kick */

static inline bool kick_is_whole(const struct kick *k) /* the connection is to end */
{
    return k->topic_len == 0;
}

static inline const char *kick_end_reason(const struct kick *k) /* for $halley/disconnect */
{
    return k->is_revocation ? "revoked" : "kicked";
}

/* End the subscription if the kick's pattern covers its name, which is then written to *ret_name, in `room`. */
bool kick_unsubscribe(const struct kick *k, struct subscription *sub, char room[TOPIC_MAX_BYTES], struct slice *ret_name);

/* All of a subscriber's; returns how many. */
size_t kick_unsubscribe_all(const struct kick *k, struct subscriber *s);

#endif
