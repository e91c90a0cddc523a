#include "transport/sse_subscriber.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "core/catchup.h"
#include "transport/client_info.h"
#include "transport/cors.h"
#include "transport/gap_event.h"
#include "transport/gzip_stream.h"
#include "transport/kick.h"
#include "transport/membership.h"
#include "transport/packer.h"
#include "transport/peer.h"
#include "transport/public_door.h"
#include "transport/slow.h"
#include "transport/wish.h"

#define RETRY_MS 2000        /* after which a browser reconnects; spread, so that those who were cut together do not return together */
#define RETRY_SPREAD_MS 1000
#define LINGER_MS 2000
#define CONTENT_TYPE "text/event-stream"

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
    struct client client;
    struct buf head; /* status line and headers, until the stream opens */
    uint8_t state;   /* enum sse_state */
    bool is_gzip;
    bool is_awaited; /* on_opened() is still to come */
    bool is_orphan;  /* the connection has gone meanwhile */
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

static void say(struct sse_subscriber *s, const char *text, size_t len)
{
    if (s->is_gzip)
        gzip_stream_write(s->conn, text, len);
    else
        conn_write_later(s->conn, text, len);
}

static void send_retry(struct sse_subscriber *s)
{
    char text[40];
    int n = snprintf(text, sizeof text, "retry: %" PRIu32 "\n", s->reactor->return_ms != 0 ? s->reactor->return_ms
                                                                                                    : RETRY_MS + reactor_random(s->reactor, RETRY_SPREAD_MS));
    say(s, text, (size_t)n);
}

/* An event of an id alone: the browser notes it and shows nothing (9.2.6). */
static void send_id(struct sse_subscriber *s, uint64_t seq)
{
    char text[CURSOR_MAX_BYTES + 8] = "id: ";
    size_t n = 4 + cursor_format(text + 4, hub_epoch(s->reactor->hub), seq);
    text[n++] = '\n';
    text[n++] = '\n';
    say(s, text, n);
}

static bool on_gap(struct subscriber *sub, uint64_t after_seq, enum gap_reason reason)
{
    struct sse_subscriber *s = HLY_CONTAINER_OF(sub, struct sse_subscriber, sub);
    char cursor[CURSOR_MAX_BYTES + 1], text[128];
    cursor_format(cursor, hub_epoch(s->reactor->hub), after_seq);
    int n = snprintf(text, sizeof text, "event: halley.gap\ndata: {\"after\":\"%s\",\"reason\":\"%s\"}\n\n", cursor,
                     gap_reason_name(reason));
    struct gap_event event = { .reactor = s->reactor, .client = &s->client, .transport = "sse" };
    gap_event_add_all(&event, sub);
    gap_event_tell(&event, after_seq, reason);
    stat_add(&s->reactor->stats.gaps, 1);
    say(s, text, (size_t)n);
    return true;
}

/* ---- messages */

static struct slow_client as_slow(struct sse_subscriber *s)
{
    return (struct slow_client){ s->reactor, &s->sub, s->conn, &s->client, "sse" };
}

static void obey(struct sse_subscriber *s, enum slow_verdict verdict)
{
    if (verdict != SLOW_BEHIND)
        conn_close(s->conn); /* it comes back with the id of its last event */
}

static void deliver(struct subscriber *sub, const struct delivery *d)
{
    struct sse_subscriber *s = HLY_CONTAINER_OF(sub, struct sse_subscriber, sub);
    if (HLY_UNLIKELY(s->state != SSE_STREAMING || s->conn->closed))
        return;
    if (HLY_LIKELY(!slow_has_no_room(s->reactor, s->conn, d))) {
        conn_send(s->conn, d->slices, d->count, d->bytes);
        return;
    }
    struct slow_client slow = as_slow(s);
    obey(s, slow_fall_behind(&slow, d));
}

static void replay(struct subscriber *sub, const struct delivery *d)
{
    struct sse_subscriber *s = HLY_CONTAINER_OF(sub, struct sse_subscriber, sub);
    if (s->state == SSE_STREAMING)
        conn_send(s->conn, d->slices, d->count, d->bytes);
}

static bool is_full(struct subscriber *sub)
{
    const struct sse_subscriber *s = HLY_CONTAINER_OF(sub, struct sse_subscriber, sub);
    return s->state != SSE_STREAMING || slow_is_full(s->conn); /* one that has ended reads no history */
}

