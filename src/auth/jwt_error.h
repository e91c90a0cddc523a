/* Why a token is refused: one list makes the enum, the stable names (for metrics and `code`s), and two sentences each,
 * one for the client, one for whoever runs the server. None of them carries a byte of the token or of a key, so each may
 * go into a log, a close reason or a body as it is. */
#ifndef HALLEY_AUTH_JWT_ERROR_H
#define HALLEY_AUTH_JWT_ERROR_H

/* X(NAME, stable name, for the client: no capital, no full stop; for the operator: what to look at) */
#define JWT_ERRORS(X) \
    X(OK, "ok", "the token is valid", "The token is valid.") \
    X(TOO_LONG, "too_long", "the token is longer than 8192 bytes", \
      "Put fewer patterns or less info into the token: cookies and proxies cut such tokens, too.") \
    X(MALFORMED, "malformed", "the token is not a JWT: three parts of base64url with dots between them", \
      "It is no signed token in compact form (RFC 7515 7.1), or it was cut or changed on its way.") \
    X(HEADER, "header", "the token's header is not a JSON object", \
      "The header is broken JSON, names a member twice, or is nested too deep (RFC 7515 4).") \
    X(TYPE, "type", "the token is not a JWT by its header's typ", \
      "Accepted as typ are JWT and at+jwt, or none; tokens made for something else are refused (RFC 8725 3.11).") \
    X(CRITICAL, "critical", "the token asks for an extension that is not supported here", \
      "Its header has crit or b64. No extension is supported; the issuer has to leave them out (RFC 7515 4.1.11).") \
    X(ALGORITHM, "algorithm", "the token's algorithm is not accepted here", \
      "Accepted are HS256/384/512, RS256/384/512, PS256/384/512 and ES256/384/512, never none, and each key for its own " \
      "alone: a token is refused if no key is for its algorithm.") \
    X(UNKNOWN_KEY, "unknown_key", "the token names a key that is not known here", \
      "No key has the token's kid. After a change of keys, load the new key file before the issuer signs with it.") \
    X(SIGNATURE, "signature", "the token's signature is wrong", \
      "It was signed with another key, or changed. A secret's file counts whole, but for a last newline of text.") \
    X(PAYLOAD, "payload", "the token's claims are not a JSON object", \
      "The payload is broken JSON, not UTF-8, names a member twice, has a number that is too large, or is too deep.") \
    X(EXP, "exp", "the claim exp is not a number of seconds since 1970", \
      "exp is a number, not a string, and in seconds, not in milliseconds (RFC 7519 2).") \
    X(NBF, "nbf", "the claim nbf is not a number of seconds since 1970", \
      "nbf is a number, not a string, and in seconds, not in milliseconds (RFC 7519 2).") \
    X(IAT, "iat", "the claim iat is not a number of seconds since 1970", \
      "iat is a number, not a string, and in seconds, not in milliseconds (RFC 7519 2).") \
    X(EXPIRED, "expired", "the token has expired", \
      "The client has to get a new one; if all expire at once, compare the clocks.") \
    X(REVOKED, "revoked", "the token has been revoked", \
      "A backend revoked it, or all that its user had by then (REVOKE, POST /revoke).") \
    X(NOT_YET, "not_yet", "the token is not valid yet", \
      "Its nbf lies in the future: compare the issuer's clock with this one.") \
    X(FUTURE, "future", "the token was issued in the future", \
      "Its iat lies in the future: compare the issuer's clock with this one.") \
    X(ISS, "iss", "the claim iss is not a string", "iss is one string (RFC 7519 4.1.1).") \
    X(ISSUER, "issuer", "the token is from another issuer", "Its iss is missing, or none of the configured issuers.") \
    X(AUD, "aud", "the claim aud is not a string or a list of strings", \
      "aud is a string or an array of strings (RFC 7519 4.1.3).") \
    X(AUDIENCE, "audience", "the token is for another audience", \
      "Its aud holds none of the configured audiences. A token that has an aud is refused when none is configured.") \
    X(SUB, "sub", "the claim sub is not a string of at most 255 bytes without NUL", \
      "sub is a string; a number needs quotes.") \
    X(JTI, "jti", "the claim jti is not a string of at most 255 bytes without NUL", \
      "jti is a string; a number needs quotes.") \
    X(HALLEY, "halley", "the claim halley is not an object", \
      "It is {\"subscribe\": [patterns], \"publish\": [patterns], \"auto\": [topics], \"info\": {...}}, each left out if not needed.") \
    X(SUBSCRIBE, "subscribe", "the claim halley.subscribe is not a list of at most 256 patterns", \
      "It is an array of strings, each a topic or a pattern: \"chat/*\" and \"chat/**\" are patterns, \"ch*t\" is none.") \
    X(PUBLISH, "publish", "the claim halley.publish is not a list of at most 256 patterns", \
      "It is an array of strings, each a topic or a pattern: \"chat/*\" and \"chat/**\" are patterns, \"ch*t\" is none.") \
    X(AUTO, "auto", "the claim halley.auto is not a list of at most 256 topics or patterns", \
      "It is an array of strings, each a topic or a pattern: \"chat/*\" and \"chat/**\" are patterns, \"ch*t\" is none.") \
    X(INFO, "info", "the claim halley.info is not an object of at most 4096 bytes", \
      "It is a JSON object, as small as what others need to know of a user: it goes to all who see the user's presence.") \
    X(NO_MEMORY, "no_memory", "the token cannot be checked now", "The memory ran out.")

#define JWT_AS_ENUM(name, text, client, operator) JWT_##name,
enum jwt_error { JWT_ERRORS(JWT_AS_ENUM) JWT_ERROR_COUNT };
#undef JWT_AS_ENUM

const char *jwt_error_name(enum jwt_error e);     /* "expired": stable */
const char *jwt_error_text(enum jwt_error e);     /* for the client: "the token has expired" */
const char *jwt_error_operator(enum jwt_error e); /* a whole sentence, for who runs the server */

#endif
