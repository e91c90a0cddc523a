/* From a listening socket to the reactor that gets the connection, and the door that it speaks at. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/listener.h"
#include "server/server_internal.h"
#include "transport/public_door.h"

struct handover { /* a connection accepted by one reactor for another */
    struct loop_task task;
    struct reactor *to;
    const struct door *door;
    struct address from;
    int fd;
};

static void give(const struct door *d, struct reactor *r, int fd, const struct address *from)
{
    if (d->is_backend)
        backend_door_accept(r, fd, &d->peers, d->tls);
    else
        public_door_accept(r, fd, from, d->is_proxied, d->tls);
}

static void on_handover(struct loop_task *t)
{
    struct handover *h = HLY_CONTAINER_OF(t, struct handover, task);
    if (h->to->loop.is_leaving)
        close(h->fd);
    else
        give(h->door, h->to, h->fd, &h->from);
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
        give(d, d->reactor, fd, &from);
        return;
    }
    *h = (struct handover){ .task = { .run = on_handover }, .to = to, .door = d, .from = from, .fd = fd };
    loop_post(&to->loop, &h->task);
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

int doors_open(struct server *s)
{
    s->doors = calloc(s->sockets.count + 1, sizeof *s->doors);
    if (s->doors == NULL)
        return -ENOMEM;
    for (; s->door_count < s->sockets.count; s->door_count++) {
        struct server_socket *sock = &s->sockets.items[s->door_count];
        struct door *d = &s->doors[s->door_count];
        *d = (struct door){ .server = s, .reactor = &s->reactors[sock->reactor], .is_shared = sock->is_shared, .is_proxied = sock->is_proxied };
        d->tls = tls_slots_find(s->tls, sock->address);
        if (sock->backend != NULL) {
            d->is_backend = true;
            d->peers = (struct backend_peers){ .uids = sock->backend->uids,
                                               .count = sock->backend->uid_count,
                                               .keys = sock->backend->keys,
                                               .is_tcp = sock->backend->path == NULL };
        }
        d->listener = listener_start(&d->reactor->loop, sock->fd, on_accept, on_accept_error, d);
        if (d->listener == NULL)
            return -ENOMEM;
        sock->fd = -1; /* the listener closes it */
    }
    return 0;
}

void doors_close(struct server *s, unsigned reactor)
{
    for (size_t i = 0; i < s->door_count; i++) {
        if (s->doors[i].reactor != &s->reactors[reactor])
            continue;
        listener_stop(s->doors[i].listener);
        s->doors[i].listener = NULL;
    }
}
