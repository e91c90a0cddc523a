/* A pipeline of requests means the same, whole and in pieces. */
#include <stdlib.h>
#include <string.h>

#include "proto/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http1_limits limits = { .request_line = 128, .headers = 256, .header_count = 8, .body = 64 };

static void log_slice(struct buf *log, const char *name, struct slice s)
{
    buf_printf(log, " %s=", name);
    if (s.len > 0)
        buf_append(log, s.ptr, s.len);
}

static void log_query(struct buf *log, struct slice query)
{
    char *scratch = malloc(query.len + 2), *to = scratch; /* all pairs are kept */
    struct slice key, value;
    size_t pos = 0;
    int r;
    while ((r = http1_query_next(query, &pos, to, &key, &value)) == 1) {
        to += value.ptr + value.len - to;
        log_slice(log, "key", key);
        log_slice(log, "value", value);
    }
    buf_printf(log, " end=%d", r);
    free(scratch);
}

static void log_request(struct buf *log, const struct http1_request *rq)
{
    buf_printf(log, "method=%d minor=%u keep_alive=%d has_body=%d", (int)rq->method, rq->minor, rq->keep_alive,
               rq->has_body);
    log_slice(log, "method", rq->method_name);
    log_slice(log, "target", rq->target);
    log_slice(log, "path", rq->path);
    log_slice(log, "host", rq->host);
    log_slice(log, "body", rq->body);
    for (size_t i = 0; i < rq->header_count; i++) {
        log_slice(log, "name", rq->headers[i].name);
        log_slice(log, "value", rq->headers[i].value);
    }
    log_query(log, rq->query);
    buf_printf(log, " close=%d\n", http1_header_has_token(rq, "Connection", "close"));
}

/* Parse a copy of the piece, so that nothing may keep pointing into it. Returns false after a refusal. */
static bool take_piece(struct http1_parser *p, const uint8_t *data, size_t len, struct buf *log)
{
    uint8_t *piece = malloc(len);
    size_t at = 0;
    int r = 0;
    memcpy(piece, data, len);
    while (at < len && r >= 0) {
        size_t used = 0;
        r = http1_parse(p, piece + at, len - at, &used);
        at += used;
        if (r == 0 && at != len)
            abort();
        if (r == 1) {
            log_request(log, http1_parser_request(p));
            http1_parser_next(p);
        }
    }
    free(piece);
    if (r < 0)
        buf_printf(log, "refused=%d %s\n", r, http1_parser_error(p));
    return r >= 0;
}

static struct buf parse(const uint8_t *data, size_t size, size_t max_piece)
{
    struct buf log = { 0 };
    struct http1_parser *p = http1_parser_new(&limits);
    uint32_t random = (uint32_t)size;
    bool alive = true;
    while (size > 0 && alive) {
        random = random * 1664525 + 1013904223;
        size_t n = 1 + (random >> 16) % max_piece;
        n = n < size ? n : size;
        alive = take_piece(p, data, n, &log);
        data += n;
        size -= n;
    }
    buf_printf(&log, "midway=%d\n", http1_parser_is_midway(p));
    http1_parser_free(p);
    return log;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t max_pieces[] = { 1, 9, 60 };
    struct buf whole = { 0 };
    struct http1_parser *p = http1_parser_new(&limits);
    if (size > 0)
        take_piece(p, data, size, &whole);
    buf_printf(&whole, "midway=%d\n", http1_parser_is_midway(p));
    http1_parser_free(p);
    for (size_t i = 0; i < HLY_ARRAY_LEN(max_pieces); i++) {
        struct buf pieces = parse(data, size, max_pieces[i]);
        if (pieces.len != whole.len || memcmp(pieces.data, whole.data, whole.len) != 0)
            abort();
        buf_done(&pieces);
    }
    buf_done(&whole);
    return 0;
}
