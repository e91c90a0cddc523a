#!/usr/bin/python3
"""The backend of the chat, with redis-py: python3 chat/chat.py

Browsers publish to inbox/chat. What they say goes to the room, if it may; what they ask is answered to whoever asked."""
import json
import os
import sys

import redis  # apt install python3-redis, or pip install redis

ROOM = "room/lobby"
halley = redis.Redis(unix_socket_path=os.environ.get("BACKEND_SOCKET", "backend.sock"), decode_responses=True)


def pairs(flat):
    """What RESP2 has for a map."""
    return dict(zip(flat[::2], flat[1::2]))


def publish(topic, data):
    halley.publish(topic, json.dumps(data))


def say(sender, text):
    if not isinstance(text, str) or not 0 < len(text) <= 500:
        return
    if "spam" in text:  # this connection ends; REVOKE USER would keep the user out
        halley.execute_command("DISCONNECT", "CONNECTION", sender["connection"], "REASON", "no spam here")
    else:
        publish(ROOM, {"who": sender["sub"], "text": text})


def answer(sender, question, number):
    """The reply goes to a topic that only this user may subscribe to; all her pages get it, and know their own by its id."""
    if question == "who":
        members = pairs(halley.execute_command("PRESENCE", ROOM))["members"]
        reply = {"who": sorted(pairs(m)["sub"] or "a guest" for m in members)}
    else:
        reply = {"error": f"I do not know about {question}"}
    publish(f"user/{sender['sub']}/chat", {"id": number, **reply})


def handle(message):
    # Halley says who it was ("from"); the rest comes from a browser, and may be anything.
    sender, data = message.get("from", {}), message["data"]
    if "sub" not in sender or not isinstance(data, dict):
        return
    if "say" in data:
        say(sender, data["say"])
    elif "ask" in data:
        answer(sender, data["ask"], data.get("id"))


listener = halley.pubsub(ignore_subscribe_messages=True)
listener.subscribe("inbox/chat")
listener.get_message(timeout=10)  # the confirmation: it listens from here on
print("the chat is open", file=sys.stderr, flush=True)
for event in listener.listen():
    handle(json.loads(event["data"]))
