#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/chunk.h"
#include "net/conn.h"
#include "net/tls_context.h"

#define OUT_BYTES_MAX (96 * 1024) /* ciphertext that waits: one record, or a handshake's flight with a long chain. More: somebody makes us talk */
#define EVENTS_PER_MINUTE 100     /* messages of TLS's own (key updates, alerts) on an open connection; honest peers need a few a day */
#define MINUTE_TICKS (60 * 1000 / WHEEL_TICK_MS)

enum tls_state { TLS_SHAKING, TLS_OPEN, TLS_BROKEN };

struct tls_conn {
    SSL *ssl;
    struct conn *conn;
    struct tls_context *context;
    struct list node;   /* in loop->tls.steps or loop->tls.ready */
    struct chunk *in;   /* read before TLS began; NULL: used up */
    struct chunk *out;  /* ciphertext that the kernel has not taken; NULL: none */
    uint32_t in_off;
    uint32_t out_off;
    uint32_t in_budget; /* bytes that may be read in this turn */
    uint32_t unread;    /* bytes of a record that is not whole yet, of those before it that had nothing to read, too */
    uint32_t events_tick;
    uint16_t events;    /* of the minute that began at events_tick */
    uint8_t state;      /* enum tls_state */
    bool has_eof;       /* the peer's TCP has ended */
    bool was_short;     /* the kernel had less than was asked for: it has no more for now */
    bool was_heard;
    bool has_more;      /* it may be read though the kernel has nothing */
    bool said_goodbye;
    int error;          /* errno of the socket, or of memory */
};

/* ---- our BIO */

static pthread_once_t method_once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method;

static bool is_transient(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == ENOBUFS || error == ENOMEM;
}

static int keep(struct tls_conn *t, const uint8_t *bytes, size_t len)
{
    size_t waiting = tls_waiting(t);
    if (waiting + len > OUT_BYTES_MAX)
        return -ENOBUFS;
    if (t->out == NULL || chunk_room(t->out) < len) {
        struct chunk *grown = chunk_new(&t->conn->loop->chunks, (uint32_t)(waiting + len)); /* counted in limits.outq_total */
        if (grown == NULL)
            return -ENOMEM;
        if (waiting > 0)
            memcpy(grown->data, t->out->data + t->out_off, waiting);
        grown->len = (uint32_t)waiting;
        if (t->out != NULL)
            chunk_unref(t->out);
        t->out = grown;
        t->out_off = 0;
    }
    memcpy(t->out->data + t->out->len, bytes, len);
    t->out->len += (uint32_t)len;
    return 0;
}

