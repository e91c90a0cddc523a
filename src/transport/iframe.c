#include "transport/iframe.h"

#include <string.h>

#include "base/slice.h"

#define PADDING_BYTES 2048 /* old browsers show nothing of a page before its first kilobyte or two, and run no script of it */

/* ---- the callback */

static bool is_letter(char c)
{
    return (slice_fold(c) >= 'a' && slice_fold(c) <= 'z') || c == '_' || c == '$';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

const char *iframe_callback_error(struct slice callback)
{
    bool at_start = true; /* of an identifier */
    if (callback.ptr == NULL)
        return "is missing";
    if (callback.len > IFRAME_CALLBACK_MAX)
        return "has more than 128 bytes";
    for (size_t i = 0; i < callback.len; i++) {
        char c = callback.ptr[i];
        if (c == '.' && !at_start)
            at_start = true;
        else if (is_letter(c) || (is_digit(c) && !at_start))
            at_start = false;
        else
            return "is no name";
    }
    return at_start ? "is no name" : NULL;
}

/* ---- who may frame it */

const char *iframe_request_error(const struct http1_request *rq, const struct settings *set)
{
    static const char *const places[] = { "iframe", "frame", "document", "empty" }; /* document: opened by itself; empty: fetch() */
    struct slice site = http1_header_get(rq, "Sec-Fetch-Site");
    struct slice place = http1_header_get(rq, "Sec-Fetch-Dest");
    if (slice_equals(site, "cross-site") && set->origin_count == 0) /* with origins, frame-ancestors knows which */
        return "Pages of other sites may not frame this address: add theirs to origins in the server's config.";
    bool is_known = place.ptr == NULL;
    for (size_t i = 0; i < HLY_ARRAY_LEN(places); i++)
        is_known |= slice_equals(place, places[i]);
    return is_known ? NULL : "This address is a page for an <iframe>, not a script, a style or an image.";
}

static bool is_any(struct slice origin)
{
    return origin.len == 1 && origin.ptr[0] == '*';
}

/* The entries of `origins` are written as CSP has its host sources; the config has checked them. Only null has no word there. */
static void write_ancestors(struct buf *out, const struct settings *set)
{
    buf_str(out, " 'self'"); /* as for Origin: our own pages always may */
    for (size_t i = 0; i < set->origin_count; i++)
        if (!slice_equals(set->origins[i], "null"))
            buf_printf(out, " %.*s", (int)set->origins[i].len, set->origins[i].ptr);
}

void iframe_write_headers(struct buf *out, const struct settings *set)
{
    bool everyone = false;
    for (size_t i = 0; i < set->origin_count; i++)
        everyone |= is_any(set->origins[i]);
    buf_str(out, "Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
                 "frame-ancestors");
    if (everyone)
        buf_str(out, " *");
    else
        write_ancestors(out, set);
    buf_str(out, "\r\nReferrer-Policy: no-referrer\r\n");
    if (set->origin_count == 0)
        buf_str(out, "X-Frame-Options: SAMEORIGIN\r\n"); /* for browsers that do not know frame-ancestors; it cannot list origins */
}

/* ---- the page */

void iframe_write_opening(struct buf *out, struct slice callback)
{
    buf_str(out, "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>Halley</title>\n<script>var h=function(m){parent.");
    buf_append(out, callback.ptr, callback.len);
    buf_str(out, "(m)}</script>\n<!--");
    uint8_t *at = buf_reserve(out, PADDING_BYTES);
    if (at != NULL) {
        memset(at, ' ', PADDING_BYTES);
        out->len += PADDING_BYTES;
    }
    buf_str(out, "-->\n</head><body>\n");
}
