/* File descriptors as values with an owner: closed when the variable goes, unless taken. */
#ifndef HALLEY_BASE_FD_H
#define HALLEY_BASE_FD_H

#include <errno.h>
#include <unistd.h>

static inline void fd_closep(int *fd) /* keeps errno: it runs on error paths */
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
    *fd = -1;
}

static inline int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

#endif
