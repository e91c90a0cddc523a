/* halley clients: who is connected, page by page from GET /clients of the backend door. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/http_get.h"
#include "cli/page.h"
#include "cli/terminal.h"

struct listing {
    const struct cli *cli;
    uint64_t printed; /* clients */
};

static uint64_t number_of(const json_t *client, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(client, key));
    return n > 0 ? (uint64_t)n : 0;
}

static const char *text_of(const json_t *client, const char *key)
{
    const char *text = json_string_value(json_object_get(client, key));
    return text != NULL ? text : "-";
}

static void print_client(const json_t *client)
{
    char age[32], waiting[32], topics[TERMINAL_NUMBER], behind[TERMINAL_NUMBER] = "-";
    if (json_is_true(json_object_get(client, "behind")))
        terminal_number(number_of(client, "behind_by"), behind);
    printf("%10s %6s %9s %9s  %-19s %-21s %s\n", terminal_duration(number_of(client, "connected_s"), age, sizeof age),
           terminal_number(number_of(client, "subscriptions"), topics),
           terminal_size(number_of(client, "outq_bytes"), waiting, sizeof waiting), behind, text_of(client, "transport"),
           text_of(client, "address"), text_of(client, "connection"));
}

static void print_page(struct listing *l, const json_t *clients)
{
    size_t i;
    const json_t *client;
    json_array_foreach(clients, i, client)
    {
        if (l->cli->json) {
            json_dumpf(client, stdout, JSON_COMPACT);
            putchar('\n');
        } else {
            if (l->printed == 0)
                printf("%s%10s %6s %9s %9s  %-19s %-21s %s%s\n", terminal_style(stdout, TERMINAL_BOLD), "CONNECTED", "TOPICS",
                       "WAITING", "BEHIND BY", "TRANSPORT", "ADDRESS", "CONNECTION", terminal_style(stdout, TERMINAL_PLAIN));
            print_client(client);
        }
        l->printed++;
    }
}

/* Fetch the page that begins at `from` (NULL: the first). Returns the parsed answer in *ret_page, a new reference. */
static enum cli_exit fetch_page(const struct cli *cli, const char *from, json_t **ret_page)
{
    HLY_CLEANUP(buf_done) struct buf target = { 0 };
    buf_printf(&target, "/clients?slow=%d", cli->slow);
    if (from != NULL) {
        buf_str(&target, "&from=");
        http_escape(&target, from);
    }
    if (cli->user != NULL) {
        buf_str(&target, "&user=");
        http_escape(&target, cli->user);
    }
    return page_fetch(cli, &target, "clients", ret_page);
}

static enum cli_exit run(const struct cli *cli)
{
    struct listing l = { .cli = cli };
    json_t *page = NULL;
    const char *from = NULL;
    do {
        json_t *before = page; /* `from` points into it */
        enum cli_exit e = fetch_page(cli, from, &page);
        json_decref(before);
        if (e != CLI_DONE)
            return e;
        print_page(&l, json_object_get(page, "clients"));
        from = json_string_value(json_object_get(page, "next"));
    } while (from != NULL && cli_flush());
    json_decref(page);
    if (l.printed == 0)
        cli_note(cli, cli->slow ? "nobody is behind" : cli->user != NULL ? "this user is not connected" : "nobody is connected");
    return CLI_DONE;
}

const struct cli_command cmd_clients = {
    .name = "clients",
    .args = "",
    .summary = "list who is connected",
    .help = "Lists the clients of the public doors: how long they are connected, how many topics\n"
            "and patterns they listen to, how many bytes wait for them, and, if they could not\n"
            "take what was sent and read on from history, how many messages behind they are.\n"
            "\n"
            "Options:\n"
            "      --slow       only those who are behind\n"
            "      --user SUB   only those of this user: the subject of their token\n"
            "      --json       print each client as one line of JSON\n"
            "  -q, --quiet      print clients and errors only\n"
            "\n"
            "Examples:\n"
            "  halley clients\n"
            "  halley clients --slow --json | jq -r .address\n",
    .options = "jqvSU",
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
