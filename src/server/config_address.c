/* Addresses, origins, paths, users and groups as people write them. */
#include "server/config_internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "auth/backend_key.h"
#include "net/tls_context.h"

#define SOCKET_PATH_MAX (sizeof((struct sockaddr_un *)NULL)->sun_path - 1)
#define HOST_MAX 253 /* RFC 1035 2.3.4, as text */

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    }
    return false;
}

/* --- Unix sockets --- */

static int path_parse(const char *path, char **ret_path, struct config_why *why)
{
    if (path[0] == '\0')
        return config_because(why,
                              "The path of the Unix socket is empty. Write one, as in unix:/run/halley/public.sock.");
    if (has_control(path))
        return config_because(why, "The socket path '%s' contains control characters.", CONFIG_QUOTE(path));
    if (strlen(path) > SOCKET_PATH_MAX)
        return config_because(why, "The socket path '%s' has %zu bytes. The kernel takes %zu at most.",
                              CONFIG_QUOTE(path), strlen(path), SOCKET_PATH_MAX);
    if (path[strlen(path) - 1] == '/')
        return config_because(why, "'%s' is a directory. Name a file in it, as in %shalley.sock.", CONFIG_QUOTE(path),
                              CONFIG_QUOTE(path));
    *ret_path = strdup(path);
    return *ret_path == NULL ? -ENOMEM : 0;
}

/* --- HOST:PORT --- */

static int port_parse(const char *text, uint16_t *ret_port)
{
    unsigned port = 0;
    size_t len = strlen(text);
    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return -EINVAL;
    for (size_t i = 0; i < len; i++)
        port = port * 10 + (unsigned)(text[i] - '0');
    if (port > UINT16_MAX)
        return -EINVAL;
    *ret_port = (uint16_t)port;
    return 0;
}

static bool is_ipv4(const char *host)
{
    struct in_addr in;
    return inet_pton(AF_INET, host, &in) == 1;
}

static bool is_ipv6(const char *host) /* with or without a scope: fe80::1%eth0 */
{
    char plain[INET6_ADDRSTRLEN];
    struct in6_addr in6;
    size_t len = strcspn(host, "%");
    if (len >= sizeof plain || (host[len] == '%' && host[len + 1] == '\0'))
        return false;
    memcpy(plain, host, len);
    plain[len] = '\0';
    return inet_pton(AF_INET6, plain, &in6) == 1;
}

static bool is_host_name(const char *host)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    size_t len = strlen(host);
    if (len == 0 || len > HOST_MAX || strspn(host, allowed) != len || host[0] == '.' || host[0] == '-')
        return false;
    if (strstr(host, "..") != NULL)
        return false;
    return strspn(host, "0123456789.") != len; /* digits and dots alone want to be an IPv4 address */
}

/* Cut "HOST:PORT" or "[V6]:PORT" in place. Returns false when it has no such shape. */
static bool host_port_split(char *text, char **ret_host, char **ret_port, bool *ret_bracketed)
{
    *ret_bracketed = text[0] == '[';
    char *end = *ret_bracketed ? strchr(text, ']') : strrchr(text, ':');
    if (end == NULL)
        return false;
    char *port = *ret_bracketed ? end + 1 : end;
    if (*port != ':')
        return false;
    *end = '\0';
    *ret_host = *ret_bracketed ? text + 1 : text;
    *ret_port = port + 1;
    return true;
}

static int host_check(const char *host, bool bracketed, const char *port, struct config_why *why)
{
    if (bracketed)
        return is_ipv6(host) ? 0 : config_because(why, "'%s' is not an IPv6 address.", CONFIG_QUOTE(host));
    if (strchr(host, ':') != NULL)
        return config_because(why,
                              "An IPv6 address stands in brackets: write [::1]:8080, or *:8080 for every address.");
    if (is_ipv4(host) || is_host_name(host) || strcmp(host, "*") == 0)
        return 0;
    if (host[0] == '\0')
        return config_because(why, "The host is missing. Write *:%s for every address, or 127.0.0.1:%s.", port, port);
    return config_because(why, "'%s' is neither an IP address nor a host name.", CONFIG_QUOTE(host));
}

