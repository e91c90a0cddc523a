/* The key file of a backend listener: what each of its lines lets someone do, and what is said about mistakes. */
#include "auth/backend_key.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

#define K1 "0123456789abcdef"
#define K2 "fedcba9876543210"
#define K3 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define FILE_NAME "k.key"

static struct backend_keys *keys;
static struct backend_key_report report;

static int parse(const char *text, size_t len)
{
    backend_keys_free(keys);
    keys = NULL;
    memset(&report, 0, sizeof report);
    return backend_keys_parse(FILE_NAME, (struct slice){ text, len }, &keys, &report);
}

static void parse_fine(const char *text)
{
    int r = parse(text, strlen(text));
    ck_assert_msg(r == 0 && keys != NULL, "%s: %s", text, report.error);
}

static void forget_keys(void)
{
    backend_keys_free(keys);
    keys = NULL;
}

static const struct backend_rights *who(const char *user, const char *key)
{
    return backend_keys_check(keys, TEXT(user), TEXT(key));
}

static bool may(const struct backend_rights *r, enum rule_action action, const char *name)
{
    return !r->may[action].is_limited || rules_claim_covers(&r->may[action], name, strlen(name));
}

/* ---- mistakes */

static const struct {
    const char *name, *text, *want;
} mistakes[] = {
    { "an empty file", "", "k.key: has no key. Write one a line; openssl rand -hex 32 makes a good one." },
    { "comments alone", "# a\n\n  \t\n   # b\n", "k.key: has no key. Write one a line; openssl rand -hex 32 makes a good one." },
    { "a key that is too short", "0123456789abcde\n",
      "k.key:1: The key has 15 characters. It must have 16 to 512; openssl rand -hex 32 makes a good one." },
    { "the line is counted", "# a\n\n" K1 "\r\nshort\n",
      "k.key:4: The key has 5 characters. It must have 16 to 512; openssl rand -hex 32 makes a good one." },
    { "a key in another script", "schl\xc3\xbcssel-schl\xc3\xbcssel\n",
      "k.key:1: The key has a character that is not printable ASCII. openssl rand -hex 32 makes a good one." },
    { "a control character", "0123456789\x01" "abcdef\n",
      "k.key:1: The key has a character that is not printable ASCII. openssl rand -hex 32 makes a good one." },
    { "the same key twice", K1 "\n" K2 "\n" K1 " name=b\n", "k.key:3: This key is on line 1 already. Give each backend one of its own." },
    { "two keys on a line", K1 " " K2 "\n",
      "k.key:1: Behind a key comes name=NAME, publish=PATTERN,... or subscribe=PATTERN,... and nothing else. Write each key on a line of its own, "
      "and patterns without spaces." },
    { "a space after a comma", K1 " publish=a, b\n", "k.key:1: publish= has no pattern where one should be. Write them with commas between, as in "
                                                     "publish=chat/*,news." },
    { "a space before =", K1 " publish = a\n",
      "k.key:1: Behind a key comes name=NAME, publish=PATTERN,... or subscribe=PATTERN,... and nothing else. Write each key on a line of its own, "
      "and patterns without spaces." },
    { "no pattern", K1 " subscribe=\n",
      "k.key:1: subscribe= has no pattern where one should be. Write them with commas between, as in subscribe=chat/*,news." },
    { "no pattern before a comma", K1 " subscribe=,a\n",
      "k.key:1: subscribe= has no pattern where one should be. Write them with commas between, as in subscribe=chat/*,news." },
    { "no name", K1 " name=\n", "k.key:1: name= takes 1 to 64 letters, digits, '.', '_' and '-', as in name=billing." },
    { "a name with a slash", K1 " name=a/b\n", "k.key:1: name= takes 1 to 64 letters, digits, '.', '_' and '-', as in name=billing." },
    { "a name twice", K1 " name=a\n" K2 " name=a\n", "k.key:2: The name a is on line 1 already. Choose another." },
    { "no user", "uid=\n", "k.key:1: uid= takes the name or number of a user, as in uid=www-data." },
    { "an unknown user", "uid=nobody-has-this-name\n",
      "k.key:1: uid= names a user that is not on this machine. Create it, or write its number." },
    { "a negative user", "uid=-1\n", "k.key:1: uid= names a user that is not on this machine. Create it, or write its number." },
    { "the number that means no user", "uid=4294967295\n",
      "k.key:1: uid= names a user that is not on this machine. Create it, or write its number." },
    { "a user twice", "uid=0\nuid=root\n", "k.key:2: This user is on line 1 already. Make one line of the two." },
};

