#include "transport/client_info.h"

#include "core/catchup.h"

bool client_info_fill(struct client_info *ret, const struct client *client, const struct subscriber *s, const char *transport)
{
    *ret = (struct client_info){
        .client = client, .token = client == NULL ? NULL : client->token, .transport = transport, .subscriptions = s->count, .is_behind = s->catchup != NULL
    };
    if (ret->is_behind)
        ret->position = catchup_position(s);
    return true;
}
