/* One busy peer has its share of a turn, and others come between: whatever it speaks, so many messages, or so much time. */
#include "transport/unread.h"

#include "../fuzz/world.h"
#include "support.h"

static struct buf flood; /* far more than one share, and not more than one read */

static void setup(void)
{
    world_begin();
    flood = (struct buf){ 0 };
}

static void teardown(void)
{
    buf_done(&flood);
    world_end();
}

static uint64_t handled(void)
{
    const struct stats *s = &world.reactor.stats;
    return s->http_requests + s->backend_commands + s->client_messages;
}

#define HTTP "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
#define RESP "*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$1\r\nx\r\n"
#define FRAME "\x81\x81\0\0\0\0x"

static const struct {
    const char *name;
    enum world_door door;
    struct slice first; /* sent before */
    struct slice unit;
} floods[] = {
    { "requests at the public door", WORLD_PUBLIC, SLICE(""), SLICE(HTTP) },
    { "requests at the backend's", WORLD_BACKEND, SLICE(""), SLICE(HTTP) },
    { "commands", WORLD_BACKEND, SLICE(""), SLICE(RESP) },
    { "frames", WORLD_PUBLIC, SLICE(WORLD_HANDSHAKE("/ws?topic=a", "")), SLICE(FRAME) },
};

static int connect_and_flood(int i)
{
    int fd = world_connect(floods[i].door, NULL);
    world_say(fd, (const uint8_t *)floods[i].first.ptr, floods[i].first.len);
    for (int n = 0; n < 1500; n++)
        buf_append(&flood, floods[i].unit.ptr, floods[i].unit.len);
    ck_assert_int_eq(send(fd, flood.data, flood.len, MSG_DONTWAIT), (ssize_t)flood.len);
    return fd;
}

START_TEST(a_turn_handles_so_many_of_one_peer_and_all_in_the_end)
{
    int fd = connect_and_flood(_i);
    uint64_t before = handled(), begun = before;
    for (int n = 0; n < 100 && handled() - begun < 1500; n++) {
        world_turn();
        ck_assert_msg(handled() - before <= UNREAD_AFTER, "%s: %d in one turn", floods[_i].name, (int)(handled() - before));
        before = handled();
        world_hear(fd);
    }
    ck_assert_msg(handled() - begun == 1500, "%s: %d of 1500", floods[_i].name, (int)(handled() - begun));
    close(fd);
}
END_TEST

START_TEST(another_peer_is_answered_in_between)
{
    int fd = connect_and_flood(_i), other = world_connect(WORLD_PUBLIC, NULL);
    struct buf got = { 0 };
    world_turn();
    uint64_t begun = handled();
    send(other, HTTP, sizeof HTTP - 1, MSG_DONTWAIT);
    world.heard = &got;
    for (int n = 0; n < 3 && got.len == 0; n++) {
        world_turn();
        world_hear(other);
    }
    ck_assert_msg(got.len > 0, "%s", floods[_i].name);
    ck_assert_uint_le(handled() - begun, 3 * UNREAD_AFTER + 1);
    world.heard = NULL;
    buf_done(&got);
    close(fd);
    close(other);
}
END_TEST

START_TEST(who_has_finished_sending_is_served_to_the_end)
{
    int fd = connect_and_flood(_i);
    uint64_t begun = handled();
    shutdown(fd, SHUT_WR);
    for (int n = 0; n < 100; n++) {
        world_turn();
        world_hear(fd);
    }
    ck_assert_msg(handled() - begun == 1500, "%s: %d of 1500", floods[_i].name, (int)(handled() - begun));
    close(fd);
}
END_TEST

START_TEST(who_goes_in_the_middle_leaves_nothing)
{
    int fd = connect_and_flood(_i);
    world_turn();
    world_turn(); /* what has been answered is sent */
    ck_assert(!list_is_empty(&world.reactor.unread));
    close(fd); /* world_end() looks at what is left */
}
END_TEST

/* ---- time */

static unsigned slow_requests;

static void slow_request(struct http_client *h, const struct http1_request *rq)
{
    (void)rq;
    for (uint64_t end = clock_mono_us() + UNREAD_AFTER_US / 2; clock_mono_us() < end;)
        continue; /* as one does that verifies a signature */
    slow_requests++;
    http_reply_text(h, 200, NULL, "done");
}

static void gone(struct reactor *r)
{
    (void)r;
}

static const struct http_door slow_door = { .on_request = slow_request, .on_end = gone };

START_TEST(costly_requests_are_fewer_in_a_turn)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct conn *c = conn_new(&world.reactor.loop, fds[0], NULL, NULL);
    ck_assert_int_eq(http_client_start(&world.reactor, c, &slow_door, &world.settings.public_http), 0);
    for (int n = 0; n < 100; n++)
        buf_append(&flood, HTTP, sizeof HTTP - 1);
    ck_assert_int_eq(send(fds[1], flood.data, flood.len, MSG_DONTWAIT), (ssize_t)flood.len);
    slow_requests = 0;
    for (unsigned n = 0, before = 0; n < 200 && slow_requests < 100; n++) {
        world_turn();
        ck_assert_uint_le(slow_requests - before, UNREAD_LOOK); /* at the first look at the clock it is over */
        before = slow_requests;
        world_hear(fds[1]);
    }
    ck_assert_uint_eq(slow_requests, 100);
    close(fds[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unread");
    TCase *tc = tcase_create("turns");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_turn_handles_so_many_of_one_peer_and_all_in_the_end, 0, (int)HLY_ARRAY_LEN(floods));
    tcase_add_loop_test(tc, another_peer_is_answered_in_between, 0, (int)HLY_ARRAY_LEN(floods));
    tcase_add_loop_test(tc, who_has_finished_sending_is_served_to_the_end, 0, (int)HLY_ARRAY_LEN(floods));
    tcase_add_loop_test(tc, who_goes_in_the_middle_leaves_nothing, 0, (int)HLY_ARRAY_LEN(floods));
    tcase_add_test(tc, costly_requests_are_fewer_in_a_turn);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
