#include "core/reading.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- where to begin */

struct reading_from reading_from(const struct hub *hub, const struct cursor *after, uint64_t last, uint64_t seq)
{
    struct reading_from from = { .after = seq, .until = seq, .last = READING_LAST_NONE };
    if (after == NULL && last == READING_LAST_NONE)
        return from;
    if (after == NULL) {
        from.after = 0;
        from.last = last;
        from.forgiven = seq;
    } else if (after->epoch[0] == '\0') { /* all there is: nothing can be missed */
        from.after = 0;
        from.forgiven = seq;
    } else if (strcmp(after->epoch, hub_epoch(hub)) == 0 && after->seq <= seq) {
        from.after = after->seq;
    } else {
        from.after = 0;
        from.is_lost = true;
    }
    return from;
}

bool reading_from_is_empty(const struct reading_from *f)
{
    return f->after == f->until && f->last == READING_LAST_NONE && !f->is_lost;
}

uint64_t reading_from_promise(const struct reading_from *f)
{
    return f->is_lost || f->last != READING_LAST_NONE ? UINT64_MAX : f->after;
}

/* ---- names */

/* One block: the array, then the text that it points to. */
static struct hub_name *names_copy(const struct hub_name *names, size_t count)
{
    size_t bytes = count * sizeof *names + 1;
    for (size_t i = 0; i < count; i++)
        bytes += names[i].name.len;
    struct hub_name *copy = malloc(bytes);
    if (copy == NULL)
        return NULL;
    char *text = (char *)(copy + count);
    for (size_t i = 0; i < count; i++) {
        memcpy(text, names[i].name.ptr, names[i].name.len);
        copy[i] = names[i];
        copy[i].name.ptr = text;
        text += names[i].name.len;
    }
    return copy;
}

/* What a subscriber has subscribed to, now: it may have changed since the last slice. */
static const struct hub_name *names_of_subscriber(struct sub_table *t, const struct subscriber *s)
{
    if (t->name_cap < s->count) {
        struct hub_name *names = realloc(t->names, s->count * sizeof *names);
        if (names == NULL)
            return NULL;
        t->names = names;
        t->name_cap = s->count;
    }
    size_t n = 0;
    LIST_EACH (it, &s->subscriptions) {
        const struct subscription *sub = LIST_ENTRY(it, struct subscription, node);
        t->names[n++] = (struct hub_name){ feed_name(sub->feed), sub->feed->is_pattern, sub->from_seq };
    }
    return t->names;
}

/* ---- the life of a reading */

static void begin(struct reading *r, struct sub_table *t, const struct reading_ops *ops, const struct reading_from *from)
{
    *r = (struct reading){ .table = t, .ops = ops, .until = from->until, .last = from->last, .is_lost = from->is_lost };
    r->reader = (struct hub_reader){ .pos = from->after, .forgiven = from->forgiven };
    r->is_seeking = from->last != READING_LAST_NONE;
    if (r->is_seeking)
        r->reader.pos = from->until < UINT64_MAX ? from->until + 1 : UINT64_MAX;
    list_push(&t->reading, &r->node);
}

int reading_start(struct reading *r, struct sub_table *t, const struct reading_ops *ops, const struct hub_name *names, size_t count,
                  const struct reading_from *from)
{
    struct hub_name *copy = names_copy(names, count);
    if (copy == NULL)
        return -ENOMEM;
    begin(r, t, ops, from);
    r->names = copy;
    r->count = count;
    return 0;
}

void reading_start_subscriber(struct reading *r, struct subscriber *s, const struct reading_ops *ops, const struct reading_from *from)
{
    begin(r, s->table, ops, from);
    r->subscriber = s;
}

void reading_stop(struct reading *r)
{
    if (r->table == NULL)
        return;
    list_remove(&r->node);
    free(r->names);
    r->names = NULL;
    r->table = NULL;
}

void reading_wake(struct reading *r)
{
    if (r->table == NULL || !r->is_parked)
        return;
    r->is_parked = false;
    list_remove(&r->node);
    list_push(&r->table->reading, &r->node);
}

/* ---- one slice of work */

static size_t up_to(const struct hub_read *read, uint64_t until)
{
    size_t n = read->count;
    while (n > 0 && read->messages[n - 1]->seq > until)
        n--;
    return n;
}

/* Returns whether it goes on. */
static bool tell(struct reading *r, const struct reading_slice *s)
{
    if (s->count == 0 && !s->is_gap)
        return true;
    if (r->ops->on_slice != NULL)
        return r->ops->on_slice(r, s);
    return r->ops->on_read(r, s->messages, s->count, s->is_gap, s->before.pos, s->reason);
}

static void read_on(struct reading *r, const struct hub_name *names, size_t count)
{
    struct hub_read read;
    struct reading_slice slice = { .messages = read.messages, .before = r->reader };
    hub_read(r->table->hub, names, count, &r->reader, &read);
    slice.count = up_to(&read, r->until);
    slice.newest = read.newest;
    slice.is_gap = r->is_lost || read.gap != HUB_GAP_NONE;
    slice.reason = r->is_lost ? GAP_UNKNOWN : read.gap == HUB_GAP_CONFLATED ? GAP_CONFLATED : GAP_EVICTED;
    r->is_lost = false;
    if (r->reader.pos > r->until)
        r->reader.pos = r->until;
    bool is_done = read.is_level || r->reader.pos == r->until;
    bool goes_on = tell(r, &slice);
    for (size_t i = 0; i < read.count; i++)
        message_unref(read.messages[i]);
    if (!goes_on || !is_done || r->is_again)
        return;
    reading_stop(r);
    if (r->ops->on_end != NULL)
        r->ops->on_end(r);
}

void reading_step(struct reading *r)
{
    struct sub_table *t = r->table;
    list_remove(&r->node);
    if (r->ops->is_full != NULL && r->ops->is_full(r)) {
        r->is_parked = true;
        list_push(&t->parked, &r->node);
        return;
    }
    list_push(&t->reading, &r->node); /* behind the others */
    size_t count = r->subscriber != NULL ? r->subscriber->count : r->count;
    const struct hub_name *names = r->subscriber != NULL ? names_of_subscriber(t, r->subscriber) : r->names;
    if (names == NULL && count > 0)
        return; /* out of memory: later */
    r->is_again = false;
    if (r->is_seeking)
        r->is_seeking = !hub_seek_last(t->hub, names, count, r->last, &r->reader.pos, &r->found);
    else if (r->is_measuring)
        r->is_measuring = !hub_seek_bytes(t->hub, names, count, r->keep_bytes, &r->floor, &r->found) &&
                          r->floor > r->reader.pos; /* what it has had needs no floor */
    else
        read_on(r, names, count);
}

void reading_again(struct reading *r, const struct reading_slice *slice)
{
    r->reader = slice->before;
    r->is_lost = slice->is_gap && slice->reason == GAP_UNKNOWN;
    r->is_again = true;
}

void reading_measure(struct reading *r, uint64_t keep_bytes)
{
    r->is_measuring = true;
    r->keep_bytes = keep_bytes;
    r->floor = UINT64_MAX;
    r->found = 0;
}

bool reading_run(struct sub_table *t, int steps)
{
    for (; steps > 0 && !list_is_empty(&t->reading); steps--)
        reading_step(LIST_ENTRY(t->reading.next, struct reading, node));
    return !list_is_empty(&t->reading);
}
