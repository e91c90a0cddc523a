#include "auth/jwt.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/jwt_make.h"
#include "auth/jwt_text.h"
#include "base/buf.h"
#include "support.h"

#define NOW_S 1700000000
#define NOW_MS (NOW_S * UINT64_C(1000))

/* ---- files and keys: made once, in main(); tests only read them. Signatures are made here with OpenSSL alone, so that
 * a mistake in how the code under test uses cjose is not made twice. */

static char directory[] = "/tmp/halley-jwt-XXXXXX";
static const char secret[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"; /* 64 bytes: all HS */
static EVP_PKEY *rsa, *other_rsa, *short_rsa, *p256, *other_p256, *p384, *p521, *ed25519;

static char *path_of(const char *name)
{
    char *path = malloc(strlen(directory) + strlen(name) + 2);
    sprintf(path, "%s/%s", directory, name);
    return path;
}

static char *put_file(const char *name, const void *bytes, size_t len, mode_t mode)
{
    char *path = path_of(name);
    unlink(path);
    FILE *f = fopen(path, "wb");
    HOLDS(f != NULL && fwrite(bytes, 1, len, f) == len && fclose(f) == 0 && chmod(path, mode) == 0);
    return path;
}

static char *put_text(const char *name, const char *text)
{
    return put_file(name, text, strlen(text), 0600);
}

static void put_bio(const char *name, BIO *b)
{
    char *bytes;
    long len = BIO_get_mem_data(b, &bytes);
    free(put_file(name, bytes, (size_t)len, 0600));
    BIO_free(b);
}

static void put_pem(const char *name, EVP_PKEY *key)
{
    char file[64];
    BIO *b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
    snprintf(file, sizeof file, "%s.pem", name);
    put_bio(file, b);
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_PUBKEY(b, key);
    snprintf(file, sizeof file, "%s.pub", name);
    put_bio(file, b);
}

static void put_certificate(const char *name, EVP_PKEY *key)
{
    BIO *b = BIO_new(BIO_s_mem());
    X509 *x = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_sign(x, key, EVP_sha256());
    PEM_write_bio_X509(b, x);
    X509_free(x);
    put_bio(name, b);
}

static void make_keys(void)
{
    HOLDS(mkdtemp(directory) != NULL);
    rsa = EVP_RSA_gen(2048);
    other_rsa = EVP_RSA_gen(2048);
    short_rsa = EVP_RSA_gen(1024);
    p256 = EVP_EC_gen("P-256");
    other_p256 = EVP_EC_gen("P-256");
    p384 = EVP_EC_gen("P-384");
    p521 = EVP_EC_gen("P-521");
    ed25519 = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    put_pem("rsa", rsa);
    put_pem("other_rsa", other_rsa);
    put_pem("short_rsa", short_rsa);
    put_pem("p256", p256);
    put_pem("other_p256", other_p256);
    put_pem("p384", p384);
    put_pem("p521", p521);
    put_pem("ed25519", ed25519);
    put_certificate("rsa.crt", rsa);
    free(put_text("secret", secret));
}

static void remove_files(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", directory);
    HOLDS(system(command) == 0);
    EVP_PKEY *const keys[] = { rsa, other_rsa, short_rsa, p256, other_p256, p384, p521, ed25519 };
    for (size_t i = 0; i < HLY_ARRAY_LEN(keys); i++)
        EVP_PKEY_free(keys[i]);
}

static const char *private_file(enum jwt_algorithm a)
{
    static const char *const names[] = { "secret",  "secret",  "secret",  "rsa.pem",  "rsa.pem",  "rsa.pem",
                                         "rsa.pem", "rsa.pem", "rsa.pem", "p256.pem", "p384.pem", "p521.pem" };
    return names[a];
}

static const char *public_file(enum jwt_algorithm a)
{
    static const char *const names[] = { "secret",  "secret",  "secret",  "rsa.pub",  "rsa.pub",  "rsa.pub",
                                         "rsa.pub", "rsa.pub", "rsa.pub", "p256.pub", "p384.pub", "p521.pub" };
    return names[a];
}

/* ---- tokens as anybody might write them */

static const EVP_MD *hash_of(enum jwt_algorithm a)
{
    return a % 3 == 0 ? EVP_sha256() : a % 3 == 1 ? EVP_sha384() : EVP_sha512();
}

static size_t sign_hmac(enum jwt_algorithm a, const void *key, size_t key_len, struct slice input, uint8_t *out)
{
    unsigned len = 0;
    HMAC(hash_of(a), key, (int)key_len, (const uint8_t *)input.ptr, input.len, out, &len);
    return len;
}

static size_t sign_evp(enum jwt_algorithm a, EVP_PKEY *key, struct slice input, uint8_t *out)
{
    size_t len = 1100;
    EVP_PKEY_CTX *ctx;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_DigestSignInit(md, &ctx, hash_of(a), NULL, key);
    if (a >= JWT_PS256 && a <= JWT_PS512) {
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST);
    }
    HOLDS(EVP_DigestSign(md, out, &len, (const uint8_t *)input.ptr, input.len) == 1);
    EVP_MD_CTX_free(md);
    return len;
}

static size_t raw_from_der(const uint8_t *der, size_t len, size_t half, uint8_t *out)
{
    ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &der, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(s), out, (int)half);
    BN_bn2binpad(ECDSA_SIG_get0_s(s), out + half, (int)half);
    ECDSA_SIG_free(s);
    return 2 * half;
}

static size_t sign_ec(enum jwt_algorithm a, EVP_PKEY *key, struct slice input, uint8_t *out)
{
    uint8_t der[1100];
    size_t len = sign_evp(a, key, input, der), half = ((size_t)EVP_PKEY_get_bits(key) + 7) / 8;
    return raw_from_der(der, len, half, out);
}

static size_t sign(enum jwt_algorithm a, struct slice input, uint8_t *out)
{
    EVP_PKEY *const curves[] = { p256, p384, p521 };
    if (a <= JWT_HS512)
        return sign_hmac(a, secret, strlen(secret), input, out);
    return a < JWT_ES256 ? sign_evp(a, rsa, input, out) : sign_ec(a, curves[a - JWT_ES256], input, out);
}

static struct buf unsigned_token(struct slice header, struct slice payload)
{
    struct buf b = { 0 };
    base64url_encode(header, &b);
    buf_str(&b, ".");
    base64url_encode(payload, &b);
    return b;
}

static char *finish(struct buf *b, const void *signature, size_t len)
{
    buf_str(b, ".");
    base64url_encode((struct slice){ signature, len }, b);
    buf_append(b, "", 1);
    return (char *)b->data;
}

static char *forge_bytes(struct slice header, struct slice payload, enum jwt_algorithm a)
{
    uint8_t signature[1100];
    struct buf b = unsigned_token(header, payload);
    size_t len = sign(a, buf_slice(&b), signature);
    return finish(&b, signature, len);
}

/* A token with any header and payload, signed rightly. */
static char *forge(const char *header, const char *payload, enum jwt_algorithm a)
{
    return forge_bytes(TEXT(header), TEXT(payload), a);
}

static char *good(enum jwt_algorithm a, const char *payload)
{
    char header[64];
    snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\"}", jwt_algorithm_name(a));
    return forge(header, payload, a);
}

/* ---- verifiers */

static struct jwt *verifier_of(struct jwt_config config, struct jwt_report *report)
{
    struct jwt *j = NULL;
    int r = jwt_new(&config, &j, report);
    ck_assert_msg(r == 0 && j != NULL, "jwt_new: %d: %s", r, report->error);
    ck_assert_str_eq(report->error, "");
    return j;
}

static struct jwt *verifier(const char *file)
{
    struct jwt_report report;
    char *path = path_of(file);
    struct jwt_key_file key = { .path = path };
    struct jwt *j = verifier_of((struct jwt_config){ .keys = &key, .key_count = 1 }, &report);
    free(path);
    return j;
}

/* At its exact length on the heap, so that a sanitizer sees a look behind it. */
static enum jwt_error verify_at(const struct jwt *j, struct slice token, uint64_t now_ms, struct token **ret_token)
{
    char *copy = malloc(token.len > 0 ? token.len : 1);
    struct token *t = NULL;
    if (token.len > 0)
        memcpy(copy, token.ptr, token.len);
    enum jwt_error e = jwt_verify(j, (struct slice){ copy, token.len }, now_ms, &t);
    free(copy);
    HOLDS((e == JWT_OK) == (t != NULL));
    HOLDS(ERR_peek_error() == 0);
    if (ret_token != NULL)
        *ret_token = t;
    else
        token_unref(t);
    return e;
}

static enum jwt_error verify(const struct jwt *j, const char *token)
{
    return verify_at(j, TEXT(token), NOW_MS, NULL);
}

static void check(const char *name, enum jwt_error got, enum jwt_error want)
{
    ck_assert_msg(got == want, "%s: got %s, not %s", name, jwt_error_name(got), jwt_error_name(want));
}

/* ---- what is accepted */

START_TEST(each_algorithm_is_accepted_with_its_private_key_and_with_its_public_one)
{
    enum jwt_algorithm a = (enum jwt_algorithm)_i;
    const char *const files[] = { private_file(a), public_file(a) };
    char *token = good(a, "{\"sub\":\"ada\"}");
    for (size_t i = 0; i < HLY_ARRAY_LEN(files); i++) {
        struct jwt *j = verifier(files[i]);
        for (int again = 0; again < 3; again++)
            check(jwt_algorithm_name(a), verify(j, token), JWT_OK);
        jwt_unref(j);
    }
    free(token);
}
END_TEST

START_TEST(a_key_is_for_its_own_algorithms_alone)
{
    struct jwt *j = verifier(public_file((enum jwt_algorithm)_i));
    for (enum jwt_algorithm a = 0; a < JWT_ALGORITHM_COUNT; a++) {
        char *token = good(a, "{}");
        bool same = strcmp(public_file(a), public_file((enum jwt_algorithm)_i)) == 0;
        check(jwt_algorithm_name(a), verify(j, token), same ? JWT_OK : JWT_ALGORITHM);
        free(token);
    }
    jwt_unref(j);
}
END_TEST

