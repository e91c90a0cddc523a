/* IP addresses: lists of networks, who a request really comes from, and what to count connections by. */
#ifndef HALLEY_AUTH_ADDRESSES_H
#define HALLEY_AUTH_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

struct sockaddr;

enum address_kind { ADDRESS_NONE, ADDRESS_UNIX, ADDRESS_V4, ADDRESS_V6 };

/* An address without a port. No padding, and unused bytes are zero: equal addresses are equal bytes, to be hashed as they are.
 * IPv4 within IPv6 (::ffff:1.2.3.4, what a dual-stack listener reports) is always IPv4 here. */
struct address {
    uint8_t kind;      /* enum address_kind */
    uint8_t bytes[16]; /* network order; of V4 the first 4 */
};

#define ADDRESS_TEXT 46 /* bytes that any address needs as text, with its NUL */

struct address address_of(
    const struct sockaddr *sa); /* of another family: ADDRESS_NONE; of a Unix socket: ADDRESS_UNIX */
struct address address_of_bytes(bool is_v6, const uint8_t *bytes); /* 16 or 4 of them, in network order */
/* "192.0.2.1", "2001:db8::1"; nothing around it, and no zone. */
bool address_parse(struct slice text, struct address *ret_address);
bool address_equal(const struct address *a, const struct address *b);
bool address_is_loopback(const struct address *a); /* 127.0.0.0/8, ::1, and Unix sockets */
/* "192.0.2.1", "2001:db8::1", "unix", "unknown". Returns out, of at least ADDRESS_TEXT bytes. */
const char *address_text(const struct address *a, char *out);

/* What connections and rates are counted by: an IPv4 address whole, of IPv6 the /64 that one customer has at the least. */
struct address address_group(const struct address *a);

/* ---- lists of networks: "10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "unix" (who comes over a Unix socket) */

struct addresses; /* immutable; any thread */

#define ADDRESSES_MAX 1024

/* Returns 0 and *ret_list, or -errno and a sentence in error that names the entry. texts is borrowed. */
int addresses_new(const char *const *texts, size_t count, struct addresses **ret_list, char *error, size_t error_size);
void addresses_free(struct addresses *list);                                 /* NULL is accepted */
bool addresses_match(const struct addresses *list, const struct address *a); /* list NULL: no */

/* ---- behind proxies */

#define FORWARDED_MAX 32 /* proxies between us and a client, at most */

/* Who a request comes from by its X-Forwarded-For headers: `values` are those of all such headers, in the order in which they came.
 * A proxy appends the address it was connected from, so the walk begins at the end, and goes on only while the address it is at
 * belongs to `trusted`, first of all the peer of the connection itself; what stands further left anyone can have made up. Entries may
 * carry a port ("192.0.2.1:80", "[2001:db8::1]:80"). One that is no address ends the walk: then it is the proxy who is counted. */
struct address forwarded_for(const struct addresses *trusted, const struct address *peer, const struct slice *values,
                             size_t count);

#endif
