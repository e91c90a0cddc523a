#include "core/catchup.h"

#include "core/fanout.h"
#include "core/reading.h"
#include "core/topic_name.h"
#include "support.h"

#define EPOCH "k3f9abcd"
#define MAX_SEQ 4096 /* messages of one round */
#define MAX_FAKES 12

enum { R_KEEP, R_DROP, R_CONFLATE, R_TICKER, R_FEW, R_ONE, R_TTL, R_NONE, RULES };

static const struct rule rule_list[RULES] = {
    [R_KEEP] = { .pattern = { "keep/**", 7 }, .subscribe = RULE_ANYONE, .history = 1000000 },
    [R_DROP] = { .pattern = { "drop/**", 7 }, .subscribe = RULE_ANYONE, .history = 1000000, .on_slow = RULE_DROP_OLDEST },
    [R_CONFLATE] = { .pattern = { "conf/**", 7 }, .subscribe = RULE_ANYONE, .history = 1000000, .on_slow = RULE_CONFLATE },
    [R_TICKER] = { .pattern = { "tick/**", 7 }, .subscribe = RULE_ANYONE, .history = 1, .on_slow = RULE_CONFLATE },
    [R_FEW] = { .pattern = { "few/**", 6 }, .subscribe = RULE_ANYONE, .history = 3 },
    [R_ONE] = { .pattern = { "one/**", 6 }, .subscribe = RULE_ANYONE, .history = 1 },
    [R_TTL] = { .pattern = { "ttl/**", 6 }, .subscribe = RULE_ANYONE, .history = 1000000, .history_ttl_ms = 50 },
    [R_NONE] = { .pattern = { "none/**", 7 }, .subscribe = RULE_ANYONE },
};

static const char *const topics[] = { "keep/a", "keep/b", "keep/c", "drop/a", "drop/b", "conf/a", "conf/b", "tick/a", "tick/b",
                                      "few/a",  "few/b",  "one/a",  "one/b",  "ttl/a",  "ttl/b",  "ttl/c",  "none/a", "no rule" };
#define KEEPING 7  /* of these lose nothing, but to limits.history, or for those who are slow */
#define DROPPING 3 /* from here on_slow = drop_oldest */
#define CONFLATING 5
#define CONFLATING_END 9

static const struct {
    const char *name;
    bool is_pattern;
} wanted[] = {
    { "keep/a", false }, { "keep/b", false }, { "few/a", false }, { "one/a", false },
    { "ttl/a", false },  { "none/a", false }, { "keep/*", true }, { "few/**", true },
    { "ttl/*", true },   { "ttl/a", true },   { "**", true },     { "*/a", true },
    { "drop/a", false }, { "drop/*", true },  { "conf/a", false }, { "conf/*", true },
    { "tick/*", true },  { "tick/a", false },
};

static struct rules *rules;
static struct hub *hub;
static struct sub_table table;
static struct chunk_pool pool;
static struct fanout *fanout;

#define HOLDS_SAYING(cond, ...) \
    do { \
        if (!(cond)) \
            ck_abort_msg(__VA_ARGS__); \
    } while (0)

/* ---- one round: what was published, and how unkind the world is */

static uint8_t topic_of[MAX_SEQ]; /* index into topics */
static uint32_t payload_of[MAX_SEQ];
static uint64_t except_of[MAX_SEQ]; /* the name of the connection that does not get it; 0: all do */
static uint64_t head;
static uint64_t now_ms;
static bool is_lossless;        /* nothing ever leaves a history: no gap may be told */
static unsigned full_percent;   /* chance that a connection takes no more */
static unsigned behind_percent; /* chance that one does not take a delivery */
static bool is_starved;         /* there is no memory for some chunks */

/* ---- a wire form that can be read back: the seq, and so many bytes more */

static uint32_t bound(struct message *m, const struct feed *f)
{
    (void)f;
    return is_starved && below(3) == 0 ? 1u << 30 : 16 + m->payload_len;
}

static uint32_t encode(struct message *m, const struct feed *f, const char *epoch, uint8_t *out)
{
    (void)f;
    (void)epoch;
    memcpy(out, &m->seq, 8);
    memcpy(out + 8, &m->payload_len, 4);
    memset(out + 12, 'x', m->payload_len);
    return 12 + m->payload_len;
}

