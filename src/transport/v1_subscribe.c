/* Subscribing and unsubscribing, and the replay that a subscribe with `after` or `last` begins with.
 *
 * Changes of a session's subscriptions are made one at a time, in the order of their commands: an engine may answer later, and a subscribe that fails takes
 * back what it has done, which nobody else may have built on.
 *
 * A replay reads history up to S, the seq after which the subscriptions are in force. Then `live` is told, whose cursor serves from there on: so not before
 * the live flow, which may be behind or still in the inbox, has passed S as well. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/topic_name.h"
#include "proto/json_write.h"
#include "transport/gap_event.h"
#include "transport/v1_internal.h"
#include "transport/v1_message.h"

/* SUBSCRIBING: waits for those before it, or for the engine. REPLAYING: reads. PASSING: has read all, and waits until the live flow has passed S. */
#define SLICES_AT_ONCE 8 /* of history, for the answer to a subscribe: without it a gap cannot be known */

enum stage { SUBSCRIBING, REPLAYING, PASSING };

struct change { /* the first member of what embeds it */
    struct v1_work work;
    struct list turn; /* in session->changes */
    void (*run)(struct change *c);
};

struct subscribe;

struct step {
    struct engine_subscribe subscribe;
    struct subscribe *of;
};

struct subscribe {
    struct change change;
    struct v1_range range;
    enum stage stage;
    bool is_answered;
    bool is_outdated;   /* the session's rights have changed since it was asked for */
    bool is_refreshing; /* a name of it was subscribed to before: its S is not this one's */
    int error;
    uint64_t first_seq; /* the lowest S of its new names; UINT64_MAX: none is new */
    uint64_t until;     /* the highest S */
    uint64_t promise;   /* the cursor that `ok` tells; UINT64_MAX: that from which it reads */
    size_t waiting;     /* steps without an answer, and one for whoever starts them */
    struct reading reading;
    uint32_t reading_names;
    size_t count;
    struct step steps[]; /* then the text of their names */
};

size_t v1_name_count(const json_t *names)
{
    return json_is_array(names) ? json_array_size(names) : 1;
}

struct slice v1_name_at(const json_t *names, size_t i)
{
    const json_t *name = json_is_array(names) ? json_array_get(names, i) : names;
    return (struct slice){ json_string_value(name), json_string_length(name) };
}

/* ---- changes in order */

static void changes_run(struct v1_session *s)
{
    while (!s->is_changing && !list_is_empty(&s->changes)) {
        struct change *c = LIST_ENTRY(s->changes.next, struct change, turn);
        s->is_changing = true;
        c->run(c);
    }
}

/* It has been made; the next one may be. */
static void change_done(struct change *c)
{
    c->work.session->is_changing = false;
    list_remove(&c->turn);
}

static void change_begin(struct change *c, const struct v1_reply *reply)
{
    v1_work_begin(&c->work, reply);
    list_push(&c->work.session->changes, &c->turn);
    changes_run(c->work.session);
}

/* ---- what a replay tells */

static struct subscribe *of_reading(struct reading *r)
{
    return HLY_CONTAINER_OF(r, struct subscribe, reading);
}

static struct subscribe *of_work(struct v1_work *w)
{
    return HLY_CONTAINER_OF(w, struct subscribe, change.work);
}

static void answer(struct subscribe *w, bool recovered, uint64_t seq)
{
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    bool has_range = v1_range_is_given(&w->range);
    w->is_answered = true;
    v1_reply_begin(&w->change.work.reply, &out);
    buf_str(&out, "{");
    if (seq != UINT64_MAX) {
        buf_str(&out, "\"cursor\":");
        v1_put_cursor(&out, w->change.work.session, seq);
        buf_str(&out, has_range ? "," : "");
    }
    if (has_range)
        buf_printf(&out, "\"recovered\":%s", recovered ? "true" : "false");
    buf_str(&out, "}");
    v1_reply_send(&w->change.work.reply, &out);
}

