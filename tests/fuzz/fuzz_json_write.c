/* Whatever is written as JSON reads back, with another parser, as what it was; it is as long as was announced, and may stand
 * in a script block if it was written for one.
 *
 * The fuzzer's input is written as a string if it is UTF-8, as a value if it is JSON, and as base64 in any case. */
#include "proto/json_write.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define JSON_FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL) /* as payloads are checked */

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool has(const uint8_t *text, size_t len, const char *what)
{
    return memmem(text, len, what, strlen(what)) != NULL;
}

static void must_be_safe(const uint8_t *text, size_t len)
{
    must(!has(text, len, "<") && !has(text, len, ">") && !has(text, len, "&"));
    must(!has(text, len, "\xe2\x80\xa8") && !has(text, len, "\xe2\x80\xa9"));
}

static json_t *parse(const uint8_t *text, size_t len)
{
    return json_loadb((const char *)text, len, JSON_FLAGS, NULL);
}

static void write_string(struct slice s, bool for_script)
{
    size_t size = json_string_size(s, for_script);
    uint8_t *out = malloc(size); /* of just the size, so that ASan sees writes past it */
    must(out != NULL && json_put_string(out, s, for_script) == out + size);
    json_t *value = parse(out, size);
    must(json_is_string(value) && json_string_length(value) == s.len);
    must(s.len == 0 || memcmp(json_string_value(value), s.ptr, s.len) == 0);
    for (size_t i = 0; i < size; i++)
        must(out[i] >= 0x20);
    if (for_script)
        must_be_safe(out, size);
    json_decref(value);
    free(out);
}

static void write_value(struct slice s, const json_t *before, bool for_script)
{
    size_t size = json_value_size(s, for_script);
    uint8_t *out = malloc(size);
    must(out != NULL && json_put_value(out, s, for_script) == out + size);
    json_t *after = parse(out, size);
    must(after != NULL && json_equal(before, after));
    must(!has(out, size, "\n") && !has(out, size, "\r"));
    if (for_script)
        must_be_safe(out, size);
    json_decref(after);
    free(out);
}

static void write_base64(struct slice s)
{
    size_t size = json_base64_size(s.len);
    uint8_t *out = malloc(size), *back = malloc(size);
    must(out != NULL && back != NULL && json_put_base64(out, s) == out + size);
    must(out[0] == '"' && out[size - 1] == '"');
    int len = EVP_DecodeBlock(back, out + 1, (int)size - 2); /* it counts what pads as bytes */
    must(len >= 0 && (size_t)len >= s.len && (size_t)len < s.len + 3);
    must(s.len == 0 || memcmp(back, s.ptr, s.len) == 0);
    must_be_safe(out, size);
    free(out);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = { (const char *)data, size };
    if (utf8_is_valid(data, size)) {
        write_string(s, false);
        write_string(s, true);
    }
    json_t *value = size > 0 ? parse(data, size) : NULL;
    if (value != NULL) {
        write_value(s, value, false);
        write_value(s, value, true);
    }
    json_decref(value);
    write_base64(s);
    return 0;
}
