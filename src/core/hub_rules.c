/* Other rules for a living hub: a reload.
 *
 * New rules are in force at once; what topics remember of theirs follows. A topic takes up its new rule when it is next
 * touched (hub_topic_renew()), and hub_expire() comes by all of them. What topics have lost is found through lists, one
 * per rule, in the order of the losses. Those of the old rules are kept until hub_rules_step() has moved their topics
 * to the end of the new ones, the latest loss of all first, which keeps the new lists in that order too. Until then
 * both are looked at.
 *
 * Dead topics are known by nothing but their old rule's horizon, so a new rule begins with the highest horizon of all
 * old ones that share a topic with it: a gap may be told that is none, and none is left out. Where the patterns have not
 * changed, nothing is told that would not have been told before. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hub_internal.h"
#include "core/topic_name.h"

#define RULES_STEPS 1000 /* lists looked at under one lock hold */

/* ---- the switch */

/* How many rules at the beginning of both have the same pattern: their topics are the same too, for the first match wins. */
static size_t common_prefix(const struct rules *a, const struct rules *b)
{
    size_t n = 0;
    while (n < rules_count(a) && n < rules_count(b)) {
        struct slice x = rules_topics_at(a, n), y = rules_topics_at(b, n);
        if (x.len != y.len || memcmp(x.ptr, y.ptr, x.len) != 0)
            break;
        n++;
    }
    return n;
}

/* May a topic have gone from old rule k to new rule i? The last of each is the built-in one. */
static bool is_shared(const struct rules *before, size_t k, const struct rules *rules, size_t i, size_t prefix)
{
    if (i < prefix || k < prefix)
        return i == k;
    if (i == rules_count(rules) || k == rules_count(before))
        return true;
    struct slice a = rules_topics_at(rules, i), b = rules_topics_at(before, k);
    return pattern_intersects(a.ptr, a.len, b.ptr, b.len);
}

/* One byte for each pair of a new and an old rule. Without a lock: rules never change. NULL when out of memory. */
static uint8_t *find_shared(const struct rules *before, const struct rules *rules)
{
    size_t old_count = rules_count(before) + 1, count = rules_count(rules) + 1, prefix = common_prefix(before, rules);
    uint8_t *shared = malloc(old_count * count);
    for (size_t i = 0; shared != NULL && i < count; i++)
        for (size_t k = 0; k < old_count; k++)
            shared[i * old_count + k] = is_shared(before, k, rules, i, prefix);
    return shared;
}

static void inherit(struct rule_losses *l, const struct rule_losses *from)
{
    if (l->horizon < from->horizon)
        l->horizon = from->horizon;
    if (l->horizon_no < from->horizon_no)
        l->horizon_no = from->horizon_no;
}

/* Under the lock. Takes losses. */
static void switch_rules(struct hub *hub, struct rules *rules, struct rule_losses *losses, const uint8_t *shared)
{
    size_t old_count = rules_count(hub->rules) + 1, count = rules_count(rules) + 1;
    for (size_t i = 0; i < count; i++) {
        list_init(&losses[i].topics);
        for (size_t k = 0; k < old_count; k++)
            if (shared[i * old_count + k])
                inherit(&losses[i], &hub->losses[k]);
        losses[i].highest = losses[i].horizon;
    }
    for (size_t k = 0; k < old_count; k++)
        hub->losses[k].horizon = hub->losses[k].horizon_no = 0; /* handed on */
    hub->old_losses = hub->losses;
    hub->old_count = old_count;
    hub->losses = losses;
    rules_unref(hub->rules);
    hub->rules = rules_ref(rules);
    hub->rules_gen++;
    hub->expire_cursor = 0;
}

int hub_set_rules(struct hub *hub, struct rules *rules)
{
    HLY_CLEANUP(rules_unrefp) struct rules *before = hub_rules(hub);
    struct rule_losses *losses = calloc(rules_count(rules) + 1, sizeof *losses);
    uint8_t *shared = find_shared(before, rules);
    int r = losses == NULL || shared == NULL ? -ENOMEM : 0;
    if (r == 0) {
        hub_lock(hub);
        if (hub->old_losses != NULL || hub->rules != before)
            r = -EBUSY;
        else
            switch_rules(hub, rules, losses, shared);
        hub_unlock(hub);
    }
    if (r < 0)
        free(losses);
    free(shared);
    return r;
}

/* ---- what follows */

/* The old list whose first topic was the last to lose a message; NULL: all are empty. */
static struct rule_losses *latest(struct hub *hub)
{
    struct rule_losses *ret = NULL;
    uint64_t no = 0;
    for (size_t k = 0; k < hub->old_count; k++) {
        struct rule_losses *l = &hub->old_losses[k];
        if (list_is_empty(&l->topics) || LIST_ENTRY(l->topics.next, struct topic, lost)->lost_no < no)
            continue;
        no = LIST_ENTRY(l->topics.next, struct topic, lost)->lost_no;
        ret = l;
    }
    return ret;
}

/* Move one topic from its old rule's list to its new one's. Returns whether there was one. */
static bool move_one(struct hub *hub)
{
    struct rule_losses *from = latest(hub);
    if (from == NULL)
        return false;
    struct topic *t = LIST_ENTRY(from->topics.next, struct topic, lost);
    hub_topic_renew(hub, t);
    struct rule_losses *to = &hub->losses[t->rule];
    list_remove(&t->lost);
    list_push(&to->topics, &t->lost);
    if (to->highest < t->history.mark)
        to->highest = t->history.mark;
    return true;
}

bool hub_rules_step(struct hub *hub)
{
    hub_lock(hub);
    bool more = hub->old_losses != NULL;
    for (size_t n = 0; more && n < RULES_STEPS; n += hub->old_count)
        more = move_one(hub);
    if (!more) {
        free(hub->old_losses);
        hub->old_losses = NULL;
        hub->old_count = 0;
    }
    hub_unlock(hub);
    return more;
}

void hub_topic_take_rule(struct hub *hub, struct topic *t)
{
    const struct rule *rule = rules_find(hub->rules, t->name, t->name_len);
    t->rule = hub_rule_index(hub, rule);
    t->rules_gen = hub->rules_gen;
    t->max_history = rule->history;
    t->ttl_ms = rule->history_ttl_ms;
}

/* ---- limits */

void hub_set_limits(struct hub *hub, const struct hub_limits *limits)
{
    hub_lock(hub);
    hub->limits = *limits;
    hub->keys.max_keys = limits->keys;
    hub->keys.window_ms = limits->key_window_ms;
    for (unsigned i = 0; i < hub->reactor_count; i++)
        inbox_set_max_bytes(&hub->reactors[i].inbox, limits->inbox_bytes);
    bool is_over = hub_evict(hub);
    hub_unlock(hub);
    while (is_over) { /* in slices: others have the lock in between */
        hub_lock(hub);
        is_over = hub_evict(hub);
        hub_unlock(hub);
    }
}
