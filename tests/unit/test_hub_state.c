#include "core/hub_state.h"

#include <errno.h>

#include "base/buf.h"
#include "base/clock.h"
#include "core/hub.h"
#include "support.h"

#define EPOCH "k3f9abcd"
#define SALT 0x5eed1234u
#define TOPICS 24
#define PUBLISHES 600
#define STEP_MS 10000 /* of the model's clock; ages are never near a time to live */

static const struct rule rule_list[] = {
    { .pattern = { "none/**", 7 }, .subscribe = RULE_ANYONE },
    { .pattern = { "one/**", 6 }, .subscribe = RULE_ANYONE, .history = 1 },
    { .pattern = { "ttl/**", 6 }, .subscribe = RULE_ANYONE, .history = 100, .history_ttl_ms = 10 * STEP_MS + STEP_MS / 2 },
    { .pattern = { "three/*", 7 }, .subscribe = RULE_ANYONE, .history = 3 },
    { .pattern = { "many/**", 7 }, .subscribe = RULE_ANYONE, .history = 100000 },
};

/* The same topics under other rules: what kept nothing keeps, what kept much keeps little, names go from one rule to another. */
static const struct rule other_list[] = {
    { .pattern = { "three/a", 7 }, .subscribe = RULE_ANYONE, .history = 10 },
    { .pattern = { "many/**", 7 }, .subscribe = RULE_ANYONE, .history = 2 },
    { .pattern = { "none/*", 6 }, .subscribe = RULE_ANYONE, .history = 5 },
    { .pattern = { "**", 2 }, .subscribe = RULE_ANYONE, .history = 7 },
};

static const char *const families[] = { "none", "one", "ttl", "three", "many", "unruled" };

static const struct hub_limits limits = {
    .topics = 1000,
    .patterns = 100,
    .history_bytes = 60000,
    .inbox_bytes = 1u << 30,
    .keys = 1000,
    .key_window_ms = 3600000,
};

struct published {
    uint64_t seq;
    char topic[32];
};

static struct published published[PUBLISHES + 1];
static size_t published_count;
static struct rules *rules;
static struct hub *hub;
static uint64_t virtual_ms; /* before now */

static void setup(void)
{
    seed_random();
    rules = rules_new(rule_list, HLY_ARRAY_LEN(rule_list));
    hub = hub_new(&limits, rules, 1, EPOCH);
    published_count = 0;
    virtual_ms = 400 * STEP_MS;
}

static void teardown(void)
{
    hub_free(hub);
    rules_unref(rules);
}

static void topic_name(char out[32])
{
    uint32_t n = below(TOPICS);
    snprintf(out, 32, "%s/%c%s", families[n % HLY_ARRAY_LEN(families)], "abcd"[n / HLY_ARRAY_LEN(families)], below(3) == 0 ? "/x" : "");
}

static void encode(struct buf *log, struct message *m, const char *key, uint64_t subscribers)
{
    HOLDS(hub_record_encode(log, SALT, &(struct hub_record){ .type = HUB_RECORD_MESSAGE, .kind = m->payload_kind, .seq = m->seq, .time_ms = m->time_ms,
            .number = subscribers, .topic = message_topic(m), .key = TEXT(key), .payload = { message_payload(m), m->payload_len } }) == 0);
}

static void publish(const char *topic, const char *key, struct buf *log)
{
    static const char text[2000];
    struct hub_receipt receipt;
    HLY_CLEANUP(message_unrefp) struct message *m = message_new(topic, strlen(topic), text, below(10) == 0 ? sizeof text : 1 + below(300));
    m->time_ms = clock_wall_ms() - virtual_ms;
    m->born_ms = clock_mono_ms() - virtual_ms;
    HOLDS(hub_publish(hub, m, TEXT(key), 0, &receipt) == 0 && !receipt.repeated);
    struct published *p = &published[published_count++];
    p->seq = receipt.seq;
    snprintf(p->topic, sizeof p->topic, "%s", topic);
    if (log != NULL && rules_find(rules, topic, strlen(topic))->history > 0)
        encode(log, m, key, receipt.subscribers);
}

