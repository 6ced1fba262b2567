"""A history of appends and settlements on a ring, cut at any operation of what it lies on; and the check after it."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from plexus_mp import crc as crc_module
from plexus_mp import times
from plexus_mp.log import PAYLOAD_AT
from plexus_mp.mount import mount
from plexus_mp.ring import Ring

from host_sim.board.flash import PowerCut
from host_sim.vms import shortcuts
from tests.sim.flash_stores import Store, make_store

PAGE_BYTES = 100
COUNT = 8
# A remount now and then: so that a cut can be replayed from there.
SEGMENT = 4
UNIX_MS = 1_800_000_000_000


@dataclass(frozen=True)
class Geometry:
    """What a ring lies on: "nor", "ram", or files: "memory" is a quick model of littlefs, "littlefs" the real one."""

    name: str
    align: int = 1
    sector_bytes: int = 512
    encrypted: bool = False
    kind: str = "nor"

    @property
    def files(self) -> bool:
        return self.kind in ("memory", "littlefs")

    @property
    def lazy(self) -> bool:
        """What is settled is not always on flash at once: up to a sector of it may come again."""
        return self.align > 32 or self.files

    def store(self) -> Store:
        return make_store(self.kind, COUNT, self.sector_bytes, self.align, self.encrypted)


ESP32 = Geometry("align 1")
PARTITIONS = (
    ESP32,
    Geometry("align 16", 16),
    Geometry("align 16 encrypted", 16, encrypted=True),
    Geometry("align 32", 32),
    Geometry("align 256", 256, 2048),
)
FILES = (Geometry("files in memory", kind="memory"), Geometry("files on littlefs", kind="littlefs"))


def with_sectors(geometry: Geometry, sector_bytes: int) -> Geometry:
    return replace(geometry, sector_bytes=max(sector_bytes, geometry.sector_bytes))


def single(value: float) -> float:
    """`value` as a single-precision board has it."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


@contextmanager
def crc_in_c() -> Iterator[None]:
    """The CRC as the `cpython` VM computes it: a sweep does little else."""
    original = crc_module.crc24
    shortcuts.take(crc_module.__name__, crc_module)
    try:
        yield
    finally:
        crc_module.crc24 = original


@dataclass
class Truth:
    """What has happened: records whose append returned, how many of them were settled, syncs that returned."""

    accepted: list[bytes] = field(default_factory=list)
    settled: int = 0
    marked: int = 0  # how many of the settled are so on flash for sure
    syncs: dict[int, int] = field(default_factory=dict)
    syncing: tuple[int, int] | None = None  # boot and time of one that has not returned
    in_flight: bytes | None = None  # an append that has not returned
    settling: int = 0  # how many a settlement that has not returned is about
    sector: int = 0  # in which records were settled last, and how many of it
    of_sector: int = 0

    def copy(self) -> Truth:
        return replace(self, accepted=self.accepted[:], syncs=dict(self.syncs))


def record(number: int, boot: int, filler: str) -> bytes:
    """A keyframe with one text: what the library's own encoder might write."""
    text = b'"%06d %s"' % (number, filler.encode())
    head = struct.pack("<BBBIH", 31, boot & 127 | 128, boot >> 7, number, 0)
    series = struct.pack("<BBBHH", 0xD0, 0, 0, 3, 0) + b'"m"'
    return head + series + struct.pack("<BH", 0x70, len(text)) + text


def boot_of(payload: bytes) -> int:
    return payload[1] & 127 | payload[2] << 7


