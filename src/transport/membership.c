#include "transport/membership.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/subscription.h"
#include "proto/json_write.h"
#include "transport/events.h"

#define EXPIRED_AT_ONCE 1000
#define EXPIRE_SLICES 20
#define GUEST_BYTES (CLIENT_NAME_BYTES + 1)

bool membership_is_wanted(struct rules *rules)
{
    for (size_t i = 0; i < rules_count(rules); i++)
        if (rules_at(rules, i)->presence || rules_at(rules, i)->events)
            return true;
    return false;
}

/* ---- who it is */

/* Those without a token are shown by their connection's name. */
static struct slice guest_name(const struct client *c, char out[GUEST_BYTES])
{
    client_format_name(client_name(c), out);
    return (struct slice){ out, CLIENT_NAME_BYTES };
}

static uint64_t connection_number(const struct client *c)
{
    uint64_t n;
    memcpy(&n, c->random, sizeof n);
    return n;
}

static struct presence_member member_of(const struct client *c, char guest[GUEST_BYTES])
{
    if (c->token == NULL || c->token->subject[0] == '\0')
        return (struct presence_member){ .user = guest_name(c, guest), .is_anonymous = true };
    return (struct presence_member){ .user = { c->token->subject, strlen(c->token->subject) }, .info = c->token->info };
}

static void write_who(struct buf *out, const struct presence_member *m)
{
    buf_str(out, "{\"sub\":");
    if (m->is_anonymous)
        buf_str(out, "null,\"guest\":");
    json_buf_string(out, m->user);
}

static void write_info(struct buf *out, const struct presence_member *m)
{
    if (m->info.len > 0) {
        buf_str(out, ",\"info\":");
        buf_append(out, m->info.ptr, m->info.len);
    }
    buf_str(out, "}");
}

void membership_write_member(struct buf *out, const struct presence_member *m)
{
    write_who(out, m);
    buf_printf(out, ",\"connections\":%" PRIu32, m->connections);
    write_info(out, m);
}

/* ---- joins and leaves */

struct telling {
    struct engine_publish publish;
};

static void on_told(struct engine_publish *p)
{
    free(HLY_CONTAINER_OF(p, struct telling, publish));
}

static void tell(struct reactor *r, struct slice topic, const struct presence_member *m, enum message_kind kind)
{
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    write_who(&json, m);
    write_info(&json, m);
    struct message *message = json.failed ? NULL : message_new(topic.ptr, topic.len, json.data, (uint32_t)json.len);
    struct telling *t = message == NULL ? NULL : malloc(sizeof *t);
    if (t == NULL) {
        message_unref(message);
        stat_add(&r->stats.events_lost, 1);
        return;
    }
    message->payload_kind = RULE_JSON;
    message->kind = (uint8_t)kind;
    *t = (struct telling){ .publish = { .message = message, .reactor = r->index, .done = on_told } };
    r->engine->publish(r->engine, &t->publish);
}

/* These two are called with presence_lock held: it keeps a leave that one reactor tells before the join that another tells after it. */

static int join(struct reactor *r, const struct client *c, struct slice topic, const struct rule *rule)
{
    static struct log_gate gate;
    char guest[GUEST_BYTES];
    struct presence_member m = member_of(c, guest);
    int joined = presence_join(r->server->presence, topic, &m, connection_number(c));
    if (joined == 1 && rule->join_leave)
        tell(r, topic, &m, MESSAGE_JOIN);
    if (joined < 0) {
        stat_add(&r->stats.presence_refused, 1);
        log_limited(&gate, LOG_LEVEL_WARN, "presence_full", "limits.presence is reached: who comes now is not listed; raise it if the machine has memory");
    }
    return joined;
}

static void leave(struct reactor *r, const struct client *c, const struct presence_member *m, struct slice topic, const struct rule *rule)
{
    int left = presence_leave(r->server->presence, topic, m->user, connection_number(c), r->loop.now_ms, rule->presence_grace_ms);
    if (left == 1 && rule->join_leave)
        tell(r, topic, m, MESSAGE_LEAVE);
}

