#include "core/hub_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "core/hub_internal.h"
#include "core/topic_name.h"

#define SLICE_MESSAGES 64
#define SLICE_BYTES 262144
#define SLICE_STEPS 1000
#define SLICE_ENTRIES 200

/* ---- dump */

enum stage { MESSAGES, KEYS, TOPICS, RULES };

void hub_dump_begin(struct hub_dump *d, uint32_t salt)
{
    *d = (struct hub_dump){ .salt = salt, .stage = MESSAGES };
}

struct message_slice {
    struct message *items[SLICE_MESSAGES];
    size_t count;
    size_t bytes;
    uint64_t until;
    bool is_over;
};

static bool collect_message(struct message *m, void *ctx)
{
    struct message_slice *s = ctx;
    s->is_over = m->seq > s->until;
    if (s->is_over || s->count == SLICE_MESSAGES || s->bytes >= SLICE_BYTES)
        return false;
    s->items[s->count++] = message_ref(m);
    s->bytes += m->payload_len;
    return true;
}

/* Returns whether there are more. The bytes are written without the lock. */
static bool dump_messages(struct hub *hub, struct hub_dump *d, struct buf *out)
{
    struct message_slice s = { .count = 0 };
    hub_lock(hub);
    if (d->at == 0)
        d->until = hub->head; /* else it would never end while somebody publishes as fast as it walks */
    s.until = d->until;
    seqlog_walk(&hub->kept, d->at, SLICE_STEPS, collect_message, &s, &d->at);
    hub_unlock(hub);
    for (size_t i = 0; i < s.count; i++) {
        struct message *m = s.items[i];
        hub_record_encode(out, d->salt, &(struct hub_record){ .type = HUB_RECORD_MESSAGE,
                                                              .kind = m->payload_kind,
                                                              .seq = m->seq,
                                                              .time_ms = m->time_ms,
                                                              .stamps = m->stamps,
                                                              .topic = message_topic(m),
                                                              .from = message_from(m),
                                                              .payload = { message_payload(m), m->payload_len } });
        message_unref(m);
    }
    return d->at != UINT64_MAX && !s.is_over;
}

struct entry_slice {
    struct hub *hub;
    struct buf *out;
    uint32_t salt;
    size_t count;
    uint64_t wall_ms;
    uint64_t mono_ms;
};

static void dump_key(struct map_node *node, void *ctx)
{
    struct entry_slice *s = ctx;
    const struct key_entry *e = HLY_CONTAINER_OF(node, const struct key_entry, node);
    s->count++;
    if (e->seq == 0 || e->seq > s->hub->head || e->key_len > 255) /* it is on its way: nobody has its answer */
        return;
    hub_record_encode(s->out, s->salt, &(struct hub_record){ .type = HUB_RECORD_KEY,
                                                             .seq = e->seq,
                                                             .time_ms = s->wall_ms - clock_age_ms(s->mono_ms, e->used_ms),
                                                             .number = e->subscribers,
                                                             .topic = { e->bytes, e->topic_len },
                                                             .key = { e->bytes + e->topic_len, e->key_len } });
}

static void dump_topic(struct map_node *node, void *ctx)
{
    struct entry_slice *s = ctx;
    const struct topic *t = HLY_CONTAINER_OF(node, const struct topic, node);
    s->count++;
    if (t->history.mark > 0)
        hub_record_encode(s->out, s->salt, &(struct hub_record){ .type = HUB_RECORD_TOPIC, .seq = t->history.mark, .topic = { t->name, t->name_len } });
}

static bool dump_table(struct hub *hub, struct hub_dump *d, struct buf *out, bool is_keys)
{
    struct entry_slice s = { .hub = hub, .out = out, .salt = d->salt, .wall_ms = clock_wall_ms(), .mono_ms = clock_mono_ms() };
    bool more = true;
    hub_lock(hub);
    for (int n = 0; n < SLICE_STEPS / 2 && s.count < SLICE_ENTRIES && more; n++)
        more = map_scan(is_keys ? &hub->keys.map : &hub->topics, &d->at, is_keys ? dump_key : dump_topic, &s);
    hub_unlock(hub);
    return more;
}

