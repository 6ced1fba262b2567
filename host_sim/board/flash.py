"""NOR flash: programming clears bits, erasing sets a sector, power may go in between.

Everything random is a function of the flash's seed and of the number of the operation it happens to, so a run
from a snapshot meets the same faults as the run that made it.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import Final

from .flash_cells import FLASH_BYTES, SECTOR_BYTES, Cells, Snapshot
from .flash_faults import (
    BAD_KINDS,
    ERASE_ERROR,
    ERASE_NOOP,
    ERASE_TEARS,
    PROGRAM_ERROR,
    PROGRAM_NOOP,
    PROGRAM_TEARS,
    READ_ERROR,
    Change,
    Cut,
    PowerCut,
    Unsynced,
    torn_bytes,
    torn_erase,
    torn_units,
)

PAGE_BYTES: Final = 256
# Winbond W25Q32JV datasheet, AC electrical characteristics: t_PP 0.4 ms typical and 3 ms at most, t_SE 45 ms
# typical and 400 ms at most. A page costs more than its t_PP by the transfer and the driver's polling.
PROGRAM_PAGE_US: Final = 1000
ERASE_US: Final = 45_000

_NEVER: Final = 1 << 62
_from_bytes = int.from_bytes


class Flash(Cells):
    """`size` bytes in sectors of `sector_bytes`, programmed in multiples of `granularity` bytes.

    `encrypted` (or `encrypt`, for a part of it) is flash behind transparent encryption: units of 16 bytes,
    erased space reads as noise, and a unit that is programmed twice without an erase becomes noise and is
    counted in `spoiled_units`. ValueError for sizes that do not fit.

    `operations` counts programs and erases, `reads` reads, `programmed_bytes` what was programmed, `wear` the
    erases of each sector; after `endurance_cycles` of them it goes bad in the way of `worn_kind`. `on_busy(us)`
    is told how long the chip takes; `on_cut()` that the power is gone: it must not return. Without it a cut
    raises PowerCut.
    """

    def __init__(
        self,
        size: int = FLASH_BYTES,
        sector_bytes: int = SECTOR_BYTES,
        granularity: int = 1,
        encrypted: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        super().__init__(size, sector_bytes, granularity, rng or random.Random(0))
        self.program_page_us = PROGRAM_PAGE_US
        self.erase_us = ERASE_US
        self.endurance_cycles: int | None = None
        self.worn_kind = ERASE_ERROR
        self.on_busy: Callable[[int], None] | None = None
        self.on_cut: Callable[[], object] | None = None
        self._busy: tuple[int, bytes | None, tuple[Change, ...]] | None = None  # offset, data, how to undo it
        self.clear_faults()
        if encrypted:
            self.encrypt(0, size)

    # operations

    def read(self, offset: int, n: int) -> bytes:
        """`n` bytes at `offset`. OSError: EINVAL beyond the end, EIO where a fault wants it."""
        sector_bytes = self.sector_bytes
        start = offset % sector_bytes
        if offset < 0 or n < 0 or offset + n > self.size:
            raise OSError(errno.EINVAL, f"flash: {n} bytes at {offset:#x} end beyond {self.size:#x}")
        self.reads += 1
        if self._reads_watched:
            self._watch_read(offset, n)
        if start + n > sector_bytes or not n:
            return self.peek(offset, n)
        cells = self._sectors[offset // sector_bytes]
        if cells is None:
            return self._blank(offset // sector_bytes)[start : start + n]
        return bytes(cells[start : start + n])

    def _watch_read(self, offset: int, n: int) -> None:
        if self.reads in self._failing_reads:
            raise OSError(errno.EIO, f"flash: read {self.reads} fails")
        for sector, start, length in self._spans(offset, n):
            if self._bad.get(sector) == READ_ERROR:
                raise OSError(errno.EIO, f"flash: sector {sector} cannot be read")
            self._unsynced.settle((sector, start, bytes(length), None))

    def program(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Clear the bits at `offset` that are 0 in `data`; takes 1 ms for each page of 256 bytes it touches.

        ValueError when offset or length are no multiples of the granularity. OSError: EINVAL beyond the end,
        EIO where a fault wants it.
        """
        n = len(data)
        sector_bytes = self.sector_bytes
        start = offset % sector_bytes
        end = start + n
        if self.operations + 1 >= self._watch or end > sector_bytes or not 0 <= offset < self.size:
            return self._program_with_care(offset, bytes(data))
        sector = offset // sector_bytes
        if not self._fast[sector]:
            return self._program_with_care(offset, bytes(data))
        self.operations += 1
        self.programmed_bytes += n
        cells = self._sectors[sector]
        assert cells is not None
        before = cells[start:end]
        both = _from_bytes(before, "little") & _from_bytes(data, "little")
        cells[start:end] = both.to_bytes(n, "little")
        if self.on_busy is not None:
            data = bytes(data)
            self._take_time(offset, data, ((sector, start, data, before),))

    def _program_with_care(self, offset: int, data: bytes) -> None:
        if offset < 0 or offset + len(data) > self.size:
            raise OSError(errno.EINVAL, f"flash: {len(data)} bytes at {offset:#x} end beyond {self.size:#x}")
        pieces = self._pieces(offset, data)
        for sector, start, piece in pieces:
            unit = self.unit_bytes(sector)
            if start % unit or len(piece) % unit:
                raise ValueError(f"flash: {len(data)} bytes at {offset:#x} are not whole units of {unit}")
        cut = self._begin_operation()
        if cut is not None:
            self._lose_unsynced(pieces if cut.program != "none" else [])
            self._tear_program(pieces, cut)
            self._cut_now()
        changes = []
        for sector, start, piece in pieces:
            bad = self._bad.get(sector)
            if bad == PROGRAM_ERROR:
                raise OSError(errno.EIO, f"flash: sector {sector} cannot be programmed")
            if bad != PROGRAM_NOOP:
                changes.append(self._noted((sector, start, piece, self._put(sector, start, piece))))
        self.programmed_bytes += len(data)
        self._take_time(offset, data, tuple(changes))

    def _pieces(self, offset: int, data: bytes) -> list[tuple[int, int, bytes]]:
        """`data` by sectors: (sector, start in it, its bytes)."""
        pieces = []
        at = 0
        for sector, start, length in self._spans(offset, len(data)):
            pieces.append((sector, start, data[at : at + length]))
            at += length
        return pieces

    def _noted(self, change: Change) -> Change:
        if self._unsynced.limit:
            self._unsynced.add(change)
        return change

    def erase(self, sector: int) -> None:
        """Set all bits of `sector`; takes 45 ms. OSError: EINVAL beyond the end, EIO where a fault wants it."""
        if not 0 <= sector < self.count:
            raise OSError(errno.EINVAL, f"flash: no sector {sector} of {self.count}")
        cut = self._begin_operation()
        if cut is not None:
            self._lose_unsynced([(sector, 0, self._erased)] if cut.erase != "none" else [])
            self._tear_erase(sector, cut)
            self._cut_now()
        bad = self._bad.get(sector)
        if bad == ERASE_ERROR:
            raise OSError(errno.EIO, f"flash: sector {sector} cannot be erased")
        changes: tuple[Change, ...] = ()
        if bad != ERASE_NOOP:
            changes = (self._noted((sector, 0, None, self._sectors[sector])),)
            self._set_cells(sector, None)
            self._wear_out(sector)
        self._take_time(sector * self.sector_bytes, None, changes)

    def _wear_out(self, sector: int) -> None:
        self.wear[sector] += 1
        if self.endurance_cycles is not None and self.wear[sector] >= self.endurance_cycles:
            self.spoil(sector, self.worn_kind)

    def sync(self) -> None:
        """Wait until everything is complete, as `ioctl(3)` does."""
        self._unsynced.changes.clear()
        self._busy = None

    def _take_time(self, offset: int, data: bytes | None, changes: tuple[Change, ...]) -> None:
        """The chip is busy: a power cut in that time tears the operation."""
        if self.on_busy is None:
            return
        if data is None:
            us = self.erase_us
        else:
            pages = (offset % PAGE_BYTES + len(data) + PAGE_BYTES - 1) // PAGE_BYTES
            us = pages * self.program_page_us
        self._busy = (offset, data, changes)
        self.on_busy(us)
        self._busy = None

    # faults

    def clear_faults(self) -> None:
        """No planned cut or error, no bad sector, and operations that complete in their order."""
        self._cut: Cut | None = None
        self._failing: set[int] = set()
        self._failing_reads: set[int] = set()
        self._bad.clear()
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

    def restore(self, snapshot: Snapshot) -> None:
        """Back to `snapshot`, seed included; planned cuts and errors stay. ValueError for one of another geometry."""
        super().restore(snapshot)
        self._busy = None
        self._look()

    def _look(self) -> None:
        """Find the next operation that may not take the short way."""
        planned = [n for n in self._failing if n > self.operations]
        if self._cut is not None and self._cut.operation > self.operations:
            planned.append(self._cut.operation)
        self._watch = 0 if self._unsynced.limit else min(planned, default=_NEVER)
        unreadable = self._failing_reads or READ_ERROR in self._bad.values()
        self._reads_watched = bool(unreadable or self._unsynced.limit)

    def _begin_operation(self) -> Cut | None:
        """Count it; the cut that is planned for it, if any."""
        self.operations += 1
        if self.operations < self._watch:
            return None
        cut = self._cut
        self._look()
        if cut is not None and cut.operation == self.operations:
            self._cut = None
            return cut
        if self.operations in self._failing:
            raise OSError(errno.EIO, f"flash: operation {self.operations} fails")
        return None

    # power

    def lose_power(self) -> None:
        """The supply is gone: an operation under way is torn, unsynced ones are complete or never were."""
        busy, self._busy = self._busy, None
        if busy is not None:
            self._undo(busy[2])
            self._unsynced.changes = [c for c in self._unsynced.changes if c not in busy[2]]
            self._lose_unsynced([(change[0], change[1], change[2] or self._erased) for change in busy[2]])
            self._tear_busy(busy[0], busy[1], bool(busy[2]))
        else:
            self._lose_unsynced([])

    def _cut_now(self) -> None:
        if self.on_cut is None:
            raise PowerCut(f"power cut in flash operation {self.operations}")
        self.on_cut()
        raise AssertionError("on_cut returned: firmware would run without power")

    def _lose_unsynced(self, begun: list[tuple[int, int, bytes]]) -> None:
        """What the operation that had `begun` lies on is complete."""
        for sector, start, data in begun:
            self._unsynced.settle((sector, start, data, None))
        if not self._unsynced.changes:
            return
        made = self._unsynced.survivors(self._rng("survivors", self.operations))
        self._undo(tuple(self._unsynced.changes))
        self._unsynced.changes.clear()
        for sector, start, new, _ in made:
            if new is None:
                self._set_cells(sector, None)
                self.wear[sector] += 1
            else:
                self._put(sector, start, new)

    def _undo(self, changes: tuple[Change, ...]) -> None:
        for sector, start, data, before in reversed(changes):
            if data is None:
                assert before is None or isinstance(before, bytearray)
                self._set_cells(sector, before)
                self.wear[sector] -= 1
            else:
                assert before is not None
                self._own(sector)[start : start + len(data)] = before

    def _tear_busy(self, offset: int, data: bytes | None, changed: bool) -> None:
        """Tear the operation under way, in a way that nobody planned."""
        rng = self._rng("tear", self.operations)
        cut = Cut(self.operations, rng.choice(PROGRAM_TEARS), rng.choice(ERASE_TEARS), None, 1)
        if not changed:
            return
        if data is None:
            self._tear_erase(offset // self.sector_bytes, cut)
        else:
            self._tear_program(self._pieces(offset, data), cut)

    def _tear_program(self, pieces: list[tuple[int, int, bytes]], cut: Cut) -> None:
        rng = self._rng(f"program {cut.salt}", cut.operation)
        left = cut.prefix_bytes
        if left is None:
            left = rng.randint(0, sum(len(piece) for _, _, piece in pieces))
        for sector, start, piece in pieces:
            done = min(left, len(piece))
            left -= done
            if self._bad.get(sector) in (PROGRAM_ERROR, PROGRAM_NOOP):
                continue
            if self._encrypted[sector]:
                fates = torn_units(len(piece), cut.program, done, rng)
                self._put_units(sector, start, piece, fates)
            else:
                self._put(sector, start, torn_bytes(piece, cut.program, done, rng))

    def _tear_erase(self, sector: int, cut: Cut) -> None:
        if cut.erase == "none" or self._bad.get(sector) in (ERASE_ERROR, ERASE_NOOP):
            return
        rng = self._rng(f"erase {cut.salt}", cut.operation)
        old, blank = bytes(self._content(sector)), self._blank(sector)
        self._set_cells(sector, None)
        self._wear_out(sector)
        if cut.erase == "mixture":
            self._own(sector)[:] = torn_erase(old, blank, bool(self._encrypted[sector]), rng)
