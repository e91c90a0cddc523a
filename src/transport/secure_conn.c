#include "transport/secure_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "auth/addresses.h"
#include "base/buf.h"
#include "base/log.h"
#include "transport/peer.h"

#define LINGER_MS 1000        /* so that an alert, or an answer, is read before a reset */
#define PLACE_MS 2000         /* how long a handshake in flight may keep its place when others wait */
#define HEAD_BYTES_MAX 4096   /* of what comes while the bound is reached: more than a ClientHello takes */
#define TLS_HANDSHAKE 0x16    /* the first byte (RFC 8446 5.1) */

struct secure_conn {
    struct reactor *reactor;
    struct conn *conn;
    struct tls_slot *slot;
    struct secure_guest guest;
    struct address from; /* asked for at the beginning: later it may be gone */
    struct list node;    /* in reactor->tls_shaking or tls_waiting */
    struct buf head;     /* while it waits: what it has sent */
    uint32_t begun_tick;
    bool is_shaking;
    bool is_waiting;
};

/* ---- places */

static void leave(struct secure_conn *s)
{
    struct reactor *r = s->reactor;
    list_remove(&s->node);
    if (s->is_shaking) {
        r->tls_shaking_count--;
        stat_sub(&r->stats.tls_shaking, 1);
    }
    if (s->is_waiting)
        stat_sub(&r->stats.tls_waiting, 1);
    s->is_shaking = s->is_waiting = false;
}

static bool has_room(const struct reactor *r)
{
    return r->tls_shaking_count < r->settings->max_tls_handshakes;
}

/* The oldest handshake, if it is not us that it waits for, has had its time. */
static bool make_room(struct reactor *r)
{
    static struct log_gate gate;
    if (has_room(r))
        return true;
    if (list_is_empty(&r->tls_shaking))
        return false;
    struct secure_conn *oldest = LIST_ENTRY(r->tls_shaking.next, struct secure_conn, node);
    if ((oldest->conn->paused & CONN_PAUSE_TLS) != 0 || (uint64_t)(r->loop.wheel.tick - oldest->begun_tick) * WHEEL_TICK_MS < PLACE_MS)
        return false;
    stat_add(&r->stats.tls_displaced, 1);
    log_limited(&gate, LOG_LEVEL_WARN, "tls_displaced",
                "limits.tls_handshakes (%llu) are in flight: one that had waited for its client was closed for a new one",
                (unsigned long long)r->settings->max_tls_handshakes);
    leave(oldest);
    conn_close(oldest->conn);
    return true;
}

static void begin(struct secure_conn *s, const uint8_t *data, size_t len)
{
    struct reactor *r = s->reactor;
    struct tls_context *context = tls_slot_get(s->slot);
    int error = conn_secure(s->conn, context, data, len);
    tls_context_unref(context);
    if (error < 0) {
        conn_fail(s->conn, -error);
        return;
    }
    s->begun_tick = r->loop.wheel.tick;
    s->is_shaking = true;
    r->tls_shaking_count++;
    stat_add(&r->stats.tls_shaking, 1);
    list_push(&r->tls_shaking, &s->node);
}

static void wait_for_room(struct secure_conn *s, const uint8_t *data, size_t len)
{
    static struct log_gate gate;
    struct reactor *r = s->reactor;
    if (len > HEAD_BYTES_MAX) {
        stat_add(&r->stats.tls_failed, 1);
        conn_close(s->conn);
        return;
    }
    if (len > 0 && buf_append(&s->head, data, len) < 0) {
        conn_fail(s->conn, ENOMEM);
        return;
    }
    log_limited(&gate, LOG_LEVEL_WARN, "tls_busy",
                "limits.tls_handshakes (%llu) are in flight: new ones wait until one has ended", (unsigned long long)r->settings->max_tls_handshakes);
    conn_pause(s->conn, CONN_PAUSE_TLS);
    s->is_waiting = true;
    stat_add(&r->stats.tls_waiting, 1);
    stat_add(&r->stats.tls_delayed, 1);
    list_push(&r->tls_waiting, &s->node);
}

static void go_on(struct secure_conn *s)
{
    struct buf head = s->head;
    s->head = (struct buf){ 0 };
    leave(s);
    conn_resume(s->conn, CONN_PAUSE_TLS);
    begin(s, head.data, head.len);
    buf_done(&head);
}

void secure_conns_run(struct reactor *r)
{
    while (!list_is_empty(&r->tls_waiting) && make_room(r))
        go_on(LIST_ENTRY(r->tls_waiting.next, struct secure_conn, node));
}

/* ---- who does not speak TLS */

static bool is_request(const uint8_t *data, size_t len)
{
    return len >= 4 && data[0] >= 'A' && data[0] <= 'Z';
}

