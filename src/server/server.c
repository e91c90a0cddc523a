#include "server/server.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "auth/addresses.h"
#include "auth/count_table.h"
#include "auth/jwt.h"
#include "auth/revocation.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "net/listener.h"
#include "server/sockets.h"
#include "transport/backend_door.h"
#include "transport/membership.h"
#include "transport/public_door.h"
#include "transport/reactor.h"
#include "web/files.h"

#define LEAVE_GRACE_MS 2000
#define LEAVE_TURNS 1000
#define SPARE_FILES 64 /* descriptors that are no connection: listeners, loops, logs, libraries */
#define SPARE_FOR_BACKENDS 256 /* when there are fewer files than limits.connections and limits.backends together */
#define EXPIRE_INTERVAL_S 0.2
#define EXPIRE_SLICES 20

struct door { /* what a listener's callbacks need */
    struct server *server;
    struct reactor *reactor;
    struct listener *listener;
    bool is_shared;
    bool is_backend;
    bool is_proxied; /* proxy_protocol = on */
    struct backend_peers peers;
};

struct handover { /* a connection accepted by one reactor for another */
    struct loop_task task;
    struct reactor *to;
    const struct door *door;
    struct address from;
    int fd;
};

struct server {
    const struct config *config;
    struct settings settings;
    struct slice *origins;
    struct slice *echo_paths;
    struct addresses *trusted_proxies;
    struct hub *hub;
    struct engine *engine;
    struct server_view view;
    struct jwt *jwt;
    struct reactor *reactors;
    struct reactor **reactor_list;
    unsigned reactor_count;
    struct socket_set sockets;
    struct door *doors;
    size_t door_count;
    unsigned next_reactor; /* whose turn it is to get a connection of a shared listener */
    pthread_t *threads;
    ev_signal on_term, on_int, on_hup;
    ev_timer expire;
    bool leaving;
};

/* ---- limits of the process */

/* Returns the open files that this process may have. */
static uint64_t raise_files(uint64_t wanted)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
        return 1024;
    struct rlimit more = { .rlim_cur = wanted, .rlim_max = lim.rlim_max > wanted ? lim.rlim_max : wanted };
    if (lim.rlim_cur >= wanted || setrlimit(RLIMIT_NOFILE, &more) == 0)
        return lim.rlim_cur >= wanted ? lim.rlim_cur : wanted;
    more = (struct rlimit){ .rlim_cur = lim.rlim_max, .rlim_max = lim.rlim_max };
    return setrlimit(RLIMIT_NOFILE, &more) == 0 ? lim.rlim_max : lim.rlim_cur;
}

/* Connections that limits.connections and the limit of open files allow. */
static uint64_t fit_connections(const struct config *c)
{
    uint64_t spare = SPARE_FILES + (c->max_backends < SPARE_FOR_BACKENDS ? c->max_backends : SPARE_FOR_BACKENDS);
    uint64_t wanted = c->max_connections + c->max_backends + SPARE_FILES;
    uint64_t files = raise_files(wanted);
    if (files >= wanted)
        return c->max_connections;
    uint64_t left = files > 2 * spare ? files - spare : files / 2;
    if (left > c->max_connections)
        left = c->max_connections;
    log_warn("few_files",
             "open files are limited to %" PRIu64 ", so %" PRIu64 " clients can connect, not limits.connections=%" PRIu64
             ": raise LimitNOFILE= in the systemd unit (or ulimit -n) to %" PRIu64 ", or lower limits.connections",
             files, left, c->max_connections, wanted);
    return left;
}

/* By name or by number, as the config has checked it; empty: unchanged. */
static bool find_user(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
    char *end;
    const struct passwd *pw = name[0] == '\0' ? NULL : getpwnam(name);
    unsigned long number = strtoul(name, &end, 10);
    if (pw == NULL && name[0] != '\0' && *end == '\0')
        pw = getpwuid((uid_t)number);
    if (pw != NULL) {
        *ret_uid = pw->pw_uid;
        *ret_gid = pw->pw_gid;
    } else if (*end == '\0' && name[0] != '\0') { /* a number without an account: its group has the same */
        *ret_uid = (uid_t)number;
        *ret_gid = (gid_t)number;
    }
    return pw != NULL || *end == '\0';
}

static bool find_group(const char *name, gid_t *ret_gid)
{
    char *end;
    const struct group *gr = name[0] == '\0' ? NULL : getgrnam(name);
    unsigned long number = strtoul(name, &end, 10);
    if (gr != NULL)
        *ret_gid = gr->gr_gid;
    else if (*end == '\0' && name[0] != '\0')
        *ret_gid = (gid_t)number;
    return gr != NULL || *end == '\0';
}

