/* What the doors need to know of the configuration, as plain values: nothing below server/ sees the config itself. */
#ifndef HALLEY_TRANSPORT_SETTINGS_H
#define HALLEY_TRANSPORT_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "auth/breaker.h"
#include "auth/publish_rate.h"
#include "base/base.h"
#include "proto/http1.h"

struct addresses;
struct callback_url;
struct jwt;

struct callback_settings { /* asking the application who a client is; of each reactor */
    const struct callback_url *url; /* NULL: nobody is asked */
    uint64_t timeout_ms;
    uint64_t leeway_ms;
    size_t connections;
    size_t queue;          /* requests that wait for one */
    size_t cache_bytes;
    struct breaker_limits breaker;
};

struct settings {
    const char *version;
    uint64_t max_connections;    /* of all reactors */
    uint64_t max_backends;       /* of all reactors */
    uint64_t max_per_address;    /* public connections of one address; 0: no limit */
    uint64_t max_per_user;       /* of one token's subject; 0: no limit */
    struct publish_limits publish; /* of one client */
    const struct addresses *trusted_proxies; /* NULL: none */
    uint64_t max_message;        /* bytes */
    uint32_t max_fragments;
    bool deflate_websocket;      /* permessage-deflate is accepted */
    bool deflate_context;        /* with a context for each connection, as far as max_deflate reaches */
    bool deflate_gzip;           /* streams and polls are compressed for who asks for it */
    uint64_t max_deflate;        /* bytes of contexts, of all reactors */
    uint64_t max_outq;           /* bytes, of one connection */
    uint64_t max_backend_outq;   /* bytes, of one backend connection */
    uint64_t max_outq_total;     /* bytes, of one reactor */
    uint32_t max_subscriptions;  /* of one public connection */
    uint64_t max_command;        /* bytes, of one backend command or request */
    uint64_t ping_interval_ms;
    uint64_t idle_timeout_ms;
    uint64_t handshake_timeout_ms;
    uint64_t min_rate;           /* bytes per second of a body or message that has begun; 0: no limit */
    uint64_t max_tls_handshakes; /* in flight, of one reactor */
    struct http1_limits public_http;
    struct http1_limits backend_http;
    struct jwt *jwt;             /* what tokens are checked with; NULL: none is looked at */
    struct slice auth_cookie;    /* the name of the cookie that carries one; len 0: none */
    struct callback_settings callback;
    uint64_t expiry_notice_ms;
    const struct slice *origins;
    size_t origin_count;
    const struct slice *echo_paths;
    size_t echo_count;
    bool console;
    struct slice console_page;   /* what GET / answers; without it there is no console */
    struct slice halley_js;      /* the browser client, as GET /halley.js answers it; each of these is not there if it is empty */
    struct slice halley_classic_js;
    struct slice halley_share_js;
    struct slice halley_d_ts;
};

#endif
