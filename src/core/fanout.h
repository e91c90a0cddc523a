/* The fan-out: a batch of messages to all subscribers of one reactor, walking them once.
 *
 * Each message is encoded once per wire form, into chunks that all its subscribers share; the frames of one feed in a batch
 * lie side by side where possible, so that most connections get one contiguous run and one send() however many messages the batch has.
 * Subscribers of several touched feeds are gathered and merged: in seq order, each message once. In the steady state nothing is
 * allocated per message or subscriber: the working memory below is kept from batch to batch. */
#ifndef HALLEY_CORE_FANOUT_H
#define HALLEY_CORE_FANOUT_H

#include "core/subscription.h"

#define FANOUT_BATCH_MAX 256 /* messages walked at once */

struct fanout;

struct fanout *fanout_new(struct sub_table *table, struct chunk_pool *chunks); /* both borrowed; NULL when out of memory */
void fanout_free(struct fanout *f);

/* Deliver a batch: n messages (1 to FANOUT_BATCH_MAX), borrowed, in seq order. When memory runs out the subscribers that cannot be served are
 * handed to ops->deliver() with count 0: they have lost messages. Returns the number of deliveries (message times subscriber). */
uint64_t fanout_run(struct fanout *f, struct message *const *messages, size_t n);

#endif
