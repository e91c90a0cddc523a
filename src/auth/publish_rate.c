#include "auth/publish_rate.h"

void publish_rate_init(struct publish_rate *p, const struct publish_limits *limits, uint64_t now_ms)
{
    rate_limit_init(&p->messages, limits->messages_per_s, limits->burst, now_ms);
    rate_limit_init(&p->bytes, limits->bytes_per_s, limits->bytes_per_s, now_ms);
}

void publish_rate_change(struct publish_rate *p, const struct publish_limits *limits, uint64_t now_ms)
{
    if (p->messages.per_s != limits->messages_per_s || p->messages.burst != limits->burst)
        rate_limit_change(&p->messages, limits->messages_per_s, limits->burst, now_ms);
    if (p->bytes.per_s != limits->bytes_per_s)
        rate_limit_change(&p->bytes, limits->bytes_per_s, limits->bytes_per_s, now_ms);
}

bool publish_rate_take(struct publish_rate *p, uint64_t now_ms, uint32_t bytes, uint64_t *ret_retry_ms)
{
    if (!rate_limit_take(&p->messages, now_ms, 1, ret_retry_ms))
        return false;
    if (rate_limit_take(&p->bytes, now_ms, bytes, ret_retry_ms))
        return true;
    rate_limit_undo(&p->messages, 1);
    return false;
}

uint64_t publish_rate_spend(struct publish_rate *p, uint64_t now_ms, uint32_t messages, uint32_t bytes)
{
    uint64_t messages_ms = rate_limit_spend(&p->messages, now_ms, messages);
    uint64_t bytes_ms = rate_limit_spend(&p->bytes, now_ms, bytes);
    return messages_ms > bytes_ms ? messages_ms : bytes_ms;
}

bool publish_rate_is_full(struct publish_rate *p, uint64_t now_ms)
{
    return rate_limit_is_full(&p->messages, now_ms) && rate_limit_is_full(&p->bytes, now_ms);
}
