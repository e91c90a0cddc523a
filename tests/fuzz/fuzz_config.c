/* Whatever the file: it is refused with a sentence that names a line of it, or it is loaded, and then what
 * --print-config shows loads again and shows the same.
 *
 * The fuzzer's input is the file. */
#include "server/config.h"

#include <stdlib.h>
#include <string.h>

#include "server/config_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NAME "fuzz.conf"

static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct config *load(const char *text, size_t len, const struct config_refusal *refusals,
                           struct config_error *error)
{
    memset(error, 0, sizeof *error);
    return config_load_text(NAME, text, len, NULL, NULL, refusals, error);
}

static char *printed(const struct config *c)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    must(out != NULL);
    config_print(c, out);
    must(fclose(out) == 0);
    return text;
}

/* The text with its comments cut off: they say where a value comes from, which changes. Strings may hold a '#', too. */
static void cut_comments(char *text)
{
    char *to = text, quote = '\0';
    for (char *from = text; *from != '\0'; from++) {
        if (*from == '#' && quote == '\0')
            from += strcspn(from, "\n");
        if (*from == '\\' && quote != '\0')
            *to++ = *from++;
        else if (*from == '"')
            quote = quote == '\0' ? '"' : '\0';
        if (*from != ' ')
            *to++ = *from;
    }
    *to = '\0';
}

static void must_name_a_line(const struct config_error *error, const uint8_t *data, size_t size)
{
    unsigned long lines = 1;
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    must(strncmp(error->text, NAME ":", strlen(NAME) + 1) == 0);
    unsigned long line = strtoul(error->text + strlen(NAME) + 1, NULL, 10);
    must(line >= 1 && line <= lines);
    must(strlen(error->text) + 1 < sizeof error->text); /* nothing was cut */
}

static void must_print_what_loads(const struct config *c)
{
    struct config_error error;
    char *text = printed(c);
    struct config *again = load(text, strlen(text), config_refusals, &error);
    must(again != NULL);
    must(again->rule_count == c->rule_count && rules_count(again->rules) == c->rule_count);
    char *twice = printed(again);
    cut_comments(text);
    cut_comments(twice);
    must(strcmp(text, twice) == 0);
    free(text);
    free(twice);
    config_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct config_refusal nothing[] = { { NULL, NULL } };
    struct config_error error;
    struct config *c = load((const char *)data, size, config_refusals, &error);
    if (c != NULL)
        must_print_what_loads(c);
    else
        must_name_a_line(&error, data, size);
    config_free(c);
    config_free(load((const char *)data, size, nothing, &error)); /* what a later version takes */
    return 0;
}
