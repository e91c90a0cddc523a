/* Reading history: what a client is replayed that comes back, and what a subscriber reads that fell behind. */
#include "core/hub_internal.h"

#include <string.h>

#include "core/topic_name.h"

#define READ_STEPS 1000 /* comparisons under one lock hold, roughly */
#define MERGE_MAX 128   /* topics whose histories are merged; more are found by walking the log of all messages */

static bool name_matches(const struct hub_name *n, const char *topic, size_t len)
{
    if (!n->is_pattern)
        return n->name.len == len && memcmp(n->name.ptr, topic, len) == 0;
    return pattern_matches(n->name.ptr, n->name.len, topic, len);
}

static bool any_matches(const struct hub_name *names, size_t count, const struct message *m)
{
    for (size_t i = 0; i < count; i++)
        if (m->seq > names[i].from_seq && name_matches(&names[i], m->bytes, m->topic_len))
            return true;
    return false;
}

static size_t steps_for(size_t count) /* each step compares with every name */
{
    return READ_STEPS / (count + 1) + 16;
}

/* ---- gaps */

struct look { /* for losses that a reader has not been told of */
    uint64_t above;  /* this seq */
    uint64_t since;  /* this number of losses */
    size_t steps;    /* so many topics may be looked at; then a loss is taken for granted */
};

static enum hub_gap gap_of(const struct rule *rule)
{
    return rule->on_slow == RULE_CONFLATE ? HUB_GAP_CONFLATED : HUB_GAP_EVICTED;
}

static enum hub_gap topic_gap(struct hub *hub, struct slice name, const struct look *look)
{
    const struct topic *t = hub_topic_find(hub, name.ptr, name.len, hash_bytes(name.ptr, name.len));
    const struct rule *rule = rules_find(hub->rules, name.ptr, name.len);
    if (t != NULL)
        return t->history.mark > look->above && t->lost_no > look->since ? gap_of(rule) : HUB_GAP_NONE;
    const struct rule_losses *l = &hub->losses[hub_rule_index(hub, rule)];
    return l->horizon > look->above && l->horizon_no > look->since ? gap_of(rule) : HUB_GAP_NONE;
}

static bool rule_has_gap(const struct rule_losses *l, const struct hub_name *n, struct look *look)
{
    if (l->horizon > look->above && l->horizon_no > look->since)
        return true; /* which topics died is not remembered: a false gap is better than a silent one */
    LIST_EACH (it, &l->topics) {
        const struct topic *t = LIST_ENTRY(it, struct topic, lost);
        if (t->lost_no <= look->since || t->lost_at <= look->above)
            return false; /* the rest lost theirs even earlier */
        if (look->steps == 0)
            return true;
        look->steps--;
        if (t->history.mark > look->above && pattern_matches(n->name.ptr, n->name.len, t->name, t->name_len))
            return true;
    }
    return false;
}

static bool rule_touches(struct hub *hub, size_t rule, const struct hub_name *n)
{
    if (rule == rules_count(hub->rules))
        return true;
    struct slice p = rules_topics_at(hub->rules, rule);
    return pattern_intersects(p.ptr, p.len, n->name.ptr, n->name.len);
}

/* Do rules before this one take every topic of the pattern? */
static bool is_covered_before(struct hub *hub, size_t rule, const struct hub_name *n)
{
    for (size_t i = 0; i < rule; i++) {
        struct slice p = rules_topics_at(hub->rules, i);
        if (pattern_covers(p.ptr, p.len, n->name.ptr, n->name.len))
            return true;
    }
    return false;
}

static enum hub_gap pattern_gap(struct hub *hub, const struct hub_name *n, struct look *look)
{
    enum hub_gap gap = HUB_GAP_NONE;
    for (size_t rule = 0; rule <= rules_count(hub->rules) && gap < HUB_GAP_EVICTED; rule++) {
        const struct rule_losses *l = &hub->losses[rule];
        if (l->highest <= look->above && l->horizon <= look->above)
            continue;
        if (!rule_touches(hub, rule, n) || !rule_has_gap(l, n, look))
            continue;
        if (is_covered_before(hub, rule, n))
            break; /* it has none of the pattern's topics, and neither have those after it */
        gap = rule < rules_count(hub->rules) ? gap_of(rules_at(hub->rules, rule)) : HUB_GAP_EVICTED;
    }
    for (size_t i = 0; i < hub->old_count && gap < HUB_GAP_EVICTED; i++) /* topics that are still in the lists of rules before */
        if (rule_has_gap(&hub->old_losses[i], n, look))
            gap = HUB_GAP_EVICTED;
    return gap;
}

