/* Is it UTF-8 (RFC 3629)? For text that comes in pieces, cut anywhere, also within a code point.
 *
 * The verdict comes with the first byte that no valid text could have there: an overlong form, a surrogate or a code
 * point over U+10FFFF is refused at its second byte, before the rest has arrived. ASCII is checked eight bytes at a
 * time. */
#ifndef HALLEY_BASE_UTF8_H
#define HALLEY_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct utf8_state { /* what survives the end of a piece; all zero is the start of a text */
    uint8_t need;   /* continuation bytes that the open code point still lacks */
    uint8_t low;    /* if need > 0: the next byte is in [low, high] */
    uint8_t high;
};

/* Take the next piece (borrowed). Returns 0, or -EILSEQ when one of its bytes cannot be UTF-8 after what came before;
 * the state is then of no further use. */
int utf8_feed(struct utf8_state *s, const uint8_t *bytes, size_t len);

/* May the text end here? False within a code point. */
bool utf8_is_complete(const struct utf8_state *s);

/* Is this whole text UTF-8? */
bool utf8_is_valid(const void *text, size_t len);

#endif
