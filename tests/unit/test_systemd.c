#include "server/systemd.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support.h"

/* ---- the watchdog */

static const struct {
    const char *name;
    uint64_t turns_ms[3];
    size_t count;
    bool may_feed;
} watchdogs[] = {
    { "all have turned just now", { 1000, 1000, 1000 }, 3, true },
    { "the one reactor there is turned in time", { 950 }, 1, true },
    { "one turned exactly at the limit", { 1000, 900, 1000 }, 3, true },
    { "the first is stuck", { 899, 1000, 1000 }, 3, false },
    { "one in the middle is stuck", { 1000, 899, 1000 }, 3, false },
    { "the last is stuck", { 1000, 1000, 0 }, 3, false },
    { "all are stuck", { 1, 2, 3 }, 3, false },
    { "one read the clock after us", { 1000, 1001, 1000 }, 3, true },
};

START_TEST(the_watchdog_is_fed_only_while_every_reactor_turns)
{
    ck_assert_msg(systemd_may_feed(watchdogs[_i].turns_ms, watchdogs[_i].count, 1000, 100) == watchdogs[_i].may_feed, "%s",
                  watchdogs[_i].name);
}
END_TEST

/* ---- the environment */

START_TEST(without_a_manager_there_is_nothing)
{
    unsetenv("NOTIFY_SOCKET");
    unsetenv("LISTEN_FDS");
    unsetenv("WATCHDOG_USEC");
    systemd_init();
    ck_assert_uint_eq(systemd_listen_fds(), 0);
    ck_assert_uint_eq(systemd_watchdog_ms(), 0);
    systemd_ready();
    systemd_watchdog_feed();
}
END_TEST

START_TEST(what_is_for_another_process_is_not_taken)
{
    setenv("NOTIFY_SOCKET", "/nowhere", 1);
    setenv("LISTEN_FDS", "3", 1);
    setenv("LISTEN_PID", "1", 1);
    setenv("WATCHDOG_USEC", "3000000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    systemd_init();
    ck_assert_uint_eq(systemd_listen_fds(), 0);
    ck_assert_uint_eq(systemd_watchdog_ms(), 0);
    ck_assert_msg(getenv("LISTEN_FDS") == NULL && getenv("LISTEN_PID") == NULL && getenv("WATCHDOG_PID") == NULL, "a child would be misled");
}
END_TEST

START_TEST(what_is_for_this_process_is_taken)
{
    char pid[24];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    setenv("NOTIFY_SOCKET", "/nowhere", 1);
    setenv("LISTEN_FDS", "3", 1);
    setenv("LISTEN_PID", pid, 1);
    setenv("WATCHDOG_USEC", "3000000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    systemd_init();
    ck_assert_uint_eq(systemd_listen_fds(), 3);
    ck_assert_uint_eq(systemd_watchdog_ms(), 3000);
}
END_TEST

START_TEST(a_notify_socket_may_be_abstract)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    char name[64], got[64];
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    snprintf(name, sizeof name, "@halley-test-%ld", (long)getpid());
    memcpy(un.sun_path + 1, name + 1, strlen(name) - 1);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    systemd_init();
    systemd_ready();
    ck_assert_int_eq(recv(fd, got, sizeof got, MSG_DONTWAIT), 7);
    ck_assert_mem_eq(got, "READY=1", 7);
    close(fd);
}
END_TEST

/* ---- the journal */

static const struct {
    const char *name;
    const char *text;
    const char *fields; /* after MESSAGE */
} entries[] = {
    { "a sentence has no fields", "this is how it is", "" },
    { "pairs at the beginning become fields", "door=public address=[::]:80", "HALLEY_DOOR=public\nHALLEY_ADDRESS=[::]:80\n" },
    { "a sentence ends them", "uid=7 is not welcome: see mode=0660", "HALLEY_UID=7\n" },
    { "a quoted value may have spaces, and keeps its quotes", "topic='a b' n=1", "HALLEY_TOPIC='a b'\nHALLEY_N=1\n" },
    { "a quoted quote does not end it", "topic='a\\' x=1 b' n=1", "HALLEY_TOPIC='a\\' x=1 b'\nHALLEY_N=1\n" },
    { "a quote that is not closed is no value", "topic='a x=1", "" },
    { "an empty value is none", "a= b=1", "" },
    { "a name in capitals is none", "PRIORITY=0", "" },
    { "a name that is too long is none", "a_name_that_is_much_longer_than_any_of_ours_would_be=1", "" },
    { "no text at all", "", "" },
};

START_TEST(a_journal_entry_has_a_field_for_each_pair)
{
    char out[1000], want[1000];
    size_t len = systemd_journal_entry(out, sizeof out, 6, "ready", entries[_i].text);
    snprintf(want, sizeof want, "PRIORITY=6\nSYSLOG_IDENTIFIER=halleyd\nHALLEY_EVENT=ready\nMESSAGE=ready %s\n%s", entries[_i].text, entries[_i].fields);
    ck_assert_msg(len == strlen(want) && memcmp(out, want, len) == 0, "%s: got %.*s", entries[_i].name, (int)len, out);
}
END_TEST

START_TEST(an_entry_is_cut_between_fields_at_every_size)
{
    char out[200];
    static const char text[] = "door=public address=[::]:80";
    size_t whole = systemd_journal_entry(out, sizeof out, 6, "ready", text);
    for (size_t size = 0; size <= whole; size++) {
        size_t len = systemd_journal_entry(out, size, 6, "ready", text);
        HOLDS(len <= size && (len == 0 || out[len - 1] == '\n'));
    }
}
END_TEST

START_TEST(a_text_of_many_pairs_has_sixteen_fields)
{
    char text[1000] = "", out[4000];
    for (int i = 0; i < 40; i++)
        sprintf(text + strlen(text), "n%d=%d ", i, i);
    size_t len = systemd_journal_entry(out, sizeof out - 1, 6, "ready", text), lines = 0;
    for (size_t i = 0; i < len; i++)
        lines += out[i] == '\n';
    ck_assert_uint_eq(lines, 4 + 16);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("systemd");
    TCase *tc = tcase_create("systemd");
    tcase_add_loop_test(tc, the_watchdog_is_fed_only_while_every_reactor_turns, 0, (int)HLY_ARRAY_LEN(watchdogs));
    tcase_add_test(tc, without_a_manager_there_is_nothing);
    tcase_add_test(tc, what_is_for_another_process_is_not_taken);
    tcase_add_test(tc, what_is_for_this_process_is_taken);
    tcase_add_test(tc, a_notify_socket_may_be_abstract);
    tcase_add_loop_test(tc, a_journal_entry_has_a_field_for_each_pair, 0, (int)HLY_ARRAY_LEN(entries));
    tcase_add_test(tc, an_entry_is_cut_between_fields_at_every_size);
    tcase_add_test(tc, a_text_of_many_pairs_has_sixteen_fields);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed > 0;
}
