/* halley pub: publish one message, or each line of stdin.
 *
 * Lines go out as soon as they are there. While stdin has more, up to a window of them is on its way at once; as soon
 * as it pauses, every answer is awaited. So a line that is typed, or comes from `tail -f`, is published at once, and
 * a file goes as fast as the server takes it. Answers come in order: the n-th is that of line n. */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/terminal.h"

#define WINDOW_MESSAGES 1024
#define WINDOW_BYTES (256u << 10)
#define READ_BYTES (64u << 10)
#define ERRORS_SHOWN 10
#define PROGRESS_AFTER_MS 1000
#define PROGRESS_EVERY_MS 200

struct publication {
    const struct cli *cli;
    const char *topic;
    redisContext *redis;
    bool is_stream; /* lines of stdin, not one MESSAGE */
    bool is_typed;  /* stdin is a terminal: each answer is shown */
    bool shows_progress;
    bool progress_is_shown; /* the cursor stands behind a progress line */
    uint64_t begun;         /* messages given to hiredis */
    uint64_t answered;      /* of these */
    uint64_t refused;       /* of these */
    uint64_t subscriptions; /* sum of the answers */
    size_t unsent_bytes;    /* an upper bound */
    uint64_t started_ms;
    uint64_t progress_ms; /* when it was last shown */
};

/* ---- progress */

static void progress_clear(struct publication *p)
{
    if (!p->progress_is_shown)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    p->progress_is_shown = false;
}

static void progress_show(struct publication *p)
{
    if (!p->shows_progress)
        return;
    uint64_t now = clock_mono_ms(), age = now - p->started_ms;
    if (age < PROGRESS_AFTER_MS || now - p->progress_ms < PROGRESS_EVERY_MS)
        return;
    char done[TERMINAL_NUMBER], rate[TERMINAL_NUMBER];
    fprintf(stderr, "\r\033[K%s messages, %s/s", terminal_number(p->answered, done),
            terminal_number(p->answered * 1000 / age, rate));
    fflush(stderr); /* it has no newline */
    p->progress_ms = now;
    p->progress_is_shown = true;
}

/* ---- answers */

static void show_refusal(struct publication *p, const char *why)
{
    if (p->refused > ERRORS_SHOWN)
        return; /* counted, and said once at the end */
    char where[40] = "";
    if (p->is_stream)
        snprintf(where, sizeof where, "line %" PRIu64 ": ", p->answered);
    progress_clear(p);
    cli_server_error(where, why);
}

static void show_answer(const struct publication *p, long long subscriptions)
{
    if (!p->is_typed || p->cli->quiet)
        return;
    fprintf(stderr, "%s  %lld subscription%s%s\n", terminal_style(stderr, TERMINAL_DIM), subscriptions,
            subscriptions == 1 ? "" : "s", terminal_style(stderr, TERMINAL_PLAIN));
}

/* Wait for the next answer; hiredis sends first what is not sent. */
static enum cli_exit take_answer(struct publication *p)
{
    redisReply *reply = NULL;
    if (redisGetReply(p->redis, (void **)&reply) != REDIS_OK) {
        char name[300];
        progress_clear(p);
        cli_error("%s: %s; %" PRIu64 " of %" PRIu64 " messages were answered",
                  endpoint_name(&p->cli->server, name, sizeof name), endpoint_redis_error(p->redis), p->answered,
                  p->begun);
        return CLI_NO_CONNECTION;
    }
    p->unsent_bytes = 0;
    p->answered++;
    if (reply->type == REDIS_REPLY_INTEGER) {
        p->subscriptions += (uint64_t)reply->integer;
        show_answer(p, reply->integer);
    } else {
        p->refused++;
        show_refusal(p, reply->type == REDIS_REPLY_ERROR ? reply->str : "the answer is not a number");
    }
    freeReplyObject(reply);
    return CLI_DONE;
}

static enum cli_exit take_answers_until(struct publication *p, uint64_t outstanding)
{
    enum cli_exit e = CLI_DONE;
    while (e == CLI_DONE && p->begun - p->answered > outstanding)
        e = take_answer(p);
    progress_show(p);
    return e;
}

/* ---- messages */

static enum cli_exit publish(struct publication *p, const char *payload, size_t len)
{
    char key[1024];
    const char *argv[] = { "PUBLISH", p->topic, payload, "KEY", key };
    size_t argv_len[] = { 7, strlen(p->topic), len, 3, 0 };
    int argc = 3;
    if (p->cli->key != NULL) { /* of a stream each line has its own, the same when the same file is published again */
        int n = p->is_stream ? snprintf(key, sizeof key, "%s-%" PRIu64, p->cli->key, p->begun + 1)
                             : snprintf(key, sizeof key, "%s", p->cli->key);
        argv_len[4] = (size_t)n;
        argc = 5;
    }
    if (redisAppendCommandArgv(p->redis, argc, argv, argv_len) != REDIS_OK) {
        cli_error("out of memory");
        return CLI_REFUSED;
    }
    p->begun++;
    p->unsent_bytes += len + 64;
    if (p->begun - p->answered >= WINDOW_MESSAGES)
        return take_answers_until(p, WINDOW_MESSAGES / 2);
    if (p->unsent_bytes >= WINDOW_BYTES)
        return take_answers_until(p, p->begun - p->answered - 1);
    return CLI_DONE;
}

