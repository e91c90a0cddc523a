/* Whom a public connection is counted with: its address (limits.per_address) and its user, the subject of its token
 * (limits.per_user). And what it may publish: the user's allowance, or, of somebody without a name, the connection's own.
 *
 * Behind a proxy that is trusted the address is the client's: by the connection's PROXY header, or by X-Forwarded-For, which says it for one
 * request. What a request says holds until it is answered, and for good when it becomes a stream or a WebSocket: a proxy sends the requests
 * of many over one connection. Loopback peers and trusted proxies themselves are not counted.
 *
 * A connection that came by itself and has shown no token has nothing here but a pointer to its address's count (conn.peer); the others
 * have a struct of their own. Own thread; the counts are shared by all reactors (auth/count_table.h). */
#ifndef HALLEY_TRANSPORT_PEER_H
#define HALLEY_TRANSPORT_PEER_H

#include "auth/addresses.h"
#include "proto/http1.h"
#include "transport/reactor.h"

struct conn;
struct count;
struct token;

/* All of these return 0, -EDQUOT when the limit is reached (that is counted and logged), or -ENOMEM. */

/* Count a connection that comes from this address, before there is a struct for it: *ret is for peer_attach(), or for peer_give(). */
int peer_take(struct reactor *r, const struct address *from, struct count **ret);
void peer_attach(struct conn *c, struct count *count); /* takes; NULL is accepted */
void peer_give(struct reactor *r, struct count *count); /* NULL is accepted */

/* The proxy at the other end has said for whom the connection is (PROXY protocol). */
int peer_set_proxied(struct reactor *r, struct conn *c, const struct address *client);

/* Look for whom this request is (X-Forwarded-For, if its peer is trusted). */
int peer_set_forwarded(struct reactor *r, struct conn *c, const struct http1_request *rq);

/* It is this user's; NULL, or a token without a subject: nobody's in particular. */
int peer_set_user(struct reactor *r, struct conn *c, const struct token *token);

/* The request has been answered, and the connection goes on: what it said about itself is over. */
void peer_answered(struct reactor *r, struct conn *c);

/* The connection has ended. */
/* A request's body, or a WebSocket message, has come more slowly than limits.min_rate: counted, and told. */
void peer_too_slow(struct reactor *r);

void peer_done(struct reactor *r, struct conn *c);

/* Who is behind the proxy that the connection came through; NULL: it came by itself. */
const struct address *peer_behind_proxy(const struct conn *c);

/* The client's address, as far as it is known: behind a proxy that is trusted, the one that it says. */
struct address peer_address(const struct conn *c);

/* How the client came: "https" or "http"; of a trusted proxy X-Forwarded-Proto says so. */
const char *peer_scheme(struct reactor *r, struct conn *c, const struct http1_request *rq);

/* ---- what it may publish (limits.publish_rate, limits.publish_bytes) */

/* Take one message off it. False: not now, and *ret_retry_ms is when. */
bool peer_may_publish(struct reactor *r, struct conn *c, size_t bytes, uint64_t *ret_retry_ms);

/* The same for who cannot be told: the message passes, and the connection is not read until what it owes is paid (CONN_PAUSE_RATE). What has been
 * read already, whoever reads hands to peer_hold() when it finds the connection paused so; it comes back through conn_ops.on_read(). It is one
 * read at most, so no more than a message that has not all come. */
void peer_has_published(struct reactor *r, struct conn *c, size_t bytes);
void peer_hold(struct conn *c, const uint8_t *data, size_t len);

#endif
