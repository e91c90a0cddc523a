/* Lists that the server gives in pages: one GET, and the JSON of its answer. */
#ifndef HALLEY_CLI_PAGE_H
#define HALLEY_CLI_PAGE_H

#include <jansson.h>

#include "base/buf.h"
#include "cli/cli.h"

/* Fetch a target (which gets its NUL here) and hold the answer against what it must be: an object with the array `list`. Returns CLI_DONE and a new reference, or
 * what to exit with; then it has been said why. */
enum cli_exit page_fetch(const struct cli *cli, struct buf *target, const char *list, json_t **ret_page);

#endif
