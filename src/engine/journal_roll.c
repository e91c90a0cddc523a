#include "engine/journal_roll.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/slice.h"
#include "core/hub_record.h"
#include "core/topic_name.h"

#define SLICE_ENTRIES 200

struct roll_entry {
    struct map_node node;
    uint64_t since_ms; /* wall clock */
    uint64_t ended_ms; /* a crash ended it; 0: it is there */
    bool is_told;      /* its end is on its way */
    uint8_t kind;      /* enum roll_event: what tells of its end */
    uint32_t key_at;   /* in the payload: which connection, or topic */
    uint32_t key_len;
    uint32_t len;
    char payload[];    /* of the event that told that it is there */
};

static const struct {
    const char *begin; /* the topic of the event */
    const char *end;
} topics[] = {
    [ROLL_DISCONNECT] = { "$halley/connect", "$halley/disconnect" },
    [ROLL_VACATED] = { "$halley/occupied", "$halley/vacated" },
};

static unsigned kind_of(struct slice topic, bool *ret_begins)
{
    for (unsigned kind = ROLL_DISCONNECT; kind <= ROLL_VACATED; kind++) {
        *ret_begins = slice_equals(topic, topics[kind].begin);
        if (*ret_begins || slice_equals(topic, topics[kind].end))
            return kind;
    }
    return 0;
}

/* A connection by its id, with which the payload begins; of a topic both events say the same. */
static struct slice key_of(unsigned kind, struct slice payload)
{
    static const char start[] = "{\"connection\":\"";
    const size_t at = sizeof start - 1;
    if (kind == ROLL_VACATED)
        return payload;
    if (payload.len <= at || memcmp(payload.ptr, start, at) != 0)
        return (struct slice){ payload.ptr, 0 };
    const char *quote = memchr(payload.ptr + at, '"', payload.len - at);
    return (struct slice){ payload.ptr + at, quote == NULL ? 0 : (size_t)(quote - payload.ptr) - at };
}

static bool entry_equals(const struct map_node *node, const void *key, size_t key_len)
{
    const struct roll_entry *e = HLY_CONTAINER_OF(node, const struct roll_entry, node);
    return e->key_len == key_len && memcmp(e->payload + e->key_at, key, key_len) == 0;
}

void journal_roll_init(struct journal_roll *r)
{
    *r = (struct journal_roll){ 0 };
    pthread_mutex_init(&r->lock, NULL);
    map_init(&r->map, entry_equals);
}

static void free_node(struct map_node *node, void *ctx)
{
    (void)ctx;
    free(HLY_CONTAINER_OF(node, struct roll_entry, node));
}

void journal_roll_done(struct journal_roll *r)
{
    map_drain(&r->map, free_node, NULL);
    map_done(&r->map);
    pthread_mutex_destroy(&r->lock);
}

bool journal_roll_is_event(struct slice topic)
{
    bool begins;
    return topic.len > 0 && topic.ptr[0] == '$' && kind_of(topic, &begins) != 0;
}

static void remove_entry(struct journal_roll *r, struct slice key, uint64_t hash)
{
    struct map_node *n = map_find(&r->map, hash, key.ptr, key.len);
    if (n == NULL)
        return;
    struct roll_entry *e = HLY_CONTAINER_OF(n, struct roll_entry, node);
    r->ended -= e->ended_ms != 0;
    map_remove(&r->map, n);
    free(e);
}

static void add_entry(struct journal_roll *r, unsigned kind, struct slice key, uint64_t hash, struct slice payload, uint64_t time_ms, uint64_t ended_ms)
{
    struct roll_entry *e = malloc(sizeof *e + payload.len);
    if (e == NULL)
        return;
    *e = (struct roll_entry){ .since_ms = time_ms,
                              .ended_ms = ended_ms,
                              .kind = (uint8_t)kind,
                              .key_at = (uint32_t)(key.ptr - payload.ptr),
                              .key_len = (uint32_t)key.len,
                              .len = (uint32_t)payload.len };
    memcpy(e->payload, payload.ptr, payload.len);
    if (map_insert(&r->map, &e->node, hash) < 0)
        free(e);
    else
        r->ended += ended_ms != 0;
}

void journal_roll_note(struct journal_roll *r, struct slice topic, struct slice payload, uint64_t time_ms, uint64_t ended_ms)
{
    bool begins;
    unsigned kind = kind_of(topic, &begins);
    struct slice key = kind == 0 ? (struct slice){ NULL, 0 } : key_of(kind, payload);
    if (key.len == 0)
        return;
    uint64_t hash = hash_bytes(key.ptr, key.len);
    pthread_mutex_lock(&r->lock);
    remove_entry(r, key, hash); /* whoever is back was never seen to be gone */
    if (begins)
        add_entry(r, kind, key, hash, payload, time_ms, ended_ms);
    pthread_mutex_unlock(&r->lock);
}

