/* The parser keeps no bytes, only where things are: it is called again with the same bytes and more, at another address
 * perhaps, so it remembers offsets from the command's first byte and makes slices when the command is complete. Texts of
 * errors are those of Redis where it has one, since clients and people know them. Where Redis looks away (a bulk or a
 * length that CRLF does not follow), this is an error: the two sides have lost each other. */
#include "proto/resp.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_LINE_MAX 32 /* bytes of a line that holds a count or a length */
#define KEEP_ARGS 64       /* room for so many arguments is kept between commands */

static int fail(struct resp_parser *p, const char *what)
{
    snprintf(p->error, sizeof(p->error), "Protocol error: %s", what);
    return -EPROTO;
}

/* ---- counts and lengths */

/* Decimal digits as Redis takes them: no sign, no white space, no zero in front. */
static bool parse_digits(const uint8_t *s, size_t len, uint32_t max, int64_t *ret_n)
{
    uint64_t n = 0;
    if (len == 0 || (len > 1 && s[0] == '0'))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(s[i] - '0');
        if (n > max)
            return false;
    }
    *ret_n = (int64_t)n;
    return true;
}

/* Find the end of the line of at most LENGTH_LINE_MAX bytes that begins at `start`. Returns 1 with *ret_cr, 0, or -EPROTO. */
static int find_line_end(struct resp_parser *p, const uint8_t *data, size_t len, size_t start, const char *too_big,
                         size_t *ret_cr)
{
    size_t have = len - start, window = have < LENGTH_LINE_MAX ? have : LENGTH_LINE_MAX;
    const uint8_t *cr = memchr(data + start, '\r', window);
    if (cr == NULL)
        return window < LENGTH_LINE_MAX ? 0 : fail(p, too_big);
    *ret_cr = (size_t)(cr - data);
    return *ret_cr + 1 < len;
}

static int parse_count(struct resp_parser *p, const uint8_t *data, size_t len)
{
    size_t cr = 0;
    int64_t n = 0;
    int r = find_line_end(p, data, len, 0, "too big mbulk count string", &cr);
    if (r <= 0)
        return r;
    bool is_null = cr == 3 && memcmp(data, "*-1", 3) == 0; /* an empty command, like *0 */
    if (data[cr + 1] != '\n' || (!is_null && !parse_digits(data + 1, cr - 1, p->limits.max_args, &n)))
        return fail(p, "invalid multibulk length");
    p->in_command = true;
    p->argc = (uint32_t)n;
    p->scanned = cr + 2;
    return 1;
}

static int fail_expected_bulk(struct resp_parser *p, uint8_t got)
{
    char text[32];
    bool printable = got >= ' ' && got < 0x7f;
    snprintf(text, sizeof(text), printable ? "expected '$', got '%c'" : "expected '$', got '\\x%02x'", got);
    return fail(p, text);
}

/* Does the command stay within max_bytes if it has this many at least? Offsets are 32 bits wide, whatever the limit. */
static bool fits(const struct resp_parser *p, uint64_t bytes)
{
    return bytes <= p->limits.max_bytes && bytes <= UINT32_MAX;
}

static int parse_bulk_header(struct resp_parser *p, const uint8_t *data, size_t len)
{
    size_t cr = 0;
    int64_t n = 0;
    if (p->scanned == len)
        return 0;
    if (data[p->scanned] != '$')
        return fail_expected_bulk(p, data[p->scanned]);
    int r = find_line_end(p, data, len, p->scanned, "too big bulk count string", &cr);
    if (r <= 0)
        return r;
    if (data[cr + 1] != '\n' || !parse_digits(data + p->scanned + 1, cr - p->scanned - 1, p->limits.max_bulk, &n))
        return fail(p, "invalid bulk length");
    if (!fits(p, cr + 2 + (uint64_t)n + 2))
        return fail(p, "too big request");
    p->scanned = cr + 2;
    p->bulk_len = n;
    return 1;
}

/* ---- arrays */

static int reserve_parts(struct resp_parser *p)
{
    if (p->have < p->parts_cap)
        return 0;
    uint32_t cap = p->parts_cap == 0 ? 8 : p->parts_cap * 2;
    if (cap > p->argc)
        cap = p->argc;
    void *parts = realloc(p->parts, cap * sizeof(*p->parts));
    if (parts == NULL)
        return -ENOMEM;
    p->parts = parts;
    p->parts_cap = cap;
    return 0;
}

static int parse_element(struct resp_parser *p, const uint8_t *data, size_t len)
{
    int r = p->bulk_len < 0 ? parse_bulk_header(p, data, len) : 1;
    if (r <= 0)
        return r;
    size_t end = p->scanned + (size_t)p->bulk_len;
    if (len < end + 2)
        return 0;
    if (data[end] != '\r' || data[end + 1] != '\n')
        return fail(p, "expected CRLF after a bulk");
    if (reserve_parts(p) < 0)
        return -ENOMEM;
    p->parts[p->have].off = (uint32_t)p->scanned;
    p->parts[p->have].len = (uint32_t)p->bulk_len;
    p->have++;
    p->scanned = end + 2;
    p->bulk_len = -1;
    return 1;
}

