/* XREAD, XRANGE, XREVRANGE: how a backend reads without losing anything, with the stream commands of Redis. resp_stream_commands.c has understood
 * what is asked for; this file reads it, and waits for it.
 *
 * A topic is a stream whose entries have one field, `data`, and the cursor as their id. A pattern is a stream, too, the messages of all its topics
 * in one order; its entries have a second field, `topic`. Where messages are missing, the entry in their place has the field `gap`, with the
 * reason, and as its id the cursor after which what follows comes.
 *
 * History is read in slices (core/reading), and a waiting XREAD subscribes; so these commands are answered later, and as in Redis the connection runs
 * no other command until then. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/log.h"
#include "core/cursor.h"
#include "transport/encoders.h"
#include "transport/resp_streams_internal.h"

#define HELD_INPUT_BYTES 65536          /* of commands behind one that is being worked on; over it the client is not read */
#define LONGEST_TIMER_MS (3600 * 1000)  /* longer waits take several */
#define UNREAD_TIMER_MS 1000            /* a client that is not read is looked at this often: has it gone? */

#define AS_NAME(name) [READ_##name] = #name,
static const char *const read_state_names[] = { READ_STATES(AS_NAME) };
static const unsigned read_next[] = { /* bit n set: state n may follow */
    [READ_QUEUED] = 1u << READ_READING,
    [READ_READING] = 1u << READ_SUBSCRIBING | 1u << READ_WAITING | 1u << READ_ANSWERED,
    [READ_SUBSCRIBING] = 1u << READ_READING | 1u << READ_ANSWERED,
    [READ_WAITING] = 1u << READ_ANSWERED,
    [READ_ANSWERED] = 0,
};

static void read_on(struct streams_read *j);
static void hear(struct streams_read *j);

static void enter(struct streams_read *j, enum read_state next)
{
    assert(read_next[j->state] & 1u << next);
    log_debug("streams", "read=%p %s -> %s", (void *)j, read_state_names[j->state], read_state_names[next]);
    j->state = next;
}

/* ---- entries */

#define ENTRY_FORM(is_pattern) ((is_pattern) ? WIRE_RESP_ENTRY_TOPIC : WIRE_RESP_ENTRY)

static void write_gap(struct buf *out, const char *epoch, uint64_t after_seq, enum gap_reason reason)
{
    char cursor[CURSOR_MAX_BYTES + 1];
    size_t len = cursor_format(cursor, epoch, after_seq);
    resp_write_array(out, 2);
    resp_write_bulk(out, cursor, len);
    resp_write_array(out, 2);
    resp_write_str(out, "gap");
    resp_write_str(out, gap_reason_name(reason));
}

static void write_entry(struct buf *out, struct message *m, bool is_pattern, const char *epoch)
{
    const struct wire_encoder *e = &transport_encoders[ENTRY_FORM(is_pattern)];
    uint8_t *at = buf_reserve(out, e->bound(m, NULL));
    if (at != NULL)
        out->len += e->encode(m, NULL, epoch, at);
}

/* Bytes of the entry that the encoded ones begin with. */
static size_t entry_len(const uint8_t *p, size_t len)
{
    size_t at = 0;
    for (uint64_t elements = 1; elements > 0 && at < len; elements--) {
        uint8_t type = p[at++];
        uint64_t n = 0;
        for (; at < len && p[at] != '\r'; at++)
            n = n * 10 + (uint64_t)(p[at] - '0');
        at += 2;
        if (type == '*')
            elements += n;
        else
            at += n + 2;
    }
    assert(at <= len);
    return at;
}

/* Is there room for one more entry? A stream has one entry at least, however long. */
static bool has_room(struct stream *s)
{
    if (s->count >= s->all->max_count)
        s->is_cut = true;
    else if (s->count > 0 && s->entries.len >= s->all->max_bytes)
        s->is_cut = s->all->is_too_big = true;
    return !s->is_cut;
}

/* An entry begins: returns where it goes. */
static struct buf *add(struct stream *s)
{
    s->count++;
    if (s->all->is_reverse)
        buf_append(&s->starts, &s->entries.len, sizeof s->entries.len);
    return &s->entries;
}

/* Returns whether there was room. */
static bool add_gap(struct stream *s, uint64_t after_seq)
{
    if (!s->has_gap)
        return true;
    if (!has_room(s))
        return false;
    write_gap(add(s), hub_epoch(s->all->reactor->hub), after_seq, s->gap);
    s->has_gap = false;
    return true;
}

