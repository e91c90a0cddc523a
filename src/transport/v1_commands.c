/* From the text of a command to what it does: what a client may send is checked here, all of it before anything is done. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/jwt.h"
#include "auth/revocation.h"
#include "base/log.h"
#include "core/topic_name.h"
#include "transport/membership.h"
#include "transport/peer.h"
#include "transport/v1_internal.h"

#define HISTORY_LIMIT 100
#define HISTORY_LIMIT_MAX 1000
#define PRESENCE_LIMIT 100
#define LAST_MAX 999999999 /* as in a URL */

struct call { /* one command being run */
    struct v1_session *session;
    const json_t *object;
    struct v1_reply reply;
};

/* ---- members of a command, checked. False: it has been answered with an error */

static bool bad_request(struct call *c, const char *what)
{
    v1_reply_error(&c->reply, "bad_request", "%s", what);
    return false;
}

static bool check_name(struct call *c, const char *bad, struct slice name)
{
    char quoted[96];
    if (bad != NULL)
        v1_reply_error(&c->reply, "bad_topic", "bad topic '%s': %s", log_quote(quoted, sizeof quoted, name.ptr, name.len), bad);
    return bad == NULL;
}

bool v1_may_subscribe(const struct v1_session *s, struct slice name)
{
    return rules_allow(s->reactor->rules, client_rights(&s->client, RULE_SUBSCRIBE), RULE_SUBSCRIBE, name.ptr, name.len);
}

static bool check_right(struct call *c, struct slice name)
{
    char quoted[96];
    if (v1_may_subscribe(c->session, name))
        return true;
    v1_reply_error(&c->reply, "forbidden", "subscribing to '%s' is not allowed here",
                   log_quote(quoted, sizeof quoted, name.ptr, name.len));
    return false;
}

/* A topic, not a pattern. */
static bool get_topic(struct call *c, const json_t *value, struct slice *ret)
{
    if (!json_is_string(value))
        return bad_request(c, "the topic must be a string");
    *ret = (struct slice){ json_string_value(value), json_string_length(value) };
    return check_name(c, topic_name_error(ret->ptr, ret->len), *ret);
}

/* A topic or pattern, or a list of them. */
static bool check_names(struct call *c, const json_t *names)
{
    uint32_t max = c->session->reactor->settings->max_subscriptions;
    if (!json_is_string(names) && (!json_is_array(names) || json_array_size(names) == 0))
        return bad_request(c, "name a topic or pattern, or a list of at least one");
    for (size_t i = 0; json_is_array(names) && i < json_array_size(names); i++)
        if (!json_is_string(json_array_get(names, i)))
            return bad_request(c, "each topic or pattern in the list must be a string");
    if (v1_name_count(names) > max) {
        v1_reply_error(&c->reply, "too_many", "one connection may have %" PRIu32 " subscriptions (limits.subscriptions)", max);
        return false;
    }
    for (size_t i = 0; i < v1_name_count(names); i++) {
        struct slice name = v1_name_at(names, i);
        if (!check_name(c, pattern_error(name.ptr, name.len), name))
            return false;
    }
    return true;
}

static bool get_number(struct call *c, const char *member, uint64_t min, uint64_t max, uint64_t *ret)
{
    const json_t *value = json_object_get(c->object, member);
    if (value == NULL)
        return true;
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < (json_int_t)min || n > (json_int_t)max) {
        v1_reply_error(&c->reply, "bad_request", "%s must be a whole number from %" PRIu64 " to %" PRIu64, member, min, max);
        return false;
    }
    *ret = (uint64_t)n;
    return true;
}

static bool get_range(struct call *c, struct v1_range *ret)
{
    const json_t *after = json_object_get(c->object, "after");
    *ret = (struct v1_range){ .last = READING_LAST_NONE };
    if (after != NULL &&
        (!json_is_string(after) || cursor_parse(json_string_value(after), json_string_length(after), &ret->after) < 0))
        return bad_request(c, "after is no cursor: send back what the server sent, or \"0\" for all history that there is");
    ret->has_after = after != NULL;
    return get_number(c, "last", 0, LAST_MAX, &ret->last);
}

