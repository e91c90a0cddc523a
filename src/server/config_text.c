/* Reading the file, and a first look at its bytes.
 *
 * libconfuse 3.3 takes much without a word that nobody can have meant: a brace, string or comment that never ends; a
 * stray `*` or `+`, so that an unquoted `chat/` with two stars is a rule for "chat/"; ${VAR} from the environment;
 * "\x00", which cuts a string short. It counts each comment as a line too many, so its line numbers drift. And when
 * a read fails (of a directory, say) its lexer ends the process. So Halley reads the file itself, this scanner
 * refuses all of that with the line where it begins, and comments become spaces. What is left are words, strings on
 * one line, and balanced braces. */
#include "server/config_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/fd.h"

#define DEPTH_MAX 8 /* the deepest that means anything is 2: a list in a section */

static int text_read_fd(int fd, const char *path, struct buf *out, struct config_why *why)
{
    for (;;) {
        uint8_t *to = buf_reserve(out, 16384);
        if (to == NULL)
            return config_because(why, "%s: out of memory.", path);
        ssize_t n = read(fd, to, 16384);
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return config_because(why, "%s: cannot be read: %s.", path, strerror(errno));
        out->len += (size_t)n;
        if (out->len > CONFIG_MAX_TEXT)
            return config_because(why, "%s: is larger than %d bytes. It cannot be a configuration file.", path,
                                  CONFIG_MAX_TEXT);
    }
}

