/* A disk that forgets: preloaded into halleyd, it notes what has been forced to the disk, so that a test can take all the rest away, as a
 * machine does that loses its power. kill -9 alone shows nothing of that: the page cache survives it.
 *
 *     POWER_LOSS_DIR     the directory that is watched; notes are kept beside it, in DIR.durable
 *     POWER_LOSS_IGNORE  "files": of each file only what is forced to the disk first is not forgotten; "directory": the names of files are
 *
 * fsync() of the directory makes the names that are in it durable (a hard link in DIR.durable each), fdatasync() and fsync() of a file
 * its first bytes (their number in DIR.durable/.bytes-INODE). Files only grow here, so that says it all. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_ignored(const char *what)
{
    const char *ignore = getenv("POWER_LOSS_IGNORE");
    return ignore != NULL && strcmp(ignore, what) == 0;
}

static void forget_names(const char *durable, const char *dir)
{
    char here[4096], there[4096];
    struct stat a, b;
    DIR *d = opendir(durable);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        snprintf(here, sizeof here, "%s/%s", durable, e->d_name);
        snprintf(there, sizeof there, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.' && (stat(there, &a) < 0 || stat(here, &b) < 0 || a.st_ino != b.st_ino))
            unlink(here);
    }
    if (d != NULL)
        closedir(d);
}

static void note_directory(const char *dir)
{
    char durable[4096], here[4096], there[4096];
    snprintf(durable, sizeof durable, "%s.durable", dir);
    if (is_ignored("directory"))
        return;
    forget_names(durable, dir);
    DIR *d = opendir(dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        snprintf(here, sizeof here, "%s/%s", durable, e->d_name);
        snprintf(there, sizeof there, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.' && link(there, here) < 0) {
            /* it is there already */
        }
    }
    if (d != NULL)
        closedir(d);
}

static void note_file(const char *dir, int fd, uint64_t bytes)
{
    char path[4096];
    struct stat st;
    if (fstat(fd, &st) < 0)
        return;
    snprintf(path, sizeof path, "%s.durable/.bytes-%llu", dir, (unsigned long long)st.st_ino);
    if (is_ignored("files") && access(path, F_OK) == 0)
        return;
    int note = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (note < 0 || pwrite(note, &bytes, sizeof bytes, 0) != sizeof bytes)
        abort();
    close(note);
}

static int note_sync(int fd, long how)
{
    char link[64], path[4096];
    const char *dir = getenv("POWER_LOSS_DIR");
    struct stat st = { 0 };
    fstat(fd, &st); /* what is written meanwhile may be on the disk, or not */
    int r = (int)syscall(how, fd);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (r < 0 || dir == NULL || len < 0)
        return r;
    path[len] = '\0';
    if (strcmp(path, dir) == 0)
        note_directory(dir);
    else if (strncmp(path, dir, strlen(dir)) == 0 && path[strlen(dir)] == '/')
        note_file(dir, fd, (uint64_t)st.st_size);
    return r;
}

int fsync(int fd)
{
    return note_sync(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return note_sync(fd, SYS_fdatasync);
}
