#include "auth/answer_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/list.h"

#define TOKEN_BYTES_PER_TEXT 6 /* a name of one byte, `"a",` in JSON, takes 18 in a token: at most, then */

struct entry {
    struct map_node node;
    struct list used; /* in cache->used */
    uint64_t until_ms;
    size_t bytes;
    struct cached_answer answer;
    uint8_t key[ANSWER_KEY_BYTES];
};

struct answer_cache {
    struct map entries;
    struct list used; /* the longest unused first */
    size_t bytes;
};

static bool entry_equals(const struct map_node *node, const void *key, size_t key_len)
{
    return memcmp(HLY_CONTAINER_OF(node, const struct entry, node)->key, key, key_len) == 0;
}

static uint64_t hash_of(const uint8_t *key) /* it is a hash already */
{
    uint64_t hash;
    memcpy(&hash, key, sizeof hash);
    return hash;
}

struct answer_cache *answer_cache_new(void)
{
    struct answer_cache *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    map_init(&c->entries, entry_equals);
    list_init(&c->used);
    return c;
}

static void drop(struct answer_cache *c, struct entry *e)
{
    map_remove(&c->entries, &e->node);
    list_remove(&e->used);
    c->bytes -= e->bytes;
    token_unref(e->answer.token);
    free(e);
}

static struct entry *oldest(struct answer_cache *c)
{
    return list_is_empty(&c->used) ? NULL : LIST_ENTRY(c->used.next, struct entry, used);
}

void answer_cache_clear(struct answer_cache *c)
{
    for (struct entry *e; (e = oldest(c)) != NULL;)
        drop(c, e);
}

void answer_cache_free(struct answer_cache *c)
{
    if (c == NULL)
        return;
    answer_cache_clear(c);
    map_done(&c->entries);
    free(c);
}

static struct entry *find(struct answer_cache *c, const uint8_t *key)
{
    struct map_node *n = map_find(&c->entries, hash_of(key), key, ANSWER_KEY_BYTES);
    return n == NULL ? NULL : HLY_CONTAINER_OF(n, struct entry, node);
}

void answer_cache_put(struct answer_cache *c, const uint8_t key[ANSWER_KEY_BYTES], const struct cached_answer *answer, size_t body_bytes,
                      uint64_t until_ms, uint64_t max_bytes)
{
    size_t bytes = sizeof(struct entry) + (answer->token == NULL ? 0 : sizeof *answer->token + TOKEN_BYTES_PER_TEXT * body_bytes);
    struct entry *e = find(c, key);
    if (e != NULL)
        drop(c, e);
    if (bytes > max_bytes)
        return;
    while (c->bytes > max_bytes - bytes)
        drop(c, oldest(c));
    if ((e = malloc(sizeof *e)) == NULL)
        return;
    *e = (struct entry){ .until_ms = until_ms, .bytes = bytes, .answer = *answer };
    memcpy(e->key, key, ANSWER_KEY_BYTES);
    if (map_insert(&c->entries, &e->node, hash_of(key)) < 0) {
        free(e);
        return;
    }
    if (answer->token != NULL)
        token_ref(answer->token);
    list_push(&c->used, &e->used);
    c->bytes += bytes;
}

bool answer_cache_get(struct answer_cache *c, const uint8_t key[ANSWER_KEY_BYTES], uint64_t now_ms, struct cached_answer *ret)
{
    struct entry *e = find(c, key);
    if (e == NULL)
        return false;
    if (e->until_ms <= now_ms) {
        drop(c, e);
        return false;
    }
    list_remove(&e->used);
    list_push(&c->used, &e->used);
    *ret = e->answer;
    return true;
}

size_t answer_cache_count(const struct answer_cache *c)
{
    return map_count(&c->entries);
}
