/* Single parameters of a request's query, for doors that take some by name. What a subscriber asks for is transport/wish. */
#ifndef HALLEY_TRANSPORT_QUERY_H
#define HALLEY_TRANSPORT_QUERY_H

#include <stdbool.h>

#include "transport/http_server.h"

struct query_field {
    const char *key;
    struct slice value; /* ptr NULL: it is not there */
};

/* Find the fields by their keys, decoded; of a key that comes more than once the first counts. The values are in *ret_memory, with a NUL after each; it is
 * the caller's to free. Returns 0, -EINVAL (a broken %-escape) or -ENOMEM; then *ret_memory is NULL. */
int query_read(const struct http1_request *rq, struct query_field *fields, size_t count, char **ret_memory);

/* The same for a subscriber's door: on an error the request has been answered with a sentence (wish_refuse()), and false is returned. */
bool query_take(struct http_client *h, const struct http1_request *rq, struct query_field *fields, size_t count, char **ret_memory);

/* For HLY_CLEANUP on that memory. */
void query_freep(char **memory);

#endif
