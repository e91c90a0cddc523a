#include "auth/backend_key.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/slice.h"
#include "core/topic_name.h"

#define DIGEST_BYTES 32
#define NAME_MAX_BYTES 64

const struct backend_rights backend_rights_all = { .may = { { .is_backend = true }, { .is_backend = true } }, .name = "any" };

struct entry { /* one line */
    struct backend_rights rights;
    bool is_uid;
    uid_t uid;
    uint8_t digest[DIGEST_BYTES]; /* of the key */
    unsigned line;
    char name[NAME_MAX_BYTES + 1];
    char *words;               /* a copy of what stands behind the key, which the patterns point into */
    struct slice *patterns[2]; /* by enum rule_action; owned */
    size_t pattern_count[2];
};

struct backend_keys {
    struct entry *entries;
    size_t count;
    size_t uid_count;
};

bool backend_rights_see(const struct backend_rights *r, const char *topic, size_t len)
{
    return backend_rights_are_all(r) || rules_claim_covers(&r->may[RULE_SUBSCRIBE], topic, len) ||
           rules_claim_covers(&r->may[RULE_PUBLISH], topic, len);
}

/* ---- what went wrong */

struct loading {
    const char *path;
    unsigned line; /* 0: the file as a whole */
    struct backend_keys *keys;
    struct backend_key_report *report;
};

