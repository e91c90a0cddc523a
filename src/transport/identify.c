#include "transport/identify.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "auth/jwt.h"
#include "base/log.h"
#include "transport/cors.h"
#include "transport/query.h"

/* ---- where it may be */

static struct slice bearer(const struct http1_request *rq) /* RFC 6750 2.1 */
{
    struct slice value = http1_header_get(rq, "Authorization");
    if (value.len < 7 || strncasecmp(value.ptr, "Bearer ", 7) != 0)
        return (struct slice){ 0 };
    return slice_trim((struct slice){ value.ptr + 7, value.len - 7 });
}

/* One pair of a Cookie header (RFC 6265 4.2.1), cut off the rest. */
static struct slice next_pair(struct slice *rest)
{
    const char *end = memchr(rest->ptr, ';', rest->len);
    struct slice pair = { rest->ptr, end == NULL ? rest->len : (size_t)(end - rest->ptr) };
    size_t used = pair.len + (end != NULL);
    rest->ptr += used;
    rest->len -= used;
    return slice_trim(pair);
}

static struct slice cookie(const struct http1_request *rq, struct slice name)
{
    for (size_t i = 0; i < rq->header_count && name.len > 0; i++) {
        const struct http1_header *header = &rq->headers[i];
        if (header->name.len != 6 || strncasecmp(header->name.ptr, "Cookie", 6) != 0)
            continue;
        for (struct slice rest = header->value; rest.len > 0;) {
            struct slice pair = next_pair(&rest);
            if (pair.len > name.len && memcmp(pair.ptr, name.ptr, name.len) == 0 && pair.ptr[name.len] == '=')
                return (struct slice){ pair.ptr + name.len + 1, pair.len - name.len - 1 };
        }
    }
    return (struct slice){ 0 };
}

/* ---- what it is worth */

static bool refuse(struct http_client *h, struct slice origin, enum jwt_error error)
{
    static struct log_gate gate;
    char cors[CORS_HEADERS_MAX], extra[CORS_HEADERS_MAX + 128];
    stat_add(&http_reactor(h)->stats.tokens_refused, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "token_refused", "why=%s %s", jwt_error_name(error), jwt_error_operator(error));
    snprintf(extra, sizeof extra, "WWW-Authenticate: Bearer error=\"invalid_token\"\r\nCache-Control: no-store\r\n%s", cors_headers(cors, origin));
    http_reply_text(h, error == JWT_NO_MEMORY ? 503 : 401, extra, "This is refused: %s.", jwt_error_text(error));
    return false;
}

bool identify(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    struct reactor *r = http_reactor(h);
    struct query_field field = { .key = "token" };
    HLY_CLEANUP(query_freep) char *memory = NULL;
    struct token *token;
    if (r->settings->jwt == NULL)
        return true;
    struct slice text = bearer(rq);
    if (text.len == 0) {
        if (query_read(rq, &field, 1, &memory) == -ENOMEM)
            return refuse(h, origin, JWT_NO_MEMORY);
        text = field.value; /* a broken query is its door's to refuse */
    }
    if (text.len == 0)
        text = cookie(rq, r->settings->auth_cookie);
    if (text.len == 0)
        return true;
    enum jwt_error error = jwt_verify(r->settings->jwt, text, r->loop.wall_ms, &token);
    if (error != JWT_OK)
        return refuse(h, origin, error);
    http_set_token(h, token);
    return true;
}
