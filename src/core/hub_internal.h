/* What the files of the hub share. All of it is under hub->lock unless said otherwise. */
#ifndef HALLEY_CORE_HUB_INTERNAL_H
#define HALLEY_CORE_HUB_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "base/list.h"
#include "core/history.h"
#include "core/hub.h"
#include "core/idempotency.h"
#include "core/inbox.h"
#include "core/pattern_index.h"
#include "core/seqlog.h"

/* A living topic: it has a subscriber, or history. */
struct topic {
    struct map_node node;
    struct history history;
    uint32_t rule;          /* index into hub->rules' list, and into hub->losses; good while rules_gen is the hub's */
    uint32_t rules_gen;
    uint64_t lost_no;       /* hub->loss_count when it last lost a message; 0: never */
    uint64_t lost_at;       /* hub->head at that time: no mark was above it */
    struct list lost;       /* in hub->losses[rule].topics, the latest loss first; or in a list of old_losses */
    uint32_t max_history;   /* from the rule */
    uint64_t ttl_ms;
    uint32_t pending;       /* messages that are admitted and not yet committed (hub_order.h) */
    uint64_t subscribers;   /* exact subscriptions, of all reactors */
    uint64_t reactors;      /* bit n: reactor n has one */
    struct hub_pattern **patterns; /* those that match; good while patterns_gen is the hub's */
    uint32_t pattern_count;
    uint64_t patterns_gen;
    uint8_t name_len;
    char name[];
};

struct hub_pattern {
    uint64_t subscribers;
    uint64_t reactors;
};

struct hub_reactor {
    struct inbox inbox; /* has a lock of its own */
    void (*wake)(void *ctx);
    void *ctx;
};

/* What the topics of one rule have lost. A cursor older than a loss cannot be served without a gap. */
struct rule_losses {
    uint64_t horizon;     /* highest mark that a dead topic left behind */
    uint64_t horizon_no;  /* lost_no of the topic that was the last to lose a message and is dead */
    uint64_t highest;     /* mark of any topic of the rule, alive or dead */
    struct list topics;   /* living topics that have lost messages, the latest loss first */
};

struct hub {
    pthread_mutex_t lock;
    char epoch[EPOCH_LEN + 1];
    uint64_t head;
    struct rules *rules;
    struct rule_losses *losses; /* per rule, and one more for topics without one */
    struct rule_losses *old_losses; /* of the rules before, whose topics have not all moved yet; NULL: they have (hub_rules.c) */
    size_t old_count;
    uint32_t rules_gen;         /* changes with the rules */
    uint64_t loss_count;        /* times that a topic lost a message */
    struct map topics;
    struct pattern_index *patterns;
    uint64_t patterns_gen; /* changes when a pattern comes or goes */
    struct seqlog kept; /* all kept messages, in seq order */
    struct key_table keys;
    struct hub_limits limits;
    struct hub_stats stats;
    uint64_t locked_at_ns;      /* of HALLEY_LOCK_STATS */
    uint64_t longest_hold_ns;
    uint64_t holds_over_ms;
    uint64_t expire_cursor;
    uint64_t all; /* bit n: reactor n gets every message */
    _Atomic unsigned inboxes_over; /* no lock */
    unsigned reactor_count;
    struct hub_reactor reactors[];
};

#ifdef HALLEY_LOCK_STATS /* a build for measuring: `make bench` */
#include <time.h>

static inline uint64_t hub_lock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
#define HUB_LOCK_TOOK(hub) ((hub)->locked_at_ns = hub_lock_ns())
#define HUB_LOCK_HELD(hub) hub_note_hold(hub, hub_lock_ns() - (hub)->locked_at_ns)
#else
#define HUB_LOCK_TOOK(hub) ((void)0)
#define HUB_LOCK_HELD(hub) ((void)0)
#endif

static inline void hub_note_hold(struct hub *hub, uint64_t ns)
{
    if (ns > hub->longest_hold_ns)
        hub->longest_hold_ns = ns;
    hub->holds_over_ms += ns > 1000000;
}

static inline void hub_lock(struct hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    HUB_LOCK_TOOK(hub);
}

static inline void hub_unlock(struct hub *hub)
{
    HUB_LOCK_HELD(hub);
    pthread_mutex_unlock(&hub->lock);
}

/* ---- hub.c */

struct hub_takers { /* of one message */
    uint64_t reactors;
    uint64_t subscribers;
};

/* Who wants this message: the reactors, and the number of subscriptions. t may be NULL: nobody has named the topic. */
void hub_find_takers(struct hub *hub, struct topic *t, const struct message *m, struct hub_takers *ret);
/* Into the inboxes of these reactors, where there is room. Returns the reactors to wake. */
uint64_t hub_push(struct hub *hub, struct message *m, uint64_t reactors);
/* Without the lock. */
void hub_wake(struct hub *hub, uint64_t reactors);

/* ---- hub_topic.c: the life of a topic */

struct topic *hub_topic_find(struct hub *hub, const char *name, size_t len, uint64_t hash);
/* Find or make. NULL and *ret_error -EDQUOT or -ENOMEM. */
struct topic *hub_topic_get(struct hub *hub, const char *name, size_t len, uint64_t hash, int *ret_error);
/* End the topic if nothing keeps it alive. */
void hub_topic_release(struct hub *hub, struct topic *t);
void hub_topic_free(struct topic *t);
/* Make t->patterns current. Returns 0 or -ENOMEM. */
int hub_topic_match(struct hub *hub, struct topic *t);

/* Keep a published message in its topic's history, or move the mark if the rule keeps none. */
void hub_keep(struct hub *hub, struct topic *t, struct message *m);
/* It cannot be kept, so nothing before it can: a hole in the middle of a history would be silent loss. */
void hub_keep_none(struct hub *hub, struct topic *t, const struct message *m);
/* Over limits.history the oldest messages of all topics go, one slice of them per call. Returns whether it is still over. */
bool hub_evict(struct hub *hub);
/* Lose a message of a topic that is not alive, and that its rule does not bring to life. */
void hub_lose(struct hub *hub, const struct rule *rule, uint64_t seq);
/* The topic's mark has moved: note when. */
void hub_note_loss(struct hub *hub, struct topic *t);
uint32_t hub_rule_index(struct hub *hub, const struct rule *rule);

/* ---- hub_rules.c: rules that change */

void hub_topic_take_rule(struct hub *hub, struct topic *t);

/* Whoever comes by a topic otherwise than by hub_topic_find() sees to it that it has its rule of today. */
static inline void hub_topic_renew(struct hub *hub, struct topic *t)
{
    if (t->rules_gen != hub->rules_gen)
        hub_topic_take_rule(hub, t);
}

#endif
