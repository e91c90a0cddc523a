#include "net/tls.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>

#include "net/conn.h"
#include "net/tls_context.h"
#include "tls_support.h"

static struct loop loop;
static struct tls_context *context;
static SSL_CTX *client_context;
static struct client {
    SSL *ssl;
    int fd;
    size_t records; /* of application data, that came */
} client;

static struct {
    unsigned reads, eofs, drains, ends, secured;
    size_t bytes, most;
    int error;
    char why[128];
    bool pauses; /* each read */
    bool is_wrong;
} seen;

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

static void on_read(struct conn *c, uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        seen.is_wrong |= data[i] != pattern(seen.bytes + i);
    seen.reads++;
    seen.bytes += len;
    seen.most = len > seen.most ? len : seen.most;
    if (seen.pauses)
        conn_pause(c, CONN_PAUSE_HUB);
}

static void on_eof(struct conn *c)
{
    seen.eofs++;
    conn_end(c, 1000);
    conn_pause(c, CONN_PAUSE_EOF);
}

static void on_drained(struct conn *c)
{
    (void)c;
    seen.drains++;
}

static void on_end(struct conn *c)
{
    seen.ends++;
    seen.error = c->error;
}

static void on_secure(struct conn *c, const char *error)
{
    seen.secured++;
    snprintf(seen.why, sizeof seen.why, "%s", error == NULL ? "" : error);
    if (error != NULL)
        conn_finish(c, 1000);
}

static const struct conn_ops ops = { .on_read = on_read, .on_eof = on_eof, .on_drained = on_drained, .on_secure = on_secure, .on_end = on_end };

static void setup(void)
{
    memset(&seen, 0, sizeof seen);
    client = (struct client){ .fd = -1 };
    tls_dir_make();
    tls_make_files("a", "a", "DNS:a", 0);
    struct tls_certificate files = { tls_path("a.pem"), tls_path("a.key") };
    struct tls_report report;
    HOLDS(tls_context_new(&(struct tls_config){ .certificates = &files, .certificate_count = 1 }, &context, &report) == 0);
    client_context = SSL_CTX_new(TLS_client_method());
    ck_assert_int_eq(loop_init(&loop), 0);
}

static void teardown(void)
{
    SSL_free(client.ssl);
    if (client.fd >= 0)
        close(client.fd);
    SSL_CTX_free(client_context);
    tls_context_unref(context);
    ck_assert(list_is_empty(&loop.conns));
    ck_assert_uint_eq(loop.chunks.live_bytes, 0);
    loop_done(&loop);
    tls_dir_remove();
}

static void turns(int n)
{
    while (n-- > 0)
        ev_run(loop.ev, EVRUN_NOWAIT);
}

static void pass(uint64_t ms) /* of the loop's time, in no time */
{
    loop.started_ms -= ms;
}

static void on_record(int is_writing, int version, int type, const void *bytes, size_t len, SSL *ssl, void *arg)
{
    (void)version;
    (void)ssl;
    (void)arg;
    client.records += !is_writing && type == SSL3_RT_HEADER && len > 0 && *(const uint8_t *)bytes == SSL3_RT_APPLICATION_DATA;
}

