/* A config being loaded: defaults first, then the file, the environment and the flags over them, then the check of the
 * whole.
 *
 * Whatever fails writes the one error, with its place, and everything above only passes the verdict on. */
#include "server/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "server/config_internal.h"

/* --- what went wrong, and where --- */

static void place_format(const struct config_loader *l, char *out, size_t out_size)
{
    char name[64] = "the environment";
    out[0] = '\0';
    switch (l->at.from) {
    case CONFIG_FROM_FILE:
        if (l->at.line > 0)
            snprintf(out, out_size, "%s:%u: ", l->c->path, l->at.line);
        else
            snprintf(out, out_size, "%s: ", l->c->path);
        break;
    case CONFIG_FROM_ENVIRONMENT:
        if (l->at_id < CONFIG_ID_COUNT)
            config_item_environment(l->at_id, name, sizeof name);
        snprintf(out, out_size, "%s: ", name);
        break;
    case CONFIG_FROM_FLAG:
        snprintf(out, out_size, "--set %s: ", l->at_id < CONFIG_ID_COUNT ? config_items[l->at_id].key : "KEY=VALUE");
        break;
    case CONFIG_FROM_DEFAULT:
        break;
    }
}

int config_fail(struct config_loader *l, const char *fmt, ...)
{
    if (l->failed)
        return -EINVAL;
    l->failed = true;
    place_format(l, l->error->text, sizeof l->error->text);
    size_t n = strlen(l->error->text);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(l->error->text + n, sizeof l->error->text - n, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

int config_fail_memory(struct config_loader *l)
{
    config_fail(l, "out of memory.");
    return -ENOMEM;
}

int config_strings_add(struct config_loader *l, char ***list, size_t *count, const char *text)
{
    char *copy = strdup(text);
    char **grown = copy == NULL ? NULL : reallocarray(*list, *count + 1, sizeof **list);
    if (grown == NULL) {
        free(copy);
        return config_fail_memory(l);
    }
    grown[(*count)++] = copy;
    *list = grown;
    return 0;
}

void config_warn(struct config_loader *l, const char *fmt, ...)
{
    char text[sizeof l->error->text];
    place_format(l, text, sizeof text);
    size_t n = strlen(text);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text + n, sizeof text - n, fmt, ap);
    va_end(ap);
    config_strings_add(l, &l->c->warnings, &l->c->warning_count, text);
}

/* --- what a config owns --- */

static void strings_clear(char ***list, size_t *count)
{
    for (size_t i = 0; i < *count; i++)
        free((*list)[i]);
    free(*list);
    *list = NULL;
    *count = 0;
}

static void listens_clear(struct config *c)
{
    for (size_t i = 0; i < c->listen_count; i++)
        config_listen_done(&c->listens[i]);
    free(c->listens);
    c->listens = NULL;
    c->listen_count = 0;
}

static void backends_clear(struct config *c)
{
    for (size_t i = 0; i < c->backend_count; i++)
        config_backend_done(&c->backends[i]);
    free(c->backends);
    c->backends = NULL;
    c->backend_count = 0;
}

uint64_t *config_option_of(struct config *c, enum config_id id)
{
    return (uint64_t *)(void *)((char *)c + config_items[id].offset);
}

char **config_string_of(struct config *c, enum config_id id)
{
    return (char **)(void *)((char *)c + config_items[id].offset);
}

void config_list_clear(struct config *c, enum config_id id)
{
    switch ((int)id) {
    case CONFIG_ID_listen:
        listens_clear(c);
        break;
    case CONFIG_ID_backend:
        backends_clear(c);
        break;
    case CONFIG_ID_echo:
        strings_clear(&c->echo_paths, &c->echo_count);
        break;
    case CONFIG_ID_origins:
        strings_clear(&c->origins, &c->origin_count);
        break;
    case CONFIG_ID_trusted_proxies:
        strings_clear(&c->trusted_proxies, &c->trusted_proxy_count);
        break;
    }
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    listens_clear(c);
    backends_clear(c);
    strings_clear(&c->origins, &c->origin_count);
    strings_clear(&c->trusted_proxies, &c->trusted_proxy_count);
    strings_clear(&c->echo_paths, &c->echo_count);
    strings_clear(&c->warnings, &c->warning_count);
    for (size_t i = 0; i < c->rule_count; i++)
        free((char *)c->rule_list[i].pattern.ptr);
    free(c->rule_list);
    free(c->rule_lines);
    rules_unref(c->rules);
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        if (config_items[id].kind == CONFIG_IS_STRING)
            free(*config_string_of(c, id));
    }
    free(c->sources);
    free(c->path);
    free(c);
}

