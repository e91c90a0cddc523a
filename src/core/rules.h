/* The `topics` rules of the config: who may do what with which topic, and how it is kept.
 *
 * For a topic the first rule whose pattern matches wins. A rule's level `{sub}` stands for one literal level, the
 * subject of the client's token. It may come more than once; braces anywhere else are just letters. Which topics a rule
 * is for does not depend on who asks: there `{sub}` counts as `*`.
 *
 * A set is immutable once built and counted: a reload swaps in a new one while topics still hold the old. Finding a
 * rule compares a few bytes with each before it, which is cheap up to hundreds of rules. */
#ifndef HALLEY_CORE_RULES_H
#define HALLEY_CORE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

enum rule_who { RULE_NOBODY, RULE_BACKEND, RULE_TOKEN, RULE_ANYONE };
enum rule_payload { RULE_TEXT, RULE_JSON, RULE_BINARY };
enum rule_on_slow { RULE_CATCH_UP, RULE_DROP_OLDEST, RULE_CONFLATE, RULE_DISCONNECT };
enum rule_action { RULE_SUBSCRIBE, RULE_PUBLISH };

struct rule {
    struct slice pattern; /* may contain the level {sub}: one literal level, the subject of the client's token */
    enum rule_who subscribe;
    enum rule_who publish;
    enum rule_payload payload;
    enum rule_on_slow on_slow;
    uint32_t history;        /* messages kept per topic */
    uint64_t history_ttl_ms; /* 0: no limit of age */
    bool presence;
    bool join_leave;
    bool events;
    bool stamp_sender;
    bool stamp_time;
    uint64_t presence_grace_ms;
};

struct rules;

/* Build a set from rules in the config's order; everything is copied. The patterns have passed rules_pattern_error().
 * Returns a reference, or NULL when out of memory. */
struct rules *rules_new(const struct rule *rules, size_t count);
struct rules *rules_ref(struct rules *r);
struct rules *rules_unref(struct rules *r); /* NULL in, NULL out. Any thread */
static inline void rules_unrefp(struct rules **r)
{
    *r = rules_unref(*r);
}

/* The rules as they were given; the built-in one is not among them. */
size_t rules_count(const struct rules *r);
const struct rule *rules_at(const struct rules *r, size_t index);
/* The place of a rule that rules_find() gave; rules_count() for the built-in one. */
size_t rules_index(const struct rules *r, const struct rule *rule);

/* Which topics the i-th rule is for: its pattern with `*` for each {sub}. Borrowed. */
struct slice rules_topics_at(const struct rules *r, size_t i);

/* As pattern_error(), with the level `{sub}` allowed. NULL if fine. */
const char *rules_pattern_error(const char *pattern, size_t len);

/* Who asks: what a rule is held against. subject NULL: no token. The subject is a C string: whoever reads tokens must
 * refuse one with a NUL inside, or "5\0x" would be "5". */
struct rule_client {
    bool is_backend;
    bool is_limited; /* a backend that may do what its claims cover and no more; the claims of any other are not looked at */
    const char *subject;
    const struct slice *claims; /* patterns that the token, or a backend's key, grants for this action; those that are none grant nothing */
    size_t claim_count;
};

/* The rule of a topic: never NULL. Topics that no rule matches, and names that begin with `$` but are not matched by a
 * rule that spells that level out, have a built-in rule: only backends, no history. */
const struct rule *rules_find(const struct rules *r, const char *topic, size_t len);

/* Does a claim cover the topic, or the pattern whole? The name has passed topic_name_error() or pattern_error(). */
bool rules_claim_covers(const struct rule_client *who, const char *name, size_t len);

/* May the client do this with the topic, or with every topic that the pattern covers? The name has passed
 * topic_name_error() or pattern_error().
 *
 * Backends: whatever is not `nobody`, and is covered by a claim if they are limited. For a pattern the rules are walked in order: each that intersects it must allow
 * it, until one covers it whole; topics that no rule matches belong to the built-in rule. `token` allows when a claim
 * covers the topic or pattern whole, or when the rule has {sub}, the subject is usable (not empty, no leading `$`, no
 * '/', '*', control character) and the rule with the subject in its place covers it. Claims never narrow `anyone`. */
bool rules_allow(const struct rules *r, const struct rule_client *who, enum rule_action action, const char *name,
                 size_t len);

#endif
