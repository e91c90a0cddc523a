/* What the files of halley.v1 share: answers, and what is on its way for a session.
 *
 * v1_session.c: the life of a session, its live flow, answers. v1_commands.c: from the text of a command to what it does. v1_subscribe.c: subscribing,
 * unsubscribing, replays. v1_history.c: reading history. */
#ifndef HALLEY_TRANSPORT_V1_INTERNAL_H
#define HALLEY_TRANSPORT_V1_INTERNAL_H

#include <jansson.h>

#include "core/reading.h"
#include "proto/ws_frame.h"
#include "transport/publish.h"
#include "transport/v1_session.h"

#define V1_ID_MAX 32         /* bytes of an id's text: every 64-bit integer and every double */
#define V1_MAX_READINGS 64   /* replays and histories that one session may have running */
#define V1_MAX_WORKS 1024    /* on their way for one session; over it its WebSocket is not read */
#define V1_MAX_REFUSED_TOKENS 10 /* in a row; then the connection ends */
#define V1_BURST_BYTES 65536 /* written in one turn, after which no more history is read until they have been sent */

/* ---- answers (v1_session.c) */

struct v1_reply { /* to which command, and where its answer goes */
    struct v1_session *session;
    struct v1_answer *answer; /* NULL: on the connection itself, or it has been answered */
    bool is_elsewhere;        /* it came with POST /command */
    uint8_t id_len;
    char id[V1_ID_MAX];
};

static inline struct slice v1_reply_id(const struct v1_reply *r)
{
    return (struct slice){ r->id, r->id_len };
}

/* {"id":1,"ok": -- the caller adds the value, and v1_reply_send() the brace. */
void v1_reply_begin(const struct v1_reply *r, struct buf *out);
void v1_reply_send(struct v1_reply *r, struct buf *out);
void v1_reply_empty(struct v1_reply *r); /* {"id":1,"ok":{}} */
void v1_reply_error(struct v1_reply *r, const char *code, const char *fmt, ...) HLY_PRINTF(3, 4);
void v1_reply_no_memory(struct v1_reply *r);
void v1_reply_refusal(struct v1_reply *r, const struct publish_refusal *why);
void v1_reply_cancel(struct v1_reply *r); /* there will be no answer */

/* Write an object on the connection, unless it is closing. cursor as in v1_carrier. */
void v1_write(struct v1_session *s, const struct buf *json, const char *cursor);
void v1_close(struct v1_session *s, enum ws_close_code code, const char *reason);
void v1_close_no_memory(struct v1_session *s);

void v1_put_cursor(struct buf *out, const struct v1_session *s, uint64_t seq); /* quoted */

/* The live flow's cursor, for an object that tells it: everything up to it has been written, and is with the kernel. UINT64_MAX: it is behind, or something
 * still waits, which could be taken back (slow_cut()) after the client had read the cursor. */
uint64_t v1_live_seq(const struct v1_session *s);

/* Is history not to be read for it now? What has been written in this turn, a hello or an answer, has not been offered to the kernel yet: it does not make
 * anyone slow. */
static inline bool v1_is_full(const struct v1_session *s)
{
    const struct conn *c = s->conn;
    return !s->is_open || (c->outq != NULL && (!c->is_dirty || conn_waiting(c) >= V1_BURST_BYTES));
}

/* ---- what is on its way (v1_session.c) */

struct v1_work {      /* the first member of what embeds it */
    struct list node; /* in session->works */
    struct v1_session *session;
    struct v1_reply reply;
    /* The session ends: v1_reply_cancel(), and v1_work_end(), now or when the engine has answered. */
    void (*on_cancel)(struct v1_work *w);
    void (*on_drained)(struct v1_work *w); /* what waited has been written; NULL: does not matter */
    void (*on_rights)(struct v1_work *w);  /* the session may do less than before, perhaps; NULL: does not matter */
    void (*on_level)(struct v1_work *w);   /* the live flow is no longer behind; NULL: does not matter */
};

/* w is all zero but for its callbacks. reply is copied. */
void v1_work_begin(struct v1_work *w, const struct v1_reply *reply);
void v1_work_end(struct v1_work *w); /* frees it; the session may go with it */

/* ---- commands */

struct v1_range { /* after and last, as the client gave them */
    bool has_after;
    struct cursor after;
    uint64_t last; /* READING_LAST_NONE: not given */
};

static inline bool v1_range_is_given(const struct v1_range *r)
{
    return r->has_after || r->last != READING_LAST_NONE;
}

static inline struct reading_from v1_range_from(const struct v1_range *r, const struct hub *hub, uint64_t until)
{
    return reading_from(hub, r->has_after ? &r->after : NULL, r->last, until);
}

/* v1_commands.c. Counts and runs one command; answer NULL: on the connection. */
void v1_command_run(struct v1_session *s, struct slice text, struct v1_answer *answer);

/* v1_subscribe.c. names: a string or an array of them, all checked; borrowed. */
void v1_subscribe(const struct v1_reply *reply, const json_t *names, const struct v1_range *range);
void v1_unsubscribe(const struct v1_reply *reply, const json_t *names);

/* May the session subscribe to it, or read its history? */
bool v1_may_subscribe(const struct v1_session *s, struct slice name);

/* How many names there are, and the i-th. */
size_t v1_name_count(const json_t *names);
struct slice v1_name_at(const json_t *names, size_t i);

/* v1_history.c. topic: checked; borrowed. */
void v1_history(const struct v1_reply *reply, struct slice topic, const struct v1_range *range, uint64_t limit);

#endif
