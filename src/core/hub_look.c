/* Looking at the hub: topics, figures. */
#include "core/hub_internal.h"

#include <string.h>

struct scan_topics {
    void (*visit)(const struct hub_topic_info *info, void *ctx);
    void *ctx;
    size_t seen;
};

static void scan_visit(struct map_node *node, void *ctx)
{
    struct scan_topics *s = ctx;
    const struct topic *t = HLY_CONTAINER_OF(node, struct topic, node);
    struct hub_topic_info info = { .name_len = t->name_len, .subscribers = t->subscribers, .history = t->history.count };
    memcpy(info.name, t->name, t->name_len);
    info.name[t->name_len] = '\0';
    info.seq = t->history.count > 0 ? history_at(&t->history, t->history.count - 1)->seq : t->history.mark;
    s->seen++;
    s->visit(&info, s->ctx);
}

bool hub_scan_topics(struct hub *hub, uint64_t *cursor, void (*visit)(const struct hub_topic_info *info, void *ctx),
                     void *ctx)
{
    struct scan_topics s = { .visit = visit, .ctx = ctx };
    bool more = true;
    hub_lock(hub);
    for (int n = 0; n < 500 && s.seen < 200 && more; n++)
        more = map_scan(&hub->topics, cursor, scan_visit, &s);
    hub_unlock(hub);
    return more;
}

uint64_t hub_topic_subscribers(struct hub *hub, const char *topic, size_t len)
{
    uint64_t hash = hash_bytes(topic, len);
    hub_lock(hub);
    const struct topic *t = hub_topic_find(hub, topic, len, hash);
    uint64_t n = t == NULL ? 0 : t->subscribers;
    hub_unlock(hub);
    return n;
}

uint64_t hub_topic_history(struct hub *hub, const char *topic, size_t len)
{
    uint64_t hash = hash_bytes(topic, len);
    pthread_mutex_lock(&hub->lock);
    const struct topic *t = hub_topic_find(hub, topic, len, hash);
    uint64_t n = t == NULL ? 0 : t->history.count;
    pthread_mutex_unlock(&hub->lock);
    return n;
}

uint64_t hub_pattern_count(struct hub *hub)
{
    hub_lock(hub);
    uint64_t n = pattern_index_count(hub->patterns);
    hub_unlock(hub);
    return n;
}

void hub_get_stats(struct hub *hub, struct hub_stats *ret)
{
    hub_lock(hub);
    *ret = hub->stats;
    ret->topics = map_count(&hub->topics);
    ret->patterns = pattern_index_count(hub->patterns);
    ret->keys = map_count(&hub->keys.map);
    ret->keys_evicted = hub->keys.evicted;
    hub_unlock(hub);
}

void hub_get_holds(struct hub *hub, uint64_t *ret_longest_ns, uint64_t *ret_over_ms)
{
    hub_lock(hub);
    *ret_longest_ns = hub->longest_hold_ns;
    *ret_over_ms = hub->holds_over_ms;
    hub_unlock(hub);
}
