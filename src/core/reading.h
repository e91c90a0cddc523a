/* Reading history: from a place in the order up to a bound, in slices of bounded work, as fast as whoever reads can take it.
 *
 * A subscriber that catches up (core/catchup), a replay beside a live flow, a poll, a backend's XREAD: all are this. The reactor gives each
 * reading a slice in turn (reading_run()); one that is full is parked until reading_wake(). */
#ifndef HALLEY_CORE_READING_H
#define HALLEY_CORE_READING_H

#include "core/cursor.h"
#include "core/hub.h"
#include "core/subscription.h"

#define READING_LAST_NONE UINT64_MAX

struct reading;

struct reading_slice { /* borrowed */
    struct message *const *messages;
    size_t count;
    uint64_t newest;          /* bit i: of message i's topic, nothing newer is kept */
    struct hub_reader before; /* the reading's position before it */
    bool is_gap;
    enum gap_reason reason;
};

struct reading_ops {
    /* Can it take no more for now? It is asked before each slice. NULL: it always can. */
    bool (*is_full)(struct reading *r);
    /* A slice has been read: messages (borrowed, 0 to HUB_READ_MAX) in seq order. is_gap: before them some are missing, that came after
     * `from` and for this reason. The reading's position is r->reader.pos now. Returns false when nothing more is wanted: the reading has
     * then been stopped, and may be gone. */
    bool (*on_read)(struct reading *r, struct message *const *messages, size_t count, bool is_gap, uint64_t from, enum gap_reason reason);
    /* The same, with all that is known; if it is set, on_read is not called. */
    bool (*on_slice)(struct reading *r, const struct reading_slice *slice);
    /* All up to the bound has been read; the reading has been stopped, and may be freed or started anew. It has everything up to r->reader.pos. */
    void (*on_end)(struct reading *r);
};

struct reading_from { /* where to begin and to end */
    uint64_t after;    /* everything up to this seq is had */
    uint64_t until;    /* nothing after this seq is wanted; UINT64_MAX: until there is no more */
    uint64_t forgiven; /* what was lost up to this seq, before the first slice is read, is not missed */
    uint64_t last;     /* begin so that the newest `last` messages up to `until` are read; READING_LAST_NONE: begin at `after` */
    bool is_lost;      /* the cursor is not known here: a gap is certain */
};

struct reading { /* embedded; all zero is one that was never started */
    struct list node;
    struct sub_table *table; /* NULL: not started */
    const struct reading_ops *ops;
    struct hub_reader reader;
    struct hub_name *names;  /* its own copy, or NULL: what the subscriber has subscribed to */
    size_t count;
    struct subscriber *subscriber;
    uint64_t until;
    uint64_t last;
    uint64_t found;
    uint64_t keep_bytes;
    uint64_t floor;     /* reading_measure() */
    bool is_seeking;
    bool is_measuring;
    bool is_lost;
    bool is_parked;
    bool is_again;
};

/* What a client's cursor and `last` mean. after NULL: none was given. seq: the seq after which its subscription is in force (S), and `until`. A
 * cursor wins over last. Without either nothing is to be read: after is seq. */
struct reading_from reading_from(const struct hub *hub, const struct cursor *after, uint64_t last, uint64_t seq);
/* Is there nothing to read at all? */
bool reading_from_is_empty(const struct reading_from *f);
/* The seq that a client may be told as its cursor before the first message is read: everything after it follows, or a gap is told. UINT64_MAX: none can be
 * promised yet (last, or a lost cursor). */
uint64_t reading_from_promise(const struct reading_from *f);

/* Begin. The names are copied; ops is borrowed. Nothing is read before the next turn. Returns 0 or -ENOMEM. */
int reading_start(struct reading *r, struct sub_table *t, const struct reading_ops *ops, const struct hub_name *names, size_t count,
                  const struct reading_from *from);
/* The same for what a subscriber has subscribed to, which may change meanwhile: each name from its subscription's from_seq on. */
void reading_start_subscriber(struct reading *r, struct subscriber *s, const struct reading_ops *ops, const struct reading_from *from);
/* Do one slice of it at once rather than in its turn. It may have been stopped, and its owner gone, when this returns. */
void reading_step(struct reading *r);
void reading_stop(struct reading *r); /* at any time, any number of times; also if it was never started */
void reading_wake(struct reading *r); /* it can take more; does nothing unless it is parked */

/* From on_slice(): the slice was not used; read it once more. */
void reading_again(struct reading *r, const struct reading_slice *slice);
/* Before the next slice find out, in slices as well, where the newest keep_bytes of messages begin: r->floor, a seq after which they all are. */
void reading_measure(struct reading *r, uint64_t keep_bytes);

static inline bool reading_is_on(const struct reading *r)
{
    return r->table != NULL;
}

/* Do up to `steps` slices of work, each reading in turn. Returns whether there is more to do. */
bool reading_run(struct sub_table *t, int steps);

#endif
