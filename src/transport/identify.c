#include "transport/identify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "auth/jwt.h"
#include "auth/origin.h"
#include "auth/revocation.h"
#include "base/log.h"
#include "base/slice.h"
#include "transport/auth_callback.h"
#include "transport/cors.h"
#include "transport/http_publish.h"
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

/* A browser sends its cookies whichever page asks. They count for our own pages, and for those that `origins` names; a page that only `*` or `null` lets in is a
 * stranger's, and is answered as a client without a token. Navigations have no Origin: who may show their answer in a frame is `origins` too (frame-ancestors),
 * but for `*`. */
static bool may_use_cookies(struct http_client *h, const struct http1_request *rq, const struct settings *set, struct slice origin)
{
    struct slice site = http1_header_get(rq, "Sec-Fetch-Site");
    if (origin.ptr != NULL)
        return origin_is_own(origin, cors_own_host(http_conn(h), rq, origin)) || origin_is_named(origin, set->origins, set->origin_count);
    if (site.ptr == NULL || slice_equals(site, "same-origin") || slice_equals(site, "none"))
        return true;
    for (size_t i = 0; i < set->origin_count; i++)
        if (slice_equals(set->origins[i], "*"))
            return false;
    return true;
}

/* ---- what it is worth */

/* extra: header lines, each with CRLF. These doors answer a POST in JSON. Returns false. */
static bool refuse_with(struct http_client *h, const struct http1_request *rq, struct slice origin, unsigned status, const char *lines, const char *text)
{
    const char *code = status == 401 ? "unauthorized" : status == 403 ? "forbidden" : "unavailable";
    char cors[CORS_HEADERS_MAX], extra[CORS_HEADERS_MAX + 128];
    snprintf(extra, sizeof extra, "%sCache-Control: no-store\r\n%s", lines, cors_headers(cors, http_reactor(h)->settings, origin));
    if (rq->method == HTTP1_POST)
        http_publish_error(h, status, code, text, extra);
    else
        http_reply_text(h, status, extra, "%s", text);
    return false;
}

static bool refuse(struct http_client *h, const struct http1_request *rq, struct slice origin, enum jwt_error error)
{
    static struct log_gate gate;
    const bool is_ours = error == JWT_NO_MEMORY;
    char text[256];
    stat_add(&http_reactor(h)->stats.tokens_refused, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "token_refused", "why=%s %s", jwt_error_name(error), jwt_error_operator(error));
    snprintf(text, sizeof text, "This is refused: %s.", jwt_error_text(error));
    return refuse_with(h, rq, origin, is_ours ? 503 : 401, is_ours ? "" : "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n", text);
}

/* ---- by a token */

/* The token that the request carries; len 0: none. */
static enum jwt_error find_token(struct http_client *h, const struct http1_request *rq, struct slice origin, char **ret_memory, struct slice *ret)
{
    const struct settings *set = http_reactor(h)->settings;
    struct query_field field = { .key = "token" };
    *ret = bearer(rq);
    if (ret->len > 0)
        return JWT_OK;
    if (query_read(rq, &field, 1, ret_memory) == -ENOMEM)
        return JWT_NO_MEMORY;
    *ret = field.value; /* a broken query is its door's to refuse */
    if (ret->len == 0 && may_use_cookies(h, rq, set, origin))
        *ret = cookie(rq, set->auth_cookie);
    return JWT_OK;
}

static bool take_token(struct http_client *h, const struct http1_request *rq, struct slice origin, struct slice text)
{
    struct reactor *r = http_reactor(h);
    struct token *token;
    enum jwt_error error = jwt_verify(r->settings->jwt, text, r->loop.wall_ms, &token);
    if (error == JWT_OK && revocations_has(r->server->revocations, token, r->loop.wall_ms)) {
        token_unref(token);
        error = JWT_REVOKED;
    }
    if (error != JWT_OK)
        return refuse(h, rq, origin, error);
    http_set_token(h, token);
    return true;
}

/* ---- by asking the application */

static bool take_verdict(struct http_client *h, const struct http1_request *rq, struct slice origin, const struct auth_verdict *v)
{
    struct reactor *r = http_reactor(h);
    char lines[64] = "";
    if (v->status == 200 && v->token != NULL && revocations_has(r->server->revocations, v->token, r->loop.wall_ms))
        return refuse(h, rq, origin, JWT_REVOKED);
    if (v->status == 200) {
        http_set_token(h, v->token == NULL ? NULL : token_ref(v->token));
        return true;
    }
    if (v->status == 401) /* RFC 9110 15.5.2 wants one */
        snprintf(lines, sizeof lines, "WWW-Authenticate: Bearer\r\n");
    else if (v->status == 503)
        snprintf(lines, sizeof lines, "Retry-After: %" PRIu32 "\r\n", v->retry_s);
    return refuse_with(h, rq, origin, v->status, lines, v->why);
}

static void on_verdict(struct http_client *h, const struct http1_request *rq, const struct auth_verdict *v, http_run_fn then)
{
    if (take_verdict(h, rq, http1_header_get(rq, "Origin"), v))
        then(h, rq);
}

static bool ask(struct http_client *h, const struct http1_request *rq, struct slice origin, enum identify_how how, http_run_fn then)
{
    struct auth_verdict v;
    struct auth_question question = { .is_strange = !may_use_cookies(h, rq, http_reactor(h)->settings, origin),
                                      .is_for_stream = how == IDENTIFY_STREAM,
                                      .on_verdict = on_verdict,
                                      .then = then };
    return auth_callback_ask(h, rq, &question, &v) && take_verdict(h, rq, origin, &v);
}

/* ---- the whole */

bool identify(struct http_client *h, const struct http1_request *rq, struct slice origin, enum identify_how how, http_run_fn then)
{
    const struct settings *set = http_reactor(h)->settings;
    HLY_CLEANUP(query_freep) char *memory = NULL;
    struct slice text = { 0 };
    if (set->jwt != NULL && find_token(h, rq, origin, &memory, &text) != JWT_OK)
        return refuse(h, rq, origin, JWT_NO_MEMORY);
    if (text.len > 0)
        return take_token(h, rq, origin, text);
    return set->callback.url == NULL || how == IDENTIFY_TOKEN || ask(h, rq, origin, how, then);
}
