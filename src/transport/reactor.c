#include "transport/reactor.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "base/log.h"
#include "core/reading.h"
#include "transport/auth_callback.h"
#include "transport/encoders.h"
#include "transport/membership.h"
#include "transport/packer.h"
#include "transport/resp_client.h"
#include "transport/secure_conn.h"
#include "transport/unread.h"
#include "transport/v1_session.h"

#define READING_STEPS_PER_TURN 16 /* slices of history */
#define BATCHES_PER_TURN 8 /* then the sockets are looked at again: publishers and readers take turns */

static void on_wake(void *ctx) /* any thread */
{
    loop_wake(ctx);
}

static void resume_paused(struct reactor *r)
{
    while (!list_is_empty(&r->paused) && !hub_is_congested(r->hub)) {
        struct paused *p = LIST_ENTRY(list_pop(&r->paused), struct paused, node);
        p->resume(p);
    }
}

static bool on_turn(void *ctx)
{
    struct reactor *r = ctx;
    struct message *batch[FANOUT_BATCH_MAX];
    packer_turn(r->packer);
    for (int n = 0; n < BATCHES_PER_TURN && hub_has_mail(r->hub, r->index); n++) {
        size_t count = hub_take(r->hub, r->index, batch, FANOUT_BATCH_MAX);
        if (count == 0)
            break;
        if (HLY_UNLIKELY(r->tap != NULL))
            r->tap(r->tap_ctx, batch, count);
        stat_add(&r->stats.delivered, fanout_run(r->fanout, batch, count));
        for (size_t i = 0; i < count; i++)
            message_unref(batch[i]);
    }
    uint64_t replayed = r->table.replayed, skipped = r->table.skipped;
    bool more = reading_run(&r->table, READING_STEPS_PER_TURN);
    stat_add(&r->stats.delivered, r->table.replayed - replayed);
    stat_add(&r->stats.replayed, r->table.replayed - replayed);
    stat_add(&r->stats.skipped, r->table.skipped - skipped);
    if (HLY_UNLIKELY(r->loop.chunks.live_bytes > r->settings->max_outq_total))
        loop_cut(&r->loop, r->settings->max_outq_total / 8 * 7);
    resume_paused(r);
    if (HLY_UNLIKELY(!list_is_empty(&r->tls_waiting)))
        secure_conns_run(r);
    more |= unread_run(r);
    return more || hub_has_mail(r->hub, r->index);
}

static void look_at_rules(struct reactor *r)
{
    r->has_events = false;
    for (size_t i = 0; i < rules_count(r->rules); i++)
        r->has_events |= rules_at(r->rules, i)->events;
    if (membership_is_wanted(r->rules)) { /* and for good: who is listed has to be taken out some time, whatever the rules say by then */
        r->table.on_subscription = membership_changed;
        r->table.change_lock = &r->server->presence_lock;
    }
}

void reactor_apply(struct reactor *r, struct rules *rules, const struct settings *settings)
{
    struct rules *before = r->rules;
    r->rules = rules_ref(rules);
    rules_unref(before);
    r->settings = settings;
    r->table.keep_bytes = settings->max_outq;
    look_at_rules(r);
}

int reactor_init(struct reactor *r, unsigned index, struct hub *hub, struct engine *engine, struct rules *rules,
                 const struct settings *settings, struct server_view *server)
{
    *r = (struct reactor){ .index = index, .hub = hub, .engine = engine, .settings = settings, .server = server };
    int error = loop_init(&r->loop);
    if (error < 0)
        return error;
    r->rules = rules_ref(rules);
    list_init(&r->paused);
    list_init(&r->unread);
    list_init(&r->strangers);
    list_init(&r->spare_slots);
    list_init(&r->tls_shaking);
    list_init(&r->tls_waiting);
    RAND_bytes((unsigned char *)&r->random, sizeof r->random);
    r->random |= 1;
    if (sub_table_init(&r->table, hub, index, transport_encoders, &r->loop.chunks) < 0 ||
        (r->fanout = fanout_new(&r->table, &r->loop.chunks)) == NULL || (r->packer = packer_new(&r->stats)) == NULL)
        return -ENOMEM; /* the process does not start: no use in tidying up */
    r->table.packing = packer_packing(r->packer);
    look_at_rules(r);
    map_init(&r->sessions, v1_session_equals);
    r->table.keep_bytes = settings->max_outq;
    r->loop.on_turn = on_turn;
    r->loop.ctx = r;
    hub_set_wake(hub, index, on_wake, &r->loop);
    return 0;
}

void reactor_done(struct reactor *r)
{
    resp_slots_free_spare(r);
    fanout_free(r->fanout);
    auth_callback_free(r->auth_callback);
    packer_free(r->packer);
    ws_inflater_done(&r->inflater);
    map_done(&r->sessions);
    sub_table_done(&r->table);
    rules_unref(r->rules);
    loop_done(&r->loop);
}

uint32_t reactor_random(struct reactor *r, uint32_t below)
{
    r->random ^= r->random << 13; /* xorshift64 */
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return below == 0 ? 0 : (uint32_t)(r->random >> 32) % below;
}

void reactor_pause_publisher(struct reactor *r, struct paused *p)
{
    static struct log_gate gate;
    stat_add(&r->stats.publish_pauses, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "publisher_paused",
                "a publisher is not read until the reactors have caught up: an inbox is over limits.inbox");
    list_remove(&p->node);
    list_push(&r->paused, &p->node);
}

void server_sum_stats(const struct server_view *v, struct stat_value ret[STATS_COUNT])
{
    size_t n = 0;
    uint64_t sum;
#define SUM(member, text, gauge) \
    sum = 0; \
    for (unsigned i = 0; i < v->reactor_count; i++) \
        sum += atomic_load_explicit(&v->reactors[i]->stats.member, memory_order_relaxed); \
    ret[n++] = (struct stat_value){ #member, text, sum, gauge };
#define SUM_COUNTER(member, text) SUM(member, text, 0)
#define SUM_GAUGE(member, text) SUM(member, text, 1)
    STATS(SUM_COUNTER, SUM_GAUGE)
}
