#include "auth/breaker.h"

#include <assert.h>

#include "base/log.h"

#define AS_NAME(name) [BREAKER_##name] = #name,
static const char *const breaker_state_names[] = { BREAKER_STATES(AS_NAME) };
static const unsigned breaker_next[] = { /* bit n set: state n may follow */
    [BREAKER_CLOSED] = 1u << BREAKER_OPEN,
    [BREAKER_OPEN] = 1u << BREAKER_HALF_OPEN,
    [BREAKER_HALF_OPEN] = 1u << BREAKER_CLOSED | 1u << BREAKER_OPEN,
};

static void breaker_enter(struct breaker *b, enum breaker_state next)
{
    assert(breaker_next[b->state] & 1u << next);
    log_debug("breaker", "breaker=%p %s -> %s", (void *)b, breaker_state_names[b->state], breaker_state_names[next]);
    b->state = next;
    b->failures = 0;
}

static void breaker_open(struct breaker *b, uint64_t until_ms)
{
    breaker_enter(b, BREAKER_OPEN);
    b->until_ms = until_ms;
}

enum breaker_pass breaker_ask(struct breaker *b, uint64_t now_ms)
{
    if (b->state == BREAKER_CLOSED)
        return BREAKER_PASSES;
    if (b->state == BREAKER_HALF_OPEN || now_ms < b->until_ms)
        return BREAKER_REFUSES;
    breaker_enter(b, BREAKER_HALF_OPEN);
    return BREAKER_PROBES;
}

bool breaker_succeeded(struct breaker *b, bool is_probe)
{
    if (b->state == BREAKER_CLOSED)
        b->failures = 0;
    if (!is_probe || b->state != BREAKER_HALF_OPEN)
        return false;
    breaker_enter(b, BREAKER_CLOSED);
    return true;
}

bool breaker_failed(struct breaker *b, const struct breaker_limits *limits, bool is_probe, uint64_t now_ms)
{
    bool opens = b->state == BREAKER_CLOSED ? ++b->failures >= limits->failures : b->state == BREAKER_HALF_OPEN && is_probe;
    if (opens)
        breaker_open(b, now_ms + limits->pause_ms);
    return opens;
}

void breaker_abandoned(struct breaker *b, bool is_probe, uint64_t now_ms)
{
    if (is_probe && b->state == BREAKER_HALF_OPEN)
        breaker_open(b, now_ms);
}

uint64_t breaker_retry_ms(const struct breaker *b, uint64_t now_ms)
{
    return b->state == BREAKER_OPEN && b->until_ms > now_ms ? b->until_ms - now_ms : 0;
}
