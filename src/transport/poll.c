/* One poll: subscribe, so that nothing falls between history and what is live; read history from the client's cursor;
 * if there was nothing, wait.
 *
 * Answers are given from a task of the loop, never from the fan-out's walk or a slice of reading, where the next
 * pipelined poll could not subscribe. What is delivered until the task runs goes into the same answer, so a burst is
 * one answer.
 *
 * Cursors. An answer with messages has the last one's, so the same question has the same answer, and the same ETag,
 * as long as nothing is published. An answer without any has the newest one: a cursor that stands still would be
 * overtaken by what the topics of its rules lose, and a gap be told that is none.
 *
 * ETag and If-None-Match (RFC 9110 13.1.2). The ETag is the cursor. Who sends it back says "I have everything up to
 * here", which is what `after` says; so it stands for `after` where that is left out, and a client that knows HTTP
 * and nothing of cursors loses nothing either. 304 means that nothing was published since, and the old cursor stays:
 * the newest could not be said, for a 304 has to repeat the ETag that it confirms. A cursor that would lead to a gap
 * by now is replaced by a 200 with the newest one. Answers are not to be stored (no-store): a browser's cache would
 * turn each 304 into the messages of its last 200. */
#include "transport/poll.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/token.h"
#include "base/log.h"
#include "core/reading.h"
#include "transport/client_info.h"
#include "transport/cors.h"
#include "transport/gap_event.h"
#include "transport/gzip_stream.h"
#include "transport/kick.h"
#include "transport/packer.h"
#include "transport/query.h"
#include "transport/wish.h"

#define POLL_PAGE_BYTES 65536 /* of JSON: an answer from history ends with the slice that passes it */

/* OPENING: its subscriptions are on their way. READING history. WAITING for a message or for its time to be up. DUE:
 * the answer is posted. */
#define POLL_STATES(X) X(OPENING) X(READING) X(WAITING) X(DUE)
#define AS_ENUM(name) POLL_##name,
#define AS_NAME(name) [POLL_##name] = #name,
enum poll_state { POLL_STATES(AS_ENUM) };
static const char *const poll_state_names[] = { POLL_STATES(AS_NAME) };
static const unsigned poll_next[] = { /* bit n set: state n may follow */
    [POLL_OPENING] = 1u << POLL_READING | 1u << POLL_WAITING | 1u << POLL_DUE,
    [POLL_READING] = 1u << POLL_WAITING | 1u << POLL_DUE,
    [POLL_WAITING] = 1u << POLL_DUE,
    [POLL_DUE] = 0,
};

struct poll {
    struct subscriber sub;
    struct http_ticket ticket;
    struct loop_task task;
    struct reactor *reactor;
    struct chunk_slice *slices; /* what it answers with: halley.v1 objects, one a line; with a reference on the chunk of each */
    uint32_t count;
    uint32_t cap;
    uint64_t bytes;
    uint64_t seq;      /* the client has, or is about to get, everything up to here */
    uint64_t etag_seq; /* of If-None-Match, if has_etag */
    uint32_t wait_ms;
    uint8_t state;     /* enum poll_state */
    uint8_t reason;    /* enum gap_reason, if is_gap */
    bool has_etag;
    bool is_gap;       /* messages are missing before the first */
    bool is_complete;  /* it takes no more: what comes is for the next poll */
    bool takes_gzip;
    uint16_t refused_with; /* it has been ended: the status that says so; 0: it has not */
    const char *refused_why;
    uint16_t origin_len; /* 0: the request has none */
    char origin[];
};

static void poll_enter(struct poll *p, enum poll_state next)
{
    assert(poll_next[p->state] & 1u << next);
    log_debug("poll", "poll=%p %s -> %s", (void *)p, poll_state_names[p->state], poll_state_names[next]);
    if (next == POLL_WAITING)
        stat_add(&p->reactor->stats.polls, 1);
    else if (p->state == POLL_WAITING)
        stat_sub(&p->reactor->stats.polls, 1);
    p->state = (uint8_t)next;
}

