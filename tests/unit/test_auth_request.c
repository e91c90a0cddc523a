#include "transport/auth_request.h"

#include "support.h"

static struct http1_header headers[32];
static struct http1_request client;
static struct auth_request request;
static struct buf out;

static void ask(const char *target)
{
    const char *mark = strchr(target, '?');
    client = (struct http1_request){ .method_name = TEXT("POST"), .target = TEXT(target), .host = TEXT("example.com:8080"), .headers = headers };
    client.path = (struct slice){ target, mark == NULL ? strlen(target) : (size_t)(mark - target) };
    client.query = mark == NULL ? (struct slice){ target + client.path.len, 0 } : TEXT(mark + 1);
    request = (struct auth_request){ .client = &client, .target = "/auth", .address = "192.0.2.1", .scheme = "https" };
}

static void add(const char *name, const char *value)
{
    headers[client.header_count++] = (struct http1_header){ TEXT(name), TEXT(value) };
}

static const char *written(void)
{
    buf_done(&out);
    auth_request_write(&out, &request);
    buf_append(&out, "", 1);
    ck_assert(!out.failed);
    return (const char *)out.data;
}

#define OURS "X-Original-Method: POST\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Original-URI: "

START_TEST(the_request_has_what_the_client_sent_and_what_we_say)
{
    ask("/publish?topic=a&token=secret");
    add("Cookie", "a=b; c=d");
    add("X-Tenant", "");
    add("User-Agent", "x\xc3\xa9y\tz");
    ck_assert_str_eq(written(), "GET /auth HTTP/1.1\r\nHost: example.com:8080\r\nCookie: a=b; c=d\r\nX-Tenant: \r\nUser-Agent: x\xc3\xa9y\tz\r\n" OURS
                                "/publish?topic=a&token=secret\r\n\r\n");
}
END_TEST

START_TEST(a_client_of_http_1_0_without_a_host_is_asked_about_too)
{
    ask("/");
    client.host = (struct slice){ 0 };
    ck_assert_str_eq(written(), "GET /auth HTTP/1.1\r\nHost: localhost\r\n" OURS "/\r\n\r\n");
}
END_TEST

static const char *const left_out[] = {
    "Host", "host", "CONNECTION", "Keep-Alive", "Transfer-Encoding", "Content-Length", "content-length", "Upgrade", "TE", "Trailer", "Expect", "Range",
    "Accept-Encoding", "If-None-Match", "If-Modified-Since", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "sec-websocket-anything", "Proxy-Authorization",
    "Proxy-Connection", "X-Forwarded-For", "x-forwarded-for", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-User", "X-Original-URI", "X-Original-Method",
    "Forwarded", "X-Real-IP", "X_Forwarded_For", "X-Forwarded_For", "X_Original_URI", "Content_Length", "",
};

START_TEST(what_is_not_for_the_application_is_left_out)
{
    ask("/");
    add(left_out[_i], "evil");
    ck_assert_msg(strstr(written(), "evil") == NULL, "%s: %s", left_out[_i], written());
}
END_TEST

START_TEST(what_connection_names_is_left_out)
{
    ask("/");
    add("X-Hop", "evil");
    add("X-Stays", "good");
    add("Connection", "keep-alive, x-hop");
    ck_assert(strstr(written(), "evil") == NULL && strstr(written(), "X-Stays: good\r\n") != NULL);
}
END_TEST

static const struct {
    const char *name;
    const char *value;
} injections[] = {
    { "X-A", "b\r\nEvil: 1" }, { "X-A", "b\nEvil: 1" }, { "X-A", "b\rEvil: 1" }, { "X-A\r\nEvil", "1" }, { "X-A: b\r\nEvil", "1" }, { "Evil ", "1" },
    { "Evil:", "1" },          { "X-A", "\x01" "Evil" }, { "X-A", "Evil\x7f" }, { "Ev\xc3\xa9il", "Evil" },
};

START_TEST(nothing_that_could_end_a_line_is_written)
{
    ask("/");
    add(injections[_i].name, injections[_i].value);
    ck_assert_str_eq(written(), "GET /auth HTTP/1.1\r\nHost: example.com:8080\r\n" OURS "/\r\n\r\n");
}
END_TEST

START_TEST(of_a_stranger_what_browsers_add_by_themselves_is_left_out)
{
    ask("/");
    request.is_strange = true;
    add("cookie", "evil");
    add("AUTHORIZATION", "Basic evil");
    add("Authorization", "Bearerevil");
    add("Authorization", "Negotiate evil");
    add("Authorization", "bearer good");
    add("Origin", "https://there.example");
    ck_assert(strstr(written(), "evil") == NULL);
    ck_assert(strstr(written(), "bearer good") != NULL && strstr(written(), "https://there.example") != NULL);
}
END_TEST

