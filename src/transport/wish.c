#include "transport/wish.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/catchup.h"
#include "core/reading.h"
#include "core/topic_name.h"
#include "transport/client.h"
#include "transport/cors.h"


void wish_done(struct wish *w)
{
    free(w->topics);
    free(w->scratch);
    token_unref(w->token);
    *w = (struct wish){ 0 };
}

bool wish_refuse(struct http_client *h, struct slice origin, _Atomic uint64_t *counter, unsigned status, const char *fmt, ...)
{
    char text[512], cors[CORS_HEADERS_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    stat_add(counter, 1);
    http_reply_text(h, status, cors_headers(cors, http_reactor(h)->settings, origin), "%s", text);
    return false;
}

/* ---- the query */

static bool add_topic(struct http_client *h, struct wish *w, struct slice name)
{
    struct reactor *r = http_reactor(h);
    char quoted[96];
    const char *bad = pattern_error(name.ptr, name.len);
    if (bad != NULL)
        return wish_refuse(h, w->origin, &r->stats.handshakes_bad_topic, 400, "Bad topic '%s': %s.",
                           log_quote(quoted, sizeof quoted, name.ptr, name.len), bad);
    if (w->count == r->settings->max_subscriptions)
        return wish_refuse(h, w->origin, &r->stats.handshakes_bad_topic, 400,
                           "One connection may have %" PRIu32 " subscriptions (limits.subscriptions).", r->settings->max_subscriptions);
    if (w->count == w->cap) {
        size_t cap = w->cap == 0 ? 8 : w->cap * 2;
        struct slice *topics = realloc(w->topics, cap * sizeof *topics);
        if (topics == NULL)
            return wish_refuse(h, w->origin, &r->stats.handshakes_bad_topic, 503, "Out of memory, try again later.");
        w->topics = topics;
        w->cap = cap;
    }
    w->topics[w->count++] = name;
    return true;
}

static bool set_after(struct http_client *h, struct wish *w, struct slice text, const char *from)
{
    if (cursor_parse(text.ptr, text.len, &w->after) < 0)
        return wish_refuse(h, w->origin, &http_reactor(h)->stats.handshakes_bad_topic, 400,
                           "%s is no cursor: send back what the server sent, or 0 for all history that there is.", from);
    w->has_after = true;
    return true;
}

static bool set_last(struct http_client *h, struct wish *w, struct slice text)
{
    uint64_t n = 0;
    bool ok = text.len >= 1 && text.len <= 9;
    for (size_t i = 0; ok && i < text.len; i++) {
        ok = text.ptr[i] >= '0' && text.ptr[i] <= '9';
        n = n * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    if (!ok)
        return wish_refuse(h, w->origin, &http_reactor(h)->stats.handshakes_bad_topic, 400,
                           "last is a number: of the newest messages to begin with.");
    w->last = n;
    return true;
}

static bool set_echo(struct http_client *h, struct wish *w, struct slice text)
{
    if (!slice_equals(text, "0") && !slice_equals(text, "1"))
        return wish_refuse(h, w->origin, &http_reactor(h)->stats.handshakes_bad_topic, 400, "echo is 0 or 1: whether you get back what you publish.");
    w->is_echoed = text.ptr[0] == '1';
    return true;
}

bool wish_parse(struct http_client *h, const struct http1_request *rq, struct slice last_event_id, struct wish *w)
{
    struct stats *stats = &http_reactor(h)->stats;
    struct slice key, value;
    size_t pos = 0, used = 0;
    int r;
    w->last = READING_LAST_NONE;
    w->is_echoed = true;
    w->origin = http1_header_get(rq, "Origin");
    w->scratch = malloc(rq->query.len + 2);
    if (w->scratch == NULL)
        return wish_refuse(h, w->origin, &stats->handshakes_bad_topic, 503, "Out of memory, try again later.");
    while ((r = http1_query_next(rq->query, &pos, w->scratch + used, &key, &value)) == 1) {
        bool ok = true;
        if (slice_equals(key, "topic")) {
            used = (size_t)(value.ptr + value.len - w->scratch); /* keep it: the next pair goes behind it */
            ok = add_topic(h, w, value);
        } else if (slice_equals(key, "after") && last_event_id.len == 0) {
            ok = set_after(h, w, value, "after");
        } else if (slice_equals(key, "last")) {
            ok = set_last(h, w, value);
        } else if (slice_equals(key, "echo")) {
            ok = set_echo(h, w, value);
        }
        if (!ok)
            return false;
    }
    if (r < 0)
        return wish_refuse(h, w->origin, &stats->handshakes_bad_topic, 400, "The query has a broken %%-escape.");
    if (last_event_id.len > 0 && !set_after(h, w, last_event_id, "Last-Event-ID"))
        return false;
    return true;
}

/* The topics that its token says: those that it may have, and has not named itself. */
static bool add_auto(struct http_client *h, struct wish *w)
{
    struct reactor *r = http_reactor(h);
    struct token *token = http_token(h);
    const struct rule_client *who = client_rights_of(token, RULE_SUBSCRIBE);
    if (token != NULL && token->auto_names.count > 0)
        w->token = token_ref(token);
    for (size_t i = 0; token != NULL && i < token->auto_names.count && w->count < r->settings->max_subscriptions; i++) {
        struct slice name = token->auto_names.names[i];
        if (rules_allow(r->rules, who, RULE_SUBSCRIBE, name.ptr, name.len) && !add_topic(h, w, name))
            return false;
    }
    return true;
}

bool wish_is_allowed(struct http_client *h, struct wish *w, bool can_publish, bool is_bare)
{
    struct reactor *r = http_reactor(h);
    char quoted[96];
    const struct rule_client *who = client_rights_of(http_token(h), RULE_SUBSCRIBE);
    struct slice *only = w->count == 1 && !topic_name_is_pattern(w->topics[0].ptr, w->topics[0].len) ? &w->topics[0] : NULL;
    w->may_publish = can_publish && only != NULL &&
                     rules_allow(r->rules, client_rights_of(http_token(h), RULE_PUBLISH), RULE_PUBLISH, only->ptr, only->len);
    w->may_receive = true;
    for (size_t i = 0; i < w->count; i++) {
        if (rules_allow(r->rules, who, RULE_SUBSCRIBE, w->topics[i].ptr, w->topics[i].len))
            continue;
        w->may_receive = false;
        if (!w->may_publish)
            return wish_refuse(h, w->origin, &r->stats.handshakes_forbidden, 403, "Subscribing to '%s' is not allowed here.",
                               log_quote(quoted, sizeof quoted, w->topics[i].ptr, w->topics[i].len));
    }
    if (w->may_receive && !add_auto(h, w))
        return false;
    if (w->count == 0 && !is_bare)
        return wish_refuse(h, w->origin, &r->stats.handshakes_bad_topic, 400, "Name a topic: ?topic=NAME (repeat it for several).");
    return true;
}

int wish_begin(const struct wish *w, struct subscriber *s, struct opening_seqs seqs, uint64_t *ret_seq)
{
    struct reading_from from = reading_from(s->table->hub, w->has_after ? &w->after : NULL, w->last, seqs.last);
    if (!w->has_after && w->last == READING_LAST_NONE) {
        *ret_seq = seqs.first; /* what the first subscription has waiting comes after it */
        return 0;
    }
    *ret_seq = reading_from_promise(&from);
    if (reading_from_is_empty(&from) && seqs.first == seqs.last)
        return 0;
    return catchup_resume(s, &from);
}

void wish_refuse_late(struct conn *c)
{
    static const char why[] = "The server is at limits.topics or limits.patterns, or out of memory: try again later.\n";
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    http1_write_head(&out, c->loop->wall_ms, 503, false, "text/plain; charset=utf-8", sizeof why - 1, "Retry-After: 5\r\n");
    buf_str(&out, why);
    conn_write(c, out.data, out.len);
}

/* ---- subscriptions on their way */

struct opening_step {
    struct engine_subscribe subscribe;
    struct opening *opening;
};

struct opening {
    struct wish wish;
    struct subscriber *subscriber;
    opening_done_fn on_done;
    void *ctx;
    struct opening_seqs seqs;
    size_t waiting; /* steps without an answer, and one for whoever starts them */
    bool failed;
    struct opening_step steps[];
};

struct opening *opening_new(struct wish *w, struct subscriber *s)
{
    size_t count = w->may_receive ? w->count : 0;
    struct opening *o = calloc(1, sizeof *o + count * sizeof o->steps[0]);
    if (o == NULL)
        return NULL;
    o->subscriber = s;
    o->wish = *w;
    o->wish.origin = (struct slice){ 0 }; /* the request's: it ends before the opening does */
    *w = (struct wish){ 0 };
    return o;
}

void opening_free(struct opening *o)
{
    if (o != NULL)
        wish_done(&o->wish);
    free(o);
}

static void step_done(struct opening *o)
{
    if (--o->waiting > 0)
        return;
    o->on_done(o->ctx, &o->wish, o->failed, o->seqs);
    opening_free(o);
}

static void on_subscribed(struct engine_subscribe *s)
{
    struct opening *o = HLY_CONTAINER_OF(s, struct opening_step, subscribe)->opening;
    o->failed |= s->result < 0;
    if (s->result >= 0 && s->seq < o->seqs.first)
        o->seqs.first = s->seq;
    if (s->result >= 0 && s->seq > o->seqs.last)
        o->seqs.last = s->seq;
    step_done(o);
}

void opening_start(struct opening *o, struct reactor *r, opening_done_fn on_done, void *ctx)
{
    size_t count = o->wish.may_receive ? o->wish.count : 0;
    o->on_done = on_done;
    o->ctx = ctx;
    o->waiting = count + 1;
    o->seqs.first = count > 0 ? UINT64_MAX : hub_head(r->hub);
    o->seqs.last = count > 0 ? 0 : o->seqs.first;
    for (size_t i = 0; i < count; i++) {
        o->steps[i].opening = o;
        o->steps[i].subscribe = (struct engine_subscribe){
            .subscriber = o->subscriber,
            .name = o->wish.topics[i],
            .is_pattern = topic_name_is_pattern(o->wish.topics[i].ptr, o->wish.topics[i].len),
            .done = on_subscribed,
        };
        r->engine->subscribe(r->engine, &o->steps[i].subscribe);
    }
    step_done(o);
}

const struct subscription *wish_find_forbidden(const struct reactor *r, const struct subscriber *s, const struct token *token)
{
    LIST_EACH (it, &s->subscriptions) {
        const struct subscription *sub = LIST_ENTRY(it, struct subscription, node);
        if (!rules_allow(r->rules, client_rights_of(token, RULE_SUBSCRIBE), RULE_SUBSCRIBE, sub->feed->name, sub->feed->name_len))
            return sub;
    }
    return NULL;
}
