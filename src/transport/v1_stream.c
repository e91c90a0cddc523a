#include "transport/v1_stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "proto/json_write.h"
#include "transport/client_info.h"
#include "transport/cors.h"
#include "transport/gzip_stream.h"
#include "transport/iframe.h"
#include "transport/kick.h"
#include "transport/packer.h"
#include "transport/peer.h"
#include "transport/public_door.h"
#include "transport/query.h"
#include "transport/v1_session.h"
#include "transport/wish.h"

#define RETRY_MS 2000 /* as in transport/sse_subscriber */
#define RETRY_SPREAD_MS 1000
#define LINGER_MS 2000

/* OPENING: its subscriptions are on their way. STREAMING: hello has been written. ENDED: it gets nothing more. */
#define STREAM_STATES(X) X(OPENING) X(STREAMING) X(ENDED)
#define AS_ENUM(name) STREAM_##name,
#define AS_NAME(name) [STREAM_##name] = #name,
enum stream_state { STREAM_STATES(AS_ENUM) };
static const char *const stream_state_names[] = { STREAM_STATES(AS_NAME) };
static const unsigned stream_next[] = { /* bit n set: state n may follow */
    [STREAM_OPENING] = 1u << STREAM_STREAMING | 1u << STREAM_ENDED,
    [STREAM_STREAMING] = 1u << STREAM_ENDED,
    [STREAM_ENDED] = 0,
};

struct v1_stream {
    struct v1_session session;
    struct buf head;  /* status line, headers, and what comes before the first object; goes out with it */
    uint32_t http_bytes; /* of head: what is HTTP's, and never compressed */
    bool is_gzip;
    uint8_t kind;     /* enum v1_stream_kind */
    uint8_t state;    /* enum stream_state */
    bool is_awaited;  /* on_opened() is still to come */
    bool is_orphan;   /* the connection has gone meanwhile */
};

static const struct framing { /* around each object */
    const char *content_type;
    const char *before;
    const char *after;
    bool has_id;     /* a line with the cursor comes first */
    bool for_script;
} framings[] = {
    [V1_STREAM_SSE] = { "text/event-stream", "data: ", "\n\n", true, false },
    [V1_STREAM_NDJSON] = { "application/x-ndjson", "", "\n", false, false },
    [V1_STREAM_IFRAME] = { "text/html; charset=utf-8", "<script>h(", ")</script>\n", false, true },
};

static void stream_enter(struct v1_stream *t, enum stream_state next)
{
    if ((stream_next[t->state] & 1u << next) == 0)
        return; /* it has ended already */
    log_debug("v1_stream", "stream=%p %s -> %s", (void *)t, stream_state_names[t->state], stream_state_names[next]);
    if (next == STREAM_STREAMING)
        stat_add(&t->session.reactor->stats.streams, 1);
    else if (t->state == STREAM_STREAMING)
        stat_sub(&t->session.reactor->stats.streams, 1);
    t->state = (uint8_t)next;
}

/* ---- the carrier of the session */

/* Status line and headers first, if they have not been written yet. */
static void write_out(struct v1_stream *t, const uint8_t *bytes, size_t len)
{
    struct conn *c = t->session.conn;
    size_t http = t->http_bytes;
    t->http_bytes = 0;
    if (!t->is_gzip) {
        conn_write_later(c, bytes, len);
        return;
    }
    if (http > 0) {
        conn_write_later(c, bytes, http);
        gzip_stream_begin(c);
    }
    gzip_stream_write(c, bytes + http, len - http);
}

static void write_object(struct v1_session *s, struct slice json, const char *cursor)
{
    struct v1_stream *t = HLY_CONTAINER_OF(s, struct v1_stream, session);
    const struct framing *f = &framings[t->kind];
    if (t->state == STREAM_ENDED)
        return;
    HLY_CLEANUP(buf_done) struct buf out = t->head; /* empty from the second object on */
    t->head = (struct buf){ 0 };
    if (f->has_id && cursor[0] != '\0')
        buf_printf(&out, "id: %s\n", cursor);
    buf_str(&out, f->before);
    uint8_t *at = buf_reserve(&out, json_value_size(json, f->for_script));
    if (at != NULL)
        out.len += (size_t)(json_put_value(at, json, f->for_script) - at);
    buf_str(&out, f->after);
    if (out.failed)
        conn_fail(s->conn, ENOMEM);
    else
        write_out(t, out.data, out.len);
}

static void stream_finish(struct v1_stream *t)
{
    v1_session_mute(&t->session);
    stream_enter(t, STREAM_ENDED);
    conn_finish(t->session.conn, LINGER_MS);
}

static void close_stream(struct v1_session *s, unsigned code, const char *reason)
{
    struct v1_stream *t = HLY_CONTAINER_OF(s, struct v1_stream, session);
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    if (t->state == STREAM_ENDED)
        return;
    buf_printf(&json, "{\"close\":{\"code\":%u,\"reason\":", code);
    json_buf_string(&json, (struct slice){ reason, strlen(reason) });
    buf_str(&json, "}}");
    if (!json.failed)
        write_object(s, buf_slice(&json), "");
    stream_finish(t);
}

