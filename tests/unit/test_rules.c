#include "core/rules.h"

#include <check.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/topic_name.h"

/* For inner loops: Check writes to a pipe for each ck_assert, passed or not. */
#define HOLDS(cond) \
    do { \
        if (!(cond)) \
            ck_abort_msg("does not hold: %s", #cond); \
    } while (0)

static struct slice slice_of(const char *s)
{
    return (struct slice){ s, strlen(s) };
}

/* A set from lines such as "room/1 token backend": pattern, subscribe, publish. history is the place in the list, from
 * 1, so that a rule can be told from the others. */
static struct rules *rules_from(const char *const *lines)
{
    static const char *const whos[] = { "nobody", "backend", "token", "anyone" };
    static char patterns[16][64];
    struct rule list[16];
    size_t count = 0;
    for (; lines[count] != NULL; count++) {
        char who[2][16];
        ck_assert_int_eq(sscanf(lines[count], "%63s %15s %15s", patterns[count], who[0], who[1]), 3);
        list[count] = (struct rule){ .pattern = slice_of(patterns[count]), .history = (uint32_t)count + 1 };
        for (size_t i = 0; i < HLY_ARRAY_LEN(whos); i++) {
            list[count].subscribe = strcmp(whos[i], who[0]) == 0 ? (enum rule_who)i : list[count].subscribe;
            list[count].publish = strcmp(whos[i], who[1]) == 0 ? (enum rule_who)i : list[count].publish;
        }
    }
    struct rules *r = rules_new(list, count);
    ck_assert_ptr_nonnull(r);
    memset(patterns, '?', sizeof patterns); /* everything was copied */
    return r;
}

/* ---- the set */

START_TEST(a_set_keeps_a_copy_of_all_there_is_in_a_rule)
{
    char pattern[] = "user/{sub}/**";
    struct rule rule = { .pattern = slice_of(pattern),
                         .subscribe = RULE_TOKEN,
                         .publish = RULE_ANYONE,
                         .payload = RULE_BINARY,
                         .on_slow = RULE_CONFLATE,
                         .history = 7,
                         .history_ttl_ms = 8,
                         .presence = true,
                         .join_leave = true,
                         .events = true,
                         .stamp_sender = true,
                         .stamp_time = true,
                         .presence_grace_ms = 9 };
    struct rules *r = rules_new(&rule, 1);
    memset(pattern, 'x', sizeof pattern);
    rule = (struct rule){ 0 };
    ck_assert_uint_eq(rules_count(r), 1);
    const struct rule *got = rules_at(r, 0);
    ck_assert_uint_eq(got->pattern.len, 13);
    ck_assert_int_eq(memcmp(got->pattern.ptr, "user/{sub}/**", 13), 0);
    ck_assert(got->subscribe == RULE_TOKEN && got->publish == RULE_ANYONE && got->payload == RULE_BINARY);
    ck_assert(got->on_slow == RULE_CONFLATE && got->history == 7 && got->history_ttl_ms == 8);
    ck_assert(got->presence && got->join_leave && got->events && got->stamp_sender && got->stamp_time);
    ck_assert_uint_eq(got->presence_grace_ms, 9);
    ck_assert_ptr_eq(rules_find(r, "user/5/inbox", 12), got);
    rules_unref(r);
}
END_TEST

START_TEST(a_set_of_no_rules_is_the_built_in_one)
{
    struct rules *r = rules_new(NULL, 0);
    const struct rule *rule = rules_find(r, "news", 4);
    ck_assert_uint_eq(rules_count(r), 0);
    ck_assert(rule->subscribe == RULE_BACKEND && rule->publish == RULE_BACKEND && rule->history == 0 && !rule->events);
    ck_assert_ptr_eq(rules_find(r, "$halley/connect", 15), rule);
    ck_assert(rules_allow(r, &(struct rule_client){ .is_backend = true }, RULE_SUBSCRIBE, "**", 2));
    ck_assert(!rules_allow(r, &(struct rule_client){ .subject = "5" }, RULE_SUBSCRIBE, "**", 2));
    ck_assert_ptr_null(rules_unref(r));
    ck_assert_ptr_null(rules_unref(NULL));
}
END_TEST

static void *ref_and_unref(void *arg)
{
    for (int i = 0; i < 10000; i++)
        rules_unref(rules_ref(arg));
    return NULL;
}

START_TEST(references_may_be_taken_in_any_thread)
{
    const char *const lines[] = { "** anyone backend", NULL };
    struct rules *r = rules_from(lines);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ref_and_unref, r), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(rules_count(r), 1);
    rules_unref(r);
}
END_TEST

