/* The engine without anything beside it: the hub's order is the order, and every request is complete when it is made. */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/engine.h"

struct engine_memory {
    struct engine engine;
    struct hub *hub;
};

static void memory_publish(struct engine *e, struct engine_publish *p)
{
    struct engine_memory *em = (struct engine_memory *)e;
    p->message->time_ms = clock_wall_ms();
    p->message->born_ms = clock_mono_ms();
    p->result = hub_publish(em->hub, p->message, p->key, p->reactor, &p->receipt);
    p->message = message_unref(p->message);
    p->done(p);
}

static void memory_subscribe(struct engine *e, struct engine_subscribe *s)
{
    (void)e;
    s->result = subscribe(s->subscriber, s->name, s->is_pattern, &s->seq);
    s->done(s);
}

static void memory_free(struct engine *e)
{
    free(e);
}

struct engine *engine_memory_new(struct hub *hub)
{
    struct engine_memory *em = malloc(sizeof *em);
    if (em == NULL)
        return NULL;
    *em = (struct engine_memory){
        .engine = { .name = "memory", .publish = memory_publish, .subscribe = memory_subscribe, .free = memory_free },
        .hub = hub,
    };
    return &em->engine;
}
