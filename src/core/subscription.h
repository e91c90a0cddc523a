/* Who gets what, on one reactor: subscribers, their subscriptions, and the feeds that join them.
 *
 * A feed is one topic or pattern with the dense list of its subscriptions on this reactor; the fan-out walks these lists. All of it
 * belongs to the reactor's thread and needs no lock; only the first and the last subscription of a name, and their numbers, are
 * told to the hub. */
#ifndef HALLEY_CORE_SUBSCRIPTION_H
#define HALLEY_CORE_SUBSCRIPTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/hash.h"
#include "base/list.h"
#include "core/hub.h"

struct client;
struct subscriber;
struct subscription;
struct feed;

/* The wire forms of a message: each is encoded at most once per reactor, and shared by all subscribers who speak it. */
enum wire_form {
    WIRE_WS_PLAIN, /* the payload in a WebSocket frame */
    WIRE_WS_V1,    /* the halley.v1 object in a text frame */
    WIRE_SSE,      /* an event whose data is the payload */
    WIRE_SSE_JSON, /* an event whose data is the halley.v1 object, of messages alone */
    WIRE_SSE_V1,   /* the same for those who speak halley.v1: joins and leaves as well */
    WIRE_NDJSON,   /* the halley.v1 object and a line end */
    WIRE_POLL,     /* the same as a line, of messages alone */
    WIRE_IFRAME,   /* a script block that calls back with the halley.v1 object */
    WIRE_RESP2,
    WIRE_RESP3,
    WIRE_RESP2_STAR,
    WIRE_RESP3_STAR,
    WIRE_RESP_ENTRY,       /* a stream's entry: cursor, [data, payload] */
    WIRE_RESP_ENTRY_TOPIC, /* the same with its topic, for patterns */
    /* Packed forms: one of those above, compressed. Those of a WebSocket by the bits of the window, 9 to 15. */
    WIRE_WS_PLAIN_DEFLATED,
    WIRE_WS_V1_DEFLATED = WIRE_WS_PLAIN_DEFLATED + 7,
    WIRE_SSE_GZIP = WIRE_WS_V1_DEFLATED + 7,
    WIRE_SSE_JSON_GZIP,
    WIRE_SSE_V1_GZIP,
    WIRE_NDJSON_GZIP,
    WIRE_IFRAME_GZIP,
    WIRE_FORMS
};

/* Why messages are missing. Its name (gap_reason_name()) is what the client is told. */
#define GAP_REASONS(X) \
    X(EVICTED, "evicted")         /* history does not reach back so far any more */ \
    X(UNKNOWN, "unknown_cursor")  /* of another epoch, or beyond the head: nothing is known of what it has */ \
    X(DROPPED, "dropped")         /* too slow for a rule with on_slow = drop_oldest */ \
    X(CONFLATED, "conflated")     /* on_slow = conflate: newer messages of the same topics follow */ \
    X(MEMORY, "out_of_memory")
#define GAP_AS_ENUM(name, text) GAP_##name,
enum gap_reason { GAP_REASONS(GAP_AS_ENUM) GAP_REASON_COUNT };
#undef GAP_AS_ENUM
const char *gap_reason_name(enum gap_reason reason);

#define DELIVERY_EVENTS 0x80 /* in delivery.marks: a rule with events = true */

struct delivery { /* messages for one subscriber, in seq order; all borrowed */
    const struct chunk_slice *slices;
    uint32_t count; /* of slices; 0: memory ran out, the messages are lost to it unless it falls behind */
    uint32_t bytes;
    uint64_t first_seq;
    uint64_t last_seq;
    uint8_t marks; /* bit n: a message whose rule says enum rule_on_slow n; and DELIVERY_EVENTS */
};

struct wire_encoder { /* filled in by transport/ */
    /* An upper bound of what encode() writes, in bytes. */
    uint32_t (*bound)(struct message *m, const struct feed *f);
    /* Write the wire form; returns its bytes. epoch is the hub's. f is NULL for forms that are not per_feed, when they are read from
     * history. Pure: no allocation, no failure. */
    uint32_t (*encode)(struct message *m, const struct feed *f, const char *epoch, uint8_t *out);
    /* The form names the subscription (Redis' pmessage names the pattern), so a pattern's feed has its own encoding, and a message that
     * matches two subscriptions of one subscriber comes twice. */
    bool per_feed;
    bool carries_presence; /* joins and leaves are told in this form; in others there is no word for them */
    /* A packed form: live messages are encoded in the form `packs`, and that is packed, once for all who take it so. What is read from history is for one
     * subscriber alone, and is written by encode(), in a way that this form's readers read as well. */
    bool is_packed;
    uint8_t packs; /* enum wire_form */
};

struct wire_packing { /* filled in by transport/, for packed forms; all zero where there are none */
    /* The packed form whose bytes serve for this one as well, for an encoding of that length. */
    enum wire_form (*as)(enum wire_form form, uint32_t len);
    /* An upper bound of what pack() writes, in bytes. */
    uint32_t (*bound)(enum wire_form form, uint32_t len);
    /* Pack one encoding, and return its bytes; 0: it goes as it is. */
    uint32_t (*pack)(void *ctx, enum wire_form form, const uint8_t *plain, uint32_t len, uint8_t *out);
    void *ctx;
};

/* Filled in by each transport; core calls nothing else above it. deliver() is called from the fan-out's walk: it may mark its connection
 * closed, it must not subscribe or unsubscribe. Whoever keeps a slice refs its chunk. */
