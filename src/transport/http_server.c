#include "transport/http_server.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/token.h"
#include "base/log.h"
#include "transport/peer.h"
#include "transport/unread.h"

#define HTTP_LINGER_MS 2000
#define HTTP_STOP_GRACE_MS 500    /* for the request of a client that had connected when the server began to stop */
#define HTTP_EOF_LINGER_MS 5000   /* for a client that has finished sending and still reads */
#define HTTP_ALLOW "Allow: GET, HEAD, POST, OPTIONS\r\n" /* where no path says more */
#define HTTP_READ_AHEAD_BYTES 8192 /* of what a client sends while its answer waits; with more than that it has no time to wait */

#define HTTP_STATES(X) X(READING) X(ANSWERING) X(FINISHING) X(UPGRADED)
#define AS_ENUM(name) HTTP_##name,
#define AS_NAME(name) [HTTP_##name] = #name,
enum http_state { HTTP_STATES(AS_ENUM) };
static const char *const http_state_names[] = { HTTP_STATES(AS_NAME) };
static const unsigned http_next[] = { /* bit n set: state n may follow */
    [HTTP_READING] = 1u << HTTP_ANSWERING | 1u << HTTP_FINISHING,
    [HTTP_ANSWERING] = 1u << HTTP_READING | 1u << HTTP_FINISHING | 1u << HTTP_UPGRADED,
    [HTTP_FINISHING] = 0,
    [HTTP_UPGRADED] = 0,
};

struct http_client {
    struct conn *conn;
    struct reactor *reactor;
    const struct http_door *door;
    void *context;              /* the door's */
    void (*free_context)(void *context);
    struct http1_parser *parser;
    struct token *token;        /* of the current request */
    struct http_ticket *ticket; /* of an answer to come */
    struct buf rest;            /* input that came while a request was being answered, or while the connection is paused */
    struct unread *unread;      /* set: the rest is handled in another turn */
    size_t body_came;           /* bytes of the body that is arriving, since the timer was set */
    uint64_t waited;            /* bytes of answers that waited when the timer was set */
    struct paused paused;       /* while the hub is congested */
    enum http_state state;
    uint32_t record_came; /* of the TLS record that was arriving when the timer was set */
    bool keep_alive; /* after the current answer */
    bool is_head;
    bool in_process; /* http_process() is on the stack: it goes on by itself */
    bool is_waiting; /* http_wait(): its answer waits for something, and the connection is read on */
    bool is_put_off; /* http_put_off(): the request is still needed */
    bool in_body;    /* a request's head is here, and its body still to come */
    bool has_answered; /* one request at least */
    bool is_stopped; /* the server stops: the answer to the next request is the last */
    bool has_eof;    /* the client has finished sending: what it asked is answered, then the connection ends */
};

static const struct conn_ops http_conn_ops;
static void on_resume(struct paused *p);

static void http_enter(struct http_client *h, enum http_state next)
{
    assert(http_next[h->state] & 1u << next);
    log_debug("http", "client=%p %s -> %s", (void *)h, http_state_names[h->state], http_state_names[next]);
    h->state = next;
}

int http_client_start(struct reactor *r, struct conn *conn, const struct http_door *door, const struct http1_limits *limits)
{
    struct http_client *h = malloc(sizeof *h);
    if (h == NULL)
        return -ENOMEM;
    *h = (struct http_client){ .conn = conn, .reactor = r, .door = door, .parser = http1_parser_new(limits) };
    h->is_stopped = atomic_load_explicit(&r->server->draining, memory_order_relaxed);
    if (h->parser == NULL) {
        free(h);
        return -ENOMEM;
    }
    h->paused.resume = on_resume;
    list_init(&h->paused.node);
    conn->owner = h;
    conn->ops = &http_conn_ops;
    conn_set_timer(conn, r->settings->handshake_timeout_ms);
    return 0;
}

struct reactor *http_reactor(const struct http_client *h)
{
    return h->reactor;
}

struct conn *http_conn(const struct http_client *h)
{
    return h->conn;
}

