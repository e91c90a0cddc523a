#!/usr/bin/env node
// halley.js in a real browser, on a page of another origin: where a transport is blocked it arrives at the next one and
// receives everything, it remembers what worked, and tabs share one connection.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { chromium } from "playwright-core";

const halleyd = resolve(process.env.HALLEYD ?? "build/halleyd");
const output = resolve(process.env.TEST_OUTPUT ?? "test-output/93-halley-browser");
const browserPath = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
const browserArgs = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const PATIENCE_MS = 30000; // of every wait: for machines that are busy, a test that passes never needs it

const scratch = mkdtempSync(join(tmpdir(), "halley-browser-")); // the path of a Unix socket is to be short
const socket = join(scratch, "backend.sock");

/* ---- waiting */

/** Wait until look() returns something, look again soon while it does not. */
async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`waited ${PATIENCE_MS / 1000} s for: ${typeof what === "function" ? await what() : what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/* ---- the server, a backend, and the way to the server */

class Server {
  async start(origin) {
    const config = join(scratch, "halley.conf");
    writeFileSync(config, `listen "127.0.0.1:0" { }
backend "${socket}" { mode = 0600 }
origins = { "${origin}" }
topics "**" { subscribe = anyone  publish = anyone  history = 1000 }
`);
    this.log = "";
    this.child = spawn(halleyd, ["--config", config], { env: { ...process.env, HALLEY_DRAIN_TIME: "0s" }, stdio: ["ignore", "pipe", "pipe"] });
    const file = createWriteStream(join(output, `halleyd-${this.child.pid}.log`));
    this.ended = once(this.child, "close").then(([code, signal]) => code ?? signal);
    for (const stream of [this.child.stdout, this.child.stderr])
      stream.on("data", (data) => {
        file.write(data);
        this.log += data;
      });
    await until("the server", () => this.log.includes("ev=ready ") || this.child.exitCode !== null);
    this.port = Number(this.log.match(/door=public address=\S*:(\d+)$/m)[1]);
    return this;
  }
}

async function ask(method, path, body) {
  const request = http.request({ socketPath: socket, method, path }).end(body);
  const [response] = await once(request, "response");
  let text = "";
  for await (const data of response.setEncoding("utf8")) text += data;
  assert.equal(response.statusCode, 200, text);
  return JSON.parse(text);
}

const publish = (topic, data) => ask("POST", `/publish?topic=${encodeURIComponent(topic)}`, data);
const stat = async (name) => (await ask("GET", "/stats"))[name];

/** A TCP proxy before the server. on(path) is asked for each request: "pass", "refuse", or "hold" (the answer never comes). */
class Way {
  async open(server, on = () => "pass") {
    Object.assign(this, { server, on, sockets: new Set(), paths: [] });
    this.listener = net.createServer((near) => this.#carry(near)).listen(0, "127.0.0.1");
    await once(this.listener, "listening");
    this.url = `http://127.0.0.1:${this.listener.address().port}/`;
    closers.push(() => { this.cut(); this.listener.close(); });
    return this;
  }

  #carry(near) {
    const far = net.connect(this.server.port, "127.0.0.1");
    let verdict = "pass";
    near.on("data", (data) => {
      const request = data.toString("latin1").match(/^[A-Z]+ (\/[^ ?]*)/);
      if (request) {
        this.paths.push(request[1]);
        verdict = this.on(request[1]);
      }
      if (verdict === "refuse") near.end("HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      else far.write(data);
    });
    far.on("data", (data) => { if (verdict === "pass") near.write(data); });
    for (const [one, other] of [[near, far], [far, near]]) {
      this.sockets.add(one);
      one.on("error", () => {}).on("close", () => { this.sockets.delete(one); if (verdict !== "refuse") other.destroySoon(); });
    }
  }

  cut() {
    for (const each of this.sockets) each.destroy();
  }
}

/* ---- pages; everything is closed at the end of a test */

const closers = [];
let pages; // a server of an empty page, and of halley-share.js, as an application has them; its origin is not Halley's

async function servePages() {
  const share = readFileSync(new URL("../../src/web/halley-share.js", import.meta.url));
  pages = http.createServer((request, response) => {
    if (request.url === "/halley-share.js") response.writeHead(200, { "Content-Type": "text/javascript" }).end(share);
    else response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>a page</title>");
  }).listen(0, "127.0.0.1");
  await once(pages, "listening");
  pages.origin = `http://127.0.0.1:${pages.address().port}`;
}

