#include "net/tls_tickets.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "support.h"

#define HOUR 3600000u
#define NOW (100 * (uint64_t)HOUR)

struct sealed {
    unsigned char name[16], iv[EVP_MAX_IV_LENGTH], bytes[64], mac[32];
    int len;
};

static const unsigned char secret[] = "what the client was";
static EVP_CIPHER_CTX *cipher;
static EVP_MAC_CTX *mac;

static void setup(void)
{
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    cipher = EVP_CIPHER_CTX_new();
    mac = EVP_MAC_CTX_new(hmac);
    EVP_MAC_free(hmac);
}

static void teardown(void)
{
    EVP_CIPHER_CTX_free(cipher);
    EVP_MAC_CTX_free(mac);
}

static void sign(const unsigned char *bytes, int len, unsigned char out[32])
{
    size_t out_len;
    HOLDS(EVP_MAC_init(mac, NULL, 0, NULL) == 1 && EVP_MAC_update(mac, bytes, (size_t)len) == 1 && EVP_MAC_final(mac, out, &out_len, 32) == 1);
}

static struct sealed seal(struct tls_tickets *t, uint64_t now)
{
    struct sealed s = { .len = 0 };
    int more;
    ck_assert_int_eq(tls_tickets_use(t, now, s.name, s.iv, cipher, mac, 1), 1);
    HOLDS(EVP_EncryptUpdate(cipher, s.bytes, &s.len, secret, sizeof secret) == 1 && EVP_EncryptFinal_ex(cipher, s.bytes + s.len, &more) == 1);
    s.len += more;
    sign(s.bytes, s.len, s.mac);
    return s;
}

/* As tls_tickets_use(); what comes out is right if anything does. */
static int unseal(struct tls_tickets *t, uint64_t now, struct sealed s)
{
    unsigned char out[64], tag[32];
    int len, more;
    int r = tls_tickets_use(t, now, s.name, s.iv, cipher, mac, 0);
    if (r <= 0)
        return r;
    sign(s.bytes, s.len, tag);
    ck_assert_mem_eq(tag, s.mac, 32);
    HOLDS(EVP_DecryptUpdate(cipher, out, &len, s.bytes, s.len) == 1 && EVP_DecryptFinal_ex(cipher, out + len, &more) == 1);
    ck_assert_uint_eq((size_t)(len + more), sizeof secret);
    ck_assert_mem_eq(out, secret, sizeof secret);
    return r;
}

static const struct {
    const char *name;
    uint64_t after_ms;
    int want;
} ages[] = {
    { "at once", 0, 1 },
    { "within the hour of its key", HOUR - 2, 1 },
    { "when there is a newer key: good, and the client gets a new ticket", HOUR + 2, 2 },
    { "as long as a ticket lives", (uint64_t)TLS_TICKET_LIFETIME_S * 1000, 2 },
    { "when its key has been wiped", 4 * (uint64_t)HOUR + 2, 0 },
    { "after a long silence", 100 * (uint64_t)HOUR, 0 },
};

START_TEST(a_ticket_is_good_for_as_long_as_its_key_is_kept)
{
    struct tls_tickets *t = tls_tickets_new();
    struct sealed s = seal(t, NOW);
    int got = unseal(t, NOW + ages[_i].after_ms, s);
    ck_assert_msg(got == ages[_i].want, "%s: %d", ages[_i].name, got);
    tls_tickets_unref(t);
}
END_TEST

START_TEST(the_last_ticket_of_a_key_is_good_for_its_lifetime)
{
    struct tls_tickets *t = tls_tickets_new();
    seal(t, NOW);
    struct sealed last = seal(t, NOW + HOUR - 2);
    for (uint64_t ms = NOW + HOUR; ms <= NOW + HOUR + TLS_TICKET_LIFETIME_S * (uint64_t)1000; ms += HOUR / 4)
        seal(t, ms); /* keys come and go */
    ck_assert_int_eq(unseal(t, NOW + HOUR - 2 + TLS_TICKET_LIFETIME_S * (uint64_t)1000, last), 2);
    tls_tickets_unref(t);
}
END_TEST

START_TEST(a_new_key_is_made_each_hour)
{
    struct tls_tickets *t = tls_tickets_new();
    struct sealed a = seal(t, NOW), b = seal(t, NOW + HOUR / 2), c = seal(t, NOW + HOUR + 2);
    ck_assert_mem_eq(a.name, b.name, 16);
    ck_assert_mem_ne(a.name, c.name, 16);
    ck_assert_mem_ne(a.iv, b.iv, 16);
    tls_tickets_unref(t);
}
END_TEST

START_TEST(another_ring_knows_nothing_of_it)
{
    struct tls_tickets *t = tls_tickets_new(), *other = tls_tickets_new();
    ck_assert_int_eq(unseal(other, NOW, seal(t, NOW)), 0);
    struct sealed none = { .len = 0 };
    ck_assert_int_eq(unseal(t, NOW, none), 0); /* an empty place in the ring has no name of zeros */
    tls_tickets_unref(t);
    tls_tickets_unref(other);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tls_tickets");
    TCase *tickets = tcase_create("tickets");
    tcase_add_checked_fixture(tickets, setup, teardown);
    tcase_add_loop_test(tickets, a_ticket_is_good_for_as_long_as_its_key_is_kept, 0, HLY_ARRAY_LEN(ages));
    tcase_add_test(tickets, the_last_ticket_of_a_key_is_good_for_its_lifetime);
    tcase_add_test(tickets, a_new_key_is_made_each_hour);
    tcase_add_test(tickets, another_ring_knows_nothing_of_it);
    suite_add_tcase(s, tickets);
    return run_suite(s);
}
