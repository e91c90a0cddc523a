#include "server/tls_slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/tls_context.h"

struct tls_slots {
    struct entry {
        char *address;
        struct tls_slot *slot;
    } *entries;
    size_t count;
};

static int add(struct tls_slots *s, const char *address, const struct config_tls *tls)
{
    if (tls->context == NULL)
        return 0;
    struct entry *e = &s->entries[s->count];
    e->address = strdup(address);
    e->slot = e->address == NULL ? NULL : tls_slot_new(tls_context_ref(tls->context));
    if (e->slot == NULL) {
        free(e->address);
        return -1;
    }
    s->count++;
    return 0;
}

struct tls_slots *tls_slots_new(const struct config *c)
{
    struct tls_slots *s = calloc(1, sizeof *s);
    if (s != NULL)
        s->entries = calloc(c->listen_count + c->backend_count + 1, sizeof *s->entries);
    int r = s == NULL || s->entries == NULL ? -1 : 0;
    for (size_t i = 0; r == 0 && i < c->listen_count; i++)
        r = add(s, c->listens[i].address, &c->listens[i].tls);
    for (size_t i = 0; r == 0 && i < c->backend_count; i++)
        r = add(s, c->backends[i].address, &c->backends[i].tls);
    if (r == 0)
        return s;
    tls_slots_free(s);
    return NULL;
}

void tls_slots_free(struct tls_slots *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++) {
        tls_slot_free(s->entries[i].slot);
        free(s->entries[i].address);
    }
    free(s->entries);
    free(s);
}

struct tls_slot *tls_slots_find(const struct tls_slots *s, const char *address)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->entries[i].address, address) == 0)
            return s->entries[i].slot;
    return NULL;
}

static int add_missing(struct tls_slots *s, const char *address, const struct config_tls *tls)
{
    return tls_slots_find(s, address) != NULL ? 0 : add(s, address, tls);
}

int tls_slots_prepare(struct tls_slots *s, const struct config *next)
{
    int r = 0;
    struct entry *entries = realloc(s->entries, (s->count + next->listen_count + next->backend_count + 1) * sizeof *entries);
    if (entries == NULL)
        return -ENOMEM;
    s->entries = entries;
    for (size_t i = 0; r == 0 && i < next->listen_count; i++)
        r = add_missing(s, next->listens[i].address, &next->listens[i].tls);
    for (size_t i = 0; r == 0 && i < next->backend_count; i++)
        r = add_missing(s, next->backends[i].address, &next->backends[i].tls);
    return r < 0 ? -ENOMEM : 0;
}

static void swap(struct tls_slots *s, const char *address, const struct config_tls *tls)
{
    struct tls_slot *slot = tls->context == NULL ? NULL : tls_slots_find(s, address);
    if (slot != NULL)
        tls_slot_set(slot, tls_context_ref(tls->context));
}

void tls_slots_reload(struct tls_slots *s, const struct config *next)
{
    for (size_t i = 0; i < next->listen_count; i++)
        swap(s, next->listens[i].address, &next->listens[i].tls);
    for (size_t i = 0; i < next->backend_count; i++)
        swap(s, next->backends[i].address, &next->backends[i].tls);
}
