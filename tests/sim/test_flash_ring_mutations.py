"""The check of `flash_history.py` is worth something: it catches each of these mistakes in the ring."""

from __future__ import annotations

from itertools import chain

import pytest
from plexus_mp import log as log_module
from plexus_mp import mount as mount_module
from plexus_mp.log import HEADER_BYTES
from plexus_mp.ring import Ring

from host_sim.board.flash import PowerCut
from tests.sim.flash_history import (
    COUNT,
    ESP32,
    FILES,
    TEARS,
    Player,
    crc_in_c,
    cut,
    history,
    run_straight,
)
from tests.sim.flash_stores import original_names


class _AnyCrc:
    """Within it every CRC is right."""

    def __enter__(self):
        self._before = log_module.sealed
        log_module.sealed = lambda *_: True

    def __exit__(self, *_):
        log_module.sealed = self._before


class NoCrc(Ring):
    """A commit or mark counts without its CRC being looked at."""

    def _parse(self, seq, off, end):
        with _AnyCrc():
            return super()._parse(seq, off, end)


class NoHeaderCrc(Ring):
    """A header counts without its CRC being looked at."""

    def read_header(self, block, copies=2):
        with _AnyCrc():
            return super().read_header(block, copies)


class OneHeader(Ring):
    """The second copy of a header is never read."""

    def read_header(self, block, copies=2):
        return super().read_header(block, 1)


class NoSettledMark(Ring):
    """What is settled stays in RAM until a header says it."""

    def _mark_settled(self, seq, off):
        pass


class SettledMarkNotRead(Ring):
    """Mounting passes settled marks over."""

    def _parse(self, seq, off, end):
        before = self.settled_seq, self.settled_off, self.settled_points
        n = super()._parse(seq, off, end)
        self.settled_seq, self.settled_off, self.settled_points = before
        return n


class SettledTooFar(Ring):
    """The settled mark names a place one commit further."""

    def _mark_settled(self, seq, off):
        super()._mark_settled(seq, self.next_off if self.read(seq, off) else off)


class SettledPointsForgotten(Ring):
    """The settled mark does not tell how many points it is about."""

    def _mark_settled(self, seq, off):
        before, self.settled_points = self.settled_points, 0
        try:
            super()._mark_settled(seq, off)
        finally:
            self.settled_points = before


class ErasedBeforeGivenUp(Ring):
    """A header gives up the sector that lay where it lies now: the next one is erased ahead while it counts."""

    def _drop_before(self, tail):
        super()._drop_before(tail - 1)


class DropNotCounted(Ring):
    """What an overflow drops is gone without a word."""

    def _drop_before(self, tail):
        before = self.dropped
        super()._drop_before(tail)
        self.dropped = before


class TornIsContinued(Ring):
    """The newest sector is written on behind what a cut tore."""

    torn = property(lambda self: False, lambda self, value: None)


class PointsWithoutSettled(Ring):
    """A header tells the points of the sector before without those that are settled already."""

    def _put_header(self, seq):
        before = self.settled_points
        if self.head_seq == self.settled_seq:
            self._points[self.head_seq % self.sectors] -= before
        try:
            super()._put_header(seq)
        finally:
            if self.head_seq == self.settled_seq:
                self._points[self.head_seq % self.sectors] += before


class EndTooEarly(Ring):
    """A header tells an end of the sector before that lies in front of its last commit."""

    def _put_header(self, seq):
        self.head_off -= 20
        try:
            super()._put_header(seq)
        finally:
            self.head_off += 20


class SequenceNotCompared(Ring):
    """The last block that holds a sector is taken for the newest."""

    @staticmethod
    def mount(ring):
        before = mount_module._take_head

        def take_last(ring, head, counts):
            heads = [seq for block in range(COUNT) if (seq := ring.read_header(block))]
            before(ring, heads[-1], counts)

        mount_module._take_head = take_last
        try:
            mount_module.mount(ring)
        finally:
            mount_module._take_head = before


class SyncInRamOnly(Ring):
    """What time it was when a boot began is not written down."""

    def tell(self):
        self.untold = False


class BootsNotLookedFor(Ring):
    """The number of a boot follows that in the newest header, whatever the commits behind it tell."""

    @staticmethod
    def mount(ring):
        before = mount_module.count_points
        mount_module.count_points = lambda *sector: (before(*sector)[0], 0, before(*sector)[2])
        try:
            mount_module.mount(ring)
        finally:
            mount_module.count_points = before


class SettledFilesStay(Ring):
    """Files that are done with are not removed."""

    def _release(self, before, seq):
        pass


MUTATIONS = [
    (NoCrc, ESP32),
    (NoHeaderCrc, ESP32),
    (OneHeader, ESP32),
    (NoSettledMark, ESP32),
    (SettledMarkNotRead, ESP32),
    (SettledTooFar, ESP32),
    (SettledPointsForgotten, ESP32),
    (ErasedBeforeGivenUp, ESP32),
    (DropNotCounted, ESP32),
    (TornIsContinued, ESP32),
    (PointsWithoutSettled, ESP32),
    (EndTooEarly, ESP32),
    (SequenceNotCompared, ESP32),
    (SyncInRamOnly, ESP32),
    (BootsNotLookedFor, ESP32),
    (SettledFilesStay, FILES[0]),
]


def _violation(ring_class, geometry, appends=400):
    """What the first cut that the ring does not survive leads to, or None.

    From both ends: first readings settle, at last they drop.
    """
    try:
        straight = run_straight(history(appends), geometry, ring_class)
        if geometry.kind == "nor":
            _flip_headers(straight, ring_class)
        segments = straight.segments
        for segment in chain(*zip(reversed(segments), segments, strict=True)):
            for operation in range(segment[2] + 1, segment[3] + 1):
                _cut_in_all_ways(straight, segment, operation, ring_class)
    except Exception as wrong:  # a count that does not fit, or whatever reading nonsense comes to
        assert not isinstance(wrong, PowerCut)
        return wrong
    return None


def _flip_headers(straight, ring_class):
    """A flipped bit in a header costs nothing: it is there twice."""
    snapshot, truth, _, _, _ = straight.segments[-1]
    store = straight.store
    for sector in range(COUNT):
        store.restore(snapshot)
        store.flip(sector * store.sector_bytes + sector % HEADER_BYTES, sector)
        Player(store, truth.copy(), ring_class).check()


def _cut_in_all_ways(straight, segment, operation, ring_class):
    for tear in TEARS:
        cut(straight, segment, operation, tear, None, ring_class)
    for again_after in (1, 2, 3):
        for tear in TEARS[1:3]:
            cut(straight, segment, operation, tear, again_after, ring_class, settle_first=2)


@pytest.fixture(autouse=True)
def files_of_its_own():
    restore = original_names()
    with crc_in_c():
        yield
    restore()


@pytest.mark.parametrize(("mutation", "geometry"), MUTATIONS, ids=lambda case: getattr(case, "__name__", ""))
def test_a_mistake_is_caught(mutation, geometry):
    assert _violation(mutation, geometry) is not None


@pytest.mark.parametrize("geometry", (ESP32, FILES[0]), ids=lambda geometry: geometry.name)
def test_the_ring_as_it_is_passes(geometry):
    assert _violation(Ring, geometry, 60) is None
