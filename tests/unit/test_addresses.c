#include "auth/addresses.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "support.h"

static const struct {
    const char *name, *text;
    const char *want; /* NULL: no address */
} texts[] = {
    { "IPv4", "192.0.2.1", "192.0.2.1" },
    { "all ones", "255.255.255.255", "255.255.255.255" },
    { "IPv6", "2001:db8::1", "2001:db8::1" },
    { "IPv6 in capitals and in full", "2001:0DB8:0:0:0:0:0:1", "2001:db8::1" },
    { "IPv4 in IPv6 is IPv4", "::ffff:192.0.2.1", "192.0.2.1" },
    { "IPv4 in IPv6, in hex", "::ffff:c000:201", "192.0.2.1" },
    { "any", "::", "::" },
    { "empty", "", NULL },
    { "a number too large", "256.0.0.1", NULL },
    { "three numbers", "192.0.2", NULL },
    { "a leading zero, which some read as octal", "192.0.02.1", NULL },
    { "one number", "3221225985", NULL },
    { "hex", "0xc0.0.2.1", NULL },
    { "a space", "192.0.2.1 ", NULL },
    { "a port", "192.0.2.1:80", NULL },
    { "brackets", "[::1]", NULL },
    { "a zone", "fe80::1%eth0", NULL },
    { "two gaps", "1::2::3", NULL },
    { "too many groups", "1:2:3:4:5:6:7:8:9", NULL },
    { "a name", "localhost", NULL },
    { "far too long", "2001:0db8:0000:0000:0000:0000:0000:0001:0000:0000:0000", NULL },
};

START_TEST(an_address_is_read_or_refused)
{
    struct address a = { 0 };
    char out[ADDRESS_TEXT];
    size_t len = strlen(texts[_i].text);
    char *exact = malloc(len + 1); /* malloc(0) may be NULL */
    memcpy(exact, texts[_i].text, len);
    bool is = address_parse((struct slice){ exact, len }, &a);
    ck_assert_msg(is == (texts[_i].want != NULL), "%s: %d", texts[_i].name, is);
    if (is)
        ck_assert_str_eq(address_text(&a, out), texts[_i].want);
    free(exact);
}
END_TEST

START_TEST(an_address_with_a_nul_is_none)
{
    struct address a;
    ck_assert(!address_parse((struct slice){ "192.0.2.1\0x", 11 }, &a));
}
END_TEST

static struct address parsed(const char *text)
{
    struct address a;
    HOLDS(address_parse(TEXT(text), &a));
    return a;
}

START_TEST(a_peer_is_known_by_its_socket_address)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(80) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_scope_id = 5 };
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct sockaddr other = { .sa_family = AF_UNSPEC };
    char out[ADDRESS_TEXT];
    inet_pton(AF_INET, "192.0.2.1", &v4.sin_addr);
    inet_pton(AF_INET6, "::ffff:192.0.2.1", &v6.sin6_addr);
    struct address a = address_of((struct sockaddr *)&v4), b = address_of((struct sockaddr *)&v6);
    ck_assert(address_equal(&a, &b)); /* whether the listener is of one family or of both */
    ck_assert_str_eq(address_text(&a, out), "192.0.2.1");
    inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr);
    b = address_of((struct sockaddr *)&v6);
    ck_assert_str_eq(address_text(&b, out), "2001:db8::1");
    a = address_of((struct sockaddr *)&un);
    ck_assert_str_eq(address_text(&a, out), "unix");
    a = address_of(&other);
    ck_assert_str_eq(address_text(&a, out), "unknown");
}
END_TEST