/* Forget what was collected. */
static void poll_forget(struct poll *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        chunk_unref(p->slices[i].chunk);
    p->count = 0;
    p->bytes = 0;
}

static void poll_free(struct poll *p)
{
    if (p->state == POLL_WAITING)
        stat_sub(&p->reactor->stats.polls, 1);
    subscriber_done(&p->sub);
    poll_forget(p);
    free(p->slices);
    free(p);
}

/* It is to be answered, soon. */
static void poll_due(struct poll *p)
{
    if (p->state == POLL_DUE)
        return;
    poll_enter(p, POLL_DUE);
    loop_post(&p->reactor->loop, &p->task);
}

/* ---- collecting */

static bool poll_has_room(const struct poll *p, const struct delivery *d)
{
    if (d->count == 0)
        return false;
    return (p->count == 0 && d->first_seq == d->last_seq) || p->bytes + d->bytes <= p->reactor->settings->max_outq;
}

/* No more than it has: the next poll reads on from there. */
static void poll_complete(struct poll *p, uint64_t seq)
{
    p->is_complete = true;
    if (p->seq < seq)
        p->seq = seq;
}

static void poll_collect(struct poll *p, const struct delivery *d)
{
    if (p->count + d->count > p->cap) {
        uint32_t cap = p->count + d->count;
        struct chunk_slice *slices = realloc(p->slices, cap * sizeof *slices);
        if (slices == NULL) {
            poll_complete(p, d->first_seq - 1);
            return;
        }
        p->slices = slices;
        p->cap = cap;
    }
    for (uint32_t i = 0; i < d->count; i++) {
        chunk_ref(d->slices[i].chunk);
        p->slices[p->count++] = d->slices[i];
    }
    p->bytes += d->bytes;
    p->seq = d->last_seq;
}

static void deliver(struct subscriber *sub, const struct delivery *d)
{
    struct poll *p = HLY_CONTAINER_OF(sub, struct poll, sub);
    if (p->is_complete)
        return;
    if (poll_has_room(p, d))
        poll_collect(p, d);
    else
        poll_complete(p, d->first_seq - 1);
    if (p->state != POLL_OPENING)
        poll_due(p);
}

static void replay(struct subscriber *sub, const struct delivery *d)
{
    struct poll *p = HLY_CONTAINER_OF(sub, struct poll, sub);
    if (p->is_complete)
        return;
    poll_collect(p, d);
    p->is_complete |= p->bytes >= POLL_PAGE_BYTES;
    if (p->is_complete)
        poll_due(p);
}

static bool is_full(struct subscriber *sub)
{
    return HLY_CONTAINER_OF(sub, struct poll, sub)->is_complete;
}

static void tell_backends(struct poll *p, uint64_t after_seq, enum gap_reason reason)
{
    const struct token *token = p->ticket.client == NULL ? NULL : http_token(p->ticket.client);
    struct gap_event event = { .reactor = p->reactor, .transport = "poll", .subject = token == NULL ? NULL : token->subject };
    gap_event_add_all(&event, &p->sub);
    gap_event_tell(&event, after_seq, reason);
}

/* A gap is told for what comes before the first message. One behind messages is left to the next poll, which begins
 * in front of it. */
static bool on_gap(struct subscriber *sub, uint64_t after_seq, enum gap_reason reason)
{
    struct poll *p = HLY_CONTAINER_OF(sub, struct poll, sub);
    if (p->count == 0 && reason != GAP_MEMORY && !p->is_complete) {
        if (!p->is_gap)
            tell_backends(p, after_seq, reason);
        p->reason = p->is_gap ? p->reason : (uint8_t)reason;
        p->is_gap = true;
        return true;
    }
    p->is_complete = true;
    poll_due(p);
    return false;
}

