/* The wire forms of a message, for the fan-out. */
#ifndef HALLEY_TRANSPORT_ENCODERS_H
#define HALLEY_TRANSPORT_ENCODERS_H

#include "core/subscription.h"

extern const struct wire_encoder transport_encoders[WIRE_FORMS];

#endif
