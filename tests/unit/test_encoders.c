#include "transport/encoders.h"

#include <jansson.h>

#include "core/cursor.h"
#include "proto/ws_frame.h"
#include "support.h"
#include "transport/v1_message.h"

#define EPOCH "k3f9abcd"

static struct message *make(const char *topic, const void *payload, size_t len, enum rule_payload kind)
{
    struct message *m = message_new(topic, strlen(topic), payload, (uint32_t)len);
    m->seq = 1041;
    m->payload_kind = (uint8_t)kind;
    return m;
}

static struct feed *make_feed(const char *name, bool is_pattern)
{
    struct feed *f = calloc(1, sizeof *f + strlen(name));
    f->is_pattern = is_pattern;
    f->name_len = (uint8_t)strlen(name);
    memcpy(f->name, name, strlen(name));
    return f;
}

/* Into memory of exactly the bound, so that a sanitizer sees more. The caller frees *ret_out. */
static uint32_t encode(enum wire_form form, struct message *m, const struct feed *f, uint8_t **ret_out)
{
    const struct wire_encoder *e = &transport_encoders[form];
    uint32_t bound = e->bound(m, f);
    *ret_out = malloc(bound);
    uint32_t len = e->encode(m, f, EPOCH, *ret_out);
    HOLDS(len > 0 && len <= bound);
    return len;
}

/* ---- plain WebSocket (RFC 6455 5.2): the payload in one frame, not masked */

static const struct {
    const char *name;
    enum rule_payload kind;
    uint32_t len;
    uint8_t header[10];
    uint32_t header_len;
} frames[] = {
    { "no bytes", RULE_TEXT, 0, { 0x81, 0 }, 2 },
    { "a few", RULE_TEXT, 5, { 0x81, 5 }, 2 },
    { "the longest with a length of 7 bits", RULE_TEXT, 125, { 0x81, 125 }, 2 },
    { "the shortest with 16 bits", RULE_TEXT, 126, { 0x81, 126, 0, 126 }, 4 },
    { "the longest with 16 bits", RULE_TEXT, 65535, { 0x81, 126, 0xff, 0xff }, 4 },
    { "the shortest with 64 bits", RULE_TEXT, 65536, { 0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0 }, 10 },
    { "JSON is text", RULE_JSON, 5, { 0x81, 5 }, 2 },
    { "binary", RULE_BINARY, 5, { 0x82, 5 }, 2 },
};

START_TEST(a_websocket_frame_is_a_header_and_the_payload)
{
    uint8_t *payload = malloc(frames[_i].len + 1), *out;
    memset(payload, 'p', frames[_i].len);
    struct message *m = make("topic", payload, frames[_i].len, frames[_i].kind);
    uint32_t len = encode(WIRE_WS_PLAIN, m, NULL, &out);
    ck_assert_msg(len == frames[_i].header_len + frames[_i].len, "%s: %u bytes", frames[_i].name, len);
    ck_assert_mem_eq(out, frames[_i].header, frames[_i].header_len);
    if (frames[_i].len > 0)
        ck_assert_mem_eq(out + frames[_i].header_len, payload, frames[_i].len);
    free(out);
    free(payload);
    message_unref(m);
}
END_TEST

/* ---- SSE (WHATWG HTML 9.2.6) and RESP, as text */

#define CURSOR "id: " EPOCH "-1041\n"

