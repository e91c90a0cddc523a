#include "cli/suggest.h"

#include <string.h>

#include "base/base.h"

#define MAX_WORD 32 /* longer words are no typing errors of ours */

static size_t min2(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: insertions, deletions, substitutions, and swaps of neighbours, each at cost 1. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t d[MAX_WORD + 1][MAX_WORD + 1];
    for (size_t i = 0; i <= a_len; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= b_len; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= a_len; i++)
        for (size_t j = 1; j <= b_len; j++) {
            size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
            d[i][j] = min2(min2(d[i - 1][j] + 1, d[i][j - 1] + 1), d[i - 1][j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = min2(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[a_len][b_len];
}

const char *suggest_nearest(const char *word, const char *const *names, size_t count)
{
    size_t len = strlen(word);
    if (len == 0 || len > MAX_WORD)
        return NULL;
    const char *best = NULL;
    size_t best_distance = len <= 3 ? 2 : len / 3 + 1; /* only what is nearer than this */
    for (size_t i = 0; i < count; i++) {
        size_t name_len = strlen(names[i]);
        if (name_len > MAX_WORD)
            continue;
        size_t d = name_len > len && len > 1 && strncmp(names[i], word, len) == 0
                       ? 1
                       : distance(word, len, names[i], name_len);
        if (d < best_distance) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}
