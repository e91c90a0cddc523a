#include "proto/http1_internal.h"

#include <errno.h>

/* ---- headers */

struct slice http1_header_get(const struct http1_request *rq, const char *name)
{
    for (size_t i = 0; i < rq->header_count; i++)
        if (slice_equals_nocase(rq->headers[i].name, name))
            return rq->headers[i].value;
    return (struct slice){ NULL, 0 };
}

/* The next element of one list value from *offset on; false when only empty ones are left. */
static bool next_element(struct slice value, size_t *offset, struct slice *ret_element)
{
    while (*offset < value.len) {
        const char *start = value.ptr + *offset;
        const char *comma = memchr(start, ',', value.len - *offset);
        size_t len = comma != NULL ? (size_t)(comma - start) : value.len - *offset;
        *offset += comma != NULL ? len + 1 : len;
        *ret_element = slice_trim((struct slice){ start, len });
        if (ret_element->len > 0)
            return true;
    }
    return false;
}

bool http1_list_next(const struct http1_request *rq, const char *name, struct http1_list_at *at,
                     struct slice *ret_element)
{
    for (; at->header < rq->header_count; at->header++, at->offset = 0) {
        const struct http1_header *h = &rq->headers[at->header];
        if (slice_equals_nocase(h->name, name) && next_element(h->value, &at->offset, ret_element))
            return true;
    }
    return false;
}

bool http1_header_has_token(const struct http1_request *rq, const char *name, const char *token)
{
    struct http1_list_at at = { 0 };
    struct slice element;
    while (http1_list_next(rq, name, &at, &element))
        if (slice_equals_nocase(element, token))
            return true;
    return false;
}

/* ---- the query */

static int hex_value(char c) /* or -1 */
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = slice_fold(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undo %XX and '+', with a NUL at the end; never longer than what it was. Returns 0, or -EINVAL on a broken escape. */
static int decode(struct slice in, char *out, struct slice *ret_out)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int high = in.len - i > 2 ? hex_value(in.ptr[i + 1]) : -1;
            int low = high >= 0 ? hex_value(in.ptr[i + 2]) : -1;
            if (low < 0)
                return -EINVAL;
            c = (char)(high << 4 | low);
            i += 2;
        }
        out[n++] = c;
    }
    out[n] = '\0';
    *ret_out = (struct slice){ out, n };
    return 0;
}

int http1_query_next(struct slice query, size_t *pos, char *scratch, struct slice *key, struct slice *value)
{
    while (*pos < query.len && query.ptr[*pos] == '&')
        ++*pos;
    if (*pos >= query.len)
        return 0;
    size_t start = *pos, rest = query.len - start;
    const char *amp = memchr(query.ptr + start, '&', rest);
    size_t end = amp != NULL ? (size_t)(amp - query.ptr) : query.len;
    const char *equals = memchr(query.ptr + start, '=', end - start);
    size_t key_end = equals != NULL ? (size_t)(equals - query.ptr) : end;
    size_t value_start = equals != NULL ? key_end + 1 : end;

    struct slice k, v;
    if (decode((struct slice){ query.ptr + start, key_end - start }, scratch, &k) < 0 ||
        decode((struct slice){ query.ptr + value_start, end - value_start }, scratch + k.len + 1, &v) < 0)
        return -EINVAL;
    *key = k;
    *value = v;
    *pos = end;
    return 1;
}
