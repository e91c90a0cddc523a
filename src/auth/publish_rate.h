/* How much one client may publish: messages and bytes per second, each a token bucket. Pure. */
#ifndef HALLEY_AUTH_PUBLISH_RATE_H
#define HALLEY_AUTH_PUBLISH_RATE_H

#include "auth/rate_limit.h"

struct publish_limits { /* all zero: publish at will */
    uint32_t messages_per_s; /* 0: no limit */
    uint32_t burst;          /* messages at once after a pause */
    uint32_t bytes_per_s;    /* 0: no limit; as many at once after a pause, and a larger message passes when nothing is owed */
};

struct publish_rate {
    struct rate_limit messages;
    struct rate_limit bytes;
};

static inline bool publish_limits_are_set(const struct publish_limits *limits)
{
    return limits->messages_per_s > 0 || limits->bytes_per_s > 0;
}

/* Nothing taken yet. */
void publish_rate_init(struct publish_rate *p, const struct publish_limits *limits, uint64_t now_ms);

/* Other limits from now on (a reload); what is owed stays owed. */
void publish_rate_change(struct publish_rate *p, const struct publish_limits *limits, uint64_t now_ms);

/* Take one message of so many bytes. False: nothing is taken, and *ret_retry_ms, at least 1, is when to try again. */
bool publish_rate_take(struct publish_rate *p, uint64_t now_ms, uint32_t bytes, uint64_t *ret_retry_ms);

/* Take so many messages of so many bytes in all, and owe what is missing. Returns the milliseconds that the next message has to wait for;
 * with none at all it only tells that. */
uint64_t publish_rate_spend(struct publish_rate *p, uint64_t now_ms, uint32_t messages, uint32_t bytes);

/* Is it as good as a new one? */
bool publish_rate_is_full(struct publish_rate *p, uint64_t now_ms);

#endif
