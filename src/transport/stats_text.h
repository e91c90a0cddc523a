/* The server's figures as text: JSON for people and scripts, Prometheus' format, and Redis' INFO. Any reactor's thread. */
#ifndef HALLEY_TRANSPORT_STATS_TEXT_H
#define HALLEY_TRANSPORT_STATS_TEXT_H

#include "base/buf.h"
#include "transport/reactor.h"

void stats_write_json(struct buf *out, struct reactor *r);
void stats_write_metrics(struct buf *out, struct reactor *r);
void stats_write_info(struct buf *out, struct reactor *r);

#endif
