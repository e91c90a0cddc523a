#include "core/catchup.h"

#include <errno.h>
#include <stdlib.h>

struct catchup {
    struct list node; /* in table->catching_up, or table->parked */
    struct subscriber *subscriber;
    struct hub_reader reader;
    bool is_seeking; /* for where the newest `last` begin */
    bool is_lost; /* a gap is certain before the first message */
    uint64_t last;
    uint64_t found;
};

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

int catchup_start(struct subscriber *s, uint64_t after_seq, bool with_gap, uint64_t last)
{
    struct catchup *c = calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    c->subscriber = s;
    c->reader.pos = after_seq;
    if (!with_gap || last != CATCHUP_LAST_NONE)
        c->reader.forgiven = promised_from(s);
    if (last != CATCHUP_LAST_NONE) {
        c->is_seeking = true;
        c->last = last;
        c->reader.pos = promised_from(s) + 1; /* what is published meanwhile does not count */
    }
    s->catchup = c;
    list_push(&s->table->catching_up, &c->node);
    return 0;
}

int catchup_start_lost(struct subscriber *s)
{
    int r = catchup_start(s, 0, true, CATCHUP_LAST_NONE);
    if (r == 0)
        s->catchup->is_lost = true;
    return r;
}

void catchup_end(struct subscriber *s)
{
    if (s->catchup == NULL)
        return;
    list_remove(&s->catchup->node);
    free(s->catchup);
    s->catchup = NULL;
}

void catchup_wake(struct subscriber *s)
{
    if (s->catchup == NULL)
        return;
    list_remove(&s->catchup->node);
    list_push(&s->table->catching_up, &s->catchup->node);
}

/* ---- one slice of work */

static void level(struct catchup *c)
{
    struct subscriber *s = c->subscriber;
    uint64_t seq = c->reader.pos;
    LIST_EACH (it, &s->subscriptions)
        LIST_ENTRY(it, struct subscription, node)->from_seq = seq;
    catchup_end(s);
    if (s->ops->on_level != NULL)
        s->ops->on_level(s, seq);
}

/* Encode what was read and hand it over. Returns false when out of memory. */
static bool hand_over(struct subscriber *s, struct chunk_pool *chunks, const struct hub_read *read)
{
    const struct wire_encoder *e = &s->table->encoders[s->form];
    uint64_t bytes = 0;
    for (size_t i = 0; i < read->count; i++)
        bytes += e->bound(read->messages[i], NULL);
    struct chunk *chunk = bytes > UINT32_MAX ? NULL : chunk_new(chunks, (uint32_t)bytes);
    if (chunk == NULL)
        return false;
    for (size_t i = 0; i < read->count; i++)
        chunk->len += e->encode(read->messages[i], NULL, hub_epoch(s->table->hub), chunk->data + chunk->len);
    struct chunk_slice slice = { chunk, 0, chunk->len };
    s->table->replayed += read->count;
    s->ops->replay(s, &slice, 1, slice.len);
    chunk_unref(chunk);
    return true;
}

static void read_on(struct catchup *c, struct chunk_pool *chunks, const struct hub_name *names, size_t count)
{
    struct subscriber *s = c->subscriber;
    struct hub_read read;
    struct hub_reader before = c->reader;
    hub_read(s->table->hub, names, count, &c->reader, &read);
    bool is_gap = c->is_lost || read.has_gap;
    bool goes_on = !is_gap || s->ops->on_gap(s, before.pos);
    c->is_lost = false;
    if (goes_on && read.count > 0 && !hand_over(s, chunks, &read))
        goes_on = s->ops->on_gap(s, before.pos);
    for (size_t i = 0; i < read.count; i++)
        message_unref(read.messages[i]);
    if (!goes_on)
        catchup_end(s);
    else if (read.is_level)
        level(c);
}

static void step(struct catchup *c, struct chunk_pool *chunks)
{
    struct subscriber *s = c->subscriber;
    struct sub_table *t = s->table;
    list_remove(&c->node);
    if (s->ops->is_full(s)) {
        list_push(&t->parked, &c->node);
        return;
    }
    list_push(&t->catching_up, &c->node); /* behind the others */
    struct hub_name *names = malloc((s->count + 1) * sizeof *names);
    if (names == NULL)
        return;
    size_t count = 0;
    LIST_EACH (it, &s->subscriptions) {
        const struct feed *f = LIST_ENTRY(it, struct subscription, node)->feed;
        names[count++] = (struct hub_name){ feed_name(f), f->is_pattern };
    }
    if (c->is_seeking)
        c->is_seeking = !hub_seek_last(t->hub, names, count, c->last, &c->reader.pos, &c->found);
    else
        read_on(c, chunks, names, count);
    free(names);
}

bool catchup_run(struct sub_table *t, struct chunk_pool *chunks, int steps)
{
    for (; steps > 0 && !list_is_empty(&t->catching_up); steps--)
        step(LIST_ENTRY(t->catching_up.next, struct catchup, node), chunks);
    return !list_is_empty(&t->catching_up);
}
