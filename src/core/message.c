#include "core/message.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

struct message *message_new_from(const char *topic, size_t topic_len, const void *payload, uint32_t payload_len, struct slice from)
{
    struct message *m = malloc(sizeof *m + topic_len + payload_len + from.len);
    if (m == NULL)
        return NULL;
    *m = (struct message){ .payload_len = payload_len, .topic_len = (uint8_t)topic_len, .from_len = (uint16_t)from.len };
    atomic_init(&m->refs, 1);
    m->topic_hash = hash_bytes(topic, topic_len);
    memcpy(m->bytes, topic, topic_len);
    if (payload != NULL && payload_len > 0)
        memcpy(m->bytes + topic_len, payload, payload_len);
    if (from.len > 0)
        memcpy(m->bytes + topic_len + payload_len, from.ptr, from.len);
    return m;
}

struct message *message_new(const char *topic, size_t topic_len, const void *payload, uint32_t payload_len)
{
    return message_new_from(topic, topic_len, payload, payload_len, (struct slice){ 0 });
}

struct message *message_ref(struct message *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

struct message *message_unref(struct message *m)
{
    if (m != NULL && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
        free(m);
    return NULL;
}
