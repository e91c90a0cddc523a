/* A session whose engine answers late, as one does that asks a disk or a network first: the one that there is answers at once. */
#include "transport/v1_session.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/outq.h"
#include "support.h"

#define EPOCH "k3f9abcd"

static const struct settings settings = { .version = "1",
                                          .max_message = 65536,
                                          .max_outq = 262144,
                                          .max_outq_total = 1u << 30,
                                          .max_subscriptions = 8,
                                          .ping_interval_ms = 25000 };
static struct server_view server = { .reactor_count = 1, .node = "nodename" };
static struct reactor reactor;
static struct rules *rules;
static struct hub *hub;
static struct conn *conn;
static int peer;

/* ---- an engine that answers when it is told to */

static struct engine_subscribe *subscribes[64];
static struct engine_publish *publishes[4096];
static size_t subscribe_count, publish_count;

static void engine_subscribe(struct engine *e, struct engine_subscribe *s)
{
    (void)e;
    subscribes[subscribe_count++] = s;
}

static void engine_publish(struct engine *e, struct engine_publish *p)
{
    (void)e;
    publishes[publish_count++] = p;
}

static struct engine engine = { .name = "late", .subscribe = engine_subscribe, .publish = engine_publish };

static void answer_subscribe(size_t i, int error)
{
    struct engine_subscribe *s = subscribes[i];
    memmove(&subscribes[i], &subscribes[i + 1], (--subscribe_count - i) * sizeof subscribes[0]);
    s->result = error < 0 ? error : subscribe(s->subscriber, s->name, s->is_pattern, &s->seq);
    s->done(s);
}

static void answer_publish(void)
{
    struct engine_publish *p = publishes[0];
    memmove(&publishes[0], &publishes[1], --publish_count * sizeof publishes[0]);
    p->result = hub_publish(hub, p->message, p->key, 0, &p->receipt);
    p->message = message_unref(p->message);
    p->done(p);
}

static uint64_t publish(const char *topic)
{
    struct hub_receipt receipt;
    struct message *m = message_new(topic, strlen(topic), "x", 1);
    ck_assert_int_eq(hub_publish(hub, m, (struct slice){ 0 }, 0, &receipt), 0);
    message_unref(m);
    return receipt.seq;
}

/* ---- a carrier that notes what is written */

static char written[1 << 20]; /* the objects, a line each */
static unsigned closed_with;
static bool is_freed;
static uint64_t taken_at_live;

static void carrier_write(struct v1_session *s, struct slice json, const char *cursor)
{
    (void)cursor;
    size_t at = strlen(written);
    ck_assert_uint_lt(at + json.len + 2, sizeof written);
    memcpy(written + at, json.ptr, json.len);
    memcpy(written + at + json.len, "\n", 2);
    if (json.len > 8 && memcmp(json.ptr, "{\"live\":", 8) == 0)
        taken_at_live = hub_taken_seq(s->reactor->hub, 0);
}

static void carrier_close(struct v1_session *s, unsigned code, const char *reason)
{
    (void)s;
    (void)reason;
    closed_with = code;
}

static const struct v1_carrier carrier = { .form = WIRE_WS_V1, .write = carrier_write, .close = carrier_close, .what = "test" };
static struct v1_session session;

static void on_free(struct v1_session *s)
{
    (void)s;
    ck_assert(!is_freed);
    is_freed = true;
}

static void on_read(struct conn *c, uint8_t *data, size_t len)
{
    (void)c;
    (void)data;
    (void)len;
}

static void on_end(struct conn *c)
{
    (void)c;
}

static void on_drained(struct conn *c)
{
    (void)c;
    v1_session_drained(&session);
}

static const struct conn_ops conn_ops = { .on_read = on_read, .on_drained = on_drained, .on_end = on_end };

