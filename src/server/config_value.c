/* Numbers, units and words of the configuration: text to value, and value to the text that gives it again. */
#include "server/config_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/log.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* The largest first. */
static const struct unit time_units[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 },
                                          { "s", 1000 },     { "ms", 1 },      { NULL, 0 } };
static const struct unit size_units[] = {
    { "g", 1024 * 1024 * 1024 }, { "m", 1024 * 1024 }, { "k", 1024 }, { NULL, 0 }
};

/* The place of a word is its value; for booleans the even ones are false. */
#define WORDS_MAX 6
static const char *const words_of[][WORDS_MAX + 1] = {
    [CONFIG_BOOL] = { "off", "on", "false", "true", "no", "yes" },
    [CONFIG_ENUM_LOG_LEVEL] = { "error", "warn", "info", "debug" },
    [CONFIG_ENUM_LOG_FORMAT] = { "text", "json" },
    [CONFIG_ENUM_WHO] = { "nobody", "backend", "token", "anyone" },
    [CONFIG_ENUM_PAYLOAD] = { "text", "json", "binary" },
    [CONFIG_ENUM_ON_SLOW] = { "catch_up", "drop_oldest", "conflate", "disconnect" },
    [CONFIG_ENUM_TLS_CLIENT] = { "optional", "required" },
    [CONFIG_ENUM_SYNC] = { "always", "interval", "never" },
};

int config_because(struct config_why *why, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why->text, sizeof why->text, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

const char *config_quote(struct config_quoted *q, const char *text)
{
    return log_quote(q->text, sizeof q->text, text, strlen(text));
}

/* The digits at the start of text, in any base up to 10. Returns 0 and where they end, -EINVAL without any, or
 * -ERANGE. */
static int digits_parse(const char *text, unsigned base, uint64_t *ret_value, const char **ret_end)
{
    uint64_t value = 0;
    const char *p = text;
    for (; *p >= '0' && *p < (char)('0' + base); p++) {
        if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return -ERANGE;
    }
    if (p == text)
        return -EINVAL;
    *ret_value = value;
    *ret_end = p;
    return 0;
}

static uint64_t unit_factor(const struct unit *units, const char *name) /* 0: no such unit */
{
    while (units->name != NULL && strcmp(units->name, name) != 0)
        units++;
    return units->factor;
}

static int out_of_range(const struct config_item *item, const char *text, struct config_why *why)
{
    char range[128];
    config_value_range(item, config_refusals, range, sizeof range);
    return config_because(why, "%s = %s is out of range. It must be %s.", item->key, CONFIG_QUOTE(text), range);
}

static int count_parse(const struct config_item *item, const char *text, uint64_t *ret_value, struct config_why *why)
{
    if (item->type == CONFIG_COUNT_OR_AUTO && strcmp(text, "auto") == 0) {
        *ret_value = 0;
        return 0;
    }
    const char *end = "";
    int r = digits_parse(text, 10, ret_value, &end);
    if (r == -ERANGE)
        return out_of_range(item, text, why);
    if (r < 0 || *end != '\0') {
        char range[128];
        config_value_range(item, config_refusals, range, sizeof range);
        return config_because(why, "%s = '%s' is not a whole number. It must be %s, without a unit.", item->key,
                              CONFIG_QUOTE(text), range);
    }
    return *ret_value < item->min || *ret_value > item->max ? out_of_range(item, text, why) : 0;
}

static int mode_parse(const struct config_item *item, const char *text, uint64_t *ret_value, struct config_why *why)
{
    const char *end = "";
    int r = digits_parse(text, 8, ret_value, &end);
    if (r < 0 || *end != '\0' || *ret_value > item->max)
        return config_because(why, "%s = '%s' is not a file mode. Write it in octal, as in 0660.", item->key,
                              CONFIG_QUOTE(text));
    return 0;
}

static int size_parse(const struct config_item *item, const char *text, uint64_t *ret_value, struct config_why *why)
{
    const char *end = "";
    uint64_t number = 0;
    int r = digits_parse(text, 10, &number, &end);
    uint64_t factor = *end == '\0' ? 1 : unit_factor(size_units, end);
    if (r == -EINVAL || factor == 0)
        return config_because(
            why, "%s = '%s' is not a size. Write bytes, or a number with k, m or g (1024 each), as in 64k.", item->key,
            CONFIG_QUOTE(text));
    if (r < 0 || __builtin_mul_overflow(number, factor, ret_value) || *ret_value < item->min || *ret_value > item->max)
        return out_of_range(item, text, why);
    return 0;
}

static int time_parse(const struct config_item *item, const char *text, uint64_t *ret_value, struct config_why *why)
{
    const char *end = "";
    uint64_t number = 0;
    int r = digits_parse(text, 10, &number, &end);
    if (r == -ERANGE)
        return out_of_range(item, text, why);
    if (r == 0 && *end == '\0' && number > 0) /* seconds for one, milliseconds for another: nobody guesses right */
        return config_because(why, "%s = %s has no unit. Write %ss, or another of ms, s, m, h and d.", item->key,
                              CONFIG_QUOTE(text), CONFIG_QUOTE(text));
    uint64_t factor = *end == '\0' ? 1 : unit_factor(time_units, end);
    if (r < 0 || factor == 0)
        return config_because(why, "%s = '%s' is not a time. Write a number with ms, s, m, h or d, as in 25s.",
                              item->key, CONFIG_QUOTE(text));
    if (__builtin_mul_overflow(number, factor, ret_value) || *ret_value < item->min || *ret_value > item->max)
        return out_of_range(item, text, why);
    return 0;
}

static int word_parse(const struct config_item *item, const char *text, uint64_t *ret_value, struct config_why *why)
{
    const char *const *words = words_of[item->type];
    for (uint64_t i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], text) == 0) {
            *ret_value = item->type == CONFIG_BOOL ? i % 2 : i;
            return 0;
        }
    }
    char range[128];
    config_value_range(item, config_refusals, range, sizeof range);
    return config_because(why, "%s = '%s' is not known. It must be %s.", item->key, CONFIG_QUOTE(text), range);
}

