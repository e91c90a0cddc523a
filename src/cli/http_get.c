#include "cli/http_get.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"

#define MAX_ANSWER (64u << 20) /* a page of topics is thousands of times smaller */

/* ---- the answer */

static int parse_status(const char *line, size_t len, unsigned *ret_status)
{
    if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ')
        return -EPROTO;
    unsigned status = 0;
    for (size_t i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9')
            return -EPROTO;
        status = status * 10 + (unsigned)(line[i] - '0');
    }
    *ret_status = status;
    return 0;
}

/* Content-Length of the head, or SIZE_MAX: the body ends with the connection. A length that is not a number counts as
 * absent. */
static size_t find_length(const char *head, size_t len)
{
    static const char name[] = "\r\ncontent-length:";
    for (size_t i = 0; i + sizeof name - 1 <= len; i++) {
        if (strncasecmp(head + i, name, sizeof name - 1) != 0)
            continue;
        const char *p = head + i + sizeof name - 1; /* the head ends in CRLF CRLF, so this walk does too */
        size_t value = 0, digits = 0;
        for (; *p == ' ' || *p == '\t'; p++)
            ;
        for (; *p >= '0' && *p <= '9' && digits < 10; p++, digits++)
            value = value * 10 + (size_t)(*p - '0');
        return digits > 0 ? value : SIZE_MAX;
    }
    return SIZE_MAX;
}

int http_answer_parse(const void *data, size_t len, bool is_end, struct http_answer *ret_answer)
{
    unsigned status;
    const char *p = data;
    if (len > 0 && memcmp(p, "HTTP/1.", len < 7 ? len : 7) != 0)
        return -EPROTO;
    const char *end = len > 0 ? memmem(p, len, "\r\n\r\n", 4) : NULL;
    if (end == NULL)
        return is_end ? -EPIPE : 0;
    size_t head = (size_t)(end - p) + 4, have = len - head;
    if (parse_status(p, head, &status) < 0)
        return -EPROTO;
    size_t body = find_length(p, head);
    if (body == SIZE_MAX ? !is_end : have < body)
        return is_end ? -EPIPE : 0;
    ret_answer->status = status;
    ret_answer->body = (struct slice){ p + head, body == SIZE_MAX ? have : body };
    return 1;
}

/* ---- the exchange */

void http_escape(struct buf *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        bool is_plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
                        strchr("-._~", *p) != NULL;
        buf_printf(out, is_plain ? "%c" : "%%%02X", *p);
    }
}

static int send_request(int fd, const struct endpoint *e, const char *method, const char *target, struct endpoint_error *ret_error)
{
    char key[1024];
    int r = endpoint_read_key(e, key, sizeof key, ret_error);
    if (r < 0)
        return r;
    HLY_CLEANUP(buf_done) struct buf request = { 0 };
    buf_printf(&request, "%s %s HTTP/1.0\r\nHost: halley\r\nAccept: application/json\r\n%s", method, target,
               strcmp(method, "POST") == 0 ? "Content-Length: 0\r\n" : "");
    if (key[0] != '\0')
        buf_printf(&request, "Authorization: Bearer %s\r\n", key);
    buf_str(&request, "\r\n");
    if (request.failed)
        return -ENOMEM;
    for (size_t sent = 0; sent < request.len;) {
        ssize_t n = send(fd, request.data + sent, request.len - sent, MSG_NOSIGNAL);
        if (n == -1 && errno != EINTR)
            return -errno;
        sent += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int receive_answer(int fd, struct buf *in, struct http_answer *ret_answer)
{
    for (;;) {
        uint8_t *to = buf_reserve(in, 65536);
        if (to == NULL)
            return -ENOMEM;
        ssize_t n = recv(fd, to, 65536, 0);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        in->len += (size_t)n;
        int r = http_answer_parse(in->data, in->len, n == 0, ret_answer);
        if (r != 0)
            return r < 0 ? r : 0;
        if (in->len > MAX_ANSWER)
            return -EMSGSIZE;
    }
}

static void describe_failure(const struct endpoint *e, int error, const struct buf *in,
                             struct endpoint_error *ret_error)
{
    char name[300], start[64];
    endpoint_name(e, name, sizeof name);
    size_t line = 0;
    while (line < in->len && in->data[line] != '\r' && in->data[line] != '\n')
        line++;
    if (error == EPROTO)
        snprintf(ret_error->text, sizeof ret_error->text, "what answers at %s is not halleyd: it said '%s'", name,
                 log_quote(start, sizeof start, in->data, line));
    else if (error == EPIPE)
        snprintf(ret_error->text, sizeof ret_error->text, "%s closed the connection before its answer was complete",
                 name);
    else
        snprintf(ret_error->text, sizeof ret_error->text, "no answer from %s: %s", name, strerror(error));
}

static int exchange(const struct endpoint *e, const char *method, const char *target, struct buf *in, struct http_answer *ret_answer,
                    struct endpoint_error *ret_error)
{
    HLY_CLEANUP(fd_closep) int fd = -1;
    int r = endpoint_connect(e, &fd, ret_error);
    if (r < 0)
        return r;
    ret_error->text[0] = '\0';
    r = send_request(fd, e, method, target, ret_error);
    if (r == 0 || r == -EPIPE) /* refused early: the answer may be there all the same */
        r = receive_answer(fd, in, ret_answer);
    if (r < 0 && ret_error->text[0] == '\0')
        describe_failure(e, -r, in, ret_error);
    return r;
}

/* The sentence of a refusal: {"error":{"code":…,"message":…}}, or the body itself where it is plain text. */
static void describe_refusal(const struct http_answer *answer, struct endpoint_error *ret_error)
{
    json_t *o = json_loadb(answer->body.ptr, answer->body.len, 0, NULL);
    const char *message = json_string_value(json_object_get(json_object_get(o, "error"), "message"));
    int len = answer->body.len > 800 ? 800 : (int)answer->body.len;
    while (len > 0 && strchr("\r\n ", answer->body.ptr[len - 1]) != NULL)
        len--;
    if (message != NULL)
        snprintf(ret_error->text, sizeof ret_error->text, "%s", message);
    else if (len > 0)
        snprintf(ret_error->text, sizeof ret_error->text, "%.*s", len, answer->body.ptr);
    else
        snprintf(ret_error->text, sizeof ret_error->text, "refused with HTTP status %u", answer->status);
    json_decref(o);
}

static int fetch(const struct endpoint *e, const char *method, const char *target, struct buf *ret_body, struct endpoint_error *ret_error)
{
    HLY_CLEANUP(buf_done) struct buf in = { 0 };
    struct http_answer answer = { 0 };
    int r = exchange(e, method, target, &in, &answer, ret_error);
    if (r < 0)
        return r;
    if (answer.status != 200) {
        describe_refusal(&answer, ret_error);
        return (int)answer.status;
    }
    buf_append(ret_body, answer.body.ptr, answer.body.len);
    buf_append(ret_body, "", 1);
    if (ret_body->failed)
        return -ENOMEM;
    ret_body->len--;
    return 0;
}

int http_get(const struct endpoint *e, const char *target, struct buf *ret_body, struct endpoint_error *ret_error)
{
    return fetch(e, "GET", target, ret_body, ret_error);
}

int http_post(const struct endpoint *e, const char *target, struct buf *ret_body, struct endpoint_error *ret_error)
{
    return fetch(e, "POST", target, ret_body, ret_error);
}