static const struct wire_encoder encoders[WIRE_FORMS] = { [WIRE_WS_PLAIN] = { .bound = bound, .encode = encode } };

/* ---- a subscriber, and what it must get */

struct fake {
    struct subscriber sub;
    bool is_here;
    bool has_ended;    /* it was told of a gap and wanted no more */
    uint32_t wants;    /* bits: indexes into wanted */
    uint64_t wants_from[32]; /* S of one that was added later: nothing up to here is for it */
    uint64_t queued_first;   /* of what it was given last: it may be taken back; 0: no more */
    uint64_t queued_last;    /* `last` before that */
    uint64_t gap_from;       /* it was told of a gap after this seq, and has had nothing since */
    bool is_in_gap;
    uint64_t last;     /* it has, or was told to miss, everything up to here */
    uint64_t begins;   /* its last subscription is in force from here: what came before may come or not */
    uint64_t promised; /* S: everything after it is due */
    uint64_t newest;   /* last=N: so many from before S at most; UINT64_MAX: it did not ask */
    bool is_floating;  /* it asked for the newest few, and has nothing yet */
    bool is_forgiving; /* after=0: what was gone when the reading began is not missed */
    bool is_gap_due;   /* its cursor is of another epoch */
    bool excused[MAX_SEQ];
    unsigned gaps;
};

static struct fake fakes[MAX_FAKES];
static struct {
    uint64_t delivered, replayed, gaps, behind, parked, levels, starved, dropped, conflated, cut, added, left_out;
} seen;

static bool is_subscribed(const struct fake *f, uint64_t seq)
{
    const char *topic = topics[topic_of[seq]];
    for (size_t i = 0; i < HLY_ARRAY_LEN(wanted); i++)
        if ((f->wants & 1u << i) != 0 && seq > f->wants_from[i] &&
            (wanted[i].is_pattern ? pattern_matches(wanted[i].name, strlen(wanted[i].name), topic, strlen(topic))
                                  : strcmp(wanted[i].name, topic) == 0))
            return true;
    return false;
}

static bool is_wanted(const struct fake *f, uint64_t seq)
{
    return is_subscribed(f, seq) && (except_of[seq] == 0 || except_of[seq] != f->sub.name);
}

static bool is_kept(uint64_t seq)
{
    const char *topic = topics[topic_of[seq]];
    struct hub_name name = { .name = TEXT(topic) };
    struct hub_reader r = { .pos = seq - 1 };
    struct hub_read read;
    hub_read(hub, &name, 1, &r, &read);
    bool found = read.count > 0 && read.messages[0]->seq == seq;
    for (size_t i = 0; i < read.count; i++)
        message_unref(read.messages[i]);
    return found;
}

/* What is lost of (from, to] by now is known to the subscriber. */
static void excuse(struct fake *f, uint64_t from, uint64_t to)
{
    for (uint64_t seq = from + 1; seq <= to; seq++)
        if (!f->excused[seq] && !is_kept(seq))
            f->excused[seq] = true;
}

/* What one who is slow may be spared: all but the newest of a topic, and all but the newest keep_bytes. */
static void excuse_slow(struct fake *f, uint64_t from)
{
    bool newer[HLY_ARRAY_LEN(topics)] = { false };
    uint64_t bytes = 0;
    for (uint64_t y = head; y > from; y--) {
        size_t t = topic_of[y];
        if (t >= CONFLATING && t < CONFLATING_END && newer[t])
            f->excused[y] = true;
        newer[t] = true;
        if (!is_subscribed(f, y))
            continue; /* what has left since it was measured counted as well */
        bytes += payload_of[y] + strlen(topics[t]);
        if (t >= DROPPING && t < CONFLATING && bytes > table.keep_bytes)
            f->excused[y] = true;
    }
}

static void reading_began(struct fake *f)
{
    HOLDS(f->sub.catchup != NULL);
    if (f->is_forgiving)
        excuse(f, 0, f->promised);
    f->is_forgiving = false;
}

