#include "net/tls_context.h"

#include <errno.h>
#include <sys/stat.h>

#include "tls_support.h"

static struct tls_report report;
static struct tls_context *context;

static void setup(void)
{
    tls_dir_make();
}

static void teardown(void)
{
    tls_context_unref(context);
    context = NULL;
    tls_dir_remove();
}

static int load(const char *chain, const char *key)
{
    struct tls_certificate files = { tls_path(chain), key == NULL ? NULL : tls_path(key) };
    struct tls_config config = { .certificates = &files, .certificate_count = 1 };
    return tls_context_new(&config, &context, &report);
}

/* ---- one client against it, in memory */

struct answer {
    int verdict;           /* 1: connected */
    char common_name[64];  /* of the server's certificate */
    char alpn[16];
    const char *version;
    char cipher[64];
};

struct asks {
    const char *host;
    const char *alpn;   /* as on the wire; NULL: no such extension */
    const char *ciphers; /* of TLS 1.2, which it then speaks */
    int max_version;
};

static struct answer connect_as(const struct asks *asks)
{
    struct answer a = { .verdict = 0 };
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *client = SSL_new(ctx), *server = tls_context_make_ssl(context);
    BIO *ours, *theirs;
    HOLDS(BIO_new_bio_pair(&ours, 65536, &theirs, 65536) == 1);
    SSL_set_bio(server, ours, ours);
    SSL_set_bio(client, theirs, theirs);
    SSL_set_connect_state(client);
    if (asks->host != NULL)
        SSL_set_tlsext_host_name(client, asks->host);
    if (asks->alpn != NULL)
        SSL_set_alpn_protos(client, (const unsigned char *)asks->alpn, (unsigned)strlen(asks->alpn));
    if (asks->ciphers != NULL)
        HOLDS(SSL_set_cipher_list(client, asks->ciphers) == 1);
    SSL_set_max_proto_version(client, asks->ciphers != NULL ? TLS1_2_VERSION : asks->max_version);
    for (int i = 0; i < 10 && a.verdict != 1; i++) {
        int there = SSL_do_handshake(client), here = SSL_do_handshake(server);
        a.verdict = there == 1 && here == 1;
    }
    X509 *x = SSL_get0_peer_certificate(client);
    if (x != NULL)
        X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, a.common_name, sizeof a.common_name);
    const unsigned char *alpn;
    unsigned alpn_len;
    SSL_get0_alpn_selected(client, &alpn, &alpn_len);
    snprintf(a.alpn, sizeof a.alpn, "%.*s", (int)alpn_len, alpn == NULL ? (const unsigned char *)"" : alpn);
    a.version = SSL_get_version(client);
    snprintf(a.cipher, sizeof a.cipher, "%s", SSL_get_cipher_name(client) == NULL ? "" : SSL_get_cipher_name(client));
    SSL_free(client);
    SSL_free(server);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return a;
}

/* ---- mistakes */

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(tls_path(name), "w");
    HOLDS(f != NULL);
    fputs(text, f);
    fclose(f);
}

