"""A ring image of real records, and what one flipped bit in it costs."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from plexus_mp.log import HEADER_BYTES

from host_sim.board.flash import Flash
from tests.device import fakes
from tests.sim.flash_device import boot, drain
from tests.sim.flash_history import single
from tests.sim.flash_stores import Device

SECTOR_BYTES = 512
COUNT = 6
# A record depends on those before it, back to the last keyframe: one in sixteen is one.
RECORDS_MAX = 17
POINTS_PER_RECORD = 3


@dataclass
class Written:
    """An image, what a device that boots on it delivers, and all that was ever recorded and not dropped."""

    flash: Flash
    snapshot: Any
    ticks: fakes.Ticks
    delivered: list[tuple[str, str]]
    recorded: list[tuple[str, str]]
    head_block: int


def write(seed: int, sector_bytes: int = SECTOR_BYTES, boots: int = 4) -> Written:
    """Boots under two source_ids, some never synced, whose readings were delivered up to some place."""
    rng = random.Random(seed)
    flash = Flash(COUNT * sector_bytes, sector_bytes, rng=rng)
    ticks = fakes.Ticks()
    values = [22.4, 41.0, 1013.2]
    recorded = []
    with ticks:
        for number in range(boots):
            device = boot(ticks, Device(flash), 120, source=f"board-{number // 2}", synced=False)
            for i in range(sector_bytes // 12):
                ticks.advance(rng.choice((2000, 2000, 2000, 2001, 70_000)))
                if i == 9 and number != 1:
                    device.sync()
                values = [value + rng.gauss(0, 0.02) for value in values]
                if rng.random() < 0.7:
                    device.batch([(f"m{n}", single(value)) for n, value in enumerate(values)])
                else:
                    device.send(
                        "n", rng.choice((i, "on", True, 1 << 40, 0.1)), rng.choice((None, {"a": "b"}))
                    )
            if number != boots - 1 and device.recorder.clock.synced:
                recorded += drain(device)
            ticks.advance(100_000)
        snapshot = flash.snapshot()
        delivered = _deliver(flash, ticks)[0]
    head = boot_head(flash, snapshot)
    return Written(flash, snapshot, ticks, delivered, recorded + delivered, head)


def boot_head(flash: Flash, snapshot: Any) -> int:
    flash.restore(snapshot)
    with fakes.Ticks() as ticks:
        return boot(ticks, Device(flash), 120, synced=False).ring.head_seq % COUNT


def _deliver(flash: Flash, ticks: fakes.Ticks) -> tuple[list[tuple[str, str]], Any]:
    before = (ticks.now, ticks.total)
    device = boot(ticks, Device(flash), 120, source="board-9")
    found = drain(device)
    ticks.now, ticks.total = before
    return found, device.ring


def flip(written: Written, offset: int, bit: int) -> int:
    """Flip one bit, deliver what can be read: how many points that cost. AssertionError for anything wrong."""
    flash = written.flash
    flash.restore(written.snapshot)
    dropped = _dropped(written)
    flash.flip(offset, bit)
    with written.ticks:
        found, ring = _deliver(flash, written.ticks)
    place = iter(written.recorded)
    assert all(any(point == one for one in place) for point in found), "a point that was never recorded"
    # A mark that is lost leaves what it settled to be delivered again.
    lost = len(written.delivered) - len([point for point in found if point in set(written.delivered)])
    assert lost <= RECORDS_MAX * POINTS_PER_RECORD, lost
    sector, at = divmod(offset, written.flash.sector_bytes)
    if at < 2 * HEADER_BYTES:
        assert not lost, "a header is there twice"
    if sector != written.head_block:  # its points are told by the next header
        assert ring.dropped - dropped == lost, (ring.dropped, dropped, lost)
    assert ring.left == 0
    return lost


def _dropped(written: Written) -> int:
    with fakes.Ticks() as ticks:
        return int(boot(ticks, Device(written.flash), 120, synced=False).ring.dropped)


def bits(written: Written) -> Iterable[tuple[int, int]]:
    return ((offset, bit) for offset in range(written.flash.size) for bit in range(8))
