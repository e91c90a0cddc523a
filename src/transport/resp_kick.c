/* DISCONNECT USER sub|CONNECTION id [TOPIC pattern] [REASON text]: end a user's connections, or a connection, or of them only the subscriptions that a
 * pattern covers. REVOKE TOKEN jti|USER sub [UNTIL unix_seconds | FOR seconds]: tokens that hold no longer. The reply is the number of connections that were
 * told to go, or lost a subscription. */
#include <stdlib.h>
#include <string.h>

#include "transport/kick.h"
#include "transport/membership.h"
#include "transport/resp_internal.h"

struct resp_kick {
    struct kick kick;
    struct resp_slot *slot;
};

static void on_home(struct kick *k)
{
    struct resp_kick *rk = HLY_CONTAINER_OF(k, struct resp_kick, kick);
    resp_write_int(&rk->slot->reply, (int64_t)k->count);
    rk->slot->is_text = true;
    resp_slot_ready(rk->slot);
    free(rk);
}

static void on_lost(struct kick *k)
{
    struct resp_kick *rk = HLY_CONTAINER_OF(k, struct resp_kick, kick);
    buf_done(&rk->slot->reply); /* its client has gone, and its reactor */
    free(rk->slot);
    free(rk);
}

/* NULL: it has been answered. */
static struct resp_kick *kick_new(struct resp_call *call)
{
    struct resp_kick *rk = NULL;
    if (!backend_rights_are_all(call->client->access->rights))
        resp_noperm(call, "ending connections is not for keys with patterns: a connection belongs to no topic");
    else if ((rk = calloc(1, sizeof *rk)) == NULL)
        resp_error(call, "out of memory, try again later");
    else
        rk->kick = (struct kick){ .on_home = on_home, .on_lost = on_lost };
    return rk;
}

/* False: no memory, which has been said. */
static bool take_slot(struct resp_call *call, struct resp_kick *rk)
{
    rk->slot = resp_slot_of(call);
    return rk->slot != NULL;
}

/* ---- DISCONNECT */

#define DISCONNECT_SYNTAX "syntax error in DISCONNECT: DISCONNECT USER sub|CONNECTION id [TOPIC pattern] [REASON text]"

static const char *parse_disconnect(const struct resp_call *call, struct kick *k)
{
    const struct server_view *server = call->client->reactor->server;
    const char *wrong = DISCONNECT_SYNTAX;
    if (slice_equals_nocase(call->argv[1], "USER"))
        wrong = kick_set_target(k, server, KICK_USER, call->argv[2]);
    else if (slice_equals_nocase(call->argv[1], "CONNECTION"))
        wrong = kick_set_target(k, server, KICK_CONNECTION, call->argv[2]);
    for (size_t i = 3; i < call->argc && wrong == NULL; i += 2) {
        if (i + 1 == call->argc)
            wrong = DISCONNECT_SYNTAX;
        else if (slice_equals_nocase(call->argv[i], "TOPIC"))
            wrong = kick_set_topic(k, resp_real_name(call->argv[i + 1], true));
        else if (slice_equals_nocase(call->argv[i], "REASON"))
            wrong = kick_set_reason(k, call->argv[i + 1]);
        else
            wrong = DISCONNECT_SYNTAX;
    }
    return wrong;
}

void resp_disconnect(struct resp_call *call)
{
    struct resp_kick *rk = kick_new(call);
    if (rk == NULL)
        return;
    const char *wrong = parse_disconnect(call, &rk->kick);
    if (wrong != NULL)
        resp_error(call, "%s", wrong);
    if (wrong != NULL || !take_slot(call, rk))
        free(rk);
    else
        kick_start(&rk->kick, call->client->reactor);
}

/* ---- REVOKE */

static const char *parse_revoke(const struct resp_call *call, struct kick *k, uint64_t *ret_until_ms)
{
    struct reactor *r = call->client->reactor;
    uint64_t seconds = 0;
    const char *wrong = "syntax error in REVOKE: REVOKE TOKEN jti|USER sub [UNTIL unix_seconds | FOR seconds]";
    bool has_time = call->argc == 5 && membership_parse_next(call->argv[4], &seconds);
    if (call->argc != 3 && !has_time)
        return wrong;
    if (has_time && slice_equals_nocase(call->argv[3], "FOR"))
        wrong = kick_until(r, seconds, false, ret_until_ms);
    else if (has_time && slice_equals_nocase(call->argv[3], "UNTIL"))
        wrong = kick_until(r, seconds, true, ret_until_ms);
    else if (!has_time)
        wrong = kick_until(r, KICK_REVOKED_S, false, ret_until_ms);
    if (wrong != NULL)
        return wrong;
    if (slice_equals_nocase(call->argv[1], "USER"))
        return kick_set_target(k, r->server, KICK_USER, call->argv[2]);
    if (slice_equals_nocase(call->argv[1], "TOKEN"))
        return kick_set_target(k, r->server, KICK_TOKEN, call->argv[2]);
    return "REVOKE takes TOKEN jti or USER sub";
}

void resp_revoke(struct resp_call *call)
{
    uint64_t until_ms;
    struct reactor *r = call->client->reactor;
    struct resp_kick *rk = kick_new(call);
    if (rk == NULL)
        return;
    const char *wrong = parse_revoke(call, &rk->kick, &until_ms);
    if (wrong == NULL)
        wrong = kick_revoke(&rk->kick, r, until_ms);
    if (wrong != NULL)
        resp_error(call, "%s", wrong);
    if (wrong != NULL || !take_slot(call, rk))
        free(rk);
    else
        kick_start(&rk->kick, r);
}
