#include "auth/addresses.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/slice.h"

struct network {
    struct address base; /* bits behind the prefix are zero */
    unsigned bits;
};

struct addresses {
    size_t count;
    struct network networks[];
};

/* ---- addresses */

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff }; /* ::ffff:0:0/96 (RFC 4291 2.5.5.2) */

struct address address_of_bytes(bool is_v6, const uint8_t *bytes)
{
    struct address a = { .kind = is_v6 ? ADDRESS_V6 : ADDRESS_V4 };
    if (is_v6 && memcmp(bytes, mapped, sizeof mapped) == 0)
        return address_of_bytes(false, bytes + sizeof mapped);
    memcpy(a.bytes, bytes, is_v6 ? 16 : 4);
    return a;
}

struct address address_of(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return address_of_bytes(false, (const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr);
    if (sa->sa_family == AF_INET6)
        return address_of_bytes(true, ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr);
    return (struct address){ .kind = sa->sa_family == AF_UNIX ? ADDRESS_UNIX : ADDRESS_NONE };
}

bool address_parse(struct slice text, struct address *ret_address)
{
    char copy[ADDRESS_TEXT];
    uint8_t bytes[16];
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.ptr, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    bool is_v6 = strchr(copy, ':') != NULL;
    if (inet_pton(is_v6 ? AF_INET6 : AF_INET, copy, bytes) != 1)
        return false;
    *ret_address = address_of_bytes(is_v6, bytes);
    return true;
}

bool address_equal(const struct address *a, const struct address *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

bool address_is_loopback(const struct address *a)
{
    static const uint8_t one[16] = { [15] = 1 };
    return a->kind == ADDRESS_UNIX || (a->kind == ADDRESS_V4 && a->bytes[0] == 127) ||
           (a->kind == ADDRESS_V6 && memcmp(a->bytes, one, sizeof one) == 0);
}

const char *address_text(const struct address *a, char *out)
{
    if (a->kind == ADDRESS_V4 || a->kind == ADDRESS_V6)
        inet_ntop(a->kind == ADDRESS_V6 ? AF_INET6 : AF_INET, a->bytes, out, ADDRESS_TEXT);
    else
        strcpy(out, a->kind == ADDRESS_UNIX ? "unix" : "unknown");
    return out;
}

struct address address_group(const struct address *a)
{
    struct address group = *a;
    if (a->kind == ADDRESS_V6)
        memset(group.bytes + 8, 0, 8);
    return group;
}

/* ---- networks */

static struct address cut(const struct address *a, unsigned bits)
{
    struct address base = *a;
    for (unsigned i = 0; i < 16; i++) {
        unsigned kept = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * i : 0;
        base.bytes[i] = (uint8_t)(base.bytes[i] & ~(0xffu >> kept));
    }
    return base;
}

static bool parse_bits(struct slice text, unsigned most, unsigned *ret_bits)
{
    unsigned bits = 0;
    if (text.len == 0 || text.len > 3 || (text.len > 1 && *text.ptr == '0'))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        bits = bits * 10 + (unsigned)(text.ptr[i] - '0');
    }
    *ret_bits = bits;
    return bits <= most;
}

static const char *parse_network(const char *text, struct network *ret_network)
{
    const char *slash = strchr(text, '/');
    struct slice address = { text, slash != NULL ? (size_t)(slash - text) : strlen(text) };
    bool is_v6 = memchr(address.ptr, ':', address.len) != NULL;
    unsigned most = is_v6 ? 128 : 32;
    *ret_network = (struct network){ .bits = most };
    if (strcmp(text, "unix") == 0) {
        *ret_network = (struct network){ { .kind = ADDRESS_UNIX }, 0 };
        return NULL;
    }
    if (!address_parse(address, &ret_network->base))
        return "is no address or network, such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32, nor the word unix";
    if (slash != NULL && !parse_bits((struct slice){ slash + 1, strlen(slash + 1) }, most, &ret_network->bits))
        return is_v6 ? "has no length from 0 to 128 after its '/'" : "has no length from 0 to 32 after its '/'";
    if (is_v6 && ret_network->base.kind == ADDRESS_V4) { /* ::ffff:10.0.0.0/104 is 10.0.0.0/8 */
        if (ret_network->bits < 96)
            return "holds all IPv4 addresses and more: write 0.0.0.0/0 for those";
        ret_network->bits -= 96;
    }
    return NULL;
}

static int refuse(const char *text, const char *why, char *error, size_t error_size)
{
    char quoted[128];
    snprintf(error, error_size, "'%s' %s.", log_quote(quoted, sizeof quoted, text, strlen(text)), why);
    return -EINVAL;
}

static int add_network(const char *text, struct network *ret_network, char *error, size_t error_size)
{
    char why[ADDRESS_TEXT + 64], base_text[ADDRESS_TEXT];
    const char *wrong = parse_network(text, ret_network);
    if (wrong != NULL)
        return refuse(text, wrong, error, error_size);
    struct address base = cut(&ret_network->base, ret_network->bits);
    if (!address_equal(&base, &ret_network->base)) {
        snprintf(why, sizeof why, "has bits behind its /%u: write %s/%u", ret_network->bits,
                 address_text(&base, base_text), ret_network->bits);
        return refuse(text, why, error, error_size);
    }
    return 0;
}

int addresses_new(const char *const *texts, size_t count, struct addresses **ret_list, char *error, size_t error_size)
{
    if (count > ADDRESSES_MAX) {
        snprintf(error, error_size, "%zu networks are too many: at most %d.", count, ADDRESSES_MAX);
        return -EINVAL;
    }
    struct addresses *list = malloc(sizeof *list + count * sizeof list->networks[0]);
    if (list == NULL) {
        snprintf(error, error_size, "out of memory.");
        return -ENOMEM;
    }
    list->count = count;
    for (size_t i = 0; i < count; i++) {
        int r = add_network(texts[i], &list->networks[i], error, error_size);
        if (r < 0) {
            free(list);
            return r;
        }
    }
    *ret_list = list;
    return 0;
}

void addresses_free(struct addresses *list)
{
    free(list);
}

bool addresses_match(const struct addresses *list, const struct address *a)
{
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        const struct network *n = &list->networks[i];
        struct address base = cut(a, n->bits);
        if (address_equal(&base, &n->base)) /* of another kind nothing is equal */
            return true;
    }
    return false;
}