static void on_level(struct subscriber *sub, uint64_t seq) /* so it has a cursor even if nothing was kept */
{
    struct sse_subscriber *s = HLY_CONTAINER_OF(sub, struct sse_subscriber, sub);
    if (s->state == SSE_STREAMING && !conn_has_messages(s->conn)) /* else the next sign of life tells it */
        send_id(s, seq);
}

static struct client *client_of(struct subscriber *sub)
{
    return &HLY_CONTAINER_OF(sub, struct sse_subscriber, sub)->client;
}

static const struct subscriber_ops sse_ops = {
    .client = client_of,
    .deliver = deliver, .replay = replay, .is_full = is_full, .on_gap = on_gap, .on_level = on_level
};

/* ---- the connection */

static void set_timer(struct sse_subscriber *s)
{
    uint64_t interval = s->reactor->settings->ping_interval_ms;
    uint64_t expires = client_expires_in_ms(&s->client, s->reactor->loop.wall_ms);
    interval -= reactor_random(s->reactor, (uint32_t)(interval / 5));
    conn_set_timer(s->conn, expires < interval ? expires + 1 : interval);
}

/* It comes back by itself, and is answered 401, which ends it, or has a new token by then. */
static void expire(struct sse_subscriber *s)
{
    stat_add(&s->reactor->stats.closed_expired, 1);
    sse_enter(s, SSE_ENDED);
    conn_finish(s->conn, LINGER_MS);
}

static void on_read(struct conn *c, uint8_t *data, size_t len)
{
    (void)c; /* the stream is the last answer of this connection: what else is asked on it goes unheard */
    (void)data;
    (void)len;
}

static void on_drained(struct conn *c)
{
    struct sse_subscriber *s = c->owner;
    if (s->sub.catchup == NULL)
        return;
    catchup_wake(&s->sub);
    loop_wake(c->loop); /* this may be the end of a turn: history is read in another */
}

static void on_timer(struct conn *c)
{
    struct sse_subscriber *s = c->owner;
    if (client_expires_in_ms(&s->client, s->reactor->loop.wall_ms) == 0) {
        expire(s);
        return;
    }
    uint64_t taken = hub_taken_seq(s->reactor->hub, s->reactor->index);
    if (s->sub.catchup == NULL && c->outq == NULL)
        send_id(s, taken > s->sub.had_seq ? taken : s->sub.had_seq); /* it may have read what the inbox still has */
    set_timer(s);
}

static void on_cut(struct conn *c)
{
    struct sse_subscriber *s = c->owner;
    struct slow_client slow = as_slow(s);
    obey(s, slow_cut(&slow));
}

static void on_stop(struct conn *c)
{
    struct sse_subscriber *s = c->owner;
    if (s->state == SSE_STREAMING) {
        send_retry(s);
        say(s, "\n", 1);
    }
    sse_enter(s, SSE_ENDED);
    conn_finish(c, LINGER_MS);
}

static void sse_subscriber_free(struct sse_subscriber *s)
{
    subscriber_done(&s->sub);
    client_done(&s->client);
    buf_done(&s->head);
    free(s);
}

static void on_end(struct conn *c)
{
    struct sse_subscriber *s = c->owner;
    peer_done(s->reactor, c);
    public_door_gone(s->reactor);
    sse_enter(s, SSE_ENDED);
    s->is_orphan = s->is_awaited;
    if (s->is_orphan)
        return;
    subscriber_done(&s->sub);
    membership_disconnected(s->reactor, &s->client, "sse", c);
    sse_subscriber_free(s);
}

static bool describe(struct conn *c, struct client_info *ret)
{
    struct sse_subscriber *s = c->owner;
    return s->state == SSE_STREAMING && client_info_fill(ret, &s->client, &s->sub, "sse");
}

static bool kick(struct conn *c, const struct kick *k)
{
    struct sse_subscriber *s = c->owner;
    if (!kick_is_whole(k) && kick_unsubscribe_all(k, &s->sub) == 0)
        return false;
    if (kick_is_whole(k) || s->sub.count == 0) {
        s->client.end_reason = kick_end_reason(k);
        sse_enter(s, SSE_ENDED);
        conn_finish(c, LINGER_MS);
    }
    return true;
}

