#include "transport/publish.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "base/utf8.h"
#include "core/topic_name.h"

static const struct {
    const char *name;
    unsigned status;
} errors[] = {
    [PUBLISH_OK] = { "ok", 200 },
    [PUBLISH_BAD_REQUEST] = { "bad_request", 400 },
    [PUBLISH_BAD_TOPIC] = { "bad_topic", 400 },
    [PUBLISH_FORBIDDEN] = { "forbidden", 403 },
    [PUBLISH_TOO_LARGE] = { "too_large", 413 },
    [PUBLISH_TOO_MANY] = { "too_many", 429 },
    [PUBLISH_UNAVAILABLE] = { "unavailable", 503 },
};

const char *publish_error_name(enum publish_error e)
{
    return errors[e].name;
}

unsigned publish_error_status(enum publish_error e)
{
    return errors[e].status;
}

HLY_PRINTF(4, 5)
static void refuse(struct reactor *r, struct publish_refusal *why, enum publish_error code, const char *fmt, ...)
{
    static struct log_gate gate;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why->text, sizeof why->text, fmt, ap);
    va_end(ap);
    why->code = code;
    stat_add(&r->stats.publish_refused, 1);
    log_limited(&gate, LOG_LEVEL_INFO, "publish_refused", "code=%s %s", publish_error_name(code), why->text);
}

static bool is_json(struct slice payload)
{
    json_error_t error;
    json_t *value = json_loadb(payload.ptr, payload.len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    json_decref(value);
    return value != NULL;
}

static bool payload_fits(struct reactor *r, const struct rule *rule, struct slice payload, struct publish_refusal *why)
{
    switch (rule->payload) {
    case RULE_TEXT:
        if (utf8_is_valid(payload.ptr, payload.len))
            return true;
        refuse(r, why, PUBLISH_BAD_REQUEST,
               "the payload is not UTF-8, and this topic takes text: set payload = binary in its topics rule");
        return false;
    case RULE_JSON:
        if (is_json(payload))
            return true;
        refuse(r, why, PUBLISH_BAD_REQUEST, "the payload is not valid JSON, and this topic's rule says payload = json");
        return false;
    case RULE_BINARY:
        return true;
    }
    return false;
}

struct message *publish_prepare(struct reactor *r, const struct rule_client *who, struct slice topic, struct slice payload,
                                struct publish_refusal *ret_why)
{
    char quoted[96];
    const char *bad = topic_name_error(topic.ptr, topic.len);
    if (bad != NULL) {
        refuse(r, ret_why, PUBLISH_BAD_TOPIC, "bad topic '%s': %s", log_quote(quoted, sizeof quoted, topic.ptr, topic.len), bad);
        return NULL;
    }
    if (topic.ptr[0] == '$') {
        refuse(r, ret_why, PUBLISH_FORBIDDEN, "topics that begin with '$' are Halley's own: choose another name");
        return NULL;
    }
    if (!rules_allow(r->rules, who, RULE_PUBLISH, topic.ptr, topic.len)) {
        refuse(r, ret_why, PUBLISH_FORBIDDEN, "publishing to '%s' is not allowed to %s by its topics rule",
               log_quote(quoted, sizeof quoted, topic.ptr, topic.len), who->is_backend ? "backends" : "clients");
        return NULL;
    }
    if (payload.len > r->settings->max_message) {
        refuse(r, ret_why, PUBLISH_TOO_LARGE, "the payload has %zu bytes, limits.message is %" PRIu64, payload.len,
               r->settings->max_message);
        return NULL;
    }
    const struct rule *rule = rules_find(r->rules, topic.ptr, topic.len);
    if (!payload_fits(r, rule, payload, ret_why))
        return NULL;
    struct message *m = message_new(topic.ptr, topic.len, payload.ptr, (uint32_t)payload.len);
    if (m == NULL) {
        refuse(r, ret_why, PUBLISH_UNAVAILABLE, "out of memory, try again later");
        return NULL;
    }
    m->payload_kind = (uint8_t)rule->payload;
    m->on_slow = (uint8_t)rule->on_slow;
    return m;
}

bool publish_check_key(struct reactor *r, struct slice key, struct publish_refusal *ret_why)
{
    if (key.len >= 1 && key.len <= PUBLISH_KEY_MAX_BYTES)
        return true;
    refuse(r, ret_why, PUBLISH_BAD_REQUEST, "an idempotency key has 1 to %d bytes, this one has %zu", PUBLISH_KEY_MAX_BYTES,
           key.len);
    return false;
}

void publish_explain(struct reactor *r, int result, struct publish_refusal *ret_why)
{
    if (result == -EDQUOT)
        refuse(r, ret_why, PUBLISH_TOO_MANY, "limits.topics is reached: no new topic can be kept");
    else
        refuse(r, ret_why, PUBLISH_UNAVAILABLE, "out of memory, try again later");
}
