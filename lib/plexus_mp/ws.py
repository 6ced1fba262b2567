"""The client's side of a WebSocket (RFC 6455), in slices that never wait and in fixed buffers.

A frame is built and masked where its payload lies, and a message is handed out where it was received. Nothing is
read beyond the frame at hand, so nothing has to be moved.
"""

from .http import Http
from .ports import const, forget, randomize, ticks_diff, ticks_ms

_STEP_MS = const(10_000)  # a frame half sent, or half received, for longer is an error
_FRAME_MAX = const(1 << 20)  # the gateway's own limit, and a length that needs no big integers

# States of the receiver, behind those of a handshake (answers.py).
_HEADERS = const(4)
_HEAD = const(8)
_LENGTH = const(9)
_PAYLOAD = const(10)


class Ws(Http):
    """`open()`, then `poll()` until `ready`; then `send()`, and `poll()` for what arrives.

    `connect` and `buf` are those of `Http`, with which the buffer may be shared as long as one of both is connected.
    A message longer than `buf` (640 bytes by default) is skipped and counted in `oversize`; what lies in the first
    quarter of `buf` then is its beginning. From the next `open()` on `buf` has `room` bytes of its own if that is more.
    `find(text)` and `kept` are about the last message.

    Every failure is an `OSError`, after which the connection is closed; a handshake that was refused leaves the HTTP
    status in `status`. When the gateway says goodbye, `connected` turns False and `close_code` tells why (1005: it did
    not say); nothing is read or sent after that. `unsent` counts goodbyes of ours that could not be sent.

    Where Python has no SHA-1 (CircuitPython), a handshake is believed without its proof.
    """

    def __init__(self, connect, host, port, path, agent, buf=None):
        head = (
            "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: %s\r\nUpgrade: %s\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key:%29s"
        )
        super().__init__(connect, host, port, path, "websocket", agent, buf, head)
        self._frame = memoryview(bytearray(10))  # the header of the frame being received
        self._start_of = self._frame[:2]
        self._control = memoryview(
            bytearray(131)
        )  # a control frame, 6 bytes for the header of the one in answer
        self._pong = 0  # bytes of it that wait to be sent; -1: they are being sent
        self.close_code = self.oversize = self.unsent = self.room = 0

    @property
    def ready(self):
        """The connection is open and takes the next frame."""
        return self._state >= _HEAD and self._part is None and not self._pong

    def open(self):
        """Connect. Blocks for the name resolution only."""
        super().close()
        if self.room > len(self._buf):
            self._buf = bytearray(self.room)
            self._view = memoryview(self._buf)
        from .handshake import begin

        begin(self)
        self._agreed = self._pong = self._length = self.close_code = 0
        self._more = False  # the next fragment of a message is due
        self._start()

    def send(self, op, buf, at, n):
        """Begin to send buf[at : at + n], a memoryview; False, and nothing done, when not `ready`.

        `op` is 0x81 for text, 0x82 for binary, of which `frame` tells more. The header is written in front of the
        payload, 6 to 14 bytes, and the payload is masked in place: neither may change before `ready`. After that
        `mask(buf, at, n)` gives the payload back. What the socket does not take at once goes with the next polls.
        Computes for some microseconds a byte, and never waits. Raises `OSError` when the connection is over.
        """
        if not self.ready:
            return False
        self._part = buf[frame(op, buf, at, n) : at + n]
        self._sent = ticks_ms()
        self._write()
        return True

    def poll(self):
        """One slice of work: a message, a memoryview that holds until the next poll, or None."""
        try:
            if self._state >= _HEAD:
                if self._part is not None or self._pong:
                    self._flush()
                message = self._take()
                if self._pong > 0 and self._tcp is not None:
                    self._flush()  # a ping is answered at once: what is ready must not wait for the next look
                return message
            if self._tcp is not None:
                self._step()
                if self._state > _HEADERS:
                    if self.status != 101:
                        raise OSError(71, "HTTP status %d" % self.status)  # EPROTO
                    if self._agreed != 3:
                        raise ValueError
                    self._state = _HEAD
                    self._into = self._start_of
                    self._parse = None
                    for module in ("answers", "handshake"):  # before what comes next needs their room
                        forget(module)
        except ValueError:
            self.close(1002)
            raise OSError(71, "not a WebSocket")
        except OSError:
            self._part = None
            super().close()
            raise
        return None

    def _flush(self):
        if self._part is None and self._pong > 0:
            self._part = self._control[: self._pong]
            self._pong = -1
            self._sent = ticks_ms()
        if self._write():
            self._pong = max(self._pong, 0)
        elif ticks_diff(ticks_ms(), self._sent) > _STEP_MS:
            raise OSError(110, "not sent")  # ETIMEDOUT

    def _take(self):
        """Read until a message is whole, or nothing is there."""
        for _ in range(8):  # a slice stays short when the peer floods
            if self._pong < 0 or self._tcp is None:  # what comes now may need the buffer that is being sent
                break
            into = self._into
            n = len(into)
            if self._at < self._end:  # came right behind the handshake, and lies higher than all it becomes
                n = min(n, self._end - self._at)
                for i in range(n):
                    into[i] = self._buf[self._at]
                    self._at += 1
            else:
                n = self._tcp.readinto(into)
            if n is None:
                if (self._state > _HEAD or len(into) < 2) and ticks_diff(ticks_ms(), self._since) > _STEP_MS:
                    raise OSError(110, "not received")
                break
            if n == 0:
                raise OSError(104, "closed")  # ECONNRESET
            if self._state == _HEAD:
                self._since = ticks_ms()
            if n < len(into):
                self._into = into[n:]
                continue
            message = self._advance()
            if message is not None:
                return message
        return None

    def _advance(self):
        """What was asked for is there, header, length or payload: ask for what comes next, or return a message."""
        n = self._frame[1]
        op = self._frame[0] & 15
        room = len(self._buf)
        if self._state == _HEAD:
            if op & 8:
                bad = op > 10 or n > 125 or self._frame[0] < 0x80
            else:
                bad = op > 2 or n > 127 or self._more == (op > 0)
            if bad or self._frame[0] & 0x70:
                raise ValueError
            if n > 125:
                self._state = _LENGTH
                self._into = self._frame[2 : 4 if n == 126 else 10]
                return None
        elif self._state == _LENGTH:
            end = 4 if n == 126 else 10
            n = 0
            for i in range(2, end):
                n = n << 8 | self._frame[i]
                if n > _FRAME_MAX:
                    raise ValueError
            if n < (126 if end == 4 else 65536):
                raise ValueError
        begins = self._state != _PAYLOAD
        if begins:
            self._state = _PAYLOAD
            self._left = n
            if op < 8:
                self._length = min((0 if op else self._length) + n, room + 1)
            elif op < 10:
                self._pong = 0  # only the latest ping has to be answered (RFC 6455 §5.5.3)
        n = self._left
        if not n:
            into = None if begins else self._into
            self._state = _HEAD
            self._into = self._start_of
            return self._whole(op, into)
        if op & 8:
            # A pong, which nobody asked for, must not overwrite the one that waits.
            self._into = memoryview(bytearray(n)) if op == 10 else self._control[6 : 6 + n]
        elif self._length > room:
            at = 0 if begins and op else room >> 2
            n = min(n, room - at)
            self._into = self._view[at : at + n]
        else:
            self._into = self._view[self._length - n : self._length]
        self._left -= n
        return None

    def _whole(self, op, into):
        """A frame is complete, its end was read `into` that: the message, if it is one and fits, or None."""
        n = self._frame[1]
        if op == 8:
            self.close_code = self._control[6] << 8 | self._control[7] if n > 1 else 1005
            self.close(self.close_code if n > 1 else 1000)
        elif op == 9:
            frame(0x8A, self._control, 6, n)
            self._pong = 6 + n
        elif op < 8:
            self._more = self._frame[0] < 0x80
            if not self._more:
                self._kept = min(self._length, len(self._buf))
                if self._length == self._kept:
                    if into is not None and len(into) == self._length:
                        return into  # it came in one piece
                    return self._view[: self._length]
                self.oversize += 1
        return None

    def close(self, code=1000):
        """Say goodbye if no frame is half sent, and drop the connection. Does not wait for the gateway's goodbye."""
        if self._state >= _HEAD and self._part is None:
            self._control[6] = code >> 8
            self._control[7] = code & 255
            frame(0x88, self._control, 6, 2)
            try:
                self.unsent += self._tcp.write(self._control[:8]) < 8
            except OSError:
                self.unsent += 1
        self._part = None
        super().close()


def frame(op, buf, at, n):
    """Write a header in front of buf[at : at + n] and mask that in place; where the header begins.

    `op`: 0x81 text, 0x82 binary; in fragments 0x01 or 0x02 for the first, 0x00 for more, 0x80 for the last.
    The header takes 6 bytes, 8 for more than 125 bytes of payload, 14 for more than 65,535. Raises ValueError when
    there is no room for it.
    """
    start = at - (6 if n < 126 else 8 if n < 65536 else 14)
    if start < 0:
        raise ValueError("headroom")
    buf[start] = op
    buf[start + 1] = 128 | n if n < 126 else 254 if n < 65536 else 255
    left = n
    for i in range(at - 5, start + 1, -1):
        buf[i] = left & 255
        left >>= 8
    randomize(buf, at - 4, 4)
    mask(buf, at, n)
    return start


def mask(buf, at, n):
    """Mask or unmask buf[at : at + n] with the four bytes in front of it."""
    for i in range(4):
        key = buf[at - 4 + i]
        for j in range(at + i, at + n, 4):
            buf[j] ^= key
