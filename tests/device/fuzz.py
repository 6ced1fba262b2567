"""Streams of no sense, from a seed, into both parsers; and connections that fail in every way.

`http_streams(first, count)` and `ws_streams(first, count)` raise AssertionError, with the seed printed, when anything
but an `OSError` comes out, memory or time is not bounded, or a stream stays open; `Failing().run(count, ticks)` when
one of `count` failed connections of each kind does.
"""

from plexus_mp.http import Http
from plexus_mp.ws import Ws

from . import fakes, gen, wires

_BUF = 192
_JSON = b'{"success":true,"count":3}'
_LINES = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 101 Switching Protocols",
    b"HTTP/1.0 500 No",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 204",
    b"Content-Length: 26",
    b"Content-Length: -1",
    b"content-length:99999999999999999999",
    b"Content-Length: 0x1A",
    b"Transfer-Encoding: chunked",
    b"Connection: close",
    b"Date: Fri, 15 Jan 2027 08:00:00 GMT",
    b"Date:",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    b"1a",
    b"5;x=y",
    b"fffff",
    b"100000",
    b"-1",
    b"0",
    b":",
    b"",
    b"",
    _JSON,
)
_ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"")
_ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n" + _JSON,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1a\r\n" + _JSON + b"\r\n0\r\n\r\n",
    b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n" + _JSON * 20,
)
_AGREED = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
_FIRST = (0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A)
_SIZES = (0, 1, 2, 3, 40, 125, 126, 127, _BUF - 1, _BUF, _BUF + 1, 700)


def _mutated(g, data):
    data = bytearray(data)
    for _ in range(g.below(6)):
        at = g.below(len(data))
        kind = g.below(4)
        if kind == 0:
            data[at] = g.below(256)
        elif kind == 1:
            data[at] ^= 1 << g.below(8)
        elif kind == 2:
            data = data[:at] + g.take(g.below(4)) + data[at:]
        else:
            data = data[:at] + data[at + g.between(1, 8) :] + b" "
    return bytes(data)


def _http_bytes(g):
    kind = g.below(4)
    if kind == 0:
        return g.take(g.below(400))
    if kind == 1:
        return b"".join([g.pick(_LINES) + g.pick(_ENDS) for _ in range(g.between(1, 30))])
    return _mutated(g, g.pick(_ANSWERS) * g.between(1, 2))