/* Nothing between what it had and seq may be missing. */
static void assert_no_hole(struct fake *f, uint64_t seq)
{
    HOLDS_SAYING(!f->is_gap_due, "subscriber %zu was not told that its cursor is of another epoch",
                 (size_t)(f - fakes));
    for (uint64_t y = f->last + 1; y < seq; y++)
        if (is_wanted(f, y) && !f->excused[y] && y > f->begins)
            ck_abort_msg("subscriber %zu (wants %x) misses %" PRIu64 " (%s) between %" PRIu64 " and %" PRIu64
                         ", and was not told; S %" PRIu64 ", gaps %u",
                         (size_t)(f - fakes), f->wants, y, topics[topic_of[y]], f->last, seq, f->promised, f->gaps);
}

/* The newest few of before S: those that are there, and no more than it asked for. */
static void landed(struct fake *f, uint64_t seq)
{
    uint64_t before = 0, all = 0;
    for (uint64_t y = 1; y <= f->promised; y++) {
        if (!is_wanted(f, y))
            continue;
        all++;
        before += y >= seq && is_kept(y);
        f->excused[y] |= y < seq;
    }
    HOLDS_SAYING(before <= f->newest, "subscriber %zu got %" PRIu64 " messages, not the newest %" PRIu64,
                 (size_t)(f - fakes), before, f->newest);
    if (is_lossless)
        HOLDS(before == (all < f->newest ? all : f->newest));
    f->is_floating = false;
}

static void got(struct fake *f, uint64_t seq)
{
    HOLDS(seq >= 1 && seq <= head);
    HOLDS_SAYING(is_wanted(f, seq), "subscriber %zu did not subscribe to %s, or is left out", (size_t)(f - fakes),
                 topics[topic_of[seq]]);
    HOLDS_SAYING(seq > f->last, "subscriber %zu got %" PRIu64 " after %" PRIu64, (size_t)(f - fakes), seq, f->last);
    if (f->is_floating)
        landed(f, seq);
    if (f->is_in_gap) { /* what has been lost meanwhile is in it */
        excuse(f, f->gap_from, head);
        excuse_slow(f, f->gap_from);
        f->is_in_gap = false;
    }
    assert_no_hole(f, seq);
    f->last = seq;
}

static void queued(struct fake *f, uint64_t first_seq)
{
    if (f->queued_first != 0 && below(3) > 0)
        return; /* it waits with what waited before */
    f->queued_first = first_seq;
    f->queued_last = f->last;
}

static void got_slices(struct fake *f, const struct delivery *d)
{
    const struct chunk_slice *slices = d->slices;
    uint32_t count = d->count, bytes = d->bytes;
    if (!f->is_floating)
        queued(f, d->first_seq);
    uint32_t sum = 0;
    HOLDS(count > 0);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = slices[i].chunk->data + slices[i].off, *end = at + slices[i].len;
        HOLDS(slices[i].off + slices[i].len <= slices[i].chunk->len);
        while (at < end) {
            uint64_t seq;
            uint32_t len;
            memcpy(&seq, at, 8);
            memcpy(&len, at + 8, 4);
            at += 12 + len;
            got(f, seq);
        }
        HOLDS(at == end);
        sum += slices[i].len;
    }
    HOLDS(sum == bytes);
}

static void on_deliver(struct subscriber *s, const struct delivery *d)
{
    struct fake *f = HLY_CONTAINER_OF(s, struct fake, sub);
    if (f->has_ended)
        return;
    HOLDS(s->catchup == NULL);
    if (d->count == 0 || below(100) < behind_percent) {
        seen.behind++;
        seen.starved += d->count == 0;
        HOLDS(catchup_fall_behind(s, d->first_seq) == 0);
        return;
    }
    HOLDS(memcmp(d->slices->chunk->data + d->slices->off, &d->first_seq, sizeof d->first_seq) == 0);
    seen.delivered++;
    got_slices(f, d);
}

static void on_replay(struct subscriber *s, const struct delivery *d)
{
    struct fake *f = HLY_CONTAINER_OF(s, struct fake, sub);
    HOLDS(!f->has_ended);
    seen.replayed++;
    reading_began(f);
    got_slices(f, d);
}

