/* Reading a journal back: into a fresh hub, with what is broken left out and told. */
#ifndef HALLEY_ENGINE_JOURNAL_LOAD_H
#define HALLEY_ENGINE_JOURNAL_LOAD_H

#include "core/hub_record.h"
#include "engine/journal_file.h"

struct hub;
struct journal_roll;

enum journal_record { /* the journal's own, beside the hub's */
    JOURNAL_BEGIN = HUB_RECORD_OWN, /* the first of each file. number: the file's, kind: enum journal_sync, topic: epoch, payload: JOURNAL_FORM; of a log, seq: the
                                     * first that may be in it, so what is above in earlier logs was taken back */
    JOURNAL_RESERVE, /* seqs up to this one may have been seen by clients */
    JOURNAL_CLEAN,   /* the server ended in peace: nothing comes after it */
    JOURNAL_LOST,    /* something may be missing of any topic, up to seq */
    JOURNAL_EVENT,   /* topic, payload: told to backends (journal_roll.h); number: when a crash ended what it tells of, or 0 */
    JOURNAL_CRASHED, /* what the events before it tell of has ended, number: when */
    JOURNAL_END,     /* of a state: seq is the number of records before it */
};

#define JOURNAL_FORM "halley journal 1\n"
#define JOURNAL_RESERVE_STEP (1u << 20) /* seqs that one reserve record covers */

struct journal_found {
    uint64_t next_number; /* of the next log */
    uint64_t log_bytes;   /* since the state */
    uint64_t log_files;
    uint64_t state_bytes;
    uint64_t messages;    /* restored, or known to be out of date */
    uint64_t broken;      /* places where records could not be read */
    uint64_t cut_bytes;   /* of a torn end */
    bool is_fresh;        /* there was no journal */
    bool was_clean;
    bool has_new_epoch;
    uint64_t ended_ms;    /* when something was written last, wall clock */
};

/* Restore the hub: its epoch and head, too; its own epoch is taken for a new one. Torn ends are cut off, files that are not needed removed; all that is left is
 * on the disk. The roll (empty) gets those who were there; after a crash they have ended. Returns 0, or -errno and a sentence in error. */
int journal_load(const struct journal_dir *d, struct hub *hub, struct journal_roll *roll, struct journal_found *ret, char *error, size_t error_size);

#endif
