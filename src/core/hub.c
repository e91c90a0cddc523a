/* Ordering, publishing and subscribing. The life of topics is in hub_topic.c, looking at them in hub_look.c. */
#include "core/hub_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool topic_equals(const struct map_node *node, const void *key, size_t key_len)
{
    const struct topic *t = HLY_CONTAINER_OF(node, struct topic, node);
    return t->name_len == key_len && memcmp(t->name, key, key_len) == 0;
}

struct hub *hub_new(const struct hub_limits *limits, struct rules *rules, unsigned reactors, const char *epoch)
{
    assert(reactors >= 1 && reactors <= HUB_MAX_REACTORS);
    struct hub *hub = calloc(1, sizeof *hub + reactors * sizeof hub->reactors[0]);
    if (hub == NULL)
        return NULL;
    hub->patterns = pattern_index_new();
    hub->losses = calloc(rules_count(rules) + 1, sizeof *hub->losses);
    if (hub->patterns == NULL || hub->losses == NULL) {
        pattern_index_free(hub->patterns);
        free(hub->losses);
        free(hub);
        return NULL;
    }
    for (size_t i = 0; i <= rules_count(rules); i++)
        list_init(&hub->losses[i].topics);
    pthread_mutex_init(&hub->lock, NULL);
    memcpy(hub->epoch, epoch, EPOCH_LEN);
    hub->rules = rules_ref(rules);
    hub->patterns_gen = 1; /* a new topic's 0 is never current */
    map_init(&hub->topics, topic_equals);
    key_table_init(&hub->keys, limits->keys, limits->key_window_ms);
    hub->limits = *limits;
    hub->reactor_count = reactors;
    for (unsigned i = 0; i < reactors; i++)
        inbox_init(&hub->reactors[i].inbox, limits->inbox_bytes, &hub->inboxes_over);
    return hub;
}

static void free_topic_node(struct map_node *node, void *ctx)
{
    (void)ctx;
    hub_topic_free(HLY_CONTAINER_OF(node, struct topic, node));
}

void hub_free(struct hub *hub)
{
    if (hub == NULL)
        return;
    for (unsigned i = 0; i < hub->reactor_count; i++)
        inbox_done(&hub->reactors[i].inbox);
    map_drain(&hub->topics, free_topic_node, NULL);
    map_done(&hub->topics);
    key_table_done(&hub->keys);
    assert(pattern_index_count(hub->patterns) == 0);
    pattern_index_free(hub->patterns);
    rules_unref(hub->rules);
    pthread_mutex_destroy(&hub->lock);
    seqlog_done(&hub->kept);
    free(hub->losses);
    free(hub->old_losses);
    free(hub);
}

void hub_set_wake(struct hub *hub, unsigned reactor, void (*wake)(void *ctx), void *ctx)
{
    hub->reactors[reactor].wake = wake;
    hub->reactors[reactor].ctx = ctx;
}

void hub_wake(struct hub *hub, uint64_t reactors)
{
    for (; reactors != 0; reactors &= reactors - 1) {
        struct hub_reactor *r = &hub->reactors[__builtin_ctzll(reactors)];
        if (r->wake != NULL)
            r->wake(r->ctx);
    }
}

const char *hub_epoch(const struct hub *hub)
{
    return hub->epoch; /* as long as the process lives; set before the threads start */
}

uint64_t hub_head(struct hub *hub)
{
    hub_lock(hub);
    uint64_t head = hub->head;
    hub_unlock(hub);
    return head;
}

struct rules *hub_rules(struct hub *hub)
{
    hub_lock(hub);
    struct rules *r = rules_ref(hub->rules);
    hub_unlock(hub);
    return r;
}

/* ---- publishing */

static void add_pattern(void *value, void *ctx)
{
    struct hub_pattern *sum = ctx;
    const struct hub_pattern *p = value;
    sum->reactors |= p->reactors;
    sum->subscribers += p->subscribers;
}

/* Without memory for a list of the patterns that match, they are looked up. */
void hub_find_takers(struct hub *hub, struct topic *t, const struct message *m, struct hub_takers *ret)
{
    struct hub_pattern sum = { .reactors = hub->all };
    if (t == NULL || hub_topic_match(hub, t) < 0) {
        if (pattern_index_count(hub->patterns) > 0)
            pattern_index_match(hub->patterns, m->bytes, m->topic_len, add_pattern, &sum);
    } else {
        for (uint32_t i = 0; i < t->pattern_count; i++)
            add_pattern(t->patterns[i], &sum);
    }
    *ret = (struct hub_takers){ sum.reactors, sum.subscribers };
    if (t != NULL) {
        ret->reactors |= t->reactors;
        ret->subscribers += t->subscribers;
    }
}

