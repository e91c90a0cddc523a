"""Many clients on every transport in one thread, and publishers in others: each client knows what it has had and what comes next, comes back when it is cut off,
and counts what it missed, had twice, or was refused. Messages say which they are: "TOPIC NUMBER", numbered for each topic from 1."""

import collections
import errno
import json
import os
import select
import socket
import struct
import threading
import time

from halley_test import PATIENCE_S, Resp, Stream, handshake, frame

TRANSPORTS = ("v1", "sse", "poll", "ndjson", "ws")


class Client:
    """One client, and what it expects. `ws` is plain: it has no cursor, and what it misses is counted apart."""

    def __init__(self, crowd, transport, topic):
        self.crowd, self.transport, self.topic = crowd, transport, topic
        self.sock = None
        self.cursor = None
        self.last = 0
        self.wait_ms = 0        # it was told to wait so long before it comes back
        self.replaying = False
        self.buf, self.head_done, self.is_on = bytearray(), False, False
        self.had_bytes = False
        self.times = 0

    # -- life

    def connect(self):
        self.buf, self.head_done, self.is_on, self.had_bytes = bytearray(), False, False, False
        self.times += 1
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        error = sock.connect_ex(("127.0.0.1", self.crowd.port))
        if error not in (0, errno.EINPROGRESS):
            sock.close()
            self.crowd.refused += 1
            self.crowd.later(self, 100)
            return
        self.sock = sock
        self.crowd.by_fd[sock.fileno()] = self
        self.crowd.epoll.register(sock, select.EPOLLOUT)

    def request(self):
        query = f"topic={self.topic}" + (f"&after={self.cursor}" if self.cursor else "")
        if self.transport == "poll":
            wait = 25 if self.cursor else 0 # the first is to say where it stands
            return f"GET /poll?{query}&wait={wait} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        if self.transport == "sse":
            return f"GET /sse?{query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
        if self.transport == "ndjson":
            return f"GET /stream?format=ndjson&{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        if self.transport == "v1":
            return handshake("/ws", add=("Sec-WebSocket-Protocol: halley.v1",))
        return handshake(f"/ws?topic={self.topic}")

    def on_writable(self):
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.crowd.refused += 1
            self.gone()
            return
        self.sock.send(self.request())
        self.crowd.epoll.modify(self.sock, select.EPOLLIN)

    def on_readable(self):
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            if not self.had_bytes and not (self.transport == "poll" and self.times > 1):
                self.crowd.unanswered += 1
            self.gone()
            return
        self.had_bytes = True
        self.buf += data
        self.parse()

    def gone(self):
        if self.sock is None:
            return
        self.crowd.epoll.unregister(self.sock)
        del self.crowd.by_fd[self.sock.fileno()]
        self.sock.close()
        self.sock = None
        if self.is_on:
            self.crowd.on -= 1
            self.is_on = False
        wait_ms, self.wait_ms = self.wait_ms, 0
        self.crowd.later(self, wait_ms)

    def on(self):
        if not self.is_on:
            self.is_on = True
            self.crowd.on += 1
            self.crowd.arrivals.append((time.monotonic(), self.transport in ("v1", "sse", "ndjson")))

    # -- what it has

    def take(self, data, cursor):
        number = int(data.rsplit(" ", 1)[1])
        self.crowd.received += 1
        if self.transport == "ws":
            if number > self.last + 1 and self.last:
                self.crowd.plain_lost += number - self.last - 1
            if number <= self.last:
                self.crowd.plain_twice += 1
        elif number != self.last + 1:
            self.crowd.wrong.append((self.transport, self.topic, self.last, number, self.times))
        self.last = max(self.last, number)
        if cursor:
            self.cursor = cursor

    def gap(self, what):
        self.crowd.gaps.append((self.transport, self.topic, self.last, what))

    # -- the transports

    def parse(self):
        if not self.head_done:
            end = self.buf.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buf[:end]).decode("latin-1")
            status = int(head.split(" ", 2)[1])
            if status in (429, 503):
                self.crowd.busy += 1
                for line in head.split("\r\n"):
                    if line.lower().startswith("retry-after:"):
                        self.wait_ms = 1000 * int(line.split(":")[1])
                self.gone()
                return
            assert status in (101, 200), head
            if self.transport == "poll":
                self.poll(end, head)
                return
            del self.buf[:end + 4]
            self.head_done = True
            if self.transport == "v1":
                command = {"id": 1, "subscribe": self.topic}
                self.replaying, self.held = self.cursor is not None, []
                if self.cursor:
                    command["after"] = self.cursor
                self.sock.send(frame(1, json.dumps(command)))
            elif self.transport != "sse":
                self.on()
        if self.transport in ("v1", "ws"):
            self.frames()
        elif self.transport == "sse":
            self.events()
        else:
            self.lines()

    def poll(self, end, head):
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:"))
        if len(self.buf) < end + 4 + length:
            return
        answer = json.loads(bytes(self.buf[end + 4:end + 4 + length]))
        del self.buf[:end + 4 + length]
        self.on()
        if answer["gap"]:
            self.gap("poll")
        for m in answer["messages"]:
            self.take(m["data"], m["cursor"])
        self.cursor = answer["cursor"]
        if "connection: close" in head.lower():
            self.wait_ms = answer.get("retry_ms", self.wait_ms)
            self.gone()
        else:
            self.times += 1
            self.sock.send(self.request())

    def frames(self):
        while self.sock is not None and len(self.buf) >= 2:
            opcode, n, at = self.buf[0] & 15, self.buf[1] & 127, 2
            if n == 126:
                n, at = struct.unpack_from(">H", self.buf, 2)[0] if len(self.buf) >= 4 else 1 << 30, 4
            if len(self.buf) < at + n:
                return
            payload = bytes(self.buf[at:at + n])
            del self.buf[:at + n]
            if opcode == 1 and self.transport == "ws":
                self.take(payload.decode(), None)
            elif opcode == 1:
                self.object(json.loads(payload))
            elif opcode == 9:
                self.sock.send(frame(10, payload))
            elif opcode == 8:
                self.crowd.closes[struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 0] += 1
                try:
                    self.sock.send(frame(8, payload[:2]))
                except OSError:
                    pass
                self.gone()

    def object(self, o):
        if "data" in o and self.replaying and not o.get("replay"):
            self.held.append(o) # the live flow, which comes after what is replayed
        elif "data" in o:
            self.take(o["data"], o["cursor"])
        elif "gap" in o:
            self.gap(o["gap"])
        elif "reconnect" in o:
            self.wait_ms = o["reconnect"].get("after_ms", 0)
            self.crowd.told += 1
            if self.transport == "v1":
                self.gone()
        elif "ok" in o:
            if not o["ok"].get("recovered", True):
                self.gap("not recovered")
            if self.cursor is None:
                self.cursor = o["ok"]["cursor"]
                self.on()
        elif "live" in o:
            self.replaying = False
            for message in self.held:
                self.object(message)
            if not self.held:
                self.cursor = o["cursor"]
            self.on()
        elif "hello" in o:
            if self.transport == "ndjson" and self.cursor is None:
                self.cursor = o["hello"]["cursor"]
        elif "cursor" in o and not self.replaying and self.is_on:
            self.cursor = o["cursor"]
        elif "error" in o:
            self.gap(o)

    def lines(self):
        while self.sock is not None and (at := self.buf.find(b"\n")) >= 0:
            line = bytes(self.buf[:at]).strip()
            del self.buf[:at + 1]
            if line:
                self.object(json.loads(line))

    def events(self):
        while self.sock is not None and (at := self.buf.find(b"\n\n")) >= 0:
            event = {}
            for line in bytes(self.buf[:at]).decode().split("\n"):
                name, _, value = line.partition(": ")
                event[name] = value
            del self.buf[:at + 2]
            if "retry" in event:
                self.retry_ms = int(event["retry"])
            if event.get("event") == "halley.gap":
                self.gap(event)
            elif "data" in event and "event" not in event:
                self.take(event["data"], event["id"])
            elif "id" in event:
                self.cursor = event["id"]
                self.on()
            self.wait_ms = getattr(self, "retry_ms", 0)


