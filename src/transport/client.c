#include "transport/client.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

#define NODE_BYTES EPOCH_LEN
#define RANDOM_BYTES sizeof(((struct client *)0)->random)
#define RANDOM_DIGITS ((RANDOM_BYTES * 8 + 4) / 5)

static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* base 32 as in cursors: no i l o u */

void client_init(struct client *c, const struct reactor *r)
{
    *c = (struct client){ .reactor = (uint8_t)r->index };
    if (RAND_bytes(c->random, sizeof c->random) == 1)
        return;
    log_error("no_random", "the system gives no random bytes, and without them ids of connections could be guessed");
    abort();
}

/* ---- as text */

/* The 16 bytes as one number, five bits a digit; the last digit's two spare bits are 0. */
static void put_random(char *out, const uint8_t *random)
{
    unsigned bits = 0, have = 0;
    for (size_t i = 0; i < RANDOM_BYTES; i++) {
        bits = bits << 8 | random[i];
        for (have += 8; have >= 5; have -= 5)
            *out++ = digits[bits >> (have - 5) & 31];
    }
    *out++ = digits[bits << (5 - have) & 31];
    *out = '\0';
}

static int get_random(const char *text, uint8_t *ret)
{
    unsigned bits = 0, have = 0;
    for (size_t i = 0, n = 0; i < RANDOM_DIGITS; i++) {
        const char *at = text[i] == '\0' ? NULL : strchr(digits, text[i]);
        if (at == NULL)
            return -EINVAL;
        bits = bits << 5 | (unsigned)(at - digits);
        have += 5;
        if (have >= 8 && n < RANDOM_BYTES) {
            have -= 8;
            ret[n++] = (uint8_t)(bits >> have);
        }
    }
    return (bits & ((1u << have) - 1)) == 0 ? 0 : -EINVAL; /* one id has one text */
}

size_t client_format_id(const struct client *c, const struct server_view *server, char *out)
{
    char random[RANDOM_DIGITS + 1];
    put_random(random, c->random);
    return (size_t)snprintf(out, CLIENT_ID_BYTES + 1, "%s.%u.%s", server->node, (unsigned)c->reactor, random);
}

/* A part of letters and digits, up to a dot or the end. */
static struct slice next_part(struct slice *text)
{
    struct slice part = { text->ptr, 0 };
    while (part.len < text->len && ((text->ptr[part.len] >= '0' && text->ptr[part.len] <= '9') ||
                                    (text->ptr[part.len] >= 'a' && text->ptr[part.len] <= 'z')))
        part.len++;
    bool is_dot = part.len < text->len && text->ptr[part.len] == '.';
    text->ptr += part.len + is_dot;
    text->len -= part.len + is_dot;
    return part;
}

int client_parse_id(struct slice text, const struct server_view *server, struct client *ret)
{
    struct client c = { 0 };
    size_t len = text.len;
    if (len == 0 || len > CLIENT_ID_BYTES)
        return -EINVAL;
    struct slice node = next_part(&text), reactor = next_part(&text), random = next_part(&text);
    if (node.len != NODE_BYTES || reactor.len < 1 || reactor.len > 2 || random.len != RANDOM_DIGITS ||
        len != node.len + 1 + reactor.len + 1 + random.len)
        return -EINVAL;
    unsigned index = 0;
    for (size_t i = 0; i < reactor.len; i++) {
        unsigned digit = (unsigned)(reactor.ptr[i] - '0');
        if (digit > 9)
            return -EINVAL;
        index = index * 10 + digit;
    }
    if ((reactor.len == 2 && reactor.ptr[0] == '0') || get_random(random.ptr, c.random) < 0)
        return -EINVAL;
    if (!slice_equals(node, server->node) || index >= server->reactor_count)
        return -ENOENT;
    c.reactor = (uint8_t)index;
    *ret = c;
    return 0;
}

/* ---- its name */

uint64_t client_name(const struct client *c)
{
    uint64_t hash = hash_bytes(c->random, sizeof c->random); /* with a key that is the process' own */
    return hash != 0 ? hash : 1;
}

void client_format_name(uint64_t name, char out[CLIENT_NAME_BYTES + 1])
{
    snprintf(out, CLIENT_NAME_BYTES + 1, "%016" PRIx64, name);
}

static int parse_name(struct slice text, uint64_t *ret)
{
    static const char hex[] = "0123456789abcdef";
    uint64_t name = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *at = text.ptr[i] == '\0' ? NULL : strchr(hex, text.ptr[i]);
        if (at == NULL)
            return -EINVAL;
        name = name << 4 | (uint64_t)(at - hex);
    }
    *ret = name;
    return name == 0 ? -ENOENT : 0;
}

int client_find_name(struct slice text, const struct server_view *server, struct client_place *ret)
{
    struct client c;
    ret->reactor = CLIENT_ANYWHERE;
    if (text.len == CLIENT_NAME_BYTES)
        return parse_name(text, &ret->name);
    int r = client_parse_id(text, server, &c);
    if (r < 0)
        return r;
    *ret = (struct client_place){ client_name(&c), c.reactor };
    return 0;
}

/* ---- who it is */

void client_done(struct client *c)
{
    c->token = token_unref(c->token);
}

void client_set_token(struct client *c, struct token *token)
{
    struct token *before = c->token;
    c->token = token == NULL ? NULL : token_ref(token);
    token_unref(before);
}

uint64_t client_expires_in_ms(const struct client *c, uint64_t wall_ms)
{
    return token_expires_in_ms(c->token, wall_ms);
}

const struct rule_client *client_rights_of(const struct token *token, enum rule_action action)
{
    static const struct rule_client anyone = { 0 }; /* who has no token */
    return token == NULL ? &anyone : &token->rights[action];
}

const struct rule_client *client_rights(const struct client *c, enum rule_action action)
{
    return client_rights_of(c->token, action);
}
