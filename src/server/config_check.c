/* What only the whole configuration shows: errors that would meet someone later, and warnings about what cannot be
 * meant. */
#include "server/config_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "auth/addresses.h"
#include "auth/backend_key.h"
#include "auth/callback_url.h"
#include "auth/jwt_key.h"
#include "core/topic_name.h"
#include "net/tls_context.h"

/* The place of a section, for messages: its own line if it is from the file, else wherever the list comes from. */
static void at_section(struct config_loader *l, enum config_id id, unsigned line)
{
    l->at = (struct config_source){ l->c->sources[id].from, line };
    l->at_id = id;
}

static void at_setting(struct config_loader *l, enum config_id id)
{
    l->at = l->c->sources[id];
    l->at_id = id;
}

/* --- accounts --- */

static int accounts_check(struct config_loader *l)
{
    struct config_why why = { "" };
    at_setting(l, CONFIG_ID_user);
    if (l->c->user[0] != '\0' && config_user_find(l->c->user, NULL, &why) < 0)
        return config_fail(l, "user: %s", why.text);
    at_setting(l, CONFIG_ID_group);
    if (l->c->group[0] != '\0' && config_group_find(l->c->group, NULL, &why) < 0)
        return config_fail(l, "group: %s", why.text);
    return 0;
}

/* --- addresses --- */

static bool same_host(const char *a, const char *b) /* NULL: every address */
{
    struct in6_addr in_a, in_b;
    if (a == NULL || b == NULL)
        return a == b;
    if (inet_pton(AF_INET6, a, &in_a) == 1 && inet_pton(AF_INET6, b, &in_b) == 1)
        return memcmp(&in_a, &in_b, sizeof in_a) == 0;
    return strcasecmp(a, b) == 0;
}

static bool same_path(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static bool same_port(const char *a_host, uint16_t a_port, const char *b_host, uint16_t b_port)
{
    return a_port == b_port && a_port != 0 && same_host(a_host, b_host); /* port 0 is another one each time */
}

static bool same_listen(const struct config_listen *a, const struct config_listen *b)
{
    if (a->path != NULL || b->path != NULL)
        return same_path(a->path, b->path);
    return same_port(a->host, a->port, b->host, b->port);
}

static int address_twice(struct config_loader *l, enum config_id id, unsigned line, const char *text, const char *first)
{
    at_section(l, id, line);
    return config_fail(l, "%s \"%s\" is the same address as \"%s\". Keep one of them.", config_items[id].key,
                       CONFIG_QUOTE(text), CONFIG_QUOTE(first));
}

static int listens_check(struct config_loader *l)
{
    const struct config *c = l->c;
    for (size_t i = 1; i < c->listen_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (same_listen(&c->listens[i], &c->listens[j]))
                return address_twice(l, CONFIG_ID_listen, c->listens[i].line, c->listens[i].address,
                                     c->listens[j].address);
        }
    }
    return 0;
}

static int proxies_check(struct config_loader *l)
{
    const struct config *c = l->c;
    for (size_t i = 0; i < c->listen_count; i++) {
        if (!c->listens[i].proxy_protocol || c->trusted_proxy_count > 0)
            continue;
        at_section(l, CONFIG_ID_listen, c->listens[i].line);
        return config_fail(l, "listen \"%s\": proxy_protocol takes trusted proxies alone, and there are none. Name them in trusted_proxies.",
                           CONFIG_QUOTE(c->listens[i].address));
    }
    return 0;
}

static bool is_loopback(const struct config_backend *b)
{
    struct address address;
    if (b->path != NULL)
        return true;
    if (b->host == NULL)
        return false;
    return strcasecmp(b->host, "localhost") == 0 ||
           (address_parse((struct slice){ b->host, strlen(b->host) }, &address) && address_is_loopback(&address));
}

static bool is_used_on_unix(const struct config *c, const char *key_file)
{
    for (size_t i = 0; i < c->backend_count; i++)
        if (c->backends[i].path != NULL && same_path(c->backends[i].key_file, key_file))
            return true;
    return false;
}

static int keys_check(struct config_loader *l, struct config_backend *b)
{
    struct backend_key_report report = { 0 };
    int r = backend_keys_load(b->key_file, &b->keys, &report);
    if (r < 0)
        return config_fail(l, "backend.key_file: %s", report.error);
    if (report.warning[0] != '\0')
        config_warn(l, "backend.key_file: %s", report.warning);
    if (b->path != NULL)
        return 0;
    if (backend_keys_count(b->keys) == 0)
        return config_fail(l, "backend.key_file: %s has no key, but uid lines, and the peers of a TCP address have no uid. Add a key.",
                           CONFIG_QUOTE(b->key_file));
    if (backend_keys_uid_count(b->keys) > 0 && !is_used_on_unix(l->c, b->key_file))
        config_warn(l, "backend \"%s\": the uid lines of its key_file have no effect: the peers of a TCP address have no uid.",
                    CONFIG_QUOTE(b->address));
    return 0;
}

