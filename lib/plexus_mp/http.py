"""HTTP/1.1 POST over a kept connection, in slices that never wait and in fixed buffers.

What comes back is parsed by answers.py.
"""

from .ports import const, ticks_diff, ticks_ms

# A step that takes longer has failed: the connection, and from the last byte sent to the last received.
_STEP_MS = const(10_000)
_BUF_BYTES = const(640)  # the longest answer of a gateway, a source_id of 256 bytes in it

_IDLE = const(0)
_CONNECT = const(1)
_SEND = const(2)
_STATUS = const(3)
_DONE = const(7)

_POST = (
    "POST %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: %s\r\nx-api-key: %s\r\n"
    "Content-Type: application/json\r\nContent-Length:%12s"
)


class Http:
    """POST to `path` of `host`: `post(body)`, then `poll()` until it returns the status.

    `connect(host, port)` gives a stream that never waits: `connected()`, `write(buf)`, `readinto(buf)` and `close()`
    as `ports.Tcp` has them. `buf`, a bytearray, may be shared by objects of which one at a time is connected; 640
    bytes of its own otherwise. Every failure is an `OSError`, after which the connection is closed.

    Until the next `post()`, `kept` is the beginning of the answer's body, all but 128 bytes of `buf` at most, and
    `date` its Date header or None; it was `asked` at these ticks. `connections` counts streams that were opened.
    """

    def __init__(self, connect, host, port, path, api_key, agent, buf=None, head=_POST):
        self._connect = connect
        self._host = host
        self._port = port
        self._buf = buf or bytearray(_BUF_BYTES)
        self._view = memoryview(self._buf)
        head %= path, host, port, agent, api_key, "\r\n\r\n"
        self._head = memoryview(bytearray(head.encode()))
        self._tcp = self.date = self._part = self._body = self._parse = None
        self._proof = None  # of a WebSocket: what its handshake waits for
        self._state = self._kept = self._at = self.status = self.connections = self.asked = 0

    @property
    def busy(self):
        return self._state != _IDLE

    @property
    def connected(self):
        return self._tcp is not None

    @property
    def kept(self):
        return bytes(self._view[: self._kept])

    def find(self, text):
        """Where `text` lies in the body, without making objects; -1 also when more came than is kept."""
        return -1 if self._cut else self._buf.find(text, 0, self._kept)

    def post(self, body):
        """Begin to send `body`, a memoryview whose bytes must not change before the answer is there.

        Blocks for the name resolution when a connection has to be opened, and for nothing else.
        """
        self._body = body
        if self._tcp is not None:
            # Bytes that nobody asked for would be taken for the answer to come.
            try:
                quiet = self._tcp.readinto(self._view) is None
            except OSError:
                quiet = False
            if not quiet:
                self.close()
        self._reused = self._tcp is not None
        n = len(body)
        i = len(self._head) - 5
        for j in range(i, i - 8, -1):
            self._head[j] = 48 + n % 10 if n or j == i else 32
            n //= 10
        self._start()

    def _start(self):
        self._part = self._head
        self._rest = self._body
        self._left = -1  # bytes of body or chunk still to come; -1: until the connection ends
        self._kept = self._end = self._lines = self.status = 0
        self._chunked = self._cut = self._keep = False
        self.date = None
        state = _SEND
        if self._tcp is None:
            self._tcp = self._connect(self._host, self._port)
            self.connections += 1
            state = _CONNECT
        self._state = state
        self._since = ticks_ms()

    def poll(self):
        """One slice of work: the status once the whole answer is there, else 0."""
        try:
            if not self._step():
                return 0
        except ValueError:
            self.close()
            raise OSError(71, "bad answer")  # EPROTO
        except OSError:
            self.close()
            # A kept connection may have been closed meanwhile (RFC 9112 §9.3.1): try a new one, once.
            if not self._reused or self.status or self._end:
                raise
            self._reused = False
            self._start()
            return 0
        if self._keep and self._left >= 0:
            self._state = _IDLE
        else:
            self.close()
        return self.status

    def _step(self):
        """Go on with what is under way; True once the answer is there."""
        if self._state == _CONNECT and self._tcp.connected():
            self._state = _SEND
            self._since = ticks_ms()
        if self._state == _SEND:
            if self._part is self._head:
                self.asked = ticks_ms()  # before the first byte goes: a refusal may not wait for the last
            if self._write():
                self._state = _STATUS
                self._since = ticks_ms()
        if self._state >= _STATUS:
            if self._parse is None:
                from .answers import receive

                self._parse = receive
            self._parse(self)
        if self._state == _DONE:
            return True
        if ticks_diff(ticks_ms(), self._since) > _STEP_MS:
            raise OSError(110, "no answer")  # ETIMEDOUT
        return False

    def _write(self):
        """Whether everything is sent. What was not taken is offered again as it was: TLS wants that."""
        while self._part is not None:
            n = self._tcp.write(self._part)
            if n < len(self._part):
                if n:
                    self._part = self._part[n:]
                return False
            self._part = self._rest
            self._rest = None
        return True

    def close(self):
        """Drop the connection and what was under way."""
        self._state = _IDLE
        self._parse = None  # which may go then
        if self._tcp is not None:
            tcp = self._tcp
            self._tcp = None
            tcp.close()
