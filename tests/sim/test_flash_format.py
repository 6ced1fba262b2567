"""The document on the flash format against the library: a reader written from it finds what the library finds."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import dataclass

import pytest
from plexus_mp.decoder import Decoder
from plexus_mp.mount import mount
from plexus_mp.ring import Ring

from host_sim.board.flash import Flash, PowerCut
from host_sim.ring_image import ring_of, walk
from tests.device import fakes, gen
from tests.sim.flash_device import boot, drain
from tests.sim.flash_history import PROGRAM_TEARS, crc_in_c
from tests.sim.flash_reader import Image, Point, Reader
from tests.sim.flash_stores import Device

SECTOR_BYTES = 1024
PAGE_BYTES = 500
FRAME_POINTS = 0
ALIGNMENTS = (1, 1, 16, 32)


@pytest.fixture(autouse=True)
def quick():
    with crc_in_c():
        yield


def _send_some(device: fakes.Device, g: gen.Gen, count: int) -> None:
    for _ in range(count):
        device.ticks.advance(g.pick((0, 1, 30, 2000, 2000, 200_000, 120_000_000)))
        metric, tags = f"m{g.below(20)}", g.some_tags()
        stamp_ms = fakes.UNIX_MS - g.below(10**9) if g.chance(4) else None
        if g.chance(2):
            points = [(metric, g.a_number()), ("b", g.chance(2)), ("t", g.a_text())]
            device.batch(points[: g.between(1, 3)], tags, stamp_ms)
        elif g.chance(2):
            for i in range(g.below(30)):
                device.ticks.advance(2000)
                device.batch([("x", i), ("y", i / 8)])
        else:
            device.send(metric, g.a_value(), tags, stamp_ms, 1 if g.chance(5) else None)


@dataclass
class History:
    """What several boots left, and how they were set up."""

    flash: Flash
    ticks: fakes.Ticks
    align: int
    rtc_starts: int = 0  # when the power came back last

    def rtc_ms(self) -> int:
        """A clock that is 3 % too slow."""
        return (self.ticks.total - self.rtc_starts) * 97 // 100

    def boot(self, source: str = "s", synced: bool = False, commit_ms: int = 0) -> fakes.Device:
        return boot(
            self.ticks, Device(self.flash), PAGE_BYTES, self.align, commit_ms, source, synced, self.rtc_ms
        )

    def reader(self) -> Image:
        return Reader(self.flash.image(), SECTOR_BYTES).read()


def _boot(history: History, g: gen.Gen, synced: bool) -> None:
    """One boot: readings before and after its sync, parts delivered, so much that readings drop."""
    device = history.boot(f"board-{g.below(3)}", commit_ms=g.pick((0, 0, 60_000)))
    _send_some(device, g, g.below(15))
    if synced:
        device.sync()
        for _ in range(g.below(6)):
            device.recorder.upkeep(g.chance(2))
            for _ in range(g.below(9)):
                if device.next_frame():
                    assert device.outbox.release()
            _send_some(device, g, g.below(15))


def _history(seed: int, cut: bool) -> History:
    g = gen.Gen(seed)
    align = g.pick(ALIGNMENTS)
    flash = Flash(8 * SECTOR_BYTES, SECTOR_BYTES, align if align > 1 else 1, rng=random.Random(seed))
    history = History(flash, fakes.Ticks(g.below(1 << 30)), align)
    with history.ticks as ticks:
        for _ in range(g.between(1, 6)):
            if cut:
                tear = random.Random(g.bits()).choice(PROGRAM_TEARS)
                flash.cut_at(flash.operations + g.between(1, 80), tear)
            with suppress(PowerCut):
                _boot(history, g, synced=not g.chance(3))
            flash.clear_faults()
            ticks.advance(5000)
            if g.chance(3):
                history.rtc_starts = ticks.total
    return history


def _same(image: Image, point: Point, source: str, sent: dict) -> bool:
    tags = sent.get("tags", {})
    if point.stamp_ms is None and image.times[point.boot][0][3]:
        if tags.get("clock") != "estimated":
            return False
        tags = {name: value for name, value in tags.items() if name != "clock"}
    mine = [point.source, point.cls, point.metric, point.value, point.tags, image.timestamp(point)]
    return gen.same(mine, [source, sent["class"], sent["metric"], sent["value"], tags, sent["timestamp"]])


def _as_the_library_reads(flash: Flash) -> list[tuple]:
    """Every point of every sector from the oldest on, settled or not."""
    ring = ring_of(flash.image(), SECTOR_BYTES)
    found = []
    for seq in range(ring.tail_seq, ring.head_seq + 1):
        for _, decoder in walk(ring, seq, Decoder()):
            out = bytearray(1 << 14)
            point = json.loads(out[: decoder.write(out, 0, len(out))])
            source = json.loads(decoder.source) if decoder.source else None
            found.append((seq, decoder.boot, source, point["metric"], point["value"]))
    return found


def _agree(image: Image, flash: Flash) -> bool:
    mine = [(p.seq, p.boot, p.source, p.metric, p.value) for p in image.points]
    theirs = _as_the_library_reads(flash)
    return len(mine) == len(theirs) and all(map(gen.same, mine, theirs))


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "torn"])
def test_a_reader_written_from_the_document_finds_what_the_library_finds(cut):
    dropped = estimated = settled = 0
    for seed in range(1, 61):
        history = _history(seed, cut)
        before = history.reader()
        assert _agree(before, history.flash), seed
        with history.ticks:
            ring = Ring(Device(history.flash), PAGE_BYTES, history.align)
            mount(ring)
            waiting = before.waiting()
            assert (ring.tail_seq, ring.head_seq) == (before.tail, before.head), seed
            assert ring.knot == before.knot, seed
            assert ring.left == len(waiting) and ring.dropped == before.dropped, seed
            last = history.boot("last", synced=True)
            sent = drain(last)
            overrun = last.ring.dropped - before.dropped  # to keep an estimate may need a sector
        after = history.reader()
        before.times.update(after.times)
        # A frame that is built when its sector is overrun is counted there, and arrives.
        assert 0 <= len(sent) + overrun - len(waiting) <= (FRAME_POINTS if overrun else 0), seed
        assert not after.waiting(), seed
        left = iter(waiting)  # in this order, without those that were overrun
        assert all(any(_same(before, p, source, json.loads(text)) for p in left) for source, text in sent), (
            seed
        )
        dropped += before.dropped
        settled += len(before.points) - len(waiting)
        estimated += sum(before.times[p.boot][0][3] for p in waiting if p.boot in before.times)
    assert dropped > 100 and settled > 100 and estimated > 50


def test_flipped_bits_are_read_alike():
    rng = random.Random(4)
    lost = 0
    for seed in range(100, 160):
        history = _history(seed, False)
        whole = len(history.reader().points)
        history.flash.rot(rng.randrange(1, 12))
        image = history.reader()
        assert _agree(image, history.flash), seed
        lost += whole - len(image.points)
    assert lost > 100


def test_an_empty_ring():
    for fill in (b"\xff", b"\x00"):
        image = Reader(fill * 4096, SECTOR_BYTES).read()
        assert image.head == 0 and not image.points and not image.waiting()
