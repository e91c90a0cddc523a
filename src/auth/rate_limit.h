/* A token bucket: so many per second on average, so many at once after a pause.
 *
 * Whole numbers only: the level is kept in thousandths, and a rate of n per second is n thousandths per millisecond, so
 * nothing is lost however often it is asked. Pure: time is a parameter, monotonic. All zero is a limit that allows
 * everything. */
#ifndef HALLEY_AUTH_RATE_LIMIT_H
#define HALLEY_AUTH_RATE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct rate_limit {
    int64_t level_milli; /* what may be taken now; below 0: owed */
    uint64_t filled_ms;  /* when level_milli was right */
    uint32_t per_s;      /* 0: no limit */
    uint32_t burst;
};

/* A full bucket. burst 0 counts as 1. */
void rate_limit_init(struct rate_limit *l, uint32_t per_s, uint32_t burst, uint64_t now_ms);

/* Change a living limit (a reload), keeping what was taken or is owed, but never more than the new burst. */
void rate_limit_change(struct rate_limit *l, uint32_t per_s, uint32_t burst, uint64_t now_ms);

/* Take n. Returns true if it was there. Else nothing is taken, and *ret_retry_ms, at least 1, is when to ask for as many again
 * (until somebody else takes some). More than the burst is given when the bucket is full and is owed from then on: a message
 * larger than the burst passes, and its sender waits the longer for the next. Time that goes back counts as standing still. */
bool rate_limit_take(struct rate_limit *l, uint64_t now_ms, uint32_t n, uint64_t *ret_retry_ms);

/* Take n whether they are there or not, and owe what is missing: for whoever cannot refuse, but can wait. Returns the milliseconds until
 * one could be taken again, 0: at once. */
uint64_t rate_limit_spend(struct rate_limit *l, uint64_t now_ms, uint32_t n);

/* Give back what has just been taken. */
void rate_limit_undo(struct rate_limit *l, uint32_t n);

/* Is the bucket as if nothing had ever been taken? */
bool rate_limit_is_full(struct rate_limit *l, uint64_t now_ms);

#endif
