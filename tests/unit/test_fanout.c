#include "core/fanout.h"

#include "base/buf.h"
#include "core/catchup.h"
#include "core/topic_name.h"
#include "support.h"

#define SHARED WIRE_WS_PLAIN /* forms of these tests: two that are the same for all, */
#define SHARED_TOO WIRE_RESP3
#define PACKED WIRE_SSE_GZIP /* SHARED, packed; and a second form, whose shorter messages are the same */
#define PACKED_TOO WIRE_NDJSON_GZIP
#define PER_FEED WIRE_RESP2 /* and one that names the pattern */

static struct rules *rules;
static struct hub *hub;
static struct sub_table table;
static struct chunk_pool pool;
static struct fanout *fanout;
static uint64_t deliveries; /* of the last batch */

/* ---- a wire form that can be read back */

struct record { /* then name, payload */
    uint64_t seq;
    uint32_t payload_len;
    uint8_t form;
    uint8_t is_pattern; /* of a form per feed: what the subscription is to */
    uint8_t name_len;
    uint8_t zero;
};

#define MAX_SEQ 20000
static uint8_t shared_encodes[WIRE_FORMS][MAX_SEQ]; /* calls for this message */
static uint8_t feed_encodes[FANOUT_BATCH_MAX][32];  /* calls for this message of the batch and pattern */
static uint64_t batch_first;                        /* seq */
static unsigned (*number_of)(struct slice pattern); /* NULL: patterns are not counted */
static uint64_t starved_seq;                        /* encoding this one, */
static unsigned starved_times;                      /* so many times, takes memory that is not there */

static uint32_t bound(struct message *m, const struct feed *f)
{
    if (m->seq == starved_seq && starved_times > 0) {
        starved_times--;
        return 1u << 30;
    }
    return (uint32_t)sizeof(struct record) + f->name_len + m->payload_len;
}

static uint32_t generous_bound(struct message *m, const struct feed *f)
{
    return (uint32_t)sizeof(struct record) + f->name_len + m->payload_len + 77;
}

static uint32_t put(struct message *m, enum wire_form form, const struct feed *f, uint8_t *out)
{
    struct record r = { .seq = m->seq, .payload_len = m->payload_len, .form = (uint8_t)form };
    if (f != NULL) {
        r.is_pattern = f->is_pattern;
        r.name_len = f->name_len;
        memcpy(out + sizeof r, f->name, f->name_len);
    }
    memcpy(out, &r, sizeof r);
    memcpy(out + sizeof r + r.name_len, message_payload(m), m->payload_len);
    return (uint32_t)sizeof r + r.name_len + m->payload_len;
}

static uint32_t encode_shared(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    HOLDS(strcmp(epoch, "k3f9abcd") == 0);
    (void)f;
    shared_encodes[SHARED][m->seq]++;
    return put(m, SHARED, NULL, out);
}

static uint32_t encode_shared_too(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    HOLDS(strcmp(epoch, "k3f9abcd") == 0);
    (void)f;
    shared_encodes[SHARED_TOO][m->seq]++;
    return put(m, SHARED_TOO, NULL, out);
}

static uint32_t encode_per_feed(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    HOLDS(strcmp(epoch, "k3f9abcd") == 0);
    if (!f->is_pattern)
        shared_encodes[PER_FEED][m->seq]++;
    else if (number_of != NULL)
        feed_encodes[m->seq - batch_first][number_of(feed_name(f))]++;
    return put(m, PER_FEED, f, out);
}

static const struct wire_encoder encoders[WIRE_FORMS] = {
    [SHARED] = { .bound = bound, .encode = encode_shared },
    [SHARED_TOO] = { .bound = generous_bound, .encode = encode_shared_too },
    [PER_FEED] = { .bound = bound, .encode = encode_per_feed, .per_feed = true },
    [PACKED] = { .bound = bound, .encode = encode_shared, .is_packed = true, .packs = SHARED },
    [PACKED_TOO] = { .bound = bound, .encode = encode_shared, .is_packed = true, .packs = SHARED },
};

/* ---- packing: one byte more, the form; every third message is left as it is */

#define LONG_BYTES 100

static enum wire_form pack_as(enum wire_form form, uint32_t len)
{
    return form == PACKED_TOO && len < LONG_BYTES ? PACKED : form;
}

static uint32_t pack_bound(enum wire_form form, uint32_t len)
{
    (void)form;
    return len + 8;
}

static uint32_t pack(void *ctx, enum wire_form form, const uint8_t *plain, uint32_t len, uint8_t *out)
{
    struct record r;
    HOLDS(ctx == &table);
    memcpy(&r, plain, sizeof r);
    shared_encodes[form][r.seq]++;
    if (r.seq % 3 == 0)
        return 0;
    memcpy(out, plain, len);
    out[len] = (uint8_t)form;
    return len + 1;
}

/* ---- a subscriber that writes down what it gets */

struct fake {
    struct subscriber sub;
    struct buf bytes;
    unsigned deliveries;
    unsigned slices;
    unsigned losses;    /* deliver() with count 0 */
    uint64_t lost_from; /* first_seq then: where it has to read on from */
    bool falls_behind;  /* it takes one delivery, and no more */
    bool keeps;         /* it keeps the chunks, as a queue would */
    struct chunk_slice *kept;
    size_t kept_count;
};

