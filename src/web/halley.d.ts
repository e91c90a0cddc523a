/** The browser client of Halley: one connection, many topics, nothing missed. See README.md beside this file. */

/** A place in the order of all messages, "I have everything up to here". Opaque: keep it, and send it back. */
export type Cursor = string;

export type Transport = "ws" | "sse" | "ndjson" | "poll";

/** `data` is a string; the value itself where the topic's rule says `payload = json`; base64 where it says `binary`. */
export interface Message<Data = any> {
  topic: string;
  data: Data;
  cursor: Cursor;
  /** It was read from history: after a subscribe with `after` or `last`, or after a reconnection. */
  replay?: true;
  /** What else the server says of it. */
  [member: string]: unknown;
}

export interface SubscribeOptions {
  /** Begin after this cursor; "0" or 0: with all history that there is. Without it and `last`: with what comes from now on. */
  after?: Cursor | 0;
  /** Begin with the newest messages that are kept, so many. */
  last?: number;
}

export interface Subscription {
  readonly topics: string[];
  /** Everything up to it has been delivered. Undefined until the server has told one. */
  readonly cursor: Cursor | undefined;
  close(): void;
}

export interface Published {
  cursor: Cursor;
  /** Subscriptions that it matched. */
  subscribers: number;
}

export interface History<Data = any> {
  messages: Message<Data>[];
  /** Of the last message: what comes after it is the next page. */
  cursor: Cursor;
  /** Messages are missing before the first one. */
  gap?: boolean;
}

export interface Presence {
  count: number;
  members: { sub: string; connections: number; info?: unknown }[];
  next?: string | null;
}

/** What calls are rejected with. The codes of the server: `bad_request`, `bad_topic`, `forbidden`, `unauthorized`, `too_many`,
 * `too_large`, `rate_limited`, `unavailable`; of the client: `closed` (by close()), `unknown` (the connection broke, and
 * came back too late to tell whether the message was published). */
export interface HalleyError extends Error {
  code: string;
}

export interface Events {
  connected: { transport: Transport; connection: string | undefined };
  /** The client comes back by itself. code: a WebSocket's close code, or an HTTP status, if there was one. */
  disconnected: { transport: Transport; code?: number | string; reason: string };
  /** After a reconnection: everything that was missed has been delivered. */
  recovered: {};
  /** Messages of these topics are gone: what is delivered next comes after them. */
  gap: { topics: string[]; after: Cursor; reason?: string };
  /** A connection that could not be made (`unreachable`), a token that was refused (`unauthorized`), or a subscription that
   * the server refused; unless the code says that it is busy, that subscription has ended. */
  error: { code: string; message: string; topics?: string[]; transport?: Transport };
  join: { topic: string; join: unknown };
  leave: { topic: string; leave: unknown };
}

export interface Options {
  /** A JWT, or a function that gets one: called for each connection, and when the one that is used is about to expire. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** Which ones may be used, the best one first. */
  transports?: Transport[];
  /** Milliseconds after which a connection that says nothing is given up, and the next transport tried: 8000. */
  timeout?: number;
  /** Share one connection among the tabs of a browser: tabs() of halley-share.js. */
  share?: Share;
  /** Where the platform has none: the default exports of the npm packages ws and eventsource. */
  WebSocket?: unknown;
  EventSource?: unknown;
  fetch?: typeof fetch;
}

/** What halley-share.js makes. */
export interface Share {
  (connection: object, open: Function): Promise<unknown>;
  close(): void;
}

export declare class Halley {
  /** url: where the server's doors are, such as "https://push.example.com/" or "/push/" on a page. */
  constructor(url: string | URL, options?: Options);

  /** Topics may be patterns. Each message is delivered once, in order. */
  subscribe<Data = any>(topics: string | string[], onMessage: (message: Message<Data>) => void, options?: SubscribeOptions): Subscription;

  /** Happens once, however often it has to be sent. key: of your own, where a message could be published by several callers. echo: false, and
   * this connection does not get it live; over a long poll it does. */
  publish(topic: string, data: unknown, options?: { key?: string; echo?: boolean }): Promise<Published>;

  /** The oldest messages that are kept, after a cursor if it is given; 100, or `limit`. */
  history<Data = any>(topic: string, options?: { after?: Cursor; limit?: number }): Promise<History<Data>>;

  presence(topic: string): Promise<Presence>;

  /** Returns a function that takes the handler away again. */
  on<Name extends keyof Events>(name: Name, handler: (detail: Events[Name]) => void): () => void;

  /** End the connection and all subscriptions, for good. */
  close(): void;
}
