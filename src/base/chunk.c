#include "base/chunk.h"

#include <stdlib.h>

#define CHUNK_MAX_SPARES 16

struct chunk *chunk_new(struct chunk_pool *pool, uint32_t cap)
{
    struct chunk *c;
    if (cap == CHUNK_STANDARD_BYTES && pool->spare != NULL) {
        c = pool->spare;
        pool->spare = c->next_spare;
        pool->spares--;
    } else {
        c = malloc(sizeof *c + cap);
        if (c == NULL)
            return NULL;
        c->pool = pool;
        c->cap = cap;
    }
    c->next_spare = NULL;
    c->refs = 1;
    c->len = 0;
    pool->live_bytes += cap;
    return c;
}

void chunk_free(struct chunk *c)
{
    struct chunk_pool *pool = c->pool;
    pool->live_bytes -= c->cap;
    if (c->cap == CHUNK_STANDARD_BYTES && pool->spares < CHUNK_MAX_SPARES) {
        c->next_spare = pool->spare;
        pool->spare = c;
        pool->spares++;
        return;
    }
    free(c);
}

void chunk_pool_done(struct chunk_pool *pool)
{
    while (pool->spare != NULL) {
        struct chunk *c = pool->spare;
        pool->spare = c->next_spare;
        free(c);
    }
    pool->spares = 0;
}