/* Nothing more is kept, and what is published from here on is delivered. */
static void poll_settle(struct poll *p)
{
    if (p->count > 0 || p->is_gap || p->is_complete || !http_wait(p->ticket.client, p->wait_ms))
        poll_due(p);
    else
        poll_enter(p, POLL_WAITING);
}

static void on_level(struct subscriber *sub, uint64_t seq)
{
    struct poll *p = HLY_CONTAINER_OF(sub, struct poll, sub);
    if (p->state != POLL_READING)
        return;
    if (p->has_etag && p->seq == p->etag_seq && !p->is_gap)
        poll_forget(p); /* this very answer is what the client has */
    if (p->count == 0)
        p->seq = seq;
    poll_settle(p);
}

static const struct subscriber_ops poll_ops = {
    .deliver = deliver, .replay = replay, .is_full = is_full, .on_gap = on_gap, .on_level = on_level
};

/* ---- answering */

/* Would a client that comes back with this cursor be told no gap? */
static bool poll_can_resume(struct poll *p, uint64_t seq)
{
    struct hub_read read;
    struct hub_reader reader = { .pos = seq };
    struct hub_name *names = malloc((p->sub.count + 1) * sizeof *names);
    size_t n = 0;
    if (names == NULL)
        return false;
    LIST_EACH (it, &p->sub.subscriptions) {
        const struct feed *f = LIST_ENTRY(it, struct subscription, node)->feed;
        names[n++] = (struct hub_name){ .name = feed_name(f), .is_pattern = f->is_pattern };
    }
    hub_read(p->reactor->hub, names, n, &reader, &read);
    for (size_t i = 0; i < read.count; i++)
        message_unref(read.messages[i]);
    free(names);
    return read.gap == HUB_GAP_NONE;
}

/* The lines become the elements of an array. In a halley.v1 object there is no line end. */
static void write_messages(struct buf *out, const struct poll *p)
{
    size_t start = out->len;
    uint8_t *to = buf_reserve(out, p->bytes);
    if (to == NULL || p->count == 0)
        return;
    for (uint32_t i = 0; i < p->count; i++)
        buf_append(out, p->slices[i].chunk->data + p->slices[i].off, p->slices[i].len);
    for (to = out->data + start; (to = memchr(to, '\n', (size_t)(out->data + out->len - to))) != NULL;)
        *to = ',';
    out->len--; /* the last one */
}

static void write_answer(struct buf *out, const struct poll *p, const char *cursor)
{
    buf_printf(out, "{\"cursor\":\"%s\",\"messages\":[", cursor);
    write_messages(out, p);
    buf_str(out, p->is_gap ? "],\"gap\":true" : "],\"gap\":false");
    if (p->is_gap)
        buf_printf(out, ",\"reason\":\"%s\"", gap_reason_name((enum gap_reason)p->reason));
    buf_str(out, "}\n");
}

/* Answer, and be gone: the client may begin its next request meanwhile. */
static void poll_reply(struct poll *p, struct http_client *h, unsigned status, uint64_t seq)
{
    HLY_CLEANUP(buf_done) struct buf body = { 0 }, packed = { 0 };
    char cursor[CURSOR_MAX_BYTES + 1], cors[CORS_HEADERS_MAX], extra[CORS_HEADERS_MAX + 192];
    struct reactor *r = p->reactor;
    cursor_format(cursor, hub_epoch(r->hub), seq);
    cors_headers(cors, p->reactor->settings, (struct slice){ p->origin_len > 0 ? p->origin : NULL, p->origin_len });
    if (status == 200)
        write_answer(&body, p, cursor);
    bool is_gzip = status == 200 && p->takes_gzip && !body.failed && packer_gzip(r->packer, body.data, body.len, &packed);
    snprintf(extra, sizeof extra, "ETag: %s\"%s\"\r\nCache-Control: no-store\r\n%s%s", is_gzip ? "W/" : "", /* of one coding among others: weak (RFC 9110 8.8.1) */
             cursor, gzip_headers(r, is_gzip), cors);
    stat_add(status == 200 ? &r->stats.poll_answers : &r->stats.poll_not_modified, 1);
    stat_add(&r->stats.gaps, status == 200 && p->is_gap);
    bool failed = body.failed;
    poll_free(p);
    if (failed)
        http_reply_text(h, 503, "Retry-After: 1\r\n", "Out of memory, try again later.");
    else if (status == 200)
        http_reply(h, 200, "application/json", is_gzip ? packed.data : body.data, is_gzip ? packed.len : body.len, extra);
    else
        http_reply(h, status, NULL, NULL, SIZE_MAX, extra);
}