static void set_timer(struct v1_session *s)
{
    struct reactor *r = s->reactor;
    uint64_t interval = r->settings->ping_interval_ms, deadline = v1_session_next_deadline(s), now = r->loop.wall_ms;
    interval -= reactor_random(r, (uint32_t)(interval / 5));
    if (deadline != 0 && deadline < now + interval)
        interval = deadline > now ? deadline - now + 1 : 1;
    conn_set_timer(s->conn, interval);
}

static const struct v1_carrier carriers[] = {
    [V1_STREAM_SSE] = { .form = WIRE_SSE_V1, .write = write_object, .close = close_stream, .token_changed = set_timer, .what = "sse" },
    [V1_STREAM_NDJSON] = { .form = WIRE_NDJSON, .write = write_object, .close = close_stream, .token_changed = set_timer, .what = "ndjson" },
    [V1_STREAM_IFRAME] = { .form = WIRE_IFRAME, .write = write_object, .close = close_stream, .token_changed = set_timer, .what = "iframe" },
};

/* ---- the connection */

static void write_retry(struct buf *out, struct reactor *r)
{
    buf_printf(out, "retry: %" PRIu32 "\n", r->return_ms != 0 ? r->return_ms : RETRY_MS + reactor_random(r, RETRY_SPREAD_MS));
}

static void on_read(struct conn *c, uint8_t *data, size_t len)
{
    (void)c; /* the stream is the last answer of this connection: what else is asked on it goes unheard */
    (void)data;
    (void)len;
}

static void on_drained(struct conn *c)
{
    struct v1_stream *t = c->owner;
    if (t->state == STREAM_STREAMING)
        v1_session_drained(&t->session);
}

static void on_timer(struct conn *c)
{
    struct v1_stream *t = c->owner;
    uint64_t deadline = v1_session_next_deadline(&t->session);
    if (deadline != 0 && deadline <= c->loop->wall_ms)
        v1_session_deadline(&t->session);
    else
        v1_session_tick(&t->session);
    set_timer(&t->session);
}

static void on_cut(struct conn *c)
{
    v1_session_cut(&((struct v1_stream *)c->owner)->session);
}

static void on_stop(struct conn *c)
{
    struct v1_stream *t = c->owner;
    HLY_CLEANUP(buf_done) struct buf retry = { 0 };
    if (t->state == STREAM_STREAMING) {
        if (t->kind == V1_STREAM_SSE) {
            write_retry(&retry, t->session.reactor); /* for EventSource, which reconnects by itself; its block ends with the next object's */
            write_out(t, retry.data, retry.len);
        }
        v1_session_stop(&t->session);
    }
    stream_finish(t);
}

static void on_free(struct v1_session *s)
{
    struct v1_stream *t = HLY_CONTAINER_OF(s, struct v1_stream, session);
    buf_done(&t->head);
    free(t);
}

static void on_end(struct conn *c)
{
    struct v1_stream *t = c->owner;
    peer_done(t->session.reactor, c);
    public_door_gone(t->session.reactor);
    stream_enter(t, STREAM_ENDED);
    t->is_orphan = t->is_awaited;
    if (!t->is_orphan)
        v1_session_end(&t->session);
}

static bool describe(struct conn *c, struct client_info *ret)
{
    const struct v1_stream *t = c->owner;
    return t->state == STREAM_STREAMING && client_info_fill(ret, &t->session.client, &t->session.sub, t->session.carrier->what);
}

static bool kick(struct conn *c, const struct kick *k)
{
    struct v1_stream *t = c->owner;
    return t->state == STREAM_STREAMING && v1_session_kick(&t->session, k);
}

static void recheck(struct conn *c)
{
    struct v1_stream *t = c->owner;
    if (t->state == STREAM_STREAMING)
        v1_session_recheck(&t->session);
}

static const struct conn_ops stream_conn_ops = {
    .recheck = recheck,
    .on_read = on_read, .on_drained = on_drained, .on_timer = on_timer, .on_cut = on_cut, .on_stop = on_stop,
    .describe = describe, .kick = kick, .on_end = on_end,
};

/* ---- opening */

static void on_opened(void *ctx, struct wish *wish, bool failed, struct opening_seqs seqs)
{
    struct v1_stream *t = ctx;
    t->is_awaited = false;
    if (t->is_orphan) {
        v1_session_end(&t->session);
        return;
    }
    if (t->state == STREAM_ENDED) /* the server stops */
        return;
    if (failed || v1_session_open(&t->session, wish, seqs) < 0) { /* hello takes the head with it: nothing has been written yet */
        wish_refuse_late(t->session.conn);
        stream_finish(t);
        return;
    }
    stream_enter(t, STREAM_STREAMING);
    set_timer(&t->session);
}

