#include "transport/slow.h"

#include <inttypes.h>

#include "base/log.h"
#include "core/catchup.h"

int slow_fall_behind(struct reactor *r, struct subscriber *s, const struct conn *c, uint64_t first_seq, const char *what)
{
    static struct log_gate gate;
    stat_add(&r->stats.fell_behind, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "fell_behind",
                "%s is not read as fast as it is sent to and catches up from history; outq_bytes=%" PRIu64 " limits.outq=%" PRIu64, what,
                conn_waiting(c), r->settings->max_outq);
    return catchup_start(s, first_seq - 1, true, CATCHUP_LAST_NONE);
}