START_TEST(a_key_may_be_pinned_to_one_algorithm)
{
    struct jwt_report report;
    char *path = path_of(public_file((enum jwt_algorithm)_i));
    struct jwt_key_file key = { .path = path, .alg = jwt_algorithm_name((enum jwt_algorithm)_i) };
    struct jwt *j = verifier_of((struct jwt_config){ .keys = &key, .key_count = 1 }, &report);
    for (enum jwt_algorithm a = 0; a < JWT_ALGORITHM_COUNT; a++) {
        char *token = good(a, "{}");
        check(jwt_algorithm_name(a), verify(j, token), (int)a == _i ? JWT_OK : JWT_ALGORITHM);
        free(token);
    }
    jwt_unref(j);
    free(path);
}
END_TEST

START_TEST(what_a_token_grants_is_read_from_it)
{
    struct jwt *j = verifier("secret");
    struct token *t;
    char *text = good(JWT_HS256,
                      "{\"sub\":\"ada\",\"jti\":\"t-1\",\"exp\":1700000060,\"iat\":1699999990.5,\"extra\":[1],"
                      "\"halley\":{\"subscribe\":[\"chat/**\",\"a\"],\"publish\":[\"chat/*\"],\"auto\":[\"user/ada\"],"
                      "\"info\":{ \"name\": \"Ada \\u0000 \\u00e9\", \"n\": [1, 2.5] },\"later\":true}}");
    check("the token", verify_at(j, TEXT(text), NOW_MS, &t), JWT_OK);
    jwt_unref(j); /* the token does not need it */
    free(text);
    ck_assert_str_eq(t->subject, "ada");
    ck_assert_str_eq(t->id, "t-1");
    ck_assert_uint_eq(t->expires_ms, 1700000060000);
    ck_assert_uint_eq(t->issued_ms, 1699999990500);
    ck_assert_uint_eq(t->subscribe.count, 2);
    ck_assert_str_eq(t->subscribe.names[0].ptr, "chat/**");
    ck_assert_uint_eq(t->subscribe.names[0].len, 7);
    ck_assert_str_eq(t->subscribe.names[1].ptr, "a");
    ck_assert_uint_eq(t->publish.count, 1);
    ck_assert_str_eq(t->publish.names[0].ptr, "chat/*");
    ck_assert_uint_eq(t->auto_names.count, 1);
    ck_assert_str_eq(t->auto_names.names[0].ptr, "user/ada");
    ck_assert_str_eq(t->info.ptr, "{\"name\":\"Ada \\u0000 \xc3\xa9\",\"n\":[1,2.5]}");
    ck_assert_uint_eq(t->info.len, strlen(t->info.ptr));
    ck_assert_ptr_eq(token_ref(t), t);
    ck_assert_ptr_null(token_unref(t));
    ck_assert_ptr_null(token_unref(t));
    ck_assert_ptr_null(token_unref(NULL));
}
END_TEST

START_TEST(an_empty_token_grants_nothing_and_never_expires)
{
    struct jwt *j = verifier("secret");
    struct token *t;
    char *text = forge("{\"alg\":\"HS256\"}", "{}", JWT_HS256);
    check("{}", verify_at(j, TEXT(text), NOW_MS, &t), JWT_OK);
    ck_assert_str_eq(t->subject, "");
    ck_assert_str_eq(t->id, "");
    ck_assert_uint_eq(t->expires_ms, 0);
    ck_assert_uint_eq(t->issued_ms, 0);
    ck_assert_uint_eq(t->subscribe.count + t->publish.count + t->auto_names.count + t->info.len, 0);
    token_unref(t);
    free(text);
    jwt_unref(j);
}
END_TEST

/* ---- vectors. Where a payload is no JSON, or no time fits, the verdict shows that the signature held. */

#define RSA_7515 \
    "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}"
#define RSA_7520 \
    "{\"kty\":\"RSA\",\"kid\":\"bilbo.baggins@hobbiton.example\",\"use\":\"sig\",\"e\":\"AQAB\",\"n\":\"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw\"}"
#define JOE "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define FRODO \
    "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"

static const struct {
    const char *name, *jwk, *token;
    uint64_t now_s;
    enum jwt_error want;
} vectors[] = {
    { "RFC 7515 A.1, HS256",
      "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}",
      "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." JOE ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", 1300819379,
      JWT_OK },
    { "RFC 7515 A.2, RS256", RSA_7515,
      "eyJhbGciOiJSUzI1NiJ9." JOE
      ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
      1300819379, JWT_OK },
    { "RFC 7515 A.3, ES256",
      "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
      "eyJhbGciOiJFUzI1NiJ9." JOE
      ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
      1300819379, JWT_OK },
    { "RFC 7515 A.3, a second after its exp",
      "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
      "eyJhbGciOiJFUzI1NiJ9." JOE
      ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
      1300819380, JWT_EXPIRED },
    { "RFC 7515 A.5, none", RSA_7515, "eyJhbGciOiJub25lIn0." JOE ".", 1300819379, JWT_MALFORMED },
    { "RFC 7520 4.1, RS256", RSA_7520,
      "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." FRODO
      ".MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
      0, JWT_PAYLOAD },
    { "RFC 7520 4.2, PS384", RSA_7520,
      "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." FRODO
      ".cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
      0, JWT_PAYLOAD },
    { "RFC 7520 4.3, ES512",
      "{\"kty\":\"EC\",\"kid\":\"bilbo.baggins@hobbiton.example\",\"use\":\"sig\",\"crv\":\"P-521\",\"x\":\"AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt\",\"y\":\"AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1\"}",
      "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." FRODO
      ".AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
      0, JWT_PAYLOAD },
    { "RFC 7520 4.4, HS256",
      "{\"kty\":\"oct\",\"kid\":\"018c0ae5-4d9b-471b-bfd6-eef314bc7037\",\"use\":\"sig\",\"alg\":\"HS256\",\"k\":\"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg\"}",
      "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9." FRODO
      ".s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0",
      0, JWT_PAYLOAD },
    { "RFC 7520 4.4, signature cut by a byte",
      "{\"kty\":\"oct\",\"k\":\"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg\"}",
      "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9." FRODO
      ".s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7g",
      0, JWT_SIGNATURE },
};

START_TEST(tokens_of_the_standards_are_judged_as_they_say)
{
    char name[32];
    snprintf(name, sizeof name, "vector-%d", _i);
    free(put_text(name, vectors[_i].jwk));
    struct jwt *j = verifier(name);
    check(vectors[_i].name, verify_at(j, TEXT(vectors[_i].token), vectors[_i].now_s * 1000, NULL), vectors[_i].want);
    jwt_unref(j);
}
END_TEST

/* ---- headers: all of them signed rightly */

static const struct {
    const char *name, *header;
    enum jwt_error want;
} headers[] = {
    { "typ may be missing", "{\"alg\":\"HS256\"}", JWT_OK },
    { "typ in another case (RFC 7519 5.1)", "{\"alg\":\"HS256\",\"typ\":\"jwt\"}", JWT_OK },
    { "typ of an access token (RFC 9068)", "{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", JWT_OK },
    { "typ as a whole media type", "{\"alg\":\"HS256\",\"typ\":\"application/at+JWT\"}", JWT_OK },
    { "typ of something else (RFC 8725 3.11)", "{\"alg\":\"HS256\",\"typ\":\"logout+jwt\"}", JWT_TYPE },
    { "typ that only begins so", "{\"alg\":\"HS256\",\"typ\":\"JWTx\"}", JWT_TYPE },
    { "typ application/ and nothing", "{\"alg\":\"HS256\",\"typ\":\"application/\"}", JWT_TYPE },
    { "typ empty", "{\"alg\":\"HS256\",\"typ\":\"\"}", JWT_TYPE },
    { "typ a number", "{\"alg\":\"HS256\",\"typ\":1}", JWT_TYPE },
    { "unknown members are ignored", "{\"alg\":\"HS256\",\"x\":{\"y\":[null]}}", JWT_OK },
    { "keys that the token brings along are not looked at",
      "{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"},\"jku\":\"http://evil/\",\"x5c\":[]}", JWT_OK },
    { "any kid fits a key without one", "{\"alg\":\"HS256\",\"kid\":\"whatever\"}", JWT_OK },
    { "kid a number", "{\"alg\":\"HS256\",\"kid\":1}", JWT_UNKNOWN_KEY },
    { "kid null", "{\"alg\":\"HS256\",\"kid\":null}", JWT_UNKNOWN_KEY },
    { "kid empty", "{\"alg\":\"HS256\",\"kid\":\"\"}", JWT_UNKNOWN_KEY },
    { "kid with a NUL", "{\"alg\":\"HS256\",\"kid\":\"a\\u0000b\"}", JWT_UNKNOWN_KEY },
    { "crit, even with what we know", "{\"alg\":\"HS256\",\"crit\":[\"alg\"]}", JWT_CRITICAL },
    { "crit with an extension", "{\"alg\":\"HS256\",\"crit\":[\"exp\"],\"exp\":1}", JWT_CRITICAL },
    { "crit empty", "{\"alg\":\"HS256\",\"crit\":[]}", JWT_CRITICAL },
    { "crit null", "{\"alg\":\"HS256\",\"crit\":null}", JWT_CRITICAL },
    { "b64 (RFC 7797)", "{\"alg\":\"HS256\",\"b64\":false,\"crit\":[\"b64\"]}", JWT_CRITICAL },
    { "b64 without crit", "{\"alg\":\"HS256\",\"b64\":true}", JWT_CRITICAL },
    { "no alg", "{\"typ\":\"JWT\"}", JWT_ALGORITHM },
    { "alg null", "{\"alg\":null}", JWT_ALGORITHM },
    { "alg a number", "{\"alg\":256}", JWT_ALGORITHM },
    { "alg a list", "{\"alg\":[\"HS256\"]}", JWT_ALGORITHM },
    { "alg in another case (RFC 7515 4.1.1)", "{\"alg\":\"hs256\"}", JWT_ALGORITHM },
    { "alg with more behind it", "{\"alg\":\"HS256 \"}", JWT_ALGORITHM },
    { "alg with a NUL", "{\"alg\":\"HS256\\u0000\"}", JWT_ALGORITHM },
    { "alg none", "{\"alg\":\"none\"}", JWT_ALGORITHM },
    { "alg None", "{\"alg\":\"None\"}", JWT_ALGORITHM },
    { "alg empty", "{\"alg\":\"\"}", JWT_ALGORITHM },
    { "alg unknown", "{\"alg\":\"HS1\"}", JWT_ALGORITHM },
    { "alg EdDSA", "{\"alg\":\"EdDSA\"}", JWT_ALGORITHM },
    { "alg of an encrypted token", "{\"alg\":\"dir\",\"enc\":\"A128GCM\"}", JWT_ALGORITHM },
    { "alg of another kind of key", "{\"alg\":\"RS256\"}", JWT_ALGORITHM },
    { "alg of the same kind, but not what it was signed with", "{\"alg\":\"HS384\"}", JWT_SIGNATURE },
    { "alg twice: parsers differ in which counts", "{\"alg\":\"HS256\",\"alg\":\"HS256\"}", JWT_HEADER },
    { "alg twice, once none", "{\"alg\":\"HS256\",\"alg\":\"none\"}", JWT_HEADER },
    { "a list", "[\"HS256\"]", JWT_HEADER },
    { "a string", "\"HS256\"", JWT_HEADER },
    { "null", "null", JWT_HEADER },
    { "broken JSON", "{\"alg\":\"HS256\"", JWT_HEADER },
    { "more behind the JSON", "{\"alg\":\"HS256\"}x", JWT_HEADER },
    { "single quotes", "{'alg':'HS256'}", JWT_HEADER },
    { "white space alone", "  ", JWT_HEADER },
    { "not UTF-8", "{\"alg\":\"HS256\",\"x\":\"\xff\"}", JWT_HEADER },
    { "16 levels", "{\"alg\":\"HS256\",\"x\":[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]}", JWT_OK },
    { "17 levels", "{\"alg\":\"HS256\",\"x\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", JWT_HEADER },
};

