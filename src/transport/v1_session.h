/* halley.v1: JSON objects, many topics on one connection, one live flow with one cursor, replays beside it.
 *
 * A session does not know what carries it: a WebSocket (transport/v1_ws), or a stream of events, lines or script blocks, for which POST /command brings the
 * client's objects (transport/v1_stream, transport/command). */
#ifndef HALLEY_TRANSPORT_V1_SESSION_H
#define HALLEY_TRANSPORT_V1_SESSION_H

#include "base/buf.h"
#include "base/hash.h"
#include "core/reading.h"
#include "core/subscription.h"
#include "net/conn.h"
#include "transport/client.h"
#include "transport/wish.h"

struct kick;
struct v1_session;

struct v1_carrier {
    enum wire_form form; /* of its messages; the carrier may choose a packed one for the subscriber before it opens */
    void (*deliver)(struct v1_session *s, const struct delivery *d); /* send messages of that form; NULL: as they are */
    /* Frame one of the server's objects and queue it for the end of the turn (conn_write_later(), in one call, so that nothing comes between). cursor: "" or,
     * where the object tells the live flow's cursor, this cursor: an event stream makes it the event's id. */
    void (*write)(struct v1_session *s, struct slice json, const char *cursor);
    /* End the connection: code as in RFC 6455 7.4 and 4400 to 4499; streams have no codes and say it with an object or just end. Safe at any time. */
    void (*close)(struct v1_session *s, unsigned code, const char *reason);
    void (*token_changed)(struct v1_session *s); /* v1_session_next_deadline() is another */
    const char *what; /* for logs and lists: "websocket", "sse", "ndjson", "iframe" */
};

struct v1_session { /* embedded in the carrier's state, which on_end() of its connection frees: see v1_session_end() */
    struct subscriber sub; /* the live flow */
    struct client client;
    const struct v1_carrier *carrier;
    struct reactor *reactor;
    struct conn *conn;
    struct map_node node;   /* in the reactor's sessions, by client id: POST /command finds it there */
    struct list works;      /* what is on its way for it: subscribes, publishes, replays, histories (v1_internal.h) */
    struct list changes;    /* of them, subscribes and unsubscribes: one at a time, in order (v1_subscribe.c) */
    struct list histories;  /* of them, histories: one at a time gathers its messages (v1_history.c) */
    struct paused *paused;  /* NULL, or why it is not read */
    uint64_t notice_ms;     /* when it is to be told that its token expires: wall clock; 0: never */
    uint8_t refused_tokens; /* since the last good one: each costs a signature */
    uint32_t work_count;
    uint32_t reading_count; /* of them, replays and histories */
    uint32_t reading_names; /* that the replays read: each is held in memory */
    bool is_changing;       /* the first of changes is with the engine */
    bool is_busy;           /* it is not read: too much is on its way */
    bool is_listed;         /* in the reactor's sessions */
    bool is_expiry_told;    /* its token expires soon, and it knows */
    bool is_open;           /* hello has been written, and the connection lives */
    bool has_ended;
    void (*on_free)(struct v1_session *s); /* the last call: nothing of the session is in use any more */
};

/* Prepare; nothing is written. on_free: frees what embeds the session. Returns 0 or -ENOMEM. */
int v1_session_init(struct v1_session *s, struct reactor *r, struct conn *c, const struct v1_carrier *carrier, void (*on_free)(struct v1_session *s));

/* The carrier's head (101, 200) has been written, and the subscriptions of the URL are in force: begin them where the wish says, and write hello. Returns 0 or
 * -ENOMEM: then nothing has been written, and the carrier refuses. */
int v1_session_open(struct v1_session *s, const struct wish *wish, struct opening_seqs seqs);

/* A WebSocket's text message, or any command that is answered on the connection itself. Text that is not JSON closes with 1007. */
void v1_session_command(struct v1_session *s, struct slice text);

/* A command whose answer goes elsewhere (POST /command). on_answer is called once, during the call or later, on the session's thread, with the answer's object; len 0:
 * the session ended before there was one. Text that is not JSON is answered with an error, and nothing is closed. */
struct v1_answer {
    void (*on_answer)(struct v1_answer *a, struct slice json);
};
void v1_session_command_for(struct v1_session *s, struct slice text, struct v1_answer *a);

/* Who it is, before it opens: NULL is nobody in particular. Takes a reference of its own. */
void v1_session_identify(struct v1_session *s, struct token *token);

/* It has a new token, of which a reference is taken; subscriptions that it no longer covers end, each with an error that names its topic. */
void v1_session_set_token(struct v1_session *s, struct token *token);

/* A backend ends the session, or subscriptions of it, each with an error that names its topic. Returns whether there was anything to end. */
bool v1_session_kick(struct v1_session *s, const struct kick *k);

/* Subscriptions that its rights no longer cover end, each with an error that names its topic, and so do their replays, and reading their history. */
void v1_session_check_rights(struct v1_session *s);

/* The rules are others now: v1_session_check_rights(), and presence as they have it. */
void v1_session_recheck(struct v1_session *s);

/* When it is to be told that its token expires, and then when it has: wall clock, milliseconds; 0: never. v1_session_deadline() is to be called then. */
uint64_t v1_session_next_deadline(const struct v1_session *s);
void v1_session_deadline(struct v1_session *s);

void v1_session_drained(struct v1_session *s); /* what waited has been written */
void v1_session_tick(struct v1_session *s);    /* a ping interval has passed: {"cursor":…} if it is level and nothing waits */
void v1_session_cut(struct v1_session *s);     /* conn_ops.on_cut */
void v1_session_stop(struct v1_session *s);    /* the server stops: {"reconnect":{…}} */
void v1_session_mute(struct v1_session *s);    /* the carrier is closing: nothing more is written */

/* The connection has ended, or the carrier gives up before v1_session_open(). on_free comes when the last thing on its way is done: during the call or later. */
void v1_session_end(struct v1_session *s);

/* For reactor->sessions. */
bool v1_session_equals(const struct map_node *node, const void *key, size_t key_len);

/* The session of a client id on this reactor, or NULL. */
struct v1_session *v1_session_find(struct reactor *r, const struct client *id);

/* {"error":{"code":…,"message":…}} for doors that answer in this form. id: "" or a JSON number. */
void v1_write_error(struct buf *out, struct slice id, const char *code, const char *message);

#endif
