#include "net/tls_context.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "net/tls_tickets.h"

#define FILE_BYTES_MAX (1024 * 1024)
#define CLIENT_CHAIN_BYTES_MAX 32768
#define CLIENT_CHAIN_DEPTH 6
#define NAME_MAX_BYTES 255
#define SOON_S (7 * 24 * 3600)

/* Mozilla's "intermediate": forward secrecy and AEAD, nothing else. Finite-field Diffie-Hellman is left out: no client needs it any more. */
#define TLS12_CIPHERS \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define TLS13_CIPHERS "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"

struct name { /* of a certificate: what a client may ask for */
    char *text; /* in small letters; of "*.example.com" it is ".example.com" */
    size_t certificate; /* in contexts */
};

struct tls_context {
    _Atomic unsigned refs;
    SSL_CTX **contexts; /* one for each set of names; the first is the default */
    size_t context_count;
    struct name *names; /* sorted */
    size_t name_count;
    struct tls_tickets *tickets;
};

/* ---- saying what is wrong */

static int fail(struct tls_report *report, int error, const char *fmt, ...) HLY_PRINTF(3, 4);
static int fail(struct tls_report *report, int error, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(report->error, sizeof report->error, fmt, ap);
    va_end(ap);
    ERR_clear_error();
    return error;
}

