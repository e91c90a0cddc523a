#!/usr/bin/env node
// The backend of the chat, with ioredis: node chat/chat.mjs
// Browsers publish to inbox/chat. What they say goes to the room, if it may; what they ask is answered to whoever asked.
import { Redis } from "ioredis"; // npm install ioredis

const ROOM = "room/lobby";
const halley = new Redis({ path: process.env.BACKEND_SOCKET ?? "backend.sock" });
const listener = halley.duplicate(); // a connection that listens does nothing else

const publish = (topic, data) => halley.publish(topic, JSON.stringify(data));

/** What RESP2 has for a map. */
const pairs = (flat) => Object.fromEntries(flat.flatMap((key, i) => (i % 2 ? [] : [[key, flat[i + 1]]])));

async function say(sender, text) {
  if (typeof text !== "string" || text.length === 0 || text.length > 500) return;
  if (text.includes("spam")) // this connection ends; REVOKE USER would keep the user out
    await halley.call("DISCONNECT", "CONNECTION", sender.connection, "REASON", "no spam here");
  else
    await publish(ROOM, { who: sender.sub, text });
}

/** The reply goes to a topic that only this user may subscribe to; all her pages get it, and know their own by its id. */
async function answer(sender, question, id) {
  let reply = { error: `I do not know about ${question}` };
  if (question === "who") {
    const { members } = pairs(await halley.call("PRESENCE", ROOM));
    reply = { who: members.map((member) => pairs(member).sub ?? "a guest").sort() };
  }
  await publish(`user/${sender.sub}/chat`, { id, ...reply });
}

// Halley says who it was (`from`); the rest comes from a browser, and may be anything.
async function handle({ from = {}, data }) {
  if (!from.sub || data === null || typeof data !== "object") return;
  if ("say" in data) await say(from, data.say);
  else if ("ask" in data) await answer(from, data.ask, data.id);
}

listener.on("message", (_topic, payload) => handle(JSON.parse(payload)).catch(console.error));
await listener.subscribe("inbox/chat");
console.error("the chat is open");
