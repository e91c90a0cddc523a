#include "transport/ws_subscriber.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/catchup.h"
#include "proto/ws_handshake.h"
#include "transport/client_info.h"
#include "transport/gap_event.h"
#include "transport/kick.h"
#include "transport/membership.h"
#include "transport/peer.h"
#include "transport/publish.h"
#include "transport/slow.h"
#include "transport/v1_ws.h"
#include "transport/wish.h"
#include "transport/ws_conn.h"
#include "transport/ws_context.h"

struct ws_subscriber {
    struct ws_conn ws;
    struct subscriber sub;
    struct client client;
    struct list publishing;       /* struct ws_publish on their way */
    struct paused *paused;        /* NULL, or why it is not read */
    char *publish_topic;          /* where its frames go; NULL: nowhere */
    struct buf answer;            /* the 101, while its subscriptions are on their way */
    bool is_echoed;               /* it gets what it publishes, if it is subscribed */
    bool is_opening;
    bool has_ended;               /* the connection has gone meanwhile */
};

/* ---- receiving messages from the hub */

static void lost(struct ws_subscriber *w)
{
    stat_add(&w->ws.reactor->stats.closed_lost, 1);
    ws_conn_close(&w->ws, WS_CLOSE_GAP, "messages were lost: fetch the state anew and reconnect");
}

static struct slow_client as_slow(struct ws_subscriber *w)
{
    return (struct slow_client){ w->ws.reactor, &w->sub, w->ws.conn, &w->client, "websocket" };
}

static void obey(struct ws_subscriber *w, enum slow_verdict verdict)
{
    if (verdict == SLOW_LOST)
        lost(w);
    else if (verdict == SLOW_DISCONNECT)
        ws_conn_close(&w->ws, WS_CLOSE_TRY_LATER, "too slow for this topic (on_slow = disconnect): reconnect");
}

static void ws_deliver(struct subscriber *s, const struct delivery *d)
{
    struct ws_subscriber *w = HLY_CONTAINER_OF(s, struct ws_subscriber, sub);
    struct conn *c = w->ws.conn;
    if (HLY_UNLIKELY(!ws_conn_is_open(&w->ws)))
        return; /* OPENING: nothing is promised before the 101 */
    if (HLY_LIKELY(!slow_has_no_room(w->ws.reactor, c, d))) {
        ws_conn_deliver(&w->ws, d);
        return;
    }
    struct slow_client slow = as_slow(w);
    obey(w, slow_fall_behind(&slow, d));
}

static void ws_replay(struct subscriber *s, const struct delivery *d)
{
    struct ws_subscriber *w = HLY_CONTAINER_OF(s, struct ws_subscriber, sub);
    if (ws_conn_is_open(&w->ws))
        ws_conn_deliver(&w->ws, d);
}

static bool ws_is_full(struct subscriber *s)
{
    const struct ws_subscriber *w = HLY_CONTAINER_OF(s, struct ws_subscriber, sub);
    return !ws_conn_is_open(&w->ws) || slow_is_full(w->ws.conn); /* what is closing reads no history */
}

static bool ws_on_gap(struct subscriber *s, uint64_t after_seq, enum gap_reason reason)
{
    struct ws_subscriber *w = HLY_CONTAINER_OF(s, struct ws_subscriber, sub);
    struct gap_event event = { .reactor = w->ws.reactor, .client = &w->client, .transport = "websocket" };
    gap_event_add_all(&event, s);
    gap_event_tell(&event, after_seq, reason);
    lost(w); /* the payload alone is sent here: there is no place for a cursor */
    return false;
}

static struct client *client_of(struct subscriber *s)
{
    return &HLY_CONTAINER_OF(s, struct ws_subscriber, sub)->client;
}

static const struct subscriber_ops ws_subscriber_ops = {
    .client = client_of,
    .deliver = ws_deliver, .replay = ws_replay, .is_full = ws_is_full, .on_gap = ws_on_gap
};

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
    conn_resume(wp->w->ws.conn, CONN_PAUSE_HUB);
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
    conn_pause(w->ws.conn, CONN_PAUSE_HUB);
    reactor_pause_publisher(r, &wp->paused);
}

