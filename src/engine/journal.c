#include "engine/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "core/hub_order.h"
#include "core/hub_state.h"
#include "engine/engine.h"
#include "engine/journal_keeper.h"
#include "engine/journal_load.h"
#include "engine/journal_roll.h"
#include "net/loop.h"

#define BATCH_BYTES (4u << 20) /* of payload; then a batch ends */
#define CHECKPOINT_BYTES (64u << 20)
#define RETRY_MS 1000
#define LOCK_AGAIN_MS 10000
#define FILES_MAX 16 /* logs since the last state: each start makes one */

struct pending { /* one publish on its way */
    struct list node;
    struct engine_publish *publish;
    struct hub_order order;
    char key[];
};

/* Publishes of one reactor that have their answer: one task of its loop takes all that there are. */
struct answers {
    struct loop_task task;
    pthread_mutex_t lock;
    struct list ready; /* struct pending */
    bool is_posted;
    struct loop *loop;
};

struct journal {
    struct engine engine;
    struct hub *hub;
    struct journal_config config;
    struct journal_dir dir;
    struct journal_roll roll;
    struct answers *answers;
    unsigned reactor_count;
    bool has_writer;
    bool has_keeper;
    pthread_t writer;

    pthread_mutex_t lock;
    pthread_cond_t work;    /* for the writer */
    pthread_cond_t settled; /* for those who wait for it */
    struct list queue;      /* struct pending */
    uint64_t queued_bytes;  /* with the batch that is being written */
    uint64_t taken;         /* publishes that came, ... */
    uint64_t answered;      /* ... and that were answered */
    bool holds_publishers;
    bool is_stopping;
    unsigned due;           /* enum roll_event: ends that somebody listens for now */
    bool has_ended; /* nobody writes any more */
    struct journal_stats stats;

    /* the writer's own: */
    struct journal_file log;
    struct journal_keeper keeper;
    struct buf out;
    struct rules *rules;    /* whose records are in the log */
    uint64_t reserved;      /* seqs up to here are reserved on the disk */
    uint64_t reserving;     /* and up to here when the batch is on it */
    uint64_t next_number;
    uint64_t log_bytes;     /* of all logs since the state; the keeper sets it back */
    uint64_t log_files;
    bool wants_checkpoint;
    uint64_t crashed_ms;    /* the log to come is the first after a crash at that time; 0: it is not */
    uint64_t retry_ms;      /* a log could not be begun: not before that */
    bool is_failing;
    struct hub_order *orders[HUB_ORDER_MAX];
    size_t count;
};

static bool is_full(int error)
{
    return error == -ENOSPC || error == -EDQUOT || error == -EFBIG;
}

static void set_failing(struct journal *j, int error, const char *what)
{
    static struct log_gate gate;
    pthread_mutex_lock(&j->lock);
    j->stats.errors += error != 0;
    j->stats.is_failing = error != 0;
    pthread_mutex_unlock(&j->lock);
    if (error != 0)
        log_limited(&gate, LOG_LEVEL_ERROR, "journal_failed", "%s in '%s' failed: %s; publishes are refused until it works again: %s", what, j->dir.path,
                    strerror(-error), is_full(error) ? "make room on the disk" : "check the disk");
    else if (j->is_failing)
        log_info("journal_works", "writing to '%s' works again", j->dir.path);
    j->is_failing = error != 0;
}

/* ---- publishing: reactors */

static void answer_now(struct engine_publish *p, int result)
{
    p->result = result;
    p->message = message_unref(p->message);
    p->done(p);
}