/* A rule that keeps nothing has lost whatever was published, of living topics too: those are not restored. */
static void dump_rule(struct hub *hub, size_t i, uint32_t salt, struct buf *out)
{
    const struct rule_losses *l = &hub->losses[i];
    bool is_builtin = i == rules_count(hub->rules);
    uint64_t kept = is_builtin ? 0 : rules_at(hub->rules, i)->history, highest = l->highest;
    for (size_t k = 0; k < hub->old_count; k++) /* after a reload: of topics that have not moved to their new rule's list yet */
        highest = hub->old_losses[k].highest > highest ? hub->old_losses[k].highest : highest;
    hub_record_encode(out, salt, &(struct hub_record){ .type = HUB_RECORD_RULE,
                                                       .seq = kept == 0 && highest > l->horizon ? highest : l->horizon,
                                                       .number = kept,
                                                       .payload = is_builtin ? (struct slice){ NULL, 0 } : rules_topics_at(hub->rules, i) });
}

void hub_dump_rules(struct hub *hub, uint32_t salt, struct buf *out)
{
    hub_lock(hub);
    for (size_t i = 0; i <= rules_count(hub->rules); i++)
        dump_rule(hub, i, salt, out);
    hub_record_encode(out, salt, &(struct hub_record){ .type = HUB_RECORD_HEAD, .seq = hub->head, .time_ms = clock_wall_ms(), .number = rules_count(hub->rules) + 1, .topic = { hub->epoch, EPOCH_LEN } });
    hub_unlock(hub);
}

bool hub_dump(struct hub *hub, struct hub_dump *d, struct buf *out)
{
    bool more = false;
    switch (d->stage) {
    case MESSAGES:
        more = dump_messages(hub, d, out);
        break;
    case KEYS:
        more = dump_table(hub, d, out, true);
        break;
    case TOPICS:
        more = dump_table(hub, d, out, false);
        break;
    case RULES:
        hub_dump_rules(hub, d->salt, out);
        return false;
    }
    if (!more) {
        d->stage++;
        d->at = 0;
    }
    return true;
}

/* ---- restore */

struct stored_rule {
    char *pattern;
    size_t len;
    uint64_t horizon;
    uint64_t kept;
};

struct hub_restore {
    struct hub *hub;
    uint64_t wall_ms;
    uint64_t mono_ms;
    uint64_t last_seq; /* of a message */
    uint64_t head;
    char epoch[EPOCH_LEN + 1];
    struct stored_rule *rules;
    size_t rule_count;
    bool rules_are_whole; /* a head came after them: the next rule begins another list */
};

struct hub_restore *hub_restore_begin(struct hub *hub)
{
    struct hub_restore *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->hub = hub;
    r->wall_ms = clock_wall_ms();
    r->mono_ms = clock_mono_ms();
    return r;
}

uint64_t hub_restore_head(const struct hub_restore *r)
{
    return r->head > r->last_seq ? r->head : r->last_seq;
}

const char *hub_restore_epoch(const struct hub_restore *r)
{
    return r->epoch;
}

/* The monotonic clock may have begun after that: then it is below 0, and counts from there (clock_age_ms()). */
static uint64_t restored_ms(const struct hub_restore *r, uint64_t time_ms, uint64_t *ret_age_ms)
{
    *ret_age_ms = r->wall_ms > time_ms ? r->wall_ms - time_ms : 0;
    return r->mono_ms - *ret_age_ms;
}

static void raise_horizon(struct hub *hub, size_t rule, uint64_t seq)
{
    struct rule_losses *l = &hub->losses[rule];
    if (seq <= l->horizon)
        return;
    l->horizon = seq;
    l->horizon_no = ++hub->loss_count;
    if (l->highest < seq)
        l->highest = seq;
}

static void raise_mark(struct hub *hub, struct topic *t, uint64_t seq)
{
    if (seq <= t->history.mark)
        return;
    history_set_mark(&t->history, seq);
    hub_note_loss(hub, t);
}

