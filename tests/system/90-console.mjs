#!/usr/bin/env node
// The console page in a real browser: what a newcomer sees first. It connects by itself, over each transport, shows what
// a backend publishes, publishes, comes back when its connection was cut, and explains what became of it.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

import { chromium } from "playwright-core";

const run = promisify(execFile);
const halleyd = resolve(process.env.HALLEYD ?? "build/halleyd");
const halley = resolve(process.env.HALLEY ?? "build/halley");
const output = resolve(process.env.TEST_OUTPUT ?? "test-output/90-console");
const browserPath = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
const browserArgs = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const PATIENCE_MS = 20000; // of every wait: for machines that are busy, a test that passes never needs it

const scratch = mkdtempSync(join(tmpdir(), "halley-console-")); // the path of a Unix socket is to be short
const socket = join(scratch, "backend.sock");

/* ---- processes */

const programs = new Set(); // those that run

/** Start a program and keep what it says. */
function start(command, args) {
  const child = spawn(command, args, { env: { ...process.env, HALLEY_DRAIN_TIME: "0s" }, stdio: ["pipe", "pipe", "pipe"] });
  const program = { child, stdout: "", stderr: "", code: null };
  program.ended = new Promise((done) => {
    const end = (code) => { program.code = code; programs.delete(program); done(code); };
    child.on("close", (code, signal) => end(code ?? signal));
    child.on("error", (error) => { program.stderr += error.message; end("not started"); });
  });
  child.stdin.on("error", () => {}); // it ended without reading all of it
  for (const stream of ["stdout", "stderr"]) child[stream].on("data", (data) => { program[stream] += data; });
  programs.add(program);
  return program;
}

/** Wait until look() returns something, look again soon while it does not. */
async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`waited ${PATIENCE_MS / 1000} s for: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** Wait for a text on a stream of a program; that it ends without saying it is a failure at once. */
function untilItSays(program, stream, pattern) {
  return until(`${pattern} on ${stream}`, () => {
    const match = program[stream].match(pattern);
    if (!match && program.code !== null)
      throw new Error(`it ended (${program.code}) without saying ${pattern}: ${program.stderr}`);
    return match;
  });
}

async function startServer() {
  const config = join(scratch, "halley.conf");
  writeFileSync(config, `listen "127.0.0.1:0" { }
backend "${socket}" { mode = 0600 }
topics "demo/**" { subscribe = anyone  publish = anyone  history = 0 }
topics "kept/**" { subscribe = anyone  publish = anyone  history = 100  presence = true }
topics "few/**" { subscribe = anyone  publish = anyone  history = 1 }
topics "json/**" { subscribe = anyone  publish = anyone  history = 0  payload = json }
topics "secret/**" { subscribe = backend  publish = backend  history = 0 }
topics "**" { subscribe = anyone  publish = backend  history = 0 }
`);
  const server = start(halleyd, ["--config", config]);
  const [, address] = await untilItSays(server, "stderr", /ev=listening .*address=(127\.0\.0\.1:[1-9]\d*)/);
  server.url = `http://${address}/`;
  return server;
}

const publish = (topic, message) => run("redis-cli", ["-s", socket, "PUBLISH", topic, message]);

/** A TCP proxy before the server, that can be cut: what is connected breaks, and nobody comes through until mend(). */
class Way {
  static async open(server) {
    const way = new Way(), port = Number(new URL(server.url).port);
    Object.assign(way, { sockets: new Set(), isCut: false });
    way.listener = net.createServer((near) => way.isCut ? near.destroy() : way.carry(near, net.connect(port, "127.0.0.1")));
    await new Promise((done) => way.listener.listen(0, "127.0.0.1", done));
    way.url = `http://127.0.0.1:${way.listener.address().port}/`;
    return way;
  }

  carry(near, far) {
    for (const [one, other] of [[near, far], [far, near]]) {
      this.sockets.add(one);
      one.pipe(other);
      one.on("error", () => {}).on("close", () => { this.sockets.delete(one); other.destroy(); });
    }
  }

