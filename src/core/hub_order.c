#include "core/hub_order.h"

#include <assert.h>
#include <errno.h>

#include "base/clock.h"
#include "core/hub_internal.h"

#define ORDERS_PER_LOCK 64

/* ---- admission */

/* Has the key been used before? Then the receipt is the first's. */
static bool is_repeat(struct hub *hub, struct hub_order *o, uint64_t now_ms)
{
    struct key_entry *e = o->key.len == 0 ? NULL : key_table_find(&hub->keys, message_topic(o->message), o->key, now_ms);
    if (e == NULL)
        return false;
    hub->stats.repeated++;
    o->receipt = (struct hub_receipt){ .seq = e->seq, .subscribers = e->subscribers, .repeated = true };
    o->is_in_flight = e->seq > hub->head;
    return true;
}

static int note_key(struct hub *hub, struct hub_order *o)
{
    if (o->key.len == 0 || hub->limits.keys == 0)
        return 0;
    struct key_entry *e = key_table_add(&hub->keys, message_topic(o->message), o->key, o->message->born_ms);
    if (e == NULL)
        return -ENOMEM;
    e->seq = o->message->seq;
    e->subscribers = o->receipt.subscribers;
    return 0;
}

static int admit_new(struct hub *hub, struct hub_order *o, uint64_t seq)
{
    struct message *m = o->message;
    const struct rule *rule = rules_find(hub->rules, m->bytes, m->topic_len);
    bool has_history = m->kind == MESSAGE_DATA && rule->history > 0;
    struct hub_takers takers;
    int r = -ENOMEM;
    struct topic *t = hub_topic_find(hub, m->bytes, m->topic_len, m->topic_hash);
    if (t == NULL && has_history && (t = hub_topic_get(hub, m->bytes, m->topic_len, m->topic_hash, &r)) == NULL)
        return r;
    m->seq = seq;
    hub_find_takers(hub, t, m, &takers);
    o->receipt = (struct hub_receipt){ .seq = seq, .subscribers = takers.subscribers };
    if (note_key(hub, o) < 0) {
        m->seq = 0;
        if (t != NULL)
            hub_topic_release(hub, t);
        return -ENOMEM;
    }
    o->is_kept = has_history && message_memory(m) <= hub->limits.history_bytes;
    o->is_lost = has_history && !o->is_kept;
    o->topic = t;
    if (t != NULL)
        t->pending++; /* it lives until the commit */
    return 0;
}

static int reserve_places(struct hub *hub, size_t count)
{
    for (unsigned i = 0; i < hub->reactor_count; i++)
        if (inbox_reserve(&hub->reactors[i].inbox, count) < 0)
            return -ENOMEM;
    return 0;
}

void hub_admit(struct hub *hub, struct hub_order *const *orders, size_t count)
{
    assert(count <= HUB_ORDER_MAX);
    uint64_t wall_ms = clock_wall_ms(), mono_ms = clock_mono_ms(), given = 0;
    int error = reserve_places(hub, count); /* so that no commit fails */
    for (size_t i = 0; i < count;) {
        hub_lock(hub);
        for (size_t n = 0; n < ORDERS_PER_LOCK && i < count; n++, i++) {
            struct hub_order *o = orders[i];
            o->message->time_ms = wall_ms;
            o->message->born_ms = mono_ms;
            o->receipt = (struct hub_receipt){ 0 };
            o->topic = NULL;
            o->is_in_flight = o->is_kept = o->is_lost = false;
            o->result = error;
            if (error < 0 || is_repeat(hub, o, mono_ms))
                continue;
            o->result = admit_new(hub, o, hub->head + given + 1);
            given += o->result == 0;
        }
        hub_unlock(hub);
    }
}

static bool has_seq(const struct hub_order *o)
{
    return o->result == 0 && !o->receipt.repeated;
}

/* ---- commit */

static uint64_t commit_one(struct hub *hub, struct hub_order *o)
{
    struct message *m = o->message;
    struct hub_takers takers;
    assert(m->seq == hub->head + 1);
    hub->head = m->seq;
    hub->stats.published++;
    struct topic *t = o->topic != NULL ? o->topic : hub_topic_find(hub, m->bytes, m->topic_len, m->topic_hash);
    hub_find_takers(hub, t, m, &takers); /* of now: who subscribed since the admission was promised it */
    if (o->topic != NULL)
        o->topic->pending--;
    if (o->is_kept)
        hub_keep(hub, t, m);
    else if (m->kind == MESSAGE_DATA && t != NULL)
        hub_keep_none(hub, t, m);
    else if (m->kind == MESSAGE_DATA)
        hub_lose(hub, rules_find(hub->rules, m->bytes, m->topic_len), m->seq);
    if (t != NULL)
        hub_topic_release(hub, t);
    return hub_push(hub, m, takers.reactors);
}

void hub_commit(struct hub *hub, struct hub_order *const *orders, size_t count)
{
    uint64_t wake = 0;
    bool is_over = false;
    for (size_t i = 0; i < count || is_over;) {
        hub_lock(hub);
        for (size_t n = 0; n < ORDERS_PER_LOCK && i < count; n++, i++)
            if (has_seq(orders[i]))
                wake |= commit_one(hub, orders[i]);
        is_over = hub_evict(hub);
        hub_unlock(hub);
    }
    hub_wake(hub, wake);
}

/* ---- nothing has happened */

static void retract_one(struct hub *hub, struct hub_order *o)
{
    struct key_entry *e =
        o->key.len == 0 ? NULL : key_table_find(&hub->keys, message_topic(o->message), o->key, o->message->born_ms);
    if (e != NULL && e->seq == o->message->seq)
        key_table_remove(&hub->keys, e);
    if (o->topic != NULL) {
        o->topic->pending--;
        hub_topic_release(hub, o->topic);
    }
    o->message->seq = 0;
}

void hub_retract(struct hub *hub, struct hub_order *const *orders, size_t count)
{
    for (size_t i = 0; i < count;) {
        hub_lock(hub);
        for (size_t n = 0; n < ORDERS_PER_LOCK && i < count; n++, i++)
            if (has_seq(orders[i]))
                retract_one(hub, orders[i]);
        hub_unlock(hub);
    }
}

/* ---- flow */

void hub_hold_publishers(struct hub *hub)
{
    atomic_fetch_add(&hub->inboxes_over, 1);
}

void hub_release_publishers(struct hub *hub)
{
    atomic_fetch_sub(&hub->inboxes_over, 1);
    hub_wake(hub, hub->reactor_count == 64 ? UINT64_MAX : (1ull << hub->reactor_count) - 1);
}
