/* POST /publish?topic=NAME: what a browser sends without a WebSocket. The topic's rule says whether clients may publish. */
#ifndef HALLEY_TRANSPORT_PUBLISH_DOOR_H
#define HALLEY_TRANSPORT_PUBLISH_DOOR_H

#include "transport/http_server.h"

/* Answer a POST: the body is the payload, as on the backend door. origin: the request's, if it has one (ptr NULL: none); it is allowed. */
void publish_door(struct http_client *h, const struct http1_request *rq, struct slice origin);

#endif
