/* SIGHUP, POST /reload: the config is loaded again and taken up, without dropping a connection. Main thread.
 *
 * First everything that can fail: the file is loaded and checked, keys are read, new listeners opened, memory had. If
 * anything does, nothing changes, and the log and the answer say what. Then the switch, which cannot fail: the hub's rules
 * and limits at once, each reactor's in a task of its own. There new listeners begin to accept, those that are no longer in
 * the config empty their queues and close, and living connections are looked at again in slices. When all reactors are
 * through, what the old config left behind goes. A reload that comes meanwhile waits for that. */
#ifndef HALLEY_SERVER_RELOAD_H
#define HALLEY_SERVER_RELOAD_H

#include "base/buf.h"
#include "base/list.h"
#include "net/loop.h"

struct control_order;
struct live_settings;
struct server;

struct reload {
    struct server *server;
    struct loop_task task;       /* slices of what follows */
    struct live_settings *old;   /* until every reactor has let go of it */
    struct list asked;           /* struct control_order: answered when the reload that has begun is done */
    struct list waiting;         /* likewise, of the one after it */
    struct buf answer;           /* when it is through */
    unsigned reactors;           /* that are not through */
    bool is_on;
    bool is_wanted;              /* another, after this one */
};

void reload_init(struct reload *rl, struct server *s);

/* Reload, now or after the one that is on its way. o: who asked, and gets the answer; NULL: a signal. */
void reload_ask(struct reload *rl, struct control_order *o);

/* The server ends: what is on its way is finished by nobody. */
void reload_done(struct reload *rl);

#endif
