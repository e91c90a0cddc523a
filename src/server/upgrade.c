#include "server/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auth/revocation.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/hub_state.h"
#include "core/presence.h"
#include "net/listener.h"
#include "proto/json_write.h"
#include "server/kick_link.h"
#include "server/link.h"
#include "server/relay.h"
#include "server/server_internal.h"
#include "server/succeed.h"
#include "server/systemd.h"
#include "transport/control.h"

#define KILL_GRACE_MS 200 /* publishes wait for it */
#define DUMP_BYTES 262144 /* then they are written */
#define END_INTERVAL_S 0.05

extern char **environ;

HLY_PRINTF(2, 3)
static int fail(struct upgrade *u, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(u->why, sizeof u->why, fmt, ap);
    va_end(ap);
    return -1;
}

/* ---- starting it */

struct spawning {
    char *command_line; /* of this process, as it was given */
    char **argv;
    char **environment;
    char link[32];
    struct buf sockets;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
};

static int read_command_line(struct spawning *sp)
{
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    HLY_CLEANUP(fd_closep) int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    size_t argc = 0, n = 0;
    for (ssize_t got = 1; fd >= 0 && got > 0;) {
        uint8_t *room = buf_reserve(&text, 4096);
        got = room == NULL ? -1 : read(fd, room, 4095);
        text.len += got > 0 ? (size_t)got : 0;
    }
    if (text.len == 0)
        return -ENOENT;
    text.data[text.len] = '\0';
    for (size_t i = 0; i < text.len; i++)
        argc += text.data[i] == '\0';
    sp->argv = calloc(argc + 2, sizeof *sp->argv);
    if (sp->argv == NULL)
        return -ENOMEM;
    sp->command_line = (char *)text.data;
    for (char *at = sp->command_line; at < sp->command_line + text.len; at += strlen(at) + 1)
        sp->argv[n++] = at;
    text = (struct buf){ 0 };
    return 0;
}

/* The program as it is installed by now: a new file at the old path, or what a link points to now. */
static void find_program(const struct spawning *sp, char out[4096])
{
    static const char deleted[] = " (deleted)";
    if (strchr(sp->argv[0], '/') != NULL) {
        snprintf(out, 4096, "%s", sp->argv[0]);
        return;
    }
    ssize_t n = readlink("/proc/self/exe", out, 4095);
    out[n > 0 ? n : 0] = '\0';
    size_t len = strlen(out);
    if (len > sizeof deleted - 1 && strcmp(out + len - (sizeof deleted - 1), deleted) == 0)
        out[len - (sizeof deleted - 1)] = '\0';
}

/* Variables of ours that name descriptors; the caller frees the list, and the one string that was made. */
static char **make_environment(const char *link, const char *sockets)
{
    size_t n = 0;
    while (environ[n] != NULL)
        n++;
    char **list = calloc(n + 3, sizeof *list);
    if (list == NULL)
        return NULL;
    memcpy(list, environ, n * sizeof *list);
    list[n] = (char *)(uintptr_t)link;
    list[n + 1] = (char *)(uintptr_t)sockets;
    return list;
}

/* The same number there as here, open across exec. */
static int pass_on(struct spawning *sp, int fd)
{
    return -posix_spawn_file_actions_adddup2(&sp->actions, fd, fd);
}

static int pass_listeners(struct spawning *sp, struct server *s)
{
    int r = buf_str(&sp->sockets, SUCCEED_SOCKETS "=");
    LIST_EACH (it, &s->doors) {
        if (r < 0)
            break;
        struct door *d = LIST_ENTRY(it, struct door, node);
        int fd = listener_fd(d->listener);
        r = pass_on(sp, fd);
        if (r == 0)
            r = buf_printf(&sp->sockets, "%d%s,", fd, d->is_held ? "h" : "");
    }
    return r == 0 ? buf_append(&sp->sockets, "", 1) : r;
}

