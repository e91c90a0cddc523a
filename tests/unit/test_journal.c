#include "engine/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "core/hub.h"
#include "engine/engine.h"
#include "engine/journal_load.h"
#include "engine/journal_roll.h"
#include "net/loop.h"
#include "support.h"

#define PUBLISHED_MAX 4000

static const struct rule rule_list[] = {
    { .pattern = { "none/**", 7 }, .subscribe = RULE_ANYONE },
    { .pattern = { "three/**", 8 }, .subscribe = RULE_ANYONE, .history = 3 },
    { .pattern = { "many/**", 7 }, .subscribe = RULE_ANYONE, .history = 100000 },
};
/* What kept nothing keeps now, and the reverse. */
static const struct rule other_list[] = {
    { .pattern = { "many/**", 7 }, .subscribe = RULE_ANYONE },
    { .pattern = { "**", 2 }, .subscribe = RULE_ANYONE, .history = 5 },
};
static const struct hub_limits limits = { .topics = 1000, .patterns = 100, .history_bytes = 1u << 20, .inbox_bytes = 1u << 30, .keys = 1000, .key_window_ms = 600000 };
static const char *const names[] = { "none/a", "none/b", "three/a", "three/b", "many/a", "many/b", "other" };

struct server { /* a hub with its journal, and a reactor that is only looked after when somebody waits */
    struct hub *hub;
    struct engine *engine;
    struct loop loop;
};

struct one { /* a publish */
    struct engine_publish publish;
    bool is_done;
    int result;
    struct hub_receipt receipt;
};

static struct {
    uint64_t seq;
    const char *topic;
    char payload[40];
} published[PUBLISHED_MAX];
static size_t published_count;

static struct rules *rules;
static char root[64], dir[128], copy[128];
static char error[1024];
static struct journal_config config;

/* ---- fdatasync() and ftruncate() of this program: they can fail */

static _Atomic int syncs_to_fail, cuts_to_fail;

int ftruncate(int fd, off_t len)
{
    if (atomic_load(&cuts_to_fail) > 0) {
        atomic_fetch_sub(&cuts_to_fail, 1);
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_ftruncate, fd, len);
}

