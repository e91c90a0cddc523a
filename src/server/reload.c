#include "server/reload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "auth/count_table.h"
#include "auth/revocation.h"
#include "base/log.h"
#include "server/inherited.h"
#include "server/server_internal.h"
#include "server/systemd.h"
#include "transport/control.h"
#include "transport/membership.h"
#include "transport/recheck.h"

struct step { /* of one reactor */
    struct loop_task task;
    struct recheck recheck;
    struct reload *reload;
    struct reactor *reactor;
};

struct next { /* all that is made before anything changes */
    struct live_settings *live;
    struct list doors; /* new ones */
    struct step **steps;
    struct buf errors; /* sentences, a line each */
    size_t added;
    size_t removed;
};

/* ---- answering */

static void answer_one(struct control_order *o, bool is_refused, const struct buf *text)
{
    o->is_refused = is_refused;
    buf_append(&o->answer, text->data, text->len);
    o->answer.failed |= text->failed;
    o->finish(o);
}

static void answer_all(struct reload *rl, bool is_refused, const struct buf *text)
{
    for (struct list *node; (node = list_pop(&rl->asked)) != NULL;)
        answer_one(LIST_ENTRY(node, struct control_order, node), is_refused, text);
}

/* ---- what can fail */

static bool is_same(const struct door *d, bool is_backend, const char *address)
{
    return d->is_backend == is_backend && strcmp(d->address, address) == 0;
}

static bool is_open(const struct server *s, bool is_backend, const char *address)
{
    LIST_EACH (it, &s->doors)
        if (is_same(LIST_ENTRY(it, struct door, node), is_backend, address))
            return true;
    return false;
}

/* Open what one section asks for. Says itself what is wrong. */
static int open_section(struct server *s, struct next *n, const struct config *only)
{
    struct socket_set sockets;
    struct inherited none = { 0 };
    if (sockets_open(only, s->reactor_count, &none, &sockets) < 0)
        return -EIO;
    n->added++;
    int r = doors_make(s, &sockets, n->live, &n->doors);
    if (r < 0)
        log_error("reload", "memory has run out while listeners were opened");
    return r;
}

static int open_new_doors(struct server *s, struct next *n)
{
    const struct config *c = n->live->config;
    struct config only = { .path = c->path };
    int r = 0;
    for (size_t i = 0; r == 0 && i < c->backend_count; i++) {
        only.backends = &c->backends[i];
        only.backend_count = 1;
        if (!is_open(s, true, c->backends[i].address))
            r = open_section(s, n, &only);
    }
    only.backend_count = 0;
    for (size_t i = 0; r == 0 && i < c->listen_count; i++) {
        only.listens = &c->listens[i];
        only.listen_count = 1;
        if (!is_open(s, false, c->listens[i].address))
            r = open_section(s, n, &only);
    }
    return r;
}

static int set_next_peers(struct server *s, struct next *n, const struct config_backend *b)
{
    struct backend_peers *p = doors_peers_new(n->live, b);
    if (p == NULL)
        return -ENOMEM;
    LIST_EACH (it, &s->doors) {
        struct door *d = LIST_ENTRY(it, struct door, node);
        if (!is_same(d, true, b->address) || d->is_wanted)
            continue;
        d->is_wanted = true;
        d->next_tls = b->tls.context == NULL ? NULL : tls_slots_find(s->tls, b->address);
        d->next_peers = backend_peers_ref(p);
    }
    backend_peers_unref(p);
    return 0;
}

/* What is to become of the doors that are there. */
static int plan_doors(struct server *s, struct next *n)
{
    const struct config *c = n->live->config;
    int r = 0;
    LIST_EACH (it, &s->doors)
        LIST_ENTRY(it, struct door, node)->is_wanted = false;
    for (size_t i = 0; r == 0 && i < c->backend_count; i++)
        r = set_next_peers(s, n, &c->backends[i]);
    for (size_t i = 0; i < c->listen_count; i++) {
        LIST_EACH (it, &s->doors) {
            struct door *d = LIST_ENTRY(it, struct door, node);
            if (!is_same(d, false, c->listens[i].address))
                continue;
            d->is_wanted = true;
            d->next_is_proxied = c->listens[i].proxy_protocol;
            d->next_tls = c->listens[i].tls.context == NULL ? NULL : tls_slots_find(s->tls, d->address);
        }
    }
    if (r < 0)
        log_error("reload", "memory has run out");
    return r;
}

