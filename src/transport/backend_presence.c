/* GET /presence?topic=T[&limit=N][&from=NEXT]: who is on a topic, in pages; limit=0 counts only. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "core/topic_name.h"
#include "proto/json_write.h"
#include "transport/backend_http.h"
#include "transport/membership.h"
#include "transport/query.h"

#define LIMIT_DEFAULT 100

static void write_page(struct http_client *h, struct slice topic, uint64_t from, uint64_t limit)
{
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    buf_str(&body, "{\"topic\":");
    json_buf_string(&body, topic);
    buf_str(&body, ",");
    membership_write_page(&body, http_reactor(h)->server->presence, topic, from, limit);
    buf_str(&body, "}");
    if (body.failed)
        backend_reply_no_memory(h);
    else
        backend_reply_json(h, 200, &body);
}

void backend_presence(struct http_client *h, const struct http1_request *rq)
{
    struct query_field f[] = { { .key = "topic" }, { .key = "limit" }, { .key = "from" } };
    HLY_CLEANUP(query_freep) char *memory = NULL;
    uint64_t limit = LIMIT_DEFAULT, from = 0;
    int r = query_read(rq, f, HLY_ARRAY_LEN(f), &memory);
    struct slice topic = f[0].value;
    const char *bad = topic.ptr == NULL ? "say which: /presence?topic=NAME" : topic_name_error(topic.ptr, topic.len);
    if (r == -ENOMEM)
        backend_reply_no_memory(h);
    else if (r < 0)
        backend_reply_error(h, 400, "bad_request", "the query has a broken %-escape");
    else if (bad != NULL)
        backend_reply_error(h, 400, topic.ptr == NULL ? "bad_request" : "bad_topic", bad);
    else if (!backend_number(f[1].value, 0, PRESENCE_PAGE_MAX, &limit) || !backend_number(f[2].value, 0, UINT64_MAX, &from))
        backend_reply_error(h, 400, "bad_request", "limit is a number from 0 to 1000, and from the next of the page before");
    else if (!backend_may_read(h, topic))
        backend_reply_error(h, 403, "forbidden", "this key may not subscribe to that topic, or nobody may");
    else if (!rules_find(http_reactor(h)->rules, topic.ptr, topic.len)->presence)
        backend_reply_error(h, 404, "bad_request", "presence is not kept for this topic: its rule says presence = false");
    else
        write_page(h, topic, from, limit);
}
