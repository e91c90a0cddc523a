/* Three hash tables over all topics (topics, members, connections on topics) answer who is where in a few lookups, and
 * a topic with one member pays for no table of its own. Two orders are kept beside them: the members of a topic as they
 * joined, for pages, and those who wait for their grace to end, by its end. Both are treaps (Seidel and Aragon): search
 * trees that random priorities keep about as flat as if their members had come in random order. They lie in the members
 * themselves, so waiting needs no memory that might not be there, and no array is ever copied under the lock. */
#include "core/presence.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/slice.h"
#include "core/topic_name.h"

enum tree { BY_NUMBER, BY_DEADLINE, TREES };

struct branches {
    struct member *less;
    struct member *more;
};

struct member {
    struct map_node node; /* its keyed hash is the priority in the trees: nobody can choose names that make them deep */
    struct presence_topic *topic;
    uint64_t number; /* in the order of joining, over all topics */
    uint64_t leaves_at_ms;
    struct branches in[TREES]; /* in the topic's by number; in the table's by deadline while it has no connections */
    char *info;
    uint32_t info_len;
    uint32_t connections;
    uint16_t user_len;
    bool is_anonymous;
    char user[];
};

/* Kept while it has members. */
struct presence_topic {
    struct map_node node;
    struct member *members; /* BY_NUMBER */
    uint64_t member_count;
    uint64_t connection_count;
    uint8_t name_len;
    char name[];
};

/* A connection on a topic. Found without the user, so that it is never there twice. */
struct attendance {
    struct map_node node;
    struct member *member;
    uint64_t connection;
};

struct presence {
    pthread_mutex_t lock;
    struct map topics;
    struct map members;
    struct map attendances;
    struct member *leaving; /* BY_DEADLINE: those within their grace */
    uint64_t last_number;
    uint64_t max_bytes;
    uint64_t bytes;
    uint64_t refused;
};

/* ---- what things cost */

#define MAP_PLACE_BYTES (2 * sizeof(struct map_node *)) /* a table has one to two buckets per entry while it grows */

static uint64_t malloc_bytes(size_t size)
{
    size_t bytes = (size + sizeof(size_t) + 15) & ~(size_t)15;
    return bytes < 32 ? 32 : bytes;
}

static uint64_t topic_bytes(size_t name_len)
{
    return malloc_bytes(sizeof(struct presence_topic) + name_len) + MAP_PLACE_BYTES;
}

static uint64_t member_bytes(size_t user_len)
{
    return malloc_bytes(sizeof(struct member) + user_len) + MAP_PLACE_BYTES;
}

static uint64_t attendance_bytes(void)
{
    return malloc_bytes(sizeof(struct attendance)) + MAP_PLACE_BYTES;
}

static uint64_t info_bytes(size_t len)
{
    return len == 0 ? 0 : malloc_bytes(len + 1); /* slice_dup()'s NUL */
}

/* ---- the trees */

static bool is_before(const struct member *a, const struct member *b, enum tree tree)
{
    if (tree == BY_DEADLINE && a->leaves_at_ms != b->leaves_at_ms)
        return a->leaves_at_ms < b->leaves_at_ms;
    return a->number < b->number;
}

/* A tree in two: what is before `at`, and what is after it. */
static struct branches tree_split(struct member *root, const struct member *at, enum tree tree)
{
    struct branches halves = { NULL, NULL };
    struct member **less = &halves.less, **more = &halves.more; /* where the next of each half goes */
    while (root != NULL) {
        if (is_before(root, at, tree)) {
            *less = root;
            less = &root->in[tree].more;
            root = *less;
        } else {
            *more = root;
            more = &root->in[tree].less;
            root = *more;
        }
    }
    *less = *more = NULL;
    return halves;
}

static void tree_insert(struct member **root, struct member *m, enum tree tree)
{
    while (*root != NULL && (*root)->node.hash >= m->node.hash)
        root = is_before(m, *root, tree) ? &(*root)->in[tree].less : &(*root)->in[tree].more;
    m->in[tree] = tree_split(*root, m, tree);
    *root = m;
}

