#include "transport/cors.h"

#include <assert.h>
#include <stdio.h>
#include <strings.h>

#include "auth/origin.h"
#include "net/conn.h"
#include "transport/settings.h"

#define REQUEST_HEADERS "Authorization, Cache-Control, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID"
#define PREFLIGHT_AGE_S "86400" /* what we allow changes with the config alone; browsers cut it to two hours or a day */

/* Lets the browser send its cookies and hand the answer on (Fetch 3.2.3). Never for those who are let in without a name. */
static const char *credentials(const struct settings *set, struct slice origin)
{
    bool is_meant = (set->auth_cookie.len > 0 || set->callback.url != NULL) && origin_is_named(origin, set->origins, set->origin_count);
    return is_meant ? "Access-Control-Allow-Credentials: true\r\n" : "";
}

const char *cors_headers(char out[CORS_HEADERS_MAX], const struct settings *set, struct slice origin)
{
    static const char vary[] = "Vary: Origin\r\n";
    assert(origin.len <= CORS_ORIGIN_MAX);
    if (origin.ptr == NULL)
        snprintf(out, CORS_HEADERS_MAX, "%s", vary);
    else
        snprintf(out, CORS_HEADERS_MAX,
                 "%sAccess-Control-Allow-Origin: %.*s\r\n%sAccess-Control-Expose-Headers: ETag, Retry-After\r\n", vary,
                 (int)origin.len, origin.ptr, credentials(set, origin));
    return out;
}

void cors_preflight(struct http_client *h, struct slice origin, const char *allow, const char *method)
{
    char headers[CORS_HEADERS_MAX], extra[2 * CORS_HEADERS_MAX];
    int n = snprintf(extra, sizeof extra, "Allow: %s\r\n%s", allow, cors_headers(headers, http_reactor(h)->settings, origin));
    if (origin.ptr != NULL)
        snprintf(extra + n, sizeof extra - (size_t)n,
                 "Access-Control-Allow-Methods: %s\r\nAccess-Control-Allow-Headers: " REQUEST_HEADERS
                 "\r\nAccess-Control-Max-Age: " PREFLIGHT_AGE_S "\r\n",
                 method);
    http_reply(h, 204, NULL, NULL, 0, extra);
}

struct slice cors_own_host(const struct conn *c, const struct http1_request *rq, struct slice origin)
{
    static const char plain[] = "http://";
    bool is_plain = origin.len >= sizeof plain - 1 && strncasecmp(origin.ptr, plain, sizeof plain - 1) == 0;
    return c->tls != NULL && is_plain ? (struct slice){ 0 } : rq->host;
}
