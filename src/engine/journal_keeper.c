#include "engine/journal_keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/hub.h"
#include "core/hub_state.h"
#include "engine/journal_load.h"
#include "engine/journal_roll.h"

#define WRITE_BYTES (1u << 20)
#define SYNC_BYTES (8u << 20) /* of a state: the disk is not given a flood at the end */
#define RETRY_MS 10000

void journal_keeper_init(struct journal_keeper *k, struct hub *hub, struct journal_roll *roll, const struct journal_dir *dir, uint64_t interval_ms)
{
    pthread_condattr_t monotonic;
    *k = (struct journal_keeper){ .hub = hub, .roll = roll, .dir = dir, .interval_ms = interval_ms, .log_fd = -1 };
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&k->work, &monotonic);
    pthread_cond_init(&k->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void journal_keeper_done(struct journal_keeper *k)
{
    if (k->log_fd >= 0)
        close(k->log_fd);
    pthread_cond_destroy(&k->work);
    pthread_cond_destroy(&k->done);
    pthread_mutex_destroy(&k->lock);
}

/* ---- by the clock */

void journal_keeper_watch(struct journal_keeper *k, const struct journal_file *log)
{
    int fd = dup(log->fd); /* without it nothing is synced by the clock until the next log */
    pthread_mutex_lock(&k->lock);
    if (k->log_fd >= 0)
        close(k->log_fd);
    k->log_fd = fd;
    k->sync_failed = fd < 0;
    pthread_mutex_unlock(&k->lock);
}

bool journal_keeper_sync_failed(struct journal_keeper *k)
{
    pthread_mutex_lock(&k->lock);
    bool failed = k->sync_failed;
    pthread_mutex_unlock(&k->lock);
    return failed;
}

static void sync_now(struct journal_keeper *k)
{
    static struct log_gate gate;
    pthread_mutex_lock(&k->lock);
    int fd = k->log_fd < 0 ? -1 : dup(k->log_fd);
    pthread_mutex_unlock(&k->lock);
    if (fd < 0)
        return;
    uint64_t before = clock_mono_us();
    int error = fdatasync(fd) < 0 ? errno : 0;
    uint64_t us = clock_mono_us() - before;
    close(fd);
    pthread_mutex_lock(&k->lock);
    k->stats.syncs++;
    k->stats.sync_us += us;
    k->stats.longest_sync_us = us > k->stats.longest_sync_us ? us : k->stats.longest_sync_us;
    k->stats.errors += error != 0;
    k->sync_failed |= error != 0;
    pthread_mutex_unlock(&k->lock);
    if (error != 0)
        log_limited(&gate, LOG_LEVEL_ERROR, "journal_failed", "the log in '%s' could not be synced: %s; what the hub keeps is written anew: check the disk",
                    k->dir->path, strerror(error));
}

static void sync_if_due(struct journal_keeper *k)
{
    uint64_t now_ms = clock_mono_ms();
    if (k->interval_ms == 0 || now_ms < k->next_sync_ms)
        return;
    k->next_sync_ms = now_ms + k->interval_ms;
    if (atomic_exchange(&k->is_dirty, false))
        sync_now(k);
}

/* ---- a state */

struct writing {
    struct journal_keeper *k;
    struct journal_file file;
    struct buf out;
    uint64_t records_bytes;
    uint64_t synced_bytes;
};

static int flush(struct writing *w)
{
    int r = w->out.failed ? -ENOMEM : journal_file_append(&w->file, w->out.data, w->out.len);
    buf_reset(&w->out);
    if (r == 0 && w->file.name.bytes - w->synced_bytes >= SYNC_BYTES) {
        r = journal_file_sync(&w->file);
        w->synced_bytes = w->file.name.bytes;
    }
    return r;
}

static bool is_stopping(struct journal_keeper *k)
{
    pthread_mutex_lock(&k->lock);
    bool stopping = k->is_stopping;
    pthread_mutex_unlock(&k->lock);
    return stopping;
}

static int write_records(struct writing *w, uint64_t number)
{
    struct journal_keeper *k = w->k;
    struct hub_dump dump;
    uint32_t salt = w->file.name.salt;
    int r = 0;
    hub_record_encode(&w->out, salt, &(struct hub_record){ .type = JOURNAL_BEGIN, .time_ms = clock_wall_ms(), .number = number, .payload = SLICE_LIT(JOURNAL_FORM) });
    hub_dump_begin(&dump, salt);
    for (bool more = true; more && r == 0;) {
        more = hub_dump(k->hub, &dump, &w->out);
        if (w->out.len >= WRITE_BYTES || w->out.failed)
            r = flush(w);
        sync_if_due(k);
        if (is_stopping(k))
            r = -ECANCELED;
    }
    uint64_t at = 0;
    for (bool more = true; more && r == 0;) {
        more = journal_roll_dump(k->roll, &at, JOURNAL_EVENT, salt, &w->out);
        if (w->out.len >= WRITE_BYTES || w->out.failed)
            r = flush(w);
    }
    hub_record_encode(&w->out, salt, &(struct hub_record){ .type = JOURNAL_END });
    return r < 0 ? r : flush(w);
}

static void remove_older(struct journal_keeper *k, const struct journal_name *state)
{
    struct journal_name *names;
    size_t count;
    if (journal_dir_list(k->dir, &names, &count) < 0)
        return; /* the next one does it */
    for (size_t i = 0; i < count; i++)
        if (names[i].number < state->number || (names[i].is_state && names[i].salt != state->salt))
            journal_file_remove(k->dir, &names[i]);
    free(names);
}

static int write_state(struct journal_keeper *k, uint64_t number)
{
    struct writing w = { .k = k };
    int r = journal_file_create(k->dir, true, number, &w.file);
    if (r < 0)
        return r;
    r = write_records(&w, number);
    if (r == 0)
        r = journal_file_sync(&w.file);
    if (r == 0)
        r = journal_file_finish(k->dir, &w.file);
    journal_file_close(&w.file);
    buf_done(&w.out);
    if (r < 0) {
        if (w.file.name.is_new)
            journal_file_remove(k->dir, &w.file.name);
        return r;
    }
    journal_keeper_set_state_bytes(k, w.file.name.bytes);
    remove_older(k, &w.file.name);
    return 0;
}

static void run_checkpoint(struct journal_keeper *k, uint64_t number)
{
    static struct log_gate gate;
    uint64_t before = clock_mono_ms();
    int r = write_state(k, number);
    pthread_mutex_lock(&k->lock);
    k->stats.checkpoints += r == 0;
    k->stats.errors += r < 0 && r != -ECANCELED;
    k->has_failed = r < 0;
    k->not_before_ms = clock_mono_ms() + RETRY_MS;
    uint64_t bytes = k->state_bytes;
    pthread_mutex_unlock(&k->lock);
    if (r == 0)
        log_debug("journal_state", "number=%" PRIu64 " bytes=%" PRIu64 " took_ms=%" PRIu64, number, bytes, clock_mono_ms() - before);
    else if (r != -ECANCELED)
        log_limited(&gate, LOG_LEVEL_ERROR, "journal_failed", "a new state in '%s' could not be written: %s; the log grows until it can: %s", k->dir->path,
                    strerror(-r), r == -ENOSPC ? "make room on the disk" : "check the disk");
}

void journal_keeper_begin(struct journal_keeper *k, uint64_t number)
{
    atomic_store(&k->is_busy, true);
    pthread_mutex_lock(&k->lock);
    k->wanted = number;
    k->has_failed = false;
    pthread_cond_signal(&k->work);
    pthread_mutex_unlock(&k->lock);
}

void journal_keeper_wait(struct journal_keeper *k)
{
    pthread_mutex_lock(&k->lock);
    while (atomic_load(&k->is_busy))
        pthread_cond_wait(&k->done, &k->lock);
    pthread_mutex_unlock(&k->lock);
}

bool journal_keeper_take_failure(struct journal_keeper *k)
{
    pthread_mutex_lock(&k->lock);
    bool again = k->has_failed && clock_mono_ms() >= k->not_before_ms;
    if (again)
        k->has_failed = false;
    pthread_mutex_unlock(&k->lock);
    return again;
}

uint64_t journal_keeper_state_bytes(struct journal_keeper *k)
{
    pthread_mutex_lock(&k->lock);
    uint64_t bytes = k->state_bytes;
    pthread_mutex_unlock(&k->lock);
    return bytes;
}

void journal_keeper_set_state_bytes(struct journal_keeper *k, uint64_t bytes)
{
    pthread_mutex_lock(&k->lock);
    k->state_bytes = bytes;
    pthread_mutex_unlock(&k->lock);
}

/* ---- the thread */

static void wait_for_work(struct journal_keeper *k)
{
    uint64_t until_ms = k->next_sync_ms;
    struct timespec until = { (time_t)(until_ms / 1000), (long)(until_ms % 1000) * 1000000 };
    if (k->interval_ms == 0)
        pthread_cond_wait(&k->work, &k->lock);
    else
        pthread_cond_timedwait(&k->work, &k->lock, &until);
}

void *journal_keeper_main(void *keeper)
{
    struct journal_keeper *k = keeper;
    k->next_sync_ms = clock_mono_ms() + k->interval_ms;
    pthread_mutex_lock(&k->lock);
    while (!k->is_stopping) {
        if (k->wanted == 0)
            wait_for_work(k);
        uint64_t number = k->wanted;
        bool stopping = k->is_stopping;
        k->wanted = 0;
        pthread_mutex_unlock(&k->lock);
        sync_if_due(k);
        if (number != 0 && !stopping)
            run_checkpoint(k, number);
        pthread_mutex_lock(&k->lock);
        if (number != 0)
            atomic_store(&k->is_busy, false);
        pthread_cond_broadcast(&k->done);
    }
    atomic_store(&k->is_busy, false); /* whatever was asked for meanwhile */
    pthread_cond_broadcast(&k->done);
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

void journal_keeper_stop(struct journal_keeper *k)
{
    pthread_mutex_lock(&k->lock);
    k->is_stopping = true;
    pthread_cond_signal(&k->work);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
}

void journal_keeper_stats(struct journal_keeper *k, struct journal_stats *ret)
{
    pthread_mutex_lock(&k->lock);
    ret->syncs += k->stats.syncs;
    ret->sync_us += k->stats.sync_us;
    if (k->stats.longest_sync_us > ret->longest_sync_us)
        ret->longest_sync_us = k->stats.longest_sync_us;
    ret->errors += k->stats.errors;
    ret->checkpoints += k->stats.checkpoints;
    pthread_mutex_unlock(&k->lock);
}