static enum hub_gap find_gap(struct hub *hub, const struct hub_name *names, size_t count, const struct hub_reader *r)
{
    uint64_t above = r->pos > r->forgiven ? r->pos : r->forgiven;
    struct look look = { .since = r->losses_seen, .steps = READ_STEPS };
    enum hub_gap gap = HUB_GAP_NONE;
    if (hub->loss_count == r->losses_seen)
        return HUB_GAP_NONE;
    for (size_t i = 0; i < count && gap < HUB_GAP_EVICTED; i++) {
        look.above = above > names[i].from_seq ? above : names[i].from_seq;
        enum hub_gap one = names[i].is_pattern ? pattern_gap(hub, &names[i], &look) : topic_gap(hub, names[i].name, &look);
        gap = one > gap ? one : gap;
    }
    return gap;
}

/* ---- messages */

static bool is_full(const struct hub_read *ret)
{
    return ret->count == HUB_READ_MAX || ret->bytes >= HUB_READ_BYTES;
}

static bool is_newest(const struct message *m)
{
    const struct history *h = &m->kept_by->history;
    return history_at(h, h->count - 1) == m;
}

static void take(struct hub_read *ret, struct message *m)
{
    if (m->on_slow == RULE_CONFLATE && is_newest(m)) /* others are not asked for it */
        ret->newest |= 1ull << ret->count;
    ret->messages[ret->count++] = message_ref(m);
    ret->bytes += m->payload_len;
}

struct collect {
    const struct hub_name *names;
    size_t count;
    struct hub_read *ret;
};

static bool collect_visit(struct message *m, void *ctx)
{
    struct collect *c = ctx;
    if (!any_matches(c->names, c->count, m))
        return true;
    if (is_full(c->ret))
        return false;
    take(c->ret, m);
    return true;
}

static void read_log(struct hub *hub, const struct hub_name *names, size_t count, struct hub_reader *r, struct hub_read *ret)
{
    struct collect c = { names, count, ret };
    uint64_t at;
    seqlog_walk(&hub->kept, r->pos, steps_for(count), collect_visit, &c, &at);
    ret->is_level = at == UINT64_MAX;
    r->pos = ret->is_level ? hub->head : at;
}

struct merge_source {
    const struct history *history;
    uint32_t next;
};

static struct merge_source *find_source(struct merge_source *sources, size_t n, const struct history *h)
{
    for (size_t i = 0; i < n; i++)
        if (sources[i].history == h)
            return &sources[i];
    return NULL;
}

/* A few topics: merge their histories. */
static void read_merged(struct hub *hub, const struct hub_name *names, size_t count, struct hub_reader *r, struct hub_read *ret)
{
    struct merge_source sources[MERGE_MAX];
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        struct slice name = names[i].name;
        const struct topic *t = hub_topic_find(hub, name.ptr, name.len, hash_bytes(name.ptr, name.len));
        uint64_t after = names[i].from_seq > r->pos ? names[i].from_seq : r->pos;
        struct merge_source *same = t == NULL ? NULL : find_source(sources, n, &t->history);
        if (t != NULL && same == NULL)
            sources[n++] = (struct merge_source){ &t->history, history_find_after(&t->history, after) };
        else if (same != NULL && history_find_after(&t->history, after) < same->next) /* a name that comes twice is read once */
            same->next = history_find_after(&t->history, after);
    }
    while (!is_full(ret)) {
        struct merge_source *first = NULL;
        for (size_t i = 0; i < n; i++)
            if (sources[i].next < sources[i].history->count &&
                (first == NULL || history_at(sources[i].history, sources[i].next)->seq < history_at(first->history, first->next)->seq))
                first = &sources[i];
        if (first == NULL) {
            ret->is_level = true;
            r->pos = hub->head;
            return;
        }
        struct message *m = history_at(first->history, first->next++);
        r->pos = m->seq;
        take(ret, m);
    }
}

