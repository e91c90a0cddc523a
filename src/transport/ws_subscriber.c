#include "transport/ws_subscriber.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/topic_name.h"
#include "proto/ws_handshake.h"
#include "transport/publish.h"
#include "transport/ws_conn.h"

struct ws_subscriber {
    struct ws_conn ws;
    struct subscriber sub;
    struct list publishing;       /* struct ws_publish on their way */
    struct paused *paused;        /* NULL, or why it is not read */
    char *publish_topic;          /* where its frames go; NULL: nowhere */
    struct ws_opening *opening;   /* while its subscriptions are on their way */
};

static const struct rule_client anyone = { 0 }; /* who has no token */

/* ---- receiving messages from the hub */

static void ws_deliver(struct subscriber *s, const struct chunk_slice *slices, uint32_t count, uint32_t bytes)
{
    struct ws_subscriber *w = HLY_CONTAINER_OF(s, struct ws_subscriber, sub);
    struct conn *c = w->ws.conn;
    if (HLY_UNLIKELY(!ws_conn_is_open(&w->ws)))
        return; /* OPENING: nothing is promised before the 101 */
    if (HLY_UNLIKELY(count == 0)) {
        stat_add(&w->ws.reactor->stats.closed_lost, 1);
        ws_conn_close(&w->ws, WS_CLOSE_GAP, "messages were lost: fetch the state anew and reconnect");
        return;
    }
    if (HLY_UNLIKELY(c->outq != NULL)) {
        const struct settings *set = w->ws.reactor->settings;
        if (conn_waiting(c) + bytes > set->max_outq || c->loop->chunks.live_bytes > set->max_outq_total) {
            static struct log_gate gate;
            stat_add(&w->ws.reactor->stats.closed_slow, 1);
            log_limited(&gate, LOG_LEVEL_INFO, "slow_subscriber",
                        "a WebSocket does not read as fast as it is sent to: closed with 1013; outq_bytes=%" PRIu64
                        " limits.outq=%" PRIu64,
                        conn_waiting(c), set->max_outq);
            ws_conn_close(&w->ws, WS_CLOSE_TRY_LATER, "you do not read as fast as messages come: reconnect");
            return;
        }
    }
    conn_send(c, slices, count, bytes);
}

static const struct subscriber_ops ws_subscriber_ops = { .deliver = ws_deliver };

/* ---- publishing */

struct ws_publish {
    struct engine_publish publish;
    struct ws_subscriber *w; /* NULL: it has gone */
    struct reactor *reactor;
    struct list node;
};

struct ws_paused {
    struct paused paused;
    struct ws_subscriber *w;
};

static void on_published(struct engine_publish *p)
{
    struct ws_publish *wp = HLY_CONTAINER_OF(p, struct ws_publish, publish);
    if (p->result < 0) {
        struct publish_refusal why;
        publish_explain(wp->reactor, p->result, &why);
        if (wp->w != NULL) /* plain WebSocket has no other way to say that a frame was not taken */
            ws_conn_close(&wp->w->ws, WS_CLOSE_TRY_LATER, why.text);
    }
    list_remove(&wp->node);
    free(wp);
}

static void on_resume(struct paused *p)
{
    struct ws_paused *wp = HLY_CONTAINER_OF(p, struct ws_paused, paused);
    wp->w->paused = NULL;
    conn_pause(wp->w->ws.conn, false);
    free(wp);
}

static void pause_if_congested(struct ws_subscriber *w)
{
    struct reactor *r = w->ws.reactor;
    if (!hub_is_congested(r->hub) || w->paused != NULL)
        return;
    struct ws_paused *wp = malloc(sizeof *wp);
    if (wp == NULL)
        return; /* it reads on: the inbox grows by what it sends until there is memory again */
    *wp = (struct ws_paused){ .paused = { .resume = on_resume }, .w = w };
    list_init(&wp->paused.node);
    w->paused = &wp->paused;
    conn_pause(w->ws.conn, true);
    reactor_pause_publisher(r, &wp->paused);
}

