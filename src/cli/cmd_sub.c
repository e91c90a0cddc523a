/* halley sub: print what is published, until Ctrl-C or --count.
 *
 * A connection that is lost is made again, with growing pauses; only the first one must succeed. The socket is waited
 * for with ppoll() rather than by hiredis, so that a signal ends the command between two messages and never cuts one.
 */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/terminal.h"

#define RETRY_FIRST_MS 250
#define RETRY_MAX_MS 10000

struct listening {
    const struct cli *cli;
    redisContext *redis;
    bool is_bare;      /* one plain topic: the payload alone is printed */
    uint64_t printed;  /* messages */
    int confirmed;     /* names that the server has confirmed on this connection */
    bool is_lost;      /* the connection; until the subscriptions are confirmed on another */
    unsigned retry_ms; /* before the next try to connect */
};

/* What reading one connection to its end came to. */
enum outcome { GOES_ON, ENOUGH, REFUSED, LOST, STOPPED };

static volatile sig_atomic_t stop_signal;

static void on_stop_signal(int number)
{
    stop_signal = number;
}

/* Ctrl-C and a service manager's SIGTERM end the wait that they interrupt. */
static void catch_stop_signals(void)
{
    struct sigaction sa = { .sa_handler = on_stop_signal };
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

/* Wait for input on fd (-1: none) or for the time to pass (-1: forever). The stop signals are let in only while it
 * waits, so that none can slip in between the look at stop_signal and the wait. The reader of stdout going away (`|
 * head`) ends it too. Returns GOES_ON or STOPPED. */
static enum outcome wait_for(int fd, int timeout_ms)
{
    sigset_t stops, before;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigprocmask(SIG_BLOCK, &stops, &before);
    struct pollfd fds[] = { { .fd = fd, .events = POLLIN }, { .fd = STDOUT_FILENO } };
    struct timespec timeout = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L };
    while (stop_signal == 0 && ppoll(fds, HLY_ARRAY_LEN(fds), timeout_ms < 0 ? NULL : &timeout, &before) == -1 &&
           errno == EINTR) /* a signal of another kind, such as SIGCONT */
        ;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return stop_signal != 0 || (fds[1].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0 ? STOPPED : GOES_ON;
}

/* ---- messages */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static json_t *base64(const char *bytes, size_t len) /* RFC 4648 4 */
{
    char *text = malloc(len / 3 * 4 + 5), *to = text;
    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)(uint8_t)bytes[i] << 16;
        group |= i + 1 < len ? (uint32_t)(uint8_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < len ? (uint8_t)bytes[i + 2] : 0;
        *to++ = base64_digits[group >> 18];
        *to++ = base64_digits[group >> 12 & 63];
        *to++ = i + 1 < len ? base64_digits[group >> 6 & 63] : '=';
        *to++ = i + 2 < len ? base64_digits[group & 63] : '=';
    }
    json_t *string = json_stringn(text, (size_t)(to - text));
    free(text);
    return string;
}

/* {"topic":…,"data":…}, where a payload that is not UTF-8 is "base64" instead of "data". */
static void print_json(const redisReply *topic, const redisReply *payload)
{
    json_t *o = json_object();
    json_object_set_new(o, "topic", json_stringn(topic->str, topic->len));
    json_t *data = json_stringn(payload->str, payload->len);
    if (data != NULL)
        json_object_set_new(o, "data", data);
    else
        json_object_set_new(o, "base64", base64(payload->str, payload->len));
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
}

/* Where the topic's rule has a stamp, the server hands over an object in the payload's place:
 * {"topic":…,"cursor":…,"from":…,"time":…,"data":…}, from and time perhaps missing. Returns it, NULL for any other payload. */