static void journal_publish(struct engine *e, struct engine_publish *p)
{
    struct journal *j = (struct journal *)e;
    struct pending *w = malloc(sizeof *w + p->key.len);
    if (w == NULL) {
        answer_now(p, -ENOMEM);
        return;
    }
    *w = (struct pending){ .publish = p, .order = { .message = p->message, .key = { w->key, p->key.len } } };
    if (p->key.len > 0)
        memcpy(w->key, p->key.ptr, p->key.len);
    pthread_mutex_lock(&j->lock);
    if (j->has_ended) {
        pthread_mutex_unlock(&j->lock);
        free(w);
        answer_now(p, -ESHUTDOWN);
        return;
    }
    bool is_first = list_is_empty(&j->queue);
    list_push(&j->queue, &w->node);
    j->taken++;
    j->queued_bytes += message_memory(p->message);
    bool holds = !j->holds_publishers && j->queued_bytes > j->config.queue_bytes;
    if (holds) {
        j->holds_publishers = true;
        hub_hold_publishers(j->hub);
    }
    if (is_first)
        pthread_cond_signal(&j->work);
    pthread_mutex_unlock(&j->lock);
}

/* Who listens now is told what a crash has swallowed. */
static void make_due(struct journal *j, unsigned kinds)
{
    pthread_mutex_lock(&j->lock);
    j->due |= kinds;
    pthread_cond_signal(&j->work);
    pthread_mutex_unlock(&j->lock);
}

/* The subscription is in force at once: whatever has a seq above its point becomes visible after it, under the hub's lock, and goes to its inbox;
 * whatever is not visible yet has no seq that anybody knows. */
static void journal_subscribe(struct engine *e, struct engine_subscribe *s)
{
    struct journal *j = (struct journal *)e;
    unsigned heard = s->name.ptr[0] != '$' ? 0 : journal_roll_heard_by(s->name, s->is_pattern);
    s->result = subscribe(s->subscriber, s->name, s->is_pattern, &s->seq);
    if (heard != 0 && s->result >= 0)
        make_due(j, heard);
    s->done(s);
}

/* ---- answers: from the writer to the reactors */

static void answer_one(struct pending *w)
{
    struct engine_publish *p = w->publish;
    p->receipt = w->order.receipt;
    answer_now(p, w->order.result);
    free(w);
}

static void answer_all(struct answers *a)
{
    struct list ready;
    list_init(&ready);
    pthread_mutex_lock(&a->lock);
    list_splice(&ready, &a->ready);
    a->is_posted = false;
    pthread_mutex_unlock(&a->lock);
    for (struct list *node; (node = list_pop(&ready)) != NULL;)
        answer_one(LIST_ENTRY(node, struct pending, node));
}

static void on_answers(struct loop_task *t)
{
    answer_all(HLY_CONTAINER_OF(t, struct answers, task));
}

/* A loop that has ended takes none: engine_journal_stop() answers. */
static void post_answers(struct answers *a, struct list *ready)
{
    if (list_is_empty(ready))
        return;
    pthread_mutex_lock(&a->lock);
    list_splice(&a->ready, ready);
    bool post = !a->is_posted;
    a->is_posted = true;
    pthread_mutex_unlock(&a->lock);
    if (post)
        loop_post(a->loop, &a->task);
}

static void answer_batch(struct journal *j)
{
    struct list ready[HUB_MAX_REACTORS];
    uint64_t bytes = 0;
    for (unsigned i = 0; i < j->reactor_count; i++)
        list_init(&ready[i]);
    for (size_t i = 0; i < j->count; i++) {
        struct pending *w = HLY_CONTAINER_OF(j->orders[i], struct pending, order);
        bytes += message_memory(w->order.message);
        list_push(&ready[w->publish->reactor], &w->node);
    }
    for (unsigned i = 0; i < j->reactor_count; i++)
        post_answers(&j->answers[i], &ready[i]);
    pthread_mutex_lock(&j->lock);
    j->queued_bytes -= bytes;
    j->answered += j->count;
    bool releases = j->holds_publishers && j->queued_bytes <= j->config.queue_bytes / 2;
    if (releases)
        j->holds_publishers = false;
    pthread_cond_broadcast(&j->settled);
    pthread_mutex_unlock(&j->lock);
    if (releases)
        hub_release_publishers(j->hub);
    j->count = 0;
}

/* ---- records */

