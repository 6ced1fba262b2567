"""Pictures over the WebSocket: one at a time, in pieces between which the connection lives on. Loaded with the first.

A picture is one binary message of the Plexus gateway: 0x01, the lengths and texts of source_id and camera_id, width
and height (u32), Unix milliseconds (i64), JPEG; big-endian. It goes out in fragments (RFC 6455 §5.4) through the
transmit buffer, where they are masked: the JPEG itself is neither copied as a whole nor changed.
"""

import struct

from .ports import const, ticks_diff, ticks_ms

_JPEG_MAX = const(750_000)
# A picture that takes longer is broken off: readings wait behind it.
_PICTURE_MS = const(10_000)
_FIRST = const(0x02)
_MORE = const(0x00)
_LAST = const(0x80)
# Markers of JPEG (ITU-T T.81 table B.1): frame headers, but for three others among them.
_SOF = const(0xC0)
_NOT_SOF = b"\xc4\xc8\xcc"


class Video:
    """`sent` counts pictures, `dropped` those that were not taken or broken off; `busy`: one is on its way."""

    def __init__(self, session, source_id):
        self._session = session
        self._source = source_id.encode()[:255]
        self._jpeg = None
        self._head = None  # to be sent first; b"": it is
        self.sent = self.dropped = 0
        session.listening = True
        session.video = self

    @property
    def busy(self):
        return self._jpeg is not None

    def take(self, jpeg, camera_id, width, height, unix_ms):
        """Send a picture, whose bytes must not change while `busy`. False, and it is dropped, where it cannot be."""
        if isinstance(jpeg, str):
            raise TypeError("frame must be bytes, not str")
        camera = camera_id.encode()
        if len(camera) > 255:
            raise ValueError("camera_id is %d bytes, the limit is 255" % len(camera))
        view = memoryview(jpeg)
        if len(view) < 4 or view[0] != 0xFF or view[1] != 0xD8:
            raise ValueError("frame must be a JPEG")
        if not width or not height:
            width, height = size_of(jpeg)
        if self.busy or unix_ms is None or not self._session.up or len(view) > _JPEG_MAX:
            self.dropped += 1
            return False
        texts = bytes((1, len(self._source))) + self._source + bytes((len(camera),)) + camera
        self._head = texts + struct.pack(">IIq", width, height, unix_ms)
        self._at = 0
        self._since = ticks_ms()
        self._jpeg = view
        return True

    def step(self):
        """Send the next piece, if the socket is free; True when it was sent."""
        if self._jpeg is None or not self._session.ws.ready:
            return False
        session = self._session
        if self._head:
            session.put(_FIRST, self._head)
            session.held = True
            self._head = b""
            return True
        end = min(self._at + session.room, len(self._jpeg))
        if ticks_diff(ticks_ms(), self._since) > _PICTURE_MS:
            session.put(_LAST, b"")
            self.dropped += 1
        elif end < len(self._jpeg):
            session.put(_MORE, self._jpeg[self._at : end])
            self._at = end
            return True
        else:
            session.put(_LAST, self._jpeg[self._at : end])
            self.sent += 1
        self._jpeg = None
        session.held = False
        return True

    def lose(self):
        """The conversation is over."""
        if self._jpeg is not None:
            self._jpeg = None
            self.dropped += 1


def attach(session, source_id):
    """The pictures of a client. Raises `ValueError` when it speaks HTTP only."""
    if session is None:
        raise ValueError("video needs the WebSocket: transport must not be 'http'")
    return Video(session, source_id)


def size_of(jpeg):
    """(width, height) as the frame header of a JPEG has them, (0, 0) when there is none."""
    at = 2
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if _SOF <= marker < _SOF + 16 and bytes((marker,)) not in _NOT_SOF:
            return jpeg[at + 7] << 8 | jpeg[at + 8], jpeg[at + 5] << 8 | jpeg[at + 6]
        at += 2 + (jpeg[at + 2] << 8 | jpeg[at + 3])
    return 0, 0
