#include "base/deflate.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Measured with zlib 1.2.13 on JSON of 1 KB and 64 KB: level 1 leaves 33 and 21 %, 3 leaves 33 and 17 %, 6 leaves 31 and 14 % for more than twice the time. */
#define LEVEL 3
#define REACH_LESS 262          /* a window reaches back by so much less than its size (zlib's MIN_LOOKAHEAD) */
#define STORED_HEADER_BYTES 5   /* type and padding, length, its complement */
#define STORED_MAX 65535
#define STATE_BYTES 6144        /* of zlib's own, beside window and tables */

struct deflater {
    z_stream z;
    bool keeps_context;
};

static unsigned clamp_bits(unsigned bits)
{
    return bits < DEFLATE_BITS_MIN ? DEFLATE_BITS_MIN : bits > DEFLATE_BITS_MAX ? DEFLATE_BITS_MAX : bits;
}

/* zlib's memLevel: its tables in proportion to the window; more was no faster. */
static int memory_level(unsigned bits)
{
    return bits - 6 > 8 ? 8 : (int)bits - 6;
}

struct deflater *deflater_new(unsigned window_bits, bool keeps_context)
{
    unsigned bits = clamp_bits(window_bits);
    struct deflater *d = calloc(1, sizeof *d);
    if (d == NULL)
        return NULL;
    d->keeps_context = keeps_context;
    if (deflateInit2(&d->z, LEVEL, Z_DEFLATED, -(int)bits, memory_level(bits), Z_DEFAULT_STRATEGY) == Z_OK)
        return d;
    free(d);
    return NULL;
}

void deflater_free(struct deflater *d)
{
    if (d == NULL)
        return;
    deflateEnd(&d->z);
    free(d);
}

size_t deflater_memory(unsigned window_bits) /* zconf.h: (1 << (windowBits + 2)) + (1 << (memLevel + 9)), and the state */
{
    unsigned bits = clamp_bits(window_bits);
    return ((size_t)1 << (bits + 2)) + ((size_t)1 << (memory_level(bits) + 9)) + STATE_BYTES;
}

size_t deflater_bound(size_t len) /* blocks that do not shrink are stored: with the smallest tables each 127 bytes or more with a header */
{
    return len + len / 16 + 64;
}

void deflater_reset(struct deflater *d)
{
    deflateReset(&d->z);
}

size_t deflater_run(struct deflater *d, const void *in, size_t len, uint8_t *out, size_t room)
{
    if (!d->keeps_context)
        deflateReset(&d->z);
    if (len > UINT32_MAX)
        return 0;
    d->z.next_in = (Bytef *)(uintptr_t)in;
    d->z.avail_in = (uInt)len;
    d->z.next_out = out;
    d->z.avail_out = room > UINT32_MAX ? UINT32_MAX : (uInt)room;
    int rc = deflate(&d->z, Z_SYNC_FLUSH);
    size_t written = (size_t)(d->z.next_out - out);
    if (rc == Z_OK && d->z.avail_in == 0 && d->z.avail_out > 0) /* no room left over: there may be more to come */
        return written;
    deflateReset(&d->z);
    return 0;
}

unsigned deflate_bits_for(size_t len)
{
    unsigned bits = DEFLATE_BITS_MIN;
    while (bits < DEFLATE_BITS_MAX && ((size_t)1 << bits) - REACH_LESS < len)
        bits++;
    return bits;
}

size_t deflate_stored_size(size_t len)
{
    size_t blocks = len == 0 ? 1 : (len + STORED_MAX - 1) / STORED_MAX;
    return len + blocks * STORED_HEADER_BYTES;
}

size_t deflate_stored(uint8_t *out, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;
    uint8_t *to = out;
    do {
        size_t n = len > STORED_MAX ? STORED_MAX : len;
        uint8_t header[STORED_HEADER_BYTES] = { 0, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)~n, (uint8_t)(~n >> 8) };
        memcpy(to, header, sizeof header);
        if (n > 0)
            memmove(to + sizeof header, from, n);
        to += sizeof header + n;
        from += n;
        len -= n;
    } while (len > 0);
    return (size_t)(to - out);
}
