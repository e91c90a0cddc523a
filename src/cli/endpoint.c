#include "cli/endpoint.h"

#include <errno.h>
#include <grp.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/base.h"
#include "base/fd.h"
#include "cli/tls_tunnel.h"

#define START_HALLEYD "sudo systemctl start halley"

const char *endpoint_name(const struct endpoint *e, char *out, size_t out_size)
{
    if (e->path != NULL)
        snprintf(out, out_size, "%s", e->path);
    else
        snprintf(out, out_size, strchr(e->host, ':') != NULL ? "[%s]:%s" : "%s:%s", e->host, e->port);
    return out;
}

/* ---- connecting */

/* On Linux SO_SNDTIMEO bounds connect() too; it then fails with EAGAIN (Unix: the backlog is full) or EINPROGRESS
 * (TCP). */
static void set_timeout(int fd, int seconds)
{
    struct timeval tv = { .tv_sec = seconds };
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
}

static int connect_to(const struct sockaddr *sa, socklen_t sa_len, int *ret_fd)
{
    HLY_CLEANUP(fd_closep) int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -errno;
    set_timeout(fd, ENDPOINT_CONNECT_TIMEOUT_S);
    if (connect(fd, sa, sa_len) == -1)
        return errno == EAGAIN || errno == EINPROGRESS ? -ETIMEDOUT : -errno;
    set_timeout(fd, ENDPOINT_TIMEOUT_S);
    *ret_fd = fd_take(&fd);
    return 0;
}

static int connect_unix(const char *path, int *ret_fd)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof sa.sun_path)
        return -ENAMETOOLONG;
    memcpy(sa.sun_path, path, strlen(path) + 1);
    return connect_to((const struct sockaddr *)(const void *)&sa, sizeof sa, ret_fd);
}

static void tcp_tune(int fd) /* a subscriber only listens: without keepalive it would never see that its peer is gone */
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){ 30 }, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){ 10 }, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){ 3 }, sizeof(int));
}

static int connect_tcp(const struct endpoint *e, int *ret_fd, int *ret_gai)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG }, *list = NULL;
    *ret_gai = getaddrinfo(e->host, e->port, &hints, &list);
    if (*ret_gai != 0)
        return *ret_gai == EAI_SYSTEM ? -errno : -EHOSTUNREACH;
    int r = -EHOSTUNREACH;
    for (const struct addrinfo *a = list; a != NULL && r < 0; a = a->ai_next)
        r = connect_to(a->ai_addr, a->ai_addrlen, ret_fd);
    freeaddrinfo(list);
    if (r == 0)
        tcp_tune(*ret_fd);
    return r;
}

/* ---- what to do next */

static void advise_access(const char *path, char *out, size_t out_size)
{
    struct stat st;
    if (stat(path, &st) == -1) {
        snprintf(out, out_size, "You may not enter its directory: try again with sudo, or as a user who may.");
        return;
    }
    const struct passwd *owner = getpwuid(st.st_uid);
    const struct group *group = getgrgid(st.st_gid);
    int n = snprintf(out, out_size, "It belongs to user %s and group %s with mode %04o: try again with sudo",
                     owner != NULL ? owner->pw_name : "(unknown)", group != NULL ? group->gr_name : "(unknown)",
                     (unsigned)st.st_mode & 07777u);
    if (group != NULL && st.st_gid != 0 && (st.st_mode & S_IWGRP) != 0)
        snprintf(out + n, out_size - (size_t)n, ", or join the group (sudo usermod -aG %s \"$USER\") and log in again",
                 group->gr_name);
    strncat(out, ".", out_size - strlen(out) - 1);
}