class Player:
    """Plays steps on a ring that it mounts, and keeps the truth."""

    def __init__(self, store: Store, truth: Truth, ring_class: Any = Ring) -> None:
        self.truth = truth
        self.store = store
        self.ring = ring_class(store.open(), PAGE_BYTES, store.align, store.noise)
        if not self.ring.volatile:
            getattr(ring_class, "mount", mount)(self.ring)
        self._mounted = True  # and nothing was done since

    def step(self, step: tuple[str, Any]) -> None:
        kind, value = step
        self._mounted = False
        if kind == "append":
            self.append(record(value[0], self.ring.boot, value[1]))
        elif kind == "settle":
            self.settle(value)
        elif kind == "sync":
            self.sync(value)
        elif kind == "begin":
            before = self.ring.head_seq
            times.begin(self.ring, value)
            if self.ring.head_seq != before:
                self._turned()
        else:
            self.ring.prepare()

    def append(self, payload: bytes) -> None:
        ring, truth = self.ring, self.truth
        truth.in_flight = payload
        if ring.room() < len(payload):
            ring.turn()
            self._turned()
        ring.page[PAYLOAD_AT : PAYLOAD_AT + len(payload)] = payload
        ring.append(len(payload), 1)
        truth.accepted.append(payload)
        truth.in_flight = None

    def _turned(self) -> None:
        """The header of the new sector tells what is settled; that of a file comes with its commit."""
        if not self.ring.write_once:
            self.truth.marked = self.truth.settled

    def sync(self, unix_ms: int) -> None:
        ring = self.ring
        before = ring.head_seq
        self.truth.syncing = (ring.boot, unix_ms)
        ring.times[ring.boot] = [(0, unix_ms, 0, 0)]
        getattr(type(ring), "tell", times.tell)(ring)
        self.truth.syncs[ring.boot] = unix_ms
        self.truth.syncing = None
        if ring.head_seq != before:
            self._turned()

    def settle(self, limit: int) -> None:
        """Settle up to `limit` of the oldest records, which lie in one sector."""
        ring, truth = self.ring, self.truth
        seq = off = count = 0
        for other_seq, other_off, _ in self.places():
            if count == limit or (count and other_seq != seq):
                break
            seq, off, count = other_seq, other_off, count + 1
        if not count:
            return
        before = (ring.head_seq, ring.head_off)
        truth.settling = count
        earlier = ring.settled_points if ring.settled_seq == seq else 0
        ring.settle(seq, off, count, 0, earlier + count)
        truth.settled += count
        truth.settling = 0
        truth.of_sector = count if seq != truth.sector else truth.of_sector + count
        truth.sector = seq
        self._settled((ring.head_seq, ring.head_off) != before)

    def _settled(self, told: bool) -> None:
        ring, truth = self.ring, self.truth
        if ring.write_once:
            truth.marked = truth.settled - truth.of_sector
        elif told:
            truth.marked = truth.settled
        elif not ring.volatile and self.store.align <= 32:
            oldest = ring.head_seq + 2 - COUNT
            full = oldest >= ring.tail_seq and ring._points[oldest % COUNT]
            assert full, "settled, and nothing on flash says so"

    def places(self) -> Iterator[tuple[int, int, bytes]]:
        """(sector, offset behind it, record) of every unsettled record, oldest first."""
        ring = self.ring
        settled = (ring.settled_seq, ring.settled_off)
        # From the beginning of the sector, as the library does: what lies there explains what follows.
        seq, off = ring.settled_seq, ring.first
        while seq <= ring.head_seq:
            start = off
            n = ring.read(seq, off)
            if n:
                off = ring.next_off
                if (seq, start) >= settled:
                    yield seq, off, bytes(ring.buf[ring.at : ring.at + n])
            else:
                seq, off = seq + 1, ring.first

    def records(self) -> list[bytes]:
        return [payload for _, _, payload in self.places()]

    def check(self) -> None:
        """Every accepted record that is neither settled nor counted as dropped is there, and nothing else."""
        truth, ring = self.truth, self.ring
        found = self.records()
        assert ring.left == len(found), (ring.left, len(found))
        if truth.in_flight is not None and found[-1:] == [truth.in_flight]:
            truth.accepted.append(truth.in_flight)  # what was in doubt is now one or the other
        gone = len(truth.accepted) - len(found)
        assert found == truth.accepted[gone:], (len(found), len(truth.accepted))
        settled = gone - ring.dropped
        least = truth.marked if self._mounted else truth.settled
        assert least <= settled <= truth.settled + truth.settling, (settled, least, truth.settled)
        self._check_boots(found)
        if self._mounted:
            truth.settled = truth.marked = settled
            truth.in_flight, truth.settling, truth.of_sector = None, 0, 0

    def _check_boots(self, found: list[bytes]) -> None:
        boots = {boot_of(payload) for payload in found} - {self.ring.boot}
        assert max(boots, default=0) < self.ring.boot, (boots, self.ring.boot)
        for boot in boots & set(self.truth.syncs):
            told = self.ring.times.get(boot)
            if told is not None and (boot, told[0][1]) == self.truth.syncing:
                self.truth.syncs[boot] = told[0][1]  # what was in doubt is now so
            assert told == [(0, self.truth.syncs[boot], 0, 0)], (boot, self.ring.times)
        if self._mounted:
            self.truth.syncing = None


