/* What people read about the settings, made from the one table: conf/halley.conf, and the tables of halley.conf(5). */
#include "server/config_internal.h"

#include <string.h>

#define TEXT_COLUMNS 110

/* --- text in lines --- */

/* Print text in lines of at most TEXT_COLUMNS bytes, each after `prefix`. */
static void wrap_print(FILE *out, const char *prefix, const char *text)
{
    size_t room = TEXT_COLUMNS - strlen(prefix);
    while (*text != '\0') {
        size_t len = strlen(text);
        if (len > room) {
            for (len = room; len > 0 && text[len] != ' ';)
                len--;
            if (len == 0)
                len = strcspn(text, " ");
        }
        fprintf(out, "%s%.*s\n", prefix, (int)len, text);
        text += len;
        text += strspn(text, " ");
    }
}

/* "Value: 1 to 64. Default: 4. A change takes a restart." For what has no range of values: "". */
static void facts_format(enum config_id id, char *out, size_t out_size)
{
    const struct config_item *item = &config_items[id];
    char range[128], def[64];
    out[0] = '\0';
    if (item->kind == CONFIG_IS_SECTION || config_item_is_list(id))
        return;
    config_value_range(item, config_refusals, range, sizeof range);
    if (item->kind == CONFIG_IS_STRING)
        snprintf(def, sizeof def, "\"%s\"", item->def_text);
    else if (item->type < CONFIG_COUNT)
        snprintf(def, sizeof def, "none");
    else
        config_value_format(item, item->def, def, sizeof def);
    snprintf(out, out_size, "Value: %s. Default: %s.%s", range, def, item->restart ? " A change takes a restart." : "");
}

/* --- conf/halley.conf --- */

static const char file_head[] =
    "# Halley's configuration; halley.conf(5) explains it.\n"
    "#\n"
    "# A line like #name = value shows a default: take out the # to change it. Times take a unit (ms, s, m, h, d),\n"
    "# sizes may (k, m, g: 1024 each). A setting can also come from the environment, as in\n"
    "# HALLEY_LIMITS_CONNECTIONS=1000, and from a flag, --set limits.connections=1000: flags over environment over\n"
    "# file over default.\n"
    "#\n"
    "#   halleyd --check-config --config FILE    says what is wrong with a file\n"
    "#   halleyd --print-config --config FILE    shows the values in force, and where each comes from\n";

/* What stands below a section's description: what is in force, and what may inspire. */
static const char *section_lines(enum config_id id)
{
    switch ((int)id) {
    case CONFIG_ID_listen:
        return "listen \"" CONFIG_DEFAULT_LISTEN "\" { }\n";
    case CONFIG_ID_backend:
        return "backend \"" CONFIG_DEFAULT_BACKEND "\" { mode = 0660 }\n";
    case CONFIG_ID_origins:
        return "#origins = { \"https://example.com\", \"https://*.example.com\" }\n";
    case CONFIG_ID_trusted_proxies:
        return "#trusted_proxies = { \"127.0.0.0/8\", \"::1\" }\n";
    case CONFIG_ID_topics:
        return "#topics \"chat/**\" { subscribe = anyone  publish = anyone  history = 100  history_ttl = 1h }\n"
               "#topics \"ticker/**\" { subscribe = anyone  publish = backend  history = 1  payload = json }\n"
               "topics \"**\" { subscribe = anyone  publish = backend  history = 32  history_ttl = 5m }\n";
    case CONFIG_ID_echo:
        return "#echo \"/echo\" { }\n";
    default:
        return "";
    }
}

static void keys_print(FILE *out, const char *section)
{
    char facts[256], text[1024];
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        const struct config_item *item = &config_items[id];
        if (item->kind != CONFIG_IS_KEY || !config_item_is_in(id, section) ||
            config_is_refused(config_refusals, item->key, NULL))
            continue;
        facts_format(id, facts, sizeof facts);
        fprintf(out, "#   %s\n", config_item_name(id));
        snprintf(text, sizeof text, "%s%s%s", item->doc, facts[0] == '\0' ? "" : " ", facts);
        wrap_print(out, "#       ", text);
    }
}