static void advise_unix(const char *path, int error, char *out, size_t out_size)
{
    struct stat st;
    if (error == ENOENT)
        snprintf(out, out_size, "Start halleyd (%s), or name its socket with --socket PATH or HALLEY_SOCKET.",
                 START_HALLEYD);
    else if (error == ECONNREFUSED && stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        snprintf(out, out_size, "That is not a socket: name halleyd's with --socket PATH or HALLEY_SOCKET.");
    else if (error == ECONNREFUSED)
        snprintf(out, out_size, "The socket is there but nobody listens on it: start halleyd (%s).", START_HALLEYD);
    else if (error == EACCES || error == EPERM)
        advise_access(path, out, out_size);
    else if (error == ETIMEDOUT)
        snprintf(out, out_size, "halleyd is there but did not take the connection within %d s: see its log.",
                 ENDPOINT_CONNECT_TIMEOUT_S);
    else if (error == ENAMETOOLONG)
        snprintf(out, out_size, "The path of a socket has at most %zu bytes.",
                 sizeof((struct sockaddr_un *)0)->sun_path - 1);
    else
        out[0] = '\0';
}

static void advise_tcp(const struct endpoint *e, int error, char *out, size_t out_size)
{
    char name[300];
    endpoint_name(e, name, sizeof name);
    if (error == ECONNREFUSED)
        snprintf(out, out_size,
                 "Nobody listens there: check that halleyd runs and that its file has: backend \"%s\" { }", name);
    else if (error == ETIMEDOUT)
        snprintf(out, out_size, "No answer within %d s: check the address, and what filters packets on the way.",
                 ENDPOINT_CONNECT_TIMEOUT_S);
    else
        snprintf(out, out_size, "Check the address that --host and --port name.");
}

static void explain(const struct endpoint *e, int error, int gai, struct endpoint_error *ret_error)
{
    char name[300], advice[512];
    if (e->path != NULL)
        advise_unix(e->path, error, advice, sizeof advice);
    else
        advise_tcp(e, error, advice, sizeof advice);
    snprintf(ret_error->text, sizeof ret_error->text, "cannot connect to %s: %s. %s",
             endpoint_name(e, name, sizeof name), gai != 0 && gai != EAI_SYSTEM ? gai_strerror(gai) : strerror(error),
             advice);
    size_t len = strlen(ret_error->text);
    if (ret_error->text[len - 1] == ' ') /* no advice */
        ret_error->text[len - 1] = '\0';
}

int endpoint_connect(const struct endpoint *e, int *ret_fd, struct endpoint_error *ret_error)
{
    int gai = 0;
    int r = e->path != NULL ? connect_unix(e->path, ret_fd) : connect_tcp(e, ret_fd, &gai);
    if (r < 0) {
        explain(e, -r, gai, ret_error);
        return r;
    }
    if (!e->is_tls)
        return 0;
    if ((r = tls_tunnel_open(e, *ret_fd, ret_fd, ret_error)) == 0)
        set_timeout(*ret_fd, ENDPOINT_TIMEOUT_S);
    return r;
}

/* ---- the key, and RESP */

int endpoint_read_key(const struct endpoint *e, char *out, size_t out_size, struct endpoint_error *ret_error)
{
    out[0] = '\0';
    if (e->key_file == NULL)
        return 0;
    FILE *f = fopen(e->key_file, "re");
    if (f == NULL) {
        int error = errno;
        snprintf(ret_error->text, sizeof ret_error->text, "cannot read the backend key from %s: %s", e->key_file,
                 strerror(error));
        return -error;
    }
    bool has_line = fgets(out, (int)out_size, f) != NULL;
    fclose(f);
    out[strcspn(out, " \t\r\n")] = '\0'; /* the server's own file has more on the line: name=, publish= */
    if (!has_line || out[0] == '\0') {
        snprintf(ret_error->text, sizeof ret_error->text, "the first line of %s is to be the backend key, and is empty",
                 e->key_file);
        return -EINVAL;
    }
    return 0;
}

const char *endpoint_redis_error(const struct redisContext *redis)
{
    if (redis->err == REDIS_ERR_EOF || (redis->err == REDIS_ERR_IO && (errno == EPIPE || errno == ECONNRESET)))
        return "the server closed the connection";
    if (redis->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK))
        return "the server did not answer in time";
    return redis->errstr;
}

static int present_key(redisContext *redis, const char *key, const char *name, struct endpoint_error *ret_error)
{
    redisReply *reply = redisCommand(redis, "AUTH %s", key);
    int r = 0;
    if (reply == NULL) {
        snprintf(ret_error->text, sizeof ret_error->text, "%s: %s", name, endpoint_redis_error(redis));
        r = -EPIPE;
    } else if (reply->type == REDIS_REPLY_ERROR) {
        snprintf(ret_error->text, sizeof ret_error->text, "%s refused the backend key: %s", name, reply->str);
        r = -EKEYREJECTED;
    }
    freeReplyObject(reply);
    return r;
}

int endpoint_open_redis(const struct endpoint *e, struct redisContext **ret_redis, struct endpoint_error *ret_error)
{
    char key[1024], name[300];
    HLY_CLEANUP(fd_closep) int fd = -1;
    int r = endpoint_read_key(e, key, sizeof key, ret_error);
    if (r == 0)
        r = endpoint_connect(e, &fd, ret_error);
    if (r < 0)
        return r;
    redisContext *redis = redisConnectFd(fd);
    if (redis == NULL) {
        snprintf(ret_error->text, sizeof ret_error->text, "out of memory");
        return -ENOMEM;
    }
    fd_take(&fd); /* the context's now */
    if (key[0] != '\0' && (r = present_key(redis, key, endpoint_name(e, name, sizeof name), ret_error)) < 0) {
        redisFree(redis);
        return r;
    }
    *ret_redis = redis;
    return 0;
}