struct subscriber_ops {
    /* A subscriber that does not take it any more falls behind from just before d->first_seq (catchup_start()). */
    void (*deliver)(struct subscriber *s, const struct delivery *d);
    /* The rest is for subscribers that catch up (core/catchup.h); may be NULL for those who never do. */
    void (*replay)(struct subscriber *s, const struct delivery *d); /* messages read from history; count is never 0 */
    bool (*is_full)(struct subscriber *s); /* stop reading for it, until catchup_wake() */
    /* Messages after this seq are missing; what comes next comes after them. False: it ends, read no more for it. */
    bool (*on_gap)(struct subscriber *s, uint64_t after_seq, enum gap_reason reason);
    void (*on_level)(struct subscriber *s, uint64_t seq); /* it has everything up to seq, and is live from there */
    /* Who it is, for sub_table.on_subscription; NULL: nobody whose coming and going is told. */
    struct client *(*client)(struct subscriber *s);
};

enum subscription_change {
    SUBSCRIPTION_BEGINS = 1,
    SUBSCRIPTION_ENDS = 2,
    SUBSCRIPTION_EDGE = 4, /* it is the first, or was the last, of all reactors to that name and kind */
};

struct subscription { /* 64 bytes: one cache line for the walk */
    struct subscriber *subscriber;
    struct feed *feed;
    uint64_t from_seq; /* S: messages with a seq up to here were there before */
    uint32_t index;    /* in feed->subs */
    bool is_inline;    /* it is its subscriber's `first` */
    bool is_indexed;   /* it is in table->pairs */
    struct list node;  /* in subscriber->subscriptions */
    struct map_node pair;
};

struct subscriber { /* embedded in a connection's state; subscriber_init() */
    const struct subscriber_ops *ops;
    struct sub_table *table;
    struct list subscriptions;
    uint32_t count;
    uint8_t form;                /* enum wire_form */
    bool first_used;
    struct catchup *catchup;     /* it reads history and gets nothing live; NULL: it is live */
    uint64_t had_seq;            /* when it was last behind it read everything up to here: what the inbox still has of that is not for it */
    struct gather *gather;       /* what the batch being walked has for it, if it has several subscriptions */
    uint64_t name;               /* the public one of its connection: messages may leave it out (message.except); 0: none */
    struct subscription first;   /* most have one: it costs no allocation */
};

struct feed {
    struct map_node node; /* in table->topics; patterns are in table->patterns */
    struct subscription **subs;
    uint32_t count;
    uint32_t cap;
    struct touched *touched; /* what the batch being walked has for it */
    bool is_pattern;
    uint8_t name_len;
    char name[];
};

struct sub_table { /* one per reactor */
    struct hub *hub;
    unsigned reactor;
    struct map topics;              /* of struct feed */
    struct pattern_index *patterns; /* of struct feed */
    struct map pairs;               /* (subscriber, feed) -> subscription, for subscribers with many */
    struct wire_encoder encoders[WIRE_FORMS];
    struct wire_packing packing;
    /* A subscription has begun or ended: enum subscription_change. NULL: nobody wants to know. It must not subscribe or unsubscribe. Called with
     * change_lock, which all reactors share, held since before the hub knew of it: so what is told of a name is in the order in which it happened. */
    void (*on_subscription)(struct subscriber *s, struct slice name, bool is_pattern, unsigned change);
    pthread_mutex_t *change_lock; /* NULL where on_subscription is */
    struct list reading;            /* struct reading with work to do */
    struct list parked;             /* struct reading that can take no more for now */
    struct hub_name *names;         /* scratch of core/reading */
    size_t name_cap;
    struct chunk_pool *chunks;      /* the reactor's */
    uint64_t keep_bytes;            /* what a slow subscriber under on_slow = drop_oldest keeps */
    uint64_t subscriptions;
    uint64_t replayed;     /* messages read from history for subscribers who catch up */
    uint64_t skipped;      /* messages that on_slow = drop_oldest or conflate took from subscribers who were behind */
    uint64_t lost_batches; /* times that memory ran out in the fan-out */
};

/* Returns 0 or -ENOMEM. hub and chunks are borrowed and outlive the table. */
int sub_table_init(struct sub_table *t, struct hub *hub, unsigned reactor, const struct wire_encoder encoders[WIRE_FORMS],
                   struct chunk_pool *chunks);
void sub_table_done(struct sub_table *t); /* all subscribers are done by then */

void subscriber_init(struct subscriber *s, struct sub_table *t, const struct subscriber_ops *ops, enum wire_form form);
/* Ends all its subscriptions. Not from deliver(). */
void subscriber_done(struct subscriber *s);

/* Subscribe to a topic or pattern (checked name). is_pattern: it matches as a pattern, even without a wildcard; such a subscription and
 * one to the topic of that name are two. Twice to the same is once. *ret_seq: everything published after it is delivered. Returns 1
 * if it is new, 0 if it was there already, -EDQUOT at the hub's limits, or -ENOMEM. */
int subscribe(struct subscriber *s, struct slice name, bool is_pattern, uint64_t *ret_seq);
/* Returns whether there was one. */
bool unsubscribe(struct subscriber *s, struct slice name, bool is_pattern);

struct subscription *subscription_find(struct subscriber *s, struct slice name, bool is_pattern); /* or NULL */

static inline struct slice feed_name(const struct feed *f)
{
    return (struct slice){ f->name, f->name_len };
}

#endif
