/* The successor's side of an upgrade (server/link.h): a server that goes on where another, which started it, leaves off. Main thread. */
#ifndef HALLEY_SERVER_SUCCEED_H
#define HALLEY_SERVER_SUCCEED_H

#include <stdbool.h>

#include "base/base.h"

struct config;
struct inherited;
struct server;
struct succession;

#define SUCCEED_LINK "HALLEYD_UPGRADE"    /* in the environment: the link's descriptor */
#define SUCCEED_SOCKETS "HALLEYD_SOCKETS" /* and those of the listeners, as in "5,6,7h"; h: systemd holds it */

/* Was this process started by a predecessor? Then what there is of it; NULL: no. Takes it out of the environment: once, before any thread runs. */
struct succession *succeed_begin(void);
void succeed_end(struct succession *x); /* NULL is accepted */

/* What tells one journal from another, in both processes. */
struct slice succeed_journal_name(const struct config *c);

/* It does not come to it: tell the predecessor why. NULL is accepted. */
void succeed_refuse(struct succession *x, const char *why);

/* The listeners that it passed on. Returns 0 or -errno. NULL is accepted. */
int succeed_add_sockets(struct succession *x, struct inherited *in);

/* The config has been read and the listeners are open: say so, and wait until the predecessor publishes no more, and has let go of the journal. Returns 0, or -1
 * after logging why not. */
int succeed_hello(struct succession *x, struct server *s);

/* Take the state, into the server's fresh hub if it has not been restored from a journal. Returns 0, or -1 after logging why not. */
int succeed_take_state(struct succession *x, struct server *s);

/* All is ready: ask for the word, and when it comes serve the predecessor too. Returns 0, or -1 after logging why not: then nothing may be served. */
int succeed_take_over(struct succession *x, struct server *s);

/* Everybody is served. NULL is accepted. */
void succeed_serving(struct succession *x);

#endif
