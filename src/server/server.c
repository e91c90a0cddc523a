#include "server/server.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/count_table.h"
#include "auth/revocation.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "engine/journal.h"
#include "net/listener.h"
#include "server/inherited.h"
#include "server/process.h"
#include "server/server_internal.h"
#include "server/succeed.h"
#include "server/systemd.h"
#include "transport/control.h"
#include "transport/membership.h"

#define LEAVE_GRACE_MS 2000
#define SETTLE_MS 1000
#define LEAVE_TURNS 1000
#define EXPIRE_INTERVAL_S 0.2
#define EXPIRE_SLICES 20

static unsigned count_reactors(const struct config *c)
{
    if (c->reactors > 0)
        return (unsigned)c->reactors;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > HUB_MAX_REACTORS ? HUB_MAX_REACTORS : (unsigned)cores;
}

/* ---- start */

/* Says itself what is wrong. */
static int make_journal(struct server *s)
{
    const struct config *c = s->live->config;
    char error[1024] = "";
    struct journal_config config = {
        .path = c->journal_path,
        .sync = (enum journal_sync)c->journal_sync,
        .interval_ms = c->journal_interval_ms,
        .queue_bytes = c->max_inbox,
    };
    int r = engine_journal_new(s->hub, &config, &s->engine, error, sizeof error);
    if (r < 0)
        log_error("journal", "%s", error);
    return r;
}

struct hub_limits server_hub_limits(const struct config *c)
{
    return (struct hub_limits){
        .topics = c->max_topics,
        .patterns = c->max_patterns,
        .history_bytes = c->max_history,
        .inbox_bytes = c->max_inbox,
        .keys = c->max_keys,
        .key_window_ms = c->idempotency_window_ms,
    };
}

static int make_hub(struct server *s)
{
    const struct config *c = s->live->config;
    uint8_t random[16];
    char epoch[EPOCH_LEN + 1];
    if (RAND_bytes(random, sizeof random) != 1)
        return -EIO;
    hash_seed(random);
    RAND_bytes(random, sizeof random);
    cursor_make_epoch(random, epoch);
    struct hub_limits limits = server_hub_limits(c);
    s->hub = hub_new(&limits, c->rules, s->reactor_count, epoch);
    if (s->hub == NULL)
        return -ENOMEM;
    if (c->journal_path[0] != '\0')
        return make_journal(s);
    s->engine = engine_memory_new(s->hub);
    return s->engine == NULL ? -ENOMEM : 0;
}

static int start_journal(struct server *s)
{
    struct loop *loops[HUB_MAX_REACTORS];
    if (s->live->config->journal_path[0] == '\0')
        return 0;
    for (unsigned i = 0; i < s->reactor_count; i++)
        loops[i] = &s->reactors[i].loop;
    return engine_journal_start(s->engine, loops, s->reactor_count);
}

/* The ids of clients begin with it: one of another run, or of another server, is not taken for ours. */
static void make_node_name(char ret[EPOCH_LEN + 1])
{
    uint8_t random[5];
    RAND_bytes(random, sizeof random);
    cursor_make_epoch(random, ret);
}

static int make_reactors(struct server *s)
{
    s->reactors = calloc(s->reactor_count, sizeof *s->reactors);
    s->reactor_list = calloc(s->reactor_count, sizeof(struct reactor *));
    s->threads = calloc(s->reactor_count, sizeof *s->threads);
    if (s->reactors == NULL || s->reactor_list == NULL || s->threads == NULL)
        return -ENOMEM;
    s->view.reactors = s->reactor_list;
    s->view.started_ms = clock_mono_ms();
    atomic_store(&s->view.next_client_id, 1);
    make_node_name(s->view.node);
    s->view.addresses = count_table_new(NULL);
    s->view.users = count_table_new(&s->live->settings.publish);
    if (s->view.addresses == NULL || s->view.users == NULL)
        return -ENOMEM;
    pthread_mutex_init(&s->view.presence_lock, NULL);
    s->view.presence = presence_new(s->live->config->max_presence);
    s->view.revocations = revocations_new(s->live->config->max_revocations);
    if (s->view.presence == NULL || s->view.revocations == NULL)
        return -ENOMEM;
    for (; s->view.reactor_count < s->reactor_count; s->view.reactor_count++) {
        unsigned i = s->view.reactor_count;
        int r = reactor_init(&s->reactors[i], i, s->hub, s->engine, s->live->config->rules, &s->live->settings, &s->view);
        if (r < 0)
            return r;
        s->reactor_list[i] = &s->reactors[i];
    }
    return 0;
}