static void warn(struct tls_report *report, const char *fmt, ...) HLY_PRINTF(2, 3);
static void warn(struct tls_report *report, const char *fmt, ...)
{
    va_list ap;
    if (report->warning_count == TLS_WARNINGS_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(report->warnings[report->warning_count++], sizeof report->warnings[0], fmt, ap);
    va_end(ap);
}

static int fail_memory(struct tls_report *report)
{
    return fail(report, -ENOMEM, "Memory has run out while certificates were loaded.");
}

static const char *remedy(int error)
{
    switch (error) {
    case ENOENT:
        return "write its path as it is, from / on";
    case EACCES:
    case EPERM:
        return "the server has to be able to read it: see to its owner and mode, or start as root, which reads it before it becomes another user";
    default:
        return "name a file in PEM";
    }
}

/* ---- files */

static void buf_wipe(struct buf *b)
{
    if (b->data != NULL)
        OPENSSL_cleanse(b->data, b->cap);
    buf_done(b);
}

static int read_all(int fd, struct buf *out)
{
    if (buf_reserve(out, FILE_BYTES_MAX + 1) == NULL) /* at once: a growing buffer leaves copies of the key behind */
        return -ENOMEM;
    for (;;) {
        ssize_t n = read(fd, out->data + out->len, FILE_BYTES_MAX + 1 - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        out->len += (size_t)n;
        if (out->len > FILE_BYTES_MAX)
            return -EFBIG;
    }
}

static int read_file(const char *path, struct buf *out, struct tls_report *report)
{
    HLY_CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int r = fd < 0 ? -errno : read_all(fd, out);
    if (r == -ENOMEM)
        return fail_memory(report);
    if (r < 0)
        return fail(report, r, "The file '%s' cannot be read: %s; %s.", path, strerror(-r), remedy(-r));
    return 0;
}

/* A key with a pass phrase: nobody is there to say it. */
static int on_pass_phrase(char *out, int size, int is_writing, void *asked)
{
    (void)is_writing;
    *(bool *)asked = true;
    if (size > 0)
        out[0] = '\0';
    return -1;
}

static bool is_end_of_pem(void)
{
    unsigned long error = ERR_peek_last_error();
    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

/* All certificates of a file, in its order. */
static int read_certificates(const char *path, STACK_OF(X509) *out, struct tls_report *report)
{
    HLY_CLEANUP(buf_wipe) struct buf text = { 0 };
    int r = read_file(path, &text, report);
    if (r < 0)
        return r;
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
    if (bio == NULL)
        return fail_memory(report);
    X509 *x;
    ERR_clear_error();
    while ((x = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)) != NULL) {
        if (sk_X509_push(out, x) == 0) {
            X509_free(x);
            BIO_free(bio);
            return fail_memory(report);
        }
    }
    bool is_whole = is_end_of_pem();
    BIO_free(bio);
    ERR_clear_error();
    if (sk_X509_num(out) == 0 && is_whole)
        return fail(report, -EINVAL, "The file '%s' has no certificate in it: it must hold one in PEM (-----BEGIN CERTIFICATE-----).", path);
    if (!is_whole)
        return fail(report, -EINVAL, "The file '%s' is damaged: its certificate number %d cannot be read. Copy it again.", path, sk_X509_num(out) + 1);
    return 0;
}

static int read_key(const char *path, EVP_PKEY **ret, struct tls_report *report)
{
    HLY_CLEANUP(buf_wipe) struct buf text = { 0 };
    bool has_pass_phrase = false;
    int r = read_file(path, &text, report);
    if (r < 0)
        return r;
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
    if (bio == NULL)
        return fail_memory(report);
    *ret = PEM_read_bio_PrivateKey(bio, NULL, on_pass_phrase, &has_pass_phrase);
    BIO_free(bio);
    if (*ret != NULL)
        return 0;
    if (has_pass_phrase)
        return fail(report, -EINVAL,
                    "The key in '%s' has a pass phrase, and a server has nobody to ask for it: take it off (openssl pkey -in OLD -out NEW) and "
                    "let the file's mode guard the key.",
                    path);
    return fail(report, -EINVAL, "The file '%s' has no private key in it: it must hold one in PEM (-----BEGIN PRIVATE KEY-----).", path);
}

/* ---- the names that a certificate is for */

static int add_name(struct tls_context *t, const unsigned char *bytes, size_t len, size_t certificate)
{
    if (len == 0 || len > NAME_MAX_BYTES || memchr(bytes, '\0', len) != NULL)
        return 0;
    bool is_wild = len > 2 && bytes[0] == '*' && bytes[1] == '.';
    struct name *names = reallocarray(t->names, t->name_count + 1, sizeof *names);
    if (names == NULL)
        return -ENOMEM;
    t->names = names;
    char *text = strndup((const char *)bytes + is_wild, len - is_wild);
    if (text == NULL)
        return -ENOMEM;
    for (char *p = text; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    names[t->name_count++] = (struct name){ text, certificate };
    return 0;
}

static int add_common_name(struct tls_context *t, X509 *x, size_t certificate)
{
    X509_NAME *subject = X509_get_subject_name(x);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *text = NULL;
    int len = at < 0 ? 0 : ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    int r = len <= 0 ? 0 : add_name(t, text, (size_t)len, certificate);
    OPENSSL_free(text);
    return r;
}

/* The DNS names of subjectAltName; the common name alone where there are none, as of old. */
static int add_names(struct tls_context *t, X509 *x, size_t certificate)
{
    GENERAL_NAMES *list = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    size_t before = t->name_count;
    int r = 0;
    for (int i = 0; r == 0 && i < sk_GENERAL_NAME_num(list); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(list, i);
        if (g->type == GEN_DNS)
            r = add_name(t, ASN1_STRING_get0_data(g->d.dNSName), (size_t)ASN1_STRING_length(g->d.dNSName), certificate);
    }
    GENERAL_NAMES_free(list);
    return r == 0 && t->name_count == before ? add_common_name(t, x, certificate) : r;
}

static int compare_names(const void *a, const void *b)
{
    const struct name *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order != 0 ? order : x->certificate < y->certificate ? -1 : x->certificate > y->certificate;
}

static const struct name *find_name(const struct tls_context *t, const char *text)
{
    size_t low = 0, high = t->name_count;
    while (low < high) { /* the first that is not less: of two certificates for one name the one that is named first */
        size_t middle = low + (high - low) / 2;
        if (strcmp(t->names[middle].text, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->name_count && strcmp(t->names[low].text, text) == 0 ? &t->names[low] : NULL;
}

static SSL_CTX *context_for(const struct tls_context *t, const char *host)
{
    char text[NAME_MAX_BYTES + 1];
    size_t len = strlen(host);
    if (len == 0 || len > NAME_MAX_BYTES)
        return t->contexts[0];
    for (size_t i = 0; i <= len; i++)
        text[i] = (char)tolower((unsigned char)host[i]);
    if (text[len - 1] == '.') /* a name may end in a dot */
        text[len - 1] = '\0';
    const struct name *n = text[0] == '.' ? NULL : find_name(t, text);
    const char *dot = strchr(text, '.');
    if (n == NULL && dot != NULL && dot != text) /* *.example.com: for one level */
        n = find_name(t, dot);
    return t->contexts[n == NULL ? 0 : n->certificate];
}

/* ---- what OpenSSL asks during a handshake */

static int on_server_name(SSL *ssl, int *ret_alert, void *arg)
{
    const char *host = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)ret_alert;
    if (host == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_CTX *wanted = context_for(arg, host);
    if (wanted != SSL_get_SSL_CTX(ssl))
        SSL_set_SSL_CTX(ssl, wanted);
    return SSL_TLSEXT_ERR_OK;
}

/* RFC 7301: who names protocols and not this one cannot be served. */
static int on_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len, const unsigned char *offered, unsigned len, void *arg)
{
    static const unsigned char known[] = "\x08http/1.1\x08http/1.0";
    (void)ssl;
    (void)arg;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, ret_len, known, sizeof known - 1, offered, len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int is_sealing)
{
    struct tls_tickets *tickets = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    return tls_tickets_use(tickets, clock_mono_ms(), name, iv, cipher, mac, is_sealing);
}

/* ---- making one */

static int set_client_ca(SSL_CTX *ctx, const struct tls_config *config, struct tls_report *report)
{
    STACK_OF(X509) *list = sk_X509_new_null();
    int r = list == NULL ? fail_memory(report) : read_certificates(config->client_ca, list, report);
    for (int i = 0; r == 0 && i < sk_X509_num(list); i++)
        if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), sk_X509_value(list, i)) != 1 ||
            SSL_CTX_add_client_CA(ctx, sk_X509_value(list, i)) != 1)
            r = fail(report, -EINVAL, "The certificate number %d in '%s' cannot be used for clients.", i + 1, config->client_ca);
    sk_X509_pop_free(list, X509_free);
    SSL_CTX_set_verify_depth(ctx, CLIENT_CHAIN_DEPTH);
    SSL_CTX_set_verify(ctx, config->client_is_required ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_PEER, NULL);
    return r;
}

/* A ticket holds who the client was, so it is good only where the same is asked of clients: by the same certificates. */
static int set_session_id_context(SSL_CTX *ctx, const struct tls_config *config, struct tls_report *report)
{
    HLY_CLEANUP(buf_wipe) struct buf text = { 0 };
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;
    int r = config->client_ca == NULL ? 0 : read_file(config->client_ca, &text, report);
    if (r == 0)
        r = buf_str(&text, config->client_ca == NULL ? "anyone" : config->client_is_required ? "required" : "optional");
    if (r == -ENOMEM)
        return fail_memory(report);
    if (r == 0 && (EVP_Digest(text.data, text.len, digest, &len, EVP_sha256(), NULL) != 1 || SSL_CTX_set_session_id_context(ctx, digest, 32) != 1))
        return fail_memory(report);
    return r;
}

static bool set_options(struct tls_context *t, SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_clear_options(ctx, SSL_OP_LEGACY_SERVER_CONNECT);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY); /* one read, one record */
    SSL_CTX_set_read_ahead(ctx, 1); /* a record with one recv() instead of two */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, TLS_TICKET_LIFETIME_S);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_max_early_data(ctx, 0);
    SSL_CTX_set_max_cert_list(ctx, CLIENT_CHAIN_BYTES_MAX);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, t);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_app_data(ctx, t->tickets);
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) == 1 && SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, TLS12_CIPHERS) == 1 && SSL_CTX_set_ciphersuites(ctx, TLS13_CIPHERS) == 1 &&
           SSL_CTX_set1_groups_list(ctx, GROUPS) == 1;
}