static int spawn(struct upgrade *u, struct spawning *sp, int link)
{
    char program[4096];
    sigset_t none, defaults;
    sigemptyset(&none);
    sigfillset(&defaults);
    snprintf(sp->link, sizeof sp->link, SUCCEED_LINK "=%d", link);
    int r = read_command_line(sp);
    if (r == 0)
        r = pass_listeners(sp, u->server);
    if (r == 0)
        r = pass_on(sp, link);
    if (r == 0 && (sp->environment = make_environment(sp->link, (char *)sp->sockets.data)) == NULL)
        r = -ENOMEM;
    if (r < 0)
        return r;
    posix_spawnattr_setsigmask(&sp->attributes, &none);
    posix_spawnattr_setsigdefault(&sp->attributes, &defaults);
    posix_spawnattr_setflags(&sp->attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    find_program(sp, program);
    log_info("upgrade", "starting the successor: %s", program);
    return -posix_spawn(&u->pid, program, &sp->actions, &sp->attributes, sp->argv, sp->environment);
}

static int start_successor(struct upgrade *u)
{
    int ends[2];
    struct spawning sp = { 0 };
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return -errno;
    posix_spawn_file_actions_init(&sp.actions);
    posix_spawnattr_init(&sp.attributes);
    int r = spawn(u, &sp, ends[1]);
    posix_spawn_file_actions_destroy(&sp.actions);
    posix_spawnattr_destroy(&sp.attributes);
    buf_done(&sp.sockets);
    free(sp.environment);
    free(sp.argv);
    free(sp.command_line);
    close(ends[1]);
    if (r < 0)
        close(ends[0]);
    else
        u->fd = ends[0];
    return r;
}

/* ---- all reactors do something, and the thread waits for it */

struct part {
    struct loop_task task;
    struct upgrade *upgrade;
    struct reactor *reactor;
    struct engine *engine;
};

static void on_part(struct loop_task *t)
{
    struct part *p = HLY_CONTAINER_OF(t, struct part, task);
    p->reactor->engine = p->engine;
    if (p->engine == p->upgrade->server->engine)
        relay_give_back(p->upgrade->relay, p->reactor->index);
    sem_post(&p->upgrade->turned);
    free(p);
}

/* Each reactor publishes through this engine from now on. Any thread. */
static int set_engine(struct upgrade *u, struct engine *engine)
{
    struct server *s = u->server;
    for (unsigned i = 0; i < s->reactor_count; i++) {
        struct part *p = malloc(sizeof *p);
        if (p == NULL)
            return -ENOMEM;
        *p = (struct part){ .task = { .run = on_part }, .upgrade = u, .reactor = &s->reactors[i], .engine = engine };
        list_init(&p->task.node);
        if (!loop_post(&s->reactors[i].loop, &p->task))
            on_part(&p->task);
    }
    return 0;
}

static int wait_for_reactors(struct upgrade *u)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(u->timeout_ms / 1000) + 1;
    for (unsigned i = 0; i < u->server->reactor_count; i++)
        while (sem_timedwait(&u->turned, &until) < 0)
            if (errno != EINTR)
                return -errno;
    return 0;
}

/* ---- the conversation, on the thread */

static int not_said(struct upgrade *u, int r, const struct hub_record *record, const char *what)
{
    if (r == 1 && record->type == LINK_FAILED)
        return fail(u, "the successor says: %.*s", (int)(record->payload.len < 400 ? record->payload.len : 400), record->payload.ptr);
    if (r == 0 || r == -EPIPE)
        return fail(u, "the successor ended before it had %s; what it logged says why", what);
    if (r == -ETIMEDOUT)
        return fail(u, "the successor has not %s within upgrade_timeout (%" PRIu64 " ms)", what, u->timeout_ms);
    return fail(u, "the successor has not %s: %s", what, r < 0 ? strerror(-r) : "it said something else");
}

static int expect(struct upgrade *u, struct link_reader *reader, enum link_type type, const char *what, struct hub_record *ret)
{
    int r = link_read(reader, clock_mono_ms() + u->timeout_ms, ret);
    return r == 1 && ret->type == type ? 0 : not_said(u, r, ret, what);
}

static int hear_hello(struct upgrade *u, struct link_reader *reader)
{
    struct hub_record record;
    if (expect(u, reader, LINK_HELLO, "read its config and opened its listeners", &record) < 0)
        return -1;
    snprintf(u->version, sizeof u->version, "%.*s", (int)record.payload.len, record.payload.ptr);
    if (record.number != LINK_VERSION)
        return fail(u, "the successor, version %s, hands over in another way than this version, " HALLEY_VERSION ": restart instead", u->version);
    struct slice ours = succeed_journal_name(u->server->start->config);
    if (record.topic.len != ours.len || memcmp(record.topic.ptr, ours.ptr, ours.len) != 0)
        return fail(u, "journal.path is another now, and what is in the old one would be left behind: restart instead");
    return 0;
}

