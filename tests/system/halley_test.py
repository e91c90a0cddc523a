"""What the system tests in Python share: the server under test, clients that are made for misbehaving, and the running of
tests. The clients are written from the RFCs and from Redis' documentation alone, so that a mistake in the server's code is
not made a second time here.

A test is a function whose name is a sentence; it gets the server that all tests of a file share (or makes its own with
`with Server(...)`), and fails by an exception:

    @test
    def a_message_reaches_its_subscriber(server): ...

    @table(ROWS)                                   # one test for each row; a row is named by its first element
    def a_bad_request_is_refused(server, row): ...

    main(CONFIG)

Nothing here sleeps: every wait is for an event, and bounded by PATIENCE_S, which is generous, since a test that passes
never needs it. TEST_SHORT (or HALLEY_TEST_SHORT) asks for a tenth of the load; HALLEY_TEST_SLOW is a factor for PATIENCE_S,
5 if the program was built with a sanitizer. With HALLEY_TEST_TLS all public connections speak TLS: whatever is tested has
to be the same then. With TEST_JOURNAL=always (or interval, never) every server keeps a journal."""

import base64
import collections
import contextlib
import hashlib
import json
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import halley_tls

HALLEYD = os.path.abspath(os.environ.get("HALLEYD", "build/halleyd"))
HALLEY = os.path.abspath(os.environ.get("HALLEY", "build/halley"))
OUTPUT = pathlib.Path(os.environ.get("TEST_OUTPUT", "test-output")).resolve() # logs of the servers
TLS = bool(os.environ.get("HALLEY_TEST_TLS"))
JOURNAL = os.environ.get("TEST_JOURNAL")
SHORT = bool(os.environ.get("TEST_SHORT") or os.environ.get("HALLEY_TEST_SHORT"))


def _is_sanitized(program):
    try:
        data = pathlib.Path(program).read_bytes()
    except OSError:
        return False
    return b"__asan_init" in data or b"__tsan_init" in data


IS_SANITIZED = _is_sanitized(HALLEYD)
SLOW = float(os.environ.get("HALLEY_TEST_SLOW") or (5 if IS_SANITIZED else 1))
PATIENCE_S = 20 * SLOW
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|LeakSanitizer")


