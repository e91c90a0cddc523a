#include "transport/resp_client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "core/cursor.h"
#include "transport/resp_internal.h"
#include "transport/unread.h"

#define RESP_LINGER_MS 2000
#define RESP_MAX_ARGS 1048576  /* as Redis */
#define RESP_MAX_INLINE 65536
#define RESP_MAX_SLOTS 100000  /* replies to come; over it the client is not read */
#define RESP_SPARE_SLOTS 1024

/* Before its key is known a client gets no more than HELLO with all its options takes. */
#define STRANGER_MAX_ARGS 16
#define STRANGER_MAX_BULK 1024
#define STRANGER_MAX_COMMAND 4096
#define STRANGER_MAX_OUTQ 65536

static const struct conn_ops resp_conn_ops;
static void on_drained(struct conn *conn);
static void resp_answered(struct resp_client *c);

/* ---- slots */

struct resp_slot *resp_slot_take(struct resp_client *c)
{
    struct reactor *r = c->reactor;
    struct list *spare = list_pop(&r->spare_slots);
    struct resp_slot *s = spare != NULL ? LIST_ENTRY(spare, struct resp_slot, node) : malloc(sizeof *s);
    if (s == NULL)
        return NULL;
    if (spare != NULL)
        r->spare_slot_count--;
    *s = (struct resp_slot){ .client = c, .reactor = r };
    list_push(&c->slots, &s->node);
    c->slot_count++;
    return s;
}

static void slot_free(struct resp_slot *s)
{
    struct reactor *r = s->reactor;
    buf_done(&s->reply);
    if (r->spare_slot_count < RESP_SPARE_SLOTS) {
        list_init(&s->node);
        list_push(&r->spare_slots, &s->node);
        r->spare_slot_count++;
        return;
    }
    free(s);
}

void resp_slots_free_spare(struct reactor *r)
{
    for (struct list *node; (node = list_pop(&r->spare_slots)) != NULL;)
        free(LIST_ENTRY(node, struct resp_slot, node));
}

struct resp_slot *resp_slot_of(struct resp_call *call)
{
    struct resp_slot *s = call->slot != NULL ? call->slot : resp_slot_take(call->client);
    if (s == NULL) {
        resp_error(call, "out of memory, try again later");
        return NULL;
    }
    s->is_text = false;
    call->slot = s;
    call->out = NULL;
    return s;
}

static void slot_write_cursor(struct resp_client *c, const struct resp_slot *s)
{
    char cursor[CURSOR_MAX_BYTES + 1];
    size_t len = cursor_format(cursor, hub_epoch(c->reactor->hub), s->seq);
    resp_write_bulk(&c->out, cursor, len);
}

static void slot_write(struct resp_client *c, struct resp_slot *s)
{
    struct publish_refusal why;
    if (s->is_text && c->out.len == 0 && !c->out.failed) { /* it may be long: no copy */
        buf_done(&c->out);
        c->out = s->reply;
        s->reply = (struct buf){ 0 };
    } else if (s->is_text) {
        buf_append(&c->out, s->reply.data, s->reply.len); /* a reply that only had to wait */
    } else if (s->result < 0) {
        publish_explain(c->reactor, s->result, &why);
        stat_add(&c->reactor->stats.backend_errors, 1);
        buf_str(&c->out, "-ERR ");
        buf_str(&c->out, why.text);
        buf_str(&c->out, "\r\n");
    } else if (s->is_cursor) {
        slot_write_cursor(c, s);
    } else {
        resp_write_int(&c->out, (int64_t)s->subscribers);
    }
}

void resp_flush_slots(struct resp_client *c)
{
    while (!list_is_empty(&c->slots)) {
        struct resp_slot *s = LIST_ENTRY(c->slots.next, struct resp_slot, node);
        if (!s->ready)
            break;
        list_remove(&s->node);
        c->slot_count--;
        slot_write(c, s);
        slot_free(s);
    }
}

static void resp_flush(struct resp_client *c)
{
    resp_flush_slots(c);
    if (c->out.failed) {
        conn_fail(c->conn, ENOMEM);
        return;
    }
    if (c->out.len == 0)
        return;
    conn_write(c->conn, c->out.data, c->out.len);
    if (c->out.cap > 16384) /* a client that once had a long reply need not keep its memory */
        buf_done(&c->out);
    else
        buf_reset(&c->out);
}