static int hold_publishes(struct upgrade *u)
{
    u->held_ms = clock_mono_ms();
    if (set_engine(u, relay_engine(u->relay)) < 0)
        return fail(u, "memory has run out");
    if (wait_for_reactors(u) < 0)
        return fail(u, "a reactor made no turn");
    struct engine *e = u->server->engine;
    if (e->settle != NULL)
        e->settle(e, u->timeout_ms);
    if (e->suspend == NULL)
        return 0;
    u->is_suspended = true;
    int r = e->suspend(e);
    return r < 0 ? fail(u, "the journal could not be brought to an end: %s", strerror(-r)) : 0;
}

struct telling {
    struct buf out;
    uint64_t now_ms;
};

static void tell_revocation(enum revocation_kind kind, struct slice name, uint64_t until_ms, uint64_t since_ms, void *ctx)
{
    struct telling *t = ctx;
    hub_record_encode(&t->out, LINK_SALT,
                      &(struct hub_record){ .type = LINK_REVOKED, .kind = (uint8_t)kind, .key = name, .time_ms = since_ms, .number = until_ms });
}

static void tell_member(struct slice topic, const struct presence_member *who, void *ctx)
{
    struct telling *t = ctx;
    hub_record_encode(&t->out, LINK_SALT, &(struct hub_record){ .type = LINK_MEMBER, .kind = who->is_anonymous, .topic = topic, .key = who->user, .payload = who->info });
}

static int write_out(struct upgrade *u, struct telling *t, uint64_t deadline_ms)
{
    struct hub_record nothing = { 0 };
    int r = t->out.failed ? -ENOMEM : link_write(u->fd, t->out.data, t->out.len, deadline_ms);
    buf_reset(&t->out);
    return r == 0 ? 0 : not_said(u, r, &nothing, "taken the state");
}

static int tell_state(struct upgrade *u, struct telling *t, uint64_t deadline_ms)
{
    struct server *s = u->server;
    struct hub_dump dump;
    uint64_t cursor = 0;
    int r = 0;
    hub_dump_begin(&dump, LINK_SALT);
    hub_record_encode(&t->out, LINK_SALT, &(struct hub_record){ .type = LINK_HELD });
    for (bool more = !u->is_suspended; more && r == 0;) { /* else the journal tells it */
        more = hub_dump(s->hub, &dump, &t->out);
        if (t->out.len >= DUMP_BYTES || !more)
            r = write_out(u, t, deadline_ms);
    }
    revocations_each(s->view.revocations, clock_wall_ms(), tell_revocation, t);
    for (bool more = true; more && r == 0;) {
        more = presence_walk(s->view.presence, &cursor, tell_member, t);
        r = write_out(u, t, deadline_ms);
    }
    hub_record_encode(&t->out, LINK_SALT, &(struct hub_record){ .type = LINK_STATE_END, .number = hub_head(s->hub), .key = { hub_epoch(s->hub), EPOCH_LEN } });
    return r < 0 ? r : write_out(u, t, deadline_ms);
}

static int hand_over(struct upgrade *u, struct link_reader *reader)
{
    struct telling t = { 0 };
    struct hub_record record;
    int r = tell_state(u, &t, clock_mono_ms() + u->timeout_ms);
    buf_done(&t.out);
    if (r == 0)
        r = expect(u, reader, LINK_TAKEN, "taken the state", &record);
    if (r < 0)
        return r;
    atomic_store(&u->is_committed, true);
    systemd_notify("MAINPID=%ld", (long)u->pid); /* before it can say that it is ready: systemd listens to the main process alone */
    if (link_say(u->fd, &(struct hub_record){ .type = LINK_GO }, clock_mono_ms() + u->timeout_ms) == 0)
        return 0;
    atomic_store(&u->is_committed, false);
    systemd_notify("MAINPID=%ld", (long)getpid());
    return fail(u, "the successor ended before it took over; what it logged says why");
}

/* ---- who asked for it */

static struct control_order *take_order(struct upgrade *u)
{
    struct control_order *o = u->order;
    u->order = NULL;
    return o;
}

static void refuse_order(struct control_order *o, const char *why) /* NULL is accepted */
{
    if (o == NULL)
        return;
    o->is_refused = true;
    buf_str(&o->answer, why);
    o->finish(o);
}

/* ---- it failed: back, as if nothing had been */

