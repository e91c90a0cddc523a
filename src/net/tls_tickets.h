/* The keys that session tickets are sealed with (RFC 5077, RFC 8446 4.6.1): one ring for all listeners, reactors and
 * certificates, so that a client may resume wherever it lands, and after a reload too. Only in memory.
 *
 * A new key is made when the newest is an hour old; a ticket is good for two hours, and its key is kept for a little longer. So
 * who takes the process's memory can open the tickets of the last three hours, and no older ones: the keys are wiped. Any thread. */
#ifndef HALLEY_NET_TLS_TICKETS_H
#define HALLEY_NET_TLS_TICKETS_H

#include <openssl/ssl.h>
#include <stdint.h>

#define TLS_TICKET_ROTATION_MS (3600 * 1000)
#define TLS_TICKET_LIFETIME_S (2 * 3600)
#define TLS_TICKET_KEYS 4 /* the newest and three hours of older ones */

struct tls_tickets;

struct tls_tickets *tls_tickets_new(void); /* NULL: no memory, or no randomness */
struct tls_tickets *tls_tickets_shared(void); /* the process's: returns a reference, or NULL as above */
struct tls_tickets *tls_tickets_ref(struct tls_tickets *t);
void tls_tickets_unref(struct tls_tickets *t); /* NULL is accepted */

/* The contract of SSL_CTX_set_tlsext_ticket_key_evp_cb(), with the time as a parameter. */
int tls_tickets_use(struct tls_tickets *t, uint64_t now_ms, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                    int is_sealing);

#endif
