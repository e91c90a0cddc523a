/* WebSocket frames (RFC 6455 5): header parsing, header writing, masking. No I/O, no allocation. */
#ifndef HALLEY_PROTO_WS_FRAME_H
#define HALLEY_PROTO_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RFC 6455 5.2 */
enum ws_opcode {
    WS_OP_CONTINUATION = 0x0,
    WS_OP_TEXT = 0x1,
    WS_OP_BINARY = 0x2,
    WS_OP_CLOSE = 0x8,
    WS_OP_PING = 0x9,
    WS_OP_PONG = 0xa,
};

static inline bool ws_opcode_is_control(unsigned opcode) /* RFC 6455 5.5, the reserved ones included */
{
    return (opcode & 0x8) != 0;
}

/* RFC 6455 7.4.1, the IANA registry (1012, 1013), and Halley's own */
enum ws_close_code {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL_ERROR = 1002,
    WS_CLOSE_UNSUPPORTED = 1003,
    WS_CLOSE_NO_STATUS = 1005, /* never on the wire: the close frame had no code */
    WS_CLOSE_ABNORMAL = 1006,  /* never on the wire: there was no close frame */
    WS_CLOSE_BAD_DATA = 1007,
    WS_CLOSE_POLICY = 1008,
    WS_CLOSE_TOO_BIG = 1009,
    WS_CLOSE_INTERNAL = 1011,
    WS_CLOSE_RESTART = 1012,
    WS_CLOSE_TRY_LATER = 1013,
    WS_CLOSE_TOKEN = 4401,
    WS_CLOSE_FORBIDDEN = 4403,
    WS_CLOSE_IDLE = 4408,
    WS_CLOSE_GAP = 4410,
};

#define WS_FRAME_HEADER_MAX 14     /* a client's: 2 + 8 length + 4 masking key */
#define WS_FRAME_HEADER_OUT_MAX 10 /* a server's: no masking key */
#define WS_CONTROL_PAYLOAD_MAX 125 /* RFC 6455 5.5 */

struct ws_frame_header {
    bool fin;
    uint8_t rsv; /* RSV1 is 4, RSV2 is 2, RSV3 is 1 */
    uint8_t opcode;
    uint8_t masking_key[4];
    uint64_t payload_len;
};

struct ws_frame_parser { /* what survives a short read */
    uint8_t bytes[WS_FRAME_HEADER_MAX];
    uint8_t have;
    bool allow_rsv1; /* permessage-deflate was agreed (RFC 7692 6) */
};

void ws_frame_parser_init(struct ws_frame_parser *p);

/* Parse one frame header of a client from buf, across as many calls as it takes (RFC 6455 5.2). Allocates nothing.
 * buf is borrowed. *ret_used is set on 1 and 0: the bytes consumed; the payload, if any, starts right after them.
 * Returns 1 when *ret_header is complete (the parser is ready for the next), 0 when more bytes are needed, or minus the
 * close code to fail the connection with: 1002 for a broken rule (5.1 mask, 5.2 bits, opcode and length, 5.5 control
 * frames), as early as the byte that breaks it. */
int ws_frame_parse_header(struct ws_frame_parser *p, const uint8_t *buf, size_t len, size_t *ret_used,
                          struct ws_frame_header *ret_header);

/* Undo (or apply: it is its own inverse) the mask in place. `offset` is where in the payload data starts, so that a
 * payload can come in parts (RFC 6455 5.3). */
void ws_frame_mask(uint8_t *data, size_t len, const uint8_t key[4], uint64_t offset);

/* Bytes of a server's frame header for that payload length: 2, 4 or 10. */
size_t ws_frame_header_size(uint64_t payload_len);

/* Write an unmasked, final frame's header; out has room for WS_FRAME_HEADER_OUT_MAX. rsv as in ws_frame_header.
 * Returns the bytes written. */
size_t ws_frame_write_header(uint8_t *out, uint8_t opcode, uint8_t rsv, uint64_t payload_len);

/* Write a whole close frame; out has room for 2 + WS_CONTROL_PAYLOAD_MAX. The reason, UTF-8 or NULL, is cut to 123
 * bytes at a code point's boundary. WS_CLOSE_NO_STATUS gives an empty payload; any other code must be valid on the
 * wire. Returns the bytes written. */
size_t ws_frame_write_close(uint8_t *out, enum ws_close_code code, const char *reason);

/* May this code stand in a close frame (RFC 6455 7.4, and the registry)? */
bool ws_close_code_is_valid(unsigned code);

#endif