class Crowd:
    """`count` clients over all transports and `topics` topics of one server."""

    def __init__(self, port, count, topics, transports=TRANSPORTS):
        self.port = port
        self.epoll = select.epoll()
        self.by_fd, self.due, self.lock = {}, [], threading.Lock()
        self.on = self.received = self.refused = self.unanswered = self.busy = self.told = self.plain_lost = self.plain_twice = 0
        self.wrong, self.gaps, self.arrivals = [], [], []
        self.closes = collections.Counter()
        self.clients = [Client(self, transports[i % len(transports)], topics[i // len(transports) % len(topics)]) for i in range(count)]
        self.failure = None
        self.is_over = False

    def later(self, client, ms):
        self.due.append((time.monotonic() + ms / 1000, client))

    def step(self, limit=500):
        now, waiting = time.monotonic(), []
        for at, client in self.due:
            if at <= now and limit > 0:
                limit -= 1
                client.to_connect = True
                waiting.append((0, client))
            else:
                waiting.append((at, client))
        ready = [c for at, c in waiting if at == 0]
        self.due = [(at, c) for at, c in waiting if at != 0]
        for client in ready:
            client.connect()
        for fd, events in self.epoll.poll(0.01, 1000):
            client = self.by_fd.get(fd)
            if client is None:
                continue
            if events & select.EPOLLOUT and not events & select.EPOLLIN:
                client.on_writable()
            elif client.sock is not None:
                client.on_readable()

    def run(self):
        try:
            while not self.is_over:
                self.step()
        except BaseException as error: # pylint: disable=broad-except
            self.failure = error
            raise

    def __enter__(self):
        for client in self.clients:
            self.later(client, 0)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join(PATIENCE_S)
        for client in self.clients:
            if client.sock is not None:
                client.sock.close()
        self.epoll.close()

    def wait_on(self, patience_s=PATIENCE_S):
        """Until all are connected."""
        end = time.monotonic() + patience_s
        while self.on < len(self.clients):
            assert self.failure is None, self.failure
            assert time.monotonic() < end, f"{self.on} of {len(self.clients)} clients are connected after {patience_s:.0f} s"
            time.sleep(0.02)

    def wait_level(self, last, patience_s=PATIENCE_S):
        """Until all but the plain WebSockets have what was published."""
        end = time.monotonic() + patience_s
        while behind := [c for c in self.clients if c.transport != "ws" and c.last < last[c.topic]]:
            assert self.failure is None, self.failure
            c = behind[0]
            assert time.monotonic() < end, f"{len(behind)} clients have not all after {patience_s:.0f} s: {c.transport} {c.topic} has {c.last} of {last[c.topic]}"
            time.sleep(0.02)

    def most_arrivals(self, since, seconds=1.0, are_told=True):
        """The most clients that came in any `seconds` since then: those that are told when to, or those that come at once."""
        times, most, first = [t for t, told in self.arrivals if t >= since and told == are_told], 0, 0
        for i, t in enumerate(times):
            while times[first] < t - seconds:
                first += 1
            most = max(most, i - first + 1)
        return most


class Publisher(threading.Thread):
    """Publishes to its topics in turn, each message until it is acknowledged."""

    def __init__(self, name, path, topics, per_s):
        super().__init__(daemon=True)
        self.label, self.path, self.topics, self.per_s = name, path, topics, per_s
        self.last = {topic: 0 for topic in topics}
        self.is_over = False
        self.retries = 0
        self.failure = None
        self.longest_ms = 0

    def run(self):
        backend = None
        begin, sent = time.monotonic(), 0
        while not self.is_over:
            topic = self.topics[sent % len(self.topics)]
            number, start = self.last[topic] + 1, time.monotonic()
            while True:
                try:
                    if backend is None:
                        backend = Resp(Stream.unix(self.path), 2)
                    answer = backend.call("PUBLISH", topic, f"{topic} {number}", "KEY", f"{topic}-{number}")
                    if isinstance(answer, int):
                        break
                    self.failure = f"{answer}"
                except (OSError, AssertionError) as error:
                    self.failure = repr(error)
                if backend is not None:
                    backend.close()
                backend = None
                self.retries += 1
                time.sleep(0.01)
                if time.monotonic() - start > PATIENCE_S:
                    return
            self.failure = None
            self.last[topic] = number
            self.longest_ms = max(self.longest_ms, int(1000 * (time.monotonic() - start)))
            sent += 1
            time.sleep(max(0, begin + sent / self.per_s - time.monotonic()))
        if backend is not None:
            backend.close()
