#!/usr/bin/env node
// halley.js, the browser client, in Node: what it promises holds over each transport, over connections that are cut at
// random points, and while it changes from one transport to the next. What is tested is what the server serves.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import net from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";

import { EventSource } from "eventsource";
import WebSocket, { WebSocketServer } from "ws";

const halleyd = resolve(process.env.HALLEYD ?? "build/halleyd");
const output = resolve(process.env.TEST_OUTPUT ?? "test-output/92-halley-js");
const PATIENCE_MS = 60000; // of every wait: for machines that are busy, a test that passes never needs it
const CUTS = process.env.TEST_SHORT ? 10 : 40; // of each transport
const MAX_BYTES = 5120; // of the client, compressed
const TRANSPORTS = ["ws", "sse", "ndjson", "poll"];

const scratch = mkdtempSync(join(tmpdir(), "halley-js-")); // the path of a Unix socket is to be short
const socket = join(scratch, "backend.sock");

// All that is random is the cuts, and the client's pauses, which are made short: nobody is spared by them here.
const seed = Number(process.env.SEED ?? Date.now() % 1000000);
let state = seed;
const random = (n) => { // 0 to n - 1
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return (state >> 8) % n;
};
const unhurried = Math.random;
Math.random = () => unhurried() / 20;

/* ---- waiting */

/** The promise's value, or a failure when it takes too long. */
function soon(what, promise) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`waited ${PATIENCE_MS / 1000} s for: ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Wait until look() returns something, look again soon while it does not. */
async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`waited ${PATIENCE_MS / 1000} s for: ${typeof what === "function" ? what() : what}`);
    await new Promise((done) => setTimeout(done, 5));
  }
}

/* ---- the server, and a backend */

class Server {
  constructor(path = socket, settings = "") {
    Object.assign(this, { path, settings });
  }

  async start() {
    const config = `${this.path}.conf`;
    writeFileSync(config, `listen "127.0.0.1:0" { }
backend "${this.path}" { mode = 0600 }
limits { message = 4k }
${this.settings}
topics "no/**" { subscribe = nobody  publish = nobody }
topics "few/**" { subscribe = anyone  publish = anyone  history = 3 }
topics "json/**" { subscribe = anyone  publish = anyone  history = 10  payload = json }
topics "**" { subscribe = anyone  publish = anyone  history = 20000 }
`);
    this.log = "";
    this.child = spawn(halleyd, ["--config", config], { env: { ...process.env, HALLEY_DRAIN_TIME: "0s" }, stdio: ["ignore", "pipe", "pipe"] });
    const file = createWriteStream(join(output, `halleyd-${this.child.pid}.log`));
    this.ended = once(this.child, "close").then(([code, signal]) => code ?? signal);
    const ready = new Promise((done, fail) => {
      for (const stream of [this.child.stdout, this.child.stderr])
        stream.on("data", (data) => {
          file.write(data);
          this.log += data;
          if (this.log.includes("ev=ready ")) done();
        });
      this.child.once("close", () => fail(new Error(`the server ended: ${this.log}`)));
      this.child.once("error", fail);
    });
    await soon("the server", ready);
    this.port = Number(this.log.match(/door=public address=\S*:(\d+)$/m)[1]);
    this.url = `http://127.0.0.1:${this.port}/`;
    return this;
  }

  async stop() {
    this.child.kill("SIGTERM");
    assert.equal(await soon("the server's end", this.ended), 0, "exit code");
    assert.doesNotMatch(this.log, /level=error/);
  }
}

const backendAgent = new http.Agent({ keepAlive: true, maxSockets: 1 }); // one: what is published in turn is in order

async function ask(method, path, body) {
  const request = http.request({ socketPath: socket, method, path, agent: backendAgent }).end(body);
  const [response] = await once(request, "response");
  let text = "";
  for await (const data of response.setEncoding("utf8")) text += data;
  assert.equal(response.statusCode, 200, text);
  return JSON.parse(text);
}

const publish = (topic, data) => ask("POST", `/publish?topic=${encodeURIComponent(topic)}`, data);

/* ---- the way to the server, which can be bad in many ways */

