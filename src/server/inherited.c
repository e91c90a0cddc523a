#include "server/inherited.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/base.h"
#include "base/log.h"
#include "net/listener.h"
#include "server/systemd.h"

#define NAME_BYTES 256

static const char *name_of(char out[NAME_BYTES], const struct inherited_socket *s)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    const struct sockaddr *sa = (const struct sockaddr *)&s->address;
    if (sa->sa_family == AF_UNIX)
        snprintf(out, NAME_BYTES, "%.108s", ((const struct sockaddr_un *)(const void *)sa)->sun_path);
    else if (getnameinfo(sa, s->address_len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(out, NAME_BYTES, sa->sa_family == AF_INET6 ? "[%.100s]:%.10s" : "%.100s:%.10s", host, port);
    else
        snprintf(out, NAME_BYTES, "an address of family %d", (int)sa->sa_family);
    return out;
}

int inherited_add(struct inherited *in, int fd, bool is_held)
{
    struct inherited_socket s = { .fd = fd, .address_len = sizeof s.address, .is_held = is_held };
    int r = listener_adopt(fd);
    if (r == 0 && getsockname(fd, (struct sockaddr *)&s.address, &s.address_len) < 0)
        r = -errno;
    if (r < 0) {
        log_warn("inherited", "descriptor %d, which was passed as a listener, is none: %s; see ListenStream= in the socket unit", fd, strerror(-r));
        if (r != -EBADF)
            close(fd);
        return 0;
    }
    struct inherited_socket *items = realloc(in->items, (in->count + 1) * sizeof *items);
    if (items == NULL) {
        close(fd);
        return -ENOMEM;
    }
    in->items = items;
    in->items[in->count++] = s;
    return 0;
}

int inherited_add_systemd(struct inherited *in)
{
    int r = 0;
    for (unsigned i = 0; i < systemd_listen_fds() && r == 0; i++)
        r = inherited_add(in, SYSTEMD_FIRST_FD + (int)i, true);
    return r;
}

/* ---- matching */

static bool is_any(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr == htonl(INADDR_ANY);
    return sa->sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
}

static in_port_t port_of(const struct sockaddr *sa)
{
    return sa->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *)(const void *)sa)->sin6_port : ((const struct sockaddr_in *)(const void *)sa)->sin_port;
}

static bool takes_both(int fd)
{
    int only_v6 = 1;
    socklen_t len = sizeof only_v6;
    return getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, &len) == 0 && !only_v6;
}

static bool is_same_host(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
    const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)b;
    return IN6_ARE_ADDR_EQUAL(&x->sin6_addr, &y->sin6_addr) && x->sin6_scope_id == y->sin6_scope_id;
}

static bool listens_on(const struct inherited_socket *s, const struct sockaddr *wanted)
{
    const struct sockaddr *sa = (const struct sockaddr *)&s->address;
    if ((sa->sa_family != AF_INET && sa->sa_family != AF_INET6) || port_of(sa) != port_of(wanted))
        return false;
    if (sa->sa_family == wanted->sa_family)
        return is_same_host(sa, wanted);
    return sa->sa_family == AF_INET6 && is_any(sa) && is_any(wanted) && takes_both(s->fd);
}

struct inherited_socket *inherited_next(const struct inherited *in, const struct sockaddr *sa, size_t *at)
{
    while (*at < in->count) {
        struct inherited_socket *s = &in->items[(*at)++];
        if (listens_on(s, sa))
            return s;
    }
    return NULL;
}

uint16_t inherited_port(const struct inherited *in, const struct sockaddr *sa)
{
    for (size_t i = 0; i < in->count; i++) {
        const struct inherited_socket *s = &in->items[i];
        if (!s->is_held && !s->is_taken && s->address.ss_family == sa->sa_family && is_same_host((const struct sockaddr *)&s->address, sa))
            return ntohs(port_of((const struct sockaddr *)&s->address));
    }
    return 0;
}

struct inherited_socket *inherited_find_unix(const struct inherited *in, const char *path)
{
    for (size_t i = 0; i < in->count; i++) {
        const struct sockaddr_un *un = (const void *)&in->items[i].address;
        if (un->sun_family == AF_UNIX && strncmp(un->sun_path, path, sizeof un->sun_path) == 0)
            return &in->items[i];
    }
    return NULL;
}

void inherited_done(struct inherited *in, bool is_served)
{
    char name[NAME_BYTES];
    for (size_t i = 0; i < in->count; i++) {
        struct inherited_socket *s = &in->items[i];
        if (s->is_taken)
            continue;
        if (s->is_held && is_served)
            log_warn("inherited",
                     "systemd holds a socket on %s that no `listen` or `backend` line names, and whoever connects to it waits in vain: add such a line, or take "
                     "it out of the socket unit",
                     name_of(name, s));
        close(s->fd);
    }
    free(in->items);
    *in = (struct inherited){ 0 };
}