static SSL_CTX *add_context(struct tls_context *t, const struct tls_config *config, struct tls_report *report)
{
    SSL_CTX **grown = reallocarray(t->contexts, t->context_count + 1, sizeof *grown);
    if (grown != NULL)
        t->contexts = grown;
    SSL_CTX *ctx = grown == NULL ? NULL : SSL_CTX_new(TLS_server_method());
    if (ctx == NULL) {
        fail_memory(report);
        return NULL;
    }
    t->contexts[t->context_count++] = ctx;
    if (!set_options(t, ctx)) {
        fail(report, -EINVAL, "OpenSSL cannot be set up: its configuration (openssl.cnf) refuses TLS 1.2, its ciphers or its groups.");
        return NULL;
    }
    if (set_session_id_context(ctx, config, report) < 0 || (config->client_ca != NULL && set_client_ca(ctx, config, report) < 0))
        return NULL;
    return ctx;
}

/* What is legal and surely not meant. */
static void check_certificate(const char *path, STACK_OF(X509) *chain, struct tls_report *report)
{
    X509 *leaf = sk_X509_value(chain, 0);
    time_t soon = time(NULL) + SOON_S;
    if (X509_cmp_time(X509_get0_notAfter(leaf), NULL) < 0)
        warn(report, "The certificate in '%s' has expired: browsers refuse it. Renew it and reload.", path);
    else if (X509_cmp_time(X509_get0_notAfter(leaf), &soon) < 0)
        warn(report, "The certificate in '%s' expires in less than a week: renew it and reload.", path);
    if (X509_cmp_time(X509_get0_notBefore(leaf), NULL) > 0)
        warn(report, "The certificate in '%s' is not valid yet: see to this machine's clock, or wait.", path);
    for (int i = 0; i + 1 < sk_X509_num(chain); i++) {
        if (X509_check_issued(sk_X509_value(chain, i + 1), sk_X509_value(chain, i)) == X509_V_OK)
            continue;
        warn(report,
             "The certificates in '%s' are not in order: number %d was not signed by number %d. The server's comes first, and each is signed by the one "
             "behind it.",
             path, i + 1, i + 2);
        return;
    }
}

