/* Compresses a reactor's live messages: each once per wire form and window size, for all who take it so (core/fanout).
 *
 * No message refers to another, so that neither side keeps anything between them: an idle connection costs nothing more than without. What would not get much smaller goes
 * as it is, and so does what is large, or too much for one turn of the loop: deflating costs fifty times what copying does, and others are waiting. */
#ifndef HALLEY_TRANSPORT_PACKER_H
#define HALLEY_TRANSPORT_PACKER_H

#include "core/subscription.h"
#include "transport/stats.h"

#define PACK_BODY_MIN_BYTES 1024     /* of an answer that is for one client alone, and has headers besides */
#define PACK_MIN_BYTES 256           /* below, deflate saves less than a hundred bytes: the packet is the same one */
#define PACK_MAX_BYTES (128u << 10)  /* under a millisecond */
#define PACK_TURN_BYTES (256u << 10) /* in one turn: 1 to 2 ms */
#define PACK_EACH_BYTES 1024         /* what each message counts besides, as it costs that much more */

struct buf;
struct deflater;
struct packer;

/* stats borrowed; outlives the packer. NULL when out of memory. */
struct packer *packer_new(struct stats *stats);
void packer_free(struct packer *p); /* NULL is accepted */

struct wire_packing packer_packing(struct packer *p); /* for sub_table.packing */

/* A turn of the loop begins. */
void packer_turn(struct packer *p);

/* The form of a WebSocket whose window for our messages has so many bits (8 to 15), for a plain form: WIRE_WS_PLAIN, WIRE_WS_V1. */
enum wire_form packer_ws_form(enum wire_form plain, unsigned bits);
/* The form of a gzip stream (transport/gzip_stream.h), for a plain form: WIRE_SSE, WIRE_SSE_JSON, WIRE_SSE_V1, WIRE_NDJSON, WIRE_IFRAME. */
enum wire_form packer_gzip_form(enum wire_form plain);

/* A whole body with Content-Encoding gzip (RFC 1952), appended to out. Returns false, and nothing is appended, if it is to go as it is. */
bool packer_gzip(struct packer *p, const void *body, size_t len, struct buf *out);

/* Deflate one frame outside the fan-out. As the fan-out's pack(): returns 0 if it is to go as it is. out has room for len. */
uint32_t packer_deflate_frame(struct packer *p, unsigned bits, const uint8_t *frame, uint32_t len, uint8_t *out);

#endif
