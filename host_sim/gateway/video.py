"""Video frames of devices, as they come and as browsers get them."""

from __future__ import annotations

import base64
import struct
from typing import Any, NamedTuple

_VERSION = 0x01
_SIZES = struct.Struct(">IIq")  # width, height, Unix ms: ws.py of plexus-python


class VideoFrame(NamedTuple):
    """One JPEG of a camera; times in Unix milliseconds, sizes in pixels."""

    camera_id: str
    width: int
    height: int
    timestamp_ms: int
    jpeg: bytes

    def described(self, source_id: str) -> dict[str, Any]:
        """The message to browsers."""
        sizes = {"width": self.width, "height": self.height, "timestamp": self.timestamp_ms}
        head = {"type": "video_frame", "source_id": source_id, "camera_id": self.camera_id}
        return {**head, **sizes, "frame": base64.b64encode(self.jpeg).decode()}


def parse_video(data: bytes, jpeg_max: int) -> VideoFrame:
    """Unpack a binary frame; raises ValueError for one that is none. Its own source_id does not count."""
    if not data or data[0] != _VERSION:
        raise ValueError("unknown version")
    _, at = _short_text(data, 1)
    camera_id, at = _short_text(data, at)
    if len(data) < at + _SIZES.size:
        raise ValueError("cut short")
    width, height, timestamp_ms = _SIZES.unpack_from(data, at)
    if len(data) - at - _SIZES.size > jpeg_max:
        raise ValueError(f"picture too big (max {jpeg_max} bytes)")
    return VideoFrame(camera_id.decode(), width, height, timestamp_ms, data[at + _SIZES.size :])


def _short_text(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 1 + data[at] if at < len(data) else 0
    if not 0 < end <= len(data):
        raise ValueError("cut short")
    return data[at + 1 : end], end
