/* HTTP on the backend door: for curl, for scripts, for applications without a Redis client. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "auth/addresses.h"
#include "base/log.h"
#include "core/cursor.h"
#include "core/topic_name.h"
#include "transport/backend_door.h"
#include "transport/backend_http.h"
#include "transport/control.h"
#include "transport/http_publish.h"
#include "transport/publish.h"
#include "transport/stats_text.h"

#define JSON_TYPE "application/json"
#define TOPICS_PER_PAGE 1000
#define TOPICS_SLICES 50 /* of the table's walk, per request: a page may be short, `next` says whether there is more */

#define BASIC_MAX_BYTES 1024 /* of "user:key" in base64 */

/* ---- answers */

void backend_reply_json(struct http_client *h, unsigned status, struct buf *body)
{
    buf_str(body, "\n");
    http_reply(h, status, JSON_TYPE, body->data, body->len, NULL);
}

void backend_reply_error(struct http_client *h, unsigned status, const char *code, const char *text)
{
    stat_add(&http_reactor(h)->stats.backend_errors, 1);
    http_publish_error(h, status, code, text, NULL);
}

void backend_reply_no_memory(struct http_client *h)
{
    backend_reply_error(h, 503, "unavailable", "out of memory, try again later");
}

/* ---- publishing many in one request, which is answered when the last has its answer */

struct batch_item {
    struct engine_publish publish;
    struct batch *batch;
    char *key; /* a copy: what it was parsed from has gone when an engine answers later; NULL: none */
    struct publish_refusal *refusal; /* NULL: accepted */
};

struct batch {
    struct http_ticket ticket;
    struct reactor *reactor;
    struct publisher by;
    struct batch_item *items;
    size_t count;
    size_t cap;
    size_t waiting;
};

static void batch_free(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        message_unref(b->items[i].publish.message);
        free(b->items[i].key);
        free(b->items[i].refusal);
    }
    free(b->items);
    free(b);
}

static void batch_reply(struct batch *b)
{
    struct http_client *h = http_ticket_take(&b->ticket);
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    if (h == NULL)
        return;
    buf_str(&body, "[");
    for (size_t i = 0; i < b->count; i++) {
        const struct batch_item *it = &b->items[i];
        buf_str(&body, i > 0 ? "," : "");
        if (it->refusal != NULL)
            http_publish_write_error(&body, publish_error_name(it->refusal->code), it->refusal->text);
        else
            http_publish_write_receipt(&body, hub_epoch(b->reactor->hub), &it->publish.receipt);
    }
    buf_str(&body, "]");
    backend_reply_json(h, 200, &body);
}

static void batch_step(struct batch *b)
{
    if (--b->waiting > 0)
        return;
    batch_reply(b);
    batch_free(b);
}

static void on_published(struct engine_publish *p)
{
    struct batch_item *it = HLY_CONTAINER_OF(p, struct batch_item, publish);
    if (p->result < 0 && (it->refusal = malloc(sizeof *it->refusal)) != NULL)
        publish_explain(it->batch->reactor, p->result, it->refusal);
    batch_step(it->batch);
}

/* Add one publish, or its refusal. key.ptr NULL: none. False when out of memory. */
static bool batch_add(struct batch *b, struct slice topic, struct slice payload, struct slice key)
{
    struct publish_refusal why;
    if (b->count == b->cap) {
        size_t cap = b->cap == 0 ? 1 : b->cap * 2;
        struct batch_item *items = realloc(b->items, cap * sizeof *items);
        if (items == NULL)
            return false;
        b->items = items;
        b->cap = cap;
    }
    struct batch_item *it = &b->items[b->count++];
    *it = (struct batch_item){ 0 };
    struct message *m = NULL;
    if (key.ptr == NULL || publish_check_key(b->reactor, key, &why))
        m = publish_prepare(b->reactor, &b->by, topic, payload, &why);
    if (m == NULL) {
        if ((it->refusal = malloc(sizeof why)) == NULL)
            return false;
        *it->refusal = why;
        return true;
    }
    it->publish = (struct engine_publish){ .message = m, .reactor = b->reactor->index, .done = on_published };
    if (key.ptr != NULL) {
        if ((it->key = slice_dup(key)) == NULL)
            return false;
        it->publish.key = (struct slice){ it->key, key.len };
    }
    return true;
}

