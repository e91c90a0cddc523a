#include "transport/public_door.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/origin.h"
#include "base/log.h"
#include "base/slice.h"
#include "proto/ws_handshake.h"
#include "transport/command.h"
#include "transport/cors.h"
#include "transport/echo.h"
#include "transport/http_publish.h"
#include "transport/http_server.h"
#include "transport/identify.h"
#include "transport/peer.h"
#include "transport/poll.h"
#include "transport/proxied_conn.h"
#include "transport/publish_door.h"
#include "transport/query.h"
#include "transport/secure_conn.h"
#include "transport/sse_subscriber.h"
#include "transport/static_file.h"
#include "transport/v1_stream.h"
#include "transport/wish.h"
#include "transport/ws_subscriber.h"

#define CONSOLE_HEADERS \
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'self' 'unsafe-inline'; " \
    "connect-src 'self' ws: wss:; frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n" \
    "Cache-Control: no-cache\r\n" \
    "Referrer-Policy: no-referrer\r\n"

/* ---- WebSocket */

static bool origin_passes(struct http_client *h, const struct http1_request *rq)
{
    struct reactor *r = http_reactor(h);
    struct slice origin = http1_header_get(rq, "Origin");
    if (origin.len <= CORS_ORIGIN_MAX && origin_is_allowed(origin, cors_own_host(http_conn(h), rq, origin), r->settings->origins, r->settings->origin_count))
        return true;
    char quoted[200];
    static struct log_gate gate;
    log_quote(quoted, sizeof quoted, origin.ptr, origin.len);
    stat_add(&r->stats.handshakes_bad_origin, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "origin_refused", "origin='%s': add it to origins in the config if it is yours", quoted);
    http_reply_text(h, 403, "Vary: Origin\r\n", "Pages from the origin '%s' are not allowed here: add it to origins in the server's config.",
                    quoted);
    return false;
}

static bool handshake_passes(struct http_client *h, const struct http1_request *rq)
{
    const char *why = "";
    int status = ws_handshake_check(rq, &why);
    if (status == 0)
        return true;
    stat_add(&http_reactor(h)->stats.handshakes_bad, 1);
    const char *extra = status == -426   ? "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        : status == -405 ? "Allow: GET\r\n"
                                         : NULL;
    http_reply_text(h, (unsigned)-status, extra, "%s", why);
    return false;
}

/* What other doors take in the query and this one does not: silently another format would be worse than an error. */
static bool ws_query_passes(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    struct query_field f[] = { { .key = "format" }, { .key = "protocol" } };
    _Atomic uint64_t *counter = &http_reactor(h)->stats.handshakes_bad_topic;
    HLY_CLEANUP(query_freep) char *memory = NULL;
    if (!query_take(h, rq, f, 2, &memory))
        return false;
    if (f[0].value.ptr != NULL)
        return wish_refuse(h, origin, counter, 400, "A WebSocket has no formats: leave format out, or connect to /sse or /stream.");
    if (f[1].value.ptr != NULL)
        return wish_refuse(h, origin, counter, 400,
                           "A WebSocket names its protocol in the handshake: new WebSocket(url, 'halley.v1'), without protocol in the query.");
    return true;
}

/* ---- who asks */

/* 429, or 503 when memory has run out. origin: whose pages may read it; ptr NULL: nobody's. Returns false. */
static bool refuse_peer(struct http_client *h, const struct http1_request *rq, struct slice origin, int error, const char *text)
{
    const bool is_full = error == -EDQUOT;
    char cors[CORS_HEADERS_MAX], extra[CORS_HEADERS_MAX + 64];
    snprintf(extra, sizeof extra, "Retry-After: 10\r\nCache-Control: no-store\r\n%s",
             origin.ptr == NULL ? "" : cors_headers(cors, http_reactor(h)->settings, origin));
    text = is_full ? text : "Out of memory, try again later.";
    if (rq->method == HTTP1_POST) /* these doors answer in JSON */
        http_publish_error(h, is_full ? 429 : 503, is_full ? "too_many" : "unavailable", text, extra);
    else
        http_reply_text(h, is_full ? 429 : 503, extra, "%s", text);
    return false;
}

