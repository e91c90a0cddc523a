#include "server/drain_pace.h"

#define RESTART_MS 1000  /* for the next process to be there */
#define SLOT_MIN_MS 200  /* a place among others who are told in the same moment */
#define RETURN_MAX_MS 3600000

uint64_t drain_pace_due(const struct drain_pace *p, uint64_t elapsed_ms)
{
    if (elapsed_ms >= p->time_ms)
        return p->count;
    uint64_t due = (uint64_t)((double)p->count * (double)elapsed_ms / (double)p->time_ms) + 1;
    return due < p->count ? due : p->count;
}

uint32_t drain_pace_return_ms(const struct drain_pace *p, uint64_t k, uint64_t elapsed_ms, uint32_t random)
{
    double all_ms = p->rate == 0 ? 0 : (double)p->total * 1000 / (double)p->rate;
    double slot_ms = p->count == 0 ? 0 : all_ms / (double)p->count; /* the other reactors' clients share it */
    double begin_ms = p->is_served ? 0 : (double)(p->time_ms + RESTART_MS);
    double at_ms = begin_ms + slot_ms * (double)k;
    double jitter_ms = (slot_ms > SLOT_MIN_MS ? slot_ms : SLOT_MIN_MS) * (random % 1000) / 1000;
    double left_ms = at_ms - (double)elapsed_ms;
    double ret = (left_ms > 0 ? left_ms : 0) + jitter_ms;
    return ret < RETURN_MAX_MS ? (uint32_t)ret : RETURN_MAX_MS;
}