static int drop_privileges(const struct config *c)
{
    if ((c->user[0] == '\0' && c->group[0] == '\0') || geteuid() != 0)
        return 0;
    uid_t uid = 0;
    gid_t gid = 0;
    if (!find_user(c->user, &uid, &gid) || !find_group(c->group, &gid)) {
        log_error("privileges", "user '%s' or group '%s' does not exist: create it (systemd-sysusers), or change the config", c->user, c->group);
        return -1;
    }
    const struct passwd *pw = getpwuid(uid);
    int r = pw != NULL ? initgroups(pw->pw_name, gid) : setgroups(0, NULL);
    if (r < 0 || setgid(gid) < 0 || (c->user[0] != '\0' && setuid(uid) < 0)) {
        log_error("privileges", "cannot become user '%s', group '%s': %s; start without root, or leave `user` and `group` out", c->user,
                  c->group, strerror(errno));
        return -1;
    }
    return 0;
}

/* ---- config into plain values */

static struct slice *slices_of(char **texts, size_t count)
{
    struct slice *s = calloc(count + 1, sizeof *s);
    for (size_t i = 0; s != NULL && i < count; i++)
        s[i] = (struct slice){ texts[i], strlen(texts[i]) };
    return s;
}

/* Tokens are checked with these keys. Says itself what is wrong. */
static int make_jwt(struct server *s)
{
    const struct config *c = s->config;
    struct jwt_key_file files[2] = { 0 };
    const char *issuer = c->jwt_issuer, *audience = c->jwt_audience;
    struct jwt_config config = { .keys = files, .leeway_s = (uint32_t)((c->jwt_leeway_ms + 999) / 1000) };
    struct jwt_report *report;
    if (c->jwt_key_file[0] != '\0')
        files[config.key_count++].path = c->jwt_key_file;
    if (c->jwks_file[0] != '\0')
        files[config.key_count++].path = c->jwks_file;
    if (config.key_count == 0)
        return 0;
    if ((report = calloc(1, sizeof *report)) == NULL)
        return -ENOMEM;
    config.issuers = &issuer;
    config.issuer_count = issuer[0] != '\0';
    config.audiences = &audience;
    config.audience_count = audience[0] != '\0';
    int r = jwt_new(&config, &s->jwt, report);
    for (size_t i = 0; i < report->warning_count; i++)
        log_warn("auth", "%s", report->warnings[i]);
    if (r < 0)
        log_error("auth", "%s", report->error);
    free(report);
    return r;
}

static int make_trusted_proxies(struct server *s)
{
    char error[256] = "";
    const struct config *c = s->config;
    int r = c->trusted_proxy_count == 0
                ? 0
                : addresses_new((const char *const *)c->trusted_proxies, c->trusted_proxy_count, &s->trusted_proxies, error, sizeof error);
    if (r < 0)
        log_error("trusted_proxies", "%s", error); /* the config has looked at each: memory has run out */
    return r;
}

static int make_settings(struct server *s)
{
    const struct config *c = s->config;
    s->origins = slices_of(c->origins, c->origin_count);
    s->echo_paths = slices_of(c->echo_paths, c->echo_count);
    if (s->origins == NULL || s->echo_paths == NULL)
        return -ENOMEM;
    int r = make_trusted_proxies(s);
    if (r < 0)
        return r;
    s->settings = (struct settings){
        .version = HALLEY_VERSION,
        .max_connections = fit_connections(c),
        .max_backends = c->max_backends,
        .max_per_address = c->max_per_address,
        .max_per_user = c->max_per_user,
        .publish = { .messages_per_s = (uint32_t)c->publish_rate, .burst = (uint32_t)c->publish_burst, .bytes_per_s = (uint32_t)c->publish_bytes },
        .trusted_proxies = s->trusted_proxies,
        .max_message = c->max_message,
        .max_fragments = (uint32_t)c->max_fragments,
        .max_outq = c->max_outq,
        .max_backend_outq = c->max_backend_outq,
        .max_outq_total = c->max_outq_total / s->reactor_count,
        .max_subscriptions = (uint32_t)c->max_subscriptions,
        .max_command = c->max_backend_command,
        .ping_interval_ms = c->ping_interval_ms,
        .idle_timeout_ms = c->idle_timeout_ms,
        .handshake_timeout_ms = c->handshake_timeout_ms,
        .public_http = { .request_line = c->max_request_line, .headers = c->max_headers, .header_count = 100, .body = c->max_message },
        .backend_http = { .request_line = c->max_request_line,
                          .headers = c->max_headers,
                          .header_count = 100,
                          .body = c->max_backend_command },
        .jwt = s->jwt,
        .auth_cookie = { c->auth_cookie, strlen(c->auth_cookie) },
        .expiry_notice_ms = c->expiry_notice_ms,
        .origins = s->origins,
        .origin_count = c->origin_count,
        .echo_paths = s->echo_paths,
        .echo_count = c->echo_count,
        .console = c->console != 0,
        .console_page = { (const char *)web_console_html, web_console_html_len },
        .halley_js = { (const char *)web_halley_js, web_halley_js_len },
        .halley_classic_js = { (const char *)web_halley_classic_js, web_halley_classic_js_len },
        .halley_share_js = { (const char *)web_halley_share_js, web_halley_share_js_len },
        .halley_d_ts = { (const char *)web_halley_d_ts, web_halley_d_ts_len },
    };
    return 0;
}

