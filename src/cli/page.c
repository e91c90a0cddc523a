#include "cli/page.h"

#include "cli/http_get.h"

enum cli_exit page_fetch(const struct cli *cli, struct buf *target, const char *list, json_t **ret_page)
{
    HLY_CLEANUP(buf_done) struct buf body = { 0 };
    struct endpoint_error error;
    json_error_t why;
    buf_append(target, "", 1);
    if (target->failed) {
        cli_error("out of memory");
        return CLI_REFUSED;
    }
    int r = http_get(&cli->server, (const char *)target->data, &body, &error);
    if (r != 0) {
        cli_error("%s", error.text);
        return r > 0 ? CLI_REFUSED : CLI_NO_CONNECTION;
    }
    json_t *page = json_loadb((const char *)body.data, body.len, JSON_ALLOW_NUL, &why);
    if (!json_is_array(json_object_get(page, list))) {
        if (page == NULL)
            cli_error("the server's list of %s cannot be read: %s", list, why.text);
        else
            cli_error("the server's list of %s cannot be read: no \"%s\" in it", list, list);
        json_decref(page);
        return CLI_REFUSED;
    }
    *ret_page = page;
    return CLI_DONE;
}
