#include "transport/ws_conn.h"

#include <assert.h>
#include <string.h>

#include "base/deflate.h"
#include "base/log.h"
#include "transport/packer.h"
#include "transport/peer.h"
#include "transport/public_door.h"
#include "transport/unread.h"
#include "transport/ws_context.h"

#define WS_CLOSE_TIMEOUT_MS 5000 /* for the peer's close frame, after ours */
#define WS_LINGER_MS 2000
#define WS_SILENT_IDLE_MS 100000
#define WS_INFLATE_TURN_BYTES (256u << 10) /* of one connection in one turn, and one message more */

/* RFC 6455 7.1. CLOSED is reachable from everywhere: TCP can vanish in any state. */
#define WS_STATES(X) X(OPENING) X(OPEN) X(CLOSING) X(CLOSED)
#define AS_ENUM(name) WS_##name,
#define AS_NAME(name) [WS_##name] = #name,
enum ws_state { WS_STATES(AS_ENUM) };
static const char *const ws_state_names[] = { WS_STATES(AS_NAME) };
static const unsigned ws_next[] = { /* bit n set: state n may follow */
    [WS_OPENING] = 1u << WS_OPEN | 1u << WS_CLOSED,
    [WS_OPEN] = 1u << WS_CLOSING | 1u << WS_CLOSED,
    [WS_CLOSING] = 1u << WS_CLOSED,
    [WS_CLOSED] = 0,
};

static const struct conn_ops ws_conn_ops;

static void ws_enter(struct ws_conn *ws, enum ws_state next)
{
    assert(ws_next[ws->state] & 1u << next);
    log_debug("ws", "ws=%p %s -> %s", (void *)ws, ws_state_names[ws->state], ws_state_names[next]);
    if (ws->state == WS_OPEN)
        stat_sub(&ws->reactor->stats.websockets, 1);
    else if (next == WS_OPEN)
        stat_add(&ws->reactor->stats.websockets, 1);
    bool was_open = ws->state == WS_OPEN;
    ws->state = next & 0xf;
    if (was_open && ws->handler->on_closing != NULL)
        ws->handler->on_closing(ws);
}

void ws_conn_init(struct ws_conn *ws, struct reactor *r, struct conn *conn, const struct ws_handler *handler)
{
    *ws = (struct ws_conn){ .conn = conn, .reactor = r, .handler = handler, .state = WS_OPENING };
    ws_reader_init(&ws->reader, r->settings->max_message, r->settings->max_fragments);
    conn->owner = ws;
    conn->ops = &ws_conn_ops;
}

void ws_conn_set_deflate(struct ws_conn *ws, struct ws_agreement *a)
{
    if (!a->is_agreed)
        return;
    ws->deflate_bits = (unsigned)a->deflate.server_bits & 0xf;
    ws->context = a->context;
    a->context = NULL;
    bool has_own = ws->context != NULL && ws->context->inflater.keeps_context;
    ws_reader_allow_deflate(&ws->reader, has_own ? &ws->context->inflater : &ws->reactor->inflater);
}

static bool has_deflater(const struct ws_conn *ws) /* of its own */
{
    return ws->context != NULL && ws->context->deflater != NULL;
}

enum wire_form ws_conn_form(const struct ws_conn *ws, enum wire_form plain)
{
    return ws->deflate_bits == 0 || has_deflater(ws) ? plain : packer_ws_form(plain, ws->deflate_bits);
}

static uint64_t ws_idle_ms(const struct ws_conn *ws)
{
    uint64_t idle = ws->reactor->settings->idle_timeout_ms;
    return ws->handler->is_silent && idle < WS_SILENT_IDLE_MS ? WS_SILENT_IDLE_MS : idle;
}

/* Four fifths to the whole of the interval: clients that came together are not pinged together. */
static uint64_t ws_ping_ms(struct ws_conn *ws)
{
    uint64_t interval = ws->reactor->settings->ping_interval_ms;
    return interval - reactor_random(ws->reactor, (uint32_t)(interval / 5));
}

static void ws_set_timer(struct ws_conn *ws)
{
    uint64_t quiet = conn_quiet_ms(ws->conn), idle = ws_idle_ms(ws);
    uint64_t left = idle > quiet ? idle - quiet : 1;
    uint64_t ping = ws->handler->is_silent ? left : ws_ping_ms(ws), now = ws->conn->loop->wall_ms;
    left = ping < left ? ping : left;
    if (ws->deadline_ms != 0 && ws->deadline_ms < now + left)
        left = ws->deadline_ms > now ? ws->deadline_ms - now + 1 : 1;
    conn_set_timer(ws->conn, left);
}

