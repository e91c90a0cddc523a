#include "server/inherited.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "support.h"

static struct inherited in;

static int listening(int family, const char *host, bool only_v6, uint16_t *ret_port)
{
    struct sockaddr_storage sa = { .ss_family = (sa_family_t)family };
    socklen_t len = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(family, SOCK_STREAM, 0), only = only_v6;
    ck_assert_int_ge(fd, 0);
    if (family == AF_INET6)
        ck_assert_int_eq(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only), 0);
    inet_pton(family, host, family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)&sa)->sin6_addr : (void *)&((struct sockaddr_in *)&sa)->sin_addr);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, len), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *ret_port = ntohs(((struct sockaddr_in *)&sa)->sin_port);
    return fd;
}

/* How many sockets there are for the address. */
static unsigned found(const char *host, uint16_t port)
{
    struct sockaddr_storage sa = { .ss_family = strchr(host, ':') != NULL ? AF_INET6 : AF_INET };
    size_t at = 0;
    unsigned n = 0;
    if (sa.ss_family == AF_INET6)
        inet_pton(AF_INET6, host, &((struct sockaddr_in6 *)&sa)->sin6_addr);
    else
        inet_pton(AF_INET, host, &((struct sockaddr_in *)&sa)->sin_addr);
    ((struct sockaddr_in *)&sa)->sin_port = htons(port);
    while (inherited_next(&in, (struct sockaddr *)&sa, &at) != NULL)
        n++;
    return n;
}

static const struct {
    const char *name;
    int family;
    const char *host;
    bool only_v6;
    const char *wanted;
    unsigned found;
} matches[] = {
    { "the same address", AF_INET, "127.0.0.1", false, "127.0.0.1", 1 },
    { "another address", AF_INET, "127.0.0.1", false, "127.0.0.2", 0 },
    { "a wildcard is not one address", AF_INET, "0.0.0.0", false, "127.0.0.1", 0 },
    { "one address is no wildcard", AF_INET, "127.0.0.1", false, "0.0.0.0", 0 },
    { "the wildcard", AF_INET, "0.0.0.0", false, "0.0.0.0", 1 },
    { "the wildcard of IPv4 is not that of IPv6", AF_INET, "0.0.0.0", false, "::", 0 },
    { "the wildcard of IPv6", AF_INET6, "::", true, "::", 1 },
    { "IPv6 alone does not serve IPv4", AF_INET6, "::", true, "0.0.0.0", 0 },
    { "a socket for both serves IPv6", AF_INET6, "::", false, "::", 1 },
    { "a socket for both serves IPv4", AF_INET6, "::", false, "0.0.0.0", 1 },
    { "a socket for both does not serve one address", AF_INET6, "::", false, "127.0.0.1", 0 },
    { "loopback of IPv6", AF_INET6, "::1", false, "::1", 1 },
    { "loopback of IPv6 does not serve the wildcard", AF_INET6, "::1", false, "0.0.0.0", 0 },
};

START_TEST(sockets_are_matched_by_address)
{
    uint16_t port;
    ck_assert_int_eq(inherited_add(&in, listening(matches[_i].family, matches[_i].host, matches[_i].only_v6, &port), true), 0);
    ck_assert_uint_eq(in.count, 1);
    ck_assert_msg(found(matches[_i].wanted, port) == matches[_i].found, "%s", matches[_i].name);
    ck_assert_uint_eq(found(matches[_i].wanted, (uint16_t)(port ^ 1)), 0);
    inherited_done(&in, false);
}
END_TEST

START_TEST(a_port_that_the_kernel_chose_is_that_of_the_predecessor)
{
    uint16_t held, first, second;
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    inherited_add(&in, listening(AF_INET, "127.0.0.1", false, &held), true);
    inherited_add(&in, listening(AF_INET, "127.0.0.1", false, &first), false);
    inherited_add(&in, listening(AF_INET, "127.0.0.1", false, &second), false);
    ck_assert_uint_eq(inherited_port(&in, (struct sockaddr *)&sa), first);
    in.items[1].is_taken = true;
    close(in.items[1].fd);
    ck_assert_uint_eq(inherited_port(&in, (struct sockaddr *)&sa), second);
    in.items[2].is_taken = true;
    close(in.items[2].fd);
    ck_assert_uint_eq(inherited_port(&in, (struct sockaddr *)&sa), 0);
    inherited_done(&in, false);
}
END_TEST

START_TEST(unix_sockets_are_matched_by_path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(un.sun_path, sizeof un.sun_path, "/tmp/halley-test-%ld", (long)getpid());
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    inherited_add(&in, fd, true);
    ck_assert_ptr_nonnull(inherited_find_unix(&in, un.sun_path));
    ck_assert_ptr_null(inherited_find_unix(&in, "/tmp/halley-test"));
    inherited_done(&in, false);
    unlink(un.sun_path);
}
END_TEST

START_TEST(what_is_no_listener_is_not_taken)
{
    int pipes[2];
    inherited_add(&in, socket(AF_INET, SOCK_STREAM, 0), true); /* does not listen */
    inherited_add(&in, socket(AF_INET, SOCK_DGRAM, 0), true);
    ck_assert_int_eq(pipe(pipes), 0);
    inherited_add(&in, pipes[0], true);
    inherited_add(&in, 987, true); /* not open */
    close(pipes[1]);
    ck_assert_uint_eq(in.count, 0);
    inherited_done(&in, true);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("inherited");
    TCase *tc = tcase_create("inherited");
    tcase_add_loop_test(tc, sockets_are_matched_by_address, 0, (int)HLY_ARRAY_LEN(matches));
    tcase_add_test(tc, a_port_that_the_kernel_chose_is_that_of_the_predecessor);
    tcase_add_test(tc, unix_sockets_are_matched_by_path);
    tcase_add_test(tc, what_is_no_listener_is_not_taken);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed > 0;
}
