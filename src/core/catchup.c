#include "core/catchup.h"

#include <errno.h>
#include <stdlib.h>

#include "core/reading.h"

struct catchup {
    struct reading reading;
    struct subscriber *subscriber;
    bool is_slow;        /* it is behind because it could not take what there was: on_slow holds */
    bool floor_is_known; /* since it last could take something */
    bool gap_is_told;    /* and nothing has followed it: what is missing besides is in the same gap */
    enum gap_reason gap_reason;
};

static const struct reading_ops catchup_ops;

/* The seq after which something has been promised to it: its first subscription began there. */
static uint64_t promised_from(const struct subscriber *s)
{
    uint64_t seq = UINT64_MAX;
    LIST_EACH (it, &s->subscriptions) {
        const struct subscription *sub = LIST_ENTRY(it, struct subscription, node);
        if (seq > sub->from_seq)
            seq = sub->from_seq;
    }
    return seq;
}

static struct catchup *catchup_start(struct subscriber *s, const struct reading_from *from)
{
    struct catchup *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->subscriber = s;
    s->catchup = c;
    reading_start_subscriber(&c->reading, s, &catchup_ops, from);
    return c;
}

int catchup_resume(struct subscriber *s, const struct reading_from *from)
{
    struct reading_from all = *from;
    uint64_t promised = promised_from(s);
    if (all.forgiven > promised)
        all.forgiven = promised; /* what came after the first of its subscriptions is missed */
    if (all.last != READING_LAST_NONE)
        all.until = promised; /* what is published meanwhile does not count */
    struct catchup *c = catchup_start(s, &all);
    if (c == NULL)
        return -ENOMEM;
    c->reading.until = UINT64_MAX; /* until it is level */
    LIST_EACH (it, &s->subscriptions)
        LIST_ENTRY(it, struct subscription, node)->from_seq = all.after;
    return 0;
}

int catchup_fall_behind(struct subscriber *s, uint64_t first_seq)
{
    struct reading_from from = { .after = first_seq - 1, .until = UINT64_MAX, .last = READING_LAST_NONE };
    if (s->catchup != NULL)
        return 0;
    struct catchup *c = catchup_start(s, &from);
    if (c == NULL)
        return -ENOMEM;
    c->is_slow = true;
    return 0;
}

int catchup_go_back(struct subscriber *s, uint64_t first_seq)
{
    struct catchup *c = s->catchup;
    if (c == NULL)
        return catchup_fall_behind(s, first_seq);
    c->is_slow = true;
    c->gap_is_told = false; /* what it was told comes after what it has lost now */
    c->floor_is_known = false; /* it was looked for down to where it was then */
    if (c->reading.reader.pos >= first_seq)
        c->reading.reader = (struct hub_reader){ .pos = first_seq - 1 }; /* losses that it was told of may be told once more */
    return 0;
}

void catchup_end(struct subscriber *s)
{
    if (s->catchup == NULL)
        return;
    reading_stop(&s->catchup->reading);
    free(s->catchup);
    s->catchup = NULL;
}

void catchup_wake(struct subscriber *s)
{
    if (s->catchup == NULL)
        return;
    s->catchup->floor_is_known = false;
    reading_wake(&s->catchup->reading);
}

uint64_t catchup_position(const struct subscriber *s)
{
    return s->catchup->reading.reader.pos;
}

static bool is_full(struct reading *r)
{
    const struct catchup *c = HLY_CONTAINER_OF(r, struct catchup, reading);
    return c->subscriber->ops->is_full(c->subscriber); /* a burst that waits for the kernel makes nobody slow who comes back */
}

/* It has everything. */
static void on_end(struct reading *r)
{
    struct subscriber *s = HLY_CONTAINER_OF(r, struct catchup, reading)->subscriber;
    uint64_t seq = r->reader.pos;
    s->had_seq = seq;
    catchup_end(s);
    if (s->ops->on_level != NULL)
        s->ops->on_level(s, seq);
}

/* ---- who is too slow for a rule */

