/* The commands of the backend door, but for PUBLISH and SUBSCRIBE: what client libraries send on their own, answered as they expect. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/slice.h"
#include "transport/resp_internal.h"
#include "transport/stats_text.h"

static void run_ping(struct resp_call *call)
{
    struct resp_client *c = call->client;
    if (call->argc > 2) {
        resp_error(call, "wrong number of arguments for 'ping' command");
    } else if (c->proto == 2 && c->sub.count > 0) { /* as Redis: a subscribed client reads arrays only */
        resp_write_array(call->out, 2);
        resp_write_str(call->out, "pong");
        resp_write_bulk(call->out, call->argc == 2 ? call->argv[1].ptr : "", call->argc == 2 ? call->argv[1].len : 0);
    } else if (call->argc == 2) {
        resp_write_bulk(call->out, call->argv[1].ptr, call->argv[1].len);
    } else {
        resp_write_simple(call->out, "PONG");
    }
}

static void run_echo(struct resp_call *call)
{
    resp_write_bulk(call->out, call->argv[1].ptr, call->argv[1].len);
}

static void run_select(struct resp_call *call)
{
    if (slice_equals(call->argv[1], "0"))
        resp_write_simple(call->out, "OK");
    else
        resp_error(call, "there is one database here: SELECT 0");
}

static void run_auth(struct resp_call *call)
{
    struct slice user = call->argc == 3 ? call->argv[1] : (struct slice){ 0 };
    if (call->client->access->peers->keys == NULL)
        resp_error(call, "AUTH <password> called without any password configured for the default user: this backend has no key_file");
    else if (call->argc > 3)
        resp_error(call, "syntax error in AUTH: AUTH [user] key");
    else if (resp_authenticate(call, user, call->argv[call->argc - 1]))
        resp_write_simple(call->out, "OK");
}

static void run_quit(struct resp_call *call)
{
    call->client->closing = true;
    resp_write_simple(call->out, "OK");
}

static void client_set_name(struct resp_client *c, struct slice name)
{
    free(c->name);
    c->name = name.len > 0 ? slice_dup(name) : NULL;
}

static void run_reset(struct resp_call *call)
{
    struct resp_client *c = call->client;
    resp_unsubscribe_all(c);
    client_set_name(c, (struct slice){ 0 });
    c->proto = 2;
    resp_set_form(c);
    resp_forget_key(c);
    resp_write_simple(call->out, "RESET");
}

/* ---- HELLO */

static bool name_is_fine(struct slice name) /* as Redis: no spaces, no control characters */
{
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] < '!' || name.ptr[i] > '~')
            return false;
    return name.len <= 128;
}

static void write_hello(struct resp_call *call)
{
    struct resp_client *c = call->client;
    struct buf *out = call->out;
    resp_write_map(out, c->proto, 7);
    resp_write_str(out, "server");
    resp_write_str(out, "halley");
    resp_write_str(out, "version");
    resp_write_str(out, c->reactor->settings->version);
    resp_write_str(out, "proto");
    resp_write_int(out, c->proto);
    resp_write_str(out, "id");
    resp_write_int(out, (int64_t)c->id);
    resp_write_str(out, "mode");
    resp_write_str(out, "standalone");
    resp_write_str(out, "role");
    resp_write_str(out, "master");
    resp_write_str(out, "modules");
    resp_write_array(out, 0);
}