static bool on_is_full(struct subscriber *s)
{
    HOLDS(s->catchup != NULL);
    bool full = below(100) < full_percent;
    seen.parked += full;
    return full;
}

static bool on_gap(struct subscriber *s, uint64_t after_seq, enum gap_reason reason)
{
    struct fake *f = HLY_CONTAINER_OF(s, struct fake, sub);
    HOLDS(!f->has_ended);
    reading_began(f);
    HOLDS(f->is_gap_due == (reason == GAP_UNKNOWN));
    seen.dropped += reason == GAP_DROPPED;
    seen.conflated += reason == GAP_CONFLATED;
    HOLDS_SAYING(!is_lossless || reason != GAP_EVICTED, "subscriber %zu was told of a gap that is none",
                 (size_t)(f - fakes));
    seen.gaps++;
    f->gaps++;
    if (reason == GAP_MEMORY) { /* what was read has gone: all of it is to be missed */
        memset(f->excused, true, sizeof f->excused);
        f->is_floating = false;
    } else
        excuse(f, f->is_gap_due ? 0 : after_seq, head);
    excuse_slow(f, after_seq);
    if (f->is_floating && reason >= GAP_DROPPED) { /* where it would have landed cannot be seen any more */
        memset(f->excused, true, (f->promised + 1) * sizeof f->excused[0]);
        f->is_floating = false;
    }
    if (!f->is_in_gap) /* until the next message it is one gap */
        f->gap_from = f->is_gap_due ? 0 : after_seq;
    f->is_in_gap = true;
    f->is_gap_due = false;
    f->has_ended = below(10) == 0;
    return !f->has_ended;
}

static void on_level(struct subscriber *s, uint64_t seq)
{
    struct fake *f = HLY_CONTAINER_OF(s, struct fake, sub);
    HOLDS(s->catchup == NULL && seq == head);
    seen.levels++;
    if (f->is_forgiving) /* nothing was there to be read */
        excuse(f, 0, f->promised);
    if (f->is_floating)
        landed(f, seq + 1);
    f->is_forgiving = false;
    if (f->is_in_gap) {
        excuse(f, f->gap_from, head);
        excuse_slow(f, f->gap_from);
        f->is_in_gap = false;
    }
    assert_no_hole(f, seq + 1);
    HOLDS(seq >= f->last);
    f->last = seq;
}

static const struct subscriber_ops ops = {
    .deliver = on_deliver, .replay = on_replay, .is_full = on_is_full, .on_gap = on_gap, .on_level = on_level
};

/* ---- what happens */

static void publish(void)
{
    if (head == MAX_SEQ - 1)
        return;
    size_t t = below(is_lossless ? KEEPING : HLY_ARRAY_LEN(topics));
    uint32_t len = below(20) == 0 ? below(30000) : below(40);
    HLY_CLEANUP(message_unrefp) struct message *m = message_new(topics[t], strlen(topics[t]), NULL, len);
    struct hub_receipt r;
    memset(message_payload(m), 'p', len);
    m->born_ms = now_ms;
    m->on_slow = (uint8_t)rules_find(rules, topics[t], strlen(topics[t]))->on_slow;
    m->except = below(5) == 0 ? fakes[below(MAX_FAKES)].sub.name : 0;
    except_of[head + 1] = m->except;
    seen.left_out += m->except != 0;
    topic_of[++head] = (uint8_t)t;
    payload_of[head] = len;
    HOLDS(hub_publish(hub, m, SLICE_LIT(""), 0, &r) == 0 && r.seq == head);
}

static bool deliver(size_t max)
{
    struct message *batch[FANOUT_BATCH_MAX];
    size_t n = hub_take(hub, 0, batch, max);
    if (n > 0)
        fanout_run(fanout, batch, n);
    for (size_t i = 0; i < n; i++)
        message_unref(batch[i]);
    return n > 0;
}

static void leave(struct fake *f)
{
    subscriber_done(&f->sub);
    f->is_here = false;
}