/* Write what is ready; a command that had to wait for that begins. */
static void resp_settle(struct resp_client *c)
{
    resp_flush(c);
    if (c->streams != NULL && !c->conn->closed)
        resp_streams_flushed(c);
}

void resp_slot_ready(struct resp_slot *s)
{
    s->ready = true;
    struct resp_client *c = s->client;
    if (c == NULL) {
        slot_free(s);
    } else if (!c->in_commands) {
        resp_settle(c);
        if (!c->conn->closed && conn_waiting(c->conn) == 0)
            on_drained(c->conn);
        if (list_is_empty(&c->slots))
            resp_answered(c);
    }
}

HLY_PRINTF(3, 0)
static void write_error(struct resp_call *call, const char *code, const char *fmt, va_list ap)
{
    char text[512];
    int n = snprintf(text, sizeof text, "%s ", code);
    vsnprintf(text + n, sizeof text - (size_t)n, fmt, ap);
    stat_add(&call->client->reactor->stats.backend_errors, 1);
    resp_write_error(call->out, text);
}

void resp_error(struct resp_call *call, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    write_error(call, "ERR", fmt, ap);
    va_end(ap);
}

void resp_noperm(struct resp_call *call, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    write_error(call, "NOPERM", fmt, ap);
    va_end(ap);
}

/* ---- who it is */

static bool is_stranger(const struct resp_client *c)
{
    return c->access->rights == NULL;
}

static struct resp_limits limits_of(const struct resp_client *c)
{
    uint64_t max = c->reactor->settings->max_command;
    if (is_stranger(c))
        return (struct resp_limits){ .max_args = STRANGER_MAX_ARGS,
                                     .max_bulk = STRANGER_MAX_BULK,
                                     .max_bytes = STRANGER_MAX_COMMAND,
                                     .max_inline = STRANGER_MAX_BULK };
    return (struct resp_limits){ .max_args = RESP_MAX_ARGS, .max_bulk = (uint32_t)max, .max_bytes = max, .max_inline = RESP_MAX_INLINE };
}

static uint64_t max_outq(const struct resp_client *c)
{
    return is_stranger(c) ? STRANGER_MAX_OUTQ : c->reactor->settings->max_backend_outq;
}

bool resp_authenticate(struct resp_call *call, struct slice user, struct slice key)
{
    struct resp_client *c = call->client;
    if (backend_access_check(c->access, user, key)) {
        c->parser.limits = limits_of(c);
        conn_set_timer(c->conn, 0);
        return true;
    }
    stat_add(&c->reactor->stats.backend_errors, 1);
    resp_write_error(call->out, "WRONGPASS invalid username-password pair or user is disabled.");
    c->closing = backend_access_is_over(c->access);
    return false;
}

void resp_forget_key(struct resp_client *c)
{
    backend_access_reset(c->access);
    c->parser.limits = limits_of(c);
    if (is_stranger(c))
        conn_set_timer(c->conn, c->reactor->settings->handshake_timeout_ms);
}

static void say_too_late(struct resp_client *c)
{
    static const char text[] = "-NOAUTH no AUTH came within limits.handshake_timeout: connection closed\r\n";
    stat_add(&c->reactor->stats.backend_auth_timeouts, 1);
    c->closing = true;
    conn_write(c->conn, text, sizeof text - 1);
    conn_finish(c->conn, RESP_LINGER_MS);
}

void resp_set_form(struct resp_client *c)
{
    if (c->proto == 3)
        c->sub.form = c->star ? WIRE_RESP3_STAR : WIRE_RESP3;
    else
        c->sub.form = c->star ? WIRE_RESP2_STAR : WIRE_RESP2;
}

/* ---- not reading */

static void resp_process(struct resp_client *c, uint8_t *data, size_t len);

static bool resp_is_paused(const struct resp_client *c)
{
    return c->conn->paused != 0 || c->streams != NULL;
}

/* Long answers stop the commands behind them; when the kernel has taken the answers at once, those go on in another turn. */
static void resp_run_rest(struct resp_client *c)
{
    if (c->has_more && !resp_is_paused(c) && !c->closing && !c->conn->closed)
        unread_keep(c->reactor, c->conn, &c->unread, NULL, 0);
}

