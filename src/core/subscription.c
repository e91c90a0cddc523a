#include "core/subscription.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/catchup.h"
#include "core/pattern_index.h"

#define PAIRS_FROM 16 /* subscriptions of one subscriber from which looking one up by walking them all costs too much */

static bool feed_equals(const struct map_node *node, const void *key, size_t key_len)
{
    const struct feed *f = HLY_CONTAINER_OF(node, struct feed, node);
    return f->name_len == key_len && memcmp(f->name, key, key_len) == 0;
}

struct pair {
    const struct subscriber *subscriber;
    const struct feed *feed;
};

static bool pair_equals(const struct map_node *node, const void *key, size_t key_len)
{
    (void)key_len;
    const struct subscription *sub = HLY_CONTAINER_OF(node, struct subscription, pair);
    const struct pair *p = key;
    return sub->subscriber == p->subscriber && sub->feed == p->feed;
}

static uint64_t pair_hash(const struct subscriber *s, const struct feed *f)
{
    struct pair p = { s, f };
    return hash_bytes(&p, sizeof p);
}

int sub_table_init(struct sub_table *t, struct hub *hub, unsigned reactor, const struct wire_encoder encoders[WIRE_FORMS],
                   struct chunk_pool *chunks)
{
    *t = (struct sub_table){ .hub = hub, .reactor = reactor, .chunks = chunks, .keep_bytes = UINT64_MAX };
    map_init(&t->topics, feed_equals);
    map_init(&t->pairs, pair_equals);
    memcpy(t->encoders, encoders, sizeof t->encoders);
    list_init(&t->reading);
    list_init(&t->parked);
    t->patterns = pattern_index_new();
    return t->patterns == NULL ? -ENOMEM : 0;
}

void sub_table_done(struct sub_table *t)
{
    assert(map_count(&t->topics) == 0 && t->subscriptions == 0);
    map_done(&t->topics);
    map_done(&t->pairs);
    pattern_index_free(t->patterns);
    free(t->names);
}

const char *gap_reason_name(enum gap_reason reason)
{
#define GAP_AS_NAME(name, text) [GAP_##name] = text,
    static const char *const names[] = { GAP_REASONS(GAP_AS_NAME) };
#undef GAP_AS_NAME
    return names[reason];
}

void subscriber_init(struct subscriber *s, struct sub_table *t, const struct subscriber_ops *ops, enum wire_form form)
{
    *s = (struct subscriber){ .ops = ops, .table = t, .form = (uint8_t)form };
    list_init(&s->subscriptions);
}

/* ---- feeds */

static struct feed *feed_find(struct sub_table *t, struct slice name, bool is_pattern)
{
    if (is_pattern)
        return pattern_index_get(t->patterns, name.ptr, name.len);
    struct map_node *n = map_find(&t->topics, hash_bytes(name.ptr, name.len), name.ptr, name.len);
    return n == NULL ? NULL : HLY_CONTAINER_OF(n, struct feed, node);
}

static struct feed *feed_get(struct sub_table *t, struct slice name, bool is_pattern)
{
    struct feed *f = feed_find(t, name, is_pattern);
    if (f != NULL)
        return f;
    f = malloc(sizeof *f + name.len);
    if (f == NULL)
        return NULL;
    *f = (struct feed){ .is_pattern = is_pattern, .name_len = (uint8_t)name.len };
    memcpy(f->name, name.ptr, name.len);
    int r = is_pattern ? pattern_index_add(t->patterns, name.ptr, name.len, f)
                       : map_insert(&t->topics, &f->node, hash_bytes(name.ptr, name.len));
    if (r < 0) {
        free(f);
        return NULL;
    }
    return f;
}

static void feed_release(struct sub_table *t, struct feed *f)
{
    if (f->count > 0)
        return;
    if (f->is_pattern)
        pattern_index_remove(t->patterns, f->name, f->name_len);
    else
        map_remove(&t->topics, &f->node);
    free(f->subs);
    free(f);
}

static int feed_reserve(struct feed *f)
{
    if (f->count < f->cap)
        return 0;
    uint32_t cap = f->cap == 0 ? 1 : f->cap + f->cap / 2 + 1;
    struct subscription **subs = realloc(f->subs, cap * sizeof(struct subscription *));
    if (subs == NULL)
        return -ENOMEM;
    f->subs = subs;
    f->cap = cap;
    return 0;
}

static void feed_remove(struct feed *f, struct subscription *sub)
{
    struct subscription *last = f->subs[--f->count];
    f->subs[sub->index] = last;
    last->index = sub->index;
    if (f->cap > 64 && f->count < f->cap / 4) { /* a crowd that left must not leave its list behind */
        struct subscription **subs = realloc(f->subs, f->cap / 2 * sizeof(struct subscription *));
        if (subs != NULL) {
            f->subs = subs;
            f->cap /= 2;
        }
    }
}

/* ---- subscriptions */

static void change_begin(struct sub_table *t)
{
    if (t->on_subscription != NULL)
        pthread_mutex_lock(t->change_lock);
}