/* An item that is no publish at all. */
static bool batch_add_error(struct batch *b, const char *text)
{
    if (!batch_add(b, SLICE_LIT("x"), (struct slice){ "", 0 }, (struct slice){ 0 }))
        return false;
    struct batch_item *it = &b->items[b->count - 1];
    it->publish.message = message_unref(it->publish.message);
    if (it->refusal == NULL && (it->refusal = malloc(sizeof *it->refusal)) == NULL)
        return false;
    it->refusal->code = PUBLISH_BAD_REQUEST;
    snprintf(it->refusal->text, sizeof it->refusal->text, "%s", text);
    return true;
}

static void batch_run(struct http_client *h, struct batch *b)
{
    struct engine *engine = b->reactor->engine;
    http_ticket_make(h, &b->ticket);
    http_pause_publisher(h); /* looked at before: the answer may end the request, but not the client's next one */
    for (size_t i = 0; i < b->count; i++) /* the array does not grow any more: its items may be pointed to */
        b->items[i].batch = b;
    b->waiting = b->count + 1;
    for (size_t i = 0; i < b->count; i++) {
        if (b->items[i].refusal != NULL) {
            b->waiting--;
            continue;
        }
        engine->publish(engine, &b->items[i].publish);
    }
    batch_step(b);
}

static struct batch *batch_new(struct http_client *h)
{
    struct batch *b = calloc(1, sizeof *b);
    if (b == NULL)
        backend_reply_no_memory(h);
    else
        *b = (struct batch){ .reactor = http_reactor(h), .by = { .rights = &backend_rights_of(h)->may[RULE_PUBLISH] } };
    return b;
}

/* ---- POST /publish with a JSON array, or with one JSON object a line */

static bool add_data(struct batch *b, struct slice topic, const json_t *data, struct slice key)
{
    struct publish_payload payload;
    struct publish_refusal why;
    if (!publish_payload_from_json(b->reactor, topic, data, &payload, &why))
        return why.code != PUBLISH_UNAVAILABLE && batch_add_error(b, why.text);
    bool ok = batch_add(b, topic, payload.bytes, key);
    free(payload.memory);
    return ok;
}

static bool add_item(struct batch *b, const json_t *item)
{
    const json_t *topic = json_object_get(item, "topic"), *data = json_object_get(item, "data"), *key = json_object_get(item, "key");
    const json_t *except = json_object_get(item, "except");
    if (!json_is_string(topic) || data == NULL || (key != NULL && !json_is_string(key)) || (except != NULL && !json_is_string(except)))
        return batch_add_error(b, "each item is an object with topic (a string), data, and, if wanted, key and except (strings)");
    struct publish_refusal why;
    b->by.except = 0;
    if (except != NULL && !publish_parse_except(b->reactor, (struct slice){ json_string_value(except), json_string_length(except) }, &b->by.except, &why))
        return batch_add_error(b, why.text);
    struct slice name = { json_string_value(topic), json_string_length(topic) };
    if (topic_name_error(name.ptr, name.len) != NULL)
        return batch_add(b, name, (struct slice){ "", 0 }, (struct slice){ 0 }); /* says what is wrong with it */
    struct slice id = { 0 };
    if (key != NULL)
        id = (struct slice){ json_string_value(key), json_string_length(key) };
    return add_data(b, name, data, id);
}

#define JSON_LOAD_FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES)

static bool parse_array(struct batch *b, struct slice body, char *error, size_t error_size)
{
    json_error_t where;
    json_t *array = json_loadb(body.ptr, body.len, JSON_LOAD_FLAGS, &where);
    if (array == NULL) {
        snprintf(error, error_size, "the body is not valid JSON: %s at line %d, column %d", where.text, where.line, where.column);
        return false;
    }
    size_t i;
    json_t *item;
    bool ok = true;
    json_array_foreach (array, i, item)
        if (!(ok = ok && add_item(b, item)))
            snprintf(error, error_size, "out of memory, try again later");
    json_decref(array);
    return ok;
}

