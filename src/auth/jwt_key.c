#include "auth/jwt_key.h"

#include <cjose/jwk.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "auth/jwt_text.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/slice.h"
#include "base/utf8.h"

/* ---- algorithms */

enum key_type { KEY_OCT, KEY_RSA, KEY_EC };

static const struct {
    const char *name;
    enum key_type type;
    size_t hash_bytes;
    const char *curve;
} algorithms[] = {
#define AS_ROW(name, type, bytes, curve) [JWT_##name] = { #name, KEY_##type, bytes, curve },
    JWT_ALGORITHMS(AS_ROW)
#undef AS_ROW
};

const char *jwt_algorithm_name(enum jwt_algorithm a)
{
    return algorithms[a].name;
}

enum jwt_algorithm jwt_algorithm_find(struct slice name)
{
    enum jwt_algorithm a = 0;
    while (a < JWT_ALGORITHM_COUNT && !slice_equals(name, algorithms[a].name))
        a++;
    return a;
}

size_t jwt_key_signature_bytes(const struct jwt_key *key, enum jwt_algorithm a)
{
    size_t key_bytes = (cjose_jwk_get_keysize(key->jwk, NULL) + 7) / 8;
    switch (algorithms[a].type) {
    case KEY_OCT:
        return algorithms[a].hash_bytes;
    case KEY_RSA:
        return key_bytes;
    case KEY_EC:
        return 2 * key_bytes; /* r and s, each as long as the field (RFC 7518 3.4) */
    }
    return 0;
}

/* ---- a file being loaded */

struct loading {
    const struct jwt_key_file *file;
    enum jwt_key_use use;
    struct jwt_keys *keys;
    struct jwt_report *report;
    bool has_secret;  /* what was read must not be known to everyone */
    unsigned skipped; /* of this file */
    unsigned found;   /* keys in this file, skipped ones included */
    char first_skipped[320];
};

