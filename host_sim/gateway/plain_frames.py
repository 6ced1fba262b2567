"""The common WebSocket frame (RFC 6455 §5.2) in few steps: a text message in one frame of less than 64 KiB."""

from __future__ import annotations

_FINAL_TEXT = 0x81
_FINAL = 0x80
_MASKED = 0x80
_LENGTH = 0x7F
_TWO_BYTES = 126
_EIGHT_BYTES = 127
_KEY_BYTES = 4
_HEAD_MAX = 14
_END_OF_REQUEST = b"\r\n\r\n"
_CONTROL = 0x08
_PLAIN_MAX = 0xFFFF


def _payload_at(data: bytes) -> int:
    """Where the payload begins if `data` is one whole, final frame of a client, control frames included; else 0."""
    if len(data) < 2 + _KEY_BYTES or not data[0] & _FINAL or not data[1] & _MASKED:
        return 0
    at, n = 2 + _KEY_BYTES, data[1] & _LENGTH
    if n == _TWO_BYTES:
        at, n = at + 2, int.from_bytes(data[2:4], "big")
    return at if len(data) == at + n and data[1] & _LENGTH != _EIGHT_BYTES else 0


class Between:
    """Whether what a client has sent so far, its request first, ends between two messages."""

    def __init__(self) -> None:
        self._request: bytes | None = b""  # its last bytes, until it is over
        self._head = b""  # of the frame that begins
        self._left = 0  # bytes of payload still to come
        self._in_message = False

    def __bool__(self) -> bool:
        return not (self._request is not None or self._head or self._left or self._in_message)

    def hear(self, data: bytes) -> None:
        if self._request is not None:
            heard = self._request + data
            end = heard.find(_END_OF_REQUEST)
            if end < 0:
                self._request = heard[1 - len(_END_OF_REQUEST) :]
                return
            self._request, data = None, heard[end + len(_END_OF_REQUEST) :]
        at = min(self._left, len(data))
        self._left -= at
        while at < len(data):
            head = self._head + data[at : at + _HEAD_MAX - len(self._head)]
            head_bytes, payload_bytes = _lengths(head)
            if head_bytes > len(head):
                self._head = head
                return
            at += head_bytes - len(self._head)
            self._head = b""
            if not head[0] & _CONTROL:
                self._in_message = not head[0] & _FINAL
            here = min(payload_bytes, len(data) - at)
            at += here
            self._left = payload_bytes - here


def _lengths(head: bytes) -> tuple[int, int]:
    """How long the header is that begins so, more than is there when it must be seen first; and its payload."""
    if len(head) < 2:
        return 2, 0
    n = head[1] & _LENGTH
    more = 2 if n == _TWO_BYTES else 8 if n == _EIGHT_BYTES else 0
    if more:
        n = int.from_bytes(head[2 : 2 + more], "big")
    return 2 + more + (_KEY_BYTES if head[1] & _MASKED else 0), n


def text_of(data: bytes) -> str | None:
    """The message if `data` is one such frame, as short as it can be, and valid; None for whatever else it is."""
    at = _payload_at(data)
    if not at or data[0] != _FINAL_TEXT:
        return None
    n = len(data) - at
    if at > 2 + _KEY_BYTES and n < _TWO_BYTES:
        return None
    key = data[at - _KEY_BYTES : at] * (n // _KEY_BYTES + 1)
    unmasked = int.from_bytes(data[at:], "big") ^ int.from_bytes(key[:n], "big")
    try:
        return unmasked.to_bytes(n, "big").decode()
    except UnicodeDecodeError:
        return None


def frame_of(text: str) -> bytes | None:
    """The server's frame for a message, None for one that is too long."""
    payload = text.encode()
    n = len(payload)
    if n < _TWO_BYTES:
        return bytes((_FINAL_TEXT, n)) + payload
    return bytes((_FINAL_TEXT, _TWO_BYTES)) + n.to_bytes(2, "big") + payload if n <= _PLAIN_MAX else None