  cut() {
    this.isCut = true;
    for (const each of this.sockets) each.destroy();
  }

  mend() {
    this.isCut = false;
  }

  close() {
    this.cut();
    this.listener.close();
  }
}

/* ---- the page */

class ConsolePage {
  static async open(browser, url, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = new ConsolePage(context, await context.newPage());
    page.tab.on("console", (m) => { if (/error|warning/.test(m.type())) page.complaints.push(m.text()); });
    page.tab.on("pageerror", (error) => page.complaints.push(error.message));
    await page.tab.goto(url);
    return page;
  }

  constructor(context, tab) {
    Object.assign(this, { context, tab, complaints: [] });
  }

  text(id) {
    return this.tab.locator(`#${id}`).innerText();
  }

  /** Wait for an event in the log, given by its kind and a part of its text; returns the whole text. */
  async event(kind, text) {
    const line = this.tab.locator(`#log > .${kind}`, { hasText: text }).last();
    await line.waitFor();
    return line.innerText();
  }

  status(wanted) {
    return until(`status ${wanted}`, async () => await this.text("status") === wanted);
  }

  counter(id, wanted) {
    return until(`${id} ${wanted}`, async () => await this.text(id) === wanted);
  }

  count(kind) {
    return this.tab.locator(`#log > .${kind}`).count();
  }

  /** What the browser complained of, but for connections that could not be made. */
  complaintsOfPage() {
    return this.complaints.filter((text) => !/net::ERR_|WebSocket connection to/.test(text));
  }

  async send(text) {
    await this.tab.locator("#message").fill(text);
    await this.tab.locator("#message").press("Enter");
  }
}

/* ---- the tests, in this order */

const transports = ["auto", "v1-ws", "v1-sse", "v1-ndjson", "v1-poll", "websocket", "sse", "ndjson", "poll", "iframe"];
const hostile = `<img src=x onerror="document.title='owned'"></script><script>document.title='owned'</script>`;

/** One transport from the first message to the last: receive, be cut, come back with what was missed, publish. */
async function carries(transport, server, browser) {
  const way = await Way.open(server), topic = `kept/${transport}`;
  try {
    const page = await ConsolePage.open(browser, `${way.url}?topic=${topic}&transport=${transport}`);
    await page.status("connected");
    if (transport.startsWith("v1-")) await page.event("connected", `halley.v1 over ${transport.slice(3)}`);
    if (transport.endsWith("poll")) await until("a poll waits", async () => (await page.text("cursor")) !== "–");
    await publish(topic, `${hostile}\u2028 first`);
    assert.ok((await page.event("message", "first")).includes(hostile), "a message is text, whatever it looks like");
    assert.deepEqual(page.complaints, [], "the browser complains about nothing, such as the page's CSP");
    const cursor = await page.text("cursor");
    assert.equal(cursor !== "–", transport !== "websocket", cursor);

    way.cut();
    await page.status("reconnecting");
    await page.event("disconnected", "");
    await publish(topic, "while away");
    way.mend();
    await page.status("connected");
    await page.counter("reconnects", "1");
    if (transport === "websocket") {
      await page.event("resume", "from now on");
    } else {
      await page.event("resume", cursor);
      await page.event("recovered", "true");
      await page.event(/^v1|auto/.test(transport) ? "replay" : "message", "while away");
    }
    await page.send("from the page");
    await page.event("sent", "from the page");
    await page.event("message", "from the page");
    if (transport !== "websocket") await page.event("published", "to 1 subscription"); // a frame is not answered
    await page.counter("received", transport === "websocket" ? "2" : "3");
    await page.counter("gaps", "0");
    assert.equal(await page.tab.title(), "Halley console");
    assert.equal(await page.tab.locator("#log img, #log script").count(), 0);
    assert.deepEqual(page.complaintsOfPage(), []);
  } finally {
    way.close();
  }
}

