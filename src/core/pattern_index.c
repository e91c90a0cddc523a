#include "core/pattern_index.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/topic_name.h"

/* The alphabet of the tree: the bytes of names, and each wildcard as one byte. ANY_REST stands for `**`; names cannot
 * contain it. */
#define ANY_LEVEL '*'
#define ANY_REST '\1'

struct node {
    void *value;        /* NULL: no pattern ends here */
    struct node **kids; /* in one block, kid_count pointers, and after them the first byte of each kid's label */
    uint16_t kid_count;
    uint8_t label_len; /* 0 in the root, and only there */
    char label[];      /* the bytes between the parent and here */
};

struct pattern_index {
    struct node *root;
    size_t count;
    size_t nodes;
};

/* ---- nodes */

static struct node *node_new(const char *label, size_t len)
{
    struct node *n = malloc(sizeof *n + len);
    if (n == NULL)
        return NULL;
    *n = (struct node){ .label_len = (uint8_t)len };
    if (len > 0)
        memcpy(n->label, label, len);
    return n;
}

static void node_free(struct node *n) /* this one; its kids are the caller's */
{
    if (n != NULL)
        free(n->kids);
    free(n);
}

static void tree_free(struct node *n)
{
    for (size_t i = 0; i < n->kid_count; i++)
        tree_free(n->kids[i]);
    node_free(n);
}

static struct node **kid_slot(const struct node *n, char first) /* NULL if there is no such kid */
{
    if (n->kid_count == 0)
        return NULL;
    const char *firsts = (const char *)(n->kids + n->kid_count);
    const char *found = memchr(firsts, first, n->kid_count);
    return found != NULL ? &n->kids[found - firsts] : NULL;
}

static int kid_add(struct node *n, struct node *kid, char first)
{
    size_t count = n->kid_count;
    struct node **kids = realloc(n->kids, (count + 1) * (sizeof *kids + 1));
    if (kids == NULL)
        return -ENOMEM;
    char *firsts = (char *)(kids + count + 1);
    memmove(firsts, kids + count, count);
    firsts[count] = first;
    kids[count] = kid;
    n->kids = kids;
    n->kid_count++;
    return 0;
}

static void kid_remove(struct node *n, struct node **slot) /* the last one takes its place */
{
    size_t last = n->kid_count - 1u, at = (size_t)(slot - n->kids);
    char *firsts = (char *)(n->kids + n->kid_count);
    n->kids[at] = n->kids[last];
    firsts[at] = firsts[last];
    memmove(n->kids + last, firsts, last);
    n->kid_count--;
    if (last == 0) {
        free(n->kids);
        n->kids = NULL;
        return;
    }
    struct node **less = realloc(n->kids, last * (sizeof *less + 1));
    if (less != NULL)
        n->kids = less;
}

/* ---- patterns in, patterns out */

struct key {
    char bytes[TOPIC_MAX_BYTES];
    size_t len;
};

static void key_of(struct key *k, const char *pattern, size_t len)
{
    assert(len > 0 && len <= TOPIC_MAX_BYTES);
    memcpy(k->bytes, pattern, len);
    k->len = len;
    if (len >= 2 && pattern[len - 1] == '*' && pattern[len - 2] == '*')
        k->bytes[--k->len - 1] = ANY_REST;
}

struct pattern_index *pattern_index_new(void)
{
    struct pattern_index *ix = calloc(1, sizeof *ix);
    if (ix == NULL)
        return NULL;
    ix->root = node_new(NULL, 0);
    if (ix->root == NULL) {
        free(ix);
        return NULL;
    }
    ix->nodes = 1;
    return ix;
}

void pattern_index_free(struct pattern_index *ix)
{
    if (ix != NULL)
        tree_free(ix->root);
    free(ix);
}

size_t pattern_index_count(const struct pattern_index *ix)
{
    return ix->count;
}

size_t pattern_index_nodes(const struct pattern_index *ix)
{
    return ix->nodes;
}

/* Follow the key through a node's label. Moves *at behind it, unless the key is not to be found there. */
static bool pass_label(const struct node *n, const struct key *k, size_t *at)
{
    if (n->label_len > k->len - *at || memcmp(n->label, k->bytes + *at, n->label_len) != 0)
        return false;
    *at += n->label_len;
    return true;
}

void *pattern_index_get(const struct pattern_index *ix, const char *pattern, size_t len)
{
    struct key k;
    key_of(&k, pattern, len);
    const struct node *n = ix->root;
    for (size_t at = 0; pass_label(n, &k, &at);) {
        if (at == k.len)
            return n->value;
        struct node **slot = kid_slot(n, k.bytes[at]);
        if (slot == NULL)
            return NULL;
        n = *slot;
    }
    return NULL;
}

static int add_leaf(struct pattern_index *ix, struct node *parent, const char *label, size_t len, void *value)
{
    struct node *leaf = node_new(label, len);
    if (leaf == NULL || kid_add(parent, leaf, *label) < 0) {
        node_free(leaf);
        return -ENOMEM;
    }
    leaf->value = value;
    ix->nodes++;
    return 0;
}

/* The key leaves the node's label after `same` bytes: a new node there takes the node as its kid, and the rest of
 * the key as another. */
