#include "auth/origin.h"

#include "support.h"

#define NONE NULL

static const struct {
    const char *name;
    const char *origin; /* NONE: no such header */
    const char *host;
    const char *list[4];
    bool want;
} cases[] = {
    { "no Origin: no page asks", NONE, "example.com", { 0 }, true },
    { "no Origin, whatever the list", NONE, "example.com", { "https://example.com" }, true },
    { "an empty Origin is one", "", "example.com", { 0 }, false },

    { "the same host", "http://example.com", "example.com", { 0 }, true },
    { "the same host over TLS", "https://example.com", "example.com", { 0 }, true },
    { "the same host and port", "http://example.com:8080", "example.com:8080", { 0 }, true },
    { "the same host in another case (RFC 6454 4)", "http://EXAMPLE.com", "example.COM", { 0 }, true },
    { "the same host, another port", "http://example.com:8080", "example.com:8081", { 0 }, false },
    { "the same host, a port more", "http://example.com:8080", "example.com", { 0 }, false },
    { "the same host, a port less", "http://example.com", "example.com:8080", { 0 }, false },
    { "an IPv6 address and port", "http://[::1]:8080", "[::1]:8080", { 0 }, true },
    { "another host", "http://evil.com", "example.com", { 0 }, false },
    { "a host that ends the same", "http://evil-example.com", "example.com", { 0 }, false },
    { "a host that begins the same", "http://example.com.evil.com", "example.com", { 0 }, false },
    { "a subdomain of this host", "http://a.example.com", "example.com", { 0 }, false },
    { "our host as a user name", "http://example.com@evil.com", "example.com", { 0 }, false },
    { "a host without a scheme", "example.com", "example.com", { 0 }, false },
    { "nothing after the scheme, and no Host", "http://", "", { 0 }, false },
    { "no Host", "http://example.com", "", { 0 }, false },

    { "listed", "https://example.com", "x", { "https://a.com", "https://example.com" }, true },
    { "listed in another case", "https://Example.com", "x", { "HTTPS://eXample.com" }, true },
    { "not listed", "https://example.com", "x", { "https://a.com", "https://b.com" }, false },
    { "listed with another scheme", "http://example.com", "x", { "https://example.com" }, false },
    { "listed with another port", "https://example.com:444", "x", { "https://example.com" }, false },
    { "listed with this port", "https://example.com:444", "x", { "https://example.com:444" }, true },
    { "a part of a listed one", "https://example.co", "x", { "https://example.com" }, false },
    { "longer than a listed one", "https://example.com.evil.com", "x", { "https://example.com" }, false },
    { "a path behind a listed one", "https://example.com/", "x", { "https://example.com" }, false },

    { "anyone", "https://example.com", "x", { "*" }, true },
    { "anyone is no subset of a name", "https://example.com", "x", { "**" }, false },
    { "null is not anyone (RFC 6454 7.3: a sandboxed frame, a file)", "null", "x", { "*" }, false },
    { "null when listed", "null", "x", { "https://a.com", "null" }, true },
    { "null when not listed", "null", "x", { "https://a.com" }, false },
    { "null is no host", "null", "null", { 0 }, false },

    { "a subdomain", "https://a.example.com", "x", { "https://*.example.com" }, true },
    { "a subdomain in another case", "https://A.EXAMPLE.com", "x", { "https://*.example.com" }, true },
    { "a subdomain of a subdomain", "https://a.b.example.com", "x", { "https://*.example.com" }, true },
    { "not the domain itself", "https://example.com", "x", { "https://*.example.com" }, false },
    { "an empty subdomain", "https://.example.com", "x", { "https://*.example.com" }, false },
    { "a subdomain with another scheme", "http://a.example.com", "x", { "https://*.example.com" }, false },
    { "a name that only ends so", "https://evilexample.com", "x", { "https://*.example.com" }, false },
    { "a name that goes on", "https://a.example.com.evil.com", "x", { "https://*.example.com" }, false },
    { "a subdomain with a port", "https://a.example.com:444", "x", { "https://*.example.com" }, false },
    { "a subdomain with the listed port", "https://a.example.com:444", "x", { "https://*.example.com:444" }, true },
    { "a path that ends so", "https://evil.com/.example.com", "x", { "https://*.example.com" }, false },
    { "a deeper path that ends so", "https://evil.com/a/b.example.com", "x", { "https://*.example.com" }, false },
    { "a query that ends so", "https://evil.com?a.example.com", "x", { "https://*.example.com" }, false },
    { "a fragment that ends so", "https://evil.com#a.example.com", "x", { "https://*.example.com" }, false },
    { "a user name before it", "https://evil@a.example.com", "x", { "https://*.example.com" }, false },
    { "a port in the middle", "https://evil.com:80.example.com", "x", { "https://*.example.com" }, false },
    { "a backslash, which browsers take for a slash",
      "https://evil.com\\.example.com",
      "x",
      { "https://*.example.com" },
      false },
    { "a star for a name", "https://*.a.example.com", "x", { "https://*.example.com" }, false },
    { "every letter that a name may have", "https://a-b_c.9.example.com", "x", { "https://*.example.com" }, true },
    { "another scheme with a pattern", "app://a.example.com", "x", { "app://*.example.com" }, true },
};

