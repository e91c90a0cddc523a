#include "engine/journal_load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "base/log.h"
#include "core/hub.h"
#include "core/hub_state.h"
#include "engine/journal.h"
#include "engine/journal_roll.h"

struct load {
    const struct journal_dir *dir;
    struct hub *hub;
    struct journal_roll *roll;
    struct hub_restore *restore;
    struct journal_found *found;
    struct journal_name *names;
    size_t count;
    uint64_t reserved;     /* seqs up to here may have been seen */
    uint64_t highest;      /* seq of any record */
    uint64_t hole_bytes;   /* that could not be read: reserves may have been among them */
    uint64_t lost_up_to;   /* something may be missing up to this seq */
    bool hole_is_open;     /* the next message tells how far */
    bool state_is_broken;
    bool last_is_clean;    /* the last record read says so */
    bool begin_is_lost;    /* of a log: whose epoch and which mode is not known */
    bool rules_are_known;  /* of the last log */
    uint8_t sync;
    char epoch[EPOCH_LEN + 1];
};

struct mapped {
    const struct journal_name *name;
    char path[JOURNAL_PATH_BYTES];
    const uint8_t *bytes;
    size_t len;
    uint64_t limit; /* of a log: messages from this seq on were taken back */
    bool is_last;
};

static int map_file(const struct load *l, const struct journal_name *name, struct mapped *ret)
{
    *ret = (struct mapped){ .name = name, .len = name->bytes, .limit = UINT64_MAX };
    journal_name_path(l->dir, name, ret->path);
    if (ret->len == 0)
        return 0;
    int fd = open(ret->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    void *bytes = mmap(NULL, ret->len, PROT_READ, MAP_PRIVATE, fd, 0);
    int error = errno;
    close(fd);
    if (bytes == MAP_FAILED)
        return -error;
    madvise(bytes, ret->len, MADV_SEQUENTIAL);
    ret->bytes = bytes;
    return 0;
}

static void unmap_file(struct mapped *f)
{
    if (f->bytes != NULL)
        munmap((void *)f->bytes, f->len);
    f->bytes = NULL;
}

/* ---- records */

static void take_begin(struct load *l, const struct hub_record *r)
{
    if (r->topic.len == EPOCH_LEN)
        memcpy(l->epoch, r->topic.ptr, EPOCH_LEN);
    l->sync = r->kind;
    l->rules_are_known = false; /* they follow */
}

static void close_hole(struct load *l, uint64_t next_seq)
{
    if (l->hole_is_open && next_seq > l->lost_up_to)
        l->lost_up_to = next_seq - 1;
    l->hole_is_open = false;
}

static void take_message(struct load *l, const struct mapped *f, const struct hub_record *r)
{
    if (r->seq >= f->limit)
        return;
    close_hole(l, r->seq);
    l->found->messages += r->type == HUB_RECORD_MESSAGE;
    if (hub_restore_record(l->restore, r) < 0 && r->seq > l->lost_up_to)
        l->lost_up_to = r->seq;
}

static void take_record(struct load *l, const struct mapped *f, const struct hub_record *r)
{
    l->last_is_clean = r->type == JOURNAL_CLEAN;
    if (l->found->ended_ms < r->time_ms)
        l->found->ended_ms = r->time_ms;
    switch (r->type) {
    case JOURNAL_BEGIN:
        take_begin(l, r);
        return;
    case JOURNAL_RESERVE:
        l->reserved = r->seq > l->reserved ? r->seq : l->reserved;
        return;
    case JOURNAL_LOST:
        l->lost_up_to = r->seq > l->lost_up_to ? r->seq : l->lost_up_to;
        return;
    case JOURNAL_EVENT:
        journal_roll_note(l->roll, r->topic, r->payload, r->time_ms, r->number);
        return;
    case JOURNAL_CRASHED:
        journal_roll_end_all(l->roll, r->number);
        return;
    case JOURNAL_CLEAN:
    case JOURNAL_END:
        return;
    case HUB_RECORD_MESSAGE:
    case HUB_RECORD_KEY:
        if (r->seq > l->highest && r->seq < f->limit)
            l->highest = r->seq;
        take_message(l, f, r);
        return;
    case HUB_RECORD_TOPIC:
        take_message(l, f, r);
        return;
    default:
        if (hub_restore_record(l->restore, r) == 1 && r->type == HUB_RECORD_HEAD)
            l->rules_are_known = true;
    }
}

/* ---- what cannot be read */

static void note_hole(struct load *l, const struct mapped *f, size_t from, size_t to)
{
    l->found->broken++;
    l->hole_bytes += to - from;
    if (f->name->is_state)
        l->state_is_broken = true;
    else
        l->hole_is_open = true;
    log_error("journal_broken", "%s: %zu bytes from offset %zu are not what was written: what was in them is lost, older cursors get a gap; check the disk",
              f->path, to - from, from);
}

/* What was being written when the process or the machine ended: nobody was told that it was published. */
static int cut_tail(struct load *l, const struct mapped *f, size_t at)
{
    log_warn("journal_torn", "%s: cut at offset %zu: the last %zu bytes were not written to the end when the server was stopped", f->path, at, f->len - at);
    l->found->cut_bytes += f->len - at;
    return truncate(f->path, (off_t)at) < 0 ? -errno : 0;
}

/* Read a whole file. */
static int load_file(struct load *l, struct mapped *f)
{
    struct hub_record r;
    size_t used = 0;
    for (size_t at = 0; at < f->len; at += used) {
        enum hub_record_verdict verdict = hub_record_decode(f->bytes + at, f->len - at, f->name->salt, &r, &used);
        l->begin_is_lost |= at == 0 && !f->name->is_state && verdict == HUB_RECORD_BROKEN;
        if (verdict == HUB_RECORD_GOOD) {
            take_record(l, f, &r);
            continue;
        }
        l->last_is_clean = false;
        if (verdict == HUB_RECORD_SHORT && !f->name->is_state)
            return f->is_last ? cut_tail(l, f, at) : 0;
        size_t next = hub_record_find(f->bytes, f->len, f->name->salt, at + 1);
        note_hole(l, f, at, next);
        used = next - at;
    }
    return 0;
}

/* A state is complete when it got its name: one that ends early has lost something. */
static bool state_is_whole(const struct mapped *f)
{
    uint8_t end[HUB_RECORD_HEAD_BYTES + HUB_RECORD_FIXED_BYTES];
    struct hub_record r;
    size_t used;
    if (f->len < sizeof end)
        return false;
    return hub_record_decode(f->bytes + f->len - sizeof end, sizeof end, f->name->salt, &r, &used) == HUB_RECORD_GOOD && r.type == JOURNAL_END;
}

/* ---- files */

/* The seq with which a log begins; UINT64_MAX when that cannot be read. */
static uint64_t first_seq(const struct load *l, const struct journal_name *name)
{
    struct mapped f;
    struct hub_record r;
    size_t used;
    if (map_file(l, name, &f) < 0)
        return UINT64_MAX;
    uint64_t seq = UINT64_MAX;
    if (hub_record_decode(f.bytes, f.len, name->salt, &r, &used) == HUB_RECORD_GOOD && r.type == JOURNAL_BEGIN)
        seq = r.seq;
    unmap_file(&f);
    return seq;
}

static int load_log(struct load *l, size_t i)
{
    struct mapped f;
    int r = map_file(l, &l->names[i], &f);
    if (r < 0)
        return r;
    f.is_last = i + 1 == l->count;
    f.limit = f.is_last ? UINT64_MAX : first_seq(l, &l->names[i + 1]);
    r = load_file(l, &f);
    if (f.limit != UINT64_MAX)
        close_hole(l, f.limit);
    unmap_file(&f);
    l->found->log_bytes += f.len;
    l->found->log_files++;
    return r;
}

static int load_state(struct load *l, size_t i)
{
    struct mapped f;
    int r = map_file(l, &l->names[i], &f);
    if (r < 0)
        return r;
    r = load_file(l, &f);
    if (!state_is_whole(&f) && !l->state_is_broken)
        note_hole(l, &f, f.len, f.len);
    unmap_file(&f);
    l->found->state_bytes = f.len;
    return r;
}

/* The state to begin with: the last complete one; everything older is not needed. Returns its place, or SIZE_MAX. */
static size_t sort_out(struct load *l)
{
    size_t state = SIZE_MAX, kept = 0;
    for (size_t i = 0; i < l->count; i++)
        if (l->names[i].is_state && !l->names[i].is_new)
            state = i;
    uint64_t from = state == SIZE_MAX ? 0 : l->names[state].number;
    for (size_t i = 0; i < l->count; i++) {
        struct journal_name n = l->names[i];
        if (n.is_new || n.number < from) {
            journal_file_remove(l->dir, &n);
            continue;
        }
        if (i == state)
            state = kept;
        l->names[kept++] = n;
    }
    l->count = kept;
    return state;
}

/* A log that is not there, between two that are, or after the state. */
static void check_numbers(struct load *l, size_t first_log, uint64_t expected)
{
    for (size_t i = first_log; i < l->count; i++, expected++) {
        if (l->names[i].number == expected)
            continue;
        l->found->broken++;
        l->state_is_broken = true; /* how much is missing cannot be told */
        log_error("journal_broken", "journal '%s': log %016" PRIx64 " is missing: what was in it is lost, all older cursors get a gap", l->dir->path, expected);
        expected = l->names[i].number;
    }
}

static int sync_files(struct load *l)
{
    char path[JOURNAL_PATH_BYTES];
    for (size_t i = 0; i < l->count; i++) {
        journal_name_path(l->dir, &l->names[i], path);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        int r = fd < 0 || fdatasync(fd) < 0 ? -errno : 0;
        if (fd >= 0)
            close(fd);
        if (r < 0)
            return r;
    }
    return journal_dir_sync(l->dir);
}

static int load_files(struct load *l)
{
    size_t state = sort_out(l), first_log = state == SIZE_MAX ? 0 : state + 1;
    int r = state == SIZE_MAX ? 0 : load_state(l, state);
    l->last_is_clean = false;
    if (l->count > first_log)
        check_numbers(l, first_log, state == SIZE_MAX ? 1 : l->names[state].number);
    else if (state != SIZE_MAX)
        l->begin_is_lost = true; /* its log is gone */
    for (size_t i = first_log; i < l->count && r == 0; i++)
        r = load_log(l, i);
    l->found->next_number = l->count == 0 ? 1 : l->names[l->count - 1].number + 1;
    return r < 0 ? r : sync_files(l);
}

/* ---- the end */

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Above everything that a client may have seen. */
static uint64_t safe_head(const struct load *l)
{
    uint64_t head = max(max(l->reserved, l->highest), hub_restore_head(l->restore));
    if (l->found->broken > 0) /* reserves may have been there */
        head = max(l->reserved, head) + (l->hole_bytes / (HUB_RECORD_HEAD_BYTES + HUB_RECORD_FIXED_BYTES) + 2) * JOURNAL_RESERVE_STEP;
    return head;
}

static void finish(struct load *l)
{
    struct journal_found *found = l->found;
    char epoch[EPOCH_LEN + 1];
    found->was_clean = l->last_is_clean && l->count > 0;
    found->is_fresh = l->count == 0;
    bool is_exact = found->was_clean && found->broken == 0;
    uint64_t head = found->is_fresh || is_exact ? hub_restore_head(l->restore) : safe_head(l);
    if (l->epoch[0] == '\0' || l->begin_is_lost || (!found->was_clean && l->sync != JOURNAL_ALWAYS))
        found->has_new_epoch = true;
    memcpy(epoch, found->has_new_epoch ? hub_epoch(l->hub) : l->epoch, sizeof epoch);
    if (!found->was_clean && !found->is_fresh)
        journal_roll_end_all(l->roll, found->ended_ms);
    if (!found->was_clean && !found->is_fresh)
        hub_restore_lose_unkept(l->restore, head); /* what kept nothing was published without a trace */
    if (l->hole_is_open || l->state_is_broken || l->begin_is_lost || (!found->is_fresh && !l->rules_are_known))
        l->lost_up_to = head;
    if (l->lost_up_to > 0)
        hub_restore_lose(l->restore, l->lost_up_to);
    hub_restore_end(l->restore, epoch, head);
}

int journal_load(const struct journal_dir *d, struct hub *hub, struct journal_roll *roll, struct journal_found *ret, char *error, size_t error_size)
{
    *ret = (struct journal_found){ 0 };
    struct load l = { .dir = d, .hub = hub, .roll = roll, .found = ret, .restore = hub_restore_begin(hub) };
    int r = l.restore == NULL ? -ENOMEM : journal_dir_list(d, &l.names, &l.count);
    if (r == 0)
        r = load_files(&l);
    if (r < 0)
        snprintf(error, error_size, "journal '%s' cannot be read: %s", d->path, strerror(-r));
    if (l.restore != NULL)
        finish(&l);
    free(l.names);
    return r;
}
