#include "net/loop.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "net/conn.h"
#include "net/outq.h"

#define TIMERS_PER_TURN 512
#define CUTS_PER_TURN 256

static void on_tick(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev;
    (void)w;
    (void)events; /* the work is in loop_timers(): waking up was the point */
}

static void loop_run_posted(struct loop *l)
{
    struct list mine;
    list_init(&mine);
    pthread_mutex_lock(&l->post_lock);
    list_splice(&mine, &l->posted);
    pthread_mutex_unlock(&l->post_lock);
    for (struct list *node; (node = list_pop(&mine)) != NULL;) {
        struct loop_task *t = LIST_ENTRY(node, struct loop_task, node);
        t->run(t);
    }
}

static void on_async(struct ev_loop *ev, ev_async *w, int events)
{
    (void)ev;
    (void)events;
    loop_run_posted(w->data);
}

static void on_busy(struct ev_loop *ev, ev_idle *w, int events)
{
    (void)events;
    ev_idle_stop(ev, w); /* it kept the loop from sleeping once */
}

static void loop_update_time(struct loop *l)
{
    l->now_ms = clock_mono_ms();
    l->wall_ms = clock_wall_ms();
    atomic_store_explicit(&l->turned_ms, l->now_ms, memory_order_relaxed);
}

static void on_check(struct ev_loop *ev, ev_check *w, int events)
{
    (void)ev;
    (void)events;
    struct loop *l = w->data;
    loop_update_time(l);
    wheel_advance(&l->wheel, l->now_ms - l->started_ms);
}

/* Returns true when more timers are due than one turn should handle. */
static bool loop_timers(struct loop *l)
{
    for (int n = 0; n < TIMERS_PER_TURN; n++) {
        struct wheel_timer *t = wheel_next_due(&l->wheel);
        if (t == NULL)
            return false;
        conn_on_timer(HLY_CONTAINER_OF(t, struct conn, timer));
    }
    return true;
}

static void loop_leave_on(struct loop *l)
{
    if (l->now_ms >= l->leave_by_ms)
        LIST_EACH_SAFE (it, next, &l->conns)
            conn_close(LIST_ENTRY(it, struct conn, all));
    l->stopping = list_is_empty(&l->conns) && !l->is_kept;
}

static void on_prepare(struct ev_loop *ev, ev_prepare *w, int events)
{
    (void)ev;
    (void)events;
    struct loop *l = w->data;
    bool more = loop_timers(l);
    if (tls_loop_turn(l))
        more = true;
    if (l->on_turn != NULL && l->on_turn(l->ctx))
        more = true;
    for (struct list *node; (node = list_pop(&l->dirty)) != NULL;)
        conn_flush(LIST_ENTRY(node, struct conn, node));
    for (struct list *node; (node = list_pop(&l->closing)) != NULL;)
        conn_reap(LIST_ENTRY(node, struct conn, node));
    if (l->is_leaving)
        loop_leave_on(l);
    if (!list_is_empty(&l->dirty) || !list_is_empty(&l->closing))
        more = true;
    if (more)
        loop_again(l);
}

int loop_init(struct loop *l)
{
    *l = (struct loop){ 0 };
    l->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    l->read_buf = malloc(LOOP_READ_BYTES);
    if (l->ev == NULL || l->read_buf == NULL) {
        if (l->ev != NULL)
            ev_loop_destroy(l->ev);
        free(l->read_buf);
        return -ENOMEM;
    }
    wheel_init(&l->wheel);
    list_init(&l->dirty);
    list_init(&l->closing);
    list_init(&l->conns);
    list_init(&l->walks);
    list_init(&l->waiting);
    list_init(&l->posted);
    tls_loop_init(&l->tls);
    pthread_mutex_init(&l->post_lock, NULL);
    loop_update_time(l);
    l->started_ms = l->now_ms;
    ev_timer_init(&l->tick, on_tick, WHEEL_TICK_MS / 1e3, WHEEL_TICK_MS / 1e3);
    ev_async_init(&l->async, on_async);
    ev_prepare_init(&l->prepare, on_prepare);
    ev_check_init(&l->check, on_check);
    ev_set_priority(&l->check, EV_MAXPRI); /* the time is right before the first connection is handled */
    ev_idle_init(&l->busy, on_busy);
    l->async.data = l->prepare.data = l->check.data = l;
    ev_timer_start(l->ev, &l->tick);
    ev_async_start(l->ev, &l->async);
    ev_prepare_start(l->ev, &l->prepare);
    ev_check_start(l->ev, &l->check);
    return 0;
}

void loop_done(struct loop *l)
{
    ev_loop_destroy(l->ev);
    tls_loop_done(&l->tls);
    chunk_pool_done(&l->chunks);
    free(l->read_buf);
    pthread_mutex_destroy(&l->post_lock);
}

void loop_run(struct loop *l)
{
    while (!l->stopping)
        ev_run(l->ev, EVRUN_ONCE);
    pthread_mutex_lock(&l->post_lock);
    l->has_ended = true;
    pthread_mutex_unlock(&l->post_lock);
    loop_run_posted(l); /* those that came while the last connection went: no more can come */
}

bool loop_has_ended(struct loop *l)
{
    pthread_mutex_lock(&l->post_lock);
    bool has_ended = l->has_ended;
    pthread_mutex_unlock(&l->post_lock);
    return has_ended;
}

void loop_leave(struct loop *l, uint64_t grace_ms)
{
    l->is_leaving = true;
    l->leave_by_ms = l->now_ms + grace_ms;
    LIST_EACH_SAFE (it, next, &l->conns)
        conn_stop(LIST_ENTRY(it, struct conn, all));
}

void loop_cut(struct loop *l, uint64_t max_bytes)
{
    for (int n = 0; n < CUTS_PER_TURN && l->chunks.live_bytes > max_bytes && !list_is_empty(&l->waiting); n++) {
        struct list *node = list_pop(&l->waiting); /* it comes back when something is queued for it */
        struct conn *c = outq_owner_of(node);
        if (!c->closed && !c->finishing && c->ops->on_cut != NULL)
            c->ops->on_cut(c);
    }
}

bool loop_post(struct loop *l, struct loop_task *t)
{
    pthread_mutex_lock(&l->post_lock);
    bool is_taken = !l->has_ended;
    if (is_taken)
        list_push(&l->posted, &t->node);
    pthread_mutex_unlock(&l->post_lock);
    if (is_taken)
        loop_wake(l);
    return is_taken;
}

void loop_again(struct loop *l)
{
    ev_idle_start(l->ev, &l->busy);
}

void loop_wake(struct loop *l)
{
    ev_async_send(l->ev, &l->async);
}
