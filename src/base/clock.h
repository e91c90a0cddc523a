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

static inline uint64_t clock_wall_ms(void) /* since 1970; for what people and other machines read */
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

#endif