static struct conn *start(int max_version)
{
    int fds[2], small = 4096;
    HOLDS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    HOLDS(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
    client.fd = fds[1];
    client.ssl = SSL_new(client_context);
    SSL_set_fd(client.ssl, client.fd);
    SSL_set_max_proto_version(client.ssl, max_version);
    SSL_set_connect_state(client.ssl);
    SSL_set_msg_callback(client.ssl, on_record);
    SSL_set_mode(client.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    struct conn *c = conn_new(&loop, fds[0], &ops, NULL);
    HOLDS(c != NULL && conn_secure(c, context, NULL, 0) == 0);
    return c;
}

static bool shake(void)
{
    for (int i = 0; i < 50; i++) {
        int r = SSL_do_handshake(client.ssl);
        turns(2);
        if (r == 1 && seen.secured > 0)
            return true;
        if (r != 1 && SSL_get_error(client.ssl, r) == SSL_ERROR_SSL)
            return false;
    }
    return false;
}

static struct conn *secured(int max_version)
{
    struct conn *c = start(max_version);
    ck_assert(shake());
    ck_assert_uint_eq(seen.secured, 1);
    ck_assert_str_eq(seen.why, "");
    client.records = 0;
    return c;
}

/* Read so much, or until nothing comes any more. *ret_end: 0, or how it ended: SSL_ERROR_ZERO_RETURN is close_notify. */
static size_t client_reads(size_t max, int *ret_end)
{
    static uint8_t buf[5000];
    size_t total = 0;
    *ret_end = 0;
    for (int idle = 0; total < max && idle < 20 && *ret_end == 0;) {
        int n = SSL_read(client.ssl, buf, (int)(sizeof buf < max - total ? sizeof buf : max - total));
        int error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(client.ssl, n);
        turns(1);
        if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ)
            *ret_end = error;
        idle = n > 0 ? 0 : idle + 1;
        for (int i = 0; i < n; i++)
            HOLDS(buf[i] == pattern(total + (size_t)i));
        total += n > 0 ? (size_t)n : 0;
    }
    ERR_clear_error();
    return total;
}

/* As far as the kernel takes it. */
static size_t client_writes(size_t from, size_t len)
{
    static uint8_t buf[16384];
    size_t total = 0;
    while (total < len) {
        size_t n = sizeof buf < len - total ? sizeof buf : len - total;
        for (size_t i = 0; i < n; i++)
            buf[i] = pattern(from + total + i);
        int r = SSL_write(client.ssl, buf, (int)n);
        if (r <= 0)
            break;
        total += (size_t)r;
    }
    ERR_clear_error();
    return total;
}

static void end(struct conn *c)
{
    conn_close(c);
    turns(2);
    ck_assert_uint_eq(seen.ends, 1);
}

#define LONG 300000

static void write_long(struct conn *c)
{
    uint8_t *bytes = malloc(LONG);
    for (size_t i = 0; i < LONG; i++)
        bytes[i] = pattern(i);
    conn_write(c, bytes, LONG);
    free(bytes);
    HOLDS(conn_waiting(c) > 0);
}

/* ---- handshakes */

static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };

START_TEST(a_handshake_opens_the_connection)
{
    bool is_resumed = true;
    struct conn *c = start(versions[_i]);
    ck_assert_ptr_null(conn_tls_version(c, &is_resumed));
    ck_assert(shake());
    ck_assert_str_eq(conn_tls_version(c, &is_resumed), _i == 0 ? "TLSv1.3" : "TLSv1.2");
    ck_assert(!is_resumed);
    end(c);
}
END_TEST

/* What the client sends goes through here, a byte at a time. */
START_TEST(a_handshake_may_come_byte_by_byte)
{
    struct conn *c = start(versions[_i]);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    BIO_set_nbio(in, 1);
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(client.ssl, in, out);
    uint8_t buf[8192];
    for (int i = 0; i < 50 && seen.secured == 0; i++) {
        SSL_do_handshake(client.ssl);
        for (int n = BIO_read(out, buf, sizeof buf), at = 0; at < n; at++) {
            ck_assert_int_eq(write(client.fd, buf + at, 1), 1);
            turns(1);
        }
        turns(2);
        for (ssize_t n; (n = read(client.fd, buf, sizeof buf)) > 0; turns(1))
            BIO_write(in, buf, (int)n);
    }
    ck_assert_uint_eq(seen.secured, 1);
    ck_assert_str_eq(seen.why, "");
    end(c);
}
END_TEST

START_TEST(what_was_read_before_is_the_beginning)
{
    int fds[2];
    uint8_t buf[8192];
    struct conn *c = start(TLS1_3_VERSION);
    conn_close(c); /* only its client is wanted */
    turns(2);
    close(client.fd);
    HOLDS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    client.fd = fds[1];
    SSL_set_fd(client.ssl, client.fd);
    c = conn_new(&loop, fds[0], &ops, NULL);
    SSL_do_handshake(client.ssl);
    ssize_t n = read(fds[0], buf, sizeof buf);
    ck_assert_int_gt(n, 100);
    ck_assert_int_eq(conn_secure(c, context, buf, (size_t)n), 0);
    ck_assert(shake());
    ck_assert_uint_eq(client_writes(0, 1000), 1000);
    turns(3);
    ck_assert_uint_eq(seen.bytes, 1000);
    seen.ends = 0;
    end(c);
}
END_TEST

