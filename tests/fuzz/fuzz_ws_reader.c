/* A WebSocket's input makes the same events however it is cut, and holds little more memory than there was input.
 *
 * Of the fuzzer's input the first byte chooses the limits, the next three are the sizes of the pieces, in turns; the
 * rest is what the client sends. */
#include "proto/ws_reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CUTS 3

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void init_reader(struct ws_reader *r, uint8_t choice)
{
    static const uint64_t bytes[] = { 65536, 1000, 10, 0, UINT64_MAX };
    static const uint32_t fragments[] = { 1000, 3, 1, UINT32_MAX };
    ws_reader_init(r, bytes[choice % HLY_ARRAY_LEN(bytes)],
                   fragments[choice / HLY_ARRAY_LEN(bytes) % HLY_ARRAY_LEN(fragments)]);
}

static void check_event(const struct ws_event *e)
{
    must(e->payload != NULL);
    must(e->type == WS_EVENT_MESSAGE || e->len <= WS_CONTROL_PAYLOAD_MAX);
    if (e->is_text || e->type == WS_EVENT_CLOSE)
        must(utf8_is_valid(e->payload, e->len));
    if (e->type == WS_EVENT_CLOSE)
        must(e->close_code == WS_CLOSE_NO_STATUS || ws_close_code_is_valid(e->close_code));
}

/* Feed one piece, as a copy that is gone afterwards. Appends the events, and the verdict if there is one. */
static int feed(struct ws_reader *r, const uint8_t *bytes, size_t len, struct buf *events)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    must(copy != NULL);
    memcpy(copy, bytes, len);
    struct ws_event e;
    size_t at = 0, used;
    int rc;
    while ((rc = ws_reader_next(r, copy + at, len - at, &used, &e)) == 1) {
        must(used <= len - at);
        at += used;
        check_event(&e);
        buf_printf(events, "%d %d %u %zu ", (int)e.type, e.is_text, e.close_code, e.len);
        buf_append(events, e.payload, e.len);
    }
    must(rc < 0 || used == len - at);
    if (rc < 0)
        buf_printf(events, "fail %d", rc);
    free(copy);
    return rc;
}

static void feed_whole(uint8_t choice, const uint8_t *data, size_t size, struct buf *events)
{
    struct ws_reader r;
    init_reader(&r, choice);
    feed(&r, data, size, events);
    ws_reader_done(&r);
}

static void feed_cut(uint8_t choice, const uint8_t cuts[CUTS], const uint8_t *data, size_t size, struct buf *events)
{
    struct ws_reader r;
    init_reader(&r, choice);
    int rc = 0;
    for (size_t at = 0, n = 0, len; at < size && rc == 0; at += len, n++) {
        len = 1u + cuts[n % CUTS];
        if (len > size - at)
            len = size - at;
        rc = feed(&r, data + at, len, events);
        must(ws_reader_memory(&r) <= 1024 + 2 * (at + len));
        must(rc == 0 || ws_reader_memory(&r) == 0);
    }
    ws_reader_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 + CUTS)
        return 0;
    struct buf whole = { 0 }, cut = { 0 };
    feed_whole(data[0], data + 1 + CUTS, size - 1 - CUTS, &whole);
    feed_cut(data[0], data + 1, data + 1 + CUTS, size - 1 - CUTS, &cut);
    must(!whole.failed && !cut.failed);
    must(whole.len == cut.len && (whole.len == 0 || memcmp(whole.data, cut.data, whole.len) == 0));
    buf_done(&whole);
    buf_done(&cut);
    return 0;
}