/* Takes all, or fails for good. */
static int on_write(BIO *bio, const char *bytes, int len)
{
    struct tls_conn *t = BIO_get_data(bio);
    ssize_t sent = 0;
    BIO_clear_retry_flags(bio);
    if (len <= 0 || t->error != 0)
        return len <= 0 ? 0 : -1;
    if (t->out == NULL && (sent = send(t->conn->io.fd, bytes, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0) {
        if (!is_transient(errno)) {
            t->error = errno;
            return -1;
        }
        sent = 0;
    }
    int r = sent == len ? 0 : keep(t, (const uint8_t *)bytes + sent, (size_t)(len - sent));
    if (r < 0)
        t->error = -r;
    return r < 0 ? -1 : len;
}

static size_t take_early(struct tls_conn *t, void *out, size_t len)
{
    size_t n = t->in->len - t->in_off;
    n = n < len ? n : len;
    memcpy(out, t->in->data + t->in_off, n);
    t->in_off += (uint32_t)n;
    if (t->in_off == t->in->len) {
        chunk_unref(t->in);
        t->in = NULL;
    }
    return n;
}

static int on_read(BIO *bio, char *out, int len)
{
    struct tls_conn *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (len <= 0 || t->error != 0)
        return -1;
    if (t->in != NULL)
        return (int)take_early(t, out, (size_t)len);
    size_t want = (size_t)len < t->in_budget ? (size_t)len : t->in_budget;
    ssize_t n = want == 0 ? -1 : recv(t->conn->io.fd, out, want, MSG_DONTWAIT);
    if (n > 0) {
        t->in_budget -= (uint32_t)n;
        t->unread += (uint32_t)n;
        t->was_short = (size_t)n < want;
        t->was_heard = true;
        return (int)n;
    }
    if (n == 0)
        t->has_eof = true;
    else if (want == 0 || errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        BIO_set_retry_read(bio);
    else
        t->error = errno;
    return n == 0 ? 0 : -1;
}

static long on_ctrl(BIO *bio, int what, long number, void *pointer)
{
    const struct tls_conn *t = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    switch (what) {
    case BIO_CTRL_FLUSH:
        return 1; /* what waits is ours */
    case BIO_CTRL_EOF:
        return t->has_eof;
    default:
        return 0;
    }
}

static int on_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "halley connection");
    if (method == NULL)
        return;
    BIO_meth_set_write(method, on_write);
    BIO_meth_set_read(method, on_read);
    BIO_meth_set_ctrl(method, on_ctrl);
    BIO_meth_set_create(method, on_create);
}

/* ---- life */

/* Somebody who makes us change keys, or refuse to renegotiate, again and again, costs time and gets nothing. */
static void on_event(const SSL *ssl, int where, int value)
{
    struct tls_conn *t = SSL_get_app_data(ssl);
    (void)where;
    (void)value;
    if (t == NULL || t->state != TLS_OPEN || t->said_goodbye)
        return;
    uint32_t now = t->conn->loop->wheel.tick;
    if (now - t->events_tick > MINUTE_TICKS) {
        t->events_tick = now;
        t->events = 0;
    }
    if (++t->events > EVENTS_PER_MINUTE)
        t->error = EPROTO; /* the BIO reads and writes no more */
}

/* A part of the first step: it is work, too. */
static int set_up(struct tls_conn *t)
{
    pthread_once(&method_once, make_method);
    BIO *bio = method == NULL || (t->ssl = tls_context_make_ssl(t->context)) == NULL ? NULL : BIO_new(method);
    if (bio == NULL)
        return -ENOMEM;
    BIO_set_data(bio, t);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_app_data(t->ssl, t);
    SSL_set_info_callback(t->ssl, on_event);
    return 0;
}

static int keep_beginning(struct tls_conn *t, const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    if ((t->in = chunk_new(&t->conn->loop->chunks, (uint32_t)len)) == NULL)
        return -ENOMEM;
    memcpy(t->in->data, data, len);
    t->in->len = (uint32_t)len;
    return 0;
}

struct tls_conn *tls_new(struct conn *c, struct tls_context *context, const uint8_t *data, size_t len)
{
    struct tls_conn *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->conn = c;
    t->context = tls_context_ref(context);
    list_init(&t->node);
    if (keep_beginning(t, data, len) < 0) {
        tls_free(t, false);
        return NULL;
    }
    return t;
}

void tls_free(struct tls_conn *t, bool say_goodbye)
{
    if (t == NULL)
        return;
    if (say_goodbye && t->out == NULL)
        tls_say_goodbye(t); /* as far as the kernel takes it */
    list_remove(&t->node);
    SSL_free(t->ssl);
    if (t->in != NULL)
        chunk_unref(t->in);
    if (t->out != NULL)
        chunk_unref(t->out);
    tls_context_unref(t->context);
    free(t);
}

bool tls_is_open(const struct tls_conn *t)
{
    return t->state == TLS_OPEN;
}

const char *tls_version(const struct tls_conn *t, bool *ret_resumed)
{
    if (t->state != TLS_OPEN)
        return NULL;
    *ret_resumed = SSL_session_reused(t->ssl) == 1;
    return SSL_get_version(t->ssl);
}

/* OpenSSL keeps its errors by thread: those of another connection must not look like this one's. */
static void forget_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

static int break_off(struct tls_conn *t)
{
    t->state = TLS_BROKEN;
    return t->error != 0 ? -t->error : -EPROTO;
}

/* ---- writing */

struct source { /* a walk over an iovec */
    const struct iovec *iov;
    size_t count;
    size_t off; /* in the first */
};

static void source_skip(struct source *s, size_t len)
{
    while (s->count > 0 && len >= s->iov->iov_len - s->off) {
        len -= s->iov->iov_len - s->off;
        s->off = 0;
        s->iov++;
        s->count--;
    }
    s->off += len;
}

/* The plain text of the next record: where it lies, or, when parts have to be put together, a copy. NULL: no memory for that. */
static const uint8_t *next_record(struct tls_loop *l, const struct source *s, size_t *ret_len)
{
    size_t first = s->iov->iov_len - s->off;
    const uint8_t *at = (const uint8_t *)s->iov->iov_base + s->off;
    *ret_len = first < TLS_RECORD_BYTES ? first : TLS_RECORD_BYTES;
    if (s->count == 1 || first >= TLS_RECORD_BYTES)
        return at;
    if (l->record == NULL && (l->record = malloc(TLS_RECORD_BYTES)) == NULL)
        return NULL;
    struct source rest = *s;
    size_t len = 0;
    while (len < TLS_RECORD_BYTES && rest.count > 0) {
        size_t n = rest.iov->iov_len - rest.off;
        n = n < TLS_RECORD_BYTES - len ? n : TLS_RECORD_BYTES - len;
        memcpy(l->record + len, (const uint8_t *)rest.iov->iov_base + rest.off, n);
        len += n;
        source_skip(&rest, n);
    }
    *ret_len = len;
    return l->record;
}

int tls_flush(struct tls_conn *t)
{
    if (t->out == NULL)
        return 0;
    ssize_t n = send(t->conn->io.fd, t->out->data + t->out_off, t->out->len - t->out_off, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return is_transient(errno) ? 0 : -errno;
    t->out_off += (uint32_t)n;
    if (t->out_off == t->out->len) {
        chunk_unref(t->out);
        t->out = NULL;
        t->out_off = 0;
    }
    return 0;
}

ssize_t tls_send(struct tls_conn *t, const struct iovec *iov, size_t count)
{
    struct source s = { iov, count, 0 };
    ssize_t taken = 0;
    int r = tls_flush(t);
    if (r < 0)
        return r;
    if (t->state != TLS_OPEN || t->said_goodbye)
        return t->state == TLS_SHAKING ? 0 : -EPIPE;
    forget_errors();
    while (s.count > 0 && t->out == NULL) {
        size_t len;
        const uint8_t *record = next_record(&t->conn->loop->tls, &s, &len);
        if (record == NULL)
            return taken > 0 ? taken : -ENOMEM;
        if (len > 0 && SSL_write(t->ssl, record, (int)len) != (int)len)
            return break_off(t);
        taken += (ssize_t)len;
        source_skip(&s, len);
    }
    return taken;
}

uint64_t tls_waiting(const struct tls_conn *t)
{
    return t->out == NULL ? 0 : t->out->len - t->out_off;
}

void tls_say_goodbye(struct tls_conn *t)
{
    if (t->said_goodbye || t->state != TLS_OPEN)
        return;
    t->said_goodbye = true;
    forget_errors();
    if (SSL_shutdown(t->ssl) < 0)
        ERR_clear_error();
}

/* ---- reading */

/* Why SSL_read() gave nothing: 0, 1 or -errno, as tls_read() says it. */
static int end_of_read(struct tls_conn *t, int result)
{
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return t->error == 0 ? 0 : break_off(t);
    case SSL_ERROR_ZERO_RETURN:
        return 1;
    default:
        ERR_clear_error();
        return break_off(t);
    }
}

size_t tls_read(struct tls_conn *t, uint8_t *out, size_t max, int *ret_end, bool *ret_heard)
{
    size_t total = 0;
    bool is_done = false;
    *ret_heard = t->has_more = false;
    list_remove(&t->node);
    *ret_end = t->state == TLS_BROKEN ? break_off(t) : 0;
    if (*ret_end != 0)
        return 0;
    t->in_budget = (uint32_t)max;
    t->was_heard = t->was_short = false;
    forget_errors();
    while (total < max && !is_done) {
        int n = SSL_read(t->ssl, out + total, (int)(max - total));
        if (n > 0) {
            total += (size_t)n;
            t->unread = 0;
        } else {
            *ret_end = end_of_read(t, n);
        }
        is_done = n <= 0 || (t->was_short && !SSL_has_pending(t->ssl));
    }
    *ret_heard = t->was_heard;
    if (!is_done || (total > 0 && *ret_end != 0))
        tls_read_on(t);
    if (total > 0)
        *ret_end = 0;
    return total;
}

void tls_read_on(struct tls_conn *t)
{
    t->has_more = true;
    if (list_is_empty(&t->node))
        list_push(&t->conn->loop->tls.ready, &t->node);
}

void tls_resume(struct tls_conn *t)
{
    if (t->has_more)
        tls_read_on(t);
}

uint32_t tls_unread(const struct tls_conn *t)
{
    return t->unread;
}

/* ---- handshakes */

static uint64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void tls_step_later(struct tls_conn *t)
{
    if (list_is_empty(&t->node))
        list_push(&t->conn->loop->tls.steps, &t->node);
}

static const char *why_not(const struct tls_conn *t)
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(error);
    if (t->error != 0)
        return strerror(t->error);
    if (t->has_eof)
        return "the client went away";
    return reason == NULL ? "the client went away" : reason;
}