static void tree_remove(struct member **root, const struct member *m, enum tree tree)
{
    while (*root != m) {
        assert(*root != NULL);
        root = is_before(m, *root, tree) ? &(*root)->in[tree].less : &(*root)->in[tree].more;
    }
    struct member *less = m->in[tree].less, *more = m->in[tree].more;
    while (less != NULL && more != NULL) { /* the two below it become one: the higher priority stays above */
        if (less->node.hash >= more->node.hash) {
            *root = less;
            root = &less->in[tree].more;
            less = *root;
        } else {
            *root = more;
            root = &more->in[tree].less;
            more = *root;
        }
    }
    *root = less != NULL ? less : more;
}

static struct member *tree_first(struct member *root, enum tree tree)
{
    while (root != NULL && root->in[tree].less != NULL)
        root = root->in[tree].less;
    return root;
}

/* ---- finding and making. A hash that takes in the topic's is of that topic. */

static uint64_t hash_in(const struct presence_topic *t, const void *key, size_t key_len)
{
    return t->node.hash * 31 + hash_bytes(key, key_len);
}

static bool topic_equals(const struct map_node *node, const void *key, size_t key_len)
{
    const struct presence_topic *t = HLY_CONTAINER_OF(node, const struct presence_topic, node);
    return t->name_len == key_len && memcmp(t->name, key, key_len) == 0;
}

static struct presence_topic *topic_find(struct presence *p, struct slice name, uint64_t hash)
{
    struct map_node *n = map_find(&p->topics, hash, name.ptr, name.len);
    return n == NULL ? NULL : HLY_CONTAINER_OF(n, struct presence_topic, node);
}

static struct presence_topic *topic_new(struct slice name)
{
    struct presence_topic *t = malloc(sizeof *t + name.len);
    if (t == NULL)
        return NULL;
    *t = (struct presence_topic){ .name_len = (uint8_t)name.len };
    memcpy(t->name, name.ptr, name.len);
    return t;
}

struct member_key {
    const struct presence_topic *topic;
    const struct presence_member *who;
};

static bool user_equals(const struct member *m, struct slice user)
{
    return m->user_len == user.len && (user.len == 0 || memcmp(m->user, user.ptr, user.len) == 0);
}

static bool member_equals(const struct map_node *node, const void *key, size_t key_len)
{
    (void)key_len;
    const struct member *m = HLY_CONTAINER_OF(node, const struct member, node);
    const struct member_key *k = key;
    return m->topic == k->topic && m->is_anonymous == k->who->is_anonymous && user_equals(m, k->who->user);
}

static struct member *member_find(struct presence *p, const struct presence_topic *t, const struct presence_member *who)
{
    struct member_key key = { t, who };
    struct map_node *n = map_find(&p->members, hash_in(t, who->user.ptr, who->user.len), &key, 0);
    return n == NULL ? NULL : HLY_CONTAINER_OF(n, struct member, node);
}

static struct member *member_new(const struct presence_member *who)
{
    struct member *m = malloc(sizeof *m + who->user.len);
    if (m == NULL)
        return NULL;
    *m = (struct member){ .user_len = (uint16_t)who->user.len, .is_anonymous = who->is_anonymous };
    if (who->user.len > 0)
        memcpy(m->user, who->user.ptr, who->user.len);
    return m;
}

static void member_free(struct member *m)
{
    free(m->info);
    free(m);
}

static struct presence_member member_shown(const struct member *m)
{
    return (struct presence_member){ .user = { m->user, m->user_len },
                                     .is_anonymous = m->is_anonymous,
                                     .connections = m->connections,
                                     .info = { m->info, m->info_len } };
}

struct attendance_key {
    const struct presence_topic *topic;
    uint64_t connection;
};

