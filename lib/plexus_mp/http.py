"""HTTP/1.1 POST over a kept connection, in slices that never wait and in fixed buffers.

An answer is parsed where it was received. Only the status, four headers and the first bytes of the body are
looked at; the body ends by `Content-Length`, by chunks, or with the connection (RFC 9112 §6).
"""

from .ports import const, ticks_diff, ticks_ms

# A step that takes longer has failed: the connection, and from the last byte sent to the last received.
_STEP_MS = const(10_000)
# The longest answer of a gateway, a source_id of 256 bytes in it, and what the rest is read into and dropped.
_BUF_BYTES = const(640)
_SPARE_BYTES = const(128)
_LINES_MAX = const(64)
_BODY_MAX = const(1 << 20)

_IDLE = const(0)
_CONNECT = const(1)
_SEND = const(2)
_STATUS = const(3)
_HEADERS = const(4)
_CHUNK_SIZE = const(5)
_BODY = const(6)
_DONE = const(7)

# Words of headers as `_word` hashes them: no name takes memory, and comparing makes no object.
_LENGTH = const(0xB816D8)
_DATE = const(0x354714)
_CONNECTION = const(0xD3E8B6)
_CLOSE = const(0xF5D096)
_ENCODING = const(0x318025)
_CHUNKED = const(0xF443DA)

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
        self._tcp = self.date = self._part = self._body = None
        self._state = self._kept = self.status = self.connections = self.asked = 0

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
        self._chunked = self._cut = False
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
            self.asked = ticks_ms()  # before the last byte goes: the answer is made later than that
            if self._write():
                self._state = _STATUS
                self._since = ticks_ms()
        if self._state >= _STATUS:
            self._receive()
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

    def _receive(self):
        """Read and parse; what is kept of the body lies at the buffer's start, what is not yet parsed behind it."""
        for _ in range(4):  # a slice stays short when the peer floods
            n = self._tcp.readinto(self._view[self._end :])
            if n is None:
                return
            if n == 0:
                if self._state != _BODY or self._left >= 0:
                    raise OSError(104, "closed")  # ECONNRESET
                self._state = _DONE
                return
            at = self._kept
            end = self._end + n
            while at < end and self._state != _DONE:
                after = self._take_body(at, end) if self._state == _BODY else self._take_line(at, end)
                if not after:
                    break
                at = after
            if self._state == _DONE:
                # Whatever follows the answer is out of step, and the last of the connection.
                self._at, self._end = at, end
                if at < end:
                    self._keep = False
                return
            self._end = self._move(at, end)
            if self._end == len(self._buf):
                raise ValueError

    def _move(self, at, end):
        """Copy down to the end of what is kept; where that ends."""
        buf = self._buf
        to = self._kept
        while at < end:
            buf[to] = buf[at]
            to += 1
            at += 1
        return to

    def _take_body(self, at, end):
        if self._left >= 0:
            end = min(end, at + self._left)
            self._left -= end - at
            if not self._left:
                self._state = _CHUNK_SIZE if self._chunked else _DONE
        fits = min(end, at + len(self._buf) - _SPARE_BYTES - self._kept)
        self._kept = self._move(at, fits)
        self._cut = fits < end
        return end

    def _take_line(self, at, end):
        """Where the next line begins, 0 when this one is not complete."""
        buf = self._buf
        after = buf.find(b"\n", at, end) + 1
        if after:
            end = after - 1
            while end > at and buf[end - 1] <= 32:
                end -= 1
            if self._state == _STATUS:
                self.status = self._number(at + 9, at + 12, 10)
                if buf.find(b"HTTP/1.", at, end) != at or buf[at + 12] > 32:
                    raise ValueError
                self._keep = buf[at + 7] != 48
                self._state = _HEADERS
            elif self._state == _HEADERS:
                self._lines += 1
                if self._lines > _LINES_MAX:
                    raise ValueError
                if at < end:
                    self._take_header(at, end)
                elif self.status < 200 and self.status != 101:  # interim (RFC 9110 §15.2): the answer follows
                    self._state = _STATUS
                elif self._chunked:
                    self._state = _CHUNK_SIZE
                else:
                    self._state = _BODY if self._left and self.status not in (101, 204, 304) else _DONE
            elif at < end:  # an empty line ends each chunk
                ext = buf.find(b";", at, end)
                self._left = self._number(at, end if ext < 0 else ext, 16)
                self._chunked = self._left > 0
                # The lines behind the last chunk are like headers, and an empty one ends them.
                self._state = _BODY if self._chunked else _HEADERS
        return after

    def _take_header(self, at, end):
        name = self._word(at, end)
        at = self._at
        if name == _LENGTH:
            self._left = self._number(at, end, 10)
        elif name == _DATE:
            self.date = self._buf[at:end]
        else:
            value = self._word(at, end)
            if name == _ENCODING and value == _CHUNKED:
                self._chunked = True
            elif name == _CONNECTION and value == _CLOSE:
                self._keep = False

    def _word(self, at, end):
        """A hash of what comes before a colon or the end, in lower case; `_at` is where the value begins."""
        buf = self._buf
        n = 0
        while at < end and buf[at] != 58:
            n = (n * 33 & 0xFFFFFF) ^ (buf[at] | 32)
            at += 1
        at += 1
        while at < end and buf[at] <= 32:
            at += 1
        self._at = at
        return n

    def _number(self, at, end, base):
        text = self._view[at:end]
        n = int(text) if base == 10 else int(bytes(text), base)
        if not 0 <= n <= _BODY_MAX:
            raise ValueError
        return n

    def close(self):
        """Drop the connection and what was under way."""
        self._state = _IDLE
        if self._tcp is not None:
            tcp = self._tcp
            self._tcp = None
            tcp.close()