static void put_names(struct buf *out, const struct subscribe *w)
{
    buf_str(out, w->count == 1 ? "\"topic\":" : "\"topics\":[");
    for (size_t i = 0; i < w->count; i++) {
        buf_str(out, i > 0 ? "," : "");
        json_buf_string(out, w->steps[i].subscribe.name);
    }
    buf_str(out, w->count == 1 ? "," : "],");
}

static void put_replay_id(struct buf *out, const struct subscribe *w, const char *member)
{
    struct slice id = v1_reply_id(&w->change.work.reply);
    buf_printf(out, "\"%s\":", member);
    buf_append(out, id.ptr, id.len);
}

static void write_gap(struct subscribe *w, uint64_t after, enum gap_reason reason)
{
    struct v1_session *s = w->change.work.session;
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    struct gap_event event = { .reactor = s->reactor, .client = &s->client, .transport = s->carrier->what };
    for (size_t i = 0; i < w->count; i++)
        gap_event_add(&event, w->steps[i].subscribe.name);
    gap_event_tell(&event, after, reason);
    stat_add(&s->reactor->stats.gaps, 1);
    buf_str(&out, "{");
    put_names(&out, w);
    buf_str(&out, "\"gap\":{\"after\":");
    v1_put_cursor(&out, s, after);
    buf_printf(&out, ",\"reason\":\"%s\"},", gap_reason_name(reason));
    put_replay_id(&out, w, "replay");
    buf_str(&out, "}");
    v1_write(s, &out, "");
}

static void write_messages(struct subscribe *w, struct message *const *messages, size_t count)
{
    struct v1_session *s = w->change.work.session;
    struct slice id = v1_reply_id(&w->change.work.reply);
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    for (size_t i = 0; i < count && s->is_open; i++) {
        buf_reset(&out);
        uint8_t *at = buf_reserve(&out, v1_message_bound(messages[i], id, false));
        if (at != NULL)
            out.len = (size_t)(v1_message_put(at, messages[i], hub_epoch(s->reactor->hub), id, false) - at);
        v1_write(s, &out, "");
    }
    s->reactor->table.replayed += count;
}

static void write_live(struct subscribe *w, uint64_t seq)
{
    struct v1_session *s = w->change.work.session;
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    char cursor[CURSOR_MAX_BYTES + 1];
    cursor_format(cursor, hub_epoch(s->reactor->hub), seq);
    buf_str(&out, "{");
    put_replay_id(&out, w, "live");
    buf_printf(&out, ",\"cursor\":\"%s\"}", cursor);
    v1_write(s, &out, cursor);
}

/* ---- the end of a replay: until the live flow has passed S */

static const struct reading_ops passing_ops;

/* An empty reading comes back in the next turn when nothing waits on the connection: then it is looked at again. */
static void pass(struct subscribe *w)
{
    const struct reading_from nothing = { .after = w->until, .until = w->until, .last = READING_LAST_NONE };
    struct v1_session *s = w->change.work.session;
    w->stage = PASSING;
    if (s->sub.catchup == NULL && !reading_is_on(&w->reading) &&
        reading_start(&w->reading, &s->reactor->table, &passing_ops, NULL, 0, &nothing) < 0)
        v1_close_no_memory(s);
}

static bool passing_is_full(struct reading *r)
{
    const struct v1_session *s = of_reading(r)->change.work.session;
    return !s->is_open || s->conn->outq != NULL;
}

static bool passing_on_read(struct reading *r, struct message *const *messages, size_t count, bool is_gap, uint64_t from,
                            enum gap_reason reason)
{
    (void)r; /* of no names there is nothing */
    (void)messages;
    (void)count;
    (void)is_gap;
    (void)from;
    (void)reason;
    return true;
}

static void subscribe_end(struct subscribe *w)
{
    reading_stop(&w->reading);
    if (w->stage != SUBSCRIBING) {
        w->change.work.session->reading_count--;
        w->change.work.session->reading_names -= w->reading_names;
    }
    v1_work_end(&w->change.work);
}

