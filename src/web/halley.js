/*! halley.js. ISC License, (c) The Halley authors */

// The browser client of Halley. One connection to the server, over the first transport that works: WebSocket, an event stream, lines of JSON, long
// poll. They all carry the objects of halley.v1 (doc/protocol.md), and the class Halley below does not know which of
// them it has. What is to be known of the rest:
//
// A FLOW is a set of subscriptions that stand at the same place in the order of messages. The connection has one live
// flow; each new subscription is a flow of its own, a replay, until the server says {"live":ID}, and joins the live
// flow then. While it replays, live messages that it wants are held back, so it sees one order. When the connection
// ends, the live flow becomes a replay from its last cursor on, to be asked for on the next connection beside those that
// were unfinished. Each subscription remembers its own last cursor too, and takes nothing twice.
//
// This file is served without its comments: scripts/client-js takes out lines that begin with // and what follows a //
// with a space on both sides. It has to stay below 5 KB when compressed.

const HOUR = 3600000;
const KEY_LIFE = 240000; // ms, less than the server's idempotency_window: a repeat that comes later could happen twice
const POLL_S = 25;
const NEEDS = { ws: "WebSocket", sse: "EventSource" };
const CODES = { 400: "bad_request", 403: "forbidden", 413: "too_large", 429: "rate_limited" };

const random = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
const unique = (list) => [...new Set(list)];

// Cursors are EPOCH-SEQ; within one epoch the longer number is the greater, and so is the whole text. Of two epochs
// nobody knows the order: what comes counts as newer.
const epoch = (cursor) => cursor.split("-")[0];
const isNewer = (a, b) => !b || epoch(a) !== epoch(b) || (a.length === b.length ? a > b : a.length > b.length);

// A level that is or ends in *, a last level **; what begins with $ has to be spelled out.
const wildcards = (c) => c === "**" ? "[^]*" : c === "*" ? "[^/]*" : "\\" + c;
const matcher = (topics) => RegExp("^(" + topics.map((topic) =>
  (topic[0] === "*" ? "(?!\\$)" : "") + topic.replace(/\*\*$|[\\^$.*+?()[\]{}|]/g, wildcards)).join("|") + ")$");

// ---- transports: open(c) begins; c.read(text) and c.take(object) tell what came, c.end(code, reason) that it is over

// For commands over HTTP: one at a time, or they could overtake each other.
const inOrder = (c, job) => {
  let last = Promise.resolve();
  return (command) => { last = last.then(() => job(command)).catch(c.fail); };
};

const commands = (c) => inOrder(c, async (command) =>
  c.take({ id: command.id, ...await c.http("command", { connection: c.id }, JSON.stringify(command)) }));