static void make_mistakes(void)
{
    struct made a = tls_make("a", "DNS:a", 0, -1, 30, NULL), b = tls_make("b", "DNS:b", 0, -1, 30, NULL);
    struct made weak = tls_make("weak", "DNS:weak", 1024, -1, 30, NULL);
    tls_write("a", &a);
    tls_write("b", &b);
    tls_write("weak", &weak);
    tls_write_key("locked.key", &a, "open sesame");
    tls_write_certificates("two.pem", (const struct made *const[]){ &b, &a }, 2);
    write_text("empty.pem", "");
    write_text("words.pem", "This is no certificate.\n");
    write_text("damaged.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    mkdir(tls_path("directory"), 0700);
    tls_made_free(&a);
    tls_made_free(&b);
    tls_made_free(&weak);
}

static const struct {
    const char *name, *chain, *key;
    int error;
    const char *says, *advises;
} mistakes[] = {
    { "no such file", "none.pem", "a.key", -ENOENT, "none.pem' cannot be read: No such file or directory", "write its path" },
    { "no such key", "a.pem", "none.key", -ENOENT, "none.key' cannot be read", "write its path" },
    { "a directory", "directory", "a.key", -EISDIR, "cannot be read: Is a directory", "name a file in PEM" },
    { "nothing in it", "empty.pem", "a.key", -EINVAL, "empty.pem' has no certificate in it", "BEGIN CERTIFICATE" },
    { "text", "words.pem", "a.key", -EINVAL, "words.pem' has no certificate in it", "BEGIN CERTIFICATE" },
    { "the key in the certificate's place", "a.key", "a.key", -EINVAL, "a.key' has no certificate in it", "BEGIN CERTIFICATE" },
    { "a part of a certificate", "damaged.pem", "a.key", -EINVAL, "damaged.pem' is damaged: its certificate number 1", "Copy it again" },
    { "the certificate in the key's place", "a.pem", "a.pem", -EINVAL, "a.pem' has no private key in it", "BEGIN PRIVATE KEY" },
    { "no key behind the certificate", "a.pem", NULL, -EINVAL, "a.pem' has no private key in it", "BEGIN PRIVATE KEY" },
    { "another certificate's key", "a.pem", "b.key", -EINVAL, "b.key' does not belong to the certificate in '", "name the key that it was made with" },
    { "the key of the second certificate", "two.pem", "a.key", -EINVAL, "(its first, which must be the server's own)", "name the key" },
    { "a key with a pass phrase", "a.pem", "locked.key", -EINVAL, "locked.key' has a pass phrase", "openssl pkey" },
    { "a key that is too short", "weak.pem", "weak.key", -EINVAL, "weak.pem' cannot be used: ", "RSA takes 2048 bits" },
};

START_TEST(a_mistake_is_named_with_its_file_and_what_would_be_right)
{
    make_mistakes();
    int r = load(mistakes[_i].chain, mistakes[_i].key);
    ck_assert_msg(r == mistakes[_i].error, "%s: %d, %s", mistakes[_i].name, r, report.error);
    ck_assert_msg(strstr(report.error, mistakes[_i].says) != NULL, "%s: %s", mistakes[_i].name, report.error);
    ck_assert_msg(strstr(report.error, mistakes[_i].advises) != NULL, "%s: %s", mistakes[_i].name, report.error);
    ck_assert_uint_eq(ERR_peek_error(), 0);
}
END_TEST

static const struct {
    const char *name;
    int from_day, to_day;
    bool is_swapped;
    const char *says; /* NULL: nothing */
} doubts[] = {
    { "a good one", -1, 30, false, NULL },
    { "one that has expired", -30, -1, false, "has expired: browsers refuse it" },
    { "one that expires soon", -30, 3, false, "expires in less than a week" },
    { "one of tomorrow", 1, 30, false, "is not valid yet" },
    { "a chain in the wrong order", -1, 30, true, "not in order: number 2 was not signed by number 3" },
};

START_TEST(what_is_surely_not_meant_is_a_warning)
{
    struct made root = tls_make("root", NULL, 0, -30, 30, NULL), middle = tls_make("middle", NULL, 0, -30, 30, &root);
    struct made leaf = tls_make("a", "DNS:a", 0, doubts[_i].from_day, doubts[_i].to_day, &middle);
    const struct made *right[] = { &leaf, &middle, &root }, *wrong[] = { &leaf, &middle, &leaf };
    tls_write_certificates("chain.pem", doubts[_i].is_swapped ? wrong : right, 3);
    tls_write_key("chain.key", &leaf, NULL);
    ck_assert_int_eq(load("chain.pem", "chain.key"), 0);
    if (doubts[_i].says == NULL)
        ck_assert_msg(report.warning_count == 0, "%s", report.warnings[0]);
    else
        ck_assert_msg(report.warning_count == 1 && strstr(report.warnings[0], doubts[_i].says) != NULL, "%s: %s", doubts[_i].name, report.warnings[0]);
    tls_made_free(&root);
    tls_made_free(&middle);
    tls_made_free(&leaf);
}
END_TEST

START_TEST(certificate_and_key_may_be_one_file)
{
    struct made a = tls_make("a", "DNS:a", 0, -1, 30, NULL);
    FILE *f = fopen(tls_path("both.pem"), "w");
    HOLDS(PEM_write_PrivateKey(f, a.key, NULL, NULL, 0, NULL, NULL) == 1 && PEM_write_X509(f, a.x) == 1);
    fclose(f);
    ck_assert_int_eq(load("both.pem", NULL), 0);
    tls_made_free(&a);
}
END_TEST

/* ---- whom a client gets */

static void load_many(void)
{
    static const struct { const char *name, *names; unsigned rsa_bits; } made[] = {
        { "first", "DNS:first.example,IP:127.0.0.1", 0 },
        { "exact", "DNS:www.Example.com,DNS:example.com", 0 },
        { "wild", "DNS:*.example.com", 0 },
        { "old", NULL, 0 },
        { "twin", "DNS:www.Example.com,DNS:example.com", 2048 },
        { "late", "DNS:first.example", 0 },
    };
    struct tls_certificate files[HLY_ARRAY_LEN(made)];
    char paths[HLY_ARRAY_LEN(made)][2][128];
    for (size_t i = 0; i < HLY_ARRAY_LEN(made); i++) {
        tls_make_files(made[i].name, made[i].name[0] == 'o' ? "old.example" : made[i].name, made[i].names, made[i].rsa_bits);
        snprintf(paths[i][0], sizeof paths[i][0], "%s/%s.pem", tls_dir, made[i].name);
        snprintf(paths[i][1], sizeof paths[i][1], "%s/%s.key", tls_dir, made[i].name);
        files[i] = (struct tls_certificate){ paths[i][0], paths[i][1] };
    }
    struct tls_config config = { .certificates = files, .certificate_count = HLY_ARRAY_LEN(made) };
    ck_assert_msg(tls_context_new(&config, &context, &report) == 0, "%s", report.error);
}

static const struct {
    const char *host, *want;
} hosts[] = {
    { NULL, "first" },
    { "first.example", "first" },      /* and not "late", which comes behind it */
    { "www.example.com", "exact" },
    { "WWW.EXAMPLE.COM", "exact" },
    { "www.example.com.", "exact" },   /* fully qualified */
    { "example.com", "exact" },
    { "a.example.com", "wild" },
    { "a.b.example.com", "first" },    /* a wildcard is one level (RFC 6125 6.4.3) */
    { ".example.com", "first" },
    { "old.example", "old.example" },
    { "nobody.example", "first" },
    { "com", "first" },
};

START_TEST(a_client_gets_the_certificate_of_the_host_that_it_asks_for)
{
    load_many();
    for (size_t i = 0; i < HLY_ARRAY_LEN(hosts); i++) {
        struct answer a = connect_as(&(struct asks){ .host = hosts[i].host });
        ck_assert_int_eq(a.verdict, 1);
        ck_assert_msg(strcmp(a.common_name, hosts[i].want) == 0, "%s: %s", hosts[i].host, a.common_name);
    }
}
END_TEST

START_TEST(a_client_without_ecdsa_gets_the_rsa_certificate_of_the_same_names)
{
    load_many();
    struct answer a = connect_as(&(struct asks){ .host = "example.com", .ciphers = "ECDHE-RSA-AES128-GCM-SHA256" });
    ck_assert_int_eq(a.verdict, 1);
    ck_assert_str_eq(a.common_name, "twin");
    a = connect_as(&(struct asks){ .host = "example.com", .ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" });
    ck_assert_str_eq(a.common_name, "exact");
}
END_TEST

static const struct {
    const char *name;
    struct asks asks;
    bool is_let_in;
    const char *alpn;
} clients[] = {
    { "without ALPN", { .alpn = NULL }, true, "" },
    { "http/1.1", { .alpn = "\x08http/1.1" }, true, "http/1.1" },
    { "a browser", { .alpn = "\x02h2\x08http/1.1" }, true, "http/1.1" },
    { "HTTP/1.0 first", { .alpn = "\x08http/1.0\x08http/1.1" }, true, "http/1.1" },
    { "HTTP/2 alone (RFC 7301 3.2)", { .alpn = "\x02h2" }, false, "" },
    { "TLS 1.2", { .max_version = TLS1_2_VERSION }, true, "" },
    { "TLS 1.1", { .max_version = TLS1_1_VERSION }, false, "" },
    { "CBC", { .ciphers = "ECDHE-ECDSA-AES128-SHA256" }, false, "" },
    { "no forward secrecy", { .ciphers = "AES128-GCM-SHA256" }, false, "" },
    { "ChaCha20", { .ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305" }, true, "" },
};

START_TEST(what_is_safe_is_spoken_and_nothing_else)
{
    tls_make_files("a", "a", "DNS:a", 0);
    ck_assert_int_eq(load("a.pem", "a.key"), 0);
    struct answer a = connect_as(&clients[_i].asks);
    ck_assert_msg(a.verdict == clients[_i].is_let_in, "%s", clients[_i].name);
    ck_assert_msg(strcmp(a.alpn, clients[_i].alpn) == 0, "%s: %s", clients[_i].name, a.alpn);
}
END_TEST

START_TEST(a_slot_gives_the_new_context_and_the_old_one_lives_while_it_is_used)
{
    tls_make_files("a", "a", "DNS:a", 0);
    tls_make_files("b", "b", "DNS:b", 0);
    ck_assert_int_eq(load("a.pem", "a.key"), 0);
    struct tls_slot *slot = tls_slot_new(context);
    struct tls_context *old = tls_slot_get(slot);
    ck_assert_int_eq(load("b.pem", "b.key"), 0);
    tls_slot_set(slot, context);
    context = old;
    ck_assert_str_eq(connect_as(&(struct asks){ .host = NULL }).common_name, "a");
    tls_context_unref(old);
    context = tls_slot_get(slot);
    ck_assert_str_eq(connect_as(&(struct asks){ .host = NULL }).common_name, "b");
    tls_slot_free(slot);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tls_context");
    TCase *files = tcase_create("files"), *use = tcase_create("use");
    tcase_add_checked_fixture(files, setup, teardown);
    tcase_add_loop_test(files, a_mistake_is_named_with_its_file_and_what_would_be_right, 0, HLY_ARRAY_LEN(mistakes));
    tcase_add_loop_test(files, what_is_surely_not_meant_is_a_warning, 0, HLY_ARRAY_LEN(doubts));
    tcase_add_test(files, certificate_and_key_may_be_one_file);
    suite_add_tcase(s, files);
    tcase_add_checked_fixture(use, setup, teardown);
    tcase_add_test(use, a_client_gets_the_certificate_of_the_host_that_it_asks_for);
    tcase_add_test(use, a_client_without_ecdsa_gets_the_rsa_certificate_of_the_same_names);
    tcase_add_loop_test(use, what_is_safe_is_spoken_and_nothing_else, 0, HLY_ARRAY_LEN(clients));
    tcase_add_test(use, a_slot_gives_the_new_context_and_the_old_one_lives_while_it_is_used);
    suite_add_tcase(s, use);
    return run_suite(s);
}