static int reserve_argv(struct resp_parser *p, uint32_t n)
{
    if (n <= p->argv_cap)
        return 0;
    uint32_t cap = p->argv_cap == 0 ? 8 : p->argv_cap * 2;
    if (cap < n)
        cap = n;
    void *argv = realloc(p->argv, cap * sizeof(*p->argv));
    if (argv == NULL)
        return -ENOMEM;
    p->argv = argv;
    p->argv_cap = cap;
    return 0;
}

static void forget_command(struct resp_parser *p)
{
    p->in_command = false;
    p->scanned = 0;
    p->argc = 0;
    p->have = 0;
    p->bulk_len = -1;
}

static int parse_array(struct resp_parser *p, const uint8_t *data, size_t len, size_t *ret_used,
                       struct resp_command *ret_command)
{
    int r = p->in_command ? 1 : parse_count(p, data, len);
    while (r > 0 && p->have < p->argc)
        r = parse_element(p, data, len);
    if (r <= 0)
        return r;
    if (reserve_argv(p, p->argc) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < p->argc; i++)
        p->argv[i] = (struct slice){ (const char *)data + p->parts[i].off, p->parts[i].len };
    *ret_command = (struct resp_command){ p->argv, p->argc };
    *ret_used = p->scanned;
    forget_command(p);
    return 1;
}

/* ---- inline commands */

