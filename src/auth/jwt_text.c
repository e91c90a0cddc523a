#include "auth/jwt_text.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* ---- base64url */

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-')
        return 62;
    return c == '_' ? 63 : -1;
}

bool base64url_is_canonical(struct slice text)
{
    static const int unused[] = { 0, 0xff, 0x0f, 0x03 }; /* bits of the last digit, by how many the last group has */
    if (text.len == 0 || text.len % 4 == 1)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (digit(text.ptr[i]) < 0)
            return false;
    return (digit(text.ptr[text.len - 1]) & unused[text.len % 4]) == 0;
}

size_t base64url_decoded_bytes(size_t text_len)
{
    return text_len / 4 * 3 + (text_len % 4 > 0 ? text_len % 4 - 1 : 0);
}

void base64url_decode(struct slice text, struct buf *out)
{
    uint8_t *to = buf_reserve(out, base64url_decoded_bytes(text.len) + 1); /* never 0 bytes */
    if (to == NULL)
        return;
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < text.len; i++) {
        bits = bits << 6 | (uint32_t)digit(text.ptr[i]);
        count += 6;
        if (count >= 8) {
            count -= 8;
            *to++ = (uint8_t)(bits >> count);
        }
    }
    out->len += base64url_decoded_bytes(text.len);
}

void base64url_encode(struct slice bytes, struct buf *out)
{
    uint8_t *to = buf_reserve(out, bytes.len / 3 * 4 + 4);
    if (to == NULL)
        return;
    uint8_t *from = to;
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        bits = bits << 8 | (uint8_t)bytes.ptr[i];
        for (count += 8; count >= 6; count -= 6)
            *to++ = (uint8_t)alphabet[bits >> (count - 6) & 63];
    }
    if (count > 0)
        *to++ = (uint8_t)alphabet[bits << (6 - count) & 63];
    out->len += (size_t)(to - from);
}

/* ---- three parts */

bool jwt_split(struct slice token, struct jwt_parts *ret_parts)
{
    struct slice parts[3];
    const char *at = token.ptr, *end = token.ptr + token.len;
    if (token.len == 0)
        return false;
    for (size_t i = 0; i < 3; i++) {
        const char *dot = memchr(at, '.', (size_t)(end - at));
        if ((dot != NULL) != (i < 2))
            return false;
        parts[i] = (struct slice){ at, (size_t)((dot != NULL ? dot : end) - at) };
        if (!base64url_is_canonical(parts[i]))
            return false;
        at = dot != NULL ? dot + 1 : end;
    }
    *ret_parts = (struct jwt_parts){ parts[0], parts[1], parts[2] };
    return true;
}

/* ---- JSON */

/* Count what is outside of strings. What is no JSON is left to the parser to say. */
static bool json_is_bounded(struct slice text)
{
    size_t depth = 0, values = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        if (in_string)
            continue;
        if (c == '[' || c == '{')
            depth++;
        else if ((c == ']' || c == '}') && depth > 0)
            depth--;
        values += c == ',' || c == '[' || c == '{';
        if (depth > JWT_JSON_DEPTH || values > JWT_JSON_VALUES)
            return false;
    }
    return true;
}

json_t *jwt_json_object(struct slice text)
{
    if (!json_is_bounded(text))
        return NULL;
    json_t *value = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}
