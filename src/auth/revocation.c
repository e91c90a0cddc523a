/* A hash table finds a name, a heap (the earliest `until` first) what has had its time; both hold the same entries. */
#include "auth/revocation.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define EXPIRED_AT_ONCE 1000 /* under the lock */

struct entry {
    struct map_node node;
    uint64_t until_ms;
    uint64_t revoked_ms;
    size_t place; /* in the heap */
    uint8_t kind; /* enum revocation_kind */
    uint8_t name_len;
    char name[];
};

struct revocations {
    pthread_mutex_t lock;
    struct map entries;
    struct entry **heap;
    size_t cap;
    size_t max;
    _Atomic size_t count; /* changed under the lock, and looked at without it */
};

static size_t count_of(const struct revocations *r)
{
    return atomic_load_explicit(&r->count, memory_order_acquire);
}

/* ---- the heap */

static void put(struct revocations *r, size_t place, struct entry *e)
{
    r->heap[place] = e;
    e->place = place;
}

/* Its time is later than before, or it has just come from the end. */
static void sift_down(struct revocations *r, struct entry *e, size_t place, size_t count)
{
    for (size_t below; (below = 2 * place + 1) < count; place = below) {
        if (below + 1 < count && r->heap[below + 1]->until_ms < r->heap[below]->until_ms)
            below++;
        if (e->until_ms <= r->heap[below]->until_ms)
            break;
        put(r, place, r->heap[below]);
    }
    put(r, place, e);
}

static void sift_up(struct revocations *r, struct entry *e, size_t place)
{
    for (size_t above; place > 0 && r->heap[above = (place - 1) / 2]->until_ms > e->until_ms; place = above)
        put(r, place, r->heap[above]);
    put(r, place, e);
}

static int reserve(struct revocations *r, size_t count)
{
    if (count < r->cap)
        return 0;
    size_t cap = r->cap == 0 ? 16 : r->cap * 2;
    struct entry **heap = realloc(r->heap, cap * sizeof(struct entry *));
    if (heap == NULL)
        return -ENOMEM;
    r->heap = heap;
    r->cap = cap;
    return 0;
}

/* ---- entries */

struct key {
    enum revocation_kind kind;
    struct slice name;
};

static bool entry_equals(const struct map_node *node, const void *key, size_t key_len)
{
    (void)key_len;
    const struct entry *e = HLY_CONTAINER_OF(node, const struct entry, node);
    const struct key *k = key;
    return e->kind == k->kind && e->name_len == k->name.len && memcmp(e->name, k->name.ptr, k->name.len) == 0;
}

static struct entry *find(struct revocations *r, enum revocation_kind kind, struct slice name)
{
    struct key key = { kind, name };
    struct map_node *n = map_find(&r->entries, hash_bytes(name.ptr, name.len), &key, 0);
    return n == NULL ? NULL : HLY_CONTAINER_OF(n, struct entry, node);
}

static void expire(struct revocations *r, uint64_t now_ms)
{
    size_t count = count_of(r);
    for (int n = 0; n < EXPIRED_AT_ONCE && count > 0 && r->heap[0]->until_ms <= now_ms; n++) {
        struct entry *e = r->heap[0];
        count--;
        if (count > 0)
            sift_down(r, r->heap[count], 0, count);
        map_remove(&r->entries, &e->node);
        free(e);
    }
    atomic_store_explicit(&r->count, count, memory_order_release);
}

static int add_new(struct revocations *r, enum revocation_kind kind, struct slice name, uint64_t until_ms, uint64_t now_ms)
{
    size_t count = count_of(r);
    if (count >= r->max)
        return -EDQUOT;
    struct entry *e = malloc(sizeof *e + name.len);
    if (e == NULL || reserve(r, count) < 0 || map_insert(&r->entries, &e->node, hash_bytes(name.ptr, name.len)) < 0) {
        free(e);
        return -ENOMEM;
    }
    e->until_ms = until_ms;
    e->revoked_ms = now_ms;
    e->kind = (uint8_t)kind;
    e->name_len = (uint8_t)name.len;
    memcpy(e->name, name.ptr, name.len);
    sift_up(r, e, count);
    atomic_store_explicit(&r->count, count + 1, memory_order_release);
    return 0;
}

static int add(struct revocations *r, enum revocation_kind kind, struct slice name, uint64_t until_ms, uint64_t now_ms)
{
    expire(r, now_ms);
    struct entry *e = find(r, kind, name);
    if (until_ms <= now_ms)
        return 0;
    if (e == NULL)
        return add_new(r, kind, name, until_ms, now_ms);
    if (e->revoked_ms < now_ms)
        e->revoked_ms = now_ms;
    if (e->until_ms < until_ms) {
        e->until_ms = until_ms;
        sift_down(r, e, e->place, count_of(r));
    }
    return 0;
}

/* ---- the list */

struct revocations *revocations_new(size_t max)
{
    struct revocations *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->max = max;
    pthread_mutex_init(&r->lock, NULL);
    map_init(&r->entries, entry_equals);
    return r;
}

void revocations_set_max(struct revocations *r, size_t max)
{
    pthread_mutex_lock(&r->lock);
    r->max = max;
    pthread_mutex_unlock(&r->lock);
}

void revocations_free(struct revocations *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < count_of(r); i++)
        free(r->heap[i]);
    free(r->heap);
    map_done(&r->entries);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

int revocations_add(struct revocations *r, enum revocation_kind kind, struct slice name, uint64_t until_ms,
                    uint64_t now_ms)
{
    assert(name.len > 0 && name.len <= TOKEN_NAME_MAX);
    pthread_mutex_lock(&r->lock);
    int result = add(r, kind, name, until_ms, now_ms);
    pthread_mutex_unlock(&r->lock);
    return result;
}

static bool has(struct revocations *r, const struct token *t, uint64_t now_ms)
{
    const struct entry *e = find(r, REVOKED_TOKEN, (struct slice){ t->id, strlen(t->id) });
    if (e != NULL && e->until_ms > now_ms)
        return true;
    e = find(r, REVOKED_USER, (struct slice){ t->subject, strlen(t->subject) });
    return e != NULL && e->until_ms > now_ms && t->issued_ms <= e->revoked_ms;
}

bool revocations_has(struct revocations *r, const struct token *t, uint64_t now_ms)
{
    if (r == NULL || t == NULL || count_of(r) == 0)
        return false;
    pthread_mutex_lock(&r->lock);
    expire(r, now_ms);
    bool is_revoked = has(r, t, now_ms);
    pthread_mutex_unlock(&r->lock);
    return is_revoked;
}

size_t revocations_count(struct revocations *r, uint64_t now_ms)
{
    pthread_mutex_lock(&r->lock);
    expire(r, now_ms);
    size_t count = count_of(r);
    pthread_mutex_unlock(&r->lock);
    return count;
}

void revocations_each(struct revocations *r, uint64_t now_ms,
                      void (*visit)(enum revocation_kind kind, struct slice name, uint64_t until_ms, uint64_t since_ms, void *ctx), void *ctx)
{
    pthread_mutex_lock(&r->lock);
    expire(r, now_ms);
    for (size_t i = 0; i < count_of(r); i++) {
        const struct entry *e = r->heap[i];
        visit((enum revocation_kind)e->kind, (struct slice){ e->name, e->name_len }, e->until_ms, e->revoked_ms, ctx);
    }
    pthread_mutex_unlock(&r->lock);
}