struct take { /* what of a slice is handed over */
    struct message *messages[HUB_READ_MAX];
    size_t count;
    size_t skipped; /* because it is slow */
    bool is_dropped;
    bool is_conflated;
};

static bool wants_floor(const struct catchup *c, const struct reading_slice *slice)
{
    for (size_t i = 0; i < slice->count && !c->floor_is_known; i++)
        if (slice->messages[i]->on_slow == RULE_DROP_OLDEST)
            return true;
    return false;
}

/* The one place where a subscriber loses messages because it is slow: what it loses is told before the next message. */
static void choose(const struct catchup *c, const struct reading_slice *slice, struct take *ret)
{
    for (size_t i = 0; i < slice->count; i++) {
        struct message *m = slice->messages[i];
        if (message_leaves_out(m, c->subscriber->name))
            continue;
        bool drop = c->is_slow && m->on_slow == RULE_DROP_OLDEST && m->seq <= c->reading.floor;
        bool conflate = c->is_slow && m->on_slow == RULE_CONFLATE && (slice->newest & 1ull << i) == 0;
        ret->is_dropped |= drop;
        ret->is_conflated |= conflate;
        ret->skipped += drop || conflate;
        if (!drop && !conflate)
            ret->messages[ret->count++] = m;
    }
}

/* ---- handing over */

/* Encode what was read and hand it over: each message a slice of its own, so that the queue can be cut between them. False when out of memory. */
static bool hand_over(struct subscriber *s, const struct take *take)
{
    const struct wire_encoder *e = &s->table->encoders[s->form];
    struct chunk_slice slices[HUB_READ_MAX];
    struct delivery d = { .slices = slices, .first_seq = take->messages[0]->seq, .last_seq = take->messages[take->count - 1]->seq };
    uint64_t bytes = 0;
    for (size_t i = 0; i < take->count; i++)
        bytes += e->bound(take->messages[i], NULL);
    struct chunk *chunk = bytes > UINT32_MAX ? NULL : chunk_new(s->table->chunks, (uint32_t)bytes);
    if (chunk == NULL)
        return false;
    for (size_t i = 0; i < take->count; i++) {
        uint32_t len = e->encode(take->messages[i], NULL, hub_epoch(s->table->hub), chunk->data + chunk->len);
        slices[d.count++] = (struct chunk_slice){ chunk, chunk->len, len, take->messages[i]->seq };
        chunk->len += len;
    }
    d.bytes = chunk->len;
    s->table->replayed += take->count;
    s->ops->replay(s, &d);
    chunk_unref(chunk);
    return true;
}

static bool tell_gap(struct catchup *c, const struct reading_slice *slice, const struct take *take)
{
    struct subscriber *s = c->subscriber;
    enum gap_reason reason = slice->is_gap ? slice->reason : take->is_dropped ? GAP_DROPPED : GAP_CONFLATED;
    s->table->skipped += take->skipped;
    if (c->gap_is_told && c->gap_reason == reason)
        return true;
    c->gap_is_told = true;
    c->gap_reason = reason;
    return s->ops->on_gap(s, slice->before.pos, reason);
}

static bool on_slice(struct reading *r, const struct reading_slice *slice)
{
    struct catchup *c = HLY_CONTAINER_OF(r, struct catchup, reading);
    struct subscriber *s = c->subscriber;
    struct take take = { .count = 0 };
    if (c->is_slow && wants_floor(c, slice)) {
        reading_measure(r, s->table->keep_bytes);
        reading_again(r, slice);
        c->floor_is_known = true;
        return true;
    }
    choose(c, slice, &take);
    bool goes_on = !(slice->is_gap || take.is_dropped || take.is_conflated) || tell_gap(c, slice, &take);
    if (take.count > 0)
        c->gap_is_told = false;
    if (goes_on && take.count > 0 && !hand_over(s, &take))
        goes_on = s->ops->on_gap(s, slice->before.pos, GAP_MEMORY);
    if (!goes_on)
        catchup_end(s);
    return goes_on;
}

static const struct reading_ops catchup_ops = { .is_full = is_full, .on_slice = on_slice, .on_end = on_end };
