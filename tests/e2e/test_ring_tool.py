"""What a dead board still holds, out of its flash: listed, and delivered to a real gateway."""

import asyncio
import json
import subprocess
import sys

import pytest

from host_sim.ring_tool import cut_out, find_ring
from host_sim.world import ROOT
from tests.e2e.simulation import program, simulate
from tests.gateway.conftest import KEY, start  # noqa: F401

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
    options = ["--send", gateway.server.url, "--source-id", "dead-1"]
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
    result = run(path, "--send", gateway.server.url, "--source-id", "x", PLEXUS_API_KEY="plx_wrong")
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
        ((path, "--send", "http://127.0.0.1:1", "--source-id", "x"), "PLEXUS_API_KEY"),
    ):
        result = run(*arguments)
        assert result.returncode == 2 and word in result.stderr, (arguments, result.stderr)
        assert len(result.stderr.splitlines()) == 1
    result = run(path, "--send", "http://127.0.0.1:1", "--source-id", "x", PLEXUS_API_KEY="k")
    assert result.returncode == 2 and "http://127.0.0.1:1/ingest" in result.stderr


def test_a_ring_is_found_wherever_it_has_turned_to():
    from plexus_mp.flashring import FlashRing

    from host_sim.board.flash import Flash
    from tests.sim.flash_history import Device

    flash = Flash(8 * 512, 512)
    for turns in range(1, 40):
        FlashRing(Device(flash), 100, lambda buf, at, n: 1).turn()
        ring = flash.image()
        image = b"\xff" * 512 * 5 + ring + b"\0" * 512 * 3
        found = find_ring(image, 512)
        if turns >= 9:
            assert found == ring, turns
        else:
            assert found == ring[: len(found)] and len(found) >= min(turns + 1, 8) * 512
        assert cut_out(image, 512, 5 * 512, 8 * 512) == ring