static const struct {
    const char *pattern;
    bool fine;
} patterns[] = {
    { "user/{sub}/**", true },
    { "{sub}", true },
    { "{sub}/{sub}/*", true },
    { "a/{sub}", true },
    { "a{sub}", true },
    { "{sub}*", true },
    { "{}", true },
    { "$halley/**", true },
    { "", false },
    { "a/**/{sub}", false },
    { "a*b", false },
    { "$*", false },
    { "{sub}**", false },
    { "a\n", false },
};

START_TEST(rule_patterns_are_patterns_with_sub)
{
    const char *p = patterns[_i].pattern;
    ck_assert_msg((rules_pattern_error(p, strlen(p)) == NULL) == patterns[_i].fine, "%s", p);
}
END_TEST

/* ---- which rule */

static const char *const find_lines[] = {
    "user/{sub}/** token backend", "user/5/inbox anyone backend", "{sub}/own token backend",
    "a{sub}/x anyone backend",     "$halley/c* nobody backend",   "chat:* anyone anyone",
    "x/{sub}/{sub} token token",   "*/** anyone backend",         NULL,
};

static const struct {
    const char *name;
    const char *topic;
    uint32_t want; /* which of find_lines, from 1; 0 for the built-in one */
} finds[] = {
    { "the first match wins", "user/5/inbox", 1 },
    { "{sub} is for any subject", "user/9/a/b", 1 },
    { "{sub} is a level", "user/9", 8 },
    { "{sub} as an empty level", "user//a", 1 },
    { "{sub} as a level that is no subject", "user/$5/a", 1 },
    { "{sub} as the first level", "bob/own", 3 },
    { "{sub} never begins a name with $", "$bob/own", 0 },
    { "{sub} within a level is literal", "a{sub}/x", 4 },
    { "{sub} within a level is no wildcard", "abob/x", 8 },
    { "a name of Halley's own, spelled out", "$halley/connect", 5 },
    { "a name of Halley's own, matched by no rule", "$halley/disconnect", 0 },
    { "a name of Halley's own, of one level", "$halley", 0 },
    { "a prefix", "chat:42", 6 },
    { "{sub} twice, the same", "x/bob/bob", 7 },
    { "{sub} twice, two subjects", "x/bob/eve", 7 },
    { "the rule for the rest", "x/bob", 8 },
    { "a topic shorter than the literal bytes of every rule", "u", 0 },
    { "a topic that no rule matches", "news", 0 },
};

START_TEST(the_first_rule_that_matches_is_the_rule_of_a_topic)
{
    struct rules *r = rules_from(find_lines);
    const struct rule *rule = rules_find(r, finds[_i].topic, strlen(finds[_i].topic));
    ck_assert_msg(rule->history == finds[_i].want, "%s: rule %u", finds[_i].name, rule->history);
    ck_assert_uint_eq(rules_index(r, rule), finds[_i].want > 0 ? finds[_i].want - 1 : rules_count(r));
    rules_unref(r);
}
END_TEST

/* ---- who may */

static const char *const shop[] = {
    "user/{sub}/** token backend",
    "inbox/** backend anyone",
    "room/** token token",
    "ticker/** anyone nobody",
    "closed/** nobody nobody",
    "** anyone backend",
    NULL,
};
static const char *const private_only[] = { "user/{sub}/** token backend", "room/** token token", NULL };
static const char *const sub_first[] = { "{sub}/** token token", NULL };
static const char *const sub_twice[] = { "pair/{sub}/{sub}/x token token", NULL };
static const char *const sub_literal[] = { "a{sub}/x token backend", "b/{sub}c token backend", NULL };
static const char *const two_open[] = { "a/** anyone backend", "b/** anyone backend", NULL };
static const char *const two_steps[] = { "a/b/* token backend", "a/** token backend", NULL };
static const char *const narrow_first[] = { "a/b backend backend", "a/* anyone backend", NULL };
static const char *const wide_first[] = { "a/* anyone backend", "a/b nobody nobody", NULL };
static const char *const no_rules[] = { NULL };
static const char *const own_names[] = { "$halley/** token backend", "** anyone anyone", NULL };
static const char *const everything_token[] = { "** token token", NULL };

