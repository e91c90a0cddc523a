#include "base/hash.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* For inner loops: Check writes to a pipe for each ck_assert, passed or not. */
#define HOLDS(cond) \
    do { \
        if (!(cond)) \
            ck_abort_msg("does not hold: %s", #cond); \
    } while (0)

/* ---- SipHash-1-3 */

static const uint8_t zero_key[16];
static const uint8_t some_key[16] = { 0x29, 0x23, 0xbe, 0x84, 0xe1, 0x6c, 0xd6, 0xae,
                                      0x52, 0x90, 0x49, 0xf1, 0xf1, 0xbb, 0xe9, 0xeb };
static const uint8_t counting_key[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

/* Of the bytes 00 01 02 ... up to len. From CPython 3.11's hash() of bytes, which is SipHash-1-3 (zero_key is that of
 * PYTHONHASHSEED=0, some_key of 1), and where that differs (it gives 0 for no bytes) from a second implementation in
 * Python that agrees with it elsewhere. counting_key with no bytes is in the reference vectors, too. */
static const struct {
    const char *name;
    const uint8_t *key;
    size_t len;
    uint64_t want;
} vectors[] = {
    { "no bytes, reference key", counting_key, 0, 0xabac0158050fc4dcu },
    { "no bytes, key zero", zero_key, 0, 0xd1fba762150c532cu },
    { "1 byte, key zero", zero_key, 1, 0x68a914128e01e473u },
    { "7 bytes: all but a word", zero_key, 7, 0x2f098ab0c751325au },
    { "8 bytes: a word", zero_key, 8, 0xead411e67ebe2eeau },
    { "9 bytes: a word and one", zero_key, 9, 0x75927f9d95124362u },
    { "15 bytes", zero_key, 15, 0xf30eb725bb91c9eau },
    { "16 bytes: two words", zero_key, 16, 0x8972188433a5c5b7u },
    { "63 bytes", zero_key, 63, 0x385d3e39e5f37359u },
    { "300 bytes: the length is taken modulo 256", zero_key, 300, 0x4a3ee92cf03a1ab4u },
    { "no bytes, a key", some_key, 0, 0x96a9733ef308a1d7u },
    { "1 byte, a key", some_key, 1, 0xecd3e5afcecda4b9u },
    { "7 bytes, a key", some_key, 7, 0xfd15e78052a69ddfu },
    { "8 bytes, a key", some_key, 8, 0xc0b5739e7e28dd01u },
    { "17 bytes, a key", some_key, 17, 0x9f5bb4237f61907fu },
    { "63 bytes, a key", some_key, 63, 0x542052345bc68274u },
};

START_TEST(hash_is_siphash_1_3)
{
    uint8_t bytes[301];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i - 1); /* begins unaligned */
    hash_seed(vectors[_i].key);
    uint64_t got = hash_bytes(bytes + 1, vectors[_i].len);
    ck_assert_msg(got == vectors[_i].want, "%s: got %016" PRIx64, vectors[_i].name, got);
}
END_TEST

/* ---- the table */

struct item {
    struct map_node node;
    uint32_t key;
    bool in_map;
    bool since_start; /* in the map ever since the scan began */
    unsigned seen;
};

#define ITEMS 20000

static struct item items[ITEMS];
static struct map map;

static bool item_equal(const struct map_node *node, const void *key, size_t key_len)
{
    HOLDS(key_len == sizeof(uint32_t));
    return memcmp(&HLY_CONTAINER_OF(node, struct item, node)->key, key, key_len) == 0;
}

static uint64_t rng;

static uint32_t below(uint32_t n) /* xorshift64* */
{
    rng ^= rng >> 12;
    rng ^= rng << 25;
    rng ^= rng >> 27;
    return (uint32_t)((rng * 0x2545f4914f6cdd1du) >> 33) % n;
}

static void setup(void)
{
    const char *seed = getenv("HALLEY_TEST_SEED");
    rng = (seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000 + (uint64_t)clock()) | 1;
    printf("HALLEY_TEST_SEED=%" PRIu64 "\n", rng);
    fflush(stdout);
    memset(items, 0, sizeof items);
    for (uint32_t i = 0; i < ITEMS; i++)
        items[i].key = i;
    map_init(&map, item_equal);
}

static void teardown(void)
{
    map_done(&map);
}

static uint64_t item_hash(const struct item *it)
{
    return hash_bytes(&it->key, sizeof it->key);
}

static struct item *item_find(uint32_t key)
{
    struct map_node *n = map_find(&map, hash_bytes(&key, sizeof key), &key, sizeof key);
    return n != NULL ? HLY_CONTAINER_OF(n, struct item, node) : NULL;
}

static void item_insert(struct item *it)
{
    HOLDS(map_insert(&map, &it->node, item_hash(it)) == 0);
    it->in_map = true;
}

static void item_remove(struct item *it)
{
    map_remove(&map, &it->node);
    it->in_map = false;
    it->since_start = false;
}

START_TEST(an_empty_map_has_nothing)
{
    uint64_t cursor = 0;
    ck_assert_ptr_null(item_find(1));
    ck_assert_uint_eq(map_count(&map), 0);
    ck_assert(!map_scan(&map, &cursor, NULL, NULL));
    map_done(&map);
    map_done(&map);
}
END_TEST

START_TEST(entries_are_found_until_removed)
{
    for (int step = 0; step < 200000; step++) {
        bool growing = step / 25000 % 2 == 0;
        struct item *it = &items[below(ITEMS)];
        if (!it->in_map && (growing || below(8) == 0))
            item_insert(it);
        else if (it->in_map && (!growing || below(8) == 0))
            item_remove(it);
        it = &items[below(ITEMS)];
        HOLDS(item_find(it->key) == (it->in_map ? it : NULL));
    }
    size_t count = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        HOLDS(item_find(i) == (items[i].in_map ? &items[i] : NULL));
        count += items[i].in_map;
    }
    ck_assert_uint_eq(map_count(&map), count);
}
END_TEST

