/* halley reload and halley drain: POST /reload and /drain of the backend door. */
#include <jansson.h>
#include <stdio.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/http_get.h"

/* {"error":{"message":"…"}} is what a person wants to read of a refusal; the rest is in error already. */
static enum cli_exit post(const struct cli *cli, const char *target, json_t **ret)
{
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    struct endpoint_error error;
    int r = http_post(&cli->server, target, &body, &error);
    if (r != 0) {
        cli_error("%s", error.text);
        return r > 0 ? CLI_REFUSED : CLI_NO_CONNECTION;
    }
    *ret = json_loadb((const char *)body.data, body.len, 0, NULL);
    if (cli->json)
        printf("%s", (const char *)body.data);
    return CLI_DONE;
}

static enum cli_exit run_reload(const struct cli *cli)
{
    json_t *answer = NULL, *name;
    size_t i;
    enum cli_exit code = post(cli, "/reload", &answer);
    if (code == CLI_DONE && !cli->json) {
        printf("reloaded\n");
        json_array_foreach(json_object_get(answer, "restart"), i, name)
            printf("%s takes a restart\n", json_string_value(name));
    }
    json_decref(answer);
    return code;
}

const struct cli_command cmd_reload = {
    .name = "reload",
    .args = "",
    .summary = "load the config again",
    .help = "Loads the config again, without dropping a connection, as SIGHUP does; prints which\n"
            "settings take a restart. If anything is wrong with it nothing changes, and what is\n"
            "wrong is printed.\n"
            "\n"
            "Options:\n"
            "      --json    print the answer as JSON\n"
            "\n"
            "Examples:\n"
            "  halley reload\n",
    .options = "jqv",
    .min_args = 0,
    .max_args = 0,
    .run = run_reload,
};

static enum cli_exit run_drain(const struct cli *cli)
{
    json_t *answer = NULL;
    enum cli_exit code = post(cli, "/drain", &answer);
    if (code == CLI_DONE && !cli->json)
        printf("draining: %" JSON_INTEGER_FORMAT " clients within %.1f s\n", json_integer_value(json_object_get(answer, "clients")),
               (double)json_integer_value(json_object_get(answer, "drain_ms")) / 1000);
    json_decref(answer);
    return code;
}

const struct cli_command cmd_drain = {
    .name = "drain",
    .args = "",
    .summary = "tell the clients to go, and end",
    .help = "Ends the server as SIGTERM does: no client is accepted any more, those that are there are\n"
            "told to reconnect, one after the other over drain_time, and come back at drain_rate a\n"
            "second. Prints how many there are, and does not wait.\n"
            "\n"
            "Options:\n"
            "      --json    print the answer as JSON\n"
            "\n"
            "Examples:\n"
            "  halley drain\n",
    .options = "jqv",
    .min_args = 0,
    .max_args = 0,
    .run = run_drain,
};
