#include "proto/ws_frame.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/utf8.h"

/* ---- header parsing */

#define BROKEN -WS_CLOSE_PROTOCOL_ERROR
#define KEY 0x37, 0xfa, 0x21, 0x3d

/* Columns: rule, header, verdict, and the number of bytes that it takes to get to it. */
static const struct {
    const char *name;
    uint8_t in[WS_FRAME_HEADER_MAX];
    int16_t want;
    uint8_t at;
    bool allow_rsv1;
} cases[] = {
    { "masked text, 5 bytes (5.7)", { 0x81, 0x85, KEY }, 1, 6, false },
    { "first fragment, text (5.4)", { 0x01, 0x83, KEY }, 1, 6, false },
    { "last fragment (5.4)", { 0x80, 0x82, KEY }, 1, 6, false },
    { "middle fragment (5.4)", { 0x00, 0x82, KEY }, 1, 6, false },
    { "binary, empty", { 0x82, 0x80, KEY }, 1, 6, false },
    { "close (5.5.1)", { 0x88, 0x82, KEY }, 1, 6, false },
    { "ping (5.5.2)", { 0x89, 0x85, KEY }, 1, 6, false },
    { "pong of 125 bytes (5.5)", { 0x8a, 0xfd, KEY }, 1, 6, false },
    { "7 bits, at most 125 (5.2)", { 0x82, 0xfd, KEY }, 1, 6, false },
    { "16 bits, at least 126 (5.2)", { 0x82, 0xfe, 0x00, 0x7e, KEY }, 1, 8, false },
    { "16 bits, 256 (5.7)", { 0x82, 0xfe, 0x01, 0x00, KEY }, 1, 8, false },
    { "16 bits, at most 65535 (5.2)", { 0x82, 0xfe, 0xff, 0xff, KEY }, 1, 8, false },
    { "64 bits, at least 65536 (5.2, 5.7)", { 0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, KEY }, 1, 14, false },
    { "64 bits, at most 2^63-1 (5.2)",
      { 0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, KEY },
      1,
      14,
      false },
    { "64 bits, the high half only", { 0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, KEY }, 1, 14, false },
    { "masking key of zeros (5.3)", { 0x81, 0x85, 0, 0, 0, 0 }, 1, 6, false },
    { "compressed text (RFC 7692 6)", { 0xc1, 0x85, KEY }, 1, 6, true },
    { "compressed first fragment (RFC 7692 6)", { 0x42, 0x85, KEY }, 1, 6, true },

    { "not masked (5.1)", { 0x81, 0x05 }, BROKEN, 2, false },
    { "not masked, 16 bits (5.1)", { 0x81, 0x7e }, BROKEN, 2, false },
    { "not masked, empty (5.1)", { 0x81, 0x00 }, BROKEN, 2, false },
    { "not masked close (5.1)", { 0x88, 0x00 }, BROKEN, 2, false },
    { "RSV1 without an extension (5.2)", { 0xc1 }, BROKEN, 1, false },
    { "RSV2 (5.2)", { 0xa1 }, BROKEN, 1, false },
    { "RSV3 (5.2)", { 0x91 }, BROKEN, 1, false },
    { "RSV2, though RSV1 is agreed", { 0xa1 }, BROKEN, 1, true },
    { "RSV3, though RSV1 is agreed", { 0x91 }, BROKEN, 1, true },
    { "RSV1 and RSV2", { 0xe1 }, BROKEN, 1, true },
    { "RSV1 on a continuation (RFC 7692 6.1)", { 0xc0 }, BROKEN, 1, true },
    { "RSV1 on a ping (RFC 7692 6.1)", { 0xc9 }, BROKEN, 1, true },
    { "RSV1 on a close (RFC 7692 6.1)", { 0xc8 }, BROKEN, 1, true },
    { "opcode 3, reserved (5.2)", { 0x83 }, BROKEN, 1, false },
    { "opcode 4, reserved (5.2)", { 0x84 }, BROKEN, 1, false },
    { "opcode 5, reserved (5.2)", { 0x85 }, BROKEN, 1, false },
    { "opcode 6, reserved (5.2)", { 0x86 }, BROKEN, 1, false },
    { "opcode 7, reserved (5.2)", { 0x87 }, BROKEN, 1, false },
    { "opcode B, reserved (5.2)", { 0x8b }, BROKEN, 1, false },
    { "opcode C, reserved (5.2)", { 0x8c }, BROKEN, 1, false },
    { "opcode D, reserved (5.2)", { 0x8d }, BROKEN, 1, false },
    { "opcode E, reserved (5.2)", { 0x8e }, BROKEN, 1, false },
    { "opcode F, reserved (5.2)", { 0x8f }, BROKEN, 1, false },
    { "opcode 3 as a fragment (5.2)", { 0x03 }, BROKEN, 1, false },
    { "fragmented close (5.5)", { 0x08 }, BROKEN, 1, false },
    { "fragmented ping (5.5)", { 0x09 }, BROKEN, 1, false },
    { "fragmented pong (5.5)", { 0x0a }, BROKEN, 1, false },
    { "close over 125 bytes (5.5)", { 0x88, 0xfe }, BROKEN, 2, false },
    { "ping over 125 bytes (5.5)", { 0x89, 0xfe }, BROKEN, 2, false },
    { "ping over 65535 bytes (5.5)", { 0x89, 0xff }, BROKEN, 2, false },
    { "pong over 125 bytes (5.5)", { 0x8a, 0xfe }, BROKEN, 2, false },
    { "16 bits for 0 (5.2)", { 0x82, 0xfe, 0x00, 0x00 }, BROKEN, 4, false },
    { "16 bits for 125 (5.2)", { 0x82, 0xfe, 0x00, 0x7d }, BROKEN, 4, false },
    { "64 bits for 0 (5.2)", { 0x82, 0xff, 0, 0, 0, 0, 0, 0 }, BROKEN, 8, false },
    { "64 bits for 65535 (5.2)", { 0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff }, BROKEN, 8, false },
    { "64 bits, the highest set (5.2)", { 0x82, 0xff, 0x80 }, BROKEN, 3, false },
    { "64 bits, all set (5.2)", { 0x82, 0xff, 0xff, 0xff }, BROKEN, 3, false },
};

