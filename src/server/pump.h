/* Records to and from the other process of an upgrade, on reactor 0's loop. No struct conn: it is nobody's client, and outlives the last of them. */
#ifndef HALLEY_SERVER_PUMP_H
#define HALLEY_SERVER_PUMP_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "core/hub_record.h"

struct loop;

struct pump {
    struct loop *loop;
    ev_io io;
    ev_prepare prepare;
    struct buf in;
    struct buf out;
    bool is_open;
    void *ctx;
    void (*on_record)(void *ctx, const struct hub_record *record);
    void (*before_write)(void *ctx); /* at the end of each turn of the loop: append to out what is to be said */
    void (*on_lost)(void *ctx, const char *why); /* the other side has gone, or says what makes no sense; the pump is closed */
};

/* Takes fd, which does not block. ctx and the three callbacks have been set. */
void pump_open(struct pump *p, struct loop *l, int fd);
void pump_close(struct pump *p); /* any number of times */

/* Say a last thing, which has this long to go out, and close. */
void pump_end(struct pump *p, const struct hub_record *record, uint64_t max_ms);

/* Take the records that were in in before it was opened. */
void pump_feed(struct pump *p);

/* Say something at the end of the turn. */
void pump_say(struct pump *p, const struct hub_record *record);

#endif
