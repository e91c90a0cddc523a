/* PUBLISH and SUBSCRIBE on the backend door, with what belongs to them. Replies are Redis' own. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/slice.h"
#include "core/topic_name.h"
#include "transport/resp_internal.h"

/* What its key lets it do. */
static const struct rule_client *may(const struct resp_client *c, enum rule_action action)
{
    return &c->access->rights->may[action];
}

/* ---- delivering */

/* RESP has no cursor to fall back to. */
static void resp_deliver(struct subscriber *s, const struct delivery *d)
{
    struct resp_client *c = HLY_CONTAINER_OF(s, struct resp_client, sub);
    const struct settings *set = c->reactor->settings;
    static struct log_gate gate;
    if (HLY_UNLIKELY(d->count == 0 || (c->conn->outq != NULL && conn_waiting(c->conn) + d->bytes > set->max_backend_outq))) {
        stat_add(&c->reactor->stats.closed_slow, 1);
        log_limited(&gate, LOG_LEVEL_WARN, "slow_backend",
                    "client=%" PRIu64 " a backend does not read as fast as it is sent to: connection closed; outq_bytes=%" PRIu64
                    " limits.backend_outq=%" PRIu64,
                    c->id, conn_waiting(c->conn), set->max_backend_outq);
        conn_fail(c->conn, ENOBUFS); /* Redis' way too: RESP has no word for a gap */
        return;
    }
    conn_send(c->conn, d->slices, d->count, d->bytes);
}

const struct subscriber_ops resp_subscriber_ops = { .deliver = resp_deliver };

/* ---- publishing */

static void refused(struct resp_call *call, const struct publish_refusal *why)
{
    stat_add(&call->client->reactor->stats.backend_errors, 1);
    char text[sizeof why->text + 16];
    snprintf(text, sizeof text, "%s %s", why->code == PUBLISH_FORBIDDEN ? "NOPERM" : "ERR", why->text);
    resp_write_error(call->out, text);
}

static void slot_answer(struct resp_slot *s, const struct engine_publish *p)
{
    if (p->result < 0)
        s->result = p->result;
    s->subscribers += p->receipt.subscribers;
    s->seq = p->receipt.seq;
}

static void on_published(struct engine_publish *p)
{
    struct resp_slot *s = HLY_CONTAINER_OF(p, struct resp_slot, publish);
    slot_answer(s, p);
    resp_slot_ready(s);
}

bool resp_publish_options(struct resp_call *call, size_t from, struct resp_publish_options *ret)
{
    *ret = (struct resp_publish_options){ 0 };
    for (size_t i = from; i < call->argc; i += 2) {
        struct slice *option = slice_equals_nocase(call->argv[i], "KEY") ? &ret->key
                               : slice_equals_nocase(call->argv[i], "EXCEPT") ? &ret->except
                                                                              : NULL;
        if (option == NULL || option->ptr != NULL || i + 1 == call->argc)
            return false;
        *option = call->argv[i + 1];
    }
    return true;
}

/* NULL: it has been refused. */
static struct message *prepare(struct resp_call *call, struct slice topic, struct slice payload, const struct resp_publish_options *o,
                               struct publish_refusal *ret_why)
{
    struct reactor *r = call->client->reactor;
    struct publisher by = { .rights = may(call->client, RULE_PUBLISH) };
    if ((o->key.ptr != NULL && !publish_check_key(r, o->key, ret_why)) ||
        (o->except.ptr != NULL && !publish_parse_except(r, o->except, &by.except, ret_why)))
        return NULL;
    return publish_prepare(r, &by, topic, payload, ret_why);
}

void resp_publish_one(struct resp_call *call, struct slice topic, struct slice payload, const struct resp_publish_options *options, bool is_cursor)
{
    struct resp_client *c = call->client;
    struct reactor *r = c->reactor;
    struct publish_refusal why;
    struct message *m = prepare(call, topic, payload, options, &why);
    if (m == NULL) {
        refused(call, &why);
        return;
    }
    struct resp_slot *s = resp_slot_of(call);
    if (s == NULL) {
        message_unref(m);
        return;
    }
    s->is_cursor = is_cursor;
    s->publish = (struct engine_publish){ .message = m, .key = options->key, .reactor = r->index, .done = on_published };
    r->engine->publish(r->engine, &s->publish);
    resp_pause_if_congested(c);
}