static bool has_pattern(const struct hub_name *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (names[i].is_pattern)
            return true;
    return false;
}

void hub_read(struct hub *hub, const struct hub_name *names, size_t count, struct hub_reader *r, struct hub_read *ret)
{
    ret->count = ret->bytes = 0;
    ret->newest = 0;
    ret->is_level = false;
    hub_lock(hub);
    ret->gap = find_gap(hub, names, count, r);
    r->losses_seen = hub->loss_count;
    r->forgiven = 0;
    if (count <= MERGE_MAX && !has_pattern(names, count))
        read_merged(hub, names, count, r, ret);
    else
        read_log(hub, names, count, r, ret);
    hub_unlock(hub);
}

/* ---- the newest few */

struct seek {
    const struct hub_name *names;
    size_t count;
    bool by_bytes;
    uint64_t want; /* messages, or bytes */
    uint64_t found;
    uint64_t at; /* seq of the last one found; 0: none in this slice */
    bool is_done;
};

static bool seek_visit(struct message *m, void *ctx)
{
    struct seek *s = ctx;
    if (s->is_done)
        return false;
    if (!any_matches(s->names, s->count, m))
        return true;
    uint64_t more = s->by_bytes ? m->payload_len + (uint64_t)m->topic_len : 1;
    s->is_done = s->found > 0 && s->found + more > s->want; /* one at least, however long */
    if (s->is_done)
        return false;
    s->found += more;
    s->at = m->seq;
    s->is_done = s->found >= s->want;
    return true;
}

/* A few topics: walk their histories back, merged; a topic that has little does not cost a walk over all there is. Down to which seq. */
static uint64_t seek_merged(struct hub *hub, struct seek *s, uint64_t before)
{
    struct merge_source sources[MERGE_MAX]; /* next: how many are left */
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++) {
        struct slice name = s->names[i].name;
        const struct topic *t = hub_topic_find(hub, name.ptr, name.len, hash_bytes(name.ptr, name.len));
        if (t != NULL && find_source(sources, n, &t->history) == NULL)
            sources[n++] = (struct merge_source){ &t->history, history_find_after(&t->history, before - 1) };
    }
    for (size_t steps = steps_for(n); steps > 0; steps--) {
        struct merge_source *newest = NULL;
        for (size_t i = 0; i < n; i++)
            if (sources[i].next > 0 && (newest == NULL || history_at(sources[i].history, sources[i].next - 1)->seq >
                                                              history_at(newest->history, newest->next - 1)->seq))
                newest = &sources[i];
        if (newest == NULL)
            return 0;
        struct message *m = history_at(newest->history, --newest->next);
        if (!seek_visit(m, s))
            return before;
        before = m->seq;
    }
    return before;
}

/* Returns true when *pos is where to begin: everything found is after it. With nothing wanted that is where it is, whatever comes before. */
static bool seek(struct hub *hub, struct seek *s, uint64_t *pos)
{
    uint64_t at;
    hub_lock(hub);
    if (*pos == UINT64_MAX)
        *pos = hub->head + 1;
    at = *pos;
    s->is_done = s->want == 0;
    if (!s->is_done && s->count <= MERGE_MAX && !has_pattern(s->names, s->count))
        at = seek_merged(hub, s, *pos);
    else if (!s->is_done)
        seqlog_walk_back(&hub->kept, *pos, steps_for(s->count), seek_visit, s, &at);
    hub_unlock(hub);
    if (s->is_done)
        *pos = s->at != 0 ? s->at - 1 : *pos - 1;
    else
        *pos = at;
    return s->is_done || at == 0;
}

bool hub_seek_last(struct hub *hub, const struct hub_name *names, size_t count, uint64_t last, uint64_t *pos, uint64_t *found)
{
    struct seek s = { .names = names, .count = count, .want = last, .found = *found };
    bool done = seek(hub, &s, pos);
    *found = s.found;
    return done;
}

bool hub_seek_bytes(struct hub *hub, const struct hub_name *names, size_t count, uint64_t bytes, uint64_t *pos, uint64_t *found)
{
    struct seek s = { .names = names, .count = count, .by_bytes = true, .want = bytes, .found = *found };
    bool done = seek(hub, &s, pos);
    *found = s.found;
    return done;
}
