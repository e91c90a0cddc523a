/* Bytes on their way out, shared by everyone who gets the same ones.
 *
 * A chunk is filled once (the wire form of one or several messages, or one reply) and then only read. Its count is
 * plain, not atomic: a chunk never leaves the reactor that made it. The total of living chunk memory is what
 * limits.outq_total bounds, so every chunk is counted in its pool's live_bytes, whoever holds it. */
#ifndef HALLEY_BASE_CHUNK_H
#define HALLEY_BASE_CHUNK_H

#include <stdint.h>

#include "base/base.h"

struct chunk_pool {      /* one per reactor; all zero is ready */
    uint64_t live_bytes; /* capacity of all living chunks, in bytes */
    struct chunk *spare; /* standard-sized chunks kept for the next batch */
    unsigned spares;
};

struct chunk {
    struct chunk_pool *pool;
    struct chunk *next_spare;
    uint32_t refs;
    uint32_t len; /* bytes filled */
    uint32_t cap;
    uint8_t data[];
};

/* A part of a chunk: what a queue holds. Whoever keeps one keeps a reference on the chunk. */
struct chunk_slice {
    struct chunk *chunk;
    uint32_t off;
    uint32_t len;
    uint64_t seq; /* of the first message that begins in it, so that a queue can be cut down to a cursor; 0: replies, never cut */
};

#define CHUNK_STANDARD_BYTES 32768 /* room in a chunk that frames of one batch share */

/* A chunk with one reference and room for at least cap bytes, or NULL. */
struct chunk *chunk_new(struct chunk_pool *pool, uint32_t cap);
void chunk_free(struct chunk *c);              /* for chunk_unref() only */
void chunk_pool_done(struct chunk_pool *pool); /* when no chunk of it lives any more: each knows its pool */

static inline struct chunk *chunk_ref(struct chunk *c)
{
    c->refs++;
    return c;
}

static inline void chunk_unref(struct chunk *c)
{
    if (--c->refs == 0)
        chunk_free(c);
}

static inline uint32_t chunk_room(const struct chunk *c)
{
    return c->cap - c->len;
}

#endif
