#include "proto/json_write.h"

#include <openssl/evp.h>
#include <string.h>

/* A size and what is put come from the same two functions, is_plain_word() and form_at(), and so agree. Nearly all text is
 * plain: it is looked at, and copied, eight bytes at a time. No size overflows: a byte becomes 6 at most, and nothing that
 * lies in memory has SIZE_MAX / 6 bytes. */

/* What a byte can be. A writer has some of them as `special`; every other byte is plain and copied. */
#define ESCAPED 1u  /* in strings: control characters, quotes and backslashes (RFC 8259 7) */
#define LINE_END 2u /* in values: CR and LF, which can only stand between tokens there */
#define UNSAFE 4u   /* in scripts: '<', '>', '&', and what U+2028 and U+2029 begin with */

/* U+2028 is E2 80 A8, U+2029 is E2 80 A9: before ES2019 they are line ends, which no string literal may have. */
#define SEPARATOR_FIRST 0xe2

static const uint8_t kinds[256] = {
    /* and the control characters, which are all ESCAPED */
    ['\n'] = LINE_END, ['\r'] = LINE_END, ['"'] = ESCAPED, ['\\'] = ESCAPED,
    ['<'] = UNSAFE,    ['>'] = UNSAFE,    ['&'] = UNSAFE,  [SEPARATOR_FIRST] = UNSAFE,
};

static bool is_special(uint8_t byte, unsigned special)
{
    unsigned kind = kinds[byte] | (byte < 0x20 ? ESCAPED : 0);
    return (kind & special) != 0;
}

/* ---- eight bytes at once: not 0 if the word has such a byte (which one is not to be read from it) */

#define EACH_BYTE(byte) (UINT64_MAX / 255 * (byte))

static uint64_t has_below(uint64_t word, uint8_t limit) /* limit: 1 to 0x80 */
{
    return (word - EACH_BYTE(limit)) & ~word & EACH_BYTE(0x80u);
}

static uint64_t has_byte(uint64_t word, uint8_t byte)
{
    return has_below(word ^ EACH_BYTE(byte), 1);
}

static bool is_plain_word(uint64_t word, unsigned special)
{
    uint64_t found = 0;
    if ((special & ESCAPED) != 0)
        found |= has_below(word, 0x20) | has_byte(word, '"') | has_byte(word, '\\');
    if ((special & LINE_END) != 0)
        found |= has_byte(word, '\r') | has_byte(word, '\n');
    if ((special & UNSAFE) != 0) /* '<' and '>' are one bit apart */
        found |= has_byte(word | EACH_BYTE('<' ^ '>'), '>') | has_byte(word, '&') | has_byte(word, SEPARATOR_FIRST);
    return found == 0;
}

/* ---- byte by byte */

struct form { /* how a special byte, or code point, is written */
    char text[6];
    uint8_t len;
    uint8_t used; /* bytes of the input that it stands for */
};

static const struct form controls[32] = {
    { "\\u0000", 6, 1 }, { "\\u0001", 6, 1 }, { "\\u0002", 6, 1 }, { "\\u0003", 6, 1 }, { "\\u0004", 6, 1 },
    { "\\u0005", 6, 1 }, { "\\u0006", 6, 1 }, { "\\u0007", 6, 1 }, { "\\b", 2, 1 },     { "\\t", 2, 1 },
    { "\\n", 2, 1 },     { "\\u000b", 6, 1 }, { "\\f", 2, 1 },     { "\\r", 2, 1 },     { "\\u000e", 6, 1 },
    { "\\u000f", 6, 1 }, { "\\u0010", 6, 1 }, { "\\u0011", 6, 1 }, { "\\u0012", 6, 1 }, { "\\u0013", 6, 1 },
    { "\\u0014", 6, 1 }, { "\\u0015", 6, 1 }, { "\\u0016", 6, 1 }, { "\\u0017", 6, 1 }, { "\\u0018", 6, 1 },
    { "\\u0019", 6, 1 }, { "\\u001a", 6, 1 }, { "\\u001b", 6, 1 }, { "\\u001c", 6, 1 }, { "\\u001d", 6, 1 },
    { "\\u001e", 6, 1 }, { "\\u001f", 6, 1 },
};

