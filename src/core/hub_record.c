#include "core/hub_record.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "base/buf.h"

static void put32(uint8_t *to, uint32_t n)
{
    n = htole32(n);
    memcpy(to, &n, sizeof n);
}

static void put64(uint8_t *to, uint64_t n)
{
    n = htole64(n);
    memcpy(to, &n, sizeof n);
}

static uint32_t get32(const uint8_t *from)
{
    uint32_t n;
    memcpy(&n, from, sizeof n);
    return le32toh(n);
}

static uint64_t get64(const uint8_t *from)
{
    uint64_t n;
    memcpy(&n, from, sizeof n);
    return le64toh(n);
}

static uint32_t mark_of(uint32_t salt, uint32_t len)
{
    return salt ^ (len * 0x9e3779b1u + 0x7f4a7c15u);
}

static uint32_t checksum(uint32_t salt, const void *bytes, size_t len)
{
    return (uint32_t)crc32_z(salt, bytes, len);
}

static uint8_t *put_text(uint8_t *to, struct slice text)
{
    if (text.len > 0)
        memcpy(to, text.ptr, text.len);
    return to + text.len;
}

int hub_record_encode(struct buf *out, uint32_t salt, const struct hub_record *r)
{
    size_t len = HUB_RECORD_FIXED_BYTES + r->topic.len + r->key.len + r->from.len + r->payload.len;
    uint8_t *head = buf_reserve(out, HUB_RECORD_HEAD_BYTES + len);
    if (head == NULL)
        return -ENOMEM;
    uint8_t *body = head + HUB_RECORD_HEAD_BYTES;
    body[0] = r->type;
    body[1] = r->kind;
    body[2] = (uint8_t)r->topic.len;
    body[3] = (uint8_t)r->key.len;
    body[4] = (uint8_t)(r->from.len & 0xff);
    body[5] = (uint8_t)(r->from.len >> 8);
    body[6] = r->stamps;
    body[7] = 0;
    put64(body + 8, r->seq);
    put64(body + 16, r->time_ms);
    put64(body + 24, r->number);
    put_text(put_text(put_text(put_text(body + HUB_RECORD_FIXED_BYTES, r->topic), r->key), r->from), r->payload);
    put32(head, mark_of(salt, (uint32_t)len));
    put32(head + 4, (uint32_t)len);
    put32(head + 8, checksum(salt, body, len));
    out->len += HUB_RECORD_HEAD_BYTES + len;
    return 0;
}

static bool has_mark(const uint8_t *bytes, uint32_t salt)
{
    uint32_t len = get32(bytes + 4);
    return get32(bytes) == mark_of(salt, len) && len >= HUB_RECORD_FIXED_BYTES;
}

enum hub_record_verdict hub_record_decode(const uint8_t *bytes, size_t len, uint32_t salt, struct hub_record *ret, size_t *ret_used)
{
    if (len < HUB_RECORD_HEAD_BYTES)
        return HUB_RECORD_SHORT;
    if (!has_mark(bytes, salt))
        return HUB_RECORD_BROKEN;
    const uint8_t *body = bytes + HUB_RECORD_HEAD_BYTES;
    size_t body_len = get32(bytes + 4);
    if (body_len > len - HUB_RECORD_HEAD_BYTES)
        return HUB_RECORD_SHORT;
    if (get32(bytes + 8) != checksum(salt, body, body_len))
        return HUB_RECORD_BROKEN;
    size_t topic = body[2], key = body[3], from = body[4] | (size_t)body[5] << 8, head = HUB_RECORD_FIXED_BYTES + topic + key + from;
    if (head > body_len)
        return HUB_RECORD_BROKEN;
    const char *text = (const char *)body + HUB_RECORD_FIXED_BYTES;
    *ret = (struct hub_record){ .type = body[0],
                                .kind = body[1],
                                .stamps = body[6],
                                .seq = get64(body + 8),
                                .time_ms = get64(body + 16),
                                .number = get64(body + 24),
                                .topic = { text, topic },
                                .key = { text + topic, key },
                                .from = { text + topic + key, from },
                                .payload = { text + topic + key + from, body_len - head } };
    *ret_used = HUB_RECORD_HEAD_BYTES + body_len;
    return HUB_RECORD_GOOD;
}

size_t hub_record_find(const uint8_t *bytes, size_t len, uint32_t salt, size_t from)
{
    struct hub_record r;
    size_t used;
    for (size_t at = from; len - at >= HUB_RECORD_HEAD_BYTES && at < len; at++)
        if (has_mark(bytes + at, salt) && hub_record_decode(bytes + at, len - at, salt, &r, &used) == HUB_RECORD_GOOD)
            return at;
    return len;
}