static bool attendance_equals(const struct map_node *node, const void *key, size_t key_len)
{
    (void)key_len;
    const struct attendance *a = HLY_CONTAINER_OF(node, const struct attendance, node);
    const struct attendance_key *k = key;
    return a->connection == k->connection && a->member->topic == k->topic;
}

static struct attendance *attendance_find(struct presence *p, const struct presence_topic *t, uint64_t connection)
{
    struct attendance_key key = { t, connection };
    struct map_node *n = map_find(&p->attendances, hash_in(t, &connection, sizeof connection), &key, 0);
    return n == NULL ? NULL : HLY_CONTAINER_OF(n, struct attendance, node);
}

static struct attendance *attendance_new(uint64_t connection)
{
    struct attendance *a = malloc(sizeof *a);
    if (a != NULL)
        *a = (struct attendance){ .connection = connection };
    return a;
}

/* ---- the table */

static void map_put(struct map *map, struct map_node *node, uint64_t hash)
{
    int r = map_insert(map, node, hash);
    assert(r == 0); /* map_start() */
    (void)r;
}

/* Only the first buckets of a map may be missing: have them now, and inserting cannot fail half way through a join. */
static bool map_start(struct map *map, map_equal_fn equal)
{
    struct map_node first;
    map_init(map, equal);
    if (map_insert(map, &first, 0) < 0)
        return false;
    map_remove(map, &first);
    return true;
}

struct presence *presence_new(uint64_t max_bytes)
{
    struct presence *p = malloc(sizeof *p);
    if (p == NULL)
        return NULL;
    *p = (struct presence){ .max_bytes = max_bytes };
    pthread_mutex_init(&p->lock, NULL);
    if (!map_start(&p->topics, topic_equals) || !map_start(&p->members, member_equals) ||
        !map_start(&p->attendances, attendance_equals)) {
        presence_free(p);
        return NULL;
    }
    return p;
}

static void visit_topic_free(struct map_node *node, void *ctx)
{
    (void)ctx;
    free(HLY_CONTAINER_OF(node, struct presence_topic, node));
}

static void visit_member_free(struct map_node *node, void *ctx)
{
    (void)ctx;
    member_free(HLY_CONTAINER_OF(node, struct member, node));
}

static void visit_attendance_free(struct map_node *node, void *ctx)
{
    (void)ctx;
    free(HLY_CONTAINER_OF(node, struct attendance, node));
}

