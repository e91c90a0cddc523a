#include "core/presence.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "support.h"

#define TOPIC SLICE_LIT("room/one")
#define PLENTY ((uint64_t)1 << 40)

static struct presence *presence;

static void restart(uint64_t max_bytes)
{
    presence_free(presence);
    presence = presence_new(max_bytes);
    ck_assert_ptr_nonnull(presence);
}

static void setup(void)
{
    restart(PLENTY);
}

static void teardown(void)
{
    presence_free(presence);
    presence = NULL;
}

/* ---- short ways to say things. A user "#7" is anonymous, its text "7". */

static struct presence_member member(const char *user, const char *info)
{
    bool is_anonymous = user[0] == '#';
    return (
        struct presence_member){ .user = TEXT(user + is_anonymous), .is_anonymous = is_anonymous, .info = TEXT(info) };
}

static int join_with(const char *user, uint64_t connection, const char *info)
{
    struct presence_member who = member(user, info);
    return presence_join(presence, TOPIC, &who, connection);
}

static int join(const char *user, uint64_t connection)
{
    return join_with(user, connection, "");
}

static int leave(const char *user, uint64_t connection, uint64_t now_ms, uint64_t grace_ms)
{
    return presence_leave(presence, TOPIC, member(user, "").user, connection, now_ms, grace_ms);
}

static struct presence_stats stats(void)
{
    struct presence_stats s;
    presence_get_stats(presence, &s);
    return s;
}

static void is_empty(void)
{
    struct presence_stats s = stats();
    HOLDS(s.topics == 0 && s.members == 0 && s.connections == 0 && s.bytes == 0);
    struct presence_count c = presence_count(presence, TOPIC);
    HOLDS(c.members == 0 && c.connections == 0);
}

static void write_member(const struct presence_member *m, void *ctx) /* "user:connections:info " */
{
    char *text = ctx;
    HOLDS(m->user.len + m->info.len < 100);
    sprintf(text + strlen(text), "%s%.*s:%u:%.*s ", m->is_anonymous ? "#" : "", (int)m->user.len, m->user.ptr,
            m->connections, (int)m->info.len, m->info.ptr);
}

static const char *page(uint64_t *next, size_t max, bool want_more)
{
    static char text[4096];
    text[0] = '\0';
    HOLDS(presence_page(presence, TOPIC, next, max, write_member, text) == want_more);
    return text;
}

static const char *list(void)
{
    uint64_t next = 0;
    return page(&next, PRESENCE_PAGE_MAX, false);
}

static void write_left(struct slice topic, const struct presence_member *who, void *ctx)
{
    HOLDS(topic.len == TOPIC.len && memcmp(topic.ptr, TOPIC.ptr, topic.len) == 0);
    write_member(who, ctx);
}

static const char *expire(uint64_t now_ms, size_t max, bool want_more)
{
    static char text[4096];
    text[0] = '\0';
    HOLDS(presence_expire(presence, now_ms, max, write_left, text) == want_more);
    return text;
}

/* ---- who is told to have joined and left */

/* Steps: "+a/1" user a joins with connection 1, "-a/1" leaves, "x" expires; "@5" at that time, "~9" with that grace; "=1" is
 * what it returns, or how many left. */
static const struct {
    const char *name;
    const char *steps;
    const char *left; /* there in the end */
} courses[] = {
    { "comes and goes", "+a/1=1 -a/1=1", "" },
    { "joining twice is once", "+a/1=1 +a/1=0 -a/1=1", "" },
    { "leaving twice is once", "+a/1=1 -a/1=1 -a/1=0", "" },
    { "leaves and was never there", "-a/1=0 -a/1~100=0 x@1000=0", "" },
    { "leaves with a connection that was never there", "+a/1=1 -a/2=0", "a:1: " },
    { "leaves with another user's connection", "+a/1=1 +b/2=1 -a/2=0", "a:1: b:1: " },
    { "first joins, last leaves", "+a/1=1 +a/2=0 -a/1=0 +a/3=0 -a/3=0 -a/2=1", "" },
    { "joins and leaves in turn", "+a/1=1 -a/1=1 +a/1=1 -a/1=1 +a/1=1", "a:1: " },
    { "within its grace it is there", "+a/1=1 -a/1@10~5=0 x@14=0", "a:0: " },
    { "it leaves when its grace is over", "+a/1=1 -a/1@10~5=0 x@15=1", "" },
    { "leaving again within the grace changes nothing", "+a/1=1 -a/1@10~5=0 -a/1@14~5=0 -a/1@14=0 x@15=1", "" },
    { "coming back within the grace is silent", "+a/1=1 -a/1@10~5=0 +a/2=0 x@1000=0", "a:1: " },
    { "coming back before it is told to have left is silent", "+a/1=1 -a/1@10~5=0 +a/1=0 x@1000=0", "a:1: " },
    { "coming back later is not", "+a/1=1 -a/1@10~5=0 x@15=1 +a/1=1", "a:1: " },
    { "a second grace is counted from the second leaving", "+a/1=1 -a/1@10~5=0 +a/1=0 -a/1@20~5=0 x@24=0 x@25=1", "" },
    { "no grace after a grace", "+a/1=1 -a/1@10~5=0 +a/1=0 -a/1@12=1 x@25=0", "" },
    { "graces end in their own order", "+a/1=1 +b/2=1 +c/3=1 -a/1~20=0 -b/2@1~90=0 -c/3@2~10=0 x@11=0 x@12=1 x@90=1",
      "b:0: " },
    { "a grace without end has none", "+a/1=1 -a/1@10~18446744073709551615=0 x@18446744073709551614=0", "a:0: " },
    { "without a subject each connection is a member", "+#1/1=1 +#2/2=1 -#1/1=1", "#2:1: " },
    { "a subject that reads as a connection's id is another member", "+#1/1=1 +1/2=1 -1/2=1", "#1:1: " },
    { "a connection that joins for another user leaves the first", "+a/1=1 +b/1=1 -a/1=0 x@0=1", "b:1: " },
    { "of which nothing stays", "+a/1=1 +b/1=1 -b/1=1 x@0=1", "" },
    { "which has others", "+a/1=1 +a/2=0 +b/1=1 x@9=0", "a:1: b:1: " },
    { "to and fro is silent", "+a/1=1 +b/1=1 +a/1=0 x@9=1", "a:1: " },
    { "it comes before graces that are over", "+a/1=1 +b/2=1 -b/2~1=0 +c/1=1 -c/1=1 x@0=1 x@1=1", "" },
    { "a subject of its connection's id, from then on", "+#1/1=1 +1/1=1 x@0=1", "1:1: " },
};

