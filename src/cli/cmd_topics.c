/* halley topics: which topics live, page by page from GET /topics of the backend door. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/http_get.h"
#include "cli/page.h"
#include "cli/terminal.h"

struct listing {
    const struct cli *cli;
    uint64_t printed; /* topics */
};

static uint64_t count_of(const json_t *topic, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(topic, key));
    return n > 0 ? (uint64_t)n : 0;
}

static void print_topic(const json_t *topic)
{
    char subscribers[TERMINAL_NUMBER], history[TERMINAL_NUMBER];
    const json_t *name = json_object_get(topic, "topic");
    const char *cursor = json_string_value(json_object_get(topic, "cursor"));
    printf("%11s %9s  %-22s ", terminal_number(count_of(topic, "subscribers"), subscribers),
           terminal_number(count_of(topic, "history"), history), cursor != NULL ? cursor : "-");
    fputs(terminal_style(stdout, TERMINAL_NAME), stdout);
    terminal_write(stdout, json_string_value(name), json_string_length(name));
    printf("%s\n", terminal_style(stdout, TERMINAL_PLAIN));
}

static void print_page(struct listing *l, const json_t *topics)
{
    size_t i;
    const json_t *topic;
    json_array_foreach(topics, i, topic)
    {
        if (l->cli->json) {
            json_dumpf(topic, stdout, JSON_COMPACT);
            putchar('\n');
        } else if (json_is_string(json_object_get(topic, "topic"))) {
            if (l->printed == 0)
                printf("%s%11s %9s  %-22s %s%s\n", terminal_style(stdout, TERMINAL_BOLD), "SUBSCRIBERS", "HISTORY",
                       "CURSOR", "TOPIC", terminal_style(stdout, TERMINAL_PLAIN));
            print_topic(topic);
        }
        l->printed++;
    }
}

/* Fetch the page that begins at `from` (NULL: the first). Returns the parsed answer in *ret_page, a new reference. */
static enum cli_exit fetch_page(const struct cli *cli, const char *from, json_t **ret_page)
{
    HLY_CLEANUP(buf_done) struct buf target = { 0 };
    const char *mark = "?";
    buf_str(&target, "/topics");
    if (cli->arg_count > 0) {
        buf_str(&target, "?pattern=");
        http_escape(&target, cli->args[0]);
        mark = "&";
    }
    if (from != NULL) {
        buf_printf(&target, "%sfrom=", mark);
        http_escape(&target, from);
    }
    return page_fetch(cli, &target, "topics", ret_page);
}

static enum cli_exit run(const struct cli *cli)
{
    struct listing l = { .cli = cli };
    json_t *page = NULL;
    enum cli_exit e = CLI_DONE;
    const char *from = NULL;
    do {
        json_t *before = page; /* `from` points into it */
        e = fetch_page(cli, from, &page);
        json_decref(before);
        if (e != CLI_DONE)
            return e;
        print_page(&l, json_object_get(page, "topics"));
        from = json_string_value(json_object_get(page, "next"));
    } while (from != NULL && cli_flush());
    json_decref(page);
    if (l.printed == 0)
        cli_note(cli, "no topic that lives now matches %s", cli->arg_count > 0 ? cli->args[0] : "**");
    return CLI_DONE;
}

const struct cli_command cmd_topics = {
    .name = "topics",
    .args = "[PATTERN]",
    .summary = "list the topics that live now",
    .help = "Lists the topics that have a subscriber or a history, all of them or those that\n"
            "match PATTERN, with their subscribers, kept messages, and newest cursor.\n"
            "\n"
            "Options:\n"
            "      --json     print each topic as one line of JSON\n"
            "  -q, --quiet    print topics and errors only\n"
            "\n"
            "Examples:\n"
            "  halley topics\n"
            "  halley topics 'chat/*'\n"
            "  halley topics --json | jq -r 'select(.subscribers == 0).topic'\n",
    .options = "jqv",
    .min_args = 0,
    .max_args = 1,
    .run = run,
};