void ws_conn_set_deadline(struct ws_conn *ws, uint64_t wall_ms)
{
    ws->deadline_ms = wall_ms;
    if (ws_conn_is_open(ws))
        ws_set_timer(ws);
}

void ws_conn_open(struct ws_conn *ws)
{
    ws_enter(ws, WS_OPEN);
    stat_add(&ws->reactor->stats.handshakes, 1);
    ws_set_timer(ws);
}

bool ws_conn_is_open(const struct ws_conn *ws)
{
    return ws->state == WS_OPEN && !ws->conn->closed;
}

/* ---- sending */

static void ws_send_close(struct ws_conn *ws, enum ws_close_code code, const char *reason)
{
    uint8_t frame[2 + WS_CONTROL_PAYLOAD_MAX];
    conn_write_later(ws->conn, frame, ws_frame_write_close(frame, code, reason));
}

void ws_conn_close(struct ws_conn *ws, enum ws_close_code code, const char *reason)
{
    if (!ws_conn_is_open(ws))
        return;
    log_debug("ws_close", "ws=%p code=%d reason='%s'", (void *)ws, code, reason);
    ws_enter(ws, WS_CLOSING);
    ws_send_close(ws, code, reason);
    conn_set_timer(ws->conn, WS_CLOSE_TIMEOUT_MS);
}

void ws_conn_fail(struct ws_conn *ws, enum ws_close_code code, const char *reason)
{
    if (ws->state == WS_OPEN)
        ws_send_close(ws, code, reason);
    if (ws->state != WS_CLOSED)
        ws_enter(ws, WS_CLOSED);
    conn_finish(ws->conn, WS_LINGER_MS);
}

void ws_conn_deliver(struct ws_conn *ws, const struct delivery *d)
{
    struct chunk *packed = HLY_UNLIKELY(has_deflater(ws)) && !ws->conn->closed ? ws_context_pack(ws->context, d) : NULL;
    if (packed == NULL) {
        conn_send(ws->conn, d->slices, d->count, d->bytes);
        return;
    }
    struct chunk_slice all = { packed, 0, packed->len, d->first_seq };
    conn_send(ws->conn, &all, 1, packed->len);
    chunk_unref(packed);
}

static void pause_if_unread(struct ws_conn *ws)
{
    if (conn_waiting(ws->conn) > ws->reactor->settings->max_outq) /* it asks and does not read: it is not read either */
        conn_pause(ws->conn, CONN_PAUSE_REPLIES);
}

/* Returns whether it has been sent. */
static bool send_deflated(struct ws_conn *ws, uint8_t opcode, const uint8_t *payload, size_t len)
{
    HLY_CLEANUP(buf_done) struct buf frame = { 0 }, packed = { 0 };
    uint8_t *at = buf_reserve(&frame, WS_FRAME_HEADER_OUT_MAX + len), *to = buf_reserve(&packed, ws_deflate_bound(WS_FRAME_HEADER_OUT_MAX + len));
    if (at == NULL || to == NULL)
        return false;
    size_t header = ws_frame_write_header(at, opcode, 0, len);
    memcpy(at + header, payload, len);
    uint32_t whole = (uint32_t)(header + len);
    uint32_t deflated = has_deflater(ws) ? ws_context_deflate_frame(ws->context, at, whole, to)
                                         : packer_deflate_frame(ws->reactor->packer, ws->deflate_bits, at, whole, to);
    if (deflated == 0)
        return false;
    conn_write_later(ws->conn, to, deflated);
    pause_if_unread(ws);
    return true;
}

void ws_conn_send_compressed(struct ws_conn *ws, uint8_t opcode, const uint8_t *payload, size_t len)
{
    bool is_worth_it = ws->deflate_bits != 0 && len + WS_FRAME_HEADER_OUT_MAX >= PACK_MIN_BYTES && len <= PACK_MAX_BYTES;
    if (!is_worth_it || !send_deflated(ws, opcode, payload, len))
        ws_conn_send(ws, opcode, payload, len);
}

void ws_conn_send(struct ws_conn *ws, uint8_t opcode, const uint8_t *payload, size_t len)
{
    uint8_t header[WS_FRAME_HEADER_OUT_MAX];
    conn_write_later(ws->conn, header, ws_frame_write_header(header, opcode, 0, len));
    conn_write_later(ws->conn, payload, len);
    pause_if_unread(ws);
}

/* ---- receiving */

