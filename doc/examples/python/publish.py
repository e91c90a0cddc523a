#!/usr/bin/python3
"""Publish a message with redis-py: python/publish.py TOPIC MESSAGE"""
import os
import sys

import redis  # apt install python3-redis, or pip install redis

topic, message = sys.argv[1:3]
halley = redis.Redis(unix_socket_path=os.environ.get("BACKEND_SOCKET", "backend.sock"), decode_responses=True)

# How many subscriptions it matched. 0 is fine: nobody is there, and the topic's history keeps it.
print(halley.publish(topic, message))

# execute_command() is for what Redis does not know. With KEY a publish may be repeated when in doubt, and happens once:
# print(halley.execute_command("PUBLISH", topic, message, "KEY", "order-17"))
