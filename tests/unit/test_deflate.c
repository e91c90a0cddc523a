#include "base/deflate.h"

#include <zlib.h>

#include "support.h"

#define LARGEST 70000

/* ---- helpers */

/* Text, noise, runs, or something in between. */
static size_t make_piece(uint8_t *out, size_t most)
{
    size_t len = 1 + below((uint32_t)most);
    unsigned kind = below(4), letters = 1 + below(255);
    for (size_t i = 0; i < len; i++)
        out[i] = kind == 0 || i < 40 ? (uint8_t)below(256) : kind == 1 ? (uint8_t)below(letters) : kind == 2 ? 'a' : below(20) == 0 ? (uint8_t)below(256) : out[i - 37];
    return len;
}

/* Inflate with a window of so many bits and not a byte more: in steps of one byte, zlib sees the window alone. */
static void check_inflates(z_stream *z, const uint8_t *in, size_t in_len, const uint8_t *want, size_t want_len, size_t step)
{
    uint8_t out[512];
    size_t at = 0;
    z->next_in = (Bytef *)(uintptr_t)in;
    z->avail_in = (uInt)in_len;
    do {
        z->next_out = out;
        z->avail_out = (uInt)step;
        int rc = inflate(z, Z_SYNC_FLUSH);
        size_t made = step - z->avail_out;
        HOLDS(rc == Z_OK || rc == Z_BUF_ERROR);
        HOLDS(made <= want_len - at && memcmp(out, want + at, made) == 0);
        at += made;
        if (made == 0)
            break;
    } while (true);
    HOLDS(at == want_len && z->avail_in == 0);
}

static void open_window(z_stream *z, unsigned bits)
{
    *z = (z_stream){ 0 };
    HOLDS(inflateInit2(z, -(int)bits) == Z_OK);
}

/* ---- tests */

START_TEST(a_piece_inflates_in_a_window_of_its_bits)
{
    unsigned bits = (unsigned)_i;
    uint8_t *in = malloc(LARGEST), *out = malloc(deflater_bound(LARGEST));
    seed_random();
    for (int keeps = 0; keeps < 2; keeps++) {
        struct deflater *d = deflater_new(bits, keeps);
        z_stream z;
        open_window(&z, bits);
        for (int round = 0; round < 30; round++) {
            size_t len = make_piece(in, round % 10 == 0 ? LARGEST : 3000);
            size_t n = deflater_run(d, in, len, out, deflater_bound(len));
            HOLDS(n >= DEFLATE_TAIL_BYTES && memcmp(out + n - DEFLATE_TAIL_BYTES, DEFLATE_TAIL, DEFLATE_TAIL_BYTES) == 0);
            if (!keeps) /* nothing is referred to: an empty window does */
                inflateReset(&z);
            check_inflates(&z, out, n, in, len, 1);
        }
        inflateEnd(&z);
        deflater_free(d);
    }
    free(in);
    free(out);
}
END_TEST

START_TEST(pieces_that_know_nothing_of_each_other_make_one_stream)
{
    static uint8_t in[5000], out[6000];
    struct deflater *large = deflater_new(15, false), *small = deflater_new(9, false);
    z_stream z;
    seed_random();
    open_window(&z, 15);
    for (int round = 0; round < 200; round++) {
        size_t len = make_piece(in, 5000);
        size_t n = round % 3 == 2 ? deflate_stored(out, in, len) : deflater_run(round % 3 == 0 ? large : small, in, len, out, sizeof out);
        check_inflates(&z, out, n, in, len, 512);
    }
    inflateEnd(&z);
    deflater_free(large);
    deflater_free(small);
}
END_TEST

START_TEST(what_does_not_fit_is_not_written_and_nothing_refers_to_it)
{
    static uint8_t in[3000], out[6000];
    struct deflater *d = deflater_new(15, true);
    z_stream z;
    seed_random();
    open_window(&z, 15);
    for (int round = 0; round < 300; round++) {
        size_t len = make_piece(in, 3000), room = below(2) == 0 ? 1 + below((uint32_t)len) : deflater_bound(len);
        uint8_t guard = out[room] = (uint8_t)below(256);
        size_t n = deflater_run(d, in, len, out, room);
        HOLDS(n <= room && out[room] == guard);
        if (n == 0)
            HOLDS(room < deflater_bound(len));
        else
            check_inflates(&z, out, n, in, len, 512);
    }
    inflateEnd(&z);
    deflater_free(d);
}
END_TEST

START_TEST(after_a_reset_nothing_is_referred_to)
{
    static uint8_t in[1000], out[2000];
    struct deflater *d = deflater_new(15, true);
    z_stream z;
    seed_random();
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)below(256);
    deflater_run(d, in, sizeof in, out, sizeof out);
    ck_assert_uint_lt(deflater_run(d, in, sizeof in, out, sizeof out), 50); /* the same again */
    deflater_reset(d);
    open_window(&z, 15);
    check_inflates(&z, out, deflater_run(d, in, sizeof in, out, sizeof out), in, sizeof in, 512);
    inflateEnd(&z);
    deflater_free(d);
}
END_TEST

START_TEST(a_window_that_is_enough_makes_it_as_small)
{
    static const struct { size_t len; unsigned bits; } rows[] = {
        { 1, 9 }, { 250, 9 }, { 251, 10 }, { 762, 10 }, { 763, 11 }, { 32506, 15 }, { 32507, 15 }, { 1u << 30, 15 },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(rows); i++)
        ck_assert_uint_eq(deflate_bits_for(rows[i].len), rows[i].bits);
}
END_TEST

START_TEST(memory_is_told_as_it_is)
{
    ck_assert_uint_eq(deflater_memory(8), deflater_memory(9));
    for (unsigned bits = 9; bits <= 15; bits++)
        ck_assert_uint_ge(deflater_memory(bits), (1u << (bits + 2)) + 4096);
    ck_assert_uint_lt(deflater_memory(15), 280000);
}
END_TEST

START_TEST(a_stored_block_has_any_length)
{
    static const size_t lengths[] = { 0, 1, 65534, 65535, 65536, 131070, 131071, 140000 };
    size_t len = lengths[_i], size = deflate_stored_size(len);
    uint8_t *in = malloc(len + 1), *out = malloc(size);
    z_stream z;
    for (size_t i = 0; i < len; i++)
        in[i] = (uint8_t)(i * 7 >> 3);
    ck_assert_uint_eq(deflate_stored(out, in, len), size);
    open_window(&z, 15);
    check_inflates(&z, out, size, in, len, 512);
    inflateEnd(&z);
    memmove(out + (size - len), in, len); /* from behind the headers, in place */
    ck_assert_uint_eq(deflate_stored(out, out + (size - len), len), size);
    open_window(&z, 15);
    check_inflates(&z, out, size, in, len, 512);
    inflateEnd(&z);
    free(in);
    free(out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("deflate");
    TCase *t = tcase_create("deflate");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_piece_inflates_in_a_window_of_its_bits, 8, 16);
    tcase_add_test(t, pieces_that_know_nothing_of_each_other_make_one_stream);
    tcase_add_test(t, what_does_not_fit_is_not_written_and_nothing_refers_to_it);
    tcase_add_test(t, after_a_reset_nothing_is_referred_to);
    tcase_add_test(t, a_window_that_is_enough_makes_it_as_small);
    tcase_add_test(t, memory_is_told_as_it_is);
    tcase_add_loop_test(t, a_stored_block_has_any_length, 0, 8);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
