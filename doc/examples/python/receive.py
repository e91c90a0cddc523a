#!/usr/bin/python3
"""Print what is published, as a backend, with redis-py: python/receive.py TOPIC-OR-PATTERN...

A name with a * is a pattern: room/* is any one level, room/** all below, * everything."""
import os
import sys

import redis  # apt install python3-redis, or pip install redis

halley = redis.Redis(unix_socket_path=os.environ.get("BACKEND_SOCKET", "backend.sock"), decode_responses=True)
listener = halley.pubsub()
for name in sys.argv[1:]:
    if "*" in name:
        listener.psubscribe(name)
    else:
        listener.subscribe(name)
for event in listener.listen():
    if event["type"] in ("subscribe", "psubscribe"):
        print("listening to", event["channel"], file=sys.stderr, flush=True)
    else:
        print(event["channel"], event["data"], flush=True)

# What is published while the connection is broken is missing here. A backend that must not miss anything reads the topic
# as a stream: halley.xread({topic: last_id}, block=0), where last_id is the id of the last entry it has dealt with.
