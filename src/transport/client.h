/* Who is on the other side of a public connection: its id, and what it may do.
 *
 * The id is what `hello` tells, what POST /command names, and what backends disconnect by. It cannot be guessed: whoever knows it may
 * speak for the connection. So others know the connection by its name. */
#ifndef HALLEY_TRANSPORT_CLIENT_H
#define HALLEY_TRANSPORT_CLIENT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "auth/token.h"
#include "base/slice.h"
#include "core/rules.h"
#include "transport/reactor.h"

#define CLIENT_ID_BYTES 40 /* of its text, at most, without a NUL: NODE.REACTOR.RANDOM, letters and digits */

struct client { /* embedded in a subscriber's or session's struct */
    uint8_t random[16];
    uint8_t reactor;     /* which one has it */
    uint64_t connected_ms; /* monotonic; 0: it has not been told that it came */
    const char *end_reason; /* why we end it, for backends: a literal; NULL: we do not */
    struct token *token; /* who it is; a reference, or NULL: nobody in particular */
};

void client_init(struct client *c, const struct reactor *r);
void client_done(struct client *c); /* lets go of the token; all zero is fine */

/* It is who the token says. Takes a reference of its own. */
void client_set_token(struct client *c, struct token *token);

/* Milliseconds until its token expires, 0: it has; UINT64_MAX: it never does. */
uint64_t client_expires_in_ms(const struct client *c, uint64_t wall_ms);

/* What others know it by: a number, never 0, from which nobody finds its id. Of this run of the server. */
uint64_t client_name(const struct client *c);
#define CLIENT_NAME_BYTES 16 /* of its text, without a NUL */
void client_format_name(uint64_t name, char out[CLIENT_NAME_BYTES + 1]);

struct client_place { /* where a connection is to be looked for, and what for */
    uint64_t name;
    unsigned reactor; /* or CLIENT_ANYWHERE: its name alone is known */
};
#define CLIENT_ANYWHERE UINT_MAX

/* Read what backends name a connection by: its id or its name. Returns 0, -EINVAL (neither), or -ENOENT (nobody has it: of another run). */
int client_find_name(struct slice text, const struct server_view *server, struct client_place *ret);

/* Write its id, and a NUL: room for CLIENT_ID_BYTES + 1. Returns its length. */
size_t client_format_id(const struct client *c, const struct server_view *server, char *out);

/* Read an id. Returns 0, -EINVAL (no id at all), or -ENOENT (of another node or another run of this server). */
int client_parse_id(struct slice text, const struct server_view *server, struct client *ret);

static inline bool client_is_same(const struct client *a, const struct client *b)
{
    return a->reactor == b->reactor && memcmp(a->random, b->random, sizeof a->random) == 0;
}

/* What it may do, for rules_allow(). Lives as long as its token is this one. */
const struct rule_client *client_rights(const struct client *c, enum rule_action action);
/* The same for a request that has no client of its own: token as http_token() gives it. */
const struct rule_client *client_rights_of(const struct token *token, enum rule_action action);

#endif
