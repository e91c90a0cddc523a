/* A PROXY header means the same, whole and as it grows byte by byte, and its length stays within what arrived. */
#include "proto/proxy_protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* From a copy of exactly so many bytes. */
static int parse(const uint8_t *data, size_t len, size_t *ret_used, struct proxy_header *ret_header)
{
    const char *why = NULL;
    uint8_t *copy = malloc(len > 0 ? len : 1);
    must(copy != NULL);
    if (len > 0)
        memcpy(copy, data, len);
    int r = proxy_header_parse(copy, len, ret_used, ret_header, &why);
    free(copy);
    must(r == 0 || r == 1 || r == -EPROTO);
    must((r == -EPROTO) == (why != NULL));
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole, h;
    size_t used_whole = 0, used = 0;
    int want = parse(data, size, &used_whole, &whole);
    must(want != 0 || size < PROXY_HEADER_MAX);
    must(want != 1 || (used_whole > 0 && used_whole <= size && used_whole <= PROXY_HEADER_MAX));
    for (size_t cut = 0, step = size / 256 + 1; cut < size;
         cut += step) { /* of long ones not every byte: it is quadratic */
        int r = parse(data, cut, &used, &h);
        must(r == 0 || r == want);
        must(r != 1 || (used == used_whole && memcmp(&h, &whole, sizeof h) == 0));
        must(r != 0 || want != 1 || cut < used_whole);
    }
    return 0;
}