static int expired(uint64_t now_ms)
{
    int told = 0;
    for (const char *text = expire(now_ms, 100, false); (text = strchr(text, ' ')) != NULL; text++)
        told++;
    return told;
}

static void take_step(const char *name, const char *step)
{
    char user[4] = "", sign;
    uint64_t connection = 0, value;
    uint64_t args[128] = { 0 }; /* of '@', '~' and '=' */
    int used = 1, n = 0;
    HOLDS(step[0] == 'x' || sscanf(step, "%*c%3[^/]/%" SCNu64 "%n", user, &connection, &used) == 2);
    for (; sscanf(step + used, "%c%" SCNu64 "%n", &sign, &value, &n) == 2; used += n)
        args[sign & 127] = value;
    int got = step[0] == '+'   ? join(user, connection)
              : step[0] == '-' ? leave(user, connection, args['@'], args['~'])
                               : expired(args['@']);
    ck_assert_msg(got == (int)args['='], "%s: %s: got %d", name, step, got);
}

START_TEST(joining_and_leaving_are_told_in_turn)
{
    char steps[256];
    ck_assert_uint_lt(strlen(courses[_i].steps), sizeof steps);
    strcpy(steps, courses[_i].steps);
    for (char *at = steps, *step; (step = strsep(&at, " ")) != NULL;)
        take_step(courses[_i].name, step);
    ck_assert_msg(strcmp(list(), courses[_i].left) == 0, "%s: left are '%s'", courses[_i].name, list());
    if (courses[_i].left[0] == '\0')
        is_empty();
}
END_TEST

START_TEST(the_same_user_on_two_topics_is_two_members)
{
    struct presence_member who = member("a", "");
    ck_assert_int_eq(presence_join(presence, SLICE_LIT("one"), &who, 1), 1);
    ck_assert_int_eq(presence_join(presence, SLICE_LIT("two"), &who, 1), 1);
    ck_assert_int_eq(presence_join(presence, SLICE_LIT("two"), &who, 2), 0);
    ck_assert_uint_eq(stats().members, 2);
    ck_assert_uint_eq(stats().connections, 3);
    ck_assert_int_eq(presence_leave(presence, SLICE_LIT("on"), who.user, 1, 0, 0), 0);
    ck_assert_int_eq(presence_leave(presence, SLICE_LIT("one"), who.user, 1, 0, 0), 1);
    ck_assert_uint_eq(presence_count(presence, SLICE_LIT("one")).members, 0);
    ck_assert_uint_eq(presence_count(presence, SLICE_LIT("two")).members, 1);
    ck_assert_uint_eq(presence_count(presence, SLICE_LIT("two")).connections, 2);
    ck_assert_uint_eq(stats().topics, 1);
}
END_TEST

START_TEST(info_is_that_of_the_last_join)
{
    join_with("a", 1, "{\"n\":1}");
    join_with("a", 2, "{\"n\":\"two\"}");
    ck_assert_str_eq(list(), "a:2:{\"n\":\"two\"} ");
    leave("a", 2, 0, 0);
    ck_assert_str_eq(list(), "a:1:{\"n\":\"two\"} ");
    ck_assert_int_eq(join_with("a", 1, "{}"), 0); /* a token refresh */
    ck_assert_str_eq(list(), "a:1:{} ");
    leave("a", 1, 0, 10);
    ck_assert_str_eq(list(), "a:0:{} ");
    ck_assert_int_eq(join("a", 3), 0);
    ck_assert_str_eq(list(), "a:1: ");
    ck_assert_int_eq(join_with("a", 3, "[]"), 0);
    leave("a", 3, 0, 10);
    ck_assert_str_eq(expire(10, 1, false), "a:0:[] ");
    is_empty();
}
END_TEST

START_TEST(names_of_any_bytes_are_themselves)
{
    char topic[255], subject[255], info[4096];
    memset(topic, 't', sizeof topic);
    memset(subject, 0, sizeof subject);
    memset(info, ' ', sizeof info);
    for (size_t len = 0; len <= 255; len++) { /* one of 0 bytes too: nothing depends on there being any */
        struct presence_member who = { .user = { subject, len }, .info = { info, len * 16 } };
        HOLDS(presence_join(presence, (struct slice){ topic, 255 }, &who, 1000 + len) == 1);
        HOLDS(len == 0 || presence_join(presence, (struct slice){ topic, len }, &who, 1) == (len < 255));
    }
    ck_assert_uint_eq(stats().topics, 255);
    ck_assert_uint_eq(presence_count(presence, (struct slice){ topic, 255 }).members, 256);
    for (size_t len = 0; len <= 255; len++) {
        struct slice user = { subject, len };
        HOLDS(presence_leave(presence, (struct slice){ topic, 255 }, user, 1000 + len, 0, 0) == (len < 255));
        HOLDS(len == 0 || presence_leave(presence, (struct slice){ topic, len }, user, 1, 0, 0) == 1);
    }
    is_empty();
}
END_TEST

