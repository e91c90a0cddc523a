/* Answers of an application that said for how long they hold (auth.callback): what was asked, by its SHA-256, and what came
 * of it. Bounded in bytes: over it, those that were not used for the longest time go first. Not thread-safe. */
#ifndef HALLEY_AUTH_ANSWER_CACHE_H
#define HALLEY_AUTH_ANSWER_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/token.h"

#define ANSWER_KEY_BYTES 32

struct answer_cache;

struct cached_answer {
    unsigned status;     /* 200, 401 or 403 */
    struct token *token; /* of 200; NULL: nobody in particular */
};

struct answer_cache *answer_cache_new(void); /* NULL when out of memory */
void answer_cache_free(struct answer_cache *c); /* NULL is accepted */

/* Keep an answer until a time, and takes a reference of the token. What is over max_bytes goes; an answer that is too big, or
 * that memory does not suffice for, is not kept. body_bytes: what it was read from. */
void answer_cache_put(struct answer_cache *c, const uint8_t key[ANSWER_KEY_BYTES], const struct cached_answer *answer, size_t body_bytes,
                      uint64_t until_ms, uint64_t max_bytes);

/* Is there an answer that still holds? ret->token is borrowed until the next put. */
bool answer_cache_get(struct answer_cache *c, const uint8_t key[ANSWER_KEY_BYTES], uint64_t now_ms, struct cached_answer *ret);

void answer_cache_clear(struct answer_cache *c);
size_t answer_cache_count(const struct answer_cache *c);

#endif
