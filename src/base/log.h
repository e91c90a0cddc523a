/* Logging: one event, one line, key=value (or one JSON object) on stderr.
 *
 * base, proto, core and net log at debug only; transport/ and server/ speak to people. What a peer sent goes through
 * log_quote(), which escapes and cuts it. Lines that a peer can cause go through log_limited(). Any thread. */
#ifndef HALLEY_BASE_LOG_H
#define HALLEY_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* level and format may change at any time (reload). */
void log_setup(enum log_level level, bool json);
bool log_is_on(enum log_level level);

/* Lines go here first, unless they are JSON, and to stderr only if it returns false: for a log that keeps fields of its own. text has one line. Before any
 * thread runs. */
void log_set_sink(bool (*sink)(enum log_level level, const char *ev, const char *text));

/* ev is a short stable name of the event; the rest is a sentence, or key=value pairs. It is one line, whatever the
 * text: control characters become spaces, in JSON escapes, and there what is not UTF-8 becomes U+FFFD. */
void log_write(enum log_level level, const char *ev, const char *fmt, ...) HLY_PRINTF(3, 4);

#define log_error(ev, ...) log_write(LOG_LEVEL_ERROR, ev, __VA_ARGS__)
#define log_warn(ev, ...) log_write(LOG_LEVEL_WARN, ev, __VA_ARGS__)
#define log_info(ev, ...) log_write(LOG_LEVEL_INFO, ev, __VA_ARGS__)
#define log_debug(ev, ...) \
    do { \
        if (HLY_UNLIKELY(log_is_on(LOG_LEVEL_DEBUG))) \
            log_write(LOG_LEVEL_DEBUG, ev, __VA_ARGS__); \
    } while (0)

/* Errors that this thread logs are appended to *out as well, a line each, until it is called with NULL: for whoever has to answer why something failed.
 * Borrowed. */
struct buf;
void log_collect(struct buf *out);

/* Lines that peers cause: at most one a second per gate, which then says how many it swallowed. */
struct log_gate {
    _Atomic uint64_t next_ms;
    _Atomic uint64_t swallowed;
};
void log_limited(struct log_gate *gate, enum log_level level, const char *ev, const char *fmt, ...) HLY_PRINTF(4, 5);

/* Peer bytes for a log line: printable, quotes and control characters escaped, cut with "..." at the size of out.
 * Returns out. */
const char *log_quote(char *out, size_t out_size, const void *bytes, size_t len);

#endif