static bool needs_disk(const struct hub_order *o)
{
    return o->result == 0 && !o->receipt.repeated &&
           (o->is_kept || o->is_lost || o->key.len > 0 || journal_roll_is_event(message_topic(o->message)));
}

static void put_event(struct journal *j, struct message *m)
{
    struct slice payload = { message_payload(m), m->payload_len };
    hub_record_encode(&j->out, j->log.name.salt,
                      &(struct hub_record){ .type = JOURNAL_EVENT, .time_ms = m->time_ms, .topic = message_topic(m), .payload = payload });
    journal_roll_note(&j->roll, message_topic(m), payload, m->time_ms, 0);
}

static void put_order(struct journal *j, const struct hub_order *o)
{
    struct message *m = o->message;
    struct hub_record r = { .seq = m->seq, .time_ms = m->time_ms, .number = o->receipt.subscribers, .topic = message_topic(m) };
    if (journal_roll_is_event(r.topic))
        put_event(j, m);
    if (o->is_kept) {
        r.type = HUB_RECORD_MESSAGE;
        r.kind = m->payload_kind;
        r.stamps = m->stamps;
        r.from = message_from(m);
        r.key = o->key;
        r.payload = (struct slice){ message_payload(m), m->payload_len };
        hub_record_encode(&j->out, j->log.name.salt, &r);
        return;
    }
    if (o->is_lost) {
        r.type = HUB_RECORD_TOPIC;
        hub_record_encode(&j->out, j->log.name.salt, &r);
    }
    if (o->key.len > 0) {
        r.type = HUB_RECORD_KEY;
        r.key = o->key;
        hub_record_encode(&j->out, j->log.name.salt, &r);
    }
}

static void put_reserve(struct journal *j)
{
    j->reserving = hub_head(j->hub) + JOURNAL_RESERVE_STEP;
    hub_record_encode(&j->out, j->log.name.salt, &(struct hub_record){ .type = JOURNAL_RESERVE, .seq = j->reserving });
}

/* The rules in force, with what they have lost; again when a reload has changed them. */
static void put_rules(struct journal *j)
{
    rules_unref(j->rules);
    j->rules = hub_rules(j->hub);
    hub_dump_rules(j->hub, j->log.name.salt, &j->out);
}

/* A reload: topics have lost messages under rules that kept nothing, and which, only the hub knows. Until a state tells it, a crash gives all older cursors a
 * gap. */
static void put_other_rules(struct journal *j, uint64_t head)
{
    put_rules(j);
    hub_record_encode(&j->out, j->log.name.salt, &(struct hub_record){ .type = JOURNAL_LOST, .seq = head });
    j->wants_checkpoint = true;
}

static int append(struct journal *j)
{
    int r = j->out.failed ? -ENOMEM : journal_file_append(&j->log, j->out.data, j->out.len);
    if (r == 0) {
        j->log_bytes += j->out.len;
        atomic_store(&j->keeper.is_dirty, true);
        pthread_mutex_lock(&j->lock);
        j->stats.written += j->out.len;
        pthread_mutex_unlock(&j->lock);
    }
    buf_reset(&j->out);
    return r;
}

static void note_sync(struct journal *j, uint64_t us)
{
    pthread_mutex_lock(&j->lock);
    j->stats.syncs++;
    j->stats.sync_us += us;
    if (j->stats.longest_sync_us < us)
        j->stats.longest_sync_us = us;
    pthread_mutex_unlock(&j->lock);
}

static int sync_log(struct journal *j)
{
    uint64_t before = clock_mono_us();
    int r = journal_file_sync(&j->log);
    note_sync(j, clock_mono_us() - before);
    return r;
}

/* ---- the log */

