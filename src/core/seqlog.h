/* All kept messages of all topics, in seq order: what a pattern over many topics is replayed from, and what tells the oldest.
 *
 * Segments of a few hundred slots under a directory. Messages come at the end and leave anywhere: a slot is then empty, a segment without
 * messages is freed, and neighbours that have become sparse are joined, so the memory follows the number of messages. Finding a place costs
 * a binary search; everything else a bounded number of steps. Holds no references. Under the hub's lock. */
#ifndef HALLEY_CORE_SEQLOG_H
#define HALLEY_CORE_SEQLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/message.h"

struct seqlog_segment;

struct seqlog { /* all zero is an empty log */
    struct seqlog_segment **segments; /* in order; a ring of `cap` places from `first` */
    size_t first;
    size_t count;
    size_t cap; /* a power of two */
    size_t live; /* messages */
};

void seqlog_done(struct seqlog *l);

/* Append a message whose seq is above all others. Returns 0 or -ENOMEM. */
int seqlog_append(struct seqlog *l, struct message *m);

/* Remove the message; it is there. */
void seqlog_remove(struct seqlog *l, const struct message *m);

/* The message with the lowest seq, or NULL. Borrowed. */
struct message *seqlog_oldest(struct seqlog *l);

/* Walk: visit the messages with a seq above `after`, in order, looking at `steps` slots at most, as long as visit returns true.
 * *ret_at: everything up to this seq has been visited (or passed over); UINT64_MAX when the end was reached. */
void seqlog_walk(struct seqlog *l, uint64_t after, size_t steps, bool (*visit)(struct message *m, void *ctx), void *ctx,
                 uint64_t *ret_at);

/* The same backwards: messages with a seq below `before`, newest first. *ret_at: down to this seq; 0 when the beginning was reached. */
void seqlog_walk_back(struct seqlog *l, uint64_t before, size_t steps, bool (*visit)(struct message *m, void *ctx), void *ctx,
                      uint64_t *ret_at);

#endif
