/* What backends end or revoke in one of the two processes of an upgrade holds in the other, too. */
#ifndef HALLEY_SERVER_KICK_LINK_H
#define HALLEY_SERVER_KICK_LINK_H

struct hub_record;
struct pump;
struct server;

/* Tell the other process by this pump, as long as it is open. Main thread. */
void kick_link_begin(struct server *s, struct pump *p);

/* The other has told. Main thread. */
void kick_link_take(struct server *s, const struct hub_record *record);

#endif