static void http_client_free(struct http_client *h)
{
    struct http_ticket *t = h->ticket;
    list_remove(&h->paused.node);
    unread_drop(&h->unread);
    if (t != NULL)
        t->client = NULL;
    token_unref(h->token);
    http1_parser_free(h->parser);
    buf_done(&h->rest);
    if (h->free_context != NULL)
        h->free_context(h->context);
    free(h);
    if (t != NULL && t->ops != NULL)
        t->ops->on_gone(t);
}

void http_set_context(struct http_client *h, void *context, void (*free_context)(void *context))
{
    h->context = context;
    h->free_context = free_context;
}

void *http_context(const struct http_client *h)
{
    return h->context;
}

void http_last_answer(struct http_client *h)
{
    h->keep_alive = false;
}

void http_end(struct http_client *h)
{
    h->keep_alive = false;
    if (h->state == HTTP_READING)
        conn_end(h->conn, HTTP_LINGER_MS);
}

void http_set_token(struct http_client *h, struct token *token)
{
    token_unref(h->token);
    h->token = token;
}

struct token *http_token(const struct http_client *h)
{
    return h->token;
}

/* ---- answers */

static void http_finish(struct http_client *h)
{
    http_enter(h, HTTP_FINISHING);
    conn_finish(h->conn, HTTP_LINGER_MS);
}

static void http_process(struct http_client *h, uint8_t *data, size_t len);

/* May the next request be looked at? A client that has finished sending may still have asked several things. */
static bool http_may_process(const struct http_client *h)
{
    return h->state == HTTP_READING && !h->conn->closed && !h->conn->finishing && (h->conn->paused & ~CONN_PAUSE_EOF) == 0;
}

/* A client that has finished sending, and has its answers. */
static void http_end_if_done(struct http_client *h)
{
    if (!h->has_eof || !http_may_process(h))
        return;
    conn_end(h->conn, HTTP_EOF_LINGER_MS);
    conn_pause(h->conn, CONN_PAUSE_EOF);
}

/* Go on with the input that waits, if nothing forbids it any more. The client may be gone after it. */
static void http_go_on(struct http_client *h)
{
    struct conn *c = h->conn;
    if (h->in_process || !http_may_process(h))
        return;
    struct buf rest = h->rest;
    h->rest = (struct buf){ 0 };
    if (rest.len > 0)
        http_process(h, rest.data, rest.len); /* keeps what it does not use in a new h->rest */
    buf_done(&rest);
    if (c->ops == &http_conn_ops)
        http_end_if_done(h);
}

void http_reply(struct http_client *h, unsigned status, const char *content_type, const void *body, size_t body_len,
                const char *extra)
{
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    if (body_len == SIZE_MAX && status != 304) /* the head of a stream, whose end would be the connection's; a 304 never has a body */
        h->keep_alive = false;
    http1_write_head(&out, h->reactor->loop.wall_ms, status, h->keep_alive, content_type, body_len, extra);
    if (!h->is_head && body != NULL)
        buf_append(&out, body, body_len);
    if (out.failed) {
        conn_fail(h->conn, ENOMEM);
        return;
    }
    conn_write_later(h->conn, out.data, out.len);
    if (h->conn->closed)
        return;
    if (conn_waiting(h->conn) > h->reactor->settings->max_outq) /* it asks and does not read: it is not read either */
        conn_pause(h->conn, CONN_PAUSE_REPLIES);
    if (!h->keep_alive) {
        http_finish(h);
        return;
    }
    h->has_answered = true;
    http1_parser_next(h->parser);
    http_enter(h, HTTP_READING);
    peer_answered(h->reactor, h->conn);
    conn_set_timer(h->conn, h->reactor->settings->handshake_timeout_ms);
    conn_resume(h->conn, CONN_PAUSE_BUSY);
    http_go_on(h);
}

void http_reply_text(struct http_client *h, unsigned status, const char *extra, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text - 1, fmt, ap);
    va_end(ap);
    size_t len = (size_t)n < sizeof text - 1 ? (size_t)n : sizeof text - 2;
    text[len++] = '\n';
    http_reply(h, status, "text/plain; charset=utf-8", text, len, extra);
}

