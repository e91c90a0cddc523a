/* Which web pages may connect: the Origin header against the `origins` of the config (RFC 6454 7, RFC 6455 10.2). */
#ifndef HALLEY_AUTH_ORIGIN_H
#define HALLEY_AUTH_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/base.h"

/* May a page of this origin connect? origin.ptr NULL: no such header, so it is no page: allowed. An origin of the same host and port
 * as the request's Host is always allowed; others when they are listed: exactly, as `*`, as `null` for null, or as `https://` `*.example.com`,
 * which stands for every subdomain, not for example.com itself. Scheme and host compare without case. */
bool origin_is_allowed(struct slice origin, struct slice host, const struct slice *list, size_t count);

/* Is this origin in the list by its name, or as a subdomain of one? What `*` and `null` let in is nobody in particular: any page can be that. */
bool origin_is_named(struct slice origin, const struct slice *list, size_t count);

/* Is it an origin of the same host and port as the request's Host? */
bool origin_is_own(struct slice origin, struct slice host);

#endif
