/* What llhttp lets through and the RFCs do not. Each rule answers with 0, or with minus the status and a sentence for
 * whoever wrote the client: it is all that they will see. */
#include "proto/http1_internal.h"

#include <arpa/inet.h>
#include <stdint.h>

static int refuse(int status, const char *why, const char **ret_why)
{
    *ret_why = why;
    return -status;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (slice_fold(c) >= 'a' && slice_fold(c) <= 'z');
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* ---- the request line */

bool http1_split_request_line(struct slice line, struct http1_request_line *ret_parts)
{
    const char *end = line.ptr + line.len;
    const char *first = memchr(line.ptr, ' ', line.len);
    if (first == NULL)
        return false;
    const char *second = memchr(first + 1, ' ', (size_t)(end - first - 1));
    if (second == NULL)
        return false;
    ret_parts->method = (struct slice){ line.ptr, (size_t)(first - line.ptr) };
    ret_parts->target = (struct slice){ first + 1, (size_t)(second - first - 1) };
    ret_parts->version = (struct slice){ second + 1, (size_t)(end - second - 1) };
    return ret_parts->target.len > 0 && memchr(second + 1, ' ', ret_parts->version.len) == NULL;
}

static bool is_token(struct slice s) /* RFC 9110 5.6.2 */
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.ptr[i]) && !is_one_of(s.ptr[i], "!#$%&'*+-.^_`|~"))
            return false;
    return s.len > 0;
}

static int check_method(struct slice method, const char **ret_why)
{
    if (!is_token(method))
        return refuse(400, "The request does not begin with a method such as GET or POST.", ret_why);
    if (slice_equals(method, "CONNECT")) /* RFC 9110 9.3.6: for proxies, and its target has a form of its own */
        return refuse(405, "The method CONNECT is for proxies, and this server is none.", ret_why);
    return 0;
}

static int check_version(struct slice version, const char **ret_why) /* RFC 9112 2.3 */
{
    const char *v = version.ptr;
    if (version.len != 8 || memcmp(v, "HTTP/", 5) != 0 || !is_digit(v[5]) || v[6] != '.' || !is_digit(v[7]) ||
        v[5] == '0')
        return refuse(400, "The request line does not end in HTTP/1.1.", ret_why);
    if (v[5] != '1' || v[7] > '1')
        return refuse(505, "This version of HTTP is not spoken here: use HTTP/1.1.", ret_why);
    return 0;
}

static size_t scheme_bytes(struct slice target) /* of http:// or https://, or 0 */
{
    static const char *const schemes[] = { "http://", "https://" };
    for (size_t i = 0; i < HLY_ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i]);
        if (target.len >= len && slice_equals_nocase((struct slice){ target.ptr, len }, schemes[i]))
            return len;
    }
    return 0;
}

struct slice http1_target_authority(struct slice target)
{
    size_t start = scheme_bytes(target), end = start;
    if (start == 0)
        return (struct slice){ NULL, 0 };
    while (end < target.len && target.ptr[end] != '/' && target.ptr[end] != '?')
        end++;
    return (struct slice){ target.ptr + start, end - start };
}

static bool is_host(struct slice host);

static int check_target(struct slice target, struct slice method, const char **ret_why) /* RFC 9112 3.2 */
{
    if (memchr(target.ptr, '#', target.len) != NULL)
        return refuse(400, "The request target has a fragment (#), which belongs to the client alone.", ret_why);
    if (target.ptr[0] == '/')
        return 0;
    if (slice_equals(target, "*")) {
        if (slice_equals(method, "OPTIONS"))
            return 0;
        return refuse(400, "The request target * goes with OPTIONS only.", ret_why);
    }
    struct slice authority = http1_target_authority(target);
    if (authority.ptr == NULL)
        return refuse(400, "The request target must be a path that begins with /.", ret_why);
    if (!is_host(authority)) /* RFC 9110 4.2.1 and 4.2.4: no empty host, no user name or password */
        return refuse(400, "The host in the request target is not a valid one.", ret_why);
    return 0;
}

int http1_check_request_line(struct slice line, const char **ret_why)
{
    struct http1_request_line parts;
    if (!http1_split_request_line(line, &parts))
        return refuse(400, "The request line must be a method, a path and HTTP/1.1, one space between.", ret_why);
    int r = check_version(parts.version, ret_why);
    if (r == 0)
        r = check_method(parts.method, ret_why);
    return r < 0 ? r : check_target(parts.target, parts.method, ret_why);
}

