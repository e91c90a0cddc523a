/* Whatever bytes come as a token or as a key file, they are refused with a reason, or they hold what was promised of a
 * token, and nobody but the holder of the key makes one.
 *
 * The first byte of the input says what the rest is: 'T' a token; 'C' claims, signed here; 'H' a header and, behind a NUL,
 * claims, signed here; 'K' a key file. */
#include "auth/jwt.h"

#include <openssl/err.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/jwt_text.h"
#include "core/topic_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET "the secret of the fuzzer, which is no secret"

static struct jwt *verifier;
static char path[] = "/tmp/halley-fuzz-jwt-XXXXXX";

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void put_file(struct slice content)
{
    FILE *f = fopen(path, "wb");
    must(f != NULL && fwrite(content.ptr, 1, content.len, f) == content.len && fclose(f) == 0);
}

static void remove_file(void)
{
    unlink(path);
    verifier = jwt_unref(verifier);
}

static void start(void)
{
    static const char *const audiences[] = { "here" };
    static struct jwt_report report;
    struct jwt_key_file key = { .path = path };
    struct jwt_config config = {
        .keys = &key, .key_count = 1, .audiences = audiences, .audience_count = 1, .leeway_s = 60
    };
    int fd = mkstemp(path);
    must(fd >= 0 && close(fd) == 0);
    put_file(SLICE_LIT(SECRET));
    must(jwt_new(&config, &verifier, &report) == 0);
    atexit(remove_file);
}

static void must_be_patterns(struct token_list list)
{
    must(list.count <= TOKEN_PATTERNS_MAX);
    for (size_t i = 0; i < list.count; i++)
        must(pattern_error(list.names[i].ptr, list.names[i].len) == NULL &&
             list.names[i].ptr[list.names[i].len] == '\0');
}

static enum jwt_error verify(struct slice text)
{
    struct token *t = NULL;
    enum jwt_error e = jwt_verify(verifier, text, UINT64_C(1700000000000), &t);
    must((e == JWT_OK) == (t != NULL) && e < JWT_ERROR_COUNT && ERR_peek_error() == 0);
    if (t == NULL)
        return e;
    must(strlen(t->subject) <= TOKEN_NAME_MAX && strlen(t->id) <= TOKEN_NAME_MAX);
    must(t->expires_ms == 0 || t->expires_ms > UINT64_C(1700000000000));
    must(t->info.len <= TOKEN_INFO_MAX && strlen(t->info.ptr) == t->info.len);
    must_be_patterns(t->subscribe);
    must_be_patterns(t->publish);
    must_be_patterns(t->auto_names);
    token_unref(t);
    return e;
}

static void verify_signed(struct slice header, struct slice claims)
{
    HLY_CLEANUP(buf_done) struct buf b = { 0 };
    uint8_t mac[32];
    unsigned len = 0;
    base64url_encode(header, &b);
    buf_str(&b, ".");
    base64url_encode(claims, &b);
    must(HMAC(EVP_sha256(), SECRET, strlen(SECRET), b.data, b.len, mac, &len) != NULL);
    buf_str(&b, ".");
    base64url_encode((struct slice){ (const char *)mac, len }, &b);
    must(!b.failed);
    must(verify(buf_slice(&b)) != JWT_SIGNATURE || header.len != 15); /* {"alg":"HS256"} */
}

static void load_keys(struct slice content)
{
    static struct jwt_report report;
    struct jwt_key_file key = { .path = path };
    struct jwt_config config = { .keys = &key, .key_count = 1 };
    struct jwt *j = NULL;
    put_file(content);
    int r = jwt_new(&config, &j, &report);
    must((r == 0) == (j != NULL) && (r == 0) == (report.error[0] == '\0') && (r != 0 || report.keys > 0));
    must(ERR_peek_error() == 0);
    jwt_unref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (verifier == NULL)
        start();
    if (size == 0)
        return 0;
    struct slice rest = { (const char *)data + 1, size - 1 };
    const char *nul = memchr(rest.ptr, '\0', rest.len);
    size_t header_len = nul != NULL ? (size_t)(nul - rest.ptr) : rest.len;
    switch (data[0]) {
    case 'T':
        verify(rest);
        break;
    case 'C':
        verify_signed(SLICE_LIT("{\"alg\":\"HS256\"}"), rest);
        break;
    case 'H':
        verify_signed((struct slice){ rest.ptr, header_len },
                      nul != NULL ? (struct slice){ nul + 1, rest.len - header_len - 1 } : SLICE_LIT("{}"));
        break;
    case 'K':
        load_keys(rest);
        break;
    }
    return 0;
}