static void on_expired(struct slice topic, const struct presence_member *m, void *ctx)
{
    struct reactor *r = ctx;
    if (rules_find(r->rules, topic.ptr, topic.len)->join_leave)
        tell(r, topic, m, MESSAGE_LEAVE);
}

void membership_expire(struct reactor *r)
{
    bool has_more = true;
    for (int n = 0; n < EXPIRE_SLICES && has_more; n++) {
        pthread_mutex_lock(&r->server->presence_lock);
        has_more = presence_expire(r->server->presence, r->loop.now_ms, EXPIRED_AT_ONCE, on_expired, r);
        pthread_mutex_unlock(&r->server->presence_lock);
    }
}

/* A guest that now has a name, for whom there is no room, must not stay as the guest that nobody would ever take out. */
static void rejoin(struct reactor *r, const struct client *c, struct slice topic, const struct rule *rule)
{
    char guest[GUEST_BYTES];
    struct presence_member before = { .user = guest_name(c, guest), .is_anonymous = true };
    if (join(r, c, topic, rule) < 0)
        leave(r, c, &before, topic, rule);
}

void membership_refresh(struct subscriber *s)
{
    struct reactor *r = HLY_CONTAINER_OF(s->table, struct reactor, table);
    if (s->table->on_subscription == NULL)
        return;
    pthread_mutex_lock(&r->server->presence_lock);
    LIST_EACH (it, &s->subscriptions) {
        const struct feed *f = LIST_ENTRY(it, struct subscription, node)->feed;
        const struct rule *rule = rules_find(r->rules, f->name, f->name_len);
        if (!f->is_pattern && rule->presence)
            rejoin(r, s->ops->client(s), feed_name(f), rule);
    }
    pthread_mutex_unlock(&r->server->presence_lock);
}

void membership_recheck(struct subscriber *s)
{
    struct reactor *r = HLY_CONTAINER_OF(s->table, struct reactor, table);
    char guest[GUEST_BYTES];
    if (s->table->on_subscription == NULL || s->ops->client == NULL)
        return;
    const struct client *c = s->ops->client(s);
    struct presence_member m = member_of(c, guest);
    pthread_mutex_lock(&r->server->presence_lock);
    LIST_EACH (it, &s->subscriptions) {
        const struct feed *f = LIST_ENTRY(it, struct subscription, node)->feed;
        const struct rule *rule = rules_find(r->rules, f->name, f->name_len);
        if (f->is_pattern || f->name[0] == '$')
            continue;
        if (rule->presence)
            join(r, c, feed_name(f), rule);
        else
            leave(r, c, &m, feed_name(f), rule);
    }
    pthread_mutex_unlock(&r->server->presence_lock);
}

/* ---- events for backends */

static void begin_event(struct buf *json, const struct reactor *r, const struct client *c)
{
    char id[CLIENT_ID_BYTES + 1], name[CLIENT_NAME_BYTES + 1];
    buf_str(json, "{");
    if (c == NULL)
        return;
    client_format_id(c, r->server, id);
    client_format_name(client_name(c), name);
    buf_printf(json, "\"connection\":\"%s\",\"name\":\"%s\",\"sub\":", id, name);
    if (c->token != NULL && c->token->subject[0] != '\0')
        json_buf_string(json, (struct slice){ c->token->subject, strlen(c->token->subject) });
    else
        buf_str(json, "null");
}

static void end_event(struct reactor *r, const char *topic, struct buf *json)
{
    buf_str(json, "}");
    if (json->failed)
        stat_add(&r->stats.events_lost, 1);
    else
        events_publish(r, topic, buf_slice(json));
}

static void tell_subscription(struct reactor *r, const struct client *c, struct slice name, bool is_pattern, const char *topic)
{
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    begin_event(&json, r, c);
    buf_str(&json, c == NULL ? "" : ",");
    buf_str(&json, is_pattern ? "\"pattern\":" : "\"topic\":");
    json_buf_string(&json, name);
    end_event(r, topic, &json);
}

