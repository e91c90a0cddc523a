/* The life of a topic: made by a subscriber or by a message that is kept, ended when it has neither; what it has lost
 * by then goes into its rule's horizon, so that a topic that comes back cannot turn loss into silence. */
#include "core/hub_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define HUB_STEPS 1000 /* messages let go under one lock hold */

uint32_t hub_rule_index(struct hub *hub, const struct rule *rule)
{
    return (uint32_t)rules_index(hub->rules, rule);
}

struct topic *hub_topic_find(struct hub *hub, const char *name, size_t len, uint64_t hash)
{
    struct map_node *n = map_find(&hub->topics, hash, name, len);
    struct topic *t = n == NULL ? NULL : HLY_CONTAINER_OF(n, struct topic, node);
    if (t != NULL)
        hub_topic_renew(hub, t);
    return t;
}

struct topic *hub_topic_get(struct hub *hub, const char *name, size_t len, uint64_t hash, int *ret_error)
{
    struct topic *t = hub_topic_find(hub, name, len, hash);
    if (t != NULL)
        return t;
    if (map_count(&hub->topics) >= hub->limits.topics) {
        hub->stats.refused_topics++;
        *ret_error = -EDQUOT;
        return NULL;
    }
    t = malloc(sizeof *t + len);
    if (t == NULL || map_insert(&hub->topics, &t->node, hash) < 0) {
        free(t);
        *ret_error = -ENOMEM;
        return NULL;
    }
    struct map_node node = t->node;
    *t = (struct topic){ .node = node, .name_len = (uint8_t)len };
    memcpy(t->name, name, len);
    list_init(&t->lost);
    hub_topic_take_rule(hub, t);
    t->history.mark = hub->losses[t->rule].horizon; /* an earlier life of this name may have lost messages up to there */
    t->lost_no = hub->losses[t->rule].horizon_no;
    return t;
}

void hub_topic_free(struct topic *t)
{
    history_done(&t->history);
    free(t->patterns);
    free(t);
}

void hub_topic_release(struct hub *hub, struct topic *t)
{
    if (t->subscribers > 0 || t->history.count > 0 || t->pending > 0)
        return;
    hub_topic_renew(hub, t);
    struct rule_losses *l = &hub->losses[t->rule];
    if (l->horizon < t->history.mark)
        l->horizon = t->history.mark;
    if (l->horizon_no < t->lost_no) /* even if the horizon stays: who has seen it has not seen this loss */
        l->horizon_no = t->lost_no;
    list_remove(&t->lost);
    map_remove(&hub->topics, &t->node);
    hub_topic_free(t);
}

/* ---- patterns */

struct match_list {
    struct hub_pattern **items;
    uint32_t count;
    uint32_t cap;
    bool failed;
};

static void match_add(void *value, void *ctx)
{
    struct match_list *l = ctx;
    if (l->count == l->cap) {
        uint32_t cap = l->cap == 0 ? 4 : l->cap * 2;
        struct hub_pattern **items = realloc(l->items, cap * sizeof(struct hub_pattern *));
        if (items == NULL) {
            l->failed = true;
            return;
        }
        l->items = items;
        l->cap = cap;
    }
    l->items[l->count++] = value;
}

int hub_topic_match(struct hub *hub, struct topic *t)
{
    if (t->patterns_gen == hub->patterns_gen)
        return 0;
    struct match_list l = { 0 };
    pattern_index_match(hub->patterns, t->name, t->name_len, match_add, &l);
    if (l.failed) {
        free(l.items);
        return -ENOMEM;
    }
    free(t->patterns);
    t->patterns = l.items;
    t->pattern_count = l.count;
    t->patterns_gen = hub->patterns_gen;
    return 0;
}

/* ---- keeping */

void hub_note_loss(struct hub *hub, struct topic *t)
{
    hub_topic_renew(hub, t);
    struct rule_losses *l = &hub->losses[t->rule];
    t->lost_no = ++hub->loss_count;
    t->lost_at = hub->head;
    list_remove(&t->lost);
    list_push(l->topics.next, &t->lost); /* before the first: the latest loss leads */
    if (l->highest < t->history.mark)
        l->highest = t->history.mark;
}

/* A message has left its history, whose mark has moved. Takes the history's reference. */
static void kept_drop(struct hub *hub, struct message *m)
{
    hub_note_loss(hub, m->kept_by);
    seqlog_remove(&hub->kept, m);
    m->kept_by = NULL;
    hub->stats.history_messages--;
    hub->stats.history_bytes -= message_memory(m);
    message_unref(m);
}

