#include "net/wheel.h"

#define LONGEST_MS ((uint64_t)(INT32_MAX - 1) * WHEEL_TICK_MS)

void wheel_init(struct wheel *w)
{
    for (int i = 0; i < WHEEL_SLOTS; i++)
        list_init(&w->slots[i]);
    list_init(&w->due);
    w->tick = 0;
    w->into_tick_ms = 0;
}

void wheel_start(struct wheel *w, struct wheel_timer *t, uint64_t after_ms)
{
    if (after_ms == 0)
        after_ms = 1; /* the next tick, not this one */
    if (after_ms > LONGEST_MS)
        after_ms = LONGEST_MS;
    uint64_t ticks = (w->into_tick_ms + after_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
    list_remove(&t->node);
    t->due = w->tick + (uint32_t)ticks;
    list_push(&w->slots[t->due % WHEEL_SLOTS], &t->node);
}

void wheel_stop(struct wheel_timer *t)
{
    list_remove(&t->node);
}

static void wheel_fire_slot(struct wheel *w, struct list *slot)
{
    LIST_EACH_SAFE (it, next, slot) {
        struct wheel_timer *t = LIST_ENTRY(it, struct wheel_timer, node);
        if ((int32_t)(t->due - w->tick) <= 0) { /* else it is due in a later round of the wheel */
            list_remove(&t->node);
            list_push(&w->due, &t->node);
        }
    }
}

void wheel_advance(struct wheel *w, uint64_t now_ms)
{
    uint32_t tick = (uint32_t)(now_ms / WHEEL_TICK_MS);
    uint32_t ticks = tick - w->tick;
    w->into_tick_ms = (uint32_t)(now_ms % WHEEL_TICK_MS);
    if (ticks > WHEEL_SLOTS) { /* the process was stopped for longer than a round: every slot once is enough */
        w->tick = tick - WHEEL_SLOTS;
        ticks = WHEEL_SLOTS;
    }
    for (; ticks > 0; ticks--) {
        w->tick++;
        wheel_fire_slot(w, &w->slots[w->tick % WHEEL_SLOTS]);
    }
}

struct wheel_timer *wheel_next_due(struct wheel *w)
{
    struct list *node = list_pop(&w->due);
    return node == NULL ? NULL : LIST_ENTRY(node, struct wheel_timer, node);
}
