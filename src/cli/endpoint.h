/* Where halleyd listens for backends: how to get there, and what to say when that fails.
 *
 * One place connects for both protocols of the backend door (RESP through hiredis, HTTP through http_get.c), so both
 * fail with the same sentence: which path, why, and what to do next. */
#ifndef HALLEY_CLI_ENDPOINT_H
#define HALLEY_CLI_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

struct redisContext;

#define ENDPOINT_DEFAULT_SOCKET "/run/halley/backend.sock"

struct endpoint {
    const char *path;     /* of the Unix socket; NULL: TCP */
    const char *host;     /* TCP */
    const char *port;     /* TCP, a number as text */
    const char *key_file; /* its first line is the backend key, for a door that asks for one; NULL: none */
    bool is_tls;          /* TCP */
    const char *ca_file;  /* whose certificates are trusted; NULL: the system's */
    bool is_trusted_blindly;
};

struct endpoint_error {
    char text[1024]; /* one or more whole sentences for a person, without a final newline */
};

/* The path, or HOST:PORT, as people write it. Returns out. */
const char *endpoint_name(const struct endpoint *e, char *out, size_t out_size);

/* Connect. The socket blocks; reads and writes on it end with EAGAIN after ENDPOINT_TIMEOUT_S. Returns 0 and *ret_fd
 * (caller closes), or -errno and the sentence in *ret_error. */
#define ENDPOINT_CONNECT_TIMEOUT_S 5
#define ENDPOINT_TIMEOUT_S 30
int endpoint_connect(const struct endpoint *e, int *ret_fd, struct endpoint_error *ret_error);

/* The backend key into out, "" if there is no key file. Returns 0, or -errno and the sentence. */
int endpoint_read_key(const struct endpoint *e, char *out, size_t out_size, struct endpoint_error *ret_error);

/* Connect, speak RESP2, and present the key if there is one. Returns 0 and *ret_redis (caller: redisFree()); or the
 * sentence in *ret_error with -EKEYREJECTED when the server refused the key, another -errno when it cannot be
 * reached. */
int endpoint_open_redis(const struct endpoint *e, struct redisContext **ret_redis, struct endpoint_error *ret_error);

/* Why the last call on the context failed, in words: "the server closed the connection". Valid until the next call. */
const char *endpoint_redis_error(const struct redisContext *redis);

#endif