static void on_deliver(struct subscriber *s, const struct delivery *d)
{
    const struct chunk_slice *slices = d->slices;
    uint32_t count = d->count, bytes = d->bytes;
    uint64_t first_seq = d->first_seq;
    struct fake *f = HLY_CONTAINER_OF(s, struct fake, sub);
    uint32_t sum = 0;
    if (count == 0) {
        HOLDS(bytes == 0 && first_seq >= batch_first);
        f->lost_from = first_seq;
        f->losses++;
        return;
    }
    HOLDS(memcmp(slices->chunk->data + slices->off, &first_seq, sizeof first_seq) ==
          0); /* a record begins with its seq */
    f->deliveries++;
    f->slices += count;
    for (uint32_t i = 0; i < count; i++) {
        HOLDS(slices[i].len > 0 && slices[i].off + slices[i].len <= slices[i].chunk->len);
        buf_append(&f->bytes, slices[i].chunk->data + slices[i].off, slices[i].len);
        sum += slices[i].len;
    }
    HOLDS(sum == bytes && d->last_seq >= first_seq && slices[0].seq == first_seq);
    if (f->falls_behind)
        HOLDS(catchup_fall_behind(s, first_seq) == 0);
    if (!f->keeps)
        return;
    f->kept = realloc(f->kept, (f->kept_count + count) * sizeof *f->kept);
    for (uint32_t i = 0; i < count; i++) {
        chunk_ref(slices[i].chunk);
        f->kept[f->kept_count++] = slices[i];
    }
}

static const struct subscriber_ops ops = { .deliver = on_deliver };

static void fake_init(struct fake *f, enum wire_form form)
{
    *f = (struct fake){ 0 };
    subscriber_init(&f->sub, &table, &ops, form);
}

static void fake_reset(struct fake *f) /* for the next batch */
{
    buf_reset(&f->bytes);
    f->deliveries = f->slices = f->losses = 0;
}

static void fake_done(struct fake *f)
{
    subscriber_done(&f->sub);
    buf_done(&f->bytes);
    for (size_t i = 0; i < f->kept_count; i++)
        chunk_unref(f->kept[i].chunk);
    free(f->kept);
}

static uint64_t fake_sub(struct fake *f, const char *name, bool is_pattern)
{
    uint64_t seq;
    HOLDS(subscribe(&f->sub, TEXT(name), is_pattern, &seq) >= 0);
    return seq;
}

/* The next record in what it got, or NULL. *at moves on. */
static const struct record *next_record(const struct fake *f, size_t *at, struct slice *ret_name)
{
    static struct record r;
    if (*at == f->bytes.len)
        return NULL;
    HOLDS(f->bytes.len - *at >= sizeof r);
    memcpy(&r, f->bytes.data + *at, sizeof r);
    *ret_name = (struct slice){ (char *)f->bytes.data + *at + sizeof r, r.name_len };
    const uint8_t *payload = f->bytes.data + *at + sizeof r + r.name_len;
    *at += sizeof r + r.name_len + r.payload_len;
    HOLDS(*at <= f->bytes.len && r.form == f->sub.form);
    for (uint32_t i = 0; i < r.payload_len; i++)
        HOLDS(payload[i] == (uint8_t)(r.seq * 131 + i * 7));
    return &r;
}

/* Has it got exactly these seqs, in this order? */
static void assert_got(const struct fake *f, const uint64_t *seqs, size_t count)
{
    size_t at = 0, n = 0;
    struct slice name;
    for (const struct record *r; (r = next_record(f, &at, &name)) != NULL; n++)
        ck_assert_msg(n < count && r->seq == seqs[n], "record %zu has seq %" PRIu64, n, r->seq);
    ck_assert_uint_eq(n, count);
}

static void assert_got_range(const struct fake *f, uint64_t first, uint64_t last)
{
    uint64_t seqs[FANOUT_BATCH_MAX];
    for (uint64_t seq = first; seq <= last; seq++)
        seqs[seq - first] = seq;
    assert_got(f, seqs, first > last ? 0 : last - first + 1);
}

/* ---- around it: a hub, a table, a fan-out */

static void setup(void)
{
    static const struct rule everything = { .pattern = { "**", 2 }, .subscribe = RULE_ANYONE };
    struct hub_limits limits = { .topics = 100000, .patterns = 100000, .inbox_bytes = 1u << 30 };
    rules = rules_new(&everything, 1);
    hub = hub_new(&limits, rules, 1, "k3f9abcd");
    ck_assert_int_eq(sub_table_init(&table, hub, 0, encoders, &pool), 0);
    fanout = fanout_new(&table, &pool);
    ck_assert_ptr_nonnull(fanout);
}

static void teardown(void)
{
    ck_assert_uint_eq(pool.live_bytes, 0);
    fanout_free(fanout);
    sub_table_done(&table);
    hub_free(hub);
    rules_unref(rules);
    chunk_pool_done(&pool);
}

static uint64_t except; /* the name of the connection that does not get what is published now */