/* ---- the limit */

START_TEST(things_cost_what_the_header_says)
{
    if (sizeof(void *) != 8)
        return;
    join("subject8", 1);
    ck_assert_uint_eq(stats().bytes, 80 + 128 + 64);
    join("subject8", 2);
    ck_assert_uint_eq(stats().bytes, 80 + 128 + 2 * 64);
    join("subject9", 3);
    ck_assert_uint_eq(stats().bytes, 80 + 2 * 128 + 3 * 64);
    join_with("subject9", 3, "{}");
    ck_assert_uint_eq(stats().bytes, 80 + 2 * 128 + 3 * 64 + 32);
    leave("subject9", 3, 0, 10);
    ck_assert_uint_eq(stats().bytes, 80 + 2 * 128 + 2 * 64 + 32);
    expire(10, 1, false);
    ck_assert_uint_eq(stats().bytes, 80 + 128 + 2 * 64);
}
END_TEST

static const struct {
    const char *name;
    const char *user;
    uint64_t connection;
    const char *info;
} costly[] = {
    { "a member on a new topic", "b", 9, "" },
    { "a member", "b", 9, "" },
    { "a member with info", "b", 9, "{}" },
    { "a connection", "a", 9, "{\"colour\":\"of the rainbow\"}" },
    { "a connection with longer info", "a", 9, "{\"colour\":\"of the rainbow\", \"and\":\"brighter\"}" },
    { "longer info of the same connection", "a", 1, "{\"colour\":\"of the rainbow\", \"and\":\"brighter\"}" },
    { "another user of a connection", "b", 1, "" },
};

START_TEST(a_join_fits_to_the_byte_or_changes_nothing)
{
    if (_i > 0) /* the first has the topic to itself */
        join_with("a", 1, "{\"colour\":\"of the rainbow\"}");
    char before[4096];
    strcpy(before, list());
    uint64_t bytes = stats().bytes;
    restart(PLENTY);
    if (_i > 0)
        join_with("a", 1, "{\"colour\":\"of the rainbow\"}");
    ck_assert_int_ge(join_with(costly[_i].user, costly[_i].connection, costly[_i].info), 0);
    uint64_t needed = stats().bytes;
    ck_assert_uint_gt(needed, bytes);

    restart(needed - 1);
    if (_i > 0)
        join_with("a", 1, "{\"colour\":\"of the rainbow\"}");
    int r = join_with(costly[_i].user, costly[_i].connection, costly[_i].info);
    ck_assert_msg(r == -EDQUOT, "%s: got %d", costly[_i].name, r);
    ck_assert_str_eq(list(), before);
    ck_assert_uint_eq(stats().bytes, bytes);
    ck_assert_uint_eq(stats().refused, 1);
    ck_assert_int_eq(leave(costly[_i].user, 9, 0, 0), 0);
    presence_set_max_bytes(presence, needed);
    ck_assert_int_ge(join_with(costly[_i].user, costly[_i].connection, costly[_i].info), 0);
    ck_assert_uint_eq(stats().bytes, needed);
    ck_assert_uint_eq(stats().refused, 1);
}
END_TEST

START_TEST(over_a_limit_that_was_lowered_what_costs_nothing_more_is_not_refused)
{
    join_with("a", 1, "{\"colour\":\"of the rainbow\"}");
    join_with("b", 2, "{\"colour\":\"of the rainbow\"}");
    presence_set_max_bytes(presence, 0);
    ck_assert_int_eq(join_with("a", 1, "{\"colour\":\"on the rainbow\"}"), 0);
    ck_assert_int_eq(join("a", 1), 0);
    ck_assert_int_eq(join_with("b", 1, "{\"colour\":\"of the rainbow\"}"),
                     0); /* another user's connection: a has none now */
    ck_assert_str_eq(list(), "a:0: b:2:{\"colour\":\"of the rainbow\"} ");
    ck_assert_int_eq(join("b", 3), -EDQUOT);
    ck_assert_str_eq(expire(0, 9, false), "a:0: ");
    ck_assert_int_eq(leave("b", 2, 0, 0), 0);
    ck_assert_int_eq(leave("b", 3, 0, 0), 0);
    ck_assert_int_eq(leave("b", 1, 0, 0), 1);
    is_empty();
    ck_assert_int_eq(join("a", 1), -EDQUOT);
    is_empty();
}
END_TEST

static uint64_t allocated(void)
{
#if defined __GLIBC__ && __GLIBC_PREREQ(2, 33)
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
#else
    return 0;
#endif
}

START_TEST(what_is_counted_is_what_is_allocated)
{
    char user[300], info[300];
    uint64_t before = allocated();
    if (IS_SANITIZED || before == 0)
        return;
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(user, sizeof user, "%0*u", 1 + (int)(i % 40), i);
        snprintf(info, sizeof info, "%*s", (int)(i % 7 * 20), "");
        HOLDS(join_with(user, i, info) >= 0);
    }
    double of = (double)(allocated() - before) / (double)stats().bytes;
    ck_assert_msg(of > 0.93 && of < 1.03, "%.3f of what is counted", of);
}
END_TEST

static void count_left(struct slice topic, const struct presence_member *who, void *ctx)
{
    (void)topic;
    (void)who;
    ++*(uint64_t *)ctx;
}

