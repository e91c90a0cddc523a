#include "net/outq.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OUTQ_MIN_SLOTS 4
#define OUTQ_OWN_CHUNK_BYTES 2048 /* smallest chunk for replies that have to wait */

struct outq {
    struct chunk_slice *ring;
    uint32_t head;
    uint32_t count;
    uint32_t cap;       /* a power of two */
    uint64_t bytes;
    struct chunk *own;  /* the last element's chunk, if only this queue writes into it; no extra reference */
};

struct outq *outq_new(void)
{
    return calloc(1, sizeof(struct outq));
}

void outq_free(struct outq *q)
{
    if (q == NULL)
        return;
    for (uint32_t i = 0; i < q->count; i++)
        chunk_unref(q->ring[(q->head + i) & (q->cap - 1)].chunk);
    free(q->ring);
    free(q);
}

static int outq_grow(struct outq *q)
{
    uint32_t cap = q->cap == 0 ? OUTQ_MIN_SLOTS : q->cap * 2;
    struct chunk_slice *ring = malloc(cap * sizeof *ring);
    if (ring == NULL)
        return -ENOMEM;
    assert(q->count == 0 || q->ring != NULL);
    for (uint32_t i = 0; i < q->count; i++)
        ring[i] = q->ring[(q->head + i) & (q->cap - 1)];
    free(q->ring);
    q->ring = ring;
    q->cap = cap;
    q->head = 0;
    return 0;
}

int outq_push(struct outq *q, struct chunk_slice s)
{
    struct chunk_slice *last = q->count > 0 ? &q->ring[(q->head + q->count - 1) & (q->cap - 1)] : NULL;
    if (last != NULL && last->chunk == s.chunk && last->off + last->len == s.off) {
        last->len += s.len;
    } else {
        if (q->count == q->cap && outq_grow(q) < 0)
            return -ENOMEM;
        chunk_ref(s.chunk);
        assert(q->ring != NULL);
        q->ring[(q->head + q->count++) & (q->cap - 1)] = s;
    }
    q->own = NULL;
    q->bytes += s.len;
    return 0;
}

int outq_append(struct outq *q, struct chunk_pool *pool, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        if (q->own == NULL || chunk_room(q->own) == 0) {
            size_t cap = len < OUTQ_OWN_CHUNK_BYTES ? OUTQ_OWN_CHUNK_BYTES : len;
            struct chunk *c = chunk_new(pool, cap > CHUNK_STANDARD_BYTES ? CHUNK_STANDARD_BYTES : (uint32_t)cap);
            if (c == NULL)
                return -ENOMEM;
            int r = outq_push(q, (struct chunk_slice){ c, 0, 0 });
            chunk_unref(c);
            if (r < 0)
                return r;
            q->own = c;
        }
        struct chunk *c = q->own;
        uint32_t n = len < chunk_room(c) ? (uint32_t)len : chunk_room(c);
        memcpy(c->data + c->len, bytes, n);
        c->len += n;
        q->ring[(q->head + q->count - 1) & (q->cap - 1)].len += n;
        q->bytes += n;
        bytes += n;
        len -= n;
    }
    return 0;
}

uint64_t outq_bytes(const struct outq *q)
{
    return q->bytes;
}

size_t outq_iov(const struct outq *q, struct iovec *iov, size_t max, size_t *ret_bytes)
{
    size_t n = q->count < max ? q->count : max;
    *ret_bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct chunk_slice *s = &q->ring[(q->head + i) & (q->cap - 1)];
        iov[i] = (struct iovec){ s->chunk->data + s->off, s->len };
        *ret_bytes += s->len;
    }
    return n;
}

void outq_consume(struct outq *q, size_t bytes)
{
    q->bytes -= bytes;
    while (bytes > 0) {
        struct chunk_slice *s = &q->ring[q->head];
        if (bytes < s->len) {
            s->off += (uint32_t)bytes;
            s->len -= (uint32_t)bytes;
            return;
        }
        bytes -= s->len;
        if (s->chunk == q->own)
            q->own = NULL;
        chunk_unref(s->chunk);
        q->head = (q->head + 1) & (q->cap - 1);
        q->count--;
    }
}
