#include "server/doors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/listener.h"
#include "server/server_internal.h"
#include "transport/public_door.h"

struct handover { /* a connection accepted by one reactor for another; the door may be gone when it arrives */
    struct loop_task task;
    struct reactor *to;
    struct backend_peers *peers; /* a reference; NULL: a public door */
    struct address from;
    bool is_proxied;
    struct tls_slot *tls;
    int fd;
};

/* peers NULL: at a public door. */
static void give(struct reactor *r, struct backend_peers *peers, bool is_proxied, struct tls_slot *tls, int fd, const struct address *from)
{
    if (peers != NULL)
        backend_door_accept(r, fd, peers, tls);
    else
        public_door_accept(r, fd, from, is_proxied, tls);
}

static void on_handover(struct loop_task *t)
{
    struct handover *h = HLY_CONTAINER_OF(t, struct handover, task);
    if (h->to->loop.stopping) /* it was accepted, so it is heard, unless nobody is left to hear it */
        close(h->fd);
    else
        give(h->to, h->peers, h->is_proxied, h->tls, h->fd, &h->from);
    backend_peers_unref(h->peers);
    free(h);
}

static void on_accept(void *ctx, int fd, const struct sockaddr_storage *peer)
{
    struct door *d = ctx;
    struct reactor *to = d->reactor;
    struct address from = address_of((const struct sockaddr *)peer);
    if (d->is_shared)
        to = &d->server->reactors[d->server->next_reactor++ % d->server->reactor_count];
    struct handover *h;
    if (to == d->reactor || (h = malloc(sizeof *h)) == NULL) {
        give(d->reactor, d->peers, d->is_proxied, d->tls, fd, &from);
        return;
    }
    *h = (struct handover){ .task = { .run = on_handover }, .to = to, .from = from, .is_proxied = d->is_proxied, .tls = d->tls, .fd = fd };
    h->peers = d->peers == NULL ? NULL : backend_peers_ref(d->peers);
    if (loop_post(&to->loop, &h->task))
        return;
    close(fd); /* the reactor has ended */
    backend_peers_unref(h->peers);
    free(h);
}

static void on_no_files(void *ctx, int fd)
{
    static struct log_gate gate;
    struct door *d = ctx;
    stat_add(&d->reactor->stats.accept_errors, 1);
    log_limited(&gate, LOG_LEVEL_ERROR, "no_files", "a client was turned away: the process may open no more files; raise LimitNOFILE= in the "
                                                    "systemd unit (or ulimit -n), or lower limits.connections");
    if (d->is_backend)
        backend_door_turn_away(d->reactor, fd, d->tls != NULL);
    else
        public_door_turn_away(d->reactor, fd, d->tls != NULL);
}

static void on_accept_error(void *ctx, int error)
{
    static struct log_gate gate;
    struct door *d = ctx;
    stat_add(&d->reactor->stats.accept_errors, 1);
    log_limited(&gate, LOG_LEVEL_ERROR, "accept_failed", "clients wait: %s; raise LimitNOFILE= in the systemd unit (or ulimit -n), or lower "
                                                         "limits.connections",
                strerror(error));
}

static const struct listener_ops listener_ops = { .on_accept = on_accept, .on_no_files = on_no_files, .on_error = on_accept_error };

/* ---- who may connect to a backend's */

static void peers_free(struct backend_peers *p)
{
    live_settings_unref(p->owner); /* with the config, which has the keys */
    free(p);
}

struct backend_peers *doors_peers_new(struct live_settings *live, const struct config_backend *b)
{
    struct backend_peers *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    *p = (struct backend_peers){ .free = peers_free, .uids = b->uids, .count = b->uid_count, .keys = b->keys, .is_tcp = b->path == NULL };
    atomic_init(&p->refs, 1);
    p->owner = live_settings_ref(live);
    return p;
}

/* ---- begin and end */

static struct door *door_new(struct server *s, const struct server_socket *sock, struct live_settings *live)
{
    size_t len = strlen(sock->address) + 1;
    struct door *d = calloc(1, sizeof *d + len);
    if (d == NULL)
        return NULL;
    list_init(&d->node);
    d->server = s;
    d->reactor = &s->reactors[sock->reactor];
    d->is_shared = sock->is_shared;
    d->is_backend = sock->backend != NULL;
    d->is_held = sock->is_held;
    d->is_proxied = sock->is_proxied;
    d->tls = tls_slots_find(s->tls, sock->address);
    d->is_new = d->is_wanted = true;
    memcpy(d->path, sock->path, sizeof d->path);
    d->is_borrowed = sock->is_borrowed;
    memcpy(d->address, sock->address, len);
    if (d->is_backend && (d->peers = doors_peers_new(live, sock->backend)) == NULL) {
        free(d);
        return NULL;
    }
    d->listener = listener_new(&d->reactor->loop, sock->fd, &listener_ops, d);
    if (d->listener != NULL)
        return d;
    backend_peers_unref(d->peers);
    free(d);
    return NULL;
}

static void door_free(struct door *d)
{
    list_remove(&d->node);
    listener_stop(d->listener);
    backend_peers_unref(d->peers);
    backend_peers_unref(d->next_peers);
    free(d);
}

void door_unlink(struct door *d)
{
    if (d->path[0] != '\0' && !d->is_borrowed)
        unlink(d->path);
    d->path[0] = '\0';
}

int doors_make(struct server *s, struct socket_set *sockets, struct live_settings *live, struct list *ret)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        struct server_socket *sock = &sockets->items[i];
        struct door *d = door_new(s, sock, live);
        if (d == NULL) {
            r = -ENOMEM;
            break;
        }
        list_push(ret, &d->node);
        sock->fd = -1; /* the listener closes it, and the door unlinks it */
        sock->path[0] = '\0';
    }
    sockets_close(sockets);
    return r;
}

void doors_free(struct list *doors)
{
    LIST_EACH_SAFE (it, next, doors) {
        struct door *d = LIST_ENTRY(it, struct door, node);
        door_unlink(d);
        door_free(d);
    }
}

void door_begin(struct door *d)
{
    d->is_new = false;
    listener_begin(d->listener);
}

void door_close(struct door *d)
{
    if (!d->server->is_handed_over && !d->is_held) /* else who waits there is a successor's */
        listener_drain(d->listener);
    listener_stop(d->listener);
    d->listener = NULL;
}

static void close_doors(struct server *s, unsigned reactor, bool with_backends)
{
    LIST_EACH (it, &s->doors) {
        struct door *d = LIST_ENTRY(it, struct door, node);
        if (d->reactor == &s->reactors[reactor] && (with_backends || !d->is_backend))
            door_close(d);
    }
}

void doors_close_public(struct server *s, unsigned reactor)
{
    close_doors(s, reactor, s->is_handed_over);
}

void doors_close(struct server *s, unsigned reactor)
{
    close_doors(s, reactor, true);
}
