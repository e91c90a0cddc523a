/* Certificates and keys for tests, made on the spot. */
#ifndef HALLEY_TESTS_UNIT_TLS_SUPPORT_H
#define HALLEY_TESTS_UNIT_TLS_SUPPORT_H

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "support.h"

static char tls_dir[64]; /* where the files are */

static inline void tls_dir_make(void)
{
    strcpy(tls_dir, "/tmp/halley-tls-XXXXXX");
    HOLDS(mkdtemp(tls_dir) != NULL);
}

static inline void tls_dir_remove(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", tls_dir);
    HOLDS(system(command) == 0);
}

static inline const char *tls_path(const char *name) /* one of eight, each good until it comes round again */
{
    static char paths[8][128];
    static unsigned next;
    char *out = paths[next++ % 8];
    snprintf(out, sizeof paths[0], "%s/%s", tls_dir, name);
    return out;
}

struct made { /* a certificate and its key */
    X509 *x;
    EVP_PKEY *key;
};

/* names: as in subjectAltName ("DNS:a,DNS:b"), NULL: none. rsa_bits 0: ECDSA. */
static inline struct made tls_make(const char *common_name, const char *names, unsigned rsa_bits, int from_day, int to_day, const struct made *issuer)
{
    struct made m = { X509_new(), rsa_bits > 0 ? EVP_RSA_gen(rsa_bits) : EVP_EC_gen("P-256") };
    HOLDS(m.x != NULL && m.key != NULL);
    static long serial;
    X509_set_version(m.x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(m.x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(m.x), from_day * 86400L);
    X509_gmtime_adj(X509_getm_notAfter(m.x), to_day * 86400L);
    X509_set_pubkey(m.x, m.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(m.x), "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0);
    X509_set_issuer_name(m.x, X509_get_subject_name(issuer != NULL ? issuer->x : m.x));
    if (names != NULL) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
        HOLDS(e != NULL && X509_add_ext(m.x, e, -1) == 1);
        X509_EXTENSION_free(e);
    }
    HOLDS(X509_sign(m.x, issuer != NULL ? issuer->key : m.key, EVP_sha256()) > 0);
    return m;
}

static inline void tls_made_free(struct made *m)
{
    X509_free(m->x);
    EVP_PKEY_free(m->key);
}

static inline void tls_write_certificates(const char *name, const struct made *const *list, size_t count)
{
    FILE *f = fopen(tls_path(name), "w");
    HOLDS(f != NULL);
    for (size_t i = 0; i < count; i++)
        HOLDS(PEM_write_X509(f, list[i]->x) == 1);
    fclose(f);
}

static inline void tls_write_key(const char *name, const struct made *m, const char *pass_phrase)
{
    FILE *f = fopen(tls_path(name), "w");
    HOLDS(f != NULL);
    HOLDS(PEM_write_PrivateKey(f, m->key, pass_phrase == NULL ? NULL : EVP_aes_128_cbc(), NULL, 0, NULL, (void *)pass_phrase) == 1);
    fclose(f);
}

/* NAME.pem and NAME.key. */
static inline void tls_write(const char *name, const struct made *m)
{
    char file[64];
    snprintf(file, sizeof file, "%s.pem", name);
    tls_write_certificates(file, &m, 1);
    snprintf(file, sizeof file, "%s.key", name);
    tls_write_key(file, m, NULL);
}

static inline void tls_make_files(const char *name, const char *common_name, const char *names, unsigned rsa_bits)
{
    struct made m = tls_make(common_name, names, rsa_bits, -1, 30, NULL);
    tls_write(name, &m);
    tls_made_free(&m);
}

#endif
