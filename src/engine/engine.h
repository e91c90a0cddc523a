/* The engine: where the order is made. `memory` answers at once; a journal answers after the disk, Redis after the network. So every
 * door hands over a request and goes on in its callback, from the first version on. */
#ifndef HALLEY_ENGINE_ENGINE_H
#define HALLEY_ENGINE_ENGINE_H

#include "core/hub.h"
#include "core/subscription.h"

struct engine_publish { /* one publish on its way; embedded by the door, which keeps it alive until done() */
    struct message *message; /* a reference that the engine takes */
    struct slice key;        /* idempotency key, len 0: none; borrowed for the call, an engine that answers later copies it */
    unsigned reactor;        /* done() is called on this reactor's thread: during publish(), or later */
    void (*done)(struct engine_publish *p);
    /* set before done(): */
    int result; /* 0, -EDQUOT (limits.topics), -ENOMEM; -ENOSPC, -EIO: it could not be written down; -ESHUTDOWN */
    struct hub_receipt receipt;
};

struct engine_subscribe { /* one subscription on its way; the subscriber must not end before done() */
    struct subscriber *subscriber;
    struct slice name; /* a checked topic or pattern; borrowed for the call */
    bool is_pattern;
    void (*done)(struct engine_subscribe *s);
    /* set before done(): */
    int result; /* 1: new, 0: it was there already, -EDQUOT, -ENOMEM */
    uint64_t seq; /* everything after it is delivered */
};

struct engine_value { /* one figure of an engine's own */
    const char *name;
    const char *doc;
    uint64_t value;
    bool is_gauge;
};

#define ENGINE_VALUES_MAX 16

struct engine {
    const char *name;
    void (*publish)(struct engine *e, struct engine_publish *p);
    void (*subscribe)(struct engine *e, struct engine_subscribe *s);
    size_t (*values)(struct engine *e, struct engine_value ret[ENGINE_VALUES_MAX]); /* NULL: it has none. Any thread */
    void (*settle)(struct engine *e, uint64_t max_ms); /* wait until what was published before is answered; NULL: it always is */
    /* Another process is to go on with what this one keeps: settled and with nothing on its way, put it in order and let go of it. And the reverse: take it back,
     * whatever the other has done to it. Both 0 or -errno, from one thread, not a reactor's; NULL: there is nothing to let go of. */
    int (*suspend)(struct engine *e);
    int (*resume)(struct engine *e);
    void (*stop)(struct engine *e); /* the loops have ended: what is on its way is answered on this thread. NULL: nothing ever is */
    void (*free)(struct engine *e);
};

/* The order is made in this process, by the hub (borrowed). NULL when out of memory. */
struct engine *engine_memory_new(struct hub *hub);

#endif
