#include "transport/echo.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/ws_handshake.h"
#include "transport/ws_conn.h"
#include "transport/ws_context.h"

static void on_message(struct ws_conn *ws, bool is_text, const uint8_t *payload, size_t len)
{
    ws_conn_send_compressed(ws, is_text ? WS_OP_TEXT : WS_OP_BINARY, payload, len);
}

static void on_end(struct ws_conn *ws)
{
    free(ws);
}

static const struct ws_handler echo_handler = { .on_message = on_message, .on_end = on_end, .is_silent = true };

void echo_open(struct http_client *h, const struct http1_request *rq)
{
    HLY_CLEANUP(buf_done) struct buf out = { 0 };
    HLY_CLEANUP(ws_agreement_done) struct ws_agreement agreement;
    struct conn *conn = http_conn(h);
    struct ws_conn *ws = malloc(sizeof *ws);
    size_t pos = 0;
    struct slice protocol = { 0 };
    if (ws_handshake_next_protocol(rq, &pos, &protocol) == false)
        protocol = (struct slice){ 0 };
    ws_agree(&agreement, http_reactor(h), rq);
    ws_handshake_write(&out, rq, protocol, agreement.header);
    if (ws == NULL || out.failed) {
        free(ws);
        http_reply_text(h, 503, NULL, "Out of memory, try again later.");
        return;
    }
    ws_conn_init(ws, http_reactor(h), conn, &echo_handler);
    ws_conn_set_deflate(ws, &agreement);
    conn_write(conn, out.data, out.len);
    ws_conn_open(ws);
    http_upgrade(h);
}
