/* GET /clients[?slow=1][&user=SUB][&limit=N][&from=NEXT]: who is connected to the public doors.
 *
 * The listing is a task that travels: on each reactor's thread it walks some of that reactor's connections in a turn, goes to
 * the next reactor when it has seen them all, and comes home with the answer. It belongs to the thread that runs it. A page
 * ends at `limit`; the next begins behind its last connection, by the reactor's count of connections, so it costs a walk past
 * those before. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/slice.h"
#include "proto/json_write.h"
#include "transport/backend_http.h"
#include "transport/client_info.h"
#include "transport/peer.h"
#include "transport/query.h"

#define LIMIT_DEFAULT 1000
#define LIMIT_MAX 10000
#define LOOKED_AT_PER_TURN 1000 /* connections */
#define LISTED_PER_TURN 100     /* each takes a getpeername() */

struct clients {
    struct loop_task task;
    struct http_ticket ticket; /* home's */
    struct reactor *home;
    const struct server_view *server;
    unsigned at;             /* the reactor that it is on, or goes to */
    bool is_walking;
    struct conn_walk walk;
    bool only_slow;
    char *user;              /* only those of this subject; NULL: all */
    bool is_resumed;         /* on this reactor: listed up to after_number in earlier pages */
    uint32_t after_number;
    uint64_t limit;
    uint64_t count;
    char next[32];           /* "": all have been seen */
    struct buf list;         /* objects with commas between them */
};

/* ---- one connection */

/* Behind a proxy the client's, which has no port to tell. */
static void write_address(struct buf *out, const struct conn *c)
{
    const struct address *behind = peer_behind_proxy(c);
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    char text[INET6_ADDRSTRLEN] = "";
    char proxied[ADDRESS_TEXT];
    if (behind != NULL) {
        buf_printf(out, "\"%s\"", address_text(behind, proxied));
        return;
    }
    if (getpeername(c->io.fd, (struct sockaddr *)&peer, &len) < 0)
        peer.ss_family = AF_UNSPEC;
    if (peer.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&peer;
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        buf_printf(out, "\"%s:%u\"", text, ntohs(in->sin_port));
    } else if (peer.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&peer;
        inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text);
        buf_printf(out, "\"[%s]:%u\"", text, ntohs(in->sin6_port));
    } else {
        buf_str(out, peer.ss_family == AF_UNIX ? "\"unix\"" : "null");
    }
}

static void write_client(struct buf *out, const struct clients *l, const struct conn *c, const struct client_info *info)
{
    char id[CLIENT_ID_BYTES + 1], name[CLIENT_NAME_BYTES + 1];
    uint64_t head = hub_head(l->home->hub);
    uint64_t behind_by = info->is_behind && head > info->position ? head - info->position : 0;
    if (info->client == NULL) {
        buf_str(out, "{\"connection\":null,\"name\":null,\"sub\":");
    } else {
        client_format_id(info->client, l->server, id);
        client_format_name(client_name(info->client), name);
        buf_printf(out, "{\"connection\":\"%s\",\"name\":\"%s\",\"sub\":", id, name);
    }
    if (info->token != NULL && info->token->subject[0] != '\0')
        json_buf_string(out, (struct slice){ info->token->subject, strlen(info->token->subject) });
    else
        buf_str(out, "null");
    buf_printf(out, ",\"transport\":\"%s\",\"address\":", info->transport);
    write_address(out, c);
    buf_printf(out,
               ",\"connected_s\":%" PRIu64 ",\"subscriptions\":%" PRIu32 ",\"outq_bytes\":%" PRIu64 ",\"behind\":%s,\"behind_by\":%" PRIu64 "}",
               conn_age_ms(c) / 1000, info->subscriptions, conn_waiting(c), info->is_behind ? "true" : "false", behind_by);
}

/* Returns whether it was listed. */
static bool list_conn(struct clients *l, struct conn *c)
{
    struct client_info info;
    if (c->closed || c->finishing || c->ops->describe == NULL)
        return false;
    if (l->is_resumed && (int32_t)(c->number - l->after_number) <= 0)
        return false;
    if (!c->ops->describe(c, &info) || (l->only_slow && !info.is_behind))
        return false;
    if (l->user != NULL && (info.token == NULL || strcmp(info.token->subject, l->user) != 0))
        return false;
    if (l->count++ > 0)
        buf_str(&l->list, ",");
    write_client(&l->list, l, c, &info);
    return true;
}

/* ---- the journey */

static void clients_free(struct clients *l)
{
    buf_done(&l->list);
    free(l->user);
    free(l);
}

