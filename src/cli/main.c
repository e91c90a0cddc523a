/* halley, the command: reads the command line, finds the command, and calls it.
 *
 * All options stand in one table and mean the same everywhere; which of them a command takes, it says itself. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/suggest.h"
#include "cli/terminal.h"

static const struct cli_command *const commands[] = { &cmd_pub,     &cmd_sub,     &cmd_topics,
                                                   &cmd_history, &cmd_clients, &cmd_presence,
                                                   &cmd_disconnect, &cmd_revoke, &cmd_reload, &cmd_drain, &cmd_upgrade, &cmd_stats,
                                                   &cmd_token };

/* The short name is the option's identity; those without a short form on the command line have a letter here all the
 * same, for cli_command.options. */
static const struct option options[] = {
    { "socket", required_argument, NULL, 's' }, { "host", required_argument, NULL, 'H' },
    { "port", required_argument, NULL, 'P' },   { "key-file", required_argument, NULL, 'K' },
    { "tls", no_argument, NULL, 'z' },          { "cacert", required_argument, NULL, 'c' },
    { "insecure", no_argument, NULL, 'Z' },
    { "help", no_argument, NULL, 'h' },         { "version", no_argument, NULL, 'V' },
    { "key", required_argument, NULL, 'k' },    { "count", required_argument, NULL, 'n' },
    { "json", no_argument, NULL, 'j' },         { "quiet", no_argument, NULL, 'q' },
    { "verbose", no_argument, NULL, 'v' },      { "after", required_argument, NULL, 'A' },
    { "last", required_argument, NULL, 'L' },   { "limit", required_argument, NULL, 'l' },
    { "slow", no_argument, NULL, 'S' },         { "alg", required_argument, NULL, 'a' },
    { "kid", required_argument, NULL, 'i' },    { "sub", required_argument, NULL, 'u' },
    { "subscribe", required_argument, NULL, 'b' }, { "publish", required_argument, NULL, 'p' },
    { "auto", required_argument, NULL, 't' },   { "info", required_argument, NULL, 'f' },
    { "expires", required_argument, NULL, 'e' }, { "iss", required_argument, NULL, 'I' },
    { "user", required_argument, NULL, 'U' },   { "connection", required_argument, NULL, 'C' },
    { "topic", required_argument, NULL, 'O' },  { "reason", required_argument, NULL, 'R' },
    { "token", required_argument, NULL, 'T' },  { "for", required_argument, NULL, 'F' },
    { "aud", required_argument, NULL, 'd' },    { "show", required_argument, NULL, 'w' },
    { 0 },
};
#define SHORT_OPTIONS ":s:hVk:n:qv"
#define COMMON_OPTIONS "sHPKzcZhV"
#define LOCAL_OPTIONS "KhV" /* of a command that asks no server */

static const char common_help[] = "Where the server is:\n"
                                  "  -s, --socket PATH    its backend socket; without it $HALLEY_SOCKET, else\n"
                                  "                       " ENDPOINT_DEFAULT_SOCKET "\n"
                                  "      --host HOST --port PORT\n"
                                  "                       its backend door on TCP\n"
                                  "      --tls            speak TLS to it\n"
                                  "      --cacert FILE    and trust these certificates (PEM) instead of the system's\n"
                                  "      --insecure       and trust whoever answers\n"
                                  "      --key-file FILE  holds the key that a backend door on TCP asks for\n";

/* What getopt_long() was told, before it is known which command it is for. */
struct command_line {
    struct cli cli;
    const char *socket;
    char seen[HLY_ARRAY_LEN(options)]; /* the letters of the options given, each once */
    bool wants_help;
    bool wants_version;
};

/* ---- saying things */

static void say(const char *prefix, const char *fmt, va_list ap)
{
    char text[2048];
    vsnprintf(text, sizeof text, fmt, ap);
    fflush(stdout);
    fprintf(stderr, "%shalley:%s ", prefix, prefix[0] != '\0' ? terminal_style(stderr, TERMINAL_PLAIN) : "");
    terminal_write(stderr, text, strlen(text));
    fputc('\n', stderr);
}

