#!/usr/bin/env node
// The console page in a real browser: what a newcomer sees first. It connects by itself, shows what a backend
// publishes, sends to a backend that listens, and explains how a connection ended.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
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
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
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
topics "**" { subscribe = anyone  publish = backend  history = 0 }
`);
  const server = start(halleyd, ["--config", config]);
  const [, address] = await untilItSays(server, "stderr", /ev=listening .*address=(127\.0\.0\.1:[1-9]\d*)/);
  server.url = `http://${address}/`;
  return server;
}

const publish = (topic, message) => run("redis-cli", ["-s", socket, "PUBLISH", topic, message]);

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

  async send(text) {
    await this.tab.locator("#message").fill(text);
    await this.tab.locator("#message").press("Enter");
  }
}

/* ---- the tests, in this order */

const tests = {
  async "it connects by itself and shows what a backend publishes"(server, browser) {
    const page = await ConsolePage.open(browser, server.url);
    await page.status("connected");
    await page.event("open", "/ws?topic=demo/clock");
    await publish("demo/clock", "hello-from-redis");
    await page.event("message", "hello-from-redis");
    await run(halley, ["pub", "--socket", socket, "demo/clock", "hello-from-halley"]);
    await page.event("message", "hello-from-halley");
    await page.counter("received", "2");
    assert.deepEqual(page.complaints, [], "the browser complains about nothing, such as the page's CSP");
  },

  async "what it sends reaches backends that listen, and comes back"(server, browser) {
    const page = await ConsolePage.open(browser, server.url);
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

  async "a message is text, whatever it looks like"(server, browser) {
    const page = await ConsolePage.open(browser, server.url);
    await page.status("connected");
    const hostile = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;
    await publish("demo/clock", hostile);
    assert.ok((await page.event("message", "<img")).includes(hostile));
    assert.equal(await page.tab.title(), "Halley console");
    assert.equal(await page.tab.locator("#log img, #log script").count(), 0);
  },

  async "the close button ends it with 1000"(server, browser) {
    const page = await ConsolePage.open(browser, server.url);
    await page.status("connected");
    await page.tab.locator("#close").click();
    await page.status("closed");
    await page.event("close", "1000 normal");
    assert.ok(await page.tab.locator("#send").isDisabled());
    await page.tab.locator("#connect").click();
    await page.status("connected");
  },

  async "sending where clients may not publish is closed with 1008 and a reason"(server, browser) {
    const page = await ConsolePage.open(browser, `${server.url}?topic=news`);
    await page.status("connected");
    await page.send("let me in");
    await page.status("closed");
    assert.match(await page.event("close", "1008"), /1008 policy: \S+/);
  },

  async "connect=0 waits for the button"(server, browser) {
    const page = await ConsolePage.open(browser, `${server.url}?topic=demo/later&connect=0`);
    assert.equal(await page.text("status"), "closed");
    assert.equal(await page.tab.locator("#log > *").count(), 0);
    await page.tab.locator("#topic").press("Enter");
    await page.status("connected");
    await page.event("open", "topic=demo/later");
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

  async "it fits a phone, in the dark"(server, browser) {
    const page = await ConsolePage.open(browser, server.url, { viewport: { width: 375, height: 780 },
      deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: "dark" });
    await page.status("connected");
    await publish("demo/clock", "x".repeat(500));
    await page.event("message", "xxx");
    assert.equal(await page.tab.evaluate(() => document.documentElement.scrollWidth), 375);
  },

  async "a server that stops says so with 1012"(server, browser) { // the last: there is no server after it
    const page = await ConsolePage.open(browser, server.url);
    await page.status("connected");
    server.child.kill("SIGTERM");
    await page.status("closed");
    await page.event("close", "1012 restart");
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
