/* The configuration: what a file, the environment and flags make of the settings, and what is said about mistakes.
 *
 * conf/halley.conf and the tables in doc/man/halley.conf.5 are made from config_options.def. When the tests say that
 * one is not current, run this program with HALLEY_UPDATE=1 in the environment: it writes them anew. */
#include "server/config.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/config_internal.h"

#define NAME "test.conf"

/* For inner loops: Check writes to a pipe for each ck_assert, passed or not. */
#define HOLDS(cond, ...) \
    do { \
        if (!(cond)) \
            ck_abort_msg(__VA_ARGS__); \
    } while (0)

static struct config_error error;
static const struct config_refusal nothing_refused[] = { { NULL, NULL } };

static struct config *load_bytes(const char *text, size_t len)
{
    memset(&error, 0, sizeof error);
    return config_load_text(NAME, text, len, NULL, NULL, config_refusals, &error);
}

static struct config *load(const char *text)
{
    return load_bytes(text, strlen(text));
}

static struct config *load_fine(const char *text)
{
    struct config *c = load(text);
    ck_assert_msg(c != NULL, "%s: %s", text, error.text);
    return c;
}

static char *printed(const struct config *c) /* the caller frees */
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    config_print(c, out);
    fclose(out);
    return text;
}

static char *made_by(void (*print)(FILE *out)) /* the caller frees */
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    print(out);
    fclose(out);
    return text;
}

/* The lines without their comments and the spaces before them. */
static void cut_sources(char *text)
{
    char *to = text;
    for (char *line = text; *line != '\0';) {
        char *end = strchr(line, '\n'), *comment = memmem(line, (size_t)(end - line), " # ", 3);
        char *last = comment != NULL ? comment : end;
        while (last > line && last[-1] == ' ')
            last--;
        size_t len = (size_t)(last - line);
        memmove(to, line, len);
        to += len;
        *to++ = '\n';
        line = end + 1;
    }
    *to = '\0';
}

/* ---- what is said when all is well */

START_TEST(without_a_file_the_built_in_defaults_apply)
{
    struct config *c = config_load(NULL, NULL, &error);
    ck_assert_ptr_nonnull(c);
    ck_assert_ptr_null(c->path);
    ck_assert_uint_eq(c->listen_count, 1);
    ck_assert_str_eq(c->listens[0].host, "127.0.0.1");
    ck_assert_uint_eq(c->listens[0].port, 8080);
    ck_assert_uint_eq(c->backend_count, 1);
    ck_assert_str_eq(c->backends[0].path, "/run/halley/backend.sock");
    ck_assert_uint_eq(c->backends[0].mode, 0660);
    ck_assert_uint_eq(c->rule_count, 1);
    const struct rule *r = rules_find(c->rules, "any/topic", 9);
    ck_assert_int_eq(r->subscribe, RULE_ANYONE);
    ck_assert_int_eq(r->publish, RULE_BACKEND);
    ck_assert_uint_eq(r->history, 32);
    ck_assert_uint_eq(r->history_ttl_ms, 300000);
    ck_assert_uint_eq(c->console, 1);
    ck_assert_uint_eq(c->reactors, 0);
    ck_assert_uint_eq(c->max_connections, 1000000);
    ck_assert_str_eq(c->user, "");
    ck_assert_uint_eq(c->origin_count + c->echo_count + c->warning_count, 0);
    config_free(c);
}
END_TEST

START_TEST(an_empty_file_is_as_good_as_none)
{
    struct config *none = config_load(NULL, NULL, &error), *empty = load_fine("");
    char *a = printed(none), *b = printed(empty);
    ck_assert_str_eq(a, b);
    free(a);
    free(b);
    config_free(none);
    config_free(empty);
}
END_TEST

/* What --print-config shows then: the value and where it comes from. */
static const struct {
    const char *text;
    const char *want;
} good[] = {
    { "reactors = 4", "reactors = 4 # test.conf:1" },
    { "\n\nreactors = auto", "reactors = auto # test.conf:3" },
    { "reactors = 64 # the most", "reactors = 64 # test.conf:1" },
    { "reactors=1", "reactors = 1 # test.conf:1" },
    { "", "reactors = auto # default" },
    { "console = off", "console = off #" },
    { "console = false", "console = off #" },
    { "console = no", "console = off #" },
    { "console = on", "console = on # test.conf" },
    { "console = true", "console = on # test.conf" },
    { "console = yes", "console = on # test.conf" },
    /* units */
    { "ping_interval = 1000ms", "ping_interval = 1s #" },
    { "ping_interval = 1500ms", "ping_interval = 1500ms #" },
    { "ping_interval = 60s", "ping_interval = 1m #" },
    { "ping_interval = 1h", "ping_interval = 1h #" },
    { "idle_timeout = 1d", "idle_timeout = 1d #" },
    { "limits { message = 1 }", "    message = 1 #" },
    { "limits { message = 1000 }", "    message = 1000 #" },
    { "limits { message = 1024 }", "    message = 1k #" },
    { "limits { message = 3m }", "    message = 3m #" },
    { "limits { message = 256m }", "    message = 256m #" },
    { "limits { outq_total = 1024g }", "    outq_total = 1024g #" },
    { "limits { history = 0 }", "    history = 0 #" },
    { "limits { connections = 10000000 }", "    connections = 10000000 # test.conf:1" },
    { "limits {\n}\n", "    connections = 1000000 # default" },
    { "limits {\n\n connections = 5\n keys = 0 }", "    keys = 0 # test.conf:4" },
    /* words and names */
    { "log_level = debug", "log_level = debug #" },
    { "log_format = json", "log_format = json #" },
    { "user = root", "user = \"root\" #" },
    { "group = \"0\"", "group = \"0\" #" },
    /* addresses */
    { "listen \"0.0.0.0:8080\" { }", "listen \"0.0.0.0:8080\" { } # test.conf:1" },
    { "listen 127.0.0.1:0 { }", "listen \"127.0.0.1:0\" { } #" },
    { "listen \"[::1]:8443\" { }", "listen \"[::1]:8443\" { } #" },
    { "listen \"[fe80::1%eth0]:80\" { }", "listen \"[fe80::1%eth0]:80\" { } #" },
    { "listen \"*:80\" { }", "listen \"*:80\" { } #" },
    { "listen localhost:80 { }", "listen \"localhost:80\" { } #" },
    { "listen \"unix:/run/halley/public.sock\" { }", "listen \"unix:/run/halley/public.sock\" { } #" },
    { "listen a:1 { }\nlisten\nb:2\n{ }", "listen \"b:2\" { } # test.conf:4" },
    { "backend \"b.sock\" { }", "backend \"b.sock\" { mode = 0660 } # test.conf:1" },
    { "backend \"unix:b\" { mode = 600 }", "backend \"unix:b\" { mode = 0600 } #" },
    { "backend /run/b { owner = root group = root }",
      "backend \"/run/b\" { mode = 0660 owner = \"root\" group = \"root\" } #" },
    { "backend b { allow_uid = { root, 4242 } }", "backend \"b\" { mode = 0660 allow_uid = { 0, 4242 } } #" },
    { "backend b { allow_uid = root }", "allow_uid = { 0 }" },
    { "echo \"/echo\" { }", "echo \"/echo\" { } # test.conf:1" },
    /* origins */
    { "origins = { \"https://example.com\" }", "origins = { \"https://example.com\" } # test.conf:1" },
    { "origins = \"https://a.b:8443\"", "origins = { \"https://a.b:8443\" } #" },
    { "origins = {\n\"*\",\n\"null\" }", "origins = { \"*\", \"null\" } # test.conf:2" },
    { "origins = { \"https://*.example.com\", }", "origins = { \"https://*.example.com\" } #" },
    { "origins = { \"http://localhost:3000\", \"http://[::1]:3000\", \"https://127.0.0.1\" }",
      "\"http://[::1]:3000\"" },
    { "origins = \"https://a\" origins += \"https://b\"", "origins = { \"https://a\", \"https://b\" } #" },
    { "origins = { }", "origins = { } #" },
    /* proxies, and what is counted by address and user */
    { "trusted_proxies = { \"127.0.0.0/8\", \"::1\", 192.0.2.1, unix }",
      "trusted_proxies = { \"127.0.0.0/8\", \"::1\", \"192.0.2.1\", \"unix\" } # test.conf:1" },
    { "", "trusted_proxies = { } # default" },
    { "trusted_proxies = 10.0.0.0/8\nlisten 127.0.0.1:80 { proxy_protocol = on }",
      "listen \"127.0.0.1:80\" { proxy_protocol = on } # test.conf:2" },
    { "listen 127.0.0.1:80 { proxy_protocol = off }", "listen \"127.0.0.1:80\" { } #" },
    { "", "    per_address = 1000 # default" },
    { "", "    per_user = 100 # default" },
    { "", "    publish_rate = 1000 # default" },
    { "limits { per_address = 0 per_user = 0 publish_rate = 0 publish_bytes = 0 }", "    per_user = 0 # test.conf:1" },
    { "limits { publish_burst = 1 publish_bytes = 1g }", "    publish_bytes = 1g #" },
    /* rules */
    { "topics \"a/**\" { }",
      "topics \"a/**\" { subscribe = anyone publish = backend history = 0 history_ttl = 0 payload = text "
      "on_slow = catch_up presence = off join_leave = off presence_grace = 0 events = off }" },
    { "topics \"a\" { subscribe = token publish = nobody }", "{ subscribe = token publish = nobody" },
    { "topics \"a\" { subscribe = backend publish = anyone }", "{ subscribe = backend publish = anyone" },
    { "topics \"a\" { history = 1000000 history_ttl = 365d }", "history = 1000000 history_ttl = 365d" },
    { "topics \"a\" { payload = json on_slow = catch_up }", "payload = json on_slow = catch_up" },
    { "topics \"a\" { payload = binary on_slow = catch_up }", "payload = binary on_slow = catch_up" },
    { "topics 'user/{sub}/**' { }", "topics \"user/{sub}/**\" {" },
    { "topics a { }\n\n topics b { }", "topics \"b\" {" },
    /* text */
    { "topics \"a\\\\b\\\"c\\${d\" { }", "topics \"a\\\\b\\\"c\\${d\" {" },
    { "topics 'a\\'b\\\\c\\d${e' { }", "topics \"a'b\\\\c\\\\d\\${e\" {" },
    { "\xef\xbb\xbfreactors = 2\r\nconsole = off\r\n", "console = off # test.conf:2" },
    /* comments do not move the lines after them, as they do in libconfuse */
    { "# one\n// two\n/* three\n\n*/ /* five */ reactors = 3", "reactors = 3 # test.conf:5" },
    { "# \x01 \xff bytes in a comment \"{\nreactors = 3 #", "reactors = 3 # test.conf:2" },
    { "user = 'root' # user = 'nobody'", "user = \"root\" # test.conf:1" },
};