START_TEST(entries_with_one_hash_are_told_apart)
{
    for (uint32_t i = 0; i < 100; i++)
        ck_assert_int_eq(map_insert(&map, &items[i].node, 7), 0);
    for (uint32_t i = 0; i < 100; i++) {
        struct map_node *n = map_find(&map, 7, &i, sizeof i);
        ck_assert_ptr_eq(n, &items[i].node);
        map_remove(&map, n);
        ck_assert_ptr_null(map_find(&map, 7, &i, sizeof i));
    }
    ck_assert_uint_eq(map_count(&map), 0);
}
END_TEST

START_TEST(no_operation_moves_more_than_a_few_entries)
{
    for (uint32_t i = 0; i < ITEMS; i++) {
        size_t waiting = map.old.count;
        item_insert(&items[i]);
        HOLDS(waiting == 0 || waiting - map.old.count < 100); /* 8 buckets that hold one entry each on average */
    }
}
END_TEST

START_TEST(the_buckets_follow_the_count_up_and_down)
{
    for (uint32_t i = 0; i < ITEMS; i++) {
        item_insert(&items[i]);
        HOLDS(map_count(&map) <= 2 * (map.cur.mask + 1));
    }
    for (uint32_t i = 0; i < ITEMS; i++) {
        item_remove(&items[i]);
        size_t buckets = map.cur.mask + 1;
        if (buckets > 16 && buckets > 32 * (map_count(&map) + 1))
            ck_abort_msg("%zu buckets for %zu entries", buckets, map_count(&map));
    }
}
END_TEST

static unsigned visits;

static void count_visit(struct map_node *node, void *ctx)
{
    HOLDS(ctx == &visits);
    visits++;
    HLY_CONTAINER_OF(node, struct item, node)->seen++;
}