/* Returns -EINVAL. What may be a key is never quoted. */
static int fail(struct loading *l, const char *fmt, ...) HLY_PRINTF(2, 3);
static int fail(struct loading *l, const char *fmt, ...)
{
    char *out = l->report->error;
    size_t size = sizeof l->report->error;
    int n = l->line > 0 ? snprintf(out, size, "%s:%u: ", l->path, l->line) : snprintf(out, size, "%s: ", l->path);
    va_list ap;
    va_start(ap, fmt);
    if ((size_t)n < size)
        vsnprintf(out + n, size - (size_t)n, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static int fail_memory(struct loading *l)
{
    fail(l, "out of memory.");
    return -ENOMEM;
}

static int fail_errno(struct loading *l, const char *what)
{
    int error = errno;
    fail(l, "%s: %s.", what, strerror(error));
    return -error;
}

/* ---- one line */

/* Cut the next word off. Its ptr is NULL at the end of the line, or where a comment begins. */
static struct slice next_word(struct slice *rest)
{
    *rest = slice_trim(*rest);
    size_t n = 0;
    while (n < rest->len && rest->ptr[n] != ' ' && rest->ptr[n] != '\t')
        n++;
    if (n == 0 || *rest->ptr == '#')
        return (struct slice){ 0 };
    struct slice word = { rest->ptr, n };
    *rest = (struct slice){ rest->ptr + n, rest->len - n };
    return word;
}

/* What stands behind the prefix; a NULL ptr if the word does not begin so. */
static struct slice value_of(struct slice word, const char *prefix)
{
    size_t n = strlen(prefix);
    if (word.len < n || memcmp(word.ptr, prefix, n) != 0)
        return (struct slice){ 0 };
    return (struct slice){ word.ptr + n, word.len - n };
}

static bool digest_of(struct slice key, uint8_t ret[DIGEST_BYTES])
{
    return EVP_Digest(key.len > 0 ? key.ptr : "", key.len, ret, NULL, EVP_sha256(), NULL) == 1;
}

static int take_key(struct loading *l, struct entry *e, struct slice key)
{
    for (size_t i = 0; i < key.len; i++)
        if (key.ptr[i] < '!' || key.ptr[i] > '~')
            return fail(l, "The key has a character that is not printable ASCII. openssl rand -hex 32 makes a good one.");
    if (key.len < BACKEND_KEY_MIN || key.len > BACKEND_KEY_MAX)
        return fail(l, "The key has %zu characters. It must have %d to %d; openssl rand -hex 32 makes a good one.", key.len,
                    BACKEND_KEY_MIN, BACKEND_KEY_MAX);
    if (!digest_of(key, e->digest))
        return fail_memory(l);
    for (size_t i = 0; i < l->keys->count; i++) {
        const struct entry *other = &l->keys->entries[i];
        if (!other->is_uid && memcmp(other->digest, e->digest, DIGEST_BYTES) == 0)
            return fail(l, "This key is on line %u already. Give each backend one of its own.", other->line);
    }
    return 0;
}

static bool number_parse(const char *text, uid_t *ret)
{
    size_t len = strlen(text);
    if (len == 0 || len > 10 || strspn(text, "0123456789") != len || strtoull(text, NULL, 10) >= UINT32_MAX)
        return false;
    *ret = (uid_t)strtoull(text, NULL, 10);
    return true;
}

static int take_uid(struct loading *l, struct entry *e, struct slice user)
{
    char name[NAME_MAX_BYTES];
    const struct passwd *pw = NULL;
    e->is_uid = true;
    if (user.len == 0 || user.len >= sizeof name || memchr(user.ptr, '\0', user.len) != NULL)
        return fail(l, "uid= takes the name or number of a user, as in uid=www-data.");
    memcpy(name, user.ptr, user.len);
    name[user.len] = '\0';
    if (!number_parse(name, &e->uid)) {
        if ((pw = getpwnam(name)) == NULL)
            return fail(l, "uid= names a user that is not on this machine. Create it, or write its number.");
        e->uid = pw->pw_uid;
    }
    for (size_t i = 0; i < l->keys->count; i++) {
        const struct entry *other = &l->keys->entries[i];
        if (other->is_uid && other->uid == e->uid)
            return fail(l, "This user is on line %u already. Make one line of the two.", other->line);
    }
    l->keys->uid_count++;
    return 0;
}

static int take_name(struct loading *l, struct entry *e, struct slice name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    bool is_fine = name.len > 0 && name.len <= NAME_MAX_BYTES;
    for (size_t i = 0; i < name.len && is_fine; i++)
        is_fine = name.ptr[i] != '\0' && strchr(allowed, name.ptr[i]) != NULL;
    if (!is_fine)
        return fail(l, "name= takes 1 to %d letters, digits, '.', '_' and '-', as in name=billing.", NAME_MAX_BYTES);
    memcpy(e->name, name.ptr, name.len);
    e->name[name.len] = '\0';
    for (size_t i = 0; i < l->keys->count; i++)
        if (strcmp(l->keys->entries[i].name, e->name) == 0)
            return fail(l, "The name %s is on line %u already. Choose another.", e->name, l->keys->entries[i].line);
    return 0;
}

static int add_pattern(struct loading *l, struct entry *e, enum rule_action action, struct slice pattern)
{
    static const char *const words[] = { [RULE_SUBSCRIBE] = "subscribe", [RULE_PUBLISH] = "publish" };
    const char *bad = pattern_error(pattern.ptr, pattern.len);
    if (pattern.len == 0)
        return fail(l, "%s= has no pattern where one should be. Write them with commas between, as in %s=chat/*,news.",
                    words[action], words[action]);
    if (bad != NULL)
        return fail(l, "%s= has a bad pattern: %s. Write one as in %s=chat/* or %s=chat/**.", words[action], bad,
                    words[action], words[action]);
    struct slice *grown = reallocarray(e->patterns[action], e->pattern_count[action] + 1, sizeof *grown);
    if (grown == NULL)
        return fail_memory(l);
    e->patterns[action] = grown;
    grown[e->pattern_count[action]++] = pattern;
    return 0;
}

static int take_patterns(struct loading *l, struct entry *e, enum rule_action action, struct slice list)
{
    for (;;) {
        const char *comma = memchr(list.ptr, ',', list.len);
        size_t n = comma == NULL ? list.len : (size_t)(comma - list.ptr);
        int r = add_pattern(l, e, action, (struct slice){ list.ptr, n });
        if (r < 0 || comma == NULL)
            return r;
        list = (struct slice){ comma + 1, list.len - n - 1 };
    }
}

static int take_word(struct loading *l, struct entry *e, struct slice word)
{
    struct slice value;
    if ((value = value_of(word, "name=")).ptr != NULL)
        return take_name(l, e, value);
    if ((value = value_of(word, "publish=")).ptr != NULL)
        return take_patterns(l, e, RULE_PUBLISH, value);
    if ((value = value_of(word, "subscribe=")).ptr != NULL)
        return take_patterns(l, e, RULE_SUBSCRIBE, value);
    return fail(l, "Behind a key comes name=NAME, publish=PATTERN,... or subscribe=PATTERN,... and nothing else. Write each key on "
                   "a line of its own, and patterns without spaces.");
}

static void entry_done(struct entry *e)
{
    free(e->words);
    free(e->patterns[RULE_SUBSCRIBE]);
    free(e->patterns[RULE_PUBLISH]);
}

static int take_line(struct loading *l, struct entry *e, struct slice line)
{
    struct slice first = next_word(&line), user = value_of(first, "uid=");
    int r = user.ptr != NULL ? take_uid(l, e, user) : take_key(l, e, first);
    if (r < 0)
        return r;
    if ((e->words = slice_dup(line)) == NULL)
        return fail_memory(l);
    struct slice rest = { e->words, line.len };
    for (struct slice word; r == 0 && (word = next_word(&rest)).ptr != NULL;)
        r = take_word(l, e, word);
    return r;
}

static int add_line(struct loading *l, struct slice line)
{
    struct slice rest = line;
    if (next_word(&rest).ptr == NULL)
        return 0; /* empty, or a comment */
    if (l->keys->count == BACKEND_KEY_LINES_MAX)
        return fail(l, "There are more than %d keys. That is the most that is taken.", BACKEND_KEY_LINES_MAX);
    struct entry *grown = reallocarray(l->keys->entries, l->keys->count + 1, sizeof *grown);
    if (grown == NULL)
        return fail_memory(l);
    l->keys->entries = grown;
    struct entry *e = &grown[l->keys->count];
    *e = (struct entry){ .line = l->line };
    int r = take_line(l, e, line);
    l->keys->count++; /* also one that is not complete: it is freed with the others */
    return r;
}

/* ---- the whole */

static void set_rights(struct entry *e)
{
    bool is_limited = e->pattern_count[RULE_SUBSCRIBE] + e->pattern_count[RULE_PUBLISH] > 0;
    if (e->name[0] == '\0')
        snprintf(e->name, sizeof e->name, "line %u", e->line);
    e->rights.name = e->name;
    for (int action = RULE_SUBSCRIBE; action <= RULE_PUBLISH; action++)
        e->rights.may[action] = (struct rule_client){ .is_backend = true,
                                                      .is_limited = is_limited,
                                                      .claims = e->patterns[action],
                                                      .claim_count = e->pattern_count[action] };
}

static int parse(struct loading *l, struct slice text)
{
    for (l->line = 1; text.len > 0; l->line++) {
        const char *end = memchr(text.ptr, '\n', text.len);
        struct slice line = { text.ptr, end == NULL ? text.len : (size_t)(end - text.ptr) };
        size_t used = line.len + (end != NULL);
        text = (struct slice){ text.ptr + used, text.len - used };
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        int r = add_line(l, line);
        if (r < 0)
            return r;
    }
    l->line = 0;
    if (l->keys->count == 0)
        return fail(l, "has no key. Write one a line; openssl rand -hex 32 makes a good one.");
    for (size_t i = 0; i < l->keys->count; i++) /* now that they stay where they are */
        set_rights(&l->keys->entries[i]);
    return 0;
}

int backend_keys_parse(const char *path, struct slice text, struct backend_keys **ret, struct backend_key_report *ret_report)
{
    struct loading l = { .path = path, .report = ret_report, .keys = calloc(1, sizeof *l.keys) };
    int r = l.keys == NULL ? fail_memory(&l) : parse(&l, text);
    if (r < 0)
        backend_keys_free(l.keys);
    else
        *ret = l.keys;
    return r;
}

void backend_keys_free(struct backend_keys *k)
{
    if (k == NULL)
        return;
    for (size_t i = 0; i < k->count; i++)
        entry_done(&k->entries[i]);
    free(k->entries);
    free(k);
}

static int read_all(struct loading *l, int fd, struct buf *content)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        return fail(l, "is a directory. Name the file in it.");
    if (buf_reserve(content, BACKEND_KEY_FILE_MAX + 1) == NULL) /* at once, so that no copy of a key is left behind */
        return fail_memory(l);
    for (;;) {
        ssize_t n = read(fd, content->data + content->len, BACKEND_KEY_FILE_MAX + 1 - content->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(l, "cannot be read");
        if (n == 0)
            return 0;
        content->len += (size_t)n;
        if (content->len > BACKEND_KEY_FILE_MAX)
            return fail(l, "is larger than %d bytes. It cannot be a key file.", BACKEND_KEY_FILE_MAX);
    }
}

static void check_mode(struct loading *l, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (st.st_mode & 0006) == 0)
        return;
    snprintf(l->report->warning, sizeof l->report->warning,
             "%s: everyone on this machine may %s these keys (mode %04o). Say chmod 0640 on it.", l->path,
             (st.st_mode & 0002) != 0 ? "change" : "read", (unsigned)st.st_mode & 07777u);
}

int backend_keys_load(const char *path, struct backend_keys **ret, struct backend_key_report *ret_report)
{
    struct loading l = { .path = path, .report = ret_report };
    HLY_CLEANUP(buf_done) struct buf content = { 0 };
    ret_report->warning[0] = '\0';
    HLY_CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fail_errno(&l, "cannot be opened");
    int r = read_all(&l, fd, &content);
    if (r == 0)
        r = backend_keys_parse(path, buf_slice(&content), ret, ret_report);
    if (r == 0)
        check_mode(&l, fd);
    if (content.data != NULL)
        OPENSSL_cleanse(content.data, content.cap);
    return r;
}

/* ---- who comes in */

size_t backend_keys_count(const struct backend_keys *k)
{
    return k->count - k->uid_count;
}

size_t backend_keys_uid_count(const struct backend_keys *k)
{
    return k->uid_count;
}

const struct backend_rights *backend_keys_check(const struct backend_keys *k, struct slice user, struct slice key)
{
    const struct entry *found = NULL;
    uint8_t digest[DIGEST_BYTES];
    if (!digest_of(key, digest))
        return NULL;
    for (size_t i = 0; i < k->count; i++) /* always all of them */
        if (!k->entries[i].is_uid && CRYPTO_memcmp(k->entries[i].digest, digest, sizeof digest) == 0)
            found = &k->entries[i];
    if (found == NULL || !(user.len == 0 || slice_equals(user, "default") || slice_equals(user, found->name)))
        return NULL;
    return &found->rights;
}

const struct backend_rights *backend_keys_find_same(const struct backend_keys *k, const struct backend_rights *before)
{
    if (before == &backend_rights_all)
        return NULL; /* there was no key, and now there are some */
    const struct entry *was = HLY_CONTAINER_OF(before, struct entry, rights);
    for (size_t i = 0; i < k->count; i++) {
        const struct entry *e = &k->entries[i];
        if (e->is_uid == was->is_uid && (e->is_uid ? e->uid == was->uid : CRYPTO_memcmp(e->digest, was->digest, DIGEST_BYTES) == 0))
            return &e->rights;
    }
    return NULL;
}

const struct backend_rights *backend_keys_find_uid(const struct backend_keys *k, uid_t uid)
{
    for (size_t i = 0; i < k->count; i++)
        if (k->entries[i].is_uid && k->entries[i].uid == uid)
            return &k->entries[i].rights;
    return NULL;
}
