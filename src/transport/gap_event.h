/* $halley/gap: backends hear that messages are missing for a client, where the rule of a topic has `events`.
 *
 * After a restart of the server all who come back may be told a gap: of so many a reactor tells backends GAP_EVENTS_PER_SECOND, and how many it
 * left out with the next one. */
#ifndef HALLEY_TRANSPORT_GAP_EVENT_H
#define HALLEY_TRANSPORT_GAP_EVENT_H

#include "base/buf.h"
#include "transport/client.h"
#include "transport/reactor.h"

#define GAP_EVENTS_PER_SECOND 100 /* of a reactor */
#define GAP_EVENT_TOPICS 32       /* of one event; of others it says how many they are */

struct gap_event { /* being made; all zero but for the first four */
    struct reactor *reactor;
    const struct client *client; /* NULL: it has no id */
    const char *transport;       /* "websocket", "sse", ... */
    const char *subject;         /* of the client's token; NULL: it has none, or the client says it */
    struct buf topics;
    unsigned count;
};

/* A name that the client has subscribed to, or asked for. */
void gap_event_add(struct gap_event *e, struct slice name);
void gap_event_add_all(struct gap_event *e, const struct subscriber *s);

/* Tell it, if any name's rule has events; after: the seq after which messages are missing. The event ends. From anywhere on the reactor's thread. */
void gap_event_tell(struct gap_event *e, uint64_t after_seq, enum gap_reason reason);

#endif
