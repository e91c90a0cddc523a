#include "core/seqlog.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_SLOTS 256
#define SEGMENT_SPARSE (SEGMENT_SLOTS / 4) /* messages below which a segment is joined to a neighbour */
#define DIRECTORY_MIN 16

struct seqlog_segment {
    uint32_t used; /* slots filled so far */
    uint32_t live; /* of them, those that still have their message */
    uint64_t seqs[SEGMENT_SLOTS];
    struct message *messages[SEGMENT_SLOTS]; /* NULL: gone */
};

static struct seqlog_segment **at(const struct seqlog *l, size_t i)
{
    return &l->segments[(l->first + i) & (l->cap - 1)];
}

void seqlog_done(struct seqlog *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(*at(l, i));
    free(l->segments);
    *l = (struct seqlog){ 0 };
}

static int directory_grow(struct seqlog *l)
{
    size_t cap = l->cap == 0 ? DIRECTORY_MIN : l->cap * 2;
    struct seqlog_segment **segments = malloc(cap * sizeof(struct seqlog_segment *));
    if (segments == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < l->count; i++)
        segments[i] = *at(l, i);
    free(l->segments);
    l->segments = segments;
    l->cap = cap;
    l->first = 0;
    return 0;
}

/* Squeeze the empty slots out of a segment. */
static void segment_pack(struct seqlog_segment *s)
{
    uint32_t to = 0;
    for (uint32_t i = 0; i < s->used; i++) {
        if (s->messages[i] == NULL)
            continue;
        s->seqs[to] = s->seqs[i];
        s->messages[to++] = s->messages[i];
    }
    s->used = to;
}

int seqlog_append(struct seqlog *l, struct message *m)
{
    struct seqlog_segment *last = l->count > 0 ? *at(l, l->count - 1) : NULL;
    if (last != NULL && last->used == SEGMENT_SLOTS && last->live < SEGMENT_SLOTS / 2)
        segment_pack(last); /* most of them were gone before it was full: no removal would come to join it to a neighbour */
    if (last == NULL || last->used == SEGMENT_SLOTS) {
        if (l->count == l->cap && directory_grow(l) < 0)
            return -ENOMEM;
        if ((last = malloc(sizeof *last)) == NULL)
            return -ENOMEM;
        last->used = last->live = 0;
        *at(l, l->count++) = last;
    }
    assert(last->used == 0 || last->seqs[last->used - 1] < m->seq);
    last->seqs[last->used] = m->seq;
    last->messages[last->used++] = m;
    last->live++;
    l->live++;
    return 0;
}

/* ---- finding */

/* The first segment whose last seq is at least seq; count if there is none. */
static size_t find_segment(const struct seqlog *l, uint64_t seq)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct seqlog_segment *s = *at(l, mid);
        if (s->seqs[s->used - 1] < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The first slot with a seq of at least seq. */
static uint32_t find_slot(const struct seqlog_segment *s, uint64_t seq)
{
    uint32_t low = 0, high = s->used;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (s->seqs[mid] < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* ---- removing */

static void directory_remove(struct seqlog *l, size_t i)
{
    free(*at(l, i));
    if (i == 0) {
        l->first = (l->first + 1) & (l->cap - 1);
    } else {
        for (; i + 1 < l->count; i++)
            *at(l, i) = *at(l, i + 1);
    }
    l->count--;
}

/* Join segment i and the one after it, if both fit into one. Never the last: it is being filled. */
static bool join_with_next(struct seqlog *l, size_t i)
{
    if (i + 2 >= l->count)
        return false;
    struct seqlog_segment *a = *at(l, i), *b = *at(l, i + 1);
    if (a->live + b->live > SEGMENT_SLOTS / 2)
        return false;
    segment_pack(a);
    segment_pack(b);
    memcpy(a->seqs + a->used, b->seqs, b->used * sizeof b->seqs[0]);
    memcpy(a->messages + a->used, b->messages, b->used * sizeof b->messages[0]);
    a->used += b->used;
    a->live += b->live;
    directory_remove(l, i + 1);
    return true;
}

void seqlog_remove(struct seqlog *l, const struct message *m)
{
    size_t i = find_segment(l, m->seq);
    assert(i < l->count);
    struct seqlog_segment *s = *at(l, i);
    uint32_t slot = find_slot(s, m->seq);
    assert(slot < s->used && s->messages[slot] == m);
    s->messages[slot] = NULL;
    s->live--;
    l->live--;
    if (s->live == 0)
        directory_remove(l, i);
    else if (s->live < SEGMENT_SPARSE && !join_with_next(l, i) && i > 0)
        join_with_next(l, i - 1);
}

struct message *seqlog_oldest(struct seqlog *l)
{
    if (l->count == 0)
        return NULL;
    const struct seqlog_segment *s = *at(l, 0); /* a segment without messages is never kept */
    uint32_t i = 0;
    while (s->messages[i] == NULL)
        i++;
    return s->messages[i];
}

/* ---- walking */

void seqlog_walk(struct seqlog *l, uint64_t after, size_t steps, bool (*visit)(struct message *m, void *ctx), void *ctx,
                 uint64_t *ret_at)
{
    if (after == UINT64_MAX) {
        *ret_at = UINT64_MAX;
        return;
    }
    uint64_t passed = after;
    size_t i = find_segment(l, after + 1);
    uint32_t slot = i < l->count ? find_slot(*at(l, i), after + 1) : 0;
    for (; i < l->count; i++, slot = 0) {
        const struct seqlog_segment *s = *at(l, i);
        for (; slot < s->used; slot++) {
            if (steps-- == 0 || (s->messages[slot] != NULL && !visit(s->messages[slot], ctx))) {
                *ret_at = passed;
                return;
            }
            passed = s->seqs[slot];
        }
    }
    *ret_at = UINT64_MAX;
}

void seqlog_walk_back(struct seqlog *l, uint64_t before, size_t steps, bool (*visit)(struct message *m, void *ctx), void *ctx,
                      uint64_t *ret_at)
{
    uint64_t passed = before;
    size_t i = find_segment(l, before);
    uint32_t slot = i < l->count ? find_slot(*at(l, i), before) : 0;
    for (;;) {
        if (slot == 0) {
            if (i == 0)
                break;
            slot = (*at(l, --i))->used;
            continue;
        }
        const struct seqlog_segment *s = *at(l, i);
        slot--;
        if (steps-- == 0 || (s->messages[slot] != NULL && !visit(s->messages[slot], ctx))) {
            *ret_at = passed;
            return;
        }
        passed = s->seqs[slot];
    }
    *ret_at = 0;
}
