/* The environment and the flags, over what the file says. */
#include "server/config_internal.h"

#include <stdlib.h>
#include <string.h>

/* "a, b": what was there before is gone. Cuts the text. */
static int override_list(struct config_loader *l, enum config_id id, char *text)
{
    int r = 0;
    size_t count = 0;
    char *rest = text;
    config_list_clear(l->c, id);
    l->c->sources[id] = l->at;
    for (char *entry; r == 0 && (entry = strsep(&rest, ",")) != NULL;) {
        entry += strspn(entry, " \t");
        size_t len = strlen(entry);
        while (len > 0 && (entry[len - 1] == ' ' || entry[len - 1] == '\t'))
            entry[--len] = '\0';
        if (len == 0)
            continue;
        r = config_item_is_list(id) ? config_set(l, id, entry, count > 0) : config_open_section(l, id, entry);
        count++;
    }
    if (r == 0 && count == 0 && (id == CONFIG_ID_listen || id == CONFIG_ID_backend))
        return config_fail(l, "The list is empty. Name an address, or do not set it.");
    return r;
}

static int override_any(struct config_loader *l, enum config_id id, const char *value)
{
    l->at_id = id;
    if (!config_item_is_override_list(id))
        return config_set(l, id, value, false);
    char *copy = strdup(value);
    int r = copy == NULL ? config_fail_memory(l) : override_list(l, id, copy);
    free(copy);
    return r;
}

static enum config_id environment_find(const char *name, struct config_nearest *nearest)
{
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        char known[64];
        if (!config_item_is_overridable(id))
            continue;
        config_item_environment(id, known, sizeof known);
        if (strcmp(name, known) == 0)
            return id;
        config_nearest_offer(nearest, known);
    }
    return CONFIG_ID_COUNT;
}

/* Values stay out of messages here: what is not known may be a secret. */
static int environment_one(struct config_loader *l, const char *variable)
{
    char name[96]; /* every known one fits */
    struct config_nearest nearest;
    size_t len = strcspn(variable, "=");
    if (variable[len] == '\0')
        return 0;
    snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name), variable);
    config_nearest_init(&nearest, name);
    enum config_id id = environment_find(name, &nearest);
    if (id < CONFIG_ID_COUNT)
        return override_any(l, id, variable + len + 1);
    l->at_id = CONFIG_ID_COUNT;
    bool close =
        config_nearest_is_close(&nearest) && nearest.distance <= 4; /* HALLEY_ alone is a third of many names */
    config_warn(l, "%s is not a setting and has no effect.%s%s%s", CONFIG_QUOTE(name), close ? " Did you mean " : "",
                close ? nearest.best : "", close ? "?" : "");
    return 0;
}

int config_environment_apply(struct config_loader *l, char *const *variables)
{
    int r = 0;
    l->at = (struct config_source){ CONFIG_FROM_ENVIRONMENT, 0 };
    for (; r == 0 && variables != NULL && *variables != NULL; variables++) {
        if (strncmp(*variables, "HALLEY_", 7) == 0 && strncmp(*variables, "HALLEY_SOCKET=", 14) != 0) /* that is the command's */
            r = environment_one(l, *variables);
    }
    l->at_id = CONFIG_ID_COUNT;
    return r;
}

static int flag_unknown(struct config_loader *l, const char *key)
{
    struct config_nearest nearest;
    if (config_is_refused(l->refusals, key, NULL))
        return config_refuse(l, key);
    if (config_item_find(key) < CONFIG_ID_COUNT)
        return config_fail(l, "'%s' can only be set in the file.", key);
    config_nearest_init(&nearest, key);
    for (enum config_id id = 0; id < CONFIG_ID_COUNT; id++) {
        if (config_item_is_overridable(id))
            config_nearest_offer(&nearest, config_items[id].key);
    }
    if (config_nearest_is_close(&nearest))
        return config_fail(l, "There is no setting '%s'. Did you mean '%s'?", CONFIG_QUOTE(key), nearest.best);
    return config_fail(l, "There is no setting '%s'. Write it as in limits.connections=5.", CONFIG_QUOTE(key));
}

static int flag_one(struct config_loader *l, const char *setting)
{
    char key[96];
    size_t len = strcspn(setting, "=");
    l->at_id = CONFIG_ID_COUNT;
    if (setting[len] == '\0')
        return config_fail(l, "'%s' has no '='. Write KEY=VALUE, as in limits.connections=5.", CONFIG_QUOTE(setting));
    snprintf(key, sizeof key, "%.*s", (int)(len < sizeof key ? len : sizeof key), setting);
    enum config_id id = config_item_find(key);
    if (id == CONFIG_ID_COUNT || !config_item_is_overridable(id))
        return flag_unknown(l, key);
    return override_any(l, id, setting + len + 1);
}

int config_flags_apply(struct config_loader *l, char *const *settings)
{
    int r = 0;
    l->at = (struct config_source){ CONFIG_FROM_FLAG, 0 };
    for (; r == 0 && settings != NULL && *settings != NULL; settings++)
        r = flag_one(l, *settings);
    l->at_id = CONFIG_ID_COUNT;
    return r;
}
