/* The way of a question: QUEUED until a connection is free, SENT, and when its verdict is there DUE, until the task gives it to the request. Verdicts
 * are given from a task of the loop, never from the callbacks of a connection, and so many in a turn: what comes of them writes to other connections, and
 * when the breaker opens all that wait get theirs at once.
 *
 * A question that is SENT outlives its client: its answer tells the breaker how the application is, and may be kept for the next one. */
#include "transport/auth_callback.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "auth/answer_cache.h"
#include "auth/auth_answer.h"
#include "auth/breaker.h"
#include "auth/callback_url.h"
#include "auth/revocation.h"
#include "base/log.h"
#include "net/conn.h"
#include "transport/auth_request.h"
#include "transport/peer.h"
#include "transport/upstream.h"

#define PER_TURN 128           /* verdicts given, questions sent */
#define BACKLOG_WAIT_S 0.02    /* until a Unix socket whose backlog is full is tried again */
#define MAX_AGE_MAX_S 86400
#define WHY_BUSY "The application that decides who may connect has too much to do: try again later."
#define WHY_DOWN "The application that decides who may connect does not answer: try again later."
#define WHY_STOP "The server stops: try again later."

static const struct http1_response_limits answer_limits = { .head = 16384, .header_count = 100, .body = 65536 };

struct auth_callback {
    struct reactor *reactor;
    struct callback_url url; /* the one that connections are made to: a copy, for a reload may change it */
    unsigned generation;     /* of it: connections of an older one are not used again */
    struct breaker breaker;
    struct answer_cache *cache;
    struct list queued; /* struct question, the first to come first */
    struct list due;    /* struct question */
    struct list idle;   /* struct upstream, the last used last */
    size_t queued_count;
    size_t connections;
    uint64_t answered_ms; /* when the application answered last, whatever */
    struct loop_task task;
    bool is_posted;
    ev_timer again;
};

#define QUESTION_STATES(X) X(QUEUED) X(SENT) X(DUE)
#define AS_ENUM(name) QUESTION_##name,
#define AS_NAME(name) [QUESTION_##name] = #name,
enum question_state { QUESTION_STATES(AS_ENUM) };
static const char *const question_state_names[] = { QUESTION_STATES(AS_NAME) };
static const unsigned question_next[] = { /* bit n set: state n may follow */
    [QUESTION_QUEUED] = 1u << QUESTION_SENT | 1u << QUESTION_DUE,
    [QUESTION_SENT] = 1u << QUESTION_QUEUED | 1u << QUESTION_DUE, /* QUEUED: once more, on another connection */
    [QUESTION_DUE] = 0,
};

struct question {
    struct http_ticket ticket; /* its client is NULL when that has gone, or has been answered */
    struct list node;          /* in queued or due */
    struct auth_callback *owner;
    struct auth_question asked;
    struct auth_verdict verdict; /* the token is a reference, once it is DUE */
    uint64_t queued_ms;
    uint64_t sent_wall_ms;
    enum question_state state;
    bool is_probe;
    bool is_second_try;
    bool has_eof;
    bool has_key;
    uint8_t key[ANSWER_KEY_BYTES];
};

static void run(struct loop_task *t);

static const struct callback_settings *settings_of(const struct auth_callback *a)
{
    return &a->reactor->settings->callback;
}

static struct stats *stats_of(const struct auth_callback *a)
{
    return &a->reactor->stats;
}

static void post(struct auth_callback *a)
{
    if (!a->is_posted)
        a->is_posted = loop_post(&a->reactor->loop, &a->task);
}

/* ---- questions */

static void question_enter(struct question *q, enum question_state next)
{
    struct auth_callback *a = q->owner;
    assert(question_next[q->state] & 1u << next);
    log_debug("auth_callback", "question=%p %s -> %s", (void *)q, question_state_names[q->state], question_state_names[next]);
    list_remove(&q->node);
    a->queued_count += next == QUESTION_QUEUED;
    a->queued_count -= q->state == QUESTION_QUEUED;
    q->state = next;
}

