/* The configuration: one file, read by libconfuse, the environment and flags over it, checked whole, then immutable.
 *
 * config_options.def is the only list of settings. It makes the scalar members of struct config, their defaults,
 * ranges, parser, environment names, --print-config, the man page's tables and conf/halley.conf.
 *
 * A value comes from a flag, else the environment (HALLEY_LIMITS_CONNECTIONS), else the file, else its default. listen,
 * backend, origins, trusted_proxies and echo are replaced whole by a flag or variable: a list with commas. Where there is no listen,
 * backend or topics at all, one of each is built in: "127.0.0.1:8080", "/run/halley/backend.sock", and a rule for "**"
 * that lets everyone subscribe and backends publish.
 *
 * Loading has no side effects outside of the struct that it returns; any thread, though libconfuse's global lexer
 * lets only one at a time parse. */
#ifndef HALLEY_SERVER_CONFIG_H
#define HALLEY_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "core/rules.h"

struct backend_keys;
struct tls_context;

struct config_tls { /* of a listen or backend section */
    char **certificates; /* none: no TLS */
    size_t certificate_count;
    char **keys;         /* as many; none: each is in its certificate's file */
    size_t key_count;
    char *client_ca;     /* NULL: clients are not asked for a certificate */
    bool client_is_required;
    struct tls_context *context; /* what is in the files; NULL: no TLS */
};

struct config_listen { /* listen "0.0.0.0:8080" { } */
    char *address;     /* as written: "HOST:PORT", "[V6]:PORT", "*:PORT" or "unix:/path" */
    char *host;        /* name or address without brackets; NULL: any address, both families (or a Unix socket) */
    uint16_t port;     /* 0: the kernel picks */
    unsigned line;     /* in the file; 0: from elsewhere */
    char *path;        /* of a Unix socket, else NULL */
    bool proxy_protocol;
    struct config_tls tls;
};

struct config_backend { /* backend "/run/halley/backend.sock" { mode = 0660  group = "halley" } */
    char *address;
    char *path; /* of a Unix socket, else NULL (TCP) */
    char *host; /* TCP; NULL: any address, as in config_listen */
    uint16_t port;
    uint32_t mode; /* default 0660 */
    char *owner;   /* user name or number, which exists; NULL: unchanged */
    char *group;
    char *key_file;            /* NULL: no key is needed */
    struct backend_keys *keys; /* what is in it */
    uid_t *uids; /* allow_uid = { "0", "www-data" }; empty: whoever the file mode lets in */
    size_t uid_count;
    struct config_tls tls;
    unsigned line;
};

struct config_source; /* where a setting's value comes from */

struct config {
    char *path; /* of the file; NULL: built-in defaults alone */
    struct config_listen *listens;
    size_t listen_count;
    struct config_backend *backends;
    size_t backend_count;
    char **origins;
    size_t origin_count;
    char **trusted_proxies;
    size_t trusted_proxy_count;
    char **echo_paths; /* echo "/echo" { } */
    size_t echo_count;
    struct rules *rules;    /* from the topics sections */
    struct rule *rule_list; /* the same, for --print-config */
    size_t rule_count;
    unsigned *rule_lines; /* of each rule in rule_list; 0: built in */
    char **warnings;      /* sentences with their place, for the log: what is legal but surely not meant */
    size_t warning_count;
    struct config_source *sources; /* one per setting of config_options.def, for --print-config */
#define OPTION(name, key, type, def, min, max, reload, doc) uint64_t name;
#define OPTION_TEXT(name, key, def, reload, doc) char *name;
#include "server/config_options.def"
#undef OPTION
#undef OPTION_TEXT
};

struct
    config_error { /* what --check-config and a failed start print: "FILE:LINE: what is wrong. What would be right." */
    char text[768];
};

/* Read and check a file (NULL: defaults) and the environment's HALLEY_... overrides. environ_vars is borrowed; NULL:
 * none. Returns the config, or NULL and *ret_error. */
struct config *config_load(const char *path, char *const *environ_vars, struct config_error *ret_error);

/* As config_load(), with flags over all: settings is a list of "key=value" that NULL ends, borrowed; NULL: none.
 * Keys are those of the file with their section: "limits.connections=5", "listen=127.0.0.1:80,[::1]:80". */
struct config *config_load_with(const char *path, char *const *environ_vars, char *const *settings,
                                struct config_error *ret_error);
void config_free(struct config *c); /* NULL is accepted */

/* The settings that differ between the two and are only taken up by a restart, as "reactors, user" cut to out_size,
 * for the log line of a reload. Returns how many. Lists and sections are not looked at. */
size_t config_restart_needed(const struct config *running, const struct config *next, char *out, size_t out_size);

/* --print-config: the effective values in the file's own syntax, each with a comment that says where it comes from.
 * What it prints can be loaded again. */
void config_print(const struct config *c, FILE *out);
/* The annotated default file, conf/halley.conf. */
void config_print_default_file(FILE *out);
/* The tables of doc/man/halley.conf.5, between its markers, in mdoc. */
void config_print_man(FILE *out);

#endif