/* Does a line of the text hold it, where each run of spaces counts as one (but for those that `want` begins with)? */
static bool has_line(const char *text, const char *want)
{
    for (const char *line = text; *line != '\0'; line++) {
        const char *a = line, *b = want;
        while (*b != '\0' && *a == *b) {
            if (*a == ' ' && b[1] != ' ' && b > want) {
                while (a[1] == ' ')
                    a++;
            }
            a++;
            b++;
        }
        if (*b == '\0')
            return true;
    }
    return false;
}

START_TEST(values_are_taken_with_their_place)
{
    struct config *c = load_fine(good[_i].text);
    char *text = printed(c);
    ck_assert_msg(has_line(text, good[_i].want), "%s\nwants: %s\nprints:\n%s", good[_i].text, good[_i].want, text);
    free(text);
    config_free(c);
}
END_TEST

START_TEST(what_is_printed_can_be_loaded_again)
{
    struct config *c = load_fine(good[_i].text);
    char *text = printed(c);
    struct config *again = load_fine(text);
    char *twice = printed(again);
    cut_sources(text);
    cut_sources(twice);
    ck_assert_str_eq(text, twice);
    free(text);
    free(twice);
    config_free(c);
    config_free(again);
}
END_TEST

START_TEST(addresses_are_split_into_host_port_and_path)
{
    struct config *c = load_fine("listen \"*:80\" {} listen \"[::1]:81\" {} listen h:0 {} listen unix:p/q {}"
                                 "backend unix:r {} backend /s/t { } backend u { }");
    ck_assert_uint_eq(c->listen_count, 4);
    ck_assert_ptr_null(c->listens[0].host);
    ck_assert_uint_eq(c->listens[0].port, 80);
    ck_assert_str_eq(c->listens[0].address, "*:80");
    ck_assert_str_eq(c->listens[1].host, "::1");
    ck_assert_uint_eq(c->listens[1].port, 81);
    ck_assert_str_eq(c->listens[2].host, "h");
    ck_assert_uint_eq(c->listens[2].port, 0);
    ck_assert_ptr_null(c->listens[2].path);
    ck_assert_ptr_null(c->listens[3].host);
    ck_assert_str_eq(c->listens[3].path, "p/q");
    ck_assert_uint_eq(c->backend_count, 3);
    ck_assert_str_eq(c->backends[0].path, "r");
    ck_assert_str_eq(c->backends[1].path, "/s/t");
    ck_assert_str_eq(c->backends[2].path, "u");
    config_free(c);
}
END_TEST

START_TEST(rules_keep_the_order_of_the_file)
{
    struct config *c = load_fine("topics \"z/*\" { }\nlisten a:1 { }\ntopics \"a/*\" { }\nreactors = 1\n"
                                 "topics \"m/*\" { }\ntopics \"**\" { }");
    static const char *const want[] = { "z/*", "a/*", "m/*", "**" };
    static const unsigned want_line[] = { 1, 3, 5, 6 };
    ck_assert_uint_eq(c->rule_count, 4);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_str_eq(c->rule_list[i].pattern.ptr, want[i]);
        ck_assert_uint_eq(c->rule_lines[i], want_line[i]);
        struct slice built = rules_at(c->rules, i)->pattern;
        ck_assert(built.len == strlen(want[i]) && memcmp(built.ptr, want[i], built.len) == 0);
    }
    config_free(c);
}
END_TEST

START_TEST(a_socket_path_may_have_107_bytes)
{
    char text[256], path[108];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    snprintf(text, sizeof text, "backend %s { } listen unix:/%s { }", path, path + 1);
    config_free(load_fine(text));
    snprintf(text, sizeof text, "backend %sp { }", path);
    ck_assert_ptr_null(load(text));
    ck_assert_msg(strstr(error.text, "has 108 bytes. The kernel takes 107") != NULL, "%s", error.text);
    snprintf(text, sizeof text, "listen unix:/%s { }", path);
    ck_assert_ptr_null(load(text));
    ck_assert_msg(strstr(error.text, "has 108 bytes. The kernel takes 107") != NULL, "%s", error.text);
}
END_TEST

/* ---- what is said about mistakes */

