"""A client of halley.v1, written from the protocol's description: objects as text frames of a WebSocket. It checks what must hold of
every object that comes, so that each test checks it: the members of its kind, and that the live flow's seqs grow."""

import json
import re

from halley_test import PING, TEXT, Ws, equal, quote

CURSOR = re.compile(r"([0-9a-z]{8})-(0|[1-9][0-9]*)")
CODES = {"bad_request", "bad_topic", "forbidden", "unauthorized", "too_many", "too_large", "rate_limited", "unavailable"}
KINDS = { # what tells an object's kind: its members, and those that it may have besides
    "hello": ({"hello"}, set()),
    "ok": ({"ok"}, {"id"}),
    "error": ({"error"}, {"id"}),
    "lost": ({"topic", "error"}, set()), # a subscription that its rights no longer cover
    "expiring": ({"expiring"}, set()),
    "data": ({"topic", "cursor", "data"}, {"replay", "from", "time"}),
    "live": ({"live", "cursor"}, set()),
    "gap": ({"gap"}, {"topic", "topics", "replay"}),
    "cursor": ({"cursor"}, set()),
    "reconnect": ({"reconnect"}, set()),
}


def seq_of(cursor):
    found = CURSOR.fullmatch(cursor)
    assert found, f"no cursor: {cursor!r}"
    return int(found[2])


def epoch_of(cursor):
    return CURSOR.fullmatch(cursor)[1]


def kind_of(o):
    assert isinstance(o, dict), f"no object: {o!r}"
    members = set(o)
    kinds = [k for k, (needs, may) in KINDS.items() if needs <= members and members <= needs | may]
    assert len(kinds) == 1, f"an object of no kind, or of more than one, {kinds}: {o!r}"
    return kinds[0]


class V1:
    """A connection that speaks halley.v1."""

    def __init__(self, ws):
        self.ws = ws
        equal(ws.response.header("sec-websocket-protocol"), "halley.v1")
        self.next_id = 1
        self.aside = []    # objects that came while an answer was waited for
        self.seq = 0       # of the live flow
        self.replays = {}  # id -> seq of its last message
        self.hello = self._receive()["hello"]
        must = {"connection", "name", "ping_s", "version"}
        assert must <= set(self.hello) <= must | {"cursor"}, self.hello
        assert re.fullmatch("[0-9a-f]{16}", self.hello["name"]), self.hello

    @classmethod
    def open(cls, server, *topics, query="", protocols="halley.v1", target="/ws", **options):
        query = "&".join(["topic=" + quote(t) for t in topics] + ([query] if query else []))
        return cls(Ws.open(server, target + ("?" + query if query else ""), protocols=protocols, **options))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ws.stream.close()

    # -- receiving

    def _check(self, o):
        kind = kind_of(o)
        if kind == "data" and "replay" in o:
            assert seq_of(o["cursor"]) > self.replays.get(o["replay"], 0), f"a replay goes back: {o}"
            self.replays[o["replay"]] = seq_of(o["cursor"])
        elif kind in ("data", "cursor"):
            seq = seq_of(o["cursor"])
            assert seq > self.seq or (kind == "cursor" and seq == self.seq), f"after {self.seq} the live flow has {o}"
            self.seq = seq
        elif kind == "live":
            assert seq_of(o["cursor"]) >= max(self.seq, self.replays.pop(o["live"], 0)), f"live before its end: {o}"
            self.seq = seq_of(o["cursor"])
        elif kind in ("error", "lost"):
            assert o["error"]["code"] in CODES and set(o["error"]) - {"retry_ms"} == {"code", "message"} and o["error"]["message"], o
            assert (o["error"].get("retry_ms", 0) > 0) == (o["error"]["code"] == "rate_limited"), o
        elif kind == "gap":
            assert set(o["gap"]) == {"after", "reason"} and seq_of(o["gap"]["after"]) >= 0, o
        return o

    def _receive(self):
        """The next object, pings passed over."""
        while (f := self.ws.receive()).opcode == PING:
            pass
        assert f.fin and f.opcode == TEXT, f"no text frame but {f}"
        return self._check(json.loads(f.payload))

    def take(self, signs=False):
        """The next object; signs of life ({"cursor": ...} alone) are passed over unless they are wanted."""
        while True:
            o = self.aside.pop(0) if self.aside else self._receive()
            if signs or kind_of(o) != "cursor":
                return o

    def take_until(self, kind):
        """Everything up to the next object of this kind, and that one."""
        got = [self.take()]
        while kind_of(got[-1]) != kind:
            got.append(self.take())
        return got[:-1], got[-1]

    def expect_close(self, code, reason=None):
        """As the WebSocket's; signs of life may come before it."""
        return self.ws.expect_close(code, reason, lambda f: f.opcode == PING or (f.opcode == TEXT and kind_of(json.loads(f.payload)) == "cursor"))

    def data(self):
        """The next message; it must be the next object."""
        o = self.take()
        equal(kind_of(o), "data", str(o))
        return o

    def expect(self, *pairs):
        """The next objects are these messages of the live flow: (topic, data)."""
        for pair in pairs:
            o = self.data()
            assert "replay" not in o, o
            equal((o["topic"], o["data"]), pair)

    # -- sending

    def raw(self, text):
        self.ws.send(TEXT, text if isinstance(text, bytes) else text.encode())

    def send(self, **command):
        """Send a command with an id of its own, which is returned."""
        self.next_id += 1
        self.raw(json.dumps({"id": self.next_id, **command}))
        return self.next_id

    def answer(self, number=None):
        """The next answer, which must be that to this id. What comes before is kept for take()."""
        while kind_of(o := self._receive()) not in ("ok", "error"):
            self.aside.append(o)
        equal(o.get("id"), number, f"id of {o}")
        return o

    def ask(self, **command):
        return self.answer(self.send(**command))

    def ok(self, **command):
        o = self.ask(**command)
        assert "ok" in o, f"{command} was answered {o}"
        return o["ok"]

    def refused(self, code, **command):
        o = self.ask(**command)
        assert "error" in o and o["error"]["code"] == code, f"{command} was answered {o}, not {code}"
        return o["error"]["message"]

    def expect_nothing(self):
        """Nothing but signs of life comes before the answer to a ping."""
        self.ok(ping=True)
        left = [o for o in self.aside if kind_of(o) != "cursor"]
        equal(left, [], "there should be no more")
