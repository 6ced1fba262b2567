"""Deep sleep: nothing is lost between wakes, the radio rests while the gateway is away, flash is spared."""

import re

import pytest

from host_sim.board.files import ERASE_US, PROGRAM_US
from host_sim.world import ROOT
from tests.e2e.battery import RINGS, play
from tests.e2e.simulation import outage, program, simulate

# Ten minutes for an hour: the whole day is tools/battery.py's.
HOUR_S = 600
# What a wake is made of: the Wi-Fi of the board file; a connection, a request and its answer, or a refusal; a page put
# away, for which a block is erased and, when the directory's is full, another one.
WIFI_MS = 1200
TALK_MS = 40
PAGE_MS = (2 * ERASE_US + 8 * PROGRAM_US) / 1000


def check(day):
    verdict = day.verdict
    assert day.console == ""
    assert verdict.lost == verdict.duplicates == verdict.dropped == verdict.rejected == verdict.at_cut == 0
    assert verdict.stored + verdict.pending == verdict.accepted and verdict.pending <= 2
    assert verdict.time_error_ms < 500 and verdict.resent <= day.hours


@pytest.mark.parametrize("ring", RINGS)
def test_a_day_in_fast_motion(tmp_path, ring):
    day = play(ring, "cpython", 24, tmp_path, HOUR_S)
    check(day)
    assert day.wakes > 200
    # Of the 50 wakes of each outage the 1st asks, then the 3rd, 7th, 15th, 30th and 45th.
    assert len(day.searches_ms) == 4 * 6, "the radio was on in vain"
    assert max(day.dark_ms) <= PAGE_MS
    assert max(day.searches_ms) <= WIFI_MS + TALK_MS + PAGE_MS
    assert max(day.awake_ms[True]) <= WIFI_MS + TALK_MS + 2 * PAGE_MS  # what waited, and that it has arrived
    if ring == "files":  # four times in a wake that delivers, once in five minutes else
        assert day.flash_programs == 0 and day.file_changes < day.wakes * 2
    elif ring == "a flash partition":
        assert day.flash_erases < 15 and day.flash_programs < day.wakes * 4
    else:
        assert day.flash_programs == day.flash_erases == day.file_changes == 0


@pytest.mark.parametrize("ring", RINGS)
def test_on_micropython(tmp_path, ring):
    """Each boot of it takes a while: two minutes with a gateway, two without, and five to make up for it."""
    check(play(ring, "micropython", 2, tmp_path, 120, settle_s=300))


def test_the_table_is_of_a_whole_day():
    text = (ROOT / "docs" / "sleep.md").read_text()
    rows = re.findall(r"^\| ([\w ]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", text, re.M)
    assert [row[0] for row in rows] == list(RINGS)
    for _, wakes, accepted, stored, lost, twice in rows:
        assert int(wakes) >= 1350 and int(accepted) - int(stored) <= 2 and lost == twice == "0"


FULL = """
from plexus_mp import Plexus
px = Plexus(source_id="full", tick_ms=0)
px.send("text", "x" * 200)
px.suspend(20_000)
"""


def test_more_than_rtc_memory_holds_costs_the_oldest(tmp_path):
    """Texts of 200 bytes, three a minute, with no gateway: some eight fit."""

    board = tmp_path / "board.py"
    text = (ROOT / "boards" / "esp32_ram_ring.py").read_text()
    board.write_text(
        text.replace("SECTOR_BYTES = 1024", "SECTOR_BYTES = 2048").replace(
            "PAGE_BYTES = 512", "PAGE_BYTES = 1792"
        )
    )
    folder = tmp_path / "firmware"
    folder.mkdir()
    (program(folder, FULL) / "boot.py").write_text("# none\n")
    outcome = simulate(folder, "cpython", 1500, outage(0, 300), board)
    assert outcome.console == "" and outcome.verdict.duplicates == 0
    stored, accepted = outcome.verdict.stored, outcome.verdict.accepted
    # Five minutes without a gateway, and up to five more until the board asks again.
    assert 4 <= accepted - stored <= 26 and stored > 40