static int fail(struct loading *l, const char *fmt, ...) HLY_PRINTF(2, 3);
static int fail(struct loading *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(l->report->error, sizeof l->report->error, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static int no_memory(struct loading *l)
{
    fail(l, "%s: out of memory.", l->file->path);
    return -ENOMEM;
}

static void warn(struct loading *l, const char *fmt, ...) HLY_PRINTF(2, 3);
static void warn(struct loading *l, const char *fmt, ...)
{
    struct jwt_report *r = l->report;
    if (r->warning_count == JWT_WARNINGS_MAX)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->warnings[r->warning_count++], sizeof r->warnings[0], fmt, ap);
    va_end(ap);
}

/* ---- keys: from here on `why` is half a sentence that begins with the file or the key */

/* The algorithms that a key may have: those of its type, and of these the one that is named. */
static const char *pin(struct jwt_key *key, unsigned fitting, const char *alg)
{
    key->algorithms = fitting;
    if (alg == NULL)
        return NULL;
    enum jwt_algorithm a = jwt_algorithm_find((struct slice){ alg, strlen(alg) });
    if (a == JWT_ALGORITHM_COUNT)
        return "is for an algorithm that is not supported: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, "
               "ES256, ES384 and ES512 are";
    key->algorithms &= 1u << a;
    return key->algorithms != 0
               ? NULL
               : "does not fit the algorithm that it is for: HS256, HS384 and HS512 take a secret of at "
                 "least 32, 48 and 64 bytes, RS and PS an RSA key, ES256, ES384 and ES512 an EC key on "
                 "P-256, P-384 and P-521";
}

static unsigned fitting_algorithms(enum key_type type, size_t secret_bytes, const char *curve)
{
    unsigned fitting = 0;
    for (enum jwt_algorithm a = 0; a < JWT_ALGORITHM_COUNT; a++)
        if (algorithms[a].type == type && (type != KEY_OCT || algorithms[a].hash_bytes <= secret_bytes) &&
            (type != KEY_EC || strcmp(algorithms[a].curve, curve) == 0))
            fitting |= 1u << a;
    return fitting;
}

static const char *key_from_secret(struct slice secret, const char *alg, struct jwt_key *ret_key)
{
    if (secret.len < JWT_SECRET_MIN)
        return "is too short for an HMAC secret: it must have at least 32 bytes, as from: openssl rand -base64 48";
    if (secret.len > JWT_SECRET_MAX)
        return "is too long for an HMAC secret: it may have at most 4096 bytes";
    ret_key->jwk = cjose_jwk_create_oct_spec((const uint8_t *)secret.ptr, secret.len, NULL);
    if (ret_key->jwk == NULL)
        return "cannot be used: out of memory";
    return pin(ret_key, fitting_algorithms(KEY_OCT, secret.len, ""), alg);
}

static struct slice text_of(const json_t *string)
{
    return (struct slice){ json_string_value(string), json_string_length(string) };
}

static bool member_is_base64url(const json_t *jwk, const char *name)
{
    const json_t *value = json_object_get(jwk, name);
    return json_is_string(value) && base64url_is_canonical(text_of(value));
}

/* Is the number odd and above 1, and of how many bits? 0: it is not. For modulus and exponent of RSA: with the exponent 1
 * every message is its own signature. */
static size_t odd_bits(const json_t *jwk, const char *name)
{
    HLY_CLEANUP(buf_done) struct buf number = { 0 };
    base64url_decode(text_of(json_object_get(jwk, name)), &number);
    size_t at = 0;
    while (at < number.len && number.data[at] == 0)
        at++;
    if (at == number.len || (number.data[number.len - 1] & 1) == 0)
        return 0;
    size_t bits = (number.len - at) * 8;
    for (unsigned top = number.data[at]; top < 0x80; top <<= 1)
        bits--;
    return bits > 1 ? bits : 0;
}

static const char *check_rsa(const json_t *jwk)
{
    if (!member_is_base64url(jwk, "n") || !member_is_base64url(jwk, "e"))
        return "is an RSA key without n and e in base64url";
    size_t bits = odd_bits(jwk, "n"), exponent_bits = odd_bits(jwk, "e");
    if (bits == 0 || exponent_bits == 0 || exponent_bits > 64)
        return "is an RSA key with numbers that cannot be: n and e are odd, and e is at least 3 and at most 64 bits long";
    if (bits < JWT_RSA_MIN_BITS)
        return "is too short for RSA: it must have at least 2048 bits";
    return bits <= JWT_RSA_MAX_BITS ? NULL : "is too long for RSA: it may have at most 8192 bits";
}

static const char *check_ec(const json_t *jwk, unsigned *ret_fitting)
{
    const char *curve = json_string_value(json_object_get(jwk, "crv"));
    *ret_fitting = fitting_algorithms(KEY_EC, 0, curve != NULL ? curve : "");
    if (*ret_fitting == 0)
        return "is an EC key on a curve that is not supported: P-256, P-384 and P-521 are";
    if (!member_is_base64url(jwk, "x") || !member_is_base64url(jwk, "y"))
        return "is an EC key without x and y in base64url";
    return NULL;
}

/* A JWK with only the members that cjose needs, so that a private key that is only to verify never gets into it. */
static json_t *jwk_needed(const json_t *jwk, enum jwt_key_use use)
{
    static const char *const public_members[] = { "kty", "n", "e", "crv", "x", "y" };
    static const char *const private_members[] = { "d", "p", "q", "dp", "dq", "qi" };
    json_t *needed = json_object();
    for (size_t i = 0; i < HLY_ARRAY_LEN(public_members); i++)
        json_object_set(needed, public_members[i], json_object_get(jwk, public_members[i]));
    for (size_t i = 0; use == JWT_TO_SIGN && i < HLY_ARRAY_LEN(private_members); i++)
        json_object_set(needed, private_members[i], json_object_get(jwk, private_members[i]));
    return needed;
}

static const char *key_from_numbers(const json_t *jwk, enum jwt_key_use use, const char *alg, struct jwt_key *ret_key)
{
    bool is_rsa = slice_equals(text_of(json_object_get(jwk, "kty")), "RSA");
    unsigned fitting = fitting_algorithms(KEY_RSA, 0, "");
    const char *why = is_rsa ? check_rsa(jwk) : check_ec(jwk, &fitting);
    if (why == NULL && use == JWT_TO_SIGN && !member_is_base64url(jwk, "d"))
        why = "is a public key: to sign, its private key is needed";
    if (why != NULL)
        return why;
    json_t *needed = jwk_needed(jwk, use);
    ret_key->jwk = cjose_jwk_import_json(needed, NULL);
    json_decref(needed);
    if (ret_key->jwk == NULL)
        return "is no valid key: its numbers do not make a point on the curve, or are of the wrong length";
    return pin(ret_key, fitting, alg);
}

/* ---- JWK Sets (RFC 7517) */

/* Is it for signatures? Whoever may sign with a key may also check with it. */
static bool jwk_is_for_signatures(const json_t *jwk)
{
    const json_t *use = json_object_get(jwk, "use"), *operations = json_object_get(jwk, "key_ops"), *operation;
    if (use != NULL && !slice_equals(text_of(use), "sig"))
        return false;
    if (operations == NULL)
        return true;
    size_t i;
    json_array_foreach(operations, i, operation)
    {
        if (slice_equals(text_of(operation), "verify") || slice_equals(text_of(operation), "sign"))
            return true;
    }
    return false;
}

static const char *take_kid(const json_t *jwk, struct jwt_key *ret_key)
{
    const json_t *kid = json_object_get(jwk, "kid");
    if (kid == NULL)
        return NULL;
    struct slice text = text_of(kid);
    if (!json_is_string(kid) || text.len == 0 || text.len > JWT_KID_MAX || memchr(text.ptr, '\0', text.len) != NULL)
        return "has a kid that is not a string of 1 to 255 bytes";
    ret_key->kid = slice_dup(text);
    return ret_key->kid != NULL ? NULL : "cannot be used: out of memory";
}

static const char *key_from_jwk(const json_t *jwk, enum jwt_key_use use, struct jwt_key *ret_key)
{
    const json_t *kty = json_object_get(jwk, "kty"), *alg = json_object_get(jwk, "alg");
    const char *why = json_is_object(jwk) ? take_kid(jwk, ret_key) : "is not a JSON object";
    if (why != NULL)
        return why;
    if (!json_is_string(kty))
        return "has no kty";
    if (!jwk_is_for_signatures(jwk))
        return "is not for signatures, by its use or key_ops";
    if (alg != NULL && !json_is_string(alg))
        return "has an alg that is not a string";
    if (slice_equals(text_of(kty), "RSA") || slice_equals(text_of(kty), "EC"))
        return key_from_numbers(jwk, use, json_string_value(alg), ret_key);
    if (!slice_equals(text_of(kty), "oct"))
        return "has a kty that is not supported: RSA, EC and oct are";
    if (!member_is_base64url(jwk, "k"))
        return "is an HMAC secret without k in base64url";
    HLY_CLEANUP(buf_done) struct buf secret = { 0 };
    base64url_decode(text_of(json_object_get(jwk, "k")), &secret);
    why = key_from_secret(buf_slice(&secret), json_string_value(alg), ret_key);
    if (secret.data != NULL)
        OPENSSL_cleanse(secret.data, secret.cap);
    return why;
}

static bool has_secrets(const json_t *jwk)
{
    return json_object_get(jwk, "d") != NULL || json_object_get(jwk, "k") != NULL;
}

/* ---- the set of all keys */

static void key_done(struct jwt_key *key)
{
    if (key->jwk != NULL)
        cjose_jwk_release(key->jwk);
    free(key->kid);
    *key = (struct jwt_key){ 0 };
}

void jwt_keys_done(struct jwt_keys *keys)
{
    while (keys->count > 0)
        key_done(&keys->list[--keys->count]);
}

static bool same_kid(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Two keys that one token could mean by the same kid: one of them is a mistake. Keys without a kid may be many. */
static bool is_ambiguous(const struct jwt_keys *keys, const struct jwt_key *key)
{
    for (size_t i = 0; key->kid != NULL && i < keys->count; i++)
        if (same_kid(keys->list[i].kid, key->kid) && (keys->list[i].algorithms & key->algorithms) != 0)
            return true;
    return false;
}

/* Takes the key. Returns NULL, or why not. */
static const char *add(struct loading *l, struct jwt_key *key)
{
    const char *why = NULL;
    if (is_ambiguous(l->keys, key))
        why = "has the kid of a key before it, for the same algorithm: only the first is used";
    else if (l->keys->count == JWT_KEYS_MAX)
        why = "is one too many: 64 keys can be used";
    if (why == NULL)
        l->keys->list[l->keys->count++] = *key;
    else
        key_done(key);
    *key = (struct jwt_key){ 0 };
    return why;
}

static int add_only(struct loading *l, struct jwt_key *key, const char *why)
{
    if (why == NULL && l->file->kid != NULL && (key->kid = strdup(l->file->kid)) == NULL)
        why = "cannot be used: out of memory";
    if (why == NULL)
        why = add(l, key);
    key_done(key);
    if (why != NULL)
        return fail(l, "%s: the key %s.", l->file->path, why);
    return 0;
}

static void skip(struct loading *l, const json_t *jwk, const char *why)
{
    char kid[80] = "";
    const json_t *name = json_object_get(jwk, "kid");
    if (json_is_string(name))
        log_quote(kid, sizeof kid, json_string_value(name), json_string_length(name));
    if (l->skipped++ == 0)
        snprintf(l->first_skipped, sizeof l->first_skipped, "key %u%s%s %s", l->found, kid[0] != '\0' ? ", kid " : "",
                 kid, why);
}

static int load_jwk_set(struct loading *l, const json_t *set)
{
    const json_t *list = json_object_get(set, "keys"), *jwk;
    if (l->file->kid != NULL || l->file->alg != NULL)
        return fail(l, "%s: is a JWK Set, whose keys bring their own kid and alg: leave them out here.", l->file->path);
    if (list != NULL && !json_is_array(list))
        return fail(l, "%s: is no JWK Set: its \"keys\" is not an array.", l->file->path);
    if (list == NULL && json_object_get(set, "kty") == NULL)
        return fail(l, "%s: is JSON, but neither a JWK Set (it has no \"keys\") nor a JWK (it has no \"kty\").",
                    l->file->path);
    for (size_t i = 0; i < (list != NULL ? json_array_size(list) : 1); i++) {
        struct jwt_key key = { 0 };
        jwk = list != NULL ? json_array_get(list, i) : set;
        l->found++;
        l->has_secret |= has_secrets(jwk);
        const char *why = key_from_jwk(jwk, l->use, &key);
        if (why == NULL)
            why = add(l, &key);
        key_done(&key);
        if (why != NULL)
            skip(l, jwk, why);
    }
    if (l->found == 0)
        return fail(l, "%s: the JWK Set has no keys.", l->file->path);
    if (l->skipped == l->found)
        return fail(l, "%s: none of the %u keys in it can be used: %s.", l->file->path, l->found, l->first_skipped);
    if (l->skipped > 0)
        warn(l, "%s: %u of %u keys in it are not used: %s%s.", l->file->path, l->skipped, l->found, l->first_skipped,
             l->skipped > 1 ? "; and others" : "");
    return 0;
}

/* ---- PEM: the numbers of a key, as a JWK */

static int no_passphrase(char *out, int size, int is_writing, void *ctx)
{
    (void)out, (void)size, (void)is_writing, (void)ctx;
    return -1; /* OpenSSL would ask on the terminal */
}

static EVP_PKEY *read_pem(struct slice text, bool *ret_is_private)
{
    BIO *in = BIO_new_mem_buf(text.ptr, (int)text.len);
    EVP_PKEY *key = NULL;
    X509 *certificate = NULL;
    if (in == NULL)
        return NULL;
    key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
    *ret_is_private = key != NULL;
    if (key == NULL && BIO_reset(in) == 1)
        key = PEM_read_bio_PUBKEY(in, NULL, no_passphrase, NULL);
    if (key == NULL && BIO_reset(in) == 1 && (certificate = PEM_read_bio_X509(in, NULL, no_passphrase, NULL)) != NULL)
        key = X509_get_pubkey(certificate);
    X509_free(certificate);
    BIO_free(in);
    return key;
}

/* Set a member to one of the key's numbers, of at least `bytes` bytes. Does nothing if the key does not have it. */
static void set_number(json_t *jwk, const char *name, const EVP_PKEY *key, const char *parameter, size_t bytes)
{
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    BIGNUM *number = NULL;
    uint8_t raw[JWT_RSA_MAX_BITS / 4]; /* as twice the longest that is used: longer ones are refused by their length */
    if (EVP_PKEY_get_bn_param(key, parameter, &number) != 1)
        return;
    size_t len = (size_t)BN_num_bytes(number) > bytes ? (size_t)BN_num_bytes(number) : bytes;
    if (len <= sizeof raw && BN_bn2binpad(number, raw, (int)len) >= 0) {
        base64url_encode((struct slice){ (const char *)raw, len }, &text);
        json_object_set_new(jwk, name, json_stringn((const char *)text.data, text.len));
    }
    OPENSSL_cleanse(raw, sizeof raw);
    if (text.data != NULL)
        OPENSSL_cleanse(text.data, text.cap);
    BN_clear_free(number);
}

static json_t *jwk_from_rsa(const EVP_PKEY *key)
{
    static const struct {
        const char *member, *parameter;
    } numbers[] = {
        { "n", OSSL_PKEY_PARAM_RSA_N },          { "e", OSSL_PKEY_PARAM_RSA_E },
        { "d", OSSL_PKEY_PARAM_RSA_D },          { "p", OSSL_PKEY_PARAM_RSA_FACTOR1 },
        { "q", OSSL_PKEY_PARAM_RSA_FACTOR2 },    { "dp", OSSL_PKEY_PARAM_RSA_EXPONENT1 },
        { "dq", OSSL_PKEY_PARAM_RSA_EXPONENT2 }, { "qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1 },
    };
    json_t *jwk = json_pack("{s:s}", "kty", "RSA");
    for (size_t i = 0; i < HLY_ARRAY_LEN(numbers); i++)
        set_number(jwk, numbers[i].member, key, numbers[i].parameter, 1);
    return jwk;
}

static json_t *jwk_from_ec(const EVP_PKEY *key)
{
    char group[64] = "";
    size_t bytes = ((size_t)EVP_PKEY_get_bits(key) + 7) / 8;
    const char *curve =
        EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 ? EC_curve_nid2nist(OBJ_sn2nid(group)) : NULL;
    if (curve == NULL)
        curve = group;
    json_t *jwk = json_pack("{s:s, s:s}", "kty", "EC", "crv", curve);
    set_number(jwk, "x", key, OSSL_PKEY_PARAM_EC_PUB_X, bytes);
    set_number(jwk, "y", key, OSSL_PKEY_PARAM_EC_PUB_Y, bytes);
    set_number(jwk, "d", key, OSSL_PKEY_PARAM_PRIV_KEY, bytes);
    return jwk;
}

static int load_pem(struct loading *l, struct slice text)
{
    struct jwt_key key = { 0 };
    EVP_PKEY *pem = read_pem(text, &l->has_secret);
    if (pem == NULL)
        return fail(
            l,
            "%s: is PEM, but no key can be read from it. Needed is a PUBLIC KEY, a CERTIFICATE or a PRIVATE KEY "
            "that is not encrypted.",
            l->file->path);
    json_t *jwk = NULL;
    if (EVP_PKEY_is_a(pem, "RSA"))
        jwk = jwk_from_rsa(pem);
    else if (EVP_PKEY_is_a(pem, "EC"))
        jwk = jwk_from_ec(pem);
    else
        fail(l, "%s: is a key of the type %s. Needed is RSA, or EC on P-256, P-384 or P-521.", l->file->path,
             EVP_PKEY_get0_type_name(pem));
    EVP_PKEY_free(pem);
    if (jwk == NULL)
        return -EINVAL;
    const char *why = key_from_numbers(jwk, l->use, l->file->alg, &key);
    json_decref(jwk);
    return add_only(l, &key, why);
}

/* ---- secrets */

/* Would everybody know this "secret"? A public key, or a certificate, without its armour. */
static bool is_der(const uint8_t *bytes, size_t len)
{
    const uint8_t *p = bytes, *q = bytes, *r = bytes;
    EVP_PKEY *public_key = d2i_PUBKEY(NULL, &p, (long)len), *private_key = d2i_AutoPrivateKey(NULL, &q, (long)len);
    X509 *certificate = d2i_X509(NULL, &r, (long)len);
    bool is = public_key != NULL || private_key != NULL || certificate != NULL;
    EVP_PKEY_free(public_key);
    EVP_PKEY_free(private_key);
    X509_free(certificate);
    return is;
}

static bool is_base64_of_der(struct slice text)
{
    HLY_CLEANUP(buf_done) struct buf digits = { 0 };
    HLY_CLEANUP(buf_done) struct buf der = { 0 };
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i] == '+' ? '-' : text.ptr[i] == '/' ? '_' : text.ptr[i];
        if (strchr(" \t\r\n=", c) == NULL)
            buf_append(&digits, &c, 1);
    }
    if (digits.failed || !base64url_is_canonical(buf_slice(&digits)))
        return false;
    base64url_decode(buf_slice(&digits), &der);
    return is_der(der.data, der.len);
}

static bool begins(struct slice text, const char *prefix)
{
    return text.len >= strlen(prefix) && memcmp(text.ptr, prefix, strlen(prefix)) == 0;
}

static bool is_public_key(struct slice text)
{
    return begins(text, "ssh-") || begins(text, "ecdsa-sha2-") || is_der((const uint8_t *)text.ptr, text.len) ||
           is_base64_of_der(text);
}

static int load_secret(struct loading *l, struct slice secret, bool is_text)
{
    struct jwt_key key = { 0 };
    l->has_secret = true;
    if (is_public_key(secret))
        return fail(l,
                    "%s: looks like a key that is not in PEM. Convert it, as with: openssl pkey -in FILE -inform DER "
                    "-pubin -pubout; it is not taken for an HMAC secret.",
                    l->file->path);
    if (is_text && secret.ptr[secret.len - 1] == '\n')
        secret.len -= secret.len > 1 && secret.ptr[secret.len - 2] == '\r' ? 2 : 1;
    return add_only(l, &key, key_from_secret(secret, l->file->alg, &key));
}

/* ---- files */

static bool is_text(struct slice content)
{
    for (size_t i = 0; i < content.len; i++) {
        unsigned char c = (unsigned char)content.ptr[i];
        if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f)
            return false;
    }
    return utf8_is_valid(content.ptr, content.len);
}