static uint64_t publish_sized(const char *topic, uint32_t payload_len)
{
    HLY_CLEANUP(message_unrefp) struct message *m = message_new(topic, strlen(topic), NULL, payload_len);
    uint64_t seq = hub_head(hub) + 1;
    struct hub_receipt r;
    HOLDS(seq < MAX_SEQ);
    for (uint32_t i = 0; i < payload_len; i++)
        message_payload(m)[i] = (char)(seq * 131 + i * 7);
    m->except = except;
    HOLDS(hub_publish(hub, m, SLICE_LIT(""), 0, &r) == 0 && r.seq == seq);
    return seq;
}

static uint64_t publish(const char *topic)
{
    return publish_sized(topic, 20);
}

/* Deliver what has been published, as one batch. Returns how many messages it had. */
static size_t deliver(void)
{
    struct message *batch[FANOUT_BATCH_MAX + 1];
    size_t n = hub_take(hub, 0, batch, FANOUT_BATCH_MAX + 1);
    HOLDS(n <= FANOUT_BATCH_MAX);
    deliveries = 0;
    batch_first = n > 0 ? batch[0]->seq : hub_head(hub) + 1;
    if (n == 0)
        return 0;
    deliveries = fanout_run(fanout, batch, n);
    for (size_t i = 0; i < n; i++)
        message_unref(batch[i]);
    return n;
}

/* ---- slices and chunks */

START_TEST(a_small_batch_of_one_topic_is_one_slice)
{
    struct fake f[3];
    for (int i = 0; i < 3; i++) {
        fake_init(&f[i], SHARED);
        fake_sub(&f[i], "a", false);
    }
    for (int i = 0; i < 10; i++)
        publish("a");
    deliver();
    ck_assert_uint_eq(deliveries, 30);
    for (int i = 0; i < 3; i++) {
        assert_got_range(&f[i], 1, 10);
        ck_assert_uint_eq(f[i].deliveries, 1);
        ck_assert_uint_eq(f[i].slices, 1);
        fake_done(&f[i]);
    }
}
END_TEST

START_TEST(topics_that_take_turns_in_a_batch_are_one_slice_each)
{
    struct fake f[4];
    static const char *const topics[] = { "a", "b", "c", "d" };
    for (int i = 0; i < 4; i++) {
        fake_init(&f[i], i % 2 == 0 ? SHARED : PER_FEED);
        fake_sub(&f[i], topics[i], false);
    }
    for (int i = 0; i < 100; i++)
        publish(topics[i % 4]);
    deliver();
    for (unsigned i = 0; i < 4; i++) {
        uint64_t seqs[25];
        for (unsigned n = 0; n < 25; n++)
            seqs[n] = 1 + i + 4 * n;
        assert_got(&f[i], seqs, 25);
        ck_assert_uint_eq(f[i].slices, 1);
        fake_done(&f[i]);
    }
}
END_TEST

START_TEST(a_big_batch_is_as_few_slices_as_its_chunks_allow)
{
    struct fake f;
    fake_init(&f, SHARED);
    fake_sub(&f, "a", false);
    const uint32_t payload = 1000;
    for (int i = 0; i < FANOUT_BATCH_MAX; i++)
        publish_sized("a", payload);
    deliver();
    assert_got_range(&f, 1, FANOUT_BATCH_MAX);
    unsigned per_chunk = CHUNK_STANDARD_BYTES / (uint32_t)(sizeof(struct record) + 1 + payload);
    ck_assert_uint_eq(f.slices, (FANOUT_BATCH_MAX + per_chunk - 1) / per_chunk);
    ck_assert_uint_eq(f.deliveries, 1);
    fake_done(&f);
}
END_TEST

START_TEST(a_message_larger_than_a_chunk_gets_one_of_its_own)
{
    struct fake f;
    fake_init(&f, SHARED);
    fake_sub(&f, "a", false);
    publish("a");
    publish("a");
    publish_sized("a", 3 * CHUNK_STANDARD_BYTES);
    publish("a");
    publish("a");
    deliver();
    assert_got_range(&f, 1, 5);
    ck_assert_uint_eq(f.slices, 3);
    fake_done(&f);
}
END_TEST

static const uint32_t edges[] = { 0,
                                  1,
                                  CHUNK_STANDARD_BYTES - 18,
                                  CHUNK_STANDARD_BYTES - 17,
                                  CHUNK_STANDARD_BYTES - 16,
                                  CHUNK_STANDARD_BYTES,
                                  CHUNK_STANDARD_BYTES + 1,
                                  1000000 };

START_TEST(a_payload_of_any_size_arrives)
{
    struct fake f, g;
    fake_init(&f, SHARED);
    fake_init(&g, PER_FEED);
    fake_sub(&f, "a", false);
    fake_sub(&g, "a*", true);
    publish_sized("a", edges[_i]);
    publish_sized("a", edges[_i]);
    publish("a");
    deliver();
    assert_got_range(&f, 1, 3);
    assert_got_range(&g, 1, 3);
    fake_done(&f);
    fake_done(&g);
}
END_TEST

