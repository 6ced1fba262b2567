"""The other end of a WebSocket, or of whatever answers instead: bytes in, bytes out, in any division."""

from binascii import b2a_base64

from plexus_mp import ports
from plexus_mp import ws as ws_module

from .fakes import Patch

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_WORD = 0xFFFFFFFF


class Sha1:
    """FIPS 180-4 for Pythons that have none, of short texts."""

    def __init__(self, data):
        h = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0]
        size = len(data) * 8
        data = bytes(data) + b"\x80"
        data += bytes((56 - len(data)) % 64) + size.to_bytes(8, "big")
        for at in range(0, len(data), 64):
            h = [(x + y) & _WORD for x, y in zip(h, _sha1_block(data[at : at + 64], h))]
        self._digest = b"".join([x.to_bytes(4, "big") for x in h])

    def digest(self):
        return self._digest


def _left(x, n):
    return (x << n | x >> 32 - n) & _WORD


def _sha1_block(block, h):
    w = [int.from_bytes(block[i : i + 4], "big") for i in range(0, 64, 4)]
    for i in range(16, 80):
        w.append(_left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1))
    a, b, c, d, e = h
    for i in range(80):
        if i < 20:
            f, k = b & c | ~b & d, 0x5A827999
        elif i < 40:
            f, k = b ^ c ^ d, 0x6ED9EBA1
        elif i < 60:
            f, k = b & c | b & d | c & d, 0x8F1BBCDC
        else:
            f, k = b ^ c ^ d, 0xCA62C1D6
        a, b, c, d, e = (_left(a, 5) + f + e + k + w[i]) & _WORD, a, _left(b, 30), c, d
    return a, b, c, d, e


def hashlib_with(sha1):
    """In a `with` block the library finds this SHA-1, or none at all."""
    return Patch(ports, "sha1", lambda data: sha1 and sha1(data).digest())


def accept(key):
    return b2a_base64(Sha1(key + _GUID).digest())[:28]


def key_of(request):
    return request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]


def upgraded(request):
    """The answer of a server that agrees."""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept(key_of(request)) + b"\r\n\r\n"
    )


def frame(first, payload=b"", mask=None, width=None):
    """A server's frame; `width` forces a length field of 2 or 8 bytes, `mask` breaks the rules."""
    n = len(payload)
    if width is None:
        width = 0 if n < 126 else 2 if n < 65536 else 8
    bit = 0 if mask is None else 128
    small = n if not width else 126 if width == 2 else 127
    return (
        bytes([first, bit | small]) + (n.to_bytes(width, "big") if width else b"") + (mask or b"") + payload
    )


class Frames(list):
    """What a client sent, as (first byte, payload); complains about what RFC 6455 forbids a client."""

    def __init__(self, data, cut=False):
        super().__init__()
        self.masks = []
        at = 0
        padded = data + b"\x80" * 14  # the last frame may be cut short within its header
        while at < len(data):
            at = self._one(padded, at)
        assert cut or at == len(data), "a frame is not complete"

    def _one(self, data, at):
        first, n = data[at], data[at + 1]
        assert n & 128 and not first & 0x70
        n &= 127
        at += 2
        if n > 125:
            width = 2 if n == 126 else 8
            n = int.from_bytes(data[at : at + width], "big")
            assert n > (125 if width == 2 else 65535), "not the shortest length"
            at += width
        mask = data[at : at + 4]
        self.masks.append(mask)
        payload = data[at + 4 : at + 4 + n]
        self.append((first, bytes([c ^ mask[i & 3] for i, c in enumerate(payload)])))
        return at + 4 + n


class Stream:
    """One connection to `peer`, as `ports.Tcp` gives it."""

    def __init__(self, peer):
        self.peer = peer
        self.sent = b""
        self.coming = b""
        self.request = None
        self.ended = False
        self.is_open = True
        self._refused = None  # what a full stream did not take must be offered again

    def connected(self):
        assert self.is_open
        if isinstance(self.peer.connects, OSError):
            raise self.peer.connects
        return self.peer.connects

    def write(self, data):
        assert self.is_open
        if self.peer.broken:
            raise self.peer.broken
        data = bytes(data)
        if self._refused is not None:
            assert data[: len(self._refused)] == self._refused, "not what was offered before"
        n = min(len(data), self.peer.write_bytes)
        self._refused = data[n:] if n < len(data) else None
        self.sent += data[:n]
        end = self.sent.find(b"\r\n\r\n")
        if self.request is None and end >= 0:
            self.request = self.sent[: end + 4]
            self.sent = self.sent[end + 4 :]
            self.coming += self.peer.answer(self.request)
        return n

    def readinto(self, buf):
        assert self.is_open and len(buf)
        if not self.coming:
            if isinstance(self.ended, OSError):
                raise self.ended
            return 0 if self.ended else None
        n = min(len(buf), len(self.coming), self.peer.read_bytes)
        buf[:n] = self.coming[:n]
        self.coming = self.coming[n:]
        return n

    def close(self):
        assert self.is_open, "closed twice"
        self.is_open = False
        self.peer.open -= 1


class Peer:
    """Dials `Stream`s; `answer(request)` is what follows a request's head."""

    def __init__(self, answer=upgraded, read_bytes=1 << 20, write_bytes=1 << 20):
        self.answer = answer
        self.read_bytes = read_bytes  # given at a time
        self.write_bytes = write_bytes  # taken at a time
        self.connects = True
        self.broken = None  # an error for writes
        self.open = 0
        self.stream = None

    def dial(self, host, port):
        if self.connects is None:
            raise OSError(113)
        self.stream = Stream(self)
        self.open += 1
        return self.stream

    def say(self, *frames):
        self.stream.coming += b"".join(frames)

    def frames(self):
        """What arrived since the last call; `masks` has the keys."""
        found = Frames(self.stream.sent)
        self.stream.sent = b""
        return found


def client(peer, buf=None):
    """The WebSocket client of `peer`, not open."""
    return ws_module.Ws(peer.dial, "gateway", 8080, "/ws/device", "agent/1", buf)


def opened(peer, buf=None):
    """The same, open."""
    ws = client(peer, buf)
    with hashlib_with(Sha1):
        ws.open()
    assert not ws.ready and ws.connected
    for _ in range(2000):
        if ws.ready:
            break
        assert ws.poll() is None
    assert ws.ready and ws.status == 101 and not peer.frames()
    return ws


def messages(ws, peer, polls=20_000):
    """What arrives until nothing more does."""
    found = []
    for _ in range(polls):
        rest = not peer.stream.coming and ws.ready and ws._at == ws._end
        message = ws.poll()
        if message is not None:
            found.append(bytes(message))
        elif rest:
            return found
    raise AssertionError("never quiet")


def send(ws, payload, first=0x81, room=8):
    """Send a frame as far as the peer takes it; its buffer."""
    buf = memoryview(bytearray(room) + payload)
    assert ws.send(first, buf, room, len(payload))
    for _ in range(len(payload) + 100):
        if ws.ready or not ws.connected:
            break
        ws.poll()
    return buf