static void expire(void)
{
    while (hub_expire(hub, clock_mono_ms() - virtual_ms))
        continue;
}

static void publish_some(size_t count, struct buf *log)
{
    char topic[32];
    for (size_t i = 0; i < count; i++) {
        topic_name(topic);
        publish(topic, "", log);
        if (below(4) == 0 && virtual_ms >= STEP_MS)
            virtual_ms -= STEP_MS;
        if (below(20) == 0)
            expire();
    }
}

static void dump(struct buf *out)
{
    struct hub_dump d;
    hub_dump_begin(&d, SALT);
    while (hub_dump(hub, &d, out))
        continue;
    HOLDS(!out->failed);
}

static void feed(struct hub_restore *r, const struct buf *b)
{
    size_t used = 0;
    for (size_t at = 0; at < b->len; at += used) {
        struct hub_record record;
        HOLDS(hub_record_decode(b->data + at, b->len - at, SALT, &record, &used) == HUB_RECORD_GOOD);
        HOLDS(hub_restore_record(r, &record) == 1);
    }
}

static struct hub *restore(struct rules *with, const struct buf *state, const struct buf *log, const struct buf *last)
{
    struct hub *h = hub_new(&limits, with, 1, "00000000");
    struct hub_restore *r = hub_restore_begin(h);
    feed(r, state);
    if (log != NULL)
        feed(r, log);
    if (last != NULL)
        feed(r, last);
    ck_assert_str_eq(hub_restore_epoch(r), EPOCH);
    hub_restore_end(r, hub_restore_epoch(r), hub_restore_head(r));
    ck_assert_str_eq(hub_epoch(h), EPOCH);
    return h;
}

/* ---- reading */

struct got {
    uint64_t seqs[PUBLISHES + 1];
    size_t count;
    bool gap;
};

static void read_all(struct hub *h, const struct hub_name *names, size_t count, uint64_t pos, struct got *ret)
{
    struct hub_reader reader = { .pos = pos };
    struct hub_read slice;
    ret->count = 0;
    ret->gap = false;
    do {
        hub_read(h, names, count, &reader, &slice);
        ret->gap |= slice.gap != HUB_GAP_NONE;
        for (size_t i = 0; i < slice.count; i++) {
            ret->seqs[ret->count++] = slice.messages[i]->seq;
            message_unref(slice.messages[i]);
        }
    } while (!slice.is_level);
}

static bool is_of(const struct hub_name *n, const char *topic)
{
    size_t len = strlen(topic), stem = n->name.len - 2;
    if (!n->is_pattern)
        return n->name.len == len && memcmp(n->name.ptr, topic, len) == 0;
    return n->name.len == 2 || (len > stem && memcmp(n->name.ptr, topic, stem) == 0); /* "**" or "family/ **" */
}

/* Whatever was published after the cursor and does not come is told as a gap. */
static void no_silent_loss(const struct hub_name *names, size_t count, uint64_t pos, const struct got *got)
{
    size_t g = 0;
    for (size_t i = 0; i < published_count; i++) {
        bool wanted = false;
        for (size_t k = 0; k < count; k++)
            wanted |= is_of(&names[k], published[i].topic);
        if (!wanted || published[i].seq <= pos)
            continue;
        if (g < got->count && got->seqs[g] == published[i].seq)
            g++;
        else
            ck_assert_msg(got->gap, "%s %" PRIu64 " is lost in silence after %" PRIu64, published[i].topic, published[i].seq, pos);
    }
    ck_assert_uint_eq(g, got->count);
}

static size_t some_names(struct hub_name *names, char text[][32])
{
    static const char *const patterns[] = { "**", "none/**", "one/**", "ttl/**", "three/**", "many/**" };
    size_t count = 1 + below(3);
    for (size_t i = 0; i < count; i++) {
        names[i] = (struct hub_name){ .is_pattern = below(3) == 0 };
        if (names[i].is_pattern)
            snprintf(text[i], 32, "%s", patterns[below(HLY_ARRAY_LEN(patterns))]);
        else
            topic_name(text[i]);
        names[i].name = TEXT(text[i]);
    }
    return count;
}

