#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "net/loop.h"
#include "support.h"

static char dir[64];
static char path[100];

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/test_listener_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/backend.sock", dir);
}

static void teardown(void)
{
    unlink(path);
    rmdir(dir);
}

/* ---- Unix sockets */

static mode_t mode_at_bind; /* what everybody sees from the moment that the file is there */

/* Instead of libc's. NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): its are reserved names */
int bind(int fd, const struct sockaddr *sa, socklen_t len)
{
    int r = (int)syscall(SYS_bind, fd, sa, len);
    struct stat st;
    if (r == 0 && sa->sa_family == AF_UNIX && lstat(path, &st) == 0)
        mode_at_bind = st.st_mode & 07777;
    return r;
}

static int open_unix(int *ret_fd)
{
    return listener_open_unix(path, 0660, (uid_t)-1, (gid_t)-1, ret_fd);
}

static int connect_unix(int type)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
    if (connect(fd, (struct sockaddr *)&un, sizeof un) == 0)
        return fd;
    int r = -errno;
    close(fd);
    return r;
}

static int raw_unix(int type, int backlog) /* a socket of somebody else; backlog < 0: it does not listen */
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
    int fd = socket(AF_UNIX, type, 0);
    HOLDS(bind(fd, (struct sockaddr *)&un, sizeof un) == 0);
    HOLDS(backlog < 0 || listen(fd, backlog) == 0);
    return fd;
}

static ino_t inode(void)
{
    struct stat st;
    return lstat(path, &st) == 0 ? st.st_ino : 0;
}

START_TEST(a_unix_listener_takes_connections)
{
    int fd = -1;
    ck_assert_int_eq(open_unix(&fd), 0);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    int client = connect_unix(SOCK_STREAM);
    ck_assert_int_ge(client, 0);
    int server = accept(fd, NULL, NULL);
    ck_assert_int_ge(server, 0);
    close(client);
    close(server);
    close(fd);
}
END_TEST

START_TEST(a_stale_socket_is_replaced)
{
    static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
    close(raw_unix(types[_i], -1));
    ck_assert(inode() != 0);
    int fd = -1;
    ck_assert_int_eq(open_unix(&fd), 0);
    int client = connect_unix(SOCK_STREAM);
    ck_assert_int_ge(client, 0);
    close(client);
    close(fd);
}
END_TEST

static const struct {
    const char *name;
    int type;
    int backlog;
} living[] = {
    { "a server", SOCK_STREAM, 5 },
    { "a datagram socket, as systemd's notify socket is", SOCK_DGRAM, -1 },
    { "a seqpacket server", SOCK_SEQPACKET, 5 },
};

START_TEST(a_living_socket_is_left_alone)
{
    int other = raw_unix(living[_i].type, living[_i].backlog), fd = 77;
    ino_t before = inode();
    int r = open_unix(&fd);
    ck_assert_msg(r == -EADDRINUSE, "%s: got %d", living[_i].name, r);
    ck_assert_int_eq(fd, 77);
    ck_assert_uint_eq(inode(), before);
    close(other);
}
END_TEST

START_TEST(a_server_that_is_too_busy_to_answer_lives)
{
    int other = raw_unix(SOCK_STREAM, 0), clients[64], n = 0, fd, r;
    while ((r = connect_unix(SOCK_STREAM)) >= 0 && n < 63)
        clients[n++] = r;
    ck_assert_int_eq(r, -EAGAIN);
    ck_assert_int_eq(open_unix(&fd), -EADDRINUSE);
    ck_assert(inode() != 0);
    while (n > 0)
        close(clients[--n]);
    close(other);
}
END_TEST

START_TEST(our_own_listener_lives_as_well)
{
    int fd = -1, again = -1;
    ck_assert_int_eq(open_unix(&fd), 0);
    ck_assert_int_eq(open_unix(&again), -EADDRINUSE);
    int client = connect_unix(SOCK_STREAM);
    ck_assert_int_ge(client, 0);
    close(client);
    close(fd);
    ck_assert_int_eq(open_unix(&again), 0); /* closed, with its file left behind: stale */
    close(again);
}
END_TEST