START_TEST(a_header_is_accepted_or_refused)
{
    struct jwt *j = verifier("secret");
    char *token = forge(headers[_i].header, "{}", JWT_HS256);
    check(headers[_i].name, verify(j, token), headers[_i].want);
    free(token);
    jwt_unref(j);
}
END_TEST

/* ---- forged ones */

#define HS "eyJhbGciOiJIUzI1NiJ9" /* {"alg":"HS256"} */

static const struct {
    const char *name, *token;
    enum jwt_error want;
} malformed[] = {
    { "nothing", "", JWT_MALFORMED },
    { "a word", "token", JWT_MALFORMED },
    { "dots alone", "..", JWT_MALFORMED },
    { "two parts", HS ".e30", JWT_MALFORMED },
    { "no signature", HS ".e30.", JWT_MALFORMED },
    { "no payload", HS "..AAAA", JWT_MALFORMED },
    { "no header", ".e30.AAAA", JWT_MALFORMED },
    { "four parts", HS ".e30.AAAA.AAAA", JWT_MALFORMED },
    { "five parts: encrypted", HS ".e30.AAAA.AAAA.AAAA", JWT_MALFORMED },
    { "padding", HS ".e30=.AAAA", JWT_MALFORMED },
    { "base64 that is not for URLs", HS ".e30.AA+/", JWT_MALFORMED },
    { "a space before it", " " HS ".e30.AAAA", JWT_MALFORMED },
    { "a newline behind it", HS ".e30.AAAA\n", JWT_MALFORMED },
    { "Bearer before it", "Bearer " HS ".e30.AAAA", JWT_MALFORMED },
    { "a part of one digit", HS ".e30.AAAAA", JWT_MALFORMED },
    { "bits behind the last byte (RFC 4648 3.5)", HS ".e31.AAAA", JWT_MALFORMED },
    { "bits behind the last byte, of two digits", HS ".e30.AB", JWT_MALFORMED },
    { "bytes beyond ASCII", HS ".e30.AAA\xc3\xa9", JWT_MALFORMED },
    { "a short signature", HS ".e30.AAAA", JWT_SIGNATURE },
    { "none with a signature", "eyJhbGciOiJub25lIn0.e30.AAAA", JWT_ALGORITHM },
};

START_TEST(what_is_no_token_is_refused)
{
    struct jwt *j = verifier("secret");
    check(malformed[_i].name, verify(j, malformed[_i].token), malformed[_i].want);
    jwt_unref(j);
}
END_TEST

/* The old trick: sign with HMAC, the public key, which everyone has, being the secret. And the other way round. */
START_TEST(a_public_key_is_never_a_secret)
{
    static const char *const files[] = { "rsa.pub", "p256.pub", "rsa.crt" };
    char bytes[4096], *path = path_of(files[_i]);
    FILE *f = fopen(path, "rb");
    size_t len = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    struct jwt *j = verifier(files[_i]);
    for (size_t cut = 0; cut < 2; cut++) { /* with its last newline, and without */
        struct buf b = unsigned_token(TEXT("{\"alg\":\"HS256\"}"), TEXT("{}"));
        uint8_t signature[64];
        size_t n = sign_hmac(JWT_HS256, bytes, len - cut, buf_slice(&b), signature);
        char *token = finish(&b, signature, n);
        check(files[_i], verify(j, token), JWT_ALGORITHM);
        free(token);
    }
    jwt_unref(j);
    free(path);
}
END_TEST

START_TEST(the_key_of_another_signs_nothing)
{
    static const char *const files[] = { "other_rsa.pub", "other_rsa.pub", "other_p256.pub", "other_secret" };
    static const enum jwt_algorithm with[] = { JWT_RS256, JWT_PS256, JWT_ES256, JWT_HS256 };
    free(put_text("other_secret", "another secret of more than 32 bytes"));
    struct jwt *j = verifier(files[_i]);
    char *token = good(with[_i], "{}");
    check(files[_i], verify(j, token), JWT_SIGNATURE);
    free(token);
    jwt_unref(j);
}
END_TEST

START_TEST(an_ecdsa_signature_has_one_form)
{
    struct jwt *j = verifier("p256.pub");
    struct buf b = unsigned_token(TEXT("{\"alg\":\"ES256\"}"), TEXT("{}"));
    uint8_t der[200], raw[80] = { 0 }, zero[64] = { 0 }, ones[64], order[64];
    size_t len = sign_evp(JWT_ES256, p256, buf_slice(&b), der);
    raw_from_der(der, len, 32, raw + 1);
    memset(ones, 0xff, sizeof ones);
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    BN_bn2binpad(EC_GROUP_get0_order(group), order, 32);
    memcpy(order + 32, order, 32);
    EC_GROUP_free(group);
    uint8_t long_form[66] = { 0 }, no_r[64] = { 0 }, no_s[64] = { 0 };
    memcpy(long_form + 1, raw + 1, 32); /* each half with a zero before it: the same numbers */
    memcpy(long_form + 34, raw + 33, 32);
    memcpy(no_r + 32, raw + 33, 32);
    memcpy(no_s, raw + 1, 32);
    const struct {
        const char *name;
        const uint8_t *bytes;
        size_t len;
        enum jwt_error want;
    } cases[] = {
        { "raw", raw + 1, 64, JWT_OK },
        { "DER, as OpenSSL has it", der, len, JWT_SIGNATURE },
        { "leading zeros", long_form, 66, JWT_SIGNATURE },
        { "cut by a byte", raw + 1, 63, JWT_SIGNATURE },
        { "cut to r", raw + 1, 32, JWT_SIGNATURE },
        { "a byte more", raw + 1, 65, JWT_SIGNATURE },
        { "r and s zero", zero, 64, JWT_SIGNATURE },
        { "r zero", no_r, 64, JWT_SIGNATURE },
        { "s zero", no_s, 64, JWT_SIGNATURE },
        { "r and s the order of the curve", order, 64, JWT_SIGNATURE },
        { "all ones", ones, 64, JWT_SIGNATURE },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(cases); i++) {
        struct buf copy = { 0 };
        buf_append(&copy, b.data, b.len);
        char *token = finish(&copy, cases[i].bytes, cases[i].len);
        check(cases[i].name, verify(j, token), cases[i].want);
        free(token);
    }
    buf_done(&b);
    jwt_unref(j);
}
END_TEST

/* An RSA signature is a number: one with a zero in front, left out or put there, is the same number. */
START_TEST(an_rsa_signature_is_as_long_as_its_key)
{
    struct jwt *j = verifier("rsa.pub");
    bool has_zero = false;
    for (int i = 0; i < 20000 && !has_zero; i++) { /* one in 256 begins with a zero */
        char payload[32];
        uint8_t raw[1100] = { 0 };
        snprintf(payload, sizeof payload, "{\"n\":%d}", i);
        struct buf b = unsigned_token(TEXT("{\"alg\":\"PS256\"}"), TEXT(payload));
        size_t len = sign(JWT_PS256, buf_slice(&b), raw);
        has_zero = raw[0] == 0;
        if (has_zero) {
            struct buf copy = { 0 };
            buf_append(&copy, b.data, b.len);
            char *cut = finish(&b, raw + 1, len - 1), *whole = finish(&copy, raw, len);
            check("whole", verify(j, whole), JWT_OK);
            check("cut", verify(j, cut), JWT_SIGNATURE);
            free(cut);
            free(whole);
        } else {
            buf_done(&b);
        }
        if (IS_SANITIZED && i == 1500)
            break;
    }
    jwt_unref(j);
}
END_TEST

