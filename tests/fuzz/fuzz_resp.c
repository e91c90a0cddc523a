/* A pipeline of commands means the same, whole and as it grows piece by piece. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct resp_limits limits = { .max_args = 16, .max_bulk = 64, .max_bytes = 256, .max_inline = 64 };

static void log_command(struct buf *log, const struct resp_command *command)
{
    buf_printf(log, "argc=%zu", command->argc);
    for (size_t i = 0; i < command->argc; i++) {
        buf_str(log, " ");
        buf_append(log, command->argv[i].ptr, command->argv[i].len);
    }
    buf_str(log, "\n");
}

/* Take all commands out of a copy of the bytes, so that nothing may keep pointing into them. Returns the bytes used. */
static size_t take_commands(struct resp_parser *p, const uint8_t *data, size_t len, struct buf *log, bool *alive)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    struct resp_command command;
    size_t at = 0, used = 0;
    int r;
    if (len > 0)
        memcpy(copy, data, len);
    while ((r = resp_parse(p, copy + at, len - at, &used, &command)) == 1) {
        if (used == 0 || used > len - at)
            abort();
        log_command(log, &command);
        at += used;
    }
    free(copy);
    if (r == -EPROTO)
        buf_printf(log, "error=%s\n", resp_parser_error(p));
    *alive = r == 0;
    return at;
}

/* Give the parser what was not used and up to max_piece bytes more, again and again. */
static struct buf parse(const uint8_t *data, size_t size, size_t max_piece)
{
    struct buf log = { 0 };
    struct resp_parser p;
    uint32_t random = (uint32_t)size;
    size_t start = 0, end = 0;
    bool alive = true;
    resp_parser_init(&p, &limits);
    while (end < size && alive) {
        random = random * 1664525 + 1013904223;
        size_t n = 1 + (random >> 16) % max_piece, missing = resp_parser_missing(&p, end - start);
        if (missing > limits.max_bulk + 2)
            abort();
        end = n < size - end ? end + n : size;
        start += take_commands(&p, data + start, end - start, &log, &alive);
    }
    resp_parser_done(&p);
    return log;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t max_pieces[] = { 1, 9, 60 };
    struct buf whole = { 0 };
    struct resp_parser p;
    bool alive;
    resp_parser_init(&p, &limits);
    take_commands(&p, data, size, &whole, &alive);
    resp_parser_done(&p);
    for (size_t i = 0; i < HLY_ARRAY_LEN(max_pieces); i++) {
        struct buf pieces = parse(data, size, max_pieces[i]);
        if (pieces.len != whole.len || (whole.len > 0 && memcmp(pieces.data, whole.data, whole.len) != 0))
            abort();
        buf_done(&pieces);
    }
    buf_done(&whole);
    return 0;
}
