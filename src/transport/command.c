#include "transport/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"
#include "transport/client.h"
#include "transport/cors.h"
#include "transport/query.h"
#include "transport/v1_session.h"

#define JSON_TYPE "application/json"

/* A command on its way: to the reactor that has the session, and back with the answer. It belongs to whoever it was handed to, and outlives both ends: the HTTP
 * client may go (the ticket knows), and so may the session (it answers with nothing). An HTTP connection has one at a time, with a body of up to
 * limits.message, so together they take no more than the connections' own requests do. */
struct command {
    struct loop_task task;
    struct http_ticket ticket; /* home's */
    struct v1_answer answer;   /* away's */
    struct reactor *home;      /* whose connection brought it */
    struct reactor *away;      /* who has the session: the same one, or another */
    struct client id;
    bool is_running;           /* v1_session_command_for() is on the stack, and reads the body */
    bool is_answered;
    unsigned status;
    struct buf result;
    struct slice origin;       /* into the bytes behind; ptr NULL: none */
    struct slice body;         /* as well */
    char bytes[];
};

/* ---- answers */

/* The HTTP status of an answer: of its error's code, 200 without one. All answers are our own, and begin with {"id":N, (if there was an id) and then
 * "ok": or "error":{"code":"…". */
static unsigned status_of(struct slice json)
{
    static const struct {
        const char *code;
        unsigned status;
    } codes[] = {
        { "bad_request", 400 }, { "bad_topic", 400 },  { "unauthorized", 401 }, { "forbidden", 403 },
        { "too_large", 413 },   { "too_many", 429 },   { "rate_limited", 429 }, { "unavailable", 503 },
    };
    static const char before_id[] = "{\"id\":", before_code[] = "\"error\":{\"code\":\"";
    const char *at = json.ptr + 1, *end = json.ptr + json.len;
    if (json.len > sizeof before_id && memcmp(json.ptr, before_id, sizeof before_id - 1) == 0) {
        const char *comma = memchr(json.ptr, ',', json.len); /* an id is a number */
        at = comma == NULL ? end : comma + 1;
    }
    if (at >= end || (size_t)(end - at) < sizeof before_code || memcmp(at, before_code, sizeof before_code - 1) != 0)
        return 200;
    at += sizeof before_code - 1;
    const char *quote = memchr(at, '"', (size_t)(end - at));
    struct slice code = { at, quote == NULL ? 0 : (size_t)(quote - at) };
    for (size_t i = 0; i < HLY_ARRAY_LEN(codes); i++)
        if (slice_equals(code, codes[i].code))
            return codes[i].status;
    return 400;
}

/* "Retry-After: N\r\n" for an answer that says retry_ms, which is then its last member; "" for others. */
static const char *retry_after(const struct buf *json, char out[48])
{
    static const char member[] = ",\"retry_ms\":";
    const char *at = json->len == 0 ? NULL : memrchr(json->data, ',', json->len);
    out[0] = '\0';
    if (at == NULL || (size_t)((const char *)json->data + json->len - at) < sizeof member || memcmp(at, member, sizeof member - 1) != 0)
        return out;
    unsigned long long ms = 0;
    for (at += sizeof member - 1; *at >= '0' && *at <= '9'; at++) /* a brace follows */
        ms = ms * 10 + (unsigned)(*at - '0');
    snprintf(out, 48, "Retry-After: %llu\r\n", (ms + 999) / 1000);
    return out;
}

static void reply(struct http_client *h, unsigned status, struct slice origin, struct buf *json)
{
    char cors[CORS_HEADERS_MAX], extra[CORS_HEADERS_MAX + 128], retry[48];
    snprintf(extra, sizeof extra, "Cache-Control: no-store\r\n%s%s%s", retry_after(json, retry), status == 401 ? "WWW-Authenticate: Bearer\r\n" : "",
             cors_headers(cors, http_reactor(h)->settings, origin));
    buf_str(json, "\n");
    if (json->failed)
        http_reply_text(h, 503, extra, "Out of memory, try again later.");
    else
        http_reply(h, status, JSON_TYPE, json->data, json->len, extra);
}

static void refuse(struct http_client *h, unsigned status, struct slice origin, const char *code, const char *text)
{
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    stat_add(&http_reactor(h)->stats.commands_refused, 1);
    v1_write_error(&json, (struct slice){ "", 0 }, code, text);
    reply(h, status, origin, &json);
}

#define NO_SUCH "no such connection: it has ended; reconnect"

