#include "core/topic_name.h"

#include <stdint.h>
#include <string.h>

#include "base/base.h"
#include "base/utf8.h"

static const char *level_end(const char *at, const char *end)
{
    const char *slash = memchr(at, '/', (size_t)(end - at));
    return slash != NULL ? slash : end;
}

/* ---- what is a name */

static bool has_control(const char *name, size_t len) /* of valid UTF-8: C2 80 to C2 9F are U+0080 to U+009F */
{
    const uint8_t *p = (const uint8_t *)name;
    for (size_t i = 0; i < len; i++)
        if (p[i] < 0x20 || p[i] == 0x7f || (p[i] == 0xc2 && p[i + 1] < 0xa0))
            return true;
    return false;
}

static const char *name_error(const char *name, size_t len)
{
    if (len == 0)
        return "the name is empty";
    if (len > TOPIC_MAX_BYTES)
        return "the name is longer than 255 bytes";
    if (!utf8_is_valid(name, len))
        return "the name is not valid UTF-8";
    if (has_control(name, len))
        return "the name contains a control character";
    size_t levels = 1;
    for (size_t i = 0; i < len; i++)
        levels += name[i] == '/';
    return levels > TOPIC_MAX_LEVELS ? "the name has more than 32 levels" : NULL;
}

bool topic_name_is_pattern(const char *name, size_t len)
{
    return len > 0 && memchr(name, '*', len) != NULL;
}

const char *topic_name_error(const char *name, size_t len)
{
    const char *error = name_error(name, len);
    if (error == NULL && topic_name_is_pattern(name, len))
        error = "a topic cannot contain '*'";
    return error;
}

static const char *wildcard_error(const char *name, size_t len)
{
    const char *end = name + len;
    for (const char *star = memchr(name, '*', len); star != NULL; star = memchr(star, '*', (size_t)(end - star))) {
        bool starts_level = star == name || star[-1] == '/';
        if (*name == '$' && level_end(name, end) > star)
            return "a first level that begins with '$' must be spelled out, without a wildcard";
        star++;
        if (starts_level && star < end && *star == '*') {
            if (++star != end)
                return "'**' must be the whole last level";
        }
        if (star < end && *star != '/')
            return "'*' must be the last character of its level";
    }
    return NULL;
}

const char *pattern_error(const char *pattern, size_t len)
{
    const char *error = name_error(pattern, len);
    return error != NULL ? error : wildcard_error(pattern, len);
}

/* ---- what matches what */

static bool is_hidden_from(const char *name, size_t len, const char *pattern, size_t pattern_len)
{
    return len > 0 && *name == '$' && pattern_len > 0 && *pattern == '*';
}

/* Byte by byte and without cutting levels: this one is held against every topic there is. */
bool pattern_matches(const char *pattern, size_t pattern_len, const char *topic, size_t topic_len)
{
    const char *p = pattern, *p_end = pattern + pattern_len;
    const char *t = topic, *t_end = topic + topic_len;
    if (is_hidden_from(topic, topic_len, pattern, pattern_len))
        return false;
    while (p < p_end) {
        if (*p == '*') {
            if (p + 1 < p_end && p[1] == '*')
                return true; /* at least one level is left: the '/' before it was matched, and a level may be empty */
            p++;
            t = level_end(t, t_end);
        } else {
            if (t == t_end || *p != *t)
                return false;
            p++;
            t++;
        }
    }
    return t == t_end;
}

/* A level of a pattern: `*` is a prefix of no bytes. */
enum level_kind { LEVEL_LITERAL, LEVEL_PREFIX, LEVEL_REST };

struct level {
    enum level_kind kind;
    const char *ptr;
    size_t len; /* without its wildcard: the fewest bytes that it can match */
};

struct level_cursor {
    const char *at; /* NULL when all levels were read */
    const char *end;
    size_t depth;
};

static struct level_cursor levels_of(const char *pattern, size_t len)
{
    return (struct level_cursor){ .at = pattern, .end = pattern + len };
}

/* As no topic has more levels, a `**` in the very last place is a `*`. */
static bool next_level(struct level_cursor *c, struct level *ret_level)
{
    if (c->at == NULL)
        return false;
    const char *stop = level_end(c->at, c->end);
    struct level l = { LEVEL_LITERAL, c->at, (size_t)(stop - c->at) };
    c->at = stop < c->end ? stop + 1 : NULL;
    c->depth++;
    if (l.len > 0 && stop[-1] == '*') {
        bool rest = l.len == 2 && l.ptr[0] == '*';
        l.kind = rest && c->depth < TOPIC_MAX_LEVELS ? LEVEL_REST : LEVEL_PREFIX;
        l.len -= rest ? 2 : 1;
    }
    *ret_level = l;
    return true;
}

static bool levels_meet(const struct level *a, const struct level *b)
{
    if ((a->kind == LEVEL_LITERAL && a->len < b->len) || (b->kind == LEVEL_LITERAL && b->len < a->len))
        return false;
    return memcmp(a->ptr, b->ptr, a->len < b->len ? a->len : b->len) == 0;
}

static size_t bytes_left(struct level_cursor *c)
{
    size_t bytes = 0;
    for (struct level l; next_level(c, &l);)
        bytes += l.len + 1;
    return bytes;
}

/* Level by level; what is left to ask is whether the shortest topic that both match is short enough to be one. */
bool pattern_intersects(const char *a, size_t a_len, const char *b, size_t b_len)
{
    struct level_cursor ca = levels_of(a, a_len), cb = levels_of(b, b_len);
    struct level la, lb;
    size_t bytes = 0; /* of the shortest topic, with a '/' after each level */
    if (is_hidden_from(a, a_len, b, b_len) || is_hidden_from(b, b_len, a, a_len))
        return false;
    while (next_level(&ca, &la)) {
        if (!next_level(&cb, &lb) || !levels_meet(&la, &lb))
            return false;
        bytes += (la.len > lb.len ? la.len : lb.len) + 1;
        if (la.kind == LEVEL_REST || lb.kind == LEVEL_REST)
            return bytes + bytes_left(la.kind == LEVEL_REST ? &cb : &ca) <= TOPIC_MAX_BYTES + 1;
    }
    return !next_level(&cb, &lb) && bytes <= TOPIC_MAX_BYTES + 1;
}

static bool level_covers(const struct level *outer, const struct level *inner)
{
    if (outer->kind == LEVEL_LITERAL && (inner->kind != LEVEL_LITERAL || inner->len != outer->len))
        return false;
    return inner->len >= outer->len && memcmp(outer->ptr, inner->ptr, outer->len) == 0;
}

/* Comparing level by level is exact, limits included: each '*' of inner takes a byte of its 255 that a topic may use
 * otherwise. So a wildcard always matches several levels that no single literal or longer prefix holds, and a `**` that
 * is not at the last possible place always matches two levels as well. */
bool pattern_covers(const char *outer, size_t outer_len, const char *inner, size_t inner_len)
{
    struct level_cursor co = levels_of(outer, outer_len), ci = levels_of(inner, inner_len);
    struct level lo, li;
    if (is_hidden_from(inner, inner_len, outer, outer_len))
        return false;
    while (next_level(&co, &lo)) {
        if (!next_level(&ci, &li))
            return false;
        if (lo.kind == LEVEL_REST)
            return true;
        if (li.kind == LEVEL_REST || !level_covers(&lo, &li))
            return false;
    }
    return !next_level(&ci, &li);
}
