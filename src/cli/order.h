/* Telling the server to do something: a POST without a body, and its answer. */
#ifndef HALLEY_CLI_ORDER_H
#define HALLEY_CLI_ORDER_H

#include <jansson.h>

#include "cli/cli.h"

/* POST the target to the server. CLI_DONE: *ret_answer is what it answered, the caller's, or NULL when that was no JSON; with --json it has been printed. Else
 * what was wrong has been said. */
enum cli_exit order_post(const struct cli *cli, const char *target, json_t **ret_answer);

#endif
