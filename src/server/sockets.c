#include "server/sockets.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "net/listener.h"
#include "server/inherited.h"

static struct server_socket *add(struct socket_set *set, int fd)
{
    struct server_socket *items = realloc(set->items, (set->count + 1) * sizeof *items);
    if (items == NULL)
        return NULL;
    set->items = items;
    set->items[set->count] = (struct server_socket){ .fd = fd };
    return &set->items[set->count++];
}

struct opening {
    const struct config *config;
    struct socket_set *set;
    struct inherited *inherited;
    unsigned reactors;
};

static int take(struct inherited_socket *given)
{
    given->is_taken = true;
    return given->fd;
}

static const char *origin(const struct inherited_socket *given)
{
    return given == NULL ? "" : given->is_held ? " from=systemd" : " from=predecessor";
}

static void where(char out[512], const struct config *c, unsigned line)
{
    if (c->path != NULL && line > 0)
        snprintf(out, 512, "%s:%u: ", c->path, line);
    else
        out[0] = '\0';
}

/* ---- Unix sockets */

static uid_t user_id(const char *name)
{
    struct passwd *pw = name == NULL ? NULL : getpwnam(name);
    if (pw != NULL)
        return pw->pw_uid;
    return name == NULL ? (uid_t)-1 : (uid_t)strtoul(name, NULL, 10); /* the config has checked it */
}

static gid_t group_id(const char *name)
{
    struct group *gr = name == NULL ? NULL : getgrnam(name);
    if (gr != NULL)
        return gr->gr_gid;
    return name == NULL ? (gid_t)-1 : (gid_t)strtoul(name, NULL, 10);
}

static const char *unix_remedy(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "another server answers on it: stop that one, or choose another path";
    case EEXIST:
        return "the path is a file that is no socket: remove it, or choose another path";
    case ENOENT:
        return "its directory does not exist: create it (systemd: RuntimeDirectory=halley), or choose another path";
    case EACCES:
    case EPERM:
        return "this user may not create it or change its owner: see to the directory's permissions, or start as root";
    default:
        return "see the error";
    }
}

static int open_unix(const struct opening *o, const char *path, const struct config_backend *b, unsigned line)
{
    char place[512];
    int fd;
    struct inherited_socket *given = inherited_find_unix(o->inherited, path);
    where(place, o->config, line);
    int r = given != NULL ? 0
                          : listener_open_unix(path, b != NULL ? (mode_t)b->mode : 0666, user_id(b != NULL ? b->owner : NULL),
                                               group_id(b != NULL ? b->group : NULL), &fd);
    if (r < 0) {
        log_error("listen_failed", "%scannot listen on the socket %s: %s; %s", place, path, strerror(-r), unix_remedy(-r));
        return -1;
    }
    if (given != NULL)
        fd = take(given);
    struct server_socket *s = add(o->set, fd);
    if (s == NULL) {
        close(fd);
        return -1;
    }
    s->is_shared = true;
    s->is_held = given != NULL && given->is_held;
    s->is_borrowed = given != NULL && !given->is_held;
    s->backend = b;
    if (!s->is_held)
        snprintf(s->path, sizeof s->path, "%s", path);
    log_info("listening", "door=%s address=%s%s", b != NULL ? "backend" : "public", path, origin(given));
    return 0;
}

/* ---- TCP */

static const char *tcp_remedy(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "another program listens there: stop it, or choose another port (ss -ltnp shows who it is)";
    case EACCES:
        return "ports below 1024 need root or CAP_NET_BIND_SERVICE: choose a higher port, or start as root with `user` set";
    case EADDRNOTAVAIL:
        return "this machine has no such address: `ip address` shows those it has";
    default:
        return "see the error";
    }
}

static void set_port(struct sockaddr_storage *sa, uint16_t port)
{
    if (sa->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)sa)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)sa)->sin_port = htons(port);
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t len = sizeof sa;
    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return 0;
    return ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port : ((struct sockaddr_in *)&sa)->sin_port);
}

static void log_tcp(const struct config_backend *b, const struct sockaddr_storage *sa, socklen_t len, const struct inherited_socket *given)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getnameinfo((const struct sockaddr *)sa, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        log_info("listening", sa->ss_family == AF_INET6 ? "door=%s address=[%s]:%s%s" : "door=%s address=%s:%s%s", b != NULL ? "backend" : "public",
                 host, port, origin(given));
}

struct tcp_wanted { /* of a listen or backend section */
    const char *address;
    const char *host; /* NULL: any */
    uint16_t port;
    unsigned line;
    const struct config_backend *backend; /* NULL: a public listener */
};

static int add_tcp(struct socket_set *set, int fd, unsigned reactor, const struct tcp_wanted *w)
{
    struct server_socket *s = add(set, fd);
    if (s == NULL) {
        close(fd);
        return -ENOMEM;
    }
    s->reactor = reactor;
    s->backend = w->backend;
    return 0;
}

static bool shares_port(int fd)
{
    int is_on = 0;
    socklen_t len = sizeof is_on;
    return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &is_on, &len) == 0 && is_on;
}

/* Take what is there for the address, all of it: a socket that is closed takes the clients that wait in its queue with it. If there are fewer than reactors, more
 * are opened beside those of a predecessor; those that systemd holds stay the only ones, so that all who wait during a restart wait where it is held.
 * Returns how many there are now, 0: none was inherited, or -errno. */