enum { BACKEND = 1, SUB = RULE_SUBSCRIBE, PUB = RULE_PUBLISH };

#define LONG255 \
    "sssssssssssssssssssssssssssssssssssssssssssssssssss" \
    "sssssssssssssssssssssssssssssssssssssssssssssssssss" \
    "sssssssssssssssssssssssssssssssssssssssssssssssssss" \
    "sssssssssssssssssssssssssssssssssssssssssssssssssss" \
    "sssssssssssssssssssssssssssssssssssssssssssssssssss"

static const struct {
    const char *name;
    const char *const *lines;
    int is_backend;
    const char *subject;
    const char *claims[3];
    int action;
    const char *topic;
    bool want;
} asks[] = {
    /* {sub} */
    { "a subject sees what is its own", shop, 0, "5", { 0 }, SUB, "user/5/inbox", true },
    { "and all of it", shop, 0, "5", { 0 }, SUB, "user/5/**", true },
    { "and parts of it", shop, 0, "5", { 0 }, SUB, "user/5/*/a*", true },
    { "a subject does not see another's", shop, 0, "6", { 0 }, SUB, "user/5/inbox", false },
    { "nor one that begins like it", shop, 0, "5", { 0 }, SUB, "user/55/inbox", false },
    { "nor all of those by prefix", shop, 0, "5", { 0 }, SUB, "user/5*/inbox", false },
    { "nor everybody's", shop, 0, "5", { 0 }, SUB, "user/*/inbox", false },
    { "nor everybody's, with all else", shop, 0, "5", { 0 }, SUB, "**", false },
    { "nor by the first level", shop, 0, "5", { 0 }, SUB, "*/5/inbox", false },
    { "the level above is not its own", private_only, 0, "5", { 0 }, SUB, "user/5", false },
    { "an empty level below is", shop, 0, "5", { 0 }, SUB, "user/5/", true },
    { "a token without subject has none", shop, 0, NULL, { 0 }, SUB, "user/5/inbox", false },
    { "a subject gives no right that the rule does not", shop, 0, "5", { 0 }, PUB, "user/5/inbox", false },
    { "{sub} as first level", sub_first, 0, "bob", { 0 }, SUB, "bob/**", true },
    { "{sub} as first level, another's", sub_first, 0, "bob", { 0 }, SUB, "eve/x", false },
    { "{sub} twice", sub_twice, 0, "bob", { 0 }, SUB, "pair/bob/bob/x", true },
    { "{sub} twice, with another", sub_twice, 0, "bob", { 0 }, SUB, "pair/bob/eve/x", false },
    { "{sub} twice, with anybody", sub_twice, 0, "bob", { 0 }, SUB, "pair/bob/*/x", false },
    { "{sub} within a level is a literal", sub_literal, 0, "bob", { 0 }, SUB, "abob/x", false },
    { "and matches itself, for nobody's subject", sub_literal, 0, "bob", { 0 }, SUB, "a{sub}/x", false },
    { "and before a letter", sub_literal, 0, "bob", { 0 }, SUB, "b/bobc", false },
    { "a claim covers such a literal", sub_literal, 0, "bob", { "a{sub}/*" }, SUB, "a{sub}/x", true },
    { "a topic may have a level {sub} of its own", shop, 0, "5", { 0 }, SUB, "user/{sub}/x", false },
    { "which is somebody's, if so named", shop, 0, "{sub}", { 0 }, SUB, "user/{sub}/x", true },
    { "and {sub} is put in once", sub_twice, 0, "{sub}", { 0 }, SUB, "pair/{sub}/{sub}/x", true },

    /* hostile subjects */
    { "subject *", shop, 0, "*", { 0 }, SUB, "user/5/inbox", false },
    { "subject *, asking for the pattern", shop, 0, "*", { 0 }, SUB, "user/*/**", false },
    { "subject **", shop, 0, "**", { 0 }, SUB, "user/5/inbox", false },
    { "subject ** as the last level",
      (const char *const[]){ "a/{sub} token token", NULL },
      0,
      "**",
      { 0 },
      SUB,
      "a/b",
      false },
    { "subject 5*", shop, 0, "5*", { 0 }, SUB, "user/55/inbox", false },
    { "subject a/b", shop, 0, "a/b", { 0 }, SUB, "user/a/b/c", false },
    { "subject a/b, its pattern", shop, 0, "a/b", { 0 }, SUB, "user/a/b/**", false },
    { "subject /", shop, 0, "/", { 0 }, SUB, "user///x", false },
    { "subject $halley", shop, 0, "$halley", { 0 }, SUB, "user/$halley/x", false },
    { "subject $halley as first level", sub_first, 0, "$halley", { 0 }, SUB, "$halley/connect", false },
    { "subject $halley as first level, for all of it", sub_first, 0, "$halley", { 0 }, SUB, "$halley/**", false },
    { "the empty subject", shop, 0, "", { 0 }, SUB, "user//x", false },
    { "the empty subject, all of it", shop, 0, "", { 0 }, SUB, "user//**", false },
    { "the empty subject as first level", sub_first, 0, "", { 0 }, SUB, "/x", false },
    { "a subject with a control character", shop, 0, "5\n", { 0 }, SUB, "user/5/x", false },
    { "a subject with U+0085", shop, 0, "5\xc2\x85", { 0 }, SUB, "user/5/x", false },
    { "a subject that is not UTF-8", shop, 0, "5\xff", { 0 }, SUB, "user/5/x", false },
    { "a subject beyond ASCII", shop, 0, "\xc3\xa9", { 0 }, SUB, "user/\xc3\xa9/x", true },
    { "a subject of 255 bytes is a level in no topic of more", shop, 0, LONG255, { 0 }, SUB, "user/s/x", false },
    { "a subject of 255 bytes, twice", sub_twice, 0, LONG255, { 0 }, SUB, "pair/s/s/x", false },
    { "a subject of 255 bytes as a topic",
      (const char *const[]){ "{sub} token token", NULL },
      0,
      LONG255,
      { 0 },
      SUB,
      LONG255,
      true },
    { "a subject of 256 bytes",
      (const char *const[]){ "{sub} token token", NULL },
      0,
      LONG255 "s",
      { 0 },
      SUB,
      LONG255,
      false },

    /* claims */
    { "a claim covers the topic", shop, 0, "5", { "room/1" }, SUB, "room/1", true },
    { "a claim does not cover the topic", shop, 0, "5", { "room/1" }, SUB, "room/2", false },
    { "any of the claims will do", shop, 0, "5", { "room/1", "x", "room/2" }, SUB, "room/2", true },
    { "a claim's pattern covers the pattern", shop, 0, "5", { "room/**" }, SUB, "room/1/*", true },
    { "two claims do not add up", shop, 0, "5", { "room/1", "room/2" }, SUB, "room/*", false },
    { "a claim without a subject", shop, 0, NULL, { "room/*" }, SUB, "room/1", true },
    { "a claim to another's", shop, 0, "6", { "user/5/inbox" }, SUB, "user/5/inbox", true },
    { "{sub} in a claim is a literal", shop, 0, "6", { "room/{sub}" }, SUB, "room/6", false },
    { "claims never narrow anyone", shop, 0, "5", { "room/1" }, SUB, "news", true },
    { "nor a pattern of anyone's", shop, 0, "5", { "room/1" }, SUB, "ticker/**", true },
    { "a claim does not open what backends have", shop, 0, "5", { "**" }, SUB, "inbox/1", false },
    { "nor what nobody has", shop, 0, "5", { "**" }, PUB, "ticker/1", false },
    { "nor what no rule matches", private_only, 0, "5", { "**" }, SUB, "news", false },
    { "a claim to ** is none to Halley's own", own_names, 0, "5", { "**" }, SUB, "$halley/connect", false },
    { "nor is a claim that spells it out: they are for backends", own_names, 0, "5", { "$halley/*" }, SUB, "$halley/connect", false },
    { "what is no pattern grants nothing: $*", own_names, 0, "5", { "$*/**" }, SUB, "$halley/connect", false },
    { "what is no pattern grants nothing: ** within", shop, 0, "5", { "**/x" }, SUB, "room/1", false },
    { "what is no pattern grants nothing: a**", shop, 0, "5", { "roo**" }, SUB, "room/1", false },
    { "what is no pattern grants nothing: the empty one", everything_token, 0, "5", { "" }, SUB, "room", false },

    /* who */
    { "a stranger sees what anyone may", shop, 0, NULL, { 0 }, SUB, "news/today", true },
    { "a stranger publishes where anyone may", shop, 0, NULL, { 0 }, PUB, "inbox/1", true },
    { "a stranger does not see that", shop, 0, NULL, { 0 }, SUB, "inbox/1", false },
    { "a stranger does not see rooms", shop, 0, NULL, { 0 }, SUB, "room/1", false },
    { "a stranger does not publish elsewhere", shop, 0, NULL, { 0 }, PUB, "news", false },
    { "a backend sees what backends may", shop, BACKEND, NULL, { 0 }, SUB, "inbox/1", true },
    { "a backend needs no token", shop, BACKEND, NULL, { 0 }, SUB, "user/5/inbox", true },
    { "a backend may what anyone may", shop, BACKEND, NULL, { 0 }, PUB, "inbox/1", true },
    { "a backend may not what nobody may", shop, BACKEND, NULL, { 0 }, PUB, "ticker/1", false },
    { "a backend has the built-in rule", private_only, BACKEND, NULL, { 0 }, PUB, "news", true },
    { "a backend sees Halley's own", shop, BACKEND, NULL, { 0 }, SUB, "$halley/**", true },
    { "a stranger does not, with a rule for **", shop, 0, NULL, { 0 }, SUB, "$halley/connect", false },
    { "nor with a pattern", shop, 0, NULL, { 0 }, SUB, "$halley/*", false },
    { "nor publish there where anyone may **", own_names, 0, NULL, { 0 }, PUB, "$halley/connect", false },
    { "nor into another name that begins with $", own_names, 0, NULL, { 0 }, PUB, "$other", false },

    /* patterns and the order of rules */
    { "a stranger's ** must not see user/5/inbox", shop, 0, NULL, { 0 }, SUB, "**", false },
    { "nor by fewer wildcards", shop, 0, NULL, { 0 }, SUB, "user/5/*", false },
    { "nor by a prefix", shop, 0, NULL, { 0 }, SUB, "us*/**", false },
    { "a pattern beside all those", shop, 0, NULL, { 0 }, SUB, "news/**", true },
    { "a pattern of one level beside all those", shop, 0, NULL, { 0 }, SUB, "*", true },
    { "two levels are not beside rooms", shop, 0, NULL, { 0 }, SUB, "*/a", false },
    { "a backend's ** needs all rules", shop, BACKEND, NULL, { 0 }, SUB, "**", false },
    { "a backend's ** where nothing is nobody's", private_only, BACKEND, NULL, { 0 }, SUB, "**", true },
    { "a pattern over two rules and the built-in one", two_open, 0, NULL, { 0 }, SUB, "*/x", false },
    { "a pattern under one of the two", two_open, 0, NULL, { 0 }, SUB, "b/x/*", true },
    { "a backend's over both and the built-in one", two_open, BACKEND, NULL, { 0 }, SUB, "*/x", true },
    { "in part under the first, whole under the second", two_steps, 0, "5", { "a/**" }, SUB, "a/*/c", true },
    { "the same with a claim for a part", two_steps, 0, "5", { "a/b/*" }, SUB, "a/*/c", false },
    { "whole under the first", two_steps, 0, "5", { "a/b/*" }, SUB, "a/b/*", true },
    { "refused by the first, in part", narrow_first, 0, NULL, { 0 }, SUB, "a/*", false },
    { "refused by the first, by prefix", narrow_first, 0, NULL, { 0 }, SUB, "a/b*", false },
    { "beside the first", narrow_first, 0, NULL, { 0 }, SUB, "a/c*", true },
    { "a rule behind one that covers is not asked", wide_first, 0, NULL, { 0 }, SUB, "a/*", true },
    { "neither for a topic", wide_first, 0, NULL, { 0 }, SUB, "a/b", true },
    { "it is asked when the first does not cover", wide_first, 0, NULL, { 0 }, SUB, "*/b", false },
    { "the built-in rule is the last", wide_first, 0, NULL, { 0 }, SUB, "a/**", false },
    { "no rules: a stranger", no_rules, 0, NULL, { 0 }, SUB, "a", false },
    { "no rules: a backend", no_rules, BACKEND, NULL, { 0 }, SUB, "**", true },
};

