/* One thing that a hub knows, as bytes: what the journal's files and the handover to a successor are made of.
 *
 * Every record has the same form, little-endian:
 *     4 mark      the stream's salt and the length together: a record is known by it without reading it
 *     4 length    of the body, in bytes
 *     4 checksum  of the body, CRC-32 that begins with the salt
 *     body: 1 type, 1 kind, 1 topic bytes, 1 key bytes, 2 from bytes, 1 stamps, 1 zero, 8 seq, 8 time, 8 number, then topic, key, from, payload
 * The salt is a random number of the stream's that no client knows: what somebody publishes cannot pass for records, even when
 * a broken stream is searched for the next whole one. */
#ifndef HALLEY_CORE_HUB_RECORD_H
#define HALLEY_CORE_HUB_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

struct buf;

#define HUB_RECORD_HEAD_BYTES 12
#define HUB_RECORD_FIXED_BYTES 32 /* of the body, before topic, key, from and payload */

enum hub_record_type {
    HUB_RECORD_MESSAGE = 1, /* seq, time, topic, payload, kind: enum rule_payload; with a key: number is the receipt's subscribers */
    HUB_RECORD_KEY,         /* a key of a message that is not in the stream: seq, time, topic, key, number */
    HUB_RECORD_TOPIC,       /* a living topic: seq is its mark */
    HUB_RECORD_RULE,        /* payload: the rule's pattern, empty for the built-in one; seq: its horizon; number: messages kept of a topic */
    HUB_RECORD_HEAD,        /* after the rules, in their order: number tells how many; topic is the epoch, seq the head */
    HUB_RECORD_OWN = 64,    /* from here on: of whoever keeps the stream */
};

struct hub_record { /* slices are borrowed: of the bytes that were decoded */
    uint8_t type;
    uint8_t kind;
    uint8_t stamps; /* of a message: enum message_stamp */
    uint64_t seq;
    uint64_t time_ms; /* wall clock */
    uint64_t number;
    struct slice topic; /* 255 bytes at most, and so has the key */
    struct slice key;
    struct slice from; /* who sent the message, as JSON; 65,535 bytes at most */
    struct slice payload;
};

/* Append the record's bytes. Topic and key have 255 bytes at most. Returns 0 or -ENOMEM. */
int hub_record_encode(struct buf *out, uint32_t salt, const struct hub_record *r);

enum hub_record_verdict {
    HUB_RECORD_GOOD,
    HUB_RECORD_SHORT,  /* the bytes end before the record does */
    HUB_RECORD_BROKEN, /* these bytes are no record, or not the one that was written */
};

/* Read one record from the front of the bytes (borrowed). *ret_used is set when it is good: its length. */
enum hub_record_verdict hub_record_decode(const uint8_t *bytes, size_t len, uint32_t salt, struct hub_record *ret, size_t *ret_used);

/* Where the next good record begins, `from` or later; len if there is none. */
size_t hub_record_find(const uint8_t *bytes, size_t len, uint32_t salt, size_t from);

#endif