static bool is_space(uint8_t c) /* isspace() in the C locale */
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool ends_word(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int hex_value(uint8_t c) /* or -1 */
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t unescape(uint8_t c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* Undo the escape that `at`, a backslash in double quotes, begins: \xHH, \n and so on. Returns its bytes. */
static size_t take_escape(const uint8_t *at, const uint8_t *end, uint8_t *ret_byte)
{
    if (end - at >= 4 && at[1] == 'x' && hex_value(at[2]) >= 0 && hex_value(at[3]) >= 0) {
        *ret_byte = (uint8_t)(hex_value(at[2]) << 4 | hex_value(at[3]));
        return 4;
    }
    *ret_byte = end - at >= 2 ? unescape(at[1]) : '\\';
    return end - at >= 2 ? 2 : 1;
}

/* Copy what stands in quotes from *at, just after the opening one, until after the closing one, which must end the
 * argument. Returns false if the quotes are not balanced. */
static bool take_quoted(const uint8_t **at, const uint8_t *end, uint8_t quote, uint8_t **out)
{
    while (*at < end && **at != quote) {
        if (quote == '"' && **at == '\\') {
            *at += take_escape(*at, end, (*out)++);
        } else if (quote == '\'' && **at == '\\' && *at + 1 < end && (*at)[1] == '\'') {
            *(*out)++ = '\'';
            *at += 2;
        } else {
            *(*out)++ = *(*at)++;
        }
    }
    if (*at == end)
        return false;
    ++*at;
    return *at == end || is_space(**at);
}

/* Copy the argument that begins at *at to *out; never longer than what it was. Returns false for unbalanced quotes. */
static bool take_argument(const uint8_t **at, const uint8_t *end, uint8_t **out)
{
    while (*at < end && !ends_word(**at)) {
        uint8_t c = *(*at)++;
        if (c == '"' || c == '\'')
            return take_quoted(at, end, c, out);
        *(*out)++ = c;
    }
    return true;
}

static int split_inline(struct resp_parser *p, const uint8_t *line, size_t len)
{
    const uint8_t *at = line, *end = line + len;
    buf_reset(&p->text);
    uint8_t *out = buf_reserve(&p->text, len);
    if (out == NULL)
        return -ENOMEM;
    for (;;) {
        while (at < end && is_space(*at))
            at++;
        if (at == end)
            return 1;
        if (p->argc == p->limits.max_args)
            return fail(p, "too many arguments");
        if (reserve_argv(p, p->argc + 1) < 0)
            return -ENOMEM;
        uint8_t *start = out;
        if (!take_argument(&at, end, &out))
            return fail(p, "unbalanced quotes in request");
        if ((size_t)(out - start) > p->limits.max_bulk)
            return fail(p, "invalid bulk length");
        p->argv[p->argc++] = (struct slice){ (const char *)start, (size_t)(out - start) };
    }
}

/* The line's bytes without its end. Returns 1, 0 or -EPROTO; every split of the input gets the same. */
static int find_inline(struct resp_parser *p, const uint8_t *data, size_t len, size_t *ret_lf, size_t *ret_len)
{
    uint64_t max = p->limits.max_inline;
    if (max > p->limits.max_bytes)
        max = p->limits.max_bytes;
    const uint8_t *lf = memchr(data + p->scanned, '\n', len - p->scanned);
    p->scanned = len;
    if (lf == NULL)
        return len <= max + 1 ? 0 : fail(p, "too big inline request"); /* + 1: this may be the CR */
    *ret_lf = (size_t)(lf - data);
    *ret_len = *ret_lf > 0 && lf[-1] == '\r' ? *ret_lf - 1 : *ret_lf;
    return *ret_len <= max ? 1 : fail(p, "too big inline request");
}

static int parse_inline(struct resp_parser *p, const uint8_t *data, size_t len, size_t *ret_used,
                        struct resp_command *ret_command)
{
    size_t lf = 0, line_len = 0;
    int r = find_inline(p, data, len, &lf, &line_len);
    if (r <= 0)
        return r;
    if (memchr(data, '\0', line_len) != NULL)
        return fail(p, "NUL byte in inline request");
    r = split_inline(p, data, line_len);
    if (r > 0) {
        *ret_command = (struct resp_command){ p->argv, p->argc };
        *ret_used = lf + 1;
    }
    forget_command(p); /* out of memory, too: the same bytes may be tried again */
    return r;
}

/* ---- the parser */

void resp_parser_init(struct resp_parser *p, const struct resp_limits *limits)
{
    *p = (struct resp_parser){ .limits = *limits };
    forget_command(p);
}

void resp_parser_done(struct resp_parser *p)
{
    free(p->parts);
    free(p->argv);
    buf_done(&p->text);
    p->parts = NULL;
    p->argv = NULL;
    p->parts_cap = p->argv_cap = 0;
    forget_command(p);
}

static void give_back_memory(struct resp_parser *p)
{
    if (p->parts_cap > KEEP_ARGS || p->argv_cap > KEEP_ARGS)
        resp_parser_done(p);
    buf_done(&p->text);
}

int resp_parse(struct resp_parser *p, const uint8_t *data, size_t len, size_t *ret_used,
               struct resp_command *ret_command)
{
    if (p->error[0] != '\0')
        return -EPROTO;
    if (!p->in_command && p->scanned == 0)
        give_back_memory(p);
    if (len == 0)
        return 0;
    if (data[0] == '*')
        return parse_array(p, data, len, ret_used, ret_command);
    return parse_inline(p, data, len, ret_used, ret_command);
}

const char *resp_parser_error(const struct resp_parser *p)
{
    return p->error;
}

size_t resp_parser_missing(const struct resp_parser *p, size_t have)
{
    if (p->bulk_len < 0)
        return 0;
    size_t need = p->scanned + (size_t)p->bulk_len + 2;
    return need > have ? need - have : 0;
}

/* ---- replies */

size_t resp_put_header(uint8_t *out, char type, uint64_t n)
{
    char digits[20];
    size_t len = 0, used = 0;
    do {
        digits[len++] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    out[used++] = (uint8_t)type;
    while (len > 0)
        out[used++] = (uint8_t)digits[--len];
    out[used++] = '\r';
    out[used++] = '\n';
    return used;
}

static void write_header(struct buf *out, char type, uint64_t n)
{
    uint8_t *to = buf_reserve(out, 24);
    if (to != NULL)
        out->len += resp_put_header(to, type, n);
}

static void write_line(struct buf *out, char type, const char *text)
{
    size_t len = strlen(text);
    uint8_t *to = buf_reserve(out, len + 3);
    if (to == NULL)
        return;
    *to++ = (uint8_t)type;
    for (size_t i = 0; i < len; i++)
        *to++ = text[i] == '\r' || text[i] == '\n' ? ' ' : (uint8_t)text[i];
    *to++ = '\r';
    *to = '\n';
    out->len += len + 3;
}

void resp_write_simple(struct buf *out, const char *text)
{
    write_line(out, '+', text);
}

void resp_write_error(struct buf *out, const char *text)
{
    write_line(out, '-', text);
}

void resp_write_int(struct buf *out, int64_t value)
{
    if (value < 0)
        buf_printf(out, ":%" PRId64 "\r\n", value);
    else
        write_header(out, ':', (uint64_t)value);
}

void resp_write_bulk(struct buf *out, const void *bytes, size_t len)
{
    write_header(out, '$', len);
    buf_append(out, bytes, len);
    buf_append(out, "\r\n", 2);
}

void resp_write_str(struct buf *out, const char *text)
{
    resp_write_bulk(out, text, strlen(text));
}

void resp_write_null(struct buf *out, int proto)
{
    buf_str(out, proto == 3 ? "_\r\n" : "$-1\r\n");
}

void resp_write_null_array(struct buf *out, int proto)
{
    buf_str(out, proto == 3 ? "_\r\n" : "*-1\r\n");
}

void resp_write_array(struct buf *out, size_t elements)
{
    write_header(out, '*', elements);
}

void resp_write_map(struct buf *out, int proto, size_t pairs)
{
    if (proto == 3)
        write_header(out, '%', pairs);
    else
        write_header(out, '*', pairs * 2);
}

void resp_write_push(struct buf *out, int proto, size_t elements)
{
    write_header(out, proto == 3 ? '>' : '*', elements);
}

void resp_write_verbatim(struct buf *out, int proto, const char *text, size_t len)
{
    if (proto != 3) {
        resp_write_bulk(out, text, len);
        return;
    }
    write_header(out, '=', len + 4);
    buf_append(out, "txt:", 4);
    buf_append(out, text, len);
    buf_append(out, "\r\n", 2);
}
