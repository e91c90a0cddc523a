/* Listening sockets: opening them, and accepting in bounded bites. */
#ifndef HALLEY_NET_LISTENER_H
#define HALLEY_NET_LISTENER_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct loop;
struct listener;

/* Open a non-blocking TCP listener. reuse_port: several sockets share the address, one per reactor, and the kernel spreads connections over
 * them. What accepted sockets inherit is set here: no Nagle; TCP_NOTSENT_LOWAT, which keeps a stuck peer's kernel memory small; and TCP_USER_TIMEOUT, which
 * ends a connection whose peer has taken nothing for two minutes.
 * Returns 0 and *ret_fd, or -errno. Logs nothing. */
int listener_open_tcp(const struct sockaddr *sa, socklen_t len, bool reuse_port, int *ret_fd);

/* Is anything listening on the address already? Two servers with SO_REUSEPORT would share it without a word. Returns 0 if it is free,
 * else -errno (-EADDRINUSE). */
int listener_probe_tcp(const struct sockaddr *sa, socklen_t len);

/* Open a Unix listener with this file mode; owner and group of -1 stay as they are. A stale socket file (nobody answers) is replaced; a
 * living one gives -EADDRINUSE, any other file -EEXIST. The file appears with its final mode, never with a wider one. */
int listener_open_unix(const char *path, mode_t mode, uid_t owner, gid_t group, int *ret_fd);

/* Make a listening stream socket that another program opened what the two above would have made: it does not block, is not passed on, and its connections
 * inherit the same. Returns 0, or -errno: -EINVAL if it is no listener. */
int listener_adopt(int fd);

struct listener_ops {
    void (*on_accept)(void *ctx, int fd, const struct sockaddr_storage *peer); /* takes the (non-blocking) descriptor */
    /* The process may open no more files: fd, which is taken, lives on a descriptor that was held in reserve for this. Answer and close it at once. */
    void (*on_no_files)(void *ctx, int fd);
    /* What a person should know (EMFILE, ENOMEM...): clients wait, and accepting rests for a moment. */
    void (*on_error)(void *ctx, int error);
};

/* Accept on the loop. Takes fd, and holds one more in reserve. NULL when out of memory. */
struct listener *listener_start(struct loop *l, int fd, const struct listener_ops *ops, void *ctx);
int listener_fd(const struct listener *ls); /* its socket, borrowed */
/* The same in two steps: what can fail, on any thread; and the beginning, on the loop's own. */
struct listener *listener_new(struct loop *l, int fd, const struct listener_ops *ops, void *ctx);
void listener_begin(struct listener *ls);
/* Accept all that wait, before listener_stop(): they were told that they are connected. NULL is accepted. */
void listener_drain(struct listener *ls);
void listener_stop(struct listener *ls); /* closes its socket; NULL is accepted */

#endif
