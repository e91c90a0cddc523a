/* The head of a request is gathered in one buffer, line by line, each byte held against the rules and limits as it comes,
 * and is given to llhttp as a whole: each name and value is then one span, no slice is made before the buffer has stopped
 * moving, and a request means the same wherever the network cut it. The lines between the data of a chunked body go to
 * llhttp one by one, and data goes in pieces that end where the chunk or the body does. So exactly one request is consumed,
 * and llhttp never has to be paused. */
#include "proto/http1.h"

#include <assert.h>
#include <llhttp.h>
#include <stdlib.h>

#include "proto/http1_internal.h"

#define HEAD_FIRST_BYTES 1024 /* most heads fit in; a browser's with cookies and all are about so long */
#define MAX_EMPTY_LINES 4     /* before a request: some clients send one after a body (RFC 9112 2.2) */
#define CHUNK_SIZE_BYTES 18   /* 16 digits and CRLF: what a chunk-size line may take without touching the allowance */
#define TLS_HANDSHAKE 0x16    /* the first byte of a TLS connection (RFC 8446 5.1) */

enum state {
    REQUEST_LINE, /* in it or before it */
    HEADERS,
    BODY,       /* one whose length is known */
    CHUNK_SIZE, /* in the line that begins a chunk */
    CHUNK_DATA,
    TRAILERS,
    DONE, /* until http1_parser_next() */
    FAILED,
};

struct http1_parser {
    llhttp_t llhttp;
    struct http1_limits limits;
    enum state state;
    uint8_t prev;          /* the byte before, in the current line; 0 at its start */
    bool awaits_continue;  /* the client said Expect: 100-continue, and nothing of the body is here */
    unsigned empty_lines;  /* skipped before the request line */
    unsigned header_lines; /* complete ones */
    size_t line_bytes;     /* of the current line */
    size_t headers_start;  /* in head: where the request line has ended */
    size_t framing_left;   /* bytes that chunk extensions and trailers may still take */
    uint64_t data_left;    /* bytes of body to come, or of the chunk's data and its CRLF */
    struct buf head;       /* the request line and all header lines as they came */
    struct buf body;
    struct buf chunk_line;        /* what is there of a chunk's size line, or of a trailer's */
    struct http1_header *headers; /* request.headers */
    struct http1_request request;
    int status;        /* once FAILED: what to answer with */
    const char *error; /* and a static sentence on it */
};

static int fail(struct http1_parser *p, int status, const char *why)
{
    p->state = FAILED;
    p->status = status;
    p->error = why;
    return -status;
}

static int fail_memory(struct http1_parser *p)
{
    return fail(p, 503, "The server is out of memory at the moment.");
}

static size_t at_most(size_t n, size_t max)
{
    return n < max ? n : max;
}

static void start_line(struct http1_parser *p)
{
    p->prev = 0;
    p->line_bytes = 0;
}

/* ---- lines */

static const char *line_start_error(const struct http1_parser *p, uint8_t c)
{
    if (p->state == REQUEST_LINE && c == TLS_HANDSHAKE)
        return "This looks like TLS, but the port speaks plain HTTP: use http:// or ws://.";
    if (p->state != HEADERS && p->state != TRAILERS)
        return NULL;
    if (c == ' ' || c == '\t') /* RFC 9112 2.2 and 5.2, obs-fold */
        return "A header line begins with white space; headers that go on in a second line are not taken.";
    if (c == ':')
        return "A header line has no name before the colon.";
    return NULL;
}

/* What is wrong with the next byte of a line, or NULL (RFC 9112 2.2, RFC 9110 5.5). */
static const char *line_byte_error(const struct http1_parser *p, uint8_t c)
{
    if (HLY_LIKELY(c > ' ' && c < 0x7f && p->prev > '\r'))
        return NULL;
    const char *why = p->prev == 0 ? line_start_error(p, c) : NULL;
    if (why != NULL)
        return why;
    if ((p->prev == '\r') != (c == '\n'))
        return "Each line of a request must end in CR LF, and neither may stand alone.";
    if (c == '\r' || c == '\n')
        return NULL;
    if (c == '\t' && p->state != REQUEST_LINE)
        return NULL;
    if (c < ' ' || c == 0x7f)
        return "The request has a control character where none may be.";
    if (c > 0x7f && p->state == REQUEST_LINE)
        return "The request line has a byte outside of ASCII, which must be percent-encoded.";
    return NULL;
}

