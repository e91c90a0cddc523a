#include "net/outq.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OUTQ_MIN_SLOTS 4
#define OUTQ_OWN_CHUNK_BYTES 2048 /* smallest chunk for replies that have to wait */

struct outq {
    struct list node;
    void *owner;
    struct chunk_slice *ring;
    uint32_t head;
    uint32_t count;
    uint32_t cap;       /* a power of two */
    uint64_t bytes;
    bool is_begun;      /* part of the first element has been written */
    struct chunk *own;  /* the last element's chunk, if only this queue writes into it; no extra reference */
};

struct outq *outq_new(void *owner)
{
    struct outq *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    q->owner = owner;
    list_init(&q->node);
    return q;
}

struct list *outq_node(struct outq *q)
{
    return &q->node;
}

void *outq_owner_of(struct list *node)
{
    return LIST_ENTRY(node, struct outq, node)->owner;
}

void outq_set_begun(struct outq *q)
{
    q->is_begun = true;
}

void outq_free(struct outq *q)
{
    if (q == NULL)
        return;
    for (uint32_t i = 0; i < q->count; i++)
        chunk_unref(q->ring[(q->head + i) & (q->cap - 1)].chunk);
    list_remove(&q->node);
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
    if (last != NULL && last->chunk == s.chunk && last->off + last->len == s.off && last->seq == s.seq) {
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
            int r = outq_push(q, (struct chunk_slice){ c, 0, 0, 0 });
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
    size_t n = 0;
    *ret_bytes = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        const struct chunk_slice *s = &q->ring[(q->head + i) & (q->cap - 1)];
        uint8_t *at = s->chunk->data + s->off;
        if (n > 0 && (uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len == at) {
            iov[n - 1].iov_len += s->len; /* messages side by side */
        } else {
            if (n == max)
                break;
            iov[n++] = (struct iovec){ at, s->len };
        }
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
            q->is_begun = true;
            return;
        }
        bytes -= s->len;
        q->is_begun = false;
        if (s->chunk == q->own)
            q->own = NULL;
        chunk_unref(s->chunk);
        q->head = (q->head + 1) & (q->cap - 1);
        q->count--;
    }
}

/* What is left of a message that has been begun keeps no shared chunk alive. */
static void outq_copy_begun(struct outq *q, struct chunk_pool *pool)
{
    struct chunk_slice *first = &q->ring[q->head];
    if (first->chunk == q->own || first->len > first->chunk->cap / 2)
        return;
    struct chunk *c = chunk_new(pool, first->len);
    if (c == NULL)
        return;
    memcpy(c->data, first->chunk->data + first->off, first->len);
    c->len = first->len;
    chunk_unref(first->chunk);
    *first = (struct chunk_slice){ c, 0, first->len, first->seq };
}

bool outq_has_messages(const struct outq *q)
{
    for (uint32_t i = 0; i < q->count; i++)
        if (q->ring[(q->head + i) & (q->cap - 1)].seq != 0)
            return true;
    return false;
}

uint64_t outq_cut(struct outq *q, struct chunk_pool *pool)
{
    uint64_t first_seq = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        struct chunk_slice s = q->ring[(q->head + i) & (q->cap - 1)];
        if (s.seq == 0 || (i == 0 && q->is_begun)) {
            q->ring[(q->head + kept++) & (q->cap - 1)] = s;
            continue;
        }
        if (first_seq == 0)
            first_seq = s.seq;
        q->bytes -= s.len;
        chunk_unref(s.chunk);
    }
    q->count = kept;
    if (first_seq != 0 && q->is_begun)
        outq_copy_begun(q, pool);
    return first_seq;
}
