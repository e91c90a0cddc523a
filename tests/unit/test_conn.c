#include "net/conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"

static struct loop loop;
static int peer; /* the other end */

static struct {
    unsigned reads, eofs, drains, timers, stops, ends;
    size_t bytes;
    int error;
} seen;

static void on_read(struct conn *c, uint8_t *data, size_t len)
{
    (void)data;
    seen.reads++;
    seen.bytes += len;
    if (c->owner == (void *)&seen) /* then each read moves its timer */
        conn_set_timer(c, 10000);
}

static void on_eof(struct conn *c)
{
    seen.eofs++;
    conn_end(c, 1000);
}

static void on_drained(struct conn *c)
{
    (void)c;
    seen.drains++;
}

static void on_timer(struct conn *c)
{
    (void)c;
    seen.timers++;
}

static void on_stop(struct conn *c)
{
    seen.stops++;
    conn_finish(c, 1000);
}

static void on_end(struct conn *c)
{
    seen.ends++;
    seen.error = c->error;
}

static const struct conn_ops ops = { .on_read = on_read,
                                     .on_eof = on_eof,
                                     .on_drained = on_drained,
                                     .on_timer = on_timer,
                                     .on_stop = on_stop,
                                     .on_end = on_end };
static const struct conn_ops few_ops = { .on_read = on_read, .on_end = on_end };

static void setup(void)
{
    memset(&seen, 0, sizeof seen);
    ck_assert_int_eq(loop_init(&loop), 0);
}

static void teardown(void)
{
    ck_assert(list_is_empty(&loop.conns));
    ck_assert_uint_eq(loop.chunks.live_bytes, 0);
    loop_done(&loop);
}