static void run_hello(struct resp_call *call)
{
    struct resp_client *c = call->client;
    int proto = c->proto;
    const struct slice *auth = NULL; /* the user and the key */
    struct slice name = { 0 };
    if (call->argc >= 2) {
        if (!slice_equals(call->argv[1], "2") && !slice_equals(call->argv[1], "3")) {
            stat_add(&c->reactor->stats.backend_errors, 1);
            resp_write_error(call->out, "NOPROTO unsupported protocol version");
            return;
        }
        proto = call->argv[1].ptr[0] - '0';
    }
    for (size_t i = 2; i < call->argc;) {
        if (slice_equals_nocase(call->argv[i], "AUTH") && i + 2 < call->argc) {
            auth = &call->argv[i + 1];
            i += 3;
        } else if (slice_equals_nocase(call->argv[i], "SETNAME") && i + 1 < call->argc && name_is_fine(call->argv[i + 1])) {
            name = call->argv[i + 1];
            i += 2;
        } else {
            resp_error(call, "syntax error in HELLO: HELLO [2|3 [AUTH user password] [SETNAME name]]");
            return;
        }
    }
    if (auth != NULL && c->access->peers->keys != NULL && !resp_authenticate(call, auth[0], auth[1])) /* without keys any is right, as in Redis */
        return;
    if (c->access->rights == NULL) {
        stat_add(&c->reactor->stats.backend_errors, 1);
        resp_write_error(call->out, "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can "
                                    "be used to authenticate the client and select the RESP protocol version at the same time");
        return;
    }
    if (name.ptr != NULL)
        client_set_name(c, name);
    c->proto = proto;
    resp_set_form(c);
    write_hello(call);
}

/* ---- CLIENT */

static void write_client_info(struct buf *out, const struct resp_client *c)
{
    buf_printf(out, "id=%" PRIu64 " name=%s sub=%" PRIu32 " resp=%d cmds=%" PRIu64 " outq=%" PRIu64 "\n", c->id,
               c->name != NULL ? c->name : "", c->sub.count, c->proto, c->commands, conn_waiting(c->conn));
}

static void client_info(struct resp_call *call)
{
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    write_client_info(&text, call->client);
    resp_write_verbatim(call->out, call->client->proto, (const char *)text.data, text.len);
}

static void run_client(struct resp_call *call)
{
    struct resp_client *c = call->client;
    struct slice what = call->argv[1];
    if (slice_equals_nocase(what, "ID")) {
        resp_write_int(call->out, (int64_t)c->id);
    } else if (slice_equals_nocase(what, "GETNAME")) {
        if (c->name == NULL)
            resp_write_null(call->out, c->proto);
        else
            resp_write_str(call->out, c->name);
    } else if (slice_equals_nocase(what, "SETNAME") && call->argc == 3) {
        if (!name_is_fine(call->argv[2])) {
            resp_error(call, "Client names cannot contain spaces, newlines or special characters.");
            return;
        }
        client_set_name(c, call->argv[2]);
        resp_write_simple(call->out, "OK");
    } else if (slice_equals_nocase(what, "INFO") || slice_equals_nocase(what, "LIST")) {
        client_info(call); /* of this connection: GET /clients will list them all */
    } else if (slice_equals_nocase(what, "SETINFO") || slice_equals_nocase(what, "NO-EVICT") ||
               slice_equals_nocase(what, "NO-TOUCH")) {
        resp_write_simple(call->out, "OK");
    } else {
        resp_error(call, "unknown subcommand: CLIENT ID | GETNAME | SETNAME name | INFO | LIST | SETINFO | NO-EVICT | NO-TOUCH");
    }
}

/* ---- INFO, COMMAND */

static void run_info(struct resp_call *call)
{
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    stats_write_info(&text, call->client->reactor);
    const uint8_t *figures = text.len == 0 ? NULL : memmem(text.data, text.len, "# Halley", 8);
    if (figures != NULL && !backend_rights_are_all(call->client->access->rights)) /* client libraries look at what comes before them */
        text.len = (size_t)(figures - text.data);
    resp_write_verbatim(call->out, call->client->proto, (const char *)text.data, text.len);
}

static size_t command_count(void)
{
    size_t n = 0;
    while (resp_commands[n].name != NULL)
        n++;
    return n;
}

static void write_command(struct buf *out, const struct resp_command_info *info)
{
    resp_write_array(out, 6); /* name, arity, flags, first key, last key, step */
    resp_write_str(out, info->name);
    resp_write_int(out, info->arity);
    resp_write_array(out, 1);
    resp_write_simple(out, strcmp(info->group, "pubsub") == 0 ? "pubsub" : "fast");
    resp_write_int(out, 0);
    resp_write_int(out, 0);
    resp_write_int(out, 0);
}

static void write_docs(struct resp_call *call, const struct resp_command_info *info)
{
    struct buf *out = call->out;
    resp_write_str(out, info->name);
    resp_write_map(out, call->client->proto, 3);
    resp_write_str(out, "summary");
    resp_write_str(out, info->summary);
    resp_write_str(out, "since");
    resp_write_str(out, "1.0.0");
    resp_write_str(out, "group");
    resp_write_str(out, info->group);
}