def _ws_bytes(g):
    kind = g.below(8)
    if kind == 0:
        return g.take(g.below(400))
    data = b""
    for _ in range(g.between(1, 8)):
        width = g.pick((None, None, None, 0, 2, 8))
        n = g.pick(_SIZES)
        if width == 0 and n > 125:
            width = 2
        data += wires.frame(g.pick(_FIRST), g.take(2) * (n // 2) + b"x" * (n & 1), None, width)
    return data if kind < 3 else _mutated(g, data)


def _divide(g, peer):
    peer.read_bytes = g.pick((1, 2, 3, 7, 30, 250, 1 << 20))
    peer.write_bytes = g.pick((1, 5, 40, 1 << 20))


def _polls(client, peer, ticks, check):
    """Polls until the client is done: it has to be, some time after the last byte."""
    for _ in range(3 * len(peer.stream.coming) + 1500):
        if not client.connected:
            break
        if check(client.poll()):
            break
        if not peer.stream.coming:
            ticks.advance(1000)
    else:
        raise AssertionError("no end")


def _http_stream(g):
    data = _http_bytes(g)
    peer = wires.Peer(lambda request: data)
    _divide(g, peer)
    ended = g.chance(2)
    with fakes.Ticks(g.pick((1000, (1 << 30) - 300))) as ticks:
        http = Http(peer.dial, "h", 1, "/", "k", "a", bytearray(_BUF))
        http.post(memoryview(b"{}"))
        peer.stream.ended = ended

        def check(status):
            assert status == 0 or 100 <= status <= 999
            assert len(http.kept) <= _BUF - 128 and len(http._buf) == _BUF
            assert len(http.date or b"") < _BUF
            return status

        try:
            _polls(http, peer, ticks, check)
            assert not http.busy and http.connected == peer.open
        except OSError:
            assert not peer.open
        http.close()
        assert not http.busy and not peer.open


def _ws_stream(g):
    data = _ws_bytes(g)
    late = False
    if g.chance(6):
        data = _http_bytes(g)
    elif g.chance(2):
        data = _AGREED + data
    else:
        late = True
    peer = wires.Peer(lambda request: _AGREED if late else data)
    _divide(g, peer)
    out = memoryview(bytearray(208))
    with fakes.Ticks(g.pick((1000, (1 << 30) - 300))) as ticks, wires.hashlib_with(None):
        ws = Ws(peer.dial, "h", 1, "/", "a", bytearray(_BUF))
        ws.open()

        def check(message):
            assert message is None or len(message) <= _BUF
            assert len(ws._buf) == _BUF and len(ws._control) == 131
            if g.chance(4):
                ws.send(0x81, out, 8, g.below(200))
            if not peer.stream.coming and peer.stream.request and g.chance(4):
                peer.stream.ended = True

        try:
            while late and not ws.ready:
                ws.poll()
            if late:
                peer.say(data)
            _polls(ws, peer, ticks, check)
        except OSError:
            pass
        assert not ws.connected and not peer.open and not ws.ready
        # What it sent is whole frames, the last of them perhaps cut short.
        if peer.stream.request:
            wires.Frames(peer.stream.sent, True)


def http_streams(first, count):
    for seed in range(first, first + count):
        _with_seed(_http_stream, seed)


def ws_streams(first, count):
    for seed in range(first, first + count):
        _with_seed(_ws_stream, seed)


def _with_seed(check, seed):
    try:
        check(gen.Gen(seed))
    except BaseException:
        print("failed with seed", seed)
        raise


# Connections that fail: what is answered, what else happens.
_HALF = b"HTTP/1.1 101 Switching Protocols\r\nUpgra"
KINDS = (
    "unreachable",
    "refused",
    "reset",
    "half",
    "ended",
    "status",
    "garbage",
    "silence",
    "write error",
    "closed amid a send",
    "reset amid a send",
    "protocol error",
    "goodbye",
)
_SAYS = {
    "half": _HALF,
    "status": b"HTTP/1.1 503 Down\r\nContent-Length: 2\r\n\r\n{}",
    "garbage": b"\x00\xff\n" * 40,
    "protocol error": _AGREED + b"\xff\xff\xff",
    "goodbye": _AGREED + b"\x88\x02\x03\xe9",
}


class Failing:
    """One HTTP and one WebSocket client whose connections fail, again and again; `open` counts streams."""

    def __init__(self):
        self._kind = ""
        self._peer = wires.Peer(self._answer)
        buf = bytearray(_BUF)
        self._http = Http(self._peer.dial, "h", 1, "/", "k", "a", buf)
        self._ws = Ws(self._peer.dial, "h", 1, "/", "a", buf)
        self._out = memoryview(bytearray(208))
        self.failures = 0

    @property
    def open(self):
        return self._peer.open

    def _answer(self, request):
        if request.startswith(b"GET") and "amid" in self._kind:
            return _AGREED
        return _SAYS.get(self._kind, b"")

    def _prepare(self, kind):
        self._kind = kind
        peer = self._peer
        peer.connects = {"unreachable": None, "refused": OSError(111)}.get(kind, True)
        peer.broken = OSError(32) if kind == "write error" else None
        peer.write_bytes = 1 << 20

    def _end(self, kind):
        stream = self._peer.stream
        if stream is None or not stream.is_open or kind in ("silence", "goodbye", "half"):
            return
        if "amid" in kind:
            self._peer.write_bytes = 3
        stream.ended = OSError(104) if "reset" in kind else True

    def _one(self, client, begin, kind, ticks):
        self._prepare(kind)
        try:
            begin()
            for _ in range(40):
                client.poll()
                if client is self._ws and client.ready and not client.send(0x81, self._out, 8, 200):
                    break
                self._end(kind)
                ticks.advance(500)
        except OSError:
            self.failures += 1
        if client is self._ws and client.close_code:
            self.failures += 1
        client.close()

    def run(self, count, ticks):
        """`count` failures of each kind for either client."""
        with wires.hashlib_with(None):
            for _ in range(count):
                for kind in KINDS:
                    self._one(self._ws, self._ws.open, kind, ticks)
                    self._one(self._http, self._post, kind, ticks)
                    assert not self.open, kind

    def _post(self):
        self._http.post(self._out[:20])
