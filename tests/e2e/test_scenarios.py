"""Each scenario of the gallery, to its promised end; and the table of docs/scenarios.md."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from host_sim.scenario import find_scenario, gallery
from host_sim.world import ROOT, World
from tests.e2e.simulation import BOARD, FIRMWARE, apart

NAMES = [scenario.path.stem for scenario in gallery()]
# Of a week nearly every tick is idle: fewer of them, and a sample every half a minute.
_SLOW_BOARD = BOARD.read_text() + "\nTICK_MS = 2000\n"
_SLOW_MAIN = (FIRMWARE / "main.py").read_text().replace("PERIOD_MS = 2000", "PERIOD_MS = 30_000")
# What may be on its way when a scenario ends: one second of it is calm, in others trouble goes on.
# Long ones are played for so many seconds here, tools/bench.py plays the whole week.
_PLAYED_S = {"week-in-a-house": 25 * 3600}
_PENDING_MAX = {"flapping-wifi": 120, "everything": 9}


def play(name, firmware=FIRMWARE, board_file=None, seed=1):
    """(world, verdict, what was printed but for the lines of the ring)."""
    scenario = find_scenario(name)
    seconds = _PLAYED_S.get(name, scenario.seconds)
    world = World(seed, virtual=True, route=scenario.gateway)
    console = []

    async def run():
        await world.start()
        board = board_file or scenario.board_file() or BOARD
        placement = world.add_board(firmware, board, "cpython", console=console.append)
        director = world.direct(placement, scenario, seconds)
        placement.board.power_on()
        await asyncio.sleep(seconds)
        assert sum(director.injected.values()) >= len(scenario.events)
        return await world.finish()

    verdict = world.kernel.run(run())
    world.kernel.close()
    assert world.placements[0].board.error is None
    return world, verdict, apart("".join(console))[1]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "outage-of-a-week"])
def test_nothing_lost_nothing_twice_and_delivered_at_the_end(name):
    world, verdict, console = play(name)
    assert "Traceback" not in console
    assert verdict.clean and not verdict.rejected, verdict.counts()
    assert verdict.pending <= _PENDING_MAX.get(name, 9)
    assert verdict.dropped == 0 and verdict.at_cut == 0
    assert verdict.accepted == verdict.stored + verdict.pending > 800
    assert verdict.time_error_ms <= 1500
    placement = world.placements[0]
    if name == "brown-out-loop":
        assert placement.board.boots == 41
    if name == "cut-in-the-flash":
        assert placement.board.boots >= 18
    if name == "week-in-a-house":
        assert placement.board.boots == 4 and verdict.accepted > 25 * 3600 // 2 * 3 * 0.99
    if name == "gateway-deploy":
        assert verdict.resent > 0, "answers that were lost were asked for again"


def test_a_week_without_a_line_drops_the_oldest_and_counts_them(tmp_path):
    for source in FIRMWARE.glob("*.py"):
        (tmp_path / source.name).write_text(source.read_text())
    (tmp_path / "main.py").write_text(_SLOW_MAIN)
    board = tmp_path / "board.py"
    board.write_text(_SLOW_BOARD)
    world, verdict, _ = play("outage-of-a-week", tmp_path, board)
    assert verdict.clean and verdict.dropped > 10_000
    assert verdict.accepted == verdict.stored + verdict.pending + verdict.dropped
    start_ms = world.kernel.epoch_ms
    stamps = sorted({row.timestamp_ms - start_ms for row in world.store.rows()})
    hours = 3_600_000
    newest_of_outage = [stamp for stamp in stamps if stamp < (12 + 7 * 24) * hours]
    assert newest_of_outage[-1] > (12 + 7 * 24) * hours - 60_000, "the last minutes of the outage are there"
    gaps = [b - a for a, b in itertools.pairwise(stamps) if b - a > 300_000]
    assert len(gaps) == 1 and gaps[0] > 5 * 24 * hours, "and one gap, of the oldest"


def test_the_table_is_the_gallery():
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (ROOT / "docs" / "scenarios.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    told = {cells[0].strip("`"): cells[-1] for cells in rows}
    assert told == {scenario.path.stem: scenario.teaches for scenario in gallery()}