static json_t *stamped(const redisReply *topic, const redisReply *payload)
{
    static const char *const members[] = { "topic", "cursor", "from", "time", "data" };
    static const char begin[] = "{\"topic\":";
    if (payload->len < sizeof begin || memcmp(payload->str, begin, sizeof begin - 1) != 0 || memchr(payload->str, '\n', payload->len) != NULL)
        return NULL;
    json_t *o = json_loadb(payload->str, payload->len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    const json_t *from = json_object_get(o, "from"), *time = json_object_get(o, "time"), *name = json_object_get(o, "topic");
    size_t known = 0;
    for (size_t i = 0; i < HLY_ARRAY_LEN(members); i++)
        known += json_object_get(o, members[i]) != NULL;
    if (known == json_object_size(o) && json_is_string(name) && json_string_length(name) == topic->len &&
        memcmp(json_string_value(name), topic->str, topic->len) == 0 && json_is_string(json_object_get(o, "cursor")) &&
        (from == NULL || json_is_object(from)) && (time == NULL || json_is_number(time)) && json_object_get(o, "data") != NULL)
        return o;
    json_decref(o);
    return NULL;
}

/* Who sent it, `<alice> `, or nothing if a backend did. Whoever has no name there is told by that of its connection. */
static void print_sender(const json_t *from)
{
    const json_t *name = json_object_get(from, "sub");
    if (!json_is_string(name))
        name = json_object_get(from, "connection");
    if (from == NULL)
        return;
    printf("%s<", terminal_style(stdout, TERMINAL_NAME));
    if (json_is_string(name))
        terminal_write(stdout, json_string_value(name), json_string_length(name));
    printf(">%s ", terminal_style(stdout, TERMINAL_PLAIN));
}

/* A string as the text it is, any other value as it came: the last member of the object. */
static void print_data(const json_t *data, const redisReply *object)
{
    static const char name[] = ",\"data\":"; /* not within a string: there its quotes are escaped */
    const char *value = memmem(object->str, object->len, name, sizeof name - 1);
    if (json_is_string(data))
        terminal_write(stdout, json_string_value(data), json_string_length(data));
    else if (value != NULL)
        terminal_write(stdout, value + sizeof name - 1, (size_t)(object->str + object->len - 1 - (value + sizeof name - 1)));
}

static void print_text(const struct listening *l, const redisReply *topic, const redisReply *payload, const json_t *object)
{
    if (!l->is_bare) {
        fputs(terminal_style(stdout, TERMINAL_NAME), stdout);
        terminal_write(stdout, topic->str, topic->len);
        printf("%s: ", terminal_style(stdout, TERMINAL_PLAIN));
    }
    if (object != NULL) {
        print_sender(json_object_get(object, "from"));
        print_data(json_object_get(object, "data"), payload);
    } else {
        terminal_write(stdout, payload->str, payload->len);
    }
    putchar('\n');
}

static void print_message(const struct listening *l, const redisReply *topic, const redisReply *payload)
{
    json_t *object = stamped(topic, payload);
    if (!l->cli->json)
        print_text(l, topic, payload, object);
    else if (object == NULL)
        print_json(topic, payload);
    else
        printf("%.*s\n", (int)payload->len, payload->str); /* our members, on one line; and each number as it was sent */
    json_decref(object);
}

static void on_subscribed(struct listening *l)
{
    l->retry_ms = RETRY_FIRST_MS;
    if (l->is_lost) {
        l->is_lost = false;
        cli_error("subscribed again; what was published in between is missing here");
    } else if (l->cli->arg_count == 1) {
        cli_note(l->cli, "subscribed to %s", l->cli->args[0]);
    } else {
        cli_note(l->cli, "subscribed to %d topics and patterns", l->cli->arg_count);
    }
}

/* One reply: a confirmation, a message, or an error. RESP2: ["message", topic, payload], ["pmessage", pattern, topic,
 * payload], ["subscribe", topic, count]. */
static enum outcome handle(struct listening *l, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        cli_server_error("", reply->str);
        return REFUSED;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 3 || reply->element[0]->type != REDIS_REPLY_STRING)
        return GOES_ON;
    const char *kind = reply->element[0]->str;
    if (strcmp(kind, "subscribe") == 0 || strcmp(kind, "psubscribe") == 0) {
        if (++l->confirmed == l->cli->arg_count)
            on_subscribed(l);
        return GOES_ON;
    }
    const redisReply *topic = reply->element[reply->elements - 2], *payload = reply->element[reply->elements - 1];
    bool is_message = strcmp(kind, "message") == 0 || strcmp(kind, "pmessage") == 0;
    if (!is_message || topic->type != REDIS_REPLY_STRING || payload->type != REDIS_REPLY_STRING)
        return GOES_ON;
    print_message(l, topic, payload);
    return ++l->printed == l->cli->count ? ENOUGH : GOES_ON;
}

/* ---- one connection */

static int send_subscribe(redisContext *redis, const char *command, const struct cli *cli, bool patterns)
{
    const char **argv = calloc((size_t)cli->arg_count + 1, sizeof *argv);
    if (argv == NULL)
        return -ENOMEM;
    int argc = 0;
    argv[argc++] = command;
    for (int i = 0; i < cli->arg_count; i++)
        if ((strchr(cli->args[i], '*') != NULL) == patterns)
            argv[argc++] = cli->args[i];
    int r = argc > 1 ? redisAppendCommandArgv(redis, argc, argv, NULL) : REDIS_OK;
    free(argv);
    int done = 0;
    while (r == REDIS_OK && !done)
        r = redisBufferWrite(redis, &done);
    return r == REDIS_OK ? 0 : -EPIPE;
}

static enum outcome read_replies(struct listening *l)
{
    enum outcome outcome = GOES_ON;
    while (outcome == GOES_ON) {
        redisReply *reply = NULL;
        if (redisGetReplyFromReader(l->redis, (void **)&reply) != REDIS_OK)
            return LOST;
        if (reply == NULL)
            break;
        outcome = handle(l, reply);
        freeReplyObject(reply);
    }
    return outcome;
}