static struct ws_frame_parser parser;

static void parser_setup(void)
{
    ws_frame_parser_init(&parser);
}

START_TEST(a_header_gets_its_verdict_from_the_byte_that_decides)
{
    struct ws_frame_header h;
    size_t used;
    parser.allow_rsv1 = cases[_i].allow_rsv1;
    for (size_t i = 0; i < cases[_i].at; i++) {
        int want = i + 1 == cases[_i].at ? cases[_i].want : 0;
        int got = ws_frame_parse_header(&parser, cases[_i].in + i, 1, &used, &h);
        ck_assert_msg(got == want, "%s, byte %zu: got %d", cases[_i].name, i, got);
        ck_assert(got < 0 || used == 1);
    }
}
END_TEST

START_TEST(a_header_gets_the_same_verdict_for_every_split)
{
    for (size_t cut = 0; cut < cases[_i].at; cut++) {
        struct ws_frame_header h;
        size_t used = 0;
        ws_frame_parser_init(&parser);
        parser.allow_rsv1 = cases[_i].allow_rsv1;
        int first = ws_frame_parse_header(&parser, cases[_i].in, cut, &used, &h);
        ck_assert_msg(first == 0 && used == cut, "%s, cut at %zu: got %d", cases[_i].name, cut, first);
        int got = ws_frame_parse_header(&parser, cases[_i].in + cut, sizeof cases[_i].in - cut, &used, &h);
        ck_assert_msg(got == cases[_i].want, "%s, cut at %zu: got %d", cases[_i].name, cut, got);
        ck_assert_msg(got < 0 || used == cases[_i].at - cut, "%s, cut at %zu: used %zu", cases[_i].name, cut, used);
    }
}
END_TEST