static void command_docs(struct resp_call *call)
{
    size_t known = 0;
    if (call->argc == 2) {
        resp_write_map(call->out, call->client->proto, command_count());
        for (const struct resp_command_info *i = resp_commands; i->name != NULL; i++)
            write_docs(call, i);
        return;
    }
    for (size_t i = 2; i < call->argc; i++)
        known += resp_command_find(call->argv[i]) != NULL;
    resp_write_map(call->out, call->client->proto, known);
    for (size_t i = 2; i < call->argc; i++)
        if (resp_command_find(call->argv[i]) != NULL)
            write_docs(call, resp_command_find(call->argv[i]));
}

static void run_command(struct resp_call *call)
{
    if (call->argc >= 2 && slice_equals_nocase(call->argv[1], "COUNT")) {
        resp_write_int(call->out, (int64_t)command_count());
    } else if (call->argc >= 2 && slice_equals_nocase(call->argv[1], "DOCS")) {
        command_docs(call);
    } else if (call->argc > 2 && slice_equals_nocase(call->argv[1], "INFO")) {
        resp_write_array(call->out, call->argc - 2);
        for (size_t i = 2; i < call->argc; i++) {
            const struct resp_command_info *info = resp_command_find(call->argv[i]);
            if (info != NULL)
                write_command(call->out, info);
            else
                resp_write_null_array(call->out, call->client->proto);
        }
    } else if (call->argc == 1 || slice_equals_nocase(call->argv[1], "INFO")) {
        resp_write_array(call->out, command_count());
        for (const struct resp_command_info *i = resp_commands; i->name != NULL; i++)
            write_command(call->out, i);
    } else if (slice_equals_nocase(call->argv[1], "LIST")) {
        resp_write_array(call->out, command_count());
        for (const struct resp_command_info *i = resp_commands; i->name != NULL; i++)
            resp_write_str(call->out, i->name);
    } else {
        resp_error(call, "unknown subcommand: COMMAND [COUNT | LIST | DOCS [name ...] | INFO [name ...]]");
    }
}

/* ---- the table, and running a command */

const struct resp_command_info resp_commands[] = {
    { "auth", -2, run_auth, false, "AUTH [user] key: says who the backend is; not needed on most Unix sockets.", "connection" },
    { "client", -2, run_client, false, "Names and describes this connection.", "connection" },
    { "command", -1, run_command, false, "Describes the commands.", "server" },
    { "disconnect", -3, resp_disconnect, false, "DISCONNECT USER sub|CONNECTION id [TOPIC pattern] [REASON text]: ends connections, or subscriptions of them.", "server" },
    { "echo", 2, run_echo, false, "Returns its argument.", "connection" },
    { "hello", -1, run_hello, false, "Chooses RESP2 or RESP3.", "connection" },
    { "info", -1, run_info, false, "The server's figures.", "server" },
    { "mpublish", -3, resp_mpublish, false, "MPUBLISH payload topic [topic ...]: one payload to many topics.", "pubsub" },
    { "ping", -1, run_ping, true, "Returns PONG, or its argument.", "connection" },
    { "presence", -2, resp_presence, false, "PRESENCE topic [COUNT n] [FROM next]: who is on a topic.", "pubsub" },
    { "psubscribe", -2, resp_psubscribe, true, "Receives what is published to topics that match the patterns.", "pubsub" },
    { "publish", -3, resp_publish, false, "PUBLISH topic payload [KEY id] [EXCEPT connection]: returns the number of matching subscriptions.", "pubsub" },
    { "pubsub", -2, resp_pubsub, false, "Lists and counts topics with subscribers.", "pubsub" },
    { "punsubscribe", -1, resp_punsubscribe, true, "Ends subscriptions to patterns.", "pubsub" },
    { "quit", -1, run_quit, true, "Closes the connection.", "connection" },
    { "reset", 1, run_reset, true, "Ends subscriptions and returns to RESP2.", "connection" },
    { "revoke", -3, resp_revoke, false, "REVOKE TOKEN jti|USER sub [UNTIL unix_seconds | FOR seconds]: tokens that hold no longer.", "server" },
    { "select", 2, run_select, false, "SELECT 0: there is one database.", "connection" },
    { "subscribe", -2, resp_subscribe, true, "Receives what is published to the topics.", "pubsub" },
    { "unsubscribe", -1, resp_unsubscribe, true, "Ends subscriptions to topics.", "pubsub" },
    { "xadd", -5, resp_xadd, false, "XADD topic * data payload [KEY id] [EXCEPT connection]: publishes, and returns the message's cursor.", "stream" },
    { "xlen", 2, resp_xlen, false, "The number of messages kept in the topic's history.", "stream" },
    { "xrange", -4, resp_xrange, false, "Messages kept, from one cursor to another.", "stream" },
    { "xread", -4, resp_xread, false, "Messages after a cursor, of any number of topics and patterns; BLOCK waits for one.", "stream" },
    { "xrevrange", -4, resp_xrevrange, false, "Messages kept, the newest first.", "stream" },
    { NULL, 0, NULL, false, NULL, NULL },
};