void presence_free(struct presence *p)
{
    if (p == NULL)
        return;
    map_drain(&p->attendances, visit_attendance_free, NULL);
    map_drain(&p->members, visit_member_free, NULL);
    map_drain(&p->topics, visit_topic_free, NULL);
    map_done(&p->attendances);
    map_done(&p->members);
    map_done(&p->topics);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void presence_set_max_bytes(struct presence *p, uint64_t max_bytes)
{
    pthread_mutex_lock(&p->lock);
    p->max_bytes = max_bytes;
    pthread_mutex_unlock(&p->lock);
}

/* ---- members come and go */

static void member_add(struct presence *p, struct presence_topic *t, struct member *m)
{
    m->topic = t;
    m->number = ++p->last_number;
    map_put(&p->members, &m->node, hash_in(t, m->user, m->user_len));
    tree_insert(&t->members, m, BY_NUMBER);
    t->member_count++;
}

/* The member has no connections: take it out of the table, and its topic if it was the last. It is the caller's then. */
static void member_remove(struct presence *p, struct member *m)
{
    struct presence_topic *t = m->topic;
    map_remove(&p->members, &m->node);
    tree_remove(&t->members, m, BY_NUMBER);
    p->bytes -= member_bytes(m->user_len) + info_bytes(m->info_len);
    if (--t->member_count > 0)
        return;
    assert(t->connection_count == 0);
    map_remove(&p->topics, &t->node);
    p->bytes -= topic_bytes(t->name_len);
    free(t);
}

static void member_wait(struct presence *p, struct member *m, uint64_t leaves_at_ms)
{
    m->leaves_at_ms = leaves_at_ms;
    tree_insert(&p->leaving, m, BY_DEADLINE);
}

/* The connection is there for this member from now on. */
static void attendance_move(struct presence *p, struct attendance *a, struct member *to)
{
    struct member *from = a->member;
    if (from == to)
        return;
    a->member = to;
    to->connections++;
    if (from != NULL && --from->connections == 0)
        member_wait(p, from, 0);
}

static void attendance_add(struct presence *p, struct attendance *a, struct member *m)
{
    attendance_move(p, a, m);
    map_put(&p->attendances, &a->node, hash_in(m->topic, &a->connection, sizeof a->connection));
    m->topic->connection_count++;
}

static void attendance_remove(struct presence *p, struct attendance *a)
{
    a->member->connections--;
    a->member->topic->connection_count--;
    map_remove(&p->attendances, &a->node);
    p->bytes -= attendance_bytes();
    free(a);
}

/* ---- join: find what is there, weigh and make what is not, and only then change anything */

struct parts { /* what a join is made of; NULL: not there */
    struct presence_topic *topic;
    struct member *member;
    struct attendance *attendance;
    char *info;
};

static void parts_done(struct parts *made)
{
    free(made->topic);
    free(made->member);
    free(made->attendance);
    free(made->info);
}

static struct parts join_find(struct presence *p, struct slice topic, uint64_t topic_hash,
                              const struct presence_member *who, uint64_t connection)
{
    struct parts found = { .topic = topic_find(p, topic, topic_hash) };
    if (found.topic != NULL) {
        found.member = member_find(p, found.topic, who);
        found.attendance = attendance_find(p, found.topic, connection);
    }
    return found;
}

/* All bytes of the table after the join. */
static uint64_t join_weigh(const struct presence *p, const struct parts *found, struct slice topic,
                           const struct presence_member *who)
{
    uint64_t bytes = p->bytes + info_bytes(who->info.len);
    if (found->topic == NULL)
        bytes += topic_bytes(topic.len);
    if (found->attendance == NULL)
        bytes += attendance_bytes();
    if (found->member == NULL)
        return bytes + member_bytes(who->user.len);
    return bytes - info_bytes(found->member->info_len);
}

static bool join_make(const struct parts *found, struct slice topic, const struct presence_member *who,
                      uint64_t connection, struct parts *made)
{
    if (found->topic == NULL && (made->topic = topic_new(topic)) == NULL)
        return false;
    if (found->member == NULL && (made->member = member_new(who)) == NULL)
        return false;
    if (found->attendance == NULL && (made->attendance = attendance_new(connection)) == NULL)
        return false;
    return who->info.len == 0 || (made->info = slice_dup(who->info)) != NULL;
}

/* Nothing can fail any more. Takes what was made. Returns whether the member is new. */
static bool join_apply(struct presence *p, const struct parts *found, const struct parts *made, uint64_t topic_hash,
                       size_t info_len)
{
    struct presence_topic *t = found->topic;
    struct member *m = found->member;
    if (t == NULL) {
        t = made->topic;
        map_put(&p->topics, &t->node, topic_hash);
    }
    if (m == NULL) {
        m = made->member;
        member_add(p, t, m);
    } else if (m->connections == 0) {
        tree_remove(&p->leaving, m, BY_DEADLINE);
    }
    if (found->attendance == NULL)
        attendance_add(p, made->attendance, m);
    else
        attendance_move(p, found->attendance, m);
    free(m->info);
    m->info = made->info;
    m->info_len = (uint32_t)info_len;
    return found->member == NULL;
}

static int join(struct presence *p, struct slice topic, const struct presence_member *who, uint64_t connection)
{
    uint64_t topic_hash = hash_bytes(topic.ptr, topic.len);
    struct parts found = join_find(p, topic, topic_hash, who, connection);
    uint64_t bytes = join_weigh(p, &found, topic, who);
    if (bytes > p->bytes && bytes > p->max_bytes) {
        p->refused++;
        return -EDQUOT;
    }
    struct parts made = { 0 };
    if (!join_make(&found, topic, who, connection, &made)) {
        parts_done(&made);
        return -ENOMEM;
    }
    p->bytes = bytes;
    return join_apply(p, &found, &made, topic_hash, who->info.len);
}

int presence_join(struct presence *p, struct slice topic, const struct presence_member *who, uint64_t connection)
{
    assert(topic.len <= TOPIC_MAX_BYTES && who->user.len <= UINT16_MAX && who->info.len < UINT32_MAX);
    pthread_mutex_lock(&p->lock);
    int r = join(p, topic, who, connection);
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* ---- leave */

static uint64_t time_add(uint64_t now_ms, uint64_t ms)
{
    return now_ms < UINT64_MAX - ms ? now_ms + ms : UINT64_MAX;
}

/* The connection's attendance of the topic, if it is there for that user. */
static struct attendance *leave_find(struct presence *p, struct slice topic, struct slice user, uint64_t connection)
{
    struct presence_topic *t = topic_find(p, topic, hash_bytes(topic.ptr, topic.len));
    struct attendance *a = t == NULL ? NULL : attendance_find(p, t, connection);
    return a != NULL && user_equals(a->member, user) ? a : NULL;
}

/* Returns the member if it has left at once: the caller's to free. */
static struct member *leave(struct presence *p, struct attendance *a, uint64_t now_ms, uint64_t grace_ms)
{
    struct member *m = a->member;
    attendance_remove(p, a);
    if (m->connections > 0)
        return NULL;
    if (grace_ms > 0) {
        member_wait(p, m, time_add(now_ms, grace_ms));
        return NULL;
    }
    member_remove(p, m);
    return m;
}

int presence_leave(struct presence *p, struct slice topic, struct slice user, uint64_t connection, uint64_t now_ms,
                   uint64_t grace_ms)
{
    pthread_mutex_lock(&p->lock);
    struct attendance *a = leave_find(p, topic, user, connection);
    struct member *left = a == NULL ? NULL : leave(p, a, now_ms, grace_ms);
    pthread_mutex_unlock(&p->lock);
    if (left == NULL)
        return 0;
    member_free(left);
    return 1;
}

/* ---- those whose grace is over */

static struct member *first_due(const struct presence *p, uint64_t now_ms)
{
    struct member *m = tree_first(p->leaving, BY_DEADLINE);
    return m != NULL && m->leaves_at_ms <= now_ms ? m : NULL;
}

/* Take one of them out, with a copy of its topic's name: the topic may be gone with it. NULL: there is none. */
static struct member *take_due(struct presence *p, uint64_t now_ms, char topic[TOPIC_MAX_BYTES], size_t *ret_topic_len)
{
    pthread_mutex_lock(&p->lock);
    struct member *m = first_due(p, now_ms);
    if (m != NULL) {
        memcpy(topic, m->topic->name, m->topic->name_len);
        *ret_topic_len = m->topic->name_len;
        tree_remove(&p->leaving, m, BY_DEADLINE);
        member_remove(p, m);
    }
    pthread_mutex_unlock(&p->lock);
    return m;
}

bool presence_expire(struct presence *p, uint64_t now_ms, size_t max,
                     void (*visit)(struct slice topic, const struct presence_member *who, void *ctx), void *ctx)
{
    for (size_t n = 0; n < max; n++) {
        char topic[TOPIC_MAX_BYTES];
        size_t topic_len;
        struct member *m = take_due(p, now_ms, topic, &topic_len);
        if (m == NULL)
            return false;
        struct presence_member shown = member_shown(m);
        visit((struct slice){ topic, topic_len }, &shown, ctx);
        member_free(m);
    }
    pthread_mutex_lock(&p->lock);
    bool has_more = first_due(p, now_ms) != NULL;
    pthread_mutex_unlock(&p->lock);
    return has_more;
}

/* ---- looking */

bool presence_has(struct presence *p, struct slice topic, const struct presence_member *who)
{
    pthread_mutex_lock(&p->lock);
    struct presence_topic *t = topic_find(p, topic, hash_bytes(topic.ptr, topic.len));
    bool is_there = t != NULL && member_find(p, t, who) != NULL;
    pthread_mutex_unlock(&p->lock);
    return is_there;
}

#define WALK_BUCKETS 500

struct walk {
    void (*visit)(struct slice topic, const struct presence_member *who, void *ctx);
    void *ctx;
};

static void walk_member(struct map_node *node, void *ctx)
{
    const struct walk *w = ctx;
    const struct member *m = HLY_CONTAINER_OF(node, const struct member, node);
    struct presence_member shown = member_shown(m);
    w->visit((struct slice){ m->topic->name, m->topic->name_len }, &shown, w->ctx);
}

bool presence_walk(struct presence *p, uint64_t *cursor, void (*visit)(struct slice topic, const struct presence_member *who, void *ctx), void *ctx)
{
    struct walk w = { visit, ctx };
    bool more = true;
    pthread_mutex_lock(&p->lock);
    for (int n = 0; n < WALK_BUCKETS && more && map_count(&p->members) > 0; n++)
        more = map_scan(&p->members, cursor, walk_member, &w);
    more &= map_count(&p->members) > 0;
    pthread_mutex_unlock(&p->lock);
    return more;
}

struct presence_count presence_count(struct presence *p, struct slice topic)
{
    struct presence_count count = { 0, 0 };
    uint64_t hash = hash_bytes(topic.ptr, topic.len);
    pthread_mutex_lock(&p->lock);
    struct presence_topic *t = topic_find(p, topic, hash);
    if (t != NULL)
        count = (struct presence_count){ t->member_count, t->connection_count };
    pthread_mutex_unlock(&p->lock);
    return count;
}

struct page {
    uint64_t next; /* number: members below it have been seen */
    size_t room;
    bool has_more;
    void (*visit)(const struct presence_member *m, void *ctx);
    void *ctx;
};

/* In order, as deep as the tree: besides those of the page only the way down to its first member is walked. */
static void page_walk(const struct member *m, struct page *page)
{
    if (m == NULL)
        return;
    if (m->number >= page->next)
        page_walk(m->in[BY_NUMBER].less, page);
    if (page->has_more)
        return;
    if (m->number >= page->next) {
        if (page->room == 0) {
            page->has_more = true;
            return;
        }
        struct presence_member shown = member_shown(m);
        page->visit(&shown, page->ctx);
        page->next = m->number + 1;
        page->room--;
    }
    page_walk(m->in[BY_NUMBER].more, page);
}

bool presence_page(struct presence *p, struct slice topic, uint64_t *next, size_t max,
                   void (*visit)(const struct presence_member *m, void *ctx), void *ctx)
{
    size_t room = max < PRESENCE_PAGE_MAX ? max : PRESENCE_PAGE_MAX;
    struct page page = { .next = *next, .room = room, .visit = visit, .ctx = ctx };
    uint64_t hash = hash_bytes(topic.ptr, topic.len);
    pthread_mutex_lock(&p->lock);
    struct presence_topic *t = topic_find(p, topic, hash);
    if (t != NULL)
        page_walk(t->members, &page);
    pthread_mutex_unlock(&p->lock);
    *next = page.next;
    return page.has_more;
}

void presence_get_stats(struct presence *p, struct presence_stats *ret)
{
    pthread_mutex_lock(&p->lock);
    *ret = (struct presence_stats){ .topics = map_count(&p->topics),
                                    .members = map_count(&p->members),
                                    .connections = map_count(&p->attendances),
                                    .bytes = p->bytes,
                                    .refused = p->refused };
    pthread_mutex_unlock(&p->lock);
}