/* Cursors of any age find the same as before (exact), or at least lose nothing in silence. Returns gaps that would not have been told. */
static unsigned compare(struct hub *restored, bool exact)
{
    static struct got before, after;
    unsigned false_gaps = 0;
    for (int n = 0; n < 400; n++) {
        struct hub_name names[3];
        char text[3][32];
        size_t count = some_names(names, text);
        uint64_t pos = below((uint32_t)hub_head(restored) + 1);
        read_all(restored, names, count, pos, &after);
        no_silent_loss(names, count, pos, &after);
        if (!exact)
            continue;
        read_all(hub, names, count, pos, &before);
        ck_assert_uint_eq(before.count, after.count);
        HOLDS(memcmp(before.seqs, after.seqs, before.count * sizeof before.seqs[0]) == 0);
        HOLDS(!before.gap || after.gap);
        false_gaps += after.gap && !before.gap;
    }
    return false_gaps;
}

START_TEST(cursors_find_in_a_restored_hub_what_they_found_in_the_old_one)
{
    HLY_CLEANUP(buf_done) struct buf state = { 0 };
    publish_some(PUBLISHES, NULL);
    expire();
    virtual_ms = 0;
    expire();
    dump(&state);
    struct hub *restored = restore(rules, &state, NULL, NULL);
    ck_assert_uint_eq(hub_head(restored), hub_head(hub));
    ck_assert_uint_le(compare(restored, true), 20);
    struct hub_stats a, b;
    hub_get_stats(hub, &a);
    hub_get_stats(restored, &b);
    ck_assert_uint_eq(a.history_messages, b.history_messages);
    ck_assert_uint_eq(a.history_bytes, b.history_bytes);
    ck_assert_uint_eq(a.topics, b.topics);
    hub_free(restored);
}
END_TEST

START_TEST(a_dump_of_a_hub_in_use_with_what_came_since_loses_nothing_in_silence)
{
    HLY_CLEANUP(buf_done) struct buf state = { 0 }, log = { 0 }, last = { 0 };
    struct hub_dump d;
    publish_some(PUBLISHES / 3, NULL);
    hub_dump_begin(&d, SALT);
    while (hub_dump(hub, &d, &state))
        publish_some(below(12), &log);
    publish_some(PUBLISHES / 4, &log);
    hub_dump_rules(hub, SALT, &last);
    struct hub *restored = restore(rules, &state, &log, &last);
    compare(restored, false);
    hub_free(restored);
}
END_TEST

START_TEST(other_rules_lose_nothing_in_silence)
{
    HLY_CLEANUP(buf_done) struct buf state = { 0 };
    struct rules *other = rules_new(other_list, HLY_ARRAY_LEN(other_list));
    publish_some(PUBLISHES, NULL);
    dump(&state);
    struct hub *restored = restore(other, &state, NULL, NULL);
    compare(restored, false);
    hub_free(restored);
    rules_unref(other);
}
END_TEST

START_TEST(keys_and_their_receipts_are_restored_with_their_age)
{
    HLY_CLEANUP(buf_done) struct buf state = { 0 };
    virtual_ms = 2 * limits.key_window_ms;
    publish("none/a", "too old", NULL);
    virtual_ms = limits.key_window_ms / 2;
    publish("none/a", "k", NULL);
    publish("one/a", "k", NULL);
    dump(&state);
    struct hub *restored = restore(rules, &state, NULL, NULL);
    struct hub_stats stats;
    hub_get_stats(restored, &stats);
    ck_assert_uint_eq(stats.keys, 2);
    struct hub_receipt receipt;
    HLY_CLEANUP(message_unrefp) struct message *m = message_new("one/a", 5, "", 0);
    m->born_ms = clock_mono_ms();
    ck_assert_int_eq(hub_publish(restored, m, TEXT("k"), 0, &receipt), 0);
    ck_assert(receipt.repeated);
    ck_assert_uint_eq(receipt.seq, 3);
    m->born_ms += limits.key_window_ms / 2 + 1000;
    ck_assert_int_eq(hub_publish(restored, m, TEXT("k"), 0, &receipt), 0);
    ck_assert(!receipt.repeated);
    hub_free(restored);
}
END_TEST