static int fail_too_long(struct http1_parser *p)
{
    if (p->state == REQUEST_LINE)
        return fail(p, 414, "The request line is too long.");
    if (p->state == HEADERS)
        return fail(p, 431, "The headers are too long.");
    return fail(p, 431, "The trailers and chunk extensions of the body are too long.");
}

/* Take bytes of the current line, up to and including its LF. `room` is what the line may still have. *ret_used is set on
 * 1 (the line is complete) and 0 (data is used up). */
static int scan_line(struct http1_parser *p, const uint8_t *data, size_t len, size_t room, size_t *ret_used)
{
    size_t n = 0;
    while (n < len && p->prev != '\n') {
        if (n == room)
            return fail_too_long(p);
        const char *why = line_byte_error(p, data[n]);
        if (why != NULL)
            return fail(p, 400, why);
        p->prev = data[n++];
    }
    p->line_bytes += n;
    *ret_used = n;
    return p->prev == '\n';
}

/* ---- llhttp */

static const struct llhttp_verdict {
    llhttp_errno_t error;
    int status;
    const char *why;
} llhttp_verdicts[] = {
    { HPE_INVALID_METHOD, 501, "The server does not know this request method." }, /* RFC 9110 9.1 */
    { HPE_INVALID_CONSTANT, 400, "The request method does not belong to HTTP." },
    { HPE_INVALID_URL, 400, "The request target has a character that must be percent-encoded." },
    { HPE_INVALID_VERSION, 400, "The request line does not end in HTTP/1.1." },
    { HPE_INVALID_HEADER_TOKEN, 400, "A header line must be a name without spaces, a colon right after it, a value." },
    { HPE_UNEXPECTED_CONTENT_LENGTH, 400, "Content-Length may stand there once, and not with Transfer-Encoding." },
    { HPE_INVALID_CONTENT_LENGTH, 400, "Content-Length must be one decimal number, without Transfer-Encoding." },
    { HPE_INVALID_TRANSFER_ENCODING, 400, "In Transfer-Encoding, chunked must be the last coding." },
    { HPE_INVALID_CHUNK_SIZE, 400, "A chunk of the body must begin with its size in hexadecimal digits." },
    { HPE_STRICT, 400, "A chunk of the body does not end where its size says." },
};

static int fail_llhttp(struct http1_parser *p, llhttp_errno_t error)
{
    for (size_t i = 0; i < HLY_ARRAY_LEN(llhttp_verdicts); i++)
        if (llhttp_verdicts[i].error == error)
            return fail(p, llhttp_verdicts[i].status, llhttp_verdicts[i].why);
    return fail(p, 400, "The request is not valid HTTP/1.1.");
}

static int execute(struct http1_parser *p, const void *bytes, size_t len)
{
    if (len == 0)
        return 0;
    llhttp_errno_t e = llhttp_execute(&p->llhttp, bytes, len);
    if (p->state == FAILED) /* by a callback, which knows better why */
        return -p->status;
    if (e == HPE_OK || (e == HPE_PAUSED_UPGRADE && p->state == DONE))
        return 0;
    return fail_llhttp(p, e);
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http1_parser *p = llhttp->data;
    if (p->state != HEADERS) /* a trailer */
        return 0;
    assert(p->request.header_count < p->header_lines);
    p->headers[p->request.header_count++] = (struct http1_header){ .name = { at, len }, .value = { at + len, 0 } };
    return 0;
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http1_parser *p = llhttp->data;
    if (p->state == HEADERS)
        p->headers[p->request.header_count - 1].value = slice_trim((struct slice){ at, len });
    return 0;
}

