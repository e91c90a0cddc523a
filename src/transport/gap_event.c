#include "transport/gap_event.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "core/cursor.h"
#include "proto/json_write.h"
#include "transport/events.h"

void gap_event_add(struct gap_event *e, struct slice name)
{
    struct reactor *r = e->reactor;
    if (!r->has_events || name.ptr[0] == '$' || !rules_find(r->rules, name.ptr, name.len)->events || e->count++ >= GAP_EVENT_TOPICS)
        return;
    buf_str(&e->topics, e->count > 1 ? "," : "");
    json_buf_string(&e->topics, name);
}

void gap_event_add_all(struct gap_event *e, const struct subscriber *s)
{
    LIST_EACH (it, &s->subscriptions)
        gap_event_add(e, feed_name(LIST_ENTRY(it, struct subscription, node)->feed));
}

/* One more in this second? */
static bool is_in_rate(struct reactor *r)
{
    static struct log_gate gate;
    if (r->loop.now_ms - r->gap_events_since_ms >= 1000) {
        r->gap_events_since_ms = r->loop.now_ms;
        r->gap_events = 0;
    }
    if (r->gap_events++ < GAP_EVENTS_PER_SECOND)
        return true;
    r->gap_events_untold++;
    stat_add(&r->stats.gap_events_left_out, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "gap_events", "more clients are told of gaps than %d a second of a reactor: backends hear how many they are", GAP_EVENTS_PER_SECOND);
    return false;
}

static void write_client(struct buf *json, const struct gap_event *e)
{
    char id[CLIENT_ID_BYTES + 1], name[CLIENT_NAME_BYTES + 1];
    const char *subject = e->client != NULL && e->client->token != NULL ? e->client->token->subject : e->subject;
    if (e->client != NULL) {
        client_format_id(e->client, e->reactor->server, id);
        client_format_name(client_name(e->client), name);
        buf_printf(json, "{\"connection\":\"%s\",\"name\":\"%s\",\"sub\":", id, name);
    } else {
        buf_str(json, "{\"connection\":null,\"name\":null,\"sub\":");
    }
    if (subject != NULL && subject[0] != '\0')
        json_buf_string(json, (struct slice){ subject, strlen(subject) });
    else
        buf_str(json, "null");
}

static void publish(struct gap_event *e, uint64_t after_seq, enum gap_reason reason)
{
    struct reactor *r = e->reactor;
    HLY_CLEANUP(buf_done) struct buf json = { 0 };
    char after[CURSOR_MAX_BYTES + 1];
    cursor_format(after, hub_epoch(r->hub), after_seq);
    write_client(&json, e);
    buf_printf(&json, ",\"transport\":\"%s\",\"topics\":[", e->transport);
    buf_append(&json, e->topics.data, e->topics.len);
    buf_printf(&json, "],\"more\":%u,\"after\":\"%s\",\"reason\":\"%s\",\"left_out\":%" PRIu64 "}", e->count > GAP_EVENT_TOPICS ? e->count - GAP_EVENT_TOPICS : 0,
               after, gap_reason_name(reason), r->gap_events_untold);
    if (json.failed || e->topics.failed) {
        stat_add(&r->stats.events_lost, 1);
        return;
    }
    r->gap_events_untold = 0;
    events_publish(r, "$halley/gap", buf_slice(&json));
}

void gap_event_tell(struct gap_event *e, uint64_t after_seq, enum gap_reason reason)
{
    if (e->count > 0 && is_in_rate(e->reactor))
        publish(e, after_seq, reason);
    buf_done(&e->topics);
}
