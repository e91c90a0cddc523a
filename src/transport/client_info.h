/* What a public connection tells of its client: GET /clients asks every one (conn_ops.describe).
 *
 * describe() tells only what the owner knows; the connection's own side (its address, its age, what waits for it) the listing finds
 * itself. It runs on the connection's thread, borrows everything, and changes nothing. */
#ifndef HALLEY_TRANSPORT_CLIENT_INFO_H
#define HALLEY_TRANSPORT_CLIENT_INFO_H

#include <stdbool.h>
#include <stdint.h>

#include "core/subscription.h"
#include "transport/client.h"

struct client_info { /* filled in by `bool (*describe)(struct conn *c, struct client_info *ret)`; pointers are borrowed for the listing's step */
    const struct client *client; /* whose id it is; NULL: it has none */
    const struct token *token;   /* who it is; NULL: nobody in particular */
    const char *transport;       /* a literal: "websocket", "halley.v1/websocket", "sse", "halley.v1/sse", "ndjson", "iframe", "poll", ... */
    uint32_t subscriptions;
    bool is_behind;              /* it reads on from history */
    uint64_t position;           /* if so: it has everything up to this seq */
};

/* What every owner with a subscriber answers from describe(): fills *ret from the subscriber. client may be NULL. Returns true, so that
 * describe() can end with it; an owner that serves nobody yet, or no longer, returns false instead, and is not listed. */
bool client_info_fill(struct client_info *ret, const struct client *client, const struct subscriber *s, const char *transport);

#endif