/** A tab that has run: h = new Halley(url, options), with h subscribed to the topics; what comes is in `got`. */
async function openTab(context, url, { topics, isShared = false, options = {} }) {
  const tab = await context.newPage();
  tab.on("pageerror", (error) => complaints.push(error.message));
  await tab.goto(pages.origin);
  await tab.evaluate(async ({ url, topics, isShared, options }) => {
    const { Halley } = await import(`${url}halley.js`);
    if (isShared) options.share = (await import("/halley-share.js")).tabs();
    globalThis.h = new Halley(url, { timeout: 1000, ...options });
    globalThis.events = [];
    globalThis.got = [];
    for (const name of ["connected", "disconnected", "recovered", "gap", "error"])
      h.on(name, (detail) => events.push({ name, ...detail }));
    globalThis.sub = h.subscribe(topics, (m) => got.push(m.data), { after: 0 });
  }, { url, topics, isShared, options });
  tab.events = (name) => tab.evaluate((name) => events.filter((event) => event.name === name), name);
  tab.got = () => tab.evaluate(() => got);
  tab.has = (count) => until(async () => `${count} messages; ${JSON.stringify([await tab.got(), await tab.evaluate(() => events)])}`,
    async () => (await tab.got()).length >= count);
  return tab;
}

const complaints = [];
const numbers = (from, to) => Array.from({ length: to - from }, (_, i) => `${from + i}`);

async function receivesEverything(tab, way, topic, transport) {
  for (const text of numbers(5, 10)) await publish(topic, text);
  await tab.has(10);
  way.cut();
  for (const text of numbers(10, 20)) await publish(topic, text);
  await tab.has(20);
  await tab.evaluate((topic) => h.publish(topic, "20"), topic);
  await tab.has(21);
  assert.deepEqual(await tab.got(), numbers(0, 21));
  for (const event of await tab.events("connected")) assert.equal(event.transport, transport);
  assert.deepEqual(await tab.events("gap"), []);
  assert.equal((await tab.events("recovered")).length, (await tab.events("connected")).length - 1);
}

/* ---- the tests, in this order */

const blocked = [
  { name: "with nothing blocked it is a WebSocket", transport: "ws", on: () => "pass" },
  { name: "where a proxy refuses upgrades it is an event stream", transport: "sse", on: (path) => path === "/ws" ? "refuse" : "pass" },
  { name: "where a proxy holds upgrades back it is an event stream", transport: "sse", on: (path) => path === "/ws" ? "hold" : "pass" },
  { name: "where event streams are refused too it is lines of JSON", transport: "ndjson", on: (path) => /ws|sse/.test(path) ? "refuse" : "pass" },
  { name: "where a proxy holds every stream back it is a long poll", transport: "poll",
    on: (path) => path === "/ws" ? "refuse" : /sse|stream/.test(path) ? "hold" : "pass" },
  { name: "where the browser has no WebSocket it is an event stream", transport: "sse", on: () => "pass",
    script: () => { delete globalThis.WebSocket; } },
  { name: "where WebSocket and EventSource fail it is lines of JSON", transport: "ndjson", on: () => "pass",
    script: () => { globalThis.WebSocket = globalThis.EventSource = class { constructor() { throw new Error("not here"); } }; } },
];

