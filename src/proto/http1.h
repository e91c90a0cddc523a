/* HTTP/1.1 requests (RFC 9110, 9112), parsed by llhttp in strict mode, with the checks that it leaves out.
 *
 * Bytes in, one request at a time out; a body is collected up to a limit. What a request hands out points into memory of
 * the parser and lives until http1_parser_next() or http1_parser_free(). Between requests a parser holds no memory but its
 * own few hundred bytes. */
#ifndef HALLEY_PROTO_HTTP1_H
#define HALLEY_PROTO_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"

struct http1_limits {
    size_t request_line; /* bytes, with its CRLF: over it 414 */
    size_t headers;      /* bytes of all header lines with their CRLFs and the empty one: over it 431. The trailers and chunk
                          * extensions of a chunked body together have the same allowance */
    unsigned header_count; /* over it 431 */
    size_t body;         /* bytes: over it 413 */
};

enum http1_method { HTTP1_GET, HTTP1_HEAD, HTTP1_POST, HTTP1_PUT, HTTP1_DELETE, HTTP1_OPTIONS, HTTP1_OTHER };

struct http1_header {
    struct slice name; /* as sent; compare without case */
    struct slice value; /* without surrounding white space */
};

struct http1_request {
    enum http1_method method;
    struct slice method_name;
    struct slice target; /* as sent, in origin-form (absolute-form has been cut to it) */
    struct slice path;   /* the part of target before '?', still percent-encoded */
    struct slice query;  /* the part after '?', without it; empty if none */
    unsigned minor;      /* HTTP/1.minor: 0 or 1 */
    bool keep_alive;     /* the connection may carry another request */
    bool has_body;       /* Content-Length above 0, or chunked */
    struct slice host;   /* as sent, with the port if any; empty only with HTTP/1.0. An absolute-form target's replaces Host */
    const struct http1_header *headers;
    size_t header_count;
    struct slice body;
};

struct http1_parser;

/* A parser for one connection, or NULL. The limits are copied. */
struct http1_parser *http1_parser_new(const struct http1_limits *limits);
void http1_parser_free(struct http1_parser *p); /* NULL is accepted */

/* Feed input (borrowed). Returns
 *   1: a whole request is in http1_parser_request(). *ret_used bytes were consumed; what follows is the next request, or,
 *      if this one is answered with 101, the other protocol's.
 *   0: all of data is consumed and more is needed.
 *  -status: the request is refused with this HTTP status (400, 405 for CONNECT, 413, 414, 417, 431, 501, 505; 503 when
 *      memory is out), now and on every further call; the connection is to be closed after the answer.
 *      http1_parser_error() is one plain sentence for its body.
 * Empty lines before a request are skipped, up to four of them (RFC 9112 2.2). After 1, call http1_parser_next() first.
 * A request with `Upgrade: websocket` is complete at the end of its headers and never keeps the connection alive; with a
 * body as well it is refused with 400. Every other Upgrade is ignored, as RFC 9110 7.8 allows: clients that would like
 * h2c send it with each first request, bodies included. */
int http1_parse(struct http1_parser *p, const void *data, size_t len, size_t *ret_used);
const struct http1_request *http1_parser_request(const struct http1_parser *p);
/* The same without its body, while that is still to come; NULL before the head is complete. */
const struct http1_request *http1_parser_head(const struct http1_parser *p);
const char *http1_parser_error(const struct http1_parser *p);

/* Has any byte of a request arrived that is not complete? (For header timeouts, and for closing idle connections.) Empty
 * lines before a request do not count. */
bool http1_parser_is_midway(const struct http1_parser *p);
/* Are the headers complete, is no byte of the body there yet, and does the client wait for 100 (RFC 9110 10.1.1)? True once
 * per request. */
bool http1_parser_wants_continue(struct http1_parser *p);

/* The answer is given: forget the request, be ready for the next on the same connection. */
void http1_parser_next(struct http1_parser *p);

/* ---- looking into a request */

/* The value of the first header of that name, without case; NULL ptr if absent. */
struct slice http1_header_get(const struct http1_request *rq, const char *name);

/* Is the token in the comma-separated list(s) of all headers of that name, without case (RFC 9110 5.6.1)? */
bool http1_header_has_token(const struct http1_request *rq, const char *name, const char *token);

/* Does the client take an answer with Content-Encoding gzip, and like it no less than a plain one (RFC 9110 12.5.3)? */
bool http1_accepts_gzip(const struct http1_request *rq);

/* Walk the query (application/x-www-form-urlencoded: %XX and '+'). Start with *pos = 0. On each call that returns 1, *key and
 * *value are the decoded next pair, written to the start of scratch, each with a NUL after it (and perhaps in it: %00). To
 * keep a pair, let the next call write behind its value. Scratch of the query's length + 2 bytes is enough for both ways.
 * Returns 0 at the end, -EINVAL on a broken escape. */
int http1_query_next(struct slice query, size_t *pos, char *scratch, struct slice *key, struct slice *value);

/* ---- writing an answer */

/* "Not Found" and so on (RFC 9110 15); "Unknown" for a code it does not know. */
const char *http1_reason(unsigned status);

/* Append status line and the headers that each answer has: Date (wall_ms; RFC 9110 6.6.1), Content-Type (NULL: none), Content-Length (body_len; SIZE_MAX: none, the
 * body ends with the connection, which is then closed; never with 1xx and 204), Connection (close or keep-alive: clients of
 * HTTP/1.0 need to be told), X-Content-Type-Options: nosniff; then `extra`, header lines that each end in CRLF (NULL: none), then
 * the empty line. */
void http1_write_head(struct buf *out, uint64_t wall_ms, unsigned status, bool keep_alive, const char *content_type, size_t body_len,
                      const char *extra);

#endif
