"""Readings are dated as well as docs/time.md says, on both VMs; what it says is what was measured."""

from __future__ import annotations

import re
import sys
from pathlib import PurePath

import pytest

from host_sim.world import ROOT
from tests.sim import time_runs
from tests.sim.time_runs import EXPERIMENTS, Row

sys.path.append(str(ROOT / "tools"))

import build_mpy
import time_table

# How long the long ones are here, in days or hours.
_SHORT = {
    "socket": lambda vm: time_runs.drifting(vm, 0.5 if vm == "cpython" else 0.06, "auto"),
    "http": lambda vm: time_runs.drifting(vm, 0.5 if vm == "cpython" else 0.06, "http"),
    "sleeping": lambda vm: time_runs.sleeping(vm, 12 if vm == "cpython" else 3),
    "reboots": lambda vm: time_runs.reboots(vm, 20 if vm == "cpython" else 12),
}
# Of these one run is enough on the slower VM: the path is the simulator's.
_ON_BOTH = ("symmetric", "resent", "sleeping", "reboots", "before", "wraps", "epochs", "absurd", "stamps")


def _check(rows: list[Row]) -> None:
    documented = {cells[0] for cells in time_table.documented()}
    for row in rows:
        assert row.error_ms <= row.allowed_ms, row
        if "the rest of" not in row.what and "random power cuts" not in row.what:
            assert row.what in documented, "run: python tools/time_table.py"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_readings_are_dated_as_well_as_is_allowed(name):
    _check(_SHORT.get(name, EXPERIMENTS[name])("cpython"))


@pytest.mark.parametrize("name", _ON_BOTH)
def test_on_the_real_micropython_too(name):
    _check(_SHORT.get(name, EXPERIMENTS[name])("micropython"))


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
    names = set(re.findall(r"`px\.clock\.(\w+)`", time_table.DOCUMENT.read_text()))
    text = build_mpy.shortened()[PurePath("clock.py")]
    assert len(names) == 8
    for name in names:
        assert re.search(rf"(def {name}\(self\)|self\.{name}\b.*=)", text), name