/* Whatever is changed in a token, by a bit, a byte less or a byte more: it is refused. */
START_TEST(a_token_with_a_changed_byte_is_refused)
{
    static const enum jwt_algorithm with[] = { JWT_HS256, JWT_ES256, JWT_RS256 };
    struct jwt *j = verifier(public_file(with[_i]));
    char *token = good(with[_i], "{\"sub\":\"a\"}"), bytes[1024];
    size_t len = strlen(token);
    check("as it is", verify(j, token), JWT_OK);
    for (size_t at = 0; at < len; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(bytes, token, len);
            bytes[at] = (char)(bytes[at] ^ (1 << bit));
            HOLDS(verify_at(j, (struct slice){ bytes, len }, NOW_MS, NULL) != JWT_OK);
        }
    for (size_t at = 0; at < len; at++) {
        HOLDS(verify_at(j, (struct slice){ token, at }, NOW_MS, NULL) != JWT_OK); /* cut */
        memcpy(bytes, token, at);
        memcpy(bytes + at, token + at + 1, len - at - 1);
        HOLDS(verify_at(j, (struct slice){ bytes, len - 1 }, NOW_MS, NULL) != JWT_OK); /* a byte left out */
        memcpy(bytes, token, at + 1);
        memcpy(bytes + at + 1, token + at, len - at);
        HOLDS(verify_at(j, (struct slice){ bytes, len + 1 }, NOW_MS, NULL) != JWT_OK); /* a byte twice */
    }
    free(token);
    jwt_unref(j);
}
END_TEST

START_TEST(a_token_has_at_most_8192_bytes)
{
    struct jwt *j = verifier("secret");
    bool accepted_at_limit = false;
    for (size_t pad = 6050; pad < 6150; pad++) {
        char *payload = malloc(pad + 32);
        sprintf(payload, "{\"pad\":\"%0*d\"}", (int)pad, 0);
        char *token = forge("{\"alg\":\"HS256\"}", payload, JWT_HS256);
        size_t len = strlen(token);
        check("length", verify(j, token), len <= JWT_MAX_BYTES ? JWT_OK : JWT_TOO_LONG);
        accepted_at_limit |= len > JWT_MAX_BYTES - 4 && len <= JWT_MAX_BYTES;
        free(token);
        free(payload);
    }
    ck_assert(accepted_at_limit);
    jwt_unref(j);
}
END_TEST

/* ---- claims */

static const struct {
    const char *name, *payload;
    enum jwt_error want;
} claims[] = {
    { "a list", "[]", JWT_PAYLOAD },
    { "a string", "\"x\"", JWT_PAYLOAD },
    { "broken", "{\"sub\":", JWT_PAYLOAD },
    { "more behind it", "{} {}", JWT_PAYLOAD },
    { "a claim twice", "{\"sub\":\"a\",\"sub\":\"b\"}", JWT_PAYLOAD },
    { "a claim twice, deeper", "{\"halley\":{\"publish\":[],\"publish\":[\"**\"]}}", JWT_PAYLOAD },
    { "a claim twice, once with an escape", "{\"sub\":\"a\",\"su\\u0062\":\"b\"}", JWT_PAYLOAD },
    { "not UTF-8", "{\"sub\":\"\xc3\"}", JWT_PAYLOAD },
    { "a lone surrogate", "{\"sub\":\"\\ud800\"}", JWT_PAYLOAD },
    { "17 levels", "{\"x\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}", JWT_PAYLOAD },
    { "brackets in a string are no levels", "{\"x\":\"[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[[[[[[[[[[\\\\\"}", JWT_OK },

    { "exp in the future", "{\"exp\":1700000001}", JWT_OK },
    { "exp now", "{\"exp\":1700000000}", JWT_EXPIRED },
    { "exp in the past", "{\"exp\":1699999999}", JWT_EXPIRED },
    { "exp a fraction in the future (RFC 7519 2)", "{\"exp\":1700000000.5}", JWT_OK },
    { "exp a fraction in the past", "{\"exp\":1699999999.999}", JWT_EXPIRED },
    { "exp as a power", "{\"exp\":2e9}", JWT_OK },
    { "exp zero", "{\"exp\":0}", JWT_EXPIRED },
    { "exp negative", "{\"exp\":-1}", JWT_EXPIRED },
    { "exp very negative", "{\"exp\":-9223372036854775808}", JWT_EXPIRED },
    { "exp very negative, real", "{\"exp\":-1e300}", JWT_EXPIRED },
    { "exp a string", "{\"exp\":\"1700000001\"}", JWT_EXP },
    { "exp null", "{\"exp\":null}", JWT_EXP },
    { "exp true", "{\"exp\":true}", JWT_EXP },
    { "exp a list", "{\"exp\":[1700000001]}", JWT_EXP },
    { "exp the last second of the year 9999", "{\"exp\":253402300799}", JWT_OK },
    { "exp a second later", "{\"exp\":253402300800}", JWT_EXP },
    { "exp in milliseconds", "{\"exp\":1700000001000}", JWT_EXP },
    { "exp the largest integer", "{\"exp\":9223372036854775807}", JWT_EXP },
    { "exp a large real", "{\"exp\":1e300}", JWT_EXP },
    { "exp beyond any integer", "{\"exp\":99999999999999999999}", JWT_PAYLOAD },
    { "exp beyond any real", "{\"exp\":1e999}", JWT_PAYLOAD },
    { "exp NaN", "{\"exp\":NaN}", JWT_PAYLOAD },
    { "exp in hex", "{\"exp\":0x7fffffff}", JWT_PAYLOAD },

    { "nbf now", "{\"nbf\":1700000000}", JWT_OK },
    { "nbf in the future", "{\"nbf\":1700000001}", JWT_NOT_YET },
    { "nbf negative", "{\"nbf\":-5}", JWT_OK },
    { "nbf a string", "{\"nbf\":\"0\"}", JWT_NBF },
    { "nbf in milliseconds", "{\"nbf\":1700000000000}", JWT_NBF },
    { "iat now", "{\"iat\":1700000000}", JWT_OK },
    { "iat in the future", "{\"iat\":1700000001}", JWT_FUTURE },
    { "iat a string", "{\"iat\":\"0\"}", JWT_IAT },
    { "iat an object", "{\"iat\":{}}", JWT_IAT },

    { "iss without configuration", "{\"iss\":\"anyone\"}", JWT_OK },
    { "iss a number", "{\"iss\":1}", JWT_ISS },
    { "iss a list", "{\"iss\":[\"a\"]}", JWT_ISS },
    { "aud without configuration (RFC 7519 4.1.3)", "{\"aud\":\"anyone\"}", JWT_AUDIENCE },
    { "aud a number", "{\"aud\":1}", JWT_AUD },
    { "aud null", "{\"aud\":null}", JWT_AUD },
    { "aud an object", "{\"aud\":{\"a\":1}}", JWT_AUD },

    { "sub empty", "{\"sub\":\"\"}", JWT_OK },
    { "sub a number", "{\"sub\":5}", JWT_SUB },
    { "sub null", "{\"sub\":null}", JWT_SUB },
    { "sub a list", "{\"sub\":[\"5\"]}", JWT_SUB },
    { "sub with a NUL: not \"5\"", "{\"sub\":\"5\\u0000x\"}", JWT_SUB },
    { "sub with a NUL at its end", "{\"sub\":\"5\\u0000\"}", JWT_SUB },
    { "sub that no rule's {sub} takes is fine all the same", "{\"sub\":\"a/b*\\u0001\"}", JWT_OK },
    { "jti a number", "{\"jti\":7}", JWT_JTI },
    { "jti with a NUL", "{\"jti\":\"\\u0000\"}", JWT_JTI },

    { "halley empty", "{\"halley\":{}}", JWT_OK },
    { "halley null", "{\"halley\":null}", JWT_HALLEY },
    { "halley a list", "{\"halley\":[\"a\"]}", JWT_HALLEY },
    { "halley a string", "{\"halley\":\"**\"}", JWT_HALLEY },
    { "subscribe empty", "{\"halley\":{\"subscribe\":[]}}", JWT_OK },
    { "subscribe a string", "{\"halley\":{\"subscribe\":\"**\"}}", JWT_SUBSCRIBE },
    { "subscribe null", "{\"halley\":{\"subscribe\":null}}", JWT_SUBSCRIBE },
    { "subscribe an object", "{\"halley\":{\"subscribe\":{\"a\":1}}}", JWT_SUBSCRIBE },
    { "subscribe with a number", "{\"halley\":{\"subscribe\":[\"a\",1]}}", JWT_SUBSCRIBE },
    { "subscribe with a list", "{\"halley\":{\"subscribe\":[[\"a\"]]}}", JWT_SUBSCRIBE },
    { "subscribe with what is no pattern", "{\"halley\":{\"subscribe\":[\"a*b\"]}}", JWT_SUBSCRIBE },
    { "subscribe with nothing", "{\"halley\":{\"subscribe\":[\"\"]}}", JWT_SUBSCRIBE },
    { "subscribe with a NUL", "{\"halley\":{\"subscribe\":[\"a\\u0000\"]}}", JWT_SUBSCRIBE },
    { "publish a string", "{\"halley\":{\"publish\":\"**\"}}", JWT_PUBLISH },
    { "publish with what is no pattern", "{\"halley\":{\"publish\":[\"**/a\"]}}", JWT_PUBLISH },
    { "auto a string", "{\"halley\":{\"auto\":\"a\"}}", JWT_AUTO },
    { "auto with a pattern", "{\"halley\":{\"auto\":[\"user/5/**\"]}}", JWT_OK },
    { "auto with what is neither", "{\"halley\":{\"auto\":[\"a*b\"]}}", JWT_AUTO },
    { "info empty", "{\"halley\":{\"info\":{}}}", JWT_OK },
    { "info a string", "{\"halley\":{\"info\":\"Ada\"}}", JWT_INFO },
    { "info null", "{\"halley\":{\"info\":null}}", JWT_INFO },
    { "info a list", "{\"halley\":{\"info\":[]}}", JWT_INFO },
};

START_TEST(a_claim_is_accepted_or_refused_by_its_own_name)
{
    struct jwt *j = verifier("secret");
    char *token = good(JWT_HS256, claims[_i].payload);
    check(claims[_i].name, verify(j, token), claims[_i].want);
    free(token);
    jwt_unref(j);
}
END_TEST

