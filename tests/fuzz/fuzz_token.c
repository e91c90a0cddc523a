/* Whatever claims an issuer signs, they make a token that keeps what token.h says, or are refused with a reason. What the token grants is then asked for every
 * topic that it names: a grant is for that and for nothing of Halley's own. */
#include "auth/token.h"

#include <stdlib.h>
#include <string.h>

#include "core/topic_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SLICE(s) { (s), sizeof(s) - 1 } /* SLICE_LIT() for what is static */

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_list(struct token_list list)
{
    must(list.count <= TOKEN_PATTERNS_MAX);
    for (size_t i = 0; i < list.count; i++)
        must(pattern_error(list.names[i].ptr, list.names[i].len) == NULL && list.names[i].ptr[list.names[i].len] == '\0');
}

static void check_rights(const struct token *t, struct rules *rules)
{
    const struct token_list lists[] = { t->subscribe, t->publish, t->auto_names };
    for (size_t l = 0; l < HLY_ARRAY_LEN(lists); l++) {
        for (size_t i = 0; i < lists[l].count; i++) {
            struct slice name = lists[l].names[i];
            for (enum rule_action a = RULE_SUBSCRIBE; a <= RULE_PUBLISH; a++) {
                bool may = rules_allow(rules, &t->rights[a], a, name.ptr, name.len);
                must(!may || name.ptr[0] != '$'); /* events are the backends' */
            }
        }
    }
    must(!rules_allow(rules, &t->rights[RULE_PUBLISH], RULE_PUBLISH, "closed/x", 8));
}

static void check(const json_t *claims, struct rules *rules)
{
    struct token *t;
    enum jwt_error error = token_new(claims, 1000, 0, &t);
    if (error != JWT_OK)
        return;
    must(strlen(t->subject) <= TOKEN_NAME_MAX && strlen(t->id) <= TOKEN_NAME_MAX && t->info.len <= TOKEN_INFO_MAX);
    check_list(t->subscribe);
    check_list(t->publish);
    check_list(t->auto_names);
    if (t->info.len > 0) {
        json_t *info = json_loadb(t->info.ptr, t->info.len, JSON_ALLOW_NUL, NULL);
        must(json_is_object(info));
        json_decref(info);
    }
    must(token_expires_in_ms(t, 1000) == 0 && token_expires_in_ms(t, 1) == 999);
    check_rights(t, rules);
    token_unref(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rule list[] = {
        { .pattern = SLICE("closed/**"), .subscribe = RULE_TOKEN, .publish = RULE_BACKEND },
        { .pattern = SLICE("user/{sub}/**"), .subscribe = RULE_TOKEN, .publish = RULE_TOKEN },
        { .pattern = SLICE("**"), .subscribe = RULE_TOKEN, .publish = RULE_TOKEN },
    };
    json_t *claims = json_loadb((const char *)data, size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    if (claims == NULL)
        return 0;
    struct rules *rules = rules_new(list, HLY_ARRAY_LEN(list));
    must(rules != NULL);
    if (json_is_object(claims))
        check(claims, rules);
    rules_unref(rules);
    json_decref(claims);
    return 0;
}