START_TEST(what_is_told_lost_is_a_gap_for_older_cursors_only)
{
    HLY_CLEANUP(buf_done) struct buf state = { 0 };
    static struct got got;
    publish("many/a", "", NULL);
    publish("none/a", "", NULL);
    dump(&state);
    struct hub *h = hub_new(&limits, rules, 1, "00000000");
    struct hub_restore *r = hub_restore_begin(h);
    feed(r, &state);
    hub_restore_lose_unkept(r, 50);
    if (_i == 1)
        hub_restore_lose(r, 60);
    hub_restore_end(r, EPOCH, 100);
    static const struct { const char *name; uint64_t pos; bool want[2]; } rows[] = {
        { "many/a", 0, { false, true } }, { "many/a", 59, { false, true } }, { "many/a", 60, { false, false } },
        { "none/b", 2, { true, true } },  { "none/b", 49, { true, true } },  { "none/b", 60, { false, false } },
        { "many/x", 3, { false, true } }, { "unruled", 3, { true, true } },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(rows); i++) {
        struct hub_name name = { .name = TEXT(rows[i].name) };
        read_all(h, &name, 1, rows[i].pos, &got);
        ck_assert_msg(got.gap == rows[i].want[_i], "%s after %" PRIu64, rows[i].name, rows[i].pos);
    }
    hub_free(h);
}
END_TEST

START_TEST(what_seems_to_come_from_the_future_is_new)
{
    HLY_CLEANUP(buf_done) struct buf state = { 0 };
    virtual_ms = (uint64_t)-3600000; /* the clock was an hour ahead */
    publish("ttl/a", "", NULL);
    virtual_ms = 0;
    publish("many/a", "", NULL);
    dump(&state);
    struct hub *restored = restore(rules, &state, NULL, NULL);
    ck_assert_uint_eq(hub_topic_history(restored, "ttl/a", 5), 1);
    ck_assert(!hub_expire(restored, clock_mono_ms() + 9 * STEP_MS));
    ck_assert_uint_eq(hub_topic_history(restored, "ttl/a", 5), 1);
    hub_expire(restored, clock_mono_ms() + 12 * STEP_MS);
    ck_assert_uint_eq(hub_topic_history(restored, "ttl/a", 5), 0);
    hub_free(restored);
}
END_TEST

/* ---- records */

static const struct hub_record sample = { .type = HUB_RECORD_MESSAGE, .kind = 1, .seq = 77, .time_ms = 1234567890123, .number = 5,
                                          .topic = { "a/b", 3 }, .key = { "once", 4 }, .stamps = 3, .from = { "{\"sub\":1}", 9 }, .payload = { "hello\0you", 9 } };

START_TEST(a_record_is_read_as_it_was_written_and_is_short_at_every_cut)
{
    HLY_CLEANUP(buf_done) struct buf b = { 0 };
    struct hub_record r;
    size_t used = 0;
    ck_assert_int_eq(hub_record_encode(&b, SALT, &sample), 0);
    for (size_t cut = 0; cut < b.len; cut++)
        ck_assert_int_eq(hub_record_decode(b.data, cut, SALT, &r, &used), HUB_RECORD_SHORT);
    ck_assert_int_eq(hub_record_decode(b.data, b.len, SALT, &r, &used), HUB_RECORD_GOOD);
    ck_assert_uint_eq(used, b.len);
    ck_assert(r.type == sample.type && r.kind == sample.kind && r.seq == sample.seq && r.time_ms == sample.time_ms && r.number == sample.number);
    ck_assert_mem_eq(r.topic.ptr, "a/bonce{\"sub\":1}", 16);
    ck_assert(r.topic.len == 3 && r.key.len == 4 && r.from.len == 9 && r.stamps == 3);
    ck_assert_uint_eq(r.payload.len, 9);
    ck_assert_mem_eq(r.payload.ptr, sample.payload.ptr, 9);
}
END_TEST

