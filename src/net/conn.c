#include "net/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "net/outq.h"
#include "net/tls.h"

#define CONN_MAX_IOV 64
#define CONN_EOF_LINGER_MS 5000 /* for a peer that has finished sending and still reads */

static void on_io(struct ev_loop *ev, ev_io *w, int events);

struct conn *conn_new(struct loop *l, int fd, const struct conn_ops *ops, void *owner)
{
    struct conn *c = malloc(sizeof *c);
    if (c == NULL)
        return NULL;
    *c = (struct conn){ .loop = l, .ops = ops, .owner = owner, .heard_tick = l->wheel.tick, .born_tick = l->wheel.tick, .number = ++l->conn_number };
    wheel_timer_init(&c->timer);
    list_init(&c->node);
    list_push(&l->conns, &c->all);
    ev_io_init(&c->io, on_io, fd, EV_READ);
    ev_io_start(l->ev, &c->io);
    return c;
}

static void conn_watch(struct conn *c)
{
    int want = (c->paused != 0 ? 0 : EV_READ) | (c->outq != NULL && !c->is_dirty ? EV_WRITE : 0);
    if (c->closed || (ev_is_active(&c->io) && (c->io.events & (EV_READ | EV_WRITE)) == want) ||
        (!ev_is_active(&c->io) && want == 0))
        return;
    ev_io_stop(c->loop->ev, &c->io);
    if (want == 0)
        return;
    ev_io_set(&c->io, c->io.fd, want);
    ev_io_start(c->loop->ev, &c->io);
}

/* ---- writing */

static void conn_drop_outq(struct conn *c)
{
    outq_free(c->outq);
    c->outq = NULL;
}

static bool conn_has_outq(struct conn *c)
{
    if (c->outq == NULL && (c->outq = outq_new(c)) == NULL) {
        conn_fail(c, ENOMEM);
        return false;
    }
    if (list_is_empty(outq_node(c->outq))) /* it is new, or was cut */
        list_push(&c->loop->waiting, outq_node(c->outq));
    return true;
}

/* Does ciphertext wait? Then there is a queue, if need be an empty one: so long as something waits, c->outq is not NULL. */
static bool conn_keeps_ciphertext(struct conn *c)
{
    if (c->closed || tls_waiting(c->tls) == 0)
        return false;
    if (conn_has_outq(c))
        conn_watch(c);
    return !c->closed;
}

/* Everything has been written, and with TLS the goodbye as well. If that has to wait, conn_flush() comes back here. */
static bool conn_has_said_all(struct conn *c)
{
    if (c->tls == NULL)
        return true;
    tls_say_goodbye(c->tls);
    return !conn_keeps_ciphertext(c) && !c->closed;
}

static void conn_shut(struct conn *c)
{
    if (!conn_has_said_all(c))
        return;
    if (!c->shut && shutdown(c->io.fd, SHUT_WR) < 0 && errno != ENOTCONN)
        conn_fail(c, errno);
    c->shut = true;
}

static ssize_t conn_try_tls(struct conn *c, const struct iovec *iov, size_t count)
{
    ssize_t n = tls_send(c->tls, iov, count);
    if (n < 0)
        conn_fail(c, (int)-n);
    else
        conn_keeps_ciphertext(c);
    return c->closed ? -1 : n;
}

/* Returns the bytes that the kernel took, or TLS, which loses none; -1 after closing the connection. */
static ssize_t conn_try(struct conn *c, const struct iovec *iov, size_t count)
{
    if (HLY_UNLIKELY(c->tls != NULL))
        return conn_try_tls(c, iov, count);
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = count };
    ssize_t n = count == 1 ? send(c->io.fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                           : sendmsg(c->io.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ENOBUFS || errno == ENOMEM)
        return 0;
    conn_fail(c, errno);
    return -1;
}

static void conn_queue(struct conn *c, struct chunk_slice s)
{
    if (!c->closed && conn_has_outq(c) && outq_push(c->outq, s) < 0)
        conn_fail(c, ENOMEM);
}

