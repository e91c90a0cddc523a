#include "server/process.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"

#define SPARE_FILES 64 /* descriptors that are no connection: listeners, loops, logs, libraries */
#define SPARE_FOR_BACKENDS 256 /* when there are fewer files than limits.connections and limits.backends together */

/* Returns the open files that this process may have. */
static uint64_t raise_files(uint64_t wanted)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
        return 1024;
    struct rlimit more = { .rlim_cur = wanted, .rlim_max = lim.rlim_max > wanted ? lim.rlim_max : wanted };
    if (lim.rlim_cur >= wanted || setrlimit(RLIMIT_NOFILE, &more) == 0)
        return lim.rlim_cur >= wanted ? lim.rlim_cur : wanted;
    more = (struct rlimit){ .rlim_cur = lim.rlim_max, .rlim_max = lim.rlim_max };
    return setrlimit(RLIMIT_NOFILE, &more) == 0 ? lim.rlim_max : lim.rlim_cur;
}

uint64_t process_fit_connections(const struct config *c)
{
    uint64_t spare = SPARE_FILES + (c->max_backends < SPARE_FOR_BACKENDS ? c->max_backends : SPARE_FOR_BACKENDS);
    uint64_t wanted = c->max_connections + c->max_backends + SPARE_FILES;
    uint64_t files = raise_files(wanted);
    if (files >= wanted)
        return c->max_connections;
    uint64_t left = files > 2 * spare ? files - spare : files / 2;
    if (left > c->max_connections)
        left = c->max_connections;
    log_warn("few_files",
             "open files are limited to %" PRIu64 ", so %" PRIu64 " clients can connect, not limits.connections=%" PRIu64
             ": raise LimitNOFILE= in the systemd unit (or ulimit -n) to %" PRIu64 ", or lower limits.connections",
             files, left, c->max_connections, wanted);
    return left;
}

/* By name or by number, as the config has checked it; empty: unchanged. */
static bool find_user(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
    char *end;
    const struct passwd *pw = name[0] == '\0' ? NULL : getpwnam(name);
    unsigned long number = strtoul(name, &end, 10);
    if (pw == NULL && name[0] != '\0' && *end == '\0')
        pw = getpwuid((uid_t)number);
    if (pw != NULL) {
        *ret_uid = pw->pw_uid;
        *ret_gid = pw->pw_gid;
    } else if (*end == '\0' && name[0] != '\0') { /* a number without an account: its group has the same */
        *ret_uid = (uid_t)number;
        *ret_gid = (gid_t)number;
    }
    return pw != NULL || *end == '\0';
}

static bool find_group(const char *name, gid_t *ret_gid)
{
    char *end;
    const struct group *gr = name[0] == '\0' ? NULL : getgrnam(name);
    unsigned long number = strtoul(name, &end, 10);
    if (gr != NULL)
        *ret_gid = gr->gr_gid;
    else if (*end == '\0' && name[0] != '\0')
        *ret_gid = (gid_t)number;
    return gr != NULL || *end == '\0';
}

int process_drop_privileges(const struct config *c)
{
    if ((c->user[0] == '\0' && c->group[0] == '\0') || geteuid() != 0)
        return 0;
    uid_t uid = 0;
    gid_t gid = 0;
    if (!find_user(c->user, &uid, &gid) || !find_group(c->group, &gid)) {
        log_error("privileges", "user '%s' or group '%s' does not exist: create it (systemd-sysusers), or change the config", c->user, c->group);
        return -1;
    }
    const struct passwd *pw = getpwuid(uid);
    int r = pw != NULL ? initgroups(pw->pw_name, gid) : setgroups(0, NULL);
    if (r < 0 || setgid(gid) < 0 || (c->user[0] != '\0' && setuid(uid) < 0)) {
        log_error("privileges", "cannot become user '%s', group '%s': %s; start without root, or leave `user` and `group` out", c->user,
                  c->group, strerror(errno));
        return -1;
    }
    return 0;
}
