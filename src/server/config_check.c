/* What only the whole configuration shows: errors that would meet someone later, and warnings about what cannot be
 * meant. */
#include "server/config_internal.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "core/topic_name.h"

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

static bool same_listen(const struct config_listen *a, const struct config_listen *b)
{
    if (a->path != NULL || b->path != NULL)
        return same_path(a->path, b->path);
    return a->port == b->port && a->port != 0 && same_host(a->host, b->host); /* port 0 is another one each time */
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

static int backends_check(struct config_loader *l)
{
    const struct config *c = l->c;
    for (size_t i = 0; i < c->backend_count; i++) {
        const struct config_backend *b = &c->backends[i];
        for (size_t j = 0; j < i; j++) {
            if (same_path(b->path, c->backends[j].path))
                return address_twice(l, CONFIG_ID_backend, b->line, b->address, c->backends[j].address);
        }
        for (size_t j = 0; j < c->listen_count; j++) {
            if (same_path(b->path, c->listens[j].path))
                return address_twice(l, CONFIG_ID_backend, b->line, b->address, c->listens[j].address);
        }
        at_section(l, CONFIG_ID_backend, b->line);
        if ((b->mode & 0006) != 0 && b->uid_count == 0)
            config_warn(l, "backend \"%s\": with mode %04o every user of this machine may publish.",
                        CONFIG_QUOTE(b->address), (unsigned)b->mode);
    }
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
    if (asks_token && l->c->jwt_key_file[0] == '\0' && l->c->jwks_file[0] == '\0')
        config_warn(l, "topics \"%s\": no token can be checked without auth { jwt_key_file } or { jwks_file }, so what 'token' allows is open to nobody.",
                    pattern);
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

int config_check(struct config_loader *l)
{
    int r = accounts_check(l);
    if (r == 0)
        r = listens_check(l);
    if (r == 0)
        r = backends_check(l);
    if (r == 0)
        r = rules_check(l);
    if (r == 0)
        limits_check(l);
    return r;
}
