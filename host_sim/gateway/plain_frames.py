"""The common WebSocket frame (RFC 6455 §5.2) in few steps: a text message in one frame of less than 64 KiB."""

from __future__ import annotations

_FINAL_TEXT = 0x81
_FINAL = 0x80
_MASKED = 0x80
_LENGTH = 0x7F
_TWO_BYTES = 126
_EIGHT_BYTES = 127
_KEY_BYTES = 4
_PLAIN_MAX = 0xFFFF


def payload_at(data: bytes) -> int:
    """Where the payload begins if `data` is one whole, final frame of a client, control frames included; else 0."""
    if len(data) < 2 + _KEY_BYTES or not data[0] & _FINAL or not data[1] & _MASKED:
        return 0
    at, n = 2 + _KEY_BYTES, data[1] & _LENGTH
    if n == _TWO_BYTES:
        at, n = at + 2, int.from_bytes(data[2:4], "big")
    return at if len(data) == at + n and data[1] & _LENGTH != _EIGHT_BYTES else 0


def text_of(data: bytes) -> str | None:
    """The message if `data` is one such frame, as short as it can be, and valid; None for whatever else it is."""
    at = payload_at(data)
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
