"""Readings are dated as well as docs/time.md says, on both VMs; what it says is what was measured."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import PurePath

import pytest

from host_sim.world import ROOT
from tests.sim import time_runs
from tests.sim.time_boards import Row
from tests.sim.time_runs import EXPERIMENTS

sys.path.append(str(ROOT / "tools"))

import build_mpy
import time_table

# In half a day of the week, and of the day of sleeping, the same is to be seen.
_SHORT: dict[str, Callable[[], list[Row]]] = {
    "socket": lambda: time_runs.drifting("cpython", 0.5, "auto"),
    "http": lambda: time_runs.drifting("cpython", 0.5, "http"),
    "sleeping": lambda: time_runs.sleeping("cpython", 12),
}
# On the slower VM those where it could make a difference: the path is the simulator's on both.
_ON_MICROPYTHON: dict[str, Callable[[], list[Row]]] = {
    "symmetric": lambda: time_runs.symmetric("micropython", 100),
    "sleeping": lambda: time_runs.sleeping("micropython", 1.1),
    "reboots": lambda: time_runs.reboots("micropython", 8),
    "before": lambda: time_runs.before_the_first("micropython", 3, 0.3),
    **{
        name: partial(EXPERIMENTS[name], "micropython")
        for name in ("resent", "wraps", "epochs", "absurd", "stamps")
    },
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_readings_are_dated_as_well_as_is_allowed(name):
    documented = {cells[0] for cells in time_table.documented()}
    for row in _SHORT.get(name, partial(EXPERIMENTS[name], "cpython"))():
        assert row.error_ms <= row.allowed_ms, row
        assert row.what in documented or "the rest of 0.5 days" in row.what, "run: python tools/time_table.py"


@pytest.mark.parametrize("name", _ON_MICROPYTHON)
def test_on_the_real_micropython_too(name):
    for row in _ON_MICROPYTHON[name]():
        assert row.error_ms <= row.allowed_ms, row


def test_what_is_documented_keeps_to_what_is_allowed():
    rows = time_table.documented()
    assert len(rows) > 25
    for what, allowed, error, bound, _ in rows:
        assert float(error) <= float(allowed), what
        assert not bound or float(error) <= float(bound), what
    week = [row for row in rows if "the rest of 7 days" in row[0]]
    assert len(week) == 4 and all(float(row[2]) <= (50 if "WebSocket" in row[0] else 150) for row in week)


def test_names_of_the_clock_are_those_on_a_board():
    """Where names are shortened these stay."""
    names = set(re.findall(r"`px\.clock\.(\w+)`", time_table.PART.document.read_text()))
    text = build_mpy.shortened()[PurePath("clock.py")]
    assert len(names) == 8
    for name in names:
        assert re.search(rf"(def {name}\(self\)|self\.{name}\b.*=)", text), name
