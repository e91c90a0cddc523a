#include "server/drain.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "server/drain_pace.h"
#include "server/server_internal.h"

#define FIRST_TICK_S 0.1 /* what those have asked who waited to be accepted is read before */
#define TICK_S 0.02
#define TOLD_PER_TICK 5000 /* a bounded slice: 250,000 a second of each reactor */
#define REPORT_S 1.0

struct drain_part { /* of one reactor; its thread's, between begin and end */
    struct loop_task task;
    struct drain *drain;
    struct reactor *reactor;
    struct drain_pace pace;
    struct conn_walk walk;
    ev_timer tick;
    uint64_t began_ms;
    uint64_t told;
    bool is_cut;    /* all that are left at once */
    bool is_ended;
};

/* ---- one reactor */

static bool is_to_be_told(const struct conn *c)
{
    return !c->closed && !c->finishing && !c->is_backend;
}

static void tell(struct drain_part *p, struct conn *c, uint64_t elapsed_ms)
{
    struct reactor *r = p->reactor;
    r->return_ms = drain_pace_return_ms(&p->pace, p->told, elapsed_ms, reactor_random(r, 1000)) + 1;
    conn_stop(c);
    r->return_ms = 0;
    p->told++;
    stat_add(&r->stats.drained, 1);
}

/* Tell those whose time has come. Returns whether there are more. */
static bool tell_some(struct drain_part *p)
{
    struct loop *loop = &p->reactor->loop;
    uint64_t elapsed_ms = loop->now_ms - p->began_ms, due = p->is_cut ? UINT64_MAX : drain_pace_due(&p->pace, elapsed_ms);
    for (int n = 0; n < TOLD_PER_TICK && p->told < due;) {
        struct conn *c = conn_walk_next(&p->walk, loop);
        if (c == NULL)
            return false;
        if (!is_to_be_told(c))
            continue;
        tell(p, c, elapsed_ms);
        n++;
    }
    return elapsed_ms < p->pace.time_ms || p->told < due;
}

static void on_told(struct loop_task *t);

static void part_end(struct drain_part *p)
{
    ev_timer_stop(p->reactor->loop.ev, &p->tick);
    conn_walk_end(&p->walk);
    p->is_ended = true;
    p->task.run = on_told;
    loop_post(&p->drain->server->reactors[0].loop, &p->task);
}

static bool has_nobody(const struct drain_part *p)
{
    return atomic_load_explicit(&p->reactor->stats.connections, memory_order_relaxed) == 0;
}

static void on_tick(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev;
    (void)events;
    struct drain_part *p = w->data;
    if (!tell_some(p) || has_nobody(p))
        part_end(p);
}

static void on_begin(struct loop_task *t)
{
    struct drain_part *p = HLY_CONTAINER_OF(t, struct drain_part, task);
    struct reactor *r = p->reactor;
    doors_close_public(p->drain->server, r->index);
    p->began_ms = r->loop.now_ms;
    p->pace.count = atomic_load_explicit(&r->stats.connections, memory_order_relaxed);
    conn_walk_begin(&p->walk, &r->loop);
    ev_timer_init(&p->tick, on_tick, FIRST_TICK_S, TICK_S);
    p->tick.data = p;
    ev_timer_start(r->loop.ev, &p->tick);
}

struct cut {
    struct loop_task task;
    struct drain_part *part;
};

static void on_cut(struct loop_task *t)
{
    struct cut *cut = HLY_CONTAINER_OF(t, struct cut, task);
    cut->part->is_cut = true;
    free(cut);
}

/* ---- all of them */

static uint64_t count_told(const struct drain *d)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < d->server->reactor_count; i++)
        sum += atomic_load_explicit(&d->server->reactors[i].stats.drained, memory_order_relaxed);
    return sum;
}

static void on_report(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev;
    (void)events;
    struct drain *d = w->data;
    uint64_t told = count_told(d);
    log_info("draining", "told=%" PRIu64 " per_s=%" PRIu64 " left=%" PRIu64, told, told - d->told_before,
             atomic_load_explicit(&d->server->view.connections, memory_order_relaxed));
    d->told_before = told;
}

static void end(struct drain *d)
{
    if (!d->is_on)
        return;
    d->is_on = false;
    ev_timer_stop(d->server->reactors[0].loop.ev, &d->report);
    log_info("drained", "told=%" PRIu64 " took_ms=%" PRIu64, count_told(d), d->server->reactors[0].loop.now_ms - d->began_ms);
    d->on_end(d->server);
}

static void on_told(struct loop_task *t)
{
    struct drain *d = HLY_CONTAINER_OF(t, struct drain_part, task)->drain;
    if (--d->waiting == 0)
        end(d);
}

static int start_parts(struct drain *d, bool is_served)
{
    struct server *s = d->server;
    const struct config *c = s->live->config;
    d->parts = calloc(s->reactor_count, sizeof *d->parts);
    if (d->parts == NULL)
        return -1;
    d->waiting = s->reactor_count;
    for (unsigned i = 0; i < s->reactor_count; i++) {
        struct drain_part *p = &d->parts[i];
        *p = (struct drain_part){ .task.run = on_begin, .drain = d, .reactor = &s->reactors[i] };
        p->pace = (struct drain_pace){ .total = d->clients, .time_ms = c->drain_time_ms, .rate = c->drain_rate, .is_served = is_served };
        if (!loop_post(&p->reactor->loop, &p->task))
            d->waiting--;
    }
    return 0;
}

void drain_begin(struct drain *d, struct server *s, bool is_served, void (*on_end)(struct server *s))
{
    if (d->server != NULL)
        return;
    const struct config *c = s->live->config;
    *d = (struct drain){ .server = s, .on_end = on_end, .began_ms = s->reactors[0].loop.now_ms, .is_on = true };
    d->clients = atomic_load(&s->view.connections);
    ev_timer_init(&d->report, on_report, REPORT_S, REPORT_S);
    d->report.data = d;
    if (d->clients == 0 || c->drain_time_ms == 0) {
        d->is_on = false;
        on_end(s);
        return;
    }
    log_info("draining", "clients=%" PRIu64 " drain_time_ms=%" PRIu64 " drain_rate=%" PRIu64 " backends stay until all clients have been told", d->clients,
             c->drain_time_ms, c->drain_rate);
    ev_timer_start(s->reactors[0].loop.ev, &d->report);
    if (start_parts(d, is_served) < 0)
        end(d); /* no memory to do it well */
}

void drain_hasten(struct drain *d)
{
    for (unsigned i = 0; d->is_on && d->parts != NULL && i < d->server->reactor_count; i++) {
        struct cut *cut = malloc(sizeof *cut);
        if (cut == NULL)
            _Exit(1); /* no memory to say goodbye with */
        *cut = (struct cut){ .task.run = on_cut, .part = &d->parts[i] };
        if (!loop_post(&d->parts[i].reactor->loop, &cut->task))
            free(cut);
    }
}

void drain_done(struct drain *d)
{
    free(d->parts);
}