/* Says itself what is wrong. */
static int open_sockets(struct server *s)
{
    struct inherited inherited = { 0 };
    int r = inherited_add_systemd(&inherited);
    if (r == 0)
        r = succeed_add_sockets(s->succession, &inherited);
    if (r == 0)
        r = sockets_open(s->live->config, s->reactor_count, &inherited, &s->sockets);
    inherited_done(&inherited, r == 0);
    return r;
}

static void answer_drain(struct server *s, struct control_order *o);

/* What an order asks for, on the main thread. */
static void on_order(struct loop_task *t)
{
    struct control_order *o = HLY_CONTAINER_OF(t, struct control_order, task);
    struct server *s = o->server;
    if (o->what == CONTROL_DRAIN)
        answer_drain(s, o);
    else if (o->what == CONTROL_UPGRADE)
        upgrade_ask(&s->upgrade, s, o);
    else
        reload_ask(&s->reload, o);
}

static void take_order(struct server_control *control, struct control_order *o) /* any thread */
{
    struct server *s = HLY_CONTAINER_OF(control, struct server, control);
    o->server = s;
    o->task.run = on_order;
    if (!loop_post(&s->reactors[0].loop, &o->task)) {
        o->is_refused = true;
        buf_str(&o->answer, "the server has stopped");
        o->finish(o);
    }
}

static int open_doors(struct server *s)
{
    int r = doors_make(s, &s->sockets, s->live, &s->doors);
    LIST_EACH (it, &s->doors)
        door_begin(LIST_ENTRY(it, struct door, node));
    return r;
}

static struct server *server_alloc(const struct server_source *source, struct succession *succession)
{
    struct server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->source = source;
    s->succession = succession;
    s->control.run = take_order;
    s->view.control = &s->control;
    list_init(&s->doors);
    reload_init(&s->reload, s);
    return s;
}

struct server *server_new(struct config *config, const struct server_source *source, struct succession *succession)
{
    struct server *s = server_alloc(source, succession);
    int r = s == NULL ? -ENOMEM : 0;
    if (s != NULL)
        s->reactor_count = count_reactors(config);
    /* Before privileges are dropped: keys may be readable to root alone, and ports below 1024 are. */
    if (r == 0 && (live_settings_new(config, s->reactor_count, &s->live) < 0 || open_sockets(s) < 0 ||
                   process_drop_privileges(config) < 0)) {
        succeed_refuse(s->succession, "it cannot start; what it logged says why");
        server_free(s);
        return NULL; /* has been logged */
    }
    if (r == 0 && (s->tls = tls_slots_new(config)) == NULL)
        r = -ENOMEM;
    if (r == 0) {
        s->start = live_settings_ref(s->live);
        r = s->succession != NULL && succeed_hello(s->succession, s) < 0 ? -EPIPE : make_hub(s);
    }
    if (r == 0)
        r = make_reactors(s);
    if (r == 0)
        r = start_journal(s);
    if (r == 0)
        r = open_doors(s);
    if (r == 0 && s->succession != NULL && (succeed_take_state(s->succession, s) < 0 || succeed_take_over(s->succession, s) < 0)) {
        server_free(s);
        return NULL; /* has been logged */
    }
    if (r == 0)
        return s;
    if (s == NULL)
        config_free(config);
    log_error("start_failed", "cannot start: %s", strerror(-r));
    if (s != NULL)
        succeed_refuse(s->succession, "it cannot start; what it logged says why");
    server_free(s);
    return NULL;
}

