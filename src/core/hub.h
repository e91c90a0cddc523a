/* The hub: the one place that orders messages, keeps histories, and knows which reactor wants which topic.
 *
 * Everything here is under one short lock; no call holds it for more than about 1,000 steps. Any thread may call anything. The hub
 * reaches up only through wake(), which it calls after it has let go of the lock. */
#ifndef HALLEY_CORE_HUB_H
#define HALLEY_CORE_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"
#include "core/cursor.h"
#include "core/message.h"
#include "core/rules.h"

#define HUB_MAX_REACTORS 64

struct hub;

struct hub_limits {
    uint64_t topics;
    uint64_t patterns;
    uint64_t history_bytes;
    uint64_t inbox_bytes; /* of one reactor */
    uint64_t keys;
    uint64_t key_window_ms;
};

/* Takes a reference on rules. reactors: 1 to HUB_MAX_REACTORS. epoch: EPOCH_LEN characters. NULL when out of memory. */
struct hub *hub_new(const struct hub_limits *limits, struct rules *rules, unsigned reactors, const char *epoch);
void hub_free(struct hub *hub); /* after all subscriptions have ended; NULL is accepted */

/* How a reactor is told that its inbox is no longer empty, or that publishers may be read again. From any thread. */
void hub_set_wake(struct hub *hub, unsigned reactor, void (*wake)(void *ctx), void *ctx);

const char *hub_epoch(const struct hub *hub);
uint64_t hub_head(struct hub *hub); /* the newest seq */

/* The rules in force; a reference. */
struct rules *hub_rules(struct hub *hub);

/* Other rules from now on; takes a reference. Histories that are to be shorter shrink as hub_expire() comes by, which begins anew. Returns 0, -ENOMEM, or -EBUSY
 * while hub_rules_step() has work left: then nothing has changed. */
int hub_set_rules(struct hub *hub, struct rules *rules);
/* What is left to do after that: one slice. Returns false when all is done. */
bool hub_rules_step(struct hub *hub);

/* Other limits from now on. What is over limits.history goes before it returns; topics, patterns and keys over theirs stay, and none is added. */
void hub_set_limits(struct hub *hub, const struct hub_limits *limits);

/* ---- publishing */

struct hub_receipt {
    uint64_t seq;
    uint64_t subscribers; /* matching subscriptions in this process: a topic and a pattern of one client are two */
    bool repeated;        /* the key was known: this is the first publish's receipt */
};

/* Give the message its seq, keep it, and put it into the inbox of each reactor that wants it. Borrows m; m->time_ms and m->born_ms are
 * set. `from` is the calling reactor: it is not woken, it drains its inbox before it sleeps. key (len 0: none) makes the publish happen once per
 * topic, key and window. Returns 0, -EDQUOT at limits.topics, or -ENOMEM; then nothing has happened. */
int hub_publish(struct hub *hub, struct message *m, struct slice key, unsigned from, struct hub_receipt *ret);

/* A message that another process has ordered (m->seq, above the head) and this hub follows: keep it and hand it on, without a key. Borrows m. Returns 0, -EDQUOT
 * or -ENOMEM; then it counts as lost, and the head has moved all the same. */
int hub_follow(struct hub *hub, struct message *m, unsigned from);

/* From now on this reactor's inbox gets every message, wanted or not; and the reverse. */
void hub_set_all(struct hub *hub, unsigned reactor, bool all);

/* Is any inbox over its limit? Then publishing connections are not read until the reactors are woken. */
bool hub_is_congested(const struct hub *hub);

/* Take a batch out of a reactor's inbox: references, in seq order. Its own thread. Returns how many. */
size_t hub_take(struct hub *hub, unsigned reactor, struct message **out, size_t max);
/* Everything up to this seq has been taken out of the reactor's inbox, or was never put into it. */
uint64_t hub_taken_seq(struct hub *hub, unsigned reactor);
bool hub_has_mail(struct hub *hub, unsigned reactor);

/* ---- subscribing */

/* Register one subscription of a reactor to a topic or pattern (checked names). is_pattern: it is to match as a pattern, even if it has no
 * wildcard (Redis' PSUBSCRIBE news). is_first: it is the reactor's first to this name and kind.
 * *ret_seq is the point S: every message of that name with a seq above it reaches the reactor's inbox. Returns 0, -EDQUOT at limits.topics or
 * limits.patterns, or -ENOMEM. */
int hub_subscribe(struct hub *hub, struct slice name, bool is_pattern, unsigned reactor, bool is_first, uint64_t *ret_seq);

/* The reverse; is_last: the reactor has no other to this name and kind. */
void hub_unsubscribe(struct hub *hub, struct slice name, bool is_pattern, unsigned reactor, bool is_last);

