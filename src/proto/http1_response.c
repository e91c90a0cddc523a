/* As in http1.c the head is gathered in one buffer, each byte held against the rules as it comes, and given to llhttp as a
 * whole. The body goes to llhttp as it comes; a callback that pauses it marks the end. */
#include "proto/http1_response.h"

#include <errno.h>
#include <llhttp.h>
#include <stdlib.h>

#include "base/buf.h"

#define VERSION "HTTP/1."
#define VERSION_LEN 8 /* with its minor */
#define MAX_INTERIM 8
#define FRAMING_FACTOR 8 /* a body may take so many times its bytes on the wire: chunks of one byte are six each */

enum state { HEAD, BODY, DONE, FAILED };

struct http1_response_parser {
    llhttp_t llhttp;
    struct http1_response_limits limits;
    enum state state;
    uint8_t prev;        /* the byte before, in the current line; 0 at its start */
    bool has_begun;
    size_t line_start;   /* in head */
    unsigned lines;      /* complete ones of the head */
    unsigned interim;    /* responses passed over */
    size_t wire_bytes;   /* of the body, with its framing */
    struct buf head;
    struct buf body;
    struct http1_header *headers;
    struct http1_response response;
    int result;          /* once FAILED */
    const char *error;
};

static int fail(struct http1_response_parser *p, int result, const char *why)
{
    p->state = FAILED;
    p->result = result;
    p->error = why;
    return result;
}

static int fail_memory(struct http1_response_parser *p)
{
    return fail(p, -ENOMEM, "memory has run out");
}

/* ---- the head, byte by byte */