static const struct {
    const char *name, *bytes;
    size_t len;
    bool has_alert;
} broken[] = {
    { "a record that is too long", "\x16\x03\x01\xff\xff\x01", 6, true },
    { "a message that is none", "\x16\x03\x01\x00\x04\x63\x00\x00\x00", 9, true },
    { "another version", "\x16\x05\x00\x00\x04\x01\x00\x00\x00", 9, false },
    { "an alert", "\x15\x03\x01\x00\x02\x02\x28", 7, true },
    { "application data", "\x17\x03\x03\x00\x01x", 6, true },
    { "an empty ClientHello", "\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9, true },
    { "the client's end", "\x16\x03\x01\x00", 4, false },
};

START_TEST(a_handshake_that_is_none_fails_with_an_alert)
{
    uint8_t buf[64];
    start(TLS1_3_VERSION);
    ck_assert_int_eq(write(client.fd, broken[_i].bytes, broken[_i].len), (ssize_t)broken[_i].len);
    if (_i == HLY_ARRAY_LEN(broken) - 1)
        shutdown(client.fd, SHUT_WR);
    turns(3);
    ck_assert_msg(seen.secured == 1 && seen.why[0] != '\0', "%s: %u %s", broken[_i].name, seen.secured, seen.why);
    ssize_t n = read(client.fd, buf, sizeof buf);
    ck_assert_msg((n == 7 && buf[0] == 0x15) == broken[_i].has_alert, "%s: %zd bytes", broken[_i].name, n);
    ck_assert_int_eq(read(client.fd, buf, sizeof buf), 0);
    shutdown(client.fd, SHUT_WR);
    turns(3);
    ck_assert_uint_eq(seen.ends, 1);
    ck_assert_uint_eq(ERR_peek_error(), 0);
}
END_TEST

START_TEST(a_failed_handshake_leaves_the_next_one_alone)
{
    struct conn *c = secured(TLS1_3_VERSION);
    struct client good = client;
    start(TLS1_3_VERSION);
    ck_assert_int_eq(write(client.fd, "\x16\x03\x01\xff\xff\x01", 6), 6);
    turns(3);
    close(client.fd);
    SSL_free(client.ssl);
    client = good;
    turns(2);
    ck_assert_uint_eq(client_writes(0, 5000), 5000);
    turns(3);
    ck_assert_uint_eq(seen.bytes, 5000);
    seen.ends = 0;
    end(c);
}
END_TEST

/* ---- writing */

START_TEST(what_the_kernel_does_not_take_waits_and_follows)
{
    int how;
    struct conn *c = secured(versions[_i]);
    write_long(c);
    ck_assert_uint_gt(tls_waiting(c->tls), 0);
    ck_assert_uint_le(tls_waiting(c->tls), TLS_RECORD_BYTES + 256);
    ck_assert_uint_eq(client_reads(LONG, &how), LONG);
    turns(2);
    ck_assert_uint_eq(conn_waiting(c), 0);
    ck_assert_ptr_null(c->outq);
    ck_assert_uint_eq(seen.drains, 1);
    ck_assert_uint_le(client.records, LONG / TLS_RECORD_BYTES + 2);
    end(c);
}
END_TEST

START_TEST(small_parts_are_one_record)
{
    int how;
    struct conn *c = secured(TLS1_3_VERSION);
    struct chunk_slice parts[20];
    for (size_t i = 0; i < 20; i++) { /* in 20 chunks */
        struct chunk *chunk = chunk_new(&loop.chunks, 100);
        for (; chunk->len < 100; chunk->len++)
            chunk->data[chunk->len] = pattern(i * 100 + chunk->len);
        parts[i] = (struct chunk_slice){ chunk, 0, 100, 0 };
    }
    conn_send(c, parts, 20, 2000);
    for (size_t i = 0; i < 20; i++)
        chunk_unref(parts[i].chunk);
    ck_assert_uint_eq(client_reads(2000, &how), 2000);
    ck_assert_uint_eq(client.records, 1 + 1); /* a ticket is application data too, outside */
    end(c);
}
END_TEST

/* Parts of any length, in one call or several: the same bytes come out. */
START_TEST(any_parts_arrive_as_they_are)
{
    int how;
    seed_random();
    struct conn *c = secured(versions[_i % 2]);
    size_t written = 0, got = 0;
    for (int round = 0; round < 40; round++) {
        struct chunk_slice parts[8];
        uint32_t count = 1 + below(8), bytes = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t len = below(4) == 0 ? below(20000) + 1 : below(60) + 1;
            struct chunk *chunk = chunk_new(&loop.chunks, len);
            for (; chunk->len < len; chunk->len++)
                chunk->data[chunk->len] = pattern(written + chunk->len);
            parts[i] = (struct chunk_slice){ chunk, 0, len, 0 };
            written += len;
            bytes += len;
        }
        conn_send(c, parts, count, bytes);
        for (uint32_t i = 0; i < count; i++)
            chunk_unref(parts[i].chunk);
        uint8_t buf[8192];
        int n = below(2) ? SSL_read(client.ssl, buf, (int)below(8000) + 1) : 0;
        for (int i = 0; i < n; i++)
            HOLDS(buf[i] == pattern(got + (size_t)i));
        got += n > 0 ? (size_t)n : 0;
        turns((int)below(2));
    }
    while (got < written) {
        uint8_t buf[8192];
        int n = SSL_read(client.ssl, buf, sizeof buf);
        turns(1);
        for (int i = 0; i < n; i++)
            HOLDS(buf[i] == pattern(got + (size_t)i));
        got += n > 0 ? (size_t)n : 0;
        HOLDS(n > 0 || SSL_get_error(client.ssl, n) == SSL_ERROR_WANT_READ);
    }
    turns(2);
    ck_assert_uint_eq(conn_waiting(c), 0);
    client_reads(1, &how);
    ck_assert_int_eq(how, 0);
    end(c);
}
END_TEST