/* The same; *ret_occupied: it is the first to that name and kind of all reactors, *ret_vacated: it was the last. */
int hub_subscribe_told(struct hub *hub, struct slice name, bool is_pattern, unsigned reactor, bool is_first, uint64_t *ret_seq, bool *ret_occupied);
void hub_unsubscribe_told(struct hub *hub, struct slice name, bool is_pattern, unsigned reactor, bool is_last, bool *ret_vacated);

/* ---- history and cursors */

struct hub_name { /* one subscription of whoever reads */
    struct slice name;
    bool is_pattern;
    uint64_t from_seq; /* what was published up to here is not asked for by this name */
};

struct hub_reader { /* a place in the order: "I have everything of these names up to pos" */
    uint64_t pos;
    uint64_t losses_seen; /* the hub's loss count when this reader last looked; 0: never */
    uint64_t forgiven;    /* what was lost up to this seq before the first look is not missed; hub_read() sets it to 0 */
};

#define HUB_READ_MAX 64
#define HUB_READ_BYTES 65536 /* of payload; one message may be more */

enum hub_gap {
    HUB_GAP_NONE,
    HUB_GAP_CONFLATED, /* all that is missing is of topics whose rule says on_slow = conflate */
    HUB_GAP_EVICTED,
};

struct hub_read {
    struct message *messages[HUB_READ_MAX]; /* references, in seq order */
    size_t count;
    size_t bytes;  /* of payload */
    uint64_t newest;   /* bit i: nothing newer is kept of message i's topic */
    enum hub_gap gap;  /* before these messages some are missing, that were after the reader's pos */
    bool is_level; /* nothing more is kept: the reader has everything up to its pos, the hub's head of this moment */
};

/* Read on: the next messages of any of the names with a seq above r->pos, each once, in order; r->pos moves to what has been passed over.
 * One bounded slice of work: it may return none without being level. A gap is told when a matching topic has lost a message
 * above r->pos. For patterns, which would have to look at many topics, it may also be told when it is only likely: topics of a rule that the
 * pattern touches have died, or more than a slice's number of them have lost messages since. */
void hub_read(struct hub *hub, const struct hub_name *names, size_t count, struct hub_reader *r, struct hub_read *ret);

/* Where to begin so as to read the newest `last` messages of the names, at most: one bounded slice. *pos (begin with UINT64_MAX, or one above the seq to look back from) moves back, *found counts
 * up from 0. Returns true when *pos is where to begin. */
bool hub_seek_last(struct hub *hub, const struct hub_name *names, size_t count, uint64_t last, uint64_t *pos, uint64_t *found);

/* The same, counting bytes of payload and topic: where to begin so as to read the newest `bytes` of them, at most. */
bool hub_seek_bytes(struct hub *hub, const struct hub_name *names, size_t count, uint64_t bytes, uint64_t *pos, uint64_t *found);

/* Let go of what is older than its rule allows: one slice of topics per call. now_ms on the monotonic clock. Returns false when
 * the walk over all topics is complete, and the next call begins anew. */
bool hub_expire(struct hub *hub, uint64_t now_ms);

/* ---- looking */

struct hub_topic_info {
    char name[256];
    size_t name_len;
    uint64_t subscribers; /* exact subscriptions */
    uint32_t history;     /* messages kept */
    uint64_t seq;         /* of the newest message kept, or the mark */
};

/* Walk the living topics in slices: start with *cursor = 0; visit is called with the hub locked and must not call it. Returns false when
 * all have been seen. A topic may be seen twice when topics come and go meanwhile. */
bool hub_scan_topics(struct hub *hub, uint64_t *cursor, void (*visit)(const struct hub_topic_info *info, void *ctx),
                     void *ctx);

uint64_t hub_topic_subscribers(struct hub *hub, const char *topic, size_t len); /* exact subscriptions only (PUBSUB NUMSUB) */
uint64_t hub_topic_history(struct hub *hub, const char *topic, size_t len);     /* messages kept (XLEN) */
uint64_t hub_pattern_count(struct hub *hub);                                   /* distinct patterns (PUBSUB NUMPAT) */

struct hub_stats {
    uint64_t topics;
    uint64_t patterns;
    uint64_t subscriptions;
    uint64_t published;
    uint64_t repeated;      /* publishes with a known key */
    uint64_t history_messages;
    uint64_t history_bytes;
    uint64_t evicted;       /* messages that left because of limits.history */
    uint64_t expired;       /* messages that left because of their age */
    uint64_t keys;
    uint64_t keys_evicted; /* forgotten before their time because of limits.keys */
    uint64_t refused_topics; /* publishes and subscribes refused at limits.topics or limits.patterns */
};
void hub_get_stats(struct hub *hub, struct hub_stats *ret);

/* How long the lock was held at most, and how often longer than a millisecond, in a build with HALLEY_LOCK_STATS; 0 in others. */
void hub_get_holds(struct hub *hub, uint64_t *ret_longest_ns, uint64_t *ret_over_ms);

#endif
