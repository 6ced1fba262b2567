"""Frames that go past wsproto mean what they mean to wsproto, and others do not go past it."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import TextMessage
from wsproto.utilities import RemoteProtocolError

from host_sim.gateway.plain_frames import Between, frame_of, text_of

from .conftest import NOW_MS, Start
from .device_client import ack, connect


def _frame(first: int, payload: bytes, key: bytes = b"\x01\x80\xff\x00", length_bytes: int = 0) -> bytes:
    """A masked frame; `length_bytes` 2 spells the length in two bytes whatever it is."""
    n = len(payload)
    if n < 126 and not length_bytes:
        head = bytes((first, 0x80 | n))
    elif n < 65_536:
        head = struct.pack("!BBH", first, 0x80 | 126, n)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, n)
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def _as_wsproto_reads(data: bytes) -> str | None:
    """The text if `data` is exactly one whole text message to wsproto."""
    server = Connection(ConnectionType.SERVER)
    server.receive_data(data)
    try:
        events = list(server.events())
    except RemoteProtocolError:
        return None
    if len(events) == 1 and isinstance(events[0], TextMessage) and events[0].message_finished:
        return str(events[0].data)
    return None


@given(st.text(max_size=200), st.binary(min_size=4, max_size=4))
def test_a_whole_text_frame_is_its_text(text: str, key: bytes) -> None:
    data = _frame(0x81, text.encode(), key)
    assert text_of(data) == text == _as_wsproto_reads(data)


@given(
    st.integers(0, 255),
    st.binary(max_size=140),
    st.integers(0, 8),
    st.binary(max_size=3),
    st.sampled_from((0, 2)),
)
def test_whatever_else_comes_is_left_to_wsproto(
    first: int, payload: bytes, cut: int, more: bytes, length_bytes: int
) -> None:
    data = _frame(first, payload, length_bytes=length_bytes)
    data = data[: len(data) - cut] + more
    text = text_of(data)
    assert text is None or text == _as_wsproto_reads(data)


@given(
    st.lists(st.tuples(st.sampled_from((0x81, 0x82, 0x01, 0x80, 0x00, 0x89, 0x8A)), st.integers(0, 300))),
    st.data(),
)
def test_where_a_stream_of_frames_stands(frames: list[tuple[int, int]], data: st.DataObject) -> None:
    """However the stream is cut into pieces, it is between two messages where wsproto holds nothing back."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    stream, quiet, open_message = request, {len(request)}, False
    for first, n in frames:
        stream += _frame(first, b"x" * n)
        open_message = not first & 0x80 if not first & 0x08 else open_message
        if not open_message:
            quiet.add(len(stream))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream)), max_size=12)) | {len(stream)})
    between = Between()
    at = 0
    for cut in cuts:
        between.hear(stream[at:cut])
        at = cut
        assert bool(between) is (at in quiet)


def test_a_long_frame_is_not_over_before_its_end() -> None:
    between = Between()
    between.hear(b"\r\n\r\n" + _frame(0x81, b"x" * 70_000)[:-1])
    assert not between
    between.hear(b"x")
    assert between


def test_lengths_around_the_limits() -> None:
    for n in (0, 1, 125, 126, 65_535):
        text = "x" * n
        assert text_of(_frame(0x81, text.encode())) == text
        client = Connection(ConnectionType.CLIENT)
        frame = frame_of(text)
        assert frame is not None
        client.receive_data(frame)
        assert "".join(event.data for event in client.events() if isinstance(event, TextMessage)) == text
    assert frame_of("x" * 65_536) is None
    assert text_of(_frame(0x81, b"x", length_bytes=2)) is None  # longer than it must be
    assert text_of(_frame(0x81, b"\xff")) is None


@pytest.mark.parametrize("split", ["in a frame", "in a message", "two at once"])
def test_plain_frames_after_others_keep_their_order(start: Start, split: str) -> None:
    """What wsproto still holds of a frame or a message must not be overtaken."""
    device = connect(start())
    said = [json.dumps(_telemetry(seq)).encode() for seq in (1, 2, 3)]
    whole = [_frame(0x81, text) for text in said]
    if split == "in a frame":
        pieces = [whole[0][:9], whole[0][9:], whole[1]]
    elif split == "in a message":
        pieces = [_frame(0x01, said[0][:9]), _frame(0x80, said[0][9:]), whole[1]]
    else:
        pieces = [whole[0] + whole[1]]
    for piece in [*pieces, whole[2]]:
        device.link.sock.sendall(piece)
    assert [device.hear() for _ in said] == [ack(1), ack(2), ack(3)]


def _telemetry(seq: int) -> dict[str, object]:
    point = {"metric": "m", "value": seq, "timestamp": NOW_MS + seq}
    return {"type": "telemetry", "seq": seq, "points": [point]}
