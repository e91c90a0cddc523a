/* What an application is asked (auth.callback): a GET with the headers of the client's own request, as nginx's auth_request sends it.
 *
 * Left out are headers that are about the client's connection or its body, those that would make the answer another one than to the question
 * (conditional and range requests), and those by which proxies speak: X-Forwarded-For, X-Forwarded-Proto, X-Original-URI and X-Original-Method are
 * ours. So are names with a '_', which many servers take for the same as those with a '-'. */
#ifndef HALLEY_TRANSPORT_AUTH_REQUEST_H
#define HALLEY_TRANSPORT_AUTH_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/answer_cache.h"
#include "base/buf.h"
#include "proto/http1.h"

struct auth_request {
    const struct http1_request *client; /* borrowed */
    const char *target;                 /* what to GET */
    const char *address;                /* the client's, as text */
    const char *scheme;                 /* "http" or "https": how the client came */
    bool is_strange;                    /* it may be a page that must not ride on its visitor's cookies: what browsers add by themselves is left out */
};

/* Append the request. Failure shows in out->failed. */
void auth_request_write(struct buf *out, const struct auth_request *r);

/* What an answer to it is kept by: a SHA-256 of all of it but for what changes from one request to the next of the same client: `after`, `last`
 * and `wait` in the query, Last-Event-ID, Idempotency-Key, and the ids by which requests are traced. Returns 0 or -ENOMEM. */
int auth_request_key(const struct auth_request *r, uint8_t ret_key[ANSWER_KEY_BYTES]);

#endif
