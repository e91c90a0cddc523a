/* What resp_client.c (the connection) and resp_commands*.c (the commands) share. */
#ifndef HALLEY_TRANSPORT_RESP_INTERNAL_H
#define HALLEY_TRANSPORT_RESP_INTERNAL_H

#include "proto/resp.h"
#include "transport/publish.h"
#include "transport/resp_client.h"

struct resp_client {
    struct conn *conn;
    struct reactor *reactor;
    struct backend_access *access;
    struct resp_parser parser;
    struct buf in;  /* input that is not a whole command yet, or waits while the client is paused */
    struct buf out; /* replies of this turn */
    struct list slots; /* struct resp_slot: replies to come, in order */
    size_t slot_count;
    struct subscriber sub;
    struct paused paused;
    struct unread *unread; /* set: the commands in `in` go on in another turn */
    uint64_t id;
    uint64_t commands;
    char *name; /* CLIENT SETNAME, or NULL */
    struct streams_read *streams; /* XREAD, XRANGE or XREVRANGE being worked on, or NULL: the commands behind it wait */
    int proto;  /* 2 or 3 */
    bool star;  /* it subscribed to `*`, and is told `*` where its pattern is `**` */
    bool in_commands;    /* resp_process() is on the stack: replies are written when it ends */
    bool has_more;       /* `in` has whole commands, perhaps: they were stopped */
    bool is_behind;      /* the next command waits until all before it have their replies */
    bool closing;        /* QUIT: nothing more is read */
};

struct resp_slot {
    struct list node;           /* in client->slots */
    struct resp_client *client; /* NULL: it has gone, the answer goes nowhere */
    struct reactor *reactor;
    struct buf reply;           /* a reply that has to wait for those before it */
    bool ready;
    bool is_text;               /* the reply is in `reply`; else it is a publish's number, or */
    bool is_cursor;             /* its cursor */
    int result;
    uint64_t subscribers;       /* MPUBLISH: summed */
    uint64_t seq;
    uint32_t waiting;           /* publishes without an answer, and one for whoever starts them */
    struct engine_publish publish; /* of PUBLISH; MPUBLISH has an array of its own */
};

struct resp_call { /* one command being run */
    struct resp_client *client;
    struct buf *out;        /* where the reply goes */
    struct resp_slot *slot; /* whose reply `out` is; NULL: no earlier reply is missing, out is the client's */
    const struct slice *argv;
    size_t argc;
};

struct resp_command_info {
    const char *name; /* lower case */
    int arity;        /* as Redis counts: with the name; negative: at least that many */
    void (*run)(struct resp_call *call);
    bool in_subscribed_mode; /* allowed to a RESP2 client that has subscriptions */
    const char *summary;
    const char *group;
};

/* ---- resp_commands.c */
const struct resp_command_info *resp_command_find(struct slice name);
bool resp_command_may_overtake(struct slice name); /* publishes before it that have no answer yet */
void resp_command_run(struct resp_client *c, const struct resp_command *command);
extern const struct resp_command_info resp_commands[]; /* ends with a NULL name */

/* ---- resp_pubsub.c: PUBLISH and SUBSCRIBE with their family */
void resp_publish(struct resp_call *call);
void resp_mpublish(struct resp_call *call);
struct resp_publish_options { /* ptr NULL: not given */
    struct slice key;
    struct slice except; /* the connection that does not get it */
};
/* [KEY id] [EXCEPT connection], each once, in any order, from argv[from] on. False if it is anything else. */
bool resp_publish_options(struct resp_call *call, size_t from, struct resp_publish_options *ret);
/* PUBLISH or XADD. is_cursor: the reply is the message's cursor, not a number. */
void resp_publish_one(struct resp_call *call, struct slice topic, struct slice payload, const struct resp_publish_options *options, bool is_cursor);
void resp_subscribe(struct resp_call *call);
void resp_psubscribe(struct resp_call *call);
void resp_unsubscribe(struct resp_call *call);
void resp_punsubscribe(struct resp_call *call);
void resp_pubsub(struct resp_call *call);
extern const struct subscriber_ops resp_subscriber_ops;
void resp_unsubscribe_all(struct resp_client *c);
/* May it, and is it a topic or pattern at all? If not, that has been answered. */
bool resp_may_subscribe(struct resp_call *call, struct slice given, bool is_pattern);
struct slice resp_real_name(struct slice given, bool is_pattern); /* Redis' `*` means every topic; here that is `**` */

/* ---- resp_stream_commands.c: XADD, XREAD and their family */
void resp_xadd(struct resp_call *call);
void resp_xread(struct resp_call *call);
void resp_xrange(struct resp_call *call);
void resp_xrevrange(struct resp_call *call);
void resp_xlen(struct resp_call *call);

/* ---- resp_streams.c: reading takes time, client->streams is set while it does. These are called while it is */
void resp_streams_flushed(struct resp_client *c); /* replies have been written: is it its turn? */
void resp_streams_drained(struct resp_client *c); /* from conn_ops.on_drained */
void resp_streams_timer(struct resp_client *c);   /* from conn_ops.on_timer */
void resp_streams_held(struct resp_client *c);    /* more input waits behind it */
void resp_streams_end(struct resp_client *c);     /* the client goes */

/* ---- resp_presence.c, resp_kick.c: who is there, and who is to go */
void resp_presence(struct resp_call *call);
void resp_disconnect(struct resp_call *call);
void resp_revoke(struct resp_call *call);

/* ---- resp_client.c */
void resp_error(struct resp_call *call, const char *fmt, ...) HLY_PRINTF(2, 3); /* "ERR ..." ; counted */
void resp_flush_slots(struct resp_client *c);            /* moves ready replies to c->out */
struct resp_slot *resp_slot_take(struct resp_client *c); /* queued at the end; NULL when out of memory */
void resp_slot_ready(struct resp_slot *s);               /* filled: written when its turn comes */
/* The call is answered later, in this slot: the one that is already in the queue, or a new one at its end. NULL: no memory, which has been said. */
struct resp_slot *resp_slot_of(struct resp_call *call);
void resp_release(struct resp_client *c, struct resp_slot *s); /* client->streams is done, its slot filled: the commands behind it go on */
void resp_noperm(struct resp_call *call, const char *fmt, ...) HLY_PRINTF(2, 3); /* "NOPERM ..."; counted */
bool resp_authenticate(struct resp_call *call, struct slice user, struct slice key); /* a wrong key has been answered */
void resp_forget_key(struct resp_client *c);
void resp_set_form(struct resp_client *c);               /* after proto or star changed */
void resp_pause_if_congested(struct resp_client *c);

/* May it still have all that it is subscribed to, and what it waits for? */
bool resp_subscriptions_are_allowed(const struct resp_client *c);
bool resp_streams_are_allowed(const struct resp_client *c, const struct rule_client *who);

#endif
