#include "transport/gzip_stream.h"

#include <errno.h>

#include "base/buf.h"
#include "base/deflate.h"
#include "net/conn.h"
#include "transport/settings.h"

#define SMALL_BYTES 512 /* what control objects have: no memory of its own for these */

bool gzip_is_wanted(const struct reactor *r, const struct http1_request *rq)
{
    return r->settings->deflate_gzip && http1_accepts_gzip(rq);
}

const char *gzip_headers(const struct reactor *r, bool is_gzip)
{
    if (is_gzip)
        return "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n";
    return r->settings->deflate_gzip ? "Vary: Accept-Encoding\r\n" : "";
}

void gzip_stream_begin(struct conn *c)
{
    static const uint8_t header[GZIP_HEADER_BYTES] = GZIP_HEADER;
    conn_write_later(c, header, sizeof header);
}

void gzip_stream_write(struct conn *c, const void *bytes, size_t len)
{
    uint8_t small[SMALL_BYTES];
    HLY_CLEANUP(buf_done) struct buf large = { 0 };
    size_t size = deflate_stored_size(len);
    uint8_t *out = size <= sizeof small ? small : buf_reserve(&large, size);
    if (len == 0)
        return;
    if (out == NULL)
        conn_fail(c, ENOMEM);
    else
        conn_write_later(c, out, deflate_stored(out, bytes, len));
}
