/* Publishing once: which keys were used for which topic in the last idempotency_window, and what the answer was.
 *
 * Bounded in number and in age: the oldest keys go first. Under the hub's lock. */
#ifndef HALLEY_CORE_IDEMPOTENCY_H
#define HALLEY_CORE_IDEMPOTENCY_H

#include "base/hash.h"
#include "base/list.h"

struct key_table {
    struct map map;
    struct list by_age;
    uint64_t max_keys;
    uint64_t window_ms;
    uint64_t evicted; /* keys that were forgotten before their time, because of max_keys */
};

struct key_entry {
    struct map_node node;
    struct list age;
    uint64_t used_ms; /* monotonic */
    uint64_t seq;
    uint64_t subscribers;
    uint32_t key_len;
    uint8_t topic_len;
    char bytes[]; /* topic, then key */
};

void key_table_init(struct key_table *t, uint64_t max_keys, uint64_t window_ms);
void key_table_done(struct key_table *t);

/* The entry of a key that was used in the window, or NULL. */
struct key_entry *key_table_find(struct key_table *t, struct slice topic, struct slice key, uint64_t now_ms);

/* Remember a key that is not there. Returns the entry, whose seq and subscribers the caller fills in, or NULL when out of memory, or
 * when the table is to hold none. */
struct key_entry *key_table_add(struct key_table *t, struct slice topic, struct slice key, uint64_t now_ms);
/* Forget up to max of the keys that are too old, or leave no room for so many more. */
void key_table_expire(struct key_table *t, uint64_t now_ms, size_t room, int max);
void key_table_remove(struct key_table *t, struct key_entry *e);

#endif