START_TEST(a_mistake_is_named_with_its_line_and_what_would_be_right)
{
    ck_assert_int_eq(parse(mistakes[_i].text, strlen(mistakes[_i].text)), -EINVAL);
    ck_assert_ptr_null(keys);
    ck_assert_msg(strcmp(report.error, mistakes[_i].want) == 0, "%s: %s", mistakes[_i].name, report.error);
}
END_TEST

START_TEST(a_bad_pattern_is_said_to_be_one)
{
    static const char *const bad[] = { "a*b", "**/a", "$*", "a/***" };
    for (size_t i = 0; i < HLY_ARRAY_LEN(bad); i++) {
        char text[128];
        snprintf(text, sizeof text, K1 "\n" K2 " publish=ok/*,%s\n", bad[i]);
        ck_assert_int_eq(parse(text, strlen(text)), -EINVAL);
        ck_assert_msg(strstr(report.error, "k.key:2: publish= has a bad pattern: ") == report.error, "%s: %s", bad[i], report.error);
    }
}
END_TEST

START_TEST(no_key_is_in_a_message)
{
    static const char *const texts[] = { "s3cret-s3cret\n", K1 " s3cret-s3cret-s3cret\n", "s3cret-s3cret-s3cret\ns3cret-s3cret-s3cret\n",
                                         "s3cret\xff-s3cret-s3cret\n", "uid=s3cret-s3cret-s3cret\n" };
    for (size_t i = 0; i < HLY_ARRAY_LEN(texts); i++) {
        ck_assert_int_eq(parse(texts[i], strlen(texts[i])), -EINVAL);
        ck_assert_msg(strstr(report.error, "s3cret") == NULL, "%s", report.error);
    }
}
END_TEST

START_TEST(a_line_too_many_is_refused)
{
    char *text = malloc(64 * (BACKEND_KEY_LINES_MAX + 1));
    size_t len = 0;
    for (int i = 0; i < BACKEND_KEY_LINES_MAX; i++)
        len += (size_t)sprintf(text + len, "0123456789abcdef%d\n", i);
    ck_assert_int_eq(parse(text, len), 0);
    ck_assert_uint_eq(backend_keys_count(keys), BACKEND_KEY_LINES_MAX);
    len += (size_t)sprintf(text + len, "one-key-too-many-here\n");
    ck_assert_int_eq(parse(text, len), -EINVAL);
    ck_assert_str_eq(report.error, "k.key:1001: There are more than 1000 keys. That is the most that is taken.");
    free(text);
}
END_TEST

START_TEST(a_file_cut_anywhere_is_an_error_or_keys)
{
    static const char text[] = "# all\n" K1 " name=a publish=x/**,y subscribe=$halley/**\r\nuid=0 subscribe=z\n" K2 "\n";
    for (size_t cut = 0; cut < sizeof text; cut++) {
        char *copy = malloc(cut + 1); /* of its exact size, so that a sanitizer sees a read behind it */
        memcpy(copy, text, cut);
        int r = parse(copy, cut);
        HOLDS(r == 0 ? keys != NULL : r == -EINVAL && report.error[0] != '\0');
        free(copy);
    }
    ck_assert_uint_eq(backend_keys_count(keys), 2);
}
END_TEST

/* ---- keys */

START_TEST(a_right_key_is_right_and_every_other_is_wrong)
{
    parse_fine("  " K1 "  name=one # the first\n\t" K2 "\r\n" K3 " publish=a\n");
    ck_assert_uint_eq(backend_keys_count(keys), 3);
    ck_assert_str_eq(who("", K1)->name, "one");
    ck_assert_str_eq(who("", K2)->name, "line 2");
    ck_assert_ptr_nonnull(who("", K3));
    ck_assert_ptr_null(who("", ""));
    ck_assert_ptr_null(backend_keys_check(keys, (struct slice){ 0 }, (struct slice){ 0 }));
    for (size_t n = 1; n < strlen(K1); n++)
        HOLDS(backend_keys_check(keys, (struct slice){ 0 }, (struct slice){ K1, n }) == NULL);
    ck_assert_ptr_null(who("", K1 "0"));
    ck_assert_ptr_null(who("", K1 K1));
    ck_assert_ptr_null(backend_keys_check(keys, (struct slice){ 0 }, (struct slice){ K1, sizeof K1 })); /* with a NUL */
    ck_assert_ptr_null(who("", "0123456789ABCDEF"));
}
END_TEST