START_TEST(who_keeps_a_slice_keeps_its_chunk)
{
    struct fake keeper, other;
    fake_init(&keeper, SHARED);
    fake_init(&other, SHARED);
    keeper.keeps = true;
    fake_sub(&keeper, "a", false);
    fake_sub(&keeper, "b", false);
    fake_sub(&other, "a", false);
    for (int batch = 0; batch < 5; batch++) {
        for (int i = 0; i < 20; i++)
            publish_sized(i % 2 == 0 ? "a" : "b", (uint32_t)i * 200);
        deliver();
    }
    ck_assert_uint_gt(pool.live_bytes, 0);
    size_t at = 0;
    for (size_t i = 0; i < keeper.kept_count; i++) { /* later batches have not touched what it keeps */
        const struct chunk_slice *s = &keeper.kept[i];
        ck_assert_mem_eq(s->chunk->data + s->off, keeper.bytes.data + at, s->len);
        at += s->len;
    }
    ck_assert_uint_eq(at, keeper.bytes.len);
    fake_done(&keeper);
    ck_assert_uint_eq(pool.live_bytes, 0);
    fake_done(&other);
}
END_TEST

/* ---- who gets what, and how often */

START_TEST(a_topic_and_a_pattern_that_overlap_give_a_message_once)
{
    struct fake f;
    fake_init(&f, SHARED);
    fake_sub(&f, "a/1", false);
    fake_sub(&f, "a/*", true);
    fake_sub(&f, "**", true);
    publish("a/1");
    publish("a/2");
    publish("b");
    publish("a/1");
    deliver();
    assert_got_range(&f, 1, 4);
    ck_assert_uint_eq(deliveries, 4);
    ck_assert_uint_eq(f.deliveries, 1);
    fake_done(&f);
}
END_TEST

/* Three connections, of which the second is left out; the names of the first two end in the same bits. */
START_TEST(who_is_left_out_does_not_get_a_message_and_all_others_do)
{
    static const uint64_t connections[] = { 64 + 5, 128 + 5, 7, 0 };
    struct fake f[4];
    for (int i = 0; i < 4; i++) {
        fake_init(&f[i], i % 2 == 0 ? SHARED : PER_FEED);
        f[i].sub.name = connections[i];
        fake_sub(&f[i], "a", false);
    }
    publish("a");
    except = 128 + 5;
    publish("a");
    except = 64; /* of nobody here, and its bits are those of who has no name */
    publish("a");
    except = 0;
    deliver();
    for (int i = 0; i < 4; i++) {
        assert_got(&f[i], i == 1 ? (uint64_t[]){ 1, 3 } : (uint64_t[]){ 1, 2, 3 }, i == 1 ? 2 : 3);
        ck_assert_uint_eq(f[i].deliveries, 1);
        fake_done(&f[i]);
    }
    ck_assert_uint_eq(deliveries, 11);
}
END_TEST

START_TEST(who_is_left_out_of_a_whole_batch_hears_nothing)
{
    struct fake f;
    fake_init(&f, SHARED);
    f.sub.name = 9;
    fake_sub(&f, "a", false);
    fake_sub(&f, "**", true);
    except = 9;
    publish("a");
    except = 0;
    deliver();
    ck_assert_uint_eq(f.deliveries, 0);
    ck_assert_uint_eq(f.losses, 0);
    fake_done(&f);
}
END_TEST

START_TEST(a_form_per_feed_gives_a_message_once_per_subscription)
{
    struct fake f;
    static const uint64_t want[] = { 1, 1, 1, 2, 2, 3 };
    fake_init(&f, PER_FEED);
    fake_sub(&f, "a/1", false);
    fake_sub(&f, "a/*", true);
    fake_sub(&f, "**", true);
    publish("a/1");
    publish("a/2");
    publish("b");
    deliver();
    assert_got(&f, want, HLY_ARRAY_LEN(want));
    ck_assert_uint_eq(deliveries, 6);
    fake_done(&f);
}
END_TEST

START_TEST(a_subscription_made_within_a_batch_begins_there)
{
    struct fake before, within, both, after;
    fake_init(&before, SHARED);
    fake_init(&within, SHARED);
    fake_init(&both, SHARED);
    fake_init(&after, SHARED);
    fake_sub(&before, "a", false);
    fake_sub(&both, "a", false);
    publish("a");
    publish("b");
    ck_assert_uint_eq(fake_sub(&within, "a", false), 2);
    ck_assert_uint_eq(fake_sub(&both, "*", true), 2);
    publish("a"); /* 3 */
    publish("b"); /* 4 */
    fake_sub(&after, "a", false);
    deliver();
    assert_got(&before, (uint64_t[]){ 1, 3 }, 2);
    assert_got(&within, (uint64_t[]){ 3 }, 1);
    assert_got(&both, (uint64_t[]){ 1, 3, 4 }, 3);
    assert_got(&after, (uint64_t[]){ 0 }, 0);
    ck_assert_uint_eq(after.deliveries, 0);
    ck_assert_uint_eq(deliveries, 6);
    fake_done(&before);
    fake_done(&within);
    fake_done(&both);
    fake_done(&after);
}
END_TEST

START_TEST(who_left_before_the_batch_gets_nothing)
{
    struct fake stays, leaves;
    fake_init(&stays, SHARED);
    fake_init(&leaves, SHARED);
    fake_sub(&stays, "a", false);
    fake_sub(&leaves, "a", false);
    fake_sub(&leaves, "*", true);
    publish("a");
    publish("b");
    subscriber_done(&leaves.sub);
    deliver();
    assert_got(&stays, (uint64_t[]){ 1 }, 1);
    ck_assert_uint_eq(leaves.deliveries, 0);
    publish("b");
    ck_assert_uint_eq(deliver(), 0);
    fake_done(&stays);
    fake_done(&leaves);
}
END_TEST

