/* What a backend with all rights may ask of the server as a whole: POST /reload, POST /drain, POST /upgrade. */
#ifndef HALLEY_TRANSPORT_CONTROL_H
#define HALLEY_TRANSPORT_CONTROL_H

#include "base/buf.h"
#include "transport/http_server.h"

enum control_what { CONTROL_RELOAD, CONTROL_DRAIN, CONTROL_UPGRADE };

/* One order on its way to whoever carries it out (server_view.control), and back: finish() is called once, on any thread. */
struct control_order {
    struct loop_task task;
    struct list node;
    enum control_what what;
    void *server;       /* of whoever carries it out */
    bool is_refused;    /* the answer is a sentence that says why */
    struct buf answer;  /* else a JSON object */
    void (*finish)(struct control_order *o);
};

/* Routes of the backend door. */
void backend_reload(struct http_client *h, const struct http1_request *rq);
void backend_drain(struct http_client *h, const struct http1_request *rq);
void backend_upgrade(struct http_client *h, const struct http1_request *rq);

#endif