static const struct form quote = { "\\\"", 2, 1 };
static const struct form backslash = { "\\\\", 2, 1 };
static const struct form less = { "\\u003c", 6, 1 };
static const struct form greater = { "\\u003e", 6, 1 };
static const struct form ampersand = { "\\u0026", 6, 1 };
static const struct form space = { " ", 1, 1 };
static const struct form separator_first = { "\xe2", 1, 1 }; /* of another code point */
static const struct form separators[2] = { { "\\u2028", 6, 3 }, { "\\u2029", 6, 3 } };

static bool is_separator(const uint8_t *p, const uint8_t *end)
{
    return end - p >= 3 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9);
}

/* For a special byte at p. */
static const struct form *form_at(const uint8_t *p, const uint8_t *end, unsigned special)
{
    switch (*p) {
    case '"':
        return &quote;
    case '\\':
        return &backslash;
    case '<':
        return &less;
    case '>':
        return &greater;
    case '&':
        return &ampersand;
    case SEPARATOR_FIRST:
        return is_separator(p, end) ? &separators[p[2] & 1] : &separator_first;
    default:
        return (special & LINE_END) != 0 ? &space : &controls[*p & 31];
    }
}

/* ---- both together */

static bool is_plain_here(const uint8_t *p, const uint8_t *end, unsigned special) /* eight bytes of it */
{
    uint64_t word;
    if (end - p < 8)
        return false;
    memcpy(&word, p, sizeof word);
    return is_plain_word(word, special);
}

static const uint8_t *next_word(const uint8_t *p, const uint8_t *end) /* up to there it goes byte by byte */
{
    return end - p >= 8 ? p + 8 : end;
}

static size_t size_of(struct slice s, unsigned special)
{
    if (s.len == 0) /* its ptr may be NULL */
        return 0;
    const uint8_t *p = (const uint8_t *)s.ptr, *end = p + s.len;
    size_t size = s.len;
    while (p < end) {
        if (is_plain_here(p, end, special)) {
            p += 8;
            continue;
        }
        for (const uint8_t *stop = next_word(p, end); p < stop;) {
            if (!is_special(*p, special)) {
                p++;
                continue;
            }
            const struct form *f = form_at(p, end, special);
            size = size - f->used + f->len;
            p += f->used;
        }
    }
    return size;
}

static uint8_t *put(uint8_t *out, struct slice s, unsigned special)
{
    if (s.len == 0)
        return out;
    const uint8_t *p = (const uint8_t *)s.ptr, *end = p + s.len;
    while (p < end) {
        if (is_plain_here(p, end, special)) {
            memcpy(out, p, 8);
            out += 8;
            p += 8;
            continue;
        }
        for (const uint8_t *stop = next_word(p, end); p < stop;) {
            if (!is_special(*p, special)) {
                *out++ = *p++;
                continue;
            }
            const struct form *f = form_at(p, end, special);
            memcpy(out, f->text, f->len);
            out += f->len;
            p += f->used;
        }
    }
    return out;
}

/* ---- strings and values */

static unsigned with_script(unsigned special, bool for_script)
{
    return for_script ? special | UNSAFE : special;
}

size_t json_string_size(struct slice s, bool for_script)
{
    return 1 + size_of(s, with_script(ESCAPED, for_script)) + 1;
}

uint8_t *json_put_string(uint8_t *out, struct slice s, bool for_script)
{
    *out++ = '"';
    out = put(out, s, with_script(ESCAPED, for_script));
    *out++ = '"';
    return out;
}

size_t json_value_size(struct slice json, bool for_script)
{
    return for_script ? size_of(json, LINE_END | UNSAFE) : json.len;
}

uint8_t *json_put_value(uint8_t *out, struct slice json, bool for_script)
{
    return put(out, json, with_script(LINE_END, for_script));
}

void json_buf_string(struct buf *b, struct slice s)
{
    uint8_t *to = buf_reserve(b, json_string_size(s, false));
    if (to != NULL)
        b->len += (size_t)(json_put_string(to, s, false) - to);
}

/* ---- base64 */

#define BASE64_PIECE (3 << 20) /* of whole groups, so that only the last piece is padded: OpenSSL counts in int */

size_t json_base64_size(size_t len)
{
    return 1 + (len / 3 + (len % 3 != 0)) * 4 + 1;
}

uint8_t *json_put_base64(uint8_t *out, struct slice bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.ptr;
    *out++ = '"';
    for (size_t left = bytes.len; left > 0;) {
        size_t n = left < BASE64_PIECE ? left : BASE64_PIECE;
        out += EVP_EncodeBlock(out, p, (int)n); /* a NUL follows, where the quote goes */
        p += n;
        left -= n;
    }
    *out++ = '"';
    return out;
}