static void end_successor(struct upgrade *u)
{
    int status;
    if (u->pid <= 0)
        return;
    close(u->fd);
    u->fd = -1;
    for (uint64_t until = clock_mono_ms() + KILL_GRACE_MS; waitpid(u->pid, &status, WNOHANG) == 0;) {
        if (clock_mono_ms() >= until)
            kill(u->pid, SIGKILL);
        usleep(10000);
    }
}

static void on_failed(struct loop_task *t)
{
    struct upgrade *u = HLY_CONTAINER_OF(t, struct upgrade, task);
    pthread_join(u->thread, NULL);
    u->state = UPGRADE_IDLE;
    log_error("upgrade_failed", "%s: this process goes on", u->why);
    refuse_order(take_order(u), u->why);
}

static void take_back(struct upgrade *u)
{
    struct engine *e = u->server->engine;
    int r;
    end_successor(u); /* first: it may have the journal */
    if (u->is_suspended && (r = e->resume(e)) < 0)
        log_error("journal_failed", "it could not be taken back: %s; publishes are refused: restart the server", strerror(-r));
    if (u->held_ms != 0) {
        set_engine(u, u->server->engine);
        wait_for_reactors(u);
    }
}

/* ---- it has taken over: follow it */

static void on_wake(void *ctx)
{
    struct upgrade *u = ctx;
    loop_wake(&u->server->reactors[0].loop);
}

static void follow(struct upgrade *u, const struct hub_record *record)
{
    static struct log_gate gate;
    uint64_t wall_ms = clock_wall_ms();
    struct message *m = link_to_message(record);
    if (m == NULL) {
        log_limited(&gate, LOG_LEVEL_WARN, "upgrade", "memory has run out: a message of the successor does not reach the clients that are still here");
        return;
    }
    m->seq = record->seq;
    m->born_ms = clock_mono_ms() - (wall_ms > m->time_ms ? wall_ms - m->time_ms : 0);
    hub_follow(u->server->hub, m, 0);
    message_unref(m);
}

static void on_serving(struct upgrade *u)
{
    struct control_order *order = take_order(u);
    uint64_t now = clock_mono_ms();
    u->is_serving = true;
    log_info("upgrade", "the successor serves: pid=%ld version=%s took_ms=%" PRIu64 " held_ms=%" PRIu64 "; this process follows it until its clients have gone",
             (long)u->pid, u->version, now - u->began_ms, now - u->held_ms);
    if (order != NULL) {
        buf_printf(&order->answer, "{\"pid\":%ld,\"version\":", (long)u->pid);
        json_buf_string(&order->answer, (struct slice){ u->version, strlen(u->version) });
        buf_printf(&order->answer, ",\"took_ms\":%" PRIu64 ",\"held_ms\":%" PRIu64 "}", now - u->began_ms, now - u->held_ms);
        order->finish(order);
    }
    server_hand_over(u->server);
}

static void end_following(struct upgrade *u)
{
    u->state = UPGRADE_ALONE;
    relay_lost(u->relay);
    server_hand_over(u->server);
    drain_hasten(&u->server->drain); /* there is nobody to follow, and somebody to come back to, or soon */
}

static void on_lost(void *ctx, const char *why)
{
    struct upgrade *u = ctx;
    if (!u->is_serving)
        refuse_order(take_order(u), "the successor ended right after it had taken over");
    log_error("upgrade_failed", "the successor has gone: %s; who is still connected here is sent away", why);
    end_following(u);
}

static void on_bye(struct upgrade *u)
{
    log_info("upgrade", "the successor stops: who is still connected here is sent away");
    pump_close(&u->pump);
    end_following(u);
}

static void on_record(void *ctx, const struct hub_record *record)
{
    struct upgrade *u = ctx;
    if (record->type == LINK_MESSAGE)
        follow(u, record);
    else if (record->type == LINK_RECEIPT)
        relay_receipt(u->relay, record);
    else if (record->type == LINK_SERVING)
        on_serving(u);
    else if (record->type == LINK_BYE)
        on_bye(u);
    else if (record->type == LINK_KICK)
        kick_link_take(u->server, record);
}

static void before_write(void *ctx)
{
    struct upgrade *u = ctx;
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    relay_take_out(u->relay, &out);
    buf_append(&u->pump.out, out.data, out.len);
}