static void change_presence(struct reactor *r, const struct client *c, struct slice topic, const struct rule *rule, bool begins)
{
    char guest[GUEST_BYTES];
    struct presence_member m = member_of(c, guest);
    if (!begins)
        leave(r, c, &m, topic, rule); /* whatever the rule says by now */
    else if (rule->presence)
        join(r, c, topic, rule);
}

void membership_changed(struct subscriber *s, struct slice name, bool is_pattern, unsigned change)
{
    struct reactor *r = HLY_CONTAINER_OF(s->table, struct reactor, table);
    const struct client *c = s->ops->client == NULL ? NULL : s->ops->client(s);
    bool begins = (change & SUBSCRIPTION_BEGINS) != 0;
    if (name.ptr[0] == '$')
        return; /* who listens to events makes none */
    const struct rule *rule = rules_find(r->rules, name.ptr, name.len);
    if (!is_pattern && c != NULL)
        change_presence(r, c, name, rule, begins);
    if (!rule->events)
        return;
    if (c != NULL && c->connected_ms != 0) /* else membership_connected() tells it, if the connection comes to that */
        tell_subscription(r, c, name, is_pattern, begins ? "$halley/subscribe" : "$halley/unsubscribe");
    if (!is_pattern && (change & SUBSCRIPTION_EDGE) != 0)
        tell_subscription(r, NULL, name, false, begins ? "$halley/occupied" : "$halley/vacated");
}

/* Backends hear of a connection before they hear what it is subscribed to. */
void membership_connected(struct subscriber *s, const char *transport)
{
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    struct reactor *r = HLY_CONTAINER_OF(s->table, struct reactor, table);
    struct client *c = s->ops->client(s);
    c->connected_ms = r->loop.now_ms;
    if (!r->has_events)
        return;
    begin_event(&json, r, c);
    buf_printf(&json, ",\"transport\":\"%s\"", transport);
    end_event(r, "$halley/connect", &json);
    LIST_EACH (it, &s->subscriptions) {
        const struct feed *f = LIST_ENTRY(it, struct subscription, node)->feed;
        if (rules_find(r->rules, f->name, f->name_len)->events)
            tell_subscription(r, c, feed_name(f), f->is_pattern, "$halley/subscribe");
    }
}

static const char *end_reason(const struct client *c, const struct conn *conn)
{
    if (c->end_reason != NULL)
        return c->end_reason;
    return conn->error != 0 ? "lost" : "closed";
}

void membership_disconnected(struct reactor *r, const struct client *c, const char *transport, const struct conn *conn)
{
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    if (!r->has_events || c->connected_ms == 0)
        return;
    begin_event(&json, r, c);
    buf_printf(&json, ",\"transport\":\"%s\",\"reason\":\"%s\",\"duration_ms\":%" PRIu64, transport, end_reason(c, conn),
               r->loop.now_ms - c->connected_ms);
    end_event(r, "$halley/disconnect", &json);
}

/* ---- who is there */

struct page {
    struct buf *out;
    size_t count;
};

static void visit(const struct presence_member *m, void *ctx)
{
    struct page *p = ctx;
    if (p->count++ > 0)
        buf_str(p->out, ",");
    membership_write_member(p->out, m);
}

void membership_write_page(struct buf *out, struct presence *p, struct slice topic, uint64_t from, size_t limit)
{
    struct presence_count count = presence_count(p, topic);
    struct page page = { out, 0 };
    buf_printf(out, "\"count\":%" PRIu64 ",\"connections\":%" PRIu64 ",\"members\":[", count.members, count.connections);
    bool more = presence_page(p, topic, &from, limit, visit, &page);
    if (more)
        buf_printf(out, "],\"next\":\"%" PRIu64 "\"", from);
    else
        buf_str(out, "],\"next\":null");
}

bool membership_parse_next(struct slice text, uint64_t *ret)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)(text.ptr[i] - '0');
        if (digit > 9 || n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    if (text.len > 0)
        *ret = n;
    return text.len > 0;
}