static void subscribe_to_some(struct fake *f)
{
    static uint64_t names;
    uint64_t seq;
    f->wants = 0;
    subscriber_init(&f->sub, &table, &ops, WIRE_WS_PLAIN);
    for (uint32_t n = 1 + (below(2) ? 0 : below(5)); n > 0; n--) {
        uint32_t i = below(HLY_ARRAY_LEN(wanted));
        f->wants |= 1u << i;
        HOLDS(subscribe(&f->sub, TEXT(wanted[i].name), wanted[i].is_pattern, &seq) >= 0);
        if (f->promised == UINT64_MAX)
            f->promised = seq;
        if (f->begins < seq)
            f->begins = seq;
        if (below(10) == 0)
            publish(); /* by another thread, between two subscriptions */
    }
    f->sub.name = ++names; /* nobody had it before */
}

static void resume(struct fake *f, const struct cursor *after, uint64_t last)
{
    struct reading_from from = reading_from(hub, after, last, head);
    HOLDS(catchup_resume(&f->sub, &from) == 0);
}

/* What it was given last, and waits in its queue, is taken back. */
static void cut(struct fake *f)
{
    if (!f->is_here || f->has_ended || f->queued_first == 0 || f->is_floating || f->is_gap_due)
        return;
    HOLDS(catchup_go_back(&f->sub, f->queued_first) == 0);
    f->last = f->queued_last;
    f->queued_first = 0;
    seen.cut++;
}

/* One more subscription, while it is live or behind. */
static void add(struct fake *f)
{
    uint64_t seq;
    uint32_t i = below(HLY_ARRAY_LEN(wanted));
    if (!f->is_here || f->has_ended || f->is_floating || (f->wants & 1u << i) != 0)
        return;
    HOLDS(subscribe(&f->sub, TEXT(wanted[i].name), wanted[i].is_pattern, &seq) == 1 && seq == head);
    f->wants |= 1u << i;
    f->wants_from[i] = seq;
    seen.added++;
}

/* One that is new, or comes back: with the cursor of what it had last, or an older one, or as `after=0` and `last=N` say. */
static void come(struct fake *f)
{
    uint64_t cursor = below(2) ? f->last : below((uint32_t)head + 1);
    *f = (struct fake){ .is_here = true, .promised = UINT64_MAX, .newest = UINT64_MAX };
    subscribe_to_some(f);
    switch (below(5)) {
    case 0: /* from now on */
        f->last = f->promised;
        return;
    case 1:
        f->is_forgiving = true;
        f->begins = 0;
        resume(f, &(struct cursor){ .seq = 0 }, READING_LAST_NONE);
        return;
    case 2:
        f->newest = below(3) == 0 ? below(1000) : below(5);
        f->is_floating = f->is_forgiving = true;
        f->begins = 0;
        resume(f, NULL, f->newest);
        return;
    case 3:
        if (below(5) == 0) {
            f->is_gap_due = true;
            f->begins = 0;
            resume(f, &(struct cursor){ .epoch = "another" }, READING_LAST_NONE);
            return;
        } /* fall through */
    default:
        f->last = cursor;
        if (cursor == f->begins)
            return;
        f->begins = 0;
        resume(f, &(struct cursor){ .epoch = EPOCH, .seq = cursor }, READING_LAST_NONE);
    }
}

static bool has_memory_limit;

static void act(void)
{
    struct fake *f = &fakes[below(MAX_FAKES)];
    switch (below(14)) {
    case 12:
        cut(f);
        return;
    case 13:
        if (below(3) == 0)
            add(f);
        return;
    case 0:
    case 1:
    case 2:
        for (uint32_t n = below(10) == 0 ? below(100) : below(5); n > 0; n--)
            publish();
        return;
    case 3:
    case 4:
        deliver(1 + (below(4) == 0 ? below(FANOUT_BATCH_MAX) : below(8)));
        return;
    case 5:
    case 6:
        reading_run(&table, 1 + (int)below(6));
        return;
    case 7:
        if (f->is_here)
            catchup_wake(&f->sub);
        return;
    case 8:
        now_ms += below(20);
        if (!is_lossless)
            hub_expire(hub, now_ms);
        return;
    case 9:
        if (f->is_here && (below(3) == 0 || f->has_ended))
            leave(f);
        return;
    case 10:
        if (!f->is_here)
            come(f);
        return;
    case 11:
        is_starved = has_memory_limit && below(8) == 0;
        deliver(1 + below(4));
        reading_run(&table, 2);
        is_starved = false;
        return;
    }
}