bool hub_evict(struct hub *hub)
{
    for (int n = 0; hub->stats.history_bytes > hub->limits.history_bytes; n++) {
        if (n == HUB_STEPS)
            return true;
        struct topic *t = seqlog_oldest(&hub->kept)->kept_by;
        struct message *m = history_take_oldest(&t->history);
        kept_drop(hub, m);
        hub->stats.evicted++;
        hub_topic_release(hub, t);
    }
    return false;
}

void hub_keep_none(struct hub *hub, struct topic *t, const struct message *m)
{
    while (t->history.count > 0)
        kept_drop(hub, history_take_oldest(&t->history));
    history_set_mark(&t->history, m->seq);
    hub_note_loss(hub, t);
}

void hub_keep(struct hub *hub, struct topic *t, struct message *m)
{
    if (t->max_history == 0 || message_memory(m) > hub->limits.history_bytes) {
        hub_keep_none(hub, t, m);
        return;
    }
    struct message *out = NULL;
    if (seqlog_append(&hub->kept, m) < 0) {
        hub_keep_none(hub, t, m);
        return;
    }
    m->kept_by = t;
    if (history_put(&t->history, message_ref(m), t->max_history, &out) < 0) {
        seqlog_remove(&hub->kept, m);
        m->kept_by = NULL;
        message_unref(out); /* it is m */
        hub_keep_none(hub, t, m);
        return;
    }
    hub->stats.history_messages++;
    hub->stats.history_bytes += message_memory(m);
    if (out != NULL)
        kept_drop(hub, out);
}

void hub_lose(struct hub *hub, const struct rule *rule, uint64_t seq)
{
    struct rule_losses *l = &hub->losses[hub_rule_index(hub, rule)];
    l->horizon = l->highest = seq; /* the newest of all seqs, so surely the highest */
    l->horizon_no = ++hub->loss_count;
}

/* ---- expiry, a slice of topics at a time */

struct expire_slice {
    struct hub *hub;
    uint64_t now_ms;
    struct topic *dead[64]; /* the table must not change while it is walked */
    size_t dead_count;
    size_t seen;
    size_t steps; /* messages let go */
};

/* Its rule kept more before a reload. */
static void topic_shorten(struct expire_slice *s, struct topic *t)
{
    hub_topic_renew(s->hub, t);
    while (t->history.count > t->max_history && s->steps < HUB_STEPS) {
        kept_drop(s->hub, history_take_oldest(&t->history));
        s->steps++;
    }
}

static void topic_expire(struct expire_slice *s, struct topic *t)
{
    if (t->ttl_ms == 0)
        return;
    while (t->history.count > 0 && clock_age_ms(s->now_ms, history_at(&t->history, 0)->born_ms) > t->ttl_ms && s->steps < HUB_STEPS) {
        kept_drop(s->hub, history_take_oldest(&t->history));
        s->hub->stats.expired++;
        s->steps++;
    }
}

static void expire_visit(struct map_node *node, void *ctx)
{
    struct expire_slice *s = ctx;
    struct topic *t = HLY_CONTAINER_OF(node, struct topic, node);
    topic_shorten(s, t);
    topic_expire(s, t);
    s->seen++;
    if (t->subscribers == 0 && t->history.count == 0 && s->dead_count < HLY_ARRAY_LEN(s->dead))
        s->dead[s->dead_count++] = t;
}

bool hub_expire(struct hub *hub, uint64_t now_ms)
{
    struct expire_slice s = { .hub = hub, .now_ms = now_ms };
    bool more = true;
    hub_lock(hub);
    key_table_expire(&hub->keys, now_ms, 0, HUB_STEPS / 4);
    for (int n = 0; n < 256 && s.seen < 100 && s.dead_count < HLY_ARRAY_LEN(s.dead) / 2 && more; n++) {
        uint64_t here = hub->expire_cursor;
        more = map_scan(&hub->topics, &hub->expire_cursor, expire_visit, &s);
        if (s.steps == HUB_STEPS) { /* a long history: the next slice goes on with it */
            hub->expire_cursor = here;
            more = true;
            break;
        }
    }
    for (size_t i = 0; i < s.dead_count; i++) {
        for (size_t k = i + 1; k < s.dead_count; k++) /* seen twice when the table changed its size */
            if (s.dead[k] == s.dead[i])
                s.dead[k--] = s.dead[--s.dead_count];
        hub_topic_release(hub, s.dead[i]);
    }
    hub_unlock(hub);
    return more;
}
