/* Long polling: GET /poll is answered when there is something to say, or when its time is up.
 *
 * A poll stays an HTTP request: what it subscribes to ends with its answer, the connection goes on. Between two polls
 * nothing is kept of a client but the cursor that it has itself, so whichever reactor gets the next one loses and
 * repeats nothing. */
#ifndef HALLEY_TRANSPORT_POLL_H
#define HALLEY_TRANSPORT_POLL_H

#include "transport/http_server.h"

#define POLL_WAIT_DEFAULT_MS 25000
#define POLL_WAIT_MAX_MS 300000

/* Answer GET or HEAD for the topics of the query, now or later. origin: the request's, if it has one (ptr NULL:
 * none); it is allowed. */
void poll_open(struct http_client *h, const struct http1_request *rq, struct slice origin);

#endif