static struct ws_frame_header parse_whole(const uint8_t *in, size_t len)
{
    struct ws_frame_header h;
    size_t used;
    ck_assert_int_eq(ws_frame_parse_header(&parser, in, len, &used, &h), 1);
    return h;
}

START_TEST(a_header_says_what_it_holds)
{
    static const uint8_t key[4] = { KEY };
    struct ws_frame_header h = parse_whole((uint8_t[]){ 0x01, 0x85, KEY }, 6);
    ck_assert(!h.fin);
    ck_assert_uint_eq(h.rsv, 0);
    ck_assert_uint_eq(h.opcode, WS_OP_TEXT);
    ck_assert_uint_eq(h.payload_len, 5);
    ck_assert_mem_eq(h.masking_key, key, 4);

    h = parse_whole((uint8_t[]){ 0x89, 0xfd, KEY }, 6);
    ck_assert(h.fin);
    ck_assert_uint_eq(h.opcode, WS_OP_PING);
    ck_assert_uint_eq(h.payload_len, 125);

    h = parse_whole((uint8_t[]){ 0x82, 0xfe, 0x12, 0x34, KEY }, 8);
    ck_assert_uint_eq(h.opcode, WS_OP_BINARY);
    ck_assert_uint_eq(h.payload_len, 0x1234);
    ck_assert_mem_eq(h.masking_key, key, 4);

    h = parse_whole((uint8_t[]){ 0x82, 0xff, 0x7f, 2, 3, 4, 5, 6, 7, 8, KEY }, 14);
    ck_assert_uint_eq(h.payload_len, 0x7f02030405060708u);
    ck_assert_mem_eq(h.masking_key, key, 4);

    parser.allow_rsv1 = true;
    h = parse_whole((uint8_t[]){ 0xc2, 0x80, KEY }, 6);
    ck_assert_uint_eq(h.rsv, 4);
}
END_TEST

START_TEST(the_parser_is_ready_for_the_next_header)
{
    static const uint8_t two[] = { 0x81, 0x80, KEY, 0x82, 0xfe, 0x01, 0x00, KEY };
    struct ws_frame_header h;
    size_t used, more;
    ck_assert_int_eq(ws_frame_parse_header(&parser, two, sizeof two, &used, &h), 1);
    ck_assert_uint_eq(used, 6);
    ck_assert_int_eq(ws_frame_parse_header(&parser, two + used, sizeof two - used, &more, &h), 1);
    ck_assert_uint_eq(used + more, sizeof two);
    ck_assert_uint_eq(h.payload_len, 256);
}
END_TEST

/* ---- masking (RFC 6455 5.3) */

#define MASK_ROOM 96

static void mask_by_the_book(uint8_t *data, size_t len, const uint8_t key[4], uint64_t offset)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(data[i] ^ key[(offset + i) % 4]); /* transformed-octet-i = original XOR key[i MOD 4] */
}

START_TEST(the_mask_of_the_rfc_gives_hello)
{
    uint8_t payload[] = { 0x7f, 0x9f, 0x4d, 0x51, 0x58 };
    ws_frame_mask(payload, sizeof payload, (uint8_t[]){ KEY }, 0);
    ck_assert_mem_eq(payload, "Hello", 5);
}
END_TEST

START_TEST(the_mask_is_the_same_for_every_length_alignment_and_offset)
{
    static const uint8_t key[4] = { 0x01, 0x80, 0xfe, 0x5a };
    static const uint64_t far[] = { 0, 0xfffffff8u, 0x100000000u, 0x7ffffffffffffff0u };
    for (size_t len = 0; len <= 67; len++) {
        for (size_t n = 0; n < 8 * 8 * HLY_ARRAY_LEN(far); n++) {
            size_t align = n % 8;
            uint64_t offset = n / 8 % 8 + far[n / 64];
            uint8_t got[MASK_ROOM], want[MASK_ROOM];
            for (size_t i = 0; i < MASK_ROOM; i++)
                got[i] = want[i] = (uint8_t)(i * 7);
            ws_frame_mask(got + align, len, key, offset);
            mask_by_the_book(want + align, len, key, offset);
            if (memcmp(got, want, MASK_ROOM) != 0)
                ck_abort_msg("length %zu, alignment %zu, offset %llu", len, align, (unsigned long long)offset);
        }
    }
}
END_TEST

