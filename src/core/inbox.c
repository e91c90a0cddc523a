#include "core/inbox.h"

#include <errno.h>
#include <stdlib.h>

#define INBOX_MIN_SLOTS 64

void inbox_init(struct inbox *in, uint64_t max_bytes, _Atomic unsigned *over_count)
{
    *in = (struct inbox){ .max_bytes = max_bytes, .over_count = over_count };
    pthread_mutex_init(&in->lock, NULL);
}

void inbox_set_max_bytes(struct inbox *in, uint64_t max_bytes)
{
    pthread_mutex_lock(&in->lock);
    in->max_bytes = max_bytes;
    pthread_mutex_unlock(&in->lock);
}

void inbox_done(struct inbox *in)
{
    for (; in->count > 0; in->count--, in->head++)
        message_unref(in->ring[in->head & (in->cap - 1)]);
    free(in->ring);
    pthread_mutex_destroy(&in->lock);
}

static int inbox_grow(struct inbox *in)
{
    size_t cap = in->cap == 0 ? INBOX_MIN_SLOTS : in->cap * 2;
    struct message **ring = malloc(cap * sizeof(struct message *));
    if (ring == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < in->count; i++)
        ring[i] = in->ring[(in->head + i) & (in->cap - 1)];
    free(in->ring);
    in->ring = ring;
    in->cap = cap;
    in->head = 0;
    return 0;
}

int inbox_reserve(struct inbox *in, size_t pushes)
{
    int r = 0;
    pthread_mutex_lock(&in->lock);
    while (in->count + pushes > in->cap && r == 0)
        r = inbox_grow(in);
    pthread_mutex_unlock(&in->lock);
    return r;
}

bool inbox_push(struct inbox *in, struct message *m)
{
    pthread_mutex_lock(&in->lock);
    bool was_empty = in->count == 0;
    in->ring[(in->head + in->count++) & (in->cap - 1)] = m;
    in->bytes += message_memory(m);
    if (!in->over && in->bytes > in->max_bytes) {
        in->over = true;
        atomic_fetch_add(in->over_count, 1);
    }
    atomic_store_explicit(&in->has_mail, true, memory_order_release);
    pthread_mutex_unlock(&in->lock);
    return was_empty;
}

size_t inbox_take(struct inbox *in, struct message **out, size_t max, bool *ret_relieved)
{
    size_t n = 0;
    uint64_t bytes = 0;
    *ret_relieved = false;
    pthread_mutex_lock(&in->lock);
    for (; n < max && in->count > 0 && bytes < INBOX_TAKE_BYTES; n++, in->count--) {
        out[n] = in->ring[in->head++ & (in->cap - 1)];
        bytes += message_memory(out[n]);
    }
    in->bytes -= bytes;
    if (in->over && in->bytes <= in->max_bytes / 2) {
        in->over = false;
        atomic_fetch_sub(in->over_count, 1);
        *ret_relieved = true;
    }
    if (in->count == 0)
        atomic_store_explicit(&in->has_mail, false, memory_order_release);
    pthread_mutex_unlock(&in->lock);
    return n;
}

uint64_t inbox_first_seq(struct inbox *in)
{
    pthread_mutex_lock(&in->lock);
    uint64_t seq = in->count == 0 ? 0 : in->ring[in->head & (in->cap - 1)]->seq;
    pthread_mutex_unlock(&in->lock);
    return seq;
}
