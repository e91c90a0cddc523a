#include "transport/unread.h"

#include <errno.h>
#include <stdlib.h>

struct unread {
    struct list node; /* in reactor->unread */
    struct conn *conn;
    struct unread **slot;
    struct buf rest;
};

void unread_keep(struct reactor *r, struct conn *c, struct unread **slot, const uint8_t *data, size_t len)
{
    struct unread *u = calloc(1, sizeof *u);
    if (u == NULL || (len > 0 && buf_append(&u->rest, data, len) < 0)) {
        free(u);
        conn_fail(c, ENOMEM);
        return;
    }
    u->conn = c;
    u->slot = slot;
    *slot = u;
    list_push(&r->unread, &u->node);
    conn_pause(c, CONN_PAUSE_TURN);
    loop_again(&r->loop);
}

void unread_drop(struct unread **slot)
{
    struct unread *u = *slot;
    if (u == NULL)
        return;
    list_remove(&u->node);
    buf_done(&u->rest);
    free(u);
    *slot = NULL;
}

static void hand_on(struct unread *u)
{
    struct conn *c = u->conn;
    struct buf rest = u->rest;
    u->rest = (struct buf){ 0 };
    unread_drop(u->slot);
    conn_resume(c, CONN_PAUSE_TURN);
    c->ops->on_read(c, rest.data, rest.len);
    buf_done(&rest);
}

static bool is_ready(const struct unread *u)
{
    return !u->conn->closed && !u->conn->finishing && (u->conn->paused & ~CONN_PAUSE_EOF) == CONN_PAUSE_TURN;
}

bool unread_run(struct reactor *r)
{
    struct list now;
    bool more = false;
    list_init(&now);
    list_splice(&now, &r->unread);
    for (struct list *node; (node = list_pop(&now)) != NULL;) {
        struct unread *u = LIST_ENTRY(node, struct unread, node);
        if (is_ready(u))
            hand_on(u);
        else
            list_push(&r->unread, node);
    }
    LIST_EACH (it, &r->unread)
        more |= is_ready(LIST_ENTRY(it, struct unread, node));
    return more;
}
