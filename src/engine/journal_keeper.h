/* The journal's second thread: it rewrites what the hub keeps when the log has grown, and syncs the log by the clock. Nobody waits for it. */
#ifndef HALLEY_ENGINE_JOURNAL_KEEPER_H
#define HALLEY_ENGINE_JOURNAL_KEEPER_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/journal.h"
#include "engine/journal_file.h"

struct journal_roll;

struct journal_keeper {
    struct hub *hub;
    struct journal_roll *roll;
    const struct journal_dir *dir;
    uint64_t interval_ms; /* 0: it does not sync by the clock */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_cond_t done;
    uint64_t wanted;       /* number of the log before which the next state is; 0: none is wanted */
    uint64_t not_before_ms; /* after a state that failed */
    bool has_failed;
    bool is_stopping;
    int log_fd;            /* its own */
    bool sync_failed;
    uint64_t state_bytes;
    struct journal_stats stats;
    _Atomic bool is_busy;
    _Atomic bool is_dirty; /* something was appended since the last sync */
    uint64_t next_sync_ms;
};

void journal_keeper_init(struct journal_keeper *k, struct hub *hub, struct journal_roll *roll, const struct journal_dir *dir, uint64_t interval_ms);
void journal_keeper_done(struct journal_keeper *k);
void *journal_keeper_main(void *keeper);
void journal_keeper_stop(struct journal_keeper *k); /* waits for its thread; a state that is being written is given up */

/* The log that is written from now on; its errors begin anew. */
void journal_keeper_watch(struct journal_keeper *k, const struct journal_file *log);
bool journal_keeper_sync_failed(struct journal_keeper *k);

/* Write a state: all that was published before the log of this number is in the hub. Then what is older is removed. */
void journal_keeper_begin(struct journal_keeper *k, uint64_t number);
static inline bool journal_keeper_is_busy(struct journal_keeper *k)
{
    return atomic_load(&k->is_busy);
}
/* Wait until it is not busy any more. */
void journal_keeper_wait(struct journal_keeper *k);
/* The last state failed some seconds ago: is it time for another? Says so once. */
bool journal_keeper_take_failure(struct journal_keeper *k);

uint64_t journal_keeper_state_bytes(struct journal_keeper *k);
void journal_keeper_set_state_bytes(struct journal_keeper *k, uint64_t bytes);

/* Add what it has done. */
void journal_keeper_stats(struct journal_keeper *k, struct journal_stats *ret);

#endif