/* False: its address has too many connections, and it has been answered. */
static bool address_passes(struct http_client *h, const struct http1_request *rq)
{
    int error = peer_set_forwarded(http_reactor(h), http_conn(h), rq);
    return error == 0 || refuse_peer(h, rq, (struct slice){ 0 }, error,
                                     "Too many connections from your address (limits.per_address): close some.");
}

/* False: its user has too many connections, and it has been answered. origin: allowed by now. */
static bool user_passes(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    int error = peer_set_user(http_reactor(h), http_conn(h), http_token(h));
    return error == 0 || refuse_peer(h, rq, origin, error, "This user has too many connections (limits.per_user): close some.");
}

enum ws_kind { WS_KIND_ECHO, WS_KIND_BARE, WS_KIND_TOPICS };

static bool is_echo_path(const struct reactor *r, struct slice path)
{
    for (size_t i = 0; i < r->settings->echo_count; i++)
        if (r->settings->echo_paths[i].len == path.len && memcmp(r->settings->echo_paths[i].ptr, path.ptr, path.len) == 0)
            return true;
    return false;
}

/* A handshake, whatever its method: to a door that speaks WebSocket? */
static bool is_websocket(const struct reactor *r, const struct http1_request *rq, enum ws_kind *ret)
{
    if (!ws_handshake_is_asked(rq))
        return false;
    *ret = is_echo_path(r, rq->path) ? WS_KIND_ECHO : slice_equals(rq->path, "/ws") ? WS_KIND_TOPICS : WS_KIND_BARE;
    return *ret != WS_KIND_BARE || slice_equals(rq->path, "/"); /* new WebSocket('ws://host:port'), as the oldest pages do */
}

/* Who asks is known. */
static void open_websocket(struct http_client *h, const struct http1_request *rq)
{
    struct slice origin = http1_header_get(rq, "Origin");
    enum ws_kind kind;
    if (is_websocket(http_reactor(h), rq, &kind) && user_passes(h, rq, origin) && ws_query_passes(h, rq, origin))
        ws_subscriber_open(h, rq, kind == WS_KIND_BARE);
}

static void websocket(struct http_client *h, const struct http1_request *rq, enum ws_kind kind)
{
    if (!handshake_passes(h, rq) || !origin_passes(h, rq))
        return;
    if (kind == WS_KIND_ECHO)
        echo_open(h, rq);
    else if (identify(h, rq, http1_header_get(rq, "Origin"), IDENTIFY_STREAM, open_websocket))
        open_websocket(h, rq);
}

static void not_a_page(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    (void)rq;
    (void)origin;
    http_reply_text(h, 426, "Upgrade: websocket\r\nConnection: Upgrade\r\n",
                    "This address speaks WebSocket: open it with new WebSocket(url), not as a page.");
}

/* ---- streams */

static void event_stream(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    struct query_field f[] = { { .key = "format" }, { .key = "protocol" } };
    _Atomic uint64_t *counter = &http_reactor(h)->stats.handshakes_bad_topic;
    HLY_CLEANUP(query_freep) char *memory = NULL;
    if (!query_take(h, rq, f, 2, &memory))
        return;
    struct slice format = f[0].value, protocol = f[1].value;
    bool is_json = slice_equals(format, "json");
    if (protocol.ptr != NULL && !slice_equals(protocol, "halley.v1"))
        wish_refuse(h, origin, counter, 400, "The only protocol here is halley.v1: leave protocol out for plain events.");
    else if (format.ptr != NULL && !is_json && !slice_equals(format, "text"))
        wish_refuse(h, origin, counter, 400, "format is text or json here; ndjson and iframe are formats of /stream.");
    else if (protocol.ptr != NULL && format.ptr != NULL && !is_json)
        wish_refuse(h, origin, counter, 400, "protocol=halley.v1 is JSON: leave format out.");
    else if (protocol.ptr != NULL)
        v1_stream_open(h, rq, origin, V1_STREAM_SSE);
    else
        sse_subscriber_open(h, rq, origin, is_json);
}

