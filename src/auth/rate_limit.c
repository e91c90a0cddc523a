#include "auth/rate_limit.h"

static int64_t full(const struct rate_limit *l)
{
    return (int64_t)l->burst * 1000;
}

static void fill(struct rate_limit *l, uint64_t now_ms)
{
    if (l->per_s == 0 || now_ms <= l->filled_ms)
        return;
    uint64_t missing = (uint64_t)(full(l) - l->level_milli), elapsed_ms = now_ms - l->filled_ms;
    if (elapsed_ms > missing / l->per_s) /* compared so that nothing can overflow */
        l->level_milli = full(l);
    else
        l->level_milli += (int64_t)(elapsed_ms * l->per_s);
    l->filled_ms = now_ms;
}

void rate_limit_init(struct rate_limit *l, uint32_t per_s, uint32_t burst, uint64_t now_ms)
{
    *l = (struct rate_limit){ .filled_ms = now_ms, .per_s = per_s, .burst = burst > 0 ? burst : 1 };
    l->level_milli = full(l);
}

void rate_limit_change(struct rate_limit *l, uint32_t per_s, uint32_t burst, uint64_t now_ms)
{
    if (l->per_s == 0) { /* it kept no account */
        rate_limit_init(l, per_s, burst, now_ms);
        return;
    }
    fill(l, now_ms);
    l->per_s = per_s;
    l->burst = burst > 0 ? burst : 1;
    if (l->level_milli > full(l))
        l->level_milli = full(l);
}

bool rate_limit_take(struct rate_limit *l, uint64_t now_ms, uint32_t n, uint64_t *ret_retry_ms)
{
    if (l->per_s == 0)
        return true;
    fill(l, now_ms);
    int64_t needed = (int64_t)(n < l->burst ? n : l->burst) * 1000;
    if (l->level_milli >= needed) {
        l->level_milli -= (int64_t)n * 1000;
        return true;
    }
    *ret_retry_ms = ((uint64_t)(needed - l->level_milli) + l->per_s - 1) / l->per_s;
    return false;
}

uint64_t rate_limit_spend(struct rate_limit *l, uint64_t now_ms, uint32_t n)
{
    if (l->per_s == 0)
        return 0;
    fill(l, now_ms);
    l->level_milli -= (int64_t)n * 1000;
    return l->level_milli >= 1000 ? 0 : ((uint64_t)(1000 - l->level_milli) + l->per_s - 1) / l->per_s;
}

void rate_limit_undo(struct rate_limit *l, uint32_t n)
{
    if (l->per_s == 0)
        return;
    l->level_milli += (int64_t)n * 1000;
    if (l->level_milli > full(l))
        l->level_milli = full(l);
}

bool rate_limit_is_full(struct rate_limit *l, uint64_t now_ms)
{
    fill(l, now_ms);
    return l->per_s == 0 || l->level_milli == full(l);
}
