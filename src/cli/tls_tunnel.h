/* TLS for the command: a thread that stands between a plain descriptor, which hiredis and http_get.c use as if it were the server's, and the
 * connection, where it encrypts and decrypts. So neither has to know of TLS. */
#ifndef HALLEY_CLI_TLS_TUNNEL_H
#define HALLEY_CLI_TLS_TUNNEL_H

#include "cli/endpoint.h"

/* Shake hands on the connected, blocking socket fd, check that the server is who e says it is, and start the thread. Takes fd. Returns 0 and *ret_fd, which is to
 * be used instead (caller closes), or -errno and the sentence. */
int tls_tunnel_open(const struct endpoint *e, int fd, int *ret_fd, struct endpoint_error *ret_error);

#endif