class Way {
  /** on(path, query) is called for each request; it returns "pass", "refuse", "hold" (the answer does not come before
   * release()), or "lose" (it is carried out, and then the connection breaks). bytes(): after how many a connection is cut. */
  async open(server, { on = () => "pass", bytes = () => Infinity } = {}) {
    Object.assign(this, { server, on, bytes, sockets: new Set(), held: [], cuts: 0, paths: [] });
    this.listener = net.createServer((near) => this.#carry(near)).listen(0, "127.0.0.1");
    await once(this.listener, "listening");
    this.url = `http://127.0.0.1:${this.listener.address().port}/`;
    closers.push(() => this.close());
    return this;
  }

  #carry(near) {
    const far = net.connect(this.server.port, "127.0.0.1");
    let left = this.bytes(), verdict = "pass";
    const take = (to, data) => {
      to.write(data.subarray(0, Math.max(0, left)));
      left -= data.length;
      if (left > 0 || near.destroyed) return;
      this.cuts++;
      far.destroy();
      if (random(2)) near.resetAndDestroy(); // what is written is lost, too
      else near.destroySoon();
    };
    near.on("data", (data) => {
      const request = data.toString("latin1").match(/^[A-Z]+ (\/[^ ?]*)([^ ]*)/);
      if (request) {
        this.paths.push(request[1]);
        verdict = this.on(request[1], request[2]);
      }
      if (verdict === "refuse") near.end("HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      else take(far, data);
    });
    far.on("data", (data) => {
      if (verdict === "lose" || this.isLosing) this.cut();
      else if (verdict === "hold") this.held.push(() => take(near, data));
      else if (verdict !== "refuse") take(near, data);
    });
    for (const [one, other] of [[near, far], [far, near]]) {
      this.sockets.add(one);
      one.on("error", () => {}).on("close", () => { this.sockets.delete(one); if (verdict !== "refuse") other.destroySoon(); });
    }
  }

  release() {
    for (const pass of this.held.splice(0)) pass();
  }

  loseAnswer() { // cut it when the next bytes come from the server
    this.isLosing = true;
  }

  cut() {
    this.isLosing = false;
    for (const each of this.sockets) each.destroy();
  }

  close() {
    this.cut();
    this.listener.close();
  }
}

/* ---- clients; all are closed at the end of a test */

const closers = [];
let Halley; // from the server

function connect(url, options = {}) {
  const h = new Halley(url, { WebSocket, EventSource, ...options });
  h.events = [];
  for (const name of ["connected", "disconnected", "recovered", "gap", "error"])
    h.on(name, (detail) => h.events.push({ name, ...detail }));
  h.count = (name) => h.events.filter((event) => event.name === name).length;
  closers.push(() => h.close());
  return h;
}

/** For what a real server does rarely: a WebSocket server that greets with greet(ws, request). Returns its URL. */
async function fakeServer(greet) {
  const fake = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "halley.v1" });
  closers.push(() => { for (const each of fake.clients) each.terminate(); fake.close(); });
  await once(fake, "listening");
  fake.on("connection", greet);
  return `ws://127.0.0.1:${fake.address().port}`;
}

/** Subscribe, and note what comes. */
function listen(h, topics, options) {
  const got = [];
  const sub = h.subscribe(topics, (m) => got.push(m), options);
  return Object.assign(got, {
    sub,
    data: () => got.map((m) => m.data),
    has: (count) => until(() => `${count} messages of ${topics}, ${got.length} came: ${JSON.stringify([got.slice(-3), h.events.slice(-3)])}`,
      () => got.length >= count),
  });
}

/** Wait until the subscription is in force: until a message that is published gets there. */
async function settled(topic, got) {
  await until(`a message on ${topic}`, async () => {
    await publish(topic, "settled?");
    return got.length > 0;
  });
  const { cursor } = await publish(topic, "settled");
  await until(`the last one on ${topic}`, () => got.at(-1).cursor === cursor);
  got.length = 0;
}

const seqOf = (m) => Number(m.cursor.split("-")[1]);
const numbers = (count, name = "") => Array.from({ length: count }, (_, i) => `${name}${i}`);

function inOrder(got) {
  for (let i = 1; i < got.length; i++)
    assert.ok(seqOf(got[i]) > seqOf(got[i - 1]), `${JSON.stringify(got[i])} came after ${JSON.stringify(got[i - 1])} (seed ${seed})`);
}

/* ---- tests that hold over each transport */