static void ws_protocol_error(struct ws_conn *ws, enum ws_close_code code)
{
    struct stats *stats = &ws->reactor->stats;
    stat_add(code == WS_CLOSE_TOO_BIG ? &stats->closed_too_big : &stats->closed_protocol, 1);
    const char *why = code == WS_CLOSE_TOO_BIG    ? "the message is over limits.message"
                      : code == WS_CLOSE_BAD_DATA ? "text that is not UTF-8, or compressed data that is broken"
                      : code == WS_CLOSE_POLICY   ? "the message has more frames than limits.fragments"
                      : code == WS_CLOSE_INTERNAL ? "out of memory"
                                                  : "the frame breaks RFC 6455";
    static struct log_gate gate;
    log_limited(&gate, LOG_LEVEL_INFO, "ws_failed", "code=%d a WebSocket was closed: %s", (int)code, why);
    ws_conn_fail(ws, code, why);
}

/* The peer closes, or answers our close: echo its code, and close TCP first (RFC 6455 5.5.1, 7.1.1). */
static void ws_on_close(struct ws_conn *ws, const struct ws_event *ev, bool has_more_input)
{
    log_debug("ws_closed", "ws=%p code=%d", (void *)ws, ev->close_code);
    if (ws->state == WS_OPEN)
        ws_send_close(ws, ev->close_code, "");
    ws_enter(ws, WS_CLOSED);
    if (has_more_input)
        conn_finish(ws->conn, WS_LINGER_MS); /* unread input would turn our close() into a reset */
    else
        conn_end(ws->conn, WS_LINGER_MS);
}

/* What the inflater has counted since: it is others', too, and counts for whoever used it last. */
static void count_inflated(struct ws_conn *ws)
{
    struct ws_inflater *i = ws->reader.inflater;
    struct stats *stats = &ws->reactor->stats;
    if (i == NULL)
        return;
    stat_add(&stats->inflated, i->messages);
    stat_add(&stats->inflate_bytes_in, i->bytes_in);
    stat_add(&stats->inflate_bytes_out, i->bytes_out);
    stat_add(&stats->inflate_cut, i->cut);
    i->messages = i->bytes_in = i->bytes_out = i->cut = 0;
}

static void ws_on_event(struct ws_conn *ws, const struct ws_event *ev, bool has_more_input)
{
    switch (ev->type) {
    case WS_EVENT_MESSAGE:
        ws->looked_tick = 0;
        stat_add(&ws->reactor->stats.client_messages, 1);
        if (ws->state == WS_OPEN)
            ws->handler->on_message(ws, ev->is_text, ev->payload, ev->len);
        break;
    case WS_EVENT_PING:
        if (ws->state == WS_OPEN)
            ws_conn_send(ws, WS_OP_PONG, ev->payload, ev->len);
        break;
    case WS_EVENT_PONG:
        break; /* any byte is a sign of life */
    case WS_EVENT_CLOSE:
        ws_on_close(ws, ev, has_more_input);
        break;
    }
}

#define RATE_UNIT 16 /* bytes: 24 bits of them are the largest limits.message */

/* What has come of the message that is arriving, and of the TLS record that has more of it. */
static uint64_t ws_came(const struct ws_conn *ws)
{
    return ws_reader_received(&ws->reader) + conn_unread(ws->conn);
}

static void ws_look_at_message(struct ws_conn *ws)
{
    ws->looked_tick = ws->conn->loop->wheel.tick | 1; /* not 0 */
    ws->looked_units = (uint32_t)(ws_came(ws) / RATE_UNIT) & 0xffffff;
}

/* Has less than limits.min_rate come of the message that is arriving, for as long as limits.handshake_timeout? It holds memory meanwhile. */
static bool ws_is_too_slow(struct ws_conn *ws)
{
    const struct settings *set = ws->reactor->settings;
    uint64_t passed_ms = (uint64_t)(ws->conn->loop->wheel.tick - ws->looked_tick) * WHEEL_TICK_MS;
    if (ws->looked_tick == 0 || set->min_rate == 0 || passed_ms < set->handshake_timeout_ms)
        return false;
    uint64_t got = ws_came(ws), before = (uint64_t)ws->looked_units * RATE_UNIT;
    if (ws->conn->paused == 0 && got < before + set->min_rate * passed_ms / 1000)
        return true;
    ws_look_at_message(ws);
    return false;
}