START_TEST(rights_are_as_the_rules_say)
{
    struct slice claims[3];
    struct rule_client who = { .is_backend = asks[_i].is_backend != 0, .subject = asks[_i].subject, .claims = claims };
    for (; who.claim_count < 3 && asks[_i].claims[who.claim_count] != NULL; who.claim_count++)
        claims[who.claim_count] = slice_of(asks[_i].claims[who.claim_count]);
    struct rules *r = rules_from(asks[_i].lines);
    struct slice name = slice_of(asks[_i].topic);
    ck_assert_msg(pattern_error(name.ptr, name.len) == NULL, "%s", asks[_i].name);
    ck_assert_msg(rules_allow(r, &who, (enum rule_action)asks[_i].action, name.ptr, name.len) == asks[_i].want, "%s",
                  asks[_i].name);
    rules_unref(r);
}
END_TEST

START_TEST(a_claim_may_be_no_bytes_at_all)
{
    struct slice nothing = { NULL, 0 };
    struct rule_client who = { .subject = "5", .claims = &nothing, .claim_count = 1 };
    struct rules *r = rules_from(everything_token);
    ck_assert(!rules_allow(r, &who, RULE_SUBSCRIBE, "a", 1));
    rules_unref(r);
}
END_TEST

/* ---- a right to a pattern is one to each of its topics, whatever the rules */

