/* Records of a journal: whatever they say, and wherever they are broken, a hub is restored from what is whole, and can be read in order. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "core/hub.h"
#include "core/hub_record.h"
#include "core/hub_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SALT 0x1234567u
#define HEAD 9 /* bytes of input that make a record's figures */

static const struct rule rule_list[] = {
    { .pattern = { "a/**", 4 }, .history = 3, .history_ttl_ms = 5000 },
    { .pattern = { "n/**", 4 } },
    { .pattern = { "**", 2 }, .history = 100 },
};
static const struct hub_limits limits = { .topics = 8, .patterns = 8, .history_bytes = 2000, .inbox_bytes = 1u << 20, .keys = 4, .key_window_ms = 60000 };

static struct slice take(const uint8_t **at, const uint8_t *end, size_t len)
{
    size_t left = (size_t)(end - *at);
    struct slice s = { (const char *)*at, len < left ? len : left };
    *at += s.len;
    return s;
}

/* The input as records that are whole: their form is right, what they say is anything. */
static void write_records(struct buf *out, const uint8_t *data, size_t size)
{
    const uint8_t *at = data, *end = data + size;
    while (end - at >= HEAD) {
        const uint8_t *h = at;
        at += HEAD;
        struct hub_record r = { .type = h[0] % 8, .kind = h[1] % 4, .stamps = h[2], .seq = h[3] | (uint64_t)h[4] << (h[5] & 1 ? 50 : 8), .time_ms = h[5] * 10000000000u,
                                .number = h[6] % 4 };
        r.topic = take(&at, end, h[7] % 16);
        r.key = take(&at, end, h[8] % 4);
        r.from = take(&at, end, h[8] >> 6);
        r.payload = take(&at, end, h[7] >> 2);
        hub_record_encode(out, SALT, &r);
    }
}

static void feed(struct hub_restore *restore, const uint8_t *bytes, size_t len)
{
    struct hub_record r;
    size_t used = 0;
    for (size_t at = 0; at < len; at += used) {
        switch (hub_record_decode(bytes + at, len - at, SALT, &r, &used)) {
        case HUB_RECORD_GOOD:
            hub_restore_record(restore, &r);
            break;
        case HUB_RECORD_SHORT:
            return;
        case HUB_RECORD_BROKEN:
            used = hub_record_find(bytes, len, SALT, at + 1) - at;
            if (used == 0 || used > len - at)
                abort();
        }
    }
}

static void read_all(struct hub *hub)
{
    struct hub_name name = { .name = { "**", 2 }, .is_pattern = true };
    struct hub_reader reader = { 0 };
    struct hub_read slice;
    uint64_t last = 0;
    do {
        hub_read(hub, &name, 1, &reader, &slice);
        for (size_t i = 0; i < slice.count; i++) {
            if (slice.messages[i]->seq <= last || slice.messages[i]->seq > hub_head(hub))
                abort();
            last = slice.messages[i]->seq;
            message_unref(slice.messages[i]);
        }
    } while (!slice.is_level);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf bytes = { 0 }, again = { 0 };
    struct hub_dump dump;
    struct rules *rules = rules_new(rule_list, sizeof rule_list / sizeof rule_list[0]);
    struct hub *hub = hub_new(&limits, rules, 1, "aaaaaaaa");
    struct hub_restore *restore = hub_restore_begin(hub);
    if (size >= 3)
        write_records(&bytes, data + 3, size - 3);
    if (bytes.len > 0 && data[0] % 2 == 1) /* one of them is broken */
        bytes.data[(data[1] | (size_t)data[2] << 8) % bytes.len] ^= (uint8_t)(data[0] | 2);
    feed(restore, bytes.data, bytes.len);
    feed(restore, data, size);
    hub_restore_end(restore, "bbbbbbbb", hub_restore_head(restore));
    read_all(hub);
    hub_dump_begin(&dump, SALT);
    while (hub_dump(hub, &dump, &again))
        continue;
    buf_done(&bytes);
    buf_done(&again);
    hub_free(hub);
    rules_unref(rules);
    return 0;
}
