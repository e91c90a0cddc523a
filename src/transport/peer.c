#include "transport/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "auth/count_table.h"
#include "auth/token.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/slice.h"
#include "net/conn.h"

#define FORWARDED_HEADERS_MAX 100 /* as many as a request may have */
#define HELD_MS_MAX 1000          /* after which it is looked again: a user's other connections may have paid, or owe more */

enum peer_kind { /* what conn.peer is */
    PEER_NOBODY,  /* NULL */
    PEER_ADDRESS, /* the struct count of its address */
    PEER_OWN,     /* a struct peer */
};

struct held { /* while a plain WebSocket waits for its rate */
    ev_timer timer;
    struct reactor *reactor;
    struct conn *conn;
    struct buf rest; /* read already */
};

struct peer {
    struct count *address;     /* NULL: not counted */
    struct count *user;        /* NULL: nobody in particular */
    struct publish_rate *rate; /* of the connection; NULL: it has published nothing, or what it did was a user's */
    struct held *held;
    struct address proxied;    /* by the PROXY header; ADDRESS_NONE: there was none */
    struct address forwarded;  /* by X-Forwarded-For, of the request that said so last */
    bool is_forwarded;         /* of the current one: address is counted for it alone */
};

static struct peer *find_own(const struct conn *c)
{
    return c->peer_kind == PEER_OWN ? c->peer : NULL;
}

/* NULL when out of memory. */
static struct peer *make_own(struct conn *c)
{
    struct peer *p = find_own(c);
    if (p != NULL || (p = calloc(1, sizeof *p)) == NULL)
        return p;
    p->address = c->peer; /* or NULL */
    c->peer = p;
    c->peer_kind = PEER_OWN;
    return p;
}

/* ---- counting */

static int refuse_address(struct reactor *r, const struct address *group)
{
    static struct log_gate gate;
    char text[ADDRESS_TEXT];
    stat_add(&r->stats.refused_addresses, 1);
    log_limited(&gate, LOG_LEVEL_WARN, "address_full",
                "address=%s%s a client was refused with 429: limits.per_address (%llu) is reached; if this is a proxy of yours, name it in "
                "trusted_proxies",
                address_text(group, text), group->kind == ADDRESS_V6 ? "/64" : "", (unsigned long long)r->settings->max_per_address);
    return -EDQUOT;
}

int peer_take(struct reactor *r, const struct address *from, struct count **ret)
{
    bool is_first;
    *ret = NULL;
    if (r->settings->max_per_address == 0 || from->kind == ADDRESS_NONE || address_is_loopback(from) ||
        addresses_match(r->settings->trusted_proxies, from))
        return 0;
    struct address group = address_group(from);
    int error = count_take(r->server->addresses, &group, sizeof group, r->settings->max_per_address, r->loop.now_ms, ret, &is_first);
    if (error == -EDQUOT)
        return refuse_address(r, &group);
    if (error == 0 && is_first)
        stat_add(&r->stats.addresses, 1);
    return error;
}

void peer_give(struct reactor *r, struct count *count)
{
    if (count != NULL && count_give(r->server->addresses, count, r->loop.now_ms))
        stat_sub(&r->stats.addresses, 1);
}

void peer_attach(struct conn *c, struct count *count)
{
    c->peer = count;
    c->peer_kind = count == NULL ? PEER_NOBODY : PEER_ADDRESS;
}

static void give_user(struct reactor *r, struct peer *p)
{
    if (p->user != NULL && count_give(r->server->users, p->user, r->loop.now_ms))
        stat_sub(&r->stats.users, 1);
    p->user = NULL;
}

static void give_address(struct reactor *r, struct peer *p)
{
    peer_give(r, p->address);
    p->address = NULL;
}

/* ---- who it is */

int peer_set_proxied(struct reactor *r, struct conn *c, const struct address *client)
{
    struct peer *p = make_own(c);
    if (p == NULL)
        return -ENOMEM;
    p->proxied = *client;
    give_address(r, p);
    return peer_take(r, client, &p->address);
}

static struct address connected_from(const struct conn *c)
{
    const struct peer *p = find_own(c);
    struct sockaddr_storage sa = { 0 };
    socklen_t len = sizeof sa;
    if (p != NULL && p->proxied.kind != ADDRESS_NONE)
        return p->proxied;
    if (getpeername(c->io.fd, (struct sockaddr *)&sa, &len) < 0)
        return (struct address){ .kind = ADDRESS_NONE };
    return address_of((const struct sockaddr *)&sa);
}

