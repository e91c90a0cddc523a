/* halley reload and halley drain: POST /reload and /drain of the backend door. */
#include <stdio.h>

#include "cli/order.h"

static enum cli_exit run_reload(const struct cli *cli)
{
    json_t *answer = NULL, *name;
    size_t i;
    enum cli_exit code = order_post(cli, "/reload", &answer);
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
    enum cli_exit code = order_post(cli, "/drain", &answer);
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
