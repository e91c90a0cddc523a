#include "transport/public_door.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/origin.h"
#include "base/log.h"
#include "proto/ws_handshake.h"
#include "transport/echo.h"
#include "transport/http_server.h"
#include "transport/sse_subscriber.h"
#include "transport/ws_subscriber.h"

#define CONSOLE_HEADERS \
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; " \
    "connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n" \
    "Cache-Control: no-cache\r\n" \
    "Referrer-Policy: no-referrer\r\n"

/* ---- WebSocket */

static bool origin_passes(struct http_client *h, const struct http1_request *rq)
{
    struct reactor *r = http_reactor(h);
    struct slice origin = http1_header_get(rq, "Origin");
    if (origin_is_allowed(origin, rq->host, r->settings->origins, r->settings->origin_count))
        return true;
    char quoted[200];
    static struct log_gate gate;
    log_quote(quoted, sizeof quoted, origin.ptr, origin.len);
    stat_add(&r->stats.handshakes_bad_origin, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "origin_refused", "origin='%s': add it to origins in the config if it is yours", quoted);
    http_reply_text(h, 403, NULL, "Pages from the origin '%s' are not allowed here: add it to origins in the server's config.", quoted);
    return false;
}

static bool handshake_passes(struct http_client *h, const struct http1_request *rq)
{
    const char *why = "";
    int status = ws_handshake_check(rq, &why);
    if (status == 0)
        return true;
    stat_add(&http_reactor(h)->stats.handshakes_bad, 1);
    const char *extra = status == -426   ? "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n"
                        : status == -405 ? "Allow: GET\r\n"
                                         : NULL;
    http_reply_text(h, (unsigned)-status, extra, "%s", why);
    return false;
}

enum ws_kind { WS_KIND_ECHO, WS_KIND_BARE, WS_KIND_TOPICS };

static void websocket(struct http_client *h, const struct http1_request *rq, enum ws_kind kind)
{
    if (!ws_handshake_is_asked(rq)) {
        http_reply_text(h, 426, "Upgrade: websocket\r\nConnection: Upgrade\r\n",
                        "This address speaks WebSocket: open it with new WebSocket(url), not as a page.");
        return;
    }
    if (!handshake_passes(h, rq) || !origin_passes(h, rq))
        return;
    if (kind == WS_KIND_ECHO)
        echo_open(h, rq);
    else
        ws_subscriber_open(h, rq, kind == WS_KIND_BARE);
}

static bool is_echo_path(const struct reactor *r, struct slice path)
{
    for (size_t i = 0; i < r->settings->echo_count; i++)
        if (r->settings->echo_paths[i].len == path.len && memcmp(r->settings->echo_paths[i].ptr, path.ptr, path.len) == 0)
            return true;
    return false;
}

/* ---- Server-Sent Events */

#define CORS_PREFLIGHT_HEADERS \
    "Vary: Origin\r\nAccess-Control-Allow-Origin: %.*s\r\nAccess-Control-Allow-Methods: GET\r\n" \
    "Access-Control-Allow-Headers: Last-Event-ID, Authorization, Cache-Control\r\nAccess-Control-Max-Age: 86400\r\n"

/* The browser asks before it lets a page send the header Last-Event-ID itself (Fetch 3.2.2). */
static void preflight(struct http_client *h, struct slice origin)
{
    char extra[512] = "Allow: GET, HEAD, OPTIONS\r\n";
    if (origin.ptr != NULL && origin.len < 200)
        snprintf(extra, sizeof extra, CORS_PREFLIGHT_HEADERS, (int)origin.len, origin.ptr);
    http_reply(h, 204, NULL, NULL, 0, extra);
}

static void event_stream(struct http_client *h, const struct http1_request *rq)
{
    struct slice origin = http1_header_get(rq, "Origin");
    if (!origin_passes(h, rq))
        return;
    if (rq->method == HTTP1_OPTIONS)
        preflight(h, origin);
    else if (rq->method == HTTP1_HEAD)
        http_reply(h, 200, "text/event-stream", NULL, SIZE_MAX, "Cache-Control: no-store\r\n");
    else if (rq->method != HTTP1_GET)
        http_reply_text(h, 405, "Allow: GET, HEAD, OPTIONS\r\n", "This address takes GET.");
    else
        sse_subscriber_open(h, rq, origin);
}

