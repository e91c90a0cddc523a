/* Catching up: a subscriber that reads on from history until it is level, and then is live, without a hole or a repeat.
 *
 * It is the same for a client that comes back with a cursor and for one that could not take what was sent: both have a place in the order, and while
 * they are behind the fan-out passes them by. Level is decided under the hub's lock, so that the first live message is the one
 * after the last that was read. A slow client costs a cursor: nothing is queued for it but what its connection already took. */
#ifndef HALLEY_CORE_CATCHUP_H
#define HALLEY_CORE_CATCHUP_H

#include "core/subscription.h"

#define CATCHUP_LAST_NONE UINT64_MAX

/* The subscriber has everything up to after_seq: read on from there. With `last` other than CATCHUP_LAST_NONE: begin so that the newest
 * `last` messages are read, and say nothing of a gap before them. with_gap false: what is not there any more is not missed (`after=0`), but for
 * what was published since it subscribed, and what goes while it reads. While it is
 * behind, subscribe() and unsubscribe() are not for it. Returns 0 or -ENOMEM: then it is still live. */
int catchup_start(struct subscriber *s, uint64_t after_seq, bool with_gap, uint64_t last);

/* The subscriber has a cursor of which nothing is known here: it has surely missed something, and reads all there is. */
int catchup_start_lost(struct subscriber *s);

/* It can take more. Does nothing if it is not behind, or not parked. */
void catchup_wake(struct subscriber *s);

/* Stop reading for it. */
void catchup_end(struct subscriber *s);

/* Do up to `steps` slices of work for those who are behind, in turn. Returns whether there is more to do. */
bool catchup_run(struct sub_table *t, struct chunk_pool *chunks, int steps);

#endif
