#include "transport/v1_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "core/catchup.h"
#include "proto/json_write.h"
#include "transport/gap_event.h"
#include "transport/kick.h"
#include "transport/membership.h"
#include "transport/slow.h"

#define RETURN_MS \
    2000 /* after which a client is to come back; spread, so that those who were sent away together do not return together */
#define RETURN_SPREAD_MS 1000

/* ---- writing */

void v1_write(struct v1_session *s, const struct buf *json, const char *cursor)
{
    if (!s->is_open)
        return;
    if (json->failed)
        v1_close_no_memory(s);
    else
        s->carrier->write(s, buf_slice(json), cursor);
}

void v1_close(struct v1_session *s, enum ws_close_code code, const char *reason)
{
    if (!s->is_open)
        return;
    s->is_open = false;
    s->carrier->close(s, code, reason);
}

void v1_close_no_memory(struct v1_session *s)
{
    v1_close(s, WS_CLOSE_TRY_LATER, "out of memory, try again later"); /* it comes back with its cursors, and misses nothing */
}

void v1_put_cursor(struct buf *out, const struct v1_session *s, uint64_t seq)
{
    char cursor[CURSOR_MAX_BYTES + 1];
    cursor_format(cursor, hub_epoch(s->reactor->hub), seq);
    buf_printf(out, "\"%s\"", cursor);
}

uint64_t v1_live_seq(const struct v1_session *s)
{
    if (s->sub.catchup != NULL || s->conn->outq != NULL)
        return UINT64_MAX;
    uint64_t taken = hub_taken_seq(s->reactor->hub, s->reactor->index);
    return taken > s->sub.had_seq ? taken : s->sub.had_seq; /* it may have read what the inbox still has */
}

/* {"cursor":…} */
static void write_cursor(struct v1_session *s, uint64_t seq)
{
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    char cursor[CURSOR_MAX_BYTES + 1];
    cursor_format(cursor, hub_epoch(s->reactor->hub), seq);
    buf_printf(&json, "{\"cursor\":\"%s\"}", cursor);
    v1_write(s, &json, cursor);
}

/* ---- answers */

static void put_id(struct buf *out, struct slice id)
{
    buf_str(out, "{");
    if (id.len == 0)
        return;
    buf_str(out, "\"id\":");
    buf_append(out, id.ptr, id.len);
    buf_str(out, ",");
}

static void write_error(struct buf *out, struct slice id, const char *code, const char *message, uint64_t retry_ms)
{
    struct slice text = { message, strlen(message) };
    put_id(out, id);
    buf_printf(out, "\"error\":{\"code\":\"%s\",\"message\":", code);
    json_buf_string(out, utf8_is_valid(text.ptr, text.len) ? text : SLICE_LIT("refused"));
    if (retry_ms > 0)
        buf_printf(out, ",\"retry_ms\":%" PRIu64, retry_ms);
    buf_str(out, "}}");
}

void v1_write_error(struct buf *out, struct slice id, const char *code, const char *message)
{
    write_error(out, id, code, message, 0);
}

static void answer(struct v1_reply *r, struct slice json)
{
    struct v1_answer *a = r->answer;
    r->answer = NULL;
    if (a != NULL)
        a->on_answer(a, json);
}

static void send_object(struct v1_reply *r, const struct buf *json)
{
    if (r->is_elsewhere)
        answer(r, buf_slice(json));
    else
        v1_write(r->session, json, "");
}

void v1_reply_begin(const struct v1_reply *r, struct buf *out)
{
    put_id(out, v1_reply_id(r));
    buf_str(out, "\"ok\":");
}

void v1_reply_send(struct v1_reply *r, struct buf *out)
{
    buf_str(out, "}");
    if (out->failed)
        v1_reply_no_memory(r);
    else
        send_object(r, out);
}

void v1_reply_empty(struct v1_reply *r)
{
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    v1_reply_begin(r, &out);
    buf_str(&out, "{}");
    v1_reply_send(r, &out);
}

static void refuse(struct v1_reply *r, const char *code, const char *message, uint64_t retry_ms)
{
    static struct log_gate gate;
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    stat_add(&r->session->reactor->stats.v1_errors, 1);
    if (strcmp(code, "too_many") == 0)
        log_limited(&gate, LOG_LEVEL_INFO, "command_refused", "transport=%s code=%s %s", r->session->carrier->what, code, message);
    write_error(&out, v1_reply_id(r), code, message, retry_ms);
    if (out.failed)
        answer(r, (struct slice){ 0 });
    send_object(r, &out);
}