/* jansson's own text quotes what stands near: of a key, perhaps. */
static const char *json_fault(const json_error_t *why)
{
    return json_error_code(why) == json_error_duplicate_key ? "has a member twice" : "is none";
}

static int load_content(struct loading *l, struct slice content)
{
    if (content.len == 0)
        return fail(l, "%s: is empty. Needed is a key in PEM, a JWK Set, or an HMAC secret of at least 32 bytes.",
                    l->file->path);
    bool text = is_text(content);
    struct slice inner = content;
    if (!l->file->is_set && memmem(content.ptr, content.len, "-----BEGIN ", 11) != NULL)
        return load_pem(l, content);
    if (begins(inner, "\xef\xbb\xbf")) /* a byte order mark */
        inner = (struct slice){ inner.ptr + 3, inner.len - 3 };
    while (inner.len > 0 && strchr(" \t\r\n", *inner.ptr) != NULL && *inner.ptr != '\0')
        inner = (struct slice){ inner.ptr + 1, inner.len - 1 };
    bool is_json = text && inner.len > 0 && (*inner.ptr == '{' || *inner.ptr == '[');
    if (!is_json && l->file->is_set)
        return fail(l, "%s: is no JWK Set, which is a JSON object with an array \"keys\". A secret or a key in PEM belongs into jwt_key_file.",
                    l->file->path);
    if (!is_json)
        return load_secret(l, content, text);
    json_error_t why;
    json_t *json = json_loadb(inner.ptr, inner.len, JSON_REJECT_DUPLICATES, &why);
    if (json == NULL)
        return fail(l, "%s:%d: begins as JSON, but %s. An HMAC secret begins otherwise than with { or [.",
                    l->file->path, why.line, json_fault(&why));
    int r = load_jwk_set(l, json);
    json_decref(json);
    return r;
}