static void step(struct tls_conn *t)
{
    struct conn *c = t->conn;
    char why[128];
    conn_resume(c, CONN_PAUSE_TLS);
    t->in_budget = LOOP_READ_BYTES;
    t->was_heard = false;
    forget_errors();
    if (t->ssl == NULL && set_up(t) < 0) {
        t->state = TLS_BROKEN;
        conn_secured(c, "memory has run out");
        return;
    }
    int r = SSL_do_handshake(t->ssl);
    if (r == 1 && t->error == 0) {
        t->state = TLS_OPEN;
        t->unread = 0;
        t->events_tick = c->loop->wheel.tick;
        tls_read_on(t); /* its first request may have come with it */
        conn_secured(c, NULL);
        return;
    }
    if (SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_READ && t->error == 0) {
        conn_watch_secured(c);
        return;
    }
    snprintf(why, sizeof why, "%s", why_not(t));
    ERR_clear_error();
    t->state = TLS_BROKEN;
    conn_secured(c, why);
}

/* What is left waits for the next turn, and is not read until then. */
static void run_steps(struct loop *l)
{
    uint64_t until = now_us() + TLS_STEPS_TURN_US;
    for (struct list *node; (node = list_pop(&l->tls.steps)) != NULL;) {
        step(LIST_ENTRY(node, struct tls_conn, node));
        if (now_us() >= until)
            break;
    }
    LIST_EACH (it, &l->tls.steps)
        conn_pause(LIST_ENTRY(it, struct tls_conn, node)->conn, CONN_PAUSE_TLS);
}

static void run_ready(struct loop *l)
{
    struct list mine;
    list_init(&mine);
    list_splice(&mine, &l->tls.ready);
    for (struct list *node; (node = list_pop(&mine)) != NULL;)
        conn_read_on(LIST_ENTRY(node, struct tls_conn, node)->conn);
}

bool tls_loop_turn(struct loop *l)
{
    if (!list_is_empty(&l->tls.ready))
        run_ready(l);
    if (!list_is_empty(&l->tls.steps))
        run_steps(l);
    return !list_is_empty(&l->tls.ready) || !list_is_empty(&l->tls.steps);
}

void tls_loop_init(struct tls_loop *l)
{
    list_init(&l->steps);
    list_init(&l->ready);
    l->record = NULL;
}

void tls_loop_done(struct tls_loop *l)
{
    free(l->record);
}
