#include "transport/backend_access.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "auth/addresses.h"
#include "base/log.h"

#define SHARE_OF_STRANGERS 4 /* one in so many of limits.backends */

/* ---- places */

static size_t room(const struct reactor *r)
{
    uint64_t share = r->settings->max_backends / SHARE_OF_STRANGERS / r->server->reactor_count;
    return share > 0 ? (size_t)share : 1;
}

static void start_waiting(struct backend_access *a)
{
    a->is_waiting = true;
    a->reactor->stranger_count++;
    list_push(&a->reactor->strangers, &a->node);
    stat_add(&a->reactor->stats.backends_waiting, 1);
}

static void stop_waiting(struct backend_access *a)
{
    if (!a->is_waiting)
        return;
    a->is_waiting = false;
    a->reactor->stranger_count--;
    list_remove(&a->node);
    stat_sub(&a->reactor->stats.backends_waiting, 1);
}

static void give_place_back(struct backend_access *a)
{
    stop_waiting(a);
    if (!a->is_counted)
        return;
    a->is_counted = false;
    stat_sub(&a->reactor->stats.backends, 1);
    atomic_fetch_sub(&a->reactor->server->backends, 1);
}

/* The one that has waited longest goes. Returns whether there was one. */
static bool make_room(struct reactor *r)
{
    static struct log_gate gate;
    if (list_is_empty(&r->strangers))
        return false;
    struct backend_access *a = LIST_ENTRY(r->strangers.next, struct backend_access, node);
    stat_add(&r->stats.backends_displaced, 1);
    log_limited(&gate, LOG_LEVEL_WARN, "backend_displaced",
                "a backend connection that had not said its key was closed for a new one: a quarter of limits.backends (%" PRIu64
                ") may wait, or the whole is reached",
                r->settings->max_backends);
    give_place_back(a); /* at once: its memory goes at the end of the turn */
    conn_close(a->conn);
    return true;
}

static bool take_place(struct reactor *r)
{
    static struct log_gate gate;
    for (;;) {
        if (atomic_fetch_add(&r->server->backends, 1) < r->settings->max_backends)
            return true;
        atomic_fetch_sub(&r->server->backends, 1);
        if (!make_room(r))
            break;
    }
    log_limited(&gate, LOG_LEVEL_WARN, "backends_full", "a backend was refused: limits.backends (%" PRIu64 ") is reached",
                r->settings->max_backends);
    return false;
}

/* ---- who may connect */

struct backend_peers *backend_peers_ref(struct backend_peers *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void backend_peers_unref(struct backend_peers *p)
{
    while (p != NULL && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1) {
        struct backend_peers *next = p->next;
        if (p->free != NULL)
            p->free(p);
        p = next;
    }
}

bool backend_peers_let_in(const struct backend_peers *p, uid_t uid)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->uids[i] == uid)
            return true;
    return p->count == 0;
}

/* What may be done without a key; NULL: nothing. */
static const struct backend_rights *rights_without(const struct backend_peers *peers, uid_t uid)
{
    if (peers->keys == NULL)
        return &backend_rights_all;
    return peers->is_tcp ? NULL : backend_keys_find_uid(peers->keys, uid);
}

bool backend_access_renew(struct backend_access *a)
{
    struct backend_peers *now = a->peers;
    while (now->next != NULL)
        now = now->next;
    if (now == a->peers)
        return true;
    const struct backend_rights *without = rights_without(now, a->uid), *rights = without;
    if (a->rights != a->without)
        rights = now->keys == NULL ? without : backend_keys_find_same(now->keys, a->rights);
    if (!backend_peers_let_in(now, a->uid) || (rights == NULL && a->rights != NULL))
        return false;
    backend_peers_unref(a->before);
    a->before = a->peers;
    a->peers = backend_peers_ref(now);
    a->without = without;
    a->rights = rights;
    if (rights != NULL)
        stop_waiting(a);
    return true;
}

/* ---- begin and end */

struct backend_access *backend_access_new(struct reactor *r, struct backend_peers *peers, uid_t uid, bool *ret_full)
{
    struct backend_access *a = calloc(1, sizeof *a);
    *ret_full = false;
    if (a == NULL)
        return NULL;
    if (!take_place(r)) {
        free(a);
        *ret_full = true;
        return NULL;
    }
    a->reactor = r;
    a->peers = backend_peers_ref(peers);
    a->uid = uid;
    a->is_counted = true;
    list_init(&a->node);
    stat_add(&r->stats.backends, 1);
    a->without = rights_without(peers, uid);
    a->rights = a->without;
    if (a->rights == NULL) {
        if (r->stranger_count >= room(r))
            make_room(r);
        start_waiting(a);
    }
    return a;
}

void backend_access_free(struct backend_access *a)
{
    give_place_back(a);
    backend_peers_unref(a->before);
    backend_peers_unref(a->peers);
    free(a);
}

/* ---- keys */

static void log_wrong_key(const struct backend_access *a)
{
    static struct log_gate gate;
    struct sockaddr_storage peer = { 0 };
    socklen_t len = sizeof peer;
    char text[ADDRESS_TEXT];
    getpeername(a->conn->io.fd, (struct sockaddr *)&peer, &len);
    struct address address = address_of((const struct sockaddr *)&peer);
    log_limited(&gate, LOG_LEVEL_WARN, "backend_auth", "address=%s failures=%u a backend said a wrong key: none of its key_file",
                address_text(&address, text), a->failures);
}

bool backend_access_check(struct backend_access *a, struct slice user, struct slice key)
{
    const struct backend_rights *rights = backend_keys_check(a->peers->keys, user, key);
    if (rights == NULL) {
        a->failures++;
        stat_add(&a->reactor->stats.backend_auth_failures, 1);
        log_wrong_key(a);
        return false;
    }
    stop_waiting(a);
    a->failures = 0;
    a->rights = rights;
    log_debug("backend_auth", "key=%s", rights->name);
    return true;
}

bool backend_access_would_check(struct backend_access *a, struct slice user, struct slice key)
{
    if (backend_keys_check(a->peers->keys, user, key) == NULL)
        return false;
    stop_waiting(a);
    return true;
}

bool backend_access_is_over(const struct backend_access *a)
{
    return a->failures >= BACKEND_MAX_FAILURES;
}

void backend_access_reset(struct backend_access *a)
{
    a->rights = a->without;
    if (a->rights != NULL || a->is_waiting)
        return;
    if (a->reactor->stranger_count >= room(a->reactor))
        make_room(a->reactor);
    start_waiting(a);
}
