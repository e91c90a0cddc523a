/*! halley-share.js. ISC License, (c) The Halley authors */

// One connection for all tabs of a browser that use Halley with the same URL:
//
//   new Halley(url, { share: tabs() })
//
// The tab that has a Web Lock leads: it has the connection, and relays the objects of halley.v1 for the others over a
// BroadcastChannel. To the client in each tab, the one that leads included, this looks like a server: commands go there
// with ids of its own, answers and replays come back to it, and the live flow, which has what any of the tabs wants, goes
// to all. When the leading tab is closed the lock passes to another; the clients reconnect to that one, and resume by
// their cursors as they do with a server. Each tab holds a lock of its own too, by which the leading one learns that it
// has gone. Where a browser has no Web Locks (pages without TLS), each tab has its own connection.

export function tabs() {
  const me = Math.random().toString(36).slice(2) + Date.now().toString(36);
  let bus, name, link, leads, isClosed, release;
  const whenClosed = new Promise((done) => { release = done; });

  const locks = globalThis.navigator?.locks;
  const lead = (lock) => {
    if (!lock || isClosed) return undefined; // lets go of it
    leads = true;
    return whenClosed;
  };

  async function join(url) {
    name = "halley " + url;
    bus = new BroadcastChannel(name);
    await new Promise((done) => locks.request(name + me, () => { done(); return whenClosed; }));
    await new Promise((done) => locks.request(name, { ifAvailable: true }, (lock) => { done(); return lead(lock); }));
    if (leads) return;
    locks.request(name, (lock) => {
      const held = lead(lock);
      link.end(0, "this tab leads now");
      return held;
    });
  }

  // The link to the tab that leads, if there is one yet.
  function follow() {
    const post = (command) => bus.postMessage({ from: me, command });
    bus.onmessage = ({ data: { to, object, isOpen, isOver } }) => {
      if (isOver || isOpen && link.isUp) link.end(0, "the tab that leads has lost its connection");
      else if (isOpen) post({ hello: true });
      else if (object && (to ?? me) === me) {
        if (object.hello) link.name = object.hello.transport;
        link.take(object);
      }
    };
    link.send = post;
    post({ hello: true });
  }

  return Object.assign(async (conn, open) => {
    link = conn;
    if (!locks || !globalThis.BroadcastChannel) return open(conn);
    if (!bus) await join(conn.url("").split("?")[0]);
    return leads ? relay(conn, open, { bus, name, me, locks }) : follow();
  }, {
    close() {
      isClosed = true;
      release();
      bus?.close();
    },
  });
}

/** Lead: open the connection, and share it. Until it ends. */
function relay(conn, open, { bus, name, me, locks }) {
  const members = new Map([[me, []]]); // the topics of each tab
  const routes = new Map(); // whose command an id stands for
  const real = Object.create(conn); // what the transport has for its client
  let hello, cursor, lastId = 0;

  const tell = (to, object) => to === me ? conn.take(object) : bus.postMessage({ to, object });

  function unsubscribe(topics) {
    const wanted = new Set([...members.values()].flat()), left = topics.filter((topic) => !wanted.has(topic));
    if (left.length) real.send({ id: ++lastId, unsubscribe: left });
  }

  function serve(member, command) {
    const topics = members.get(member);
    if (command.subscribe) topics.push(...command.subscribe);
    if (command.unsubscribe) {
      members.set(member, topics.filter((topic) => !command.unsubscribe.includes(topic)));
      return unsubscribe(command.unsubscribe);
    }
    routes.set(++lastId, { member, id: command.id, isSubscribe: !!command.subscribe });
    return real.send({ ...command, id: lastId });
  }

  function welcome(member) {
    if (!members.has(member))
      locks.request(name + member, () => { // it has gone
        const topics = members.get(member);
        members.delete(member);
        if (hello) unsubscribe(topics);
      });
    members.set(member, []);
    if (hello) tell(member, { hello: { connection: hello.connection, version: hello.version, cursor, transport: conn.name } });
  }

  real.take = (object) => {
    const key = ["id", "replay", "live"].find((each) => object[each] !== undefined), route = routes.get(object[key]);
    if (object.hello) {
      hello = object.hello;
      real.id = hello.connection;
    }
    cursor = (object.hello ?? (key === undefined || key === "live" ? object : {})).cursor ?? cursor;
    if (route) {
      if (key === "live" || key === "id" && (object.error || !route.isSubscribe)) routes.delete(object[key]);
      tell(route.member, { ...object, [key]: route.id });
    } else if (key === undefined) {
      if (object.topic !== undefined || object.cursor || object.gap) tell(undefined, object);
      conn.take(object);
      if (object.hello) bus.postMessage({ isOpen: true });
    }
  };
  real.read = (text) => {
    try {
      real.take(JSON.parse(text));
    } catch (error) {
      conn.fail(error);
    }
  };
  conn.send = (command) => serve(me, command);
  conn.close = () => {
    hello = undefined;
    bus.postMessage({ isOver: true });
    real.close?.();
  };
  bus.onmessage = ({ data: { from, command } }) => {
    if (command?.hello) welcome(from);
    else if (command && hello && members.has(from)) serve(from, command);
  };
  return open(real);
}