static const struct {
    const char *name;
    const char *text;
    const char *want; /* how the message begins after the file's name */
    const char *also; /* and what it says further on; NULL: nothing more */
} bad[] = {
    /* libconfuse's traps */
    { "same titles would merge", "listen a:1 {}\n\nlisten a:1 {}",
      ":3: listen \"a:1\" is there twice: at line 1 and at line 3.", NULL },
    { "same titles would merge", "topics \"x\" {\n}\ntopics \"x\" { publish = anyone }",
      ":3: topics \"x\" is there twice: at line 1 and at line 3.", NULL },
    { "same titles would merge", "backend b {}\nbackend b {}",
      ":2: backend \"b\" is there twice: at line 1 and at line 2.", NULL },
    { "same titles would merge", "echo /e {}\necho /e {}", ":2: echo \"/e\" is there twice.", NULL },
    { "untitled sections would merge", "limits {\n}\nlimits {\n}",
      ":3: 'limits' is there twice: at line 1 and at line 3.", NULL },
    { "a missing last brace would pass", "reactors = 1\nlimits {\n connections = 5\n",
      ":2: The '{' on this line is never closed.", NULL },
    { "a missing last brace would pass", "topics \"a\" {\n  publish = anyone\n",
      ":1: The '{' on this line is never closed.", NULL },
    { "a missing brace of a list", "origins = {\n \"*\"", ":1: The '{' on this line is never closed.", NULL },
    { "of two errors, the first is told", "reactors = x\nconsole = y", ":1: reactors = 'x' is not a whole number.",
      NULL },
    { "an error of meaning comes before a later one of grammar", "reactors = x\nconsole", ":1: reactors = 'x'", NULL },
    { "a value set twice: the last would win", "reactors = 1\nreactors = 1",
      ":2: 'reactors' is set twice: at line 1 and at line 2.", NULL },
    { "a value set twice in a section", "topics \"x\" { history = 1\nhistory = 2 }",
      ":2: 'topics.history' is set twice", NULL },
    { "a list set twice", "origins = { \"*\" }\norigins = { \"null\" }",
      ":2: 'origins' is set twice: at line 1 and at line 2.", NULL },
    { "a list set and emptied", "\norigins = { \"*\" }\norigins = { }",
      ":2: 'origins' is set here, and emptied further down.", NULL },
    { "a list in a section set and emptied", "backend b { allow_uid = { 0 }\nallow_uid = { } }",
      ":1: 'backend.allow_uid' is set here, and emptied", NULL },
    { "a list in a section set twice", "backend b { allow_uid = { 0 }\nallow_uid = { 1 } }",
      ":2: 'backend.allow_uid' is set twice", NULL },
    { "an environment variable would be filled in", "user = \"${HOME}\"",
      ":1: Variables such as ${NAME} are not filled in, but", NULL },
    { "one that begins like the only one that is", "user = \"${CREDENTIALS_DIRECTORY:-/x}\"",
      ":1: Variables such as ${NAME} are not filled in", NULL },
    { "the directory of credentials, where there is none", "user = \"a${CREDENTIALS_DIRECTORY}/x\"",
      ":1: CREDENTIALS_DIRECTORY is not set.", "LoadCredential=" },
    { "an environment variable would be filled in", "user = ${HOME}",
      ":1: Variables such as ${NAME} are not filled in.", NULL },
    { "a function", "include(\"other.conf\")", ":1: Functions, such as include(...), are not supported", NULL },
    { "a stray star would be dropped", "listen *:80 { }", ":1: There is a stray '*' here.",
      "quotes, as in \"*:8080\"" },
    { "a star in a word would be dropped", "topics chat:* { }", ":1: 'chat:*' contains a '*'.", "in quotes" },
    { "slash and star would begin a comment", "topics chat/** { }", ":1: 'chat/*' would begin a comment here.",
      "in quotes" },
    { "two slashes would begin a comment", "origins = https://a.b", ":1: 'https://' would begin a comment here.",
      "in quotes" },
    { "a trailing slash", "user = a/ \n", ":1: 'a/' ends with a slash.", "in quotes" },
    { "a plus would be dropped", "user = a+b", ":1: 'a+' contains a '+'.", NULL },
    { "a stray plus would be dropped", "+ user = a", ":1: There is a stray '+' here.", NULL },
    { "an endless comment would hide the rest", "\n/* reactors = 1\n", ":2: A comment begins here",
      "Close it with */" },
    { "a comment of three characters is not closed", "/*/", ":1: A comment begins here", NULL },
    { "an endless string would hide the rest", "\n\"reactors = 1\n",
      ":2: A string begins here and does not end on this line.", NULL },
    { "an endless string", "user = 'a\n'", ":1: A string begins here and does not end on this line. Close it with '.",
      NULL },
    { "an endless string at the end", "user = \"", ":1: A string begins here", NULL },
    { "a backslash at the end", "user = \"a\\", ":1: A backslash", NULL },
    { "an escaped NUL would cut the string", "user = \"\\x00root\"", ":1: A backslash in a string may only", NULL },
    { "an octal NUL would cut the string", "user = \"\\0root\"", ":1: A backslash in a string may only", NULL },
    { "a path to a setting would be followed", "limits { } limits|connections = 5", ":1: Before '=' there is no name",
      NULL },
    { "a quoted name would be taken", "\"reactors\" = 5", ":1: Before '=' there is no name", NULL },
    { "a path in a quoted name", "topics \"x\" { } \"topics=x|publish\" = anyone", ":1: Before '=' there is no name",
      NULL },
    { "a brace too many", "limits { }\n}", ":2: There is a '}' here without its '{'.", NULL },
    { "deep braces", "a{a{a{a{a{a{a{a{a{a{a{a{", ":1: Braces are nested 9 deep here.", NULL },
    /* grammar */
    { "no equals", "\nreactors 4", ":2: After 'reactors' there is no '='. Write reactors = VALUE.", NULL },
    { "two values", "reactors = 4 5", ":1: There is no setting '5'.", NULL },
    { "a list for a number", "reactors = { 4 }", ":1: '{' is unexpected here.", NULL },
    { "no name", "= 5", ":1: Before '=' there is no name of a setting.", NULL },
    { "an addition to a number", "reactors += 5", ":1: 'reactors' is not a list, so nothing can be added", NULL },
    { "an empty addition", "\n+= 5", ":2: Before '=' there is no name", NULL },
    { "no title", "listen { }", ":1: After 'listen' there is no title.", "listen \"TITLE\"" },
    { "a title too many", "limits \"x\" { }", ":1: After 'limits' there is no '{' where it belongs.", NULL },
    { "a section as a value", "limits = 5", ":1: After 'limits' there is no '{'", NULL },
    { "no section", "topics \"x\"", ":1: The file ends in the middle of a setting.", NULL },
    { "an empty name", "reactors = 1\n\"\"", ":2: There is an empty name here.", NULL },
    { "an empty name in a section", "limits {\n\"\" }", ":2: There is an empty name here.", NULL },
    { "an empty name of a section", "\"\" { }", ":1: There is an empty name here.", NULL },
    { "no value", "reactors =", ":1: The file ends in the middle of a setting.", NULL },
    { "no value in a section", "limits { message = }", ":1: '}' is unexpected here.", NULL },
    { "two commas", "origins = { \"*\",, }", ":1: ',' is unexpected here.", NULL },
    { "no comma", "origins = { \"*\" \"null\" }", ":1: 'null' is unexpected here.", NULL },
    { "a semicolon", "reactors = 4;", ":1: There is no ';' in this file.", NULL },
    /* names */
    { "a misspelt setting", "\nreactrs = 4", ":2: There is no setting 'reactrs'. Did you mean 'reactors'?", NULL },
    { "two letters swapped", "consoel = on", ":1: There is no setting 'consoel'. Did you mean 'console'?", NULL },
    { "another kind of dash", "log-level = info", ":1: There is no setting 'log-level'. Did you mean 'log_level'?",
      NULL },
    { "capitals", "Reactors = 4", ":1: There is no setting 'Reactors'. Did you mean 'reactors'?", NULL },
    { "a misspelt section", "topic \"x\" { }", ":1: There is no setting 'topic'. Did you mean 'topics'?", NULL },
    { "a misspelt key of a section", "limits {\n conections = 4 }",
      ":2: There is no setting 'limits.conections'. Did you mean 'connections'?", NULL },
    { "a misspelt key of a rule", "topics \"x\" { histroy = 4 }",
      ":1: There is no setting 'topics.histroy'. Did you mean 'history'?", NULL },
    { "a key that a listen never has", "listen a:1 { port = 4 }", ":1: There is no setting 'listen.port'.", NULL },
    { "nothing near", "xyzzy = 4", ":1: There is no setting 'xyzzy'. halley.conf(5) lists", NULL },
    { "a very long name", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = 4",
      ":1: There is no setting 'aaaaaaaaa", "lists those" },
    { "a limit outside of limits", "connections = 4",
      ":1: 'connections' does not belong here, but into a section: limits.", NULL },
    { "a name of two sections", "history = 4",
      ":1: 'history' does not belong here, but into a section: topics or limits.", NULL },
    { "a setting in a section", "limits { origins = \"*\" }", ":1: 'origins' does not belong into limits.", NULL },
    { "a dotted name", "limits.connections = 4",
      ":1: In the file 'limits.connections' is written limits { connections = ... }.", NULL },
    /* numbers and units */
    { "not a number", "reactors = four", ":1: reactors = 'four' is not a whole number. It must be auto, or 1 to 64",
      NULL },
    { "too small", "reactors = 0", ":1: reactors = 0 is out of range. It must be auto, or 1 to 64.", NULL },
    { "too large", "reactors = 65", ":1: reactors = 65 is out of range. It must be auto, or 1 to 64.", NULL },
    { "far too large", "reactors = 99999999999999999999", ":1: reactors = 99999999999999999999 is out of range.",
      NULL },
    { "negative", "reactors = -1", ":1: reactors = '-1' is not a whole number.", NULL },
    { "empty", "reactors = \"\"", ":1: reactors = '' is not a whole number.", NULL },
    { "a fraction", "reactors = 1.5", ":1: reactors = '1.5' is not a whole number.", NULL },
    { "a unit on a count", "limits { connections = 5k }", ":1: limits.connections = '5k' is not a whole number.",
      "without a unit" },
    { "a time without a unit", "ping_interval = 25",
      ":1: ping_interval = 25 has no unit. Write 25s, or another of ms, s, m, h and d.", NULL },
    { "a time with a wrong unit", "ping_interval = 25sec", ":1: ping_interval = '25sec' is not a time.",
      "ms, s, m, h or d" },
    { "a time without a number", "ping_interval = s", ":1: ping_interval = 's' is not a time.", NULL },
    { "a time in capitals", "ping_interval = 25S", ":1: ping_interval = '25S' is not a time.", NULL },
    { "a time below its range", "ping_interval = 999ms",
      ":1: ping_interval = 999ms is out of range. It must be 1s to 1h.", NULL },
    { "a time above its range", "ping_interval = 61m", ":1: ping_interval = 61m is out of range. It must be 1s to 1h.",
      NULL },
    { "zero below its range", "ping_interval = 0", ":1: ping_interval = 0 is out of range.", NULL },
    { "a time that overflows", "ping_interval = 18446744073709551615d",
      ":1: ping_interval = 18446744073709551615d is out of range.", NULL },
    { "a time of too many digits", "ping_interval = 99999999999999999999",
      ":1: ping_interval = 99999999999999999999 is out of", NULL },
    { "a size with a wrong unit", "limits { message = 5kb }", ":1: limits.message = '5kb' is not a size.",
      "with k, m or g" },
    { "a size without a number", "limits { message = k }", ":1: limits.message = 'k' is not a size.", NULL },
    { "a size above its range", "limits { message = 2g }",
      ":1: limits.message = 2g is out of range. It must be 1 to 256m.", NULL },
    { "a size below its range", "limits { outq = 1k }", ":1: limits.outq = 1k is out of range. It must be 4k to 1g.",
      NULL },
    { "a size that overflows", "limits { message = 17179869185g }",
      ":1: limits.message = 17179869185g is out of range.", NULL },
    { "a switch", "console = maybe", ":1: console = 'maybe' is not known. It must be on or off.", NULL },
    { "a switch as a number", "console = 1", ":1: console = '1' is not known. It must be on or off.", NULL },
    { "a word", "log_level = warning", ":1: log_level = 'warning' is not known. It must be error, warn, info or debug.",
      NULL },
    { "a mode", "backend b { mode = 0888 }", ":1: backend.mode = '0888' is not a file mode.", "octal, as in 0660" },
    { "a mode with more bits", "backend b { mode = 1777 }", ":1: backend.mode = '1777' is not a file mode.", NULL },
    /* addresses */
    { "a port alone", "listen 8080 { }", ":1: listen: '8080' is a port without a host.", "*:8080" },
    { "no host", "listen \":8080\" { }", ":1: listen: The host is missing.", "*:8080" },
    { "no port", "listen 127.0.0.1 { }", ":1: listen: '127.0.0.1' is not an address.", "127.0.0.1:8080" },
    { "an empty port", "listen 127.0.0.1: { }", ":1: listen: '' is not a port.", NULL },
    { "a port by name", "listen 127.0.0.1:http { }", ":1: listen: 'http' is not a port. It must be 0 to 65535", NULL },
    { "a port too large", "listen 127.0.0.1:65536 { }", ":1: listen: '65536' is not a port.", NULL },
    { "IPv4 out of range", "listen 127.0.0.256:80 { }",
      ":1: listen: '127.0.0.256' is neither an IP address nor a host name.", NULL },
    { "IPv6 without brackets", "listen ::1:80 { }", ":1: listen: An IPv6 address stands in brackets", NULL },
    { "brackets without IPv6", "listen \"[1.2.3.4]:80\" { }", ":1: listen: '1.2.3.4' is not an IPv6 address.", NULL },
    { "brackets without a port", "listen \"[::1]\" { }", ":1: listen: '[::1]' is not an address.", NULL },
    { "brackets not closed", "listen \"[::1:80\" { }", ":1: listen: '[::1:80' is not an address.", NULL },
    { "a host name with a space", "listen \"a b:80\" { }", ":1: listen: 'a b' is neither", NULL },
    { "an URL", "listen \"http://localhost:80\" { }", ":1: listen: An IPv6", NULL },
    { "an empty address", "listen \"\" { }", ":1: listen: '' is not an address.", NULL },
    { "an empty socket path", "listen \"unix:\" { }", ":1: listen: The path of the Unix socket is empty.", NULL },
    { "an empty socket path", "backend \"\" { }", ":1: backend: The path of the Unix socket is empty.", NULL },
    { "a directory for a socket", "backend \"/run/\" { }", ":1: backend: '/run/' is a directory.", NULL },
    { "one address, two spellings", "listen \"[::1]:80\" { }\nlisten \"[0::1]:80\" { }",
      ":2: listen \"[0::1]:80\" is the same address as", NULL },
    { "one host, two spellings", "listen h:80 { }\nlisten H:80 { }",
      ":2: listen \"H:80\" is the same address as \"h:80\".", NULL },
    { "one path, two spellings", "backend p { }\nbackend \"unix:p\" { }",
      ":2: backend \"unix:p\" is the same address as \"p\".", NULL },
    { "one path, two doors", "listen unix:p { }\nbackend p { }", ":2: backend \"p\" is the same address as \"unix:p\".",
      NULL },
    { "a user that does not exist", "user = no-such-user", ":1: user: There is no user 'no-such-user' on this machine.",
      NULL },
    { "a group that does not exist", "\ngroup = no-such-group",
      ":2: group: There is no group 'no-such-group' on this machine.", NULL },
    { "a socket's owner", "backend b { owner = no-such-user }", ":1: backend.owner: There is no user", NULL },
    { "a socket's group", "backend b { group = no-such-group }", ":1: backend.group: There is no group", NULL },
    { "an allowed user", "backend b { allow_uid = { 0, no-such-user } }", ":1: backend.allow_uid: There is no user",
      NULL },
    { "the user that chown() takes for nobody in particular", "backend b { owner = 4294967295 }",
      ":1: backend.owner: There is", NULL },
    { "a backend that others can reach, without keys", "backend 0.0.0.0:6380 { }",
      ":1: backend \"0.0.0.0:6380\": without key_file whoever reaches this address could publish. Add key_file = ", "listen on 127.0.0.1." },
    { "a backend on every address, without keys", "\nbackend \"*:6380\" { }", ":2: backend \"*:6380\": without key_file whoever reaches", NULL },
    { "a backend on IPv6, without keys", "backend \"[::]:6380\" { }", ":1: backend \"[::]:6380\": without key_file whoever reaches", NULL },
    { "a backend by name, without keys", "backend halley.example:6380 { }", ":1: backend \"halley.example:6380\": without key_file", NULL },
    { "a secret of tokens that is not there", "auth {\njwt_key_file = /nonexistent/key }",
      ":2: auth.jwt_key_file: /nonexistent/key: cannot be opened: No such file or directory.", NULL },
    { "a cookie that no browser sends", "auth {\ncookie = \"a b\" }", ":2: auth.cookie: 'a b' is no cookie's name. Write letters", NULL },
    { "no key file", "backend b { key_file = \"\" }", ":1: backend.key_file is empty. Name a file, or leave it out.", NULL },
    { "a key file that is not there", "backend 0.0.0.0:6380 {\nkey_file = /nonexistent/key }",
      ":1: backend.key_file: /nonexistent/key: cannot be opened: No such file or directory.", NULL },
    { "the mode of a TCP address", "backend 127.0.0.1:6380 { mode = 0600 }",
      ":1: 'backend.mode' is for Unix sockets, and backend \"127.0.0.1:6380\" is none. Take it out; key_file says who may come in.", NULL },
    { "the owner of a TCP address", "backend 127.0.0.1:6380 { owner = root }", ":1: 'backend.owner' is for Unix sockets", NULL },
    { "the group of a TCP address", "backend 127.0.0.1:6380 { group = root }", ":1: 'backend.group' is for Unix sockets", NULL },
    { "the uids of a TCP address", "backend 127.0.0.1:6380 { allow_uid = { 0 } }", ":1: 'backend.allow_uid' is for Unix sockets", NULL },
    { "one address, two backends", "backend 127.0.0.1:6380 { }\nbackend \"127.0.0.1:06380\" { }", ":2: backend \"127.0.0.1:06380\" is the same address as",
      NULL },
    { "one address, two doors", "listen 127.0.0.1:6380 { }\nbackend localhost:6379 { }\nbackend 127.0.0.1:6380 { }",
      ":3: backend \"127.0.0.1:6380\" is the same address as", NULL },
    { "a key file outside of a backend", "key_file = a", ":1: 'key_file' does not belong here, but into a section: backend.", NULL },
    /* proxies */
    { "a network that is none", "trusted_proxies = { \"10.0.0.0/8\", proxy.example.com }", ":1: trusted_proxies: 'proxy.example.com' ", NULL },
    { "a network with bits behind its prefix", "trusted_proxies = 10.0.0.1/8", ":1: trusted_proxies: '10.0.0.1/8' ", NULL },
    { "the PROXY protocol from nobody", "\nlisten 127.0.0.1:80 { proxy_protocol = on }",
      ":2: listen \"127.0.0.1:80\": proxy_protocol takes trusted proxies alone, and there are none. Name them in trusted_proxies.", NULL },
    /* TLS; what is wrong with a file is told by test_tls_context */
    { "a certificate that is not there", "\nlisten 127.0.0.1:80 { tls_certificate = /nowhere/a.pem }",
      ":2: listen \"127.0.0.1:80\": The file '/nowhere/a.pem' cannot be read: No such file or directory; write its path as it is, from / on.", NULL },
    { "a key without its certificate", "listen 127.0.0.1:80 { tls_key = a.pem }", ":1: listen \"127.0.0.1:80\" has a tls_key and no tls_certificate. Name the certificate", NULL },
    { "two certificates and one key", "listen 127.0.0.1:80 { tls_certificate = { a, b } tls_key = a }",
      ":1: listen \"127.0.0.1:80\" names 2 certificates and 1 keys. Name a key for each certificate, in the same order.", NULL },
    { "clients' certificates without TLS", "listen 127.0.0.1:80 { tls_client_ca = a }", ":1: listen \"127.0.0.1:80\" has a tls_client_ca and no tls_certificate", NULL },
    { "clients' certificates of nobody", "listen 127.0.0.1:80 { tls_certificate = a tls_client = optional }", ":1: listen \"127.0.0.1:80\" has tls_client and no tls_client_ca.", NULL },
    { "an empty name", "listen 127.0.0.1:80 { tls_certificate = \"\" }", ":1: listen.tls_certificate is empty. Name a file, or leave it out.", NULL },
    { "a word that is none", "listen 127.0.0.1:80 { tls_client = sometimes }", ":1: listen.tls_client = 'sometimes' is not known. It must be optional or required.", NULL },
    { "TLS on a Unix socket", "backend /tmp/a.sock { tls_certificate = a }", ":1: backend \"/tmp/a.sock\" is a Unix socket, where nobody listens in.", NULL },
    { "no burst at all", "limits { publish_burst = 0 }", ":1: limits.publish_burst = 0 is out of range. It must be 1 to 1000000.", NULL },
    { "more bytes than are counted", "limits { publish_bytes = 5g }", ":1: limits.publish_bytes = 5g is out of range.", NULL },
    /* origins (RFC 6454 6.2) */
    { "an origin without a scheme", "origins = example.com", ":1: origins: 'example.com' is not an origin.",
      "https://host:port" },
    { "an origin with a path", "origins = \"https://example.com/app\"",
      ":1: origins: An origin ends with its host or port.", NULL },
    { "an origin with a slash", "origins = \"https://example.com/\"",
      ":1: origins: An origin ends with its host or port.", NULL },
    { "an origin in capitals", "origins = \"https://Example.com\"", ":1: origins: Browsers send origins in lower case",
      NULL },
    { "an origin with its own port", "origins = \"https://a.b:443\"", ":1: origins: Browsers leave out port 443",
      NULL },
    { "an origin with its own port", "origins = \"http://a.b:80\"", ":1: origins: Browsers leave out port 80", NULL },
    { "an origin without a host", "origins = \"https://\"", ":1: origins: '' is not a host.", NULL },
    { "an origin with a bad port", "origins = \"https://a.b:0\"", ":1: origins: '0' is not a port.", NULL },
    { "an origin with another wildcard", "origins = \"https://a.*.b\"", ":1: origins: 'a.*.b' is not a host.", NULL },
    { "an origin that is all wildcard", "origins = \"https://*\"", ":1: origins: '*' is not a host.", NULL },
    { "another scheme", "origins = \"ws://a.b\"", ":1: origins: 'ws://a.b' is not an origin.", NULL },
    /* rules and paths */
    { "a star in the middle", "\ntopics \"a*b\" { }",
      ":2: topics \"a*b\": '*' must be the last character of its level.", "chat/**" },
    { "two stars before the end", "topics \"**/a\" { }", ":1: topics \"**/a\": '**' must be the whole last level.",
      NULL },
    { "an empty pattern", "topics \"\" { }", ":1: topics \"\": the name is empty.", NULL },
    { "a pattern that is not UTF-8", "topics \"\xff\" { }", ":1: topics \"\\xff\": the name is not valid UTF-8.",
      NULL },
    { "who", "topics \"a\" { publish = everyone }",
      ":1: topics.publish = 'everyone' is not known. It must be nobody, backend, token or "
      "anyone.",
      NULL },
    { "on_slow", "topics \"a\" { on_slow = wait }",
      ":1: topics.on_slow = 'wait' is not known. It must be catch_up, drop_oldest, conflate or disconnect.", NULL },
    { "history too long", "topics \"a\" { history = 1000001 }",
      ":1: topics.history = 1000001 is out of range. It must be 0 to 1000000.", NULL },
    { "history without a number", "topics \"a\" { history = 5m }", ":1: topics.history = '5m' is not a whole number.",
      NULL },
    { "a mode of the journal's that is none", "journal { path = /j\nsync = often }", ":2: ", "interval" },
    { "an echo path without a slash", "echo echo { }", ":1: echo: The path 'echo' does not begin with '/'.", NULL },
    { "an echo path with a query", "echo \"/e?x\" { }", ":1: echo: The path '/e?x' contains more than plain letters.",
      NULL },
    { "an echo path that is taken", "echo /ws { }", ":1: echo: The path '/ws' is a door of Halley's own.", NULL },
};

