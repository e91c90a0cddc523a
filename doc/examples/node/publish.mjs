#!/usr/bin/env node
// Publish a message with ioredis: node/publish.mjs TOPIC MESSAGE
import { Redis } from "ioredis"; // npm install ioredis; the package redis works as well

const [topic, message] = process.argv.slice(2);
const halley = new Redis({ path: process.env.BACKEND_SOCKET ?? "backend.sock" });

// How many subscriptions it matched. 0 is fine: nobody is there, and the topic's history keeps it.
console.log(await halley.publish(topic, message));

// call() is for what Redis does not know. With KEY a publish may be repeated when in doubt, and happens once:
// await halley.call("PUBLISH", topic, message, "KEY", "order-17");
halley.disconnect();
