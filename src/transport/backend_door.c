#include "transport/backend_door.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "transport/resp_client.h"

static void backend_gone(struct reactor *r)
{
    stat_sub(&r->stats.backends, 1);
    atomic_fetch_sub(&r->server->backends, 1);
}

static const struct http_door backend_http_door = { .on_request = backend_http_request, .on_end = backend_gone };

/* ---- the first byte tells what is spoken: '*' begins every RESP command that a client library sends */

static void on_first_bytes(struct conn *c, uint8_t *data, size_t len)
{
    struct reactor *r = c->owner;
    int error;
    if (data[0] == '*') {
        error = resp_client_start(r, c, backend_gone, data, len);
    } else {
        error = http_client_start(r, c, &backend_http_door, &r->settings->backend_http);
        if (error == 0)
            c->ops->on_read(c, data, len);
    }
    if (error < 0)
        conn_fail(c, -error);
}

static void on_unspoken_end(struct conn *c)
{
    backend_gone(c->owner);
}

static const struct conn_ops first_ops = { .on_read = on_first_bytes, .on_end = on_unspoken_end };

/* ---- who may come in */

static bool uid_is_welcome(int fd, const struct backend_peers *peers)
{
    static struct log_gate gate;
    struct ucred cred;
    socklen_t len = sizeof cred;
    if (peers->count == 0)
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return false;
    for (size_t i = 0; i < peers->count; i++)
        if (peers->uids[i] == cred.uid)
            return true;
    log_limited(&gate, LOG_LEVEL_WARN, "backend_refused", "uid=%u pid=%d is not in allow_uid of the backend: connection refused",
                (unsigned)cred.uid, (int)cred.pid);
    return false;
}

static bool has_room(struct reactor *r)
{
    static struct log_gate gate;
    if (atomic_fetch_add(&r->server->backends, 1) < r->settings->max_backends)
        return true;
    atomic_fetch_sub(&r->server->backends, 1);
    log_limited(&gate, LOG_LEVEL_WARN, "backends_full", "a backend was refused: limits.backends (%llu) is reached",
                (unsigned long long)r->settings->max_backends);
    return false;
}

static void refuse(struct reactor *r, int fd, const char *text, size_t len)
{
    stat_add(&r->stats.refused_backends, 1);
    send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

void backend_door_accept(struct reactor *r, int fd, const struct backend_peers *peers)
{
    static const char not_you[] = "-NOPERM your uid is not in allow_uid of this backend socket\r\n";
    static const char full[] = "-ERR max number of clients reached (limits.backends)\r\n";
    if (!uid_is_welcome(fd, peers)) {
        refuse(r, fd, not_you, sizeof not_you - 1);
        return;
    }
    if (!has_room(r)) {
        refuse(r, fd, full, sizeof full - 1);
        return;
    }
    struct conn *c = conn_new(&r->loop, fd, &first_ops, r);
    if (c == NULL) {
        atomic_fetch_sub(&r->server->backends, 1);
        close(fd);
        return;
    }
    stat_add(&r->stats.backends, 1);
}