static bool parse_lines(struct batch *b, struct slice body, char *error, size_t error_size)
{
    size_t line_number = 0;
    while (body.len > 0) {
        const char *end = memchr(body.ptr, '\n', body.len);
        struct slice line = { body.ptr, end == NULL ? body.len : (size_t)(end - body.ptr) };
        line_number++;
        size_t used = line.len + (end != NULL);
        body.ptr += used;
        body.len -= used;
        if (slice_trim(line).len == 0 || slice_equals(line, "\r"))
            continue;
        json_error_t where;
        json_t *item = json_loadb(line.ptr, line.len, JSON_LOAD_FLAGS, &where);
        bool ok = item != NULL && add_item(b, item);
        if (item == NULL)
            snprintf(error, error_size, "line %zu is not valid JSON: %s", line_number, where.text);
        else if (!ok)
            snprintf(error, error_size, "out of memory, try again later");
        json_decref(item);
        if (!ok)
            return false;
    }
    return true;
}

static void publish_batch(struct http_client *h, const struct http1_request *rq)
{
    char error[256] = "";
    struct batch *b = batch_new(h);
    if (b == NULL)
        return;
    struct slice body = rq->body;
    while (body.len > 0 && memchr(" \t\r\n", *body.ptr, 4) != NULL) {
        body.ptr++;
        body.len--;
    }
    bool ok = body.len > 0 && *body.ptr == '[' ? parse_array(b, body, error, sizeof error) : parse_lines(b, body, error, sizeof error);
    if (ok && b->count == 0) {
        snprintf(error, sizeof error, "say what to publish: /publish?topic=NAME with the payload as the body, or a body of {topic, data} objects, "
                                      "as a JSON array or one a line");
        ok = false;
    }
    if (!ok) { /* nothing has been published: the whole body is read before the first is */
        batch_free(b);
        backend_reply_error(h, 400, "bad_request", error);
        return;
    }
    batch_run(h, b);
}

/* ---- the query */

struct query {
    char *scratch;
    struct slice topic, pattern, from, limit, except;
};

static void query_done(struct query *q)
{
    free(q->scratch);
}

static bool query_parse(struct http_client *h, const struct http1_request *rq, struct query *q)
{
    struct slice key, value;
    size_t pos = 0, used = 0;
    int r = -ENOMEM;
    q->scratch = malloc(rq->query.len + 2);
    while (q->scratch != NULL && (r = http1_query_next(rq->query, &pos, q->scratch + used, &key, &value)) == 1) {
        used = (size_t)(value.ptr + value.len - q->scratch); /* keep it: the next pair goes behind it */
        if (slice_equals(key, "topic"))
            q->topic = value;
        else if (slice_equals(key, "pattern"))
            q->pattern = value;
        else if (slice_equals(key, "from"))
            q->from = value;
        else if (slice_equals(key, "limit"))
            q->limit = value;
        else if (slice_equals(key, "except"))
            q->except = value;
    }
    if (r == 0)
        return true;
    if (r == -ENOMEM)
        backend_reply_no_memory(h);
    else
        backend_reply_error(h, 400, "bad_request", "the query has a broken %-escape");
    return false;
}

static void publish_one(struct http_client *h, const struct http1_request *rq, struct slice topic, struct slice except)
{
    struct publisher by = { .rights = &backend_rights_of(h)->may[RULE_PUBLISH] };
    struct publish_refusal why;
    if (except.ptr == NULL || publish_parse_except(http_reactor(h), except, &by.except, &why))
        http_publish(h, rq, topic, &by, NULL);
    else
        backend_reply_error(h, publish_error_status(why.code), publish_error_name(why.code), why.text);
}

static void do_publish(struct http_client *h, const struct http1_request *rq)
{
    HLY_CLEANUP(query_done) struct query q = { 0 };
    if (!query_parse(h, rq, &q))
        return;
    if (q.topic.ptr != NULL)
        publish_one(h, rq, q.topic, q.except);
    else
        publish_batch(h, rq);
}

/* ---- GET /topics */

struct topics_page {
    json_t *list;
    struct slice pattern;
    const struct backend_rights *rights;
    const char *epoch;
};

