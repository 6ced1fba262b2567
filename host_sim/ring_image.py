"""What a ring still holds, read from its bytes: nothing that the device says of itself is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from plexus_mp.blocks import RamBlocks
from plexus_mp.decoder import Decoder, count_points
from plexus_mp.flashring import FlashRing
from plexus_mp.ring import HEADER_BYTES

from .journal import Row

_POINT_MAX_BYTES = 1 << 17


def flash_ring(image: bytes, sector_bytes: int) -> Any:
    """The ring whose sectors `image` holds, mounted on a copy."""
    blocks: Any = RamBlocks(len(image), sector_bytes)
    blocks._mem[:] = image
    return FlashRing(blocks, min(sector_bytes - 116, 16383), count_points)  # the largest commit there can be


def held_rows(image: bytes, sector_bytes: int, zero_ms: Mapping[int, int], in_ram: bool) -> Iterator[Row]:
    """Every point in every readable commit, settled or not; `zero_ms` is the Unix time of each boot's uptime 0."""
    ring = flash_ring(image, sector_bytes)
    if in_ram:  # such a ring keeps no marks, and fills its sectors to the end
        ring._head_off = sector_bytes
        ring._end_of = lambda sequence: sector_bytes
    for sequence in range(max(1, ring.head_seq - len(image) // sector_bytes + 1), ring.head_seq + 1):
        yield from _sector(ring, sequence, sector_bytes, zero_ms)


def _sector(ring: Any, sequence: int, sector_bytes: int, zero_ms: Mapping[int, int]) -> Iterator[Row]:
    buf = memoryview(bytearray(sector_bytes))
    out = bytearray(_POINT_MAX_BYTES)
    decoder = Decoder()
    offset = HEADER_BYTES
    while n := ring.read(sequence, offset, buf):
        decoder.zero_ms = zero_ms.get(ring.read_boot, 0)
        if ring.damaged:
            ring.damaged = False
            decoder.lose_time()
        decoder.load(buf, ring.payload_at, n)
        while decoder.more:
            if not decoder.sure:
                decoder.skip()
                continue
            end = decoder.next_json(out, 0, len(out))
            point = json.loads(out[:end])
            yield Row(
                point["class"], point["metric"], point["value"], point.get("tags", {}), point["timestamp"]
            )
        offset = ring.next_off