static int hub_reserve(struct hub *hub, uint64_t reactors)
{
    for (; reactors != 0; reactors &= reactors - 1)
        if (inbox_reserve(&hub->reactors[__builtin_ctzll(reactors)].inbox, 1) < 0)
            return -ENOMEM;
    return 0;
}

uint64_t hub_push(struct hub *hub, struct message *m, uint64_t reactors)
{
    uint64_t wake = 0;
    for (; reactors != 0; reactors &= reactors - 1) {
        unsigned i = (unsigned)__builtin_ctzll(reactors);
        if (inbox_push(&hub->reactors[i].inbox, message_ref(m)))
            wake |= 1ull << i;
    }
    return wake;
}

static int hub_publish_locked(struct hub *hub, struct message *m, struct slice key, uint64_t *ret_wake, struct hub_receipt *ret)
{
    struct key_entry *e = NULL;
    if (key.len > 0 && (e = key_table_find(&hub->keys, message_topic(m), key, m->born_ms)) != NULL) {
        hub->stats.repeated++;
        *ret = (struct hub_receipt){ .seq = e->seq, .subscribers = e->subscribers, .repeated = true };
        return 0;
    }
    struct topic *t = hub_topic_find(hub, m->bytes, m->topic_len, m->topic_hash);
    const struct rule *rule = NULL;
    int r = -ENOMEM;
    if (t == NULL && m->kind == MESSAGE_DATA && (rule = rules_find(hub->rules, m->bytes, m->topic_len))->history > 0 &&
        (t = hub_topic_get(hub, m->bytes, m->topic_len, m->topic_hash, &r)) == NULL)
        return r;
    struct hub_takers takers;
    hub_find_takers(hub, t, m, &takers);
    if (hub_reserve(hub, takers.reactors) < 0)
        goto err1;
    if (key.len > 0 && (e = key_table_add(&hub->keys, message_topic(m), key, m->born_ms)) == NULL && hub->limits.keys > 0)
        goto err1;
    hub->head = m->seq = m->seq == 0 ? hub->head + 1 : m->seq;
    hub->stats.published++;
    if (m->kind != MESSAGE_DATA) {
        /* nothing is kept, and nothing that is kept is missing */
    } else if (t != NULL) {
        hub_keep(hub, t, m);
        hub_topic_release(hub, t); /* it may have kept nothing, and have nobody */
    } else {
        hub_lose(hub, rule, m->seq);
    }
    *ret_wake = hub_push(hub, m, takers.reactors);
    *ret = (struct hub_receipt){ .seq = m->seq, .subscribers = takers.subscribers };
    if (e != NULL) {
        e->seq = ret->seq;
        e->subscribers = ret->subscribers;
    }
    return 0;
err1:
    if (t != NULL)
        hub_topic_release(hub, t);
    return -ENOMEM;
}

int hub_publish(struct hub *hub, struct message *m, struct slice key, unsigned from, struct hub_receipt *ret)
{
    uint64_t wake = 0;
    hub_lock(hub);
    int r = hub_publish_locked(hub, m, key, &wake, ret);
    bool is_over = hub_evict(hub);
    hub_unlock(hub);
    hub_wake(hub, wake & ~(1ull << from));
    while (is_over) { /* a great message after many small ones: they go in slices, others have the lock in between */
        hub_lock(hub);
        is_over = hub_evict(hub);
        hub_unlock(hub);
    }
    return r;
}

int hub_follow(struct hub *hub, struct message *m, unsigned from)
{
    struct hub_receipt receipt;
    uint64_t seq = m->seq;
    int r = hub_publish(hub, m, (struct slice){ 0 }, from, &receipt);
    if (r == 0)
        return 0;
    hub_lock(hub);
    hub->head = seq;
    hub_lose(hub, rules_find(hub->rules, m->bytes, m->topic_len), seq);
    struct topic *t = hub_topic_find(hub, m->bytes, m->topic_len, m->topic_hash);
    if (t != NULL) {
        history_set_mark(&t->history, seq);
        hub_note_loss(hub, t);
    }
    hub_unlock(hub);
    return r;
}

void hub_set_all(struct hub *hub, unsigned reactor, bool all)
{
    hub_lock(hub);
    hub->all = all ? hub->all | 1ull << reactor : hub->all & ~(1ull << reactor);
    hub_unlock(hub);
}

bool hub_is_congested(const struct hub *hub)
{
    return atomic_load_explicit(&hub->inboxes_over, memory_order_acquire) > 0;
}

