/* What a listener needs to speak TLS: its certificates and keys, and how they are used (TLS 1.2 and 1.3, ciphers that are safe, HTTP/1.1 by
 * ALPN, session tickets, client certificates if wanted). Made once, never changed, shared by all reactors and counted: a
 * connection holds on to the one that it began with, so a reload makes a new one and swaps it in a tls_slot. */
#ifndef HALLEY_NET_TLS_CONTEXT_H
#define HALLEY_NET_TLS_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>

struct ssl_st;
struct tls_tickets;

struct tls_certificate { /* files in PEM */
    const char *chain;   /* the certificate, and behind it those between it and the root */
    const char *key;     /* NULL: it is in the same file */
};

struct tls_config { /* borrowed */
    const struct tls_certificate *certificates; /* the first is for clients that name no host, or one that none is for */
    size_t certificate_count;                   /* at least 1 */
    const char *client_ca;    /* certificates that clients' are signed with; NULL: clients are not asked for one */
    bool client_is_required;  /* who has none is not let in */
    struct tls_tickets *tickets; /* NULL: the process's */
};

#define TLS_WARNINGS_MAX 8

struct tls_report { /* sentences for people */
    char error[640];
    char warnings[TLS_WARNINGS_MAX][320];
    size_t warning_count;
};

struct tls_context;

/* Read the files. Returns 0, -ENOMEM, -EINVAL or what was wrong with a file (-ENOENT, -EACCES), always with report->error filled in. Warnings (expired,
 * wrong order) come with success as well. */
int tls_context_new(const struct tls_config *config, struct tls_context **ret, struct tls_report *report);
struct tls_context *tls_context_ref(struct tls_context *t);
void tls_context_unref(struct tls_context *t); /* NULL is accepted */

/* A new connection of it: the server's side, without a BIO. NULL when out of memory. */
struct ssl_st *tls_context_make_ssl(struct tls_context *t);

/* Where a listener's context is found, and replaced while connections are accepted. Any thread. */
struct tls_slot;
struct tls_slot *tls_slot_new(struct tls_context *t); /* takes; NULL when out of memory (then it is let go of) */
void tls_slot_free(struct tls_slot *s);               /* NULL is accepted */
struct tls_context *tls_slot_get(struct tls_slot *s); /* returns a reference */
void tls_slot_set(struct tls_slot *s, struct tls_context *t); /* takes; connections that are there keep the old one */

#endif
