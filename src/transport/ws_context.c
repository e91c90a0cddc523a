#include "transport/ws_context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/deflate.h"
#include "base/log.h"
#include "transport/packer.h"

/* ---- contexts */

static bool budget_take(struct reactor *r, size_t bytes)
{
    _Atomic uint64_t *used = &r->server->deflate_bytes;
    if (atomic_fetch_add_explicit(used, bytes, memory_order_relaxed) + bytes <= r->settings->max_deflate) {
        stat_add(&r->stats.deflate_contexts, 1);
        stat_add(&r->stats.deflate_context_bytes, bytes);
        return true;
    }
    atomic_fetch_sub_explicit(used, bytes, memory_order_relaxed);
    return false;
}

static void budget_give(struct reactor *r, size_t bytes)
{
    atomic_fetch_sub_explicit(&r->server->deflate_bytes, bytes, memory_order_relaxed);
    stat_sub(&r->stats.deflate_contexts, 1);
    stat_sub(&r->stats.deflate_context_bytes, bytes);
}

static void log_refused(struct reactor *r)
{
    static struct log_gate gate;
    stat_add(&r->stats.deflate_refused, 1);
    log_limited(&gate, LOG_LEVEL_WARN, "deflate_full",
                "limits.deflate is reached: new WebSockets get no compression context of their own, and their messages are deflated one by one; raise it if the machine "
                "has memory");
}

static struct ws_context *context_new(struct reactor *r, const struct ws_deflate *d)
{
    size_t bytes = sizeof(struct ws_context) + (d->server_no_context ? 0 : deflater_memory(d->server_bits)) + (d->client_no_context ? 0 : WS_INFLATER_BYTES);
    if (!budget_take(r, bytes)) {
        log_refused(r);
        return NULL;
    }
    struct ws_context *x = calloc(1, sizeof *x);
    if (x == NULL) {
        budget_give(r, bytes);
        return NULL;
    }
    *x = (struct ws_context){ .reactor = r, .bytes = bytes, .inflater.keeps_context = !d->client_no_context };
    if (!d->server_no_context)
        x->deflater = deflater_new(d->server_bits, true);
    if (d->server_no_context || x->deflater != NULL)
        return x;
    ws_context_free(x);
    return NULL;
}

void ws_context_free(struct ws_context *x)
{
    if (x == NULL)
        return;
    budget_give(x->reactor, x->bytes);
    deflater_free(x->deflater);
    ws_inflater_done(&x->inflater);
    free(x);
}

/* ---- agreeing */

void ws_agree(struct ws_agreement *ret, struct reactor *r, const struct http1_request *rq)
{
    HLY_CLEANUP(buf_done) struct buf line = { 0 };
    struct ws_deflate *d = &ret->deflate;
    *ret = (struct ws_agreement){ .is_agreed = false };
    if (!r->settings->deflate_websocket || !ws_deflate_find_offer(rq, d))
        return;
    if (r->settings->deflate_context && !(d->server_no_context && d->client_no_context))
        ret->context = context_new(r, d);
    if (ret->context == NULL)
        d->server_no_context = d->client_no_context = true; /* which a server may say unasked (RFC 7692 7.1.1) */
    ws_deflate_write_answer(&line, d);
    if (line.failed || line.len >= sizeof ret->header) {
        ws_agreement_done(ret);
        return;
    }
    memcpy(ret->header, line.data, line.len);
    ret->is_agreed = true;
}

void ws_agreement_done(struct ws_agreement *a)
{
    ws_context_free(a->context);
    a->context = NULL;
}

/* ---- sending */

uint32_t ws_context_deflate_frame(struct ws_context *x, const uint8_t *frame, uint32_t len, uint8_t *out)
{
    struct stats *stats = &x->reactor->stats;
    if (len < PACK_MIN_BYTES || len > PACK_MAX_BYTES)
        return 0;
    size_t deflated = ws_deflate_frame(x->deflater, frame, len, out, ws_deflate_bound(len));
    if (deflated == 0)
        return 0;
    stat_add(&stats->deflated, 1);
    stat_add(&stats->deflate_bytes_in, len);
    stat_add(&stats->deflate_bytes_out, deflated);
    return (uint32_t)deflated;
}

static void pack_slice(struct ws_context *x, const struct chunk_slice *s, struct chunk *out)
{
    const uint8_t *frame = s->chunk->data + s->off, *end = frame + s->len;
    for (size_t len; frame < end; frame += len) {
        len = ws_deflate_frame_size(frame);
        uint32_t deflated = ws_context_deflate_frame(x, frame, (uint32_t)len, out->data + out->len);
        if (deflated == 0)
            memcpy(out->data + out->len, frame, len);
        out->len += deflated == 0 ? (uint32_t)len : deflated;
    }
}

struct chunk *ws_context_pack(struct ws_context *x, const struct delivery *d)
{
    /* each frame that is deflated has at least PACK_MIN_BYTES, and may grow by what its own bound says */
    uint64_t bound = ws_deflate_bound(d->bytes) + (uint64_t)(d->bytes / PACK_MIN_BYTES + 1) * ws_deflate_bound(0);
    struct chunk *out = bound > UINT32_MAX ? NULL : chunk_new(&x->reactor->loop.chunks, (uint32_t)bound);
    for (uint32_t i = 0; out != NULL && i < d->count; i++)
        pack_slice(x, &d->slices[i], out);
    return out;
}