const overEach = {
  async "what backends and clients publish arrives, in order, where it is wanted"(server, transports, id) {
    const h = connect(server.url, { transports });
    const one = listen(h, `${id}/a`), some = listen(h, [`${id}/b`, `${id}/x/**`]), all = listen(h, `${id}/**`);
    await settled(`${id}/a`, one);
    await settled(`${id}/b`, some);
    await settled(`${id}/x/y`, all);
    one.length = some.length = all.length = 0;
    for (const text of numbers(10)) await publish(`${id}/a`, text);
    await publish(`${id}/x/deep/down`, "pattern");
    const { cursor, subscribers } = await h.publish(`${id}/b`, "grüße");
    assert.equal(typeof subscribers, "number");
    await Promise.all(numbers(20, "me ").map((text) => h.publish(`${id}/a`, text)));
    await all.has(32);
    assert.deepEqual(one.data(), [...numbers(10), ...numbers(20, "me ")]);
    assert.deepEqual(some.map(({ topic, data }) => [topic, data]), [[`${id}/x/deep/down`, "pattern"], [`${id}/b`, "grüße"]]);
    assert.equal(some[1].cursor, cursor);
    assert.deepEqual(all.data(), [...numbers(10), "pattern", "grüße", ...numbers(20, "me ")]);
    assert.equal(h.events[0].transport, transports[0]);
    assert.equal(h.count("disconnected"), 0);
  },

  async "json stays json"(server, transports, id) {
    const h = connect(server.url, { transports });
    const got = listen(h, `json/${id}`, { after: 0 });
    await h.publish(`json/${id}`, { n: [1, "two", null] });
    await h.publish(`json/${id}`, 7);
    await got.has(2);
    assert.deepEqual(got.data(), [{ n: [1, "two", null] }, 7]);
  },

  async "after and last replay what was, and then go on"(server, transports, id) {
    const topic = `${id}/replay`, cursors = [];
    for (const text of numbers(10)) cursors.push((await publish(topic, text)).cursor);
    const h = connect(server.url, { transports });
    const all = listen(h, topic, { after: 0 }), some = listen(h, topic, { after: cursors[4] }), last = listen(h, topic, { last: 2 });
    await Promise.all([all.has(10), some.has(5), last.has(2)]);
    assert.deepEqual([all.data(), some.data(), last.data()], [numbers(10), numbers(10).slice(5), numbers(10).slice(8)]);
    assert.ok(all.every((m) => m.replay === true));
    await until("their cursors", () => [all, some, last].every(({ sub }) => seqOf(sub) >= seqOf({ cursor: cursors[9] })));
    await publish(topic, "10");
    await Promise.all([all.has(11), some.has(6), last.has(3)]);
    assert.deepEqual([all.data(), some.data(), last.data()], [numbers(11), numbers(11).slice(5), numbers(11).slice(8)]);
    assert.equal(seqOf(all.sub), seqOf(all[10]));
  },

  async "a subscription that is closed hears nothing more, others of its topic do"(server, transports, id) {
    const h = connect(server.url, { transports });
    const one = listen(h, `${id}/c`), other = listen(h, `${id}/c`);
    await settled(`${id}/c`, one);
    await settled(`${id}/c`, other);
    one.length = 0;
    one.sub.close();
    await publish(`${id}/c`, "x");
    await other.has(1);
    other.sub.close();
    const again = listen(h, `${id}/c`, { after: other[0].cursor });
    await publish(`${id}/c`, "y");
    await again.has(1);
    assert.deepEqual([one.data(), other.data(), again.data()], [[], ["x"], ["y"]]);
  },

  async "each subscription gets what its patterns match, and nothing else"(server, transports, id) {
    const topics = ["a", "a/b", "a/b/c", "a/", "a//b", "/a", "ab", "a:1", "a:1/b", "a.b", "a+b(c)[d]{e}|^$\\?", "ä/ö", "b/a", "axb"];
    const patterns = ["a", "a/*", "a/**", "*", "**", "a:*", "a*", "*/b", "*/*", "a/*/c", "a.b", "a+b(c)[d]{e}|^$\\?", "ä/*", "/a", "*/a", "a/b*"];
    const matches = (pattern, topic) => { // level by level, as doc/protocol.md says
      const p = pattern.split("/"), t = topic.split("/");
      const level = (want, is) => want.endsWith("*") ? is.startsWith(want.slice(0, -1)) : want === is;
      if (p.at(-1) !== "**") return p.length === t.length && p.every((want, i) => level(want, t[i]));
      return t.length >= p.length && p.slice(0, -1).every((want, i) => level(want, t[i]));
    };
    // All below one name of the test's own, and on one connection: what one pattern brings the others see as well.
    const h = connect(server.url, { transports });
    const subs = patterns.map((pattern) => [pattern, listen(h, `${id}/${pattern}`, { after: 0 })]);
    for (const topic of topics) await publish(`${id}/${topic}`, topic);
    for (const [pattern, got] of subs) {
      const wanted = topics.filter((topic) => matches(pattern, topic));
      await got.has(wanted.length);
      assert.deepEqual(got.data(), wanted, pattern);
    }
  },

  async "history is answered, in pieces"(server, transports, id) {
    const h = connect(server.url, { transports }), topic = `${id}/h`;
    for (const text of numbers(10)) await publish(topic, text);
    const { messages, cursor } = await h.history(topic, { limit: 4 });
    assert.deepEqual(messages.map((m) => m.data), numbers(4));
    const rest = await h.history(topic, { after: cursor });
    assert.deepEqual(rest.messages.map((m) => m.data), numbers(10).slice(4));
    assert.ok(!rest.gap);
  },

  async "subscriptions that come and go while messages come disturb nobody"(server, transports, id) {
    const h = connect(server.url, { transports }), first = listen(h, [`${id}/0`, `${id}/1`], { after: 0 }), others = [];
    let count = 0, isOver = false;
    const backend = (async () => {
      while (!isOver) await publish(`${id}/${count % 2}`, `${count++}`);
    })();
    for (let i = 0; i < 30; i++) {
      others.push(listen(h, i % 3 ? `${id}/*` : [`${id}/1`, `${id}/0`], { after: 0 }));
      await others.at(-1).has(count);
      if (i % 4 === 0) others.shift().sub.close();
    }
    isOver = true;
    await backend;
    for (const got of [first, ...others]) {
      await got.has(count);
      assert.deepEqual(got.data(), numbers(count));
    }
  },

  async "what is refused is told, and the rest goes on"(server, transports, id) {
    const h = connect(server.url, { transports });
    h.subscribe("no/entry", () => {});
    const got = listen(h, `${id}/r`);
    await until("the refusal", () => h.count("error") === 1);
    const [{ code, message, topics }] = h.events.filter((event) => event.name === "error");
    assert.deepEqual([code, topics], ["forbidden", ["no/entry"]]);
    assert.match(message, /\w+ \w+/);
    await assert.rejects(h.publish("a*b", "x"), (error) => error.code === "bad_topic" && error instanceof Error);
    await assert.rejects(h.publish(`${id}/r`, "x".repeat(5000)), { code: "too_large" });
    await settled(`${id}/r`, got);
    await assert.rejects(h.publish("no/entry", "x"), { code: "forbidden" });
  },

  async "a client that was away has what it missed, and is told that it has"(server, transports, id) {
    const way = await new Way().open(server);
    const h = connect(way.url, { transports });
    const a = listen(h, `${id}/1`), b = listen(h, `${id}/2/*`);
    await settled(`${id}/1`, a);
    await settled(`${id}/2/x`, b);
    way.on = () => "refuse";
    way.cut();
    await until("disconnected", () => h.count("disconnected") === 1);
    for (const text of numbers(20)) await publish(Number(text) % 2 ? `${id}/1` : `${id}/2/y`, text);
    const late = listen(h, `${id}/1`, { last: 1 }), sent = h.publish(`${id}/1`, "sent when it is back");
    way.on = () => "pass";
    await sent;
    await Promise.all([a.has(11), b.has(10), late.has(2)]);
    assert.deepEqual(a.data(), [...numbers(20).filter((n) => n % 2), "sent when it is back"]);
    assert.deepEqual(b.data(), numbers(20).filter((n) => n % 2 === 0));
    assert.deepEqual(late.data().slice(-1), ["sent when it is back"]);
    await until("recovered", () => h.count("recovered") === 1);
    assert.equal(h.count("gap"), 0);
  },

  async "one that is cut before its first message misses nothing either"(server, transports, id) {
    const way = await new Way().open(server), h = connect(way.url, { transports }), got = listen(h, `${id}/first`);
    await h.history(`${id}/first`); // is answered after the subscribe
    assert.match(got.sub.cursor, /^\w+-\d+$/);
    way.on = () => "refuse";
    way.cut();
    for (const text of numbers(5)) await publish(`${id}/first`, text);
    way.on = () => "pass";
    await got.has(5);
    assert.deepEqual(got.data(), numbers(5));
    assert.equal(h.count("gap"), 0);
  },

  async "what cannot be had any more is told as a gap, before what there is"(server, transports, id) {
    const way = await new Way().open(server), topic = `few/${id}`;
    const h = connect(way.url, { transports }), got = listen(h, topic);
    h.on("gap", () => got.push({ data: "gap" }));
    await settled(topic, got);
    way.on = () => "refuse";
    way.cut();
    for (const text of numbers(10)) await publish(topic, text);
    way.on = () => "pass";
    await got.has(4);
    assert.deepEqual(got.data(), ["gap", "7", "8", "9"]);
    const gap = h.events.find((event) => event.name === "gap");
    assert.deepEqual(gap.topics, [topic]);
    assert.match(gap.after, /^\w+-\d+$/);
    assert.match(gap.reason, /\w/);
    await publish(topic, "10");
    await got.has(5);
    assert.equal(h.count("recovered"), 0);
  },

  async "a publish whose answer is lost is sent again, and happens once"(server, transports, id) {
    const way = await new Way().open(server), topic = `${id}/once`;
    const h = connect(way.url, { transports });
    await until("connected", () => h.count("connected") === 1);
    await h.publish(topic, "first");
    let isLost = false;
    if (transports[0] === "ws") way.loseAnswer();
    else way.on = (path) => /publish|command/.test(path) && !isLost && (isLost = true) ? "lose" : "pass";
    const { cursor } = await h.publish(topic, "once");
    await until("reconnected", () => h.count("connected") === 2);
    const { messages } = await h.history(topic);
    assert.deepEqual(messages.map((m) => m.data), ["first", "once"]);
    assert.equal(messages[1].cursor, cursor);
  },

  async "the token is asked for at each connection"(server, transports, id) {
    const way = await new Way().open(server);
    const tokens = [];
    const token = async () => { tokens.push(`token-${tokens.length}`); if (tokens.length === 2) throw new Error("not now"); return tokens.at(-1); };
    const h = connect(way.url, { transports, token }), got = listen(h, `${id}/t`);
    await settled(`${id}/t`, got);
    assert.deepEqual(tokens, ["token-0"]);
    way.cut();
    await settled(`${id}/t`, got);
    assert.deepEqual(tokens, ["token-0", "token-1", "token-2"]);
    assert.deepEqual(h.events.filter(({ name }) => name === "error").map(({ message }) => message), ["not now"]);
  },

  async "connections that are cut anywhere lose, double and swap nothing"(server, transports, id) {
    const most = transports[0] === "poll" ? 100000 : 5000; // an answer to a poll comes as a whole, or not at all
    const way = await new Way().open(server, { bytes: () => 1 + random(random(2) ? 600 : most) });
    const h = connect(way.url, { transports }), subs = [];
    subs.push(listen(h, [`${id}/b`, `${id}/c`], { after: 0 }), listen(h, `${id}/*`, { after: 0 }));
    let isOver = false, ours = 0, theirs = 0;
    const backend = (async () => {
      while (!isOver) {
        await publish(`${id}/b`, `b${theirs++}`);
        await new Promise((done) => setTimeout(done, 2));
      }
    })();
    const client = (async () => {
      while (!isOver) {
        await Promise.all([h.publish(`${id}/c`, `c${ours++}`), h.publish(`${id}/c`, `c${ours++}`)]);
        if (random(20) === 0) subs.push(listen(h, [`${id}/**`, `${id}/b`], { after: 0 }));
      }
    })();
    await until(() => `${CUTS} cuts, ${way.cuts} were`, () => way.cuts >= CUTS);
    isOver = true;
    way.bytes = () => Infinity;
    await backend;
    await client;
    for (const got of subs) await got.has(ours + theirs);
    for (const got of subs) {
      inOrder(got);
      assert.deepEqual(got.data().filter((text) => text[0] === "b"), numbers(theirs, "b"), `seed ${seed}`);
      assert.deepEqual(got.data().filter((text) => text[0] === "c"), numbers(ours, "c"), `seed ${seed}`);
      assert.equal(got.length, ours + theirs);
    }
    assert.equal(h.count("gap"), 0);
    console.log(`     ${transports}: ${way.cuts} cuts, ${h.count("connected")} connections, ${ours + theirs} messages, ${subs.length} subscriptions`);
  },
};

