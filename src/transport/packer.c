#include "transport/packer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/deflate.h"
#include "proto/ws_deflate.h"

struct packer {
    struct stats *stats;
    struct deflater *deflaters[DEFLATE_BITS_MAX + 1]; /* by bits; made when first asked for */
    uint32_t left;                                    /* bytes of this turn */
};

struct packer *packer_new(struct stats *stats)
{
    struct packer *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->stats = stats;
    packer_turn(p);
    return p;
}

void packer_free(struct packer *p)
{
    if (p == NULL)
        return;
    for (size_t bits = 0; bits < HLY_ARRAY_LEN(p->deflaters); bits++)
        deflater_free(p->deflaters[bits]);
    free(p);
}

void packer_turn(struct packer *p)
{
    p->left = PACK_TURN_BYTES;
}

/* ---- forms */

static bool is_gzip(enum wire_form form)
{
    return form >= WIRE_SSE_GZIP;
}

static unsigned bits_of(enum wire_form form)
{
    if (is_gzip(form))
        return DEFLATE_BITS_MAX;
    return DEFLATE_BITS_MIN + (unsigned)(form - (form >= WIRE_WS_V1_DEFLATED ? WIRE_WS_V1_DEFLATED : WIRE_WS_PLAIN_DEFLATED));
}

enum wire_form packer_ws_form(enum wire_form plain, unsigned bits)
{
    assert(plain == WIRE_WS_PLAIN || plain == WIRE_WS_V1);
    enum wire_form first = plain == WIRE_WS_V1 ? WIRE_WS_V1_DEFLATED : WIRE_WS_PLAIN_DEFLATED;
    return first + (bits < DEFLATE_BITS_MIN ? 0 : bits - DEFLATE_BITS_MIN);
}

enum wire_form packer_gzip_form(enum wire_form plain)
{
    switch (plain) {
    case WIRE_SSE:
        return WIRE_SSE_GZIP;
    case WIRE_SSE_JSON:
        return WIRE_SSE_JSON_GZIP;
    case WIRE_SSE_V1:
        return WIRE_SSE_V1_GZIP;
    case WIRE_NDJSON:
        return WIRE_NDJSON_GZIP;
    default:
        assert(plain == WIRE_IFRAME);
        return WIRE_IFRAME_GZIP;
    }
}

/* ---- packing */

static bool is_worth_it(struct packer *p, uint32_t len)
{
    if (len < PACK_MIN_BYTES || len > PACK_MAX_BYTES)
        return false;
    if (p->left >= len + PACK_EACH_BYTES) {
        p->left -= len + PACK_EACH_BYTES;
        return true;
    }
    stat_add(&p->stats->deflate_skipped, 1);
    return false;
}

static struct deflater *deflater_for(struct packer *p, unsigned bits)
{
    if (p->deflaters[bits] == NULL)
        p->deflaters[bits] = deflater_new(bits, false);
    return p->deflaters[bits];
}

static uint32_t count(struct packer *p, uint32_t before, size_t after)
{
    if (after == 0)
        return 0;
    stat_add(&p->stats->deflated, 1);
    stat_add(&p->stats->deflate_bytes_in, before);
    stat_add(&p->stats->deflate_bytes_out, after);
    return (uint32_t)after;
}

uint32_t packer_deflate_frame(struct packer *p, unsigned bits, const uint8_t *frame, uint32_t len, uint8_t *out)
{
    if (bits < DEFLATE_BITS_MIN)
        bits = DEFLATE_BITS_MIN;
    struct deflater *d = is_worth_it(p, len) ? deflater_for(p, bits) : NULL;
    return d == NULL ? 0 : count(p, len, ws_deflate_frame(d, frame, len, out, len - 1));
}

/* Bytes of a gzip stream: what does not shrink is stored. */
static uint32_t pack_gzip(struct packer *p, const uint8_t *plain, uint32_t len, uint8_t *out)
{
    struct deflater *d = is_worth_it(p, len) ? deflater_for(p, deflate_bits_for(len)) : NULL;
    uint32_t packed = d == NULL ? 0 : count(p, len, deflater_run(d, plain, len, out, len));
    return packed > 0 ? packed : (uint32_t)deflate_stored(out, plain, len);
}

static uint8_t *put_le32(uint8_t *out, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        *out++ = (uint8_t)(v >> 8 * i);
    return out;
}

bool packer_gzip(struct packer *p, const void *body, size_t len, struct buf *out)
{
    static const uint8_t header[GZIP_HEADER_BYTES] = GZIP_HEADER;
    static const uint8_t last_block[] = { 3, 0 }; /* final, and empty */
    size_t room = len + GZIP_HEADER_BYTES + sizeof last_block + 8;
    uint8_t *at = len < PACK_BODY_MIN_BYTES || len > PACK_MAX_BYTES ? NULL : buf_reserve(out, room);
    struct deflater *d = at == NULL || !is_worth_it(p, (uint32_t)len) ? NULL : deflater_for(p, deflate_bits_for(len));
    size_t deflated = d == NULL ? 0 : count(p, (uint32_t)len, deflater_run(d, body, len, at + GZIP_HEADER_BYTES, len));
    if (deflated == 0)
        return false;
    memcpy(at, header, sizeof header);
    at += sizeof header + deflated;
    memcpy(at, last_block, sizeof last_block);
    at = put_le32(at + sizeof last_block, (uint32_t)crc32(0, body, (uInt)len));
    at = put_le32(at, (uint32_t)len);
    out->len = (size_t)(at - out->data);
    return true;
}

/* A window that is larger than a message is no better than one of its size: whoever has either shares the bytes. */
static enum wire_form as(enum wire_form form, uint32_t len)
{
    unsigned bits = bits_of(form), enough = deflate_bits_for(len);
    return is_gzip(form) || bits <= enough ? form : form - (bits - enough);
}

static uint32_t bound(enum wire_form form, uint32_t len)
{
    return is_gzip(form) ? (uint32_t)deflate_stored_size(len) : len;
}

static uint32_t pack(void *ctx, enum wire_form form, const uint8_t *plain, uint32_t len, uint8_t *out)
{
    struct packer *p = ctx;
    return is_gzip(form) ? pack_gzip(p, plain, len, out) : packer_deflate_frame(p, bits_of(form), plain, len, out);
}

struct wire_packing packer_packing(struct packer *p)
{
    return (struct wire_packing){ .as = as, .bound = bound, .pack = pack, .ctx = p };
}
