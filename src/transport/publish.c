#include "transport/publish.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "core/topic_name.h"
#include "proto/json_write.h"
#include "transport/client.h"
#include "transport/peer.h"

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
    [PUBLISH_RATE_LIMITED] = { "rate_limited", 429 },
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

bool publish_is_allowed(struct reactor *r, const struct rule_client *who, struct slice topic, struct publish_refusal *ret_why)
{
    char quoted[96];
    const char *bad = topic_name_error(topic.ptr, topic.len);
    if (bad != NULL)
        refuse(r, ret_why, PUBLISH_BAD_TOPIC, "bad topic '%s': %s", log_quote(quoted, sizeof quoted, topic.ptr, topic.len), bad);
    else if (topic.ptr[0] == '$')
        refuse(r, ret_why, PUBLISH_FORBIDDEN, "topics that begin with '$' are Halley's own: choose another name");
    else if (who->is_limited && !rules_claim_covers(who, topic.ptr, topic.len))
        refuse(r, ret_why, PUBLISH_FORBIDDEN, "publishing to '%s' is not allowed: no publish pattern of this key covers it",
               log_quote(quoted, sizeof quoted, topic.ptr, topic.len));
    else if (!rules_allow(r->rules, who, RULE_PUBLISH, topic.ptr, topic.len))
        refuse(r, ret_why, PUBLISH_FORBIDDEN, "publishing to '%s' is not allowed to %s by its topics rule",
               log_quote(quoted, sizeof quoted, topic.ptr, topic.len), who->is_backend ? "backends" : "clients");
    else
        return true;
    return false;
}

bool publish_is_in_rate(struct reactor *r, struct conn *c, size_t bytes, struct publish_refusal *ret_why)
{
    uint64_t retry_ms = 0;
    if (peer_may_publish(r, c, bytes, &retry_ms))
        return true;
    stat_add(&r->stats.rate_limited, 1);
    ret_why->retry_ms = retry_ms;
    refuse(r, ret_why, PUBLISH_RATE_LIMITED,
           "this client publishes more than limits.publish_rate or limits.publish_bytes allow: try again in %" PRIu64 " ms", retry_ms);
    return false;
}

/* ---- stamps: what a message says of who sent it */

struct publisher publisher_of(const struct client *c)
{
    return (struct publisher){ .rights = client_rights(c, RULE_PUBLISH), .name = client_name(c) };
}

#define FROM_MAX (6 * TOKEN_NAME_MAX + 64) /* a subject of control characters alone, the words, and a connection's name */

/* {"sub":"alice","connection":"9f86d081884c7d65"}: what is known of it. */
static struct slice write_from(const struct publisher *by, char room[FROM_MAX])
{
    char name[CLIENT_NAME_BYTES + 1];
    const char *subject = by->rights->subject;
    uint8_t *p = (uint8_t *)room;
    bool has_subject = subject != NULL && subject[0] != '\0';
    *p++ = '{';
    if (has_subject) {
        p = mempcpy(p, "\"sub\":", 6);
        p = json_put_string(p, (struct slice){ subject, strlen(subject) }, false);
    }
    if (by->name != 0) {
        client_format_name(by->name, name);
        p += sprintf((char *)p, "%s\"connection\":\"%s\"", has_subject ? "," : "", name);
    }
    *p++ = '}';
    return (struct slice){ room, (size_t)((char *)p - room) };
}

static struct message *make_message(const struct rule *rule, const struct publisher *by, struct slice topic, struct slice payload)
{
    char room[FROM_MAX];
    struct slice from = { 0 };
    if (rule->stamp_sender && !by->rights->is_backend)
        from = write_from(by, room);
    struct message *m = message_new_from(topic.ptr, topic.len, payload.ptr, (uint32_t)payload.len, from);
    if (m == NULL)
        return NULL;
    m->payload_kind = (uint8_t)rule->payload;
    m->on_slow = (uint8_t)rule->on_slow;
    m->has_events = rule->events;
    m->stamps = (uint8_t)((rule->stamp_sender ? MESSAGE_STAMP_SENDER : 0) | (rule->stamp_time ? MESSAGE_STAMP_TIME : 0));
    m->except = by->except;
    return m;
}

bool publish_parse_except(struct reactor *r, struct slice text, uint64_t *ret, struct publish_refusal *ret_why)
{
    struct client_place place;
    int found = client_find_name(text, r->server, &place);
    if (found == -EINVAL) {
        refuse(r, ret_why, PUBLISH_BAD_REQUEST, "who is not to get it is no connection's id or name");
        return false;
    }
    *ret = found == 0 ? place.name : 0;
    return true;
}

