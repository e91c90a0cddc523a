/* The grammar of the file, through libconfuse.
 *
 * libconfuse is used as a reader of events: every option is a string with a callback, which hands the value on with its
 * line, so topics rules keep their order, and what has been set twice is seen. Its own store is thrown away. What it
 * does not tell by itself: that a section begins. A hidden list in each section has a default value, which libconfuse
 * parses at that moment, and so calls back (CFGF_NO_TITLE_DUPES would refuse a second title without naming the line of
 * the first; without it the second section replaces the first in silence).
 *
 * Two of its habits shape the callbacks: an error in that default value aborts the process, so on_open() never
 * returns one; and it stops at its first error, so the first one that is written down is the one that is reported. */
#include "server/config_internal.h"

#include <confuse.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define OPENED "\001opened" /* config_text_check() lets nobody write this name */
#define ROOT "root"         /* libconfuse's name for the top level */

/* libconfuse's lexer is global, and its callbacks carry no pointer of ours. */
static pthread_mutex_t lexer_lock = PTHREAD_MUTEX_INITIALIZER;
static struct config_loader *loader; /* of the thread that holds lexer_lock */
static const cfg_t *innermost;       /* the section that is open, or the top level */

struct grammar {
    cfg_opt_t top[CONFIG_ID_COUNT + 1];
    cfg_opt_t sections[CONFIG_ID_COUNT][CONFIG_ID_COUNT + 2]; /* the hidden list, the keys, the end */
};

static const char *section_of(const cfg_t *cfg)
{
    return strcmp(cfg->name, ROOT) == 0 ? "" : cfg->name;
}

static int on_open(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    (void)opt;
    *(const char **)result = value;
    innermost = cfg;
    loader->at = (struct config_source){ CONFIG_FROM_FILE, (unsigned)cfg->line };
    if (!loader->failed)
        config_open_section(loader, config_item_find(cfg->name), cfg->title);
    return 0;
}

static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    *(const char **)result = value;
    if (loader->failed)
        return -1;
    loader->at = (struct config_source){ CONFIG_FROM_FILE, (unsigned)cfg->line };
    return config_set(loader, config_item_find_in(section_of(cfg), opt->name), value, opt->nvalues > 1);
}

/* An empty list calls nobody, so a second one that empties the first is seen only here, at the end of its section. */
static int lists_check(cfg_t *cfg)
{
    for (cfg_opt_t *opt = cfg->opts; opt->name != NULL; opt++) {
        enum config_id id = config_item_find_in(section_of(cfg), opt->name);
        if (id == CONFIG_ID_COUNT || !config_item_is_list(id) || opt->nvalues > 0 || loader->seen[id] == 0)
            continue;
        loader->at = (struct config_source){ CONFIG_FROM_FILE, loader->seen[id] };
        return config_fail(loader, "'%s' is set here, and emptied further down. Keep one of them.",
                           config_items[id].key);
    }
    return 0;
}

static int on_close(cfg_t *cfg, cfg_opt_t *opt)
{
    innermost = cfg;
    if (loader->failed)
        return -1;
    cfg_t *section = cfg_opt_getnsec(opt, opt->nvalues - 1);
    return section == NULL ? -1 : lists_check(section);
}

/* What libconfuse says, and what a person is told instead; %s is the one argument of the original. */
static const struct {
    const char *original;
    const char *sentence;
} complaints[] = {
    { "missing equal sign after option '%s'", "After '%s' there is no '='. Write %s = VALUE." },
    { "missing title for section '%s'", "After '%s' there is no title. Write %s \"TITLE\" { ... }." },
    { "missing opening brace for section '%s'",
      "After '%s' there is no '{' where it belongs. See halley.conf(5) for its "
      "form." },
    { "attempt to append to non-list option '%s'",
      "'%s' is not a list, so nothing can be added to it. Write %s = VALUE." },
    { "unexpected token '%s'", "'%s' is unexpected here. A value or a name is missing before it." },
    { "premature end of file", "The file ends in the middle of a setting. Complete it, or take it out." },
};

/* The sentence with `argument` for each %s. */
static void complain(struct config_loader *l, const char *sentence, const char *argument)
{
    const char *quoted = CONFIG_QUOTE(argument);
    const char *first = strstr(sentence, "%s"), *second = first == NULL ? NULL : strstr(first + 2, "%s");
    if (first == NULL)
        config_fail(l, "%s", sentence);
    else if (second == NULL)
        config_fail(l, "%.*s%s%s", (int)(first - sentence), sentence, quoted, first + 2);
    else
        config_fail(l, "%.*s%s%.*s%s%s", (int)(first - sentence), sentence, quoted, (int)(second - first - 2),
                    first + 2, quoted, second + 2);
}

