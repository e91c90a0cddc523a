#include "server/live_settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "auth/addresses.h"
#include "auth/jwt.h"
#include "base/log.h"
#include "server/process.h"
#include "web/files.h"

static struct slice *slices_of(char **texts, size_t count)
{
    struct slice *s = calloc(count + 1, sizeof *s);
    for (size_t i = 0; s != NULL && i < count; i++)
        s[i] = (struct slice){ texts[i], strlen(texts[i]) };
    return s;
}

/* Tokens are checked with these keys. Says itself what is wrong. */
static int make_jwt(struct live_settings *l, const struct config *c)
{
    struct jwt_key_file files[2] = { 0 };
    const char *issuer = c->jwt_issuer, *audience = c->jwt_audience;
    struct jwt_config config = { .keys = files, .leeway_s = (uint32_t)((c->jwt_leeway_ms + 999) / 1000) };
    struct jwt_report *report;
    if (c->jwt_key_file[0] != '\0')
        files[config.key_count++].path = c->jwt_key_file;
    if (c->jwks_file[0] != '\0')
        files[config.key_count++] = (struct jwt_key_file){ .path = c->jwks_file, .is_set = true };
    if (config.key_count == 0)
        return 0;
    if ((report = calloc(1, sizeof *report)) == NULL)
        return -ENOMEM;
    config.issuers = &issuer;
    config.issuer_count = issuer[0] != '\0';
    config.audiences = &audience;
    config.audience_count = audience[0] != '\0';
    int r = jwt_new(&config, &l->jwt, report);
    if (r < 0) /* the config has looked at the files, and said its warnings: they have changed since */
        log_error("auth", "%s", report->error);
    free(report);
    return r;
}

static int make_trusted_proxies(struct live_settings *l, const struct config *c)
{
    char error[256] = "";
    int r = c->trusted_proxy_count == 0
                ? 0
                : addresses_new((const char *const *)c->trusted_proxies, c->trusted_proxy_count, &l->trusted_proxies, error, sizeof error);
    if (r < 0)
        log_error("trusted_proxies", "%s", error); /* the config has looked at each: memory has run out */
    return r;
}

/* Where the application is, if there is one to ask. Says itself what is wrong. */
static int make_callback(struct live_settings *l, const struct config *c)
{
    char error[512] = "";
    if (c->auth_callback[0] == '\0')
        return 0;
    int r = callback_url_parse(c->auth_callback, &l->callback, error, sizeof error);
    if (r == 0)
        r = callback_url_resolve(&l->callback, error, sizeof error);
    if (r < 0)
        log_error("auth", "auth.callback: %s", error);
    return r;
}

static struct callback_settings callback_settings_of(const struct live_settings *l, const struct config *c, unsigned reactors)
{
    return (struct callback_settings){
        .url = c->auth_callback[0] == '\0' ? NULL : &l->callback,
        .timeout_ms = c->callback_timeout_ms,
        .leeway_ms = c->jwt_leeway_ms,
        .connections = c->callback_connections,
        .queue = c->callback_queue,
        .cache_bytes = c->callback_cache / reactors,
        .breaker = { .failures = (uint32_t)c->callback_failures, .pause_ms = c->callback_pause_ms },
    };
}

static void fill(struct live_settings *l, const struct config *c, unsigned reactors)
{
    l->settings = (struct settings){
        .version = HALLEY_VERSION,
        .max_connections = process_fit_connections(c),
        .max_backends = c->max_backends,
        .max_per_address = c->max_per_address,
        .max_per_user = c->max_per_user,
        .publish = { .messages_per_s = (uint32_t)c->publish_rate, .burst = (uint32_t)c->publish_burst, .bytes_per_s = (uint32_t)c->publish_bytes },
        .trusted_proxies = l->trusted_proxies,
        .max_message = c->max_message,
        .max_fragments = (uint32_t)c->max_fragments,
        .deflate_websocket = c->deflate_websocket != 0,
        .deflate_context = c->deflate_context != 0,
        .deflate_gzip = c->deflate_gzip != 0,
        .max_deflate = c->max_deflate,
        .max_outq = c->max_outq,
        .max_backend_outq = c->max_backend_outq,
        .max_outq_total = c->max_outq_total / reactors,
        .max_subscriptions = (uint32_t)c->max_subscriptions,
        .max_command = c->max_backend_command,
        .ping_interval_ms = c->ping_interval_ms,
        .idle_timeout_ms = c->idle_timeout_ms,
        .handshake_timeout_ms = c->handshake_timeout_ms,
        .min_rate = c->min_rate,
        .max_tls_handshakes = (c->max_tls_handshakes + reactors - 1) / reactors,
        .public_http = { .request_line = c->max_request_line, .headers = c->max_headers, .header_count = 100, .body = c->max_message },
        .backend_http = { .request_line = c->max_request_line,
                          .headers = c->max_headers,
                          .header_count = 100,
                          .body = c->max_backend_command },
        .jwt = l->jwt,
        .auth_cookie = { c->auth_cookie, strlen(c->auth_cookie) },
        .callback = callback_settings_of(l, c, reactors),
        .expiry_notice_ms = c->expiry_notice_ms,
        .origins = l->origins,
        .origin_count = c->origin_count,
        .echo_paths = l->echo_paths,
        .echo_count = c->echo_count,
        .console = c->console != 0,
        .console_page = { (const char *)web_console_html, web_console_html_len },
        .halley_js = { (const char *)web_halley_js, web_halley_js_len },
        .halley_classic_js = { (const char *)web_halley_classic_js, web_halley_classic_js_len },
        .halley_share_js = { (const char *)web_halley_share_js, web_halley_share_js_len },
        .halley_d_ts = { (const char *)web_halley_d_ts, web_halley_d_ts_len },
    };
}

int live_settings_new(struct config *c, unsigned reactors, struct live_settings **ret)
{
    struct live_settings *l = calloc(1, sizeof *l);
    int r = l == NULL ? -ENOMEM : 0;
    if (r < 0)
        config_free(c);
    if (r == 0) {
        atomic_init(&l->refs, 1);
        l->config = c;
        l->origins = slices_of(c->origins, c->origin_count);
        l->echo_paths = slices_of(c->echo_paths, c->echo_count);
        r = l->origins == NULL || l->echo_paths == NULL ? -ENOMEM : make_jwt(l, c);
    }
    if (r == 0)
        r = make_callback(l, c);
    if (r == 0)
        r = make_trusted_proxies(l, c);
    if (r == -ENOMEM)
        log_error("no_memory", "memory has run out while the settings were made");
    if (r < 0) {
        live_settings_unref(l);
        return r;
    }
    fill(l, c, reactors);
    *ret = l;
    return 0;
}

struct live_settings *live_settings_ref(struct live_settings *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

void live_settings_unref(struct live_settings *l)
{
    if (l == NULL || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    jwt_unref(l->jwt);
    addresses_free(l->trusted_proxies);
    free(l->origins);
    free(l->echo_paths);
    config_free(l->config);
    free(l);
}
