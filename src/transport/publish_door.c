#include "transport/publish_door.h"

#include <errno.h>

#include "transport/client.h"
#include "transport/cors.h"
#include "transport/http_publish.h"
#include "transport/publish.h"
#include "transport/query.h"

void publish_door(struct http_client *h, const struct http1_request *rq, struct slice origin)
{
    char cors[CORS_HEADERS_MAX];
    HLY_CLEANUP(query_freep) char *memory = NULL;
    struct query_field topic = { .key = "topic" };
    int r = query_read(rq, &topic, 1, &memory);
    cors_headers(cors, http_reactor(h)->settings, origin);
    if (r == 0 && topic.value.ptr != NULL) {
        struct publisher by = { .rights = client_rights_of(http_token(h), RULE_PUBLISH) };
        http_publish(h, rq, topic.value, &by, cors);
        return;
    }
    stat_add(&http_reactor(h)->stats.publish_refused, 1);
    if (r == -ENOMEM)
        http_publish_error(h, 503, "unavailable", "out of memory, try again later", cors);
    else if (r < 0)
        http_publish_error(h, 400, "bad_request", "the query has a broken %-escape", cors);
    else
        http_publish_error(h, 400, "bad_request", "name the topic: POST /publish?topic=NAME, with the payload as the body", cors);
}