/* fmt is translated when the process has set a locale for messages; then it is passed on as it is. */
static void on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
    if (loader->failed)
        return;
    loader->at = (struct config_source){ CONFIG_FROM_FILE, (unsigned)cfg->line };
    if (strcmp(fmt, "no such option '%s'") == 0) {
        config_unknown(loader, section_of(cfg), va_arg(ap, const char *));
        return;
    }
    for (size_t i = 0; i < HLY_ARRAY_LEN(complaints); i++) {
        if (strcmp(fmt, complaints[i].original) == 0) {
            bool has_argument = strchr(fmt, '%') != NULL;
            complain(loader, complaints[i].sentence, has_argument ? va_arg(ap, const char *) : "");
            return;
        }
    }
    char text[256];
    vsnprintf(text, sizeof text, fmt, ap);
    config_fail(loader, "%s.", CONFIG_QUOTE(text));
}

static cfg_opt_t option_for(enum config_id id)
{
    const char *name = config_item_name(id);
    if (config_item_is_list(id))
        return (cfg_opt_t)CFG_STR_LIST_CB(name, NULL, CFGF_NODEFAULT, on_value);
    return (cfg_opt_t)CFG_STR_CB(name, NULL, CFGF_NODEFAULT, on_value);
}

static cfg_opt_t section_for(struct grammar *g, enum config_id id)
{
    cfg_opt_t *opts = g->sections[id];
    size_t n = 0;
    opts[n++] = (cfg_opt_t)CFG_STR_LIST_CB(OPENED, "{x}", CFGF_NONE, on_open);
    for (enum config_id key = 0; key < CONFIG_ID_COUNT; key++) {
        if (config_item_is_in(key, config_items[id].key))
            opts[n++] = option_for(key);
    }
    opts[n] = (cfg_opt_t)CFG_END();
    /* CFGF_MULTI also for `limits`: a section without it exists even when the file has none, and on_open() is not
     * called. */
    cfg_flag_t flags = config_items[id].title == NULL ? CFGF_MULTI : CFGF_MULTI | CFGF_TITLE;
    cfg_opt_t section = CFG_SEC(config_items[id].key, opts, flags);
    section.validcb = on_close;
    return section;
}

static void grammar_build(struct grammar *g)
{
    size_t n = 0;
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        if (config_items[id].kind == CONFIG_IS_SECTION)
            g->top[n++] = section_for(g, id);
        else if (config_item_is_in(id, ""))
            g->top[n++] = option_for(id);
    }
    g->top[n] = (cfg_opt_t)CFG_END();
}

/* libconfuse failed and said nothing: it does so when memory is out, and for an empty name. */
static int silent_failure(struct config_loader *l)
{
    if (errno == ENOMEM)
        return config_fail_memory(l);
    l->at = (struct config_source){ CONFIG_FROM_FILE, (unsigned)innermost->line };
    return config_fail(l, "There is an empty name here. Write NAME = VALUE, or take it out.");
}

static int parse_locked(struct config_loader *l, struct grammar *g, FILE *in)
{
    cfg_t *cfg = cfg_init(g->top, CFGF_NONE);
    if (cfg == NULL)
        return config_fail_memory(l);
    loader = l;
    innermost = cfg;
    cfg_set_error_function(cfg, on_error);
    errno = 0;
    int r = cfg_parse_fp(cfg, in);
    if (r != CFG_SUCCESS && !l->failed)
        silent_failure(l);
    if (!l->failed)
        lists_check(cfg);
    cfg_free(cfg); /* also resets the lexer */
    loader = NULL;
    return l->failed ? -EINVAL : 0;
}

int config_file_parse(struct config_loader *l, char *text, size_t len)
{
    if (len == 0)
        return 0;
    struct grammar *g = calloc(1, sizeof *g);
    FILE *in = fmemopen(text, len, "r");
    int r = -ENOMEM;
    if (g == NULL || in == NULL) {
        config_fail_memory(l);
    } else {
        grammar_build(g);
        pthread_mutex_lock(&lexer_lock);
        r = parse_locked(l, g, in);
        pthread_mutex_unlock(&lexer_lock);
    }
    if (in != NULL)
        fclose(in);
    free(g);
    return r;
}
