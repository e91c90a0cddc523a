/* The public door: what browsers connect to. Routes HTTP requests to the doors behind it. */
#ifndef HALLEY_TRANSPORT_PUBLIC_DOOR_H
#define HALLEY_TRANSPORT_PUBLIC_DOOR_H

#include "transport/reactor.h"

/* Take over a connection that was accepted on a public listener. On the reactor's thread. */
void public_door_accept(struct reactor *r, int fd);

/* A public connection has ended, whatever it spoke. */
void public_door_gone(struct reactor *r);

#endif