START_TEST(without_memory_a_join_changes_nothing)
{
    char user[16];
    static char info[65536];
    if (!limit_memory(192u << 20))
        return;
    memset(info, ' ', sizeof info - 1);
    uint64_t refusals = 0, n = 0, told = 0;
    seed_random();
    for (; refusals < 100 && n < 100000; n++) {
        snprintf(user, sizeof user, "%" PRIu64, n % 20000);
        struct presence_stats before = stats(), after;
        int r = join_with(user, n, info + below(sizeof info));
        after = stats();
        HOLDS(r >= 0 || r == -ENOMEM);
        HOLDS(r >= 0 || memcmp(&before, &after, sizeof after) == 0);
        refusals += r < 0;
    }
    for (uint64_t i = 0; i < n; i++) { /* before anything is asserted: Check needs memory for that */
        snprintf(user, sizeof user, "%" PRIu64, i % 20000);
        leave(user, i, 0, i % 2);
    }
    HOLDS(!presence_expire(presence, 1, SIZE_MAX, count_left, &told));
    is_empty();
    ck_assert_uint_eq(refusals, 100);
}
END_TEST

START_TEST(a_join_that_gets_only_half_its_memory_gives_it_back)
{
    if (!limit_memory(192u << 20))
        return;
    struct presence_member who = member("a", ""); /* never read: there is no memory for a copy */
    who.info = (struct slice){ who.user.ptr, (size_t)1 << 30 };
    uint64_t before = allocated();
    for (uint64_t i = 0; i < 10000; i++)
        HOLDS(presence_join(presence, TOPIC, &who, i) == -ENOMEM);
    HOLDS(allocated() < before + 10000);
    is_empty();
}
END_TEST

/* ---- pages */

START_TEST(pages_are_in_the_order_of_joining)
{
    uint64_t next = 0;
    join("c", 1);
    join("a", 2);
    join("b", 3);
    join("c", 4);
    join("#1", 5);
    ck_assert_str_eq(page(&next, 2, true), "c:2: a:1: ");
    ck_assert_str_eq(page(&next, 1, true), "b:1: ");
    ck_assert_str_eq(page(&next, 0, true), "");
    ck_assert_str_eq(page(&next, 1, false), "#1:1: ");
    ck_assert_str_eq(page(&next, 9, false), "");
    join("d", 6);
    ck_assert_str_eq(page(&next, 9, false), "d:1: ");
    next = 0;
    ck_assert_str_eq(page(&next, 5, false), "c:2: a:1: b:1: #1:1: d:1: ");
}
END_TEST

START_TEST(who_stays_is_seen_once_while_others_come_and_go)
{
    uint64_t next = 0;
    for (uint64_t i = 0; i < 8; i++)
        join((char[]){ (char)('a' + i), '\0' }, i);
    ck_assert_str_eq(page(&next, 3, true), "a:1: b:1: c:1: ");
    leave("a", 0, 0, 0); /* seen, and gone */
    leave("c", 2, 0, 0); /* the last of the page */
    leave("d", 3, 0, 0); /* the first of the next: missed */
    leave("f", 5, 0, 9); /* within its grace */
    ck_assert_str_eq(page(&next, 2, true), "e:1: f:0: ");
    join("a", 0); /* back, last */
    join("f", 5); /* has never left */
    join("i", 9);
    ck_assert_str_eq(page(&next, 9, false), "g:1: h:1: a:1: i:1: ");
}
END_TEST

START_TEST(a_page_goes_on_after_the_topic_was_empty)
{
    uint64_t next = 0;
    join("a", 1);
    join("b", 2);
    ck_assert_str_eq(page(&next, 1, true), "a:1: ");
    leave("a", 1, 0, 0);
    leave("b", 2, 0, 0);
    ck_assert_str_eq(page(&next, 1, false), "");
    join("c", 3);
    ck_assert_str_eq(page(&next, 1, false), "c:1: ");
}
END_TEST

static const uint64_t made_up[] = { 3, 5, 1000000, (uint64_t)1 << 32, UINT64_MAX - 1, UINT64_MAX };

START_TEST(a_place_that_is_made_up_is_behind_the_last_member)
{
    uint64_t next = made_up[_i];
    join("a", 1);
    join("b", 2);
    ck_assert_str_eq(page(&next, 10, false), "");
    ck_assert_uint_eq(next, made_up[_i]);
    ck_assert(!presence_page(presence, SLICE_LIT("none"), &next, 10, write_member, NULL));
}
END_TEST

static void count_member(const struct presence_member *m, void *ctx)
{
    (void)m;
    ++*(uint64_t *)ctx;
}

START_TEST(a_page_has_at_most_a_thousand_members)
{
    char user[16];
    uint64_t next = 0, seen = 0;
    for (uint64_t i = 0; i < 2000; i++) {
        snprintf(user, sizeof user, "%" PRIu64, i);
        join(user, i);
    }
    ck_assert(presence_page(presence, TOPIC, &next, SIZE_MAX, count_member, &seen));
    ck_assert_uint_eq(seen, 1000);
    ck_assert(!presence_page(presence, TOPIC, &next, 5000, count_member, &seen));
    ck_assert_uint_eq(seen, 2000);
}
END_TEST

START_TEST(those_whose_grace_is_over_leave_in_slices)
{
    char user[2] = "a";
    for (uint64_t i = 0; i < 7; i++, user[0]++) {
        join(user, i);
        leave(user, i, i * 100 % 70, 5); /* deadlines 5 35 65 25 55 15 45 */
    }
    ck_assert_str_eq(expire(4, 3, false), "");
    ck_assert_str_eq(expire(45, 0, true), "");
    ck_assert_str_eq(expire(45, 2, true), "a:0: f:0: ");
    ck_assert_str_eq(expire(45, 3, false), "d:0: b:0: g:0: ");
    ck_assert_str_eq(expire(10000, 9, false), "e:0: c:0: ");
    is_empty();
}
END_TEST