#define MESSAGE 30000

START_TEST(what_was_given_to_openssl_is_never_cut)
{
    int how;
    struct conn *c = secured(TLS1_3_VERSION);
    for (size_t i = 0; i < 10; i++) {
        struct chunk *chunk = chunk_new(&loop.chunks, MESSAGE);
        for (; chunk->len < MESSAGE; chunk->len++)
            chunk->data[chunk->len] = pattern(chunk->len);
        conn_send(c, &(struct chunk_slice){ chunk, 0, MESSAGE, i + 1 }, 1, MESSAGE);
        chunk_unref(chunk);
    }
    uint64_t first = conn_cut(c);
    ck_assert_uint_gt(first, 1); /* a message that has been begun stays */
    ck_assert(!conn_has_messages(c) || first == 2);
    uint8_t buf[16384];
    size_t got = 0;
    for (int idle = 0; idle < 20;) {
        int n = SSL_read(client.ssl, buf, sizeof buf);
        turns(1);
        idle = n > 0 ? 0 : idle + 1;
        for (int i = 0; i < n; i++)
            HOLDS(buf[i] == pattern((got + (size_t)i) % MESSAGE));
        got += n > 0 ? (size_t)n : 0;
    }
    ck_assert_uint_eq(got, (size_t)(first - 1) * MESSAGE);
    ck_assert_uint_eq(conn_waiting(c), 0);
    conn_write(c, (uint8_t[]){ pattern(0) }, 1);
    ck_assert_uint_eq(client_reads(1, &how), 1);
    end(c);
}
END_TEST

/* ---- reading */

