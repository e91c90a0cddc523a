/* Keyed hashing, and an intrusive hash table that never stops the world.
 *
 * Names come from the network, so the hash is SipHash-1-3 with a random key per process: nobody can choose names that
 * collide. The table grows and shrinks a few buckets per operation: with a million entries under the hub's lock, one
 * insert must not pay for moving all the others. Not thread-safe; whoever owns the table locks. */
#ifndef HALLEY_BASE_HASH_H
#define HALLEY_BASE_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"

/* Take the process's key from 16 random bytes; call once, before the first hash. Without it the key is all zero. */
void hash_seed(const uint8_t key[16]);

/* SipHash-1-3 of the bytes under the process's key. Any thread. */
uint64_t hash_bytes(const void *bytes, size_t len);

struct map_node { /* embedded in what the table holds */
    struct map_node *next;
    uint64_t hash;
};

/* Does this node have that key? The hashes are known to be equal. */
typedef bool (*map_equal_fn)(const struct map_node *node, const void *key, size_t key_len);

struct map_half {
    struct map_node **buckets;
    size_t mask; /* bucket count - 1 */
    size_t count;
};

struct map {
    struct map_half cur; /* where inserts go */
    struct map_half old; /* what is still to be moved; buckets NULL when nothing is */
    size_t moved;        /* old buckets [0, moved) are empty */
    map_equal_fn equal;
};

void map_init(struct map *m, map_equal_fn equal);
void map_done(struct map *m); /* frees the buckets; the entries are the caller's */

static inline size_t map_count(const struct map *m)
{
    return m->cur.count + m->old.count;
}

struct map_node *map_find(struct map *m, uint64_t hash, const void *key, size_t key_len); /* or NULL */

/* Insert a node whose key is not there yet. Returns 0, or -ENOMEM when the very first buckets cannot be had; a table
 * that cannot grow goes on with longer chains. */
int map_insert(struct map *m, struct map_node *node, uint64_t hash);
void map_remove(struct map *m, struct map_node *node); /* which must be in the table */

/* Empty the table: each node is handed to visit, which may free it. */
void map_drain(struct map *m, void (*visit)(struct map_node *node, void *ctx), void *ctx);

/* Walk the table in slices. Start with *cursor = 0; each call visits the nodes of at least one bucket and returns false
 * when all have been seen. Entries that live through the whole walk are seen at least once, even if the table changes
 * size in between; one may then be seen twice. The table must not change in visit, only between the calls. */
bool map_scan(struct map *m, uint64_t *cursor, void (*visit)(struct map_node *node, void *ctx), void *ctx);

#endif