START_TEST(a_payload_can_be_unmasked_in_parts)
{
    static const uint8_t key[4] = { KEY };
    for (size_t cut = 0; cut <= 40; cut++) {
        uint8_t parts[40], whole[40];
        memset(parts, 'x', sizeof parts);
        memset(whole, 'x', sizeof whole);
        ws_frame_mask(whole, sizeof whole, key, 0);
        ws_frame_mask(parts, cut, key, 0);
        ws_frame_mask(parts + cut, sizeof parts - cut, key, cut);
        ck_assert_mem_eq(parts, whole, sizeof whole);
    }
}
END_TEST

/* ---- writing */

static const struct {
    const char *name;
    uint64_t payload_len;
    uint8_t want[WS_FRAME_HEADER_OUT_MAX];
    size_t size;
} lengths[] = {
    { "0", 0, { 0x82, 0 }, 2 },
    { "125, the last of 7 bits", 125, { 0x82, 125 }, 2 },
    { "126, the first of 16 bits", 126, { 0x82, 126, 0, 126 }, 4 },
    { "256 (5.7)", 256, { 0x82, 0x7e, 0x01, 0x00 }, 4 },
    { "65535, the last of 16 bits", 65535, { 0x82, 126, 0xff, 0xff }, 4 },
    { "65536, the first of 64 bits (5.7)", 65536, { 0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0 }, 10 },
    { "2^63-1, the last of all", INT64_MAX, { 0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, 10 },
};

START_TEST(a_length_is_written_in_its_shortest_form)
{
    uint8_t out[WS_FRAME_HEADER_OUT_MAX];
    size_t size = ws_frame_write_header(out, WS_OP_BINARY, 0, lengths[_i].payload_len);
    ck_assert_msg(size == lengths[_i].size, "%s: %zu bytes", lengths[_i].name, size);
    ck_assert_uint_eq(ws_frame_header_size(lengths[_i].payload_len), size);
    ck_assert_msg(memcmp(out, lengths[_i].want, size) == 0, "%s", lengths[_i].name);
}
END_TEST

START_TEST(a_written_header_is_final_and_carries_rsv)
{
    uint8_t out[WS_FRAME_HEADER_OUT_MAX];
    ws_frame_write_header(out, WS_OP_TEXT, 4, 5);
    ck_assert_uint_eq(out[0], 0xc1);
    ck_assert_uint_eq(out[1], 5);
}
END_TEST

static size_t write_close(uint8_t *out, enum ws_close_code code, const char *reason)
{
    memset(out, 0xee, 2 + WS_CONTROL_PAYLOAD_MAX);
    return ws_frame_write_close(out, code, reason);
}

START_TEST(a_close_frame_carries_code_and_reason)
{
    uint8_t out[2 + WS_CONTROL_PAYLOAD_MAX];
    ck_assert_uint_eq(write_close(out, WS_CLOSE_NORMAL, "hi"), 6);
    ck_assert_mem_eq(out, "\x88\x04\x03\xe8hi", 6);
    ck_assert_uint_eq(write_close(out, WS_CLOSE_GAP, ""), 4);
    ck_assert_mem_eq(out, "\x88\x02\x11\x3a", 4);
    ck_assert_uint_eq(write_close(out, WS_CLOSE_GOING_AWAY, NULL), 4);
    ck_assert_mem_eq(out, "\x88\x02\x03\xe9", 4);
}
END_TEST

START_TEST(a_close_frame_without_a_code_is_empty)
{
    uint8_t out[2 + WS_CONTROL_PAYLOAD_MAX];
    ck_assert_uint_eq(write_close(out, WS_CLOSE_NO_STATUS, "not sent"), 2);
    ck_assert_mem_eq(out, "\x88\x00", 2);
}
END_TEST

START_TEST(a_long_close_reason_is_cut_between_code_points)
{
    static const char *const fills[] = { "x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80" };
    const char *fill = fills[_i];
    for (size_t ascii = 0; ascii < 5; ascii++) {
        char reason[256] = "";
        memset(reason, 'a', ascii);
        for (size_t at = ascii; at < 200; at += strlen(fill))
            snprintf(reason + at, sizeof reason - at, "%s", fill);
        uint8_t out[2 + WS_CONTROL_PAYLOAD_MAX];
        size_t len = write_close(out, WS_CLOSE_POLICY, reason) - 4;
        ck_assert_uint_eq(out[1], len + 2);
        ck_assert_uint_eq((len - ascii) % strlen(fill), 0);
        ck_assert(len <= 123 && len + strlen(fill) > 123);
        ck_assert(utf8_is_valid(out + 4, len));
        ck_assert_mem_eq(out + 4, reason, len);
    }
}
END_TEST

START_TEST(a_close_reason_of_123_bytes_is_not_cut)
{
    char reason[124];
    snprintf(reason, sizeof reason, "%0121d\xc3\xa9", 0);
    uint8_t out[2 + WS_CONTROL_PAYLOAD_MAX];
    ck_assert_uint_eq(write_close(out, WS_CLOSE_POLICY, reason), sizeof out);
    ck_assert_mem_eq(out + 4, reason, 123);
}
END_TEST

/* ---- close codes (RFC 6455 7.4, and the registry) */

static const struct {
    unsigned first, last;
    bool valid;
} codes[] = {
    { 0, 999, false },     /* 7.4.2: not used */
    { 1000, 1003, true },  /* 7.4.1 */
    { 1004, 1004, false }, /* reserved */
    { 1005, 1006, false }, /* must not be set in a close frame */
    { 1007, 1011, true },  /* 7.4.1 */
    { 1012, 1014, true },  /* the registry: service restart, try again later, bad gateway */
    { 1015, 1015, false }, /* must not be set in a close frame */
    { 1016, 2999, false }, /* 7.4.2: for the protocol itself, and not given yet */
    { 3000, 4999, true },  /* 7.4.2: libraries, applications */
    { 5000, 65536, false },
};

START_TEST(a_close_code_is_valid_or_not)
{
    for (unsigned code = codes[_i].first; code <= codes[_i].last; code++)
        ck_assert_msg(ws_close_code_is_valid(code) == codes[_i].valid, "%u", code);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ws_frame");
    TCase *header = tcase_create("header");
    tcase_add_checked_fixture(header, parser_setup, NULL);
    tcase_add_loop_test(header, a_header_gets_its_verdict_from_the_byte_that_decides, 0, HLY_ARRAY_LEN(cases));
    tcase_add_loop_test(header, a_header_gets_the_same_verdict_for_every_split, 0, HLY_ARRAY_LEN(cases));
    tcase_add_test(header, a_header_says_what_it_holds);
    tcase_add_test(header, the_parser_is_ready_for_the_next_header);
    suite_add_tcase(suite, header);

    TCase *mask = tcase_create("mask");
    tcase_add_test(mask, the_mask_of_the_rfc_gives_hello);
    tcase_add_test(mask, the_mask_is_the_same_for_every_length_alignment_and_offset);
    tcase_add_test(mask, a_payload_can_be_unmasked_in_parts);
    suite_add_tcase(suite, mask);

    TCase *writing = tcase_create("writing");
    tcase_add_loop_test(writing, a_length_is_written_in_its_shortest_form, 0, HLY_ARRAY_LEN(lengths));
    tcase_add_test(writing, a_written_header_is_final_and_carries_rsv);
    tcase_add_test(writing, a_close_frame_carries_code_and_reason);
    tcase_add_test(writing, a_close_frame_without_a_code_is_empty);
    tcase_add_loop_test(writing, a_long_close_reason_is_cut_between_code_points, 0, 4);
    tcase_add_test(writing, a_close_reason_of_123_bytes_is_not_cut);
    tcase_add_loop_test(writing, a_close_code_is_valid_or_not, 0, HLY_ARRAY_LEN(codes));
    suite_add_tcase(suite, writing);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