/* change 0: there was none. */
static void change_end(struct sub_table *t, struct subscriber *s, struct slice name, bool is_pattern, unsigned change)
{
    if (t->on_subscription == NULL)
        return;
    if (change != 0)
        t->on_subscription(s, name, is_pattern, change);
    pthread_mutex_unlock(t->change_lock);
}

static struct subscription *find_in(struct subscriber *s, const struct feed *f)
{
    if (s->count >= PAIRS_FROM) {
        struct pair p = { s, f };
        struct map_node *n = map_find(&s->table->pairs, pair_hash(s, f), &p, sizeof p);
        return n == NULL ? NULL : HLY_CONTAINER_OF(n, struct subscription, pair);
    }
    LIST_EACH (it, &s->subscriptions) {
        struct subscription *sub = LIST_ENTRY(it, struct subscription, node);
        if (sub->feed == f)
            return sub;
    }
    return NULL;
}

struct subscription *subscription_find(struct subscriber *s, struct slice name, bool is_pattern)
{
    struct feed *f = feed_find(s->table, name, is_pattern);
    return f == NULL ? NULL : find_in(s, f);
}

static int pair_add(struct sub_table *t, struct subscription *sub)
{
    if (sub->is_indexed)
        return 0;
    int r = map_insert(&t->pairs, &sub->pair, pair_hash(sub->subscriber, sub->feed));
    sub->is_indexed = r == 0;
    return r;
}

/* From PAIRS_FROM subscriptions on, all of them are found by hash. */
static int index_pairs(struct subscriber *s, struct subscription *fresh)
{
    if (s->count + 1 < PAIRS_FROM)
        return 0;
    if (s->count + 1 == PAIRS_FROM)
        LIST_EACH (it, &s->subscriptions)
            if (pair_add(s->table, LIST_ENTRY(it, struct subscription, node)) < 0)
                return -ENOMEM;
    return pair_add(s->table, fresh);
}

static struct subscription *subscription_alloc(struct subscriber *s)
{
    if (!s->first_used) {
        s->first_used = true;
        s->first = (struct subscription){ .is_inline = true };
        return &s->first;
    }
    return calloc(1, sizeof(struct subscription));
}

static void subscription_free(struct subscription *sub)
{
    if (sub->is_indexed)
        map_remove(&sub->subscriber->table->pairs, &sub->pair);
    if (sub->is_inline)
        sub->subscriber->first_used = false;
    else
        free(sub);
}

int subscribe(struct subscriber *s, struct slice name, bool is_pattern, uint64_t *ret_seq)
{
    struct sub_table *t = s->table;
    struct feed *f = feed_get(t, name, is_pattern);
    if (f == NULL)
        return -ENOMEM;
    struct subscription *sub = find_in(s, f);
    if (sub != NULL) {
        *ret_seq = sub->from_seq;
        return 0;
    }
    int r = -ENOMEM;
    bool is_edge;
    if ((sub = subscription_alloc(s)) == NULL)
        goto err1;
    sub->subscriber = s;
    sub->feed = f;
    if (feed_reserve(f) < 0 || index_pairs(s, sub) < 0)
        goto err2;
    change_begin(t);
    if ((r = hub_subscribe_told(t->hub, name, is_pattern, t->reactor, f->count == 0, &sub->from_seq, &is_edge)) < 0) {
        change_end(t, s, name, is_pattern, 0);
        goto err2;
    }
    sub->index = f->count;
    f->subs[f->count++] = sub;
    list_push(&s->subscriptions, &sub->node);
    s->count++;
    t->subscriptions++;
    *ret_seq = sub->from_seq;
    change_end(t, s, name, is_pattern, SUBSCRIPTION_BEGINS | (is_edge ? SUBSCRIPTION_EDGE : 0u));
    return 1;
err2:
    subscription_free(sub);
err1:
    feed_release(t, f);
    return r;
}

static void subscription_end(struct subscription *sub)
{
    struct subscriber *s = sub->subscriber;
    struct sub_table *t = s->table;
    struct feed *f = sub->feed;
    bool is_edge;
    feed_remove(f, sub);
    change_begin(t);
    hub_unsubscribe_told(t->hub, feed_name(f), f->is_pattern, t->reactor, f->count == 0, &is_edge);
    list_remove(&sub->node);
    s->count--;
    t->subscriptions--;
    subscription_free(sub);
    change_end(t, s, feed_name(f), f->is_pattern, SUBSCRIPTION_ENDS | (is_edge ? SUBSCRIPTION_EDGE : 0u));
    feed_release(t, f);
}

bool unsubscribe(struct subscriber *s, struct slice name, bool is_pattern)
{
    struct subscription *sub = subscription_find(s, name, is_pattern);
    if (sub == NULL)
        return false;
    subscription_end(sub);
    return true;
}

void subscriber_done(struct subscriber *s)
{
    catchup_end(s);
    for (struct list *node; (node = list_pop(&s->subscriptions)) != NULL;)
        subscription_end(LIST_ENTRY(node, struct subscription, node));
}