static bool check_readings(struct call *c, size_t names)
{
    const struct v1_session *s = c->session;
    if (s->reading_count < V1_MAX_READINGS && (s->reading_count == 0 || s->reading_names + names <= s->reactor->settings->max_subscriptions + V1_MAX_READINGS))
        return true;
    v1_reply_error(&c->reply, "too_many", "%" PRIu32 " replays and histories are running on this connection: wait until one has ended",
                   s->reading_count);
    return false;
}

/* ---- the commands */

static void do_subscribe(struct call *c, const json_t *names)
{
    struct v1_range range;
    if (!check_names(c, names) || !get_range(c, &range))
        return;
    if (v1_range_is_given(&range) && c->reply.id_len == 0) {
        bad_request(c, "a subscribe with after or last needs an id: its replay is told by it");
        return;
    }
    for (size_t i = 0; i < v1_name_count(names); i++)
        if (!check_right(c, v1_name_at(names, i)))
            return;
    if (!v1_range_is_given(&range) || check_readings(c, v1_name_count(names)))
        v1_subscribe(&c->reply, names, &range);
}

static void do_unsubscribe(struct call *c, const json_t *names)
{
    if (check_names(c, names))
        v1_unsubscribe(&c->reply, names);
}

struct publishing { /* begins with its work */
    struct v1_work work;
    struct engine_publish publish;
};

static void on_published(struct engine_publish *p)
{
    struct publishing *w = HLY_CONTAINER_OF(p, struct publishing, publish);
    struct v1_session *s = w->work.session;
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    struct publish_refusal why;
    if (s->has_ended) { /* nobody asks any more */
    } else if (p->result < 0) {
        publish_explain(s->reactor, p->result, &why);
        v1_reply_refusal(&w->work.reply, &why);
    } else {
        v1_reply_begin(&w->work.reply, &out);
        buf_str(&out, "{\"cursor\":");
        v1_put_cursor(&out, s, p->receipt.seq);
        buf_printf(&out, ",\"subscribers\":%" PRIu64 "}", p->receipt.subscribers);
        v1_reply_send(&w->work.reply, &out);
    }
    v1_work_end(&w->work);
}

static void publishing_on_cancel(struct v1_work *w)
{
    v1_reply_cancel(&w->reply); /* the engine has it: on_published() comes */
}

static void publish(struct call *c, struct message *m, struct slice key)
{
    struct reactor *r = c->session->reactor;
    struct publishing *w = calloc(1, sizeof *w);
    if (w == NULL) {
        message_unref(m);
        v1_reply_no_memory(&c->reply);
        return;
    }
    w->work.on_cancel = publishing_on_cancel;
    w->publish = (struct engine_publish){ .message = m, .key = key, .reactor = r->index, .done = on_published };
    v1_work_begin(&w->work, &c->reply);
    r->engine->publish(r->engine, &w->publish);
}

static void do_publish(struct call *c, const json_t *value)
{
    struct v1_session *s = c->session;
    struct publisher by = publisher_of(&s->client);
    const json_t *data = json_object_get(c->object, "data"), *key = json_object_get(c->object, "key"), *echo = json_object_get(c->object, "echo");
    struct slice topic, key_text = { 0 };
    struct publish_payload payload;
    struct publish_refusal why;
    struct message *m = NULL;
    if (!get_topic(c, value, &topic))
        return;
    if (data == NULL || (key != NULL && !json_is_string(key)) || (echo != NULL && !json_is_boolean(echo))) {
        bad_request(c, "a publish has data, and, if wanted, key (a string) and echo (true or false)");
        return;
    }
    if (json_is_false(echo))
        by.except = by.name;
    if (key != NULL)
        key_text = (struct slice){ json_string_value(key), json_string_length(key) };
    if (publish_is_allowed(s->reactor, by.rights, topic, &why) && (key == NULL || publish_check_key(s->reactor, key_text, &why)) &&
        publish_payload_from_json(s->reactor, topic, data, &payload, &why)) {
        m = publish_prepare(s->reactor, &by, topic, payload.bytes, &why);
        if (m != NULL && !publish_is_in_rate(s->reactor, s->conn, payload.bytes.len, &why))
            m = message_unref(m);
        free(payload.memory);
    }
    if (m == NULL)
        v1_reply_refusal(&c->reply, &why);
    else
        publish(c, m, key_text);
}