/* ---- run and end */

struct leave {
    struct loop_task task;
    struct server *server;
    unsigned index;
};

static void reactor_leave(struct server *s, unsigned index)
{
    doors_close(s, index);
    struct loop *loop = &s->reactors[index].loop;
    for (int n = 0; n < LEAVE_TURNS && hub_has_mail(s->hub, index); n++)
        loop->on_turn(loop->ctx); /* what was published before the signal reaches its subscribers before the goodbye */
    loop_leave(loop, LEAVE_GRACE_MS);
}

static void on_leave(struct loop_task *t)
{
    struct leave *l = HLY_CONTAINER_OF(t, struct leave, task);
    reactor_leave(l->server, l->index);
    free(l);
}

/* All clients have been told to go: end the reactors. */
static void end_reactors(struct server *s)
{
    for (unsigned i = 1; i < s->reactor_count; i++) {
        struct leave *l = malloc(sizeof *l);
        if (l == NULL)
            _exit(1); /* no memory to say goodbye with */
        *l = (struct leave){ .task = { .run = on_leave }, .server = s, .index = i };
        loop_post(&s->reactors[i].loop, &l->task);
    }
    reactor_leave(s, 0);
}

static void server_leave(struct server *s)
{
    if (s->leaving)
        return;
    s->leaving = true;
    upgrade_cancel(&s->upgrade);
    if (!upgrade_is_over(&s->upgrade)) /* else it is the successor that speaks for the service */
        systemd_stopping();
    atomic_store(&s->view.draining, true);
    drain_begin(&s->drain, s, s->is_handed_over, end_reactors);
}

/* POST /drain. */
static void answer_drain(struct server *s, struct control_order *o)
{
    uint64_t clients = atomic_load(&s->view.connections);
    if (!s->leaving)
        log_info("stopping", "a backend asked for it: clients are told to reconnect");
    buf_printf(&o->answer, "{\"draining\":true,\"clients\":%" PRIu64 ",\"drain_ms\":%" PRIu64 "}", clients,
               clients == 0 ? 0 : s->live->config->drain_time_ms);
    atomic_store(&s->view.draining, true); /* who has the answer finds it so */
    o->finish(o);
    server_leave(s);
}

void server_hand_over(struct server *s)
{
    if (s->is_handed_over)
        return; /* reactors look at it by now */
    LIST_EACH (it, &s->doors)
        LIST_ENTRY(it, struct door, node)->path[0] = '\0'; /* it is the successor's */
    s->is_handed_over = true;
    server_leave(s);
}

static void on_upgrade(struct ev_loop *ev, ev_signal *w, int events)
{
    (void)ev;
    (void)events;
    struct server *s = w->data;
    upgrade_ask(&s->upgrade, s, NULL);
}

static void end_at_once(int signum)
{
    static const char text[] = "level=warn ev=stopping a second signal: stopping at once\n";
    (void)signum;
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(1);
}

static void on_signal(struct ev_loop *ev, ev_signal *w, int events)
{
    (void)events;
    struct server *s = w->data;
    int signum = w->signum;
    ev_signal_stop(ev, &s->on_term); /* this loop may end before the others: the next signal is handled where it arrives */
    ev_signal_stop(ev, &s->on_int);
    signal(SIGTERM, end_at_once);
    signal(SIGINT, end_at_once);
    log_info("stopping", "signal=%d: clients are told to reconnect", signum);
    if (s->leaving)
        drain_hasten(&s->drain); /* a backend, or a successor, has asked for it before */
    else
        server_leave(s);
}

static void on_reload(struct ev_loop *ev, ev_signal *w, int events)
{
    (void)ev;
    (void)events;
    struct server *s = w->data;
    reload_ask(&s->reload, NULL);
}

