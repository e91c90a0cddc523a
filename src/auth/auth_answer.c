#include "auth/auth_answer.h"

#include <stdbool.h>

#include "auth/claim_times.h"
#include "auth/jwt_text.h"

static bool is_blank(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != ' ' && text.ptr[i] != '\t' && text.ptr[i] != '\r' && text.ptr[i] != '\n')
            return false;
    return true;
}

static enum jwt_error read_claims(const json_t *claims, const struct auth_answer_times *times, struct token **ret_token)
{
    struct claim_times said;
    enum jwt_error e = claim_times_check(claims, times->leeway_ms, times->now_ms, &said);
    if (e != JWT_OK)
        return e;
    return token_new(claims, said.expires_ms, said.issued_ms != 0 ? said.issued_ms : times->asked_ms, ret_token);
}

enum jwt_error auth_answer_read(struct slice body, const struct auth_answer_times *times, struct token **ret_token)
{
    if (is_blank(body)) {
        *ret_token = NULL;
        return JWT_OK;
    }
    json_t *claims = jwt_json_object(body);
    enum jwt_error e = claims != NULL ? read_claims(claims, times, ret_token) : JWT_PAYLOAD;
    json_decref(claims);
    return e;
}
