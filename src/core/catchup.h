/* Catching up: a subscriber that reads on from history until it is level, and then is live, without a hole or a repeat.
 *
 * It is the same for a client that comes back with a cursor and for one that could not take what was sent: both have a place in the order, and while
 * they are behind the fan-out passes them by. Level is decided under the hub's lock, so that the first live message is the one
 * after the last that was read. A slow client costs a cursor: nothing is queued for it but what its connection already took. */
#ifndef HALLEY_CORE_CATCHUP_H
#define HALLEY_CORE_CATCHUP_H

#include "core/subscription.h"

struct reading_from;

/* It comes back: read from where it says, for all its subscriptions, then go live. While it is behind it may subscribe and unsubscribe. What a subscription
 * that is made meanwhile matches comes from its S on. Returns 0 or -ENOMEM: then it is still live. */
int catchup_resume(struct subscriber *s, const struct reading_from *from);

/* It could not take the messages from first_seq on: read on from there when it can. Rules with on_slow = drop_oldest or conflate then give it less, and a
 * gap is told. Does nothing if it is behind already. Returns 0 or -ENOMEM: then it is still live. */
int catchup_fall_behind(struct subscriber *s, uint64_t first_seq);

/* What it had been given from first_seq on has been taken back: read it again. It may be live or behind. */
int catchup_go_back(struct subscriber *s, uint64_t first_seq);

/* It can take more. Does nothing if it is not behind, or not parked. */
void catchup_wake(struct subscriber *s);

/* Stop reading for it. */
void catchup_end(struct subscriber *s);

/* Where it is: everything up to this seq has been handed to it. Only while it is behind. */
uint64_t catchup_position(const struct subscriber *s);

#endif
