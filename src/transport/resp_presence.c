/* PRESENCE topic [COUNT n] [FROM next]: who is on a topic, in pages.
 *
 * The reply is a map, in RESP2 an array of its keys and values: count and connections of the whole topic, members of this page, and next: what FROM takes for
 * the page after, or nil. A member is a map as well: sub, or nil and a guest's name; connections; info, the JSON of its token, or nil. */
#include "transport/membership.h"
#include "transport/resp_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define COUNT_DEFAULT 100

struct page {
    struct buf *out;
    int proto;
    size_t count;
};

static void write_text(const struct page *p, const char *key, struct slice value, bool is_there)
{
    resp_write_str(p->out, key);
    if (is_there)
        resp_write_bulk(p->out, value.ptr, value.len);
    else
        resp_write_null(p->out, p->proto);
}

static void visit(const struct presence_member *m, void *ctx)
{
    struct page *p = ctx;
    p->count++;
    resp_write_map(p->out, p->proto, 4);
    write_text(p, "sub", m->user, !m->is_anonymous);
    write_text(p, "guest", m->user, m->is_anonymous);
    resp_write_str(p->out, "connections");
    resp_write_int(p->out, m->connections);
    write_text(p, "info", m->info, m->info.len > 0);
}

static void write_page(struct resp_call *call, struct slice topic, uint64_t from, uint64_t limit)
{
    HLY_CLEANUP(buf_done) struct buf members = { 0 };
    struct presence *presence = call->client->reactor->server->presence;
    struct page page = { &members, call->client->proto, 0 };
    struct presence_count count = presence_count(presence, topic);
    bool has_more = presence_page(presence, topic, &from, limit, visit, &page);
    char next[24];
    int len = snprintf(next, sizeof next, "%" PRIu64, from);
    if (members.failed) {
        resp_error(call, "out of memory, try again later");
        return;
    }
    resp_write_map(call->out, page.proto, 4);
    resp_write_str(call->out, "count");
    resp_write_int(call->out, (int64_t)count.members);
    resp_write_str(call->out, "connections");
    resp_write_int(call->out, (int64_t)count.connections);
    resp_write_str(call->out, "members");
    resp_write_array(call->out, page.count);
    buf_append(call->out, members.data, members.len);
    page.out = call->out;
    write_text(&page, "next", (struct slice){ next, (size_t)len }, has_more);
}

void resp_presence(struct resp_call *call)
{
    struct slice topic = call->argv[1];
    uint64_t limit = COUNT_DEFAULT, from = 0;
    for (size_t i = 2; i < call->argc; i += 2) {
        bool has_value = i + 1 < call->argc;
        if (has_value && slice_equals_nocase(call->argv[i], "COUNT") && membership_parse_next(call->argv[i + 1], &limit) && limit <= PRESENCE_PAGE_MAX)
            continue;
        if (has_value && slice_equals_nocase(call->argv[i], "FROM") && membership_parse_next(call->argv[i + 1], &from))
            continue;
        resp_error(call, "syntax error in PRESENCE: PRESENCE topic [COUNT n] [FROM next], n from 0 to %d, next as the page before said", PRESENCE_PAGE_MAX);
        return;
    }
    if (!resp_may_subscribe(call, topic, false))
        return;
    if (rules_find(call->client->reactor->rules, topic.ptr, topic.len)->presence)
        write_page(call, topic, from, limit);
    else
        resp_error(call, "presence is not kept for this topic: its rule says presence = false");
}