static void do_history(struct call *c, const json_t *value)
{
    struct slice topic;
    struct v1_range range;
    uint64_t limit = HISTORY_LIMIT;
    if (!get_topic(c, value, &topic) || !get_range(c, &range) || !get_number(c, "limit", 1, HISTORY_LIMIT_MAX, &limit) ||
        !check_right(c, topic) || !check_readings(c, 1))
        return;
    if (!v1_range_is_given(&range))
        range.has_after = true; /* all there is, as after "0" */
    v1_history(&c->reply, topic, &range, limit);
}

static void do_presence(struct call *c, const json_t *value)
{
    struct reactor *r = c->session->reactor;
    const json_t *next = json_object_get(c->object, "next");
    struct slice topic;
    uint64_t limit = PRESENCE_LIMIT, from = 0;
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    if (!get_topic(c, value, &topic) || !check_right(c, topic) || !get_number(c, "limit", 0, PRESENCE_PAGE_MAX, &limit))
        return;
    if (next != NULL && (!json_is_string(next) || !membership_parse_next((struct slice){ json_string_value(next), json_string_length(next) }, &from))) {
        bad_request(c, "next is what the page before said");
        return;
    }
    if (!rules_find(r->rules, topic.ptr, topic.len)->presence) {
        bad_request(c, "presence is not kept for this topic");
        return;
    }
    v1_reply_begin(&c->reply, &out);
    buf_str(&out, "{");
    membership_write_page(&out, r->server->presence, topic, from, limit);
    buf_str(&out, "}");
    v1_reply_send(&c->reply, &out);
}

static void auth_error(struct call *c, enum jwt_error error)
{
    static struct log_gate gate;
    stat_add(&c->session->reactor->stats.tokens_refused, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "token_refused", "why=%s %s", jwt_error_name(error), jwt_error_operator(error));
    v1_reply_error(&c->reply, "unauthorized", "%s", jwt_error_text(error));
}

/* Whoever goes on sending tokens that do not hold has us check signatures all day. */
static void count_refused_token(struct v1_session *s)
{
    static struct log_gate gate;
    if (++s->refused_tokens < V1_MAX_REFUSED_TOKENS)
        return;
    log_limited(&gate, LOG_LEVEL_INFO, "tokens_refused", "transport=%s a connection has sent %d tokens that do not hold, and is closed", s->carrier->what,
                V1_MAX_REFUSED_TOKENS);
    v1_close(s, WS_CLOSE_TOKEN, "too many tokens that do not hold: connect with a good one");
}

/* A new token on the living connection. The old one holds until the new one does. */
static void do_auth(struct call *c, const json_t *value)
{
    struct v1_session *s = c->session;
    const struct settings *set = s->reactor->settings;
    HLY_CLEANUP(token_unrefp) struct token *token = NULL;
    if (!json_is_string(value)) {
        bad_request(c, "auth is a token: a string");
        return;
    }
    if (set->jwt == NULL) {
        v1_reply_error(&c->reply, "unauthorized", "this server knows no tokens");
        return;
    }
    enum jwt_error error = jwt_verify(set->jwt, (struct slice){ json_string_value(value), json_string_length(value) }, s->reactor->loop.wall_ms, &token);
    if (error == JWT_OK && revocations_has(s->reactor->server->revocations, token, s->reactor->loop.wall_ms))
        error = JWT_REVOKED;
    if (error != JWT_OK) {
        auth_error(c, error);
        count_refused_token(s);
        return;
    }
    if (s->client.token != NULL && strcmp(s->client.token->subject, token->subject) != 0) {
        v1_reply_error(&c->reply, "unauthorized", "the new token is of another subject: open a connection of its own for it");
        count_refused_token(s);
        return;
    }
    int r = peer_set_user(s->reactor, s->conn, token);
    if (r < 0) {
        if (r == -EDQUOT)
            v1_reply_error(&c->reply, "too_many", "this user has %" PRIu64 " connections already (limits.per_user)", set->max_per_user);
        else
            v1_reply_no_memory(&c->reply);
        return;
    }
    s->refused_tokens = 0;
    v1_session_set_token(s, token);
    v1_reply_empty(&c->reply);
}

