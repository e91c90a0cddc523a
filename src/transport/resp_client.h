/* A backend connection that speaks RESP: commands in order, replies in order, pushes in between.
 *
 * Each reply has a slot. Most commands fill theirs at once; a publish fills it when the engine has answered. Slots are written
 * in order, so the door stays right when the engine answers later. */
#ifndef HALLEY_TRANSPORT_RESP_CLIENT_H
#define HALLEY_TRANSPORT_RESP_CLIENT_H

#include "net/conn.h"
#include "transport/reactor.h"

/* Speak RESP on a connection whose first bytes (borrowed) have arrived. conn's owner and ops become this client's; on_end is called when the connection
 * ends. Returns 0 or -ENOMEM. */
int resp_client_start(struct reactor *r, struct conn *conn, void (*on_end)(struct reactor *r), uint8_t *data, size_t len);

/* The reactor ends. */
void resp_slots_free_spare(struct reactor *r);

#endif
