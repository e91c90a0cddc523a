/* A client's opening handshake gets the same answer however it is cut, and whatever was accepted is well-formed.
 *
 * Of the fuzzer's input the first three bytes are the sizes of the pieces, in turns; the rest is what the client sends:
 * one request, or several. */
#include "proto/ws_handshake.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CUTS 3

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Appends the offered subprotocols; *ret_first is the one that the client likes best. */
static void walk_protocols(const struct http1_request *rq, struct buf *answers, struct slice *ret_first)
{
    struct slice protocol;
    *ret_first = (struct slice){ 0 };
    for (size_t pos = 0, before = 0; ws_handshake_next_protocol(rq, &pos, &protocol); before = pos) {
        must(pos != before && protocol.len > 0);
        must(memchr(protocol.ptr, ',', protocol.len) == NULL && memchr(protocol.ptr, ' ', protocol.len) == NULL);
        if (ret_first->ptr == NULL)
            *ret_first = protocol;
        buf_append(answers, protocol.ptr, protocol.len);
        buf_str(answers, "\n");
    }
}

/* Returns whether the connection is no HTTP any more. */
static bool answer(const struct http1_request *rq, struct buf *answers)
{
    const char *why = NULL;
    struct slice protocol;
    bool asked = ws_handshake_is_asked(rq);
    int rc = ws_handshake_check(rq, &why);
    buf_printf(answers, "%d %d %s\n", asked, rc, why != NULL ? why : "");
    must((rc < 0) == (why != NULL) && (rc < 0 || asked));
    walk_protocols(rq, answers, &protocol);
    if (rc < 0)
        return false;
    size_t at = answers->len;
    ws_handshake_write(answers, rq, protocol, "X-Extra: yes\r\n");
    must(!answers->failed && answers->len - at > 16);
    must(memcmp(answers->data + at, "HTTP/1.1 101 ", 13) == 0);
    must(memcmp(answers->data + answers->len - 4, "\r\n\r\n", 4) == 0);
    return true;
}

/* Feed one piece, as a copy that is gone afterwards. Returns whether the parser takes more. */
static bool feed(struct http1_parser *p, const uint8_t *bytes, size_t len, struct buf *answers)
{
    uint8_t *copy = malloc(len);
    must(copy != NULL);
    memcpy(copy, bytes, len);
    size_t at = 0, used;
    int rc = 0;
    bool more = true;
    while (more && at < len && (rc = http1_parse(p, copy + at, len - at, &used)) == 1) {
        must(used <= len - at);
        at += used;
        more = !answer(http1_parser_request(p), answers);
        if (more)
            http1_parser_next(p);
    }
    if (rc < 0)
        buf_printf(answers, "refused %d\n", rc);
    free(copy);
    return more && rc >= 0;
}

/* Feed all in pieces of those sizes, in turns. */
static void feed_cut(const size_t cuts[CUTS], const uint8_t *data, size_t size, struct buf *answers)
{
    static const struct http1_limits limits = { .request_line = 256, .headers = 2048, .header_count = 32, .body = 64 };
    struct http1_parser *p = http1_parser_new(&limits);
    must(p != NULL);
    bool more = true;
    for (size_t at = 0, n = 0, len; at < size && more; at += len, n++) {
        len = cuts[n % CUTS] < size - at ? cuts[n % CUTS] : size - at;
        more = feed(p, data + at, len, answers);
    }
    must(!answers->failed);
    http1_parser_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < CUTS)
        return 0;
    struct buf whole = { 0 }, cut = { 0 };
    feed_cut((size_t[CUTS]){ size, size, size }, data + CUTS, size - CUTS, &whole);
    feed_cut((size_t[CUTS]){ 1u + data[0], 1u + data[1], 1u + data[2] }, data + CUTS, size - CUTS, &cut);
    must(whole.len == cut.len && (whole.len == 0 || memcmp(whole.data, cut.data, whole.len) == 0));
    buf_done(&whole);
    buf_done(&cut);
    return 0;
}
