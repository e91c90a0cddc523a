#include "server/relay.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/slice.h"
#include "server/link.h"
#include "transport/reactor.h"

#define RELAY_STATES(X) X(HOLDING) X(FORWARDING) X(LOST)
#define AS_ENUM(name) RELAY_##name,
enum relay_state { RELAY_STATES(AS_ENUM) };

struct waiting { /* a publish that has no answer yet */
    struct loop_task task; /* to where it is answered, or given back */
    struct map_node node;
    struct list order; /* while it is held back: as they came */
    struct relay *relay;
    struct engine_publish *publish;
    char *key; /* a copy: the publisher's is gone when it is given back */
    uint64_t number;
};

struct relay {
    struct engine engine;
    struct engine *before;
    struct reactor **reactors;
    unsigned count;
    pthread_mutex_t lock;
    enum relay_state state; /* under the lock, and all that follows */
    struct map waiting;     /* struct waiting, by number */
    struct list held;
    uint64_t last_number;
    struct buf out;
    void (*wake)(void *ctx);
    void *wake_ctx;
};

static bool has_number(const struct map_node *node, const void *key, size_t key_len)
{
    (void)key_len;
    return HLY_CONTAINER_OF(node, const struct waiting, node)->number == *(const uint64_t *)key;
}

/* ---- answers, each on the thread that asked */

static void answer(struct engine_publish *p, int result, const struct hub_receipt *receipt)
{
    p->message = message_unref(p->message);
    p->result = result;
    p->receipt = *receipt;
    p->done(p);
}

static void waiting_free(struct waiting *w)
{
    free(w->key);
    free(w);
}

static void on_answered(struct loop_task *t)
{
    struct waiting *w = HLY_CONTAINER_OF(t, struct waiting, task);
    struct engine_publish *p = w->publish;
    waiting_free(w);
    p->done(p);
}

static void send_home(struct waiting *w)
{
    struct loop *home = &w->relay->reactors[w->publish->reactor]->loop;
    w->task.run = on_answered;
    if (!loop_post(home, &w->task))
        on_answered(&w->task); /* its reactor has ended, and nobody is left there */
}

/* ---- publishing */

/* The lock is held. */
static int send_publish(struct relay *r, const struct waiting *w)
{
    struct hub_record record = { .type = LINK_PUBLISH, .seq = w->number, .key = w->publish->key };
    link_from_message(&record, w->publish->message);
    return hub_record_encode(&r->out, LINK_SALT, &record);
}

static struct waiting *wait_for_answer(struct relay *r, struct engine_publish *p)
{
    struct waiting *w = malloc(sizeof *w);
    if (w == NULL)
        return NULL;
    *w = (struct waiting){ .relay = r, .publish = p, .number = r->last_number + 1 };
    list_init(&w->task.node);
    list_init(&w->order);
    if (p->key.len > 0 && (w->key = slice_dup(p->key)) == NULL) {
        free(w);
        return NULL;
    }
    if (p->key.len > 0)
        p->key.ptr = w->key;
    if (map_insert(&r->waiting, &w->node, w->number) < 0) {
        waiting_free(w);
        return NULL;
    }
    r->last_number++;
    return w;
}

static void waiting_drop(struct relay *r, struct waiting *w)
{
    map_remove(&r->waiting, &w->node);
    list_remove(&w->order);
}

/* The lock is held, and it is on its way: 0. Else why not. */
static int accept_publish(struct relay *r, struct engine_publish *p)
{
    if (r->state == RELAY_LOST)
        return -ECONNRESET;
    struct waiting *w = wait_for_answer(r, p);
    if (w == NULL)
        return -ENOMEM;
    if (r->state == RELAY_HOLDING) {
        list_push(&r->held, &w->order);
        return 0;
    }
    if (send_publish(r, w) < 0) {
        r->out.failed = false;
        waiting_drop(r, w);
        waiting_free(w);
        return -ENOMEM;
    }
    return 0;
}

static void relay_publish(struct engine *e, struct engine_publish *p)
{
    struct relay *r = HLY_CONTAINER_OF(e, struct relay, engine);
    pthread_mutex_lock(&r->lock);
    int error = accept_publish(r, p);
    bool has_out = r->out.len > 0;
    pthread_mutex_unlock(&r->lock);
    if (error < 0)
        answer(p, error, &(struct hub_receipt){ 0 });
    else if (has_out)
        r->wake(r->wake_ctx);
}

static void relay_subscribe(struct engine *e, struct engine_subscribe *s)
{
    struct relay *r = HLY_CONTAINER_OF(e, struct relay, engine);
    r->before->subscribe(r->before, s); /* the hub is here, and follows */
}