void cli_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(terminal_style(stderr, TERMINAL_ERROR), fmt, ap);
    va_end(ap);
}

void cli_server_error(const char *where, const char *reply)
{
    if (strncmp(reply, "ERR ", 4) == 0)
        cli_error("%s%s", where, reply + 4);
    else if (strncmp(reply, "NOAUTH", 6) == 0)
        cli_error("%sthis backend door asks for a key: name the file that holds it with --key-file", where);
    else
        cli_error("%s%s", where, reply);
}

void cli_note(const struct cli *cli, const char *fmt, ...)
{
    if (cli->quiet || (!cli->verbose && !terminal_is(stderr)))
        return;
    va_list ap;
    va_start(ap, fmt);
    say(terminal_style(stderr, TERMINAL_DIM), fmt, ap);
    va_end(ap);
}

bool cli_flush(void)
{
    static bool has_failed; /* stays: what is printed from now on is lost */
    errno = 0;
    if (!has_failed && (fflush(stdout) != 0 || ferror(stdout))) {
        has_failed = true;
        if (errno != EPIPE && errno != EINTR && errno != 0)
            cli_error("cannot write to standard output: %s", strerror(errno));
    }
    return !has_failed;
}

/* ---- help */

static void print_overview(FILE *out)
{
    const char *bold = terminal_style(out, TERMINAL_BOLD), *plain = terminal_style(out, TERMINAL_PLAIN);
    fprintf(out, "%shalley%s speaks to the push server halleyd as a backend does.\n\n", bold, plain);
    fprintf(out, "Usage: halley COMMAND [OPTIONS] [ARGUMENTS]\n\nCommands:\n");
    for (size_t i = 0; i < HLY_ARRAY_LEN(commands); i++)
        fprintf(out, "  %s%-10s%s %-16s %s\n", bold, commands[i]->name, plain, commands[i]->args, commands[i]->summary);
    fprintf(out, "  %s%-10s%s %-16s %s\n\n%s\n", bold, "help", plain, "[COMMAND]", "explain a command", common_help);
    fprintf(out, "  -h, --help           this, or with a command what it does\n"
                 "  -V, --version        the version\n\n"
                 "Exit codes: 0 done, 1 refused by the server, 2 wrong usage, 3 cannot connect.\n");
}

static void print_command_help(const struct cli_command *command)
{
    printf("Usage: %shalley %s%s%s%s\n\n%s\n%s", terminal_style(stdout, TERMINAL_BOLD), command->name,
           command->args[0] != '\0' ? " " : "", command->args, terminal_style(stdout, TERMINAL_PLAIN), command->help,
           command->is_local ? "" : common_help);
}

/* ---- the command line */

static const struct cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < HLY_ARRAY_LEN(commands); i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    const char *names[HLY_ARRAY_LEN(commands) + 1];
    for (size_t i = 0; i < HLY_ARRAY_LEN(commands); i++)
        names[i] = commands[i]->name;
    names[HLY_ARRAY_LEN(commands)] = "help";
    const char *near = suggest_nearest(name, names, HLY_ARRAY_LEN(names));
    if (near != NULL)
        cli_error("there is no command '%s'. Did you mean 'halley %s'?", name, near);
    else
        cli_error("there is no command '%s'. 'halley help' lists them.", name);
    return NULL;
}

static void complain_unknown(const char *arg)
{
    const char *names[HLY_ARRAY_LEN(options)], *near = NULL;
    size_t count = 0;
    for (const struct option *o = options; o->name != NULL; o++)
        names[count++] = o->name;
    char word[64];
    if (strncmp(arg, "--", 2) == 0) {
        snprintf(word, sizeof word, "%.*s", (int)strcspn(arg + 2, "="), arg + 2);
        near = suggest_nearest(word, names, count);
    }
    if (near != NULL)
        cli_error("there is no option %s. Did you mean --%s?", arg, near);
    else
        cli_error("there is no option %s. What is not an option but begins with '-' goes after '--'.", arg);
}

