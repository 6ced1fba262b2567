"""The document on the flash format against the library: a reader written from it finds what the library finds."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from plexus_mp.decoder import Decoder, count_points
from plexus_mp.flashring import FlashRing
from plexus_mp.outbox import Outbox
from plexus_mp.recorder import Recorder
from plexus_mp.ring import HEADER_BYTES

from host_sim.board.flash import Flash, PowerCut
from tests.device import fakes, gen
from tests.sim.flash_history import PROGRAM_TEARS, Device
from tests.sim.flash_reader import Image, Reader

SECTOR_BYTES = 1024
PAGE_BYTES = 500
FRAME_BYTES = 900


class Writer:
    """A device that boots on `flash`, records whatever a program may send, and delivers some of it."""

    def __init__(self, flash: Flash, ticks: fakes.Ticks) -> None:
        ring = FlashRing(Device(flash), PAGE_BYTES, count_points)
        self.recorder = Recorder(ring, PAGE_BYTES, Outbox.json_max(fakes.SOURCE, FRAME_BYTES))
        self.outbox = Outbox(self.recorder, fakes.SOURCE, PAGE_BYTES, FRAME_BYTES)
        self.ring = ring
        self._ticks = ticks

    def sync(self) -> None:
        self.recorder.sync(fakes.UNIX_MS + self._ticks.total, self._ticks.now)

    def send_some(self, g: gen.Gen, count: int) -> None:
        for _ in range(count):
            self._ticks.advance(g.pick((0, 1, 30, 2000, 200_000, 120_000_000)))
            metric, tags = f"m{g.below(20)}", g.some_tags()
            stamp_ms = fakes.UNIX_MS - g.below(10**9) if g.chance(4) else None
            if g.chance(3):
                points = [(metric, g.a_number()), ("b", g.chance(2)), ("t", g.a_text())]
                self.recorder.send_batch(points, tags, stamp_ms, int)
            else:
                cls = 1 if g.chance(5) else None
                self.recorder.send(cls, metric, g.a_value(), tags, stamp_ms)

    def deliver(self, frames: int) -> list[dict]:
        """The points of so many frames, which are settled then."""
        found: list[dict] = []
        for _ in range(frames):
            size = self.outbox.next_frame()
            if not size:
                break
            found += fakes.parse_frame(bytes(self.outbox.view[:size]))
            assert self.outbox.release()
        return found


def _boot(flash: Flash, ticks: fakes.Ticks, g: gen.Gen, synced: bool) -> None:
    """One boot: readings before and after its sync, parts delivered, so much that readings drop."""
    writer = Writer(flash, ticks)
    writer.send_some(g, g.below(25))
    if synced:
        writer.sync()
        for _ in range(g.below(6)):
            writer.deliver(g.below(3))
            writer.send_some(g, g.below(40))


def _history(seed: int, cut: bool) -> tuple[Flash, fakes.Ticks]:
    flash = Flash(8 * SECTOR_BYTES, SECTOR_BYTES, rng=random.Random(seed))
    g = gen.Gen(seed)
    ticks = fakes.Ticks(g.below(1 << 30))
    with ticks:
        for _ in range(g.between(1, 6)):
            if cut:
                tear = random.Random(g.bits()).choice(PROGRAM_TEARS)
                flash.cut_at(flash.operations + g.between(1, 80), tear)
            with suppress(PowerCut):
                _boot(flash, ticks, g, synced=not g.chance(3))
            flash.clear_faults()
            ticks.advance(5000)
    return flash, ticks


def _same(image: Image, point, sent: dict) -> bool:
    tags = sent.get("tags", {})
    if point.stamp_ms is None and image.syncs[point.boot][1]:
        if tags.get("clock") != "estimated":
            return False
        tags = {name: value for name, value in tags.items() if name != "clock"}
    mine = [point.cls, point.metric, point.value, point.tags, image.timestamp(point)]
    return gen.same(mine, [sent["class"], sent["metric"], sent["value"], tags, sent["timestamp"]])


def _as_the_library_reads(flash: Flash) -> list[tuple]:
    """Every point of every sector from the oldest on, settled or not: place, boot and value of each."""
    ring = FlashRing(Device(flash), PAGE_BYTES, count_points)
    buf, out = memoryview(bytearray(PAGE_BYTES + 8)), bytearray(1 << 14)
    found = []
    for seq in range(ring.tail_seq, ring.head_seq + 1):
        decoder, offset = Decoder(), HEADER_BYTES
        while n := ring.read(seq, offset, buf):
            if ring.damaged:
                ring.damaged = False
                decoder.lose_time()
            decoder.load(buf, ring.payload_at, n)
            while decoder.more:
                if decoder.sure:
                    end = decoder.next_json(out, 0, len(out))
                    found.append((seq, ring.read_boot, fakes.json.loads(out[:end])))
                else:
                    decoder.skip()
            offset = ring.next_off
    return found


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "torn"])
def test_a_reader_written_from_the_document_finds_what_the_library_finds(cut):
    dropped = estimated = settled = 0
    for seed in range(1, 61):
        flash, ticks = _history(seed, cut)
        before = Reader(flash.image(), SECTOR_BYTES).read()
        ours = [p for p in before.points if p.seq >= before.tail]
        theirs = _as_the_library_reads(flash)
        assert [(p.seq, p.boot, p.metric) for p in ours] == [(s, b, j["metric"]) for s, b, j in theirs], seed
        for point, (_, _, sent) in zip(ours, theirs, strict=True):
            assert gen.same(point.value, sent["value"]) and point.tags == sent.get("tags", {}), seed
        with ticks:
            last = Writer(flash, ticks)
            assert last.ring.tail_seq == before.tail and last.ring.head_seq == before.head
            waiting = before.waiting()
            assert last.ring.left == len(waiting) and last.ring.dropped == before.dropped, seed
            last.sync()
            sent = last.deliver(10_000)
            overrun = last.ring.dropped - before.dropped  # the ring is full, and to settle needs a sector
        after = Reader(flash.image(), SECTOR_BYTES).read()
        before.syncs.update(after.syncs)
        assert len(sent) + overrun == len(waiting) and not after.waiting(), seed
        left = iter(waiting)  # in this order, without those that were overrun
        assert all(any(_same(before, point, one) for point in left) for one in sent), seed
        dropped += before.dropped
        settled += len(ours) - len(waiting)
        estimated += sum(before.syncs[p.boot][1] for p in waiting)
    assert dropped > 100 and settled > 100 and estimated > 50


def test_flipped_bits_are_read_alike():
    rng = random.Random(4)
    for seed in range(100, 130):
        flash, _ = _history(seed, False)
        flash.rot(rng.randrange(1, 12))
        image = Reader(flash.image(), SECTOR_BYTES).read()
        ours = [(p.seq, p.boot, p.metric, repr(p.value)) for p in image.points if p.seq >= image.tail]
        theirs = _as_the_library_reads(flash)
        assert ours == [(s, b, j["metric"], repr(j["value"])) for s, b, j in theirs], seed


def test_an_empty_ring():
    for fill in (b"\xff", b"\x00"):
        image = Reader(fill * 4096, SECTOR_BYTES).read()
        assert image.head == 0 and not image.points and not image.waiting()
