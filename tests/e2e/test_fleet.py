"""Many boards, one gateway: each reading of each board stored once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from host_sim.fleet import Fleet, FleetOptions
from host_sim.fleet.meter import row
from host_sim.scenario import find_scenario
from host_sim.world import ROOT

BOARDS = 30


def test_every_reading_of_thirty_boards_is_stored_once():
    looks = []
    result = Fleet(FleetOptions(BOARDS, 120.0, seed=3), looks.append).run()
    verdict = result.verdict
    assert verdict.clean and verdict.pending == 0 and not result.errors and not result.uneven
    assert verdict.accepted == verdict.stored == BOARDS * 45 * 3
    assert verdict.resent == 0
    assert result.board_bytes < 1 << 20, "well under a megabyte a board"
    last = looks[-1]
    assert (last.accepted, last.stored, last.waiting, last.boards_on) == (
        verdict.accepted,
        verdict.stored,
        0,
        BOARDS,
    )
    assert last.lags == (0.0, 0.0, 0.0) and str(verdict.stored) in row(last)


def test_names_differ_beyond_a_byte():
    result = Fleet(FleetOptions(300, 4.0)).run()
    assert result.verdict.clean and not result.uneven


def test_a_gateway_that_restarts_meets_its_whole_fleet_again():
    options = FleetOptions(4, 1800.0, scenario=find_scenario("gateway-deploy"))
    result = Fleet(options).run()
    assert result.verdict.clean and result.verdict.pending == 0 and not result.uneven
    assert result.verdict.stored == result.verdict.accepted > 4 * 800 * 3
    assert result.verdict.resent > 0


def test_in_real_time():
    result = Fleet(FleetOptions(4, 8.0, virtual=False)).run()
    assert result.verdict.clean and not result.uneven and not result.errors
    assert result.verdict.accepted == 4 * 2 * 3
    assert result.verdict.stored + result.verdict.pending == result.verdict.accepted


def test_boards_of_one_name_are_refused(tmp_path):
    (tmp_path / "main.py").write_text('from plexus_mp import Plexus\npx = Plexus(source_id="same")\n')
    with pytest.raises(ValueError, match="'same'"):
        Fleet(FleetOptions(2, 8.0, firmware=tmp_path)).run()


def test_the_command():
    command = [sys.executable, "-m", "host_sim", "fleet", "--boards", "3", "--virtual", "40", "--json"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    line = json.loads(result.stdout.splitlines()[-1])
    assert line["boards"] == 3 and line["stored"] == line["accepted"] == 3 * 10 * 3
    assert line["boards_per_core"] > 0 and line["board_bytes"] > 0
    assert "boards on one core" in result.stdout and "lag" in result.stdout
