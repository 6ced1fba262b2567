"""How many bytes of flash a reading takes, and how many are programmed for it: a BME280 every two seconds."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from plexus_mp import fileblocks
from plexus_mp.fileblocks import FileBlocks

from host_sim.board.bme280 import BME280, Calibration
from host_sim.board.flash import Flash
from host_sim.board.i2c import I2CBus
from host_sim.board.traces import make_trace
from host_sim.world import ROOT
from tests.device import fakes
from tests.sim.flash_device import boot, drain
from tests.sim.flash_stores import Device
from tests.sim.littlefs_disk import LittlefsDisk
from tests.sim.test_bme280_float32 import load_rounded, single

sys.path.append(str(ROOT / "tools"))
board_trial = importlib.import_module("board_trial")

DAY = 43_200  # samples
PART = 4_500
SECTOR_BYTES = 4096
PERIOD_MS = 2000
Sample = tuple[float, float, float]


def _readings(kit: Any, count: int, singles: bool) -> list[Sample]:
    """What the firmware's driver makes of the default trace, in a board's floats."""
    clock, bus = kit.Clock(), I2CBus()
    bus.attach(0x76, BME280(Calibration(), clock.now_us, make_trace("quiet_room"), random.Random(1)))
    clock.sleep_ms(2)
    module = ModuleType("bme280").__dict__
    source = kit.driver_path.read_text(encoding="utf-8")
    load_rounded(source, single if singles else float, module)
    module["time"] = clock
    driver = module["BME280"](bus)
    found = []
    for number in range(count):
        found.append(driver.read())
        clock.us = (number + 1) * PERIOD_MS * 1000
    return found


@pytest.fixture(scope="module")
def singles(kit):
    return _readings(kit, DAY, True)


@pytest.fixture(scope="module")
def doubles(kit):
    return _readings(kit, PART, False)


@dataclass
class Cost:
    """Per reading: bytes of flash taken, and of commits; and bytes programmed for a byte of these."""

    flash: float
    commits: float
    amplification: float
    erases: int

    def line(self, what: str) -> str:
        return f"{what:46} {self.flash:6.2f} {self.commits:8.2f} {self.amplification:8.3f} {self.erases:7}"


def _cost(samples: list[Sample], flash: Flash, blocks: Any, live: bool = False, **options: Any) -> Cost:
    """Send them; `live`: each batch is acknowledged before the next."""
    given = 0
    with fakes.Ticks() as ticks:
        device = boot(ticks, blocks, **options)
        append = device.ring.append

        def count(n: int, points: int) -> None:
            nonlocal given
            given += n + 3 + (1 if n < 128 else 2)
            append(n, points)

        device.ring.append = count
        before, wear = flash.programmed_bytes, sum(flash.wear)
        for temperature, humidity, pressure in samples:
            ticks.advance(PERIOD_MS)
            device.batch([("temperature", temperature), ("humidity", humidity), ("pressure", pressure)])
            if live:
                assert len(drain(device)) == 3
            device.recorder.upkeep(False)
        device.recorder.upkeep(True)
        points = 3 * len(samples)
        assert device.ring.dropped == 0 and device.ring.left == (0 if live else points)
        ring = device.ring
        taken = (ring.head_seq - 1) * ring.sector_bytes + ring.head_off
    programmed = flash.programmed_bytes - before
    return Cost(taken / points, given / points, programmed / given, sum(flash.wear) - wear)


def _partition(samples: list[Sample], granularity: int = 1, **options: Any) -> Cost:
    flash = Flash(1 << 20, SECTOR_BYTES, granularity)
    return _cost(samples, flash, Device(flash), align=granularity, **options)


def _files(samples: list[Sample], sector_bytes: int, page: int) -> Cost:
    flash = Flash(1 << 20)
    disk = LittlefsDisk(flash, new=True)
    with disk.under(fileblocks):
        blocks = FileBlocks("/ring", 200 * sector_bytes, sector_bytes)
        return _cost(samples, flash, blocks, page=page, commit_ms=1 << 28)


def _table(singles: list[Sample], doubles: list[Sample]) -> Iterator[tuple[str, Cost]]:
    part = singles[:PART]
    yield "each batch durable on return, live", _partition(part, live=True)
    yield "the same in double precision", _partition(doubles)
    yield "pages of 256, 60 s", _partition(part, commit_ms=60_000)
    yield "program units of 16", _partition(part, 16)
    yield "program units of 16, pages of 256, 60 s", _partition(part, 16, commit_ms=60_000)
    yield "program units of 32, pages of 256, 60 s", _partition(part, 32, commit_ms=60_000)
    yield "program units of 256, pages of 507, 120 s", _partition(part, 256, page=507, commit_ms=120_000)
    yield "program units of 256, pages of 2043, 600 s", _partition(part, 256, page=2043, commit_ms=600_000)
    for sector_bytes in (768, 1024, 4096):
        page = sector_bytes - 196  # headers, times, length and CRC
        yield f"littlefs files of {sector_bytes}, a page each", _files(part, sector_bytes, page)
    yield "littlefs files of 4096, pages of 512", _files(part, 4096, 512)


def test_density_and_amplification(singles, doubles, capsys):
    must = _partition(singles)
    lines = [f"{'bytes per reading, float32 unless said':46}  flash  commits  written  erases"]
    lines.append(must.line("a day's outage, each batch durable on return"))
    table = dict(_table(singles, doubles))
    lines += [cost.line(what) for what, cost in table.items()]
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert must.flash <= 5.0 and must.amplification <= 1.05
    for what, cost in table.items():
        if "a page each" in what:  # what is appended rewrites a file's last 4 KB
            assert cost.amplification <= 1.5, what


class _Board:
    """A board file's ring in files: its own littlefs, as full as a board's, and its own sizes."""

    def __init__(self, path: Path) -> None:
        self._trial = board_trial.Trial(path)
        self.where = self._trial.where

    def cost(self, samples: list[Sample], live: bool) -> Cost:
        """`live`: a gateway answers at once; else an outage that fills most of the files, each page to its end."""
        given = 0
        with self._trial.running() as trial:
            ring = trial.ring
            append = ring.append

            def count(n: int, points: int) -> None:
                nonlocal given
                given += n + 3 + (1 if n < 128 else 2)
                append(n, points)

            ring.append = count
            trial.recorder._commit_ms = (1 << 28) if not live else trial.recorder._commit_ms
            trial.live = live
            before, wear, points = trial.programmed_bytes, trial.erases, 0
            for sample in samples:
                if not live and ring.head_seq >= ring.sectors - 2:
                    break
                trial.rest(trial.ms + PERIOD_MS)
                named = zip(("temperature", "humidity", "pressure"), sample, strict=True)
                trial.recorder.send_batch(list(named), None, None, None)
                points += 3
            assert ring.dropped == 0 and (live or ring.head_seq >= ring.sectors - 2)
            programmed, erases = trial.programmed_bytes - before, trial.erases - wear
        taken = ring.head_seq * ring.sector_bytes
        return Cost(taken / points, given / points, programmed / given, erases)


def test_what_the_board_files_write(singles, tmp_path, capsys):
    """A page fills its file: in an outage little more is programmed than what was recorded."""
    default = tmp_path / "default.py"
    default.write_text('RING = "files"\n')
    boards = [default, *sorted((ROOT / "boards").glob("*.py"))]
    in_files = [path for path in boards if _Board(path).where == "files"]
    assert len(in_files) >= 3
    lines = [f"{'rings in files, as in boards/':46}  flash  commits  written  erases"]
    for path in in_files:
        outage = _Board(path).cost(singles, live=False)
        lines.append(outage.line(f"{path.name}, an outage"))
        lines.append(
            _Board(path).cost(singles[:PART], live=True).line(f"{path.name}, a gateway answers at once")
        )
        assert outage.amplification <= 1.5 and outage.flash <= 6, lines[-2]
    with capsys.disabled():
        print("\n" + "\n".join(lines))


def test_the_driver_gives_what_the_board_has(singles):
    """Singles they are, and they change from one sample to the next: the figure is not that of a standstill."""
    assert all(single(value) == value for sample in singles[:1000] for value in sample)
    for place in range(3):
        assert len({sample[place] for sample in singles[:1000]}) > 50
