#include "transport/encoders.h"

#include "core/cursor.h"
#include "support.h"

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
        struct message *m = make(name, payload, len, below(3) == 0 ? RULE_BINARY : RULE_TEXT);
        struct feed *f = make_feed(name, step % 2 == 1);
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
    tcase_add_loop_test(t, a_websocket_frame_is_a_header_and_the_payload, 0, HLY_ARRAY_LEN(frames));
    tcase_add_loop_test(t, a_message_looks_as_its_protocol_says, 0, HLY_ARRAY_LEN(texts));
    tcase_add_test(t, resp_carries_any_bytes);
    tcase_add_test(t, binary_in_an_event_is_base64);
    tcase_add_test(t, no_message_is_longer_than_its_bound);
    tcase_add_test(t, a_browser_reads_the_payload_out_of_an_event);
    tcase_add_test(t, forms_that_name_the_pattern_are_made_per_feed);
    suite_add_tcase(s, t);
    return run_suite(s);
}
