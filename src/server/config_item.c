/* The table of settings, and guessing which of them was meant. */
#include "server/config_internal.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define RELOAD false
#define RESTART true
#define OPTION(name, key_, type_, def_, min_, max_, reload_, doc_) \
    [CONFIG_ID_##name] = { .kind = CONFIG_IS_OPTION, \
                           .type = CONFIG_##type_, \
                           .key = key_, \
                           .doc = doc_, \
                           .def = def_, \
                           .min = min_, \
                           .max = max_, \
                           .offset = offsetof(struct config, name), \
                           .restart = reload_ },
#define OPTION_TEXT(name, key_, def_, reload_, doc_) \
    [CONFIG_ID_##name] = { .kind = CONFIG_IS_STRING, \
                           .type = CONFIG_TEXT, \
                           .key = key_, \
                           .doc = doc_, \
                           .def_text = def_, \
                           .offset = offsetof(struct config, name), \
                           .restart = reload_ },
#define SECTION(name, title_, doc_) \
    [CONFIG_ID_## \
        name] = { .kind = CONFIG_IS_SECTION, .type = CONFIG_SECTION, .key = #name, .title = title_, .doc = doc_ },
#define KEY(name, key_, type_, def_, min_, max_, doc_) \
    [CONFIG_ID_##name] = { \
        .kind = CONFIG_IS_KEY, .type = CONFIG_##type_, .key = key_, .doc = doc_, .def = def_, .min = min_, .max = max_ \
    },

const struct config_item config_items[CONFIG_ID_COUNT] = {
#include "server/config_options.def"
};

/* Take a line out when its function is there: parser, defaults and manual know the topics keys already. */
const struct config_refusal config_refusals[] = {
    { "engine", NULL },
    { NULL, NULL },
};

static bool refusal_covers(const char *refused, const char *key)
{
    size_t len = strlen(refused);
    if (refused[len - 1] == '*')
        return strncmp(refused, key, len - 1) == 0;
    return strcmp(refused, key) == 0;
}

bool config_is_refused(const struct config_refusal *list, const char *key, const char *value)
{
    for (; list->key != NULL; list++) {
        if (!refusal_covers(list->key, key))
            continue;
        if (list->value == NULL || (value != NULL && strcmp(list->value, value) == 0))
            return true;
    }
    return false;
}

enum config_id config_item_find(const char *key)
{
    enum config_id id = 0;
    while (id < CONFIG_ID_COUNT && strcmp(config_items[id].key, key) != 0)
        id++;
    return id;
}

enum config_id config_item_find_in(const char *section, const char *name)
{
    enum config_id id = 0;
    while (id < CONFIG_ID_COUNT && !(config_item_is_in(id, section) && strcmp(config_item_name(id), name) == 0))
        id++;
    return id;
}

const char *config_item_name(enum config_id id)
{
    const char *dot = strchr(config_items[id].key, '.');
    return dot == NULL ? config_items[id].key : dot + 1;
}

bool config_item_is_in(enum config_id id, const char *section)
{
    const char *key = config_items[id].key;
    size_t len = strlen(section);
    if (len == 0)
        return strchr(key, '.') == NULL;
    return strncmp(key, section, len) == 0 && key[len] == '.';
}

bool config_item_is_list(enum config_id id)
{
    enum config_type type = config_items[id].type;
    return type == CONFIG_LIST_ORIGIN || type == CONFIG_LIST_USER || type == CONFIG_LIST_STAMP || type == CONFIG_LIST_ADDRESS ||
           type == CONFIG_LIST_FILE;
}

bool config_item_is_override_list(enum config_id id)
{
    return id == CONFIG_ID_listen || id == CONFIG_ID_backend || id == CONFIG_ID_origins || id == CONFIG_ID_trusted_proxies ||
           id == CONFIG_ID_echo;
}

bool config_item_is_overridable(enum config_id id)
{
    enum config_kind kind = config_items[id].kind;
    return kind == CONFIG_IS_OPTION || kind == CONFIG_IS_STRING || config_item_is_override_list(id);
}

void config_item_environment(enum config_id id, char *out, size_t out_size)
{
    snprintf(out, out_size, "HALLEY_%s", config_items[id].key);
    for (char *p = out; *p != '\0'; p++)
        *p = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
}

#define NEAREST_MAX 48 /* bytes of a word that is worth a guess: no key is longer */

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Edit distance with swaps of neighbours, for words of at most NEAREST_MAX bytes. */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][NEAREST_MAX + 1]; /* of the prefixes of a: the one before last, the last, this one */
    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *this = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        this[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t changed = last[j - 1] + (a[i - 1] != b[j - 1]);
            this[j] = min3(last[j] + 1, this[j - 1] + 1, changed);
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < this[j])
                this[j] = before[j - 2] + 1;
        }
    }
    return rows[a_len % 3][b_len];
}

void config_nearest_init(struct config_nearest *n, const char *word)
{
    *n = (struct config_nearest){ .word = word, .distance = SIZE_MAX };
}

void config_nearest_offer(struct config_nearest *n, const char *candidate)
{
    size_t word_len = strlen(n->word), len = strlen(candidate);
    if (word_len > NEAREST_MAX || len > NEAREST_MAX)
        return;
    size_t distance = edit_distance(n->word, word_len, candidate, len);
    if (distance < n->distance) {
        n->distance = distance;
        snprintf(n->best, sizeof n->best, "%s", candidate);
    }
}

bool config_nearest_is_close(const struct config_nearest *n)
{
    size_t len = strlen(n->word); /* a third of the letters may be wrong, and at least one */
    return n->distance <= (len < 6 ? 1 : len / 3);
}
