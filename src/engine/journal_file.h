/* The journal's directory: which files there are, and appending to one of them.
 *
 *     lock                     locked by the server that uses the directory
 *     log-NUMBER-SALT          what was published, in order; the highest number is being written
 *     state-NUMBER-SALT        what the hub knew before log NUMBER: older files are not needed
 *     state-NUMBER-SALT.new    one that is being written
 * The salt of the records is in the name, so that a file with a broken beginning can still be read. */
#ifndef HALLEY_ENGINE_JOURNAL_FILE_H
#define HALLEY_ENGINE_JOURNAL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_PATH_BYTES 4096

struct journal_dir {
    char *path;
    int fd;
    int lock_fd;
};

/* Open the directory, making it if only it itself is missing, and lock it. Returns 0, or -errno and a sentence in error. */
int journal_dir_open(struct journal_dir *d, const char *path, char *error, size_t error_size);
void journal_dir_close(struct journal_dir *d); /* unlocks; all zero but fds of -1 is accepted */
int journal_dir_sync(const struct journal_dir *d);

struct journal_name {
    uint64_t number;
    uint32_t salt;
    bool is_state;
    bool is_new; /* not complete: of no use */
    uint64_t bytes;
};

void journal_name_path(const struct journal_dir *d, const struct journal_name *n, char out[JOURNAL_PATH_BYTES]);

/* All files, sorted: states first, by number. The caller frees *ret. Returns 0 or -errno. */
int journal_dir_list(const struct journal_dir *d, struct journal_name **ret, size_t *ret_count);

int journal_file_remove(const struct journal_dir *d, const struct journal_name *n);

struct journal_file { /* one that is written */
    struct journal_name name; /* bytes: all that was appended */
    int fd;
    bool is_suspect; /* what is in it is not what was written: no more is appended */
};

/* Make a new file with a salt of its own. Returns 0 or -errno. */
int journal_file_create(const struct journal_dir *d, bool is_state, uint64_t number, struct journal_file *ret);
void journal_file_close(struct journal_file *f);

/* Append all of it. Returns 0, or -errno: then the file is as before, or suspect. */
int journal_file_append(struct journal_file *f, const void *bytes, size_t len);

/* Cut off what was appended since the file had so many bytes. If that fails the file is suspect. */
void journal_file_cut(struct journal_file *f, uint64_t bytes);

/* Wait for the disk. Returns 0, or -errno: then the file is suspect, for what the kernel could not write it has forgotten. */
int journal_file_sync(struct journal_file *f);

/* A complete state takes its name. The directory is synced. */
int journal_file_finish(const struct journal_dir *d, struct journal_file *f);

#endif