/* Begin a new log, on the disk before it is used. What the last one has from the next seq on was never visible, and is taken back by this one's first record. */
static int open_log(struct journal *j)
{
    struct journal_file f;
    int r = journal_file_create(&j->dir, false, j->next_number, &f);
    if (r < 0)
        return r;
    struct journal_file old = j->log;
    if (old.fd >= 0 && !old.is_suspect && j->config.sync == JOURNAL_INTERVAL && journal_file_sync(&old) < 0)
        j->wants_checkpoint = true;
    j->log = f;
    buf_reset(&j->out);
    hub_record_encode(&j->out, f.name.salt,
                      &(struct hub_record){ .type = JOURNAL_BEGIN,
                                            .kind = (uint8_t)j->config.sync,
                                            .seq = hub_head(j->hub) + 1,
                                            .time_ms = clock_wall_ms(),
                                            .number = j->next_number,
                                            .topic = { hub_epoch(j->hub), EPOCH_LEN },
                                            .payload = SLICE_LIT(JOURNAL_FORM) });
    put_reserve(j);
    put_rules(j);
    if (j->crashed_ms != 0)
        hub_record_encode(&j->out, f.name.salt, &(struct hub_record){ .type = JOURNAL_CRASHED, .number = j->crashed_ms });
    r = append(j);
    if (r == 0)
        r = sync_log(j);
    if (r == 0)
        r = journal_dir_sync(&j->dir);
    if (r < 0) {
        journal_file_close(&j->log);
        journal_file_remove(&j->dir, &j->log.name);
        j->log = old;
        return r;
    }
    journal_file_close(&old);
    journal_keeper_watch(&j->keeper, &j->log);
    j->reserved = j->reserving;
    j->crashed_ms = 0;
    j->next_number++;
    j->log_files++;
    return 0;
}

/* The hub as it is goes into a state, and the logs up to now are not needed any more when it is complete. */
static void begin_checkpoint(struct journal *j)
{
    uint64_t now_ms = clock_mono_ms();
    if (journal_keeper_is_busy(&j->keeper) || now_ms < j->retry_ms)
        return;
    int r = open_log(j);
    if (r < 0) {
        j->retry_ms = now_ms + RETRY_MS;
        set_failing(j, r, "beginning a new log");
        return;
    }
    j->log_bytes = j->log.name.bytes;
    j->log_files = 1;
    j->wants_checkpoint = false;
    journal_keeper_begin(&j->keeper, j->log.name.number);
}

static void check_size(struct journal *j)
{
    uint64_t least = j->config.checkpoint_bytes, state = journal_keeper_state_bytes(&j->keeper);
    if (journal_keeper_take_failure(&j->keeper))
        j->wants_checkpoint = true; /* the logs are still there: it tries again, after a while */
    uint64_t most = state > least ? state : least;
    if (j->log_bytes > most || j->log_files > FILES_MAX || j->wants_checkpoint)
        begin_checkpoint(j);
    if (j->log_bytes > 2 * most)
        journal_keeper_wait(&j->keeper); /* publishers wait with it: the disk is not to fill up faster than it is tidied */
}

/* ---- one batch */

static void take_batch(struct journal *j)
{
    uint64_t bytes = 0;
    while (j->count < HUB_ORDER_MAX && bytes < BATCH_BYTES && !list_is_empty(&j->queue)) {
        struct pending *w = LIST_ENTRY(list_pop(&j->queue), struct pending, node);
        bytes += message_memory(w->order.message);
        j->orders[j->count++] = &w->order;
    }
}

/* Returns 1 when it was written, 0 when there was nothing to write. */
static int write_batch(struct journal *j)
{
    size_t writes = 0;
    if (journal_keeper_sync_failed(&j->keeper))
        j->wants_checkpoint = j->log.is_suspect = true; /* what was to be on the disk is written anew */
    if (j->log.is_suspect) {
        int r = open_log(j);
        if (r < 0)
            return r;
    }
    uint64_t before = j->log.name.bytes, head = hub_head(j->hub) + j->count;
    bool reserves = head + JOURNAL_RESERVE_STEP / 2 > j->reserved;
    buf_reset(&j->out);
    struct rules *rules = hub_rules(j->hub);
    if (rules != j->rules)
        put_other_rules(j, head);
    rules_unref(rules);
    if (reserves)
        put_reserve(j);
    for (size_t i = 0; i < j->count; i++) {
        if (!needs_disk(j->orders[i]))
            continue;
        put_order(j, j->orders[i]);
        writes++;
    }
    if (j->out.len == 0)
        return 0;
    int r = append(j);
    if (r == 0 && (reserves || (writes > 0 && j->config.sync == JOURNAL_ALWAYS))) {
        r = sync_log(j);
        if (r < 0)
            journal_file_cut(&j->log, before); /* it stays suspect: the next batch begins a new log */
    }
    if (r == 0 && reserves)
        j->reserved = j->reserving;
    return r < 0 ? r : 1;
}

