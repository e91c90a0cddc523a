#!/bin/sh
# Publish a message over HTTP, on the backend's Unix socket: shell/publish.sh TOPIC MESSAGE
set -eu
socket=${BACKEND_SOCKET:-backend.sock}

# The host in the URL may be anything. --data-binary sends the message as it is (-d would take line ends out). The answer
# says where in the order the message is, and how many subscriptions it matched: {"cursor":"k3f9abcd-17","subscribers":2}
printf %s "$2" | curl --silent --show-error --fail --unix-socket "$socket" --data-binary @- "http://halley/publish?topic=$1"