static bool keeps_alive(const struct http1_request *rq) /* RFC 9112 9.3 */
{
    if (http1_header_has_token(rq, "Upgrade", "websocket")) /* refused or not: what follows may be frames */
        return false;
    if (http1_header_has_token(rq, "Connection", "close"))
        return false;
    return rq->minor > 0 || http1_header_has_token(rq, "Connection", "keep-alive");
}

static enum http1_method method_of(const llhttp_t *llhttp)
{
    switch (llhttp->method) {
    case HTTP_GET:
        return HTTP1_GET;
    case HTTP_HEAD:
        return HTTP1_HEAD;
    case HTTP_POST:
        return HTTP1_POST;
    case HTTP_PUT:
        return HTTP1_PUT;
    case HTTP_DELETE:
        return HTTP1_DELETE;
    case HTTP_OPTIONS:
        return HTTP1_OPTIONS;
    default:
        return HTTP1_OTHER;
    }
}

static int check_head(struct http1_parser *p)
{
    const struct http1_request *rq = &p->request;
    const char *why;
    if (p->llhttp.method == HTTP_SOURCE) /* ICE's; llhttp takes it with HTTP/1.1 as well */
        return fail_llhttp(p, HPE_INVALID_CONSTANT);
    int r = http1_check_headers(rq, &why);
    if (r < 0)
        return fail(p, -r, why);
    if (rq->has_body && http1_header_has_token(rq, "Upgrade", "websocket"))
        return fail(p, 400, "A WebSocket handshake must not have a body.");
    if (p->llhttp.content_length > p->limits.body)
        return fail(p, 413, "The body is too long.");
    return 0;
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct http1_parser *p = llhttp->data;
    struct http1_request *rq = &p->request;
    bool chunked = (llhttp->flags & F_CHUNKED) != 0;
    rq->method = method_of(llhttp);
    rq->headers = p->headers;
    rq->host = http1_header_get(rq, "Host");
    rq->has_body = chunked || llhttp->content_length > 0;
    rq->keep_alive = keeps_alive(rq);
    if (check_head(p) < 0)
        return -1;
    if (rq->has_body) {
        p->state = chunked ? CHUNK_SIZE : BODY;
        p->data_left = llhttp->content_length;
        p->awaits_continue = rq->minor > 0 && http1_header_has_token(rq, "Expect", "100-continue");
    }
    return 0;
}

static int on_chunk_header(llhttp_t *llhttp)
{
    struct http1_parser *p = llhttp->data;
    if (llhttp->content_length > p->limits.body - p->body.len) {
        fail(p, 413, "The body is too long.");
        return -1;
    }
    p->state = llhttp->content_length > 0 ? CHUNK_DATA : TRAILERS;
    p->data_left = llhttp->content_length + 2;
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http1_parser *p = llhttp->data;
    if (buf_append(&p->body, at, len) == 0)
        return 0;
    fail_memory(p);
    return -1;
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct http1_parser *p = llhttp->data;
    p->request.body = buf_slice(&p->body);
    p->state = DONE;
    return 0;
}

