/* One section, one value: from text into struct config. */
#include "server/config_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "auth/addresses.h"

/* --- sections --- */

int config_refuse(struct config_loader *l, const char *key)
{
    return config_fail(l, "'%s' is not supported by this version. Take it out: it would not be in force.",
                       CONFIG_QUOTE(key));
}

static int title_taken(struct config_loader *l, enum config_id id, const char *title, unsigned line)
{
    const char *key = config_items[id].key;
    if (l->at.from != CONFIG_FROM_FILE)
        return config_fail(l, "'%s' is there twice. Name each once.", CONFIG_QUOTE(title));
    return config_fail(l, "%s \"%s\" is there twice: at line %u and at line %u. Make one of the two.", key,
                       CONFIG_QUOTE(title), line, l->at.line);
}

static int open_listen(struct config_loader *l, const char *title)
{
    struct config *c = l->c;
    struct config_why why = { "" };
    for (size_t i = 0; i < c->listen_count; i++) {
        if (strcmp(c->listens[i].address, title) == 0)
            return title_taken(l, CONFIG_ID_listen, title, c->listens[i].line);
    }
    struct config_listen *grown = reallocarray(c->listens, c->listen_count + 1, sizeof *grown);
    if (grown == NULL)
        return config_fail_memory(l);
    c->listens = grown;
    int r = config_listen_parse(title, &grown[c->listen_count], &why);
    if (r < 0)
        return r == -ENOMEM ? config_fail_memory(l) : config_fail(l, "listen: %s", why.text);
    grown[c->listen_count].tls.client_is_required = true;
    grown[c->listen_count++].line = l->at.line;
    return 0;
}

static int open_backend(struct config_loader *l, const char *title)
{
    struct config *c = l->c;
    struct config_why why = { "" };
    for (size_t i = 0; i < c->backend_count; i++) {
        if (strcmp(c->backends[i].address, title) == 0)
            return title_taken(l, CONFIG_ID_backend, title, c->backends[i].line);
    }
    struct config_backend *grown = reallocarray(c->backends, c->backend_count + 1, sizeof *grown);
    if (grown == NULL)
        return config_fail_memory(l);
    c->backends = grown;
    int r = config_backend_parse(title, &grown[c->backend_count], &why);
    if (r < 0)
        return r == -ENOMEM ? config_fail_memory(l) : config_fail(l, "backend: %s", why.text);
    struct config_backend *b = &grown[c->backend_count++];
    b->line = l->at.line;
    b->tls.client_is_required = true;
    return 0;
}

static int open_echo(struct config_loader *l, const char *title)
{
    struct config *c = l->c;
    struct config_why why = { "" };
    for (size_t i = 0; i < c->echo_count; i++) {
        if (strcmp(c->echo_paths[i], title) == 0)
            return config_fail(l, "echo \"%s\" is there twice. Make one of the two.", CONFIG_QUOTE(title));
    }
    if (config_echo_check(title, &why) < 0)
        return config_fail(l, "echo: %s", why.text);
    return config_strings_add(l, &c->echo_paths, &c->echo_count, title);
}

static void rule_set(struct rule *r, enum config_id id, uint64_t value);

/* Append a rule whose keys all have their defaults. */
static int rule_add(struct config_loader *l, const char *pattern)
{
    struct config *c = l->c;
    struct rule *rules = reallocarray(c->rule_list, c->rule_count + 1, sizeof *rules);
    if (rules != NULL)
        c->rule_list = rules;
    unsigned *lines = reallocarray(c->rule_lines, c->rule_count + 1, sizeof *lines);
    if (lines != NULL)
        c->rule_lines = lines;
    char *copy = strdup(pattern);
    if (rules == NULL || lines == NULL || copy == NULL) {
        free(copy);
        return config_fail_memory(l);
    }
    rules[c->rule_count] = (struct rule){ .pattern = { copy, strlen(copy) } };
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        if (config_item_is_in(id, config_items[CONFIG_ID_topics].key) && !config_item_is_list(id))
            rule_set(&rules[c->rule_count], id, config_items[id].def);
    }
    lines[c->rule_count++] = l->at.line;
    return 0;
}