static void question_free(struct question *q)
{
    struct auth_callback *a = q->owner;
    a->queued_count -= q->state == QUESTION_QUEUED;
    stat_sub(&stats_of(a)->auth_callback_waiting, 1);
    list_remove(&q->node);
    if (q->state == QUESTION_QUEUED)
        breaker_abandoned(&a->breaker, q->is_probe, a->reactor->loop.now_ms);
    token_unref(q->verdict.token);
    free(q);
}

/* Its verdict is there. token: a reference, or NULL. */
static void question_due(struct question *q, unsigned status, struct token *token, const char *why)
{
    struct auth_callback *a = q->owner;
    uint64_t retry_ms = breaker_retry_ms(&a->breaker, a->reactor->loop.now_ms);
    q->verdict = (struct auth_verdict){ .status = status, .token = token, .why = why, .retry_s = (uint32_t)(retry_ms / 1000 + 1) };
    question_enter(q, QUESTION_DUE);
    list_push(&a->due, &q->node);
    post(a);
}

/* ---- what the application says */

static void log_opened(struct auth_callback *a, const char *why)
{
    static struct log_gate gate;
    const struct callback_settings *set = settings_of(a);
    stat_add(&stats_of(a)->auth_callback_opened, 1);
    atomic_store_explicit(&stats_of(a)->auth_callback_open, 1, memory_order_relaxed);
    log_limited(&gate, LOG_LEVEL_WARN, "auth_callback_open",
                "reactor=%u the application failed %u times in a row (auth.callback): clients without a token are refused with 503, and it is tried again every %llu "
                "ms. Last: %s",
                a->reactor->index, set->breaker.failures, (unsigned long long)set->breaker.pause_ms, why);
}

static void log_closed(struct auth_callback *a)
{
    static struct log_gate gate;
    atomic_store_explicit(&stats_of(a)->auth_callback_open, 0, memory_order_relaxed);
    log_limited(&gate, LOG_LEVEL_WARN, "auth_callback_closed", "reactor=%u the application answers again (auth.callback)", a->reactor->index);
}

static void succeeded(struct question *q)
{
    if (breaker_succeeded(&q->owner->breaker, q->is_probe))
        log_closed(q->owner);
}

/* No usable answer. is_its_fault: it may be down, for the breaker. */
static void failed(struct question *q, bool is_its_fault, const char *why)
{
    static struct log_gate gate;
    struct auth_callback *a = q->owner;
    stat_add(&stats_of(a)->auth_callback_failed, 1);
    log_limited(&gate, LOG_LEVEL_WARN, "auth_callback_failed", "a client was refused with 503, as the application's answer is of no use (auth.callback): %s", why);
    if (!is_its_fault)
        succeeded(q);
    else if (breaker_failed(&a->breaker, &settings_of(a)->breaker, q->is_probe, a->reactor->loop.now_ms))
        log_opened(a, why);
    question_due(q, 503, NULL, WHY_DOWN);
}

static void keep(const struct question *q, const struct http1_response *answer, unsigned status, struct token *token)
{
    struct auth_callback *a = q->owner;
    uint64_t age_s = http1_response_max_age_s(answer);
    if (!q->has_key || age_s == 0)
        return;
    struct cached_answer kept = { .status = status, .token = token };
    answer_cache_put(a->cache, q->key, &kept, answer->body.len, a->reactor->loop.now_ms + (age_s < MAX_AGE_MAX_S ? age_s : MAX_AGE_MAX_S) * 1000,
                     settings_of(a)->cache_bytes);
}

