/* Looking at borrowed bytes. ASCII only: the names of protocols are compared here, never the words of people. */
#ifndef HALLEY_BASE_SLICE_H
#define HALLEY_BASE_SLICE_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

static inline char slice_fold(char c) /* an ASCII letter in lower case, any other byte as it is */
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Does the slice equal the text? (equals: exactly; nocase: ASCII letters fold) */
static inline bool slice_equals(struct slice s, const char *text)
{
    size_t len = strlen(text);
    return s.len == len && (len == 0 || memcmp(s.ptr, text, len) == 0);
}

static inline bool slice_equals_nocase(struct slice s, const char *text)
{
    if (s.len != strlen(text))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (slice_fold(s.ptr[i]) != slice_fold(text[i]))
            return false;
    return true;
}

/* A copy with a NUL after it, for the caller to free; NULL when out of memory. Unlike strndup() it copies what follows a NUL. */
static inline char *slice_dup(struct slice s)
{
    char *copy = malloc(s.len + 1);
    if (copy != NULL) {
        if (s.len > 0)
            memcpy(copy, s.ptr, s.len);
        copy[s.len] = '\0';
    }
    return copy;
}

/* Without the spaces and tabs around it (RFC 9110 5.6.3, OWS). The pointer of a slice that ends up empty stays inside. */
static inline struct slice slice_trim(struct slice s)
{
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    while (s.len > 0 && (*s.ptr == ' ' || *s.ptr == '\t')) {
        s.ptr++;
        s.len--;
    }
    return s;
}

#endif
