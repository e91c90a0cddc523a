/* What the config_*.c files share; nobody else includes it but their tests.
 *
 *   config_item.c     the table of settings: finding one, guessing what was meant, what this version refuses
 *   config_value.c    numbers, units and words: text to value, value to text
 *   config_address.c  listen and backend addresses, origins, echo paths, users and groups
 *   config_text.c     reading the file, and refusing what libconfuse would misread in silence
 *   config_file.c     the grammar, through libconfuse
 *   config_set.c      one section, one value: from text into struct config
 *   config_override.c the environment and the flags
 *   config.c          a config being loaded, from its defaults to the check
 *   config_check.c    what only the whole shows: duplicates, rules that never match, limits that contradict each other
 *   config_print.c    the effective values, the default file, the manual's tables */
#ifndef HALLEY_SERVER_CONFIG_INTERNAL_H
#define HALLEY_SERVER_CONFIG_INTERNAL_H

#include "base/base.h"
#include "server/config.h"

struct buf;

#define CONFIG_MAX_TEXT (1024 * 1024) /* bytes of a file */
#define CONFIG_MAX_TOKEN 4096         /* bytes of one word or string in it */
#define CONFIG_MAX_ENTRIES 1024       /* of one list, sections of one name */

/* --- the table of settings: config_item.c --- */

enum config_type {
    CONFIG_SECTION,
    CONFIG_TEXT,
    CONFIG_USER,
    CONFIG_GROUP,
    CONFIG_LIST_ORIGIN,
    CONFIG_LIST_USER,
    CONFIG_LIST_STAMP,
    CONFIG_LIST_ADDRESS,
    CONFIG_LIST_FILE,
    CONFIG_COUNT, /* from here on: a number in the end */
    CONFIG_COUNT_OR_AUTO,
    CONFIG_BYTES,
    CONFIG_MS,
    CONFIG_MODE,
    CONFIG_BOOL,
    CONFIG_ENUM_LOG_LEVEL,
    CONFIG_ENUM_LOG_FORMAT,
    CONFIG_ENUM_WHO,
    CONFIG_ENUM_PAYLOAD,
    CONFIG_ENUM_ON_SLOW,
    CONFIG_ENUM_TLS_CLIENT,
    CONFIG_ENUM_SYNC,
};

enum config_kind {
    CONFIG_IS_OPTION, /* a number, member of struct config */
    CONFIG_IS_STRING, /* a string, member of struct config */
    CONFIG_IS_KEY,    /* of a repeated section, or a list */
    CONFIG_IS_SECTION,
};

#define OPTION(name, key, type, def, min, max, reload, doc) CONFIG_ID_##name,
#define OPTION_TEXT(name, key, def, reload, doc) CONFIG_ID_##name,
#define SECTION(name, title, doc) CONFIG_ID_##name,
#define KEY(name, key, type, def, min, max, doc) CONFIG_ID_##name,
enum config_id {
#include "server/config_options.def"
    CONFIG_ID_COUNT /* also: no such setting */
};
#undef OPTION
#undef OPTION_TEXT

struct config_item {
    enum config_kind kind;
    enum config_type type;
    const char *key; /* "reactors", "limits.connections", "topics" */
    const char *doc;
    const char *title;    /* CONFIG_IS_SECTION: what stands for it in the manual, or NULL */
    const char *def_text; /* CONFIG_IS_STRING */
    uint64_t def;
    uint64_t min;
    uint64_t max;
    size_t offset; /* in struct config, of options and strings */
    bool restart;
};

extern const struct config_item config_items[CONFIG_ID_COUNT];

/* The setting with this key, or CONFIG_ID_COUNT. With its section apart ("" for none): the same. */
enum config_id config_item_find(const char *key);
enum config_id config_item_find_in(const char *section, const char *name);
const char *config_item_name(enum config_id id);                             /* "connections" of "limits.connections" */
bool config_item_is_in(enum config_id id, const char *section);              /* "" is the top level */
bool config_item_is_list(enum config_id id);                                 /* name = { a, b } */
bool config_item_is_overridable(enum config_id id);                          /* by HALLEY_... and --set */
bool config_item_is_override_list(enum config_id id);                        /* and then with commas */
void config_item_environment(enum config_id id, char *out, size_t out_size); /* HALLEY_LIMITS_CONNECTIONS */

/* The closest of several candidates to a word that is none of them. */
struct config_nearest {
    const char *word;
    char best[64];
    size_t distance;
};
void config_nearest_init(struct config_nearest *n, const char *word); /* borrows word */
void config_nearest_offer(struct config_nearest *n, const char *candidate);
bool config_nearest_is_close(const struct config_nearest *n); /* close enough to be what was meant */

/* What the design knows and this version does not: a setting must not look as if it were in force. Value NULL: any.
 * A key that ends in '*' stands for all that begin so. */
struct config_refusal {
    const char *key;
    const char *value;
};
extern const struct config_refusal config_refusals[]; /* ends with a NULL key */
bool config_is_refused(const struct config_refusal *list, const char *key, const char *value);

/* --- values: config_value.c --- */

struct config_why {
    char text[512];
};

/* Write the sentence why something was refused. Returns -EINVAL. */
int config_because(struct config_why *why, const char *fmt, ...) HLY_PRINTF(2, 3);

