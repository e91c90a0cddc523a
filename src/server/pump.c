#include "server/pump.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/loop.h"
#include "server/link.h"

#define READ_BYTES 262144 /* in one turn */
#define MAX_OUT_BYTES (256u << 20) /* beyond it the other side does not keep up, and is left behind */

static void pump_lose(struct pump *p, const char *why)
{
    if (!p->is_open)
        return;
    pump_close(p);
    p->on_lost(p->ctx, why);
}

void pump_feed(struct pump *p)
{
    if (!p->is_open)
        return;
    size_t at = 0, used;
    struct hub_record record;
    enum hub_record_verdict verdict = HUB_RECORD_GOOD;
    while (p->is_open && (verdict = hub_record_decode(p->in.data + at, p->in.len - at, LINK_SALT, &record, &used)) == HUB_RECORD_GOOD) {
        at += used;
        p->on_record(p->ctx, &record);
    }
    if (!p->is_open)
        return;
    buf_consume(&p->in, at);
    if (verdict == HUB_RECORD_BROKEN)
        pump_lose(p, "what it says makes no sense");
}

static void on_io(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct pump *p = w->data;
    if ((events & EV_READ) == 0)
        return; /* the writing is done at the end of the turn */
    uint8_t *room = buf_reserve(&p->in, READ_BYTES);
    ssize_t n = room == NULL ? -1 : recv(w->fd, room, READ_BYTES, MSG_DONTWAIT);
    if (room == NULL) {
        pump_lose(p, "memory has run out");
    } else if (n > 0) {
        p->in.len += (size_t)n;
        pump_feed(p);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        pump_lose(p, n == 0 ? "it has ended" : strerror(errno));
    }
}

static void watch(struct pump *p)
{
    int events = p->out.len > 0 ? EV_READ | EV_WRITE : EV_READ;
    if (p->io.events == events)
        return;
    ev_io_stop(p->loop->ev, &p->io);
    ev_io_set(&p->io, p->io.fd, events);
    ev_io_start(p->loop->ev, &p->io);
}

static void on_prepare(struct ev_loop *ev, ev_prepare *w, int events)
{
    (void)ev;
    (void)events;
    struct pump *p = w->data;
    p->before_write(p->ctx);
    if (!p->is_open)
        return;
    ssize_t n = p->out.len == 0 ? 0 : send(p->io.fd, p->out.data, p->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        pump_lose(p, "it has ended");
        return;
    }
    buf_consume(&p->out, n > 0 ? (size_t)n : 0);
    if (p->out.failed || p->out.len > MAX_OUT_BYTES)
        pump_lose(p, p->out.failed ? "memory has run out" : "it does not keep up");
    else
        watch(p);
}

void pump_open(struct pump *p, struct loop *l, int fd)
{
    p->loop = l;
    p->is_open = true;
    ev_io_init(&p->io, on_io, fd, EV_READ);
    ev_prepare_init(&p->prepare, on_prepare);
    ev_set_priority(&p->prepare, EV_MINPRI); /* after the loop's own, which delivers */
    p->io.data = p->prepare.data = p;
    ev_io_start(l->ev, &p->io);
    ev_prepare_start(l->ev, &p->prepare);
}

void pump_close(struct pump *p)
{
    if (!p->is_open)
        return;
    p->is_open = false;
    ev_io_stop(p->loop->ev, &p->io);
    ev_prepare_stop(p->loop->ev, &p->prepare);
    close(p->io.fd);
    buf_done(&p->in);
    buf_done(&p->out);
}

void pump_end(struct pump *p, const struct hub_record *record, uint64_t max_ms)
{
    pump_say(p, record);
    if (p->is_open && !p->out.failed)
        link_write(p->io.fd, p->out.data, p->out.len, clock_mono_ms() + max_ms);
    pump_close(p);
}

void pump_say(struct pump *p, const struct hub_record *record)
{
    if (p->is_open)
        hub_record_encode(&p->out, LINK_SALT, record);
}