static void let_in(struct question *q, const struct http1_response *answer)
{
    struct token *token = NULL;
    char why[256];
    struct auth_answer_times times = { .asked_ms = q->sent_wall_ms,
                                       .now_ms = q->owner->reactor->loop.wall_ms,
                                       .leeway_ms = settings_of(q->owner)->leeway_ms };
    enum jwt_error e = auth_answer_read(answer->status == 204 ? SLICE_LIT("") : answer->body, &times, &token);
    if (e != JWT_OK && e != JWT_EXPIRED && e != JWT_NOT_YET) {
        snprintf(why, sizeof why, "its body is neither empty nor claims: %s. %s", jwt_error_name(e), jwt_error_operator(e));
        failed(q, true, why);
        return;
    }
    succeeded(q);
    if (e == JWT_OK)
        keep(q, answer, 200, token);
    question_due(q, e == JWT_OK ? 200 : 401, token, "This is refused: the time that the application lets you in for is not now.");
}

static const char *refusal(unsigned status)
{
    return status == 401 ? "The application does not know you: log in first." : "The application does not let you in.";
}

static void judge(struct question *q, const struct http1_response *answer)
{
    char why[64];
    if (answer->status == 200 || answer->status == 204) {
        let_in(q, answer);
    } else if (answer->status == 401 || answer->status == 403) {
        stat_add(&stats_of(q->owner)->auth_callback_refused, 1);
        succeeded(q);
        keep(q, answer, answer->status, NULL);
        question_due(q, answer->status, NULL, refusal(answer->status));
    } else { /* a client may cause 4xx by what it sends, 431 for one: it must not cause others to be refused */
        snprintf(why, sizeof why, "its status is %u, not 200, 204, 401 or 403", answer->status);
        failed(q, answer->status < 400 || answer->status >= 500, why);
    }
}

/* ---- connections */

static void ask_again(struct question *q);

static void on_result(struct upstream *u, enum upstream_result result, const struct http1_response *answer, const char *why)
{
    struct auth_callback *a = u->owner;
    struct question *q = u->request;
    u->request = NULL;
    if (u->generation != a->generation)
        upstream_close(u);
    if (upstream_is_open(u)) {
        list_push(&a->idle, &u->node);
        upstream_rest(u);
    }
    post(a); /* there may be a place for the next */
    if (result != UPSTREAM_ANSWERED && a->reactor->loop.is_leaving) {
        question_due(q, 503, NULL, WHY_STOP);
    } else if (result == UPSTREAM_ANSWERED) {
        a->answered_ms = a->reactor->loop.now_ms;
        judge(q, answer);
    } else if (result == UPSTREAM_LOST && u->was_used && !q->is_second_try) {
        ask_again(q); /* it has closed a connection that was idle, while we sent (RFC 9112 9.3.1) */
    } else {
        stat_add(&stats_of(a)->auth_callback_timeouts, result == UPSTREAM_TIMED_OUT);
        failed(q, true, why);
    }
}

static void on_gone(struct upstream *u)
{
    struct auth_callback *a = u->owner;
    list_remove(&u->node);
    a->connections--;
    stat_sub(&stats_of(a)->auth_callback_connections, 1);
    post(a);
}

static const struct upstream_ops upstream_ops = { .on_result = on_result, .on_gone = on_gone };

static int open_connection(struct auth_callback *a, struct upstream **ret)
{
    int r = upstream_open(&a->reactor->loop, (const struct sockaddr *)&a->url.address, a->url.address_len, &answer_limits, &upstream_ops, a, ret);
    if (r == 0) {
        (*ret)->generation = a->generation;
        a->connections++;
        stat_add(&stats_of(a)->auth_callback_connections, 1);
    }
    return r;
}

/* One that is free. Returns 0, -EAGAIN when there is none now, or -errno. */
static int find_connection(struct auth_callback *a, struct upstream **ret)
{
    while (!list_is_empty(&a->idle)) {
        struct upstream *u = LIST_ENTRY(a->idle.prev, struct upstream, node);
        list_remove(&u->node);
        *ret = u;
        if (upstream_is_open(u))
            return 0;
    }
    if (a->connections >= settings_of(a)->connections)
        return -EAGAIN;
    int r = open_connection(a, ret);
    if (r == -EAGAIN && !ev_is_active(&a->again)) /* its backlog is full */
        ev_timer_start(a->reactor->loop.ev, &a->again);
    return r;
}