def scaled(count):
    """How much load instead of `count`."""
    return max(1, count // 10) if SHORT else count


def equal(got, want, what=""):
    assert got == want, f"{what}{': ' if what else ''}got {shorten(got)}, not {shorten(want)}"


def matches(pattern, text, what=""):
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    assert re.search(pattern, text), f"{what}{': ' if what else ''}no {pattern!r} in {shorten(text)}"


def shorten(value):
    text = repr(value)
    return text if len(text) <= 1000 else f"{text[:600]} ... {text[-300:]} ({len(text)} characters)"


def until(what, look):
    """Wait until look() is true; returns it. For what tells of itself by no event: the state of another process."""
    end = time.monotonic() + PATIENCE_S
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < end, f"waited {PATIENCE_S:.0f} s until {what}"
        time.sleep(0.01)


# ---- the server

SERVERS = [] # all that were started, for their logs


def server_environment(extra=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith("HALLEY_")} # HALLEY_* are settings
    env.update(extra or {})
    return env


class Server:
    """A halleyd of one's own, in a directory of its own. `config` is added to a config that listens on a free port and on
    the Unix socket self.socket; with listen=False it is all there is, and {dir} in it is the directory."""

    def __init__(self, config="", args=(), env=None, listen=True, files=None, may_log_errors=False):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="halley-")) # short: the path of a Unix socket is to be
        self.socket = str(self.dir / "backend.sock")
        self.config_path = self.dir / "halley.conf"
        tls = halley_tls.section() if TLS else ""
        listeners = f'listen "127.0.0.1:0" {{ {tls} }}\nbackend "{self.socket}" {{ mode = 0600 }}\n' if listen else ""
        self.config_path.write_text(listeners + config.replace("{dir}", str(self.dir)))
        self.args, self.env, self.files = list(args), env, files
        self.may_log_errors = may_log_errors
        self.lines = []
        self.process = self.port = None
        self.code = None
        self.lock = threading.Condition()
        self.ended = False

    # -- life

    def start(self, wait=True):
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (self.files, self.files))) if self.files else None
        SERVERS.append(self) # before anything can fail, so that it is tidied up
        self.process = subprocess.Popen([HALLEYD, "--config", str(self.config_path), *self.args], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=limit,
                                        env=self._environment(), cwd=self.dir)
        self.lines, self.ended, self.code = [], False, None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if wait:
            self.wait_log(r'ev=ready |"ev":"ready"')
            ports = [int(m[1]) for line in self.lines if (m := re.search(r'door=public address=\S*:(\d+)\b', line))]
            self.port = ports[0] if ports else None
        return self

    def _environment(self):
        env = server_environment({"HALLEY_DRAIN_TIME": "0s", **(self.env or {})}) # tests stop servers all the time
        if JOURNAL:
            env = {"HALLEY_JOURNAL_PATH": str(self.dir / "journal"), "HALLEY_JOURNAL_SYNC": JOURNAL, **env}
        return env

    def _read(self):
        OUTPUT.mkdir(parents=True, exist_ok=True)
        with open(OUTPUT / f"halleyd-{self.process.pid}.log", "w", encoding="utf-8") as log:
            for raw in self.process.stdout:
                line = raw.decode(errors="replace").rstrip("\n")
                print(line, file=log, flush=True)
                with self.lock:
                    self.lines.append(line)
                    self.lock.notify_all()
        with self.lock:
            self.ended = True
            self.lock.notify_all()

    def wait_log(self, pattern, start=0):
        """Wait for a line of the log from the start-th on; returns the match."""
        end, at = time.monotonic() + PATIENCE_S, start
        with self.lock:
            while True:
                for line in self.lines[at:]:
                    if found := re.search(pattern, line):
                        return found
                at = len(self.lines)
                assert not self.ended, f"the server ended without logging {pattern!r}:\n" + "\n".join(self.lines[-20:])
                assert self.lock.wait(end - time.monotonic()), f"waited {PATIENCE_S:.0f} s for {pattern!r} in the log"

    def wait_exit(self):
        """Wait for its end; returns its exit code, or minus the signal."""
        if self.code is None:
            try:
                self.code = self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the server did not end within {PATIENCE_S:.0f} s") from None
            self.reader.join(PATIENCE_S)
        return self.code

    def terminate(self):
        """SIGTERM, and the end that is due then."""
        self.process.send_signal(signal.SIGTERM)
        equal(self.wait_exit(), 0, "exit code after SIGTERM")
        self.check_log()

    def check_log(self):
        errors = [line for line in self.lines if re.search(r'^\S+ level=error |"level":"error"', line)]
        assert self.may_log_errors or not errors, "the log has errors:\n" + "\n".join(errors[:10])
        reports = [line for line in self.lines if SANITIZER.search(line)]
        assert not reports, "a sanitizer complained:\n" + "\n".join(reports[:5])

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.wait_exit()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.process.poll() is None:
                self.terminate()
            elif kind is None:
                self.wait_exit()
                self.check_log()
        finally:
            self.kill()

    # -- looking at it

    def is_running(self):
        return self.process.poll() is None

    def memory(self):
        """Resident bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii")
        return int(text.split()[1]) * resource.getpagesize()

    def files_open(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stats(self):
        return self.backend_http("GET", "/stats").json()

    def wait_stat(self, name, want):
        """Wait until a figure has this value, or until want(value)."""
        last = None

        def look():
            nonlocal last
            last = self.stats()[name]
            return want(last) if callable(want) else last == want
        try:
            until(f"{name} is {want}", look)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {last}") from None

    def settle(self):
        """Wait until it has noticed that all clients have gone: the next test begins with none."""
        try:
            with self.backend() as stream: # one connection, for it is counted itself
                def look():
                    stats = stream.request("GET", "/stats").json()
                    return (stats["connections"], stats["backends"], stats["subscriptions"]) == (0, 1, 0)
                until("all connections of the test are gone", look)
                if JOURNAL: # what they published at their end comes before this
                    stream.request("POST", "/publish?topic=settled", b"")
        except (OSError, Closed):
            raise AssertionError(f"the server has gone: exit code {self.wait_exit()}") from None

    # -- clients

    def public(self, **options):
        stream = Stream.tcp("127.0.0.1", self.port, **options)
        if TLS:
            stream.sock = halley_tls.TlsSocket(stream.sock)
        return stream

    def backend(self):
        return Stream.unix(self.socket)

    def resp(self, proto=2):
        return Resp(self.backend(), proto)

    def ws(self, target, **options):
        return Ws.open(self, target, **options)

    def subscribe(self, *topics, **options):
        return Ws.open(self, "/ws?" + "&".join("topic=" + quote(t) for t in topics), **options)

    def publish(self, topic, payload, *more):
        """Publish on a connection of its own; returns the number of subscriptions."""
        with self.resp() as backend:
            return backend.ok("PUBLISH", topic, payload, *more)

    def http(self, method, target, body=None, headers=()):
        with self.public() as stream:
            return stream.request(method, target, body, headers)

    def backend_http(self, method, target, body=None, headers=()):
        with self.backend() as stream:
            return stream.request(method, target, body, headers)


def quote(text):
    raw = text.encode() if isinstance(text, str) else text
    return "".join(chr(b) if chr(b).isalnum() and b < 128 or chr(b) in "-._~/*:$" else f"%{b:02X}" for b in raw)


# ---- bytes, and HTTP

class Closed(AssertionError):
    """The peer closed the connection where bytes were due."""


Response = collections.namedtuple("Response", "status reason headers body")
Response.header = lambda self, name: ", ".join(v for k, v in self.headers if k == name.lower()) or None
Response.json = lambda self: json.loads(self.body)
Response.text = lambda self: self.body.decode()


class Stream:
    """A connection, read through a buffer."""

    def __init__(self, sock):
        sock.settimeout(PATIENCE_S)
        self.sock = sock
        self.buf = bytearray()

    @classmethod
    def tcp(cls, host, port, receive_buffer=0):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(PATIENCE_S)
        sock.connect((host, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock)

    @classmethod
    def unix(cls, path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE_S)
        sock.connect(path)
        return cls(sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Go away with a RST, as a peer that crashed."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def send_bytewise(self, data):
        """Each byte in a write of its own."""
        for i in range(len(data)):
            self.sock.sendall(data[i:i + 1])

    def try_send(self, data):
        """As send(), to a peer that may have closed. Returns whether it went."""
        try:
            self.sock.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def fill(self):
        """Read what comes next. False at the end."""
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            raise AssertionError(f"nothing came for {PATIENCE_S:.0f} s; before that: {shorten(bytes(self.buf))}") from None
        self.buf += data
        return bool(data)

    def take(self, count):
        while len(self.buf) < count:
            if not self.fill():
                raise Closed(f"closed where {count} bytes were due, after {shorten(bytes(self.buf))}")
        data = bytes(self.buf[:count])
        del self.buf[:count]
        return data

    def take_line(self, end=b"\r\n"):
        while (at := self.buf.find(end)) < 0:
            if not self.fill():
                raise Closed(f"closed in the middle of a line, after {shorten(bytes(self.buf))}")
        line = bytes(self.buf[:at])
        del self.buf[:at + len(end)]
        return line

    def take_rest(self):
        """Everything until the peer closes; a reset is a failure."""
        while self.fill():
            pass
        data = bytes(self.buf)
        self.buf.clear()
        return data

    def expect_end(self):
        equal(self.take_rest(), b"", "before the connection was closed")

    def response(self, head=False):
        """Read an HTTP response, with its body as its headers announce it."""
        status = self.take_line().decode("latin-1")
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) (.*)", status)
        assert found, f"not a status line: {status!r}"
        headers = []
        while line := self.take_line().decode("latin-1"):
            name, colon, value = line.partition(":")
            assert colon and name == name.strip(), f"not a header: {line!r}"
            headers.append((name.lower(), value.strip()))
        code = int(found[1])
        lengths = [v for k, v in headers if k == "content-length"]
        assert len(lengths) <= 1, "two Content-Length"
        body = b""
        if not head and code >= 200 and code not in (204, 304):
            body = self.take(int(lengths[0])) if lengths else self.take_rest()
        return Response(code, found[2], headers, body)

    def request(self, method, target, body=None, headers=()):
        text = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n"
        if body is not None:
            text += f"Content-Length: {len(body)}\r\n"
        text += "".join(f"{line}\r\n" for line in headers)
        self.send(text.encode("latin-1") + b"\r\n" + (body or b""))
        return self.response(method == "HEAD")


# ---- WebSocket, RFC 6455: the client's side

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = "dGhlIHNhbXBsZSBub25jZQ==" # of RFC 6455 1.3

Frame = collections.namedtuple("Frame", "fin rsv opcode payload")


def mask(data, key):
    if not data:
        return b""
    wide = (key * (len(data) // 4 + 1))[:len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(wide, "big")).to_bytes(len(data), "big")


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, length=None, form=None):
    """The bytes of a frame as a client sends it. length: another one than the payload's; form: 7, 16 or 64 bits for it."""
    payload = payload.encode() if isinstance(payload, str) else bytes(payload)
    n = len(payload) if length is None else length
    form = form or (7 if n < 126 else 16 if n < 65536 else 64)
    small = {7: n, 16: 126, 64: 127}[form]
    head = bytes([fin << 7 | rsv << 4 | opcode, masked << 7 | small])
    head += {7: b"", 16: struct.pack(">H", n & 0xffff), 64: struct.pack(">Q", n)}[form]
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + mask(payload, key)


