"""HTTP/1.1 POST over a kept connection, in slices that never wait.

Of an answer only the status, four headers and the first bytes of the body are looked at; the body ends by
`Content-Length`, by chunks, or with the connection (RFC 9112 §6).
"""

from .ports import Tcp, const, ticks_diff, ticks_ms

# A step that takes longer has failed: the connection, and from the last byte sent to the last received.
_STEP_MS = const(10_000)
_KEPT_MAX = const(512)  # holds the longest answer of a gateway, a source_id of 256 bytes in it
_LINE_MAX = const(512)
_LINES_MAX = const(64)
_BODY_MAX = const(1 << 20)

_IDLE = const(0)
_CONNECT = const(1)
_SEND = const(2)
_STATUS = const(3)
_HEADERS = const(4)
_BODY = const(5)
_CHUNK_SIZE = const(6)
_CHUNK = const(7)
_CHUNK_END = const(8)
_TRAILERS = const(9)
_DONE = const(10)


class Http:
    """POST to `path` of `host`: `post(body)`, then `poll()` until it returns the status.

    Then `kept` holds the first 512 bytes of the answer's body and `date` its Date header, or None. Every
    failure is an `OSError`, after which the connection is closed. Takes 256 bytes to receive into, and at
    most 512 for a header line.
    """

    def __init__(self, host, port, path, api_key, agent):
        self._host = host
        self._port = port
        self._head = (
            "POST %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: %s\r\nx-api-key: %s\r\n"
            "Content-Type: application/json\r\nContent-Length: " % (path, host, port, agent, api_key)
        )
        self._buf = bytearray(256)
        self._tcp = None
        self._state = _IDLE
        self.connections = 0
        self.kept = b""
        self.date = None

    @property
    def busy(self):
        return self._state != _IDLE

    @property
    def connected(self):
        return self._tcp is not None

    def post(self, body):
        """Begin to send `body`, a memoryview whose bytes must not change before the answer is there.

        Blocks for the name resolution when a connection has to be opened, and for nothing else.
        """
        self._body = body
        self._drop_stale()
        self._reused = self._tcp is not None
        self._start()

    def _drop_stale(self):
        """Bytes that nobody asked for would be taken for the answer to come: such a connection is not used again."""
        if self._tcp is not None:
            try:
                if self._tcp.readinto(self._buf) is None:
                    return
            except OSError:
                pass
            self.close()

    def _start(self):
        head = self._head + "%d\r\n\r\n" % len(self._body)
        self._todo = [memoryview(head.encode()), self._body]
        self._line = b""
        self._lines = 0
        self._status = 0
        self._left = None  # bytes of body or chunk still to come; None: until the connection ends
        self._keep_alive = True
        self._chunked = False
        self.kept = b""
        self.date = None
        if self._tcp is None:
            self._tcp = Tcp(self._host, self._port)
            self.connections += 1
            self._expect(_CONNECT)
        else:
            self._expect(_SEND)

    def _expect(self, state):
        self._state = state
        self._since = ticks_ms()

    def poll(self):
        """One slice of work: the status once the whole answer is there, else 0."""
        try:
            if self._state == _CONNECT and self._tcp.connected():
                self._expect(_SEND)
            if self._state == _SEND:
                self._write()
            if self._state >= _STATUS:
                self._receive()
            if self._state == _DONE:
                return self._finish()
            if ticks_diff(ticks_ms(), self._since) > _STEP_MS:
                raise OSError(110, "the gateway does not answer")  # ETIMEDOUT
        except OSError:
            if not self._start_again():
                self.close()
                raise
        return 0

    def _start_again(self):
        """A kept connection may have been closed meanwhile (RFC 9112 §9.3.1): try a new one, once."""
        if not self._reused or self._status or self._line:
            return False
        self.close()
        self._reused = False
        self._start()
        return True

    def _write(self):
        while self._todo:
            part = self._todo[0]
            n = self._tcp.write(part)
            if n < len(part):
                self._todo[0] = part[n:]
                return
            self._todo.pop(0)
        self._expect(_STATUS)

    def _receive(self):
        for _ in range(4):  # a slice stays short when the peer floods
            n = self._tcp.readinto(self._buf)
            if n is None:
                return
            if n == 0:
                self._end_of_stream()
                return
            self._take(n)
            if self._state == _DONE:
                return

    def _end_of_stream(self):
        self._keep_alive = False
        if self._state != _BODY or self._left is not None:
            raise OSError(104, "the gateway closed the connection")  # ECONNRESET
        self._state = _DONE

    def _take(self, n):
        """Parse `n` bytes of the buffer; whatever follows the answer is out of step, and the last of the connection."""
        at = 0
        while at < n and self._state != _DONE:
            if self._state == _BODY or self._state == _CHUNK:
                at += self._take_body(at, n)
            else:
                end = self._buf.find(b"\n", at, n)
                self._line += bytes(self._buf[at : n if end < 0 else end])
                if len(self._line) > _LINE_MAX:
                    raise OSError(71, "a header line is longer than %d bytes" % _LINE_MAX)  # EPROTO
                if end < 0:
                    return
                at = end + 1
                line = self._line
                self._line = b""
                self._take_line(line[:-1] if line.endswith(b"\r") else line)
        if at < n:
            self._keep_alive = False

    def _take_body(self, at, n):
        size = n - at if self._left is None else min(self._left, n - at)
        room = _KEPT_MAX - len(self.kept)
        if room > 0:
            self.kept += bytes(self._buf[at : at + min(size, room)])
        if self._left is not None:
            self._left -= size
            if not self._left:
                self._state = _CHUNK_END if self._chunked else _DONE
        return size

    def _take_line(self, line):
        self._lines += 1
        if self._lines > _LINES_MAX and self._state == _HEADERS:
            raise OSError(71, "more than %d header lines" % _LINES_MAX)
        if self._state == _STATUS:
            self._take_status(line)
        elif self._state == _HEADERS:
            if line:
                self._take_header(line)
            else:
                self._end_headers()
        elif self._state == _CHUNK_SIZE:
            self._left = _number(line.split(b";")[0], 16)
            self._state = _CHUNK if self._left else _TRAILERS
        elif self._state == _CHUNK_END:
            self._state = _CHUNK_SIZE
        elif not line:
            self._state = _DONE

    def _take_status(self, line):
        parts = line.split(b" ", 2)
        if not line.startswith(b"HTTP/1.") or len(parts) < 2:
            raise OSError(71, "the answer is not HTTP/1.1")
        self._status = _number(parts[1], 10)
        if not 100 <= self._status <= 999:
            raise OSError(71, "the answer has no status")
        self._keep_alive = not line.startswith(b"HTTP/1.0")
        self._state = _HEADERS

    def _take_header(self, line):
        name, _, value = line.partition(b":")
        name = name.strip().lower()
        value = value.strip()
        if name == b"content-length":
            self._left = _number(value, 10)
        elif name == b"transfer-encoding":
            self._chunked = value.lower() == b"chunked"
        elif name == b"connection":
            self._keep_alive = value.lower() != b"close"
        elif name == b"date":
            self.date = value

    def _end_headers(self):
        if 100 <= self._status < 200:  # interim (RFC 9110 §15.2): the answer follows
            self._state = _STATUS
        elif self._status == 204 or self._status == 304:
            self._state = _DONE
        elif self._chunked:
            self._state = _CHUNK_SIZE
        else:
            self._state = _DONE if self._left == 0 else _BODY

    def _finish(self):
        if self._keep_alive and self._left is not None:
            self._state = _IDLE
        else:
            self.close()
        return self._status

    def close(self):
        """Drop the connection and what was under way."""
        self._state = _IDLE
        if self._tcp is not None:
            tcp = self._tcp
            self._tcp = None
            tcp.close()


def _number(text, base):
    try:
        n = int(text.decode().strip(), base)
    except ValueError:
        n = -1
    if not 0 <= n <= _BODY_MAX:
        raise OSError(71, "the answer has a bad number")
    return n


_MONTHS = b" Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"


def unix_seconds(date):
    """Seconds since 1970 of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7), else None."""
    try:
        day, month, year = int(date[5:7]), _MONTHS.index(b" " + date[8:11]) // 4, int(date[12:16])
        hour, minute, second = int(date[17:19]), int(date[20:22]), int(date[23:25])
    except (ValueError, TypeError):
        return None
    if (
        not (0 < day < 32 and 0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 61)
        or date[25:] != b" GMT"
    ):
        return None
    # Days of the civil calendar, with years that begin in March so that leap days come last.
    shifted = year - 1 if month < 2 else year
    days = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400
    days += ((month + 10) % 12 * 306 + 5) // 10 + day - 1 - 719468
    return days * 86400 + hour * 3600 + minute * 60 + second