struct message *publish_prepare(struct reactor *r, const struct publisher *by, struct slice topic, struct slice payload,
                                struct publish_refusal *ret_why)
{
    if (!publish_is_allowed(r, by->rights, topic, ret_why))
        return NULL;
    if (payload.len > r->settings->max_message) {
        refuse(r, ret_why, PUBLISH_TOO_LARGE, "the payload has %zu bytes, limits.message is %" PRIu64, payload.len,
               r->settings->max_message);
        return NULL;
    }
    const struct rule *rule = rules_find(r->rules, topic.ptr, topic.len);
    if (!payload_fits(r, rule, payload, ret_why))
        return NULL;
    struct message *m = make_message(rule, by, topic, payload);
    if (m == NULL)
        refuse(r, ret_why, PUBLISH_UNAVAILABLE, "out of memory, try again later");
    return m;
}

/* ---- a payload that comes as a JSON value */

char *publish_json_text(const json_t *value)
{
    static const size_t digits[] = { JSON_REAL_PRECISION(15), JSON_REAL_PRECISION(16), JSON_REAL_PRECISION(17) };
    for (size_t i = 0;; i++) {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | digits[i]);
        if (text == NULL || i + 1 == HLY_ARRAY_LEN(digits))
            return text;
        json_t *again = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        bool same = json_equal(again, value);
        json_decref(again);
        if (same)
            return text;
        free(text);
    }
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Padded, in one way only, and without white space, '=' in the middle, or bits that mean nothing (RFC 4648 3.3, 3.5): EVP_DecodeBlock() takes all of these. */
static bool is_base64(struct slice s, size_t *ret_padding)
{
    size_t n = s.len;
    while (n > 0 && s.len - n < 2 && s.ptr[n - 1] == '=')
        n--;
    if (s.len % 4 != 0 || s.len > INT32_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (base64_digit(s.ptr[i]) < 0)
            return false;
    *ret_padding = s.len - n;
    return *ret_padding == 0 || (base64_digit(s.ptr[n - 1]) & (*ret_padding == 1 ? 3 : 15)) == 0;
}

static bool decode_base64(struct reactor *r, struct slice text, struct publish_payload *ret, struct publish_refusal *ret_why)
{
    size_t padding;
    if (!is_base64(text, &padding)) {
        refuse(r, ret_why, PUBLISH_BAD_REQUEST, "data must be base64: this topic's rule says payload = binary");
        return false;
    }
    char *bytes = malloc(text.len / 4 * 3 + 1);
    int n = bytes == NULL ? -1 : EVP_DecodeBlock((unsigned char *)bytes, (const unsigned char *)text.ptr, (int)text.len);
    if (n < 0) {
        free(bytes);
        refuse(r, ret_why, PUBLISH_UNAVAILABLE, "out of memory, try again later");
        return false;
    }
    *ret = (struct publish_payload){ { bytes, (size_t)n - padding }, bytes };
    return true;
}

bool publish_payload_from_json(struct reactor *r, struct slice topic, const json_t *data, struct publish_payload *ret,
                               struct publish_refusal *ret_why)
{
    const struct rule *rule = rules_find(r->rules, topic.ptr, topic.len);
    if (rule->payload == RULE_JSON) {
        char *text = publish_json_text(data);
        if (text == NULL) {
            refuse(r, ret_why, PUBLISH_UNAVAILABLE, "out of memory, try again later");
            return false;
        }
        *ret = (struct publish_payload){ { text, strlen(text) }, text };
        return true;
    }
    if (!json_is_string(data)) {
        refuse(r, ret_why, PUBLISH_BAD_REQUEST, "data must be a string: this topic's rule does not say payload = json");
        return false;
    }
    struct slice text = { json_string_value(data), json_string_length(data) };
    if (rule->payload == RULE_BINARY)
        return decode_base64(r, text, ret, ret_why);
    *ret = (struct publish_payload){ text, NULL };
    return true;
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
    else if (result == -ENOSPC)
        refuse(r, ret_why, PUBLISH_UNAVAILABLE, "the journal's disk is full, so nothing was published: try again later");
    else if (result == -EIO)
        refuse(r, ret_why, PUBLISH_UNAVAILABLE, "the journal cannot be written, so nothing was published: try again later");
    else if (result == -ECONNRESET)
        refuse(r, ret_why, PUBLISH_UNAVAILABLE, "this server is being replaced, and its successor has gone: whether this was published is not known, so try again with the same key");
    else if (result == -ESHUTDOWN)
        refuse(r, ret_why, PUBLISH_UNAVAILABLE, "the server is stopping: try again in a moment");
    else
        refuse(r, ret_why, PUBLISH_UNAVAILABLE, "out of memory, try again later");
}