int fdatasync(int fd)
{
    if (atomic_load(&syncs_to_fail) > 0) {
        atomic_fetch_sub(&syncs_to_fail, 1);
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

/* ---- directories */

static void each_file(const char *path, void (*visit)(const char *file, const char *name))
{
    DIR *d = opendir(path);
    char file[512];
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        visit(file, e->d_name);
    }
    if (d != NULL)
        closedir(d);
}

static void remove_file(const char *file, const char *name)
{
    (void)name;
    unlink(file);
}

static void remove_directory(const char *path)
{
    each_file(path, remove_file);
    rmdir(path);
}

static size_t read_all_of(int fd, uint8_t **ret)
{
    struct stat st;
    HOLDS(fd >= 0 && fstat(fd, &st) == 0);
    *ret = malloc((size_t)st.st_size + 1);
    HOLDS(read(fd, *ret, (size_t)st.st_size) == st.st_size);
    close(fd);
    return (size_t)st.st_size;
}

static size_t read_whole(const char *file, uint8_t **ret)
{
    return read_all_of(open(file, O_RDONLY), ret);
}

static void write_whole(const char *file, const uint8_t *bytes, size_t len)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    HOLDS(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

static bool copy_is_torn; /* a file has gone meanwhile: a state was finished, and took the place of older ones */

static void copy_file(const char *file, const char *name)
{
    char to[512];
    uint8_t *bytes;
    if (strcmp(name, "lock") == 0)
        return;
    int fd = open(file, O_RDONLY);
    copy_is_torn |= fd < 0;
    if (fd < 0)
        return;
    snprintf(to, sizeof to, "%s/%s", copy, name);
    size_t len = read_all_of(fd, &bytes);
    write_whole(to, bytes, len);
    free(bytes);
}

static uint64_t names_sum;

static void add_name(const char *file, const char *name)
{
    (void)file;
    names_sum += hash_bytes(name, strlen(name));
}

/* What a process that is killed now leaves behind: if files come or go meanwhile it is copied again. */
static void copy_directory(void)
{
    uint64_t before;
    do {
        names_sum = 0;
        each_file(dir, add_name);
        before = names_sum;
        copy_is_torn = false;
        remove_directory(copy);
        HOLDS(mkdir(copy, 0700) == 0);
        each_file(dir, copy_file);
        names_sum = 0;
        each_file(dir, add_name);
    } while (copy_is_torn || names_sum != before);
}

static char newest[512]; /* the last log */

static void find_newest(const char *file, const char *name)
{
    if (strncmp(name, "log-", 4) == 0 && strcmp(file, newest) > 0)
        snprintf(newest, sizeof newest, "%s", file);
}

static const char *last_log(const char *path)
{
    newest[0] = '\0';
    each_file(path, find_newest);
    return newest;
}

/* ---- a server */

static int server_open(struct server *s, const char *path, struct rules *with)
{
    static char epoch[16];
    static unsigned epochs;
    snprintf(epoch, sizeof epoch, "epoch%03u", epochs++ % 1000); /* each start has another one to offer */
    config.path = path;
    s->hub = hub_new(&limits, with, 1, epoch);
    HOLDS(loop_init(&s->loop) == 0);
    int r = engine_journal_new(s->hub, &config, &s->engine, error, sizeof error);
    if (r < 0) {
        s->engine = NULL;
        return r;
    }
    struct loop *loops[] = { &s->loop };
    HOLDS(engine_journal_start(s->engine, loops, 1) == 0);
    return 0;
}

static void server_close(struct server *s)
{
    if (s->engine != NULL)
        s->engine->free(s->engine);
    hub_free(s->hub);
    loop_done(&s->loop);
}

static void on_done(struct engine_publish *p)
{
    struct one *o = HLY_CONTAINER_OF(p, struct one, publish);
    HOLDS(!o->is_done);
    o->is_done = true;
    o->result = p->result;
    o->receipt = p->receipt;
}

static void begin_publish(struct server *s, struct one *o, const char *topic, const char *payload, size_t len, const char *key)
{
    *o = (struct one){ .publish = { .message = message_new(topic, strlen(topic), payload, (uint32_t)len), .key = TEXT(key), .done = on_done } };
    s->engine->publish(s->engine, &o->publish);
}

static void wait_for(struct server *s, const struct one *o)
{
    while (!o->is_done) {
        engine_journal_settle(s->engine, 10);
        ev_run(s->loop.ev, EVRUN_NOWAIT);
    }
}

static struct one publish_key(struct server *s, const char *topic, const char *payload, const char *key)
{
    struct one o;
    begin_publish(s, &o, topic, payload, strlen(payload), key);
    wait_for(s, &o);
    return o;
}

static void publish_noted(struct server *s, const char *topic)
{
    char text[40];
    snprintf(text, sizeof text, "%s %u", topic, below(1000000));
    struct one o = publish_key(s, topic, text, "");
    HOLDS(o.result == 0 && published_count < PUBLISHED_MAX);
    published[published_count].seq = o.receipt.seq;
    published[published_count].topic = topic;
    memcpy(published[published_count++].payload, text, sizeof text);
}

static void publish_some(struct server *s, size_t count)
{
    for (size_t i = 0; i < count; i++)
        publish_noted(s, names[below(HLY_ARRAY_LEN(names))]);
}

/* ---- what a client finds */

struct got {
    uint64_t seqs[PUBLISHED_MAX];
    size_t count;
    bool gap;
};

static void check_payload(const struct message *m)
{
    for (size_t i = 0; i < published_count; i++)
        if (published[i].seq == m->seq) {
            HOLDS(strlen(published[i].payload) == m->payload_len && memcmp(m->bytes + m->topic_len, published[i].payload, m->payload_len) == 0);
            HOLDS(strlen(published[i].topic) == m->topic_len && memcmp(m->bytes, published[i].topic, m->topic_len) == 0);
            return;
        }
    ck_abort_msg("seq %" PRIu64 " was never published", m->seq);
}

static void read_all(struct hub *hub, const char *name, bool is_pattern, uint64_t pos, struct got *ret)
{
    struct hub_name n = { .name = TEXT(name), .is_pattern = is_pattern };
    struct hub_reader reader = { .pos = pos };
    struct hub_read slice;
    ret->count = 0;
    ret->gap = false;
    do {
        hub_read(hub, &n, 1, &reader, &slice);
        ret->gap |= slice.gap != HUB_GAP_NONE;
        for (size_t i = 0; i < slice.count; i++) {
            check_payload(slice.messages[i]);
            ret->seqs[ret->count++] = slice.messages[i]->seq;
            message_unref(slice.messages[i]);
        }
    } while (!slice.is_level);
}

/* From every cursor: what does not come is told missing. Returns how many gaps were told. */
static unsigned no_silent_loss(struct hub *hub, const char *name)
{
    static struct got got;
    unsigned gaps = 0;
    for (size_t from = 0; from <= published_count; from += 1 + below(5)) {
        uint64_t pos = from == 0 ? 0 : published[from - 1].seq;
        size_t g = 0;
        read_all(hub, name, strcmp(name, "**") == 0, pos, &got);
        gaps += got.gap;
        for (size_t i = from; i < published_count && !got.gap; i++)
            if (strcmp(name, "**") == 0 || strcmp(published[i].topic, name) == 0)
                ck_assert_msg(g < got.count && got.seqs[g++] == published[i].seq, "%s %" PRIu64 " is lost in silence after %" PRIu64, name, published[i].seq, pos);
    }
    return gaps;
}

static void nothing_is_lost_in_silence(struct hub *hub)
{
    for (size_t i = 0; i < HLY_ARRAY_LEN(names); i++)
        no_silent_loss(hub, names[i]);
    no_silent_loss(hub, "**");
}

static void setup(void)
{
    seed_random();
    log_setup(LOG_LEVEL_ERROR, false);
    published_count = 0;
    rules = rules_new(rule_list, HLY_ARRAY_LEN(rule_list));
    config = (struct journal_config){ .sync = JOURNAL_ALWAYS, .interval_ms = 50, .queue_bytes = 1u << 20 };
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "%.40s/halley-XXXXXX", tmp != NULL ? tmp : "/tmp");
    HOLDS(mkdtemp(root) != NULL);
    snprintf(dir, sizeof dir, "%s/journal", root);
    snprintf(copy, sizeof copy, "%s/copy", root);
}

static void teardown(void)
{
    rules_unref(rules);
    remove_directory(dir);
    remove_directory(copy);
    rmdir(root);
}

/* ---- the end in peace */

START_TEST(after_a_stop_all_is_as_before_in_every_mode)
{
    struct server s;
    config.sync = (enum journal_sync)_i;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    publish_some(&s, 200);
    struct one first = publish_key(&s, "none/a", "x", "k"); /* of no history, but with a key */
    published[published_count].seq = first.receipt.seq;
    published[published_count].topic = "none/a";
    memcpy(published[published_count++].payload, "x", 2);
    uint64_t head = hub_head(s.hub);
    char epoch[16];
    snprintf(epoch, sizeof epoch, "%s", hub_epoch(s.hub));
    server_close(&s);
    for (int again = 0; again < 3; again++) {
        ck_assert_int_eq(server_open(&s, dir, rules), 0);
        ck_assert_str_eq(hub_epoch(s.hub), epoch);
        ck_assert_uint_eq(hub_head(s.hub), head);
        nothing_is_lost_in_silence(s.hub);
        ck_assert_uint_eq(no_silent_loss(s.hub, "many/a"), 0); /* nor is a gap told that is none */
        struct one repeat = publish_key(&s, "none/a", "y", "k");
        ck_assert(repeat.result == 0 && repeat.receipt.repeated && repeat.receipt.seq == first.receipt.seq);
        server_close(&s);
    }
}
END_TEST

/* ---- a crash */

START_TEST(after_a_crash_cursors_are_good_with_always_and_get_a_gap_otherwise)
{
    struct server s, t;
    config.sync = (enum journal_sync)_i;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    publish_some(&s, 200);
    copy_directory();
    ck_assert_int_eq(server_open(&t, copy, rules), 0);
    ck_assert_int_eq(strcmp(hub_epoch(s.hub), hub_epoch(t.hub)) == 0, config.sync == JOURNAL_ALWAYS);
    ck_assert_uint_gt(hub_head(t.hub), hub_head(s.hub)); /* no seq that was seen is given again */
    nothing_is_lost_in_silence(t.hub);
    ck_assert_uint_eq(no_silent_loss(t.hub, "many/a"), 0);
    struct one next = publish_key(&t, "many/a", "next", "");
    ck_assert_uint_gt(next.receipt.seq, hub_head(s.hub));
    server_close(&t);
    server_close(&s);
}
END_TEST

START_TEST(a_crash_before_anything_was_published_repeats_no_seq_either)
{
    struct server s, t;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    copy_directory();
    struct one o = publish_key(&s, "none/a", "seen, and never written down", "");
    ck_assert_int_eq(server_open(&t, copy, rules), 0);
    ck_assert_uint_gt(hub_head(t.hub), o.receipt.seq);
    server_close(&t);
    server_close(&s);
}
END_TEST

START_TEST(reserved_seqs_are_renewed_before_they_run_out)
{
    struct server s, t;
    config.sync = JOURNAL_NEVER;
    static struct one ones[1000];
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    for (uint64_t n = 0; n < JOURNAL_RESERVE_STEP + 2000 && !IS_SANITIZED; n += HLY_ARRAY_LEN(ones)) {
        for (size_t i = 0; i < HLY_ARRAY_LEN(ones); i++)
            begin_publish(&s, &ones[i], "none/a", "", 0, "");
        wait_for(&s, &ones[HLY_ARRAY_LEN(ones) - 1]);
    }
    copy_directory();
    ck_assert_int_eq(server_open(&t, copy, rules), 0);
    ck_assert_uint_gt(hub_head(t.hub), hub_head(s.hub));
    server_close(&t);
    server_close(&s);
}
END_TEST

START_TEST(a_torn_end_is_cut_wherever_it_is_torn)
{
    struct server s, t;
    uint8_t *bytes;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    publish_some(&s, 20);
    copy_directory();
    size_t before = read_whole(last_log(dir), &bytes);
    free(bytes);
    size_t known = published_count;
    publish_noted(&s, "many/a");
    publish_noted(&s, "many/b");
    size_t len = read_whole(last_log(dir), &bytes);
    for (size_t cut = before; cut <= len; cut++) {
        copy_directory();
        write_whole(last_log(copy), bytes, cut);
        ck_assert_int_eq(server_open(&t, copy, rules), 0);
        size_t all = published_count;
        published_count = cut == len ? all : cut < before + (len - before) / 2 ? known : known + 1; /* two records of equal length, if their numbers are */
        static struct got got;
        published_count = all;
        read_all(t.hub, "many/a", false, published[known - 1].seq, &got);
        ck_assert(!got.gap && got.count <= 1);
        no_silent_loss(t.hub, "none/a");
        server_close(&t);
        ck_assert_int_eq(server_open(&t, copy, rules), 0); /* and it was cut: nothing is wrong the next time */
        server_close(&t);
    }
    free(bytes);
    server_close(&s);
}
END_TEST

/* ---- broken bytes */

static char files[64][512];
static size_t file_count;

static void note_file(const char *file, const char *name)
{
    if (strcmp(name, "lock") != 0)
        snprintf(files[file_count++], sizeof files[0], "%s", file);
}

START_TEST(a_broken_byte_is_never_served_and_loses_nothing_in_silence)
{
    struct server s, t;
    uint8_t *bytes;
    static const char *const before[] = { "clean", "crash" };
    static struct got got;
    int saved = dup(2), nowhere = open("/dev/null", O_WRONLY);
    config.checkpoint_bytes = 4096;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    publish_some(&s, 150);
    config.checkpoint_bytes = 1u << 20;
    server_close(&s);
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    publish_some(&s, 60);
    if (_i == 0) { /* "clean" */
        server_close(&s);
        copy_directory();
        ck_assert_int_eq(server_open(&s, dir, rules), 0);
    } else {
        copy_directory();
    }
    char pristine[80];
    snprintf(pristine, sizeof pristine, "%s/pristine", root);
    remove_directory(pristine);
    ck_assert_int_eq(rename(copy, pristine), 0);
    char real[128], epoch[16];
    snprintf(real, sizeof real, "%s", dir);
    snprintf(epoch, sizeof epoch, "%s", hub_epoch(s.hub));
    server_close(&s);
    snprintf(dir, sizeof dir, "%s", pristine);
    unsigned broken = 0;
    dup2(nowhere, 2);
    for (int n = 0; n < (IS_SANITIZED ? 200 : 500); n++) {
        copy_directory();
        file_count = 0;
        each_file(copy, note_file);
        const char *file = files[below((uint32_t)file_count)];
        size_t len = read_whole(file, &bytes);
        size_t at = below((uint32_t)len), many = below(4) == 0 ? 1 + below(200) : 1;
        for (size_t i = at; i < at + many && i < len; i++)
            bytes[i] = (uint8_t)(many == 1 ? bytes[i] ^ (1 + below(255)) : below(256));
        write_whole(file, bytes, len);
        free(bytes);
        if (server_open(&t, copy, rules) == 0) {
            broken++;
            if (strcmp(hub_epoch(t.hub), epoch) == 0) /* else every older cursor gets a gap */
                nothing_is_lost_in_silence(t.hub);
            else
                read_all(t.hub, "**", true, 0, &got);
        }
        server_close(&t);
    }
    dup2(saved, 2);
    ck_assert_msg(broken == (IS_SANITIZED ? 200 : 500), "%s: the server started with %u of them: %s", before[_i], broken, error);
    remove_directory(pristine);
    snprintf(dir, sizeof dir, "%s", real);
}
END_TEST

START_TEST(what_is_good_after_a_broken_place_is_served)
{
    struct server s;
    uint8_t *bytes;
    static struct got got;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    for (int i = 0; i < 30; i++)
        publish_noted(&s, "many/a");
    server_close(&s);
    size_t len = read_whole(last_log(dir), &bytes);
    bytes[len / 2] ^= 1;
    write_whole(last_log(dir), bytes, len);
    free(bytes);
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    read_all(s.hub, "many/a", false, 0, &got);
    ck_assert_uint_eq(got.count, 29);
    ck_assert(got.gap);
    read_all(s.hub, "many/a", false, published[28].seq, &got);
    ck_assert(!got.gap && got.count == 1); /* a cursor behind it is good */
    server_close(&s);
}
END_TEST

START_TEST(a_log_that_is_missing_is_told)
{
    struct server s;
    static struct got got;
    char middle[512];
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(server_open(&s, dir, rules), 0);
        publish_noted(&s, "many/a");
        if (i == 1)
            snprintf(middle, sizeof middle, "%s", last_log(dir));
        server_close(&s);
    }
    ck_assert_int_eq(unlink(middle), 0);
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    read_all(s.hub, "many/a", false, published[0].seq, &got);
    ck_assert(got.gap);
    ck_assert_uint_eq(got.count, 1); /* the third */
    server_close(&s);
}
END_TEST

