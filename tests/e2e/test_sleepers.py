"""Firmware that calls `send()` now and then and sleeps: who drives the link meanwhile, and nothing is lost."""

from __future__ import annotations

import pytest

from host_sim.world import ROOT
from tests.e2e.simulation import program, simulate

BOARD = ROOT / "boards" / "esp32_flash_ring.py"
PERIODS_S = (2, 60, 600)
_COUNTS = {2: 20, 60: 4, 600: 2}
_LINGER_S = 6  # of that board file: so long a reading may wait for the next ones

SENDER = """
import time
from plexus_mp import Plexus

px = Plexus(source_id="sleeper"ARGUMENTS)
for n in range(COUNT):
    px.send("n", n)
    SLEEP
"""

# Who drives it: arguments of Plexus, how it sleeps, whether the WebSocket carries it.
WAYS = {
    "a timer, WebSocket": ("", "time.sleep(PERIOD)", True),
    "a timer, HTTP": (', transport="http"', "time.sleep(PERIOD)", False),
    "px.sleep, WebSocket": (", tick_ms=0", "px.sleep(PERIOD)", True),
    "px.sleep, HTTP": (', tick_ms=0, transport="http"', "px.sleep(PERIOD)", False),
}


def run(vm, folder, way, period_s, board_file=BOARD):
    """The outcome, and how many POSTs the gateway saw."""
    arguments, sleep, _ = WAYS[way]
    count = _COUNTS[period_s]
    source = SENDER.replace("ARGUMENTS", arguments).replace("SLEEP", sleep)
    source = source.replace("COUNT", str(count)).replace("PERIOD", str(period_s))
    outcome = simulate(program(folder, source), vm, count * period_s - 1, board_file=board_file)
    assert outcome.console == ""
    return outcome


def _check(outcome, period_s, over_socket):
    verdict = outcome.verdict
    # A commit takes a moment, and so a period is somewhat longer than its sleep.
    assert _COUNTS[period_s] - 1 <= verdict.accepted <= _COUNTS[period_s]
    assert sorted(outcome.values("n")) == list(range(verdict.stored))
    assert verdict.pending <= _LINGER_S // period_s + 1 if period_s < _LINGER_S else not verdict.pending
    assert verdict.clean and verdict.resent == verdict.dropped == 0 and verdict.time_error_ms < 1000
    assert (outcome.world.answers.posts == 0) is over_socket


@pytest.mark.parametrize("period_s", PERIODS_S)
@pytest.mark.parametrize("way", WAYS)
def test_all_is_delivered_before_the_next_reading_or_with_it(vm, tmp_path, way, period_s):
    _check(run(vm, tmp_path, way, period_s), period_s, WAYS[way][2])


@pytest.mark.parametrize("period_s", PERIODS_S)
def test_a_board_without_virtual_timers(vm, tmp_path, period_s):
    """Its hardware timers are the program's: `tick_ms` 0, and `px.sleep`."""
    board = BOARD.read_text().replace("VIRTUAL_TIMERS = True", "VIRTUAL_TIMERS = False")
    path = tmp_path / "no_timers.py"
    path.write_text(board.replace("TICK_MS = 200", "TICK_MS = 0").replace("TIMER_ID = -1", "TIMER_ID = 0"))
    folder = tmp_path / "firmware"
    folder.mkdir()
    _check(run(vm, folder, "px.sleep, HTTP", period_s, path), period_s, False)
