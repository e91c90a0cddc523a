/* What the service manager is told, and what it hands over: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3) and the journal's native protocol,
 * each a datagram or an environment variable. Written here, for they are few lines, and libsystemd would be loaded on machines that have no systemd.
 * Everything does nothing, or finds nothing, where no manager asked for it. Any thread, unless said otherwise. */
#ifndef HALLEY_SERVER_SYSTEMD_H
#define HALLEY_SERVER_SYSTEMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/base.h"

/* Read the environment, and take what is this process's alone out of it, so that no child is misled: once, before any thread runs. */
void systemd_init(void);

/* ---- sd_notify(3): lines of VARIABLE=value. A manager that cannot be reached is told nothing more than is lost. */

void systemd_notify(const char *fmt, ...) HLY_PRINTF(1, 2);

void systemd_ready(void);     /* all listeners serve: after the start, and after each systemd_reloading() */
void systemd_reloading(void); /* the config is being read again: systemd_ready() has to follow, whether it is taken or not */
void systemd_stopping(void);  /* the drain begins */

/* ---- WatchdogSec=: the manager ends a service that has not said for so long that it lives */

uint64_t systemd_watchdog_ms(void); /* 0: it does not wait for any sign */
void systemd_watchdog_feed(void);

/* A sign may be given only while each of the reactors has made a turn within limit_ms: turns_ms are the times of their last ones. */
bool systemd_may_feed(const uint64_t *turns_ms, size_t count, uint64_t now_ms, uint64_t limit_ms);

/* ---- LISTEN_FDS: sockets that the manager holds, or another process before this one held */

#define SYSTEMD_FIRST_FD 3

unsigned systemd_listen_fds(void); /* how many there are, from SYSTEMD_FIRST_FD on; what they are named is not looked at: their addresses tell */

/* ---- the journal */

/* Is stderr the journal's? Then log lines go to it in its own protocol, with PRIORITY, HALLEY_EVENT and a field for each key=value that the text begins
 * with (address=[::]:80 is HALLEY_ADDRESS). */
void systemd_log_to_journal(void);

/* Write the fields of one line as the journal takes them (systemd.io/JOURNAL_NATIVE_PROTOCOL). Returns the bytes, or 0 when they do not fit. */
size_t systemd_journal_entry(char *out, size_t size, int priority, const char *event, const char *text);

#endif