START_TEST(connections_are_counted_by_ipv4_address_and_by_ipv6_network)
{
    static const struct {
        const char *a, *b;
        bool same;
    } pairs[] = {
        { "192.0.2.1", "192.0.2.1", true },
        { "192.0.2.1", "192.0.2.2", false },
        { "::ffff:192.0.2.1", "192.0.2.1", true },
        { "2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true },
        { "2001:db8:0:1::1", "2001:db8:0:2::1", false },
        { "2001:db8:0:1::", "2001:db8:0:1:8000::", true },
        { "::1", "::", true },
        { "::1", "0.0.0.1", false },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(pairs); i++) {
        struct address a = parsed(pairs[i].a), b = parsed(pairs[i].b);
        struct address ga = address_group(&a), gb = address_group(&b);
        ck_assert_msg(address_equal(&ga, &gb) == pairs[i].same, "%s %s", pairs[i].a, pairs[i].b);
    }
    ck_assert_uint_eq(sizeof(struct address), 17); /* no padding: it is hashed as it is */
}
END_TEST

START_TEST(loopback_is_known)
{
    static const struct {
        const char *text;
        bool want;
    } rows[] = { { "127.0.0.1", true },  { "127.255.0.3", true }, { "::1", true }, { "::ffff:127.0.0.1", true },
                 { "128.0.0.1", false }, { "::2", false },        { "::", false }, { "0.0.0.0", false } };
    for (size_t i = 0; i < HLY_ARRAY_LEN(rows); i++) {
        struct address a = parsed(rows[i].text);
        ck_assert_msg(address_is_loopback(&a) == rows[i].want, "%s", rows[i].text);
    }
    ck_assert(address_is_loopback(&(struct address){ .kind = ADDRESS_UNIX }));
    ck_assert(!address_is_loopback(&(struct address){ .kind = ADDRESS_NONE }));
}
END_TEST

/* ---- networks */

static const struct {
    const char *network, *inside, *outside;
} networks[] = {
    { "10.0.0.0/8", "10.255.255.255", "11.0.0.0" },
    { "10.0.0.0/8", "10.0.0.0", "9.255.255.255" },
    { "192.0.2.1", "192.0.2.1", "192.0.2.0" },
    { "192.0.2.1/32", "192.0.2.1", "192.0.2.2" },
    { "192.0.2.128/25", "192.0.2.200", "192.0.2.127" },
    { "192.0.2.8/29", "192.0.2.15", "192.0.2.16" },
    { "0.0.0.0/0", "255.1.2.3", "::1" },
    { "0.0.0.0/0", "::ffff:1.2.3.4", "::fffe:1.2.3.4" },
    { "::/0", "2001:db8::1", "1.2.3.4" },
    { "2001:db8::/32", "2001:db8:ffff::1", "2001:db9::" },
    { "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::" },
    { "2001:db8::1", "2001:db8::1", "2001:db8::2" },
    { "::1/128", "::1", "::" },
    { "::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0" },
    { "::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2" },
};

static struct addresses *list_of(const char *one)
{
    struct addresses *list = NULL;
    char error[256];
    int r = addresses_new(&one, 1, &list, error, sizeof error);
    ck_assert_msg(r == 0, "%s: %s", one, error);
    return list;
}

START_TEST(a_network_holds_its_addresses_and_no_others)
{
    struct addresses *list = list_of(networks[_i].network);
    struct address in = parsed(networks[_i].inside), out = parsed(networks[_i].outside);
    struct address local = { .kind = ADDRESS_UNIX }, none = { .kind = ADDRESS_NONE };
    ck_assert_msg(addresses_match(list, &in), "%s in %s", networks[_i].inside, networks[_i].network);
    ck_assert_msg(!addresses_match(list, &out), "%s in %s", networks[_i].outside, networks[_i].network);
    ck_assert(!addresses_match(list, &local) && !addresses_match(list, &none));
    ck_assert(!addresses_match(NULL, &in));
    addresses_free(list);
}
END_TEST

START_TEST(unix_sockets_are_listed_by_a_word)
{
    struct addresses *list = list_of("unix");
    struct address local = { .kind = ADDRESS_UNIX }, none = { .kind = ADDRESS_NONE }, any = parsed("0.0.0.0");
    ck_assert(addresses_match(list, &local));
    ck_assert(!addresses_match(list, &none) && !addresses_match(list, &any));
    addresses_free(list);
    addresses_free(NULL);
}
END_TEST

static const struct {
    const char *text, *says;
} refused[] = {
    { "", "no address" },
    { "localhost", "no address" },
    { "10.0.0.0/", "0 to 32" },
    { "10.0.0.0/33", "0 to 32" },
    { "10.0.0.0/-1", "0 to 32" },
    { "10.0.0.0/08", "0 to 32" },
    { "10.0.0.0/8 ", "0 to 32" },
    { "10.0.0.0/8/8", "0 to 32" },
    { "10.0.0.0/255.0.0.0", "0 to 32" },
    { "10.0.0.0/4294967304", "0 to 32" },
    { "2001:db8::/129", "0 to 128" },
    { "/8", "no address" },
    { "10/8", "no address" },
    { "10.0.0.1/8", "write 10.0.0.0/8" },
    { "2001:db8::1/32", "write 2001:db8::/32" },
    { "1.2.3.4/0", "write 0.0.0.0/0" },
    { "::ffff:10.1.0.0/104", "write 10.0.0.0/8" },
    { "::ffff:0.0.0.0/95", "write 0.0.0.0/0" },
    { "10.0.0.0/8,11.0.0.0/8", "0 to 32" },
    { "unix:", "no address" },
    { "\x1b[31m", "'\\x1b[31m' is no address" },
};

START_TEST(what_is_no_network_is_named)
{
    struct addresses *list = NULL;
    char error[256];
    const char *both[] = { "10.0.0.0/8", refused[_i].text };
    ck_assert_int_eq(addresses_new(both, 2, &list, error, sizeof error), -EINVAL);
    ck_assert_msg(strstr(error, refused[_i].says) != NULL, "%s: %s", refused[_i].text, error);
    ck_assert_ptr_null(list);
}
END_TEST

START_TEST(a_list_has_its_largest_size)
{
    static const char *many[ADDRESSES_MAX + 1];
    struct addresses *list = NULL;
    char error[256];
    for (size_t i = 0; i < HLY_ARRAY_LEN(many); i++)
        many[i] = i == ADDRESSES_MAX - 1 ? "192.0.2.1" : "10.0.0.0/8";
    ck_assert_int_eq(addresses_new(many, ADDRESSES_MAX + 1, &list, error, sizeof error), -EINVAL);
    ck_assert_int_eq(addresses_new(many, ADDRESSES_MAX, &list, error, sizeof error), 0);
    struct address last = parsed("192.0.2.1");
    ck_assert(addresses_match(list, &last));
    addresses_free(list);
    ck_assert_int_eq(addresses_new(NULL, 0, &list, error, sizeof error), 0);
    ck_assert(!addresses_match(list, &last));
    addresses_free(list);
}
END_TEST

/* ---- X-Forwarded-For: 10.0.0.0/8 and 2001:db8::/32 are our proxies */

static const struct {
    const char *name, *peer;
    const char *headers[4];
    const char *want;
} forwarded[] = {
    { "no header", "10.0.0.1", { 0 }, "10.0.0.1" },
    { "a stranger's header is not believed", "192.0.2.9", { "1.1.1.1" }, "192.0.2.9" },
    { "one proxy", "10.0.0.1", { "192.0.2.1" }, "192.0.2.1" },
    { "what the client made up stands further left", "10.0.0.1", { "1.1.1.1, 192.0.2.1" }, "192.0.2.1" },
    { "the client claims to be a proxy", "10.0.0.1", { "10.0.0.7, 192.0.2.1" }, "192.0.2.1" },
    { "two proxies", "10.0.0.1", { "192.0.2.1, 10.0.0.2" }, "192.0.2.1" },
    { "proxies alone: the one furthest away", "10.0.0.1", { "10.0.0.3, 10.0.0.2" }, "10.0.0.3" },
    { "several headers are one list", "10.0.0.1", { "1.1.1.1", "192.0.2.1", "10.0.0.2" }, "192.0.2.1" },
    { "an empty header among them", "10.0.0.1", { "192.0.2.1", "" }, "192.0.2.1" },
    { "white space", "10.0.0.1", { " \t192.0.2.1\t ,\t10.0.0.2 " }, "192.0.2.1" },
    { "a port", "10.0.0.1", { "192.0.2.1:4711" }, "192.0.2.1" },
    { "IPv6", "10.0.0.1", { "2001:db9::5" }, "2001:db9::5" },
    { "IPv6 in brackets", "10.0.0.1", { "[2001:db9::5]" }, "2001:db9::5" },
    { "IPv6 with a port", "10.0.0.1", { "[2001:db9::5]:443" }, "2001:db9::5" },
    { "IPv6 proxies", "2001:db8::1", { "192.0.2.1, [2001:db8::2]:1" }, "192.0.2.1" },
    { "a mapped peer", "::ffff:10.0.0.1", { "::ffff:192.0.2.1" }, "192.0.2.1" },
    { "unknown: the proxy is counted", "10.0.0.1", { "unknown" }, "10.0.0.1" },
    { "nonsense: the proxy next to it is counted", "10.0.0.1", { "1.1.1.1, x, 10.0.0.2" }, "10.0.0.2" },
    { "an empty entry", "10.0.0.1", { "192.0.2.1," }, "10.0.0.1" },
    { "commas alone", "10.0.0.1", { ",,," }, "10.0.0.1" },
    { "a bad port", "10.0.0.1", { "192.0.2.1:x" }, "10.0.0.1" },
    { "a port of six digits", "10.0.0.1", { "192.0.2.1:123456" }, "10.0.0.1" },
    { "an empty port", "10.0.0.1", { "192.0.2.1:" }, "10.0.0.1" },
    { "a bracket that does not end", "10.0.0.1", { "[2001:db9::5" }, "10.0.0.1" },
    { "more behind the bracket", "10.0.0.1", { "[2001:db9::5]x" }, "10.0.0.1" },
    { "IPv4 in brackets", "10.0.0.1", { "[192.0.2.1]" }, "10.0.0.1" },
    { "empty brackets", "10.0.0.1", { "[]:80" }, "10.0.0.1" },
    { "quotes", "10.0.0.1", { "\"192.0.2.1\"" }, "10.0.0.1" },
};

START_TEST(a_client_behind_proxies_is_found_from_the_end)
{
    static const char *const proxies[] = { "10.0.0.0/8", "2001:db8::/32" };
    struct addresses *trusted = NULL;
    char error[256], out[ADDRESS_TEXT];
    struct slice values[4];
    size_t count = 0;
    addresses_new(proxies, 2, &trusted, error, sizeof error);
    for (; count < 4 && forwarded[_i].headers[count] != NULL; count++) {
        size_t len = strlen(forwarded[_i].headers[count]);
        char *exact = malloc(len + 1);
        memcpy(exact, forwarded[_i].headers[count], len);
        values[count] = (struct slice){ exact, len };
    }
    struct address peer = parsed(forwarded[_i].peer);
    struct address got = forwarded_for(trusted, &peer, values, count);
    ck_assert_msg(strcmp(address_text(&got, out), forwarded[_i].want) == 0, "%s: %s", forwarded[_i].name, out);
    got = forwarded_for(NULL, &peer, values, count); /* nobody is trusted */
    ck_assert(address_equal(&got, &peer));
    while (count > 0)
        free((void *)values[--count].ptr);
    addresses_free(trusted);
}
END_TEST

START_TEST(a_proxy_on_a_unix_socket_is_believed_when_listed)
{
    struct addresses *trusted = list_of("unix");
    struct address peer = { .kind = ADDRESS_UNIX };
    struct slice value = TEXT("192.0.2.1");
    char out[ADDRESS_TEXT];
    struct address got = forwarded_for(trusted, &peer, &value, 1);
    ck_assert_str_eq(address_text(&got, out), "192.0.2.1");
    addresses_free(trusted);
}
END_TEST

START_TEST(the_walk_over_proxies_is_bounded)
{
    struct addresses *trusted = list_of("10.0.0.0/8");
    struct address peer = parsed("10.0.0.1");
    char text[100000] = "192.0.2.1", out[ADDRESS_TEXT];
    for (int i = 0; i < 31; i++)
        strcat(text, ",10.0.0.2");
    struct slice value = TEXT(text);
    struct address got = forwarded_for(trusted, &peer, &value, 1);
    ck_assert_str_eq(address_text(&got, out), "192.0.2.1");
    strcat(text, ",10.0.0.2");
    value = TEXT(text);
    got = forwarded_for(trusted, &peer, &value, 1);
    ck_assert_str_eq(address_text(&got, out), "10.0.0.2");
    addresses_free(trusted);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("addresses");
    TCase *t = tcase_create("addresses");
    tcase_add_loop_test(t, an_address_is_read_or_refused, 0, HLY_ARRAY_LEN(texts));
    tcase_add_test(t, an_address_with_a_nul_is_none);
    tcase_add_test(t, a_peer_is_known_by_its_socket_address);
    tcase_add_test(t, connections_are_counted_by_ipv4_address_and_by_ipv6_network);
    tcase_add_test(t, loopback_is_known);
    tcase_add_loop_test(t, a_network_holds_its_addresses_and_no_others, 0, HLY_ARRAY_LEN(networks));
    tcase_add_test(t, unix_sockets_are_listed_by_a_word);
    tcase_add_loop_test(t, what_is_no_network_is_named, 0, HLY_ARRAY_LEN(refused));
    tcase_add_test(t, a_list_has_its_largest_size);
    tcase_add_loop_test(t, a_client_behind_proxies_is_found_from_the_end, 0, HLY_ARRAY_LEN(forwarded));
    tcase_add_test(t, a_proxy_on_a_unix_socket_is_believed_when_listed);
    tcase_add_test(t, the_walk_over_proxies_is_bounded);
    suite_add_tcase(s, t);
    return run_suite(s);
}
