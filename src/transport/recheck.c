#include "transport/recheck.h"

#define CONNS_PER_TURN 100 /* each may have many subscriptions */

static void on_slice(struct loop_task *t)
{
    struct recheck *rc = HLY_CONTAINER_OF(t, struct recheck, task);
    struct loop *loop = &rc->reactor->loop;
    struct conn *c = NULL;
    for (int n = 0; n < CONNS_PER_TURN && (c = conn_walk_next(&rc->walk, loop)) != NULL; n++)
        if (!c->closed && !c->finishing && c->ops->recheck != NULL)
            c->ops->recheck(c);
    if (c != NULL && loop_post(loop, t))
        return;
    conn_walk_end(&rc->walk);
    rc->on_done(rc);
}

void recheck_start(struct recheck *rc, struct reactor *r, void (*on_done)(struct recheck *rc))
{
    rc->task.run = on_slice;
    rc->reactor = r;
    rc->on_done = on_done;
    conn_walk_begin(&rc->walk, &r->loop);
    on_slice(&rc->task);
}