/* ---- the directory */

START_TEST(two_servers_cannot_have_one_journal)
{
    struct server s, t;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    ck_assert_int_eq(server_open(&t, dir, rules), -EBUSY);
    ck_assert_msg(strstr(error, "in use by another server, process ") != NULL, "%s", error);
    server_close(&t);
    server_close(&s);
    ck_assert_int_eq(server_open(&t, dir, rules), 0);
    server_close(&t);
}
END_TEST

START_TEST(what_is_wrong_with_the_directory_is_said)
{
    struct server s;
    char path[256];
    snprintf(path, sizeof path, "%s/missing/journal", root);
    ck_assert_int_eq(server_open(&s, path, rules), -ENOENT);
    ck_assert_msg(strstr(error, "the directory above it does not exist") != NULL, "%s", error);
    server_close(&s);
    snprintf(path, sizeof path, "%s/file", root);
    write_whole(path, (const uint8_t *)"", 0);
    ck_assert_int_eq(server_open(&s, path, rules), -ENOTDIR);
    ck_assert_msg(strstr(error, "is not a directory") != NULL, "%s", error);
    server_close(&s);
    unlink(path);
    snprintf(path, sizeof path, "%s/journal/lock", root); /* as one that belongs to another user, which root would not notice */
    HOLDS(mkdir(dir, 0700) == 0 && mkdir(path, 0700) == 0);
    ck_assert_int_eq(server_open(&s, dir, rules), -EISDIR);
    ck_assert_msg(strstr(error, "'lock' cannot be opened: the directory and the files in it belong") != NULL, "%s", error);
    server_close(&s);
    rmdir(path);
}
END_TEST

