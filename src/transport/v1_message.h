/* A message as halley.v1 has it: {"topic":"chat/42","cursor":"k3f9-1051","data":"hi"}, the data as its rule's `payload` says,
 * and before it "from":{...} and "time":MILLISECONDS if its rule's `stamp` says so. */
#ifndef HALLEY_TRANSPORT_V1_MESSAGE_H
#define HALLEY_TRANSPORT_V1_MESSAGE_H

#include "base/slice.h"
#include "core/message.h"

/* An upper bound of what v1_message_put() writes, in bytes. */
size_t v1_message_bound(struct message *m, struct slice replay_id, bool for_script);

/* replay_id: a JSON number as text, which makes it a message of a replay ("replay":ID comes last); len 0: of the live flow. Returns the end. */
uint8_t *v1_message_put(uint8_t *out, struct message *m, const char *epoch, struct slice replay_id, bool for_script);

#endif
