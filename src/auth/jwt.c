#include "auth/jwt.h"

#include <cjose/jws.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/err.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/claim_times.h"
#include "auth/jwt_text.h"
#include "base/slice.h"

struct jwt {
    _Atomic uint32_t refs;
    uint64_t leeway_ms;
    char **issuers;
    size_t issuer_count;
    char **audiences;
    size_t audience_count;
    struct jwt_keys keys;
};

/* ---- the verifier */

static char **copy_texts(const char *const *texts, size_t count)
{
    char **copy = calloc(count + 1, sizeof *copy); /* never 0 bytes, and NULL at the end */
    for (size_t i = 0; copy != NULL && i < count; i++) {
        copy[i] = strdup(texts[i]);
        if (copy[i] != NULL)
            continue;
        while (i > 0)
            free(copy[--i]);
        free(copy);
        return NULL;
    }
    return copy;
}

static void free_texts(char **texts, size_t count)
{
    for (size_t i = 0; texts != NULL && i < count; i++)
        free(texts[i]);
    free(texts);
}

static int load_keys(struct jwt *j, const struct jwt_config *config, struct jwt_report *report)
{
    for (size_t i = 0; i < config->key_count; i++) {
        int r = jwt_keys_load(&j->keys, &config->keys[i], JWT_TO_VERIFY, report);
        if (r < 0)
            return r;
    }
    if (config->key_count > 0)
        return 0;
    snprintf(report->error, sizeof report->error, "there is no key to check tokens with: name a key file.");
    return -EINVAL;
}

int jwt_new(const struct jwt_config *config, struct jwt **ret_jwt, struct jwt_report *ret_report)
{
    *ret_report = (struct jwt_report){ 0 };
    if (config->leeway_s > JWT_LEEWAY_MAX_S) {
        snprintf(ret_report->error, sizeof ret_report->error,
                 "a leeway of %u s is too long: at most %d s, as clocks differ by seconds.", config->leeway_s,
                 JWT_LEEWAY_MAX_S);
        return -EINVAL;
    }
    struct jwt *j = calloc(1, sizeof *j);
    if (j == NULL) {
        snprintf(ret_report->error, sizeof ret_report->error, "out of memory.");
        return -ENOMEM;
    }
    atomic_init(&j->refs, 1);
    j->leeway_ms = (uint64_t)config->leeway_s * 1000;
    j->issuers = copy_texts(config->issuers, config->issuer_count);
    j->issuer_count = config->issuer_count;
    j->audiences = copy_texts(config->audiences, config->audience_count);
    j->audience_count = config->audience_count;
    int r = load_keys(j, config, ret_report);
    if (r == 0 && (j->issuers == NULL || j->audiences == NULL)) {
        snprintf(ret_report->error, sizeof ret_report->error, "out of memory.");
        r = -ENOMEM;
    }
    if (r == 0)
        *ret_jwt = j;
    else
        jwt_unref(j);
    return r;
}

struct jwt *jwt_ref(struct jwt *j)
{
    atomic_fetch_add_explicit(&j->refs, 1, memory_order_relaxed);
    return j;
}

struct jwt *jwt_unref(struct jwt *j)
{
    if (j == NULL || atomic_fetch_sub_explicit(&j->refs, 1, memory_order_acq_rel) != 1)
        return NULL;
    jwt_keys_done(&j->keys);
    free_texts(j->issuers, j->issuer_count);
    free_texts(j->audiences, j->audience_count);
    free(j);
    return NULL;
}

/* ---- the header */

struct header {
    enum jwt_algorithm algorithm;
    char kid[JWT_KID_MAX + 1];
    bool has_kid;
};

static struct slice text_of(const json_t *string) /* len 0 for what is none */
{
    return (struct slice){ json_string_value(string), json_string_length(string) };
}

static bool is_jwt_type(const json_t *typ) /* RFC 7519 5.1, RFC 9068 2.1; the application/ may be left out */
{
    struct slice type = text_of(typ);
    struct slice prefix = { type.ptr, 12 };
    if (typ == NULL)
        return true;
    if (type.len > 12 && slice_equals_nocase(prefix, "application/"))
        type = (struct slice){ type.ptr + 12, type.len - 12 };
    return json_is_string(typ) && (slice_equals_nocase(type, "JWT") || slice_equals_nocase(type, "at+jwt"));
}

static bool take_kid(const json_t *kid, struct header *h)
{
    struct slice text = text_of(kid);
    h->has_kid = kid != NULL;
    if (kid == NULL)
        return true;
    if (!json_is_string(kid) || text.len == 0 || text.len > JWT_KID_MAX || memchr(text.ptr, '\0', text.len) != NULL)
        return false;
    memcpy(h->kid, text.ptr, text.len);
    h->kid[text.len] = '\0';
    return true;
}

static enum jwt_error check_header(const json_t *json, struct header *h)
{
    if (json_object_get(json, "crit") != NULL || json_object_get(json, "b64") != NULL)
        return JWT_CRITICAL;
    if (!is_jwt_type(json_object_get(json, "typ")))
        return JWT_TYPE;
    h->algorithm = jwt_algorithm_find(text_of(json_object_get(json, "alg")));
    if (h->algorithm == JWT_ALGORITHM_COUNT)
        return JWT_ALGORITHM;
    return take_kid(json_object_get(json, "kid"), h) ? JWT_OK : JWT_UNKNOWN_KEY;
}

