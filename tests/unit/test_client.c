#include "transport/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support.h"

static struct server_view server;
static struct reactor reactor;

static void setup(void)
{
    server = (struct server_view){ .reactor_count = 12 };
    memcpy(server.node, "k3f9abcd", sizeof "k3f9abcd");
    reactor = (struct reactor){ .index = 11, .server = &server };
}

static int parse(const char *text, size_t len, struct client *ret)
{
    return client_parse_id((struct slice){ text, len }, &server, ret);
}

START_TEST(an_id_is_read_as_it_was_written)
{
    for (unsigned i = 0; i < 1000; i++) {
        char text[CLIENT_ID_BYTES + 1];
        struct client c, back;
        reactor.index = i % 12;
        client_init(&c, &reactor);
        size_t len = client_format_id(&c, &server, text);
        HOLDS(len <= CLIENT_ID_BYTES && len == strlen(text));
        HOLDS(strspn(text, "0123456789abcdefghjkmnpqrstvwxyz.") == len);
        HOLDS(parse(text, len, &back) == 0);
        HOLDS(client_is_same(&c, &back) && back.reactor == i % 12);
    }
}
END_TEST

START_TEST(no_two_clients_have_the_same_id)
{
    static struct client clients[1000];
    for (size_t i = 0; i < HLY_ARRAY_LEN(clients); i++) {
        client_init(&clients[i], &reactor);
        for (size_t j = 0; j < i; j++)
            HOLDS(!client_is_same(&clients[i], &clients[j]));
    }
}
END_TEST

START_TEST(a_connection_is_found_by_its_id_and_by_its_name)
{
    for (unsigned i = 0; i < 100; i++) {
        char id[CLIENT_ID_BYTES + 1], name[CLIENT_NAME_BYTES + 1];
        struct client c;
        struct client_place place;
        reactor.index = i % 12;
        client_init(&c, &reactor);
        size_t len = client_format_id(&c, &server, id);
        client_format_name(client_name(&c), name);
        HOLDS(strlen(name) == CLIENT_NAME_BYTES && strstr(id, name) == NULL);
        HOLDS(client_find_name((struct slice){ id, len }, &server, &place) == 0);
        HOLDS(place.name == client_name(&c) && place.reactor == i % 12);
        HOLDS(client_find_name((struct slice){ name, CLIENT_NAME_BYTES }, &server, &place) == 0);
        HOLDS(place.name == client_name(&c) && place.reactor == CLIENT_ANYWHERE);
    }
}
END_TEST

static const struct {
    const char *text;
    size_t len;
    int result;
} no_names[] = {
    { "", 0, -EINVAL },
    { "0123456789abcde", 15, -EINVAL },
    { "0123456789abcdef0", 17, -EINVAL },
    { "0123456789abcdeg", 16, -EINVAL },
    { "0123456789ABCDEF", 16, -EINVAL },
    { "01234567 9abcdef", 16, -EINVAL },
    { "01234567\0009abcdef", 16, -EINVAL },
    { "0000000000000000", 16, -ENOENT },
    { "alice", 5, -EINVAL },
};

START_TEST(only_a_name_or_an_id_is_one)
{
    struct client_place place;
    ck_assert_int_eq(client_find_name((struct slice){ no_names[_i].text, no_names[_i].len }, &server, &place), no_names[_i].result);
}
END_TEST

START_TEST(every_bit_of_it_counts)
{
    struct client c = { .reactor = 3 }, back;
    for (size_t bit = 0; bit < 8 * sizeof c.random; bit++) {
        char text[CLIENT_ID_BYTES + 1];
        memset(c.random, 0, sizeof c.random);
        c.random[bit / 8] = (uint8_t)(1u << bit % 8);
        size_t len = client_format_id(&c, &server, text);
        HOLDS(parse(text, len, &back) == 0 && client_is_same(&c, &back));
    }
}
END_TEST

#define ZEROS "00000000000000000000000000" /* 26 digits: 16 bytes */