/* An RSA and an ECDSA certificate for the same names belong together: each client gets the one that it understands. */
static size_t find_twin(const struct tls_context *t, X509 *leaf)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    size_t found = t->context_count;
    for (size_t i = 0; names != NULL && i < t->context_count && found == t->context_count; i++) {
        X509 *other = SSL_CTX_get0_certificate(t->contexts[i]);
        int at = X509_get_ext_by_NID(leaf, NID_subject_alt_name, -1), there = X509_get_ext_by_NID(other, NID_subject_alt_name, -1);
        if (there < 0 || EVP_PKEY_get_base_id(X509_get0_pubkey(other)) == EVP_PKEY_get_base_id(X509_get0_pubkey(leaf)))
            continue;
        if (ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(X509_get_ext(leaf, at)), X509_EXTENSION_get_data(X509_get_ext(other, there))) == 0)
            found = i;
    }
    GENERAL_NAMES_free(names);
    return found;
}

static int use(SSL_CTX *ctx, const struct tls_certificate *files, STACK_OF(X509) *chain, EVP_PKEY *key, struct tls_report *report)
{
    X509 *leaf = sk_X509_value(chain, 0);
    const char *key_path = files->key != NULL ? files->key : files->chain;
    if (X509_check_private_key(leaf, key) != 1)
        return fail(report, -EINVAL,
                    "The key in '%s' does not belong to the certificate in '%s'%s: name the key that it was made with.", key_path, files->chain,
                    sk_X509_num(chain) > 1 ? " (its first, which must be the server's own)" : "");
    STACK_OF(X509) *rest = sk_X509_new_null();
    bool is_set = rest != NULL;
    for (int i = 1; is_set && i < sk_X509_num(chain); i++)
        is_set = sk_X509_push(rest, sk_X509_value(chain, i)) > 0;
    ERR_clear_error();
    is_set = is_set && SSL_CTX_use_cert_and_key(ctx, leaf, key, rest, 1) == 1;
    sk_X509_free(rest);
    if (is_set)
        return 0;
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return fail(report, -EINVAL, "The certificate in '%s' cannot be used: %s. OpenSSL refuses keys and hashes that are too weak (RSA takes 2048 bits).",
                files->chain, reason == NULL ? "memory has run out" : reason);
}

