#include "proto/http1.h"

#include <stdint.h>
#include <time.h>

static const struct { /* RFC 9110 15, RFC 6585 */
    unsigned status;
    const char *reason;
} reasons[] = {
    { 100, "Continue" },
    { 101, "Switching Protocols" },
    { 200, "OK" },
    { 201, "Created" },
    { 202, "Accepted" },
    { 204, "No Content" },
    { 206, "Partial Content" },
    { 301, "Moved Permanently" },
    { 302, "Found" },
    { 303, "See Other" },
    { 304, "Not Modified" },
    { 307, "Temporary Redirect" },
    { 308, "Permanent Redirect" },
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 406, "Not Acceptable" },
    { 408, "Request Timeout" },
    { 409, "Conflict" },
    { 410, "Gone" },
    { 411, "Length Required" },
    { 412, "Precondition Failed" },
    { 413, "Content Too Large" },
    { 414, "URI Too Long" },
    { 415, "Unsupported Media Type" },
    { 416, "Range Not Satisfiable" },
    { 417, "Expectation Failed" },
    { 421, "Misdirected Request" },
    { 422, "Unprocessable Content" },
    { 426, "Upgrade Required" },
    { 428, "Precondition Required" },
    { 429, "Too Many Requests" },
    { 431, "Request Header Fields Too Large" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 505, "HTTP Version Not Supported" },
};

const char *http1_reason(unsigned status)
{
    for (size_t i = 0; i < HLY_ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

static bool never_has_body(unsigned status) /* RFC 9110 6.4.1; 304 tells the length of what it does not carry */
{
    return status < 200 || status == 204 || status == 304;
}

static void write_date(struct buf *out, uint64_t wall_ms) /* an IMF-fixdate (RFC 9110 5.6.7), in English whatever the locale */
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm t;
    gmtime_r(&seconds, &t);
    buf_printf(out, "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n", days + 3 * t.tm_wday, t.tm_mday, months + 3 * t.tm_mon,
               1900 + t.tm_year, t.tm_hour, t.tm_min, t.tm_sec);
}

void http1_write_head(struct buf *out, uint64_t wall_ms, unsigned status, bool keep_alive, const char *content_type, size_t body_len,
                      const char *extra)
{
    if (body_len == SIZE_MAX && !never_has_body(status))
        keep_alive = false; /* nothing else tells where the body ends (RFC 9112 6.3) */
    buf_printf(out, "HTTP/1.1 %u %s\r\n", status, http1_reason(status));
    write_date(out, wall_ms);
    if (content_type != NULL)
        buf_printf(out, "Content-Type: %s\r\n", content_type);
    if (body_len != SIZE_MAX && status >= 200 && status != 204) /* RFC 9110 8.6 */
        buf_printf(out, "Content-Length: %zu\r\n", body_len);
    buf_printf(out, "Connection: %s\r\nX-Content-Type-Options: nosniff\r\n%s\r\n", keep_alive ? "keep-alive" : "close",
               extra != NULL ? extra : "");
}
