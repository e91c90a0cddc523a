#include "transport/kick.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "proto/ws_frame.h"
#include "transport/client_info.h"

#define LOOKED_AT_PER_TURN 1000 /* connections */
#define KICKED_PER_TURN 100     /* each writes, and tells backends and others of it */

/* ---- what it is meant for */

static const char *set_name(struct kick *k, struct slice name, const char *wrong)
{
    if (name.len == 0 || name.len > TOKEN_NAME_MAX || memchr(name.ptr, '\0', name.len) != NULL || !utf8_is_valid(name.ptr, name.len))
        return wrong;
    memcpy(k->name, name.ptr, name.len);
    k->name[name.len] = '\0';
    return NULL;
}

const char *kick_set_target(struct kick *k, const struct server_view *server, enum kick_target target, struct slice name)
{
    k->target = (uint8_t)target;
    switch (target) {
    case KICK_USER:
        return set_name(k, name, "a user is the sub of its token: 1 to 255 bytes of UTF-8");
    case KICK_TOKEN:
        return set_name(k, name, "a token is named by its jti: 1 to 255 bytes of UTF-8");
    case KICK_CONNECTION:
        break;
    }
    int r = client_find_name(name, server, &k->connection);
    k->is_gone = r == -ENOENT;
    return r == -EINVAL ? "this is no connection's id or name: hello and GET /clients tell them, and messages their sender's name" : NULL;
}

const char *kick_set_topic(struct kick *k, struct slice pattern)
{
    const char *bad = pattern_error(pattern.ptr, pattern.len);
    if (bad != NULL)
        return bad;
    memcpy(k->topic, pattern.ptr, pattern.len);
    k->topic_len = (uint8_t)pattern.len;
    return NULL;
}

const char *kick_set_reason(struct kick *k, struct slice reason)
{
    if (reason.len > KICK_REASON_MAX || memchr(reason.ptr, '\0', reason.len) != NULL || !utf8_is_valid(reason.ptr, reason.len))
        return "the reason is at most 123 bytes of UTF-8: what a close frame has room for";
    memcpy(k->reason, reason.ptr, reason.len);
    k->reason[reason.len] = '\0';
    return NULL;
}

/* Reactors that it need not visit: a connection's id says where it is. */
static bool is_elsewhere(const struct kick *k, unsigned reactor)
{
    return k->target == KICK_CONNECTION && (k->is_gone || (k->connection.reactor != CLIENT_ANYWHERE && k->connection.reactor != reactor));
}

static bool is_meant(const struct kick *k, const struct client_info *info)
{
    const struct token *t = info->token;
    switch ((enum kick_target)k->target) {
    case KICK_CONNECTION:
        return info->client != NULL && client_name(info->client) == k->connection.name;
    case KICK_USER:
        if (t == NULL || strcmp(t->subject, k->name) != 0)
            return false;
        break;
    case KICK_TOKEN:
        if (t == NULL || strcmp(t->id, k->name) != 0)
            return false;
        break;
    }
    return !k->is_revocation || revocations_has(k->home->server->revocations, t, k->home->server->reactors[k->at]->loop.wall_ms);
}

bool kick_unsubscribe(const struct kick *k, struct subscription *sub, char room[TOPIC_MAX_BYTES], struct slice *ret_name)
{
    const struct feed *f = sub->feed;
    struct slice name = { room, f->name_len };
    bool is_pattern = f->is_pattern;
    if (!pattern_covers(k->topic, k->topic_len, f->name, f->name_len))
        return false;
    memcpy(room, f->name, f->name_len); /* the feed may go with its last subscription */
    unsubscribe(sub->subscriber, name, is_pattern);
    *ret_name = name;
    return true;
}

size_t kick_unsubscribe_all(const struct kick *k, struct subscriber *s)
{
    size_t count = 0;
    char room[TOPIC_MAX_BYTES];
    struct slice name;
    LIST_EACH_SAFE (it, next, &s->subscriptions)
        count += kick_unsubscribe(k, LIST_ENTRY(it, struct subscription, node), room, &name);
    return count;
}

/* ---- the journey */

static void on_home(struct loop_task *t)
{
    struct kick *k = HLY_CONTAINER_OF(t, struct kick, task);
    k->on_home(k);
}

static void go_home(struct kick *k)
{
    k->task.run = on_home;
    if (!loop_post(&k->home->loop, &k->task))
        k->on_lost(k);
}

