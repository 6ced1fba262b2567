"""What a ring still holds, read from its bytes: nothing that the device says of itself is needed."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from plexus_mp.blocks import RamBlocks
from plexus_mp.crc import CRC_BYTES, sealed
from plexus_mp.decoder import Decoder
from plexus_mp.log import HEADER_BYTES, MAGIC
from plexus_mp.mount import mount
from plexus_mp.ring import Ring

from .journal import Row

_POINT_MAX_BYTES = 1 << 17
_ALIGN_LOG2_MAX = 8
# Kinds of points, as in docs/flash-format.md.
_FLOATS_32 = (0x20, 0x30)
_FLOAT64 = 0x40


class _Image(RamBlocks):
    """Sectors of flash."""

    volatile = False


def sequence(header: bytes) -> int:
    """The sequence number in the header of a sector, 0 when it is none."""
    good = int.from_bytes(header[:2], "little") == MAGIC and header[2] <= _ALIGN_LOG2_MAX
    if not good or not sealed(0, header, 0, HEADER_BYTES - CRC_BYTES):
        return 0
    return int.from_bytes(header[5:9], "little")


def _align(image: bytes, sector_bytes: int) -> int:
    """The unit of programming that the first header found tells."""
    for sector in range(0, len(image), sector_bytes):
        for at in (sector, sector + HEADER_BYTES):
            if sequence(header := image[at : at + HEADER_BYTES]):
                return 1 << header[2]
    return 1


def ring_of(image: bytes, sector_bytes: int, in_ram: bool = False) -> Any:
    """The ring whose sectors `image` holds, mounted on a copy."""
    make: Any = RamBlocks if in_ram else _Image
    blocks = make(len(image), sector_bytes)
    blocks._mem[:] = image
    align = _align(image, sector_bytes)
    ring = Ring(blocks, 64, align)  # mounting tells how large commits may be
    mount(ring)
    return ring


def held_rows(image: bytes, sector_bytes: int, zero_ms: Mapping[int, int], in_ram: bool) -> Iterator[Row]:
    """The points that a boot would find and deliver; `zero_ms` is the Unix time of each boot's uptime 0.

    Not those of the sector that is given up, though they are still there: they count as dropped. Nor what is settled:
    nobody sends it again.
    """
    ring = ring_of(image, sector_bytes, in_ram)
    settled = ring.settled_seq, ring.settled_off
    for seq in range(max(ring.settled_seq, ring.tail_seq), ring.head_seq + 1):
        for off, decoder in walk(ring, seq, Decoder()):
            if (seq, off) < settled:
                continue
            decoder.segments = [(0, zero_ms.get(decoder.boot, 0), 0, 0)]
            point = json.loads(point_json(decoder))
            yield Row(
                point["class"], point["metric"], point["value"], point.get("tags", {}), point["timestamp"]
            )


class SingleDecoder(Decoder):
    """Prints float32 as a board does that has no other floats: in as few digits as tell it from its neighbours."""

    def _number(self) -> float:
        value: float = Decoder._number(self)
        return shortest(value) if self._kind in _FLOATS_32 else value


def shortest(value: float) -> float:
    """The double with the fewest digits that is `value` when it is rounded to float32."""
    for digits in range(6, 9):
        text = f"{value:.{digits}g}"
        if single(float(text)) == value:
            break
    else:
        text = f"{value:.9g}"
    return float(text)


def single(value: float) -> float:
    """`value` rounded to float32; infinite beyond its range."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return float("inf")


def is_single(decoder: Any) -> bool:
    """Whether a board without doubles could have had the value that `decoder` stands on."""
    if decoder._kind != _FLOAT64:
        return True
    value = float(decoder._number())
    return single(value) == value


def walk(ring: Any, seq: int, decoder: Decoder) -> Iterator[tuple[int, Decoder]]:
    """Where each point's commit begins in a sector, and `decoder`, which stands on that point."""
    decoder.reset()
    ring.next_off = ring.first
    while True:
        off = ring.next_off
        n = ring.read(seq, off)
        if not n:
            return
        decoder.load(ring.buf, ring.at, n, ring.damaged)
        ring.damaged = False
        while decoder.more:
            yield off, decoder
            decoder.advance()


def point_json(decoder: Decoder) -> bytes:
    out = bytearray(_POINT_MAX_BYTES)
    return bytes(out[: decoder.write(out, 0, len(out))])