static void on_deadline(struct ws_conn *ws)
{
    stat_add(&ws->reactor->stats.closed_expired, 1);
    ws_conn_close(ws, WS_CLOSE_TOKEN, "the token has expired: connect with a new one");
}

static void on_message(struct ws_conn *ws, bool is_text, const uint8_t *payload, size_t len)
{
    (void)is_text; /* the topic's rule says what it carries, not the frame */
    struct ws_subscriber *w = HLY_CONTAINER_OF(ws, struct ws_subscriber, ws);
    struct publish_refusal why;
    if (client_expires_in_ms(&w->client, ws->reactor->loop.wall_ms) == 0) { /* the timer comes a moment later */
        on_deadline(ws);
        return;
    }
    if (w->publish_topic == NULL) {
        stat_add(&ws->reactor->stats.closed_policy, 1);
        ws_conn_close(ws, WS_CLOSE_POLICY,
                      w->sub.count == 0 ? "name the topic to publish to: connect to /ws?topic=NAME"
                                        : "clients may not publish to this topic, or more than one is named");
        return;
    }
    struct slice topic = { w->publish_topic, strlen(w->publish_topic) };
    struct publisher by = publisher_of(&w->client);
    by.except = w->is_echoed ? 0 : by.name;
    struct message *m = publish_prepare(ws->reactor, &by, topic, (struct slice){ (const char *)payload, len }, &why);
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
    peer_has_published(ws->reactor, ws->conn, len); /* a frame cannot be answered with "later": it is read later */
    pause_if_congested(w);
}

/* ---- the end */