/* More pieces than one list has room for: patterns that each had their frames laid down for somebody else. */
START_TEST(very_many_pieces_come_in_several_deliveries)
{
    static const char *const patterns[] = { "a/b", "a/*", "a/**", "*/b", "*/*", "**", "a*/b", "a/b*", "*/b*" };
    enum { PATTERNS = HLY_ARRAY_LEN(patterns) };
    struct fake single[PATTERNS], all, slow;
    fake_init(&all, PER_FEED);
    fake_init(&slow, PER_FEED);
    slow.falls_behind = true; /* with the first of them, so the rest is not for it */
    for (int i = 0; i < PATTERNS; i++) {
        fake_init(&single[i], PER_FEED);
        fake_sub(&single[i], patterns[i], true);
        fake_sub(&all, patterns[i], true);
        fake_sub(&slow, patterns[i], true);
    }
    for (int i = 0; i < FANOUT_BATCH_MAX; i++)
        publish("a/b");
    deliver();
    size_t at = 0;
    struct slice name;
    for (unsigned n = 0; n < PATTERNS * FANOUT_BATCH_MAX; n++)
        HOLDS(next_record(&all, &at, &name)->seq == 1 + n / PATTERNS);
    ck_assert_uint_eq(at, all.bytes.len);
    ck_assert_uint_ge(all.deliveries, 3);
    ck_assert_uint_eq(slow.deliveries, 1);
    for (int i = 0; i < PATTERNS; i++) {
        assert_got_range(&single[i], 1, FANOUT_BATCH_MAX);
        fake_done(&single[i]);
    }
    fake_done(&all);
    fake_done(&slow);
}
END_TEST

START_TEST(who_is_behind_gets_nothing_live)
{
    struct fake live, one, two;
    fake_init(&live, SHARED);
    fake_init(&one, SHARED);
    fake_init(&two, SHARED);
    fake_sub(&live, "a", false);
    fake_sub(&one, "a", false);
    fake_sub(&two, "a", false);
    fake_sub(&two, "*", true);
    one.falls_behind = two.falls_behind = true;
    for (int batch = 0; batch < 3; batch++) {
        publish("a");
        publish("a");
        deliver();
    }
    assert_got_range(&live, 1, 6);
    assert_got_range(&one, 1, 2);
    assert_got_range(&two, 1, 2);
    fake_done(&live);
    fake_done(&one);
    fake_done(&two);
}
END_TEST

static unsigned number_of_two(struct slice pattern)
{
    return pattern.len == 2;
}

START_TEST(each_form_of_a_message_is_encoded_once)
{
    enum { EACH = 5 };
    struct fake f[3 * EACH];
    static const enum wire_form forms[] = { SHARED, SHARED_TOO, PER_FEED };
    for (int i = 0; i < 3 * EACH; i++) {
        fake_init(&f[i], forms[i / EACH]);
        if (i % EACH != 1)
            fake_sub(&f[i], "a", false);
        if (i % EACH > 0)
            fake_sub(&f[i], "a*", true);
        if (i % EACH > 2)
            fake_sub(&f[i], "*", true);
    }
    number_of = number_of_two;
    for (int i = 0; i < 8; i++)
        publish("a");
    deliver();
    for (uint64_t seq = 1; seq <= 8; seq++) {
        for (int i = 0; i < 3; i++)
            ck_assert_uint_eq(shared_encodes[forms[i]][seq], 1);
        ck_assert_uint_eq(feed_encodes[seq - 1][0], 1);
        ck_assert_uint_eq(feed_encodes[seq - 1][1], 1);
    }
    for (int i = 0; i < 3 * EACH; i++)
        fake_done(&f[i]);
}
END_TEST

/* ---- packed forms */

/* Does it have all of 1 to 12, each as it is or packed for one of these two forms? Returns how many are packed. */
static unsigned packed_in(const struct fake *f, enum wire_form short_form, enum wire_form long_form)
{
    unsigned packed = 0;
    size_t at = 0;
    for (uint64_t seq = 1; seq <= 12; seq++) {
        struct record r;
        HOLDS(f->bytes.len - at >= sizeof r);
        memcpy(&r, f->bytes.data + at, sizeof r);
        HOLDS(r.seq == seq && r.form == SHARED);
        at += sizeof r + r.name_len + r.payload_len;
        if (f->sub.form == SHARED || seq % 3 == 0)
            continue;
        HOLDS(at < f->bytes.len && f->bytes.data[at] == (sizeof r + r.payload_len < LONG_BYTES ? short_form : long_form));
        at++;
        packed++;
    }
    HOLDS(at == f->bytes.len);
    return packed;
}