static const char *const levels[] = { "a", "b", "ab", "{sub}", "*", "a*", "$a", "" };
static uint64_t rng;

static uint32_t below(uint32_t n) /* xorshift64* */
{
    rng ^= rng >> 12;
    rng ^= rng << 25;
    rng ^= rng >> 27;
    return (uint32_t)((rng * 0x2545f4914f6cdd1du) >> 33) % n;
}

static struct slice random_pattern(char *out)
{
    do {
        *out = '\0';
        for (uint32_t n = 1 + below(3), i = 0; i < n; i++)
            strcat(strcat(out, i > 0 ? "/" : ""), i == n - 1 && below(3) == 0 ? "**" : levels[below(8)]);
    } while (pattern_error(out, strlen(out)) != NULL);
    return slice_of(out);
}

/* The definition for one topic: the first rule that matches it, and what that says. */
static bool may_by_definition(const struct rule *list, size_t count, const struct rule_client *who, const char *topic)
{
    for (size_t i = 0; i < count; i++) {
        char any[64] = "", own[64] = "", copy[64];
        snprintf(copy, sizeof copy, "%.*s", (int)list[i].pattern.len, list[i].pattern.ptr);
        char *rest = copy;
        bool has_sub = false;
        for (const char *level = strsep(&rest, "/"), *slash = ""; level != NULL;
             level = strsep(&rest, "/"), slash = "/") {
            bool is_sub = strcmp(level, "{sub}") == 0;
            strcat(strcat(any, slash), is_sub ? "*" : level);
            strcat(strcat(own, slash), is_sub && who->subject != NULL ? who->subject : level);
            has_sub |= is_sub;
        }
        if (!pattern_matches(any, strlen(any), topic, strlen(topic)))
            continue;
        if (list[i].subscribe != RULE_TOKEN || who->is_backend)
            return list[i].subscribe == RULE_ANYONE || (who->is_backend && list[i].subscribe != RULE_NOBODY);
        for (size_t c = 0; c < who->claim_count; c++)
            if (pattern_matches(who->claims[c].ptr, who->claims[c].len, topic, strlen(topic)))
                return true;
        return who->subject != NULL && has_sub && pattern_matches(own, strlen(own), topic, strlen(topic));
    }
    return who->is_backend;
}

