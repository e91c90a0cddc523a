/* Which of many patterns match a topic: a radix tree over the bytes of the patterns.
 *
 * Patterns that begin alike share the nodes of their beginning, and a node holds as many bytes as it can, so there are
 * never more than two nodes per pattern (about 100 bytes in all for usual names), however many levels it has. A match
 * walks down from the root: a literal byte follows the topic, a wildcard skips to the end of the topic's level or, for
 * `**`, of the topic.
 *
 * How far into the topic a node is depends on the node alone, so a match looks at each node at most once. Most matches
 * see a handful: at a level the ways on are the literal, `*`, and one per length of the prefix wildcards there. Only
 * patterns made for it, `*` and literals mixed at each of many levels, and a topic of as many levels lead to more, at
 * worst to every node: two per pattern in the index, at about a tenth of a microsecond each. Whoever fears that limits
 * the patterns. Nothing is allocated, and the recursion is no deeper than a pattern is long.
 *
 * Not thread-safe: the owner locks. Values are opaque, not owned, and never NULL; one per pattern. */
#ifndef HALLEY_CORE_PATTERN_INDEX_H
#define HALLEY_CORE_PATTERN_INDEX_H

#include <stddef.h>

struct pattern_index;

struct pattern_index *pattern_index_new(void);     /* or NULL */
void pattern_index_free(struct pattern_index *ix); /* NULL is accepted; values are the caller's */

size_t pattern_index_count(const struct pattern_index *ix);
size_t pattern_index_nodes(const struct pattern_index *ix); /* at most 2 * count + 1 */

/* The value of exactly this pattern, or NULL. Like the next two, takes what pattern_error() has passed; a plain topic
 * is fine too. */
void *pattern_index_get(const struct pattern_index *ix, const char *pattern, size_t len);

/* Add a pattern that is not there yet. Returns 0, or -ENOMEM and the index is as it was. */
int pattern_index_add(struct pattern_index *ix, const char *pattern, size_t len, void *value);

/* Remove a pattern that is there. Returns its value. Nodes that lead nowhere any more are freed. */
void *pattern_index_remove(struct pattern_index *ix, const char *pattern, size_t len);

/* Call visit for the value of each pattern that matches the topic, in no particular order, each once. The index must
 * not change in visit. */
void pattern_index_match(const struct pattern_index *ix, const char *topic, size_t len,
                         void (*visit)(void *value, void *ctx), void *ctx);

/* What such a match costs: the nodes that it looks at. */
size_t pattern_index_match_steps(const struct pattern_index *ix, const char *topic, size_t len);

#endif