static void relay_engine_free(struct engine *e)
{
    (void)e; /* relay_free() does it */
}

/* ---- what becomes of it */

void relay_give_back(struct relay *r, unsigned reactor)
{
    struct list mine;
    list_init(&mine);
    pthread_mutex_lock(&r->lock);
    LIST_EACH_SAFE (it, next, &r->held) {
        struct waiting *w = LIST_ENTRY(it, struct waiting, order);
        if (w->publish->reactor != reactor)
            continue;
        waiting_drop(r, w);
        list_push(&mine, &w->order);
    }
    pthread_mutex_unlock(&r->lock);
    for (struct list *node; (node = list_pop(&mine)) != NULL;) {
        struct waiting *w = LIST_ENTRY(node, struct waiting, order);
        r->before->publish(r->before, w->publish);
        waiting_free(w);
    }
}

static void fail(struct waiting *w, int error)
{
    struct engine_publish *p = w->publish;
    p->message = message_unref(p->message);
    p->result = error;
    p->receipt = (struct hub_receipt){ 0 };
    send_home(w);
}

void relay_go(struct relay *r, void (*wake)(void *ctx), void *ctx)
{
    struct list failed;
    list_init(&failed);
    pthread_mutex_lock(&r->lock);
    r->wake = wake;
    r->wake_ctx = ctx;
    r->state = RELAY_FORWARDING;
    for (struct list *node; (node = list_pop(&r->held)) != NULL;) {
        struct waiting *w = LIST_ENTRY(node, struct waiting, order);
        if (send_publish(r, w) == 0)
            continue;
        r->out.failed = false;
        map_remove(&r->waiting, &w->node);
        list_push(&failed, &w->order);
    }
    pthread_mutex_unlock(&r->lock);
    for (struct list *node; (node = list_pop(&failed)) != NULL;)
        fail(LIST_ENTRY(node, struct waiting, order), -ENOMEM);
    wake(ctx);
}

void relay_take_out(struct relay *r, struct buf *out)
{
    pthread_mutex_lock(&r->lock);
    *out = r->out;
    r->out = (struct buf){ 0 };
    pthread_mutex_unlock(&r->lock);
}

bool relay_receipt(struct relay *r, const struct hub_record *record)
{
    pthread_mutex_lock(&r->lock);
    struct map_node *n = map_find(&r->waiting, record->seq, &record->seq, 0);
    struct waiting *w = n == NULL ? NULL : HLY_CONTAINER_OF(n, struct waiting, node);
    if (w != NULL)
        waiting_drop(r, w);
    pthread_mutex_unlock(&r->lock);
    if (w == NULL)
        return false;
    if (record->kind == LINK_REFUSED) {
        fail(w, -(int)record->number);
        return true;
    }
    struct engine_publish *p = w->publish;
    p->message = message_unref(p->message);
    p->result = 0;
    p->receipt = (struct hub_receipt){ .seq = record->time_ms, .subscribers = record->number, .repeated = record->kind == LINK_REPEATED };
    send_home(w);
    return true;
}

static void collect(struct map_node *node, void *ctx)
{
    list_push(ctx, &HLY_CONTAINER_OF(node, struct waiting, node)->order);
}

void relay_lost(struct relay *r)
{
    struct list all;
    list_init(&all);
    pthread_mutex_lock(&r->lock);
    r->state = RELAY_LOST;
    list_init(&r->held);
    map_drain(&r->waiting, collect, &all);
    pthread_mutex_unlock(&r->lock);
    for (struct list *node; (node = list_pop(&all)) != NULL;)
        fail(LIST_ENTRY(node, struct waiting, order), -ECONNRESET);
}

size_t relay_waiting(struct relay *r)
{
    pthread_mutex_lock(&r->lock);
    size_t n = map_count(&r->waiting);
    pthread_mutex_unlock(&r->lock);
    return n;
}

/* ---- begin and end */

struct engine *relay_engine(struct relay *r)
{
    return &r->engine;
}

struct relay *relay_new(struct engine *before, struct reactor **reactors, unsigned count)
{
    struct relay *r = malloc(sizeof *r);
    if (r == NULL)
        return NULL;
    *r = (struct relay){
        .engine = { .name = before->name, .publish = relay_publish, .subscribe = relay_subscribe, .free = relay_engine_free },
        .before = before,
        .reactors = reactors,
        .count = count,
    };
    pthread_mutex_init(&r->lock, NULL);
    map_init(&r->waiting, has_number);
    list_init(&r->held);
    return r;
}

void relay_free(struct relay *r)
{
    if (r == NULL)
        return;
    map_done(&r->waiting);
    buf_done(&r->out);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
