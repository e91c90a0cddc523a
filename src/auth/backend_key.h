/* The key file of a backend listener: which keys and which local users may come in, and what each may do.
 *
 *     # comment
 *     KEY [name=NAME] [publish=PATTERN,...] [subscribe=PATTERN,...]
 *     uid=USER [name=NAME] [publish=PATTERN,...] [subscribe=PATTERN,...]
 *
 * One a line, its words apart by spaces. A key has 16 to 512 printable ASCII characters. A line without patterns may do
 * all; one with patterns only what they cover, so that `publish=` alone may read nothing. A pattern with a space or a
 * comma in it cannot be written: take a wildcard for that level. uid lines (a name or a number) are for Unix sockets, where
 * the kernel says who the peer is: it has these rights without a key.
 *
 * Keys are kept as their SHA-256, and compared in constant time; none is ever in a message or a log. */
#ifndef HALLEY_AUTH_BACKEND_KEY_H
#define HALLEY_AUTH_BACKEND_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/base.h"
#include "core/rules.h"

#define BACKEND_KEY_MIN 16 /* characters */
#define BACKEND_KEY_MAX 512
#define BACKEND_KEY_FILE_MAX 1048576 /* bytes */
#define BACKEND_KEY_LINES_MAX 1000   /* with a key or a uid */

struct backend_rights { /* what a backend may do, to be held against the topics rules */
    struct rule_client may[2]; /* by enum rule_action */
    const char *name; /* for people: "billing", or "line 3" of one without a name */
};

/* Of a backend that needs no key. */
extern const struct backend_rights backend_rights_all;

/* Has it no patterns? Then it may also see what is nobody's topic: the server's figures, who is connected. */
static inline bool backend_rights_are_all(const struct backend_rights *r)
{
    return !r->may[RULE_PUBLISH].is_limited;
}

/* May it know that the topic (a checked name) exists? */
bool backend_rights_see(const struct backend_rights *r, const char *topic, size_t len);

struct backend_keys;

struct backend_key_report {
    char error[512];   /* "FILE:LINE: what is wrong. What would be right." */
    char warning[256]; /* likewise; "": none */
};

/* Read a key file. Returns 0, or -errno with *ret_report.error; the warning is set on 0. */
int backend_keys_load(const char *path, struct backend_keys **ret, struct backend_key_report *ret_report);
/* The same for its text (borrowed), of a file of that name. */
int backend_keys_parse(const char *path, struct slice text, struct backend_keys **ret, struct backend_key_report *ret_report);
void backend_keys_free(struct backend_keys *k); /* NULL is accepted */

size_t backend_keys_count(const struct backend_keys *k);     /* lines with a key */
size_t backend_keys_uid_count(const struct backend_keys *k); /* lines with a uid */

/* The rights of whoever presents this key; user is its name, "default", or empty (a NULL ptr, too). NULL: a wrong one. The
 * rights live as long as the keys. The time it takes does not tell how much of a key is right. Any thread. */
const struct backend_rights *backend_keys_check(const struct backend_keys *k, struct slice user, struct slice key);

/* The rights of the key, or of the local user, whose rights these were by another version of the file; NULL: it is not there any more. */
const struct backend_rights *backend_keys_find_same(const struct backend_keys *k, const struct backend_rights *before);

/* The rights of a local user without a key, or NULL. */
const struct backend_rights *backend_keys_find_uid(const struct backend_keys *k, uid_t uid);

#endif