static void join_again(struct slice topic, const struct presence_member *who, void *ctx)
{
    HOLDS(presence_join(presence, topic, who, 77) == 1);
    ++*(int *)ctx;
}

START_TEST(a_visit_of_one_that_left_may_call_back)
{
    int visits = 0;
    join_with("a", 1, "{}");
    leave("a", 1, 0, 1);
    ck_assert(!presence_expire(presence, 1, 9, join_again, &visits));
    ck_assert_int_eq(visits, 1);
    ck_assert_str_eq(list(), "a:1:{} ");
}
END_TEST

/* ---- large and many. A tree that grew deep, or a walk over all, would take hours here. */

#define CROWD (IS_SANITIZED ? 10000u : 100000u)

static int crowd_join(uint64_t i)
{
    char user[16];
    snprintf(user, sizeof user, "%" PRIu64, i);
    return join(user, i);
}

static int crowd_leave(uint64_t i, uint64_t grace_ms)
{
    char user[16];
    snprintf(user, sizeof user, "%" PRIu64, i);
    return leave(user, i, 0, grace_ms);
}

static const struct {
    const char *name;
    uint64_t first;
    uint64_t step;
} departures[] = {
    { "as they came", 0, 1 },
    { "the last first", CROWD - 1, CROWD - 1 },
    { "here and there", 0, 77773 }, /* prime to CROWD: each comes once */
};

static uint64_t departing(int row, uint64_t n) /* who is the n-th to go */
{
    return (departures[row].first + n * departures[row].step) % CROWD;
}

START_TEST(a_crowd_comes_pages_and_goes)
{
    uint64_t seen = 0, next = 0;
    for (uint64_t n = 0; n < CROWD; n++)
        HOLDS(crowd_join(n) == 1);
    while (presence_page(presence, TOPIC, &next, 1, count_member, &seen))
        continue;
    ck_assert_uint_eq(seen, CROWD);
    for (uint64_t n = 0; n < CROWD; n++)
        HOLDS(crowd_leave(departing(_i, n), 0) == 1);
    is_empty();
}
END_TEST

START_TEST(a_crowd_waits_and_leaves_in_slices)
{
    uint64_t told = 0;
    for (uint64_t n = 0; n < CROWD; n++)
        HOLDS(crowd_join(n) == 1);
    for (uint64_t n = 0; n < CROWD; n++)
        HOLDS(crowd_leave(departing(_i, n), 1 + n / 10) == 0);
    for (uint64_t n = 0; n < CROWD; n += 2)
        HOLDS(crowd_join(n) == 0);
    for (uint64_t want = 100; presence_expire(presence, CROWD, 100, count_left, &told); want += 100)
        HOLDS(told == want);
    ck_assert_uint_eq(told, CROWD / 2);
    ck_assert_uint_eq(presence_count(presence, TOPIC).members, CROWD / 2);
    for (uint64_t n = 0; n < CROWD; n++)
        HOLDS(crowd_leave(n, 0) == (n % 2 == 0));
    is_empty();
}
END_TEST

static const uint64_t staying[] = { 50, CROWD / 10 }; /* how many are there while others come and go */

START_TEST(a_million_joins_and_leaves_leave_nothing)
{
    uint64_t most = staying[_i];
    for (uint64_t n = 0; n < 10u * CROWD; n++) {
        HOLDS(crowd_join(n) == 1);
        HOLDS(n < most || crowd_leave(n - most, 0) == 1);
        HOLDS(stats().members <= most && stats().bytes <= (most + 1) * 200);
    }
    for (uint64_t n = 10u * CROWD - most; n < 10u * CROWD; n++)
        HOLDS(crowd_leave(n, 0) == 1);
    is_empty();
}
END_TEST

START_TEST(a_user_with_many_connections_is_one_member)
{
    for (uint64_t n = 0; n < CROWD; n++)
        HOLDS(join("a", n) == (n == 0));
    ck_assert_uint_eq(stats().members, 1);
    for (uint64_t n = 0; n < CROWD; n++)
        HOLDS(leave("a", n, 0, 0) == (n == CROWD - 1));
    is_empty();
}
END_TEST

START_TEST(many_topics_with_one_member_each)
{
    char topic[16];
    uint64_t told = 0;
    struct presence_member who = member("a", "");
    for (unsigned n = 0; n < CROWD; n++) {
        int len = snprintf(topic, sizeof topic, "t/%u", n);
        HOLDS(presence_join(presence, (struct slice){ topic, (size_t)len }, &who, 1) == 1);
    }
    ck_assert_uint_eq(stats().topics, CROWD);
    for (unsigned n = 0; n < CROWD; n++) {
        int len = snprintf(topic, sizeof topic, "t/%u", n);
        HOLDS(presence_leave(presence, (struct slice){ topic, (size_t)len }, who.user, 1, n, n % 3) == (n % 3 == 0));
    }
    ck_assert(!presence_expire(presence, CROWD + 3, SIZE_MAX, count_left, &told));
    ck_assert_uint_eq(told, CROWD - (CROWD + 2) / 3);
    is_empty();
}
END_TEST

/* ---- anything, as in a plain table */

#define TOPICS 5
#define USERS 12
#define CONNECTIONS 24
#define INFOS 4

