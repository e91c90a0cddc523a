/* Reading a topic's history: one answer with all messages, of bounded size; its cursor says where to go on.
 *
 * Of a session's histories one gathers its messages at a time, and only while nothing waits on the connection: a client that asks for many, and does not
 * read, makes it hold one answer and a little more. */
#include <stdlib.h>
#include <string.h>

#include "transport/v1_internal.h"
#include "transport/v1_message.h"

struct history { /* begins with its work */
    struct v1_work work;
    struct list turn; /* in session->histories */
    struct reading reading;
    struct buf out;
    uint64_t limit;
    uint64_t count;
    bool has_gap;
};

static struct history *of_reading(struct reading *r)
{
    return HLY_CONTAINER_OF(r, struct history, reading);
}

static void history_end(struct history *w)
{
    struct v1_session *s = w->work.session;
    reading_stop(&w->reading);
    buf_done(&w->out);
    list_remove(&w->turn);
    if (!list_is_empty(&s->histories))
        reading_wake(&LIST_ENTRY(s->histories.next, struct history, turn)->reading);
    s->reading_count--;
    v1_work_end(&w->work);
}

static void finish(struct history *w, uint64_t seq)
{
    buf_str(&w->out, "],\"cursor\":");
    v1_put_cursor(&w->out, w->work.session, seq);
    buf_printf(&w->out, ",\"gap\":%s}", w->has_gap ? "true" : "false");
    v1_reply_send(&w->work.reply, &w->out);
    history_end(w);
}

/* Append a message, unless it makes the answer too long. */
static bool put_message(struct history *w, struct message *m)
{
    const struct reactor *r = w->work.session->reactor;
    size_t bound = v1_message_bound(m, (struct slice){ 0 }, false) + 1;
    if (w->count > 0 && w->out.len + bound > r->settings->max_outq)
        return false;
    uint8_t *start = buf_reserve(&w->out, bound), *at = start;
    if (start == NULL)
        return true; /* v1_reply_send() says so */
    if (w->count++ > 0)
        *at++ = ',';
    w->out.len += (size_t)(v1_message_put(at, m, hub_epoch(r->hub), (struct slice){ 0 }, false) - start);
    return true;
}

/* ---- the reading */

static bool is_full(struct reading *r)
{
    const struct history *w = of_reading(r);
    const struct v1_session *s = w->work.session;
    return s->histories.next != &w->turn || (!w->work.reply.is_elsewhere && (!s->is_open || s->conn->outq != NULL));
}

static bool on_read(struct reading *r, struct message *const *messages, size_t count, bool is_gap, uint64_t from,
                    enum gap_reason reason)
{
    (void)reason;
    struct history *w = of_reading(r);
    uint64_t seq = from;
    w->has_gap |= is_gap;
    for (size_t i = 0; i < count; i++) {
        bool is_put = put_message(w, messages[i]);
        if (is_put)
            seq = messages[i]->seq;
        if (!is_put || w->count == w->limit || w->out.failed) {
            finish(w, seq);
            return false;
        }
    }
    w->work.session->reactor->table.replayed += count;
    return true;
}

static void on_end(struct reading *r)
{
    finish(of_reading(r), r->reader.pos);
}

static const struct reading_ops history_ops = { .is_full = is_full, .on_read = on_read, .on_end = on_end };

/* ---- */

static void on_cancel(struct v1_work *work)
{
    v1_reply_cancel(&work->reply);
    history_end(HLY_CONTAINER_OF(work, struct history, work));
}

static void on_drained(struct v1_work *work)
{
    reading_wake(&HLY_CONTAINER_OF(work, struct history, work)->reading);
}

static void on_rights(struct v1_work *work)
{
    struct history *w = HLY_CONTAINER_OF(work, struct history, work);
    if (v1_may_subscribe(work->session, w->reading.names[0].name))
        return;
    v1_reply_error(&work->reply, "forbidden", "reading this history is no longer allowed");
    history_end(w);
}

void v1_history(const struct v1_reply *reply, struct slice topic, const struct v1_range *range, uint64_t limit)
{
    struct v1_session *s = reply->session;
    struct reactor *r = s->reactor;
    const struct hub_name name = { .name = topic };
    struct reading_from from = v1_range_from(range, r->hub, hub_head(r->hub));
    struct history *w = calloc(1, sizeof *w);
    if (w == NULL || reading_start(&w->reading, &r->table, &history_ops, &name, 1, &from) < 0) {
        struct v1_reply copy = *reply;
        v1_reply_no_memory(&copy);
        free(w);
        return;
    }
    w->limit = limit;
    w->work.on_cancel = on_cancel;
    w->work.on_drained = on_drained;
    w->work.on_rights = on_rights;
    v1_work_begin(&w->work, reply);
    s->reading_count++;
    list_push(&s->histories, &w->turn);
    v1_reply_begin(&w->work.reply, &w->out);
    buf_str(&w->out, "{\"messages\":[");
    if (reading_from_is_empty(&from))
        finish(w, from.until);
}
