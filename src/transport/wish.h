/* What a subscriber's URL asks for: topics, and where in the order to begin. The same query for all doors. */
#ifndef HALLEY_TRANSPORT_WISH_H
#define HALLEY_TRANSPORT_WISH_H

#include "core/cursor.h"
#include "core/subscription.h"
#include "transport/http_server.h"

struct wish {
    struct slice *topics; /* topics and patterns, checked; into scratch */
    size_t count;
    size_t cap;
    char *scratch;
    struct token *token; /* whose text some of the topics are; a reference, or NULL */
    struct slice origin; /* the request's, allowed by now: whose pages may read a refusal; borrowed */
    bool may_publish; /* one topic is named, and its rule lets clients publish: frames go there */
    bool may_receive;
    bool is_echoed;      /* a plain WebSocket gets back what it publishes: echo=0 says no */
    bool has_after;
    struct cursor after; /* as given: it may be of another epoch */
    uint64_t last;       /* READING_LAST_NONE: not asked for */
};

void wish_done(struct wish *w);

/* Refuse a subscriber: count it, and answer with one plain sentence, which an allowed page may read (origin: as for cors_headers()). Returns false. */
bool wish_refuse(struct http_client *h, struct slice origin, _Atomic uint64_t *counter, unsigned status, const char *fmt, ...) HLY_PRINTF(5, 6);

/* Read and check the query: topic (repeated), after, last, echo. last_event_id (ptr NULL: none) wins over after. Others are not looked at: each door knows
 * which it takes besides (transport/query). On an error the request has been answered, and false is returned. */
bool wish_parse(struct http_client *h, const struct http1_request *rq, struct slice last_event_id, struct wish *w);

/* Hold the topics against the rules: all must be open to subscribe to, or, if can_publish, the only one to publish to. is_bare: no topic
 * is needed. On an error the request has been answered, and false is returned. */
bool wish_is_allowed(struct http_client *h, struct wish *w, bool can_publish, bool is_bare);

/* Answer 503 where HTTP has let go of the connection already; the caller ends it. */
void wish_refuse_late(struct conn *c);

/* ---- subscribing to all of it, which an engine may answer later */

struct opening;

struct opening_seqs { /* others publish while several subscriptions are made: they need not begin at the same seq */
    uint64_t first;
    uint64_t last;
};

typedef void (*opening_done_fn)(void *ctx, struct wish *w, bool failed, struct opening_seqs seqs);

/* The subscriptions are in force: begin where the wish says, live or behind. Returns 0 or -ENOMEM; *ret_seq: what the client has by then, so
 * that everything after it follows; UINT64_MAX: not known yet (last=). */
int wish_begin(const struct wish *w, struct subscriber *s, struct opening_seqs seqs, uint64_t *ret_seq);

/* Subscribe; on_done is called when every answer is there: now or later, with the wish, which the opening has taken over (w is empty then), and
 * the seqs after which the first and the last of them are in force; the opening ends after it. The subscriber must live until then. Returns NULL when out of memory, and w stays the caller's. */
struct opening *opening_new(struct wish *w, struct subscriber *s);
void opening_start(struct opening *o, struct reactor *r, opening_done_fn on_done, void *ctx);
void opening_free(struct opening *o); /* before it was started */

/* Of what it is subscribed to, something that the rules no longer let it have; NULL: nothing. */
struct subscription;
const struct subscription *wish_find_forbidden(const struct reactor *r, const struct subscriber *s, const struct token *token);

#endif
