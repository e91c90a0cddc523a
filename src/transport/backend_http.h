/* What the files of HTTP on the backend door share. */
#ifndef HALLEY_TRANSPORT_BACKEND_HTTP_H
#define HALLEY_TRANSPORT_BACKEND_HTTP_H

#include "transport/http_server.h"

/* ---- backend_http.c: answers in JSON */
void backend_reply_json(struct http_client *h, unsigned status, struct buf *body); /* a line end is added */
void backend_reply_error(struct http_client *h, unsigned status, const char *code, const char *text); /* counted */
void backend_reply_no_memory(struct http_client *h);

/* A query's value as a number from min to max. value.ptr NULL leaves *ret as it is. */
bool backend_number(struct slice value, uint64_t min, uint64_t max, uint64_t *ret);

/* ---- backend_history.c: GET /history */
void backend_history(struct http_client *h, const struct http1_request *rq);

/* ---- backend_clients.c: GET /clients */
void backend_clients(struct http_client *h, const struct http1_request *rq);

#endif