static void stream(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    struct query_field f[] = { { .key = "format" }, { .key = "protocol" } };
    _Atomic uint64_t *counter = &http_reactor(h)->stats.handshakes_bad_topic;
    HLY_CLEANUP(query_freep) char *memory = NULL;
    if (!query_take(h, rq, f, 2, &memory))
        return;
    struct slice format = f[0].value, protocol = f[1].value;
    if (protocol.ptr != NULL && !slice_equals(protocol, "halley.v1"))
        wish_refuse(h, origin, counter, 400, "The only protocol here is halley.v1: leave protocol out.");
    else if (slice_equals(format, "iframe"))
        v1_stream_open(h, rq, origin, V1_STREAM_IFRAME);
    else if (format.ptr == NULL || slice_equals(format, "ndjson"))
        v1_stream_open(h, rq, origin, V1_STREAM_NDJSON);
    else
        wish_refuse(h, origin, counter, 400, "format is ndjson or iframe here; text and json are formats of /sse.");
}

/* ---- pages */

static void root(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    const struct settings *set = http_reactor(h)->settings;
    (void)rq;
    (void)origin;
    if (set->console && set->console_page.len > 0)
        http_reply(h, 200, "text/html; charset=utf-8", set->console_page.ptr, set->console_page.len, CONSOLE_HEADERS);
    else
        http_reply_text(h, 404, NULL, "Halley is here; its console is switched off. Connect to /ws?topic=NAME with a WebSocket.");
}

static void healthz(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    bool draining = atomic_load(&http_reactor(h)->server->draining);
    (void)rq;
    (void)origin;
    http_reply_text(h, draining ? 503 : 200, "Cache-Control: no-store\r\n", "%s", draining ? "draining" : "ok");
}

#define JAVASCRIPT "text/javascript; charset=utf-8"

static void halley_js(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    (void)origin;
    static_file_serve(h, rq, http_reactor(h)->settings->halley_js, JAVASCRIPT);
}

static void halley_classic_js(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    (void)origin;
    static_file_serve(h, rq, http_reactor(h)->settings->halley_classic_js, JAVASCRIPT);
}

static void halley_share_js(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    (void)origin;
    static_file_serve(h, rq, http_reactor(h)->settings->halley_share_js, JAVASCRIPT);
}

static void halley_d_ts(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    (void)origin;
    static_file_serve(h, rq, http_reactor(h)->settings->halley_d_ts, "application/typescript; charset=utf-8");
}

/* ---- routes */

static const struct route {
    const char *path;
    enum http1_method method; /* GET takes HEAD as well; OPTIONS is answered for each */
    bool is_guarded;          /* pages of foreign origins are refused, and allowed ones may read the answer */
    void (*run)(struct http_client *h, const struct http1_request *rq, struct slice origin);
    enum identify_how how;    /* of those that are guarded */
} routes[] = {
    { "/ws", HTTP1_GET, false, not_a_page, 0 },
    { "/sse", HTTP1_GET, true, event_stream, IDENTIFY_STREAM },
    { "/poll", HTTP1_GET, true, poll_open, IDENTIFY_REQUEST },
    { "/stream", HTTP1_GET, true, stream, IDENTIFY_STREAM },
    { "/publish", HTTP1_POST, true, publish_door, IDENTIFY_REQUEST },
    { "/command", HTTP1_POST, true, command_door, IDENTIFY_TOKEN }, /* whoever knows a connection's id speaks for it */
    { "/halley.js", HTTP1_GET, false, halley_js, 0 },
    { "/halley.classic.js", HTTP1_GET, false, halley_classic_js, 0 },
    { "/halley-share.js", HTTP1_GET, false, halley_share_js, 0 },
    { "/halley.d.ts", HTTP1_GET, false, halley_d_ts, 0 },
    { "/healthz", HTTP1_GET, false, healthz, 0 },
    { "/", HTTP1_GET, false, root, 0 },
};

