/* GET /history?topic=T[&topic=…][&after=CURSOR][&last=N][&limit=N]: what is kept of topics and patterns, in one order.
 *
 * Without `after` and `last` it is the newest messages. The cursor of the answer is where to go on: everything up to it is in the answer, or was
 * before it. History is read in slices (core/reading); the answer is written when the last has been read. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "core/cursor.h"
#include "core/reading.h"
#include "core/topic_name.h"
#include "transport/backend_http.h"
#include "transport/v1_message.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000

struct history { /* one request being worked on */
    struct http_ticket ticket;
    struct reactor *reactor;
    struct reading reading;
    struct buf messages; /* objects with commas between them */
    uint64_t limit;
    uint64_t count;
    uint64_t pos; /* everything up to here is in the answer */
    bool has_gap;
};

static void history_free(struct history *y)
{
    reading_stop(&y->reading);
    buf_done(&y->messages);
    free(y);
}

static void on_gone(struct http_ticket *t)
{
    history_free(HLY_CONTAINER_OF(t, struct history, ticket));
}

static const struct http_ticket_ops ticket_ops = { .on_gone = on_gone };

/* ---- the answer */

static void write_answer(struct buf *out, const struct history *y)
{
    char cursor[CURSOR_MAX_BYTES + 1];
    cursor_format(cursor, hub_epoch(y->reactor->hub), y->pos);
    buf_printf(out, "{\"cursor\":\"%s\",\"messages\":[", cursor);
    buf_append(out, y->messages.data, y->messages.len);
    buf_printf(out, "],\"gap\":%s}", y->has_gap ? "true" : "false");
    out->failed |= y->messages.failed;
}

static void answer(struct history *y)
{
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    struct http_client *h = http_ticket_take(&y->ticket);
    write_answer(&body, y);
    history_free(y);
    if (body.failed)
        backend_reply_no_memory(h);
    else
        backend_reply_json(h, 200, &body);
}

static void add(struct history *y, struct message *m)
{
    const struct slice no_id = { 0 };
    uint8_t *at = buf_reserve(&y->messages, 1 + v1_message_bound(m, no_id, false));
    if (at == NULL)
        return;
    uint8_t *start = at;
    if (y->count++ > 0)
        *at++ = ',';
    at = v1_message_put(at, m, hub_epoch(y->reactor->hub), no_id, false);
    y->messages.len += (size_t)(at - start);
}

/* A thousand long messages are more than one answer should have; the cursor says where it ended. */
static bool is_full(const struct history *y)
{
    return y->count >= y->limit || y->messages.failed || y->messages.len >= y->reactor->settings->max_backend_outq;
}

static bool on_read(struct reading *r, struct message *const *messages, size_t count, bool is_gap, uint64_t from, enum gap_reason reason)
{
    struct history *y = HLY_CONTAINER_OF(r, struct history, reading);
    (void)from;
    (void)reason;
    y->has_gap |= is_gap;
    for (size_t i = 0; i < count; i++) {
        if (is_full(y)) {
            y->pos = messages[i]->seq - 1;
            answer(y);
            return false;
        }
        add(y, messages[i]);
    }
    return true;
}

static void on_end(struct reading *r)
{
    struct history *y = HLY_CONTAINER_OF(r, struct history, reading);
    y->pos = r->reader.pos;
    answer(y);
}

static const struct reading_ops history_ops = { .on_read = on_read, .on_end = on_end };

/* ---- the query */

struct history_query {
    char *scratch; /* what the names and values point into */
    struct hub_name *names;
    size_t count;
    struct slice after, last, limit;
};

static void history_query_done(struct history_query *q)
{
    free(q->scratch);
    free(q->names);
}

/* A pair of the query. Returns 0 or -ENOMEM. */
static int take_pair(struct history_query *q, struct slice key, struct slice value)
{
    if (slice_equals(key, "after")) {
        q->after = value;
    } else if (slice_equals(key, "last")) {
        q->last = value;
    } else if (slice_equals(key, "limit")) {
        q->limit = value;
    } else if (slice_equals(key, "topic")) {
        struct hub_name *names = realloc(q->names, (q->count + 1) * sizeof *names);
        if (names == NULL)
            return -ENOMEM;
        q->names = names;
        q->names[q->count++] = (struct hub_name){ .name = value, .is_pattern = topic_name_is_pattern(value.ptr, value.len) };
    }
    return 0;
}

