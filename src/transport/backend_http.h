/* What the files of HTTP on the backend door share. */
#ifndef HALLEY_TRANSPORT_BACKEND_HTTP_H
#define HALLEY_TRANSPORT_BACKEND_HTTP_H

#include "transport/backend_access.h"
#include "transport/http_server.h"

/* ---- backend_http.c: who asks, and answers in JSON */
const struct backend_rights *backend_rights_of(const struct http_client *h); /* of the current request */
void backend_reply_json(struct http_client *h, unsigned status, struct buf *body); /* a line end is added */
void backend_reply_error(struct http_client *h, unsigned status, const char *code, const char *text); /* counted */
void backend_reply_no_memory(struct http_client *h);

/* A query's value as a number from min to max. value.ptr NULL leaves *ret as it is. */
bool backend_number(struct slice value, uint64_t min, uint64_t max, uint64_t *ret);

/* ---- backend_history.c: GET /history */
void backend_history(struct http_client *h, const struct http1_request *rq);

/* May the backend that asks subscribe to this topic? */
bool backend_may_read(const struct http_client *h, struct slice topic);

/* ---- backend_presence.c: GET /presence */
void backend_presence(struct http_client *h, const struct http1_request *rq);

/* ---- backend_kick.c: POST /disconnect, POST /revoke */
void backend_disconnect(struct http_client *h, const struct http1_request *rq);
void backend_revoke(struct http_client *h, const struct http1_request *rq);

/* ---- backend_clients.c: GET /clients */
void backend_clients(struct http_client *h, const struct http1_request *rq);

#endif