static void poll_refuse(struct poll *p, struct http_client *h, const char *retry_after, const char *why)
{
    char cors[CORS_HEADERS_MAX], extra[CORS_HEADERS_MAX + 32];
    cors_headers(cors, p->reactor->settings, (struct slice){ p->origin_len > 0 ? p->origin : NULL, p->origin_len });
    snprintf(extra, sizeof extra, "%s%s", retry_after, cors);
    poll_free(p);
    http_reply_text(h, 503, extra, "%s", why);
}

static void poll_reply_kicked(struct poll *p, struct http_client *h)
{
    char cors[CORS_HEADERS_MAX], extra[CORS_HEADERS_MAX + 128];
    unsigned status = p->refused_with;
    const char *why = p->refused_why;
    cors_headers(cors, p->reactor->settings, (struct slice){ p->origin_len > 0 ? p->origin : NULL, p->origin_len });
    snprintf(extra, sizeof extra, "%sCache-Control: no-store\r\n%s", status == 401 ? "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n" : "", cors);
    poll_free(p);
    http_reply_text(h, status, extra, "%s", why);
}

static bool is_over_total(const struct poll *p)
{
    static struct log_gate gate;
    const struct reactor *r = p->reactor;
    if (p->count == 0 || r->loop.chunks.live_bytes + p->bytes <= r->settings->max_outq_total)
        return false;
    log_limited(&gate, LOG_LEVEL_WARN, "poll_refused",
                "a poll was answered with 503: limits.outq_total (%" PRIu64 ") is reached by what waits for slow clients; "
                "raise it if the machine has memory",
                r->settings->max_outq_total);
    return true;
}

static void poll_answer(struct loop_task *t)
{
    struct poll *p = HLY_CONTAINER_OF(t, struct poll, task);
    struct http_client *h = http_ticket_take(&p->ticket);
    if (h == NULL) {
        poll_free(p);
        return;
    }
    if (p->refused_with != 0) {
        poll_reply_kicked(p, h);
        return;
    }
    if (is_over_total(p)) {
        stat_add(&p->reactor->stats.poll_refused, 1);
        poll_refuse(p, h, "Retry-After: 1\r\n", "Too much waits for slow clients (limits.outq_total): try again with the same cursor.");
        return;
    }
    if (p->count > 0 || p->is_gap || p->is_complete) {
        poll_reply(p, h, 200, p->seq);
        return;
    }
    uint64_t newest = hub_taken_seq(p->reactor->hub, p->reactor->index); /* all of it has been through the fan-out */
    if (p->has_etag && poll_can_resume(p, p->etag_seq))
        poll_reply(p, h, 304, p->etag_seq);
    else
        poll_reply(p, h, 200, newest > p->seq ? newest : p->seq);
}

/* ---- the connection */

static void on_hurry(struct http_ticket *t)
{
    poll_due(HLY_CONTAINER_OF(t, struct poll, ticket));
}

static void on_gone(struct http_ticket *t)
{
    struct poll *p = HLY_CONTAINER_OF(t, struct poll, ticket);
    if (p->state != POLL_OPENING && p->state != POLL_DUE) /* else it is freed by what is still to come */
        poll_free(p);
}