static void passing_on_end(struct reading *r)
{
    struct subscribe *w = of_reading(r);
    uint64_t seq = v1_live_seq(w->change.work.session);
    if (seq == UINT64_MAX || seq < w->until) {
        pass(w); /* if the live flow is behind, on_level() comes when it no longer is */
        return;
    }
    write_live(w, seq);
    subscribe_end(w);
}

static const struct reading_ops passing_ops = { .is_full = passing_is_full, .on_read = passing_on_read, .on_end = passing_on_end };

static void on_level(struct v1_work *work)
{
    struct subscribe *w = of_work(work);
    if (w->stage == PASSING)
        pass(w);
}

/* ---- a replay */

static bool replay_is_full(struct reading *r)
{
    return v1_is_full(of_reading(r)->change.work.session);
}

static bool replay_on_read(struct reading *r, struct message *const *messages, size_t count, bool is_gap, uint64_t from,
                           enum gap_reason reason)
{
    struct subscribe *w = of_reading(r);
    if (!w->is_answered)
        answer(w, !is_gap, w->promise != UINT64_MAX ? w->promise : from);
    if (is_gap)
        write_gap(w, from, reason);
    write_messages(w, messages, count);
    return true;
}

static void replay_on_end(struct reading *r)
{
    struct subscribe *w = of_reading(r);
    if (!w->is_answered) /* there was nothing */
        answer(w, true, w->promise != UINT64_MAX ? w->promise : r->reader.pos);
    pass(w);
}

static const struct reading_ops replay_ops = { .is_full = replay_is_full, .on_read = replay_on_read, .on_end = replay_on_end };

static int replay_read(struct subscribe *w, const struct reading_from *from)
{
    struct hub_name *names = malloc(w->count * sizeof *names);
    if (names == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < w->count; i++)
        names[i] = (struct hub_name){ .name = w->steps[i].subscribe.name, .is_pattern = w->steps[i].subscribe.is_pattern };
    int r = reading_start(&w->reading, &w->change.work.session->reactor->table, &replay_ops, names, w->count, from);
    free(names);
    return r;
}

static int replay_start(struct subscribe *w)
{
    struct v1_session *s = w->change.work.session;
    struct reading_from from = v1_range_from(&w->range, s->reactor->hub, w->until);
    w->promise = reading_from_promise(&from);
    int r = replay_read(w, &from);
    if (r < 0)
        return r;
    w->stage = REPLAYING;
    s->reading_count++;
    w->reading_names = (uint32_t)w->count; /* some may be dropped before it ends */
    s->reading_names += w->reading_names;
    stat_add(&s->reactor->stats.replays, 1);
    if (reading_from_is_empty(&from)) { /* what is lost of what came after it is not missed by it */
        reading_stop(&w->reading);
        answer(w, true, w->promise);
        pass(w);
    }
    for (int n = 0; n < SLICES_AT_ONCE && !w->is_answered && reading_is_on(&w->reading) && !w->reading.is_parked; n++)
        reading_step(&w->reading); /* so that `ok` comes before what is live from here on */
    return 0;
}

/* Forget the names that the session may no longer subscribe to. Returns how many. */
static size_t drop_forbidden(struct subscribe *w)
{
    size_t kept = 0, before = w->count;
    for (size_t i = 0; i < before; i++)
        if (v1_may_subscribe(w->change.work.session, w->steps[i].subscribe.name))
            w->steps[kept++] = w->steps[i];
    w->count = kept;
    return before - kept;
}

/* The replay goes on without what is no longer allowed. */
static void on_rights(struct v1_work *work)
{
    struct subscribe *w = of_work(work);
    w->is_outdated = w->stage == SUBSCRIBING; /* it is looked at again when it is in force */
    if (w->stage != REPLAYING || drop_forbidden(w) == 0)
        return;
    struct reading_from from = { .after = w->reading.reader.pos, .until = w->until, .last = READING_LAST_NONE };
    if (!w->is_answered) /* nothing of it has been read */
        from = v1_range_from(&w->range, work->session->reactor->hub, w->until);
    reading_stop(&w->reading);
    if (w->count > 0) {
        if (replay_read(w, &from) < 0)
            v1_close_no_memory(work->session);
    } else if (w->is_answered) {
        pass(w);
    } else {
        v1_reply_error(&work->reply, "forbidden", "subscribing to it is no longer allowed");
        subscribe_end(w);
    }
}