START_TEST(a_mistake_is_named_with_its_line_and_what_would_be_right)
{
    struct config *c = load(bad[_i].text);
    ck_assert_msg(c == NULL, "%s: %s: was taken", bad[_i].name, bad[_i].text);
    ck_assert_msg(strncmp(error.text, NAME, strlen(NAME)) == 0, "%s: %s", bad[_i].name, error.text);
    const char *said = error.text + strlen(NAME);
    ck_assert_msg(strncmp(said, bad[_i].want, strlen(bad[_i].want)) == 0, "%s: %s\nwants: %s\nsays: %s", bad[_i].name,
                  bad[_i].text, bad[_i].want, said);
    if (bad[_i].also != NULL)
        ck_assert_msg(strstr(said, bad[_i].also) != NULL, "%s: %s\nsays: %s", bad[_i].name, bad[_i].text, said);
    const char *end = error.text + strlen(error.text) - 1;
    ck_assert_msg(*end == '.' || *end == '?', "not a sentence: %s", error.text);
}
END_TEST

/* The same file after a hundred lines with comments, each of which libconfuse would count twice. */
START_TEST(lines_are_right_far_down_in_the_file)
{
    char text[8192], want[512];
    unsigned line = 0;
    size_t n = 0;
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s",
                              i % 3 == 0   ? "/* a */ /* b */\n"
                              : i % 3 == 1 ? "# c\n"
                                           : "/* d\n */\n");
    for (size_t i = 0; i < n; i++)
        line += text[i] == '\n';
    snprintf(text + n, sizeof text - n, "%s", bad[_i].text);
    ck_assert_ptr_null(load(text));
    snprintf(want, sizeof want, ":%u:%s", line + (unsigned)strtoul(bad[_i].want + 1, NULL, 10),
             strchr(bad[_i].want + 1, ':') + 1);
    if (strstr(want, "at line") == NULL) /* those lines have moved, too */
        ck_assert_msg(strncmp(error.text + strlen(NAME), want, strlen(want)) == 0, "wants %s\nsays %s", want,
                      error.text);
}
END_TEST

START_TEST(nothing_is_ever_printed_by_the_library)
{
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path), saved[2] = { dup(1), dup(2) };
    unlink(path);
    dup2(fd, 1);
    dup2(fd, 2);
    for (size_t i = 0; i < HLY_ARRAY_LEN(bad); i++)
        config_free(load(bad[i].text));
    fflush(stdout);
    struct stat st;
    fstat(fd, &st);
    dup2(saved[0], 1);
    dup2(saved[1], 2);
    close(saved[0]);
    close(saved[1]);
    close(fd);
    ck_assert_int_eq(st.st_size, 0);
}
END_TEST

/* ---- what is legal but not meant */

