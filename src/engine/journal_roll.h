/* Who is connected, and which topics have subscribers, as far as backends have been told ($halley/connect, occupied), so that the next start after a crash can
 * tell them what the crash swallowed: $halley/disconnect, vacated.
 *
 * The journal shows it every event that it publishes. Any thread. */
#ifndef HALLEY_ENGINE_JOURNAL_ROLL_H
#define HALLEY_ENGINE_JOURNAL_ROLL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"

struct buf;

struct journal_roll {
    pthread_mutex_t lock;
    struct map map;   /* struct roll_entry */
    uint64_t ended;   /* entries whose end nobody was told */
    uint64_t cursor;  /* of journal_roll_take() */
};

void journal_roll_init(struct journal_roll *r);
void journal_roll_done(struct journal_roll *r);

/* Is a message of this topic for the roll? */
bool journal_roll_is_event(struct slice topic);

/* An event was published, or is read back. ended_ms: 0, or when a crash ended what it tells of (wall clock). Without memory it is forgotten. */
void journal_roll_note(struct journal_roll *r, struct slice topic, struct slice payload, uint64_t time_ms, uint64_t ended_ms);

/* A crash: whoever was there is gone since then. */
void journal_roll_end_all(struct journal_roll *r, uint64_t ended_ms);

/* Append one slice as records of this type: event topic, payload, time, and as number ended_ms. Begin with *cursor = 0; false: that was all. */
bool journal_roll_dump(struct journal_roll *r, uint64_t *cursor, uint8_t type, uint32_t salt, struct buf *out);

enum roll_event { ROLL_DISCONNECT = 1, ROLL_VACATED = 2 }; /* bits */

/* Which of the two does a subscription to this name, or pattern, hear of? */
unsigned journal_roll_heard_by(struct slice name, bool is_pattern);

/* Some of the ends that nobody was told, of these kinds: tell() publishes each, which takes it off the roll when the journal sees it. Not twice before all others.
 * Returns whether there may be more. */
bool journal_roll_take(struct journal_roll *r, unsigned kinds, void (*tell)(const char *topic, struct slice payload, void *ctx), void *ctx);

#endif