static void restore_loss(struct hub *hub, struct slice topic, uint64_t seq)
{
    struct topic *t = hub_topic_find(hub, topic.ptr, topic.len, hash_bytes(topic.ptr, topic.len));
    if (t != NULL)
        raise_mark(hub, t, seq);
    else
        raise_horizon(hub, hub_rule_index(hub, rules_find(hub->rules, topic.ptr, topic.len)), seq);
}

/* ---- messages and keys */

static int restore_key(struct hub_restore *r, const struct hub_record *record)
{
    uint64_t age;
    uint64_t used_ms = restored_ms(r, record->time_ms, &age);
    struct key_table *keys = &r->hub->keys;
    if (age >= keys->window_ms || keys->max_keys == 0)
        return 1;
    struct key_entry *e = key_table_find(keys, record->topic, record->key, r->mono_ms);
    if (e != NULL && e->seq >= record->seq)
        return 1;
    if (e == NULL && (e = key_table_add(keys, record->topic, record->key, used_ms)) == NULL)
        return -ENOMEM;
    e->used_ms = used_ms;
    e->seq = record->seq;
    e->subscribers = record->number;
    return 1;
}

static int restore_message(struct hub_restore *r, const struct hub_record *record)
{
    uint64_t age;
    uint64_t born_ms = restored_ms(r, record->time_ms, &age);
    struct hub *hub = r->hub;
    struct slice topic = record->topic;
    const struct rule *rule = rules_find(hub->rules, topic.ptr, topic.len);
    int error = 0;
    if (rule->history == 0 || (rule->history_ttl_ms > 0 && age > rule->history_ttl_ms)) {
        restore_loss(hub, topic, record->seq);
        return 1;
    }
    struct message *m = message_new_from(topic.ptr, topic.len, record->payload.ptr, (uint32_t)record->payload.len, record->from);
    struct topic *t = m == NULL ? NULL : hub_topic_get(hub, topic.ptr, topic.len, m->topic_hash, &error);
    if (t == NULL) {
        message_unref(m);
        restore_loss(hub, topic, record->seq);
        return -ENOMEM;
    }
    m->seq = record->seq;
    m->time_ms = record->time_ms;
    m->born_ms = born_ms;
    m->payload_kind = record->kind;
    m->stamps = record->stamps;
    m->on_slow = (uint8_t)rule->on_slow;
    m->has_events = rule->events;
    hub_keep(hub, t, m);
    hub_topic_release(hub, t);
    message_unref(m);
    while (hub_evict(hub))
        continue;
    return 1;
}

static bool message_makes_sense(const struct hub_record *record)
{
    return record->seq > 0 && record->kind <= RULE_BINARY && topic_name_error(record->topic.ptr, record->topic.len) == NULL;
}

static int take_message(struct hub_restore *r, const struct hub_record *record)
{
    int result = 1;
    if (!message_makes_sense(record))
        return -EINVAL;
    if (record->seq > r->last_seq) {
        r->last_seq = record->seq;
        if (r->hub->head < record->seq)
            r->hub->head = record->seq;
        result = restore_message(r, record);
    }
    if (record->key.len > 0 && restore_key(r, record) < 0)
        result = -ENOMEM;
    return result;
}

/* ---- rules */

static void forget_rules(struct hub_restore *r)
{
    for (size_t i = 0; i < r->rule_count; i++)
        free(r->rules[i].pattern);
    r->rule_count = 0;
    r->rules_are_whole = false;
}

static int take_rule(struct hub_restore *r, const struct hub_record *record)
{
    if (record->payload.len > 0 && pattern_error(record->payload.ptr, record->payload.len) != NULL)
        return -EINVAL;
    if (r->rules_are_whole)
        forget_rules(r);
    char *pattern = malloc(record->payload.len + 1);
    struct stored_rule *rules = realloc(r->rules, (r->rule_count + 1) * sizeof *rules);
    if (rules != NULL)
        r->rules = rules;
    if (pattern == NULL || rules == NULL) {
        free(pattern); /* the head will find one missing */
        return -ENOMEM;
    }
    memcpy(pattern, record->payload.ptr, record->payload.len);
    r->rules[r->rule_count++] = (struct stored_rule){ pattern, record->payload.len, record->seq, record->number };
    return 1;
}

