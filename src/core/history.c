#include "core/history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void history_done(struct history *h)
{
    for (uint32_t i = 0; i < h->count; i++)
        message_unref(history_at(h, i));
    free(h->ring);
    *h = (struct history){ .mark = h->mark };
}

void history_set_mark(struct history *h, uint64_t seq)
{
    if (seq > h->mark)
        h->mark = seq;
}

struct message *history_take_oldest(struct history *h)
{
    if (h->count == 0)
        return NULL;
    struct message *m = h->ring[h->first];
    h->first = h->first + 1 == h->cap ? 0 : h->first + 1;
    h->count--;
    history_set_mark(h, m->seq);
    if (h->count == 0) { /* topics that fell quiet must cost little: there may be a million */
        free(h->ring);
        h->ring = NULL;
        h->cap = h->first = 0;
    }
    return m;
}

static int history_grow(struct history *h, uint32_t max)
{
    uint32_t cap = h->cap == 0 ? 2 : h->cap * 2;
    if (cap > max)
        cap = max;
    struct message **ring = malloc(cap * sizeof(struct message *));
    if (ring == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < h->count; i++)
        ring[i] = history_at(h, i);
    free(h->ring);
    h->ring = ring;
    h->cap = cap;
    h->first = 0;
    return 0;
}

int history_put(struct history *h, struct message *m, uint32_t max, struct message **ret_out)
{
    *ret_out = NULL;
    if (h->count >= max) {
        *ret_out = h->ring[h->first];
        h->first = h->first + 1 == h->cap ? 0 : h->first + 1;
        h->count--;
        history_set_mark(h, (*ret_out)->seq);
    } else if (h->count == h->cap && history_grow(h, max) < 0) {
        history_set_mark(h, m->seq);
        *ret_out = m;
        return -ENOMEM;
    }
    uint32_t at = h->first + h->count;
    h->ring[at >= h->cap ? at - h->cap : at] = m;
    h->count++;
    return 0;
}

uint32_t history_find_after(const struct history *h, uint64_t seq)
{
    uint32_t low = 0, high = h->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (history_at(h, mid)->seq <= seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}