static void answer_plain(struct secure_conn *s, const uint8_t *data, size_t len)
{
    static const char http[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 63\r\n\r\n"
                               "This port speaks TLS, and this is not: use https:// or wss://.\n";
    static const char resp[] = "-ERR this port speaks TLS: connect with rediss:// (redis-cli --tls)\r\n";
    static struct log_gate gate;
    struct reactor *r = s->reactor;
    stat_add(&r->stats.tls_plain, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "tls_plain", "a client spoke without TLS to a listener that has tls_certificate: use https:// or wss://");
    if (data[0] == '*')
        conn_write_later(s->conn, resp, sizeof resp - 1);
    else if (is_request(data, len))
        conn_write_later(s->conn, http, sizeof http - 1);
    conn_finish(s->conn, LINGER_MS);
}

/* ---- the connection */

static void on_read(struct conn *c, uint8_t *data, size_t len)
{
    struct secure_conn *s = c->owner;
    if (data[0] != TLS_HANDSHAKE)
        answer_plain(s, data, len);
    else if (list_is_empty(&s->reactor->tls_waiting) && make_room(s->reactor))
        begin(s, data, len);
    else
        wait_for_room(s, data, len);
}

static void count_secured(struct reactor *r, const char *version, bool is_resumed)
{
    stat_add(&r->stats.tls_handshakes, 1);
    stat_add(strcmp(version, "TLSv1.3") == 0 ? &r->stats.tls_1_3 : &r->stats.tls_1_2, 1);
    if (is_resumed)
        stat_add(&r->stats.tls_resumed, 1);
}

static void hand_over(struct secure_conn *s)
{
    struct conn *c = s->conn;
    struct secure_guest guest = s->guest;
    bool is_resumed;
    const char *version = conn_tls_version(c, &is_resumed);
    count_secured(s->reactor, version, is_resumed);
    conn_set_timer(c, 0);
    int r = guest.on_ready(s->reactor, c, guest.owner);
    if (r < 0) {
        conn_fail(c, -r);
        return;
    }
    leave(s);
    free(s);
}

static void tell_failure(struct secure_conn *s, const char *why)
{
    static struct log_gate gate;
    char text[ADDRESS_TEXT];
    log_limited(&gate, LOG_LEVEL_INFO, "tls_failed", "address=%s a client's TLS handshake failed: %s", address_text(&s->from, text), why);
}

static void on_secure(struct conn *c, const char *error)
{
    struct secure_conn *s = c->owner;
    if (error == NULL) {
        hand_over(s);
        return;
    }
    stat_add(&s->reactor->stats.tls_failed, 1);
    tell_failure(s, error);
    leave(s);
    conn_finish(c, LINGER_MS); /* the alert is on its way */
}

static void on_timer(struct conn *c)
{
    struct secure_conn *s = c->owner;
    stat_add(&s->reactor->stats.handshake_timeouts, 1);
    if (s->is_shaking || s->is_waiting) {
        stat_add(&s->reactor->stats.tls_failed, 1);
        tell_failure(s, s->is_waiting ? "it had to wait for longer than limits.handshake_timeout" : "it took longer than limits.handshake_timeout");
    }
    conn_close(c);
}

static void on_eof(struct conn *c)
{
    conn_close(c); /* a health check that only connects: nothing to tell anyone */
}

static void on_end(struct conn *c)
{
    struct secure_conn *s = c->owner;
    leave(s);
    s->guest.on_gone(s->reactor, c, s->guest.owner);
    buf_done(&s->head);
    free(s);
}

/* It was accepted, so it is heard; who takes it over sees that the server stops. */
static void on_stop(struct conn *c)
{
    (void)c;
}

static const struct conn_ops secure_conn_ops = {
    .on_read = on_read, .on_eof = on_eof, .on_secure = on_secure, .on_timer = on_timer,
    .on_stop = on_stop, .on_end = on_end,
};

static struct address client_of(const struct conn *c)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t len = sizeof sa;
    const struct address *behind = peer_behind_proxy(c);
    if (behind != NULL)
        return *behind;
    return getpeername(c->io.fd, (struct sockaddr *)&sa, &len) == 0 ? address_of((const struct sockaddr *)&sa) : (struct address){ .kind = ADDRESS_NONE };
}

int secure_conn_start(struct reactor *r, struct conn *c, struct tls_slot *slot, const struct secure_guest *guest)
{
    struct secure_conn *s = malloc(sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    *s = (struct secure_conn){ .reactor = r, .conn = c, .slot = slot, .guest = *guest, .from = client_of(c) };
    list_init(&s->node);
    c->owner = s;
    c->ops = &secure_conn_ops;
    conn_set_timer(c, r->settings->handshake_timeout_ms);
    return 0;
}
