#include "auth/jwt_error.h"

#include <assert.h>

static const struct {
    const char *name, *client, *operator;
} errors[] = {
#define AS_ROW(name, text, client, operator) [JWT_##name] = { text, client, operator},
    JWT_ERRORS(AS_ROW)
#undef AS_ROW
};

const char *jwt_error_name(enum jwt_error e)
{
    assert(e < JWT_ERROR_COUNT);
    return errors[e].name;
}

const char *jwt_error_text(enum jwt_error e)
{
    assert(e < JWT_ERROR_COUNT);
    return errors[e].client;
}

const char *jwt_error_operator(enum jwt_error e)
{
    assert(e < JWT_ERROR_COUNT);
    return errors[e].operator;
}