/* {"sub":"xxx"} with n bytes, {"halley":{"info":{"x":"xxx"}}} of n bytes, and so on: the largest, and one more. */
static const struct {
    const char *name, *before, *repeated, *after;
    size_t most;
    enum jwt_error want;
} sizes[] = {
    { "sub", "{\"sub\":\"", "x", "\"}", 255, JWT_SUB },
    { "sub in bytes, not letters", "{\"sub\":\"x", "\xc3\xa9", "\"}", 127, JWT_SUB },
    { "jti", "{\"jti\":\"", "x", "\"}", 255, JWT_JTI },
    { "subscribe", "{\"halley\":{\"subscribe\":[\"a\"", ",\"a\"", "]}}", 255, JWT_SUBSCRIBE },
    { "publish", "{\"halley\":{\"publish\":[\"a\"", ",\"a\"", "]}}", 255, JWT_PUBLISH },
    { "auto", "{\"halley\":{\"auto\":[\"a\"", ",\"a\"", "]}}", 255, JWT_AUTO },
    { "a pattern", "{\"halley\":{\"publish\":[\"", "x", "\"]}}", 255, JWT_PUBLISH },
    { "info", "{\"halley\":{\"info\":{\"x\":\"", "x", "\"}}}", 4096 - 8, JWT_INFO },
    { "values of all claims", "{\"x\":[0", ",0", "]}", 2046, JWT_PAYLOAD },
};

START_TEST(a_claim_has_its_largest_size)
{
    struct jwt *j = verifier("secret");
    for (size_t over = 0; over < 2; over++) {
        struct buf b = { 0 };
        buf_str(&b, sizes[_i].before);
        for (size_t i = 0; i < sizes[_i].most + over; i++)
            buf_str(&b, sizes[_i].repeated);
        buf_str(&b, sizes[_i].after);
        char *token = forge_bytes(TEXT("{\"alg\":\"HS256\"}"), buf_slice(&b), JWT_HS256);
        check(sizes[_i].name, verify(j, token), over ? sizes[_i].want : JWT_OK);
        free(token);
        buf_done(&b);
    }
    jwt_unref(j);
}
END_TEST

static const struct {
    const char *name, *payload;
    enum jwt_error want;
} expected[] = {
    /* issuers: us, and them; audiences: here, there */
    { "both", "{\"iss\":\"us\",\"aud\":\"here\"}", JWT_OK },
    { "the others", "{\"iss\":\"them\",\"aud\":\"there\"}", JWT_OK },
    { "aud a list", "{\"iss\":\"us\",\"aud\":[\"x\",\"there\"]}", JWT_OK },
    { "no iss", "{\"aud\":\"here\"}", JWT_ISSUER },
    { "another iss", "{\"iss\":\"you\",\"aud\":\"here\"}", JWT_ISSUER },
    { "iss that begins so", "{\"iss\":\"us2\",\"aud\":\"here\"}", JWT_ISSUER },
    { "iss in another case", "{\"iss\":\"US\",\"aud\":\"here\"}", JWT_ISSUER },
    { "iss with a NUL", "{\"iss\":\"us\\u0000\",\"aud\":\"here\"}", JWT_ISSUER },
    { "iss a list", "{\"iss\":[\"us\"],\"aud\":\"here\"}", JWT_ISS },
    { "no aud", "{\"iss\":\"us\"}", JWT_AUDIENCE },
    { "another aud", "{\"iss\":\"us\",\"aud\":\"elsewhere\"}", JWT_AUDIENCE },
    { "aud an empty list", "{\"iss\":\"us\",\"aud\":[]}", JWT_AUDIENCE },
    { "aud a list of others", "{\"iss\":\"us\",\"aud\":[\"x\",\"y\"]}", JWT_AUDIENCE },
    { "aud a list with a number behind ours", "{\"iss\":\"us\",\"aud\":[\"here\",5]}", JWT_AUD },
    { "aud a list of lists", "{\"iss\":\"us\",\"aud\":[[\"here\"]]}", JWT_AUD },
    { "leeway: exp", "{\"iss\":\"us\",\"aud\":\"here\",\"exp\":1699999971}", JWT_OK },
    { "leeway: exp, a second more", "{\"iss\":\"us\",\"aud\":\"here\",\"exp\":1699999970}", JWT_EXPIRED },
    { "leeway: nbf", "{\"iss\":\"us\",\"aud\":\"here\",\"nbf\":1700000030}", JWT_OK },
    { "leeway: nbf, a second more", "{\"iss\":\"us\",\"aud\":\"here\",\"nbf\":1700000031}", JWT_NOT_YET },
    { "leeway: iat", "{\"iss\":\"us\",\"aud\":\"here\",\"iat\":1700000030}", JWT_OK },
    { "leeway: iat, a second more", "{\"iss\":\"us\",\"aud\":\"here\",\"iat\":1700000031}", JWT_FUTURE },
};

START_TEST(issuer_audience_and_clock_are_held_against_the_configuration)
{
    static const char *const issuers[] = { "us", "them" }, *const audiences[] = { "here", "there" };
    struct jwt_report report;
    char *path = path_of("secret"), *token = good(JWT_HS256, expected[_i].payload);
    struct jwt_key_file key = { .path = path };
    struct jwt *j = verifier_of((struct jwt_config){ .keys = &key,
                                                     .key_count = 1,
                                                     .issuers = issuers,
                                                     .issuer_count = 2,
                                                     .audiences = audiences,
                                                     .audience_count = 2,
                                                     .leeway_s = 30 },
                                &report);
    struct token *t;
    check(expected[_i].name, verify_at(j, TEXT(token), NOW_MS, &t), expected[_i].want);
    if (t != NULL && t->expires_ms != 0) { /* what is accepted now does not expire in the past */
        ck_assert_uint_eq(t->expires_ms, 1699999971000 + 30000);
        check("a moment before it expires", verify_at(j, TEXT(token), t->expires_ms - 1, NULL), JWT_OK);
        check("when it expires", verify_at(j, TEXT(token), t->expires_ms, NULL), JWT_EXPIRED);
    }
    token_unref(t);
    jwt_unref(j);
    free(token);
    free(path);
}
END_TEST

/* ---- keys by kid */

static const struct {
    const char *name, *header;
    enum jwt_algorithm with;
    enum jwt_error want;
} kids[] = {
    /* the keys: secret as "one", RSA as "two", P-256 as "three" */
    { "the first", "{\"alg\":\"HS256\",\"kid\":\"one\"}", JWT_HS256, JWT_OK },
    { "the second", "{\"alg\":\"RS256\",\"kid\":\"two\"}", JWT_RS256, JWT_OK },
    { "the third", "{\"alg\":\"ES256\",\"kid\":\"three\"}", JWT_ES256, JWT_OK },
    { "none named: the one that fits", "{\"alg\":\"ES256\"}", JWT_ES256, JWT_OK },
    { "another's kid", "{\"alg\":\"HS256\",\"kid\":\"two\"}", JWT_HS256, JWT_ALGORITHM },
    { "unknown", "{\"alg\":\"HS256\",\"kid\":\"four\"}", JWT_HS256, JWT_UNKNOWN_KEY },
    { "kid in another case", "{\"alg\":\"HS256\",\"kid\":\"One\"}", JWT_HS256, JWT_UNKNOWN_KEY },
    { "kid with a NUL behind a known one", "{\"alg\":\"HS256\",\"kid\":\"one\\u0000\"}", JWT_HS256, JWT_UNKNOWN_KEY },
    { "no key fits", "{\"alg\":\"ES384\"}", JWT_ES384, JWT_UNKNOWN_KEY + 100 },
};

START_TEST(a_token_is_checked_with_the_key_that_it_names)
{
    struct jwt_report report;
    char *one = path_of("secret"), *two = path_of("rsa.pub"), *three = path_of("p256.pub");
    struct jwt_key_file keys[] = { { one, "one", NULL, false }, { two, "two", NULL, false }, { three, "three", "ES256", false } };
    struct jwt *j = verifier_of((struct jwt_config){ .keys = keys, .key_count = 3 }, &report);
    char *token = forge(kids[_i].header, "{}", kids[_i].with);
    ck_assert_uint_eq(report.keys, 3);
    check(kids[_i].name, verify(j, token), kids[_i].want < JWT_ERROR_COUNT ? kids[_i].want : JWT_ALGORITHM);
    jwt_unref(j);
    free(token);
    free(one);
    free(two);
    free(three);
}
END_TEST

START_TEST(two_keys_with_one_kid_for_the_same_tokens_are_a_mistake)
{
    struct jwt_report report;
    struct jwt *j = NULL;
    char *one = path_of("rsa.pub"), *two = path_of("other_rsa.pub"), *three = path_of("p256.pub");
    struct jwt_key_file same[] = { { one, "k", NULL, false }, { two, "k", NULL, false } };
    struct jwt_key_file differ[] = { { one, "k", NULL, false }, { three, "k", NULL, false } },
                        pinned[] = { { one, "k", "RS256", false }, { two, "k", "PS256", false } };
    ck_assert_int_eq(jwt_new(&(struct jwt_config){ .keys = same, .key_count = 2 }, &j, &report), -EINVAL);
    ck_assert_ptr_nonnull(strstr(report.error, "other_rsa.pub: the key has the kid of a key before it"));
    jwt_unref(verifier_of((struct jwt_config){ .keys = differ, .key_count = 2 }, &report));
    jwt_unref(verifier_of((struct jwt_config){ .keys = pinned, .key_count = 2 }, &report));
    free(one);
    free(two);
    free(three);
}
END_TEST

