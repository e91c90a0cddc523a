/* halley upgrade: POST /upgrade of the backend door. */
#include <stdio.h>

#include "cli/order.h"

static enum cli_exit run_upgrade(const struct cli *cli)
{
    json_t *answer = NULL;
    enum cli_exit code = order_post(cli, "/upgrade", &answer);
    if (code == CLI_DONE && !cli->json)
        printf("upgraded to version %s, process %lld; publishes waited for %lld ms\n", json_string_value(json_object_get(answer, "version")),
               (long long)json_integer_value(json_object_get(answer, "pid")), (long long)json_integer_value(json_object_get(answer, "held_ms")));
    json_decref(answer);
    return code;
}

const struct cli_command cmd_upgrade = {
    .name = "upgrade",
    .args = "",
    .summary = "replace the server by its newly installed program",
    .help = "Replaces the server by the program and the config that are installed now, without\n"
            "losing a message or refusing a connection, as SIGUSR2 does. Prints the outcome when\n"
            "the successor serves; clients move to it in drain_time. If anything is wrong with the\n"
            "new program or its config nothing changes, and what is wrong is printed.\n"
            "\n"
            "Options:\n"
            "      --json    print the answer as JSON\n"
            "\n"
            "Examples:\n"
            "  halley upgrade\n",
    .options = "jqv",
    .min_args = 0,
    .max_args = 0,
    .run = run_upgrade,
};