void http_ticket_make(struct http_client *h, struct http_ticket *t)
{
    assert(h->ticket == NULL && h->state == HTTP_ANSWERING);
    t->client = h;
    t->ops = NULL;
    h->ticket = t;
}

struct http_client *http_ticket_take(struct http_ticket *t)
{
    struct http_client *h = t->client;
    if (h != NULL) {
        h->ticket = NULL;
        h->is_waiting = false;
    }
    t->client = NULL;
    return h;
}

bool http_wait(struct http_client *h, uint64_t ms)
{
    assert(h->ticket != NULL && h->ticket->ops != NULL);
    if (ms == 0 || h->has_eof || h->rest.len >= HTTP_READ_AHEAD_BYTES || h->conn->closed || h->conn->loop->is_leaving)
        return false;
    h->is_waiting = true;
    conn_set_timer(h->conn, ms);
    conn_resume(h->conn, CONN_PAUSE_BUSY);
    if (!h->in_process)
        http1_parser_next(h->parser); /* nobody needs the request any more */
    return true;
}

void http_put_off(struct http_client *h)
{
    assert(h->ticket != NULL && h->ticket->ops != NULL && h->in_process);
    h->is_waiting = h->is_put_off = true;
}

const struct http1_request *http_request_put_off(const struct http_client *h)
{
    assert(h->is_put_off);
    return http1_parser_request(h->parser);
}

bool http_has_eof(const struct http_client *h)
{
    return h->has_eof;
}

void http_upgrade(struct http_client *h)
{
    http_enter(h, HTTP_UPGRADED);
}

/* ---- requests */

static void http_refuse(struct http_client *h, unsigned status)
{
    static struct log_gate gate;
    stat_add(&h->reactor->stats.http_bad_requests, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "request_refused", "status=%u %s", status, http1_parser_error(h->parser));
    h->keep_alive = false;
    h->is_head = false;
    http_enter(h, HTTP_ANSWERING);
    http_reply_text(h, status, status == 405 ? HTTP_ALLOW : NULL, "%s", http1_parser_error(h->parser));
}

/* is_cut: its body is not taken. */
static void http_request(struct http_client *h, bool is_cut)
{
    const struct http1_request *rq = http1_parser_request(h->parser);
    stat_add(&h->reactor->stats.http_requests, 1);
    h->in_body = false;
    h->waited = 0;
    h->record_came = 0;
    h->keep_alive = rq->keep_alive && !h->is_stopped;
    h->is_head = rq->method == HTTP1_HEAD;
    http_enter(h, HTTP_ANSWERING);
    conn_set_timer(h->conn, 0);
    http_set_token(h, NULL); /* each request says for itself who sends it */
    if (is_cut)
        h->keep_alive = false;
    if (slice_equals(rq->path, "*")) /* OPTIONS *, which asks whether anyone is there (RFC 9110 9.3.7) */
        http_reply(h, 204, NULL, NULL, 0, HTTP_ALLOW);
    else
        h->door->on_request(h, rq);
}

/* The head of a request is here, and its body not. Returns whether to wait for that. */
static bool http_wants_body(struct http_client *h)
{
    const struct http1_request *head = http1_parser_head(h->parser);
    return head == NULL || h->door->wants_body == NULL || h->door->wants_body(h, head);
}

/* The body of a request is arriving: it has time for as long as it comes at limits.min_rate. */
static void http_body_came(struct http_client *h, size_t len)
{
    if (!h->in_body) {
        h->in_body = true;
        h->body_came = 0;
        h->record_came = conn_unread(h->conn);
        conn_set_timer(h->conn, h->reactor->settings->handshake_timeout_ms);
        return;
    }
    h->body_came += len;
}

