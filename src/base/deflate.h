/* Raw deflate (RFC 1951) of whole messages, by zlib.
 *
 * What comes out always ends on a byte's boundary, with an empty stored block (00 00 ff ff): so pieces that know nothing of each other can follow one another in one
 * stream, and a piece that was made once serves many streams. */
#ifndef HALLEY_BASE_DEFLATE_H
#define HALLEY_BASE_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEFLATE_BITS_MIN 9 /* zlib deflates no smaller window: with 9 it reaches back 250 bytes at most, which a window of 8 bits holds as well */
#define DEFLATE_BITS_MAX 15
#define DEFLATE_TAIL "\x00\x00\xff\xff" /* what each piece ends with */
#define DEFLATE_TAIL_BYTES 4

/* What a gzip stream begins with (RFC 1952 2.3.1): deflate; no name, no time, no system. */
#define GZIP_HEADER { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255 }
#define GZIP_HEADER_BYTES 10

struct deflater;

/* window_bits: DEFLATE_BITS_MIN to DEFLATE_BITS_MAX, or 8. keeps_context: a piece may refer to those before it; else each stands for itself. NULL when out of memory. */
struct deflater *deflater_new(unsigned window_bits, bool keeps_context);
void deflater_free(struct deflater *d); /* NULL is accepted */

/* Bytes of memory that one takes. */
size_t deflater_memory(unsigned window_bits);

/* Deflate one piece of at least one byte. Returns the bytes written, its tail among them, or 0 when room is not enough for it: then nothing of it counts. */
size_t deflater_run(struct deflater *d, const void *in, size_t len, uint8_t *out, size_t room);

/* Enough room for any piece of that length. */
size_t deflater_bound(size_t len);

/* Refer to nothing that was before: pieces were not sent. */
void deflater_reset(struct deflater *d);

/* The window that is enough for a piece that refers to nothing before it: a larger one would make it no smaller. Returns bits, DEFLATE_BITS_MIN to DEFLATE_BITS_MAX. */
unsigned deflate_bits_for(size_t len);

/* A stored block (3.2.4): the bytes as they are, behind a header, for what is not worth more. out has room for deflate_stored_size(len). Begins and ends on a byte's
 * boundary. Returns the bytes written. */
size_t deflate_stored(uint8_t *out, const void *bytes, size_t len);
size_t deflate_stored_size(size_t len);

#endif
