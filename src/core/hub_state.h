/* All that a hub knows, as records (core/hub_record.h): for a journal that keeps it, and for a successor that goes on with it.
 *
 * What is dumped: every kept message in seq order, every idempotency key, the mark of each living topic, each rule's horizon, and last
 * epoch and head. Losses are dumped after what could be lost: a dump of a hub in use, made in slices, is true of the moment it ends in this sense: what
 * is not in it, and was published before the dump began, is below a mark or a horizon that is in it. Whoever keeps such a
 * dump adds what was published since it began.
 *
 * Restoring goes into a fresh hub. Then a cursor of the same epoch finds what it would have found before; there may be gaps that would not have been told, silence
 * about a loss never. Rules are told apart by the text of their patterns: if the config has changed, a horizon goes to
 * every rule that may have topics of the rule that had it. */
#ifndef HALLEY_CORE_HUB_STATE_H
#define HALLEY_CORE_HUB_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/cursor.h"
#include "core/hub_record.h"

struct buf;
struct hub;

/* ---- dump */

struct hub_dump {
    uint32_t salt;
    unsigned stage;
    uint64_t at;    /* where in the stage: a seq, or a table's cursor */
    uint64_t until; /* the head when it began: messages above it are not told */
};

void hub_dump_begin(struct hub_dump *d, uint32_t salt);

/* Append the records of one bounded slice, of so many messages or 256 KiB at most. Returns false when all is told. out->failed: out of memory, begin anew. Any thread. */
bool hub_dump(struct hub *hub, struct hub_dump *d, struct buf *out);

/* The end of a dump alone: each rule's horizon, epoch and head. */
void hub_dump_rules(struct hub *hub, uint32_t salt, struct buf *out);

/* ---- restore */

struct hub_restore;

/* Begin with a hub that nobody has used yet (borrowed until the end). Ages are counted on the wall clock; what seems to come from the future is taken for new. NULL
 * when out of memory. */
struct hub_restore *hub_restore_begin(struct hub *hub);

/* Take one record, in the order they were dumped. Messages that are not above the last one are passed over: they are known. Returns 1 when the
 * record was taken, 0 when it is of a type that is not the hub's, -EINVAL when it makes no sense (a head without all its rules: then all that came before it
 * counts as lost), -ENOMEM when it found no room: then it counts as lost. */
int hub_restore_record(struct hub_restore *r, const struct hub_record *record);

/* Something may be missing, of whatever topic, up to this seq. */
void hub_restore_lose(struct hub_restore *r, uint64_t seq);

/* The same of the topics of those rules alone that kept nothing when the records were made. */
void hub_restore_lose_unkept(struct hub_restore *r, uint64_t seq);

/* The highest seq that was restored, or told by a head. */
uint64_t hub_restore_head(const struct hub_restore *r);
/* The epoch that the records told; empty if none did. */
const char *hub_restore_epoch(const struct hub_restore *r);

/* Done: the hub goes on in this epoch, with the seq after head (not below hub_restore_head()). Frees r. */
void hub_restore_end(struct hub_restore *r, const char *epoch, uint64_t head);

#endif
