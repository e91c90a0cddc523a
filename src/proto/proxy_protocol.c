#include "proto/proxy_protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"

#define V2_PREFIX 16 /* bytes: signature, version and command, family, length */
#define V2_CRC32C 0x03

static int refuse(const char *why, const char **ret_why)
{
    *ret_why = why;
    return -EPROTO;
}

/* ---- version 1: one line of text (2.1) */

/* Cut the next word off the line, which one space ends, or for the last the line's end. */
static struct slice next_word(struct slice *line)
{
    const char *space = line->len > 0 ? memchr(line->ptr, ' ', line->len) : NULL;
    size_t len = space != NULL ? (size_t)(space - line->ptr) : line->len;
    size_t used = space != NULL ? len + 1 : len;
    struct slice word = { line->ptr, len };
    *line = (struct slice){ line->ptr + used, line->len - used };
    return word;
}

static bool parse_address(struct slice word, bool is_v6, uint8_t *out)
{
    char text[INET6_ADDRSTRLEN];
    if (word.len >= sizeof text)
        return false;
    memcpy(text, word.ptr, word.len);
    text[word.len] = '\0';
    return inet_pton(is_v6 ? AF_INET6 : AF_INET, text, out) == 1;
}

static bool parse_port(struct slice word, uint16_t *ret_port)
{
    unsigned port = 0;
    if (word.len == 0 || word.len > 5 || (word.len > 1 && *word.ptr == '0'))
        return false;
    for (size_t i = 0; i < word.len; i++) {
        if (word.ptr[i] < '0' || word.ptr[i] > '9')
            return false;
        port = port * 10 + (unsigned)(word.ptr[i] - '0');
    }
    *ret_port = (uint16_t)port;
    return port <= UINT16_MAX;
}

static int parse_line(struct slice line, struct proxy_header *h, const char **ret_why)
{
    h->version = 1;
    next_word(&line); /* PROXY */
    struct slice family = next_word(&line);
    if (slice_equals(family, "UNKNOWN"))
        return 1;
    h->is_v6 = slice_equals(family, "TCP6");
    if (!h->is_v6 && !slice_equals(family, "TCP4"))
        return refuse("The PROXY line names a family other than TCP4, TCP6 and UNKNOWN.", ret_why);
    struct slice source = next_word(&line), destination = next_word(&line), from = next_word(&line);
    if (!parse_address(source, h->is_v6, h->source) || !parse_address(destination, h->is_v6, h->destination))
        return refuse("The PROXY line has an address that is none of its family.", ret_why);
    if (!parse_port(from, &h->source_port) || !parse_port(line, &h->destination_port))
        return refuse("The PROXY line does not end in two ports from 0 to 65535.", ret_why);
    h->has_addresses = true;
    return 1;
}

static int parse_v1(const char *data, size_t len, size_t *ret_used, struct proxy_header *h, const char **ret_why)
{
    for (size_t i = 0; i < len && i < PROXY_V1_MAX; i++) {
        char c = data[i];
        if (c == '\n' && i > 0 && data[i - 1] == '\r') {
            *ret_used = i + 1;
            return parse_line((struct slice){ data, i - 1 }, h, ret_why);
        }
        if ((i > 0 && data[i - 1] == '\r') || (c != '\r' && (c < 0x20 || c > 0x7e)))
            return refuse("The PROXY line does not end in CR LF, or has other bytes than text.", ret_why);
    }
    return len < PROXY_V1_MAX ? 0 : refuse("The PROXY line is longer than 107 bytes.", ret_why);
}

/* ---- version 2: binary (2.2) */

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

enum { LOCAL = 0x20, PROXY = 0x21, UNSPEC = 0x00, TCP4 = 0x11, TCP6 = 0x21, UNIX = 0x31 };

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* Bytes of the addresses of a family; -1: a family that may not be, or cannot be here. */
static int address_bytes(uint8_t family)
{
    switch (family) {
    case UNSPEC:
        return 0;
    case TCP4:
        return 12;
    case TCP6:
        return 36;
    case UNIX:
        return 216;
    }
    return -1;
}

