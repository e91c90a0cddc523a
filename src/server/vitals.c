#include "server/vitals.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/server_internal.h"
#include "server/systemd.h"

#define STATUS_INTERVAL_S 5
#define FEEDS_PER_INTERVAL 3 /* one may come late, and the next is still in time */

/* ---- it lives */

static void on_watchdog(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev;
    (void)events;
    struct vitals *v = w->data;
    uint64_t turns_ms[HUB_MAX_REACTORS];
    for (unsigned i = 0; i < v->server->reactor_count; i++)
        turns_ms[i] = atomic_load_explicit(&v->server->reactors[i].loop.turned_ms, memory_order_relaxed);
    bool may_feed = systemd_may_feed(turns_ms, v->server->reactor_count, clock_mono_ms(), v->stuck_ms);
    if (may_feed)
        systemd_watchdog_feed();
    else if (!v->is_stuck)
        log_error("stuck", "a reactor has made no turn for %" PRIu64 " ms: the watchdog of the service manager is not fed, and will end this process", v->stuck_ms);
    v->is_stuck = !may_feed;
}

/* ---- how it fares */

static uint64_t delivered_by(const struct server *s)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < s->reactor_count; i++)
        sum += atomic_load_explicit(&s->reactors[i].stats.delivered, memory_order_relaxed);
    return sum;
}

static void tell_status(struct vitals *v)
{
    struct server *s = v->server;
    struct hub_stats hub;
    hub_get_stats(s->hub, &hub);
    uint64_t now = clock_mono_ms(), delivered = delivered_by(s), ms = now - v->told_ms;
    if (ms == 0)
        return;
    systemd_notify("STATUS=%" PRIu64 " clients, %" PRIu64 " backends, %" PRIu64 " topics; %" PRIu64 " messages/s published, %" PRIu64 "/s delivered.",
                   atomic_load(&s->view.connections), atomic_load(&s->view.backends), hub.topics, (hub.published - v->published) * 1000 / ms,
                   (delivered - v->delivered) * 1000 / ms);
    v->told_ms = now;
    v->published = hub.published;
    v->delivered = delivered;
}

void vitals_tell_limits(struct vitals *v)
{
    static struct log_gate histories, keys;
    struct hub_stats hub;
    hub_get_stats(v->server->hub, &hub);
    if (hub.evicted != v->evicted)
        log_limited(&histories, LOG_LEVEL_WARN, "history_full",
                    "limits.history is reached: %" PRIu64 " messages have left histories before their time; raise it if the machine has memory, or keep "
                    "fewer messages", hub.evicted);
    if (hub.keys_evicted != v->keys_evicted)
        log_limited(&keys, LOG_LEVEL_WARN, "keys_full",
                    "limits.keys is reached: %" PRIu64 " idempotency keys have been forgotten before their time; raise it, or lower idempotency_window",
                    hub.keys_evicted);
    v->evicted = hub.evicted;
    v->keys_evicted = hub.keys_evicted;
}

static void on_status(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev;
    (void)events;
    tell_status(w->data);
}

/* ---- it serves */

struct first_turn {
    struct loop_task task;
    struct vitals *vitals;
    void (*on_ready)(struct server *s);
};

static void on_all_turn(struct loop_task *t)
{
    struct first_turn *f = HLY_CONTAINER_OF(t, struct first_turn, task);
    struct server *s = f->vitals->server;
    void (*on_ready)(struct server *s) = f->on_ready;
    free(f);
    on_ready(s);
    if (!s->leaving)
        tell_status(&s->vitals);
}

static void on_first_turn(struct loop_task *t) /* of one reactor, on its thread */
{
    struct first_turn *f = HLY_CONTAINER_OF(t, struct first_turn, task);
    if (atomic_fetch_sub(&f->vitals->not_yet, 1) > 1) {
        free(f);
        return;
    }
    f->task.run = on_all_turn;
    if (!loop_post(&f->vitals->server->reactors[0].loop, &f->task))
        free(f);
}

void vitals_start(struct vitals *v, struct server *s, void (*on_ready)(struct server *s))
{
    struct ev_loop *ev = s->reactors[0].loop.ev;
    double interval_s = (double)systemd_watchdog_ms() / 1000 / FEEDS_PER_INTERVAL;
    *v = (struct vitals){ .server = s, .stuck_ms = systemd_watchdog_ms() / 2, .told_ms = clock_mono_ms() };
    atomic_init(&v->not_yet, s->reactor_count);
    ev_timer_init(&v->watchdog, on_watchdog, interval_s, interval_s);
    ev_timer_init(&v->status, on_status, STATUS_INTERVAL_S, STATUS_INTERVAL_S);
    v->watchdog.data = v->status.data = v;
    if (interval_s > 0)
        ev_timer_start(ev, &v->watchdog);
    ev_timer_start(ev, &v->status);
    for (unsigned i = 0; i < s->reactor_count; i++) {
        struct first_turn *f = malloc(sizeof *f);
        if (f == NULL) {
            log_error("start_failed", "cannot start: memory has run out");
            _exit(1);
        }
        *f = (struct first_turn){ .task = { .run = on_first_turn }, .vitals = v, .on_ready = on_ready };
        list_init(&f->task.node);
        loop_post(&s->reactors[i].loop, &f->task);
    }
}

void vitals_stop(struct vitals *v)
{
    ev_timer_stop(v->server->reactors[0].loop.ev, &v->watchdog);
    ev_timer_stop(v->server->reactors[0].loop.ev, &v->status);
}