/* ---- sending */

static void describe(struct auth_callback *a, struct http_client *h, const struct http1_request *rq, bool is_strange, char address[ADDRESS_TEXT],
                     struct auth_request *ret)
{
    struct address from = peer_address(http_conn(h));
    *ret = (struct auth_request){ .client = rq,
                                  .target = a->url.target,
                                  .address = address_text(&from, address),
                                  .scheme = peer_scheme(a->reactor, http_conn(h), rq),
                                  .is_strange = is_strange };
}

static void send_question(struct question *q, struct upstream *u)
{
    struct auth_callback *a = q->owner;
    struct http_client *h = q->ticket.client;
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    struct auth_request request;
    char address[ADDRESS_TEXT];
    describe(a, h, http_request_put_off(h), q->asked.is_strange, address, &request);
    auth_request_write(&text, &request);
    q->sent_wall_ms = a->reactor->loop.wall_ms;
    conn_set_timer(http_conn(h), 0); /* from here on it is the connection's */
    question_enter(q, QUESTION_SENT);
    if (text.failed) {
        list_push(&a->idle, &u->node);
        breaker_abandoned(&a->breaker, q->is_probe, a->reactor->loop.now_ms);
        question_due(q, 503, NULL, "Out of memory, try again later.");
        return;
    }
    stat_add(&stats_of(a)->auth_callback_requests, 1);
    u->request = q;
    upstream_send(u, text.data, text.len, settings_of(a)->timeout_ms);
}

/* Send what waits, as far as there are connections. */
static void pump(struct auth_callback *a)
{
    for (int n = 0; n < PER_TURN && !list_is_empty(&a->queued); n++) {
        struct question *q = LIST_ENTRY(a->queued.next, struct question, node);
        struct upstream *u;
        if (a->breaker.state == BREAKER_OPEN)
            break; /* give_up_queued() */
        int r = find_connection(a, &u);
        if (r == -EAGAIN)
            return;
        if (r < 0)
            failed(q, true, strerror(-r));
        else
            send_question(q, u);
    }
    if (!list_is_empty(&a->queued))
        post(a);
}

static void queue(struct question *q, struct list *place)
{
    list_push(place, &q->node);
    conn_set_timer(http_conn(q->ticket.client), settings_of(q->owner)->timeout_ms);
}

static void ask_again(struct question *q)
{
    struct auth_callback *a = q->owner;
    q->is_second_try = true;
    if (q->ticket.client == NULL) {
        breaker_abandoned(&a->breaker, q->is_probe, a->reactor->loop.now_ms);
        question_free(q);
        return;
    }
    question_enter(q, QUESTION_QUEUED);
    queue(q, a->queued.next); /* before all others */
}

static void on_again(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev;
    (void)events;
    pump(w->data);
}

/* ---- giving verdicts */

static void answer(struct http_client *h, const struct http1_request *rq, void *ctx)
{
    struct question *q = ctx;
    struct auth_verdict v = q->verdict;
    const struct auth_question asked = q->asked;
    q->verdict.token = NULL;
    if (q->owner->reactor->loop.is_leaving && v.status == 200) { /* the others have been told to go */
        v.status = 503;
        v.why = WHY_STOP;
    }
    question_free(q);
    asked.on_verdict(h, rq, &v, asked.then);
    token_unref(v.token);
}

static void give(struct question *q)
{
    struct http_client *h = http_ticket_take(&q->ticket);
    if (h == NULL)
        question_free(q);
    else
        http_take_up(h, answer, q);
}

/* Nobody need wait for what will not come. The probe is not among them: with it the breaker is half open. */
static void give_up_queued(struct auth_callback *a)
{
    for (int n = 0; n < PER_TURN && a->breaker.state == BREAKER_OPEN && !list_is_empty(&a->queued); n++) {
        stat_add(&stats_of(a)->auth_callback_broken, 1);
        question_due(LIST_ENTRY(a->queued.next, struct question, node), 503, NULL, WHY_DOWN);
    }
}

