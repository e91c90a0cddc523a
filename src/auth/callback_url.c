#include "auth/callback_url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define RIGHT "write unix:/run/app.sock:/halley/auth, or http://127.0.0.1:3000/halley/auth"

static int refuse(char *error, size_t error_size, const char *why)
{
    snprintf(error, error_size, "%s; " RIGHT ".", why);
    return -EINVAL;
}

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text >= 0x7f)
            return false;
    return true;
}

static bool take_target(const char *text, struct callback_url *u)
{
    if (*text == '\0')
        text = "/";
    if (*text != '/' || strlen(text) > CALLBACK_TARGET_MAX || !is_printable(text) || strchr(text, '#') != NULL)
        return false;
    memcpy(u->target, text, strlen(text) + 1);
    return true;
}

/* ---- unix:/path/of/socket:/target */

static int parse_unix(const char *text, struct callback_url *u, char *error, size_t error_size)
{
    struct sockaddr_un *sa = (struct sockaddr_un *)&u->address;
    const char *target = strstr(text, ":/");
    size_t len = target == NULL ? strlen(text) : (size_t)(target - text);
    if (text[0] != '/')
        return refuse(error, error_size, "the path of the socket does not begin with /");
    if (len >= sizeof sa->sun_path)
        return refuse(error, error_size, "the path of the socket is longer than the kernel takes (107 bytes)");
    if (!take_target(target == NULL ? "" : target + 1, u))
        return refuse(error, error_size, "the path behind the socket has a space, a control character, a byte outside of ASCII or a '#', or is too long");
    sa->sun_family = AF_UNIX;
    memcpy(sa->sun_path, text, len);
    u->address_len = sizeof *sa;
    snprintf(u->host, sizeof u->host, "localhost");
    return 0;
}

/* ---- http://host:port/target */

static bool take_port(const char *text, size_t len, struct callback_url *u)
{
    unsigned port = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || len > 5)
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    u->port = (uint16_t)port;
    return port > 0 && port <= UINT16_MAX;
}

static bool take_address(struct callback_url *u)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&u->address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&u->address;
    if (inet_pton(AF_INET, u->host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(u->port);
        u->address_len = sizeof *v4;
    } else if (inet_pton(AF_INET6, u->host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(u->port);
        u->address_len = sizeof *v6;
    }
    return u->address_len > 0;
}

static bool is_name(const char *host)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    size_t len = strlen(host);
    return len > 0 && strspn(host, allowed) == len && host[0] != '.' && host[0] != '-' && strspn(host, "0123456789.") != len;
}

/* "host", "host:port", "[v6]", "[v6]:port" */
static bool take_authority(const char *text, size_t len, struct callback_url *u)
{
    bool is_literal = len > 0 && text[0] == '[';
    const char *end = memchr(text, is_literal ? ']' : ':', len);
    const char *host = text + is_literal;
    size_t host_len = end == NULL ? len : (size_t)(end - host);
    if ((is_literal && end == NULL) || host_len > CALLBACK_HOST_MAX)
        return false;
    memcpy(u->host, host, host_len);
    u->host[host_len] = '\0';
    const char *port = end == NULL ? text + len : end + is_literal;
    u->port = 80;
    if (port < text + len && (*port != ':' || !take_port(port + 1, (size_t)(text + len - port - 1), u)))
        return false;
    return take_address(u) ? is_literal == (u->address.ss_family == AF_INET6) : !is_literal && is_name(u->host);
}

static int parse_http(const char *text, struct callback_url *u, char *error, size_t error_size)
{
    size_t len = strcspn(text, "/?#");
    if (memchr(text, '@', len) != NULL)
        return refuse(error, error_size, "there is no place for a user and a password");
    if (!take_authority(text, len, u))
        return refuse(error, error_size, "it has no host, or a port that is none");
    if (text[len] == '?' || !take_target(text + len, u))
        return refuse(error, error_size, "its path has a space, a control character, a byte outside of ASCII or a '#', or is too long");
    return 0;
}

/* ---- the whole */

int callback_url_parse(const char *text, struct callback_url *ret, char *error, size_t error_size)
{
    struct callback_url u = { .port = 0 };
    int r;
    if (strncmp(text, "unix:", 5) == 0)
        r = parse_unix(text + 5, &u, error, error_size);
    else if (strncmp(text, "http://", 7) == 0)
        r = parse_http(text + 7, &u, error, error_size);
    else if (strncmp(text, "https://", 8) == 0)
        r = refuse(error, error_size, "https is not spoken here, the application is to be near");
    else
        r = refuse(error, error_size, "it begins neither with unix: nor with http://");
    if (r == 0)
        *ret = u;
    return r;
}

int callback_url_resolve(struct callback_url *url, char *error, size_t error_size)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *found;
    char port[8];
    if (url->address_len > 0)
        return 0;
    snprintf(port, sizeof port, "%u", url->port);
    int r = getaddrinfo(url->host, port, &hints, &found);
    if (r != 0) {
        snprintf(error, error_size, "the host %s is not known: %s", url->host, gai_strerror(r));
        return -EHOSTUNREACH;
    }
    memcpy(&url->address, found->ai_addr, found->ai_addrlen);
    url->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}
