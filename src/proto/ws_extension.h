/* The list of extensions in an opening handshake (RFC 6455 9.1), over any number of Sec-WebSocket-Extensions headers:
 *
 *     extension-list  = 1#extension
 *     extension       = token *( ";" token [ "=" ( token / quoted-string ) ] )
 *
 * A quoted string is a token as well when its quotes and backslashes are taken away. White space may stand around each part (RFC 2616 2.1, which this grammar
 * builds on), and empty elements of the list do not count. */
#ifndef HALLEY_PROTO_WS_EXTENSION_H
#define HALLEY_PROTO_WS_EXTENSION_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/http1.h"

enum ws_extension_part { WS_EXTENSION_END, WS_EXTENSION_OFFER, WS_EXTENSION_PARAMETER };

struct ws_extension_reader {
    const struct http1_request *rq; /* borrowed */
    size_t header;                  /* index of the one that is being read */
    size_t offset;                  /* in its value */
    bool is_inside;                 /* of an extension: parameters may follow */
    char unquoted[24];              /* a value without its quotes; longer ones are cut: no parameter that is known has such */
};

void ws_extension_begin(struct ws_extension_reader *x, const struct http1_request *rq);

/* The next part: an extension's name, a parameter of it, or the end; or -400 when the list does not follow the grammar. *ret_value.ptr is NULL if a parameter has none;
 * it is borrowed until the next call. */
int ws_extension_next(struct ws_extension_reader *x, struct slice *ret_name, struct slice *ret_value);

/* Is there no such header, or do all of them follow the grammar and name at least one extension? */
bool ws_extensions_are_valid(const struct http1_request *rq);

#endif
