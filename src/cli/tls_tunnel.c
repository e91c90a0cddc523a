#include "cli/tls_tunnel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/base.h"
#include "base/fd.h"

#define PART_BYTES 16384

struct tunnel {
    SSL *ssl;
    int server; /* connected */
    int local;  /* the other end is the user's */
    uint8_t out[PART_BYTES], in[PART_BYTES]; /* on its way to the server, and from it */
    size_t out_len, in_len, in_off;
};

static void tunnel_free(struct tunnel *t)
{
    SSL_free(t->ssl);
    fd_closep(&t->server);
    fd_closep(&t->local);
    free(t);
}

/* ---- the thread: each way has one part in flight, so neither waits for the other */

enum way { WAY_WAITS, WAY_MOVED, WAY_ENDED };

static enum way after_ssl(struct tunnel *t, int result, short *ret_events)
{
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        *ret_events |= POLLIN;
        return WAY_WAITS;
    case SSL_ERROR_WANT_WRITE:
        *ret_events |= POLLOUT;
        return WAY_WAITS;
    default:
        return WAY_ENDED;
    }
}

static enum way to_server(struct tunnel *t, struct pollfd wait[2])
{
    if (t->out_len == 0) {
        ssize_t n = recv(t->local, t->out, sizeof t->out, MSG_DONTWAIT);
        if (n <= 0) {
            wait[0].events |= POLLIN;
            return n < 0 && (errno == EAGAIN || errno == EINTR) ? WAY_WAITS : WAY_ENDED;
        }
        t->out_len = (size_t)n;
    }
    ERR_clear_error();
    int n = SSL_write(t->ssl, t->out, (int)t->out_len);
    if (n <= 0)
        return after_ssl(t, n, &wait[1].events);
    t->out_len = 0;
    return WAY_MOVED;
}

static enum way from_server(struct tunnel *t, struct pollfd wait[2])
{
    if (t->in_len == 0) {
        ERR_clear_error();
        int n = SSL_read(t->ssl, t->in, sizeof t->in);
        if (n <= 0)
            return after_ssl(t, n, &wait[1].events);
        t->in_len = (size_t)n;
        t->in_off = 0;
    }
    ssize_t n = send(t->local, t->in + t->in_off, t->in_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        wait[0].events |= POLLOUT;
        return errno == EAGAIN || errno == EINTR ? WAY_WAITS : WAY_ENDED;
    }
    t->in_off += (size_t)n;
    t->in_len -= (size_t)n;
    return WAY_MOVED;
}

static void *tunnel_run(void *arg)
{
    struct tunnel *t = arg;
    for (;;) {
        struct pollfd wait[] = { { .fd = t->local }, { .fd = t->server } };
        enum way there = to_server(t, wait), back = from_server(t, wait);
        if (there == WAY_ENDED || back == WAY_ENDED)
            break;
        if (there == WAY_WAITS && back == WAY_WAITS)
            poll(wait, 2, -1);
    }
    SSL_shutdown(t->ssl);
    tunnel_free(t);
    return NULL;
}

/* ---- beginning */

static int fail(const struct endpoint *e, int error, const char *why, const char *advice, struct endpoint_error *ret_error)
{
    char name[300];
    snprintf(ret_error->text, sizeof ret_error->text, "cannot connect to %s: %s. %s", endpoint_name(e, name, sizeof name), why, advice);
    ERR_clear_error();
    return error;
}

static int fail_handshake(const struct endpoint *e, SSL *ssl, struct endpoint_error *ret_error)
{
    long verdict = SSL_get_verify_result(ssl);
    unsigned long error = ERR_peek_error();
    const char *reason = ERR_reason_error_string(error);
    char why[256];
    if (verdict != X509_V_OK) {
        snprintf(why, sizeof why, "its certificate is not trusted: %s", X509_verify_cert_error_string(verdict));
        return fail(e, -EKEYREJECTED, why, "Name the file with its issuer's certificate, or its own, with --cacert FILE.", ret_error);
    }
    snprintf(why, sizeof why, "no TLS handshake: %s", reason != NULL ? reason : "the server closed the connection");
    return fail(e, -EPROTO, why, "Check that this backend section has a tls_certificate; one without is reached without --tls.", ret_error);
}

static SSL_CTX *make_context(const struct endpoint *e, struct endpoint_error *ret_error)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL) {
        fail(e, 0, "memory has run out", "", ret_error);
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_verify(ctx, e->is_trusted_blindly ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if ((e->ca_file == NULL ? SSL_CTX_set_default_verify_paths(ctx) : SSL_CTX_load_verify_file(ctx, e->ca_file)) == 1)
        return ctx;
    char why[300];
    snprintf(why, sizeof why, "%s holds no certificates that can be read", e->ca_file == NULL ? "this system" : e->ca_file);
    fail(e, 0, why, "--cacert takes a file in PEM.", ret_error);
    SSL_CTX_free(ctx);
    return NULL;
}

static bool name_server(SSL *ssl, const char *host)
{
    struct in6_addr any;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
    return SSL_set_tlsext_host_name(ssl, host) == 1 && SSL_set1_host(ssl, host) == 1;
}

static int shake(const struct endpoint *e, struct tunnel *t, struct endpoint_error *ret_error)
{
    SSL_CTX *ctx = make_context(e, ret_error);
    if (ctx == NULL)
        return -EINVAL;
    t->ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    if (t->ssl == NULL || SSL_set_fd(t->ssl, t->server) != 1 || !name_server(t->ssl, e->host))
        return fail(e, -ENOMEM, "memory has run out", "", ret_error);
    ERR_clear_error();
    return SSL_connect(t->ssl) == 1 ? 0 : fail_handshake(e, t->ssl, ret_error);
}

static int start_thread(struct tunnel *t)
{
    pthread_t thread;
    sigset_t all, before; /* signals are the command's */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int r = pthread_create(&thread, NULL, tunnel_run, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        pthread_detach(thread);
    return -r;
}

int tls_tunnel_open(const struct endpoint *e, int fd, int *ret_fd, struct endpoint_error *ret_error)
{
    int ends[2];
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL); /* the thread may still be in OpenSSL when the command exits */
    struct tunnel *t = calloc(1, sizeof *t);
    if (t == NULL) {
        fd_closep(&fd);
        return fail(e, -ENOMEM, "memory has run out", "", ret_error);
    }
    t->server = fd;
    t->local = -1;
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write() */
    int r = shake(e, t, ret_error);
    if (r == 0 && (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0))
        r = fail(e, -errno, strerror(errno), "", ret_error);
    if (r < 0) {
        tunnel_free(t);
        return r;
    }
    t->local = ends[0];
    if ((r = start_thread(t)) < 0) {
        fd_closep(&ends[1]);
        tunnel_free(t);
        return fail(e, r, strerror(-r), "", ret_error);
    }
    *ret_fd = ends[1];
    return 0;
}
