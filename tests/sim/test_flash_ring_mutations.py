"""The check of `flash_history.py` is worth something: it catches each of these mistakes in the ring."""

from __future__ import annotations

from itertools import chain

import pytest
from plexus_mp import flashring, ring
from plexus_mp.flashring import FlashRing
from plexus_mp.ring import HEADER_BYTES, Ring

from host_sim.board.flash import PowerCut
from tests.sim.flash_history import TEARS, cut, history, run_straight

SECTOR_BYTES = 512


class NoCommitCrc(FlashRing):
    """A commit counts without its CRC being looked at."""

    def read(self, seq, off, buf):
        before, ring.crc16 = ring.crc16, lambda crc, b, start, end: b[end] << 8 | b[end + 1]
        try:
            return super().read(seq, off, buf)
        finally:
            ring.crc16 = before


class NoMarkCrc(FlashRing):
    """A mark counts without its CRC being looked at."""

    def _read_mark(self, seq, off):
        super()._read_mark(seq, off)
        return self._mark[0] if 0xC0 <= self._mark[0] < 0xFF else 0


class NoHeaderCrc(FlashRing):
    """A header counts without its CRC being looked at."""

    def _header_seq(self, block):
        before, flashring.crc16 = flashring.crc16, lambda crc, b, start, end: b[end] | b[end + 1] << 8
        try:
            return super()._header_seq(block)
        finally:
            flashring.crc16 = before


class NoSettledMark(FlashRing):
    """What is settled stays in RAM until a header says it."""

    def settle(self, seq, off, points, partly):
        before, self._append_mark = self._append_mark, lambda *_: True
        try:
            super().settle(seq, off, points, partly)
        finally:
            self._append_mark = before


class SettledTooEarly(FlashRing):
    """The settled mark names a place one commit further."""

    def _append_mark(self, kind, a, b, c, flag=0):
        if kind == 0xC0:
            buf = memoryview(bytearray(len(self.page)))
            b = self.next_off if self.read(a, b, buf) else b
        return super()._append_mark(kind, a, b, c, flag)


class SettledPointsForgotten(FlashRing):
    """The settled mark does not tell how many points it is about."""

    def _append_mark(self, kind, a, b, c, flag=0):
        return super()._append_mark(kind, a, b, 0 if kind == 0xC0 else c, flag)


class NoDroppedMark(FlashRing):
    """A sector is erased without a word about what it held."""

    def _drop(self, seq, block):
        Ring._drop(self, seq, block)
        self._partly = 0


class DroppedMarkAfterErase(NoDroppedMark):
    """The dropped mark follows the erase of the sector that it gives up."""

    def _write_header(self, seq, block):
        if seq - self._count >= 1:
            self._write_mark(self._place(0), 0xC1, self.tail_seq, self.dropped, 0)
        super()._write_header(seq, block)


class OneDroppedPlace(FlashRing):
    """A torn dropped mark is programmed over."""

    def _drop(self, seq, block):
        Ring._drop(self, seq, block)
        self._partly = 0
        self._write_mark(self._place(0), 0xC1, self.tail_seq, self.dropped, 0)


class TornIsContinued(FlashRing):
    """The newest sector is written on behind what a cut tore."""

    def _scan_head(self):
        super()._scan_head()
        self._torn = False


class SequenceNotCompared(FlashRing):
    """The last block that holds a sector is taken for the newest."""

    def _mount(self):
        super()._mount()
        last = max((block for block in range(self._count) if self._header_seq(block)), default=None)
        if last is not None and self._header_seq(last) != self.head_seq:
            self.head_seq, self.left, self.tail_seq = self._header_seq(last), 0, 1
            self._settled_seq, self._settled_off = 1, HEADER_BYTES
            self._take_header()
            self._scan_head()
            self._take_dropped()
            self._count_left()


class ClosedTellsTheRest(FlashRing):
    """The closed mark leaves out what is settled already, which the settled mark counts too."""

    def _close(self):
        settled, self._settled_points = self._settled_points, 0
        try:
            super()._close()
        finally:
            self._settled_points = settled


class DroppedNotMounted(FlashRing):
    """Mounting does not look for dropped marks."""

    def _take_dropped(self):
        pass


MUTATIONS = [
    NoCommitCrc,
    NoMarkCrc,
    NoHeaderCrc,
    NoSettledMark,
    SettledTooEarly,
    SettledPointsForgotten,
    NoDroppedMark,
    DroppedMarkAfterErase,
    OneDroppedPlace,
    TornIsContinued,
    SequenceNotCompared,
    ClosedTellsTheRest,
    DroppedNotMounted,
]


def _violation(ring_class, appends=500):
    """What the first cut that the ring does not survive leads to, or None.

    From both ends: first readings settle, at last they drop.
    """
    try:
        straight = run_straight(history(appends), SECTOR_BYTES, ring_class)
        segments = straight.segments
        for segment in chain(*zip(reversed(segments), segments, strict=True)):
            for operation in range(segment[2] + 1, segment[3] + 1):
                _cut_in_all_ways(straight, segment, operation, ring_class)
    except Exception as wrong:  # a count that does not fit, or whatever reading nonsense comes to
        assert not isinstance(wrong, PowerCut)
        return wrong
    return None


def _cut_in_all_ways(straight, segment, operation, ring_class):
    for tear in TEARS:
        cut(straight, segment, operation, tear, None, ring_class)
    for again_after in (1, 2, 3):
        for tear in TEARS[1:3]:
            cut(straight, segment, operation, tear, again_after, ring_class, settle_first=2)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mistake_is_caught(mutation):
    assert _violation(mutation) is not None


def test_the_ring_as_it_is_passes():
    assert _violation(FlashRing, 60) is None
