#include "transport/sse_subscriber.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "core/catchup.h"
#include "transport/public_door.h"
#include "transport/slow.h"
#include "transport/wish.h"

#define RETRY_MS 2000        /* after which a browser reconnects; spread, so that those who were cut together do not return together */
#define RETRY_SPREAD_MS 1000
#define LINGER_MS 2000

/* OPENING: its subscriptions are on their way. STREAMING: the head has been written. ENDED: it gets nothing more. */
#define SSE_STATES(X) X(OPENING) X(STREAMING) X(ENDED)
#define AS_ENUM(name) SSE_##name,
#define AS_NAME(name) [SSE_##name] = #name,
enum sse_state { SSE_STATES(AS_ENUM) };
static const char *const sse_state_names[] = { SSE_STATES(AS_NAME) };
static const unsigned sse_next[] = { /* bit n set: state n may follow */
    [SSE_OPENING] = 1u << SSE_STREAMING | 1u << SSE_ENDED,
    [SSE_STREAMING] = 1u << SSE_ENDED,
    [SSE_ENDED] = 0,
};

struct sse_subscriber {
    struct conn *conn;
    struct reactor *reactor;
    struct subscriber sub;
    struct buf head; /* status line and headers, until the stream opens */
    uint8_t state;   /* enum sse_state */
    bool is_orphan;  /* the connection has gone while OPENING */
};

static void sse_enter(struct sse_subscriber *s, enum sse_state next)
{
    if ((sse_next[s->state] & 1u << next) == 0)
        return; /* it has ended already */
    log_debug("sse", "sse=%p %s -> %s", (void *)s, sse_state_names[s->state], sse_state_names[next]);
    if (next == SSE_STREAMING)
        stat_add(&s->reactor->stats.streams, 1);
    else if (s->state == SSE_STREAMING)
        stat_sub(&s->reactor->stats.streams, 1);
    s->state = (uint8_t)next;
}

/* ---- what is sent beside messages */

static void send_retry(struct sse_subscriber *s)
{
    char text[40];
    int n = snprintf(text, sizeof text, "retry: %" PRIu32 "\n", RETRY_MS + reactor_random(s->reactor, RETRY_SPREAD_MS));
    conn_write_later(s->conn, text, (size_t)n);
}

/* An event of an id alone: the browser notes it and shows nothing (9.2.6). */
static void send_id(struct sse_subscriber *s, uint64_t seq)
{
    char text[CURSOR_MAX_BYTES + 8] = "id: ";
    size_t n = 4 + cursor_format(text + 4, hub_epoch(s->reactor->hub), seq);
    text[n++] = '\n';
    text[n++] = '\n';
    conn_write_later(s->conn, text, n);
}

static bool on_gap(struct subscriber *sub, uint64_t after_seq)
{
    struct sse_subscriber *s = HLY_CONTAINER_OF(sub, struct sse_subscriber, sub);
    char cursor[CURSOR_MAX_BYTES + 1], text[128];
    cursor_format(cursor, hub_epoch(s->reactor->hub), after_seq);
    int n = snprintf(text, sizeof text, "event: halley.gap\ndata: {\"after\":\"%s\"}\n\n", cursor);
    stat_add(&s->reactor->stats.gaps, 1);
    conn_write_later(s->conn, text, (size_t)n);
    return true;
}

/* ---- messages */

static void deliver(struct subscriber *sub, const struct chunk_slice *slices, uint32_t count, uint32_t bytes, uint64_t first_seq)
{
    struct sse_subscriber *s = HLY_CONTAINER_OF(sub, struct sse_subscriber, sub);
    if (HLY_UNLIKELY(s->state != SSE_STREAMING || s->conn->closed))
        return;
    if (HLY_LIKELY(!slow_has_no_room(s->reactor, s->conn, count, bytes)))
        conn_send(s->conn, slices, count, bytes);
    else if (slow_fall_behind(s->reactor, sub, s->conn, first_seq, "an event stream") < 0)
        conn_close(s->conn); /* it comes back with the id of its last event */
}

static void replay(struct subscriber *sub, const struct chunk_slice *slices, uint32_t count, uint32_t bytes)
{
    struct sse_subscriber *s = HLY_CONTAINER_OF(sub, struct sse_subscriber, sub);
    if (s->state == SSE_STREAMING)
        conn_send(s->conn, slices, count, bytes);
}

static bool is_full(struct subscriber *sub)
{
    return HLY_CONTAINER_OF(sub, struct sse_subscriber, sub)->conn->outq != NULL;
}

static void on_level(struct subscriber *sub, uint64_t seq) /* so it has a cursor even if nothing was kept */
{
    struct sse_subscriber *s = HLY_CONTAINER_OF(sub, struct sse_subscriber, sub);
    if (s->state == SSE_STREAMING)
        send_id(s, seq);
}