/* --- certificates --- */

static int tls_load(struct config_loader *l, struct config_tls *t, const char *section)
{
    struct tls_config config = { .certificate_count = t->certificate_count, .client_ca = t->client_ca, .client_is_required = t->client_is_required };
    struct tls_certificate *files = calloc(t->certificate_count, sizeof *files);
    struct tls_report *report = calloc(1, sizeof *report);
    int r = files == NULL || report == NULL ? config_fail_memory(l) : 0;
    for (size_t i = 0; r == 0 && i < t->certificate_count; i++)
        files[i] = (struct tls_certificate){ t->certificates[i], t->key_count > 0 ? t->keys[i] : NULL };
    config.certificates = files;
    if (r == 0 && (r = tls_context_new(&config, &t->context, report)) < 0)
        config_fail(l, "%s: %s", section, report->error);
    for (size_t i = 0; r == 0 && i < report->warning_count; i++)
        config_warn(l, "%s: %s", section, report->warnings[i]);
    free(report);
    free(files);
    return r;
}

static int tls_check(struct config_loader *l, struct config_tls *t, const char *section)
{
    if (t->certificate_count == 0 && t->key_count > 0)
        return config_fail(l, "%s has a tls_key and no tls_certificate. Name the certificate, or take the key out.", section);
    if (t->certificate_count == 0 && t->client_ca != NULL)
        return config_fail(l, "%s has a tls_client_ca and no tls_certificate: only TLS asks for certificates. Name one, with its tls_key.", section);
    if (t->client_ca == NULL && !t->client_is_required)
        return config_fail(l, "%s has tls_client and no tls_client_ca. Name the file that clients' certificates are checked with.", section);
    if (t->key_count > 0 && t->key_count != t->certificate_count)
        return config_fail(l, "%s names %zu certificates and %zu keys. Name a key for each certificate, in the same order.", section,
                           t->certificate_count, t->key_count);
    return t->certificate_count == 0 ? 0 : tls_load(l, t, section);
}

static int listens_tls_check(struct config_loader *l)
{
    const struct config *c = l->c;
    int r = 0;
    for (size_t i = 0; r == 0 && i < c->listen_count; i++) {
        char section[192];
        snprintf(section, sizeof section, "listen \"%s\"", CONFIG_QUOTE(c->listens[i].address));
        at_section(l, CONFIG_ID_listen, c->listens[i].line);
        r = tls_check(l, &c->listens[i].tls, section);
    }
    return r;
}

static int backend_tls_check(struct config_loader *l, struct config_backend *b)
{
    char section[192];
    snprintf(section, sizeof section, "backend \"%s\"", CONFIG_QUOTE(b->address));
    if (b->path != NULL && b->tls.certificate_count > 0)
        return config_fail(l, "%s is a Unix socket, where nobody listens in. Take tls_certificate and tls_key out.", section);
    return tls_check(l, &b->tls, section);
}

/* Who can get in? */
static int door_check(struct config_loader *l, struct config_backend *b)
{
    const char *address = CONFIG_QUOTE(b->address);
    if (b->path != NULL && b->key_file == NULL && (b->mode & 0006) != 0 && b->uid_count == 0)
        config_warn(l, "backend \"%s\": with mode %04o every user of this machine may publish.", address, (unsigned)b->mode);
    if (b->path == NULL && b->key_file == NULL && !is_loopback(b))
        return config_fail(l, "backend \"%s\": without key_file whoever reaches this address could publish. Add key_file = \"/etc/halley/backend.key\", or "
                              "listen on 127.0.0.1.",
                           address);
    if (b->path == NULL && b->key_file == NULL)
        config_warn(l, "backend \"%s\": without key_file every user of this machine may publish. Add one, or use a Unix socket.", address);
    int r = backend_tls_check(l, b);
    if (r < 0)
        return r;
    if (!is_loopback(b) && b->tls.certificate_count == 0)
        config_warn(l, "backend \"%s\": keys and messages cross the network in the clear. Use tls_certificate, or a network that you trust.", address);
    return b->key_file != NULL ? keys_check(l, b) : 0;
}

static bool same_backend(const struct config_backend *a, const struct config_backend *b)
{
    if (a->path != NULL || b->path != NULL)
        return same_path(a->path, b->path);
    return same_port(a->host, a->port, b->host, b->port);
}

static bool is_also_public(const struct config_backend *b, const struct config_listen *l)
{
    if (b->path != NULL || l->path != NULL)
        return same_path(b->path, l->path);
    return same_port(b->host, b->port, l->host, l->port);
}