static int add_by_split(struct pattern_index *ix, struct node **slot, size_t same, const char *rest, size_t rest_len,
                        void *value)
{
    struct node *lower = *slot;
    struct node *upper = node_new(lower->label, same);
    if (upper == NULL || kid_add(upper, lower, lower->label[same]) < 0)
        goto fail;
    if (rest_len == 0)
        upper->value = value;
    else if (add_leaf(ix, upper, rest, rest_len, value) < 0)
        goto fail;
    lower->label_len = (uint8_t)(lower->label_len - same);
    memmove(lower->label, lower->label + same, lower->label_len);
    *slot = upper;
    ix->nodes++;
    return 0;
fail:
    node_free(upper);
    return -ENOMEM;
}

static int add_key(struct pattern_index *ix, const char *at, size_t left, void *value)
{
    for (struct node **slot = &ix->root;;) {
        struct node *n = *slot;
        size_t same = 0;
        while (same < n->label_len && same < left && n->label[same] == at[same])
            same++;
        at += same;
        left -= same;
        if (same < n->label_len)
            return add_by_split(ix, slot, same, at, left, value);
        if (left == 0) {
            assert(n->value == NULL);
            n->value = value;
            return 0;
        }
        slot = kid_slot(n, *at);
        if (slot == NULL)
            return add_leaf(ix, n, at, left, value);
    }
}

int pattern_index_add(struct pattern_index *ix, const char *pattern, size_t len, void *value)
{
    struct key k;
    assert(value != NULL);
    key_of(&k, pattern, len);
    int r = add_key(ix, k.bytes, k.len, value);
    if (r == 0)
        ix->count++;
    return r;
}

/* A node that only leads to one other becomes one with it. Without memory it stays: a longer path, and no harm. */
static void join_with_only_kid(struct pattern_index *ix, struct node **slot)
{
    struct node *n = *slot;
    if (n->value != NULL || n->kid_count != 1)
        return;
    size_t len = n->label_len, kid_len = n->kids[0]->label_len;
    struct node *kid = realloc(n->kids[0], sizeof *kid + len + kid_len);
    if (kid == NULL)
        return;
    memmove(kid->label + len, kid->label, kid_len);
    memcpy(kid->label, n->label, len);
    kid->label_len = (uint8_t)(len + kid_len);
    *slot = kid;
    node_free(n);
    ix->nodes--;
}

/* Walk down to the node at which the key ends. path gets the slots on the way, root first; returns how many, or 0 when
 * there is no such node. */
static size_t find_path(struct pattern_index *ix, const struct key *k, struct node **path[TOPIC_MAX_BYTES + 1])
{
    struct node **slot = &ix->root;
    size_t depth = 0;
    for (size_t at = 0; slot != NULL && pass_label(*slot, k, &at); slot = kid_slot(*slot, k->bytes[at])) {
        path[depth++] = slot;
        if (at == k->len)
            return depth;
    }
    return 0;
}

void *pattern_index_remove(struct pattern_index *ix, const char *pattern, size_t len)
{
    struct key k;
    struct node **path[TOPIC_MAX_BYTES + 1];
    key_of(&k, pattern, len);
    size_t depth = find_path(ix, &k, path);
    assert(depth > 0 && (*path[depth - 1])->value != NULL);
    struct node *n = *path[depth - 1];
    void *value = n->value;
    n->value = NULL;
    ix->count--;
    for (; depth > 1 && n->value == NULL && n->kid_count == 0; depth--) {
        struct node *parent = *path[depth - 2];
        kid_remove(parent, path[depth - 1]);
        node_free(n);
        ix->nodes--;
        n = parent;
    }
    if (depth > 1)
        join_with_only_kid(ix, path[depth - 1]);
    return value;
}

/* ---- match */

struct match {
    const char *topic;
    const char *end;
    void (*visit)(void *value, void *ctx);
    void *ctx;
    size_t steps;
};

/* Let one byte of a pattern match at `at`. Returns where the topic goes on, or NULL if it does not match. */
static const char *match_byte(const struct match *m, char c, const char *at)
{
    if (c != ANY_LEVEL && c != ANY_REST)
        return at < m->end && *at == c ? at + 1 : NULL;
    if (*m->topic == '$' && at == m->topic)
        return NULL; /* Halley's own names */
    if (c == ANY_REST)
        return m->end;
    const char *slash = memchr(at, '/', (size_t)(m->end - at));
    return slash != NULL ? slash : m->end;
}

static void match_node(struct match *m, const struct node *n, const char *at)
{
    m->steps++;
    for (size_t i = 0; i < n->label_len; i++) {
        at = match_byte(m, n->label[i], at);
        if (at == NULL)
            return;
    }
    if (n->value != NULL && at == m->end)
        m->visit(n->value, m->ctx);
    const char ways[] = { ANY_LEVEL, ANY_REST, at < m->end ? *at : ANY_REST };
    for (size_t i = 0; i < (at < m->end ? 3 : 2); i++) {
        struct node **kid = kid_slot(n, ways[i]);
        if (kid != NULL)
            match_node(m, *kid, at);
    }
}

void pattern_index_match(const struct pattern_index *ix, const char *topic, size_t len,
                         void (*visit)(void *value, void *ctx), void *ctx)
{
    struct match m = { .topic = topic, .end = topic + len, .visit = visit, .ctx = ctx };
    match_node(&m, ix->root, topic);
}

static void visit_nothing(void *value, void *ctx)
{
    (void)value;
    (void)ctx;
}

size_t pattern_index_match_steps(const struct pattern_index *ix, const char *topic, size_t len)
{
    struct match m = { .topic = topic, .end = topic + len, .visit = visit_nothing };
    match_node(&m, ix->root, topic);
    return m.steps;
}
