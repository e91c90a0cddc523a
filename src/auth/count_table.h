/* How many connections each address, or each user, has: a table for all reactors.
 *
 * An entry lives while a connection has it, so the table has no more entries than there are connections. Those of users also keep what
 * the user may publish, and outlive their last connection until that is whole again: else whoever comes anew for each message would
 * never be limited. They are few, and the oldest go first. Shards with a lock each, held for a few steps: it is taken when a
 * connection comes or goes, or publishes under a rate, never to deliver. Any thread. */
#ifndef HALLEY_AUTH_COUNT_TABLE_H
#define HALLEY_AUTH_COUNT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/publish_rate.h"

struct count_table;
struct count; /* of one key; whoever has it counts, until count_give() */

#define COUNT_KEY_MAX 255    /* bytes */
#define COUNT_IDLE_MAX 16384 /* entries without a connection, at most */

/* rates: what each key may publish (copied); NULL, or nothing set: it is not looked at. NULL when out of memory. */
struct count_table *count_table_new(const struct publish_limits *rates);
void count_table_free(struct count_table *t); /* all counts have been given back; NULL is accepted */
/* Other rates from now on, for a table that has any; who has taken of the old ones goes on with what it has. Any thread. */
void count_table_set_rates(struct count_table *t, const struct publish_limits *rates);

/* Count one more with this key (1 to COUNT_KEY_MAX bytes, borrowed), if fewer than max have it (0: no limit). Returns 0 and *ret, -EDQUOT
 * when that many have it, or -ENOMEM. *ret_is_first: it is the key's only one. */
int count_take(struct count_table *t, const void *key, size_t key_len, uint64_t max, uint64_t now_ms, struct count **ret,
               bool *ret_is_first);

/* One fewer. Returns whether it was the key's last. */
bool count_give(struct count_table *t, struct count *c, uint64_t now_ms);

bool count_has_key(const struct count_table *t, const struct count *c, const void *key, size_t key_len);

/* publish_rate_take() and publish_rate_spend() of the key, whoever has it. */
bool count_rate_take(struct count_table *t, struct count *c, uint64_t now_ms, uint32_t bytes, uint64_t *ret_retry_ms);
uint64_t count_rate_spend(struct count_table *t, struct count *c, uint64_t now_ms, uint32_t messages, uint32_t bytes);

size_t count_table_size(struct count_table *t); /* entries, those without a connection among them */

#endif