static void on_message(struct ws_conn *ws, bool is_text, const uint8_t *payload, size_t len)
{
    (void)is_text; /* the topic's rule says what it carries, not the frame */
    struct ws_subscriber *w = HLY_CONTAINER_OF(ws, struct ws_subscriber, ws);
    struct publish_refusal why;
    if (w->publish_topic == NULL) {
        stat_add(&ws->reactor->stats.closed_policy, 1);
        ws_conn_close(ws, WS_CLOSE_POLICY,
                      w->sub.count == 0 ? "name the topic to publish to: connect to /ws?topic=NAME"
                                        : "clients may not publish to this topic, or more than one is named");
        return;
    }
    struct slice topic = { w->publish_topic, strlen(w->publish_topic) };
    struct message *m = publish_prepare(ws->reactor, &anyone, topic, (struct slice){ (const char *)payload, len }, &why);
    struct ws_publish *wp = m == NULL ? NULL : malloc(sizeof *wp);
    if (wp == NULL) {
        enum ws_close_code code = m != NULL ? WS_CLOSE_TRY_LATER
                                  : why.code == PUBLISH_BAD_REQUEST ? WS_CLOSE_BAD_DATA
                                                                    : WS_CLOSE_POLICY;
        ws_conn_close(ws, code, m != NULL ? "out of memory, try again later" : why.text);
        message_unref(m);
        return;
    }
    *wp = (struct ws_publish){ .w = w, .reactor = ws->reactor };
    wp->publish = (struct engine_publish){ .message = m, .reactor = ws->reactor->index, .done = on_published };
    list_push(&w->publishing, &wp->node);
    ws->reactor->engine->publish(ws->reactor->engine, &wp->publish);
    pause_if_congested(w);
}

/* ---- the end */

static void ws_subscriber_free(struct ws_subscriber *w)
{
    subscriber_done(&w->sub);
    LIST_EACH_SAFE (it, next, &w->publishing) {
        LIST_ENTRY(it, struct ws_publish, node)->w = NULL;
        list_remove(it);
    }
    if (w->paused != NULL) {
        list_remove(&w->paused->node);
        free(HLY_CONTAINER_OF(w->paused, struct ws_paused, paused));
    }
    free(w->publish_topic);
    free(w);
}

static void opening_orphan(struct ws_opening *o);

static void on_end(struct ws_conn *ws)
{
    struct ws_subscriber *w = HLY_CONTAINER_OF(ws, struct ws_subscriber, ws);
    if (w->opening != NULL)
        opening_orphan(w->opening); /* frees w when the last answer is there */
    else
        ws_subscriber_free(w);
}

static const struct ws_handler ws_subscriber_handler = { .on_message = on_message, .on_end = on_end };

/* ---- opening: what the URL asks for */

struct wish { /* the query, parsed and checked */
    struct slice *topics;
    size_t count;
    size_t cap;
    char *scratch; /* holds the decoded names */
    bool may_publish;
};

static void wish_done(struct wish *w)
{
    free(w->topics);
    free(w->scratch);
}

HLY_PRINTF(4, 5)
static bool refuse(struct http_client *h, _Atomic uint64_t *counter, unsigned status, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    stat_add(counter, 1);
    http_reply_text(h, status, NULL, "%s", text);
    return false;
}