static void topics_visit(const struct hub_topic_info *info, void *ctx)
{
    struct topics_page *p = ctx;
    char cursor[CURSOR_MAX_BYTES + 1];
    if (p->pattern.ptr != NULL && !pattern_matches(p->pattern.ptr, p->pattern.len, info->name, info->name_len))
        return;
    if (!backend_rights_see(p->rights, info->name, info->name_len))
        return;
    cursor_format(cursor, p->epoch, info->seq);
    json_array_append_new(p->list, json_pack("{s:s#,s:I,s:I,s:s}", "topic", info->name, (int)info->name_len, "subscribers",
                                             (json_int_t)info->subscribers, "history", (json_int_t)info->history, "cursor", cursor));
}

bool backend_number(struct slice value, uint64_t min, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    if (value.ptr == NULL)
        return true;
    if (value.len == 0 || value.len > 20)
        return false;
    for (size_t i = 0; i < value.len; i++) {
        unsigned digit = (unsigned)(value.ptr[i] - '0');
        if (digit > 9 || v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (v < min || v > max)
        return false;
    *ret = v;
    return true;
}

static void do_topics(struct http_client *h, const struct http1_request *rq)
{
    HLY_CLEANUP(query_done) struct query q = { 0 };
    uint64_t cursor = 0, limit = TOPICS_PER_PAGE;
    if (!query_parse(h, rq, &q))
        return;
    if (!backend_number(q.from, 0, UINT64_MAX, &cursor) || !backend_number(q.limit, 1, UINT64_MAX, &limit)) {
        backend_reply_error(h, 400, "bad_request", "limit is a number above 0, and from is the next of the page before");
        return;
    }
    struct topics_page page = {
        .list = json_array(), .pattern = q.pattern, .rights = backend_rights_of(h), .epoch = hub_epoch(http_reactor(h)->hub)
    };
    const char *bad = q.pattern.ptr == NULL ? NULL : pattern_error(q.pattern.ptr, q.pattern.len);
    if (bad != NULL || page.list == NULL) {
        json_decref(page.list);
        backend_reply_error(h, bad != NULL ? 400 : 503, bad != NULL ? "bad_topic" : "unavailable", bad != NULL ? bad : "out of memory");
        return;
    }
    bool more = true;
    for (int n = 0; n < TOPICS_SLICES && more && json_array_size(page.list) < limit; n++)
        more = hub_scan_topics(http_reactor(h)->hub, &cursor, topics_visit, &page);
    char next[24];
    snprintf(next, sizeof next, "%" PRIu64, cursor);
    json_t *answer = json_pack("{s:o,s:s?}", "topics", page.list, "next", more ? next : NULL);
    char *dump = answer == NULL ? NULL : json_dumps(answer, JSON_COMPACT);
    if (dump == NULL) {
        backend_reply_no_memory(h);
    } else {
        HLY_CLEANUP(buf_done) struct buf body = { 0 };
        buf_str(&body, dump);
        backend_reply_json(h, 200, &body);
    }
    free(dump);
    json_decref(answer);
}

/* ---- figures, health */

static void do_stats(struct http_client *h, const struct http1_request *rq)
{
    (void)rq;
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    stats_write_json(&body, http_reactor(h));
    http_reply(h, 200, JSON_TYPE, body.data, body.len, NULL);
}

static void do_metrics(struct http_client *h, const struct http1_request *rq)
{
    (void)rq;
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    stats_write_metrics(&body, http_reactor(h));
    http_reply(h, 200, "text/plain; version=0.0.4", body.data, body.len, NULL);
}

static void do_healthz(struct http_client *h, const struct http1_request *rq)
{
    (void)rq;
    bool draining = atomic_load(&http_reactor(h)->server->draining);
    http_reply_text(h, draining ? 503 : 200, NULL, "%s", draining ? "draining" : "ok");
}

/* ---- who asks */

const struct backend_rights *backend_rights_of(const struct http_client *h)
{
    return ((const struct backend_access *)http_context(h))->rights;
}

struct credentials {
    struct slice user;
    struct slice key; /* NULL ptr: the request has none that can be read */
    char memory[BASIC_MAX_BYTES];
};

static bool is_scheme(struct slice value, struct slice scheme)
{
    return value.len > scheme.len && value.ptr[scheme.len] == ' ' && slice_equals_nocase((struct slice){ value.ptr, scheme.len }, scheme.ptr);
}

/* Basic (RFC 7617 2): base64 of "user:key". */
static void read_basic(struct slice text, struct credentials *ret)
{
    if (text.len == 0 || text.len % 4 != 0 || text.len > sizeof ret->memory)
        return;
    int n = EVP_DecodeBlock((unsigned char *)ret->memory, (const unsigned char *)text.ptr, (int)text.len);
    for (size_t i = text.len; n > 0 && text.len - i < 2 && text.ptr[i - 1] == '='; i--)
        n--;
    const char *colon = n <= 0 ? NULL : memchr(ret->memory, ':', (size_t)n);
    if (colon == NULL)
        return;
    ret->user = (struct slice){ ret->memory, (size_t)(colon - ret->memory) };
    ret->key = (struct slice){ colon + 1, (size_t)n - ret->user.len - 1 };
}

/* Authorization: Bearer KEY (RFC 6750 2.1), or Basic with the key as its password, as curl -u and addresses with a user have it. Returns whether the header is
 * there. */
static bool read_credentials(const struct http1_request *rq, struct credentials *ret)
{
    struct slice value = http1_header_get(rq, "Authorization");
    ret->user = ret->key = (struct slice){ 0 };
    if (is_scheme(value, SLICE_LIT("Bearer")))
        ret->key = slice_trim((struct slice){ value.ptr + 7, value.len - 7 });
    else if (is_scheme(value, SLICE_LIT("Basic")))
        read_basic(slice_trim((struct slice){ value.ptr + 6, value.len - 6 }), ret);
    return value.ptr != NULL;
}

bool backend_http_wants_body(struct http_client *h, const struct http1_request *head)
{
    struct backend_access *a = http_context(h);
    struct credentials c;
    if (a->peers->keys == NULL || !read_credentials(head, &c))
        return a->without != NULL;
    bool is_right = backend_access_would_check(a, c.user, c.key);
    OPENSSL_cleanse(c.memory, sizeof c.memory);
    return is_right;
}

/* Who sends this request? Each says it anew. Returns false after a wrong key. */
static bool identify(struct backend_access *a, const struct http1_request *rq)
{
    struct credentials c;
    a->rights = a->without;
    if (a->peers->keys == NULL || !read_credentials(rq, &c))
        return true;
    bool is_right = backend_access_check(a, c.user, c.key);
    OPENSSL_cleanse(c.memory, sizeof c.memory);
    return is_right;
}

static void refuse_key(struct http_client *h, bool is_wrong)
{
    stat_add(&http_reactor(h)->stats.backend_errors, 1);
    http_last_answer(h); /* the next guess takes a connection of its own */
    http_reply_text(h, 401, is_wrong ? "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n" : "WWW-Authenticate: Bearer\r\n",
                    is_wrong ? "The key is wrong: it is none of this backend's key_file." : "A key is needed: Authorization: Bearer KEY.");
}

/* An address, or a name that everyone's own machine has. */
static bool is_host_of_ours(struct slice host)
{
    struct address address;
    struct slice name = host;
    if (name.len > 0 && *name.ptr == '[') {
        const char *end = memchr(name.ptr, ']', name.len);
        name = (struct slice){ name.ptr + 1, end == NULL ? 0 : (size_t)(end - name.ptr) - 1 };
    } else {
        const char *colon = memchr(name.ptr, ':', name.len);
        name.len = colon == NULL ? name.len : (size_t)(colon - name.ptr);
    }
    return host.len == 0 || slice_equals_nocase(name, "localhost") || address_parse(name, &address);
}

/* A page that someone visits can make a browser on this machine, or within the network, send requests here. Its requests have an Origin; or a Host that its
 * owner made to mean this address, to pass for the same origin. */
static bool is_from_a_page(const struct backend_access *a, const struct http1_request *rq)
{
    if (!a->peers->is_tcp)
        return false;
    return http1_header_get(rq, "Origin").ptr != NULL || (a->peers->keys == NULL && !is_host_of_ours(rq->host));
}

bool backend_may_read(const struct http_client *h, struct slice topic)
{
    const struct rule_client *who = &backend_rights_of(h)->may[RULE_SUBSCRIBE];
    return (!who->is_limited || rules_claim_covers(who, topic.ptr, topic.len)) &&
           rules_allow(http_reactor(h)->rules, who, RULE_SUBSCRIBE, topic.ptr, topic.len);
}

/* ---- routes */

enum route_for { FOR_ALL, FOR_KEYS, FOR_WHOLE_KEYS }; /* without a key; with one; with one that has no patterns */

static const struct route {
    const char *path;
    enum http1_method method;
    enum route_for who;
    void (*run)(struct http_client *h, const struct http1_request *rq);
} routes[] = {
    { "/publish", HTTP1_POST, FOR_KEYS, do_publish },
    { "/topics", HTTP1_GET, FOR_KEYS, do_topics },
    { "/history", HTTP1_GET, FOR_KEYS, backend_history },
    { "/presence", HTTP1_GET, FOR_KEYS, backend_presence },
    { "/clients", HTTP1_GET, FOR_WHOLE_KEYS, backend_clients },
    { "/disconnect", HTTP1_POST, FOR_WHOLE_KEYS, backend_disconnect },
    { "/revoke", HTTP1_POST, FOR_WHOLE_KEYS, backend_revoke },
    { "/reload", HTTP1_POST, FOR_WHOLE_KEYS, backend_reload },
    { "/drain", HTTP1_POST, FOR_WHOLE_KEYS, backend_drain },
    { "/upgrade", HTTP1_POST, FOR_WHOLE_KEYS, backend_upgrade },
    { "/stats", HTTP1_GET, FOR_WHOLE_KEYS, do_stats },
    { "/metrics", HTTP1_GET, FOR_WHOLE_KEYS, do_metrics },
    { "/healthz", HTTP1_GET, FOR_ALL, do_healthz },
    { "/readyz", HTTP1_GET, FOR_ALL, do_healthz },
};

static bool is_for(struct slice path, enum route_for who)
{
    for (size_t i = 0; i < HLY_ARRAY_LEN(routes); i++)
        if (slice_equals(path, routes[i].path))
            return routes[i].who == who;
    return false;
}

/* May it come in, and there? If not, that has been answered. */
static bool is_welcome(struct http_client *h, const struct http1_request *rq)
{
    struct backend_access *a = http_context(h);
    bool is_right = identify(a, rq);
    if (is_from_a_page(a, rq)) {
        http_last_answer(h);
        http_reply_text(h, 403, NULL, "This door is for backends, and the request comes from a web page in a browser.");
    } else if (!is_right) {
        refuse_key(h, true);
    } else if (a->rights == NULL && !is_for(rq->path, FOR_ALL)) {
        refuse_key(h, false);
    } else if (a->rights != NULL && !backend_rights_are_all(a->rights) && is_for(rq->path, FOR_WHOLE_KEYS)) {
        backend_reply_error(h, 403, "forbidden", "this key has patterns, and what is asked for belongs to no topic: it is for keys without");
    } else {
        return true;
    }
    return false;
}

void backend_http_request(struct http_client *h, const struct http1_request *rq)
{
    if (!is_welcome(h, rq))
        return;
    if (backend_rights_of(h) == NULL) /* a check of its health, which leaves its place to others */
        http_last_answer(h);
    for (size_t i = 0; i < HLY_ARRAY_LEN(routes); i++) {
        const struct route *route = &routes[i];
        if (!slice_equals(rq->path, route->path))
            continue;
        if (rq->method == route->method || (rq->method == HTTP1_HEAD && route->method == HTTP1_GET))
            route->run(h, rq);
        else
            http_reply_text(h, 405, route->method == HTTP1_POST ? "Allow: POST\r\n" : "Allow: GET, HEAD\r\n", "%s takes %s.", route->path,
                            route->method == HTTP1_POST ? "POST" : "GET");
        return;
    }
    http_reply_text(h, 404, NULL,
                    "Nothing is here. The backend door has POST /publish?topic=NAME, GET /topics, /history?topic=NAME, "
                    "/presence?topic=NAME, /clients, /stats, /metrics, /healthz and /readyz, POST /disconnect, /revoke, /reload and /drain, and speaks the Redis protocol.");
}
