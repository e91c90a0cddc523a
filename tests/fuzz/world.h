/* A server without a network, for fuzzers: a hub, one reactor, its doors, and clients over socket pairs. It is made anew for each input, so that a
 * finding happens again. Whoever includes this has all of it to himself. */
#ifndef HALLEY_TESTS_FUZZ_WORLD_H
#define HALLEY_TESTS_FUZZ_WORLD_H

#include <errno.h>
#include <ev.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/addresses.h"
#include "auth/backend_key.h"
#include "auth/count_table.h"
#include "auth/revocation.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/log.h"
#include "core/hub.h"
#include "core/presence.h"
#include "engine/engine.h"
#include "transport/backend_door.h"
#include "transport/public_door.h"
#include "transport/reactor.h"

#define SLICE(s) { (s), sizeof(s) - 1 } /* SLICE_LIT() for what is static */
#define WORLD_TURNS 3000 /* after which nothing may be left of a client that has gone */

static const struct rule world_rules[] = {
    { .pattern = SLICE("closed/**"), .subscribe = RULE_BACKEND, .publish = RULE_NOBODY },
    { .pattern = SLICE("room/*"), .subscribe = RULE_ANYONE, .publish = RULE_ANYONE, .history = 5, .presence = true, .join_leave = true, .events = true },
    { .pattern = SLICE("json/**"), .subscribe = RULE_ANYONE, .publish = RULE_ANYONE, .payload = RULE_JSON, .on_slow = RULE_CONFLATE, .history = 1 },
    { .pattern = SLICE("bytes/**"), .subscribe = RULE_ANYONE, .publish = RULE_ANYONE, .payload = RULE_BINARY, .on_slow = RULE_DROP_OLDEST, .history = 3 },
    { .pattern = SLICE("go/**"), .subscribe = RULE_ANYONE, .publish = RULE_ANYONE, .on_slow = RULE_DISCONNECT, .stamp_sender = true, .stamp_time = true },
    { .pattern = SLICE("**"), .subscribe = RULE_ANYONE, .publish = RULE_ANYONE, .history = 3 },
};

static struct world {
    struct settings settings;
    struct server_view view;
    struct reactor reactor;
    struct reactor *reactors[1];
    struct rules *rules;
    struct hub *hub;
    struct engine *engine;
    struct addresses *trusted;
    struct buf *heard; /* what the client got; NULL: it is not kept */
} world;

#define must(holds) ((holds) ? (void)0 : must_fail(#holds, __LINE__))

static _Noreturn void must_fail(const char *what, int line)
{
    fprintf(stderr, "line %d: this does not hold: %s\n", line, what);
    abort();
}

static void world_settings(void)
{
    static const struct slice echo = SLICE("/echo");
    static const struct slice origin = SLICE("https://example.com");
    const struct http1_limits http = { .request_line = 1024, .headers = 2048, .header_count = 20, .body = 4096 };
    world.settings = (struct settings){
        .version = "1",
        .max_connections = 8,
        .max_backends = 8,
        .trusted_proxies = world.trusted,
        .max_message = 1000,
        .max_fragments = 8,
        .max_outq = 4096,
        .max_backend_outq = 65536,
        .max_outq_total = 1u << 20,
        .max_subscriptions = 8,
        .max_command = 4096,
        .ping_interval_ms = 25000,
        .idle_timeout_ms = 75000,
        .handshake_timeout_ms = 10000,
        .public_http = http,
        .backend_http = http,
        .origins = &origin,
        .origin_count = 1,
        .echo_paths = &echo,
        .echo_count = 1,
        .console = true,
        .console_page = SLICE("page"),
        .halley_js = SLICE("script"),
    };
}

