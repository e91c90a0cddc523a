/* The written form of a token (RFC 7515 7.1): header.payload.signature, each base64url; and the JSON in it, bounded
 * before it is parsed. What these functions let through has one spelling only: no padding, no stray bits behind the last
 * byte, no member twice. */
#ifndef HALLEY_AUTH_JWT_TEXT_H
#define HALLEY_AUTH_JWT_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define JWT_MAX_BYTES 8192 /* a token. What carries one, a header or a cookie, is hardly ever allowed more */
#define JWT_JSON_DEPTH 16  /* levels of arrays and objects */
#define JWT_JSON_VALUES 2048

struct jwt_parts { /* borrowed, still encoded */
    struct slice header;
    struct slice payload;
    struct slice signature;
};

/* Take a token apart: exactly three parts, none empty, each the canonical base64url of some bytes. */
bool jwt_split(struct slice token, struct jwt_parts *ret_parts);

/* Is it base64url as an encoder writes it (RFC 4648 5, without padding; 3.5: unused bits are zero)? Not if empty. */
bool base64url_is_canonical(struct slice text);
size_t base64url_decoded_bytes(size_t text_len);
/* Append the bytes of a canonical text, or the text of bytes. Failure shows in out->failed. */
void base64url_decode(struct slice text, struct buf *out);
void base64url_encode(struct slice bytes, struct buf *out);

/* Parse one JSON object. NULL if it is none, if a name occurs twice in an object (two parsers may take two different
 * ones), or if it is over the bounds above, which are checked first: jansson would go down 2048 levels. Caller: json_decref(). */
json_t *jwt_json_object(struct slice text);

#endif
