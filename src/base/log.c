#include "base/log.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/utf8.h"

static _Atomic int log_max_level = LOG_LEVEL_INFO;
static _Atomic bool log_json;
static bool (*log_sink)(enum log_level level, const char *ev, const char *text);

static const char *const level_names[] = { "error", "warn", "info", "debug" };

void log_setup(enum log_level level, bool json)
{
    atomic_store(&log_max_level, (int)level);
    atomic_store(&log_json, json);
}

void log_set_sink(bool (*sink)(enum log_level level, const char *ev, const char *text))
{
    log_sink = sink;
}

bool log_is_on(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_max_level, memory_order_relaxed);
}

static size_t utf8_len(const char *s) /* of the code point that s begins with; 0 if that is none, or is cut off */
{
    unsigned char c = (unsigned char)*s;
    size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return strnlen(s, len) == len && utf8_is_valid(s, len) ? len : 0;
}

static void json_escape(char *out, size_t size, const char *s)
{
    size_t n = 0;
    for (size_t len; *s != '\0' && n + 7 < size; s += len > 0 ? len : 1) {
        unsigned char c = (unsigned char)*s;
        len = utf8_len(s);
        if (len == 0) {
            n += (size_t)snprintf(out + n, size - n, "\\ufffd"); /* JSON is UTF-8, whatever the bytes here */
        } else if (c == '"' || c == '\\') {
            n += (size_t)snprintf(out + n, size - n, "\\%c", c);
        } else if (c < 0x20) {
            n += (size_t)snprintf(out + n, size - n, "\\u%04x", c);
        } else {
            memcpy(out + n, s, len);
            n += len;
        }
    }
    out[n] = '\0';
}

static void keep_to_one_line(char *text) /* some libraries' error texts have several */
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

static void log_emit(enum log_level level, const char *ev, char *text)
{
    if (log_sink != NULL && !atomic_load(&log_json)) {
        keep_to_one_line(text);
        if (log_sink(level, ev, text))
            return;
    }
    char line[4096], stamp[40];
    uint64_t now = clock_wall_ms();
    time_t sec = (time_t)(now / 1000);
    struct tm tm;
    gmtime_r(&sec, &tm);
    size_t at = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(stamp + at, sizeof stamp - at, ".%03uZ", (unsigned)(now % 1000));
    int n;
    if (atomic_load(&log_json)) {
        char escaped[3072];
        json_escape(escaped, sizeof escaped, text);
        n = snprintf(line, sizeof line, "{\"time\":\"%s\",\"level\":\"%s\",\"ev\":\"%s\",\"msg\":\"%s\"}\n", stamp,
                     level_names[level], ev, escaped);
    } else {
        keep_to_one_line(text);
        n = snprintf(line, sizeof line, "%s level=%s ev=%s %s\n", stamp, level_names[level], ev, text);
    }
    size_t len = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    line[len - 1] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, len); /* one write: lines of several threads do not mix */
    (void)ignored;
}

static _Thread_local struct buf *collecting;

void log_collect(struct buf *out)
{
    collecting = out;
}

void log_write(enum log_level level, const char *ev, const char *fmt, ...)
{
    if (!log_is_on(level))
        return;
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_emit(level, ev, text);
    if (level == LOG_LEVEL_ERROR && collecting != NULL)
        buf_printf(collecting, "%s\n", text);
}

void log_limited(struct log_gate *gate, enum log_level level, const char *ev, const char *fmt, ...)
{
    if (!log_is_on(level))
        return;
    uint64_t now = clock_mono_ms();
    uint64_t next = atomic_load_explicit(&gate->next_ms, memory_order_relaxed);
    if (now < next || !atomic_compare_exchange_strong(&gate->next_ms, &next, now + 1000)) {
        atomic_fetch_add_explicit(&gate->swallowed, 1, memory_order_relaxed);
        return;
    }
    uint64_t swallowed = atomic_exchange(&gate->swallowed, 0);
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text - 64, fmt, ap);
    va_end(ap);
    if (swallowed > 0) {
        size_t at = strlen(text);
        snprintf(text + at, sizeof text - at, " (and %llu more like it)", (unsigned long long)swallowed);
    }
    log_emit(level, ev, text);
}

const char *log_quote(char *out, size_t out_size, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    size_t n = 0;
    assert(out_size > 0);
    for (size_t i = 0; i < len; i++) {
        if (n + 8 > out_size) {
            n += (size_t)snprintf(out + n, out_size - n, "...");
            break;
        }
        if (p[i] == '\'' || p[i] == '\\')
            n += (size_t)snprintf(out + n, out_size - n, "\\%c", p[i]);
        else if (p[i] < 0x20 || p[i] >= 0x7f)
            n += (size_t)snprintf(out + n, out_size - n, "\\x%02x", p[i]);
        else
            out[n++] = (char)p[i];
    }
    out[n < out_size ? n : out_size - 1] = '\0';
    return out;
}
