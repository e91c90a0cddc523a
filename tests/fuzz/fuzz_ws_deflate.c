/* permessage-deflate: an offer that is accepted is one that could be made again; and compressed messages make the same events however they are cut, within the limit of what
 * they are inflated to.
 *
 * Of the fuzzer's input the first byte chooses: an offer, of which the rest is the header's values, one a line; or a connection, with its limits and whether it keeps a
 * context. Then the next three bytes are the sizes of the pieces, in turns, and the rest is what the client sends. */
#include "proto/ws_deflate.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/utf8.h"
#include "proto/ws_extension.h"
#include "proto/ws_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CUTS 3
#define HEADERS_MAX 8

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* ---- offers */

static void make_request(struct http1_request *rq, struct http1_header *headers, const char *lines, size_t len)
{
    *rq = (struct http1_request){ .headers = headers };
    while (len > 0 && rq->header_count < HEADERS_MAX) {
        const char *end = memchr(lines, '\n', len);
        size_t n = end == NULL ? len : (size_t)(end - lines);
        headers[rq->header_count++] = (struct http1_header){ SLICE_LIT("Sec-WebSocket-Extensions"), { lines, n } };
        n += end != NULL;
        lines += n;
        len -= n;
    }
}

static bool find(const char *lines, size_t len, struct ws_deflate *ret, bool *ret_valid)
{
    struct http1_header headers[HEADERS_MAX];
    struct http1_request rq;
    make_request(&rq, headers, lines, len);
    *ret_valid = ws_extensions_are_valid(&rq);
    return ws_deflate_find_offer(&rq, ret);
}

static void test_offer(const uint8_t *data, size_t size)
{
    static const char name[] = "Sec-WebSocket-Extensions: ";
    struct ws_deflate d, again;
    struct buf answer = { 0 };
    bool is_valid;
    if (!find((const char *)data, size, &d, &is_valid) || !is_valid)
        return;
    must(d.server_bits >= 8 && d.server_bits <= 15 && d.client_bits >= 8 && d.client_bits <= 15);
    ws_deflate_write_answer(&answer, &d);
    must(!answer.failed && answer.len > sizeof name && answer.len < 160);
    must(find((const char *)answer.data + sizeof name - 1, answer.len - (sizeof name - 1) - 2, &again, &is_valid) && is_valid);
    must(again.server_bits == d.server_bits && again.has_server_bits == d.has_server_bits && again.server_no_context == d.server_no_context &&
         again.client_no_context == d.client_no_context);
    buf_done(&answer);
}

/* ---- connections */

struct connection {
    struct ws_reader reader;
    struct ws_inflater inflater;
    uint64_t max;
};

static void init(struct connection *c, uint8_t choice)
{
    static const uint64_t bytes[] = { 65536, 1000, 10, 0 };
    *c = (struct connection){ .max = bytes[choice >> 2 & 3], .inflater.keeps_context = (choice & 2) != 0 };
    ws_reader_init(&c->reader, c->max, 100);
    ws_reader_allow_deflate(&c->reader, &c->inflater);
}

static void check_event(const struct connection *c, const struct ws_event *e)
{
    must(e->payload != NULL);
    must(e->type == WS_EVENT_MESSAGE ? e->len <= c->max : e->len <= WS_CONTROL_PAYLOAD_MAX);
    if (e->is_text || e->type == WS_EVENT_CLOSE)
        must(utf8_is_valid(e->payload, e->len));
}

/* Feed one piece, as a copy that is gone afterwards. Appends the events, and the verdict if there is one. */
static int feed(struct connection *c, const uint8_t *bytes, size_t len, struct buf *events)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    must(copy != NULL);
    memcpy(copy, bytes, len);
    struct ws_event e;
    size_t at = 0, used;
    int rc;
    while ((rc = ws_reader_next(&c->reader, copy + at, len - at, &used, &e)) == 1) {
        must(used <= len - at);
        at += used;
        check_event(c, &e);
        must(c->inflater.out.cap <= c->max || c->inflater.out.cap == 0);
        buf_printf(events, "%d %d %d %u %zu ", (int)e.type, e.is_text, e.was_deflated, e.close_code, e.len);
        buf_append(events, e.payload, e.len);
    }
    must(rc < 0 || used == len - at);
    if (rc < 0)
        buf_printf(events, "fail %d", rc);
    free(copy);
    return rc;
}

static void feed_cut(uint8_t choice, const size_t cuts[CUTS], const uint8_t *data, size_t size, struct buf *events)
{
    struct connection c;
    int rc = 0;
    init(&c, choice);
    for (size_t at = 0, n = 0, len; at < size && rc == 0; at += len, n++) {
        len = cuts[n % CUTS] < size - at ? cuts[n % CUTS] : size - at;
        rc = feed(&c, data + at, len, events);
        must(ws_reader_memory(&c.reader) <= 1024 + 2 * (at + len));
    }
    ws_reader_done(&c.reader);
    ws_inflater_done(&c.inflater);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 + CUTS)
        return 0;
    if ((data[0] & 1) == 0) {
        test_offer(data + 1, size - 1);
        return 0;
    }
    struct buf whole = { 0 }, cut = { 0 };
    feed_cut(data[0], (size_t[CUTS]){ size, size, size }, data + 1 + CUTS, size - 1 - CUTS, &whole);
    feed_cut(data[0], (size_t[CUTS]){ 1u + data[1], 1u + data[2], 1u + data[3] }, data + 1 + CUTS, size - 1 - CUTS, &cut);
    must(!whole.failed && !cut.failed);
    must(whole.len == cut.len && (whole.len == 0 || memcmp(whole.data, cut.data, whole.len) == 0));
    buf_done(&whole);
    buf_done(&cut);
    return 0;
}