static char topics[2000][16];
static size_t topic_count;

static void make_topics(const char *before, size_t depth)
{
    static const char *const words[] = { "a", "b", "ab", "abz", "z", "$a", "" };
    char text[16];
    for (size_t i = 0; i < HLY_ARRAY_LEN(words); i++) {
        strcat(strcpy(text, before), words[i]);
        if (*text != '\0')
            strcpy(topics[topic_count++], text);
        if (depth > 1)
            make_topics(strcat(text, "/"), depth - 1);
    }
}

struct policy {
    char texts[8][64];
    struct rule list[5];
    struct slice claims[2];
    size_t count;
    struct rule_client who;
};

static void random_policy(struct policy *p)
{
    static const char *const subjects[] = { NULL, "a", "b", "z" };
    *p = (struct policy){ .count = 1 + below(5) };
    for (size_t i = 0; i < p->count; i++)
        p->list[i] = (struct rule){ .pattern = random_pattern(p->texts[i]), .subscribe = (enum rule_who)below(4) };
    for (size_t i = 0; i < 2; i++)
        p->claims[i] = random_pattern(p->texts[5 + i]);
    p->who = (struct rule_client){
        .is_backend = below(5) == 0, .subject = subjects[below(4)], .claims = p->claims, .claim_count = below(3)
    };
}

