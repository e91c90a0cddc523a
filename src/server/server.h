/* The running server: everything that main() starts, wired together from one config. Main thread. */
#ifndef HALLEY_SERVER_SERVER_H
#define HALLEY_SERVER_SERVER_H

#include "server/config.h"

struct server;
struct succession;

struct server_source { /* where the config was loaded from, and is again (config_load_with()) */
    const char *path;
    char *const *environment;
    char *const *settings;
};

/* Open the doors and set everything up; no thread runs yet. Takes the config, on failure too; the source is borrowed and outlives the server;
 * succession (server/succeed.h; NULL: there is none) is taken. Each thing that
 * an operator can repair is logged with its remedy. NULL: it did not work. */
struct server *server_new(struct config *config, const struct server_source *source, struct succession *succession);

/* Serve until SIGTERM or SIGINT. Returns the process's exit code. */
int server_run(struct server *s);

void server_free(struct server *s); /* NULL is accepted */

#endif