static bool wish_add_topic(struct http_client *h, struct wish *w, struct slice name)
{
    struct reactor *r = http_reactor(h);
    char quoted[96];
    const char *bad = pattern_error(name.ptr, name.len);
    if (bad != NULL)
        return refuse(h, &r->stats.handshakes_bad_topic, 400, "Bad topic '%s': %s.",
                      log_quote(quoted, sizeof quoted, name.ptr, name.len), bad);
    if (w->count == r->settings->max_subscriptions)
        return refuse(h, &r->stats.handshakes_bad_topic, 400, "One connection may have %" PRIu32 " subscriptions (limits.subscriptions).",
                      r->settings->max_subscriptions);
    if (w->count == w->cap) {
        size_t cap = w->cap == 0 ? 8 : w->cap * 2;
        struct slice *topics = realloc(w->topics, cap * sizeof *topics);
        if (topics == NULL)
            return refuse(h, &r->stats.handshakes_bad_topic, 503, "Out of memory, try again later.");
        w->topics = topics;
        w->cap = cap;
    }
    w->topics[w->count++] = name;
    return true;
}

static bool wish_parse(struct http_client *h, const struct http1_request *rq, struct wish *w)
{
    struct stats *stats = &http_reactor(h)->stats;
    struct slice key, value;
    size_t pos = 0, used = 0;
    int r;
    w->scratch = malloc(rq->query.len + 2);
    if (w->scratch == NULL)
        return refuse(h, &stats->handshakes_bad_topic, 503, "Out of memory, try again later.");
    while ((r = http1_query_next(rq->query, &pos, w->scratch + used, &key, &value)) == 1) {
        if (slice_equals(key, "topic")) {
            used = (size_t)(value.ptr + value.len - w->scratch); /* keep it: the next pair goes behind it */
            if (!wish_add_topic(h, w, value))
                return false;
        } else if (slice_equals(key, "after") || slice_equals(key, "last")) {
            return refuse(h, &stats->handshakes_bad_topic, 400, "'%.*s' is not supported by this version: connect without it.",
                          (int)key.len, key.ptr);
        }
    }
    if (r < 0)
        return refuse(h, &stats->handshakes_bad_topic, 400, "The query has a broken %%-escape.");
    return true;
}

/* All of the topics must be open to subscribe to; or one topic to publish to. */
static bool wish_is_allowed(struct http_client *h, struct wish *w, bool is_bare)
{
    struct reactor *r = http_reactor(h);
    char quoted[96];
    if (w->count == 0 && !is_bare)
        return refuse(h, &r->stats.handshakes_bad_topic, 400, "Name a topic: /ws?topic=NAME (repeat it for several).");
    struct slice *only = w->count == 1 && !topic_name_is_pattern(w->topics[0].ptr, w->topics[0].len) ? &w->topics[0] : NULL;
    w->may_publish = only != NULL && rules_allow(r->rules, &anyone, RULE_PUBLISH, only->ptr, only->len);
    for (size_t i = 0; i < w->count; i++) {
        if (rules_allow(r->rules, &anyone, RULE_SUBSCRIBE, w->topics[i].ptr, w->topics[i].len))
            continue;
        if (w->may_publish) {
            w->count = 0; /* it receives nothing */
            return true;
        }
        return refuse(h, &r->stats.handshakes_forbidden, 403, "Subscribing to '%s' is not allowed here.",
                      log_quote(quoted, sizeof quoted, w->topics[i].ptr, w->topics[i].len));
    }
    return true;
}

/* ---- opening: subscriptions on their way */

struct opening_step {
    struct engine_subscribe subscribe;
    struct ws_opening *opening;
};

struct ws_opening {
    struct ws_subscriber *w;
    struct buf answer; /* the 101 */
    size_t waiting;    /* steps without an answer, and one for whoever starts them */
    bool failed;
    bool orphaned;     /* the connection has gone */
    struct opening_step steps[];
};

static void opening_orphan(struct ws_opening *o)
{
    o->orphaned = true;
}