const tests = {
  async "it remembers what worked"(server, browser) {
    const way = await new Way().open(server, (path) => /ws|sse/.test(path) ? "refuse" : "pass");
    const context = await browser.newContext();
    const first = await openTab(context, way.url, { topics: "memory" });
    await until("connected", async () => (await first.events("connected")).length === 1);
    await first.reload();
    way.paths.length = 0;
    const second = await openTab(context, way.url, { topics: "memory" });
    await until("connected", async () => (await second.events("connected")).length === 1);
    assert.ok(!way.paths.some((path) => /ws|sse/.test(path)), String(way.paths));
    assert.equal((await second.events("connected"))[0].transport, "ndjson");
  },

  async "the classic script is the same client"(server, browser) {
    const tab = await (await browser.newContext()).newPage();
    await tab.goto(pages.origin);
    await tab.addScriptTag({ url: `http://127.0.0.1:${server.port}/halley.classic.js` });
    const got = await tab.evaluate((url) => new Promise((done) => {
      const h = new Halley(url);
      h.subscribe("classic", (m) => done(m.data), { after: 0 });
      h.publish("classic", "hello");
    }), `http://127.0.0.1:${server.port}`);
    assert.equal(got, "hello");
  },

  async "it comes back at once when the network does"(server, browser) {
    const way = await new Way().open(server), context = await browser.newContext();
    const tab = await openTab(context, way.url, { topics: "wake" });
    await until("connected", async () => (await tab.events("connected")).length === 1);
    way.on = () => "refuse";
    await tab.evaluate(() => { Math.random = () => 1e6; }); // pauses without an end
    way.cut();
    await until("disconnected", async () => (await tab.events("disconnected")).length === 1);
    way.on = () => "pass";
    await tab.evaluate(() => dispatchEvent(new Event("online")));
    await until("connected", async () => (await tab.events("connected")).length === 2);
  },

  async "tabs share one connection, whose tab may go"(server, browser) {
    const way = await new Way().open(server), context = await browser.newContext();
    const before = await stat("websockets"), isShared = true, tabs = [];
    for (const topics of ["share/a", ["share/a", "share/b"], "share/*"]) tabs.push(await openTab(context, way.url, { topics, isShared }));
    for (const tab of tabs) await until("connected", async () => (await tab.events("connected")).length === 1);
    assert.equal(await stat("websockets") - before, 1);
    let count = 0;
    const say = async () => {
      for (const tab of tabs) await tab.evaluate((text) => h.publish("share/a", text), `${count++}`);
      await publish("share/b", `${count++}`);
    };
    const ofA = (to) => numbers(0, to).filter((n) => n % 4 !== 3); // the first tab has no share/b
    await say();
    await tabs[0].has(3);
    await tabs[1].has(4);
    await tabs[2].has(4);
    assert.deepEqual(await Promise.all(tabs.map((tab) => tab.got())), [ofA(4), numbers(0, 4), numbers(0, 4)]);

    way.on = () => "hold";
    way.cut(); // all of them hear of it, come back, and have missed nothing
    for (const tab of tabs) await until("disconnected", async () => (await tab.events("disconnected")).length === 1);
    await publish("share/a", `${count++}`);
    way.on = () => "pass";
    way.cut();
    for (const tab of tabs) await until("recovered", async () => (await tab.events("recovered")).length === 1);
    await tabs[0].has(4);
    for (const tab of tabs.slice(1)) await tab.has(5);
    assert.equal(await stat("websockets") - before, 1);

    const gone = tabs.shift(); // the one that leads
    await gone.close();
    await publish("share/b", `${count++}`);
    for (const tab of tabs) await tab.has(6);
    for (const tab of tabs) assert.deepEqual(await tab.got(), numbers(0, 6));
    assert.equal(await stat("websockets") - before, 1);
    for (const tab of tabs) assert.deepEqual(await tab.events("gap"), []);

    const subscriptions = await stat("subscriptions"); // share/a, share/b, share/*
    await tabs[1].evaluate(() => sub.close());
    await until("share/* is let go", async () => await stat("subscriptions") < subscriptions);
    const last = await openTab(context, way.url, { topics: "share/c", isShared });
    await tabs[0].evaluate(() => h.publish("share/c", "for the new one"));
    await last.has(1);
    await last.close();
    await until("share/c is let go with its tab", async () => await stat("subscriptions") < subscriptions);
    await tabs[0].evaluate(() => h.close());
    await until("the other leads", async () => (await tabs[1].events("connected")).length >= 2 && await stat("websockets") - before === 1);
    assert.equal(await tabs[1].evaluate(async () => (await h.history("share/c")).messages[0].data), "for the new one");
  },
};

for (const { name, transport, on, script } of blocked)
  tests[`${name}, and everything arrives`] = async (server, browser) => {
    const way = await new Way().open(server, on), topic = `blocked/${blocked.findIndex((each) => each.name === name)}`;
    const context = await browser.newContext();
    if (script) await context.addInitScript(script);
    for (const text of numbers(0, 5)) await publish(topic, text);
    const tab = await openTab(context, way.url, { topics: topic });
    await receivesEverything(tab, way, topic, transport);
  };

/* ---- running them */

let passed = 0, failed = 0, browser;
const server = new Server();

async function check(name, test) {
  const began = Date.now();
  try {
    complaints.length = 0;
    await test(server, browser);
    assert.deepEqual(complaints, []);
    passed++;
    console.log(`ok   ${name} (${((Date.now() - began) / 1000).toFixed(2)} s)`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${error.stack ?? error}`);
  }
  for (const context of browser.contexts()) await context.close();
  for (const close of closers.splice(0)) close();
}

try {
  mkdirSync(output, { recursive: true });
  await servePages();
  await server.start(pages.origin);
  browser = await chromium.launch({ executablePath: browserPath, args: browserArgs });
  const words = process.argv.slice(2);
  for (const [name, test] of Object.entries(tests))
    if (words.length === 0 || words.some((word) => name.includes(word))) await check(name, test);
} catch (error) {
  failed++;
  console.log(`FAIL before or between the tests: ${error.stack ?? error}`);
} finally {
  await browser?.close();
  pages?.closeAllConnections();
  pages?.close();
  server.child?.kill("SIGTERM");
  if ((await server.ended) !== 0) {
    failed++;
    console.log("FAIL the server did not end with 0");
  }
  rmSync(scratch, { recursive: true, force: true });
}
if (failed > 0) console.log(`---- the server's log\n${server.log}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