static int read_file(struct loading *l, int fd, struct buf *content)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        return fail(l, "%s: is a directory. Name the file in it.", l->file->path);
    if (buf_reserve(content, JWT_KEY_FILE_MAX + 1) == NULL) /* at once, so that no copy of a secret is left behind */
        return no_memory(l);
    for (;;) {
        ssize_t n = read(fd, content->data + content->len, JWT_KEY_FILE_MAX + 1 - content->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int error = errno;
            fail(l, "%s: cannot be read: %s.", l->file->path, strerror(error));
            return -error;
        }
        if (n == 0)
            return 0;
        content->len += (size_t)n;
        if (content->len > JWT_KEY_FILE_MAX)
            return fail(l, "%s: is larger than %d bytes. It cannot be a key.", l->file->path, JWT_KEY_FILE_MAX);
    }
}

static void check_mode(struct loading *l, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    unsigned mode = st.st_mode & 07777u;
    if ((mode & 0002) != 0)
        warn(l,
             "%s: everyone on this machine may change this key (mode %04o), and so make tokens. Say chmod o-w on it.",
             l->file->path, mode);
    if (l->has_secret && (mode & 0004) != 0)
        warn(l,
             "%s: everyone on this machine may read this secret (mode %04o), and so make tokens. Say chmod 0640 on it.",
             l->file->path, mode);
}

