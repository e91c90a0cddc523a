/* What the doors are told of a config (transport/settings.h), with all that it points to. Counted: a reload makes new ones, and the old go when no reactor
 * uses them any more. */
#ifndef HALLEY_SERVER_LIVE_SETTINGS_H
#define HALLEY_SERVER_LIVE_SETTINGS_H

#include <stdatomic.h>

#include "auth/callback_url.h"
#include "server/config.h"
#include "transport/settings.h"

struct live_settings {
    _Atomic unsigned refs;
    struct config *config;
    struct settings settings;
    struct slice *origins;
    struct slice *echo_paths;
    struct addresses *trusted_proxies;
    struct jwt *jwt;
    struct callback_url callback;
};

/* Read what the config names (keys) and make the settings, with one reference. Takes the config, on failure too. Returns 0, or a negative errno after logging
 * what is wrong. */
int live_settings_new(struct config *c, unsigned reactors, struct live_settings **ret);
struct live_settings *live_settings_ref(struct live_settings *l);
void live_settings_unref(struct live_settings *l); /* NULL is accepted */

#endif
