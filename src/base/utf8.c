#include "base/utf8.h"

#include <errno.h>
#include <string.h>

/* What may follow this first byte of a code point: the rows of RFC 3629 4 (UTF8-2, UTF8-3, UTF8-4). The narrower ranges
 * are those that keep out overlong forms (E0, F0), surrogates (ED) and what is over U+10FFFF (F4). */
static int begin_code_point(struct utf8_state *s, uint8_t first)
{
    if (first < 0xc2 || first > 0xf4)
        return -EILSEQ;
    s->need = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    s->low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    s->high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    return 0;
}

static int continue_code_point(struct utf8_state *s, uint8_t next)
{
    if (next < s->low || next > s->high)
        return -EILSEQ;
    *s = (struct utf8_state){ .need = (uint8_t)(s->need - 1), .low = 0x80, .high = 0xbf };
    return 0;
}

/* ---- the fast way over what lies whole in the piece, which is nearly everything */

static bool is_ascii_word(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return (word & 0x8080808080808080u) == 0;
}

static const uint8_t *skip_ascii(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 8 && is_ascii_word(p))
        p += 8;
    while (p < end && *p < 0x80)
        p++;
    return p;
}

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Bytes of the code point at p, of which 4 can be read; 0 if it is none. */
static size_t code_point_length(const uint8_t *p)
{
    struct utf8_state s;
    if (begin_code_point(&s, p[0]) < 0 || p[1] < s.low || p[1] > s.high)
        return 0;
    if ((s.need > 1 && !is_continuation(p[2])) || (s.need > 2 && !is_continuation(p[3])))
        return 0;
    return 1u + s.need;
}

/* To the end, or to what is not valid or perhaps not whole. */
static const uint8_t *skip_whole_code_points(const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        if (*p < 0x80) {
            p = skip_ascii(p, end);
            continue;
        }
        size_t len = end - p >= 4 ? code_point_length(p) : 0;
        if (len == 0)
            break;
        p += len;
    }
    return p;
}

/* ---- the validator */

int utf8_feed(struct utf8_state *s, const uint8_t *bytes, size_t len)
{
    if (len == 0)
        return 0;
    for (const uint8_t *p = bytes, *end = bytes + len; p < end; p++) {
        if (s->need == 0) {
            p = skip_whole_code_points(p, end);
            if (p == end)
                break;
        }
        int rc = s->need > 0 ? continue_code_point(s, *p) : begin_code_point(s, *p);
        if (rc < 0)
            return rc;
    }
    return 0;
}

bool utf8_is_complete(const struct utf8_state *s)
{
    return s->need == 0;
}

bool utf8_is_valid(const void *text, size_t len)
{
    struct utf8_state s = { 0 };
    return utf8_feed(&s, text, len) == 0 && utf8_is_complete(&s);
}
