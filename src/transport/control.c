#include "transport/control.h"

#include <stdlib.h>

#include "transport/backend_http.h"

struct http_order {
    struct control_order order;
    struct http_ticket ticket;
    struct reactor *home;
};

static void order_free(struct http_order *ho)
{
    buf_done(&ho->order.answer);
    free(ho);
}

static void on_home(struct loop_task *t)
{
    struct http_order *ho = HLY_CONTAINER_OF(HLY_CONTAINER_OF(t, struct control_order, task), struct http_order, order);
    struct http_client *h = http_ticket_take(&ho->ticket);
    struct buf *answer = &ho->order.answer;
    buf_append(answer, "", 1); /* as a string */
    if (!answer->failed)
        answer->len--;
    if (h != NULL && answer->failed)
        backend_reply_no_memory(h);
    else if (h != NULL && ho->order.is_refused)
        backend_reply_error(h, 409, "refused", (const char *)answer->data);
    else if (h != NULL)
        backend_reply_json(h, 200, answer);
    order_free(ho);
}

static void on_finish(struct control_order *o)
{
    struct http_order *ho = HLY_CONTAINER_OF(o, struct http_order, order);
    o->task.run = on_home;
    if (!loop_post(&ho->home->loop, &o->task))
        order_free(ho); /* nobody is there any more */
}

static void give_order(struct http_client *h, enum control_what what)
{
    struct reactor *r = http_reactor(h);
    struct http_order *ho = calloc(1, sizeof *ho);
    if (ho == NULL) {
        backend_reply_no_memory(h);
        return;
    }
    ho->home = r;
    ho->order.what = what;
    ho->order.finish = on_finish;
    http_ticket_make(h, &ho->ticket);
    r->server->control->run(r->server->control, &ho->order);
}

void backend_reload(struct http_client *h, const struct http1_request *rq)
{
    (void)rq;
    give_order(h, CONTROL_RELOAD);
}

void backend_drain(struct http_client *h, const struct http1_request *rq)
{
    (void)rq;
    give_order(h, CONTROL_DRAIN);
}

void backend_upgrade(struct http_client *h, const struct http1_request *rq)
{
    (void)rq;
    give_order(h, CONTROL_UPGRADE);
}
