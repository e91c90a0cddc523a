#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_done(struct buf *b)
{
    free(b->data);
    *b = (struct buf){ 0 };
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

uint8_t *buf_reserve(struct buf *b, size_t more)
{
    if (b->cap - b->len >= more && b->data != NULL)
        return b->data + b->len;
    if (more > SIZE_MAX / 4 - b->len)
        goto fail;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap - b->len < more)
        cap += cap / 2;
    uint8_t *data = realloc(b->data, cap);
    if (data == NULL)
        goto fail;
    b->data = data;
    b->cap = cap;
    return b->data + b->len;
fail:
    b->failed = true;
    return NULL;
}

int buf_append(struct buf *b, const void *bytes, size_t len)
{
    uint8_t *to = buf_reserve(b, len);
    if (to == NULL)
        return -ENOMEM;
    if (len > 0)
        memcpy(to, bytes, len);
    b->len += len;
    return 0;
}

int buf_str(struct buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    uint8_t *to = buf_reserve(b, (size_t)n + 1); /* vsnprintf() writes its NUL as well */
    if (to == NULL)
        return -ENOMEM;
    va_start(ap, fmt);
    vsnprintf((char *)to, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return 0;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    b->len -= n;
    if (b->len > 0)
        memmove(b->data, b->data + n, b->len);
}