static void settle(void) /* everybody can take everything: so they do */
{
    full_percent = behind_percent = 0;
    while (deliver(FANOUT_BATCH_MAX))
        ;
    for (size_t i = 0; i < MAX_FAKES; i++)
        if (fakes[i].is_here)
            catchup_wake(&fakes[i].sub);
    for (int n = 0; reading_run(&table, 10); n++)
        HOLDS(n < 10000);
    HOLDS(list_is_empty(&table.parked) && list_is_empty(&table.reading));
}

static void begin_round(void)
{
    struct hub_limits limits = { .topics = 100, .patterns = 100, .history_bytes = 1u << 30, .inbox_bytes = 1u << 30 };
    is_lossless = below(3) == 0;
    if (!is_lossless && below(2))
        limits.history_bytes = 1000 + below(100000);
    full_percent = below(2) ? 0 : below(90);
    behind_percent = below(3) ? below(10) : below(100);
    head = 0;
    now_ms = 1000;
    pool = (struct chunk_pool){ 0 };
    rules = rules_new(rule_list, RULES);
    hub = hub_new(&limits, rules, 1, EPOCH);
    HOLDS(hub != NULL && sub_table_init(&table, hub, 0, encoders, &pool) == 0);
    HOLDS((fanout = fanout_new(&table, &pool)) != NULL);
    table.keep_bytes = below(4) == 0 ? below(200) : 1000 + below(50000);
    memset(fakes, 0, sizeof fakes);
}

static void end_round(void)
{
    settle();
    for (size_t i = 0; i < MAX_FAKES; i++) {
        struct fake *f = &fakes[i];
        if (!f->is_here)
            continue;
        HOLDS(f->has_ended || f->sub.catchup == NULL);
        if (!f->has_ended)
            assert_no_hole(f, head + 1);
        leave(f);
    }
    HOLDS(pool.live_bytes == 0);
    fanout_free(fanout);
    chunk_pool_done(&pool);
    sub_table_done(&table);
    hub_free(hub);
    rules_unref(rules);
}

START_TEST(each_message_comes_once_and_in_order_or_a_gap_is_told)
{
    seed_random();
    has_memory_limit = _i == 1 && limit_memory(512u << 20);
    int rounds = IS_SANITIZED ? 300 : 2000;
    for (int round = 0; round < rounds; round++) {
        uint64_t seed = rng;
        begin_round();
        for (uint32_t n = below(10) == 0 ? 2000 : 50 + below(300); n > 0; n--)
            act();
        end_round();
        if (round == 0)
            printf("round 0 of seed %" PRIu64 " is done\n", seed);
    }
    printf("delivered %" PRIu64 " replayed %" PRIu64 " gaps %" PRIu64 " behind %" PRIu64 " (out of memory %" PRIu64
           ") parked %" PRIu64 " level %" PRIu64 " dropped %" PRIu64 " conflated %" PRIu64 " cut %" PRIu64 " added %" PRIu64 " left out %" PRIu64 "\n",
           seen.delivered, seen.replayed, seen.gaps, seen.behind, seen.starved, seen.parked, seen.levels, seen.dropped, seen.conflated, seen.cut, seen.added, seen.left_out);
    HOLDS(seen.delivered > 0 && seen.replayed > 0 && seen.gaps > 0 && seen.behind > 0 && seen.parked > 0 &&
          seen.levels > 0 && seen.dropped > 0 && seen.conflated > 0 && seen.cut > 0 && seen.added > 0 && seen.left_out > 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("catchup");
    TCase *model = tcase_create("model");
    tcase_set_timeout(model, 120);
    tcase_add_loop_test(model, each_message_comes_once_and_in_order_or_a_gap_is_told, 0, 2);
    suite_add_tcase(s, model);
    return run_suite(s);
}
