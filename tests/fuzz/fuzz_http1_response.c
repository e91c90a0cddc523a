/* A response means the same, whole and in pieces, and at the end of its connection. */
#include <stdlib.h>
#include <string.h>

#include "proto/http1_response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http1_response_limits limits = { .head = 256, .header_count = 8, .body = 64 };

static void log_slice(struct buf *log, const char *name, struct slice s)
{
    buf_printf(log, " %s=", name);
    if (s.len > 0)
        buf_append(log, s.ptr, s.len);
}

static void log_response(struct buf *log, const struct http1_response *r)
{
    if (r->status < 200 || r->status > 599 || r->body.len > limits.body || r->header_count > limits.header_count)
        abort();
    buf_printf(log, "status=%u keep_alive=%d max_age=%u", r->status, r->keep_alive, http1_response_max_age_s(r));
    log_slice(log, "body", r->body);
    for (size_t i = 0; i < r->header_count; i++) {
        log_slice(log, "name", r->headers[i].name);
        log_slice(log, "value", r->headers[i].value);
    }
}

/* Parse copies of pieces, so that nothing may keep pointing into them. */
static struct buf parse(const uint8_t *data, size_t size, size_t max_piece)
{
    struct buf log = { 0 };
    struct http1_response_parser *p = http1_response_parser_new(&limits);
    uint32_t random = (uint32_t)size;
    int r = 0;
    while (size > 0 && r >= 0) {
        random = random * 1664525 + 1013904223;
        size_t n = 1 + (random >> 16) % max_piece;
        n = n < size ? n : size;
        uint8_t *piece = malloc(n);
        memcpy(piece, data, n);
        r = http1_response_parse(p, piece, n);
        free(piece);
        data += n;
        size -= n;
    }
    if (r == 0) {
        buf_printf(&log, "end ");
        r = http1_response_end(p);
        if (r == 0)
            abort();
    }
    if (r == 1)
        log_response(&log, http1_response_get(p));
    else
        buf_printf(&log, "refused=%d %s", r, http1_response_error(p));
    http1_response_parser_free(p);
    return log;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t max_pieces[] = { 1, 9, 60 };
    struct buf whole = parse(data, size, size + 1);
    for (size_t i = 0; i < HLY_ARRAY_LEN(max_pieces); i++) {
        struct buf pieces = parse(data, size, max_pieces[i]);
        if (pieces.len != whole.len || memcmp(pieces.data, whole.data, whole.len) != 0)
            abort();
        buf_done(&pieces);
    }
    buf_done(&whole);
    return 0;
}
