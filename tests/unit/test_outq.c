#include "net/outq.h"

#include "support.h"

static struct chunk_pool pool;
static struct outq *q;

static void setup(void)
{
    pool = (struct chunk_pool){ 0 };
    q = outq_new(NULL);
    ck_assert_ptr_nonnull(q);
}

static void teardown(void)
{
    outq_free(q);
    outq_free(NULL);
    ck_assert_uint_eq(pool.live_bytes, 0);
    chunk_pool_done(&pool);
}

/* A chunk that others share, with these bytes. */
static struct chunk *shared(const char *bytes)
{
    struct chunk *c = chunk_new(&pool, 1000);
    c->len = (uint32_t)strlen(bytes);
    memcpy(c->data, bytes, c->len);
    return c;
}

static void push(struct chunk *c, uint32_t off, uint32_t len)
{
    HOLDS(outq_push(q, (struct chunk_slice){ c, off, len, 0 }) == 0);
}

static void append(const char *bytes)
{
    HOLDS(outq_append(q, &pool, (const uint8_t *)bytes, strlen(bytes)) == 0);
}

static size_t parts(void)
{
    struct iovec iov[64];
    size_t bytes;
    return outq_iov(q, iov, 64, &bytes);
}

static void assert_content(const char *want)
{
    struct iovec iov[64];
    char got[4096];
    size_t bytes, n = outq_iov(q, iov, 64, &bytes), len = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(got + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    got[len] = '\0';
    ck_assert_str_eq(got, want);
    ck_assert_uint_eq(bytes, len);
    ck_assert_uint_eq(outq_bytes(q), len);
}

START_TEST(a_new_queue_is_empty)
{
    ck_assert_uint_eq(outq_bytes(q), 0);
    ck_assert_uint_eq(parts(), 0);
    append("");
    ck_assert_uint_eq(parts(), 0);
    ck_assert_uint_eq(pool.live_bytes, 0);
    outq_consume(q, 0);
}
END_TEST

START_TEST(what_is_queued_comes_in_order)
{
    struct chunk *a = shared("aaabbb"), *b = shared("ccc");
    push(a, 0, 3);
    push(b, 0, 3);
    push(a, 3, 3);
    append("own");
    push(b, 1, 1);
    assert_content("aaacccbbbownc");
    ck_assert_uint_eq(parts(), 5);
    chunk_unref(a);
    chunk_unref(b);
    assert_content("aaacccbbbownc"); /* it keeps what it has */
}
END_TEST

START_TEST(parts_that_lie_side_by_side_become_one)
{
    struct chunk *a = shared("abcdefgh");
    push(a, 0, 2);
    push(a, 2, 3);
    push(a, 5, 3);
    ck_assert_uint_eq(parts(), 1);
    ck_assert_uint_eq(a->refs, 2); /* one reference a part */
    push(a, 0, 2);
    push(a, 3, 2); /* not side by side */
    ck_assert_uint_eq(parts(), 3);
    ck_assert_uint_eq(a->refs, 4);
    assert_content("abcdefghabde");
    outq_consume(q, 4);
    assert_content("efghabde");
    chunk_unref(a);
}
END_TEST

START_TEST(a_chunk_is_let_go_of_with_its_last_byte)
{
    struct chunk *a = shared("abcd"), *b = shared("efgh");
    push(a, 0, 4);
    push(b, 0, 4);
    outq_consume(q, 3);
    ck_assert_uint_eq(a->refs, 2);
    assert_content("defgh");
    outq_consume(q, 1);
    ck_assert_uint_eq(a->refs, 1);
    ck_assert_uint_eq(b->refs, 2);
    outq_consume(q, 4);
    ck_assert_uint_eq(b->refs, 1);
    assert_content("");
    chunk_unref(a);
    chunk_unref(b);
}
END_TEST

START_TEST(appended_bytes_share_a_chunk_of_the_queues_own)
{
    append("one ");
    append("two ");
    append("three");
    ck_assert_uint_eq(parts(), 1);
    assert_content("one two three");
    outq_consume(q, 5);
    append("!");
    ck_assert_uint_eq(parts(), 1);
    assert_content("wo three!");
    outq_consume(q, 9);
    ck_assert_uint_eq(pool.live_bytes, 0);
    append("anew");
    assert_content("anew");
}
END_TEST

START_TEST(appended_bytes_never_go_into_a_chunk_that_others_share)
{
    struct chunk *a = shared("shared");
    push(a, 0, 6);
    append("own");
    ck_assert_uint_eq(a->len, 6);
    assert_content("sharedown");
    push(a, 0, 6);
    append("more"); /* behind the shared part, not into the chunk before it */
    assert_content("sharedownsharedmore");
    ck_assert_uint_eq(parts(), 4);
    chunk_unref(a);
}
END_TEST

START_TEST(a_long_copy_is_cut_into_standard_chunks)
{
    const size_t len = 3 * CHUNK_STANDARD_BYTES + 100;
    uint8_t *bytes = malloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    append("x");
    ck_assert_int_eq(outq_append(q, &pool, bytes, len), 0);
    ck_assert_uint_eq(outq_bytes(q), len + 1);
    ck_assert_uint_le(pool.live_bytes, len + 2 * CHUNK_STANDARD_BYTES);
    outq_consume(q, 1);
    for (size_t at = 0; at < len;) {
        struct iovec iov;
        size_t n;
        ck_assert_uint_eq(outq_iov(q, &iov, 1, &n), 1);
        n = n > 1000 ? 1000 : n;
        HOLDS(memcmp(iov.iov_base, bytes + at, n) == 0);
        outq_consume(q, n);
        at += n;
    }
    ck_assert_uint_eq(pool.live_bytes, 0);
    free(bytes);
}
END_TEST

START_TEST(no_more_parts_are_given_than_asked_for)
{
    struct chunk *a = shared("abcdefgh");
    struct iovec iov[4];
    size_t bytes;
    for (uint32_t i = 0; i < 8; i += 2)
        push(a, i, 1);
    ck_assert_uint_eq(outq_iov(q, iov, 3, &bytes), 3);
    ck_assert_uint_eq(bytes, 3);
    ck_assert_mem_eq(iov[2].iov_base, "e", 1);
    ck_assert_uint_eq(outq_iov(q, iov, 4, &bytes), 4);
    ck_assert_uint_eq(outq_iov(q, iov, 0, &bytes), 0);
    ck_assert_uint_eq(bytes, 0);
    chunk_unref(a);
}
END_TEST

START_TEST(a_queue_that_ends_lets_go_of_everything)
{
    struct chunk *a = shared("abcdefgh");
    for (uint32_t i = 0; i < 100; i++)
        push(a, i % 4 * 2, 1);
    append("own");
    ck_assert_uint_eq(a->refs, 101);
    outq_free(q);
    q = NULL;
    ck_assert_uint_eq(a->refs, 1);
    chunk_unref(a);
}
END_TEST

#define MODEL_MAX 3000000

START_TEST(any_sequence_is_as_in_a_plain_string)
{
    static uint8_t model[MODEL_MAX];
    size_t head = 0, tail = 0;
    uint8_t next = 0;
    struct chunk *chunks[8];
    seed_random();
    for (int i = 0; i < 8; i++) {
        chunks[i] = chunk_new(&pool, 300);
        for (chunks[i]->len = 0; chunks[i]->len < 300;)
            chunks[i]->data[chunks[i]->len++] = next++;
    }
    for (int step = 0; step < 20000 && tail < MODEL_MAX - 100000; step++) {
        unsigned what = below(10);
        if (what < 4) {
            struct chunk *c = chunks[below(8)];
            uint32_t off = below(300), len = 1 + below(300 - off);
            if (below(2) == 0 && len > 1) { /* two that lie side by side */
                push(c, off, len / 2);
                push(c, off + len / 2, len - len / 2);
            } else {
                push(c, off, len);
            }
            memcpy(model + tail, c->data + off, len);
            tail += len;
        } else if (what < 7) {
            size_t len = below(20) == 0 ? below(90000) : below(100);
            for (size_t i = 0; i < len; i++)
                model[tail + i] = next++;
            HOLDS(outq_append(q, &pool, model + tail, len) == 0);
            tail += len;
        } else {
            struct iovec iov[16];
            size_t bytes, n = outq_iov(q, iov, 1 + below(16), &bytes), at = head;
            for (size_t i = 0; i < n; at += iov[i++].iov_len)
                HOLDS(memcmp(iov[i].iov_base, model + at, iov[i].iov_len) == 0);
            HOLDS(at - head == bytes && (bytes > 0) == (head < tail));
            if (below(2) == 0 && bytes > 0)
                bytes = below((uint32_t)bytes + 1); /* the kernel took a part */
            outq_consume(q, bytes);
            head += bytes;
        }
        HOLDS(outq_bytes(q) == tail - head);
    }
    outq_free(q);
    q = NULL;
    for (int i = 0; i < 8; i++) {
        HOLDS(chunks[i]->refs == 1 && chunks[i]->len == 300);
        chunk_unref(chunks[i]);
    }
}
END_TEST

static void push_message(struct chunk *c, uint32_t off, uint32_t len, uint64_t seq)
{
    HOLDS(outq_push(q, (struct chunk_slice){ c, off, len, seq }) == 0);
}

START_TEST(messages_stay_apart_and_are_written_together)
{
    struct chunk *c = shared("onetwothree");
    push_message(c, 0, 3, 1);
    push_message(c, 3, 3, 2);
    push_message(c, 6, 5, 5);
    ck_assert_uint_eq(parts(), 1);
    assert_content("onetwothree");
    ck_assert_uint_eq(outq_cut(q, &pool), 1);
    assert_content("");
    chunk_unref(c);
}
END_TEST

START_TEST(a_cut_leaves_replies_and_the_message_that_is_begun)
{
    static const struct {
        const char *name;
        size_t written;
        bool set_begun;
        uint64_t want_seq;
        const char *want;
    } cases[] = {
        { "nothing is written", 0, false, 1, "<pong><pong>" },
        { "the first is begun", 1, false, 2, "ne<pong><pong>" },
        { "the first was begun before it was queued", 0, true, 2, "one<pong><pong>" },
        { "the first is written", 3, false, 2, "<pong><pong>" },
        { "a reply is begun", 4, false, 2, "pong><pong>" },
        { "the second is begun", 10, false, 5, "wo<pong>" },
        { "only the last is left, and begun", 19, false, 0, "hree" },
    };
    for (size_t i = 0; i < HLY_ARRAY_LEN(cases); i++) {
        struct chunk *c = shared("onetwothree");
        outq_free(q);
        q = outq_new(NULL);
        push_message(c, 0, 3, 1);
        if (cases[i].set_begun)
            outq_set_begun(q);
        append("<pong>");
        push_message(c, 3, 3, 2);
        append("<pong>");
        push_message(c, 6, 5, 5);
        chunk_unref(c);
        outq_consume(q, cases[i].written);
        uint64_t seq = outq_cut(q, &pool);
        ck_assert_msg(seq == cases[i].want_seq, "%s: cut from %" PRIu64, cases[i].name, seq);
        assert_content(cases[i].want);
        ck_assert_uint_eq(outq_bytes(q), strlen(cases[i].want));
        append("!"); /* it goes on */
        push_message(c = shared("six"), 0, 3, 6);
        chunk_unref(c);
        ck_assert_uint_eq(outq_bytes(q), strlen(cases[i].want) + 4);
        ck_assert_uint_eq(outq_cut(q, &pool), 6);
    }
}
END_TEST

START_TEST(the_rest_of_a_message_keeps_no_shared_chunk)
{
    struct chunk *c = shared("onetwothree");
    push_message(c, 0, 3, 1);
    push_message(c, 3, 3, 2);
    outq_consume(q, 1);
    ck_assert_uint_eq(outq_cut(q, &pool), 2);
    ck_assert_uint_eq(c->refs, 1);
    chunk_unref(c);
    assert_content("ne");
    ck_assert_uint_lt(pool.live_bytes, 1000);
}
END_TEST

START_TEST(a_queue_leaves_its_list_when_it_ends)
{
    struct list head;
    int owner;
    list_init(&head);
    struct outq *mine = outq_new(&owner);
    list_push(&head, outq_node(mine));
    ck_assert_ptr_eq(outq_owner_of(head.next), &owner);
    outq_free(mine);
    ck_assert(list_is_empty(&head));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("outq");
    TCase *t = tcase_create("outq");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_new_queue_is_empty);
    tcase_add_test(t, what_is_queued_comes_in_order);
    tcase_add_test(t, parts_that_lie_side_by_side_become_one);
    tcase_add_test(t, a_chunk_is_let_go_of_with_its_last_byte);
    tcase_add_test(t, appended_bytes_share_a_chunk_of_the_queues_own);
    tcase_add_test(t, appended_bytes_never_go_into_a_chunk_that_others_share);
    tcase_add_test(t, a_long_copy_is_cut_into_standard_chunks);
    tcase_add_test(t, no_more_parts_are_given_than_asked_for);
    tcase_add_test(t, a_queue_that_ends_lets_go_of_everything);
    tcase_add_test(t, messages_stay_apart_and_are_written_together);
    tcase_add_test(t, a_cut_leaves_replies_and_the_message_that_is_begun);
    tcase_add_test(t, the_rest_of_a_message_keeps_no_shared_chunk);
    tcase_add_test(t, a_queue_leaves_its_list_when_it_ends);
    tcase_add_test(t, any_sequence_is_as_in_a_plain_string);
    suite_add_tcase(s, t);
    return run_suite(s);
}
