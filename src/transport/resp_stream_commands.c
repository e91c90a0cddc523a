/* XADD, XREAD, XRANGE, XREVRANGE, XLEN: what is asked for. resp_streams.c reads it, and waits for it. */
#include <string.h>

#include "base/log.h"
#include "base/slice.h"
#include "core/cursor.h"
#include "core/reading.h"
#include "core/topic_name.h"
#include "transport/resp_streams_internal.h"

#define MAX_STREAMS 1024 /* of one XREAD */

static bool read_number(struct slice text, int64_t *ret)
{
    bool is_negative = text.len > 0 && *text.ptr == '-';
    uint64_t n = 0;
    size_t i = is_negative;
    if (text.len == i || text.len > 19)
        return false;
    for (; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    if (n > INT64_MAX)
        return false;
    *ret = is_negative ? -(int64_t)n : (int64_t)n;
    return true;
}

/* COUNT's argument. */
static bool read_count(struct resp_call *call, struct slice text, int64_t *ret)
{
    if (read_number(text, ret))
        return true;
    resp_error(call, "value is not an integer or out of range");
    return false;
}

/* A cursor, `0` or `0-0`. Says what is wrong. */
static bool read_cursor(struct resp_call *call, struct slice text, struct cursor *ret)
{
    char quoted[96];
    if (slice_equals(text, "0-0"))
        text = SLICE_LIT("0");
    if (cursor_parse(text.ptr, text.len, ret) == 0)
        return true;
    log_quote(quoted, sizeof quoted, text.ptr, text.len);
    resp_error(call, "'%s' is not a cursor: give the id of an entry, as it came, or 0 for all there is", quoted);
    return false;
}

/* Where XREAD begins. Its end is the newest message. */
static bool read_start(struct resp_call *call, struct slice text, struct stream *s)
{
    struct hub *hub = call->client->reactor->hub;
    struct cursor cursor;
    s->is_open = true;
    s->is_from_now = slice_equals(text, "$");
    s->from.last = READING_LAST_NONE;
    if (s->is_from_now)
        return true;
    if (slice_equals(text, ">")) {
        resp_error(call, "there are no consumer groups here: XREAD takes a cursor, 0 or $, not >");
        return false;
    }
    if (!read_cursor(call, text, &cursor))
        return false;
    s->is_all = cursor.epoch[0] == '\0';
    s->from = reading_from(hub, &cursor, READING_LAST_NONE, hub_head(hub));
    return true;
}

static bool set_name(struct resp_call *call, struct slice given, char **text, struct stream *s)
{
    s->is_pattern = topic_name_is_pattern(given.ptr, given.len);
    if (!resp_may_subscribe(call, given, s->is_pattern))
        return false;
    memcpy(*text, given.ptr, given.len);
    s->given = (struct slice){ *text, given.len };
    s->name = resp_real_name(s->given, s->is_pattern);
    *text += given.len;
    return true;
}

/* ---- XREAD */

struct read_options {
    int64_t count;    /* 0 or less: as many as there are */
    int64_t block_ms;
    bool has_block;
    size_t names;     /* argv[names] is the first */
};

/* Everything before the names. */
static bool read_options(struct resp_call *call, struct read_options *o)
{
    for (size_t i = 1; i < call->argc; i++) {
        if (slice_equals_nocase(call->argv[i], "STREAMS")) {
            o->names = i + 1;
            return true;
        }
        if (slice_equals_nocase(call->argv[i], "COUNT") && i + 1 < call->argc) {
            if (!read_count(call, call->argv[++i], &o->count))
                return false;
        } else if (slice_equals_nocase(call->argv[i], "BLOCK") && i + 1 < call->argc) {
            if (!read_number(call->argv[++i], &o->block_ms) || o->block_ms < 0) {
                resp_error(call, o->block_ms < 0 ? "timeout is negative" : "timeout is not an integer or out of range");
                return false;
            }
            o->has_block = true;
        } else {
            break;
        }
    }
    resp_error(call, "syntax error: XREAD [COUNT n] [BLOCK milliseconds] STREAMS topic [topic ...] cursor [cursor ...]");
    return false;
}

void resp_xread(struct resp_call *call)
{
    struct reactor *r = call->client->reactor;
    struct read_options o = { 0 };
    char *text;
    if (!read_options(call, &o))
        return;
    const struct slice *names = call->argv + o.names;
    size_t count = (call->argc - o.names) / 2;
    if (count == 0 || (call->argc - o.names) % 2 != 0) {
        resp_error(call, "Unbalanced 'xread' list of streams: for each topic a cursor, 0 or $ must be specified");
        return;
    }
    if (count > MAX_STREAMS) {
        resp_error(call, "XREAD takes at most %d topics: use a pattern", MAX_STREAMS);
        return;
    }
    struct streams_read *j = resp_streams_new(call, names, count, &text);
    if (j == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        if (!set_name(call, names[i], &text, &j->streams[i]) || !read_start(call, names[count + i], &j->streams[i])) {
            resp_streams_free(j);
            return;
        }
    if (o.count > 0)
        j->max_count = (uint64_t)o.count;
    j->may_block = o.has_block;
    j->wait_until_ms = o.block_ms > 0 ? r->loop.now_ms + (uint64_t)o.block_ms : 0;
    resp_streams_start(call, j);
}

/* ---- XRANGE, XREVRANGE */

struct range_end {
    bool is_first; /* `-`, `0`: before everything */
    bool is_last;  /* `+`: after everything */
    bool is_exclusive;
    bool is_ours;  /* a cursor that the hub gave */
    uint64_t seq;
};

/* Says what is wrong. */
static bool read_range_end(struct resp_call *call, struct slice text, uint64_t head, struct range_end *ret)
{
    struct cursor cursor;
    *ret = (struct range_end){ .is_first = slice_equals(text, "-"), .is_last = slice_equals(text, "+") };
    if (ret->is_first || ret->is_last)
        return true;
    if (text.len > 0 && *text.ptr == '(') {
        ret->is_exclusive = true;
        text.ptr++;
        text.len--;
    }
    if (!read_cursor(call, text, &cursor))
        return false;
    ret->is_first = cursor.epoch[0] == '\0';
    ret->is_ours = strcmp(cursor.epoch, hub_epoch(call->client->reactor->hub)) == 0 && cursor.seq <= head;
    ret->seq = cursor.seq;
    return true;
}

/* *ret_empty: nothing can be in the range. */
static bool set_range(struct resp_call *call, struct slice from_text, struct slice to_text, struct stream *s, bool *ret_empty)
{
    uint64_t head = hub_head(call->client->reactor->hub);
    struct range_end from, to;
    if (!read_range_end(call, from_text, head, &from) || !read_range_end(call, to_text, head, &to))
        return false;
    if (!to.is_first && !to.is_last && !to.is_ours) {
        resp_error(call, "the range ends at a cursor that is not of this run of the server: end it at +");
        return false;
    }
    s->from = (struct reading_from){ .last = READING_LAST_NONE };
    s->from.until = to.seq - (to.is_exclusive && to.seq > 0);
    s->is_open = to.is_last;
    s->is_all = from.is_first;
    if (from.is_ours)
        s->from.after = from.seq - (!from.is_exclusive && from.seq > 0);
    s->from.is_lost = !from.is_first && !from.is_last && !from.is_ours;
    *ret_empty = from.is_last || to.is_first || (!s->is_open && s->from.after >= s->from.until);
    return true;
}

static void range(struct resp_call *call, size_t from, size_t to)
{
    int64_t count = 0;
    bool is_empty, has_count = call->argc > 4;
    char *text;
    if (has_count && (call->argc != 6 || !slice_equals_nocase(call->argv[4], "COUNT"))) {
        resp_error(call, "syntax error: XRANGE topic from to [COUNT n], XREVRANGE topic to from [COUNT n]");
        return;
    }
    if (has_count && !read_count(call, call->argv[5], &count))
        return;
    struct streams_read *j = resp_streams_new(call, call->argv + 1, 1, &text);
    if (j == NULL)
        return;
    struct stream *s = &j->streams[0];
    if (!set_name(call, call->argv[1], &text, s) || !set_range(call, call->argv[from], call->argv[to], s, &is_empty)) {
        resp_streams_free(j);
        return;
    }
    if (is_empty || (has_count && count <= 0)) {
        resp_streams_free(j);
        if (is_empty)
            resp_write_array(call->out, 0);
        else
            resp_write_null_array(call->out, call->client->proto);
        return;
    }
    j->is_range = true;
    j->is_reverse = from > to;
    if (!j->is_reverse && has_count)
        j->max_count = (uint64_t)count;
    j->newest = has_count ? (uint64_t)count : UINT64_MAX;
    if (j->is_reverse && has_count && s->is_all)
        s->from.last = (uint64_t)count; /* nothing before them can be missed */
    resp_streams_start(call, j);
}

void resp_xrange(struct resp_call *call)
{
    range(call, 2, 3);
}

void resp_xrevrange(struct resp_call *call)
{
    range(call, 3, 2);
}

/* ---- XADD, XLEN */

void resp_xadd(struct resp_call *call)
{
    struct resp_publish_options options;
    for (size_t i = 2; i < call->argc && !slice_equals(call->argv[i], "*"); i++) {
        if (slice_equals_nocase(call->argv[i], "MAXLEN") || slice_equals_nocase(call->argv[i], "MINID")) {
            resp_error(call, "XADD takes no MAXLEN or MINID here: how much is kept says `history` in the topic's rule");
            return;
        }
        if (slice_equals_nocase(call->argv[i], "NOMKSTREAM")) {
            resp_error(call, "XADD takes no NOMKSTREAM here: a topic need not be made");
            return;
        }
    }
    if (!slice_equals(call->argv[2], "*")) {
        resp_error(call, "the server numbers messages: the id of an XADD is *");
        return;
    }
    if (!slice_equals(call->argv[3], "data") || !resp_publish_options(call, 5, &options))
        resp_error(call, "a message has one field, data: XADD topic * data payload [KEY id] [EXCEPT connection]");
    else
        resp_publish_one(call, call->argv[1], call->argv[4], &options, true);
}

void resp_xlen(struct resp_call *call)
{
    struct slice name = call->argv[1];
    if (resp_may_subscribe(call, name, false))
        resp_write_int(call->out, (int64_t)hub_topic_history(call->client->reactor->hub, name.ptr, name.len));
}