static const char *option_name(int letter)
{
    for (const struct option *o = options; o->name != NULL; o++)
        if (o->val == letter)
            return o->name;
    return "";
}

static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n < min || n > max)
        return false;
    *ret_number = n;
    return true;
}

static bool take_number(const char *option, const char *value, uint64_t *ret)
{
    if (parse_number(value, 1, INT64_MAX, ret))
        return true;
    cli_error("--%s takes a number from 1, not '%s'", option, value);
    return false;
}

static bool take_item(const char *option, const char *value, struct cli_list *list)
{
    if (list->count == CLI_LIST_MAX) {
        cli_error("--%s can be given %d times", option, CLI_LIST_MAX);
        return false;
    }
    list->items[list->count++] = value;
    return true;
}

static bool take_token_option(struct cli_token *token, int letter, const char *value)
{
    switch (letter) {
    case 'a':
        token->alg = value;
        break;
    case 'i':
        token->kid = value;
        break;
    case 'u':
        token->subject = value;
        break;
    case 'b':
        return take_item("subscribe", value, &token->subscribe);
    case 'p':
        return take_item("publish", value, &token->publish);
    case 't':
        return take_item("auto", value, &token->auto_names);
    case 'f':
        token->info = value;
        break;
    case 'e':
        token->expires = value;
        break;
    case 'I':
        token->issuer = value;
        break;
    case 'd':
        return take_item("aud", value, &token->audiences);
    case 'w':
        token->show = value;
        break;
    }
    return true;
}

/* Take one option. Returns false when its value makes no sense; that has been said. */
static bool take_option(struct command_line *line, int letter, const char *value)
{
    uint64_t port;
    switch (letter) {
    case 's':
        line->socket = value;
        break;
    case 'H':
        line->cli.server.host = value;
        break;
    case 'P':
        if (!parse_number(value, 1, 65535, &port)) {
            cli_error("--port takes a number from 1 to 65535, not '%s'", value);
            return false;
        }
        line->cli.server.port = value;
        break;
    case 'K':
        line->cli.server.key_file = value;
        break;
    case 'c':
        line->cli.server.ca_file = value;
        line->cli.server.is_tls = true;
        break;
    case 'Z':
        line->cli.server.is_trusted_blindly = true;
        line->cli.server.is_tls = true;
        break;
    case 'z':
        line->cli.server.is_tls = true;
        break;
    case 'h':
        line->wants_help = true;
        break;
    case 'V':
        line->wants_version = true;
        break;
    case 'k':
        if (value[0] == '\0' || strlen(value) > 255) {
            cli_error("--key takes an ID of 1 to 255 bytes");
            return false;
        }
        line->cli.key = value;
        break;
    case 'n':
        return take_number("count", value, &line->cli.count);
    case 'A':
        line->cli.after = value;
        break;
    case 'L':
        return take_number("last", value, &line->cli.last);
    case 'l':
        return take_number("limit", value, &line->cli.limit);
    case 'S':
        line->cli.slow = true;
        break;
    case 'U':
        line->cli.user = value;
        break;
    case 'C':
        line->cli.connection = value;
        break;
    case 'O':
        line->cli.topic = value;
        break;
    case 'R':
        line->cli.reason = value;
        break;
    case 'T':
        line->cli.token_id = value;
        break;
    case 'F':
        return take_number("for", value, &line->cli.seconds);
    case 'j':
        line->cli.json = true;
        break;
    case 'q':
        line->cli.quiet = true;
        break;
    case 'v':
        line->cli.verbose = true;
        break;
    default:
        return take_token_option(&line->cli.token, letter, value);
    }
    return true;
}

static bool read_options(struct command_line *line, int argc, char **argv)
{
    int letter;
    while ((letter = getopt_long(argc, argv, SHORT_OPTIONS, options, NULL)) != -1) {
        if (letter == ':') {
            cli_error("%s needs a value", argv[optind - 1]);
            return false;
        }
        if (letter == '?') {
            char short_option[] = { '-', (char)optopt, '\0' };
            bool is_short = optopt != 0 && strncmp(argv[optind - 1], "--", 2) != 0;
            complain_unknown(is_short ? short_option : argv[optind - 1]);
            return false;
        }
        if (!take_option(line, letter, optarg))
            return false;
        if (strchr(line->seen, letter) == NULL)
            line->seen[strlen(line->seen)] = (char)letter;
    }
    return true;
}

