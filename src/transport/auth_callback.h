/* Asking the application who a client is (auth.callback), for a request that carries no token that we could check ourselves.
 *
 * Each reactor asks for its own requests, over a few connections that are kept alive. What finds none free waits, so many and so long; what
 * waits is a put-off request of HTTP (http_put_off()), whose client is noticed if it goes. An answer that says for how long it holds is kept. Too
 * many failures in a row open a circuit breaker: then nobody is let in, at once, until the application answers a probe. Whatever fails, nobody is let in. */
#ifndef HALLEY_TRANSPORT_AUTH_CALLBACK_H
#define HALLEY_TRANSPORT_AUTH_CALLBACK_H

#include "transport/http_server.h"

struct auth_callback;
struct token;

struct auth_verdict {
    unsigned status;     /* 200: let it in; 401, 403: the application refuses it; 503: it cannot be known now */
    struct token *token; /* of 200: who it is; NULL: nobody in particular. Borrowed for the call */
    const char *why;     /* of others: one plain sentence for the client */
    uint32_t retry_s;    /* of 503 */
};

struct auth_question {
    bool is_strange;   /* a page asks that must not ride on its visitor's cookies */
    bool is_for_stream; /* a WebSocket or a stream is to come of it: of no use to a client that has finished sending */
    /* Called if the verdict comes later, with the request as it was. `then` is handed on. */
    void (*on_verdict)(struct http_client *h, const struct http1_request *rq, const struct auth_verdict *v, http_run_fn then);
    http_run_fn then;
};

/* Ask. Returns true with the verdict if it is known at once; false when the request has been put off. */
bool auth_callback_ask(struct http_client *h, const struct http1_request *rq, const struct auth_question *question,
                       struct auth_verdict *ret);

/* The reactor ends, and its connections have. NULL is accepted. */
void auth_callback_free(struct auth_callback *a);

#endif
