/* A connection to an application that we ask: one request at a time, its answer parsed and its time bounded; kept alive between them.
 *
 * Its memory goes with the loop's turn in which it ends, after on_gone(). */
#ifndef HALLEY_TRANSPORT_UPSTREAM_H
#define HALLEY_TRANSPORT_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/list.h"
#include "net/loop.h"
#include "proto/http1_response.h"

struct upstream;

enum upstream_result {
    UPSTREAM_ANSWERED,
    UPSTREAM_LOST,      /* the connection could not be made, or has ended without a byte of the answer */
    UPSTREAM_BROKEN,    /* the answer is no HTTP, over a limit, or was cut off */
    UPSTREAM_TIMED_OUT,
};

struct upstream_ops {
    /* The request has come to its end. answer, of UPSTREAM_ANSWERED, is borrowed for the call; why is a phrase for people, of the other results. Afterwards
     * upstream_is_open() says whether it takes another; none may be sent within the call. */
    void (*on_result)(struct upstream *u, enum upstream_result result, const struct http1_response *answer, const char *why);
    void (*on_gone)(struct upstream *u); /* the last call: it is freed */
};

struct upstream { /* node, owner, request and generation are the owner's */
    struct list node;
    void *owner;
    void *request;       /* what is being asked; NULL: nothing */
    unsigned generation;
    bool was_used;       /* it has answered before */
    bool is_busy;
    struct conn *conn;
    const struct upstream_ops *ops;
    struct http1_response_parser *parser;
};

/* Begin to connect. Returns 0, or -errno: -EAGAIN of a Unix socket whose backlog is full. */
int upstream_open(struct loop *l, const struct sockaddr *address, socklen_t len, const struct http1_response_limits *limits,
                  const struct upstream_ops *ops, void *owner, struct upstream **ret);

/* Send a request (copied as far as it has to wait). It must not be busy. */
void upstream_send(struct upstream *u, const void *bytes, size_t len, uint64_t timeout_ms);

/* May another request be sent when this one has been answered? */
bool upstream_is_open(const struct upstream *u);

/* Nothing is to be sent for now: it is closed after a time, before the application does that. */
void upstream_rest(struct upstream *u);

/* Close it; a request that it is busy with gets no result any more. */
void upstream_close(struct upstream *u);

#endif