static const llhttp_settings_t llhttp_callbacks = {
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_chunk_header = on_chunk_header,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- the head */

/* Cut a target in absolute-form to origin-form; its authority takes the place of Host (RFC 9112 3.2.2). A path that is
 * left out is "/": the authority moves one byte to the left, into the "//" before it, to make room for that. */
static void cut_absolute_form(struct http1_parser *p)
{
    struct http1_request *rq = &p->request;
    struct slice authority = http1_target_authority(rq->target);
    if (authority.ptr == NULL)
        return;
    const char *end = rq->target.ptr + rq->target.len, *path = authority.ptr + authority.len;
    if (path == end || *path != '/') {
        char *to = (char *)p->head.data + (authority.ptr - (const char *)p->head.data) - 1;
        memmove(to, authority.ptr, authority.len);
        to[authority.len] = '/';
        authority.ptr = to;
        path = to + authority.len;
    }
    rq->target = (struct slice){ path, (size_t)(end - path) };
    rq->host = authority;
}

static void split_target(struct http1_request *rq)
{
    const char *mark = memchr(rq->target.ptr, '?', rq->target.len);
    size_t len = mark != NULL ? (size_t)(mark - rq->target.ptr) : rq->target.len;
    rq->path = (struct slice){ rq->target.ptr, len };
    rq->query = (struct slice){ rq->target.ptr + len, 0 };
    if (mark != NULL)
        rq->query = (struct slice){ mark + 1, rq->target.len - len - 1 };
}

static struct slice request_line(const struct http1_parser *p)
{
    return (struct slice){ (const char *)p->head.data, p->headers_start - 2 };
}

/* The head is complete. Let llhttp take it apart, and check and fill the request with what it finds. */
static int parse_head(struct http1_parser *p)
{
    struct http1_request *rq = &p->request;
    struct http1_request_line parts;
    http1_split_request_line(request_line(p), &parts); /* it did so when it was checked */
    rq->method_name = parts.method;
    rq->target = parts.target;
    rq->minor = parts.version.ptr[7] == '1';
    if (p->header_lines > 0 && (p->headers = malloc(p->header_lines * sizeof(*p->headers))) == NULL)
        return fail_memory(p);

    llhttp_init(&p->llhttp, HTTP_REQUEST, &llhttp_callbacks);
    p->llhttp.data = p;
    int r = execute(p, p->head.data, p->head.len);
    if (r < 0)
        return r;
    cut_absolute_form(p);
    split_target(rq);
    start_line(p);
    return 0;
}

static int end_request_line(struct http1_parser *p)
{
    const char *why;
    if (p->line_bytes == 2) {
        buf_reset(&p->head);
        start_line(p);
        if (++p->empty_lines > MAX_EMPTY_LINES)
            return fail(p, 400, "There are only empty lines where a request should begin.");
        return 0;
    }
    p->headers_start = p->head.len;
    int r = http1_check_request_line(request_line(p), &why);
    if (r < 0)
        return fail(p, -r, why);
    p->state = HEADERS;
    start_line(p);
    return 0;
}

/* White space behind a value is none of it (RFC 9112 5.1), and llhttp takes no tab there in the headers that it reads itself. */
static void blank_trailing_tabs(struct http1_parser *p)
{
    for (uint8_t *c = p->head.data + p->head.len - 3; *c == ' ' || *c == '\t'; c--) /* a line has a name */
        *c = ' ';
}

static int end_header_line(struct http1_parser *p)
{
    if (p->line_bytes == 2)
        return parse_head(p);
    if (++p->header_lines > p->limits.header_count)
        return fail(p, 431, "The request has too many headers.");
    blank_trailing_tabs(p);
    start_line(p);
    return 0;
}

static int take_head(struct http1_parser *p, const uint8_t *data, size_t len, size_t *ret_used)
{
    bool in_headers = p->state == HEADERS;
    size_t limit = in_headers ? p->limits.headers : p->limits.request_line;
    size_t so_far = in_headers ? p->head.len - p->headers_start : p->head.len;
    int r = scan_line(p, data, len, limit - so_far, ret_used);
    if (r < 0)
        return r;
    if (p->head.data == NULL)
        buf_reserve(&p->head, HEAD_FIRST_BYTES);
    if (buf_append(&p->head, data, *ret_used) < 0)
        return fail_memory(p);
    if (r == 0)
        return 0;
    return in_headers ? end_header_line(p) : end_request_line(p);
}

/* ---- the body */

static int take_data(struct http1_parser *p, const uint8_t *data, size_t len, size_t *ret_used)
{
    assert(p->data_left > 0); /* else llhttp would have gone on to another state */
    size_t n = len < p->data_left ? len : (size_t)p->data_left;
    p->data_left -= n;
    *ret_used = n;
    int r = execute(p, data, n);
    if (r == 0 && p->state == CHUNK_DATA && p->data_left == 0)
        p->state = CHUNK_SIZE;
    return r;
}

/* Give llhttp a line. The extensions of a chunk's size are left out, as they are to be ignored (RFC 9112 7.1.1): 8.1.0
 * stumbles over a second one. */
static int end_chunk_line(struct http1_parser *p)
{
    const uint8_t *line = p->chunk_line.data;
    const uint8_t *extension = p->state == CHUNK_SIZE ? memchr(line, ';', p->chunk_line.len) : NULL;
    int r = execute(p, line, extension != NULL ? (size_t)(extension - line) : p->chunk_line.len);
    if (r == 0 && extension != NULL)
        r = execute(p, "\r\n", 2);
    buf_reset(&p->chunk_line);
    start_line(p);
    return r;
}

static int take_chunk_line(struct http1_parser *p, const uint8_t *data, size_t len, size_t *ret_used)
{
    size_t free_bytes = p->state == CHUNK_SIZE ? CHUNK_SIZE_BYTES : 0;
    free_bytes -= at_most(p->line_bytes, free_bytes);
    int ends = scan_line(p, data, len, free_bytes + p->framing_left, ret_used);
    if (ends < 0)
        return ends;
    p->framing_left -= *ret_used - at_most(*ret_used, free_bytes);
    if (buf_append(&p->chunk_line, data, *ret_used) < 0)
        return fail_memory(p);
    return ends ? end_chunk_line(p) : 0;
}

/* ---- the parser */

struct http1_parser *http1_parser_new(const struct http1_limits *limits)
{
    struct http1_parser *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->limits = *limits;
    p->limits.headers = at_most(limits->headers, SIZE_MAX / 4); /* so that sums do not wrap */
    p->limits.body = at_most(limits->body, SIZE_MAX / 4);
    http1_parser_next(p);
    return p;
}

void http1_parser_free(struct http1_parser *p)
{
    if (p == NULL)
        return;
    http1_parser_next(p);
    free(p);
}

void http1_parser_next(struct http1_parser *p)
{
    buf_done(&p->head);
    buf_done(&p->body);
    buf_done(&p->chunk_line);
    free(p->headers);
    *p = (struct http1_parser){ .limits = p->limits, .framing_left = p->limits.headers, .error = "" };
}

static int take(struct http1_parser *p, const uint8_t *data, size_t len, size_t *ret_used)
{
    switch (p->state) {
    case REQUEST_LINE:
    case HEADERS:
        return take_head(p, data, len, ret_used);
    case CHUNK_SIZE:
    case TRAILERS:
        p->awaits_continue = false;
        return take_chunk_line(p, data, len, ret_used);
    case BODY:
    case CHUNK_DATA:
        p->awaits_continue = false;
        return take_data(p, data, len, ret_used);
    case DONE:
    case FAILED: /* http1_parse() comes here in neither */
        break;
    }
    return 0;
}

int http1_parse(struct http1_parser *p, const void *data, size_t len, size_t *ret_used)
{
    assert(p->state != DONE); /* the caller owes http1_parser_next() */
    if (p->state == FAILED)
        return -p->status;
    size_t used = 0;
    while (used < len && p->state != DONE) {
        size_t n = 0;
        int r = take(p, (const uint8_t *)data + used, len - used, &n);
        if (r < 0)
            return r;
        used += n;
    }
    *ret_used = used;
    return p->state == DONE;
}

const struct http1_request *http1_parser_request(const struct http1_parser *p)
{
    return &p->request;
}

const struct http1_request *http1_parser_head(const struct http1_parser *p)
{
    bool has_head = p->state == BODY || p->state == CHUNK_SIZE || p->state == CHUNK_DATA || p->state == TRAILERS;
    return has_head ? &p->request : NULL;
}

const char *http1_parser_error(const struct http1_parser *p)
{
    return p->error;
}

bool http1_parser_is_midway(const struct http1_parser *p)
{
    if (p->state == REQUEST_LINE)
        return p->head.len > 0 && p->head.data[0] != '\r';
    return p->state != DONE && p->state != FAILED;
}

bool http1_parser_wants_continue(struct http1_parser *p)
{
    bool wants = p->awaits_continue;
    p->awaits_continue = false;
    return wants;
}
