/* A topic's history: a ring of its last messages, and the mark.
 *
 * The mark is the seq of the last message that is not here any more; a cursor below it cannot be served without a gap.
 * What falls out of the ring is handed to the caller, who keeps the budget over all topics. Under the hub's lock. */
#ifndef HALLEY_CORE_HISTORY_H
#define HALLEY_CORE_HISTORY_H

#include <stdint.h>

#include "core/message.h"

struct history {
    struct message **ring; /* references; NULL until the first message is kept */
    uint32_t first;        /* index of the oldest */
    uint32_t count;
    uint32_t cap;          /* slots; grows up to the rule's number */
    uint64_t mark;         /* seq of the last message that left, or was never kept; 0: none */
};

void history_done(struct history *h); /* unrefs what is left: for the end of the process, and tests */

/* Keep a message (takes the reference). The ring has at most `max` messages (at least 1): when it is full the oldest comes out as *ret_out, a
 * reference that the caller unrefs, and the mark moves to it; else *ret_out is NULL. Returns 0, or -ENOMEM: then m is not kept
 * but returned as *ret_out, and the mark is its seq. */
int history_put(struct history *h, struct message *m, uint32_t max, struct message **ret_out);

/* Take the oldest message out: the mark moves to it. Returns a reference, or NULL when empty. */
struct message *history_take_oldest(struct history *h);

/* Say that a message up to seq is not kept. */
void history_set_mark(struct history *h, uint64_t seq);

/* The i-th oldest, 0 <= i < count. Borrowed. */
static inline struct message *history_at(const struct history *h, uint32_t i)
{
    uint32_t at = h->first + i;
    return h->ring[at >= h->cap ? at - h->cap : at];
}

/* Index of the first message with a seq above `seq`; count if there is none. */
uint32_t history_find_after(const struct history *h, uint64_t seq);

#endif
