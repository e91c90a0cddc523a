#include "transport/auth_request.h"

#include <errno.h>
#include <openssl/sha.h>

#include "base/slice.h"

/* ---- which headers */

/* About the connection or the body (RFC 9110 7.6.1, RFC 6455 11.3); about another answer than that to the question (RFC 9110 13, 14, 12.5.3); ours. */
static const char *const left_out[] = {
    "Host", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Expect", "Range", "Accept-Encoding", "Forwarded", "X-Real-IP",
};
static const char *const left_out_prefixes[] = { "Proxy-", "Sec-WebSocket-", "If-", "X-Forwarded-", "X-Original-" };

/* Another with each request of the same client: an answer that is kept does not depend on them. */
static const char *const volatile_names[] = { "Last-Event-ID", "Idempotency-Key", "X-Request-ID", "X-Correlation-ID", "X-Amzn-Trace-Id", "Traceparent", "Tracestate" };
static const char *const volatile_fields[] = { "after", "last", "wait" };

static bool is_one_of(struct slice name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equals_nocase(name, names[i]))
            return true;
    return false;
}

static bool has_prefix(struct slice name)
{
    for (size_t i = 0; i < HLY_ARRAY_LEN(left_out_prefixes); i++) {
        struct slice start = { name.ptr, strlen(left_out_prefixes[i]) };
        if (name.len >= start.len && slice_equals_nocase(start, left_out_prefixes[i]))
            return true;
    }
    return false;
}

/* What browsers add by themselves, whichever page asks. A Bearer token is a page's own. */
static bool is_ambient(const struct http1_header *h)
{
    struct slice scheme = { h->value.ptr, h->value.len < 7 ? h->value.len : 7 };
    return slice_equals_nocase(h->name, "Cookie") || (slice_equals_nocase(h->name, "Authorization") && !slice_equals_nocase(scheme, "Bearer "));
}

/* The parser has looked at both; nothing may ever end a line that we write. */
static bool is_plain(const struct http1_header *h)
{
    for (size_t i = 0; i < h->name.len; i++)
        if (h->name.ptr[i] <= ' ' || h->name.ptr[i] >= 0x7f || h->name.ptr[i] == ':' || h->name.ptr[i] == '_')
            return false;
    for (size_t i = 0; i < h->value.len; i++)
        if (((unsigned char)h->value.ptr[i] < ' ' && h->value.ptr[i] != '\t') || h->value.ptr[i] == 0x7f)
            return false;
    return h->name.len > 0;
}

static bool is_passed_on(const struct auth_request *r, const struct http1_header *h)
{
    if (!is_plain(h) || is_one_of(h->name, left_out, HLY_ARRAY_LEN(left_out)) || has_prefix(h->name) || (r->is_strange && is_ambient(h)))
        return false;
    char name[64]; /* one that Connection names is for us alone (RFC 9110 7.6.1) */
    if (h->name.len >= sizeof name)
        return true;
    memcpy(name, h->name.ptr, h->name.len);
    name[h->name.len] = '\0';
    return !http1_header_has_token(r->client, "Connection", name);
}

/* ---- writing */

static void put(struct buf *out, struct slice s)
{
    if (s.len > 0)
        buf_append(out, s.ptr, s.len);
}

static void put_header(struct buf *out, struct slice name, struct slice value)
{
    put(out, name);
    buf_append(out, ": ", 2);
    put(out, value);
    buf_append(out, "\r\n", 2);
}

static void put_headers(struct buf *out, const struct auth_request *r, bool is_key)
{
    for (size_t i = 0; i < r->client->header_count; i++) {
        const struct http1_header *h = &r->client->headers[i];
        if (is_passed_on(r, h) && !(is_key && is_one_of(h->name, volatile_names, HLY_ARRAY_LEN(volatile_names))))
            put_header(out, h->name, h->value);
    }
}

static void put_ours(struct buf *out, const struct auth_request *r)
{
    put_header(out, SLICE_LIT("X-Original-Method"), r->client->method_name);
    buf_printf(out, "X-Forwarded-For: %s\r\nX-Forwarded-Proto: %s\r\n", r->address, r->scheme);
}

void auth_request_write(struct buf *out, const struct auth_request *r)
{
    struct slice host = r->client->host;
    buf_printf(out, "GET %s HTTP/1.1\r\n", r->target);
    put_header(out, SLICE_LIT("Host"), host.len > 0 ? host : SLICE_LIT("localhost")); /* HTTP/1.0 has none */
    put_headers(out, r, false);
    put_ours(out, r);
    put_header(out, SLICE_LIT("X-Original-URI"), r->client->target);
    buf_append(out, "\r\n", 2);
}

/* ---- the key */

static bool is_volatile_field(struct slice field)
{
    const char *equals = memchr(field.ptr, '=', field.len);
    struct slice name = { field.ptr, equals == NULL ? field.len : (size_t)(equals - field.ptr) };
    for (size_t i = 0; i < HLY_ARRAY_LEN(volatile_fields); i++)
        if (slice_equals(name, volatile_fields[i]))
            return true;
    return false;
}

static void put_query(struct buf *out, struct slice rest)
{
    while (rest.len > 0) {
        const char *end = memchr(rest.ptr, '&', rest.len);
        struct slice field = { rest.ptr, end == NULL ? rest.len : (size_t)(end - rest.ptr) };
        size_t used = field.len + (end != NULL);
        rest.ptr += used;
        rest.len -= used;
        if (is_volatile_field(field))
            continue;
        buf_append(out, "&", 1);
        put(out, field);
    }
}

int auth_request_key(const struct auth_request *r, uint8_t ret_key[ANSWER_KEY_BYTES])
{
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    buf_printf(&text, "%s\r\n", r->target);
    put_header(&text, SLICE_LIT("Host"), r->client->host);
    put_headers(&text, r, true);
    put_ours(&text, r);
    put(&text, r->client->path); /* no space, and no line end, may be in either */
    buf_append(&text, "?", 1);
    put_query(&text, r->client->query);
    if (text.failed)
        return -ENOMEM;
    SHA256(text.data, text.len, ret_key);
    return 0;
}