static void ws_subscriber_free(struct ws_subscriber *w)
{
    subscriber_done(&w->sub);
    membership_disconnected(w->ws.reactor, &w->client, "websocket", w->ws.conn);
    client_done(&w->client);
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

static void on_end(struct ws_conn *ws)
{
    struct ws_subscriber *w = HLY_CONTAINER_OF(ws, struct ws_subscriber, ws);
    if (w->is_opening)
        w->has_ended = true; /* freed when the last answer is there */
    else
        ws_subscriber_free(w);
}

static void on_drained(struct ws_conn *ws)
{
    struct ws_subscriber *w = HLY_CONTAINER_OF(ws, struct ws_subscriber, ws);
    if (w->sub.catchup == NULL)
        return;
    catchup_wake(&w->sub);
    loop_wake(ws->conn->loop); /* this may be the end of a turn: history is read in another */
}

static void on_cut(struct ws_conn *ws)
{
    struct ws_subscriber *w = HLY_CONTAINER_OF(ws, struct ws_subscriber, ws);
    struct slow_client slow = as_slow(w);
    obey(w, slow_cut(&slow));
}

static bool describe(struct ws_conn *ws, struct client_info *ret)
{
    struct ws_subscriber *w = HLY_CONTAINER_OF(ws, struct ws_subscriber, ws);
    return client_info_fill(ret, &w->client, &w->sub, "websocket");
}

/* There is no word here for a subscription that has ended, but if nothing is left the connection says so. */
static bool kick(struct ws_conn *ws, const struct kick *k)
{
    struct ws_subscriber *w = HLY_CONTAINER_OF(ws, struct ws_subscriber, ws);
    if (!kick_is_whole(k) && kick_unsubscribe_all(k, &w->sub) == 0)
        return false;
    if (kick_is_whole(k) || w->sub.count == 0) {
        w->client.end_reason = kick_end_reason(k);
        ws_conn_close(ws, (enum ws_close_code)k->code, k->reason);
    }
    return true;
}

/* There is no word here for one of several either: it reconnects, and is told which. */
static void recheck(struct ws_conn *ws)
{
    struct ws_subscriber *w = HLY_CONTAINER_OF(ws, struct ws_subscriber, ws);
    if (wish_find_forbidden(ws->reactor, &w->sub, w->client.token) != NULL) {
        stat_add(&ws->reactor->stats.rechecked_ends, 1);
        w->client.end_reason = "forbidden";
        ws_conn_close(ws, WS_CLOSE_FORBIDDEN, "the rules have changed: subscribing to a topic of this connection is no longer allowed");
        return;
    }
    membership_recheck(&w->sub);
}

static const struct ws_handler ws_subscriber_handler = {
    .recheck = recheck,
    .on_message = on_message, .on_drained = on_drained, .on_deadline = on_deadline, .on_cut = on_cut, .describe = describe,
    .kick = kick, .on_end = on_end,
};

/* ---- opening */

static bool is_v1_offered(const struct http1_request *rq)
{
    struct slice protocol;
    size_t pos = 0;
    while (ws_handshake_next_protocol(rq, &pos, &protocol))
        if (slice_equals(protocol, "halley.v1"))
            return true;
    return false;
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

static struct ws_subscriber *ws_subscriber_new(struct http_client *h, const struct wish *wish)
{
    struct reactor *r = http_reactor(h);
    struct ws_subscriber *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    list_init(&w->publishing);
    client_init(&w->client, r);
    client_set_token(&w->client, http_token(h));
    subscriber_init(&w->sub, &r->table, &ws_subscriber_ops, WIRE_WS_PLAIN);
    w->sub.name = client_name(&w->client);
    w->is_echoed = wish->is_echoed;
    if (wish->may_publish) {
        w->publish_topic = slice_dup(wish->topics[0]);
        if (w->publish_topic == NULL) {
            client_done(&w->client);
            free(w);
            return NULL;
        }
    }
    return w;
}

/* Every subscription is in force. */
static void on_opened(void *ctx, struct wish *wish, bool failed, struct opening_seqs seqs)
{
    uint64_t seq; /* not for this door: the payload alone is sent */
    struct ws_subscriber *w = ctx;
    struct buf answer = w->answer;
    w->answer = (struct buf){ 0 };
    w->is_opening = false;
    if (w->has_ended) {
        ws_subscriber_free(w);
    } else if (failed || (w->sub.count > 0 && wish_begin(wish, &w->sub, seqs, &seq) < 0)) {
        wish_refuse_late(w->ws.conn); /* HTTP has gone already */
        ws_conn_fail(&w->ws, WS_CLOSE_TRY_LATER, "");
    } else {
        conn_resume(w->ws.conn, CONN_PAUSE_BUSY);
        conn_write(w->ws.conn, answer.data, answer.len);
        ws_conn_open(&w->ws);
        membership_connected(&w->sub, "websocket");
    }
    buf_done(&answer);
}

void ws_subscriber_open(struct http_client *h, const struct http1_request *rq, bool is_bare)
{
    struct reactor *r = http_reactor(h);
    HLY_CLEANUP(wish_done) struct wish wish = { 0 };
    HLY_CLEANUP(ws_agreement_done) struct ws_agreement agreement = { 0 };
    if (is_v1_offered(rq)) { /* whatever else is: the client knows Halley */
        v1_ws_open(h, rq);
        return;
    }
    if (!wish_parse(h, rq, (struct slice){ 0 }, &wish) || !wish_is_allowed(h, &wish, true, is_bare))
        return;
    struct ws_subscriber *w = ws_subscriber_new(h, &wish);
    struct opening *o = w == NULL ? NULL : opening_new(&wish, &w->sub);
    if (o != NULL) {
        ws_agree(&agreement, r, rq);
        ws_handshake_write(&w->answer, rq, choose_protocol(rq), agreement.header);
    }
    if (o == NULL || w->answer.failed) {
        opening_free(o);
        if (w != NULL) {
            buf_done(&w->answer);
            free(w->publish_topic);
            client_done(&w->client);
        }
        free(w);
        http_reply_text(h, 503, NULL, "Out of memory, try again later.");
        return;
    }
    w->is_opening = true;
    ws_conn_init(&w->ws, r, http_conn(h), &ws_subscriber_handler);
    ws_conn_set_deflate(&w->ws, &agreement);
    w->sub.form = (uint8_t)ws_conn_form(&w->ws, WIRE_WS_PLAIN);
    w->ws.deadline_ms = w->client.token == NULL ? 0 : w->client.token->expires_ms;
    conn_pause(w->ws.conn, CONN_PAUSE_BUSY);
    opening_start(o, r, on_opened, w);
    http_upgrade(h);
}
