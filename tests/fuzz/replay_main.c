/* Run a fuzzer's function over files instead of over libFuzzer's inventions: what `make check` does with the corpus and
 * with what was found before. Arguments are files, and directories, which are walked whole. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long replayed;

static _Noreturn void die(const char *path, int error)
{
    fprintf(stderr, "%s: %s\n", path, strerror(error));
    exit(2);
}

static void read_file(const char *path, struct buf *content)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        die(path, errno);
    size_t got;
    do {
        uint8_t *room = buf_reserve(content, BUFSIZ);
        if (room == NULL)
            die(path, ENOMEM);
        got = fread(room, 1, BUFSIZ, f);
        content->len += got;
    } while (got > 0);
    if (ferror(f))
        die(path, EIO);
    fclose(f);
}

static void replay_file(const char *path)
{
    struct buf content = { 0 };
    read_file(path, &content);
    fprintf(stderr, "%s\n", path);                              /* first: if it crashes, this is the line to look for */
    uint8_t *input = malloc(content.len > 0 ? content.len : 1); /* of just the size, so that ASan sees reads past it */
    if (input == NULL)
        die(path, ENOMEM);
    if (content.len > 0)
        memcpy(input, content.data, content.len);
    LLVMFuzzerTestOneInput(input, content.len);
    free(input);
    buf_done(&content);
    replayed++;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) == -1)
        die(path, errno);
    if (!S_ISDIR(st.st_mode)) {
        replay_file(path);
        return;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, is_visible, alphasort);
    if (count == -1)
        die(path, errno);
    for (int i = 0; i < count; i++) {
        struct buf below = { 0 };
        if (buf_printf(&below, "%s/%s", path, entries[i]->d_name) < 0)
            die(path, ENOMEM);
        replay((const char *)below.data);
        buf_done(&below);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    if (argc < 2) { /* a test that tests nothing does not pass */
        fprintf(stderr, "usage: %s FILE|DIRECTORY ...\n", argv[0]);
        return 2;
    }
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("%lu files replayed\n", replayed);
    return 0;
}