static const char *byte_error(const struct http1_response_parser *p, uint8_t c)
{
    if (p->lines == 0 && p->head.len < VERSION_LEN - 1 && c != (uint8_t)VERSION[p->head.len])
        return "it does not begin with HTTP/1.";
    if (p->prev == 0 && (c == ' ' || c == '\t' || c == ':'))
        return "a header line does not begin with a name";
    if ((p->prev == '\r') != (c == '\n'))
        return "a line does not end in CR LF";
    if ((c < ' ' && c != '\r' && c != '\n' && c != '\t') || c == 0x7f)
        return "it has a control character where none may be";
    return NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* HTTP/1.x SP 3DIGIT [ SP reason ] (RFC 9112 4); the last space is often left out. */
static int read_status_line(struct http1_response_parser *p)
{
    const char *s = (const char *)p->head.data;
    size_t len = p->head.len - 2; /* without its CRLF */
    if (len < VERSION_LEN + 4 || (s[7] != '0' && s[7] != '1') || s[8] != ' ' || !is_digit(s[9]) || !is_digit(s[10]) || !is_digit(s[11]) ||
        (len > VERSION_LEN + 4 && s[12] != ' '))
        return fail(p, -EBADMSG, "its first line is not HTTP/1.1, a status of three digits, and a reason");
    p->response.status = (unsigned)(s[9] - '0') * 100 + (unsigned)(s[10] - '0') * 10 + (unsigned)(s[11] - '0');
    if (p->response.status < 100 || p->response.status > 599 || p->response.status == 101)
        return fail(p, -EBADMSG, "its status is none that answers a GET");
    return 0;
}

/* ---- llhttp */

static int fail_llhttp(struct http1_response_parser *p, llhttp_errno_t e)
{
    switch (e) {
    case HPE_INVALID_HEADER_TOKEN:
        return fail(p, -EBADMSG, "a header line is not a name, a colon, and a value");
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_CONTENT_LENGTH:
        return fail(p, -EBADMSG, "its Content-Length is not one number, without Transfer-Encoding");
    case HPE_INVALID_CHUNK_SIZE:
    case HPE_STRICT:
        return fail(p, -EBADMSG, "its chunks are broken");
    case HPE_INVALID_EOF_STATE:
        return fail(p, -EBADMSG, "it was cut off");
    default:
        return fail(p, -EBADMSG, "it is not valid HTTP/1.1");
    }
}

/* Returns 1 when the response is complete, 0, or what is wrong. *ret_used is set on 1. */
static int execute(struct http1_response_parser *p, const void *bytes, size_t len, size_t *ret_used)
{
    llhttp_errno_t e = llhttp_execute(&p->llhttp, bytes, len);
    if (p->state == FAILED) /* by a callback, which knows better why */
        return p->result;
    if (p->state == DONE) {
        *ret_used = (size_t)(llhttp_get_error_pos(&p->llhttp) - (const char *)bytes);
        return 1;
    }
    return e == HPE_OK ? 0 : fail_llhttp(p, e);
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http1_response_parser *p = llhttp->data;
    if (p->state == HEAD) /* not a trailer */
        p->headers[p->response.header_count++] = (struct http1_header){ .name = { at, len }, .value = { at + len, 0 } };
    return 0;
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http1_response_parser *p = llhttp->data;
    if (p->state == HEAD)
        p->headers[p->response.header_count - 1].value = slice_trim((struct slice){ at, len });
    return 0;
}

/* Walk the elements of a header that is a list. Start with *at = 0, *rest empty. */
static bool next_element(const struct http1_response *r, const char *name, size_t *at, struct slice *rest, struct slice *ret)
{
    while (rest->len == 0) {
        if (*at == r->header_count)
            return false;
        const struct http1_header *h = &r->headers[(*at)++];
        if (slice_equals_nocase(h->name, name))
            *rest = h->value;
    }
    const char *comma = memchr(rest->ptr, ',', rest->len);
    size_t len = comma == NULL ? rest->len : (size_t)(comma - rest->ptr);
    *ret = slice_trim((struct slice){ rest->ptr, len });
    len += comma != NULL;
    rest->ptr += len;
    rest->len -= len;
    return true;
}

static bool has_token(const struct http1_response *r, const char *name, const char *token)
{
    size_t at = 0;
    struct slice rest = { 0 }, element;
    while (next_element(r, name, &at, &rest, &element))
        if (slice_equals_nocase(element, token))
            return true;
    return false;
}

/* What llhttp takes and we do not: codings that we would have to undo, Transfer-Encoding from HTTP/1.0 (RFC 9112 6.1). */
static const char *coding_error(const struct http1_response_parser *p)
{
    const struct http1_response *r = &p->response;
    bool is_chunked = false;
    for (size_t i = 0; i < r->header_count; i++) {
        if (!slice_equals_nocase(r->headers[i].name, "Transfer-Encoding"))
            continue;
        if (is_chunked || p->llhttp.http_minor == 0 || !slice_equals_nocase(r->headers[i].value, "chunked"))
            return "its Transfer-Encoding is another than chunked";
        is_chunked = true;
    }
    return NULL;
}

static bool is_bodiless(unsigned status) /* whatever its headers say (RFC 9112 6.3) */
{
    return status == 204 || status == 304;
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct http1_response_parser *p = llhttp->data;
    struct http1_response *r = &p->response;
    r->headers = p->headers;
    const char *why = coding_error(p);
    if (why != NULL) {
        fail(p, -EBADMSG, why);
        return -1;
    }
    if ((llhttp->flags & F_CONTENT_LENGTH) != 0 && llhttp->content_length > p->limits.body && !is_bodiless(r->status)) {
        fail(p, -EMSGSIZE, "its body is too long");
        return -1;
    }
    bool has_end = (llhttp->flags & (F_CONTENT_LENGTH | F_CHUNKED)) != 0 || is_bodiless(r->status);
    r->keep_alive = has_end && !has_token(r, "Connection", "close") && (llhttp->http_minor == 1 || has_token(r, "Connection", "keep-alive"));
    p->state = BODY;
    return is_bodiless(r->status) ? 1 : 0; /* 1: llhttp is not to look for one */
}

static int on_body(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http1_response_parser *p = llhttp->data;
    if (len > p->limits.body - p->body.len)
        fail(p, -EMSGSIZE, "its body is too long");
    else if (buf_append(&p->body, at, len) < 0)
        fail_memory(p);
    return p->state == FAILED ? -1 : 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct http1_response_parser *p = llhttp->data;
    p->response.body = buf_slice(&p->body);
    p->state = DONE;
    return HPE_PAUSED;
}

static const llhttp_settings_t llhttp_callbacks = {
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- the head as a whole */

static void forget_head(struct http1_response_parser *p)
{
    buf_reset(&p->head);
    p->line_start = p->lines = 0;
    p->prev = 0;
}

static int parse_head(struct http1_response_parser *p)
{
    size_t used;
    if (p->response.status < 200) {
        forget_head(p);
        return ++p->interim > MAX_INTERIM ? fail(p, -EBADMSG, "there are only interim responses") : 0;
    }
    if ((p->headers = malloc((p->lines + 1) * sizeof *p->headers)) == NULL)
        return fail_memory(p);
    llhttp_init(&p->llhttp, HTTP_RESPONSE, &llhttp_callbacks);
    p->llhttp.data = p;
    return execute(p, p->head.data, p->head.len, &used);
}

static int end_line(struct http1_response_parser *p)
{
    bool is_empty = p->head.len - p->line_start == 2;
    p->line_start = p->head.len;
    p->prev = 0;
    if (p->lines == 0) {
        p->lines++;
        return read_status_line(p);
    }
    if (is_empty)
        return parse_head(p);
    return ++p->lines > p->limits.header_count + 1 ? fail(p, -EMSGSIZE, "it has too many headers") : 0;
}

static int take_head(struct http1_response_parser *p, const uint8_t *data, size_t len, size_t *ret_used)
{
    int r = 0;
    size_t n = 0;
    while (n < len && r == 0 && p->state == HEAD) {
        const char *why = byte_error(p, data[n]);
        if (why != NULL)
            return fail(p, -EBADMSG, why);
        if (p->head.len == p->limits.head)
            return fail(p, -EMSGSIZE, "its headers are too long");
        if (buf_append(&p->head, &data[n], 1) < 0)
            return fail_memory(p);
        p->prev = data[n++];
        if (p->prev == '\n')
            r = end_line(p);
    }
    *ret_used = n;
    return r;
}

static int take_body(struct http1_response_parser *p, const uint8_t *data, size_t len, size_t *ret_used)
{
    p->wire_bytes += len;
    if (p->wire_bytes / FRAMING_FACTOR > p->limits.body + p->limits.head)
        return fail(p, -EMSGSIZE, "its body is too long");
    *ret_used = len;
    return execute(p, data, len, ret_used);
}

/* ---- the parser */

struct http1_response_parser *http1_response_parser_new(const struct http1_response_limits *limits)
{
    struct http1_response_parser *p = calloc(1, sizeof *p);
    if (p != NULL)
        *p = (struct http1_response_parser){ .limits = *limits, .error = "" };
    return p;
}

void http1_response_next(struct http1_response_parser *p)
{
    buf_done(&p->head);
    buf_done(&p->body);
    free(p->headers);
    *p = (struct http1_response_parser){ .limits = p->limits, .error = "" };
}

void http1_response_parser_free(struct http1_response_parser *p)
{
    if (p == NULL)
        return;
    http1_response_next(p);
    free(p);
}

int http1_response_parse(struct http1_response_parser *p, const void *data, size_t len)
{
    const uint8_t *at = data, *end = at + len;
    p->has_begun |= len > 0;
    if (p->state == FAILED)
        return p->result;
    while (at < end && p->state != DONE) {
        size_t used = 0;
        int r = p->state == HEAD ? take_head(p, at, (size_t)(end - at), &used) : take_body(p, at, (size_t)(end - at), &used);
        if (r < 0)
            return r;
        at += used;
    }
    if (at < end) /* nobody asked for more: what it belongs to cannot be known */
        p->response.keep_alive = false;
    return p->state == DONE;
}

int http1_response_end(struct http1_response_parser *p)
{
    if (p->state == FAILED)
        return p->result;
    if (p->state == DONE)
        return 1;
    if (p->state == HEAD)
        return fail(p, -EBADMSG, p->has_begun ? "it was cut off" : "the connection was closed without one");
    llhttp_errno_t e = llhttp_finish(&p->llhttp);
    if (p->state == DONE)
        return 1;
    return p->state == FAILED ? p->result : fail_llhttp(p, e == HPE_OK ? HPE_INVALID_EOF_STATE : e);
}

const struct http1_response *http1_response_get(const struct http1_response_parser *p)
{
    return &p->response;
}

const char *http1_response_error(const struct http1_response_parser *p)
{
    return p->error;
}

bool http1_response_has_begun(const struct http1_response_parser *p)
{
    return p->has_begun;
}

/* ---- looking into a response */

struct slice http1_response_header(const struct http1_response *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (slice_equals_nocase(r->headers[i].name, name))
            return r->headers[i].value;
    return (struct slice){ 0 };
}

/* "max-age=60", "max-age=\"60\"" (RFC 9111 5.2): digits alone, up to a number that is long enough for anyone. */
static bool read_max_age(struct slice directive, uint32_t *ret)
{
    static const char name[] = "max-age=";
    struct slice prefix = { directive.ptr, sizeof name - 1 };
    if (directive.len < sizeof name || !slice_equals_nocase(prefix, name))
        return false;
    struct slice digits = { directive.ptr + prefix.len, directive.len - prefix.len };
    if (digits.len > 2 && digits.ptr[0] == '"' && digits.ptr[digits.len - 1] == '"')
        digits = (struct slice){ digits.ptr + 1, digits.len - 2 };
    uint32_t n = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (!is_digit(digits.ptr[i]))
            return false;
        n = n < UINT32_MAX / 100 ? n * 10 + (uint32_t)(digits.ptr[i] - '0') : n;
    }
    *ret = n;
    return true;
}

uint32_t http1_response_max_age_s(const struct http1_response *r)
{
    uint32_t said, least = UINT32_MAX; /* of several the shortest */
    size_t at = 0;
    struct slice rest = { 0 }, element;
    while (next_element(r, "Cache-Control", &at, &rest, &element)) {
        if (slice_equals_nocase(element, "no-store") || slice_equals_nocase(element, "no-cache"))
            return 0;
        if (read_max_age(element, &said) && said < least)
            least = said;
    }
    return least == UINT32_MAX || has_token(r, "Vary", "*") ? 0 : least;
}