/* The journal cannot be written: what it was to have is refused, and so are repeats of that; the rest, which leaves no trace, goes on while there are reserved
 * seqs. */
static void refuse_batch(struct journal *j, int error)
{
    struct hub_order *rest[HUB_ORDER_MAX];
    size_t n = 0, refused = 0;
    bool no_seqs = hub_head(j->hub) + j->count > j->reserved;
    hub_retract(j->hub, j->orders, j->count);
    for (size_t i = 0; i < j->count; i++) {
        struct hub_order *o = j->orders[i];
        if (o->result < 0 || (o->receipt.repeated && !o->is_in_flight))
            continue; /* has its answer */
        if (no_seqs || o->is_kept || o->is_lost || o->key.len > 0) {
            o->result = error;
            refused++;
        } else {
            rest[n++] = o;
        }
    }
    hub_admit(j->hub, rest, n);
    hub_commit(j->hub, rest, n);
    pthread_mutex_lock(&j->lock);
    j->stats.refused += refused;
    pthread_mutex_unlock(&j->lock);
}

static void run_batch(struct journal *j)
{
    hub_admit(j->hub, j->orders, j->count);
    int r = write_batch(j);
    if (r < 0) {
        set_failing(j, r, "writing");
        refuse_batch(j, is_full(r) ? -ENOSPC : -EIO);
    } else {
        if (r > 0 && j->is_failing)
            set_failing(j, 0, "");
        hub_commit(j->hub, j->orders, j->count);
    }
    answer_batch(j);
    check_size(j);
}

/* ---- the writer's thread */

static int write_clean_mark(struct journal *j)
{
    buf_reset(&j->out);
    put_rules(j);
    hub_record_encode(&j->out, j->log.name.salt, &(struct hub_record){ .type = JOURNAL_CLEAN, .time_ms = clock_wall_ms() });
    int r = j->log.is_suspect || journal_keeper_sync_failed(&j->keeper) ? -EIO : append(j);
    if (r == 0)
        r = sync_log(j);
    if (r < 0)
        log_error("journal_failed", "the last words in '%s' could not be written: %s; the next start takes it for a crash", j->dir.path, strerror(-r));
    return r;
}

static void on_end_published(struct engine_publish *p)
{
    free(p);
}

static void publish_end(const char *topic, struct slice payload, void *ctx)
{
    struct journal *j = ctx;
    struct message *m = message_new(topic, strlen(topic), payload.ptr, (uint32_t)payload.len);
    struct engine_publish *p = m == NULL ? NULL : malloc(sizeof *p);
    if (p == NULL) {
        message_unref(m);
        return;
    }
    m->payload_kind = RULE_JSON;
    *p = (struct engine_publish){ .message = m, .done = on_end_published };
    j->engine.publish(&j->engine, p);
}

/* A slice of what a crash has swallowed, with the lock, which is let go of meanwhile. */
static void publish_ends(struct journal *j)
{
    unsigned kinds = j->due;
    j->due = 0;
    pthread_mutex_unlock(&j->lock);
    bool more = journal_roll_take(&j->roll, kinds, publish_end, j);
    pthread_mutex_lock(&j->lock);
    if (more)
        j->due |= kinds;
}

