"""NOR flash: programming clears bits, erasing sets a sector, power may go in between.

Content is kept per sector and only where it is not erased; snapshots share sectors until they are written.
Everything random is a function of the flash's seed and of the number of the operation it happens to, so a run
from a snapshot meets the same faults as the run that made it.
"""

from __future__ import annotations

import errno
import hashlib
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from .flash_faults import (
    BAD_KINDS,
    ERASE_ERROR,
    ERASE_NOOP,
    GARBLED,
    PROGRAM_ERROR,
    PROGRAM_NOOP,
    READ_ERROR,
    UNIT_BYTES,
    UNTOUCHED,
    WRITTEN,
    Change,
    Cut,
    PowerCut,
    Unsynced,
)

FLASH_BYTES: Final = 4 << 20
SECTOR_BYTES: Final = 4096
PAGE_BYTES: Final = 256
FLASH_BYTES_MAX: Final = 128 << 20
# Winbond W25Q32JV datasheet, AC electrical characteristics: t_PP 0.4 ms typical and 3 ms at most, t_SE 45 ms
# typical and 400 ms at most. A page costs more than its t_PP by the transfer and the driver's polling.
PROGRAM_PAGE_US: Final = 1000
ERASE_US: Final = 45_000

_NEVER: Final = 1 << 62
_from_bytes = int.from_bytes
_TRAILER: Final = struct.Struct("<8sQQQ")  # magic, seed, operations, programmed bytes; then erases per sector
_MAGIC: Final = b"FLASHSIM"


@dataclass(frozen=True)
class Snapshot:
    """A flash at one moment; `restore` it into any flash of the same geometry, as often as wanted."""

    geometry: tuple[int, int]
    seed: int
    sectors: tuple[bytearray | None, ...]
    wear: tuple[int, ...]
    counts: tuple[int, int, int, int]
    unsynced: tuple[Change, ...]


