#!/bin/sh
# Print what is published to a topic, as a browser would get it: shell/receive.sh TOPIC [AFTER]
# AFTER is a cursor to go on from, or 0: with all that is kept. Without it: what comes from now on.
set -eu
url=${PUBLIC_URL:-http://127.0.0.1:8080}

# One JSON object a line, starting with a hello: easy for `jq`. -N: print at once, do not collect.
exec curl --silent --show-error --fail --no-buffer "$url/stream?topic=$1${2:+&after=$2}"
