/* halleyd: reads its arguments and its config, and runs the server. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "server/config.h"
#include "server/server.h"
#include "server/succeed.h"
#include "server/systemd.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "usage: halleyd [--config FILE] [--set KEY=VALUE]...\n"
    "       halleyd --check-config | --print-config | --print-default-config\n"
    "\n"
    "  -c, --config FILE        the config file; without it the built-in defaults apply\n"
    "  -s, --set KEY=VALUE      override a setting, such as limits.connections=5000; may be repeated\n"
    "  -t, --check-config       check the config, and say what is wrong with it\n"
    "  -p, --print-config       print the settings in force, and where each comes from\n"
    "      --print-default-config\n"
    "                           print the commented default config file\n"
    "  -V, --version            print the version\n"
    "  -h, --help               print this help\n"
    "\n"
    "Settings come from flags, then the environment (HALLEY_LIMITS_CONNECTIONS), then the file, then the defaults.\n"
    "See halleyd(8) and halley.conf(5).\n";

struct arguments {
    const char *config_path;
    char **settings; /* NULL-terminated, for config_load_with() */
    size_t setting_count;
    bool check;
    bool print;
};

extern char **environ;

enum { OPT_PRINT_DEFAULT = 256, OPT_PRINT_MAN };

static const struct option options[] = {
    { "config", required_argument, NULL, 'c' },
    { "set", required_argument, NULL, 's' },
    { "check-config", no_argument, NULL, 't' },
    { "print-config", no_argument, NULL, 'p' },
    { "print-default-config", no_argument, NULL, OPT_PRINT_DEFAULT },
    { "print-config-man", no_argument, NULL, OPT_PRINT_MAN }, /* for whoever changes config_options.def */
    { "version", no_argument, NULL, 'V' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static int bad_usage(void)
{
    fputs("Try 'halleyd --help'.\n", stderr);
    return EXIT_USAGE;
}

/* Returns -1 to go on, or the exit code. */
static int parse_arguments(int argc, char **argv, struct arguments *a)
{
    a->settings = calloc((size_t)argc + 1, sizeof(char *));
    if (a->settings == NULL)
        return EXIT_FAILED;
    for (int opt; (opt = getopt_long(argc, argv, "c:s:tpVh", options, NULL)) != -1;) {
        switch (opt) {
        case 'c': a->config_path = optarg; break;
        case 's': a->settings[a->setting_count++] = optarg; break;
        case 't': a->check = true; break;
        case 'p': a->print = true; break;
        case OPT_PRINT_DEFAULT: config_print_default_file(stdout); return EXIT_OK;
        case OPT_PRINT_MAN: config_print_man(stdout); return EXIT_OK;
        case 'V': puts("halleyd " HALLEY_VERSION); return EXIT_OK;
        case 'h': fputs(usage, stdout); return EXIT_OK;
        default: return bad_usage();
        }
    }
    if (optind < argc) {
        fprintf(stderr, "halleyd: what is '%s'? A config file is given with --config FILE.\n", argv[optind]);
        return bad_usage();
    }
    return -1;
}

/* Takes the config. */
static int serve(struct config *c, const struct server_source *source, struct succession *succession)
{
    log_setup((enum log_level)c->log_level, c->log_json != 0);
    systemd_init();
    systemd_log_to_journal();
    for (size_t i = 0; i < c->warning_count; i++)
        log_warn("config", "%s", c->warnings[i]);
    signal(SIGPIPE, SIG_IGN);
    struct server *s = server_new(c, source, succession);
    if (s == NULL)
        return EXIT_FAILED;
    int code = server_run(s);
    server_free(s);
    return code;
}

static int check(const struct config *c)
{
    for (size_t i = 0; i < c->warning_count; i++)
        fprintf(stderr, "warning: %s\n", c->warnings[i]);
    printf("%s: the configuration is valid\n", c->path != NULL ? c->path : "built-in defaults");
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    struct arguments a = { 0 };
    int code = parse_arguments(argc, argv, &a);
    if (code >= 0) {
        free(a.settings);
        return code;
    }
    struct config_error error;
    struct succession *succession = a.check || a.print ? NULL : succeed_begin();
    struct config *c = config_load_with(a.config_path, environ, a.settings, &error);
    if (c == NULL) {
        fprintf(stderr, "halleyd: %s\n", error.text);
        succeed_refuse(succession, error.text);
        succeed_end(succession);
        code = EXIT_FAILED;
    } else if (a.check) {
        code = check(c);
    } else if (a.print) {
        config_print(c, stdout);
        code = EXIT_OK;
    } else {
        code = serve(c, &(struct server_source){ a.config_path, environ, a.settings }, succession);
        c = NULL;
    }
    config_free(c);
    free(a.settings);
    return code;
}