static void resp_go_on(struct resp_client *c)
{
    if (resp_is_paused(c) || c->closing || c->conn->closed)
        return;
    resp_process(c, NULL, 0);
    resp_run_rest(c);
}

static void on_resume(struct paused *p)
{
    struct resp_client *c = HLY_CONTAINER_OF(p, struct resp_client, paused);
    conn_resume(c->conn, CONN_PAUSE_HUB);
    resp_go_on(c);
}

/* No reply is missing any more. */
static void resp_answered(struct resp_client *c)
{
    if (c->conn->closed)
        return;
    if (c->closing)
        conn_finish(c->conn, RESP_LINGER_MS);
    if (!c->is_behind)
        return;
    c->is_behind = false;
    conn_resume(c->conn, CONN_PAUSE_BUSY);
    resp_go_on(c);
}

void resp_release(struct resp_client *c, struct resp_slot *s)
{
    c->streams = NULL;
    conn_resume(c->conn, CONN_PAUSE_BUSY);
    resp_slot_ready(s);
    if (!c->in_commands) /* else it goes on by itself */
        resp_go_on(c);
}

void resp_pause_if_congested(struct resp_client *c)
{
    if ((c->conn->paused & CONN_PAUSE_HUB) != 0 || !hub_is_congested(c->reactor->hub))
        return;
    conn_pause(c->conn, CONN_PAUSE_HUB);
    reactor_pause_publisher(c->reactor, &c->paused);
}

static void pause_if_replies_wait(struct resp_client *c)
{
    if ((c->conn->paused & CONN_PAUSE_REPLIES) != 0 || (conn_waiting(c->conn) + c->out.len <= max_outq(c) && c->slot_count < RESP_MAX_SLOTS))
        return;
    conn_pause(c->conn, CONN_PAUSE_REPLIES);
}

static void on_drained(struct conn *conn)
{
    struct resp_client *c = conn->owner;
    if (c->streams != NULL)
        resp_streams_drained(c);
    if ((c->conn->paused & CONN_PAUSE_REPLIES) == 0 || c->slot_count >= RESP_MAX_SLOTS)
        return;
    conn_resume(c->conn, CONN_PAUSE_REPLIES);
    resp_go_on(c);
}

/* ---- commands */

static void resp_protocol_error(struct resp_client *c)
{
    static struct log_gate gate;
    log_limited(&gate, LOG_LEVEL_WARN, "backend_protocol", "client=%" PRIu64 " %s: connection closed", c->id,
                resp_parser_error(&c->parser));
    struct resp_slot *s = list_is_empty(&c->slots) ? NULL : resp_slot_take(c); /* behind the replies that are missing */
    buf_printf(s != NULL ? &s->reply : &c->out, "-ERR %s\r\n", resp_parser_error(&c->parser));
    if (s != NULL)
        s->is_text = s->ready = true;
    c->closing = true;
}

/* As if each command began when the one before it had its reply. */
static bool has_to_wait(struct resp_client *c, const struct resp_command *command)
{
    if (command->argc == 0 || list_is_empty(&c->slots) || resp_command_may_overtake(command->argv[0]))
        return false;
    resp_flush_slots(c);
    return !list_is_empty(&c->slots);
}

/* Run the commands in data; returns the bytes used. */
static size_t resp_run(struct resp_client *c, const uint8_t *data, size_t len)
{
    size_t at = 0, used;
    struct resp_command command;
    struct turn turn = turn_begin();
    c->has_more = true;
    while (at < len && !c->closing && !resp_is_paused(c) && !c->conn->closed) {
        int r = resp_parse(&c->parser, data + at, len - at, &used, &command);
        c->has_more = r != 0;
        if (r == 0)
            break;
        if (r < 0) {
            resp_protocol_error(c);
            break;
        }
        if (has_to_wait(c, &command)) {
            c->is_behind = true;
            conn_pause(c->conn, CONN_PAUSE_BUSY);
            break;
        }
        at += used;
        if (command.argc > 0)
            resp_command_run(c, &command);
        pause_if_replies_wait(c);
        if (turn_is_over(&turn))
            break;
    }
    return at;
}

