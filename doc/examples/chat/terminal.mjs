#!/usr/bin/env node
// The chat in a terminal: node chat/terminal.mjs TOKEN
// A line is said; /who asks who is there. Needs Node.js 20, and no packages.
import { createInterface } from "node:readline";

import { Chat } from "./chat.js";

const url = process.env.PUBLIC_URL ?? "http://127.0.0.1:8080";
const token = process.argv[2];
const me = JSON.parse(Buffer.from(token.split(".")[1], "base64url")).sub;

// Node imports nothing from http: addresses, so the server's halley.js is fetched. From npm it is `halley-client`.
const source = await (await fetch(`${url}/halley.js`)).text();
const { Halley } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const halley = new Halley(url, { token });
halley.on("connected", () => console.error("connected as", me));
halley.on("disconnected", ({ reason }) => console.error("disconnected:", reason));
const chat = new Chat(halley, me, ({ who, text }) => console.log(`${who}: ${text}`));

for await (const line of createInterface({ input: process.stdin })) {
  if (line === "/who") console.log("here:", (await chat.ask("who")).who.join(", "));
  else await chat.say(line);
}
halley.close();
