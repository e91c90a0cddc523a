#include "auth/count_table.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/list.h"

#define SHARDS 16        /* by the upper bits of the hash: the map uses the lower ones */
#define SWEPT_PER_STEP 2 /* idle entries looked at when one may be added: more than come */

struct count {
    struct map_node node;
    uint32_t holders; /* connections; 0: idle */
    uint8_t key_len;
    uint8_t bytes[] __attribute__((aligned(8))); /* with rates a struct count_rate; then the key */
};

struct count_rate {
    struct publish_rate rate;
    struct list idle; /* in shard->idle while nobody has it */
};

struct shard {
    pthread_mutex_t lock;
    struct map map;
    struct list idle; /* struct count_rate: who lost its last connection first is in front */
    size_t idle_count;
} __attribute__((aligned(64))); /* a cache line of its own */

struct count_table {
    struct shard shards[SHARDS];
    struct publish_limits limits;
    bool has_rates;
};

/* ---- one entry */

static struct count_rate *rate_of(struct count *c)
{
    return (struct count_rate *)(void *)c->bytes;
}

static struct count *of_idle(struct list *node)
{
    return (struct count *)(void *)((char *)LIST_ENTRY(node, struct count_rate, idle) - offsetof(struct count, bytes));
}

static bool key_equals(const struct count *c, size_t before, const void *key, size_t key_len)
{
    return c->key_len == key_len && memcmp(c->bytes + before, key, key_len) == 0;
}

static bool plain_equals(const struct map_node *node, const void *key, size_t key_len)
{
    return key_equals(HLY_CONTAINER_OF(node, struct count, node), 0, key, key_len);
}

static bool rated_equals(const struct map_node *node, const void *key, size_t key_len)
{
    return key_equals(HLY_CONTAINER_OF(node, struct count, node), sizeof(struct count_rate), key, key_len);
}

static size_t before_key(const struct count_table *t)
{
    return t->has_rates ? sizeof(struct count_rate) : 0;
}

static struct shard *shard_of(struct count_table *t, uint64_t hash)
{
    return &t->shards[hash >> 60];
}

static struct count *count_new(struct count_table *t, const void *key, size_t key_len, uint64_t now_ms)
{
    struct count *c = malloc(sizeof *c + before_key(t) + key_len);
    if (c == NULL)
        return NULL;
    *c = (struct count){ .key_len = (uint8_t)key_len };
    memcpy(c->bytes + before_key(t), key, key_len);
    if (t->has_rates) {
        publish_rate_init(&rate_of(c)->rate, &t->limits, now_ms);
        list_init(&rate_of(c)->idle);
    }
    return c;
}

/* ---- those that nobody has, under the shard's lock */

static void idle_forget(struct shard *s, struct count *c)
{
    list_remove(&rate_of(c)->idle);
    s->idle_count--;
    map_remove(&s->map, &c->node);
    free(c);
}

static void idle_sweep(struct shard *s, uint64_t now_ms)
{
    for (int n = 0; n < SWEPT_PER_STEP && !list_is_empty(&s->idle); n++) {
        struct count *c = of_idle(s->idle.next);
        if (s->idle_count > COUNT_IDLE_MAX / SHARDS || publish_rate_is_full(&rate_of(c)->rate, now_ms)) {
            idle_forget(s, c);
            continue;
        }
        list_remove(&rate_of(c)->idle); /* one that owes much must not stand before those that owe little */
        list_push(&s->idle, &rate_of(c)->idle);
    }
}

/* ---- the table */

struct count_table *count_table_new(const struct publish_limits *rates)
{
    struct count_table *t = aligned_alloc(64, sizeof *t);
    if (t == NULL)
        return NULL;
    *t = (struct count_table){ .has_rates = rates != NULL };
    if (t->has_rates)
        t->limits = *rates;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&t->shards[i].lock, NULL);
        map_init(&t->shards[i].map, t->has_rates ? rated_equals : plain_equals);
        list_init(&t->shards[i].idle);
    }
    return t;
}

void count_table_free(struct count_table *t)
{
    for (size_t i = 0; t != NULL && i < SHARDS; i++) {
        struct shard *s = &t->shards[i];
        while (!list_is_empty(&s->idle))
            idle_forget(s, of_idle(s->idle.next));
        assert(map_count(&s->map) == 0);
        map_done(&s->map);
        pthread_mutex_destroy(&s->lock);
    }
    free(t);
}

