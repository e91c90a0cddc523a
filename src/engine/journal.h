/* The engine that writes down what it publishes: histories, cursors and idempotency keys survive the end of the process.
 *
 * Reactors queue their publishes; one thread takes them as a batch, has the hub admit them, appends them to the log with one write, and, with
 * JOURNAL_ALWAYS, syncs it; only then they become visible, in that order, and each publisher is answered on its own reactor. A second thread
 * rewrites what the hub still keeps when the log has grown, so that the disk holds a small multiple of limits.history, and syncs by the
 * clock. doc/journal.md tells the form of the files and why it is so. */
#ifndef HALLEY_ENGINE_JOURNAL_H
#define HALLEY_ENGINE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct hub;
struct loop;

enum journal_sync {
    JOURNAL_ALWAYS,   /* what is visible or acknowledged is on the disk */
    JOURNAL_INTERVAL, /* it is on its way there: the last interval may be lost with the machine, nothing with the process alone */
    JOURNAL_NEVER,    /* the kernel writes when it likes */
};

struct journal_config {
    const char *path; /* of the directory; its parent exists */
    enum journal_sync sync;
    uint64_t interval_ms;
    uint64_t queue_bytes;      /* of messages that wait; beyond it publishers are not read */
    uint64_t checkpoint_bytes; /* the log may always grow to this size; 0: 64 MiB */
};

struct journal_stats {
    uint64_t bytes;          /* of all files */
    uint64_t files;
    uint64_t batches;
    uint64_t written;        /* bytes appended */
    uint64_t syncs;          /* of the log, by whom a publisher waits or by the clock */
    uint64_t sync_us;        /* time they took, all in all */
    uint64_t longest_sync_us;
    uint64_t errors;         /* writes and syncs that failed */
    uint64_t refused;        /* publishes that were refused because of them */
    uint64_t checkpoints;
    uint64_t queued_bytes;
    uint64_t is_failing;     /* 1: the last write failed */
};

/* Lock the directory, and restore the hub (fresh, borrowed) from it. Returns 0, or -errno and a sentence in error: what is wrong, and what would be right. Says
 * in the log what it found, above all what was broken. */
int engine_journal_new(struct hub *hub, const struct journal_config *config, struct engine **ret, char *error, size_t error_size);

/* Begin to publish: loops[i] is the one of reactor i, borrowed. What was published before waits. Returns 0 or -errno. */
int engine_journal_start(struct engine *e, struct loop *const *loops, unsigned count);

/* Wait until all that was published before has been answered, or for max_ms. Any thread but a reactor that others wait for. */
void engine_journal_settle(struct engine *e, uint64_t max_ms);

/* End, once the loops have ended: writes what waits, marks the log as complete, and answers who was not answered yet, on this thread. free() does it too. */
void engine_journal_stop(struct engine *e);

void engine_journal_stats(struct engine *e, struct journal_stats *ret);

#endif