static void opening_complete(struct ws_opening *o)
{
    struct ws_subscriber *w = o->w;
    w->opening = NULL;
    if (o->orphaned) {
        ws_subscriber_free(w);
    } else if (o->failed) {
        static const char why[] = "The server is at limits.topics or limits.patterns, or out of memory: try again later.\n";
        HLY_CLEANUP(buf_done) struct buf out = { 0 };
        http1_write_head(&out, 503, false, "text/plain; charset=utf-8", sizeof why - 1, "Retry-After: 5\r\n");
        buf_str(&out, why);
        conn_write(w->ws.conn, out.data, out.len);
        ws_conn_fail(&w->ws, WS_CLOSE_TRY_LATER, "");
    } else {
        conn_pause(w->ws.conn, false);
        conn_write(w->ws.conn, o->answer.data, o->answer.len);
        ws_conn_open(&w->ws);
    }
    buf_done(&o->answer);
    free(o);
}

static void opening_step_done(struct ws_opening *o)
{
    if (--o->waiting == 0)
        opening_complete(o);
}

static void on_subscribed(struct engine_subscribe *s)
{
    struct ws_opening *o = HLY_CONTAINER_OF(s, struct opening_step, subscribe)->opening;
    o->failed |= s->result < 0;
    opening_step_done(o);
}

/* The first subprotocol that is offered: it names the application's payload, which we carry and do not look into. Browsers refuse a
 * handshake that answers none of their offers. */
static struct slice choose_protocol(const struct http1_request *rq)
{
    struct slice protocol;
    size_t pos = 0;
    while (ws_handshake_next_protocol(rq, &pos, &protocol))
        if (protocol.len < 7 || strncmp(protocol.ptr, "halley.", 7) != 0)
            return protocol;
    return (struct slice){ 0 };
}

static struct ws_subscriber *ws_subscriber_new(struct reactor *r, const struct wish *wish)
{
    struct ws_subscriber *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    list_init(&w->publishing);
    subscriber_init(&w->sub, &r->table, &ws_subscriber_ops, WIRE_WS_PLAIN);
    if (wish->may_publish) {
        const struct slice *topic = &wish->topics[0];
        w->publish_topic = strndup(topic->ptr, topic->len);
        if (w->publish_topic == NULL) {
            free(w);
            return NULL;
        }
    }
    return w;
}

static void opening_start(struct ws_opening *o, const struct wish *wish)
{
    struct reactor *r = o->w->ws.reactor;
    struct conn *conn = o->w->ws.conn;
    o->waiting = wish->count + 1;
    conn_pause(conn, true);
    for (size_t i = 0; i < wish->count; i++) {
        o->steps[i].opening = o;
        o->steps[i].subscribe =
            (struct engine_subscribe){ .subscriber = &o->w->sub,
                                       .name = wish->topics[i],
                                       .is_pattern = topic_name_is_pattern(wish->topics[i].ptr, wish->topics[i].len),
                                       .done = on_subscribed };
        r->engine->subscribe(r->engine, &o->steps[i].subscribe);
    }
    opening_step_done(o);
}

void ws_subscriber_open(struct http_client *h, const struct http1_request *rq, bool is_bare)
{
    struct reactor *r = http_reactor(h);
    HLY_CLEANUP(wish_done) struct wish wish = { 0 };
    if (!wish_parse(h, rq, &wish) || !wish_is_allowed(h, &wish, is_bare))
        return;
    struct ws_opening *o = calloc(1, sizeof *o + wish.count * sizeof o->steps[0]);
    if (o != NULL) {
        o->w = ws_subscriber_new(r, &wish);
        ws_handshake_write(&o->answer, rq, choose_protocol(rq), NULL);
    }
    if (o == NULL || o->w == NULL || o->answer.failed) {
        if (o != NULL) {
            free(o->w);
            buf_done(&o->answer);
        }
        free(o);
        refuse(h, &r->stats.handshakes_bad_topic, 503, "Out of memory, try again later.");
        return;
    }
    o->w->opening = o;
    ws_conn_init(&o->w->ws, r, http_conn(h), &ws_subscriber_handler);
    opening_start(o, &wish);
    http_upgrade(h);
}