/* ---- X-Forwarded-For */

static bool is_port(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
    return text.len > 0 && text.len <= 5;
}

/* An address with or without a port, IPv6 in brackets if with one. */
static bool parse_entry(struct slice text, struct address *ret_address)
{
    const char *end = text.ptr + text.len;
    if (text.len > 0 && *text.ptr == '[') {
        const char *bracket = memchr(text.ptr, ']', text.len);
        if (bracket == NULL ||
            (bracket + 1 < end &&
             (bracket[1] != ':' || !is_port((struct slice){ bracket + 2, (size_t)(end - bracket - 2) }))))
            return false;
        struct slice inner = { text.ptr + 1, (size_t)(bracket - text.ptr - 1) };
        return memchr(inner.ptr, ':', inner.len) != NULL && address_parse(inner, ret_address);
    }
    const char *colon = memchr(text.ptr, ':', text.len);
    bool has_port = colon != NULL && memchr(colon + 1, ':', (size_t)(end - colon - 1)) == NULL;
    if (has_port && !is_port((struct slice){ colon + 1, (size_t)(end - colon - 1) }))
        return false;
    return address_parse((struct slice){ text.ptr, has_port ? (size_t)(colon - text.ptr) : text.len }, ret_address);
}

/* Cut the last entry off the list. */
static struct slice last_entry(struct slice *list)
{
    const char *comma = list->len > 0 ? memrchr(list->ptr, ',', list->len) : NULL;
    size_t at = comma != NULL ? (size_t)(comma - list->ptr) + 1 : 0;
    struct slice entry = { list->ptr + at, list->len - at };
    list->len = comma != NULL ? at - 1 : 0;
    return slice_trim(entry);
}

struct address forwarded_for(const struct addresses *trusted, const struct address *peer, const struct slice *values,
                             size_t count)
{
    struct address at = *peer;
    size_t steps = 0;
    for (size_t i = count; i > 0; i--) {
        struct slice rest = values[i - 1];
        while (rest.len > 0) {
            struct address next;
            if (!addresses_match(trusted, &at) || steps++ == FORWARDED_MAX || !parse_entry(last_entry(&rest), &next))
                return at;
            at = next;
        }
    }
    return at;
}
