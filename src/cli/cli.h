/* The command `halley`: what its commands share.
 *
 * main.c reads the options of all commands from one table into one struct cli, checks that they belong to the
 * command, and calls it. A command is one file, cmd_<name>.c, and one row in main.c. It speaks in two streams:
 * results on stdout, everything that is about them (errors, progress, "connected again") on stderr, each line
 * beginning with "halley: ". The returned exit codes are a promise to scripts. */
#ifndef HALLEY_CLI_CLI_H
#define HALLEY_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"
#include "cli/endpoint.h"

enum cli_exit {
    CLI_DONE = 0,
    CLI_REFUSED = 1,       /* the server said no, or the output could not be written */
    CLI_USAGE = 2,         /* the command line is wrong */
    CLI_NO_CONNECTION = 3, /* the server cannot be reached, or went away before it answered */
};

#define CLI_LIST_MAX 256

struct cli_list { /* of an option that may be given repeatedly */
    const char *items[CLI_LIST_MAX];
    size_t count;
};

struct cli_token { /* the options of `halley token`; NULL: not given */
    const char *alg;
    const char *kid;
    const char *subject;
    struct cli_list subscribe;
    struct cli_list publish;
    struct cli_list auto_names;
    const char *info;
    const char *expires;
    const char *issuer;
    struct cli_list audiences;
    const char *show; /* a token, or "-" for standard input */
};

struct cli {
    struct endpoint server;
    char *const *args; /* of the command, without options; NULL-terminated */
    int arg_count;
    bool json;
    bool quiet;
    bool verbose;
    const char *key; /* of an idempotent publish; NULL: none */
    uint64_t count;  /* stop after so many messages; 0: never */
    const char *after; /* a cursor, or NULL */
    uint64_t last;   /* the newest so many; 0: not asked for */
    uint64_t limit;  /* so many at most; 0: as the command has it */
    bool slow;       /* only clients who are behind */
    const char *user;       /* only clients of this subject; this and the next: NULL if not given */
    const char *connection; /* an id */
    const char *topic;      /* a pattern */
    const char *reason;
    const char *token_id;   /* a jti */
    uint64_t seconds;       /* 0: not given */
    struct cli_token token;
};

struct cli_command {
    const char *name;
    const char *args;    /* as the manual writes them: "TOPIC [MESSAGE]" */
    const char *summary; /* for the list of commands: no capital, no full stop */
    const char *help;    /* what `halley help NAME` says below the usage line */
    const char *options; /* short names of the options it takes beside the common ones */
    bool is_local;       /* it asks no server; of the common options it takes --key-file alone, for a key of its own */
    int min_args;
    int max_args;
    enum cli_exit (*run)(const struct cli *cli);
};

extern const struct cli_command cmd_pub;
extern const struct cli_command cmd_sub;
extern const struct cli_command cmd_topics;
extern const struct cli_command cmd_history;
extern const struct cli_command cmd_clients;
extern const struct cli_command cmd_presence;
extern const struct cli_command cmd_disconnect;
extern const struct cli_command cmd_revoke;
extern const struct cli_command cmd_reload;
extern const struct cli_command cmd_drain;
extern const struct cli_command cmd_upgrade;
extern const struct cli_command cmd_stats;
extern const struct cli_command cmd_token;

/* One line on stderr: "halley: " and the sentence. cli_note() is for what is not an error; it is printed only on a
 * terminal or with --verbose, never with --quiet. */
void cli_error(const char *fmt, ...) HLY_PRINTF(1, 2);
void cli_server_error(const char *where, const char *reply); /* an error reply of RESP, after "line 7: " or "" */
void cli_note(const struct cli *cli, const char *fmt, ...) HLY_PRINTF(2, 3);

/* Push what was printed out to the reader of stdout. False when that failed: the reason has been said, unless it is a
 * reader that simply went away (`| head`), after which the command ends without a word. */
bool cli_flush(void);

#endif
