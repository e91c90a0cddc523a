/* What waits to be written on one connection: references to parts of chunks, in order. Reactor-local. */
#ifndef HALLEY_NET_OUTQ_H
#define HALLEY_NET_OUTQ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/chunk.h"

struct outq;

struct outq *outq_new(void); /* or NULL */
void outq_free(struct outq *q); /* lets go of what it holds; NULL is accepted */

/* Queue a part of a chunk, taking a reference. Returns 0 or -ENOMEM. */
int outq_push(struct outq *q, struct chunk_slice s);

/* Queue a copy of the bytes: into the last chunk, if this queue alone fills it and there is room. Returns 0 or -ENOMEM. */
int outq_append(struct outq *q, struct chunk_pool *pool, const uint8_t *bytes, size_t len);

uint64_t outq_bytes(const struct outq *q);

/* The first parts as an iovec of at most max. *ret_bytes: their sum. Returns how many. */
size_t outq_iov(const struct outq *q, struct iovec *iov, size_t max, size_t *ret_bytes);

/* The first `bytes` bytes have been written. */
void outq_consume(struct outq *q, size_t bytes);

#endif