size_t hub_take(struct hub *hub, unsigned reactor, struct message **out, size_t max)
{
    bool relieved;
    size_t n = inbox_take(&hub->reactors[reactor].inbox, out, max, &relieved);
    if (relieved && !hub_is_congested(hub))
        hub_wake(hub, hub->reactor_count == 64 ? UINT64_MAX : (1ull << hub->reactor_count) - 1);
    return n;
}

uint64_t hub_taken_seq(struct hub *hub, unsigned reactor)
{
    struct inbox *in = &hub->reactors[reactor].inbox;
    hub_lock(hub); /* nobody pushes meanwhile */
    uint64_t first = inbox_first_seq(in);
    uint64_t seq = first == 0 ? hub->head : first - 1;
    hub_unlock(hub);
    return seq;
}

bool hub_has_mail(struct hub *hub, unsigned reactor)
{
    return inbox_has_mail(&hub->reactors[reactor].inbox);
}

/* ---- subscribing */

static int hub_pattern_get(struct hub *hub, const char *name, size_t len, struct hub_pattern **ret)
{
    struct hub_pattern *p = pattern_index_get(hub->patterns, name, len);
    if (p == NULL) {
        if (pattern_index_count(hub->patterns) >= hub->limits.patterns) {
            hub->stats.refused_topics++;
            return -EDQUOT;
        }
        p = calloc(1, sizeof *p);
        if (p == NULL || pattern_index_add(hub->patterns, name, len, p) < 0) {
            free(p);
            return -ENOMEM;
        }
        hub->patterns_gen++;
    }
    *ret = p;
    return 0;
}

static int hub_subscribe_locked(struct hub *hub, struct slice name, bool is_pattern, uint64_t hash, uint64_t reactor_bit,
                                uint64_t *ret_count)
{
    int r = 0;
    if (is_pattern) {
        struct hub_pattern *p;
        if ((r = hub_pattern_get(hub, name.ptr, name.len, &p)) < 0)
            return r;
        *ret_count = ++p->subscribers;
        p->reactors |= reactor_bit;
    } else {
        struct topic *t = hub_topic_get(hub, name.ptr, name.len, hash, &r);
        if (t == NULL)
            return r;
        *ret_count = ++t->subscribers;
        t->reactors |= reactor_bit;
    }
    hub->stats.subscriptions++;
    return 0;
}

int hub_subscribe_told(struct hub *hub, struct slice name, bool is_pattern, unsigned reactor, bool is_first, uint64_t *ret_seq, bool *ret_occupied)
{
    uint64_t hash = hash_bytes(name.ptr, name.len), count = 0;
    hub_lock(hub);
    int r = hub_subscribe_locked(hub, name, is_pattern, hash, is_first ? 1ull << reactor : 0, &count);
    *ret_seq = hub->head;
    hub_unlock(hub);
    *ret_occupied = r == 0 && count == 1;
    return r;
}

int hub_subscribe(struct hub *hub, struct slice name, bool is_pattern, unsigned reactor, bool is_first, uint64_t *ret_seq)
{
    bool occupied;
    return hub_subscribe_told(hub, name, is_pattern, reactor, is_first, ret_seq, &occupied);
}

void hub_unsubscribe(struct hub *hub, struct slice name, bool is_pattern, unsigned reactor, bool is_last)
{
    bool vacated;
    hub_unsubscribe_told(hub, name, is_pattern, reactor, is_last, &vacated);
}

void hub_unsubscribe_told(struct hub *hub, struct slice name, bool is_pattern, unsigned reactor, bool is_last, bool *ret_vacated)
{
    uint64_t hash = hash_bytes(name.ptr, name.len);
    uint64_t gone = is_last ? 1ull << reactor : 0;
    hub_lock(hub);
    if (is_pattern) {
        struct hub_pattern *p = pattern_index_get(hub->patterns, name.ptr, name.len);
        assert(p != NULL && p->subscribers > 0);
        p->reactors &= ~gone;
        *ret_vacated = --p->subscribers == 0;
        if (*ret_vacated) {
            free(pattern_index_remove(hub->patterns, name.ptr, name.len));
            hub->patterns_gen++;
        }
    } else {
        struct topic *t = hub_topic_find(hub, name.ptr, name.len, hash);
        assert(t != NULL && t->subscribers > 0);
        t->reactors &= ~gone;
        *ret_vacated = --t->subscribers == 0;
        hub_topic_release(hub, t);
    }
    hub->stats.subscriptions--;
    hub_unlock(hub);
}
