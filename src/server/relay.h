/* The engine of a server that is being succeeded: the order is made elsewhere.
 *
 * At first it holds publishes back, while the state is handed over. Then either they go to the engine that was there before, as if nothing had been, or to the
 * successor; from then on every publish of those who are still connected here goes there, and is answered when its receipt has come: none that was
 * acknowledged is in one process alone. Reactors call publish(); all else is for the thread of reactor 0. */
#ifndef HALLEY_SERVER_RELAY_H
#define HALLEY_SERVER_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

struct hub_record;
struct reactor;
struct relay;

/* before: the engine that it stands for. send() takes records that are on their way to the successor, on reactor 0's thread; wake() is called when there are some, on
 * any thread. NULL when out of memory. */
struct relay *relay_new(struct engine *before, struct reactor **reactors, unsigned count);
struct engine *relay_engine(struct relay *r);

/* Hand what was held back of this reactor to the engine before, in order. The reactor's own thread, which has taken that engine back. */
void relay_give_back(struct relay *r, unsigned reactor);

/* The successor has taken over: what was held back is to be sent, and so is all that comes. wake(ctx) is called, on any thread, when relay_take_out() has bytes. */
void relay_go(struct relay *r, void (*wake)(void *ctx), void *ctx);

/* Records for the successor, appended to out. */
struct buf;
void relay_take_out(struct relay *r, struct buf *out);

/* A receipt has come. False: nobody waits for it. */
bool relay_receipt(struct relay *r, const struct hub_record *record);

/* The successor has gone: whoever waits, and whoever comes, is told so. */
void relay_lost(struct relay *r);

size_t relay_waiting(struct relay *r); /* publishes without an answer */

void relay_free(struct relay *r); /* when no reactor has its engine any more; NULL is accepted */

#endif
