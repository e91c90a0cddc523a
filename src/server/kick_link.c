#include "server/kick_link.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/link.h"
#include "server/pump.h"
#include "server/server_internal.h"
#include "transport/kick.h"

struct word { /* on its way to the main thread */
    struct loop_task task;
    struct server *server;
    struct buf record;
};

static void on_main(struct loop_task *t)
{
    struct word *w = HLY_CONTAINER_OF(t, struct word, task);
    struct pump *p = w->server->link;
    if (p != NULL && p->is_open)
        buf_append(&p->out, w->record.data, w->record.len);
    buf_done(&w->record);
    free(w);
}

/* Any thread. Connections are named by where they are, and nobody knows those of the other process here. */
static void on_kick(struct server_view *view, const struct kick *k)
{
    struct server *s = HLY_CONTAINER_OF(view, struct server, view);
    struct word *w = k->target == KICK_CONNECTION ? NULL : calloc(1, sizeof *w);
    if (w == NULL)
        return;
    *w = (struct word){ .task = { .run = on_main }, .server = s };
    list_init(&w->task.node);
    hub_record_encode(&w->record, LINK_SALT,
                      &(struct hub_record){ .type = LINK_KICK,
                                            .kind = k->target,
                                            .number = k->code,
                                            .time_ms = k->until_ms,
                                            .topic = { k->topic, k->topic_len },
                                            .key = { k->name, strlen(k->name) },
                                            .payload = { k->reason, strlen(k->reason) } });
    if (w->record.failed || !loop_post(&s->reactors[0].loop, &w->task)) {
        buf_done(&w->record);
        free(w);
    }
}

void kick_link_begin(struct server *s, struct pump *p)
{
    s->link = p;
    atomic_store(&s->view.on_kick, on_kick);
}

static void free_kick(struct kick *k)
{
    free(k);
}

void kick_link_take(struct server *s, const struct hub_record *record)
{
    struct kick *k = calloc(1, sizeof *k);
    if (k == NULL)
        return;
    k->on_home = k->on_lost = free_kick;
    k->is_relayed = true;
    const char *wrong = record->kind == KICK_CONNECTION ? "a connection of there" : kick_set_target(k, &s->view, (enum kick_target)record->kind, record->key);
    if (wrong == NULL && record->topic.len > 0)
        wrong = kick_set_topic(k, record->topic);
    if (wrong == NULL)
        wrong = kick_set_reason(k, record->payload);
    if (wrong == NULL && record->time_ms != 0)
        wrong = kick_revoke(k, &s->reactors[0], record->time_ms);
    if (wrong != NULL) {
        log_warn("upgrade", "what a backend ended or revoked in the other process could not be here: %s", wrong);
        free(k);
        return;
    }
    k->code = (uint16_t)record->number;
    kick_start(k, &s->reactors[0]);
}