static uint64_t disk_bytes;
static void add_bytes(const char *file, const char *name)
{
    struct stat st;
    (void)name;
    if (stat(file, &st) == 0)
        disk_bytes += (uint64_t)st.st_size;
}

START_TEST(the_disk_holds_a_small_multiple_of_what_is_kept)
{
    struct server s;
    static struct one ones[50];
    static char payload[1000];
    config.checkpoint_bytes = 65536;
    config.sync = JOURNAL_NEVER;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    uint64_t most = 0;
    for (int n = 0; n < 400; n++) { /* 20 MB; histories keep 1 MiB */
        for (size_t i = 0; i < HLY_ARRAY_LEN(ones); i++)
            begin_publish(&s, &ones[i], "many/a", payload, sizeof payload, "");
        wait_for(&s, &ones[HLY_ARRAY_LEN(ones) - 1]);
        disk_bytes = 0;
        each_file(dir, add_bytes);
        most = disk_bytes > most ? disk_bytes : most;
    }
    struct hub_stats before, after;
    struct journal_stats stats;
    engine_journal_stats(s.engine, &stats);
    hub_get_stats(s.hub, &before);
    ck_assert_uint_gt(stats.checkpoints, 1);
    ck_assert_uint_lt(most, 8u << 20);
    server_close(&s);
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    hub_get_stats(s.hub, &after);
    ck_assert_uint_eq(before.history_messages, after.history_messages);
    server_close(&s);
}
END_TEST

