"""What a dead board still holds, out of its flash: listed, and delivered to a real gateway."""

import asyncio
import json
import random
import struct
import subprocess
import sys
from contextlib import contextmanager

import pytest
from plexus_mp.blocks import RamBlocks
from plexus_mp.mount import mount
from plexus_mp.ring import Ring

from host_sim.board.flash import Flash
from host_sim.ring_image import shortest, single
from host_sim.ring_tool import cut_out, find_ring
from host_sim.world import ROOT
from tests.device import fakes
from tests.e2e.simulation import program, simulate
from tests.gateway.conftest import KEY, start  # noqa: F401
from tests.sim.flash_device import boot
from tests.sim.flash_stores import Device

BOARD = ROOT / "boards" / "esp32_flash_ring.py"
OFFSET, SIZE = 0x3C0000, 0x40000
SOURCE = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="dead-1")
try:
    n = int(open("/n").read())
except OSError:
    n = 0
while True:
    n += 1
    with open("/n", "w") as f:
        f.write(str(n))
    px.send_batch([("n", n), ("f", n / 7)], tags={"line": "north"})
    px.send("own", n, timestamp=1_790_000_000 + n)
    time.sleep(1)
"""


@pytest.fixture(scope="module")
def dead(tmp_path_factory):
    """A board that delivered for a while, was cut off, rebooted, and died: what came of it."""

    async def disturb(world, placement):
        await asyncio.sleep(12)
        placement.board.wifi.set_available(False)
        await asyncio.sleep(10)
        placement.board.power_off()
        await asyncio.sleep(3)
        placement.board.power_on()

    folder = program(tmp_path_factory.mktemp("dead"), SOURCE)
    return simulate(folder, "cpython", 40, disturb, board_file=BOARD)


@pytest.fixture(scope="module")
def path(dead, tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "flash.bin"
    path.write_bytes(dead.world.placements[0].board.flash.image())
    return path


def run(path, *options, **environment):
    command = [sys.executable, "-m", "host_sim", "ring", str(path), *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def lines(result):
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_listing_is_what_was_not_stored(dead, path):
    summary, *points = lines(run(path))
    verdict = dead.verdict
    stored = {(row.metric, row.value) for row in dead.rows()}
    assert verdict.pending == len([p for p in points if (p["metric"], p["value"]) not in stored]) > 30
    assert summary["waiting"] == len(points) and summary["dropped"] == summary["unreadable"] == 0
    assert summary["source_ids"] == ["dead-1"] and summary["precision"] == "double"  # f is a seventh of n
    assert all(p["source_id"] == "dead-1" for p in points)
    assert summary["boots"] == [1, 2] and summary["boots_without_time"] == [2]
    unknown = [p for p in points if p["timestamp"] is None]
    assert unknown and all(p["boot"] == 2 and p["metric"] != "own" for p in unknown)
    assert all(p["tags"] == {"line": "north"} for p in points if p["metric"] != "own")


def test_everything_listed_is_everything_accepted(dead, path):
    _, *points = lines(run(path, "--all", "--offset", hex(OFFSET), "--size", str(SIZE)))
    assert len(points) == dead.verdict.accepted


def test_sending_stores_what_was_missing_and_repeats_nothing(dead, path, start):  # noqa: F811
    gateway = start()
    before = [
        {"class": r.cls, "metric": r.metric, "value": r.value, "tags": r.tags, "timestamp": r.timestamp_ms}
        for r in dead.rows()
    ]
    gateway.post({"source_id": "dead-1", "points": before})
    assert len(gateway.rows()) == len(before) > 20
    options = ["--send", gateway.server.url]
    result = run(path, *options, PLEXUS_API_KEY=KEY)
    assert result.returncode == 1 and not result.stderr, result.stderr  # those of boot 2 have no time
    summary, delivery = [json.loads(line) for line in result.stdout.splitlines()]
    assert delivery["refused"] == 0 and delivery["undated"] > 10
    assert delivery["confirmed"] == summary["waiting"] - delivery["undated"]
    assert len(gateway.rows()) == dead.verdict.accepted - delivery["undated"]
    again = json.loads(run(path, *options, PLEXUS_API_KEY=KEY).stdout.splitlines()[-1])
    assert again == delivery and len(gateway.rows()) == dead.verdict.accepted - delivery["undated"]


def test_a_key_that_is_refused(path, start):  # noqa: F811
    gateway = start()
    result = run(path, "--send", gateway.server.url, PLEXUS_API_KEY="plx_wrong")
    assert result.returncode == 2 and "401: invalid API key" in result.stderr


def test_mistakes_are_one_line(path, tmp_path):
    blank = tmp_path / "blank.bin"
    blank.write_bytes(b"\xff" * 16384)
    odd = tmp_path / "odd.bin"
    odd.write_bytes(b"\xff" * 5000)
    for arguments, word in (
        ((tmp_path / "none.bin",), "No such file"),
        ((blank,), "no ring"),
        ((odd,), "5000 bytes"),
        ((path, "--offset", "0x3c0000", "--size", "0x80000"), "whole sectors"),
        ((path, "--offset", "0x3c0001"), "whole sectors"),
        ((path, "--offset", "0", "--size", "65536"), "no ring"),
        ((path, "--send", "http://127.0.0.1:1"), "PLEXUS_API_KEY"),
    ):
        result = run(*arguments)
        assert result.returncode == 2 and word in result.stderr, (arguments, result.stderr)
        assert len(result.stderr.splitlines()) == 1
    result = run(path, "--send", "http://127.0.0.1:1", PLEXUS_API_KEY="k")
    assert result.returncode == 2 and "http://127.0.0.1:1/ingest" in result.stderr


def test_a_ring_is_found_wherever_it_has_turned_to():
    flash = Flash(8 * 512, 512)
    for turns in range(1, 40):
        ring = Ring(Device(flash), 100)
        mount(ring)
        ring.turn()
        ring_image = flash.image()
        image = b"\xff" * 512 * 5 + ring_image + b"\0" * 512 * 3
        found = find_ring(image, 512)
        if turns >= 8:
            assert found == ring_image, turns
        else:
            assert found == ring_image[: len(found)] and len(found) >= min(turns + 1, 8) * 512
        assert cut_out(image, 512, 5 * 512, 8 * 512) == ring_image
        assert find_ring(image[: (5 + min(turns + 1, 8)) * 512], 512).startswith(found[:512])


@contextmanager
def _device(device, source):
    with fakes.Ticks() as ticks:
        yield ticks, boot(ticks, device, source=source)


def test_each_reading_goes_out_under_the_source_id_stored_with_it(tmp_path, start):  # noqa: F811
    flash = Flash(8 * 4096)
    for number, source in enumerate(("line-1", "line-2", "line-1")):
        with _device(Device(flash), source) as (ticks, device):
            for n in range(20):
                ticks.advance(2000)
                device.send("n", 100 * number + n)
    path = tmp_path / "flash.bin"
    path.write_bytes(flash.image())
    gateway = start()
    summary, delivery = lines(run(path, "--send", gateway.server.url, PLEXUS_API_KEY=KEY))
    assert summary["source_ids"] == ["line-1", "line-2"] and delivery["confirmed"] == 60
    sources = [row.source_id for row in gateway.rows()]
    assert sources.count("line-1") == 40 and sources.count("line-2") == 20


def test_a_dumped_ring_in_ram_needs_to_be_told_whose_it_is(tmp_path, start):  # noqa: F811
    blocks = RamBlocks(16384, 4096)
    with _device(blocks, "lost") as (ticks, device):
        for n in range(700):
            ticks.advance(2000)
            device.send("n", n)
    path = tmp_path / "ram.bin"
    path.write_bytes(blocks._mem)
    gateway = start()
    options = ("--send", gateway.server.url)
    refused = run(path, *options, PLEXUS_API_KEY=KEY)
    assert refused.returncode == 2 and "--source-id" in refused.stderr
    _, delivery = lines(run(path, *options, "--source-id", "found", PLEXUS_API_KEY=KEY))
    assert delivery == {"confirmed": 700, "refused": 0, "undated": 0}
    assert {row.source_id for row in gateway.rows()} == {"found"}


def test_values_of_a_single_precision_board_are_printed_as_it_prints_them(tmp_path):
    values = [22.41, 0.1, 1013.25, 1e-7, 3.4e38, 16777216.0, 22.425018310546875, -0.0]
    flash = Flash(8 * 4096)
    with _device(Device(flash), "s") as (ticks, device):
        for value in values:
            ticks.advance(2000)
            device.send("f", single(value))
    path = tmp_path / "flash.bin"
    path.write_bytes(flash.image())
    summary, *points = lines(run(path))
    assert summary["precision"] == "single"
    assert [repr(p["value"]) for p in points] == [repr(v) for v in [*values[:6], 22.425018, -0.0]]
    _, *points = lines(run(path, "--precision", "double"))
    assert [p["value"] for p in points] == [single(v) for v in values]


def test_the_shortest_text_of_a_single():
    rng = random.Random(1)
    for _ in range(20_000):
        value = struct.unpack("<f", struct.pack("<I", rng.getrandbits(31)))[0]
        if value == value and value != float("inf"):
            text = shortest(value)
            assert single(float(text)) == value
