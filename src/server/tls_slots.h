/* The listeners that speak TLS: by their address, so that a reload finds where new certificates go. */
#ifndef HALLEY_SERVER_TLS_SLOTS_H
#define HALLEY_SERVER_TLS_SLOTS_H

#include "server/config.h"

struct tls_slot;
struct tls_slots;

/* One for each listen and backend section with certificates, which the config has loaded. NULL when out of memory. */
struct tls_slots *tls_slots_new(const struct config *c);
void tls_slots_free(struct tls_slots *s); /* when nobody accepts any more; NULL is accepted */

/* The slot of a section, by its address as the config writes it. NULL: it is plain. */
struct tls_slot *tls_slots_find(const struct tls_slots *s, const char *address);

/* Make room for what a reload brings: a slot for each section with certificates that has none. Returns 0 or -ENOMEM. Main thread. */
int tls_slots_prepare(struct tls_slots *s, const struct config *next);

/* Use the certificates of the new config for the connections that are accepted from now on; those that are there keep what they began with, and tickets
 * stay good. Sections are matched by address; those that the new config does not have, or has without certificates, go on as they are. Cannot fail: the
 * config has loaded all before. Main thread. */
void tls_slots_reload(struct tls_slots *s, const struct config *next);

#endif
