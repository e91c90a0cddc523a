#include "transport/events.h"

#include <stdlib.h>
#include <string.h>

struct event {
    struct engine_publish publish;
    struct reactor *reactor;
};

static void on_published(struct engine_publish *p)
{
    struct event *e = HLY_CONTAINER_OF(p, struct event, publish);
    stat_add(p->result < 0 ? &e->reactor->stats.events_lost : &e->reactor->stats.events, 1);
    free(e);
}

void events_publish(struct reactor *r, const char *topic, struct slice json)
{
    struct message *m = message_new(topic, strlen(topic), json.ptr, (uint32_t)json.len);
    struct event *e = m == NULL ? NULL : malloc(sizeof *e);
    if (e == NULL) {
        message_unref(m);
        stat_add(&r->stats.events_lost, 1);
        return;
    }
    m->payload_kind = RULE_JSON;
    *e = (struct event){ .publish = { .message = m, .reactor = r->index, .done = on_published }, .reactor = r };
    r->engine->publish(r->engine, &e->publish);
}