static int open_topics(struct config_loader *l, const char *pattern)
{
    struct config *c = l->c;
    for (size_t i = 0; i < c->rule_count; i++) {
        if (strcmp(c->rule_list[i].pattern.ptr, pattern) == 0)
            return title_taken(l, CONFIG_ID_topics, pattern, c->rule_lines[i]);
    }
    const char *error = rules_pattern_error(pattern, strlen(pattern));
    if (error != NULL)
        return config_fail(l, "topics \"%s\": %s. Write a pattern as in \"chat/42\", \"chat/*\" or \"chat/**\".",
                           CONFIG_QUOTE(pattern), error);
    return rule_add(l, pattern);
}

static size_t section_count(const struct config *c, enum config_id id)
{
    switch ((int)id) {
    case CONFIG_ID_listen:
        return c->listen_count;
    case CONFIG_ID_backend:
        return c->backend_count;
    case CONFIG_ID_echo:
        return c->echo_count;
    case CONFIG_ID_topics:
        return c->rule_count;
    default:
        return 0;
    }
}

static int open_any(struct config_loader *l, enum config_id id, const char *title)
{
    switch ((int)id) {
    case CONFIG_ID_listen:
        return open_listen(l, title);
    case CONFIG_ID_backend:
        return open_backend(l, title);
    case CONFIG_ID_echo:
        return open_echo(l, title);
    case CONFIG_ID_topics:
        return open_topics(l, title);
    default: /* limits: it has no title and is there once */
        if (l->seen[id] != 0)
            return config_fail(l, "'%s' is there twice: at line %u and at line %u. Make one of the two.",
                               config_items[id].key, l->seen[id], l->at.line);
        return 0;
    }
}

int config_open_section(struct config_loader *l, enum config_id id, const char *title)
{
    if (section_count(l->c, id) >= CONFIG_MAX_ENTRIES)
        return config_fail(l, "There are more than %d '%s' sections. That is the most that is taken.",
                           CONFIG_MAX_ENTRIES, config_items[id].key);
    int r = open_any(l, id, title);
    if (r < 0)
        return r;
    l->seen[id] = l->at.line;
    l->c->sources[id] = l->at;
    for (enum config_id key = 0; key < CONFIG_ID_COUNT; key++) {
        if (config_item_is_in(key, config_items[id].key))
            l->seen[key] = 0;
    }
    return 0;
}

/* --- values --- */

static void rule_set(struct rule *r, enum config_id id, uint64_t value)
{
    switch ((int)id) {
    case CONFIG_ID_topics_subscribe:
        r->subscribe = (enum rule_who)value;
        break;
    case CONFIG_ID_topics_publish:
        r->publish = (enum rule_who)value;
        break;
    case CONFIG_ID_topics_history:
        r->history = (uint32_t)value;
        break;
    case CONFIG_ID_topics_history_ttl:
        r->history_ttl_ms = value;
        break;
    case CONFIG_ID_topics_payload:
        r->payload = (enum rule_payload)value;
        break;
    case CONFIG_ID_topics_on_slow:
        r->on_slow = (enum rule_on_slow)value;
        break;
    case CONFIG_ID_topics_presence:
        r->presence = value != 0;
        break;
    case CONFIG_ID_topics_join_leave:
        r->join_leave = value != 0;
        break;
    case CONFIG_ID_topics_presence_grace:
        r->presence_grace_ms = value;
        break;
    case CONFIG_ID_topics_events:
        r->events = value != 0;
        break;
    }
}

