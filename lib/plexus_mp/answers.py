"""An HTTP answer, parsed where it was received: also the one that begins a WebSocket.

Only the status, four headers and the first bytes of the body are looked at; the body ends by `Content-Length`, by
chunks, or with the connection (RFC 9112 §6). Loaded with the first answer, and given back once a WebSocket is open;
`http` is an `Http`.
"""

from .ports import const

# What does not fit is read into so much, and dropped.
_SPARE_BYTES = const(128)
_LINES_MAX = const(64)
_BODY_MAX = const(1 << 20)

# As in http.py; those between are of no account there.
_STATUS = const(3)
_HEADERS = const(4)
_CHUNK_SIZE = const(5)
_BODY = const(6)
_DONE = const(7)

# Words of headers as `word` hashes them: no name takes memory, and comparing makes no object.
_LENGTH = const(0xB816D8)
_DATE = const(0x354714)
_CONNECTION = const(0xD3E8B6)
_CLOSE = const(0xF5D096)
_ENCODING = const(0x318025)
_CHUNKED = const(0xF443DA)


def receive(http):
    """Read and parse; what is kept of the body lies at the buffer's start, what is not yet parsed behind it."""
    for _ in range(4):  # a slice stays short when the peer floods
        n = http._tcp.readinto(http._view[http._end :])
        if n is None:
            return
        if n == 0:
            if http._state != _BODY or http._left >= 0:
                raise OSError(104, "closed")  # ECONNRESET
            http._state = _DONE
            return
        at = http._kept
        end = http._end + n
        while at < end and http._state != _DONE:
            after = _take_body(http, at, end) if http._state == _BODY else _take_line(http, at, end)
            if not after:
                break
            at = after
        if http._state == _DONE:
            # Whatever follows the answer is out of step, and the last of the connection.
            http._at, http._end = at, end
            if at < end:
                http._keep = False
            return
        http._end = _move(http, at, end)
        if http._end == len(http._buf):
            raise ValueError


def _move(http, at, end):
    """Copy down to the end of what is kept; where that ends."""
    buf = http._buf
    to = http._kept
    while at < end:
        buf[to] = buf[at]
        to += 1
        at += 1
    return to


def _take_body(http, at, end):
    if http._left >= 0:
        end = min(end, at + http._left)
        http._left -= end - at
        if not http._left:
            http._state = _CHUNK_SIZE if http._chunked else _DONE
    fits = min(end, at + len(http._buf) - _SPARE_BYTES - http._kept)
    http._kept = _move(http, at, fits)
    http._cut = fits < end
    return end


def _take_line(http, at, end):
    """Where the next line begins, 0 when this one is not complete."""
    buf = http._buf
    after = buf.find(b"\n", at, end) + 1
    if after:
        end = after - 1
        while end > at and buf[end - 1] <= 32:
            end -= 1
        if http._state == _STATUS:
            http.status = _number(http, at + 9, at + 12, 10)
            if buf.find(b"HTTP/1.", at, end) != at or buf[at + 12] > 32:
                raise ValueError
            http._keep = buf[at + 7] != 48
            http._state = _HEADERS
        elif http._state == _HEADERS:
            http._lines += 1
            if http._lines > _LINES_MAX:
                raise ValueError
            if at < end:
                if http._proof is None:
                    _take_header(http, at, end)
                else:
                    from .handshake import take_header

                    take_header(http, at, end)
            elif http.status < 200 and http.status != 101:  # interim (RFC 9110 §15.2): the answer follows
                http._state = _STATUS
            elif http._chunked:
                http._state = _CHUNK_SIZE
            else:
                http._state = _BODY if http._left and http.status not in (101, 204, 304) else _DONE
        elif at < end:  # an empty line ends each chunk
            ext = buf.find(b";", at, end)
            http._left = _number(http, at, end if ext < 0 else ext, 16)
            http._chunked = http._left > 0
            # The lines behind the last chunk are like headers, and an empty one ends them.
            http._state = _BODY if http._chunked else _HEADERS
    return after


def _take_header(http, at, end):
    name = word(http, at, end)
    at = http._at
    if name == _LENGTH:
        http._left = _number(http, at, end, 10)
    elif name == _DATE:
        http.date = http._buf[at:end]
    else:
        value = word(http, at, end)
        if name == _ENCODING and value == _CHUNKED:
            http._chunked = True
        elif name == _CONNECTION and value == _CLOSE:
            http._keep = False


def word(http, at, end):
    """A hash of what comes before a colon or the end, in lower case; `_at` is where the value begins."""
    buf = http._buf
    n = 0
    while at < end and buf[at] != 58:
        n = (n * 33 & 0xFFFFFF) ^ (buf[at] | 32)
        at += 1
    at += 1
    while at < end and buf[at] <= 32:
        at += 1
    http._at = at
    return n


def _number(http, at, end, base):
    text = http._view[at:end]
    n = int(text) if base == 10 else int(bytes(text), base)
    if not 0 <= n <= _BODY_MAX:
        raise ValueError
    return n