/* ---- subscribing */

/* Take back what has been done: nothing is left half done. */
static void subscribe_undo(struct subscribe *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->steps[i].subscribe.result == 1)
            unsubscribe(&w->change.work.session->sub, w->steps[i].subscribe.name, w->steps[i].subscribe.is_pattern);
}

static void subscribe_fail(struct subscribe *w, int error)
{
    subscribe_undo(w);
    if (error == -EDQUOT)
        v1_reply_error(&w->change.work.reply, "too_many",
                       "limits.topics or limits.patterns is reached: nothing has been subscribed to");
    else
        v1_reply_no_memory(&w->change.work.reply);
    subscribe_end(w);
}

/* The subscriptions are in force. */
/* Others publish while several subscriptions are made: all begin where the last of them does, so that one cursor is true of all. */
static void begin_together(struct subscribe *w)
{
    for (size_t i = 0; i < w->count; i++) {
        const struct engine_subscribe *es = &w->steps[i].subscribe;
        struct subscription *sub = es->result != 1 ? NULL : subscription_find(es->subscriber, es->name, es->is_pattern);
        if (sub != NULL && sub->from_seq < w->until)
            sub->from_seq = w->until;
    }
}

/* What `ok` promises where nothing is replayed. Of names that were there before, what the live flow has had is before its own cursor: with new names
 * beside them there is one cursor for both only if it has passed S. */
static uint64_t plain_promise(const struct subscribe *w)
{
    uint64_t live = v1_live_seq(w->change.work.session);
    if (!w->is_refreshing)
        return w->until;
    if (w->first_seq == UINT64_MAX)
        return live;
    return live != UINT64_MAX && live >= w->until ? w->until : UINT64_MAX;
}

static void subscribe_succeed(struct subscribe *w)
{
    struct v1_session *s = w->change.work.session;
    if (!v1_range_is_given(&w->range)) {
        begin_together(w);
        answer(w, true, plain_promise(w));
        subscribe_end(w);
        return;
    }
    uint64_t head = hub_head(s->reactor->hub);
    if (w->is_refreshing && head > w->until)
        w->until = head;
    if (replay_start(w) < 0)
        subscribe_fail(w, -ENOMEM);
}

static void step_done(struct subscribe *w)
{
    struct v1_session *s = w->change.work.session;
    bool is_outdated = w->is_outdated;
    if (--w->waiting > 0)
        return;
    change_done(&w->change);
    if (s->has_ended) {
        subscribe_end(w);
        return; /* the session may have gone with it */
    }
    if (w->error < 0)
        subscribe_fail(w, w->error);
    else
        subscribe_succeed(w);
    if (is_outdated)
        v1_session_check_rights(s);
    changes_run(s);
}

static void on_subscribed(struct engine_subscribe *es)
{
    struct subscribe *w = HLY_CONTAINER_OF(es, struct step, subscribe)->of;
    if (es->result < 0) {
        w->error = es->result;
    } else if (es->result == 0) {
        w->is_refreshing = true;
    } else {
        w->first_seq = es->seq < w->first_seq ? es->seq : w->first_seq;
        w->until = es->seq > w->until ? es->seq : w->until;
    }
    step_done(w);
}

static bool is_listed_before(const struct subscribe *w, size_t i)
{
    struct slice name = w->steps[i].subscribe.name;
    for (size_t k = 0; k < i; k++)
        if (w->steps[k].subscribe.name.len == name.len && memcmp(w->steps[k].subscribe.name.ptr, name.ptr, name.len) == 0)
            return true;
    return false;
}

static size_t count_new(struct subscribe *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->count; i++)
        n += !is_listed_before(w, i) &&
             subscription_find(&w->change.work.session->sub, w->steps[i].subscribe.name, w->steps[i].subscribe.is_pattern) == NULL;
    return n;
}