static unsigned count_reactors(const struct config *c)
{
    if (c->reactors > 0)
        return (unsigned)c->reactors;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > HUB_MAX_REACTORS ? HUB_MAX_REACTORS : (unsigned)cores;
}

/* ---- accepting */

static void give(const struct door *d, struct reactor *r, int fd, const struct address *from)
{
    if (d->is_backend)
        backend_door_accept(r, fd, &d->peers);
    else
        public_door_accept(r, fd, from, d->is_proxied);
}

static void on_handover(struct loop_task *t)
{
    struct handover *h = HLY_CONTAINER_OF(t, struct handover, task);
    if (h->to->loop.is_leaving)
        close(h->fd);
    else
        give(h->door, h->to, h->fd, &h->from);
    free(h);
}

static void on_accept(void *ctx, int fd, const struct sockaddr_storage *peer)
{
    struct door *d = ctx;
    struct reactor *to = d->reactor;
    struct address from = address_of((const struct sockaddr *)peer);
    if (d->is_shared)
        to = &d->server->reactors[d->server->next_reactor++ % d->server->reactor_count];
    struct handover *h;
    if (to == d->reactor || (h = malloc(sizeof *h)) == NULL) {
        give(d, d->reactor, fd, &from);
        return;
    }
    *h = (struct handover){ .task = { .run = on_handover }, .to = to, .door = d, .from = from, .fd = fd };
    loop_post(&to->loop, &h->task);
}

static void on_accept_error(void *ctx, int error)
{
    static struct log_gate gate;
    struct door *d = ctx;
    stat_add(&d->reactor->stats.accept_errors, 1);
    log_limited(&gate, LOG_LEVEL_ERROR, "accept_failed", "clients wait: %s; raise LimitNOFILE= in the systemd unit (or ulimit -n), or lower "
                                                         "limits.connections",
                strerror(error));
}

static int open_doors(struct server *s)
{
    s->doors = calloc(s->sockets.count + 1, sizeof *s->doors);
    if (s->doors == NULL)
        return -ENOMEM;
    for (; s->door_count < s->sockets.count; s->door_count++) {
        struct server_socket *sock = &s->sockets.items[s->door_count];
        struct door *d = &s->doors[s->door_count];
        *d = (struct door){ .server = s, .reactor = &s->reactors[sock->reactor], .is_shared = sock->is_shared, .is_proxied = sock->is_proxied };
        if (sock->backend != NULL) {
            d->is_backend = true;
            d->peers = (struct backend_peers){ .uids = sock->backend->uids,
                                               .count = sock->backend->uid_count,
                                               .keys = sock->backend->keys,
                                               .is_tcp = sock->backend->path == NULL };
        }
        d->listener = listener_start(&d->reactor->loop, sock->fd, on_accept, on_accept_error, d);
        if (d->listener == NULL)
            return -ENOMEM;
        sock->fd = -1; /* the listener closes it */
    }
    return 0;
}

/* ---- start */

