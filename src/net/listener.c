#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/base.h"
#include "base/fd.h"
#include "net/loop.h"

#define ACCEPTS_PER_TURN 64
#define REST_S 0.1
#define DRAIN_TURNS 1024 /* times as many: more than any queue is long, and an end */
#define NOTSENT_LOWAT_BYTES 16384
#define UNANSWERED_MS 120000 /* a peer that acknowledged nothing, or took nothing, for so long has vanished */

struct listener {
    ev_io io;
    ev_timer rest;
    struct loop *loop;
    const struct listener_ops *ops;
    void *ctx;
    int reserve; /* a descriptor that is given up for the clients who are turned away; -1: somebody else was faster */
};

static int tcp_socket(const struct sockaddr *sa, int *ret_fd)
{
    int one = 1;
    HLY_CLEANUP(fd_closep) int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
        return -errno;
    if (sa->sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0)
        return -errno; /* "[::]:80" and "0.0.0.0:80" are two listeners, on every system */
    *ret_fd = fd_take(&fd);
    return 0;
}

/* What accepted connections inherit. */
static void set_tcp_options(int fd)
{
    static const int one = 1, lowat = NOTSENT_LOWAT_BYTES;
    static const unsigned unanswered_ms = UNANSWERED_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms, sizeof unanswered_ms);
}

int listener_open_tcp(const struct sockaddr *sa, socklen_t len, bool reuse_port, int *ret_fd)
{
    int one = 1;
    HLY_CLEANUP(fd_closep) int fd = -1;
    int r = tcp_socket(sa, &fd);
    if (r < 0)
        return r;
    if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0)
        return -errno;
    set_tcp_options(fd);
    if (bind(fd, sa, len) < 0 || listen(fd, SOMAXCONN) < 0)
        return -errno;
    *ret_fd = fd_take(&fd);
    return 0;
}

int listener_probe_tcp(const struct sockaddr *sa, socklen_t len)
{
    HLY_CLEANUP(fd_closep) int fd = -1;
    int r = tcp_socket(sa, &fd);
    if (r == 0 && bind(fd, sa, len) < 0)
        r = -errno;
    return r;
}

/* Nobody listens on the path: make way. */
static int unix_clear(const struct sockaddr_un *un)
{
    struct stat st;
    if (lstat(un->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    HLY_CLEANUP(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)un, sizeof *un) == 0 || (errno != ECONNREFUSED && errno != ENOENT))
        return -EADDRINUSE; /* it answers, is too busy to, is of another type (EPROTOTYPE), or is not ours to judge */
    return unlink(un->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

int listener_open_unix(const char *path, mode_t mode, uid_t owner, gid_t group, int *ret_fd)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof un.sun_path)
        return -ENAMETOOLONG;
    memcpy(un.sun_path, path, strlen(path) + 1);
    HLY_CLEANUP(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int r = unix_clear(&un);
    if (r < 0)
        return r;
    mode_t before = umask(0777); /* nobody gets in between bind() and chmod() */
    r = bind(fd, (const struct sockaddr *)&un, sizeof un) < 0 ? -errno : 0;
    umask(before);
    if (r < 0)
        return r;
    if (((owner != (uid_t)-1 || group != (gid_t)-1) && chown(path, owner, group) < 0) || listen(fd, SOMAXCONN) < 0 ||
        chmod(path, mode) < 0) {
        r = -errno;
        unlink(path);
        return r;
    }
    *ret_fd = fd_take(&fd);
    return 0;
}

int listener_adopt(int fd)
{
    int value, type;
    socklen_t len = sizeof value, type_len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0)
        return -errno;
    if (!value || type != SOCK_STREAM)
        return -EINVAL;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    set_tcp_options(fd); /* on a Unix socket they fail, and none is needed */
    return 0;
}

/* ---- accepting */

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_rested(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)events;
    struct listener *ls = w->data;
    if (ls->reserve < 0)
        ls->reserve = open_reserve();
    ev_io_start(ev, &ls->io);
}

static void listener_rest(struct listener *ls)
{
    ev_io_stop(ls->loop->ev, &ls->io);
    ev_timer_set(&ls->rest, REST_S, 0);
    ev_timer_start(ls->loop->ev, &ls->rest);
}

/* A client that was let wait might wait for long: it gets the reserve for as long as it takes to send it away. Returns 0, or -errno: -EAGAIN if nobody
 * waits, which accept() does not tell while there is no descriptor. */
static int turn_one_away(struct listener *ls)
{
    if (ls->reserve < 0)
        return -EMFILE;
    close(ls->reserve);
    int fd = accept4(ls->io.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int r = fd < 0 ? -errno : 0;
    if (fd >= 0)
        ls->ops->on_no_files(ls->ctx, fd);
    ls->reserve = open_reserve();
    return r;
}

/* Returns whether there may be more. */
static bool accept_some(struct listener *ls)
{
    for (int n = 0; n < ACCEPTS_PER_TURN; n++) {
        struct sockaddr_storage peer = { 0 };
        socklen_t len = sizeof peer;
        int fd = accept4(ls->io.fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            ls->ops->on_accept(ls->ctx, fd, &peer);
            continue;
        }
        int error = errno;
        if (error == EMFILE || error == ENFILE)
            error = -turn_one_away(ls);
        if (error == EAGAIN || error == EWOULDBLOCK)
            return false;
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
            ls->ops->on_error(ls->ctx, error);
            listener_rest(ls);
            return false;
        } /* else the connection died before it was accepted (accept(2)): go on with the next */
    }
    return true;
}

static void on_ready(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    (void)events;
    accept_some(w->data);
}

void listener_drain(struct listener *ls)
{
    for (int n = 0; ls != NULL && n < DRAIN_TURNS && accept_some(ls); n++)
        continue;
}

struct listener *listener_new(struct loop *l, int fd, const struct listener_ops *ops, void *ctx)
{
    struct listener *ls = malloc(sizeof *ls);
    if (ls == NULL)
        return NULL;
    *ls = (struct listener){ .loop = l, .ops = ops, .ctx = ctx, .reserve = open_reserve() };
    ev_io_init(&ls->io, on_ready, fd, EV_READ);
    ev_timer_init(&ls->rest, on_rested, REST_S, 0);
    ls->io.data = ls->rest.data = ls;
    return ls;
}

void listener_begin(struct listener *ls)
{
    ev_io_start(ls->loop->ev, &ls->io);
}

struct listener *listener_start(struct loop *l, int fd, const struct listener_ops *ops, void *ctx)
{
    struct listener *ls = listener_new(l, fd, ops, ctx);
    if (ls != NULL)
        listener_begin(ls);
    return ls;
}

int listener_fd(const struct listener *ls)
{
    return ls->io.fd;
}

void listener_stop(struct listener *ls)
{
    if (ls == NULL)
        return;
    ev_io_stop(ls->loop->ev, &ls->io);
    ev_timer_stop(ls->loop->ev, &ls->rest);
    close(ls->io.fd);
    if (ls->reserve >= 0)
        close(ls->reserve);
    free(ls);
}
