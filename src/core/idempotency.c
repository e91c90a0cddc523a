#include "core/idempotency.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define KEYS_EXPIRED_PER_CALL 8 /* more than one comes in per call, so the table shrinks; few enough for a short lock */

struct key_name {
    struct slice topic;
    struct slice key;
};

static bool key_equals(const struct map_node *node, const void *key, size_t key_len)
{
    (void)key_len;
    const struct key_entry *e = HLY_CONTAINER_OF(node, const struct key_entry, node);
    const struct key_name *n = key;
    return e->topic_len == n->topic.len && e->key_len == n->key.len && memcmp(e->bytes, n->topic.ptr, e->topic_len) == 0 &&
           memcmp(e->bytes + e->topic_len, n->key.ptr, e->key_len) == 0;
}

static uint64_t key_hash(struct slice topic, struct slice key)
{
    return hash_bytes(topic.ptr, topic.len) * 31 + hash_bytes(key.ptr, key.len);
}

void key_table_init(struct key_table *t, uint64_t max_keys, uint64_t window_ms)
{
    map_init(&t->map, key_equals);
    list_init(&t->by_age);
    t->max_keys = max_keys;
    t->window_ms = window_ms;
}

void key_table_remove(struct key_table *t, struct key_entry *e)
{
    map_remove(&t->map, &e->node);
    list_remove(&e->age);
    free(e);
}

void key_table_done(struct key_table *t)
{
    while (!list_is_empty(&t->by_age))
        key_table_remove(t, LIST_ENTRY(t->by_age.next, struct key_entry, age));
    map_done(&t->map);
}

/* The clock is read before the hub's lock is had: a key may have been used a moment after `now`. */
static bool key_is_alive(const struct key_table *t, const struct key_entry *e, uint64_t now_ms)
{
    return clock_age_ms(now_ms, e->used_ms) < t->window_ms;
}

/* Make room for one more. */
void key_table_expire(struct key_table *t, uint64_t now_ms, size_t room, int max)
{
    for (int n = 0; n < max && !list_is_empty(&t->by_age); n++) {
        struct key_entry *oldest = LIST_ENTRY(t->by_age.next, struct key_entry, age);
        bool is_alive = key_is_alive(t, oldest, now_ms);
        if (is_alive && map_count(&t->map) + room <= t->max_keys)
            return;
        t->evicted += is_alive;
        key_table_remove(t, oldest);
    }
}

struct key_entry *key_table_find(struct key_table *t, struct slice topic, struct slice key, uint64_t now_ms)
{
    struct key_name name = { topic, key };
    struct map_node *n = map_find(&t->map, key_hash(topic, key), &name, 0);
    if (n == NULL)
        return NULL;
    struct key_entry *e = HLY_CONTAINER_OF(n, struct key_entry, node);
    if (key_is_alive(t, e, now_ms))
        return e;
    key_table_remove(t, e);
    return NULL;
}

struct key_entry *key_table_add(struct key_table *t, struct slice topic, struct slice key, uint64_t now_ms)
{
    if (t->max_keys == 0)
        return NULL;
    key_table_expire(t, now_ms, 1, KEYS_EXPIRED_PER_CALL);
    struct key_entry *e = malloc(sizeof *e + topic.len + key.len);
    if (e == NULL)
        return NULL;
    *e = (struct key_entry){ .used_ms = now_ms, .key_len = (uint32_t)key.len, .topic_len = (uint8_t)topic.len };
    memcpy(e->bytes, topic.ptr, topic.len);
    memcpy(e->bytes + topic.len, key.ptr, key.len);
    if (map_insert(&t->map, &e->node, key_hash(topic, key)) < 0) {
        free(e);
        return NULL;
    }
    list_push(&t->by_age, &e->age);
    return e;
}
