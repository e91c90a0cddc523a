#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- SipHash-1-3 (Aumasson and Bernstein; the reduced-round variant that hash tables use) */

static uint64_t key0, key1;

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

void hash_seed(const uint8_t key[16])
{
    key0 = load64(key);
    key1 = load64(key + 8);
}

#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))
#define SIP_ROUND(v) \
    do { \
        v[0] += v[1], v[1] = ROTL(v[1], 13) ^ v[0], v[0] = ROTL(v[0], 32); \
        v[2] += v[3], v[3] = ROTL(v[3], 16) ^ v[2]; \
        v[0] += v[3], v[3] = ROTL(v[3], 21) ^ v[0]; \
        v[2] += v[1], v[1] = ROTL(v[1], 17) ^ v[2], v[2] = ROTL(v[2], 32); \
    } while (0)

uint64_t hash_bytes(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    uint64_t v[4] = { key0 ^ 0x736f6d6570736575u, key1 ^ 0x646f72616e646f6du, key0 ^ 0x6c7967656e657261u,
                      key1 ^ 0x7465646279746573u };
    for (size_t words = len / 8; words > 0; words--, p += 8) {
        uint64_t m = load64(p);
        v[3] ^= m;
        SIP_ROUND(v);
        v[0] ^= m;
    }
    uint8_t tail[8] = { 0 };
    if (len % 8 > 0)
        memcpy(tail, p, len % 8);
    uint64_t last = load64(tail) | (uint64_t)len << 56;
    v[3] ^= last;
    SIP_ROUND(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    SIP_ROUND(v);
    SIP_ROUND(v);
    SIP_ROUND(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- the table */

#define MAP_MIN_BUCKETS 16
#define MAP_MOVE_STEP 8  /* old buckets moved per operation: each move frees room faster than inserts use it up */
#define MAP_LOOK_STEP 64 /* and empty ones passed over: a shrinking table has mostly those, and must outpace removals */

void map_init(struct map *m, map_equal_fn equal)
{
    *m = (struct map){ .equal = equal };
}

void map_done(struct map *m)
{
    free(m->cur.buckets);
    free(m->old.buckets);
    *m = (struct map){ .equal = m->equal };
}

static void half_put(struct map_half *h, struct map_node *node)
{
    struct map_node **b = &h->buckets[node->hash & h->mask];
    node->next = *b;
    *b = node;
    h->count++;
}

static void map_move_some(struct map *m)
{
    if (m->old.buckets == NULL)
        return;
    for (int moves = 0, looks = 0; moves < MAP_MOVE_STEP && looks < MAP_LOOK_STEP && m->moved <= m->old.mask; looks++) {
        struct map_node *node = m->old.buckets[m->moved];
        m->old.buckets[m->moved++] = NULL;
        moves += node != NULL;
        while (node != NULL) {
            struct map_node *next = node->next;
            m->old.count--;
            half_put(&m->cur, node);
            node = next;
        }
    }
    if (m->moved > m->old.mask) {
        free(m->old.buckets);
        m->old = (struct map_half){ 0 };
    }
}

static void map_resize(struct map *m, size_t buckets)
{
    struct map_node **fresh = calloc(buckets, sizeof *fresh);
    if (fresh == NULL)
        return; /* longer chains are better than no table */
    m->old = m->cur;
    m->moved = 0;
    m->cur = (struct map_half){ .buckets = fresh, .mask = buckets - 1 };
    map_move_some(m);
}

static void map_maybe_resize(struct map *m)
{
    if (m->old.buckets != NULL)
        return;
    size_t buckets = m->cur.mask + 1;
    if (m->cur.count >= buckets)
        map_resize(m, buckets * 2);
    else if (buckets > MAP_MIN_BUCKETS && m->cur.count < buckets / 8)
        map_resize(m, buckets / 2);
}

static struct map_node *half_find(struct map *m, struct map_half *h, uint64_t hash, const void *key, size_t key_len)
{
    if (h->buckets == NULL)
        return NULL;
    for (struct map_node *n = h->buckets[hash & h->mask]; n != NULL; n = n->next)
        if (n->hash == hash && m->equal(n, key, key_len))
            return n;
    return NULL;
}

struct map_node *map_find(struct map *m, uint64_t hash, const void *key, size_t key_len)
{
    struct map_node *n = half_find(m, &m->cur, hash, key, key_len);
    return n != NULL ? n : half_find(m, &m->old, hash, key, key_len);
}

int map_insert(struct map *m, struct map_node *node, uint64_t hash)
{
    if (m->cur.buckets == NULL) {
        m->cur.buckets = calloc(MAP_MIN_BUCKETS, sizeof *m->cur.buckets);
        if (m->cur.buckets == NULL)
            return -ENOMEM;
        m->cur.mask = MAP_MIN_BUCKETS - 1;
    }
    node->hash = hash;
    half_put(&m->cur, node);
    map_move_some(m);
    map_maybe_resize(m);
    return 0;
}

static bool half_remove(struct map_half *h, struct map_node *node)
{
    if (h->buckets == NULL)
        return false;
    for (struct map_node **n = &h->buckets[node->hash & h->mask]; *n != NULL; n = &(*n)->next) {
        if (*n == node) {
            *n = node->next;
            node->next = NULL;
            h->count--;
            return true;
        }
    }
    return false;
}

void map_remove(struct map *m, struct map_node *node)
{
    bool found = half_remove(&m->cur, node) || half_remove(&m->old, node);
    assert(found);
    (void)found;
    map_move_some(m);
    map_maybe_resize(m);
}

static void bucket_visit(struct map_half *h, size_t index, void (*visit)(struct map_node *, void *), void *ctx)
{
    for (struct map_node *n = h->buckets[index], *next; n != NULL; n = next) {
        next = n->next;
        visit(n, ctx);
    }
}

static void half_drain(struct map_half *h, void (*visit)(struct map_node *, void *), void *ctx)
{
    for (size_t i = 0; h->buckets != NULL && i <= h->mask; i++) {
        bucket_visit(h, i, visit, ctx);
        h->buckets[i] = NULL;
    }
    h->count = 0;
}

void map_drain(struct map *m, void (*visit)(struct map_node *node, void *ctx), void *ctx)
{
    half_drain(&m->cur, visit, ctx);
    half_drain(&m->old, visit, ctx);
}

static uint64_t reverse_bits(uint64_t v)
{
    uint64_t r = 0;
    for (int i = 0; i < 64; i++, v >>= 1)
        r = r << 1 | (v & 1);
    return r;
}

/* Counting up in bit-reversed order makes the cursor survive a change of size: what a bucket of the smaller table holds
 * is spread over buckets of the larger one that share its low bits, and those are neighbours in this order. */
bool map_scan(struct map *m, uint64_t *cursor, void (*visit)(struct map_node *node, void *ctx), void *ctx)
{
    if (m->cur.buckets == NULL)
        return false;
    struct map_half *small = &m->cur, *large = &m->old;
    if (large->buckets != NULL && large->mask < small->mask) {
        small = &m->old;
        large = &m->cur;
    }
    uint64_t v = *cursor;
    bucket_visit(small, v & small->mask, visit, ctx);
    size_t mask = small->mask;
    if (large->buckets != NULL) {
        mask = large->mask;
        do {
            bucket_visit(large, v & large->mask, visit, ctx);
            v |= ~(uint64_t)large->mask;
            v = reverse_bits(reverse_bits(v) + 1);
        } while ((v & (small->mask ^ large->mask)) != 0);
    } else {
        v |= ~(uint64_t)mask;
        v = reverse_bits(reverse_bits(v) + 1);
    }
    *cursor = v;
    return v != 0;
}