static void on_expire(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev;
    (void)events;
    struct server *s = w->data;
    uint64_t now = clock_mono_ms();
    for (int n = 0; n < EXPIRE_SLICES && hub_expire(s->hub, now); n++)
        continue;
    membership_expire(&s->reactors[0]);
    vitals_tell_limits(&s->vitals);
}

static void *reactor_main(void *arg)
{
    struct reactor *r = arg;
    loop_run(&r->loop);
    return NULL;
}

static int start_threads(struct server *s)
{
    sigset_t all, before; /* signals are for the main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int r = 0;
    for (unsigned i = 1; i < s->reactor_count && r == 0; i++) {
        r = pthread_create(&s->threads[i], NULL, reactor_main, &s->reactors[i]);
        if (r == 0) {
            char name[16];
            snprintf(name, sizeof name, "reactor-%02u", i % 100);
            pthread_setname_np(s->threads[i], name);
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -r;
}

static void on_ready(struct server *s)
{
    log_info("ready", "version=%s pid=%ld reactors=%u epoch=%s", HALLEY_VERSION, (long)getpid(), s->reactor_count, hub_epoch(s->hub));
    systemd_ready();
    succeed_serving(s->succession);
}

int server_run(struct server *s)
{
    struct loop *main_loop = &s->reactors[0].loop;
    ev_signal_init(&s->on_term, on_signal, SIGTERM);
    ev_signal_init(&s->on_int, on_signal, SIGINT);
    ev_timer_init(&s->expire, on_expire, EXPIRE_INTERVAL_S, EXPIRE_INTERVAL_S);
    ev_signal_init(&s->on_hup, on_reload, SIGHUP);
    ev_signal_init(&s->on_usr2, on_upgrade, SIGUSR2);
    s->on_term.data = s->on_int.data = s->on_hup.data = s->expire.data = s;
    ev_signal_start(main_loop->ev, &s->on_term);
    ev_signal_start(main_loop->ev, &s->on_int);
    ev_signal_start(main_loop->ev, &s->on_hup);
    s->on_usr2.data = s;
    ev_signal_start(main_loop->ev, &s->on_usr2);
    ev_timer_start(main_loop->ev, &s->expire);
    int r = start_threads(s);
    if (r < 0) {
        log_error("start_failed", "cannot start %u reactor threads: %s; lower `reactors`", s->reactor_count, strerror(-r));
        _exit(1);
    }
    vitals_start(&s->vitals, s, on_ready);
    loop_run(main_loop);
    for (unsigned i = 1; i < s->reactor_count; i++)
        pthread_join(s->threads[i], NULL);
    if (s->engine->stop != NULL)
        s->engine->stop(s->engine);
    upgrade_done(&s->upgrade);
    drain_done(&s->drain);
#ifdef HALLEY_LOCK_STATS
    uint64_t longest_ns, over_ms;
    hub_get_holds(s->hub, &longest_ns, &over_ms);
    log_info("hub_lock", "longest_us=%" PRIu64 " longer_than_1_ms=%" PRIu64, longest_ns / 1000, over_ms);
#endif
    log_info("stopped", "uptime_s=%" PRIu64, (clock_mono_ms() - s->view.started_ms) / 1000);
    return 0;
}

void server_free(struct server *s)
{
    if (s == NULL)
        return;
    s->link = NULL;
    succeed_end(s->succession);
    doors_free(&s->doors);
    reload_done(&s->reload);
    for (unsigned i = 0; i < s->view.reactor_count; i++)
        reactor_done(&s->reactors[i]);
    presence_free(s->view.presence);
    revocations_free(s->view.revocations);
    count_table_free(s->view.addresses);
    count_table_free(s->view.users);
    sockets_close(&s->sockets);
    if (s->engine != NULL)
        s->engine->free(s->engine);
    hub_free(s->hub);
    tls_slots_free(s->tls);
    free(s->reactors);
    free(s->reactor_list);
    free(s->threads);
    live_settings_unref(s->start);
    live_settings_unref(s->live);
    free(s);
}