int config_value_parse(const struct config_item *item, const char *text, uint64_t *ret_value, struct config_why *why)
{
    uint64_t value = 0;
    int r;
    switch (item->type) {
    case CONFIG_COUNT:
    case CONFIG_COUNT_OR_AUTO:
        r = count_parse(item, text, &value, why);
        break;
    case CONFIG_BYTES:
        r = size_parse(item, text, &value, why);
        break;
    case CONFIG_MS:
        r = time_parse(item, text, &value, why);
        break;
    case CONFIG_MODE:
        r = mode_parse(item, text, &value, why);
        break;
    default: /* the others are words; strings do not come here */
        r = word_parse(item, text, &value, why);
        break;
    }
    if (r == 0)
        *ret_value = value;
    return r;
}

static void unit_format(const struct unit *units, uint64_t value, char *out, size_t out_size)
{
    while (units->name != NULL && (value == 0 || value % units->factor != 0))
        units++;
    if (units->name == NULL)
        snprintf(out, out_size, "%" PRIu64, value);
    else
        snprintf(out, out_size, "%" PRIu64 "%s", value / units->factor, units->name);
}

void config_value_format(const struct config_item *item, uint64_t value, char *out, size_t out_size)
{
    if (item->type == CONFIG_COUNT_OR_AUTO && value == 0)
        snprintf(out, out_size, "auto");
    else if (item->type == CONFIG_COUNT || item->type == CONFIG_COUNT_OR_AUTO)
        snprintf(out, out_size, "%" PRIu64, value);
    else if (item->type == CONFIG_BYTES)
        unit_format(size_units, value, out, out_size);
    else if (item->type == CONFIG_MS)
        unit_format(time_units, value, out, out_size);
    else if (item->type == CONFIG_MODE)
        snprintf(out, out_size, "%04" PRIo64, value);
    else
        snprintf(out, out_size, "%s", words_of[item->type][value]);
}

/* "a, b or c" */
static void words_format(const struct config_item *item, const struct config_refusal *refusals, char *out,
                         size_t out_size)
{
    const char *allowed[WORDS_MAX];
    size_t count = 0, n = 0;
    if (item->type == CONFIG_BOOL) { /* its other words are synonyms */
        snprintf(out, out_size, "on or off");
        return;
    }
    for (size_t i = 0; words_of[item->type][i] != NULL; i++) {
        if (!config_is_refused(refusals, item->key, words_of[item->type][i]))
            allowed[count++] = words_of[item->type][i];
    }
    out[0] = '\0';
    for (size_t i = 0; i < count && n < out_size; i++)
        n += (size_t)snprintf(out + n, out_size - n, "%s%s", i == 0 ? "" : i + 1 == count ? " or " : ", ", allowed[i]);
}

void config_value_range(const struct config_item *item, const struct config_refusal *refusals, char *out,
                        size_t out_size)
{
    char min[32], max[32];
    switch (item->type) {
    case CONFIG_COUNT:
    case CONFIG_COUNT_OR_AUTO:
    case CONFIG_BYTES:
    case CONFIG_MS:
        config_value_format(item, item->min, min, sizeof min);
        config_value_format(item, item->max, max, sizeof max);
        snprintf(out, out_size, "%s%s to %s", item->type == CONFIG_COUNT_OR_AUTO ? "auto, or " : "", min, max);
        break;
    case CONFIG_MODE:
        snprintf(out, out_size, "octal digits");
        break;
    case CONFIG_TEXT:
        snprintf(out, out_size, "text");
        break;
    case CONFIG_USER:
    case CONFIG_GROUP:
        snprintf(out, out_size, "a name or number");
        break;
    case CONFIG_LIST_ORIGIN:
    case CONFIG_LIST_USER:
    case CONFIG_LIST_STAMP:
    case CONFIG_LIST_ADDRESS:
    case CONFIG_LIST_FILE:
        snprintf(out, out_size, "a list");
        break;
    default:
        words_format(item, refusals, out, out_size);
        break;
    }
}