START_TEST(a_user_is_the_keys_name_or_default_or_none)
{
    parse_fine(K1 " name=one\n" K2 " name=two\n");
    ck_assert_ptr_nonnull(who("", K1));
    ck_assert_ptr_nonnull(who("default", K1));
    ck_assert_ptr_nonnull(who("one", K1));
    ck_assert_ptr_null(who("two", K1));
    ck_assert_ptr_null(who("One", K1));
    ck_assert_ptr_null(who("one ", K1));
}
END_TEST

START_TEST(a_uid_has_its_line_and_a_key_is_not_it)
{
    parse_fine("uid=root publish=a/**\nuid=4242\n" K1 "\n");
    ck_assert_uint_eq(backend_keys_uid_count(keys), 2);
    ck_assert_uint_eq(backend_keys_count(keys), 1);
    ck_assert(may(backend_keys_find_uid(keys, 0), RULE_PUBLISH, "a/b"));
    ck_assert(!may(backend_keys_find_uid(keys, 0), RULE_PUBLISH, "b"));
    ck_assert(backend_rights_are_all(backend_keys_find_uid(keys, 4242)));
    ck_assert_ptr_null(backend_keys_find_uid(keys, 1));
    ck_assert_ptr_null(who("", "uid=root"));
}
END_TEST

/* ---- rights */

static const struct {
    const char *line, *name;
    bool publish, subscribe, see;
} rights[] = {
    { "", "a", true, true, true },
    { "", "$halley/connect", true, true, true },
    { "publish=a", "a", true, false, true },
    { "publish=a", "b", false, false, false },
    { "publish=a", "a/b", false, false, false },
    { "subscribe=a/**", "a/b", false, true, true },
    { "subscribe=a/**", "a/**", false, true, true },
    { "subscribe=a/**", "a", false, false, false },
    { "subscribe=a/**", "**", false, false, false },
    { "subscribe=a/*", "a/**", false, false, false },
    { "subscribe=chat:*", "chat:42", false, true, true },
    { "subscribe=**", "anything/at/all", false, true, true },
    { "subscribe=**", "$halley/connect", false, false, false },
    { "subscribe=$halley/**", "$halley/connect", false, true, true },
    { "publish=a,b/* subscribe=c", "b/x", true, false, true },
    { "publish=a publish=b", "a", true, false, true },
    { "publish=a publish=b", "b", true, false, true },
    { "publish=a subscribe=c", "c", false, true, true },
};

START_TEST(patterns_are_all_that_a_key_may_do)
{
    char text[256];
    snprintf(text, sizeof text, K1 " %s\n", rights[_i].line);
    parse_fine(text);
    const struct backend_rights *r = who("", K1);
    ck_assert(r->may[RULE_PUBLISH].is_backend && r->may[RULE_SUBSCRIBE].is_backend);
    ck_assert_msg(may(r, RULE_PUBLISH, rights[_i].name) == rights[_i].publish, "%s, publish to %s", rights[_i].line, rights[_i].name);
    ck_assert_msg(may(r, RULE_SUBSCRIBE, rights[_i].name) == rights[_i].subscribe, "%s, subscribe to %s", rights[_i].line, rights[_i].name);
    ck_assert_msg(backend_rights_see(r, rights[_i].name, strlen(rights[_i].name)) == rights[_i].see, "%s, see %s", rights[_i].line,
                  rights[_i].name);
    ck_assert(backend_rights_are_all(r) == (rights[_i].line[0] == '\0'));
}
END_TEST

START_TEST(a_key_does_not_open_what_a_rule_closes)
{
    const struct rule list[] = { { .pattern = TEXT("never/**"), .publish = RULE_NOBODY, .subscribe = RULE_NOBODY },
                                 { .pattern = TEXT("**"), .publish = RULE_BACKEND, .subscribe = RULE_BACKEND } };
    struct rules *rules = rules_new(list, 2);
    parse_fine(K1 " publish=never/**,a\n" K2 "\n");
    const struct rule_client *some = &who("", K1)->may[RULE_PUBLISH], *all = &who("", K2)->may[RULE_PUBLISH];
    ck_assert(rules_allow(rules, some, RULE_PUBLISH, "a", 1));
    ck_assert(!rules_allow(rules, some, RULE_PUBLISH, "b", 1));
    ck_assert(!rules_allow(rules, some, RULE_PUBLISH, "never/x", 7));
    ck_assert(rules_allow(rules, all, RULE_PUBLISH, "b", 1));
    ck_assert(!rules_allow(rules, all, RULE_PUBLISH, "never/x", 7));
    rules_unref(rules);
}
END_TEST

