/* Looking at the hub: cursors, histories, topics, figures. */
#include "core/hub_internal.h"

#include <string.h>

bool hub_cursor_is_good(struct hub *hub, const char *topic, size_t len, const struct cursor *cursor)
{
    if (cursor->epoch[0] == '\0' && cursor->seq == 0)
        return true;
    if (strcmp(cursor->epoch, hub->epoch) != 0)
        return false;
    pthread_mutex_lock(&hub->lock);
    bool good = cursor->seq <= hub->head && cursor->seq >= hub_mark(hub, topic, len);
    pthread_mutex_unlock(&hub->lock);
    return good;
}

size_t hub_history(struct hub *hub, const char *topic, size_t len, uint64_t after, struct message **out, size_t max)
{
    size_t n = 0;
    uint64_t hash = hash_bytes(topic, len);
    pthread_mutex_lock(&hub->lock);
    struct topic *t = hub_topic_find(hub, topic, len, hash);
    if (t != NULL)
        for (uint32_t i = history_find_after(&t->history, after); i < t->history.count && n < max; i++)
            out[n++] = message_ref(history_at(&t->history, i));
    pthread_mutex_unlock(&hub->lock);
    return n;
}

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
    pthread_mutex_lock(&hub->lock);
    for (int n = 0; n < 500 && s.seen < 200 && more; n++)
        more = map_scan(&hub->topics, cursor, scan_visit, &s);
    pthread_mutex_unlock(&hub->lock);
    return more;
}

uint64_t hub_topic_subscribers(struct hub *hub, const char *topic, size_t len)
{
    uint64_t hash = hash_bytes(topic, len);
    pthread_mutex_lock(&hub->lock);
    const struct topic *t = hub_topic_find(hub, topic, len, hash);
    uint64_t n = t == NULL ? 0 : t->subscribers;
    pthread_mutex_unlock(&hub->lock);
    return n;
}

uint64_t hub_pattern_count(struct hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    uint64_t n = pattern_index_count(hub->patterns);
    pthread_mutex_unlock(&hub->lock);
    return n;
}

void hub_get_stats(struct hub *hub, struct hub_stats *ret)
{
    pthread_mutex_lock(&hub->lock);
    *ret = hub->stats;
    ret->topics = map_count(&hub->topics);
    ret->patterns = pattern_index_count(hub->patterns);
    ret->keys = map_count(&hub->keys.map);
    ret->keys_evicted = hub->keys.evicted;
    pthread_mutex_unlock(&hub->lock);
}
