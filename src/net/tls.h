/* TLS on a connection: OpenSSL between conn.c and the kernel, without blocking, and without losing a byte that it was given.
 *
 * OpenSSL reads and writes through a BIO of ours. Writing, it hands over a record at a time: what the kernel does not take waits here as
 * ciphertext, so to OpenSSL no write is ever half done, and what was taken off a queue is never dropped or repeated. While ciphertext waits
 * nothing more is encrypted: the queue keeps its messages, in plain, shared and droppable, as on a connection without TLS. Reading, it
 * gets as much in one turn as a plain connection would.
 *
 * Handshakes are steps: the connections whose handshake can go on wait in a list of the loop, which spends a bounded time of each turn on them, after
 * the connections that are open. Idle, a connection keeps what OpenSSL needs of its keys, and no buffers.
 *
 * conn.c drives this; nobody else includes it but its tests. */
#ifndef HALLEY_NET_TLS_H
#define HALLEY_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/list.h"

struct conn;
struct loop;
struct ssl_st;
struct tls_context;
struct tls_conn;

#define TLS_RECORD_BYTES 16384 /* of plain text (RFC 8446 5.1) */
#define TLS_STEPS_TURN_US 500 /* what the handshakes of one turn may take, with at least one step */

struct tls_loop { /* in struct loop */
    struct list steps;  /* connections whose handshake can go on */
    struct list ready;  /* open connections with something to read that the kernel does not tell of */
    uint8_t *record;    /* TLS_RECORD_BYTES: where small parts become one record; NULL: nobody needed it yet */
};

void tls_loop_init(struct tls_loop *l);
void tls_loop_done(struct tls_loop *l);
/* Once a turn: go on with handshakes, and read on where there is more. Returns true when there is more to do. */
bool tls_loop_turn(struct loop *l);

/* Speak TLS, as the server. data: what has been read of the client's already. Returns NULL when out of memory. */
struct tls_conn *tls_new(struct conn *c, struct tls_context *context, const uint8_t *data, size_t len);
/* say_goodbye: nothing was cut off, and the peer may know (close_notify). */
void tls_free(struct tls_conn *t, bool say_goodbye);

/* The socket is readable: a step of the handshake is made in its turn. */
void tls_step_later(struct tls_conn *t);
bool tls_is_open(const struct tls_conn *t); /* the handshake is complete */
const char *tls_version(const struct tls_conn *t, bool *ret_resumed); /* "TLSv1.3"; NULL: not yet */

/* Encrypt and send. Returns the bytes taken (0: ciphertext waits), or -errno. */
ssize_t tls_send(struct tls_conn *t, const struct iovec *iov, size_t count);
/* Send the ciphertext that waits. Returns 0 or -errno. */
int tls_flush(struct tls_conn *t);
uint64_t tls_waiting(const struct tls_conn *t); /* bytes of ciphertext */

/* Read what there is, max bytes at most. Returns the bytes; *ret_end: 0, or 1 when the peer has finished sending, or -errno. An end that comes behind
 * bytes is told by the next call. *ret_heard: anything came from the peer. */
size_t tls_read(struct tls_conn *t, uint8_t *out, size_t max, int *ret_end, bool *ret_heard);
/* There may be more to read than the kernel knows of: let the loop come back. */
void tls_read_on(struct tls_conn *t);
void tls_resume(struct tls_conn *t); /* it is not paused any more */
/* Bytes of a record that has begun: its plain text is there when the last of them is. */
uint32_t tls_unread(const struct tls_conn *t);

/* Queue close_notify, once: nothing is sent after it. */
void tls_say_goodbye(struct tls_conn *t);

#endif