static const struct {
    const char *text;
    const char *want; /* NULL: no warning */
} warned[] = {
    { "topics \"a\" { history_ttl = 5s }", NAME ":1: topics \"a\": history_ttl has no effect without history." },
    { "topics \"a\" { history_ttl = 5s history = 1 }", NULL },
    { "journal {\nsync = always }", NAME ":2: there is no journal, for it has no path." },
    { "journal {\npath = /var/lib/halley\nsync = always }", NULL },
    { "topics \"a\" { history = 1 }", NULL },
    { "topics \"**\" { }\ntopics \"a\" { }", NAME ":2: topics \"a\" is never used: \"**\" on line 1 comes first" },
    { "topics \"a/*\" { }\ntopics \"a/b\" { }", NAME ":2: topics \"a/b\" is never used: \"a/*\" on line 1" },
    { "topics \"a/b\" { }\ntopics \"a/*\" { }", NULL },
    { "topics \"a/*\" { }\ntopics \"a/**\" { }", NULL },
    { "topics \"a:*\" { }\ntopics \"a:b*\" { }", NAME ":2: topics \"a:b*\" is never used" },
    { "topics \"u/{sub}\" { }\ntopics \"u/x\" { }", NAME ":2: topics \"u/x\" is never used: \"u/{sub}\" on line 1" },
    { "topics \"u/*\" { }\ntopics \"u/{sub}\" { }", NAME ":2: topics \"u/{sub}\" is never used" },
    { "topics \"**\" { }\ntopics \"$halley/connect\" { }", NULL },
    { "topics \"u-{sub}\" { }", NAME ":1: topics \"u-{sub}\": {sub} stands for a subject only as a whole level" },
    { "topics \"{sub}\" { }", NULL },
    { "topics \"a/{sub}/b\" { }", NULL },
    { "topics \"a\" { subscribe = token }", NAME ":1: topics \"a\": no token can be checked without auth" },
    { "topics \"a\" { publish = token }", NAME ":1: topics \"a\": no token can be checked without auth" },
    { "backend b { mode = 0666 }", NAME ":1: backend \"b\": with mode 0666 every user of this machine may publish." },
    { "backend b { mode = 0666 allow_uid = { 0 } }", NULL },
    { "backend b { mode = 0660 }", NULL },
    { "topics a { presence_grace = 5s }", NAME ":1: topics \"a\": presence_grace has no effect without presence. Set presence = true." },
    { "backend 127.0.0.1:6380 { }", NAME ":1: backend \"127.0.0.1:6380\": without key_file every user of this machine may publish." },
    { "backend localhost:6380 { }", NAME ":1: backend \"localhost:6380\": without key_file every user of this machine" },
    { "backend \"[::1]:6380\" { }", NAME ":1: backend \"[::1]:6380\": without key_file every user of this machine" },
    { "backend 127.1.2.3:0 { }", NAME ":1: backend \"127.1.2.3:0\": without key_file every user of this machine" },
    { "\nping_interval = 75s", NAME ":2: ping_interval = 75s is not less than idle_timeout = 75s" },
    { "\nidle_timeout = 20s", NAME ":2: ping_interval = 25s is not less than idle_timeout = 20s" },
    { "limits { message = 16m }", NAME ":1: limits.message = 16m is not less than limits.backend_command = 16m" },
    { "limits { outq = 1g }", NAME ":1: limits.outq = 1g is not less than limits.outq_total = 1g" },
};

START_TEST(what_cannot_be_meant_is_a_warning)
{
    struct config *c = load_fine(warned[_i].text);
    if (warned[_i].want == NULL) {
        ck_assert_msg(c->warning_count == 0, "%s", c->warning_count > 0 ? c->warnings[0] : "");
    } else {
        ck_assert_msg(c->warning_count > 0, "no warning: %s", warned[_i].text);
        ck_assert_msg(strncmp(c->warnings[0], warned[_i].want, strlen(warned[_i].want)) == 0, "wants %s\nsays %s",
                      warned[_i].want, c->warnings[0]);
    }
    config_free(c);
}
END_TEST

/* ---- key files */

static char key_path[64];