static int host_port_parse(const char *text, char **ret_host, uint16_t *ret_port, struct config_why *why)
{
    char copy[HOST_MAX + 16], *host, *port;
    bool bracketed;
    if (strlen(text) >= sizeof copy)
        return config_because(why, "'%s' is too long for an address.", CONFIG_QUOTE(text));
    memcpy(copy, text, strlen(text) + 1);
    uint16_t number = 0;
    if (port_parse(text, &number) == 0)
        return config_because(why, "'%s' is a port without a host. Write *:%s for every address, or 127.0.0.1:%s.",
                              text, text, text);
    if (!host_port_split(copy, &host, &port, &bracketed))
        return config_because(why,
                              "'%s' is not an address. Write HOST:PORT, [IPV6]:PORT, *:PORT or unix:/path, as in "
                              "127.0.0.1:8080.",
                              CONFIG_QUOTE(text));
    if (port_parse(port, &number) < 0)
        return config_because(why, "'%s' is not a port. It must be 0 to 65535; 0 lets the kernel pick one.",
                              CONFIG_QUOTE(port));
    int r = host_check(host, bracketed, port, why);
    if (r < 0)
        return r;
    char *owned = NULL;
    if (strcmp(host, "*") != 0 && (owned = strdup(host)) == NULL)
        return -ENOMEM;
    *ret_host = owned;
    *ret_port = number;
    return 0;
}

int config_listen_parse(const char *text, struct config_listen *ret, struct config_why *why)
{
    struct config_listen l = { .address = strdup(text) };
    int r = -ENOMEM;
    if (l.address != NULL && strncmp(text, "unix:", 5) == 0)
        r = path_parse(text + 5, &l.path, why);
    else if (l.address != NULL)
        r = host_port_parse(text, &l.host, &l.port, why);
    if (r == 0)
        *ret = l;
    else
        free(l.address);
    return r;
}

/* A path has a slash or no colon: "backend.sock" is one, "localhost:6380" is not. */
int config_backend_parse(const char *text, struct config_backend *ret, struct config_why *why)
{
    struct config_backend b = { .address = strdup(text), .mode = (uint32_t)config_items[CONFIG_ID_backend_mode].def };
    int r = -ENOMEM;
    if (b.address != NULL && strncmp(text, "unix:", 5) == 0)
        r = path_parse(text + 5, &b.path, why);
    else if (b.address != NULL && (strchr(text, '/') != NULL || strchr(text, ':') == NULL))
        r = path_parse(text, &b.path, why);
    else if (b.address != NULL)
        r = host_port_parse(text, &b.host, &b.port, why);
    if (r == 0)
        *ret = b;
    else
        free(b.address);
    return r;
}

static void free_strings(char **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(list[i]);
    free(list);
}

void config_tls_done(struct config_tls *t)
{
    free_strings(t->certificates, t->certificate_count);
    free_strings(t->keys, t->key_count);
    free(t->client_ca);
    tls_context_unref(t->context);
}

void config_listen_done(struct config_listen *l)
{
    free(l->address);
    free(l->host);
    free(l->path);
    config_tls_done(&l->tls);
}

void config_backend_done(struct config_backend *b)
{
    free(b->address);
    free(b->path);
    free(b->host);
    free(b->owner);
    free(b->group);
    free(b->uids);
    free(b->key_file);
    backend_keys_free(b->keys);
    config_tls_done(&b->tls);
}

/* --- origins and paths --- */

/* Cut the port off "HOST:PORT", if there is one. */
static int origin_port_cut(char *rest, const char *own_port, struct config_why *why)
{
    char *colon = rest[0] == '[' ? strstr(rest, "]:") : strrchr(rest, ':');
    if (colon == NULL)
        return 0;
    if (*colon == ']')
        colon++;
    uint16_t port = 0;
    const char *text = colon + 1;
    if (port_parse(text, &port) < 0 || text[0] == '0')
        return config_because(why, "'%s' is not a port. It must be 1 to 65535.", CONFIG_QUOTE(text));
    if (strcmp(text, own_port) == 0)
        return config_because(why,
                              "Browsers leave out port %s here, so an origin with it never matches. Leave it out too.",
                              own_port);
    *colon = '\0';
    return 0;
}

static int origin_host_check(char *host, struct config_why *why)
{
    size_t len = strlen(host);
    if (host[0] == '[' && len > 2 && host[len - 1] == ']') {
        host[len - 1] = '\0';
        return is_ipv6(host + 1) ? 0 : config_because(why, "'%s' is not an IPv6 address.", CONFIG_QUOTE(host + 1));
    }
    bool any_subdomain = strncmp(host, "*.", 2) == 0;
    if (is_host_name(any_subdomain ? host + 2 : host) || is_ipv4(host))
        return 0;
    return config_because(why, "'%s' is not a host. Write https://host, https://host:port or https://*.example.com.",
                          CONFIG_QUOTE(host));
}

/* What comes after the scheme. A browser sends the origin in lower case, without a path and without the scheme's own
 * port (RFC 6454 6.2), so anything else would never match. */