class Flash:
    """`size` bytes in sectors of `sector_bytes`, programmed in multiples of `granularity` bytes.

    `encrypted` (or `encrypt`, for a part of it) is flash behind transparent encryption: units of 16 bytes,
    erased space reads as noise, and a unit that is programmed twice without an erase becomes noise and is
    counted in `spoiled_units`. ValueError for sizes that do not fit.

    `operations` counts programs and erases, `reads` reads, `programmed_bytes` what was programmed, `wear` the
    erases of each sector. `on_busy(us)` is told how long the chip takes; `on_cut()` that the power is gone: it
    must not return. Without it a cut raises PowerCut.
    """

    def __init__(
        self,
        size: int = FLASH_BYTES,
        sector_bytes: int = SECTOR_BYTES,
        granularity: int = 1,
        encrypted: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        _check_geometry(size, sector_bytes, granularity)
        self.size = size
        self.sector_bytes = sector_bytes
        self.count = size // sector_bytes
        self.granularity = granularity
        self.program_page_us = PROGRAM_PAGE_US
        self.erase_us = ERASE_US
        self.on_busy: Callable[[int], None] | None = None
        self.on_cut: Callable[[], object] | None = None
        self._seed = (rng or random.Random(0)).getrandbits(64)
        self._encrypted = bytearray(self.count)
        self._noise: dict[int, bytes] = {}
        self._erased = b"\xff" * sector_bytes
        self._sectors: list[bytearray | None] = [None] * self.count
        self._shared = bytearray(self.count)  # a snapshot holds the sector's bytes too
        self._fast = bytearray(self.count)  # the sector may be programmed with no more ado
        self.wear = [0] * self.count
        self.operations = self.reads = self.programmed_bytes = self.spoiled_units = 0
        self.endurance_cycles: int | None = None
        self.worn_kind = ERASE_ERROR
        self._unsynced = Unsynced(0)
        self._busy: tuple[int, bytes | None, tuple[Change, ...]] | None = None  # offset, data, how to undo it
        self._rotted = 0
        self.clear_faults()
        if encrypted:
            self.encrypt(0, size)

    def encrypt(self, offset: int, size: int) -> None:
        """Put a range of whole sectors, still erased, behind encryption. ValueError for any other range."""
        sectors = range(offset // self.sector_bytes, (offset + size) // self.sector_bytes)
        if offset % self.sector_bytes or size % self.sector_bytes or not 0 <= offset <= self.size - size:
            raise ValueError(f"encryption covers whole sectors, not {size} bytes at {offset:#x}")
        if any(self._sectors[sector] is not None for sector in sectors):
            raise ValueError("only erased sectors can be put behind encryption")
        for sector in sectors:
            self._encrypted[sector] = 1

    # reading

    def read(self, offset: int, n: int) -> bytes:
        """`n` bytes at `offset`. OSError: EINVAL beyond the end, EIO where a fault wants it."""
        if offset < 0 or n < 0 or offset + n > self.size:
            raise OSError(errno.EINVAL, f"flash: {n} bytes at {offset:#x} end beyond {self.size:#x}")
        self.reads += 1
        if self._reads_watched:
            self._watch_read(offset, n)
        sector_bytes = self.sector_bytes
        start = offset % sector_bytes
        if start + n > sector_bytes or not n:
            return self.peek(offset, n)
        cells = self._sectors[offset // sector_bytes]
        if cells is None:
            return self._blank(offset // sector_bytes)[start : start + n]
        return bytes(cells[start : start + n])

    def peek(self, offset: int, n: int) -> bytes:
        """As `read`, for the host: no fault, no count, and nothing beyond the end."""
        parts = []
        end = min(offset + n, self.size)
        while offset < end:
            sector, start = divmod(offset, self.sector_bytes)
            stop = min(self.sector_bytes, start + end - offset)
            parts.append(self._content(sector)[start:stop])
            offset += stop - start
        return b"".join(parts)

    def _watch_read(self, offset: int, n: int) -> None:
        if self.reads in self._failing_reads:
            raise OSError(errno.EIO, f"flash: read {self.reads} fails")
        for sector, start, data in self._pieces(offset, bytes(n)):
            if self._bad.get(sector) == READ_ERROR:
                raise OSError(errno.EIO, f"flash: sector {sector} cannot be read")
            self._unsynced.settle((sector, start, data, None))

    def _blank(self, sector: int) -> bytes:
        """What the sector reads as when it is erased."""
        if not self._encrypted[sector]:
            return self._erased
        noise = self._noise.get(sector)
        if noise is None:
            noise = self._noise[sector] = self._rng("blank", sector).randbytes(self.sector_bytes)
        return noise

    def _content(self, sector: int) -> bytes | bytearray:
        cells = self._sectors[sector]
        return self._blank(sector) if cells is None else cells

    # programming

    def program(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Clear the bits at `offset` that are 0 in `data`; takes 1 ms for each page of 256 bytes it touches.

        ValueError when offset or length are no multiples of the granularity. OSError: EINVAL beyond the end,
        EIO where a fault wants it.
        """
        n = len(data)
        sector = offset // self.sector_bytes
        start = offset % self.sector_bytes
        end = start + n
        if (
            self.operations + 1 >= self._watch
            or offset < 0
            or end > self.sector_bytes
            or offset >= self.size
            or not self._fast[sector]
        ):
            self._program_with_care(offset, bytes(data))
            return
        self.operations += 1
        self.programmed_bytes += n
        cells = self._sectors[sector]
        assert cells is not None
        before = cells[start:end]
        both = _from_bytes(before, "little") & _from_bytes(data, "little")
        cells[start:end] = both.to_bytes(n, "little")
        if self.on_busy is not None:
            self._take_program_time(offset, bytes(data), ((sector, start, bytes(data), before),))

    def _program_with_care(self, offset: int, data: bytes) -> None:
        if offset < 0 or offset + len(data) > self.size:
            raise OSError(errno.EINVAL, f"flash: {len(data)} bytes at {offset:#x} end beyond {self.size:#x}")
        pieces = list(self._pieces(offset, data))
        for sector, start, piece in pieces:
            unit = max(self.granularity, UNIT_BYTES if self._encrypted[sector] else 1)
            if start % unit or len(piece) % unit:
                raise ValueError(f"flash: {len(data)} bytes at {offset:#x} are not whole units of {unit}")
        cut = self._begin_operation()
        if cut is not None:
            self._tear_program(pieces, cut)
            self._cut_now()
        changes = []
        for sector, start, piece in pieces:
            bad = self._bad.get(sector)
            if bad == PROGRAM_ERROR:
                raise OSError(errno.EIO, f"flash: sector {sector} cannot be programmed")
            if bad != PROGRAM_NOOP:
                changes.append(self._put(sector, start, piece))
        self.programmed_bytes += len(data)
        self._take_program_time(offset, data, tuple(changes))

    def _take_program_time(self, offset: int, data: bytes, changes: tuple[Change, ...]) -> None:
        if self.on_busy is not None:
            pages = (offset % PAGE_BYTES + len(data) + PAGE_BYTES - 1) // PAGE_BYTES
            self._take_time(offset, data, changes, pages * self.program_page_us)

    def _take_time(self, offset: int, data: bytes | None, changes: tuple[Change, ...], us: int) -> None:
        """The chip is busy: a power cut in that time tears the operation."""
        if self.on_busy is not None:
            self._busy = (offset, data, changes)
            self.on_busy(us)
            self._busy = None

    def _pieces(self, offset: int, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """`data` by sectors: (sector, start in it, its bytes)."""
        at = 0
        while at < len(data):
            sector, start = divmod(offset + at, self.sector_bytes)
            piece = data[at : at + self.sector_bytes - start]
            yield sector, start, piece
            at += len(piece)

    def _own(self, sector: int) -> bytearray:
        """The sector's bytes, to be changed."""
        cells = self._sectors[sector]
        if cells is None or self._shared[sector]:
            cells = self._sectors[sector] = bytearray(self._content(sector))
            self._shared[sector] = 0
        self._fast[sector] = self.granularity == 1 and not self._encrypted[sector] and sector not in self._bad
        return cells

    def _put(self, sector: int, start: int, data: bytes) -> Change:
        """Program within one sector."""
        cells = self._own(sector)
        change = (sector, start, data, bytes(cells[start : start + len(data)]))
        if self._encrypted[sector]:
            self._put_units(sector, start, data, [WRITTEN] * (len(data) // UNIT_BYTES))
        else:
            n = len(data)
            both = _from_bytes(cells[start : start + n], "little") & _from_bytes(data, "little")
            cells[start : start + n] = both.to_bytes(n, "little")
        if self._unsynced.limit:
            self._unsynced.add(change)
        return change

    def _put_units(self, sector: int, start: int, data: bytes, fates: list[int]) -> None:
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

    # erasing

    def erase(self, sector: int) -> None:
        """Set all bits of `sector`; takes 45 ms. OSError: EINVAL beyond the end, EIO where a fault wants it."""
        if not 0 <= sector < self.count:
            raise OSError(errno.EINVAL, f"flash: no sector {sector} of {self.count}")
        cut = self._begin_operation()
        if cut is not None:
            self._tear_erase(sector, cut)
            self._cut_now()
        bad = self._bad.get(sector)
        if bad == ERASE_ERROR:
            raise OSError(errno.EIO, f"flash: sector {sector} cannot be erased")
        changes: tuple[Change, ...] = ()
        if bad != ERASE_NOOP:
            changes = (self._clear(sector),)
        self._take_time(sector * self.sector_bytes, None, changes, self.erase_us)

    def _clear(self, sector: int) -> Change:
        change = (sector, 0, None, self._sectors[sector])
        self._set_cells(sector, None)
        self._wear_out(sector)
        if self._unsynced.limit:
            self._unsynced.add(change)
        return change

    def _set_cells(self, sector: int, cells: bytearray | None) -> None:
        """Bytes of which somebody else may hold a reference."""
        self._sectors[sector] = cells
        self._shared[sector] = 1
        self._fast[sector] = 0

    def _wear_out(self, sector: int) -> None:
        self.wear[sector] += 1
        if self.endurance_cycles is not None and self.wear[sector] >= self.endurance_cycles:
            self.spoil(sector, self.worn_kind)

    def sync(self) -> None:
        """Wait until everything is complete, as `ioctl(3)` does."""
        self._unsynced.changes.clear()
        self._busy = None

    # faults

    def clear_faults(self) -> None:
        """No planned cut or error, no bad sector, and operations that complete in their order."""
        self._cut: Cut | None = None
        self._failing: set[int] = set()
        self._failing_reads: set[int] = set()
        self._bad: dict[int, str] = {}
        self.reorder(0)

    def cut_at(
        self,
        operation: int,
        program: str = "bits",
        erase: str = "mixture",
        prefix_bytes: int | None = None,
        salt: int = 0,
    ) -> None:
        """Cut the power during that operation, counted as `operations` does; see `Cut`. One cut at a time."""
        self._cut = Cut(operation, program, erase, prefix_bytes, salt)
        self._look()

    def fail_at(self, operation: int) -> None:
        """That program or erase does nothing but raise OSError(EIO)."""
        self._failing.add(operation)
        self._look()

    def fail_read_at(self, read: int) -> None:
        """That read, counted as `reads` does, raises OSError(EIO)."""
        self._failing_reads.add(read)
        self._look()

    def spoil(self, sector: int, kind: str | None) -> None:
        """Make a sector bad in one of BAD_KINDS, or good again (None). ValueError for any other kind."""
        if kind is None:
            self._bad.pop(sector, None)
        elif kind in BAD_KINDS:
            self._bad[sector] = kind
        else:
            raise ValueError(f"a sector is bad in one of {BAD_KINDS}, not {kind!r}")
        self._fast[sector] = 0
        self._look()

    def reorder(self, limit: int) -> None:
        """From now on each of the last `limit` operations may be undone at a cut, unless synced or read back."""
        self._unsynced = Unsynced(limit)
        self._look()

    def _look(self) -> None:
        """Where the next operation or read lies that needs more than the short way."""
        planned = [n for n in self._failing if n > self.operations]
        if self._cut is not None and self._cut.operation > self.operations:
            planned.append(self._cut.operation)
        self._watch = 0 if self._unsynced.limit else min(planned, default=_NEVER)
        self._reads_watched = bool(
            self._unsynced.limit or self._failing_reads or READ_ERROR in self._bad.values()
        )

    def _begin_operation(self) -> Cut | None:
        """Count it; the cut that is planned for it, if any."""
        self.operations += 1
        if self.operations < self._watch:
            return None
        cut, failing = self._cut, self.operations in self._failing
        self._look()
        if cut is not None and cut.operation == self.operations:
            self._cut = None
            return cut
        if failing:
            raise OSError(errno.EIO, f"flash: operation {self.operations} fails")
        return None

    def _cut_now(self) -> None:
        self.lose_power()
        if self.on_cut is None:
            raise PowerCut(f"power cut in flash operation {self.operations}")
        self.on_cut()
        raise AssertionError("on_cut returned: firmware would run without power")
