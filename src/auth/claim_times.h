/* The claims that say when: exp, nbf and iat (RFC 7519 4.1.4 to 4.1.6), of tokens and of an application's answers alike. */
#ifndef HALLEY_AUTH_CLAIM_TIMES_H
#define HALLEY_AUTH_CLAIM_TIMES_H

#include <jansson.h>
#include <stdint.h>

#include "auth/jwt_error.h"

struct claim_times {
    uint64_t expires_ms; /* wall clock: from then on it is refused, the leeway included; 0: never */
    uint64_t issued_ms;  /* iat; 0: not said */
};

/* Hold them against now_ms, by up to leeway_ms either way. Returns JWT_OK, or what is wrong: of which the type
 * (JWT_EXP, JWT_NBF, JWT_IAT), or the time (JWT_EXPIRED, JWT_NOT_YET, JWT_FUTURE). */
enum jwt_error claim_times_check(const json_t *claims, uint64_t leeway_ms, uint64_t now_ms, struct claim_times *ret);

#endif
