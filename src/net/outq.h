/* What waits to be written on one connection: references to parts of chunks, in order. Reactor-local. */
#ifndef HALLEY_NET_OUTQ_H
#define HALLEY_NET_OUTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/chunk.h"
#include "base/list.h"

struct outq;

/* owner: whose it is, for whoever finds it in a list. NULL when out of memory. */
struct outq *outq_new(void *owner);
void outq_free(struct outq *q); /* lets go of what it holds; NULL is accepted */

/* Queue a part of a chunk, taking a reference. Returns 0 or -ENOMEM. */
int outq_push(struct outq *q, struct chunk_slice s);

/* Queue a copy of the bytes: into the last chunk, if this queue alone fills it and there is room. Returns 0 or -ENOMEM. */
int outq_append(struct outq *q, struct chunk_pool *pool, const uint8_t *bytes, size_t len);

/* The list that it is in, if any: outq_free() takes it out. */
struct list *outq_node(struct outq *q);
void *outq_owner_of(struct list *node);

/* Part of the first element was written before it was pushed. */
void outq_set_begun(struct outq *q);

/* Is there anything that outq_cut() would drop? */
bool outq_has_messages(const struct outq *q);

uint64_t outq_bytes(const struct outq *q);

/* The first parts as an iovec of at most max; parts that lie side by side are one. *ret_bytes: their sum. Returns how many. */
size_t outq_iov(const struct outq *q, struct iovec *iov, size_t max, size_t *ret_bytes);

/* The first `bytes` bytes have been written. */
void outq_consume(struct outq *q, size_t bytes);

/* Drop the messages that wait (parts with a seq), but for one that is begun. Returns the seq of the first that was dropped, 0: none. */
uint64_t outq_cut(struct outq *q, struct chunk_pool *pool);

#endif