START_TEST(a_message_is_packed_once_and_what_is_left_is_shared)
{
    enum { EACH = 3 };
    static const enum wire_form forms[] = { PACKED, PACKED_TOO, SHARED };
    struct fake f[3 * EACH];
    table.packing = (struct wire_packing){ .as = pack_as, .bound = pack_bound, .pack = pack, .ctx = &table };
    for (int i = 0; i < 3 * EACH; i++) {
        fake_init(&f[i], forms[i / EACH]);
        fake_sub(&f[i], "a", false);
        if (i % EACH == 2)
            fake_sub(&f[i], "*", true); /* merged */
    }
    for (int i = 0; i < 12; i++)
        publish_sized("a", i < 6 ? 20 : 200);
    deliver();
    ck_assert_uint_eq(deliveries, 3 * EACH * 12);
    for (int i = 0; i < 3 * EACH; i++) {
        ck_assert_uint_eq(packed_in(&f[i], PACKED, forms[i / EACH]), i / EACH == 2 ? 0 : 8);
        ck_assert_uint_eq(f[i].deliveries, 1);
    }
    for (uint64_t seq = 1; seq <= 12; seq++) {
        ck_assert_uint_eq(shared_encodes[SHARED][seq], 1); /* the plain form once, whoever packs it */
        ck_assert_uint_eq(shared_encodes[PACKED][seq], 1);
        ck_assert_uint_eq(shared_encodes[PACKED_TOO][seq], seq > 6); /* the short ones are those of the other form */
    }
    for (int i = 0; i < 3 * EACH; i++)
        fake_done(&f[i]);
}
END_TEST

START_TEST(packed_messages_lie_side_by_side)
{
    struct fake f;
    table.packing = (struct wire_packing){ .as = pack_as, .bound = pack_bound, .pack = pack, .ctx = &table };
    fake_init(&f, PACKED);
    fake_sub(&f, "a", false);
    publish("a"), publish("a");
    deliver();
    ck_assert_uint_eq(f.slices, 1);
    fake_done(&f);
}
END_TEST

/* ---- out of memory */

START_TEST(who_cannot_be_served_is_told_and_the_others_are_served)
{
    struct fake single[2], several, other, late;
    for (int i = 0; i < 2; i++) {
        fake_init(&single[i], SHARED);
        fake_sub(&single[i], "a", false);
    }
    fake_init(&several, SHARED);
    fake_sub(&several, "a", false);
    fake_sub(&several, "*", true);
    fake_init(&late, SHARED);
    fake_init(&other, SHARED_TOO);
    fake_sub(&other, "a", false);
    if (limit_memory(512 << 20)) {
        starved_seq = 3;
        starved_times = 1000;
        publish("a");
        publish("a");
        fake_sub(&late, "a", false);
        for (int i = 0; i < 3; i++)
            publish("a");
        deliver();
        struct fake *lost[] = { &single[0], &single[1], &several, &late };
        for (int i = 0; i < 4; i++) {
            ck_assert_uint_eq(lost[i]->losses, 1);
            ck_assert_uint_eq(lost[i]->deliveries, 0);
            ck_assert_uint_eq(lost[i]->lost_from, lost[i] == &late ? 3 : 1);
        }
        ck_assert_uint_eq(table.lost_batches, 4);
        ck_assert_uint_eq(other.losses, 0);
        assert_got_range(&other, 1, 5);
        ck_assert_uint_eq(pool.live_bytes, 0);
        publish("a");
        deliver();
        for (int i = 0; i < 4; i++)
            assert_got_range(lost[i], 6, 6);
        ck_assert_uint_eq(table.lost_batches, 4);
    }
    fake_done(&single[0]);
    fake_done(&single[1]);
    fake_done(&several);
    fake_done(&late);
    fake_done(&other);
}
END_TEST

START_TEST(when_memory_is_back_within_a_batch_the_rest_is_served)
{
    struct fake f[3];
    for (int i = 0; i < 3; i++) {
        fake_init(&f[i], _i == 0 ? SHARED : PER_FEED);
        fake_sub(&f[i], "a*", true);
    }
    if (limit_memory(512 << 20)) {
        starved_seq = 4;
        starved_times = 1;
        publish("a1");
        publish("b");
        for (int i = 0; i < 20; i++)
            publish_sized("a1", 5000); /* over several chunks */
        deliver();
        static uint64_t want[21];
        for (unsigned i = 0; i < 21; i++)
            want[i] = i == 0 ? 1 : i + 2;
        ck_assert_uint_eq(f[0].losses, 1);
        ck_assert_uint_eq(f[0].deliveries, 0);
        for (int i = 1; i < 3; i++) {
            ck_assert_uint_eq(f[i].losses, 0);
            assert_got(&f[i], want, 21);
        }
    }
    for (int i = 0; i < 3; i++)
        fake_done(&f[i]);
}
END_TEST

/* Anyone may subscribe to as many patterns that match one topic as there are: a batch must not take much for each. */
#define CROWD 32768