START_TEST(a_token_without_a_kid_is_tried_with_a_few_keys)
{
    struct jwt_report report;
    struct jwt_key_file keys[JWT_TRIES + 1];
    char *path = path_of("secret");
    for (unsigned i = 0; i < JWT_TRIES; i++) {
        char name[16], text[64];
        snprintf(name, sizeof name, "wrong-%u", i);
        snprintf(text, sizeof text, "a secret that is not the right one, number %u", i);
        keys[i] = (struct jwt_key_file){ .path = put_text(name, text) };
    }
    keys[JWT_TRIES] = (struct jwt_key_file){ .path = path };
    char *token = good(JWT_HS256, "{}");
    struct jwt *j = verifier_of((struct jwt_config){ .keys = keys, .key_count = JWT_TRIES + 1 }, &report);
    check("the ninth", verify(j, token), JWT_SIGNATURE);
    jwt_unref(j);
    j = verifier_of((struct jwt_config){ .keys = keys + 1, .key_count = JWT_TRIES }, &report);
    check("the eighth", verify(j, token), JWT_OK);
    jwt_unref(j);
    free(token);
    for (unsigned i = 0; i <= JWT_TRIES; i++)
        free((void *)keys[i].path);
}
END_TEST

/* ---- JWK Sets */

#define A_KEY \
    "{\"kty\":\"oct\",\"kid\":\"good\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg\"}"
#define ON_CURVE \
    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\""
#define K32 "\"k\":\"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg\""

static const struct {
    const char *name, *jwk, *why;
} garbage[] = {
    { "null", "null", "is not a JSON object" },
    { "a number", "5", "is not a JSON object" },
    { "a list", "[]", "is not a JSON object" },
    { "nothing in it", "{}", "has no kty" },
    { "kty a number", "{\"kty\":1}", "has no kty" },
    { "kty unknown", "{\"kty\":\"AKP\"}", "has a kty that is not supported" },
    { "kty OKP", "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
      "has a kty that is not supported" },
    { "use enc", "{\"kty\":\"oct\",\"use\":\"enc\"," K32 "}", "is not for signatures" },
    { "use a number", "{\"kty\":\"oct\",\"use\":1," K32 "}", "is not for signatures" },
    { "key_ops for something else", "{\"kty\":\"oct\",\"key_ops\":[\"encrypt\"]," K32 "}", "is not for signatures" },
    { "key_ops a string", "{\"kty\":\"oct\",\"key_ops\":\"verify\"," K32 "}", "is not for signatures" },
    { "key_ops empty", "{\"kty\":\"oct\",\"key_ops\":[]," K32 "}", "is not for signatures" },
    { "kid a number", "{\"kty\":\"oct\",\"kid\":1," K32 "}", "has a kid" },
    { "kid empty", "{\"kty\":\"oct\",\"kid\":\"\"," K32 "}", "has a kid" },
    { "alg a number", "{\"kty\":\"oct\",\"alg\":1," K32 "}", "has an alg that is not a string" },
    { "alg none", "{\"kty\":\"oct\",\"alg\":\"none\"," K32 "}", "not supported" },
    { "alg for encryption", "{\"kty\":\"RSA\",\"alg\":\"RSA-OAEP\",\"e\":\"AQAB\",\"n\":\"AAAA\"}", "is" },
    { "alg of another kind", "{\"kty\":\"oct\",\"alg\":\"RS256\"," K32 "}", "does not fit" },
    { "alg with a longer hash than the secret", "{\"kty\":\"oct\",\"alg\":\"HS512\"," K32 "}", "does not fit" },
    { "alg of another curve", "{\"kty\":\"EC\",\"alg\":\"ES384\",\"crv\":\"P-256\"," ON_CURVE "}", "does not fit" },
    { "a secret that is missing", "{\"kty\":\"oct\"}", "without k" },
    { "a secret that is empty", "{\"kty\":\"oct\",\"k\":\"\"}", "without k" },
    { "a secret with padding", "{\"kty\":\"oct\",\"k\":\"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg=\"}",
      "without k" },
    { "a secret of 31 bytes", "{\"kty\":\"oct\",\"k\":\"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcQ\"}", "too short" },
    { "a curve that is missing", "{\"kty\":\"EC\"," ON_CURVE "}", "curve" },
    { "a curve that is unknown", "{\"kty\":\"EC\",\"crv\":\"secp256k1\"," ON_CURVE "}", "curve" },
    { "a point beside the curve",
      "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4\"}",
      "no valid key" },
    { "the point of all zeros",
      "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
      "no valid key" },
    { "a point that is too short", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83O\",\"y\":\"x_FE\"}", "no valid key" },
    { "a point of another curve", "{\"kty\":\"EC\",\"crv\":\"P-384\"," ON_CURVE "}", "no valid key" },
    { "no y", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"}",
      "without x and y" },
    { "RSA without n", "{\"kty\":\"RSA\",\"e\":\"AQAB\"}", "without n and e" },
    { "RSA without e", "{\"kty\":\"RSA\",\"n\":\"AQAB\"}", "without n and e" },
    { "RSA with a short n", "{\"kty\":\"RSA\",\"n\":\"n4EPtAOCc9Al\",\"e\":\"AQAB\"}", "too short" },
    { "RSA with the exponent 1", "{\"kty\":\"RSA\",\"e\":\"AQ\",\"n\":\"AQAB\"}", "cannot be" },
    { "RSA with an even exponent", "{\"kty\":\"RSA\",\"e\":\"Ag\",\"n\":\"AQAB\"}", "cannot be" },
    { "RSA with an exponent of 65 bits", "{\"kty\":\"RSA\",\"e\":\"AQAAAAAAAAAB\",\"n\":\"AQAB\"}", "cannot be" },
    { "RSA with the exponent 0", "{\"kty\":\"RSA\",\"e\":\"AA\",\"n\":\"AQAB\"}", "cannot be" },
    { "RSA with an even n", "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"AQAC\"}", "cannot be" },
    { "the kid and algorithm of the key before it", A_KEY, "has the kid of a key before it" },
};

START_TEST(a_key_that_cannot_be_used_is_skipped_counted_and_named)
{
    struct jwt_report report;
    struct buf set = { 0 };
    buf_printf(&set, "{\"keys\":[" A_KEY ",%s]}", garbage[_i].jwk);
    char *path = put_file("set.json", set.data, set.len, 0600);
    struct jwt_key_file key = { .path = path };
    struct jwt *j = verifier_of((struct jwt_config){ .keys = &key, .key_count = 1 }, &report);
    ck_assert_uint_eq(report.keys, 1);
    ck_assert_uint_eq(report.skipped, 1);
    ck_assert_uint_eq(report.warning_count, 1);
    ck_assert_msg(strstr(report.warnings[0], "set.json: 1 of 2 keys in it are not used: key 2") != NULL &&
                      strstr(report.warnings[0], garbage[_i].why) != NULL,
                  "%s: %s", garbage[_i].name, report.warnings[0]);
    char *token = forge("{\"alg\":\"HS512\",\"kid\":\"good\"}", "{}", JWT_HS512);
    check(garbage[_i].name, verify(j, token), JWT_OK);
    free(token);
    jwt_unref(j);
    j = NULL;
    buf_reset(&set);
    buf_printf(&set, "{\"keys\":[%s]}", garbage[_i].jwk); /* and when there is no other */
    free(put_file("set.json", set.data, set.len, 0600));
    if (strcmp(garbage[_i].jwk, A_KEY) != 0) {
        ck_assert_int_eq(jwt_new(&(struct jwt_config){ .keys = &key, .key_count = 1 }, &j, &report), -EINVAL);
        ck_assert_ptr_nonnull(strstr(report.error, "set.json: none of the 1 keys in it can be used: key 1"));
        ck_assert_ptr_null(j);
    }
    buf_done(&set);
    free(path);
}
END_TEST

START_TEST(a_set_may_hold_64_keys)
{
    struct jwt_report report;
    struct buf set = { 0 };
    buf_str(&set, "{\"keys\":[");
    for (int i = 0; i < 66; i++)
        buf_printf(&set, "%s{\"kty\":\"oct\",\"kid\":\"%d\"," K32 "}", i > 0 ? "," : "", i);
    buf_str(&set, "]}");
    char *path = put_file("many.json", set.data, set.len, 0600);
    struct jwt_key_file key = { .path = path };
    struct jwt *j = verifier_of((struct jwt_config){ .keys = &key, .key_count = 1 }, &report);
    ck_assert_uint_eq(report.keys, 64);
    ck_assert_uint_eq(report.skipped, 2);
    jwt_unref(j);
    buf_done(&set);
    free(path);
}
END_TEST

/* ---- files */

enum { FINE, REFUSED };

static const struct {
    const char *name, *content;
    size_t len; /* 0: as a text */
    mode_t mode;
    int want;
    const char *says; /* in the error, or in the first warning; "" none */
} files[] = {
    { "a secret of 32 bytes", "0123456789abcdef0123456789abcdef", 0, 0600, FINE, "" },
    { "a secret of 31 bytes", "0123456789abcdef0123456789abcde", 0, 0600, REFUSED, "at least 32 bytes" },
    { "a secret of 31 bytes and a newline", "0123456789abcdef0123456789abcde\n", 0, 0600, REFUSED,
      "at least 32 bytes" },
    { "binary: a newline at the end counts", "0123456789abcdef0123456789abcd\x01\n", 0, 0600, FINE, "" },
    { "binary: a brace at the start", "{\x00\x01 3456789abcdef0123456789abcdef", 32, 0600, FINE, "" },
    { "empty", "", 0, 0600, REFUSED, "is empty" },
    { "a newline alone", "\n", 0, 0600, REFUSED, "at least 32 bytes" },
    { "a secret that all may read", "0123456789abcdef0123456789abcdef", 0, 0644, FINE,
      "may read this secret (mode 0644)" },
    { "a secret that the group may read", "0123456789abcdef0123456789abcdef", 0, 0640, FINE, "" },
    { "a secret that all may change", "0123456789abcdef0123456789abcdef", 0, 0602, FINE,
      "may change this key (mode 0602)" },
    { "broken JSON", "{\"keys\":[", 0, 0600, REFUSED, "begins as JSON, but is none" },
    { "a text that begins with a brace", "{0123456789abcdef0123456789abcdef", 0, 0600, REFUSED,
      "begins as JSON, but is none" },
    { "broken JSON behind white space", " \r\n\t{\"keys\":[", 0, 0600, REFUSED, "begins as JSON" },
    { "a set behind a byte order mark", "\xef\xbb\xbf{\"keys\":[" A_KEY "]}", 0, 0600, FINE, "" },
    { "JSON of another kind", "{\"secret\":\"0123456789abcdef0123456789abcdef\"}", 0, 0600, REFUSED,
      "neither a JWK Set" },
    { "a JSON list", "[\"0123456789abcdef0123456789abcdef\"]", 0, 0600, REFUSED, "neither a JWK Set" },
    { "an empty set", "{\"keys\":[]}", 0, 0600, REFUSED, "has no keys" },
    { "a set whose keys are no list", "{\"keys\":{}}", 0, 0600, REFUSED, "is not an array" },
    { "a set with a member twice", "{\"keys\":[],\"keys\":[" A_KEY "]}", 0, 0600, REFUSED, "has a member twice" },
    { "a set with a secret that all may read", "{\"keys\":[" A_KEY "]}", 0, 0644, FINE, "may read this secret" },
    { "a set of public keys that all may read", "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\"," ON_CURVE "}]}", 0, 0644,
      FINE, "" },
    { "PEM with nothing in it", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", 0, 0600, REFUSED,
      "no key can be read" },
    { "PEM of another thing", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", 0, 0600,
      REFUSED, "no key can be read" },
    { "an OpenSSH key", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 me@here and more of it", 0, 0600, REFUSED,
      "not in PEM" },
};