static bool rules_are_same(const struct hub_restore *r)
{
    const struct rules *now = r->hub->rules;
    if (r->rule_count != rules_count(now) + 1)
        return false;
    for (size_t i = 0; i < rules_count(now); i++) {
        struct slice p = rules_topics_at(now, i);
        if (r->rules[i].len != p.len || memcmp(r->rules[i].pattern, p.ptr, p.len) != 0)
            return false;
    }
    return r->rules[r->rule_count - 1].len == 0;
}

/* Topics of a rule that kept nothing are not in the records, and may still be alive here: of a time when it did keep them. */
struct raise {
    struct hub *hub;
    const struct stored_rule *rule;
};

static void raise_topic(struct map_node *node, void *ctx)
{
    struct raise *x = ctx;
    struct topic *t = HLY_CONTAINER_OF(node, struct topic, node);
    if (x->rule->len == 0 || pattern_matches(x->rule->pattern, x->rule->len, t->name, t->name_len))
        raise_mark(x->hub, t, x->rule->horizon);
}

static void raise_living(struct hub *hub, const struct stored_rule *rule)
{
    struct raise x = { hub, rule };
    for (uint64_t cursor = 0; map_count(&hub->topics) > 0 && map_scan(&hub->topics, &cursor, raise_topic, &x);)
        continue;
}

static void apply_rule(struct hub *hub, const struct stored_rule *stored, size_t rule)
{
    raise_horizon(hub, rule, stored->horizon);
    if (stored->kept == 0 && stored->horizon > 0 && rule < rules_count(hub->rules) && rules_at(hub->rules, rule)->history > 0)
        raise_living(hub, stored);
}

/* The horizons of the rules that may have had this rule's topics. */
static void apply_rules_to(struct hub_restore *r, size_t rule)
{
    struct hub *hub = r->hub;
    bool is_builtin = rule == rules_count(hub->rules);
    struct slice p = is_builtin ? (struct slice){ NULL, 0 } : rules_topics_at(hub->rules, rule);
    for (size_t i = 0; i < r->rule_count; i++) {
        const struct stored_rule *s = &r->rules[i];
        if (is_builtin || s->len == 0 || pattern_intersects(s->pattern, s->len, p.ptr, p.len))
            apply_rule(hub, s, rule);
        if (!is_builtin && s->len > 0 && pattern_covers(s->pattern, s->len, p.ptr, p.len))
            return; /* those after it had none of this rule's topics */
    }
}

static void apply_rules(struct hub_restore *r)
{
    bool are_same = rules_are_same(r);
    for (size_t i = 0; i <= rules_count(r->hub->rules); i++) {
        if (are_same)
            apply_rule(r->hub, &r->rules[i], i);
        else
            apply_rules_to(r, i);
    }
}

static int take_head(struct hub_restore *r, const struct hub_record *record)
{
    if (record->topic.len != EPOCH_LEN)
        return -EINVAL;
    memcpy(r->epoch, record->topic.ptr, EPOCH_LEN);
    if (r->head < record->seq)
        r->head = record->seq;
    r->rules_are_whole = !r->rules_are_whole && r->rule_count == record->number;
    if (!r->rules_are_whole) {
        forget_rules(r);
        hub_restore_lose(r, r->head);
        return -EINVAL;
    }
    apply_rules(r);
    return 1;
}

/* ---- all */

