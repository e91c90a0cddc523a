/* What a reactor counts. Written by its own thread alone, read by any: relaxed atomics, no lock, no shared cache line to fight for.
 *
 * STATS is the only list: it makes the struct, GET /stats, GET /metrics and INFO. C: counter, only grows. G: gauge. */
#ifndef HALLEY_TRANSPORT_STATS_H
#define HALLEY_TRANSPORT_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#define STATS(C, G) \
    G(connections, "public connections now, whatever they speak") \
    G(websockets, "open WebSockets now") \
    G(streams, "open streams now: of events, lines, script blocks") \
    G(polls, "long polls that wait now") \
    G(backends, "backend connections now") \
    G(backends_waiting, "of them, those that have to say their key first, and have not") \
    C(accepted, "public connections accepted") \
    C(accept_errors, "connections turned away, or left waiting, for lack of descriptors or memory") \
    C(refused_connections, "public connections refused at limits.connections") \
    C(refused_backends, "backend connections refused: at limits.backends, or by uid") \
    G(addresses, "addresses that public connections are counted by now (limits.per_address)") \
    G(users, "users that connections are counted by now: subjects of tokens (limits.per_user)") \
    C(refused_addresses, "public connections and requests refused with 429 at limits.per_address") \
    C(refused_users, "requests refused with 429, and halley.v1 tokens refused, at limits.per_user") \
    C(proxy_untrusted, "connections to a listener with proxy_protocol that came from no trusted proxy, and were closed") \
    C(proxy_bad_headers, "connections closed because a trusted proxy sent no PROXY header, or a broken one") \
    C(tls_handshakes, "TLS handshakes completed, public and backend") \
    C(tls_1_2, "of them, those with TLS 1.2") \
    C(tls_1_3, "and those with TLS 1.3") \
    C(tls_resumed, "and those that resumed a session, with a ticket") \
    C(tls_failed, "TLS handshakes that failed, or did not end in limits.handshake_timeout") \
    C(tls_plain, "connections without TLS to a listener that speaks it") \
    C(tls_delayed, "TLS handshakes that had to wait at limits.tls_handshakes") \
    C(tls_displaced, "TLS handshakes closed for new ones at limits.tls_handshakes, because their client kept them waiting") \
    G(tls_shaking, "TLS handshakes in flight now") \
    G(tls_waiting, "TLS handshakes that wait now for those in flight") \
    C(http_requests, "HTTP requests, public and backend") \
    C(http_bad_requests, "HTTP requests that broke the protocol") \
    C(handshake_timeouts, "connections on which no request was completed in limits.handshake_timeout, idle ones that were kept alive among them") \
    C(too_slow, "requests and WebSockets ended because a body or message came more slowly than limits.min_rate") \
    C(handshakes, "WebSocket opening handshakes answered with 101") \
    C(handshakes_bad, "opening handshakes that broke RFC 6455") \
    C(handshakes_bad_origin, "opening handshakes and requests from an origin that is not allowed") \
    C(handshakes_bad_topic, "subscribers refused with 400 or 503: no or a bad topic, too many, a bad cursor or query, out of memory") \
    C(handshakes_forbidden, "subscribers refused with 403: a topic that the rules refuse") \
    C(tokens_refused, "requests refused with 401, and halley.v1 connections whose new token was refused") \
    C(auth_callback_requests, "requests that the application was asked about (auth.callback)") \
    C(auth_callback_refused, "of them, those that it refused with 401 or 403") \
    C(auth_callback_failed, "requests refused with 503 because the application gave no usable answer") \
    C(auth_callback_timeouts, "of them, those that it did not answer in auth.callback_timeout") \
    C(auth_callback_cached, "requests for which an answer was kept") \
    C(auth_callback_full, "requests refused with 503 because too many waited for the application (auth.callback_queue), or too long") \
    C(auth_callback_broken, "requests refused with 503 at once because the application had failed too often (auth.callback_failures)") \
    C(auth_callback_opened, "times that it had failed so often") \
    G(auth_callback_open, "reactors that refuse at once now for that reason") \
    G(auth_callback_waiting, "requests that wait for the application now") \
    G(auth_callback_connections, "connections to the application now") \
    C(delivered, "messages handed to subscribers") \
    C(replayed, "of them, those read from history, by subscribers who came back or fell behind") \
    C(v1_commands, "halley.v1 commands, whatever brought them") \
    C(v1_errors, "of them, those answered with an error") \
    C(v1_pauses, "times that a halley.v1 WebSocket was not read because too many of its commands had no answer yet") \
    C(replays, "halley.v1 replays begun: subscribes with after or last") \
    C(deflated, "messages deflated, each once per reactor, wire form and window size, for all who take it so: permessage-deflate, gzip streams") \
    C(deflate_bytes_in, "bytes of them before") \
    C(deflate_bytes_out, "bytes of them after") \
    C(deflate_skipped, "messages that went as they are because enough had been deflated in that turn of the loop") \
    C(inflated, "messages from WebSocket clients that came compressed") \
    C(inflate_bytes_in, "bytes of them as they came") \
    C(inflate_bytes_out, "bytes of them inflated") \
    C(inflate_cut, "of those closed over limits.message, messages that were inflated up to it and no further") \
    G(deflate_contexts, "WebSockets that have a compression context of their own (deflate.context)") \
    G(deflate_context_bytes, "memory of these, which limits.deflate bounds") \
    C(deflate_refused, "WebSockets that got no context of their own because of limits.deflate, and are served without") \
    C(client_messages, "messages received from WebSocket clients") \
    C(commands, "halley.v1 commands that came with POST /command") \
    C(commands_forwarded, "of them, those for a connection that another reactor has") \
    C(commands_refused, "of them, those refused: for a connection that is not there, or without one") \
    C(pings, "pings sent") \
    C(closed_idle, "WebSockets closed because nothing came from them (4408)") \
    C(fell_behind, "times that a subscriber over limits.outq fell behind, to catch up from history") \
    C(cut, "times that what waited for a slow subscriber was cut down to a cursor because all queues were over limits.outq_total") \
    C(skipped, "messages that slow subscribers did not get because of on_slow = drop_oldest or conflate; they were told") \
    C(disconnected_slow, "subscribers closed because of on_slow = disconnect (1013)") \
    C(gaps, "gaps told to subscribers") \
    C(poll_answers, "polls answered with 200, empty ones among them") \
    C(poll_not_modified, "polls answered with 304") \
    C(poll_refused, "polls answered with 503 because all queues were over limits.outq_total") \
    C(presence_refused, "subscribers who are not listed as present because of limits.presence") \
    C(kicked, "connections that a backend ended, or subscriptions of: DISCONNECT, REVOKE") \
    C(drained, "clients told to come back later, by a drain") \
    C(rechecked_ends, "subscriptions ended because their client's new token, or the rules of a reload, no longer allow them") \
    C(revocations, "tokens and users revoked") \
    C(revocations_refused, "revocations refused at limits.revocations") \
    C(events, "events published on topics of Halley's own ($halley/...)") \
    C(events_lost, "of them, those lost because memory ran out") \
    C(gap_events_left_out, "gaps that backends were not told one by one ($halley/gap), over 100 a second of a reactor") \
    C(closed_slow, "backend subscribers closed over limits.backend_outq") \
    C(closed_protocol, "WebSockets closed because the peer broke the protocol (1002, 1007, 1008 over limits.fragments)") \
    C(closed_too_big, "WebSockets closed over limits.message (1009)") \
    C(closed_policy, "WebSockets closed because the client may not publish there (1008)") \
    C(closed_expired, "connections closed because their token had expired (4401)") \
    C(closed_lost, "WebSockets closed because messages were lost to them (4410)") \
    C(backend_auth_failures, "wrong keys on the backend door: AUTH, HELLO, Authorization") \
    C(backend_auth_timeouts, "backend connections closed because no key came in limits.handshake_timeout") \
    C(backends_displaced, "backend connections without a key closed for a new one, at their share of limits.backends") \
    C(backend_commands, "RESP commands") \
    C(backend_errors, "RESP commands and backend requests answered with an error") \
    C(publish_refused, "publishes refused: bad topic or payload, too large, not allowed, over a limit") \
    C(rate_limited, "of them, those over limits.publish_rate or limits.publish_bytes") \
    C(rate_pauses, "times that a plain WebSocket was not read because it had published all that these two allow") \
    C(publish_pauses, "times that a publisher was not read because an inbox was over limits.inbox")

struct stats {
#define STATS_MEMBER(name, doc) _Atomic uint64_t name;
    STATS(STATS_MEMBER, STATS_MEMBER)
#undef STATS_MEMBER
};

static inline void stat_add(_Atomic uint64_t *counter, uint64_t n) /* one writer: no locked instruction */
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void stat_sub(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) - n, memory_order_relaxed);
}

struct stat_value {
    const char *name;
    const char *doc;
    uint64_t value;
    int is_gauge;
};

#define STAT_ONE(name, doc) +1
enum { STATS_COUNT = 0 STATS(STAT_ONE, STAT_ONE) };
#undef STAT_ONE

#endif
