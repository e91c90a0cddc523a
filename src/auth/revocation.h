/* Tokens that hold no longer although they have not expired: one by its id (jti), or all of a user by its subject.
 *
 * A list of names in memory, each with the time until which it counts: that of the token's own expiry, which the list
 * cannot know, so whoever revokes says it. Nothing is dropped before its time: when the list is full a revocation is
 * refused, for one that was confirmed and forgotten is worse. One list for all reactors, with a lock of its own that is
 * taken when a token is presented, and not even then while the list is empty. Any thread. */
#ifndef HALLEY_AUTH_REVOCATION_H
#define HALLEY_AUTH_REVOCATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/token.h"
#include "base/base.h"

struct revocations;

enum revocation_kind { REVOKED_TOKEN, REVOKED_USER }; /* what its name is: a jti, or a sub */

/* max: limits.revocations. NULL when out of memory. */
struct revocations *revocations_new(size_t max);
void revocations_free(struct revocations *r); /* NULL is accepted */
void revocations_set_max(struct revocations *r, size_t max); /* those that are there stay. Any thread */

/* Refuse the token of this id, or all tokens of this subject that were issued up to now, until a time. name: 1 to
 * TOKEN_NAME_MAX bytes, borrowed. Times are of the wall clock, in milliseconds. Of two revocations of one name the later
 * `until` counts, and the later now.
 *
 * Returns 0, -EDQUOT at the limit, or -ENOMEM: then nothing has changed. One whose time is over already changes nothing. */
int revocations_add(struct revocations *r, enum revocation_kind kind, struct slice name, uint64_t until_ms,
                    uint64_t now_ms);

/* Has it been revoked? A token without iat is taken for one that was issued before; iat has whole seconds, so one that was
 * issued in the second of its user's revocation is refused too, whichever came first. r NULL: nothing has. */
bool revocations_has(struct revocations *r, const struct token *t, uint64_t now_ms);

/* Visit each whose time is not over, with the lock held: visit must not call back. Its `since` is the time of the revocation, the now_ms of revocations_add(). */
void revocations_each(struct revocations *r, uint64_t now_ms,
                      void (*visit)(enum revocation_kind kind, struct slice name, uint64_t until_ms, uint64_t since_ms, void *ctx), void *ctx);

size_t revocations_count(struct revocations *r, uint64_t now_ms); /* those whose time is not over */

#endif
