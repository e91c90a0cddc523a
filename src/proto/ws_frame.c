#include "proto/ws_frame.h"

#include <assert.h>
#include <string.h>

#define BIT_FIN 0x80  /* in the first byte */
#define BIT_MASK 0x80 /* in the second */
#define LEN_16 126    /* in the second: the length is in the next two bytes */
#define LEN_64 127    /* in the second: the length is in the next eight */
#define MASKING_KEY_BYTES 4

/* ---- parsing */

void ws_frame_parser_init(struct ws_frame_parser *p)
{
    *p = (struct ws_frame_parser){ 0 };
}

static uint64_t read_be(const uint8_t *bytes, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | bytes[i];
    return v;
}

static size_t length_bytes(uint8_t second) /* of the extended payload length */
{
    unsigned len7 = second & 0x7f;
    return len7 == LEN_64 ? 8 : len7 == LEN_16 ? 2 : 0;
}

static bool first_byte_is_valid(const struct ws_frame_parser *p)
{
    unsigned rsv = p->bytes[0] >> 4 & 0x7, opcode = p->bytes[0] & 0xf;
    switch (opcode) {
    case WS_OP_TEXT:
    case WS_OP_BINARY:
        return rsv == 0 || (rsv == 4 && p->allow_rsv1);
    case WS_OP_CONTINUATION: /* RFC 7692 6.1: RSV1 stands in the first frame of a message only */
        return rsv == 0;
    case WS_OP_CLOSE:
    case WS_OP_PING:
    case WS_OP_PONG:
        return rsv == 0 && (p->bytes[0] & BIT_FIN) != 0; /* 5.5: never fragmented */
    default:
        return false; /* 5.2: reserved */
    }
}

static bool second_byte_is_valid(const struct ws_frame_parser *p)
{
    if ((p->bytes[1] & BIT_MASK) == 0) /* 5.1: a client masks */
        return false;
    return !ws_opcode_is_control(p->bytes[0] & 0xf) || (p->bytes[1] & 0x7f) <= WS_CONTROL_PAYLOAD_MAX;
}

/* Can the bytes so far begin a header? Judges the newest byte: each rule is checked with the byte that decides it. */
static bool newest_byte_is_valid(const struct ws_frame_parser *p)
{
    if (p->have == 1)
        return first_byte_is_valid(p);
    if (p->have == 2)
        return second_byte_is_valid(p);
    size_t n = length_bytes(p->bytes[1]);
    const uint8_t *length = p->bytes + 2;
    if (n == 2 && p->have == 4) /* 5.2: the shortest form must be used */
        return read_be(length, 2) >= LEN_16;
    if (n == 8 && p->have == 3) /* 5.2: the most significant bit is 0 */
        return length[0] < 0x80;
    if (n == 8 && p->have == 8) /* the shortest form again: the upper six bytes tell whether 16 bits would have done */
        return read_be(length, 6) > 0;
    return true;
}

static struct ws_frame_header header_of(const uint8_t *bytes)
{
    size_t n = length_bytes(bytes[1]);
    struct ws_frame_header h = {
        .fin = (bytes[0] & BIT_FIN) != 0,
        .rsv = bytes[0] >> 4 & 0x7,
        .opcode = bytes[0] & 0xf,
        .payload_len = n > 0 ? read_be(bytes + 2, n) : bytes[1] & 0x7f,
    };
    memcpy(h.masking_key, bytes + 2 + n, MASKING_KEY_BYTES);
    return h;
}

static bool header_is_complete(const struct ws_frame_parser *p)
{
    return p->have >= 2 && p->have == 2 + length_bytes(p->bytes[1]) + MASKING_KEY_BYTES;
}

int ws_frame_parse_header(struct ws_frame_parser *p, const uint8_t *buf, size_t len, size_t *ret_used,
                          struct ws_frame_header *ret_header)
{
    for (size_t used = 0; used < len;) {
        p->bytes[p->have++] = buf[used++];
        if (!newest_byte_is_valid(p))
            return -WS_CLOSE_PROTOCOL_ERROR;
        if (header_is_complete(p)) {
            p->have = 0;
            *ret_header = header_of(p->bytes);
            *ret_used = used;
            return 1;
        }
    }
    *ret_used = len;
    return 0;
}

/* ---- masking */

void ws_frame_mask(uint8_t *data, size_t len, const uint8_t key[4], uint64_t offset)
{
    uint8_t pattern[8]; /* the key twice, beginning with the byte that data[0] meets */
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = key[(offset + i) % 4];
    uint64_t mask, word;
    memcpy(&mask, pattern, sizeof mask);
    for (; len >= sizeof word; data += sizeof word, len -= sizeof word) {
        memcpy(&word, data, sizeof word);
        word ^= mask;
        memcpy(data, &word, sizeof word);
    }
    for (size_t i = 0; i < len; i++)
        data[i] ^= pattern[i];
}

/* ---- writing */

static void write_be(uint8_t *out, uint64_t v, size_t n)
{
    for (; n > 0; n--, v >>= 8)
        out[n - 1] = (uint8_t)v;
}

size_t ws_frame_header_size(uint64_t payload_len)
{
    return payload_len < LEN_16 ? 2 : payload_len <= UINT16_MAX ? 4 : 10;
}

size_t ws_frame_write_header(uint8_t *out, uint8_t opcode, uint8_t rsv, uint64_t payload_len)
{
    size_t size = ws_frame_header_size(payload_len);
    out[0] = (uint8_t)(BIT_FIN | rsv << 4 | opcode);
    out[1] = size == 10 ? LEN_64 : size == 4 ? LEN_16 : (uint8_t)payload_len;
    write_be(out + 2, payload_len, size - 2);
    return size;
}

static size_t reason_length(const char *reason, size_t max)
{
    size_t len = strnlen(reason, max + 1);
    if (len <= max)
        return len;
    len = max;
    while (len > 0 && ((uint8_t)reason[len] & 0xc0) == 0x80) /* the first byte left out must begin a code point */
        len--;
    return len;
}

size_t ws_frame_write_close(uint8_t *out, enum ws_close_code code, const char *reason)
{
    if (code == WS_CLOSE_NO_STATUS)
        return ws_frame_write_header(out, WS_OP_CLOSE, 0, 0);
    assert(ws_close_code_is_valid(code));
    size_t reason_len = reason != NULL ? reason_length(reason, WS_CONTROL_PAYLOAD_MAX - 2) : 0;
    size_t at = ws_frame_write_header(out, WS_OP_CLOSE, 0, 2 + reason_len);
    write_be(out + at, code, 2);
    if (reason_len > 0)
        memcpy(out + at + 2, reason, reason_len);
    return at + 2 + reason_len;
}

bool ws_close_code_is_valid(unsigned code)
{
    if (code >= 3000) /* 7.4.2: libraries and applications */
        return code <= 4999;
    if (code >= 1000 && code <= 1003)
        return true;
    return code >= 1007 && code <= 1014; /* 1004 is reserved, 1005, 1006 and 1015 never travel, to 2999 none is given */
}
