/* The cursor: `EPOCH-SEQ` as text, "I have everything up to here". Opaque to clients, one for any number of topics. */
#ifndef HALLEY_CORE_CURSOR_H
#define HALLEY_CORE_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#define EPOCH_LEN 8                         /* characters of an epoch: base 32, 40 random bits */
#define CURSOR_MAX_BYTES (EPOCH_LEN + 1 + 20) /* without a NUL */

struct cursor {
    char epoch[EPOCH_LEN + 1];
    uint64_t seq;
};

/* Make an epoch's name of 5 random bytes. */
void cursor_make_epoch(const uint8_t random[5], char ret_epoch[EPOCH_LEN + 1]);

/* Write the cursor; out has room for CURSOR_MAX_BYTES + 1. Returns its length; a NUL follows. */
size_t cursor_format(char *out, const char *epoch, uint64_t seq);

/* Read a cursor. The text `0` gives an empty epoch and seq 0: "all history that there is". An epoch is any 1 to EPOCH_LEN letters and
 * digits: a cursor of another epoch is well-formed, and simply not ours. Returns 0 or -EINVAL. */
int cursor_parse(const char *text, size_t len, struct cursor *ret);

#endif