/* Returns how many there are; the last ones, if there is no room for all: what stands further left is trusted less. */
static size_t forwarded_headers(const struct http1_request *rq, struct slice out[FORWARDED_HEADERS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < rq->header_count; i++) {
        if (rq->headers[i].name.len != 15 || strncasecmp(rq->headers[i].name.ptr, "X-Forwarded-For", 15) != 0)
            continue;
        if (n == FORWARDED_HEADERS_MAX)
            memmove(out, out + 1, --n * sizeof *out);
        out[n++] = rq->headers[i].value;
    }
    return n;
}

/* The allowance of the connection was another client's. */
static void set_forwarded(struct peer *p, const struct address *client)
{
    if (!address_equal(&p->forwarded, client)) {
        free(p->rate);
        p->rate = NULL;
    }
    p->forwarded = *client;
    p->is_forwarded = true;
}

int peer_set_forwarded(struct reactor *r, struct conn *c, const struct http1_request *rq)
{
    struct slice values[FORWARDED_HEADERS_MAX];
    const struct addresses *trusted = r->settings->trusted_proxies;
    size_t count = trusted == NULL ? 0 : forwarded_headers(rq, values);
    if (count == 0)
        return 0;
    struct address from = connected_from(c);
    struct address client = forwarded_for(trusted, &from, values, count); /* `from`, unless it is trusted: anyone can write such a header */
    if (address_equal(&client, &from))
        return 0;
    struct peer *p = make_own(c);
    if (p == NULL)
        return -ENOMEM;
    set_forwarded(p, &client);
    return peer_take(r, &client, &p->address); /* a trusted proxy itself was not counted */
}

static int refuse_user(struct reactor *r, const char *subject)
{
    static struct log_gate gate;
    char quoted[96];
    stat_add(&r->stats.refused_users, 1);
    log_limited(&gate, LOG_LEVEL_WARN, "user_full",
                "sub='%s' a client was refused with 429: limits.per_user (%llu) is reached; raise it if one user may have more connections",
                log_quote(quoted, sizeof quoted, subject, strlen(subject)), (unsigned long long)r->settings->max_per_user);
    return -EDQUOT;
}

int peer_set_user(struct reactor *r, struct conn *c, const struct token *token)
{
    bool is_first;
    struct count *user;
    size_t len = token == NULL ? 0 : strlen(token->subject);
    struct peer *p = find_own(c);
    if (len == 0 || (r->settings->max_per_user == 0 && !publish_limits_are_set(&r->settings->publish)))
        return 0;
    if (p != NULL && p->user != NULL && count_has_key(r->server->users, p->user, token->subject, len))
        return 0;
    if ((p = make_own(c)) == NULL)
        return -ENOMEM;
    int error = count_take(r->server->users, token->subject, len, r->settings->max_per_user, r->loop.now_ms, &user, &is_first);
    if (error == -EDQUOT)
        return refuse_user(r, token->subject);
    if (error < 0)
        return error;
    if (is_first)
        stat_add(&r->stats.users, 1);
    give_user(r, p);
    p->user = user;
    return 0;
}

void peer_answered(struct reactor *r, struct conn *c)
{
    struct peer *p = find_own(c);
    if (p == NULL)
        return;
    give_user(r, p);
    if (p->is_forwarded)
        give_address(r, p);
    p->is_forwarded = false;
}

const struct address *peer_behind_proxy(const struct conn *c)
{
    const struct peer *p = find_own(c);
    if (p == NULL)
        return NULL;
    return p->is_forwarded ? &p->forwarded : p->proxied.kind != ADDRESS_NONE ? &p->proxied : NULL;
}

struct address peer_address(const struct conn *c)
{
    const struct address *behind = peer_behind_proxy(c);
    return behind != NULL ? *behind : connected_from(c);
}

const char *peer_scheme(struct reactor *r, struct conn *c, const struct http1_request *rq)
{
    struct address from = connected_from(c);
    struct slice said = http1_header_get(rq, "X-Forwarded-Proto");
    if (said.ptr == NULL || !addresses_match(r->settings->trusted_proxies, &from))
        return c->tls != NULL ? "https" : "http";
    return slice_equals_nocase(said, "https") ? "https" : "http";
}

/* ---- what it may publish */

/* NULL: it has none, or memory has run out. */
static struct publish_rate *own_rate(struct reactor *r, struct conn *c)
{
    struct peer *p = make_own(c);
    if (p == NULL)
        return NULL;
    if (p->rate != NULL) {
        publish_rate_change(p->rate, &r->settings->publish, r->loop.now_ms);
        return p->rate;
    }
    if ((p->rate = malloc(sizeof *p->rate)) != NULL)
        publish_rate_init(p->rate, &r->settings->publish, r->loop.now_ms);
    return p->rate;
}

