#include "server/systemd.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define JOURNAL_FIELDS 16 /* of one line's text; what comes after is in MESSAGE alone */
#define JOURNAL_NAME_BYTES 48

static struct {
    struct sockaddr_un notify;
    socklen_t notify_len; /* 0: nobody listens */
    uint64_t watchdog_ms;
    unsigned listen_fds;
    int journal_fd;
} systemd = { .journal_fd = -1 };

/* ---- the environment */

static bool is_for_us(const char *pid_variable)
{
    const char *pid = getenv(pid_variable);
    return pid == NULL || strtol(pid, NULL, 10) == (long)getpid();
}

/* "/path", or "@name" in the abstract namespace. */
static void read_notify_socket(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path == NULL ? 0 : strlen(path);
    if (len < 2 || len >= sizeof systemd.notify.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    systemd.notify.sun_family = AF_UNIX;
    memcpy(systemd.notify.sun_path, path, len);
    if (path[0] == '@')
        systemd.notify.sun_path[0] = '\0';
    systemd.notify_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

void systemd_init(void)
{
    const char *fds = getenv("LISTEN_FDS"), *usec = getenv("WATCHDOG_USEC");
    read_notify_socket();
    if (fds != NULL && getenv("LISTEN_PID") != NULL && is_for_us("LISTEN_PID"))
        systemd.listen_fds = (unsigned)strtoul(fds, NULL, 10);
    if (usec != NULL && is_for_us("WATCHDOG_PID"))
        systemd.watchdog_ms = strtoull(usec, NULL, 10) / 1000;
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("WATCHDOG_PID"); /* NOTIFY_SOCKET and WATCHDOG_USEC stay: they hold for a successor too */
}

unsigned systemd_listen_fds(void)
{
    return systemd.listen_fds;
}

/* ---- sd_notify(3) */

static void send_to(const struct sockaddr_un *to, socklen_t to_len, const char *text, size_t len)
{
    HLY_CLEANUP(fd_closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && sendto(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)to, to_len) < 0)
        log_debug("systemd", "the service manager was not told: %s", strerror(errno));
}

void systemd_notify(const char *fmt, ...)
{
    char text[1024];
    if (systemd.notify_len == 0)
        return;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < sizeof text)
        send_to(&systemd.notify, systemd.notify_len, text, (size_t)n);
}

void systemd_ready(void)
{
    systemd_notify("READY=1");
}

void systemd_reloading(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    systemd_notify("RELOADING=1\nMONOTONIC_USEC=%" PRIu64, (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
}

void systemd_stopping(void)
{
    systemd_notify("STOPPING=1\nSTATUS=Stopping: clients are told to reconnect.");
}

/* ---- the watchdog */

uint64_t systemd_watchdog_ms(void)
{
    return systemd.notify_len == 0 ? 0 : systemd.watchdog_ms;
}

void systemd_watchdog_feed(void)
{
    systemd_notify("WATCHDOG=1");
}

bool systemd_may_feed(const uint64_t *turns_ms, size_t count, uint64_t now_ms, uint64_t limit_ms)
{
    for (size_t i = 0; i < count; i++)
        if (turns_ms[i] + limit_ms < now_ms)
            return false;
    return true;
}

/* ---- the journal */

/* The value of a leading `name=value`: one word, or quoted as log_quote() does. NULL: it is none. */
static const char *value_end(const char *value)
{
    if (*value != '\'')
        return value + strcspn(value, " ");
    for (value++; *value != '\0' && *value != '\''; value++)
        if (*value == '\\' && value[1] != '\0')
            value++;
    return *value == '\'' ? value + 1 : NULL;
}

static size_t add_field(char *out, size_t size, size_t at, const char *name, const char *value, size_t len)
{
    int n = snprintf(out + at, size - at, "%s=%.*s\n", name, (int)len, value);
    return n > 0 && (size_t)n < size - at ? at + (size_t)n : at;
}

/* "door=public address=[::]:80": the same names in capitals, after HALLEY_, so that they are nobody else's. */
static size_t add_pairs(char *out, size_t size, size_t at, const char *text)
{
    for (int n = 0; n < JOURNAL_FIELDS; n++) {
        char name[JOURNAL_NAME_BYTES] = "HALLEY_";
        size_t len = 7, name_len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");
        if (name_len == 0 || text[name_len] != '=' || len + name_len >= sizeof name)
            break;
        for (size_t i = 0; i < name_len; i++)
            name[len++] = (char)toupper((unsigned char)text[i]);
        const char *value = text + name_len + 1, *end = value_end(value);
        if (end == NULL || end == value)
            break;
        at = add_field(out, size, at, name, value, (size_t)(end - value));
        text = end + strspn(end, " ");
    }
    return at;
}

size_t systemd_journal_entry(char *out, size_t size, int priority, const char *event, const char *text)
{
    int n = snprintf(out, size, "PRIORITY=%d\nSYSLOG_IDENTIFIER=halleyd\nHALLEY_EVENT=%s\nMESSAGE=%s %s\n", priority, event, event, text);
    if (n < 0 || (size_t)n >= size)
        return 0;
    return add_pairs(out, size, (size_t)n, text);
}

static bool write_entry(enum log_level level, const char *event, const char *text)
{
    static const int priorities[] = { [LOG_LEVEL_ERROR] = 3, [LOG_LEVEL_WARN] = 4, [LOG_LEVEL_INFO] = 6, [LOG_LEVEL_DEBUG] = 7 };
    char entry[8192];
    size_t len = systemd_journal_entry(entry, sizeof entry, priorities[level], event, text);
    return len > 0 && send(systemd.journal_fd, entry, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

/* JOURNAL_STREAM is "DEVICE:INODE" of what the manager connected: stderr may have been sent elsewhere since. */
static bool stderr_is_journal(void)
{
    uintmax_t device, inode;
    struct stat st;
    const char *stream = getenv("JOURNAL_STREAM");
    return stream != NULL && sscanf(stream, "%ju:%ju", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device &&
           st.st_ino == inode;
}

void systemd_log_to_journal(void)
{
    static const struct sockaddr_un journal = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };
    if (!stderr_is_journal())
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&journal, sizeof journal) < 0) {
        if (fd >= 0)
            close(fd);
        return; /* stderr takes the lines as they are */
    }
    systemd.journal_fd = fd;
    log_set_sink(write_entry);
}
