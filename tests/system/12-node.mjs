#!/usr/bin/env node
// Clients that Node.js people use: redis and ioredis as backends, ws and eventsource as browsers. What one side sends
// reaches the other, and a client that reconnects by itself finds its way back.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { EventSource } from "eventsource";
import { Redis } from "ioredis";
import { createClient } from "redis";
import WebSocket from "ws";

const halleyd = resolve(process.env.HALLEYD ?? "build/halleyd");
const output = resolve(process.env.TEST_OUTPUT ?? "test-output/12-node");
const PATIENCE_MS = 30000; // of every wait: for machines that are busy, a test that passes never needs it
const MANY = process.env.TEST_SHORT ? 1000 : 10000;

const scratch = mkdtempSync(join(tmpdir(), "halley-node-")); // the path of a Unix socket is to be short
const socket = join(scratch, "backend.sock");

/* ---- waiting */

/** The promise's value, or a failure when it takes too long. */
function soon(what, promise) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`waited ${PATIENCE_MS / 1000} s for: ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What came, in order: push() puts, take(n) waits for the next n. */
class Inbox {
  items = [];
  #wake = () => {};

  push(...item) {
    this.items.push(item.length === 1 ? item[0] : item);
    this.#wake();
  }

  async take(count) {
    const come = async () => {
      while (this.items.length < count) await new Promise((done) => { this.#wake = done; });
      return this.items.splice(0, count);
    };
    return soon(`${count} messages`, come()).catch((error) => {
      throw new Error(`${error.message}; ${this.items.length} came: ${JSON.stringify(this.items.slice(-3))}`);
    });
  }
}

/* ---- the server */

class Server {
  async start() {
    const config = join(scratch, "halley.conf");
    writeFileSync(config, `listen "127.0.0.1:0" { }
backend "${socket}" { mode = 0600 }
topics "inbox/**" { subscribe = backend  publish = anyone }
topics "bytes/**" { subscribe = anyone  publish = backend  payload = binary  history = 10 }
topics "**" { subscribe = anyone  publish = backend  history = 20000 }
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
    this.address = `127.0.0.1:${this.port}`;
    return this;
  }

  async stop() {
    this.child.kill("SIGTERM");
    assert.equal(await soon("the server's end", this.ended), 0, "exit code");
    assert.doesNotMatch(this.log, /level=error/);
  }
}

/** A TCP proxy before the server: what a client connects to stays where it is while the server, or the way to it, goes. */
class Way {
  async open(server) {
    this.server = server;
    this.sockets = new Set();
    this.listener = net.createServer((near) => {
      const far = net.connect(this.server.port, "127.0.0.1");
      for (const [from, to] of [[near, far], [far, near]]) {
        this.sockets.add(from);
        from.on("error", () => {}).on("close", () => { this.sockets.delete(from); to.destroy(); }).pipe(to);
      }
    }).listen(0, "127.0.0.1");
    await once(this.listener, "listening");
    this.address = `127.0.0.1:${this.listener.address().port}`;
    return this;
  }

  cut() {
    for (const each of this.sockets) each.destroy();
  }

  close() {
    this.cut();
    this.listener.close();
  }
}

/* ---- clients; all are closed at the end of a test */

const closers = [];

async function nodeRedis(options = {}) {
  const client = createClient({ socket: { path: socket, tls: false }, ...options });
  client.on("error", () => {}); // told by the call that fails
  closers.push(() => client.destroy());
  await soon("redis", client.connect());
  return client;
}

async function ioRedis(options = {}) {
  const client = new Redis({ path: socket, retryStrategy: () => 50, ...options });
  client.on("error", () => {});
  closers.push(() => client.disconnect());
  await soon("ioredis", once(client, "ready")); // a subscribe before that makes its own INFO fail
  return client;
}

async function webSocket(address, topics) {
  const ws = new WebSocket(`ws://${address}/ws?${topics.map((t) => `topic=${encodeURIComponent(t)}`).join("&")}`);
  ws.inbox = new Inbox();
  ws.on("message", (data, isBinary) => ws.inbox.push(isBinary ? data : data.toString()));
  ws.closed = new Promise((done) => ws.on("close", (code, reason) => done([code, reason.toString()])));
  closers.push(() => ws.terminate());
  await soon("open", once(ws, "open"));
  return ws;
}

async function eventSource(address, topics) {
  const source = new EventSource(`http://${address}/sse?${topics.map((t) => `topic=${encodeURIComponent(t)}`).join("&")}`);
  source.inbox = new Inbox();
  source.addEventListener("message", (e) => source.inbox.push(e.data));
  source.addEventListener("halley.gap", (e) => source.inbox.push({ gap: JSON.parse(e.data) }));
  closers.push(() => source.close());
  await soon("open", once(source, "open"));
  return source;
}

