"""What NOR flash holds: its cells, their wear, and what can be done to them without a fault.

Content is kept per sector and only where it is not erased; snapshots share sectors until they are written.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .flash_faults import GARBLED, UNIT_BYTES, UNTOUCHED, WRITTEN, Change, Unsynced

FLASH_BYTES: Final = 4 << 20
SECTOR_BYTES: Final = 4096
FLASH_BYTES_MAX: Final = 128 << 20
GRANULARITIES: Final = (1, 16, 32, 256)  # ESP32; encrypted; encrypted in an ESP32's own units; RP2040

_TRAILER: Final = struct.Struct("<8sQQQ")  # magic, seed, operations, programmed bytes; then erases per sector
_MAGIC: Final = b"FLASHSIM"


@dataclass(frozen=True)
class Snapshot:
    """A flash at one moment; `restore` it into any flash of the same geometry, as often as wanted."""

    geometry: tuple[int, int, bytes]
    seed: int
    sectors: tuple[bytearray | None, ...]
    wear: tuple[int, ...]
    counts: tuple[int, int, int, int, int]
    bad: tuple[tuple[int, str], ...]
    unsynced: tuple[Change, ...]


def _check_geometry(size: int, sector_bytes: int, granularity: int) -> None:
    if granularity not in GRANULARITIES:
        raise ValueError(f"a granularity is one of {GRANULARITIES}, not {granularity}")
    if sector_bytes <= 0 or sector_bytes % 256:
        raise ValueError(f"a sector is whole pages of 256 bytes, not {sector_bytes} bytes")
    if not 0 < size <= FLASH_BYTES_MAX or size % sector_bytes:
        raise ValueError(f"a flash is whole sectors, at most {FLASH_BYTES_MAX} bytes, not {size} bytes")


class Cells:
    """`size` bytes in sectors of `sector_bytes`; see `Flash`."""

    def __init__(self, size: int, sector_bytes: int, granularity: int, rng: random.Random) -> None:
        _check_geometry(size, sector_bytes, granularity)
        self.size = size
        self.sector_bytes = sector_bytes
        self.count = size // sector_bytes
        self.granularity = granularity
        self.wear = [0] * self.count
        self.operations = self.reads = self.programmed_bytes = self.spoiled_units = 0
        self._seed = rng.getrandbits(64)
        self._rotted = 0
        self._encrypted = bytearray(self.count)
        self._noise: dict[int, bytes] = {}
        self._erased = b"\xff" * sector_bytes
        self._sectors: list[bytearray | None] = [None] * self.count  # None is erased
        self._shared = bytearray(self.count)  # a snapshot holds these bytes too
        self._fast = bytearray(self.count)  # may be programmed with no more ado
        self._bad: dict[int, str] = {}
        self._unsynced = Unsynced(0)

    def encrypt(self, offset: int, size: int) -> None:
        """Put a range of whole sectors, still erased, behind encryption. ValueError for any other range."""
        sectors = range(offset // self.sector_bytes, (offset + size) // self.sector_bytes)
        if offset % self.sector_bytes or size % self.sector_bytes or not 0 <= offset <= self.size - size:
            raise ValueError(f"encryption covers whole sectors, not {size} bytes at {offset:#x}")
        if any(self._sectors[sector] is not None for sector in sectors):
            raise ValueError("only erased sectors can be put behind encryption")
        for sector in sectors:
            self._encrypted[sector] = 1

    def unit_bytes(self, sector: int) -> int:
        """What the sector is programmed in multiples of."""
        return max(self.granularity, UNIT_BYTES) if self._encrypted[sector] else self.granularity

    def _rng(self, what: str, number: int) -> random.Random:
        return random.Random(f"{self._seed}/{what}/{number}")

    # content

    def peek(self, offset: int, n: int) -> bytes:
        """The bytes there, for the host: no fault, no count, and nothing beyond the end."""
        n = max(0, min(n, self.size - offset))
        return b"".join(
            self._content(sector)[start : start + length] for sector, start, length in self._spans(offset, n)
        )

    def _spans(self, offset: int, n: int) -> Iterator[tuple[int, int, int]]:
        """A range by sectors: (sector, start in it, length)."""
        end = offset + n
        while offset < end:
            sector, start = divmod(offset, self.sector_bytes)
            length = min(self.sector_bytes - start, end - offset)
            yield sector, start, length
            offset += length

    def _blank(self, sector: int) -> bytes:
        """What the sector reads as when it is erased: through the cipher, noise."""
        if not self._encrypted[sector]:
            return self._erased
        noise = self._noise.get(sector)
        if noise is None:
            noise = self._noise[sector] = self._rng("blank", sector).randbytes(self.sector_bytes)
        return noise

    def _content(self, sector: int) -> bytes | bytearray:
        cells = self._sectors[sector]
        return self._blank(sector) if cells is None else cells

    def _own(self, sector: int) -> bytearray:
        """The sector's bytes, to be changed."""
        cells = self._sectors[sector]
        if cells is None or self._shared[sector]:
            cells = self._sectors[sector] = bytearray(self._content(sector))
            self._shared[sector] = 0
        plain = self.granularity == 1 and not self._encrypted[sector] and sector not in self._bad
        self._fast[sector] = plain
        return cells

    def _set_cells(self, sector: int, cells: bytearray | None) -> None:
        """Bytes to which somebody else may hold a reference."""
        self._sectors[sector] = cells
        self._shared[sector] = 1
        self._fast[sector] = 0

    def _put(self, sector: int, start: int, data: bytes) -> bytes:
        """Program within one sector; what was there."""
        cells = self._own(sector)
        n = len(data)
        before = bytes(cells[start : start + n])
        if self._encrypted[sector]:
            self._put_units(sector, start, data, [WRITTEN] * (n // UNIT_BYTES))
        else:
            both = int.from_bytes(before, "little") & int.from_bytes(data, "little")
            cells[start : start + n] = both.to_bytes(n, "little")
        return before

    def _put_units(self, sector: int, start: int, data: bytes, fates: list[int]) -> None:
        """Program encrypted units, each with its fate. Two ciphers ANDed decrypt to noise."""
        cells, blank = self._own(sector), self._blank(sector)
        for i, fate in enumerate(fates):
            at = start + i * UNIT_BYTES
            here = slice(at, at + UNIT_BYTES)
            old, new = bytes(cells[here]), data[i * UNIT_BYTES : (i + 1) * UNIT_BYTES]
            if fate == UNTOUCHED or old == new:  # the same text has the same cipher: no bit changes
                continue
            twice = old != blank[here]
            self.spoiled_units += twice
            cells[here] = self._garbled(sector, at, old + new) if twice or fate == GARBLED else new

    def _garbled(self, sector: int, at: int, what: bytes) -> bytes:
        key = struct.pack("<QQQ", self._seed, sector, at)
        return hashlib.blake2b(what, key=key, digest_size=UNIT_BYTES).digest()

    # decay

    def flip(self, offset: int, bit: int = 0) -> None:
        """Bit rot: turn one bit over. Behind encryption that makes noise of its unit."""
        sector, start = divmod(offset, self.sector_bytes)
        cells = self._own(sector)
        if self._encrypted[sector]:
            at = start - start % UNIT_BYTES
            unit = bytes(cells[at : at + UNIT_BYTES])
            cells[at : at + UNIT_BYTES] = self._garbled(sector, at, unit + bytes((start - at, bit)))
        else:
            cells[start] ^= 1 << bit

    def rot(self, bits: int, offset: int = 0, size: int | None = None) -> list[tuple[int, int]]:
        """Flip `bits` different random bits of a range, or of everything; which: (offset, bit)."""
        self._rotted += 1
        span = 8 * (self.size - offset if size is None else size)
        places = [divmod(n, 8) for n in self._rng("rot", self._rotted).sample(range(span), bits)]
        for at, bit in places:
            self.flip(offset + at, bit)
        return [(offset + at, bit) for at, bit in places]

    # the whole

    def digest(self) -> str:
        """SHA-256 of geometry and content; wear and counts are not in it."""
        sha = hashlib.sha256(struct.pack("<QQ", self.size, self.sector_bytes))
        for sector, cells in enumerate(self._sectors):
            if cells is not None and cells != self._blank(sector):
                sha.update(struct.pack("<Q", sector))
                sha.update(cells)
        return sha.hexdigest()

    def image(self) -> bytes:
        """All of it, as the firmware would read it."""
        return self.peek(0, self.size)

    def load(self, image: bytes, offset: int = 0) -> None:
        """Put these bytes there as they are, whatever was there. ValueError beyond the end."""
        if offset < 0 or offset + len(image) > self.size:
            raise ValueError(f"an image of {len(image)} bytes at {offset:#x} ends beyond {self.size:#x}")
        at = 0
        for sector, start, length in self._spans(offset, len(image)):
            piece = image[at : at + length]
            at += length
            if length == self.sector_bytes and piece == self._blank(sector):
                self._set_cells(sector, None)
            else:
                self._own(sector)[start : start + length] = piece

    def snapshot(self) -> Snapshot:
        """Content, wear, counts and bad sectors now; planned cuts and errors are not in it."""
        self._shared = bytearray(b"\x01") * self.count
        self._fast = bytearray(self.count)
        return Snapshot(
            (self.size, self.sector_bytes, bytes(self._encrypted)),
            self._seed,
            tuple(self._sectors),
            tuple(self.wear),
            (self.operations, self.reads, self.programmed_bytes, self.spoiled_units, self._rotted),
            tuple(self._bad.items()),
            tuple(self._unsynced.changes),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Back to `snapshot`, seed included. ValueError when it is of another geometry."""
        if snapshot.geometry != (self.size, self.sector_bytes, bytes(self._encrypted)):
            raise ValueError("the snapshot is of a flash of another geometry")
        self._shared = bytearray(b"\x01") * self.count
        self._fast = bytearray(self.count)
        if snapshot.seed != self._seed:
            self._seed = snapshot.seed
            self._noise.clear()
        self._sectors = list(snapshot.sectors)
        self.wear = list(snapshot.wear)
        self.operations, self.reads, self.programmed_bytes, self.spoiled_units, self._rotted = snapshot.counts
        self._bad = dict(snapshot.bad)
        self._unsynced.changes = list(snapshot.unsynced)

    def save(self, path: Path) -> None:
        """Write the image, then seed, counts and wear, to a file: other tools see an image with a tail."""
        trailer = _TRAILER.pack(_MAGIC, self._seed, self.operations, self.programmed_bytes)
        path.write_bytes(self.image() + trailer + struct.pack(f"<{self.count}I", *self.wear))

    def load_file(self, path: Path) -> None:
        """Read what `save` wrote, or a bare image. ValueError when it is of another size."""
        content = path.read_bytes()
        image, tail = content[: self.size], content[self.size :]
        if len(image) < self.size or len(tail) not in (0, _TRAILER.size + 4 * self.count):
            raise ValueError(f"{path}: not an image of {self.size} bytes in {self.count} sectors")
        if tail:
            magic, seed, operations, programmed_bytes = _TRAILER.unpack_from(tail)
            if magic != _MAGIC:
                raise ValueError(f"{path}: what follows the image is not the simulator's")
            self._seed, self.operations, self.programmed_bytes = seed, operations, programmed_bytes
            self._noise.clear()
            self.wear = list(struct.unpack_from(f"<{self.count}I", tail, _TRAILER.size))
        self.load(image)