static int make_hub(struct server *s)
{
    const struct config *c = s->config;
    uint8_t random[16];
    char epoch[EPOCH_LEN + 1];
    if (RAND_bytes(random, sizeof random) != 1)
        return -EIO;
    hash_seed(random);
    RAND_bytes(random, sizeof random);
    cursor_make_epoch(random, epoch);
    struct hub_limits limits = {
        .topics = c->max_topics,
        .patterns = c->max_patterns,
        .history_bytes = c->max_history,
        .inbox_bytes = c->max_inbox,
        .keys = c->max_keys,
        .key_window_ms = c->idempotency_window_ms,
    };
    s->hub = hub_new(&limits, c->rules, s->reactor_count, epoch);
    s->engine = s->hub == NULL ? NULL : engine_memory_new(s->hub);
    return s->engine == NULL ? -ENOMEM : 0;
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
    s->view.users = count_table_new(&s->settings.publish);
    if (s->view.addresses == NULL || s->view.users == NULL)
        return -ENOMEM;
    pthread_mutex_init(&s->view.presence_lock, NULL);
    s->view.presence = presence_new(s->config->max_presence);
    s->view.revocations = revocations_new(s->config->max_revocations);
    if (s->view.presence == NULL || s->view.revocations == NULL)
        return -ENOMEM;
    for (; s->view.reactor_count < s->reactor_count; s->view.reactor_count++) {
        unsigned i = s->view.reactor_count;
        int r = reactor_init(&s->reactors[i], i, s->hub, s->engine, s->config->rules, &s->settings, &s->view);
        if (r < 0)
            return r;
        s->reactor_list[i] = &s->reactors[i];
    }
    return 0;
}

struct server *server_new(const struct config *config)
{
    struct server *s = calloc(1, sizeof *s);
    int r = s == NULL ? -ENOMEM : 0;
    if (s != NULL) {
        s->config = config;
        s->reactor_count = count_reactors(config);
    }
    if (r == 0 && make_jwt(s) < 0) { /* before privileges are dropped: the key may be readable to root alone */
        server_free(s);
        return NULL; /* has been logged */
    }
    if (r == 0)
        r = make_settings(s);
    if (r == 0 && sockets_open(config, s->reactor_count, &s->sockets) < 0) {
        server_free(s);
        return NULL; /* has been logged */
    }
    if (r == 0 && drop_privileges(config) < 0) {
        server_free(s);
        return NULL;
    }
    if (r == 0)
        r = make_hub(s);
    if (r == 0)
        r = make_reactors(s);
    if (r == 0)
        r = open_doors(s);
    if (r == 0)
        return s;
    log_error("start_failed", "cannot start: %s", strerror(-r));
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
    for (size_t i = 0; i < s->door_count; i++) {
        if (s->doors[i].reactor != &s->reactors[index])
            continue;
        listener_stop(s->doors[i].listener);
        s->doors[i].listener = NULL;
    }
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

static void server_leave(struct server *s)
{
    if (s->leaving)
        return;
    s->leaving = true;
    atomic_store(&s->view.draining, true);
    for (unsigned i = 1; i < s->reactor_count; i++) {
        struct leave *l = malloc(sizeof *l);
        if (l == NULL)
            _exit(1); /* no memory to say goodbye with */
        *l = (struct leave){ .task = { .run = on_leave }, .server = s, .index = i };
        loop_post(&s->reactors[i].loop, &l->task);
    }
    reactor_leave(s, 0);
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
    server_leave(s);
}

static void on_reload(struct ev_loop *ev, ev_signal *w, int events)
{
    (void)ev;
    (void)w;
    (void)events;
    log_warn("reload", "this version cannot reload its config: restart it to take up changes");
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

int server_run(struct server *s)
{
    struct loop *main_loop = &s->reactors[0].loop;
    ev_signal_init(&s->on_term, on_signal, SIGTERM);
    ev_signal_init(&s->on_int, on_signal, SIGINT);
    ev_timer_init(&s->expire, on_expire, EXPIRE_INTERVAL_S, EXPIRE_INTERVAL_S);
    ev_signal_init(&s->on_hup, on_reload, SIGHUP);
    s->on_term.data = s->on_int.data = s->expire.data = s;
    ev_signal_start(main_loop->ev, &s->on_term);
    ev_signal_start(main_loop->ev, &s->on_int);
    ev_signal_start(main_loop->ev, &s->on_hup);
    ev_timer_start(main_loop->ev, &s->expire);
    int r = start_threads(s);
    if (r < 0) {
        log_error("start_failed", "cannot start %u reactor threads: %s; lower `reactors`", s->reactor_count, strerror(-r));
        _exit(1);
    }
    log_info("ready", "version=%s pid=%ld reactors=%u epoch=%s", HALLEY_VERSION, (long)getpid(), s->reactor_count, hub_epoch(s->hub));
    loop_run(main_loop);
    for (unsigned i = 1; i < s->reactor_count; i++)
        pthread_join(s->threads[i], NULL);
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
    for (size_t i = 0; i < s->door_count; i++)
        listener_stop(s->doors[i].listener);
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
    free(s->doors);
    free(s->reactors);
    free(s->reactor_list);
    free(s->threads);
    jwt_unref(s->jwt);
    addresses_free(s->trusted_proxies);
    free(s->origins);
    free(s->echo_paths);
    free(s);
}