static void section_doc_print(FILE *out, enum config_id id)
{
    const struct config_item *item = &config_items[id];
    char head[64];
    if (item->title == NULL)
        snprintf(head, sizeof head, "# %s", item->key);
    else
        snprintf(head, sizeof head, "# %s \"%s\"", item->key, item->title);
    fprintf(out, "\n%s\n", head);
    wrap_print(out, "#   ", item->doc);
    keys_print(out, item->key);
    fputs(section_lines(id), out);
}

static void option_doc_print(FILE *out, enum config_id id, const char *indent)
{
    const struct config_item *item = &config_items[id];
    char facts[256], value[64], prefix[16];
    facts_format(id, facts, sizeof facts);
    snprintf(prefix, sizeof prefix, "%s# ", indent);
    fputc('\n', out);
    wrap_print(out, prefix, item->doc);
    wrap_print(out, prefix, facts);
    if (item->kind == CONFIG_IS_STRING)
        snprintf(value, sizeof value, "\"%s\"", item->def_text);
    else
        config_value_format(item, item->def, value, sizeof value);
    fprintf(out, "%s#%s = %s\n", indent, config_item_name(id), value);
}

static void list_doc_print(FILE *out, enum config_id id)
{
    fputc('\n', out);
    wrap_print(out, "# ", config_items[id].doc);
    fputs(section_lines(id), out);
}

void config_print_default_file(FILE *out)
{
    const char *section = NULL; /* the one without a title that is open: its settings stand in it */
    fputs(file_head, out);
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        if (section != NULL && !config_item_is_in(id, section)) {
            fputs("}\n", out);
            section = NULL;
        }
        if (config_items[id].kind == CONFIG_IS_SECTION && config_items[id].title == NULL) {
            list_doc_print(out, id);
            section = config_items[id].key;
            fprintf(out, "%s {", section);
        } else if (config_items[id].kind == CONFIG_IS_SECTION) {
            section_doc_print(out, id);
        } else if (config_items[id].kind != CONFIG_IS_KEY) {
            option_doc_print(out, id, section != NULL ? "    " : "");
        } else if (config_item_is_in(id, "")) {
            list_doc_print(out, id);
        }
    }
}

/* --- doc/man/halley.conf.5 --- */

/* Text, each sentence on a line of its own; no backslash is taken as an escape, no leading dot or quote as a macro. */
static void man_print(FILE *out, const char *text)
{
    bool line_begins = true;
    for (; *text != '\0'; text++) {
        if (line_begins && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        line_begins = text[0] == '.' && text[1] == ' ';
        if (*text == '\\')
            fputs("\\e", out);
        else
            fputc(*text, out);
        if (line_begins) {
            fputc('\n', out);
            text++;
        }
    }
    fputc('\n', out);
}

static void man_item_print(FILE *out, enum config_id id)
{
    char facts[256];
    const struct config_item *item = &config_items[id];
    if (config_is_refused(config_refusals, item->key, NULL))
        return;
    fprintf(out, ".It Cm %s%s\n", config_item_name(id), config_item_is_list(id) ? " No = { Ar ... No }" : "");
    man_print(out, item->doc);
    facts_format(id, facts, sizeof facts);
    if (facts[0] != '\0')
        man_print(out, facts);
}

/* The settings of one section, "" for the top level. */
static void man_list_print(FILE *out, const char *section)
{
    bool any = false;
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        if (config_items[id].kind == CONFIG_IS_SECTION || !config_item_is_in(id, section))
            continue;
        if (!any)
            fputs(".Bl -tag -width Ds\n", out);
        any = true;
        man_item_print(out, id);
    }
    if (any)
        fputs(".El\n", out);
}

void config_print_man(FILE *out)
{
    fputs(".Ss Settings outside of sections\n", out);
    man_list_print(out, "");
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        if (config_items[id].kind != CONFIG_IS_SECTION)
            continue;
        fprintf(out, ".Ss %s", config_items[id].key);
        if (config_items[id].title != NULL)
            fprintf(out, " \\(dq%s\\(dq", config_items[id].title);
        fputs(" { ... }\n", out);
        man_print(out, config_items[id].doc);
        man_list_print(out, config_items[id].key);
    }
}
