#include "auth/jwt_make.h"

#include <cjose/jws.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/jwt_text.h"
#include "auth/token.h"
#include "base/log.h"
#include "base/utf8.h"
#include "core/topic_name.h"

static int fail(struct jwt_report *r, int error, const char *fmt, ...) HLY_PRINTF(3, 4);
static int fail(struct jwt_report *r, int error, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->error, sizeof r->error, fmt, ap);
    va_end(ap);
    return error;
}

/* ---- the claims */

static int check_text(const char *name, const char *text, struct jwt_report *report)
{
    if (text == NULL || utf8_is_valid(text, strlen(text)))
        return 0;
    return fail(report, -EINVAL, "the %s is not UTF-8, as all text in a token is.", name);
}

static int check_texts(const struct jwt_key_file *key, const struct jwt_claims *c, struct jwt_report *report)
{
    int r = check_text("kid", key->kid, report);
    if (r == 0)
        r = check_text("subject", c->subject, report);
    if (r == 0)
        r = check_text("id", c->id, report);
    if (r == 0)
        r = check_text("issuer", c->issuer, report);
    for (size_t i = 0; r == 0 && i < c->audiences.count; i++)
        r = check_text("audience", c->audiences.texts[i], report);
    return r;
}

static void set_text(json_t *claims, const char *name, const char *text)
{
    if (text != NULL)
        json_object_set_new(claims, name, json_string(text));
}

static void set_time(json_t *claims, const char *name, int64_t s)
{
    if (s != 0)
        json_object_set_new(claims, name, json_integer(s));
}

static json_t *list_of(const struct jwt_names *names)
{
    json_t *list = json_array();
    for (size_t i = 0; i < names->count; i++)
        json_array_append_new(list, json_string(names->texts[i]));
    return list;
}

static int set_patterns(json_t *halley, const char *name, const struct jwt_names *patterns, struct jwt_report *report)
{
    for (size_t i = 0; i < patterns->count; i++) {
        const char *text = patterns->texts[i], *why = pattern_error(text, strlen(text));
        char quoted[128];
        if (why != NULL)
            return fail(report, -EINVAL, "'%s' cannot be in %s: %s.",
                        log_quote(quoted, sizeof quoted, text, strlen(text)), name, why);
    }
    if (patterns->count > 0)
        json_object_set_new(halley, name, list_of(patterns));
    return 0;
}

static int set_info(json_t *halley, const char *text, struct jwt_report *report)
{
    json_error_t why;
    if (text == NULL)
        return 0;
    json_t *info = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (info == NULL)
        return fail(report, -EINVAL, "the info is not JSON: %s. It is an object, as in {\"name\": \"Ada\"}.", why.text);
    if (!json_is_object(info)) {
        json_decref(info);
        return fail(report, -EINVAL, "the info is not a JSON object, as in {\"name\": \"Ada\"}.");
    }
    json_object_set_new(halley, "info", info);
    return 0;
}

static int build_claims(const struct jwt_claims *c, json_t *claims, struct jwt_report *report)
{
    json_t *halley = json_object();
    set_text(claims, "iss", c->issuer);
    set_text(claims, "sub", c->subject);
    if (c->audiences.count == 1)
        set_text(claims, "aud", c->audiences.texts[0]);
    else if (c->audiences.count > 1)
        json_object_set_new(claims, "aud", list_of(&c->audiences));
    set_time(claims, "iat", c->issued_s);
    set_time(claims, "nbf", c->not_before_s);
    set_time(claims, "exp", c->expires_s);
    set_text(claims, "jti", c->id);
    int r = set_patterns(halley, "subscribe", &c->subscribe, report);
    if (r == 0)
        r = set_patterns(halley, "publish", &c->publish, report);
    if (r == 0)
        r = set_patterns(halley, "auto", &c->auto_names, report);
    if (r == 0)
        r = set_info(halley, c->info, report);
    if (r == 0 && json_object_size(halley) > 0)
        json_object_set(claims, "halley", halley);
    json_decref(halley);
    return r;
}

/* Would it be accepted? */
static int check_claims(const json_t *claims, struct jwt_report *report)
{
    struct token *token;
    enum jwt_error e = token_new(claims, 0, 0, &token);
    if (e != JWT_OK)
        return fail(report, -EINVAL, "%s. %s", jwt_error_text(e), jwt_error_operator(e));
    token_unref(token);
    return 0;
}

/* ---- the signature */