static int load(const char *path, struct jwt_report *report)
{
    struct jwt *j = NULL;
    struct jwt_key_file key = { .path = path };
    int r = jwt_new(&(struct jwt_config){ .keys = &key, .key_count = 1 }, &j, report);
    HOLDS((r == 0) == (j != NULL) && (r == 0) == (report->error[0] == '\0'));
    jwt_unref(j);
    return r;
}

START_TEST(a_key_file_is_taken_by_its_content)
{
    struct jwt_report report;
    size_t len = files[_i].len > 0 ? files[_i].len : strlen(files[_i].content);
    char *path = put_file("file", files[_i].content, len, files[_i].mode);
    int r = load(path, &report);
    ck_assert_msg((r == 0) == (files[_i].want == FINE), "%s: %d: %s", files[_i].name, r, report.error);
    const char *said = r != 0 ? report.error : report.warning_count > 0 ? report.warnings[0] : "";
    ck_assert_msg(*files[_i].says == '\0' ? *said == '\0' : strstr(said, files[_i].says) != NULL, "%s: '%s'",
                  files[_i].name, said);
    ck_assert_msg(*said == '\0' || strncmp(said, path, strlen(path)) == 0, "%s names its file: %s", files[_i].name,
                  said);
    ck_assert_msg(strstr(said, "0123456789") == NULL, "%s: a secret in a message: %s", files[_i].name, said);
    free(path);
}
END_TEST

START_TEST(the_newline_behind_a_text_is_no_part_of_the_secret)
{
    static const char *const ends[] = { "", "\n", "\r\n" };
    char *token = good(JWT_HS256, "{}"), text[128];
    for (size_t i = 0; i < HLY_ARRAY_LEN(ends); i++) {
        snprintf(text, sizeof text, "%s%s", secret, ends[i]);
        free(put_text("newline", text));
        struct jwt *j = verifier("newline");
        check("newline", verify(j, token), JWT_OK);
        jwt_unref(j);
    }
    snprintf(text, sizeof text, "%s\n\n", secret);
    free(put_text("newline", text));
    struct jwt *j = verifier("newline");
    check("two newlines: one is a part", verify(j, token), JWT_SIGNATURE);
    jwt_unref(j);
    free(token);
}
END_TEST

/* Taken as an HMAC secret, each of these would be a secret that everybody knows. */
START_TEST(a_public_key_that_is_not_in_pem_is_refused)
{
    EVP_PKEY *const keys[] = { rsa, p256, p521, ed25519 };
    struct jwt_report report;
    uint8_t *der = NULL;
    char text[4096] = "";
    int len = i2d_PUBKEY(keys[_i], &der);
    char *path = put_file("der", der, (size_t)len, 0600);
    ck_assert_int_eq(load(path, &report), -EINVAL);
    ck_assert_ptr_nonnull(strstr(report.error, "not in PEM"));
    int digits = EVP_EncodeBlock((uint8_t *)text, der, len);
    memmove(text + 41, text + 40, (size_t)digits - 39); /* broken into lines, as in PEM */
    text[40] = '\n';
    free(put_text("der", text));
    ck_assert_int_eq(load(path, &report), -EINVAL);
    ck_assert_ptr_nonnull(strstr(report.error, "not in PEM"));
    OPENSSL_free(der);
    free(path);
}
END_TEST

static const struct {
    const char *file;
    int want;
    const char *says;
} pems[] = {
    { "rsa.pem", FINE, "" },
    { "rsa.pub", FINE, "" },
    { "rsa.crt", FINE, "" },
    { "p256.pem", FINE, "" },
    { "p521.pub", FINE, "" },
    { "short_rsa.pub", REFUSED, "at least 2048 bits" },
    { "ed25519.pub", REFUSED, "ED25519" },
    { "ed25519.pem", REFUSED, "ED25519" },
    { "missing", REFUSED, "No such file" },
    { ".", REFUSED, "is a directory" },
};

START_TEST(a_pem_file_is_taken_or_refused)
{
    struct jwt_report report;
    char *path = path_of(pems[_i].file);
    int r = load(path, &report);
    ck_assert_msg((r == 0) == (pems[_i].want == FINE), "%s: %d: %s", pems[_i].file, r, report.error);
    ck_assert_msg(strstr(report.error, pems[_i].says) != NULL, "%s: %s", pems[_i].file, report.error);
    ck_assert_uint_eq(report.warning_count, 0);
    free(path);
}
END_TEST

static int passphrase(char *out, int size, int is_writing, void *ctx)
{
    (void)is_writing, (void)ctx;
    return snprintf(out, (size_t)size, "passphrase");
}

START_TEST(other_pem_forms_are_read_and_an_encrypted_one_is_not_asked_for)
{
    struct jwt_report report;
    BIO *b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(b, rsa, EVP_aes_128_cbc(), NULL, 0, passphrase, NULL);
    put_bio("encrypted.pem", b);
    char *path = path_of("encrypted.pem");
    ck_assert_int_eq(load(path, &report), -EINVAL);
    ck_assert_ptr_nonnull(strstr(report.error, "not encrypted"));
    free(path);
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey_traditional(b, p256, NULL, NULL, 0, NULL, NULL); /* BEGIN EC PRIVATE KEY */
    put_bio("sec1.pem", b);
    path = path_of("sec1.pem");
    ck_assert_int_eq(load(path, &report), 0);
    free(path);
    char big[JWT_KEY_FILE_MAX + 1];
    memset(big, 'x', sizeof big);
    path = put_file("big", big, sizeof big, 0600);
    ck_assert_int_eq(load(path, &report), -EINVAL);
    ck_assert_ptr_nonnull(strstr(report.error, "is larger than"));
    free(path);
    path = put_file("long", big, JWT_SECRET_MAX + 1, 0600);
    ck_assert_int_eq(load(path, &report), -EINVAL);
    ck_assert_ptr_nonnull(strstr(report.error, "at most 4096 bytes"));
    free(path);
}
END_TEST

START_TEST(a_configuration_that_makes_no_sense_is_refused)
{
    struct jwt_report report;
    struct jwt *j = NULL;
    char *path = path_of("rsa.pub"), *set = put_text("set", "{\"keys\":[" A_KEY "]}"),
         *private_key = path_of("rsa.pem");
    const struct {
        struct jwt_key_file key;
        size_t count;
        uint32_t leeway_s;
        const char *says;
    } cases[] = {
        { { path, NULL, NULL, false }, 0, 0, "name a key file" }, { { path, NULL, NULL, false }, 1, 3601, "leeway" },
        { { path, "", NULL, false }, 1, 0, "1 to 255 bytes" },    { { path, NULL, "HS256", false }, 1, 0, "does not fit" },
        { { path, NULL, "none", false }, 1, 0, "not supported" }, { { path, NULL, "", false }, 1, 0, "not supported" },
        { { set, "a", NULL, false }, 1, 0, "is a JWK Set" },      { { set, NULL, "HS256", false }, 1, 0, "is a JWK Set" },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(cases); i++) {
        struct jwt_config c = { .keys = &cases[i].key, .key_count = cases[i].count, .leeway_s = cases[i].leeway_s };
        ck_assert_int_eq(jwt_new(&c, &j, &report), -EINVAL);
        ck_assert_msg(strstr(report.error, cases[i].says) != NULL, "%zu: %s", i, report.error);
    }
    ck_assert_int_eq(chmod(private_key, 0644), 0);
    ck_assert_int_eq(load(private_key, &report), 0);
    ck_assert_ptr_nonnull(strstr(report.warnings[0], "may read this secret"));
    ck_assert_int_eq(chmod(private_key, 0600), 0);
    free(path);
    free(set);
    free(private_key);
}
END_TEST

/* ---- making them */

START_TEST(what_is_made_is_accepted_by_the_public_key)
{
    enum jwt_algorithm a = (enum jwt_algorithm)_i;
    static const char *const patterns[] = { "chat/**", "b" };
    struct jwt_report report;
    char *path = path_of(private_file(a)), *text = NULL;
    struct jwt_key_file key = { path, "k-1", jwt_algorithm_name(a), false };
    struct jwt_claims c = { .subject = "ada",
                            .id = "t-1",
                            .issued_s = NOW_S,
                            .not_before_s = NOW_S,
                            .expires_s = NOW_S + 60,
                            .subscribe = { patterns, 2 },
                            .publish = { patterns, 1 },
                            .auto_names = { patterns + 1, 1 },
                            .info = " { \"name\" : \"Ada\" } " };
    ck_assert_msg(jwt_make(&key, &c, &text, &report) == 0, "%s", report.error);
    struct jwt *j = verifier(public_file(a));
    struct token *t;
    check(jwt_algorithm_name(a), verify_at(j, TEXT(text), NOW_MS, &t), JWT_OK);
    ck_assert_str_eq(t->subject, "ada");
    ck_assert_str_eq(t->id, "t-1");
    ck_assert_uint_eq(t->expires_ms, NOW_MS + 60000);
    ck_assert_uint_eq(t->subscribe.count, 2);
    ck_assert_str_eq(t->auto_names.names[0].ptr, "b");
    ck_assert_str_eq(t->info.ptr, "{\"name\":\"Ada\"}");
    token_unref(t);
    jwt_unref(j);
    free(text);
    free(path);
}
END_TEST