/* ---- errors of the disk */

START_TEST(a_full_disk_refuses_publishes_and_heals)
{
    struct server s;
    char path[512];
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    publish_some(&s, 20);
    struct stat st;
    snprintf(path, sizeof path, "%s", last_log(dir));
    ck_assert_int_eq(stat(path, &st), 0);
    struct rlimit before, full;
    getrlimit(RLIMIT_FSIZE, &before);
    full = before;
    full.rlim_cur = (rlim_t)st.st_size + 10; /* the first write of a record is cut short */
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &full), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(publish_key(&s, "many/a", "refused", "k").result, -ENOSPC);
    ck_assert_int_eq(publish_key(&s, "none/a", "goes on: it leaves no trace", "").result, 0);
    struct stat cut;
    ck_assert_int_eq(stat(path, &cut), 0);
    ck_assert_int_eq(cut.st_size, st.st_size);
    struct journal_stats stats;
    engine_journal_stats(s.engine, &stats);
    ck_assert(stats.is_failing == 1 && stats.refused == 3 && stats.errors >= 3);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    struct one o = publish_key(&s, "many/a", "now", "k");
    ck_assert(o.result == 0 && !o.receipt.repeated);
    engine_journal_stats(s.engine, &stats);
    ck_assert_uint_eq(stats.is_failing, 0);
    server_close(&s);
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    ck_assert_uint_eq(hub_topic_history(s.hub, "many/a", 6) > 0, 1);
    ck_assert(publish_key(&s, "many/a", "again", "k").receipt.seq == o.receipt.seq);
    server_close(&s);
}
END_TEST