static void *writer_main(void *arg)
{
    struct journal *j = arg;
    pthread_mutex_lock(&j->lock);
    for (;;) {
        while (list_is_empty(&j->queue) && !j->is_stopping && j->due == 0)
            pthread_cond_wait(&j->work, &j->lock);
        if (j->due != 0 && !j->is_stopping)
            publish_ends(j);
        else if (list_is_empty(&j->queue))
            break;
        take_batch(j);
        j->stats.batches++;
        pthread_mutex_unlock(&j->lock);
        run_batch(j);
        pthread_mutex_lock(&j->lock);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

static int start_thread(pthread_t *thread, void *(*run)(void *), void *arg, const char *name)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int r = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        pthread_setname_np(*thread, name);
    return -r;
}

/* ---- life */

static void say_what_was_found(const struct journal *j, const struct journal_found *f, uint64_t took_ms)
{
    if (f->is_fresh)
        log_info("journal", "path=%s a new journal epoch=%s", j->dir.path, hub_epoch(j->hub));
    else
        log_info("journal", "path=%s restored: messages=%" PRIu64 " head=%" PRIu64 " epoch=%s%s end=%s took_ms=%" PRIu64, j->dir.path, f->messages,
                 hub_head(j->hub), hub_epoch(j->hub), f->has_new_epoch ? " (new: older cursors get a gap)" : "", f->was_clean ? "clean" : "crash", took_ms);
}

static void journal_free(struct engine *e)
{
    struct journal *j = (struct journal *)e;
    engine_journal_stop(e);
    journal_file_close(&j->log);
    journal_keeper_done(&j->keeper);
    journal_roll_done(&j->roll);
    journal_dir_close(&j->dir);
    rules_unref(j->rules);
    buf_done(&j->out);
    for (unsigned i = 0; i < j->reactor_count; i++)
        pthread_mutex_destroy(&j->answers[i].lock);
    free(j->answers);
    pthread_cond_destroy(&j->work);
    pthread_cond_destroy(&j->settled);
    pthread_mutex_destroy(&j->lock);
    free(j);
}

/* ---- figures */

#define VALUES(C, G) \
    G(bytes, "bytes of the journal's files") \
    G(files, "files of the journal") \
    C(batches, "batches of publishes taken by the journal") \
    C(written, "bytes appended to the journal's log") \
    C(syncs, "times that the journal's log was forced to the disk") \
    C(sync_us, "microseconds that took") \
    G(longest_sync_us, "the longest of them") \
    C(errors, "writes and syncs of the journal that failed") \
    C(refused, "publishes refused because the journal could not be written") \
    C(checkpoints, "times that what is kept was written anew, and older logs removed") \
    G(queued_bytes, "bytes of messages that wait for the journal") \
    G(is_failing, "1: the last write failed, publishes are refused")

static size_t journal_values(struct engine *e, struct engine_value ret[ENGINE_VALUES_MAX])
{
    struct journal_stats s;
    size_t n = 0;
    engine_journal_stats(e, &s);
#define COUNTER(member, text) ret[n++] = (struct engine_value){ "journal_" #member, text, s.member, false };
#define GAUGE(member, text) ret[n++] = (struct engine_value){ "journal_" #member, text, s.member, true };
    VALUES(COUNTER, GAUGE)
    return n;
}

static int journal_suspend(struct engine *e);
static int journal_resume(struct engine *e);

static struct journal *journal_make(struct hub *hub, const struct journal_config *config)
{
    struct journal *j = calloc(1, sizeof *j);
    pthread_condattr_t monotonic;
    if (j == NULL)
        return NULL;
    j->engine = (struct engine){ .name = "journal",
                                 .publish = journal_publish,
                                 .subscribe = journal_subscribe,
                                 .values = journal_values,
                                 .settle = engine_journal_settle,
                                 .suspend = journal_suspend,
                                 .resume = journal_resume,
                                 .stop = engine_journal_stop,
                                 .free = journal_free };
    j->hub = hub;
    j->config = *config;
    j->config.path = NULL; /* the directory has its own */
    if (j->config.checkpoint_bytes == 0)
        j->config.checkpoint_bytes = CHECKPOINT_BYTES;
    j->log.fd = -1;
    j->dir = (struct journal_dir){ .fd = -1, .lock_fd = -1 };
    list_init(&j->queue);
    pthread_mutex_init(&j->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&j->work, &monotonic);
    pthread_cond_init(&j->settled, &monotonic);
    pthread_condattr_destroy(&monotonic);
    journal_roll_init(&j->roll);
    journal_keeper_init(&j->keeper, hub, &j->roll, &j->dir, config->sync == JOURNAL_INTERVAL ? config->interval_ms : 0);
    return j;
}

int engine_journal_new(struct hub *hub, const struct journal_config *config, struct engine **ret, char *error, size_t error_size)
{
    struct journal_found found;
    uint64_t before = clock_mono_ms();
    struct journal *j = journal_make(hub, config);
    if (j == NULL) {
        snprintf(error, error_size, "journal: out of memory");
        return -ENOMEM;
    }
    int r = journal_dir_open(&j->dir, config->path, error, error_size);
    if (r == 0)
        r = journal_load(&j->dir, hub, &j->roll, &found, error, error_size);
    if (r == 0) {
        j->next_number = found.next_number;
        j->log_bytes = found.log_bytes;
        j->log_files = found.log_files;
        j->wants_checkpoint = found.broken > 0;
        j->crashed_ms = found.was_clean || found.is_fresh ? 0 : found.ended_ms;
        journal_keeper_set_state_bytes(&j->keeper, found.state_bytes);
        r = open_log(j);
        if (r < 0)
            snprintf(error, error_size, "journal '%s': a new log cannot be written: %s%s", j->dir.path, strerror(-r), r == -ENOSPC ? "; make room on the disk" : "");
    }
    if (r < 0) {
        journal_free(&j->engine);
        return r;
    }
    say_what_was_found(j, &found, clock_mono_ms() - before);
    *ret = &j->engine;
    return 0;
}

static int start_threads(struct journal *j)
{
    int r = start_thread(&j->keeper.thread, journal_keeper_main, &j->keeper, "journal-keeper");
    j->has_keeper = r == 0;
    if (r == 0)
        r = start_thread(&j->writer, writer_main, j, "journal");
    j->has_writer = r == 0 && j->has_keeper;
    return r;
}

/* Where a rule keeps the events, whoever comes later finds them; else they wait until somebody listens. */
static unsigned kept_ends(struct journal *j)
{
    static const char *const ends[] = { "$halley/disconnect", "$halley/vacated" };
    unsigned kinds = 0;
    struct rules *rules = hub_rules(j->hub);
    for (size_t i = 0; i < HLY_ARRAY_LEN(ends); i++)
        if (rules_find(rules, ends[i], strlen(ends[i]))->history > 0)
            kinds |= journal_roll_heard_by((struct slice){ ends[i], strlen(ends[i]) }, false);
    rules_unref(rules);
    return kinds;
}

int engine_journal_start(struct engine *e, struct loop *const *loops, unsigned count)
{
    struct journal *j = (struct journal *)e;
    signal(SIGXFSZ, SIG_IGN); /* a limit of file size is an error like a full disk */
    j->answers = calloc(count, sizeof *j->answers);
    if (j->answers == NULL)
        return -ENOMEM;
    j->reactor_count = count;
    for (unsigned i = 0; i < count; i++) {
        j->answers[i] = (struct answers){ .task = { .run = on_answers }, .loop = loops[i] };
        list_init(&j->answers[i].ready);
        pthread_mutex_init(&j->answers[i].lock, NULL);
    }
    make_due(j, kept_ends(j));
    return start_threads(j);
}

void engine_journal_settle(struct engine *e, uint64_t max_ms)
{
    struct journal *j = (struct journal *)e;
    uint64_t until_ms = clock_mono_ms() + max_ms;
    struct timespec until = { (time_t)(until_ms / 1000), (long)(until_ms % 1000) * 1000000 };
    pthread_mutex_lock(&j->lock);
    uint64_t wanted = j->taken;
    while (j->answered < wanted && j->has_writer && pthread_cond_timedwait(&j->settled, &j->lock, &until) == 0)
        continue;
    pthread_mutex_unlock(&j->lock);
}

/* Returns whether they ran. */
static bool stop_threads(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    j->is_stopping = true;
    pthread_cond_signal(&j->work);
    pthread_mutex_unlock(&j->lock);
    bool was_running = j->has_writer;
    if (j->has_writer)
        pthread_join(j->writer, NULL);
    j->has_writer = false;
    if (j->has_keeper)
        journal_keeper_stop(&j->keeper);
    j->has_keeper = false;
    return was_running;
}

/* ---- another process goes on with it */

static int journal_suspend(struct engine *e)
{
    struct journal *j = (struct journal *)e;
    stop_threads(j);
    int r = write_clean_mark(j);
    journal_file_close(&j->log);
    if (r == 0 && flock(j->dir.lock_fd, LOCK_UN) < 0)
        r = -errno;
    return r;
}

static uint64_t number_after_all(const struct journal *j)
{
    struct journal_name *names = NULL;
    size_t count = 0;
    uint64_t next = j->next_number;
    journal_dir_list(&j->dir, &names, &count);
    for (size_t i = 0; i < count; i++)
        if (names[i].number >= next)
            next = names[i].number + 1;
    free(names);
    return next;
}

/* What the other process has started may take a moment to end. */
static int lock_again(const struct journal *j)
{
    uint64_t until_ms = clock_mono_ms() + LOCK_AGAIN_MS;
    while (flock(j->dir.lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || clock_mono_ms() >= until_ms)
            return -errno;
        usleep(5000);
    }
    return 0;
}

/* The other has published nothing. It may have begun a log, and even have written a state in place of the logs that were there: a new log goes on behind
 * all that. If none can be begun now, the next batch tries again, and until then no seq is given: behind the clean mark, reserves do not count. */
static int journal_resume(struct engine *e)
{
    struct journal *j = (struct journal *)e;
    int r = lock_again(j);
    if (r < 0) {
        pthread_mutex_lock(&j->lock);
        j->has_ended = true; /* publishes are refused, rather than wait for nobody */
        pthread_mutex_unlock(&j->lock);
        return r;
    }
    j->next_number = number_after_all(j);
    j->is_stopping = j->keeper.is_stopping = false;
    int error = open_log(j);
    if (error < 0) {
        j->log.is_suspect = true;
        j->reserved = 0;
        set_failing(j, error, "beginning a new log");
    }
    return start_threads(j);
}

void engine_journal_stop(struct engine *e)
{
    struct journal *j = (struct journal *)e;
    bool was_running = stop_threads(j);
    pthread_mutex_lock(&j->lock);
    j->has_ended = true;
    pthread_mutex_unlock(&j->lock);
    for (unsigned i = 0; i < j->reactor_count; i++)
        answer_all(&j->answers[i]);
    for (struct list *node; (node = list_pop(&j->queue)) != NULL;) { /* it never started */
        struct pending *w = LIST_ENTRY(node, struct pending, node);
        w->order.result = -ESHUTDOWN;
        answer_one(w);
    }
    if (was_running)
        write_clean_mark(j);
}

void engine_journal_stats(struct engine *e, struct journal_stats *ret)
{
    struct journal *j = (struct journal *)e;
    struct journal_name *names = NULL;
    size_t count = 0;
    pthread_mutex_lock(&j->lock);
    *ret = j->stats;
    ret->queued_bytes = j->queued_bytes;
    pthread_mutex_unlock(&j->lock);
    journal_keeper_stats(&j->keeper, ret);
    journal_dir_list(&j->dir, &names, &count);
    for (size_t i = 0; i < count; i++)
        ret->bytes += names[i].bytes;
    ret->files = count;
    free(names);
}