static int load(struct loading *l, struct buf *content)
{
    const struct jwt_key_file *file = l->file;
    if (file->kid != NULL && (file->kid[0] == '\0' || strlen(file->kid) > JWT_KID_MAX))
        return fail(l, "%s: its kid must have 1 to 255 bytes.", file->path);
    HLY_CLEANUP(fd_closep) int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int error = errno;
        fail(l, "%s: cannot be opened: %s.", file->path, strerror(error));
        return -error;
    }
    int r = read_file(l, fd, content);
    if (r == 0)
        r = load_content(l, buf_slice(content));
    if (r == 0)
        check_mode(l, fd);
    return r;
}

int jwt_keys_load(struct jwt_keys *keys, const struct jwt_key_file *file, enum jwt_key_use use,
                  struct jwt_report *ret_report)
{
    struct loading l = { .file = file, .use = use, .keys = keys, .report = ret_report };
    HLY_CLEANUP(buf_done) struct buf content = { 0 };
    ERR_set_mark();
    int r = load(&l, &content);
    ERR_pop_to_mark(); /* of what was tried in vain */
    if (content.data != NULL)
        OPENSSL_cleanse(content.data, content.cap);
    ret_report->skipped += l.skipped;
    ret_report->keys = (unsigned)keys->count;
    return r;
}
