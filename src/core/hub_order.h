/* Publishing in two steps, for an engine that writes down what it publishes before anybody sees it.
 *
 * Admission checks all that can go wrong (limits, memory, a key that was used before) and gives the seq; the engine writes; then the commit, which cannot fail,
 * makes the message visible. In between nobody sees anything of it. One thread alone orders, and nobody else calls
 * hub_publish(): then the seqs that are given are those that come. */
#ifndef HALLEY_CORE_HUB_ORDER_H
#define HALLEY_CORE_HUB_ORDER_H

#include "core/hub.h"

#define HUB_ORDER_MAX 1024 /* publishes in one batch */

struct topic;

struct hub_order { /* one publish; message and key are borrowed until its end */
    struct message *message;
    struct slice key;
    /* set by the admission: */
    int result;                 /* 0, -EDQUOT at limits.topics, -ENOMEM */
    struct hub_receipt receipt; /* repeated: there is nothing to write; is_in_flight: the first is of this batch */
    bool is_in_flight;
    bool is_kept; /* the topic's history will have it */
    bool is_lost; /* the rule would keep it, but it is too big: a journal notes that it is missing */
    struct topic *topic; /* the hub's */
};

/* Admit a batch of at most HUB_ORDER_MAX, in order; nothing of the last batch is in flight any more. The messages get their time and their seqs. */
void hub_admit(struct hub *hub, struct hub_order *const *orders, size_t count);

/* Make visible what was admitted, in order. */
void hub_commit(struct hub *hub, struct hub_order *const *orders, size_t count);

/* Take the admissions of a whole batch back: nothing has happened. */
void hub_retract(struct hub *hub, struct hub_order *const *orders, size_t count);

/* Publishing connections are not read from now on, because of something else than an inbox; and the reverse, which wakes the reactors. */
void hub_hold_publishers(struct hub *hub);
void hub_release_publishers(struct hub *hub);

#endif
