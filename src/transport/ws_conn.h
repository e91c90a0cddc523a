/* One WebSocket, whatever is spoken over it: the state machine of RFC 6455 between the opening and the closing handshake.
 *
 * OPENING: the handshake is accepted, the 101 not written yet. OPEN. CLOSING: we sent a close frame and wait for the peer's. CLOSED. */
#ifndef HALLEY_TRANSPORT_WS_CONN_H
#define HALLEY_TRANSPORT_WS_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "net/conn.h"
#include "proto/ws_reader.h"
#include "transport/reactor.h"

struct delivery;
struct unread;
struct ws_agreement;
struct ws_conn;
struct ws_context;

struct ws_handler { /* what the door above does */
    /* A whole message; payload is borrowed. */
    void (*on_message)(struct ws_conn *ws, bool is_text, const uint8_t *payload, size_t len);
    /* What waited has been written; may be NULL. */
    void (*on_drained)(struct ws_conn *ws);
    void (*on_deadline)(struct ws_conn *ws); /* deadline_ms has come; it may set another. May be NULL if there is none */
    void (*on_cut)(struct ws_conn *ws); /* conn_ops.on_cut; NULL: nothing of it may be dropped */
    void (*on_tick)(struct ws_conn *ws); /* a ping interval has passed, and nothing waits; NULL: it has nothing to tell then */
    void (*on_stop)(struct ws_conn *ws); /* the server stops: say what there is to say, 1012 follows; may be NULL */
    void (*on_closing)(struct ws_conn *ws); /* it is no longer OPEN: nothing more may be sent; may be NULL */
    bool (*describe)(struct ws_conn *ws, struct client_info *ret); /* conn_ops.describe, while it is OPEN; NULL: it is not listed */
    bool (*kick)(struct ws_conn *ws, const struct kick *k);        /* conn_ops.kick, while it is OPEN; may be NULL */
    void (*recheck)(struct ws_conn *ws); /* conn_ops.recheck, while it is OPEN; may be NULL */
    /* The last call: free what embeds the ws_conn. ws_conn_done() has been called. */
    void (*on_end)(struct ws_conn *ws);
    /* Nothing unsolicited: no pings, and an idle timeout of at least 100 s (for test suites). */
    bool is_silent;
};

struct ws_conn { /* embedded in the door's state */
    struct conn *conn;
    struct reactor *reactor;
    const struct ws_handler *handler;
    struct ws_reader reader;
    struct unread *unread; /* what is handled in another turn */
    struct ws_context *context; /* of its own, for compression; NULL: it has none */
    uint64_t deadline_ms; /* wall clock; 0: none. Set before ws_conn_open(), or with ws_conn_set_deadline() */
    uint32_t state : 4; /* enum ws_state in ws_conn.c */
    uint32_t deflate_bits : 4; /* of the window for our messages; 0: permessage-deflate was not agreed */
    /* limits.min_rate: when the message that is arriving was looked at (wheel tick), and what there was of it, in units of 16 bytes */
    uint32_t looked_units : 24;
    uint32_t looked_tick; /* 0: none is arriving */
};

/* Take a connection over from HTTP: sets its owner and ops. The state is OPENING: what the client sends already waits in the kernel or in HTTP's buffer.
 * max_message in bytes. */
void ws_conn_init(struct ws_conn *ws, struct reactor *r, struct conn *conn, const struct ws_handler *handler);

/* What was agreed in the handshake; takes its context. Before ws_conn_open(), and after the reader has its limits. */
void ws_conn_set_deflate(struct ws_conn *ws, struct ws_agreement *a);

/* The wire form that its messages are to have: the plain one, WIRE_WS_PLAIN or WIRE_WS_V1, or that one packed. */
enum wire_form ws_conn_form(const struct ws_conn *ws, enum wire_form plain);

void ws_conn_set_deadline(struct ws_conn *ws, uint64_t wall_ms);

/* The 101 has been written. */
void ws_conn_open(struct ws_conn *ws);

bool ws_conn_is_open(const struct ws_conn *ws);

/* Begin the closing handshake (RFC 6455 7.1.2). Does nothing unless OPEN. */
void ws_conn_close(struct ws_conn *ws, enum ws_close_code code, const char *reason);

/* Fail the connection (RFC 6455 7.1.7): a close frame, and no waiting for the peer's. */
void ws_conn_fail(struct ws_conn *ws, enum ws_close_code code, const char *reason);

/* Send messages, of the form that ws_conn_form() says. */
void ws_conn_deliver(struct ws_conn *ws, const struct delivery *d);

/* Send a data frame of one's own, copied. It is not compressed: it would be for this connection alone. */
void ws_conn_send(struct ws_conn *ws, uint8_t opcode, const uint8_t *payload, size_t len);

/* The same, compressed if that was agreed and is worth it. Not where messages are cut (ws_handler.on_cut): what is cut would be missing in the context. */
void ws_conn_send_compressed(struct ws_conn *ws, uint8_t opcode, const uint8_t *payload, size_t len);

#endif