/* It was let go of as complete, and came back when the disk was full. */
START_TEST(behind_a_clean_mark_no_seq_is_given)
{
    struct server s, again;
    struct rlimit before, full;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    publish_some(&s, 20);
    ck_assert_int_eq(s.engine->suspend(s.engine), 0);
    getrlimit(RLIMIT_FSIZE, &before);
    full = before;
    full.rlim_cur = 10;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &full), 0);
    ck_assert_int_eq(s.engine->resume(s.engine), 0);
    struct one o = publish_key(&s, "none/a", "leaves no trace", "");
    ck_assert_int_eq(o.result, -ENOSPC);
    ck_assert_int_eq(publish_key(&s, "many/a", "refused", "k").result, -ENOSPC);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    copy_directory();
    ck_assert_int_eq(server_open(&again, copy, rules), 0);
    ck_assert_uint_ge(hub_head(again.hub), hub_head(s.hub));
    server_close(&again);
    ck_assert_int_eq(publish_key(&s, "none/a", "goes on", "").result, 0);
    ck_assert_int_eq(publish_key(&s, "many/a", "now", "k").result, 0);
    copy_directory();
    ck_assert_int_eq(server_open(&again, copy, rules), 0);
    ck_assert_uint_gt(hub_head(again.hub), hub_head(s.hub));
    server_close(&again);
    server_close(&s);
}
END_TEST

START_TEST(what_a_failed_sync_leaves_behind_is_taken_back)
{
    struct server s, t;
    static struct got got;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    publish_some(&s, 20);
    atomic_store(&syncs_to_fail, 1);
    atomic_store(&cuts_to_fail, _i); /* it may even stay in the file */
    ck_assert_int_eq(publish_key(&s, "many/a", "refused", "k").result, -EIO);
    publish_noted(&s, "many/a"); /* in a new log, with the seq of the one that was refused */
    ck_assert(!publish_key(&s, "three/a", "again", "k").receipt.repeated);
    copy_directory();
    ck_assert_int_eq(server_open(&t, copy, rules), 0);
    read_all(t.hub, "many/a", false, 0, &got); /* check_payload(): it is the second one that is there */
    ck_assert_uint_eq(got.seqs[got.count - 1], published[published_count - 1].seq);
    server_close(&t);
    server_close(&s);
}
END_TEST

START_TEST(a_failed_sync_by_the_clock_has_all_written_anew)
{
    struct server s;
    struct journal_stats stats;
    config.sync = JOURNAL_INTERVAL;
    config.interval_ms = 10;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    atomic_store(&syncs_to_fail, 1);
    publish_some(&s, 20);
    while (atomic_load(&syncs_to_fail) > 0)
        usleep(1000);
    do {
        publish_key(&s, "none/a", "", "k");
        publish_key(&s, "other", "", "");
        engine_journal_stats(s.engine, &stats);
    } while (stats.checkpoints == 0);
    ck_assert_uint_eq(stats.errors, 1);
    server_close(&s);
}
END_TEST

/* ---- publishers */

