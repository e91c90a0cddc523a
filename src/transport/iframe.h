/* The forever-iframe: a page without an end, whose script blocks call a function of the page around it. For clients with nothing better.
 *
 * The browser runs each block as it comes, so an object in it must not end the block (`</script>`, `<!--`) nor the line (U+2028): the objects are
 * written with for_script (proto/json_write.h). The one name that the URL gives, the function's, is held against an alphabet that cannot
 * leave its place. Navigations carry no Origin; what keeps foreign pages from framing this one is frame-ancestors, Sec-Fetch-Site, and,
 * in browsers that know neither, that a frame cannot call into a page of another origin. */
#ifndef HALLEY_TRANSPORT_IFRAME_H
#define HALLEY_TRANSPORT_IFRAME_H

#include <stdbool.h>

#include "base/buf.h"
#include "proto/http1.h"
#include "transport/settings.h"

#define IFRAME_CALLBACK_MAX 128 /* bytes */

/* What is wrong with the name of the function, as the rest of a sentence; NULL: nothing. A path of identifiers, `app.push.on_message`: letters, digits, _ and $
 * with dots between them. Reserved words are taken: behind a dot they are names like others. */
const char *iframe_callback_error(struct slice callback);

/* May this request have the page? Returns NULL, or one sentence that says why not (403). A request without Sec-Fetch-* headers may: old browsers, which this
 * door is for, send none. */
const char *iframe_request_error(const struct http1_request *rq, const struct settings *set);

/* Append the header lines that only this door sends: who may frame it, and that it loads nothing. */
void iframe_write_headers(struct buf *out, const struct settings *set);

/* Append the beginning of the page: the function that the blocks call, and padding until old browsers begin to render. callback has been checked. */
void iframe_write_opening(struct buf *out, struct slice callback);

#endif
