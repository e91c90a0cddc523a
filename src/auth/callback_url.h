/* Where an application is asked who a client is: "unix:/run/app.sock:/halley/auth", "http://127.0.0.1:3000/halley/auth". */
#ifndef HALLEY_AUTH_CALLBACK_URL_H
#define HALLEY_AUTH_CALLBACK_URL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define CALLBACK_TARGET_MAX 1024 /* bytes of path and query */
#define CALLBACK_HOST_MAX 255

struct callback_url { /* no padding within, and what is not used is zero: to be compared as bytes */
    char target[CALLBACK_TARGET_MAX + 1]; /* path and query, to be asked for as they are: printable ASCII without spaces */
    char host[CALLBACK_HOST_MAX + 1];     /* a name or an address; of a Unix socket "localhost" */
    uint16_t port;                        /* 0: a Unix socket */
    struct sockaddr_storage address;      /* of a name only after callback_url_resolve(); the bytes behind it are zero */
    socklen_t address_len;                /* 0: not known yet */
};

/* Returns 0, or -EINVAL and a sentence on what would be right. */
int callback_url_parse(const char *text, struct callback_url *ret, char *error, size_t error_size);

/* Find the address of a name, which may take as long as it takes: for the start. Does nothing if it is known. Returns 0, or
 * -EHOSTUNREACH and a sentence. */
int callback_url_resolve(struct callback_url *url, char *error, size_t error_size);

#endif
