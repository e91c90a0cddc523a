/* Publishing over HTTP: a request whose body is the payload, for backends and for browsers alike, and the JSON that
 * publishes are answered with. */
#ifndef HALLEY_TRANSPORT_HTTP_PUBLISH_H
#define HALLEY_TRANSPORT_HTTP_PUBLISH_H

#include "core/hub.h"
#include "transport/http_server.h"

struct publisher;
struct publish_refusal;

/* Publish the body to the topic, once per `Idempotency-Key` if it has one, and answer {"cursor":…,"subscribers":…} or
 * an error with its status. by: who publishes; borrowed. extra: header lines for the answer, each with CRLF, or NULL;
 * copied. */
void http_publish(struct http_client *h, const struct http1_request *rq, struct slice topic, const struct publisher *by,
                  const char *extra);

/* Answer {"error":{"code":…,"message":…}}. */
void http_publish_error(struct http_client *h, unsigned status, const char *code, const char *text, const char *extra);
void http_publish_refuse(struct http_client *h, const struct publish_refusal *why, const char *extra);

/* ---- the same as parts of a longer answer */

void http_publish_write_error(struct buf *out, const char *code, const char *text);
void http_publish_write_receipt(struct buf *out, const char *epoch, const struct hub_receipt *receipt);

#endif