/* What was delivered while it waited comes after what was read. */
static void add_late(struct stream *s)
{
    if (s->late.failed)
        s->entries.failed = true;
    for (size_t at = 0, len; at < s->late.len && !s->is_cut && has_room(s); at += len) {
        len = entry_len(s->late.data + at, s->late.len - at);
        buf_append(add(s), s->late.data + at, len);
    }
}

/* ---- the answer */

void resp_streams_free(struct streams_read *j)
{
    for (size_t i = 0; i < j->count; i++) {
        buf_done(&j->streams[i].entries);
        buf_done(&j->streams[i].starts);
        buf_done(&j->streams[i].late);
    }
    free(j);
}

/* Stop whatever it does. It goes when the last subscription on its way has its answer: the subscriber must live until then. */
static void end(struct streams_read *j)
{
    reading_stop(&j->reading);
    j->client = NULL;
    if (j->pending > 0)
        return;
    if (j->is_subscribed)
        for (size_t i = 0; i < j->count; i++)
            subscriber_done(&j->streams[i].sub);
    resp_streams_free(j);
}

static void write_reversed(struct buf *out, const struct stream *s)
{
    const size_t *starts = (const size_t *)(const void *)s->starts.data;
    size_t count = s->count < s->all->newest ? s->count : (size_t)s->all->newest, past = s->entries.len;
    resp_write_array(out, count);
    for (size_t i = s->count; i-- > s->count - count; past = starts[i])
        buf_append(out, s->entries.data + starts[i], past - starts[i]);
}

static void write_entries(struct buf *out, const struct stream *s)
{
    resp_write_array(out, s->count);
    buf_append(out, s->entries.data, s->entries.len);
}

static void write_streams(struct buf *out, const struct streams_read *j)
{
    size_t found = 0;
    int proto = j->client->proto;
    for (size_t i = 0; i < j->count; i++)
        found += j->streams[i].count > 0;
    if (found == 0) {
        resp_write_null_array(out, proto);
        return;
    }
    if (proto == 3)
        resp_write_map(out, proto, found);
    else
        resp_write_array(out, found);
    for (size_t i = 0; i < j->count; i++) {
        const struct stream *s = &j->streams[i];
        if (s->count == 0)
            continue;
        if (proto == 2)
            resp_write_array(out, 2);
        resp_write_bulk(out, s->given.ptr, s->given.len);
        write_entries(out, s);
    }
}

static bool has_failed(const struct streams_read *j)
{
    for (size_t i = 0; i < j->count; i++)
        if (j->streams[i].entries.failed || j->streams[i].starts.failed)
            return true;
    return j->slot->reply.failed;
}

static void write_answer(struct streams_read *j, struct resp_call *call)
{
    const struct stream *first = &j->streams[0];
    if (j->result < 0)
        resp_error(call, j->result == -EDQUOT ? "limits.topics or limits.patterns is reached" : "out of memory, try again later");
    else if (j->is_range && j->is_too_big)
        resp_error(call, "the answer has more than limits.backend_outq (%zu bytes): ask for fewer entries at once, with COUNT", j->max_bytes);
    else if (j->is_reverse)
        write_reversed(call->out, first);
    else if (j->is_range)
        write_entries(call->out, first);
    else
        write_streams(call->out, j);
}

static void answer(struct streams_read *j)
{
    struct resp_client *c = j->client;
    struct resp_slot *slot = j->slot;
    struct resp_call call = { .client = c, .out = &slot->reply };
    enter(j, READ_ANSWERED);
    for (size_t i = 0; i < j->count; i++)
        add_late(&j->streams[i]);
    write_answer(j, &call);
    if (has_failed(j)) {
        buf_done(&slot->reply);
        resp_error(&call, "out of memory, try again later");
    }
    conn_set_timer(c->conn, 0);
    end(j);
    resp_release(c, slot);
}

/* ---- reading */

static bool is_something_found(const struct streams_read *j)
{
    for (size_t i = 0; i < j->count; i++)
        if (j->streams[i].count > 0 || j->streams[i].late.len > 0 || j->streams[i].late.failed || j->streams[i].entries.failed)
            return true;
    return false;
}