START_TEST(much_is_read_in_slices_and_whole)
{
    struct conn *c = secured(versions[_i]);
    size_t written = 0;
    for (int n = 0; n < 2000 && seen.bytes < LONG; n++) {
        written += client_writes(written, LONG - written);
        turns(1);
    }
    ck_assert_uint_eq(seen.bytes, LONG);
    ck_assert(!seen.is_wrong);
    ck_assert_uint_le(seen.most, LOOP_READ_BYTES);
    end(c);
}
END_TEST

/* Level-triggered epoll does not tell of what OpenSSL has read ahead. */
START_TEST(what_was_read_ahead_is_not_forgotten_by_a_pause)
{
    struct conn *c = secured(versions[_i]);
    seen.pauses = true;
    size_t written = 0;
    for (int n = 0; n < 300; n++) {
        uint8_t byte = pattern(written); /* tiny records: many in one read */
        written += SSL_write(client.ssl, &byte, 1) == 1;
    }
    size_t before = 0;
    for (int n = 0; n < 400 && seen.bytes < written; n++) {
        turns(2);
        ck_assert_uint_gt(seen.bytes, before);
        before = seen.bytes;
        turns(3);
        ck_assert_uint_eq(seen.bytes, before); /* it is paused */
        conn_resume(c, CONN_PAUSE_HUB);
    }
    ck_assert_uint_eq(seen.bytes, written);
    ck_assert(!seen.is_wrong);
    end(c);
}
END_TEST

static const struct {
    const char *name;
    bool has_goodbye;
} ends[] = { { "close_notify and FIN", true }, { "FIN alone", false } };

START_TEST(the_end_comes_behind_the_bytes)
{
    int how;
    struct conn *c = secured(versions[_i / 2]);
    ck_assert_uint_eq(client_writes(0, 40000), 40000);
    if (ends[_i % 2].has_goodbye)
        SSL_shutdown(client.ssl);
    shutdown(client.fd, SHUT_WR);
    write_long(c);
    turns(4);
    ck_assert_uint_eq(seen.bytes, 40000);
    ck_assert_uint_eq(seen.eofs, 1);
    ck_assert_uint_eq(seen.ends, 0); /* it still reads (half-close, RFC 8446 6.1) */
    ck_assert_uint_eq(client_reads(LONG, &how), LONG);
    client_reads(1, &how);
    ck_assert_int_eq(how, SSL_ERROR_ZERO_RETURN);
    turns(2);
    ck_assert_uint_eq(seen.ends, 1);
    (void)c;
}
END_TEST

/* TCP goes on: nothing but what OpenSSL knows tells of this end. */
START_TEST(a_goodbye_behind_bytes_is_heard_without_fin)
{
    struct conn *c = secured(versions[_i / 2]);
    seen.pauses = _i % 2 == 1;
    ck_assert_uint_eq(client_writes(0, 100), 100);
    SSL_shutdown(client.ssl);
    turns(4);
    ck_assert_uint_eq(seen.bytes, 100);
    ck_assert_uint_eq(seen.eofs, !seen.pauses);
    if (seen.pauses) {
        conn_resume(c, CONN_PAUSE_HUB);
        turns(2);
    }
    ck_assert_uint_eq(seen.eofs, 1);
    turns(2);
    ck_assert_uint_eq(seen.ends, 1);
}
END_TEST

START_TEST(a_request_that_comes_with_the_end_of_the_handshake_is_read)
{
    struct conn *c = start(TLS1_3_VERSION);
    for (int n = 0; n < 20 && SSL_do_handshake(client.ssl) != 1; n++)
        turns(2); /* the client's side is complete, and its last flight is here */
    ck_assert_uint_eq(seen.secured, 0);
    ck_assert_uint_eq(client_writes(0, 500), 500);
    turns(4);
    ck_assert_uint_eq(seen.secured, 1);
    ck_assert_uint_eq(seen.bytes, 500);
    end(c);
}
END_TEST

/* ---- goodbyes */