void v1_reply_error(struct v1_reply *r, const char *code, const char *fmt, ...)
{
    char message[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    refuse(r, code, message, 0);
}

void v1_reply_no_memory(struct v1_reply *r)
{
    refuse(r, "unavailable", "out of memory, try again later", 0);
}

void v1_reply_refusal(struct v1_reply *r, const struct publish_refusal *why)
{
    refuse(r, publish_error_name(why->code), why->text, why->code == PUBLISH_RATE_LIMITED ? why->retry_ms : 0);
}

void v1_reply_cancel(struct v1_reply *r)
{
    answer(r, (struct slice){ 0 });
}

/* ---- the live flow */

static struct slow_client as_slow(struct v1_session *s)
{
    return (struct slow_client){ s->reactor, &s->sub, s->conn, &s->client, s->carrier->what };
}

static void obey(struct v1_session *s, enum slow_verdict verdict)
{
    switch (verdict) {
    case SLOW_BEHIND:
        break;
    case SLOW_DISCONNECT:
        v1_close(s, WS_CLOSE_TRY_LATER, "too slow for this topic (on_slow = disconnect): reconnect");
        break;
    case SLOW_LOST:
        stat_add(&s->reactor->stats.closed_lost, 1);
        v1_close(s, WS_CLOSE_GAP, "messages were lost: fetch the state anew and reconnect");
        break;
    }
}

static void send_messages(struct v1_session *s, const struct delivery *d)
{
    if (s->carrier->deliver != NULL)
        s->carrier->deliver(s, d);
    else
        conn_send(s->conn, d->slices, d->count, d->bytes);
}

static void deliver(struct subscriber *sub, const struct delivery *d)
{
    struct v1_session *s = HLY_CONTAINER_OF(sub, struct v1_session, sub);
    if (HLY_UNLIKELY(!s->is_open))
        return;
    if (HLY_LIKELY(!slow_has_no_room(s->reactor, s->conn, d))) {
        send_messages(s, d);
        return;
    }
    struct slow_client slow = as_slow(s);
    obey(s, slow_fall_behind(&slow, d));
}

static void replay(struct subscriber *sub, const struct delivery *d)
{
    struct v1_session *s = HLY_CONTAINER_OF(sub, struct v1_session, sub);
    if (s->is_open)
        send_messages(s, d);
}

static bool is_full(struct subscriber *sub)
{
    return v1_is_full(HLY_CONTAINER_OF(sub, struct v1_session, sub));
}

/* "topic":"chat/42", or "topics":[…] */
static void put_subscriptions(struct buf *out, const struct subscriber *sub)
{
    const char *before = sub->count == 1 ? "\"topic\":" : "\"topics\":[";
    LIST_EACH (it, &sub->subscriptions) {
        buf_str(out, before);
        json_buf_string(out, feed_name(LIST_ENTRY(it, struct subscription, node)->feed));
        before = ",";
    }
    buf_str(out, sub->count == 0 ? "" : sub->count == 1 ? "," : "],");
}

static bool on_gap(struct subscriber *sub, uint64_t after_seq, enum gap_reason reason)
{
    struct v1_session *s = HLY_CONTAINER_OF(sub, struct v1_session, sub);
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    struct gap_event event = { .reactor = s->reactor, .client = &s->client, .transport = s->carrier->what };
    gap_event_add_all(&event, sub);
    gap_event_tell(&event, after_seq, reason);
    stat_add(&s->reactor->stats.gaps, 1);
    buf_str(&json, "{");
    put_subscriptions(&json, sub);
    buf_str(&json, "\"gap\":{\"after\":");
    v1_put_cursor(&json, s, after_seq);
    buf_printf(&json, ",\"reason\":\"%s\"}}", gap_reason_name(reason));
    v1_write(s, &json, "");
    return s->is_open;
}

static void on_level(struct subscriber *sub, uint64_t seq)
{
    struct v1_session *s = HLY_CONTAINER_OF(sub, struct v1_session, sub);
    if (s->is_open && s->conn->outq == NULL) /* else the next sign of life tells it: see v1_live_seq() */
        write_cursor(s, seq);
    LIST_EACH_SAFE (it, next, &s->works) {
        struct v1_work *w = LIST_ENTRY(it, struct v1_work, node);
        if (w->on_level != NULL)
            w->on_level(w);
    }
}

static struct client *client_of(struct subscriber *sub)
{
    return &HLY_CONTAINER_OF(sub, struct v1_session, sub)->client;
}

static const struct subscriber_ops v1_ops = {
    .client = client_of,
    .deliver = deliver, .replay = replay, .is_full = is_full, .on_gap = on_gap, .on_level = on_level
};

/* ---- what is on its way */

static void session_release(struct v1_session *s)
{
    if (!s->has_ended || s->work_count > 0)
        return;
    subscriber_done(&s->sub);
    client_done(&s->client);
    s->on_free(s);
}

static void pause_busy(struct v1_session *s)
{
    static struct log_gate gate;
    s->is_busy = true;
    conn_pause(s->conn, CONN_PAUSE_BUSY);
    stat_add(&s->reactor->stats.v1_pauses, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "session_paused", "transport=%s a client is not read until half of its %d commands are answered",
                s->carrier->what, V1_MAX_WORKS);
}

void v1_work_begin(struct v1_work *w, const struct v1_reply *reply)
{
    struct v1_session *s = reply->session;
    w->session = s;
    w->reply = *reply;
    list_push(&s->works, &w->node);
    if (++s->work_count >= V1_MAX_WORKS && !s->is_busy && !reply->is_elsewhere && s->is_open)
        pause_busy(s);
}

void v1_work_end(struct v1_work *w)
{
    struct v1_session *s = w->session;
    list_remove(&w->node);
    free(w);
    s->work_count--;
    if (s->is_busy && !s->has_ended && s->work_count <= V1_MAX_WORKS / 2) {
        s->is_busy = false;
        conn_resume(s->conn, CONN_PAUSE_BUSY);
    }
    session_release(s);
}

/* ---- publishers are not read while the hub is congested */

struct v1_paused {
    struct paused paused;
    struct v1_session *session;
};

static void on_resume(struct paused *p)
{
    struct v1_paused *vp = HLY_CONTAINER_OF(p, struct v1_paused, paused);
    vp->session->paused = NULL;
    conn_resume(vp->session->conn, CONN_PAUSE_HUB);
    free(vp);
}

static void pause_if_congested(struct v1_session *s)
{
    if (!hub_is_congested(s->reactor->hub) || s->paused != NULL || !s->is_open)
        return;
    struct v1_paused *vp = malloc(sizeof *vp);
    if (vp == NULL)
        return; /* it reads on: the inbox grows by what it sends until there is memory again */
    *vp = (struct v1_paused){ .paused = { .resume = on_resume }, .session = s };
    list_init(&vp->paused.node);
    s->paused = &vp->paused;
    conn_pause(s->conn, CONN_PAUSE_HUB);
    reactor_pause_publisher(s->reactor, &vp->paused);
}

/* ---- the reactor's sessions */

bool v1_session_equals(const struct map_node *node, const void *key, size_t key_len)
{
    const struct v1_session *s = HLY_CONTAINER_OF(node, struct v1_session, node);
    return key_len == sizeof s->client.random && memcmp(s->client.random, key, key_len) == 0;
}

struct v1_session *v1_session_find(struct reactor *r, const struct client *id)
{
    struct map_node *n = map_find(&r->sessions, hash_bytes(id->random, sizeof id->random), id->random, sizeof id->random);
    return n == NULL ? NULL : HLY_CONTAINER_OF(n, struct v1_session, node);
}

/* ---- the life of a session */

int v1_session_init(struct v1_session *s, struct reactor *r, struct conn *c, const struct v1_carrier *carrier,
                    void (*on_free)(struct v1_session *s))
{
    *s = (struct v1_session){ .carrier = carrier, .reactor = r, .conn = c, .on_free = on_free };
    subscriber_init(&s->sub, &r->table, &v1_ops, carrier->form);
    client_init(&s->client, r);
    s->sub.name = client_name(&s->client);
    list_init(&s->works);
    list_init(&s->changes);
    list_init(&s->histories);
    return 0;
}

static void write_hello(struct v1_session *s, uint64_t seq)
{
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    char id[CLIENT_ID_BYTES + 1], name[CLIENT_NAME_BYTES + 1], cursor[CURSOR_MAX_BYTES + 1] = "";
    client_format_id(&s->client, s->reactor->server, id);
    client_format_name(client_name(&s->client), name);
    buf_printf(&json, "{\"hello\":{\"connection\":\"%s\",\"name\":\"%s\",", id, name);
    if (seq != UINT64_MAX) {
        cursor_format(cursor, hub_epoch(s->reactor->hub), seq);
        buf_printf(&json, "\"cursor\":\"%s\",", cursor);
    }
    buf_printf(&json, "\"ping_s\":%" PRIu64 ",\"version\":\"%s\"}}", (s->reactor->settings->ping_interval_ms + 999) / 1000,
               s->reactor->settings->version);
    v1_write(s, &json, cursor);
}

int v1_session_open(struct v1_session *s, const struct wish *wish, struct opening_seqs seqs)
{
    uint64_t seq = seqs.first;
    if (s->sub.count > 0 && wish_begin(wish, &s->sub, seqs, &seq) < 0)
        return -ENOMEM;
    if (map_insert(&s->reactor->sessions, &s->node, hash_bytes(s->client.random, sizeof s->client.random)) < 0)
        return -ENOMEM;
    s->is_listed = s->is_open = true;
    write_hello(s, seq);
    membership_connected(&s->sub, s->carrier->what);
    return 0;
}

/* Its token has expired, and the timer comes a moment later: nothing is done for it any more. */
static void end_if_expired(struct v1_session *s)
{
    if (s->is_open && client_expires_in_ms(&s->client, s->reactor->loop.wall_ms) == 0)
        v1_session_deadline(s);
}

void v1_session_command(struct v1_session *s, struct slice text)
{
    end_if_expired(s);
    v1_command_run(s, text, NULL);
    pause_if_congested(s);
}

void v1_session_command_for(struct v1_session *s, struct slice text, struct v1_answer *a)
{
    end_if_expired(s);
    v1_command_run(s, text, a);
}

void v1_session_drained(struct v1_session *s)
{
    if (s->sub.catchup == NULL && list_is_empty(&s->works))
        return;
    catchup_wake(&s->sub);
    LIST_EACH_SAFE (it, next, &s->works) {
        struct v1_work *w = LIST_ENTRY(it, struct v1_work, node);
        if (w->on_drained != NULL)
            w->on_drained(w);
    }
    loop_wake(&s->reactor->loop); /* this comes at the end of a turn: there is history to be read in another */
}

void v1_session_tick(struct v1_session *s)
{
    uint64_t seq = s->is_open ? v1_live_seq(s) : UINT64_MAX;
    if (seq != UINT64_MAX)
        write_cursor(s, seq);
}

/* ---- a token that expires */

/* In good time; of a token that is good for less than twice that, at half of what is left: a client that answers the notice with such a token must not have the
 * next notice at once. */
void v1_session_identify(struct v1_session *s, struct token *token)
{
    uint64_t notice = s->reactor->settings->expiry_notice_ms;
    client_set_token(&s->client, token);
    uint64_t left = client_expires_in_ms(&s->client, s->reactor->loop.wall_ms);
    s->is_expiry_told = false;
    s->notice_ms = left == UINT64_MAX ? 0 : token->expires_ms - (notice < left / 2 ? notice : left / 2);
}

uint64_t v1_session_next_deadline(const struct v1_session *s)
{
    if (s->client.token == NULL)
        return 0;
    return s->is_expiry_told ? s->client.token->expires_ms : s->notice_ms;
}

void v1_session_deadline(struct v1_session *s)
{
    uint64_t left = client_expires_in_ms(&s->client, s->reactor->loop.wall_ms);
    if (left == 0) {
        stat_add(&s->reactor->stats.closed_expired, 1);
        v1_close(s, WS_CLOSE_TOKEN, "the token has expired: connect with a new one");
        return;
    }
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    s->is_expiry_told = true;
    buf_printf(&json, "{\"expiring\":{\"in_ms\":%" PRIu64 "}}", left);
    v1_write(s, &json, "");
}

static void write_forbidden(struct v1_session *s, struct slice name, const char *why)
{
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    buf_str(&json, "{\"topic\":");
    json_buf_string(&json, name);
    buf_str(&json, ",\"error\":{\"code\":\"forbidden\",\"message\":");
    json_buf_string(&json, (struct slice){ why, strlen(why) });
    buf_str(&json, "}}");
    v1_write(s, &json, "");
}

void v1_session_check_rights(struct v1_session *s)
{
    const struct rule_client *who = client_rights(&s->client, RULE_SUBSCRIBE);
    LIST_EACH_SAFE (it, next, &s->sub.subscriptions) {
        const struct feed *f = LIST_ENTRY(it, struct subscription, node)->feed;
        char name[256];
        memcpy(name, f->name, f->name_len); /* the feed may go with its last subscription */
        struct slice text = { name, f->name_len };
        bool is_pattern = f->is_pattern;
        if (rules_allow(s->reactor->rules, who, RULE_SUBSCRIBE, text.ptr, text.len))
            continue;
        stat_add(&s->reactor->stats.rechecked_ends, 1);
        write_forbidden(s, text, "subscribing to it is no longer allowed: the subscription has ended");
        unsubscribe(&s->sub, text, is_pattern);
    }
    LIST_EACH_SAFE (it, next, &s->works) {
        struct v1_work *w = LIST_ENTRY(it, struct v1_work, node);
        if (w->on_rights != NULL)
            w->on_rights(w);
    }
}

void v1_session_recheck(struct v1_session *s)
{
    if (!s->is_open)
        return;
    v1_session_check_rights(s);
    membership_recheck(&s->sub);
}

void v1_session_set_token(struct v1_session *s, struct token *token)
{
    v1_session_identify(s, token);
    membership_refresh(&s->sub);
    s->carrier->token_changed(s);
    v1_session_check_rights(s);
}

bool v1_session_kick(struct v1_session *s, const struct kick *k)
{
    if (!s->is_open)
        return false;
    if (kick_is_whole(k)) {
        s->client.end_reason = kick_end_reason(k);
        v1_close(s, (enum ws_close_code)k->code, k->reason);
        return true;
    }
    size_t count = 0;
    LIST_EACH_SAFE (it, next, &s->sub.subscriptions) {
        char name[TOPIC_MAX_BYTES];
        struct slice text;
        if (!kick_unsubscribe(k, LIST_ENTRY(it, struct subscription, node), name, &text))
            continue;
        write_forbidden(s, text, k->reason);
        count++;
    }
    return count > 0;
}

void v1_session_cut(struct v1_session *s)
{
    struct slow_client slow = as_slow(s);
    if (s->is_open)
        obey(s, slow_cut(&slow));
}

void v1_session_stop(struct v1_session *s)
{
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    uint32_t after_ms = s->reactor->return_ms;
    buf_printf(&json, "{\"reconnect\":{\"after_ms\":%" PRIu32 ",\"reason\":\"%s\"}}",
               after_ms != 0 ? after_ms : RETURN_MS + reactor_random(s->reactor, RETURN_SPREAD_MS), after_ms != 0 ? "drain" : "restart");
    v1_write(s, &json, "");
}

void v1_session_mute(struct v1_session *s)
{
    s->is_open = false;
}

static void unpause(struct v1_session *s)
{
    if (s->paused == NULL)
        return;
    list_remove(&s->paused->node);
    free(HLY_CONTAINER_OF(s->paused, struct v1_paused, paused));
    s->paused = NULL;
}

void v1_session_end(struct v1_session *s)
{
    s->is_open = false;
    s->has_ended = true;
    unpause(s);
    if (s->is_listed)
        map_remove(&s->reactor->sessions, &s->node);
    s->work_count++; /* it stays until all have been looked at */
    LIST_EACH_SAFE (it, next, &s->works) {
        struct v1_work *w = LIST_ENTRY(it, struct v1_work, node);
        w->on_cancel(w);
    }
    s->work_count--;
    catchup_end(&s->sub);
    if (!s->is_changing) /* else the engine still has the subscriber */
        subscriber_done(&s->sub);
    membership_disconnected(s->reactor, &s->client, s->carrier->what, s->conn);
    session_release(s);
}
