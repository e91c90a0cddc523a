/* Who sends a request: the token that it carries, checked, before any door sees it. */
#ifndef HALLEY_TRANSPORT_IDENTIFY_H
#define HALLEY_TRANSPORT_IDENTIFY_H

#include "transport/http_server.h"

enum identify_how {
    IDENTIFY_TOKEN,    /* by a token alone: who asks is known by something else */
    IDENTIFY_REQUEST,  /* if it carries none, the application is asked (auth.callback) */
    IDENTIFY_STREAM,   /* the same, and a WebSocket or a stream is to come of it */
};

/* Look for a token in `Authorization: Bearer`, then in the query (`token=`), then in the cookie that the config names, if no stranger's page asks; check it and
 * give it to the client (http_token()). origin: the request's, which is allowed. Without one, or without keys to check it with, the application is asked,
 * if the config names one and how allows it; else the client stays anonymous.
 *
 * Returns true when it is known; `then` is not called. False when the request has been answered, with 401, 403 or 503 and a sentence (a token that does not
 * hold is never taken for none); or when it has been put off: then it is answered so later, or `then` is called with it, as on_request() would be. */
bool identify(struct http_client *h, const struct http1_request *rq, struct slice origin, enum identify_how how, http_run_fn then);

#endif