static bool on_read(struct reading *r, struct message *const *messages, size_t count, bool is_gap, uint64_t from, enum gap_reason reason)
{
    (void)from;
    struct streams_read *j = HLY_CONTAINER_OF(r, struct streams_read, reading);
    struct stream *s = &j->streams[j->at];
    if (is_gap) {
        s->has_gap = true;
        s->gap = reason;
    }
    for (size_t i = 0; i < count; i++) {
        if (!add_gap(s, messages[i]->seq - 1) || !has_room(s)) {
            reading_stop(r);
            j->at++;
            read_on(j);
            return false;
        }
        write_entry(add(s), messages[i], s->is_pattern, hub_epoch(j->reactor->hub));
    }
    return true;
}

static void on_end(struct reading *r)
{
    struct streams_read *j = HLY_CONTAINER_OF(r, struct streams_read, reading);
    struct stream *s = &j->streams[j->at];
    s->pos = r->reader.pos;
    add_gap(s, s->pos);
    j->at++;
    read_on(j);
}

static const struct reading_ops streams_reading_ops = { .on_read = on_read, .on_end = on_end };

/* Read the streams from streams[at] on; when all have been read, answer or wait. */
static void read_on(struct streams_read *j)
{
    for (; j->at < j->count; j->at++) {
        struct stream *s = &j->streams[j->at];
        struct hub_name name = { .name = s->name, .is_pattern = s->is_pattern };
        s->pos = s->from.after;
        if (s->is_cut || reading_from_is_empty(&s->from))
            continue;
        if (reading_start(&j->reading, &j->reactor->table, &streams_reading_ops, &name, 1, &s->from) == 0)
            return;
        j->result = -ENOMEM;
        break;
    }
    if (j->result < 0 || !j->may_block || is_something_found(j))
        answer(j);
    else
        hear(j);
}

/* What was published before, on this connection too, is there now. */
static void begin(struct streams_read *j)
{
    uint64_t head = hub_head(j->reactor->hub);
    for (size_t i = 0; i < j->count; i++) {
        struct stream *s = &j->streams[i];
        if (s->is_open)
            s->from.until = head;
        if (s->is_from_now)
            s->from.after = head;
        if (s->is_all)
            s->from.forgiven = head;
    }
    enter(j, READ_READING);
    read_on(j);
}

/* ---- waiting */

static void deliver(struct subscriber *sub, const struct delivery *d)
{
    struct stream *s = HLY_CONTAINER_OF(sub, struct stream, sub);
    struct streams_read *j = s->all;
    if (j->client == NULL || s->late_is_cut)
        return;
    if (s->late.len >= j->max_bytes)
        s->late_is_cut = true; /* it reads on from the last cursor that it gets */
    else if (d->count == 0)
        write_gap(&s->late, hub_epoch(j->reactor->hub), d->last_seq, GAP_MEMORY);
    else
        for (uint32_t i = 0; i < d->count; i++)
            buf_append(&s->late, d->slices[i].chunk->data + d->slices[i].off, d->slices[i].len);
    if (s->late.failed)
        s->late_is_cut = true;
    conn_call_drained(j->client->conn); /* answered when the fan-out's walk is over */
}

static const struct subscriber_ops stream_ops = { .deliver = deliver };

static void arm_timer(struct streams_read *j)
{
    struct conn *conn = j->client->conn;
    uint64_t now = conn->loop->now_ms, ms = LONGEST_TIMER_MS;
    if (j->wait_until_ms != 0 && j->wait_until_ms < now + ms)
        ms = j->wait_until_ms > now ? j->wait_until_ms - now : 1;
    if (conn->paused != 0 && ms > UNREAD_TIMER_MS)
        ms = UNREAD_TIMER_MS;
    conn_set_timer(conn, ms);
}

static void wait_more(struct streams_read *j)
{
    if (j->wait_until_ms != 0 && j->wait_until_ms <= j->client->conn->loop->now_ms)
        answer(j);
    else
        arm_timer(j);
}

/* Every subscription is in force: what was published before is in the history, what comes after will be delivered. */
static void on_heard(struct streams_read *j)
{
    j->is_subscribed = true;
    if (j->client == NULL) {
        end(j);
        return;
    }
    if (j->result < 0) {
        answer(j);
        return;
    }
    for (size_t i = 0; i < j->count; i++) {
        struct stream *s = &j->streams[i];
        s->from = (struct reading_from){ .after = s->pos, .until = s->subscribe.seq, .last = READING_LAST_NONE };
    }
    enter(j, READ_READING);
    j->at = 0;
    read_on(j);
}

static void hear_step(struct streams_read *j)
{
    if (--j->pending == 0)
        on_heard(j);
}

