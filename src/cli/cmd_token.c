/* halley token: make a token for a client, or look into one. It needs a key, and no server.
 *
 * The token goes to stdout alone, so that $(halley token ...) is one. Neither a key nor a token is ever part of a message. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "auth/jwt.h"
#include "auth/jwt_make.h"
#include "auth/jwt_text.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/slice.h"
#include "cli/cli.h"
#include "cli/terminal.h"
#include "core/topic_name.h"

#define EXPIRES_DEFAULT "1h"
#define EXPIRES_MAX_S (UINT64_C(100) * 365 * 86400)

static void say_warnings(const struct cli *cli, const struct jwt_report *report)
{
    for (size_t i = 0; !cli->quiet && i < report->warning_count; i++)
        cli_error("%s", report->warnings[i]);
}

/* The key's place, and how it is to be used; path NULL if it was not given. */
static struct jwt_key_file key_file(const struct cli *cli)
{
    return (struct jwt_key_file){ .path = cli->server.key_file, .kid = cli->token.kid, .alg = cli->token.alg };
}

/* ---- making one */

/* "90s", "15m", "1h", "30d"; "never" is 0. */
static bool parse_expires(const char *text, uint64_t *ret_s)
{
    static const struct {
        const char *unit;
        uint64_t s;
    } units[] = { { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 } };
    char *end;
    *ret_s = 0;
    if (strcmp(text, "never") == 0)
        return true;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    for (size_t i = 0; i < HLY_ARRAY_LEN(units); i++)
        if (strcmp(end, units[i].unit) == 0 && text[0] >= '0' && text[0] <= '9' && errno == 0 && n > 0 &&
            n <= EXPIRES_MAX_S / units[i].s) {
            *ret_s = n * units[i].s;
            return true;
        }
    return false;
}

static bool are_patterns(const char *option, const struct cli_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const char *why = pattern_error(list->items[i], strlen(list->items[i]));
        if (why != NULL) {
            cli_error("--%s '%s': %s", option, list->items[i], why);
            return false;
        }
    }
    return true;
}

static struct jwt_names names_of(const struct cli_list *list)
{
    return (struct jwt_names){ list->items, list->count };
}

/* A name that nobody else has, by which the token can be revoked. */
static bool new_id(char *out, size_t out_size)
{
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    base64url_encode((struct slice){ (const char *)bytes, sizeof bytes }, &text);
    snprintf(out, out_size, "%.*s", (int)text.len, text.data != NULL ? (const char *)text.data : "");
    return !text.failed;
}

static enum cli_exit sign(const struct cli *cli, uint64_t lifetime_s)
{
    struct jwt_report report;
    struct jwt_key_file key = key_file(cli);
    const struct cli_token *o = &cli->token;
    int64_t now_s = (int64_t)(clock_wall_ms() / 1000);
    char id[32], lifetime[64], *token = NULL;
    if (!new_id(id, sizeof id)) {
        cli_error("there are no random numbers for the token's id");
        return CLI_REFUSED;
    }
    struct jwt_claims claims = {
        .subject = o->subject,
        .id = id,
        .issuer = o->issuer,
        .audiences = names_of(&o->audiences),
        .issued_s = now_s,
        .expires_s = lifetime_s > 0 ? now_s + (int64_t)lifetime_s : 0,
        .subscribe = names_of(&o->subscribe),
        .publish = names_of(&o->publish),
        .auto_names = names_of(&o->auto_names),
        .info = o->info,
    };
    int r = jwt_make(&key, &claims, &token, &report);
    if (r < 0) {
        cli_error("%s", report.error);
        return CLI_REFUSED;
    }
    say_warnings(cli, &report);
    puts(token);
    free(token);
    if (lifetime_s > 0)
        cli_note(cli, "it expires in %s", terminal_duration(lifetime_s, lifetime, sizeof lifetime));
    else
        cli_note(cli, "it never expires");
    return CLI_DONE;
}

static enum cli_exit make(const struct cli *cli)
{
    const struct cli_token *o = &cli->token;
    uint64_t lifetime_s;
    if (cli->server.key_file == NULL) {
        cli_error("token needs the key to sign with: --key-file FILE, an HMAC secret or a private key in PEM");
        return CLI_USAGE;
    }
    if (!parse_expires(o->expires != NULL ? o->expires : EXPIRES_DEFAULT, &lifetime_s)) {
        cli_error("--expires takes a time such as 90s, 15m, 1h or 30d, or the word never, not '%s'", o->expires);
        return CLI_USAGE;
    }
    if (!are_patterns("subscribe", &o->subscribe) || !are_patterns("publish", &o->publish) ||
        !are_patterns("auto", &o->auto_names))
        return CLI_USAGE;
    return sign(cli, lifetime_s);
}