int hub_restore_record(struct hub_restore *r, const struct hub_record *record)
{
    switch (record->type) {
    case HUB_RECORD_MESSAGE:
        return take_message(r, record);
    case HUB_RECORD_KEY:
        return record->key.len == 0 || topic_name_error(record->topic.ptr, record->topic.len) != NULL ? -EINVAL : restore_key(r, record);
    case HUB_RECORD_TOPIC:
        if (topic_name_error(record->topic.ptr, record->topic.len) != NULL)
            return -EINVAL;
        restore_loss(r->hub, record->topic, record->seq);
        return 1;
    case HUB_RECORD_RULE:
        return take_rule(r, record);
    case HUB_RECORD_HEAD:
        return take_head(r, record);
    default:
        return 0;
    }
}

void hub_restore_lose(struct hub_restore *r, uint64_t seq)
{
    const struct stored_rule any = { .horizon = seq };
    for (size_t i = 0; i <= rules_count(r->hub->rules); i++)
        raise_horizon(r->hub, i, seq);
    raise_living(r->hub, &any);
}

void hub_restore_lose_unkept(struct hub_restore *r, uint64_t seq)
{
    if (!r->rules_are_whole) {
        hub_restore_lose(r, seq);
        return;
    }
    for (size_t i = 0; i < r->rule_count; i++)
        if (r->rules[i].kept == 0)
            r->rules[i].horizon = seq;
    apply_rules(r);
}

/* Merge two sorted runs; `before` is true when a comes first. */
static void list_merge(struct list *to, struct list *a, struct list *b, bool (*before)(const struct list *a, const struct list *b))
{
    while (!list_is_empty(a) && !list_is_empty(b))
        list_push(to, list_pop(before(b->next, a->next) ? b : a));
    list_splice(to, a);
    list_splice(to, b);
}

/* Bottom up: runs[i] has 2^i nodes, or none. */
static void list_sort(struct list *l, bool (*before)(const struct list *a, const struct list *b))
{
    struct list runs[64], run, merged;
    for (size_t i = 0; i < HLY_ARRAY_LEN(runs); i++)
        list_init(&runs[i]);
    list_init(&run);
    list_init(&merged);
    for (struct list *node; (node = list_pop(l)) != NULL;) {
        size_t i = 0;
        list_push(&run, node);
        for (; !list_is_empty(&runs[i]); i++) {
            list_merge(&merged, &runs[i], &run, before);
            list_splice(&run, &merged);
        }
        list_splice(&runs[i], &run);
    }
    for (size_t i = 0; i < HLY_ARRAY_LEN(runs); i++) {
        list_merge(&merged, &runs[i], &run, before);
        list_splice(&run, &merged);
    }
    list_splice(l, &run);
}

static bool has_higher_mark(const struct list *a, const struct list *b)
{
    return LIST_ENTRY(a, const struct topic, lost)->history.mark > LIST_ENTRY(b, const struct topic, lost)->history.mark;
}

static bool is_older_key(const struct list *a, const struct list *b)
{
    uint64_t x = LIST_ENTRY(a, const struct key_entry, age)->used_ms, y = LIST_ENTRY(b, const struct key_entry, age)->used_ms;
    return (int64_t)(x - y) < 0;
}

/* As if each topic had lost its last message when that was published: the order of losses is theirs (hub_read.c, rule_has_gap()). */
static void order_losses(struct hub *hub, struct rule_losses *l)
{
    list_sort(&l->topics, has_higher_mark);
    for (struct list *it = l->topics.prev; it != &l->topics; it = it->prev) {
        struct topic *t = LIST_ENTRY(it, struct topic, lost);
        t->lost_at = t->history.mark;
        t->lost_no = ++hub->loss_count;
    }
}

void hub_restore_end(struct hub_restore *r, const char *epoch, uint64_t head)
{
    struct hub *hub = r->hub;
    hub_lock(hub);
    for (size_t i = 0; i <= rules_count(hub->rules); i++)
        order_losses(hub, &hub->losses[i]);
    list_sort(&hub->keys.by_age, is_older_key);
    memcpy(hub->epoch, epoch, EPOCH_LEN);
    hub->head = head;
    hub->stats.evicted = hub->stats.expired = hub->stats.refused_topics = 0;
    hub->keys.evicted = 0;
    hub_unlock(hub);
    forget_rules(r);
    free(r->rules);
    free(r);
}
