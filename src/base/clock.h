/* Time, in the two kinds that must not be mixed: one that only goes forward, and the one on the wall. */
#ifndef HALLEY_BASE_CLOCK_H
#define HALLEY_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_mono_ms(void) /* for timeouts and ages; unaffected by changes of the date */
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline uint64_t clock_mono_us(void) /* for how long a piece of work takes */
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static inline uint64_t clock_wall_ms(void) /* since 1970; for what people and other machines read */
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* How old is what happened at then_ms? 0 if that is to come: another thread may have read its clock later. What happened before the monotonic clock began is at
 * a time below 0, which has gone round. */
static inline uint64_t clock_age_ms(uint64_t now_ms, uint64_t then_ms)
{
    uint64_t age = now_ms - then_ms;
    return age < UINT64_MAX / 2 ? age : 0;
}

#endif