/* ---- the way of a command */

static void command_free(struct command *c)
{
    buf_done(&c->result);
    free(c);
}

static void command_finish(struct command *c) /* at home */
{
    struct http_client *h = http_ticket_take(&c->ticket);
    if (h != NULL && c->status == 404)
        refuse(h, 404, c->origin, "bad_request", NO_SUCH);
    else if (h != NULL)
        reply(h, c->status, c->origin, &c->result);
    command_free(c);
}

static void on_home(struct loop_task *t)
{
    command_finish(HLY_CONTAINER_OF(t, struct command, task));
}

static void command_return(struct command *c)
{
    if (c->away == c->home) {
        command_finish(c);
        return;
    }
    c->task.run = on_home;
    if (!loop_post(&c->home->loop, &c->task))
        command_free(c); /* home has ended, and its connections before it: the ticket is void */
}

static void on_answer(struct v1_answer *a, struct slice json)
{
    struct command *c = HLY_CONTAINER_OF(a, struct command, answer);
    c->is_answered = true;
    c->status = json.len == 0 ? 404 : status_of(json);
    buf_append(&c->result, json.ptr, json.len);
    if (!c->is_running)
        command_return(c);
}

static void command_run(struct command *c) /* away */
{
    struct v1_session *s = v1_session_find(c->away, &c->id);
    if (s == NULL) {
        on_answer(&c->answer, (struct slice){ "", 0 });
        return;
    }
    c->is_running = true;
    v1_session_command_for(s, c->body, &c->answer);
    c->is_running = false;
    if (c->is_answered)
        command_return(c);
}

static void on_away(struct loop_task *t)
{
    command_run(HLY_CONTAINER_OF(t, struct command, task));
}

static void command_start(struct command *c)
{
    if (c->away == c->home) {
        command_run(c);
        return;
    }
    stat_add(&c->home->stats.commands_forwarded, 1);
    c->task.run = on_away;
    if (!loop_post(&c->away->loop, &c->task))
        on_answer(&c->answer, (struct slice){ "", 0 }); /* it has ended, with all its connections */
}

/* ---- the request */

/* A command with copies of what the request has; NULL when out of memory. */
static struct command *command_new(struct reactor *home, struct slice origin, struct slice body)
{
    struct command *c = malloc(sizeof *c + origin.len + body.len + 1);
    if (c == NULL)
        return NULL;
    *c = (struct command){ .answer = { .on_answer = on_answer }, .home = home };
    char *at = c->bytes + origin.len;
    if (origin.ptr != NULL)
        c->origin = (struct slice){ memcpy(c->bytes, origin.ptr, origin.len), origin.len };
    if (body.len > 0)
        memcpy(at, body.ptr, body.len);
    c->body = (struct slice){ at, body.len };
    return c;
}

/* False when the request has been answered. */
static bool find_connection(struct http_client *h, const struct http1_request *rq, struct slice origin, struct client *ret)
{
    struct reactor *r = http_reactor(h);
    struct query_field id = { .key = "connection" };
    HLY_CLEANUP(query_freep) char *memory = NULL;
    int error = query_read(rq, &id, 1, &memory);
    if (error == -ENOMEM)
        refuse(h, 503, origin, "unavailable", "out of memory, try again later");
    else if (error < 0)
        refuse(h, 400, origin, "bad_request", "the query has a broken %-escape");
    else if (id.value.ptr == NULL)
        refuse(h, 400, origin, "bad_request", "name the connection that the command is for: ?connection=ID, the one that its hello told");
    else if ((error = client_parse_id(id.value, r->server, ret)) == -EINVAL)
        refuse(h, 400, origin, "bad_request", "connection is no id: send the one that the stream's hello told");
    else if (error < 0 || ret->reactor >= r->server->reactor_count)
        refuse(h, 404, origin, "bad_request", NO_SUCH);
    else
        return true;
    return false;
}

void command_door(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    struct reactor *r = http_reactor(h);
    struct client id;
    stat_add(&r->stats.commands, 1);
    if (!find_connection(h, rq, origin, &id))
        return;
    struct command *c = command_new(r, origin, rq->body);
    if (c == NULL) {
        refuse(h, 503, origin, "unavailable", "out of memory, try again later");
        return;
    }
    c->id = id;
    c->away = r->server->reactors[id.reactor];
    http_ticket_make(h, &c->ticket);
    http_pause_publisher(h); /* it may publish; looked at before, for the answer may end the request, but not the client's next one */
    command_start(c);
}