static enum outcome listen_to(struct listening *l)
{
    l->confirmed = 0;
    if (send_subscribe(l->redis, "SUBSCRIBE", l->cli, false) < 0 ||
        send_subscribe(l->redis, "PSUBSCRIBE", l->cli, true) < 0)
        return LOST;
    enum outcome outcome = GOES_ON;
    while (outcome == GOES_ON) {
        outcome = wait_for(l->redis->fd, -1);
        if (outcome == GOES_ON && redisBufferRead(l->redis) != REDIS_OK)
            return LOST;
        if (outcome == GOES_ON)
            outcome = read_replies(l);
        if (!cli_flush())
            return STOPPED;
    }
    return outcome;
}

/* ---- and the next */

static void on_lost(struct listening *l) /* said once, however often a server accepts and closes */
{
    char name[300];
    if (l->is_lost)
        return;
    l->is_lost = true;
    cli_error("%s: %s; connecting again", endpoint_name(&l->cli->server, name, sizeof name),
              endpoint_redis_error(l->redis));
}

/* A pause before each try, spread by a quarter so that many do not come back in step; the next one is twice as long. */
static enum outcome pause_before_retry(struct listening *l)
{
    unsigned spread = l->retry_ms / 4;
    int pause_ms = (int)(l->retry_ms - spread + (unsigned)random() % (2 * spread + 1));
    l->retry_ms = l->retry_ms * 2 < RETRY_MAX_MS ? l->retry_ms * 2 : RETRY_MAX_MS;
    return wait_for(-1, pause_ms);
}

/* Try until there is a connection, or a reason to end. A reason why not is said once, until it changes. */
static enum outcome connect_again(struct listening *l)
{
    struct endpoint_error error, said = { "" };
    for (;;) {
        if (pause_before_retry(l) == STOPPED)
            return STOPPED;
        int r = endpoint_open_redis(&l->cli->server, &l->redis, &error);
        if (r == 0)
            return GOES_ON;
        if (r == -EKEYREJECTED) {
            cli_error("%s", error.text);
            return REFUSED;
        }
        if (strcmp(error.text, said.text) != 0)
            cli_error("%s Still trying.", error.text);
        said = error;
    }
}

static enum outcome listen_on(struct listening *l)
{
    l->retry_ms = RETRY_FIRST_MS;
    for (;;) {
        enum outcome outcome = listen_to(l);
        if (outcome == LOST)
            on_lost(l);
        redisFree(l->redis);
        l->redis = NULL;
        if (outcome == LOST)
            outcome = connect_again(l);
        if (outcome != GOES_ON)
            return outcome;
    }
}

/* A shell that runs us in a loop ends the loop only when we die of the signal, not when we exit after it. */
static void end_by_signal(int number)
{
    fflush(stdout);
    signal(number, SIG_DFL);
    raise(number);
}

static enum cli_exit run(const struct cli *cli)
{
    struct listening l = { .cli = cli, .is_bare = cli->arg_count == 1 && strchr(cli->args[0], '*') == NULL };
    struct endpoint_error error;
    int r = endpoint_open_redis(&cli->server, &l.redis, &error);
    if (r < 0) {
        cli_error("%s", error.text);
        return r == -EKEYREJECTED ? CLI_REFUSED : CLI_NO_CONNECTION;
    }
    srandom((unsigned)getpid() ^ (unsigned)clock_wall_ms());
    catch_stop_signals();
    enum outcome outcome = listen_on(&l);
    if (outcome == STOPPED && stop_signal != 0)
        end_by_signal(stop_signal);
    return outcome == REFUSED ? CLI_REFUSED : CLI_DONE;
}

const struct cli_command cmd_sub = {
    .name = "sub",
    .args = "TOPIC...",
    .summary = "print what is published to topics and patterns",
    .help = "Prints each message as it comes: of one plain topic the payload alone, else\n"
            "'topic: payload'. A name with a * is a pattern: a level that is * is any one\n"
            "level, a last level ** any number of them (quote both from the shell). A lost\n"
            "connection is made again; what was published in between is not shown.\n"
            "Where the topic's rule has a stamp, '<who> ' comes before what a client sent.\n"
            "\n"
            "Options:\n"
            "  -n, --count N  end after N messages\n"
            "      --json     print each message as one line of JSON, {\"topic\":…,\"data\":…};\n"
            "                 a payload that is not UTF-8 is \"base64\" instead of \"data\"\n"
            "                 (on a topic with a stamp the object that the server makes, with\n"
            "                 \"cursor\", \"from\" and \"time\" besides)\n"
            "  -q, --quiet    print messages and errors only\n"
            "  -v, --verbose  say on standard error when the subscription is in force\n"
            "\n"
            "Examples:\n"
            "  halley sub chat/42\n"
            "  halley sub --json 'inbox/**' | jq .data\n"
            "  halley sub --count 1 job/7/done\n",
    .options = "njqv",
    .min_args = 1,
    .max_args = 1024,
    .run = run,
};
