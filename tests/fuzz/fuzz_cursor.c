/* Any text is a cursor or is refused; what is written of one reads back as the same. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "core/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check(const struct cursor *c)
{
    char text[CURSOR_MAX_BYTES + 1];
    struct cursor again;
    size_t len = strlen(c->epoch);
    must(len <= EPOCH_LEN && strspn(c->epoch, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == len);
    if (len == 0) { /* "0": all that there is */
        must(c->seq == 0);
        return;
    }
    size_t written = cursor_format(text, c->epoch, c->seq);
    must(written <= CURSOR_MAX_BYTES && text[written] == '\0');
    must(cursor_parse(text, written, &again) == 0 && again.seq == c->seq && strcmp(again.epoch, c->epoch) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c;
    char epoch[EPOCH_LEN + 1];
    int r = cursor_parse((const char *)data, size, &c);
    must(r == 0 || r == -EINVAL);
    if (r == 0)
        check(&c);
    if (size >= 5 + sizeof c.seq) {
        cursor_make_epoch(data, epoch);
        must(strlen(epoch) == EPOCH_LEN);
        c = (struct cursor){ 0 };
        memcpy(c.epoch, epoch, sizeof epoch);
        memcpy(&c.seq, data + 5, sizeof c.seq);
        check(&c);
    }
    return 0;
}