const struct resp_command_info *resp_command_find(struct slice name)
{
    for (const struct resp_command_info *i = resp_commands; i->name != NULL; i++)
        if (slice_equals_nocase(name, i->name))
            return i;
    return NULL;
}

/* Publishes are on their way to the journal together, and reading commands wait by themselves. Whatever else follows a publish, SUBSCRIBE above all, sees it
 * done: with every engine the same. */
bool resp_command_may_overtake(struct slice name)
{
    const struct resp_command_info *i = resp_command_find(name);
    return i == NULL || i->run == resp_publish || i->run == resp_mpublish || i->run == resp_xadd || i->run == resp_xread || i->run == resp_xrange ||
           i->run == resp_xrevrange || i->run == run_ping;
}

static void unknown_command(struct resp_call *call)
{
    char name[128], args[160] = "", arg[64];
    size_t n = 0;
    for (size_t i = 1; i < call->argc && i < 4 && n < sizeof args - 70; i++)
        n += (size_t)snprintf(args + n, sizeof args - n, "'%s' ", log_quote(arg, 40, call->argv[i].ptr, call->argv[i].len));
    resp_error(call, "unknown command '%s', with args beginning with: %s",
               log_quote(name, sizeof name, call->argv[0].ptr, call->argv[0].len), args);
}

/* As in Redis. */
static bool needs_no_key(const struct resp_command_info *info)
{
    return info != NULL && (info->run == run_auth || info->run == run_hello || info->run == run_quit || info->run == run_reset);
}

static void run(struct resp_call *call)
{
    struct resp_client *c = call->client;
    const struct resp_command_info *info = resp_command_find(call->argv[0]);
    if (c->access->rights == NULL && !needs_no_key(info)) {
        stat_add(&c->reactor->stats.backend_errors, 1);
        resp_write_error(call->out, "NOAUTH Authentication required.");
    } else if (info == NULL) {
        unknown_command(call);
    } else if (info->arity > 0 ? call->argc != (size_t)info->arity : call->argc < (size_t)-info->arity) {
        resp_error(call, "wrong number of arguments for '%s' command", info->name);
    } else if (c->proto == 2 && c->sub.count > 0 && !info->in_subscribed_mode) {
        resp_error(call,
                   "Can't execute '%s': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                   info->name);
    } else {
        info->run(call);
    }
}

void resp_command_run(struct resp_client *c, const struct resp_command *command)
{
    struct resp_call call = { .client = c, .out = &c->out, .argv = command->argv, .argc = command->argc };
    stat_add(&c->reactor->stats.backend_commands, 1);
    c->commands++;
    if (!list_is_empty(&c->slots)) { /* an earlier reply is missing: this one waits behind it */
        call.slot = resp_slot_take(c);
        if (call.slot == NULL) {
            conn_fail(c->conn, ENOMEM);
            return;
        }
        call.slot->is_text = true;
        call.out = &call.slot->reply;
    }
    run(&call);
    if (call.slot != NULL && call.out != NULL)
        resp_slot_ready(call.slot);
    if (!list_is_empty(&c->slots))
        resp_flush_slots(c);
}