/* ---- pages */

static void root(struct http_client *h, const struct http1_request *rq)
{
    const struct settings *set = http_reactor(h)->settings;
    if (ws_handshake_is_asked(rq)) /* new WebSocket('ws://host:port'), as the oldest pages do */
        websocket(h, rq, WS_KIND_BARE);
    else if (set->console && set->console_page.len > 0)
        http_reply(h, 200, "text/html; charset=utf-8", set->console_page.ptr, set->console_page.len, CONSOLE_HEADERS);
    else
        http_reply_text(h, 404, NULL, "Halley is here; its console is switched off. Connect to /ws?topic=NAME with a WebSocket.");
}

static void healthz(struct http_client *h)
{
    bool draining = atomic_load(&http_reactor(h)->server->draining);
    http_reply_text(h, draining ? 503 : 200, "Cache-Control: no-store\r\n", "%s", draining ? "draining" : "ok");
}

static void on_request(struct http_client *h, const struct http1_request *rq)
{
    struct reactor *r = http_reactor(h);
    if (is_echo_path(r, rq->path)) {
        websocket(h, rq, WS_KIND_ECHO);
    } else if (slice_equals(rq->path, "/ws")) {
        websocket(h, rq, WS_KIND_TOPICS);
    } else if (slice_equals(rq->path, "/sse")) {
        event_stream(h, rq);
    } else if (!slice_equals(rq->path, "/") && !slice_equals(rq->path, "/healthz")) {
        if (ws_handshake_is_asked(rq))
            stat_add(&r->stats.handshakes_bad, 1);
        http_reply_text(h, 404, NULL, "Nothing is here. Halley's doors are /ws?topic=NAME (WebSocket), /sse?topic=NAME (EventSource), / and /healthz.");
    } else if (rq->method == HTTP1_OPTIONS) {
        http_reply(h, 204, NULL, NULL, 0, "Allow: GET, HEAD, OPTIONS\r\n");
    } else if (rq->method != HTTP1_GET && rq->method != HTTP1_HEAD) {
        http_reply_text(h, 405, "Allow: GET, HEAD, OPTIONS\r\n", "This address takes GET.");
    } else if (slice_equals(rq->path, "/")) {
        root(h, rq);
    } else {
        healthz(h);
    }
}

/* ---- connections */


static const struct http_door public_http_door = { .on_request = on_request, .on_end = public_door_gone };

static void refuse_full(int fd, const struct settings *set)
{
    static struct log_gate gate;
    static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\n"
                               "Content-Type: text/plain\r\nContent-Length: 43\r\n\r\n"
                               "The server is full: limits.connections met\n";
    char sink[4096];
    log_limited(&gate, LOG_LEVEL_WARN, "connections_full",
                "a client was refused with 503: limits.connections, or what the limit of open files leaves of it (%llu), is "
                "reached; raise it if the machine has room",
                (unsigned long long)set->max_connections);
    send(fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_WR);
    while (recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0) /* what has come: unread input would make close() a reset */
        continue;
    close(fd);
}

void public_door_accept(struct reactor *r, int fd)
{
    stat_add(&r->stats.accepted, 1);
    if (atomic_fetch_add_explicit(&r->server->connections, 1, memory_order_relaxed) >= r->settings->max_connections) {
        atomic_fetch_sub_explicit(&r->server->connections, 1, memory_order_relaxed);
        stat_add(&r->stats.refused_connections, 1);
        refuse_full(fd, r->settings);
        return;
    }
    stat_add(&r->stats.connections, 1);
    struct conn *c = conn_new(&r->loop, fd, NULL, NULL);
    if (c == NULL) {
        close(fd);
        public_door_gone(r);
    } else if (http_client_start(r, c, &public_http_door, &r->settings->public_http) < 0) {
        conn_abandon(c);
        public_door_gone(r);
    }
}

void public_door_gone(struct reactor *r)
{
    stat_sub(&r->stats.connections, 1);
    atomic_fetch_sub_explicit(&r->server->connections, 1, memory_order_relaxed);
}