uint64_t config_rule_get(const struct rule *r, enum config_id id)
{
    switch ((int)id) {
    case CONFIG_ID_topics_subscribe:
        return (uint64_t)r->subscribe;
    case CONFIG_ID_topics_publish:
        return (uint64_t)r->publish;
    case CONFIG_ID_topics_history:
        return r->history;
    case CONFIG_ID_topics_history_ttl:
        return r->history_ttl_ms;
    case CONFIG_ID_topics_payload:
        return (uint64_t)r->payload;
    case CONFIG_ID_topics_on_slow:
        return (uint64_t)r->on_slow;
    case CONFIG_ID_topics_presence:
        return r->presence;
    case CONFIG_ID_topics_join_leave:
        return r->join_leave;
    case CONFIG_ID_topics_presence_grace:
        return r->presence_grace_ms;
    case CONFIG_ID_topics_events:
        return r->events;
    default:
        return 0;
    }
}

static int set_text(struct config_loader *l, char **to, const char *value)
{
    char *copy = strdup(value);
    if (copy == NULL)
        return config_fail_memory(l);
    free(*to);
    *to = copy;
    return 0;
}

static int add_origin(struct config_loader *l, const char *value)
{
    struct config *c = l->c;
    struct config_why why = { "" };
    if (config_origin_check(value, &why) < 0)
        return config_fail(l, "origins: %s", why.text);
    return config_strings_add(l, &c->origins, &c->origin_count, value);
}

static int add_proxy(struct config_loader *l, const char *value)
{
    struct config *c = l->c;
    char error[256];
    struct addresses *list;
    int r = addresses_new(&value, 1, &list, error, sizeof error);
    if (r < 0)
        return r == -ENOMEM ? config_fail_memory(l) : config_fail(l, "trusted_proxies: %s", error);
    addresses_free(list);
    return config_strings_add(l, &c->trusted_proxies, &c->trusted_proxy_count, value);
}

static int add_uid(struct config_loader *l, struct config_backend *b, const char *value)
{
    struct config_why why = { "" };
    uid_t uid = 0;
    if (config_user_find(value, &uid, &why) < 0)
        return config_fail(l, "backend.allow_uid: %s", why.text);
    uid_t *grown = reallocarray(b->uids, b->uid_count + 1, sizeof *grown);
    if (grown == NULL)
        return config_fail_memory(l);
    b->uids = grown;
    b->uids[b->uid_count++] = uid;
    return 0;
}

static int add_stamp(struct config_loader *l, struct rule *r, const char *value)
{
    if (strcmp(value, "sender") == 0)
        r->stamp_sender = true;
    else if (strcmp(value, "time") == 0)
        r->stamp_time = true;
    else
        return config_fail(l, "topics.stamp: '%s' is not known. It must be sender or time.", CONFIG_QUOTE(value));
    return 0;
}

static int set_account(struct config_loader *l, enum config_id id, char **to, const char *value)
{
    struct config_why why = { "" };
    int r = config_items[id].type == CONFIG_USER ? config_user_find(value, NULL, &why)
                                                 : config_group_find(value, NULL, &why);
    if (r < 0)
        return config_fail(l, "%s: %s", config_items[id].key, why.text);
    return set_text(l, to, value);
}

/* Of the section that was opened last. */
static struct config_tls *tls_of(struct config *c, enum config_id id)
{
    return config_item_is_in(id, "listen") ? &c->listens[c->listen_count - 1].tls : &c->backends[c->backend_count - 1].tls;
}

/* A file's name. */
static int set_file(struct config_loader *l, enum config_id id, char **to, const char *value)
{
    if (value[0] == '\0')
        return config_fail(l, "%s is empty. Name a file, or leave it out.", config_items[id].key);
    return set_text(l, to, value);
}

static int add_file(struct config_loader *l, enum config_id id, char ***list, size_t *count, const char *value)
{
    if (value[0] == '\0')
        return config_fail(l, "%s is empty. Name a file, or leave it out.", config_items[id].key);
    return config_strings_add(l, list, count, value);
}