/* Queue what is left of the slices after `skip` bytes. */
static void conn_queue_rest(struct conn *c, const struct chunk_slice *slices, uint32_t count, size_t skip)
{
    for (uint32_t i = 0; i < count; i++) {
        struct chunk_slice s = slices[i];
        if (skip >= s.len) {
            skip -= s.len;
            continue;
        }
        s.off += (uint32_t)skip;
        s.len -= (uint32_t)skip;
        conn_queue(c, s);
        if (skip > 0 && c->outq != NULL)
            outq_set_begun(c->outq);
        skip = 0;
    }
    conn_watch(c);
}

static void conn_send_many(struct conn *c, const struct chunk_slice *slices, uint32_t count, uint32_t bytes)
{
    struct iovec iov[CONN_MAX_IOV];
    size_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *at = slices[i].chunk->data + slices[i].off;
        if (n > 0 && (uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len == at)
            iov[n - 1].iov_len += slices[i].len; /* messages side by side */
        else if (n < CONN_MAX_IOV)
            iov[n++] = (struct iovec){ at, slices[i].len };
        else
            break;
    }
    ssize_t sent = conn_try(c, iov, n);
    if (sent >= 0 && (size_t)sent < bytes)
        conn_queue_rest(c, slices, count, (size_t)sent);
}

void conn_send(struct conn *c, const struct chunk_slice *slices, uint32_t count, uint32_t bytes)
{
    if (HLY_UNLIKELY(c->closed || c->finishing))
        return;
    if (HLY_UNLIKELY(c->outq != NULL)) {
        conn_queue_rest(c, slices, count, 0);
        return;
    }
    if (HLY_UNLIKELY(count != 1)) {
        conn_send_many(c, slices, count, bytes);
        return;
    }
    struct iovec iov = { slices->chunk->data + slices->off, slices->len };
    ssize_t sent = conn_try(c, &iov, 1);
    if (HLY_UNLIKELY(sent >= 0 && sent < (ssize_t)slices->len))
        conn_queue_rest(c, slices, 1, (size_t)sent);
}

static void conn_queue_copy(struct conn *c, const uint8_t *bytes, size_t len)
{
    if (conn_has_outq(c) && outq_append(c->outq, &c->loop->chunks, bytes, len) < 0)
        conn_fail(c, ENOMEM);
}

void conn_write(struct conn *c, const void *bytes, size_t len)
{
    if (c->closed || c->finishing || len == 0)
        return;
    ssize_t sent = 0;
    if (c->outq == NULL) {
        struct iovec iov = { (void *)bytes, len };
        if ((sent = conn_try(c, &iov, 1)) < 0 || (size_t)sent == len)
            return;
    }
    conn_queue_copy(c, (const uint8_t *)bytes + sent, len - (size_t)sent);
    conn_watch(c);
}

void conn_write_later(struct conn *c, const void *bytes, size_t len)
{
    if (c->closed || c->finishing || len == 0)
        return;
    if (c->outq == NULL && !c->is_dirty) {
        c->is_dirty = true;
        list_push(&c->loop->dirty, &c->node);
    }
    conn_queue_copy(c, bytes, len);
}

/* Returns whether there is room for more. */
static bool conn_flush_tls(struct conn *c)
{
    int r = tls_flush(c->tls);
    if (r < 0)
        conn_fail(c, -r);
    return r == 0 && tls_waiting(c->tls) == 0;
}

void conn_flush(struct conn *c)
{
    c->is_dirty = false;
    if (!c->closed)
        list_remove(&c->node);
    while (!c->closed && c->outq != NULL) {
        if (c->tls != NULL && !conn_flush_tls(c))
            break;
        struct iovec iov[CONN_MAX_IOV];
        size_t wanted, count = outq_iov(c->outq, iov, CONN_MAX_IOV, &wanted);
        ssize_t sent = count == 0 ? 0 : conn_try(c, iov, count); /* nothing is left of a queue that was cut */
        if (sent < 0)
            return;
        outq_consume(c->outq, (size_t)sent);
        if (sent > 0 && !list_is_empty(outq_node(c->outq))) { /* it gets on: those who do not are cut first */
            list_remove(outq_node(c->outq));
            list_push(&c->loop->waiting, outq_node(c->outq));
        }
        if ((size_t)sent < wanted || (c->tls != NULL && tls_waiting(c->tls) > 0))
            break;
        if (outq_bytes(c->outq) == 0)
            conn_drop_outq(c);
    }
    conn_watch(c);
    if (c->closed || c->outq != NULL)
        return;
    if (c->ending) {
        if (conn_has_said_all(c))
            conn_close(c);
    } else if (c->finishing) {
        conn_shut(c);
    } else if (c->ops->on_drained != NULL) {
        c->ops->on_drained(c);
    }
}