static void setup(void)
{
    static const struct rule rule = { .pattern = { "**", 2 }, .subscribe = RULE_ANYONE, .publish = RULE_ANYONE, .history = 10000 };
    const struct hub_limits limits = { .topics = 100, .patterns = 100, .history_bytes = 1u << 26, .inbox_bytes = 1u << 26 };
    int fds[2];
    rules = rules_new(&rule, 1);
    hub = hub_new(&limits, rules, 1, EPOCH);
    ck_assert_int_eq(reactor_init(&reactor, 0, hub, &engine, rules, &settings, &server), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    conn = conn_new(&reactor.loop, fds[0], &conn_ops, NULL);
    peer = fds[1];
    ck_assert_int_eq(v1_session_init(&session, &reactor, conn, &carrier, on_free), 0);
    written[0] = '\0';
    closed_with = 0;
    is_freed = false;
    subscribe_count = publish_count = 0;
}

static void open_session(void)
{
    const struct wish wish = { .last = READING_LAST_NONE };
    uint64_t head = hub_head(hub);
    ck_assert_int_eq(v1_session_open(&session, &wish, (struct opening_seqs){ head, head }), 0);
    written[0] = '\0';
}

static void end_session(void)
{
    if (!session.has_ended)
        v1_session_end(&session);
}

static void teardown(void)
{
    end_session();
    ck_assert(is_freed);
    ck_assert(list_is_empty(&reactor.table.reading) && list_is_empty(&reactor.table.parked));
    conn_abandon(conn);
    close(peer);
    reactor_done(&reactor);
    hub_free(hub);
    rules_unref(rules);
}

static void command(const char *text)
{
    v1_session_command(&session, TEXT(text));
}

static void turn(void)
{
    reactor.loop.on_turn(reactor.loop.ctx);
}

static uint64_t subscriptions(void)
{
    struct hub_stats stats;
    hub_get_stats(hub, &stats);
    return stats.subscriptions;
}

/* ---- */

START_TEST(a_subscribe_is_answered_when_all_of_it_is_in_force)
{
    open_session();
    command("{\"id\":1,\"subscribe\":[\"a\",\"b\",\"c/*\"]}");
    ck_assert_uint_eq(subscribe_count, 3);
    publish("a");
    answer_subscribe(2, 0);
    publish("a");
    answer_subscribe(0, 0);
    ck_assert_str_eq(written, "");
    answer_subscribe(0, 0);
    ck_assert_str_eq(written, "{\"id\":1,\"ok\":{\"cursor\":\"" EPOCH "-2\"}}\n"); /* where the last of them begins: so do all */
}
END_TEST

START_TEST(changes_are_made_in_the_order_of_their_commands)
{
    open_session();
    command("{\"id\":1,\"subscribe\":\"a\"}");
    command("{\"id\":2,\"unsubscribe\":\"a\"}");
    command("{\"id\":3,\"subscribe\":\"b\"}");
    command("{\"id\":4,\"unsubscribe\":\"c\"}");
    ck_assert_uint_eq(subscribe_count, 1);
    ck_assert_str_eq(written, "");
    answer_subscribe(0, 0);
    ck_assert_uint_eq(subscribe_count, 1);
    ck_assert_str_eq(written, "{\"id\":1,\"ok\":{\"cursor\":\"" EPOCH "-0\"}}\n{\"id\":2,\"ok\":{}}\n");
    ck_assert_uint_eq(subscriptions(), 0);
    written[0] = '\0';
    answer_subscribe(0, 0);
    ck_assert_str_eq(written, "{\"id\":3,\"ok\":{\"cursor\":\"" EPOCH "-0\"}}\n{\"id\":4,\"ok\":{}}\n");
    ck_assert_uint_eq(subscriptions(), 1);
}
END_TEST

START_TEST(a_subscribe_that_fails_takes_back_what_it_did_and_no_more)
{
    open_session();
    command("{\"id\":1,\"subscribe\":\"b\"}");
    answer_subscribe(0, 0);
    command("{\"id\":2,\"subscribe\":[\"a\",\"b\",\"c\",\"d\"],\"after\":\"0\"}");
    written[0] = '\0';
    answer_subscribe(0, 0);
    answer_subscribe(0, 0);
    answer_subscribe(0, -EDQUOT);
    answer_subscribe(0, 0);
    ck_assert_ptr_nonnull(strstr(written, "{\"id\":2,\"error\":{\"code\":\"too_many\""));
    ck_assert_uint_eq(subscriptions(), 1);
    ck_assert_ptr_nonnull(subscription_find(&session.sub, TEXT("b"), false));
    command("{\"id\":3,\"subscribe\":\"e\"}"); /* the next one goes on */
    answer_subscribe(0, -ENOMEM);
    ck_assert_ptr_nonnull(strstr(written, "{\"id\":3,\"error\":{\"code\":\"unavailable\""));
}
END_TEST

START_TEST(the_limit_of_subscriptions_counts_those_on_their_way)
{
    open_session();
    command("{\"id\":1,\"subscribe\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\"]}");
    command("{\"id\":2,\"subscribe\":[\"5\",\"6\",\"7\",\"8\",\"9\"]}");
    command("{\"id\":3,\"subscribe\":[\"5\",\"6\",\"7\",\"8\"]}");
    while (subscribe_count > 0)
        answer_subscribe(0, 0);
    ck_assert_ptr_nonnull(strstr(written, "{\"id\":1,\"ok\""));
    ck_assert_ptr_nonnull(strstr(written, "{\"id\":2,\"error\":{\"code\":\"too_many\""));
    ck_assert_ptr_nonnull(strstr(written, "{\"id\":3,\"ok\""));
    ck_assert_uint_eq(subscriptions(), 8);
}
END_TEST

START_TEST(a_session_outlives_what_is_on_its_way)
{
    open_session();
    command("{\"id\":1,\"subscribe\":\"a\"}");
    answer_subscribe(0, 0);
    command("{\"id\":2,\"subscribe\":[\"b\",\"c\"],\"last\":5}");
    command("{\"id\":3,\"unsubscribe\":\"a\"}");
    command("{\"id\":4,\"publish\":\"a\",\"data\":\"x\"}");
    command("{\"id\":5,\"history\":\"a\"}");
    written[0] = '\0';
    answer_subscribe(0, 0);
    v1_session_end(&session);
    ck_assert(!is_freed);
    publish("a"); /* somebody else's, for what is still subscribed to */
    turn();
    answer_subscribe(0, 0);
    ck_assert(!is_freed);
    answer_publish();
    ck_assert(is_freed);
    ck_assert_str_eq(written, "");
    ck_assert_uint_eq(subscriptions(), 0);
}
END_TEST

START_TEST(what_only_a_publish_holds_has_no_subscriptions_any_more)
{
    open_session();
    command("{\"id\":1,\"subscribe\":\"a\"}");
    answer_subscribe(0, 0);
    command("{\"id\":4,\"publish\":\"a\",\"data\":\"x\"}");
    v1_session_end(&session);
    ck_assert(!is_freed);
    ck_assert_uint_eq(subscriptions(), 0);
    answer_publish();
    ck_assert(is_freed);
}
END_TEST

START_TEST(too_much_on_its_way_stops_reading_until_half_is_answered)
{
    open_session();
    for (int i = 0; i < 1023; i++)
        command("{\"publish\":\"a\",\"data\":\"x\"}");
    ck_assert_uint_eq(conn->paused, 0);
    for (int i = 0; i < 500; i++)
        command("{\"publish\":\"a\",\"data\":\"x\"}");
    ck_assert_uint_eq(conn->paused, CONN_PAUSE_BUSY);
    ck_assert_uint_eq(atomic_load(&reactor.stats.v1_pauses), 1);
    while (publish_count > 513)
        answer_publish();
    ck_assert_uint_eq(conn->paused, CONN_PAUSE_BUSY);
    answer_publish();
    ck_assert_uint_eq(conn->paused, 0);
    while (publish_count > 0)
        answer_publish();
    written[0] = '\0';
}
END_TEST

/* ---- answers that go elsewhere */

static struct v1_answer elsewhere;
static char answered[256];
static int answers;

static void on_answer(struct v1_answer *a, struct slice json)
{
    ck_assert_ptr_eq(a, &elsewhere);
    ck_assert_uint_lt(json.len, sizeof answered);
    snprintf(answered, sizeof answered, "%.*s", (int)json.len, json.len > 0 ? json.ptr : "");
    answers++;
}

static void command_for(const char *text)
{
    elsewhere.on_answer = on_answer;
    answers = 0;
    v1_session_command_for(&session, TEXT(text), &elsewhere);
}

START_TEST(an_answer_that_goes_elsewhere_goes_there_alone_and_once)
{
    open_session();
    command_for("{\"id\":1,\"subscribe\":\"a\",\"after\":\"0\"}");
    ck_assert_int_eq(answers, 0);
    publish("a");
    answer_subscribe(0, 0);
    turn();
    ck_assert_int_eq(answers, 1);
    ck_assert_str_eq(answered, "{\"id\":1,\"ok\":{\"cursor\":\"" EPOCH "-0\",\"recovered\":true}}");
    ck_assert_ptr_eq(strstr(written, "\"ok\""), NULL);
    ck_assert_ptr_nonnull(strstr(written, "\"replay\":1}")); /* the replay is for the connection */
    turn();
    ck_assert_ptr_nonnull(strstr(written, "{\"live\":1,\"cursor\":\"" EPOCH "-1\"}"));
    command_for("{\"id\":2,\"history\":\"a\",\"limit\":1}");
    turn();
    ck_assert_int_eq(answers, 1);
    ck_assert_ptr_nonnull(strstr(answered, "{\"id\":2,\"ok\":{\"messages\":[{\"topic\":\"a\""));
    command_for("not JSON");
    ck_assert_int_eq(answers, 1);
    ck_assert_ptr_nonnull(strstr(answered, "bad_request"));
    ck_assert_uint_eq(closed_with, 0);
}
END_TEST

START_TEST(whoever_waits_elsewhere_is_told_that_there_will_be_no_answer)
{
    static const char *const commands[] = { "{\"id\":1,\"subscribe\":\"a\"}", "{\"id\":1,\"publish\":\"a\",\"data\":\"x\"}",
                                            "{\"id\":1,\"history\":\"a\"}", "{\"id\":1,\"subscribe\":\"a\",\"last\":1}" };
    open_session();
    publish("a");
    command_for(commands[_i]);
    ck_assert_int_eq(answers, 0);
    v1_session_end(&session);
    ck_assert_int_eq(answers, 1);
    ck_assert_str_eq(answered, "");
    while (subscribe_count > 0)
        answer_subscribe(0, 0);
    while (publish_count > 0)
        answer_publish();
    ck_assert_int_eq(answers, 1);
}
END_TEST

/* ---- cursors */

START_TEST(live_is_told_when_the_live_flow_has_passed_it_too)
{
    publish("old");
    open_session();
    command("{\"id\":1,\"subscribe\":\"busy\"}");
    answer_subscribe(0, 0);
    for (int i = 0; i < 5000; i++) /* more than a turn takes out of the inbox */
        publish("busy");
    command("{\"id\":2,\"subscribe\":\"old\",\"after\":\"0\"}");
    answer_subscribe(0, 0);
    turn();
    ck_assert_ptr_nonnull(strstr(written, "\"replay\":2}"));
    ck_assert_ptr_null(strstr(written, "{\"live\":2"));
    for (int i = 0; i < 10; i++) {
        char sink[65536];
        while (read(peer, sink, sizeof sink) > 0)
            continue;
        ev_run(reactor.loop.ev, EVRUN_NOWAIT);
        turn();
    }
    ck_assert_ptr_nonnull(strstr(written, "{\"live\":2"));
    ck_assert_uint_ge(taken_at_live, 5001);
}
END_TEST

START_TEST(a_list_is_replayed_up_to_where_the_last_of_it_begins)
{
    open_session();
    publish("c");
    command("{\"id\":1,\"subscribe\":[\"a\",\"b\"],\"after\":\"0\"}");
    answer_subscribe(0, 0);
    publish("a");
    publish("b"); /* before its subscription: the live flow does not have it */
    answer_subscribe(0, 0);
    publish("b"); /* the live flow has it: the replay does not */
    turn();
    turn();
    ck_assert_str_eq(written, "{\"id\":1,\"ok\":{\"cursor\":\"" EPOCH "-0\",\"recovered\":true}}\n"
                              "{\"topic\":\"a\",\"cursor\":\"" EPOCH "-2\",\"data\":\"x\",\"replay\":1}\n"
                              "{\"topic\":\"b\",\"cursor\":\"" EPOCH "-3\",\"data\":\"x\",\"replay\":1}\n"
                              "{\"live\":1,\"cursor\":\"" EPOCH "-4\"}\n");
}
END_TEST

START_TEST(what_was_subscribed_to_before_is_replayed_up_to_now)
{
    open_session();
    command("{\"id\":1,\"subscribe\":\"a\"}");
    answer_subscribe(0, 0);
    publish("a");
    turn();
    written[0] = '\0';
    command("{\"id\":2,\"subscribe\":\"a\",\"last\":1}");
    answer_subscribe(0, 0);
    turn();
    turn();
    ck_assert_ptr_nonnull(strstr(written, "-1\",\"data\":\"x\",\"replay\":2}"));
    written[0] = '\0';
    command("{\"id\":3,\"subscribe\":\"a\"}"); /* it begins where the live flow is, not where it once began */
    answer_subscribe(0, 0);
    ck_assert_str_eq(written, "{\"id\":3,\"ok\":{\"cursor\":\"" EPOCH "-1\"}}\n");
}
END_TEST

START_TEST(a_cursor_is_told_only_when_nothing_waits) /* what waits may be taken back, after the client has read the cursor */
{
    static uint8_t much[1 << 20];
    open_session();
    v1_session_tick(&session);
    ck_assert_str_eq(written, "{\"cursor\":\"" EPOCH "-0\"}\n");
    conn_write(conn, much, sizeof much);
    ck_assert_ptr_nonnull(conn->outq);
    v1_session_tick(&session);
    command("{\"id\":2,\"subscribe\":\"a\",\"last\":0}");
    answer_subscribe(0, 0);
    turn();
    ck_assert_ptr_null(strstr(written, "{\"live\""));
    ck_assert_str_eq(strchr(written, '\n'), "\n"); /* the answer, which takes a look at history, waits as well */
}
END_TEST

START_TEST(no_cursor_is_told_while_the_live_flow_is_behind)
{
    struct wish wish = { .last = READING_LAST_NONE, .has_after = true };
    uint64_t seq;
    publish("a");
    ck_assert_int_eq(subscribe(&session.sub, TEXT("a"), false, &seq), 1);
    ck_assert_int_eq(v1_session_open(&session, &wish, (struct opening_seqs){ seq, seq }), 0);
    ck_assert_ptr_nonnull(session.sub.catchup);
    ck_assert_ptr_nonnull(strstr(written, "\"cursor\":\"" EPOCH "-0\"")); /* hello's: all of it follows */
    written[0] = '\0';
    v1_session_tick(&session);
    command("{\"id\":1,\"subscribe\":\"b\",\"last\":0}");
    answer_subscribe(0, 0);
    ck_assert_ptr_null(strstr(written, "\"live\""));
    ck_assert_int_ne(strncmp(written, "{\"cursor\":", 10), 0);
    ck_assert_ptr_null(strstr(written, "\n{\"cursor\":"));
    for (int i = 0; i < 4; i++)
        turn();
    ck_assert_ptr_null(session.sub.catchup);
    ck_assert_ptr_nonnull(strstr(written, "{\"cursor\":\"" EPOCH "-1\"}\n"));
    ck_assert_ptr_nonnull(strstr(written, "{\"live\":1,\"cursor\":\"" EPOCH "-1\"}\n"));
}
END_TEST

START_TEST(a_closing_session_writes_nothing)
{
    open_session();
    command("{\"id\":1,\"subscribe\":\"a\"}");
    command("nonsense");
    ck_assert_uint_eq(closed_with, 1007);
    answer_subscribe(0, 0);
    v1_session_tick(&session);
    v1_session_stop(&session);
    command("{\"id\":2,\"ping\":true}");
    ck_assert_str_eq(written, "");
}
END_TEST

START_TEST(a_session_is_found_by_its_id_while_it_is_open)
{
    struct client id = session.client;
    ck_assert_ptr_null(v1_session_find(&reactor, &id));
    open_session();
    ck_assert_ptr_eq(v1_session_find(&reactor, &id), &session);
    id.random[15] ^= 1;
    ck_assert_ptr_null(v1_session_find(&reactor, &id));
    id = session.client;
    v1_session_end(&session);
    ck_assert_ptr_null(v1_session_find(&reactor, &id));
}
END_TEST

START_TEST(an_error_is_an_object_whatever_it_says)
{
    struct buf out = { 0 };
    v1_write_error(&out, TEXT("7"), "bad_topic", "a \"quote\"\n");
    v1_write_error(&out, TEXT(""), "bad_topic", "not UTF-8: \xff");
    buf_append(&out, "", 1);
    ck_assert_str_eq((char *)out.data, "{\"id\":7,\"error\":{\"code\":\"bad_topic\",\"message\":\"a \\\"quote\\\"\\n\"}}"
                                       "{\"error\":{\"code\":\"bad_topic\",\"message\":\"refused\"}}");
    buf_done(&out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("v1_session");
    TCase *tc = tcase_create("session");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_subscribe_is_answered_when_all_of_it_is_in_force);
    tcase_add_test(tc, changes_are_made_in_the_order_of_their_commands);
    tcase_add_test(tc, a_subscribe_that_fails_takes_back_what_it_did_and_no_more);
    tcase_add_test(tc, the_limit_of_subscriptions_counts_those_on_their_way);
    tcase_add_test(tc, a_session_outlives_what_is_on_its_way);
    tcase_add_test(tc, what_only_a_publish_holds_has_no_subscriptions_any_more);
    tcase_add_test(tc, too_much_on_its_way_stops_reading_until_half_is_answered);
    tcase_add_test(tc, an_answer_that_goes_elsewhere_goes_there_alone_and_once);
    tcase_add_loop_test(tc, whoever_waits_elsewhere_is_told_that_there_will_be_no_answer, 0, 4);
    tcase_add_test(tc, live_is_told_when_the_live_flow_has_passed_it_too);
    tcase_add_test(tc, a_list_is_replayed_up_to_where_the_last_of_it_begins);
    tcase_add_test(tc, what_was_subscribed_to_before_is_replayed_up_to_now);
    tcase_add_test(tc, a_cursor_is_told_only_when_nothing_waits);
    tcase_add_test(tc, no_cursor_is_told_while_the_live_flow_is_behind);
    tcase_add_test(tc, a_closing_session_writes_nothing);
    tcase_add_test(tc, a_session_is_found_by_its_id_while_it_is_open);
    tcase_add_test(tc, an_error_is_an_object_whatever_it_says);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
