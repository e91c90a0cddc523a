#include "server/succeed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/revocation.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/slice.h"
#include "core/hub_state.h"
#include "core/presence.h"
#include "server/inherited.h"
#include "server/kick_link.h"
#include "server/link.h"
#include "server/pump.h"
#include "server/server_internal.h"

#define PATIENCE_MS 3600000 /* the predecessor is the one that has none: it ends us, and when it ends itself we see it */
#define BYE_MS 1000
#define RETURN_MS 30000     /* who was present there has so long, beside its rule's grace, to be present here */

struct succession {
    int fd; /* until the pump has it */
    char *sockets;
    struct link_reader reader;
    struct server *server;
    struct pump pump;
    struct buf receipts; /* of messages that are still on their way to the predecessor */
    uint64_t began_ms;
    uint64_t restored;
    uint64_t lost;
    uint64_t visitors; /* members of its lists: numbers for connections that are not there yet */
};

/* ---- begin and end */

static void log_failed(struct succession *x, const char *why)
{
    log_error("upgrade_failed", "the predecessor goes on, and this process ends: %s", why);
    succeed_refuse(x, why);
}

struct succession *succeed_begin(void)
{
    const char *link = getenv(SUCCEED_LINK), *sockets = getenv(SUCCEED_SOCKETS);
    struct succession *x = link == NULL || sockets == NULL ? NULL : calloc(1, sizeof *x);
    if (x != NULL) {
        x->fd = (int)strtol(link, NULL, 10);
        x->sockets = strdup(sockets);
        x->reader.fd = x->fd;
        x->began_ms = clock_mono_ms();
    }
    if (x != NULL && (x->sockets == NULL || fcntl(x->fd, F_SETFD, FD_CLOEXEC) < 0)) { /* somebody else's variable */
        free(x->sockets);
        free(x);
        x = NULL;
    }
    unsetenv(SUCCEED_LINK);
    unsetenv(SUCCEED_SOCKETS);
    return x;
}

void succeed_end(struct succession *x)
{
    if (x == NULL)
        return;
    if (x->fd >= 0)
        close(x->fd);
    pump_end(&x->pump, &(struct hub_record){ .type = LINK_BYE }, BYE_MS);
    buf_done(&x->reader.in);
    buf_done(&x->receipts);
    free(x->sockets);
    free(x);
}

void succeed_refuse(struct succession *x, const char *why)
{
    if (x == NULL || x->fd < 0)
        return;
    link_say(x->fd, &(struct hub_record){ .type = LINK_FAILED, .payload = { why, strlen(why) } }, clock_mono_ms() + 1000);
}

int succeed_add_sockets(struct succession *x, struct inherited *in)
{
    int r = 0;
    char *at = x == NULL ? NULL : x->sockets;
    while (at != NULL && *at != '\0' && r == 0) {
        int fd = (int)strtol(at, &at, 10);
        bool is_held = *at == 'h';
        at += strspn(at, "h,");
        r = inherited_add(in, fd, is_held);
    }
    return r;
}

/* ---- the state */

static const char *take_revocation(struct succession *x, const struct hub_record *record)
{
    if (record->key.len == 0 || record->kind > REVOKED_USER)
        return "a revocation makes no sense";
    int r = revocations_add(x->server->view.revocations, (enum revocation_kind)record->kind, record->key, record->number, record->time_ms);
    return r == 0 ? NULL : r == -EDQUOT ? "more is revoked than limits.revocations allows: raise it" : "memory has run out";
}

/* It is present from now on, as one who has just lost its connection. Returns what presence_join() does. */
static int take_member(struct succession *x, struct slice topic, const struct presence_member *m)
{
    struct server *s = x->server;
    uint64_t connection = UINT64_MAX - x->visitors++;
    const struct rule *rule = rules_find(s->reactors[0].rules, topic.ptr, topic.len);
    if (!rule->presence)
        return 0;
    int joined = presence_join(s->view.presence, topic, m, connection);
    if (joined >= 0)
        presence_leave(s->view.presence, topic, m->user, connection, clock_mono_ms(), RETURN_MS + rule->presence_grace_ms);
    return joined;
}

struct restoring {
    struct succession *x;
    struct hub_restore *hub;
};

/* Returns why it cannot be, or NULL. */
static const char *take_own(struct restoring *re, const struct hub_record *record)
{
    if (record->type == LINK_REVOKED)
        return take_revocation(re->x, record);
    if (record->type == LINK_MEMBER)
        take_member(re->x, record->topic, &(struct presence_member){ .user = record->key, .is_anonymous = record->kind != 0, .info = record->payload });
    return NULL;
}

static const char *take_record(struct restoring *re, const struct hub_record *record)
{
    int r = hub_restore_record(re->hub, record);
    if (r == -EINVAL)
        return "the predecessor's state makes no sense";
    re->x->restored += r == 1 && record->type == HUB_RECORD_MESSAGE;
    re->x->lost += r == -ENOMEM;
    return r == 0 ? take_own(re, record) : NULL;
}