/* Returns whether it was told something. */
static bool kick_conn(struct kick *k, struct conn *c)
{
    struct client_info info;
    if (c->closed || c->finishing || c->ops->kick == NULL || c->ops->describe == NULL)
        return false;
    if (!c->ops->describe(c, &info) || !is_meant(k, &info) || !c->ops->kick(c, k))
        return false;
    stat_add(&k->home->server->reactors[k->at]->stats.kicked, 1);
    k->count++;
    return true;
}

/* Some of this reactor's connections. Returns whether there are more to look at. */
static bool walk_on(struct kick *k, struct loop *loop)
{
    int kicked = 0;
    if (is_elsewhere(k, k->at))
        return false;
    if (!k->is_walking)
        conn_walk_begin(&k->walk, loop);
    k->is_walking = true;
    for (int n = 0; n < LOOKED_AT_PER_TURN && kicked < KICKED_PER_TURN; n++) {
        struct conn *c = conn_walk_next(&k->walk, loop);
        if (c == NULL)
            return false;
        kicked += kick_conn(k, c);
    }
    return true;
}

static void on_reactor(struct loop_task *t)
{
    struct kick *k = HLY_CONTAINER_OF(t, struct kick, task);
    const struct server_view *server = k->home->server;
    struct loop *loop = &server->reactors[k->at]->loop;
    if (walk_on(k, loop) && loop_post(loop, t))
        return;
    if (k->is_walking)
        conn_walk_end(&k->walk);
    k->is_walking = false;
    while (++k->at < server->reactor_count)
        if (!is_elsewhere(k, k->at) && loop_post(&server->reactors[k->at]->loop, t))
            return; /* it is that thread's now */
    go_home(k);
}

void kick_start(struct kick *k, struct reactor *home)
{
    struct server_view *server = home->server;
    k->home = home;
    k->task.run = on_reactor;
    if (k->code == 0)
        k->code = kick_is_whole(k) ? WS_CLOSE_POLICY : WS_CLOSE_FORBIDDEN;
    if (k->reason[0] == '\0')
        snprintf(k->reason, sizeof k->reason, "%s", kick_is_whole(k) ? "the backend has ended this connection" : "the backend has ended this subscription");
    void (*on_kick)(struct server_view *view, const struct kick *k) = atomic_load(&server->on_kick);
    if (on_kick != NULL && !k->is_relayed)
        on_kick(server, k);
    for (k->at = 0; k->at < server->reactor_count; k->at++)
        if (!is_elsewhere(k, k->at) && loop_post(&server->reactors[k->at]->loop, &k->task))
            return;
    go_home(k);
}

/* ---- revoking */

#define REVOKED_MAX_S (10 * 365 * 24 * 3600) /* who means milliseconds is told so */

const char *kick_until(const struct reactor *r, uint64_t seconds, bool is_time, uint64_t *ret_until_ms)
{
    uint64_t now_s = r->loop.wall_ms / 1000, from_s = is_time ? now_s : 0;
    if (seconds <= from_s || seconds - from_s > REVOKED_MAX_S)
        return is_time ? "the time is in seconds since 1970, in the future, within ten years" : "seconds is a number from 1 to 315360000: ten years";
    *ret_until_ms = is_time ? seconds * 1000 : r->loop.wall_ms + seconds * 1000;
    return NULL;
}

const char *kick_revoke(struct kick *k, struct reactor *home, uint64_t until_ms)
{
    static struct log_gate gate;
    enum revocation_kind kind = k->target == KICK_USER ? REVOKED_USER : REVOKED_TOKEN;
    int r = revocations_add(home->server->revocations, kind, (struct slice){ k->name, strlen(k->name) }, until_ms, home->loop.wall_ms);
    if (r == -EDQUOT) {
        stat_add(&home->stats.revocations_refused, 1);
        log_limited(&gate, LOG_LEVEL_WARN, "revocations_full",
                    "limits.revocations is reached: a token or user was not revoked; raise it, or revoke for no longer than tokens live");
        k->is_refused = true;
        return "limits.revocations is reached: nothing was revoked";
    }
    k->is_refused = r < 0;
    if (r < 0)
        return "out of memory, try again later: nothing was revoked";
    stat_add(&home->stats.revocations, 1);
    k->is_revocation = true;
    k->until_ms = until_ms;
    k->code = WS_CLOSE_TOKEN;
    if (k->reason[0] == '\0')
        snprintf(k->reason, sizeof k->reason, "the token has been revoked");
    return NULL;
}