START_TEST(a_drain_hands_out_each_entry_once_and_leaves_an_empty_map)
{
    map_drain(&map, count_visit, &visits);
    for (uint32_t count = 1; count < 1000; count += 7) { /* with and without a move under way */
        for (uint32_t i = 0; i < count; i++) {
            item_insert(&items[i]);
            items[i].seen = 0;
        }
        visits = 0;
        map_drain(&map, count_visit, &visits);
        ck_assert_uint_eq(visits, count);
        ck_assert_uint_eq(map_count(&map), 0);
        for (uint32_t i = 0; i < count; i++)
            HOLDS(items[i].seen == 1 && item_find(i) == NULL);
    }
}
END_TEST

/* ---- scan */

START_TEST(a_scan_of_a_quiet_map_sees_each_entry_once)
{
    for (uint32_t count = 0; count < 300; count++) {
        uint64_t cursor = 0;
        item_insert(&items[count]);
        while (map.old.buckets != NULL && count > 0) { /* until nothing is being moved */
            item_remove(&items[count]);
            item_insert(&items[count]);
        }
        visits = 0;
        for (uint32_t i = 0; i <= count; i++)
            items[i].seen = 0;
        while (map_scan(&map, &cursor, count_visit, &visits))
            ;
        ck_assert_uint_eq(visits, count + 1);
        for (uint32_t i = 0; i <= count; i++)
            HOLDS(items[i].seen == 1);
    }
}
END_TEST

/* Bring the map to a size, a bit towards it per call, with other changes mixed in. */
static void wander(size_t target, uint32_t steps)
{
    for (uint32_t n = below(steps + 1); n > 0; n--) {
        struct item *it = &items[below(ITEMS)];
        bool want_more = map_count(&map) < target;
        if (!it->in_map && (want_more || below(100) == 0))
            item_insert(it);
        else if (it->in_map && (!want_more || below(100) == 0))
            item_remove(it);
    }
}

static bool resized_during_scan(uint32_t target, uint32_t steps)
{
    uint64_t cursor = 0;
    size_t mask = map.cur.mask;
    bool resized = map.old.buckets != NULL, more = true;
    for (uint32_t i = 0; i < ITEMS; i++) {
        items[i].since_start = items[i].in_map;
        items[i].seen = 0;
    }
    for (unsigned slices = 0; more; slices++) {
        HOLDS(slices < 200000); /* it ends */
        more = map_scan(&map, &cursor, count_visit, &visits);
        if (more && steps > 0)
            wander(target, steps);
        resized |= map.cur.mask != mask;
    }
    for (uint32_t i = 0; i < ITEMS; i++)
        HOLDS(!items[i].since_start || items[i].seen > 0);
    return resized;
}

START_TEST(a_scan_sees_every_entry_that_stays_while_the_map_grows_and_shrinks)
{
    static const uint32_t sizes[] = { 0, 3, 20, 100, 500, 2000, 8000, 18000 };
    unsigned resized = 0;
    for (unsigned round = 0; round < 100; round++) {
        uint32_t from = below(8), start = sizes[from], target = sizes[(from + 1 + below(7)) % 8];
        for (unsigned tries = 0; tries < 20; tries++) /* ends anywhere in the middle of a move */
            wander(start, 4000);
        resized += resized_during_scan(target, below(4) == 0 ? 3 : 100000 / ((uint32_t)map.cur.mask + 1));
    }
    ck_assert_msg(resized > 30, "the map changed size in %u scans only", resized);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hash");
    TCase *t = tcase_create("siphash");
    tcase_add_loop_test(t, hash_is_siphash_1_3, 0, HLY_ARRAY_LEN(vectors));
    suite_add_tcase(s, t);
    t = tcase_create("map");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_empty_map_has_nothing);
    tcase_add_test(t, entries_are_found_until_removed);
    tcase_add_test(t, entries_with_one_hash_are_told_apart);
    tcase_add_test(t, no_operation_moves_more_than_a_few_entries);
    tcase_add_test(t, the_buckets_follow_the_count_up_and_down);
    tcase_add_test(t, a_drain_hands_out_each_entry_once_and_leaves_an_empty_map);
    tcase_add_test(t, a_scan_of_a_quiet_map_sees_each_entry_once);
    tcase_add_test(t, a_scan_sees_every_entry_that_stays_while_the_map_grows_and_shrinks);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
