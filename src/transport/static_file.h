/* A file that is compiled in, as an answer: the browser client. */
#ifndef HALLEY_TRANSPORT_STATIC_FILE_H
#define HALLEY_TRANSPORT_STATIC_FILE_H

#include "transport/http_server.h"

/* Answer GET or HEAD with the file: 200, or 304 where If-None-Match names what it is now. Pages of all origins may load it, and ask each time whether it is
 * still the same: client and server are of one version. An empty file is 404. */
void static_file_serve(struct http_client *h, const struct http1_request *rq, struct slice file, const char *content_type);

#endif
