/* Presence: who is on a topic.
 *
 * A member is a user (the subject of its token), or, without one, a connection. One user may be there with many
 * connections: it joins with the first and leaves with the last, and a user that comes back within the grace has never
 * left. For each member joining and leaving are told in turn, whatever is called: each join that returned 1 is followed
 * by exactly one leave, from presence_leave() or presence_expire(), before the next.
 *
 * Lists are read in pages and events name one member, so a topic of any size costs its size once. One table for all
 * reactors, with a lock of its own that is held for at most about 1,000 steps; nothing is called under it but the visit
 * of presence_page(). What two threads are told of one member is in the order of the lock, but they may pass it on in
 * the other order: whoever makes events of it has to see to that. */
#ifndef HALLEY_CORE_PRESENCE_H
#define HALLEY_CORE_PRESENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

struct presence;

struct presence_member {  /* as it is shown; borrowed for the call */
    struct slice user;    /* subject, or the connection's id where there is none */
    bool is_anonymous;    /* it is the latter; a subject that reads the same is another member */
    uint32_t connections; /* 0: within its grace. Not looked at by presence_join() */
    struct slice info; /* JSON of its token: of the join that came last, even if its connection is gone; len 0: none */
};

/* max_bytes: limits.presence, of all members together. NULL when out of memory. */
struct presence *presence_new(uint64_t max_bytes);
void presence_free(struct presence *p); /* NULL is accepted */

/* Change limits.presence (a reload). Who is there stays, even over the limit. Any thread. */
void presence_set_max_bytes(struct presence *p, uint64_t max_bytes);

/* A connection has subscribed to a topic (a valid name) whose rule keeps presence. connection: a number unique among living
 * connections. who is borrowed.
 *
 * Returns 1: the member has joined (tell it), 0: it was there already, or has not been told to have left; -EDQUOT at
 * limits.presence, -ENOMEM: nothing has changed. Joining twice is once, with the info of the second time; one that brings no
 * more bytes than it frees is never refused. A connection is there for one user: if it joins for another, it is gone from the
 * first, and if that was its last, the first leaves at the next presence_expire(), whatever the time. Any thread. */
int presence_join(struct presence *p, struct slice topic, const struct presence_member *who, uint64_t connection);

/* The connection is gone from the topic. Returns 1: the member has left (tell it), 0: it has other connections, or leaves when
 * its grace is over (presence_expire() tells), or the connection was not there, or is there for another user by now. Needs no
 * memory. Any thread. */
int presence_leave(struct presence *p, struct slice topic, struct slice user, uint64_t connection, uint64_t now_ms,
                   uint64_t grace_ms);

/* Those whose grace is over leave, the longest over first: visit is called for each, without the lock, with topic and
 * member (connections 0), both borrowed. A member that has left this way may have joined again by the time of its visit. At
 * most `max` a call; returns whether there may be more. Call it now and then even where no rule has a grace. Any thread. */
bool presence_expire(struct presence *p, uint64_t now_ms, size_t max,
                     void (*visit)(struct slice topic, const struct presence_member *who, void *ctx), void *ctx);

/* Is the member there, those within their grace included? connections is not looked at. Any thread. */
bool presence_has(struct presence *p, struct slice topic, const struct presence_member *who);

/* Walk over all members of all topics in slices: start with *cursor = 0. visit is called with the lock held and must not call back. Returns false when all have
 * been seen; one may be seen twice. Any thread. */
bool presence_walk(struct presence *p, uint64_t *cursor, void (*visit)(struct slice topic, const struct presence_member *who, void *ctx), void *ctx);

struct presence_count {
    uint64_t members; /* those within their grace included */
    uint64_t connections;
};
struct presence_count presence_count(struct presence *p, struct slice topic);

#define PRESENCE_PAGE_MAX 1000 /* members of one page */

/* One page of a topic's members, those within their grace included, in the order in which they joined: start with *next = 0,
 * and hand it back as it came for the page after. visit is called with the lock held and must not call back. At most `max`
 * members, and never more than PRESENCE_PAGE_MAX. Returns false when all have been seen.
 *
 * *next is a place in that order, good for as long as the process lives, even if the topic is empty in between. It may be
 * shown to clients: one that is made up only names another place. So, while members come and go between pages, who stays
 * is seen once, who leaves is seen once or missed, and who joins comes last: one that leaves and joins again, not within
 * its grace, may be seen twice. A reader that got false and goes on with *next sees only those who have joined since.
 * The steps are those of the page: what the topic has besides costs no more than a search in it. */
bool presence_page(struct presence *p, struct slice topic, uint64_t *next, size_t max,
                   void (*visit)(const struct presence_member *m, void *ctx), void *ctx);

struct presence_stats {
    uint64_t topics;      /* with members */
    uint64_t members;     /* those within their grace included; a user counts once per topic */
    uint64_t connections; /* a connection counts once per topic */
    uint64_t bytes;       /* see below; 0 when there are no members */
    uint64_t refused;     /* joins at limits.presence */
};
void presence_get_stats(struct presence *p, struct presence_stats *ret);

/* What counts against limits.presence: each topic, member, connection on a topic, and info is an allocation, counted with
 * what the allocator adds (8 bytes, rounded up to 16, at least 32); each but the info has a place in a hash table, counted as
 * 16 bytes: 8 to 16 as that grows, 24 for the moment in which it moves. On 64 bits a member with a subject of 8 bytes
 * and no info is 128 bytes, each connection of it 64, and a topic with a name of 8 bytes 80. */

#endif
