#include "transport/proxied_conn.h"

#include <errno.h>
#include <stdlib.h>

#include "auth/addresses.h"
#include "base/buf.h"
#include "base/log.h"
#include "proto/proxy_protocol.h"
#include "transport/peer.h"
#include "transport/public_door.h"

#define LINGER_MS 2000

struct proxied_conn {
    struct reactor *reactor;
    struct buf head; /* what has come of the header */
    int (*on_ready)(struct reactor *r, struct conn *c, struct tls_slot *tls);
    struct tls_slot *tls;
    void (*on_gone)(struct reactor *r, struct conn *c);
};

static void proxied_conn_free(struct proxied_conn *p)
{
    buf_done(&p->head);
    free(p);
}

static void bad_header(struct conn *c, const char *why)
{
    static struct log_gate gate;
    struct proxied_conn *p = c->owner;
    stat_add(&p->reactor->stats.proxy_bad_headers, 1);
    log_limited(&gate, LOG_LEVEL_WARN, "proxy_header", "a connection was closed: %s The proxy has to send one (haproxy: send-proxy-v2; nginx: "
                                                       "proxy_protocol on), or take proxy_protocol out of this listener", why);
    conn_close(c);
}

/* For whom it is, is known: on with it. data: what the client itself has sent. */
static void hand_over(struct conn *c, uint8_t *data, size_t len)
{
    struct proxied_conn *p = c->owner;
    struct buf head = p->head; /* data may lie in it */
    p->head = (struct buf){ 0 };
    int r = p->on_ready(p->reactor, c, p->tls);
    if (r < 0) {
        conn_fail(c, -r);
    } else {
        free(p);
        if (len > 0)
            c->ops->on_read(c, data, len);
    }
    buf_done(&head);
}

static void header_is_complete(struct conn *c, const struct proxy_header *header, uint8_t *data, size_t len)
{
    struct proxied_conn *p = c->owner;
    struct address client = address_of_bytes(header->is_v6, header->source);
    int r = header->has_addresses ? peer_set_proxied(p->reactor, c, &client) : 0; /* else the proxy itself asks, whether we live */
    if (r == 0) {
        hand_over(c, data, len);
    } else if (r == -EDQUOT) {
        HLY_CLEANUP(buf_done) struct buf answer = { 0 };
        public_door_write_address_full(&answer, c->loop->wall_ms, p->tls != NULL);
        conn_write_later(c, answer.data, answer.len);
        conn_finish(c, LINGER_MS);
    } else {
        conn_fail(c, -r);
    }
}

/* What came, with what had come before. */
static void on_read(struct conn *c, uint8_t *data, size_t len)
{
    struct proxied_conn *p = c->owner;
    struct proxy_header header;
    const char *why = "";
    size_t used;
    if (p->head.len > 0) {
        if (buf_append(&p->head, data, len) < 0) {
            conn_fail(c, ENOMEM);
            return;
        }
        data = p->head.data;
        len = p->head.len;
    }
    int r = proxy_header_parse(data, len, &used, &header, &why);
    if (r < 0)
        bad_header(c, why);
    else if (r > 0)
        header_is_complete(c, &header, data + used, len - used);
    else if (p->head.len == 0 && buf_append(&p->head, data, len) < 0)
        conn_fail(c, ENOMEM);
}

static void on_timer(struct conn *c)
{
    struct proxied_conn *p = c->owner;
    stat_add(&p->reactor->stats.handshake_timeouts, 1);
    bad_header(c, "Its PROXY header did not come in limits.handshake_timeout.");
}

static void on_eof(struct conn *c)
{
    conn_close(c); /* a health check that only connects: nothing to tell anyone */
}

static void on_end(struct conn *c)
{
    struct proxied_conn *p = c->owner;
    p->on_gone(p->reactor, c);
    proxied_conn_free(p);
}

/* It was accepted, so it is heard; who takes it over sees that the server stops. */
static void on_stop(struct conn *c)
{
    (void)c;
}

static const struct conn_ops proxied_conn_ops = { .on_read = on_read, .on_eof = on_eof, .on_timer = on_timer, .on_stop = on_stop, .on_end = on_end };

int proxied_conn_start(struct reactor *r, struct conn *c, int (*on_ready)(struct reactor *r, struct conn *c, struct tls_slot *tls), struct tls_slot *tls,
                       void (*on_gone)(struct reactor *r, struct conn *c))
{
    struct proxied_conn *p = malloc(sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    *p = (struct proxied_conn){ .reactor = r, .on_ready = on_ready, .tls = tls, .on_gone = on_gone };
    c->owner = p;
    c->ops = &proxied_conn_ops;
    conn_set_timer(c, r->settings->handshake_timeout_ms);
    return 0;
}