static const struct route *find_route(const struct reactor *r, struct slice path)
{
    for (size_t i = 0; i < HLY_ARRAY_LEN(routes); i++)
        if (slice_equals(path, routes[i].path))
            return &routes[i];
    return is_echo_path(r, path) ? find_route(r, SLICE_LIT("/ws")) : NULL; /* as a page it is no other than that */
}

/* Who asks is known. */
static void run_guarded(struct http_client *h, const struct http1_request *rq)
{
    const struct route *route = find_route(http_reactor(h), rq->path);
    struct slice origin = http1_header_get(rq, "Origin");
    if (route != NULL && user_passes(h, rq, origin))
        route->run(h, rq, origin);
}

static void run_route(struct http_client *h, const struct http1_request *rq, const struct route *route)
{
    bool is_post = route->method == HTTP1_POST;
    const char *allow = is_post ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
    char extra[64];
    struct slice origin = route->is_guarded ? http1_header_get(rq, "Origin") : (struct slice){ 0 };
    snprintf(extra, sizeof extra, "Allow: %s\r\n", allow);
    if (route->is_guarded && !origin_passes(h, rq))
        return;
    if (rq->method == HTTP1_OPTIONS && route->is_guarded)
        cors_preflight(h, origin, allow, is_post ? "POST" : "GET");
    else if (rq->method == HTTP1_OPTIONS)
        http_reply(h, 204, NULL, NULL, 0, extra);
    else if (rq->method != route->method && (rq->method != HTTP1_HEAD || is_post))
        http_reply_text(h, 405, extra, "This address takes %s.", is_post ? "POST" : "GET");
    else if (!route->is_guarded)
        route->run(h, rq, origin);
    else if (identify(h, rq, origin, route->how, run_guarded))
        run_guarded(h, rq);
}

static void on_request(struct http_client *h, const struct http1_request *rq)
{
    struct reactor *r = http_reactor(h);
    enum ws_kind kind;
    if (!address_passes(h, rq))
        return;
    if (is_websocket(r, rq, &kind)) {
        websocket(h, rq, kind);
        return;
    }
    const struct route *route = find_route(r, rq->path);
    if (route != NULL) {
        run_route(h, rq, route);
        return;
    }
    if (ws_handshake_is_asked(rq))
        stat_add(&r->stats.handshakes_bad, 1);
    http_reply_text(h, 404, NULL,
                    "Nothing is here. Halley's doors are /ws?topic=NAME (WebSocket), /sse?topic=NAME (EventSource), /stream?topic=NAME, "
                    "/poll?topic=NAME, POST /publish?topic=NAME, POST /command?connection=ID, /halley.js (and /halley.classic.js, "
                    "/halley.d.ts), / and /healthz.");
}

/* ---- connections */

static const struct http_door public_http_door = { .on_request = on_request, .on_end = public_door_gone };

static void write_refusal(struct buf *out, uint64_t wall_ms, bool is_tls, unsigned status, const char *why)
{
    if (is_tls) { /* no handshake: who is refused should not cost more than who is let in */
        buf_append(out, SECURE_CONN_REFUSAL, sizeof SECURE_CONN_REFUSAL - 1);
        return;
    }
    http1_write_head(out, wall_ms, status, false, "text/plain; charset=utf-8", strlen(why), "Retry-After: 10\r\n");
    buf_str(out, why);
}

void public_door_write_address_full(struct buf *out, uint64_t wall_ms, bool is_tls)
{
    write_refusal(out, wall_ms, is_tls, 429, "Too many connections from your address (limits.per_address): close some.\n");
}

