/* "Did you mean …": the name that a mistyped word was probably meant to be. */
#ifndef HALLEY_CLI_SUGGEST_H
#define HALLEY_CLI_SUGGEST_H

#include <stddef.h>

/* The nearest of the names, by letters typed wrong, left out, doubled or swapped; a word of up to 3 bytes may be off by
 * one, a longer one by a third. A name that begins with the word counts as near too. Returns NULL when none is. */
const char *suggest_nearest(const char *word, const char *const *names, size_t count);

#endif
