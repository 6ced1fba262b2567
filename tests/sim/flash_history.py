"""A history of appends and settlements on a ring in simulated flash, and the check after a power cut."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from plexus_mp.flashring import FlashRing
from plexus_mp.ring import HEADER_BYTES, PAYLOAD_AT

from host_sim.board.flash import Flash, PowerCut

PAGE_BYTES = 100
# A remount now and then: so that a cut can be replayed from there.
SEGMENT = 10


class Device:
    """The flash as the block device that a ring wants."""

    def __init__(self, flash: Flash) -> None:
        self._flash = flash

    def readblocks(self, n, buf, off=0):
        buf[:] = self._flash.read(n * self._flash.sector_bytes + off, len(buf))

    def writeblocks(self, n, buf, off=0):
        self._flash.program(n * self._flash.sector_bytes + off, bytes(buf))

    def ioctl(self, op, arg):
        if op == 4:
            return self._flash.size // self._flash.sector_bytes
        if op == 5:
            return self._flash.sector_bytes
        self._flash.erase(arg)
        return 0


@dataclass
class Truth:
    """What has happened: records whose append returned, how many of them were settled."""

    accepted: list[bytes] = field(default_factory=list)
    settled: int = 0
    in_flight: bytes | None = None  # an append that has not returned
    settling: int = 0  # how many a settlement that has not returned is about

    def copy(self) -> Truth:
        return Truth(self.accepted[:], self.settled, self.in_flight, self.settling)


class Player:
    """Plays steps on a ring that it mounts, and keeps the truth."""

    def __init__(self, flash: Flash, truth: Truth, ring_class=FlashRing) -> None:
        self.truth = truth
        self.ring = ring_class(Device(flash), PAGE_BYTES, lambda buf, at, n: 1)
        self._buf = memoryview(bytearray(PAGE_BYTES + 64))

    def step(self, step) -> None:
        kind, value = step
        if kind == "append":
            self.append(value)
        else:
            self.settle(value)

    def append(self, record: bytes) -> None:
        self.truth.in_flight = record
        ring = self.ring
        if ring.room() < len(record):
            ring.turn()
        ring.page[PAYLOAD_AT : PAYLOAD_AT + len(record)] = record
        ring.append(len(record), 1)
        self.truth.accepted.append(record)
        self.truth.in_flight = None

    def settle(self, limit: int) -> None:
        """Settle up to `limit` of the oldest records, which lie in one sector."""
        place = next(self._places(), None)
        if place is None:
            return
        seq, off = place[0], place[1]
        count = 0
        for other_seq, other_off, _ in self._places():
            if other_seq != seq or count == limit:
                break
            off, count = other_off, count + 1
        self.truth.settling = count
        self.ring.settle(seq, off, count, 0)
        self.truth.settled += count
        self.truth.settling = 0

    def _places(self):
        """(sector, offset behind it, record) of every unsettled record, oldest first."""
        ring = self.ring
        seq, off = ring.settled
        if seq < ring.tail_seq:
            seq, off = ring.tail_seq, HEADER_BYTES
        while seq <= ring.head_seq:
            n = ring.read(seq, off, self._buf)
            if n:
                off = ring.next_off
                yield seq, off, bytes(self._buf[ring.payload_at : ring.payload_at + n])
            else:
                seq, off = seq + 1, HEADER_BYTES

    def records(self) -> list[bytes]:
        return [record for _, _, record in self._places()]

    def check(self) -> None:
        """Every accepted record that is neither settled nor counted as dropped is there, and nothing else."""
        truth, ring = self.truth, self.ring
        found = self.records()
        assert ring.left == len(found), (ring.left, len(found))
        possible = []
        for settled in {truth.settled, truth.settled + truth.settling}:
            wanted = truth.accepted[settled + ring.dropped :]
            possible += [wanted, [*wanted, truth.in_flight]] if truth.in_flight else [wanted]
        assert found in possible, (len(found), [len(p) for p in possible], ring.dropped, truth.settled)
        # What was in doubt is now one or the other.
        truth.settled = len(truth.accepted) - ring.dropped - len(found)
        if truth.in_flight and found and found[-1] == truth.in_flight:
            truth.accepted.append(truth.in_flight)
            truth.settled += 1
        truth.in_flight, truth.settling = None, 0


def history(appends: int, seed: int = 1):
    """Steps with `appends` appends; settling keeps up for a while, then falls behind until readings drop."""
    rng = random.Random(seed)
    steps = []
    for i in range(appends):
        steps.append(("append", b"%06d" % i + rng.randbytes(rng.randrange(2, 30))))
        lazy = i // 300 % 2
        if rng.random() < (0.02 if lazy else 0.25):
            steps.append(("settle", rng.randrange(1, 9)))
    return steps


@dataclass
class Straight:
    """The undisturbed run: flash and truth at the start of each segment, and its range of operations."""

    flash: Flash
    segments: list[tuple]


def run_straight(steps, sector_bytes: int, ring_class=FlashRing) -> Straight:
    flash = Flash(size=8 * sector_bytes, sector_bytes=sector_bytes, rng=random.Random(5))
    truth = Truth()
    segments = []
    for start in range(0, len(steps), SEGMENT):
        part = steps[start : start + SEGMENT]
        before = (flash.snapshot(), truth.copy(), flash.operations)
        player = Player(flash, truth, ring_class)
        for step in part:
            player.step(step)
        segments.append((*before, flash.operations, part))
    Player(flash, truth, ring_class).check()
    return Straight(flash, segments)


PROGRAM_TEARS = ("none", "prefix", "bits", "all")
ERASE_TEARS = ("none", "mixture", "all")
TEARS = [(program, ERASE_TEARS[min(i, 2)]) for i, program in enumerate(PROGRAM_TEARS)]


def cut(
    straight: Straight,
    segment,
    operation: int,
    tear,
    again_after: int | None,
    ring_class=FlashRing,
    settle_first: int = 0,
) -> bool:
    """Cut the power during `operation` of a segment, and again `again_after` operations into what follows.

    That begins with settling `settle_first` records: what is marked then differs from what the first cut tore.
    True when the second cut struck.
    """
    snapshot, truth, _, _, part = segment
    flash = straight.flash
    flash.restore(snapshot)
    flash.cut_at(operation, *tear)
    truth = truth.copy()
    try:
        player = Player(flash, truth, ring_class)
        for step in part:
            player.step(step)
        raise AssertionError("the cut never came")
    except PowerCut:
        flash.clear_faults()
    if again_after is not None:
        flash.cut_at(flash.operations + again_after, *tear)
    first = [("settle", settle_first)] if settle_first else []
    struck = _recover(flash, truth, [*first, *part], ring_class)
    flash.clear_faults()
    Player(flash, truth, ring_class).check()
    return struck


def _recover(flash: Flash, truth: Truth, part, ring_class) -> bool:
    """Mount, check, go on as before: a second cut may strike anywhere in it."""
    try:
        player = Player(flash, truth, ring_class)
        player.check()
        for step in part:
            player.step(step)
    except PowerCut:
        return True
    player.check()
    return False