/* ---- the key */

static bool is_same_key(const struct auth_request *a, const struct auth_request *b)
{
    uint8_t one[ANSWER_KEY_BYTES], other[ANSWER_KEY_BYTES];
    ck_assert_int_eq(auth_request_key(a, one), 0);
    ck_assert_int_eq(auth_request_key(b, other), 0);
    return memcmp(one, other, sizeof one) == 0;
}

static const struct {
    const char *a, *b;
    bool is_same;
} targets[] = {
    { "/poll?topic=a", "/poll?topic=a", true },
    { "/poll?topic=a&after=x-1&wait=5&last=3", "/poll?topic=a&after=x-2", true },
    { "/poll?after=x-1&topic=a", "/poll?topic=a", true },
    { "/poll?topic=a", "/poll?topic=b", false },
    { "/poll?topic=a", "/sse?topic=a", false },
    { "/poll?topic=a", "/poll?topic=a&token=b", false },
    { "/poll?topic=a&topic=b", "/poll?topic=a", false },
    { "/poll?topic=after", "/poll?topic=", false },
    { "/poll?topic=a&afterwards=1", "/poll?topic=a", false },
    { "/poll?a&b", "/poll?ab", false },
    { "/poll?a", "/polla", false },
};

START_TEST(a_key_is_of_the_question_and_not_of_the_place_in_the_order)
{
    ask(targets[_i].a);
    struct http1_request first_client = client;
    struct auth_request first = request;
    first.client = &first_client;
    ask(targets[_i].b);
    ck_assert_msg(is_same_key(&first, &request) == targets[_i].is_same, "%s, %s", targets[_i].a, targets[_i].b);
}
END_TEST

static const struct {
    const char *name;
    bool counts;
} counted[] = {
    { "Cookie", true },         { "Authorization", true }, { "Origin", true },       { "X-Anything", true },   { "User-Agent", true }, { "Last-Event-ID", false },
    { "idempotency-key", false }, { "X-Request-ID", false },  { "traceparent", false }, { "If-None-Match", false }, { "Host", false }, /* its place is rq->host */
};

START_TEST(a_key_is_of_all_headers_but_those_that_change_with_each_request)
{
    ask("/poll");
    add(counted[_i].name, "1");
    struct http1_header one[1] = { headers[0] };
    struct http1_request first_client = client;
    struct auth_request first = request;
    first_client.headers = one;
    first.client = &first_client;
    headers[0].value = TEXT("2");
    ck_assert_msg(is_same_key(&first, &request) == !counted[_i].counts, "%s", counted[_i].name);
}
END_TEST

START_TEST(a_key_is_of_the_host_the_method_the_address_and_the_scheme)
{
    struct http1_request other_client;
    ask("/poll");
    struct auth_request other = request;
    ck_assert(is_same_key(&request, &other));
    other.address = "192.0.2.2";
    ck_assert(!is_same_key(&request, &other));
    other = request;
    other.scheme = "http";
    ck_assert(!is_same_key(&request, &other));
    other = request;
    other.client = &other_client;
    other_client = client;
    other_client.host = TEXT("other.example");
    ck_assert(!is_same_key(&request, &other));
    other_client = client;
    other_client.method_name = TEXT("GET");
    ck_assert(!is_same_key(&request, &other));
}
END_TEST

static void teardown(void)
{
    buf_done(&out);
}

int main(void)
{
    Suite *s = suite_create("auth_request");
    TCase *t = tcase_create("auth_request");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, the_request_has_what_the_client_sent_and_what_we_say);
    tcase_add_test(t, a_client_of_http_1_0_without_a_host_is_asked_about_too);
    tcase_add_loop_test(t, what_is_not_for_the_application_is_left_out, 0, HLY_ARRAY_LEN(left_out));
    tcase_add_test(t, what_connection_names_is_left_out);
    tcase_add_loop_test(t, nothing_that_could_end_a_line_is_written, 0, HLY_ARRAY_LEN(injections));
    tcase_add_test(t, of_a_stranger_what_browsers_add_by_themselves_is_left_out);
    tcase_add_loop_test(t, a_key_is_of_the_question_and_not_of_the_place_in_the_order, 0, HLY_ARRAY_LEN(targets));
    tcase_add_loop_test(t, a_key_is_of_all_headers_but_those_that_change_with_each_request, 0, HLY_ARRAY_LEN(counted));
    tcase_add_test(t, a_key_is_of_the_host_the_method_the_address_and_the_scheme);
    suite_add_tcase(s, t);
    return run_suite(s);
}