/* Settings that only the file of a Unix socket has. */
static int backend_key_fits(struct config_loader *l, enum config_id id)
{
    if (id != CONFIG_ID_backend_mode && id != CONFIG_ID_backend_owner && id != CONFIG_ID_backend_group && id != CONFIG_ID_backend_allow_uid)
        return 0;
    const struct config_backend *b = &l->c->backends[l->c->backend_count - 1];
    if (b->path != NULL)
        return 0;
    return config_fail(l, "'%s' is for Unix sockets, and backend \"%s\" is none. Take it out; key_file says who may come in.",
                       config_items[id].key, CONFIG_QUOTE(b->address));
}

/* Strings in the section that was opened last, and lists. */
static int set_key(struct config_loader *l, enum config_id id, const char *value)
{
    struct config *c = l->c;
    switch ((int)id) {
    case CONFIG_ID_origins:
        return add_origin(l, value);
    case CONFIG_ID_trusted_proxies:
        return add_proxy(l, value);
    case CONFIG_ID_backend_key_file:
        return set_file(l, id, &c->backends[c->backend_count - 1].key_file, value);
    case CONFIG_ID_backend_owner:
        return set_account(l, id, &c->backends[c->backend_count - 1].owner, value);
    case CONFIG_ID_backend_group:
        return set_account(l, id, &c->backends[c->backend_count - 1].group, value);
    case CONFIG_ID_backend_allow_uid:
        return add_uid(l, &c->backends[c->backend_count - 1], value);
    case CONFIG_ID_listen_tls_certificate:
    case CONFIG_ID_backend_tls_certificate:
        return add_file(l, id, &tls_of(c, id)->certificates, &tls_of(c, id)->certificate_count, value);
    case CONFIG_ID_listen_tls_key:
    case CONFIG_ID_backend_tls_key:
        return add_file(l, id, &tls_of(c, id)->keys, &tls_of(c, id)->key_count, value);
    case CONFIG_ID_listen_tls_client_ca:
    case CONFIG_ID_backend_tls_client_ca:
        return set_file(l, id, &tls_of(c, id)->client_ca, value);
    case CONFIG_ID_topics_stamp:
        return add_stamp(l, &c->rule_list[c->rule_count - 1], value);
    default:
        return config_fail(l, "'%s' cannot be set.", config_items[id].key); /* not reached: every key is above */
    }
}

static int set_number(struct config_loader *l, enum config_id id, const char *value)
{
    struct config *c = l->c;
    struct config_why why = { "" };
    uint64_t number = 0;
    if (config_value_parse(&config_items[id], value, &number, &why) < 0)
        return config_fail(l, "%s", why.text);
    if (config_is_refused(l->refusals, config_items[id].key, value)) {
        char range[128];
        config_value_range(&config_items[id], l->refusals, range, sizeof range);
        return config_fail(l, "'%s = %s' is not supported by this version. It must be %s.", config_items[id].key, value,
                           range);
    }
    if (config_items[id].kind == CONFIG_IS_OPTION)
        *config_option_of(c, id) = number;
    else if (id == CONFIG_ID_backend_mode)
        c->backends[c->backend_count - 1].mode = (uint32_t)number;
    else if (id == CONFIG_ID_listen_proxy_protocol)
        c->listens[c->listen_count - 1].proxy_protocol = number != 0;
    else if (id == CONFIG_ID_listen_tls_client || id == CONFIG_ID_backend_tls_client)
        tls_of(c, id)->client_is_required = number != 0;
    else
        rule_set(&c->rule_list[c->rule_count - 1], id, number);
    return 0;
}

static int set_any(struct config_loader *l, enum config_id id, const char *value)
{
    if (config_items[id].kind == CONFIG_IS_STRING)
        return set_text(l, config_string_of(l->c, id), value);
    return config_items[id].type >= CONFIG_COUNT ? set_number(l, id, value) : set_key(l, id, value);
}