static void forget_plan(struct server *s)
{
    LIST_EACH (it, &s->doors) {
        struct door *d = LIST_ENTRY(it, struct door, node);
        backend_peers_unref(d->next_peers);
        d->next_peers = NULL;
    }
}

static int make_steps(struct server *s, struct next *n)
{
    n->steps = calloc(s->reactor_count, sizeof *n->steps);
    for (unsigned i = 0; n->steps != NULL && i < s->reactor_count; i++)
        if ((n->steps[i] = calloc(1, sizeof *n->steps[i])) == NULL)
            return -ENOMEM;
    return n->steps == NULL ? -ENOMEM : 0;
}

static void free_steps(struct server *s, struct next *n)
{
    for (unsigned i = 0; n->steps != NULL && i < s->reactor_count; i++)
        free(n->steps[i]);
    free(n->steps);
    n->steps = NULL;
}

static int load(struct server *s, struct next *n)
{
    struct config_error error;
    struct config *c = config_load_with(s->source->path, s->source->environment, s->source->settings, &error);
    if (c == NULL) {
        log_error("reload", "%s", error.text);
        return -EINVAL;
    }
    for (size_t i = 0; i < c->warning_count; i++)
        log_warn("config", "%s", c->warnings[i]);
    return live_settings_new(c, s->reactor_count, &n->live);
}

/* Everything new. Says itself what is wrong, and has changed nothing then. */
static int make_next(struct server *s, struct next *n)
{
    *n = (struct next){ 0 };
    list_init(&n->doors);
    log_collect(&n->errors);
    int r = load(s, n);
    if (r == 0 && (r = tls_slots_prepare(s->tls, n->live->config)) < 0)
        log_error("reload", "memory has run out");
    if (r == 0)
        r = open_new_doors(s, n);
    if (r == 0)
        r = plan_doors(s, n);
    if (r == 0 && (r = make_steps(s, n)) < 0)
        log_error("reload", "memory has run out");
    if (r == 0 && (r = hub_set_rules(s->hub, n->live->config->rules)) < 0) /* the last that can fail, and the first that changes something */
        log_error("reload", "the rules cannot be changed: %s", strerror(-r));
    log_collect(NULL);
    if (r == 0)
        return 0;
    forget_plan(s);
    free_steps(s, n);
    doors_free(&n->doors);
    live_settings_unref(n->live);
    return r;
}

/* ---- the switch */

static void end_if_through(struct reload *rl);

static void on_step_home(struct loop_task *t)
{
    struct step *step = HLY_CONTAINER_OF(t, struct step, task);
    struct reload *rl = step->reload;
    free(step);
    rl->reactors--;
    end_if_through(rl);
}

static void on_rechecked(struct recheck *rc)
{
    struct step *step = HLY_CONTAINER_OF(rc, struct step, recheck);
    step->task.run = on_step_home;
    if (!loop_post(&step->reload->server->reactors[0].loop, &step->task))
        free(step); /* the server ends */
}

/* A door that stays: others may connect from now on, perhaps. */
static void update_door(struct door *d)
{
    d->is_proxied = d->next_is_proxied;
    d->tls = d->next_tls;
    if (d->next_peers == NULL)
        return;
    struct backend_peers *before = d->peers;
    d->peers = d->next_peers;
    d->next_peers = NULL;
    backend_peers_unref(before);
}

static void on_reactor(struct loop_task *t)
{
    struct step *step = HLY_CONTAINER_OF(t, struct step, task);
    struct reactor *r = step->reactor;
    struct server *s = step->reload->server;
    reactor_apply(r, s->live->config->rules, &s->live->settings);
    if (!r->loop.is_leaving) {
        LIST_EACH (it, &s->doors) {
            struct door *d = LIST_ENTRY(it, struct door, node);
            if (d->reactor != r)
                continue;
            if (!d->is_wanted)
                door_close(d);
            else if (d->is_new)
                door_begin(d);
            else
                update_door(d);
        }
    }
    recheck_start(&step->recheck, r, on_rechecked);
}

