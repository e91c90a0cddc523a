/* What a server and its successor say to each other over a socket pair, during an upgrade and as long as the old one still has clients.
 *
 * Everything is a record (core/hub_record.h), those of the hub's state among them:
 *
 *     old                                      successor
 *      | -- starts it ---------------------------> |  reads its config, opens what is new
 *      | <------------------------------- HELLO -- |
 *      |  holds publishes back, closes the journal |
 *      | -- HELD --------------------------------> |  opens the journal, if there is one
 *      | -- the hub's records, MEMBER, REVOKED --> |  restores them; with a journal the hub is restored from that
 *      | -- STATE_END ---------------------------> |
 *      | <------------------------------- TAKEN -- |
 *      | -- GO ----------------------------------> |  from here on it is the server, and the old one follows
 *      | <----------------------------- SERVING -- |
 *      |  accepts no more, drains                  |
 *      | -- PUBLISH -----------------------------> |  what the clients and backends that it still has publish
 *      | <----------------------------- RECEIPT -- |
 *      | <----------------------------- MESSAGE -- |  everything that is published, in order
 *      | <- KICK --------------------------------> |
 *
 * Before GO either side may end it: then the old one goes on as if nothing had been. */
#ifndef HALLEY_SERVER_LINK_H
#define HALLEY_SERVER_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "core/hub_record.h"
#include "core/message.h"

#define LINK_VERSION 1 /* of this conversation: a successor that speaks another is refused, and a restart is needed */
#define LINK_SALT 0x79654c48u /* both ends are ours: nothing has to be hard to guess */

enum link_type {
    LINK_HELLO = HUB_RECORD_OWN, /* number: LINK_VERSION; topic: journal.path, its end; payload: the program's version */
    LINK_HELD,
    LINK_MEMBER,    /* who is present: topic, payload: a JSON object as in a join */
    LINK_REVOKED,   /* kind: enum revocation_kind, key: its name, time: since, number: until */
    LINK_STATE_END, /* number: the head's seq, key: the epoch */
    LINK_TAKEN,
    LINK_GO,
    LINK_SERVING,
    LINK_BYE,       /* the successor stops: who is still connected to the old one has nobody to be followed any more */
    LINK_FAILED,    /* payload: a sentence that says why */
    LINK_PUBLISH,   /* seq: a number for the receipt; key; the rest is link_from_message()'s */
    LINK_RECEIPT,   /* seq: that number; kind: enum link_result; time: the seq that the message got; number: subscribers, or -errno as a positive number */
    LINK_MESSAGE,   /* the same, with the message's seq */
    LINK_KICK,      /* kind: enum kick_target, key: whom, topic: pattern, payload: reason, number: close code, time: until when it is revoked, 0: it is not */
};

enum link_result { LINK_PUBLISHED, LINK_REPEATED, LINK_REFUSED };

/* A message in a record, all but its number or seq and its key: both ways the same. */
void link_from_message(struct hub_record *ret, struct message *m); /* borrows m */
struct message *link_to_message(const struct hub_record *record);  /* a reference; NULL when out of memory, or when it makes no sense */

/* ---- by a thread that may wait: fd does not block. Until deadline_ms (monotonic) */

struct link_reader {
    int fd;
    struct buf in;
    size_t at; /* what is before has been read */
};

/* Returns 1 and *ret, whose slices are good until the next call; 0 when the other side has gone; -ETIMEDOUT, -EBADMSG or another -errno. */
int link_read(struct link_reader *r, uint64_t deadline_ms, struct hub_record *ret);

/* Returns 0 or -errno: -EPIPE when the other side has gone, -ETIMEDOUT. */
int link_write(int fd, const void *bytes, size_t len, uint64_t deadline_ms);
int link_say(int fd, const struct hub_record *record, uint64_t deadline_ms);

#endif
