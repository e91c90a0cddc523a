#include "core/inbox.h"

#include "support.h"

static struct inbox inbox;
static _Atomic unsigned over_count;

static void setup(void)
{
    atomic_store(&over_count, 0);
    inbox_init(&inbox, 1u << 30, &over_count);
}

static void teardown(void)
{
    inbox_done(&inbox);
}

static struct message *make(uint64_t seq, uint32_t payload_len)
{
    struct message *m = message_new("t", 1, NULL, payload_len);
    m->seq = seq;
    return m;
}

/* Returns whether the reactor has to be woken. */
static bool push(struct inbox *in, uint64_t seq, uint32_t payload_len)
{
    HOLDS(inbox_reserve(in, 1) == 0);
    return inbox_push(in, make(seq, payload_len));
}

/* Take up to max, which must come from first_seq on. Returns whether the inbox is relieved. */
static bool take(struct inbox *in, size_t max, uint64_t first_seq, size_t want)
{
    struct message *out[512];
    bool relieved = true;
    size_t n = inbox_take(in, out, max, &relieved);
    HOLDS(n == want);
    for (size_t i = 0; i < n; i++) {
        HOLDS(out[i]->seq == first_seq + i);
        message_unref(out[i]);
    }
    return relieved;
}

START_TEST(messages_come_out_in_the_order_they_went_in)
{
    for (uint64_t seq = 1; seq <= 200; seq++)
        push(&inbox, seq, 8);
    take(&inbox, 1, 1, 1);
    take(&inbox, 100, 2, 100);
    take(&inbox, 512, 102, 99);
    take(&inbox, 512, 0, 0);
}
END_TEST

START_TEST(only_the_first_push_into_an_empty_inbox_wakes)
{
    ck_assert(push(&inbox, 1, 8));
    ck_assert(!push(&inbox, 2, 8));
    ck_assert(!push(&inbox, 3, 8));
    take(&inbox, 2, 1, 2);
    ck_assert(!push(&inbox, 4, 8));
    take(&inbox, 2, 3, 2);
    ck_assert(push(&inbox, 5, 8));
}
END_TEST

START_TEST(there_is_mail_until_the_last_message_is_taken)
{
    ck_assert(!inbox_has_mail(&inbox));
    push(&inbox, 1, 8);
    push(&inbox, 2, 8);
    ck_assert(inbox_has_mail(&inbox));
    take(&inbox, 1, 1, 1);
    ck_assert(inbox_has_mail(&inbox));
    take(&inbox, 1, 2, 1);
    ck_assert(!inbox_has_mail(&inbox));
}
END_TEST

START_TEST(a_reserve_is_good_for_one_push_at_any_fill)
{
    uint64_t in = 1, out = 1;
    for (int round = 0; round < 300; round++) { /* the ring wraps at every place, and grows while it is wrapped */
        for (int i = 0; i < 37 + round % 5; i++)
            push(&inbox, in++, 8);
        take(&inbox, 36, out, 36);
        out += 36;
    }
    while (out < in) {
        take(&inbox, 1, out, 1);
        out++;
    }
}
END_TEST

START_TEST(an_inbox_is_over_from_its_limit_until_it_has_drained_to_half)
{
    uint64_t each = sizeof(struct message) + 1 + 1000;
    inbox_done(&inbox);
    inbox_init(&inbox, 10 * each, &over_count);
    for (uint64_t seq = 1; seq <= 10; seq++)
        push(&inbox, seq, 1000);
    ck_assert_uint_eq(over_count, 0); /* at the limit is not over it */
    push(&inbox, 11, 1000);
    ck_assert_uint_eq(over_count, 1);
    push(&inbox, 12, 1000);
    ck_assert_uint_eq(over_count, 1);
    ck_assert(!take(&inbox, 6, 1, 6)); /* 6 are left, 5 is half */
    ck_assert_uint_eq(over_count, 1);
    ck_assert(take(&inbox, 1, 7, 1));
    ck_assert_uint_eq(over_count, 0);
    ck_assert(!take(&inbox, 2, 8, 2)); /* relieved once */
    for (uint64_t seq = 13; seq <= 19; seq++)
        push(&inbox, seq, 1000);
    ck_assert_uint_eq(over_count, 0);
    push(&inbox, 20, 1000);
    ck_assert_uint_eq(over_count, 1);
    ck_assert(take(&inbox, 512, 10, 11));
}
END_TEST

START_TEST(inboxes_over_their_limit_are_counted_together)
{
    struct inbox other;
    inbox_done(&inbox);
    inbox_init(&inbox, 100, &over_count);
    inbox_init(&other, 100, &over_count);
    push(&inbox, 1, 200);
    push(&other, 1, 200);
    ck_assert_uint_eq(over_count, 2);
    ck_assert(take(&inbox, 9, 1, 1));
    ck_assert_uint_eq(over_count, 1);
    ck_assert(take(&other, 9, 1, 1));
    ck_assert_uint_eq(over_count, 0);
    inbox_done(&other);
}
END_TEST