/* The JSON object in a part of the token; NULL if it is none, or memory ran out. */
static json_t *decode(struct slice part)
{
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    base64url_decode(part, &text);
    return text.failed ? NULL : jwt_json_object(buf_slice(&text));
}

static enum jwt_error read_header(struct slice part, struct header *ret_header)
{
    *ret_header = (struct header){ 0 };
    json_t *json = decode(part);
    enum jwt_error e = json != NULL ? check_header(json, ret_header) : JWT_HEADER;
    json_decref(json);
    return e;
}

/* ---- the signature */

static bool kid_fits(const struct jwt_key *key, const struct header *h)
{
    return key->kid == NULL || !h->has_kid || strcmp(key->kid, h->kid) == 0;
}

/* Try the keys that the token may mean. cjose takes `alg` from the header once more, which is the one that was checked:
 * it is in there once. */
static enum jwt_error try_keys(const struct jwt *j, const struct header *h, const struct jwt_parts *parts,
                               cjose_jws_t *jws)
{
    size_t bytes = base64url_decoded_bytes(parts->signature.len), tries = 0;
    bool named = false;
    for (size_t i = 0; i < j->keys.count && tries < JWT_TRIES; i++) {
        const struct jwt_key *key = &j->keys.list[i];
        if (!kid_fits(key, h))
            continue;
        named = true;
        if ((key->algorithms & 1u << h->algorithm) == 0)
            continue;
        tries++;
        if (jwt_key_signature_bytes(key, h->algorithm) == bytes && cjose_jws_verify(jws, key->jwk, NULL))
            return JWT_OK;
    }
    if (!named)
        return JWT_UNKNOWN_KEY;
    return tries > 0 ? JWT_SIGNATURE : JWT_ALGORITHM;
}

static enum jwt_error check_signature(const struct jwt *j, const struct header *h, const struct jwt_parts *parts,
                                      struct slice token)
{
    ERR_set_mark();
    cjose_jws_t *jws = cjose_jws_import(token.ptr, token.len, NULL);
    enum jwt_error e = jws != NULL ? try_keys(j, h, parts, jws) : JWT_NO_MEMORY; /* all else was looked at before */
    cjose_jws_release(jws);
    ERR_pop_to_mark(); /* a wrong signature must not look like an error of the thread's next TLS call */
    return e;
}

/* ---- the claims */

static bool is_one_of(const json_t *string, char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equals(text_of(string), texts[i]))
            return true;
    return false;
}

static enum jwt_error check_issuer(const struct jwt *j, const json_t *iss)
{
    if (iss != NULL && !json_is_string(iss))
        return JWT_ISS;
    if (j->issuer_count == 0)
        return JWT_OK;
    return iss != NULL && is_one_of(iss, j->issuers, j->issuer_count) ? JWT_OK : JWT_ISSUER;
}

static enum jwt_error check_audience(const struct jwt *j, const json_t *aud)
{
    size_t i;
    const json_t *one;
    bool is_ours = false;
    if (aud == NULL)
        return j->audience_count == 0 ? JWT_OK : JWT_AUDIENCE;
    if (json_is_string(aud))
        return is_one_of(aud, j->audiences, j->audience_count) ? JWT_OK : JWT_AUDIENCE;
    if (!json_is_array(aud))
        return JWT_AUD;
    json_array_foreach(aud, i, one)
    {
        if (!json_is_string(one))
            return JWT_AUD;
        is_ours |= is_one_of(one, j->audiences, j->audience_count);
    }
    return is_ours ? JWT_OK : JWT_AUDIENCE;
}

static enum jwt_error check_claims(const struct jwt *j, const json_t *claims, uint64_t now_ms, struct token **ret_token)
{
    struct claim_times times;
    enum jwt_error e = claim_times_check(claims, j->leeway_ms, now_ms, &times);
    if (e == JWT_OK)
        e = check_issuer(j, json_object_get(claims, "iss"));
    if (e == JWT_OK)
        e = check_audience(j, json_object_get(claims, "aud"));
    return e == JWT_OK ? token_new(claims, times.expires_ms, times.issued_ms, ret_token) : e;
}

/* ---- the whole */

enum jwt_error jwt_verify(const struct jwt *j, struct slice token, uint64_t now_ms, struct token **ret_token)
{
    struct jwt_parts parts;
    struct header header;
    if (token.len > JWT_MAX_BYTES)
        return JWT_TOO_LONG;
    if (!jwt_split(token, &parts))
        return JWT_MALFORMED;
    enum jwt_error e = read_header(parts.header, &header);
    if (e == JWT_OK)
        e = check_signature(j, &header, &parts, token);
    if (e != JWT_OK)
        return e;
    json_t *claims = decode(parts.payload);
    e = claims != NULL ? check_claims(j, claims, now_ms, ret_token) : JWT_PAYLOAD;
    json_decref(claims);
    return e;
}