static int backends_check(struct config_loader *l)
{
    const struct config *c = l->c;
    for (size_t i = 0; i < c->backend_count; i++) {
        struct config_backend *b = &c->backends[i];
        for (size_t j = 0; j < i; j++) {
            if (same_backend(b, &c->backends[j]))
                return address_twice(l, CONFIG_ID_backend, b->line, b->address, c->backends[j].address);
        }
        for (size_t j = 0; j < c->listen_count; j++) {
            if (is_also_public(b, &c->listens[j]))
                return address_twice(l, CONFIG_ID_backend, b->line, b->address, c->listens[j].address);
        }
        at_section(l, CONFIG_ID_backend, b->line);
        int r = door_check(l, b);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- who clients are --- */

static int token_keys_add(struct config_loader *l, enum config_id id, struct jwt_keys *keys, struct jwt_report *report)
{
    struct jwt_key_file file = { .path = *config_string_of(l->c, id), .is_set = id == CONFIG_ID_jwks_file };
    if (file.path[0] == '\0')
        return 0;
    at_setting(l, id);
    *report = (struct jwt_report){ 0 };
    int r = jwt_keys_load(keys, &file, JWT_TO_VERIFY, report);
    for (size_t i = 0; i < report->warning_count; i++)
        config_warn(l, "%s: %s", config_items[id].key, report->warnings[i]);
    return r < 0 ? config_fail(l, "%s: %s", config_items[id].key, report->error) : 0;
}

/* The keys of tokens are read to say here, with line and setting, what is wrong with them; whoever takes up the config reads them for use. */
static int token_keys_check(struct config_loader *l)
{
    struct jwt_keys *keys = calloc(1, sizeof *keys);
    struct jwt_report *report = calloc(1, sizeof *report);
    int r = keys == NULL || report == NULL ? config_fail_memory(l) : token_keys_add(l, CONFIG_ID_jwt_key_file, keys, report);
    if (r == 0)
        r = token_keys_add(l, CONFIG_ID_jwks_file, keys, report);
    if (keys != NULL)
        jwt_keys_done(keys);
    free(keys);
    free(report);
    return r;
}

/* A name that no browser sends would let nobody in, without a word (RFC 6265 4.1.1). */
static int cookie_check(struct config_loader *l)
{
    const char *name = l->c->auth_cookie;
    if (name[strspn(name, "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")] == '\0')
        return 0;
    at_setting(l, CONFIG_ID_auth_cookie);
    return config_fail(l, "auth.cookie: '%s' is no cookie's name. Write letters, digits, - and _, as in session_id.", CONFIG_QUOTE(name));
}

static int callback_check(struct config_loader *l)
{
    struct callback_url url;
    char error[512];
    at_setting(l, CONFIG_ID_auth_callback);
    if (l->c->auth_callback[0] != '\0' && callback_url_parse(l->c->auth_callback, &url, error, sizeof error) < 0)
        return config_fail(l, "auth.callback: '%s' is no address of an application: %s", CONFIG_QUOTE(l->c->auth_callback), error);
    return 0;
}

/* --- rules --- */

#define SUB "{sub}"
#define SUB_LEN (sizeof SUB - 1)

/* The pattern with `*` for each level {sub}: which topics the rule is for. Returns false if {sub} is also part of a
 * level. */
static bool pattern_without_sub(struct slice pattern, char *out, size_t *ret_len)
{
    size_t n = 0;
    bool whole = true;
    for (size_t i = 0; i < pattern.len;) {
        bool is_sub = pattern.len - i >= SUB_LEN && memcmp(pattern.ptr + i, SUB, SUB_LEN) == 0;
        bool begins = i == 0 || pattern.ptr[i - 1] == '/';
        bool ends = i + SUB_LEN == pattern.len || (is_sub && pattern.ptr[i + SUB_LEN] == '/');
        if (is_sub && begins && ends) {
            out[n++] = '*';
            i += SUB_LEN;
            continue;
        }
        whole = whole && !is_sub;
        out[n++] = pattern.ptr[i++];
    }
    *ret_len = n;
    return whole;
}

static bool rule_covers(const struct rule *earlier, const struct rule *later)
{
    char outer[TOPIC_MAX_BYTES], inner[TOPIC_MAX_BYTES];
    size_t outer_len = 0, inner_len = 0;
    pattern_without_sub(earlier->pattern, outer, &outer_len);
    pattern_without_sub(later->pattern, inner, &inner_len);
    return pattern_covers(outer, outer_len, inner, inner_len);
}

static void reach_check(struct config_loader *l, size_t i)
{
    const struct config *c = l->c;
    for (size_t j = 0; j < i; j++) {
        if (!rule_covers(&c->rule_list[j], &c->rule_list[i]))
            continue;
        config_warn(
            l, "topics \"%s\" is never used: \"%s\" on line %u comes first and matches all of its topics. Move it up.",
            CONFIG_QUOTE(c->rule_list[i].pattern.ptr), CONFIG_QUOTE(c->rule_list[j].pattern.ptr), c->rule_lines[j]);
        return;
    }
}

static void rule_check(struct config_loader *l, size_t i)
{
    const struct rule *r = &l->c->rule_list[i];
    const char *pattern = CONFIG_QUOTE(r->pattern.ptr);
    char topics[TOPIC_MAX_BYTES];
    size_t len = 0;
    at_section(l, CONFIG_ID_topics, l->c->rule_lines[i]);
    if (r->history == 0 && r->history_ttl_ms > 0)
        config_warn(l, "topics \"%s\": history_ttl has no effect without history. Set history to a number of messages.",
                    pattern);
    if (r->history == 0 && (r->on_slow == RULE_DROP_OLDEST || r->on_slow == RULE_CONFLATE))
        config_warn(l, "topics \"%s\": on_slow gives a slow client the newest messages from history, and there is none. Set history.", pattern);
    bool asks_token = r->subscribe == RULE_TOKEN || r->publish == RULE_TOKEN;
    if (asks_token && l->c->jwt_key_file[0] == '\0' && l->c->jwks_file[0] == '\0' && l->c->auth_callback[0] == '\0')
        config_warn(l, "topics \"%s\": no token can be checked without auth { jwt_key_file } or { jwks_file }, and nobody is asked without auth { callback }, so what 'token' allows is open to nobody.",
                    pattern);
    if (r->join_leave && !r->presence)
        config_warn(l, "topics \"%s\": join_leave has no effect without presence. Set presence = true.", pattern);
    if (r->presence_grace_ms > 0 && !r->presence)
        config_warn(l, "topics \"%s\": presence_grace has no effect without presence. Set presence = true.", pattern);
    if (!pattern_without_sub(r->pattern, topics, &len))
        config_warn(l, "topics \"%s\": " SUB " stands for a subject only as a whole level, as in \"user/" SUB "\".",
                    pattern);
    reach_check(l, i);
}

static int rules_check(struct config_loader *l)
{
    struct config *c = l->c;
    for (size_t i = 0; i < c->rule_count; i++)
        rule_check(l, i);
    c->rules = rules_new(c->rule_list, c->rule_count);
    return c->rules == NULL ? config_fail_memory(l) : 0;
}

/* --- limits that contradict each other --- */

static void smaller_warn(struct config_loader *l, enum config_id small, enum config_id large, const char *so)
{
    char a[32], b[32];
    uint64_t small_value = *config_option_of(l->c, small), large_value = *config_option_of(l->c, large);
    if (small_value < large_value)
        return;
    config_value_format(&config_items[small], small_value, a, sizeof a);
    config_value_format(&config_items[large], large_value, b, sizeof b);
    at_setting(l, l->c->sources[large].from != CONFIG_FROM_DEFAULT ? large : small);
    config_warn(l, "%s = %s is not less than %s = %s: %s.", config_items[small].key, a, config_items[large].key, b, so);
}

static void limits_check(struct config_loader *l)
{
    smaller_warn(l, CONFIG_ID_ping_interval_ms, CONFIG_ID_idle_timeout_ms,
                 "quiet WebSockets are closed before they can answer a ping");
    smaller_warn(l, CONFIG_ID_max_outq, CONFIG_ID_max_outq_total, "one slow connection can take it all");
    smaller_warn(l, CONFIG_ID_max_message, CONFIG_ID_max_backend_command, "backends cannot send messages of that size");
    smaller_warn(l, CONFIG_ID_max_message, CONFIG_ID_max_inbox, "one message can stop all publishing");
}

/* Whoever writes how a journal is to be kept means to have one. */
static void journal_check(struct config_loader *l)
{
    const struct config *c = l->c;
    if (c->journal_path[0] != '\0' || c->journal_sync == config_items[CONFIG_ID_journal_sync].def)
        return;
    at_setting(l, CONFIG_ID_journal_sync);
    config_warn(l, "there is no journal, for it has no path. Say where it is to be: path = \"/var/lib/halley\", or take the journal out.");
}

int config_check(struct config_loader *l)
{
    int r = accounts_check(l);
    if (r == 0)
        r = listens_check(l);
    if (r == 0)
        r = proxies_check(l);
    if (r == 0)
        r = listens_tls_check(l);
    if (r == 0)
        r = backends_check(l);
    if (r == 0)
        r = token_keys_check(l);
    if (r == 0)
        r = cookie_check(l);
    if (r == 0)
        r = callback_check(l);
    if (r == 0)
        r = rules_check(l);
    if (r == 0)
        limits_check(l);
    if (r == 0)
        journal_check(l);
    return r;
}
