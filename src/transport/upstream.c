#include "transport/upstream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "net/conn.h"

#define REST_MS 4000 /* Node.js closes after 5 s, gunicorn after 2: what crosses our next request is sent again */

/* ---- results */

static void finish(struct upstream *u, enum upstream_result result, const char *why)
{
    if (!u->is_busy)
        return;
    u->is_busy = false;
    conn_set_timer(u->conn, 0);
    u->ops->on_result(u, result, result == UPSTREAM_ANSWERED ? http1_response_get(u->parser) : NULL, why);
    u->was_used = true;
    http1_response_next(u->parser);
}

static void fail(struct upstream *u, enum upstream_result result, const char *why)
{
    conn_close(u->conn); /* first: it is not open for another one */
    finish(u, result, why);
}

/* r: of the parser. */
static void take_result(struct upstream *u, int r)
{
    if (r == 1 && !http1_response_get(u->parser)->keep_alive)
        conn_close(u->conn);
    if (r == 1)
        finish(u, UPSTREAM_ANSWERED, "");
    else if (r < 0)
        fail(u, http1_response_has_begun(u->parser) ? UPSTREAM_BROKEN : UPSTREAM_LOST, http1_response_error(u->parser));
}

/* ---- the connection */

static void on_read(struct conn *c, uint8_t *data, size_t len)
{
    struct upstream *u = c->owner;
    if (u->is_busy)
        take_result(u, http1_response_parse(u->parser, data, len));
    else
        conn_close(c); /* nothing was asked */
}

static void on_eof(struct conn *c)
{
    struct upstream *u = c->owner;
    conn_close(c);
    if (u->is_busy)
        take_result(u, http1_response_end(u->parser));
}

static void on_timer(struct conn *c)
{
    fail(c->owner, UPSTREAM_TIMED_OUT, "there was no answer in time (auth.callback_timeout)");
}

static void on_stop(struct conn *c)
{
    fail(c->owner, UPSTREAM_LOST, "the server stops");
}

static void on_end(struct conn *c)
{
    struct upstream *u = c->owner;
    bool has_begun = http1_response_has_begun(u->parser);
    finish(u, has_begun ? UPSTREAM_BROKEN : UPSTREAM_LOST, c->error != 0 ? strerror(c->error) : "the connection has ended");
    u->ops->on_gone(u);
    http1_response_parser_free(u->parser);
    free(u);
}

static const struct conn_ops upstream_conn_ops = {
    .on_read = on_read, .on_eof = on_eof, .on_timer = on_timer, .on_stop = on_stop, .on_end = on_end
};

/* ---- life */

static int begin_connect(const struct sockaddr *address, socklen_t len, int *ret_fd)
{
    HLY_CLEANUP(fd_closep) int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd == -1)
        return -errno;
    if (address->sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, address, len) < 0 && errno != EINPROGRESS)
        return -errno;
    *ret_fd = fd_take(&fd);
    return 0;
}

int upstream_open(struct loop *l, const struct sockaddr *address, socklen_t len, const struct http1_response_limits *limits,
                  const struct upstream_ops *ops, void *owner, struct upstream **ret)
{
    HLY_CLEANUP(fd_closep) int fd = -1;
    int r = begin_connect(address, len, &fd);
    if (r < 0)
        return r;
    struct upstream *u = calloc(1, sizeof *u);
    if (u == NULL || (u->parser = http1_response_parser_new(limits)) == NULL ||
        (u->conn = conn_new(l, fd, &upstream_conn_ops, u)) == NULL) {
        if (u != NULL)
            http1_response_parser_free(u->parser);
        free(u);
        return -ENOMEM;
    }
    fd_take(&fd);
    list_init(&u->node);
    u->owner = owner;
    u->ops = ops;
    *ret = u;
    return 0;
}

void upstream_send(struct upstream *u, const void *bytes, size_t len, uint64_t timeout_ms)
{
    u->is_busy = true;
    conn_set_timer(u->conn, timeout_ms);
    conn_write_later(u->conn, bytes, len);
}

bool upstream_is_open(const struct upstream *u)
{
    return !u->conn->closed;
}

void upstream_rest(struct upstream *u)
{
    conn_set_timer(u->conn, REST_MS);
}

void upstream_close(struct upstream *u)
{
    u->is_busy = false;
    conn_close(u->conn);
}