static void end_entry(struct map_node *node, void *ctx)
{
    struct roll_entry *e = HLY_CONTAINER_OF(node, struct roll_entry, node);
    if (e->ended_ms == 0)
        e->ended_ms = *(uint64_t *)ctx;
}

void journal_roll_end_all(struct journal_roll *r, uint64_t ended_ms)
{
    pthread_mutex_lock(&r->lock);
    for (uint64_t cursor = 0; map_count(&r->map) > 0 && map_scan(&r->map, &cursor, end_entry, &ended_ms);)
        continue;
    r->ended = map_count(&r->map);
    pthread_mutex_unlock(&r->lock);
}

/* ---- into a state */

struct roll_dump {
    struct buf *out;
    uint32_t salt;
    uint8_t type;
    size_t count;
};

static void dump_entry(struct map_node *node, void *ctx)
{
    struct roll_dump *d = ctx;
    const struct roll_entry *e = HLY_CONTAINER_OF(node, const struct roll_entry, node);
    d->count++;
    hub_record_encode(d->out, d->salt, &(struct hub_record){ .type = d->type,
                                                             .time_ms = e->since_ms,
                                                             .number = e->ended_ms,
                                                             .topic = { topics[e->kind].begin, strlen(topics[e->kind].begin) },
                                                             .payload = { e->payload, e->len } });
}

bool journal_roll_dump(struct journal_roll *r, uint64_t *cursor, uint8_t type, uint32_t salt, struct buf *out)
{
    struct roll_dump d = { .out = out, .salt = salt, .type = type };
    bool more = true;
    pthread_mutex_lock(&r->lock);
    if (map_count(&r->map) == 0)
        more = false;
    for (int n = 0; n < 2 * SLICE_ENTRIES && d.count < SLICE_ENTRIES && more; n++)
        more = map_scan(&r->map, cursor, dump_entry, &d);
    pthread_mutex_unlock(&r->lock);
    return more;
}

/* ---- telling what nobody was told */

unsigned journal_roll_heard_by(struct slice name, bool is_pattern)
{
    unsigned kinds = 0;
    for (unsigned kind = ROLL_DISCONNECT; kind <= ROLL_VACATED; kind++) {
        const char *topic = topics[kind].end;
        if (is_pattern ? pattern_matches(name.ptr, name.len, topic, strlen(topic)) : slice_equals(name, topic))
            kinds |= kind;
    }
    return kinds;
}

struct roll_take {
    struct roll_entry *found[SLICE_ENTRIES];
    size_t count;
    unsigned kinds;
};

static void take_entry(struct map_node *node, void *ctx)
{
    struct roll_take *t = ctx;
    struct roll_entry *e = HLY_CONTAINER_OF(node, struct roll_entry, node);
    if (e->ended_ms == 0 || e->is_told || (e->kind & t->kinds) == 0 || t->count == SLICE_ENTRIES)
        return;
    e->is_told = true;
    t->found[t->count++] = e;
}

/* As the server would have told it (transport/membership.c), with the reason that there was. */
static void write_end(struct buf *out, const struct roll_entry *e)
{
    if (e->kind == ROLL_VACATED) {
        buf_append(out, e->payload, e->len);
        return;
    }
    buf_append(out, e->payload, e->len - 1);
    buf_printf(out, ",\"reason\":\"crash\",\"duration_ms\":%" PRIu64 "}", e->ended_ms > e->since_ms ? e->ended_ms - e->since_ms : 0);
}

bool journal_roll_take(struct journal_roll *r, unsigned kinds, void (*tell)(const char *topic, struct slice payload, void *ctx), void *ctx)
{
    struct roll_take t = { .kinds = kinds };
    struct buf texts[SLICE_ENTRIES] = { 0 };
    const char *names[SLICE_ENTRIES];
    bool more = false;
    pthread_mutex_lock(&r->lock);
    if (r->ended > 0)
        for (more = true; more && t.count < SLICE_ENTRIES / 2;)
            more = map_scan(&r->map, &r->cursor, take_entry, &t);
    if (!more)
        r->cursor = 0;
    for (size_t i = 0; i < t.count; i++) {
        write_end(&texts[i], t.found[i]);
        names[i] = topics[t.found[i]->kind].end;
    }
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < t.count; i++) {
        if (!texts[i].failed)
            tell(names[i], buf_slice(&texts[i]), ctx);
        buf_done(&texts[i]);
    }
    return more;
}
