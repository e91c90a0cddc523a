/* Names of topics and patterns: what is one, and what matches what. Pure functions on bytes.
 *
 * A topic is 1 to 255 bytes of UTF-8 without control characters or '*', at most 32 levels split by '/'. Empty levels
 * are levels ("a//b" has three). A pattern is a topic in which a level may be `*` (any one level), may end in `*` (any
 * level with that prefix: `chat:*`), and the last level may be `**` (one or more levels). A `*` anywhere else is an
 * error. Names that begin with `$` are Halley's own: no wildcard matches them, a pattern must spell the first level out
 * (`$halley/c*` is a pattern that matches below it, `$h*` is an error). */
#ifndef HALLEY_CORE_TOPIC_NAME_H
#define HALLEY_CORE_TOPIC_NAME_H

#include <stdbool.h>
#include <stddef.h>

#define TOPIC_MAX_BYTES 255
#define TOPIC_MAX_LEVELS 32

/* Returns NULL if it is a topic (a pattern), else one plain sentence that says what is wrong, static. */
const char *topic_name_error(const char *name, size_t len);
const char *pattern_error(const char *pattern, size_t len);

bool topic_name_is_pattern(const char *name, size_t len); /* has it a '*'? */

/* The next three take names that passed the checks above; a topic is also a pattern without wildcards. Their answers
 * are exact, the limits on bytes and levels included. They take a few steps per level, and allocate nothing. */
bool pattern_matches(const char *pattern, size_t pattern_len, const char *topic, size_t topic_len);
/* Is there a topic that both match? */
bool pattern_intersects(const char *a, size_t a_len, const char *b, size_t b_len);
/* Does `outer` match every topic that `inner` matches? */
bool pattern_covers(const char *outer, size_t outer_len, const char *inner, size_t inner_len);

#endif
