/* halley stats: the server's counters from GET /stats, one a line. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/http_get.h"
#include "cli/terminal.h"

/* The object is walked twice, for the widths and to print: `visit` sees each value with its path ("limits.outq"). */
struct walk {
    void (*visit)(struct walk *w, const char *path, const json_t *value);
    size_t name_width;
    size_t number_width;
};

static void walk_value(struct walk *w, const char *path, const json_t *value)
{
    char below[512];
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, key, member)
        {
            snprintf(below, sizeof below, "%s%s%s", path, path[0] != '\0' ? "." : "", key);
            walk_value(w, below, member);
        }
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, member)
        {
            snprintf(below, sizeof below, "%s.%zu", path, i);
            walk_value(w, below, member);
        }
    } else {
        w->visit(w, path, value);
    }
}

static bool ends_in(const char *text, const char *end)
{
    size_t text_len = strlen(text), end_len = strlen(end);
    return text_len >= end_len && strcmp(text + text_len - end_len, end) == 0;
}

/* NULL: it is no number. A pid is a name rather than a count: without separators it can be pasted. */
static const char *number_text(const char *path, const json_t *value, char *out, size_t out_size)
{
    if (json_is_integer(value) && json_integer_value(value) >= 0 && !ends_in(path, "pid"))
        return terminal_number((uint64_t)json_integer_value(value), out);
    if (!json_is_number(value))
        return NULL;
    snprintf(out, out_size, "%.*f", json_is_integer(value) ? 0 : 3, json_number_value(value));
    return out;
}

static void measure(struct walk *w, const char *path, const json_t *value)
{
    char number[64];
    if (strlen(path) > w->name_width)
        w->name_width = strlen(path);
    if (number_text(path, value, number, sizeof number) != NULL && strlen(number) > w->number_width)
        w->number_width = strlen(number);
}

/* Behind a large number of seconds or bytes: the same for people. The unit sits in the name. */
static void print_in_words(const char *path, const json_t *value)
{
    char words[64];
    uint64_t n = json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
    if (ends_in(path, "_s") && n >= 60)
        terminal_duration(n, words, sizeof words);
    else if (ends_in(path, "_bytes") && n >= 1024)
        terminal_size(n, words, sizeof words);
    else
        return;
    printf("  %s%s%s", terminal_style(stdout, TERMINAL_DIM), words, terminal_style(stdout, TERMINAL_PLAIN));
}

static void print_value(struct walk *w, const char *path, const json_t *value)
{
    char number[64];
    printf("%s%-*s%s  ", terminal_style(stdout, TERMINAL_NAME), (int)w->name_width, path,
           terminal_style(stdout, TERMINAL_PLAIN));
    if (number_text(path, value, number, sizeof number) != NULL)
        printf("%*s", (int)w->number_width, number);
    else if (json_is_string(value))
        terminal_write(stdout, json_string_value(value), json_string_length(value));
    else
        fputs(json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "-", stdout);
    if (json_is_integer(value))
        print_in_words(path, value);
    putchar('\n');
}

static enum cli_exit run(const struct cli *cli)
{
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    struct endpoint_error error;
    int r = http_get(&cli->server, "/stats", &body, &error);
    if (r != 0) {
        cli_error("%s", error.text);
        return r > 0 ? CLI_REFUSED : CLI_NO_CONNECTION;
    }
    if (cli->json) {
        fwrite(body.data, 1, body.len, stdout);
        if (body.len == 0 || body.data[body.len - 1] != '\n')
            putchar('\n');
        return CLI_DONE;
    }
    json_error_t why;
    json_t *stats = json_loadb((const char *)body.data, body.len, 0, &why);
    if (stats == NULL) {
        cli_error("the server's counters cannot be read: %s", why.text);
        return CLI_REFUSED;
    }
    struct walk w = { .visit = measure };
    walk_value(&w, "", stats);
    w.visit = print_value;
    walk_value(&w, "", stats);
    json_decref(stats);
    return CLI_DONE;
}

const struct cli_command cmd_stats = {
    .name = "stats",
    .args = "",
    .summary = "show the server's counters",
    .help = "Shows the server's counters, one a line: totals since its start (published,\n"
            "delivered), and how many there are now (connections, topics).\n"
            "\n"
            "Options:\n"
            "      --json     print them as the server sends them\n"
            "\n"
            "Examples:\n"
            "  halley stats\n"
            "  halley stats --json | jq .connections\n",
    .options = "j",
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
