#include "transport/query.h"

#include <errno.h>
#include <stdlib.h>

#include "base/slice.h"
#include "transport/wish.h"

static struct query_field *find(struct query_field *fields, size_t count, struct slice key)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equals(key, fields[i].key))
            return &fields[i];
    return NULL;
}

int query_read(const struct http1_request *rq, struct query_field *fields, size_t count, char **ret_memory)
{
    struct slice key, value;
    size_t pos = 0, used = 0;
    int r;
    *ret_memory = NULL;
    char *memory = malloc(rq->query.len + 2 + count); /* a NUL more for each that is kept */
    if (memory == NULL)
        return -ENOMEM;
    while ((r = http1_query_next(rq->query, &pos, memory + used, &key, &value)) == 1) {
        struct query_field *f = find(fields, count, key);
        if (f == NULL || f->value.ptr != NULL)
            continue;
        f->value = value;
        used = (size_t)(value.ptr + value.len - memory) + 1; /* keep it, and its NUL */
    }
    if (r < 0) {
        free(memory);
        return r;
    }
    *ret_memory = memory;
    return 0;
}

bool query_take(struct http_client *h, const struct http1_request *rq, struct query_field *fields, size_t count, char **ret_memory)
{
    _Atomic uint64_t *counter = &http_reactor(h)->stats.handshakes_bad_topic;
    struct slice origin = http1_header_get(rq, "Origin");
    int r = query_read(rq, fields, count, ret_memory);
    if (r == -ENOMEM)
        return wish_refuse(h, origin, counter, 503, "Out of memory, try again later.");
    if (r < 0)
        return wish_refuse(h, origin, counter, 400, "The query has a broken %%-escape.");
    return true;
}

void query_freep(char **memory)
{
    free(*memory);
}