START_TEST(finishing_ends_with_close_notify_behind_what_waits)
{
    int how;
    struct conn *c = secured(versions[_i]);
    write_long(c);
    conn_finish(c, 5000);
    ck_assert_uint_eq(client_writes(0, 100), 100); /* it is not read */
    ck_assert_uint_eq(client_reads(LONG, &how), LONG);
    client_reads(1, &how);
    ck_assert_int_eq(how, SSL_ERROR_ZERO_RETURN);
    uint8_t byte;
    ck_assert_int_eq(read(client.fd, &byte, 1), 0);
    ck_assert_uint_eq(seen.reads, 0);
    ck_assert_uint_eq(seen.ends, 0);
    shutdown(client.fd, SHUT_WR);
    turns(3);
    ck_assert_uint_eq(seen.ends, 1);
}
END_TEST

START_TEST(closing_says_goodbye_unless_something_is_cut_off)
{
    int how;
    struct conn *c = secured(TLS1_3_VERSION);
    if (_i == 1)
        write_long(c);
    else if (_i == 2)
        conn_write_later(c, "x", 1);
    end(c);
    client_reads(LONG, &how);
    ck_assert_int_eq(how, _i == 0 ? SSL_ERROR_ZERO_RETURN : SSL_ERROR_SSL); /* unexpected eof */
}
END_TEST

START_TEST(a_peer_that_is_gone_ends_the_connection)
{
    struct conn *c = secured(TLS1_3_VERSION);
    write_long(c);
    close(client.fd);
    client.fd = -1;
    turns(3);
    ck_assert_uint_eq(seen.ends, 1);
}
END_TEST

START_TEST(what_has_been_tampered_with_ends_the_connection)
{
    secured(versions[_i]);
    ck_assert_int_eq(write(client.fd, "\x17\x03\x03\x00\x20" "0123456789abcdef0123456789abcdef", 37), 37);
    turns(3);
    ck_assert_uint_eq(seen.reads, 0);
    ck_assert_uint_eq(seen.ends, 1);
    ck_assert_int_eq(seen.error, EPROTO);
}
END_TEST

/* ---- those who make us work */

