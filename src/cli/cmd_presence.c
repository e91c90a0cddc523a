/* halley presence: who is on a topic, page by page from GET /presence of the backend door. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/http_get.h"
#include "cli/page.h"
#include "cli/terminal.h"

#define PAGE 1000

static void print_text(const char *text)
{
    terminal_write(stdout, text, strlen(text));
}

static void print_member(const struct cli *cli, const json_t *member)
{
    const char *sub = json_string_value(json_object_get(member, "sub")), *guest = json_string_value(json_object_get(member, "guest"));
    if (cli->json) {
        json_dumpf(member, stdout, JSON_COMPACT);
        putchar('\n');
        return;
    }
    printf("%8" JSON_INTEGER_FORMAT "  ", json_integer_value(json_object_get(member, "connections")));
    if (sub == NULL)
        printf("guest ");
    print_text(sub != NULL ? sub : guest != NULL ? guest : "-");
    putchar('\n');
}

/* The page that begins at `from` (NULL: the first), a new reference in *ret_page. */
static enum cli_exit fetch_page(const struct cli *cli, const char *from, json_t **ret_page)
{
    HLY_CLEANUP(buf_done) struct buf target = { 0 };
    buf_printf(&target, "/presence?limit=%d&topic=", PAGE);
    http_escape(&target, cli->args[0]);
    if (from != NULL) {
        buf_str(&target, "&from=");
        http_escape(&target, from);
    }
    return page_fetch(cli, &target, "members", ret_page);
}

static enum cli_exit run(const struct cli *cli)
{
    json_t *page = NULL;
    const char *from = NULL;
    size_t printed = 0;
    do {
        size_t i;
        const json_t *member;
        json_t *before = page; /* `from` points into it */
        enum cli_exit e = fetch_page(cli, from, &page);
        json_decref(before);
        if (e != CLI_DONE)
            return e;
        json_array_foreach(json_object_get(page, "members"), i, member)
        {
            print_member(cli, member);
            printed++;
        }
        from = json_string_value(json_object_get(page, "next"));
    } while (from != NULL && cli_flush());
    json_decref(page);
    if (printed == 0)
        cli_note(cli, "nobody is there");
    return CLI_DONE;
}

const struct cli_command cmd_presence = {
    .name = "presence",
    .args = "TOPIC",
    .summary = "list who is on a topic",
    .help = "Lists who is subscribed to a topic whose rule says presence = true: how many\n"
            "connections each user has there (0: gone, and still within presence_grace), and the\n"
            "subject of his token.\n"
            "\n"
            "Options:\n"
            "      --json     print each member as one line of JSON\n"
            "  -q, --quiet    print members and errors only\n"
            "\n"
            "Example:\n"
            "  halley presence room/42\n",
    .options = "jqv",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
