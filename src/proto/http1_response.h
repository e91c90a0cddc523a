/* HTTP/1.1 responses (RFC 9110, 9112), parsed by llhttp in strict mode, with the checks that it leaves out: for answers that
 * we asked for, one at a time on a connection.
 *
 * Bytes in, one response out; its body is collected up to a limit. What it hands out points into memory of the parser and lives
 * until http1_response_next() or _free(). Interim responses (1xx) are passed over. */
#ifndef HALLEY_PROTO_HTTP1_RESPONSE_H
#define HALLEY_PROTO_HTTP1_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"
#include "proto/http1.h"

struct http1_response_limits {
    size_t head; /* bytes: the status line, all header lines, the empty one */
    unsigned header_count;
    size_t body;
};

struct http1_response {
    unsigned status; /* 200 to 599 */
    bool keep_alive; /* the connection may carry another request; nothing came behind this response */
    const struct http1_header *headers;
    size_t header_count;
    struct slice body;
};

struct http1_response_parser;

/* A parser for one connection, or NULL. The limits are copied. */
struct http1_response_parser *http1_response_parser_new(const struct http1_response_limits *limits);
void http1_response_parser_free(struct http1_response_parser *p); /* NULL is accepted */

/* Feed input (borrowed). The request was not a HEAD. Returns 1: a whole response is in http1_response_get(); 0: all is consumed and
 * more is needed; -EBADMSG: it is no HTTP/1.x response, with the byte that decides it; -EMSGSIZE: it is over a limit; -ENOMEM. After a
 * negative result the connection is of no more use, and http1_response_error() is one plain sentence. */
int http1_response_parse(struct http1_response_parser *p, const void *data, size_t len);

/* The peer has finished sending. Returns as above, and never 0: a response whose body ends with its connection is complete now, and
 * any other is cut (-EBADMSG). */
int http1_response_end(struct http1_response_parser *p);

const struct http1_response *http1_response_get(const struct http1_response_parser *p);
const char *http1_response_error(const struct http1_response_parser *p);

/* Has any byte of a response arrived? */
bool http1_response_has_begun(const struct http1_response_parser *p);

/* Forget it, be ready for the next on the same connection. */
void http1_response_next(struct http1_response_parser *p);

/* ---- looking into a response */

/* The value of the first header of that name, without case; NULL ptr if absent. */
struct slice http1_response_header(const struct http1_response *r, const char *name);

/* For how many seconds it says that it may be kept (Cache-Control: max-age, RFC 9111 5.2.2.1); 0 if it does not, or also says no-store,
 * no-cache or Vary: *. */
uint32_t http1_response_max_age_s(const struct http1_response *r);

#endif
