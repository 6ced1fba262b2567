"""Bits that flip and sectors that go bad cost what lies there, and never a wrong value, time or source."""

from __future__ import annotations

import json
import random

import pytest
from plexus_mp.log import PAYLOAD_AT
from plexus_mp.mount import mount
from plexus_mp.ring import Ring

from host_sim.board.flash import Flash
from host_sim.board.flash_faults import BAD_KINDS, ERASE_ERROR, ERASE_NOOP
from tests.device import fakes
from tests.sim.flash_damage import bits, flip, write
from tests.sim.flash_device import Counting, boot, drain
from tests.sim.flash_history import crc_in_c, record
from tests.sim.flash_stores import Device


@pytest.fixture(autouse=True)
def quick():
    with crc_in_c():
        yield


@pytest.mark.parametrize("seed", range(3))
def test_one_flipped_bit(seed, capsys):
    """A sample; `make soak` flips each bit of an image."""
    written = write(seed)
    sample = random.Random(seed).sample(list(bits(written)), 150)
    costs = [flip(written, offset, bit) for offset, bit in sample]
    with capsys.disabled():
        print(f"\nimage {seed}: {len(sample)} bits flipped, at most {max(costs)} points lost, none wrong")
    assert any(costs) and len(written.delivered) > 50


SECTOR_BYTES = 512
COUNT = 8
SEEDS = 3
PER_SECTOR = (SECTOR_BYTES - 72) // 8  # readings: an int takes 8 bytes at least, with its commit


class Life:
    """A device on flash with bad sectors: it boots now and then, sends and delivers."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.flash = Flash(COUNT * SECTOR_BYTES, SECTOR_BYTES, rng=random.Random(seed))
        self.sent: list[int] = []
        self.delivered: list[int] = []
        self.dropped = 0

    def live(self, sends: int, spoils: list[tuple[int, int, str]]) -> None:
        """`spoils`: before which send which sector goes bad, and how."""
        with fakes.Ticks() as ticks:
            device = boot(ticks, Device(self.flash), 100)
            for number in range(sends):
                for _, sector, kind in [spoil for spoil in spoils if spoil[0] == number]:
                    self.flash.spoil(sector, kind)
                ticks.advance(2000)
                assert device.send("n", number)
                self.sent.append(number)
                if self.rng.random() < 0.1:
                    self.deliver(device)
                if self.rng.random() < 0.1:
                    device.recorder.upkeep(False)
                if self.rng.random() < 0.01:
                    ticks.advance(1000)
                    device = boot(ticks, Device(self.flash), 100)
            self.deliver(device)
            self.dropped = device.ring.dropped
            assert device.ring.left == 0

    def deliver(self, device: fakes.Device) -> None:
        self.delivered += [json.loads(point)["value"] for _, point in drain(device)]


@pytest.mark.parametrize("kind", BAD_KINDS)
@pytest.mark.parametrize("bad", [1, 2, 4])
@pytest.mark.parametrize("when", ["from the start", "later"])
def test_bad_sectors(kind, bad, when, capsys):
    lost = 0
    for seed in range(SEEDS):
        life = Life(seed)
        sectors = life.rng.sample(range(COUNT), bad)
        spoils = [(life.rng.randrange(1, 700) if when == "later" else 0, sector, kind) for sector in sectors]
        life.live(800, spoils)
        missing = sorted(set(life.sent) - set(life.delivered))
        order = list(dict.fromkeys(life.delivered))
        assert order == sorted(order) and set(order) <= set(life.sent)
        # A reading may come again after a boot: the mark that would say so lies in the bad sector.
        assert len(life.delivered) - len(order) <= bad * PER_SECTOR, len(life.delivered) - len(order)
        if when == "from the start" or kind in (ERASE_ERROR, ERASE_NOOP):
            assert not missing, missing
        assert len(missing) <= bad * PER_SECTOR, len(missing)
        lost += len(missing)
        assert life.flash.operations < 12 * len(life.sent)
    with capsys.disabled():
        print(f"\n{kind}, {bad} of {COUNT} {when}: {lost} of {SEEDS * 800} readings lost", end="")


def test_when_no_sector_can_be_written_it_says_so():
    life = Life(1)
    for sector in range(COUNT):
        life.flash.spoil(sector, "program_error")
    with pytest.raises(OSError, match="no sector"):
        life.live(1, [])


@pytest.mark.parametrize("align", [1, 16, 256])
def test_readings_from_a_time_when_pages_were_larger(align):
    flash = Flash(COUNT * 4096, 4096, align)
    with fakes.Ticks() as ticks:
        device = boot(ticks, Device(flash), 1500, align, commit_ms=1 << 28)
        for n in range(900):
            ticks.advance(2000)
            device.send("n", n / 7)
        device.recorder.upkeep(True)
        flash.flip(4096 + 1500)  # and what is damaged is passed over
        device = boot(ticks, Device(flash), 200, align)
        found = [json.loads(point)["value"] for _, point in drain(device)]
        assert found == sorted(found) and 600 < len(found) < 900 and found[-1] == 899 / 7
        assert device.ring.dropped == 900 - len(found)


RING_BYTES = 1 << 20
MOUNT_READS_MAX = 24 << 10


def _fill(sectors: float, settle: bool, encrypted: bool, filler: int = 400) -> Flash:
    flash = Flash(RING_BYTES, encrypted=encrypted)
    align = 16 if encrypted else 1
    ring = Ring(Device(flash), 512, align, encrypted)
    mount(ring)
    for number in range(int(sectors * 9)):
        payload = record(number, 1, "x" * filler)
        if ring.room() < len(payload):
            ring.turn()
        ring.page[PAYLOAD_AT : PAYLOAD_AT + len(payload)] = payload
        ring.append(len(payload), 1)
        if settle:
            before = ring.settled_points if ring.settled_seq == ring.head_seq else 0
            ring.settle(ring.head_seq, ring.head_off, 1, 0, before + 1)
    return flash


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize(
    ("sectors", "settle"), [(0, False), (0.9, False), (300.9, False), (300.9, True), (300.05, False)]
)
def test_mounting_reads_headers_not_data(sectors, settle, encrypted, capsys):
    flash = _fill(sectors, settle, encrypted)
    device = Counting(Device(flash))
    ring = Ring(device, 512, 16 if encrypted else 1, encrypted)
    mount(ring)
    with capsys.disabled():
        print(
            f"\n{sectors} sectors written, {'all' if settle else 'nothing'} settled: {device.read} bytes",
            end="",
        )
    assert ring.left == (0 if settle else min(int(sectors * 9), ring.left)) and (ring.left > 0) == (
        sectors > 0 and not settle
    )
    assert device.read <= MOUNT_READS_MAX
