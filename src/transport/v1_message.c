#include "transport/v1_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/cursor.h"
#include "proto/json_write.h"

#define TOPIC "{\"topic\":"
#define CURSOR ",\"cursor\":\""
#define FROM ",\"from\":"
#define TIME ",\"time\":"
#define TIME_DIGITS 20
#define DATA ",\"data\":"
#define REPLAY ",\"replay\":"

static uint8_t *put_text(uint8_t *out, struct slice text)
{
    memcpy(out, text.ptr, text.len);
    return out + text.len;
}

/* In a script block an object is JavaScript, to which a member "__proto__" is no member (and two of them an error; ECMA-262 B.3.1), however it is
 * spelled. A payload that may have one is parsed there as the JSON that it is. */
#define PARSE "JSON.parse("

static bool is_only_json(struct slice payload)
{
    return memmem(payload.ptr, payload.len, "__proto__", 9) != NULL || memmem(payload.ptr, payload.len, "\\u", 2) != NULL;
}

#define JOIN ",\"join\":"
#define LEAVE ",\"leave\":"

static size_t data_size(struct message *m, bool for_script)
{
    struct slice payload = { message_payload(m), m->payload_len };
    switch ((enum rule_payload)m->payload_kind) {
    case RULE_TEXT:
        return json_string_size(payload, for_script);
    case RULE_JSON:
        if (for_script && is_only_json(payload))
            return sizeof PARSE - 1 + json_string_size(payload, true) + 1;
        return json_value_size(payload, for_script);
    case RULE_BINARY:
        break;
    }
    return json_base64_size(payload.len);
}

static uint8_t *put_data(uint8_t *out, struct message *m, bool for_script)
{
    struct slice payload = { message_payload(m), m->payload_len };
    switch ((enum rule_payload)m->payload_kind) {
    case RULE_TEXT:
        return json_put_string(out, payload, for_script);
    case RULE_JSON:
        if (for_script && is_only_json(payload)) {
            out = json_put_string(put_text(out, SLICE_LIT(PARSE)), payload, true);
            *out++ = ')';
            return out;
        }
        return json_put_value(out, payload, for_script);
    case RULE_BINARY:
        break;
    }
    return json_put_base64(out, payload); /* neither its letters nor '+', '/' and '=' mean anything to a script block */
}

static uint8_t *put_stamps(uint8_t *out, const struct message *m, bool for_script)
{
    if (m->from_len > 0)
        out = json_put_value(put_text(out, SLICE_LIT(FROM)), message_from(m), for_script);
    if (m->stamps & MESSAGE_STAMP_TIME)
        out += sprintf((char *)out, TIME "%" PRIu64, m->time_ms); /* its NUL is written over */
    return out;
}

size_t v1_message_bound(struct message *m, struct slice replay_id, bool for_script)
{
    size_t around = sizeof(TOPIC CURSOR "\"" DATA "}") - 1 + CURSOR_MAX_BYTES;
    if (replay_id.len > 0)
        around += sizeof(REPLAY) - 1 + replay_id.len;
    if (m->from_len > 0)
        around += sizeof(FROM) - 1 + json_value_size(message_from(m), for_script);
    if (m->stamps & MESSAGE_STAMP_TIME)
        around += sizeof(TIME) - 1 + TIME_DIGITS;
    return around + json_string_size(message_topic(m), for_script) + data_size(m, for_script);
}

uint8_t *v1_message_put(uint8_t *out, struct message *m, const char *epoch, struct slice replay_id, bool for_script)
{
    out = put_text(out, SLICE_LIT(TOPIC));
    out = json_put_string(out, message_topic(m), for_script);
    if (m->kind != MESSAGE_DATA) {
        out = put_text(out, m->kind == MESSAGE_JOIN ? SLICE_LIT(JOIN) : SLICE_LIT(LEAVE));
        out = put_data(out, m, for_script);
        *out++ = '}';
        return out;
    }
    out = put_text(out, SLICE_LIT(CURSOR));
    out += cursor_format((char *)out, epoch, m->seq); /* its NUL is written over */
    *out++ = '"';
    out = put_stamps(out, m, for_script);
    out = put_text(out, SLICE_LIT(DATA));
    out = put_data(out, m, for_script);
    if (replay_id.len > 0) {
        out = put_text(out, SLICE_LIT(REPLAY));
        out = put_text(out, replay_id);
    }
    *out++ = '}';
    return out;
}