uint64_t conn_cut(struct conn *c)
{
    return c->closed || c->finishing || c->outq == NULL ? 0 : outq_cut(c->outq, &c->loop->chunks);
}

void conn_call_drained(struct conn *c)
{
    if (c->closed || c->finishing || c->outq != NULL || c->is_dirty)
        return; /* it will be called, or it is too late */
    c->is_dirty = true;
    list_push(&c->loop->dirty, &c->node);
}

bool conn_has_messages(const struct conn *c)
{
    return c->outq != NULL && outq_has_messages(c->outq);
}

uint64_t conn_waiting(const struct conn *c)
{
    return c->outq == NULL ? 0 : outq_bytes(c->outq) + (c->tls == NULL ? 0 : tls_waiting(c->tls));
}

/* ---- reading */

/* The peer has finished sending, perhaps with shutdown() alone: it may still read what waits for it. */
static void conn_read_eof(struct conn *c)
{
    if (!c->finishing && c->ops->on_eof != NULL) {
        c->ops->on_eof(c);
        return;
    }
    conn_end(c, CONN_EOF_LINGER_MS);
    if (c->outq == NULL) {
        conn_close(c);
        return;
    }
    c->ending = true;
    conn_pause(c, CONN_PAUSE_EOF); /* an end is always there to be read */
}

static void conn_read_tls(struct conn *c)
{
    struct loop *l = c->loop;
    int end;
    bool is_heard;
    if (!tls_is_open(c->tls)) {
        tls_step_later(c->tls);
        return;
    }
    size_t n = tls_read(c->tls, l->read_buf, LOOP_READ_BYTES, &end, &is_heard);
    conn_keeps_ciphertext(c); /* the answer to a key update, an alert */
    if (is_heard)
        c->heard_tick = l->wheel.tick;
    if (c->closed)
        return;
    if (n > 0)
        c->ops->on_read(c, l->read_buf, n);
    else if (end > 0)
        conn_read_eof(c);
    else if (end < 0)
        conn_fail(c, -end);
}

static void conn_read(struct conn *c)
{
    struct loop *l = c->loop;
    if (HLY_UNLIKELY(c->tls != NULL) && !c->finishing) { /* what is discarded need not be decrypted */
        conn_read_tls(c);
        return;
    }
    ssize_t n = recv(c->io.fd, l->read_buf, LOOP_READ_BYTES, MSG_DONTWAIT);
    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            conn_fail(c, errno);
        return;
    }
    if (n == 0) {
        conn_read_eof(c);
        return;
    }
    c->heard_tick = l->wheel.tick;
    if (!c->finishing)
        c->ops->on_read(c, l->read_buf, (size_t)n);
}

static void on_io(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct conn *c = HLY_CONTAINER_OF(w, struct conn, io);
    if (events & EV_WRITE)
        conn_flush(c);
    if ((events & EV_READ) && !c->closed && c->paused == 0)
        conn_read(c);
}

void conn_pause(struct conn *c, enum conn_pause why)
{
    c->paused |= (uint8_t)why;
    conn_watch(c);
}

void conn_resume(struct conn *c, enum conn_pause why)
{
    c->paused &= (uint8_t)~why;
    if (c->paused == CONN_PAUSE_TURN)
        loop_again(c->loop);
    conn_watch(c);
    if (HLY_UNLIKELY(c->tls != NULL) && c->paused == 0 && !c->closed)
        tls_resume(c->tls);
}

void conn_read_on(struct conn *c)
{
    if (!c->closed && c->paused == 0 && !c->finishing)
        conn_read(c);
}

/* ---- TLS */

int conn_secure(struct conn *c, struct tls_context *context, const uint8_t *data, size_t len)
{
    assert(c->tls == NULL && c->outq == NULL);
    c->tls = tls_new(c, context, data, len);
    if (c->tls == NULL)
        return -ENOMEM;
    tls_step_later(c->tls);
    return 0;
}