/* The time for a request is up. May it take longer? Its body comes, or we do not read; or it is not its turn: the answers before it are still being taken. */
static bool http_may_take_longer(struct http_client *h)
{
    const struct settings *set = h->reactor->settings;
    uint64_t waited = h->waited;
    h->waited = conn_waiting(h->conn);
    if (h->waited > 0 && (waited == 0 || h->waited < waited))
        return true;
    uint64_t least = h->record_came + set->min_rate * set->handshake_timeout_ms / 1000;
    h->record_came = conn_unread(h->conn);
    if (!h->in_body) /* a record may hold the head and much of the body: one is waited for as a body is */
        return (h->conn->paused != 0 && h->waited == 0) || (set->min_rate != 0 && h->record_came >= least);
    bool is_fast = h->body_came + h->record_came >= least || h->conn->paused != 0;
    h->body_came = 0;
    return is_fast;
}

static void http_keep_rest(struct http_client *h, const uint8_t *data, size_t len)
{
    if (len > 0 && buf_append(&h->rest, data, len) < 0)
        conn_fail(h->conn, ENOMEM);
}

static void http_hurry(struct http_client *h)
{
    if (h->is_waiting)
        h->ticket->ops->on_hurry(h->ticket);
}

static void http_read_ahead(struct http_client *h)
{
    if (!h->is_put_off)
        http1_parser_next(h->parser); /* nobody needs the request any more */
    if (h->rest.len < HTTP_READ_AHEAD_BYTES)
        return;
    conn_pause(h->conn, CONN_PAUSE_BUSY);
    if (!h->is_put_off)
        http_hurry(h);
}