static char long_topic[255], long_user[255], long_info[4096];
static const struct slice topics[TOPICS] = {
    { "a", 1 }, { "ab", 2 }, { "b", 1 }, { "room/42", 7 }, { long_topic, sizeof long_topic },
};
static const struct presence_member users[USERS] = {
    { .user = { "a", 1 } },
    { .user = { "b", 1 } },
    { .user = { "ab", 2 } },
    { .user = { "7", 1 } },
    { .user = { "7", 1 }, .is_anonymous = true },
    { .user = { "a", 1 }, .is_anonymous = true },
    { .user = { "a\0", 2 } },
    { .user = { "12345678", 8 } },
    { .user = { "123456789", 9 } },
    { .user = { "\xc3\xa4", 2 } },
    { .user = { NULL, 0 } },
    { .user = { long_user, sizeof long_user } },
};
static const struct slice infos[INFOS] = {
    { NULL, 0 }, { "{}", 2 }, { "{\"n\":1}", 7 }, { long_info, sizeof long_info }
};

static struct {
    bool is_there;
    uint32_t connections;
    uint64_t number;
    uint64_t leaves_at_ms;
    int info;
} model[TOPICS][USERS];
static int model_at[TOPICS][CONNECTIONS]; /* for whom; -1: not there */
static uint64_t model_now_ms, model_numbers, model_bytes, model_max_bytes, model_refused;
static struct {
    uint64_t topics[TOPICS];
    uint64_t users[USERS];
    uint64_t infos[INFOS];
    uint64_t connection;
} price;
static struct {
    uint64_t joined, left, expired, refused, paged; /* so that a test of nothing is noticed */
} seen;

/* The bytes that a join adds. */
static uint64_t cost(struct slice topic, struct presence_member who, uint64_t connection)
{
    uint64_t before = stats().bytes;
    HOLDS(presence_join(presence, topic, &who, connection) >= 0);
    return stats().bytes - before;
}

static void learn_prices(void)
{
    struct presence_member who = { .user = SLICE_LIT("somebody else") };
    cost(topics[0], who, 1);
    price.connection = cost(topics[0], who, 2);
    for (int u = 0; u < USERS; u++)
        price.users[u] = cost(topics[0], users[u], 3 + (uint64_t)u) - price.connection;
    for (int i = 0; i < INFOS; i++) {
        who.info = infos[0];
        cost(topics[0], who, 1);
        who.info = infos[i];
        price.infos[i] = cost(topics[0], who, 1);
    }
    restart(PLENTY);
    for (int t = 0; t < TOPICS; t++)
        price.topics[t] = cost(topics[t], users[0], 1) - price.users[0] - price.connection;
}

static struct presence_count model_count(int t)
{
    struct presence_count c = { 0, 0 };
    for (int u = 0; u < USERS; u++) {
        c.members += model[t][u].is_there;
        c.connections += model[t][u].connections;
    }
    return c;
}

