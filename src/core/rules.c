#include "core/rules.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/topic_name.h"

struct entry {
    struct rule rule;     /* its pattern is a copy */
    struct slice topics;  /* the pattern with `*` for {sub}: which topics the rule is for */
    size_t literal_bytes; /* of `topics`, before its first '*': topics that begin otherwise are not the rule's */
    bool has_sub;
};

struct rules {
    _Atomic uint32_t refs;
    size_t count;
    struct entry entries[]; /* and after them the text of the patterns */
};

static const struct rule builtin = { .pattern = { "**", 2 }, .subscribe = RULE_BACKEND, .publish = RULE_BACKEND };

const char *rules_pattern_error(const char *pattern, size_t len)
{
    return pattern_error(pattern, len); /* braces are letters there, so a level {sub} is fine */
}

static bool is_sub(struct slice level)
{
    return level.len == 5 && memcmp(level.ptr, "{sub}", 5) == 0;
}

static struct slice level_at(struct slice pattern, size_t at)
{
    const char *from = pattern.ptr + at;
    const char *slash = memchr(from, '/', pattern.len - at);
    return (struct slice){ from, slash != NULL ? (size_t)(slash - from) : pattern.len - at };
}

static bool pattern_has_sub(struct slice pattern)
{
    for (size_t at = 0; at <= pattern.len;) {
        struct slice level = level_at(pattern, at);
        if (is_sub(level))
            return true;
        at += level.len + 1;
    }
    return false;
}

/* Write the pattern to out with `subject` for each {sub}. Returns the length, or 0 if it does not fit. */
static size_t put_subject(struct slice pattern, struct slice subject, char *out, size_t size)
{
    size_t n = 0;
    for (size_t at = 0; at <= pattern.len;) {
        struct slice level = level_at(pattern, at);
        at += level.len + 1;
        if (is_sub(level))
            level = subject;
        if (level.len + 1 > size - n)
            return 0;
        memcpy(out + n, level.ptr, level.len);
        n += level.len;
        if (at <= pattern.len)
            out[n++] = '/';
    }
    return n;
}

/* ---- the set */

static void entry_init(struct entry *e, const struct rule *rule, char **text)
{
    const size_t len = rule->pattern.len;
    memcpy(*text, rule->pattern.ptr, len);
    *e = (struct entry){ .rule = *rule, .has_sub = pattern_has_sub(rule->pattern) };
    e->rule.pattern = (struct slice){ *text, len };
    *text += len;
    char *topics = *text;
    e->topics = (struct slice){ topics, put_subject(rule->pattern, SLICE_LIT("*"), topics, len + 1) };
    *text += len + 1;
    const char *star = memchr(topics, '*', e->topics.len);
    e->literal_bytes = star != NULL ? (size_t)(star - topics) : e->topics.len;
}

struct rules *rules_new(const struct rule *rules, size_t count)
{
    size_t bytes = sizeof(struct rules) + count * sizeof(struct entry);
    for (size_t i = 0; i < count; i++) {
        assert(rules_pattern_error(rules[i].pattern.ptr, rules[i].pattern.len) == NULL);
        bytes += 2 * rules[i].pattern.len + 1;
    }
    struct rules *r = malloc(bytes);
    if (r == NULL)
        return NULL;
    atomic_init(&r->refs, 1);
    r->count = count;
    char *text = (char *)(r->entries + count);
    for (size_t i = 0; i < count; i++)
        entry_init(&r->entries[i], &rules[i], &text);
    return r;
}

struct rules *rules_ref(struct rules *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

struct rules *rules_unref(struct rules *r)
{
    if (r != NULL && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
        free(r);
    return NULL;
}

size_t rules_count(const struct rules *r)
{
    return r->count;
}

const struct rule *rules_at(const struct rules *r, size_t index)
{
    assert(index < r->count);
    return &r->entries[index].rule;
}

struct slice rules_topics_at(const struct rules *r, size_t index)
{
    assert(index < r->count);
    return r->entries[index].topics;
}

size_t rules_index(const struct rules *r, const struct rule *rule)
{
    for (size_t i = 0; i < r->count; i++)
        if (rule == &r->entries[i].rule)
            return i;
    return r->count;
}

const struct rule *rules_find(const struct rules *r, const char *topic, size_t len)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct entry *e = &r->entries[i];
        if (len >= e->literal_bytes && memcmp(topic, e->topics.ptr, e->literal_bytes) == 0 &&
            pattern_matches(e->topics.ptr, e->topics.len, topic, len))
            return &e->rule;
    }
    return &builtin;
}

/* ---- who may */

bool rules_claim_covers(const struct rule_client *who, const char *name, size_t len)
{
    for (size_t i = 0; i < who->claim_count; i++) {
        struct slice claim = who->claims[i];
        if (pattern_error(claim.ptr, claim.len) == NULL && pattern_covers(claim.ptr, claim.len, name, len))
            return true;
    }
    return false;
}

static bool subject_covers(const struct entry *e, const char *subject, const char *name, size_t len)
{
    char pattern[2 * TOPIC_MAX_BYTES]; /* what does not fit is a pattern for topics that are too long to be one */
    if (!e->has_sub || subject == NULL)
        return false;
    struct slice s = { subject, strlen(subject) };
    if (topic_name_error(s.ptr, s.len) != NULL || *subject == '$' || strchr(subject, '/') != NULL)
        return false;
    size_t pattern_len = put_subject(e->rule.pattern, s, pattern, sizeof pattern);
    return pattern_len > 0 && pattern_covers(pattern, pattern_len, name, len);
}

static bool entry_allows(const struct entry *e, const struct rule_client *who, enum rule_action action,
                         const char *name, size_t len)
{
    switch (action == RULE_SUBSCRIBE ? e->rule.subscribe : e->rule.publish) {
    case RULE_NOBODY:
        return false;
    case RULE_BACKEND:
        return who->is_backend;
    case RULE_TOKEN:
        return who->is_backend || rules_claim_covers(who, name, len) || subject_covers(e, who->subject, name, len);
    case RULE_ANYONE:
        return true;
    }
    return false;
}

bool rules_allow(const struct rules *r, const struct rule_client *who, enum rule_action action, const char *name,
                 size_t len)
{
    if (who->is_limited && !rules_claim_covers(who, name, len))
        return false;
    if (!who->is_backend && len >= 7 && memcmp(name, "$halley", 7) == 0)
        return false; /* what happens to others, and their connections' ids, is for backends alone, whatever a rule says */
    for (size_t i = 0; i < r->count; i++) {
        const struct entry *e = &r->entries[i];
        if (!pattern_intersects(e->topics.ptr, e->topics.len, name, len))
            continue;
        if (!entry_allows(e, who, action, name, len))
            return false;
        if (pattern_covers(e->topics.ptr, e->topics.len, name, len))
            return true;
    }
    return who->is_backend; /* what is left is the built-in rule's */
}