static bool describe(struct http_ticket *t, struct client_info *ret)
{
    const struct poll *p = HLY_CONTAINER_OF(t, struct poll, ticket);
    client_info_fill(ret, NULL, &p->sub, "poll");
    ret->token = http_token(t->client);
    return true;
}

static bool kick(struct http_ticket *t, const struct kick *k)
{
    struct poll *p = HLY_CONTAINER_OF(t, struct poll, ticket);
    if (p->state == POLL_OPENING || p->refused_with != 0 || (!kick_is_whole(k) && kick_unsubscribe_all(k, &p->sub) == 0))
        return false;
    if (!kick_is_whole(k) && p->sub.count > 0)
        return true;
    p->refused_with = k->is_revocation ? 401 : 403;
    p->refused_why = k->is_revocation ? "This is refused: the token has been revoked." : "The backend has ended this poll.";
    poll_due(p);
    return true;
}

static void recheck(struct http_ticket *t)
{
    struct poll *p = HLY_CONTAINER_OF(t, struct poll, ticket);
    if (p->state == POLL_OPENING || p->refused_with != 0 || wish_find_forbidden(p->reactor, &p->sub, http_token(t->client)) == NULL)
        return;
    stat_add(&p->reactor->stats.rechecked_ends, 1);
    p->refused_with = 403;
    p->refused_why = "The rules have changed: subscribing to a topic of this poll is no longer allowed.";
    poll_due(p);
}

static const struct http_ticket_ops poll_ticket_ops = {
    .on_hurry = on_hurry, .on_gone = on_gone, .describe = describe, .kick = kick, .recheck = recheck
};

/* ---- opening */

/* Seconds, with up to three decimals: 25, 0.5. */
static bool parse_wait(struct slice text, uint32_t *ret_ms)
{
    uint32_t ms = 0;
    int whole = 0, decimals = 0;
    bool has_point = false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)(text.ptr[i] - '0');
        int *digits = has_point ? &decimals : &whole;
        if (text.ptr[i] == '.' && whole > 0 && !has_point) {
            has_point = true;
            continue;
        }
        if (digit > 9 || *digits == 3)
            return false;
        (*digits)++;
        ms = ms * 10 + digit;
    }
    if (whole == 0 || (has_point && decimals == 0))
        return false;
    for (; decimals < 3; decimals++)
        ms *= 10;
    if (ms > POLL_WAIT_MAX_MS)
        return false;
    *ret_ms = ms;
    return true;
}

/* The first of the entity tags that can be a cursor of ours; weak or strong is the same here (RFC 9110 13.1.2). */
static bool parse_etags(struct slice list, struct cursor *ret)
{
    while (list.len > 0) {
        const char *comma = memchr(list.ptr, ',', list.len);
        size_t len = comma == NULL ? list.len : (size_t)(comma - list.ptr);
        struct slice tag = slice_trim((struct slice){ list.ptr, len });
        list.ptr += len + (comma != NULL);
        list.len -= len + (comma != NULL);
        if (tag.len > 2 && memcmp(tag.ptr, "W/", 2) == 0)
            tag = (struct slice){ tag.ptr + 2, tag.len - 2 };
        if (tag.len > 2 && tag.ptr[0] == '"' && tag.ptr[tag.len - 1] == '"' && cursor_parse(tag.ptr + 1, tag.len - 2, ret) == 0 &&
            ret->epoch[0] != '\0')
            return true;
    }
    return false;
}

static bool read_wait(struct http_client *h, const struct http1_request *rq, struct slice origin, uint32_t *ret_ms)
{
    HLY_CLEANUP(query_freep) char *memory = NULL;
    struct query_field wait = { .key = "wait" };
    if (query_read(rq, &wait, 1, &memory) < 0)
        return true; /* wish_parse() says so, for the whole query */
    *ret_ms = POLL_WAIT_DEFAULT_MS;
    if (wait.value.ptr != NULL && !parse_wait(wait.value, ret_ms))
        return wish_refuse(h, origin, &http_reactor(h)->stats.handshakes_bad_topic, 400,
                           "wait is a number of seconds from 0 to %d, such as 25 or 0.5.", POLL_WAIT_MAX_MS / 1000);
    if (rq->method == HTTP1_HEAD)
        *ret_ms = 0; /* who asks for headers alone does not want to wait for a message */
    return true;
}

