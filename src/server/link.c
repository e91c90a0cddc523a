#include "server/link.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define READ_BYTES 65536

/* ---- messages */

enum { KIND_BITS = 2, PAYLOAD_SHIFT = KIND_BITS, SLOW_SHIFT = PAYLOAD_SHIFT + 2, EVENTS_SHIFT = SLOW_SHIFT + 2, TWO_BITS = 3 };

enum { TIME_BITS = 44, FROM_BITS = 16 }; /* what is left of the time: until the year 2527 it has room for the length of `from`, and the stamps */

#define TIME_MASK ((1ull << TIME_BITS) - 1)

void link_from_message(struct hub_record *ret, struct message *m)
{
    ret->kind = (uint8_t)(m->kind | m->payload_kind << PAYLOAD_SHIFT | m->on_slow << SLOW_SHIFT | m->has_events << EVENTS_SHIFT);
    ret->time_ms = (m->time_ms & TIME_MASK) | (uint64_t)m->from_len << TIME_BITS | (uint64_t)m->stamps << (TIME_BITS + FROM_BITS);
    ret->number = m->except;
    ret->topic = message_topic(m);
    ret->payload = (struct slice){ message_payload(m), (size_t)m->payload_len + m->from_len };
}

struct message *link_to_message(const struct hub_record *record)
{
    size_t from_len = record->time_ms >> TIME_BITS & UINT16_MAX;
    if (from_len > record->payload.len || record->payload.len - from_len > UINT32_MAX)
        return NULL;
    size_t len = record->payload.len - from_len;
    struct message *m = message_new_from(record->topic.ptr, record->topic.len, record->payload.ptr, (uint32_t)len,
                                         (struct slice){ record->payload.ptr + len, from_len });
    if (m == NULL)
        return NULL;
    m->kind = record->kind & TWO_BITS;
    m->payload_kind = record->kind >> PAYLOAD_SHIFT & TWO_BITS;
    m->on_slow = record->kind >> SLOW_SHIFT & TWO_BITS;
    m->has_events = (record->kind >> EVENTS_SHIFT & 1) != 0;
    m->stamps = (uint8_t)(record->time_ms >> (TIME_BITS + FROM_BITS));
    m->except = record->number;
    m->time_ms = record->time_ms & TIME_MASK;
    return m;
}

/* ---- waiting */

static int wait_for(int fd, short events, uint64_t deadline_ms)
{
    struct pollfd p = { .fd = fd, .events = events };
    uint64_t now = clock_mono_ms();
    int n = now >= deadline_ms ? 0 : poll(&p, 1, (int)(deadline_ms - now));
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n == 0 ? -ETIMEDOUT : 0;
}

/* Returns 1 when there are more bytes, 0 at the end. */
static int read_more(struct link_reader *r, uint64_t deadline_ms)
{
    for (;;) {
        uint8_t *room = buf_reserve(&r->in, READ_BYTES);
        if (room == NULL)
            return -ENOMEM;
        ssize_t n = recv(r->fd, room, READ_BYTES, MSG_DONTWAIT);
        if (n > 0)
            r->in.len += (size_t)n;
        if (n >= 0)
            return n > 0;
        if (errno == ECONNRESET)
            return 0;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        int error = wait_for(r->fd, POLLIN, deadline_ms);
        if (error < 0)
            return error;
    }
}

int link_read(struct link_reader *r, uint64_t deadline_ms, struct hub_record *ret)
{
    for (;;) {
        size_t used = 0;
        switch (hub_record_decode(r->in.data + r->at, r->in.len - r->at, LINK_SALT, ret, &used)) {
        case HUB_RECORD_GOOD:
            r->at += used;
            return 1;
        case HUB_RECORD_BROKEN:
            return -EBADMSG;
        case HUB_RECORD_SHORT:
            break;
        }
        buf_consume(&r->in, r->at); /* not after each: many come in one read */
        r->at = 0;
        int n = read_more(r, deadline_ms);
        if (n <= 0)
            return n;
    }
}

int link_write(int fd, const void *bytes, size_t len, uint64_t deadline_ms)
{
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return errno == ECONNRESET ? -EPIPE : -errno;
        int r = n < 0 ? wait_for(fd, POLLOUT, deadline_ms) : 0;
        if (r < 0)
            return r;
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int link_say(int fd, const struct hub_record *record, uint64_t deadline_ms)
{
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    int r = hub_record_encode(&out, LINK_SALT, record);
    return r < 0 ? r : link_write(fd, out.data, out.len, deadline_ms);
}