def history(appends: int, seed: int = 1) -> list[tuple[str, Any]]:
    """Steps with `appends` appends; settling keeps up for a while, then falls behind until readings drop."""
    rng = random.Random(seed)
    steps: list[tuple[str, Any]] = []
    for i in range(appends):
        steps.append(("append", (i, rng.randbytes(rng.randrange(1, 20)).hex())))
        lazy = i // 300 % 2
        if rng.random() < (0.02 if lazy else 0.25):
            steps.append(("settle", rng.randrange(1, 9)))
        if rng.random() < 0.3:
            steps.append(("prepare", None))
        if rng.random() < 0.02:
            steps.append(("sync", UNIX_MS + 1000 * i))
        if rng.random() < 0.02:
            steps.append(("begin", i))
    return steps


@dataclass
class Straight:
    """The undisturbed run: a snapshot and the truth at the start of each segment, and its range of operations."""

    store: Store
    segments: list[tuple[Any, ...]]

    @property
    def operations(self) -> int:
        return sum(segment[3] - segment[2] for segment in self.segments)


def run_straight(steps: list[tuple[str, Any]], geometry: Geometry, ring_class: Any = Ring) -> Straight:
    store = geometry.store()
    truth = Truth()
    segments = []
    for start in range(0, len(steps), SEGMENT):
        part = steps[start : start + SEGMENT]
        before = (store.snapshot(), store.operations)
        player = Player(store, truth, ring_class)
        if start:
            player.check()
        known = truth.copy()
        for step in part:
            player.step(step)
        segments.append((before[0], known, before[1], store.operations, part))
    Player(store, truth, ring_class).check()
    return Straight(store, segments)


PROGRAM_TEARS = ("none", "prefix", "bits", "all")
ERASE_TEARS = ("none", "mixture", "all", "mixture")
TEARS = tuple(zip(PROGRAM_TEARS, ERASE_TEARS, strict=True))


def cut(
    straight: Straight,
    segment: tuple[Any, ...],
    operation: int,
    tear: tuple[str, str],
    again_after: int | None = None,
    ring_class: Any = Ring,
    settle_first: int = 0,
) -> bool:
    """Cut the power during `operation` of a segment, and again `again_after` operations into what follows.

    That begins with settling `settle_first` records: what is marked then differs from what the first cut tore.
    True when the second cut struck.
    """
    snapshot, truth, _, _, part = segment
    store = straight.store
    store.restore(snapshot)
    store.cut_at(operation, *tear)
    truth = truth.copy()
    try:
        player = Player(store, truth, ring_class)
        for step in part:
            player.step(step)
        raise AssertionError("the cut never came")
    except PowerCut:
        store.clear_faults()
    if again_after is not None:
        store.cut_at(store.operations + again_after, *tear)
    first = [("settle", settle_first)] if settle_first else []
    struck = _recover(store, truth, [*first, *part], ring_class)
    store.clear_faults()
    Player(store, truth, ring_class).check()
    return struck


def _recover(store: Store, truth: Truth, part: list[tuple[str, Any]], ring_class: Any) -> bool:
    """Mount, check, go on as before: a second cut may strike anywhere in it."""
    try:
        player = Player(store, truth, ring_class)
        player.check()
        for step in part:
            player.step(step)
    except PowerCut:
        return True
    return False


SECOND_CUTS = 12


@dataclass
class Tried:
    """How many cuts a sweep made."""

    single: int = 0
    double: int = 0

    def __str__(self) -> str:
        return f"{self.single} cuts and {self.double} double cuts, 0 violations"


def sweep(straight: Straight, every: int = 1, second_every: int = 7) -> Iterator[Tried]:
    """Each `every`-th operation cut in every way; each `second_every`-th and again. AssertionError at a violation."""
    tried = Tried()
    for number, segment in enumerate(straight.segments):
        for operation in range(segment[2] + 1, segment[3] + 1):
            if (operation + number) % every == 0:
                for tear in TEARS:
                    cut(straight, segment, operation, tear)
                    tried.single += 1
            if (operation + number) % second_every == 0:
                tear = TEARS[operation // second_every % len(TEARS)]
                for again_after in range(1, SECOND_CUTS):
                    if not cut(straight, segment, operation, tear, again_after):
                        break
                    tried.double += 1
        yield tried
