"""tools/board_check.py: its figures are those of the library, its errors name setting and limit."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import subprocess
import sys

import pytest
from plexus_mp.fileblocks import FileBlocks
from plexus_mp.ports import cpython
from plexus_mp.ring import Ring

from host_sim.world import ROOT

sys.path.append(str(ROOT / "tools"))
board_check = importlib.import_module("board_check")
board_trial = importlib.import_module("board_trial")

BOARDS = sorted((ROOT / "boards").glob("*.py"))
RATE = [board_check.Rate(3, 2000)]
BUFFERS = ("ring", "frame", "page, and the commit being read", "answers")  # what board_check counts itself


@pytest.fixture(autouse=True)
def _shorter(monkeypatch):
    monkeypatch.setattr(board_check, "_LIVE_BATCHES", 400)
    monkeypatch.setattr(board_check, "_UNTENDED_BATCHES", 1200)
    monkeypatch.setattr(board_check, "_OUTAGE_BATCHES", 8000)


def write(folder, **settings):
    path = folder / "board.py"
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
    return path


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_board_file_can_be(path):
    found = board_check.check(path, RATE)
    assert found.outage_h > 0.2
    assert found.power_cut_s is None or found.power_cut_s <= 301
    assert found.flash_years is None or found.flash_years > 1
    assert 50_000 < found.ram_buffers_bytes + found.ram_code_bytes < 90_000
    # The figures belong together: what the ring holds is what the outage took to fill it.
    assert found.points_held == pytest.approx(found.outage_h * 3600 / 2 * 3, rel=0.02)
    assert found.send_max_ms >= found.send_ms and found.send_unprepared_max_ms >= found.send_unprepared_ms
    words = board_check.in_words(found)
    assert "longest send()" in words and "a power cut costs" in words


def test_a_partition_is_durable_on_return_and_erases_ahead():
    found = board_check.check(ROOT / "boards" / "esp32_flash_ring.py", RATE)
    assert (found.power_cut_points, found.power_cut_s) == (0, 0)
    assert found.send_max_ms < 10 < 45 <= found.send_unprepared_ms and found.send_unprepared_max_ms >= 400
    assert 3 < found.bytes_per_point < 6
    # One erase for each sector that was filled, and no other.
    filled_per_day = found.programmed_per_point * 3 * 43_200 / 4096
    assert found.erases_per_day == pytest.approx(filled_per_day, rel=0.35)


def test_in_ram_everything_goes_with_the_power_and_nothing_wears(tmp_path):
    path = write(tmp_path, RING="ram", RING_BYTES=4096, SECTOR_BYTES=512, PAGE_BYTES=256)
    found = board_check.check(path, RATE)
    assert found.power_cut_s is found.flash_years is None and found.erases_per_day == 0
    assert found.send_unprepared_max_ms == 0 and 500 < found.points_held < 1200
    assert "all that waits" in board_check.in_words(found)


def test_files_cost_a_page_at_most(tmp_path):
    for commit_ms in (5_000, 30_000):
        path = write(tmp_path, RING="files", COMMIT_MS=commit_ms, TICK_MS=200)
        found = board_check.check(path, RATE)
        assert commit_ms - 2000 < found.power_cut_s * 1000 <= commit_ms + 1000
        assert found.power_cut_points <= (commit_ms // 2000 + 1) * 3


def test_twice_the_ring_lasts_twice_as_long(tmp_path):
    hours = []
    for size in (0x8000, 0x10000):
        partition = ("plexus", 1, 0x40, 0x3C0000, size, False)
        rest = [("factory", 0, 0, 0x10000, 0x1F0000, False), ("vfs", 1, 0x81, 0x200000, 0x1C0000, False)]
        path = write(tmp_path, RING="plexus", COMMIT_MS=0, PARTITIONS=[*rest, partition])
        hours.append(board_check.check(path, RATE).outage_h)
    assert hours[1] / hours[0] == pytest.approx(14 / 6, rel=0.1)  # two sectors are never full


def test_a_ring_that_is_filled_in_part_is_scaled(monkeypatch):
    path = ROOT / "boards" / "esp32_flash_ring.py"
    whole = board_check.check(path, [board_check.Rate(60, 2000)])
    monkeypatch.setattr(board_check, "_OUTAGE_BATCHES", 300)
    part = board_check.check(path, [board_check.Rate(60, 2000)])
    assert part.scaled and not whole.scaled
    assert part.outage_h == pytest.approx(whole.outage_h, rel=0.1)


def test_rates_side_by_side_add_up():
    both = board_check.check(BOARDS[0], [board_check.Rate(3, 2000), board_check.Rate(3, 2000)])
    alone = board_check.check(BOARDS[0], RATE)
    assert both.rates == ["3/2s", "3/2s"] and both.outage_h <= alone.outage_h


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("3/2s", (3, 2000)),
        ("1/10min", (1, 600_000)),
        ("12/h", (12, 3_600_000)),
        ("2/0.5s", (2, 500)),
        ("1/d", (1, 86_400_000)),
    ],
)
def test_rates(text, rate):
    found = board_check.parse_rate(text)
    assert (found.points, found.period_ms) == rate
    assert board_check.parse_rate(str(found)) == found


@pytest.mark.parametrize(
    "text", ["3", "3/s2", "-1/2s", "0/2s", "65/2s", "1/1ms", "1/2d", "3/2 s", "", "1e3/2s"]
)
def test_what_is_no_rate_is_said(text):
    with pytest.raises(ValueError, match="rate"):
        board_check.parse_rate(text)


PARTITIONS = [
    ("factory", 0, 0, 0x10000, 0x1F0000, False),
    ("vfs", 1, 0x81, 0x200000, 0x1C0000, False),
    ("plexus", 1, 0x40, 0x3C0000, 0x40000, False),
]

SMALL = {"FLASH_BYTES": 1 << 22, "PARTITIONS": [PARTITIONS[0], ("vfs", 1, 0x81, 0x200000, 0x40000, False)]}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"RING": "flash"}, "ring: 'flash'"),
        ({"RING": "vfs"}, "ring: 'vfs'"),
        ({"RING": "files", "COMMIT_MS": 0}, "commit_ms must be above 0"),
        ({"RING": "files", "SECTOR_BYTES": 256}, "sector_bytes must be 512 to 32768"),
        ({"RING": "files", "RING_BYTES": 3072}, "ring_bytes must hold 4"),
        ({"RING": "files", "PAGE_BYTES": 4096}, "page_bytes .4096."),
        ({"RING": "files", "RING_BYTES": 1 << 18, **SMALL}, "ring_bytes: 256 files of 1024 bytes need 257 blocks"),
        ({"RING": "ram", "RING_BYTES": 120_000, "SECTOR_BYTES": 1024, "PAGE_BYTES": 512}, "the heap has 111168"),
        ({"RING": "ram", "RING_BYTES": 12_288, "SECTOR_BYTES": 1000, "PAGE_BYTES": 512}, "sector_bytes"),
        ({"RING": "plexus", "PARTITIONS": PARTITIONS, "PROGRAM_BYTES": 3}, "program_bytes must be a power of two"),
        ({"FRAME_BYTES": 200}, "frame_bytes must be at least"),
        ({"COMMIT_MS": "often"}, "commit_ms must be a whole number"),
        ({"PORT": "rp2", "RING": "rp2:0:65536"}, "ring: 'rp2:0:65536'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(tmp_path, settings, words):
    with pytest.raises(ValueError, match=words):
        board_check.check(write(tmp_path, **settings), RATE)


def test_a_rate_that_the_flash_cannot_follow_is_refused(tmp_path):
    path = write(tmp_path, RING="files", COMMIT_MS=1, TICK_MS=20)
    with pytest.raises(ValueError, match="rate: 3/20ms keeps the flash busy"):
        board_check.check(path, [board_check.Rate(3, 20)])


def run(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "board_check.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_command_line(tmp_path):
    result = run(str(ROOT / "boards" / "esp32_ram_ring.py"), "--rate", "3/2s", "--rate", "1/10min", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["rates"] == ["3/2s", "1/10min"] and found["ring"] == "ram"
    result = run(str(write(tmp_path, RING="ram", RING_BYTES=64)), "--rate", "3/2s")
    assert result.returncode == 2 and "ring_bytes" in result.stderr and "Traceback" not in result.stderr
    assert run(str(tmp_path / "none.py"), "--rate", "3/2s").returncode == 2


def test_the_code_is_all_of_the_memory_table_but_the_buffers():
    table = (ROOT / "docs" / "memory.md").read_text()
    found = re.search(r"^\| a client as of .*?\n\n", table, re.M | re.S)[0]
    rows = {row[0]: row[1:] for row in (line.strip("| ").split(" | ") for line in found.splitlines() if line)}
    for column, ring in enumerate(("ram", "files", "plexus")):
        *_, total, more = [int(row[column]) for row in list(rows.values())[2:]]
        buffers = sum(int(rows[name][column]) for name in BUFFERS)
        assert board_check.code_bytes(ring) == total - buffers + more


def test_the_defaults_are_read_from_the_port():
    defaults = board_trial.port_defaults()
    assert defaults["ring"] == "files" and defaults["tick_ms"] > 0


def settings_in_files():
    """The sizes of every default for a ring in files: of both ports, and of the board files."""
    yield {**cpython.DEFAULTS, **cpython.FILES}
    yield board_trial.port_defaults("files")
    for path in BOARDS:
        board = {name.lower(): value for name, value in runpy.run_path(str(path)).items()}
        if board["ring"] == "files":
            yield board


def test_a_page_fills_its_file(tmp_path):
    found = list(settings_in_files())
    assert len(found) >= 4
    for number, sizes in enumerate(found):
        blocks = FileBlocks(str(tmp_path / str(number)), sizes["ring_bytes"], sizes["sector_bytes"])
        ring = Ring(blocks, sizes["page_bytes"])
        assert ring.sectors == 64 and sizes["commit_ms"] == 300_000
        with pytest.raises(ValueError, match="more must fit"):
            Ring(blocks, sizes["page_bytes"] + 1)
