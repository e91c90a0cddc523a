#include "core/cursor.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

void cursor_make_epoch(const uint8_t random[5], char ret_epoch[EPOCH_LEN + 1])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* no i l o u: read aloud without mistakes */
    uint64_t bits = 0;
    for (int i = 0; i < 5; i++)
        bits = bits << 8 | random[i];
    for (int i = EPOCH_LEN - 1; i >= 0; i--, bits >>= 5)
        ret_epoch[i] = digits[bits & 31];
    ret_epoch[EPOCH_LEN] = '\0';
}

size_t cursor_format(char *out, const char *epoch, uint64_t seq)
{
    char digits[20];
    size_t n = 0, len = strlen(epoch);
    do
        digits[n++] = (char)('0' + seq % 10);
    while ((seq /= 10) > 0);
    memcpy(out, epoch, len);
    out[len++] = '-';
    while (n > 0)
        out[len++] = digits[--n];
    out[len] = '\0';
    return len;
}

int cursor_parse(const char *text, size_t len, struct cursor *ret)
{
    struct cursor c = { 0 };
    if (len == 1 && text[0] == '0') {
        *ret = c;
        return 0;
    }
    size_t i = 0;
    for (; i < len && text[i] != '-'; i++) {
        if (i == EPOCH_LEN || !isalnum((unsigned char)text[i]) || (unsigned char)text[i] >= 0x80)
            return -EINVAL;
        c.epoch[i] = text[i];
    }
    if (i == 0 || i + 1 >= len || len - i - 1 > 20 || (text[i + 1] == '0' && len - i - 1 > 1))
        return -EINVAL;
    for (i++; i < len; i++) {
        unsigned digit = (unsigned)(text[i] - '0');
        if (digit > 9 || c.seq > (UINT64_MAX - digit) / 10)
            return -EINVAL;
        c.seq = c.seq * 10 + digit;
    }
    *ret = c;
    return 0;
}
