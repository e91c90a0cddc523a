/* What the process may have and who it is: open files, user and group. Before any thread runs. */
#ifndef HALLEY_SERVER_PROCESS_H
#define HALLEY_SERVER_PROCESS_H

#include "server/config.h"

/* Raise the limit of open files to what the config needs, as far as it goes. Returns the clients that limits.connections and that limit allow; logs it when
 * they are fewer than configured. */
uint64_t process_fit_connections(const struct config *c);

/* Started as root with `user` or `group`: become them. Returns 0, or -1 after logging why not. */
int process_drop_privileges(const struct config *c);

#endif