/** It begins after a cursor that cannot be honoured. */
async function showsTheGap(transport, server, browser) {
  const topic = `few/${transport}`, url = `${server.url}publish?topic=${topic}`;
  const { cursor } = await (await fetch(url, { method: "POST", body: "one" })).json();
  for (const text of ["two", "three", "four"]) await publish(topic, text);
  const page = await ConsolePage.open(browser, `${server.url}?topic=${topic}&after=${cursor}&transport=${transport}`);
  if (transport === "websocket") {
    await page.event("disconnected", "4410 messages lost");
    await page.event("gap", "messages were lost");
    return;
  }
  const gap = await page.event("gap", `messages after ${cursor} are gone`);
  assert.doesNotMatch(gap, /no reason given/);
  await page.event("recovered", "false");
  await page.event(/^v1|auto/.test(transport) ? "replay" : "message", "four");
  await page.counter("gaps", "1");
  assert.equal(await page.text("received"), "1");
}

const tests = {
  async "it connects by itself and shows what a backend publishes"(server, browser) {
    const page = await ConsolePage.open(browser, server.url);
    await page.status("connected");
    await page.event("connected", "halley.v1 over ws");
    await page.event("subscribe", "demo/clock");
    await publish("demo/clock", "hello-from-redis");
    await page.event("message", "hello-from-redis");
    await run(halley, ["pub", "--socket", socket, "demo/clock", "hello-from-halley"]);
    await page.event("message", "hello-from-halley");
    await page.counter("received", "2");
    assert.deepEqual(page.complaints, [], "the browser complains about nothing, such as the page's CSP");
  },

  ...Object.fromEntries(transports.map((each) => [`${each}: it receives, comes back after a cut, and publishes`,
    (server, browser) => carries(each, server, browser)])),

  ...Object.fromEntries(transports.slice(1).map((each) => [`${each}: a gap is shown`,
    (server, browser) => showsTheGap(each, server, browser)])),

  async "on a living connection it subscribes and unsubscribes"(server, browser) {
    const page = await ConsolePage.open(browser, `${server.url}?topic=demo/a`);
    await page.status("connected");
    await publish("kept/b", "before");
    await page.tab.locator("#topic").fill("kept/b");
    await page.tab.locator("#last").fill("1");
    await page.tab.locator("#topic").press("Enter");
    await page.event("subscribe", "kept/b");
    await page.event("replay", "before");
    await page.event("live", "kept/b");
    await publish("demo/a", "on a");
    await publish("kept/b", "on b");
    await page.event("message", "on a");
    await page.event("message", "on b");
    await page.tab.getByRole("button", { name: "Unsubscribe from demo/a" }).click();
    await page.event("unsubscribe", "demo/a");
    await until("the server has done it", async () => (await run("redis-cli", ["-s", socket, "PUBSUB", "NUMSUB", "demo/a"])).stdout.trim().endsWith("0"));
    await publish("demo/a", "unheard");
    await publish("kept/b", "on b again");
    await page.event("message", "on b again");
    await page.counter("received", "4");
    assert.equal(await page.tab.locator("#subscriptions > li").count(), 1);
  },

  async "it shows history and presence, and publishes JSON"(server, browser) {
    const page = await ConsolePage.open(browser, `${server.url}?topic=kept/h&topic=json/x`);
    await page.status("connected");
    await publish("kept/h", "one kept");
    await page.event("message", "one kept");
    await page.tab.locator("#history").click();
    await page.event("history", "1 message");
    await page.event("kept", "one kept");
    await page.tab.locator("#presence").click();
    await page.event("presence", "member");
    await page.tab.locator("#target").fill("json/x");
    await page.tab.locator("#json").check();
    await page.send('{"a": 1');
    await page.event("error", "JSON");
    await page.send('{"a": [1, "<b>"]}');
    await page.event("message", '{"a":');
    await page.event("published", "json/x");
  },

  async "a publish that is refused is explained, over each way to publish"(server, browser) {
    for (const transport of ["v1-ws", "v1-sse", "v1-poll", "sse"]) {
      const page = await ConsolePage.open(browser, `${server.url}?topic=news&transport=${transport}`);
      await page.status("connected");
      await page.send("let me in");
      await page.event("error", "forbidden");
      assert.equal(await page.text("status"), "connected");
      await page.context.close();
    }
  },

  async "a subscription that is refused is explained"(server, browser) {
    for (const transport of ["v1-ws", "websocket", "sse", "ndjson", "poll"]) {
      const page = await ConsolePage.open(browser, `${server.url}?topic=secret/a&transport=${transport}`);
      await page.event(transport === "ndjson" || transport === "poll" ? "disconnected" : "error", "secret/a");
      if (transport !== "v1-ws") await page.status("closed");
      await page.context.close();
    }
  },

  async "the token is in no line of the log, and not in the page's address"(server, browser) {
    for (const transport of ["ndjson", "v1-ws"]) {
      const page = await ConsolePage.open(browser, `${server.url}?connect=0&transport=${transport}`);
      await page.tab.locator("#token").fill("s3cret-token");
      await page.tab.locator("#connect").click();
      await until("an outcome", async () => await page.count("connected") + await page.count("error") + await page.count("disconnected") > 0);
      assert.doesNotMatch(await page.text("log") + page.tab.url(), /s3cret/);
      await page.context.close();
    }
  },

  async "without coming back, a cut closes it"(server, browser) {
    const way = await Way.open(server);
    try {
      for (const transport of ["v1-ws", "websocket", "sse", "iframe"]) {
        way.mend();
        const page = await ConsolePage.open(browser, `${way.url}?transport=${transport}&connect=0`);
        await page.tab.locator("#again").uncheck();
        await page.tab.locator("#connect").click();
        await page.status("connected");
        way.cut();
        await page.status("closed");
        await page.event("disconnected", "");
        await page.context.close();
      }
    } finally {
      way.close();
    }
  },

  async "frames of a plain WebSocket reach backends that listen, and come back"(server, browser) {
    const page = await ConsolePage.open(browser, `${server.url}?transport=websocket`);
    await page.status("connected");
    const sub = start(halley, ["sub", "--verbose", "--count", "1", "--socket", socket, "demo/clock"]);
    await untilItSays(sub, "stderr", /subscribed to demo\/clock/);
    const redis = start("redis-cli", ["-s", socket, "SUBSCRIBE", "demo/clock"]);
    await untilItSays(redis, "stdout", /subscribe[^]*demo\/clock[^]*1/);
    await page.send("grüße from the page");
    assert.equal(await sub.ended, 0);
    assert.equal(sub.stdout, "grüße from the page\n");
    await untilItSays(redis, "stdout", /message[^]*demo\/clock[^]*from the page/);
    redis.child.kill();
    await page.event("sent", "grüße from the page");
    await page.event("message", "grüße from the page");
    await page.counter("sent", "1");
    await page.counter("received", "1");
    await redis.ended;
  },

  async "several topics and patterns arrive on one connection"(server, browser) {
    const page = await ConsolePage.open(browser, `${server.url}?topic=demo/a&topic=demo/b/*`);
    await page.status("connected");
    assert.equal(await page.tab.locator("#topic").inputValue(), "demo/a demo/b/*");
    await publish("demo/a", "on a");
    await publish("demo/b/1", "on b one");
    await publish("demo/b/1/2", "too deep");
    await publish("demo/a", "on a again");
    await page.event("message", "on a again");
    await page.event("message", "on b one");
    await page.counter("received", "3");
  },

  async "the close button ends it, and it can be opened again"(server, browser) {
    for (const transport of ["auto", "websocket", "sse", "ndjson", "poll", "iframe"]) {
      const page = await ConsolePage.open(browser, `${server.url}?transport=${transport}`);
      await page.status("connected");
      await page.tab.locator("#close").click();
      await page.status("closed");
      await page.event("disconnected", /auto|websocket/.test(transport) ? "1000 normal" : "closed on the page");
      await page.tab.locator("#connect").click();
      await page.status("connected");
      await page.context.close();
    }
  },

  async "sending where clients may not publish is closed with 1008 and a reason"(server, browser) {
    const page = await ConsolePage.open(browser, `${server.url}?topic=news&transport=websocket`);
    await page.status("connected");
    await page.send("let me in");
    await page.status("closed");
    assert.match(await page.event("disconnected", "1008"), /1008 policy: \S+/);
  },

  async "connect=0 waits for the button"(server, browser) {
    const page = await ConsolePage.open(browser, `${server.url}?topic=demo/later&connect=0`);
    assert.equal(await page.text("status"), "closed");
    assert.equal(await page.tab.locator("#log > *").count(), 0);
    await page.tab.locator("#topic").press("Enter");
    await page.status("connected");
    await page.event("subscribe", "demo/later");
  },

  async "a flood is counted whole and leaves 1,000 lines"(server, browser) {
    const page = await ConsolePage.open(browser, server.url);
    await page.status("connected");
    const pub = start(halley, ["pub", "--socket", socket, "demo/clock"]);
    pub.child.stdin.end(Array.from({ length: 5000 }, (_, i) => `flood ${i}\n`).join(""));
    assert.equal(await pub.ended, 0, pub.stderr);
    await page.counter("received", "5,000");
    await page.event("message", "flood 4999");
    assert.equal(await page.tab.locator("#log > *").count(), 1000);
    assert.equal(await page.text("status"), "connected");
  },

  async "it fits 320 pixels, over every transport"(server, browser) {
    for (const transport of ["auto", "sse"]) {
      const page = await ConsolePage.open(browser, `${server.url}?transport=${transport}`, { viewport: { width: 320, height: 640 } });
      await page.status("connected");
      await publish("demo/clock", "x".repeat(500));
      await page.event("message", "xxx");
      assert.equal(await page.tab.evaluate(() => document.documentElement.scrollWidth), 320);
      await page.context.close();
    }
  },

  async "it fits a phone, in the dark"(server, browser) {
    const page = await ConsolePage.open(browser, server.url, { viewport: { width: 375, height: 780 },
      deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: "dark" });
    await page.status("connected");
    await publish("demo/clock", "x".repeat(500));
    await page.event("message", "xxx");
    assert.equal(await page.tab.evaluate(() => document.documentElement.scrollWidth), 375);
  },

  async "a server that stops says so with 1012"(server, browser) { // the last: there is no server after it
    const plain = await ConsolePage.open(browser, `${server.url}?transport=websocket`);
    const page = await ConsolePage.open(browser, server.url);
    await plain.status("connected");
    await page.status("connected");
    server.child.kill("SIGTERM");
    await plain.event("disconnected", "1012 restart");
    await page.event("disconnected", "1012 restart");
    await page.event("reconnect", "restart");
    await page.status("reconnecting");
    assert.equal(await server.ended, 0);
  },
};

/* ---- running them */

let passed = 0, failed = 0, server, browser;

async function check(name, test) {
  try {
    await test(server, browser);
    passed++;
    console.log(`ok   ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${error.stack ?? error}`);
  }
  for (const context of browser.contexts()) { // what it looked like in the end, passed or not
    const path = join(output, `${name.replace(/\W+/g, "-")}.png`);
    await context.pages()[0]?.screenshot({ path, fullPage: true }).catch(() => {});
    await context.close();
  }
}

try {
  mkdirSync(output, { recursive: true });
  server = await startServer();
  browser = await chromium.launch({ executablePath: browserPath, args: browserArgs });
  for (const [name, test] of Object.entries(tests)) await check(name, test);
} catch (error) {
  failed++;
  console.log(`FAIL before or between the tests: ${error.stack ?? error}`);
} finally {
  await browser?.close();
  const left = [...programs];
  for (const { child } of left) child.kill("SIGKILL");
  await Promise.all(left.map(({ ended }) => ended));
  rmSync(scratch, { recursive: true, force: true });
}
if (failed > 0 && server) console.log(`---- the server's log\n${server.stderr}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
