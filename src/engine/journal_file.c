#include "engine/journal_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

/* ---- the directory */

static int fail(char *error, size_t error_size, int number, const char *path, const char *what)
{
    snprintf(error, error_size, "journal '%s': %s", path, what);
    return -number;
}

static int make_directory(const char *path, char *error, size_t error_size)
{
    struct stat st;
    if (mkdir(path, 0700) == 0)
        return 0;
    if (errno == ENOENT)
        return fail(error, error_size, ENOENT, path, "the directory above it does not exist: create it, or set journal.path to one that does");
    if (errno != EEXIST)
        return fail(error, error_size, errno, path, "cannot be created by the user that halleyd runs as: create it for that user (systemd: StateDirectory=)");
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return fail(error, error_size, ENOTDIR, path, "is not a directory: journal.path names a directory of its own");
    return 0;
}

static int take_lock(struct journal_dir *d, char *error, size_t error_size)
{
    char path[JOURNAL_PATH_BYTES], text[32] = "";
    snprintf(path, sizeof path, "%s/lock", d->path);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0)
        return fail(error, error_size, errno, d->path, "its file 'lock' cannot be opened: the directory and the files in it belong to the user that halleyd runs as (chown -R)");
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        int reason = errno;
        ssize_t n = read(d->lock_fd, text, sizeof text - 1);
        text[n > 0 ? strcspn(text, "\n") : 0] = '\0';
        snprintf(error, error_size, "journal '%s' is in use by another server%s%s: give each server a journal.path of its own, or stop the other one", d->path,
                 text[0] != '\0' ? ", process " : "", text);
        return reason == EWOULDBLOCK ? -EBUSY : -reason;
    }
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(d->lock_fd, 0) < 0 || pwrite(d->lock_fd, text, (size_t)len, 0) < 0) {
        /* it is for people only: a full disk does not matter here */
    }
    return 0;
}

int journal_dir_open(struct journal_dir *d, const char *path, char *error, size_t error_size)
{
    *d = (struct journal_dir){ .fd = -1, .lock_fd = -1 };
    if (strlen(path) > JOURNAL_PATH_BYTES - 64)
        return fail(error, error_size, ENAMETOOLONG, path, "the path is too long");
    int r = make_directory(path, error, error_size);
    if (r < 0)
        return r;
    d->path = strdup(path);
    d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->path == NULL || d->fd < 0)
        r = fail(error, error_size, d->path == NULL ? ENOMEM : errno, path, "cannot be opened: the directory belongs to the user that halleyd runs as, with mode 0700");
    else if (access(path, R_OK | W_OK | X_OK) < 0)
        r = fail(error, error_size, errno, path, "cannot be written to: the directory belongs to the user that halleyd runs as, with mode 0700");
    else
        r = take_lock(d, error, error_size);
    if (r < 0)
        journal_dir_close(d);
    return r;
}

void journal_dir_close(struct journal_dir *d)
{
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    if (d->fd >= 0)
        close(d->fd);
    free(d->path);
    *d = (struct journal_dir){ .fd = -1, .lock_fd = -1 };
}

int journal_dir_sync(const struct journal_dir *d)
{
    return fsync(d->fd) < 0 ? -errno : 0;
}

/* ---- names */

void journal_name_path(const struct journal_dir *d, const struct journal_name *n, char out[JOURNAL_PATH_BYTES])
{
    snprintf(out, JOURNAL_PATH_BYTES, "%s/%s-%016" PRIx64 "-%08" PRIx32 "%s", d->path, n->is_state ? "state" : "log", n->number, n->salt,
             n->is_new ? ".new" : "");
}

static bool name_parse(const char *text, struct journal_name *ret)
{
    int end = 0;
    *ret = (struct journal_name){ .is_state = strncmp(text, "state-", 6) == 0 };
    if (!ret->is_state && strncmp(text, "log-", 4) != 0)
        return false;
    text += ret->is_state ? 6 : 4;
    if (sscanf(text, "%16" SCNx64 "-%8" SCNx32 "%n", &ret->number, &ret->salt, &end) != 2 || end != 25)
        return false;
    ret->is_new = strcmp(text + end, ".new") == 0;
    return ret->is_new || text[end] == '\0';
}

static int name_compare(const void *a, const void *b)
{
    const struct journal_name *x = a, *y = b;
    if (x->is_state != y->is_state)
        return x->is_state ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

int journal_dir_list(const struct journal_dir *d, struct journal_name **ret, size_t *ret_count)
{
    DIR *dir = opendir(d->path);
    struct journal_name *names = NULL, name;
    size_t count = 0;
    int r = dir == NULL ? -errno : 0;
    for (struct dirent *e; r == 0 && (e = readdir(dir)) != NULL;) {
        struct stat st;
        if (!name_parse(e->d_name, &name) || fstatat(d->fd, e->d_name, &st, 0) < 0)
            continue;
        name.bytes = (uint64_t)st.st_size;
        struct journal_name *more = realloc(names, (count + 1) * sizeof *names);
        if (more == NULL) {
            r = -ENOMEM;
            break;
        }
        names = more;
        names[count++] = name;
    }
    if (dir != NULL)
        closedir(dir);
    if (r < 0) {
        free(names);
        return r;
    }
    if (count > 0)
        qsort(names, count, sizeof *names, name_compare);
    *ret = names;
    *ret_count = count;
    return 0;
}

int journal_file_remove(const struct journal_dir *d, const struct journal_name *n)
{
    char path[JOURNAL_PATH_BYTES];
    journal_name_path(d, n, path);
    return unlink(path) < 0 ? -errno : 0;
}

/* ---- writing */

int journal_file_create(const struct journal_dir *d, bool is_state, uint64_t number, struct journal_file *ret)
{
    char path[JOURNAL_PATH_BYTES];
    *ret = (struct journal_file){ .name = { .number = number, .is_state = is_state, .is_new = is_state }, .fd = -1 };
    if (getrandom(&ret->name.salt, sizeof ret->name.salt, 0) != sizeof ret->name.salt)
        return -EIO;
    journal_name_path(d, &ret->name, path);
    ret->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return ret->fd < 0 ? -errno : 0;
}

void journal_file_close(struct journal_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

void journal_file_cut(struct journal_file *f, uint64_t bytes)
{
    if (ftruncate(f->fd, (off_t)bytes) < 0 || lseek(f->fd, (off_t)bytes, SEEK_SET) < 0)
        f->is_suspect = true;
    f->name.bytes = bytes;
}

int journal_file_append(struct journal_file *f, const void *bytes, size_t len)
{
    const char *from = bytes;
    uint64_t before = f->name.bytes;
    if (f->is_suspect)
        return -EIO;
    for (size_t done = 0; done < len;) {
        ssize_t n = write(f->fd, from + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int error = n == 0 ? ENOSPC : errno;
            journal_file_cut(f, before);
            return -error;
        }
        done += (size_t)n;
    }
    f->name.bytes = before + len;
    return 0;
}

int journal_file_sync(struct journal_file *f)
{
    if (fdatasync(f->fd) == 0)
        return 0;
    int error = errno;
    f->is_suspect = true;
    return -error;
}

int journal_file_finish(const struct journal_dir *d, struct journal_file *f)
{
    char from[JOURNAL_PATH_BYTES], to[JOURNAL_PATH_BYTES];
    journal_name_path(d, &f->name, from);
    f->name.is_new = false;
    journal_name_path(d, &f->name, to);
    if (rename(from, to) < 0) {
        f->name.is_new = true;
        return -errno;
    }
    return journal_dir_sync(d);
}