START_TEST(no_changed_bit_passes_and_neither_does_another_streams_record)
{
    HLY_CLEANUP(buf_done) struct buf b = { 0 };
    struct hub_record r;
    size_t used;
    ck_assert_int_eq(hub_record_encode(&b, SALT, &sample), 0);
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        HOLDS(hub_record_decode(b.data, b.len, SALT, &r, &used) == HUB_RECORD_BROKEN);
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert_int_eq(hub_record_decode(b.data, b.len, SALT + 1, &r, &used), HUB_RECORD_BROKEN);
}
END_TEST

START_TEST(the_next_good_record_is_found_and_payloads_cannot_pass_for_one)
{
    HLY_CLEANUP(buf_done) struct buf fake = { 0 }, b = { 0 };
    ck_assert_int_eq(hub_record_encode(&fake, SALT + 1, &sample), 0);
    struct hub_record outer = sample;
    outer.payload = buf_slice(&fake);
    ck_assert_int_eq(hub_record_encode(&b, SALT, &outer), 0);
    size_t second = b.len;
    ck_assert_int_eq(hub_record_encode(&b, SALT, &sample), 0);
    ck_assert_uint_eq(hub_record_find(b.data, b.len, SALT, 0), 0);
    ck_assert_uint_eq(hub_record_find(b.data, b.len, SALT, 1), second);
    ck_assert_uint_eq(hub_record_find(b.data, b.len, SALT, second + 1), b.len);
}
END_TEST

START_TEST(records_that_make_no_sense_are_refused)
{
    static const struct { const char *name; struct hub_record r; int want; } rows[] = {
        { "a message without a seq", { .type = HUB_RECORD_MESSAGE, .topic = { "a", 1 } }, -EINVAL },
        { "a message without a topic", { .type = HUB_RECORD_MESSAGE, .seq = 1 }, -EINVAL },
        { "a payload of no kind", { .type = HUB_RECORD_MESSAGE, .seq = 1, .kind = 9, .topic = { "a", 1 } }, -EINVAL },
        { "a pattern as a topic", { .type = HUB_RECORD_TOPIC, .seq = 1, .topic = { "a/*", 3 } }, -EINVAL },
        { "a key without its text", { .type = HUB_RECORD_KEY, .seq = 1, .topic = { "a", 1 } }, -EINVAL },
        { "a rule with a pattern that is none", { .type = HUB_RECORD_RULE, .payload = { "a\1b", 3 } }, -EINVAL },
        { "an epoch of another length", { .type = HUB_RECORD_HEAD, .topic = { "abc", 3 } }, -EINVAL },
        { "somebody else's", { .type = HUB_RECORD_OWN }, 0 },
    };
    struct hub_restore *r = hub_restore_begin(hub);
    for (size_t i = 0; i < HLY_ARRAY_LEN(rows); i++)
        ck_assert_msg(hub_restore_record(r, &rows[i].r) == rows[i].want, "%s", rows[i].name);
    hub_restore_end(r, EPOCH, hub_restore_head(r));
    ck_assert_uint_eq(hub_head(hub), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_state");
    TCase *c = tcase_create("model");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, cursors_find_in_a_restored_hub_what_they_found_in_the_old_one, 0, 10);
    tcase_add_loop_test(c, a_dump_of_a_hub_in_use_with_what_came_since_loses_nothing_in_silence, 0, 10);
    tcase_add_loop_test(c, other_rules_lose_nothing_in_silence, 0, 10);
    tcase_add_test(c, keys_and_their_receipts_are_restored_with_their_age);
    tcase_add_loop_test(c, what_is_told_lost_is_a_gap_for_older_cursors_only, 0, 2);
    tcase_add_test(c, what_seems_to_come_from_the_future_is_new);
    tcase_add_test(c, a_record_is_read_as_it_was_written_and_is_short_at_every_cut);
    tcase_add_test(c, no_changed_bit_passes_and_neither_does_another_streams_record);
    tcase_add_test(c, the_next_good_record_is_found_and_payloads_cannot_pass_for_one);
    tcase_add_test(c, records_that_make_no_sense_are_refused);
    suite_add_tcase(s, c);
    return run_suite(s);
}