static struct config *config_new(const char *path)
{
    struct config *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    bool ok = (c->sources = calloc(CONFIG_ID_COUNT, sizeof *c->sources)) != NULL;
    ok = ok && (path == NULL || (c->path = strdup(path)) != NULL);
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        if (config_items[id].kind == CONFIG_IS_OPTION)
            *config_option_of(c, id) = config_items[id].def;
        if (config_items[id].kind == CONFIG_IS_STRING)
            ok = (*config_string_of(c, id) = strdup(config_items[id].def_text)) != NULL && ok;
    }
    if (ok)
        return c;
    config_free(c);
    return NULL;
}

/* --- the whole --- */

/* Where nothing is said about them: an address, a socket and a rule of each kind. */
static int defaults_apply(struct config_loader *l)
{
    int r = 0;
    l->at = (struct config_source){ CONFIG_FROM_DEFAULT, 0 };
    if (l->c->listen_count == 0)
        r = config_open_section(l, CONFIG_ID_listen, CONFIG_DEFAULT_LISTEN);
    if (r == 0 && l->c->backend_count == 0)
        r = config_open_section(l, CONFIG_ID_backend, CONFIG_DEFAULT_BACKEND);
    if (r == 0 && l->c->rule_count == 0) {
        r = config_open_section(l, CONFIG_ID_topics, "**");
        if (r == 0) {
            l->c->rule_list[0].history = CONFIG_DEFAULT_HISTORY;
            l->c->rule_list[0].history_ttl_ms = CONFIG_DEFAULT_HISTORY_TTL_MS;
        }
    }
    return r;
}

static int file_apply(struct config_loader *l, const char *text, size_t len)
{
    l->at = (struct config_source){ CONFIG_FROM_FILE, 0 };
    if (len > CONFIG_MAX_TEXT)
        return config_fail(l, "The file is larger than %d bytes. It cannot be a configuration file.", CONFIG_MAX_TEXT);
    char *copy = malloc(len + 1);
    if (copy == NULL)
        return config_fail_memory(l);
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    int r = config_text_check(l, copy, len);
    if (r == 0)
        r = config_file_parse(l, copy, len);
    free(copy);
    return r;
}

struct config *config_load_text(const char *name, const char *text, size_t len, char *const *environ_vars,
                                char *const *settings, const struct config_refusal *refusals,
                                struct config_error *ret_error)
{
    struct config_loader l = { .error = ret_error, .refusals = refusals, .at_id = CONFIG_ID_COUNT };
    l.c = config_new(name);
    if (l.c == NULL) {
        config_fail_memory(&l);
        return NULL;
    }
    int r = text == NULL ? 0 : file_apply(&l, text, len);
    if (r == 0)
        r = config_environment_apply(&l, environ_vars);
    if (r == 0)
        r = config_flags_apply(&l, settings);
    if (r == 0)
        r = defaults_apply(&l);
    if (r == 0)
        r = config_check(&l);
    if (r == 0 && !l.failed)
        return l.c;
    config_free(l.c);
    return NULL;
}

struct config *config_load_with(const char *path, char *const *environ_vars, char *const *settings,
                                struct config_error *ret_error)
{
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    struct config_why why = { "" };
    if (path == NULL)
        return config_load_text(NULL, NULL, 0, environ_vars, settings, config_refusals, ret_error);
    if (config_text_read(path, &text, &why) < 0) {
        snprintf(ret_error->text, sizeof ret_error->text, "%s", why.text);
        return NULL;
    }
    return config_load_text(path, text.data == NULL ? "" : (const char *)text.data, text.len, environ_vars, settings,
                            config_refusals, ret_error);
}

struct config *config_load(const char *path, char *const *environ_vars, struct config_error *ret_error)
{
    return config_load_with(path, environ_vars, NULL, ret_error);
}

static bool option_differs(const struct config *a, const struct config *b, enum config_id id)
{
    size_t offset = config_items[id].offset;
    const void *in_a = (const char *)a + offset, *in_b = (const char *)b + offset;
    if (config_items[id].kind == CONFIG_IS_OPTION)
        return memcmp(in_a, in_b, sizeof(uint64_t)) != 0;
    return config_items[id].kind == CONFIG_IS_STRING && strcmp(*(char *const *)in_a, *(char *const *)in_b) != 0;
}

size_t config_restart_needed(const struct config *running, const struct config *next, char *out, size_t out_size)
{
    size_t count = 0;
    if (out_size > 0)
        out[0] = '\0';
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        if (!config_items[id].restart || !option_differs(running, next, id))
            continue;
        size_t n = out_size > 0 ? strlen(out) : 0;
        if (out_size > 0)
            snprintf(out + n, out_size - n, "%s%s", count == 0 ? "" : ", ", config_items[id].key);
        count++;
    }
    return count;
}
