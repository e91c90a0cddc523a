/* A circuit breaker: is it worth asking somebody who may be down? Whoever waits for an answer that will not come has a
 * right to hear so at once, and who is down comes up sooner when nobody asks. Pure: the time is a parameter.
 *
 * CLOSED: everything passes, and so many failures in a row open it. OPEN: nothing passes until the pause is over; then the
 * next one does, as the probe, and it is HALF_OPEN: the probe's outcome decides whether it closes or opens again. What was
 * on its way when it opened no longer counts. */
#ifndef HALLEY_AUTH_BREAKER_H
#define HALLEY_AUTH_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define BREAKER_STATES(X) X(CLOSED) X(OPEN) X(HALF_OPEN)
#define BREAKER_AS_ENUM(name) BREAKER_##name,
enum breaker_state { BREAKER_STATES(BREAKER_AS_ENUM) };
#undef BREAKER_AS_ENUM

struct breaker_limits {
    uint32_t failures; /* in a row: with these it opens; at least 1 */
    uint64_t pause_ms; /* how long it is open before a probe */
};

struct breaker { /* all zero: closed */
    enum breaker_state state;
    uint32_t failures; /* in a row, while CLOSED */
    uint64_t until_ms; /* while OPEN */
};

enum breaker_pass { BREAKER_PASSES, BREAKER_PROBES, BREAKER_REFUSES };

/* May one pass now? Of each that passes the outcome is to be told, with whether it was the probe. */
enum breaker_pass breaker_ask(struct breaker *b, uint64_t now_ms);

/* Its outcome. Return whether the breaker has opened or closed. */
bool breaker_succeeded(struct breaker *b, bool is_probe);
bool breaker_failed(struct breaker *b, const struct breaker_limits *limits, bool is_probe, uint64_t now_ms);

/* It has ended without one. The next to ask is the probe, at once. */
void breaker_abandoned(struct breaker *b, bool is_probe, uint64_t now_ms);

/* Milliseconds until it is worth asking again; 0: now. */
uint64_t breaker_retry_ms(const struct breaker *b, uint64_t now_ms);

#endif
