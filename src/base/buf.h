/* A growable byte buffer: append at the end, consume from the front.
 *
 * Embedded in its owner; all zero is a valid empty buffer. A failed append leaves the content as it was and sets
 * `failed`, so that a writer of many parts checks once, at the end. */
#ifndef HALLEY_BASE_BUF_H
#define HALLEY_BASE_BUF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"

struct buf {
    uint8_t *data; /* bytes [0, len) are content */
    size_t len;
    size_t cap;
    bool failed; /* an append ran out of memory; sticky until buf_reset() or buf_done() */
};

void buf_done(struct buf *b);  /* frees the memory; b is empty again */
void buf_reset(struct buf *b); /* forgets the content, keeps the memory */

/* Make room for `more` bytes after len. Returns where they go, or NULL (and failed is set). */
uint8_t *buf_reserve(struct buf *b, size_t more);

/* Copy bytes in. Returns 0 or -ENOMEM. buf_str() takes a C string, buf_printf() a format. */
int buf_append(struct buf *b, const void *bytes, size_t len);
int buf_str(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) HLY_PRINTF(2, 3);

/* Drop the first n bytes (n <= len), moving the rest to the front. */
void buf_consume(struct buf *b, size_t n);

static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){ (const char *)b->data, b->len };
}

#endif
