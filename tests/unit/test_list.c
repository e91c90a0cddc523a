#include "base/list.h"

#include <check.h>
#include <string.h>

struct item {
    char name;
    struct list node;
};

static struct item items[8];
static struct list head, other;

static void setup(void)
{
    list_init(&head);
    list_init(&other);
    for (size_t i = 0; i < HLY_ARRAY_LEN(items); i++) {
        items[i].name = (char)('a' + i);
        list_init(&items[i].node);
    }
}

static void fill(struct list *to, size_t from, size_t count)
{
    for (size_t i = from; i < from + count; i++)
        list_push(to, &items[i].node);
}

/* Both directions: a list that is right forwards only is the usual bug. */
static void assert_list(const struct list *l, const char *want)
{
    size_t n = 0, len = strlen(want);
    for (struct list *it = l->next; it != l; it = it->next, n++)
        ck_assert_msg(n < len && LIST_ENTRY(it, struct item, node)->name == want[n], "%s, forwards at %zu", want, n);
    ck_assert_uint_eq(n, len);
    for (struct list *it = l->prev; it != l; it = it->prev, n--)
        ck_assert_msg(n > 0 && LIST_ENTRY(it, struct item, node)->name == want[n - 1], "%s, backwards at %zu", want, n);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(list_is_empty(l), len == 0);
}

START_TEST(a_new_list_is_empty)
{
    assert_list(&head, "");
    ck_assert_ptr_null(list_pop(&head));
}
END_TEST

START_TEST(nodes_come_out_in_the_order_they_went_in)
{
    fill(&head, 0, 3);
    assert_list(&head, "abc");
    for (size_t i = 0; i < 3; i++) {
        struct list *node = list_pop(&head);
        ck_assert_ptr_eq(node, &items[i].node);
        ck_assert_msg(list_is_empty(node), "an unlinked node points to itself");
    }
    ck_assert_ptr_null(list_pop(&head));
    assert_list(&head, "");
}
END_TEST

START_TEST(any_node_can_be_removed)
{
    fill(&head, 0, 5);
    list_remove(&items[2].node);
    assert_list(&head, "abde");
    list_remove(&items[0].node);
    assert_list(&head, "bde");
    list_remove(&items[4].node);
    assert_list(&head, "bd");
    list_push(&head, &items[2].node);
    assert_list(&head, "bdc");
}
END_TEST

START_TEST(removing_a_node_of_no_list_does_nothing)
{
    fill(&head, 0, 1);
    list_remove(&items[1].node);
    list_remove(&items[0].node);
    list_remove(&items[0].node);
    assert_list(&head, "");
}
END_TEST

static const struct {
    const char *name;
    size_t to, from;
    const char *want;
} splices[] = {
    { "empty to empty", 0, 0, "" },   { "empty to some", 2, 0, "ab" }, { "one to empty", 0, 1, "a" },
    { "some to empty", 0, 3, "abc" }, { "one to one", 1, 1, "ab" },    { "some to some", 3, 4, "abcdefg" },
};

START_TEST(a_splice_moves_all_to_the_end)
{
    fill(&head, 0, splices[_i].to);
    fill(&other, splices[_i].to, splices[_i].from);
    list_splice(&head, &other);
    assert_list(&head, splices[_i].want);
    assert_list(&other, "");
    list_push(&other, &items[7].node); /* both are of use afterwards */
    assert_list(&other, "h");
    list_splice(&other, &head);
    assert_list(&head, "");
    ck_assert_ptr_eq(other.next, &items[7].node);
}
END_TEST

START_TEST(each_visits_in_order)
{
    char seen[9] = "";
    fill(&head, 0, 4);
    LIST_EACH (it, &head)
        seen[strlen(seen)] = LIST_ENTRY(it, struct item, node)->name;
    ck_assert_str_eq(seen, "abcd");
}
END_TEST

START_TEST(each_safe_survives_the_removal_of_the_visited_node)
{
    char seen[9] = "";
    fill(&head, 0, 6);
    LIST_EACH_SAFE (it, tmp, &head) {
        struct item *item = LIST_ENTRY(it, struct item, node);
        seen[strlen(seen)] = item->name;
        if (item->name % 2 == 1)
            list_remove(it);
    }
    ck_assert_str_eq(seen, "abcdef");
    assert_list(&head, "bdf");
    LIST_EACH_SAFE (it, tmp, &head)
        list_remove(it);
    assert_list(&head, "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("list");
    TCase *t = tcase_create("list");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, a_new_list_is_empty);
    tcase_add_test(t, nodes_come_out_in_the_order_they_went_in);
    tcase_add_test(t, any_node_can_be_removed);
    tcase_add_test(t, removing_a_node_of_no_list_does_nothing);
    tcase_add_loop_test(t, a_splice_moves_all_to_the_end, 0, HLY_ARRAY_LEN(splices));
    tcase_add_test(t, each_visits_in_order);
    tcase_add_test(t, each_safe_survives_the_removal_of_the_visited_node);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