START_TEST(a_limited_backend_is_limited_also_where_anyone_may)
{
    const struct rule list[] = { { .pattern = TEXT("**"), .publish = RULE_ANYONE, .subscribe = RULE_ANYONE } };
    struct rules *rules = rules_new(list, 1);
    parse_fine(K1 " publish=a\n");
    const struct backend_rights *r = who("", K1);
    ck_assert(rules_allow(rules, &r->may[RULE_PUBLISH], RULE_PUBLISH, "a", 1));
    ck_assert(!rules_allow(rules, &r->may[RULE_PUBLISH], RULE_PUBLISH, "b", 1));
    ck_assert(!rules_allow(rules, &r->may[RULE_SUBSCRIBE], RULE_SUBSCRIBE, "a", 1));
    rules_unref(rules);
}
END_TEST

/* ---- files */

static char path[64];

static void write_file(const char *text, mode_t mode)
{
    snprintf(path, sizeof path, "/tmp/halley-test-%ld.key", (long)getpid());
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

START_TEST(a_file_that_everyone_may_read_or_change_is_warned_of)
{
    static const struct {
        mode_t mode;
        const char *want;
    } modes[] = { { 0600, "" },
                  { 0640, "" },
                  { 0644, "everyone on this machine may read these keys (mode 0644). Say chmod 0640 on it." },
                  { 0622, "everyone on this machine may change these keys (mode 0622). Say chmod 0640 on it." } };
    for (size_t i = 0; i < HLY_ARRAY_LEN(modes); i++) {
        write_file(K1 "\n", modes[i].mode);
        forget_keys();
        ck_assert_int_eq(backend_keys_load(path, &keys, &report), 0);
        unlink(path);
        ck_assert_ptr_nonnull(who("", K1));
        if (modes[i].want[0] == '\0')
            ck_assert_str_eq(report.warning, "");
        else
            ck_assert_msg(strstr(report.warning, modes[i].want) != NULL, "%s", report.warning);
    }
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_said_to_be)
{
    ck_assert_int_eq(backend_keys_load("/nonexistent/k.key", &keys, &report), -ENOENT);
    ck_assert_str_eq(report.error, "/nonexistent/k.key: cannot be opened: No such file or directory.");
    ck_assert_int_eq(backend_keys_load("/tmp", &keys, &report), -EINVAL);
    ck_assert_str_eq(report.error, "/tmp: is a directory. Name the file in it.");
    ck_assert_int_eq(backend_keys_load("/dev/zero", &keys, &report), -EINVAL);
    ck_assert_str_eq(report.error, "/dev/zero: is larger than 1048576 bytes. It cannot be a key file.");
    ck_assert_ptr_null(keys);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("backend_key");
    TCase *tc = tcase_create("backend_key");
    tcase_add_checked_fixture(tc, NULL, forget_keys);
    tcase_add_loop_test(tc, a_mistake_is_named_with_its_line_and_what_would_be_right, 0, HLY_ARRAY_LEN(mistakes));
    tcase_add_test(tc, a_bad_pattern_is_said_to_be_one);
    tcase_add_test(tc, no_key_is_in_a_message);
    tcase_add_test(tc, a_line_too_many_is_refused);
    tcase_add_test(tc, a_file_cut_anywhere_is_an_error_or_keys);
    tcase_add_test(tc, a_right_key_is_right_and_every_other_is_wrong);
    tcase_add_test(tc, a_user_is_the_keys_name_or_default_or_none);
    tcase_add_test(tc, a_uid_has_its_line_and_a_key_is_not_it);
    tcase_add_loop_test(tc, patterns_are_all_that_a_key_may_do, 0, HLY_ARRAY_LEN(rights));
    tcase_add_test(tc, a_key_does_not_open_what_a_rule_closes);
    tcase_add_test(tc, a_limited_backend_is_limited_also_where_anyone_may);
    tcase_add_test(tc, a_file_that_everyone_may_read_or_change_is_warned_of);
    tcase_add_test(tc, a_file_that_cannot_be_read_is_said_to_be);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
