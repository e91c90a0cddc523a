#include "auth/claim_times.h"

#include <stdbool.h>

/* A NumericDate (RFC 7519 2). Before 1970 counts as 1970. False for what is none: beyond the year 9999 it is in
 * milliseconds, most likely, and would make a token that never expires. */
static bool take_time(const json_t *claims, const char *name, bool *ret_is_there, uint64_t *ret_ms)
{
    const json_t *value = json_object_get(claims, name);
    const double last_s = 253402300799;
    *ret_is_there = value != NULL;
    *ret_ms = 0;
    if (value == NULL)
        return true;
    if (!json_is_number(value) || json_number_value(value) > last_s)
        return false;
    if (json_number_value(value) > 0)
        *ret_ms = json_is_integer(value) ? (uint64_t)json_integer_value(value) * 1000
                                         : (uint64_t)(json_real_value(value) * 1000);
    return true;
}

enum jwt_error claim_times_check(const json_t *claims, uint64_t leeway_ms, uint64_t now_ms, struct claim_times *ret)
{
    bool has_exp, has_nbf, has_iat;
    uint64_t exp_ms, nbf_ms, iat_ms;
    if (!take_time(claims, "exp", &has_exp, &exp_ms))
        return JWT_EXP;
    if (!take_time(claims, "nbf", &has_nbf, &nbf_ms))
        return JWT_NBF;
    if (!take_time(claims, "iat", &has_iat, &iat_ms))
        return JWT_IAT;
    if (has_exp && now_ms >= exp_ms + leeway_ms)
        return JWT_EXPIRED;
    if (has_nbf && now_ms + leeway_ms < nbf_ms)
        return JWT_NOT_YET;
    if (has_iat && now_ms + leeway_ms < iat_ms)
        return JWT_FUTURE;
    *ret = (struct claim_times){ .expires_ms = has_exp ? exp_ms + leeway_ms : 0, .issued_ms = iat_ms };
    return JWT_OK;
}