static const struct subscriber_ops sse_ops = {
    .deliver = deliver, .replay = replay, .is_full = is_full, .on_gap = on_gap, .on_level = on_level
};

/* ---- the connection */

static uint64_t keep_alive_ms(struct sse_subscriber *s)
{
    uint64_t interval = s->reactor->settings->ping_interval_ms;
    return interval - reactor_random(s->reactor, (uint32_t)(interval / 5));
}

static void on_read(struct conn *c, uint8_t *data, size_t len)
{
    (void)c; /* the stream is the last answer of this connection: what else is asked on it goes unheard */
    (void)data;
    (void)len;
}

static void on_drained(struct conn *c)
{
    catchup_wake(&((struct sse_subscriber *)c->owner)->sub);
}

static void on_timer(struct conn *c)
{
    struct sse_subscriber *s = c->owner;
    if (s->sub.catchup == NULL && c->outq == NULL)
        send_id(s, hub_taken_seq(s->reactor->hub, s->reactor->index));
    conn_set_timer(c, keep_alive_ms(s));
}

static void on_stop(struct conn *c)
{
    struct sse_subscriber *s = c->owner;
    if (s->state == SSE_STREAMING) {
        send_retry(s);
        conn_write_later(c, "\n", 1);
    }
    sse_enter(s, SSE_ENDED);
    conn_finish(c, LINGER_MS);
}

static void sse_subscriber_free(struct sse_subscriber *s)
{
    subscriber_done(&s->sub);
    buf_done(&s->head);
    free(s);
}

static void on_end(struct conn *c)
{
    struct sse_subscriber *s = c->owner;
    public_door_gone(s->reactor);
    s->is_orphan = s->state == SSE_OPENING;
    sse_enter(s, SSE_ENDED);
    if (!s->is_orphan)
        sse_subscriber_free(s);
}

static const struct conn_ops sse_conn_ops = {
    .on_read = on_read, .on_drained = on_drained, .on_timer = on_timer, .on_stop = on_stop, .on_end = on_end
};

/* ---- opening */

static void on_opened(void *ctx, struct wish *wish, bool failed, struct opening_seqs seqs)
{
    uint64_t seq;
    struct sse_subscriber *s = ctx;
    if (s->is_orphan) {
        sse_subscriber_free(s);
        return;
    }
    if (failed || wish_begin(wish, &s->sub, seqs, &seq) < 0) {
        wish_refuse_late(s->conn);
        sse_enter(s, SSE_ENDED);
        conn_finish(s->conn, LINGER_MS);
        return;
    }
    sse_enter(s, SSE_STREAMING);
    conn_write_later(s->conn, s->head.data, s->head.len);
    buf_done(&s->head);
    send_retry(s);
    if (seq != UINT64_MAX)
        send_id(s, seq);
    else
        conn_write_later(s->conn, "\n", 1);
    conn_set_timer(s->conn, keep_alive_ms(s));
}

static void write_head(struct buf *out, struct slice origin)
{
    buf_str(out, "HTTP/1.1 200 OK\r\n"
                 "Content-Type: text/event-stream\r\n"
                 "Cache-Control: no-store\r\n"
                 "X-Accel-Buffering: no\r\n" /* nginx passes events on as they come */
                 "X-Content-Type-Options: nosniff\r\n"
                 "Vary: Origin\r\n"
                 "Connection: close\r\n");
    if (origin.ptr != NULL)
        buf_printf(out, "Access-Control-Allow-Origin: %.*s\r\n", (int)origin.len, origin.ptr);
    buf_str(out, "\r\n");
}

void sse_subscriber_open(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    struct reactor *r = http_reactor(h);
    HLY_CLEANUP(wish_done) struct wish wish = { 0 };
    if (!wish_parse(h, rq, http1_header_get(rq, "Last-Event-ID"), &wish) || !wish_is_allowed(h, &wish, false, false))
        return;
    struct sse_subscriber *s = calloc(1, sizeof *s);
    struct opening *o = NULL;
    if (s != NULL) {
        *s = (struct sse_subscriber){ .conn = http_conn(h), .reactor = r };
        subscriber_init(&s->sub, &r->table, &sse_ops, WIRE_SSE);
        write_head(&s->head, origin);
        o = s->head.failed ? NULL : opening_new(&wish, &s->sub);
    }
    if (o == NULL) {
        if (s != NULL)
            buf_done(&s->head);
        free(s);
        http_reply_text(h, 503, NULL, "Out of memory, try again later.");
        return;
    }
    s->conn->owner = s;
    s->conn->ops = &sse_conn_ops;
    opening_start(o, r, on_opened, s);
    http_upgrade(h);
}