START_TEST(a_repeated_key_waits_for_the_first_and_gets_its_answer)
{
    struct server s;
    struct one ones[20];
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    for (size_t i = 0; i < HLY_ARRAY_LEN(ones); i++)
        begin_publish(&s, &ones[i], "many/a", "x", 1, "once");
    ck_assert(!ones[0].is_done);
    for (size_t i = 0; i < HLY_ARRAY_LEN(ones); i++)
        wait_for(&s, &ones[i]);
    for (size_t i = 0; i < HLY_ARRAY_LEN(ones); i++)
        ck_assert(ones[i].result == 0 && ones[i].receipt.seq == ones[0].receipt.seq && ones[i].receipt.repeated == (i > 0));
    ck_assert_uint_eq(hub_topic_history(s.hub, "many/a", 6), 1);
    server_close(&s);
}
END_TEST

START_TEST(repeats_of_a_refused_publish_are_refused_with_it)
{
    struct server s;
    struct one ones[20];
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    for (int round = 0; round < 20; round++) {
        atomic_store(&syncs_to_fail, 1000000);
        for (size_t i = 0; i < HLY_ARRAY_LEN(ones); i++)
            begin_publish(&s, &ones[i], "many/a", "x", 1, "once");
        for (size_t i = 0; i < HLY_ARRAY_LEN(ones); i++) {
            wait_for(&s, &ones[i]);
            HOLDS(ones[i].result == -EIO);
        }
        atomic_store(&syncs_to_fail, 0);
    }
    struct one o = publish_key(&s, "many/a", "x", "once");
    ck_assert(o.result == 0 && !o.receipt.repeated);
    ck_assert_uint_eq(hub_topic_history(s.hub, "many/a", 6), 1);
    server_close(&s);
}
END_TEST

START_TEST(a_stop_answers_all_that_is_in_flight)
{
    struct server s;
    static struct one ones[3000];
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    for (size_t i = 0; i < HLY_ARRAY_LEN(ones); i++)
        begin_publish(&s, &ones[i], "many/a", "x", 1, "");
    pthread_mutex_lock(&s.loop.post_lock);
    s.loop.has_ended = _i == 1; /* its loop takes no answers any more */
    pthread_mutex_unlock(&s.loop.post_lock);
    engine_journal_stop(s.engine);
    if (_i == 0)
        ev_run(s.loop.ev, EVRUN_NOWAIT);
    for (size_t i = 0; i < HLY_ARRAY_LEN(ones); i++)
        HOLDS(ones[i].is_done && ones[i].result == 0);
    struct one late;
    begin_publish(&s, &late, "many/a", "x", 1, "");
    ck_assert(late.is_done && late.result == -ESHUTDOWN);
    server_close(&s);
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    ck_assert_uint_eq(hub_topic_history(s.hub, "many/a", 6), HLY_ARRAY_LEN(ones));
    server_close(&s);
}
END_TEST

START_TEST(too_much_in_the_queue_holds_publishers_until_it_is_written)
{
    struct server s;
    static struct one ones[400];
    static char payload[10000];
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    bool was_congested = false;
    for (size_t i = 0; i < HLY_ARRAY_LEN(ones); i++) {
        begin_publish(&s, &ones[i], "three/a", payload, sizeof payload, "");
        was_congested |= hub_is_congested(s.hub);
    }
    for (size_t i = 0; i < HLY_ARRAY_LEN(ones); i++)
        wait_for(&s, &ones[i]);
    ck_assert(was_congested);
    while (hub_is_congested(s.hub)) /* a moment after the last answer */
        usleep(1000);
    server_close(&s);
}
END_TEST

START_TEST(other_rules_in_a_living_server_lose_nothing_in_silence)
{
    struct server s, t;
    struct rules *other = rules_new(other_list, HLY_ARRAY_LEN(other_list));
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    for (int round = 0; round < 6; round++) {
        publish_some(&s, 30);
        copy_directory();
        ck_assert_int_eq(server_open(&t, copy, below(2) ? rules : other), 0);
        nothing_is_lost_in_silence(t.hub);
        server_close(&t);
        ck_assert_int_eq(hub_set_rules(s.hub, round % 2 == 0 ? other : rules), 0);
        while (below(2) && hub_rules_step(s.hub))
            continue;
        publish_some(&s, 1 + below(10));
        copy_directory();
        ck_assert_int_eq(server_open(&t, copy, below(2) ? rules : other), 0);
        nothing_is_lost_in_silence(t.hub);
        server_close(&t);
        while (hub_rules_step(s.hub))
            continue;
    }
    server_close(&s);
    rules_unref(other);
}
END_TEST

/* ---- what a crash swallows */

static void tell(struct server *s, const char *topic, const char *json)
{
    HOLDS(publish_key(s, topic, json, "").result == 0);
}

static char told[4][200];
static size_t told_count;

static void note_told(const char *topic, struct slice payload, void *ctx)
{
    (void)ctx;
    HOLDS(told_count < HLY_ARRAY_LEN(told));
    snprintf(told[told_count++], sizeof told[0], "%s %.*s", topic, (int)payload.len, payload.ptr);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(a, b);
}