/* It comes back by itself, and is answered 403, which ends it. */
static void recheck(struct conn *c)
{
    struct sse_subscriber *s = c->owner;
    if (s->state != SSE_STREAMING)
        return;
    if (wish_find_forbidden(s->reactor, &s->sub, s->client.token) != NULL) {
        stat_add(&s->reactor->stats.rechecked_ends, 1);
        s->client.end_reason = "forbidden";
        sse_enter(s, SSE_ENDED);
        conn_finish(c, LINGER_MS);
        return;
    }
    membership_recheck(&s->sub);
}

static const struct conn_ops sse_conn_ops = {
    .recheck = recheck,
    .on_read = on_read, .on_drained = on_drained, .on_timer = on_timer, .on_cut = on_cut, .on_stop = on_stop,
    .describe = describe, .kick = kick, .on_end = on_end,
};

/* ---- opening */

static void on_opened(void *ctx, struct wish *wish, bool failed, struct opening_seqs seqs)
{
    uint64_t seq;
    struct sse_subscriber *s = ctx;
    s->is_awaited = false;
    if (s->is_orphan) {
        sse_subscriber_free(s);
        return;
    }
    if (s->state == SSE_ENDED) /* the server stops */
        return;
    if (failed || wish_begin(wish, &s->sub, seqs, &seq) < 0) {
        wish_refuse_late(s->conn);
        sse_enter(s, SSE_ENDED);
        conn_finish(s->conn, LINGER_MS);
        return;
    }
    sse_enter(s, SSE_STREAMING);
    membership_connected(&s->sub, "sse");
    conn_write_later(s->conn, s->head.data, s->head.len);
    buf_done(&s->head);
    if (s->is_gzip)
        gzip_stream_begin(s->conn);
    send_retry(s);
    if (seq != UINT64_MAX)
        send_id(s, seq);
    else
        say(s, "\n", 1);
    set_timer(s);
}

#define HEADERS_MAX (CORS_HEADERS_MAX + 192)

static void write_headers(char out[HEADERS_MAX], const struct reactor *r, struct slice origin, bool is_gzip)
{
    char cors[CORS_HEADERS_MAX];
    snprintf(out, HEADERS_MAX, "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n%s%s", /* nginx passes events on as they come */
             gzip_headers(r, is_gzip), cors_headers(cors, r->settings, origin));
}

static struct sse_subscriber *sse_subscriber_new(struct http_client *h, const char *headers, bool is_json, bool is_gzip)
{
    enum wire_form form = is_json ? WIRE_SSE_JSON : WIRE_SSE;
    struct reactor *r = http_reactor(h);
    struct sse_subscriber *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    *s = (struct sse_subscriber){ .conn = http_conn(h), .reactor = r, .is_gzip = is_gzip };
    client_init(&s->client, r);
    client_set_token(&s->client, http_token(h));
    subscriber_init(&s->sub, &r->table, &sse_ops, is_gzip ? packer_gzip_form(form) : form);
    s->sub.name = client_name(&s->client);
    http1_write_head(&s->head, r->loop.wall_ms, 200, false, CONTENT_TYPE, SIZE_MAX, headers);
    if (!s->head.failed)
        return s;
    sse_subscriber_free(s);
    return NULL;
}

void sse_subscriber_open(struct http_client *h, const struct http1_request *rq, struct slice origin, bool is_json)
{
    char headers[HEADERS_MAX];
    bool is_gzip = gzip_is_wanted(http_reactor(h), rq);
    HLY_CLEANUP(wish_done) struct wish wish = { 0 };
    if (!wish_parse(h, rq, http1_header_get(rq, "Last-Event-ID"), &wish) || !wish_is_allowed(h, &wish, false, false))
        return;
    write_headers(headers, http_reactor(h), origin, is_gzip);
    if (rq->method == HTTP1_HEAD) {
        http_reply(h, 200, CONTENT_TYPE, NULL, SIZE_MAX, headers);
        return;
    }
    struct sse_subscriber *s = sse_subscriber_new(h, headers, is_json, is_gzip);
    struct opening *o = s == NULL ? NULL : opening_new(&wish, &s->sub);
    if (o == NULL) {
        if (s != NULL)
            sse_subscriber_free(s);
        wish_refuse(h, origin, &http_reactor(h)->stats.handshakes_bad_topic, 503, "Out of memory, try again later.");
        return;
    }
    s->conn->owner = s;
    s->conn->ops = &sse_conn_ops;
    s->is_awaited = true;
    opening_start(o, s->reactor, on_opened, s);
    http_upgrade(h);
}
