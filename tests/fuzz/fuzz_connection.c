/* Whatever a client sends to a door, in whatever pieces, and however it goes: the server answers in the door's protocol or not at all, others are served,
 * and nothing is left of it.
 *
 * Of the input the first byte chooses the door, and how the client ends; the next three are the sizes of the pieces, in turns; the rest is sent. */
#include "world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CUTS 3

static const struct mode {
    enum world_door door;
    const char *first; /* what is sent before, so that the input begins behind it; NULL: nothing */
    const char *answers; /* how an answer may begin */
} modes[] = {
    { WORLD_PUBLIC, NULL, "H" },
    { WORLD_PROXIED, NULL, "H" },
    { WORLD_BACKEND, NULL, "H+-:$*%>_#,=" },
    { WORLD_STRANGER, NULL, "H+-:$*%>_" },
    { WORLD_PUBLIC, WORLD_HANDSHAKE("/echo", ""), "H" },
    { WORLD_PUBLIC, WORLD_HANDSHAKE("/ws?topic=a&last=2", ""), "H" },
    { WORLD_PUBLIC, WORLD_HANDSHAKE("/ws?topic=room/1", "Sec-WebSocket-Protocol: halley.v1\r\n"), "H" },
    { WORLD_BACKEND, "*2\r\n$9\r\nSUBSCRIBE\r\n$6\r\nroom/1\r\n*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$1\r\nx\r\n", "*" },
};

enum ending { END_CLOSE, END_SHUTDOWN, END_UNREAD, ENDINGS };

static struct backend_keys *keys;

static void free_keys(void)
{
    backend_keys_free(keys);
}

static void make_keys(void)
{
    struct backend_key_report report;
    must(backend_keys_parse("keys", SLICE_LIT("0123456789abcdef0123456789abcdef name=all\n"
                                              "abcdef0123456789 name=some publish=a/**,room/* subscribe=a/**\n"),
                            &keys, &report) == 0);
    atexit(free_keys);
}

static void say_pieces(int fd, const uint8_t *cuts, const uint8_t *data, size_t size, bool hears)
{
    for (size_t at = 0, n = 0, len; at < size; at += len, n++) {
        len = 1u + cuts[n % CUTS] * (cuts[n % CUTS] > 200 ? 40u : 1u);
        len = len < size - at ? len : size - at;
        uint8_t *copy = malloc(len);
        must(copy != NULL);
        memcpy(copy, data + at, len);
        if (hears)
            world_say(fd, copy, len);
        else if (send(fd, copy, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            world_turn();
        free(copy);
    }
}

static void end(int fd, enum ending how)
{
    if (how == END_SHUTDOWN) {
        shutdown(fd, SHUT_WR);
        for (int n = 0; n < 3; n++)
            world_turn();
    }
    if (how != END_UNREAD)
        world_hear(fd);
    close(fd);
}

static bool has_pong(const struct buf *got)
{
    return got->len > 0 && memmem(got->data, got->len, "\x8a\x05" "alive", 7) != NULL;
}

/* Somebody else, who publishes and is subscribed: he is served all the same. */
static void look_at_others(int other)
{
    struct buf got = { 0 }, *before = world.heard;
    world.heard = &got;
    world_hear(other); /* his 101, and what was published */
    buf_reset(&got);
    world_frame(other, 0x89, (const uint8_t *)"alive", 5);
    for (int n = 0; n < 200 && !has_pong(&got); n++) {
        world_turn();
        world_hear(other);
    }
    must(has_pong(&got));
    world.heard = before;
    buf_done(&got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 + CUTS)
        return 0;
    if (keys == NULL)
        make_keys();
    const struct mode *m = &modes[data[0] % HLY_ARRAY_LEN(modes)];
    enum ending how = data[0] / HLY_ARRAY_LEN(modes) % ENDINGS;
    struct buf heard = { 0 };
    world_begin();
    int other = world_connect(WORLD_PUBLIC, NULL), fd = world_connect(m->door, keys);
    static const char handshake[] = WORLD_HANDSHAKE("/ws?topic=a&topic=room/*&topic=t", "");
    world_say(other, (const uint8_t *)handshake, sizeof handshake - 1);
    world.heard = &heard;
    if (m->first != NULL)
        world_say(fd, (const uint8_t *)m->first, strlen(m->first));
    say_pieces(fd, data + 1, data + 1 + CUTS, size - 1 - CUTS, how != END_UNREAD);
    world_turn();
    if (how != END_UNREAD)
        world_hear(fd);
    must(heard.len == 0 || strchr(m->answers, heard.data[0]) != NULL);
    look_at_others(other);
    end(fd, how);
    close(other);
    world.heard = NULL;
    world_end();
    buf_done(&heard);
    return 0;
}