/* What the fan-out makes of one batch is counted in 32 bits. */
START_TEST(a_take_ends_before_it_is_too_much_for_one_batch)
{
    struct message *out[512];
    bool relieved;
    for (uint64_t seq = 1; seq <= 12; seq++) {
        push(&inbox, seq, 8);
        inbox.ring[(inbox.head + inbox.count - 1) & (inbox.cap - 1)]->payload_len = 400u
                                                                                    << 20; /* of which none is read */
        inbox.bytes += (400u << 20) - 8;
    }
    uint64_t seen = 0;
    while (inbox.count > 0) {
        uint64_t bytes = 0;
        size_t n = inbox_take(&inbox, out, 512, &relieved);
        ck_assert_uint_ge(n, 1);
        for (size_t i = 0; i < n; i++) {
            ck_assert_uint_eq(out[i]->seq, ++seen);
            bytes += out[i]->payload_len;
            message_unref(out[i]);
        }
        ck_assert_uint_lt(bytes, 2u << 30);
    }
    ck_assert_uint_eq(seen, 12);
    ck_assert_uint_eq(inbox.bytes, 0);
}
END_TEST

START_TEST(an_inbox_lets_go_of_what_nobody_took)
{
    struct message *m = make(1, 8);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(inbox_reserve(&inbox, 1), 0);
        inbox_push(&inbox, message_ref(m));
    }
    ck_assert_uint_eq(m->refs, 101);
    inbox_done(&inbox);
    ck_assert_uint_eq(m->refs, 1);
    message_unref(m);
    inbox_init(&inbox, 100, &over_count);
}
END_TEST

START_TEST(any_sequence_of_pushes_and_takes_is_as_in_a_plain_queue)
{
    seed_random();
    for (int round = 0; round < 20; round++) {
        uint64_t max = 500 + below(100000), in = 1, out = 1, bytes = 0;
        static uint64_t sizes[20000];
        bool over = false;
        inbox_done(&inbox);
        inbox_init(&inbox, max, &over_count);
        for (int step = 0; step < 3000; step++) {
            bool relieved = false;
            if (below(100) < 60) {
                sizes[in] = sizeof(struct message) + 1 + below(300);
                HOLDS(push(&inbox, in, (uint32_t)(sizes[in] - sizeof(struct message) - 1)) == (in == out));
                bytes += sizes[in++];
                over |= bytes > max;
            } else {
                size_t want = below(4), n = want < in - out ? want : in - out;
                bool got = take(&inbox, want, out, n);
                for (; n > 0; n--)
                    bytes -= sizes[out++];
                relieved = over && bytes <= max / 2;
                over &= !relieved;
                HOLDS(got == relieved);
            }
            HOLDS(inbox_has_mail(&inbox) == (in != out) && inbox.bytes == bytes && over_count == over);
        }
        while (out < in) {
            take(&inbox, 1, out, 1);
            out++;
        }
    }
}
END_TEST

/* ---- one thread pushes, one takes */

#define CROSSING 100000

static void *push_all(void *ctx)
{
    (void)ctx;
    for (uint64_t seq = 1; seq <= CROSSING; seq++) {
        HOLDS(inbox_reserve(&inbox, 1) == 0);
        inbox_push(&inbox, make(seq, 0));
    }
    return NULL;
}

START_TEST(a_taker_sees_everything_while_another_thread_pushes)
{
    pthread_t pusher;
    ck_assert_int_eq(pthread_create(&pusher, NULL, push_all, NULL), 0);
    for (uint64_t next = 1; next <= CROSSING;) {
        struct message *out[256];
        bool relieved;
        size_t n = inbox_has_mail(&inbox) ? inbox_take(&inbox, out, 256, &relieved) : 0;
        for (size_t i = 0; i < n; i++) {
            HOLDS(out[i]->seq == next);
            next++;
            message_unref(out[i]);
        }
    }
    pthread_join(pusher, NULL);
    ck_assert(!inbox_has_mail(&inbox));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("inbox");
    TCase *t = tcase_create("inbox");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, messages_come_out_in_the_order_they_went_in);
    tcase_add_test(t, only_the_first_push_into_an_empty_inbox_wakes);
    tcase_add_test(t, there_is_mail_until_the_last_message_is_taken);
    tcase_add_test(t, a_reserve_is_good_for_one_push_at_any_fill);
    tcase_add_test(t, an_inbox_is_over_from_its_limit_until_it_has_drained_to_half);
    tcase_add_test(t, inboxes_over_their_limit_are_counted_together);
    tcase_add_test(t, a_take_ends_before_it_is_too_much_for_one_batch);
    tcase_add_test(t, an_inbox_lets_go_of_what_nobody_took);
    tcase_add_test(t, any_sequence_of_pushes_and_takes_is_as_in_a_plain_queue);
    tcase_add_test(t, a_taker_sees_everything_while_another_thread_pushes);
    suite_add_tcase(s, t);
    return run_suite(s);
}
