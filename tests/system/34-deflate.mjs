#!/usr/bin/env node
// Compression with other people's clients: ws (the WebSocket of Node.js) with every window and takeover it knows, and what fetch() and EventSource make of gzip.
// TEST_DEFLATE_ROUNDS=n: as many random messages for each instead of a few.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createGunzip, constants } from "node:zlib";

import { EventSource } from "eventsource";
import WebSocket from "ws";

const halleyd = resolve(process.env.HALLEYD ?? "build/halleyd");
const ROUNDS = Number(process.env.TEST_DEFLATE_ROUNDS ?? (process.env.TEST_SHORT ? 8 : 30));
const PATIENCE_MS = 30000; // of every wait: for machines that are busy, a test that passes never needs it
const MESSAGE = 16 << 20;

/** The promise's value, or a failure when it takes too long. */
function soon(what, promise) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`waited ${PATIENCE_MS / 1000} s for: ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What came, in order: push() puts, take() waits for the next. */
class Inbox {
  items = [];
  #wake = () => {};

  push(item) {
    this.items.push(item);
    this.#wake();
  }

  async take(what) {
    while (this.items.length === 0) await soon(what, new Promise((wake) => (this.#wake = wake)));
    const item = this.items.shift();
    if (item instanceof Error) throw item;
    return item;
  }
}

class Server {
  constructor(more) {
    this.directory = mkdtempSync(join(tmpdir(), "halley-deflate-"));
    this.socket = join(this.directory, "backend.sock");
    const config = join(this.directory, "halley.conf");
    writeFileSync(config, `listen "127.0.0.1:0" { }\nbackend "${this.socket}" { mode = 0600 }\necho "/echo" { }\n` +
      `limits { message = 16m  fragments = 70000  publish_rate = 0  publish_bytes = 0  outq = 64m }\n${more}\n` +
      `topics "**" { subscribe = anyone  publish = anyone  history = 10 }\n`);
    this.log = "";
    this.process = spawn(halleyd, ["--config", config], { env: { ...process.env, HALLEY_DRAIN_TIME: "0s" }, stdio: ["ignore", "pipe", "pipe"] });
  }

  async start() {
    this.port = await soon("the server", new Promise((done, fail) => {
      const look = (data) => {
        this.log += data;
        const port = /door=public address=\S*:(\d+)/.exec(this.log);
        if (port && this.log.includes("ev=ready")) done(Number(port[1]));
      };
      this.process.stdout.on("data", look);
      this.process.stderr.on("data", look);
      this.process.on("exit", (code) => fail(new Error(`halleyd ended with ${code}:\n${this.log}`)));
    }));
    return this;
  }

  async stop() {
    const ended = new Promise((done) => this.process.once("exit", done));
    this.process.kill("SIGTERM");
    const code = await soon("its end", ended);
    rmSync(this.directory, { recursive: true, force: true });
    assert.equal(code, 0, this.log);
    assert.doesNotMatch(this.log, /level=error|Sanitizer|runtime error/);
  }

  publish(topic, payload) {
    return soon("a publish", new Promise((done, fail) => {
      const request = http.request({ socketPath: this.socket, path: `/publish?topic=${encodeURIComponent(topic)}`, method: "POST" }, (response) => {
        response.resume();
        response.on("end", () => (response.statusCode === 200 ? done() : fail(new Error(`publish: ${response.statusCode}`))));
      });
      request.on("error", fail);
      request.end(payload);
    }));
  }
}

async function connect(server, path, perMessageDeflate) {
  const ws = new WebSocket(`ws://127.0.0.1:${server.port}${path}`, { perMessageDeflate, maxPayload: MESSAGE });
  const inbox = new Inbox();
  ws.on("message", (data) => inbox.push(data));
  ws.on("error", (error) => inbox.push(error));
  ws.on("close", (code) => inbox.push(new Error(`closed with ${code}`)));
  await soon("the handshake", new Promise((done, fail) => ws.once("open", done).once("error", fail)));
  return { ws, inbox };
}

async function disconnect({ ws }) {
  ws.removeAllListeners("close");
  const closed = new Promise((done) => ws.once("close", done));
  ws.close();
  await soon("the end", closed);
}

const below = (n) => Math.floor(Math.random() * n);
const WORDS = ["halley", "comes", "back", "{", "}", '"price":', "12.50", ",", "\n"];

function anything(size) {
  if (below(3) === 0) return randomBytes(size);
  if (below(2) === 0) return Buffer.alloc(size, below(256));
  let text = "";
  while (text.length < size) text += WORDS[below(WORDS.length)] + below(1000);
  return Buffer.from(text.slice(0, size));
}

/** Send one message in random fragments. */
function send(ws, payload, pieces) {
  const cuts = [0, ...Array.from({ length: pieces - 1 }, () => below(payload.length + 1)).sort((a, b) => a - b), payload.length];
  for (let i = 0; i < pieces; i++)
    ws.send(payload.subarray(cuts[i], cuts[i + 1]), { binary: true, compress: true, fin: i === pieces - 1 });
}

const OFFERS = [undefined, ...[8, 9, 10, 11, 12, 13, 14, 15].map((serverMaxWindowBits) => ({ serverMaxWindowBits }))].flatMap((bits) => [
  { ...bits }, { ...bits, serverNoContextTakeover: true }, { ...bits, clientNoContextTakeover: true },
  { ...bits, serverNoContextTakeover: true, clientNoContextTakeover: true, clientMaxWindowBits: 9 + below(7) },
]);