static void write_keys(const char *text, mode_t mode)
{
    snprintf(key_path, sizeof key_path, "/tmp/halley-test-config-%ld.key", (long)getpid());
    unlink(key_path);
    int fd = open(key_path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

#define JWK_SET "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"}]}"

static const struct {
    const char *name, *config, *keys;
    mode_t mode;
    const char *want; /* all that is said, with KEYS for the file's path; NULL: nothing */
    bool is_fine;
} key_files[] = {
    { "on loopback", "backend 127.0.0.1:6380 { key_file = KEYS }", "0123456789abcdef\n", 0600, NULL, true },
    { "on a Unix socket", "backend b { key_file = KEYS }", "uid=0\n", 0600, NULL, true },
    { "where others listen", "backend 0.0.0.0:6380 { key_file = KEYS }", "0123456789abcdef\n", 0600,
      NAME ":1: backend \"0.0.0.0:6380\": keys and messages cross the network in the clear. Use tls_certificate, or a network that you trust.", true },
    { "readable to everyone", "backend 127.0.0.1:6380 { key_file = KEYS }", "0123456789abcdef\n", 0644,
      NAME ":1: backend.key_file: KEYS: everyone on this machine may read these keys (mode 0644). Say chmod 0640 on it.", true },
    { "uids on TCP", "\nbackend 127.0.0.1:6380 { key_file = KEYS }", "0123456789abcdef\nuid=0\n", 0600,
      NAME ":2: backend \"127.0.0.1:6380\": the uid lines of its key_file have no effect: the peers of a TCP address have no uid.", true },
    { "uids that a Unix socket uses too", "backend 127.0.0.1:6380 { key_file = KEYS }\nbackend b { key_file = KEYS }",
      "0123456789abcdef\nuid=0\n", 0600, NULL, true },
    { "uids alone on TCP", "backend 127.0.0.1:6380 { key_file = KEYS }", "uid=0\n", 0600,
      NAME ":1: backend.key_file: KEYS has no key, but uid lines, and the peers of a TCP address have no uid. Add a key.", false },
    { "a mistake in it", "\n\nbackend b { key_file = KEYS }", "# mine\n0123\n", 0600,
      NAME ":3: backend.key_file: KEYS:2: The key has 4 characters. It must have 16 to 512; openssl rand -hex 32 makes a good one.", false },
    { "a secret of tokens", "auth { jwt_key_file = KEYS }", "0123456789abcdef0123456789abcdef\n", 0600, NULL, true },
    { "one that everyone may read", "auth {\njwt_key_file = KEYS }", "0123456789abcdef0123456789abcdef\n", 0644,
      NAME ":2: auth.jwt_key_file: KEYS: everyone on this machine may read this secret (mode 0644), and so make tokens. Say chmod 0640 on it.", true },
    { "one that is too short", "auth {\njwt_key_file = KEYS }", "0123456789abcdef\n", 0600,
      NAME ":2: auth.jwt_key_file: KEYS: the key is too short for an HMAC secret: it must have at least 32 bytes, as from: openssl rand -base64 48.",
      false },
    { "a JWK Set", "auth { jwks_file = KEYS }", JWK_SET, 0600, NULL, true },
    { "a page that was fetched in its place", "auth { jwks_file = KEYS }", "<!DOCTYPE html><title>404 Not Found</title>\n", 0600,
      NAME ":1: auth.jwks_file: KEYS: is no JWK Set, which is a JSON object with an array \"keys\". A secret or a key in PEM belongs into jwt_key_file.",
      false },
    { "a key in PEM in its place", "auth { jwks_file = KEYS }", "-----BEGIN PUBLIC KEY-----\n", 0600,
      NAME ":1: auth.jwks_file: KEYS: is no JWK Set, which is a JSON object with an array \"keys\". A secret or a key in PEM belongs into jwt_key_file.",
      false },
    { "one that is none", "auth { jwks_file = KEYS }", "{\"keys\":7}", 0600, NAME ":1: auth.jwks_file: KEYS: is no JWK Set: its \"keys\" is not an array.", false },
};

/* The text with the file's path for each KEYS; freed by the caller. */
static char *with_path(const char *text)
{
    char *out = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&out, &len);
    for (const char *at; (at = strstr(text, "KEYS")) != NULL; text = at + 4)
        fprintf(f, "%.*s%s", (int)(at - text), text, key_path);
    fputs(text, f);
    fclose(f);
    return out;
}

START_TEST(a_key_file_is_read_with_the_config)
{
    write_keys(key_files[_i].keys, key_files[_i].mode);
    char *text = with_path(key_files[_i].config), *want = with_path(key_files[_i].want == NULL ? "" : key_files[_i].want);
    struct config *c = load(text);
    unlink(key_path);
    ck_assert_msg((c != NULL) == key_files[_i].is_fine, "%s: %s", key_files[_i].name, error.text);
    if (c == NULL) {
        ck_assert_str_eq(error.text, want);
    } else if (want[0] == '\0') {
        ck_assert_msg(c->warning_count == 0, "%s: %s", key_files[_i].name, c->warning_count > 0 ? c->warnings[0] : "");
    } else {
        ck_assert_uint_eq(c->warning_count, 1);
        ck_assert_str_eq(c->warnings[0], want);
    }
    if (c != NULL && c->backends[0].key_file != NULL)
        ck_assert_ptr_nonnull(c->backends[0].keys);
    config_free(c);
    free(text);
    free(want);
}
END_TEST

START_TEST(a_key_file_is_printed_by_its_name_alone)
{
    write_keys("0123456789abcdef name=billing\n", 0600);
    char *text = with_path("backend 127.0.0.1:6380 { key_file = KEYS }\nbackend b { key_file = KEYS mode = 0600 }");
    struct config *c = load_fine(text);
    char *out = printed(c), *first = with_path("backend \"127.0.0.1:6380\" { key_file = \"KEYS\" }"),
         *second = with_path("backend \"b\" { mode = 0600  key_file = \"KEYS\" }");
    ck_assert_msg(strstr(out, first) != NULL && strstr(out, second) != NULL, "%s", out);
    ck_assert_ptr_null(strstr(out, "0123456789abcdef"));
    config_free(c);
    c = load_fine(out); /* and it can be loaded again */
    config_free(c);
    unlink(key_path);
    free(out);
    free(first);
    free(second);
    free(text);
}
END_TEST

/* ---- what this version refuses */

START_TEST(what_is_not_supported_yet_is_refused)
{
    const struct config_refusal *refusal = &config_refusals[_i];
    char key[64], text[256];
    snprintf(key, sizeof key, "%s", refusal->key);
    if (strchr(key, '*') != NULL)
        strcpy(strchr(key, '*'), "certificate");
    char *dot = strchr(key, '.');
    if (dot == NULL)
        snprintf(text, sizeof text, "%s = 1", key);
    else if (strncmp(key, "limits", 6) == 0)
        snprintf(text, sizeof text, "limits { %s = 1 }", dot + 1);
    else
        snprintf(text, sizeof text, "%.*s \"%s\" { %s = %s }", (int)(dot - key), key,
                 strncmp(key, "listen", 6) == 0 ? "127.0.0.1:1" : "x", dot + 1,
                 refusal->value == NULL ? "1" : refusal->value);
    ck_assert_msg(load(text) == NULL, "%s", text);
    ck_assert_msg(strstr(error.text, "is not supported by this version") != NULL, "%s: %s", text, error.text);
    ck_assert_msg(strstr(error.text, key) != NULL, "%s: %s", text, error.text);
}
END_TEST

START_TEST(a_section_that_is_not_supported_is_refused_by_name)
{
    ck_assert_ptr_null(load("reactors = 1\nengine redis { }"));
    ck_assert_str_eq(error.text,
                     NAME ":2: 'engine' is not supported by this version. Take it out: it would not be in force.");
}
END_TEST

START_TEST(rules_take_every_key_once_it_is_supported)
{
    static const char text[] = "topics \"room/**\" { presence = true join_leave = on presence_grace = 5s events = yes\n"
                               "stamp = { sender, time } on_slow = conflate }\n"
                               "topics \"b\" { on_slow = drop_oldest stamp = time }";
    struct config *c = config_load_text(NAME, text, strlen(text), NULL, NULL, nothing_refused, &error);
    ck_assert_msg(c != NULL, "%s", error.text);
    const struct rule *r = &c->rule_list[0];
    ck_assert(r->presence && r->join_leave && r->events && r->stamp_sender && r->stamp_time);
    ck_assert_uint_eq(r->presence_grace_ms, 5000);
    ck_assert_int_eq(r->on_slow, RULE_CONFLATE);
    ck_assert_int_eq(c->rule_list[1].on_slow, RULE_DROP_OLDEST);
    ck_assert(c->rule_list[1].stamp_time && !c->rule_list[1].stamp_sender);
    config_free(c);
    static const char wrong[] = "topics \"a\" { stamp = { sender, place } }";
    ck_assert_ptr_null(config_load_text(NAME, wrong, strlen(wrong), NULL, NULL, nothing_refused, &error));
    ck_assert_str_eq(error.text, NAME ":1: topics.stamp: 'place' is not known. It must be sender or time.");
}
END_TEST

/* ---- environment and flags */

static const char override_file[] =
    "reactors = 2\nlimits { connections = 20 message = 2k }\nlisten f:1 { } listen f:2 { }\n"
    "backend f { mode = 0600 }\norigins = { \"https://f\" }\necho /f { }\nuser = root";

static const struct {
    const char *name;
    const char *environment[4];
    const char *flags[4];
    const char *want; /* a line of --print-config, or how the error begins */
    bool fails;
} overrides[] = {
    { "file over default", { NULL }, { NULL }, "reactors = 2 # test.conf:1", false },
    { "environment over file", { "HALLEY_REACTORS=3" }, { NULL }, "reactors = 3 # environment HALLEY_REACTORS", false },
    { "flag over environment", { "HALLEY_REACTORS=3" }, { "reactors=4" }, "reactors = 4 # flag --set reactors", false },
    { "flag over file", { NULL }, { "reactors=auto" }, "reactors = auto # flag --set reactors", false },
    { "the last flag wins", { NULL }, { "reactors=5", "reactors=6" }, "reactors = 6 # flag", false },
    { "a limit from the environment",
      { "HALLEY_LIMITS_CONNECTIONS=30" },
      { NULL },
      "    connections = 30 # environment HALLEY_LIMITS_CONNECTIONS",
      false },
    { "a limit from a flag", { NULL }, { "limits.message=3k" }, "    message = 3k # flag --set limits.message", false },
    { "what is not overridden stays",
      { "HALLEY_LIMITS_CONNECTIONS=30" },
      { NULL },
      "    message = 2k # test.conf:2",
      false },
    { "a string, emptied", { "HALLEY_USER=" }, { NULL }, "user = \"\" # environment HALLEY_USER", false },
    { "listen, replaced whole",
      { "HALLEY_LISTEN=127.0.0.1:1, [::1]:2 ,unix:p" },
      { NULL },
      "listen \"127.0.0.1:1\" { } # environment HALLEY_LISTEN\nlisten \"[::1]:2\" { } # environment HALLEY_LISTEN\n"
      "listen \"unix:p\" { } # environment HALLEY_LISTEN\nbackend",
      false },
    { "listen from a flag over the environment",
      { "HALLEY_LISTEN=e:1" },
      { "listen=g:1,g:2" },
      "listen \"g:1\" { } # flag --set listen\nlisten \"g:2\" { } # flag --set listen\nbackend",
      false },
    { "backend, with the default mode",
      { "HALLEY_BACKEND=b1,b2" },
      { NULL },
      "backend \"b1\" { mode = 0660 } # environment HALLEY_BACKEND\n"
      "backend \"b2\" { mode = 0660 } # environment HALLEY_BACKEND\norigins",
      false },
    { "origins",
      { "HALLEY_ORIGINS=https://a,https://b" },
      { NULL },
      "origins = { \"https://a\", \"https://b\" } # environment HALLEY_ORIGINS",
      false },
    { "trusted_proxies",
      { "HALLEY_TRUSTED_PROXIES=10.0.0.0/8, unix" },
      { NULL },
      "trusted_proxies = { \"10.0.0.0/8\", \"unix\" } # environment HALLEY_TRUSTED_PROXIES",
      false },
    { "origins, emptied", { "HALLEY_ORIGINS=" }, { NULL }, "origins = { } # environment HALLEY_ORIGINS", false },
    { "echo", { "HALLEY_ECHO=/e" }, { NULL }, "echo \"/e\" { } # environment HALLEY_ECHO\nconsole", false },
    { "other variables", { "PATH=/bin", "HALLEYREACTORS=1", "" }, { NULL }, "reactors = 2 # test.conf:1", false },
    { "a bad value",
      { "HALLEY_REACTORS=x" },
      { NULL },
      "HALLEY_REACTORS: reactors = 'x' is not a whole number.",
      true },
    { "an empty value",
      { "HALLEY_REACTORS=" },
      { NULL },
      "HALLEY_REACTORS: reactors = '' is not a whole number.",
      true },
    { "out of range",
      { "HALLEY_LIMITS_OUTQ=1" },
      { NULL },
      "HALLEY_LIMITS_OUTQ: limits.outq = 1 is out of range. It must be 4k to 1g.",
      true },
    { "a bad address",
      { "HALLEY_LISTEN=8080" },
      { NULL },
      "HALLEY_LISTEN: listen: '8080' is a port without a host.",
      true },
    { "no address", { "HALLEY_LISTEN= ," }, { NULL }, "HALLEY_LISTEN: The list is empty.", true },
    { "an address twice", { "HALLEY_LISTEN=a:1,a:1" }, { NULL }, "HALLEY_LISTEN: 'a:1' is there twice.", true },
    { "an address twice in two spellings",
      { "HALLEY_LISTEN=a:1,A:1" },
      { NULL },
      "HALLEY_LISTEN: listen \"A:1\" is the same address",
      true },
    { "a bad origin", { "HALLEY_ORIGINS=a" }, { NULL }, "HALLEY_ORIGINS: origins: 'a' is not an origin.", true },
    { "a user that does not exist",
      { "HALLEY_USER=no-such-user" },
      { NULL },
      "HALLEY_USER: user: There is no user",
      true },
    { "a control character",
      { "HALLEY_LISTEN=unix:a\nb" },
      { NULL },
      "HALLEY_LISTEN: listen: The socket path 'a\\x0ab' contains control",
      true },
    { "a bad flag", { NULL }, { "reactors=x" }, "--set reactors: reactors = 'x' is not a whole number.", true },
    { "a flag without a value", { NULL }, { "reactors" }, "--set KEY=VALUE: 'reactors' has no '='.", true },
    { "an unknown flag",
      { NULL },
      { "limits.conections=1" },
      "--set KEY=VALUE: There is no setting 'limits.conections'. Did you mean "
      "'limits.connections'?",
      true },
    { "a flag for what is repeated",
      { NULL },
      { "topics.history=1" },
      "--set KEY=VALUE: 'topics.history' can only be set in the file.",
      true },
    { "a flag for a section",
      { NULL },
      { "limits=1" },
      "--set KEY=VALUE: 'limits' can only be set in the file.",
      true },
    { "a flag for what is not supported",
      { NULL },
      { "engine=redis" },
      "--set KEY=VALUE: 'engine' is not supported by this version.",
      true },
    { "an empty flag", { NULL }, { "=" }, "--set KEY=VALUE: There is no setting ''.", true },
};

START_TEST(flags_go_over_environment_over_file_over_default)
{
    struct config *c =
        config_load_text(NAME, override_file, strlen(override_file), (char *const *)overrides[_i].environment,
                         (char *const *)overrides[_i].flags, config_refusals, &error);
    if (overrides[_i].fails) {
        ck_assert_msg(c == NULL, "%s: was taken", overrides[_i].name);
        ck_assert_msg(strncmp(error.text, overrides[_i].want, strlen(overrides[_i].want)) == 0, "%s: says %s",
                      overrides[_i].name, error.text);
        return;
    }
    ck_assert_msg(c != NULL, "%s: %s", overrides[_i].name, error.text);
    char *text = printed(c);
    ck_assert_msg(has_line(text, overrides[_i].want), "%s prints:\n%s", overrides[_i].name, text);
    ck_assert_uint_eq(c->warning_count, 0);
    free(text);
    config_free(c);
}
END_TEST

/* Text that a setting takes: a user, a group, a file. */
static const char *some_text_for(enum config_id id)
{
    if (id == CONFIG_ID_auth_callback)
        return "unix:/run/app.sock:/who";
    if (id != CONFIG_ID_jwt_key_file && id != CONFIG_ID_jwks_file)
        return "root";
    write_keys(JWK_SET, 0600);
    return key_path;
}

START_TEST(every_scalar_can_come_from_the_environment_and_from_a_flag)
{
    char name[96], variable[192], flag[192], value[64];
    const struct config_item *item = &config_items[_i];
    if (item->kind != CONFIG_IS_OPTION && item->kind != CONFIG_IS_STRING)
        return;
    config_item_environment((enum config_id)_i, name, sizeof name);
    snprintf(value, sizeof value, "%s", some_text_for((enum config_id)_i));
    if (item->kind == CONFIG_IS_OPTION)
        config_value_format(item, item->type < CONFIG_BOOL ? item->max : item->def, value, sizeof value);
    snprintf(variable, sizeof variable, "%s=%s", name, value);
    snprintf(flag, sizeof flag, "%s=%s", item->key, value);
    char *environment[] = { variable, NULL }, *flags[] = { flag, NULL };
    struct config *c = config_load(NULL, environment, &error), *d = config_load_with(NULL, NULL, flags, &error);
    unlink(key_path);
    ck_assert_msg(c != NULL && d != NULL, "%s: %s", item->key, error.text);
    ck_assert_int_eq(c->sources[_i].from, CONFIG_FROM_ENVIRONMENT);
    ck_assert_int_eq(d->sources[_i].from, CONFIG_FROM_FLAG);
    config_free(c);
    config_free(d);
}
END_TEST

START_TEST(an_unknown_variable_is_a_warning_that_keeps_its_value_to_itself)
{
    char *environment[] = { "HALLEY_LIMIT_CONNECTIONS=hunter2", "HALLEY_SECRET_THING=hunter2", "HALLEY_",
                            "HALLEY_=", NULL };
    struct config *c = config_load(NULL, environment, &error);
    ck_assert_msg(c != NULL, "%s", error.text);
    ck_assert_uint_eq(c->warning_count, 3);
    ck_assert_str_eq(c->warnings[0],
                     "the environment: HALLEY_LIMIT_CONNECTIONS is not a setting and has no effect. Did you mean "
                     "HALLEY_LIMITS_CONNECTIONS?");
    ck_assert_str_eq(c->warnings[1], "the environment: HALLEY_SECRET_THING is not a setting and has no effect.");
    for (size_t i = 0; i < c->warning_count; i++)
        ck_assert_ptr_null(strstr(c->warnings[i], "hunter2"));
    config_free(c);
}
END_TEST

START_TEST(a_very_long_variable_is_a_warning)
{
    char variable[10000] = "HALLEY_";
    memset(variable + 7, 'A', sizeof variable - 9);
    variable[sizeof variable - 2] = '=';
    variable[sizeof variable - 1] = '\0';
    char *environment[] = { variable, NULL };
    struct config *c = config_load(NULL, environment, &error);
    ck_assert_msg(c != NULL, "%s", error.text);
    ck_assert_uint_eq(c->warning_count, 1);
    config_free(c);
}
END_TEST

START_TEST(an_unknown_setting_keeps_its_value_to_itself)
{
    static const char *const secrets[] = { "auth { key = \"hunter2\" }", "authh = \"hunter2\"",
                                           "limits { secret = hunter2 }", "topics \"x\" { password = 'hunter2' }" };
    for (size_t i = 0; i < HLY_ARRAY_LEN(secrets); i++) {
        ck_assert_ptr_null(load(secrets[i]));
        ck_assert_msg(strstr(error.text, "hunter2") == NULL, "%s", error.text);
    }
}
END_TEST

/* ---- the table itself, and what is made of it */

START_TEST(every_setting_has_a_default_in_its_range_and_a_sentence)
{
    const struct config_item *item = &config_items[_i];
    ck_assert_ptr_nonnull(item->key);
    ck_assert_msg(item->doc != NULL && item->doc[strlen(item->doc) - 1] == '.', "%s", item->key);
    ck_assert_int_eq(config_item_find(item->key), _i);
    if (item->type < CONFIG_COUNT)
        return;
    const uint64_t values[] = { item->def, item->type < CONFIG_BOOL ? item->min : item->def,
                                item->type < CONFIG_BOOL ? item->max : item->def };
    for (size_t i = 0; i < HLY_ARRAY_LEN(values); i++) {
        char text[64];
        uint64_t back = 77777;
        struct config_why why = { "" };
        config_value_format(item, values[i], text, sizeof text);
        ck_assert_msg(config_value_parse(item, text, &back, &why) == 0, "%s: %s", item->key, why.text);
        ck_assert_uint_eq(back, values[i]);
    }
}
END_TEST

static const struct {
    const char *word;
    const char *candidate;
    size_t distance;
    bool close;
} words[] = {
    { "reactors", "reactors", 0, true },
    { "", "abc", 3, false },
    { "a", "", 1, true },
    { "kitten", "sitting", 3, false },
    { "saturday", "sunday", 3, false },
    { "ab", "ba", 1, true },
    { "abcdef", "abdcef", 1, true },
    { "ca", "abc", 3, false },
    { "max_connections", "connections", 4, true },
    { "user", "users", 1, true },
    { "nope", "echo", 4, false },
};

START_TEST(the_distance_of_words_counts_edits_and_swaps)
{
    struct config_nearest n;
    config_nearest_init(&n, words[_i].word);
    config_nearest_offer(&n, words[_i].candidate);
    ck_assert_msg(n.distance == words[_i].distance, "%s, %s: %zu", words[_i].word, words[_i].candidate, n.distance);
    ck_assert_int_eq(config_nearest_is_close(&n), words[_i].close);
}
END_TEST

static char *read_source(const char *path) /* the caller frees */
{
    char full[1024];
    const char *srcdir = getenv("srcdir");
    snprintf(full, sizeof full, "%s/%s", srcdir == NULL ? "." : srcdir, path);
    FILE *in = fopen(full, "r");
    ck_assert_msg(in != NULL, "%s: %s; run this from the top of the source tree, or name it in srcdir", full,
                  strerror(errno));
    char *text = calloc(1, 262144);
    ck_assert_ptr_nonnull(text);
    ck_assert_uint_lt(fread(text, 1, 262143, in), 262143);
    fclose(in);
    return text;
}

static void write_source(const char *path, const char *head, size_t head_len, const char *middle, const char *tail)
{
    char full[1024];
    const char *srcdir = getenv("srcdir");
    snprintf(full, sizeof full, "%s/%s", srcdir == NULL ? "." : srcdir, path);
    FILE *out = fopen(full, "w");
    ck_assert_msg(out != NULL, "%s: %s", full, strerror(errno));
    fwrite(head, 1, head_len, out);
    fputs(middle, out);
    fputs(tail, out);
    ck_assert_int_eq(fclose(out), 0);
}

START_TEST(conf_halley_conf_is_current)
{
    char *want = made_by(config_print_default_file);
    if (getenv("HALLEY_UPDATE") != NULL)
        write_source("conf/halley.conf", "", 0, want, "");
    char *is = read_source("conf/halley.conf");
    ck_assert_msg(strcmp(is, want) == 0, "conf/halley.conf is not current: run test_config with HALLEY_UPDATE=1");
    free(want);
    free(is);
}
END_TEST

START_TEST(the_manual_is_current)
{
    static const char path[] = "doc/man/halley.conf.5", begin[] = ".\\\" settings: begin\n",
                      end[] = ".\\\" settings: end\n";
    char *want = made_by(config_print_man), *is = read_source(path);
    char *from = strstr(is, begin);
    ck_assert_ptr_nonnull(from);
    from += strlen(begin);
    char *to = strstr(from, end);
    ck_assert_ptr_nonnull(to);
    bool current = (size_t)(to - from) == strlen(want) && memcmp(from, want, strlen(want)) == 0;
    if (!current && getenv("HALLEY_UPDATE") != NULL) {
        write_source(path, is, (size_t)(from - is), want, to);
        current = true;
    }
    free(want);
    free(is);
    ck_assert_msg(current, "%s is not current: run test_config with HALLEY_UPDATE=1", path);
}
END_TEST

START_TEST(the_default_file_says_what_is_built_in)
{
    char *text = made_by(config_print_default_file);
    struct config *built_in = config_load(NULL, NULL, &error), *c = load_fine(text);
    char *a = printed(built_in), *b = printed(c);
    cut_sources(a);
    cut_sources(b);
    ck_assert_str_eq(a, b);
    ck_assert_uint_eq(c->warning_count, 0);
    free(a);
    free(b);
    free(text);
    config_free(built_in);
    config_free(c);
}
END_TEST

/* Take out the # before `name = value` and `section "title"`, which has no space after it as sentences have. */
static void take_examples(char *text)
{
    for (char *p = text; *p != '\0'; p++) {
        bool line_begins = p == text || p[-1] == '\n' || p[-1] == ' ';
        if (line_begins && *p == '#' && p[1] >= 'a' && p[1] <= 'z')
            *p = ' ';
    }
}

START_TEST(the_commented_defaults_and_examples_are_right)
{
    char *text = made_by(config_print_default_file);
    take_examples(text);
    struct config *built_in = config_load(NULL, NULL, &error), *c = load_fine(text);
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        const struct config_item *item = &config_items[id];
        if (item->kind == CONFIG_IS_OPTION) {
            ck_assert_msg(c->sources[id].from == CONFIG_FROM_FILE, "%s is not in the file", item->key);
            ck_assert_msg(*config_option_of(c, id) == *config_option_of(built_in, id), "%s", item->key);
        }
        if (item->kind == CONFIG_IS_STRING)
            ck_assert_str_eq(*config_string_of(c, id), *config_string_of(built_in, id));
    }
    ck_assert_uint_eq(c->origin_count, 2);
    ck_assert_uint_eq(c->rule_count, 3);
    ck_assert_uint_eq(c->echo_count, 1);
    ck_assert_int_eq(rules_find(c->rules, "chat/42", 7)->publish, RULE_ANYONE);
    ck_assert_msg(c->warning_count == 0, "%s", c->warning_count > 0 ? c->warnings[0] : "");
    free(text);
    config_free(built_in);
    config_free(c);
}
END_TEST

