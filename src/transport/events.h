/* What happens to clients, told to backends: messages on topics that begin with `$halley/`, as JSON. */
#ifndef HALLEY_TRANSPORT_EVENTS_H
#define HALLEY_TRANSPORT_EVENTS_H

#include "base/slice.h"
#include "transport/reactor.h"

/* Publish an event on its topic ("$halley/slow"). From anywhere on the reactor's thread, the fan-out's walk included. When memory runs out the event is lost, and
 * counted. */
void events_publish(struct reactor *r, const char *topic, struct slice json);

#endif
