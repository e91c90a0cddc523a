/* Whatever objects a halley.v1 client sends, every frame that it gets is one whole JSON object of the protocol, and each is in its place: no topic twice with
 * the same cursor in the live flow, cursors that only grow.
 *
 * Each line of the input is a command; one that begins with `!` is published by a backend on the topic up to the next space. */
#include <jansson.h>

#include "world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t live; /* seq of the live flow's last message */

static uint64_t seq_of(const json_t *object)
{
    const char *cursor = json_string_value(json_object_get(object, "cursor"));
    const char *dash = cursor == NULL ? NULL : strrchr(cursor, '-');
    must(dash != NULL);
    return strtoull(dash + 1, NULL, 10);
}

static void check_object(const json_t *o)
{
    bool is_message = json_object_get(o, "data") != NULL;
    must(json_is_object(o) && json_object_size(o) > 0);
    if (is_message && json_object_get(o, "replay") == NULL && json_object_get(o, "id") == NULL) {
        uint64_t seq = seq_of(o);
        must(seq > live);
        live = seq;
    }
    const json_t *error = json_object_get(o, "error");
    must(error == NULL || (json_is_string(json_object_get(error, "code")) && json_is_string(json_object_get(error, "message"))));
}

/* The frames of a server: unmasked, and none in fragments. Returns whether a close frame was the last. */
static bool check_frames(const struct buf *heard, size_t at)
{
    while (at < heard->len) {
        must(heard->len - at >= 2);
        uint8_t opcode = heard->data[at] & 0x0f;
        size_t n = heard->data[at + 1];
        must((heard->data[at] & 0xf0) == 0x80 && n != 127);
        at += 2;
        if (n == 126) {
            must(heard->len - at >= 2);
            n = (size_t)heard->data[at] << 8 | heard->data[at + 1];
            at += 2;
        }
        must(heard->len - at >= n);
        if (opcode == 8)
            return at + n == heard->len;
        must(opcode == 1);
        json_error_t error;
        json_t *o = json_loadb((const char *)heard->data + at, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
        must(o != NULL || json_error_code(&error) == json_error_numeric_overflow); /* 1e999 is JSON, and nothing that jansson can hold */
        if (o != NULL)
            check_object(o);
        json_decref(o);
        at += n;
    }
    return true;
}

static void publish(const char *text, size_t len)
{
    const char *space = memchr(text, ' ', len);
    size_t topic = space == NULL ? len : (size_t)(space - text);
    struct buf command = { 0 };
    int fd = world_connect(WORLD_BACKEND, NULL);
    struct buf *before = world.heard;
    world.heard = NULL;
    buf_printf(&command, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n", topic);
    buf_append(&command, text, topic);
    buf_printf(&command, "\r\n$%zu\r\n", len - topic);
    buf_append(&command, text + topic, len - topic);
    buf_str(&command, "\r\n");
    world_say(fd, command.data, command.len);
    world_hear(fd);
    close(fd);
    world_turn();
    world.heard = before;
    buf_done(&command);
}

static void run_line(int fd, const char *line, size_t len)
{
    if (len > 0 && *line == '!')
        publish(line + 1, len - 1);
    else if (len < 65536)
        world_frame(fd, 0x81, (const uint8_t *)line, len);
    world_turn();
    world_hear(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char handshake[] = WORLD_HANDSHAKE("/ws?topic=room/1", "Sec-WebSocket-Protocol: halley.v1\r\n");
    struct buf heard = { 0 };
    world_begin();
    live = 0;
    world.heard = &heard;
    int fd = world_connect(WORLD_PUBLIC, NULL);
    world_say(fd, (const uint8_t *)handshake, sizeof handshake - 1);
    world_turn();
    world_hear(fd);
    const uint8_t *end = heard.len == 0 ? NULL : memmem(heard.data, heard.len, "\r\n\r\n", 4);
    must(end != NULL);
    size_t frames = (size_t)(end - heard.data) + 4;
    for (size_t at = 0; at < size;) {
        const uint8_t *newline = memchr(data + at, '\n', size - at);
        size_t len = newline == NULL ? size - at : (size_t)(newline - data) - at;
        run_line(fd, (const char *)data + at, len);
        at += len + 1;
    }
    for (int n = 0; n < 20; n++) {
        world_turn();
        world_hear(fd);
    }
    must(check_frames(&heard, frames));
    close(fd);
    world.heard = NULL;
    world_end();
    buf_done(&heard);
    return 0;
}