struct config_quoted {
    char text[160];
};
/* Someone's text for a message: escaped and cut. The result lives as long as the block that it is used in. */
const char *config_quote(struct config_quoted *q, const char *text);
#define CONFIG_QUOTE(s) config_quote(&(struct config_quoted){ { 0 } }, s)

/* Text to number, in the item's unit and range. Returns 0, or -EINVAL with the reason and what would be right. */
int config_value_parse(const struct config_item *item, const char *text, uint64_t *ret_value, struct config_why *why);
void config_value_format(const struct config_item *item, uint64_t value, char *out, size_t out_size);
/* "1 to 1g", "anyone, token, backend or nobody": what is allowed, without the words that this version refuses. */
void config_value_range(const struct config_item *item, const struct config_refusal *refusals, char *out,
                        size_t out_size);

/* --- addresses and names: config_address.c --- */

/* Fill *ret, whose strings the caller frees with the two below. Return 0, -ENOMEM, or -EINVAL with the reason. */
int config_listen_parse(const char *text, struct config_listen *ret, struct config_why *why);
int config_backend_parse(const char *text, struct config_backend *ret, struct config_why *why);
void config_listen_done(struct config_listen *l);
void config_backend_done(struct config_backend *b);
void config_tls_done(struct config_tls *t);
int config_origin_check(const char *text, struct config_why *why);
int config_echo_check(const char *text, struct config_why *why);
/* A name or a number. Return 0, or -EINVAL with the reason. ret may be NULL. */
int config_user_find(const char *name, uid_t *ret_uid, struct config_why *why);
int config_group_find(const char *name, gid_t *ret_gid, struct config_why *why);

/* --- a config being loaded: config.c --- */

/* What is there when nothing else is said. */
#define CONFIG_DEFAULT_LISTEN "127.0.0.1:8080"
#define CONFIG_DEFAULT_BACKEND "/run/halley/backend.sock"
#define CONFIG_DEFAULT_HISTORY 32
#define CONFIG_DEFAULT_HISTORY_TTL_MS 300000

enum config_from { CONFIG_FROM_DEFAULT, CONFIG_FROM_FILE, CONFIG_FROM_ENVIRONMENT, CONFIG_FROM_FLAG };

struct config_source {
    enum config_from from;
    unsigned line; /* in the file; 0: unknown */
};

struct config_loader {
    struct config *c;
    struct config_error *error;
    const struct config_refusal *refusals;
    struct config_source at;        /* what is being read, for messages */
    enum config_id at_id;           /* likewise; CONFIG_ID_COUNT: no setting in particular */
    bool failed;                    /* error is written; the first one stays */
    unsigned seen[CONFIG_ID_COUNT]; /* line of each key in the section that is open, or at the top level; 0: not yet */
};

/* Write the error, with its place before it, unless there is one. Returns -EINVAL. */
int config_fail(struct config_loader *l, const char *fmt, ...) HLY_PRINTF(2, 3);
int config_fail_memory(struct config_loader *l); /* returns -ENOMEM */
/* Add to the warnings, with the place. */
void config_warn(struct config_loader *l, const char *fmt, ...) HLY_PRINTF(2, 3);

/* Members of struct config, by their setting. */
uint64_t *config_option_of(struct config *c, enum config_id id);
char **config_string_of(struct config *c, enum config_id id);
void config_list_clear(struct config *c, enum config_id id); /* listen, backend, origins, echo */
int config_strings_add(struct config_loader *l, char ***list, size_t *count, const char *text);

/* --- one section, one value: config_set.c --- */

/* A section begins, a key has a value (for lists: is_more after the first), an unknown key was met: all at l->at.
 * Return 0, or negative when the error is written. */
int config_open_section(struct config_loader *l, enum config_id id, const char *title);
int config_set(struct config_loader *l, enum config_id id, const char *value, bool is_more);
int config_unknown(struct config_loader *l, const char *section, const char *key);
int config_refuse(struct config_loader *l, const char *key); /* not supported by this version: always -EINVAL */

/* A rule's key as a number, for every key of `topics` but lists. */
uint64_t config_rule_get(const struct rule *r, enum config_id id);

/* config_load_with() for a text that is there already; name stands for the file in messages. text NULL: no file. */
struct config *config_load_text(const char *name, const char *text, size_t len, char *const *environ_vars,
                                char *const *settings, const struct config_refusal *refusals,
                                struct config_error *ret_error);

/* --- environment and flags: config_override.c --- */

int config_environment_apply(struct config_loader *l, char *const *variables);
int config_flags_apply(struct config_loader *l, char *const *settings);

/* --- the file: config_text.c and config_file.c --- */

/* Append the file's bytes. Returns 0, or -EINVAL with the reason. */
int config_text_read(const char *path, struct buf *out, struct config_why *why);

/* Refuse what libconfuse takes without a word, and blank out the comments, whose lines it miscounts. text[len] is
 * '\0'. */
int config_text_check(struct config_loader *l, char *text, size_t len);

/* Parse a text that passed config_text_check(), calling config_open_section() and config_set() in the file's order. */
int config_file_parse(struct config_loader *l, char *text, size_t len);

/* --- the whole: config_check.c --- */

int config_check(struct config_loader *l);

#endif