/* ---- tests of all of it together */

const tests = {
  async "it is served in at most 5 KB, as a module, as a script, with its types"(server) {
    for (const name of ["halley.js", "halley.classic.js"]) {
      const bytes = gzipSync(await get(server, name), { level: 9 }).length;
      console.log(`     ${name}: ${bytes} bytes compressed`);
      assert.ok(bytes <= MAX_BYTES, `${name} has ${bytes} bytes, compressed`);
    }
    assert.match(String(await get(server, "halley.d.ts")), /export declare class Halley/);
    const path = join(scratch, "classic.cjs");
    writeFileSync(path, await get(server, "halley.classic.js"));
    const classic = createRequire(import.meta.url)(path).Halley;
    const h = new classic(server.url);
    closers.push(() => h.close());
    await h.publish("classic", "works");
    const scope = {};
    new Function("globalThis", "module", readFileSync(path, "utf8"))(scope, undefined); // as a page has it
    assert.equal(typeof scope.Halley, "function");
  },

  async "it changes transport in mid-stream, and loses nothing"(server) {
    let works = "ws";
    const doors = { "/ws": "ws", "/sse": "sse", "/stream": "ndjson", "/poll": "poll" };
    const way = await new Way().open(server, { on: (path) => (doors[path] ?? works) === works ? "pass" : "refuse" });
    const h = connect(way.url), got = listen(h, "change/*"), seen = [];
    h.on("connected", ({ transport }) => seen.push(transport));
    await settled("change/a", got);
    let isOver = false, count = 0;
    const backend = (async () => {
      while (!isOver) await publish(`change/${count % 3}`, `${count++}`);
    })();
    for (const next of ["sse", "poll", "ndjson", "ws", "poll", "ws"]) {
      await got.has(got.length + 20);
      works = next;
      way.cut();
      await until(`connected by ${next}`, () => seen.at(-1) === next);
    }
    await got.has(got.length + 20);
    isOver = true;
    await backend;
    await got.has(count);
    assert.deepEqual(got.data(), numbers(count));
    inOrder(got);
    assert.deepEqual(seen, ["ws", "sse", "poll", "ndjson", "ws", "poll", "ws"]);
    assert.equal(h.count("gap"), 0);
  },

  async "of two polls either may be answered late"(server) {
    const way = await new Way().open(server), h = connect(way.url, { transports: ["poll"] }), a = listen(h, "late/a");
    await settled("late/a", a);

    way.on = (path, query) => query.includes("wait=25") ? "hold" : "pass"; // what waits for messages
    await publish("late/a", "0"); // ends the poll from before
    await a.has(1);
    await publish("late/a", "1");
    await until("an answer that is held", () => way.held.length > 0);
    way.on = () => "pass";
    const b = listen(h, "late/b"); // is further than the poll that it joins
    await a.has(2);
    way.held.length = 0; // that connection was given up

    way.on = (path, query) => query.includes("wait=0") ? "hold" : "pass"; // a subscription
    const c = listen(h, "late/c", { after: b.sub.cursor });
    await until("an answer that is held", () => way.held.length > 0);
    await publish("late/c", "2");
    await publish("late/a", "3");
    await a.has(3);
    way.on = () => "pass";
    way.release(); // the poll that it joins is further
    await c.has(1);
    await publish("late/a", "4");
    await a.has(4);
    assert.deepEqual([a.data(), c.data()], [["0", "1", "3", "4"], ["2"]]);
    assert.deepEqual(way.paths.filter((path) => path !== "/poll"), []);
  },

  async "what opens and brings nothing is given up"(server) {
    const way = await new Way().open(server, { on: (path) => path === "/ws" ? "refuse" : /sse|stream/.test(path) ? "hold" : "pass" });
    const h = connect(way.url, { timeout: 300 }), got = listen(h, "held");
    await settled("held", got);
    assert.deepEqual(way.paths.slice(0, 4), ["/ws", "/sse", "/stream", "/poll"]);
    assert.equal(h.events.find((event) => event.name === "connected").transport, "poll");
  },

  async "a server that says nothing for two pings is given up"() {
    const url = await fakeServer((ws) => ws.send('{"hello":{"connection":"1","cursor":"a-1","ping_s":0.05}}'));
    const h = connect(url, { transports: ["ws"] });
    await until("a second connection", () => h.count("connected") === 2);
  },

  async "of several that are asked for again, only the one that is refused ends"() {
    let connections = 0, seq = 1;
    const heard = [];
    const url = await fakeServer((ws) => {
      const isFirst = connections++ === 0, say = (object) => ws.send(JSON.stringify(object));
      say({ hello: { connection: "1", cursor: `a-${seq}`, ping_s: 25 } });
      ws.on("message", (data) => {
        const { id, subscribe, after } = JSON.parse(data), isRefused = !isFirst && subscribe.includes("secret");
        heard.push([subscribe, after]);
        if (isRefused) return say({ id, error: { code: "forbidden", message: "not any more" } });
        say({ id, ok: { cursor: `a-${seq}` } });
        if (after) say({ live: id, cursor: `a-${seq}` });
        say({ topic: subscribe[0], data: "here", cursor: `a-${++seq}` });
        if (isFirst && heard.length === 2) ws.close(1012);
      });
    });
    const h = connect(url, { transports: ["ws"] }), secret = listen(h, "secret"), open = listen(h, "open");
    await open.has(2);
    assert.deepEqual([secret.data(), open.data()], [["here"], ["here", "here"]]);
    assert.deepEqual(heard, [[["secret"], undefined], [["open"], undefined],
      [["secret", "open"], "a-3"], [["secret"], "a-3"], [["open"], "a-3"]]);
    assert.deepEqual(h.events.filter(({ name }) => name === "error"),
      [{ name: "error", code: "forbidden", message: "not any more", topics: ["secret"] }]);
  },

  async "a token that expires is renewed on the living connection"() {
    const heard = [];
    const url = await fakeServer((ws, request) => {
      heard.push(new URL(request.url, "http://x").searchParams.get("token"));
      ws.send('{"hello":{"connection":"1","cursor":"a-1","ping_s":25}}');
      ws.send('{"expiring":{"in_s":30}}');
      ws.on("message", (data) => heard.push(JSON.parse(data).auth));
    });
    let count = 0;
    const h = connect(url, { transports: ["ws"], token: () => `t${count++}` });
    await until("both tokens", () => heard.length === 2);
    assert.deepEqual(heard, ["t0", "t1"]);
    assert.equal(h.count("connected"), 1);
  },

  async "a token that is refused ends it, unless there is a function to get another"() {
    let asked = 0;
    const fake = http.createServer((request, response) => response.writeHead(401).end("The token has expired.")).listen(0, "127.0.0.1");
    closers.push(() => { fake.closeAllConnections(); fake.close(); });
    await once(fake, "listening");
    const url = `http://127.0.0.1:${fake.address().port}`;
    const h = connect(url, { transports: ["ndjson"], token: "old" });
    await assert.rejects(h.publish("a", "b"), { code: "closed" });
    assert.deepEqual(h.events.map(({ name, code, message }) => [name, code, message]), [["error", "unauthorized", "The token has expired."]]);
    connect(url, { transports: ["ndjson"], token: () => `${asked++}` });
    await until("three tokens", () => asked === 3);
  },

  async "tokens open what they say, and are renewed before they expire"() {
    const key = randomBytes(32), encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    writeFileSync(join(scratch, "jwt.key"), key, { mode: 0o600 });
    const sign = (claims) => {
      const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
      return `${text}.${createHmac("sha256", key).update(text).digest("base64url")}`;
    };
    const guarded = new Server(join(scratch, "guarded.sock"), `auth { jwt_key_file = "${join(scratch, "jwt.key")}"  jwt_leeway = 0s  expiry_notice = 1s }
topics "user/{sub}/**" { subscribe = token  publish = token  history = 100 }
topics "open" { subscribe = anyone }`);
    closers.push(() => guarded.child?.kill("SIGKILL"));
    await guarded.start();
    const token = (sub) => sign({ sub, exp: Math.floor(Date.now() / 1000) + 3 });
    await Promise.all(TRANSPORTS.map(async (each) => {
      let count = 0;
      const h = connect(guarded.url, { transports: [each], token: async () => { count++; return token("alice"); } });
      const got = listen(h, "user/alice/*", { after: 0 });
      h.subscribe("user/bob/x", () => {});
      await until("the refusal", () => h.count("error") > 0);
      if (each !== "poll") await until(`a third token over ${each}`, () => count >= 3); // a poll needs a new one when it has ended
      await h.publish(`user/alice/${each}`, each);
      await until("the message", () => got.data().includes(each));
      if (each !== "poll") assert.equal(h.count("disconnected"), 0, `over ${each}`);
      assert.equal(h.count("gap"), 0);
      assert.deepEqual(h.events.filter(({ name }) => name === "error").map(({ code, topics }) => [code, topics])[0], ["forbidden", ["user/bob/x"]]);
      inOrder(got);
      h.close();

    }));
    const old = connect(guarded.url, { token: sign({ sub: "alice", exp: 1 }) }); // WebSocket and EventSource hide why, the next one tells
    await assert.rejects(soon("the end", old.publish("user/alice/x", "x")), { code: "closed" });
    assert.ok(old.events.some(({ name, code }) => name === "error" && code === "unauthorized"));
    await guarded.stop();
  },

  async "in Node without options it finds a transport"(server) {
    const h = connect(server.url, { WebSocket: undefined, EventSource: undefined }), got = listen(h, "plain");
    await settled("plain", got);
    assert.equal(h.events[0].transport, "ndjson");
    assert.equal(h.count("error"), 0);
  },

  async "once closed it does nothing more, and lets the process end"(server) {
    const script = `import { Halley } from ${JSON.stringify(clientUrl)};
      const h = new Halley(process.argv[1]);
      h.subscribe("end", () => { h.close(); h.publish("end", "x").catch((error) => console.log(error.code)); }, { after: 0 });
      h.publish("end", "now").catch(() => {});`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script, server.url], { stdio: ["ignore", "pipe", "inherit"] });
    closers.push(() => child.kill("SIGKILL"));
    let text = "";
    child.stdout.on("data", (data) => { text += data; });
    const [code] = await soon("its end", once(child, "close"));
    assert.deepEqual([code, text], [0, "closed\n"]);
  },

  async "what an application's handler throws is reported, and stops nothing"(server) {
    const h = connect(server.url, { transports: ["ws"] }), thrown = [];
    process.on("uncaughtException", (error) => thrown.push(error.message));
    closers.push(() => process.removeAllListeners("uncaughtException"));
    const got = listen(h, "throws");
    await settled("throws", got);
    h.subscribe("throws", () => { throw new Error("mine"); }, { after: got.sub.cursor });
    for (const text of numbers(3)) await publish("throws", text);
    await got.has(3);
    await until("the errors", () => thrown.length === 3);
    assert.deepEqual(thrown, ["mine", "mine", "mine"]);
    assert.equal(h.count("disconnected"), 0);
  },

  async "all come back after a restart, and are told that they may have missed something"(server) { // the last but for the end
    const way = await new Way().open(server), clients = TRANSPORTS.map((name) => connect(way.url, { transports: [name] }));
    const all = clients.map((h) => listen(h, "again"));
    for (const got of all) await settled("again", got);
    for (const got of all) got.length = 0;
    await server.stop();
    await server.start();
    await publish("again", "after");
    for (const got of all) await got.has(1);
    for (const got of all) assert.deepEqual(got.data(), ["after"]);
    for (const h of clients) assert.equal(h.count("gap"), 1, JSON.stringify(h.events));
    for (const h of clients) assert.equal(h.count("recovered"), 0);
  },
};