static const struct {
    const char *name;
    const char *text;
    int want;
} rows[] = {
    { "whole", "k3f9abcd.0." ZEROS, 0 },
    { "the last reactor", "k3f9abcd.11." ZEROS, 0 },
    { "a reactor that is not there", "k3f9abcd.12." ZEROS, -ENOENT },
    { "another node", "k3f9abce.0." ZEROS, -ENOENT },
    { "nothing", "", -EINVAL },
    { "no dots", "k3f9abcd0" ZEROS, -EINVAL },
    { "only dots", "..", -EINVAL },
    { "one dot", "k3f9abcd.0" ZEROS, -EINVAL },
    { "three dots", "k3f9abcd.0.." ZEROS, -EINVAL },
    { "a dot at the end", "k3f9abcd.0." ZEROS ".", -EINVAL },
    { "a shorter node", "k3f9abc.0." ZEROS, -EINVAL },
    { "a longer node", "k3f9abcde.0." ZEROS, -EINVAL },
    { "a node in capitals", "K3F9ABCD.0." ZEROS, -EINVAL },
    { "no reactor", "k3f9abcd.." ZEROS, -EINVAL },
    { "a reactor that is no number", "k3f9abcd.a." ZEROS, -EINVAL },
    { "a reactor below 0", "k3f9abcd.-1." ZEROS, -EINVAL },
    { "a reactor with a leading zero", "k3f9abcd.01." ZEROS, -EINVAL },
    { "a reactor of three digits", "k3f9abcd.100." ZEROS, -EINVAL },
    { "a digit less", "k3f9abcd.0.0000000000000000000000000", -EINVAL },
    { "a digit more", "k3f9abcd.0.0" ZEROS, -EINVAL },
    { "a letter that is no digit", "k3f9abcd.0.i0000000000000000000000000", -EINVAL },
    { "a capital", "k3f9abcd.0.A0000000000000000000000000", -EINVAL },
    { "bits that mean nothing", "k3f9abcd.0.00000000000000000000000001", -EINVAL },
    { "a space before", " k3f9abcd.0." ZEROS, -EINVAL },
    { "a line end after", "k3f9abcd.0." ZEROS "\n", -EINVAL },
};

START_TEST(only_an_id_is_one)
{
    struct client c;
    int got = parse(rows[_i].text, strlen(rows[_i].text), &c);
    ck_assert_msg(got == rows[_i].want, "%s: got %d", rows[_i].name, got);
}
END_TEST

START_TEST(an_id_that_is_cut_anywhere_is_none)
{
    static const char id[] = "k3f9abcd.11." ZEROS;
    struct client c;
    for (size_t len = 0; len < sizeof id - 1; len++)
        ck_assert_int_eq(parse(id, len, &c), -EINVAL);
    ck_assert_int_eq(parse(id, sizeof id, &c), -EINVAL); /* with its NUL */
    ck_assert_int_eq(client_parse_id((struct slice){ 0 }, &server, &c), -EINVAL);
}
END_TEST

START_TEST(who_has_no_token_is_no_backend)
{
    struct client c;
    client_init(&c, &reactor);
    ck_assert(!client_rights(&c, RULE_SUBSCRIBE)->is_backend);
    ck_assert_ptr_null(client_rights(&c, RULE_PUBLISH)->subject);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("client");
    TCase *tc = tcase_create("id");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, an_id_is_read_as_it_was_written);
    tcase_add_test(tc, no_two_clients_have_the_same_id);
    tcase_add_test(tc, every_bit_of_it_counts);
    tcase_add_test(tc, a_connection_is_found_by_its_id_and_by_its_name);
    tcase_add_loop_test(tc, only_a_name_or_an_id_is_one, 0, HLY_ARRAY_LEN(no_names));
    tcase_add_loop_test(tc, only_an_id_is_one, 0, HLY_ARRAY_LEN(rows));
    tcase_add_test(tc, an_id_that_is_cut_anywhere_is_none);
    tcase_add_test(tc, who_has_no_token_is_no_backend);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