static bool parse_query(struct http_client *h, const struct http1_request *rq, struct history_query *q)
{
    struct slice key, value;
    size_t pos = 0, used = 0;
    int r = -ENOMEM;
    q->scratch = malloc(rq->query.len + 2);
    while (q->scratch != NULL && (r = http1_query_next(rq->query, &pos, q->scratch + used, &key, &value)) == 1) {
        used = (size_t)(value.ptr + value.len - q->scratch); /* keep it: the next pair goes behind it */
        if ((r = take_pair(q, key, value)) < 0)
            break;
    }
    if (r == -ENOMEM)
        backend_reply_no_memory(h);
    else if (r < 0)
        backend_reply_error(h, 400, "bad_request", "the query has a broken %-escape");
    return r == 0;
}

static bool name_passes(struct http_client *h, const struct hub_name *n)
{
    char text[256], quoted[96];
    const char *bad = n->is_pattern ? pattern_error(n->name.ptr, n->name.len) : topic_name_error(n->name.ptr, n->name.len);
    log_quote(quoted, sizeof quoted, n->name.ptr, n->name.len);
    if (bad != NULL) {
        snprintf(text, sizeof text, "bad %s '%s': %s", n->is_pattern ? "pattern" : "topic", quoted, bad);
        backend_reply_error(h, 400, "bad_topic", text);
        return false;
    }
    const struct rule_client *who = &backend_rights_of(h)->may[RULE_SUBSCRIBE];
    if (who->is_limited && !rules_claim_covers(who, n->name.ptr, n->name.len)) {
        snprintf(text, sizeof text, "reading '%s' is not allowed: no subscribe pattern of this key covers it", quoted);
        backend_reply_error(h, 403, "forbidden", text);
        return false;
    }
    if (!rules_allow(http_reactor(h)->rules, who, RULE_SUBSCRIBE, n->name.ptr, n->name.len)) {
        snprintf(text, sizeof text, "reading '%s' is not allowed: a topics rule that it reaches says subscribe = nobody", quoted);
        backend_reply_error(h, 403, "forbidden", text);
        return false;
    }
    return true;
}

static bool names_pass(struct http_client *h, const struct history_query *q)
{
    if (q->count == 0)
        backend_reply_error(h, 400, "bad_request", "say of what: /history?topic=NAME, a topic or a pattern, as often as you like");
    for (size_t i = 0; i < q->count; i++)
        if (!name_passes(h, &q->names[i]))
            return false;
    return q->count > 0;
}

/* Where the query wants to begin, and how much it wants. */
static bool read_bounds(struct http_client *h, const struct history_query *q, struct reading_from *ret_from, uint64_t *ret_limit)
{
    struct hub *hub = http_reactor(h)->hub;
    struct cursor after;
    uint64_t last = READING_LAST_NONE;
    *ret_limit = q->last.ptr != NULL ? LIMIT_MAX : LIMIT_DEFAULT;
    if (!backend_number(q->limit, 1, LIMIT_MAX, ret_limit) || !backend_number(q->last, 0, INT64_MAX, &last)) {
        backend_reply_error(h, 400, "bad_request", "limit is a number from 1 to 1000, and last a number: so many of the newest messages");
        return false;
    }
    if (q->after.ptr != NULL && cursor_parse(q->after.ptr, q->after.len, &after) < 0) {
        backend_reply_error(h, 400, "bad_request", "after is a cursor, as an answer or a message has it, or 0 for all there is");
        return false;
    }
    if (q->after.ptr == NULL && last == READING_LAST_NONE)
        last = *ret_limit;
    *ret_from = reading_from(hub, q->after.ptr != NULL ? &after : NULL, last, hub_head(hub));
    return true;
}

void backend_history(struct http_client *h, const struct http1_request *rq)
{
    HLY_CLEANUP(history_query_done) struct history_query q = { 0 };
    struct reactor *r = http_reactor(h);
    struct reading_from from;
    uint64_t limit;
    if (!parse_query(h, rq, &q) || !names_pass(h, &q) || !read_bounds(h, &q, &from, &limit))
        return;
    struct history *y = calloc(1, sizeof *y);
    if (y == NULL || (!reading_from_is_empty(&from) && reading_start(&y->reading, &r->table, &history_ops, q.names, q.count, &from) < 0)) {
        free(y);
        backend_reply_no_memory(h);
        return;
    }
    y->reactor = r;
    y->limit = limit;
    y->pos = from.until;
    http_ticket_make(h, &y->ticket);
    y->ticket.ops = &ticket_ops;
    if (!reading_is_on(&y->reading))
        answer(y);
}