START_TEST(a_file_that_is_no_socket_is_left_alone)
{
    static const char *const kinds[] = { "file", "directory", "link to nothing", "link to a socket" };
    int fd = -1, other = -1;
    char target[160];
    snprintf(target, sizeof target, "%s.real", path);
    switch (_i) {
    case 0:
        close(open(path, O_CREAT | O_WRONLY, 0600));
        break;
    case 1:
        mkdir(path, 0700);
        break;
    case 2:
        HOLDS(symlink("/nowhere/at/all", path) == 0);
        break;
    default:
        close(raw_unix(SOCK_STREAM, -1));
        HOLDS(rename(path, target) == 0 && symlink(target, path) == 0);
        break;
    }
    int r = open_unix(&fd);
    ck_assert_msg(r == -EEXIST, "%s: got %d", kinds[_i], r);
    ck_assert(inode() != 0);
    fd_closep(&other);
    unlink(target);
    rmdir(path);
}
END_TEST

static const mode_t modes[] = { 0600, 0660, 0666, 0777, 0 };

START_TEST(the_file_has_its_mode_and_never_a_wider_one)
{
    static const mode_t masks[] = { 0, 022, 077, 0777 };
    for (size_t i = 0; i < HLY_ARRAY_LEN(masks); i++) {
        struct stat st;
        int fd = -1;
        umask(masks[i]);
        mode_at_bind = 07777;
        ck_assert_int_eq(listener_open_unix(path, modes[_i], (uid_t)-1, (gid_t)-1, &fd), 0);
        ck_assert_msg((mode_at_bind & ~modes[_i]) == 0, "mode %o while it opens", (unsigned)mode_at_bind);
        ck_assert_int_eq(lstat(path, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, modes[_i]);
        ck_assert_uint_eq(umask(masks[i]), masks[i]); /* the process's is as it was */
        close(fd);
    }
}
END_TEST

START_TEST(the_file_gets_its_owner_and_group)
{
    struct stat st;
    int fd = -1;
    uid_t owner = getuid() == 0 ? 12345 : getuid(); /* only root can give files away */
    gid_t group = getuid() == 0 ? 23456 : getgid();
    ck_assert_int_eq(listener_open_unix(path, 0640, owner, group, &fd), 0);
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert_uint_eq(st.st_uid, owner);
    ck_assert_uint_eq(st.st_gid, group);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    close(fd);
    if (getuid() != 0) {
        ck_assert_int_eq(listener_open_unix(path, 0640, 0, (gid_t)-1, &fd), -EPERM);
        ck_assert(inode() == 0); /* what cannot be as asked is not left lying */
    }
}
END_TEST

START_TEST(a_path_may_be_as_long_as_the_system_allows)
{
    struct sockaddr_un un;
    size_t len = strlen(path);
    int fd = 77;
    char longest[sizeof un.sun_path + 1];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, path, len);
    longest[sizeof un.sun_path] = '\0'; /* 108 bytes and a NUL */
    ck_assert_int_eq(listener_open_unix(longest, 0600, (uid_t)-1, (gid_t)-1, &fd), -ENAMETOOLONG);
    ck_assert_int_eq(fd, 77);
    longest[sizeof un.sun_path - 1] = '\0';
    ck_assert_int_eq(listener_open_unix(longest, 0600, (uid_t)-1, (gid_t)-1, &fd), 0);
    close(fd);
    unlink(longest);
}
END_TEST

