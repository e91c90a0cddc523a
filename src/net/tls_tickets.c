#include "net/tls_tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

struct ticket_key {
    unsigned char name[16];
    unsigned char cipher[32];
    unsigned char mac[32];
    uint64_t made_ms; /* 0: there is none */
};

struct tls_tickets {
    _Atomic unsigned refs;
    pthread_mutex_t lock;
    struct ticket_key keys[TLS_TICKET_KEYS]; /* the newest first; under the lock */
};

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    atomic_init(&t->refs, 1);
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

static pthread_once_t shared_once = PTHREAD_ONCE_INIT;
static struct tls_tickets *shared;

static void make_shared(void)
{
    shared = tls_tickets_new();
}

struct tls_tickets *tls_tickets_shared(void)
{
    pthread_once(&shared_once, make_shared);
    return shared == NULL ? NULL : tls_tickets_ref(shared);
}

struct tls_tickets *tls_tickets_ref(struct tls_tickets *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tls_tickets_unref(struct tls_tickets *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&t->lock);
    OPENSSL_cleanse(t->keys, sizeof t->keys);
    free(t);
}

/* Wipe what is too old, and see that the newest is young enough. Returns false when there is no randomness. */
static bool rotate(struct tls_tickets *t, uint64_t now_ms)
{
    struct ticket_key fresh = { .made_ms = now_ms + 1 };
    for (size_t i = 0; i < TLS_TICKET_KEYS; i++)
        if (now_ms >= t->keys[i].made_ms + (uint64_t)TLS_TICKET_KEYS * TLS_TICKET_ROTATION_MS)
            OPENSSL_cleanse(&t->keys[i], sizeof t->keys[i]);
    if (t->keys[0].made_ms != 0 && now_ms < t->keys[0].made_ms + TLS_TICKET_ROTATION_MS)
        return true;
    if (RAND_bytes(fresh.name, sizeof fresh.name) != 1 || RAND_priv_bytes(fresh.cipher, sizeof fresh.cipher) != 1 ||
        RAND_priv_bytes(fresh.mac, sizeof fresh.mac) != 1)
        return false;
    memmove(t->keys + 1, t->keys, (TLS_TICKET_KEYS - 1) * sizeof *t->keys);
    t->keys[0] = fresh;
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return true;
}

/* Copies it out: OpenSSL works on without the lock. Returns which one it is, or -1. */
static int find(struct tls_tickets *t, uint64_t now_ms, const unsigned char *name, struct ticket_key *ret)
{
    int found = -1;
    pthread_mutex_lock(&t->lock);
    bool is_ready = rotate(t, now_ms);
    for (int i = 0; i < TLS_TICKET_KEYS && found < 0 && is_ready; i++)
        if (name == NULL || (t->keys[i].made_ms != 0 && memcmp(t->keys[i].name, name, sizeof t->keys[i].name) == 0))
            found = i;
    if (found >= 0)
        *ret = t->keys[found];
    pthread_mutex_unlock(&t->lock);
    return found;
}

static bool set_keys(const struct ticket_key *key, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int is_sealing)
{
    OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->mac, sizeof key->mac),
                            OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0), OSSL_PARAM_construct_end() };
    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, is_sealing) == 1 && EVP_MAC_CTX_set_params(mac, params) == 1;
}

int tls_tickets_use(struct tls_tickets *t, uint64_t now_ms, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                    int is_sealing)
{
    struct ticket_key key;
    int which = find(t, now_ms, is_sealing ? NULL : name, &key);
    if (which < 0)
        return is_sealing ? -1 : 0; /* 0: a whole handshake */
    if (is_sealing)
        memcpy(name, key.name, sizeof key.name);
    bool is_set = (!is_sealing || RAND_bytes(iv, EVP_MAX_IV_LENGTH) == 1) && set_keys(&key, iv, cipher, mac, is_sealing);
    OPENSSL_cleanse(&key, sizeof key);
    if (!is_set)
        return -1;
    return is_sealing || which == 0 ? 1 : 2; /* 2: it is good, and the client gets a new one */
}