static bool find_server(struct command_line *line)
{
    struct endpoint *server = &line->cli.server;
    if (line->socket != NULL && (server->host != NULL || server->port != NULL)) {
        cli_error("--socket and --host name two servers: leave one out");
        return false;
    }
    if (server->host != NULL || server->port != NULL) {
        if (server->host == NULL)
            server->host = "localhost";
        if (server->port == NULL)
            cli_error("--host needs a --port");
        return server->port != NULL;
    }
    if (server->is_tls) {
        cli_error("--tls, --cacert and --insecure go with --host and --port: nobody listens in on a Unix socket");
        return false;
    }
    const char *from_environment = getenv("HALLEY_SOCKET");
    server->path = ENDPOINT_DEFAULT_SOCKET;
    if (line->socket != NULL)
        server->path = line->socket;
    else if (from_environment != NULL && from_environment[0] != '\0')
        server->path = from_environment;
    return true;
}

/* Do the options and arguments that were given belong to the command? */
static bool fits(const struct cli_command *command, const struct command_line *line)
{
    const char *common = command->is_local ? LOCAL_OPTIONS : COMMON_OPTIONS;
    for (const char *letter = line->seen; *letter != '\0'; letter++)
        if (strchr(common, *letter) == NULL && strchr(command->options, *letter) == NULL) {
            cli_error("%s does not take --%s", command->name, option_name(*letter));
            return false;
        }
    int n = line->cli.arg_count;
    if (n < command->min_args)
        cli_error("an argument is missing: halley %s %s", command->name, command->args);
    else if (n > command->max_args && command == &cmd_pub)
        cli_error("pub takes one message: put it in quotes");
    else if (n > command->max_args)
        cli_error("'%s' is one argument too many for halley %s", line->cli.args[command->max_args], command->name);
    return n >= command->min_args && n <= command->max_args;
}

/* ---- the whole */

static enum cli_exit run_help(const struct command_line *line)
{
    if (line->cli.arg_count == 0 || strcmp(line->cli.args[0], "help") == 0) {
        print_overview(stdout);
        return CLI_DONE;
    }
    const struct cli_command *command = find_command(line->cli.args[0]);
    if (command == NULL)
        return CLI_USAGE;
    print_command_help(command);
    return CLI_DONE;
}

static enum cli_exit run_command(struct command_line *line, const char *name)
{
    const struct cli_command *command = find_command(name);
    if (command == NULL)
        return CLI_USAGE;
    if (line->wants_help) {
        print_command_help(command);
        return CLI_DONE;
    }
    if (!fits(command, line) || (!command->is_local && !find_server(line)))
        return CLI_USAGE;
    return command->run(&line->cli);
}

int main(int argc, char **argv)
{
    struct command_line line = { 0 };
    setvbuf(stderr, NULL, _IOLBF, BUFSIZ); /* a line is one write, so that those of several programs do not mix */
    signal(SIGPIPE, SIG_IGN);              /* a server or reader that goes away is an error to handle, not a death */
    opterr = 0;
    if (!read_options(&line, argc, argv))
        return CLI_USAGE;
    const char *name = argv[optind];
    line.cli.args = name != NULL ? argv + optind + 1 : argv + optind;
    line.cli.arg_count = name != NULL ? argc - optind - 1 : 0;
    enum cli_exit e = CLI_DONE;
    if (line.wants_version)
        puts("halley " HALLEY_VERSION);
    else if (name == NULL && !line.wants_help)
        print_overview(stderr), e = CLI_USAGE;
    else if (name == NULL || strcmp(name, "help") == 0)
        e = run_help(&line);
    else
        e = run_command(&line, name);
    return cli_flush() || e != CLI_DONE ? (int)e : CLI_REFUSED;
}