/* Reactor 0 stays until the last client of any reactor has gone: it is the one that follows. */
static void on_end_timer(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev;
    (void)events;
    struct upgrade *u = w->data;
    struct server *s = u->server;
    for (unsigned i = 1; i < s->reactor_count; i++)
        if (!loop_has_ended(&s->reactors[i].loop))
            return;
    if (list_is_empty(&s->reactors[0].loop.conns) && relay_waiting(u->relay) == 0) /* what their end made known has arrived there */
        s->reactors[0].loop.is_kept = false;
}

static void on_committed(struct loop_task *t)
{
    struct upgrade *u = HLY_CONTAINER_OF(t, struct upgrade, task);
    struct server *s = u->server;
    pthread_join(u->thread, NULL);
    u->state = UPGRADE_FOLLOWING;
    u->pump = (struct pump){ .ctx = u, .on_record = on_record, .before_write = before_write, .on_lost = on_lost };
    s->reactors[0].loop.is_kept = true;
    pump_open(&u->pump, &s->reactors[0].loop, u->fd);
    u->fd = -1;
    kick_link_begin(s, &u->pump);
    relay_go(u->relay, on_wake, u);
    ev_timer_init(&u->end, on_end_timer, END_INTERVAL_S, END_INTERVAL_S);
    u->end.data = u;
    ev_timer_start(s->reactors[0].loop.ev, &u->end);
}

/* ---- the thread */

static void *upgrade_main(void *arg)
{
    struct upgrade *u = arg;
    struct link_reader reader = { .fd = u->fd };
    int r = hear_hello(u, &reader);
    if (r == 0)
        r = hold_publishes(u);
    if (r == 0)
        r = hand_over(u, &reader);
    buf_done(&reader.in); /* it says nothing before it has heard the word */
    if (r < 0)
        take_back(u);
    u->task.run = r < 0 ? on_failed : on_committed;
    loop_post(&u->server->reactors[0].loop, &u->task);
    return NULL;
}

static const char *begin(struct upgrade *u)
{
    sigset_t all, before;
    int r = start_successor(u);
    if (r < 0) {
        fail(u, "the successor could not be started: %s", strerror(-r));
        return u->why;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    r = pthread_create(&u->thread, NULL, upgrade_main, u);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0) {
        pthread_setname_np(u->thread, "upgrade");
        return NULL;
    }
    end_successor(u);
    fail(u, "no thread could be started: %s", strerror(r));
    return u->why;
}

static const char *begin_checked(struct upgrade *u, struct server *s, struct control_order *order)
{
    if (u->state == UPGRADE_TRYING)
        return "an upgrade is under way already";
    if (s->leaving || u->state != UPGRADE_IDLE)
        return "this server is on its way out";
    if (s->reload.is_on)
        return "a reload is under way: try again in a moment";
    if (getpid() == 1)
        return "this is process 1, and whatever it runs in, a container perhaps, would end with it: replace that instead";
    relay_free(u->relay); /* of an upgrade that failed; no reactor has it any more */
    *u = (struct upgrade){ .server = s, .fd = -1, .began_ms = clock_mono_ms(), .timeout_ms = s->live->config->upgrade_timeout_ms };
    list_init(&u->task.node);
    sem_init(&u->turned, 0, 0);
    u->relay = relay_new(s->engine, s->reactor_list, s->reactor_count);
    if (u->relay == NULL)
        return "memory has run out";
    const char *why = begin(u);
    if (why != NULL)
        return why;
    u->order = order;
    u->state = UPGRADE_TRYING;
    return NULL;
}

void upgrade_ask(struct upgrade *u, struct server *s, struct control_order *order)
{
    const char *why = begin_checked(u, s, order);
    if (why == NULL)
        return;
    log_error("upgrade_failed", "%s: this process goes on", why);
    refuse_order(order, why);
}

bool upgrade_is_over(const struct upgrade *u)
{
    return u->state == UPGRADE_FOLLOWING || u->state == UPGRADE_ALONE;
}

void upgrade_cancel(struct upgrade *u)
{
    if (u->state == UPGRADE_TRYING && !atomic_load(&u->is_committed))
        kill(u->pid, SIGKILL); /* the conversation ends with it */
}

void upgrade_done(struct upgrade *u)
{
    if (u->relay == NULL)
        return;
    if (u->state == UPGRADE_TRYING) /* nobody was there any more to hear how it ended */
        pthread_join(u->thread, NULL);
    refuse_order(take_order(u), "the server has stopped");
    if (u->state != UPGRADE_IDLE) {
        relay_lost(u->relay);
        pump_close(&u->pump);
    }
    relay_free(u->relay);
}