static int take_address(const struct opening *o, const struct sockaddr_storage *sa, socklen_t len, const struct tcp_wanted *w)
{
    size_t at = 0, first = o->set->count;
    struct inherited_socket *given, *last = NULL;
    bool may_open = true;
    while ((given = inherited_next(o->inherited, (const struct sockaddr *)sa, &at)) != NULL) {
        last = given;
        may_open &= !given->is_held && shares_port(given->fd);
        if (given->is_taken) /* it serves IPv6 as well */
            continue;
        int r = add_tcp(o->set, take(given), (unsigned)(o->set->count - first) % o->reactors, w);
        if (r < 0)
            return r;
        o->set->items[o->set->count - 1].is_held = given->is_held;
    }
    if (last == NULL)
        return 0;
    size_t count = o->set->count - first;
    for (size_t i = first; i < o->set->count; i++)
        o->set->items[i].is_shared = count < o->reactors && !may_open;
    log_tcp(w->backend, sa, len, last);
    return count == 0 || !may_open || count > o->reactors ? (int)o->reactors : (int)count;
}

/* One address: a listener for each reactor. Returns 0 or -errno. */
static int open_address(const struct opening *o, const struct addrinfo *ai, const struct tcp_wanted *w)
{
    struct sockaddr_storage sa = { 0 };
    memcpy(&sa, ai->ai_addr, ai->ai_addrlen);
    set_port(&sa, w->port != 0 ? w->port : inherited_port(o->inherited, ai->ai_addr));
    int there = take_address(o, &sa, ai->ai_addrlen, w);
    int r = there == 0 ? listener_probe_tcp((struct sockaddr *)&sa, ai->ai_addrlen) : there;
    if (r < 0)
        return r;
    for (unsigned i = (unsigned)there; i < o->reactors; i++) {
        int fd = -1;
        if ((r = listener_open_tcp((struct sockaddr *)&sa, ai->ai_addrlen, o->reactors > 1, &fd)) < 0)
            return r;
        if (w->port == 0) /* the kernel picked one: the other reactors share it */
            set_port(&sa, bound_port(fd));
        if ((r = add_tcp(o->set, fd, i, w)) < 0)
            return r;
    }
    if (there == 0)
        log_tcp(w->backend, &sa, ai->ai_addrlen, NULL);
    return 0;
}

static int open_tcp(const struct opening *o, const struct tcp_wanted *w)
{
    const struct config *c = o->config;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_ADDRCONFIG }, *list;
    char place[512];
    where(place, c, w->line);
    if (w->host == NULL)
        hints.ai_flags = AI_PASSIVE;
    int error = getaddrinfo(w->host, w->host == NULL ? "0" : NULL, &hints, &list);
    if (error != 0) {
        log_error("listen_failed", "%scannot listen on %s: %s; write an address of this machine", place, w->address, gai_strerror(error));
        return -1;
    }
    unsigned opened = 0;
    int r = 0;
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        r = open_address(o, ai, w);
        if (r == 0)
            opened++;
        else if (r != -EAFNOSUPPORT && !(r == -EADDRNOTAVAIL && list->ai_next != NULL)) /* a kernel without IPv6 */
            break;
        else
            r = opened > 0 ? 0 : r;
    }
    freeaddrinfo(list);
    if (r == 0 && opened > 0)
        return 0;
    log_error("listen_failed", "%scannot listen on %s: %s; %s", place, w->address, strerror(-r), tcp_remedy(-r));
    return -1;
}

static int open_listen(const struct opening *o, const struct config_listen *l)
{
    if (l->path != NULL)
        return open_unix(o, l->path, NULL, l->line);
    return open_tcp(o, &(struct tcp_wanted){ l->address, l->host, l->port, l->line, NULL });
}

static int open_backend(const struct opening *o, const struct config_backend *b)
{
    if (b->path != NULL)
        return open_unix(o, b->path, b, b->line);
    return open_tcp(o, &(struct tcp_wanted){ b->address, b->host, b->port, b->line, b });
}

int sockets_open(const struct config *c, unsigned reactors, struct inherited *inherited, struct socket_set *ret)
{
    struct opening o = { .config = c, .set = ret, .inherited = inherited, .reactors = reactors };
    *ret = (struct socket_set){ 0 };
    for (size_t i = 0; i < c->backend_count; i++) {
        size_t first = ret->count;
        if (open_backend(&o, &c->backends[i]) < 0)
            goto err1;
        for (size_t n = first; n < ret->count; n++)
            ret->items[n].address = c->backends[i].address;
    }
    for (size_t i = 0; i < c->listen_count; i++) {
        const struct config_listen *l = &c->listens[i];
        size_t first = ret->count;
        if (open_listen(&o, l) < 0)
            goto err1;
        for (size_t n = first; n < ret->count; n++) {
            ret->items[n].is_proxied = l->proxy_protocol;
            ret->items[n].address = l->address;
        }
    }
    return 0;
err1:
    sockets_close(ret);
    return -1;
}

void sockets_close(struct socket_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i].path[0] != '\0' && !set->items[i].is_borrowed)
            unlink(set->items[i].path);
        if (set->items[i].fd >= 0)
            close(set->items[i].fd);
    }
    free(set->items);
    *set = (struct socket_set){ 0 };
}