START_TEST(what_would_be_refused_is_not_made)
{
    static const char *const bad[] = { "a*b" }, *const latin[] = { "\xe9" };
    char long_text[300], *path = path_of("secret"), *public_path = path_of("rsa.pub"), *text = NULL;
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    const char *many[400];
    for (size_t i = 0; i < HLY_ARRAY_LEN(many); i++)
        many[i] = i < 200 ? long_text + 100 : "a";
    const struct {
        struct jwt_key_file key;
        struct jwt_claims claims;
        const char *says;
    } cases[] = {
        { { path, NULL, NULL, false }, { .subscribe = { bad, 1 } }, "'a*b' cannot be in subscribe" },
        { { path, NULL, NULL, false }, { .publish = { bad, 1 } }, "'a*b' cannot be in publish" },
        { { path, NULL, NULL, false }, { .auto_names = { bad, 1 } }, "'a*b' cannot be in auto" },
        { { path, NULL, NULL, false }, { .subscribe = { many + 100, 257 } }, "256 patterns" },
        { { path, NULL, NULL, false }, { .subscribe = { many, 60 } }, "longer than 8192 bytes" },
        { { path, NULL, NULL, false }, { .subject = long_text }, "sub" },
        { { path, NULL, NULL, false }, { .subject = "\xff" }, "subject is not UTF-8" },
        { { path, NULL, NULL, false }, { .audiences = { latin, 1 } }, "audience is not UTF-8" },
        { { path, "\xff", NULL, false }, { 0 }, "kid is not UTF-8" },
        { { path, NULL, NULL, false }, { .info = "{\"a\"" }, "not JSON" },
        { { path, NULL, NULL, false }, { .info = "[]" }, "not a JSON object" },
        { { path, NULL, "RS256", false }, { 0 }, "kid and algorithm" },
        { { path, NULL, "none", false }, { 0 }, "there is no algorithm 'none'" },
        { { public_path, NULL, NULL, false }, { 0 }, "is a public key" },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(cases); i++) {
        struct jwt_report report;
        ck_assert_int_lt(jwt_make(&cases[i].key, &cases[i].claims, &text, &report), 0);
        ck_assert_msg(strstr(report.error, cases[i].says) != NULL, "%zu: %s", i, report.error);
        ck_assert_ptr_null(text);
    }
    free(path);
    free(public_path);
}
END_TEST

START_TEST(a_key_of_a_set_is_chosen_by_kid_and_algorithm)
{
    struct jwt_report report;
    char *path = put_text("signing", "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"a\"," K32 "}," A_KEY "]}"), *text = NULL;
    struct jwt_key_file key = { path, "good", "HS512", false };
    ck_assert_int_eq(jwt_make(&key, &(struct jwt_claims){ 0 }, &text, &report), 0);
    struct jwt *j = verifier("secret"); /* the same bytes */
    check("good", verify(j, text), JWT_OK);
    free(text);
    text = NULL;
    jwt_unref(j);
    key.kid = "b";
    ck_assert_int_eq(jwt_make(&key, &(struct jwt_claims){ 0 }, &text, &report), -EINVAL);
    free(path);
}
END_TEST

/* ---- the rest */

START_TEST(every_error_has_a_stable_name_and_two_sentences)
{
    for (enum jwt_error e = 0; e < JWT_ERROR_COUNT; e++) {
        for (enum jwt_error other = 0; other < e; other++) {
            ck_assert_str_ne(jwt_error_name(e), jwt_error_name(other));
            ck_assert_str_ne(jwt_error_text(e), jwt_error_text(other));
        }
        size_t len = strlen(jwt_error_text(e));
        ck_assert(len > 0 && jwt_error_text(e)[len - 1] != '.');
        ck_assert_uint_le(len, 123); /* a close frame's reason (RFC 6455 5.5) */
        ck_assert(jwt_error_operator(e)[strlen(jwt_error_operator(e)) - 1] == '.');
    }
}
END_TEST

static struct {
    struct jwt *verifiers[3];
    char *tokens[3], *forged[3];
} shared;

static void *verify_often(void *ctx)
{
    for (int i = 0; i < (IS_SANITIZED ? 20 : 100); i++)
        for (size_t k = 0; k < 3; k++) {
            struct token *t = NULL;
            struct jwt *j = jwt_ref(shared.verifiers[k]);
            if (jwt_verify(j, TEXT(shared.tokens[k]), NOW_MS, &t) != JWT_OK || strcmp(t->subject, "ada") != 0 ||
                jwt_verify(j, TEXT(shared.forged[k]), NOW_MS, &t) != JWT_SIGNATURE)
                *(bool *)ctx = true;
            token_unref(t);
            jwt_unref(j);
        }
    return NULL;
}

START_TEST(threads_check_tokens_with_one_verifier)
{
    static const enum jwt_algorithm with[] = { JWT_HS256, JWT_RS256, JWT_ES256 };
    pthread_t threads[4];
    bool failed[4] = { false };
    for (size_t k = 0; k < 3; k++) {
        shared.verifiers[k] = verifier(public_file(with[k]));
        shared.tokens[k] = good(with[k], "{\"sub\":\"ada\"}");
        shared.forged[k] = good(with[k], "{\"sub\":\"ada\"}");
        char *digit = strrchr(shared.forged[k], '.') + 5;
        *digit = *digit == 'A' ? 'B' : 'A';
    }
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, verify_often, &failed[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        ck_assert(!failed[i]);
    }
    for (size_t k = 0; k < 3; k++) {
        jwt_unref(shared.verifiers[k]);
        free(shared.tokens[k]);
        free(shared.forged[k]);
    }
}
END_TEST

int main(void)
{
    make_keys();
    Suite *s = suite_create("jwt");
    TCase *t = tcase_create("jwt");
    tcase_add_loop_test(t, each_algorithm_is_accepted_with_its_private_key_and_with_its_public_one, 0,
                        JWT_ALGORITHM_COUNT);
    tcase_add_loop_test(t, a_key_is_for_its_own_algorithms_alone, 0, JWT_ALGORITHM_COUNT);
    tcase_add_loop_test(t, a_key_may_be_pinned_to_one_algorithm, 0, JWT_ALGORITHM_COUNT);
    tcase_add_test(t, what_a_token_grants_is_read_from_it);
    tcase_add_test(t, an_empty_token_grants_nothing_and_never_expires);
    tcase_add_loop_test(t, tokens_of_the_standards_are_judged_as_they_say, 0, HLY_ARRAY_LEN(vectors));
    tcase_add_loop_test(t, a_header_is_accepted_or_refused, 0, HLY_ARRAY_LEN(headers));
    tcase_add_loop_test(t, what_is_no_token_is_refused, 0, HLY_ARRAY_LEN(malformed));
    tcase_add_loop_test(t, a_public_key_is_never_a_secret, 0, 3);
    tcase_add_loop_test(t, the_key_of_another_signs_nothing, 0, 4);
    tcase_add_test(t, an_ecdsa_signature_has_one_form);
    tcase_add_test(t, an_rsa_signature_is_as_long_as_its_key);
    tcase_add_loop_test(t, a_token_with_a_changed_byte_is_refused, 0, 3);
    tcase_add_test(t, a_token_has_at_most_8192_bytes);
    tcase_add_loop_test(t, a_claim_is_accepted_or_refused_by_its_own_name, 0, HLY_ARRAY_LEN(claims));
    tcase_add_loop_test(t, a_claim_has_its_largest_size, 0, HLY_ARRAY_LEN(sizes));
    tcase_add_loop_test(t, issuer_audience_and_clock_are_held_against_the_configuration, 0, HLY_ARRAY_LEN(expected));
    tcase_add_loop_test(t, a_token_is_checked_with_the_key_that_it_names, 0, HLY_ARRAY_LEN(kids));
    tcase_add_test(t, two_keys_with_one_kid_for_the_same_tokens_are_a_mistake);
    tcase_add_test(t, a_token_without_a_kid_is_tried_with_a_few_keys);
    tcase_add_loop_test(t, a_key_that_cannot_be_used_is_skipped_counted_and_named, 0, HLY_ARRAY_LEN(garbage));
    tcase_add_test(t, a_set_may_hold_64_keys);
    tcase_add_loop_test(t, a_key_file_is_taken_by_its_content, 0, HLY_ARRAY_LEN(files));
    tcase_add_test(t, the_newline_behind_a_text_is_no_part_of_the_secret);
    tcase_add_loop_test(t, a_public_key_that_is_not_in_pem_is_refused, 0, 4);
    tcase_add_loop_test(t, a_pem_file_is_taken_or_refused, 0, HLY_ARRAY_LEN(pems));
    tcase_add_test(t, other_pem_forms_are_read_and_an_encrypted_one_is_not_asked_for);
    tcase_add_test(t, a_configuration_that_makes_no_sense_is_refused);
    tcase_add_loop_test(t, what_is_made_is_accepted_by_the_public_key, 0, JWT_ALGORITHM_COUNT);
    tcase_add_test(t, what_would_be_refused_is_not_made);
    tcase_add_test(t, a_key_of_a_set_is_chosen_by_kid_and_algorithm);
    tcase_add_test(t, every_error_has_a_stable_name_and_two_sentences);
    tcase_add_test(t, threads_check_tokens_with_one_verifier);
    tcase_set_timeout(t, 30);
    suite_add_tcase(s, t);
    int r = run_suite(s);
    remove_files();
    return r;
}