START_TEST(a_right_to_a_pattern_is_a_right_to_every_topic_in_it)
{
    const char *seed = getenv("HALLEY_TEST_SEED");
    rng = (seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000 + (uint64_t)clock()) | 1;
    printf("HALLEY_TEST_SEED=%" PRIu64 "\n", rng);
    fflush(stdout);
    make_topics("", 3);
    unsigned granted = 0, refused = 0;
    for (unsigned round = 0; round < 1500; round++) {
        struct policy p;
        char text[64];
        random_policy(&p);
        struct rules *r = rules_new(p.list, p.count);
        for (size_t t = round % 7; t < topic_count; t += 7)
            if (rules_allow(r, &p.who, RULE_SUBSCRIBE, topics[t], strlen(topics[t])) !=
                may_by_definition(p.list, p.count, &p.who, topics[t]))
                ck_abort_msg("topic %s, subject %s, rule 1 is %s", topics[t], p.who.subject, p.texts[0]);
        for (int n = 0; n < 10; n++) {
            struct slice pattern = random_pattern(text);
            bool allowed = rules_allow(r, &p.who, RULE_SUBSCRIBE, pattern.ptr, pattern.len);
            granted += allowed;
            refused += !allowed;
            for (size_t t = 0; allowed && t < topic_count; t++)
                if (pattern_matches(pattern.ptr, pattern.len, topics[t], strlen(topics[t])) &&
                    !may_by_definition(p.list, p.count, &p.who, topics[t]))
                    ck_abort_msg("%s lets subject %s see %s, rule 1 is %s", text, p.who.subject, topics[t], p.texts[0]);
        }
        rules_unref(r);
    }
    ck_assert_uint_gt(granted, 500);
    ck_assert_uint_gt(refused, 500);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rules");
    TCase *t = tcase_create("rules");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_set_keeps_a_copy_of_all_there_is_in_a_rule);
    tcase_add_test(t, a_set_of_no_rules_is_the_built_in_one);
    tcase_add_test(t, references_may_be_taken_in_any_thread);
    tcase_add_loop_test(t, rule_patterns_are_patterns_with_sub, 0, HLY_ARRAY_LEN(patterns));
    tcase_add_loop_test(t, the_first_rule_that_matches_is_the_rule_of_a_topic, 0, HLY_ARRAY_LEN(finds));
    tcase_add_loop_test(t, rights_are_as_the_rules_say, 0, HLY_ARRAY_LEN(asks));
    tcase_add_test(t, a_claim_may_be_no_bytes_at_all);
    tcase_add_test(t, a_right_to_a_pattern_is_a_right_to_every_topic_in_it);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
