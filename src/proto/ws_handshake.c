#include "proto/ws_handshake.h"

#include <assert.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/slice.h"
#include "proto/ws_extension.h"

#define KEY_CHARS 24 /* base64 of 16 bytes */
#define SHA1_BYTES 20
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 1.3 */

bool ws_handshake_is_asked(const struct http1_request *rq)
{
    return http1_header_has_token(rq, "Upgrade", "websocket");
}

/* ---- the headers of which there is exactly one (RFC 6455 11.3.1, 11.3.5) */

/* Returns how many headers of that name there are; the first one's value is in *ret_value if there is one. */
static size_t count_headers(const struct http1_request *rq, const char *name, struct slice *ret_value)
{
    size_t count = 0;
    for (size_t i = 0; i < rq->header_count; i++)
        if (slice_equals_nocase(rq->headers[i].name, name) && count++ == 0)
            *ret_value = rq->headers[i].value;
    return count;
}

static bool is_base64_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

/* Is it base64 of 16 bytes (RFC 4648 4)? OpenSSL's decoder tells less: it takes white space. */
static bool key_is_valid(struct slice key)
{
    if (key.len != KEY_CHARS || memcmp(key.ptr + 22, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < 22; i++)
        if (!is_base64_char(key.ptr[i]))
            return false;
    return true; /* the spare bits of the last character may be set: RFC 6455 4.1 prints such a key itself */
}

/* ---- the list of subprotocols: 1#token, over any number of headers */

static bool is_token_char(char c) /* RFC 9110 5.6.2 */
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_token_char(s.ptr[i]))
            return false;
    return s.len > 0;
}

/* The list's element that begins at *offset, without white space around it; empty if there is nothing between commas.
 * *offset goes on to where the next one begins. */
static struct slice take_element(struct slice list, size_t *offset)
{
    struct slice e = { list.ptr + *offset, list.len - *offset };
    const char *comma = memchr(e.ptr, ',', e.len);
    if (comma != NULL)
        e.len = (size_t)(comma - e.ptr);
    *offset += comma != NULL ? e.len + 1 : e.len;
    return slice_trim(e);
}

/* Returns 1 with the next subprotocol, 0 at the end, -400 when an element is not a token. Empty elements do not count
 * (RFC 9110 5.6.1.2). *pos holds the header's index and the offset in its value as `offset * header_count + index`, so
 * that each call goes on where the last one stopped. */
static int next_protocol(const struct http1_request *rq, size_t *pos, struct slice *ret_protocol)
{
    if (rq->header_count == 0)
        return 0;
    size_t offset = *pos / rq->header_count;
    for (size_t i = *pos % rq->header_count; i < rq->header_count; i++, offset = 0) {
        const struct http1_header *h = &rq->headers[i];
        if (!slice_equals_nocase(h->name, "Sec-WebSocket-Protocol"))
            continue;
        while (offset < h->value.len) {
            struct slice e = take_element(h->value, &offset);
            if (e.len == 0)
                continue;
            if (!is_token(e))
                return -400;
            *pos = offset * rq->header_count + i;
            *ret_protocol = e;
            return 1;
        }
    }
    return 0;
}

bool ws_handshake_next_protocol(const struct http1_request *rq, size_t *pos, struct slice *ret_protocol)
{
    return next_protocol(rq, pos, ret_protocol) > 0;
}

static bool protocols_are_valid(const struct http1_request *rq)
{
    struct slice protocol;
    if (count_headers(rq, "Sec-WebSocket-Protocol", &protocol) == 0)
        return true;
    size_t pos = 0, offered = 0;
    int rc;
    while ((rc = next_protocol(rq, &pos, &protocol)) > 0)
        offered++;
    return rc == 0 && offered > 0;
}

/* ---- checking (RFC 6455 4.2.1) */

static int refuse(int status, const char *why, const char **ret_why)
{
    *ret_why = why;
    return -status;
}