void conn_watch_secured(struct conn *c)
{
    conn_keeps_ciphertext(c);
}

void conn_secured(struct conn *c, const char *error)
{
    conn_keeps_ciphertext(c);
    if (!c->closed && !c->finishing)
        c->ops->on_secure(c, error);
}

const char *conn_tls_version(const struct conn *c, bool *ret_resumed)
{
    return c->tls == NULL ? NULL : tls_version(c->tls, ret_resumed);
}

uint32_t conn_unread(const struct conn *c)
{
    return c->tls == NULL ? 0 : tls_unread(c->tls);
}

/* ---- time */

void conn_set_timer(struct conn *c, uint64_t after_ms)
{
    if (c->closed || c->finishing)
        return;
    if (after_ms == 0)
        wheel_stop(&c->timer);
    else
        wheel_start(&c->loop->wheel, &c->timer, after_ms);
}

uint64_t conn_quiet_ms(const struct conn *c)
{
    return (uint64_t)(c->loop->wheel.tick - c->heard_tick) * WHEEL_TICK_MS;
}

uint64_t conn_age_ms(const struct conn *c)
{
    return (uint64_t)(c->loop->wheel.tick - c->born_tick) * WHEEL_TICK_MS;
}

void conn_on_timer(struct conn *c)
{
    if (c->closed)
        return;
    if (c->finishing)
        conn_close(c);
    else if (c->ops->on_timer != NULL)
        c->ops->on_timer(c);
}

/* ---- the end */

void conn_finish(struct conn *c, uint64_t linger_ms)
{
    if (c->closed || c->finishing)
        return;
    conn_set_timer(c, linger_ms);
    c->finishing = true;
    conn_resume(c, (enum conn_pause)c->paused);
    if (c->outq == NULL)
        conn_shut(c);
}

void conn_end(struct conn *c, uint64_t linger_ms)
{
    if (c->closed || c->finishing)
        return;
    if (c->outq == NULL && conn_has_said_all(c))
        conn_close(c);
    if (c->closed)
        return;
    conn_set_timer(c, linger_ms);
    c->finishing = c->ending = true;
    conn_resume(c, (enum conn_pause)c->paused);
}

void conn_close(struct conn *c)
{
    if (c->closed)
        return;
    c->closed = true;
    wheel_stop(&c->timer);
    ev_io_stop(c->loop->ev, &c->io); /* before close(): accept() may reuse the number at once */
    tls_free(c->tls, c->error == 0 && conn_waiting(c) == 0); /* a goodbye behind a message that was cut off would be a lie */
    c->tls = NULL;
    close(c->io.fd);
    conn_drop_outq(c);
    c->is_dirty = false;
    list_remove(&c->node);
    list_push(&c->loop->closing, &c->node);
}

void conn_fail(struct conn *c, int error)
{
    if (!c->closed)
        c->error = error;
    conn_close(c);
}

void conn_stop(struct conn *c)
{
    if (c->closed || c->finishing)
        return;
    if (c->ops->on_stop != NULL)
        c->ops->on_stop(c);
    else
        conn_close(c);
}

/* ---- walking over all of them */

void conn_walk_begin(struct conn_walk *w, struct loop *l)
{
    w->next = l->conns.next;
    list_push(&l->walks, &w->node);
}

struct conn *conn_walk_next(struct conn_walk *w, struct loop *l)
{
    if (w->next == &l->conns)
        return NULL;
    struct conn *c = LIST_ENTRY(w->next, struct conn, all);
    w->next = w->next->next;
    return c;
}

void conn_walk_end(struct conn_walk *w)
{
    list_remove(&w->node);
}

static void conn_unlist(struct conn *c)
{
    LIST_EACH (it, &c->loop->walks) {
        struct conn_walk *w = LIST_ENTRY(it, struct conn_walk, node);
        if (w->next == &c->all)
            w->next = c->all.next;
    }
    list_remove(&c->all);
}

void conn_abandon(struct conn *c)
{
    conn_close(c);
    list_remove(&c->node);
    conn_unlist(c);
    free(c);
}

void conn_reap(struct conn *c)
{
    assert(c->closed);
    conn_unlist(c);
    c->ops->on_end(c);
    free(c);
}
