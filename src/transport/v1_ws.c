#include "transport/v1_ws.h"

#include <stdlib.h>

#include "proto/ws_handshake.h"
#include "transport/client_info.h"
#include "transport/kick.h"
#include "transport/v1_session.h"
#include "transport/wish.h"
#include "transport/ws_conn.h"
#include "transport/ws_context.h"

#define COMMAND_EXTRA_BYTES 4096 /* of a command around its data */

struct v1_ws {
    struct ws_conn ws;
    struct v1_session session;
    struct buf answer; /* the 101, while its subscriptions are on their way */
    bool is_opening;
    bool has_ended;    /* the connection has gone meanwhile */
};

static struct v1_ws *of_session(struct v1_session *s)
{
    return HLY_CONTAINER_OF(s, struct v1_ws, session);
}

static struct v1_ws *of_ws(struct ws_conn *ws)
{
    return HLY_CONTAINER_OF(ws, struct v1_ws, ws);
}

/* ---- what the session asks for */

static void carrier_write(struct v1_session *s, struct slice json, const char *cursor)
{
    (void)cursor; /* it is in the object */
    ws_conn_send(&of_session(s)->ws, WS_OP_TEXT, (const uint8_t *)json.ptr, json.len);
}

static void carrier_deliver(struct v1_session *s, const struct delivery *d)
{
    ws_conn_deliver(&of_session(s)->ws, d);
}

static void carrier_close(struct v1_session *s, unsigned code, const char *reason)
{
    ws_conn_close(&of_session(s)->ws, (enum ws_close_code)code, reason);
}

static void carrier_token_changed(struct v1_session *s)
{
    ws_conn_set_deadline(&of_session(s)->ws, v1_session_next_deadline(s));
}

static const struct v1_carrier ws_carrier = {
    .form = WIRE_WS_V1, .deliver = carrier_deliver, .write = carrier_write, .close = carrier_close, .token_changed = carrier_token_changed, .what = "halley.v1/websocket"
};

static void on_free(struct v1_session *s)
{
    struct v1_ws *w = of_session(s);
    buf_done(&w->answer);
    free(w);
}

/* ---- the connection */

static void on_message(struct ws_conn *ws, bool is_text, const uint8_t *payload, size_t len)
{
    if (is_text)
        v1_session_command(&of_ws(ws)->session, (struct slice){ (const char *)payload, len });
    else
        ws_conn_close(ws, WS_CLOSE_UNSUPPORTED, "halley.v1 is text: send JSON in text frames");
}

static void on_drained(struct ws_conn *ws)
{
    v1_session_drained(&of_ws(ws)->session);
}

static void on_cut(struct ws_conn *ws)
{
    v1_session_cut(&of_ws(ws)->session);
}

static void on_tick(struct ws_conn *ws)
{
    v1_session_tick(&of_ws(ws)->session);
}

static void on_deadline(struct ws_conn *ws)
{
    struct v1_session *s = &of_ws(ws)->session;
    v1_session_deadline(s);
    ws_conn_set_deadline(ws, v1_session_next_deadline(s));
}

static void on_stop(struct ws_conn *ws)
{
    v1_session_stop(&of_ws(ws)->session);
}

static void on_closing(struct ws_conn *ws)
{
    v1_session_mute(&of_ws(ws)->session);
}

static void on_end(struct ws_conn *ws)
{
    struct v1_ws *w = of_ws(ws);
    if (w->is_opening)
        w->has_ended = true; /* it ends when the last answer is there */
    else
        v1_session_end(&w->session);
}

static bool describe(struct ws_conn *ws, struct client_info *ret)
{
    const struct v1_session *s = &of_ws(ws)->session;
    return client_info_fill(ret, &s->client, &s->sub, s->carrier->what);
}

static bool kick(struct ws_conn *ws, const struct kick *k)
{
    return v1_session_kick(&of_ws(ws)->session, k);
}

static void recheck(struct ws_conn *ws)
{
    v1_session_recheck(&of_ws(ws)->session);
}

static const struct ws_handler v1_ws_handler = {
    .recheck = recheck,
    .on_message = on_message, .on_drained = on_drained, .on_cut = on_cut,         .on_tick = on_tick, .on_deadline = on_deadline,
    .on_stop = on_stop,       .on_end = on_end,         .on_closing = on_closing, .describe = describe,
    .kick = kick,
};

/* ---- opening */

/* Every subscription of the URL is in force. */
static void on_opened(void *ctx, struct wish *wish, bool failed, struct opening_seqs seqs)
{
    struct v1_ws *w = ctx;
    w->is_opening = false;
    if (w->has_ended) {
        v1_session_end(&w->session);
        return;
    }
    conn_resume(w->ws.conn, CONN_PAUSE_BUSY);
    if (failed) {
        wish_refuse_late(w->ws.conn); /* HTTP has gone already */
        ws_conn_fail(&w->ws, WS_CLOSE_TRY_LATER, "");
        return;
    }
    conn_write(w->ws.conn, w->answer.data, w->answer.len);
    buf_done(&w->answer);
    ws_conn_open(&w->ws);
    if (v1_session_open(&w->session, wish, seqs) < 0)
        ws_conn_close(&w->ws, WS_CLOSE_TRY_LATER, "out of memory, try again later");
}

static void out_of_memory(struct http_client *h)
{
    http_reply_text(h, 503, NULL, "Out of memory, try again later.");
}

void v1_ws_open(struct http_client *h, const struct http1_request *rq)
{
    struct reactor *r = http_reactor(h);
    HLY_CLEANUP(wish_done) struct wish wish = { 0 };
    HLY_CLEANUP(ws_agreement_done) struct ws_agreement agreement = { 0 };
    if (!wish_parse(h, rq, (struct slice){ 0 }, &wish) || !wish_is_allowed(h, &wish, false, true))
        return;
    struct v1_ws *w = calloc(1, sizeof *w);
    if (w == NULL || v1_session_init(&w->session, r, http_conn(h), &ws_carrier, on_free) < 0) {
        free(w);
        out_of_memory(h);
        return;
    }
    v1_session_identify(&w->session, http_token(h));
    ws_agree(&agreement, r, rq);
    ws_handshake_write(&w->answer, rq, SLICE_LIT("halley.v1"), agreement.header);
    struct opening *o = w->answer.failed ? NULL : opening_new(&wish, &w->session.sub);
    if (o == NULL) {
        v1_session_end(&w->session);
        out_of_memory(h);
        return;
    }
    w->is_opening = true;
    ws_conn_init(&w->ws, r, http_conn(h), &v1_ws_handler);
    /* A payload that is over limits.message is answered with an error: a command may be longer, by as much as JSON and base64 usually add. */
    ws_reader_init(&w->ws.reader, r->settings->max_message * 2 + COMMAND_EXTRA_BYTES, r->settings->max_fragments);
    ws_conn_set_deflate(&w->ws, &agreement);
    w->session.sub.form = (uint8_t)ws_conn_form(&w->ws, WIRE_WS_V1);
    w->ws.deadline_ms = v1_session_next_deadline(&w->session);
    conn_pause(w->ws.conn, CONN_PAUSE_BUSY);
    opening_start(o, r, on_opened, w);
    http_upgrade(h);
}