static void on_home(struct loop_task *t)
{
    struct clients *l = HLY_CONTAINER_OF(t, struct clients, task);
    struct http_client *h = http_ticket_take(&l->ticket);
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    if (h != NULL) {
        buf_str(&body, "{\"clients\":[");
        buf_append(&body, l->list.data, l->list.len);
        buf_printf(&body, l->next[0] != '\0' ? "],\"next\":\"%s\"}" : "],\"next\":null}", l->next);
    }
    bool has_failed = body.failed || l->list.failed;
    clients_free(l);
    if (h != NULL && has_failed)
        backend_reply_no_memory(h);
    else if (h != NULL)
        backend_reply_json(h, 200, &body);
}

static void go_home(struct clients *l)
{
    l->task.run = on_home;
    if (!loop_post(&l->home->loop, &l->task))
        clients_free(l); /* it has ended, and whoever asked before it */
}

static void end_walk(struct clients *l)
{
    conn_walk_end(&l->walk);
    l->is_walking = false;
}

/* Some of this reactor's connections. Returns whether there are more to look at. */
static bool walk_on(struct clients *l, struct loop *loop)
{
    int listed = 0;
    if (!l->is_walking)
        conn_walk_begin(&l->walk, loop);
    l->is_walking = true;
    for (int n = 0; n < LOOKED_AT_PER_TURN && listed < LISTED_PER_TURN; n++) {
        struct conn *c = conn_walk_next(&l->walk, loop);
        if (c == NULL)
            return false;
        if (!list_conn(l, c))
            continue;
        listed++;
        if (l->count == l->limit) {
            snprintf(l->next, sizeof l->next, "%u-%" PRIu32, l->at, c->number);
            return false;
        }
    }
    return true;
}

static void on_reactor(struct loop_task *t)
{
    struct clients *l = HLY_CONTAINER_OF(t, struct clients, task);
    struct loop *loop = &l->server->reactors[l->at]->loop;
    if (walk_on(l, loop) && loop_post(loop, t))
        return;
    end_walk(l);
    l->is_resumed = false;
    while (l->next[0] == '\0' && ++l->at < l->server->reactor_count)
        if (loop_post(&l->server->reactors[l->at]->loop, t))
            return; /* it is that thread's now */
    go_home(l);
}

/* ---- the request */

/* "REACTOR-NUMBER", as walk_on() writes it. */
static bool parse_next(struct slice text, struct clients *l)
{
    const char *dash = memchr(text.ptr, '-', text.len);
    uint64_t reactor, number;
    if (dash == NULL)
        return false;
    struct slice before = { text.ptr, (size_t)(dash - text.ptr) }, behind = { dash + 1, text.len - before.len - 1 };
    if (!backend_number(before, 0, l->server->reactor_count - 1, &reactor) || !backend_number(behind, 0, UINT32_MAX, &number))
        return false;
    l->at = (unsigned)reactor;
    l->after_number = (uint32_t)number;
    l->is_resumed = true;
    return true;
}

static bool parse_query(struct http_client *h, const struct http1_request *rq, struct clients *l)
{
    struct query_field f[] = { { .key = "slow" }, { .key = "limit" }, { .key = "from" }, { .key = "user" } };
    HLY_CLEANUP(query_freep) char *memory = NULL;
    uint64_t slow = 0;
    int r = query_read(rq, f, HLY_ARRAY_LEN(f), &memory);
    if (r == 0 && backend_number(f[0].value, 0, 1, &slow) && backend_number(f[1].value, 1, LIMIT_MAX, &l->limit) &&
        (f[2].value.ptr == NULL || parse_next(f[2].value, l))) {
        l->only_slow = slow == 1;
        if (f[3].value.len == 0 || (l->user = slice_dup(f[3].value)) != NULL)
            return true;
        r = -ENOMEM;
    }
    if (r == 0)
        backend_reply_error(h, 400, "bad_request", "slow is 1 or 0, limit a number from 1 to 10000, and from the next of the page before");
    else if (r == -ENOMEM)
        backend_reply_no_memory(h);
    else
        backend_reply_error(h, 400, "bad_request", "the query has a broken %-escape");
    return false;
}

void backend_clients(struct http_client *h, const struct http1_request *rq)
{
    struct clients *l = calloc(1, sizeof *l);
    if (l == NULL) {
        backend_reply_no_memory(h);
        return;
    }
    l->home = http_reactor(h);
    l->server = l->home->server;
    l->limit = LIMIT_DEFAULT;
    l->task.run = on_reactor;
    if (!parse_query(h, rq, l)) {
        clients_free(l);
        return;
    }
    http_ticket_make(h, &l->ticket);
    while (!loop_post(&l->server->reactors[l->at]->loop, &l->task))
        if (++l->at == l->server->reactor_count) { /* all have ended but this one, which does */
            go_home(l);
            return;
        }
}