static int origin_rest_check(const char *rest, const char *own_port, struct config_why *why)
{
    char copy[HOST_MAX + 16];
    size_t len = strlen(rest);
    if (len >= sizeof copy)
        return config_because(why, "'%s' is too long for an origin.", CONFIG_QUOTE(rest));
    if (strpbrk(rest, "/?#@") != NULL)
        return config_because(why, "An origin ends with its host or port. Leave out what follows in '%s'.",
                              CONFIG_QUOTE(rest));
    for (const char *p = rest; *p != '\0'; p++) {
        if (isupper((unsigned char)*p))
            return config_because(why, "Browsers send origins in lower case, so '%s' would never match. Write it so.",
                                  CONFIG_QUOTE(rest));
    }
    memcpy(copy, rest, len + 1);
    int r = origin_port_cut(copy, own_port, why);
    return r < 0 ? r : origin_host_check(copy, why);
}

int config_origin_check(const char *text, struct config_why *why)
{
    if (strcmp(text, "*") == 0 || strcmp(text, "null") == 0)
        return 0;
    if (strncmp(text, "https://", 8) == 0)
        return origin_rest_check(text + 8, "443", why);
    if (strncmp(text, "http://", 7) == 0)
        return origin_rest_check(text + 7, "80", why);
    return config_because(
        why, "'%s' is not an origin. Write https://host, https://host:port, https://*.example.com, null or *.",
        CONFIG_QUOTE(text));
}

int config_echo_check(const char *text, struct config_why *why)
{
    static const char *const taken[] = { "/",        "/ws",      "/sse",       "/poll",        "/stream",
                                         "/publish", "/command", "/halley.js", "/halley.d.ts", "/healthz" };
    if (text[0] != '/')
        return config_because(why, "The path '%s' does not begin with '/'. Write it as in \"/echo\".",
                              CONFIG_QUOTE(text));
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || strchr("?#%\"", *p) != NULL)
            return config_because(why, "The path '%s' contains more than plain letters. Write it as in \"/echo\".",
                                  CONFIG_QUOTE(text));
    }
    for (size_t i = 0; i < HLY_ARRAY_LEN(taken); i++) {
        if (strcmp(text, taken[i]) == 0)
            return config_because(why, "The path '%s' is a door of Halley's own. Choose another, as in \"/echo\".",
                                  text);
    }
    return 0;
}

/* --- users and groups --- */

#define LOOKUP_MAX (1024 * 1024) /* bytes of one entry: a group may list many members */

static bool number_parse(const char *name, uint32_t *ret_number)
{
    size_t len = strlen(name);
    if (len == 0 || len > 10 || strspn(name, "0123456789") != len)
        return false;
    unsigned long long n = strtoull(name, NULL, 10);
    if (n >= UINT32_MAX) /* (uid_t)-1 means "unchanged" to chown() */
        return false;
    *ret_number = (uint32_t)n;
    return true;
}

int config_user_find(const char *name, uid_t *ret_uid, struct config_why *why)
{
    struct passwd entry, *found = NULL;
    uint32_t number = 0;
    if (number_parse(name, &number)) { /* need not be in the list of users */
        if (ret_uid != NULL)
            *ret_uid = number;
        return 0;
    }
    int r = ERANGE;
    for (size_t size = 4096; r == ERANGE && size <= LOOKUP_MAX; size *= 4) {
        char *scratch = malloc(size);
        r = scratch == NULL ? ENOMEM : getpwnam_r(name, &entry, scratch, size, &found);
        if (found != NULL && ret_uid != NULL)
            *ret_uid = entry.pw_uid;
        free(scratch);
    }
    if (found != NULL)
        return 0;
    return config_because(why, "There is no user '%s' on this machine. Create it, or name another.",
                          CONFIG_QUOTE(name));
}

int config_group_find(const char *name, gid_t *ret_gid, struct config_why *why)
{
    struct group entry, *found = NULL;
    uint32_t number = 0;
    if (number_parse(name, &number)) {
        if (ret_gid != NULL)
            *ret_gid = number;
        return 0;
    }
    int r = ERANGE;
    for (size_t size = 4096; r == ERANGE && size <= LOOKUP_MAX; size *= 4) {
        char *scratch = malloc(size);
        r = scratch == NULL ? ENOMEM : getgrnam_r(name, &entry, scratch, size, &found);
        if (found != NULL && ret_gid != NULL)
            *ret_gid = entry.gr_gid;
        free(scratch);
    }
    if (found != NULL)
        return 0;
    return config_because(why, "There is no group '%s' on this machine. Create it, or name another.",
                          CONFIG_QUOTE(name));
}