static void set_limits(struct server *s, const struct live_settings *live)
{
    const struct config *c = live->config;
    struct hub_limits limits = server_hub_limits(c);
    hub_set_limits(s->hub, &limits);
    presence_set_max_bytes(s->view.presence, c->max_presence);
    revocations_set_max(s->view.revocations, c->max_revocations);
    count_table_set_rates(s->view.users, &live->settings.publish);
    log_setup((enum log_level)c->log_level, c->log_json != 0);
}

/* From here on every reactor that looks may come in by the new peers: those who came by the old ones find them. */
static void link_peers(struct server *s)
{
    LIST_EACH (it, &s->doors) {
        struct door *d = LIST_ENTRY(it, struct door, node);
        if (d->next_peers != NULL && d->peers->next == NULL)
            d->peers->next = backend_peers_ref(d->next_peers);
        if (!d->is_wanted)
            door_unlink(d); /* nobody finds it any more; who has connected is accepted yet */
    }
}

static void begin(struct reload *rl, struct next *n)
{
    struct server *s = rl->server;
    LIST_EACH (it, &s->doors)
        n->removed += !LIST_ENTRY(it, struct door, node)->is_wanted && LIST_ENTRY(it, struct door, node)->reactor->index == 0;
    link_peers(s);
    list_splice(&s->doors, &n->doors);
    rl->old = s->live;
    s->live = n->live;
    set_limits(s, n->live);
    tls_slots_reload(s->tls, n->live->config);
    rl->reactors = s->reactor_count + 1; /* and what follows in the hub */
    for (unsigned i = 0; i < s->reactor_count; i++) {
        struct step *step = n->steps[i];
        step->reload = rl;
        step->reactor = &s->reactors[i];
        step->task.run = on_reactor;
        if (!loop_post(&step->reactor->loop, &step->task)) {
            free(step); /* it has ended: so does the server */
            rl->reactors--;
        }
    }
    free(n->steps);
    loop_post(&s->reactors[0].loop, &rl->task);
}

/* ---- what follows */

static void on_hub_slice(struct loop_task *t)
{
    struct reload *rl = HLY_CONTAINER_OF(t, struct reload, task);
    struct loop *loop = &rl->server->reactors[0].loop;
    bool more = hub_rules_step(rl->server->hub) || hub_expire(rl->server->hub, loop->now_ms);
    if (more && loop_post(loop, t))
        return;
    rl->reactors--;
    end_if_through(rl);
}

static void drop_closed_doors(struct server *s)
{
    LIST_EACH_SAFE (it, next, &s->doors) {
        struct door *d = LIST_ENTRY(it, struct door, node);
        if (d->is_wanted)
            continue;
        struct list gone;
        list_init(&gone);
        list_remove(&d->node);
        list_push(&gone, &d->node);
        doors_free(&gone);
    }
}

static void end_if_through(struct reload *rl)
{
    struct server *s = rl->server;
    HLY_CLEANUP(buf_done) struct buf answer = { 0 };
    if (rl->reactors > 0)
        return;
    if (!s->leaving) /* else the reactors are at the doors */
        drop_closed_doors(s);
    live_settings_unref(rl->old);
    rl->old = NULL;
    rl->is_on = false;
    log_info("reloaded", "all connections have been looked at again");
    systemd_ready();
    buf_append(&answer, rl->answer.data, rl->answer.len);
    buf_done(&rl->answer);
    answer_all(rl, false, &answer);
    if (rl->is_wanted && !s->leaving)
        reload_ask(rl, NULL);
}

/* ---- what only a restart changes */

static void add_restart(struct buf *out, const char *key)
{
    buf_printf(out, "%s%s", out->len > 0 ? ", " : "", key);
}

static const struct config_backend *find_backend(const struct config *c, const char *address)
{
    for (size_t i = 0; i < c->backend_count; i++)
        if (strcmp(c->backends[i].address, address) == 0)
            return &c->backends[i];
    return NULL;
}