/* ---- looking into one */

struct view {
    json_t *header;
    json_t *claims;
    bool is_checked;
    enum jwt_error verdict; /* if it is */
};

/* The token that --show names, or one line of stdin. */
static bool read_token(const char *show, struct buf *out)
{
    if (strcmp(show, "-") != 0) {
        buf_str(out, show);
        return !out->failed;
    }
    uint8_t *to = buf_reserve(out, JWT_MAX_BYTES + 3); /* one more than fits, with its line's end */
    if (to == NULL)
        return false;
    out->len = fread(to, 1, JWT_MAX_BYTES + 3, stdin);
    if (ferror(stdin))
        return false;
    while (out->len > 0 && (out->data[out->len - 1] == '\n' || out->data[out->len - 1] == '\r'))
        out->len--;
    return true;
}

static json_t *decode(struct slice part)
{
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    base64url_decode(part, &text);
    return text.failed ? NULL : jwt_json_object(buf_slice(&text));
}

static enum jwt_error look(struct slice token, struct view *v)
{
    struct jwt_parts parts;
    if (token.len > JWT_MAX_BYTES)
        return JWT_TOO_LONG;
    if (!jwt_split(token, &parts))
        return JWT_MALFORMED;
    v->header = decode(parts.header);
    v->claims = decode(parts.payload);
    if (v->header == NULL)
        return JWT_HEADER;
    return v->claims != NULL ? JWT_OK : JWT_PAYLOAD;
}

/* Whom it may be for: what --aud says, else whomever it says itself. */
static size_t audiences_of(const struct cli *cli, const json_t *aud, const char **out, size_t most)
{
    size_t count = 0, i;
    const json_t *one;
    for (; count < cli->token.audiences.count && count < most; count++)
        out[count] = cli->token.audiences.items[count];
    if (count > 0)
        return count;
    if (json_is_string(aud))
        out[count++] = json_string_value(aud);
    json_array_foreach(aud, i, one)
    {
        if (json_is_string(one) && count < most)
            out[count++] = json_string_value(one);
    }
    return count;
}

static enum cli_exit check(const struct cli *cli, struct slice text, struct view *v)
{
    const char *audiences[CLI_LIST_MAX];
    struct jwt_report report;
    struct jwt_key_file key = key_file(cli);
    struct jwt_config config = { .keys = &key, .key_count = 1, .audiences = audiences };
    struct jwt *j = NULL;
    struct token *token = NULL;
    config.issuers = &cli->token.issuer;
    config.issuer_count = cli->token.issuer != NULL ? 1 : 0;
    config.audience_count = audiences_of(cli, json_object_get(v->claims, "aud"), audiences, HLY_ARRAY_LEN(audiences));
    if (jwt_new(&config, &j, &report) < 0) {
        cli_error("%s", report.error);
        return CLI_REFUSED;
    }
    say_warnings(cli, &report);
    v->is_checked = true;
    v->verdict = jwt_verify(j, text, clock_wall_ms(), &token);
    token_unref(token);
    jwt_unref(j);
    return CLI_DONE;
}

/* ": 2026-11-22 10:00:00 UTC, 59 m ago" for the claims that are times. */
static void print_time(const char *name, const json_t *value)
{
    static const char *const times[] = { "exp", "nbf", "iat" };
    bool is_time = false;
    for (size_t i = 0; i < HLY_ARRAY_LEN(times); i++)
        is_time |= strcmp(name, times[i]) == 0;
    double s = json_number_value(value);
    if (!is_time || !json_is_number(value) || s < 0 || s > 253402300799.0)
        return;
    time_t at = (time_t)s, now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;
    char date[32], distance[64];
    strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", gmtime_r(&at, &tm));
    terminal_duration((uint64_t)(at > now ? at - now : now - at), distance, sizeof distance);
    printf("  %s%s UTC, %s%s%s%s", terminal_style(stdout, TERMINAL_DIM), date, at > now ? "in " : "", distance,
           at > now ? "" : " ago", terminal_style(stdout, TERMINAL_PLAIN));
}

static void print_members(const json_t *object, const char *prefix)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        if (text != NULL && prefix[0] == '\0' && strcmp(name, "halley") == 0 && json_is_object(value)) {
            print_members(value, "halley.");
        } else if (text != NULL) {
            printf("  %s%s", terminal_style(stdout, TERMINAL_NAME), prefix);
            terminal_write(stdout, name, strlen(name));
            printf("%s ", terminal_style(stdout, TERMINAL_PLAIN));
            terminal_write(stdout, text, strlen(text));
            print_time(name, value);
            putchar('\n');
        }
        free(text);
    }
}