/* Answer a connection that gets no struct, and close it. */
static void turn_away(int fd, struct buf *answer)
{
    char sink[4096];
    if (!answer->failed)
        send(fd, answer->data, answer->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_done(answer);
    shutdown(fd, SHUT_WR);
    while (recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0) /* what has come: unread input would make close() a reset */
        continue;
    close(fd);
}

void public_door_turn_away(struct reactor *r, int fd, bool is_tls)
{
    struct buf answer = { 0 };
    write_refusal(&answer, r->loop.wall_ms, is_tls, 503, "The server is full (limits.connections): try again later.\n");
    turn_away(fd, &answer);
}

static void refuse_full(struct reactor *r, int fd, bool is_tls)
{
    static struct log_gate gate;
    log_limited(&gate, LOG_LEVEL_WARN, "connections_full",
                "a client was refused with %s: limits.connections, or what the limit of open files leaves of it (%llu), is "
                "reached; raise it if the machine has room",
                is_tls ? "a TLS alert" : "503", (unsigned long long)r->settings->max_connections);
    public_door_turn_away(r, fd, is_tls);
}

static void refuse_address(struct reactor *r, int fd, bool is_tls)
{
    struct buf answer = { 0 };
    public_door_write_address_full(&answer, r->loop.wall_ms, is_tls);
    turn_away(fd, &answer);
}

/* Who may say for whom a connection is? Others are not answered: they speak another protocol than this listener. */
static bool proxy_is_trusted(struct reactor *r, const struct address *from)
{
    static struct log_gate gate;
    char text[ADDRESS_TEXT];
    if (addresses_match(r->settings->trusted_proxies, from))
        return true;
    stat_add(&r->stats.proxy_untrusted, 1);
    log_limited(&gate, LOG_LEVEL_WARN, "proxy_untrusted",
                "address=%s a connection was closed: this listener has proxy_protocol = on and takes trusted proxies alone; add it to "
                "trusted_proxies if it is yours",
                address_text(from, text));
    return false;
}

/* May it come in? *ret_count: what its address is counted with. Otherwise it has been answered and closed. */
static bool is_let_in(struct reactor *r, int fd, const struct address *from, bool is_proxied, bool is_tls, struct count **ret_count)
{
    *ret_count = NULL;
    if (is_proxied) { /* it is not for the proxy itself */
        if (!proxy_is_trusted(r, from)) {
            close(fd);
            return false;
        }
    } else {
        int error = peer_take(r, from, ret_count);
        if (error == -EDQUOT)
            refuse_address(r, fd, is_tls);
        else if (error < 0)
            close(fd);
        if (error < 0)
            return false;
    }
    if (atomic_fetch_add_explicit(&r->server->connections, 1, memory_order_relaxed) < r->settings->max_connections)
        return true;
    atomic_fetch_sub_explicit(&r->server->connections, 1, memory_order_relaxed);
    stat_add(&r->stats.refused_connections, 1);
    peer_give(r, *ret_count);
    refuse_full(r, fd, is_tls);
    return false;
}

static int speak_http(struct reactor *r, struct conn *c, void *owner)
{
    (void)owner;
    return http_client_start(r, c, &public_http_door, &r->settings->public_http);
}

static void proxied_gone(struct reactor *r, struct conn *c)
{
    peer_done(r, c);
    public_door_gone(r);
}

static void secure_gone(struct reactor *r, struct conn *c, void *owner)
{
    (void)owner;
    proxied_gone(r, c);
}

static int speak(struct reactor *r, struct conn *c, struct tls_slot *tls)
{
    static const struct secure_guest guest = { .on_ready = speak_http, .on_gone = secure_gone };
    return tls != NULL ? secure_conn_start(r, c, tls, &guest) : speak_http(r, c, NULL);
}

void public_door_accept(struct reactor *r, int fd, const struct address *from, bool is_proxied, struct tls_slot *tls)
{
    struct count *count;
    stat_add(&r->stats.accepted, 1);
    if (!is_let_in(r, fd, from, is_proxied, tls != NULL, &count))
        return;
    stat_add(&r->stats.connections, 1);
    struct conn *c = conn_new(&r->loop, fd, NULL, NULL);
    if (c == NULL) {
        close(fd);
        peer_give(r, count);
        public_door_gone(r);
        return;
    }
    peer_attach(c, count);
    if ((is_proxied ? proxied_conn_start(r, c, speak, tls, proxied_gone) : speak(r, c, tls)) == 0)
        return;
    peer_done(r, c);
    conn_abandon(c);
    public_door_gone(r);
}

void public_door_gone(struct reactor *r)
{
    stat_sub(&r->stats.connections, 1);
    atomic_fetch_sub_explicit(&r->server->connections, 1, memory_order_relaxed);
}
