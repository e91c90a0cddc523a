/* What every file may assume: the cleanup attribute and a few macros that the language lacks. */
#ifndef HALLEY_BASE_BASE_H
#define HALLEY_BASE_BASE_H

#include <stddef.h>
#include <stdint.h>

#define HLY_CLEANUP(fn) __attribute__((cleanup(fn))) /* with printf-checking, our only compiler extensions */
#define HLY_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#define HLY_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define HLY_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define HLY_LIKELY(x) __builtin_expect(!!(x), 1)
#define HLY_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Borrowed bytes that are not NUL-terminated: what parsers hand out. */
struct slice {
    const char *ptr;
    size_t len;
};

#define SLICE_LIT(s) ((struct slice){ (s), sizeof(s) - 1 })

#endif