static void on_subscribed(struct engine_subscribe *es)
{
    struct stream *s = HLY_CONTAINER_OF(es, struct stream, subscribe);
    if (es->result < 0)
        s->all->result = es->result;
    hear_step(s->all);
}

/* There is nothing yet: wait for what will be published. */
static void hear(struct streams_read *j)
{
    struct reactor *r = j->reactor;
    if (j->is_subscribed) {
        enter(j, READ_WAITING);
        if (j->client->in.len <= HELD_INPUT_BYTES)
            conn_resume(j->client->conn, CONN_PAUSE_BUSY); /* read on, to see its end */
        wait_more(j);
        return;
    }
    enter(j, READ_SUBSCRIBING);
    j->pending = j->count + 1;
    for (size_t i = 0; i < j->count; i++)
        subscriber_init(&j->streams[i].sub, &r->table, &stream_ops, ENTRY_FORM(j->streams[i].is_pattern));
    for (size_t i = 0; i < j->count; i++) {
        struct stream *s = &j->streams[i];
        s->subscribe = (struct engine_subscribe){
            .subscriber = &s->sub, .name = s->name, .is_pattern = s->is_pattern, .done = on_subscribed
        };
        r->engine->subscribe(r->engine, &s->subscribe);
    }
    hear_step(j);
}

/* ---- for resp_client.c */

void resp_streams_flushed(struct resp_client *c)
{
    struct streams_read *j = c->streams;
    if (j->state == READ_QUEUED && c->slots.next == &j->slot->node)
        begin(j);
}

void resp_streams_drained(struct resp_client *c)
{
    if (c->streams->state == READ_WAITING && is_something_found(c->streams))
        answer(c->streams);
}

/* Has a peer gone whose end is not seen, because it is not read? */
static bool has_hung_up(const struct conn *conn)
{
    struct pollfd p = { .fd = conn->io.fd, .events = POLLRDHUP };
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void resp_streams_timer(struct resp_client *c)
{
    if (c->conn->paused != 0 && has_hung_up(c->conn))
        conn_close(c->conn);
    else if (c->streams->state == READ_WAITING)
        wait_more(c->streams);
}

void resp_streams_held(struct resp_client *c)
{
    if (c->in.len <= HELD_INPUT_BYTES || (c->conn->paused & CONN_PAUSE_BUSY) != 0)
        return;
    conn_pause(c->conn, CONN_PAUSE_BUSY);
    if (c->streams->state == READ_WAITING)
        arm_timer(c->streams);
}

void resp_streams_end(struct resp_client *c)
{
    struct streams_read *j = c->streams;
    if (j == NULL)
        return;
    c->streams = NULL;
    j->slot->ready = true; /* nobody else frees it */
    end(j);
}

bool resp_streams_are_allowed(const struct resp_client *c, const struct rule_client *who)
{
    const struct streams_read *j = c->streams;
    for (size_t i = 0; i < j->count; i++)
        if (!rules_allow(c->reactor->rules, who, RULE_SUBSCRIBE, j->streams[i].name.ptr, j->streams[i].name.len))
            return false;
    return true;
}

/* ---- for resp_stream_commands.c */

struct streams_read *resp_streams_new(struct resp_call *call, const struct slice *names, size_t count, char **ret_text)
{
    struct resp_client *c = call->client;
    size_t bytes = sizeof(struct streams_read) + count * sizeof(struct stream);
    size_t text_bytes = 0;
    for (size_t i = 0; i < count; i++)
        text_bytes += names[i].len;
    struct streams_read *j = calloc(1, bytes + text_bytes);
    if (j == NULL) {
        resp_error(call, "out of memory, try again later");
        return NULL;
    }
    j->client = c;
    j->reactor = c->reactor;
    j->max_count = UINT64_MAX;
    j->max_bytes = (size_t)c->reactor->settings->max_backend_outq / count;
    j->count = count;
    for (size_t i = 0; i < count; i++)
        j->streams[i].all = j;
    *ret_text = (char *)&j->streams[count];
    return j;
}

void resp_streams_start(struct resp_call *call, struct streams_read *j)
{
    struct resp_client *c = call->client;
    j->slot = resp_slot_of(call);
    if (j->slot == NULL) {
        resp_streams_free(j);
        return;
    }
    j->slot->is_text = true;
    c->streams = j;
    resp_streams_flushed(c);
    if (c->streams != NULL && j->state != READ_WAITING)
        conn_pause(c->conn, CONN_PAUSE_BUSY); /* a client that has finished sending still gets its answer */
}