void resp_publish(struct resp_call *call)
{
    struct resp_publish_options options;
    if (resp_publish_options(call, 3, &options))
        resp_publish_one(call, call->argv[1], call->argv[2], &options, false);
    else
        resp_error(call, "wrong number of arguments for 'publish': PUBLISH topic payload [KEY id] [EXCEPT connection]");
}

struct mpublish { /* one MPUBLISH on its way */
    struct resp_slot *slot;
    size_t waiting;
    struct mpublish_one {
        struct engine_publish publish;
        struct mpublish *all;
    } one[];
};

static void mpublish_step(struct mpublish *mp)
{
    if (--mp->waiting > 0)
        return;
    resp_slot_ready(mp->slot);
    free(mp);
}

static void on_mpublished(struct engine_publish *p)
{
    struct mpublish *mp = HLY_CONTAINER_OF(p, struct mpublish_one, publish)->all;
    slot_answer(mp->slot, p);
    mpublish_step(mp);
}

/* Every topic is checked before the first is published to: a refused MPUBLISH has published nothing. */
void resp_mpublish(struct resp_call *call)
{
    struct reactor *r = call->client->reactor;
    struct publish_refusal why;
    size_t topics = call->argc - 2, made = 0;
    struct mpublish *mp = calloc(1, sizeof *mp + topics * sizeof mp->one[0]);
    if (mp == NULL) {
        resp_error(call, "out of memory, try again later");
        return;
    }
    for (; made < topics; made++) {
        struct message *m = prepare(call, call->argv[2 + made], call->argv[1], &(struct resp_publish_options){ 0 }, &why);
        if (m == NULL)
            break;
        mp->one[made].all = mp;
        mp->one[made].publish = (struct engine_publish){ .message = m, .reactor = r->index, .done = on_mpublished };
    }
    if (made < topics)
        refused(call, &why);
    else
        mp->slot = resp_slot_of(call);
    if (mp->slot == NULL) {
        while (made > 0)
            message_unref(mp->one[--made].publish.message);
        free(mp);
        return;
    }
    mp->waiting = topics + 1;
    for (size_t i = 0; i < topics; i++)
        r->engine->publish(r->engine, &mp->one[i].publish);
    mpublish_step(mp);
    resp_pause_if_congested(call->client);
}

/* ---- subscribing */

struct slice resp_real_name(struct slice given, bool is_pattern)
{
    return is_pattern && slice_equals(given, "*") ? SLICE_LIT("**") : given;
}

static void write_state(struct resp_call *call, const char *kind, struct slice name)
{
    struct resp_client *c = call->client;
    resp_write_push(call->out, c->proto, 3);
    resp_write_str(call->out, kind);
    if (name.ptr == NULL)
        resp_write_null(call->out, c->proto);
    else
        resp_write_bulk(call->out, name.ptr, name.len);
    resp_write_int(call->out, c->sub.count);
}

bool resp_may_subscribe(struct resp_call *call, struct slice given, bool is_pattern)
{
    struct resp_client *c = call->client;
    struct slice name = resp_real_name(given, is_pattern);
    char quoted[96];
    log_quote(quoted, sizeof quoted, given.ptr, given.len);
    const char *bad = is_pattern ? pattern_error(name.ptr, name.len) : topic_name_error(name.ptr, name.len);
    if (bad != NULL) {
        resp_error(call, "bad %s '%s': %s%s", is_pattern ? "pattern" : "topic", quoted, bad,
                   !is_pattern && topic_name_is_pattern(name.ptr, name.len) ? " (PSUBSCRIBE takes patterns)" : "");
        return false;
    }
    const struct rule_client *who = may(c, RULE_SUBSCRIBE);
    if (who->is_limited && !rules_claim_covers(who, name.ptr, name.len)) {
        resp_noperm(call, "subscribing to '%s' is not allowed: no subscribe pattern of this key covers it", quoted);
        return false;
    }
    if (!rules_allow(c->reactor->rules, who, RULE_SUBSCRIBE, name.ptr, name.len)) {
        resp_noperm(call, "subscribing to '%s' is not allowed: a topics rule that it reaches says nobody", quoted);
        return false;
    }
    if (is_pattern && slice_equals(name, "**") && c->star != slice_equals(given, "*") &&
        subscription_find(&c->sub, name, true) != NULL) {
        resp_error(call, "'*' and '**' are the same pattern, and this connection has it under its other name");
        return false;
    }
    return true;
}