static void run(struct loop_task *t)
{
    struct auth_callback *a = HLY_CONTAINER_OF(t, struct auth_callback, task);
    a->is_posted = false;
    give_up_queued(a);
    for (int n = 0; n < PER_TURN && !list_is_empty(&a->due); n++)
        give(LIST_ENTRY(a->due.next, struct question, node));
    pump(a);
    if (!list_is_empty(&a->due))
        post(a);
}

/* ---- the client, meanwhile */

static void answer_now(struct http_client *h, const struct http1_request *rq, void *ctx)
{
    struct question *q = ctx;
    const struct auth_question asked = q->asked;
    struct auth_verdict v = { .status = 503, .why = q->owner->reactor->loop.is_leaving ? WHY_STOP : WHY_BUSY, .retry_s = 1 };
    if (q->state == QUESTION_QUEUED)
        question_free(q);
    asked.on_verdict(h, rq, &v, asked.then);
}

/* Nothing was answered since it began to wait: that is no throng, but an application that hangs. */
static void waited_too_long(struct question *q)
{
    static struct log_gate gate;
    struct auth_callback *a = q->owner;
    stat_add(&stats_of(a)->auth_callback_full, 1);
    log_limited(&gate, LOG_LEVEL_WARN, "auth_callback_full",
                "a client was refused with 503: it waited for auth.callback_timeout to be asked about; the application is too slow, or raise "
                "auth.callback_connections");
    if (a->answered_ms < q->queued_ms &&
        breaker_failed(&a->breaker, &settings_of(a)->breaker, q->is_probe, a->reactor->loop.now_ms)) {
        log_opened(a, "it takes no connections");
        post(a);
    }
}

/* The time in the queue is up, the client has finished sending, or the server stops. */
static void on_hurry(struct http_ticket *t)
{
    struct question *q = HLY_CONTAINER_OF(t, struct question, ticket);
    struct http_client *h = t->client;
    bool is_new_eof = http_has_eof(h) && !q->has_eof;
    q->has_eof = http_has_eof(h);
    if (is_new_eof && !q->owner->reactor->loop.is_leaving) {
        if (q->asked.is_for_stream)
            conn_close(http_conn(h)); /* it could not be told from one that has gone, and would be closed at its first byte */
        return;
    }
    if (q->state == QUESTION_DUE)
        return; /* its turn comes */
    if (q->state == QUESTION_QUEUED && !q->owner->reactor->loop.is_leaving)
        waited_too_long(q);
    http_take_up(http_ticket_take(t), answer_now, q);
}

static void on_client_gone(struct http_ticket *t)
{
    struct question *q = HLY_CONTAINER_OF(t, struct question, ticket);
    if (q->state == QUESTION_QUEUED)
        question_free(q);
}

static const struct http_ticket_ops ticket_ops = { .on_hurry = on_hurry, .on_gone = on_client_gone };

/* ---- asking */

static struct auth_callback *auth_callback_new(struct reactor *r)
{
    struct auth_callback *a = calloc(1, sizeof *a);
    if (a == NULL || (a->cache = answer_cache_new()) == NULL) {
        free(a);
        return NULL;
    }
    a->reactor = r;
    a->task.run = run;
    list_init(&a->queued);
    list_init(&a->due);
    list_init(&a->idle);
    ev_timer_init(&a->again, on_again, BACKLOG_WAIT_S, 0);
    a->again.data = a;
    return a;
}

static bool refuse(struct auth_callback *a, _Atomic uint64_t *counter, const char *why, struct auth_verdict *ret)
{
    uint64_t retry_ms = a == NULL ? 0 : breaker_retry_ms(&a->breaker, a->reactor->loop.now_ms);
    if (counter != NULL)
        stat_add(counter, 1);
    *ret = (struct auth_verdict){ .status = 503, .why = why, .retry_s = (uint32_t)(retry_ms / 1000 + 1) };
    return true;
}

