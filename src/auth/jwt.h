/* Checking tokens: JWT (RFC 7519) in the compact form of JWS (RFC 7515), against a set of keys.
 *
 * A verifier is immutable once built and counted: a reload swaps in a new one while connections still use the old. Any
 * thread may check tokens with it, without a lock. What costs most is done last: a token is bounded, taken apart and its
 * header checked before a signature is computed, and its claims are not even parsed before the signature holds.
 *
 * What decides is the key, never the token: `alg` must be one that the key is pinned to (so `none` never is, nor is a public
 * key ever an HMAC secret), `crit` and `b64` are refused whatever they say, and keys that a header brings along (jwk, jku,
 * x5c) are not looked at (RFC 8725). */
#ifndef HALLEY_AUTH_JWT_H
#define HALLEY_AUTH_JWT_H

#include <stddef.h>
#include <stdint.h>

#include "auth/jwt_error.h"
#include "auth/jwt_key.h"
#include "auth/token.h"
#include "base/base.h"

#define JWT_LEEWAY_MAX_S 3600
#define JWT_TRIES 8 /* keys that one token is tried with: signatures cost, and strangers send tokens */

struct jwt_config { /* all borrowed for jwt_new() */
    const struct jwt_key_file *keys;
    size_t key_count;           /* 1 or more */
    const char *const *issuers; /* a token's iss must be one of them; none: iss is not looked at */
    size_t issuer_count;
    const char *const
        *audiences; /* a token's aud must hold one of them; none: a token that has an aud is refused (RFC 7519 4.1.3) */
    size_t audience_count;
    uint32_t leeway_s; /* by how much clocks may differ, at most JWT_LEEWAY_MAX_S */
};

struct jwt;

/* Read the keys and build a verifier. Returns 0 and a reference; or -errno and ret_report->error. ret_report is filled
 * either way, from empty: its warnings are for the log. */
int jwt_new(const struct jwt_config *config, struct jwt **ret_jwt, struct jwt_report *ret_report);
struct jwt *jwt_ref(struct jwt *j);
struct jwt *jwt_unref(struct jwt *j); /* NULL in, NULL out */

/* Check a token (borrowed) at a time on the wall clock. Returns JWT_OK and a reference, or why it is refused.
 *
 * exp, nbf and iat are held against now_ms with the leeway; a token without them is fine, and one without exp never
 * expires. iat in the future is refused: whoever issued it has a clock that gives too long an exp, too. */
enum jwt_error jwt_verify(const struct jwt *j, struct slice token, uint64_t now_ms, struct token **ret_token);

#endif
