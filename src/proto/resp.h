/* RESP, the protocol of Redis, the server's part: commands in, RESP2 or RESP3 replies out.
 *
 * Commands are parsed where they lie, in the connection's contiguous input buffer: nothing is copied. A command that is not
 * complete is not scanned again from its start. Counts and lengths are bounded before anything is allocated for them. */
#ifndef HALLEY_PROTO_RESP_H
#define HALLEY_PROTO_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"
#include "base/buf.h"

struct resp_limits { /* may be changed between two calls, for a client that has since said who it is */
    uint32_t max_args;  /* elements of one command */
    uint32_t max_bulk;  /* bytes of one element */
    uint64_t max_bytes; /* bytes of one whole command; at most UINT32_MAX counts */
    uint32_t max_inline; /* bytes of an inline command's line, without its line end */
};

struct resp_command {
    const struct slice *argv; /* points into the parser and the input: valid until the next call, or the input moves */
    size_t argc;              /* 0: an empty line or empty array, to be ignored as Redis does */
};

struct resp_parser {
    struct resp_limits limits;
    size_t scanned;   /* bytes of the current command that are understood */
    uint32_t argc;    /* elements announced; 0 before the count is read */
    uint32_t have;    /* elements complete */
    bool in_command;
    struct { uint32_t off, len; } *parts; /* of the complete elements, relative to the command's first byte */
    uint32_t parts_cap;
    struct slice *argv; /* handed out */
    uint32_t argv_cap;
    int64_t bulk_len; /* of the element whose header is understood; -1: a header is next */
    struct buf text;  /* the arguments of an inline command, without their quotes */
    char error[96];   /* not empty: it has failed, and goes on failing */
};

void resp_parser_init(struct resp_parser *p, const struct resp_limits *limits);
void resp_parser_done(struct resp_parser *p);

/* Take one command from data, which begins with the first byte of the current command: what was not used last time, unchanged,
 * plus more (it may have moved in memory). Arrays of bulk strings, and inline commands with Redis' quoting.
 * Returns 1: *ret_command is complete and *ret_used its bytes. 0: more is needed, nothing is used; call again with the same
 * bytes and more. -EPROTO: resp_parser_error() is the text of the error reply ("Protocol error: invalid bulk length"), after
 * which the connection is closed, as Redis does. -ENOMEM.
 * Memory grows with the elements that have arrived, never with what was announced; what a big command took is given back by
 * the call after it. */
int resp_parse(struct resp_parser *p, const uint8_t *data, size_t len, size_t *ret_used, struct resp_command *ret_command);
const char *resp_parser_error(const struct resp_parser *p);

/* At least this many bytes of the current command are still to come (0 if unknown): what to reserve in the input buffer. */
size_t resp_parser_missing(const struct resp_parser *p, size_t have);

/* ---- replies. proto is 2 or 3; what RESP2 lacks is written as Redis does there. */
void resp_write_simple(struct buf *out, const char *text);
void resp_write_error(struct buf *out, const char *text); /* "ERR what is wrong"; CR and LF become spaces */
void resp_write_int(struct buf *out, int64_t value);
void resp_write_bulk(struct buf *out, const void *bytes, size_t len);
void resp_write_str(struct buf *out, const char *text);   /* as bulk */
void resp_write_null(struct buf *out, int proto);         /* _ or $-1 */
void resp_write_null_array(struct buf *out, int proto);   /* _ or *-1 */
void resp_write_array(struct buf *out, size_t elements);
void resp_write_map(struct buf *out, int proto, size_t pairs);      /* % or an array of twice as many */
void resp_write_push(struct buf *out, int proto, size_t elements);  /* > or an array */
void resp_write_verbatim(struct buf *out, int proto, const char *text, size_t len); /* =txt: or bulk (INFO) */

/* Bytes of "$<len>\r\n" or "*<n>\r\n" written to out (room for 24). For encoders that write into chunks. */
size_t resp_put_header(uint8_t *out, char type, uint64_t n);

#endif
