#include "core/fanout.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/pattern_index.h"

#define WORDS (FANOUT_BATCH_MAX / 64)
#define PREFETCH_AHEAD 6 /* subscriptions: enough to hide a cache miss behind the sends in between */

struct run { /* what one feed's subscribers of one form get of this batch */
    struct chunk_slice *slices;
    struct chunk_slice *wire; /* a pattern's own encodings, of forms per feed; by message of the batch */
    struct delivery delivery;
    uint32_t messages;
    bool is_built;
};

struct touched { /* a feed that this batch has messages for */
    struct feed *feed;
    uint64_t has[WORDS]; /* bit i: message i of the batch */
    uint64_t excepts;    /* bit n: a message leaves out a connection whose name ends in these six bits */
    uint32_t messages;
    struct run *runs[WIRE_FORMS]; /* NULL: nobody has asked for that form yet */
};

struct gather { /* one touched feed of a subscriber that has several subscriptions */
    struct gather *next;
    struct subscription *sub;
};

struct pool { /* fixed-sized items that all end with the batch; grows in blocks that never move */
    void **blocks;
    size_t block_count;
    size_t item_bytes;
    size_t per_block;
    size_t used;
};

struct fanout {
    struct sub_table *table;
    struct chunk_pool *chunks;
    struct message *const *messages;
    size_t count;
    struct chunk *filling[2]; /* where the next frame goes; and the next packed one, so that either kind lies side by side */
    struct chunk **held;   /* every chunk of this batch, one reference each */
    size_t held_count, held_cap;
    struct chunk_slice wire[FANOUT_BATCH_MAX][WIRE_FORMS]; /* chunk NULL: not encoded yet */
    struct pool touched; /* struct touched */
    struct pool runs;    /* struct run */
    struct pool gathers; /* struct gather */
    struct pool slices;  /* struct chunk_slice: lists of them */
    struct subscriber **multi; /* subscribers with gathers */
    size_t multi_count, multi_cap;
    struct chunk_slice merged[FANOUT_BATCH_MAX * 4];
    uint64_t deliveries;
};

/* ---- working memory */

/* n items (1 to per_block) side by side, or NULL. */
static void *pool_take(struct pool *p, size_t n)
{
    size_t in_block = p->used % p->per_block;
    if (in_block + n > p->per_block)
        p->used += p->per_block - in_block;
    size_t block = p->used / p->per_block;
    if (block == p->block_count) {
        void **blocks = realloc(p->blocks, (block + 1) * sizeof(void *));
        if (blocks == NULL)
            return NULL;
        p->blocks = blocks;
        if ((blocks[block] = malloc(p->per_block * p->item_bytes)) == NULL)
            return NULL;
        p->block_count++;
    }
    void *items = (char *)p->blocks[block] + p->used % p->per_block * p->item_bytes;
    p->used += n;
    return items;
}

static void *pool_at(const struct pool *p, size_t i)
{
    return (char *)p->blocks[i / p->per_block] + i % p->per_block * p->item_bytes;
}

static void pool_done(struct pool *p)
{
    for (size_t i = 0; i < p->block_count; i++)
        free(p->blocks[i]);
    free(p->blocks);
}

struct fanout *fanout_new(struct sub_table *table, struct chunk_pool *chunks)
{
    struct fanout *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->table = table;
    f->chunks = chunks;
    f->touched = (struct pool){ .item_bytes = sizeof(struct touched), .per_block = 64 };
    f->runs = (struct pool){ .item_bytes = sizeof(struct run), .per_block = 64 };
    f->gathers = (struct pool){ .item_bytes = sizeof(struct gather), .per_block = 1024 };
    f->slices = (struct pool){ .item_bytes = sizeof(struct chunk_slice), .per_block = 4 * FANOUT_BATCH_MAX };
    return f;
}

void fanout_free(struct fanout *f)
{
    if (f == NULL)
        return;
    pool_done(&f->touched);
    pool_done(&f->runs);
    pool_done(&f->gathers);
    pool_done(&f->slices);
    free(f->held);
    free(f->multi);
    free(f);
}

/* ---- which feeds */

/* Out of memory: its transport has to say so, or to read on from history, from this message on, but nothing that was there before it
 * subscribed, or that it has already. */
static void lost(struct fanout *f, struct subscriber *s, uint64_t first_seq)
{
    uint64_t from_seq = UINT64_MAX;
    if (s->catchup != NULL)
        return; /* it does so already */
    LIST_EACH (it, &s->subscriptions) {
        const struct subscription *sub = LIST_ENTRY(it, struct subscription, node);
        if (from_seq > sub->from_seq)
            from_seq = sub->from_seq;
    }
    if (from_seq < s->had_seq)
        from_seq = s->had_seq;
    f->table->lost_batches++;
    struct delivery nothing = { .first_seq = first_seq > from_seq ? first_seq : from_seq + 1, .last_seq = f->messages[f->count - 1]->seq };
    s->ops->deliver(s, &nothing);
}

