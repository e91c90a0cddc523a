/* --print-config: the effective values, in the file's own syntax, so that what is printed can be loaded again. */
#include "server/config_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/buf.h"

#define COMMENT_COLUMN 56

struct printer {
    const struct config *c;
    FILE *out;
    struct buf line;     /* out of memory: the line is cut */
    const char *section; /* that is open, or NULL */
};

static void source_print(const struct printer *p, struct config_source source, enum config_id id)
{
    char name[96];
    switch (source.from) {
    case CONFIG_FROM_DEFAULT:
        fputs("default", p->out);
        break;
    case CONFIG_FROM_FILE:
        fprintf(p->out, "%s:%u", CONFIG_QUOTE(p->c->path), source.line);
        break;
    case CONFIG_FROM_ENVIRONMENT:
        config_item_environment(id, name, sizeof name);
        fprintf(p->out, "environment %s", name);
        break;
    case CONFIG_FROM_FLAG:
        fprintf(p->out, "flag --set %s", config_items[id].key);
        break;
    }
}

/* The line that was built, and where its setting comes from. */
static void line_print(struct printer *p, struct config_source source, enum config_id id)
{
    fprintf(p->out, "%s%-*.*s # ", p->section == NULL ? "" : "    ", COMMENT_COLUMN - (p->section == NULL ? 0 : 4),
            (int)p->line.len, p->line.data == NULL ? "" : (const char *)p->line.data);
    source_print(p, source, id);
    fputc('\n', p->out);
    buf_reset(&p->line);
}

/* A string in quotes. Only what config_text_check() reads back is escaped; nothing here has control characters. */
static void put_string(struct printer *p, const char *text)
{
    buf_str(&p->line, "\"");
    for (; *text != '\0'; text++) {
        bool special = *text == '"' || *text == '\\' || (*text == '$' && text[1] == '{');
        buf_printf(&p->line, "%s%c", special ? "\\" : "", *text);
    }
    buf_str(&p->line, "\"");
}

static void put_value(struct printer *p, enum config_id id, uint64_t value)
{
    char text[64];
    config_value_format(&config_items[id], value, text, sizeof text);
    buf_printf(&p->line, "%s = %s", config_item_name(id), text);
}

static void files_put(struct printer *p, const char *name, char *const *texts, size_t count)
{
    if (count == 0)
        return;
    buf_printf(&p->line, " %s = { ", name);
    for (size_t i = 0; i < count; i++) {
        buf_str(&p->line, i == 0 ? "" : ", ");
        put_string(p, texts[i]);
    }
    buf_str(&p->line, " }");
}

static void tls_put(struct printer *p, const struct config_tls *t)
{
    files_put(p, "tls_certificate", t->certificates, t->certificate_count);
    files_put(p, "tls_key", t->keys, t->key_count);
    if (t->client_ca == NULL)
        return;
    buf_str(&p->line, " tls_client_ca = ");
    put_string(p, t->client_ca);
    buf_str(&p->line, t->client_is_required ? " tls_client = required" : " tls_client = optional");
}

static void listens_print(struct printer *p)
{
    enum config_from from = p->c->sources[CONFIG_ID_listen].from;
    for (size_t i = 0; i < p->c->listen_count; i++) {
        buf_str(&p->line, "listen ");
        put_string(p, p->c->listens[i].address);
        buf_str(&p->line, p->c->listens[i].proxy_protocol ? " { proxy_protocol = on" : " {");
        tls_put(p, &p->c->listens[i].tls);
        buf_str(&p->line, " }");
        line_print(p, (struct config_source){ from, p->c->listens[i].line }, CONFIG_ID_listen);
    }
}

static void backend_put(struct printer *p, const struct config_backend *b)
{
    buf_str(&p->line, "backend ");
    put_string(p, b->address);
    buf_str(&p->line, " {");
    if (b->path != NULL) {
        buf_str(&p->line, " ");
        put_value(p, CONFIG_ID_backend_mode, b->mode);
    }
    if (b->key_file != NULL) {
        buf_str(&p->line, b->path != NULL ? "  key_file = " : " key_file = ");
        put_string(p, b->key_file);
    }
    if (b->owner != NULL) {
        buf_str(&p->line, "  owner = ");
        put_string(p, b->owner);
    }
    if (b->group != NULL) {
        buf_str(&p->line, "  group = ");
        put_string(p, b->group);
    }
    for (size_t i = 0; i < b->uid_count; i++)
        buf_printf(&p->line, "%s%lu", i == 0 ? "  allow_uid = { " : ", ", (unsigned long)b->uids[i]);
    buf_str(&p->line, b->uid_count > 0 ? " }" : "");
    tls_put(p, &b->tls);
    buf_str(&p->line, " }");
}

