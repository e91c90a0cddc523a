#!/usr/bin/env node
// Print what is published, as a backend, with ioredis: node/receive.mjs TOPIC-OR-PATTERN...
// A name with a * is a pattern: room/* is any one level, room/** all below, * everything.
import { Redis } from "ioredis"; // npm install ioredis

const halley = new Redis({ path: process.env.BACKEND_SOCKET ?? "backend.sock" });
halley.on("message", (topic, payload) => console.log(topic, payload));
halley.on("pmessage", (_pattern, topic, payload) => console.log(topic, payload));
for (const name of process.argv.slice(2)) {
  await (name.includes("*") ? halley.psubscribe(name) : halley.subscribe(name));
  console.error("listening to", name);
}
// ioredis connects again by itself; what was published meanwhile is missing. halley.xread("BLOCK", 0, "STREAMS", topic,
// lastId) misses nothing: lastId is the id of the last entry that was dealt with.