static void touch(struct fanout *f, struct feed *feed, size_t message)
{
    struct touched *t = feed->touched;
    if (t == NULL) {
        t = pool_take(&f->touched, 1);
        if (t == NULL) {
            for (uint32_t i = 0; i < feed->count; i++)
                lost(f, feed->subs[i]->subscriber, f->messages[0]->seq);
            return;
        }
        memset(t, 0, sizeof *t);
        t->feed = feed;
        feed->touched = t;
    }
    t->has[message / 64] |= 1ull << message % 64;
    if (HLY_UNLIKELY(f->messages[message]->except != 0))
        t->excepts |= 1ull << f->messages[message]->except % 64;
    t->messages++;
}

struct touch_ctx {
    struct fanout *f;
    size_t message;
};

static void touch_pattern(void *value, void *ctx)
{
    struct touch_ctx *c = ctx;
    touch(c->f, value, c->message);
}

static void touch_feeds(struct fanout *f)
{
    struct sub_table *t = f->table;
    for (size_t i = 0; i < f->count; i++) {
        const struct message *m = f->messages[i];
        struct map_node *n = map_find(&t->topics, m->topic_hash, m->bytes, m->topic_len);
        if (n != NULL)
            touch(f, HLY_CONTAINER_OF(n, struct feed, node), i);
    }
    if (pattern_index_count(t->patterns) == 0)
        return;
    for (size_t i = 0; i < f->count; i++) { /* topics first: their frames then lie side by side */
        struct touch_ctx c = { f, i };
        pattern_index_match(t->patterns, f->messages[i]->bytes, f->messages[i]->topic_len, touch_pattern, &c);
    }
}

/* ---- encoding */

static struct chunk *chunk_for(struct fanout *f, struct chunk **filling, uint32_t bytes)
{
    if (*filling != NULL && chunk_room(*filling) >= bytes)
        return *filling;
    if (f->held_count == f->held_cap) {
        size_t cap = f->held_cap == 0 ? 16 : f->held_cap * 2;
        struct chunk **held = realloc(f->held, cap * sizeof(struct chunk *));
        if (held == NULL)
            return NULL;
        f->held = held;
        f->held_cap = cap;
    }
    struct chunk *c = chunk_new(f->chunks, bytes > CHUNK_STANDARD_BYTES ? bytes : CHUNK_STANDARD_BYTES);
    if (c == NULL)
        return NULL;
    f->held[f->held_count++] = c;
    *filling = c;
    return c;
}

static struct run *run_of(struct fanout *f, struct touched *t, enum wire_form form)
{
    struct run *run = t->runs[form];
    if (run != NULL)
        return run;
    run = pool_take(&f->runs, 1);
    if (run == NULL)
        return NULL;
    *run = (struct run){ 0 };
    t->runs[form] = run;
    return run;
}

/* Where the encoding of a message belongs: all share it, or those of one pattern. NULL when out of memory. */
static struct chunk_slice *wire_place(struct fanout *f, enum wire_form form, size_t message, struct touched *t)
{
    if (!f->table->encoders[form].per_feed || !t->feed->is_pattern)
        return &f->wire[message][form];
    struct run *run = run_of(f, t, form);
    if (run == NULL)
        return NULL;
    if (run->wire == NULL) {
        run->wire = pool_take(&f->slices, f->count);
        if (run->wire == NULL)
            return NULL;
        memset(run->wire, 0, f->count * sizeof run->wire[0]);
    }
    return &run->wire[message];
}

static bool encode_plain(struct fanout *f, enum wire_form form, size_t message, struct touched *t, struct chunk_slice *ret)
{
    const struct wire_encoder *e = &f->table->encoders[form];
    const struct feed *feed = t->feed;
    struct chunk_slice *place = wire_place(f, form, message, t);
    *ret = (struct chunk_slice){ 0 };
    if (f->messages[message]->kind != MESSAGE_DATA && !e->carries_presence)
        return true; /* nothing is to be sent */
    if (place == NULL)
        return false;
    if (place->chunk != NULL) {
        *ret = *place;
        return true;
    }
    struct message *m = f->messages[message];
    struct chunk *c = chunk_for(f, &f->filling[0], e->bound(m, feed));
    if (c == NULL)
        return false;
    uint32_t len = e->encode(m, feed, hub_epoch(f->table->hub), c->data + c->len);
    assert(len <= chunk_room(c));
    *ret = *place = (struct chunk_slice){ c, c->len, len, m->seq };
    c->len += len;
    return true;
}

