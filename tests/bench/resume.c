/* Returning clients against live ones: does replaying history to many delay what is live?
 *
 *     resume HOST PORT BACKEND-SOCKET LIVE RESUMERS SECONDS
 *
 * LIVE clients (event streams) listen to one topic, to which a message with the time in it is published every 100 ms; the latency of each delivery is
 * taken. First for SECONDS without anyone else, then for as long while RESUMERS clients of the pattern for all of 100,000 topics, come back again and again with a
 * cursor that is 200 messages old. scripts/bench runs the server for it. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TOPICS 100000
#define MISSED 200
#define SAMPLES_MAX 20000000

struct client {
    int fd;
    bool is_live;
    unsigned got;
};

static struct sockaddr_in server;
static int ep, backend;
static char cursor[64];
static uint32_t *samples; /* microseconds */
static size_t sample_count;
static uint64_t replays, replayed;
static unsigned next_source;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "resume: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void send_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n < 0)
            die("send");
        text += n;
        len -= (size_t)n;
    }
}

/* A command of n words as RESP has it. */
static void command(int n, const char *const *words)
{
    char text[512];
    int len = snprintf(text, sizeof text, "*%d\r\n", n);
    for (int i = 0; i < n; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    send_all(backend, text, (size_t)len);
}

static void client_open(struct client *c)
{
    char request[256];
    struct sockaddr_in from = { .sin_family = AF_INET };
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + next_source++ % 8); /* ports enough for those who come again and again */
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0)
        die("connect");
    int n = snprintf(request, sizeof request, "GET /sse?topic=%s%s HTTP/1.1\r\nHost: x\r\n\r\n", c->is_live ? "live" : "**&after=", c->is_live ? "" : cursor);
    send_all(c->fd, request, (size_t)n);
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
    if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) < 0)
        die("epoll_ctl");
    c->got = 0;
}

static void take_live(const char *p, const char *end, uint64_t now)
{
    while ((p = memmem(p, (size_t)(end - p), "data: T", 7)) != NULL) {
        uint64_t sent = strtoull(p + 7, NULL, 10);
        if (sample_count < SAMPLES_MAX)
            samples[sample_count++] = (uint32_t)((now - sent) / 1000);
        p += 7;
    }
}

/* Returns whether it has all that it missed. */
static bool take_replay(struct client *c, const char *p, const char *end)
{
    while ((p = memmem(p, (size_t)(end - p), "data: ", 6)) != NULL) {
        c->got++;
        replayed++;
        p += 6;
    }
    return c->got >= MISSED;
}

static void client_read(struct client *c)
{
    static char buf[65537];
    ssize_t n = recv(c->fd, buf, sizeof buf - 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        die("a client was cut off");
    buf[n] = '\0';
    if (c->is_live) {
        take_live(buf, buf + n, now_ns());
    } else if (take_replay(c, buf, buf + n)) {
        close(c->fd); /* it has all that it missed: what is live is for the others */
        replays++;
    }
}

static void backend_drain(void)
{
    char buf[65536];
    while (recv(backend, buf, sizeof buf, MSG_DONTWAIT) > 0)
        continue;
}

static void fill_topics(void)
{
    char topic[32], answer[256];
    for (int i = 0; i < TOPICS; i++) {
        snprintf(topic, sizeof topic, "t/%d", i);
        command(3, (const char *[]){ "PUBLISH", topic, "a message of some length, as they are" });
        if (i % 100 == 0)
            backend_drain();
        if (i == TOPICS - MISSED - 1) {
            usleep(300000);
            backend_drain();
            command(5, (const char *[]){ "XADD", "u", "*", "data", "x" });
            ssize_t len = recv(backend, answer, sizeof answer - 1, 0);
            answer[len > 0 ? len : 0] = '\0';
            if (sscanf(answer, "$%*d %60s", cursor) != 1)
                die(answer);
        }
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *what, double seconds)
{
    qsort(samples, sample_count, sizeof *samples, by_value);
    if (sample_count == 0)
        die("nothing was delivered");
    printf("%-8s deliveries %zu  p50 %u us  p99 %u us  max %u us  replays/s %.0f  replayed/s %.0f\n", what, sample_count, samples[sample_count / 2],
           samples[sample_count * 99 / 100], samples[sample_count - 1], (double)replays / seconds, (double)replayed / seconds);
    fflush(stdout);
    sample_count = 0;
    replays = replayed = 0;
}

/* returning: clients that come back in this time, one after another; count 0: none. */
static void run(int seconds, bool is_measured, struct client *returning, int count)
{
    struct epoll_event events[64];
    uint64_t begun = now_ns();
    int opened = 0;
    char text[32];
    uint64_t end = now_ns() + (uint64_t)seconds * 1000000000u, next = now_ns();
    while (now_ns() < end) {
        uint64_t now = now_ns();
        if (now >= next) {
            snprintf(text, sizeof text, "T%" PRIu64, now_ns());
            command(3, (const char *[]){ "PUBLISH", "live", text });
            next = now + 100000000u;
            backend_drain();
        }
        int due = (int)((now - begun) * (uint64_t)count / ((uint64_t)seconds * 1000000000u));
        for (int n = 0; opened < due && n < 16; n++)
            client_open(&returning[opened++]);
        int wait_ms = count > 0 ? 1 : (int)((next - now) / 1000000u);
        int n = epoll_wait(ep, events, 64, next > now ? wait_ms : 0);
        for (int i = 0; i < n; i++)
            client_read(events[i].data.ptr);
    }
    if (!is_measured) {
        sample_count = 0;
        replays = replayed = 0;
    }
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: resume HOST PORT BACKEND-SOCKET LIVE RESUMERS SECONDS\n");
        return 2;
    }
    int live = atoi(argv[4]), resumers = atoi(argv[5]), seconds = atoi(argv[6]);
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    snprintf(un.sun_path, sizeof un.sun_path, "%s", argv[3]);
    server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2])) };
    inet_pton(AF_INET, argv[1], &server.sin_addr);
    ep = epoll_create1(EPOLL_CLOEXEC);
    backend = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(backend, (struct sockaddr *)&un, sizeof un) < 0)
        die("backend");
    samples = malloc(SAMPLES_MAX * sizeof *samples);
    struct client *clients = calloc((size_t)(live + resumers), sizeof *clients);
    if (samples == NULL || clients == NULL)
        die("malloc");
    fill_topics();
    for (int i = 0; i < live; i++) {
        clients[i].is_live = true;
        client_open(&clients[i]);
    }
    run(2, false, NULL, 0);
    for (int round = 0; round < 2; round++) {
        run(seconds, true, NULL, 0);
        report("alone", seconds);
        run(seconds, true, clients + live + round * (resumers / 2), resumers / 2);
        report("resumed", seconds);
    }
    return 0;
}