static enum jwt_algorithm first_algorithm(const struct jwt_key *key)
{
    enum jwt_algorithm a = 0;
    while ((key->algorithms & 1u << a) == 0)
        a++;
    return a;
}

static int export(cjose_jws_t *jws, char **ret_token, struct jwt_report *report)
{
    const char *text;
    if (jws == NULL || !cjose_jws_export(jws, &text, NULL))
        return fail(report, -EINVAL, "the token cannot be signed with this key.");
    if (strlen(text) > JWT_MAX_BYTES)
        return fail(report, -E2BIG, "%s. %s", jwt_error_text(JWT_TOO_LONG), jwt_error_operator(JWT_TOO_LONG));
    *ret_token = strdup(text);
    return *ret_token != NULL ? 0 : fail(report, -ENOMEM, "out of memory.");
}

static int sign(const struct jwt_key *key, enum jwt_algorithm a, const json_t *claims, char **ret_token,
                struct jwt_report *report)
{
    char *payload = json_dumps(claims, JSON_COMPACT);
    json_t *header = json_pack("{s:s, s:s, s:s*}", "alg", jwt_algorithm_name(a), "typ", "JWT", "kid", key->kid);
    if (payload == NULL || header == NULL) {
        free(payload);
        json_decref(header);
        return fail(report, -ENOMEM, "out of memory.");
    }
    ERR_set_mark();
    cjose_jws_t *jws = cjose_jws_sign(key->jwk, header, (const uint8_t *)payload, strlen(payload), NULL);
    int r = export(jws, ret_token, report);
    cjose_jws_release(jws);
    ERR_pop_to_mark();
    json_decref(header);
    free(payload);
    return r;
}

/* The key to sign with: the first, or in a JWK Set the one with the kid and the algorithm. */
static const struct jwt_key *choose(const struct jwt_keys *keys, const char *kid, enum jwt_algorithm a)
{
    for (size_t i = 0; i < keys->count; i++) {
        const struct jwt_key *key = &keys->list[i];
        bool has_kid = kid == NULL || (key->kid != NULL && strcmp(key->kid, kid) == 0);
        if (has_kid && (a == JWT_ALGORITHM_COUNT || (key->algorithms & 1u << a) != 0))
            return key;
    }
    return NULL;
}

static int sign_with(const struct jwt_keys *keys, const struct jwt_key_file *file, const json_t *claims,
                     char **ret_token, struct jwt_report *report)
{
    const char *alg = file->alg;
    enum jwt_algorithm a = JWT_ALGORITHM_COUNT;
    if (alg != NULL)
        a = jwt_algorithm_find((struct slice){ alg, strlen(alg) });
    if (alg != NULL && a == JWT_ALGORITHM_COUNT)
        return fail(report, -EINVAL,
                    "there is no algorithm '%s': HS256, RS256, PS256, ES256, and with 384 and 512, are.", alg);
    const struct jwt_key *key = choose(keys, file->kid, a);
    if (key == NULL)
        return fail(report, -EINVAL, "%s: no key in it that can sign is for this kid and algorithm.", file->path);
    return sign(key, a != JWT_ALGORITHM_COUNT ? a : first_algorithm(key), claims, ret_token, report);
}

/* A JWK Set does not take kid and alg from us: where the file is one, they choose instead. */
static int load(struct jwt_keys *keys, const struct jwt_key_file *file, struct jwt_report *report)
{
    const struct jwt_key_file alone = { .path = file->path };
    int r = jwt_keys_load(keys, &alone, JWT_TO_SIGN, report);
    if (r < 0 || keys->count != 1 || keys->list[0].kid != NULL || file->kid == NULL)
        return r;
    keys->list[0].kid = strdup(file->kid);
    return keys->list[0].kid != NULL ? 0 : fail(report, -ENOMEM, "out of memory.");
}

int jwt_make(const struct jwt_key_file *key, const struct jwt_claims *c, char **ret_token,
             struct jwt_report *ret_report)
{
    struct jwt_keys keys = { .count = 0 };
    *ret_report = (struct jwt_report){ 0 };
    json_t *claims = json_object();
    int r = check_texts(key, c, ret_report);
    if (r == 0)
        r = build_claims(c, claims, ret_report);
    if (r == 0)
        r = check_claims(claims, ret_report);
    if (r == 0)
        r = load(&keys, key, ret_report);
    if (r == 0)
        r = sign_with(&keys, key, claims, ret_token, ret_report);
    jwt_keys_done(&keys);
    json_decref(claims);
    return r;
}