START_TEST(a_crowd_of_patterns_takes_little_memory)
{
    struct fake *crowd = calloc(CROWD, sizeof *crowd);
    char pattern[32];
    bool is_limited = limit_memory(120 << 20);
    unsigned count = is_limited ? CROWD : 500;
    for (unsigned n = 0; n < count; n++) {
        for (unsigned level = 0; level < 15; level++) {
            pattern[2 * level] = n >> level & 1 ? '*' : 'x';
            pattern[2 * level + 1] = level == 14 ? '\0' : '/';
        }
        fake_init(&crowd[n], SHARED);
        fake_sub(&crowd[n], pattern, true);
    }
    publish("x/x/x/x/x/x/x/x/x/x/x/x/x/x/x");
    deliver();
    ck_assert_uint_eq(deliveries, count);
    ck_assert_uint_eq(table.lost_batches, 0);
    for (unsigned n = 0; n < count; n++) {
        HOLDS(crowd[n].deliveries == 1 && crowd[n].losses == 0);
        fake_done(&crowd[n]);
    }
    free(crowd);
}
END_TEST

/* ---- against a naive model */

#define FAKES 24
#define NAMES 24 /* names[0 .. TOPICS) are topics */
#define TOPICS 11

static const char *const names[NAMES] = { "a/0",   "a/1",  "a/10", "b/0", "b/1",  "b",    "c:1",   "c:2",
                                          "a/b/c", "$x/y", "d",    "a/*", "b/*",  "**",   "a/**",  "*/0",
                                          "*",     "a/0",  "b",    "c:*", "a/1*", "$x/*", "*/b/*", "*/*" };

static bool has[FAKES][NAMES];
static uint64_t from[FAKES][NAMES];
static uint64_t topic_of[FANOUT_BATCH_MAX]; /* names[] of each message since the last batch */
static uint64_t seq_of[FANOUT_BATCH_MAX];
static uint64_t except_of[FANOUT_BATCH_MAX];
static size_t published;

static bool name_matches(unsigned name, unsigned topic)
{
    if (name < TOPICS)
        return name == topic;
    return pattern_matches(names[name], strlen(names[name]), names[topic], strlen(names[topic]));
}

static unsigned number_of_name(struct slice pattern)
{
    for (unsigned n = TOPICS; n < NAMES; n++)
        if (strlen(names[n]) == pattern.len && memcmp(names[n], pattern.ptr, pattern.len) == 0)
            return n;
    ck_abort_msg("a pattern that nobody has");
}

/* The public name of its connection; of some the last bits are the same, and some have none. */
static uint64_t name_of(unsigned fake)
{
    return fake % 5 == 4 ? 0 : 1000 + (uint64_t)(fake % 3) * 64 + fake / 8;
}

/* Which of a subscriber's names want this message? */
static unsigned wanted_by(unsigned fake, size_t message, bool wants[NAMES])
{
    unsigned count = 0;
    if (except_of[message] != 0 && except_of[message] == name_of(fake))
        return 0;
    for (unsigned n = 0; n < NAMES; n++) {
        wants[n] = has[fake][n] && from[fake][n] < seq_of[message] && name_matches(n, (unsigned)topic_of[message]);
        count += wants[n];
    }
    return count;
}

/* Check the records that one message has made for one subscriber of a form per feed, the first of which is in *r. */
static void check_per_feed(const struct fake *f, bool wants[NAMES], unsigned count, size_t *at, uint64_t seq)
{
    struct slice name;
    for (unsigned i = 0; i < count; i++) {
        const struct record *r = next_record(f, at, &name);
        HOLDS(r != NULL && r->seq == seq);
        unsigned n = r->is_pattern ? TOPICS : 0;
        while (n < NAMES && !(wants[n] && strlen(names[n]) == name.len && memcmp(names[n], name.ptr, name.len) == 0))
            n++;
        HOLDS(n < (r->is_pattern ? NAMES : TOPICS));
        wants[n] = false; /* once */
    }
}

static uint64_t check_fake(struct fake *f, unsigned number, uint8_t shared[WIRE_FORMS][FANOUT_BATCH_MAX],
                           uint8_t per_feed[FANOUT_BATCH_MAX][NAMES])
{
    size_t at = 0;
    struct slice name;
    uint64_t total = 0;
    for (size_t m = 0; m < published; m++) {
        bool wants[NAMES];
        unsigned count = wanted_by(number, m, wants);
        if (count == 0)
            continue;
        if (f->sub.form != PER_FEED) {
            const struct record *r = next_record(f, &at, &name);
            HOLDS(r != NULL && r->seq == seq_of[m]);
            shared[f->sub.form][m] = 1;
            total++;
            continue;
        }
        for (unsigned n = 0; n < NAMES; n++)
            *(n < TOPICS ? &shared[PER_FEED][m] : &per_feed[m][n]) |= wants[n];
        check_per_feed(f, wants, count, &at, seq_of[m]);
        total += count;
    }
    HOLDS(at == f->bytes.len); /* and no more */
    HOLDS((total > 0) == (f->deliveries > 0) && f->losses == 0);
    fake_reset(f);
    return total;
}

static void check_batch(struct fake *fakes)
{
    static uint8_t shared[WIRE_FORMS][FANOUT_BATCH_MAX];
    static uint8_t per_feed[FANOUT_BATCH_MAX][NAMES];
    memset(shared, 0, sizeof shared);
    memset(per_feed, 0, sizeof per_feed);
    uint64_t total = 0;
    for (unsigned i = 0; i < FAKES; i++)
        total += check_fake(&fakes[i], i, shared, per_feed);
    HOLDS(deliveries == total);
    for (size_t m = 0; m < published; m++) {
        static const enum wire_form forms[] = { SHARED, SHARED_TOO, PER_FEED };
        for (int i = 0; i < 3; i++)
            HOLDS(shared_encodes[forms[i]][seq_of[m]] == shared[forms[i]][m]);
        for (unsigned n = TOPICS; n < NAMES; n++)
            HOLDS(seq_of[m] < batch_first || feed_encodes[seq_of[m] - batch_first][n] == per_feed[m][n]);
    }
}

