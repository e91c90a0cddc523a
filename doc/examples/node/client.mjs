#!/usr/bin/env node
// Clients as browsers are, with ws and eventsource: node/client.mjs TOPIC
// In a browser both are there without an import, and halley.js does all this and reconnects: see ../chat.
import { EventSource } from "eventsource"; // npm install eventsource ws
import WebSocket from "ws";

const url = process.env.PUBLIC_URL ?? "http://127.0.0.1:8080";
const topic = encodeURIComponent(process.argv[2]);

// A plain WebSocket gets the payloads and nothing else.
const ws = new WebSocket(`${url.replace(/^http/, "ws")}/ws?topic=${topic}`);
ws.onopen = () => console.error("WebSocket is open");
ws.onmessage = (event) => console.log("WebSocket:", event.data);

// An event stream comes back by itself, and goes on where it was: each event has a cursor as its id.
const events = new EventSource(`${url}/sse?topic=${topic}`);
events.onopen = () => console.error("EventSource is open");
events.onmessage = (event) => console.log("EventSource:", event.data);
events.addEventListener("halley.gap", () => console.error("some messages are gone: fetch the state anew"));