static void subscribe_run(struct change *c)
{
    struct subscribe *w = of_work(&c->work);
    struct v1_session *s = w->change.work.session;
    if (s->sub.count + count_new(w) > s->reactor->settings->max_subscriptions) {
        change_done(c);
        v1_reply_error(&c->work.reply, "too_many", "one connection may have %" PRIu32 " subscriptions (limits.subscriptions)",
                       s->reactor->settings->max_subscriptions);
        subscribe_end(w);
        return;
    }
    w->waiting = w->count + 1;
    for (size_t i = 0; i < w->count; i++)
        s->reactor->engine->subscribe(s->reactor->engine, &w->steps[i].subscribe);
    step_done(w);
}

/* ---- the session's end, or its connection's state */

static void on_cancel(struct v1_work *work)
{
    struct subscribe *w = of_work(work);
    v1_reply_cancel(&work->reply);
    if (w->waiting > 0)
        return; /* the engine answers first */
    list_remove(&w->change.turn);
    subscribe_end(w);
}

static void on_drained(struct v1_work *work)
{
    reading_wake(&of_work(work)->reading);
}

static struct subscribe *subscribe_new(const json_t *names, struct v1_session *s)
{
    size_t count = v1_name_count(names), bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += v1_name_at(names, i).len;
    struct subscribe *w = calloc(1, sizeof *w + count * sizeof w->steps[0] + bytes);
    if (w == NULL)
        return NULL;
    w->first_seq = UINT64_MAX;
    w->count = count;
    char *text = (char *)&w->steps[count];
    for (size_t i = 0; i < count; i++) {
        struct slice name = v1_name_at(names, i);
        memcpy(text, name.ptr, name.len);
        w->steps[i] = (struct step){ .of = w };
        w->steps[i].subscribe = (struct engine_subscribe){
            .subscriber = &s->sub,
            .name = { text, name.len },
            .is_pattern = topic_name_is_pattern(name.ptr, name.len),
            .done = on_subscribed,
        };
        text += name.len;
    }
    return w;
}

void v1_subscribe(const struct v1_reply *reply, const json_t *names, const struct v1_range *range)
{
    struct subscribe *w = subscribe_new(names, reply->session);
    if (w == NULL) {
        struct v1_reply r = *reply;
        v1_reply_no_memory(&r);
        return;
    }
    w->range = *range;
    w->change.run = subscribe_run;
    w->change.work.on_cancel = on_cancel;
    w->change.work.on_drained = on_drained;
    w->change.work.on_level = on_level;
    w->change.work.on_rights = on_rights;
    change_begin(&w->change, reply);
}

/* ---- unsubscribing */

struct unsubscribe {
    struct change change;
    json_t *names; /* a reference */
};

static void unsubscribe_end(struct unsubscribe *w)
{
    json_decref(w->names);
    v1_work_end(&w->change.work);
}

static void unsubscribe_run(struct change *c)
{
    struct unsubscribe *w = HLY_CONTAINER_OF(c, struct unsubscribe, change);
    for (size_t i = 0; i < v1_name_count(w->names); i++) {
        struct slice name = v1_name_at(w->names, i);
        unsubscribe(&c->work.session->sub, name,
                    topic_name_is_pattern(name.ptr, name.len)); /* no matter if there is none: it has its way */
    }
    change_done(c);
    v1_reply_empty(&c->work.reply);
    unsubscribe_end(w);
}

static void unsubscribe_on_cancel(struct v1_work *work)
{
    struct unsubscribe *w = HLY_CONTAINER_OF(work, struct unsubscribe, change.work);
    v1_reply_cancel(&work->reply);
    list_remove(&w->change.turn);
    unsubscribe_end(w);
}

void v1_unsubscribe(const struct v1_reply *reply, const json_t *names)
{
    struct unsubscribe *w = calloc(1, sizeof *w);
    if (w == NULL) {
        struct v1_reply r = *reply;
        v1_reply_no_memory(&r);
        return;
    }
    w->names = json_incref((json_t *)names);
    w->change.run = unsubscribe_run;
    w->change.work.on_cancel = unsubscribe_on_cancel;
    change_begin(&w->change, reply);
}
