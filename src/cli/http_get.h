/* GET over the backend door: the few lines of HTTP that `halley topics` and `halley stats` need.
 *
 * The request is HTTP/1.0, so the answer is never chunked and the connection ends after it (RFC 9112 2.5, 6.1). */
#ifndef HALLEY_CLI_HTTP_GET_H
#define HALLEY_CLI_HTTP_GET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "cli/endpoint.h"

struct http_answer {
    unsigned status;
    struct slice body; /* points into what was parsed */
};

/* Make sense of what has arrived so far; is_end: nothing follows. Returns 1 and *ret_answer when it is complete, 0 when
 * more is needed, -EPROTO when it is no HTTP answer, -EPIPE when it ended too early. */
int http_answer_parse(const void *data, size_t len, bool is_end, struct http_answer *ret_answer);

/* Fetch a target ("/topics?pattern=a%2F*"). Returns 0 and the body, NUL-terminated beyond its len, when the server
 * answered 200; the status and its sentence in *ret_error when it answered anything else; -errno and a sentence when it
 * could not be reached or did not answer. ret_body is initialised by the caller, who also calls buf_done(). */
int http_get(const struct endpoint *e, const char *target, struct buf *ret_body, struct endpoint_error *ret_error);

/* The same with POST and no body: for commands whose arguments are in the query. */
int http_post(const struct endpoint *e, const char *target, struct buf *ret_body, struct endpoint_error *ret_error);

/* Append text with every byte but the unreserved ones as %XX (RFC 3986 2.3). */
void http_escape(struct buf *out, const char *text);

#endif