/* Publish the whole lines that are in `in`, and keep the rest. *scanned bytes of it are known to hold no newline. */
static enum cli_exit publish_lines(struct publication *p, struct buf *in, size_t *scanned)
{
    size_t at = 0;
    enum cli_exit e = CLI_DONE;
    for (;;) {
        const char *line = (const char *)in->data + at;
        const char *newline = memchr(line + *scanned, '\n', in->len - at - *scanned);
        if (newline == NULL)
            break;
        *scanned = 0;
        if ((e = publish(p, line, (size_t)(newline - line))) != CLI_DONE)
            return e;
        at += (size_t)(newline - line) + 1;
    }
    buf_consume(in, at);
    *scanned = in->len;
    return e;
}

/* Before stdin is read: when it has nothing, await every answer, then wait for a line, or for the server to go away. */
static enum cli_exit wait_for_stdin(struct publication *p)
{
    struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = p->redis->fd, .events = POLLIN } };
    if (poll(fds, 1, 0) > 0)
        return CLI_DONE;
    enum cli_exit e = take_answers_until(p, 0);
    if (e != CLI_DONE)
        return e;
    poll(fds, HLY_ARRAY_LEN(fds), -1);
    if (fds[0].revents != 0 || fds[1].revents == 0)
        return CLI_DONE;
    char name[300];
    cli_error("%s: the server closed the connection", endpoint_name(&p->cli->server, name, sizeof name));
    return CLI_NO_CONNECTION;
}

static enum cli_exit publish_stream(struct publication *p)
{
    HLY_CLEANUP(buf_done) struct buf in = { 0 };
    size_t scanned = 0;
    enum cli_exit e = CLI_DONE;
    while (e == CLI_DONE) {
        if ((e = wait_for_stdin(p)) != CLI_DONE)
            return e;
        uint8_t *to = buf_reserve(&in, READ_BYTES);
        ssize_t n = to != NULL ? read(STDIN_FILENO, to, READ_BYTES) : -1;
        if (n == -1 && to != NULL && errno == EINTR)
            continue;
        if (n == -1) {
            cli_error("cannot read standard input: %s",
                      to != NULL ? strerror(errno) : "a line is too long for the memory");
            return CLI_REFUSED;
        }
        if (n == 0)
            break;
        in.len += (size_t)n;
        e = publish_lines(p, &in, &scanned);
    }
    if (e == CLI_DONE && in.len > 0) /* a last line without its newline */
        e = publish(p, (const char *)in.data, in.len);
    return e == CLI_DONE ? take_answers_until(p, 0) : e;
}

/* ---- the command */

static void print_json(const struct publication *p)
{
    json_t *o =
        json_pack("{s:s, s:I, s:I, s:I}", "topic", p->topic, "published", (json_int_t)(p->answered - p->refused),
                  "refused", (json_int_t)p->refused, "subscriptions", (json_int_t)p->subscriptions);
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
}

static void print_result(const struct publication *p)
{
    char n[TERMINAL_NUMBER];
    if (p->cli->json)
        print_json(p);
    else if (!p->is_stream && p->refused == 0 && !p->cli->quiet)
        printf("%s subscription%s\n", terminal_number(p->subscriptions, n), p->subscriptions == 1 ? "" : "s");
    else if (p->is_stream && !p->is_typed)
        cli_note(p->cli, "%s message%s published in %.1f s", terminal_number(p->answered - p->refused, n),
                 p->answered - p->refused == 1 ? "" : "s", (double)(clock_mono_ms() - p->started_ms) / 1000);
    if (p->is_stream && p->refused > ERRORS_SHOWN)
        cli_error("%s lines were refused in all", terminal_number(p->refused, n));
}

static enum cli_exit run(const struct cli *cli)
{
    struct publication p = { .cli = cli, .topic = cli->args[0], .is_stream = cli->arg_count == 1 };
    struct endpoint_error error;
    int r = endpoint_open_redis(&cli->server, &p.redis, &error);
    if (r < 0) {
        cli_error("%s", error.text);
        return r == -EKEYREJECTED ? CLI_REFUSED : CLI_NO_CONNECTION;
    }
    p.is_typed = p.is_stream && terminal_is(stdin);
    p.shows_progress = p.is_stream && !p.is_typed && terminal_is(stderr) && !cli->quiet;
    p.started_ms = clock_mono_ms();
    if (p.is_typed)
        cli_note(cli, "each line is a message to %s; Ctrl-D ends", p.topic);
    enum cli_exit e;
    if (p.is_stream)
        e = publish_stream(&p);
    else if ((e = publish(&p, cli->args[1], strlen(cli->args[1]))) == CLI_DONE)
        e = take_answers_until(&p, 0);
    progress_clear(&p);
    redisFree(p.redis);
    if (e != CLI_DONE)
        return e;
    print_result(&p);
    return p.refused > 0 ? CLI_REFUSED : CLI_DONE;
}

const struct cli_command cmd_pub = {
    .name = "pub",
    .args = "TOPIC [MESSAGE]",
    .summary = "publish a message, or each line of standard input",
    .help = "Publishes MESSAGE and prints how many subscriptions on this server it matched.\n"
            "Without MESSAGE each line of standard input is one message, published as soon\n"
            "as it is there. A MESSAGE that begins with '-' goes after '--'.\n"
            "\n"
            "Options:\n"
            "  -k, --key ID   publish once: a repeat with the same ID within the server's\n"
            "                 idempotency_window reaches nobody and gets the first answer.\n"
            "                 Lines of standard input have the keys ID-1, ID-2, and so on.\n"
            "      --json     print the result as one JSON object\n"
            "  -q, --quiet    print errors only\n"
            "  -v, --verbose  say on standard error how many lines were published\n"
            "\n"
            "Examples:\n"
            "  halley pub chat/42 'hello, world'\n"
            "  tail -f access.log | halley pub log/access\n"
            "  halley pub --key import-7 prices < prices.ndjson\n",
    .options = "kjqv",
    .min_args = 1,
    .max_args = 2,
    .run = run,
};