static bool slice_same(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static void holds_member(const struct presence_member *got, int t, int u)
{
    HOLDS(slice_same(got->user, users[u].user) && got->is_anonymous == users[u].is_anonymous);
    HOLDS(got->connections == model[t][u].connections && slice_same(got->info, infos[model[t][u].info]));
}

static void model_forget(int t, int u)
{
    model_bytes -= price.users[u] + price.infos[model[t][u].info];
    model[t][u].is_there = false;
    model[t][u].info = 0;
    if (model_count(t).members == 0)
        model_bytes -= price.topics[t];
}

static int model_join(int t, int u, int c, int info)
{
    uint64_t bytes = model_bytes + price.infos[info] - price.infos[model[t][u].info];
    bool is_new = !model[t][u].is_there;
    bytes += (model_count(t).members == 0 ? price.topics[t] : 0) + (is_new ? price.users[u] : 0) +
             (model_at[t][c] < 0 ? price.connection : 0);
    if (bytes > model_bytes && bytes > model_max_bytes) {
        model_refused++;
        return -EDQUOT;
    }
    model_bytes = bytes;
    if (is_new)
        model[t][u].number = ++model_numbers;
    model[t][u].is_there = true;
    model[t][u].info = info;
    int from = model_at[t][c];
    model_at[t][c] = u;
    model[t][u].connections++;
    if (from >= 0 && --model[t][from].connections == 0)
        model[t][from].leaves_at_ms = 0;
    return is_new;
}

static int model_leave(int t, int c, struct slice user, uint64_t grace_ms)
{
    int u = model_at[t][c];
    if (u < 0 || !slice_same(users[u].user, user))
        return 0;
    model_at[t][c] = -1;
    model_bytes -= price.connection;
    if (--model[t][u].connections > 0)
        return 0;
    model[t][u].leaves_at_ms = model_now_ms + grace_ms;
    if (grace_ms > 0)
        return 0;
    model_forget(t, u);
    return 1;
}

static bool model_due(int *ret_t, int *ret_u) /* the first whose grace is over */
{
    bool found = false;
    for (int t = 0; t < TOPICS; t++) {
        for (int u = 0; u < USERS; u++) {
            if (!model[t][u].is_there || model[t][u].connections > 0 || model[t][u].leaves_at_ms > model_now_ms)
                continue;
            uint64_t at = model[t][u].leaves_at_ms, best = found ? model[*ret_t][*ret_u].leaves_at_ms : 0;
            if (found && (at > best || (at == best && model[t][u].number > model[*ret_t][*ret_u].number)))
                continue;
            found = true;
            *ret_t = t;
            *ret_u = u;
        }
    }
    return found;
}

static void model_expired(struct slice topic, const struct presence_member *who, void *ctx)
{
    int t = 0, u = 0;
    (void)ctx;
    HOLDS(model_due(&t, &u) && slice_same(topic, topics[t]));
    holds_member(who, t, u);
    model_forget(t, u);
    seen.expired++;
}

static int model_from(int t, uint64_t number) /* the first member from there on; -1: none */
{
    int first = -1;
    for (int u = 0; u < USERS; u++)
        if (model[t][u].is_there && model[t][u].number >= number)
            first = first < 0 || model[t][u].number < model[t][first].number ? u : first;
    return first;
}

struct reader {
    int t;
    uint64_t next;        /* as the table gave it */
    uint64_t want_number; /* as the model has it */
    size_t members;
};

static void model_paged(const struct presence_member *m, void *ctx)
{
    struct reader *r = ctx;
    int u = model_from(r->t, r->want_number);
    HOLDS(u >= 0);
    holds_member(m, r->t, u);
    r->want_number = model[r->t][u].number + 1;
    r->members++;
    seen.paged++;
}

static void act_page(struct reader *r)
{
    size_t max = below(6);
    r->members = 0;
    bool has_more = presence_page(presence, topics[r->t], &r->next, max, model_paged, r);
    HOLDS(r->members <= max && (has_more ? r->members == max : true));
    HOLDS(has_more == (model_from(r->t, r->want_number) >= 0));
    if (!has_more && below(2) == 0)
        *r = (struct reader){ .t = r->t };
}

static void act_join(void)
{
    int t = (int)below(TOPICS), u = (int)below(USERS), c = (int)below(CONNECTIONS), info = (int)below(INFOS);
    if (model_at[t][c] >= 0 && below(4) > 0)
        u = model_at[t][c]; /* more seldom for another user */
    struct presence_member who = users[u];
    who.info = infos[info];
    who.connections = below(3); /* not looked at */
    int want = model_join(t, u, c, info);
    HOLDS(presence_join(presence, topics[t], &who, (uint64_t)c) == want);
    seen.joined += want == 1;
    seen.refused += want < 0;
}

static void act_leave(void)
{
    int t = (int)below(TOPICS), c = (int)below(CONNECTIONS), u = (int)below(USERS);
    if (model_at[t][c] >= 0 && below(8) > 0)
        u = model_at[t][c];
    uint64_t grace_ms = below(2) == 0 ? 0 : below(200);
    int want = model_leave(t, c, users[u].user, grace_ms);
    HOLDS(presence_leave(presence, topics[t], users[u].user, (uint64_t)c, model_now_ms, grace_ms) == want);
    seen.left += (uint64_t)want;
}

static void act_expire(size_t max)
{
    int t, u;
    bool has_more = presence_expire(presence, model_now_ms, max, model_expired, NULL);
    HOLDS(has_more == model_due(&t, &u));
}

static void holds_model(void)
{
    struct presence_stats s = stats(), want = { .bytes = model_bytes, .refused = model_refused };
    for (int t = 0; t < TOPICS; t++) {
        struct presence_count c = model_count(t), got = presence_count(presence, topics[t]);
        HOLDS(got.members == c.members && got.connections == c.connections);
        want.topics += c.members > 0;
        want.members += c.members;
        want.connections += c.connections;
    }
    HOLDS(memcmp(&s, &want, sizeof s) == 0);
}

static void model_begin(void)
{
    memset(model, 0, sizeof model);
    memset(model_at, -1, sizeof model_at);
    model_now_ms = 1000;
    model_numbers = model_bytes = model_refused = 0;
    model_max_bytes = below(2) == 0 ? PLENTY : 1000 + below(40000);
    restart(model_max_bytes);
}

static void model_end(void)
{
    for (int t = 0; t < TOPICS; t++)
        for (int c = 0; c < CONNECTIONS; c++)
            if (model_at[t][c] >= 0) {
                struct slice user = users[model_at[t][c]].user;
                HOLDS(model_leave(t, c, user, 5) == 0);
                HOLDS(presence_leave(presence, topics[t], user, (uint64_t)c, model_now_ms, 5) == 0);
            }
    holds_model();
    model_now_ms += 1000;
    act_expire(SIZE_MAX);
    holds_model();
    is_empty();
}

START_TEST(anything_that_happens_is_as_in_a_plain_table)
{
    seed_random();
    learn_prices();
    memset(long_topic, 'a', sizeof long_topic);
    memset(long_user, 'a', sizeof long_user);
    memset(long_info, ' ', sizeof long_info);
    for (int round = 0; round < (IS_SANITIZED ? 40 : 200); round++) {
        struct reader readers[TOPICS];
        model_begin();
        for (int t = 0; t < TOPICS; t++)
            readers[t] = (struct reader){ .t = t };
        uint32_t joins = 20 + below(50); /* in a hundred: some rounds are crowded, some not */
        for (int step = 0; step < 2000; step++) {
            uint32_t dice = below(100);
            if (dice < joins)
                act_join();
            else if (dice < 90)
                act_leave();
            else if (dice < 94)
                act_page(&readers[below(TOPICS)]);
            else if (dice < 97)
                model_now_ms += below(150);
            else
                act_expire(below(4));
            holds_model();
        }
        model_end();
    }
    HOLDS(seen.joined > 1000 && seen.left > 1000 && seen.expired > 1000 && seen.refused > 1000 && seen.paged > 1000);
}
END_TEST

/* ---- two threads join and leave, a third expires and reads */

#define WORKERS 2
#define WORKER_STEPS (IS_SANITIZED ? 20000 : 100000)

static _Atomic int told[TOPICS][USERS]; /* joins less leaves */
static _Atomic unsigned workers_done;

static void tell_left(struct slice topic, const struct presence_member *who, void *ctx)
{
    (void)ctx;
    for (int t = 0; t < TOPICS; t++)
        for (int u = 0; u < USERS; u++)
            if (slice_same(topic, topics[t]) && slice_same(who->user, users[u].user) &&
                who->is_anonymous == users[u].is_anonymous)
                atomic_fetch_sub(&told[t][u], 1);
}

/* Each worker has connections of its own, and shares topics and users with the others. */
static void *work(void *ctx)
{
    uint64_t first = (uint64_t)(uintptr_t)ctx * CONNECTIONS, random = first + 1;
    int at[TOPICS][CONNECTIONS];
    memset(at, -1, sizeof at);
    for (int step = 0; step < WORKER_STEPS + TOPICS * CONNECTIONS; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        bool is_over = step >= WORKER_STEPS;
        int n = is_over ? step - WORKER_STEPS : (int)(random >> 33) % (TOPICS * CONNECTIONS);
        int t = n % TOPICS, c = n / TOPICS, u = (int)(random >> 40) % USERS;
        struct presence_member who = users[u];
        who.info = infos[(random >> 50) % 3];
        if (!is_over && at[t][c] < 0) {
            int r = presence_join(presence, topics[t], &who, first + (uint64_t)c);
            HOLDS(r >= 0);
            atomic_fetch_add(&told[t][u], r);
            at[t][c] = u;
        } else if (at[t][c] >= 0) {
            u = at[t][c];
            atomic_fetch_sub(&told[t][u], presence_leave(presence, topics[t], users[u].user, first + (uint64_t)c,
                                                         (uint64_t)step, (random >> 20) % 3));
            at[t][c] = -1;
        }
    }
    atomic_fetch_add(&workers_done, 1);
    return NULL;
}

static void read_member(const struct presence_member *m, void *ctx)
{
    uint64_t *bytes = ctx;
    HOLDS(m->user.len <= sizeof long_user && m->connections <= WORKERS * CONNECTIONS);
    for (size_t i = 0; i < m->info.len; i++)
        *bytes += (uint8_t)m->info.ptr[i];
}

START_TEST(threads_are_told_of_as_many_leaves_as_joins)
{
    pthread_t workers[WORKERS];
    uint64_t bytes = 0;
    memset(long_topic, 'a', sizeof long_topic);
    memset(long_user, 'a', sizeof long_user);
    for (uintptr_t i = 0; i < WORKERS; i++)
        ck_assert_int_eq(pthread_create(&workers[i], NULL, work, (void *)i), 0);
    for (uint64_t turn = 0; atomic_load(&workers_done) < WORKERS; turn++) {
        uint64_t next = 0;
        presence_expire(presence, turn * 100, 1 + turn % 5, tell_left, NULL);
        while (presence_page(presence, topics[turn % TOPICS], &next, 1 + turn % 4, read_member, &bytes))
            continue;
        HOLDS(presence_count(presence, topics[turn % TOPICS]).members <= USERS);
        HOLDS(stats().connections <= (uint64_t)WORKERS * TOPICS * CONNECTIONS);
    }
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    presence_expire(presence, UINT64_MAX, SIZE_MAX, tell_left, NULL);
    for (int t = 0; t < TOPICS; t++)
        for (int u = 0; u < USERS; u++)
            ck_assert_int_eq(atomic_load(&told[t][u]), 0);
    is_empty();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("presence");
    TCase *t = tcase_create("rules");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, joining_and_leaving_are_told_in_turn, 0, HLY_ARRAY_LEN(courses));
    tcase_add_test(t, the_same_user_on_two_topics_is_two_members);
    tcase_add_test(t, info_is_that_of_the_last_join);
    tcase_add_test(t, names_of_any_bytes_are_themselves);
    tcase_add_test(t, things_cost_what_the_header_says);
    tcase_add_loop_test(t, a_join_fits_to_the_byte_or_changes_nothing, 0, HLY_ARRAY_LEN(costly));
    tcase_add_test(t, over_a_limit_that_was_lowered_what_costs_nothing_more_is_not_refused);
    tcase_add_test(t, what_is_counted_is_what_is_allocated);
    tcase_add_test(t, pages_are_in_the_order_of_joining);
    tcase_add_test(t, who_stays_is_seen_once_while_others_come_and_go);
    tcase_add_test(t, a_page_goes_on_after_the_topic_was_empty);
    tcase_add_loop_test(t, a_place_that_is_made_up_is_behind_the_last_member, 0, HLY_ARRAY_LEN(made_up));
    tcase_add_test(t, a_page_has_at_most_a_thousand_members);
    tcase_add_test(t, those_whose_grace_is_over_leave_in_slices);
    tcase_add_test(t, a_visit_of_one_that_left_may_call_back);
    suite_add_tcase(s, t);
    TCase *large = tcase_create("large");
    tcase_add_checked_fixture(large, setup, teardown);
    tcase_add_loop_test(large, a_crowd_comes_pages_and_goes, 0, HLY_ARRAY_LEN(departures));
    tcase_add_loop_test(large, a_crowd_waits_and_leaves_in_slices, 0, HLY_ARRAY_LEN(departures));
    tcase_add_loop_test(large, a_million_joins_and_leaves_leave_nothing, 0, HLY_ARRAY_LEN(staying));
    tcase_add_test(large, a_user_with_many_connections_is_one_member);
    tcase_add_test(large, many_topics_with_one_member_each);
    tcase_add_test(large, without_memory_a_join_changes_nothing);
    tcase_add_test(large, a_join_that_gets_only_half_its_memory_gives_it_back);
    tcase_add_test(large, anything_that_happens_is_as_in_a_plain_table);
    tcase_add_test(large, threads_are_told_of_as_many_leaves_as_joins);
    tcase_set_timeout(large, 60);
    suite_add_tcase(s, large);
    return run_suite(s);
}