/* ---- Host */

static bool is_ipv6(struct slice s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (s.len >= sizeof(text))
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    return memchr(s.ptr, '\0', s.len) == NULL && inet_pton(AF_INET6, text, &address) == 1;
}

/* Bytes of the registered name or IPv4 address that s begins with (RFC 3986 3.2.2). */
static size_t name_bytes(struct slice s)
{
    size_t i = 0;
    while (i < s.len && (is_alnum(s.ptr[i]) || is_one_of(s.ptr[i], "-._~%!$&'()*+,;=")))
        i++;
    return i;
}

/* Bytes of the IPv6 address in brackets that s begins with, or 0. */
static size_t literal_bytes(struct slice s)
{
    const char *end = memchr(s.ptr, ']', s.len);
    if (end == NULL || !is_ipv6((struct slice){ s.ptr + 1, (size_t)(end - s.ptr - 1) }))
        return 0;
    return (size_t)(end - s.ptr) + 1;
}

static bool is_host(struct slice host) /* uri-host [ ":" port ], RFC 9110 7.2 */
{
    if (host.len == 0)
        return false;
    size_t i = host.ptr[0] == '[' ? literal_bytes(host) : name_bytes(host);
    if (i == 0)
        return false;
    if (i < host.len && host.ptr[i++] != ':')
        return false;
    while (i < host.len && is_digit(host.ptr[i]))
        i++;
    return i == host.len;
}

static int check_host(const struct http1_request *rq, const char **ret_why) /* RFC 9112 3.2 */
{
    unsigned hosts = 0;
    for (size_t i = 0; i < rq->header_count; i++)
        hosts += slice_equals_nocase(rq->headers[i].name, "Host");
    if (hosts > 1)
        return refuse(400, "The request has more than one Host header.", ret_why);
    if (hosts == 0 && rq->minor > 0)
        return refuse(400, "The request has no Host header, which HTTP/1.1 demands.", ret_why);
    if (!is_host(rq->host) && (rq->minor > 0 || rq->host.len > 0))
        return refuse(400, "The Host header is not a valid host name, with or without a port.", ret_why);
    return 0;
}

/* ---- Origin */

/* Whether a page is let in is decided by the first: behind it there must be no other. */
static int check_origin(const struct http1_request *rq, const char **ret_why) /* RFC 6454 7.3 */
{
    unsigned origins = 0;
    for (size_t i = 0; i < rq->header_count; i++)
        origins += slice_equals_nocase(rq->headers[i].name, "Origin");
    return origins > 1 ? refuse(400, "The request has more than one Origin header.", ret_why) : 0;
}

/* ---- Transfer-Encoding and Expect */

static int check_transfer_encoding(const struct http1_request *rq, const char **ret_why) /* RFC 9112 6.1, 6.3 */
{
    if (http1_header_get(rq, "Transfer-Encoding").ptr == NULL)
        return 0;
    if (rq->minor == 0)
        return refuse(400, "Transfer-Encoding does not exist in HTTP/1.0.", ret_why);
    bool chunked = false, unknown = false;
    struct http1_list_at at = { 0 };
    struct slice coding;
    while (http1_list_next(rq, "Transfer-Encoding", &at, &coding)) {
        if (chunked)
            return refuse(400, "In Transfer-Encoding, chunked must be the last coding.", ret_why);
        chunked = slice_equals_nocase(coding, "chunked");
        unknown |= !chunked;
    }
    if (unknown)
        return refuse(501, "The only Transfer-Encoding that this server takes is chunked.", ret_why);
    return chunked ? 0 : refuse(400, "The Transfer-Encoding header is empty.", ret_why);
}

static int check_expect(const struct http1_request *rq, const char **ret_why) /* RFC 9110 10.1.1 */
{
    struct http1_list_at at = { 0 };
    struct slice expectation;
    while (http1_list_next(rq, "Expect", &at, &expectation))
        if (!slice_equals_nocase(expectation, "100-continue"))
            return refuse(417, "The only expectation that this server can meet is 100-continue.", ret_why);
    return 0;
}

int http1_check_headers(const struct http1_request *rq, const char **ret_why)
{
    static int (*const rules[])(const struct http1_request *, const char **) = {
        check_host,
        check_origin,
        check_transfer_encoding,
        check_expect,
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(rules); i++) {
        int r = rules[i](rq, ret_why);
        if (r < 0)
            return r;
    }
    return 0;
}
