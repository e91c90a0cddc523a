#!/bin/sh
# The same as a backend, with redis-cli: shell/redis.sh TOPIC MESSAGE
# Publishes, then reads the topic's history without losing anything: a topic is a stream, entries have cursors for ids.
set -eu
socket=${BACKEND_SOCKET:-backend.sock}

redis-cli -s "$socket" PUBLISH "$1" "$2"
redis-cli -s "$socket" XREAD COUNT 10 STREAMS "$1" 0
# redis-cli -s "$socket" SUBSCRIBE "$1"      listens, until Ctrl-C