START_TEST(a_path_that_cannot_be_is_refused)
{
    char missing[200];
    int fd = 77;
    ck_assert_int_eq(listener_open_unix("", 0600, (uid_t)-1, (gid_t)-1, &fd), -ENOENT);
    snprintf(missing, sizeof missing, "%s/no/such/dir.sock", dir);
    ck_assert_int_eq(listener_open_unix(missing, 0600, (uid_t)-1, (gid_t)-1, &fd), -ENOENT);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    snprintf(missing, sizeof missing, "%s/below-a-file", path);
    ck_assert_int_eq(listener_open_unix(missing, 0600, (uid_t)-1, (gid_t)-1, &fd), -ENOTDIR);
    ck_assert_int_eq(fd, 77);
}
END_TEST

/* ---- TCP */

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in sin = { 0 };
    socklen_t len = sizeof sin;
    HOLDS(getsockname(fd, (struct sockaddr *)&sin, &len) == 0);
    return sin.sin_port;
}

static int open_tcp(uint16_t port, bool reuse_port, int *ret_fd)
{
    struct sockaddr_in sin = loopback(port);
    return listener_open_tcp((struct sockaddr *)&sin, sizeof sin, reuse_port, ret_fd);
}

static int probe(uint32_t address, uint16_t port)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(address) };
    return listener_probe_tcp((struct sockaddr *)&sin, sizeof sin);
}

static int connect_tcp(uint16_t port)
{
    struct sockaddr_in sin = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    HOLDS(connect(fd, (struct sockaddr *)&sin, sizeof sin) == 0);
    return fd;
}

START_TEST(a_probe_finds_out_whether_somebody_listens)
{
    int fd = -1;
    ck_assert_int_eq(open_tcp(0, _i == 1, &fd),
                     0); /* with SO_REUSEPORT, a second server could share it without a word */
    uint16_t port = port_of(fd);
    ck_assert_int_eq(probe(INADDR_LOOPBACK, port), -EADDRINUSE);
    ck_assert_int_eq(probe(INADDR_ANY, port), -EADDRINUSE);
    ck_assert_int_eq(probe(INADDR_LOOPBACK, port), -EADDRINUSE);
    close(fd);
    ck_assert_int_eq(probe(INADDR_LOOPBACK, port), 0);
    ck_assert_int_eq(probe(INADDR_ANY, port), 0);
    ck_assert_int_eq(probe(INADDR_LOOPBACK, 0), 0);
}
END_TEST

START_TEST(a_probe_is_not_deceived_by_connections_that_have_ended)
{
    int fd = -1;
    ck_assert_int_eq(open_tcp(0, false, &fd), 0);
    uint16_t port = port_of(fd);
    int client = connect_tcp(port), server = accept(fd, NULL, NULL);
    close(server); /* we close first: TIME_WAIT is ours */
    close(client);
    close(fd);
    ck_assert_int_eq(probe(INADDR_LOOPBACK, port), 0);
    ck_assert_int_eq(open_tcp(port, false, &fd), 0);
    close(fd);
}
END_TEST

START_TEST(listeners_that_reuse_the_port_share_it_and_no_others)
{
    int a = -1, b = -1, c = 77;
    ck_assert_int_eq(open_tcp(0, true, &a), 0);
    ck_assert_int_eq(open_tcp(port_of(a), true, &b), 0);
    ck_assert_uint_eq(port_of(a), port_of(b));
    ck_assert_int_eq(open_tcp(port_of(a), false, &c), -EADDRINUSE);
    ck_assert_int_eq(c, 77);
    close(a);
    close(b);
}
END_TEST

START_TEST(an_address_that_is_not_ours_is_refused)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201) }; /* RFC 5737: 192.0.2.1 */
    int fd = 77;
    ck_assert_int_eq(listener_open_tcp((struct sockaddr *)&sin, sizeof sin, false, &fd), -EADDRNOTAVAIL);
    ck_assert_int_eq(listener_probe_tcp((struct sockaddr *)&sin, sizeof sin), -EADDRNOTAVAIL);
    ck_assert_int_eq(fd, 77);
}
END_TEST

static int int_option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    HOLDS(getsockopt(fd, level, name, &value, &len) == 0);
    return value;
}