/** Wait until a fresh connection of a client that comes back by itself is heard: ask for what only the server knows. */
async function untilSubscribed(backend, topic, count = 1) {
  const look = async () => {
    for (;;) {
      const [, n] = await backend.call("PUBSUB", "NUMSUB", topic);
      if (Number(n) >= count) return;
      await new Promise((done) => setTimeout(done, 20));
    }
  };
  await soon(`a subscriber of ${topic}`, look());
}

const numbers = (count, name = "") => Array.from({ length: count }, (_, i) => `${name}${i}`);

/* ---- tests */

const tests = {
  async "redis: publish reaches ws and eventsource, and counts them"(server) {
    const backend = await nodeRedis();
    const ws = await webSocket(server.address, ["news/a", "news/b"]);
    const source = await eventSource(server.address, ["news/*"]);
    assert.equal(await backend.publish("news/a", "grüße"), 2);
    assert.equal(await backend.publish("news/b", "two\nlines"), 2);
    assert.equal(await backend.publish("nobody", "there"), 0);
    assert.deepEqual(await ws.inbox.take(2), ["grüße", "two\nlines"]);
    assert.deepEqual(await source.inbox.take(2), ["grüße", "two\nlines"]);
  },

  async "redis: subscribe, pSubscribe and pSubscribe('*'), and the ends of them"() {
    const backend = await nodeRedis();
    const listener = await nodeRedis();
    const one = new Inbox(), some = new Inbox(), all = new Inbox();
    await listener.subscribe(["chat:1", "chat:2"], (message, channel) => one.push(channel, message));
    await listener.pSubscribe("chat:*", (message, channel) => some.push(channel, message));
    await listener.pSubscribe("*", (message, channel) => all.push(channel, message));
    assert.equal(await backend.publish("chat:1", "a"), 3);
    assert.equal(await backend.publish("chat:3", "b"), 2);
    assert.equal(await backend.publish("deep/down/below", "c"), 1);
    assert.deepEqual(await one.take(1), [["chat:1", "a"]]);
    assert.deepEqual(await some.take(2), [["chat:1", "a"], ["chat:3", "b"]]);
    assert.deepEqual(await all.take(3), [["chat:1", "a"], ["chat:3", "b"], ["deep/down/below", "c"]]);
    await listener.pUnsubscribe("chat:*");
    await listener.pUnsubscribe("*");
    await listener.unsubscribe("chat:1");
    assert.equal(await backend.publish("chat:1", "d"), 0);
    assert.equal(await backend.publish("chat:2", "e"), 1);
    assert.deepEqual(await one.take(1), [["chat:2", "e"]]);
    assert.deepEqual([some.items, all.items], [[], []]);
  },

  async "redis: RESP3, where one connection publishes and listens"() {
    const client = await nodeRedis({ RESP: 3 });
    const inbox = new Inbox();
    await client.subscribe("three", (message) => inbox.push(message));
    await client.pSubscribe("*", (message, channel) => inbox.push(channel, message));
    assert.equal(await client.publish("three", "x"), 2);
    assert.deepEqual((await inbox.take(2)).sort(), ["x", ["three", "x"]].sort());
    assert.equal(await client.ping(), "PONG");
  },

  async "redis: thousands of commands at once are answered, and heard in order"(server) {
    const backend = await nodeRedis();
    const ws = await webSocket(server.address, ["flood"]);
    const counts = await Promise.all(numbers(MANY).map((text) => backend.publish("flood", text)));
    assert.deepEqual(new Set(counts), new Set([1]));
    assert.deepEqual(await ws.inbox.take(MANY), numbers(MANY));
  },

  async "redis: bytes stay bytes"(server) {
    const backend = await nodeRedis();
    const ws = await webSocket(server.address, ["bytes/a"]);
    const data = Buffer.from(Array.from({ length: 1000 }, (_, i) => i % 256));
    assert.equal(await backend.publish("bytes/a", data), 1);
    assert.deepEqual(await ws.inbox.take(1), [data]);
  },

  async "ws: what a browser sends reaches backends of both kinds"(server) {
    const one = await nodeRedis(), other = await ioRedis();
    const heard = new Inbox(), too = new Inbox();
    await one.subscribe("inbox/votes", (message) => heard.push(message));
    await other.psubscribe("inbox/*");
    other.on("pmessage", (pattern, channel, message) => too.push(pattern, channel, message));
    const ws = await webSocket(server.address, ["inbox/votes"]);
    ws.send("yes");
    ws.send("no");
    assert.deepEqual(await heard.take(2), ["yes", "no"]);
    assert.deepEqual(await too.take(2), [["inbox/*", "inbox/votes", "yes"], ["inbox/*", "inbox/votes", "no"]]);
  },

  async "ws: pings are answered, and the closing handshake is done"(server) {
    const ws = await webSocket(server.address, ["a"]);
    ws.ping("here?");
    const [data] = await soon("a pong", once(ws, "pong"));
    assert.equal(data.toString(), "here?");
    ws.close(1000, "done");
    assert.deepEqual((await soon("close", ws.closed))[0], 1000);
  },

  async "ws: a publish that is not allowed closes with 1008 and a reason"(server) {
    const ws = await webSocket(server.address, ["a"]);
    ws.send("me, too");
    const [code, reason] = await soon("close", ws.closed);
    assert.equal(code, 1008);
    assert.match(reason, /\w/);
  },

  async "ioredis: publish, and a pipeline in order"(server) {
    const backend = await ioRedis();
    const ws = await webSocket(server.address, ["pipe/1", "pipe/2"]);
    assert.equal(await backend.publish("pipe/1", "first"), 1);
    const pipeline = backend.pipeline();
    for (const text of numbers(1000)) pipeline.publish(`pipe/${1 + text % 2}`, text);
    pipeline.publish("not*allowed", "x").ping();
    const results = await pipeline.exec();
    assert.deepEqual(results.slice(0, 1000), numbers(1000).map(() => [null, 1]));
    assert.match(String(results[1000][0]), /ERR/);
    assert.deepEqual(results[1001], [null, "PONG"]);
    assert.deepEqual(await ws.inbox.take(1001), ["first", ...numbers(1000)]);
  },

  async "redis: xAdd, xRead, xRange, xLen, and a wait for what comes"() {
    const looker = await ioRedis();
    for (const RESP of [2, 3]) {
      const backend = await nodeRedis(), reader = await nodeRedis({ RESP });
      const topic = `stream/redis/${RESP}`;
      const ids = [];
      for (const data of ["one", "two", "three"]) ids.push(await backend.xAdd(topic, "*", { data }));
      const seen = (list) => list.map(({ id, message }) => [id, message.data]);
      const want = [[ids[0], "one"], [ids[1], "two"], [ids[2], "three"]];
      assert.equal(await reader.xLen(topic), 3);
      assert.deepEqual(seen(await reader.xRange(topic, "-", "+")), want);
      assert.deepEqual(seen(await reader.xRevRange(topic, "+", "-", { COUNT: 1 })), [want[2]]);
      if (RESP === 3) continue; // the client itself refuses xRead there
      const [stream] = await reader.xRead({ key: topic, id: ids[0] });
      assert.deepEqual([stream.name, seen(stream.messages)], [topic, want.slice(1)]);
      assert.equal(await reader.xRead({ key: topic, id: "$" }), null);
      const waiting = reader.xRead([{ key: topic, id: "$" }, { key: "stream/other", id: "$" }], { BLOCK: 0, COUNT: 5 });
      await untilSubscribed(looker, "stream/other");
      const id = await backend.xAdd(topic, "*", { data: "four" });
      assert.deepEqual(seen((await soon("xRead", waiting))[0].messages), [[id, "four"]]);
    }
  },

  async "ioredis: xadd, xread, xrange, and a wait for what comes"() {
    const backend = await ioRedis(), reader = await ioRedis();
    const ids = [];
    for (const text of numbers(5)) ids.push(await backend.xadd("stream/io", "*", "data", text));
    const want = ids.map((id, i) => [id, ["data", String(i)]]);
    assert.deepEqual(await reader.xrange("stream/io", "-", "+"), want);
    assert.deepEqual(await reader.xread("COUNT", 2, "STREAMS", "stream/io", ids[1]), [["stream/io", want.slice(2, 4)]]);
    assert.equal(await reader.xread("BLOCK", 1, "STREAMS", "stream/io", "$"), null);
    const waiting = reader.xread("BLOCK", 0, "STREAMS", "stream/io", ids[4]);
    await untilSubscribed(backend, "stream/io");
    const id = await backend.xadd("stream/io", "*", "data", "more");
    assert.deepEqual(await soon("xread", waiting), [["stream/io", [[id, ["data", "more"]]]]]);
  },

  async "ioredis: subscribe and psubscribe, '*' too"() {
    const backend = await ioRedis(), listener = await ioRedis();
    const inbox = new Inbox();
    listener.on("message", (channel, message) => inbox.push(channel, message));
    listener.on("pmessage", (pattern, channel, message) => inbox.push(pattern, channel, message));
    assert.equal(await listener.subscribe("io:1", "io:2"), 2);
    assert.equal(await listener.psubscribe("*"), 3);
    assert.equal(await backend.publish("io:2", "x"), 2);
    assert.equal(await backend.publish("a/b/c", "y"), 1);
    const got = await inbox.take(3);
    assert.deepEqual(got.slice(0, 2).sort(), [["*", "io:2", "x"], ["io:2", "x"]]);
    assert.deepEqual(got[2], ["*", "a/b/c", "y"]);
    assert.equal(await listener.unsubscribe("io:1", "io:2"), 1);
    assert.equal(await listener.punsubscribe("*"), 0);
    assert.equal(await listener.publish("io:1", "an ordinary connection again"), 0);
  },

  async "eventsource: lines, ids, and nothing of what only sets an id"(server) {
    const backend = await nodeRedis();
    const source = await eventSource(server.address, ["lines"]);
    const ids = new Inbox();
    source.addEventListener("message", (e) => ids.push(e.lastEventId));
    for (const text of ["", "a\nb\n", "a\r\nb\rc", " x", "a\u2028b", "last"]) await backend.publish("lines", text);
    assert.deepEqual(await source.inbox.take(6), ["", "a\nb\n", "a\nb\nc", " x", "a\u2028b", "last"]);
    const seen = await ids.take(6);
    assert.equal(new Set(seen).size, 6);
    for (const id of seen) assert.match(id, /^[a-z0-9]+-\d+$/);
  },

  async "eventsource: one that was cut comes back and misses nothing"(server) {
    const backend = await ioRedis();
    const way = await new Way().open(server);
    closers.push(() => way.close());
    const source = await eventSource(way.address, ["cut/a", "cut/b"]);
    const first = numbers(10, "before ");
    for (const text of first) await backend.publish("cut/a", text); // this client, unlike browsers, forgets an id without data
    assert.deepEqual(await source.inbox.take(10), first);
    way.cut();
    for (const text of numbers(10, "away ")) await backend.publish("cut/b", text);
    await untilSubscribed(backend, "cut/b");
    await backend.publish("cut/a", "back");
    assert.deepEqual(await source.inbox.take(11), [...numbers(10, "away "), "back"]);
    assert.equal(source.readyState, EventSource.OPEN);
  },

  async "eventsource: a request that is refused is not tried again"(server) {
    const source = new EventSource(`http://${server.address}/sse?topic=inbox/x`);
    closers.push(() => source.close());
    const [error] = await soon("error", once(source, "error"));
    assert.equal(error.code, 403);
    assert.equal(source.readyState, EventSource.CLOSED);
  },

  async "all come back after a restart, and who may have missed something is told"(server) { // the last but for the end
    const way = await new Way().open(server);
    closers.push(() => way.close());
    const backend = await ioRedis(), listener = await ioRedis(), redis = await nodeRedis();
    const heard = new Inbox(), redisHeard = new Inbox();
    listener.on("message", (channel, message) => heard.push(channel, message));
    listener.on("pmessage", (pattern, channel, message) => heard.push(pattern, channel, message));
    await listener.subscribe("again");
    await listener.psubscribe("agai*");
    await redis.subscribe("again", (message) => redisHeard.push(message));
    const ws = await webSocket(server.address, ["again"]);
    const source = await eventSource(way.address, ["again"]);
    await backend.publish("again", "before");
    assert.deepEqual(await source.inbox.take(1), ["before"]);
    await heard.take(2);
    await redisHeard.take(1);

    await server.stop();
    const [code, reason] = await soon("close", ws.closed);
    assert.equal(code, 1012);
    assert.match(reason, /\w/);
    await server.start();

    await untilSubscribed(backend, "again", 3); // ioredis, redis, eventsource
    await backend.publish("again", "after");
    const got = await heard.take(2);
    assert.deepEqual(got.sort(), [["agai*", "again", "after"], ["again", "after"]].sort());
    assert.deepEqual(await redisHeard.take(1), ["after"]);
    const [gap, message] = await source.inbox.take(2);
    assert.match(gap.gap?.after ?? `no gap but ${JSON.stringify(gap)}`, /^[a-z0-9]+-\d+$/);
    assert.equal(message, "after");
  },
};

/* ---- running them */

let passed = 0, failed = 0;

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
  const words = process.argv.slice(2);
  for (const [name, test] of Object.entries(tests))
    if (words.length === 0 || words.some((word) => name.includes(word))) await check(name, () => test(server));
  await check("the server ends with 0 on SIGTERM and has logged no error", () => server.stop());
} catch (error) {
  failed++;
  console.log(`FAIL before or between the tests: ${error.stack ?? error}`);
} finally {
  server.child?.kill("SIGKILL");
  await server.ended;
  rmSync(scratch, { recursive: true, force: true });
}
if (failed > 0) console.log(`---- the server's log\n${server.log}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
