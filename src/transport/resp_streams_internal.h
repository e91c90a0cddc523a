/* What resp_streams.c (reading and waiting) and resp_stream_commands.c (what is asked for) share. */
#ifndef HALLEY_TRANSPORT_RESP_STREAMS_INTERNAL_H
#define HALLEY_TRANSPORT_RESP_STREAMS_INTERNAL_H

#include "base/slice.h"
#include "core/reading.h"
#include "transport/resp_internal.h"

/* QUEUED: replies before it are missing. READING history. SUBSCRIBING to what it waits for; then READING on up to where the subscriptions begin.
 * WAITING for a message or the timeout. ANSWERED: gone in a moment. */
#define READ_STATES(X) X(QUEUED) X(READING) X(SUBSCRIBING) X(WAITING) X(ANSWERED)
#define READ_AS_ENUM(name) READ_##name,
enum read_state { READ_STATES(READ_AS_ENUM) };
#undef READ_AS_ENUM

struct stream { /* one topic or pattern of a command, and what has been found of it */
    struct streams_read *all;
    struct slice given;  /* as the client names it */
    struct slice name;   /* what that means here */
    bool is_pattern;
    bool is_from_now;    /* it begins at `$` */
    bool is_all;         /* it begins before everything: nothing can be missed */
    bool is_open;        /* it ends at the newest message of when it is read */
    bool is_cut;         /* there is more than the answer may have */
    bool has_gap;        /* to be told before the next entry */
    enum gap_reason gap;
    struct reading_from from;
    uint64_t pos;        /* read up to here */
    struct buf entries;
    size_t count;        /* of entries */
    struct buf starts;   /* XREVRANGE: size_t of each entry's offset in entries */
    struct subscriber sub; /* while it waits */
    struct engine_subscribe subscribe;
    struct buf late;     /* entries that were delivered: they come after what was read */
    bool late_is_cut;    /* a message was delivered and not kept: none after it may be either */
};

struct streams_read { /* one command being worked on */
    struct resp_client *client; /* NULL: it has gone, while subscriptions were on their way */
    struct reactor *reactor;
    struct resp_slot *slot;
    enum read_state state;
    bool is_range;      /* XRANGE, XREVRANGE: one stream, and all of what is asked for */
    bool is_reverse;
    bool may_block;
    bool is_subscribed;
    bool is_too_big;    /* is_range: the answer is longer than may be */
    uint64_t wait_until_ms; /* of the loop's clock; 0: for ever */
    uint64_t max_count; /* entries of a stream: when it has them, it is read no further */
    uint64_t newest;    /* is_reverse: as many of the last ones are wanted */
    size_t max_bytes;   /* of the entries of a stream */
    int result;         /* of subscribing */
    size_t pending;     /* subscriptions on their way, and one for whoever starts them */
    struct reading reading; /* of streams[at] */
    size_t at;
    size_t count;
    struct stream streams[];
    /* behind them: the text of their names */
};

/* With a zeroed stream for each name. Free it or start it. NULL: it has been answered. */
struct streams_read *resp_streams_new(struct resp_call *call, const struct slice *names, size_t count, char **ret_text);
void resp_streams_free(struct streams_read *j); /* one that was never started */

/* Everything has been understood: begin, now or after the replies before it. Takes j. */
void resp_streams_start(struct resp_call *call, struct streams_read *j);

#endif
