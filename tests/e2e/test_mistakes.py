"""Firmware with mistakes in it: what it meets is what it would meet on a board, and the run says so."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from host_sim.world import ROOT
from tests.e2e.simulation import program, simulate

SENDS_FIRST = """
from plexus_mp import Plexus
px = Plexus(source_id="broken")
for n in range(5):
    px.send("n", n)
"""

OLD_NAMES = """
import utime, time, uos, os, usocket, socket, uasyncio, asyncio, ujson, ustruct, umachine, machine
from plexus_mp import Plexus
assert utime is time and uos is os and usocket is socket and uasyncio is asyncio and umachine is machine
px = Plexus(source_id="old")
for n in range(10):
    px.send("n", n)
    utime.sleep(5)
print("ended at", utime.ticks_ms() // 1000)
"""

NO_BATCH = (
    SENDS_FIRST
    + """
for wrong in ({"a": 1}, ["a"], [("a",)], 5, None, [5]):
    try:
        px.send_batch(wrong)
    except (TypeError, ValueError, IndexError) as e:
        print("refused", type(e).__name__)
px.send("n", 5)
px.flush_buffer()
"""
)

OTHER_TYPES = (
    SENDS_FIRST
    + """
import machine, os
for wrong in (lambda: os.stat(5), lambda: os.urandom("x"), lambda: machine.I2C(0).readfrom_mem(0x76, "x", 1)):
    try:
        wrong()
    except (TypeError, ValueError, OSError):
        print("refused")
px.flush_buffer()
"""
)

PINS = """
from machine import Pin
assert Pin(0, Pin.IN, Pin.PULL_UP).value() == 1 and Pin(4, Pin.IN).value() == 0
Pin(2, Pin.OUT).value(1)
assert Pin(2).value() == 1 and Pin(2, Pin.OUT)() == 1
with open("/t", "w") as f:
    print("pins", f.write("äöü"))
with open("/t") as f:
    print(f.read(1), f.read())
"""


def test_old_names_are_the_same_modules_on_the_same_clock(vm, tmp_path):
    outcome = simulate(program(tmp_path, OLD_NAMES), vm, 70)
    assert outcome.values("n") == list(range(10)) and "ended at 5" in outcome.console


def test_the_board_is_what_it_says(vm, tmp_path):
    source = """
import gc, micropython, sys, usys
micropython.alloc_emergency_exception_buf(100)
assert gc.isenabled()
print(sys.platform, usys.implementation.name, sys.implementation._machine, sys.path, file=sys.stderr)
"""
    console = simulate(program(tmp_path, source), vm, 5).console
    assert "esp32 micropython" in console and "ESP32" in console and "/lib" in console


def test_a_batch_that_is_none_is_refused_and_costs_nothing(vm, tmp_path):
    outcome = simulate(program(tmp_path, NO_BATCH), vm, 30)
    assert outcome.console.count("refused") == 6, outcome.console
    assert outcome.verdict.clean and outcome.values("n") == list(range(6))


def test_an_argument_of_another_type_is_an_exception(vm, tmp_path):
    outcome = simulate(program(tmp_path, OTHER_TYPES), vm, 30)
    assert outcome.console.count("refused") == 3, outcome.console
    assert outcome.verdict.clean and outcome.values("n") == list(range(5))


def test_pins_and_text(vm, tmp_path):
    console = simulate(program(tmp_path, PINS), vm, 5).console
    assert "pins 6" in console and "ä öü" in console, console


@pytest.mark.parametrize(
    "raised", ["asyncio.CancelledError()", "type('Own', (BaseException,), {})()", "KeyError(1)"]
)
def test_what_ends_main_does_not_end_the_board(vm, tmp_path, raised):
    outcome = simulate(program(tmp_path, f"{SENDS_FIRST}\nimport asyncio\nraise {raised}\n"), vm, 60)
    assert outcome.verdict.clean and outcome.values("n") == list(range(5))
    assert outcome.world.placements[0].board.raised == 1


@pytest.mark.parametrize(
    ("source", "code", "raised"),
    [("1 / 0", 1, 1), (SENDS_FIRST + "1 / 0", 0, 1), (SENDS_FIRST, 0, 0), ("print('nothing to send')", 0, 0)],
)
def test_a_program_that_breaks_before_it_sends_fails_the_run(tmp_path, source, code, raised):
    done = _run(program(tmp_path, source), "--virtual", "1m", "--json")
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["raised"] == raised


def test_a_folder_without_firmware_is_named(tmp_path):
    done = _run(tmp_path, "--virtual", "1m")
    assert (
        done.returncode and f"{tmp_path} holds no main.py" in done.stderr and "Traceback" not in done.stderr
    )


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "host_sim", "run", *map(str, arguments), "--vm", "cpython"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