/* The plain form is encoded first, once for all that pack it and all who take it as it is. What is not packed shares its bytes. */
static bool encode_packed(struct fanout *f, enum wire_form form, size_t message, struct touched *t, struct chunk_slice *ret)
{
    const struct wire_packing *p = &f->table->packing;
    struct chunk_slice plain;
    *ret = (struct chunk_slice){ 0 };
    if (!encode_plain(f, (enum wire_form)f->table->encoders[form].packs, message, t, &plain))
        return false;
    if (plain.len == 0)
        return true;
    form = p->as(form, plain.len);
    struct chunk_slice *place = &f->wire[message][form];
    if (place->chunk == NULL) {
        struct chunk *c = chunk_for(f, &f->filling[1], p->bound(form, plain.len));
        if (c == NULL)
            return false;
        uint32_t len = p->pack(p->ctx, form, plain.chunk->data + plain.off, plain.len, c->data + c->len);
        assert(len <= chunk_room(c));
        *place = len == 0 ? plain : (struct chunk_slice){ c, c->len, len, plain.seq };
        c->len += len;
    }
    *ret = *place;
    return true;
}

static bool encode(struct fanout *f, enum wire_form form, size_t message, struct touched *t, struct chunk_slice *ret)
{
    return f->table->encoders[form].is_packed ? encode_packed(f, form, message, t, ret) : encode_plain(f, form, message, t, ret);
}

/* Append a slice to a list, joining it to the last one where it continues it. */
static uint32_t slices_add(struct chunk_slice *list, uint32_t count, struct chunk_slice s)
{
    if (count > 0) {
        struct chunk_slice *last = &list[count - 1];
        if (last->chunk == s.chunk && last->off + last->len == s.off) {
            last->len += s.len;
            return count;
        }
    }
    list[count] = s;
    return count + 1;
}

/* Add one message, already encoded, to a delivery whose slices are `list`. */
static void delivery_add(struct delivery *d, struct chunk_slice *list, struct chunk_slice s, const struct message *m)
{
    if (s.len == 0)
        return;
    if (d->count == 0)
        d->first_seq = m->seq;
    d->last_seq = m->seq;
    d->count = slices_add(list, d->count, s);
    d->bytes += s.len;
    d->marks |= (uint8_t)(1u << m->on_slow | (m->has_events ? DELIVERY_EVENTS : 0));
}

static bool run_build(struct fanout *f, struct touched *t, struct run *run, enum wire_form form)
{
    if (run->slices == NULL && (run->slices = pool_take(&f->slices, t->messages)) == NULL)
        return false;
    run->messages = 0;
    run->delivery = (struct delivery){ .slices = run->slices }; /* it may have run out of memory midway before */
    for (size_t w = 0; w < WORDS; w++) {
        for (uint64_t bits = t->has[w]; bits != 0; bits &= bits - 1) {
            struct chunk_slice s;
            size_t message = w * 64 + (size_t)__builtin_ctzll(bits);
            if (!encode(f, form, message, t, &s) || s.len > UINT32_MAX - run->delivery.bytes)
                return false; /* no room, or more than one delivery can say: they read it from history */
            delivery_add(&run->delivery, run->slices, s, f->messages[message]);
            run->messages += s.len > 0;
        }
    }
    run->is_built = true;
    return true;
}

/* ---- walking */

static bool gather_later(struct fanout *f, struct subscription *sub)
{
    struct subscriber *s = sub->subscriber;
    if (s->gather == NULL) {
        if (f->multi_count == f->multi_cap) {
            size_t cap = f->multi_cap == 0 ? 64 : f->multi_cap * 2;
            struct subscriber **multi = realloc(f->multi, cap * sizeof(struct subscriber *));
            if (multi == NULL)
                return false;
            f->multi = multi;
            f->multi_cap = cap;
        }
    }
    struct gather *g = pool_take(&f->gathers, 1);
    if (g == NULL)
        return false;
    if (s->gather == NULL)
        f->multi[f->multi_count++] = s;
    *g = (struct gather){ s->gather, sub };
    s->gather = g;
    return true;
}

static inline void prefetch(struct feed *feed, uint32_t i)
{
    if (i + 2 * PREFETCH_AHEAD < feed->count)
        __builtin_prefetch(feed->subs[i + 2 * PREFETCH_AHEAD]);
    if (i + PREFETCH_AHEAD < feed->count)
        __builtin_prefetch(feed->subs[i + PREFETCH_AHEAD]->subscriber);
}