static int add_loaded(struct tls_context *t, const struct tls_config *config, const struct tls_certificate *files, STACK_OF(X509) *chain,
                      EVP_PKEY *key, struct tls_report *report)
{
    X509 *leaf = sk_X509_value(chain, 0);
    size_t at = find_twin(t, leaf);
    SSL_CTX *ctx = at < t->context_count ? t->contexts[at] : add_context(t, config, report);
    int r = ctx == NULL ? -EINVAL : use(ctx, files, chain, key, report);
    if (r < 0)
        return r;
    check_certificate(files->chain, chain, report);
    return add_names(t, leaf, at) < 0 ? fail_memory(report) : 0;
}

static int add_certificate(struct tls_context *t, const struct tls_config *config, const struct tls_certificate *files, struct tls_report *report)
{
    EVP_PKEY *key = NULL;
    STACK_OF(X509) *chain = sk_X509_new_null();
    int r = chain == NULL ? fail_memory(report) : read_certificates(files->chain, chain, report);
    if (r == 0)
        r = read_key(files->key != NULL ? files->key : files->chain, &key, report);
    if (r == 0)
        r = add_loaded(t, config, files, chain, key, report);
    sk_X509_pop_free(chain, X509_free);
    EVP_PKEY_free(key);
    return r;
}

int tls_context_new(const struct tls_config *config, struct tls_context **ret, struct tls_report *report)
{
    *report = (struct tls_report){ .warning_count = 0 };
    struct tls_context *t = calloc(1, sizeof *t);
    if (t == NULL)
        return fail_memory(report);
    atomic_init(&t->refs, 1);
    t->tickets = config->tickets != NULL ? tls_tickets_ref(config->tickets) : tls_tickets_shared();
    int r = t->tickets == NULL ? fail_memory(report) : 0;
    for (size_t i = 0; r == 0 && i < config->certificate_count; i++)
        r = add_certificate(t, config, &config->certificates[i], report);
    ERR_clear_error();
    if (r < 0) {
        tls_context_unref(t);
        return r;
    }
    if (t->name_count > 0)
        qsort(t->names, t->name_count, sizeof *t->names, compare_names);
    *ret = t;
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tls_context_unref(struct tls_context *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < t->context_count; i++)
        SSL_CTX_free(t->contexts[i]);
    for (size_t i = 0; i < t->name_count; i++)
        free(t->names[i].text);
    tls_tickets_unref(t->tickets);
    free(t->contexts);
    free(t->names);
    free(t);
}

SSL *tls_context_make_ssl(struct tls_context *t)
{
    SSL *ssl = SSL_new(t->contexts[0]);
    if (ssl != NULL)
        SSL_set_accept_state(ssl);
    else
        ERR_clear_error();
    return ssl;
}

/* ---- slots */

struct tls_slot {
    pthread_mutex_t lock; /* held for a pointer and a count: a handshake is a thousand times as much work */
    struct tls_context *context;
};

struct tls_slot *tls_slot_new(struct tls_context *t)
{
    struct tls_slot *s = calloc(1, sizeof *s);
    if (s == NULL) {
        tls_context_unref(t);
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    s->context = t;
    return s;
}

void tls_slot_free(struct tls_slot *s)
{
    if (s == NULL)
        return;
    tls_context_unref(s->context);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct tls_context *tls_slot_get(struct tls_slot *s)
{
    pthread_mutex_lock(&s->lock);
    struct tls_context *t = tls_context_ref(s->context);
    pthread_mutex_unlock(&s->lock);
    return t;
}

void tls_slot_set(struct tls_slot *s, struct tls_context *t)
{
    pthread_mutex_lock(&s->lock);
    struct tls_context *old = s->context;
    s->context = t;
    pthread_mutex_unlock(&s->lock);
    tls_context_unref(old);
}
