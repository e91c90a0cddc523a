/* A backend connection that speaks RESP: commands in order, replies in order, pushes in between.
 *
 * Each reply has a slot. Most commands fill theirs at once; a publish fills it when the engine has answered. Slots are written
 * in order, so the door stays right when the engine answers later. */
#ifndef HALLEY_TRANSPORT_RESP_CLIENT_H
#define HALLEY_TRANSPORT_RESP_CLIENT_H

#include "transport/backend_access.h"

/* Speak RESP on a connection whose first bytes (borrowed) have arrived. The conn's owner and ops become this client's, which takes the access. Returns 0, or
 * -ENOMEM: then nothing has changed. */
int resp_client_start(struct backend_access *access, uint8_t *data, size_t len);

/* The reactor ends. */
void resp_slots_free_spare(struct reactor *r);

#endif
