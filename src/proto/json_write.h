/* Writing JSON (RFC 8259) where it is hot: strings, values that are JSON already, base64. Pure: no allocation, no failure.
 *
 * `for_script`: the text will stand inside a <script> block: `<`, `>`, `&`, U+2028 and U+2029 are then written as \uXXXX, which in valid JSON can
 * only stand inside strings. Input strings are valid UTF-8. */
#ifndef HALLEY_PROTO_JSON_WRITE_H
#define HALLEY_PROTO_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

/* Bytes that json_put_string() writes, quotes included. */
size_t json_string_size(struct slice s, bool for_script);
uint8_t *json_put_string(uint8_t *out, struct slice s, bool for_script); /* returns the end */

/* A value that is valid JSON: written as it is, but without line ends (white space between tokens: each becomes a space), so that it fits on a line. */
size_t json_value_size(struct slice json, bool for_script);
uint8_t *json_put_value(uint8_t *out, struct slice json, bool for_script);

/* Bytes as a string in base64 (RFC 4648 4), quotes included. */
size_t json_base64_size(size_t len);
uint8_t *json_put_base64(uint8_t *out, struct slice bytes);

/* The same onto a buf. */
void json_buf_string(struct buf *b, struct slice s);

#endif
