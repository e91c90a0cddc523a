#include "transport/static_file.h"

#include <openssl/evp.h>
#include <stdio.h>

#define ETAG_BYTES 16 /* of the hash */
#define ETAG_MAX (2 * ETAG_BYTES + 3)

/* The same for the same bytes, on every node and after every restart. An empty string when OpenSSL is out of memory: then there is none. */
static void make_etag(struct slice file, char etag[ETAG_MAX])
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    char *at = etag;
    etag[0] = '\0';
    if (EVP_Digest(file.ptr, file.len, hash, NULL, EVP_sha256(), NULL) != 1)
        return;
    *at++ = '"';
    for (int i = 0; i < ETAG_BYTES; i++)
        at += sprintf(at, "%02x", hash[i]);
    *at++ = '"';
    *at = '\0';
}

/* RFC 9110 13.1.2; weak comparison, for proxies that compress make our ETag a weak one. */
static bool is_known(const struct http1_request *rq, const char *etag)
{
    char weak[ETAG_MAX + 2];
    snprintf(weak, sizeof weak, "W/%s", etag);
    return http1_header_has_token(rq, "If-None-Match", "*") ||
           (etag[0] != '\0' && (http1_header_has_token(rq, "If-None-Match", etag) || http1_header_has_token(rq, "If-None-Match", weak)));
}

void static_file_serve(struct http_client *h, const struct http1_request *rq, struct slice file, const char *content_type)
{
    char etag[ETAG_MAX], extra[256];
    if (file.len == 0) {
        http_reply_text(h, 404, NULL, "This server was built without its browser client.");
        return;
    }
    make_etag(file, etag);
    snprintf(extra, sizeof extra, "%s%s%sCache-Control: no-cache\r\nAccess-Control-Allow-Origin: *\r\n", etag[0] != '\0' ? "ETag: " : "", etag,
             etag[0] != '\0' ? "\r\n" : "");
    if (is_known(rq, etag))
        http_reply(h, 304, NULL, NULL, file.len, extra);
    else
        http_reply(h, 200, content_type, file.ptr, file.len, extra);
}