START_TEST(a_reload_knows_what_takes_a_restart)
{
    char out[64], small[4];
    struct config *a = load_fine("reactors = 2\nlog_level = warn"),
                  *b = load_fine("reactors = 3\nuser = root\nlog_level = info");
    ck_assert_uint_eq(config_restart_needed(a, b, out, sizeof out), 2);
    ck_assert_str_eq(out, "reactors, user");
    ck_assert_uint_eq(config_restart_needed(a, b, small, sizeof small), 2);
    ck_assert_str_eq(small, "rea");
    ck_assert_uint_eq(config_restart_needed(a, a, out, sizeof out), 0);
    ck_assert_str_eq(out, "");
    config_free(a);
    config_free(b);
}
END_TEST

/* ---- files, and hostile ones */

START_TEST(a_file_is_read_from_disk)
{
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "reactors = 7", 12), 12);
    close(fd);
    struct config *c = config_load(path, NULL, &error);
    ck_assert_msg(c != NULL, "%s", error.text);
    ck_assert_uint_eq(c->reactors, 7);
    ck_assert_str_eq(c->path, path);
    config_free(c);
    unlink(path);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_named)
{
    ck_assert_ptr_null(config_load("/nonexistent/halley.conf", NULL, &error));
    ck_assert_str_eq(
        error.text,
        "/nonexistent/halley.conf: cannot be opened: No such file or directory. Name the file with --config.");
    ck_assert_ptr_null(config_load("/tmp", NULL, &error)); /* libconfuse's lexer would end the process */
    ck_assert_str_eq(error.text, "/tmp: is a directory. Name the file in it, as in /tmp/halley.conf.");
    ck_assert_ptr_null(config_load("", NULL, &error));
    ck_assert_msg(strstr(error.text, "cannot be opened") != NULL, "%s", error.text);
    ck_assert_ptr_null(config_load("/dev/zero", NULL, &error));
    ck_assert_msg(strstr(error.text, "is larger than 1048576 bytes") != NULL, "%s", error.text);
}
END_TEST

START_TEST(a_file_of_10_mb_is_refused)
{
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, 10 * 1024 * 1024), 0);
    close(fd);
    ck_assert_ptr_null(config_load(path, NULL, &error));
    ck_assert_msg(strstr(error.text, "is larger than 1048576 bytes") != NULL, "%s", error.text);
    unlink(path);
}
END_TEST