bool resp_subscriptions_are_allowed(const struct resp_client *c)
{
    const struct rule_client *who = may(c, RULE_SUBSCRIBE);
    LIST_EACH (it, &c->sub.subscriptions) {
        const struct feed *f = LIST_ENTRY(it, struct subscription, node)->feed;
        if (!rules_allow(c->reactor->rules, who, RULE_SUBSCRIBE, f->name, f->name_len))
            return false;
    }
    return c->streams == NULL || resp_streams_are_allowed(c, who);
}

static void on_subscribed(struct engine_subscribe *s)
{
    (void)s; /* every engine so far answers during the call; subscribe_all() reads the result */
}

static void subscribe_all(struct resp_call *call, const char *kind, bool is_pattern)
{
    struct resp_client *c = call->client;
    struct engine *engine = c->reactor->engine;
    for (size_t i = 1; i < call->argc; i++)
        if (!resp_may_subscribe(call, call->argv[i], is_pattern))
            return;
    for (size_t i = 1; i < call->argc; i++) {
        struct engine_subscribe s = { .subscriber = &c->sub,
                                      .name = resp_real_name(call->argv[i], is_pattern),
                                      .is_pattern = is_pattern,
                                      .done = on_subscribed };
        engine->subscribe(engine, &s);
        if (s.result < 0) {
            resp_error(call, s.result == -EDQUOT ? "limits.topics or limits.patterns is reached" : "out of memory, try again later");
            return;
        }
        if (is_pattern && slice_equals(call->argv[i], "*")) {
            c->star = true;
            resp_set_form(c);
        }
        write_state(call, kind, call->argv[i]);
    }
}

void resp_subscribe(struct resp_call *call)
{
    subscribe_all(call, "subscribe", false);
}

void resp_psubscribe(struct resp_call *call)
{
    subscribe_all(call, "psubscribe", true);
}

static void unsubscribe_one(struct resp_call *call, const char *kind, struct slice given, bool is_pattern)
{
    struct resp_client *c = call->client;
    struct slice name = resp_real_name(given, is_pattern);
    if (pattern_error(name.ptr, name.len) == NULL) /* else it cannot have it, and Redis' answer is the same */
        unsubscribe(&c->sub, name, is_pattern);
    write_state(call, kind, given);
    if (is_pattern && c->star && slice_equals(given, "*")) {
        c->star = false;
        resp_set_form(c);
    }
}

static struct subscription *any_subscription(struct resp_client *c, bool is_pattern)
{
    LIST_EACH (it, &c->sub.subscriptions) {
        struct subscription *sub = LIST_ENTRY(it, struct subscription, node);
        if (sub->feed->is_pattern == is_pattern)
            return sub;
    }
    return NULL;
}

static void unsubscribe_all(struct resp_call *call, const char *kind, bool is_pattern)
{
    struct resp_client *c = call->client;
    struct subscription *sub = any_subscription(c, is_pattern);
    if (sub == NULL)
        write_state(call, kind, (struct slice){ 0 });
    for (; sub != NULL; sub = any_subscription(c, is_pattern)) {
        char name[TOPIC_MAX_BYTES]; /* the feed may end with its last subscription */
        struct slice given = { name, sub->feed->name_len };
        memcpy(name, sub->feed->name, given.len);
        if (is_pattern && c->star && slice_equals(given, "**"))
            given = SLICE_LIT("*");
        unsubscribe_one(call, kind, given, is_pattern);
    }
}

void resp_unsubscribe(struct resp_call *call)
{
    if (call->argc == 1)
        unsubscribe_all(call, "unsubscribe", false);
    for (size_t i = 1; i < call->argc; i++)
        unsubscribe_one(call, "unsubscribe", call->argv[i], false);
}