static void do_ping(struct call *c, const json_t *value)
{
    if (json_is_true(value))
        v1_reply_empty(&c->reply);
    else
        bad_request(c, "ping is true");
}

/* ---- which one it is */

static const struct command {
    const char *name;
    void (*run)(struct call *c, const json_t *value);
} commands[] = {
    { "subscribe", do_subscribe }, { "unsubscribe", do_unsubscribe }, { "publish", do_publish },
    { "history", do_history },     { "presence", do_presence },       { "auth", do_auth },
    { "ping", do_ping },
};

/* Any number; a 64-bit integer comes back as it is, another as the same number. */
static bool get_id(struct call *c)
{
    const json_t *id = json_object_get(c->object, "id");
    if (id == NULL)
        return true;
    char *text = json_is_number(id) ? publish_json_text(id) : NULL;
    size_t len = text == NULL ? 0 : strlen(text);
    if (len > 0 && len <= sizeof c->reply.id)
        memcpy(c->reply.id, text, c->reply.id_len = (uint8_t)len);
    free(text);
    if (c->reply.id_len == 0 && json_is_number(id))
        v1_reply_no_memory(&c->reply);
    else if (c->reply.id_len == 0)
        return bad_request(c, "id must be a number");
    return c->reply.id_len > 0;
}

static void run_object(struct call *c)
{
    const struct command *command = NULL;
    if (!json_is_object(c->object)) {
        bad_request(c, "a command is an object, such as {\"id\":1,\"subscribe\":\"NAME\"}");
        return;
    }
    if (!get_id(c))
        return;
    for (size_t i = 0; i < HLY_ARRAY_LEN(commands); i++) {
        if (json_object_get(c->object, commands[i].name) == NULL)
            continue;
        if (command != NULL) {
            bad_request(
                c,
                "one command at a time: this has more than one of subscribe, unsubscribe, publish, history, presence, auth, ping");
            return;
        }
        command = &commands[i];
    }
    if (command == NULL)
        bad_request(c, "no command: say one of subscribe, unsubscribe, publish, history, presence, auth, ping");
    else
        command->run(c, json_object_get(c->object, command->name));
}

/* JSON that we do not take, although others might; NULL: it is none. */
static const char *why_not_taken(const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_stack_overflow:
        return "the JSON is nested too deeply";
    case json_error_null_byte_in_key:
        return "a member's name contains a NUL";
    case json_error_duplicate_key:
        return "a member comes twice";
    case json_error_numeric_overflow:
        return "a number is too large: whole numbers have 64 bits here";
    default: /* half of a UTF-16 pair: JavaScript writes what it was given */
        return strncmp(error->text, "invalid Unicode '\\u", 19) == 0 ? "a string has half of a surrogate pair" : NULL;
    }
}

static void not_parsed(struct call *c, const json_error_t *error)
{
    const char *why = why_not_taken(error);
    if (json_error_code(error) == json_error_out_of_memory)
        v1_reply_no_memory(&c->reply);
    else if (why != NULL)
        bad_request(c, why);
    else if (c->reply.is_elsewhere)
        v1_reply_error(&c->reply, "bad_request", "this is not JSON: see line %d, column %d", error->line, error->column);
    else
        v1_close(c->session, WS_CLOSE_BAD_DATA, "this is not JSON");
}

void v1_command_run(struct v1_session *s, struct slice text, struct v1_answer *answer)
{
    json_error_t error;
    struct call c = { .session = s, .reply = { .session = s, .answer = answer, .is_elsewhere = answer != NULL } };
    stat_add(&s->reactor->stats.v1_commands, 1);
    if (!s->is_open) {
        v1_reply_cancel(&c.reply);
        return;
    }
    json_t *object = json_loadb(text.ptr, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    c.object = object;
    if (object == NULL)
        not_parsed(&c, &error);
    else
        run_object(&c);
    json_decref(object);
}
