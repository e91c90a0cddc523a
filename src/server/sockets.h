/* The listening sockets that a config asks for. They are opened before any thread runs, and before privileges are given up. */
#ifndef HALLEY_SERVER_SOCKETS_H
#define HALLEY_SERVER_SOCKETS_H

#include "server/config.h"

struct inherited;

struct socket_set {
    struct server_socket {
        int fd;
        unsigned reactor;                    /* whose loop accepts on it */
        bool is_shared;                      /* the only one of its address: accepted connections are dealt out to all reactors */
        bool is_held;                        /* by systemd, and there when we are gone */
        bool is_borrowed;                    /* of a predecessor that has not handed over yet: its file is not ours to remove */
        const struct config_backend *backend; /* NULL: a public listener */
        const char *address;                 /* of its section, as the config writes it */
        bool is_proxied;                     /* public: each connection begins with a PROXY header */
        char path[108];                      /* of a Unix socket that is to be unlinked at the end; else empty */
    } *items;
    size_t count;
};

/* Open all of them, backends first, but for those that were inherited. TCP listeners are opened once for each reactor. Returns 0, or -1 after logging what is wrong with
 * which line of the config, and what would help. */
int sockets_open(const struct config *c, unsigned reactors, struct inherited *inherited, struct socket_set *ret);
/* Close those that nobody took (fd of -1: taken), unlink the Unix ones. */
void sockets_close(struct socket_set *set);

#endif
