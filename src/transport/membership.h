/* What follows from a client's subscription: presence, joins and leaves, and events for backends. Set up only where a rule asks for it. */
#ifndef HALLEY_TRANSPORT_MEMBERSHIP_H
#define HALLEY_TRANSPORT_MEMBERSHIP_H

#include "base/buf.h"
#include "core/presence.h"
#include "net/conn.h"
#include "transport/client.h"
#include "transport/reactor.h"

/* Does any rule keep presence or have events? */
bool membership_is_wanted(struct rules *rules);

/* sub_table.on_subscription, under presence_lock. */
void membership_changed(struct subscriber *s, struct slice name, bool is_pattern, unsigned change);

/* A client has come, or has gone: $halley/connect and disconnect, where any rule has events. Its subscriptions are in force when it has come, and
 * have ended when it has gone. transport: "websocket" and so on; conn: how it ended; not looked at if it was never told to have come. */
void membership_connected(struct subscriber *s, const char *transport);
void membership_disconnected(struct reactor *r, const struct client *c, const char *transport, const struct conn *conn);

/* Members whose grace is over leave. The main loop's timer. */
void membership_expire(struct reactor *r);

/* The rules are others now: it joins where they keep presence, and is taken out, without a word, where they do no more. */
void membership_recheck(struct subscriber *s);

/* Its token is another now: what is shown of it changes. */
void membership_refresh(struct subscriber *s);

/* {"sub":"alice","connections":2,"info":{…}}, or {"sub":null,"guest":"…","connections":1} for those without a token. */
void membership_write_member(struct buf *out, const struct presence_member *m);

/* Append one page: "count":N,"connections":N,"members":[…],"next":"…" or null. */
void membership_write_page(struct buf *out, struct presence *p, struct slice topic, uint64_t from, size_t limit);

/* Read a page's next, as it was written. */
bool membership_parse_next(struct slice text, uint64_t *ret);

#endif
