#include "core/message.h"

#include "base/hash.h"
#include "support.h"

START_TEST(a_message_is_a_copy_with_one_reference)
{
    char topic[] = "chat/42", payload[] = "hello";
    struct message *m = message_new(topic, 7, payload, 5);
    memset(topic, '!', 7);
    memset(payload, '!', 5);
    ck_assert_uint_eq(m->refs, 1);
    ck_assert_uint_eq(m->seq, 0);
    ck_assert_uint_eq(message_topic(m).len, 7);
    ck_assert_mem_eq(message_topic(m).ptr, "chat/42", 7);
    ck_assert_uint_eq(m->payload_len, 5);
    ck_assert_mem_eq(message_payload(m), "hello", 5);
    ck_assert_uint_eq(m->topic_hash, hash_bytes("chat/42", 7));
    ck_assert_ptr_null(m->kept_by);
    ck_assert_ptr_null(message_unref(m));
}
END_TEST

START_TEST(who_sent_it_is_behind_the_payload)
{
    char from[] = "{\"sub\":\"alice\"}";
    struct message *m = message_new_from("t", 1, "xy", 2, TEXT(from));
    uint64_t without = sizeof *m + 3;
    memset(from, '!', sizeof from - 1);
    ck_assert_mem_eq(message_payload(m), "xy", 2);
    ck_assert_uint_eq(message_from(m).len, 15);
    ck_assert_mem_eq(message_from(m).ptr, "{\"sub\":\"alice\"}", 15);
    ck_assert_uint_eq(message_memory(m), without + 15);
    message_unref(m);
    m = message_new("t", 1, "xy", 2);
    ck_assert_uint_eq(message_from(m).len, 0);
    message_unref(m);
}
END_TEST

START_TEST(only_a_name_is_left_out)
{
    struct message *m = message_new("t", 1, "x", 1);
    ck_assert(!message_leaves_out(m, 0) && !message_leaves_out(m, 7));
    m->except = 7;
    ck_assert(!message_leaves_out(m, 0) && !message_leaves_out(m, 8) && message_leaves_out(m, 7));
    message_unref(m);
}
END_TEST

START_TEST(topic_and_payload_may_be_as_long_as_allowed)
{
    char topic[255];
    memset(topic, 't', sizeof topic);
    char *payload = malloc(1000000);
    memset(payload, 'p', 1000000);
    struct message *m = message_new(topic, sizeof topic, payload, 1000000);
    ck_assert_uint_eq(m->topic_len, 255);
    ck_assert_mem_eq(message_topic(m).ptr, topic, 255);
    ck_assert_mem_eq(message_payload(m), payload, 1000000);
    ck_assert_uint_ge(message_memory(m), 1000255);
    ck_assert_uint_le(message_memory(m), 1000255 + 256);
    message_unref(m);
    free(payload);
}
END_TEST

START_TEST(the_payload_may_be_empty_or_filled_in_later)
{
    struct message *m = message_new("t", 1, NULL, 0);
    ck_assert_uint_eq(m->payload_len, 0);
    message_unref(m);
    m = message_new("t", 1, "", 0);
    ck_assert_uint_eq(m->payload_len, 0);
    message_unref(m);
    m = message_new("t", 1, NULL, 10);
    memcpy(message_payload(m), "0123456789", 10);
    ck_assert_mem_eq(message_topic(m).ptr, "t", 1);
    message_unref(m);
}
END_TEST

START_TEST(a_message_lives_until_the_last_reference_goes)
{
    struct message *m = message_new("t", 1, "x", 1);
    ck_assert_ptr_eq(message_ref(m), m);
    message_ref(m);
    ck_assert_uint_eq(m->refs, 3);
    message_unref(m);
    message_unref(m);
    ck_assert_mem_eq(message_payload(m), "x", 1);
    message_unref(m);
    ck_assert_ptr_null(message_unref(NULL));
}
END_TEST

START_TEST(what_was_taken_is_not_cleaned_up)
{
    struct message *kept;
    {
        HLY_CLEANUP(message_unrefp) struct message *m = message_new("t", 1, "x", 1);
        message_ref(m);
        kept = m;
    }
    ck_assert_uint_eq(kept->refs, 1);
    {
        HLY_CLEANUP(message_unrefp) struct message *m = kept;
        kept = message_take(&m);
        ck_assert_ptr_null(m);
    }
    ck_assert_uint_eq(kept->refs, 1);
    message_unref(kept);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("message");
    TCase *t = tcase_create("message");
    tcase_add_test(t, a_message_is_a_copy_with_one_reference);
    tcase_add_test(t, who_sent_it_is_behind_the_payload);
    tcase_add_test(t, only_a_name_is_left_out);
    tcase_add_test(t, topic_and_payload_may_be_as_long_as_allowed);
    tcase_add_test(t, the_payload_may_be_empty_or_filled_in_later);
    tcase_add_test(t, a_message_lives_until_the_last_reference_goes);
    tcase_add_test(t, what_was_taken_is_not_cleaned_up);
    suite_add_tcase(s, t);
    return run_suite(s);
}
