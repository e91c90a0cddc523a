#include "transport/stats_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* ---- everything as one list of values */

#define HUB_VALUES(C, G) \
    G(topics, "living topics") \
    G(patterns, "distinct patterns subscribed to") \
    G(subscriptions, "subscriptions, to topics and patterns") \
    C(published, "messages published") \
    C(repeated, "publishes with a known key, answered with the first's answer") \
    G(history_messages, "messages kept in histories") \
    G(history_bytes, "bytes of messages kept in histories") \
    C(evicted, "messages that left a history because of limits.history") \
    C(expired, "messages that left a history because of its history_ttl") \
    G(keys, "idempotency keys remembered") \
    C(keys_evicted, "idempotency keys forgotten before their time because of limits.keys") \
    C(refused_topics, "publishes and subscribes refused at limits.topics or limits.patterns")

#define ONE(name, doc) +1
enum { HUB_COUNT = 0 HUB_VALUES(ONE, ONE), OWN_COUNT = 5, ALL_COUNT = STATS_COUNT + HUB_COUNT + OWN_COUNT + ENGINE_VALUES_MAX };
#undef ONE

static uint64_t resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%lu %lu", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static size_t collect_engine(struct reactor *r, struct stat_value *ret)
{
    struct engine_value values[ENGINE_VALUES_MAX];
    size_t count = r->engine->values == NULL ? 0 : r->engine->values(r->engine, values);
    for (size_t i = 0; i < count; i++)
        ret[i] = (struct stat_value){ values[i].name, values[i].doc, values[i].value, values[i].is_gauge };
    return count;
}

static size_t collect(struct reactor *r, struct stat_value v[ALL_COUNT])
{
    size_t n = 0;
    struct hub_stats hub;
    hub_get_stats(r->hub, &hub);
    v[n++] = (struct stat_value){ "uptime_s", "seconds since the start", (r->loop.now_ms - r->server->started_ms) / 1000, 1 };
    v[n++] = (struct stat_value){ "pid", "process id", (uint64_t)getpid(), 1 };
    v[n++] = (struct stat_value){ "reactors", "threads with an event loop", r->server->reactor_count, 1 };
    v[n++] = (struct stat_value){ "memory_bytes", "resident memory", resident_bytes(), 1 };
    v[n++] = (struct stat_value){ "head_seq", "seq of the newest message", hub_head(r->hub), 1 };
#define COUNTER(name, doc) v[n++] = (struct stat_value){ #name, doc, hub.name, 0 };
#define GAUGE(name, doc) v[n++] = (struct stat_value){ #name, doc, hub.name, 1 };
    HUB_VALUES(COUNTER, GAUGE)
    n += collect_engine(r, v + n);
    server_sum_stats(r->server, v + n);
    return n + STATS_COUNT;
}

void stats_write_json(struct buf *out, struct reactor *r)
{
    struct stat_value v[ALL_COUNT];
    size_t n = collect(r, v);
    buf_printf(out, "{\"version\":\"%s\",\"epoch\":\"%s\",\"engine\":\"%s\"", r->settings->version, hub_epoch(r->hub), r->engine->name);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, ",\"%s\":%" PRIu64, v[i].name, v[i].value);
    buf_str(out, "}\n");
}

void stats_write_metrics(struct buf *out, struct reactor *r)
{
    struct stat_value v[ALL_COUNT];
    size_t n = collect(r, v);
    buf_printf(out, "# HELP halley_info version and epoch\n# TYPE halley_info gauge\nhalley_info{version=\"%s\",epoch=\"%s\"} 1\n",
               r->settings->version, hub_epoch(r->hub));
    for (size_t i = 0; i < n; i++) {
        const char *suffix = v[i].is_gauge ? "" : "_total";
        buf_printf(out, "# HELP halley_%s%s %s\n# TYPE halley_%s%s %s\nhalley_%s%s %" PRIu64 "\n", v[i].name, suffix, v[i].doc,
                   v[i].name, suffix, v[i].is_gauge ? "gauge" : "counter", v[i].name, suffix, v[i].value);
    }
}

void stats_write_info(struct buf *out, struct reactor *r)
{
    struct stat_value v[ALL_COUNT];
    size_t n = collect(r, v);
    /* Client libraries look at these: the version whose commands we answer like, and that nothing is being loaded. */
    buf_printf(out,
               "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nserver_name:halley\r\nhalley_version:%s\r\n"
               "process_id:%ld\r\nuptime_in_seconds:%" PRIu64 "\r\n\r\n# Persistence\r\nloading:0\r\n\r\n"
               "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Halley\r\nepoch:%s\r\nengine:%s\r\n",
               r->settings->version, (long)getpid(), v[0].value, hub_epoch(r->hub), r->engine->name);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s:%" PRIu64 "\r\n", v[i].name, v[i].value);
}
