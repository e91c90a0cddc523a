#include "transport/slow.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "core/catchup.h"
#include "transport/events.h"

static void tell_backends(const struct slow_client *c, const char *what)
{
    char id[CLIENT_ID_BYTES + 1] = "", json[256];
    if (c->client != NULL)
        client_format_id(c->client, c->reactor->server, id);
    int n = snprintf(json, sizeof json, "{\"connection\":\"%s\",\"transport\":\"%s\",\"action\":\"%s\",\"outq_bytes\":%" PRIu64 "}", id, c->what, what,
                     conn_waiting(c->conn));
    events_publish(c->reactor, "$halley/slow", (struct slice){ json, (size_t)n });
}

static enum slow_verdict disconnect(const struct slow_client *c, const struct delivery *d)
{
    static struct log_gate gate;
    stat_add(&c->reactor->stats.disconnected_slow, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "slow_disconnected",
                "transport=%s a subscriber is not read as fast as it is sent to, and its rule says on_slow = disconnect; outq_bytes=%" PRIu64, c->what,
                conn_waiting(c->conn));
    if (d->marks & DELIVERY_EVENTS)
        tell_backends(c, "disconnected");
    return SLOW_DISCONNECT;
}

enum slow_verdict slow_fall_behind(const struct slow_client *c, const struct delivery *d)
{
    static struct log_gate gate;
    if (d->marks & 1u << RULE_DISCONNECT)
        return disconnect(c, d);
    stat_add(&c->reactor->stats.fell_behind, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "fell_behind",
                "transport=%s a subscriber is not read as fast as it is sent to and catches up from history; outq_bytes=%" PRIu64 " limits.outq=%" PRIu64,
                c->what, conn_waiting(c->conn), c->reactor->settings->max_outq);
    if (d->marks & DELIVERY_EVENTS)
        tell_backends(c, "behind");
    return catchup_fall_behind(c->sub, d->first_seq) < 0 ? SLOW_LOST : SLOW_BEHIND;
}

enum slow_verdict slow_cut(const struct slow_client *c)
{
    static struct log_gate gate;
    uint64_t waited = conn_waiting(c->conn), first_seq = conn_cut(c->conn);
    if (first_seq == 0)
        return SLOW_BEHIND;
    stat_add(&c->reactor->stats.cut, 1);
    log_limited(&gate, LOG_LEVEL_WARN, "outq_total",
                "limits.outq_total is reached: the slowest subscribers are cut down to a cursor and catch up from history; transport=%s outq_bytes=%" PRIu64
                "; raise it if the machine has memory",
                c->what, waited);
    if (c->reactor->has_events) /* whose rules they were is not known any more */
        tell_backends(c, "cut");
    return catchup_go_back(c->sub, first_seq) < 0 ? SLOW_LOST : SLOW_BEHIND;
}