static size_t files_listed(struct config *c, enum config_id id)
{
    const struct config_tls *t = tls_of(c, id);
    return id == CONFIG_ID_listen_tls_key || id == CONFIG_ID_backend_tls_key ? t->key_count : t->certificate_count;
}

int config_set(struct config_loader *l, enum config_id id, const char *value, bool is_more)
{
    const struct config_item *item = &config_items[id];
    if (config_is_refused(l->refusals, item->key, NULL))
        return config_refuse(l, item->key);
    if (l->at.from == CONFIG_FROM_FILE && !is_more && l->seen[id] != 0)
        return config_fail(l, "'%s' is set twice: at line %u and at line %u. Keep one of them.", item->key, l->seen[id],
                           l->at.line);
    size_t listed = id == CONFIG_ID_origins             ? l->c->origin_count
                    : id == CONFIG_ID_trusted_proxies   ? l->c->trusted_proxy_count
                    : id == CONFIG_ID_backend_allow_uid ? l->c->backends[l->c->backend_count - 1].uid_count
                    : config_items[id].type == CONFIG_LIST_FILE ? files_listed(l->c, id)
                                                        : 0;
    if (listed >= CONFIG_MAX_ENTRIES)
        return config_fail(l, "'%s' lists more than %d. That is the most that is taken.", item->key,
                           CONFIG_MAX_ENTRIES);
    int r = backend_key_fits(l, id);
    if (r == 0)
        r = set_any(l, id, value);
    if (r < 0)
        return r;
    if (!is_more) {
        l->seen[id] = l->at.line;
        l->c->sources[id] = l->at;
    }
    return 0;
}

/* --- names that are no setting --- */

/* "limits or topics": the sections that know this name; "" when none does. */
static void sections_with(const char *name, char *out, size_t out_size)
{
    out[0] = '\0';
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        const char *dot = strchr(config_items[id].key, '.');
        size_t n = strlen(out);
        if (dot != NULL && strcmp(dot + 1, name) == 0)
            snprintf(out + n, out_size - n, "%s%.*s", n == 0 ? "" : " or ", (int)(dot - config_items[id].key),
                     config_items[id].key);
    }
}

static bool unknown_is_misplaced(struct config_loader *l, const char *section, const char *key)
{
    char owners[64];
    enum config_id id = config_item_find(key);
    sections_with(key, owners, sizeof owners);
    if (id < CONFIG_ID_COUNT && strchr(key, '.') != NULL)
        config_fail(l, "In the file '%s' is written %.*s { %s = ... }.", key, (int)strcspn(key, "."), key,
                    config_item_name(id));
    else if (id < CONFIG_ID_COUNT)
        config_fail(l, "'%s' does not belong into %s. Write it outside of the section.", key, section);
    else if (owners[0] != '\0')
        config_fail(l, "'%s' does not belong here, but into a section: %s.", key, owners);
    return l->failed;
}

int config_unknown(struct config_loader *l, const char *section, const char *key)
{
    char full[CONFIG_MAX_TOKEN + 32];
    snprintf(full, sizeof full, "%s%s%s", section, section[0] == '\0' ? "" : ".", key);
    if (config_is_refused(l->refusals, full, NULL))
        return config_refuse(l, full);
    if (unknown_is_misplaced(l, section, key))
        return -EINVAL;
    struct config_nearest nearest;
    config_nearest_init(&nearest, key);
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        if (config_item_is_in(id, section) && !config_is_refused(l->refusals, config_items[id].key, NULL))
            config_nearest_offer(&nearest, config_item_name(id));
    }
    if (config_nearest_is_close(&nearest))
        return config_fail(l, "There is no setting '%s'. Did you mean '%s'?", CONFIG_QUOTE(full), nearest.best);
    return config_fail(l, "There is no setting '%s'. halley.conf(5) lists those that there are.", CONFIG_QUOTE(full));
}
