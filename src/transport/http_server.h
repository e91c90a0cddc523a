/* One HTTP/1.1 connection: requests in order, answers in order, whatever door they are for.
 *
 * States: READING a request, ANSWERING it (now, or later through a callback), then READING the next; FINISHING when the last answer is on its way. A door that
 * upgrades takes the connection over, and nothing of HTTP stays behind. */
#ifndef HALLEY_TRANSPORT_HTTP_SERVER_H
#define HALLEY_TRANSPORT_HTTP_SERVER_H

#include <stdbool.h>

#include "net/conn.h"
#include "proto/http1.h"
#include "transport/reactor.h"

struct http_client;
struct token;

/* What is to be done with a request. */
typedef void (*http_run_fn)(struct http_client *h, const struct http1_request *rq);

struct http_door {
    /* Answer the request with http_reply(), now or later (rq is borrowed for the call), or take the connection over with http_upgrade(). */
    void (*on_request)(struct http_client *h, const struct http1_request *rq);
    /* The head is here, and the body still to come: is the request to be taken? If not it comes to on_request() at once, without a body, and its answer
     * is the last. May be asked several times; NULL: always. */
    bool (*wants_body)(struct http_client *h, const struct http1_request *head);
    void (*recheck)(struct http_client *h); /* conn_ops.recheck; NULL: there is nothing to look at */
    void (*on_end)(struct reactor *r); /* the connection ended as HTTP (it was not upgraded) */
};

/* Speak HTTP on a new connection. conn's owner and ops become this client's. Returns 0 or -ENOMEM. */
int http_client_start(struct reactor *r, struct conn *conn, const struct http_door *door, const struct http1_limits *limits);

struct reactor *http_reactor(const struct http_client *h);
struct conn *http_conn(const struct http_client *h);

/* Something of the door's own that lives as long as the client; free is called with it at the end. NULL until it is set. */
void http_set_context(struct http_client *h, void *context, void (*free)(void *context));
void *http_context(const struct http_client *h);

/* The answer to the current request is the last: the connection ends with it. */
void http_last_answer(struct http_client *h);

/* No more requests: the connection ends, after the answer if one is on its way. */
void http_end(struct http_client *h);

/* Who sends the current request: the token that it carries, checked. http_set_token() takes the reference; it is kept until the answer, or the end of on_request()
 * of a request that upgrades. NULL: there is none. http_token() borrows. */
void http_set_token(struct http_client *h, struct token *token);
struct token *http_token(const struct http_client *h);

/* Answer the current request. body is copied; NULL with a length: a 304, which tells the length of what it does not carry; content_type NULL: no body
 * type; extra: header lines, each with CRLF, or NULL. */
void http_reply(struct http_client *h, unsigned status, const char *content_type, const void *body, size_t body_len,
                const char *extra);
/* The same with one plain sentence, to which a line end is added. */
void http_reply_text(struct http_client *h, unsigned status, const char *extra, const char *fmt, ...) HLY_PRINTF(4, 5);

/* An answer that comes later: the ticket finds the client if it still lives. The client answers one request at a time, and is not read
 * meanwhile. One ticket per request; it is used up by http_ticket_take(). */
struct http_ticket {
    struct http_client *client;         /* NULL: the client has gone */
    const struct http_ticket_ops *ops;  /* NULL: whoever has the ticket looks when it is ready */
};
void http_ticket_make(struct http_client *h, struct http_ticket *t); /* t stays where it is until it is taken */
struct http_client *http_ticket_take(struct http_ticket *t);         /* NULL: the client has gone */

/* An answer that waits for something to happen, as a long poll's does: set the ticket's ops after http_ticket_make(), and call http_wait() when the
 * waiting begins. */
struct http_ticket_ops {
    void (*on_hurry)(struct http_ticket *t); /* wait no longer: the time is up, the client has finished sending, or the server stops. Answer soon */
    void (*on_gone)(struct http_ticket *t);  /* the connection has ended; the client is no more in the ticket */
    bool (*describe)(struct http_ticket *t, struct client_info *ret); /* conn_ops.describe; NULL: it is not listed */
    bool (*kick)(struct http_ticket *t, const struct kick *k);        /* conn_ops.kick; NULL: there is nothing to end */
    void (*recheck)(struct http_ticket *t);                           /* conn_ops.recheck; likewise */
};

/* Wait for up to ms. The connection is read on meanwhile, and what comes is kept for after the answer, so that a client that goes away is noticed when it
 * goes: ten thousand that vanished must not stay subscribed. One that has only finished sending cannot be told from one that has gone; so it is answered
 * in a hurry, which serves either. So is one that sends much more than a request. Returns false if there is no time to wait: answer now. The request's
 * memory goes when on_request() has returned. */
bool http_wait(struct http_client *h, uint64_t ms);

/* Put the current request off until something is known that it hangs on: within on_request(), after http_ticket_make() and with the ticket's ops set, of which
 * describe and kick may be NULL. The request keeps its memory. The connection is read on as with http_wait(); but on_hurry() says only that something has
 * happened: the client has finished sending (http_has_eof()), its timer is up (conn_set_timer()), or the server stops. */
void http_put_off(struct http_client *h);
/* The request that was put off; borrowed until it is taken up. */
const struct http1_request *http_request_put_off(const struct http_client *h);
/* Go on with it, after http_ticket_take(): run() does what on_request() may do. The client may have gone when this returns. */
void http_take_up(struct http_client *h, void (*run)(struct http_client *h, const struct http1_request *rq, void *ctx), void *ctx);
bool http_has_eof(const struct http_client *h); /* the client has finished sending */

/* It has published: do not read it while the hub is congested. */
void http_pause_publisher(struct http_client *h);

/* Leave HTTP, from on_request() only: the caller has written the 101 and given the connection its new ops and owner. What the client sent
 * after the request goes to the new ops->on_read(). */
void http_upgrade(struct http_client *h);

#endif
