#!/usr/bin/python3
"""A client as a browser is one, with websockets: python/client.py TOPIC [MESSAGE]

Subscribes to the topic, publishes the message if there is one (the topic's rule must let clients), prints what comes."""
import asyncio
import json
import os
import sys

import websockets  # apt install python3-websockets, or pip install websockets

URL = os.environ.get("PUBLIC_URL", "http://127.0.0.1:8080").replace("http", "ws", 1)


async def main(topic, message=None):
    # halley.v1 is JSON objects: commands with ids of our own, their answers, and messages. Without the subprotocol,
    # /ws?topic=TOPIC gives the bare payloads, one a frame.
    async with websockets.connect(URL + "/ws", subprotocols=["halley.v1"]) as ws:
        await ws.send(json.dumps({"id": 1, "subscribe": topic}))
        async for text in ws:
            got = json.loads(text)
            if got.get("id") == 1 and "ok" in got:
                print("subscribed, from", got["ok"]["cursor"], "on", file=sys.stderr, flush=True)
                if message is not None:
                    await ws.send(json.dumps({"id": 2, "publish": topic, "data": message}))
            elif "error" in got:
                sys.exit(f"{got['error']['code']}: {got['error']['message']}")
            elif "data" in got:
                print(got["topic"], got["data"], flush=True)


try:
    asyncio.run(main(*sys.argv[1:3]))
except KeyboardInterrupt:
    pass