/* ---- running them */

let passed = 0, failed = 0, clientUrl;

async function get(server, name) {
  const response = await fetch(server.url + name);
  assert.equal(response.status, 200, name);
  return Buffer.from(await response.arrayBuffer());
}

async function check(name, test) {
  const began = Date.now();
  try {
    await test();
    passed++;
    console.log(`ok   ${name} (${((Date.now() - began) / 1000).toFixed(2)} s)`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${error.stack ?? error}`);
  }
  for (const close of closers.splice(0)) close();
}

const server = new Server();
try {
  mkdirSync(output, { recursive: true });
  await server.start();
  console.log(`     seed ${seed}`);
  const path = join(scratch, "halley.mjs"), words = process.argv.slice(2);
  writeFileSync(path, await get(server, "halley.js"));
  clientUrl = pathToFileURL(path).href;
  ({ Halley } = await import(clientUrl));
  const isWanted = (name) => words.length === 0 || words.some((word) => name.includes(word));
  for (const [name, test] of Object.entries(overEach))
    if (isWanted(name))
      await check(name, () => Promise.all(TRANSPORTS.map((each) =>
        test(server, [each], `${each}${Object.keys(overEach).indexOf(name)}`).catch((error) => {
          throw new Error(`over ${each}: ${error.stack}`);
        }))));
  for (const [name, test] of Object.entries(tests)) if (isWanted(name)) await check(name, () => test(server));
  await check("the server ends with 0 on SIGTERM and has logged no error", () => server.stop());
} catch (error) {
  failed++;
  console.log(`FAIL before or between the tests: ${error.stack ?? error}`);
} finally {
  backendAgent.destroy();
  server.child?.kill("SIGKILL");
  await server.ended;
  rmSync(scratch, { recursive: true, force: true });
}
if (failed > 0) console.log(`---- the server's log\n${server.log}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
