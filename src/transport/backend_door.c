#include "transport/backend_door.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "transport/resp_client.h"
#include "transport/secure_conn.h"

#define KEEPALIVE_S 60 /* a backend on another host may vanish without a word, and RESP has no ping of the server's */
#define KEEPALIVE_PROBE_S 20

static void on_http_end(struct reactor *r)
{
    (void)r; /* the context's end says it */
}

/* What it asks next it asks by today's keys; one whose key has gone ends with the answer that is on its way. */
static void http_recheck(struct http_client *h)
{
    if (!backend_access_renew(http_context(h)))
        http_end(h);
}

static const struct http_door backend_http_door = {
    .on_request = backend_http_request, .wants_body = backend_http_wants_body, .recheck = http_recheck, .on_end = on_http_end
};

static void free_access(void *access)
{
    backend_access_free(access);
}

/* ---- the first byte tells what is spoken: '*' begins every RESP command that a client library sends */

static void on_first_bytes(struct conn *c, uint8_t *data, size_t len)
{
    struct backend_access *a = c->owner;
    struct reactor *r = a->reactor;
    int error;
    if (data[0] == '*') {
        error = resp_client_start(a, data, len);
    } else {
        error = http_client_start(r, c, &backend_http_door, &r->settings->backend_http);
        if (error == 0) {
            http_set_context(c->owner, a, free_access);
            c->ops->on_read(c, data, len);
        }
    }
    if (error < 0)
        conn_fail(c, -error);
}

static void on_silence(struct conn *c)
{
    struct backend_access *a = c->owner;
    stat_add(&a->reactor->stats.backend_auth_timeouts, 1);
    conn_close(c);
}

static void unspoken_recheck(struct conn *c)
{
    if (!backend_access_renew(c->owner))
        conn_close(c);
}

static void on_unspoken_end(struct conn *c)
{
    backend_access_free(c->owner);
}

static const struct conn_ops first_ops = { .on_read = on_first_bytes, .on_timer = on_silence, .recheck = unspoken_recheck, .on_end = on_unspoken_end };

/* ---- who may come in */

static bool uid_is_welcome(const struct ucred *cred, const struct backend_peers *peers)
{
    static struct log_gate gate;
    if (backend_peers_let_in(peers, cred->uid))
        return true;
    log_limited(&gate, LOG_LEVEL_WARN, "backend_refused", "uid=%u pid=%d is not in allow_uid of the backend: connection refused",
                (unsigned)cred->uid, (int)cred->pid);
    return false;
}

/* Of a TCP connection: nobody's. */
static bool read_peer(int fd, const struct backend_peers *peers, struct ucred *ret)
{
    socklen_t len = sizeof *ret;
    *ret = (struct ucred){ .uid = (uid_t)-1, .gid = (gid_t)-1 };
    return peers->is_tcp || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret, &len) == 0 || (peers->count == 0 && peers->keys == NULL);
}

static void keep_alive(int fd)
{
    static const int on = 1, idle_s = KEEPALIVE_S, probe_s = KEEPALIVE_PROBE_S;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe_s, sizeof probe_s);
}

static int start(struct reactor *r, struct conn *c, void *access)
{
    struct backend_access *a = access;
    c->ops = &first_ops;
    c->owner = a;
    if (a->rights == NULL)
        conn_set_timer(c, r->settings->handshake_timeout_ms);
    return 0;
}

static void secure_gone(struct reactor *r, struct conn *c, void *access)
{
    (void)r;
    (void)c;
    backend_access_free(access);
}

static int start_tls(struct reactor *r, struct backend_access *a, struct tls_slot *tls)
{
    struct secure_guest guest = { .on_ready = start, .on_gone = secure_gone, .owner = a };
    return secure_conn_start(r, a->conn, tls, &guest);
}

static void refuse(struct reactor *r, int fd, const char *text, size_t len)
{
    stat_add(&r->stats.refused_backends, 1);
    send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

void backend_door_turn_away(struct reactor *r, int fd, bool is_tls)
{
    static const char full[] = "-ERR max number of clients reached (limits.backends)\r\n";
    refuse(r, fd, is_tls ? SECURE_CONN_REFUSAL : full, is_tls ? sizeof SECURE_CONN_REFUSAL - 1 : sizeof full - 1);
}

void backend_door_accept(struct reactor *r, int fd, struct backend_peers *peers, struct tls_slot *tls)
{
    static const char not_you[] = "-NOPERM your uid is not in allow_uid of this backend socket\r\n";
    struct ucred peer;
    bool is_full;
    if (!read_peer(fd, peers, &peer) || !uid_is_welcome(&peer, peers)) {
        refuse(r, fd, not_you, sizeof not_you - 1);
        return;
    }
    struct backend_access *a = backend_access_new(r, peers, peer.uid, &is_full);
    if (is_full) {
        backend_door_turn_away(r, fd, tls != NULL);
        return;
    }
    if (a == NULL || (a->conn = conn_new(&r->loop, fd, &first_ops, a)) == NULL) {
        if (a != NULL)
            backend_access_free(a);
        close(fd);
        return;
    }
    a->conn->is_backend = true;
    if (peers->is_tcp)
        keep_alive(fd);
    if (tls == NULL) {
        start(r, a->conn, a);
    } else if (start_tls(r, a, tls) < 0) {
        conn_abandon(a->conn);
        backend_access_free(a);
    }
}