static const char *take_end(struct restoring *re, const struct hub_record *record)
{
    char epoch[EPOCH_LEN + 1] = "";
    if (record->key.len != EPOCH_LEN || record->number < hub_restore_head(re->hub))
        return "the end of the predecessor's state makes no sense";
    memcpy(epoch, record->key.ptr, EPOCH_LEN);
    hub_restore_end(re->hub, epoch, record->number);
    re->hub = NULL;
    return NULL;
}

static const char *read_state(struct restoring *re)
{
    struct hub_record record;
    const char *why = NULL;
    while (why == NULL && re->hub != NULL) {
        int r = link_read(&re->x->reader, re->x->began_ms + PATIENCE_MS, &record);
        if (r <= 0)
            return r == 0 ? "the predecessor has ended" : strerror(-r);
        why = record.type == LINK_STATE_END ? take_end(re, &record) : take_record(re, &record);
    }
    return why;
}

struct slice succeed_journal_name(const struct config *c)
{
    size_t len = strlen(c->journal_path), most = 255;
    return len <= most ? (struct slice){ c->journal_path, len } : (struct slice){ c->journal_path + len - most, most };
}

int succeed_hello(struct succession *x, struct server *s)
{
    struct hub_record record, hello = { .type = LINK_HELLO,
                                        .number = LINK_VERSION,
                                        .topic = succeed_journal_name(s->live->config),
                                        .payload = SLICE_LIT(HALLEY_VERSION) };
    uint64_t deadline_ms = x->began_ms + PATIENCE_MS;
    x->server = s;
    if (link_say(x->fd, &hello, deadline_ms) == 0 && link_read(&x->reader, deadline_ms, &record) == 1 && record.type == LINK_HELD)
        return 0;
    log_failed(x, "the predecessor has thought better of it, or has ended");
    return -1;
}

/* The journal has told the hub everything: it must be what the predecessor had. */
static const char *read_beside_journal(struct succession *x)
{
    struct restoring re = { .x = x };
    struct hub_record record;
    const char *why = NULL;
    while (why == NULL) {
        int r = link_read(&x->reader, x->began_ms + PATIENCE_MS, &record);
        if (r <= 0)
            return r == 0 ? "the predecessor has ended" : strerror(-r);
        if (record.type == LINK_STATE_END)
            break;
        why = record.type < HUB_RECORD_OWN ? "the predecessor's state makes no sense" : take_own(&re, &record);
    }
    if (why == NULL && (record.number != hub_head(x->server->hub) || !slice_equals(record.key, hub_epoch(x->server->hub))))
        why = "the journal has not all that the predecessor has";
    return why;
}

static const char *read_into_hub(struct succession *x)
{
    struct restoring re = { .x = x, .hub = hub_restore_begin(x->server->hub) };
    const char *why = re.hub == NULL ? "memory has run out" : read_state(&re);
    if (re.hub != NULL)
        hub_restore_end(re.hub, hub_epoch(x->server->hub), hub_restore_head(re.hub)); /* the process ends: this frees it */
    return why;
}

int succeed_take_state(struct succession *x, struct server *s)
{
    const char *why = s->live->config->journal_path[0] != '\0' ? read_beside_journal(x) : read_into_hub(x);
    if (why != NULL) {
        log_failed(x, why);
        return -1;
    }
    if (x->lost > 0)
        log_warn("upgrade", "%" PRIu64 " messages or keys found no room under limits.topics: clients who come back for them are told of a gap", x->lost);
    return 0;
}

/* ---- the predecessor's clients */

struct relayed {
    struct engine_publish publish;
    struct succession *succession;
    uint64_t number;
};

static void on_published(struct engine_publish *p)
{
    struct relayed *m = HLY_CONTAINER_OF(p, struct relayed, publish);
    bool is_refused = p->result < 0;
    hub_record_encode(&m->succession->receipts, LINK_SALT,
                      &(struct hub_record){ .type = LINK_RECEIPT,
                                            .seq = m->number,
                                            .kind = is_refused            ? LINK_REFUSED
                                                    : p->receipt.repeated ? LINK_REPEATED
                                                                          : LINK_PUBLISHED,
                                            .time_ms = p->receipt.seq,
                                            .number = is_refused ? (uint64_t)-p->result : p->receipt.subscribers });
    free(m);
}

/* What is told of somebody who comes or goes there is true here only if it is of nobody who is here, or is to come. */
static bool is_news(struct succession *x, struct message *told)
{
    json_t *who = json_loadb(message_payload(told), told->payload_len, JSON_ALLOW_NUL, NULL);
    const json_t *sub = json_object_get(who, "sub"), *guest = json_object_get(who, "guest"), *name = json_is_string(sub) ? sub : guest;
    const json_t *info = json_object_get(who, "info");
    char *text = info == NULL ? NULL : json_dumps(info, JSON_COMPACT | JSON_ENCODE_ANY);
    bool is_new = false;
    if (json_is_string(name)) {
        struct presence_member m = { .user = { json_string_value(name), json_string_length(name) }, .is_anonymous = name == guest };
        if (text != NULL)
            m.info = (struct slice){ text, strlen(text) };
        is_new = told->kind == MESSAGE_JOIN ? take_member(x, message_topic(told), &m) == 1 : !presence_has(x->server->view.presence, message_topic(told), &m);
    }
    free(text);
    json_decref(who);
    return is_new;
}

