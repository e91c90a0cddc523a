/* halley disconnect and halley revoke: POST /disconnect and /revoke of the backend door. */
#include <inttypes.h>
#include <stdio.h>

#include "base/buf.h"
#include "cli/http_get.h"
#include "cli/order.h"

static void add(struct buf *target, const char *key, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(target, "&%s=", key);
    http_escape(target, value);
}

static enum cli_exit post(const struct cli *cli, struct buf *target)
{
    json_t *answer = NULL;
    buf_append(target, "", 1);
    if (target->failed) {
        cli_error("out of memory");
        return CLI_REFUSED;
    }
    enum cli_exit code = order_post(cli, (const char *)target->data, &answer);
    if (code == CLI_DONE && !cli->json)
        printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(json_object_get(answer, "disconnected")));
    json_decref(answer);
    return code;
}

/* A user as the argument, or something else by an option. */
static bool has_one(const struct cli *cli, const char *other, const char *option)
{
    if ((cli->arg_count == 1) != (other != NULL))
        return true;
    cli_error("name a USER, or give --%s: one of the two", option);
    return false;
}

static enum cli_exit run_disconnect(const struct cli *cli)
{
    HLY_CLEANUP(buf_done) struct buf target = { 0 };
    if (!has_one(cli, cli->connection, "connection"))
        return CLI_USAGE;
    buf_str(&target, "/disconnect?");
    add(&target, "user", cli->args[0]);
    add(&target, "connection", cli->connection);
    add(&target, "topic", cli->topic);
    add(&target, "reason", cli->reason);
    return post(cli, &target);
}

static enum cli_exit run_revoke(const struct cli *cli)
{
    HLY_CLEANUP(buf_done) struct buf target = { 0 };
    if (!has_one(cli, cli->token_id, "token"))
        return CLI_USAGE;
    buf_str(&target, "/revoke?");
    add(&target, "user", cli->args[0]);
    add(&target, "token", cli->token_id);
    if (cli->seconds > 0)
        buf_printf(&target, "&seconds=%" PRIu64, cli->seconds);
    return post(cli, &target);
}

const struct cli_command cmd_disconnect = {
    .name = "disconnect",
    .args = "[USER]",
    .summary = "end a user's connections",
    .help = "Ends the connections of a user (the subject of his token), or one connection; prints\n"
            "how many were told to go. They may come back: see halley revoke.\n"
            "\n"
            "Options:\n"
            "      --connection ID    that connection, instead of a user's\n"
            "      --topic PATTERN    end only subscriptions to what the pattern covers\n"
            "      --reason TEXT      what the client is told\n"
            "      --json             print the answer as JSON\n"
            "\n"
            "Examples:\n"
            "  halley disconnect alice --reason 'see you tomorrow'\n"
            "  halley disconnect alice --topic 'room/42'\n",
    .options = "jqvCOR",
    .min_args = 0,
    .max_args = 1,
    .run = run_disconnect,
};

const struct cli_command cmd_revoke = {
    .name = "revoke",
    .args = "[USER]",
    .summary = "refuse tokens from now on",
    .help = "Refuses all tokens that a user was issued up to now, or one token, and closes the\n"
            "connections that came with them; prints how many. Revocations are kept in memory, for\n"
            "a day: give the time for which such tokens would be valid if that is longer.\n"
            "\n"
            "Options:\n"
            "      --token ID       the token with this jti, instead of a user's\n"
            "      --for SECONDS    for how long\n"
            "      --json           print the answer as JSON\n"
            "\n"
            "Examples:\n"
            "  halley revoke alice\n"
            "  halley revoke --token 8d1f --for 3600\n",
    .options = "jqvTF",
    .min_args = 0,
    .max_args = 1,
    .run = run_revoke,
};