static void http_process(struct http_client *h, uint8_t *data, size_t len)
{
    struct conn *c = h->conn;
    struct turn turn = turn_begin();
    bool is_over = false;
    h->in_process = true;
    while (len > 0 && !is_over && http_may_process(h)) {
        size_t used;
        int r = http1_parse(h->parser, data, len, &used);
        if (r < 0) {
            http_refuse(h, (unsigned)-r);
            break;
        }
        data += used;
        len -= used;
        if (r == 0) {
            if (http1_parser_head(h->parser) != NULL)
                http_body_came(h, used);
            if (!http_wants_body(h))
                http_request(h, true);
            else if (http1_parser_wants_continue(h->parser))
                conn_write_later(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
            break;
        }
        http_request(h, false);
        is_over = turn_is_over(&turn);
    }
    h->in_process = false;
    if (h->state == HTTP_UPGRADED) {
        bool is_stopped = h->is_stopped;
        http_client_free(h);
        conn_resume(c, CONN_PAUSE_EOF); /* the new owner is to see it */
        if (len > 0 && !c->closed)
            c->ops->on_read(c, data, len);
        if (is_stopped)
            conn_stop(c);
    } else if (!c->closed && h->state != HTTP_FINISHING) {
        http_keep_rest(h, data, len);
        if (h->is_waiting)
            http_read_ahead(h);
        else if (h->state == HTTP_ANSWERING)
            conn_pause(c, CONN_PAUSE_BUSY);
        else if (is_over && len > 0 && !c->closed && h->unread == NULL)
            unread_keep(h->reactor, c, &h->unread, NULL, 0);
    }
}

void http_take_up(struct http_client *h, void (*run)(struct http_client *h, const struct http1_request *rq, void *ctx), void *ctx)
{
    struct conn *c = h->conn;
    struct buf rest = h->rest;
    h->rest = (struct buf){ 0 };
    assert(h->is_put_off && h->ticket == NULL);
    h->is_put_off = false;
    conn_set_timer(c, 0);
    h->in_process = true;
    run(h, http1_parser_request(h->parser), ctx);
    http_process(h, rest.data, rest.len);
    buf_done(&rest);
    if (c->ops == &http_conn_ops)
        http_end_if_done(h);
}

static void on_read(struct conn *c, uint8_t *data, size_t len)
{
    if (len > 0)
        http_process(c->owner, data, len);
    else
        http_go_on(c->owner); /* it is its turn again */
}

static void on_eof(struct conn *c)
{
    struct http_client *h = c->owner;
    h->has_eof = true;
    conn_pause(c, CONN_PAUSE_EOF); /* an end is always there to be read */
    http_hurry(h);
    http_go_on(h);
}

static void on_drained(struct conn *c)
{
    struct http_client *h = c->owner;
    conn_resume(c, CONN_PAUSE_REPLIES);
    if (h->rest.len == 0)
        http_go_on(h);
    else if (h->unread == NULL && http_may_process(h)) /* not here: answers that the kernel takes at once would go on without end */
        unread_keep(h->reactor, c, &h->unread, NULL, 0);
}

static void on_resume(struct paused *p)
{
    struct http_client *h = HLY_CONTAINER_OF(p, struct http_client, paused);
    conn_resume(h->conn, CONN_PAUSE_HUB);
    http_go_on(h);
}

void http_pause_publisher(struct http_client *h)
{
    if ((h->conn->paused & CONN_PAUSE_HUB) != 0 || !hub_is_congested(h->reactor->hub))
        return;
    conn_pause(h->conn, CONN_PAUSE_HUB);
    reactor_pause_publisher(h->reactor, &h->paused);
}

static void tell_timeout(struct http_client *h)
{
    static struct log_gate gate;
    stat_add(&h->reactor->stats.handshake_timeouts, 1);
    if (http1_parser_is_midway(h->parser)) /* else it was idle */
        log_limited(&gate, LOG_LEVEL_INFO, "request_timeout", "a client that sent a part of a request was answered 408 after limits.handshake_timeout");
}

static void on_timer(struct conn *c)
{
    struct http_client *h = c->owner;
    if (h->state == HTTP_ANSWERING) {
        http_hurry(h);
        return;
    }
    if (h->is_stopped) {
        conn_end(c, HTTP_LINGER_MS);
        return;
    }
    if (http_may_take_longer(h)) {
        conn_set_timer(c, h->reactor->settings->handshake_timeout_ms);
        return;
    }
    if (h->in_body)
        peer_too_slow(h->reactor);
    else
        tell_timeout(h);
    if (!http1_parser_is_midway(h->parser)) {
        conn_close(c);
        return;
    }
    h->keep_alive = h->is_head = false;
    http_enter(h, HTTP_ANSWERING);
    http_reply_text(h, 408, NULL, h->in_body ? "The body comes more slowly than limits.min_rate." : "The request did not arrive in time.");
}

static void on_stop(struct conn *c)
{
    struct http_client *h = c->owner;
    bool is_idle = h->has_answered && h->rest.len == 0 && !http1_parser_is_midway(h->parser);
    if (h->state != HTTP_ANSWERING && is_idle) {
        conn_end(c, HTTP_LINGER_MS); /* an answer of this turn may still wait */
        return;
    }
    if (h->state == HTTP_READING) { /* who was accepted is not refused: the request may be on its way */
        conn_set_timer(c, HTTP_STOP_GRACE_MS);
        h->is_stopped = true;
        return;
    }
    h->keep_alive = false; /* the answer is the last */
    http_hurry(h);
}

static void on_end(struct conn *c)
{
    struct http_client *h = c->owner;
    peer_done(h->reactor, c);
    h->door->on_end(h->reactor);
    http_client_free(h);
}

static bool describe(struct conn *c, struct client_info *ret)
{
    struct http_ticket *t = ((struct http_client *)c->owner)->ticket;
    return t != NULL && t->ops != NULL && t->ops->describe != NULL && t->ops->describe(t, ret);
}

static bool kick(struct conn *c, const struct kick *k)
{
    struct http_ticket *t = ((struct http_client *)c->owner)->ticket;
    return t != NULL && t->ops != NULL && t->ops->kick != NULL && t->ops->kick(t, k);
}

static void recheck(struct conn *c)
{
    struct http_client *h = c->owner;
    if (h->ticket != NULL && h->ticket->ops != NULL && h->ticket->ops->recheck != NULL)
        h->ticket->ops->recheck(h->ticket);
    if (h->door->recheck != NULL)
        h->door->recheck(h);
}

static const struct conn_ops http_conn_ops = {
    .recheck = recheck,
    .on_read = on_read,   .on_eof = on_eof,     .on_drained = on_drained, .on_timer = on_timer,
    .on_stop = on_stop,   .describe = describe, .kick = kick,             .on_end = on_end,
};