static bool is_still_occupied(struct succession *x, struct message *told)
{
    json_t *what = json_loadb(message_payload(told), told->payload_len, JSON_ALLOW_NUL, NULL);
    const json_t *topic = json_object_get(what, "topic");
    bool is = json_is_string(topic) && hub_topic_subscribers(x->server->hub, json_string_value(topic), json_string_length(topic)) > 0;
    json_decref(what);
    return is;
}

static bool is_to_be_published(struct succession *x, struct message *m)
{
    if (m->kind != MESSAGE_DATA)
        return is_news(x, m);
    return !slice_equals(message_topic(m), "$halley/vacated") || !is_still_occupied(x, m);
}

static void publish_for_it(struct succession *x, const struct hub_record *record)
{
    struct engine *engine = x->server->reactors[0].engine;
    struct message *m = link_to_message(record);
    struct relayed *re = m == NULL ? NULL : malloc(sizeof *re);
    if (re == NULL || !is_to_be_published(x, m)) {
        pump_say(&x->pump, &(struct hub_record){ .type = LINK_RECEIPT, .seq = record->seq, .kind = re == NULL ? LINK_REFUSED : LINK_PUBLISHED, .number = re == NULL ? ENOMEM : 0 });
        message_unref(m);
        free(re);
        return;
    }
    *re = (struct relayed){ .publish = { .message = m, .key = record->key, .done = on_published }, .succession = x, .number = record->seq };
    engine->publish(engine, &re->publish);
}

static void on_record(void *ctx, const struct hub_record *record)
{
    struct succession *x = ctx;
    if (record->type == LINK_KICK)
        kick_link_take(x->server, record);
    else if (record->type == LINK_PUBLISH)
        publish_for_it(x, record);
}

static void on_batch(void *ctx, struct message *const *messages, size_t count)
{
    struct succession *x = ctx;
    for (size_t i = 0; i < count; i++) {
        struct hub_record record = { .type = LINK_MESSAGE, .seq = messages[i]->seq };
        link_from_message(&record, messages[i]);
        pump_say(&x->pump, &record);
    }
}

/* A receipt follows its message: who publishes there finds it there. */
static void before_write(void *ctx)
{
    struct succession *x = ctx;
    if (x->receipts.len == 0 || hub_has_mail(x->server->hub, 0))
        return;
    buf_append(&x->pump.out, x->receipts.data, x->receipts.len);
    buf_reset(&x->receipts);
}

static void on_lost(void *ctx, const char *why)
{
    struct succession *x = ctx;
    struct reactor *r = &x->server->reactors[0];
    r->tap = NULL;
    hub_set_all(x->server->hub, 0, false);
    log_info("upgrade", "the predecessor has gone: %s", why);
}

int succeed_take_over(struct succession *x, struct server *s)
{
    struct hub_record record;
    uint64_t deadline_ms = clock_mono_ms() + PATIENCE_MS;
    int r = link_say(x->fd, &(struct hub_record){ .type = LINK_TAKEN, .number = x->restored }, deadline_ms);
    if (r == 0)
        r = link_read(&x->reader, deadline_ms, &record) == 1 && record.type == LINK_GO ? 0 : -EPIPE;
    if (r < 0) {
        log_failed(x, "the predecessor has thought better of it, or has ended");
        return -1;
    }
    LIST_EACH (it, &s->doors)
        LIST_ENTRY(it, struct door, node)->is_borrowed = false;
    x->pump.ctx = x;
    x->pump.on_record = on_record;
    x->pump.before_write = before_write;
    x->pump.on_lost = on_lost;
    s->reactors[0].tap = on_batch;
    s->reactors[0].tap_ctx = x;
    hub_set_all(s->hub, 0, true);
    buf_append(&x->pump.in, x->reader.in.data + x->reader.at, x->reader.in.len - x->reader.at); /* what came behind the word */
    pump_open(&x->pump, &s->reactors[0].loop, x->fd);
    x->fd = -1;
    kick_link_begin(s, &x->pump);
    log_info("upgrade", "succeeding: messages=%" PRIu64 " head=%" PRIu64 " epoch=%s", x->restored, hub_head(s->hub), hub_epoch(s->hub));
    return 0;
}

void succeed_serving(struct succession *x)
{
    if (x == NULL)
        return;
    pump_say(&x->pump, &(struct hub_record){ .type = LINK_SERVING });
    pump_feed(&x->pump);
}
