/* A reactor's inbox: messages that the hub has ordered and the reactor has not delivered yet.
 *
 * The hub pushes under its own lock, so the order in an inbox is the order of seqs; the reactor takes a batch once per loop turn. The
 * inbox has its own short lock, so that a reactor that drains does not wait for publishers, nor they for each other here. */
#ifndef HALLEY_CORE_INBOX_H
#define HALLEY_CORE_INBOX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/message.h"

#define INBOX_TAKE_BYTES (64u << 20) /* then a batch ends: what a subscriber gets of it is counted in 32 bits */

struct inbox {
    pthread_mutex_t lock;
    struct message **ring; /* references */
    size_t cap;            /* a power of two */
    size_t head;
    size_t count;
    uint64_t bytes;        /* memory of the messages in it */
    uint64_t max_bytes;
    bool over;             /* bytes passed max_bytes, and has not yet fallen to half of it */
    _Atomic bool has_mail; /* a hint, so that an idle turn of the loop takes no lock */
    _Atomic unsigned *over_count; /* the hub's: how many inboxes are over */
};

void inbox_init(struct inbox *in, uint64_t max_bytes, _Atomic unsigned *over_count);
void inbox_set_max_bytes(struct inbox *in, uint64_t max_bytes); /* from the next push or take on */
void inbox_done(struct inbox *in); /* unrefs what is left */

/* Make sure that so many pushes cannot fail. Any thread, but only one at a time may reserve and push. Returns 0 or -ENOMEM. */
int inbox_reserve(struct inbox *in, size_t pushes);

/* Push after a successful inbox_reserve(). Takes the reference. Returns whether the reactor has to be woken: the inbox was empty. */
bool inbox_push(struct inbox *in, struct message *m);

/* Take up to max messages (references) out, oldest first, fewer when they come to INBOX_TAKE_BYTES. *ret_relieved: this take brought the inbox back below its limit.
 * Returns how many. The reactor's own thread. */
size_t inbox_take(struct inbox *in, struct message **out, size_t max, bool *ret_relieved);

/* The seq of the oldest message in it; 0 when empty. */
uint64_t inbox_first_seq(struct inbox *in);

static inline bool inbox_has_mail(struct inbox *in)
{
    return atomic_load_explicit(&in->has_mail, memory_order_acquire);
}

#endif