START_TEST(keys_may_change_now_and_then)
{
    int how;
    struct conn *c = secured(TLS1_3_VERSION);
    for (size_t n = 0; n < 10; n++) {
        ck_assert_int_eq(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        ck_assert_uint_eq(client_writes(n * 10, 10), 10);
        turns(2);
        ck_assert_uint_eq(seen.bytes, (n + 1) * 10);
        conn_write(c, (uint8_t[]){ pattern(0) }, 1);
        ck_assert_uint_eq(client_reads(1, &how), 1);
    }
    end(c);
}
END_TEST

static unsigned update_until_it_ends(unsigned most, unsigned at_a_time)
{
    unsigned n = 0;
    for (; n < most && seen.ends == 0; n++) {
        if (SSL_key_update(client.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 || SSL_do_handshake(client.ssl) != 1)
            break;
        if (n % at_a_time == 0)
            turns(2);
    }
    ERR_clear_error();
    turns(2);
    return n;
}

START_TEST(keys_that_change_all_the_time_end_the_connection)
{
    secured(TLS1_3_VERSION);
    ck_assert_uint_lt(update_until_it_ends(5000, 100), 500);
    ck_assert_uint_eq(seen.ends, 1);
    ck_assert_int_eq(seen.error, EPROTO);
}
END_TEST

START_TEST(a_new_minute_brings_new_changes)
{
    struct conn *c = secured(TLS1_3_VERSION);
    for (int minute = 0; minute < 5; minute++) {
        ck_assert_uint_eq(update_until_it_ends(20, 1), 20);
        ck_assert_uint_eq(seen.ends, 0);
        pass(61000);
        turns(1);
    }
    end(c);
}
END_TEST

START_TEST(nobody_renegotiates)
{
    struct conn *c = secured(TLS1_2_VERSION);
    HOLDS(SSL_renegotiate(client.ssl) == 1);
    int r = 0;
    for (int n = 0; n < 20; n++) {
        r = SSL_do_handshake(client.ssl);
        turns(2);
    }
    ck_assert_int_ne(r, 1);
    ck_assert_uint_eq(seen.secured, 1);
    ERR_clear_error();
    if (seen.ends == 0)
        end(c);
}
END_TEST

/* ---- the loop's share */

#define RUSH 60

START_TEST(a_rush_of_handshakes_is_more_than_one_turn_and_all_are_served)
{
    static struct client rush[RUSH];
    struct conn *conns[RUSH];
    for (int i = 0; i < RUSH; i++) {
        conns[i] = start(TLS1_3_VERSION);
        rush[i] = client;
        SSL_do_handshake(client.ssl);
    }
    turns(1);
    ck_assert(!list_is_empty(&loop.tls.steps)); /* a signature takes more than a 60th of a turn's share, on any machine of these days */
    for (int n = 0; n < 1000 && seen.secured < RUSH; n++) {
        turns(1);
        for (int i = 0; i < RUSH; i++)
            SSL_do_handshake(rush[i].ssl);
    }
    ck_assert_uint_eq(seen.secured, RUSH);
    for (int i = 0; i < RUSH; i++) {
        ck_assert_uint_eq(conns[i]->paused, 0);
        conn_close(conns[i]);
        if (i < RUSH - 1) {
            SSL_free(rush[i].ssl);
            close(rush[i].fd);
        }
    }
    turns(2);
    ck_assert_uint_eq(seen.ends, RUSH);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tls");
    TCase *handshakes = tcase_create("handshakes"), *traffic = tcase_create("traffic"), *hostile = tcase_create("hostile");
    tcase_add_checked_fixture(handshakes, setup, teardown);
    tcase_add_loop_test(handshakes, a_handshake_opens_the_connection, 0, 2);
    tcase_add_loop_test(handshakes, a_handshake_may_come_byte_by_byte, 0, 2);
    tcase_add_test(handshakes, what_was_read_before_is_the_beginning);
    tcase_add_loop_test(handshakes, a_handshake_that_is_none_fails_with_an_alert, 0, HLY_ARRAY_LEN(broken));
    tcase_add_test(handshakes, a_failed_handshake_leaves_the_next_one_alone);
    tcase_add_test(handshakes, a_rush_of_handshakes_is_more_than_one_turn_and_all_are_served);
    suite_add_tcase(s, handshakes);
    tcase_add_checked_fixture(traffic, setup, teardown);
    tcase_add_loop_test(traffic, what_the_kernel_does_not_take_waits_and_follows, 0, 2);
    tcase_add_test(traffic, small_parts_are_one_record);
    tcase_add_loop_test(traffic, any_parts_arrive_as_they_are, 0, 4);
    tcase_add_test(traffic, what_was_given_to_openssl_is_never_cut);
    tcase_add_loop_test(traffic, much_is_read_in_slices_and_whole, 0, 2);
    tcase_add_loop_test(traffic, what_was_read_ahead_is_not_forgotten_by_a_pause, 0, 2);
    tcase_add_loop_test(traffic, the_end_comes_behind_the_bytes, 0, 4);
    tcase_add_loop_test(traffic, finishing_ends_with_close_notify_behind_what_waits, 0, 2);
    tcase_add_loop_test(traffic, closing_says_goodbye_unless_something_is_cut_off, 0, 3);
    tcase_add_loop_test(traffic, a_goodbye_behind_bytes_is_heard_without_fin, 0, 4);
    tcase_add_test(traffic, a_request_that_comes_with_the_end_of_the_handshake_is_read);
    tcase_add_test(traffic, a_peer_that_is_gone_ends_the_connection);
    suite_add_tcase(s, traffic);
    tcase_add_checked_fixture(hostile, setup, teardown);
    tcase_add_loop_test(hostile, what_has_been_tampered_with_ends_the_connection, 0, 2);
    tcase_add_test(hostile, keys_may_change_now_and_then);
    tcase_add_test(hostile, keys_that_change_all_the_time_end_the_connection);
    tcase_add_test(hostile, a_new_minute_brings_new_changes);
    tcase_add_test(hostile, nobody_renegotiates);
    suite_add_tcase(s, hostile);
    signal(SIGPIPE, SIG_IGN);
    return run_suite(s);
}