void resp_punsubscribe(struct resp_call *call)
{
    if (call->argc == 1)
        unsubscribe_all(call, "punsubscribe", true);
    for (size_t i = 1; i < call->argc; i++)
        unsubscribe_one(call, "punsubscribe", call->argv[i], true);
}

void resp_unsubscribe_all(struct resp_client *c)
{
    subscriber_done(&c->sub);
    c->star = false;
}

/* ---- PUBSUB */

struct channels {
    struct buf names; /* bulk strings */
    size_t count;
    struct slice pattern;
    const struct backend_rights *rights;
};

static void channels_visit(const struct hub_topic_info *info, void *ctx)
{
    struct channels *ch = ctx;
    if (info->subscribers == 0 ||
        (ch->pattern.ptr != NULL && !pattern_matches(ch->pattern.ptr, ch->pattern.len, info->name, info->name_len)) ||
        !backend_rights_see(ch->rights, info->name, info->name_len))
        return;
    resp_write_bulk(&ch->names, info->name, info->name_len);
    ch->count++;
}

static void pubsub_channels(struct resp_call *call)
{
    struct channels ch = { .rights = call->client->access->rights };
    if (call->argc == 3) {
        ch.pattern = resp_real_name(call->argv[2], true);
        const char *bad = pattern_error(ch.pattern.ptr, ch.pattern.len);
        if (bad != NULL) {
            resp_error(call, "bad pattern: %s", bad);
            return;
        }
    }
    uint64_t cursor = 0;
    while (hub_scan_topics(call->client->reactor->hub, &cursor, channels_visit, &ch))
        continue; /* the lock is let go between slices */
    resp_write_array(call->out, ch.count);
    buf_append(call->out, ch.names.data, ch.names.len);
    buf_done(&ch.names);
}

/* Of a topic that its key does not cover it is told nothing. */
static bool may_count(struct resp_call *call, struct slice name)
{
    if (topic_name_error(name.ptr, name.len) != NULL || backend_rights_see(call->client->access->rights, name.ptr, name.len))
        return true;
    char quoted[96];
    resp_noperm(call, "counting the subscribers of '%s' is not allowed: no pattern of this key covers it",
                log_quote(quoted, sizeof quoted, name.ptr, name.len));
    return false;
}

static void pubsub_numpat(struct resp_call *call)
{
    if (backend_rights_are_all(call->client->access->rights))
        resp_write_int(call->out, (int64_t)hub_pattern_count(call->client->reactor->hub));
    else
        resp_noperm(call, "the number of patterns belongs to no topic: it is for keys without patterns");
}

static void pubsub_numsub(struct resp_call *call)
{
    for (size_t i = 2; i < call->argc; i++)
        if (!may_count(call, call->argv[i]))
            return;
    resp_write_array(call->out, 2 * (call->argc - 2));
    for (size_t i = 2; i < call->argc; i++) {
        struct slice name = call->argv[i];
        uint64_t n = topic_name_error(name.ptr, name.len) != NULL ? 0 : hub_topic_subscribers(call->client->reactor->hub, name.ptr, name.len);
        resp_write_bulk(call->out, name.ptr, name.len);
        resp_write_int(call->out, (int64_t)n);
    }
}

void resp_pubsub(struct resp_call *call)
{
    struct slice what = call->argv[1];
    if (slice_equals_nocase(what, "CHANNELS") && call->argc <= 3)
        pubsub_channels(call);
    else if (slice_equals_nocase(what, "NUMSUB"))
        pubsub_numsub(call);
    else if (slice_equals_nocase(what, "NUMPAT") && call->argc == 2)
        pubsub_numpat(call);
    else if (slice_equals_nocase(what, "SHARDCHANNELS") || slice_equals_nocase(what, "SHARDNUMSUB"))
        resp_write_array(call->out, 0); /* there are no shards here */
    else
        resp_error(call, "unknown subcommand: PUBSUB CHANNELS [pattern] | NUMSUB [topic ...] | NUMPAT");
}
