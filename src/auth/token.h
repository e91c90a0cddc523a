/* What a token grants, once it has been checked: who it is, which patterns, until when. Immutable and counted: the
 * connection that presented it holds one reference, rule checks borrow it. Any thread. */
#ifndef HALLEY_AUTH_TOKEN_H
#define HALLEY_AUTH_TOKEN_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/jwt_error.h"
#include "base/base.h"
#include "core/rules.h"

#define TOKEN_NAME_MAX 255     /* bytes of sub and of jti */
#define TOKEN_PATTERNS_MAX 256 /* of each list */
#define TOKEN_INFO_MAX 4096    /* bytes of info as compact JSON */

struct token_list { /* each slice is followed by a NUL */
    const struct slice *names;
    size_t count;
};

struct token {
    _Atomic uint32_t refs;
    const char *subject;          /* sub: UTF-8 without NUL; "" if there is none, never NULL */
    const char *id;               /* jti, likewise */
    uint64_t expires_ms;          /* wall clock: from then on it is refused, the leeway included; 0: never */
    uint64_t issued_ms;           /* iat, wall clock; 0: not said */
    struct token_list subscribe;  /* patterns: struct rule_client's claims */
    struct token_list publish;    /* patterns */
    struct token_list auto_names; /* topics and patterns to subscribe to at once; they grant no right */
    struct slice info;            /* a compact JSON object; len 0: none */
    struct rule_client rights[2]; /* by enum rule_action: what rules_allow() is asked with */
};

/* Make a token of the claims sub, jti and halley; the others have been looked at. claims is borrowed.
 * Returns JWT_OK and a reference, or what is wrong with which of the three. */
enum jwt_error token_new(const json_t *claims, uint64_t expires_ms, uint64_t issued_ms, struct token **ret_token);
struct token *token_ref(struct token *t);
struct token *token_unref(struct token *t); /* NULL in, NULL out */

/* Milliseconds until it expires, 0: it has; UINT64_MAX: it never does, or there is none (NULL). */
uint64_t token_expires_in_ms(const struct token *t, uint64_t wall_ms);

static inline void token_unrefp(struct token **t)
{
    *t = token_unref(*t);
}

#endif
