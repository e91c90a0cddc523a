/* When whom to tell, and when they may come back: the arithmetic of a drain. Pure. */
#ifndef HALLEY_SERVER_DRAIN_PACE_H
#define HALLEY_SERVER_DRAIN_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct drain_pace {
    uint64_t count;    /* clients of this reactor, at the beginning */
    uint64_t total;    /* of all reactors */
    uint64_t time_ms;  /* drain_time */
    uint64_t rate;     /* drain_rate: returns per second, of all reactors; 0: no pace */
    bool is_served;    /* a successor serves already: who is told may come at once */
};

/* How many of them are to have been told by now: evenly over time_ms, the first at once. */
uint64_t drain_pace_due(const struct drain_pace *p, uint64_t elapsed_ms);

/* In how many milliseconds the k-th that is told (from 0) is to come back. All returns together are spread evenly, so that there are `rate` a second; without
 * a successor they begin a moment after the drain's end. random: any number, for a place within the client's own slot. */
uint32_t drain_pace_return_ms(const struct drain_pace *p, uint64_t k, uint64_t elapsed_ms, uint32_t random);

#endif