/* At its exact length on the heap, so that a sanitizer sees a look behind it. */
static struct slice exact(const char *text)
{
    if (text == NULL)
        return (struct slice){ 0 };
    char *copy = malloc(strlen(text) + 1); /* malloc(0) may be NULL, which says that there is none */
    memcpy(copy, text, strlen(text));
    return (struct slice){ copy, strlen(text) };
}

START_TEST(an_origin_is_allowed_or_not)
{
    struct slice list[4] = { { 0 } }, origin = exact(cases[_i].origin), host = exact(cases[_i].host);
    size_t count = 0;
    for (; count < 4 && cases[_i].list[count] != NULL; count++)
        list[count] = exact(cases[_i].list[count]);
    bool got = origin_is_allowed(origin, host, list, count);
    ck_assert_msg(got == cases[_i].want, "%s: got %d", cases[_i].name, got);
    free((void *)origin.ptr);
    free((void *)host.ptr);
    while (count > 0)
        free((void *)list[--count].ptr);
}
END_TEST

static const struct {
    const char *name;
    const char *origin;
    const char *list[3];
    bool want;
} names[] = {
    { "listed by name", "https://example.com", { "*", "https://example.com" }, true },
    { "listed in another case", "HTTPS://EXAMPLE.com", { "https://example.com" }, true },
    { "a subdomain of a listed one", "https://a.example.com", { "https://*.example.com" }, true },
    { "let in by the star alone", "https://evil.com", { "*", "https://example.com" }, false },
    { "null, though it is listed", "null", { "null", "*" }, false },
    { "the star itself, which no browser sends", "*", { "*" }, false },
    { "no Origin", NONE, { "*", "https://example.com" }, false },
    { "an empty one", "", { "*", "https://example.com" }, false },
    { "not listed", "https://evil.com", { "https://example.com" }, false },
    { "no list", "https://example.com", { 0 }, false },
};

START_TEST(an_origin_is_named_or_only_let_in)
{
    struct slice list[3] = { { 0 } }, origin = exact(names[_i].origin);
    size_t count = 0;
    for (; count < 3 && names[_i].list[count] != NULL; count++)
        list[count] = TEXT(names[_i].list[count]);
    bool got = origin_is_named(origin, list, count);
    ck_assert_msg(got == names[_i].want, "%s: got %d", names[_i].name, got);
    free((void *)origin.ptr);
}
END_TEST

START_TEST(our_own_pages_are_those_of_our_host)
{
    ck_assert(origin_is_own(TEXT("https://example.com:8443"), TEXT("Example.com:8443")));
    ck_assert(!origin_is_own(TEXT("https://example.com"), TEXT("example.com:8443")));
    ck_assert(!origin_is_own(TEXT("null"), TEXT("null")));
    ck_assert(!origin_is_own((struct slice){ 0 }, TEXT("example.com")));
    ck_assert(!origin_is_own(TEXT("https://"), (struct slice){ 0 }));
}
END_TEST

START_TEST(without_a_host_or_a_list_only_no_origin_is_allowed)
{
    struct slice nothing = { 0 };
    ck_assert(origin_is_allowed(nothing, nothing, NULL, 0));
    ck_assert(!origin_is_allowed(TEXT("http://a"), nothing, NULL, 0));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("origin");
    TCase *t = tcase_create("origin");
    tcase_add_loop_test(t, an_origin_is_allowed_or_not, 0, HLY_ARRAY_LEN(cases));
    tcase_add_loop_test(t, an_origin_is_named_or_only_let_in, 0, HLY_ARRAY_LEN(names));
    tcase_add_test(t, our_own_pages_are_those_of_our_host);
    tcase_add_test(t, without_a_host_or_a_list_only_no_origin_is_allowed);
    suite_add_tcase(s, t);
    return run_suite(s);
}