static bool is_other(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a != b : strcmp(a, b) != 0;
}

/* "reactors, backend.mode": the names of settings that differ from those of the start, or, of a socket's file, from those it was opened with. */
static void find_restarts(const struct server *s, const struct config *next, struct buf *out)
{
    char options[1024];
    const struct config *before = s->live->config;
    if (config_restart_needed(s->start->config, next, options, sizeof options) > 0)
        add_restart(out, options);
    for (size_t i = 0; i < next->backend_count; i++) {
        const struct config_backend *b = &next->backends[i], *was = find_backend(before, b->address);
        if (was == NULL || b->path == NULL)
            continue;
        if (was->mode != b->mode)
            add_restart(out, "backend.mode");
        if (is_other(was->owner, b->owner))
            add_restart(out, "backend.owner");
        if (is_other(was->group, b->group))
            add_restart(out, "backend.group");
    }
}

/* {"reloaded":true,"restart":["reactors"],"added":1,"removed":0} */
static void write_answer(struct buf *out, const struct next *n, const struct buf *restarts)
{
    buf_str(out, "{\"reloaded\":true,\"restart\":[");
    for (size_t at = 0; at < restarts->len;) {
        const char *from = (const char *)restarts->data + at, *comma = memchr(from, ',', restarts->len - at);
        size_t len = comma == NULL ? restarts->len - at : (size_t)(comma - from);
        buf_printf(out, "%s\"%.*s\"", at > 0 ? "," : "", (int)len, from);
        at += len + 2;
    }
    buf_printf(out, "],\"added\":%zu,\"removed\":%zu}", n->added, n->removed);
}

/* ---- from the beginning */

static void fail(struct reload *rl, struct buf *errors)
{
    rl->is_on = false;
    log_error("reload_failed", "nothing has changed: see the line before; halleyd --check-config says it too");
    systemd_ready();
    if (errors->len > 0 && errors->data[errors->len - 1] == '\n')
        errors->len--;
    answer_all(rl, true, errors);
}

static void run(struct reload *rl)
{
    struct server *s = rl->server;
    struct next n;
    HLY_CLEANUP(buf_done) struct buf restarts = { 0 };
    rl->is_on = true;
    rl->is_wanted = false;
    systemd_reloading();
    log_info("reload", "path=%s", s->source->path != NULL ? s->source->path : "(built-in defaults)");
    if (make_next(s, &n) < 0) {
        fail(rl, &n.errors);
    } else {
        find_restarts(s, n.live->config, &restarts);
        begin(rl, &n);
        log_info("reload_taken", "listeners_added=%zu listeners_removed=%zu", n.added, n.removed);
        if (restarts.len > 0)
            log_warn("restart_needed", "these settings take a restart: %.*s", (int)restarts.len, (const char *)restarts.data);
        write_answer(&rl->answer, &n, &restarts);
    }
    buf_done(&n.errors);
}

void reload_init(struct reload *rl, struct server *s)
{
    *rl = (struct reload){ .server = s, .task.run = on_hub_slice };
    list_init(&rl->asked);
    list_init(&rl->waiting);
}

void reload_ask(struct reload *rl, struct control_order *o)
{
    const struct server *s = rl->server;
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    if (s->leaving || s->upgrade.state != UPGRADE_IDLE) {
        buf_str(&text, s->leaving ? "the server is stopping: it takes up no other config" : "an upgrade is under way: its successor reads the config anew");
        log_warn("reload", "%.*s", (int)text.len, (const char *)text.data);
        if (o != NULL)
            answer_one(o, true, &text);
        return;
    }
    if (o != NULL)
        list_push(&rl->waiting, &o->node);
    rl->is_wanted = true;
    if (rl->is_on)
        return;
    list_splice(&rl->asked, &rl->waiting);
    run(rl);
}

void reload_done(struct reload *rl)
{
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    list_splice(&rl->asked, &rl->waiting);
    buf_str(&text, "the server has stopped");
    answer_all(rl, true, &text);
    live_settings_unref(rl->old);
    buf_done(&rl->answer);
}
