/* Which pages of other origins may read our answers (CORS, Fetch 3.2): one place for all public doors.
 *
 * A request whose Origin is not allowed never gets as far as a door: the public door answers it with 403. What is here tells the browser that the
 * others may have the answer. Vary is always sent: the same address is answered differently for another page. */
#ifndef HALLEY_TRANSPORT_CORS_H
#define HALLEY_TRANSPORT_CORS_H

#include "base/base.h"
#include "transport/http_server.h"

#define CORS_ORIGIN_MAX 300 /* bytes: scheme, a host name of 253, port; a request with a longer Origin is refused */
#define CORS_HEADERS_MAX 512

struct conn;
struct settings;

/* Header lines for an answer, refusals included, to a request with this Origin (ptr NULL: it has none); for `extra` of http_reply(). Pages may
 * read ETag and Retry-After besides what they always may; where cookies carry tokens, those that `origins` names may send theirs. Writes to out and
 * returns it. */
const char *cors_headers(char out[CORS_HEADERS_MAX], const struct settings *set, struct slice origin);

/* Answer OPTIONS: Allow, and for a page the preflight, which allows `method` (GET or POST) and the request headers that our clients send. */
void cors_preflight(struct http_client *h, struct slice origin, const char *allow, const char *method);

/* The host whose pages are our own: the request's, but none for a page of http:// on a connection with TLS: anyone on its way may have written it. */
struct slice cors_own_host(const struct conn *c, const struct http1_request *rq, struct slice origin);

#endif
