/* Listening sockets that this process was born with: those that systemd holds (LISTEN_FDS), and those of the server that it succeeds. They are matched to the
 * `listen` and `backend` lines of the config by address, so their order and their names mean nothing. Main thread. */
#ifndef HALLEY_SERVER_INHERITED_H
#define HALLEY_SERVER_INHERITED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct inherited {
    struct inherited_socket {
        int fd;
        struct sockaddr_storage address;
        socklen_t address_len;
        bool is_held;  /* by systemd: it will be there when we are gone, and a Unix socket's file is not ours to remove */
        bool is_taken; /* a line of the config names it */
    } *items;
    size_t count;
};

/* Add a socket, if it is a listener; one that is none is refused with a line in the log, and closed. Returns 0 or -errno. */
int inherited_add(struct inherited *in, int fd, bool is_held);

/* Add those that systemd passed. Returns 0 or -errno. */
int inherited_add_systemd(struct inherited *in);

/* The next socket that listens on this address of IPv4 or IPv6: begin with *at = 0. A wildcard of IPv4 is also served by one of IPv6 that takes both. One that
 * is_taken already is in use for another address. Whoever uses its fd sets is_taken. NULL: there is none, or no other. */
struct inherited_socket *inherited_next(const struct inherited *in, const struct sockaddr *sa, size_t *at);

/* The port, in host order, of the first of a predecessor's that listens on this address, whatever its port, and is not taken: what `:0` means when it succeeds.
 * 0: there is none. */
uint16_t inherited_port(const struct inherited *in, const struct sockaddr *sa);
struct inherited_socket *inherited_find_unix(const struct inherited *in, const char *path);

/* Close those that no line of the config names. is_served: with a line in the log for each that systemd holds. */
void inherited_done(struct inherited *in, bool is_served);

#endif