static const struct {
    const char *name;
    enum wire_form form;
    const char *feed; /* NULL: there is none */
    bool is_pattern;
    const char *payload;
    const char *want;
} texts[] = {
    { "one line", WIRE_SSE, NULL, false, "hello", CURSOR "data: hello\n\n" },
    { "no payload: an event with no data would not be one", WIRE_SSE, NULL, false, "", CURSOR "data: \n\n" },
    { "LF", WIRE_SSE, NULL, false, "a\nb", CURSOR "data: a\ndata: b\n\n" },
    { "CR", WIRE_SSE, NULL, false, "a\rb", CURSOR "data: a\ndata: b\n\n" },
    { "CR LF is one line ending", WIRE_SSE, NULL, false, "a\r\nb", CURSOR "data: a\ndata: b\n\n" },
    { "LF CR is two", WIRE_SSE, NULL, false, "a\n\rb", CURSOR "data: a\ndata: \ndata: b\n\n" },
    { "a line ending at the end", WIRE_SSE, NULL, false, "a\n", CURSOR "data: a\ndata: \n\n" },
    { "CR LF at the end", WIRE_SSE, NULL, false, "a\r\n", CURSOR "data: a\ndata: \n\n" },
    { "CR at the end", WIRE_SSE, NULL, false, "a\r", CURSOR "data: a\ndata: \n\n" },
    { "line endings alone", WIRE_SSE, NULL, false, "\n\n", CURSOR "data: \ndata: \ndata: \n\n" },
    { "an empty line cannot end the event", WIRE_SSE, NULL, false, "a\n\nb", CURSOR "data: a\ndata: \ndata: b\n\n" },
    { "a payload cannot be a field", WIRE_SSE, NULL, false, "x\nid: 7\nevent: y",
      CURSOR "data: x\ndata: id: 7\ndata: event: y\n\n" },
    { "a space at the beginning stays", WIRE_SSE, NULL, false, " a", CURSOR "data:  a\n\n" },
    { "a colon is nothing special", WIRE_SSE, NULL, false, ":a", CURSOR "data: :a\n\n" },

    { "message, RESP2", WIRE_RESP2, "news", false, "hi", "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n" },
    { "message, RESP3: a push", WIRE_RESP3, "news", false, "hi", ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n" },
    { "pmessage, RESP2", WIRE_RESP2, "n*", true, "hi",
      "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n" },
    { "pmessage, RESP3", WIRE_RESP3, "n*", true, "hi",
      ">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n" },
    { "a pattern without a wildcard is one (PSUBSCRIBE news)", WIRE_RESP2, "news", true, "",
      "*4\r\n$8\r\npmessage\r\n$4\r\nnews\r\n$4\r\nnews\r\n$0\r\n\r\n" },
    { "`**` by its name", WIRE_RESP2, "**", true, "hi",
      "*4\r\n$8\r\npmessage\r\n$2\r\n**\r\n$4\r\nnews\r\n$2\r\nhi\r\n" },
    { "`**` to who said `*`, RESP2", WIRE_RESP2_STAR, "**", true, "hi",
      "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$4\r\nnews\r\n$2\r\nhi\r\n" },
    { "`**` to who said `*`, RESP3", WIRE_RESP3_STAR, "**", true, "hi",
      ">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$4\r\nnews\r\n$2\r\nhi\r\n" },
    { "other patterns of who said `*`", WIRE_RESP2_STAR, "n*", true, "hi",
      "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n" },
    { "topics of who said `*`", WIRE_RESP3_STAR, "news", false, "hi",
      ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n" },

    { "an entry of a stream", WIRE_RESP_ENTRY, NULL, false, "hi",
      "*2\r\n$13\r\n" EPOCH "-1041\r\n*2\r\n$4\r\ndata\r\n$2\r\nhi\r\n" },
    { "an empty one", WIRE_RESP_ENTRY, "news", false, "",
      "*2\r\n$13\r\n" EPOCH "-1041\r\n*2\r\n$4\r\ndata\r\n$0\r\n\r\n" },
    { "an entry of a pattern's", WIRE_RESP_ENTRY_TOPIC, NULL, false, "hi",
      "*2\r\n$13\r\n" EPOCH "-1041\r\n*4\r\n$4\r\ndata\r\n$2\r\nhi\r\n$5\r\ntopic\r\n$4\r\nnews\r\n" },
};

START_TEST(a_message_looks_as_its_protocol_says)
{
    uint8_t *out;
    struct feed *f = texts[_i].feed != NULL ? make_feed(texts[_i].feed, texts[_i].is_pattern) : NULL;
    struct message *m = make("news", texts[_i].payload, strlen(texts[_i].payload), RULE_TEXT);
    uint32_t len = encode(texts[_i].form, m, f, &out);
    ck_assert_msg(len == strlen(texts[_i].want) && memcmp(out, texts[_i].want, len) == 0, "%s: got %.*s",
                  texts[_i].name, (int)len, out);
    free(out);
    free(f);
    message_unref(m);
}
END_TEST

START_TEST(resp_carries_any_bytes)
{
    static const char payload[] = "a\r\n\0$5\r\n\xff";
    uint8_t *out;
    struct feed *f = make_feed("news", false);
    struct message *m = make("news", payload, sizeof payload - 1, RULE_BINARY);
    uint32_t len = encode(WIRE_RESP2, m, f, &out);
    ck_assert_uint_ge(len, sizeof payload + 1);
    ck_assert_mem_eq(out + len - 2 - (sizeof payload - 1), payload, sizeof payload - 1);
    free(out);
    free(f);
    message_unref(m);
}
END_TEST

START_TEST(binary_in_an_event_is_base64)
{
    static const struct {
        const char *payload;
        size_t len;
        const char *want;
    } cases[] = { { "", 0, "" },
                  { "\0", 1, "AA==" },
                  { "a\n", 2, "YQo=" },
                  { "\xff\r\n", 3, "/w0K" },
                  { "\r\n\r\n", 4, "DQoNCg==" } };
    for (size_t i = 0; i < HLY_ARRAY_LEN(cases); i++) {
        char want[64];
        uint8_t *out;
        struct message *m = make("t", cases[i].payload, cases[i].len, RULE_BINARY);
        uint32_t len = encode(WIRE_SSE, m, NULL, &out);
        snprintf(want, sizeof want, CURSOR "data: %s\n\n", cases[i].want);
        ck_assert_msg(len == strlen(want) && memcmp(out, want, len) == 0, "%s: got %.*s", want, (int)len, out);
        free(out);
        message_unref(m);
    }
}
END_TEST

/* ---- halley.v1 (doc/protocol.md): one object, in four forms */

#define JSON_FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL)
#define L(text) (text), sizeof(text) - 1 /* with what follows a NUL */

#define V1_BEGIN "{\"topic\":\"news\",\"cursor\":\"" EPOCH "-1041\",\"data\":"

/* What each form has around the object; a frame's header is looked at on its own. */
static const struct {
    enum wire_form form;
    bool for_script;
    const char *before;
    const char *after;
} v1_forms[] = {
    { WIRE_WS_V1, false, "", "" },
    { WIRE_SSE_V1, false, CURSOR "data: ", "\n\n" },
    { WIRE_NDJSON, false, "", "\n" },
    { WIRE_IFRAME, true, "<script>h(", ")</script>\n" },
};

static const struct {
    const char *name;
    enum rule_payload kind;
    struct slice payload;
    const char *data;
    const char *script; /* in a script, if that is another one */
} v1_data[] = {
    { "text", RULE_TEXT, { L("hi") }, "\"hi\"", NULL },
    { "no text", RULE_TEXT, { L("") }, "\"\"", NULL },
    { "text that looks like JSON", RULE_TEXT, { L("{\"a\":1}") }, "\"{\\\"a\\\":1}\"", NULL },
    { "text of several lines", RULE_TEXT, { L("a\r\nb\n\nid: 7") }, "\"a\\r\\nb\\n\\nid: 7\"", NULL },
    { "text with a NUL", RULE_TEXT, { L("a\0b") }, "\"a\\u0000b\"", NULL },
    { "text that ends a script",
      RULE_TEXT,
      { L("</script><script>alert(1)") },
      "\"</script><script>alert(1)\"",
      "\"\\u003c/script\\u003e\\u003cscript\\u003ealert(1)\"" },
    { "text that ends the call", RULE_TEXT, { L("\");alert(1);//") }, "\"\\\");alert(1);//\"", NULL },
    { "text that ends a line in a script", RULE_TEXT, { L("\xe2\x80\xa8") }, "\"\xe2\x80\xa8\"", "\"\\u2028\"" },
    { "JSON", RULE_JSON, { L("{\"a\":[1,null,\"b\"]}") }, "{\"a\":[1,null,\"b\"]}", NULL },
    { "JSON that is no object", RULE_JSON, { L("-0.5e7") }, "-0.5e7", NULL },
    { "JSON with CR, LF and tab between tokens",
      RULE_JSON,
      { L("\n{\r\n\t\"a\"\r:\n1\n}\r\n") },
      " {  \t\"a\" : 1 }  ",
      NULL },
    { "JSON that ends a script",
      RULE_JSON,
      { L("[\"</script>\",\n\"<!--&\"]") },
      "[\"</script>\", \"<!--&\"]",
      "[\"\\u003c/script\\u003e\", \"\\u003c!--\\u0026\"]" },
    { "JSON with members like ours",
      RULE_JSON,
      { L("{\"topic\":\"x\",\"replay\":1}") },
      "{\"topic\":\"x\",\"replay\":1}",
      NULL },
    { "binary", RULE_BINARY, { L("\xff\r\n") }, "\"/w0K\"", NULL },
    { "no bytes", RULE_BINARY, { L("") }, "\"\"", NULL },
    { "binary that is JSON stays binary", RULE_BINARY, { L("{}") }, "\"e30=\"", NULL },
};

/* Bytes of the header of one unmasked, final text frame (RFC 6455 5.2), whose payload is all the rest. */
static size_t text_frame_header(const uint8_t *out, size_t len)
{
    HOLDS(len >= 2 && out[0] == 0x81 && out[1] <= 127);
    size_t header = out[1] < 126 ? 2 : out[1] == 126 ? 4 : 10;
    uint64_t payload_len = out[1] < 126 ? out[1] : 0;
    for (size_t i = 2; i < header; i++)
        payload_len = payload_len << 8 | out[i];
    HOLDS(len - header == payload_len);
    return header;
}

/* The object in what was encoded: what stands around it has been checked. */
static struct slice v1_object(size_t form, const uint8_t *out, size_t len)
{
    size_t before = strlen(v1_forms[form].before), after = strlen(v1_forms[form].after);
    HOLDS(len >= before + after && memcmp(out + len - after, v1_forms[form].after, after) == 0);
    HOLDS(memcmp(out, v1_forms[form].before, before) == 0);
    if (v1_forms[form].form == WIRE_WS_V1)
        before = text_frame_header(out, len);
    return (struct slice){ (const char *)out + before, len - before - after };
}

static bool has_line_end(struct slice s)
{
    return memchr(s.ptr, '\n', s.len) != NULL || memchr(s.ptr, '\r', s.len) != NULL;
}

static bool is_script_safe(struct slice s)
{
    return memchr(s.ptr, '<', s.len) == NULL && memchr(s.ptr, '>', s.len) == NULL &&
           memchr(s.ptr, '&', s.len) == NULL && memmem(s.ptr, s.len, "\xe2\x80\xa8", 3) == NULL &&
           memmem(s.ptr, s.len, "\xe2\x80\xa9", 3) == NULL;
}

/* What the payload is to whoever parses the object. The caller decrefs it. */
static json_t *v1_value(struct message *m)
{
    if (m->payload_kind == RULE_JSON)
        return json_loadb(message_payload(m), m->payload_len, JSON_FLAGS, NULL);
    if (m->payload_kind == RULE_TEXT)
        return json_stringn(message_payload(m), m->payload_len);
    char *text = calloc(1, 4 * (size_t)m->payload_len / 3 + 8);
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = (const uint8_t *)message_payload(m);
    size_t at = 0;
    for (size_t i = 0; i < m->payload_len; i += 3) {
        size_t have = m->payload_len - i;
        uint32_t bits = (uint32_t)p[i] << 16 | (have > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (have > 2 ? p[i + 2] : 0u);
        for (unsigned digit = 0; digit < 4; digit++)
            text[at++] = digit > have ? '=' : digits[bits >> (18 - 6 * digit) & 63];
    }
    json_t *value = json_string(text);
    free(text);
    return value;
}

/* Parsed with another parser, it is the message: three members, and the stamps that it has. */
static void check_v1_object(struct slice object, struct message *m)
{
    char cursor[CURSOR_MAX_BYTES + 1];
    json_t *root = json_loadb(object.ptr, object.len, JSON_FLAGS | JSON_REJECT_DUPLICATES, NULL), *data = v1_value(m);
    struct slice topic = message_topic(m);
    cursor_format(cursor, EPOCH, m->seq);
    bool has_time = (m->stamps & MESSAGE_STAMP_TIME) != 0;
    HOLDS(json_is_object(root) && json_object_size(root) == 3u + has_time + (m->from_len > 0));
    json_t *from = json_loadb(message_from(m).ptr, m->from_len, 0, NULL);
    HOLDS(m->from_len == 0 || json_equal(json_object_get(root, "from"), from));
    HOLDS(!has_time || json_number_value(json_object_get(root, "time")) == (double)m->time_ms);
    json_decref(from);
    const json_t *name = json_object_get(root, "topic");
    HOLDS(json_string_length(name) == topic.len && memcmp(json_string_value(name), topic.ptr, topic.len) == 0);
    HOLDS(strcmp(json_string_value(json_object_get(root, "cursor")), cursor) == 0);
    HOLDS(data != NULL && json_equal(json_object_get(root, "data"), data));
    json_decref(data);
    json_decref(root);
}

START_TEST(a_halley_v1_object_is_topic_cursor_and_data)
{
    struct message *m = make("news", v1_data[_i].payload.ptr, v1_data[_i].payload.len, v1_data[_i].kind);
    for (size_t form = 0; form < HLY_ARRAY_LEN(v1_forms); form++) {
        uint8_t *out;
        char want[256];
        bool is_other = v1_forms[form].for_script && v1_data[_i].script != NULL;
        snprintf(want, sizeof want, V1_BEGIN "%s}", is_other ? v1_data[_i].script : v1_data[_i].data);
        uint32_t len = encode(v1_forms[form].form, m, NULL, &out);
        struct slice object = v1_object(form, out, len);
        ck_assert_msg(object.len == strlen(want) && memcmp(object.ptr, want, object.len) == 0, "%s, form %zu: got %.*s",
                      v1_data[_i].name, form, (int)object.len, object.ptr);
        check_v1_object(object, m);
        ck_assert(!has_line_end(object));
        ck_assert(!v1_forms[form].for_script || is_script_safe(object));
        free(out);
    }
    message_unref(m);
}
END_TEST

START_TEST(a_halley_v1_bound_is_exact_with_the_longest_cursor)
{
    struct message *m = make("news", v1_data[_i].payload.ptr, v1_data[_i].payload.len, v1_data[_i].kind);
    m->seq = UINT64_MAX;
    for (size_t form = 0; form < HLY_ARRAY_LEN(v1_forms); form++) {
        uint8_t *out;
        uint32_t len = encode(v1_forms[form].form, m, NULL, &out);
        if (v1_forms[form].form == WIRE_WS_V1) /* but for its header, which may have been the longest */
            len = len - (uint32_t)text_frame_header(out, len) + WS_FRAME_HEADER_OUT_MAX;
        ck_assert_uint_eq(transport_encoders[v1_forms[form].form].bound(m, NULL), len);
        free(out);
    }
    message_unref(m);
}
END_TEST

/* Objects from the shortest up, over every length at which a frame's header grows (RFC 6455 5.2), also where base64 or escapes
 * take the object there and not the payload. */
START_TEST(the_header_of_a_frame_fits_its_object)
{
    static const struct {
        enum rule_payload kind;
        char byte;
        uint32_t from, to; /* bytes of payload */
        unsigned headers;  /* bit n: one of n bytes */
    } ranges[] = {
        { RULE_TEXT, 'x', 0, 140, 1u << 2 | 1u << 4 },          { RULE_BINARY, 'x', 0, 100, 1u << 2 | 1u << 4 },
        { RULE_TEXT, 'x', 65475, 65495, 1u << 4 | 1u << 10 },   { RULE_TEXT, 'x', 65530, 65540, 1u << 10 },
        { RULE_TEXT, '\n', 32735, 32750, 1u << 4 | 1u << 10 },  { RULE_TEXT, 1, 10910, 10920, 1u << 4 | 1u << 10 },
        { RULE_BINARY, 'x', 49105, 49120, 1u << 4 | 1u << 10 },
    };
    char payload[66000];
    for (size_t r = 0; r < HLY_ARRAY_LEN(ranges); r++) {
        unsigned seen = 0;
        memset(payload, ranges[r].byte, sizeof payload);
        for (uint32_t len = ranges[r].from; len <= ranges[r].to; len++) {
            uint8_t *out;
            struct message *m = make("t", payload, len, ranges[r].kind);
            uint32_t bytes = encode(WIRE_WS_V1, m, NULL, &out);
            struct slice object = v1_object(0, out, bytes);
            check_v1_object(object, m);
            HOLDS(bytes - object.len == ws_frame_header_size(object.len)); /* 5.2: the shortest */
            seen |= 1u << (bytes - object.len);
            free(out);
            message_unref(m);
        }
        ck_assert_msg(seen == ranges[r].headers, "range %zu: headers %x", r,
                      seen); /* else it is another range to test */
    }
}
END_TEST

START_TEST(a_topic_is_escaped_as_data_is)
{
    static const char topic[] = "a\"\\</script>&\xe2\x80\xa9";
    struct message *m = make(topic, "hi", 2, RULE_TEXT);
    for (size_t form = 0; form < HLY_ARRAY_LEN(v1_forms); form++) {
        uint8_t *out;
        uint32_t len = encode(v1_forms[form].form, m, NULL, &out);
        struct slice object = v1_object(form, out, len);
        check_v1_object(object, m);
        ck_assert(!v1_forms[form].for_script || is_script_safe(object));
        free(out);
    }
    message_unref(m);
}
END_TEST

START_TEST(a_replayed_message_says_so_last)
{
    static const char *const ids[] = { "1", "-7", "0.5e9", "9007199254740993" };
    for (size_t i = 0; i < HLY_ARRAY_LEN(ids); i++) {
        struct message *m = make("news", "hi", 2, RULE_TEXT);
        m->seq = UINT64_MAX; /* the longest cursor: the bound is exact */
        char want[128];
        size_t bound = v1_message_bound(m, TEXT(ids[i]), false);
        uint8_t *out = malloc(bound);
        size_t len = (size_t)(v1_message_put(out, m, EPOCH, TEXT(ids[i]), false) - out);
        snprintf(want, sizeof want,
                 "{\"topic\":\"news\",\"cursor\":\"" EPOCH "-18446744073709551615\",\"data\":\"hi\",\"replay\":%s}",
                 ids[i]);
        ck_assert_uint_eq(len, bound);
        ck_assert_msg(len == strlen(want) && memcmp(out, want, len) == 0, "got %.*s", (int)len, out);
        free(out);
        message_unref(m);
    }
}
END_TEST

/* ---- stamps */

#define FROM "{\"sub\":\"a</script>\",\"connection\":\"0123456789abcdef\"}"
#define OBJECT(from) \
    "{\"topic\":\"news\",\"cursor\":\"" EPOCH "-1041\",\"from\":" from ",\"time\":1764000000123,\"data\":\"hi\"}"
#define ENTRY "$13\r\n" EPOCH "-1041\r\n*"

static const struct {
    const char *name;
    enum wire_form form;
    const char *feed;
    bool is_pattern;
    const char *want;
} stamped[] = {
    { "halley.v1 has who and when", WIRE_NDJSON, NULL, false, OBJECT(FROM) "\n" },
    { "who cannot end a script", WIRE_IFRAME, NULL, false,
      "<script>h(" OBJECT("{\"sub\":\"a\\u003c/script\\u003e\",\"connection\":\"0123456789abcdef\"}") ")</script>\n" },
    { "an event of JSON", WIRE_SSE_JSON, NULL, false, CURSOR "data: " OBJECT(FROM) "\n\n" },
    { "an event of the payload alone", WIRE_SSE, NULL, false, CURSOR "data: hi\n\n" },
    { "a frame of the payload alone", WIRE_WS_PLAIN, NULL, false, "\x81\x02hi" },
    { "SUBSCRIBE gets the object", WIRE_RESP2, "news", false, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$134\r\n" OBJECT(FROM) "\r\n" },
    { "in RESP3, too", WIRE_RESP3, "news", false, ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$134\r\n" OBJECT(FROM) "\r\n" },
    { "PSUBSCRIBE gets the object", WIRE_RESP2_STAR, "**", true,
      "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$4\r\nnews\r\n$134\r\n" OBJECT(FROM) "\r\n" },
    { "an entry has more fields", WIRE_RESP_ENTRY, NULL, false,
      "*2\r\n" ENTRY "6\r\n$4\r\ndata\r\n$2\r\nhi\r\n$4\r\nfrom\r\n$52\r\n" FROM "\r\n$4\r\ntime\r\n$13\r\n1764000000123\r\n" },
    { "an entry of a pattern's", WIRE_RESP_ENTRY_TOPIC, NULL, false,
      "*2\r\n" ENTRY "8\r\n$4\r\ndata\r\n$2\r\nhi\r\n$5\r\ntopic\r\n$4\r\nnews\r\n$4\r\nfrom\r\n$52\r\n" FROM
      "\r\n$4\r\ntime\r\n$13\r\n1764000000123\r\n" },
};

static struct message *make_stamped(const void *payload, size_t len, enum rule_payload kind, const char *from, unsigned stamps)
{
    struct message *m = message_new_from("news", 4, payload, (uint32_t)len, TEXT(from));
    m->seq = 1041;
    m->payload_kind = (uint8_t)kind;
    m->stamps = (uint8_t)stamps;
    m->time_ms = 1764000000123;
    return m;
}

START_TEST(a_stamped_message_says_who_and_when_where_there_is_a_place_for_it)
{
    uint8_t *out;
    struct feed *f = stamped[_i].feed != NULL ? make_feed(stamped[_i].feed, stamped[_i].is_pattern) : NULL;
    struct message *m = make_stamped("hi", 2, RULE_TEXT, FROM, MESSAGE_STAMP_SENDER | MESSAGE_STAMP_TIME);
    uint32_t len = encode(stamped[_i].form, m, f, &out);
    ck_assert_msg(len == strlen(stamped[_i].want) && memcmp(out, stamped[_i].want, len) == 0, "%s: got %.*s", stamped[_i].name, (int)len, out);
    free(out);
    free(f);
    message_unref(m);
}
END_TEST

/* What a backend published has no sender, but the same form: whoever reads the topic parses one thing. */
START_TEST(a_message_without_a_sender_is_an_object_on_a_stamped_topic_too)
{
    static const char want[] = "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$53\r\n" V1_BEGIN "\"hi\"}\r\n";
    uint8_t *out;
    struct feed *f = make_feed("news", false);
    struct message *m = make_stamped("hi", 2, RULE_TEXT, "", MESSAGE_STAMP_SENDER);
    uint32_t len = encode(WIRE_RESP2, m, f, &out);
    ck_assert_msg(len == sizeof want - 1 && memcmp(out, want, len) == 0, "got %.*s", (int)len, out);
    free(out);
    free(f);
    message_unref(m);
}
END_TEST

static size_t random_payload(enum rule_payload kind, char *out, size_t max)
{
    static const char *const text[] = { "<",
                                        ">",
                                        "&",
                                        "\"",
                                        "\\",
                                        "\n",
                                        "\r",
                                        "\x01",
                                        "\xe2\x80\xa8",
                                        "\xe2\x80\xa9",
                                        "\xe2\x82\xac",
                                        "\xf0\x9f\x98\x80",
                                        "</script>",
                                        "<!--",
                                        "]]>",
                                        "xxxxxxxx",
                                        "x" };
    static const char *const json[] = { "\n1",  "\r\n\"</script>\"", "\"\xe2\x80\xa8\"\t", "{\"&\":\n\"\\\\<\"}",
                                        "[\r]", "\"xxxxxxxxx\"" };
    size_t len = 0;
    if (kind == RULE_BINARY) {
        for (; len < max; len++)
            out[len] = (char)below(256);
        return len;
    }
    if (kind == RULE_JSON)
        out[len++] = '[';
    while (len + 20 < max) {
        const char *piece = kind == RULE_TEXT ? text[below(HLY_ARRAY_LEN(text))] : json[below(HLY_ARRAY_LEN(json))];
        if (kind == RULE_JSON && len > 1)
            out[len++] = ',';
        memcpy(out + len, piece, strlen(piece));
        len += strlen(piece);
    }
    if (kind == RULE_JSON)
        out[len++] = ']';
    return len;
}

START_TEST(any_message_is_read_back_from_every_form)
{
    seed_random();
    for (int step = 0; step < 2000; step++) {
        char payload[300];
        enum rule_payload kind = (enum rule_payload)below(3);
        size_t len = random_payload(kind, payload, 2 + below(sizeof payload - 2));
        struct message *m = make_stamped(payload, len, kind, below(2) ? FROM : "", below(4));
        for (size_t form = 0; form < HLY_ARRAY_LEN(v1_forms); form++) {
            uint8_t *out;
            uint32_t bytes = encode(v1_forms[form].form, m, NULL, &out);
            struct slice object = v1_object(form, out, bytes);
            check_v1_object(object, m);
            HOLDS(!has_line_end(object));
            HOLDS(!v1_forms[form].for_script || is_script_safe(object));
            free(out);
        }
        message_unref(m);
    }
}
END_TEST

/* ---- all forms */

/* limits.message is 256 MB at most; a bound has 32 bits. */
START_TEST(the_longest_message_has_a_bound)
{
    static const struct {
        char byte;
        enum wire_form form;
        uint64_t each; /* bytes that a byte of payload takes */
    } cases[] = { { '\n', WIRE_SSE, 8 }, { 1, WIRE_WS_V1, 6 }, { '&', WIRE_IFRAME, 6 } };
    uint32_t len = 256u << 20;
    struct message *m = message_new("t", 1, NULL, len);
    if (m == NULL)
        return;
    for (size_t i = 0; i < HLY_ARRAY_LEN(cases); i++) {
        memset(message_payload(m), cases[i].byte, len);
        uint64_t bound = transport_encoders[cases[i].form].bound(m, NULL);
        ck_assert_uint_gt(bound, cases[i].each * len);
        ck_assert_uint_lt(bound, cases[i].each * len + 200);
    }
    message_unref(m);
}
END_TEST

START_TEST(no_message_is_longer_than_its_bound)
{
    char name[256], *payload = malloc(70000);
    seed_random();
    for (int step = 0; step < 3000; step++) {
        size_t name_len = 1 + below(255), len = below(20) == 0 ? below(70000) : below(200);
        memset(name, 'n', name_len);
        name[name_len] = '\0';
        unsigned newlines = below(3); /* none, some, all */
        for (size_t i = 0; i < len; i++)
            payload[i] = newlines == 2 || (newlines == 1 && below(4) == 0) ? "\r\n"[below(2)] : (char)below(128);
        struct message *m = message_new_from(name, name_len, payload, (uint32_t)len, below(2) ? TEXT(FROM) : TEXT(""));
        struct feed *f = make_feed(name, step % 2 == 1);
        m->payload_kind = (uint8_t)below(3);
        m->stamps = (uint8_t)below(4);
        m->time_ms = UINT64_MAX - below(1000);
        m->seq = UINT64_MAX - below(1000);
        for (unsigned form = 0; form < WIRE_FORMS; form++) {
            uint8_t *out;
            encode((enum wire_form)form, m, f, &out);
            free(out);
        }
        free(f);
        message_unref(m);
    }
    free(payload);
}
END_TEST

/* What a browser makes of an event (9.2.6): the payload again, with LF for each line ending. */
START_TEST(a_browser_reads_the_payload_out_of_an_event)
{
    seed_random();
    for (int step = 0; step < 20000; step++) {
        char payload[16], want[16], got[64];
        size_t len = below(10), want_len = 0, got_len = 0;
        for (size_t i = 0; i < len; i++)
            payload[i] = "\r\n a:d"[below(6)];
        for (size_t i = 0; i < len; i++)
            if (payload[i] != '\n' || i == 0 || payload[i - 1] != '\r')
                want[want_len++] = payload[i] == '\r' ? '\n' : payload[i];
        struct message *m = make("t", payload, len, RULE_TEXT);
        uint8_t *out;
        uint32_t bytes = encode(WIRE_SSE, m, NULL, &out);
        const char *at = (char *)out + strlen(CURSOR), *end = (char *)out + bytes;
        HOLDS(memcmp(out, CURSOR, strlen(CURSOR)) == 0);
        for (const char *eol; (eol = memchr(at, '\n', (size_t)(end - at))) != at; at = eol + 1) {
            HOLDS(eol != NULL && eol - at >= 6 && memcmp(at, "data: ", 6) == 0);
            memcpy(got + got_len, at + 6, (size_t)(eol - at - 6));
            got_len += (size_t)(eol - at - 6);
            got[got_len++] = '\n';
        }
        HOLDS(at + 1 == end); /* the empty line ends it, and nothing follows */
        HOLDS(got_len == want_len + 1 && memcmp(got, want, want_len) == 0);
        free(out);
        message_unref(m);
    }
}
END_TEST

START_TEST(forms_that_name_the_pattern_are_made_per_feed)
{
    for (unsigned form = 0; form < WIRE_FORMS; form++) {
        ck_assert_ptr_nonnull(transport_encoders[form].bound);
        ck_assert_ptr_nonnull(transport_encoders[form].encode);
        bool is_resp = form == WIRE_RESP2 || form == WIRE_RESP3 || form == WIRE_RESP2_STAR || form == WIRE_RESP3_STAR;
        ck_assert_int_eq(transport_encoders[form].per_feed, is_resp);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("encoders");
    TCase *t = tcase_create("encoders");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_websocket_frame_is_a_header_and_the_payload, 0, HLY_ARRAY_LEN(frames));
    tcase_add_loop_test(t, a_message_looks_as_its_protocol_says, 0, HLY_ARRAY_LEN(texts));
    tcase_add_test(t, resp_carries_any_bytes);
    tcase_add_test(t, binary_in_an_event_is_base64);
    tcase_add_loop_test(t, a_halley_v1_object_is_topic_cursor_and_data, 0, HLY_ARRAY_LEN(v1_data));
    tcase_add_loop_test(t, a_halley_v1_bound_is_exact_with_the_longest_cursor, 0, HLY_ARRAY_LEN(v1_data));
    tcase_add_test(t, the_header_of_a_frame_fits_its_object);
    tcase_add_test(t, a_topic_is_escaped_as_data_is);
    tcase_add_test(t, a_replayed_message_says_so_last);
    tcase_add_loop_test(t, a_stamped_message_says_who_and_when_where_there_is_a_place_for_it, 0, HLY_ARRAY_LEN(stamped));
    tcase_add_test(t, a_message_without_a_sender_is_an_object_on_a_stamped_topic_too);
    tcase_add_test(t, any_message_is_read_back_from_every_form);
    tcase_add_test(t, the_longest_message_has_a_bound);
    tcase_add_test(t, no_message_is_longer_than_its_bound);
    tcase_add_test(t, a_browser_reads_the_payload_out_of_an_event);
    tcase_add_test(t, forms_that_name_the_pattern_are_made_per_feed);
    suite_add_tcase(s, t);
    return run_suite(s);
}
