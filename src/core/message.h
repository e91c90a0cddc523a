/* One published message: topic, payload, who sent it, and its place in the order. Immutable once published; counted, any thread. */
#ifndef HALLEY_CORE_MESSAGE_H
#define HALLEY_CORE_MESSAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"
#include "core/rules.h"

struct topic;

/* Who comes and goes is told on the topic itself (join_leave), in its order, but not kept: it is no message of an application, and whoever comes back asks who
 * is there. */
enum message_kind { MESSAGE_DATA, MESSAGE_JOIN, MESSAGE_LEAVE };

struct message {
    _Atomic uint32_t refs; /* one per history slot and per reactor that is delivering it, never one per subscriber */
    uint32_t payload_len;  /* bytes */
    uint64_t seq;          /* place in the hub's total order, from 1; 0 until published */
    uint64_t time_ms;      /* when it was published, wall clock: for people */
    uint64_t born_ms;      /* the same on the monotonic clock: what its age is counted from */
    uint64_t topic_hash;
    struct topic *kept_by; /* whose history holds it; NULL: nobody's. The hub's, under its lock */
    uint8_t payload_kind;  /* enum rule_payload: how it looks in JSON forms, and which WebSocket opcode it gets */
    uint8_t on_slow;       /* enum rule_on_slow */
    uint8_t kind;          /* enum message_kind; the payload of the others is a JSON object */
    uint8_t topic_len;
    bool has_events;       /* its rule says events = true: what happens to it is told on $halley/ topics */
    uint8_t stamps;        /* enum message_stamp, added up */
    uint16_t from_len;     /* bytes */
    uint64_t except;       /* the name of the connection that does not get it (subscriber.name); 0: all do */
    char bytes[];          /* the topic, the payload, and, as JSON, who sent it */
};

/* What its rule's `stamp` says. A message that has any goes to backends' SUBSCRIBE as an object, not as its payload alone. */
enum message_stamp { MESSAGE_STAMP_SENDER = 1, MESSAGE_STAMP_TIME = 2 };

/* A message with one reference; topic and payload are copied, payload NULL leaves it to be filled in. The topic has passed
 * topic_name_error(). NULL when out of memory. */
struct message *message_new(const char *topic, size_t topic_len, const void *payload, uint32_t payload_len);
/* The same with who sent it: a JSON object as text, copied, len 0: nobody is said to have. */
struct message *message_new_from(const char *topic, size_t topic_len, const void *payload, uint32_t payload_len, struct slice from);
struct message *message_ref(struct message *m);
struct message *message_unref(struct message *m); /* NULL in, NULL out */

static inline struct slice message_topic(const struct message *m)
{
    return (struct slice){ m->bytes, m->topic_len };
}

static inline char *message_payload(struct message *m)
{
    return m->bytes + m->topic_len;
}

static inline struct slice message_from(const struct message *m)
{
    return (struct slice){ m->bytes + m->topic_len + m->payload_len, m->from_len };
}

/* Is it not for the connection of this name? */
static inline bool message_leaves_out(const struct message *m, uint64_t name)
{
    return m->except != 0 && m->except == name;
}

/* Bytes of memory that the message takes: what budgets count. */
static inline uint64_t message_memory(const struct message *m)
{
    return sizeof *m + m->topic_len + m->payload_len + m->from_len;
}

static inline void message_unrefp(struct message **m)
{
    *m = message_unref(*m);
}

static inline struct message *message_take(struct message **m)
{
    struct message *taken = *m;
    *m = NULL;
    return taken;
}

#endif