START_TEST(who_was_there_at_a_crash_is_told_gone_once_and_nobody_else)
{
    struct server s;
    ck_assert_int_eq(server_open(&s, dir, rules), 0);
    tell(&s, "$halley/connect", "{\"connection\":\"a.1\",\"sub\":null,\"transport\":\"sse\"}");
    tell(&s, "$halley/connect", "{\"connection\":\"b.2\",\"sub\":null,\"transport\":\"sse\"}");
    tell(&s, "$halley/occupied", "{\"topic\":\"x\"}");
    tell(&s, "$halley/occupied", "{\"topic\":\"y\"}");
    tell(&s, "$halley/disconnect", "{\"connection\":\"a.1\",\"sub\":null,\"transport\":\"sse\",\"reason\":\"lost\",\"duration_ms\":5}");
    tell(&s, "$halley/vacated", "{\"topic\":\"x\"}");
    copy_directory();
    server_close(&s);
    for (int again = 0; again < 2; again++) { /* stops in peace, before anybody listened, change nothing */
        ck_assert_int_eq(server_open(&s, copy, rules), 0);
        server_close(&s);
    }
    struct journal_dir d;
    struct journal_found found;
    struct journal_roll roll;
    struct hub *hub = hub_new(&limits, rules, 1, "whatever");
    journal_roll_init(&roll);
    ck_assert_int_eq(journal_dir_open(&d, copy, error, sizeof error), 0);
    ck_assert_int_eq(journal_load(&d, hub, &roll, &found, error, sizeof error), 0);
    ck_assert(!journal_roll_take(&roll, ROLL_DISCONNECT | ROLL_VACATED, note_told, NULL));
    ck_assert(!journal_roll_take(&roll, ROLL_DISCONNECT | ROLL_VACATED, note_told, NULL)); /* on its way */
    ck_assert_uint_eq(told_count, 2);
    qsort(told, 2, sizeof told[0], compare_texts);
    ck_assert_ptr_eq(strstr(told[0], "$halley/disconnect {\"connection\":\"b.2\",\"sub\":null,\"transport\":\"sse\",\"reason\":\"crash\",\"duration_ms\":"), told[0]);
    ck_assert_str_eq(told[1], "$halley/vacated {\"topic\":\"y\"}");
    journal_roll_done(&roll);
    journal_dir_close(&d);
    hub_free(hub);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("journal");
    TCase *c = tcase_create("journal");
    tcase_set_timeout(c, 240);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, after_a_stop_all_is_as_before_in_every_mode, 0, 3);
    tcase_add_loop_test(c, after_a_crash_cursors_are_good_with_always_and_get_a_gap_otherwise, 0, 3);
    tcase_add_test(c, a_crash_before_anything_was_published_repeats_no_seq_either);
    tcase_add_test(c, reserved_seqs_are_renewed_before_they_run_out);
    tcase_add_test(c, a_torn_end_is_cut_wherever_it_is_torn);
    tcase_add_loop_test(c, a_broken_byte_is_never_served_and_loses_nothing_in_silence, 0, 2);
    tcase_add_test(c, what_is_good_after_a_broken_place_is_served);
    tcase_add_test(c, a_log_that_is_missing_is_told);
    tcase_add_test(c, two_servers_cannot_have_one_journal);
    tcase_add_test(c, what_is_wrong_with_the_directory_is_said);
    tcase_add_test(c, the_disk_holds_a_small_multiple_of_what_is_kept);
    tcase_add_test(c, a_full_disk_refuses_publishes_and_heals);
    tcase_add_test(c, behind_a_clean_mark_no_seq_is_given);
    tcase_add_loop_test(c, what_a_failed_sync_leaves_behind_is_taken_back, 0, 2);
    tcase_add_test(c, a_failed_sync_by_the_clock_has_all_written_anew);
    tcase_add_test(c, a_repeated_key_waits_for_the_first_and_gets_its_answer);
    tcase_add_test(c, repeats_of_a_refused_publish_are_refused_with_it);
    tcase_add_loop_test(c, a_stop_answers_all_that_is_in_flight, 0, 2);
    tcase_add_test(c, too_much_in_the_queue_holds_publishers_until_it_is_written);
    tcase_add_loop_test(c, other_rules_in_a_living_server_lose_nothing_in_silence, 0, 3);
    tcase_add_test(c, who_was_there_at_a_crash_is_told_gone_once_and_nobody_else);
    suite_add_tcase(s, c);
    return run_suite(s);
}