/* `head`, then `unit` as often as it fits into 1 MiB, then `tail`; %u in unit is a running number. */
static const struct {
    const char *name;
    const char *head;
    const char *unit;
    const char *tail;
    const char *want; /* NULL: it is fine */
} floods[] = {
    { "comments", "", "# a comment\n", "", NULL },
    { "block comments", "", "/* a */", "", NULL },
    { "one long comment, then many", "/*", "aaaaaaaaaaaaaaaa", "*/#\n#\n#\n", NULL },
    { "empty lines", "", "\n\r\t ", "", NULL },
    { "open braces", "", "a { ", "", "nested 9 deep" },
    { "closing braces", "", "}", "", "without its '{'" },
    { "a long word", "user = ", "aaaaaaaaaaaaaaaa", "", "longer than 4096 bytes" },
    { "a long string", "user = \"", "aaaaaaaaaaaaaaaa", "\"", "longer than 4096 bytes" },
    { "a long string of escapes", "user = \"", "\\\\", "\"", "longer than 4096 bytes" },
    { "many listens", "", "listen a%u:1 {}", "", "more than 1024 'listen' sections" },
    { "many backends", "", "backend a%u {}", "", "more than 1024 'backend' sections" },
    { "many rules", "", "topics a%u {}", "", "more than 1024 'topics' sections" },
    { "many echoes", "", "echo /a%u {}", "", "more than 1024 'echo' sections" },
    { "many limits", "", "limits {}", "", "is there twice" },
    { "many origins", "origins = {", "\"https://a%u\",", "}", "lists more than 1024" },
    { "many users", "backend b { allow_uid = {", "%u,", "}}", "lists more than 1024" },
    { "one setting", "", "reactors = 1\n", "", "is set twice: at line 1 and at line 2" },
    { "quotes", "", "\"\"", "", "There is an empty name" },
    { "commas", "", ",", "", "unexpected" },
};

START_TEST(a_flood_ends_soon_and_with_a_sentence)
{
    const size_t size = 1024 * 1024;
    char *text = malloc(size);
    size_t n = (size_t)sprintf(text, "%s", floods[_i].head);
    for (unsigned i = 0; n + 64 < size; i++) {
        _Pragma("GCC diagnostic push");
        _Pragma("GCC diagnostic ignored \"-Wformat-nonliteral\"");
        n += (size_t)snprintf(text + n, size - n, floods[_i].unit, i);
        _Pragma("GCC diagnostic pop");
    }
    n += (size_t)snprintf(text + n, size - n, "%s", floods[_i].tail);
    struct config *c = load_bytes(text, n);
    free(text);
    if (floods[_i].want == NULL)
        ck_assert_msg(c != NULL, "%s: %s", floods[_i].name, error.text);
    else
        ck_assert_msg(c == NULL && strstr(error.text, floods[_i].want) != NULL, "%s: %s", floods[_i].name, error.text);
    config_free(c);
}
END_TEST

START_TEST(the_most_rules_that_are_taken_are_loaded_in_time)
{
    static char text[65536];
    size_t n = 0;
    for (unsigned i = 0; i < CONFIG_MAX_ENTRIES; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "topics \"r%u/{sub}/**\" { }\n", i);
    struct config *c = load_bytes(text, n);
    ck_assert_msg(c != NULL, "%s", error.text);
    ck_assert_uint_eq(c->rule_count, CONFIG_MAX_ENTRIES);
    ck_assert_uint_eq(c->warning_count, 0);
    config_free(c);
}
END_TEST

START_TEST(every_control_byte_is_refused_outside_of_comments)
{
    for (unsigned byte = 0; byte < 0x20; byte++) {
        char word[] = "user = a?", string[] = "user = \"a?\"";
        if (byte == '\n' || byte == '\r' || byte == '\t')
            continue;
        word[8] = string[9] = (char)byte;
        HOLDS(load_bytes(word, sizeof word - 1) == NULL, "byte %u in a word was taken", byte);
        HOLDS(strstr(error.text, "byte 0x") != NULL, "%s", error.text);
        HOLDS(load_bytes(string, sizeof string - 1) == NULL, "byte %u in a string was taken", byte);
        HOLDS(strstr(error.text, "contains the byte 0x") != NULL, "%s", error.text);
    }
}
END_TEST

START_TEST(random_bytes_end_in_a_sentence)
{
    static const char alphabet[] = "{}()=+,\"'\\/*#$;:.|\n\r\t listentopicsorigins=0123456789kms\x01\xff\x00";
    uint64_t state = 88172645463325252u; /* xorshift64: the same bytes each time */
    for (int run = 0; run < 5000; run++) {
        char text[64];
        for (size_t i = 0; i < sizeof text; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text[i] = alphabet[state % (sizeof alphabet - 1)];
        }
        struct config *c = load_bytes(text, sizeof text);
        HOLDS(c != NULL || strncmp(error.text, NAME ":", strlen(NAME) + 1) == 0, "%s", error.text);
        config_free(c);
    }
}
END_TEST

static const char whole_file[] =
    "# everything that there is\n"
    "reactors = auto\nlisten \"0.0.0.0:8080\" { }\nlisten '[::1]:8443' { }\n"
    "backend \"/run/halley/backend.sock\" { mode = 0660  group = \"root\" allow_uid = { 0, \"root\" } }\n"
    "origins = { \"https://example.com\", \"*\" }\n"
    "/* rules */ topics \"user/{sub}/**\" { subscribe = token  publish = backend  history = 100  "
    "history_ttl = 1h  payload = json }\n"
    "topics \"**\" { subscribe = anyone  on_slow = catch_up  history = 32  history_ttl = 5m } // the rest\n"
    "limits { connections = 1000  message = 64k  handshake_timeout = 10s }\n"
    "idempotency_window = 5m\necho \"/echo\" { }\nconsole = on\nlog_level = info   log_format = json\n"
    "user = \"root\"\n";

START_TEST(a_file_cut_anywhere_loads_or_ends_in_a_sentence)
{
    config_free(load_fine(whole_file));
    for (size_t cut = 0; cut < sizeof whole_file - 1; cut++) {
        struct config *c = load_bytes(whole_file, cut);
        HOLDS(c != NULL || strncmp(error.text, NAME ":", strlen(NAME) + 1) == 0, "cut at %zu: %s", cut, error.text);
        config_free(c);
    }
}
END_TEST

/* As a reload does, from more than one thread: libconfuse's lexer is global. */
static void *load_often(void *arg)
{
    const bool *is_bad = arg;
    struct config_error mine;
    for (int i = 0; i < 50; i++) {
        const char *text = *is_bad ? "reactors = 1\n\nlimits { message = \"oops\" }" : whole_file;
        struct config *c = config_load_text(NAME, text, strlen(text), NULL, NULL, config_refusals, &mine);
        bool right = *is_bad ? c == NULL && strstr(mine.text, ":3: limits.message = 'oops'") != NULL
                             : c != NULL && c->rule_count == 2;
        config_free(c);
        if (!right)
            return "wrong";
    }
    return NULL;
}

START_TEST(loading_again_and_from_several_threads_is_fine)
{
    pthread_t threads[4];
    bool is_bad[4] = { false, true, false, true };
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, load_often, &is_bad[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        ck_assert_ptr_null(wrong);
    }
}
END_TEST

static size_t refusal_count(void)
{
    size_t n = 0;
    while (config_refusals[n].key != NULL)
        n++;
    return n;
}

static void add_reading(Suite *s)
{
    TCase *t = tcase_create("reading");
    tcase_add_test(t, without_a_file_the_built_in_defaults_apply);
    tcase_add_test(t, an_empty_file_is_as_good_as_none);
    tcase_add_loop_test(t, values_are_taken_with_their_place, 0, HLY_ARRAY_LEN(good));
    tcase_add_loop_test(t, what_is_printed_can_be_loaded_again, 0, HLY_ARRAY_LEN(good));
    tcase_add_test(t, addresses_are_split_into_host_port_and_path);
    tcase_add_test(t, rules_keep_the_order_of_the_file);
    tcase_add_test(t, a_socket_path_may_have_107_bytes);
    suite_add_tcase(s, t);
}

static void add_mistakes(Suite *s)
{
    TCase *t = tcase_create("mistakes");
    tcase_add_loop_test(t, a_mistake_is_named_with_its_line_and_what_would_be_right, 0, HLY_ARRAY_LEN(bad));
    tcase_add_loop_test(t, lines_are_right_far_down_in_the_file, 0, HLY_ARRAY_LEN(bad));
    tcase_add_test(t, nothing_is_ever_printed_by_the_library);
    tcase_add_loop_test(t, what_cannot_be_meant_is_a_warning, 0, HLY_ARRAY_LEN(warned));
    tcase_add_loop_test(t, a_key_file_is_read_with_the_config, 0, HLY_ARRAY_LEN(key_files));
    tcase_add_test(t, a_key_file_is_printed_by_its_name_alone);
    tcase_add_loop_test(t, what_is_not_supported_yet_is_refused, 0, (int)refusal_count());
    tcase_add_test(t, a_section_that_is_not_supported_is_refused_by_name);
    tcase_add_test(t, rules_take_every_key_once_it_is_supported);
    suite_add_tcase(s, t);
}

static void add_overrides(Suite *s)
{
    TCase *t = tcase_create("overrides");
    tcase_add_loop_test(t, flags_go_over_environment_over_file_over_default, 0, HLY_ARRAY_LEN(overrides));
    tcase_add_loop_test(t, every_scalar_can_come_from_the_environment_and_from_a_flag, 0, CONFIG_ID_COUNT);
    tcase_add_test(t, an_unknown_variable_is_a_warning_that_keeps_its_value_to_itself);
    tcase_add_test(t, a_very_long_variable_is_a_warning);
    tcase_add_test(t, an_unknown_setting_keeps_its_value_to_itself);
    suite_add_tcase(s, t);
}

static void add_table(Suite *s)
{
    TCase *t = tcase_create("table");
    tcase_add_loop_test(t, every_setting_has_a_default_in_its_range_and_a_sentence, 0, CONFIG_ID_COUNT);
    tcase_add_loop_test(t, the_distance_of_words_counts_edits_and_swaps, 0, HLY_ARRAY_LEN(words));
    tcase_add_test(t, conf_halley_conf_is_current);
    tcase_add_test(t, the_manual_is_current);
    tcase_add_test(t, the_default_file_says_what_is_built_in);
    tcase_add_test(t, the_commented_defaults_and_examples_are_right);
    tcase_add_test(t, a_reload_knows_what_takes_a_restart);
    suite_add_tcase(s, t);
}

static void add_hostile(Suite *s)
{
    TCase *t = tcase_create("hostile");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_file_is_read_from_disk);
    tcase_add_test(t, a_file_that_cannot_be_read_is_named);
    tcase_add_test(t, a_file_of_10_mb_is_refused);
    tcase_add_loop_test(t, a_flood_ends_soon_and_with_a_sentence, 0, HLY_ARRAY_LEN(floods));
    tcase_add_test(t, the_most_rules_that_are_taken_are_loaded_in_time);
    tcase_add_test(t, every_control_byte_is_refused_outside_of_comments);
    tcase_add_test(t, random_bytes_end_in_a_sentence);
    tcase_add_test(t, a_file_cut_anywhere_loads_or_ends_in_a_sentence);
    tcase_add_test(t, loading_again_and_from_several_threads_is_fine);
    suite_add_tcase(s, t);
}

int main(void)
{
    Suite *s = suite_create("config");
    add_reading(s);
    add_mistakes(s);
    add_overrides(s);
    add_table(s);
    add_hostile(s);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