START_TEST(what_is_accepted_sends_at_once_and_keeps_little_in_the_kernel)
{
    int fd = -1;
    ck_assert_int_eq(open_tcp(0, false, &fd), 0);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    int client = connect_tcp(port_of(fd)), server = accept(fd, NULL, NULL);
    ck_assert_int_ge(server, 0);
    ck_assert_int_ne(int_option(server, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_gt(int_option(server, IPPROTO_TCP, TCP_NOTSENT_LOWAT),
                     0); /* which is the system's, and without a bound */
    ck_assert_int_le(int_option(server, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 65536);
    ck_assert_int_gt(int_option(server, IPPROTO_TCP, TCP_USER_TIMEOUT), 0); /* a peer that vanished is noticed */
    close(server);
    close(client);
    close(fd);
}
END_TEST

START_TEST(ipv6_and_ipv4_are_two_listeners)
{
    struct sockaddr_in6 any6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
    int six = -1, four = -1;
    int r = listener_open_tcp((struct sockaddr *)&any6, sizeof any6, false, &six);
    if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)
        return; /* a kernel without IPv6 */
    ck_assert_int_eq(r, 0);
    struct sockaddr_in any4 = { .sin_family = AF_INET, .sin_port = port_of(six) };
    ck_assert_int_eq(listener_open_tcp((struct sockaddr *)&any4, sizeof any4, false, &four), 0);
    close(six);
    close(four);
}
END_TEST

/* ---- accepting */

static struct loop loop;
static int accepted[256];
static unsigned accept_count, error_count;
static int last_error;

static void on_accept(void *ctx, int fd, const struct sockaddr_storage *peer)
{
    HOLDS(ctx == &loop && accept_count < 256);
    HOLDS(peer->ss_family == AF_INET);
    HOLDS((fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
    accepted[accept_count++] = fd;
}

static void on_error(void *ctx, int error)
{
    HOLDS(ctx == &loop);
    error_count++;
    last_error = error;
}

static unsigned turned_away;
static int kept = -1; /* one that was not closed at once, as it should be */
static bool keeps;

static void on_no_files(void *ctx, int fd)
{
    HOLDS(ctx == &loop);
    turned_away++;
    if (keeps)
        kept = fd;
    else
        close(fd);
}

static const struct listener_ops ops = { .on_accept = on_accept, .on_no_files = on_no_files, .on_error = on_error };

static void turn(unsigned ms) /* let the loop run for about so long */
{
    struct timespec pause = { 0, 2000000 };
    for (unsigned n = 0; n <= ms / 2; n++) {
        ev_run(loop.ev, EVRUN_NOWAIT);
        nanosleep(&pause, NULL);
    }
}

START_TEST(a_listener_accepts_until_it_is_stopped)
{
    int fd = -1, clients[100];
    ck_assert_int_eq(loop_init(&loop), 0);
    ck_assert_int_eq(open_tcp(0, false, &fd), 0);
    uint16_t port = port_of(fd);
    struct listener *ls = listener_start(&loop, fd, &ops, &loop);
    for (int i = 0; i < 100; i++)
        clients[i] = connect_tcp(port);
    ev_run(loop.ev, EVRUN_NOWAIT);
    ck_assert_uint_le(accept_count, 64); /* bounded bites */
    turn(20);
    ck_assert_uint_eq(accept_count, 100);
    ck_assert_uint_eq(error_count, 0);
    listener_stop(ls);
    listener_stop(NULL);
    ck_assert_int_eq(probe(INADDR_LOOPBACK, port), 0);
    for (int i = 0; i < 100; i++) {
        close(clients[i]);
        close(accepted[i]);
    }
    loop_done(&loop);
}
END_TEST

START_TEST(out_of_descriptors_clients_are_turned_away_at_once)
{
    int fd = -1, clients[3];
    struct rlimit few, enough;
    ck_assert_int_eq(loop_init(&loop), 0);
    ck_assert_int_eq(open_tcp(0, false, &fd), 0);
    struct listener *ls = listener_start(&loop, fd, &ops, &loop);
    for (int i = 0; i < 3; i++)
        clients[i] = connect_tcp(port_of(fd));
    getrlimit(RLIMIT_NOFILE, &enough);
    few = (struct rlimit){ (rlim_t)clients[2] + 1, enough.rlim_max };
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    turn(20);
    ck_assert_uint_eq(turned_away, 3);
    ck_assert_uint_eq(accept_count, 0);
    ck_assert_uint_eq(error_count, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &enough), 0);
    int late = connect_tcp(port_of(fd));
    turn(20);
    ck_assert_uint_eq(accept_count, 1); /* and it goes on without a rest */
    listener_stop(ls);
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    close(late);
    close(accepted[0]);
    loop_done(&loop);
}
END_TEST

START_TEST(out_of_descriptors_and_reserve_it_says_so_rests_and_goes_on)
{
    int fd = -1;
    struct rlimit few, enough;
    ck_assert_int_eq(loop_init(&loop), 0);
    ck_assert_int_eq(open_tcp(0, false, &fd), 0);
    struct listener *ls = listener_start(&loop, fd, &ops, &loop);
    keeps = true;
    int first = connect_tcp(port_of(fd)), client = connect_tcp(port_of(fd));
    getrlimit(RLIMIT_NOFILE, &enough);
    few = (struct rlimit){ (rlim_t)client + 1, enough.rlim_max };
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    turn(40);
    ck_assert_uint_eq(turned_away, 1);
    ck_assert_uint_eq(error_count, 1); /* not once per turn */
    ck_assert_int_eq(last_error, EMFILE);
    ck_assert_uint_eq(accept_count, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &enough), 0);
    for (int n = 0; n < 100 && accept_count == 0; n++)
        turn(10);
    ck_assert_uint_eq(accept_count, 1);
    listener_stop(ls);
    close(first);
    close(client);
    close(kept);
    close(accepted[0]);
    loop_done(&loop);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("listener");
    TCase *t = tcase_create("listener");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_unix_listener_takes_connections);
    tcase_add_loop_test(t, a_stale_socket_is_replaced, 0, 3);
    tcase_add_loop_test(t, a_living_socket_is_left_alone, 0, HLY_ARRAY_LEN(living));
    tcase_add_test(t, a_server_that_is_too_busy_to_answer_lives);
    tcase_add_test(t, our_own_listener_lives_as_well);
    tcase_add_loop_test(t, a_file_that_is_no_socket_is_left_alone, 0, 4);
    tcase_add_loop_test(t, the_file_has_its_mode_and_never_a_wider_one, 0, HLY_ARRAY_LEN(modes));
    tcase_add_test(t, the_file_gets_its_owner_and_group);
    tcase_add_test(t, a_path_may_be_as_long_as_the_system_allows);
    tcase_add_test(t, a_path_that_cannot_be_is_refused);
    tcase_add_loop_test(t, a_probe_finds_out_whether_somebody_listens, 0, 2);
    tcase_add_test(t, a_probe_is_not_deceived_by_connections_that_have_ended);
    tcase_add_test(t, listeners_that_reuse_the_port_share_it_and_no_others);
    tcase_add_test(t, an_address_that_is_not_ours_is_refused);
    tcase_add_test(t, what_is_accepted_sends_at_once_and_keeps_little_in_the_kernel);
    tcase_add_test(t, ipv6_and_ipv4_are_two_listeners);
    tcase_add_test(t, a_listener_accepts_until_it_is_stopped);
    tcase_add_test(t, out_of_descriptors_clients_are_turned_away_at_once);
    tcase_add_test(t, out_of_descriptors_and_reserve_it_says_so_rests_and_goes_on);
    suite_add_tcase(s, t);
    return run_suite(s);
}
