/* Who sends a request: the token that it carries, checked, before any door sees it. */
#ifndef HALLEY_TRANSPORT_IDENTIFY_H
#define HALLEY_TRANSPORT_IDENTIFY_H

#include "transport/http_server.h"

/* Look for a token in `Authorization: Bearer`, then in the query (`token=`), then in the cookie that the config names, if no stranger's page asks; check it and
 * give it to the client (http_token()). origin: the request's, which is allowed. Without one, or without auth in the config, the client stays anonymous. Returns false when the request has been answered with 401 and a
 * sentence: a token that does not hold is never taken for none. */
bool identify(struct http_client *h, const struct http1_request *rq, struct slice origin);

#endif
