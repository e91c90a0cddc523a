/* The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): what a proxy sends before the first byte of its
 * client, to say who that is. Pure: bytes in, a verdict out.
 *
 * Whoever may send it may claim to be anyone: a listener that expects it takes it from trusted peers alone, and never guesses
 * whether one is there (section 2 of the specification). */
#ifndef HALLEY_PROTO_PROXY_PROTOCOL_H
#define HALLEY_PROTO_PROXY_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROXY_V1_MAX 107      /* bytes of the line, with its CRLF (2.1) */
#define PROXY_HEADER_MAX 4096 /* bytes of either: with a few extensions (2.2.1 to 2.2.8) */

struct proxy_header {
    uint8_t version;    /* 1 or 2 */
    bool has_addresses; /* else the connection's own stand: a health check (LOCAL), UNKNOWN, UNSPEC, or a Unix socket */
    bool is_v6;
    uint8_t source[16]; /* the client; of IPv4 the first 4. Network order */
    uint8_t destination[16];
    uint16_t source_port;
    uint16_t destination_port;
};

/* Parse the header at the start of data (borrowed): all bytes that have arrived, each time from the first on. Returns
 *   1: it is complete, *ret_used bytes long; what follows is the client's.
 *   0: more is needed. Never with PROXY_HEADER_MAX bytes or more.
 *  -EPROTO: it is none, and the connection has nothing to be answered with: *ret_why is a sentence for the log, static. */
int proxy_header_parse(const void *data, size_t len, size_t *ret_used, struct proxy_header *ret_header,
                       const char **ret_why);

#endif