static void on_read(struct conn *c, uint8_t *data, size_t len)
{
    struct ws_conn *ws = c->owner;
    struct turn turn = turn_begin();
    size_t inflated = 0;
    while (!c->closed && (ws->state == WS_OPEN || ws->state == WS_CLOSING)) {
        size_t used;
        struct ws_event ev;
        int r = ws_reader_next(&ws->reader, data, len, &used, &ev);
        if (r < 0) {
            count_inflated(ws);
            ws_protocol_error(ws, (enum ws_close_code)-r);
            return;
        }
        data += used;
        len -= used;
        if (r == 0) {
            if (!ws_reader_is_midway(&ws->reader))
                ws->looked_tick = 0;
            else if (ws->looked_tick == 0)
                ws_look_at_message(ws);
            return;
        }
        if (ev.was_deflated) {
            count_inflated(ws);
            inflated += ev.len;
        }
        ws_on_event(ws, &ev, len > 0);
        if (HLY_UNLIKELY((c->paused & CONN_PAUSE_RATE) != 0)) {
            peer_hold(c, data, len);
            return;
        }
        bool is_over = turn_is_over(&turn) || inflated >= WS_INFLATE_TURN_BYTES;
        if (len > 0 && (is_over || c->paused != 0) && !c->closed && !c->finishing) {
            unread_keep(ws->reactor, c, &ws->unread, data, len);
            return;
        }
    }
}

static void on_timer(struct conn *c)
{
    struct ws_conn *ws = c->owner;
    if (ws->state != WS_OPEN) { /* the peer does not answer our close frame */
        conn_close(c);
        return;
    }
    uint64_t quiet = conn_quiet_ms(c);
    if (quiet >= ws_idle_ms(ws)) {
        stat_add(&ws->reactor->stats.closed_idle, 1);
        ws_conn_close(ws, WS_CLOSE_IDLE, "nothing was heard from you, not even a pong");
        return;
    }
    if (ws_is_too_slow(ws)) {
        peer_too_slow(ws->reactor);
        ws_conn_close(ws, WS_CLOSE_POLICY, "the message comes more slowly than limits.min_rate");
        return;
    }
    if (ws->deadline_ms != 0 && ws->deadline_ms <= c->loop->wall_ms) {
        ws->deadline_ms = 0;
        ws->handler->on_deadline(ws);
        if (ws->state == WS_OPEN)
            ws_set_timer(ws);
        return;
    }
    if (!ws->handler->is_silent && quiet >= ws->reactor->settings->ping_interval_ms / 2 && conn_waiting(c) == 0) {
        static const uint8_t ping[2] = { 0x80 | WS_OP_PING, 0 };
        conn_write(c, ping, sizeof ping);
        stat_add(&ws->reactor->stats.pings, 1);
    }
    if (ws->handler->on_tick != NULL && conn_waiting(c) == 0)
        ws->handler->on_tick(ws);
    ws_set_timer(ws);
}

static void on_drained(struct conn *c)
{
    struct ws_conn *ws = c->owner;
    conn_resume(c, CONN_PAUSE_REPLIES);
    if (ws->handler->on_drained != NULL)
        ws->handler->on_drained(ws);
}

static void on_cut(struct conn *c)
{
    struct ws_conn *ws = c->owner;
    if (ws->state != WS_OPEN || ws->handler->on_cut == NULL)
        return;
    ws->handler->on_cut(ws);
    if (has_deflater(ws))
        deflater_reset(ws->context->deflater); /* what follows may not refer to what is gone */
}

static void on_stop(struct conn *c)
{
    struct ws_conn *ws = c->owner;
    if (ws->state == WS_OPEN && ws->handler->on_stop != NULL)
        ws->handler->on_stop(ws);
    if (ws->state == WS_OPEN)
        ws_conn_close(ws, WS_CLOSE_RESTART, "the server restarts: reconnect");
    else if (ws->state == WS_OPENING)
        conn_close(c);
}

static void on_end(struct conn *c)
{
    struct ws_conn *ws = c->owner;
    if (ws->state != WS_CLOSED)
        ws_enter(ws, WS_CLOSED);
    unread_drop(&ws->unread);
    ws_reader_done(&ws->reader);
    ws_context_free(ws->context);
    ws->context = NULL;
    peer_done(ws->reactor, ws->conn);
    public_door_gone(ws->reactor);
    ws->handler->on_end(ws);
}

static bool describe(struct conn *c, struct client_info *ret)
{
    struct ws_conn *ws = c->owner;
    return ws->state == WS_OPEN && ws->handler->describe != NULL && ws->handler->describe(ws, ret);
}

static bool kick(struct conn *c, const struct kick *k)
{
    struct ws_conn *ws = c->owner;
    return ws->state == WS_OPEN && ws->handler->kick != NULL && ws->handler->kick(ws, k);
}

static void recheck(struct conn *c)
{
    struct ws_conn *ws = c->owner;
    if (ws->state == WS_OPEN && ws->handler->recheck != NULL)
        ws->handler->recheck(ws);
}

static const struct conn_ops ws_conn_ops = {
    .on_read = on_read, .on_drained = on_drained, .on_timer = on_timer, .on_cut = on_cut,
    .on_stop = on_stop, .describe = describe,     .kick = kick,         .recheck = recheck, .on_end = on_end,
};