static uint32_t crc32c_byte(uint32_t crc, uint8_t byte) /* RFC 9260 A: Castagnoli, reflected */
{
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++)
        crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    return crc;
}

/* The checksum covers the whole header, itself as four zeros (2.2.3). */
static bool crc_holds(const uint8_t *data, size_t len, size_t crc_at)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++)
        crc = crc32c_byte(crc, i >= crc_at && i < crc_at + 4 ? 0 : data[i]);
    uint32_t said = (uint32_t)get16(data + crc_at) << 16 | get16(data + crc_at + 2);
    return ~crc == said;
}

/* Extensions are type, length, value (2.2.1). Only the checksum says something that must be checked. */
static int check_extensions(const uint8_t *data, size_t len, size_t at, const char **ret_why)
{
    while (at < len) {
        if (len - at < 3 || len - at - 3 < get16(data + at + 1))
            return refuse("The PROXY header has an extension that does not end within it.", ret_why);
        size_t value_len = get16(data + at + 1);
        if (data[at] == V2_CRC32C && (value_len != 4 || !crc_holds(data, len, at + 3)))
            return refuse("The PROXY header's checksum is wrong.", ret_why);
        at += 3 + value_len;
    }
    return 1;
}

static void take_addresses(const uint8_t *p, uint8_t family, struct proxy_header *h)
{
    size_t bytes = family == TCP6 ? 16 : 4;
    h->has_addresses = true;
    h->is_v6 = family == TCP6;
    memcpy(h->source, p, bytes);
    memcpy(h->destination, p + bytes, bytes);
    h->source_port = get16(p + 2 * bytes);
    h->destination_port = get16(p + 2 * bytes + 2);
}

static int parse_v2(const uint8_t *data, size_t len, size_t *ret_used, struct proxy_header *h, const char **ret_why)
{
    h->version = 2;
    if (len > 12 && data[12] != LOCAL && data[12] != PROXY)
        return refuse("The PROXY header has a version other than 2, or an unknown command.", ret_why);
    int bytes = len > 13 ? address_bytes(data[13]) : 0;
    if (len > 13 && data[12] == LOCAL) /* whose family means nothing */
        bytes = 0;
    if (bytes < 0)
        return refuse("The PROXY header names a family other than TCP over IPv4 or IPv6, a Unix socket, or none.",
                      ret_why);
    if (len < V2_PREFIX)
        return 0;
    size_t total = V2_PREFIX + (size_t)get16(data + 14);
    if (total < V2_PREFIX + (size_t)bytes)
        return refuse("The PROXY header is shorter than the addresses of its family.", ret_why);
    if (total > PROXY_HEADER_MAX)
        return refuse("The PROXY header is longer than 4096 bytes.", ret_why);
    if (len < total)
        return 0;
    *ret_used = total;
    if (data[12] == LOCAL) /* all that follows is to be skipped unseen */
        return 1;
    if (data[13] == TCP4 || data[13] == TCP6)
        take_addresses(data + V2_PREFIX, data[13], h);
    return data[13] == UNSPEC ? 1 : check_extensions(data, total, V2_PREFIX + (size_t)bytes, ret_why);
}

/* ---- the whole */

static bool begins_as(const void *data, size_t len, const void *prefix, size_t prefix_len)
{
    return memcmp(data, prefix, len < prefix_len ? len : prefix_len) == 0;
}

int proxy_header_parse(const void *data, size_t len, size_t *ret_used, struct proxy_header *ret_header,
                       const char **ret_why)
{
    struct proxy_header h = { 0 };
    size_t used = 0;
    int r;
    if (len == 0)
        return 0;
    if (begins_as(data, len, "PROXY ", 6))
        r = parse_v1(data, len, &used, &h, ret_why);
    else if (begins_as(data, len, signature, sizeof signature))
        r = parse_v2(data, len, &used, &h, ret_why);
    else
        r = refuse("There is no PROXY header before the request, though this address is set up for it.", ret_why);
    if (r == 1) {
        *ret_used = used;
        *ret_header = h;
    }
    return r;
}
