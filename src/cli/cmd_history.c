/* halley history: what a topic or pattern has kept, page by page from GET /history of the backend door. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/http_get.h"
#include "cli/page.h"
#include "cli/terminal.h"

#define PAGE_MAX 1000 /* messages that the server gives at once */

struct history {
    const struct cli *cli;
    bool has_topics; /* several may come: each message is printed with its own */
    uint64_t wanted; /* messages still to come, at most */
    uint64_t printed;
};

/* ---- printing */

static void print_data(const json_t *data)
{
    if (json_is_string(data)) {
        terminal_write(stdout, json_string_value(data), json_string_length(data));
        return;
    }
    char *text = json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text != NULL)
        terminal_write(stdout, text, strlen(text));
    free(text);
}

static void print_message(const struct history *y, const json_t *message)
{
    const json_t *topic = json_object_get(message, "topic");
    if (y->has_topics && json_is_string(topic)) {
        fputs(terminal_style(stdout, TERMINAL_NAME), stdout);
        terminal_write(stdout, json_string_value(topic), json_string_length(topic));
        printf("%s: ", terminal_style(stdout, TERMINAL_PLAIN));
    }
    print_data(json_object_get(message, "data"));
    putchar('\n');
}

static void print_page(struct history *y, const json_t *page)
{
    size_t i;
    const json_t *message;
    if (json_is_true(json_object_get(page, "gap"))) {
        cli_flush();
        cli_error("messages are missing before what follows: they are not kept any more, or the cursor is of another run of the server");
        if (y->cli->json)
            puts("{\"gap\":true}");
    }
    json_array_foreach(json_object_get(page, "messages"), i, message)
    {
        if (y->cli->json) {
            json_dumpf(message, stdout, JSON_COMPACT);
            putchar('\n');
        } else {
            print_message(y, message);
        }
        y->printed++;
    }
}

/* ---- fetching */

/* The page after this cursor (NULL: as the command line says). Returns the parsed answer in *ret_page, a new reference. */
static enum cli_exit fetch_page(const struct history *y, const char *after, json_t **ret_page)
{
    const struct cli *cli = y->cli;
    HLY_CLEANUP(buf_done) struct buf target = { 0 };
    buf_str(&target, "/history?topic=");
    http_escape(&target, cli->args[0]);
    buf_printf(&target, "&limit=%" PRIu64, y->wanted < PAGE_MAX ? y->wanted : PAGE_MAX);
    if (after != NULL || cli->after != NULL) {
        buf_str(&target, "&after=");
        http_escape(&target, after != NULL ? after : cli->after);
    } else if (cli->last > 0) {
        buf_printf(&target, "&last=%" PRIu64, cli->last);
    }
    enum cli_exit e = page_fetch(cli, &target, "messages", ret_page);
    if (e != CLI_DONE || json_is_string(json_object_get(*ret_page, "cursor")))
        return e;
    cli_error("the server's list of messages cannot be read: no \"cursor\" in it");
    json_decref(*ret_page);
    return CLI_REFUSED;
}

static enum cli_exit run(const struct cli *cli)
{
    struct history y = { .cli = cli, .has_topics = strchr(cli->args[0], '*') != NULL, .wanted = cli->limit };
    bool is_paged = cli->after != NULL || cli->last > 0; /* else it is the newest few */
    json_t *page = NULL;
    const char *cursor = NULL;
    size_t got;
    if (y.wanted == 0)
        y.wanted = cli->after != NULL ? UINT64_MAX : cli->last > 0 ? cli->last : 100;
    do {
        json_t *before = page; /* the cursor points into it */
        enum cli_exit e = fetch_page(&y, cursor, &page);
        json_decref(before);
        if (e != CLI_DONE)
            return e;
        print_page(&y, page);
        got = json_array_size(json_object_get(page, "messages"));
        cursor = json_string_value(json_object_get(page, "cursor"));
        y.wanted -= got < y.wanted ? got : y.wanted;
    } while (is_paged && got > 0 && y.wanted > 0 && cli_flush());
    if (y.printed == 0)
        cli_note(cli, "nothing is kept of %s", cli->args[0]);
    cli_note(cli, "what comes after this: --after %s", cursor);
    json_decref(page);
    return CLI_DONE;
}

const struct cli_command cmd_history = {
    .name = "history",
    .args = "TOPIC",
    .summary = "print what is kept of a topic",
    .help = "Prints the messages that the server keeps of TOPIC, which may be a pattern, the\n"
            "oldest first: the newest 100, or what the options ask for. How much is kept says\n"
            "`history` in the topic's rule. Of a pattern each line is \"TOPIC: MESSAGE\".\n"
            "\n"
            "Options:\n"
            "      --after CURSOR  all that came after this cursor; 0: all there is\n"
            "      --last NUMBER   the newest so many\n"
            "      --limit NUMBER  so many at most\n"
            "      --json          print each message as one line of JSON, with its cursor\n"
            "  -q, --quiet         print messages and errors only\n"
            "\n"
            "Examples:\n"
            "  halley history chat/42\n"
            "  halley history --last 5 'sensor/**'\n"
            "  halley history --after 0 --json orders | jq -r .cursor\n",
    .options = "jqvALl",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