/* Those who share the six bits are gathered with it, which costs time and changes nothing. */
static inline bool may_be_left_out(const struct touched *t, const struct subscriber *s)
{
    return t->excepts != 0 && (t->excepts & 1ull << s->name % 64) != 0;
}

static void walk(struct fanout *f, struct touched *t)
{
    struct feed *feed = t->feed;
    uint64_t first_seq = f->messages[0]->seq;
    for (uint32_t i = 0; i < feed->count; i++) {
        prefetch(feed, i);
        struct subscription *sub = feed->subs[i];
        struct subscriber *s = sub->subscriber;
        if (HLY_UNLIKELY(s->count > 1 || sub->from_seq >= first_seq || s->had_seq >= first_seq || s->catchup != NULL || may_be_left_out(t, s))) {
            if (s->catchup == NULL && !gather_later(f, sub))
                lost(f, s, first_seq);
            continue;
        }
        struct run *run = t->runs[s->form];
        if (HLY_UNLIKELY(run == NULL || !run->is_built) && ((run = run_of(f, t, s->form)) == NULL || !run_build(f, t, run, s->form))) {
            lost(f, s, first_seq);
            continue;
        }
        if (run->delivery.count == 0)
            continue; /* this form has no word for any of it */
        f->deliveries += run->messages;
        s->ops->deliver(s, &run->delivery);
    }
}

/* ---- merging */

struct merge {
    struct subscriber *s;
    struct delivery delivery;
};

static bool merge_add(struct fanout *f, struct merge *g, size_t message, struct touched *t)
{
    struct chunk_slice slice;
    if (!encode(f, g->s->form, message, t, &slice))
        return false;
    if (g->delivery.count == HLY_ARRAY_LEN(f->merged) || slice.len > UINT32_MAX - g->delivery.bytes) {
        g->s->ops->deliver(g->s, &g->delivery);
        g->delivery = (struct delivery){ .slices = f->merged };
    }
    delivery_add(&g->delivery, f->merged, slice, f->messages[message]);
    f->deliveries += slice.len > 0;
    return true;
}

/* All that the batch has for one subscriber, in seq order, but for what leaves it out. per_feed: once per subscription; else each message once. */
static void merge_deliver(struct fanout *f, struct subscriber *s)
{
    struct merge g = { .s = s, .delivery = { .slices = f->merged } };
    uint64_t any[WORDS] = { 0 };
    for (struct gather *it = s->gather; it != NULL; it = it->next)
        for (size_t w = 0; w < WORDS; w++)
            any[w] |= it->sub->feed->touched->has[w];
    bool per_feed = f->table->encoders[s->form].per_feed;
    for (size_t i = 0; i < f->count && s->catchup == NULL; i++) {
        if ((any[i / 64] & 1ull << i % 64) == 0 || f->messages[i]->seq <= s->had_seq || message_leaves_out(f->messages[i], s->name))
            continue;
        for (struct gather *it = s->gather; it != NULL; it = it->next) {
            struct touched *t = it->sub->feed->touched;
            if ((t->has[i / 64] & 1ull << i % 64) == 0 || f->messages[i]->seq <= it->sub->from_seq)
                continue;
            if (!merge_add(f, &g, i, t)) {
                lost(f, s, g.delivery.count > 0 ? g.delivery.first_seq : f->messages[i]->seq);
                return;
            }
            if (!per_feed)
                break;
        }
    }
    if (g.delivery.count > 0 && s->catchup == NULL)
        s->ops->deliver(s, &g.delivery);
}

/* ---- the batch */

static void batch_end(struct fanout *f)
{
    for (size_t i = 0; i < f->touched.used; i++)
        ((struct touched *)pool_at(&f->touched, i))->feed->touched = NULL;
    for (size_t i = 0; i < f->multi_count; i++)
        f->multi[i]->gather = NULL;
    for (size_t i = 0; i < f->held_count; i++)
        chunk_unref(f->held[i]);
    f->touched.used = f->runs.used = f->gathers.used = f->slices.used = 0;
    f->multi_count = f->held_count = 0;
    f->filling[0] = f->filling[1] = NULL;
}

uint64_t fanout_run(struct fanout *f, struct message *const *messages, size_t n)
{
    assert(n >= 1 && n <= FANOUT_BATCH_MAX);
    f->messages = messages;
    f->count = n;
    f->deliveries = 0;
    memset(f->wire, 0, n * sizeof f->wire[0]);
    touch_feeds(f);
    for (size_t i = 0; i < f->touched.used; i++)
        walk(f, pool_at(&f->touched, i));
    for (size_t i = 0; i < f->multi_count; i++)
        merge_deliver(f, f->multi[i]);
    batch_end(f);
    return f->deliveries;
}
