/* POST /command?connection=ID: what a client has to say on a stream that only the server writes to (transport/v1_stream).
 *
 * The body is one halley.v1 command, the answer's body the object that a WebSocket would have got, an error with the HTTP status that fits its code. ID is the one
 * of hello; it names the reactor that has the connection, so a request that arrived elsewhere is handed over and its answer handed back. A connection that is
 * not there (any more), or that another run of the server had, is 404. */
#ifndef HALLEY_TRANSPORT_COMMAND_H
#define HALLEY_TRANSPORT_COMMAND_H

#include "transport/http_server.h"

/* Answer POST. origin: the request's, if it has one and it is allowed; it may then read the answer (CORS). */
void command_door(struct http_client *h, const struct http1_request *rq, struct slice origin);

#endif