void count_table_set_rates(struct count_table *t, const struct publish_limits *rates)
{
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_lock(&t->shards[i].lock);
    t->limits = *rates;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_unlock(&t->shards[i].lock);
}

/* The key's entry, made if there is none. NULL when out of memory. */
static struct count *find_or_add(struct count_table *t, struct shard *s, uint64_t hash, const void *key, size_t key_len, uint64_t now_ms)
{
    struct map_node *node = map_find(&s->map, hash, key, key_len);
    if (node != NULL)
        return HLY_CONTAINER_OF(node, struct count, node);
    struct count *c = count_new(t, key, key_len, now_ms);
    if (c == NULL || map_insert(&s->map, &c->node, hash) < 0) {
        free(c);
        return NULL;
    }
    return c;
}

static int take_locked(struct count_table *t, struct shard *s, uint64_t hash, const void *key, size_t key_len, uint64_t max,
                       uint64_t now_ms, struct count **ret)
{
    idle_sweep(s, now_ms);
    struct count *c = find_or_add(t, s, hash, key, key_len, now_ms);
    if (c == NULL)
        return -ENOMEM;
    if (c->holders > 0 && max > 0 && c->holders >= max)
        return -EDQUOT;
    if (c->holders++ == 0 && t->has_rates && !list_is_empty(&rate_of(c)->idle)) {
        list_remove(&rate_of(c)->idle);
        s->idle_count--;
    }
    *ret = c;
    return 0;
}

int count_take(struct count_table *t, const void *key, size_t key_len, uint64_t max, uint64_t now_ms, struct count **ret,
               bool *ret_is_first)
{
    assert(key_len >= 1 && key_len <= COUNT_KEY_MAX);
    uint64_t hash = hash_bytes(key, key_len);
    struct shard *s = shard_of(t, hash);
    pthread_mutex_lock(&s->lock);
    int r = take_locked(t, s, hash, key, key_len, max, now_ms, ret);
    if (r == 0)
        *ret_is_first = (*ret)->holders == 1;
    pthread_mutex_unlock(&s->lock);
    return r;
}

static void give_last(struct count_table *t, struct shard *s, struct count *c, uint64_t now_ms)
{
    if (!t->has_rates || publish_rate_is_full(&rate_of(c)->rate, now_ms)) {
        map_remove(&s->map, &c->node);
        free(c);
        return;
    }
    list_push(&s->idle, &rate_of(c)->idle);
    s->idle_count++;
    idle_sweep(s, now_ms);
}

bool count_give(struct count_table *t, struct count *c, uint64_t now_ms)
{
    struct shard *s = shard_of(t, c->node.hash);
    pthread_mutex_lock(&s->lock);
    assert(c->holders > 0);
    bool is_last = --c->holders == 0;
    if (is_last)
        give_last(t, s, c, now_ms);
    pthread_mutex_unlock(&s->lock);
    return is_last;
}

bool count_has_key(const struct count_table *t, const struct count *c, const void *key, size_t key_len)
{
    return key_equals(c, before_key(t), key, key_len);
}

bool count_rate_take(struct count_table *t, struct count *c, uint64_t now_ms, uint32_t bytes, uint64_t *ret_retry_ms)
{
    if (!t->has_rates)
        return true;
    struct shard *s = shard_of(t, c->node.hash);
    pthread_mutex_lock(&s->lock);
    publish_rate_change(&rate_of(c)->rate, &t->limits, now_ms);
    bool taken = publish_rate_take(&rate_of(c)->rate, now_ms, bytes, ret_retry_ms);
    pthread_mutex_unlock(&s->lock);
    return taken;
}

uint64_t count_rate_spend(struct count_table *t, struct count *c, uint64_t now_ms, uint32_t messages, uint32_t bytes)
{
    if (!t->has_rates)
        return 0;
    struct shard *s = shard_of(t, c->node.hash);
    pthread_mutex_lock(&s->lock);
    publish_rate_change(&rate_of(c)->rate, &t->limits, now_ms);
    uint64_t wait_ms = publish_rate_spend(&rate_of(c)->rate, now_ms, messages, bytes);
    pthread_mutex_unlock(&s->lock);
    return wait_ms;
}

size_t count_table_size(struct count_table *t)
{
    size_t n = 0;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&t->shards[i].lock);
        n += map_count(&t->shards[i].map);
        pthread_mutex_unlock(&t->shards[i].lock);
    }
    return n;
}