int config_text_read(const char *path, struct buf *out, struct config_why *why)
{
    HLY_CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return config_because(why, "%s: cannot be opened: %s. Name the file with --config.", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return config_because(why, "%s: is a directory. Name the file in it, as in %s/halley.conf.", path, path);
    return text_read_fd(fd, path, out, why);
}

enum token { TOKEN_NONE, TOKEN_WORD, TOKEN_STRING, TOKEN_MARK };

struct scan {
    struct config_loader *l; /* l->at.line is the line of pos */
    char *text;
    size_t len;
    size_t pos;
    enum token last; /* the token before pos, which began at last_at and has last_len bytes */
    size_t last_at;
    size_t last_len;
    size_t depth;
    unsigned open_line[DEPTH_MAX];
};

static char scan_at(const struct scan *s, size_t ahead) /* '\0' beyond the end */
{
    return s->pos + ahead < s->len ? s->text[s->pos + ahead] : '\0';
}

static bool is_word_byte(char c)
{
    return (unsigned char)c > 0x20 && c != 0x7f && strchr("{}()=,+*\"'#", c) == NULL;
}

static void scan_token(struct scan *s, enum token token, size_t len)
{
    s->last = token;
    s->last_at = s->pos;
    s->last_len = len;
    s->pos += len;
}

/* To the end of the line. */
static void scan_line_comment(struct scan *s)
{
    while (s->pos < s->len && s->text[s->pos] != '\n')
        s->text[s->pos++] = ' ';
}

static int scan_block_comment(struct scan *s)
{
    char *end = memmem(s->text + s->pos + 2, s->len - s->pos - 2, "*/", 2);
    if (end == NULL)
        return config_fail(s->l, "A comment begins here with /* and never ends. Close it with */.");
    for (char *p = s->text + s->pos; p < end + 2; p++) {
        if (*p == '\n')
            s->l->at.line++;
        else
            *p = ' ';
    }
    s->pos = (size_t)(end + 2 - s->text);
    return 0;
}

/* Within "..." a backslash may stand before '"', '\' and '$', within '...' before '\'' and '\'; anything else that
 * libconfuse would make of it (\n, \0, \x00) has no place in a setting. Returns the bytes that are skipped over, or
 * 0. */
static size_t escape_length(char quote, char next)
{
    if (next == quote || next == '\\' || (quote == '"' && next == '$'))
        return 2;
    return quote == '\'' && next != '\0' && next != '\n' ? 1 : 0;
}

#define CREDENTIALS "CREDENTIALS_DIRECTORY"

/* libconfuse fills in variables. One of them is welcome: where systemd puts what LoadCredential= names, as nobody can know that when the file is written. */
static int scan_variable(struct scan *s, size_t i)
{
    size_t len = sizeof "${" CREDENTIALS "}" - 1;
    if (s->pos + i + len > s->len || memcmp(s->text + s->pos + i, "${" CREDENTIALS "}", len) != 0)
        return config_fail(s->l, "Variables such as ${NAME} are not filled in, but for ${" CREDENTIALS "}. Write the value, or \\${ for the text.");
    if (getenv(CREDENTIALS) == NULL)
        return config_fail(s->l, CREDENTIALS " is not set. systemd sets it for a unit with LoadCredential=; elsewhere, write the directory.");
    return 0;
}

static int scan_string(struct scan *s)
{
    char quote = s->text[s->pos];
    size_t i = 1;
    for (char c; (c = scan_at(s, i)) != quote;) {
        if (s->pos + i >= s->len || c == '\n')
            return config_fail(s->l, "A string begins here and does not end on this line. Close it with %c.", quote);
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return config_fail(s->l, "A string contains the byte 0x%02x. Control characters have no meaning here.",
                               (unsigned)(unsigned char)c);
        if (quote == '"' && c == '$' && scan_at(s, i + 1) == '{' && scan_variable(s, i) < 0)
            return -1;
        size_t skip = c == '\\' ? escape_length(quote, scan_at(s, i + 1)) : 1;
        if (skip == 0)
            return config_fail(s->l,
                               "A backslash in a string may only stand before a quote or a backslash. Write \\\\ for "
                               "one.");
        i += skip;
        if (i > CONFIG_MAX_TOKEN)
            return config_fail(s->l, "A string is longer than %d bytes. Nothing here takes so much.", CONFIG_MAX_TOKEN);
    }
    scan_token(s, TOKEN_STRING, i + 1);
    return 0;
}

/* `text` from pos on, for a message. */
static const char *scan_excerpt(const struct scan *s, size_t len, struct config_quoted *q)
{
    char word[64];
    len = len < sizeof word - 1 ? len : sizeof word - 1;
    memcpy(word, s->text + s->pos, len);
    word[len] = '\0';
    return config_quote(q, word);
}

static int scan_word(struct scan *s)
{
    struct config_quoted q;
    size_t i = 0;
    while (is_word_byte(scan_at(s, i))) {
        char c = scan_at(s, i), next = scan_at(s, i + 1);
        i++;
        if (c == ';')
            return config_fail(s->l, "There is no ';' in this file. Leave it out.");
        if (c == '$' && next == '{')
            return config_fail(s->l, "Variables such as ${NAME} are not filled in. Write the value itself.");
        if (c == '/' && !is_word_byte(next) && next != '*')
            return config_fail(s->l, "'%s' ends with a slash. Put it in quotes.", scan_excerpt(s, i, &q));
        if (c == '/' && (next == '/' || next == '*'))
            return config_fail(s->l, "'%s' would begin a comment here. Put the value in quotes.",
                               scan_excerpt(s, i + 1, &q));
        if (i > CONFIG_MAX_TOKEN)
            return config_fail(s->l, "A word is longer than %d bytes. Nothing here takes so much.", CONFIG_MAX_TOKEN);
    }
    char stop = scan_at(s, i);
    if (stop == '*' || (stop == '+' && scan_at(s, i + 1) != '='))
        return config_fail(s->l, "'%s' contains a '%c'. Put the value in quotes.", scan_excerpt(s, i + 1, &q), stop);
    scan_token(s, TOKEN_WORD, i);
    return 0;
}

static int scan_brace(struct scan *s)
{
    if (s->text[s->pos] == '}') {
        if (s->depth == 0)
            return config_fail(s->l, "There is a '}' here without its '{'. Take it out.");
        s->depth--;
    } else {
        if (s->depth == DEPTH_MAX)
            return config_fail(s->l, "Braces are nested %d deep here. A list in a section is the most there can be.",
                               DEPTH_MAX + 1);
        s->open_line[s->depth++] = s->l->at.line;
    }
    scan_token(s, TOKEN_MARK, 1);
    return 0;
}

/* Before '=' stands a bare name. libconfuse would also take a quoted one, and paths like limits|connections. */
static int scan_equals(struct scan *s, size_t len)
{
    static const char name_bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    bool is_name = s->last == TOKEN_WORD;
    for (size_t i = 0; is_name && i < s->last_len; i++)
        is_name = strchr(name_bytes, s->text[s->last_at + i]) != NULL;
    if (!is_name)
        return config_fail(s->l,
                           "Before '=' there is no name of a setting. Write NAME = VALUE, the name without quotes.");
    scan_token(s, TOKEN_MARK, len);
    return 0;
}

static int scan_other(struct scan *s)
{
    char c = s->text[s->pos];
    switch (c) {
    case '{':
    case '}':
        return scan_brace(s);
    case '=':
        return scan_equals(s, 1);
    case ',':
        scan_token(s, TOKEN_MARK, 1);
        return 0;
    case '(':
    case ')':
        return config_fail(s->l,
                           "Functions, such as include(...), are not supported: this one file is the whole "
                           "configuration. Put values with '%c' in quotes.",
                           c);
    case '+':
        if (scan_at(s, 1) == '=')
            return scan_equals(s, 2);
        return config_fail(s->l, "There is a stray '+' here. Take it out, or put the value in quotes.");
    case '*':
        return config_fail(s->l, "There is a stray '*' here. Put the value in quotes, as in \"*:8080\".");
    default:
        return config_fail(s->l, "There is a byte 0x%02x here. The file must be plain text.",
                           (unsigned)(unsigned char)c);
    }
}

static int scan_step(struct scan *s)
{
    char c = s->text[s->pos], next = scan_at(s, 1);
    if (c == '\n' || c == ' ' || c == '\t' || c == '\r') {
        s->l->at.line += c == '\n';
        s->pos++;
        return 0;
    }
    if (c == '#' || (c == '/' && next == '/')) {
        scan_line_comment(s);
        return 0;
    }
    if (c == '/' && next == '*')
        return scan_block_comment(s);
    if (c == '"' || c == '\'')
        return scan_string(s);
    return is_word_byte(c) ? scan_word(s) : scan_other(s);
}

int config_text_check(struct config_loader *l, char *text, size_t len)
{
    struct scan s = { .l = l, .text = text, .len = len };
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) /* a byte order mark, as some editors leave it */
        memset(text, ' ', 3);
    l->at = (struct config_source){ CONFIG_FROM_FILE, 1 };
    while (s.pos < s.len) {
        int r = scan_step(&s);
        if (r < 0)
            return r;
    }
    if (s.depth > 0) {
        l->at.line = s.open_line[s.depth - 1];
        return config_fail(l, "The '{' on this line is never closed. Add its '}'.");
    }
    return 0;
}