static struct conn *start(const struct conn_ops *conn_ops)
{
    int fds[2], small = 4096;
    HOLDS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    HOLDS(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
    peer = fds[1];
    struct conn *c = conn_new(&loop, fds[0], conn_ops, NULL);
    HOLDS(c != NULL);
    return c;
}

static void turns(int n)
{
    while (n-- > 0)
        ev_run(loop.ev, EVRUN_NOWAIT);
}

static void pass(uint64_t ms) /* of the loop's time, in no time */
{
    loop.started_ms -= ms;
}

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

/* Read so much of what the loop sends, or until nothing comes any more. Returns the bytes; *ret_eof: then it ended. */
static size_t peer_reads(size_t max, bool *ret_eof)
{
    static uint8_t buf[5000];
    size_t total = 0;
    *ret_eof = false;
    for (int idle = 0; total < max && idle < 20;) {
        ssize_t n = read(peer, buf, sizeof buf < max - total ? sizeof buf : max - total);
        turns(1);
        if (n == 0) {
            *ret_eof = true;
            break;
        }
        idle = n > 0 ? 0 : idle + 1;
        for (ssize_t i = 0; i < n; i++)
            HOLDS(buf[i] == pattern(total + (size_t)i));
        total += n > 0 ? (size_t)n : 0;
    }
    return total;
}

#define LONG 300000

static void write_long(struct conn *c)
{
    uint8_t *bytes = malloc(LONG);
    for (size_t i = 0; i < LONG; i++)
        bytes[i] = pattern(i);
    conn_write(c, bytes, LONG);
    free(bytes);
    HOLDS(conn_waiting(c) > 0);
}

START_TEST(what_the_kernel_does_not_take_waits_and_follows)
{
    bool eof;
    struct conn *c = start(&ops);
    write_long(c);
    ck_assert_uint_eq(peer_reads(LONG, &eof), LONG);
    turns(2);
    ck_assert_uint_eq(conn_waiting(c), 0);
    ck_assert_ptr_null(c->outq);
    ck_assert_uint_eq(seen.drains, 1);
    conn_close(c);
    turns(1);
    close(peer);
}
END_TEST

START_TEST(shared_chunks_are_queued_by_reference_and_let_go)
{
    bool eof;
    struct conn *c = start(&ops);
    struct chunk *chunks[10];
    for (size_t i = 0; i < 10; i++) {
        chunks[i] = chunk_new(&loop.chunks, CHUNK_STANDARD_BYTES);
        for (chunks[i]->len = 0; chunks[i]->len < 30000; chunks[i]->len++)
            chunks[i]->data[chunks[i]->len] = pattern(i * 30000 + chunks[i]->len);
        struct chunk_slice parts[2] = { { chunks[i], 0, 10000, 0 }, { chunks[i], 10000, 20000, 0 } };
        conn_send(c, parts, 2, 30000);
    }
    ck_assert_uint_gt(chunks[9]->refs, 1);
    ck_assert_uint_eq(peer_reads(LONG, &eof), LONG);
    turns(1);
    for (int i = 0; i < 10; i++) {
        ck_assert_uint_eq(chunks[i]->refs, 1);
        chunk_unref(chunks[i]);
    }
    conn_close(c);
    turns(1);
    close(peer);
}
END_TEST

START_TEST(later_writes_of_one_turn_are_sent_at_its_end)
{
    bool eof;
    struct conn *c = start(&ops);
    for (size_t i = 0; i < 100; i++) {
        uint8_t byte = pattern(i);
        conn_write_later(c, &byte, 1);
    }
    uint8_t nothing;
    ck_assert_int_eq(read(peer, &nothing, 1), -1);
    turns(1);
    ck_assert_uint_eq(peer_reads(100, &eof), 100);
    conn_close(c);
    turns(1);
    close(peer);
}
END_TEST

START_TEST(a_closed_connection_ends_once_at_the_end_of_the_turn)
{
    struct conn *c = start(&ops);
    conn_set_timer(c, 50);
    write_long(c);
    conn_fail(c, EPIPE);
    conn_close(c);
    conn_write(c, "x", 1); /* callbacks higher on the stack may go on using it */
    conn_write_later(c, "x", 1);
    conn_finish(c, 100);
    conn_end(c, 100);
    conn_set_timer(c, 100);
    conn_pause(c, CONN_PAUSE_HUB);
    conn_resume(c, CONN_PAUSE_HUB);
    ck_assert_uint_eq(seen.ends, 0);
    turns(1);
    ck_assert_uint_eq(seen.ends, 1);
    ck_assert_int_eq(seen.error, EPIPE);
    pass(1000);
    turns(2);
    ck_assert_uint_eq(seen.timers + seen.reads, 0);
    close(peer);
}
END_TEST

START_TEST(a_peer_that_is_gone_ends_the_connection)
{
    struct conn *c = start(&few_ops);
    write_long(c);
    close(peer);
    turns(3);
    ck_assert_uint_eq(seen.ends, 1);
}
END_TEST

START_TEST(finishing_discards_input_and_waits_for_the_peer)
{
    bool eof;
    start(&ops);
    struct conn *c = LIST_ENTRY(loop.conns.next, struct conn, all);
    write_long(c);
    conn_finish(c, 5000);
    ck_assert_int_eq(write(peer, "unwanted", 8), 8);
    ck_assert_uint_eq(peer_reads(LONG + 1, &eof), LONG);
    ck_assert(eof);
    turns(2);
    ck_assert_uint_eq(seen.reads, 0);
    ck_assert_uint_eq(seen.ends, 0); /* the peer may still be reading: a close would be a reset */
    close(peer);
    turns(2);
    ck_assert_uint_eq(seen.ends, 1);
}
END_TEST

START_TEST(finishing_waits_no_longer_than_it_was_told)
{
    struct conn *c = start(&ops);
    write_long(c);
    conn_finish(c, 5000);
    pass(4900);
    turns(2);
    ck_assert_uint_eq(seen.ends, 0);
    pass(200);
    turns(2);
    ck_assert_uint_eq(seen.ends, 1);
    close(peer);
}
END_TEST

/* printf '...' | nc -N: the peer has finished sending, and reads on. */
static const struct {
    const char *name;
    const struct conn_ops *ops;
    int way; /* 0: it finishes, then the peer has; 1: the other way round; 2: the peer only */
} halves[] = {
    { "conn_finish() before the peer's end", &ops, 0 },
    { "conn_end() at the peer's end", &ops, 1 },
    { "no on_eof", &few_ops, 2 },
};

START_TEST(a_peer_that_has_finished_sending_gets_what_waits)
{
    bool eof;
    struct conn *c = start(halves[_i].ops);
    write_long(c);
    if (halves[_i].way == 0)
        conn_finish(c, 5000);
    shutdown(peer, SHUT_WR);
    turns(3);
    ck_assert_uint_eq(seen.eofs, halves[_i].way == 1);
    size_t got = peer_reads(LONG + 1, &eof);
    ck_assert_msg(got == LONG, "%s: the peer got %zu bytes of %d", halves[_i].name, got, LONG);
    ck_assert(eof);
    turns(2);
    ck_assert_uint_eq(seen.ends, 1);
    close(peer);
}
END_TEST

START_TEST(a_peer_that_has_finished_sending_and_does_not_read_is_not_waited_for)
{
    struct conn *c = start(halves[_i].ops);
    write_long(c);
    if (halves[_i].way == 0)
        conn_finish(c, 5000);
    shutdown(peer, SHUT_WR);
    turns(3);
    ck_assert_uint_eq(seen.ends, 0);
    ck_assert(c->paused & CONN_PAUSE_EOF); /* an end that is always ready to be read would keep the loop busy */
    pass(6000);
    turns(3);
    ck_assert_uint_eq(seen.ends, 1);
    close(peer);
}
END_TEST

START_TEST(a_paused_connection_is_read_when_the_last_reason_has_gone)
{
    struct conn *c = start(&ops);
    conn_pause(c, CONN_PAUSE_HUB);
    conn_pause(c, CONN_PAUSE_REPLIES);
    ck_assert_int_eq(write(peer, "hello", 5), 5);
    turns(2);
    ck_assert_uint_eq(seen.bytes, 0);
    conn_resume(c, CONN_PAUSE_HUB);
    turns(2);
    ck_assert_uint_eq(seen.bytes, 0);
    conn_resume(c, CONN_PAUSE_REPLIES);
    turns(2);
    ck_assert_uint_eq(seen.bytes, 5);
    conn_close(c);
    turns(1);
    close(peer);
}
END_TEST

START_TEST(a_timer_calls_once_and_can_be_moved_and_stopped)
{
    struct conn *c = start(&ops);
    conn_set_timer(c, 1000);
    pass(900);
    turns(2);
    ck_assert_uint_eq(seen.timers, 0);
    conn_set_timer(c, 1000);
    pass(900);
    turns(2);
    ck_assert_uint_eq(seen.timers, 0);
    pass(200);
    turns(2);
    ck_assert_uint_eq(seen.timers, 1);
    pass(5000);
    turns(2);
    ck_assert_uint_eq(seen.timers, 1);
    conn_set_timer(c, 1000);
    conn_set_timer(c, 0);
    pass(5000);
    turns(2);
    ck_assert_uint_eq(seen.timers, 1);
    conn_close(c);
    turns(1);
    close(peer);
}
END_TEST

static bool stop_a_minute(void *ctx) /* between this turn's work and its waiting */
{
    (void)ctx;
    pass(60000);
    loop.on_turn = NULL;
    return false;
}

/* SIGSTOP, a frozen cgroup, a virtual machine that was paused: what arrived meanwhile is heard now, not then. */
START_TEST(after_a_long_stop_time_is_right_for_what_is_read_first)
{
    struct conn *c = start(&ops);
    c->owner = &seen;
    turns(1);
    ck_assert_int_eq(write(peer, "hello", 5), 5);
    loop.on_turn = stop_a_minute;
    turns(1);
    ck_assert_uint_eq(seen.reads, 1);
    turns(2);
    ck_assert_uint_eq(seen.timers, 0); /* 10 s, from when it was set */
    ck_assert_uint_le(conn_quiet_ms(c), 200);
    pass(11000);
    turns(2);
    ck_assert_uint_eq(seen.timers, 1);
    ck_assert_uint_ge(conn_quiet_ms(c), 10000);
    conn_close(c);
    turns(1);
    close(peer);
}
END_TEST

/* ---- drained on demand */

START_TEST(drained_is_called_on_demand_at_the_end_of_the_turn_and_once)
{
    struct conn *c = start(&ops);
    turns(1);
    conn_call_drained(c);
    conn_call_drained(c);
    ck_assert_uint_eq(seen.drains, 0);
    turns(2);
    ck_assert_uint_eq(seen.drains, 1);
    conn_call_drained(c);
    conn_close(c);
    turns(1);
    ck_assert_uint_eq(seen.drains, 1); /* it has gone */
    close(peer);
}
END_TEST

START_TEST(drained_on_demand_waits_for_what_waits)
{
    bool eof;
    struct conn *c = start(&ops);
    write_long(c);
    conn_call_drained(c);
    turns(3);
    ck_assert_uint_eq(seen.drains, 0);
    ck_assert_uint_eq(peer_reads(LONG, &eof), LONG);
    turns(2);
    ck_assert_uint_eq(seen.drains, 1);
    conn_close(c);
    turns(1);
    close(peer);
}
END_TEST

/* ---- walking over all of them */

#define WALKED 6

/* Those of `who` (a bit for each) go after so many steps of the walk. */
static void walk(unsigned steps, unsigned who)
{
    struct conn *conns[WALKED], *it;
    int peers[WALKED];
    unsigned met[WALKED] = { 0 };
    uint32_t number = 0;
    for (int i = 0; i < WALKED; i++) {
        conns[i] = start(&few_ops);
        peers[i] = peer;
    }
    struct conn_walk w;
    conn_walk_begin(&w, &loop);
    for (unsigned n = 0;; n++) {
        for (int i = 0; n == steps && i < WALKED; i++)
            if ((who & 1u << i) != 0)
                conn_close(conns[i]);
        turns(1);
        if ((it = conn_walk_next(&w, &loop)) == NULL)
            break;
        HOLDS(it->number > number);
        number = it->number;
        for (int i = 0; i < WALKED; i++)
            met[i] += conns[i] == it;
    }
    conn_walk_end(&w);
    for (unsigned i = 0; i < WALKED; i++)
        ck_assert_msg(met[i] == ((who & 1u << i) == 0 || i < steps), "%u, %x: connection %u was met %u times", steps, who, i, met[i]);
    for (int i = 0; i < WALKED; i++) {
        if ((who & 1u << i) == 0)
            conn_close(conns[i]);
        close(peers[i]);
    }
    turns(1);
    ck_assert(list_is_empty(&loop.walks));
}

START_TEST(a_walk_sees_each_connection_once_whoever_goes_meanwhile)
{
    for (unsigned who = 0; who < 1u << WALKED; who++)
        walk((unsigned)_i, who);
}
END_TEST

START_TEST(leaving_tells_every_connection_and_ends_when_the_last_has_gone)
{
    int peers[3];
    for (int i = 0; i < 3; i++) {
        start(i == 0 ? &few_ops : &ops);
        peers[i] = peer;
    }
    turns(1);
    loop_leave(&loop, 200);
    ck_assert_uint_eq(seen.stops, 2);
    turns(1);
    ck_assert_uint_eq(seen.ends, 1); /* it had no goodbye to say */
    close(peers[1]);
    loop_run(&loop); /* the third does not go by itself: until the grace is over */
    ck_assert_uint_eq(seen.ends, 3);
    close(peers[0]);
    close(peers[2]);
}
END_TEST

/* ---- all queues together are over their limit */

static uint64_t cut_from;
static struct conn *cut_conn[2];
static unsigned cuts[2];

static void on_cut(struct conn *c)
{
    cuts[c == cut_conn[1]]++;
    cut_from = conn_cut(c);
}

static const struct conn_ops cut_ops = { .on_read = on_read, .on_drained = on_drained, .on_cut = on_cut, .on_end = on_end };

/* Messages of 100 bytes, seq 1 and on, as one connection gets them that does not read. Returns the newest seq. */
static uint64_t send_messages(struct conn *c, unsigned chunks)
{
    uint64_t seq = 0;
    size_t at = 0;
    for (unsigned i = 0; i < chunks; i++) {
        struct chunk *chunk = chunk_new(&loop.chunks, CHUNK_STANDARD_BYTES);
        for (int n = 0; n < 300; n++) {
            struct chunk_slice s = { chunk, chunk->len, 100, ++seq };
            for (int k = 0; k < 100; k++)
                chunk->data[chunk->len++] = pattern(at++);
            conn_send(c, &s, 1, 100);
        }
        chunk_unref(chunk);
    }
    return seq;
}

START_TEST(a_queue_is_cut_after_the_message_that_is_begun_and_drains_as_ever)
{
    bool eof;
    struct conn *c = start(&cut_ops);
    cut_conn[0] = c;
    uint64_t newest = send_messages(c, 4), before = loop.chunks.live_bytes;
    loop_cut(&loop, 1u << 30);
    ck_assert_uint_eq(cuts[0], 0);
    loop_cut(&loop, before / 2);
    ck_assert_uint_eq(cuts[0], 1);
    ck_assert(cut_from > 1 && cut_from <= newest);
    ck_assert_ptr_nonnull(c->outq); /* it is not asked for more before the kernel takes some */
    ck_assert_uint_lt(loop.chunks.live_bytes, 4096);
    ck_assert_uint_eq(conn_cut(c), 0);
    ck_assert_uint_eq(peer_reads((cut_from - 1) * 100, &eof), (cut_from - 1) * 100); /* whole messages, up to the cut */
    turns(2);
    ck_assert_ptr_null(c->outq);
    ck_assert_uint_eq(seen.drains, 1);
    conn_close(c);
    turns(1);
    close(peer);
}
END_TEST

START_TEST(those_that_have_waited_longest_are_cut_first)
{
    int peers[2];
    cuts[0] = cuts[1] = 0;
    for (int i = 0; i < 2; i++) {
        cut_conn[i] = start(&cut_ops);
        peers[i] = peer;
        send_messages(cut_conn[i], 4);
    }
    loop_cut(&loop, loop.chunks.live_bytes - 1);
    ck_assert(cuts[0] == 1 && cuts[1] == 0);
    loop_cut(&loop, loop.chunks.live_bytes - 1); /* now the other's turn */
    ck_assert(cuts[0] == 1 && cuts[1] == 1);
    for (int i = 0; i < 2; i++) {
        conn_close(cut_conn[i]);
        close(peers[i]);
    }
    turns(1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conn");
    TCase *t = tcase_create("conn");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_the_kernel_does_not_take_waits_and_follows);
    tcase_add_test(t, shared_chunks_are_queued_by_reference_and_let_go);
    tcase_add_test(t, later_writes_of_one_turn_are_sent_at_its_end);
    tcase_add_test(t, a_closed_connection_ends_once_at_the_end_of_the_turn);
    tcase_add_test(t, a_peer_that_is_gone_ends_the_connection);
    tcase_add_test(t, finishing_discards_input_and_waits_for_the_peer);
    tcase_add_test(t, finishing_waits_no_longer_than_it_was_told);
    tcase_add_loop_test(t, a_peer_that_has_finished_sending_gets_what_waits, 0, HLY_ARRAY_LEN(halves));
    tcase_add_loop_test(t, a_peer_that_has_finished_sending_and_does_not_read_is_not_waited_for, 0,
                        HLY_ARRAY_LEN(halves));
    tcase_add_test(t, a_paused_connection_is_read_when_the_last_reason_has_gone);
    tcase_add_test(t, a_timer_calls_once_and_can_be_moved_and_stopped);
    tcase_add_test(t, after_a_long_stop_time_is_right_for_what_is_read_first);
    tcase_add_test(t, a_queue_is_cut_after_the_message_that_is_begun_and_drains_as_ever);
    tcase_add_test(t, those_that_have_waited_longest_are_cut_first);
    tcase_add_test(t, drained_is_called_on_demand_at_the_end_of_the_turn_and_once);
    tcase_add_test(t, drained_on_demand_waits_for_what_waits);
    tcase_add_loop_test(t, a_walk_sees_each_connection_once_whoever_goes_meanwhile, 0, WALKED + 1);
    tcase_add_test(t, leaving_tells_every_connection_and_ends_when_the_last_has_gone);
    suite_add_tcase(s, t);
    return run_suite(s);
}