static void write_headers(struct buf *out, const struct reactor *r, struct slice origin, enum v1_stream_kind kind, bool is_gzip)
{
    char cors[CORS_HEADERS_MAX];
    buf_str(out, "Cache-Control: no-store\r\n"
                 "X-Accel-Buffering: no\r\n"); /* nginx passes objects on as they come */
    buf_str(out, gzip_headers(r, is_gzip));
    buf_str(out, cors_headers(cors, r->settings, origin));
    if (kind == V1_STREAM_IFRAME)
        iframe_write_headers(out, r->settings);
    buf_append(out, "", 1); /* read as a C string */
}

/* The state of a stream, ready to be opened; NULL when out of memory. */
static struct v1_stream *stream_new(struct http_client *h, enum v1_stream_kind kind, const char *headers, struct slice callback, bool is_gzip)
{
    struct reactor *r = http_reactor(h);
    struct v1_stream *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->kind = (uint8_t)kind;
    t->is_gzip = is_gzip;
    http1_write_head(&t->head, r->loop.wall_ms, 200, false, framings[kind].content_type, SIZE_MAX, headers);
    t->http_bytes = (uint32_t)t->head.len;
    if (kind == V1_STREAM_SSE)
        write_retry(&t->head, r);
    else if (kind == V1_STREAM_IFRAME)
        iframe_write_opening(&t->head, callback);
    if (t->head.failed || v1_session_init(&t->session, r, http_conn(h), &carriers[kind], on_free) < 0) {
        buf_done(&t->head);
        free(t);
        return NULL;
    }
    if (is_gzip)
        t->session.sub.form = (uint8_t)packer_gzip_form(carriers[kind].form);
    v1_session_identify(&t->session, http_token(h));
    return t;
}

/* False when the request has been answered. */
static bool iframe_passes(struct http_client *h, const struct http1_request *rq, struct slice callback)
{
    struct reactor *r = http_reactor(h);
    static struct log_gate gate;
    const char *why = iframe_request_error(rq, r->settings);
    if (why != NULL) {
        log_limited(&gate, LOG_LEVEL_INFO, "frame_refused", "%s", why);
        return wish_refuse(h, http1_header_get(rq, "Origin"), &r->stats.handshakes_bad_origin, 403, "%s", why);
    }
    why = iframe_callback_error(callback);
    if (why != NULL)
        return wish_refuse(h, http1_header_get(rq, "Origin"), &r->stats.handshakes_bad_topic, 400,
                           "callback %s: name the function of your page that is to get each object, as in callback=app.on_message.", why);
    return true;
}

static void open_with(struct http_client *h, const struct http1_request *rq, enum v1_stream_kind kind, const char *headers,
                      struct slice callback)
{
    struct slice last_event_id = kind == V1_STREAM_SSE ? http1_header_get(rq, "Last-Event-ID") : (struct slice){ 0 };
    HLY_CLEANUP(wish_done) struct wish wish = { 0 };
    if (!wish_parse(h, rq, last_event_id, &wish) || !wish_is_allowed(h, &wish, false, true))
        return;
    if (rq->method == HTTP1_HEAD) {
        http_reply(h, 200, framings[kind].content_type, NULL, SIZE_MAX, headers);
        return;
    }
    struct v1_stream *t = stream_new(h, kind, headers, callback, gzip_is_wanted(http_reactor(h), rq));
    struct opening *o = t == NULL ? NULL : opening_new(&wish, &t->session.sub);
    if (o == NULL) {
        if (t != NULL)
            v1_session_end(&t->session);
        wish_refuse(h, http1_header_get(rq, "Origin"), &http_reactor(h)->stats.handshakes_bad_topic, 503, "Out of memory, try again later.");
        return;
    }
    struct conn *c = t->session.conn;
    c->owner = t;
    c->ops = &stream_conn_ops;
    t->is_awaited = true;
    opening_start(o, t->session.reactor, on_opened, t);
    http_upgrade(h);
}

void v1_stream_open(struct http_client *h, const struct http1_request *rq, struct slice origin, enum v1_stream_kind kind)
{
    struct query_field callback = { .key = "callback" };
    HLY_CLEANUP(query_freep) char *memory = NULL;
    HLY_CLEANUP(buf_done) struct buf headers = { 0 };
    if (!query_take(h, rq, &callback, 1, &memory))
        return;
    if (kind == V1_STREAM_IFRAME && !iframe_passes(h, rq, callback.value))
        return;
    write_headers(&headers, http_reactor(h), origin, kind, gzip_is_wanted(http_reactor(h), rq));
    if (headers.failed)
        wish_refuse(h, http1_header_get(rq, "Origin"), &http_reactor(h)->stats.handshakes_bad_topic, 503, "Out of memory, try again later.");
    else
        open_with(h, rq, kind, (const char *)headers.data, callback.value);
}