def close_payload(code, reason=""):
    return struct.pack(">H", code) + (reason.encode() if isinstance(reason, str) else reason)


def handshake(target="/echo", method="GET", version="HTTP/1.1", replace=None, add=(), drop=()):
    """The bytes of an opening handshake, right but for what is replaced (header: value), added (lines) or dropped."""
    headers = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": KEY,
               "Sec-WebSocket-Version": "13"}
    headers.update(replace or {})
    lines = [f"{method} {target} {version}"] + [f"{k}: {v}" for k, v in headers.items() if k not in drop] + list(add)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


class Ws:
    """An open WebSocket."""

    def __init__(self, stream, response):
        self.stream = stream
        self.response = response

    @classmethod
    def open(cls, server, target, protocols=None, origin=None, first=b"", receive_buffer=0):
        """Connect; `first` is sent in the same write as the opening handshake."""
        add = ([f"Sec-WebSocket-Protocol: {protocols}"] if protocols else []) + ([f"Origin: {origin}"] if origin else [])
        stream = server.public(receive_buffer=receive_buffer)
        stream.send(handshake(target, add=add) + first)
        return cls.accepted(stream)

    @classmethod
    def accepted(cls, stream):
        """The answer to a handshake with KEY is here next, and must be the right one."""
        r = stream.response()
        if r.status != 101:
            stream.close()
            raise AssertionError(f"the handshake was answered {r.status} {r.body!r}")
        equal(r.header("upgrade").lower(), "websocket")
        equal(r.header("connection").lower(), "upgrade")
        equal(r.header("sec-websocket-accept"), base64.b64encode(hashlib.sha1(KEY.encode() + GUID).digest()).decode())
        equal(r.header("sec-websocket-extensions"), None, "extensions that were not offered")
        return cls(stream, r)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def send(self, opcode, payload=b"", **options):
        self.stream.send(frame(opcode, payload, **options))

    def receive(self):
        """The next frame; the rules for a server's frames are checked."""
        first, second = self.stream.take(2)
        n, form = second & 0x7f, 7
        assert not second & 0x80, "a server's frame is masked (RFC 6455 5.1)"
        if n >= 126:
            form = 16 if n == 126 else 64
            n = int.from_bytes(self.stream.take(form // 8), "big")
            assert n > (125 if form == 16 else 65535), f"length {n} is not in its shortest form"
        f = Frame(bool(first & 0x80), first >> 4 & 7, first & 15, self.stream.take(n))
        assert f.rsv == 0, f"reserved bits {f.rsv}"
        assert f.opcode < 8 or (f.fin and n <= 125), f"a control frame that is fragmented or long: {f}"
        assert f.opcode != TEXT or not f.fin or f.payload.decode() is not None # raises if it is not UTF-8
        return f

    def data(self):
        """The payload of the next message; pings in between are passed over."""
        while (f := self.receive()).opcode == PING:
            pass
        assert f.fin and f.opcode in (TEXT, BINARY), f"no message but {f}"
        return f.payload

    def text(self):
        f = self.receive()
        assert f.fin and f.opcode == TEXT, f"no text message but {f}"
        return f.payload.decode()

    def closing(self, skip=lambda f: False):
        """The next frame, but for those to skip, is a close frame: its (code or None, reason)."""
        while skip(f := self.receive()):
            pass
        assert f.opcode == CLOSE, f"no close frame but {f}"
        assert len(f.payload) != 1, "a close frame with half a code"
        return (struct.unpack(">H", f.payload[:2])[0] if f.payload else None), f.payload[2:].decode()

    def expect_close(self, code, reason=None, skip=lambda f: False):
        """A close frame, then the end of TCP, without waiting for our own."""
        got, why = self.closing(skip)
        equal(got, code, f"close code (reason {why!r})")
        if reason is not None:
            matches(reason, why)
        if code is not None:
            self.stream.try_send(frame(CLOSE, close_payload(code)))
        self.stream.expect_end()
        self.stream.close()
        return why

    def expect_nothing_but(self, *payloads):
        """These messages are sent to us, and none besides them before the answer to a ping. With several reactors an
        acknowledged message may still be on its way when that comes: let a message that is due be the last."""
        for payload in payloads:
            equal(self.data(), payload.encode() if isinstance(payload, str) else payload)
        token = os.urandom(8)
        self.send(PING, token)
        while (f := self.receive()).opcode == PING:
            pass
        equal(f, (True, 0, PONG, token), "there should be no more")

    def close(self):
        """The closing handshake from our side."""
        self.send(CLOSE, close_payload(1000))
        code, _ = self.closing()
        equal(code, 1000)
        self.stream.expect_end()
        self.stream.close()


# ---- RESP, the protocol of Redis: the client's side

class RespError(str):
    """An error reply."""


class Push(list):
    """A push of RESP3."""


def command(*args):
    """The bytes of a command."""
    parts = [a if isinstance(a, bytes) else str(a).encode() for a in args]
    return b"".join([b"*%d\r\n" % len(parts)] + [b"$%d\r\n%s\r\n" % (len(p), p) for p in parts])


class Resp:
    """A backend on the Unix socket. Replies are what they are in RESP: str for simple strings, bytes for bulks, int, None,
    lists, dicts for maps, Push, and RespError, which is returned and not raised."""

    def __init__(self, stream, proto=2):
        self.stream = stream
        if proto == 3:
            equal(self.ok("HELLO", "3")[b"proto"], 3)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def send(self, *args):
        self.stream.send(command(*args))

    def read(self):
        line = self.stream.take_line()
        kind, rest = chr(line[0]), line[1:].decode()
        if kind == "+":
            return rest
        if kind == "-":
            return RespError(rest)
        if kind == ":":
            return int(rest)
        if kind == "_":
            return None
        if kind in "$=":
            return self._bulk(int(rest), kind == "=")
        if kind in "*>":
            return None if rest == "-1" else (Push if kind == ">" else list)(self.read() for _ in range(int(rest)))
        if kind == "%":
            return dict((self.read(), self.read()) for _ in range(int(rest)))
        raise AssertionError(f"no reply of RESP: {line!r}")

    def _bulk(self, length, is_verbatim):
        if length == -1:
            return None
        data = self.stream.take(length)
        equal(self.stream.take(2), b"\r\n", "after a bulk")
        return data[4:] if is_verbatim else data

    def call(self, *args):
        self.send(*args)
        return self.read()

    def ok(self, *args):
        """As call(), where an error is a failure."""
        reply = self.call(*args)
        assert not isinstance(reply, RespError), f"{shorten(args)} was answered {reply!r}"
        return reply

    def error(self, *args, text="ERR "):
        """The command is answered with an error that has this text (a pattern)."""
        reply = self.call(*args)
        assert isinstance(reply, RespError), f"{shorten(args)} was answered {reply!r}, not an error"
        matches(text, reply)
        return reply

    def expect_nothing_but(self, *messages):
        """These messages are sent to us, and none besides them before the answer to a PING; see Ws.expect_nothing_but()."""
        for message in messages:
            equal(list(self.read()), message)
        token = os.urandom(8).hex().encode()
        reply = self.call("PING", token)
        assert reply in ([b"pong", token], token), f"there should be no more, but there is {reply}"


# ---- many subscribers at once

class Swarm:
    """WebSocket subscribers by the thousand, read with epoll. Each has a list of what it received; message() maps a
    payload to what is kept of it. Frames other than whole text or binary messages are failures, pings but for."""

    def __init__(self, server, message=bytes):
        self.server, self.message = server, message
        self.epoll = select.epoll()
        self.clients = {}
        self.count = 0 # messages, of all clients

    class Client:
        def __init__(self, sock, name):
            self.sock, self.name, self.rest, self.received = sock, name, b"", []
            self.is_open = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for c in self.clients.values():
            c.sock.close()
        self.epoll.close()

    def connect(self, wishes, at_a_time=200):
        """wishes: a list of (name, [topics]). Connects them all; returns the clients in the same order."""
        made = []
        for at in range(0, len(wishes), at_a_time):
            some = [self._begin(*wish) for wish in wishes[at:at + at_a_time]]
            self.run(lambda some=some: all(c.is_open for c in some), "all have their 101")
            made += some
        return made

    def _begin(self, name, topics):
        sock = socket.create_connection(("127.0.0.1", self.server.port), PATIENCE_S)
        if TLS:
            sock = halley_tls.TlsSocket(sock)
        sock.sendall(handshake("/ws?" + "&".join("topic=" + quote(t) for t in topics)))
        sock.setblocking(False)
        c = self.Client(sock, name)
        self.clients[sock.fileno()] = c
        self.epoll.register(sock.fileno(), select.EPOLLIN)
        return c

    def run(self, is_done, what):
        """Read until is_done(). Time runs out when nothing comes, not when much does."""
        end = time.monotonic() + PATIENCE_S
        while not is_done():
            ready = self.epoll.poll(0.2)
            if ready:
                end = time.monotonic() + PATIENCE_S
            assert time.monotonic() < end, f"nothing came for {PATIENCE_S:.0f} s while waiting until {what}; {self.count} messages came"
            for fd, _ in ready:
                self._read(self.clients[fd])

    def _read(self, c):
        try:
            data = c.sock.recv(262144)
        except BlockingIOError:
            return
        assert data, f"{c.name}: the server closed the connection"
        data = c.rest + data
        at = 0
        if not c.is_open:
            at = data.find(b"\r\n\r\n") + 4
            if at < 4:
                c.rest = data
                return
            assert data.startswith(b"HTTP/1.1 101 "), f"{c.name}: {data!r}"
            c.is_open = True
        c.rest = self._frames(c, data, at)

    def _frames(self, c, data, at):
        end, received, message = len(data), c.received, self.message
        before = len(received)
        while at + 2 <= end:
            first, n, start = data[at], data[at + 1], at + 2
            if n > 125:
                size = 2 if n == 126 else 8
                if start + size > end:
                    break
                n, start = int.from_bytes(data[start:start + size], "big"), start + size
            if start + n > end:
                break
            if first in (0x81, 0x82):
                received.append(message(data[start:start + n]))
            else:
                assert first == 0x89, f"{c.name}: a frame {data[at:start + n]!r}"
            at = start + n
        self.count += len(received) - before
        return data[at:]


# ---- running

_tests = []
_left_out = []


def test(function):
    _tests.append((function.__name__.replace("_", " "), function))
    return function


def table(rows):
    """One test for each row; function(server, *row)."""
    def decorate(function):
        for row in rows:
            name = f"{function.__name__.replace('_', ' ')}: {row[0]}"
            _tests.append((name, lambda server, row=row: function(server, *row)))
        return function
    return decorate


def needs(*programs):
    """Leaves the test out where these are not installed; scripts/bootstrap --test installs them."""
    def decorate(function):
        missing = [p for p in programs if not shutil.which(p)]
        if not missing:
            return test(function)
        _left_out.append(f"{function.__name__.replace('_', ' ')} (needs {', '.join(missing)})")
        return function
    return decorate


def run(*args, stdin=b"", env=None):
    """Run a program to its end; returns (exit code, stdout, stderr)."""
    done = subprocess.run(args, input=stdin, capture_output=True, timeout=PATIENCE_S, check=False, env=env)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


class _Results:
    def __init__(self):
        self.passed = self.failed = 0
        self.servers = [] # those of failed tests

    @contextlib.contextmanager
    def check(self, name):
        began, known = time.monotonic(), len(SERVERS)
        try:
            yield
        except Exception: # whatever a test stumbles over is its failure
            self.failed += 1
            self.servers += SERVERS[:1] + SERVERS[max(known, 1):]
            print(f"FAIL {name}\n" + "".join("    " + line + "\n" for line in traceback.format_exc().splitlines()), flush=True)
        else:
            self.passed += 1
            print(f"ok   {name} ({time.monotonic() - began:.2f} s)", flush=True)


def _print_logs(servers):
    for server in dict.fromkeys(s for s in servers if s.process is not None):
        print(f"---- the log of the server with pid {server.process.pid}, its last lines")
        reports = [i for i, line in enumerate(server.lines) if SANITIZER.search(line)]
        print("\n".join(server.lines[reports[0]:reports[0] + 150] if reports else server.lines[-60:]))


def main(config=None, **options):
    """Run the tests of this file, or those whose names have a word of the command line in them, with a server of this
    config. That it ends well and has logged no error is a test, too."""
    words = sys.argv[1:]
    for name in _left_out:
        print(f"LEFT OUT {name}")
    chosen = [(n, f) for n, f in _tests if not words or any(w in n for w in words)]
    results = _Results()
    server = None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        if config is not None:
            with results.check("the server starts"):
                server = Server(config, **options).start() # if it does not, there is no more to be done
        for name, function in chosen if server is not None or config is None else []:
            if results.failed and server is not None and not server.is_running(): # the rest is tested with another one
                server = Server(config, **options).start()
            with results.check(name):
                function(server)
                if server is not None:
                    server.settle()
        if server is not None:
            with results.check("the server ends with 0 on SIGTERM and has logged no error"):
                server.terminate()
    finally:
        for each in SERVERS:
            each.kill()
    _print_logs(results.servers)
    print(f"{results.passed} passed, {results.failed} failed", flush=True)
    sys.exit(1 if results.failed else 0)