const transports = {
  ws(c) {
    const socket = new c.WebSocket(c.url("ws").replace(/^http/, "ws"), "halley.v1");
    socket.onmessage = (event) => c.read(event.data);
    socket.onclose = (event) => c.end(event.code, event.reason);
    socket.onerror = () => {}; // onclose follows
    c.send = (command) => socket.send(JSON.stringify(command));
    c.close = () => socket.close();
  },

  sse(c) {
    const source = new c.EventSource(c.url("sse", { protocol: "halley.v1" }));
    source.onmessage = (event) => c.read(event.data);
    source.onerror = () => c.end();
    c.send = commands(c);
    c.close = () => source.close();
  },

  async ndjson(c) {
    const abort = new AbortController();
    c.send = commands(c);
    c.close = () => abort.abort();
    const response = await c.fetch(c.url("stream", { format: "ndjson" }), { signal: abort.signal, cache: "no-store" });
    if (!response.ok) return c.end(response.status, await response.text());
    const reader = response.body.getReader(), decoder = new TextDecoder();
    for (let text = "";;) {
      const { done, value } = await reader.read();
      if (done) return c.end();
      const lines = (text + decoder.decode(value, { stream: true })).split("\n");
      text = lines.pop();
      for (const line of lines) if (line) c.read(line);
    }
  },

  // Speaks as the server would: a subscribe is polled for alone, with wait=0, until it is level, and joins the others.
  async poll(c) {
    let topics = [], after, abort;
    const get = (query, signal) => c.http("poll", query, undefined, signal && { signal });
    const take = (answer, at, replay) => {
      if (answer.gap) c.take({ replay, gap: { after: at, reason: answer.reason } });
      for (const m of answer.messages) c.take({ ...m, replay });
    };
    const poll = async () => {
      abort?.abort();
      const mine = abort = new AbortController();
      while (topics.length) {
        const answer = await get({ topic: unique(topics), after, wait: POLL_S }, mine.signal).catch((error) => ({ error }));
        if (mine !== abort) return;
        if (answer.error) return c.fail(answer.error);
        take(answer, after);
        after = answer.cursor;
        c.take({ cursor: after });
      }
    };
    const subscribe = async ({ id, subscribe: topic, after: at, last }) => {
      let answer;
      do {
        answer = await get({ topic, after: at, last, wait: 0 });
        if (answer.error) return { error: answer.error };
        take(answer, at, id);
        at = answer.cursor;
        last = undefined;
      } while (answer.messages.length);
      if (after && epoch(after) !== epoch(at)) throw Error("a new epoch");
      if (!after || isNewer(after, at)) after = at; // what the others have had already they do not take again
      topics.push(...topic);
      c.take({ live: id, cursor: after });
      poll();
      return { ok: { cursor: at } };
    };
    const answer = async (command) => {
      const { publish, history, unsubscribe, key, data } = command;
      if (command.subscribe) return subscribe(command);
      if (publish) return c.http("publish", { topic: publish }, typeof data === "string" ? data : JSON.stringify(data),
        { headers: { "Idempotency-Key": key } });
      if (history) return get({ topic: history, after: command.after ?? 0, wait: 0 });
      if (command.presence) return { error: { code: "unavailable", message: "not with a long poll" } };
      topics = topics.filter((topic) => !unsubscribe?.includes(topic));
      poll(); // a ping does no more: the connection may be dead
      return { ok: {} };
    };
    c.send = inOrder(c, async (command) => {
      const it = await answer(command), { id, limit = 100 } = command;
      if (it.messages?.length > limit) it.cursor = it.messages.splice(limit, Infinity) && it.messages[limit - 1].cursor;
      c.take({ id, ...it.ok || it.error ? it : { ok: it } });
    });
    c.close = () => abort?.abort();
    if (c.topics.length) await get({ topic: c.topics, wait: 0 }); // is it there?
    c.take({ hello: { ping_s: POLL_S } });
  },
};

// ---- the client

export class Halley {
  #options;
  #base;
  #order = []; // transports, and
  #at = 0; // which of them is tried
  #known = {}; // the one that worked, and until when that is believed
  #fails = 0; // connections since the last one that brought more than its hello
  #conn;
  #timer; // until the next connection
  #watch; // until a connection that says nothing is given up
  #pauseMs; // when to come back, if the server has said so
  #lastId = 0;
  #subs = new Set();
  #live = this.#flow([]);
  #replays = new Map(); // the other flows, by id
  #pending = new Map(); // calls that wait for their answer, by id
  #handlers = {};
  #hasGap;
  #isClosed;

  constructor(url, options = {}) {
    const { WebSocket, EventSource, location, document } = globalThis, fetch = globalThis.fetch?.bind(globalThis);
    this.#options = { WebSocket, EventSource, fetch, timeout: 8000, transports: Object.keys(transports), ...options };
    this.#base = new URL(url, location?.href).href.replace(/^ws/, "http").replace(/[?#].*/, "").replace(/\/?$/, "/");
    try {
      this.#known = JSON.parse(document && localStorage["halley " + this.#base]) ?? {};
    } catch {} // nothing is remembered, or pages may not
    this.#listenTo("add");
    this.#schedule(0);
  }