static void world_begin(void)
{
    static const char *const proxies[] = { "unix", "10.0.0.0/8" };
    static const uint8_t seed[16] = { 1 };
    static const struct hub_limits limits = {
        .topics = 20, .patterns = 10, .history_bytes = 8192, .inbox_bytes = 65536, .keys = 10, .key_window_ms = 300000
    };
    char error[256];
    log_setup(LOG_LEVEL_ERROR, false);
    hash_seed(seed);
    must(addresses_new(proxies, 2, &world.trusted, error, sizeof error) == 0);
    world_settings();
    world.rules = rules_new(world_rules, HLY_ARRAY_LEN(world_rules));
    world.hub = hub_new(&limits, world.rules, 1, "k3f9abcd");
    world.engine = engine_memory_new(world.hub);
    world.view = (struct server_view){ .reactors = world.reactors, .reactor_count = 1, .node = "nodename" };
    world.view.addresses = count_table_new(NULL);
    world.view.users = count_table_new(&world.settings.publish);
    world.view.presence = presence_new(8192);
    world.view.revocations = revocations_new(10);
    pthread_mutex_init(&world.view.presence_lock, NULL);
    world.reactors[0] = &world.reactor;
    must(reactor_init(&world.reactor, 0, world.hub, world.engine, world.rules, &world.settings, &world.view) == 0);
    world.reactor.random = 1;
}

static void world_turn(void)
{
    ev_run(world.reactor.loop.ev, EVRUN_NOWAIT);
}

/* Everybody has gone: nothing is left of them. */
static void world_end(void)
{
    struct reactor *r = &world.reactor;
    struct hub_stats stats;
    for (int n = 0; n < WORLD_TURNS && !list_is_empty(&r->loop.conns); n++)
        world_turn();
    world_turn();
    must(list_is_empty(&r->loop.conns) && list_is_empty(&r->unread) && list_is_empty(&r->paused) && list_is_empty(&r->strangers));
    must(r->stats.connections == 0 && r->stats.websockets == 0 && r->stats.streams == 0 && r->stats.polls == 0 && r->stats.backends == 0);
    hub_get_stats(world.hub, &stats);
    must(stats.subscriptions == 0 && stats.patterns == 0);
    must(world.view.connections == 0 && world.view.backends == 0);
    reactor_done(r);
    world.engine->free(world.engine);
    presence_free(world.view.presence);
    revocations_free(world.view.revocations);
    count_table_free(world.view.addresses);
    count_table_free(world.view.users);
    pthread_mutex_destroy(&world.view.presence_lock);
    hub_free(world.hub);
    rules_unref(world.rules);
    addresses_free(world.trusted);
    memset(&world, 0, sizeof world);
}

enum world_door { WORLD_PUBLIC, WORLD_PROXIED, WORLD_BACKEND, WORLD_STRANGER, WORLD_DOORS };

static int world_connect(enum world_door door, const struct backend_keys *keys)
{
    const struct address from = { .kind = ADDRESS_UNIX };
    static struct backend_peers peers;
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    peers = (struct backend_peers){ .keys = door == WORLD_STRANGER ? keys : NULL, .is_tcp = door == WORLD_STRANGER };
    if (door == WORLD_PUBLIC || door == WORLD_PROXIED)
        public_door_accept(&world.reactor, fds[0], &from, door == WORLD_PROXIED, NULL);
    else
        backend_door_accept(&world.reactor, fds[0], &peers, NULL);
    return fds[1];
}

static void world_hear(int fd)
{
    char sink[16384];
    ssize_t n;
    while ((n = recv(fd, sink, sizeof sink, MSG_DONTWAIT)) > 0)
        if (world.heard != NULL)
            must(buf_append(world.heard, sink, (size_t)n) == 0);
}

/* Send it, as far as the server reads. */
static void world_say(int fd, const uint8_t *data, size_t len)
{
    for (int stuck = 0; len > 0 && stuck < 8; stuck++) {
        ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
            stuck = 0;
        } else if (n < 0 && errno != EAGAIN) {
            break;
        }
        world_turn();
        world_hear(fd);
    }
}

/* A client's frame (RFC 6455 5.2), masked with zeros. */
static inline void world_frame(int fd, uint8_t first, const uint8_t *payload, size_t len)
{
    struct buf frame = { 0 };
    uint8_t head[8] = { first, 0x80 };
    size_t at = 2;
    must(len < 65536);
    if (len < 126) {
        head[1] |= (uint8_t)len;
    } else {
        head[1] |= 126;
        head[2] = (uint8_t)(len >> 8);
        head[3] = (uint8_t)len;
        at = 4;
    }
    buf_append(&frame, head, at + 4);
    buf_append(&frame, payload, len);
    world_say(fd, frame.data, frame.len);
    buf_done(&frame);
}

#define WORLD_HANDSHAKE(target, more) \
    "GET " target " HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" more \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

#endif