static uint32_t clamp(size_t bytes)
{
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

bool peer_may_publish(struct reactor *r, struct conn *c, size_t bytes, uint64_t *ret_retry_ms)
{
    const struct peer *p = find_own(c);
    if (!publish_limits_are_set(&r->settings->publish))
        return true;
    if (p != NULL && p->user != NULL)
        return count_rate_take(r->server->users, p->user, r->loop.now_ms, clamp(bytes), ret_retry_ms);
    struct publish_rate *rate = own_rate(r, c);
    return rate == NULL || publish_rate_take(rate, r->loop.now_ms, clamp(bytes), ret_retry_ms);
}

/* Returns the milliseconds to wait. */
static uint64_t spend(struct reactor *r, struct conn *c, uint32_t messages, size_t bytes)
{
    const struct peer *p = find_own(c);
    if (p != NULL && p->user != NULL)
        return count_rate_spend(r->server->users, p->user, r->loop.now_ms, messages, clamp(bytes));
    struct publish_rate *rate = own_rate(r, c);
    return rate == NULL ? 0 : publish_rate_spend(rate, r->loop.now_ms, messages, clamp(bytes));
}

static void held_start(struct held *h, uint64_t wait_ms)
{
    struct ev_loop *ev = h->conn->loop->ev;
    ev_timer_stop(ev, &h->timer);
    ev_timer_set(&h->timer, (double)(wait_ms < HELD_MS_MAX ? wait_ms : HELD_MS_MAX) / 1000, 0);
    ev_timer_start(ev, &h->timer);
}

static void held_free(struct held *h)
{
    if (h == NULL)
        return;
    ev_timer_stop(h->conn->loop->ev, &h->timer);
    buf_done(&h->rest);
    free(h);
}

/* Go on reading: first what has been read already. */
static void held_end(struct held *h)
{
    struct conn *c = h->conn;
    HLY_CLEANUP(buf_done) struct buf rest = h->rest;
    h->rest = (struct buf){ 0 };
    find_own(c)->held = NULL;
    held_free(h);
    conn_resume(c, CONN_PAUSE_RATE);
    if (rest.len > 0)
        c->ops->on_read(c, rest.data, rest.len); /* what it may not use yet comes to a new held */
}

static void on_held(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev;
    (void)events;
    struct held *h = w->data;
    struct conn *c = h->conn;
    if (c->closed || c->finishing)
        return; /* peer_done() comes */
    c->heard_tick = c->loop->wheel.tick; /* it is our doing that nothing is heard of it */
    uint64_t wait_ms = spend(h->reactor, c, 0, 0);
    if (wait_ms > 0)
        held_start(h, wait_ms);
    else
        held_end(h);
}

void peer_has_published(struct reactor *r, struct conn *c, size_t bytes)
{
    static struct log_gate gate;
    uint64_t wait_ms = publish_limits_are_set(&r->settings->publish) ? spend(r, c, 1, bytes) : 0;
    struct peer *p = find_own(c);
    if (wait_ms == 0 || p == NULL || p->held != NULL || c->closed)
        return;
    struct held *h = calloc(1, sizeof *h);
    if (h == NULL)
        return; /* it reads on; what it owes, it owes */
    h->reactor = r;
    h->conn = c;
    p->held = h;
    ev_timer_init(&h->timer, on_held, 0, 0);
    h->timer.data = h;
    held_start(h, wait_ms);
    conn_pause(c, CONN_PAUSE_RATE);
    stat_add(&r->stats.rate_pauses, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "publisher_slowed",
                "a WebSocket is read no faster than limits.publish_rate and limits.publish_bytes allow");
}

void peer_hold(struct conn *c, const uint8_t *data, size_t len)
{
    struct peer *p = find_own(c);
    if (p != NULL && p->held != NULL && len > 0 && buf_append(&p->held->rest, data, len) < 0)
        conn_fail(c, ENOMEM);
}

void peer_too_slow(struct reactor *r)
{
    static struct log_gate gate;
    stat_add(&r->stats.too_slow, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "too_slow", "a client that sent a body or a message more slowly than limits.min_rate (%llu bytes/s) was closed",
                (unsigned long long)r->settings->min_rate);
}

/* ---- the end */

void peer_done(struct reactor *r, struct conn *c)
{
    struct peer *p = find_own(c);
    if (p == NULL) {
        peer_give(r, c->peer);
    } else {
        give_address(r, p);
        give_user(r, p);
        held_free(p->held);
        free(p->rate);
        free(p);
    }
    peer_attach(c, NULL);
}