  subscribe(topics, onMessage, { after, last } = {}) {
    topics = [topics].flat();
    const sub = { topics, match: matcher(topics), onMessage, after: after?.toString() };
    this.#subs.add(sub);
    this.#ask(this.#replay([sub], { after: sub.after, last }));
    const cursor = () => sub.flow === this.#live && isNewer(this.#live.after ?? "", sub.after) ? this.#live.after : sub.after;
    return { topics, get cursor() { return cursor(); }, close: () => this.#leave(sub) };
  }

  publish(topic, data, { key = random(), echo } = {}) {
    return this.#call({ publish: topic, data, key, echo });
  }

  history(topic, { after, limit } = {}) {
    return this.#call({ history: topic, after, limit });
  }

  presence(topic) {
    return this.#call({ presence: topic });
  }

  on(name, handler) {
    const handlers = this.#handlers[name] ??= new Set();
    handlers.add(handler);
    return () => handlers.delete(handler);
  }

  close() {
    this.#isClosed = true;
    this.#end(this.#conn, 1000, "closed");
    clearTimeout(this.#timer);
    for (const call of this.#pending.values()) this.#settle(call, { error: { code: "closed", message: "closed" } });
    this.#subs.clear();
    this.#listenTo("remove");
    this.#options.share?.close();
  }

  // What an application's function throws is its own affair, and stops nothing here.
  #run(handler, detail) {
    try {
      handler(detail);
    } catch (error) {
      setTimeout(() => { throw error; });
    }
  }

  #emit(name, detail) {
    for (const handler of this.#handlers[name] ?? []) this.#run(handler, detail);
  }

  // ---- calls

  #call(command) {
    return new Promise((resolve, reject) => {
      const call = { command: { id: ++this.#lastId, ...command }, resolve, reject };
      this.#pending.set(call.command.id, call);
      if (this.#isClosed) this.close();
      else this.#send(call);
    });
  }

  #send(call) {
    if (!this.#conn?.isUp) return;
    call.sentAt ??= Date.now();
    if (call.command.publish && Date.now() - call.sentAt > KEY_LIFE)
      this.#settle(call, { error: { code: "unknown", message: "it may have been published" } });
    else this.#conn.send(call.command);
  }

  #settle({ command, resolve, reject }, { ok, error }) {
    this.#pending.delete(command.id);
    if (error) reject(Object.assign(Error(error.message), error));
    else resolve(ok);
  }

  // ---- connections

  #schedule(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), ms);
  }

  #usable() {
    const o = this.#options, { name, until } = this.#known;
    const names = o.transports.filter((each) => !(each in NEEDS) || o[NEEDS[each]]);
    return until > Date.now() && names.includes(name) ? unique([name, ...names]) : names;
  }

  async #connect() {
    const o = this.#options, conn = this.#conn = { ...o };
    conn.topics = this.#topicsOf(this.#subs);
    conn.end = (code, reason) => this.#end(conn, code, reason);
    conn.fail = (error) => conn.end(error.code, error.message);
    conn.take = (object) => conn === this.#conn && this.#take(conn, object);
    conn.read = (text) => {
      try {
        conn.take(JSON.parse(text));
      } catch (error) {
        conn.fail(error);
      }
    };
    conn.url = (path, query) => {
      const url = new URL(path, this.#base);
      for (const [name, value] of Object.entries({ ...query, token: conn.jwt }))
        for (const each of [value].flat()) if (each !== undefined) url.searchParams.append(name, each);
      return url.href;
    };
    conn.http = async (path, query, body, init) => {
      if (conn !== this.#conn) throw Error("over");
      const method = body === undefined ? "GET" : "POST", signal = AbortSignal.timeout?.(2000 * POLL_S);
      const response = await o.fetch(conn.url(path, query), { method, body, signal, cache: "no-store", ...init });
      const { status } = response, message = await response.text();
      try {
        if (status !== 404) return JSON.parse(message);
      } catch {} // a sentence, or the page of a proxy
      if (CODES[status] && message[0] !== "<") return { error: { code: CODES[status], message } };
      throw { code: status, message };
    };
    try {
      conn.jwt = typeof o.token === "function" ? await o.token() : o.token;
      if (conn !== this.#conn) return;
      this.#listen(o.timeout);
      if (!this.#at) this.#order = this.#usable();
      conn.name = this.#order[this.#at];
      const open = transports[conn.name]; // share decides whether this client opens it: see halley-share.js
      await (o.share ? o.share(conn, open) : open(conn));
    } catch (error) {
      conn.fail(error);
    }
  }

  #listen(ms) {
    const conn = this.#conn;
    clearTimeout(this.#watch);
    if (ms) this.#watch = setTimeout(() => conn.end(0, "nothing was heard"), ms);
  }

  #listenTo(how) {
    globalThis[how + "EventListener"]?.("online", this.#wake);
    globalThis.document?.[how + "EventListener"]("visibilitychange", this.#wake);
  }

  #wake = () => {
    const conn = this.#conn;
    if (globalThis.document?.hidden) return;
    if (conn?.isUp) {
      if (conn.name === "ws") this.#listen(this.#options.timeout);
      conn.send({ id: ++this.#lastId, ping: true });
    } else if (!conn && this.#pauseMs === undefined) this.#schedule(0);
  };

  #open(conn, hello) {
    const { name } = conn, now = Date.now();
    conn.isUp = true;
    conn.id = hello.connection;
    conn.silence = hello.ping_s * 2000;
    this.#listen(conn.silence);
    this.#pauseMs = this.#hasGap = undefined;
    this.#at = 0;
    this.#live.after = hello.cursor;
    if (name !== this.#known.name || this.#known.until < now) this.#known = { name, until: now + HOUR };
    try {
      if (globalThis.document) localStorage["halley " + this.#base] = JSON.stringify(this.#known);
    } catch {} // it will be found out anew
    for (const flow of this.#replays.values()) this.#ask(flow);
    for (const call of this.#pending.values()) this.#send(call);
    this.#emit("connected", { transport: name, connection: conn.id });
  }

  #end(conn, code, reason = "") {
    if (!conn || conn !== this.#conn) return;
    this.#conn = undefined;
    clearTimeout(this.#watch);
    conn.close?.();
    if (conn.isUp) this.#suspend();
    if (code === 1009) { // over limits.message, which can only be the largest
      const size = (call) => JSON.stringify(call.command).length;
      const [call] = [...this.#pending.values()].sort((a, b) => size(b) - size(a));
      if (call) this.#settle(call, { error: { code: "too_large", message: reason } });
    }
    if (!this.#isClosed) this.#retry(conn, code, reason);
    if (conn.isUp) this.#emit("disconnected", { transport: conn.name, code, reason });
  }

  // A transport that worked gets three chances before the others are tried, all of them at once; then there is a pause.
  #retry({ name, isUp }, code, message) {
    const fails = this.#fails += code === 1013 ? 4 : 1, isRefused = code === 401 || code === 4401;
    const isStaying = !name || name === this.#known.name && fails % 3;
    if (!isStaying) this.#at = (this.#at + 1) % this.#order.length;
    this.#schedule(this.#pauseMs ?? (isStaying || !this.#at ? Math.random() * Math.min(30000, 500 * 2 ** fails) : 0));
    if (isRefused || !isUp)
      this.#emit("error", { code: isRefused ? "unauthorized" : "unreachable", transport: name, message });
    if (isRefused && typeof this.#options.token !== "function") this.close();
  }

  async #refresh(conn) {
    const { token } = this.#options;
    if (typeof token !== "function") return;
    conn.jwt = await token();
    if (conn === this.#conn) conn.send({ id: ++this.#lastId, auth: conn.jwt });
  }

  // ---- what the server says

  #take(conn, object) {
    const { ok, error, live, replay, gap, topic, topics, cursor, close } = object;
    if (object.hello) return this.#open(conn, object.hello);
    if (!conn.isUp) return;
    if (!error) this.#fails = 0;
    if (conn.name === "ws" || !ok && !error) this.#listen(conn.silence); // an answer to a POST tells nothing of the stream
    if (ok || error) this.#answer(object);
    else if ("data" in object) this.#message(object);
    else if (live) {
      this.#live.after = cursor;
      this.#join(this.#replays.get(live));
    } else if (gap) {
      const flow = replay ? this.#replays.get(replay) : this.#live;
      this.#hasGap = true;
      if (flow) this.#emit("gap", { ...gap, topics: topics ?? (topic ? [topic] : this.#topicsOf(flow.subs)) });
    } else if (close) conn.end(close.code, close.reason);
    else if (object.reconnect) this.#pauseMs = object.reconnect.after_ms;
    else if ("expiring" in object) this.#refresh(conn).catch(conn.fail);
    else if (topic) this.#emit(object.join ? "join" : "leave", object);
    else if (cursor) this.#live.after = cursor;
  }

  #answer({ id, ok, error, topic }) {
    const flow = this.#replays.get(id), call = this.#pending.get(id);
    if (call) this.#settle(call, { ok, error });
    else if (error && flow) this.#refused(flow, error);
    else if (error && !id) this.#emit("error", { ...error, topics: [topic] });
    else if (flow && !flow.after && flow.last === undefined) { // nothing is replayed
      for (const sub of flow.subs) sub.after = ok.cursor;
      this.#join(flow);
    }
  }

  #message(object) {
    const flow = object.replay ? this.#replays.get(object.replay) : this.#live;
    if (!flow) return;
    flow.after = object.cursor;
    if (object.replay) object.replay = true;
    else for (const { subs, held } of this.#replays.values())
      if ([...subs].some((sub) => sub.match.test(object.topic))) held.push(object);
    this.#deliver(flow, object);
  }

  #deliver(flow, object) {
    for (const sub of flow.subs) {
      if (!this.#subs.has(sub) || !sub.match.test(object.topic) || !isNewer(object.cursor, sub.after)) continue;
      sub.after = object.cursor;
      this.#run(sub.onMessage, object);
    }
  }

  // ---- subscriptions and flows

  #flow(subs, from) {
    const flow = { id: ++this.#lastId, subs: new Set(subs), held: [], ...from };
    for (const sub of subs) sub.flow = flow;
    return flow;
  }

  #replay(subs, from) {
    const flow = this.#flow(subs, from);
    this.#replays.set(flow.id, flow);
    return flow;
  }

  #topicsOf(subs) {
    return unique([...subs].flatMap((sub) => sub.topics));
  }

  #ask(flow) {
    const { id, after, last } = flow, conn = this.#conn;
    if (conn?.isUp && flow.subs.size) conn.send({ id, subscribe: this.#topicsOf(flow.subs), after, last: after ? undefined : last });
  }

  // It is level: what it held back comes now, and then it is a part of the live flow.
  #join(flow) {
    if (!flow) return;
    this.#replays.delete(flow.id);
    for (const object of flow.held) this.#deliver(flow, object);
    for (const sub of flow.subs) {
      sub.flow = this.#live;
      this.#live.subs.add(sub);
    }
    if (flow.isResumed && !this.#hasGap && ![...this.#replays.values()].some((other) => other.isResumed)) this.#emit("recovered", {});
  }

  #suspend() {
    const last = this.#live;
    this.#live = this.#flow([]);
    if (last.subs.size) this.#replays.set(last.id, last);
    for (const flow of this.#replays.values()) Object.assign(flow, { held: [], isResumed: true });
  }

  // Which one of several was refused, only asking for each alone can tell.
  #refused(flow, error) {
    const isOne = flow.subs.size < 2, isBusy = /too_many|rate_limited|unavailable/.test(error.code);
    if (isOne || isBusy) this.#emit("error", { ...error, topics: this.#topicsOf(flow.subs) });
    if (isBusy)
      setTimeout(() => this.#replays.has(flow.id) && this.#ask(flow), 1000 + 4000 * Math.random());
    else if (this.#replays.delete(flow.id))
      for (const sub of flow.subs)
        if (isOne) this.#subs.delete(sub);
        else this.#ask(this.#replay([sub], { after: flow.after, isResumed: true }));
  }

  #leave(sub) {
    if (!this.#subs.delete(sub)) return;
    sub.flow.subs.delete(sub);
    if (!sub.flow.subs.size) this.#replays.delete(sub.flow.id);
    const wanted = this.#topicsOf(this.#subs), unsubscribe = unique(sub.topics).filter((topic) => !wanted.includes(topic));
    if (this.#conn?.isUp && unsubscribe.length) this.#conn.send({ id: ++this.#lastId, unsubscribe });
  }
}
