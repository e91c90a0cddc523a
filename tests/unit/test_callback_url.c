#include "auth/callback_url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "support.h"

static struct callback_url url;
static char error[512];

static const struct {
    const char *text;
    const char *host; /* NULL: it is refused, and target is a part of the sentence */
    uint16_t port;
    const char *target;
    bool is_known; /* without asking anybody */
} cases[] = {
    { "unix:/run/app.sock:/halley/auth", "localhost", 0, "/halley/auth", true },
    { "unix:/run/app.sock", "localhost", 0, "/", true },
    { "unix:/a:b/c.sock:/x:/y", "localhost", 0, "/x:/y", true },
    { "http://127.0.0.1:3000/halley/auth?a=b&c", "127.0.0.1", 3000, "/halley/auth?a=b&c", true },
    { "http://127.0.0.1/", "127.0.0.1", 80, "/", true },
    { "http://127.0.0.1:65535", "127.0.0.1", 65535, "/", true },
    { "http://[::1]:3000/x", "::1", 3000, "/x", true },
    { "http://[::1]", "::1", 80, "/", true },
    { "http://app:3000/x", "app", 3000, "/x", false },
    { "http://app-1.internal_net/x", "app-1.internal_net", 80, "/x", false },
    { "", NULL, 0, "neither with unix: nor with http://", false },
    { "/run/app.sock", NULL, 0, "neither with unix: nor with http://", false },
    { "HTTP://127.0.0.1/", NULL, 0, "neither with unix: nor with http://", false },
    { "https://app/x", NULL, 0, "https is not spoken", false },
    { "unix:run/app.sock:/x", NULL, 0, "does not begin with /", false },
    { "unix:", NULL, 0, "does not begin with /", false },
    { "unix:/run/a:/x y", NULL, 0, "the path behind the socket", false },
    { "unix:/run/a:/x\r\nEvil: 1", NULL, 0, "the path behind the socket", false },
    { "http://127.0.0.1/x\r\nEvil: 1", NULL, 0, "its path", false },
    { "http://127.0.0.1/\x7f", NULL, 0, "its path", false },
    { "http://127.0.0.1/\xc3\xa9", NULL, 0, "its path", false },
    { "http://127.0.0.1/x#y", NULL, 0, "its path", false },
    { "http://127.0.0.1?x", NULL, 0, "its path", false },
    { "http://", NULL, 0, "no host", false },
    { "http:///x", NULL, 0, "no host", false },
    { "http://:80/x", NULL, 0, "no host", false },
    { "http://[::1/x", NULL, 0, "no host", false },
    { "http://[127.0.0.1]/x", NULL, 0, "no host", false },
    { "http://::1/x", NULL, 0, "no host", false },
    { "http://[::1]x/", NULL, 0, "no host", false },
    { "http://1.2.3/x", NULL, 0, "no host", false },
    { "http://a b/x", NULL, 0, "no host", false },
    { "http://-a/x", NULL, 0, "no host", false },
    { "http://a:/x", NULL, 0, "a port that is none", false },
    { "http://a:0/x", NULL, 0, "a port that is none", false },
    { "http://a:65536/x", NULL, 0, "a port that is none", false },
    { "http://a:999999999999999999999/x", NULL, 0, "a port that is none", false },
    { "http://a:8o/x", NULL, 0, "a port that is none", false },
    { "http://user:secret@a/x", NULL, 0, "no place for a user", false },
};

START_TEST(an_address_means_what_it_says_or_is_refused_with_a_sentence)
{
    error[0] = '\0';
    int r = callback_url_parse(cases[_i].text, &url, error, sizeof error);
    if (cases[_i].host == NULL) {
        ck_assert_msg(r == -EINVAL && strstr(error, cases[_i].target) != NULL, "%s: %d, %s", cases[_i].text, r, error);
        return;
    }
    ck_assert_msg(r == 0, "%s: %s", cases[_i].text, error);
    ck_assert_str_eq(url.host, cases[_i].host);
    ck_assert_str_eq(url.target, cases[_i].target);
    ck_assert_uint_eq(url.port, cases[_i].port);
    ck_assert_int_eq(url.address_len > 0, cases[_i].is_known);
}
END_TEST

START_TEST(addresses_are_those_of_the_kernel)
{
    ck_assert_int_eq(callback_url_parse("unix:/run/app.sock:/x", &url, error, sizeof error), 0);
    ck_assert_int_eq(url.address.ss_family, AF_UNIX);
    ck_assert_str_eq(((struct sockaddr_un *)&url.address)->sun_path, "/run/app.sock");
    ck_assert_int_eq(callback_url_parse("http://127.0.0.2:3000", &url, error, sizeof error), 0);
    const struct sockaddr_in *in = (const struct sockaddr_in *)&url.address;
    ck_assert(in->sin_family == AF_INET && ntohs(in->sin_port) == 3000 && ntohl(in->sin_addr.s_addr) == 0x7f000002);
    ck_assert_int_eq(callback_url_parse("http://localhost:3000", &url, error, sizeof error), 0);
    ck_assert_int_eq(callback_url_resolve(&url, error, sizeof error), 0);
    ck_assert(url.address_len > 0 && ntohs(((const struct sockaddr_in *)&url.address)->sin_port) == 3000); /* of IPv6 at the same place */
}
END_TEST

START_TEST(what_is_too_long_is_refused)
{
    char text[2200] = "unix:/";
    memset(text + 6, 'a', 150);
    ck_assert_int_eq(callback_url_parse(text, &url, error, sizeof error), -EINVAL);
    memset(text, 0, sizeof text);
    strcpy(text, "http://a/");
    memset(text + 9, 'a', CALLBACK_TARGET_MAX);
    ck_assert_int_eq(callback_url_parse(text, &url, error, sizeof error), -EINVAL);
    text[8 + CALLBACK_TARGET_MAX] = '\0';
    ck_assert_int_eq(callback_url_parse(text, &url, error, sizeof error), 0);
    memset(text + 7, 'a', CALLBACK_HOST_MAX + 1);
    ck_assert_int_eq(callback_url_parse(text, &url, error, sizeof error), -EINVAL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("callback_url");
    TCase *t = tcase_create("callback_url");
    tcase_add_loop_test(t, an_address_means_what_it_says_or_is_refused_with_a_sentence, 0, HLY_ARRAY_LEN(cases));
    tcase_add_test(t, addresses_are_those_of_the_kernel);
    tcase_add_test(t, what_is_too_long_is_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