/* New input: run what is complete, keep the rest. Input lies in c->in only while a command is incomplete or the client is paused. */
static void resp_process(struct resp_client *c, uint8_t *data, size_t len)
{
    c->in_commands = true;
    if (c->in.len > 0) {
        if (buf_append(&c->in, data, len) < 0)
            conn_fail(c->conn, ENOMEM);
        else
            buf_consume(&c->in, resp_run(c, c->in.data, c->in.len));
    } else if (len > 0) {
        size_t used = resp_run(c, data, len);
        if (used < len && (buf_reserve(&c->in, len - used + resp_parser_missing(&c->parser, len - used)) == NULL ||
                           buf_append(&c->in, data + used, len - used) < 0))
            conn_fail(c->conn, ENOMEM);
    }
    c->in_commands = false;
    c->has_more = c->has_more && c->in.len > 0;
    if (c->in.len == 0)
        buf_done(&c->in);
    resp_settle(c);
    if (conn_waiting(c->conn) == 0 && !c->conn->closed) /* the kernel took it all: on_drained() will not come */
        conn_resume(c->conn, CONN_PAUSE_REPLIES);
    if (c->closing && list_is_empty(&c->slots)) /* else when the last has its reply */
        conn_finish(c->conn, RESP_LINGER_MS);
}

static void on_read(struct conn *conn, uint8_t *data, size_t len)
{
    struct resp_client *c = conn->owner;
    resp_process(c, data, len);
    resp_run_rest(c);
    if (c->streams != NULL && !conn->closed)
        resp_streams_held(c);
}

static void on_timer(struct conn *conn)
{
    struct resp_client *c = conn->owner;
    if (is_stranger(c))
        say_too_late(c);
    else if (c->streams != NULL)
        resp_streams_timer(c);
}

/* ---- begin and end */

static void on_end(struct conn *conn)
{
    struct resp_client *c = conn->owner;
    subscriber_done(&c->sub);
    list_remove(&c->paused.node);
    unread_drop(&c->unread);
    if (c->streams != NULL)
        resp_streams_end(c);
    for (struct list *node; (node = list_pop(&c->slots)) != NULL;) {
        struct resp_slot *s = LIST_ENTRY(node, struct resp_slot, node);
        s->client = NULL;
        if (s->ready)
            slot_free(s); /* else its publish is on its way, and frees it */
    }
    resp_parser_done(&c->parser);
    buf_done(&c->in);
    buf_done(&c->out);
    backend_access_free(c->access);
    free(c->name);
    free(c);
}

/* As Redis does when an ACL changes: it is closed, with an error for whoever reads it. */
static void end_forbidden(struct resp_client *c, const char *text)
{
    stat_add(&c->reactor->stats.rechecked_ends, 1);
    c->closing = true;
    conn_write_later(c->conn, text, strlen(text));
    conn_finish(c->conn, RESP_LINGER_MS);
}

static void recheck(struct conn *conn)
{
    struct resp_client *c = conn->owner;
    if (c->closing || conn->closed)
        return;
    if (!backend_access_renew(c->access))
        end_forbidden(c, "-NOAUTH the key of this connection, or its uid, is no longer in the server's config\r\n");
    else if (c->access->rights != NULL && !resp_subscriptions_are_allowed(c))
        end_forbidden(c, "-NOPERM the rules have changed: subscribing to a topic of this connection is no longer allowed\r\n");
}

static const struct conn_ops resp_conn_ops = { .recheck = recheck, .on_read = on_read, .on_drained = on_drained, .on_timer = on_timer, .on_end = on_end };

int resp_client_start(struct backend_access *access, uint8_t *data, size_t len)
{
    struct reactor *r = access->reactor;
    struct conn *conn = access->conn;
    struct resp_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    c->conn = conn;
    c->reactor = r;
    c->access = access;
    c->proto = 2;
    c->id = atomic_fetch_add(&r->server->next_client_id, 1);
    c->paused.resume = on_resume;
    list_init(&c->paused.node);
    list_init(&c->slots);
    struct resp_limits limits = limits_of(c);
    resp_parser_init(&c->parser, &limits);
    subscriber_init(&c->sub, &r->table, &resp_subscriber_ops, WIRE_RESP2);
    conn->owner = c;
    conn->ops = &resp_conn_ops;
    resp_process(c, data, len);
    resp_run_rest(c);
    return 0;
}