/** Echoes of random messages; what is published reaches a subscriber with the same agreement. */
async function every_agreement_carries_everything(server) {
  for (const offer of OFFERS) {
    const echo = await connect(server, "/echo", { threshold: 0, ...offer });
    const subscriber = await connect(server, "/ws?topic=all", { threshold: 0, ...offer });
    assert.match(echo.ws.extensions, /permessage-deflate/);
    for (let i = 0; i < ROUNDS; i++) {
      const payload = anything(below([100, 1000, 10000, 200000][below(4)]));
      send(echo.ws, payload, 1 + below(below(2) * 8 + 1));
      assert.ok((await echo.inbox.take("an echo")).equals(payload), `${JSON.stringify(offer)}: ${payload.length} bytes`);
      if (i % 4 !== 0) continue;
      const text = anything(below(5000)).toString("base64") + WORDS.join(" ").repeat(below(50));
      await server.publish("all", text);
      assert.equal((await subscriber.inbox.take("a message")).toString(), text, JSON.stringify(offer));
    }
    await disconnect(echo);
    await disconnect(subscriber);
  }
}

async function the_largest_message_comes_back(server) {
  const { ws, inbox } = await connect(server, "/echo", { threshold: 0 });
  const payload = Buffer.concat([anything(MESSAGE / 2), randomBytes(MESSAGE / 2)]);
  ws.send(payload);
  assert.ok((await inbox.take("16 MiB")).equals(payload));
  const many = anything(2000); // each takes ws a turn through zlib; 33-deflate sends 65,536
  for (let i = 0; i < many.length; i++) ws.send(many.subarray(i, i + 1), { binary: true, compress: true, fin: i === many.length - 1 });
  assert.ok((await inbox.take("many fragments")).equals(many));
  await disconnect({ ws });
}

/** fetch() inflates by itself, and shows each line as soon as it has come; so does a pipe through zlib. */
async function fetch_reads_a_compressed_stream(server) {
  const response = await fetch(`http://127.0.0.1:${server.port}/stream?topic=f`, { headers: { "accept-encoding": "gzip" } });
  assert.equal(response.headers.get("content-encoding"), "gzip");
  const inbox = new Inbox();
  let rest = "";
  const take = (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) inbox.push(JSON.parse(line));
  };
  const reader = response.body.getReader();
  const reading = (async () => {
    for (let part; !(part = await reader.read()).done; ) take(Buffer.from(part.value).toString());
  })();
  assert.ok((await inbox.take("hello")).hello);
  for (const size of [1, 500, 5000, 200000]) {
    const text = WORDS.join("-").repeat(size / 20 + 1);
    await server.publish("f", text);
    assert.equal((await inbox.take("a line")).data, text);
  }
  await reader.cancel();
  await reading.catch(() => {});
}

async function zlib_reads_a_compressed_stream(server) {
  const inbox = new Inbox();
  const request = http.get(`http://127.0.0.1:${server.port}/sse?topic=z`, { headers: { "accept-encoding": "gzip" } }, (response) => {
    assert.equal(response.headers["content-encoding"], "gzip");
    response.pipe(createGunzip({ finishFlush: constants.Z_SYNC_FLUSH })).on("data", (data) => inbox.push(data.toString()));
    response.on("error", () => {});
  });
  request.on("error", () => {});
  let seen = "";
  while (!seen.includes("id: ")) seen += await inbox.take("the beginning");
  for (let i = 0; i < 10; i++) {
    await server.publish("z", `${i} ${WORDS.join(" ").repeat(20).replaceAll("\n", "")}`);
    while (!seen.includes(`data: ${i} halley`)) seen += await inbox.take("an event");
  }
  request.destroy();
}

async function eventsource_reads_a_compressed_stream(server) {
  const inbox = new Inbox();
  let encoding;
  const source = new EventSource(`http://127.0.0.1:${server.port}/sse?topic=e`, {
    fetch: async (url, init) => {
      const response = await fetch(url, { ...init, headers: { ...init.headers, "accept-encoding": "gzip, deflate" } });
      encoding = response.headers.get("content-encoding");
      return response;
    },
  });
  source.onmessage = (event) => inbox.push(event.data);
  await soon("it opens", new Promise((done) => (source.onopen = done)));
  assert.equal(encoding, "gzip");
  for (const size of [1, 50, 1000]) {
    const text = "comet ".repeat(size);
    await server.publish("e", text);
    assert.equal(await inbox.take("an event"), text);
  }
  source.close();
}

let passed = 0, failed = 0;
for (const [name, config, tests] of [
  ["without contexts", "", [every_agreement_carries_everything, the_largest_message_comes_back, fetch_reads_a_compressed_stream,
    zlib_reads_a_compressed_stream, eventsource_reads_a_compressed_stream]],
  ["with contexts", "deflate { context = on }", [every_agreement_carries_everything, the_largest_message_comes_back]],
]) {
  const server = await new Server(config).start();
  for (const test of tests) {
    const began = Date.now();
    try {
      await test(server);
      passed++;
      console.log(`ok   ${test.name.replaceAll("_", " ")}, ${name} (${((Date.now() - began) / 1000).toFixed(2)} s)`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${test.name.replaceAll("_", " ")}, ${name}: ${error.stack}\n${server.log.slice(-2000)}`);
    }
  }
  await server.stop();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
