"""Firmware in an executable that the user names: how it is called, spoken with, and what is said when it will not do.

A stand-in that speaks through the same pipes is always there; a real MicroPython is where MICROPYTHON says.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from host_sim.board.config import load_board
from host_sim.node import MissingTool
from host_sim.vms.executable import SHIMS_BYTES, executable_factory, words_of
from host_sim.world import ROOT, World, make_vm_factory
from tests.e2e.simulation import BOARD, FIRMWARE, apart, program
from tests.e2e.test_strangers import ASYNCIO, BUSY_WAIT, DEEP_SLEEP, FLAG, SEND_IN_CALLBACK

REAL = os.environ.get("MICROPYTHON")
needs_real = pytest.mark.skipif(not REAL, reason="MICROPYTHON names no micropython executable")

STAND_IN = """#!%s
import binascii, io, json, os, runpy, sys, types

def run():
    from _board import call

    print("heap", heap)
    print("main.py is", call("files.read", "/main.py").decode())
    for operation in ("files.read", "wifi.connect"):
        try:
            call(operation, *["/nowhere", ""][: 2 if operation[0] == "w" else 1])
        except OSError as e:
            print("error", e.args[0])
    call("files.write", "/out", bytes(range(256)) * 300)
    print(call("files.read", "/out") == bytes(range(256)) * 300, call("files.part", "/out", 254, 4))
    before = call("time.ticks_ms")
    print("slept", call("time.sleep", 2500000, None)[1], call("time.ticks_ms") - before)
    print("begun, ", end="")
    call("time.ticks_ms")
    print("ended")
    if b"die" in call("files.read", "/main.py"):
        sys.exit("Fatal: no more")
    while True:
        call("time.idle")

if sys.argv[1] == "-c":
    print("word", True)
    sys.exit()
option, heap, script, *arguments = sys.argv[1:]
assert option == "-X"
sys.argv = [script, *arguments]
sys.modules["_vm"] = types.SimpleNamespace(run=run)
runpy.run_path(script)
"""


@pytest.fixture
def stand_in(tmp_path):
    path = tmp_path / "stand-in"
    path.write_text(STAND_IN % sys.executable)
    path.chmod(0o755)
    return path


def play(firmware, executable, seconds, board_file=BOARD, seed=1):
    """(the world, the verdict, what was printed but for the ring's lines)."""
    world = World(seed, virtual=True)
    console = []

    async def run():
        await world.start()
        placement = world.add_board(
            firmware, board_file, console=console.append, interpreter=executable and str(executable)
        )
        placement.board.power_on()
        await asyncio.sleep(seconds)
        return await world.finish()

    verdict = world.kernel.run(run())
    world.kernel.close()
    return world, verdict, apart("".join(console))[1]


def test_calls_bytes_errors_and_output_cross_the_pipes(stand_in, tmp_path):
    world, _, console = play(program(tmp_path, "pass"), stand_in, 10)
    heap_bytes = 2 * (load_board(BOARD)[0].heap_bytes + SHIMS_BYTES)
    assert console.splitlines() == [
        f"heap heapsize={heap_bytes}",
        "main.py is pass",
        "error 2",
        "error 12290",  # the interface is not active
        "True b'\\xfe\\xff\\x00\\x01'",
        "slept True 2500",
        "begun, ended",
    ]
    assert world.placements[0].board.error is None


def test_the_heap_is_the_board_files(stand_in, tmp_path):
    board_file = tmp_path / "small.py"
    board_file.write_text(BOARD.read_text() + "\nHEAP_BYTES = 57344\n")
    _, _, console = play(program(tmp_path, "pass"), stand_in, 1, board_file)
    assert console.startswith(f"heap heapsize={2 * (57344 + SHIMS_BYTES)}\n")
    board_file.write_text("HEAP_BYTES = 100\n")
    with pytest.raises(ValueError, match="HEAP_BYTES must be from"):
        load_board(board_file)


def test_an_executable_that_dies_is_quoted(stand_in, tmp_path, capsys):
    world, _, console = play(program(tmp_path, "die"), stand_in, 10)
    assert console.endswith("Fatal: no more\n")
    assert "ended by itself, having said: Fatal: no more" in str(world.placements[0].board.error)
    assert "Fatal: no more" in capsys.readouterr().err


def test_what_will_not_do_is_said_in_a_line(tmp_path):
    with pytest.raises(MissingTool, match="no program"):
        executable_factory(str(tmp_path / "nowhere"))
    with pytest.raises(MissingTool, match="is no MicroPython"):
        executable_factory("cat")
    with pytest.raises(ValueError, match="CircuitPython port"):
        make_vm_factory("circuitpython", "circuitpython")
    with pytest.raises(ValueError, match="--interpreter is for"):
        make_vm_factory("cpython", "python3")


@pytest.mark.parametrize("by", ["option", "environment"])
def test_on_the_command_line(stand_in, tmp_path, by):
    environment = {**os.environ, "MICROPYTHON": "" if by == "option" else str(stand_in)}
    command = [sys.executable, "-m", "host_sim", "run", program(tmp_path, "pass"), "--virtual", "10s"]
    command += ["--interpreter", stand_in] if by == "option" else []
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "begun, ended" in done.stdout


@needs_real
def test_a_real_executable_stores_the_rows_of_the_built_in_one():
    here, verdict, console = play(FIRMWARE, REAL, 300)
    built_in, _, _ = play(FIRMWARE, None, 300)
    assert verdict.clean and verdict.stored == verdict.accepted > 400 and console == ""
    ours, theirs = (
        sorted((row.metric, row.timestamp_ms, row.received_ms, row.value) for row in world.store.rows())
        for world in (here, built_in)
    )
    assert [row[:3] for row in ours] == [row[:3] for row in theirs]
    # A release before 1.26 prints fewer digits than a double has.
    assert [row[3] for row in ours] == pytest.approx([row[3] for row in theirs], rel=1e-12)


@needs_real
@pytest.mark.parametrize("source", [BUSY_WAIT, FLAG, SEND_IN_CALLBACK, ASYNCIO])
def test_strangers_firmware_in_a_real_executable(source, tmp_path):
    world, verdict, console = play(program(tmp_path, source), REAL, 60)
    assert console == "done\n" and verdict.clean and verdict.pending == 0
    assert sorted(row.value for row in world.store.rows()) == list(range(30))


@needs_real
def test_deep_sleep_in_a_real_executable(tmp_path):
    world, verdict, console = play(program(tmp_path, DEEP_SLEEP), REAL, 300)
    assert console == "" and verdict.lost == 0 and verdict.duplicates == 0
    assert 8 <= len(list(world.store.rows())) <= 10


@needs_real
def test_the_heap_of_a_real_executable_is_limited(tmp_path):
    board_file = tmp_path / "small.py"
    fill = "x = []\ntry:\n    while True: x.append(bytearray(1024))\nexcept MemoryError:\n    n = len(x)\n    del x\n"
    counts = []
    for heap_bytes in (65536, 131072):
        board_file.write_text(f"{BOARD.read_text()}\nHEAP_BYTES = {heap_bytes}\n")
        (tmp_path / "boot.py").write_text("")
        (tmp_path / "lib/plexus_mp").mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib/plexus_mp/__init__.py").write_text("")
        (tmp_path / "main.py").write_text(fill + "    print(n)\n")
        counts.append(int(play(tmp_path, REAL, 1, board_file)[2]))
    assert counts[0] < 320 and counts[1] - counts[0] == pytest.approx(64 * words_of(REAL), abs=8)