/* Who waits longer than its token holds would be told what it may no longer see. */
static uint32_t bound_wait(struct http_client *h, uint32_t wait_ms)
{
    uint64_t left = token_expires_in_ms(http_token(h), http_reactor(h)->loop.wall_ms);
    return left < wait_ms ? (uint32_t)left : wait_ms;
}

static struct poll *poll_new(struct reactor *r, struct slice origin, uint32_t wait_ms)
{
    struct poll *p = malloc(sizeof *p + origin.len);
    if (p == NULL)
        return NULL;
    *p = (struct poll){ .reactor = r, .task.run = poll_answer, .wait_ms = wait_ms, .origin_len = (uint16_t)origin.len };
    if (origin.len > 0)
        memcpy(p->origin, origin.ptr, origin.len);
    subscriber_init(&p->sub, &r->table, &poll_ops, WIRE_POLL);
    return p;
}

/* What If-None-Match says. A cursor of ours below `after` says nothing: it is older than what the client asks for. */
static void use_etags(struct poll *p, const struct http1_request *rq, struct wish *wish)
{
    struct cursor c;
    struct hub *hub = p->reactor->hub;
    if (!parse_etags(http1_header_get(rq, "If-None-Match"), &c))
        return;
    if (!wish->has_after) {
        wish->has_after = true;
        wish->after = c;
    }
    p->has_etag = strcmp(c.epoch, hub_epoch(hub)) == 0 && c.seq <= hub_head(hub) && c.seq >= wish->after.seq;
    p->etag_seq = c.seq;
}

/* Every subscription is in force. */
static void on_opened(void *ctx, struct wish *wish, bool failed, struct opening_seqs seqs)
{
    uint64_t promise;
    struct poll *p = ctx;
    if (p->ticket.client == NULL) {
        poll_free(p);
        return;
    }
    if (failed || wish_begin(wish, &p->sub, seqs, &promise) < 0) {
        poll_refuse(p, http_ticket_take(&p->ticket), "Retry-After: 5\r\n",
                    "The server is at limits.topics or limits.patterns, or out of memory: try again later.");
        return;
    }
    if (p->sub.catchup == NULL) {
        p->seq = p->count > 0 || p->is_complete ? p->seq : promise;
        poll_settle(p);
        return;
    }
    poll_forget(p); /* what came meanwhile is read again */
    p->is_complete = false;
    p->seq = promise == UINT64_MAX ? 0 : promise;
    poll_enter(p, POLL_READING);
}

void poll_open(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    HLY_CLEANUP(wish_done) struct wish wish = { 0 };
    uint32_t wait_ms = 0;
    if (!read_wait(h, rq, origin, &wait_ms))
        return;
    if (!wish_parse(h, rq, (struct slice){ 0 }, &wish) || !wish_is_allowed(h, &wish, false, false))
        return;
    struct poll *p = poll_new(http_reactor(h), origin, bound_wait(h, wait_ms));
    if (p != NULL) {
        p->takes_gzip = gzip_is_wanted(p->reactor, rq);
        use_etags(p, rq, &wish);
    }
    struct opening *o = p == NULL ? NULL : opening_new(&wish, &p->sub);
    if (o == NULL) {
        free(p);
        wish_refuse(h, origin, &http_reactor(h)->stats.handshakes_bad_topic, 503, "Out of memory, try again later.");
        return;
    }
    http_ticket_make(h, &p->ticket);
    p->ticket.ops = &poll_ticket_ops;
    opening_start(o, http_reactor(h), on_opened, p);
}
