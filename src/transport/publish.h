/* From what a door received to a message that the engine may have: the checks that all doors share. */
#ifndef HALLEY_TRANSPORT_PUBLISH_H
#define HALLEY_TRANSPORT_PUBLISH_H

#include "core/message.h"
#include "transport/reactor.h"

enum publish_error { /* the stable codes of the contract */
    PUBLISH_OK,
    PUBLISH_BAD_REQUEST, /* a payload that the topic's rule does not take */
    PUBLISH_BAD_TOPIC,
    PUBLISH_FORBIDDEN,
    PUBLISH_TOO_LARGE,
    PUBLISH_TOO_MANY,    /* limits.topics */
    PUBLISH_RATE_LIMITED, /* limits.publish_rate, limits.publish_bytes */
    PUBLISH_UNAVAILABLE, /* out of memory, or the journal cannot be written */
};

#define PUBLISH_KEY_MAX_BYTES 255

struct client;
struct conn;
struct json_t; /* jansson's */

struct publish_refusal {
    enum publish_error code;
    char text[320]; /* one plain sentence for whoever published */
    uint64_t retry_ms; /* with PUBLISH_RATE_LIMITED: when to try again */
};

struct publisher { /* who publishes; borrowed for the call */
    const struct rule_client *rights;
    uint64_t name;   /* its connection's public one; 0: it has none */
    uint64_t except; /* the name of the connection that does not get it; 0: all do */
};

/* The client of a connection; all get what it publishes. */
struct publisher publisher_of(const struct client *c);

/* "bad_topic" and so on. */
const char *publish_error_name(enum publish_error e);
unsigned publish_error_status(enum publish_error e); /* HTTP */

/* Check topic and right alone. False and *ret_why if it is refused; then it is counted. */
bool publish_is_allowed(struct reactor *r, const struct rule_client *who, struct slice topic, struct publish_refusal *ret_why);

/* Count a client's publish of so many bytes against what the client of this connection may publish; backends are not asked. False and *ret_why if
 * that is over for now; then it is counted. */
bool publish_is_in_rate(struct reactor *r, struct conn *c, size_t bytes, struct publish_refusal *ret_why);

/* Check topic, right, size and payload, and make the message, with the stamps that its rule says. Returns a reference, or NULL and *ret_why; then it is counted. */
struct message *publish_prepare(struct reactor *r, const struct publisher *by, struct slice topic, struct slice payload,
                                struct publish_refusal *ret_why);

/* Read the name, or the id, of the connection that is not to get it. False and *ret_why if it is neither; then it is counted. */
bool publish_parse_except(struct reactor *r, struct slice text, uint64_t *ret, struct publish_refusal *ret_why);

struct publish_payload {
    struct slice bytes;
    char *memory; /* the caller frees it; NULL: the bytes are the JSON value's own */
};

/* The payload that the JSON value `data` (borrowed) stands for on this topic (a checked name): by its rule's `payload` a string's text, the value itself as
 * text, or what a string has in base64 (RFC 4648 4, nothing else in it). False and *ret_why if it is none; then it is counted. */
bool publish_payload_from_json(struct reactor *r, struct slice topic, const struct json_t *data, struct publish_payload *ret,
                               struct publish_refusal *ret_why);

/* A JSON value as text, its numbers as short as they can be said without becoming others. Freed by the caller; NULL: out of memory. */
char *publish_json_text(const struct json_t *value);

/* Check an idempotency key: 1 to PUBLISH_KEY_MAX_BYTES. False and *ret_why if not. */
bool publish_check_key(struct reactor *r, struct slice key, struct publish_refusal *ret_why);

/* What an engine's refusal (engine_publish.result below 0) says to whoever published; counts it. */
void publish_explain(struct reactor *r, int result, struct publish_refusal *ret_why);

#endif
