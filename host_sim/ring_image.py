"""What a ring still holds, read from its bytes: nothing that the device says of itself is needed."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from plexus_mp.blocks import RamBlocks
from plexus_mp.decoder import Decoder
from plexus_mp.ring import HEADER_BYTES, MAGIC, Ring

from .journal import Row


class _Uptime:
    """A clock for the decoder: true time is uptime plus what the clock read at its start."""

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms

    def unix_ms(self, s: int, ms: int) -> int:
        return self._start_ms + s * 1000 + ms


def held_rows(memory: bytes, sector_bytes: int, start_ms: int) -> Iterator[Row]:
    """Every point in every readable commit, settled or not; `start_ms` is the Unix time of uptime 0."""
    if not memory:
        return
    blocks: Any = RamBlocks(len(memory), sector_bytes)
    blocks._mem[:] = memory
    ring: Any = Ring(blocks, sector_bytes - 64)
    sequences = []
    for at in range(0, len(memory), sector_bytes):
        magic, _, sequence = struct.unpack_from("<2sHI", memory, at)
        if magic == MAGIC:
            sequences.append(sequence)
    for sequence in sorted(sequences):
        yield from _sector(ring, sequence, Decoder(_Uptime(start_ms)), sector_bytes)


def _sector(ring: Any, sequence: int, decoder: Any, sector_bytes: int) -> Iterator[Row]:
    buf = memoryview(bytearray(sector_bytes))
    out = bytearray(2 * 65536)
    offset = HEADER_BYTES
    while n := ring.read(sequence, offset, buf):
        decoder.load(buf, ring.payload_at, n)
        while decoder.more:
            end = decoder.next_json(out, 0, len(out))
            point = json.loads(out[:end])
            yield Row(
                point["class"], point["metric"], point["value"], point.get("tags", {}), point["timestamp"]
            )
        offset = ring.next_off
