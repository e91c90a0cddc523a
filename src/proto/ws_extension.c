#include "proto/ws_extension.h"

#include <string.h>

#include "base/slice.h"

#define HEADER "Sec-WebSocket-Extensions"

void ws_extension_begin(struct ws_extension_reader *x, const struct http1_request *rq)
{
    *x = (struct ws_extension_reader){ .rq = rq };
}

static bool is_token_char(char c) /* RFC 9110 5.6.2 */
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static void skip_space(struct slice *s)
{
    while (s->len > 0 && (*s->ptr == ' ' || *s->ptr == '\t')) {
        s->ptr++;
        s->len--;
    }
}

static bool skip(struct slice *s, char c)
{
    skip_space(s);
    if (s->len == 0 || *s->ptr != c)
        return false;
    s->ptr++;
    s->len--;
    return true;
}

static bool take_token(struct slice *s, struct slice *ret)
{
    skip_space(s);
    ret->ptr = s->ptr;
    for (ret->len = 0; s->len > 0 && is_token_char(*s->ptr); ret->len++) {
        s->ptr++;
        s->len--;
    }
    return ret->len > 0;
}

/* What follows the opening quote (RFC 9110 5.6.4). */
static bool take_quoted(struct ws_extension_reader *x, struct slice *s, struct slice *ret)
{
    size_t n = 0;
    for (; s->len > 0 && *s->ptr != '"'; s->ptr++, s->len--) {
        if (*s->ptr == '\\' && s->len > 1) {
            s->ptr++;
            s->len--;
        }
        if (!is_token_char(*s->ptr))
            return false;
        if (n < sizeof x->unquoted)
            x->unquoted[n++] = *s->ptr;
    }
    *ret = (struct slice){ x->unquoted, n };
    return n > 0 && skip(s, '"');
}

static bool take_value(struct ws_extension_reader *x, struct slice *s, struct slice *ret)
{
    return skip(s, '"') ? take_quoted(x, s, ret) : take_token(s, ret);
}

/* Is what was taken followed by what may follow? */
static bool ends_well(struct slice *s)
{
    skip_space(s);
    return s->len == 0 || *s->ptr == ';' || *s->ptr == ',';
}

/* The next part of one header's value; `s` begins after the last. 0: there is no more of it. */
static int next_in_header(struct ws_extension_reader *x, struct slice *s, struct slice *ret_name, struct slice *ret_value)
{
    *ret_value = (struct slice){ 0 };
    if (x->is_inside && skip(s, ';')) {
        bool is_whole = take_token(s, ret_name) && (!skip(s, '=') || take_value(x, s, ret_value)) && ends_well(s);
        return is_whole ? WS_EXTENSION_PARAMETER : -400;
    }
    x->is_inside = false;
    while (skip(s, ','))
        continue;
    if (s->len == 0)
        return WS_EXTENSION_END;
    x->is_inside = true;
    return take_token(s, ret_name) && ends_well(s) ? WS_EXTENSION_OFFER : -400;
}

int ws_extension_next(struct ws_extension_reader *x, struct slice *ret_name, struct slice *ret_value)
{
    for (; x->header < x->rq->header_count; x->header++, x->offset = 0, x->is_inside = false) {
        const struct http1_header *h = &x->rq->headers[x->header];
        if (!slice_equals_nocase(h->name, HEADER))
            continue;
        struct slice rest = { h->value.ptr + x->offset, h->value.len - x->offset };
        int part = next_in_header(x, &rest, ret_name, ret_value);
        if (part == WS_EXTENSION_END)
            continue;
        x->offset = (size_t)(rest.ptr - h->value.ptr);
        return part;
    }
    return WS_EXTENSION_END;
}

bool ws_extensions_are_valid(const struct http1_request *rq)
{
    struct ws_extension_reader x;
    struct slice name, value;
    size_t parts = 0;
    int part;
    if (http1_header_get(rq, HEADER).ptr == NULL)
        return true;
    ws_extension_begin(&x, rq);
    while ((part = ws_extension_next(&x, &name, &value)) > WS_EXTENSION_END)
        parts++;
    return part == WS_EXTENSION_END && parts > 0;
}
