/* Making tokens, for `halley token` and for tests. What is made here is accepted by jwt_verify(). */
#ifndef HALLEY_AUTH_JWT_MAKE_H
#define HALLEY_AUTH_JWT_MAKE_H

#include <stddef.h>
#include <stdint.h>

#include "auth/jwt_key.h"

struct jwt_names {
    const char *const *texts;
    size_t count;
};

struct jwt_claims { /* all borrowed; NULL, 0 and empty lists are left out of the token */
    const char *subject;
    const char *id;
    const char *issuer;
    struct jwt_names audiences; /* one is written as a string, several as an array */
    int64_t issued_s;           /* since 1970 */
    int64_t not_before_s;
    int64_t expires_s;
    struct jwt_names subscribe;
    struct jwt_names publish;
    struct jwt_names auto_names;
    const char *info; /* the JSON text of an object */
};

/* Sign the claims with the first key of the file that can: an HMAC secret, a private RSA or EC key in PEM, or one of a JWK
 * Set. key->kid is written into the header, and picks one of a JWK Set. key->alg NULL: HS256, RS256, or the ES of the curve.
 * Returns 0 and *ret_token, for the caller to free(); or -errno and ret_report->error, one sentence. */
int jwt_make(const struct jwt_key_file *key, const struct jwt_claims *claims, char **ret_token,
             struct jwt_report *ret_report);

#endif