static uint32_t some_size(void)
{
    switch (below(40)) {
    case 0:
        return CHUNK_STANDARD_BYTES - 40 + below(60);
    case 1:
        return below(100000);
    case 2:
    case 3:
    case 4:
        return below(5000);
    default:
        return below(100);
    }
}

static void change_one(struct fake *fakes, unsigned few)
{
    unsigned i = below(FAKES), n = below(NAMES);
    struct fake *f = &fakes[i];
    uint64_t seq;
    bool is_pattern = n >= TOPICS;
    if (has[i][n] && below(2) == 0) {
        HOLDS(unsubscribe(&f->sub, TEXT(names[n]), is_pattern));
        has[i][n] = false;
    } else if (below(40) == 0) {
        subscriber_done(&f->sub);
        memset(has[i], 0, sizeof has[i]);
    } else if (i >= few || f->sub.count == 0) { /* some have one subscription at most */
        HOLDS(subscribe(&f->sub, TEXT(names[n]), is_pattern, &seq) == (has[i][n] ? 0 : 1));
        if (!has[i][n])
            from[i][n] = seq;
        has[i][n] = true;
    }
}

static void one_batch(struct fake *fakes)
{
    size_t size = below(4) == 0 ? FANOUT_BATCH_MAX : 1 + below(below(2) == 0 ? 8 : 100);
    unsigned topics = 1 + below(TOPICS), busy = below(3);
    published = 0;
    for (size_t i = 0; i < size; i++) {
        for (unsigned n = busy == 0 ? below(3) : 0; n > 0; n--)
            change_one(fakes, FAKES / 2);
        topic_of[published] = below(topics);
        except = except_of[published] = below(4) == 0 ? name_of(below(FAKES)) : 0;
        seq_of[published] = publish_sized(names[topic_of[published]], some_size());
        published++;
    }
    except = 0;
    memset(feed_encodes, 0, sizeof feed_encodes);
    deliver();
    check_batch(fakes);
    for (unsigned n = 0; n < 20; n++)
        change_one(fakes, FAKES / 2);
}

START_TEST(any_batch_is_delivered_as_a_naive_model_says)
{
    static struct fake fakes[FAKES];
    static const enum wire_form forms[] = { SHARED, PER_FEED, SHARED_TOO, PER_FEED, SHARED };
    seed_random();
    number_of = number_of_name;
    for (unsigned i = 0; i < FAKES; i++)
        fake_init(&fakes[i], forms[i % HLY_ARRAY_LEN(forms)]);
    for (unsigned i = 0; i < FAKES; i++)
        fakes[i].sub.name = name_of(i);
    for (int batch = 0; batch < 120; batch++) {
        one_batch(fakes);
        HOLDS(pool.live_bytes == 0);
    }
    for (unsigned i = 0; i < FAKES; i++)
        fake_done(&fakes[i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fanout");
    TCase *t = tcase_create("fanout");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_small_batch_of_one_topic_is_one_slice);
    tcase_add_test(t, topics_that_take_turns_in_a_batch_are_one_slice_each);
    tcase_add_test(t, a_big_batch_is_as_few_slices_as_its_chunks_allow);
    tcase_add_test(t, a_message_larger_than_a_chunk_gets_one_of_its_own);
    tcase_add_loop_test(t, a_payload_of_any_size_arrives, 0, HLY_ARRAY_LEN(edges));
    tcase_add_test(t, who_keeps_a_slice_keeps_its_chunk);
    tcase_add_test(t, a_topic_and_a_pattern_that_overlap_give_a_message_once);
    tcase_add_test(t, who_is_left_out_does_not_get_a_message_and_all_others_do);
    tcase_add_test(t, who_is_left_out_of_a_whole_batch_hears_nothing);
    tcase_add_test(t, a_form_per_feed_gives_a_message_once_per_subscription);
    tcase_add_test(t, a_subscription_made_within_a_batch_begins_there);
    tcase_add_test(t, who_left_before_the_batch_gets_nothing);
    tcase_add_test(t, very_many_pieces_come_in_several_deliveries);
    tcase_add_test(t, who_is_behind_gets_nothing_live);
    tcase_add_test(t, each_form_of_a_message_is_encoded_once);
    tcase_add_test(t, a_message_is_packed_once_and_what_is_left_is_shared);
    tcase_add_test(t, packed_messages_lie_side_by_side);
    tcase_add_test(t, who_cannot_be_served_is_told_and_the_others_are_served);
    tcase_add_loop_test(t, when_memory_is_back_within_a_batch_the_rest_is_served, 0, 2);
    tcase_add_test(t, a_crowd_of_patterns_takes_little_memory);
    tcase_add_test(t, any_batch_is_delivered_as_a_naive_model_says);
    suite_add_tcase(s, t);
    return run_suite(s);
}
