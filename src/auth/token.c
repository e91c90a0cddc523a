#include "auth/token.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/topic_name.h"

/* The claims after their checks, still in the parsed JSON; NULL: left out. */
struct wanted {
    const json_t *sub, *jti;
    const json_t *subscribe, *publish, *auto_names;
    char *info; /* ours */
    size_t info_len;
};

/* ---- checks */

static bool is_name(const json_t *value) /* or left out */
{
    if (value == NULL)
        return true;
    size_t len = json_string_length(value);
    return json_is_string(value) && len <= TOKEN_NAME_MAX && strlen(json_string_value(value)) == len;
}

static bool is_list(const json_t *value)
{
    if (value == NULL)
        return true;
    if (!json_is_array(value) || json_array_size(value) > TOKEN_PATTERNS_MAX)
        return false;
    size_t i;
    const json_t *name;
    json_array_foreach(value, i, name)
    {
        if (!json_is_string(name) || pattern_error(json_string_value(name), json_string_length(name)) != NULL)
            return false;
    }
    return true;
}

static enum jwt_error take_info(const json_t *info, struct wanted *w)
{
    if (info == NULL)
        return JWT_OK;
    if (!json_is_object(info))
        return JWT_INFO;
    w->info = json_dumps(info, JSON_COMPACT);
    if (w->info == NULL)
        return JWT_NO_MEMORY;
    w->info_len = strlen(w->info); /* jansson writes a NUL as an escape */
    return w->info_len <= TOKEN_INFO_MAX ? JWT_OK : JWT_INFO;
}

static enum jwt_error take_claims(const json_t *claims, struct wanted *w)
{
    const json_t *halley = json_object_get(claims, "halley");
    w->sub = json_object_get(claims, "sub");
    w->jti = json_object_get(claims, "jti");
    if (!is_name(w->sub))
        return JWT_SUB;
    if (!is_name(w->jti))
        return JWT_JTI;
    if (halley == NULL)
        return JWT_OK;
    if (!json_is_object(halley))
        return JWT_HALLEY;
    if (!is_list(w->subscribe = json_object_get(halley, "subscribe")))
        return JWT_SUBSCRIBE;
    if (!is_list(w->publish = json_object_get(halley, "publish")))
        return JWT_PUBLISH;
    if (!is_list(w->auto_names = json_object_get(halley, "auto")))
        return JWT_AUTO;
    return take_info(json_object_get(halley, "info"), w);
}

/* ---- one block of memory: the struct, the lists, the text */

static size_t list_bytes(const json_t *list)
{
    size_t bytes = 0, i;
    const json_t *name;
    json_array_foreach(list, i, name)
    {
        bytes += sizeof(struct slice) + json_string_length(name) + 1;
    }
    return bytes;
}

static struct slice put_text(char **text, const char *from, size_t len)
{
    struct slice s = { *text, len };
    if (len > 0)
        memcpy(*text, from, len);
    (*text)[len] = '\0';
    *text += len + 1;
    return s;
}

static struct slice put_string(char **text, const json_t *string)
{
    return put_text(text, json_string_value(string), json_string_length(string));
}

static struct token_list put_list(struct slice **slices, char **text, const json_t *list)
{
    struct token_list l = { *slices, json_array_size(list) };
    size_t i;
    const json_t *name;
    json_array_foreach(list, i, name)
    {
        *(*slices)++ = put_string(text, name);
    }
    return l;
}

static struct token *token_put(const struct wanted *w)
{
    size_t names = json_array_size(w->subscribe) + json_array_size(w->publish) + json_array_size(w->auto_names);
    size_t bytes = sizeof(struct token) + list_bytes(w->subscribe) + list_bytes(w->publish) +
                   list_bytes(w->auto_names) + json_string_length(w->sub) + 1 + json_string_length(w->jti) + 1 +
                   w->info_len + 1;
    struct token *t = malloc(bytes);
    if (t == NULL)
        return NULL;
    struct slice *slices = (struct slice *)(t + 1);
    char *text = (char *)(slices + names);
    atomic_init(&t->refs, 1);
    t->subject = put_string(&text, w->sub).ptr;
    t->id = put_string(&text, w->jti).ptr;
    t->subscribe = put_list(&slices, &text, w->subscribe);
    t->publish = put_list(&slices, &text, w->publish);
    t->auto_names = put_list(&slices, &text, w->auto_names);
    t->info = put_text(&text, w->info, w->info_len);
    t->rights[RULE_SUBSCRIBE] = (struct rule_client){ .subject = t->subject, .claims = t->subscribe.names, .claim_count = t->subscribe.count };
    t->rights[RULE_PUBLISH] = (struct rule_client){ .subject = t->subject, .claims = t->publish.names, .claim_count = t->publish.count };
    return t;
}

/* ---- the whole */

enum jwt_error token_new(const json_t *claims, uint64_t expires_ms, uint64_t issued_ms, struct token **ret_token)
{
    struct wanted w = { 0 };
    enum jwt_error e = take_claims(claims, &w);
    struct token *t = e == JWT_OK ? token_put(&w) : NULL;
    free(w.info);
    if (e != JWT_OK)
        return e;
    if (t == NULL)
        return JWT_NO_MEMORY;
    t->expires_ms = expires_ms;
    t->issued_ms = issued_ms;
    *ret_token = t;
    return JWT_OK;
}

struct token *token_ref(struct token *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

uint64_t token_expires_in_ms(const struct token *t, uint64_t wall_ms)
{
    if (t == NULL || t->expires_ms == 0)
        return UINT64_MAX;
    return t->expires_ms > wall_ms ? t->expires_ms - wall_ms : 0;
}

struct token *token_unref(struct token *t)
{
    if (t != NULL && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
        free(t);
    return NULL;
}
