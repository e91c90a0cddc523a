#include "cli/order.h"

#include <stdio.h>

#include "base/buf.h"
#include "cli/http_get.h"

enum cli_exit order_post(const struct cli *cli, const char *target, json_t **ret_answer)
{
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    struct endpoint_error error;
    int r = http_post(&cli->server, target, &body, &error);
    if (r != 0) {
        cli_error("%s", error.text);
        return r > 0 ? CLI_REFUSED : CLI_NO_CONNECTION;
    }
    *ret_answer = json_loadb((const char *)body.data, body.len, 0, NULL);
    if (cli->json)
        printf("%s", (const char *)body.data);
    return CLI_DONE;
}