/* The version goes before the key: a client of another version may well have other ideas about the rest. */
static int check_websocket_headers(const struct http1_request *rq, const char **ret_why)
{
    struct slice value;
    size_t count = count_headers(rq, "Sec-WebSocket-Version", &value);
    if (count == 0)
        return refuse(400, "The WebSocket handshake has no Sec-WebSocket-Version header.", ret_why);
    if (count > 1)
        return refuse(400, "The WebSocket handshake has more than one Sec-WebSocket-Version header.", ret_why);
    if (!slice_equals(value, "13"))
        return refuse(426, "This server speaks WebSocket version 13 only.", ret_why);

    count = count_headers(rq, "Sec-WebSocket-Key", &value);
    if (count == 0)
        return refuse(400, "The WebSocket handshake has no Sec-WebSocket-Key header.", ret_why);
    if (count > 1)
        return refuse(400, "The WebSocket handshake has more than one Sec-WebSocket-Key header.", ret_why);
    if (!key_is_valid(value))
        return refuse(400, "The Sec-WebSocket-Key is not the base64 form of 16 bytes.", ret_why);
    if (!protocols_are_valid(rq))
        return refuse(400, "The Sec-WebSocket-Protocol header is not a list of subprotocol names.", ret_why);
    if (!ws_extensions_are_valid(rq))
        return refuse(400, "The Sec-WebSocket-Extensions header is not a list of extensions with their parameters.", ret_why);
    return 0;
}

int ws_handshake_check(const struct http1_request *rq, const char **ret_why)
{
    if (rq->method != HTTP1_GET)
        return refuse(405, "A WebSocket handshake is a GET request.", ret_why);
    if (rq->minor < 1)
        return refuse(505, "A WebSocket handshake needs HTTP/1.1; a proxy may have made it HTTP/1.0.", ret_why);
    if (rq->host.len == 0)
        return refuse(400, "The WebSocket handshake has no Host header.", ret_why);
    if (!ws_handshake_is_asked(rq))
        return refuse(400, "The Upgrade header does not say websocket; a proxy may have removed it.", ret_why);
    if (!http1_header_has_token(rq, "Connection", "upgrade"))
        return refuse(400, "The Connection header does not say Upgrade; a proxy may have replaced it.", ret_why);
    return check_websocket_headers(rq, ret_why);
}

/* ---- answering (RFC 6455 4.2.2) */

void ws_handshake_accept(struct slice key, char ret_accept[29])
{
    assert(key.len <= KEY_CHARS);
    char text[KEY_CHARS + sizeof GUID];
    memcpy(text, key.ptr, key.len);
    memcpy(text + key.len, GUID, sizeof GUID);
    uint8_t digest[SHA1_BYTES];
    ret_accept[0] = '\0';
    if (EVP_Digest(text, key.len + sizeof GUID - 1, digest, NULL, EVP_sha1(), NULL) == 1)
        EVP_EncodeBlock((uint8_t *)ret_accept, digest, sizeof digest);
}

void ws_handshake_write(struct buf *out, const struct http1_request *rq, struct slice protocol, const char *extra)
{
    char accept[29];
    ws_handshake_accept(http1_header_get(rq, "Sec-WebSocket-Key"), accept);
    if (accept[0] == '\0')
        out->failed = true;
    buf_printf(out,
               "HTTP/1.1 101 Switching Protocols\r\n"
               "Upgrade: websocket\r\n"
               "Connection: Upgrade\r\n"
               "Sec-WebSocket-Accept: %s\r\n",
               accept);
    if (protocol.ptr != NULL) {
        buf_str(out, "Sec-WebSocket-Protocol: ");
        buf_append(out, protocol.ptr, protocol.len);
        buf_str(out, "\r\n");
    }
    if (extra != NULL)
        buf_str(out, extra);
    buf_str(out, "\r\n");
}