static void print_title(const char *title)
{
    printf("%s%s%s\n", terminal_style(stdout, TERMINAL_BOLD), title, terminal_style(stdout, TERMINAL_PLAIN));
}

static void print_text(const struct view *v)
{
    print_title("header");
    print_members(v->header, "");
    print_title("claims");
    print_members(v->claims, "");
    print_title("check");
    printf("  %s\n", v->is_checked ? jwt_error_text(v->verdict) : "none was made: --key-file names the key for it");
}

static void print_json(const struct view *v)
{
    json_t *o = json_pack("{s:O, s:O, s:o, s:s*}", "header", v->header, "claims", v->claims, "valid",
                          v->is_checked ? json_boolean(v->verdict == JWT_OK) : json_null(), "error",
                          v->is_checked && v->verdict != JWT_OK ? jwt_error_name(v->verdict) : NULL);
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
}

static enum cli_exit show_token(const struct cli *cli, struct slice text, struct view *v)
{
    enum jwt_error e = look(text, v);
    if (e != JWT_OK) {
        cli_error("%s. %s", jwt_error_text(e), jwt_error_operator(e));
        return CLI_REFUSED;
    }
    if (cli->server.key_file != NULL && check(cli, text, v) != CLI_DONE)
        return CLI_REFUSED;
    if (cli->json)
        print_json(v);
    else
        print_text(v);
    if (!v->is_checked || v->verdict == JWT_OK)
        return CLI_DONE;
    cli_error("%s. %s", jwt_error_text(v->verdict), jwt_error_operator(v->verdict));
    return CLI_REFUSED;
}

static enum cli_exit show(const struct cli *cli)
{
    HLY_CLEANUP(buf_done) struct buf text = { 0 };
    struct view v = { 0 };
    const struct cli_token *o = &cli->token;
    if (o->subject != NULL || o->info != NULL || o->expires != NULL ||
        o->subscribe.count + o->publish.count + o->auto_names.count > 0) {
        cli_error("--show looks into a token and makes none: leave out what one is made of, such as --sub");
        return CLI_USAGE;
    }
    if (!read_token(o->show, &text)) {
        cli_error("cannot read the token from standard input");
        return CLI_REFUSED;
    }
    enum cli_exit e = show_token(cli, buf_slice(&text), &v);
    json_decref(v.header);
    json_decref(v.claims);
    return e;
}

/* ---- the command */

static enum cli_exit run(const struct cli *cli)
{
    if (cli->token.show != NULL)
        return show(cli);
    if (cli->json) {
        cli_error("token takes --json with --show only: what it makes is one word");
        return CLI_USAGE;
    }
    return make(cli);
}

const struct cli_command cmd_token = {
    .name = "token",
    .args = "--key-file FILE",
    .summary = "make a token for a client, or look into one",
    .help = "Makes a token (JWT) with the key in FILE, for a client to connect with, and\n"
            "prints it. With --show it prints what is in a token instead, and with a key\n"
            "whether it would be accepted. No server is asked.\n"
            "\n"
            "The key:\n"
            "      --key-file FILE      an HMAC secret of 32 bytes or more, a private key (RSA\n"
            "                           or EC) in PEM, or a JWK Set. To check, public ones do\n"
            "      --alg NAME           HS256, RS256, PS256, ES256, or with 384 or 512; without\n"
            "                           it HS256, RS256, or the ES of the curve\n"
            "      --kid ID             the name of the key, which the token then bears\n"
            "\n"
            "What it grants:\n"
            "      --sub SUBJECT        who the client is\n"
            "      --subscribe PATTERN  what it may subscribe to, beside what rules allow to\n"
            "                           all. This and the next two can be given repeatedly\n"
            "      --publish PATTERN    what it may publish to\n"
            "      --auto TOPIC         what it is subscribed to as soon as it connects\n"
            "      --info JSON          an object that others see with its presence\n"
            "      --expires TIME       after 90s, 15m, 1h (the default), 30d, or never\n"
            "      --iss ISSUER, --aud AUDIENCE\n"
            "                           who made it, and for whom; the latter repeatedly\n"
            "\n"
            "Looking into one:\n"
            "      --show TOKEN         print header and claims; '-' reads it from standard\n"
            "                           input, where no other user of the machine sees it\n"
            "      --json               as one JSON object\n"
            "\n"
            "Examples:\n"
            "  openssl rand -base64 48 > jwt.key; chmod 0640 jwt.key\n"
            "  halley token --key-file jwt.key --sub ada --subscribe 'chat/**'\n"
            "  halley token --key-file jwt.key --show - < token\n",
    .options = "jqvaiubptfeIdw",
    .is_local = true,
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
