#include "transport/http_publish.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/cursor.h"
#include "transport/publish.h"

#define JSON_TYPE "application/json"
#define NO_MEMORY "out of memory, try again later"

/* ---- answers: jansson writes what may hold anything, but a receipt is on the hot path */

void http_publish_write_error(struct buf *out, const char *code, const char *text)
{
    json_t *o = json_pack("{s:{s:s,s:s}}", "error", "code", code, "message", text);
    char *dump = o == NULL ? NULL : json_dumps(o, JSON_COMPACT);
    buf_str(out, dump != NULL ? dump : "{\"error\":{\"code\":\"unavailable\",\"message\":\"out of memory\"}}");
    free(dump);
    json_decref(o);
}

void http_publish_write_receipt(struct buf *out, const char *epoch, const struct hub_receipt *receipt)
{
    char cursor[CURSOR_MAX_BYTES + 1];
    cursor_format(cursor, epoch, receipt->seq);
    buf_printf(out, "{\"cursor\":\"%s\",\"subscribers\":%" PRIu64 "}", cursor, receipt->subscribers);
}

static void reply_json(struct http_client *h, unsigned status, struct buf *body, const char *extra)
{
    buf_str(body, "\n");
    http_reply(h, status, JSON_TYPE, body->data, body->len, extra);
}

void http_publish_error(struct http_client *h, unsigned status, const char *code, const char *text, const char *extra)
{
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    http_publish_write_error(&body, code, text);
    reply_json(h, status, &body, extra);
}

/* Retry-After is for proxies and HTTP libraries, and has seconds only (RFC 9110 10.2.3). */
static void refuse_rate(struct http_client *h, const struct publish_refusal *why, const char *extra)
{
    HLY_CLEANUP(buf_done) struct buf body = { 0 }, lines = { 0 };
    buf_printf(&body, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\",\"retry_ms\":%" PRIu64 "}}", publish_error_name(why->code), why->text,
               why->retry_ms); /* a sentence of ours without anyone's text */
    buf_printf(&lines, "Retry-After: %" PRIu64 "\r\n%s", (why->retry_ms + 999) / 1000, extra == NULL ? "" : extra);
    buf_append(&lines, "", 1);
    reply_json(h, publish_error_status(why->code), &body, lines.failed ? extra : (const char *)lines.data);
}

void http_publish_refuse(struct http_client *h, const struct publish_refusal *why, const char *extra)
{
    if (why->code == PUBLISH_RATE_LIMITED)
        refuse_rate(h, why, extra);
    else
        http_publish_error(h, publish_error_status(why->code), publish_error_name(why->code), why->text, extra);
}

/* ---- one publish on its way */

struct single {
    struct engine_publish publish;
    struct http_ticket ticket;
    struct reactor *reactor;
    bool is_backend;
    char memory[]; /* extra with its NUL, then the key: what they were taken from has gone when an engine answers later */
};

static void on_published(struct engine_publish *p)
{
    struct single *s = HLY_CONTAINER_OF(p, struct single, publish);
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    struct publish_refusal why;
    unsigned status = 200;
    if (p->result < 0) {
        publish_explain(s->reactor, p->result, &why);
        status = publish_error_status(why.code);
        stat_add(&s->reactor->stats.backend_errors, s->is_backend);
        http_publish_write_error(&body, publish_error_name(why.code), why.text);
    } else {
        http_publish_write_receipt(&body, hub_epoch(s->reactor->hub), &p->receipt);
    }
    struct http_client *h = http_ticket_take(&s->ticket);
    if (h != NULL)
        reply_json(h, status, &body, s->memory);
    free(s);
}

static struct single *single_new(struct reactor *r, bool is_backend, const char *extra, struct slice key)
{
    size_t extra_len = extra == NULL ? 0 : strlen(extra);
    struct single *s = malloc(sizeof *s + extra_len + 1 + key.len);
    if (s == NULL)
        return NULL;
    *s = (struct single){ .reactor = r, .is_backend = is_backend };
    s->publish = (struct engine_publish){ .reactor = r->index, .done = on_published };
    if (extra_len > 0)
        memcpy(s->memory, extra, extra_len);
    s->memory[extra_len] = '\0';
    if (key.len > 0) {
        memcpy(s->memory + extra_len + 1, key.ptr, key.len);
        s->publish.key = (struct slice){ s->memory + extra_len + 1, key.len };
    }
    return s;
}

void http_publish(struct http_client *h, const struct http1_request *rq, struct slice topic, const struct publisher *by,
                  const char *extra)
{
    struct reactor *r = http_reactor(h);
    struct slice key = http1_header_get(rq, "Idempotency-Key");
    struct publish_refusal why = { .code = PUBLISH_UNAVAILABLE, .text = NO_MEMORY };
    struct message *m = NULL;
    bool is_backend = by->rights->is_backend;
    if (key.ptr == NULL || publish_check_key(r, key, &why))
        m = publish_prepare(r, by, topic, rq->body, &why);
    if (m != NULL && !is_backend && !publish_is_in_rate(r, http_conn(h), rq->body.len, &why))
        m = message_unref(m);
    struct single *s = m == NULL ? NULL : single_new(r, is_backend, extra, key);
    if (s == NULL) {
        message_unref(m);
        stat_add(&r->stats.backend_errors, is_backend);
        http_publish_refuse(h, &why, extra);
        return;
    }
    s->publish.message = m;
    http_ticket_make(h, &s->ticket);
    http_pause_publisher(h); /* looked at before: the answer may end the request, but not the client's next one */
    r->engine->publish(r->engine, &s->publish);
}
