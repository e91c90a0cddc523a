/* POST /disconnect?user=SUB|connection=ID[&topic=PATTERN][&reason=TEXT] and POST /revoke?user=SUB|token=JTI[&seconds=N|&until=UNIX_SECONDS]: as DISCONNECT and
 * REVOKE (resp_kick.c). Answered {"disconnected":N} when all reactors have been asked. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "transport/backend_http.h"
#include "transport/kick.h"
#include "transport/query.h"

struct http_kick {
    struct kick kick;
    struct http_ticket ticket;
};

static void on_home(struct kick *k)
{
    struct http_kick *hk = HLY_CONTAINER_OF(k, struct http_kick, kick);
    struct http_client *h = http_ticket_take(&hk->ticket);
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    buf_printf(&body, "{\"disconnected\":%" PRIu64 "}", k->count);
    free(hk);
    if (h != NULL && body.failed)
        backend_reply_no_memory(h);
    else if (h != NULL)
        backend_reply_json(h, 200, &body);
}

static void on_lost(struct kick *k)
{
    free(HLY_CONTAINER_OF(k, struct http_kick, kick));
}

/* Either of the first two fields names whom it is meant for. */
static const char *parse_target(struct http_client *h, const struct query_field *f, enum kick_target other, struct kick *k)
{
    const struct server_view *server = http_reactor(h)->server;
    if ((f[0].value.ptr == NULL) == (f[1].value.ptr == NULL))
        return other == KICK_CONNECTION ? "say user=SUB or connection=ID, one of the two" : "say user=SUB or token=JTI, one of the two";
    return f[0].value.ptr != NULL ? kick_set_target(k, server, KICK_USER, f[0].value) : kick_set_target(k, server, other, f[1].value);
}

static void run(struct http_client *h, const struct http1_request *rq, struct query_field *f, size_t count,
                const char *(*parse)(struct http_client *h, const struct query_field *f, struct kick *k))
{
    HLY_CLEANUP(query_freep) char *memory = NULL;
    int r = query_read(rq, f, count, &memory);
    struct http_kick *hk = r == 0 ? calloc(1, sizeof *hk) : NULL;
    if (r == -EINVAL) {
        backend_reply_error(h, 400, "bad_request", "the query has a broken %-escape");
        return;
    }
    if (hk == NULL) {
        backend_reply_no_memory(h);
        return;
    }
    hk->kick = (struct kick){ .on_home = on_home, .on_lost = on_lost };
    const char *wrong = parse(h, f, &hk->kick);
    if (wrong != NULL) {
        bool is_full = hk->kick.is_refused;
        free(hk);
        backend_reply_error(h, is_full ? 503 : 400, is_full ? "unavailable" : "bad_request", wrong);
        return;
    }
    http_ticket_make(h, &hk->ticket);
    kick_start(&hk->kick, http_reactor(h));
}

static const char *parse_disconnect(struct http_client *h, const struct query_field *f, struct kick *k)
{
    const char *wrong = parse_target(h, f, KICK_CONNECTION, k);
    if (wrong == NULL && f[2].value.ptr != NULL)
        wrong = kick_set_topic(k, f[2].value);
    if (wrong == NULL && f[3].value.ptr != NULL)
        wrong = kick_set_reason(k, f[3].value);
    return wrong;
}

void backend_disconnect(struct http_client *h, const struct http1_request *rq)
{
    struct query_field f[] = { { .key = "user" }, { .key = "connection" }, { .key = "topic" }, { .key = "reason" } };
    run(h, rq, f, HLY_ARRAY_LEN(f), parse_disconnect);
}

static const char *parse_revoke(struct http_client *h, const struct query_field *f, struct kick *k)
{
    uint64_t seconds = KICK_REVOKED_S, until_ms;
    bool is_until = f[3].value.ptr != NULL;
    const char *wrong = parse_target(h, f, KICK_TOKEN, k);
    if (wrong == NULL && ((is_until && f[2].value.ptr != NULL) || !backend_number(f[is_until ? 3 : 2].value, 0, UINT64_MAX, &seconds)))
        wrong = "seconds, or until (seconds since 1970), is a whole number";
    if (wrong == NULL)
        wrong = kick_until(http_reactor(h), seconds, is_until, &until_ms);
    return wrong != NULL ? wrong : kick_revoke(k, http_reactor(h), until_ms);
}

void backend_revoke(struct http_client *h, const struct http1_request *rq)
{
    struct query_field f[] = { { .key = "user" }, { .key = "token" }, { .key = "seconds" }, { .key = "until" } };
    run(h, rq, f, HLY_ARRAY_LEN(f), parse_revoke);
}
