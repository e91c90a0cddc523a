/* Keys for tokens, from files: what a file is, which keys are in it, and for which algorithms each may be used.
 *
 * A file tells by its content what it is: PEM (a public key, a private one, or a certificate), JSON (a JWK Set, RFC 7517,
 * or one JWK), or else an HMAC secret, taken whole but for the newline that editors put after text. A public key in a
 * form that is not read here (DER, base64 without armour, OpenSSH) is refused rather than taken for a secret, which
 * everybody would know.
 *
 * A key is for the algorithms of its kind, or for the one that is named, and never for another (RFC 8725 3.1): an HMAC
 * secret of n bytes for the HS whose hash is not longer, RSA for RS and PS, each curve for its ES.
 *
 * cjose keeps the keys and computes. It leaves to us: use, key_ops and alg of a JWK, RSA keys that are too short or have
 * the exponent 1, the length of signatures (it takes an RSA one that lacks leading zeros, an ECDSA one with more of them),
 * spare bits of base64url, and OpenSSL's error queue, which TLS on the same thread would trip over. */
#ifndef HALLEY_AUTH_JWT_KEY_H
#define HALLEY_AUTH_JWT_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/base.h"

/* X(name, key type, bytes of its hash, for EC: the curve) */
#define JWT_ALGORITHMS(X) \
    X(HS256, OCT, 32, "") \
    X(HS384, OCT, 48, "") X(HS512, OCT, 64, "") X(RS256, RSA, 32, "") X(RS384, RSA, 48, "") X(RS512, RSA, 64, "") \
        X(PS256, RSA, 32, "") X(PS384, RSA, 48, "") X(PS512, RSA, 64, "") X(ES256, EC, 32, "P-256") \
            X(ES384, EC, 48, "P-384") X(ES512, EC, 64, "P-521")
#define JWT_AS_ENUM(name, type, bytes, curve) JWT_##name,
enum jwt_algorithm { JWT_ALGORITHMS(JWT_AS_ENUM) JWT_ALGORITHM_COUNT };
#undef JWT_AS_ENUM

const char *jwt_algorithm_name(enum jwt_algorithm a);
/* Exactly as written in RFC 7518; JWT_ALGORITHM_COUNT if it is none of them. */
enum jwt_algorithm jwt_algorithm_find(struct slice name);

#define JWT_KEYS_MAX 64         /* of a verifier */
#define JWT_KEY_FILE_MAX 262144 /* bytes */
#define JWT_SECRET_MIN 32       /* bytes of an HMAC secret: no less than SHA-256 has (RFC 7518 3.2) */
#define JWT_SECRET_MAX 4096
#define JWT_RSA_MIN_BITS 2048 /* RFC 7518 3.3 */
#define JWT_RSA_MAX_BITS 8192 /* every check costs its square */
#define JWT_KID_MAX 255       /* bytes */

struct jwt_key_file { /* all borrowed */
    const char *path;
    const char *kid; /* NULL: for tokens with any kid, and without one. A JWK Set has its own: NULL */
    const char *alg; /* "RS256": for this one alone. NULL: what fits the key */
    bool is_set;     /* nothing but a JWK Set will do: what was fetched in its place, a page of an error, is not to become a secret */
};

#define JWT_WARNINGS_MAX 8

struct jwt_report { /* for whoever runs the server: whole sentences, which hold no byte of a key */
    char error[768];
    char warnings[JWT_WARNINGS_MAX][512];
    size_t warning_count;
    unsigned keys;    /* that can be used */
    unsigned skipped; /* of JWK Sets: of another kind or for another purpose, too short, broken, twice */
};

struct jwt_key {
    struct _cjose_jwk_int *jwk;
    char *kid;           /* NULL: fits every token */
    unsigned algorithms; /* bit n: enum jwt_algorithm n. Never of two key types */
};

struct jwt_keys { /* all zero: empty */
    struct jwt_key list[JWT_KEYS_MAX];
    size_t count;
};

enum jwt_key_use {
    JWT_TO_VERIFY,
    JWT_TO_SIGN
}; /* to verify, the public part of a private key is enough, and all that is kept */

/* Read a file and add its keys. Returns 0, or -errno and ret_report->error; -EINVAL: the file can be read, but not used.
 * Warnings: a file with a secret that everyone may read, one that everyone may change, keys that were skipped. */
int jwt_keys_load(struct jwt_keys *keys, const struct jwt_key_file *file, enum jwt_key_use use,
                  struct jwt_report *ret_report);
void jwt_keys_done(struct jwt_keys *keys);

/* The length of every signature by the key with the algorithm, in bytes. */
size_t jwt_key_signature_bytes(const struct jwt_key *key, enum jwt_algorithm a);

#endif
