#include "cli/terminal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

static const char *const styles[TERMINAL_STYLES] = {
    [TERMINAL_PLAIN] = "\033[0m", [TERMINAL_BOLD] = "\033[1m",     [TERMINAL_DIM] = "\033[2m",
    [TERMINAL_NAME] = "\033[36m", [TERMINAL_ERROR] = "\033[1;31m",
};

bool terminal_is(FILE *f)
{
    return isatty(fileno(f)) == 1;
}

const char *terminal_style(FILE *f, enum terminal_style style)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    if ((no_color != NULL && no_color[0] != '\0') || (term != NULL && strcmp(term, "dumb") == 0) || !terminal_is(f))
        return "";
    return styles[style];
}

/* Bytes of the control character at p, 0 if there is none. C1 is U+0080 to U+009F, in UTF-8 C2 80 to C2 9F. */
static size_t control_length(const unsigned char *p, size_t len)
{
    if ((p[0] < 0x20 && p[0] != '\t') || p[0] == 0x7f)
        return 1;
    if (p[0] == 0xc2 && len > 1 && p[1] >= 0x80 && p[1] <= 0x9f)
        return 2;
    return 0;
}

void terminal_write(FILE *f, const char *bytes, size_t len)
{
    if (!terminal_is(f)) {
        fwrite(bytes, 1, len, f);
        return;
    }
    const unsigned char *p = (const unsigned char *)bytes;
    size_t plain = 0; /* [plain, i) is waiting to be printed */
    for (size_t i = 0; i < len;) {
        size_t n = control_length(p + i, len - i);
        if (n == 0) {
            i++;
            continue;
        }
        fwrite(p + plain, 1, i - plain, f);
        if (p[i] == '\n' || p[i] == '\r')
            fputs(p[i] == '\n' ? "\\n" : "\\r", f);
        else
            fprintf(f, "\\x%02x", p[i + n - 1]);
        i += n;
        plain = i;
    }
    fwrite(p + plain, 1, len - plain, f);
}

const char *terminal_number(uint64_t n, char *out)
{
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, n), at = 0;
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

const char *terminal_duration(uint64_t seconds, char *out, size_t out_size)
{
    static const struct {
        const char *unit;
        uint64_t seconds;
    } units[] = { { "d", 86400 }, { "h", 3600 }, { "min", 60 } };
    for (size_t i = 0; i < HLY_ARRAY_LEN(units); i++) {
        if (seconds < units[i].seconds)
            continue;
        uint64_t below = i + 1 < HLY_ARRAY_LEN(units) ? units[i + 1].seconds : 1;
        snprintf(out, out_size, "%" PRIu64 " %s %" PRIu64 " %s", seconds / units[i].seconds, units[i].unit,
                 seconds % units[i].seconds / below, i + 1 < HLY_ARRAY_LEN(units) ? units[i + 1].unit : "s");
        return out;
    }
    snprintf(out, out_size, "%" PRIu64 " s", seconds);
    return out;
}

const char *terminal_size(uint64_t bytes, char *out, size_t out_size)
{
    static const char *const units[] = { "B", "KB", "MB", "GB", "TB", "PB", "EB" };
    size_t unit = 0;
    double value = (double)bytes;
    for (; value >= 1024 && unit + 1 < HLY_ARRAY_LEN(units); unit++)
        value /= 1024;
    snprintf(out, out_size, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}
