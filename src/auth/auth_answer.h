/* What an application answers when it is asked who a client is (auth.callback): the claims of a token, without the token. */
#ifndef HALLEY_AUTH_AUTH_ANSWER_H
#define HALLEY_AUTH_AUTH_ANSWER_H

#include <stdint.h>

#include "auth/jwt_error.h"
#include "auth/token.h"
#include "base/base.h"

struct auth_answer_times { /* of the wall clock, in milliseconds */
    uint64_t asked_ms;  /* when the question was sent: what an answer without iat was issued at */
    uint64_t now_ms;
    uint64_t leeway_ms;
};

/* Make a token of the body of an answer that lets somebody in. The claims are sub, exp, nbf, iat, jti and halley, held
 * against the same rules as those of a JWT; others, iss and aud among them, are not looked at: who answers is known.
 * Returns JWT_OK and a reference; NULL if there is nothing but white space: somebody, but nobody in particular. Or why the
 * answer is none: JWT_EXPIRED and JWT_NOT_YET are about the client's time, anything else is the application's mistake. */
enum jwt_error auth_answer_read(struct slice body, const struct auth_answer_times *times, struct token **ret_token);

#endif
