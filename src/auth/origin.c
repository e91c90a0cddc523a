#include "auth/origin.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static bool same(struct slice a, struct slice b)
{
    return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

/* The part after "scheme://"; NULL ptr if there is none. */
static struct slice authority(struct slice origin)
{
    const char *p = memmem(origin.ptr, origin.len, "://", 3);
    if (p == NULL)
        return (struct slice){ 0 };
    p += 3;
    return (struct slice){ p, (size_t)(origin.ptr + origin.len - p) };
}

/* Names only: what browsers send has no path, user or port there, so neither has what the `*` stands for. */
static bool is_host_name(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)p[i]) && p[i] != '-' && p[i] != '.' && p[i] != '_')
            return false;
    return len > 0;
}

/* `https://` `*.example.com` against `https://a.b.example.com`: same scheme, and the host ends in the rest with the dot. */
static bool is_subdomain(struct slice origin, struct slice entry)
{
    const char *star = memmem(entry.ptr, entry.len, "://*.", 5);
    if (star == NULL)
        return false;
    size_t scheme = (size_t)(star - entry.ptr) + 3;
    struct slice tail = { star + 4, entry.len - scheme - 1 }; /* ".example.com" */
    if (origin.len < scheme + tail.len || strncasecmp(origin.ptr, entry.ptr, scheme) != 0)
        return false;
    struct slice end = { origin.ptr + origin.len - tail.len, tail.len };
    return same(end, tail) && is_host_name(origin.ptr + scheme, origin.len - scheme - tail.len);
}

static bool is_null(struct slice origin)
{
    return origin.len == 4 && memcmp(origin.ptr, "null", 4) == 0;
}

bool origin_is_own(struct slice origin, struct slice host)
{
    struct slice mine = origin.ptr == NULL ? origin : authority(origin);
    return mine.ptr != NULL && host.len > 0 && same(mine, host);
}

bool origin_is_named(struct slice origin, const struct slice *list, size_t count)
{
    for (size_t i = 0; i < count && origin.ptr != NULL && !is_null(origin); i++)
        if (same(origin, list[i]) || is_subdomain(origin, list[i]))
            return memmem(origin.ptr, origin.len, "://", 3) != NULL; /* a header may say `*`, a page has a scheme and a host */
    return false;
}

bool origin_is_allowed(struct slice origin, struct slice host, const struct slice *list, size_t count)
{
    if (origin.ptr == NULL || origin_is_own(origin, host))
        return true;
    for (size_t i = 0; i < count; i++) {
        bool is_any = list[i].len == 1 && list[i].ptr[0] == '*';
        if ((is_any && !is_null(origin)) || same(origin, list[i]) || is_subdomain(origin, list[i]))
            return true;
    }
    return false;
}