static bool refuse_full(struct auth_callback *a, struct auth_verdict *ret)
{
    static struct log_gate gate;
    log_limited(&gate, LOG_LEVEL_WARN, "auth_callback_full",
                "a client was refused with 503: as many as auth.callback_queue (%zu) wait for the application's answer", settings_of(a)->queue);
    return refuse(a, &stats_of(a)->auth_callback_full, WHY_BUSY, ret);
}

static bool find_kept(struct auth_callback *a, const uint8_t *key, struct auth_verdict *ret)
{
    struct cached_answer kept;
    if (!answer_cache_get(a->cache, key, a->reactor->loop.now_ms, &kept) ||
        (kept.token != NULL && token_expires_in_ms(kept.token, a->reactor->loop.wall_ms) == 0))
        return false;
    stat_add(&stats_of(a)->auth_callback_cached, 1);
    *ret = (struct auth_verdict){ .status = kept.status, .token = kept.token, .why = kept.status == 200 ? "" : refusal(kept.status) };
    return true;
}

/* It is to be asked about: QUEUED, and sent if there is a connection. */
static void put_off(struct auth_callback *a, struct question *q, struct http_client *h)
{
    q->owner = a;
    q->queued_ms = a->reactor->loop.now_ms;
    a->queued_count++;
    stat_add(&stats_of(a)->auth_callback_waiting, 1);
    list_init(&q->node);
    http_ticket_make(h, &q->ticket);
    q->ticket.ops = &ticket_ops;
    http_put_off(h);
    queue(q, &a->queued);
    pump(a);
}

/* A reload has named another application: nothing that the one before said counts. */
static void follow_url(struct auth_callback *a)
{
    const struct callback_url *url = settings_of(a)->url;
    if (memcmp(url, &a->url, sizeof *url) == 0)
        return;
    a->url = *url;
    a->generation++;
    while (!list_is_empty(&a->idle)) {
        struct upstream *u = LIST_ENTRY(list_pop(&a->idle), struct upstream, node);
        upstream_close(u);
    }
    answer_cache_clear(a->cache);
    a->breaker = (struct breaker){ 0 };
    atomic_store_explicit(&stats_of(a)->auth_callback_open, 0, memory_order_relaxed);
}

bool auth_callback_ask(struct http_client *h, const struct http1_request *rq, const struct auth_question *question,
                       struct auth_verdict *ret)
{
    struct reactor *r = http_reactor(h);
    struct auth_callback *a = r->auth_callback;
    struct question found = { .asked = *question }, *q;
    if (a == NULL && (a = r->auth_callback = auth_callback_new(r)) == NULL)
        return refuse(NULL, NULL, "Out of memory, try again later.", ret);
    follow_url(a);
    if (settings_of(a)->cache_bytes > 0) {
        struct auth_request request;
        char address[ADDRESS_TEXT];
        describe(a, h, rq, question->is_strange, address, &request);
        found.has_key = auth_request_key(&request, found.key) == 0;
    }
    if (found.has_key && find_kept(a, found.key, ret))
        return true;
    if (r->loop.is_leaving)
        return refuse(a, NULL, WHY_STOP, ret);
    if (a->queued_count >= settings_of(a)->queue)
        return refuse_full(a, ret);
    if ((q = malloc(sizeof *q)) == NULL)
        return refuse(a, NULL, "Out of memory, try again later.", ret);
    enum breaker_pass pass = breaker_ask(&a->breaker, r->loop.now_ms);
    if (pass == BREAKER_REFUSES) {
        free(q);
        return refuse(a, &r->stats.auth_callback_broken, WHY_DOWN, ret);
    }
    *q = found;
    q->is_probe = pass == BREAKER_PROBES;
    put_off(a, q, h);
    return false;
}

void auth_callback_free(struct auth_callback *a)
{
    if (a == NULL)
        return;
    while (!list_is_empty(&a->due)) /* their clients have gone */
        question_free(LIST_ENTRY(a->due.next, struct question, node));
    ev_timer_stop(a->reactor->loop.ev, &a->again);
    answer_cache_free(a->cache);
    free(a);
}