static void backends_print(struct printer *p)
{
    enum config_from from = p->c->sources[CONFIG_ID_backend].from;
    for (size_t i = 0; i < p->c->backend_count; i++) {
        backend_put(p, &p->c->backends[i]);
        line_print(p, (struct config_source){ from, p->c->backends[i].line }, CONFIG_ID_backend);
    }
}

static void rule_put(struct printer *p, const struct rule *r)
{
    buf_str(&p->line, "topics ");
    put_string(p, r->pattern.ptr);
    buf_str(&p->line, " {");
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        bool is_key = config_item_is_in(id, "topics") && !config_item_is_list(id);
        if (!is_key || config_is_refused(config_refusals, config_items[id].key, NULL))
            continue;
        buf_str(&p->line, " ");
        put_value(p, id, config_rule_get(r, id));
    }
    if (r->stamp_sender || r->stamp_time)
        buf_printf(&p->line, " stamp = { %s%s%s }", r->stamp_sender ? "sender" : "",
                   r->stamp_sender && r->stamp_time ? ", " : "", r->stamp_time ? "time" : "");
    buf_str(&p->line, " }");
}

static void rules_print(struct printer *p)
{
    enum config_from from = p->c->sources[CONFIG_ID_topics].from;
    for (size_t i = 0; i < p->c->rule_count; i++) {
        rule_put(p, &p->c->rule_list[i]);
        line_print(p, (struct config_source){ from, p->c->rule_lines[i] }, CONFIG_ID_topics);
    }
}

static void strings_print(struct printer *p, enum config_id id, char *const *texts, size_t count)
{
    buf_printf(&p->line, "%s = {", config_item_name(id));
    for (size_t i = 0; i < count; i++) {
        buf_str(&p->line, i == 0 ? " " : ", ");
        put_string(p, texts[i]);
    }
    buf_str(&p->line, " }");
    line_print(p, p->c->sources[id], id);
}

static void echos_print(struct printer *p)
{
    for (size_t i = 0; i < p->c->echo_count; i++) {
        buf_str(&p->line, "echo ");
        put_string(p, p->c->echo_paths[i]);
        buf_str(&p->line, " { }");
        line_print(p, p->c->sources[CONFIG_ID_echo], CONFIG_ID_echo);
    }
}

static void list_print(struct printer *p, enum config_id id)
{
    switch ((int)id) {
    case CONFIG_ID_listen:
        listens_print(p);
        break;
    case CONFIG_ID_backend:
        backends_print(p);
        break;
    case CONFIG_ID_origins:
        strings_print(p, id, p->c->origins, p->c->origin_count);
        break;
    case CONFIG_ID_trusted_proxies:
        strings_print(p, id, p->c->trusted_proxies, p->c->trusted_proxy_count);
        break;
    case CONFIG_ID_topics:
        rules_print(p);
        break;
    case CONFIG_ID_echo:
        echos_print(p);
        break;
    }
}

/* Open and close the section that the next setting lies in. */
static void section_switch(struct printer *p, enum config_id id)
{
    if (p->section != NULL && !config_item_is_in(id, p->section)) {
        fputs("}\n", p->out);
        p->section = NULL;
    }
    if (config_items[id].kind == CONFIG_IS_SECTION && config_items[id].title == NULL) {
        p->section = config_items[id].key;
        fprintf(p->out, "%s {\n", p->section);
    }
}

void config_print(const struct config *c, FILE *out)
{
    struct printer p = { .c = c, .out = out };
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        const char *member = (const char *)c + config_items[id].offset;
        section_switch(&p, id);
        if (config_items[id].kind == CONFIG_IS_OPTION) {
            uint64_t value;
            memcpy(&value, member, sizeof value);
            put_value(&p, id, value);
            line_print(&p, c->sources[id], id);
        } else if (config_items[id].kind == CONFIG_IS_STRING) {
            buf_printf(&p.line, "%s = ", config_item_name(id));
            put_string(&p, *(char *const *)(const void *)member);
            line_print(&p, c->sources[id], id);
        } else {
            list_print(&p, id);
        }
    }
    buf_done(&p.line);
}
